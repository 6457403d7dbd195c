import { generateKeyPairSync, sign } from "node:crypto";
import { Webhook } from "standardwebhooks";
import { describe, expect, test } from "vitest";
import { InvalidArgumentError, NPayload, WebhookError } from "../src/index.js";

const np = new NPayload();
const SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
const NOW = 1_614_265_330_000;
/** The vector of the Standard Webhooks specification's own tests. */
const VECTOR = {
  body: '{"test": 2432232314}',
  headers: {
    "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
  },
};
const reasonOf = (run: () => unknown): unknown => {
  try {
    run();
  } catch (error) {
    expect(error).toBeInstanceOf(WebhookError);
    expect(error).toMatchObject({ code: "WEBHOOK_INVALID", retryable: false });
    return (error as WebhookError).details.reason;
  }
  return undefined;
};

describe("webhooks", () => {
  test("of the specification's vector are read", () => {
    const event = np.webhooks.unwrap<{ test: number }>(VECTOR.body, VECTOR.headers, SECRET, { now: NOW });
    expect(event).toEqual({ id: "msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp: NOW, payload: { test: 2_432_232_314 } });
  });

  test("that the specification's own library has signed are read, as bytes and with any kind of headers", () => {
    const body = JSON.stringify({ offset: 42, text: "Grüße" });
    const sentAt = new Date();
    const signature = new Webhook(SECRET).sign("msg_1", sentAt, body);
    const headers = { "Webhook-Id": "msg_1", "WEBHOOK-TIMESTAMP": `${Math.floor(sentAt.getTime() / 1000)}`, "webhook-signature": [signature] };
    expect(np.webhooks.unwrap(Buffer.from(body), headers, SECRET).payload).toEqual({ offset: 42, text: "Grüße" });
    const flat = Object.entries(headers).map(([name, value]): [string, string] => [name, String(value)]);
    expect(np.webhooks.unwrap(body, new Headers(flat), SECRET).id).toBe("msg_1");
  });

  test("are believed with any of several secrets and signatures, as while a secret is replaced", () => {
    const other = `whsec_${Buffer.alloc(24, 7).toString("base64")}`;
    const { signature } = { signature: `v1,${Buffer.alloc(32).toString("base64")} v9,x ${VECTOR.headers["webhook-signature"]}` };
    const headers = { ...VECTOR.headers, "webhook-signature": signature };
    expect(np.webhooks.unwrap(VECTOR.body, headers, [other, SECRET], { now: NOW }).payload).toBeDefined();
    expect(reasonOf(() => np.webhooks.unwrap(VECTOR.body, headers, other, { now: NOW }))).toBe("signature");
  });

  test("with an Ed25519 signature are checked with the public key", () => {
    const { publicKey, privateKey } = generateKeyPairSync("ed25519");
    const raw = publicKey.export({ format: "der", type: "spki" }).subarray(12);
    const signature = sign(null, Buffer.from(`${VECTOR.headers["webhook-id"]}.1614265330.${VECTOR.body}`), privateKey);
    const headers = { ...VECTOR.headers, "webhook-signature": `v1a,${signature.toString("base64")}` };
    const key = `whpk_${raw.toString("base64")}`;
    expect(np.webhooks.unwrap(VECTOR.body, headers, key, { now: NOW }).payload).toBeDefined();
    expect(reasonOf(() => np.webhooks.unwrap(`${VECTOR.body} `, headers, key, { now: NOW }))).toBe("signature");
    expect(reasonOf(() => np.webhooks.unwrap(VECTOR.body, headers, SECRET, { now: NOW }))).toBe("signature");
  });

  test("with any byte changed, too old or too new, or without a header are not believed", () => {
    const unwrap = (body: string, headers: Record<string, string>, now = NOW) => np.webhooks.unwrap(body, headers, SECRET, { now });
    for (let at = 0; at < VECTOR.body.length; at += 1) {
      const changed = `${VECTOR.body.slice(0, at)}#${VECTOR.body.slice(at + 1)}`;
      expect(reasonOf(() => unwrap(changed, VECTOR.headers))).toBe("signature");
    }
    expect(reasonOf(() => unwrap(VECTOR.body, { ...VECTOR.headers, "webhook-id": "msg_other" }))).toBe("signature");
    expect(reasonOf(() => unwrap(VECTOR.body, { ...VECTOR.headers, "webhook-timestamp": "1614265331" }))).toBe("signature");
    expect(reasonOf(() => unwrap(VECTOR.body, { ...VECTOR.headers, "webhook-timestamp": "soon" }))).toBe("timestamp");
    for (const aside of [300_001, -300_001]) expect(reasonOf(() => unwrap(VECTOR.body, VECTOR.headers, NOW + aside))).toBe("timestamp");
    for (const aside of [300_000, -300_000]) expect(unwrap(VECTOR.body, VECTOR.headers, NOW + aside).id).toBe(VECTOR.headers["webhook-id"]);
    for (const name of Object.keys(VECTOR.headers)) {
      const { [name as keyof typeof VECTOR.headers]: _, ...rest } = VECTOR.headers;
      expect(reasonOf(() => unwrap(VECTOR.body, rest))).toBe("headers");
    }
    const text = "no JSON";
    const headers = { ...VECTOR.headers, "webhook-signature": new Webhook(SECRET).sign(VECTOR.headers["webhook-id"], new Date(NOW), text) };
    expect(reasonOf(() => unwrap(text, headers))).toBe("body");
  });

  test("cannot be checked with what is no secret", () => {
    for (const secret of ["", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_c2hvcnQ=", "whpk_c2hvcnQ="]) {
      expect(() => np.webhooks.unwrap(VECTOR.body, VECTOR.headers, secret, { now: NOW })).toThrow(InvalidArgumentError);
    }
    expect(() => np.webhooks.unwrap(VECTOR.body, VECTOR.headers, [], { now: NOW })).toThrow(InvalidArgumentError);
  });
});
