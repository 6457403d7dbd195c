import { expectTypeOf, test } from "vitest";
import {
  type Agent,
  type BatchAck,
  type ChannelInfo,
  type Commitment,
  type ConsumeResult,
  type CopiedPage,
  type DescribedAgent,
  type Dispute,
  type EscrowEntry,
  type FromCopies,
  type FromCopy,
  type Message,
  NPayload,
  type OffsetTrimmedError,
  type Page,
  type PublishAck,
  type Session,
  type Tail,
  type TrustEvidence,
  type TrustScore,
} from "../src/index.js";

test("offsets are numbers, or bigints where they are asked for", () => {
  const np = new NPayload({ apiKey: process.env.NO_SUCH_VARIABLE });
  expectTypeOf(np).toEqualTypeOf<NPayload<"number">>();
  expectTypeOf(new NPayload()).toEqualTypeOf<NPayload<"number">>();
  expectTypeOf(np.messages.publish).returns.resolves.toEqualTypeOf<PublishAck<number>>();
  expectTypeOf(np.messages.publishBatch).returns.resolves.toEqualTypeOf<BatchAck<number>>();
  expectTypeOf(np.streams.create).returns.resolves.toEqualTypeOf<ChannelInfo<number>>();
  const big = new NPayload({ offsets: "bigint" });
  expectTypeOf(big).toEqualTypeOf<NPayload<"bigint">>();
  expectTypeOf(big.messages.publish).returns.resolves.toHaveProperty("offset").toEqualTypeOf<bigint>();
  expectTypeOf(big.streams.info).returns.resolves.toHaveProperty("logEnd").toEqualTypeOf<bigint>();
  expectTypeOf(np.asp.commitments.create).returns.resolves.toEqualTypeOf<Commitment<number>>();
  expectTypeOf(big.asp.commitments.get).returns.resolves.toHaveProperty("offsets").toEqualTypeOf<readonly bigint[]>();
  expectTypeOf(big.asp.disputes.create).returns.resolves.toEqualTypeOf<Dispute<bigint>>();
  expectTypeOf(big.asp.escrow.ledger).returns.resolves.toEqualTypeOf<Page<EscrowEntry<bigint>>>();
  const evidence = async () => big.asp.trust.evidence({ agentId: "a" });
  expectTypeOf(evidence).returns.resolves.toEqualTypeOf<Page<TrustEvidence<bigint>>>();
});

test("what another region said comes with up to when, and of several regions by region", () => {
  const { registry, sessions, trust } = new NPayload({ offsets: "bigint" }).asp;
  const here = () => registry.get({ agentId: "a" });
  expectTypeOf(here).returns.resolves.toEqualTypeOf<DescribedAgent>();
  const there = () => registry.get({ agentId: "a", region: "us-east" });
  expectTypeOf(there).returns.resolves.toEqualTypeOf<FromCopy<DescribedAgent, bigint>>();
  const anywhere = () => trust.getScore({ agentId: "a", anyRegion: true });
  expectTypeOf(anywhere).returns.resolves.toEqualTypeOf<FromCopies<TrustScore, bigint>>();
  const page = async () => registry.search({ region: "us-east" });
  expectTypeOf(page).returns.resolves.toEqualTypeOf<CopiedPage<Agent, bigint>>();
  const session = () => sessions.get({ sessionId: "s", anyRegion: true });
  expectTypeOf(session).returns.resolves.toEqualTypeOf<FromCopy<Session, bigint>>();
});

test("payloads are unknown until they are named", () => {
  const np = new NPayload();
  const read = () => np.streams.consume({ streamId: "a", fromOffset: 0n });
  expectTypeOf(read).returns.resolves.toEqualTypeOf<ConsumeResult<unknown, number>>();
  expectTypeOf<Message["payload"]>().toBeUnknown();
  const named = () => np.streams.tail<{ prediction: number }>({ streamId: "a", fromOffset: 0 });
  expectTypeOf(named).returns.toEqualTypeOf<Tail<{ prediction: number }, number>>();
  const list = async () => np.channels.list();
  expectTypeOf(list).returns.resolves.toEqualTypeOf<Page<ChannelInfo<number>>>();
});

test("details of errors are typed", () => {
  expectTypeOf<OffsetTrimmedError["details"]["first"]>().toEqualTypeOf<number | bigint>();
  expectTypeOf<OffsetTrimmedError["cause"]>().toBeUnknown();
});

test("mistakes do not compile", () => {
  const np = new NPayload();
  const mistakes = () => {
    // @ts-expect-error the channel is missing
    void np.messages.publish({ payload: 1 });
    // @ts-expect-error an offset is no text
    void np.streams.consume({ streamId: "a", fromOffset: "0" });
    // @ts-expect-error there is no such durability
    void np.streams.create({ name: "a", durability: "hoped" });
    // @ts-expect-error a promise has a deadline
    void np.asp.commitments.create({ sessionId: "s", agentId: "a", description: "d" });
    // @ts-expect-error there is no such verdict
    void np.asp.disputes.vote({ disputeId: "d", agentId: "a", verdict: "maybe" });
    // @ts-expect-error an operator rules with a reason
    void np.asp.disputes.rule({ disputeId: "d", verdict: "upheld" });
    // @ts-expect-error money has a currency
    void np.asp.escrow.deposit({ agentId: "a", amount: 1 });
    // @ts-expect-error there is no such price
    void np.asp.market.create({ title: "t", category: "c", capabilities: ["x"], agents: ["a"], pricing: { type: "perCall" } });
    // @ts-expect-error one region, or any
    void np.asp.registry.get({ agentId: "a", region: "us-east", anyRegion: true });
    // @ts-expect-error there is no such option
    new NPayload({ apikey: "x" });
  };
  expectTypeOf(mistakes).toBeFunction();
});
