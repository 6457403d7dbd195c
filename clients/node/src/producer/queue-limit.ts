import { QueueFullError } from "../errors/index.js";

/** Bytes that wait to be acknowledged, of all channels of a client. */
export class QueueLimit {
  private queued = 0;
  private full: QueueFullError | undefined;
  private rejected: Promise<never> | undefined;

  constructor(private readonly limit: number) {}

  /** Whether something more may be taken. What is larger than the limit may travel when nothing else does. */
  hasRoom(bytes: number): boolean {
    return this.queued === 0 || this.queued + bytes <= this.limit;
  }

  /**
   * The error of everything that is not taken while the queue stays full: one error and one promise, so that a million
   * publishes which nobody awaits cost no memory.
   */
  rejection(): Promise<never> {
    this.full ??= new QueueFullError(this.queued, this.limit);
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
  }
}
