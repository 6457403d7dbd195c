import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from "vitest";
import { type Agent, NPayload, type Page, type SendMessageRequest, type Session, type ToolCall, UnsafeOffsetError } from "../src/index.js";
import { UuidV7Source } from "../src/namespaces/asp/ids.js";
import { startFakeBroker } from "./support/fake-broker.js";
import { repositoryFile } from "./support/golden.js";
import { ProgramFolder } from "./support/programs.js";
import { startProxy } from "./support/proxy.js";
import { until, withBroker } from "./support/client.js";

const range = (to: number): number[] => Array.from({ length: to }, (_, n) => n);
const live = withBroker();

async function sessionOf(np: NPayload): Promise<string> {
  const participants = [{ agentId: "lead", role: "coordinator" }, { agentId: "worker", role: "specialist" }] as const;
  return (await np.asp.sessions.create({ topic: "semantics", participants })).id;
}

/** Payloads of all messages of a session, in order. */
async function said(np: NPayload, sessionId: string): Promise<unknown[]> {
  const payloads: unknown[] = [];
  for (let from = 0; ; ) {
    const { records, next } = await np.asp.messages.history({ sessionId, from });
    for (const { record } of records) if (record.type === "session.messageSent") payloads.push(record.payload);
    if (records.length === 0) return payloads;
    from = next;
  }
}

describe("messages", () => {
  test("of one sender that are not awaited are all said, once and in order", async () => {
    const sessionId = await sessionOf(live.np);
    const { np } = live;
    const sent = await Promise.all(range(300).map((payload) => np.asp.messages.send({ sessionId, from: "worker", type: "n", payload })));
    expect(sent.map(({ senderSequence }) => senderSequence)).toEqual(range(300).map((n) => n + 1));
    expect(await said(np, sessionId)).toEqual(range(300));
  });

  test("whose answers are lost are said once, and in order", async () => {
    const [, kind] = /^\| (\d+) \| `session\.send`/m.exec(repositoryFile("docs/wire-protocol.md").toString()) ?? [];
    const proxy = await startProxy(live.broker.port, [Number(kind) | 0x8000]);
    await using np = new NPayload({ url: proxy.url, minDelayMs: 1, maxDelayMs: 5 });
    const sessionId = await sessionOf(np);
    let answers = 0;
    proxy.cutAt = () => ++answers % 9 === 4;
    const sent = await Promise.all(range(200).map((payload) => np.asp.messages.send({ sessionId, from: "worker", type: "n", payload })));
    proxy.cutAt = undefined;
    expect(proxy.cuts).toBeGreaterThan(5);
    expect(sent.some(({ duplicate }) => duplicate)).toBe(true);
    expect(sent.map(({ senderSequence }) => senderSequence)).toEqual(range(200).map((n) => n + 1));
    expect(await said(live.np, sessionId)).toEqual(range(200));
    await np.close();
    proxy.close();
  });

  test("that are refused or aborted hold up none behind them", async () => {
    const sessionId = await sessionOf(live.np);
    const stop = new AbortController();
    const send = (n: number): SendMessageRequest => ({ sessionId, from: "worker", type: "n", payload: n % 3 === 1 ? 2 ** 60 : n });
    const sending = range(150).map((n) => live.np.asp.messages.send(send(n), n % 3 === 2 ? { signal: stop.signal } : {}));
    stop.abort();
    const outcomes = await Promise.allSettled(sending);
    for (const [n, outcome] of outcomes.entries()) {
      if (n % 3 === 0) expect(outcome.status).toBe("fulfilled");
      else expect(outcome).toMatchObject({ reason: n % 3 === 1 ? { code: "INVALID_PAYLOAD" } : { name: "AbortError" } });
    }
    const payloads = (await said(live.np, sessionId)) as number[];
    // Of what was aborted under way it is not known whether it was said.
    expect(payloads.filter((n) => n % 3 === 0)).toEqual(range(50).map((n) => n * 3));
  });

  test("have ids that grow, within a millisecond and when the clock is set back", () => {
    const source = new UuidV7Source();
    const ids = [...range(10_000).map(() => source.next(1_700_000_000_000)), source.next(1_600_000_000_000), source.next(1_800_000_000_000)];
    expect(ids.every((id, n) => n === 0 || id > (ids[n - 1] as string))).toBe(true);
    expect(ids.every((id) => /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/.test(id))).toBe(true);
    expect(parseInt((ids.at(-1) as string).replaceAll("-", "").slice(0, 12), 16)).toBe(1_800_000_000_000);
  });
});

describe("lists", () => {
  test("give the first page when awaited, and all with for await, both typed", async () => {
    const { registry, sessions, tools } = live.np.asp;
    expectTypeOf(() => registry.search({})[Symbol.asyncIterator]().next()).returns.resolves.toEqualTypeOf<IteratorResult<Agent, void>>();
    const first = async () => registry.search({ capabilities: ["paging"], limit: 3 });
    expectTypeOf(first).returns.resolves.toEqualTypeOf<Page<Agent>>();
    expectTypeOf(async () => sessions.list()).returns.resolves.toEqualTypeOf<Page<Session>>();
    expectTypeOf(async () => tools.list()).returns.resolves.toEqualTypeOf<Page<ToolCall>>();
    for (const n of range(7)) await registry.register({ name: `paged-${n}`, capabilities: ["paging"] });
    const page = await first();
    expect([[...page].map(({ name }) => name), page.hasMore]).toEqual([["paged-0", "paged-1", "paged-2"], true]);
    const names: string[] = [];
    for await (const { name } of registry.search({ capabilities: ["paging"], limit: 3 })) names.push(name);
    expect(names).toEqual(range(7).map((n) => `paged-${n}`));
    expect(await registry.search({ limit: 0 }).catch((error: unknown) => error)).toMatchObject({ code: "OUT_OF_LIMIT" });
    let settled = 0;
    await registry.search({ limit: 1 }).finally(() => (settled += 1));
    expect(settled).toBe(1);
  });

  test("show each agent once, in order, whoever comes and goes meanwhile", async () => {
    const { registry } = live.np.asp;
    const name = (n: number): string => `stable-${String(n).padStart(3, "0")}`;
    const there = range(60).map((n) => n * 2);
    for (const n of there) await registry.register({ name: name(n), capabilities: ["stable"] });
    const seen: string[] = [];
    let comer = 1;
    for await (const agent of registry.search({ capabilities: ["stable"], limit: 5 })) {
      seen.push(agent.name);
      if (seen.length % 5 !== 0) continue;
      // One among those that were seen, one behind, and one that is gone: the very one that the next page is after.
      await registry.register({ name: name(comer), capabilities: ["stable"] });
      await registry.register({ name: name(120 - comer), capabilities: ["stable"] });
      await registry.deregister({ agentId: agent.name });
      comer += 2;
    }
    expect(seen).toEqual([...new Set(seen)].sort());
    expect(there.map(name).filter((one) => !seen.includes(one))).toEqual([]);
  });
});

describe("every call about agents", () => {
  test("can be aborted while it connects", async () => {
    await using np = new NPayload({ url: "npayload://127.0.0.1:1", connectTimeoutMs: 60_000 });
    const { registry, sessions, messages, tools } = np.asp;
    const stop = new AbortController();
    const o = { signal: stop.signal };
    const sessionId = "ses_01998a2b-0c3d-7e4f-8001-020304050620";
    const callId = "tcl_01998a2b-0c3d-7e4f-8001-020304050620";
    const calls = {
      register: registry.register({ name: "a" }, o),
      deregister: registry.deregister({ agentId: "a" }, o),
      setAvailability: registry.setAvailability({ agentId: "a", availability: { status: "away" } }, o),
      setKey: registry.setKey({ agentId: "a", publicKey: null }, o),
      getAgent: registry.get({ agentId: "a" }, o),
      search: registry.search({}, o).then(),
      create: sessions.create({ topic: "a", participants: [] }, o),
      getSession: sessions.get({ sessionId }, o),
      listSessions: sessions.list({}, o).then(),
      leave: sessions.leave({ sessionId, agentId: "a" }, o),
      resume: sessions.resume({ sessionId }, o),
      send: messages.send({ sessionId, from: "a" }, o),
      history: messages.history({ sessionId }, o),
      inbox: messages.inbox({ agentId: "a" }, o),
      receive: messages.receive({ agentId: "a" }, o).next(),
      start: tools.start({ tool: "t", agentId: "a" }, o),
      progress: tools.progress({ callId }, o),
      finish: tools.finish({ callId }, o),
      fail: tools.fail({ callId, errorType: "a" }, o),
      getCall: tools.get({ callId }, o),
      listCalls: tools.list({}, o).then(),
      stats: tools.stats({}, o),
    };
    // One for each method, but for `wrap`, whose function is the caller's own.
    const methods = [registry, sessions, messages, tools].flatMap((namespace) => Object.getOwnPropertyNames(Object.getPrototypeOf(namespace)));
    expect(Object.keys(calls).length).toBe(methods.filter((name) => !["constructor", "wrap", "sign", "identities"].includes(name)).length);
    const outcomes = Promise.allSettled(Object.values(calls));
    stop.abort();
    for (const outcome of await outcomes) expect(outcome).toMatchObject({ status: "rejected", reason: { name: "AbortError" } });
  });

  test("shares one listener of its signal with ten thousand others", async () => {
    const { signal } = new AbortController();
    let added = 0;
    const add = signal.addEventListener.bind(signal);
    signal.addEventListener = ((...args: Parameters<typeof add>) => {
      added += 1;
      add(...args);
    }) as typeof signal.addEventListener;
    const fake = await startFakeBroker((asked) => asked.answer({ sessionId: "ses_0", id: "msg_0", tools: [] }));
    await using np = new NPayload({ url: fake.url });
    const send = (payload: number) => np.asp.messages.send({ sessionId: "ses_0", from: "a", payload }, { signal });
    await Promise.all(range(5000).flatMap((n) => [np.asp.sessions.get({ sessionId: "ses_0" }, { signal }), send(n)]));
    expect(added).toBe(1);
    expect(fake.asked).toBe(10_000);
    await np.close();
    fake.close();
  });
});

describe("waiting for messages", () => {
  test("ends when the loop is left, the signal is aborted, or the client is closed", async () => {
    const sessionId = await sessionOf(live.np);
    for await (const entry of live.np.asp.messages.receive({ agentId: "worker" })) if (entry.sessionId === sessionId) break;
    const np = new NPayload({ url: live.url });
    const { cursor } = await np.asp.messages.inbox({ agentId: "worker", limit: 1000 });
    const stop = new AbortController();
    const aborted = np.asp.messages.receive({ agentId: "worker", cursor }, { signal: stop.signal }).next();
    setTimeout(() => stop.abort(), 20);
    await expect(aborted).rejects.toMatchObject({ name: "AbortError" });
    const waiting = np.asp.messages.receive({ agentId: "worker", cursor }).next();
    setTimeout(() => void np.close(), 20);
    expect(await waiting).toEqual({ done: true, value: undefined });
    await expect(np.asp.messages.receive({ agentId: "worker" }).next()).rejects.toMatchObject({ code: "CLIENT_CLOSED" });
    await np.close();
  });

  test("keeps no program alive once the client is closed", async () => {
    const folder = await ProgramFolder.make();
    const file = await folder.write(
      "receiving.ts",
      `import { NPayload } from "@npayload/node";
      const np = new NPayload();
      await np.asp.registry.register({ name: "waits" });
      const ended = (async () => { for await (const _ of np.asp.messages.receive({ agentId: "waits" })); })();
      setTimeout(async () => {
        await np[Symbol.asyncDispose]();
        const closed = process.hrtime.bigint();
        await ended;
        process.on("exit", () => console.log(Number(process.hrtime.bigint() - closed) < 5e9));
      }, 50);`,
    );
    expect(await folder.run(file, live.url)).toBe("true");
    await folder.remove();
  });

  test("goes on at the same cursor after the broker was killed", async () => {
    const sessionId = await sessionOf(live.np);
    const seen: unknown[] = [];
    const reading = (async () => {
      for await (const { sessionId: of, record } of live.np.asp.messages.receive({ agentId: "worker" })) {
        if (of !== sessionId || record.type !== "session.messageSent") continue;
        seen.push(record.payload);
        if (seen.length === 20) return;
      }
    })();
    for (const n of range(20)) {
      await live.np.asp.messages.send({ sessionId, from: "lead", type: "n", payload: n });
      if (n % 7 !== 6) continue;
      await until(() => seen.length > n);
      await live.broker.kill();
      await live.broker.start();
    }
    await reading;
    expect(seen).toEqual(range(20));
  });
});

describe("offsets of records", () => {
  let fake: Awaited<ReturnType<typeof startFakeBroker>>;
  beforeAll(async () => {
    const record = '{"type":"session.messageSent","at":1,"sequence":0,"message":{},"payload":{"n":1}}';
    const records = `[{"offset":9007199254740993,"record":${record},"org":"default","sessionId":"ses_0"}]`;
    fake = await startFakeBroker((asked) => asked.answer(Buffer.from(`{"records":${records},"entries":${records},"next":1,"state":"CONVERSING","cursor":"c"}`)));
  });
  afterAll(() => fake.close());

  test("above 2^53 - 1 are a typed error, or bigints where they are asked for", async () => {
    await using np = new NPayload({ url: fake.url });
    await using big = new NPayload({ url: fake.url, offsets: "bigint" });
    await expect(np.asp.messages.history({ sessionId: "ses_0" })).rejects.toThrow(UnsafeOffsetError);
    await expect(np.asp.messages.inbox({ agentId: "a" })).rejects.toThrow(UnsafeOffsetError);
    await expect(np.asp.messages.receive({ agentId: "a" }).next()).rejects.toThrow(UnsafeOffsetError);
    expect((await big.asp.messages.history({ sessionId: "ses_0" })).records[0]?.offset).toBe(9007199254740993n);
    expect((await big.asp.messages.inbox({ agentId: "a" })).entries[0]?.offset).toBe(9007199254740993n);
    expectTypeOf(big.asp.messages.inbox).returns.resolves.toHaveProperty("entries").items.toHaveProperty("offset").toEqualTypeOf<bigint>();
  });
});
