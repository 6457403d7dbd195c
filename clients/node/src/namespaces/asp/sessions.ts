import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { Page, Paged } from "../../paging.js";
import { type Context, ONCE, SAFE } from "../context.js";
import { Copies, type FromCopies, type FromCopy, type InAnyRegion, type InRegion, type Where } from "./copies.js";

/**
 * What an agent does in a session.
 *
 * @example
 * ```ts
 * const role: SessionRole = "specialist";
 * ```
 */
export type SessionRole = "coordinator" | "specialist" | "observer";

/**
 * An agent that takes part in a session.
 *
 * @example
 * ```ts
 * const coordinators = session.participants.filter(({ role }: Participant) => role === "coordinator");
 * ```
 */
export interface Participant {
  /** `agt_` and a UUID. */
  readonly agentId: string;
  readonly name: string;
  readonly org: string;
  readonly role: SessionRole;
  readonly standing?: "pending" | "invited" | "in" | "refused" | "lapsed" | "left";
  /** How many messages it has sent. */
  readonly messages?: number;
}

/**
 * What a session may use.
 *
 * @example
 * ```ts
 * const limits: SessionLimits = { maxMessages: 1000 };
 * ```
 */
export interface SessionLimits {
  readonly maxMessages?: number | undefined;
  readonly maxPayloadBytes?: number | undefined;
  readonly maxParticipants?: number | undefined;
}

/**
 * A session of agents.
 *
 * @example
 * ```ts
 * const session: Session = await np.asp.sessions.get({ sessionId: "ses_01998a2b-0c3d-7e4f-8001-020304050620" });
 * ```
 */
export interface Session {
  /** `ses_` and a UUID. */
  readonly id: string;
  readonly org: string;
  readonly topic: string;
  /** `IDLE`, `INVITED`, … as the transition table names them. */
  readonly state: string;
  readonly participants: readonly Participant[];
  /** How many records it has. */
  readonly sequence: number;
  /** Hash over its last record and all before. */
  readonly hash: string;
  /** Milliseconds since 1970, as all times of it. */
  readonly createdAt: number;
  readonly expiresAt?: number;
  readonly endedAt?: number;
  readonly invitationMs?: number;
  readonly limits?: SessionLimits;
  readonly metadata?: unknown;
}

/**
 * A session to be begun.
 *
 * @example
 * ```ts
 * const request: CreateSessionRequest = {
 *   topic: "Survey",
 *   participants: [{ agentId: "lead", role: "coordinator" }, { agentId: "writer", role: "specialist" }],
 * };
 * ```
 */
export interface CreateSessionRequest {
  readonly topic: string;
  /** 2 to 64 agents, by id, name or `agent://ORG/NAME`. A name that nobody has registered becomes a placeholder. */
  readonly participants: readonly { readonly agentId: string; readonly role: SessionRole }[];
  /** How long it may last, in milliseconds. */
  readonly ttlMs?: number | undefined;
  /** How long an invitation is open, in milliseconds. */
  readonly invitationMs?: number | undefined;
  readonly limits?: SessionLimits | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * Names one session.
 *
 * @example
 * ```ts
 * const { state } = await np.asp.sessions.get({ sessionId: session.id });
 * ```
 */
export interface SessionRequest {
  readonly sessionId: string;
}

/**
 * Which sessions to list.
 *
 * @example
 * ```ts
 * const request: ListSessionsRequest = { agentId: "writer-agent", states: ["CONVERSING"] };
 * ```
 */
export interface ListSessionsRequest {
  /** Those that this agent takes part in. */
  readonly agentId?: string | undefined;
  readonly states?: readonly string[] | undefined;
  /** Those that were open at some time from here on, and before `until`: milliseconds since 1970. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** Sessions of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

type SessionRow = Omit<Session, "id"> & { readonly sessionId: string; readonly by?: unknown };

function sessionOf({ sessionId, by: _, ...row }: SessionRow): Session {
  return { id: sessionId, ...row };
}

/**
 * Sessions of agents: structured conversations with a topic, roles and one transition table.
 *
 * @example
 * ```ts
 * const session = await np.asp.sessions.create({
 *   topic: "Market analysis for Q1 2026",
 *   participants: [
 *     { agentId: "coordinator-agent", role: "coordinator" },
 *     { agentId: agent.id, role: "specialist" },
 *   ],
 * });
 * ```
 */
export class Sessions<O extends OffsetType = number> {
  private readonly copies: Copies<O>;

  /** @internal */
  constructor(private readonly context: Context<O>) {
    this.copies = new Copies(context);
  }

  /**
   * Begins a session.
   *
   * @example
   * ```ts
   * const session = await np.asp.sessions.create({ topic: "Survey", participants, ttlMs: 3_600_000 });
   * ```
   */
  async create(request: CreateSessionRequest, options?: CallOptions): Promise<Session> {
    return sessionOf(await this.context.requester.json<SessionRow>("session.create", request, options, ONCE));
  }

  /**
   * One session, told where it lives; with `region` or `anyRegion` from what is known of it here, and up to when that is.
   *
   * @throws SessionNotFoundError
   *
   * @example
   * ```ts
   * const { state, participants } = await np.asp.sessions.get({ sessionId: session.id });
   * const { answer, asOf } = await np.asp.sessions.get({ sessionId: session.id, anyRegion: true });
   * ```
   */
  get(request: SessionRequest & (InRegion | InAnyRegion), options?: CallOptions): Promise<FromCopy<Session, O>>;
  get(request: SessionRequest, options?: CallOptions): Promise<Session>;
  get({ sessionId, ...where }: SessionRequest & Where, options?: CallOptions): Promise<Session | FromCopy<Session, O> | FromCopies<Session, O>> {
    return this.copies.ask(where, { kind: "session.info", body: { sessionId }, of: sessionOf }, options, true);
  }

  /**
   * Sessions: live ones first, newest first, then ended ones, latest end first.
   *
   * @example
   * ```ts
   * for await (const { id, topic, state } of np.asp.sessions.list({ agentId: "writer-agent" })) console.log(id, topic, state);
   * ```
   */
  list({ agentId, ...request }: ListSessionsRequest = {}, options?: CallOptions): Paged<Session> {
    return new Paged(async (cursor) => {
      type Answer = { sessions: SessionRow[]; cursor?: string };
      const body = { ...request, agent: agentId, cursor };
      const answer = await this.context.requester.json<Answer>("session.list", body, options, SAFE);
      return new Page(answer.sessions.map(sessionOf), answer.cursor);
    });
  }

  /**
   * Lets an agent leave a session.
   *
   * @example
   * ```ts
   * await np.asp.sessions.leave({ sessionId: session.id, agentId: "writer-agent" });
   * ```
   */
  async leave({ sessionId, agentId }: SessionRequest & { readonly agentId: string }, options?: CallOptions): Promise<Session> {
    return sessionOf(await this.context.requester.json<SessionRow>("session.leave", { sessionId, agent: agentId }, options, ONCE));
  }

  /**
   * Lets an escalated session go on.
   *
   * @example
   * ```ts
   * await np.asp.sessions.resume({ sessionId: session.id });
   * ```
   */
  async resume({ sessionId }: SessionRequest, options?: CallOptions): Promise<Session> {
    return sessionOf(await this.context.requester.json<SessionRow>("session.resume", { sessionId }, options, ONCE));
  }
}
