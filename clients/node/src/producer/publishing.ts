import { randomBytes } from "node:crypto";
import type { NewRecord } from "../batch/builder.js";
import type { ChannelNames, ChannelRef } from "../channel-names.js";
import type { Requester } from "../connection/requester.js";
import { ClosedError } from "../errors/index.js";
import type { OffsetCodec, OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import { bounded, throwIfAborted } from "../signals.js";
import type { BatchAck, PublishAck } from "./ack.js";
import type { Conditions, Effort } from "./batches.js";
import { BatchBuffers } from "./buffers.js";
import { BatchOutcome } from "./outcome.js";
import { ChannelProducer, type ProducerOptions } from "./producer.js";
import { QueueLimit } from "./queue-limit.js";

/** Hands something to a producer; throws what is wrong with it. */
type Push<T> = (effort: Effort) => Promise<T>;

/** Room for the record that fills a batch beyond its limit. */
const ROOM_FOR_ONE = 32 << 10;

/** Producers that a client keeps; beyond, those without anything under way are forgotten. */
const MAX_PRODUCERS = 1000;

/**
 * All that a client publishes: one producer for each channel, made when it is first needed, with an identity and a
 * sequence of its own, so that a retry is recognised.
 */
export class Publishing<O extends OffsetType> {
  private readonly producers = new Map<string, ChannelProducer<O>>();
  private readonly limit: QueueLimit;
  private readonly buffers: BatchBuffers;
  private isClosed = false;

  constructor(
    private readonly requester: Requester,
    private readonly names: ChannelNames,
    private readonly offsets: OffsetCodec<O>,
    readonly options: ProducerOptions,
    maxQueuedBytes: number,
  ) {
    this.limit = new QueueLimit(maxQueuedBytes);
    this.buffers = new BatchBuffers(options.batchBytes + ROOM_FOR_ONE);
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
    return this.enqueue(ref, sizeHint(record), options, (effort) => this.producer(ref).push(record, conditions, effort));
  }

  /** Publishes records as one batch: all of them or none. */
  async publishBatch(channelId: string, records: readonly NewRecord[], conditions: Conditions, options: CallOptions): Promise<BatchAck<O>> {
    throwIfAborted(options.signal);
    const ref = this.names.known(channelId) ?? (await this.names.resolve(channelId, options));
    let bytes = 0;
    for (const record of records) bytes += sizeHint(record);
    return this.enqueue(ref, bytes, options, (effort) => {
      const outcome = new BatchOutcome(ref.name, this.offsets);
      this.producer(ref).pushBatch(records, outcome, conditions, effort);
      return outcome.settled;
    });
  }

  /** Hands something to the producer of its channel: at once where there is room for it, else as soon as there is. */
  private enqueue<T>(ref: ChannelRef, bytes: number, options: CallOptions, push: Push<T>): Promise<T> {
    if (this.isClosed) throw new ClosedError();
    let promise: Promise<T>;
    if (this.limit.hasRoom(bytes)) promise = push(this.effort(options));
    else {
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
      const enter = (): void => resolve(push(effort));
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

  private producer(ref: ChannelRef): ChannelProducer<O> {
    if (this.isClosed) throw new ClosedError();
    const key = ref.incarnation === undefined ? ref.name : `${ref.name}@${ref.incarnation}`;
    let producer = this.producers.get(key);
    if (producer === undefined) {
      if (this.producers.size >= MAX_PRODUCERS) this.forgetIdle();
      // One of the same channel may have been forgotten, or go by the channel's id: it counted sequences of its own.
      producer = new ChannelProducer(ref, randomBytes(16), this.requester, this.limit, this.options, this.offsets, this.buffers);
      this.producers.set(key, producer);
    }
    return producer;
  }

  private forgetIdle(): void {
    for (const [key, producer] of this.producers) if (producer.isIdle) this.producers.delete(key);
  }
}

/** About how many bytes a record takes. */
function sizeHint({ payload, key }: NewRecord): number {
  return 512 + (payload?.length ?? 0) + (key?.length ?? 0);
}
