import { AsyncLocalStorage } from "node:async_hooks";
import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { Page, Paged } from "../../paging.js";
import { type Context, SAFE } from "../context.js";
import { uuidV7 } from "./ids.js";

/**
 * A call of a tool as it was recorded.
 *
 * @example
 * ```ts
 * const slow = ({ durationMs = 0 }: ToolCall): boolean => durationMs > 5000;
 * ```
 */
export interface ToolCall {
  /** `tcl_` and a UUID. */
  readonly id: string;
  readonly tool: string;
  /** Who calls: id, name and organisation of the agent. */
  readonly agentId: string;
  readonly agentName: string;
  readonly org: string;
  readonly sessionId?: string;
  readonly parentCallId?: string;
  readonly outcome: "open" | "finished" | "failed" | "abandoned";
  /** Milliseconds since 1970. */
  readonly startedAt: number;
  readonly endedAt?: number;
  readonly durationMs?: number;
  readonly timeoutMs?: number;
  /** 0 to 1. */
  readonly progress?: number;
  readonly arguments?: unknown;
  readonly argumentsSha256?: string;
  readonly result?: unknown;
  readonly resultSha256?: string;
  readonly errorType?: string;
  readonly message?: string;
}

/**
 * A call that begins.
 *
 * @example
 * ```ts
 * const request: StartToolCallRequest = { tool: "web.search", agentId: "research-agent", arguments: { query: "pricing" } };
 * ```
 */
export interface StartToolCallRequest {
  readonly tool: string;
  /** Who calls: an id, a name, or `agent://ORG/NAME`. */
  readonly agentId: string;
  readonly sessionId?: string | undefined;
  readonly parentCallId?: string | undefined;
  /** Any JSON value, at most 262,144 bytes. */
  readonly arguments?: unknown;
  /** In place of the arguments: `sha256:` and 64 hexadecimal digits. */
  readonly argumentsSha256?: string | undefined;
  /** Whether the broker keeps only a digest of the arguments. */
  readonly sensitive?: boolean | undefined;
  /** After this time a call that has not ended counts as abandoned; a day unless given. */
  readonly timeoutMs?: number | undefined;
  /** `tcl_` and a UUID of version 7; made unless given. */
  readonly callId?: string | undefined;
}

/**
 * Which calls to list.
 *
 * @example
 * ```ts
 * const request: ListToolCallsRequest = { tool: "web.search", outcome: "failed" };
 * ```
 */
export interface ListToolCallsRequest {
  readonly agentId?: string | undefined;
  readonly tool?: string | undefined;
  readonly sessionId?: string | undefined;
  readonly outcome?: ToolCall["outcome"] | undefined;
  /** Those that were started from here on, and before `until`: milliseconds since 1970. */
  readonly since?: number | undefined;
  readonly until?: number | undefined;
  /** Calls of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

/**
 * Totals of the calls of one tool.
 *
 * @example
 * ```ts
 * const rate = ({ failed, calls }: ToolStats): number => failed / calls;
 * ```
 */
export interface ToolStats {
  readonly tool: string;
  readonly calls: number;
  readonly open: number;
  readonly finished: number;
  readonly failed: number;
  readonly abandoned: number;
  /** How long calls took that finished or failed. */
  readonly p50Ms: number;
  readonly p90Ms: number;
  readonly p99Ms: number;
  readonly maxMs: number;
  readonly totalMs: number;
}

/**
 * How the calls of a wrapped function are recorded.
 *
 * @example
 * ```ts
 * const options: WrapToolOptions = { tool: "web.search", agentId: "research-agent", sensitive: true };
 * ```
 */
export interface WrapToolOptions {
  /** Name of the tool; the function's unless given. */
  readonly tool?: string | undefined;
  /** Who calls. */
  readonly agentId: string;
  readonly sessionId?: string | undefined;
  /** Whether the broker keeps only digests of arguments and results. */
  readonly sensitive?: boolean | undefined;
  readonly timeoutMs?: number | undefined;
  /**
   * Told of records that could not be made, and then the function goes on without them. Unless given, a call whose start
   * cannot be recorded is not made, and one whose end cannot be is an error.
   */
  readonly onRecordError?: ((error: unknown) => void) | undefined;
}

type ToolRow = Omit<ToolCall, "id" | "agentId" | "agentName"> & { readonly callId: string; readonly agent: string; readonly name: string; readonly by?: unknown };

function callOf({ callId, agent, name, by: _, ...row }: ToolRow): ToolCall {
  return { id: callId, agentId: agent, agentName: name, ...row };
}

/** The call that the code which runs belongs to, so that calls within a call know it. */
const running = new AsyncLocalStorage<string>();

/**
 * Tool calls of agents, on the record: what was called by whom, with which arguments, how it went and how long it took.
 *
 * @example
 * ```ts
 * const search = np.asp.tools.wrap(searchTheWeb, { tool: "web.search", agentId: "research-agent", sessionId: session.id });
 * const pages = await search("competitor pricing");
 * ```
 */
export class Tools<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * A function that does what `fn` does, and has the start, the end and the duration of each call recorded. A call that is
   * made within another names it as its parent.
   *
   * @example
   * ```ts
   * const add = np.asp.tools.wrap(async (a: number, b: number) => a + b, { tool: "add", agentId: "research-agent" });
   * const sum = await add(1, 2);
   * ```
   */
  wrap<A extends readonly unknown[], R>(fn: (...args: A) => R, options: WrapToolOptions): (...args: A) => Promise<Awaited<R>> {
    const { tool = fn.name, onRecordError, sensitive, ...rest } = options;
    return async (...args): Promise<Awaited<R>> => {
      const recording = async (what: () => Promise<unknown>): Promise<void> => {
        try {
          await what();
        } catch (error) {
          if (onRecordError === undefined) throw error;
          onRecordError(error);
        }
      };
      const callId = `tcl_${uuidV7()}`;
      const parentCallId = running.getStore();
      await recording(() => this.start({ ...rest, tool, callId, parentCallId, sensitive, arguments: args }));
      let result: Awaited<R>;
      try {
        result = await running.run(callId, () => fn(...args));
      } catch (error) {
        await recording(() => this.fail({ callId, ...failure(error) }));
        throw error;
      }
      await recording(() => this.finish({ callId, result: result === undefined ? null : result, sensitive }));
      return result;
    };
  }

  /**
   * Records that a tool is called.
   *
   * @example
   * ```ts
   * const { id } = await np.asp.tools.start({ tool: "web.search", agentId: "research-agent", arguments: ["pricing"] });
   * ```
   */
  async start({ agentId, callId = `tcl_${uuidV7()}`, tool, ...rest }: StartToolCallRequest, options?: CallOptions): Promise<ToolCall> {
    const body = { callId, tool, agent: agentId, ...rest };
    return callOf(await this.context.requester.json<ToolRow>("tool.start", body, options, SAFE));
  }

  /**
   * Records how far a call is.
   *
   * @example
   * ```ts
   * await np.asp.tools.progress({ callId: call.id, progress: 0.5, message: "half of the pages" });
   * ```
   */
  async progress(request: { readonly callId: string; readonly progress?: number; readonly message?: string }, options?: CallOptions): Promise<ToolCall> {
    return callOf(await this.context.requester.json<ToolRow>("tool.progress", request, options, SAFE));
  }

  /**
   * Records the result of a call.
   *
   * @example
   * ```ts
   * await np.asp.tools.finish({ callId: call.id, result: { pages: 12 } });
   * ```
   */
  async finish(
    request: { readonly callId: string; readonly result?: unknown; readonly resultSha256?: string | undefined; readonly sensitive?: boolean | undefined },
    options?: CallOptions,
  ): Promise<ToolCall> {
    return callOf(await this.context.requester.json<ToolRow>("tool.finish", request, options, SAFE));
  }

  /**
   * Records that a call has failed.
   *
   * @example
   * ```ts
   * await np.asp.tools.fail({ callId: call.id, errorType: "TimeoutError", message: "no answer within 5 s" });
   * ```
   */
  async fail(request: { readonly callId: string; readonly errorType: string; readonly message?: string | undefined }, options?: CallOptions): Promise<ToolCall> {
    return callOf(await this.context.requester.json<ToolRow>("tool.fail", request, options, SAFE));
  }

  /**
   * One call.
   *
   * @throws CallNotFoundError
   *
   * @example
   * ```ts
   * const { outcome, durationMs } = await np.asp.tools.get({ callId: call.id });
   * ```
   */
  async get({ callId }: { readonly callId: string }, options?: CallOptions): Promise<ToolCall> {
    return callOf(await this.context.requester.json<ToolRow>("tool.info", { callId }, options, SAFE));
  }

  /**
   * Calls, newest first: the first page when awaited, all with `for await`.
   *
   * @example
   * ```ts
   * for await (const call of np.asp.tools.list({ agentId: "research-agent", outcome: "failed" })) console.log(call.tool, call.message);
   * ```
   */
  list({ agentId, ...request }: ListToolCallsRequest = {}, options?: CallOptions): Paged<ToolCall> {
    return new Paged(async (cursor) => {
      type Answer = { calls: ToolRow[]; cursor?: string };
      const answer = await this.context.requester.json<Answer>("tool.list", { ...request, agent: agentId, cursor }, options, SAFE);
      return new Page(answer.calls.map(callOf), answer.cursor);
    });
  }

  /**
   * Totals and durations of the calls of each tool, or of one.
   *
   * @example
   * ```ts
   * const [search] = await np.asp.tools.stats({ tool: "web.search" });
   * ```
   */
  async stats(request: { readonly tool?: string } = {}, options?: CallOptions): Promise<readonly ToolStats[]> {
    return (await this.context.requester.json<{ tools: ToolStats[] }>("tool.stats", request, options, SAFE)).tools;
  }
}

function failure(error: unknown): { readonly errorType: string; readonly message: string } {
  if (error instanceof Error) return { errorType: error.name || "Error", message: error.message };
  return { errorType: "Error", message: String(error) };
}
