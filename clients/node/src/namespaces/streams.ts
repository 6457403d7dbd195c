import type { OffsetType } from "../offset.js";
import type { CallOptions, Place } from "../options.js";
import { consume, ConsumeResult, type ConsumeRequest } from "../reading/consume.js";
import { placeJson } from "../reading/fetch.js";
import { Merged, type MergedRequest } from "../reading/merged.js";
import type { Tail, TailRequest } from "../reading/tail.js";
import type { ChannelInfo } from "./channel-types.js";
import type { Channels, CreateChannelRequest } from "./channels.js";
import { type Context, SAFE } from "./context.js";

/**
 * Names one stream.
 *
 * @example
 * ```ts
 * const info = await np.streams.info({ streamId: "orders" });
 * ```
 */
export interface StreamRequest {
  /** Name or id of the stream. */
  readonly streamId: string;
}

/**
 * What a place in a stream stands for.
 *
 * @example
 * ```ts
 * const { offset, highWatermark }: OffsetAt = await np.streams.offsetAt({ streamId: "orders", at: { back: 10 } });
 * ```
 */
export interface OffsetAt<O extends OffsetType = number> {
  /** The offset. */
  readonly offset: O;
  /** Lowest offset that can be read. */
  readonly logStart: O;
  /** The end of the stream for readers. */
  readonly highWatermark: O;
  readonly logEnd: O;
  readonly logEpoch: bigint;
  readonly id: string;
}

/**
 * Streams: channels opened for replay, from any offset or time.
 *
 * @example
 * ```ts
 * const stream = await np.streams.create({ name: "ml.feedback.production", retentionDays: 365 });
 * const { messages, nextOffset } = await np.streams.consume({ streamId: stream.id, fromOffset: 0, maxMessages: 10_000 });
 * ```
 */
export class Streams<O extends OffsetType = number> {
  /** @internal */
  constructor(
    private readonly context: Context<O>,
    private readonly channels: Channels<O>,
  ) {}

  /**
   * Makes a stream. One that exists with the same configuration, as far as it is given, is returned as it is.
   *
   * @throws ChannelExistsError where it exists with another configuration.
   *
   * @example
   * ```ts
   * const stream = await np.streams.create({ name: "ml.feedback", retentionDays: 365 });
   * ```
   */
  create(request: CreateChannelRequest, options?: CallOptions): Promise<ChannelInfo<O>> {
    return this.channels.create(request, options);
  }

  /**
   * One stream: where it begins and ends, its size and configuration.
   *
   * @throws ChannelNotFoundError
   *
   * @example
   * ```ts
   * const { logStart, highWatermark } = await np.streams.info({ streamId: "ml.feedback" });
   * ```
   */
  info({ streamId }: StreamRequest, options?: CallOptions): Promise<ChannelInfo<O>> {
    return this.channels.get({ channelId: streamId }, options);
  }

  /**
   * Reads what is there from an offset (inclusive), a time or the log start, in order, and never waits for more. Ends in
   * front of damaged or lost records when some were read before; the next call tells of those.
   *
   * @throws OffsetTrimmedError below the log start, with details `first`, `end`; OffsetOutOfRangeError above the end;
   * RecordsLostError where records were lost; CorruptDataError where a checksum does not match.
   *
   * @example
   * ```ts
   * let fromOffset = 0;
   * for (;;) {
   *   const { messages, nextOffset, isAtEnd } = await np.streams.consume({ streamId: "ml.feedback", fromOffset });
   *   for (const message of messages) train(message.payload);
   *   fromOffset = nextOffset;
   *   if (isAtEnd) break;
   * }
   * ```
   */
  async consume<P = unknown>(request: ConsumeRequest, options: CallOptions = {}): Promise<ConsumeResult<P, O>> {
    const { requester, offsets, names } = this.context;
    const channel = names.known(request.streamId) ?? (await names.resolve(request.streamId, options));
    return consume<P, O>(requester, offsets, channel, request, options);
  }

  /**
   * The messages of a stream as they come, in order, from an offset (inclusive), a time, the log start or the end. Memory
   * is bounded by `maxBufferedBytes`; after a lost connection it goes on at the next offset.
   *
   * @example
   * ```ts
   * for await (const message of np.streams.tail({ streamId: "ml.feedback", fromOffset: 42 })) {
   *   if (message.type === "done") break;
   * }
   * ```
   */
  tail<P = unknown>(request: TailRequest, options: CallOptions = {}): Tail<P, O> {
    return this.context.tail<P>(request, options);
  }

  /**
   * The messages of a stream that has a log for each region, of all its logs: in the one order that is the same in every
   * region and every time up to the ends, in order of arrival behind that, where it follows.
   *
   * @throws InvalidArgumentError where the stream is one log.
   *
   * @example
   * ```ts
   * for await (const { region, message } of np.streams.merged({ streamId: "ml.feedback", follow: true })) {
   *   console.log(region, message.offset, message.payload);
   * }
   * ```
   */
  merged<P = unknown>(request: MergedRequest, options: CallOptions = {}): Merged<P, O> {
    return new Merged<P, O>(this.context, request, options);
  }

  /**
   * The offset that a place stands for: a time, the start, the end, or so many records before the end.
   *
   * @example
   * ```ts
   * const { offset } = await np.streams.offsetAt({ streamId: "ml.feedback", at: { time: Date.now() - 3_600_000 } });
   * ```
   */
  async offsetAt({ streamId, at }: StreamRequest & { readonly at: Place }, options?: CallOptions): Promise<OffsetAt<O>> {
    const { requester, offsets, names } = this.context;
    const { name } = await names.resolve(streamId, options);
    const body = { channel: name, at: placeJson(at) };
    const answer = await requester.json<Record<string, unknown>>("channel.resolve", body, options, SAFE);
    return {
      offset: offsets.ofJson(answer.offset, "offset"),
      logStart: offsets.ofJson(answer.logStart, "logStart"),
      highWatermark: offsets.ofJson(answer.highWatermark, "highWatermark"),
      logEnd: offsets.ofJson(answer.logEnd, "logEnd"),
      logEpoch: BigInt(answer.logEpoch as number | bigint),
      id: answer.incarnation as string,
    };
  }
}

