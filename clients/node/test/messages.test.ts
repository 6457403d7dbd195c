import { describe, expect, test } from "vitest";
import {
  ExpectedOffsetMismatchError,
  FencedError,
  InternalTopicError,
  InvalidArgumentError,
  NPayload,
  type NPayloadError,
  PositionMismatchError,
  QueueFullError,
  RecordTooLargeError,
} from "../src/index.js";
import { type Asked, startFakeBroker } from "./support/fake-broker.js";
import { freshName, until, withBroker } from "./support/client.js";

const live = withBroker();

describe("publishing", () => {
  test("is acknowledged with offset and durability, and read back as it was", async () => {
    const channelId = freshName();
    const payload = { text: "größe ✓", list: [1, 2.5, null], nested: { yes: true } };
    const ack = await live.np.messages.publish({ channelId, type: "a.b", payload, key: "k1", headers: { lang: "de" }, eventTime: new Date(1234) });
    expect(ack).toMatchObject({ channel: channelId, offset: 0, level: "synced", duplicate: false });
    const bytes = Uint8Array.from([0, 255, 128]);
    await live.np.messages.publish({ channelId, payload: bytes, key: bytes, headers: [["h", bytes], ["h", "2"]] });
    await live.np.messages.publish({ channelId, key: "gone" });
    const { messages } = await live.np.streams.consume({ streamId: channelId });
    const [first, second, third] = messages;
    expect(first?.toJSON()).toEqual({ channel: channelId, offset: 0, type: "a.b", key: "k1", headers: { lang: "de" }, eventTime: 1234, appendTime: ack.appendTime, payload });
    expect(second?.bytes).toEqual(Buffer.from(bytes));
    expect(second?.keyBytes).toEqual(Buffer.from(bytes));
    expect(second?.headerList).toEqual([["h", Buffer.from(bytes)], ["h", Buffer.from("2")]]);
    expect(() => second?.payload).toThrow(expect.objectContaining({ code: "PAYLOAD_NOT_JSON" }));
    expect([third?.payload, third?.bytes, third?.key]).toEqual([undefined, undefined, "gone"]);
  });

  test("keeps the order of the calls, of many that are not awaited", async () => {
    const channelId = freshName();
    const acks = await Promise.all(Array.from({ length: 5000 }, (_, n) => live.np.messages.publish({ channelId, payload: n })));
    expect(acks.map(({ offset }) => offset)).toEqual(Array.from({ length: 5000 }, (_, n) => n));
    const { messages, nextOffset, endOffset } = await live.np.streams.consume<number>({ streamId: channelId });
    expect(messages.map(({ payload }) => payload)).toEqual(Array.from({ length: 5000 }, (_, n) => n));
    expect([nextOffset, endOffset]).toEqual([5000, 5000]);
  });

  test("of a batch is all or nothing", async () => {
    const channelId = freshName();
    await live.np.channels.create({ name: channelId, maxRecordBytes: 1000 });
    const messages = [{ payload: 1 }, { payload: 2, type: "t" }];
    expect(await live.np.messages.publishBatch({ channelId, messages })).toMatchObject({ firstOffset: 0, lastOffset: 1, count: 2 });
    const large = { payload: "x".repeat(2000) };
    await expect(live.np.messages.publishBatch({ channelId, messages: [...messages, large] })).rejects.toThrow(RecordTooLargeError);
    expect(await live.np.messages.publishBatch({ channelId, messages })).toMatchObject({ firstOffset: 2, lastOffset: 3 });
    await expect(live.np.messages.publishBatch({ channelId, messages: [] })).rejects.toThrow(InvalidArgumentError);
  });

  test("a record that is too large fails alone, whatever it was sent with", async () => {
    const channelId = freshName();
    await live.np.channels.create({ name: channelId, maxRecordBytes: 1000 });
    const payloads = Array.from({ length: 50 }, (_, n) => (n % 7 === 3 ? "x".repeat(2000) : `${n}`));
    const outcomes = await Promise.allSettled(payloads.map((payload) => live.np.messages.publish({ channelId, payload })));
    for (const [n, outcome] of outcomes.entries()) {
      expect(outcome.status).toBe(n % 7 === 3 ? "rejected" : "fulfilled");
      if (outcome.status === "rejected") expect(outcome.reason).toBeInstanceOf(RecordTooLargeError);
    }
    const { reason } = outcomes[3] as PromiseRejectedResult;
    expect(reason.message).toMatch(`too large for the channel ${channelId}: a record of 2026 bytes, where the channel's largest is 1000`);
    expect(reason.details).toMatchObject({ channel: channelId, found: 2026, limit: 1000 });
    const { messages } = await live.np.streams.consume<string>({ streamId: channelId });
    expect(messages.map(({ payload }) => payload)).toEqual(payloads.filter((payload) => payload.length < 1000));
  });

  test("what is refused does not stop what is behind it", async () => {
    const channelId = freshName();
    const publish = (n: number, expectedOffset?: number) => live.np.messages.publish({ channelId, payload: n, expectedOffset });
    const outcomes = await Promise.allSettled([publish(0), publish(1, 1), publish(2, 7), publish(3), publish(4, 3), publish(5, 3), publish(6)]);
    expect(outcomes.map(({ status }) => status === "fulfilled")).toEqual([true, true, false, true, true, false, true]);
    expect((outcomes[2] as PromiseRejectedResult).reason).toBeInstanceOf(ExpectedOffsetMismatchError);
    expect((outcomes[2] as PromiseRejectedResult).reason.details).toMatchObject({ expected: 7, actual: 2 });
    const { messages } = await live.np.streams.consume({ streamId: channelId });
    expect(messages.map(({ payload }) => payload)).toEqual([0, 1, 3, 4, 6]);
  });

  test("a writer with a lower fence is refused", async () => {
    const channelId = freshName();
    await live.np.messages.publish({ channelId, payload: 1, fence: 5 });
    await expect(live.np.messages.publish({ channelId, payload: 2, fence: 4 })).rejects.toThrow(FencedError);
    await expect(live.np.messages.publish({ channelId, payload: 2 })).rejects.toMatchObject({ code: "FENCED", details: { highest: 5 } });
    expect(await live.np.messages.publish({ channelId, payload: 3, fence: 6n })).toMatchObject({ offset: 1 });
  });

  test("to the broker's own topics is refused", async () => {
    await expect(live.np.messages.publish({ channelId: "__channels", payload: 1 })).rejects.toThrow(InternalTopicError);
  });

  test("a large record travels, and one above every limit is refused before it is sent", async () => {
    const channelId = freshName();
    await live.np.channels.create({ name: channelId, maxRecordBytes: 32 << 20 });
    const payload = new Uint8Array(20 << 20).fill(7);
    const [ack] = await Promise.all([live.np.messages.publish({ channelId, payload }), live.np.messages.publish({ channelId, payload: "small" })]);
    expect(ack.offset).toBe(0);
    const { messages } = await live.np.streams.consume({ streamId: channelId, maxBytes: 1 });
    expect(messages.length).toBe(1);
    expect(Buffer.compare(messages[0]!.bytes!, payload)).toBe(0);
    await expect(live.np.messages.publish({ channelId, payload: new Uint8Array(70 << 20) })).rejects.toThrow(InvalidArgumentError);
  });

  test("payloads that are no JSON are refused", async () => {
    const channelId = freshName();
    const cycle: { self?: unknown } = {};
    cycle.self = cycle;
    for (const payload of [() => 1, Symbol("s"), 1n, cycle]) {
      await expect(live.np.messages.publish({ channelId, payload })).rejects.toThrow(InvalidArgumentError);
    }
    await expect(live.np.messages.publish({ channelId, type: "x".repeat(257), payload: 1 })).rejects.toThrow(/257 bytes, where 256/);
  });

  test("more than the queue holds is refused with a retryable error, and all of it settles", async () => {
    const channelId = freshName();
    await using np = new NPayload({ url: live.url, maxQueuedBytes: 1 << 20 });
    let acked = 0;
    let full = 0;
    const settled: Promise<unknown>[] = [];
    for (let n = 0; n < 20_000; n += 1) {
      const outcome = np.messages.publish({ channelId, payload: "x".repeat(200) }).then(
        () => void (acked += 1),
        (error: QueueFullError) => {
          expect(error).toBeInstanceOf(QueueFullError);
          expect(error.retryable).toBe(true);
          full += 1;
        },
      );
      settled.push(outcome);
    }
    await Promise.all(settled);
    expect(full).toBeGreaterThan(0);
    expect(acked + full).toBe(20_000);
    expect((await np.channels.get({ channelId })).logEnd).toBe(acked);
    expect((await np.messages.publish({ channelId, payload: "after" })).offset).toBe(acked);
  });

  test("more than the queue holds waits for room, in the order of the calls, where it is awaited", async () => {
    const channelId = freshName();
    await using np = new NPayload({ url: live.url, maxQueuedBytes: 20_000 });
    const texts = Array.from({ length: 80 }, (_, n) => `${n}:${"x".repeat(700)}`);
    const singles = texts.map((payload) => np.messages.publish({ channelId, payload }));
    const batch = np.messages.publishBatch({ channelId, messages: texts.slice(0, 10).map((payload) => ({ payload })) });
    const wrong = expect(np.messages.publish({ channelId, type: "t".repeat(300), payload: 1 })).rejects.toThrow(InvalidArgumentError);
    const large = np.messages.publish({ channelId, payload: "y".repeat(50_000) });
    expect((await Promise.all(singles)).map(({ offset }) => offset)).toEqual(texts.map((_, n) => n));
    expect(await batch).toMatchObject({ firstOffset: 80, count: 10 });
    await wrong;
    expect((await large).offset).toBe(90);

    const other = freshName();
    const worker = async (id: number): Promise<void> => {
      for (let n = 0; n < 5; n += 1) await np.messages.publish({ channelId: other, payload: { id, n, text: "z".repeat(500) } });
    };
    await Promise.all(Array.from({ length: 200 }, (_, id) => worker(id)));
    const { messages } = await np.streams.consume<{ id: number; n: number }>({ streamId: other });
    expect(messages.length).toBe(1000);
    for (let id = 0; id < 200; id += 1) expect(messages.filter(({ payload }) => payload.id === id).map(({ payload }) => payload.n)).toEqual([0, 1, 2, 3, 4]);
  });

  test("what waits for room is aborted, out of time or closed like everything else", async () => {
    const held: Asked[] = [];
    const broker = await startFakeBroker((asked) => void held.push(asked));
    const np = new NPayload({ url: broker.url, maxQueuedBytes: 1000 });
    await np.connect();
    const publish = (payload: string, options = {}) => np.messages.publish({ channelId: "a", payload }, options).then(() => "done", (error: NPayloadError) => error);
    const first = publish("x".repeat(2000));
    await until(() => held.length === 1);
    const stop = new AbortController();
    const aborted = publish("aborted", { signal: stop.signal });
    const late = publish("late", { timeoutMs: 50 });
    const closed = publish("closed");
    stop.abort();
    expect(await aborted).toMatchObject({ name: "AbortError" });
    expect(await late).toMatchObject({ code: "REQUEST_TIMEOUT", cause: { code: "QUEUE_FULL" } });
    expect(held.length).toBe(1);
    await np.close();
    expect([await first, await closed]).toMatchObject([{ code: "CLIENT_CLOSED" }, { code: "CLIENT_CLOSED" }]);
    broker.close();
  });
});

describe("transactions", () => {
  test("store messages of several channels and positions together", async () => {
    const [from, a, b] = [freshName(), freshName(), freshName()];
    await live.np.messages.publish({ channelId: from, payload: 1 });
    const ack = await live.np.messages.publishTransactional({
      messages: [{ channelId: a, payload: 1 }, { channelId: b, payload: 2 }, { channelId: a, payload: 3 }],
      commits: [{ channelId: from, consumer: "c", offset: 1, expectedPrevious: null }],
    });
    expect(ack.batches).toMatchObject([{ channel: a, firstOffset: 0, lastOffset: 1, count: 2 }, { channel: b, firstOffset: 0, count: 1 }]);
    expect(ack.committed).toEqual([1]);
    expect((await live.np.streams.consume({ streamId: a })).messages.map(({ payload }) => payload)).toEqual([1, 3]);
    const again = live.np.messages.publishTransactional({
      messages: [{ channelId: a, payload: 4 }],
      commits: [{ channelId: from, consumer: "c", offset: 1, expectedPrevious: 0 }],
    });
    await expect(again).rejects.toThrow(PositionMismatchError);
    expect((await live.np.channels.get({ channelId: a })).logEnd).toBe(2);
    await expect(live.np.messages.publishTransactional({})).rejects.toThrow(InvalidArgumentError);
  });
});

