import { InvalidArgumentError } from "../../errors/index.js";

/**
 * A time as it may be given: ISO 8601 with its zone (`2026-03-15T00:00:00Z`, or a date alone, which begins in UTC), a `Date`,
 * or milliseconds since 1970.
 *
 * @example
 * ```ts
 * const deadlines: Instant[] = ["2026-03-15T00:00:00Z", new Date(Date.now() + 3_600_000), 1_773_532_800_000];
 * ```
 */
export type Instant = string | Date | number;

const ISO = /^[+-]?\d{4,6}-\d\d-\d\d(?:T\d\d:\d\d(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:\d\d))?$/;

/** Milliseconds since 1970. A text without a zone would mean another time on another machine, so it is none. */
export function millisecondsOf(instant: Instant, name: string): number {
  const ms = typeof instant === "string" ? (ISO.test(instant) ? Date.parse(instant) : NaN) : Number(instant);
  if (Number.isSafeInteger(ms)) return ms;
  const shown = instant instanceof Date ? "an invalid date" : JSON.stringify(instant) ?? String(instant);
  throw new InvalidArgumentError(`${name} is ${shown}, where a time is needed: ISO 8601 with its zone, a Date, or whole milliseconds since 1970`);
}
