import { createHash } from "node:crypto";

/** SHA-256 of what stands behind a domain, as digests are written. */
export function digestOf(domain: string, ...parts: readonly (string | Uint8Array)[]): string {
  return `sha256:${rawDigest(domain, ...parts).toString("hex")}`;
}

/** The same as bytes. */
export function rawDigest(domain: string, ...parts: readonly (string | Uint8Array)[]): Buffer {
  const hash = createHash("sha256").update(domain);
  for (const part of parts) hash.update(part);
  return hash.digest();
}
