import type { DurabilityLevel } from "../wire/messages.js";
import type { OffsetType } from "../offset.js";

/**
 * What the broker has promised for one record.
 *
 * @example
 * ```ts
 * const { offset, level, duplicate }: PublishAck = await np.messages.publish({ channelId: "orders", payload });
 * ```
 */
export interface PublishAck<O extends OffsetType = number> {
  /** Name of the channel. */
  readonly channel: string;
  /** Number of the record in its channel. */
  readonly offset: O;
  /** `synced`: it survives a power cut; `written`: it survives a killed broker. */
  readonly level: DurabilityLevel;
  /** When it was appended, by the broker's clock: milliseconds since 1970. */
  readonly appendTime: number;
  /** Whether an earlier try had appended it; it is there once either way. */
  readonly duplicate: boolean;
  /** The log epoch that it was stamped with. */
  readonly logEpoch: bigint;
  /** Identity of the channel's present life. */
  readonly incarnation: string;
}

/**
 * What the broker has promised for the records of one batch, which are there all or none.
 *
 * @example
 * ```ts
 * const { firstOffset, lastOffset }: BatchAck = await np.messages.publishBatch({ channelId: "orders", messages });
 * ```
 */
export interface BatchAck<O extends OffsetType = number> extends Omit<PublishAck<O>, "offset"> {
  /** Number of the first record. */
  readonly firstOffset: O;
  /** Number of the last record. */
  readonly lastOffset: O;
  /** How many records there are. */
  readonly count: number;
}
