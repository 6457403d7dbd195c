import { randomBytes } from "node:crypto";
import { NPayloadError } from "../../errors/index.js";

/**
 * Makes UUIDs of version 7, each greater than the one before, also within a millisecond and where the clock is set back
 * (RFC 9562, section 6.2, method 1): a broker tells late repetitions by the order of ids.
 */
export class UuidV7Source {
  private at = 0;
  /** The 12 bits behind the version. */
  private counter = 0;

  next(now = Date.now()): string {
    const bytes = randomBytes(16);
    if (now > this.at) {
      this.at = now;
      // Half of the range is left to count in.
      this.counter = bytes.readUInt16BE(6) & 0x7ff;
    } else {
      this.counter += 1;
      if (this.counter > 0xfff) {
        this.at += 1;
        this.counter = 0;
      }
    }
    bytes.writeUIntBE(this.at, 0, 6);
    bytes.writeUInt16BE(0x7000 | this.counter, 6);
    bytes[8] = ((bytes[8] as number) & 0x3f) | 0x80;
    const hex = bytes.toString("hex");
    return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join("-");
  }
}

const source = new UuidV7Source();

/** A UUID of version 7, greater than those before. */
export function uuidV7(): string {
  return source.next();
}

/**
 * A UUID of version 7 for what follows from something and lives where that does: it ends as the id of that one, and so names its
 * region.
 */
export function uuidBeside(id: string): string {
  const last = /[0-9a-f]{4}$/.exec(id);
  return last === null ? source.next() : source.next().slice(0, -4) + last[0];
}

/** How often an id that somebody else has used is replaced by a new one. */
const FRESH_IDS = 3;

/**
 * Does something under an id: the one that is given, else a new one, which is replaced where somebody else has used it.
 *
 * @param taken - Codes that say so.
 */
export async function underId<T>(given: string | undefined, fresh: () => string, taken: readonly string[], what: (id: string) => Promise<T>): Promise<T> {
  if (given !== undefined) return what(given);
  for (let tries = 0; ; tries += 1) {
    try {
      return await what(fresh());
    } catch (error) {
      if (tries >= FRESH_IDS || !(error instanceof NPayloadError) || !taken.includes(error.code)) throw error;
    }
  }
}
