import { rawDigest } from "./digest.js";
import { type Dispute, type DisputeEvent, type DisputeState, type Filed, isSame, LATE, must, NOT_ALLOWED, NOT_DUE, type PartyId, type Seat, type Verdict } from "./records.js";

/** Those who vote on a dispute. */
const ARBITRATORS = 3;

/** In which states a record can follow, and which state it makes: the table of docs/asp.md. */
const TABLE: Readonly<Record<string, { readonly in: readonly DisputeState[]; readonly to: DisputeState }>> = {
  "dispute.answered": { in: ["open"], to: "answered" },
  "dispute.withdrawn": { in: ["open", "answered"], to: "withdrawn" },
  "dispute.reviewed": { in: ["open", "answered"], to: "underReview" },
  "dispute.voted": { in: ["underReview"], to: "underReview" },
  "dispute.arbitratorReplaced": { in: ["underReview"], to: "underReview" },
  "dispute.escalated": { in: ["underReview"], to: "underReview" },
  "dispute.ruled": { in: ["open", "underReview"], to: "resolved" },
  "dispute.expired": { in: ["underReview"], to: "expired" },
};

export const DISPUTE_EVENTS: ReadonlySet<string> = new Set(Object.keys(TABLE));

export function isOver({ state }: Dispute): boolean {
  return state === "resolved" || state === "withdrawn" || state === "expired";
}

export function beginDispute(filed: Filed, offset: number): Dispute {
  return { filed, offsets: [offset], since: filed.at, state: "open" };
}

/** What a record makes of a dispute that is there. */
export function follow(dispute: Dispute, type: string, event: DisputeEvent, offset: number): void {
  const row = TABLE[type];
  must(row !== undefined && row.in.includes(dispute.state), NOT_ALLOWED);
  const due = dueOf(dispute);
  const what = due !== undefined && due.at <= event.at ? due.what : undefined;
  const isSaid = event.by !== undefined;
  if (type === "dispute.answered" || type === "dispute.voted" || isSaid) must(what === undefined, LATE);
  if (type !== "dispute.answered" && type !== "dispute.voted" && type !== "dispute.ruled") {
    must(isSaid === (type === "dispute.withdrawn"), "the clock does it, and nobody else");
  }
  switch (type) {
    case "dispute.answered":
      dispute.answer = { at: event.at, evidence: event.evidence ?? {}, reason: event.reason ?? "" };
      break;
    case "dispute.withdrawn":
      dispute.ended = event.at;
      break;
    case "dispute.reviewed":
      must(what === "review", NOT_DUE);
      review(dispute, event);
      break;
    case "dispute.voted":
      vote(dispute, event);
      break;
    case "dispute.arbitratorReplaced":
      must(what !== undefined && typeof what === "object" && what.replace === event.agent, NOT_DUE);
      replace(dispute, event);
      break;
    case "dispute.escalated":
      must(what === "escalate", NOT_DUE);
      dispute.mechanism = "human";
      dispute.since = event.at;
      break;
    case "dispute.expired":
      must(what === "expire", NOT_DUE);
      dispute.ended = event.at;
      break;
    default:
      rule(dispute, event);
  }
  dispute.state = row.to;
  dispute.offsets.push(offset);
}

type Due = "review" | "escalate" | "expire" | { readonly replace: string };

/** When the clock goes on with it, and how. */
function dueOf({ state, filed, arbitration, mechanism, since }: Dispute): { readonly at: number; readonly what: Due } | undefined {
  if (state === "open" || state === "answered") return { at: filed.at + filed.answerMs, what: "review" };
  if (state !== "underReview") return undefined;
  const all = since + filed.arbitrationMs;
  if (mechanism !== "peer" || arbitration === undefined) return { at: all, what: "expire" };
  const silent = sitting(arbitration.seats).filter((seat) => seat.vote === undefined);
  silent.sort((a, b) => a.since - b.since || (a.party.agent < b.party.agent ? -1 : 1));
  const [first] = silent;
  if (first === undefined || first.since + filed.ballotMs > all) return { at: all, what: "escalate" };
  // Nobody is left to replace the silent one: it goes on to an operator.
  const isLast = arbitration.order.length === arbitration.seats.length;
  return { at: first.since + filed.ballotMs, what: isLast ? "escalate" : { replace: first.party.agent } };
}

function sitting(seats: readonly Seat[]): Seat[] {
  return seats.filter(({ replaced }) => replaced === undefined);
}

function review(dispute: Dispute, { at, candidates = [], order = [] }: DisputeEvent): void {
  must(order.length === 0 || order.length >= ARBITRATORS, "fewer arbitrators are drawn than have to vote");
  dispute.since = at;
  dispute.mechanism = order.length === 0 ? "human" : "peer";
  if (order.length === 0) return;
  dispute.arbitration = { candidates, order, seats: order.slice(0, ARBITRATORS).map((party) => ({ party, since: at })) };
}

function vote(dispute: Dispute, { at, party, finding, reason, severity }: DisputeEvent): void {
  must(dispute.mechanism === "peer", "no arbitrators decide it");
  const seat = sitting(dispute.arbitration?.seats ?? []).find((one) => isSame(one.party, party));
  must(seat !== undefined, "that arbitrator has no seat");
  must(seat.vote === undefined, "that arbitrator has voted");
  must(finding !== undefined && severity !== undefined && reason !== undefined, "it is no vote");
  seat.vote = { at, reason, severity, verdict: finding };
}

function replace(dispute: Dispute, { at, agent }: DisputeEvent): void {
  const seats = dispute.arbitration?.seats ?? [];
  const seat = sitting(seats).find(({ party }) => party.agent === agent);
  const party = dispute.arbitration?.order[seats.length];
  must(seat !== undefined && party !== undefined, "nobody is left to replace it");
  seat.replaced = true;
  seats.push({ party, since: at });
}

function rule(dispute: Dispute, { at, by, finding, mechanism, reason, secret, severity }: DisputeEvent): void {
  must(mechanism !== undefined && finding !== undefined && severity !== undefined && reason !== undefined, "it is no ruling");
  const isOpen = dispute.state === "open";
  must(isOpen === (mechanism === "automated"), "the log rules when a dispute is filed, and at no other time");
  must(isOpen || dispute.mechanism === mechanism, "another mechanism decides it");
  must((by !== undefined) === (mechanism === "human"), "an operator says who it is, and nobody else");
  if (mechanism === "peer") {
    const votes = sitting(dispute.arbitration?.seats ?? []).flatMap((seat) => (seat.vote === undefined ? [] : [seat.vote]));
    const agreed = majority(votes);
    must(agreed?.verdict === finding && agreed.severity === severity, "it is not what the arbitrators voted");
  }
  isDrawn(dispute, secret);
  dispute.mechanism = mechanism;
  dispute.ended = at;
  dispute.ruling = { at, mechanism, reason, severity, verdict: finding };
}

const VERDICTS: readonly Verdict[] = ["dismissed", "partial", "upheld"];

/** What votes come to: two that agree, else the middle one of three; the severity in the middle of those no milder than it. */
function majority(votes: readonly { readonly severity: number; readonly verdict: Verdict }[]): { readonly verdict: Verdict; readonly severity: number } | undefined {
  const weights = votes.map(({ verdict }) => VERDICTS.indexOf(verdict)).sort((a, b) => a - b);
  const agreed = weights.find((weight, at) => weights[at + 1] === weight) ?? (weights.length >= ARBITRATORS ? weights[1] : undefined);
  if (agreed === undefined) return undefined;
  const grave = votes.filter(({ verdict }) => VERDICTS.indexOf(verdict) >= agreed).map(({ severity }) => severity);
  grave.sort((a, b) => a - b);
  return { verdict: VERDICTS[agreed] as Verdict, severity: grave[(grave.length - 1) >> 1] as number };
}

/** Whether the secret is the one that was sealed, and draws those who arbitrated. */
function isDrawn({ arbitration, filed }: Dispute, secret: string | undefined): void {
  must((arbitration === undefined) === (secret === undefined), "a secret is told where arbitrators were drawn, and nowhere else");
  if (arbitration === undefined || secret === undefined) return;
  const bytes = Buffer.from(secret, "hex");
  must(`sha256:${rawDigest("npayload/asp/seal/1\n", bytes).toString("hex")}` === filed.seal, "the secret is not the one that was sealed");
  const drawn = draw(filed, bytes, arbitration.candidates).map(({ agent }) => agent);
  must(drawn.join() === arbitration.order.map(({ agent }) => agent).join(), "the secret does not draw those who arbitrated");
}

/** The order in which candidates are asked: one of each organisation, the least lots first. */
export function draw(filed: Pick<Filed, "logHash" | "dispute">, secret: Buffer, candidates: readonly PartyId[]): PartyId[] {
  const log = Buffer.from(filed.logHash.slice("sha256:".length), "hex");
  const dispute = littleEndian(filed.dispute);
  const lot = (org: number, agent: string): string => {
    const orgBytes = Buffer.alloc(4);
    orgBytes.writeUInt32LE(org);
    return rawDigest("npayload/asp/lot/1\n", log, secret, dispute, orgBytes, agent === "" ? "" : littleEndian(agent)).toString("hex");
  };
  const least = new Map<number, { readonly lot: string; readonly party: PartyId }>();
  for (const party of candidates) {
    const drawn = lot(party.org, party.agent);
    const known = least.get(party.org);
    if (known === undefined || drawn < known.lot) least.set(party.org, { lot: drawn, party });
  }
  const order = [...least.values()].map(({ party }) => ({ lot: lot(party.org, ""), party }));
  return order.sort((a, b) => (a.lot < b.lot ? -1 : 1)).map(({ party }) => party);
}

/** The UUID of an id as a number of 16 bytes, the least first. */
function littleEndian(id: string): Buffer {
  return Buffer.from(id.slice(id.indexOf("_") + 1).replaceAll("-", ""), "hex").reverse();
}
