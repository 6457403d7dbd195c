import { ClosedError, QueueFullError, RequestTimeoutError } from "../errors/index.js";
import { DeadlineTimer } from "./deadline-timer.js";

/** What waits for room in the queue. */
export interface Entrant {
  readonly bytes: number;
  /** Where it is to be published. */
  readonly channel: string;
  readonly timeoutMs: number;
  /** When its time is up: milliseconds since 1970. */
  readonly deadline: number;
  readonly signal: AbortSignal | undefined;
  /** Takes it into the queue; throws what is wrong with it. */
  enter(): void;
  reject(error: Error): void;
}

/**
 * Most that may wait for room: what programs that await have under way at once. Its bytes are the program's own, which has
 * made it; they are bounded as well, by a multiple of the limit, or by this.
 */
const MAX_WAITING = 1000;
const MAX_WAITING_BYTES = 32 << 20;
const MAX_WAITING_LIMITS = 4;

/**
 * Bytes that wait to be acknowledged, of all channels of a client. What does not fit waits for room, in the order of the
 * calls. More than some number can only pile up where nobody awaits them, so beyond it they are refused and memory stays
 * bounded.
 */
export class QueueLimit {
  private queued = 0;
  private readonly waiting: Entrant[] = [];
  private waitingBytes = 0;
  private willLetIn = false;
  private full: QueueFullError | undefined;
  private rejected: Promise<never> | undefined;
  private readonly deadlines = new DeadlineTimer(() => this.expire());

  constructor(private readonly limit: number) {}

  /** Whether something may be taken at once. What is larger than the limit may travel when nothing else does. */
  hasRoom(bytes: number): boolean {
    return this.waiting.length === 0 && this.fits(bytes);
  }

  /** Whether something may wait for room. */
  mayWait(bytes: number): boolean {
    if (this.waiting.length === 0) return true;
    const most = Math.max(this.limit * MAX_WAITING_LIMITS, MAX_WAITING_BYTES);
    return this.waiting.length < MAX_WAITING && this.waitingBytes + bytes <= most;
  }

  /** Takes it as soon as there is room, after what waits already. */
  wait(entrant: Entrant): void {
    this.waiting.push(entrant);
    this.waitingBytes += entrant.bytes;
    this.deadlines.arm(entrant.deadline);
  }

  /**
   * The error of everything that is not taken while the queue stays full: one error and one promise, so that a million
   * publishes which nobody awaits cost no memory.
   */
  rejection(): Promise<never> {
    this.full ??= new QueueFullError(this.queued + this.waitingBytes, this.limit);
    this.rejected ??= Promise.reject(this.full);
    return this.rejected;
  }

  take(bytes: number): void {
    this.queued += bytes;
  }

  release(bytes: number): void {
    this.queued -= bytes;
    this.full = undefined;
    this.rejected = undefined;
    if (this.waiting.length === 0 || this.willLetIn) return;
    // Later, since a producer that is in the midst of a change releases too.
    this.willLetIn = true;
    queueMicrotask(() => this.letIn());
  }

  /** Refuses all that waits. */
  close(): void {
    const left = this.waiting.splice(0);
    this.waitingBytes = 0;
    this.deadlines.clear();
    for (const { reject } of left) reject(new ClosedError());
  }

  private fits(bytes: number): boolean {
    return this.queued === 0 || this.queued + bytes <= this.limit;
  }

  private letIn(): void {
    this.willLetIn = false;
    for (let next = this.waiting[0]; next !== undefined && (next.signal?.aborted || this.fits(next.bytes)); next = this.waiting[0]) {
      this.waiting.shift();
      this.waitingBytes -= next.bytes;
      if (next.signal?.aborted) continue;
      try {
        next.enter();
      } catch (error) {
        next.reject(error as Error);
      }
    }
    if (this.waiting.length === 0) this.deadlines.clear();
  }

  private expire(): void {
    const now = Date.now();
    const cause = new QueueFullError(this.queued, this.limit);
    for (const entrant of this.waiting.splice(0)) {
      if (entrant.deadline > now) {
        this.waiting.push(entrant);
        this.deadlines.arm(entrant.deadline);
        continue;
      }
      this.waitingBytes -= entrant.bytes;
      entrant.reject(new RequestTimeoutError(`publishing to ${entrant.channel}`, entrant.timeoutMs, { cause }));
    }
    this.letIn();
  }
}
