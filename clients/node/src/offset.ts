import { InvalidArgumentError, UnsafeOffsetError } from "./errors/index.js";

/**
 * How a client hands offsets out: as numbers up to 2^53 - 1 (larger ones are an error), or as bigints.
 *
 * @example
 * ```ts
 * const last = <O extends OffsetType>(messages: readonly Message<unknown, O>[]): O | undefined => messages.at(-1)?.offset;
 * ```
 */
export type OffsetType = number | bigint;

/**
 * Name of a way to hand offsets out.
 *
 * @example
 * ```ts
 * const mode: OffsetMode = "bigint";
 * ```
 */
export type OffsetMode = "number" | "bigint";

/**
 * The type of offsets that a way hands out.
 *
 * @example
 * ```ts
 * const offset: OffsetOf<"bigint"> = 42n;
 * ```
 */
export type OffsetOf<M extends OffsetMode> = M extends "bigint" ? bigint : number;

/**
 * An offset as it may be given to every call, whichever way they are handed out.
 *
 * @example
 * ```ts
 * const from: OffsetInput = 9_007_199_254_740_993n;
 * ```
 */
export type OffsetInput = number | bigint;

const MAX_SAFE = BigInt(Number.MAX_SAFE_INTEGER);
const MAX_OFFSET = 0xffff_ffff_ffff_fffdn;

/** Hands offsets out in the way that the client was made with. */
export interface OffsetCodec<O extends OffsetType> {
  readonly isBigint: boolean;
  of(offset: bigint): O;
  /** The offset that many behind `base`. */
  at(base: bigint, index: number): O;
  /** A whole number out of a JSON answer. */
  ofJson(value: unknown, field: string): O;
}

export const NUMBER_OFFSETS: OffsetCodec<number> = {
  isBigint: false,
  of: safeNumber,
  at(base, index) {
    const offset = Number(base) + index;
    return offset <= Number.MAX_SAFE_INTEGER ? offset : safeNumber(base + BigInt(index));
  },
  ofJson(value, field) {
    if (typeof value === "number") return value;
    throw new UnsafeOffsetError(BigInt(value as bigint), field);
  },
};

export const BIGINT_OFFSETS: OffsetCodec<bigint> = {
  isBigint: true,
  of: (offset) => offset,
  at: (base, index) => base + BigInt(index),
  ofJson: (value) => BigInt(value as number | bigint),
};

/** The offset as a number. Throws where it would be rounded. */
export function safeNumber(offset: bigint): number {
  if (offset > MAX_SAFE) throw new UnsafeOffsetError(offset);
  return Number(offset);
}

/** An offset that a caller gave, checked: a number must be whole and hold the offset exactly. */
export function offsetInput(value: OffsetInput, name: string): bigint {
  if (typeof value === "number" ? !Number.isSafeInteger(value) || value < 0 : typeof value !== "bigint" || value < 0n || value > MAX_OFFSET) {
    const hint = typeof value === "number" && value > Number.MAX_SAFE_INTEGER ? "; give a bigint above 2^53 - 1" : "";
    throw new InvalidArgumentError(`${name} is ${String(value)}, where an offset of 0 or more is needed${hint}`);
  }
  return BigInt(value);
}
