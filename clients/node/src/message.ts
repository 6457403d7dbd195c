import { AT, BATCH_HEADER_BYTES, RECORD_HAS_EVENT_TIME, RECORD_HAS_KEY, RECORD_HAS_PAYLOAD, RECORD_HEADER_BYTES } from "./batch/layout.js";
import { decompress } from "./batch/compression.js";
import type { StoredBatch } from "./batch/stored.js";
import { CorruptDataError, PayloadError } from "./errors/index.js";
import { type OffsetCodec, type OffsetType, safeNumber } from "./offset.js";

/** What the messages of one batch have in common. */
interface Origin {
  readonly channel: string;
  readonly batch: StoredBatch;
  /** The records, decompressed where need be. */
  readonly records: Buffer;
}

/** Marks a payload that was not read yet. */
const UNREAD = Symbol("unread");

/**
 * A record as it was read. Its fields are decoded when they are asked for; until then it is a place in the memory of its
 * batch, which stays as long as one of its messages does.
 *
 * @example
 * ```ts
 * for await (const message of np.streams.tail({ streamId: "ml.feedback" })) {
 *   console.log(message.offset, message.type, message.payload);
 * }
 * ```
 */
export class Message<P = unknown, O extends OffsetType = number> {
  /** Number of the record in its channel. */
  readonly offset: O;
  readonly #origin: Origin;
  readonly #at: number;
  #payload: unknown = UNREAD;

  /** @internal */
  constructor(origin: Origin, at: number, offset: O) {
    this.#origin = origin;
    this.#at = at;
    this.offset = offset;
  }

  /** Name of the channel. */
  get channel(): string {
    return this.#origin.channel;
  }

  /** What kind of event it is, as its producer has said; empty where nothing was said. */
  get type(): string {
    const from = this.#at + RECORD_HEADER_BYTES;
    return this.#origin.records.toString("utf8", from, from + this.#u16(20));
  }

  /** The key as text; undefined where there is none. */
  get key(): string | undefined {
    return this.keyBytes?.toString("utf8");
  }

  /** The key as it is stored; undefined where there is none. */
  get keyBytes(): Buffer | undefined {
    if ((this.#flags & RECORD_HAS_KEY) === 0) return undefined;
    const from = this.#at + RECORD_HEADER_BYTES + this.#u16(20);
    return this.#origin.records.subarray(from, from + this.#u32(16));
  }

  /** The headers as text, the last of those with one name. */
  get headers(): Readonly<Record<string, string>> {
    return Object.fromEntries(this.headerList.map(([name, value]) => [name, value.toString("utf8")]));
  }

  /** The headers in their producer's order, as they are stored. */
  get headerList(): readonly (readonly [string, Buffer])[] {
    const { records } = this.#origin;
    const list: [string, Buffer][] = [];
    let at = this.#headersFrom;
    for (let left = this.#u8(22); left > 0; left -= 1) {
      const nameEnd = at + 6 + records.readUInt16LE(at);
      const end = nameEnd + records.readUInt32LE(at + 2);
      list.push([records.toString("utf8", at + 6, nameEnd), records.subarray(nameEnd, end)]);
      at = end;
    }
    return list;
  }

  /** When it happened, as its producer has said: milliseconds since 1970; undefined where nothing was said. */
  get eventTime(): number | undefined {
    if ((this.#flags & RECORD_HAS_EVENT_TIME) === 0) return undefined;
    return Number(this.#origin.records.readBigInt64LE(this.#at + 8));
  }

  /** When the broker appended it, by its clock: milliseconds since 1970; never decreasing within a channel. */
  get appendTime(): number {
    return this.#origin.batch.appendTime;
  }

  /** The log epoch of its batch; goes with a commit, so that a log that was cut is noticed. */
  get logEpoch(): bigint {
    return this.#origin.batch.logEpoch;
  }

  /** Identity of the channel's present life, 32 hexadecimal digits. */
  get incarnation(): string {
    return this.#origin.batch.incarnation;
  }

  /**
   * The payload, read as JSON the first time; undefined where there is none.
   *
   * @throws PayloadError where it is no JSON.
   */
  get payload(): P {
    if (this.#payload === UNREAD) this.#payload = this.json();
    return this.#payload as P;
  }

  /** The payload as it is stored, in the memory of its batch; undefined where there is none. */
  get bytes(): Buffer | undefined {
    if ((this.#flags & RECORD_HAS_PAYLOAD) === 0) return undefined;
    return this.#origin.records.subarray(this.#payloadFrom, this.#at + this.#u32(0));
  }

  /** The payload as text; undefined where there is none. */
  text(): string | undefined {
    if ((this.#flags & RECORD_HAS_PAYLOAD) === 0) return undefined;
    return this.#origin.records.toString("utf8", this.#payloadFrom, this.#at + this.#u32(0));
  }

  /**
   * The payload, read as JSON each time; undefined where there is none.
   *
   * @throws PayloadError where it is no JSON.
   */
  json<T = P>(): T {
    const text = this.text();
    if (text === undefined) return undefined as T;
    try {
      return JSON.parse(text) as T;
    } catch (cause) {
      throw new PayloadError(`the payload of ${this.channel} at offset ${this.offset} is no JSON`, cause);
    }
  }

  /** What `JSON.stringify` shows of it: the payload as JSON, or as text where it is none. */
  toJSON(): Record<string, unknown> {
    const { channel, offset, type, key, headers, eventTime, appendTime } = this;
    let payload: unknown = this.text();
    try {
      payload = this.payload;
    } catch {
      // Shown as text.
    }
    return { channel, offset: typeof offset === "bigint" ? offset.toString() : offset, type, key, headers, eventTime, appendTime, payload };
  }

  /** @internal What `console.log` shows of it. */
  [Symbol.for("nodejs.util.inspect.custom")](): unknown {
    return this.toJSON();
  }

  #u8(at: number): number {
    return this.#origin.records[this.#at + at] as number;
  }

  #u16(at: number): number {
    return this.#origin.records.readUInt16LE(this.#at + at);
  }

  #u32(at: number): number {
    return this.#origin.records.readUInt32LE(this.#at + at);
  }

  get #flags(): number {
    return this.#u8(23);
  }

  get #headersFrom(): number {
    return this.#at + RECORD_HEADER_BYTES + this.#u16(20) + this.#u32(16);
  }

  get #payloadFrom(): number {
    const { records } = this.#origin;
    let at = this.#headersFrom;
    for (let left = this.#u8(22); left > 0; left -= 1) at += 6 + records.readUInt16LE(at) + records.readUInt32LE(at + 2);
    return at;
  }
}

/** What to read of a batch. */
export interface ReadLimits {
  readonly from: bigint;
  readonly to: bigint;
  /** The types that are wanted; all unless given. */
  readonly types?: ReadonlySet<string> | undefined;
  readonly max?: number;
  readonly maxBytes?: number;
}

/**
 * Appends the messages of a batch with offsets from `from` up to, not including, `to`, at most `max` of them, to `target`.
 * `maxBytes` does not hold for the first message of `target`, so that a reader always gets on.
 * Returns the bytes of their records, and the offset after what was read.
 *
 * @throws CorruptDataError where a record reaches beyond its batch.
 */
export function readMessages<P, O extends OffsetType>(
  target: Message<P, O>[],
  channel: string,
  batch: StoredBatch,
  offsets: OffsetCodec<O>,
  { from, to, types, max = Infinity, maxBytes = Infinity }: ReadLimits,
): { readonly bytes: number; readonly next: bigint } {
  const { bytes, baseOffset, recordCount } = batch;
  const recordsLen = bytes.readUInt32LE(AT.recordsLen);
  const stored = bytes.subarray(BATCH_HEADER_BYTES, BATCH_HEADER_BYTES + recordsLen);
  const records = decompress(bytes[AT.compression] as number, stored, bytes.readUInt32LE(AT.uncompressedLen));
  const origin: Origin = { channel, batch, records };
  const base = offsets.isBigint ? 0 : safeNumber(batch.endOffset - 1n) - Number(batch.endOffset - 1n - baseOffset);
  const skipBelow = from > baseOffset ? Number(from - baseOffset) : 0;
  const stopAt = to < batch.endOffset ? Number(to - baseOffset) : Infinity;
  let room = max;
  let taken = 0;
  let at = 0;
  let previous = -1;
  for (let index = 0; index < recordCount; index += 1) {
    if (at + RECORD_HEADER_BYTES > records.length) throw beyond(channel, baseOffset);
    const length = records.readUInt32LE(at);
    const delta = records.readUInt32LE(at + 4);
    if (length < RECORD_HEADER_BYTES || at + length > records.length || delta <= previous) throw beyond(channel, baseOffset);
    previous = delta;
    if (delta >= skipBelow && (types === undefined || types.has(typeAt(records, at)))) {
      const isFull = room === 0 || (target.length > 0 && taken + length > maxBytes);
      if (delta >= stopAt || isFull) return { bytes: taken, next: isFull ? baseOffset + BigInt(delta) : to };
      const offset = (offsets.isBigint ? baseOffset + BigInt(delta) : base + delta) as O;
      target.push(new Message<P, O>(origin, at, offset));
      room -= 1;
      taken += length;
    }
    at += length;
  }
  if (at !== records.length) throw beyond(channel, baseOffset);
  return { bytes: taken, next: to < batch.endOffset ? to : batch.endOffset };
}

/** Type of the record that begins there. */
function typeAt(records: Buffer, at: number): string {
  const from = at + RECORD_HEADER_BYTES;
  return records.toString("utf8", from, from + records.readUInt16LE(at + 20));
}

function beyond(channel: string, baseOffset: bigint): CorruptDataError {
  return new CorruptDataError(`a record of the batch of ${channel} at offset ${baseOffset} reaches beyond it`);
}
