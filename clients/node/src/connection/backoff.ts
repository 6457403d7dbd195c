/** Shortest and longest wait between two tries. */
export interface BackoffLimits {
  /** The first wait, in milliseconds. */
  readonly minDelayMs: number;
  /** No wait is longer, in milliseconds. */
  readonly maxDelayMs: number;
}

/** Waits that grow twofold and are moved by chance, so that many clients do not come back at once. */
export class Backoff {
  private tries = 0;

  constructor(private readonly limits: BackoffLimits) {}

  /** The next wait, at least what the broker asked for. */
  next(retryAfterMs = 0): number {
    const full = Math.min(this.limits.minDelayMs * 2 ** this.tries, this.limits.maxDelayMs);
    this.tries = Math.min(this.tries + 1, 30);
    const asked = Math.min(retryAfterMs, this.limits.maxDelayMs * 10);
    return Math.max(full * (0.5 + Math.random() / 2), asked);
  }

  /** Begins again with the shortest wait. */
  reset(): void {
    this.tries = 0;
  }
}
