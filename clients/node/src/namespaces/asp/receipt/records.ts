/**
 * Records about a commitment and its disputes, as they stand on the topic, and what they make: the JSON of docs/asp.md, "Records
 * of commitments and disputes". What the records make has the very shape that `commitment.closed` has, so that the two compare.
 */

export interface PartyId {
  readonly agent: string;
  readonly org: number;
}

export type Voice = "obligor" | "judge" | "participant" | "clock";
export type State = "proposed" | "withdrawn" | "rejected" | "expired" | "active" | "delivered" | "fulfilled" | "breached" | "disputed" | "resolved";
export type DisputeState = "open" | "answered" | "underReview" | "resolved" | "withdrawn" | "expired";
export type Verdict = "dismissed" | "partial" | "upheld";
export type Mechanism = "automated" | "peer" | "human";

export interface RecordHead {
  readonly type: string;
  readonly v: number;
  readonly at: number;
}

export interface Promised {
  readonly counterparty?: PartyId;
  readonly deadline: number;
  readonly description: string;
  readonly obligor: PartyId;
  readonly session: string;
  readonly windowMs: number;
}

export interface Created {
  readonly at: number;
  readonly claimMs: number;
  readonly commitment: string;
  readonly judge: "counterparty" | "coordinator" | "participant" | "nobody";
  /** The message that offered it, and the offset of its record on the topic of sessions. */
  readonly message?: string;
  readonly messageOffset?: number;
  readonly mode: "agreed" | "oneSided";
  readonly promise: Promised;
  /** Whether that message is signed. */
  readonly signed?: boolean;
  readonly termsHash: string;
}

export interface Delivered {
  readonly at: number;
  readonly evidence: object;
  readonly evidenceHash: string;
}

export interface Stepped {
  readonly at: number;
  readonly by?: number;
  readonly message?: string;
  readonly messageOffset?: number;
  readonly party?: PartyId;
  readonly role: Voice;
  readonly shortenedTo?: number;
}

export interface Commitment {
  accepted?: number;
  closed?: true;
  counterparty?: PartyId;
  readonly created: Created;
  delivery?: { at: number; evidenceHash: string; late: boolean; offset: number };
  disputed?: { at: number; delivered: boolean; open: number; state: State };
  ended?: { at: number; confirmation?: "explicit" | "silent" | "unjudged"; party?: PartyId };
  judge: Created["judge"];
  readonly offsets: number[];
  ruled?: { at: number; dispute: string; mechanism: Mechanism; severity: number; verdict: Verdict };
  state: State;
  windowMs: number;
  windowUntil?: number;
}

export interface Filed {
  readonly against: PartyId;
  readonly answerMs: number;
  readonly arbitrationMs: number;
  readonly at: number;
  readonly ballotMs: number;
  readonly commitment: string;
  readonly dispute: string;
  readonly filer: PartyId;
  readonly logHash: string;
  readonly role: Voice;
  readonly seal: string;
}

export interface Seat {
  readonly party: PartyId;
  replaced?: true;
  readonly since: number;
  vote?: { at: number; reason: string; severity: number; verdict: Verdict };
}

export interface Dispute {
  answer?: { at: number; evidence: object; reason: string };
  arbitration?: { readonly candidates: readonly PartyId[]; readonly order: readonly PartyId[]; readonly seats: Seat[] };
  ended?: number;
  readonly filed: Filed;
  mechanism?: Mechanism;
  readonly offsets: number[];
  ruling?: { at: number; mechanism: Mechanism; reason: string; severity: number; verdict: Verdict };
  since: number;
  state: DisputeState;
}

/** What follows from a record that is about a dispute that is there. */
export interface DisputeEvent {
  readonly agent?: string;
  readonly at: number;
  readonly by?: number;
  readonly candidates?: readonly PartyId[];
  readonly dispute: string;
  readonly evidence?: object;
  readonly finding?: Verdict;
  readonly mechanism?: Mechanism;
  readonly order?: readonly PartyId[];
  readonly party?: PartyId;
  readonly reason?: string;
  readonly secret?: string;
  readonly severity?: number;
}

/** A record that cannot follow those before it. */
export class Rule extends Error {}

export function must(holds: unknown, otherwise: string): asserts holds {
  if (!holds) throw new Rule(otherwise);
}

export const NOT_ALLOWED = "the transition table does not allow it";
export const LATE = "a deadline that had passed is not recorded before it";
export const NOT_DUE = "its time is not over";

export function isSame(a: PartyId | undefined, b: PartyId | undefined): boolean {
  return a?.agent === b?.agent && a?.org === b?.org;
}
