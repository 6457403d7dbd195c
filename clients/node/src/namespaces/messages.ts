import { randomBytes } from "node:crypto";
import { BatchBuilder } from "../batch/builder.js";
import { InvalidArgumentError } from "../errors/index.js";
import { type OffsetInput, offsetInput, type OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import type { BatchAck, PublishAck } from "../producer/ack.js";
import type { Conditions } from "../producer/batches.js";
import { batchAck } from "../producer/outcome.js";
import { type NewMessage, newRecord } from "../producer/record.js";
import { MAX_FRAME_BYTES } from "../wire/frame.js";
import { PUBLISH_ATOMIC } from "../wire/kinds.js";
import { type AtomicPart, decodeAtomicAnswer, encodeAtomic } from "../wire/messages.js";
import type { Context } from "./context.js";

/**
 * Conditions on which something is appended.
 *
 * @example
 * ```ts
 * const onlyIfEmpty: PublishConditions = { expectedOffset: 0 };
 * ```
 */
export interface PublishConditions {
  /** The offset that the first record must get, else `ExpectedOffsetMismatchError`. */
  readonly expectedOffset?: OffsetInput | undefined;
  /** Fencing token of a writer that holds a lease; 0 is none. Lower ones are `FencedError` from then on. */
  readonly fence?: OffsetInput | undefined;
}

/**
 * One message for one channel.
 *
 * @example
 * ```ts
 * const request: PublishRequest = { channelId: "orders", type: "order.placed", payload: { id: 17 } };
 * ```
 */
export interface PublishRequest extends NewMessage, PublishConditions {
  /** Name or id of the channel. One that does not exist is created, when it is given by its name. */
  readonly channelId: string;
}

/**
 * Messages for one channel, appended together.
 *
 * @example
 * ```ts
 * const request: PublishBatchRequest = { channelId: "orders", messages: [{ payload: 1 }, { payload: 2 }] };
 * ```
 */
export interface PublishBatchRequest extends PublishConditions {
  /** Name or id of the channel. */
  readonly channelId: string;
  /** At least one; 1,000,000 or 64 MiB at most. */
  readonly messages: readonly NewMessage[];
}

/**
 * A consumer's position that is stored together with what it published.
 *
 * @example
 * ```ts
 * const commit: TransactionalCommit = { channelId: "orders", consumer: "billing", offset: 42 };
 * ```
 */
export interface TransactionalCommit {
  /** Name or id of the channel that was read. */
  readonly channelId: string;
  /** The consumer. */
  readonly consumer: string;
  /** The next offset that it will read. */
  readonly offset: OffsetInput;
  /** The position it must have had; null: none; any unless given. */
  readonly expectedPrevious?: OffsetInput | null | undefined;
  /** Text to find again with the position, up to 4,096 bytes. */
  readonly metadata?: string | undefined;
}

/**
 * What is to be done all or not at all.
 *
 * @example
 * ```ts
 * const request: TransactionRequest = { messages: [{ channelId: "bills", payload: bill }], commits: [commit] };
 * ```
 */
export interface TransactionRequest {
  /** Messages, each with its channel; those of one channel become one batch, in order. */
  readonly messages?: readonly (NewMessage & { readonly channelId: string })[] | undefined;
  /** Positions of consumers. */
  readonly commits?: readonly TransactionalCommit[] | undefined;
}

/**
 * What was done, all of it.
 *
 * @example
 * ```ts
 * const { batches, committed }: TransactionAck = await np.messages.publishTransactional({ messages, commits });
 * ```
 */
export interface TransactionAck<O extends OffsetType = number> {
  /** One for each channel, in the order of their first messages. */
  readonly batches: readonly BatchAck<O>[];
  /** The positions stored, in the order of the commits. */
  readonly committed: readonly O[];
}

/**
 * Publishing. Each message is stored once, however often it had to be sent, and acknowledged when it is as durable as its
 * channel promises.
 *
 * @example
 * ```ts
 * const ack = await np.messages.publish({ channelId: "orders", type: "order.placed", payload: { id: 17 } });
 * console.log(ack.offset, ack.level); // 0 "synced"
 * ```
 */
export class Messages<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Publishes one message. The order of the calls is the order in the channel; calls that are not awaited share batches.
   *
   * What waits to be acknowledged is bounded (`maxQueuedBytes`): past it a publish waits for room. Where more than a
   * thousand do, nobody awaits them, and further ones reject with `QueueFullError`, which is retryable.
   *
   * @example
   * ```ts
   * await Promise.all(orders.map((order) => np.messages.publish({ channelId: "orders", key: order.id, payload: order })));
   * ```
   */
  publish(request: PublishRequest, options: CallOptions = {}): Promise<PublishAck<O>> {
    try {
      return this.context.publishing.publish(request.channelId, newRecord(request), conditions(request), options);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  /**
   * Publishes messages as one batch: all of them are stored, one behind the other, or none.
   *
   * @example
   * ```ts
   * const { firstOffset, lastOffset } = await np.messages.publishBatch({
   *   channelId: "orders",
   *   messages: [{ payload: { id: 1 } }, { payload: { id: 2 } }],
   * });
   * ```
   */
  async publishBatch(request: PublishBatchRequest, options: CallOptions = {}): Promise<BatchAck<O>> {
    if (request.messages.length === 0) throw new InvalidArgumentError("a batch has at least one message");
    return this.context.publishing.publishBatch(request.channelId, request.messages.map(newRecord), conditions(request) ?? {}, options);
  }

  /**
   * Publishes to several channels and stores positions of consumers, all or nothing. A program that reads, transforms and
   * publishes together with its own new position has processed each message exactly once.
   *
   * @example
   * ```ts
   * await np.messages.publishTransactional({
   *   messages: [{ channelId: "enriched", payload: enrich(message.payload) }],
   *   commits: [{ channelId: "orders", consumer: "enricher", offset: message.offset + 1 }],
   * });
   * ```
   */
  async publishTransactional({ messages = [], commits = [] }: TransactionRequest, options: CallOptions = {}): Promise<TransactionAck<O>> {
    const { names, requester, offsets } = this.context;
    const batches = new Map<string, { name: string; incarnation: string | undefined; builder: BatchBuilder }>();
    for (const message of messages) {
      let batch = batches.get(message.channelId);
      if (batch === undefined) {
        batch = { ...(await names.resolve(message.channelId, options)), builder: new BatchBuilder() };
        batches.set(message.channelId, batch);
      }
      batch.builder.push(newRecord(message));
    }
    // A fresh identity each time: two transactions do not have to wait for each other.
    const producer = { id: randomBytes(16), epoch: 1, sequence: 0 };
    const published = [...batches.values()];
    const parts: AtomicPart[] = published.map(({ name, incarnation, builder }) => ({
      kind: "publish",
      target: { channel: name, incarnation },
      batch: builder.build(producer, this.context.publishing.options.compression),
    }));
    for (const { channelId, consumer, offset, expectedPrevious, metadata } of commits) {
      const { name } = await names.resolve(channelId, options);
      const previous = expectedPrevious == null ? expectedPrevious : offsetInput(expectedPrevious, "expectedPrevious");
      const commit = { channel: name, consumer, offset: offsetInput(offset, "offset"), expectedPrevious: previous, metadata };
      parts.push({ kind: "commit", commit });
    }
    if (parts.length === 0) throw new InvalidArgumentError("a transaction has at least one message or one commit");
    // With records in it a retry is recognised; commits alone could be carried out twice.
    const retrying = { idempotent: published.length > 0 };
    const body = encodeAtomic(parts);
    const limit = (requester.link.hello?.limits.frameBytes ?? MAX_FRAME_BYTES) - 12;
    if (body.length > limit) throw new InvalidArgumentError(`a transaction of ${body.length} bytes, where ${limit} are allowed`);
    const answer = decodeAtomicAnswer(await requester.binary(PUBLISH_ATOMIC, "an atomic publish", [body], options, retrying));
    return {
      batches: answer.publishes.map((ack, index) => batchAck(published[index]?.name ?? "", ack, offsets)),
      committed: answer.commits.map((offset) => offsets.of(offset)),
    };
  }
}

function conditions({ expectedOffset, fence }: PublishConditions): Conditions | undefined {
  if (expectedOffset === undefined && fence === undefined) return undefined;
  return {
    expectedOffset: expectedOffset === undefined ? undefined : offsetInput(expectedOffset, "expectedOffset"),
    fence: fence === undefined ? undefined : offsetInput(fence, "fence"),
  };
}
