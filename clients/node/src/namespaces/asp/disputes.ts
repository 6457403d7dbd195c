import type { OffsetCodec, OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { Page, Paged } from "../../paging.js";
import { type Context, ONCE, SAFE } from "../context.js";
import { type Evidence, type EvidencePlace, type Party, placesOf, wirePlaces } from "./evidence.js";
import { underId, uuidBeside } from "./ids.js";

/**
 * Where a dispute stands.
 *
 * @example
 * ```ts
 * const undecided: DisputeState[] = ["open", "answered", "underReview"];
 * ```
 */
export type DisputeState = "open" | "answered" | "underReview" | "resolved" | "withdrawn" | "expired";

/**
 * What went wrong.
 *
 * @example
 * ```ts
 * const type: DisputeType = "specificationMismatch";
 * ```
 */
export type DisputeType = "timeoutBreach" | "specificationMismatch" | "nonDelivery" | "escrowViolation" | "unauthorizedModification";

/**
 * What is held of a dispute: that it is right, right in part, or not.
 *
 * @example
 * ```ts
 * const verdict: Verdict = "partial";
 * ```
 */
export type Verdict = "upheld" | "partial" | "dismissed";

/**
 * Who has a seat in judging a dispute.
 *
 * @example
 * ```ts
 * const silent = ({ vote, replaced }: Arbitrator): boolean => vote === undefined && !replaced;
 * ```
 */
export interface Arbitrator extends Party {
  /** Milliseconds since 1970. */
  readonly since: number;
  /** Whether it was silent for too long and another one has its seat. */
  readonly replaced: boolean;
  readonly vote?: { readonly at: number; readonly verdict: Verdict; readonly severity: number; readonly reason: string };
}

/**
 * That a promise was not kept, as somebody says.
 *
 * @example
 * ```ts
 * const isRight = ({ ruling }: Dispute): boolean => ruling?.verdict === "upheld";
 * ```
 */
export interface Dispute<O extends OffsetType = number> {
  /** `dsp_` and a UUID. */
  readonly id: string;
  readonly commitmentId: string;
  readonly sessionId: string;
  /** Organisation of the session. */
  readonly org: string;
  readonly state: DisputeState;
  readonly type: DisputeType;
  /** 1 to 5. */
  readonly severity: number;
  readonly filedBy: Party;
  readonly filedAgainst: Party;
  readonly reason: string;
  /** Not in lists, as `references`. */
  readonly evidence?: unknown;
  readonly references?: readonly EvidencePlace<O>[];
  /** Milliseconds since 1970, as all times of it. */
  readonly filedAt: number;
  /** When the clock goes on with it. */
  readonly dueAt?: number;
  /** What the obligor answered. */
  readonly answer?: { readonly at: number; readonly reason: string; readonly evidence?: unknown; readonly references?: readonly EvidencePlace<O>[] };
  /** Who decides: the log alone, arbitrators, or an operator. */
  readonly mechanism?: "automated" | "peer" | "human";
  readonly arbitrators?: readonly Arbitrator[];
  readonly ruling?: {
    readonly at: number;
    readonly verdict: Verdict;
    readonly severity: number;
    readonly mechanism: "automated" | "peer" | "human";
    readonly reason: string;
  };
  readonly endedAt?: number;
  /** Hash of the session's last record when it was filed. */
  readonly logHash: string;
  /** Digest of the secret that arbitrators are drawn with. */
  readonly seal: string;
  /** Of the records about it, on the topic of commitments of `org`. */
  readonly offsets: readonly O[];
}

/**
 * A dispute to be filed.
 *
 * @example
 * ```ts
 * const request: CreateDisputeRequest = {
 *   commitmentId: commitment.id,
 *   reason: "Analysis was not delivered by the deadline",
 *   evidence: { missedDeadline: true },
 * };
 * ```
 */
export interface CreateDisputeRequest extends Evidence {
  readonly commitmentId: string;
  /** Who files it: the coordinator, else a participant but the obligor, that the key speaks for, unless given. */
  readonly agentId?: string | undefined;
  readonly reason: string;
  /** As the log shows unless given. */
  readonly type?: DisputeType | undefined;
  /** 1 to 5; as the type says unless given. */
  readonly severity?: number | undefined;
  /** Milliseconds to answer it, one hour to 90 days; 72 hours unless given. */
  readonly answerMs?: number | undefined;
  /** Milliseconds for arbitrators to decide it, one hour to 90 days; 7 days unless given. */
  readonly arbitrationMs?: number | undefined;
  /** `dsp_` and a UUID of version 7; made unless given. The same id with the same content is filed once. */
  readonly id?: string | undefined;
}

/**
 * What the obligor answers.
 *
 * @example
 * ```ts
 * const request: AnswerDisputeRequest = { disputeId: dispute.id, reason: "It was, see the session" };
 * ```
 */
export interface AnswerDisputeRequest extends Evidence {
  readonly disputeId: string;
  readonly reason: string;
}

/**
 * An arbitrator's vote.
 *
 * @example
 * ```ts
 * const request: VoteDisputeRequest = { disputeId: dispute.id, agentId: "judge", verdict: "partial", severity: 2, reason: "Half of it" };
 * ```
 */
export interface VoteDisputeRequest {
  readonly disputeId: string;
  /** The arbitrator. */
  readonly agentId: string;
  readonly verdict: Verdict;
  /** 1 to 5; the dispute's unless given. */
  readonly severity?: number | undefined;
  readonly reason?: string | undefined;
}

/**
 * An operator's ruling.
 *
 * @example
 * ```ts
 * const request: RuleDisputeRequest = { disputeId: dispute.id, verdict: "upheld", reason: "Nothing was delivered" };
 * ```
 */
export type RuleDisputeRequest = Omit<VoteDisputeRequest, "agentId" | "reason"> & { readonly reason: string };

/**
 * Names a dispute, and on whose behalf it is read.
 *
 * @example
 * ```ts
 * const request: DisputeRequest = { disputeId: dispute.id };
 * ```
 */
export interface DisputeRequest {
  readonly disputeId: string;
  /** The participant or arbitrator on whose behalf; needed in sessions of other organisations. */
  readonly agentId?: string | undefined;
}

/**
 * Which disputes to list.
 *
 * @example
 * ```ts
 * const request: ListDisputesRequest = { agentId: "research-agent", states: ["open", "answered"] };
 * ```
 */
export interface ListDisputesRequest {
  readonly commitmentId?: string | undefined;
  /** Those that this agent has a part in. */
  readonly agentId?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly states?: readonly DisputeState[] | undefined;
  /** Disputes of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

type DisputeRow = Dispute<OffsetType> & { readonly by?: unknown };

function disputeOf<O extends OffsetType>({ by: _, references, answer, ...row }: DisputeRow, codec: OffsetCodec<O>): Dispute<O> {
  const dispute = { ...row, ...placesOf(references, codec), offsets: row.offsets.map((offset) => codec.ofJson(offset, "offsets")) };
  if (answer === undefined) return dispute;
  const { references: answered, ...rest } = answer;
  return { ...dispute, answer: { ...rest, ...placesOf(answered, codec) } };
}

/**
 * Disputes about promises: filed, answered, and ruled by the log where it decides, else by arbitrators or an operator.
 *
 * @example
 * ```ts
 * const dispute = await np.asp.disputes.create({
 *   commitmentId: commitment.id,
 *   reason: "Analysis was not delivered by the deadline",
 *   evidence: { missedDeadline: true },
 * });
 * console.log(dispute.state, dispute.ruling?.verdict); // resolved upheld: the clock had seen it
 * ```
 */
export class Disputes<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Says that a promise was not kept. Where the log decides, the answer has the ruling. After a lost connection it is sent again
   * with the same id.
   *
   * @throws AlreadyDisputedError where the agent has disputed it before.
   * @throws IllegalStepError where it can't be disputed: while it is active, or once it is over.
   *
   * @example
   * ```ts
   * const { id, state } = await np.asp.disputes.create({
   *   commitmentId: commitment.id,
   *   type: "specificationMismatch",
   *   reason: "Two of three competitors are missing",
   *   references: [{ sessionId: session.id, sequence: 7 }],
   * });
   * ```
   */
  async create({ id: given, references, ...rest }: CreateDisputeRequest, options?: CallOptions): Promise<Dispute<O>> {
    const body = { ...rest, references: wirePlaces(references) };
    const fresh = (): string => `dsp_${uuidBeside(rest.commitmentId)}`;
    return underId(given, fresh, ["DISPUTE_ID_TAKEN"], (id) => this.one("dispute.create", { id, ...body }, options, SAFE));
  }

  /**
   * Answers a dispute, for who promised; once. Not sent again after a lost connection.
   *
   * @example
   * ```ts
   * await np.asp.disputes.answer({ disputeId: dispute.id, reason: "It was", references: [{ sessionId: session.id, sequence: 9 }] });
   * ```
   */
  async answer({ references, ...rest }: AnswerDisputeRequest, options?: CallOptions): Promise<Dispute<O>> {
    return this.one("dispute.answer", { ...rest, references: wirePlaces(references) }, options, ONCE);
  }

  /**
   * Takes a dispute back, for who filed it. Not sent again after a lost connection.
   *
   * @example
   * ```ts
   * await np.asp.disputes.withdraw({ disputeId: dispute.id });
   * ```
   */
  async withdraw({ disputeId }: { readonly disputeId: string }, options?: CallOptions): Promise<Dispute<O>> {
    return this.one("dispute.withdraw", { disputeId }, options, ONCE);
  }

  /**
   * Votes, for an arbitrator who has a seat; once. Two votes that agree rule. Not sent again after a lost connection.
   *
   * @throws AlreadyVotedError
   * @throws DisputeNotFoundError where the agent has no seat in it.
   *
   * @example
   * ```ts
   * await np.asp.disputes.vote({ disputeId: dispute.id, agentId: "judge", verdict: "dismissed", reason: "All three are in it" });
   * ```
   */
  async vote(request: VoteDisputeRequest, options?: CallOptions): Promise<Dispute<O>> {
    return this.one("dispute.rule", request, options, ONCE);
  }

  /**
   * Rules on a dispute that was escalated, for operators: a key of the default organisation with `accessAdmin`. Not sent again
   * after a lost connection.
   *
   * @throws OtherMechanismError where it is for others to decide.
   *
   * @example
   * ```ts
   * await np.asp.disputes.rule({ disputeId: dispute.id, verdict: "upheld", severity: 2, reason: "Nothing of it is usable" });
   * ```
   */
  async rule(request: RuleDisputeRequest, options?: CallOptions): Promise<Dispute<O>> {
    return this.one("dispute.rule", request, options, ONCE);
  }

  /**
   * One dispute.
   *
   * @throws DisputeNotFoundError
   *
   * @example
   * ```ts
   * const { state, dueAt, ruling } = await np.asp.disputes.get({ disputeId: dispute.id });
   * ```
   */
  async get(request: DisputeRequest, options?: CallOptions): Promise<Dispute<O>> {
    return this.one("dispute.info", request, options, SAFE);
  }

  /**
   * Disputes: those that are not decided, newest first, then the others, latest end first. The first page when awaited, all with
   * `for await`.
   *
   * @example
   * ```ts
   * for await (const { id, type, state } of np.asp.disputes.list({ sessionId: session.id })) console.log(id, type, state);
   * ```
   */
  list(request: ListDisputesRequest = {}, options?: CallOptions): Paged<Dispute<O>> {
    return new Paged(async (cursor) => {
      type Answer = { disputes: DisputeRow[]; cursor?: string };
      const answer = await this.context.requester.json<Answer>("dispute.list", { ...request, cursor }, options, SAFE);
      return new Page(answer.disputes.map((row) => disputeOf(row, this.context.offsets)), answer.cursor);
    });
  }

  private async one(kind: string, body: object, options: CallOptions | undefined, retrying: typeof SAFE | typeof ONCE): Promise<Dispute<O>> {
    return disputeOf(await this.context.requester.json<DisputeRow>(kind, body, options, retrying), this.context.offsets);
  }
}
