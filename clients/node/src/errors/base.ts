/** Marks the errors of every copy of this package, loaded with `import` or with `require`. */
const BRANDS = Symbol.for("@npayload/node.error");

/**
 * Values of an error for programs; each error class names those it always has.
 *
 * @example
 * ```ts
 * const details: ErrorDetails = error.details;
 * ```
 */
export type ErrorDetails = Readonly<Record<string, unknown>>;

/**
 * What an error is made of.
 *
 * @example
 * ```ts
 * const error = new NPayloadError({ code: "MINE", message: "of this program", retryable: false });
 * ```
 */
export interface ErrorFields {
  /** Stable name of the error, such as `OFFSET_TRIMMED`. */
  readonly code: string;
  /** For people, with the values that disagree. */
  readonly message: string;
  /** Whether the same call may succeed later without being changed. */
  readonly retryable: boolean;
  /** Number of the code in the wire protocol, where the broker has answered with it. */
  readonly number?: number | undefined;
  /** Which request it was: number of the connection, then of the request on it. */
  readonly requestId?: string | undefined;
  /** Values for programs. */
  readonly details?: ErrorDetails | undefined;
  /** How long to wait before the next try, in milliseconds. */
  readonly retryAfterMs?: number | undefined;
  /** What led to it. */
  readonly cause?: unknown;
}

/**
 * Base of every error of this package. `instanceof` holds across copies of the package, so one that was thrown by the
 * ES module is recognised by the CommonJS one.
 *
 * @example
 * ```ts
 * try {
 *   await np.streams.consume({ streamId: "ml.feedback", fromOffset: 0 });
 * } catch (error) {
 *   if (error instanceof NPayloadError && error.retryable) setTimeout(again, error.retryAfterMs ?? 1000);
 *   else throw error;
 * }
 * ```
 */
export class NPayloadError extends Error {
  /** @internal Name by which copies of the package recognise the class. */
  static readonly brand: string = "NPayloadError";

  /** Stable name of the error, such as `OFFSET_TRIMMED` or `CONNECTION_LOST`. */
  readonly code: string;
  /** Number of the code in the wire protocol; undefined for errors of the client itself. */
  readonly number: number | undefined;
  /** Whether the same call may succeed later without being changed. */
  readonly retryable: boolean;
  /** Which request it was: number of the connection, a dot, number of the request on it. */
  readonly requestId: string | undefined;
  /** Values for programs; empty where there are none. */
  readonly details: ErrorDetails;
  /** How long to wait before the next try, in milliseconds, where the broker says so. */
  readonly retryAfterMs: number | undefined;

  constructor(fields: ErrorFields) {
    super(fields.message, fields.cause === undefined ? undefined : { cause: fields.cause });
    this.code = fields.code;
    this.number = fields.number;
    this.retryable = fields.retryable;
    this.requestId = fields.requestId;
    this.details = fields.details ?? {};
    this.retryAfterMs = fields.retryAfterMs;
    const brands: string[] = [];
    for (let type = new.target as object; typeof type === "function"; type = Object.getPrototypeOf(type) as object) {
      if (Object.hasOwn(type, "brand")) brands.push((type as unknown as { brand: string }).brand);
    }
    Object.defineProperty(this, BRANDS, { value: brands });
    Object.defineProperty(this, "name", { value: brands[0], writable: true, configurable: true });
  }

  static override [Symbol.hasInstance](value: unknown): boolean {
    if (Function.prototype[Symbol.hasInstance].call(this, value)) return true;
    if (typeof value !== "object" || value === null || !Object.hasOwn(this, "brand")) return false;
    const brands = (value as Record<symbol, unknown>)[BRANDS];
    return Array.isArray(brands) && brands.includes(this.brand);
  }

  /** The error without its stack, for logs that take JSON. */
  toJSON(): Record<string, unknown> {
    const { name, code, message, retryable, requestId, details } = this;
    return { name, code, message, retryable, requestId, details: plain(details) };
  }
}

function plain(value: ErrorDetails): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(value).map(([name, item]) => [name, typeof item === "bigint" ? item.toString() : item]),
  );
}
