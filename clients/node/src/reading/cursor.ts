import { readStoredBatch, type StoredBatch } from "../batch/stored.js";
import type { ChannelRef } from "../channel-names.js";
import { CorruptDataError, type LostRecords, OffsetGapError, RecordsLostError } from "../errors/index.js";
import { type Message, readMessages } from "../message.js";
import { BIGINT_OFFSETS, type OffsetCodec, type OffsetType } from "../offset.js";
import type { FetchAnswer, FetchFrom } from "../wire/messages.js";
import { type ReadOptions, typesInput } from "./fetch.js";

/**
 * What a reader does where records were lost: called with them, it goes on behind them.
 *
 * @example
 * ```ts
 * const onLost: OnLost = ({ channel, first, end }) => console.error(`${channel}: ${first} to ${end} are lost`);
 * ```
 */
export type OnLost = (lost: LostRecords) => void;

/** A stretch of a channel, checked: messages of one batch, or lost records. */
export interface Stretch {
  readonly batch: StoredBatch;
  /** The first offset of it that is wanted, and the one after the last. */
  readonly from: bigint;
  readonly to: bigint;
}

/**
 * A place in a channel that moves with every answer. Nothing is handed out that is damaged, foreign or out of order, and
 * nothing is passed over in silence.
 */
export class Cursor {
  incarnation: string | undefined;
  lastEpoch: bigint;
  /** Whether the next batch may begin below the offset that is asked for: until the first came. */
  private mayBeginBelow = true;
  /** Whether what a copy lacks is read at its home, and the record types that are wanted. */
  readonly readHome: boolean;
  readonly types: ReadonlySet<string> | undefined;
  /** Whether the broker can be asked for what a copy lacks. */
  mayGoBeyond = false;
  /** Whether the broker's copy lacks what is read: it is asked for with that in mind from now on. */
  isBeyond = false;

  constructor(
    readonly channel: ChannelRef,
    public from: FetchFrom,
    { readHome = true, types }: ReadOptions = {},
    position: { readonly incarnation?: string | undefined; readonly lastEpoch?: bigint | undefined } = {},
  ) {
    this.incarnation = position.incarnation ?? channel.incarnation;
    this.lastEpoch = position.lastEpoch ?? 0n;
    this.readHome = readHome;
    this.types = typesInput(types);
  }

  /**
   * Checks the batches of an answer and moves behind them, but not behind those that a copy has passed over and that may be
   * wanted: `isBeyond` is set then.
   *
   * @throws CorruptDataError, OffsetGapError
   */
  take(answer: FetchAnswer): Stretch[] {
    const { fromOffset, incarnation, batches } = answer;
    if (this.from.kind === "offset" && this.from.offset !== fromOffset) throw new OffsetGapError(this.from.offset, fromOffset);
    this.checkIncarnation(incarnation, fromOffset);
    this.incarnation = incarnation;
    const stretches: Stretch[] = [];
    let next = fromOffset;
    for (let at = 0; at < batches.length; ) {
      const batch = this.checked(batches, at, next);
      const { baseOffset, endOffset } = batch;
      this.checkIncarnation(batch.incarnation, baseOffset);
      const follows = baseOffset === next || (this.mayBeginBelow && baseOffset < next && endOffset > next);
      if (!follows) throw new OffsetGapError(next, baseOffset);
      if (!this.isBeyond && this.mayGoBeyond && lacks(batch, this.types)) {
        this.isBeyond = true;
        break;
      }
      stretches.push({ batch, from: next, to: endOffset });
      next = endOffset;
      this.mayBeginBelow = false;
      this.lastEpoch = batch.logEpoch;
      at += batch.bytes.length;
    }
    this.from = { kind: "offset", offset: next };
    return stretches;
  }

  private checked(batches: Buffer, at: number, next: bigint): StoredBatch {
    try {
      return readStoredBatch(batches, at);
    } catch (error) {
      if (!(error instanceof CorruptDataError)) throw error;
      throw new CorruptDataError(`${this.channel.name} at offset ${next}: ${error.message}`, { ...error.details, offset: next });
    }
  }

  private checkIncarnation(found: string, offset: bigint): void {
    if (this.incarnation === undefined || this.incarnation === found) return;
    const message = `${this.channel.name} at offset ${offset} belongs to the incarnation ${found} instead of ${this.incarnation}`;
    throw new CorruptDataError(message, { expected: this.incarnation, found });
  }
}

/** Reason of a gap that a copy of some record types has in place of batches of others. */
const FILTERED = "filtered";

/** Whether a copy has passed over batches here that may hold what is wanted. */
function lacks(batch: StoredBatch, types: ReadonlySet<string> | undefined): boolean {
  return batch.isGap && gapOf(batch).reason === FILTERED && !lacksOnlyOthers(batch, types);
}

/** Whether a copy has passed over batches here since they are of other types than it is of, and it is of all that are wanted. */
export function lacksOnlyOthers(batch: StoredBatch, types: ReadonlySet<string> | undefined): boolean {
  if (!batch.isGap || types === undefined) return false;
  const { reason, types: of } = gapOf(batch);
  return reason === FILTERED && Array.isArray(of) && [...types].every((type) => of.includes(type));
}

/** Limits of {@link takeMessages}. */
export interface TakeLimits {
  readonly types?: ReadonlySet<string> | undefined;
  readonly max?: number;
  readonly maxBytes?: number;
}

/**
 * Appends the messages of a stretch to `target`, and returns the bytes of their records and the offset after what was
 * read. Lost records are told to `onLost`; those of a copy that are of types which are not wanted are passed over.
 *
 * @throws RecordsLostError for lost records, without `onLost`.
 */
export function takeMessages<P, O extends OffsetType>(
  target: Message<P, O>[],
  channel: string,
  { batch, from, to }: Stretch,
  offsets: OffsetCodec<O>,
  onLost: OnLost | undefined,
  limits: TakeLimits = {},
): { readonly bytes: number; readonly next: bigint } {
  if (!batch.isGap) return readMessages(target, channel, batch, offsets, { from, to, ...limits });
  if (lacksOnlyOthers(batch, limits.types)) return { bytes: 0, next: to };
  const lost = lostRecords(channel, batch, from, to);
  if (onLost === undefined) throw new RecordsLostError(lost);
  onLost(lost);
  return { bytes: 0, next: to };
}

/** Lost records as a reader is told of them. */
function lostRecords(channel: string, batch: StoredBatch, first: bigint, end: bigint): LostRecords {
  const told = gapOf(batch);
  const text = (value: unknown): string => (typeof value === "string" ? value : "");
  return { channel, first, end, reason: text(told.reason), what: text(told.what), file: text(told.file) };
}

/** What a gap says of itself. */
function gapOf(batch: StoredBatch): Readonly<Record<string, unknown>> {
  const records: Message<Record<string, unknown> | undefined, bigint>[] = [];
  try {
    readMessages(records, "", batch, BIGINT_OFFSETS, { from: batch.baseOffset, to: batch.endOffset });
    return records[0]?.payload ?? {};
  } catch {
    // A small gap has no room to say why: its flag alone tells it.
    return {};
  }
}
