import { AbortError } from "./errors/index.js";

/**
 * Callbacks of each signal, behind one listener: a signal that is shared by ten thousand calls has one listener, so Node
 * does not warn of a leak.
 */
const waiting = new WeakMap<AbortSignal, Set<(error: AbortError) => void>>();

const nothing = (): void => {};

/** Calls back once when the signal, which is not aborted yet, is. Returns what takes the callback back. */
export function onAbort(signal: AbortSignal | undefined, callback: (error: AbortError) => void): () => void {
  if (signal === undefined) return nothing;
  let callbacks = waiting.get(signal);
  if (callbacks === undefined) {
    const added = new Set<(error: AbortError) => void>();
    callbacks = added;
    waiting.set(signal, added);
    const listener = (): void => {
      waiting.delete(signal);
      const error = new AbortError(signal.reason);
      for (const call of added) call(error);
    };
    signal.addEventListener("abort", listener, { once: true });
  }
  const set = callbacks;
  set.add(callback);
  return () => void set.delete(callback);
}

/** @throws AbortError where the signal is aborted. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted) throw new AbortError(signal.reason);
}

/** Settles like `promise`, but rejects as soon as the signal is aborted, or with `late()` after `ms`. */
export function bounded<T>(promise: Promise<T>, signal: AbortSignal | undefined, ms: number, late: () => Error): Promise<T> {
  if (signal?.aborted) {
    promise.catch(nothing);
    return Promise.reject(new AbortError(signal.reason));
  }
  return new Promise<T>((resolve, reject) => {
    const timer = ms === Infinity ? undefined : setTimeout(() => settle(reject, late()), timerMs(ms));
    const off = onAbort(signal, (error) => settle(reject, error));
    function settle<V>(how: (value: V) => void, value: V): void {
      clearTimeout(timer);
      off();
      how(value);
    }
    promise.then(
      (value) => settle(resolve, value),
      (error: unknown) => settle(reject, error),
    );
  });
}

/** Waits; rejects at once when the signal is aborted. */
export function sleep(ms: number, signal?: AbortSignal): Promise<void> {
  throwIfAborted(signal);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => {
      off();
      resolve();
    }, timerMs(ms));
    const off = onAbort(signal, (error) => {
      clearTimeout(timer);
      reject(error);
    });
  });
}

/** Timers of Node take 31 bits. */
function timerMs(ms: number): number {
  return Math.min(Math.max(Math.ceil(ms), 0), 0x7fff_ffff);
}
