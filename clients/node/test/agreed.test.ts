import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { createAgentKeys, Receipt, type ReceiptContent } from "../src/index.js";
import { canonicalJson } from "../src/namespaces/asp/canonical.js";
import { withBroker } from "./support/client.js";
import { sha256 } from "./support/forged-receipts.js";
import { repositoryFile } from "./support/golden.js";

/** Of a broker that is older than offers of commitments in sessions. */
const OFFERS = repositoryFile("docs/wire-protocol.md").includes("`OFFER_LAPSED`");

describe.runIf(OFFERS)("promises that two agree on", () => {
  const live = withBroker();
  const worker = createAgentKeys();
  const lead = createAgentKeys();
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "npayload-agreed-"));
    await live.np.asp.registry.register({ name: "worker", publicKey: worker.publicKey });
    await live.np.asp.registry.register({ name: "lead", publicKey: lead.publicKey });
    await live.np.asp.registry.register({ name: "plain" });
  });
  afterAll(() => rm(folder, { recursive: true }));

  const payload = () => ({
    description: "a survey",
    deadline: new Date(Date.now() + 3_600_000).toISOString(),
    obligations: [{ party: "worker", action: "survey.deliver" }],
    penalties: { nonDeliveryPercent: 12.5 },
    severity: null,
    terms: { pages: 12, "10": 1e21, "9": "ö" },
    note: "no part of the promise",
  });

  async function session(): Promise<string> {
    const participants = [
      { agentId: "lead", role: "coordinator" },
      { agentId: "worker", role: "specialist" },
      { agentId: "plain", role: "specialist" },
    ] as const;
    return (await live.np.asp.sessions.create({ topic: "agree", participants })).id;
  }

  async function isVerifiedByCommand(text: string): Promise<boolean> {
    const file = join(folder, "receipt.json");
    await writeFile(file, text);
    try {
      execFileSync(process.env.NPAYLOAD_BIN as string, ["commitment", "receipt", "--verify", file], { stdio: "pipe" });
      return true;
    } catch {
      return false;
    }
  }

  /** Offered to the lead, accepted, delivered and confirmed; both sign what they say. */
  async function kept(): Promise<Receipt> {
    const sessionId = await session();
    const offer = await live.np.asp.messages.send({ sessionId, from: "worker", to: "lead", performative: "COMMIT", payload: payload(), signingKey: worker.privateKey });
    const commitmentId = offer.commitmentId as string;
    expect(await live.np.asp.commitments.get({ commitmentId })).toMatchObject({ state: "proposed", mode: "agreed", counterparty: { name: "lead" }, messageId: offer.id });
    const answer = await live.np.asp.messages.send({ sessionId, from: "lead", performative: "ACCEPT", inReplyTo: offer.id, signingKey: lead.privateKey });
    expect([answer.commitmentId, answer.state]).toEqual([commitmentId, "EXECUTING"]);
    await live.np.asp.commitments.deliver({ commitmentId, evidence: { pages: 12 } });
    await live.np.asp.commitments.confirm({ commitmentId, agentId: "lead" });
    return live.np.asp.commitments.receipt({ commitmentId });
  }

  test("have a receipt with what both have said and signed, which verifies here and by the command line", async () => {
    const receipt = await kept();
    const { state, signed, promise } = receipt.verify();
    expect({ state, promise }).toMatchObject({ state: "fulfilled", promise: { description: "a survey", terms: { pages: 12 } } });
    expect(signed.map(({ key }) => key)).toEqual([worker.publicKey, lead.publicKey]);
    expect(receipt.content.messages).toHaveLength(2);
    expect(Receipt.parse(receipt.text).verify().signed).toEqual(signed);
    expect(await isVerifiedByCommand(receipt.text)).toBe(true);
  });

  test("are offered, refused, taken back and left by agents that sign nothing, and their receipts verify", async () => {
    const sessionId = await session();
    const states: string[] = [];
    const answers = [
      { from: "lead", performative: "REJECT", type: "no", signingKey: lead.privateKey },
      { from: "plain", performative: "WITHDRAW", type: "no" },
      { from: "lead", performative: "CLOSE", signingKey: lead.privateKey },
    ] as const;
    for (const answer of answers) {
      const deadline = Date.now() + 3_600_000;
      const offer = await live.np.asp.messages.send({ sessionId, from: "plain", performative: "COMMIT", payload: { ...payload(), deadline, windowMs: 1000 } });
      const inReplyTo = answer.performative === "CLOSE" ? undefined : offer.id;
      await live.np.asp.messages.send({ sessionId, inReplyTo, ...answer });
      const receipt = await live.np.asp.commitments.receipt({ commitmentId: offer.commitmentId as string });
      const verified = receipt.verify();
      states.push(`${verified.state}, signed by ${verified.signed.length}`);
      expect(await isVerifiedByCommand(receipt.text)).toBe(true);
    }
    expect(states).toEqual(["rejected, signed by 1", "withdrawn, signed by 0", "expired, signed by 0"]);
  });

  test("with a message changed have a receipt that is refused, here and by the command line, all hashes put right or not", async () => {
    type Row = { offset: number; record: Record<string, unknown> & { message: Record<string, unknown> } };
    type Loose = { -readonly [K in keyof ReceiptContent]: ReceiptContent[K] } & { messages: Row[]; records: Row[] };
    const receipt = await kept();
    const said = (content: Loose, at: number): Row["record"] => (content.messages.at(at) as Row).record;
    /** Gives a message that was changed the digests that it then has. */
    const digested = (record: Row["record"]): void => {
      if (record.payload !== undefined) record.message.payload = sha256("", canonicalJson(record.payload));
      record.digest = sha256("npayload/asp/message/1\n", canonicalJson(record.message));
    };
    const unsigned = (record: Row["record"]): void => {
      delete record.key;
      delete record.signature;
      digested(record);
    };
    const changes: [string, (content: Loose) => void][] = [
      ["name 2 messages, and it has 1", (content) => content.messages.pop()],
      ["name 2 messages, and it has 0", (content) => delete (content as { messages?: object }).messages],
      ["name the one at offset", (content) => content.messages.reverse()],
      ["name the one at offset", (content) => ((content.messages[0] as Row).offset += 1)],
      ["digest is not that of the message", (content) => (said(content, 0).message.performative = "PROPOSE")],
      ["digest is not that of the payload", (content) => (said(content, 0).payload = { description: "nothing" })],
      ["signature is not one of this message", (content) => ((said(content, 0).payload = { description: "nothing" }), digested(said(content, 0)))],
      ["signature is not one of this message", (content) => (said(content, 1).key = worker.publicKey)],
      ["signature is not one of this message", (content) => (said(content, 1).key = "ed25519:00")],
      ["go together", (content) => delete said(content, 1).key],
      ["otherwise whether it is signed", (content) => unsigned(said(content, 0))],
      ["sent by another agent", (content) => ((said(content, 1).message.sender = said(content, 0).message.sender), unsigned(said(content, 1)))],
      ["does not answer the offer", (content) => ((said(content, 1).message.performative = "REJECT"), unsigned(said(content, 1)))],
      ["does not answer the offer", (content) => (delete said(content, 1).message.inReplyTo, unsigned(said(content, 1)))],
      ["another message than its record names", (content) => ((said(content, 1).message.id = said(content, 0).message.id), unsigned(said(content, 1)))],
      ["does not offer the commitment", (content) => delete said(content, 0).commitment],
      ["payload, which has the terms, was erased", (content) => delete said(content, 0).payload],
      ["cannot be read", (content) => (said(content, 0).v = 2)],
    ];
    for (const [says, change] of changes) {
      for (const isPutRight of [false, true]) {
        const content = JSON.parse(receipt.text) as Loose;
        change(content);
        if (isPutRight) {
          const parts = [...content.records, ...(content.messages ?? [])].flatMap(({ offset, record }) => {
            const bytes = Buffer.from(canonicalJson(record));
            const sizes = Buffer.alloc(16);
            sizes.writeBigUInt64LE(BigInt(offset), 0);
            sizes.writeBigUInt64LE(BigInt(bytes.length), 8);
            return [sizes, bytes];
          });
          content.hash = sha256("npayload/asp/receipt/1\n", ...parts);
        }
        const text = canonicalJson(content);
        expect(() => Receipt.parse(text).verify(), says).toThrow(says);
        expect([says, await isVerifiedByCommand(text)]).toEqual([says, false]);
      }
    }
  });

  test("that offer other terms than the record has are refused", async () => {
    // Without a signature, so that nothing but the terms can give it away.
    const sessionId = await session();
    const offer = await live.np.asp.messages.send({ sessionId, from: "plain", performative: "COMMIT", payload: payload() });
    const content = JSON.parse((await live.np.asp.commitments.receipt({ commitmentId: offer.commitmentId as string })).text) as {
      hash: string;
      messages: [{ offset: number; record: { payload: object; message: Record<string, unknown>; digest: string } }];
      records: { offset: number; record: object }[];
    };
    const [{ record }] = content.messages;
    record.payload = { ...record.payload, terms: { pages: 1 } };
    record.message.payload = sha256("", canonicalJson(record.payload));
    record.digest = sha256("npayload/asp/message/1\n", canonicalJson(record.message));
    const text = canonicalJson(content);
    expect(() => Receipt.parse(text).verify()).toThrow("offers other terms");
    expect(await isVerifiedByCommand(text)).toBe(false);
  });
});
