import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { ConnectError, ConnectionLostError, NPayload, NPayloadError, RequestTimeoutError, type Status } from "../src/index.js";
import { startBroker, type TestBroker } from "../src/testing/index.js";
import { freshName, until } from "./support/client.js";
import { type Proxy, startProxy } from "./support/proxy.js";

const range = (to: number): number[] => Array.from({ length: to }, (_, n) => n);
/** Prints how often something was tried, where the bench of faults asks for it. */
const figure = (text: string): void => void (process.env.NPAYLOAD_FIGURES && process.stdout.write(`goal        met    ${text}\n`));

describe("answers that are lost", () => {
  const cuts = Number(process.env.NPAYLOAD_CUTS ?? 100);
  let broker: TestBroker;
  let proxy: Proxy;
  beforeAll(async () => {
    broker = await startBroker();
    proxy = await startProxy(broker.port);
  });
  afterAll(async () => {
    proxy.close();
    await broker.stop();
  });

  test("between store and acknowledgement leave each record once, and in order", async () => {
    await using np = new NPayload({ url: proxy.url, minDelayMs: 1, maxDelayMs: 5 });
    await using direct = new NPayload({ url: broker.url });
    const channelId = freshName("cut");
    let answers = 0;
    proxy.cutAt = () => ++answers % 2 === 1 && proxy.cuts < cuts;
    let sent = 0;
    let repeated = 0;
    while (proxy.cuts < cuts) {
      const acks = await Promise.all(range(5).map((n) => np.messages.publish({ channelId, payload: sent + n })));
      for (const [n, ack] of acks.entries()) expect(ack.offset).toBe(sent + n);
      repeated += acks.filter(({ duplicate }) => duplicate).length;
      sent += 5;
    }
    proxy.cutAt = undefined;
    const { messages } = await direct.streams.consume<number>({ streamId: channelId });
    expect(messages.map(({ payload }) => payload)).toEqual(range(sent));
    expect(repeated).toBeGreaterThan(0);
    figure(`${proxy.cuts} connections cut between store and acknowledgement, ${sent} messages: each stored once, in order; ${repeated} acknowledged as duplicates of what a lost try had stored`);
  });

  test("of several batches in flight leave each record once, and in order", async () => {
    await using np = new NPayload({ url: proxy.url, minDelayMs: 1, maxDelayMs: 5, batchRecords: 10 });
    await using direct = new NPayload({ url: broker.url });
    const channelId = freshName("cut");
    let answers = 0;
    const before = proxy.cuts;
    proxy.cutAt = () => ++answers % 7 === 3;
    const acks = await Promise.all(range(2000).map((payload) => np.messages.publish({ channelId, payload })));
    proxy.cutAt = undefined;
    expect(proxy.cuts - before).toBeGreaterThan(5);
    expect(acks.map(({ offset }) => offset)).toEqual(range(2000));
    const { messages } = await direct.streams.consume<number>({ streamId: channelId });
    expect(messages.map(({ payload }) => payload)).toEqual(range(2000));
  });

  test("surface without retries, and what follows is stored behind", async () => {
    await using np = new NPayload({ url: proxy.url, maxRetries: 0 });
    const channelId = freshName("cut");
    let isCut = false;
    proxy.cutAt = () => !isCut && (isCut = true);
    const failed = np.messages.publish({ channelId, payload: 1 });
    await expect(failed).rejects.toThrow(ConnectionLostError);
    await expect(failed).rejects.toMatchObject({ retryable: true, code: "CONNECTION_LOST" });
    proxy.cutAt = undefined;
    // The first was stored, though its acknowledgement was lost.
    expect((await np.messages.publish({ channelId, payload: 2 })).offset).toBe(1);
  });

  test("of a transaction leave it carried out once", async () => {
    await using np = new NPayload({ url: proxy.url, minDelayMs: 1 });
    const channelId = freshName("cut");
    await np.messages.publish({ channelId, payload: 0 });
    const before = proxy.cuts;
    proxy.cutAt = () => proxy.cuts < before + 3;
    const { batches } = await np.messages.publishTransactional({ messages: [{ channelId, payload: 1 }] });
    proxy.cutAt = undefined;
    expect(batches).toMatchObject([{ firstOffset: 1, duplicate: true }]);
    expect(proxy.cuts).toBe(before + 3);
    expect((await np.channels.get({ channelId })).logEnd).toBe(2);
  });
});

describe("a broker that is killed", () => {
  test("during publishes and a live tail loses, repeats and reorders nothing that was acknowledged", async () => {
    const kills = Number(process.env.NPAYLOAD_KILLS ?? 4);
    const broker = await startBroker();
    await using np = new NPayload({ url: broker.url, minDelayMs: 5, maxDelayMs: 100, timeoutMs: 60_000 });
    const states: Status["state"][] = [];
    np.onStatus(({ state }) => states.push(state));
    const channelId = freshName("killed");
    await np.channels.create({ name: channelId });
    const seen: number[] = [];
    const tailing = (async () => {
      for await (const { offset, payload } of np.streams.tail<number>({ streamId: channelId })) {
        expect(offset).toBe(seen.length);
        seen.push(payload);
        if (payload === -1) return;
      }
    })();
    const acked: number[] = [];
    let sent = 0;
    let isOver = false;
    const publishing = (async () => {
      while (!isOver) {
        const from = sent;
        sent += 500;
        const acks = await Promise.all(range(500).map((n) => np.messages.publish({ channelId, payload: from + n })));
        for (const { offset } of acks) acked.push(offset);
      }
    })();
    for (let kill = 0; kill < kills; kill += 1) {
      const before = acked.length;
      await until(() => acked.length > before);
      // At another place of the batches under way each time.
      await new Promise((resolve) => setTimeout(resolve, kill % 8));
      await broker.kill();
      await broker.start();
    }
    const before = acked.length;
    await until(() => acked.length > before);
    isOver = true;
    await publishing;
    const end = await np.messages.publish({ channelId, payload: -1 });
    await tailing;
    expect(acked).toEqual(range(sent));
    expect(end.offset).toBe(sent);
    expect(seen).toEqual([...range(sent), -1]);
    expect(states).toContain("disconnected");
    expect(states).toContain("reconnecting");
    expect(states.filter((state) => state === "connected").length).toBeGreaterThanOrEqual(kills);
    figure(`${kills} kills of the broker during ${sent} publishes and a live tail: all acknowledged, each stored once, in order, and tailed without a gap or a repeat`);
    await np.close();
    await broker.stop();
  });

  test("fails calls once their time is up, and is used again when it is back", async () => {
    const broker = await startBroker();
    await using np = new NPayload({ url: broker.url, minDelayMs: 5, maxDelayMs: 50 });
    await np.messages.publish({ channelId: "a", payload: 0 });
    await broker.kill();
    const patient = [np.messages.publish({ channelId: "a", payload: "p0" })];
    const publish = np.messages.publish({ channelId: "a", payload: 1 }, { timeoutMs: 150 });
    patient.push(np.messages.publish({ channelId: "a", payload: "p1" }));
    await expect(publish).rejects.toThrow(RequestTimeoutError);
    await expect(np.channels.get({ channelId: "a" }, { timeoutMs: 100 })).rejects.toThrow(RequestTimeoutError);
    await broker.start();
    await Promise.all(patient);
    expect((await np.messages.publish({ channelId: "a", payload: 2 })).duplicate).toBe(false);
    const { messages } = await np.streams.consume({ streamId: "a" });
    const payloads = messages.map(({ payload }) => payload);
    // Of what failed it is not known whether it was stored; all else was, once and in order.
    expect(payloads.filter((payload) => payload !== 1)).toEqual([0, "p0", "p1", 2]);
    await np.close();
    await broker.stop();
  });

  test("that is stopped in good order answers or hands over what is under way", async () => {
    const broker = await startBroker();
    await using np = new NPayload({ url: broker.url, minDelayMs: 5, maxDelayMs: 50 });
    const publishing = Promise.all(range(2000).map((payload) => np.messages.publish({ channelId: "a", payload })));
    await np.connect();
    await broker.stop({ keepData: true });
    await broker.start();
    expect((await publishing).map(({ offset }) => offset)).toEqual(range(2000));
    await np.close();
    await broker.stop();
  });
});

describe("nobody there", () => {
  const url = "npayload://127.0.0.1:1";

  test("is a typed error after the connect timeout, with its cause", async () => {
    await using np = new NPayload({ url, connectTimeoutMs: 50 });
    for (const call of [np.messages.publish({ channelId: "a", payload: 1 }), np.channels.get({ channelId: "a" }), np.streams.tail({ streamId: "a" }).next()]) {
      const error = await call.then(() => undefined, (thrown: NPayloadError) => thrown);
      expect(error).toBeInstanceOf(ConnectError);
      expect(error).toMatchObject({ code: "CONNECT_FAILED", retryable: true });
      expect((error?.cause as NodeJS.ErrnoException).code).toBe("ECONNREFUSED");
    }
  });

  test("every call can be aborted while it connects", async () => {
    await using np = new NPayload({ url, connectTimeoutMs: 60_000 });
    const stop = new AbortController();
    const options = { signal: stop.signal };
    const calls = [
      np.connect(options),
      np.messages.publish({ channelId: "a", payload: 1 }, options),
      np.messages.publishBatch({ channelId: "a", messages: [{ payload: 1 }] }, options),
      np.streams.consume({ streamId: "a" }, options),
      np.streams.tail({ streamId: "a" }, options).next(),
      np.channels.list({}, options).then(),
    ];
    const outcomes = Promise.allSettled(calls);
    setTimeout(() => stop.abort(), 10);
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: "rejected", reason: { name: "AbortError" } });
    await expect(np.broker.info(options)).rejects.toMatchObject({ name: "AbortError" });
  });

  test("closing rejects what waits", async () => {
    const np = new NPayload({ url, connectTimeoutMs: 60_000 });
    const calls = [np.messages.publish({ channelId: "a", payload: 1 }), np.broker.info()];
    const outcomes = Promise.allSettled(calls);
    await np.close();
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: "rejected", reason: { code: "CLIENT_CLOSED" } });
  });
});

test("a signal shared by ten thousand calls has one listener", async () => {
  const broker = await startBroker();
  await using np = new NPayload({ url: broker.url });
  const { signal } = new AbortController();
  let added = 0;
  const add = signal.addEventListener.bind(signal);
  signal.addEventListener = ((...args: Parameters<typeof add>) => {
    added += 1;
    add(...args);
  }) as typeof signal.addEventListener;
  await Promise.all(range(10_000).map((payload) => np.messages.publish({ channelId: "a", payload }, { signal })));
  expect(added).toBe(1);
  await np.close();
  await broker.stop();
});
