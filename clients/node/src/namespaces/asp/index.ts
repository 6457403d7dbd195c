import type { OffsetType } from "../../offset.js";
import type { Context } from "../context.js";
import { Commitments } from "./commitments.js";
import { Disputes } from "./disputes.js";
import { Escrow } from "./escrow.js";
import { Market } from "./market.js";
import { SessionMessages } from "./messages.js";
import { Registry } from "./registry.js";
import { Sessions } from "./sessions.js";
import { Tools } from "./tools.js";
import { Trust } from "./trust.js";

/**
 * Agents: who they are, what they say to each other, what they do, what they promise, and how far they are trusted.
 *
 * @example
 * ```ts
 * const agent = await np.asp.registry.register({ name: "research-agent", capabilities: ["web-search"] });
 * ```
 */
export class Asp<O extends OffsetType = number> {
  /** Who there is. */
  readonly registry: Registry<O>;
  /** Conversations. */
  readonly sessions: Sessions<O>;
  /** What is said in them. */
  readonly messages: SessionMessages<O>;
  /** What agents do. */
  readonly tools: Tools<O>;
  /** What they promise. */
  readonly commitments: Commitments<O>;
  /** That a promise was not kept. */
  readonly disputes: Disputes<O>;
  /** How far they are trusted. */
  readonly trust: Trust<O>;
  /** Money behind promises. */
  readonly escrow: Escrow<O>;
  /** What they do for other organisations. */
  readonly market: Market<O>;

  /** @internal */
  constructor(context: Context<O>) {
    this.registry = new Registry(context);
    this.sessions = new Sessions(context);
    this.messages = new SessionMessages(context);
    this.tools = new Tools(context);
    this.commitments = new Commitments(context);
    this.disputes = new Disputes(context);
    this.trust = new Trust(context);
    this.escrow = new Escrow(context);
    this.market = new Market(context);
  }
}
