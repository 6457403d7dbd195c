import { createHash, generateKeyPairSync, type KeyObject, sign } from "node:crypto";
import { InvalidArgumentError } from "../../errors/index.js";
import { canonicalJson } from "./canonical.js";

/**
 * The keys of an agent.
 *
 * @example
 * ```ts
 * const keys: AgentKeys = createAgentKeys();
 * ```
 */
export interface AgentKeys {
  /** For the registry: `ed25519:` and 64 hexadecimal digits. */
  readonly publicKey: string;
  /** For `signingKey` of a message; it never leaves the program. */
  readonly privateKey: KeyObject;
}

/**
 * Makes keys for an agent. One that has a public key in the registry signs all it sends.
 *
 * @example
 * ```ts
 * const { publicKey, privateKey } = createAgentKeys();
 * await np.asp.registry.register({ name: "writer-agent", publicKey });
 * await np.asp.messages.send({ sessionId: session.id, from: "writer-agent", type: "task.accept", signingKey: privateKey });
 * ```
 */
export function createAgentKeys(): AgentKeys {
  const { publicKey, privateKey } = generateKeyPairSync("ed25519");
  const { x } = publicKey.export({ format: "jwk" });
  return { publicKey: `ed25519:${Buffer.from(x as string, "base64url").toString("hex")}`, privateKey };
}

/** All that a sender supplies of a message, with the identities of agents and not their names. */
export interface SignedParts {
  readonly id: string;
  readonly session: string;
  readonly sender: string;
  readonly recipient: string | undefined;
  readonly performative: string;
  readonly type: string | undefined;
  readonly payload: unknown;
  readonly inReplyTo: string | undefined;
  readonly constraints: { readonly requiredTrust?: number | undefined } | undefined;
}

/** The signature of a message by its sender's key. */
export function signMessage({ payload, constraints, ...parts }: SignedParts, key: KeyObject): string {
  if (key.asymmetricKeyType !== "ed25519") throw new InvalidArgumentError(`the signing key is ${key.asymmetricKeyType ?? key.type}, where ed25519 is needed`);
  const { requiredTrust } = constraints ?? {};
  // The broker rounds to three decimals before it digests.
  const rounded = requiredTrust === undefined ? constraints : { ...constraints, requiredTrust: Math.round(requiredTrust * 1000) / 1000 };
  const message = { ...parts, constraints: rounded, payload: `sha256:${sha256(canonicalJson(payload ?? null)).toString("hex")}` };
  const digest = sha256(`npayload/asp/message/1\n${canonicalJson(message)}`);
  const signature = sign(null, Buffer.concat([Buffer.from("npayload/asp/signature/1\n"), digest]), key);
  return `ed25519:${signature.toString("hex")}`;
}

function sha256(text: string): Buffer {
  return createHash("sha256").update(text, "utf8").digest();
}
