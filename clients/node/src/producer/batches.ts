import { BatchBuilder } from "../batch/builder.js";
import type { PublishAnswer } from "../wire/messages.js";
import type { Outcome } from "./outcome.js";

/** What a record or batch asks for beyond its bytes; such a one travels alone. */
export interface Conditions {
  readonly expectedOffset?: bigint | undefined;
  readonly fence?: bigint | undefined;
}

/** How long and how often one publish is tried. */
export interface Effort {
  readonly timeoutMs: number;
  readonly maxRetries: number;
  /** When it was called, where that was before it was taken: milliseconds since 1970. */
  readonly since?: number;
}

/** A batch that records are copied into. */
export interface OpenBatch {
  readonly builder: BatchBuilder;
  readonly outcome: Outcome;
  readonly conditions: Conditions;
  /** Bytes that count against the queue's limit. */
  cost: number;
  /** When its first record was published: milliseconds since 1970. */
  readonly opened: number;
  readonly timeoutMs: number;
  readonly maxRetries: number;
}

/** A batch in its final bytes: a retry sends the same. */
export interface SealedBatch {
  bytes: Buffer;
  /** What they lie in; undefined once they lie elsewhere. */
  room: Buffer | undefined;
  records: number;
  sequence: number;
  /** Undefined once nobody waits for it any more. */
  outcome: Outcome | undefined;
  readonly conditions: Conditions;
  cost: number;
  readonly deadline: number;
  readonly timeoutMs: number;
  readonly maxRetries: number;
  /** How often it was sent with these bytes. */
  tries: number;
  /** Whether a try was lost, so that it may have been appended. */
  isUnsure: boolean;
  /** Number of the try that is to be answered; 0 when it is to be sent. */
  attempt: number;
  /** The answer, until all before it are answered. */
  answer: PublishAnswer | Error | undefined;
}

/** What a promise for a record costs in memory, about, beside the record's bytes. */
export const RECORD_COST = 256;

export function openBatch<T extends Outcome>(
  outcome: T,
  conditions: Conditions,
  { since, timeoutMs, maxRetries }: Effort,
  buffer?: Buffer,
): OpenBatch & { readonly outcome: T } {
  const builder = new BatchBuilder(buffer);
  if (conditions.fence !== undefined) builder.fence = conditions.fence;
  return { builder, outcome, conditions, cost: 0, opened: since ?? Date.now(), timeoutMs, maxRetries };
}
