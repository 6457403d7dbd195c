import { createPublicKey, verify } from "node:crypto";
import { ReceiptError } from "../../../errors/index.js";
import { canonicalJson } from "../canonical.js";
import { millisecondsOf } from "../instant.js";
import { digestOf } from "./digest.js";
import { type Commitment, must, type PartyId, Rule } from "./records.js";
import type { PlacedRecord } from "./replay.js";

/** A message that a record of a commitment names. */
export interface NamedMessage {
  readonly message: string;
  readonly offset: number;
  /** Who said it, as the record has it. */
  readonly party: PartyId;
  /** Type of the record, which says what the message did. */
  readonly type: string;
}

/** A message that is signed. */
export interface SignedMessage {
  readonly agent: string;
  readonly key: string;
  readonly message: string;
}

interface MessageSent {
  readonly type: string;
  readonly v: number;
  readonly commitment?: string;
  readonly digest: string;
  readonly key?: string;
  readonly message: {
    readonly id: string;
    readonly session: string;
    readonly sender: string;
    readonly recipient?: string;
    readonly performative: string;
    readonly inReplyTo?: string;
    readonly payload: string;
  };
  readonly payload?: unknown;
  readonly signature?: string;
}

/** Which performatives a record of an answer can come of. */
const ANSWERS: Readonly<Record<string, readonly string[]>> = {
  "commitment.accepted": ["ACCEPT"],
  "commitment.rejected": ["REJECT", "COUNTER"],
  "commitment.withdrawn": ["WITHDRAW"],
};

const DAY_MS = 86_400_000;

/** Whether the messages of a receipt said what its records say that they said; those of them that are signed. */
export function judgeMessages(commitment: Commitment, named: readonly NamedMessage[], messages: readonly PlacedRecord[]): SignedMessage[] {
  if (named.length !== messages.length) throw new ReceiptError(`its records name ${named.length} messages, and it has ${messages.length}`);
  return messages.flatMap(({ offset, record }, at) => {
    const sent = record as unknown as MessageSent;
    try {
      judge(commitment, named[at] as NamedMessage, sent, offset);
    } catch (error) {
      if (!(error instanceof Rule) && !(error instanceof TypeError)) throw error;
      const rule = error instanceof Rule ? error.message : "it cannot be read";
      throw new ReceiptError(`the message at offset ${offset} of the session's topic: ${rule}`, { details: { offset }, cause: error });
    }
    const { key, message } = sent;
    return key === undefined ? [] : [{ agent: message.sender, key, message: message.id }];
  });
}

function judge({ created }: Commitment, named: NamedMessage, sent: MessageSent, offset: number): void {
  must(named.offset === offset, `the records name the one at offset ${named.offset}`);
  const { message } = sent;
  must(sent.type === "session.messageSent" && sent.v === 1, "it cannot be read");
  isWhole(sent);
  must(message.id === named.message && message.session === created.promise.session, "it is another message than its record names");
  must(message.sender === named.party.agent, "it was sent by another agent");
  const answers = ANSWERS[named.type];
  if (answers !== undefined) {
    must(answers.includes(message.performative) && message.inReplyTo === created.message, "it does not answer the offer as its record says");
    return;
  }
  must(message.performative === "COMMIT" && sent.commitment === created.commitment, "it does not offer the commitment");
  must((created.signed ?? false) === (sent.signature !== undefined), "the record says otherwise whether it is signed");
  must(message.recipient === created.promise.counterparty?.agent, "it is meant for another agent than the promise");
  must(sent.payload !== undefined, "its payload, which has the terms, was erased");
  must(created.termsHash === digestOf("npayload/asp/terms/1\n", canonicalJson(promiseOf(created.promise, sent.payload))), "its payload offers other terms");
}

/** Whether it has its digests and its signature. */
function isWhole({ digest, key, message, payload, signature }: MessageSent): void {
  must(digest === digestOf("npayload/asp/message/1\n", canonicalJson(message)), "its digest is not that of the message");
  if (payload !== undefined) must(message.payload === digestOf("", canonicalJson(payload)), "its digest is not that of the payload");
  must((key === undefined) === (signature === undefined), "a key and a signature go together");
  if (key === undefined || signature === undefined) return;
  const x = Buffer.from(key.slice("ed25519:".length), "hex").toString("base64url");
  const signed = Buffer.concat([Buffer.from("npayload/asp/signature/1\n"), Buffer.from(digest.slice("sha256:".length), "hex")]);
  const bytes = Buffer.from(signature.slice("ed25519:".length), "hex");
  let isSigned = false;
  try {
    isSigned = verify(null, signed, createPublicKey({ key: { kty: "OKP", crv: "Ed25519", x }, format: "jwk" }), bytes);
  } catch {
    // What is no key has signed nothing.
  }
  must(isSigned, "its signature is not one of this message by its key");
}

/** What the payload of a COMMIT promises. */
function promiseOf({ obligor, session, counterparty }: Commitment["created"]["promise"], payload: unknown): object {
  const { deadline, description, escrow, obligations, penalties, severity, terms, windowMs } = withoutNulls(payload as object) as Record<string, unknown>;
  must(typeof deadline === "string" || typeof deadline === "number", "its payload describes no commitment");
  return {
    counterparty,
    deadline: millisecondsOf(deadline, "deadline"),
    description,
    escrow,
    obligations: Array.isArray(obligations) ? obligations.map((one) => withoutNulls(one as object)) : [],
    obligor,
    penalties: penalties === undefined ? undefined : withoutNulls(penalties as object),
    session,
    severity,
    terms,
    windowMs: windowMs ?? DAY_MS,
  };
}

/** Optional members may be null, which says no more than leaving them out. */
function withoutNulls(value: object): object {
  return Object.fromEntries(Object.entries(value).filter(([, member]) => member !== null));
}
