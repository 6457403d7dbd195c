import { CorruptDataError } from "../errors/index.js";

/** LZ4 Frame Format, without a dictionary. Node has no LZ4 of its own. */
const MAGIC = 0x184d2204;

/** Decompresses one frame to exactly `size` bytes. Checksums inside of the frame are not read: the batch has its own. */
export function decompressLz4(source: Buffer, size: number): Buffer {
  if (source.length < 7 || source.readUInt32LE(0) !== MAGIC) throw broken("it has no LZ4 frame");
  const flags = source[4] as number;
  if (flags >> 6 !== 1 || (flags & 1) !== 0) throw broken("its LZ4 frame has another version or a dictionary");
  const hasBlockChecksums = (flags & 0x10) !== 0;
  const hasContentChecksum = (flags & 0x04) !== 0;
  let at = 6 + ((flags & 0x08) !== 0 ? 8 : 0) + 1;
  const target = Buffer.allocUnsafe(size);
  let filled = 0;
  for (;;) {
    if (at + 4 > source.length) throw broken("its LZ4 frame has no end");
    const word = source.readUInt32LE(at);
    at += 4;
    if (word === 0) break;
    const bytes = word & 0x7fff_ffff;
    if (at + bytes > source.length) throw broken("an LZ4 block is cut");
    if (word >>> 31 === 1) {
      if (filled + bytes > size) throw broken(`it holds more than ${size} bytes`);
      source.copy(target, filled, at, at + bytes);
      filled += bytes;
    } else {
      filled = decompressBlock(source, at, at + bytes, target, filled);
    }
    at += bytes + (hasBlockChecksums ? 4 : 0);
  }
  if (hasContentChecksum) at += 4;
  if (at !== source.length) throw broken("bytes follow its LZ4 frame");
  if (filled !== size) throw broken(`it holds ${filled} bytes instead of ${size}`);
  return target;
}

function decompressBlock(source: Buffer, from: number, to: number, target: Buffer, filledBefore: number): number {
  let at = from;
  let filled = filledBefore;
  const extended = (short: number): number => {
    let length = short;
    if (short !== 15) return length;
    let byte: number;
    do {
      if (at >= to) throw broken("an LZ4 block is cut");
      byte = source[at] as number;
      at += 1;
      length += byte;
    } while (byte === 255);
    return length;
  };
  while (at < to) {
    const token = source[at] as number;
    at += 1;
    const literals = extended(token >> 4);
    if (at + literals > to || filled + literals > target.length) throw broken("an LZ4 block is longer than it says");
    source.copy(target, filled, at, at + literals);
    at += literals;
    filled += literals;
    if (at === to) return filled;
    if (at + 2 > to) throw broken("an LZ4 block is cut");
    const distance = source.readUInt16LE(at);
    at += 2;
    const match = extended(token & 15) + 4;
    if (distance === 0 || distance > filled || filled + match > target.length) throw broken("an LZ4 match is out of place");
    if (distance >= match) target.copy(target, filled, filled - distance, filled - distance + match);
    else for (let index = 0; index < match; index += 1) target[filled + index] = target[filled + index - distance] as number;
    filled += match;
  }
  return filled;
}

function broken(why: string): CorruptDataError {
  return new CorruptDataError(`a compressed batch is damaged: ${why}`);
}
