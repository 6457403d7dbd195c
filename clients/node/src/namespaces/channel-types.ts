import type { CompressionName } from "../batch/compression.js";
import type { OffsetCodec, OffsetType } from "../offset.js";
import type { DurabilityLevel } from "../wire/messages.js";

/**
 * What a channel keeps and promises; fields that are left out take the broker's defaults.
 *
 * @example
 * ```ts
 * const config: ChannelConfig = { retentionDays: 365, maxRecordBytes: 4 << 20 };
 * ```
 */
export interface ChannelConfig {
  /** Age at which whole segments are dropped, in days; 7 by default, null for ever. */
  readonly retentionDays?: number | null | undefined;
  /** Size above which the oldest segments are dropped, in bytes; null, the default: no limit. */
  readonly retentionBytes?: number | null | undefined;
  /** What an acknowledgement promises: `synced` (the default) survives a power cut, `written` a killed broker. */
  readonly durability?: DurabilityLevel | undefined;
  /** With `written`: longest time between syncs, in milliseconds; 200 by default. */
  readonly syncIntervalMs?: number | undefined;
  /** Size at which a segment is sealed, 4096 to 1073741824 bytes; 134217728 by default. */
  readonly segmentBytes?: number | undefined;
  /** Largest record in bytes, up to 67108864; 1048576 by default. */
  readonly maxRecordBytes?: number | undefined;
  /** What producers may use; all by default. */
  readonly compression?: readonly CompressionName[] | undefined;
  /** Whether the broker encrypts what comes on its disk; `off` by default. */
  readonly encryption?: "on" | "off" | undefined;
  /** One log, whose home is the region where the channel is made (the default), or a log for each region; stays so. */
  readonly regions?: "one" | "each" | undefined;
}

/**
 * A configuration with all its fields.
 *
 * @example
 * ```ts
 * const { retentionDays, durability }: FullChannelConfig = channel.config;
 * ```
 */
export type FullChannelConfig = { readonly [K in keyof ChannelConfig]-?: Exclude<ChannelConfig[K], undefined> };

/**
 * Stored bytes that no longer match their checksum.
 *
 * @example
 * ```ts
 * const lost = channel.damage.map(({ firstOffset, endOffset }: Damage) => endOffset - firstOffset);
 * ```
 */
export interface Damage<O extends OffsetType = number> {
  /** First offset that cannot be read, and the one after the last. */
  readonly firstOffset: O;
  readonly endOffset: O;
  /** Below the broker's data directory. */
  readonly file: string;
  /** First damaged byte of the file, and how many there are. */
  readonly position: number;
  readonly length: number;
  /** What is wrong, for a person. */
  readonly what: string;
}

/**
 * A channel as it is; a stream is a channel that is opened for replay.
 *
 * @example
 * ```ts
 * const channel: ChannelInfo = await np.channels.get({ channelId: "orders" });
 * ```
 */
export interface ChannelInfo<O extends OffsetType = number> {
  /** Identity of this life of the channel, 32 hexadecimal digits. Every call takes it in place of the name. */
  readonly id: string;
  readonly name: string;
  /** Lowest offset that can be read. */
  readonly logStart: O;
  /** Everything below survives a power cut. */
  readonly flushed: O;
  /** Everything below can be read: the end of the channel for readers. */
  readonly highWatermark: O;
  /** Offset that the next record will get. */
  readonly logEnd: O;
  /** Size on the broker's disk. */
  readonly bytes: number;
  readonly segments: number;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
  readonly logEpoch: bigint;
  /** Stored bytes that no longer match their checksum; empty on a healthy channel. */
  readonly damage: readonly Damage<O>[];
  /** Why it takes no more records; null when it does. */
  readonly writesRefused: string | null;
  /** The operating system's error number, where one is the reason; else null. */
  readonly errno: number | null;
  readonly config: FullChannelConfig;
  /** The newest key that encrypts the channel, or did; not there where there never was one. */
  readonly encryptionKey?: {
    readonly id: number;
    readonly createdAt: number;
    readonly from: O;
    readonly keys: number;
    readonly locked: string | null;
  };
}

/** A channel as the broker's JSON has it: every offset is a number or, above 2^53 - 1, a bigint. */
export interface WireChannelInfo {
  readonly id: string;
  readonly name: string;
  readonly config: FullChannelConfig;
  readonly damage: readonly Record<string, unknown>[];
  readonly encryptionKey?: Record<string, unknown>;
  readonly [field: string]: unknown;
}

/** The configuration of a channel; the broker leaves out what only a channel with a log for each region has. */
export function fullConfig({ config }: WireChannelInfo): FullChannelConfig {
  return config.regions === undefined ? { ...(config as FullChannelConfig), regions: "one" } : config;
}

export function channelInfo<O extends OffsetType>(wire: WireChannelInfo, offsets: OffsetCodec<O>): ChannelInfo<O> {
  const { incarnation: _, encryptionKey: key, ...rest } = wire;
  const info = { ...rest, config: fullConfig(wire) } as Record<string, unknown>;
  for (const field of ["logStart", "flushed", "highWatermark", "logEnd"]) info[field] = offsets.ofJson(wire[field], field);
  info.logEpoch = BigInt(wire.logEpoch as number | bigint);
  info.damage = wire.damage.map((row) => ({
    ...row,
    firstOffset: offsets.ofJson(row.firstOffset, "firstOffset"),
    endOffset: offsets.ofJson(row.endOffset, "endOffset"),
  }));
  if (key !== undefined) info.encryptionKey = { ...key, from: offsets.ofJson(key.from, "from") };
  return info as unknown as ChannelInfo<O>;
}
