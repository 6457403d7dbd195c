import { ReceiptError } from "../../errors/index.js";
import { parseJson } from "../../wire/json.js";
import { canonicalJson } from "./canonical.js";
import type { CommitmentState } from "./commitment-types.js";
import { digestOf } from "./receipt/digest.js";
import { judgeMessages } from "./receipt/messages.js";
import { type PlacedRecord, replay } from "./receipt/replay.js";

/**
 * Somebody in a receipt: agent and organisation by their identities, so that it means the same without a broker.
 *
 * @example
 * ```ts
 * const isMine = (party: ReceiptParty): boolean => party.agent === agent.id;
 * ```
 */
export interface ReceiptParty {
  /** `agt_` and a UUID. */
  readonly agent: string;
  /** Number of its organisation. */
  readonly org: number;
}

/**
 * What a receipt says.
 *
 * @example
 * ```ts
 * const { state, records }: ReceiptContent = receipt.content;
 * ```
 */
export interface ReceiptContent {
  /** `cmt_` and a UUID. */
  readonly commitment: string;
  readonly counterparty?: ReceiptParty;
  /** Over all records and messages with their offsets. */
  readonly hash: string;
  /** The session's records of the messages that offered and answered it, with their offsets on the topic of sessions. */
  readonly messages?: readonly { readonly offset: number; readonly record: Readonly<Record<string, unknown>> }[];
  readonly obligor: ReceiptParty;
  /** Every record about the commitment, with its offset on the topic of commitments. */
  readonly records: readonly { readonly offset: number; readonly record: Readonly<Record<string, unknown>> }[];
  readonly session: string;
  /** Where it stood when the receipt was made. */
  readonly state: CommitmentState;
  /** Over what was promised. */
  readonly termsHash: string;
  readonly v: number;
}

/**
 * What a receipt proves.
 *
 * @example
 * ```ts
 * const { state, promise }: VerifiedReceipt = receipt.verify();
 * ```
 */
export interface VerifiedReceipt {
  readonly state: CommitmentState;
  /** What was promised, as `termsHash` covers it. */
  readonly promise: Readonly<Record<string, unknown>> & { readonly description: string; readonly deadline: number; readonly obligor: ReceiptParty };
  /** Milliseconds since 1970, as all times of it. */
  readonly createdAt: number;
  readonly deliveredAt?: number;
  /** Whether it was delivered behind its deadline. */
  readonly late?: boolean;
  readonly endedAt?: number;
  readonly confirmation?: "explicit" | "silent" | "unjudged";
  /** The weightiest ruling against it. */
  readonly ruled?: { readonly at: number; readonly dispute: string; readonly mechanism: string; readonly severity: number; readonly verdict: string };
  /** How many records there are. */
  readonly records: number;
  /** The messages of the parties that are signed, with the keys; whether a key was the agent's, the registry tells. */
  readonly signed: readonly { readonly agent: string; readonly key: string; readonly message: string }[];
}

const DOMAIN = "npayload/asp/receipt/1\n";

/**
 * A receipt of a commitment: every record about it, so that anybody can verify without a broker what was promised, by whom, and
 * what became of it.
 *
 * @example
 * ```ts
 * const receipt = await np.asp.commitments.receipt({ commitmentId: commitment.id });
 * await writeFile("receipt.json", receipt.text);
 *
 * const { state, promise } = Receipt.parse(await readFile("receipt.json", "utf8")).verify(); // anywhere, later
 * ```
 */
export class Receipt {
  private constructor(
    /** What it says. It proves nothing before {@link Receipt.verify} has returned. */
    readonly content: ReceiptContent,
  ) {}

  /** @internal */
  static of(content: ReceiptContent): Receipt {
    return new Receipt(content);
  }

  /**
   * Reads a receipt that was kept.
   *
   * @throws ReceiptError where the text is none.
   *
   * @example
   * ```ts
   * const receipt = Receipt.parse(await readFile("receipt.json", "utf8"));
   * ```
   */
  static parse(text: string): Receipt {
    let content: unknown;
    try {
      content = parseJson(text);
    } catch (cause) {
      throw new ReceiptError("the text of a receipt is JSON", { cause });
    }
    if (!isContent(content)) throw new ReceiptError("the text of a receipt is a JSON object with `commitment`, `hash`, `obligor`, `records`, `session`, `state`, `termsHash` and `v`");
    return new Receipt(content);
  }

  /** Its text, to be kept: byte for byte what the broker told. `npayload commitment receipt --verify` reads it too. */
  get text(): string {
    return canonicalJson(this.content);
  }

  /** What `JSON.stringify` writes; for keeping it, `text` is the form. */
  toJSON(): ReceiptContent {
    return this.content;
  }

  /**
   * Verifies it with nothing but itself: each record can follow those before it, the promise and the evidence have their hashes,
   * the messages of the parties say what the records say and are signed where they are, the receipt has the hash of all of them,
   * and what stands above them is what they say. That a broker wrote these records shows on its topics, at these offsets.
   *
   * @throws ReceiptError that names what does not fit.
   *
   * @example
   * ```ts
   * const { state, promise, endedAt } = receipt.verify();
   * ```
   */
  verify(): VerifiedReceipt {
    const { content } = this;
    if (content.v !== 1) throw new ReceiptError(`a receipt of version ${content.v}, where only version 1 is known`);
    const { commitment, named } = replay(content.commitment, content.records as readonly PlacedRecord[]);
    const signed = judgeMessages(commitment, named, content.messages ?? []);
    const { created, counterparty, state, delivery, ended, ruled } = commitment;
    const said = { counterparty, obligor: created.promise.obligor, session: created.promise.session, state, termsHash: created.termsHash };
    for (const [name, value] of Object.entries(said)) {
      const found: unknown = content[name as keyof typeof said];
      if (canonicalJson(found ?? null) !== canonicalJson(value ?? null)) throw new ReceiptError(`its member ${name} is not what its records say`);
    }
    const hash = hashOf([...content.records, ...(content.messages ?? [])]);
    if (hash !== content.hash) throw new ReceiptError(`its hash is ${content.hash}, and that of its records ${hash}`);
    return {
      state,
      promise: created.promise as unknown as VerifiedReceipt["promise"],
      createdAt: created.at,
      ...(delivery === undefined ? {} : { deliveredAt: delivery.at, late: delivery.late }),
      ...(ended === undefined ? {} : { endedAt: ended.at }),
      ...(ended?.confirmation === undefined ? {} : { confirmation: ended.confirmation }),
      ...(ruled === undefined ? {} : { ruled }),
      records: content.records.length,
      signed,
    };
  }
}

function hashOf(records: ReceiptContent["records"]): string {
  const parts = records.flatMap(({ offset, record }) => {
    const bytes = Buffer.from(canonicalJson(record), "utf8");
    const head = Buffer.alloc(16);
    head.writeBigUInt64LE(BigInt(offset), 0);
    head.writeBigUInt64LE(BigInt(bytes.length), 8);
    return [head, bytes];
  });
  return digestOf(DOMAIN, ...parts);
}

function isContent(value: unknown): value is ReceiptContent {
  if (typeof value !== "object" || value === null) return false;
  const { commitment, hash, messages = [], obligor, records, session, state, termsHash, v } = value as Record<string, unknown>;
  const texts = [commitment, hash, session, state, termsHash].every((text) => typeof text === "string");
  if (!texts || typeof v !== "number" || typeof obligor !== "object" || !Array.isArray(records) || !Array.isArray(messages)) return false;
  return [...(records as unknown[]), ...(messages as unknown[])].every((row) => {
    const { offset, record } = (row ?? {}) as Record<string, unknown>;
    return Number.isSafeInteger(offset) && (offset as number) >= 0 && typeof record === "object" && record !== null;
  });
}
