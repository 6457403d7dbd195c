import { describe, expect, test } from "vitest";
import { type Commitment, NPayload } from "../src/index.js";
import { freshName, withBroker } from "./support/client.js";
import { repositoryFile } from "./support/golden.js";
import { startFakeBroker } from "./support/fake-broker.js";
import { startProxy } from "./support/proxy.js";

const live = withBroker();
const HOUR_MS = 3_600_000;

/** A session of a lead and a worker that nobody else uses. */
async function begun(np: NPayload = live.np): Promise<{ sessionId: string; lead: string; worker: string }> {
  const [lead, worker] = [freshName("lead"), freshName("worker")].map((name) => name.replaceAll(".", "-")) as [string, string];
  const participants = [{ agentId: lead, role: "coordinator" }, { agentId: worker, role: "specialist" }] as const;
  const { id: sessionId } = await np.asp.sessions.create({ topic: "promises", participants });
  return { sessionId, lead, worker };
}

type Begun = Awaited<ReturnType<typeof begun>>;

function promise({ sessionId, worker }: Begun, deadline: string | number | Date = Date.now() + HOUR_MS) {
  return { sessionId, agentId: worker, description: "a survey", deadline } as const;
}

/** All of a list. */
async function all<T>(list: AsyncIterable<T>): Promise<T[]> {
  const items: T[] = [];
  for await (const item of list) items.push(item);
  return items;
}

describe("commitments", () => {
  test("are made, delivered with what shows it, and confirmed", async () => {
    const session = await begun();
    const { sessionId, lead, worker } = session;
    const deadline = new Date(Date.now() + HOUR_MS);
    const made = await live.np.asp.commitments.create({
      ...promise(session, deadline.toISOString()),
      counterparty: lead,
      obligations: [{ party: worker, action: "survey.deliver", deadline, verificationMethod: "review" }],
      penalties: { lateFulfillmentPercentPerDay: 2.5 },
      severity: 3,
      terms: { pages: 12, "10": true, "9": [1.5, null] },
      windowMs: 48 * HOUR_MS,
    });
    expect(made).toMatchObject({ state: "active", closed: false, mode: "oneSided", judge: "counterparty", severity: 3, windowMs: 48 * HOUR_MS, deadline: deadline.getTime() });
    expect(made).toMatchObject({ sessionId, org: "default", obligor: { name: worker, org: "default" }, counterparty: { name: lead }, penalties: { lateFulfillmentPercentPerDay: 2.5 } });
    expect(made.id).toMatch(/^cmt_[0-9a-f]{8}-[0-9a-f]{4}-7/);
    expect(made.obligations).toEqual([{ party: worker, action: "survey.deliver", deadline: deadline.getTime(), verificationMethod: "review" }]);
    expect(made.terms).toEqual({ pages: 12, "10": true, "9": [1.5, null] });
    expect(made).not.toHaveProperty("by");
    const { sequence } = await live.np.asp.messages.send({ sessionId, from: worker, type: "task.result", payload: { text: "…" } });
    const delivered = await live.np.asp.commitments.deliver({ commitmentId: made.id, evidence: { pages: 12 }, references: [{ sessionId, sequence }] });
    expect(delivered).toMatchObject({ state: "delivered", delivery: { late: false } });
    const shorter = await live.np.asp.commitments.shorten({ commitmentId: made.id, windowMs: 60_000 });
    expect(shorter).toMatchObject({ windowMs: 60_000, windowUntil: (delivered.delivery as { at: number }).at + 60_000 });
    expect(await live.np.asp.commitments.confirm({ commitmentId: made.id, agentId: lead })).toMatchObject({ state: "fulfilled", ended: { confirmation: "explicit", party: { name: lead } } });
    const { delivery, offsets } = await live.np.asp.commitments.get({ commitmentId: made.id });
    expect(delivery).toMatchObject({ evidence: { pages: 12 }, references: [{ sessionId, sequence, digest: expect.stringMatching(/^sha256:/) as string }] });
    expect(offsets).toHaveLength(4);
    await expect(live.np.asp.commitments.deliver({ commitmentId: made.id })).rejects.toMatchObject({ code: expect.stringMatching(/ALREADY_DELIVERED|ILLEGAL_STEP/) as string });
  });

  test("are broken by the clock, disputed, and ruled on by the log at once", async () => {
    const session = await begun();
    const made = await live.np.asp.commitments.create(promise(session, "2026-03-15T00:00:00Z"));
    expect(made.deadline).toBe(Date.UTC(2026, 2, 15));
    const dispute = await live.np.asp.disputes.create({ commitmentId: made.id, reason: "Not delivered", evidence: { missedDeadline: true } });
    expect(dispute).toMatchObject({ state: "resolved", type: "timeoutBreach", mechanism: "automated", ruling: { verdict: "upheld", severity: 1 } });
    expect(dispute).toMatchObject({ filedBy: { name: session.lead }, filedAgainst: { name: session.worker }, reason: "Not delivered" });
    expect(await live.np.asp.disputes.get({ disputeId: dispute.id })).toMatchObject({ id: dispute.id, evidence: { missedDeadline: true } });
    const { state, ended, ruled } = await live.np.asp.commitments.get({ commitmentId: made.id });
    expect({ state, ruled }).toMatchObject({ state: "resolved", ruled: { disputeId: dispute.id, verdict: "upheld", mechanism: "automated" } });
    expect(ended?.at).toBeGreaterThanOrEqual(made.createdAt);
    await expect(live.np.asp.disputes.create({ commitmentId: made.id, reason: "again" })).rejects.toMatchObject({ code: expect.stringMatching(/ALREADY_DISPUTED|ILLEGAL_STEP/) as string });
  });

  test("are confirmed by silence, and by nobody's word where nobody else is there to judge", async () => {
    const session = await begun();
    const { id: commitmentId } = await live.np.asp.commitments.create(promise(session));
    await live.np.asp.commitments.deliver({ commitmentId });
    await live.np.asp.commitments.shorten({ commitmentId, windowMs: 1 });
    for (let state = ""; state !== "fulfilled"; ) {
      const found = await live.np.asp.commitments.get({ commitmentId });
      ({ state } = found);
      if (state === "fulfilled") expect(found.ended?.confirmation).toBe("silent");
    }
  });

  test("are listed in pages, by agent, side, session and state", async () => {
    const session = await begun();
    const { sessionId, worker, lead } = session;
    const made: Commitment[] = [];
    for (let n = 0; n < 5; n += 1) made.push(await live.np.asp.commitments.create({ ...promise(session), counterparty: lead }));
    const broken = await live.np.asp.commitments.create({ ...promise(session, 0), counterparty: lead });
    const ids = async (request: object) => {
      const found: string[] = [];
      for await (const { id } of live.np.asp.commitments.list({ ...request, limit: 2 })) found.push(id);
      return found;
    };
    const open = made.map(({ id }) => id).reverse();
    expect(await ids({ agentId: worker, states: ["active"] })).toEqual(open);
    expect(await ids({ agentId: lead, side: "counterparty", states: ["active"] })).toEqual(open);
    expect(new Set(await ids({ sessionId }))).toEqual(new Set([...open, broken.id]));
    expect(await ids({ agentId: worker, states: ["breached"] })).toEqual([broken.id]);
    const page = await live.np.asp.commitments.list({ sessionId, limit: 2 });
    expect([page.items.length, page.hasMore]).toEqual([2, true]);
  });

  test("take a time only where it is one", async () => {
    const session = await begun();
    const bad = ["tomorrow", "2026-03-15T00:00:00", "15 March 2026", "2026-13-40T00:00:00Z", NaN, 1.5, new Date(NaN), "", "0"];
    for (const deadline of bad) {
      await expect(live.np.asp.commitments.create(promise(session, deadline))).rejects.toMatchObject({ code: "INVALID_ARGUMENT", message: expect.stringContaining("deadline is") as string });
    }
    const good: [string | number | Date, number][] = [
      ["2026-03-15T00:00:00Z", Date.UTC(2026, 2, 15)],
      ["2026-03-15T01:30:00.250+01:30", Date.UTC(2026, 2, 15, 0, 0, 0, 250)],
      ["2026-03-15", Date.UTC(2026, 2, 15)],
      [new Date(86_400_000), 86_400_000],
      [-1, -1],
    ];
    for (const [deadline, ms] of good) expect((await live.np.asp.commitments.create(promise(session, deadline))).deadline).toBe(ms);
  });

  test("and disputes whose answers are lost are made once; a delivery is not said again", async () => {
    const kinds = repositoryFile("docs/wire-protocol.md").toString();
    const numberOf = (name: string): number => Number(new RegExp(`^\\| (\\d+) \\| \`${name}\``, "m").exec(kinds)?.[1]) | 0x8000;
    const proxy = await startProxy(live.broker.port, ["commitment.create", "dispute.create", "commitment.deliver"].map(numberOf));
    await using np = new NPayload({ url: proxy.url, minDelayMs: 1, maxDelayMs: 5 });
    const session = await begun(np);
    let answers = 0;
    proxy.cutAt = () => ++answers % 2 === 1;
    const made: string[] = [];
    for (let n = 0; n < 5; n += 1) {
      const { id } = await np.asp.commitments.create(promise(session, 0));
      made.push(id);
      expect(await np.asp.disputes.create({ commitmentId: id, reason: "late" })).toMatchObject({ state: "resolved" });
    }
    expect(proxy.cuts).toBe(10);
    const { id: commitmentId } = await np.asp.commitments.create(promise(session));
    await expect(np.asp.commitments.deliver({ commitmentId })).rejects.toMatchObject({ code: "CONNECTION_LOST", retryable: true });
    proxy.cutAt = undefined;
    expect((await np.asp.commitments.get({ commitmentId })).state).toBe("delivered");
    const kept = await all(live.np.asp.commitments.list({ sessionId: session.sessionId, states: ["resolved"] }));
    expect(kept.map(({ id }) => id).sort()).toEqual(made);
    const disputes = await all(live.np.asp.disputes.list({ sessionId: session.sessionId }));
    expect(disputes).toHaveLength(5);
    proxy.close();
  });

  test("and disputes with an id of one's own are made once, and are refused with other content", async () => {
    const session = await begun();
    const request = { ...promise(session, 0), id: `cmt_01a216b2-ee38-7000-8000-${String(Date.now()).slice(-12).padStart(12, "0")}` };
    const [first, second] = [await live.np.asp.commitments.create(request), await live.np.asp.commitments.create(request)];
    expect(second.id).toBe(first.id);
    await expect(live.np.asp.commitments.create({ ...request, description: "else" })).rejects.toMatchObject({ code: "COMMITMENT_ID_TAKEN", details: { member: "promise" } });
    const filed = { commitmentId: first.id, id: request.id.replace("cmt_", "dsp_"), reason: "late" };
    expect((await live.np.asp.disputes.create(filed)).id).toBe((await live.np.asp.disputes.create(filed)).id);
    await expect(live.np.asp.disputes.create({ ...filed, reason: "else" })).rejects.toMatchObject({ code: "DISPUTE_ID_TAKEN" });
  });
});

describe("disputes", () => {
  test("that the log does not decide are answered, listed, and taken back; nobody else rules on them", async () => {
    const session = await begun();
    const { id: commitmentId } = await live.np.asp.commitments.create(promise(session));
    await live.np.asp.commitments.deliver({ commitmentId, evidence: { pages: 1 } });
    const references = [{ sessionId: session.sessionId, sequence: 0 }];
    const filed = await live.np.asp.disputes.create({ commitmentId, reason: "one page is no survey", severity: 2, references });
    expect(filed).toMatchObject({ state: "open", type: "specificationMismatch", severity: 2 });
    expect((await live.np.asp.commitments.get({ commitmentId })).state).toBe("disputed");
    const answered = await live.np.asp.disputes.answer({ disputeId: filed.id, reason: "it was agreed so", evidence: { pages: 1 }, references });
    expect(answered).toMatchObject({ state: "answered", answer: { reason: "it was agreed so", evidence: { pages: 1 }, references: [references[0]] } });
    await expect(live.np.asp.disputes.vote({ disputeId: filed.id, agentId: session.lead, verdict: "upheld" })).rejects.toMatchObject({ code: "DISPUTE_NOT_FOUND" });
    await expect(live.np.asp.disputes.rule({ disputeId: filed.id, verdict: "upheld", reason: "so" })).rejects.toMatchObject({ code: expect.stringMatching(/ILLEGAL_STEP|OTHER_MECHANISM/) as string });
    expect([...(await live.np.asp.disputes.list({ agentId: session.worker, states: ["answered"] }))].map(({ id }) => id)).toEqual([filed.id]);
    expect(await live.np.asp.disputes.withdraw({ disputeId: filed.id })).toMatchObject({ state: "withdrawn" });
    expect((await live.np.asp.commitments.get({ commitmentId })).state).toBe("delivered");
    await expect(live.np.asp.disputes.get({ disputeId: filed.id.replace(/.$/, (last) => (last === "0" ? "1" : "0")) })).rejects.toMatchObject({ code: "DISPUTE_NOT_FOUND" });
  });
});

describe("escrow", () => {
  test("is paid in, held, forfeited and paid out, and its ledger tells each step", async () => {
    const session = await begun();
    const { worker: agentId, lead } = session;
    await expect(live.np.asp.commitments.create({ ...promise(session), escrow: { amount: 5_000, currency: "EUR" } })).rejects.toMatchObject({
      code: "INSUFFICIENT_FUNDS",
      details: { available: 0, amount: 5_000, currency: "EUR" },
    });
    expect(await live.np.asp.escrow.deposit({ agentId, amount: 10_000, currency: "EUR" })).toMatchObject({ name: agentId, currency: "EUR", available: 10_000, held: 0, frozen: 0 });
    // Under the id of an operator it is booked once.
    const id = "pay_01998a2b-0c3d-7e4f-8001-020304050672";
    for (let n = 0; n < 2; n += 1) {
      expect(await live.np.asp.escrow.deposit({ id, org: "default", amount: 3, currency: "XTS" })).toMatchObject({ available: 3 });
    }
    await expect(live.np.asp.escrow.withdraw({ id, org: "default", amount: 3, currency: "XTS" })).rejects.toMatchObject({ code: "PAYMENT_ID_TAKEN", details: { member: "step" } });
    await expect(live.np.asp.escrow.withdraw({ org: "default", amount: 3, currency: "XTS", region: "eu-west" })).rejects.toMatchObject({ code: "REGION_MISMATCH" });
    const penalties = { nonDeliveryPercent: 40 };
    const kept = await live.np.asp.commitments.create({ ...promise(session), counterparty: lead, escrow: { amount: 5_000, currency: "EUR" }, penalties });
    expect(await live.np.asp.escrow.balance({ agentId, currency: "EUR" })).toMatchObject([{ available: 5_000, held: 5_000 }]);
    expect(await live.np.asp.escrow.balance({ agentId, currency: "USD" })).toEqual([]);
    await live.np.asp.commitments.deliver({ commitmentId: kept.id });
    await live.np.asp.commitments.confirm({ commitmentId: kept.id });
    const broken = await live.np.asp.commitments.create({ ...promise(session, 0), counterparty: lead, escrow: { amount: 5_000, currency: "EUR" }, penalties });
    expect((await live.np.asp.commitments.get({ commitmentId: broken.id })).state).toBe("breached");
    const steps: [string, number][] = [];
    for await (const { step, amount } of live.np.asp.escrow.ledger({ commitmentId: broken.id, limit: 1 })) steps.push([step, amount]);
    expect(steps.reverse()).toEqual([["held", 5_000], ["forfeited", 2_000], ["released", 3_000]]);
    expect(await live.np.asp.escrow.balance({ agentId: lead })).toMatchObject([{ available: 2_000 }]);
    expect(await live.np.asp.escrow.withdraw({ agentId, amount: 8_000, currency: "EUR" })).toMatchObject({ available: 0, held: 0 });
    await expect(live.np.asp.escrow.withdraw({ agentId, amount: 1, currency: "EUR" })).rejects.toMatchObject({ code: "INSUFFICIENT_FUNDS" });
    const [last] = await live.np.asp.escrow.ledger({ agentId });
    expect(last).toMatchObject({ step: "withdrawn", amount: 8_000, from: { name: agentId, part: "available" } });
    expect(last?.offset).toBeTypeOf("number");
  });
});

describe("trust", () => {
  test("is nothing without evidence, comes of what was kept, and is explained by it", async () => {
    const session = await begun();
    const { sessionId, lead, worker: agentId } = session;
    expect(await live.np.asp.trust.getScore({ agentId })).toMatchObject({ name: agentId, score: 0, completionRate: null, averageResponseTime: null, disputeRate: null, level: "L0", evidenceCount: 0 });
    for (let n = 0; n < 4; n += 1) {
      const task = await live.np.asp.messages.send({ sessionId, from: lead, to: agentId, type: "task.assign", payload: { n } });
      await live.np.asp.messages.send({ sessionId, from: agentId, type: "task.accept", inReplyTo: task.id });
    }
    const rating = await live.np.asp.trust.rate({ sessionId, agentId, from: lead, rating: 0.875 });
    expect(rating).toMatchObject({ sessionId, agent: { name: agentId }, from: { name: lead }, rating: 0.875 });
    await expect(live.np.asp.trust.rate({ sessionId, agentId, from: agentId, rating: 1 })).rejects.toMatchObject({ code: "NOT_COUNTERPARTY" });
    const trust = await live.np.asp.trust.getScore({ agentId });
    expect(trust).toMatchObject({ scope: "internal", projection: "trust/1", completionRate: 1, evidenceCount: 5 });
    expect(trust.score).toBeGreaterThan(0);
    expect(trust.score).toBe(trust.internal.score);
    expect(trust.averageResponseTime).toBeGreaterThanOrEqual(0);
    const explained = await live.np.asp.trust.explain({ agentId, limit: 2 });
    expect(explained.trust).toEqual(trust);
    expect(explained.pairs).toEqual([]); // of other organisations there is none
    expect(explained.evidence.map(({ record }) => record.type)).toEqual(["agent.rated", "task.settled"]);
    expect(explained.evidence[0]?.offset).toBe(rating.offset);
    const records = await all(live.np.asp.trust.evidence({ agentId, limit: 2 }));
    expect(records.map(({ record }) => record.type)).toEqual(["agent.rated", ...Array.from({ length: 4 }, () => "task.settled")]);
    expect((await live.np.asp.registry.get({ agentId })).trustScore).toBe(Math.floor(trust.score * 1000) / 1000);
  });

  test("flows from organisations that an operator verified", async () => {
    const name = freshName("org").replaceAll(".", "-");
    await live.np.orgs.create({ name });
    expect(await live.np.orgs.verify({ name })).toMatchObject({ name, verified: true });
    const { verified, offset } = await live.np.orgs.verify({ name, verified: false });
    expect({ verified, offset }).toEqual({ verified: false, offset: expect.any(Number) as number });
    await expect(live.np.orgs.verify({ name: "nobody" })).rejects.toMatchObject({ code: "ORG_NOT_FOUND" });
  });
});

/** Of a broker that is older than the request. */
const ENDORSES = repositoryFile("docs/wire-protocol.md").includes("`trust.endorse`");

describe.runIf(ENDORSES)("endorsements", () => {
  test("are given by agents that others trust, told, and taken back", async () => {
    const { lead } = await begun();
    const name = freshName("house").replaceAll(".", "-");
    await live.np.orgs.create({ name });
    const { secret } = await live.np.keys.create({ org: name, name: "all", scopes: [{ operations: ["asp", "accessAdmin"] }] });
    const house = new NPayload({ url: live.url, apiKey: secret });
    const { id: agentId } = await house.asp.registry.register({ name: "apprentice" });
    await house.asp.registry.register({ name: "master" });
    const endorsement = { agentId, from: "master" };
    await expect(house.asp.trust.endorse(endorsement)).rejects.toMatchObject({ code: "ENDORSER_NOT_TRUSTED", details: { score: 0, least: 0.3 } });
    await expect(house.asp.trust.endorse({ agentId, from: agentId })).rejects.toMatchObject({ code: "INVALID_ENDORSEMENT" });
    // The endorser has worked for the default organisation, which every operator knows.
    const grant = await house.grants.propose({ owner: name, guest: "default", channels: "master", operation: "asp" });
    await live.np.grants.accept({ grant: grant.id });
    const participants = [{ agentId: lead, role: "coordinator" }, { agentId: `agent://${name}/master`, role: "specialist" }] as const;
    const { id: sessionId } = await live.np.asp.sessions.create({ topic: "custom", participants });
    await house.asp.messages.send({ sessionId, from: "master", performative: "ACCEPT" });
    for (let n = 0; n < 10; n += 1) {
      const promise = { sessionId, agentId: "master", counterparty: `agent://default/${lead}`, description: "work", deadline: Date.now() + HOUR_MS };
      const { id: commitmentId } = await house.asp.commitments.create(promise);
      await house.asp.commitments.deliver({ commitmentId });
      await live.np.asp.commitments.confirm({ commitmentId });
    }
    const endorsed = await house.asp.trust.endorse(endorsement);
    expect(endorsed).toMatchObject({ agent: { name: "apprentice" }, from: { name: "master", org: name }, withdrawn: false });
    expect(endorsed.score).toBeGreaterThanOrEqual(0.3);
    const { endorsements, trust } = await house.asp.trust.explain({ agentId });
    expect(endorsements).toMatchObject([{ agentId: endorsed.from.agentId, org: name, score: endorsed.score }]);
    expect(trust.score).toBe(0); // endorsements make none
    expect(await house.asp.trust.endorse({ ...endorsement, withdrawn: true })).toMatchObject({ withdrawn: true });
    expect((await house.asp.trust.explain({ agentId })).endorsements).toEqual([]);
    await house.close();
  });
});

describe("offsets of promises, disputes, money and evidence", () => {
  test("beyond 2^53 are bigints where the client hands those out, and an error elsewhere", async () => {
    const offset = 9_007_199_254_740_993n;
    const row = { id: "cmt_1", offsets: [], state: "active" };
    const answers: [string, object][] = [
      ["commitment.info", { ...row, offsets: [offset] }],
      ["commitment.info", { ...row, delivery: { offset, references: [{ channel: "a", start: 1, end: offset }] } }],
      ["dispute.info", { id: "dsp_1", offsets: [offset] }],
      ["dispute.info", { id: "dsp_1", offsets: [], references: [{ channel: "a", start: offset, end: offset }] }],
      ["trust.rate", { offset }],
      ["escrow.ledger", { entries: [{ offset }] }],
    ];
    let at = 0;
    const fake = await startFakeBroker(({ answer }) => answer(Buffer.from(JSON.stringify((answers[at] as [string, object])[1], (_, value: unknown) => (typeof value === "bigint" ? `#${value}#` : value)).replace(/"#(\d+)#"/g, "$1"))));
    await using numbers = new NPayload({ url: fake.url });
    await using bigints = new NPayload({ url: fake.url, offsets: "bigint" });
    const ask = async (np: NPayload<"number" | "bigint">, kind: string): Promise<unknown> => {
      if (kind === "commitment.info") return np.asp.commitments.get({ commitmentId: "cmt_1" });
      if (kind === "dispute.info") return np.asp.disputes.get({ disputeId: "dsp_1" });
      if (kind === "trust.rate") return np.asp.trust.rate({ sessionId: "s", agentId: "a", from: "b", rating: 1 });
      return (await np.asp.escrow.ledger()).items;
    };
    for (; at < answers.length; at += 1) {
      const [kind] = answers[at] as [string, object];
      await expect(ask(numbers as never, kind)).rejects.toMatchObject({ code: "OFFSET_UNSAFE" });
      expect(JSON.stringify(await ask(bigints as never, kind), (_, value: unknown) => (typeof value === "bigint" ? `${value}n` : value))).toContain(`${offset}n`);
    }
    fake.close();
  });
});
