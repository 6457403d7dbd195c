/** Positions in a batch and in a record: docs/wire-protocol.md, "Batches". */
export const BATCH_HEADER_BYTES = 128;
export const RECORD_HEADER_BYTES = 24;
/** The first byte that the producer's checksum covers. */
export const BODY_FROM = 72;

export const AT = {
  length: 0,
  headerCrc: 4,
  version: 8,
  stampedFlags: 10,
  bodyCrc: 12,
  incarnation: 16,
  baseOffset: 32,
  appendTime: 40,
  logEpoch: 48,
  compression: 72,
  recordCount: 76,
  offsetSpan: 80,
  uncompressedLen: 84,
  producerId: 88,
  producerEpoch: 104,
  recordsLen: 108,
  baseSequence: 112,
  fence: 120,
} as const;

export const COMPRESSION = { none: 1, lz4: 2, zstd: 3 } as const;

export const STAMPED_SPARSE = 1;
export const STAMPED_GAP = 2;

export const RECORD_HAS_KEY = 1;
export const RECORD_HAS_PAYLOAD = 2;
export const RECORD_HAS_EVENT_TIME = 4;

export const MAX_BATCH_RECORDS = 1_000_000;
/** Largest batch of version 1 of the protocol, stored and uncompressed; the hello tells the broker's. */
export const MAX_BATCH_BYTES = (64 << 20) + (64 << 10);
export const MAX_TYPE_BYTES = 256;
export const MAX_HEADERS = 255;

export function align8(bytes: number): number {
  return (bytes + 7) & ~7;
}
