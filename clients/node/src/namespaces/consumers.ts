import { ConsumerNotFoundError } from "../errors/index.js";
import type { Message } from "../message.js";
import { type OffsetInput, offsetInput, type OffsetType } from "../offset.js";
import type { CallOptions, Place } from "../options.js";
import { placeJson } from "../reading/fetch.js";
import type { Tail, TailRequest } from "../reading/tail.js";
import { COMMIT } from "../wire/kinds.js";
import { decodeCommitAnswer, encodeCommit } from "../wire/messages.js";
import { type Context, ONCE, SAFE } from "./context.js";

/**
 * Names one consumer of one channel.
 *
 * @example
 * ```ts
 * await np.consumers.delete({ channelId: "orders", consumer: "billing" });
 * ```
 */
export interface ConsumerRequest {
  /** Name or id of the channel. */
  readonly channelId: string;
  /** The consumer. */
  readonly consumer: string;
}

/**
 * A position to be stored.
 *
 * @example
 * ```ts
 * const request: CommitRequest = { channelId: "orders", consumer: "billing", offset: 42, metadata: "step 7" };
 * ```
 */
export interface CommitRequest extends ConsumerRequest {
  /** The next offset that the consumer will read. */
  readonly offset: OffsetInput;
  /** Text to find again with the position, up to 4,096 bytes. */
  readonly metadata?: string | undefined;
  /** Log epoch of the last message read, so that a log that was cut is noticed (`DivergedError`). */
  readonly logEpoch?: bigint | undefined;
  /** The position it must have had, else `PositionMismatchError`; null: none; any unless given. */
  readonly expectedPrevious?: OffsetInput | null | undefined;
}

/**
 * A consumer's position, and how far it is behind.
 *
 * @example
 * ```ts
 * const { offset, lagRecords }: ConsumerPosition = await np.consumers.position({ channelId: "orders", consumer: "billing" });
 * ```
 */
export interface ConsumerPosition<O extends OffsetType = number> {
  readonly channel: string;
  readonly consumer: string;
  /** The next offset that it will read. */
  readonly offset: O;
  /** What it stored with it; empty if nothing. */
  readonly metadata: string;
  /** How far it is behind: in records, in stored bytes, in milliseconds of its next record's age. */
  readonly lagRecords: O;
  readonly lagBytes: number;
  readonly lagMs: number;
  /** When it was stored: milliseconds since 1970. */
  readonly committedAt: number;
  /** Whether recovery found the position beyond the end of the log and moved it back. */
  readonly repositioned: boolean;
}

/**
 * How a named consumer reads.
 *
 * @example
 * ```ts
 * const request: SubscribeRequest = { channelId: "orders", consumer: "billing", startAt: "end" };
 * ```
 */
export interface SubscribeRequest extends ConsumerRequest, Omit<TailRequest, "streamId" | "from" | "fromOffset" | "fromTime"> {
  /** Where it begins when it has no position yet; the log start unless given. */
  readonly startAt?: "start" | "end" | undefined;
}

/**
 * A named consumer at work: its messages as they come, and its position.
 *
 * @example
 * ```ts
 * const subscription = await np.consumers.subscribe({ channelId: "orders", consumer: "billing" });
 * for await (const message of subscription) {
 *   await bill(message.payload);
 *   await subscription.commit();
 * }
 * ```
 */
export class Subscription<P = unknown, O extends OffsetType = number> implements AsyncIterable<Message<P, O>> {
  private last: Message<P, O> | undefined;

  /** @internal */
  constructor(
    private readonly consumers: Consumers<O>,
    private readonly request: ConsumerRequest,
    private readonly tail: Tail<P, O>,
  ) {}

  async *[Symbol.asyncIterator](): AsyncGenerator<Message<P, O>, void, undefined> {
    for await (const message of this.tail) {
      this.last = message;
      yield message;
    }
  }

  /**
   * Stores the position behind a message, the last one that was handed out unless given.
   *
   * @example
   * ```ts
   * await subscription.commit(message, { metadata: "step 1200" });
   * ```
   */
  async commit(
    message: Message<unknown, O> | undefined = this.last,
    { metadata, ...options }: CallOptions & { readonly metadata?: string } = {},
  ): Promise<O | undefined> {
    if (message === undefined) return undefined;
    const offset = BigInt(message.offset) + 1n;
    return this.consumers.commit({ ...this.request, offset, metadata, logEpoch: message.logEpoch }, options);
  }

  /** Ends it; the position stays as it was stored. */
  async close(): Promise<void> {
    await this.tail.return();
  }

  /** Ends it. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

/**
 * Named consumers: positions that the broker keeps.
 *
 * @example
 * ```ts
 * for (const { consumer, lagRecords } of await np.consumers.list({ channelId: "orders" })) console.log(consumer, lagRecords);
 * ```
 */
export class Consumers<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Reads a channel as a named consumer, from its stored position on. Nothing is stored before `commit()`.
   *
   * @example
   * ```ts
   * await using subscription = await np.consumers.subscribe({ channelId: "orders", consumer: "billing", startAt: "end" });
   * ```
   */
  async subscribe<P = unknown>(request: SubscribeRequest, options: CallOptions = {}): Promise<Subscription<P, O>> {
    const { channelId, consumer, startAt, ...rest } = request;
    let fromOffset: O | undefined;
    try {
      ({ offset: fromOffset } = await this.position({ channelId, consumer }, options));
    } catch (error) {
      if (!(error instanceof ConsumerNotFoundError)) throw error;
    }
    const from = fromOffset === undefined ? { from: startAt ?? "start" } : { fromOffset };
    // The options' time is that of the first call; a tail waits as long as it takes.
    const tail = this.context.tail<P>({ ...rest, ...from, streamId: channelId }, { signal: options.signal });
    return new Subscription<P, O>(this, { channelId, consumer }, tail);
  }

  /**
   * Stores a position: the next offset that the consumer will read. The first commit creates the consumer. Returns the
   * position stored.
   *
   * @example
   * ```ts
   * await np.consumers.commit({ channelId: "orders", consumer: "billing", offset: 42, metadata: "step 1200" });
   * ```
   */
  async commit(request: CommitRequest, options: CallOptions = {}): Promise<O> {
    const { channelId, consumer, offset, metadata, logEpoch, expectedPrevious } = request;
    const { names, requester, offsets } = this.context;
    const { name, incarnation } = names.known(channelId) ?? (await names.resolve(channelId, options));
    const previous = expectedPrevious == null ? expectedPrevious : offsetInput(expectedPrevious, "expectedPrevious");
    const fields = { channel: name, incarnation, consumer, offset: offsetInput(offset, "offset"), logEpoch, expectedPrevious: previous, metadata };
    const body = [encodeCommit(fields)];
    return offsets.of(decodeCommitAnswer(await requester.binary(COMMIT, "a commit", body, options, { idempotent: previous === undefined })));
  }

  /**
   * One consumer's position and lag.
   *
   * @throws ConsumerNotFoundError
   *
   * @example
   * ```ts
   * const { offset, lagRecords } = await np.consumers.position({ channelId: "orders", consumer: "billing" });
   * ```
   */
  async position({ channelId, consumer }: ConsumerRequest, options?: CallOptions): Promise<ConsumerPosition<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    return this.row(await this.context.requester.json<Row>("consumer.position", { channel: name, consumer }, options, SAFE));
  }

  /**
   * The consumers of a channel.
   *
   * @example
   * ```ts
   * const consumers = await np.consumers.list({ channelId: "orders" });
   * ```
   */
  async list({ channelId }: { readonly channelId: string }, options?: CallOptions): Promise<readonly ConsumerPosition<O>[]> {
    const { name } = await this.context.names.resolve(channelId, options);
    const answer = await this.context.requester.json<{ consumers: Row[] }>("consumer.list", { channel: name }, options, SAFE);
    return answer.consumers.map((row) => this.row(row));
  }

  /**
   * How far consumers are behind: those of one channel, or of all.
   *
   * @example
   * ```ts
   * const behind = (await np.consumers.lag()).filter(({ lagRecords }) => lagRecords > 1000);
   * ```
   */
  async lag({ channelId }: { readonly channelId?: string } = {}, options?: CallOptions): Promise<readonly ConsumerPosition<O>[]> {
    const body = channelId === undefined ? {} : { channel: (await this.context.names.resolve(channelId, options)).name };
    const answer = await this.context.requester.json<{ consumers: Row[] }>("consumer.lag", body, options, SAFE);
    return answer.consumers.map((row) => this.row(row));
  }

  /**
   * Moves a consumer to a place, creating it if need be.
   *
   * @example
   * ```ts
   * await np.consumers.reset({ channelId: "orders", consumer: "billing", to: { start: true } });
   * ```
   */
  async reset({ channelId, consumer, to }: ConsumerRequest & { readonly to: Place }, options?: CallOptions): Promise<ConsumerPosition<O>> {
    const { name } = await this.context.names.resolve(channelId, options);
    return this.row(await this.context.requester.json<Row>("consumer.reset", { channel: name, consumer, to: placeJson(to) }, options, ONCE));
  }

  /**
   * Forgets a consumer.
   *
   * @throws ConsumerNotFoundError
   *
   * @example
   * ```ts
   * await np.consumers.delete({ channelId: "orders", consumer: "billing" });
   * ```
   */
  async delete({ channelId, consumer }: ConsumerRequest, options?: CallOptions): Promise<void> {
    const { name } = await this.context.names.resolve(channelId, options);
    await this.context.requester.json("consumer.delete", { channel: name, consumer }, options, ONCE);
  }

  private row(row: Row): ConsumerPosition<O> {
    const { offsets } = this.context;
    const offset = offsets.ofJson(row.offset, "offset");
    return { ...row, offset, lagRecords: offsets.ofJson(row.lagRecords, "lagRecords") } as ConsumerPosition<O>;
  }
}

type Row = Readonly<Record<string, unknown>>;
