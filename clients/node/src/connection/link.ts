import { ClosedError, ConnectError, InvalidArgumentError, NPayloadError, RequestTimeoutError } from "../errors/index.js";
import { bounded } from "../signals.js";
import { stringifyJson } from "../wire/json.js";
import { KINDS } from "../wire/kinds.js";
import { VERSION } from "../version.js";
import { Backoff, type BackoffLimits } from "./backoff.js";
import { Connection } from "./connection.js";
import { decodeHello, type Hello } from "./hello.js";
import { openStream, type TlsOptions } from "./transport.js";
import { type BrokerUrl, formatUrl, isLoopback } from "./url.js";

/**
 * Where the client's connection stands, as its status events tell.
 *
 * @example
 * ```ts
 * np.onStatus((status: Status) => console.log(status.state));
 * ```
 */
export type Status =
  | { readonly state: "idle" }
  | { readonly state: "connecting" }
  | { readonly state: "connected"; readonly broker: string; readonly directoryId: string }
  | { readonly state: "disconnected"; readonly error: Error }
  | { readonly state: "reconnecting"; readonly attempt: number; readonly delayMs: number; readonly error: Error }
  | { readonly state: "closed" };

export interface LinkOptions {
  readonly url: BrokerUrl;
  readonly apiKey: string | undefined;
  readonly plainKey: boolean;
  readonly clientName: string;
  readonly tls: TlsOptions;
  readonly connectTimeoutMs: number;
  readonly keepAliveMs: number;
  readonly backoff: BackoffLimits;
}

interface Waiter {
  readonly resolve: (connection: Connection) => void;
  readonly reject: (error: Error) => void;
}

/**
 * The client's one connection, made when it is first needed and again when it was lost and somebody needs it. Where the
 * broker was never reached, it is given up after the connect timeout; once it was, whoever waits waits as long as its own
 * deadline allows.
 */
export class Link {
  status: Status = { state: "idle" };
  /** The open connection. */
  connection: Connection | undefined;
  hello: Hello | undefined;
  private readonly waiters = new Set<Waiter>();
  private isTrying = false;
  private wakeUp: (() => void) | undefined;
  private abortOpening: (() => void) | undefined;

  constructor(
    private readonly options: LinkOptions,
    private readonly onStatus: (status: Status) => void,
  ) {}

  /** The open connection, or a new one. */
  acquire(timeoutMs: number, signal?: AbortSignal): Promise<Connection> {
    if (this.connection !== undefined) return Promise.resolve(this.connection);
    if (this.status.state === "closed") return Promise.reject(new ClosedError());
    let waiter: Waiter;
    const promise = new Promise<Connection>((resolve, reject) => {
      waiter = { resolve, reject };
      this.waiters.add(waiter);
    });
    if (!this.isTrying) void this.tryUntilNobodyWaits();
    const late = (): Error => {
      const error = "error" in this.status ? this.status.error : undefined;
      return new RequestTimeoutError(`connecting to ${formatUrl(this.options.url)}`, timeoutMs, { cause: error });
    };
    return bounded(promise, signal, timeoutMs, late).finally(() => {
      this.waiters.delete(waiter);
      if (this.waiters.size === 0) this.wakeUp?.();
    });
  }

  /** Ends the connection, and all waiting for one. */
  close(): void {
    if (this.status.state === "closed") return;
    this.tell({ state: "closed" });
    this.rejectAll(new ClosedError());
    this.wakeUp?.();
    this.abortOpening?.();
    this.connection?.close();
    this.connection = undefined;
  }

  private isClosed(): boolean {
    return this.status.state === "closed";
  }

  private async tryUntilNobodyWaits(): Promise<void> {
    this.isTrying = true;
    const backoff = new Backoff(this.options.backoff);
    const began = Date.now();
    for (let attempt = 1; this.waiters.size > 0 && !this.isClosed(); attempt += 1) {
      if (attempt === 1) this.tell({ state: "connecting" });
      try {
        const connection = await this.open();
        if (this.isClosed()) return connection.close();
        this.isTrying = false;
        const waiters = [...this.waiters];
        this.waiters.clear();
        for (const { resolve } of waiters) resolve(connection);
        return;
      } catch (thrown) {
        if (this.isClosed()) break;
        const error = thrown instanceof NPayloadError ? thrown : new ConnectError(String(thrown), { cause: thrown });
        const isGivenUp = this.hello === undefined && Date.now() - began >= this.options.connectTimeoutMs;
        if (!error.retryable || isGivenUp) {
          this.tell({ state: "disconnected", error });
          this.rejectAll(error);
          break;
        }
        const delayMs = backoff.next(error.retryAfterMs);
        this.tell({ state: "reconnecting", attempt, delayMs, error });
        await new Promise<void>((resolve) => {
          const timer = setTimeout(resolve, delayMs);
          this.wakeUp = () => {
            clearTimeout(timer);
            resolve();
          };
        });
        this.wakeUp = undefined;
      }
    }
    this.isTrying = false;
  }

  private async open(): Promise<Connection> {
    const { url, apiKey, plainKey, clientName, tls, connectTimeoutMs, keepAliveMs } = this.options;
    if (apiKey !== undefined && !url.tls && !isLoopback(url) && !plainKey) {
      throw new InvalidArgumentError(
        `the API key would be sent to ${formatUrl(url)} unencrypted: use npayload+tls://, or allow it with plainKey: true`,
      );
    }
    const { socket, ready } = openStream(url, tls, connectTimeoutMs);
    this.abortOpening = () => void socket.destroy(new Error("the client was closed"));
    try {
      await ready;
      const connection = new Connection(socket, keepAliveMs, (lost, why) => this.onLost(lost, why));
      const request = { client: clientName, version: VERSION, ...(apiKey === undefined ? {} : { apiKey }), minVersion: 1, maxVersion: 1 };
      const { answer } = connection.send(KINDS.hello as number, [Buffer.from(stringifyJson(request))]);
      try {
        const late = (): Error => new ConnectError(`${formatUrl(url)} did not answer the hello within ${connectTimeoutMs} ms`);
        const hello = decodeHello(await bounded(answer, undefined, connectTimeoutMs, late));
        connection.maxFrameBytes = hello.limits.frameBytes;
        if (connection.lost) throw connection.lost;
        this.hello = hello;
        this.connection = connection;
        this.tell({ state: "connected", broker: `${hello.broker} ${hello.version}`, directoryId: hello.directoryId });
        return connection;
      } catch (error) {
        connection.close();
        throw error;
      }
    } finally {
      this.abortOpening = undefined;
    }
  }

  private onLost(connection: Connection, error: Error): void {
    if (this.connection !== connection) return;
    this.connection = undefined;
    if (!this.isClosed()) this.tell({ state: "disconnected", error });
  }

  private rejectAll(error: Error): void {
    const waiters = [...this.waiters];
    this.waiters.clear();
    for (const { reject } of waiters) reject(error);
  }

  private tell(status: Status): void {
    this.status = status;
    this.onStatus(status);
  }
}

