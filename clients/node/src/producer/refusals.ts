import { NPayloadError } from "../errors/index.js";
import type { SealedBatch } from "./batches.js";

/**
 * Whether a refusal says that the batch was not appended: it breaks a rule or a condition, or may not be. Duplicates are
 * recognised before conditions are looked at, but after names and access are.
 */
export function wasNotAppended({ isUnsure }: SealedBatch, error: Error): boolean {
  if (!(error instanceof NPayloadError) || error.number === undefined) return false;
  const { number } = error;
  if (number >= 200 && number < 208) return true;
  return !isUnsure && (number < 200 || number >= 700 || error.code === "DISK_FULL" || error.code === "OVERLOADED");
}
