import { CorruptDataError } from "../errors/index.js";
import { crc32 } from "./crc32.js";
import {
  align8,
  AT,
  BATCH_HEADER_BYTES,
  BODY_FROM,
  COMPRESSION,
  MAX_BATCH_BYTES,
  MAX_BATCH_RECORDS,
  RECORD_HEADER_BYTES,
  STAMPED_GAP,
  STAMPED_SPARSE,
} from "./layout.js";

/** A stored batch whose checksums and lengths hold. */
export interface StoredBatch {
  readonly bytes: Buffer;
  readonly incarnation: string;
  readonly baseOffset: bigint;
  /** Offset after the last one that the batch takes up. */
  readonly endOffset: bigint;
  readonly appendTime: number;
  readonly logEpoch: bigint;
  readonly recordCount: number;
  readonly isGap: boolean;
}

/**
 * Checks the stored batch that begins at `at`, and reads its header.
 *
 * @throws CorruptDataError where a checksum, a length or a field is wrong.
 */
export function readStoredBatch(buffer: Buffer, at: number): StoredBatch {
  const left = buffer.length - at;
  if (left < BATCH_HEADER_BYTES) throw new CorruptDataError(`${left} bytes are no batch: its header has ${BATCH_HEADER_BYTES}`);
  const length = buffer.readUInt32LE(at);
  if (length < BATCH_HEADER_BYTES || length % 8 !== 0 || length > MAX_BATCH_BYTES || length > left) {
    throw new CorruptDataError(`a batch of length ${length}, where ${left} bytes are left`);
  }
  const bytes = buffer.subarray(at, at + length);
  const headerCrc = crc32(bytes.subarray(8, BODY_FROM), crc32(bytes.subarray(0, 4)));
  if (headerCrc !== bytes.readUInt32LE(AT.headerCrc)) throw new CorruptDataError("the checksum of a batch's header does not match");
  const version = bytes.readUInt16LE(AT.version);
  if (version !== 1) throw new CorruptDataError(`unsupported version ${version} of a batch: this client reads version 1`, { version });
  if (crc32(bytes.subarray(BODY_FROM)) !== bytes.readUInt32LE(AT.bodyCrc)) {
    throw new CorruptDataError("the checksum of a batch's body does not match");
  }
  const flags = bytes.readUInt16LE(AT.stampedFlags);
  const recordCount = bytes.readUInt32LE(AT.recordCount);
  const span = bytes.readUInt32LE(AT.offsetSpan);
  const recordsLen = bytes.readUInt32LE(AT.recordsLen);
  const uncompressedLen = bytes.readUInt32LE(AT.uncompressedLen);
  const isSparse = (flags & STAMPED_SPARSE) !== 0;
  const isGap = (flags & STAMPED_GAP) !== 0;
  if (flags > 3 || (isGap && !isSparse)) throw new CorruptDataError(`a batch has the stamped flags ${flags}`);
  if (recordCount < 1 || recordCount > MAX_BATCH_RECORDS) throw new CorruptDataError(`a batch of ${recordCount} records`);
  if (isSparse ? span < recordCount : span !== recordCount) throw new CorruptDataError(`a batch of ${recordCount} records takes up ${span} offsets`);
  if (align8(BATCH_HEADER_BYTES + recordsLen) !== length) throw new CorruptDataError(`a batch of length ${length} says it has ${recordsLen} bytes of records`);
  if (uncompressedLen > MAX_BATCH_BYTES || uncompressedLen < RECORD_HEADER_BYTES * recordCount) {
    throw new CorruptDataError(`a batch of ${recordCount} records says it has ${uncompressedLen} bytes of them`);
  }
  if (bytes[AT.compression] === COMPRESSION.none && uncompressedLen !== recordsLen) {
    throw new CorruptDataError(`a batch that is not compressed says it has ${recordsLen} and ${uncompressedLen} bytes of records`);
  }
  const baseOffset = bytes.readBigUInt64LE(AT.baseOffset);
  return {
    bytes,
    incarnation: incarnationAt(bytes),
    baseOffset,
    endOffset: baseOffset + BigInt(span),
    appendTime: Number(bytes.readBigInt64LE(AT.appendTime)),
    logEpoch: bytes.readBigUInt64LE(AT.logEpoch),
    recordCount,
    isGap,
  };
}

function incarnationAt(bytes: Buffer): string {
  return Buffer.from(bytes.subarray(AT.incarnation, AT.incarnation + 16)).reverse().toString("hex");
}

/** Who produced a batch. */
export function producerOf({ bytes }: StoredBatch): { id: Buffer; epoch: number; sequence: bigint } {
  return {
    id: bytes.subarray(AT.producerId, AT.producerId + 16),
    epoch: bytes.readUInt32LE(AT.producerEpoch),
    sequence: bytes.readBigUInt64LE(AT.baseSequence),
  };
}
