import * as zlib from "node:zlib";

type Crc32 = (data: Uint8Array, value?: number) => number;

/** CRC-32 (IEEE 802.3) of `data`, going on from `value`. Built into Node from 20.15 and 22.2; by table before. */
export const crc32: Crc32 = (zlib as { crc32?: Crc32 }).crc32 ?? tableCrc32;

let table: Uint32Array | undefined;

/** The same by table, a byte at a time. */
export function tableCrc32(data: Uint8Array, value = 0): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let entry = byte;
    for (let bit = 0; bit < 8; bit += 1) entry = entry & 1 ? (entry >>> 1) ^ 0xedb88320 : entry >>> 1;
    return entry >>> 0;
  });
  let crc = ~value;
  for (let at = 0; at < data.length; at += 1) crc = (table[(crc ^ (data[at] as number)) & 0xff] as number) ^ (crc >>> 8);
  return ~crc >>> 0;
}
