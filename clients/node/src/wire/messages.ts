import { ProtocolError } from "../errors/index.js";
import { BodyReader, BodyWriter, NONE } from "./body.js";

/**
 * How far an acknowledged record is safe: `written` survives a killed broker, `synced` a power cut.
 *
 * @example
 * ```ts
 * const level: DurabilityLevel = "synced";
 * ```
 */
export type DurabilityLevel = "written" | "synced";

/** Where a batch is to be appended, and on what conditions. */
export interface PublishTarget {
  readonly channel: string;
  readonly incarnation?: string | undefined;
  readonly expectedOffset?: bigint | undefined;
}

/** What the broker says of an appended batch. */
export interface PublishAnswer {
  readonly firstOffset: bigint;
  readonly lastOffset: bigint;
  readonly appendTime: number;
  readonly logEpoch: bigint;
  readonly incarnation: string;
  readonly level: DurabilityLevel;
  readonly duplicate: boolean;
}

/** Body of a publish up to its batch, which is sent right behind it. */
export function encodePublishHead({ channel, incarnation, expectedOffset }: PublishTarget): Buffer {
  const writer = new BodyWriter(2 + Buffer.byteLength(channel) + 16 + 8 + 1);
  return writer.str(channel).incarnation(incarnation).u64(expectedOffset ?? NONE).u8(0).finish();
}

export function decodePublishAnswer(body: Buffer): PublishAnswer {
  const reader = new BodyReader(body);
  const answer = readPublishAnswer(reader);
  reader.end();
  return answer;
}

function readPublishAnswer(reader: BodyReader): PublishAnswer {
  return {
    firstOffset: reader.u64(),
    lastOffset: reader.u64(),
    appendTime: Number(reader.i64()),
    logEpoch: reader.u64(),
    incarnation: reader.incarnation(),
    level: level(reader.u8()),
    duplicate: reader.u8() === 1,
  };
}

function level(number: number): DurabilityLevel {
  if (number === 1) return "written";
  if (number === 2) return "synced";
  throw new ProtocolError(`durability level ${number} is not known`);
}

/** A consumer's position, to be stored. */
export interface CommitFields {
  readonly channel: string;
  readonly incarnation?: string | undefined;
  readonly consumer: string;
  readonly offset: bigint;
  readonly logEpoch?: bigint | undefined;
  /** Position it must have had; null: it must have had none; undefined: whatever it was. */
  readonly expectedPrevious?: bigint | null | undefined;
  readonly metadata?: string | undefined;
}

function expectedPosition(expected: bigint | null | undefined): bigint {
  if (expected === undefined) return NONE;
  return expected === null ? NONE - 1n : expected;
}

export function encodeCommit(commit: CommitFields): Buffer {
  const { channel, incarnation, consumer, offset, logEpoch, expectedPrevious, metadata = "" } = commit;
  const meta = Buffer.from(metadata);
  const writer = new BodyWriter(2 + Buffer.byteLength(channel) + 16 + 2 + Buffer.byteLength(consumer) + 24 + 4 + meta.length);
  writer.str(channel).incarnation(incarnation).str(consumer).u64(offset).u64(logEpoch ?? 0n);
  return writer.u64(expectedPosition(expectedPrevious)).blob(meta).finish();
}

export function decodeCommitAnswer(body: Buffer): bigint {
  const reader = new BodyReader(body);
  const offset = reader.u64();
  reader.end();
  return offset;
}

/** One part of an atomic publish. */
export type AtomicPart =
  | { readonly kind: "publish"; readonly target: PublishTarget; readonly batch: Buffer }
  | { readonly kind: "commit"; readonly commit: Omit<CommitFields, "incarnation" | "logEpoch"> };

export function encodeAtomic(parts: readonly AtomicPart[]): Buffer {
  let bytes = 4;
  for (const part of parts) {
    const channel = part.kind === "publish" ? part.target.channel : part.commit.channel;
    bytes += 64 + Buffer.byteLength(channel);
    if (part.kind === "publish") bytes += part.batch.length;
    else bytes += Buffer.byteLength(part.commit.consumer) + Buffer.byteLength(part.commit.metadata ?? "");
  }
  const writer = new BodyWriter(bytes).u32(parts.length);
  for (const part of parts) {
    if (part.kind === "publish") {
      const { channel, incarnation, expectedOffset } = part.target;
      writer.u8(1).str(channel).incarnation(incarnation).u64(expectedOffset ?? NONE).blob(part.batch);
    } else {
      const { channel, consumer, offset, expectedPrevious, metadata = "" } = part.commit;
      writer.u8(2).str(channel).str(consumer).u64(offset).u64(expectedPosition(expectedPrevious)).blob(Buffer.from(metadata));
    }
  }
  return writer.finish();
}

export function decodeAtomicAnswer(body: Buffer): { publishes: PublishAnswer[]; commits: bigint[] } {
  const reader = new BodyReader(body);
  const publishes = Array.from({ length: counted(reader) }, () => readPublishAnswer(reader));
  const commits = Array.from({ length: counted(reader) }, () => reader.u64());
  reader.end();
  return { publishes, commits };
}

function counted(reader: BodyReader): number {
  const count = reader.u32();
  if (count > 1024) throw new ProtocolError(`an answer to an atomic publish counts ${count} parts`);
  return count;
}

/** Where a fetch begins. */
export type FetchFrom =
  | { readonly kind: "offset"; readonly offset: bigint }
  | { readonly kind: "start" }
  | { readonly kind: "end" }
  | { readonly kind: "time"; readonly time: number };

export interface FetchFields {
  readonly channel: string;
  readonly incarnation?: string | undefined;
  readonly from: FetchFrom;
  readonly lastEpoch: bigint;
  readonly maxBytes: number;
  readonly minBytes: number;
  readonly maxWaitMs: number;
}

export function encodeFetch(fetch: FetchFields): Buffer {
  const { channel, incarnation, from, lastEpoch, maxBytes, minBytes, maxWaitMs } = fetch;
  const writer = new BodyWriter(2 + Buffer.byteLength(channel) + 16 + 1 + 16 + 12);
  writer.str(channel).incarnation(incarnation);
  if (from.kind === "offset") writer.u8(1).u64(from.offset);
  else if (from.kind === "start") writer.u8(2).u64(0n);
  else if (from.kind === "end") writer.u8(3).u64(0n);
  else writer.u8(4).u64(BigInt.asUintN(64, BigInt(from.time)));
  return writer.u64(lastEpoch).u32(maxBytes).u32(minBytes).u32(maxWaitMs).finish();
}

/** Most record types that a fetch names. */
export const MAX_FETCH_TYPES = 100;

/** A fetch of what a copy may not have. */
export interface FetchBeyondFields extends FetchFields {
  /** Whether the channel's home is asked for what the copy does not have; else that is `COPY_PARTIAL`. */
  readonly readHome: boolean;
  /** The record types that are wanted; all where there are none. */
  readonly types: readonly string[];
}

export function encodeFetchBeyond({ readHome, types, ...fetch }: FetchBeyondFields): Buffer {
  const body = encodeFetch(fetch);
  let bytes = 1 + 2 + body.length;
  for (const type of types) bytes += 2 + Buffer.byteLength(type);
  const writer = new BodyWriter(bytes).u8(readHome ? 1 : 2).u16(types.length);
  for (const type of types) writer.str(type);
  return writer.bytes(body).finish();
}

/** What a fetch found; `batches` are whole stored batches, end to end. */
export interface FetchAnswer {
  readonly incarnation: string;
  readonly logStart: bigint;
  readonly highWatermark: bigint;
  readonly logEnd: bigint;
  readonly fromOffset: bigint;
  readonly logEpoch: bigint;
  readonly batches: Buffer;
}

export function decodeFetchAnswer(body: Buffer): FetchAnswer {
  const reader = new BodyReader(body);
  return {
    incarnation: reader.incarnation(),
    logStart: reader.u64(),
    highWatermark: reader.u64(),
    logEnd: reader.u64(),
    fromOffset: reader.u64(),
    logEpoch: reader.u64(),
    batches: reader.rest(),
  };
}
