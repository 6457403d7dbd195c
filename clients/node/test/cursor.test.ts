import { describe, expect, test } from "vitest";
import { BatchBuilder } from "../src/batch/builder.js";
import { crc32 } from "../src/batch/crc32.js";
import { AT, BODY_FROM } from "../src/batch/layout.js";
import { CorruptDataError, OffsetGapError } from "../src/errors/index.js";
import { Cursor } from "../src/reading/cursor.js";
import type { FetchFrom } from "../src/wire/messages.js";

const INCARNATION = "000102030405060708090a0b0c0d0e0f";

/** A batch as the broker has stamped it. */
function stored(baseOffset: number, records: number, incarnation = INCARNATION): Buffer {
  const builder = new BatchBuilder();
  for (let n = 0; n < records; n += 1) builder.push({ payload: `${n}` });
  const batch = Buffer.from(builder.build(undefined));
  Buffer.from(incarnation, "hex").reverse().copy(batch, AT.incarnation);
  batch.writeBigUInt64LE(BigInt(baseOffset), AT.baseOffset);
  batch.writeBigUInt64LE(3n, AT.logEpoch);
  batch.writeUInt32LE(crc32(batch.subarray(8, BODY_FROM), crc32(batch.subarray(0, 4))), AT.headerCrc);
  return batch;
}

function take(from: FetchFrom, fromOffset: number, batches: Buffer[], cursor = new Cursor({ name: "c", incarnation: undefined }, from)) {
  const answer = { incarnation: INCARNATION, logStart: 0n, highWatermark: 99n, logEnd: 99n, fromOffset: BigInt(fromOffset), logEpoch: 3n, batches: Buffer.concat(batches) };
  return { cursor, stretches: cursor.take(answer).map(({ from: first, to }) => [Number(first), Number(to)]) };
}

const at = (offset: number): FetchFrom => ({ kind: "offset", offset: BigInt(offset) });

describe("a cursor", () => {
  test("moves behind what it took, and knows the epoch of it", () => {
    const { cursor, stretches } = take(at(5), 5, [stored(3, 4), stored(7, 2)]);
    expect(stretches).toEqual([[5, 7], [7, 9]]);
    expect(cursor).toMatchObject({ from: { kind: "offset", offset: 9n }, lastEpoch: 3n, incarnation: INCARNATION });
    expect(take(at(9), 9, [stored(9, 1)], cursor).stretches).toEqual([[9, 10]]);
  });

  test("takes a start that the broker resolved", () => {
    expect(take({ kind: "start" }, 4, [stored(4, 1)]).stretches).toEqual([[4, 5]]);
    expect(take({ kind: "end" }, 8, []).cursor.from).toEqual(at(8));
  });

  test("never passes over a missing batch, nor takes one twice", () => {
    expect(() => take(at(0), 0, [stored(0, 2), stored(3, 1)])).toThrow(OffsetGapError);
    expect(() => take(at(0), 0, [stored(0, 2), stored(1, 1)])).toThrow(OffsetGapError);
    expect(() => take(at(0), 0, [stored(0, 2), stored(0, 2)])).toThrow(OffsetGapError);
    expect(() => take(at(0), 0, [stored(1, 1)])).toThrow(expect.objectContaining({ code: "OFFSET_GAP", details: { expected: 0n, found: 1n } }));
    expect(() => take(at(5), 5, [stored(3, 2)])).toThrow(OffsetGapError);
    expect(() => take(at(5), 6, [stored(6, 2)])).toThrow(OffsetGapError);
    const { cursor } = take(at(0), 0, [stored(0, 4)]);
    expect(() => take(at(4), 4, [stored(2, 4)], cursor)).toThrow(OffsetGapError);
  });

  test("takes nothing of another channel or of another life of it", () => {
    expect(() => take(at(0), 0, [stored(0, 2, "ff0102030405060708090a0b0c0d0e0f")])).toThrow(CorruptDataError);
    const pinned = new Cursor({ name: "c", incarnation: "ff".repeat(16) }, at(0));
    expect(() => take(at(0), 0, [stored(0, 2)], pinned)).toThrow(/belongs to the incarnation/);
  });

  test("names the channel and the offset of what is damaged", () => {
    const broken = stored(2, 1);
    broken[AT.bodyCrc] = (broken[AT.bodyCrc] as number) ^ 1;
    expect(() => take(at(0), 0, [stored(0, 2), broken])).toThrow(/^c at offset 2: the checksum/);
  });
});
