import type { Requester } from "../connection/requester.js";
import type { CallOptions, Place } from "../options.js";
import { CopyPartialError, InvalidArgumentError, NPayloadError, OffsetTrimmedError, RegionUnreachableError } from "../errors/index.js";
import { offsetInput } from "../offset.js";
import { FETCH, FETCH_BEYOND } from "../wire/kinds.js";
import { decodeFetchAnswer, encodeFetch, encodeFetchBeyond, type FetchAnswer, type FetchFrom, MAX_FETCH_TYPES } from "../wire/messages.js";
import type { Cursor } from "./cursor.js";

/** How much to fetch, and how long to wait for it. */
export interface FetchLimits {
  readonly maxBytes: number;
  readonly maxWaitMs: number;
}

/**
 * What a reader wants of a channel, and where it is read.
 *
 * @example
 * ```ts
 * const wanted: ReadOptions = { types: ["model.deployed"], readHome: false };
 * ```
 */
export interface ReadOptions {
  /** Hands out only messages of these types, at most 100; of all unless given. A copy that is of these types serves such a reader. */
  readonly types?: readonly string[] | undefined;
  /**
   * Whether what a region's copy does not have, records before its first one or of types that it is not of, is read at the
   * channel's home, which has to be in reach for it; true unless given. With false it is `CopyPartialError`.
   */
  readonly readHome?: boolean | undefined;
}

/** The types that a reader wants, checked. */
export function typesInput(types: readonly string[] | undefined): ReadonlySet<string> | undefined {
  if (types === undefined) return undefined;
  if (types.length === 0 || types.length > MAX_FETCH_TYPES) {
    throw new InvalidArgumentError(`${types.length} types, where 1 to ${MAX_FETCH_TYPES} are needed`);
  }
  return new Set(types);
}

/**
 * One fetch from where the cursor stands. Reading twice is the same as once, so it is tried again after a lost connection.
 * Once a copy lacks what is read, it is asked for with that in mind.
 */
export async function fetch(requester: Requester, cursor: Cursor, limits: FetchLimits, options: CallOptions): Promise<FetchAnswer> {
  const { from, incarnation, lastEpoch, channel, readHome, types } = cursor;
  const { maxBytes, maxWaitMs } = limits;
  const fields = { channel: channel.name, incarnation, from, lastEpoch, maxBytes, minBytes: 1, maxWaitMs };
  const ask = (kind: number, body: Buffer): Promise<Buffer> =>
    requester.binary(kind, `reading ${channel.name}`, [body], options, { idempotent: true }, maxWaitMs);
  const beyond = async (): Promise<FetchAnswer> => decodeFetchAnswer(await ask(FETCH_BEYOND, encodeFetchBeyond({ ...fields, readHome, types: [...(types ?? [])] })));
  if (cursor.isBeyond) return beyond();
  let trimmed: OffsetTrimmedError;
  try {
    const answer = decodeFetchAnswer(await ask(FETCH, encodeFetch(fields)));
    cursor.mayGoBeyond = requester.link.hello?.kinds.has("fetch.beyond") ?? false;
    return answer;
  } catch (error) {
    if (!(error instanceof OffsetTrimmedError) || !requester.link.hello?.kinds.has("fetch.beyond")) throw error;
    trimmed = error;
  }
  // A copy begins later, and its home may have it.
  try {
    const answer = await beyond();
    cursor.isBeyond = true;
    return answer;
  } catch (error) {
    const isOfBroker = error instanceof NPayloadError && error.number !== undefined;
    throw isOfBroker && !(error instanceof RegionUnreachableError) && !(error instanceof CopyPartialError) ? trimmed : error;
  }
}

/** Checks a number of bytes or of records that a caller gave. */
export function atLeastOne(value: number, name: string, most = Number.MAX_SAFE_INTEGER): number {
  if (value === Infinity && most === Number.MAX_SAFE_INTEGER) return value;
  if (!Number.isSafeInteger(value) || value < 1 || value > most) {
    throw new InvalidArgumentError(`${name} is ${value}, where a whole number from 1 to ${most} is needed`);
  }
  return value;
}

/** Milliseconds of a time that a caller gave. */
export function timeInput(time: number | Date, name: string): number {
  const ms = typeof time === "number" ? time : time.getTime();
  if (!Number.isSafeInteger(ms)) throw new InvalidArgumentError(`${name} is ${String(time)}, which is no time in whole milliseconds`);
  return ms;
}

/** A place as the broker's JSON requests have it. */
export function placeJson(place: Place): Record<string, unknown> {
  if ("offset" in place) return { offset: offsetInput(place.offset, "offset") };
  if ("time" in place) return { time: timeInput(place.time, "time") };
  if ("back" in place) return { back: offsetInput(place.back, "back") };
  if ("start" in place) return { start: true };
  if ("end" in place) return { end: true };
  throw new InvalidArgumentError("a place is one of { offset }, { start: true }, { end: true }, { time } and { back }");
}

/**
 * Where a reader begins: at one of these, else at the log start.
 *
 * @example
 * ```ts
 * const yesterday: BeginOptions = { fromTime: Date.now() - 86_400_000 };
 * ```
 */
export interface BeginOptions {
  /** The first record to read, inclusive. */
  readonly fromOffset?: number | bigint | undefined;
  /** The first record appended at this time or later: milliseconds since 1970, or a date. */
  readonly fromTime?: number | Date | undefined;
  /** `start`: the lowest offset that can be read; `end`: only what is published from now on. */
  readonly from?: "start" | "end" | undefined;
}

/** Where to begin, as a fetch has it. */
export function beginning({ fromOffset, fromTime, from }: BeginOptions): FetchFrom {
  const given = [fromOffset, fromTime, from].filter((value) => value !== undefined).length;
  if (given > 1) throw new InvalidArgumentError("only one of fromOffset, fromTime and from can be given");
  if (fromOffset !== undefined) return { kind: "offset", offset: offsetInput(fromOffset, "fromOffset") };
  if (fromTime !== undefined) return { kind: "time", time: timeInput(fromTime, "fromTime") };
  if (from !== undefined && from !== "start" && from !== "end") throw new InvalidArgumentError(`from is "${String(from)}", where "start" or "end" is needed`);
  return { kind: from ?? "start" };
}
