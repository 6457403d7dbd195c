import * as zlib from "node:zlib";
import { CorruptDataError, InvalidArgumentError, UnsupportedCompressionError } from "../errors/index.js";
import { COMPRESSION } from "./layout.js";
import { compressLz4 } from "./lz4-compress.js";
import { decompressLz4 } from "./lz4.js";

/**
 * How a broker stores batches, as producers may send them.
 *
 * @example
 * ```ts
 * const compression: CompressionName[] = ["none", "zstd"];
 * ```
 */
export type CompressionName = "none" | "lz4" | "zstd";

type ZstdCompress = (data: Uint8Array) => Buffer;
type ZstdDecompress = (data: Uint8Array, options: { maxOutputLength: number }) => Buffer;

/** Whether this version of Node reads zstd: from 22.15 and 23.8 on. */
export const HAS_ZSTD = "zstdDecompressSync" in zlib;

/** @throws InvalidArgumentError where it is no compression, or none that this version of Node can write. */
export function checkCompression(name: CompressionName): CompressionName {
  if (!Object.hasOwn(COMPRESSION, name)) {
    throw new InvalidArgumentError(`compression is "${String(name)}", where "none", "lz4" or "zstd" is needed`);
  }
  if (name === "zstd" && !HAS_ZSTD) {
    throw new InvalidArgumentError(`compression "zstd" needs Node 22.15, 23.8 or newer; this is Node ${process.versions.node}`);
  }
  return name;
}

/** The compressed form of the records part of a batch; undefined when that would not be smaller. */
export function compress(name: CompressionName, records: Buffer): Buffer | undefined {
  if (name === "none") return undefined;
  if (name === "lz4") return compressLz4(records);
  const stored = (zlib as unknown as { zstdCompressSync: ZstdCompress }).zstdCompressSync(records);
  return stored.length < records.length ? stored : undefined;
}

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
