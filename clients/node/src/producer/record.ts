import type { BytesOrText, NewRecord } from "../batch/builder.js";
import { InvalidArgumentError } from "../errors/index.js";

/**
 * A message to be published.
 *
 * @example
 * ```ts
 * const message: NewMessage = { type: "order.placed", key: "17", payload: { total: 20 }, headers: { trace: "abc" } };
 * ```
 */
export interface NewMessage {
  /** What kind of event it is, at most 256 bytes. */
  readonly type?: string | undefined;
  /** A JSON value, stored as its text; a `Uint8Array` is stored as it is. */
  readonly payload?: unknown;
  /** What it is about: text, or bytes. A message with a key and no payload is a tombstone. */
  readonly key?: BytesOrText | undefined;
  /** Text or bytes by name, at most 255. */
  readonly headers?: Readonly<Record<string, BytesOrText>> | Iterable<readonly [string, BytesOrText]> | undefined;
  /** When it happened: milliseconds since 1970, or a date. */
  readonly eventTime?: number | Date | undefined;
}

/** The record of a message, its payload encoded. */
export function newRecord({ type, payload, key, headers, eventTime }: NewMessage): NewRecord {
  return {
    type,
    key,
    payload: payload === undefined || payload instanceof Uint8Array ? payload : encode(payload),
    headers: headers === undefined ? undefined : Symbol.iterator in headers ? (headers as Iterable<readonly [string, BytesOrText]>) : Object.entries(headers),
    eventTime: eventTime instanceof Date ? eventTime.getTime() : eventTime,
  };
}

function encode(payload: unknown): string {
  let text: string | undefined;
  try {
    text = JSON.stringify(payload);
  } catch (cause) {
    throw new InvalidArgumentError(`the payload is no JSON value: ${(cause as Error).message}`, { cause });
  }
  if (text === undefined) throw new InvalidArgumentError(`a ${typeof payload} is no JSON value, so it cannot be a payload`);
  return text;
}
