import type { Requester } from "../connection/requester.js";
import type { CallOptions, Place } from "../options.js";
import { InvalidArgumentError } from "../errors/index.js";
import { offsetInput } from "../offset.js";
import { FETCH } from "../wire/kinds.js";
import { decodeFetchAnswer, encodeFetch, type FetchAnswer, type FetchFrom } from "../wire/messages.js";
import type { Cursor } from "./cursor.js";

/** How much to fetch, and how long to wait for it. */
export interface FetchLimits {
  readonly maxBytes: number;
  readonly maxWaitMs: number;
}

/** One fetch from where the cursor stands. Reading twice is the same as once, so it is tried again after a lost connection. */
export async function fetch(requester: Requester, cursor: Cursor, limits: FetchLimits, options: CallOptions): Promise<FetchAnswer> {
  const { from, incarnation, lastEpoch, channel } = cursor;
  const { maxBytes, maxWaitMs } = limits;
  const body = encodeFetch({ channel: channel.name, incarnation, from, lastEpoch, maxBytes, minBytes: 1, maxWaitMs });
  const answer = await requester.binary(FETCH, `reading ${channel.name}`, [body], options, { idempotent: true }, maxWaitMs);
  return decodeFetchAnswer(answer);
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
