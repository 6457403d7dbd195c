import { randomBytes } from "node:crypto";
import type { NewRecord } from "../batch/builder.js";
import type { ChannelNames, ChannelRef } from "../channel-names.js";
import type { Requester } from "../connection/requester.js";
import { ClosedError } from "../errors/index.js";
import type { OffsetCodec, OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import { bounded, throwIfAborted } from "../signals.js";
import type { PublishAnswer } from "../wire/messages.js";
import type { BatchAck, PublishAck } from "./ack.js";
import type { Conditions, Effort, Settler } from "./batches.js";
import { ChannelProducer, type ProducerOptions } from "./producer.js";
import { QueueLimit } from "./queue-limit.js";

/** Hands something to a producer. */
type Push<T> = (effort: Effort, resolve: (value: T) => void, reject: (error: Error) => void) => void;

/** Producers that a client keeps; beyond, those without anything under way are forgotten. */
const MAX_PRODUCERS = 1000;

/**
 * All that a client publishes: one producer for each channel, made when it is first needed, with an identity and a
 * sequence of its own, so that a retry is recognised.
 */
export class Publishing<O extends OffsetType> {
  private readonly producers = new Map<string, ChannelProducer>();
  private readonly limit: QueueLimit;
  private isClosed = false;

  constructor(
    private readonly requester: Requester,
    private readonly names: ChannelNames,
    private readonly offsets: OffsetCodec<O>,
    readonly options: ProducerOptions,
    maxQueuedBytes: number,
  ) {
    this.limit = new QueueLimit(maxQueuedBytes);
  }

  /** Publishes one record; the order of the calls is the order in the channel. */
  publish(channelId: string, record: NewRecord, conditions: Conditions | undefined, options: CallOptions): Promise<PublishAck<O>> {
    try {
      const ref = this.names.known(channelId);
      if (ref === undefined) {
        return this.names.resolve(channelId, options).then((found) => this.publishTo(found, record, conditions, options));
      }
      return this.publishTo(ref, record, conditions, options);
    } catch (error) {
      return Promise.reject(error as Error);
    }
  }

  private publishTo(ref: ChannelRef, record: NewRecord, conditions: Conditions | undefined, options: CallOptions): Promise<PublishAck<O>> {
    throwIfAborted(options.signal);
    return this.enqueue<PublishAck<O>>(ref, sizeHint(record), options, (effort, resolve, reject) => {
      this.producer(ref).push(record, new RecordSettler(ref.name, this.offsets, resolve, reject), conditions, effort);
    });
  }

  /** Publishes records as one batch: all of them or none. */
  async publishBatch(channelId: string, records: readonly NewRecord[], conditions: Conditions, options: CallOptions): Promise<BatchAck<O>> {
    throwIfAborted(options.signal);
    const ref = this.names.known(channelId) ?? (await this.names.resolve(channelId, options));
    let bytes = 0;
    for (const record of records) bytes += sizeHint(record);
    return this.enqueue<BatchAck<O>>(ref, bytes, options, (effort, resolve, reject) => {
      const settler: Settler = { resolve: (answer) => settle(resolve, reject, () => batchAck(ref.name, answer, this.offsets)), reject };
      this.producer(ref).pushBatch(records, settler, conditions, effort);
    });
  }

  /** Hands something to the producer of its channel: at once where there is room for it, else as soon as there is. */
  private enqueue<T>(ref: ChannelRef, bytes: number, options: CallOptions, push: Push<T>): Promise<T> {
    if (this.isClosed) throw new ClosedError();
    let promise: Promise<T>;
    if (this.limit.hasRoom(bytes)) {
      const effort = this.effort(options);
      promise = new Promise<T>((resolve, reject) => push(effort, resolve, reject));
    } else {
      if (!this.limit.mayWait(bytes)) return this.limit.rejection();
      promise = this.whenThereIsRoom(ref, bytes, options, push);
    }
    return options.signal === undefined ? promise : bounded(promise, options.signal, Infinity, () => new ClosedError());
  }

  private whenThereIsRoom<T>(ref: ChannelRef, bytes: number, options: CallOptions, push: Push<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      // Its time runs while it waits.
      const since = Date.now();
      const effort = { ...this.effort(options), since };
      const deadline = since + effort.timeoutMs;
      const enter = (): void => push(effort, resolve, reject);
      this.limit.wait({ bytes, channel: ref.name, timeoutMs: effort.timeoutMs, deadline, signal: options.signal, enter, reject });
    });
  }

  /** Rejects everything that is not acknowledged, and all that follows. */
  close(): void {
    this.isClosed = true;
    this.limit.close();
    for (const producer of this.producers.values()) producer.close();
    this.producers.clear();
  }

  private effort({ timeoutMs, maxRetries }: CallOptions): Effort {
    const { defaults } = this.requester;
    if (timeoutMs === undefined && maxRetries === undefined) return defaults;
    return { timeoutMs: timeoutMs ?? defaults.timeoutMs, maxRetries: maxRetries ?? defaults.maxRetries };
  }

  private producer(ref: ChannelRef): ChannelProducer {
    if (this.isClosed) throw new ClosedError();
    const key = ref.incarnation === undefined ? ref.name : `${ref.name}@${ref.incarnation}`;
    let producer = this.producers.get(key);
    if (producer === undefined) {
      if (this.producers.size >= MAX_PRODUCERS) this.forgetIdle();
      // One of the same channel may have been forgotten, or go by the channel's id: it counted sequences of its own.
      producer = new ChannelProducer(ref, randomBytes(16), this.requester, this.limit, this.options);
      this.producers.set(key, producer);
    }
    return producer;
  }

  private forgetIdle(): void {
    for (const [key, producer] of this.producers) if (producer.isIdle) this.producers.delete(key);
  }
}

/** Hands an acknowledgement to the promise of one record. */
class RecordSettler<O extends OffsetType> implements Settler {
  constructor(
    private readonly channel: string,
    private readonly offsets: OffsetCodec<O>,
    private readonly onAck: (ack: PublishAck<O>) => void,
    readonly reject: (error: Error) => void,
  ) {}

  resolve(answer: PublishAnswer, index: number): void {
    settle(this.onAck, this.reject, () => {
      const { level, appendTime, duplicate, logEpoch, incarnation } = answer;
      return { channel: this.channel, offset: this.offsets.at(answer.firstOffset, index), level, appendTime, duplicate, logEpoch, incarnation };
    });
  }
}

function settle<T>(resolve: (value: T) => void, reject: (error: Error) => void, make: () => T): void {
  try {
    resolve(make());
  } catch (error) {
    reject(error as Error);
  }
}

/** What a client hands out for an appended batch. */
export function batchAck<O extends OffsetType>(channel: string, answer: PublishAnswer, offsets: OffsetCodec<O>): BatchAck<O> {
  const { level, appendTime, duplicate, logEpoch, incarnation } = answer;
  return {
    channel,
    firstOffset: offsets.of(answer.firstOffset),
    lastOffset: offsets.of(answer.lastOffset),
    count: Number(answer.lastOffset - answer.firstOffset) + 1,
    level,
    appendTime,
    duplicate,
    logEpoch,
    incarnation,
  };
}

/** About how many bytes a record takes. */
function sizeHint({ payload, key }: NewRecord): number {
  return 512 + (payload?.length ?? 0) + (key?.length ?? 0);
}
