import { describe, expect, test } from "vitest";
import { type Agent, createAgentKeys, NPayload, type Session } from "../src/index.js";
import { freshName, until, withBroker } from "./support/client.js";
import { repositoryFile } from "./support/golden.js";

/** Whether the protocol of this tree has agents. */
const hasAgents = repositoryFile("docs/wire-protocol.md").includes("`agent.register`");

describe.runIf(hasAgents)("agents", () => {
  const live = withBroker();

  async function begun(): Promise<{ agent: Agent; session: Session }> {
    const agent = await live.np.asp.registry.register({ name: "research-agent", capabilities: ["web-search", "summarization", "citation"], version: "2.1.0" });
    const session = await live.np.asp.sessions.create({
      topic: "Market analysis for Q1 2026",
      participants: [
        { agentId: "coordinator-agent", role: "coordinator" },
        { agentId: agent.id, role: "specialist" },
        { agentId: "writer-agent", role: "specialist" },
      ],
    });
    return { agent, session };
  }

  test("are registered again and again as one, found, and taken out of search", async () => {
    const { agent } = await begun();
    expect(agent).toMatchObject({ name: "research-agent", org: "default", standing: "registered", version: "2.1.0" });
    expect(agent.id).toMatch(/^agt_/);
    expect((await begun()).agent.id).toBe(agent.id);
    const capability = freshName("cap").replaceAll(".", "-");
    for (const name of ["a", "b", "c"]) await live.np.asp.registry.register({ name: `${name}-${capability}`, capabilities: [capability] });
    const page = await live.np.asp.registry.search({ capabilities: [capability], limit: 2 });
    expect([...page].length).toBe(2);
    const all: string[] = [];
    for await (const { name, trustScore } of live.np.asp.registry.search({ capabilities: [capability], limit: 2 })) {
      expect(trustScore).toBeGreaterThanOrEqual(0);
      all.push(name);
    }
    expect(all.sort()).toEqual(["a", "b", "c"].map((name) => `${name}-${capability}`));
    await live.np.asp.registry.setAvailability({ agentId: all[0] as string, availability: { status: "away" } });
    expect(await live.np.asp.registry.get({ agentId: all[0] as string })).toMatchObject({ availability: { status: "away" }, card: expect.any(Object) });
    await live.np.asp.registry.deregister({ agentId: all[0] as string });
    expect([...(await live.np.asp.registry.search({ capabilities: [capability] }))].length).toBe(2);
    await expect(live.np.asp.registry.get({ agentId: "nobody" })).rejects.toMatchObject({ code: "AGENT_NOT_FOUND" });
  });

  test("say things in a session, each once, and read them", async () => {
    const { session, agent } = await begun();
    expect(session.id).toMatch(/^ses_/);
    expect(session.participants.map(({ name, role }) => `${name}: ${role}`).sort()).toEqual([
      "coordinator-agent: coordinator",
      "research-agent: specialist",
      "writer-agent: specialist",
    ]);
    const payload = { task: "Research competitor pricing changes in Q1", deadline: "2026-03-15T00:00:00Z", priority: "high" };
    const sent = await live.np.asp.messages.send({ sessionId: session.id, from: "coordinator-agent", type: "task.assign", payload });
    expect(sent).toMatchObject({ sessionId: session.id, senderSequence: 1, duplicate: false, state: "CONVERSING" });
    const again = { sessionId: session.id, from: "coordinator-agent", type: "task.assign", payload, id: sent.id };
    expect(await live.np.asp.messages.send(again)).toMatchObject({ sequence: sent.sequence, duplicate: true });
    await expect(live.np.asp.messages.send({ sessionId: session.id, from: "writer-agent", performative: "CLOSE" })).rejects.toMatchObject({ code: "ILLEGAL_MESSAGE" });
    const { records, next } = await live.np.asp.messages.history({ sessionId: session.id });
    expect(records.map(({ record }) => record.type)).toEqual(["session.created", "session.messageSent"]);
    expect(records[1]?.record.payload).toEqual(payload);
    expect(next).toBe(2);
    for await (const { sessionId, record } of live.np.asp.messages.receive({ agentId: agent.id })) {
      if (sessionId === session.id && record.type === "session.messageSent") break;
    }
    const ids: string[] = [];
    for await (const { id } of live.np.asp.sessions.list({ agentId: "writer-agent" })) ids.push(id);
    expect(ids).toContain(session.id);
    expect(await live.np.asp.sessions.get({ sessionId: session.id })).toMatchObject({ topic: session.topic, sequence: 2 });
  });

  test("wait for what others say, and stop waiting when they are told to", async () => {
    const { session } = await begun();
    const waiting = live.np.asp.messages.history({ sessionId: session.id, from: 1, waitMs: 20_000 });
    await live.np.asp.messages.send({ sessionId: session.id, from: "coordinator-agent", type: "task.assign" });
    expect((await waiting).records.length).toBe(1);
    const stop = new AbortController();
    const never = live.np.asp.messages.history({ sessionId: session.id, from: 2, waitMs: 20_000 }, { signal: stop.signal });
    setTimeout(() => stop.abort(), 20);
    await expect(never).rejects.toMatchObject({ name: "AbortError" });
  });

  test("have the calls of their tools recorded: start, result, failure, and what was called within", async () => {
    const { agent, session } = await begun();
    const tool = freshName("tool");
    const inner = live.np.asp.tools.wrap(async (n: number) => n * 2, { tool: `${tool}.inner`, agentId: agent.id });
    const outer = live.np.asp.tools.wrap(async (n: number) => (await inner(n)) + 1, { tool, agentId: agent.id, sessionId: session.id });
    const broken = live.np.asp.tools.wrap(() => {
      throw new RangeError("too far");
    }, { tool, agentId: agent.id });
    expect(await outer(20)).toBe(41);
    await expect(broken()).rejects.toThrow(RangeError);
    const [failed, finished] = [...(await live.np.asp.tools.list({ tool }))];
    expect(failed).toMatchObject({ tool, outcome: "failed", errorType: "RangeError", message: "too far" });
    expect(finished).toMatchObject({ tool, outcome: "finished", arguments: [20], result: 41, sessionId: session.id, agentId: agent.id });
    expect(finished?.durationMs).toBeTypeOf("number");
    const [within] = [...(await live.np.asp.tools.list({ tool: `${tool}.inner` }))];
    expect(within).toMatchObject({ parentCallId: finished?.id, result: 40 });
    expect(await live.np.asp.tools.stats({ tool })).toMatchObject([{ tool, calls: 2, finished: 1, failed: 1 }]);
    expect((await live.np.asp.tools.get({ callId: within!.id })).id).toBe(within!.id);
  });

  test("with keys sign all that they say, and nobody else can", async () => {
    const { publicKey, privateKey } = createAgentKeys();
    const name = freshName("signer").replaceAll(".", "-");
    const signer = await live.np.asp.registry.register({ name, publicKey });
    const session = await live.np.asp.sessions.create({ topic: "signed", participants: [{ agentId: name, role: "coordinator" }, { agentId: "writer-agent", role: "specialist" }] });
    const message = {
      sessionId: session.id,
      from: name,
      to: "writer-agent",
      type: "task.assign",
      payload: { b: 1.5, a: ["ö", null, 1e30], "\u20ac": { y: true, x: "\u0007" } },
      constraints: { allowedPerformatives: ["REJECT", "ACCEPT"], maxResponseTimeMs: 60_000, requiredTrust: 0.12345 },
    } as const;
    await expect(live.np.asp.messages.send(message)).rejects.toMatchObject({ code: "SIGNATURE_REQUIRED" });
    await expect(live.np.asp.messages.send({ ...message, signingKey: createAgentKeys().privateKey })).rejects.toMatchObject({ code: "INVALID_SIGNATURE" });
    expect(await live.np.asp.messages.send({ ...message, signingKey: privateKey })).toMatchObject({ senderSequence: 1, duplicate: false });
    expect(await live.np.asp.messages.send({ sessionId: session.id, from: signer.id, signingKey: privateKey, type: "note" })).toMatchObject({ senderSequence: 2 });
  });

  test("tools are not run unrecorded, unless the program says so", async () => {
    await using np = new NPayload({ url: "npayload://127.0.0.1:1", connectTimeoutMs: 20 });
    let runs = 0;
    const run = () => (runs += 1);
    await expect(np.asp.tools.wrap(run, { agentId: "a" })()).rejects.toMatchObject({ code: "CONNECT_FAILED" });
    expect(runs).toBe(0);
    const errors: unknown[] = [];
    expect(await np.asp.tools.wrap(run, { agentId: "a", onRecordError: (error) => errors.push(error) })()).toBe(1);
    await until(() => errors.length === 2);
  });
});
