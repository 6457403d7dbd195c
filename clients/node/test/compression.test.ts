import { execFileSync } from "node:child_process";
import { describe, expect, test } from "vitest";
import { HAS_ZSTD } from "../src/batch/compression.js";
import { AT, COMPRESSION } from "../src/batch/layout.js";
import { decompressLz4 } from "../src/batch/lz4.js";
import { compressLz4 } from "../src/batch/lz4-compress.js";
import { readStoredBatch } from "../src/batch/stored.js";
import { CompressionNotAllowedError, type CompressionName, InvalidArgumentError, NPayload, RecordTooLargeError } from "../src/index.js";
import { decodeFetchAnswer, encodeFetch } from "../src/wire/messages.js";
import { encodeFrame, type Frame, FrameParser } from "../src/wire/frame.js";
import { FETCH } from "../src/wire/kinds.js";
import * as net from "node:net";
import { freshName, withBroker } from "./support/client.js";

const live = withBroker();
const AVAILABLE: readonly CompressionName[] = HAS_ZSTD ? ["lz4", "zstd"] : ["lz4"];

/** Numbers that look random and are the same in every run. */
function random(seed: number): () => number {
  let state = seed;
  return () => (state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0) / 2 ** 32;
}

describe("LZ4 frames", () => {
  const next = random(7);
  const repeated = (period: number, size: number): Buffer => {
    const noise = Buffer.from(Array.from({ length: period }, () => next() * 256));
    return Buffer.concat(Array.from({ length: Math.ceil(size / period) }, () => noise)).subarray(0, size);
  };
  const kinds: Record<string, (size: number) => Buffer> = {
    zeros: (size) => Buffer.alloc(size),
    noise: (size) => Buffer.from(Array.from({ length: size }, () => next() * 256)),
    "few letters": (size) => Buffer.from(Array.from({ length: size }, () => 97 + next() * 3)),
    "JSON lines": (size) => Buffer.from('{"modelId":"pricing-model-v3","prediction":0.87,"actual":0.91}\n'.repeat(Math.ceil(size / 60))).subarray(0, size),
    "matches as far away as may be": (size) => repeated(65_535, size),
    "matches too far away": (size) => repeated(65_536, size),
  };
  const sizes = [...Array.from({ length: 40 }, (_, n) => n), 269, 270, 271, 65_535, 65_536, 65_540, 200_000];
  test.each(Object.keys(kinds))("of %s decompress to what they were made of, and are smaller", (kind) => {
    let made = 0;
    for (const size of sizes) {
      const source = (kinds[kind] as (size: number) => Buffer)(size);
      const frame = compressLz4(source);
      if (frame === undefined) continue;
      made += 1;
      expect(frame.length).toBeLessThan(size);
      expect(decompressLz4(frame, size).equals(source), `${size} bytes`).toBe(true);
    }
    expect(made > 0).toBe(kind !== "noise" && kind !== "matches too far away");
  });

  test("of several blocks, some of them as they are, decompress to what they were made of", () => {
    const source = Buffer.concat([Buffer.alloc(4 << 20, "abcdefg "), (kinds.noise as (size: number) => Buffer)(4 << 20), Buffer.from("the rest, the rest, the rest, the rest")]);
    const frame = compressLz4(source);
    expect(frame?.length).toBeLessThan((4 << 20) + 100_000);
    expect(decompressLz4(frame as Buffer, source.length).equals(source)).toBe(true);
  });
});

/** How the batches of a channel are stored, and the bytes they take. */
async function storedAs(channel: string): Promise<{ kinds: number[]; bytes: number }> {
  const request = encodeFetch({ channel, from: { kind: "start" }, lastEpoch: 0n, maxBytes: 32 << 20, minBytes: 0, maxWaitMs: 0 });
  const socket = net.connect(live.broker.port, "127.0.0.1");
  const body = await new Promise<Buffer>((resolve, reject) => {
    const parser = new FrameParser(({ kind, body }: Frame) => (kind === (FETCH | 0x8000) ? resolve(body) : kind === 0x8001 ? undefined : reject(new Error(body.toString()))));
    socket.on("data", (chunk: Buffer) => parser.push(chunk)).on("error", reject);
    socket.write(encodeFrame(1, 1, 1, Buffer.from('{"client":"test","version":"1","minVersion":1,"maxVersion":1}')));
    socket.write(encodeFrame(FETCH, 1, 2, request));
  });
  socket.destroy();
  const { batches } = decodeFetchAnswer(body);
  const kinds: number[] = [];
  for (let at = 0; at < batches.length; ) {
    const { bytes } = readStoredBatch(batches, at);
    kinds.push(bytes[AT.compression] as number);
    at += bytes.length;
  }
  return { kinds, bytes: batches.length };
}

describe.each(AVAILABLE)("what is published with %s", (compression) => {
  const payloads = Array.from({ length: 500 }, (_, n) => ({ n, text: "the same words again and again ".repeat(8) }));

  test("is stored compressed, and read by this client and by the command line", async () => {
    await using np = new NPayload({ url: live.url, compression });
    const channelId = freshName("compressed");
    const acks = await Promise.all(payloads.map((payload) => np.messages.publish({ channelId, type: "t", key: "k", headers: { h: "v" }, payload })));
    expect(acks.map(({ offset }) => offset)).toEqual(payloads.map((_, n) => n));
    await np.messages.publishBatch({ channelId, messages: payloads.map((payload) => ({ payload })) });
    await np.messages.publishTransactional({ messages: payloads.map((payload) => ({ channelId, payload })) });
    const { kinds, bytes } = await storedAs(channelId);
    expect(new Set(kinds)).toEqual(new Set([COMPRESSION[compression]]));
    expect(bytes).toBeLessThan(JSON.stringify(payloads).length / 3);

    const { messages } = await live.np.streams.consume({ streamId: channelId });
    expect(messages.map(({ payload }) => payload)).toEqual([...payloads, ...payloads, ...payloads]);
    expect(messages[0]).toMatchObject({ type: "t", key: "k", headers: { h: "v" } });
    const printed = execFileSync(process.env.NPAYLOAD_BIN as string, ["consume", channelId, "--json", "--url", live.url], { encoding: "utf8" });
    const read = printed.trim().split("\n").map((line) => (JSON.parse(line) as { payload: unknown }).payload);
    expect(read.map((payload) => (typeof payload === "string" ? JSON.parse(payload) : payload) as unknown)).toEqual([...payloads, ...payloads, ...payloads]);
  });

  test("by the command line, with the Rust client, is read", async () => {
    const channelId = freshName("compressed");
    const input = payloads.map((payload) => `${JSON.stringify(payload)}\n`).join("");
    execFileSync(process.env.NPAYLOAD_BIN as string, ["publish", channelId, "--compression", compression, "--url", live.url], { input });
    expect(new Set((await storedAs(channelId)).kinds)).toEqual(new Set([COMPRESSION[compression]]));
    expect((await live.np.streams.consume({ streamId: channelId })).messages.map(({ payload }) => payload)).toEqual(payloads);
  });

  test("is stored as it is where compression does not make it smaller", async () => {
    await using np = new NPayload({ url: live.url, compression });
    const channelId = freshName("compressed");
    const next = random(3);
    const payload = Buffer.from(Array.from({ length: 2000 }, () => next() * 256));
    await np.messages.publish({ channelId, payload });
    expect((await storedAs(channelId)).kinds).toEqual([COMPRESSION.none]);
    expect((await live.np.streams.consume({ streamId: channelId })).messages[0]?.bytes?.equals(payload)).toBe(true);
  });

  test("is refused alone where a record is too large, and whole where its channel does not allow it", async () => {
    await using np = new NPayload({ url: live.url, compression });
    const channelId = freshName("compressed");
    await np.channels.create({ name: channelId, maxRecordBytes: 1000 });
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, (_, n) => np.messages.publish({ channelId, payload: n === 7 ? "x".repeat(2000) : "y".repeat(200) })));
    for (const [n, outcome] of outcomes.entries()) expect(outcome.status).toBe(n === 7 ? "rejected" : "fulfilled");
    expect((outcomes[7] as PromiseRejectedResult).reason).toBeInstanceOf(RecordTooLargeError);
    expect((await live.np.streams.consume({ streamId: channelId })).messages.length).toBe(19);

    const plain = freshName("plain");
    await np.channels.create({ name: plain, compression: ["none"] });
    await expect(np.messages.publish({ channelId: plain, payload: "z".repeat(5000) })).rejects.toThrow(CompressionNotAllowedError);
  });
});

test("what this version of Node cannot write, or nobody, is an error of the constructor", () => {
  expect(() => new NPayload({ compression: "brotli" as CompressionName })).toThrow(InvalidArgumentError);
  if (HAS_ZSTD) new NPayload({ compression: "zstd" });
  else expect(() => new NPayload({ compression: "zstd" })).toThrow(/needs Node 22.15/);
});
