/**
 * JSON whose whole numbers are never rounded: those that a JavaScript number holds exactly are numbers, larger ones are
 * bigints, both ways.
 */

/** A string or a number of a JSON text. What stands between them holds no digits. */
const TOKENS = /"(?:[^"\\]|\\.)*"|-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?/g;

/** A JSON text without a run of 16 digits has no whole number above 2^53 - 1. */
const MAYBE_LARGE = /\d{16}/;

/** Begins a string that stands for a bigint while a text is read or written. No JSON of the broker begins so. */
const TAG = "\u0001npayload:bigint:";

/** Reads a JSON text. */
export function parseJson(text: string): unknown {
  if (!MAYBE_LARGE.test(text)) return JSON.parse(text);
  let isTagged = false;
  const tagged = text.replace(TOKENS, (token) => {
    if (token.startsWith('"') || /[.eE]/.test(token) || Number.isSafeInteger(Number(token))) return token;
    isTagged = true;
    return JSON.stringify(TAG + token);
  });
  if (!isTagged) return JSON.parse(text);
  return JSON.parse(tagged, (_, value: unknown) =>
    typeof value === "string" && value.startsWith(TAG) ? BigInt(value.slice(TAG.length)) : value,
  );
}

/** Writes a JSON text, bigints as plain numbers. */
export function stringifyJson(value: unknown): string {
  let isTagged = false;
  const text = JSON.stringify(value, (_, item: unknown) => {
    if (typeof item !== "bigint") return item;
    isTagged = true;
    return TAG + item.toString();
  });
  if (!isTagged) return text;
  const escaped = JSON.stringify(TAG).slice(1, -1).replace("\\", "\\\\");
  return text.replace(new RegExp(`"${escaped}(-?\\d+)"`, "g"), "$1");
}
