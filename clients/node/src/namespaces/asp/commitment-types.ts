import { type OffsetCodec, type OffsetType } from "../../offset.js";
import { type EvidencePlace, type Party, placesOf } from "./evidence.js";
import type { Instant } from "./instant.js";

/**
 * Where a commitment stands.
 *
 * @example
 * ```ts
 * const broken: CommitmentState[] = ["breached", "resolved"];
 * ```
 */
export type CommitmentState =
  | "proposed"
  | "withdrawn"
  | "rejected"
  | "expired"
  | "active"
  | "delivered"
  | "fulfilled"
  | "breached"
  | "disputed"
  | "resolved";

/**
 * One thing that is to be done.
 *
 * @example
 * ```ts
 * const obligation: Obligation = { party: "research-agent", action: "survey.deliver", verificationMethod: "review" };
 * ```
 */
export interface Obligation<T extends Instant = number> {
  /** By whom, in the words of the parties. */
  readonly party: string;
  readonly action: string;
  /** Not behind the commitment's own deadline, which alone is judged. */
  readonly deadline?: T | undefined;
  /** How it is found out whether it was done. */
  readonly verificationMethod?: string | undefined;
}

/**
 * What it costs not to keep a promise, in percent of its escrow: 0 to 100, with at most two digits behind the point.
 *
 * @example
 * ```ts
 * const penalties: Penalties = { lateFulfillmentPercentPerDay: 2.5, nonDeliveryPercent: 100 };
 * ```
 */
export interface Penalties {
  /** For each day that has begun behind the deadline until a late delivery; with it, what is left stays held for one. */
  readonly lateFulfillmentPercentPerDay?: number | undefined;
  /** For no delivery at all; all of it unless given. */
  readonly nonDeliveryPercent?: number | undefined;
}

/**
 * Money, in whole units of the smallest that the currency has: 250.00 EUR is 25,000.
 *
 * @example
 * ```ts
 * const price: Money = { amount: 25_000, currency: "EUR" };
 * ```
 */
export interface Money {
  readonly amount: number;
  /** Three capital letters. */
  readonly currency: string;
}

/**
 * What was delivered.
 *
 * @example
 * ```ts
 * const inTime = ({ delivery }: Commitment): boolean => delivery !== undefined && !delivery.late;
 * ```
 */
export interface Delivery<O extends OffsetType = number> {
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Whether the deadline had passed. */
  readonly late: boolean;
  readonly evidenceHash: string;
  /** Of the record, on the topic of commitments. */
  readonly offset: O;
  /** Not in lists, as `references`. */
  readonly evidence?: unknown;
  readonly references?: readonly EvidencePlace<O>[];
}

/**
 * A promise of an agent.
 *
 * @example
 * ```ts
 * const isKept = ({ state }: Commitment): boolean => state === "fulfilled";
 * ```
 */
export interface Commitment<O extends OffsetType = number> {
  /** `cmt_` and a UUID. */
  readonly id: string;
  readonly sessionId: string;
  /** Organisation of the session. */
  readonly org: string;
  readonly state: CommitmentState;
  /** Whether nothing can happen to it any more. */
  readonly closed: boolean;
  /** Given by one alone, or offered by one and accepted by another. */
  readonly mode: "oneSided" | "agreed";
  /** Who promises. */
  readonly obligor: Party;
  /** To whom; missing where it is to the session. */
  readonly counterparty?: Party;
  /** Who judges a delivery. */
  readonly judge: "counterparty" | "coordinator" | "participant" | "nobody";
  readonly description: string;
  /** Milliseconds since 1970, as all times of it. */
  readonly deadline: number;
  readonly obligations: readonly Obligation[];
  readonly penalties?: Penalties;
  readonly escrow?: Money;
  /** How bad it is not to keep it: 1 to 5. */
  readonly severity: number;
  /** The application's own. */
  readonly terms?: unknown;
  /** Over all that is promised. */
  readonly termsHash: string;
  /** Time for judging a delivery; then silence confirms it. */
  readonly windowMs: number;
  readonly windowUntil?: number;
  /** Until when a breach can be disputed and delivered late. */
  readonly claimsUntil?: number;
  /** The message that offered it. */
  readonly messageId?: string;
  readonly createdAt: number;
  readonly acceptedAt?: number;
  readonly delivery?: Delivery<O>;
  /** How it ended, before any ruling. */
  readonly ended?: { readonly at: number; readonly confirmation?: "explicit" | "silent" | "unjudged"; readonly party?: Party };
  /** The weightiest ruling against it. */
  readonly ruled?: {
    readonly at: number;
    readonly disputeId: string;
    readonly mechanism: "automated" | "peer" | "human";
    readonly severity: number;
    readonly verdict: "upheld" | "partial" | "dismissed";
  };
  /** Of the records about it and its disputes, on the topic of commitments of `org`. */
  readonly offsets: readonly O[];
}

/** A commitment as the broker answers it. */
export type CommitmentRow = Omit<Commitment<OffsetType>, "obligations"> & { readonly obligations?: readonly Obligation[]; readonly by?: unknown };

/** A commitment out of the broker's row. */
export function commitmentOf<O extends OffsetType>({ by: _, delivery, ...row }: CommitmentRow, codec: OffsetCodec<O>): Commitment<O> {
  const offsets = row.offsets.map((offset) => codec.ofJson(offset, "offsets"));
  const commitment = { ...row, obligations: row.obligations ?? [], offsets };
  if (delivery === undefined) return commitment;
  const { references, ...rest } = delivery;
  return { ...commitment, delivery: { ...rest, offset: codec.ofJson(delivery.offset, "delivery.offset"), ...placesOf(references, codec) } };
}
