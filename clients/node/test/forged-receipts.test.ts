import { execFileSync } from "node:child_process";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { Receipt } from "../src/index.js";
import { draw } from "../src/namespaces/asp/receipt/dispute.js";
import { about, clock, created, DAY_MS, delivered, filed, forge, HOUR_MS, LEAD, OTHER, party, proposed, type Row, SECRET_TEXT, step, T, WORKER } from "./support/forged-receipts.js";

/** Agents of four organisations, two of one, and the order in which they are drawn for the dispute that `filed` files. */
const CANDIDATES = [party(2, 11), party(2, 12), party(3, 13), party(4, 14), party(5, 15)];
const ORDER = draw(filed(T) as never, Buffer.from(SECRET_TEXT, "hex"), CANDIDATES);

const REVIEWED_AT = T + 2 + 72 * HOUR_MS;
const disputed = [created(), delivered(T + 1), filed(T + 2)];
const reviewed = [...disputed, about("dispute.reviewed", REVIEWED_AT, { candidates: CANDIDATES, order: ORDER })];
const vote = (at: number, seat: number, finding: string, severity: number, rest: object = {}): Row =>
  about("dispute.voted", at, { by: 1, party: ORDER[seat], finding, severity, reason: "so", ...rest });
const ruled = (at: number, mechanism: string, finding: string, severity: number, rest: object = {}): Row => about("dispute.ruled", at, { mechanism, finding, severity, reason: "so", ...rest });
const byPeers = (at: number, finding: string, severity: number): Row => ruled(at, "peer", finding, severity, { secret: SECRET_TEXT });
const toOperator = [...disputed, about("dispute.reviewed", REVIEWED_AT, { candidates: [], order: [] })];
const agreed = proposed();
const accepted = step("commitment.accepted", T + 1, "judge", LEAD);

type Case = readonly [name: string, records: readonly Row[], state: string, counterparty?: object];

const HOLD: readonly Case[] = [
  ["two of three votes", [...reviewed, vote(REVIEWED_AT + 1, 0, "upheld", 3), vote(REVIEWED_AT + 2, 1, "upheld", 2), byPeers(REVIEWED_AT + 2, "upheld", 2)], "resolved"],
  ["three votes that differ", [...reviewed, vote(REVIEWED_AT + 1, 0, "dismissed", 1), vote(REVIEWED_AT + 2, 1, "upheld", 5), vote(REVIEWED_AT + 3, 2, "partial", 3), byPeers(REVIEWED_AT + 3, "partial", 3)], "resolved"],
  ["a dismissal gives back the state before", [...reviewed, vote(REVIEWED_AT + 1, 0, "dismissed", 1), vote(REVIEWED_AT + 2, 1, "dismissed", 2), byPeers(REVIEWED_AT + 2, "dismissed", 1)], "delivered"],
  [
    "a silent arbitrator is replaced",
    [
      ...reviewed,
      vote(REVIEWED_AT + 1, 0, "upheld", 3),
      vote(REVIEWED_AT + 2, 2, "dismissed", 1),
      about("dispute.arbitratorReplaced", REVIEWED_AT + 48 * HOUR_MS, { agent: ORDER[1]?.agent }),
      vote(REVIEWED_AT + 48 * HOUR_MS + 1, 3, "upheld", 4),
      byPeers(REVIEWED_AT + 48 * HOUR_MS + 1, "upheld", 3),
    ],
    "resolved",
  ],
  ["an operator decides where too few are there", [...toOperator, ruled(REVIEWED_AT + 1, "human", "partial", 2, { by: 1 })], "resolved"],
  ["nobody decides", [...toOperator, about("dispute.expired", REVIEWED_AT + 7 * DAY_MS)], "delivered"],
  [
    "arbitrators who do not decide hand it on",
    [
      ...reviewed,
      vote(REVIEWED_AT + 1, 0, "upheld", 3),
      vote(REVIEWED_AT + 2, 1, "dismissed", 1),
      about("dispute.arbitratorReplaced", REVIEWED_AT + 48 * HOUR_MS, { agent: ORDER[2]?.agent }),
      about("dispute.escalated", REVIEWED_AT + 96 * HOUR_MS),
      ruled(REVIEWED_AT + 96 * HOUR_MS + 1, "human", "upheld", 2, { by: 1, secret: SECRET_TEXT }),
    ],
    "resolved",
  ],
  ["a window goes on where it was after a dispute", [...disputed, about("dispute.withdrawn", T + 1000, { by: 1 }), clock("commitment.silenceConfirmed", T + 1 + HOUR_MS + 998)], "fulfilled"],
  ["offered, accepted and confirmed", [agreed, accepted, delivered(T + 2), step("commitment.confirmed", T + 3, "judge", LEAD)], "fulfilled", LEAD],
  ["offered and refused", [agreed, step("commitment.rejected", T + 1, "judge", LEAD)], "rejected"],
  ["offered and taken back", [agreed, step("commitment.withdrawn", T + 1, "obligor", WORKER)], "withdrawn"],
  ["offered in vain", [agreed, clock("commitment.expired", T + HOUR_MS)], "expired"],
  ["delivered to nobody", [created({ judge: "nobody" }), delivered(T + 1)], "fulfilled"],
  ["delivered late", [created(), clock("commitment.breached", T + HOUR_MS), delivered(T + HOUR_MS + 1)], "breached"],
  ["the weightier of two rulings", [created(), clock("commitment.breached", T + HOUR_MS), filed(T + HOUR_MS), ruled(T + HOUR_MS, "automated", "upheld", 1)], "resolved"],
];

const BREAK: readonly (readonly [...Case, says: string])[] = [
  ["a judge without a counterparty", [created({ judge: "counterparty" })], "active", undefined, "named counterparty judges"],
  ["a promise to oneself", [created({ judge: "counterparty", promise: { counterparty: WORKER } })], "active", WORKER, "promises to oneself"],
  ["an offer to nobody", [proposed({ judge: "nobody" })], "proposed", undefined, "nobody who could accept"],
  ["a promise twice", [created(), created()], "active", undefined, "there already"],
  ["delivered twice", [created(), clock("commitment.breached", T + HOUR_MS), delivered(T + HOUR_MS + 1), delivered(T + HOUR_MS + 2)], "breached", undefined, "comes once"],
  ["delivered behind the deadline", [created(), delivered(T + HOUR_MS)], "delivered", undefined, "had passed"],
  ["delivered before it was accepted", [agreed, delivered(T + 1)], "proposed", undefined, "does not allow"],
  ["accepted too late", [agreed, step("commitment.accepted", T + HOUR_MS, "judge", LEAD)], "active", LEAD, "had passed"],
  ["accepted by who offers", [agreed, step("commitment.accepted", T + 1, "judge", WORKER)], "active", WORKER, "not said by whom"],
  ["confirmed by another one", [agreed, accepted, delivered(T + 2), step("commitment.confirmed", T + 3, "judge", OTHER)], "fulfilled", LEAD, "not said by whom"],
  ["confirmed by nobody", [created(), delivered(T + 1), { ...clock("commitment.confirmed", T + 2), role: "judge" }], "fulfilled", undefined, "not said by whom"],
  ["taken back by another one", [agreed, step("commitment.withdrawn", T + 1, "obligor", LEAD)], "withdrawn", undefined, "not said by whom"],
  ["a breach that somebody says", [created(), { ...clock("commitment.breached", T + HOUR_MS), by: 1 }], "breached", undefined, "not said by whom"],
  ["a breach too early", [created(), clock("commitment.breached", T + HOUR_MS - 1)], "breached", undefined, "not over"],
  ["silence too early", [created(), delivered(T + 1), clock("commitment.silenceConfirmed", T + HOUR_MS)], "fulfilled", undefined, "not over"],
  ["a window that is made longer", [created(), step("commitment.windowShortened", T + 1, "judge", LEAD, { shortenedTo: HOUR_MS + 1 })], "active", undefined, "only made shorter"],
  ["a window without a length", [created(), step("commitment.windowShortened", T + 1, "judge", LEAD)], "active", undefined, "new length"],
  ["a length without a window", [created(), delivered(T + 1), step("commitment.confirmed", T + 2, "judge", LEAD, { shortenedTo: 1 })], "fulfilled", undefined, "new length"],
  ["a dispute about what is active", [created(), filed(T + 1)], "disputed", undefined, "does not allow"],
  ["a dispute when the window has ended", [created(), delivered(T + 1), filed(T + 1 + HOUR_MS)], "disputed", undefined, "had passed"],
  ["a dispute twice", [...disputed, filed(T + 3, 60, { filer: OTHER, role: "participant" })], "disputed", undefined, "there already"],
  ["a second dispute of one filer", [...disputed, filed(T + 3, 61)], "disputed", undefined, "has disputed it"],
  ["a dispute of the obligor", [created(), delivered(T + 1), filed(T + 2, 60, { filer: WORKER })], "disputed", undefined, "filed by whom"],
  ["a dispute against another one", [created(), delivered(T + 1), filed(T + 2, 60, { against: OTHER })], "disputed", undefined, "filed by whom"],
  ["a counterparty that files as somebody else", [agreed, accepted, delivered(T + 2), filed(T + 3, 60, { role: "participant" })], "disputed", LEAD, "filed by whom"],
  ["a dispute of the clock", [created(), delivered(T + 1), filed(T + 2, 60, { role: "clock" })], "disputed", undefined, "does not allow"],
  ["an answer to nothing", [created(), delivered(T + 1), about("dispute.answered", T + 2, { by: 1, evidence: {}, reason: "" })], "delivered", undefined, "no such dispute"],
  ["an answer too late", [...disputed, about("dispute.answered", REVIEWED_AT, { by: 1, evidence: {}, reason: "" })], "disputed", undefined, "had passed"],
  ["an answer twice", [...disputed, ...[3, 4].map((n) => about("dispute.answered", T + n, { by: 1, evidence: {}, reason: "" }))], "disputed", undefined, "does not allow"],
  ["taken back too late", [...disputed, about("dispute.withdrawn", REVIEWED_AT, { by: 1 })], "delivered", undefined, "had passed"],
  ["taken back by nobody", [...disputed, about("dispute.withdrawn", T + 3)], "delivered", undefined, "clock does it"],
  ["a review too early", [...disputed, about("dispute.reviewed", REVIEWED_AT - 1, { candidates: [], order: [] })], "disputed", undefined, "not over"],
  ["two arbitrators", [...disputed, about("dispute.reviewed", REVIEWED_AT, { candidates: CANDIDATES, order: ORDER.slice(0, 2) })], "disputed", undefined, "fewer arbitrators"],
  ["a vote without a seat", [...reviewed, vote(REVIEWED_AT + 1, 3, "upheld", 1)], "disputed", undefined, "no seat"],
  ["a vote for nothing", [...reviewed, vote(REVIEWED_AT + 1, 0, "upheld", 1, { severity: undefined })], "disputed", undefined, "it is no vote"],
  ["a ruling without a reason", [...toOperator, ruled(REVIEWED_AT + 1, "human", "partial", 2, { by: 1, reason: undefined })], "resolved", undefined, "it is no ruling"],
  ["a vote twice", [...reviewed, vote(REVIEWED_AT + 1, 0, "upheld", 1), vote(REVIEWED_AT + 2, 0, "upheld", 1)], "disputed", undefined, "has voted"],
  ["a vote too late", [...reviewed, vote(REVIEWED_AT + 48 * HOUR_MS, 0, "upheld", 1)], "disputed", undefined, "had passed"],
  ["a vote where an operator decides", [...toOperator, vote(REVIEWED_AT + 1, 0, "upheld", 1)], "disputed", undefined, "no arbitrators decide"],
  ["a vote of a replaced arbitrator", [...reviewed, about("dispute.arbitratorReplaced", REVIEWED_AT + 48 * HOUR_MS, { agent: [...ORDER.slice(0, 3)].sort((a, b) => (a.agent < b.agent ? -1 : 1))[2]?.agent })], "disputed", undefined, "not over"],
  ["replaced too early", [...reviewed, about("dispute.arbitratorReplaced", REVIEWED_AT + 1, { agent: ORDER[0]?.agent })], "disputed", undefined, "not over"],
  ["handed on too early", [...reviewed, about("dispute.escalated", REVIEWED_AT + 1)], "disputed", undefined, "not over"],
  ["expired too early", [...toOperator, about("dispute.expired", REVIEWED_AT + 1)], "delivered", undefined, "not over"],
  ["expired by somebody", [...toOperator, about("dispute.expired", REVIEWED_AT + 1, { by: 1 })], "delivered", undefined, "clock does it"],
  ["one vote rules", [...reviewed, vote(REVIEWED_AT + 1, 0, "upheld", 3), byPeers(REVIEWED_AT + 1, "upheld", 3)], "resolved", undefined, "not what the arbitrators voted"],
  ["another severity than was voted", [...reviewed, vote(REVIEWED_AT + 1, 0, "upheld", 3), vote(REVIEWED_AT + 2, 1, "upheld", 2), byPeers(REVIEWED_AT + 2, "upheld", 3)], "resolved", undefined, "not what the arbitrators voted"],
  ["arbitrators without their secret", [...reviewed, vote(REVIEWED_AT + 1, 0, "upheld", 3), vote(REVIEWED_AT + 2, 1, "upheld", 3), ruled(REVIEWED_AT + 2, "peer", "upheld", 3)], "resolved", undefined, "secret"],
  ["another secret", [...reviewed, vote(REVIEWED_AT + 1, 0, "upheld", 3), vote(REVIEWED_AT + 2, 1, "upheld", 3), ruled(REVIEWED_AT + 2, "peer", "upheld", 3, { secret: "00".repeat(32) })], "resolved", undefined, "not the one that was sealed"],
  [
    "arbitrators who were not drawn",
    (() => {
      const order = [...ORDER].reverse();
      const sat = [...disputed, about("dispute.reviewed", REVIEWED_AT, { candidates: CANDIDATES, order })];
      return [...sat, vote(REVIEWED_AT + 1, 2, "upheld", 3, { party: order[0] }), vote(REVIEWED_AT + 2, 2, "upheld", 3, { party: order[1] }), byPeers(REVIEWED_AT + 2, "upheld", 3)];
    })(),
    "resolved",
    undefined,
    "does not draw",
  ],
  ["a secret where nobody was drawn", [...toOperator, ruled(REVIEWED_AT + 1, "human", "partial", 2, { by: 1, secret: SECRET_TEXT })], "resolved", undefined, "secret"],
  ["an operator who is nobody", [...toOperator, ruled(REVIEWED_AT + 1, "human", "partial", 2)], "resolved", undefined, "operator says who"],
  ["an operator too late", [...toOperator, ruled(REVIEWED_AT + 7 * DAY_MS, "human", "partial", 2, { by: 1 })], "resolved", undefined, "had passed"],
  ["an operator where arbitrators decide", [...reviewed, ruled(REVIEWED_AT + 1, "human", "partial", 2, { by: 1, secret: SECRET_TEXT })], "resolved", undefined, "another mechanism"],
  ["the log too late", [...reviewed, ruled(REVIEWED_AT + 1, "automated", "upheld", 2)], "resolved", undefined, "at no other time"],
  ["a ruling before the review", [...disputed, about("dispute.answered", T + 3, { by: 1, evidence: {}, reason: "" }), ruled(T + 4, "automated", "upheld", 2)], "resolved", undefined, "does not allow"],
];

describe("receipts that nobody wrote, with all their hashes right", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "npayload-forged-"));
  });
  afterAll(() => rm(folder, { recursive: true }));

  /** What the command line makes of the text of a receipt. */
  async function byCommand(text: string): Promise<string> {
    const file = join(folder, "receipt.json");
    await writeFile(file, text);
    try {
      execFileSync(process.env.NPAYLOAD_BIN as string, ["commitment", "receipt", "--verify", file], { stdio: "pipe" });
      return "holds";
    } catch {
      return "refused";
    }
  }

  test("hold where the rules allow them, here and by the command line", async () => {
    for (const [name, records, state, counterparty] of HOLD) {
      const text = forge(records, { state, ...(counterparty === undefined ? {} : { counterparty }) });
      expect([name, Receipt.parse(text).verify().state]).toEqual([name, state]);
      expect([name, await byCommand(text)]).toEqual([name, "holds"]);
    }
  });

  test("are refused where a rule is broken, and the rule is named", async () => {
    for (const [name, records, state, counterparty, says] of BREAK) {
      const text = forge(records, { state, ...(counterparty === undefined ? {} : { counterparty }) });
      expect(() => Receipt.parse(text).verify(), name).toThrow(says);
      expect([name, await byCommand(text)]).toEqual([name, "refused"]);
    }
  });
});
