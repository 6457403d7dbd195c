import { ClosedError, ConnectionLostError, InvalidArgumentError, NPayloadError, RequestTimeoutError } from "../errors/index.js";
import type { CallOptions } from "../options.js";
import { bounded, sleep, throwIfAborted } from "../signals.js";
import { parseJson, stringifyJson } from "../wire/json.js";
import { KINDS } from "../wire/kinds.js";
import { Backoff, type BackoffLimits } from "./backoff.js";
import type { Connection } from "./connection.js";
import type { Link } from "./link.js";

/** Limits that hold where a call names none of its own. */
export interface RequesterDefaults {
  readonly timeoutMs: number;
  readonly maxRetries: number;
  readonly backoff: BackoffLimits;
}

/** How a request may be tried again. */
export interface Retrying {
  /** Whether carrying it out twice does the same as once, so that it may be sent again after a lost connection. */
  readonly idempotent: boolean;
  /** Whether that is so on the same data directory alone. */
  readonly sameData?: boolean | undefined;
  /** Time that the broker may take before it answers, where it was asked to wait. */
  readonly waitMs?: number | undefined;
}

/** Sends requests and tries them again as far as that can help and cannot harm. */
export class Requester {
  constructor(
    readonly link: Link,
    readonly defaults: RequesterDefaults,
  ) {}

  /** A control request: a JSON object there and back. The broker's hello tells the kinds that this client does not know. */
  async json<T>(kindName: string, body: object, options: CallOptions = {}, retrying: Retrying): Promise<T> {
    const bytes = Buffer.from(stringifyJson(body));
    const limit = this.link.hello?.limits.controlFrameBytes ?? 1 << 20;
    if (bytes.length + 12 > limit) {
      throw new InvalidArgumentError(`a request "${kindName}" of ${bytes.length} bytes, where ${limit - 12} are allowed`);
    }
    const kind = KINDS[kindName] ?? (await this.kindTold(kindName, options));
    const answer = await this.binary(kind, kindName, [bytes], options, retrying, retrying.waitMs);
    return parseJson(answer.toString("utf8")) as T;
  }

  private async kindTold(kindName: string, { timeoutMs = this.defaults.timeoutMs, signal }: CallOptions): Promise<number> {
    if (this.link.hello === undefined) await this.link.acquire(timeoutMs, signal);
    const told = this.link.hello?.kinds.get(kindName);
    if (told !== undefined) return told;
    throw new InvalidArgumentError(`the broker knows no request "${kindName}": it is of version ${this.link.hello?.version}`);
  }

  /** A request with a binary body. `extraMs` is time that the broker may take before it answers. */
  async binary(
    kind: number,
    name: string,
    parts: readonly Uint8Array[],
    options: CallOptions,
    { idempotent, sameData = false }: Retrying,
    extraMs = 0,
  ): Promise<Buffer> {
    const { signal, timeoutMs = this.defaults.timeoutMs, maxRetries = this.defaults.maxRetries } = options;
    throwIfAborted(signal);
    const deadline = Date.now() + timeoutMs + extraMs;
    const backoff = new Backoff(this.defaults.backoff);
    let last: unknown;
    let asked: string | undefined;
    for (let tries = 0; ; tries += 1) {
      let connection: Connection;
      try {
        connection = this.link.connection ?? (await this.link.acquire(deadline - Date.now(), signal));
      } catch (error) {
        if (error instanceof RequestTimeoutError && last !== undefined) throw new RequestTimeoutError(name, timeoutMs, { cause: last });
        throw error;
      }
      if (sameData && last !== undefined && this.link.hello?.directoryId !== asked) throw last;
      asked = this.link.hello?.directoryId;
      const call = connection.send(kind, parts);
      try {
        const late = (): Error => new RequestTimeoutError(name, timeoutMs, { cause: last });
        return await bounded(call.answer, signal, deadline - Date.now(), late);
      } catch (error) {
        call.abandon();
        if (!mayTryAgain(error, idempotent) || tries >= maxRetries || Date.now() >= deadline) throw error;
        last = error;
        const retryAfterMs = (error as NPayloadError).retryAfterMs;
        // A lost connection waits for the next one; it has a back-off of its own.
        if (!(error instanceof ConnectionLostError)) {
          const delay = backoff.next(retryAfterMs);
          if (Date.now() + delay >= deadline) throw error;
          await sleep(delay, signal);
        }
        if (this.link.status.state === "closed") throw new ClosedError();
      }
    }
  }
}

/** Whether sending the same request again can help, and cannot carry it out twice where that matters. */
function mayTryAgain(error: unknown, idempotent: boolean): boolean {
  if (!(error instanceof NPayloadError) || !error.retryable) return false;
  if (error instanceof RequestTimeoutError) return false;
  const isUnknown = error instanceof ConnectionLostError || error.code === "TIMEOUT";
  return idempotent || !isUnknown;
}
