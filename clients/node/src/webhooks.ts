import { createHmac, createPublicKey, timingSafeEqual, verify } from "node:crypto";
import { InvalidArgumentError, WebhookError } from "./errors/index.js";

/**
 * The headers of a request, as Node's `request.headers` or as `Headers` has them.
 *
 * @example
 * ```ts
 * const headers: WebhookHeaders = request.headers;
 * ```
 */
export type WebhookHeaders = Readonly<Record<string, string | readonly string[] | undefined>> | { get(name: string): string | null };

/**
 * What a webhook has told, once its signature was checked.
 *
 * @example
 * ```ts
 * const event: WebhookEvent<{ offset: number }> = np.webhooks.unwrap(body, request.headers, secret);
 * ```
 */
export interface WebhookEvent<T = unknown> {
  /** The same whenever the event is delivered again: what was handled once can be recognised. */
  readonly id: string;
  /** When this delivery was signed: milliseconds since 1970. */
  readonly timestamp: number;
  /** The body, read as JSON. */
  readonly payload: T;
}

/**
 * How strictly a webhook is checked.
 *
 * @example
 * ```ts
 * const options: UnwrapOptions = { toleranceMs: 60_000 };
 * ```
 */
export interface UnwrapOptions {
  /** How far its time may be from the clock's, in milliseconds; 300,000 unless given. */
  readonly toleranceMs?: number | undefined;
  /** What to take for the present: milliseconds since 1970. */
  readonly now?: number | undefined;
}

/** A public key of Ed25519 in front of its 32 bytes. */
const ED25519_KEY_HEAD = Buffer.from("302a300506032b6570032100", "hex");

/**
 * Webhooks of [Standard Webhooks](https://www.standardwebhooks.com), whoever sends them: what arrives is checked before it
 * is believed.
 *
 * @example
 * ```ts
 * const { id, payload } = np.webhooks.unwrap(rawBody, request.headers, process.env.WEBHOOK_SECRET ?? "");
 * ```
 */
export class Webhooks {
  /**
   * Checks the signature and the time of a webhook, and reads its body. The body has to be the bytes that came, not JSON
   * that was read and written again.
   *
   * @param secrets - `whsec_…` of signatures `v1`, or `whpk_…`, a public key, of signatures `v1a`; several while one is
   * replaced by another: any of them will do.
   *
   * @throws WebhookError where it is not to be believed, or no JSON; InvalidArgumentError where a secret is none.
   *
   * @example
   * ```ts
   * const { id, payload } = np.webhooks.unwrap(rawBody, request.headers, [newSecret, oldSecret]);
   * if (!handled.has(id)) await handle(payload);
   * ```
   */
  unwrap<T = unknown>(rawBody: string | Uint8Array, headers: WebhookHeaders, secrets: string | readonly string[], options: UnwrapOptions = {}): WebhookEvent<T> {
    const { toleranceMs = 300_000, now = Date.now() } = options;
    const checks = (typeof secrets === "string" ? [secrets] : secrets).map(signatureCheck);
    if (checks.length === 0) throw new InvalidArgumentError("a webhook is checked with one secret at least");
    const id = header(headers, "webhook-id");
    const seconds = header(headers, "webhook-timestamp");
    const signatures = header(headers, "webhook-signature");
    if (!/^\d{1,12}$/.test(seconds)) throw new WebhookError(`webhook-timestamp is "${seconds.slice(0, 64)}", which are no seconds since 1970`, "timestamp");
    const timestamp = Number(seconds) * 1000;
    if (Math.abs(now - timestamp) > toleranceMs) {
      throw new WebhookError(`the webhook was signed ${now - timestamp} ms ago, where at most ${toleranceMs} ms to either side are allowed`, "timestamp");
    }
    const body = typeof rawBody === "string" ? Buffer.from(rawBody) : rawBody;
    const signed = Buffer.concat([Buffer.from(`${id}.${seconds}.`), body]);
    const given = signatures.split(" ").map((signature) => signature.split(",") as [string, string | undefined]);
    const isSigned = given.some(([version, base64 = ""]) => checks.some((check) => check(version, signed, Buffer.from(base64, "base64"))));
    if (!isSigned) throw new WebhookError("no signature of the webhook is one of the given secrets", "signature");
    try {
      return { id, timestamp, payload: JSON.parse(Buffer.from(body).toString("utf8")) as T };
    } catch (cause) {
      throw new WebhookError("the body of the webhook is no JSON", "body", cause);
    }
  }
}

function header(headers: WebhookHeaders, name: string): string {
  let value: string | readonly string[] | null | undefined;
  if (typeof headers.get === "function") value = (headers as { get(name: string): string | null }).get(name);
  else {
    const found = Object.entries(headers as Record<string, string | readonly string[] | undefined>).find(([key]) => key.toLowerCase() === name);
    value = found?.[1];
  }
  const text = typeof value === "string" ? value : value?.length === 1 ? value[0] : undefined;
  if (!text) throw new WebhookError(`the request has no header ${name}, or several`, "headers");
  return text;
}

/** Whether a signature of a version is that of the signed bytes. */
type SignatureCheck = (version: string, signed: Buffer, signature: Buffer) => boolean;

function signatureCheck(secret: string): SignatureCheck {
  const bytes = Buffer.from(secret.replace(/^wh(sec|pk)_/, ""), "base64");
  if (secret.startsWith("whpk_")) {
    if (bytes.length !== 32) throw new InvalidArgumentError(`a public key whpk_… of ${bytes.length} bytes, where 32 are needed`);
    const key = createPublicKey({ key: Buffer.concat([ED25519_KEY_HEAD, bytes]), format: "der", type: "spki" });
    return (version, signed, signature) => version === "v1a" && signature.length === 64 && verify(null, signed, key, signature);
  }
  if (!secret.startsWith("whsec_")) throw new InvalidArgumentError("a secret of webhooks begins with whsec_ or whpk_");
  if (bytes.length < 16) throw new InvalidArgumentError(`a secret whsec_… of ${bytes.length} bytes, where 16 or more are needed`);
  return (version, signed, signature) => {
    if (version !== "v1" || signature.length !== 32) return false;
    return timingSafeEqual(createHmac("sha256", bytes).update(signed).digest(), signature);
  };
}
