import { describe, expect, test } from "vitest";
import { Backoff } from "../src/connection/backoff.js";
import { formatUrl, isLoopback, parseUrl } from "../src/connection/url.js";
import { canonicalJson } from "../src/namespaces/asp/canonical.js";
import { offsetInput } from "../src/offset.js";
import { parseJson, stringifyJson } from "../src/wire/json.js";

describe("JSON", () => {
  test("never rounds whole numbers", () => {
    const text = '{"a":9007199254740993,"b":[18446744073709551615,-9007199254740993],"c":"9007199254740993","d":1.5e300,"e":"\\"12345678901234567890\\\\"}';
    const value = parseJson(text);
    expect(value).toEqual({ a: 9007199254740993n, b: [18446744073709551615n, -9007199254740993n], c: "9007199254740993", d: 1.5e300, e: '"12345678901234567890\\' });
    expect(parseJson(stringifyJson(value))).toEqual(value);
  });

  test("is plain where nothing is large", () => {
    expect(stringifyJson({ a: 1n, b: [2n, "3"], c: null })).toBe('{"a":1,"b":[2,"3"],"c":null}');
    expect(parseJson('{"a":9007199254740991}')).toEqual({ a: 9007199254740991 });
  });
});

describe("URLs", () => {
  test("name host and port", () => {
    for (const [text, wanted] of [
      ["npayload://localhost", "npayload://localhost:7400"],
      ["npayload://10.0.0.1:1234/", "npayload://10.0.0.1:1234"],
      ["npayload://[::1]:9", "npayload://[::1]:9"],
      ["npayload+tls://a.b", "npayload+tls://a.b:7400"],
      ["npayload+tls://[::1]/", "npayload+tls://[::1]:7400"],
    ] as const) {
      expect(formatUrl(parseUrl(text))).toBe(wanted);
    }
    const bad = ["", "localhost:7400", "http://x", "npayload://", "npayload://:7400", "npayload://x:", "npayload://x:65536", "npayload://x:1/y", "npayload://u@x", "npayload://[::1", "npayload+ssl://x"];
    for (const text of bad) expect(() => parseUrl(text), text).toThrow(/is not npayload:\/\/HOST:PORT/);
  });

  test("tell loopback addresses from others", () => {
    for (const local of ["npayload://localhost", "npayload://127.8.0.1:9", "npayload://[::1]"]) expect(isLoopback(parseUrl(local))).toBe(true);
    for (const far of ["npayload://10.0.0.1", "npayload://localhost.example", "npayload://[::2]"]) expect(isLoopback(parseUrl(far))).toBe(false);
  });
});

test("offsets that a number does not hold are refused", () => {
  expect(offsetInput(2 ** 53 - 1, "o")).toBe(2n ** 53n - 1n);
  expect(offsetInput(2n ** 60n, "o")).toBe(2n ** 60n);
  for (const bad of [2 ** 53, -1, 1.5, NaN, Infinity, -1n, 2n ** 64n - 1n]) expect(() => offsetInput(bad, "o")).toThrow(/an offset of 0 or more/);
});

test("waits between tries grow up to their limit, and heed the broker's", () => {
  const backoff = new Backoff({ minDelayMs: 10, maxDelayMs: 100 });
  const waits = Array.from({ length: 10 }, () => backoff.next());
  for (const [n, wait] of waits.entries()) {
    const full = Math.min(10 * 2 ** n, 100);
    expect(wait).toBeGreaterThanOrEqual(full / 2);
    expect(wait).toBeLessThanOrEqual(full);
  }
  expect(backoff.next(500)).toBe(500);
  backoff.reset();
  expect(backoff.next()).toBeLessThanOrEqual(10);
});

describe("canonical JSON", () => {
  test("is that of RFC 8785", () => {
    for (const [given, form] of [
      ['{"b":[1.0,2.50,1E30,4.5e-7,-0,0.000001,123456789012345680000000],"a":{"z":null,"y":true}}', '{"a":{"y":true,"z":null},"b":[1,2.5,1e+30,4.5e-7,0,0.000001,1.2345678901234569e+23]}'],
      ['{"\\u20ac":1,"\\r":2,"\\ufb33":3,"1":4,"\\ud83d\\ude00":5,"\\u0080":6,"\\u00f6":7}', '{"\\r":2,"1":4,"\u0080":6,"ö":7,"€":1,"😀":5,"\ufb33":3}'],
      ["[9007199254740991,5e-324,1.7976931348623157e308]", "[9007199254740991,5e-324,1.7976931348623157e+308]"],
    ] as const) {
      expect(canonicalJson(JSON.parse(given))).toBe(form);
    }
    for (const bad of [2 ** 53, 1e20, NaN, () => 1, 1n]) expect(() => canonicalJson({ a: [bad] })).toThrow(/\/a\/0 is/);
    expect(canonicalJson({ b: undefined, a: new Date(0) })).toBe('{"a":"1970-01-01T00:00:00.000Z"}');
  });
});
