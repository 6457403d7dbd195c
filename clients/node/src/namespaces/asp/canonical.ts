import { InvalidArgumentError } from "../../errors/index.js";

/**
 * The canonical form of a JSON value (RFC 8785): members sorted by the UTF-16 of their names, no space, numbers as
 * ECMAScript writes them.
 *
 * @throws InvalidArgumentError for what has none: whole numbers beyond 2^53 - 1, and what is no JSON value.
 */
export function canonicalJson(value: unknown, at = ""): string {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") {
    const text = JSON.stringify(value);
    if (!Number.isFinite(value) || (/^-?\d+$/.test(text) && !Number.isSafeInteger(value))) {
      throw new InvalidArgumentError(`${at || "the value"} is ${value}, which has no canonical form: write it as a text`);
    }
    return text;
  }
  if (Array.isArray(value)) return `[${value.map((item, index) => canonicalJson(item ?? null, `${at}/${index}`)).join(",")}]`;
  if (typeof value !== "object") throw new InvalidArgumentError(`${at || "the value"} is a ${typeof value}, which is no JSON value`);
  const plain = "toJSON" in value && typeof value.toJSON === "function" ? (value.toJSON() as unknown) : value;
  if (plain !== value) return canonicalJson(plain, at);
  const members = Object.entries(value).filter(([, item]) => item !== undefined);
  // The order of `<` on texts is that of their UTF-16.
  members.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
  return `{${members.map(([name, item]) => `${JSON.stringify(name)}:${canonicalJson(item, `${at}/${name}`)}`).join(",")}}`;
}
