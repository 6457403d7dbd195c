import type { OffsetCodec, OffsetType } from "../offset.js";

/**
 * How the link to another region is.
 *
 * @example
 * ```ts
 * const isOpen = (link: RegionLink): boolean => link.state === "open";
 * ```
 */
export type LinkState = "dialling" | "open" | "waiting" | "refused";

/**
 * A region and the others that it is told of.
 *
 * @example
 * ```ts
 * const { region, peers }: RegionList = await np.regions.list();
 * ```
 */
export interface RegionList {
  /** The region that was asked. */
  readonly region: string;
  /** The others, by name. */
  readonly peers: readonly { readonly name: string; readonly url: string; readonly state: LinkState }[];
  /** The region that names channels for all; missing where none does. */
  readonly directory?: string;
  /** The regions that belong to its directory, by name. */
  readonly joined?: readonly string[];
}

/**
 * The link on which a region pulls from another one.
 *
 * @example
 * ```ts
 * const { peer, state, roundTripUs }: RegionLink = (await np.regions.status()).links[0];
 * ```
 */
export interface RegionLink {
  readonly peer: string;
  readonly state: LinkState;
  /** Since when it is so: milliseconds since 1970. */
  readonly since: number;
  /** How long the last answer took that did not wait, in microseconds; null before one. */
  readonly roundTripUs: number | null;
  /** Bytes of batches that came on it, and how often it was opened, since the start of the broker. */
  readonly bytes: number;
  readonly opened: number;
  /** Why it was last lost or refused. */
  readonly error?: string;
}

/**
 * A copy of a channel that lives in another region.
 *
 * @example
 * ```ts
 * const behind = (copy: RegionCopy): number => copy.lagRecords ?? Infinity;
 * ```
 */
export interface RegionCopy<O extends OffsetType = number> {
  readonly name: string;
  readonly incarnation: string;
  /** The region where the channel lives. */
  readonly home: string;
  /** Whether what is new there comes here now. */
  readonly followed: boolean;
  /** Offset of the first record of the copy, and of the one that it needs next. */
  readonly beginsAt: O;
  readonly next: O;
  /** What the home had synced when it last said; null before. */
  readonly homeFlushed: O | null;
  /** Records that the home had then and this region does not; null before it has said. */
  readonly lagRecords: number | null;
  /** How old what is missing is at least, in milliseconds; 0 where nothing is. */
  readonly lagMs: number | null;
  /** Bytes of batches that came for it since the start of the broker. */
  readonly bytes: number;
  /** Records that it will never have: from the first, to the one after the last. */
  readonly gaps: readonly (readonly [O, O])[];
  /** Why it is not followed, if something is wrong. */
  readonly error?: string;
}

/**
 * One log of a channel, as a region knows it.
 *
 * @example
 * ```ts
 * const ends = logs.map(({ region, highWatermark }: ChannelLog) => [region, highWatermark]);
 * ```
 */
export interface ChannelLog<O extends OffsetType = number> {
  /** What it is read by: `orders@eu-west` where each region has a log. */
  readonly name: string;
  /** The region whose log it is. */
  readonly region: string;
  readonly incarnation: string;
  /** The region that appends to it. */
  readonly home: string;
  /** Whether it is here, as a copy or at home; the offsets are those of its home otherwise. */
  readonly held: boolean;
  readonly logStart: O;
  readonly flushed: O;
  readonly highWatermark: O;
}

/**
 * The logs of a channel.
 *
 * @example
 * ```ts
 * const { regions, logs }: ChannelLogs = await np.regions.logs({ channelId: "ml.feedback" });
 * ```
 */
export interface ChannelLogs<O extends OffsetType = number> {
  readonly channel: string;
  /** Whether it is one log, or one for each region. */
  readonly regions: "one" | "each";
  /** They, by region. */
  readonly logs: readonly ChannelLog<O>[];
  /** Regions that could not be asked, and may have one that is not listed. */
  readonly unreachable: readonly string[];
}

/**
 * How the links and copies of a region are.
 *
 * @example
 * ```ts
 * const stopped = (status: RegionStatus) => status.copies.filter(({ error }) => error !== undefined);
 * ```
 */
export interface RegionStatus<O extends OffsetType = number> {
  readonly region: string;
  readonly links: readonly RegionLink[];
  readonly copies: readonly RegionCopy<O>[];
  /** The logs here of channels that have one for each region. */
  readonly logs: readonly ChannelLog<O>[];
  /** Bytes of batches sent to other regions since the start of the broker. */
  readonly sentBytes: number;
}

/**
 * What the comparison of a copy with its home has shown.
 *
 * @example
 * ```ts
 * const { equal, differs }: RegionVerified = await np.regions.verify({ channelId: "ml.models" });
 * ```
 */
export interface RegionVerified<O extends OffsetType = number> {
  readonly name: string;
  /** The region that it was compared with; the one that was asked, where that is the home. */
  readonly home: string;
  /** First offset that was compared, and the one after the last. */
  readonly from: O;
  readonly to: O;
  readonly batches: number;
  /** Whether all of it is the same; else where the first range that differs begins, and the offset after it. */
  readonly equal: boolean;
  readonly differs?: readonly [O, O];
  /** Where the home was asked: each copy that is known there. */
  readonly copies?: readonly RegionVerifiedCopy<O>[];
}

/**
 * What the comparison of one copy with its home has shown, where the home was asked.
 *
 * @example
 * ```ts
 * const { copies = [] } = await np.regions.verify({ channelId: "ml.models" });
 * const failed: RegionVerifiedCopy[] = copies.filter(({ differs, error }) => differs ?? error);
 * ```
 */
export interface RegionVerifiedCopy<O extends OffsetType = number> {
  /** The region that holds it. */
  readonly region: string;
  readonly from: O;
  readonly to: O;
  readonly batches: number;
  /** Where the first range that differs begins, and the offset after it. */
  readonly differs?: readonly [O, O];
  /** Why it was not compared, or not to its end. */
  readonly error?: string;
}

/**
 * The new home of a channel.
 *
 * @example
 * ```ts
 * const { home, missing }: RegionMoved = await np.regions.move({ channelId: "orders", to: "eu-west" });
 * ```
 */
export interface RegionMoved<O extends OffsetType = number> {
  readonly name: string;
  readonly incarnation: string;
  readonly home: string;
  /** Term of its log epochs. */
  readonly term: number;
  /** The first offset that it appends. */
  readonly start: O;
  /** Whether the home before did not agree. */
  readonly forced: boolean;
  /** Records that may be lost by a forced move; `to` is null where nobody can know. */
  readonly missing?: { readonly from: O; readonly to: O | null };
}

type Wire = Record<string, unknown>;

/** Gives the offsets of an answer the type that the client was made with; `null` and what is missing stay. */
export function withOffsets(row: Wire, offsets: OffsetCodec<OffsetType>, fields: readonly string[]): Wire {
  const found = fields.filter((field) => row[field] !== undefined && row[field] !== null);
  return { ...row, ...Object.fromEntries(found.map((field) => [field, offsets.ofJson(row[field], field)])) };
}

/** The same of a pair of offsets. */
function pair(range: unknown, offsets: OffsetCodec<OffsetType>): [OffsetType, OffsetType] {
  const [from, to] = range as [unknown, unknown];
  return [offsets.ofJson(from, "from"), offsets.ofJson(to, "to")];
}

export function channelLogs<O extends OffsetType>(wire: Wire, offsets: OffsetCodec<O>): ChannelLogs<O> & { readonly version: bigint } {
  const logs = (wire.logs as Wire[]).map((row) => channelLog(row, offsets));
  const version = BigInt(wire.version as number | bigint);
  return { ...wire, logs, version, unreachable: wire.unreachable ?? [] } as unknown as ChannelLogs<O> & { readonly version: bigint };
}

function channelLog<O extends OffsetType>(row: Wire, offsets: OffsetCodec<O>): ChannelLog<O> {
  return withOffsets(row, offsets as never, ["logStart", "flushed", "highWatermark"]) as unknown as ChannelLog<O>;
}

export function regionStatus<O extends OffsetType>(wire: Wire, offsets: OffsetCodec<O>): RegionStatus<O> {
  const copies = (wire.copies as Wire[]).map((row) => ({
    ...withOffsets(row, offsets as never, ["beginsAt", "next", "homeFlushed"]),
    gaps: ((row.gaps ?? []) as unknown[]).map((range) => pair(range, offsets as never)),
  }));
  const logs = ((wire.logs ?? []) as Wire[]).map((row) => channelLog(row, offsets));
  return { ...wire, copies, logs } as unknown as RegionStatus<O>;
}

export function regionVerified<O extends OffsetType>(wire: Wire, offsets: OffsetCodec<O>): RegionVerified<O> {
  const compared = (row: Wire): Wire => ({
    ...withOffsets(row, offsets as never, ["from", "to"]),
    ...(row.differs === undefined ? {} : { differs: pair(row.differs, offsets as never) }),
  });
  const copies = wire.copies as Wire[] | undefined;
  return { ...compared(wire), ...(copies === undefined ? {} : { copies: copies.map(compared) }) } as unknown as RegionVerified<O>;
}

export function regionMoved<O extends OffsetType>(wire: Wire, offsets: OffsetCodec<O>): RegionMoved<O> {
  const told = withOffsets(wire, offsets as never, ["start"]);
  const missing = wire.missing === undefined ? {} : { missing: withOffsets(wire.missing as Wire, offsets as never, ["from", "to"]) };
  return { ...told, ...missing } as unknown as RegionMoved<O>;
}
