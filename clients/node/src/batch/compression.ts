import * as zlib from "node:zlib";
import { CorruptDataError, UnsupportedCompressionError } from "../errors/index.js";
import { COMPRESSION } from "./layout.js";
import { decompressLz4 } from "./lz4.js";

type ZstdDecompress = (data: Uint8Array, options: { maxOutputLength: number }) => Buffer;

/** Whether this version of Node reads zstd: from 22.15 and 23.8 on. */
export const HAS_ZSTD = "zstdDecompressSync" in zlib;

/** The records part of a batch as it was before compression, of exactly `size` bytes. */
export function decompress(compression: number, records: Buffer, size: number): Buffer {
  if (compression === COMPRESSION.none) return records;
  if (compression === COMPRESSION.lz4) return decompressLz4(records, size);
  if (compression !== COMPRESSION.zstd) {
    const message = `a batch is compressed in the way ${compression}, which this client does not know`;
    throw new UnsupportedCompressionError(message, { compression });
  }
  if (!HAS_ZSTD) {
    const message = `a batch is compressed with zstd, which Node reads from 22.15 and 23.8 on; this is Node ${process.versions.node}`;
    throw new UnsupportedCompressionError(message, { compression: "zstd", node: process.versions.node });
  }
  let plain: Buffer;
  try {
    const read = (zlib as unknown as { zstdDecompressSync: ZstdDecompress }).zstdDecompressSync;
    plain = read(records, { maxOutputLength: Math.max(size, 1) });
  } catch (cause) {
    throw new CorruptDataError(`a batch compressed with zstd does not decompress: ${String(cause)}`);
  }
  if (plain.length !== size) throw new CorruptDataError(`a batch decompresses to ${plain.length} bytes instead of ${size}`);
  return plain;
}
