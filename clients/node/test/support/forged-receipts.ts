import { createHash } from "node:crypto";
import { canonicalJson } from "../../src/namespaces/asp/canonical.js";

/** Receipts that no broker wrote: self-consistent records, with all hashes right, so that only the rules can refuse them. */

export const HOUR_MS = 3_600_000;
export const DAY_MS = 24 * HOUR_MS;
export const T = 1_700_000_000_000;

export type Row = Record<string, unknown> & { readonly type: string; readonly at: number };

const uuid = (n: number): string => `01990000-0000-7000-8000-${String(n).padStart(12, "0")}`;
export const party = (org: number, agent: number) => ({ agent: `agt_${uuid(agent)}`, org });

export const WORKER = party(1, 1);
export const LEAD = party(1, 2);
export const OTHER = party(2, 3);
const COMMITMENT = `cmt_${uuid(50)}`;
const SESSION = `ses_${uuid(20)}`;
const SECRET = Buffer.alloc(32, 7);
export const SECRET_TEXT = SECRET.toString("hex");
const LOG_HASH = `sha256:${"ab".repeat(32)}`;

export function sha256(domain: string, ...parts: readonly (string | Buffer)[]): string {
  const hash = createHash("sha256").update(domain);
  for (const part of parts) hash.update(part);
  return `sha256:${hash.digest("hex")}`;
}

/** A promise; `promise` and the rest differ from the ordinary one. */
export function created({ promise, ...rest }: { promise?: object } & Record<string, unknown> = {}): Row {
  const said = { deadline: T + HOUR_MS, description: "a survey", obligations: [], obligor: WORKER, session: SESSION, windowMs: HOUR_MS, ...promise };
  const termsHash = sha256("npayload/asp/terms/1\n", canonicalJson(said));
  const row = { type: "commitment.created", at: T, by: 1, claimMs: 7 * DAY_MS, commitment: COMMITMENT, judge: "coordinator", mode: "oneSided", promise: said, termsHash };
  return { ...row, ...rest };
}

export function proposed(rest: Parameters<typeof created>[0] = {}): Row {
  return created({ ...rest, type: "commitment.proposed", mode: "agreed" });
}

export function delivered(at: number): Row {
  const evidence = { words: { pages: 12 } };
  return { type: "commitment.delivered", at, by: 1, commitment: COMMITMENT, evidence, evidenceHash: sha256("npayload/asp/evidence/1\n", canonicalJson(evidence)) };
}

/** A step that somebody takes. */
export function step(type: string, at: number, role: "obligor" | "judge" | "participant", by: object, rest: object = {}): Row {
  return { type, at, by: 1, commitment: COMMITMENT, party: by, role, ...rest };
}

/** A step that the clock takes. */
export function clock(type: string, at: number): Row {
  return { type, at, commitment: COMMITMENT, role: "clock" };
}

export function filed(at: number, n = 60, rest: object = {}): Row {
  const windows = { answerMs: 72 * HOUR_MS, arbitrationMs: 7 * DAY_MS, ballotMs: 48 * HOUR_MS };
  const evidence = { against: WORKER, filer: LEAD, role: "judge", disputeType: "specificationMismatch", reason: "thin", severity: 2, evidence: {} };
  const seals = { logHash: LOG_HASH, seal: sha256("npayload/asp/seal/1\n", SECRET), nextSeal: LOG_HASH };
  return { type: "dispute.filed", at, by: 1, commitment: COMMITMENT, dispute: `dsp_${uuid(n)}`, ...windows, ...evidence, ...seals, ...rest };
}

/** Any other record about a dispute. */
export function about(type: string, at: number, rest: object = {}, n = 60): Row {
  return { type, at, commitment: COMMITMENT, dispute: `dsp_${uuid(n)}`, ...rest };
}

/** The text of a receipt that has these records, and above them what `head` says. */
export function forge(records: readonly Row[], head: { readonly state: string; readonly counterparty?: object }): string {
  const placed = records.map((record, at) => ({ offset: 10 + at, record: { ...record, v: 1 } }));
  const parts = placed.flatMap(({ offset, record }) => {
    const bytes = Buffer.from(canonicalJson(record));
    const sizes = Buffer.alloc(16);
    sizes.writeBigUInt64LE(BigInt(offset), 0);
    sizes.writeBigUInt64LE(BigInt(bytes.length), 8);
    return [sizes, bytes];
  });
  const termsHash = records[0]?.termsHash;
  return canonicalJson({ v: 1, commitment: COMMITMENT, obligor: WORKER, session: SESSION, termsHash, records: placed, hash: sha256("npayload/asp/receipt/1\n", ...parts), ...head });
}
