import { InvalidArgumentError, type NPayloadError, ProtocolError } from "../../errors/index.js";
import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { Page, Paged } from "../../paging.js";
import { type ErrorBody, errorOf } from "../../wire/error-answer.js";
import { type Context, SAFE } from "../context.js";

/**
 * Whose word is asked for: what agents have said in that region, as far as it is known in the one that is asked.
 *
 * @example
 * ```ts
 * const there: InRegion = { region: "us-east" };
 * const { answer: agent, asOf } = await np.asp.registry.get({ agentId: "writer", ...there });
 * ```
 */
export interface InRegion {
  /** This region, a peer, or one of which a copy is here, else `UnknownRegionError`. */
  readonly region: string;
  readonly anyRegion?: false | undefined;
}

/**
 * The same of each region of which something is known in the one that is asked; of a session in the one where it lives.
 *
 * @example
 * ```ts
 * const { parts } = await np.asp.registry.get({ agentId: "writer", anyRegion: true });
 * ```
 */
export interface InAnyRegion {
  readonly anyRegion: true;
  readonly region?: undefined;
}

/**
 * Up to where a region's topic is known: all below `offset` is counted in, and nothing behind it.
 *
 * @example
 * ```ts
 * const age = ({ time }: KnownUpTo): number => Date.now() - (time ?? 0);
 * ```
 */
export interface KnownUpTo<O extends OffsetType = number> {
  readonly offset: O;
  /** When the last record below it was appended there, by that region's clock: milliseconds since 1970; missing where there is none. */
  readonly time?: number;
}

/**
 * Up to where an answer is current, by region. Of two answers that have one region, the one with the higher offset knows more.
 *
 * @example
 * ```ts
 * const offsets = (asOf: AsOf): string => Object.entries(asOf).map(([region, { offset }]) => `${region}=${offset}`).join(",");
 * ```
 */
export type AsOf<O extends OffsetType = number> = { readonly [region: string]: KnownUpTo<O> };

/**
 * What agents have said in one region, and up to when that is current.
 *
 * @example
 * ```ts
 * const { answer, asOf }: FromCopy<Session> = await np.asp.sessions.get({ sessionId: session.id, region: "us-east" });
 * ```
 */
export interface FromCopy<T, O extends OffsetType = number> {
  /** The region that said it. */
  readonly region: string;
  readonly answer: T;
  readonly asOf: AsOf<O>;
  /** Where agents are told with their scores: up to where the evidence is known that those rest on; without it they have none. */
  readonly evidenceAsOf?: KnownUpTo<O>;
}

/**
 * What one of several regions has said, or why nothing of it can be told.
 *
 * @example
 * ```ts
 * const shown = ({ region, answer, error }: CopyPart<TrustScore>): string => `${region}: ${answer?.score ?? error?.code}`;
 * ```
 */
export type CopyPart<T, O extends OffsetType = number> =
  | { readonly region: string; readonly answer: T; readonly error?: undefined; readonly evidenceAsOf?: KnownUpTo<O> }
  | { readonly region: string; readonly answer?: undefined; readonly error: NPayloadError; readonly evidenceAsOf?: undefined };

/**
 * What agents have said in several regions, and up to when each part is current.
 *
 * @example
 * ```ts
 * const { parts, asOf }: FromCopies<TrustScore> = await np.asp.trust.getScore({ agentId: "writer", anyRegion: true });
 * for (const { region, answer } of parts) console.log(region, answer?.score, asOf[region]?.time);
 * ```
 */
export interface FromCopies<T, O extends OffsetType = number> {
  /** Sorted by region. */
  readonly parts: readonly CopyPart<T, O>[];
  /** Of each region that has answered. */
  readonly asOf: AsOf<O>;
}

/**
 * One page of a list that a region has told, and up to when it is current.
 *
 * @example
 * ```ts
 * const { items, asOf }: CopiedPage<Agent> = await np.asp.registry.search({ capabilities: ["web-search"], region: "us-east" });
 * ```
 */
export class CopiedPage<T, O extends OffsetType = number> extends Page<T> {
  /** @internal */
  constructor(
    items: readonly T[],
    cursor: string | undefined,
    /** The region that said it. */
    readonly region: string,
    /** Up to where it is known. */
    readonly asOf: AsOf<O>,
    /** Up to where the evidence is known that scores of agents rest on; undefined where they have none. */
    readonly evidenceAsOf: KnownUpTo<O> | undefined,
  ) {
    super(items, cursor);
  }
}

/** What a request says of regions. */
export interface Where {
  readonly region?: string | undefined;
  readonly anyRegion?: boolean | undefined;
}

/** A request that copies answer too, and how its answer is read. */
export interface CopyAsk<Row, T> {
  /** Name of its kind. */
  readonly kind: string;
  readonly body: object;
  /** Time that the broker may take where it is asked itself. */
  readonly waitMs?: number | undefined;
  of(row: Row): T;
}

type WireUpTo = { readonly offset: unknown; readonly time?: number };

interface Told {
  readonly asOf: Readonly<Record<string, WireUpTo>>;
  readonly parts: readonly {
    readonly region: string;
    readonly answer?: Readonly<Record<string, unknown>>;
    readonly error?: ErrorBody;
    readonly evidenceAsOf?: WireUpTo;
  }[];
}

/** Asks this region, or copies of what agents have said in others. */
export class Copies<O extends OffsetType> {
  constructor(private readonly context: Context<O>) {}

  /** Asks where the request says: with a region one answer, with any of them one of each. `isSession`: it lives in one region. */
  async ask<Row, T>(
    { region, anyRegion = false }: Where,
    ask: CopyAsk<Row, T>,
    options?: CallOptions,
    isSession = false,
  ): Promise<T | FromCopy<T, O> | FromCopies<T, O>> {
    const { kind, body, waitMs } = ask;
    if (region === undefined && !anyRegion) return ask.of(await this.context.requester.json<Row>(kind, body, options, { ...SAFE, waitMs }));
    const told = await this.read({ region, anyRegion }, ask, options);
    return region !== undefined || isSession ? one(told) : told;
  }

  /** A list where the request says: of one region in pages, of any of them such a list for each. */
  list<Row extends { readonly cursor?: string }, T>(
    { region, anyRegion = false }: Where,
    ask: CopyAsk<Row, readonly T[]>,
    options?: CallOptions,
  ): Paged<T> | Promise<FromCopies<Paged<T, CopiedPage<T, O>>, O>> {
    const pageOf = (row: Row): Page<T> => new Page(ask.of(row), row.cursor);
    if (region === undefined && !anyRegion) {
      return new Paged(async (cursor) => pageOf(await this.context.requester.json<Row>(ask.kind, { ...ask.body, cursor }, options, SAFE)));
    }
    const paged = (of: string, first?: CopiedPage<T, O>): Paged<T, CopiedPage<T, O>> => {
      return new Paged(async (cursor) => {
        const next = { ...ask, body: { ...ask.body, cursor }, of: pageOf };
        return copiedPage(one(await this.read({ region: of }, next, options)));
      }, first);
    };
    if (region === undefined) return this.lists({ ...ask, of: pageOf }, paged, options);
    if (anyRegion) throw both();
    return paged(region);
  }

  private async lists<Row, T>(
    ask: CopyAsk<Row, Page<T>>,
    paged: (region: string, first: CopiedPage<T, O>) => Paged<T, CopiedPage<T, O>>,
    options: CallOptions | undefined,
  ): Promise<FromCopies<Paged<T, CopiedPage<T, O>>, O>> {
    const { parts, asOf } = await this.read({ anyRegion: true }, ask, options);
    return {
      asOf,
      parts: parts.map((part) => {
        if (part.error !== undefined) return part;
        return { ...part, answer: paged(part.region, copiedPage({ ...part, asOf })) };
      }),
    };
  }

  private async read<Row, T>({ region, anyRegion = false }: Where, { kind, body, of }: CopyAsk<Row, T>, options?: CallOptions): Promise<FromCopies<T, O>> {
    if (region !== undefined && anyRegion) throw both();
    const request = { region, ask: { [kind]: body } };
    const { asOf, parts } = await this.context.requester.json<Told>("copies.read", request, options, SAFE);
    return {
      asOf: Object.fromEntries(Object.entries(asOf).map(([name, upTo]) => [name, this.upTo(upTo)])),
      parts: parts.map(({ region: name, answer, error, evidenceAsOf }): CopyPart<T, O> => {
        if (error !== undefined) return { region: name, error: errorOf(error) };
        const known = evidenceAsOf === undefined ? {} : { evidenceAsOf: this.upTo(evidenceAsOf) };
        return { region: name, answer: of(answer?.[kind] as Row), ...known };
      }),
    };
  }

  private upTo({ offset, ...rest }: WireUpTo): KnownUpTo<O> {
    return { offset: this.context.offsets.ofJson(offset, "asOf"), ...rest };
  }
}

function both(): InvalidArgumentError {
  return new InvalidArgumentError("only one of region and anyRegion can be given");
}

/** The one part of an answer of one region. */
function one<T, O extends OffsetType>({ parts: [part], asOf }: FromCopies<T, O>): FromCopy<T, O> {
  if (part === undefined) throw new ProtocolError("an answer of one region has no part");
  if (part.error !== undefined) throw part.error;
  const { error: _, ...said } = part;
  return { ...said, asOf };
}

function copiedPage<T, O extends OffsetType>({ answer, region, asOf, evidenceAsOf }: FromCopy<Page<T>, O>): CopiedPage<T, O> {
  return new CopiedPage(answer.items, answer.cursor, region, asOf, evidenceAsOf);
}
