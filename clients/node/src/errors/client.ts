import { type ErrorDetails, type ErrorFields, NPayloadError } from "./base.js";

type Rest = Partial<Omit<ErrorFields, "code" | "message" | "retryable">>;

/**
 * No connection could be made: nobody listens there, or whoever does is no broker. `cause` is what the operating system
 * said.
 *
 * @example
 * ```ts
 * if (error instanceof ConnectError) console.error("is the broker running?", error.cause);
 * ```
 */
export class ConnectError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "ConnectError";
  constructor(message: string, rest: Rest & { retryable?: boolean } = {}) {
    super({ retryable: true, ...rest, code: "CONNECT_FAILED", message });
  }
}

/**
 * The connection ended before the answer came: the request may have been carried out.
 *
 * @example
 * ```ts
 * if (error instanceof ConnectionLostError) await again();
 * ```
 */
export class ConnectionLostError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "ConnectionLostError";
  constructor(message: string, rest: Rest = {}) {
    super({ ...rest, code: "CONNECTION_LOST", message, retryable: true });
  }
}

/**
 * The client was closed, so it carries out nothing any more.
 *
 * @example
 * ```ts
 * if (error instanceof ClosedError) return; // on the way out
 * ```
 */
export class ClosedError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "ClosedError";
  constructor(message = "the client is closed", rest: Rest = {}) {
    super({ ...rest, code: "CLIENT_CLOSED", message, retryable: false });
  }
}

/**
 * No answer came in time: the request may have been carried out. `cause` is what failed last, where something did.
 *
 * @example
 * ```ts
 * if (error instanceof RequestTimeoutError) console.warn("no answer after", error.details.timeoutMs, "ms");
 * ```
 */
export class RequestTimeoutError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "RequestTimeoutError";
  declare readonly details: ErrorDetails & { readonly timeoutMs: number };
  constructor(what: string, timeoutMs: number, rest: Rest = {}) {
    const message = `${what}: no answer within ${timeoutMs} ms`;
    super({ ...rest, code: "REQUEST_TIMEOUT", message, retryable: true, details: { timeoutMs } });
  }
}

/**
 * The call's `signal` was aborted; `cause` is the signal's reason. What was sent before may have been carried out.
 *
 * @example
 * ```ts
 * if (error instanceof AbortError) return;
 * ```
 */
export class AbortError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "AbortError";
  constructor(reason: unknown) {
    super({ code: "ABORT_ERR", message: "the operation was aborted", retryable: false, cause: reason });
  }
}

/**
 * `maxQueuedBytes` wait to be acknowledged, and a thousand publishes wait for room behind them, as happens where publishes
 * are not awaited: nothing was taken of this one. Await some of the earlier publishes, then try again.
 *
 * @example
 * ```ts
 * if (error instanceof QueueFullError) await Promise.allSettled(earlier);
 * ```
 */
export class QueueFullError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "QueueFullError";
  declare readonly details: ErrorDetails & { readonly queuedBytes: number; readonly limit: number };
  constructor(queuedBytes: number, limit: number) {
    super({
      code: "QUEUE_FULL",
      message: `${queuedBytes} bytes wait to be published, and the limit is ${limit}: await earlier publishes`,
      retryable: true,
      details: { queuedBytes, limit },
    });
  }
}

/**
 * A whole number above 2^53 - 1 does not fit a JavaScript number. `new NPayload({ offsets: "bigint" })` hands out
 * bigints instead; nothing is ever rounded.
 *
 * @example
 * ```ts
 * if (error instanceof UnsafeOffsetError) console.error(error.details.value); // a bigint
 * ```
 */
export class UnsafeOffsetError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "UnsafeOffsetError";
  declare readonly details: ErrorDetails & { readonly value: bigint };
  constructor(value: bigint, what = "offset") {
    super({
      code: "OFFSET_UNSAFE",
      message: `${what} ${value} is above 2^53 - 1: make the client with { offsets: "bigint" }`,
      retryable: false,
      details: { value },
    });
  }
}

/**
 * What the broker has sent fails its checks: a checksum, a length, the identity of the channel, or the order of offsets.
 *
 * @example
 * ```ts
 * if (error instanceof CorruptDataError) console.error(error.message); // names the offset
 * ```
 */
export class CorruptDataError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "CorruptDataError";
  constructor(message: string, details: ErrorDetails = {}) {
    super({ code: "DATA_CORRUPT", message, retryable: false, details });
  }
}

/**
 * A batch does not begin where the one before ended. Records between the two would have been passed over.
 *
 * @example
 * ```ts
 * if (error instanceof OffsetGapError) console.error(error.details.expected, error.details.found);
 * ```
 */
export class OffsetGapError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "OffsetGapError";
  declare readonly details: ErrorDetails & { readonly expected: bigint; readonly found: bigint };
  constructor(expected: bigint, found: bigint) {
    const message = `the broker answered with offset ${found} where ${expected} had to follow`;
    super({ code: "OFFSET_GAP", message, retryable: false, details: { expected, found } });
  }
}

/**
 * Records that the broker's disk has lost, as a repair has found.
 *
 * @example
 * ```ts
 * const count = ({ first, end }: LostRecords): bigint => end - first;
 * ```
 */
export interface LostRecords {
  /** Channel that held them. */
  readonly channel: string;
  /** First offset that is lost. */
  readonly first: bigint;
  /** Offset after the last one that is lost: where to go on. */
  readonly end: bigint;
  /** Why: `damaged`, `missing`, `journal`, `uncertain` or another word; empty when it is not known. */
  readonly reason: string;
  /** What was wrong, for a person; may be empty. */
  readonly what: string;
  /** File in the broker's data directory; empty when it is not known. */
  readonly file: string;
}

/**
 * The records that follow were lost by the broker's disk. Read on from `details.end` once the program knows what that
 * means, or give `onLost`.
 *
 * @example
 * ```ts
 * if (error instanceof RecordsLostError) await resume({ fromOffset: error.details.end });
 * ```
 */
export class RecordsLostError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "RecordsLostError";
  declare readonly details: ErrorDetails & LostRecords;
  constructor(lost: LostRecords) {
    const why = [lost.reason, lost.what].filter((text) => text !== "").join(": ");
    super({
      code: "RECORDS_LOST",
      message: `the records of ${lost.channel} from offset ${lost.first} up to ${lost.end} are lost${why && ` (${why})`}`,
      retryable: false,
      details: { ...lost },
    });
  }
}

/**
 * A batch is compressed in a way that this version of Node cannot read.
 *
 * @example
 * ```ts
 * if (error instanceof UnsupportedCompressionError) console.error(error.message); // says which Node can
 * ```
 */
export class UnsupportedCompressionError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "UnsupportedCompressionError";
  constructor(message: string, details: ErrorDetails) {
    super({ code: "COMPRESSION_UNSUPPORTED", message, retryable: false, details });
  }
}

/**
 * One thing that is wrong with a payload.
 *
 * @example
 * ```ts
 * const say = ({ path, message }: SchemaIssue): string => `${path.join(".")}: ${message}`;
 * ```
 */
export interface SchemaIssue {
  /** What is wrong, in the words of the schema's library. */
  readonly message: string;
  /** Where, from the payload inwards. */
  readonly path: readonly PropertyKey[];
}

/**
 * A payload does not have the form that its schema asks for.
 *
 * @example
 * ```ts
 * if (error instanceof SchemaError) for (const { path, message } of error.issues) console.error(path.join("."), message);
 * ```
 */
export class SchemaError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "SchemaError";
  /** What is wrong, and where. */
  readonly issues: readonly SchemaIssue[];
  constructor(type: string, issues: readonly SchemaIssue[]) {
    const first = issues[0];
    const where = first && first.path.length > 0 ? ` at ${first.path.map(String).join(".")}` : "";
    const message = `the payload of ${type} does not match its schema${where}: ${first?.message ?? "it is refused"}`;
    super({ code: "SCHEMA_INVALID", message, retryable: false, details: { type, issues } });
    this.issues = issues;
  }
}

/**
 * An argument breaks a rule; nothing was sent.
 *
 * @example
 * ```ts
 * if (error instanceof InvalidArgumentError) console.error(error.message); // names value and limit
 * ```
 */
export class InvalidArgumentError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "InvalidArgumentError";
  constructor(message: string, rest: Rest = {}) {
    super({ ...rest, code: "INVALID_ARGUMENT", message, retryable: false });
  }
}

/**
 * A payload was asked for as JSON and is none. `bytes` and `text()` of the message have it as it is.
 *
 * @example
 * ```ts
 * if (error instanceof PayloadError) console.error(message.text());
 * ```
 */
export class PayloadError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "PayloadError";
  constructor(message: string, cause: unknown) {
    super({ code: "PAYLOAD_NOT_JSON", message, retryable: false, cause });
  }
}

/**
 * A receipt proves nothing: it was changed, or is none. `details.offset` names the record that does not fit, where it is one.
 *
 * @example
 * ```ts
 * if (error instanceof ReceiptError) console.error(error.message, error.details.offset);
 * ```
 */
export class ReceiptError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "ReceiptError";
  declare readonly details: ErrorDetails & { readonly offset?: number };
  constructor(message: string, rest: Rest = {}) {
    super({ ...rest, code: "RECEIPT_INVALID", message, retryable: false });
  }
}

/**
 * An answer is not understood: the broker breaks the protocol, or is newer than the client.
 *
 * @example
 * ```ts
 * if (error instanceof ProtocolError) console.error(error.message);
 * ```
 */
export class ProtocolError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "ProtocolError";
  constructor(message: string, rest: Rest = {}) {
    super({ ...rest, code: "PROTOCOL_ERROR", message, retryable: false });
  }
}

/**
 * A webhook that is not to be believed; `details.reason` says what is wrong with it: `headers`, `timestamp`, `signature` or
 * `body`.
 *
 * @example
 * ```ts
 * if (error instanceof WebhookError) response.writeHead(400).end();
 * ```
 */
export class WebhookError extends NPayloadError {
  /** @internal */
  static override readonly brand: string = "WebhookError";
  /** Values for programs. */
  declare readonly details: ErrorDetails & { readonly reason: "headers" | "timestamp" | "signature" | "body" };
  constructor(message: string, reason: "headers" | "timestamp" | "signature" | "body", cause?: unknown) {
    super({ code: "WEBHOOK_INVALID", message, retryable: false, details: { reason }, cause });
  }
}
