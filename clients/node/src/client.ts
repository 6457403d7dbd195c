import { checkCompression } from "./batch/compression.js";
import { ChannelNames } from "./channel-names.js";
import { Link, type Status } from "./connection/link.js";
import { Requester } from "./connection/requester.js";
import { parseUrl } from "./connection/url.js";
import { ClosedError, InvalidArgumentError } from "./errors/index.js";
import { type EventSchemas, TypedEvents } from "./events.js";
import { Grants, Keys, Orgs } from "./namespaces/access.js";
import { Asp } from "./namespaces/asp/index.js";
import { Broker } from "./namespaces/broker.js";
import { Channels } from "./namespaces/channels.js";
import { Consumers } from "./namespaces/consumers.js";
import type { Context } from "./namespaces/context.js";
import { Interests } from "./namespaces/interest.js";
import { Messages } from "./namespaces/messages.js";
import { Regions } from "./namespaces/regions.js";
import { Streams } from "./namespaces/streams.js";
import { BIGINT_OFFSETS, NUMBER_OFFSETS, type OffsetCodec, type OffsetMode, type OffsetOf } from "./offset.js";
import type { CallOptions, ClientOptions } from "./options.js";
import { Publishing } from "./producer/publishing.js";
import { Tail } from "./reading/tail.js";
import { StatusEvents } from "./status-events.js";
import { Webhooks } from "./webhooks.js";

const DEFAULT_URL = "npayload://127.0.0.1:7400";

/**
 * A client of a broker. It connects when it first has something to do, sends any number of requests at a time over one
 * connection, and connects again when that is lost. A program that ends without `close()` exits by itself once nothing is
 * under way.
 *
 * @example
 * ```ts
 * import { NPayload } from "@npayload/node";
 *
 * const np = new NPayload({ apiKey: process.env.NPAYLOAD_API_KEY });
 * await np.messages.publish({ channelId: "ml.feedback", type: "inference.feedback", payload: { prediction: 0.87 } });
 * for (const message of await np.streams.consume({ streamId: "ml.feedback", fromOffset: 0 })) console.log(message.payload);
 * ```
 */
export class NPayload<M extends OffsetMode = "number"> implements AsyncDisposable {
  /** Channels: named logs with one total order each. */
  readonly channels: Channels<OffsetOf<M>>;
  /** Streams: channels opened for replay. */
  readonly streams: Streams<OffsetOf<M>>;
  /** Publishing. */
  readonly messages: Messages<OffsetOf<M>>;
  /** Named consumers and their positions. */
  readonly consumers: Consumers<OffsetOf<M>>;
  /** API keys, for administrators. */
  readonly keys: Keys<OffsetOf<M>>;
  /** Organisations, for administrators. */
  readonly orgs: Orgs<OffsetOf<M>>;
  /** Grants between organisations. */
  readonly grants: Grants<OffsetOf<M>>;
  /** Agents: their registry, sessions, messages and tool calls. */
  readonly asp: Asp<OffsetOf<M>>;
  /** The broker itself. */
  readonly broker: Broker<OffsetOf<M>>;
  /** This region, its links to others and its copies of their channels. */
  readonly regions: Regions<OffsetOf<M>>;
  /** What this region wants of others. */
  readonly interest: Interests<OffsetOf<M>>;
  /** Webhooks that this program receives; asks no broker. */
  readonly webhooks = new Webhooks();

  readonly #link: Link;
  readonly #requester: Requester;
  readonly #context: Context<OffsetOf<M>>;
  readonly #events = new StatusEvents();
  readonly #tails = new Set<{ return(): unknown }>();

  /**
   * @throws InvalidArgumentError where an option is out of its range.
   *
   * @example
   * ```ts
   * const np = new NPayload({ url: "npayload+tls://broker.example:7400", offsets: "bigint" });
   * ```
   */
  constructor(options: ClientOptions<M> = {}) {
    type O = OffsetOf<M>;
    const offsets = (options.offsets === "bigint" ? BIGINT_OFFSETS : NUMBER_OFFSETS) as unknown as OffsetCodec<O>;
    const backoff = {
      minDelayMs: positive(options.minDelayMs, 20, "minDelayMs"),
      maxDelayMs: positive(options.maxDelayMs, 2000, "maxDelayMs"),
    };
    this.#link = new Link(
      {
        url: parseUrl(options.url ?? environment("NPAYLOAD_URL") ?? DEFAULT_URL),
        apiKey: options.apiKey ?? environment("NPAYLOAD_API_KEY"),
        plainKey: options.plainKey ?? false,
        clientName: options.clientName ?? "@npayload/node",
        tls: options.tls ?? {},
        connectTimeoutMs: positive(options.connectTimeoutMs, 5000, "connectTimeoutMs"),
        keepAliveMs: positive(options.keepAliveMs, 30_000, "keepAliveMs"),
        backoff,
      },
      (status) => this.#events.tell(status),
    );
    const timeoutMs = positive(options.timeoutMs, 30_000, "timeoutMs");
    const { maxRetries = Infinity } = options;
    if (!(maxRetries >= 0)) throw new InvalidArgumentError(`maxRetries is ${maxRetries}, where 0 or more is needed`);
    const requester = new Requester(this.#link, { timeoutMs, maxRetries, backoff });
    this.#requester = requester;
    const names = new ChannelNames(requester);
    const limits = {
      batchBytes: positive(options.batchBytes, 256 << 10, "batchBytes"),
      batchRecords: positive(options.batchRecords, 2000, "batchRecords"),
      maxInFlight: positive(options.maxInFlight, 5, "maxInFlight"),
      compression: checkCompression(options.compression ?? "none"),
    };
    const maxQueuedBytes = positive(options.maxQueuedBytes, 32 << 20, "maxQueuedBytes");
    const publishing = new Publishing(requester, names, offsets, limits, maxQueuedBytes);
    const context: Context<O> = {
      requester,
      names,
      offsets,
      publishing,
      tail: (request, callOptions) => {
        if (this.#link.status.state === "closed") throw new ClosedError();
        const resolve = async () => names.known(request.streamId) ?? (await names.resolve(request.streamId, callOptions));
        names.known(request.streamId);
        const tail = new Tail(requester, offsets, resolve, request, callOptions, (ended) => void this.#tails.delete(ended));
        this.#tails.add(tail);
        return tail as never;
      },
    };
    this.#context = context;
    this.channels = new Channels(context);
    this.streams = new Streams(context, this.channels);
    this.messages = new Messages(context);
    this.consumers = new Consumers(context);
    this.keys = new Keys(context);
    this.orgs = new Orgs(context);
    this.grants = new Grants(context);
    this.asp = new Asp(context);
    this.broker = new Broker(context);
    this.regions = new Regions(context);
    this.interest = new Interests(context);
  }

  /** Where the connection stands. */
  get status(): Status {
    return this.#link.status;
  }

  /**
   * Tells a listener of every change of the connection: `connecting`, `connected`, `disconnected`, `reconnecting`,
   * `closed`. Returns what removes it.
   *
   * @example
   * ```ts
   * np.onStatus((status) => {
   *   if (status.state === "reconnecting") console.warn(`attempt ${status.attempt}: ${status.error.message}`);
   * });
   * ```
   */
  onStatus(listener: (status: Status) => void): () => void {
    return this.#events.on(listener);
  }

  /**
   * Events by their types, each with a schema of any library that has Standard Schema: payloads are checked when they are
   * published and when they are read, and typed.
   *
   * @example
   * ```ts
   * const events = np.events({ "inference.feedback": z.object({ prediction: z.number() }) });
   * await events.publish({ channelId: "ml.feedback", type: "inference.feedback", payload: { prediction: 0.87 } });
   * ```
   */
  events<S extends EventSchemas>(schemas: S): TypedEvents<S, OffsetOf<M>> {
    return new TypedEvents(schemas, this.messages, this.streams);
  }

  /**
   * Sends a control request by its name in the wire protocol: a JSON object there and back. For requests that have no
   * method of their own here. Whole numbers above 2^53 - 1 come as bigints.
   *
   * @param retrying - `idempotent: true` lets it be sent again after a lost connection.
   *
   * @example
   * ```ts
   * const info = await np.request<{ version: string }>("broker.info", {});
   * ```
   */
  request<T = unknown>(kindName: string, body: object = {}, options?: CallOptions & { readonly idempotent?: boolean }): Promise<T> {
    const { idempotent = false, ...rest } = options ?? {};
    return this.#requester.json<T>(kindName, body, rest, { idempotent });
  }

  /**
   * Connects now, rather than with the first call; rejects where that fails.
   *
   * @example
   * ```ts
   * await np.connect({ timeoutMs: 2000 });
   * ```
   */
  async connect({ timeoutMs = this.#requester.defaults.timeoutMs, signal }: CallOptions = {}): Promise<void> {
    await this.#link.acquire(timeoutMs, signal);
  }

  /**
   * Ends the client: open tails end, and what was not answered yet rejects with `ClosedError`. Await what has to be done
   * before. A second call does nothing.
   *
   * @example
   * ```ts
   * await np.close();
   * ```
   */
  async close(): Promise<void> {
    for (const tail of [...this.#tails]) tail.return();
    this.#context.publishing.close();
    this.#link.close();
  }

  /** Ends the client at the end of its scope: `await using np = new NPayload()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}

function environment(name: string): string | undefined {
  const value = process.env[name];
  return value === "" ? undefined : value;
}

function positive(value: number | undefined, otherwise: number, name: string): number {
  if (value === undefined) return otherwise;
  if (!(value > 0)) throw new InvalidArgumentError(`${name} is ${value}, where more than 0 is needed`);
  return value;
}
