import { type NewRecord, type Producer as ProducerStamp, stampProducer, withoutLarge } from "../batch/builder.js";
import type { CompressionName } from "../batch/compression.js";
import type { ChannelRef } from "../channel-names.js";
import { Backoff } from "../connection/backoff.js";
import type { Connection } from "../connection/connection.js";
import type { Requester } from "../connection/requester.js";
import type { OffsetCodec, OffsetType } from "../offset.js";
import {
  ChannelRecreatedError,
  ClosedError,
  ConnectionLostError,
  NPayloadError,
  ProtocolError,
  RecordTooLargeError,
  RequestTimeoutError,
  SequenceTooOldError,
  TimeoutError,
  UnknownProducerError,
} from "../errors/index.js";
import { PUBLISH } from "../wire/kinds.js";
import { decodePublishAnswer, encodePublishHead, type PublishAnswer } from "../wire/messages.js";
import type { PublishAck } from "./ack.js";
import { type Conditions, type Effort, type OpenBatch, openBatch, RECORD_COST, type SealedBatch } from "./batches.js";
import type { BatchBuffers } from "./buffers.js";
import { locate } from "./locate.js";
import { DeadlineTimer } from "./deadline-timer.js";
import { type Outcome, RecordOutcomes } from "./outcome.js";
import type { QueueLimit } from "./queue-limit.js";
import { wasNotAppended } from "./refusals.js";

/** Limits of every producer of a client. */
export interface ProducerOptions {
  readonly batchBytes: number;
  readonly batchRecords: number;
  readonly maxInFlight: number;
  readonly compression: CompressionName;
}

/**
 * Publishes to one channel, in order, each record once.
 *
 * ```text
 * open --full, or the turn of the event loop ends--> sealed --sent--> unacked --answered--> settled
 *                                                      ^                 |
 *                                                      +--- lost, or a retryable refusal: all from the front on
 * ```
 *
 * Nothing lingers: a lone record leaves at the end of its turn of the event loop, and while as many batches are in flight
 * as may be, records collect in the next one.
 */
export class ChannelProducer<O extends OffsetType> {
  private open: (OpenBatch & { readonly outcome: RecordOutcomes<O> }) | undefined;
  private full: OpenBatch[] = [];
  private unacked: SealedBatch[] = [];
  private epoch = 1;
  private nextSequence = 0;
  /** Known from the first acknowledgement on: a channel that was created again is noticed. */
  private incarnation: string | undefined;
  /** The offset after the last acknowledged record: where a search for a lost one begins. */
  private ackedTo: bigint | undefined;
  private isScheduled = false;
  private connecting: AbortController | undefined;
  private attempts = 0;
  private isLocating = false;
  private retryTimer: NodeJS.Timeout | undefined;
  private readonly deadlines = new DeadlineTimer(() => this.expire());
  private lastError: Error | undefined;
  private readonly backoff: Backoff;
  private head: { incarnation: string | undefined; bytes: Buffer } | undefined;

  constructor(
    private readonly channel: ChannelRef,
    private readonly producerId: Buffer,
    private readonly requester: Requester,
    private readonly limit: QueueLimit,
    private readonly options: ProducerOptions,
    private readonly offsets: OffsetCodec<O>,
    private readonly buffers: BatchBuffers,
  ) {
    this.incarnation = channel.incarnation;
    this.backoff = new Backoff(requester.defaults.backoff);
  }

  /** Whether nothing is under way. */
  get isIdle(): boolean {
    return this.open === undefined && this.full.length === 0 && this.unacked.length === 0;
  }

  /** Takes one record. Throws what is wrong with it. */
  push(record: NewRecord, conditions: Conditions | undefined, effort: Effort): Promise<PublishAck<O>> {
    const { batchBytes, batchRecords } = this.options;
    let open = this.open;
    // What has another time or other retries is no part of the same batch: none is to fail for the other.
    const isOther = open !== undefined && (open.timeoutMs !== effort.timeoutMs || open.maxRetries !== effort.maxRetries);
    if (open !== undefined && (conditions !== undefined || isOther || open.builder.recordCount >= batchRecords)) {
      this.sealOpen();
      open = undefined;
    }
    const isLarge = (record.payload?.length ?? 0) * 2 >= batchBytes;
    if (isLarge) {
      // Travels alone: were it too large for its channel, nothing else would be refused with it.
      this.sealOpen();
      open = undefined;
    }
    const isBusy = this.unacked.length > 0 || this.full.length > 0;
    if (open === undefined) {
      const buffer = conditions === undefined && !isLarge && isBusy ? this.buffers.take() : undefined;
      open = openBatch(new RecordOutcomes(this.channel.name, this.offsets), conditions ?? {}, effort, buffer);
    }
    const bytes = open.builder.push(record);
    const settled = open.outcome.add();
    open.cost += bytes + RECORD_COST;
    this.limit.take(bytes + RECORD_COST);
    this.open = open;
    this.deadlines.arm(open.opened + open.timeoutMs);
    if (conditions !== undefined || isLarge || open.builder.byteLength >= batchBytes) this.sealOpen();
    this.schedule();
    return settled;
  }

  /** Takes records as one batch, which is appended all or not at all. Throws what is wrong with one of them. */
  pushBatch(records: Iterable<NewRecord>, outcome: Outcome, conditions: Conditions, effort: Effort): void {
    const batch = openBatch(outcome, conditions, effort);
    for (const record of records) batch.builder.push(record);
    batch.cost = batch.builder.byteLength + RECORD_COST;
    this.sealOpen();
    this.full.push(batch);
    this.limit.take(batch.cost);
    this.deadlines.arm(batch.opened + batch.timeoutMs);
    this.schedule();
  }

  /** Rejects everything that is not acknowledged. */
  close(): void {
    this.failAll(new ClosedError());
  }

  private sealOpen(): void {
    if (this.open === undefined) return;
    this.full.push(this.open);
    this.open = undefined;
  }

  private schedule(): void {
    if (this.isScheduled) return;
    this.isScheduled = true;
    setImmediate(() => {
      this.isScheduled = false;
      this.pump();
    });
  }

  /** Seals as many batches as may be in flight, and sends what is to be sent. */
  private pump(): void {
    while (this.unacked.length < this.options.maxInFlight) {
      const batch = this.full.shift() ?? this.open;
      if (batch === undefined) break;
      if (batch === this.open) this.open = undefined;
      this.unacked.push(this.seal(batch));
    }
    this.sendAll();
    if (this.isIdle) this.deadlines.clear();
  }

  private seal({ builder, outcome, conditions, cost, opened, timeoutMs, maxRetries }: OpenBatch): SealedBatch {
    const sequence = this.nextSequence;
    this.nextSequence += builder.recordCount;
    return {
      bytes: builder.build(this.stamp(sequence), this.options.compression),
      room: builder.room,
      records: builder.recordCount,
      sequence,
      outcome,
      conditions,
      cost,
      deadline: opened + timeoutMs,
      timeoutMs,
      maxRetries,
      tries: 0,
      isUnsure: false,
      attempt: 0,
      answer: undefined,
    };
  }

  private stamp(sequence: number): ProducerStamp {
    return { id: this.producerId, epoch: this.epoch, sequence };
  }

  private sendAll(): void {
    if (this.unacked.length === 0 || this.retryTimer !== undefined || this.isLocating) return;
    const connection = this.requester.link.connection;
    if (connection === undefined) return this.connect();
    for (const batch of this.unacked) if (batch.attempt === 0) this.send(connection, batch);
  }

  private send(connection: Connection, batch: SealedBatch): void {
    batch.tries += 1;
    const attempt = ++this.attempts;
    batch.attempt = attempt;
    const { answer } = connection.send(PUBLISH, [this.publishHead(batch.conditions), batch.bytes]);
    const settle = (outcome: PublishAnswer | Error): void => {
      // Not the answer to an earlier try, nor to what was given up.
      if (batch.attempt !== attempt) return;
      batch.answer = outcome;
      this.answered();
    };
    answer.then(
      (body) => {
        try {
          settle(decodePublishAnswer(body));
        } catch (error) {
          settle(error as Error);
        }
      },
      (error: Error) => settle(error),
    );
  }

  private publishHead({ expectedOffset }: Conditions): Buffer {
    const target = { channel: this.channel.name, incarnation: this.incarnation };
    if (expectedOffset !== undefined) return encodePublishHead({ ...target, expectedOffset });
    if (this.head === undefined || this.head.incarnation !== this.incarnation) {
      this.head = { incarnation: this.incarnation, bytes: encodePublishHead(target) };
    }
    return this.head.bytes;
  }

  private connect(): void {
    if (this.connecting !== undefined) return;
    const connecting = new AbortController();
    this.connecting = connecting;
    const done = (): void => {
      if (this.connecting === connecting) this.connecting = undefined;
    };
    this.requester.link.acquire(Infinity, connecting.signal).then(
      () => {
        done();
        this.sendAll();
      },
      (error: Error) => {
        done();
        if (!connecting.signal.aborted) this.failAll(error);
      },
    );
  }

  /** Settles batches from the front on, as far as they are answered. */
  private answered(): void {
    while (!this.isLocating) {
      const front = this.unacked[0];
      if (front?.answer === undefined) break;
      if (front.answer instanceof Error) {
        this.refused(front, front.answer);
        break;
      }
      this.acknowledged(front, front.answer);
    }
    this.pump();
  }

  private acknowledged(front: SealedBatch, answer: PublishAnswer): void {
    if (answer.lastOffset - answer.firstOffset !== BigInt(front.records - 1)) {
      const range = `${answer.firstOffset} to ${answer.lastOffset}`;
      this.giveUp(new ProtocolError(`a batch of ${front.records} records was acknowledged with the offsets ${range}`));
      return;
    }
    this.unacked.shift();
    this.backoff.reset();
    this.lastError = undefined;
    this.incarnation = answer.incarnation;
    this.ackedTo = answer.lastOffset + 1n;
    this.limit.release(front.cost);
    // Of more tries than one another may still be on its way.
    if (front.tries === 1 && front.room !== undefined) this.buffers.give(front.room);
    front.outcome?.resolve(answer);
  }

  private refused(front: SealedBatch, error: Error): void {
    const isLost = error instanceof ConnectionLostError;
    if (isLost || error instanceof TimeoutError) for (const batch of this.unacked) batch.isUnsure = true;
    if (error instanceof NPayloadError && error.retryable && front.tries <= front.maxRetries) {
      this.lastError = error;
      this.again(isLost ? 0 : this.backoff.next(error.retryAfterMs));
    } else if (error instanceof SequenceTooOldError && front.isUnsure) {
      this.find(front);
    } else if (error instanceof UnknownProducerError && front.tries === 1 && front.sequence > 0) {
      // The broker forgot a producer that was idle for long. Everything before is acknowledged and the front was sent
      // once, so nothing can be appended twice.
      this.renumber();
      this.again(0);
    } else if (error instanceof ChannelRecreatedError) {
      this.giveUp(error);
      this.incarnation = this.channel.incarnation;
      this.ackedTo = undefined;
    } else if (wasNotAppended(front, error)) {
      // So nothing behind it was appended either: that follows under a new epoch.
      this.rejectFront(front, error);
      this.renumber();
      this.again(0);
    } else {
      this.giveUp(error);
    }
  }

  /** Sends everything from the front on again, after a wait. */
  private again(delayMs: number): void {
    for (const batch of this.unacked) {
      batch.attempt = 0;
      batch.answer = undefined;
    }
    if (delayMs === 0) return;
    this.retryTimer = setTimeout(() => {
      this.retryTimer = undefined;
      this.pump();
    }, delayMs);
  }

  /** An earlier try was appended, but the broker no longer knows where: look for it. */
  private find(front: SealedBatch): void {
    this.isLocating = true;
    front.answer = undefined;
    const { name: channel } = this.channel;
    const wanted = { channel, incarnation: this.incarnation, producerId: this.producerId, epoch: this.epoch, sequence: front.sequence };
    locate(this.requester, wanted, this.ackedTo)
      .catch((error: Error) => error)
      .then((outcome) => {
        this.isLocating = false;
        if (this.unacked[0] !== front) return;
        if (outcome instanceof Error) this.giveUp(outcome);
        else {
          front.answer = outcome;
          this.answered();
        }
      });
  }

  /** Begins a producer epoch, in which sequences count from 0, and gives it all that is not acknowledged. */
  private renumber(): void {
    this.epoch += 1;
    this.nextSequence = 0;
    for (const batch of this.unacked) {
      batch.sequence = this.nextSequence;
      batch.tries = 0;
      batch.isUnsure = false;
      // The bytes of an earlier try may still be on their way.
      batch.bytes = Buffer.from(batch.bytes);
      batch.room = undefined;
      stampProducer(batch.bytes, this.stamp(batch.sequence));
      this.nextSequence += batch.records;
    }
  }

  /** Rejects the batch that was refused; of a batch with a record that is too large, only that record. */
  private rejectFront(front: SealedBatch, refusal: Error): void {
    const isTooLarge = refusal instanceof RecordTooLargeError;
    const error = isTooLarge ? tooLarge(this.channel.name, refusal) : refusal;
    if (isTooLarge && front.outcome instanceof RecordOutcomes) {
      const limit = Number(refusal.details.limit);
      const kept = withoutLarge(front.bytes, limit);
      if (kept.indexes.length > 0 && kept.indexes.length < front.records) {
        front.outcome.keepOnly(kept.indexes, error);
        front.bytes = kept.bytes;
        front.room = undefined;
        front.records = kept.indexes.length;
        return;
      }
    }
    this.unacked.shift();
    this.limit.release(front.cost);
    front.outcome?.reject(error);
  }

  /** Fails what was sent, of which it is not known whether it was appended, and goes on with the rest. */
  private giveUp(error: Error): void {
    const lost = this.unacked.filter(({ tries }) => tries > 0);
    this.unacked = this.unacked.filter(({ tries }) => tries === 0);
    this.renumber();
    this.again(0);
    this.reject(lost, error);
    this.pump();
  }

  /** Fails everything that is under way. */
  private failAll(error: Error): void {
    const batches = [...this.unacked, ...this.full, ...(this.open === undefined ? [] : [this.open])];
    this.unacked = [];
    this.full = [];
    this.open = undefined;
    this.renumber();
    this.reject(batches, error);
  }

  /**
   * Fails the records whose time is up. A batch that was sent keeps its place without them, since those behind it follow
   * its sequence; once nobody waits for any that was sent, a new epoch begins.
   */
  private expire(): void {
    const now = Date.now();
    const late: { cost: number; timeoutMs: number; outcome: Outcome | undefined }[] = [];
    for (const batch of this.unacked) {
      if (batch.deadline > now || batch.outcome === undefined) continue;
      late.push({ ...batch });
      batch.outcome = undefined;
      batch.cost = 0;
    }
    const isDue = (batch: OpenBatch): boolean => batch.opened + batch.timeoutMs > now;
    late.push(...this.full.filter((batch) => !isDue(batch)));
    this.full = this.full.filter(isDue);
    if (this.open !== undefined && !isDue(this.open)) {
      late.push(this.open);
      this.open = undefined;
    }
    if (this.unacked.every(({ outcome }) => outcome === undefined)) {
      this.unacked = [];
      this.renumber();
    } else {
      this.dropUnsent();
    }
    const left = this.unacked.filter(({ outcome }) => outcome !== undefined).map(({ deadline }) => deadline);
    for (const { opened, timeoutMs } of [...this.full, ...(this.open === undefined ? [] : [this.open])]) left.push(opened + timeoutMs);
    for (const deadline of left) this.deadlines.arm(deadline);
    const cause = this.lastError;
    for (const batch of late) this.reject([batch], new RequestTimeoutError(`publishing to ${this.channel.name}`, batch.timeoutMs, { cause }));
    this.pump();
  }

  /** Drops batches that were never sent and that nobody waits for: those behind, not sent either, follow in their place. */
  private dropUnsent(): void {
    let sequence = this.unacked[0]?.sequence ?? 0;
    this.unacked = this.unacked.filter(({ tries, outcome }) => tries > 0 || outcome !== undefined);
    for (const batch of this.unacked) {
      if (batch.sequence !== sequence) {
        batch.sequence = sequence;
        stampProducer(batch.bytes, this.stamp(sequence));
      }
      sequence += batch.records;
    }
    this.nextSequence = sequence;
  }

  private reject(batches: readonly { cost: number; outcome: Outcome | undefined }[], error: Error): void {
    if (this.unacked.length === 0) {
      this.lastError = undefined;
      clearTimeout(this.retryTimer);
      this.retryTimer = undefined;
    }
    if (this.isIdle) {
      this.connecting?.abort();
      this.deadlines.clear();
    }
    for (const { cost, outcome } of batches) {
      this.limit.release(cost);
      outcome?.reject(error);
    }
  }
}

/** The refusal with the channel that it is of. */
function tooLarge(channel: string, { code, number, message, retryable, requestId, details }: RecordTooLargeError): RecordTooLargeError {
  const text = `a record is too large for the channel ${channel}: ${message}; allow larger ones with np.channels.update({ channelId, maxRecordBytes })`;
  return new RecordTooLargeError({ code, number, message: text, retryable, requestId, details: { ...details, channel } });
}
