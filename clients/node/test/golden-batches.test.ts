import { describe, expect, test } from "vitest";
import { BatchBuilder, withoutLarge } from "../src/batch/builder.js";
import { HAS_ZSTD } from "../src/batch/compression.js";
import { crc32, tableCrc32 } from "../src/batch/crc32.js";
import { AT, BATCH_HEADER_BYTES } from "../src/batch/layout.js";
import { producerOf, readStoredBatch, type StoredBatch } from "../src/batch/stored.js";
import { CorruptDataError, UnsupportedCompressionError } from "../src/errors/index.js";
import { type Message, readMessages } from "../src/message.js";
import { BIGINT_OFFSETS, NUMBER_OFFSETS } from "../src/offset.js";
import { Cursor, takeMessages } from "../src/reading/cursor.js";
import { goldenNames, repositoryFile } from "./support/golden.js";

/** Files of the broker's disk, which no client ever sees. */
const OF_THE_DISK = [
  "batch_encrypted", "checkpoint", "journal_file_header", "journal_group", "marker", "offset_index", "recovery_point", "secret_file", "segment_header", "snapshot", "time_index",
];
const OF_CLIENTS = [
  "batch_all_fields", "batch_all_fields_stamped", "batch_gap", "batch_lz4_stamped", "batch_two_records", "batch_two_records_stamped", "batch_zstd_stamped",
];

const golden = (name: string): Buffer => repositoryFile(`tests/golden/${name}.bin`);

function messagesOf(batch: StoredBatch): Message[] {
  const messages: Message[] = [];
  readMessages(messages, "chat.log", batch, NUMBER_OFFSETS, { from: batch.baseOffset, to: batch.endOffset });
  return messages;
}

/** A stored batch in the form of one that a producer sends: what the broker stamps is zero. */
function unstamped(stored: Buffer): Buffer {
  return Buffer.from(stored).fill(0, AT.headerCrc, AT.headerCrc + 4).fill(0, AT.stampedFlags, AT.bodyCrc).fill(0, AT.incarnation, AT.compression);
}

describe("golden batches", () => {
  test("every file is one that this suite claims", () => {
    const names = goldenNames("tests/golden/").map((name) => name.slice(0, -4));
    expect(names.filter((name) => !OF_CLIENTS.includes(name) && !OF_THE_DISK.includes(name))).toEqual([]);
    expect(names).toEqual(expect.arrayContaining(OF_CLIENTS));
  });

  test("two records are written to the same bytes, and read", () => {
    const builder = new BatchBuilder();
    builder.push({ payload: "hello" });
    builder.push({ payload: new Uint8Array() });
    expect(builder.build(undefined).toString("hex")).toBe(golden("batch_two_records").toString("hex"));
    const [first, second] = messagesOf(readStoredBatch(golden("batch_two_records_stamped"), 0));
    expect([first?.offset, first?.type, first?.key, first?.text()]).toEqual([41, "", undefined, "hello"]);
    expect([second?.offset, second?.text(), second?.bytes?.length]).toEqual([42, "", 0]);
  });

  test("all fields are read, and written to the same bytes", () => {
    const stored = readStoredBatch(golden("batch_all_fields_stamped"), 0);
    const messages = messagesOf(stored);
    const [first, second, third] = messages;
    expect([first?.type, first?.eventTime, first?.payload]).toEqual(["inference.feedback", -1, { score: 0.5 }]);
    expect(first?.headerList[1]?.[0]).toBe("größe");
    expect([second?.key, second?.bytes]).toEqual(["user-1", undefined]);
    expect([third?.key, third?.text()]).toEqual(["", "x"]);
    const { id, epoch, sequence } = producerOf(stored);
    const builder = new BatchBuilder();
    builder.fence = stored.bytes.readBigUInt64LE(AT.fence);
    for (const { type, keyBytes: key, headerList: headers, bytes: payload, eventTime } of messages) builder.push({ type, key, headers, payload, eventTime });
    const written = builder.build({ id, epoch, sequence: Number(sequence) });
    expect(written.toString("hex")).toBe(golden("batch_all_fields").toString("hex"));
    expect(unstamped(stored.bytes).equals(golden("batch_all_fields"))).toBe(true);
  });

  test("LZ4 is read", () => {
    const messages = messagesOf(readStoredBatch(golden("batch_lz4_stamped"), 0));
    expect(messages.length).toBe(100);
    for (const message of messages) expect(message.bytes).toBeDefined();
  });

  test.runIf(HAS_ZSTD)("zstd is read, to the same as LZ4", () => {
    const read = (name: string) => messagesOf(readStoredBatch(golden(name), 0)).map((message) => message.text());
    expect(read("batch_zstd_stamped")).toEqual(read("batch_lz4_stamped"));
  });

  test.skipIf(HAS_ZSTD)("zstd is a typed error where Node has none", () => {
    expect(() => messagesOf(readStoredBatch(golden("batch_zstd_stamped"), 0))).toThrow(UnsupportedCompressionError);
  });

  test("a gap is told as lost records, never as a record", () => {
    const bytes = golden("batch_gap");
    const batch = readStoredBatch(bytes, 0);
    const cursor = new Cursor({ name: "chat.log", incarnation: undefined }, { kind: "offset", offset: 41n });
    const answer = { incarnation: batch.incarnation, logStart: 0n, highWatermark: 46n, logEnd: 46n, fromOffset: 41n, logEpoch: 7n, batches: bytes };
    const [stretch] = cursor.take(answer);
    const messages: Message[] = [];
    expect(() => takeMessages(messages, "chat.log", stretch!, NUMBER_OFFSETS, undefined)).toThrow(/from offset 41 up to 46 are lost \(damaged: batch body/);
    const told: unknown[] = [];
    expect(takeMessages(messages, "chat.log", stretch!, NUMBER_OFFSETS, (lost) => told.push(lost)).next).toBe(46n);
    expect(told).toMatchObject([{ first: 41n, end: 46n, reason: "damaged" }]);
    expect(messages).toEqual([]);
  });

  test("with any bit flipped are refused", () => {
    for (const name of ["batch_two_records_stamped", "batch_gap"]) {
      const bytes = golden(name);
      for (let bit = 0; bit < bytes.length * 8; bit += 1) {
        const broken = Buffer.from(bytes);
        broken[bit >> 3] = (broken[bit >> 3] as number) ^ (1 << (bit & 7));
        expect(() => readStoredBatch(broken, 0), `${name}, bit ${bit}`).toThrow(CorruptDataError);
      }
    }
  });

  test("cut short are refused", () => {
    const bytes = golden("batch_two_records_stamped");
    for (let length = 0; length < bytes.length; length += 1) expect(() => readStoredBatch(bytes.subarray(0, length), 0)).toThrow(CorruptDataError);
  });

  test("damaged LZ4 is an error, whatever the damage", () => {
    const bytes = golden("batch_lz4_stamped");
    let refused = 0;
    for (let at = BATCH_HEADER_BYTES; at < bytes.length; at += 1) {
      const broken = Buffer.from(bytes);
      broken[at] = (broken[at] as number) ^ 0xff;
      const batch = { ...readStoredBatch(bytes, 0), bytes: broken };
      try {
        messagesOf(batch);
      } catch (error) {
        expect(error).toBeInstanceOf(CorruptDataError);
        refused += 1;
      }
    }
    expect(refused).toBeGreaterThan(10);
  });
});

describe("batches", () => {
  test("checksums by table are those of zlib", () => {
    const data = golden("batch_all_fields");
    expect(tableCrc32(Buffer.from("123456789"))).toBe(0xcbf43926);
    expect(tableCrc32(data.subarray(50), tableCrc32(data.subarray(0, 50)))).toBe(crc32(data));
  });

  test("without their large records keep the others, in order", () => {
    const builder = new BatchBuilder();
    for (const payload of ["a", "x".repeat(500), "b", "y".repeat(400), "c"]) builder.push({ payload });
    const kept = withoutLarge(builder.build(undefined), 100);
    expect(kept.indexes).toEqual([0, 2, 4]);
    const reference = new BatchBuilder();
    for (const payload of ["a", "b", "c"]) reference.push({ payload });
    const wanted = reference.build(undefined);
    kept.bytes.writeUInt32LE(crc32(kept.bytes.subarray(AT.compression)), AT.bodyCrc);
    expect(kept.bytes.toString("hex")).toBe(wanted.toString("hex"));
  });

  test("hand out offsets above 2^53 - 1 as bigints, and as a typed error in place of rounded numbers", () => {
    const bytes = Buffer.from(golden("batch_two_records_stamped"));
    bytes.writeBigUInt64LE(2n ** 53n - 1n, AT.baseOffset);
    bytes.writeUInt32LE(crc32(bytes.subarray(8, 72), crc32(bytes.subarray(0, 4))), AT.headerCrc);
    const batch = readStoredBatch(bytes, 0);
    expect(() => messagesOf(batch)).toThrow(expect.objectContaining({ code: "OFFSET_UNSAFE", details: { value: 2n ** 53n } }));
    const messages: Message<unknown, bigint>[] = [];
    readMessages(messages, "chat.log", batch, BIGINT_OFFSETS, { from: batch.baseOffset, to: batch.endOffset });
    expect(messages.map(({ offset }) => offset)).toEqual([2n ** 53n - 1n, 2n ** 53n]);
  });
});
