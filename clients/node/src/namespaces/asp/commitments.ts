import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { Page, Paged } from "../../paging.js";
import { type Context, ONCE, SAFE } from "../context.js";
import { type Commitment, type CommitmentRow, type CommitmentState, commitmentOf, type Money, type Obligation, type Penalties } from "./commitment-types.js";
import { type Evidence, wirePlaces } from "./evidence.js";
import { underId, uuidBeside } from "./ids.js";
import { type Instant, millisecondsOf } from "./instant.js";
import { Receipt, type ReceiptContent } from "./receipt.js";

/**
 * A promise to be made.
 *
 * @example
 * ```ts
 * const request: CreateCommitmentRequest = {
 *   sessionId: session.id,
 *   agentId: "research-agent",
 *   description: "Deliver competitor pricing analysis",
 *   deadline: "2027-03-15T00:00:00Z",
 *   escrow: { amount: 25_000, currency: "EUR" },
 * };
 * ```
 */
export interface CreateCommitmentRequest {
  /** In which it is made. */
  readonly sessionId: string;
  /** Who promises: an id, a name, or `agent://ORG/NAME`. */
  readonly agentId: string;
  /** To whom; to the session unless given. */
  readonly counterparty?: string | undefined;
  readonly description: string;
  /** Until when. One that has passed is taken as given, and the promise is broken at once. */
  readonly deadline: Instant;
  /** At most 32 things, one by one. */
  readonly obligations?: readonly Obligation<Instant>[] | undefined;
  readonly penalties?: Penalties | undefined;
  /** Held from the account of who promises until it is kept. */
  readonly escrow?: Money | undefined;
  /** How bad it is not to keep it: 1, unless given, to 5. */
  readonly severity?: number | undefined;
  /** The application's own: any JSON value, at most 65,536 bytes in canonical form. */
  readonly terms?: unknown;
  /** Time for judging a delivery; 24 hours unless given, 30 days at most. */
  readonly windowMs?: number | undefined;
  /** `cmt_` and a UUID of version 7; made unless given. The same id with the same content is promised once. */
  readonly id?: string | undefined;
}

/**
 * What is delivered.
 *
 * @example
 * ```ts
 * const request: DeliverCommitmentRequest = { commitmentId: commitment.id, evidence: { pages: 12 } };
 * ```
 */
export interface DeliverCommitmentRequest extends Evidence {
  readonly commitmentId: string;
}

/**
 * Names a commitment, and who asks or acts.
 *
 * @example
 * ```ts
 * const request: CommitmentRequest = { commitmentId: commitment.id, agentId: "coordinator-agent" };
 * ```
 */
export interface CommitmentRequest {
  readonly commitmentId: string;
  /**
   * Who confirms or shortens: the one who judges that the key speaks for, unless given. Of what is read: on whose behalf, needed
   * in sessions of other organisations.
   */
  readonly agentId?: string | undefined;
}

/**
 * Which commitments to list.
 *
 * @example
 * ```ts
 * const request: ListCommitmentsRequest = { agentId: "research-agent", states: ["active", "delivered"] };
 * ```
 */
export interface ListCommitmentsRequest {
  /** Those of this agent. */
  readonly agentId?: string | undefined;
  /** On which side it is; `obligor` unless given. */
  readonly side?: "obligor" | "counterparty" | undefined;
  readonly sessionId?: string | undefined;
  readonly states?: readonly CommitmentState[] | undefined;
  /** Commitments of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

/**
 * Promises of agents, whose deadlines the broker's clock judges.
 *
 * @example
 * ```ts
 * const commitment = await np.asp.commitments.create({
 *   sessionId: session.id,
 *   agentId: "research-agent",
 *   description: "Deliver competitor pricing analysis",
 *   deadline: "2027-03-15T00:00:00Z",
 * });
 * await np.asp.commitments.deliver({ commitmentId: commitment.id, evidence: { pages: 12 } });
 * await np.asp.commitments.confirm({ commitmentId: commitment.id });
 * ```
 */
export class Commitments<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Promises something. It binds at once; after a lost connection it is sent again with the same id. An id that is made for it and
   * that somebody else has used is replaced by another one. What two are to agree on is
   * offered and accepted in the session instead, with COMMIT and ACCEPT.
   *
   * @throws InsufficientFundsError where the escrow is more than the account has.
   * @throws AboveCeilingError where it is more than the trust in the agent allows.
   *
   * @example
   * ```ts
   * const { id, state } = await np.asp.commitments.create({
   *   sessionId: session.id,
   *   agentId: "research-agent",
   *   description: "A survey of log brokers",
   *   deadline: new Date(Date.now() + 3_600_000),
   *   windowMs: 60_000,
   * });
   * ```
   */
  async create(request: CreateCommitmentRequest, options?: CallOptions): Promise<Commitment<O>> {
    const { id: given, deadline, obligations, ...rest } = request;
    const body = {
      ...rest,
      deadline: millisecondsOf(deadline, "deadline"),
      obligations: obligations?.map((one) => (one.deadline === undefined ? one : { ...one, deadline: millisecondsOf(one.deadline, "obligations.deadline") })),
    };
    const fresh = (): string => `cmt_${uuidBeside(request.sessionId)}`;
    return underId(given, fresh, ["COMMITMENT_ID_TAKEN"], (id) => this.one("commitment.create", { id, ...body }, options, SAFE));
  }

  /**
   * Says that what was promised is delivered, which it is once. It is not sent again after a lost connection: `get` tells
   * whether it was.
   *
   * @throws AlreadyDeliveredError
   *
   * @example
   * ```ts
   * await np.asp.commitments.deliver({
   *   commitmentId: commitment.id,
   *   evidence: { summary: "One competitor lowered its price." },
   *   references: [{ sessionId: session.id, sequence: 7 }],
   * });
   * ```
   */
  async deliver({ references, ...rest }: DeliverCommitmentRequest, options?: CallOptions): Promise<Commitment<O>> {
    return this.one("commitment.deliver", { ...rest, references: wirePlaces(references) }, options, ONCE);
  }

  /**
   * Says that a delivery is what was promised, for who judges it. Not sent again after a lost connection.
   *
   * @throws IllegalStepError where it was not delivered, or not for this agent to judge.
   *
   * @example
   * ```ts
   * const { state } = await np.asp.commitments.confirm({ commitmentId: commitment.id, agentId: "coordinator-agent" });
   * ```
   */
  async confirm(request: CommitmentRequest, options?: CallOptions): Promise<Commitment<O>> {
    return this.one("commitment.confirm", request, options, ONCE);
  }

  /**
   * Makes the time for judging a delivery shorter, for who judges it. Not sent again after a lost connection.
   *
   * @example
   * ```ts
   * const { windowUntil } = await np.asp.commitments.shorten({ commitmentId: commitment.id, windowMs: 60_000 });
   * ```
   */
  async shorten(request: CommitmentRequest & { readonly windowMs: number }, options?: CallOptions): Promise<Commitment<O>> {
    return this.one("commitment.window", request, options, ONCE);
  }

  /**
   * One commitment, with what was delivered.
   *
   * @throws CommitmentNotFoundError
   *
   * @example
   * ```ts
   * const { state, delivery, ruled } = await np.asp.commitments.get({ commitmentId: commitment.id });
   * ```
   */
  async get(request: CommitmentRequest, options?: CallOptions): Promise<Commitment<O>> {
    return this.one("commitment.info", request, options, SAFE);
  }

  /**
   * Commitments: those that are not closed, newest first, then the others, latest end first. The first page when awaited, all
   * with `for await`.
   *
   * @example
   * ```ts
   * for await (const { id, state, deadline } of np.asp.commitments.list({ agentId: "research-agent" })) {
   *   console.log(id, state, new Date(deadline).toISOString());
   * }
   * ```
   */
  list(request: ListCommitmentsRequest = {}, options?: CallOptions): Paged<Commitment<O>> {
    return new Paged(async (cursor) => {
      type Answer = { commitments: CommitmentRow[]; cursor?: string };
      const answer = await this.context.requester.json<Answer>("commitment.list", { ...request, cursor }, options, SAFE);
      return new Page(answer.commitments.map((row) => commitmentOf(row, this.context.offsets)), answer.cursor);
    });
  }

  /**
   * A receipt: every record about the commitment, to be kept, and verified without a broker.
   *
   * @example
   * ```ts
   * const receipt = await np.asp.commitments.receipt({ commitmentId: commitment.id });
   * await writeFile("receipt.json", receipt.text);
   * const { state, promise } = receipt.verify();
   * ```
   */
  async receipt(request: CommitmentRequest, options?: CallOptions): Promise<Receipt> {
    const { receipt } = await this.context.requester.json<{ receipt: ReceiptContent }>("commitment.receipt", request, options, SAFE);
    return Receipt.of(receipt);
  }

  private async one(kind: string, body: object, options: CallOptions | undefined, retrying: typeof SAFE | typeof ONCE): Promise<Commitment<O>> {
    return commitmentOf(await this.context.requester.json<CommitmentRow>(kind, body, options, retrying), this.context.offsets);
  }
}
