import { describe, expect, test } from "vitest";
import { decodeHello } from "../src/connection/hello.js";
import { OffsetTrimmedError } from "../src/errors/index.js";
import { BatchBuilder } from "../src/batch/builder.js";
import { readStoredBatch } from "../src/batch/stored.js";
import { decodeErrorAnswer } from "../src/wire/error-answer.js";
import { encodeFrame, type Frame, FrameParser } from "../src/wire/frame.js";
import { parseJson, stringifyJson } from "../src/wire/json.js";
import { KINDS } from "../src/wire/kinds.js";
import {
  decodeAtomicAnswer,
  decodeCommitAnswer,
  decodeFetchAnswer,
  decodePublishAnswer,
  encodeAtomic,
  encodeCommit,
  encodeFetch,
  encodeFetchBeyond,
  encodePublishHead,
} from "../src/wire/messages.js";
import { goldenNames, repositoryFile } from "./support/golden.js";

const FOLDER = "tests/golden/frames/";
const INCARNATION = "00112233445566778899aabbccddeeff";

function parse(bytes: Buffer, pieces = bytes.length): Frame[] {
  const frames: Frame[] = [];
  const parser = new FrameParser((frame) => frames.push(frame));
  for (let at = 0; at < bytes.length; at += pieces) parser.push(bytes.subarray(at, at + pieces));
  return frames;
}

function golden(name: string): { bytes: Buffer; frame: Frame } {
  const bytes = repositoryFile(`${FOLDER}${name}.bin`);
  const [frame] = parse(bytes);
  if (frame === undefined) throw new Error(`${name} holds no whole frame`);
  return { bytes, frame };
}

/** The batch of the worked example in the protocol's document. */
function workedExample(): Buffer {
  const builder = new BatchBuilder();
  builder.push({ type: "chat.message", key: "u1", headers: [["lang", "en"]], payload: "hello" });
  builder.push({ payload: new Uint8Array() });
  return builder.build({ id: Buffer.from("0f1e2d3c4b5a69788796a5b4c3d2e1f0", "hex"), epoch: 1, sequence: 0 });
}

const FETCH = {
  channel: "chat.log",
  incarnation: INCARNATION,
  from: { kind: "offset", offset: 42n },
  lastEpoch: 3n,
  maxBytes: 1 << 20,
  minBytes: 1,
  maxWaitMs: 500,
} as const;

/** The body that this client writes for a golden request whose kind has a binary body. */
const BINARY_REQUESTS: Record<string, () => Buffer> = {
  ping: () => Buffer.alloc(0),
  publish: () => Buffer.concat([encodePublishHead({ channel: "chat.log" }), workedExample()]),
  publish_atomic: () =>
    encodeAtomic([
      { kind: "publish", target: { channel: "chat.log", expectedOffset: 41n }, batch: workedExample() },
      { kind: "commit", commit: { channel: "chat.log", consumer: "trainer-1", offset: 41n, expectedPrevious: 40n, metadata: "step 12" } },
    ]),
  fetch: () => encodeFetch(FETCH),
  "fetch.beyond": () => encodeFetchBeyond({ ...FETCH, readHome: true, types: ["model.deployed"] }),
  commit: () => encodeCommit({ channel: "chat.log", incarnation: INCARNATION, consumer: "trainer-1", offset: 43n, logEpoch: 3n, expectedPrevious: null }),
};

const ACK = { firstOffset: 41n, lastOffset: 42n, appendTime: 1_700_000_000_123, logEpoch: 3n, incarnation: INCARNATION, level: "synced", duplicate: false };

/** What this client reads in a golden answer whose kind has a binary body. */
const BINARY_ANSWERS: Record<string, (body: Buffer) => void> = {
  ping: (body) => expect(body.length).toBe(0),
  publish: (body) => expect(decodePublishAnswer(body)).toEqual(ACK),
  publish_atomic: (body) => {
    const { publishes, commits } = decodeAtomicAnswer(body);
    expect(publishes).toEqual([ACK]);
    expect(commits).toEqual([41n]);
  },
  fetch: (body) => isFetched(body),
  "fetch.beyond": (body) => isFetched(body),
  commit: (body) => expect(decodeCommitAnswer(body)).toBe(43n),
};

function isFetched(body: Buffer): void {
  const { batches, ...answer } = decodeFetchAnswer(body);
  const rest = { incarnation: INCARNATION, logStart: 0n, highWatermark: 43n, logEnd: 43n, fromOffset: 42n, logEpoch: 3n };
  expect(answer).toEqual(rest);
  expect(readStoredBatch(batches, 0)).toMatchObject({ baseOffset: 41n, endOffset: 43n, logEpoch: 3n });
}

/** Binary requests of one broker to another, which this client does not speak: only their framing is looked at. */
const UNSPOKEN = ["link.fetch", "link.forward"];

/** Requests that hand on other people's JSON in the spacing it has: this client writes the same values without it. */
const WITH_SPACES = ["session_send_request", "tool_start_request", "commitment_create_request", "commitment_deliver_request", "dispute_create_request"];

const told = decodeHello(golden("hello_response").frame.body).kinds;
const ofKind = (name: string): string => {
  const file = name.replace(/_(request|response)$/, "");
  const kind = [...told.keys()].find((known) => known.replaceAll(".", "_") === file);
  if (kind === undefined) throw new Error(`no kind of the hello goes by the name of the golden file ${name}`);
  return kind;
};

describe("golden frames", () => {
  for (const name of goldenNames(FOLDER).map((file) => file.slice(0, -4))) {
    if (name === "error_response") {
      test(name, () => {
        const error = decodeErrorAnswer(golden(name).frame.body, "1.7");
        expect(error).toBeInstanceOf(OffsetTrimmedError);
        expect(error).toMatchObject({ code: "OFFSET_TRIMMED", number: 301, retryable: false, requestId: "1.7", details: { first: 10, end: 43 } });
      });
      continue;
    }
    // Written and read by clients that ask for a newer version; this one asks for the first.
    const newer = /^(.+)_v(\d+)_(request|response)$/.exec(name);
    if (newer !== null) {
      test(`${name} is framed as every other`, () => {
        const { bytes, frame } = golden(name);
        expect(frame).toMatchObject({ version: Number(newer[2]), correlation: 7 });
        expect(encodeFrame(frame.kind, frame.version, 7, frame.body).toString("hex")).toBe(bytes.toString("hex"));
      });
      continue;
    }
    const kind = ofKind(name);
    const number = told.get(kind) as number;
    if (UNSPOKEN.includes(kind)) {
      test(`${name} is framed as every other`, () => {
        const { bytes, frame } = golden(name);
        const sent = name.endsWith("_request") ? number : number | 0x8000;
        expect(frame).toMatchObject({ kind: sent, version: 1, correlation: 7 });
        expect(encodeFrame(sent, 1, 7, frame.body).toString("hex")).toBe(bytes.toString("hex"));
      });
      continue;
    }
    const isBinary = kind in BINARY_REQUESTS;
    if (name.endsWith("_request")) {
      test(`${name} is written to the same bytes`, () => {
        const { bytes, frame } = golden(name);
        expect(frame).toMatchObject({ kind: number, version: 1, correlation: 7 });
        if (WITH_SPACES.includes(name)) {
          const value = parseJson(frame.body.toString());
          expect(parseJson(stringifyJson(value))).toEqual(value);
          return;
        }
        const body = isBinary ? (BINARY_REQUESTS[kind] as () => Buffer)() : Buffer.from(stringifyJson(parseJson(frame.body.toString())));
        expect(encodeFrame(number, 1, 7, body).toString("hex")).toBe(bytes.toString("hex"));
      });
    } else {
      test(`${name} is read`, () => {
        const { frame } = golden(name);
        expect(frame).toMatchObject({ kind: number | 0x8000, version: 1, correlation: 7 });
        if (isBinary) (BINARY_ANSWERS[kind] as (body: Buffer) => void)(frame.body);
        else expect(parseJson(frame.body.toString())).toBeTypeOf("object");
      });
    }
  }

  test("come out whole however the bytes arrive", () => {
    const names = goldenNames(FOLDER);
    const all = Buffer.concat(names.map((name) => repositoryFile(FOLDER + name)));
    for (const pieces of [1, 2, 3, 7, 13, 100, 4096, all.length]) {
      const frames = parse(all, pieces);
      expect(frames.length).toBe(names.length);
      const written = frames.map(({ kind, version, correlation, body }) => encodeFrame(kind, version, correlation, body));
      expect(Buffer.concat(written).equals(all)).toBe(true);
    }
  });

  test("with a length that is not allowed are refused", () => {
    expect(() => parse(Buffer.from([11, 0, 0, 0, 1, 0]))).toThrow(/length 11/);
    expect(() => parse(Buffer.from([0xff, 0xff, 0xff, 0xff, 1]))).toThrow(/length 4294967295/);
  });

  test("the kinds of this client are those of the protocol's document", () => {
    const rows = repositoryFile("docs/wire-protocol.md").toString().matchAll(/^\| (\d+) \| `([a-zA-Z._]+)` \| 1(?:-\d+)? \|/gm);
    const documented = new Map([...rows].map(([, number, name]) => [name as string, Number(number)]));
    expect(documented.size).toBeGreaterThan(30);
    for (const [name, number] of Object.entries(KINDS)) expect([name, documented.get(name)]).toEqual([name, number]);
    for (const [name, number] of documented) if (number < 100) expect(KINDS[name]).toBe(number);
  });
});
