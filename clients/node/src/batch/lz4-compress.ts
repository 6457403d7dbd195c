/*
 * LZ4 Frame Format: one frame of independent blocks, each of which looks for matches by a table of hashes and takes the
 * first that it finds. https://github.com/lz4/lz4/blob/dev/doc/lz4_Block_format.md
 */

/** Magic; version 1, independent blocks, no checksums since the batch has its own; blocks of up to 4 MiB; the checksum of these two bytes. */
const FRAME_HEADER = Uint8Array.of(0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0x73);
const BLOCK_BYTES = 4 << 20;
const RAW_BLOCK = 0x8000_0000;

/** The format ends a block with at least so many literals, and begins its last match so far in front of its end. */
const LAST_LITERALS = 5;
const LAST_MATCH = 12;
const SHORTEST_MATCH = 4;
const FARTHEST_MATCH = 65_535;

const TABLE_BITS = 14;
let table: Int32Array | undefined;

/** One frame that decompresses to `source`; undefined when it would not be smaller. */
export function compressLz4(source: Uint8Array): Buffer | undefined {
  // What grows beyond the source is given up, so there is room for all that is written.
  const target = Buffer.allocUnsafe(source.length + 64);
  target.set(FRAME_HEADER);
  let at = FRAME_HEADER.length;
  for (let from = 0; from < source.length; from += BLOCK_BYTES) {
    const to = Math.min(from + BLOCK_BYTES, source.length);
    const end = compressBlock(source, from, to, target, at + 4, Math.min(at + 4 + (to - from), target.length));
    if (end === undefined) {
      if (at + 4 + (to - from) + 4 > source.length) return undefined;
      target.writeUInt32LE(to - from + RAW_BLOCK, at);
      target.set(source.subarray(from, to), at + 4);
      at += 4 + to - from;
    } else {
      target.writeUInt32LE(end - at - 4, at);
      at = end;
    }
  }
  if (at + 4 >= source.length) return undefined;
  target.writeUInt32LE(0, at);
  return target.subarray(0, at + 4);
}

/** Writes a block to `target` from `at` on and returns where it ends; undefined when it would reach `limit`. */
function compressBlock(source: Uint8Array, from: number, to: number, target: Buffer, at: number, limit: number): number | undefined {
  // Place of the last four bytes with each hash, counted from 1 within the block; 0 is none.
  const places = (table ??= new Int32Array(1 << TABLE_BITS)).fill(0);
  const matchesEnd = to - LAST_LITERALS;
  let anchor = from;
  let position = from;
  let misses = 0;
  while (position < to - LAST_MATCH) {
    const word = wordAt(source, position);
    const hash = Math.imul(word, 0x9e37_79b1) >>> (32 - TABLE_BITS);
    let match = (places[hash] as number) - 1 + from;
    places[hash] = position - from + 1;
    if (match < from || position - match > FARTHEST_MATCH || wordAt(source, match) !== word) {
      // Strides grow where nothing repeats.
      position += 1 + (misses >> 6);
      misses += 1;
      continue;
    }
    misses = 0;
    let end = position + SHORTEST_MATCH;
    for (let other = match + SHORTEST_MATCH; end < matchesEnd && source[end] === source[other]; other += 1) end += 1;
    while (position > anchor && match > from && source[position - 1] === source[match - 1]) {
      position -= 1;
      match -= 1;
    }
    const literals = position - anchor;
    const length = end - position - SHORTEST_MATCH;
    if (at + literals + literals / 255 + length / 255 + 8 >= limit) return undefined;
    target[at] = (Math.min(literals, 15) << 4) | Math.min(length, 15);
    at = writeLiterals(source, anchor, position, target, writeLength(literals, target, at + 1));
    target[at] = (position - match) & 0xff;
    target[at + 1] = (position - match) >>> 8;
    at = writeLength(length, target, at + 2);
    position = end;
    anchor = end;
  }
  const literals = to - anchor;
  if (at + literals + literals / 255 + 8 >= limit) return undefined;
  target[at] = Math.min(literals, 15) << 4;
  return writeLiterals(source, anchor, to, target, writeLength(literals, target, at + 1));
}

function wordAt(source: Uint8Array, at: number): number {
  return (source[at] as number) | ((source[at + 1] as number) << 8) | ((source[at + 2] as number) << 16) | ((source[at + 3] as number) << 24);
}

/** What of a length does not fit into its four bits of the token. */
function writeLength(length: number, target: Buffer, at: number): number {
  if (length < 15) return at;
  let left = length - 15;
  for (; left >= 255; left -= 255) target[at++] = 255;
  target[at] = left;
  return at + 1;
}

function writeLiterals(source: Uint8Array, from: number, to: number, target: Buffer, at: number): number {
  if (to - from > 32) target.set(source.subarray(from, to), at);
  else for (let index = from; index < to; index += 1) target[at + index - from] = source[index] as number;
  return at + to - from;
}
