import type { ChannelRef } from "../channel-names.js";
import type { Requester } from "../connection/requester.js";
import type { Message } from "../message.js";
import type { OffsetCodec, OffsetInput, OffsetType } from "../offset.js";
import { offsetInput } from "../offset.js";
import type { CallOptions } from "../options.js";
import type { FetchAnswer } from "../wire/messages.js";
import { Cursor, lacksOnlyOthers, type OnLost, takeMessages } from "./cursor.js";
import { atLeastOne, beginning, type BeginOptions, fetch, type ReadOptions } from "./fetch.js";

/**
 * What to read of a stream, at most.
 *
 * @example
 * ```ts
 * const request: ConsumeRequest = { streamId: "orders", fromOffset: 100, maxMessages: 1000 };
 * ```
 */
export interface ConsumeRequest extends BeginOptions, ReadOptions {
  /** Name or id of the stream. */
  readonly streamId: string;
  /** The offset to end in front of; the end of the stream as it is unless given. */
  readonly toOffset?: OffsetInput | undefined;
  /** No more messages than this; as many as `maxBytes` allows unless given. */
  readonly maxMessages?: number | undefined;
  /** No more bytes of records than this, but at least one message; 33,554,432 unless given. */
  readonly maxBytes?: number | undefined;
  /** Told of records that the broker's disk has lost, instead of `RecordsLostError`. */
  readonly onLost?: OnLost | undefined;
}

/**
 * What was read of a stream. It is iterable: `for (const message of result)`.
 *
 * @example
 * ```ts
 * const data = await np.streams.consume({ streamId: "ml.feedback", fromOffset: 0, maxMessages: 10_000 });
 * for (const message of data) train(message.payload);
 * await save(data.nextOffset); // where the next call begins
 * ```
 */
export class ConsumeResult<P = unknown, O extends OffsetType = number> implements Iterable<Message<P, O>> {
  constructor(
    /** The messages, in order of their offsets. */
    readonly messages: readonly Message<P, O>[],
    /** Where the next read begins: the offset after the last message. */
    readonly nextOffset: O,
    /** The end of the stream when it was read: the offset of the next record that could be read then. */
    readonly endOffset: O,
  ) {}

  /** Whether everything up to the end was read. */
  get isAtEnd(): boolean {
    return this.nextOffset >= this.endOffset;
  }

  [Symbol.iterator](): IterableIterator<Message<P, O>> {
    return this.messages[Symbol.iterator]();
  }
}

/** Bytes of one fetch: large enough to keep the broker busy, small enough to be parsed between two turns. */
const FETCH_BYTES = 4 << 20;

/** Reads what is there, up to the limits; never waits for more. */
export async function consume<P, O extends OffsetType>(
  requester: Requester,
  offsets: OffsetCodec<O>,
  channel: ChannelRef,
  request: ConsumeRequest,
  options: CallOptions,
): Promise<ConsumeResult<P, O>> {
  const max = atLeastOne(request.maxMessages ?? Infinity, "maxMessages");
  const maxBytes = atLeastOne(request.maxBytes ?? 32 << 20, "maxBytes");
  let to = request.toOffset === undefined ? undefined : offsetInput(request.toOffset, "toOffset");
  const cursor = new Cursor(channel, beginning(request), request);
  const messages: Message<P, O>[] = [];
  let bytes = 0;
  let next: bigint | undefined;
  let end: bigint | undefined;
  const result = (): ConsumeResult<P, O> => new ConsumeResult<P, O>(messages, offsets.of(next ?? 0n), offsets.of(end ?? 0n));
  let asked: { readonly answer: Promise<FetchAnswer> } | undefined;
  const ask = (missing: number) => {
    // Headers and padding make the stored batches larger than their records, so a little more is asked for.
    const limits = { maxBytes: Math.min(missing + 4096, FETCH_BYTES), maxWaitMs: 0 };
    const answer = fetch(requester, cursor, limits, options);
    // Looked at when its turn comes, if it does.
    answer.catch(() => {});
    return { answer };
  };
  for (;;) {
    let stretches;
    try {
      const answer = await (asked ?? ask(maxBytes - bytes)).answer;
      asked = undefined;
      const wasBeyond = cursor.isBeyond;
      next ??= answer.fromOffset;
      end ??= answer.highWatermark;
      if (to === undefined || to > end) to = end;
      stretches = cursor.take(answer);
      // A copy has passed over what is next: it is read elsewhere.
      if (stretches.length === 0 && cursor.isBeyond && !wasBeyond) continue;
    } catch (error) {
      // What was read before is handed out; the next call begins at the trouble and tells of it.
      if (messages.length > 0 && !options.signal?.aborted) return result();
      throw error;
    }
    if (stretches.length === 0) return result();
    // While these messages are made, the broker and the network work on the next ones.
    let [foundBytes, foundRecords] = [0, 0];
    for (const { batch } of stretches) {
      foundBytes += batch.bytes.length;
      foundRecords += batch.recordCount;
    }
    const last = stretches[stretches.length - 1]?.to ?? to;
    const isEnough = last >= to || bytes + foundBytes >= maxBytes || messages.length + foundRecords >= max;
    asked = isEnough ? undefined : ask(maxBytes - bytes - foundBytes);
    for (const { batch, from, to: stretchEnd } of stretches) {
      if (from >= to) return result();
      const stretch = { batch, from, to: stretchEnd < to ? stretchEnd : to };
      const isLost = batch.isGap && !lacksOnlyOthers(batch, cursor.types);
      if (isLost && request.onLost === undefined && messages.length > 0) return result();
      const before = messages.length;
      const limits = { types: cursor.types, max: max - before, maxBytes: before === 0 ? maxBytes : maxBytes - bytes };
      const taken = takeMessages(messages, channel.name, stretch, offsets, request.onLost, limits);
      bytes += taken.bytes;
      next = taken.next;
      if (messages.length >= max || next < stretch.to || bytes >= maxBytes) return result();
    }
    if (next !== undefined && next >= to) return result();
  }
}
