import type { KeyObject } from "node:crypto";
import { ClosedError, RequestTimeoutError } from "../../errors/index.js";
import type { OffsetCodec, OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { bounded } from "../../signals.js";
import { type Context, SAFE } from "../context.js";
import { Copies, type FromCopies, type FromCopy, type InAnyRegion, type InRegion, type Where } from "./copies.js";
import { underId, uuidV7 } from "./ids.js";
import { SendWindow } from "./send-window.js";
import type { Participant } from "./sessions.js";
import { signMessage } from "./signing.js";

/**
 * What a message does to its session, as the transition table has it.
 *
 * @example
 * ```ts
 * const performative: Performative = "PROPOSE";
 * ```
 */
export type Performative =
  | "PROPOSE"
  | "ACCEPT"
  | "REJECT"
  | "COUNTER"
  | "INFORM"
  | "QUERY"
  | "CLARIFY"
  | "COMMIT"
  | "DELEGATE"
  | "ESCALATE"
  | "WITHDRAW"
  | "OBSERVE"
  | "CLOSE";

/**
 * A message to be said in a session.
 *
 * @example
 * ```ts
 * const request: SendMessageRequest = { sessionId: session.id, from: "lead", type: "task.assign", payload: { task: "Research" } };
 * ```
 */
export interface SendMessageRequest {
  readonly sessionId: string;
  /** Who says it: an id, a name, or `agent://ORG/NAME`. */
  readonly from: string;
  /** To whom; all unless given. */
  readonly to?: string | undefined;
  /** `INFORM` unless given, or as the type says: `task.assign` is a PROPOSE. */
  readonly performative?: Performative | undefined;
  /** What kind of message it is to the application. */
  readonly type?: string | undefined;
  /** Any JSON value. */
  readonly payload?: unknown;
  /** Id of the message that it answers. */
  readonly inReplyTo?: string | undefined;
  /** What an answer must keep to. */
  readonly constraints?: {
    readonly allowedPerformatives?: readonly Performative[] | undefined;
    readonly maxResponseTimeMs?: number | undefined;
    readonly requiredTrust?: number | undefined;
  };
  /** `msg_` and a UUID of version 7; made unless given. The same id with the same content is said once. */
  readonly id?: string | undefined;
  /** The sender's private key: the message is signed with it. A sender that has a public key must sign. */
  readonly signingKey?: KeyObject | undefined;
  /** A signature that was made elsewhere: `ed25519:` and 128 hexadecimal digits. */
  readonly signature?: string | undefined;
}

/**
 * A message that was taken into its session.
 *
 * @example
 * ```ts
 * const { sequence, duplicate }: SentMessage = await np.asp.messages.send({ sessionId: session.id, from: "lead", type: "note" });
 * ```
 */
export interface SentMessage {
  readonly id: string;
  readonly sessionId: string;
  /** Number of its record in the session. */
  readonly sequence: number;
  /** Number of the message among those of its sender. */
  readonly senderSequence: number;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly digest: string;
  readonly hash?: string;
  /** State of the session behind it. */
  readonly state: string;
  /** Whether it had been taken before. */
  readonly duplicate: boolean;
  /** The commitment that it offers or answers. */
  readonly commitmentId?: string;
}

/**
 * A message as its session keeps it; with identities where the sender named agents by name.
 *
 * @example
 * ```ts
 * const isMine = (message: SaidMessage): boolean => message.recipient === agent.id;
 * ```
 */
export interface SaidMessage {
  readonly id: string;
  readonly session: string;
  /** Who says it: `agt_` and a UUID. */
  readonly sender: string;
  /** To whom; all when missing. */
  readonly recipient?: string;
  readonly performative: Performative;
  readonly type?: string;
  readonly inReplyTo?: string;
  readonly constraints?: SendMessageRequest["constraints"];
  /** Digest of the payload, which stands beside the message. */
  readonly payload: string;
}

interface RecordCore extends Readonly<Record<string, unknown>> {
  /** Milliseconds since 1970, by the broker's clock. */
  readonly at: number;
  /** Its number in the session. */
  readonly sequence: number;
  readonly hash: string;
}

/**
 * A record that holds a message.
 *
 * @example
 * ```ts
 * const isResult = ({ message }: MessageRecord): boolean => message.type === "task.result";
 * ```
 */
export interface MessageRecord extends RecordCore {
  readonly type: "session.messageSent";
  readonly message: SaidMessage;
  /** Missing where there is none, or where it was erased. */
  readonly payload?: unknown;
  readonly senderSequence: number;
  readonly signature?: string;
}

/**
 * A record of what else has happened in a session. A newer broker may have more types.
 *
 * @example
 * ```ts
 * const isOver = ({ type }: EventRecord): boolean => type === "session.ended";
 * ```
 */
export interface EventRecord extends RecordCore {
  readonly type:
    | "session.created"
    | "session.participantLeft"
    | "session.invitationLapsed"
    | "session.responseOverdue"
    | "session.resumed"
    | "session.expired"
    | "session.ended";
}

/**
 * A record of a session as the broker keeps it: `type`, `at`, `sequence`, `session` and what belongs to its type. Where
 * `record.type` is `session.messageSent`, `record.message` and `record.payload` are what was said.
 *
 * @example
 * ```ts
 * for (const { record } of records as SessionRecord[]) {
 *   if (record.type === "session.messageSent") console.log(record.message.sender, record.message.type, record.payload);
 * }
 * ```
 */
export interface SessionRecord<O extends OffsetType = number> {
  /** Number of the record in the topic that keeps all sessions. */
  readonly offset: O;
  readonly record: MessageRecord | EventRecord;
}

/**
 * What came for an agent.
 *
 * @example
 * ```ts
 * const of = ({ sessionId, record }: InboxEntry): string => `${sessionId} ${record.type}`;
 * ```
 */
export interface InboxEntry<O extends OffsetType = number> extends SessionRecord<O> {
  readonly org: string;
  readonly sessionId: string;
}

/**
 * What to read of a session.
 *
 * @example
 * ```ts
 * const request: SessionHistoryRequest = { sessionId: session.id, from: 10, limit: 50 };
 * ```
 */
export interface SessionHistoryRequest {
  readonly sessionId: string;
  /** On whose behalf. */
  readonly agentId?: string | undefined;
  /** Number of the first record, 0 unless given. */
  readonly from?: number | undefined;
  readonly limit?: number | undefined;
  /** 1 MiB unless given; one record always fits. */
  readonly maxBytes?: number | undefined;
  /** How long to wait when there is nothing yet; 0 unless given. */
  readonly waitMs?: number | undefined;
}

/**
 * Whose inbox to read, and from where on.
 *
 * @example
 * ```ts
 * const request: InboxRequest = { agentId: "writer-agent", waitMs: 5000 };
 * ```
 */
export interface InboxRequest {
  readonly agentId: string;
  /** Where an earlier answer has said to read on; the beginning unless given. */
  readonly cursor?: string | undefined;
  readonly limit?: number | undefined;
  /** How long to wait when there is nothing yet; 0 unless given. */
  readonly waitMs?: number | undefined;
}

/**
 * Records of a session, and where to read on.
 *
 * @example
 * ```ts
 * const { records, next }: SessionHistory = await np.asp.messages.history({ sessionId: session.id });
 * ```
 */
export interface SessionHistory<O extends OffsetType = number> {
  readonly records: readonly SessionRecord<O>[];
  /** Number of the record to read on at. */
  readonly next: number;
  /** State of the session. */
  readonly state: string;
}

/** What types stand for that name no performative. */
const DEFAULT_PERFORMATIVES: Readonly<Record<string, Performative>> = {
  "task.assign": "PROPOSE",
  "task.accept": "ACCEPT",
  "task.reject": "REJECT",
  "task.cancel": "WITHDRAW",
};

/** How long one request of {@link SessionMessages.receive} waits. */
const RECEIVE_WAIT_MS = 10_000;

/**
 * Messages in sessions.
 *
 * @example
 * ```ts
 * await np.asp.messages.send({ sessionId: session.id, from: "coordinator-agent", type: "task.assign", payload: { task: "Research" } });
 * ```
 */
export class SessionMessages<O extends OffsetType = number> {
  private readonly window = new SendWindow();
  private readonly copies: Copies<O>;

  /** @internal */
  constructor(private readonly context: Context<O>) {
    this.copies = new Copies(context);
  }

  /**
   * Says something in a session; it is said once, however often it had to be sent. Messages of one sender go in the order
   * of the calls, with at most 32 under way at a time.
   *
   * @throws IllegalMessageError where the session's state does not allow it, with details `state`, `allowed`.
   *
   * @example
   * ```ts
   * const { sequence, state } = await np.asp.messages.send({ sessionId: session.id, from: "writer-agent", type: "task.accept" });
   * ```
   */
  async send(request: SendMessageRequest, options?: CallOptions): Promise<SentMessage> {
    const { sessionId, signingKey, ...rest } = request;
    const { requester } = this.context;
    const { timeoutMs = requester.defaults.timeoutMs, signal } = options ?? {};
    const deadline = Date.now() + timeoutMs;
    const wait = (turn: Promise<unknown>): Promise<unknown> => bounded(turn, signal, timeoutMs, () => new RequestTimeoutError("session.send", timeoutMs));
    return this.window.run(sessionId, request.from, wait, async () => {
      const taken = ["MESSAGE_ID_TAKEN", "COMMITMENT_ID_TAKEN"];
      return underId(rest.id, () => `msg_${uuidV7()}`, taken, async (id) => {
        const left = { ...options, timeoutMs: Math.max(deadline - Date.now(), 1) };
        const body = { sessionId, ...rest, id };
        const signed = signingKey === undefined ? body : await this.sign(body, signingKey, left);
        return requester.json<SentMessage>("session.send", signed, left, SAFE);
      });
    });
  }

  /** The message with its signature, which covers identities: names are looked up in the session. */
  private async sign(body: Omit<SendMessageRequest, "signingKey"> & { readonly id: string }, key: KeyObject, options?: CallOptions): Promise<object> {
    const { sessionId, from, to, id, type, payload, inReplyTo, constraints } = body;
    const performative = body.performative ?? DEFAULT_PERFORMATIVES[type ?? ""] ?? "INFORM";
    const agents = [from, ...(to === undefined ? [] : [to])];
    const [sender, recipient] = agents.every((agent) => agent.startsWith("agt_")) ? agents : await this.identities(sessionId, agents, options);
    const signature = signMessage({ id, session: sessionId, sender: sender as string, recipient, performative, type, payload, inReplyTo, constraints }, key);
    return { ...body, performative, signature };
  }

  private async identities(sessionId: string, agents: readonly string[], options?: CallOptions): Promise<string[]> {
    const { requester } = this.context;
    const { participants } = await requester.json<{ participants: readonly Participant[] }>("session.info", { sessionId }, options, SAFE);
    const own = requester.link.hello?.principal.org ?? "default";
    return agents.map((agent) => {
      const [, uriOrg, uriName] = /^agent:\/\/([^/]+)\/(?:.*\/)?([^/]+)$/.exec(agent) ?? [];
      const [org, name] = uriOrg === undefined ? [own, agent] : [uriOrg, uriName];
      const found = participants.find((row) => row.agentId === agent || (row.name === name && row.org === org));
      // One that takes no part is left to the broker to refuse.
      return found?.agentId ?? agent;
    });
  }

  /**
   * The records of a session, in order: its messages and what else has happened in it. `next` is where to read on. With
   * `region` or `anyRegion` those that are known here, and up to when that is; it does not wait for more then.
   *
   * @example
   * ```ts
   * const { records, next } = await np.asp.messages.history({ sessionId: session.id });
   * for (const { record } of records) console.log(record.sequence, record.type);
   * const { answer, asOf } = await np.asp.messages.history({ sessionId: session.id, region: "us-east" });
   * ```
   */
  history(request: Omit<SessionHistoryRequest, "waitMs"> & (InRegion | InAnyRegion), options?: CallOptions): Promise<FromCopy<SessionHistory<O>, O>>;
  history(request: SessionHistoryRequest, options?: CallOptions): Promise<SessionHistory<O>>;
  history(
    { agentId, region, anyRegion, ...request }: SessionHistoryRequest & Where,
    options?: CallOptions,
  ): Promise<SessionHistory<O> | FromCopy<SessionHistory<O>, O> | FromCopies<SessionHistory<O>, O>> {
    type Answer = { readonly records: readonly WireRecord[]; readonly next: number; readonly state: string };
    const of = ({ records, next, state }: Answer): SessionHistory<O> => ({ records: records.map((row) => record(row, this.context.offsets)), next, state });
    const ask = { kind: "session.history", body: { ...request, agent: agentId }, waitMs: request.waitMs, of };
    return this.copies.ask({ region, anyRegion }, ask, options, true);
  }

  /**
   * What came for an agent, in all its sessions. The cursor is where to read on.
   *
   * @example
   * ```ts
   * const { entries, cursor } = await np.asp.messages.inbox({ agentId: "writer-agent", waitMs: 5000 });
   * ```
   */
  async inbox(
    { agentId, ...request }: InboxRequest,
    options?: CallOptions,
  ): Promise<{ readonly entries: readonly InboxEntry<O>[]; readonly cursor: string }> {
    type Answer = { entries: (WireRecord & { org: string; sessionId: string })[]; cursor: string };
    const body = { ...request, agent: agentId };
    const retrying = { idempotent: true, waitMs: request.waitMs };
    const { entries, cursor } = await this.context.requester.json<Answer>("agent.inbox", body, options, retrying);
    const { offsets } = this.context;
    return { entries: entries.map((row) => ({ ...record(row, offsets), org: row.org, sessionId: row.sessionId })), cursor };
  }

  /**
   * What comes for an agent, as it comes: what others say to it or to all, and what else happens in its sessions. It ends when
   * the loop is left or the client is closed; where the signal is aborted it throws `AbortError`. To go on after a restart,
   * use {@link SessionMessages.inbox} and keep its cursor.
   *
   * @example
   * ```ts
   * for await (const { sessionId, record } of np.asp.messages.receive({ agentId: "writer-agent" }, { signal })) {
   *   console.log(sessionId, record.type);
   * }
   * ```
   */
  async *receive(request: Omit<InboxRequest, "waitMs">, options?: CallOptions): AsyncGenerator<InboxEntry<O>, void, undefined> {
    const { link } = this.context.requester;
    if (link.status.state === "closed") throw new ClosedError();
    let { cursor } = request;
    for (;;) {
      let page;
      try {
        page = await this.inbox({ ...request, cursor, waitMs: RECEIVE_WAIT_MS }, options);
      } catch (error) {
        // The end of the client is the end of the loop, as it is of a tail.
        if (error instanceof ClosedError) return;
        throw error;
      }
      yield* page.entries;
      cursor = page.cursor;
    }
  }
}

type WireRecord = Omit<SessionRecord, "offset"> & { readonly offset: unknown };

function record<O extends OffsetType>(row: WireRecord, offsets: OffsetCodec<O>): SessionRecord<O> {
  return { offset: offsets.ofJson(row.offset, "offset"), record: row.record };
}
