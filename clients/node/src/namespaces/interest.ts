import type { OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import { timeInput } from "../reading/fetch.js";
import { type Context, ONCE, SAFE } from "./context.js";

/**
 * From where copies are begun: what is there already, only what comes, or what was appended at a time or later.
 *
 * @example
 * ```ts
 * const lastDay: InterestFrom = { time: Date.now() - 86_400_000 };
 * ```
 */
export type InterestFrom = "start" | "end" | { readonly time: number };

/**
 * Which channels of other regions are wanted here.
 *
 * @example
 * ```ts
 * const request: AddInterestRequest = { pattern: "ml.>", from: "start", retentionDays: 30 };
 * ```
 */
export interface AddInterestRequest {
  /** Channels: `orders`, `ml.*.eu` (`*` is one segment between dots), `ml.>` (all that follow). */
  readonly pattern: string;
  /** Record types, 1 to 100; of the others only what shares a batch with them crosses. All unless given. */
  readonly types?: readonly string[] | undefined;
  /** From where, in copies that are yet to be begun; `end` unless given. */
  readonly from?: "start" | "end" | { readonly time: number | Date } | undefined;
  /** Days for which the copies are kept; as long as at home unless given. */
  readonly retentionDays?: number | undefined;
}

/**
 * One interest of a region.
 *
 * @example
 * ```ts
 * const declared = (rows: readonly Interest[]) => rows.filter(({ automatic }) => !automatic);
 * ```
 */
export interface Interest {
  readonly pattern: string;
  /** Record types that are wanted; missing where all are. */
  readonly types?: readonly string[];
  readonly from: InterestFrom;
  readonly retentionDays?: number;
  /** Whether it follows from somebody's reading, and is not declared. */
  readonly automatic: boolean;
  /** When it was declared; when one that is automatic ends, once nobody reads any more. Milliseconds since 1970. */
  readonly declaredAt?: number;
  readonly until?: number;
}

/**
 * What this region wants of others. Nothing crosses between regions until somebody asked: here, or by reading.
 *
 * @example
 * ```ts
 * await np.interest.add({ pattern: "ml.>", from: "start" });
 * for await (const message of np.streams.tail({ streamId: "ml.models" })) console.log(message.payload);
 * ```
 */
export class Interests<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Asks for the channels that match a pattern; what was asked for by the same pattern before is replaced.
   *
   * @throws InvalidPatternError
   *
   * @example
   * ```ts
   * await np.interest.add({ pattern: "orders", from: { time: new Date("2026-01-31") } });
   * ```
   */
  add({ pattern, types, from, retentionDays }: AddInterestRequest, options?: CallOptions): Promise<Interest> {
    const begin = typeof from === "object" ? { time: timeInput(from.time, "from.time") } : from;
    const body = {
      pattern,
      ...(types === undefined ? {} : { types }),
      ...(begin === undefined ? {} : { from: begin }),
      ...(retentionDays === undefined ? {} : { retentionDays }),
    };
    return this.context.requester.json("interest.add", body, options, SAFE);
  }

  /**
   * All that is wanted, what was declared first.
   *
   * @example
   * ```ts
   * for (const { pattern, automatic } of await np.interest.list()) console.log(pattern, automatic);
   * ```
   */
  async list(options?: CallOptions): Promise<readonly Interest[]> {
    const answer = await this.context.requester.json<{ interests: Interest[] }>("interest.list", {}, options, SAFE);
    return answer.interests;
  }

  /**
   * Asks no longer. Copies stay, and what is in them.
   *
   * @throws InterestNotFoundError
   *
   * @example
   * ```ts
   * await np.interest.remove({ pattern: "ml.>" });
   * ```
   */
  remove({ pattern }: { readonly pattern: string }, options?: CallOptions): Promise<{ readonly pattern: string }> {
    return this.context.requester.json("interest.remove", { pattern }, options, ONCE);
  }
}
