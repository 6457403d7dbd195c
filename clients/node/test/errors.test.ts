import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { BROKER_ERRORS, NPayloadError, OffsetOutOfRangeError, OffsetTrimmedError, QueueFullError } from "../src/index.js";
import { decodeErrorAnswer } from "../src/wire/error-answer.js";

const root = fileURLToPath(new URL("..", import.meta.url));

describe("errors", () => {
  test("are those of the protocol's document", () => {
    execFileSync(process.execPath, ["scripts/generate-errors.mjs", "--check"], { cwd: root, stdio: "pipe" });
    expect(Object.keys(BROKER_ERRORS).length).toBeGreaterThan(50);
  });

  test("of the broker become their classes, with code, number and details", () => {
    for (const [code, { number, retryable, type }] of Object.entries(BROKER_ERRORS)) {
      const body = { code: number, name: code, message: "m", retryable, details: { first: 1 }, retryAfterMs: 5 };
      const error = decodeErrorAnswer(Buffer.from(JSON.stringify(body)), "1.2");
      expect(error).toBeInstanceOf(type);
      expect(error).toBeInstanceOf(NPayloadError);
      expect(error).toBeInstanceOf(Error);
      expect(error).toMatchObject({ code, number, retryable, requestId: "1.2", details: { first: 1 }, retryAfterMs: 5, name: type.name });
    }
  });

  test("that are not known keep their code and nature", () => {
    const body = { code: 9999, name: "BRAND_NEW", message: "m", retryable: true };
    expect(decodeErrorAnswer(Buffer.from(JSON.stringify(body)))).toMatchObject({ code: "BRAND_NEW", number: 9999, retryable: true, name: "NPayloadError" });
    expect(decodeErrorAnswer(Buffer.from("nonsense"))).toMatchObject({ code: "PROTOCOL_ERROR" });
  });

  test("are recognised across copies of the package", () => {
    const built = createRequire(import.meta.url)("../dist/cjs/index.js") as typeof import("../src/index.js");
    const theirs = new built.QueueFullError(1, 2);
    expect(Object.getPrototypeOf(theirs)).not.toBe(QueueFullError.prototype);
    expect(theirs instanceof QueueFullError).toBe(true);
    expect(theirs instanceof NPayloadError).toBe(true);
    expect(theirs instanceof OffsetTrimmedError).toBe(false);
    expect(new QueueFullError(1, 2) instanceof built.NPayloadError).toBe(true);
    expect(new Error("other") instanceof NPayloadError).toBe(false);
    class Mine extends NPayloadError {}
    expect(theirs instanceof Mine).toBe(false);
    expect(new Mine({ code: "X", message: "m", retryable: false }) instanceof built.NPayloadError).toBe(true);
  });

  test("keep whole numbers above 2^53 - 1", () => {
    const body = '{"code":300,"name":"OFFSET_OUT_OF_RANGE","message":"m","retryable":false,"details":{"start":0,"end":18446744073709551615}}';
    const error = decodeErrorAnswer(Buffer.from(body)) as OffsetOutOfRangeError;
    expect(error.details).toEqual({ start: 0, end: 18446744073709551615n });
    expect(JSON.stringify(error)).toContain('"18446744073709551615"');
  });
});
