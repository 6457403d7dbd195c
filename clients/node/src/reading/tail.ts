import type { ChannelRef } from "../channel-names.js";
import type { Requester } from "../connection/requester.js";
import { AbortError, ClosedError } from "../errors/index.js";
import type { Message } from "../message.js";
import type { OffsetCodec, OffsetInput, OffsetType } from "../offset.js";
import { offsetInput } from "../offset.js";
import type { CallOptions } from "../options.js";
import { onAbort } from "../signals.js";
import type { FetchFrom } from "../wire/messages.js";
import { Cursor, type OnLost, type Stretch, takeMessages } from "./cursor.js";
import { atLeastOne, beginning, type BeginOptions, fetch, type ReadOptions, typesInput } from "./fetch.js";

/**
 * What a tail reads, and how much it may hold.
 *
 * @example
 * ```ts
 * const request: TailRequest = { streamId: "orders", from: "end", maxBufferedBytes: 1 << 20 };
 * ```
 */
export interface TailRequest extends BeginOptions, ReadOptions {
  /** Name or id of the stream. */
  readonly streamId: string;
  /** Begins where another tail stood, and notices a stream that was cut or made again since: `tail.position`. */
  readonly position?: TailPosition<OffsetType> | undefined;
  /** The offset to end in front of; a tail never ends unless it is given. */
  readonly toOffset?: OffsetInput | undefined;
  /** Bytes of batches that may be held and not handed out; 4,194,304 unless given. One larger batch may be held alone. */
  readonly maxBufferedBytes?: number | undefined;
  /** Longest wait of one request at the end of the stream, in milliseconds; 10,000 unless given. */
  readonly maxWaitMs?: number | undefined;
  /** Told of records that the broker's disk has lost, instead of `RecordsLostError`. */
  readonly onLost?: OnLost | undefined;
}

/**
 * Where a tail stands, for another one to go on from: also notices a stream that was cut or created again.
 *
 * @example
 * ```ts
 * const { offset }: TailPosition = tail.position;
 * await save(offset);
 * ```
 */
export interface TailPosition<O extends OffsetType = number> {
  /** The next offset; undefined before the first answer, where it began at a time or an end. */
  readonly offset: O | undefined;
  /** Log epoch of the last batch that was read. */
  readonly logEpoch: bigint;
  /** Identity of the stream's present life. */
  readonly incarnation: string | undefined;
}

/** Bytes that one fetch asks for. */
const FETCH_BYTES = 1 << 20;

/** After so many messages a tail lets the event loop turn, however fast they come. */
const MESSAGES_A_TURN = 4096;

/**
 * The messages of a stream as they come: `for await (const message of np.streams.tail({ streamId }))`. It fetches ahead as
 * far as `maxBufferedBytes` allows and then waits for the program, so memory stays bounded however far behind it is. After
 * a lost connection it goes on at the next offset. It ends when the loop is left, `return()` is called or the client is
 * closed.
 *
 * @example
 * ```ts
 * for await (const message of np.streams.tail({ streamId: "ml.feedback", from: "end" }, { signal })) {
 *   console.log(message.offset, message.payload);
 * }
 * ```
 */
export class Tail<P = unknown, O extends OffsetType = number> implements AsyncIterableIterator<Message<P, O>> {
  private cursor: Cursor | undefined;
  private readonly fetched: Stretch[] = [];
  private heldBytes = 0;
  private ready: Message<P, O>[] = [];
  private at = 0;
  private readonly begin: FetchFrom;
  private readonly to: bigint | undefined;
  private readonly maxBufferedBytes: number;
  private readonly maxWaitMs: number;
  private isFetching = false;
  private failure: Error | undefined;
  private isDone = false;
  private wake: (() => void) | undefined;
  private readonly stop = new AbortController();
  private readonly signal: AbortSignal;
  private sinceTurn = 0;
  private offAbort: (() => void) | undefined;
  private pulling: Promise<unknown> = Promise.resolve();

  /** @internal */
  constructor(
    private readonly requester: Requester,
    private readonly offsets: OffsetCodec<O>,
    private readonly resolve: () => Promise<ChannelRef>,
    private readonly request: TailRequest,
    private readonly options: CallOptions,
    private readonly onEnd: (tail: Tail<P, O>) => void,
  ) {
    this.to = request.toOffset === undefined ? undefined : offsetInput(request.toOffset, "toOffset");
    this.maxBufferedBytes = atLeastOne(request.maxBufferedBytes ?? 4 << 20, "maxBufferedBytes");
    this.maxWaitMs = atLeastOne(request.maxWaitMs ?? 10_000, "maxWaitMs", 60_000);
    this.begin = beginning({ ...request, fromOffset: request.position?.offset ?? request.fromOffset });
    typesInput(request.types);
    this.signal = this.stop.signal;
    if (options.signal?.aborted) this.fail(new AbortError(options.signal.reason));
    else {
      this.offAbort = onAbort(options.signal, (error) => {
        this.fail(error);
        this.stop.abort();
      });
    }
  }

  /** Where it stands: behind the last message that was handed out. */
  get position(): TailPosition<O> {
    const last = this.at > 0 ? this.ready[this.at - 1] : undefined;
    const from = this.cursor?.from;
    const held = this.ready[this.at]?.offset ?? (this.fetched[0] && this.offsets.of(this.fetched[0].from));
    const offset = held ?? (from?.kind === "offset" ? this.offsets.of(from.offset) : undefined);
    return { offset, logEpoch: last?.logEpoch ?? this.cursor?.lastEpoch ?? 0n, incarnation: this.cursor?.incarnation };
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** The next message, once there is one. */
  next(): Promise<IteratorResult<Message<P, O>, undefined>> {
    const message = this.ready[this.at];
    if (message !== undefined && !this.isDone && this.sinceTurn < MESSAGES_A_TURN) {
      this.at += 1;
      this.sinceTurn += 1;
      return Promise.resolve({ value: message, done: false });
    }
    // Several calls of next() at a time are served in their order.
    const pulled = this.pulling.then(() => this.pull());
    this.pulling = pulled.catch(() => {});
    return pulled;
  }

  /** The messages in arrays, as many as there are at a time, at least one: cheaper where there are many. */
  async *batches(): AsyncGenerator<readonly Message<P, O>[], undefined> {
    try {
      for (;;) {
        const first = await this.next();
        if (first.done) return;
        const rest = this.ready.slice(this.at);
        this.at += rest.length;
        this.sinceTurn += rest.length;
        yield [first.value, ...rest];
      }
    } finally {
      await this.return();
    }
  }

  /** Ends it. What is left of an answer that was asked for is dropped. */
  return(): Promise<IteratorResult<Message<P, O>, undefined>> {
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  /** Ends it. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.end();
  }

  private async pull(): Promise<IteratorResult<Message<P, O>, undefined>> {
    for (;;) {
      if (this.isDone) {
        const failure = this.failure;
        this.failure = undefined;
        if (failure !== undefined) throw failure;
        return { value: undefined, done: true };
      }
      if (this.sinceTurn >= MESSAGES_A_TURN) {
        this.sinceTurn = 0;
        await new Promise((resolve) => setImmediate(resolve));
        continue;
      }
      const message = this.ready[this.at];
      if (message !== undefined) {
        this.at += 1;
        this.sinceTurn += 1;
        return { value: message, done: false };
      }
      if (this.fetched.length > 0) this.decodeNext();
      else if (this.failure !== undefined) this.end();
      else {
        this.fetchAhead();
        if (this.isDone) continue;
        await new Promise<void>((resolve) => {
          this.wake = resolve;
        });
        this.sinceTurn = 0;
      }
    }
  }

  private decodeNext(): void {
    const stretch = this.fetched.shift() as Stretch;
    this.heldBytes -= stretch.batch.bytes.length;
    this.ready = [];
    this.at = 0;
    const to = this.to !== undefined && this.to < stretch.to ? this.to : stretch.to;
    try {
      takeMessages(this.ready, this.cursor?.channel.name ?? "", { ...stretch, to }, this.offsets, this.request.onLost, { types: this.cursor?.types });
    } catch (error) {
      this.fetched.length = 0;
      this.fail(error as Error);
      return;
    }
    this.fetchAhead();
  }

  /** Keeps one fetch open as long as there is room for its answer. */
  private fetchAhead(): void {
    if (this.isFetching || this.isDone || this.failure !== undefined) return;
    const room = this.maxBufferedBytes - this.heldBytes;
    const isOver = this.to !== undefined && this.cursor?.from.kind === "offset" && this.cursor.from.offset >= this.to;
    if (isOver) {
      if (this.fetched.length === 0 && this.at >= this.ready.length) this.end();
      return;
    }
    if (this.heldBytes > 0 && room < Math.min(FETCH_BYTES, this.maxBufferedBytes / 2)) return;
    this.isFetching = true;
    this.fetchOnce(Math.max(1, Math.min(room, FETCH_BYTES))).then(
      () => {
        this.isFetching = false;
        this.wake?.();
        this.fetchAhead();
      },
      (error: Error) => {
        this.isFetching = false;
        this.fail(error);
      },
    );
  }

  private async fetchOnce(maxBytes: number): Promise<void> {
    const { position } = this.request;
    this.cursor ??= new Cursor(await this.resolve(), this.begin, this.request, { incarnation: position?.incarnation, lastEpoch: position?.logEpoch });
    const { timeoutMs = Infinity, maxRetries = Infinity } = this.options;
    const answer = await fetch(this.requester, this.cursor, { maxBytes, maxWaitMs: this.maxWaitMs }, { timeoutMs, maxRetries, signal: this.signal });
    if (this.isDone) return;
    for (const stretch of this.cursor.take(answer)) {
      if (this.to !== undefined && stretch.from >= this.to) break;
      this.fetched.push(stretch);
      this.heldBytes += stretch.batch.bytes.length;
    }
  }

  private fail(error: Error): void {
    if (this.isDone || this.failure !== undefined) return;
    // A client that was closed ends its tails, as the end of a program does.
    if (error instanceof ClosedError) return this.end();
    this.failure = error;
    if (error instanceof AbortError) {
      this.isDone = true;
      this.release();
    }
    this.wake?.();
  }

  private end(): void {
    if (this.isDone) return;
    this.isDone = true;
    this.release();
    this.stop.abort();
    this.wake?.();
  }

  private release(): void {
    this.fetched.length = 0;
    this.ready = [];
    this.at = 0;
    this.heldBytes = 0;
    this.offAbort?.();
    this.onEnd(this);
  }
}
