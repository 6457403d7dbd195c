import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import type { Paged } from "../../paging.js";
import { type Context, ONCE } from "../context.js";
import { type CopiedPage, Copies, type FromCopies, type FromCopy, type InAnyRegion, type InRegion, type Where } from "./copies.js";
import type { Party } from "./evidence.js";
import type { AgentRequest } from "./registry.js";

/**
 * How far an agent is trusted, to some.
 *
 * @example
 * ```ts
 * const inside: ScopedTrust = trust.internal;
 * ```
 */
export interface ScopedTrust {
  /** 0 to 1: what is likely to be reached at least. */
  readonly score: number;
  /** What is likely; null without evidence. */
  readonly mean: number | null;
  /** 0 to 1: how much evidence there is. */
  readonly confidence: number;
}

/**
 * How far an agent is trusted, as the broker computes it from what it saw.
 *
 * @example
 * ```ts
 * const isProven = ({ score, evidenceCount }: TrustScore): boolean => score >= 0.8 && evidenceCount >= 10;
 * ```
 */
export interface TrustScore extends ScopedTrust {
  /** `agt_` and a UUID. */
  readonly agentId: string;
  readonly name: string;
  readonly org: string;
  /** Name and version of the way in which it is computed: `trust/1`. */
  readonly projection: string;
  /** For whom `score`, `mean` and `confidence` are: `internal` for askers of the agent's own organisation. Both are beside it. */
  readonly scope: "internal" | "external";
  readonly level: "L0" | "L1" | "L2" | "L3" | "L4";
  readonly internal: ScopedTrust;
  readonly external: ScopedTrust;
  /** Tasks answered and promises kept, of all, 0 to 1; null without any. */
  readonly completionRate: number | null;
  /** Milliseconds from a task to the first reply; null without any. */
  readonly averageResponseTime: number | null;
  /** Disputes upheld for each promise, 0 to 1; null without any. */
  readonly disputeRate: number | null;
  /** 0 to 100 each. */
  readonly components: {
    readonly identityVerification: number;
    readonly communicationHistory: number;
    readonly commitmentFulfillment: number;
    readonly behavioralConsistency: number;
    readonly responseQuality: number;
    readonly securityPosture: number;
    readonly economicReliability: number;
    readonly peerEndorsements: number;
  };
  /** Weighted sum of the components. */
  readonly composite: number;
  readonly evidenceCount: number;
  /** Organisations that it worked for. */
  readonly distinctCounterparties: number;
  /** Time of the last clock record that counts: milliseconds since 1970. */
  readonly asOf: number;
}

/**
 * What the evidence of one organisation comes to.
 *
 * @example
 * ```ts
 * const ignored = pairs.filter(({ credibility }: TrustPair) => credibility === 0);
 * ```
 */
export interface TrustPair {
  readonly org: string;
  /** 0 to 1: how far its evidence counts. */
  readonly credibility: number;
  /** Pieces of evidence of full weight, as `counted` and `bad`. */
  readonly good: number;
  /** What of `good` is left once mutual custom is discounted. */
  readonly counted: number;
  readonly bad: number;
}

/**
 * What stands out about an agent: organisations that trade with each other alone, ones whose opinion lies apart, and ones that
 * file unfounded disputes. A newer broker may remark more.
 *
 * @example
 * ```ts
 * const rings = remarks.filter(({ remark }: TrustRemark) => remark === "ring");
 * ```
 */
export type TrustRemark =
  | { readonly remark: "ring"; readonly orgs: readonly string[] }
  | { readonly remark: "outlier"; readonly org: string }
  | { readonly remark: "unfoundedDisputes"; readonly org: string; readonly candour: number };

/**
 * A record that counts for or against an agent.
 *
 * @example
 * ```ts
 * const show = ({ offset, record }: TrustEvidence): string => `${offset} ${record.type}`;
 * ```
 */
export interface TrustEvidence<O extends OffsetType = number> {
  /** Of the record, on the topic of evidence. */
  readonly offset: O;
  readonly record: Readonly<Record<string, unknown>> & { readonly type: string; readonly at: number };
}

/**
 * Somebody that endorses an agent. Endorsements make no score, but one of its components.
 *
 * @example
 * ```ts
 * const weight = (endorsers: readonly Endorser[]): number => endorsers.reduce((sum, { counted }) => sum + counted, 0);
 * ```
 */
export interface Endorser {
  readonly agentId: string;
  readonly org: string;
  /** Its score for other organisations when it endorsed, 0 to 1. */
  readonly score: number;
  /** What of that counts: a quarter of an organisation's further ones, and of the agent's own. */
  readonly counted: number;
}

/**
 * Why an agent is trusted so far.
 *
 * @example
 * ```ts
 * const { trust, pairs, remarks }: TrustExplanation = await np.asp.trust.explain({ agentId: "research-agent" });
 * ```
 */
export interface TrustExplanation<O extends OffsetType = number> {
  readonly trust: TrustScore;
  readonly pairs: readonly TrustPair[];
  readonly remarks: readonly TrustRemark[];
  /** The weightiest first. */
  readonly endorsements: readonly Endorser[];
  /** The latest, newest first; {@link Trust.evidence} has all of it. */
  readonly evidence: readonly TrustEvidence<O>[];
}

/**
 * Whose trust to explain, and with how much evidence.
 *
 * @example
 * ```ts
 * const request: ExplainTrustRequest = { agentId: "research-agent", limit: 10 };
 * ```
 */
export interface ExplainTrustRequest {
  readonly agentId: string;
  /** Records of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

/**
 * A rating of an agent by one that has worked with it.
 *
 * @example
 * ```ts
 * const request: RateAgentRequest = { sessionId: session.id, agentId: "research-agent", from: "coordinator-agent", rating: 0.9 };
 * ```
 */
export interface RateAgentRequest {
  readonly sessionId: string;
  /** Who is rated. */
  readonly agentId: string;
  /** Who rates. */
  readonly from: string;
  /** 0 to 1, in steps of a thousandth. */
  readonly rating: number;
}

/**
 * A rating that was taken.
 *
 * @example
 * ```ts
 * const { at }: AgentRating = await np.asp.trust.rate({ sessionId: session.id, agentId: "writer", from: "lead", rating: 1 });
 * ```
 */
export interface AgentRating<O extends OffsetType = number> {
  readonly sessionId: string;
  readonly agent: Party;
  readonly from: Party;
  readonly rating: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Of the record, on the topic of evidence. */
  readonly offset: O;
}

/**
 * An endorsement of an agent by another one, or that it is taken back.
 *
 * @example
 * ```ts
 * const request: EndorseAgentRequest = { agentId: "research-agent", from: "coordinator-agent" };
 * ```
 */
export interface EndorseAgentRequest {
  /** Who is endorsed. */
  readonly agentId: string;
  /** Who endorses; it needs a score of 0.30 for other organisations. */
  readonly from: string;
  /** Whether it is taken back. */
  readonly withdrawn?: boolean | undefined;
}

/**
 * An endorsement that was taken in.
 *
 * @example
 * ```ts
 * const { score }: Endorsement = await np.asp.trust.endorse({ agentId: "research-agent", from: "coordinator-agent" });
 * ```
 */
export interface Endorsement<O extends OffsetType = number> {
  readonly agent: Party;
  readonly from: Party;
  readonly withdrawn: boolean;
  /** The endorser's score for other organisations, which the endorsement keeps; missing where it is taken back. */
  readonly score?: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Of the record, on the topic of evidence. */
  readonly offset: O;
}

type EvidenceRow = TrustEvidence<OffsetType>;
type Explained = Omit<TrustExplanation, "evidence"> & { readonly evidence: readonly EvidenceRow[]; readonly cursor?: string };

/**
 * How far agents are trusted: computed from what the broker saw of how they keep their word, and never from what they say of
 * themselves.
 *
 * @example
 * ```ts
 * const trust = await np.asp.trust.getScore({ agentId: "research-agent" });
 * if (trust.score < 0.8) console.warn("a human looks at what it delivers");
 * ```
 */
export class Trust<O extends OffsetType = number> {
  private readonly copies: Copies<O>;

  /** @internal */
  constructor(private readonly context: Context<O>) {
    this.copies = new Copies(context);
  }

  /**
   * How far an agent is trusted. Without evidence the score is 0 and the rates are null. With `region` or `anyRegion` by the
   * evidence of what it did there, and up to when that is known here.
   *
   * @throws AgentNotFoundError
   *
   * @example
   * ```ts
   * const { score, completionRate, averageResponseTime, disputeRate } = await np.asp.trust.getScore({ agentId: "research-agent" });
   * const { answer, asOf } = await np.asp.trust.getScore({ agentId: "research-agent", region: "us-east" });
   * ```
   */
  getScore(request: AgentRequest & InRegion, options?: CallOptions): Promise<FromCopy<TrustScore, O>>;
  getScore(request: AgentRequest & InAnyRegion, options?: CallOptions): Promise<FromCopies<TrustScore, O>>;
  getScore(request: AgentRequest, options?: CallOptions): Promise<TrustScore>;
  getScore({ agentId, ...where }: AgentRequest & Where, options?: CallOptions): Promise<TrustScore | FromCopy<TrustScore, O> | FromCopies<TrustScore, O>> {
    return this.copies.ask(where, { kind: "trust.score", body: { agentId }, of: (row: TrustScore) => row }, options);
  }

  /**
   * Why an agent is trusted so far: what the evidence of each organisation comes to, what stands out, and the latest evidence.
   *
   * @example
   * ```ts
   * const { trust, remarks, evidence } = await np.asp.trust.explain({ agentId: "research-agent", limit: 10 });
   * for (const { offset, record } of evidence) console.log(offset, record.type);
   * ```
   */
  explain(request: ExplainTrustRequest & InRegion, options?: CallOptions): Promise<FromCopy<TrustExplanation<O>, O>>;
  explain(request: ExplainTrustRequest & InAnyRegion, options?: CallOptions): Promise<FromCopies<TrustExplanation<O>, O>>;
  explain(request: ExplainTrustRequest, options?: CallOptions): Promise<TrustExplanation<O>>;
  explain(
    { region, anyRegion, ...request }: ExplainTrustRequest & Where,
    options?: CallOptions,
  ): Promise<TrustExplanation<O> | FromCopy<TrustExplanation<O>, O> | FromCopies<TrustExplanation<O>, O>> {
    const of = ({ trust, pairs, remarks, endorsements, evidence }: Explained): TrustExplanation<O> => ({ trust, pairs, remarks, endorsements, evidence: this.records(evidence) });
    return this.copies.ask({ region, anyRegion }, { kind: "trust.explain", body: request, of }, options);
  }

  /**
   * All evidence about an agent, newest first: the first page when awaited, all with `for await`. With `region` that of what
   * it did there, each page with up to when it is known here; with `anyRegion` such a list for each region.
   *
   * @example
   * ```ts
   * for await (const { offset, record } of np.asp.trust.evidence({ agentId: "research-agent" })) console.log(offset, record.type);
   * ```
   */
  evidence(request: ExplainTrustRequest & InRegion, options?: CallOptions): Paged<TrustEvidence<O>, CopiedPage<TrustEvidence<O>, O>>;
  evidence(request: ExplainTrustRequest & InAnyRegion, options?: CallOptions): Promise<FromCopies<Paged<TrustEvidence<O>, CopiedPage<TrustEvidence<O>, O>>, O>>;
  evidence(request: ExplainTrustRequest, options?: CallOptions): Paged<TrustEvidence<O>>;
  evidence(
    { region, anyRegion, ...request }: ExplainTrustRequest & Where,
    options?: CallOptions,
  ): Paged<TrustEvidence<O>> | Promise<FromCopies<Paged<TrustEvidence<O>, CopiedPage<TrustEvidence<O>, O>>, O>> {
    const of = ({ evidence }: Explained): TrustEvidence<O>[] => this.records(evidence);
    return this.copies.list({ region, anyRegion }, { kind: "trust.explain", body: request, of }, options);
  }

  /**
   * Rates an agent for what it did in a session, for another one that has worked with it there. A later rating of the same
   * two in the same session replaces the earlier one. Not sent again after a lost connection.
   *
   * @throws NotCounterpartyError where the two have not worked with each other in the session.
   *
   * @example
   * ```ts
   * await np.asp.trust.rate({ sessionId: session.id, agentId: "research-agent", from: "coordinator-agent", rating: 0.9 });
   * ```
   */
  async rate(request: RateAgentRequest, options?: CallOptions): Promise<AgentRating<O>> {
    const row = await this.context.requester.json<AgentRating<OffsetType>>("trust.rate", request, options, ONCE);
    return { ...row, offset: this.context.offsets.ofJson(row.offset, "offset") };
  }

  /**
   * Endorses an agent for another one, or takes that back. At most 50 count. Not sent again after a lost connection.
   *
   * @throws EndorserNotTrustedError where the endorser's own score, for other organisations, is below 0.30.
   *
   * @example
   * ```ts
   * await np.asp.trust.endorse({ agentId: "agent://acme/writer", from: "coordinator-agent" });
   * ```
   */
  async endorse(request: EndorseAgentRequest, options?: CallOptions): Promise<Endorsement<O>> {
    const row = await this.context.requester.json<Endorsement<OffsetType>>("trust.endorse", request, options, ONCE);
    return { ...row, offset: this.context.offsets.ofJson(row.offset, "offset") };
  }

  private records(rows: readonly EvidenceRow[]): TrustEvidence<O>[] {
    return rows.map(({ offset, record }) => ({ offset: this.context.offsets.ofJson(offset, "offset"), record }));
  }
}
