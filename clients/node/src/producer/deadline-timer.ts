/** Calls back at the earliest of the times that it was told. One timer, rather than one for each batch. */
export class DeadlineTimer {
  private next = Infinity;
  private timer: NodeJS.Timeout | undefined;

  constructor(private readonly onDue: () => void) {}

  /** Calls back at this time, or before: milliseconds since 1970. */
  arm(deadline: number): void {
    if (deadline >= this.next) return;
    this.next = deadline;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => {
      this.clear();
      this.onDue();
    }, Math.max(1, Math.min(deadline - Date.now(), 0x7fff_ffff)));
  }

  /** Calls back no more. */
  clear(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    this.next = Infinity;
  }
}
