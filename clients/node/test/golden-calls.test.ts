import { describe, expect, test } from "vitest";
import { decodeHello } from "../src/connection/hello.js";
import { NPayload } from "../src/index.js";
import { FrameParser } from "../src/wire/frame.js";
import { parseJson } from "../src/wire/json.js";
import { startFakeBroker } from "./support/fake-broker.js";
import { goldenNames, repositoryFile } from "./support/golden.js";

const FOLDER = "tests/golden/frames/";

function bodyOf(name: string): Buffer {
  const bodies: Buffer[] = [];
  new FrameParser(({ body }) => bodies.push(Buffer.from(body))).push(repositoryFile(`${FOLDER}${name}.bin`));
  return bodies[0] as Buffer;
}

const commitmentId = "cmt_01998a2b-0c3d-7e4f-8001-020304050650";
const disputeId = "dsp_01998a2b-0c3d-7e4f-8001-020304050660";
const sessionId = "ses_01998a2b-0c3d-7e4f-8001-020304050620";
const references = [
  { sessionId, sequence: 7, digest: `sha256:${"ab".repeat(32)}` },
  { channel: "surveys.drafts", start: 40, end: 42n },
];
const deadline = new Date(1_700_086_400_123);

/** Goes on from the cursor of a golden request: a list asks for its first page before it has one. */
async function second(list: AsyncIterable<unknown>): Promise<unknown[]> {
  const items: unknown[] = [];
  for await (const item of list) items.push(item);
  return items;
}

/** The call of this client that each golden request is, and what of the golden answer it returns. */
const CALLS: Readonly<Record<string, { call(np: NPayload): unknown; of?(answer: never): unknown; rounds?: 2 }>> = {
  commitment_create: {
    call: (np) =>
      np.asp.commitments.create({
        id: commitmentId,
        sessionId,
        agentId: "research-agent",
        counterparty: "agent://acme/writer",
        description: "a survey of log brokers",
        deadline: deadline.toISOString(),
        obligations: [{ action: "survey.deliver", deadline, party: "research-agent", verificationMethod: "review" }],
        penalties: { lateFulfillmentPercentPerDay: 2.5, nonDeliveryPercent: 100 },
        escrow: { amount: 50_000, currency: "EUR" },
        severity: 3,
        terms: { pages: 1.5 },
        windowMs: 3_600_000,
      }),
  },
  commitment_deliver: { call: (np) => np.asp.commitments.deliver({ commitmentId, evidence: { pages: 12 }, references }) },
  commitment_confirm: { call: (np) => np.asp.commitments.confirm({ commitmentId, agentId: "writer" }) },
  commitment_window: { call: (np) => np.asp.commitments.shorten({ commitmentId, windowMs: 60_000 }) },
  commitment_info: { call: (np) => np.asp.commitments.get({ commitmentId, agentId: "writer" }) },
  commitment_list: {
    call: (np) => second(np.asp.commitments.list({ agentId: "research-agent", side: "counterparty", sessionId, states: ["active", "breached"], limit: 10 })),
    of: ({ commitments }: { commitments: unknown }) => commitments,
    rounds: 2,
  },
  commitment_receipt: { call: async (np) => (await np.asp.commitments.receipt({ commitmentId })).content, of: ({ receipt }: { receipt: unknown }) => receipt },
  dispute_create: {
    call: (np) =>
      np.asp.disputes.create({ id: disputeId, commitmentId, agentId: "writer", type: "timeoutBreach", severity: 2, reason: "the survey was not delivered", evidence: { missedDeadline: true }, references, answerMs: 86_400_000, arbitrationMs: 259_200_000 }),
  },
  dispute_answer: { call: (np) => np.asp.disputes.answer({ disputeId, reason: "it was, see the session", references }) },
  dispute_withdraw: { call: (np) => np.asp.disputes.withdraw({ disputeId }) },
  dispute_rule: { call: (np) => np.asp.disputes.vote({ disputeId, agentId: "agent://acme/judge", verdict: "partial", severity: 2, reason: "half of it" }) },
  dispute_info: { call: (np) => np.asp.disputes.get({ disputeId }) },
  dispute_list: {
    call: (np) => second(np.asp.disputes.list({ commitmentId, agentId: "writer", sessionId, states: ["open", "underReview"], limit: 10 })),
    of: ({ disputes }: { disputes: unknown }) => disputes,
    rounds: 2,
  },
  trust_score: { call: (np) => np.asp.trust.getScore({ agentId: "research-agent" }) },
  trust_explain: { call: (np) => second(np.asp.trust.evidence({ agentId: "research-agent", limit: 10 })), of: ({ evidence }: { evidence: unknown }) => evidence, rounds: 2 },
  trust_endorse: { call: (np) => np.asp.trust.endorse({ agentId: "agent://acme/writer", from: "research-agent" }) },
  trust_rate: { call: (np) => np.asp.trust.rate({ sessionId, agentId: "research-agent", from: "writer", rating: 0.9 }) },
  org_verify: {
    call: (np) => np.orgs.verify({ name: "acme" }),
    of: ({ org, ...rest }: { org: string }) => ({ name: org, ...rest }),
  },
  escrow_deposit: { call: (np) => np.asp.escrow.deposit({ id: "pay_01998a2b-0c3d-7e4f-8001-020304050670", agentId: "agent://acme/writer", amount: 100_000, currency: "EUR", region: "eu-west" }) },
  escrow_withdraw: { call: (np) => np.asp.escrow.withdraw({ id: "pay_01998a2b-0c3d-7e4f-8001-020304050671", org: "acme", amount: 2_500, currency: "EUR" }) },
  escrow_balance: { call: (np) => np.asp.escrow.balance({ agentId: "research-agent", currency: "EUR" }), of: ({ accounts }: { accounts: unknown }) => accounts },
  escrow_ledger: {
    call: (np) => second(np.asp.escrow.ledger({ org: "acme", commitmentId, limit: 10 })),
    of: ({ entries }: { entries: unknown }) => entries,
    rounds: 2,
  },
};

const listingId = "lst_01998a2b-0c3d-7e4f-8001-020304050670";
const subscriptionId = "sub_01998a2b-0c3d-7e4f-8001-020304050680";
const agents = ["research-agent", "prices.bot"];

/** The calls about the market, whose answers are returned as they are. */
const MARKET_CALLS: typeof CALLS = {
  market_create: {
    call: (np) =>
      np.asp.market.create({
        id: listingId,
        title: "Market research",
        description: "Finds what others ask for a product.",
        category: "data-analysis",
        tags: ["prices", "retail"],
        capabilities: ["web-search"],
        agents,
        pricing: { type: "perCall", currency: "EUR", unitPrice: 250 },
        visibility: "inviteOnly",
        access: "byInvitation",
        invited: ["beta"],
        sample: { product: "x", price: 1.5 },
        terms: "Fair use.",
      }),
  },
  market_update: {
    call: (np) =>
      np.asp.market.update({
        listingId,
        title: "Market research, daily",
        description: "",
        category: "research",
        tags: [],
        capabilities: ["web-search", "citation"],
        agents,
        pricing: { type: "tiered", currency: "EUR", tiers: [{ upTo: 1000, unitPrice: 0 }, { upTo: null, unitPrice: 5 }] },
        visibility: "public",
        access: "open",
        invited: [],
        sample: null,
        terms: "Fair use, and no resale.",
      }),
  },
  market_submit: { call: (np) => np.asp.market.submit({ listingId }) },
  market_review: { call: (np) => np.asp.market.review({ listingId, verdict: "reject", reason: "say what a call is" }) },
  market_archive: { call: (np) => np.asp.market.archive({ listingId }) },
  market_search: {
    call: (np) =>
      second(
        np.asp.market.search({
          text: "competitor prices",
          category: "data-analysis",
          tags: ["prices"],
          capabilities: ["web-search"],
          minTrustScore: 0.5,
          maxPrice: { amount: 500, currency: "EUR" },
          pricing: "perCall",
          organisation: "acme",
          verified: true,
          own: true,
          sort: "trust",
          limit: 10,
        }),
      ),
    of: ({ listings }: { listings: unknown }) => listings,
    rounds: 2,
  },
  market_info: { call: (np) => np.asp.market.get({ listingId }), of: ({ listing, subscription }: { listing: object; subscription: object }) => ({ ...listing, subscription }) },
  market_subscribe: { call: (np) => np.asp.market.subscribe({ id: subscriptionId, listingId, termsHash: `sha256:${"cd".repeat(32)}` }) },
  market_approve: { call: (np) => np.asp.market.approve({ subscriptionId, verdict: "suspend", reason: "the invoice is open" }) },
  market_cancel: { call: (np) => np.asp.market.cancel({ subscriptionId }) },
  market_rate: { call: (np) => np.asp.market.rate({ listingId, rating: 4, comment: "fast" }), of: ({ rating }: { rating: unknown }) => rating },
  market_subscriptions: {
    call: (np) => second(np.asp.market.subscriptions({ as: "publisher", listingId, state: "requested", limit: 10 })),
    of: ({ subscriptions }: { subscriptions: unknown }) => subscriptions,
    rounds: 2,
  },
  market_usage: { call: (np) => np.asp.market.usage({ subscriptionId, since: 1_700_000_000_123, until: new Date(1_700_000_000_123 + 31 * 24 * 3_600_000) }) },
};
const ALL_CALLS: typeof CALLS = { ...CALLS, ...MARKET_CALLS };
const GOLDEN = goldenNames(FOLDER).map((file) => file.slice(0, -4));

/** What the golden answer says and the client tells: no numbers of keys, but in ledgers; and obligations that are an empty list. */
function told(name: string, answer: object): unknown {
  const row = (one: Record<string, unknown>): object => {
    const { by, ...rest } = one;
    if (name.startsWith("commitment")) return { obligations: [], ...rest };
    return name.startsWith("dispute") ? rest : { ...rest, ...(by === undefined ? {} : { by }) };
  };
  const { of } = ALL_CALLS[name] as { of?(answer: object): unknown };
  const value = of === undefined ? answer : of(answer);
  if (name === "commitment_receipt") return value;
  return Array.isArray(value) ? value.map(row) : row(value as Record<string, unknown>);
}

describe("calls about promises, disputes, trust, money and the market", () => {
  const kinds = decodeHello(bodyOf("hello_response")).kinds;

  test.each(Object.keys(ALL_CALLS).filter((name) => GOLDEN.includes(`${name}_request`)))("%s is the golden request, and what it answers is all there", async (name) => {
    const { call, rounds = 1 } = ALL_CALLS[name] as (typeof CALLS)[string];
    const wanted = parseJson(bodyOf(`${name}_request`).toString()) as Record<string, unknown>;
    const answer = parseJson(bodyOf(`${name}_response`).toString()) as Record<string, unknown>;
    const asked: { kind: number; body: unknown }[] = [];
    const fake = await startFakeBroker((request) => {
      asked.push({ kind: request.kind, body: parseJson(request.body.toString()) });
      // The first page of a list has the cursor that the golden request goes on with.
      const { cursor: _, ...last } = answer;
      request.answer(rounds === 2 && asked.length === 1 ? { ...answer, cursor: wanted.cursor ?? "c" } : rounds === 2 ? last : answer);
    });
    const np = new NPayload({ url: fake.url });
    const returned = await call(np);
    const kind = kinds.get(name.replace("_", "."));
    const { cursor, ...first } = wanted;
    const goesOn = { kind, body: { ...first, cursor: cursor ?? "c" } };
    expect(asked).toEqual(rounds === 2 ? [{ kind, body: first }, goesOn] : [{ kind, body: wanted }]);
    const rows = told(name, answer);
    expect(returned).toEqual(rounds === 2 ? [...(rows as unknown[]), ...(rows as unknown[])] : rows);
    await np.close();
    fake.close();
  });

  test("copies_read is the golden request, and both what regions said and why one said nothing are in its answer", async () => {
    const agentId = "research-agent";
    const wanted = parseJson(bodyOf("copies_read_request").toString()) as { region: string };
    const answer = parseJson(bodyOf("copies_read_response").toString()) as { asOf: Record<string, { offset: number }>; parts: Record<string, unknown>[] };
    const asked: { kind: number; body: unknown }[] = [];
    const fake = await startFakeBroker((request) => {
      const body = parseJson(request.body.toString()) as { ask: object; region?: string };
      asked.push({ kind: request.kind, body });
      const [row] = (answer.parts[1] as { answer: { "agent.search": { agents: object[] } } }).answer["agent.search"].agents;
      if ("agent.search" in body.ask) request.answer(answer);
      else request.answer({ ...answer, parts: [{ ...answer.parts[1], answer: { "agent.info": { ...row, card: { name: agentId } } } }] });
    });
    const np = new NPayload({ url: fake.url });
    const { answer: agent, ...from } = await np.asp.registry.get({ agentId, region: wanted.region });
    expect(asked).toEqual([{ kind: kinds.get("copies.read"), body: wanted }]);
    expect(agent).toMatchObject({ name: agentId, trustScore: 0.5, card: { name: agentId } });
    expect(from).toEqual({ region: "us-east", asOf: answer.asOf, evidenceAsOf: answer.parts[1]?.evidenceAsOf });
    const { asOf, parts } = await np.asp.registry.search({ anyRegion: true });
    expect(asked[1]?.body).toEqual({ ask: { "agent.search": {} } });
    expect(asOf).toEqual(answer.asOf);
    expect(parts.map(({ region }) => region)).toEqual(["ap-south", "us-east"]);
    expect(parts[0]?.error).toMatchObject({ code: "COPY_NOT_HERE", number: 943, retryable: true, details: { region: "ap-south" } });
    expect((await parts[1]?.answer)?.items).toMatchObject([{ name: agentId, capabilities: ["research", "papers.search"] }]);
    await np.close();
    fake.close();
  });

  test("directory_unname is the golden request", async () => {
    const asked: unknown[] = [];
    const fake = await startFakeBroker((request) => {
      asked.push({ kind: request.kind, body: parseJson(request.body.toString()) });
      request.answer(bodyOf("directory_unname_response"));
    });
    const np = new NPayload({ url: fake.url });
    const { channel, ...told } = parseJson(bodyOf("directory_unname_response").toString()) as { channel: string };
    expect(await np.regions.unname({ channelId: "chat.log" })).toEqual({ name: channel, ...told });
    expect(asked).toEqual([{ kind: kinds.get("directory.unname"), body: parseJson(bodyOf("directory_unname_request").toString()) }]);
    await np.close();
    fake.close();
  });

  test("are all there", () => {
    const golden = GOLDEN.filter((name) => /^(commitment|dispute|trust|escrow|market)_.*request|^org_verify_request/.test(name)).map((name) => name.replace("_request", ""));
    expect(golden.filter((name) => !(name in ALL_CALLS))).toEqual([]);
    expect(golden.length).toBeGreaterThan(20);
  });
});
