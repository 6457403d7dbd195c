import type { OffsetType } from "../../offset.js";
import type { Context } from "../context.js";
import { SessionMessages } from "./messages.js";
import { Registry } from "./registry.js";
import { Sessions } from "./sessions.js";
import { Tools } from "./tools.js";

/**
 * Agents: who they are, what they say to each other, what they do.
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

  /** @internal */
  constructor(context: Context<O>) {
    this.registry = new Registry(context);
    this.sessions = new Sessions(context);
    this.messages = new SessionMessages(context);
    this.tools = new Tools(context);
  }
}
