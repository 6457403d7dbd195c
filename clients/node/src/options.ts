import type { CompressionName } from "./batch/compression.js";
import type { OffsetInput, OffsetMode } from "./offset.js";
import type { TlsOptions } from "./connection/transport.js";

/**
 * How a client finds its broker, and what it does when that does not answer.
 *
 * @example
 * ```ts
 * const np = new NPayload({ url: "npayload://127.0.0.1:7400", timeoutMs: 10_000 });
 * ```
 */
export interface ClientOptions<M extends OffsetMode = OffsetMode> {
  /** The API key to show; else `NPAYLOAD_API_KEY`; else none, which a broker on the loopback address takes. */
  readonly apiKey?: string | undefined;
  /** The broker, `npayload://HOST:PORT` or `npayload+tls://HOST:PORT`; else `NPAYLOAD_URL`; else `npayload://127.0.0.1:7400`. */
  readonly url?: string | undefined;
  /** Certificates for `npayload+tls://`. */
  readonly tls?: TlsOptions | undefined;
  /** Shows the API key also where the connection is not encrypted and leaves this machine. */
  readonly plainKey?: boolean | undefined;
  /** What the client calls itself in the broker's logs; `@npayload/node` unless given. */
  readonly clientName?: string | undefined;
  /** How offsets are handed out: as numbers, an error above 2^53 - 1, or as bigints. */
  readonly offsets?: M | undefined;
  /** Longest time for a call, in milliseconds, its retries included; 30,000 unless given. */
  readonly timeoutMs?: number | undefined;
  /** How often a call is tried again where that cannot carry it out twice; as often as its time allows unless given. */
  readonly maxRetries?: number | undefined;
  /** How long a broker that was never reached is tried, in milliseconds; 5,000 unless given. */
  readonly connectTimeoutMs?: number | undefined;
  /** How often an idle connection is checked, in milliseconds; 30,000 unless given. */
  readonly keepAliveMs?: number | undefined;
  /** First wait before another try, in milliseconds; 20 unless given. Waits grow twofold and are moved by chance. */
  readonly minDelayMs?: number | undefined;
  /** Longest wait before another try, in milliseconds; 2,000 unless given. */
  readonly maxDelayMs?: number | undefined;
  /** Bytes at which a batch of published records is full; 262,144 unless given. A larger record travels alone. */
  readonly batchBytes?: number | undefined;
  /** Records at which a batch is full; 2,000 unless given. */
  readonly batchRecords?: number | undefined;
  /**
   * How batches of published records are compressed, where that makes them smaller; `none` unless given. `zstd` needs Node
   * 22.15, 23.8 or newer. Pays for large payloads and slow networks; on one machine `none` is faster.
   */
  readonly compression?: CompressionName | undefined;
  /** Batches of one channel that may be sent and not acknowledged; 5 unless given. */
  readonly maxInFlight?: number | undefined;
  /**
   * Bytes that may wait to be acknowledged, of all channels; 33,554,432 unless given. Publishes past it wait for room, up to
   * a thousand of them; what comes on top, since nobody awaits, rejects with `QueueFullError`.
   */
  readonly maxQueuedBytes?: number | undefined;
}

/**
 * Options that every call takes as its last argument.
 *
 * @example
 * ```ts
 * await np.messages.publish({ channelId: "orders", payload }, { signal: AbortSignal.timeout(500), maxRetries: 2 });
 * ```
 */
export interface CallOptions {
  /** Rejects the call with `AbortError` when it is aborted. What was sent before may be carried out. */
  readonly signal?: AbortSignal | undefined;
  /** Longest time for the call, in milliseconds, its retries included; the client's unless given. */
  readonly timeoutMs?: number | undefined;
  /** How often it is tried again; the client's unless given. */
  readonly maxRetries?: number | undefined;
}

/**
 * A place in a channel: exactly one of these.
 *
 * @example
 * ```ts
 * const place: Place = { time: new Date("2026-01-01T00:00:00Z") };
 * ```
 */
export type Place =
  | { readonly offset: OffsetInput }
  /** The lowest offset that can be read. */
  | { readonly start: true }
  /** Behind the last record that can be read. */
  | { readonly end: true }
  /** The first record appended then or later: milliseconds since 1970, or a date. */
  | { readonly time: number | Date }
  /** That many records before the end. */
  | { readonly back: number };
