import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import type { Paged } from "../../paging.js";
import { type Context, ONCE, SAFE } from "../context.js";
import { type CopiedPage, Copies, type FromCopies, type FromCopy, type InAnyRegion, type InRegion, type Where } from "./copies.js";

/**
 * Whether an agent can be reached.
 *
 * @example
 * ```ts
 * const availability: Availability = { status: "online", responseTimeMs: 250 };
 * ```
 */
export interface Availability {
  readonly status: "online" | "busy" | "away" | "offline";
  /** Name of a time zone. */
  readonly timezone?: string | undefined;
  readonly responseTimeMs?: number | undefined;
}

/**
 * What an agent says of itself.
 *
 * @example
 * ```ts
 * const profile: AgentProfile = { description: "reads papers", capabilities: ["papers.search"] };
 * ```
 */
export interface AgentProfile {
  readonly description?: string | undefined;
  readonly version?: string | undefined;
  /** What it can do: names such as `web-search`. */
  readonly capabilities?: readonly string[] | undefined;
  readonly protocols?: readonly string[] | undefined;
  readonly schemas?: readonly string[] | undefined;
  readonly authorityLevel?: string | undefined;
  readonly maxTransaction?: { readonly value: number; readonly currency: string } | undefined;
  readonly availability?: Availability | undefined;
  readonly endpoints?: Readonly<Record<string, string>> | undefined;
  readonly metadata?: Readonly<Record<string, unknown>> | undefined;
}

/**
 * An agent to be registered.
 *
 * @example
 * ```ts
 * const request: RegisterAgentRequest = { name: "research-agent", capabilities: ["web-search"], version: "2.1.0" };
 * ```
 */
export interface RegisterAgentRequest extends AgentProfile {
  /** Its name in the organisation. */
  readonly name: string;
  /** `ed25519:` and 64 hexadecimal digits. */
  readonly publicKey?: string | undefined;
}

/**
 * An agent as it stands in the registry.
 *
 * @example
 * ```ts
 * const trusted = ({ trustScore }: Agent): boolean => trustScore > 0.8;
 * ```
 */
export interface Agent extends AgentProfile {
  /** `agt_` and a UUID. */
  readonly id: string;
  readonly name: string;
  readonly org: string;
  /** `placeholder`: named by somebody and not registered yet. */
  readonly standing: "placeholder" | "registered" | "deregistered";
  readonly capabilities: readonly string[];
  /** 0 to 1. */
  readonly trustScore: number;
  readonly publicKey?: string;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly changedAt: number;
}

/**
 * Names one agent: by its id, its name in one's own organisation, or as `agent://ORG/NAME`.
 *
 * @example
 * ```ts
 * const agent = await np.asp.registry.get({ agentId: "agent://acme/writer" });
 * ```
 */
export interface AgentRequest {
  readonly agentId: string;
}

/**
 * Which agents to find.
 *
 * @example
 * ```ts
 * const request: SearchAgentsRequest = { capabilities: ["image-analysis"], minTrustScore: 0.85 };
 * ```
 */
export interface SearchAgentsRequest {
  /** What they must be able to do; `*` at the end of one stands for any ending. */
  readonly capabilities?: readonly string[] | undefined;
  /** Whether all of the capabilities are asked for, or any; all unless given. */
  readonly match?: "all" | "any" | undefined;
  /** 0 to 1. */
  readonly minTrustScore?: number | undefined;
  /** Whose agents; one's own unless given. */
  readonly org?: string | undefined;
  /** Words of name and description. */
  readonly text?: string | undefined;
  /** At least that available. */
  readonly availability?: Availability["status"] | undefined;
  /** Agents of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

/**
 * An agent with its A2A 1.0 agent card.
 *
 * @example
 * ```ts
 * const { card }: DescribedAgent = await np.asp.registry.get({ agentId: "writer-agent" });
 * ```
 */
export interface DescribedAgent extends Agent {
  readonly card: Readonly<Record<string, unknown>>;
}

type AgentRow = Omit<Agent, "id"> & { readonly agent: string; readonly by?: unknown };

/** An agent out of the broker's row. */
export function agentOf({ agent, by: _, ...row }: AgentRow): Agent {
  return { ...row, id: agent, capabilities: row.capabilities ?? [] };
}

/**
 * The registry of agents: who there is, what they can do, whether they can be reached.
 *
 * @example
 * ```ts
 * const agent = await np.asp.registry.register({ name: "research-agent", capabilities: ["web-search"], version: "2.1.0" });
 * const agents = await np.asp.registry.search({ capabilities: ["web-search"], minTrustScore: 0.5 });
 * for (const { name, trustScore } of agents) console.log(name, trustScore);
 * ```
 */
export class Registry<O extends OffsetType = number> {
  private readonly copies: Copies<O>;

  /** @internal */
  constructor(private readonly context: Context<O>) {
    this.copies = new Copies(context);
  }

  /**
   * Registers an agent, or replaces what it says of itself.
   *
   * @example
   * ```ts
   * const { id } = await np.asp.registry.register({ name: "writer-agent", capabilities: ["summarization"] });
   * ```
   */
  async register(request: RegisterAgentRequest, options?: CallOptions): Promise<Agent> {
    return agentOf(await this.context.requester.json<AgentRow>("agent.register", request, options, SAFE));
  }

  /**
   * Takes an agent out of search.
   *
   * @example
   * ```ts
   * await np.asp.registry.deregister({ agentId: "writer-agent" });
   * ```
   */
  async deregister({ agentId }: AgentRequest, options?: CallOptions): Promise<Agent> {
    return agentOf(await this.context.requester.json<AgentRow>("agent.deregister", { agent: agentId }, options, SAFE));
  }

  /**
   * Says whether an agent can be reached.
   *
   * @example
   * ```ts
   * await np.asp.registry.setAvailability({ agentId: "writer-agent", availability: { status: "busy" } });
   * ```
   */
  async setAvailability({ agentId, availability }: AgentRequest & { readonly availability: Availability }, options?: CallOptions): Promise<Agent> {
    const body = { agent: agentId, availability };
    return agentOf(await this.context.requester.json<AgentRow>("agent.availability", body, options, SAFE));
  }

  /**
   * Gives an agent a public key, another one, or with null none.
   *
   * @example
   * ```ts
   * await np.asp.registry.setKey({ agentId: "writer-agent", publicKey: null });
   * ```
   */
  async setKey({ agentId, publicKey }: AgentRequest & { readonly publicKey: string | null }, options?: CallOptions): Promise<Agent> {
    const body = { agent: agentId, publicKey };
    return agentOf(await this.context.requester.json<AgentRow>("agent.setKey", body, options, ONCE));
  }

  /**
   * One agent, and its A2A 1.0 agent card; with `region` or `anyRegion` as it was said there, and up to when that is known here.
   *
   * @throws AgentNotFoundError
   *
   * @example
   * ```ts
   * const { capabilities, card } = await np.asp.registry.get({ agentId: "writer-agent" });
   * const { answer, asOf } = await np.asp.registry.get({ agentId: "writer-agent", region: "us-east" });
   * ```
   */
  get(request: AgentRequest & InRegion, options?: CallOptions): Promise<FromCopy<DescribedAgent, O>>;
  get(request: AgentRequest & InAnyRegion, options?: CallOptions): Promise<FromCopies<DescribedAgent, O>>;
  get(request: AgentRequest, options?: CallOptions): Promise<DescribedAgent>;
  get({ agentId, ...where }: AgentRequest & Where, options?: CallOptions): Promise<DescribedAgent | FromCopy<DescribedAgent, O> | FromCopies<DescribedAgent, O>> {
    type Answer = AgentRow & { readonly card: Readonly<Record<string, unknown>> };
    const of = ({ card, ...row }: Answer): DescribedAgent => ({ ...agentOf(row), card });
    return this.copies.ask(where, { kind: "agent.info", body: { agent: agentId }, of }, options);
  }

  /**
   * Agents that can do something, by trust and availability: the first page when awaited, all with `for await`. With `region`
   * those of that region, each page with up to when it is known here; with `anyRegion` such a list for each region.
   *
   * @example
   * ```ts
   * for await (const agent of np.asp.registry.search({ capabilities: ["image-*"] })) console.log(agent.name);
   * const { items, asOf } = await np.asp.registry.search({ capabilities: ["image-*"], region: "us-east" });
   * ```
   */
  search(request: SearchAgentsRequest & InRegion, options?: CallOptions): Paged<Agent, CopiedPage<Agent, O>>;
  search(request: SearchAgentsRequest & InAnyRegion, options?: CallOptions): Promise<FromCopies<Paged<Agent, CopiedPage<Agent, O>>, O>>;
  search(request?: SearchAgentsRequest, options?: CallOptions): Paged<Agent>;
  search({ region, anyRegion, ...request }: SearchAgentsRequest & Where = {}, options?: CallOptions): Paged<Agent> | Promise<FromCopies<Paged<Agent, CopiedPage<Agent, O>>, O>> {
    type Answer = { readonly agents: readonly AgentRow[]; readonly cursor?: string };
    const of = ({ agents }: Answer): Agent[] => agents.map(agentOf);
    return this.copies.list({ region, anyRegion }, { kind: "agent.search", body: request, of }, options);
  }
}
