import type { OffsetType } from "../offset.js";
import type { CallOptions } from "../options.js";
import { type Context, ONCE, SAFE } from "./context.js";

/**
 * What a key may do.
 *
 * @example
 * ```ts
 * const operations: Operation[] = ["publish", "consume"];
 * ```
 */
export type Operation = "publish" | "consume" | "channelAdmin" | "asp" | "accessAdmin" | "replicate" | "inspect" | "metrics";

/**
 * Operations on channels and agents: names, or prefixes followed by `*`; every one when left out.
 *
 * @example
 * ```ts
 * const scope: Scope = { operations: ["consume"], channels: ["ml.*"] };
 * ```
 */
export interface Scope {
  readonly operations: readonly Operation[];
  readonly channels?: readonly string[] | undefined;
  readonly agents?: readonly string[] | undefined;
}

/**
 * What a key or an organisation may use; what is left out does not bind.
 *
 * @example
 * ```ts
 * const limits: Limits = { requestsPerS: 1000, bytesInPerS: 10_000_000 };
 * ```
 */
export interface Limits {
  readonly maxConnections?: number | undefined;
  readonly requestsPerS?: number | undefined;
  readonly bytesInPerS?: number | undefined;
  readonly bytesOutPerS?: number | undefined;
  /** Of organisations only. */
  readonly maxChannels?: number | undefined;
  readonly maxRetentionDays?: number | undefined;
  readonly maxRecordBytes?: number | undefined;
}

/**
 * An organisation: channels, keys and agents belong to one.
 *
 * @example
 * ```ts
 * const names = (await np.orgs.list()).map((org: Organisation) => org.name);
 * ```
 */
export interface Organisation {
  readonly name: string;
  readonly limits: Limits;
  /** Milliseconds since 1970. */
  readonly createdAt: number;
}

/**
 * What an operator has said of an organisation.
 *
 * @example
 * ```ts
 * const { verified, at }: OrgVerification = await np.orgs.verify({ name: "acme" });
 * ```
 */
export interface OrgVerification<O extends OffsetType = number> {
  readonly name: string;
  readonly verified: boolean;
  /** Milliseconds since 1970. */
  readonly at: number;
  /** Of the record, on the topic of evidence. */
  readonly offset: O;
  /** Number of the operator's key. */
  readonly by: number;
}

/**
 * An API key, without its text.
 *
 * @example
 * ```ts
 * const active = ({ revokedAt }: ApiKey): boolean => revokedAt === undefined;
 * ```
 */
export interface ApiKey {
  /** `key_` and a UUID. */
  readonly id: string;
  readonly org: string;
  /** Number stamped on what it publishes; a rotated key keeps it. */
  readonly principal: number;
  readonly name: string;
  readonly kind: "live" | "test";
  /** Last characters of its text. */
  readonly hint: string;
  readonly scopes: readonly Scope[];
  readonly limits: Limits;
  /** Milliseconds since 1970, as all times of it. */
  readonly createdAt: number;
  readonly expiresAt?: number;
  /** To the hour. */
  readonly usedAt?: number;
  readonly revokedAt?: number;
  /** The key that it replaces. */
  readonly replaces?: string;
  /** Name of the client certificates that stand for it. */
  readonly certificate?: string;
}

/**
 * A key that was made, and its text, which is shown this once.
 *
 * @example
 * ```ts
 * const { key, secret }: CreatedKey = await np.keys.create({ name: "app", scopes });
 * ```
 */
export interface CreatedKey {
  readonly key: ApiKey;
  /** What a client gives as `apiKey`. */
  readonly secret: string;
}

/**
 * A key to be made.
 *
 * @example
 * ```ts
 * const request: CreateKeyRequest = { name: "trainer", scopes: [{ operations: ["consume"] }] };
 * ```
 */
export interface CreateKeyRequest {
  /** 1 to 256 bytes. */
  readonly name: string;
  /** At least one. */
  readonly scopes: readonly Scope[];
  /** One's own unless given. */
  readonly org?: string | undefined;
  /** `live` unless given. */
  readonly kind?: "live" | "test" | undefined;
  readonly limits?: Limits | undefined;
  /** Milliseconds since 1970. */
  readonly expiresAt?: number | undefined;
  readonly certificate?: string | undefined;
}

/**
 * Leave of one organisation for another to use some of its channels.
 *
 * @example
 * ```ts
 * const isOpen = ({ state }: Grant): boolean => state === "active";
 * ```
 */
export interface Grant {
  /** `grt_` and a UUID. */
  readonly id: string;
  readonly state: "proposed" | "active" | "expired" | "revoked";
  readonly owner: string;
  readonly guest: string;
  readonly proposer: string;
  /** A name or prefix as the owner has it. */
  readonly channels: string;
  /** `asp` shows agents of these names, and lets them be invited. */
  readonly operation: "publish" | "consume" | "asp";
  /** Milliseconds since 1970, as all times of it. */
  readonly proposedAt: number;
  readonly acceptedAt?: number;
  readonly expiresAt?: number;
  readonly revokedAt?: number;
}

/**
 * A grant to be proposed.
 *
 * @example
 * ```ts
 * const request: ProposeGrantRequest = { guest: "acme", channels: "orders.*", operation: "consume" };
 * ```
 */
export interface ProposeGrantRequest {
  /** One's own organisation unless given. */
  readonly owner?: string | undefined;
  /** One's own organisation unless given. */
  readonly guest?: string | undefined;
  /** A name or prefix as the owner has it. */
  readonly channels: string;
  /** `asp` shows agents of these names, and lets them be invited. */
  readonly operation: "publish" | "consume" | "asp";
  /** Milliseconds since 1970. */
  readonly expiresAt?: number | undefined;
}

/**
 * API keys, for administrators.
 *
 * @example
 * ```ts
 * const { secret } = await np.keys.create({ name: "trainer", scopes: [{ operations: ["consume"], channels: ["ml.*"] }] });
 * ```
 */
export class Keys<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Makes a key. Its text is shown this once.
   *
   * @example
   * ```ts
   * const { key, secret } = await np.keys.create({ name: "app", scopes: [{ operations: ["publish", "consume"] }] });
   * ```
   */
  create(request: CreateKeyRequest, options?: CallOptions): Promise<CreatedKey> {
    return this.context.requester.json("key.create", request, options, ONCE);
  }

  /**
   * The keys of an organisation, one's own unless given.
   *
   * @example
   * ```ts
   * const active = (await np.keys.list()).filter((key) => key.revokedAt === undefined);
   * ```
   */
  async list(request: { readonly org?: string } = {}, options?: CallOptions): Promise<readonly ApiKey[]> {
    return (await this.context.requester.json<{ keys: ApiKey[] }>("key.list", request, options, SAFE)).keys;
  }

  /**
   * Replaces a key by another that may do the same; the old one ends after `overlapMs`, a day unless given.
   *
   * @example
   * ```ts
   * const { secret } = await np.keys.rotate({ key: key.id, overlapMs: 3_600_000 });
   * ```
   */
  rotate(request: { readonly key: string; readonly overlapMs?: number }, options?: CallOptions): Promise<CreatedKey> {
    return this.context.requester.json("key.rotate", request, options, ONCE);
  }

  /**
   * Ends a key at once, on open connections too.
   *
   * @example
   * ```ts
   * await np.keys.revoke({ key: key.id });
   * ```
   */
  revoke(request: { readonly key: string }, options?: CallOptions): Promise<ApiKey> {
    return this.context.requester.json("key.revoke", request, options, ONCE);
  }
}

/**
 * Organisations, for administrators of the default one.
 *
 * @example
 * ```ts
 * await np.orgs.create({ name: "acme", limits: { maxChannels: 100 } });
 * ```
 */
export class Orgs<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Makes an organisation.
   *
   * @throws OrgExistsError
   *
   * @example
   * ```ts
   * const org = await np.orgs.create({ name: "acme" });
   * ```
   */
  create(request: { readonly name: string; readonly limits?: Limits }, options?: CallOptions): Promise<Organisation> {
    return this.context.requester.json("org.create", request, options, ONCE);
  }

  /**
   * All organisations for a key of the default one, elsewhere one's own.
   *
   * @example
   * ```ts
   * for (const { name } of await np.orgs.list()) console.log(name);
   * ```
   */
  async list(options?: CallOptions): Promise<readonly Organisation[]> {
    return (await this.context.requester.json<{ orgs: Organisation[] }>("org.list", {}, options, SAFE)).orgs;
  }

  /**
   * Sets all limits of an organisation; those left out do not bind any more.
   *
   * @example
   * ```ts
   * await np.orgs.limit({ name: "acme", limits: { bytesInPerS: 10_000_000 } });
   * ```
   */
  limit(request: { readonly name: string; readonly limits: Limits }, options?: CallOptions): Promise<Organisation> {
    return this.context.requester.json("org.limit", request, options, SAFE);
  }

  /**
   * Says that an operator knows who an organisation is, or with `verified: false` takes it back: trust flows from organisations
   * that are verified. Not sent again after a lost connection.
   *
   * @throws OrgNotFoundError
   *
   * @example
   * ```ts
   * await np.orgs.verify({ name: "acme" });
   * ```
   */
  async verify({ name, verified = true }: { readonly name: string; readonly verified?: boolean }, options?: CallOptions): Promise<OrgVerification<O>> {
    type Answer = Omit<OrgVerification<OffsetType>, "name"> & { readonly org: string };
    const { org, offset, ...rest } = await this.context.requester.json<Answer>("org.verify", { org: name, verified }, options, ONCE);
    return { name: org, ...rest, offset: this.context.offsets.ofJson(offset, "offset") };
  }
}

/**
 * Grants: channels of one organisation for the use of another, once both have agreed.
 *
 * @example
 * ```ts
 * const grant = await np.grants.propose({ guest: "acme", channels: "orders.*", operation: "consume" });
 * ```
 */
export class Grants<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Proposes a grant; the other side accepts it.
   *
   * @example
   * ```ts
   * const { id } = await np.grants.propose({ guest: "acme", channels: "orders", operation: "consume" });
   * ```
   */
  propose(request: ProposeGrantRequest, options?: CallOptions): Promise<Grant> {
    return this.context.requester.json("grant.propose", request, options, ONCE);
  }

  /**
   * The grants of an organisation, one's own unless given.
   *
   * @example
   * ```ts
   * const proposed = (await np.grants.list()).filter(({ state }) => state === "proposed");
   * ```
   */
  async list(request: { readonly org?: string } = {}, options?: CallOptions): Promise<readonly Grant[]> {
    return (await this.context.requester.json<{ grants: Grant[] }>("grant.list", request, options, SAFE)).grants;
  }

  /**
   * Agrees to a proposed grant.
   *
   * @example
   * ```ts
   * await np.grants.accept({ grant: grant.id });
   * ```
   */
  accept(request: { readonly grant: string }, options?: CallOptions): Promise<Grant> {
    return this.context.requester.json("grant.accept", request, options, ONCE);
  }

  /**
   * Ends a grant, or declines one.
   *
   * @example
   * ```ts
   * await np.grants.revoke({ grant: grant.id });
   * ```
   */
  revoke(request: { readonly grant: string }, options?: CallOptions): Promise<Grant> {
    return this.context.requester.json("grant.revoke", request, options, ONCE);
  }
}
