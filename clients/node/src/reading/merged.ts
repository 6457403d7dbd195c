import type { Requester } from "../connection/requester.js";
import { AbortError, InvalidArgumentError } from "../errors/index.js";
import type { Message } from "../message.js";
import { type ChannelLog, channelLogs } from "../namespaces/region-types.js";
import { type OffsetCodec, type OffsetInput, offsetInput, type OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import { sleep } from "../signals.js";
import type { OnLost } from "./cursor.js";
import { placeJson, type ReadOptions, timeInput, typesInput } from "./fetch.js";
import type { Tail, TailRequest } from "./tail.js";

/**
 * A position over the logs of all regions: in each the next offset to read. A region that is not in it counts from the log
 * start.
 *
 * @example
 * ```ts
 * const from: RegionVector = { "eu-west": 17, "us-east": 40 };
 * ```
 */
export type RegionVector<O extends OffsetType = OffsetType> = { readonly [region: string]: O };

/**
 * What to read of the logs that regions have of one stream.
 *
 * @example
 * ```ts
 * const request: MergedRequest = { streamId: "ml.feedback", from: { "eu-west": 17 }, follow: true };
 * ```
 */
export interface MergedRequest extends ReadOptions {
  /** Name of the stream, without a region. */
  readonly streamId: string;
  /** Where to begin; at the log starts unless given. */
  readonly from?: "start" | "end" | RegionVector | undefined;
  /** Where to begin instead: in each log at the first record appended at this time or later. */
  readonly fromTime?: number | Date | undefined;
  /** The offsets to end in front of; logs that it does not name are not read. Waits for what is not here yet. */
  readonly to?: RegionVector | undefined;
  /** Goes on behind the ends with what comes, in order of arrival, instead of ending where the ends were at the start. */
  readonly follow?: boolean | undefined;
  /** Told of records that were lost, instead of `RecordsLostError`. */
  readonly onLost?: OnLost | undefined;
}

/**
 * A message, and the region in whose log it stands.
 *
 * @example
 * ```ts
 * const place = ({ region, message }: MergedMessage): string => `${region}=${message.offset}`;
 * ```
 */
export interface MergedMessage<P = unknown, O extends OffsetType = number> {
  readonly region: string;
  readonly message: Message<P, O>;
}

/** Milliseconds for which the broker waits for a log that comes or goes, and after which it is asked again. */
const WATCH_MS = 20_000;
const AGAIN_MS = 1000;

/** What a merged reader needs of its client. */
export interface MergedSource<O extends OffsetType> {
  readonly requester: Requester;
  readonly offsets: OffsetCodec<O>;
  tail<P>(request: TailRequest, options: CallOptions): Tail<P, O>;
}

/** A message that has come, logs that were told of, or what went wrong. */
type Came<P, O extends OffsetType> =
  | { readonly kind: "message"; readonly region: string; readonly result: IteratorResult<Message<P, O>, undefined> }
  | { readonly kind: "logs"; readonly version: bigint; readonly logs: readonly ChannelLog<O>[] }
  | { readonly kind: "error"; readonly error: unknown };

/**
 * The messages of all logs that regions have of one stream, every one once and each log in its order. Up to the ends that
 * were asked for, or that the logs have when it begins, in the one order that is the same in every region and every time:
 * by append time, then by the region's name. Behind that, where it follows, in order of arrival.
 *
 * @example
 * ```ts
 * const merged = np.streams.merged({ streamId: "ml.feedback" });
 * for await (const { region, message } of merged) console.log(region, message.offset, message.payload);
 * await save(merged.position);
 * ```
 */
export class Merged<P = unknown, O extends OffsetType = number> implements AsyncIterableIterator<MergedMessage<P, O>> {
  private readonly tails = new Map<string, Tail<P, O>>();
  private readonly at = new Map<string, bigint>();
  private readonly running: AsyncGenerator<MergedMessage<P, O>, undefined>;
  private readonly stop = new AbortController();
  private isOver = false;

  /** @internal */
  constructor(
    private readonly source: MergedSource<O>,
    private readonly request: MergedRequest,
    private readonly options: CallOptions,
  ) {
    const { from, fromTime } = request;
    if (from !== undefined && fromTime !== undefined) throw new InvalidArgumentError("only one of from and fromTime can be given");
    if (typeof from === "string" && from !== "start" && from !== "end") {
      throw new InvalidArgumentError(`from is "${String(from)}", where "start", "end" or an offset for each region is needed`);
    }
    typesInput(request.types);
    if (options.signal?.aborted) throw new AbortError(options.signal.reason);
    options.signal?.addEventListener("abort", () => this.stop.abort(), { once: true });
    this.running = this.run();
  }

  /** Where it stands: in each log behind the last message that was handed out. */
  get position(): RegionVector<O> {
    const parts = [...this.at].sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(parts.map(([region, offset]) => [region, this.source.offsets.of(offset)]));
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next message, once there is one. */
  next(): Promise<IteratorResult<MergedMessage<P, O>, undefined>> {
    return this.running.next();
  }

  /** Ends it. */
  async return(): Promise<IteratorResult<MergedMessage<P, O>, undefined>> {
    this.end();
    return { value: undefined, done: true };
  }

  /** Ends it at the end of its scope. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
  }

  private end(): void {
    this.isOver = true;
    this.stop.abort();
    for (const tail of this.tails.values()) void tail.return();
    this.tails.clear();
  }

  private async *run(): AsyncGenerator<MergedMessage<P, O>, undefined> {
    try {
      const { follow = false, to } = this.request;
      const isLive = follow && to === undefined;
      const told = await this.ask({ read: true, from: this.since() });
      if (told.regions === "one") throw new InvalidArgumentError(`${this.request.streamId} is one log: read it with consume() or tail()`);
      await this.begin(told.logs);
      const ends = new Map<string, bigint>();
      if (to !== undefined) for (const [region, offset] of Object.entries(to)) ends.set(region, offsetInput(offset, `to.${region}`));
      else for (const { region, held, highWatermark } of told.logs) if (held || !isLive) ends.set(region, BigInt(highWatermark));
      yield* this.replay(ends);
      if (!isLive || this.isOver) return undefined;
      const regions = new Set([...told.logs.map(({ region }) => region), ...this.at.keys()]);
      yield* this.live(regions, told.version);
    } finally {
      this.end();
    }
    return undefined;
  }

  /** In the one order, up to the ends. */
  private async *replay(ends: ReadonlyMap<string, bigint>): AsyncGenerator<MergedMessage<P, O>, void> {
    const heads: { readonly region: string; readonly message: Message<P, O> }[] = [];
    const fill = async (region: string): Promise<void> => {
      const { value: message } = (await this.tails.get(region)?.next()) ?? {};
      if (message !== undefined) heads.push({ region, message });
      // Offsets at the end may hold nothing.
      else if (!this.isOver) this.at.set(region, ends.get(region) as bigint);
    };
    const read = [...ends].filter(([region, end]) => (this.at.get(region) ?? 0n) < end);
    for (const [region, end] of read) this.open(region, end);
    await Promise.all(read.map(([region]) => fill(region)));
    while (heads.length > 0) {
      let first = 0;
      for (let other = 1; other < heads.length; other += 1) if (isBefore(heads[other]!, heads[first]!)) first = other;
      const [{ region, message }] = heads.splice(first, 1) as [{ region: string; message: Message<P, O> }];
      yield this.taken(region, message);
      await fill(region);
    }
  }

  /** As it comes, of these logs and of those that are begun later. */
  private async *live(regions: ReadonlySet<string>, version: bigint): AsyncGenerator<MergedMessage<P, O>, void> {
    const known = new Set<string>();
    const came: Came<P, O>[] = [];
    let wake: () => void = () => {};
    const arrive = (what: Came<P, O>): void => {
      came.push(what);
      wake();
    };
    const fail = (error: unknown): void => arrive({ kind: "error", error });
    const pull = (region: string): void => {
      const tail = this.tails.get(region) as Tail<P, O>;
      tail.next().then((result) => arrive({ kind: "message", region, result }), fail);
    };
    const watch = (after: bigint): void => void this.begun(after).then(arrive, fail);
    for (const region of regions) {
      known.add(region);
      this.open(region, undefined, this.tails.get(region)?.position);
      pull(region);
    }
    watch(version);
    while (!this.isOver) {
      const next = came.shift();
      if (next === undefined) {
        await new Promise<void>((resolve) => (wake = resolve));
      } else if (next.kind === "error") throw next.error;
      else if (next.kind === "logs") {
        for (const { region, held } of next.logs) {
          if (!held || known.has(region)) continue;
          known.add(region);
          this.open(region, undefined);
          pull(region);
        }
        watch(next.version);
      } else if (next.result.done) return;
      else {
        // Whoever has come waits behind the others then, so that a busy log holds up none.
        yield this.taken(next.region, next.result.value);
        if (!this.isOver) pull(next.region);
      }
    }
  }

  private taken(region: string, message: Message<P, O>): MergedMessage<P, O> {
    this.at.set(region, BigInt(message.offset) + 1n);
    return { region, message };
  }

  /** Opens the tail of one log, where it stands. */
  private open(region: string, end: bigint | undefined, position?: TailRequest["position"]): void {
    const fromOffset = position === undefined ? this.at.get(region) : undefined;
    const begin = position === undefined ? (fromOffset === undefined ? { from: "start" as const } : { fromOffset }) : { position };
    const streamId = `${this.request.streamId}@${region}`;
    const { onLost, types, readHome } = this.request;
    const signal = this.stop.signal;
    this.tails.set(region, this.source.tail<P>({ streamId, ...begin, toOffset: end, onLost, types, readHome }, { ...this.options, signal }));
  }

  /** Which logs there are once one has come or gone. */
  private async begun(after: bigint): Promise<Came<P, O>> {
    for (;;) {
      try {
        const { version, logs } = await this.ask({ read: true, after, waitMs: WATCH_MS });
        return { kind: "logs", version, logs };
      } catch {
        // Who reads is told what is wrong by the tails.
        if (!this.isOver) await sleep(AGAIN_MS, this.stop.signal).catch(() => {});
        if (this.isOver) return { kind: "logs", version: after, logs: [] };
      }
    }
  }

  private async ask(more: { readonly read: true; readonly from?: unknown; readonly after?: bigint; readonly waitMs?: number }) {
    const { requester, offsets } = this.source;
    const body = { channel: this.request.streamId, ...more };
    const options = { ...this.options, signal: this.stop.signal };
    const answer = await requester.json<Record<string, unknown>>("region.logs", body, options, { idempotent: true, waitMs: more.waitMs ?? 0 });
    return channelLogs(answer, offsets);
  }

  /** From where copies are begun that are not here yet. */
  private since(): unknown {
    const { from, fromTime } = this.request;
    if (fromTime !== undefined) return { time: timeInput(fromTime, "fromTime") };
    return from === "end" ? "end" : "start";
  }

  /** Takes the place in every log that the request names. */
  private async begin(logs: readonly ChannelLog<O>[]): Promise<void> {
    const { from, fromTime } = this.request;
    if (fromTime === undefined && (from === undefined || from === "start")) return;
    if (from === "end") for (const { region, highWatermark } of logs) this.at.set(region, BigInt(highWatermark));
    else if (fromTime !== undefined) {
      for (const { region, name } of logs) {
        const body = { channel: name, at: placeJson({ time: fromTime }) };
        const options = { ...this.options, signal: this.stop.signal };
        const { offset } = await this.source.requester.json<{ offset: number | bigint }>("channel.resolve", body, options, { idempotent: true });
        this.at.set(region, BigInt(offset));
      }
    } else for (const [region, offset] of Object.entries(from as RegionVector)) this.at.set(region, offsetInput(offset as OffsetInput, `from.${region}`));
  }
}

function isBefore<P, O extends OffsetType>(
  a: { readonly region: string; readonly message: Message<P, O> },
  b: { readonly region: string; readonly message: Message<P, O> },
): boolean {
  const [here, there] = [a.message.appendTime, b.message.appendTime];
  return here < there || (here === there && a.region < b.region);
}
