import type { Status } from "./connection/link.js";

/** Listeners of a client's status events. What one throws is thrown to nobody else. */
export class StatusEvents {
  private readonly listeners = new Set<(status: Status) => void>();

  /** Adds a listener; returns what removes it. */
  on(listener: (status: Status) => void): () => void {
    this.listeners.add(listener);
    return () => void this.listeners.delete(listener);
  }

  tell(status: Status): void {
    for (const listener of this.listeners) {
      try {
        listener(status);
      } catch (error) {
        // As of an event listener: an uncaught exception of the program, not a failure of the connection.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
