import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Receipt, type ReceiptContent, ReceiptError } from "../src/index.js";
import { canonicalJson } from "../src/namespaces/asp/canonical.js";
import { draw } from "../src/namespaces/asp/receipt/dispute.js";
import { withBroker } from "./support/client.js";

const live = withBroker();
const HOUR_MS = 3_600_000;

describe("receipts", () => {
  let folder: string;
  const receipts = new Map<string, Receipt>();
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "npayload-receipts-"));
    const { asp } = live.np;
    const participants = [
      { agentId: "lead", role: "coordinator" },
      { agentId: "worker", role: "specialist" },
      { agentId: "critic", role: "specialist" },
    ] as const;
    const { id: sessionId } = await asp.sessions.create({ topic: "receipts", participants });
    const promise = { sessionId, agentId: "worker", description: "a survey", terms: { "10": 1e21, "9": ["ö", 0.5, null] }, windowMs: 24 * HOUR_MS } as const;
    const later = new Date(Date.now() + HOUR_MS);
    const keep = async (name: string, commitmentId: string) => receipts.set(name, await asp.commitments.receipt({ commitmentId }));

    const kept = await asp.commitments.create({ ...promise, deadline: later, counterparty: "lead", penalties: { nonDeliveryPercent: 12.5 } });
    await keep("active", kept.id);
    await asp.commitments.shorten({ commitmentId: kept.id, windowMs: 60_000 });
    await asp.commitments.deliver({ commitmentId: kept.id, evidence: { pages: 12 }, references: [{ sessionId, sequence: 0 }] });
    await keep("delivered", kept.id);
    await asp.commitments.confirm({ commitmentId: kept.id });
    await keep("fulfilled", kept.id);

    const silent = await asp.commitments.create({ ...promise, deadline: later });
    await asp.commitments.shorten({ commitmentId: silent.id, windowMs: 1 });
    await asp.commitments.deliver({ commitmentId: silent.id });
    while ((await asp.commitments.get({ commitmentId: silent.id })).state !== "fulfilled");
    await keep("silently fulfilled", silent.id);

    const broken = await asp.commitments.create({ ...promise, deadline: 0 });
    await keep("breached", broken.id);
    await asp.disputes.create({ commitmentId: broken.id, reason: "late", evidence: { missedDeadline: true } });
    await asp.commitments.deliver({ commitmentId: broken.id, evidence: { sorry: true } });
    await keep("resolved by the log, then delivered late", broken.id);

    const disputed = await asp.commitments.create({ ...promise, deadline: later });
    await asp.commitments.deliver({ commitmentId: disputed.id });
    const [one, two] = [await asp.disputes.create({ commitmentId: disputed.id, reason: "thin", agentId: "lead" }), await asp.disputes.create({ commitmentId: disputed.id, reason: "wrong", agentId: "critic" })];
    await asp.disputes.answer({ disputeId: one.id, reason: "it is not" });
    await keep("disputed by two", disputed.id);
    await asp.disputes.withdraw({ disputeId: one.id });
    await asp.disputes.withdraw({ disputeId: two.id });
    await keep("delivered again", disputed.id);
    await asp.commitments.confirm({ commitmentId: disputed.id });
    await keep("closed with disputes", disputed.id);
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** What the command line makes of the text of a receipt. */
  async function isVerifiedByCommand(text: string): Promise<boolean> {
    const file = join(folder, `${randomBytes(8).toString("hex")}.json`);
    await writeFile(file, text);
    try {
      execFileSync(process.env.NPAYLOAD_BIN as string, ["commitment", "receipt", "--verify", file], { stdio: "pipe" });
      return true;
    } catch {
      return false;
    }
  }

  test("of every state verify, from their text too, here and by the command line", async () => {
    const states: Record<string, string> = {};
    for (const [name, receipt] of receipts) {
      const verified = receipt.verify();
      states[name] = verified.state;
      expect(Receipt.parse(receipt.text).verify()).toEqual(verified);
      expect(verified).toMatchObject({ promise: { description: "a survey" }, records: receipt.content.records.length });
      expect([name, await isVerifiedByCommand(receipt.text)]).toEqual([name, true]);
    }
    expect(states).toEqual({
      active: "active",
      delivered: "delivered",
      fulfilled: "fulfilled",
      "silently fulfilled": "fulfilled",
      breached: "breached",
      "resolved by the log, then delivered late": "resolved",
      "disputed by two": "disputed",
      "delivered again": "delivered",
      "closed with disputes": "fulfilled",
    });
    expect(receipts.get("fulfilled")?.verify()).toMatchObject({ confirmation: "explicit", late: false });
    expect(receipts.get("silently fulfilled")?.verify()).toMatchObject({ confirmation: "silent" });
    expect(receipts.get("resolved by the log, then delivered late")?.verify()).toMatchObject({ late: true, ruled: { verdict: "upheld", mechanism: "automated" } });
    expect(receipts.get("closed with disputes")?.content.records.at(-1)?.record.type).toBe("commitment.closed");
  });

  test("with anything changed are refused, here and by the command line", async () => {
    type Loose = { -readonly [K in keyof ReceiptContent]: ReceiptContent[K] } & { records: { offset: number; record: Record<string, unknown> }[] };
    const record = (content: Loose, at: number): Record<string, unknown> => (content.records.at(at) as Loose["records"][number]).record;
    const changes: [string, string, (content: Loose) => void][] = [
      ["fulfilled", "version", (content) => (content.v = 2)],
      ["delivered", "state", (content) => (content.state = "fulfilled")],
      ["fulfilled", "member termsHash", (content) => (content.termsHash = content.hash)],
      ["fulfilled", "member obligor", (content) => (content.obligor = { ...content.obligor, org: 2 })],
      ["fulfilled", "member counterparty", (content) => delete (content as { counterparty?: object }).counterparty],
      ["fulfilled", "its hash", (content) => (content.hash = content.termsHash)],
      ["fulfilled", "its hash", (content) => ((content.records.at(-1) as { offset: number }).offset += 1)],
      ["fulfilled", "not before it", (content) => ((content.records[1] as { offset: number }).offset = (content.records[0] as { offset: number }).offset)],
      ["fulfilled", "does not allow", (content) => content.records.splice(2, 1)],
      ["fulfilled", "no such commitment", (content) => content.records.shift()],
      ["fulfilled", "no record of", (content) => (content.records = [])],
      ["fulfilled", "hash is not that of the promise", (content) => (record(content, 0).promise = { ...(record(content, 0).promise as object), deadline: 1 })],
      ["fulfilled", "hash is not that of the evidence", (content) => (record(content, 2).evidence = { words: { pages: 13 } })],
      ["fulfilled", "its time lies before", (content) => (record(content, 2).at = 1)],
      ["fulfilled", "only made shorter", (content) => (record(content, 1).shortenedTo = 24 * HOUR_MS)],
      ["delivered", "not said by whom", (content) => (record(content, 1).party = content.obligor)],
      ["delivered", "does not allow", (content) => (record(content, 1).role = "obligor")],
      ["delivered", "cannot be read", (content) => (record(content, 1).v = 2)],
      ["delivered", "is not about commitment", (content) => (record(content, 1).commitment = "cmt_01a216b2-ee38-7000-8000-000000000001")],
      ["delivered", "unknown", (content) => (record(content, 1).type = "commitment.praised")],
      ["silently fulfilled", "its time is not over", (content) => (record(content, 3).at = record(content, 2).at)],
      ["breached", "cannot be read", (content) => delete record(content, 0).promise],
      ["breached", "mode is said twice", (content) => (record(content, 0).type = "commitment.proposed")],
      ["resolved by the log, then delivered late", "rules when a dispute is filed", (content) => (record(content, -2).mechanism = "human")],
      ["resolved by the log, then delivered late", "is not filed by whom", (content) => (record(content, 2).filer = content.obligor)],
      ["disputed by two", "has disputed it", (content) => (record(content, 3).filer = record(content, 2).filer)],
      ["closed with disputes", "as it is", (content) => (record(content, -1).disputes = [])],
      ["closed with disputes", "before its close", (content) => content.records.push({ offset: 1_000_000, record: record(content, -1) })],
      ["closed with disputes", "still happen", (content) => content.records.splice(-2, 1)],
      ["closed with disputes", "before its close", (content) => content.records.push({ offset: 1_000_000, record: { ...record(content, 1), at: record(content, -1).at } })],
    ];
    for (const [name, says, change] of changes) {
      const content = JSON.parse((receipts.get(name) as Receipt).text) as Loose;
      change(content);
      const text = canonicalJson(content);
      expect(() => Receipt.parse(text).verify(), says).toThrow(ReceiptError);
      expect(() => Receipt.parse(text).verify()).toThrow(says);
      expect([name, says, await isVerifiedByCommand(text)]).toEqual([name, says, false]);
    }
  });

  test("that are none are not read", () => {
    for (const text of ["", "[]", "{}", "null", '{"v":1}', (receipts.get("active") as Receipt).text.slice(0, -1)]) {
      expect(() => Receipt.parse(text)).toThrow(expect.objectContaining({ code: "RECEIPT_INVALID" }));
    }
  });

  test("tell the record that does not fit", () => {
    const content = JSON.parse((receipts.get("delivered") as Receipt).text) as { records: { offset: number; record: { at: number } }[] };
    const last = content.records.at(-1) as (typeof content.records)[number];
    last.record.at = 1;
    expect(() => Receipt.parse(JSON.stringify(content)).verify()).toThrow(expect.objectContaining({ details: { offset: last.offset } }));
  });

  test("draw arbitrators as the protocol's document says: one of each organisation, whatever the order of the candidates", () => {
    const party = (org: number, agent: number) => ({ org, agent: `agt_01990000-0000-7000-8000-${String(agent).padStart(12, "0")}` });
    const candidates = [party(2, 1), party(2, 2), party(3, 3), party(4, 4), party(5, 5), party(5, 6)];
    const filed = { logHash: `sha256:${"ab".repeat(32)}`, dispute: "dsp_01990000-0000-7000-8000-000000000060" };
    const drawn = draw(filed, Buffer.alloc(32, 7), candidates);
    // Computed from the document with other means.
    expect(drawn).toEqual([[2, 2], [5, 5], [4, 4], [3, 3]].map(([org, agent]) => party(org as number, agent as number)));
    expect(draw(filed, Buffer.alloc(32, 7), [...candidates].reverse())).toEqual(drawn);
  });
});
