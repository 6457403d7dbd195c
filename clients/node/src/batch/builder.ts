import { InvalidArgumentError } from "../errors/index.js";
import { type CompressionName, compress, decompress } from "./compression.js";
import { crc32 } from "./crc32.js";
import {
  align8,
  AT,
  BATCH_HEADER_BYTES,
  BODY_FROM,
  COMPRESSION,
  MAX_BATCH_BYTES,
  MAX_BATCH_RECORDS,
  MAX_HEADERS,
  MAX_TYPE_BYTES,
  RECORD_HAS_EVENT_TIME,
  RECORD_HAS_KEY,
  RECORD_HAS_PAYLOAD,
  RECORD_HEADER_BYTES,
} from "./layout.js";

/**
 * Value of a header, or a key: text is stored as UTF-8.
 *
 * @example
 * ```ts
 * const key: BytesOrText = Uint8Array.of(1, 2, 3);
 * ```
 */
export type BytesOrText = string | Uint8Array;

/** A record to be stored, its payload encoded already. */
export interface NewRecord {
  readonly type?: string | undefined;
  readonly key?: BytesOrText | undefined;
  readonly headers?: Iterable<readonly [string, BytesOrText]> | undefined;
  readonly payload?: BytesOrText | undefined;
  /** Milliseconds since 1970. */
  readonly eventTime?: number | undefined;
}

/** Who sends a batch, so that the broker recognises it when it is sent again. */
export interface Producer {
  readonly id: Uint8Array;
  readonly epoch: number;
  readonly sequence: number;
}

/** Copies records into the bytes of a batch, one pass, without an object for each. */
export class BatchBuilder {
  recordCount = 0;
  fence = 0n;
  private at = BATCH_HEADER_BYTES;

  /** Fills a buffer from its beginning, or another one where that becomes too small. */
  constructor(private buffer: Buffer = Buffer.allocUnsafe(4096)) {}

  /** The buffer that the batch lies in. */
  get room(): Buffer {
    return this.buffer;
  }

  /** Bytes so far, header included. */
  get byteLength(): number {
    return this.at;
  }

  /**
   * Adds a record and returns its bytes. When it breaks a limit the batch is what it was.
   *
   * @throws InvalidArgumentError for a record that no batch can hold.
   */
  push(record: NewRecord): number {
    const { type, key, headers, payload, eventTime } = record;
    const from = this.at;
    // UTF-8 takes at most three bytes for each unit of a string: room is made once, before anything is written.
    let most = RECORD_HEADER_BYTES + atMost(type) + atMost(key) + atMost(payload);
    const pairs = headers === undefined ? undefined : [...headers];
    if (pairs !== undefined) {
      if (pairs.length > MAX_HEADERS) throw new InvalidArgumentError(`${pairs.length} headers, where ${MAX_HEADERS} are allowed`);
      for (const [name, value] of pairs) most += 6 + atMost(name) + atMost(value);
    }
    if (this.recordCount >= MAX_BATCH_RECORDS) throw new InvalidArgumentError(`a batch holds at most ${MAX_BATCH_RECORDS} records`);
    this.reserve(most);
    const buffer = this.buffer;
    let at = from + RECORD_HEADER_BYTES;
    let flags = 0;
    const typeFrom = at;
    if (type !== undefined && type !== "") at = this.write(type, at);
    const typeLen = at - typeFrom;
    if (typeLen > MAX_TYPE_BYTES) throw new InvalidArgumentError(`a type of ${typeLen} bytes, where ${MAX_TYPE_BYTES} are allowed`);
    const keyFrom = at;
    if (key !== undefined) {
      flags |= RECORD_HAS_KEY;
      at = this.write(key, at);
    }
    const keyLen = at - keyFrom;
    if (pairs !== undefined) {
      for (const [name, value] of pairs) {
        const nameFrom = at + 6;
        const valueFrom = this.write(name, nameFrom);
        if (valueFrom - nameFrom > 0xffff) throw new InvalidArgumentError(`a header's name of ${valueFrom - nameFrom} bytes`);
        const end = this.write(value, valueFrom);
        buffer.writeUInt16LE(valueFrom - nameFrom, at);
        buffer.writeUInt32LE(end - valueFrom, at + 2);
        at = end;
      }
    }
    if (payload !== undefined) {
      flags |= RECORD_HAS_PAYLOAD;
      at = this.write(payload, at);
    }
    if (at + 8 > MAX_BATCH_BYTES) {
      throw new InvalidArgumentError(`${at} bytes do not fit into a batch of ${MAX_BATCH_BYTES}`);
    }
    if (eventTime === undefined) buffer.fill(0, from + 8, from + 16);
    else {
      if (!Number.isSafeInteger(eventTime)) throw new InvalidArgumentError(`eventTime ${eventTime} is no whole number of milliseconds`);
      flags |= RECORD_HAS_EVENT_TIME;
      buffer.writeBigInt64LE(BigInt(eventTime), from + 8);
    }
    buffer.writeUInt32LE(at - from, from);
    buffer.writeUInt32LE(this.recordCount, from + 4);
    buffer.writeUInt32LE(keyLen, from + 16);
    buffer.writeUInt16LE(typeLen, from + 20);
    buffer[from + 22] = pairs?.length ?? 0;
    buffer[from + 23] = flags;
    this.at = at;
    this.recordCount += 1;
    return at - from;
  }

  /** The bytes of the batch, with its checksum. The builder is done then. */
  build(producer: Producer | undefined, compression: CompressionName = "none"): Buffer {
    this.reserve(8);
    const uncompressedLen = this.at - BATCH_HEADER_BYTES;
    const stored = compress(compression, this.buffer.subarray(BATCH_HEADER_BYTES, this.at));
    stored?.copy(this.buffer, BATCH_HEADER_BYTES);
    const recordsLen = stored?.length ?? uncompressedLen;
    const end = BATCH_HEADER_BYTES + recordsLen;
    const length = align8(end);
    const batch = this.buffer.subarray(0, length);
    batch.fill(0, 0, BATCH_HEADER_BYTES).fill(0, end, length);
    batch.writeUInt32LE(length, AT.length);
    batch.writeUInt16LE(1, AT.version);
    batch[AT.compression] = stored === undefined ? COMPRESSION.none : COMPRESSION[compression];
    batch.writeUInt32LE(this.recordCount, AT.recordCount);
    batch.writeUInt32LE(this.recordCount, AT.offsetSpan);
    batch.writeUInt32LE(uncompressedLen, AT.uncompressedLen);
    batch.writeUInt32LE(recordsLen, AT.recordsLen);
    batch.writeBigUInt64LE(this.fence, AT.fence);
    stampProducer(batch, producer);
    return batch;
  }

  private write(value: BytesOrText, at: number): number {
    if (typeof value === "string") return at + this.buffer.write(value, at, "utf8");
    this.buffer.set(value, at);
    return at + value.length;
  }

  private reserve(bytes: number): void {
    const needed = this.at + bytes;
    if (needed <= this.buffer.length) return;
    if (this.at + bytes / 3 > MAX_BATCH_BYTES) {
      throw new InvalidArgumentError(`about ${bytes} bytes more do not fit into a batch of ${MAX_BATCH_BYTES}`);
    }
    const grown = Buffer.allocUnsafeSlow(Math.max(needed, Math.min(this.buffer.length * 2, MAX_BATCH_BYTES)));
    this.buffer.copy(grown, 0, 0, this.at);
    this.buffer = grown;
  }
}

/** Writes who sends a built batch, and its checksum anew. */
export function stampProducer(batch: Buffer, producer: Producer | undefined): void {
  if (producer !== undefined) {
    batch.set(producer.id, AT.producerId);
    batch.writeUInt32LE(producer.epoch, AT.producerEpoch);
    batch.writeBigUInt64LE(BigInt(producer.sequence), AT.baseSequence);
  }
  batch.writeUInt32LE(crc32(batch.subarray(BODY_FROM)), AT.bodyCrc);
}

function atMost(value: BytesOrText | undefined): number {
  if (value === undefined) return 0;
  return typeof value === "string" ? value.length * 3 : value.length;
}

/**
 * A built batch without its records above `limit` bytes, not compressed any more, and the indexes of those it keeps. Its
 * producer has to be stamped anew.
 */
export function withoutLarge(batch: Buffer, limit: number): { bytes: Buffer; indexes: number[] } {
  const stored = batch.subarray(BATCH_HEADER_BYTES, BATCH_HEADER_BYTES + batch.readUInt32LE(AT.recordsLen));
  const records = decompress(batch[AT.compression] as number, stored, batch.readUInt32LE(AT.uncompressedLen));
  const bytes = Buffer.alloc(align8(BATCH_HEADER_BYTES + records.length));
  batch.copy(bytes, 0, 0, BATCH_HEADER_BYTES);
  const indexes: number[] = [];
  let to = BATCH_HEADER_BYTES;
  for (let at = 0, index = 0; at < records.length; index += 1) {
    const length = records.readUInt32LE(at);
    if (length <= limit) {
      records.copy(bytes, to, at, at + length);
      bytes.writeUInt32LE(indexes.length, to + 4);
      indexes.push(index);
      to += length;
    }
    at += length;
  }
  const kept = bytes.subarray(0, align8(to));
  kept.writeUInt32LE(kept.length, AT.length);
  kept[AT.compression] = COMPRESSION.none;
  kept.writeUInt32LE(indexes.length, AT.recordCount);
  kept.writeUInt32LE(indexes.length, AT.offsetSpan);
  kept.writeUInt32LE(to - BATCH_HEADER_BYTES, AT.uncompressedLen);
  kept.writeUInt32LE(to - BATCH_HEADER_BYTES, AT.recordsLen);
  return { bytes: kept, indexes };
}
