import { describe, expect, test } from "vitest";
import { AbortError, ConsumeResult, type Message, NPayload, OffsetOutOfRangeError, OffsetTrimmedError } from "../src/index.js";
import { freshName, until, withBroker } from "./support/client.js";

const live = withBroker();

async function filled(count: number, bytes = 0): Promise<string> {
  const channelId = freshName();
  const messages = Array.from({ length: count }, (_, n) => ({ type: `t${n % 3}`, payload: bytes === 0 ? n : `${n}`.padEnd(bytes, ".") }));
  for (let at = 0; at < count; at += 1000) await live.np.messages.publishBatch({ channelId, messages: messages.slice(at, at + 1000) });
  return channelId;
}

const offsets = (messages: Iterable<Message>): number[] => [...messages].map(({ offset }) => offset);
const range = (from: number, to: number): number[] => Array.from({ length: to - from }, (_, n) => from + n);

describe("consume", () => {
  test("begins at an offset, inclusive, and ends at the limits", async () => {
    const streamId = await filled(2500);
    const result = await live.np.streams.consume({ streamId, fromOffset: 1234, maxMessages: 10 });
    expect(result).toBeInstanceOf(ConsumeResult);
    expect(offsets(result)).toEqual(range(1234, 1244));
    expect([result.nextOffset, result.endOffset, result.isAtEnd]).toEqual([1244, 2500, false]);
    expect(offsets((await live.np.streams.consume({ streamId, fromOffset: 2490n })).messages)).toEqual(range(2490, 2500));
    expect(offsets((await live.np.streams.consume({ streamId, toOffset: 7 })).messages)).toEqual(range(0, 7));
    const end = await live.np.streams.consume({ streamId, fromOffset: 2500 });
    expect([offsets(end), end.nextOffset, end.isAtEnd]).toEqual([[], 2500, true]);
  });

  test("walks a stream in steps of few bytes without missing one", async () => {
    const streamId = await filled(500, 100);
    const seen: number[] = [];
    for (let fromOffset = 0; ; ) {
      const result = await live.np.streams.consume({ streamId, fromOffset, maxBytes: 777 });
      seen.push(...offsets(result));
      expect(result.messages.length).toBeGreaterThan(0);
      expect(result.messages.length).toBeLessThan(8);
      fromOffset = result.nextOffset;
      if (result.isAtEnd) break;
    }
    expect(seen).toEqual(range(0, 500));
  });

  test("holds 32 MiB of records unless told otherwise", async () => {
    const streamId = await filled(40_000, 1000);
    const { messages, isAtEnd } = await live.np.streams.consume({ streamId });
    expect(isAtEnd).toBe(false);
    expect(messages.length).toBeGreaterThan((31 << 20) / 1026);
    expect(messages.length).toBeLessThanOrEqual((32 << 20) / 1026);
  });

  test("begins at a time", async () => {
    const streamId = freshName();
    const { appendTime } = await live.np.messages.publish({ channelId: streamId, payload: 1 });
    await until(() => Date.now() > appendTime + 1);
    const { appendTime: second } = await live.np.messages.publish({ channelId: streamId, payload: 2 });
    expect(offsets(await live.np.streams.consume({ streamId, fromTime: new Date(second) }))).toEqual([1]);
    expect(offsets(await live.np.streams.consume({ streamId, fromTime: 0 }))).toEqual([0, 1]);
    expect((await live.np.streams.offsetAt({ streamId, at: { time: second } })).offset).toBe(1);
    expect((await live.np.streams.offsetAt({ streamId, at: { back: 2 } })).offset).toBe(0);
    expect((await live.np.streams.offsetAt({ streamId, at: { end: true } })).offset).toBe(2);
  });

  test("above the end and below the start are typed errors with the range", async () => {
    const streamId = await filled(3);
    await expect(live.np.streams.consume({ streamId, fromOffset: 4 })).rejects.toThrow(OffsetOutOfRangeError);
    await expect(live.np.streams.consume({ streamId, fromOffset: 4 })).rejects.toMatchObject({ details: { start: 0, end: 3 } });
    for (const fromOffset of [-1, 0.5, NaN, 2 ** 53, "7" as unknown as number]) {
      await expect(live.np.streams.consume({ streamId, fromOffset })).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
  });

  test("a trimmed offset is a typed error that says where to go on", async () => {
    const streamId = freshName();
    await live.np.channels.create({ name: streamId, segmentBytes: 8192, retentionBytes: 16384 });
    for (let n = 0; n < 40; n += 1) await live.np.messages.publish({ channelId: streamId, payload: "x".repeat(3000) });
    let logStart = 0;
    await until(() => {
      void live.np.channels.get({ channelId: streamId }).then((info) => void (logStart = info.logStart));
      return logStart > 0;
    });
    const failed = await live.np.streams.consume({ streamId, fromOffset: 0 }).catch((error: unknown) => error);
    expect(failed).toBeInstanceOf(OffsetTrimmedError);
    const { details } = failed as OffsetTrimmedError;
    expect(Number(details.first)).toBeGreaterThan(0);
    expect(offsets(await live.np.streams.consume({ streamId, fromOffset: details.first }))[0]).toBe(Number(details.first));
  });

  test("hands out bigints where asked for", async () => {
    const streamId = await filled(3);
    await using np = new NPayload({ url: live.url, offsets: "bigint" });
    const { messages, nextOffset, endOffset } = await np.streams.consume({ streamId, fromOffset: 1 });
    expect([messages.map(({ offset }) => offset), nextOffset, endOffset]).toEqual([[1n, 2n], 3n, 3n]);
    expect((await np.messages.publish({ channelId: streamId, payload: 1 })).offset).toBe(3n);
    expect((await np.channels.get({ channelId: streamId })).logEnd).toBe(4n);
  });
});

describe("tail", () => {
  test("goes on with what comes later, from an offset on", async () => {
    const streamId = await filled(20);
    const seen: number[] = [];
    const publishing = (async () => {
      for (let n = 0; n < 20; n += 1) await live.np.messages.publish({ channelId: streamId, payload: n });
    })();
    for await (const { offset } of live.np.streams.tail({ streamId, fromOffset: 15 })) {
      seen.push(offset);
      if (offset === 39) break;
    }
    expect(seen).toEqual(range(15, 40));
    await publishing;
  });

  test("from the end sees only what comes later", async () => {
    const streamId = await filled(5);
    const tail = live.np.streams.tail({ streamId, from: "end" });
    const next = tail.next();
    await until(() => tail.position.offset !== undefined || tail.position.incarnation !== undefined || live.np.status.state === "connected");
    await new Promise((resolve) => setTimeout(resolve, 100));
    await live.np.messages.publish({ channelId: streamId, payload: "new" });
    expect((await next).value?.payload).toBe("new");
    expect(await tail.return()).toEqual({ value: undefined, done: true });
    expect(await tail.next()).toEqual({ value: undefined, done: true });
  });

  test("comes in batches too, and ends where it is told to", async () => {
    const streamId = await filled(5000, 50);
    const seen: number[] = [];
    for await (const batch of live.np.streams.tail({ streamId, fromOffset: 3, toOffset: 4321 }).batches()) {
      expect(batch.length).toBeGreaterThan(0);
      seen.push(...offsets(batch));
    }
    expect(seen).toEqual(range(3, 4321));
    const none: number[] = [];
    for await (const { offset } of live.np.streams.tail({ streamId, fromOffset: 7, toOffset: 7 })) none.push(offset);
    expect(none).toEqual([]);
  });

  test("goes on where another one stood, and notices a stream that was made again", async () => {
    const streamId = await filled(5);
    const first = live.np.streams.tail({ streamId });
    for (let n = 0; n < 3; n += 1) await first.next();
    const { position } = first;
    expect(position).toMatchObject({ offset: 3, logEpoch: 1n });
    await first.return();
    const second = live.np.streams.tail({ streamId, position });
    expect((await second.next()).value?.offset).toBe(3);
    await second.return();
    await live.np.channels.delete({ channelId: streamId });
    await live.np.channels.create({ name: streamId });
    await expect(live.np.streams.tail({ streamId, position }).next()).rejects.toMatchObject({ code: "CHANNEL_RECREATED" });
  });

  test("serves several calls of next() in their order", async () => {
    const streamId = await filled(5);
    const tail = live.np.streams.tail({ streamId });
    const results = await Promise.all([tail.next(), tail.next(), tail.next()]);
    expect(results.map(({ value }) => value?.offset)).toEqual([0, 1, 2]);
    await tail.return();
  });

  test("holds no more than it may while the program is slow", async () => {
    const streamId = await filled(20_000, 1000);
    const tail = live.np.streams.tail({ streamId, maxBufferedBytes: 2 << 20 });
    await tail.next();
    await new Promise((resolve) => setTimeout(resolve, 300));
    const held = (tail as unknown as { heldBytes: number }).heldBytes;
    expect(held).toBeGreaterThan(0);
    expect(held).toBeLessThanOrEqual((2 << 20) + 4096);
    await tail.return();
  });

  test("rejects at once when its signal is aborted, and leaves no listener behind", async () => {
    const streamId = await filled(1);
    const stop = new AbortController();
    const tail = live.np.streams.tail({ streamId }, { signal: stop.signal });
    expect((await tail.next()).value?.offset).toBe(0);
    const waiting = tail.next();
    setTimeout(() => stop.abort(new Error("enough")), 20);
    await expect(waiting).rejects.toThrow(AbortError);
    expect(await tail.next()).toEqual({ value: undefined, done: true });
    const late = live.np.streams.tail({ streamId }, { signal: stop.signal });
    await expect(late.next()).rejects.toMatchObject({ name: "AbortError", code: "ABORT_ERR" });
  });

  test("ends when the client is closed", async () => {
    const streamId = await filled(1);
    const np = new NPayload({ url: live.url });
    const tail = np.streams.tail({ streamId });
    await tail.next();
    const waiting = tail.next();
    await np.close();
    expect(await waiting).toEqual({ value: undefined, done: true });
    await np.close();
    await expect(np.messages.publish({ channelId: streamId, payload: 1 })).rejects.toMatchObject({ code: "CLIENT_CLOSED" });
    expect(() => np.streams.tail({ streamId })).toThrow(expect.objectContaining({ code: "CLIENT_CLOSED" }));
  });

  test("of a channel that is not there is an error", async () => {
    await expect(live.np.streams.tail({ streamId: "nothing.here" }).next()).rejects.toMatchObject({ code: "CHANNEL_NOT_FOUND" });
  });
});

describe("consumers", () => {
  test("go on where they committed", async () => {
    const channelId = await filled(10);
    const consumer = "trainer-1";
    {
      await using first = await live.np.consumers.subscribe<number>({ channelId, consumer });
      for await (const message of first) {
        if (message.offset < 4) continue;
        expect(await first.commit(message, { metadata: "step 4" })).toBe(5);
        break;
      }
    }
    expect(await live.np.consumers.position({ channelId, consumer })).toMatchObject({ offset: 5, metadata: "step 4", lagRecords: 5 });
    const second = await live.np.consumers.subscribe({ channelId, consumer, toOffset: 10 });
    const seen: number[] = [];
    for await (const { offset } of second) seen.push(offset);
    expect(seen).toEqual(range(5, 10));
    expect(await second.commit()).toBe(10);
    expect(await live.np.consumers.list({ channelId })).toMatchObject([{ consumer, offset: 10, lagRecords: 0 }]);
    expect((await live.np.consumers.lag()).some((row) => row.channel === channelId)).toBe(true);
    expect(await live.np.consumers.reset({ channelId, consumer, to: { back: 3 } })).toMatchObject({ offset: 7 });
    await expect(live.np.consumers.commit({ channelId, consumer, offset: 9, expectedPrevious: 8 })).rejects.toMatchObject({ details: { expected: 8, actual: 7 } });
    await live.np.consumers.delete({ channelId, consumer });
    await expect(live.np.consumers.position({ channelId, consumer })).rejects.toMatchObject({ code: "CONSUMER_NOT_FOUND" });
  });
});
