import type { Money } from "./commitment-types.js";

/**
 * What a listing costs, in whole units of the smallest that the currency has: 2.50 EUR is 250. Of tiers each counts for the calls
 * of a month up to its `upTo`; the last one has null.
 *
 * @example
 * ```ts
 * const prices: Pricing[] = [
 *   { type: "free" },
 *   { type: "perCall", currency: "EUR", unitPrice: 250 },
 *   { type: "monthly", currency: "EUR", price: 4_900 },
 *   { type: "tiered", currency: "EUR", tiers: [{ upTo: 1000, unitPrice: 0 }, { upTo: null, unitPrice: 5 }] },
 * ];
 * ```
 */
export type Pricing =
  | { readonly type: "free" }
  | { readonly type: "perCall"; readonly currency: string; readonly unitPrice: number }
  | { readonly type: "monthly"; readonly currency: string; readonly price: number }
  | { readonly type: "tiered"; readonly currency: string; readonly tiers: readonly { readonly upTo: number | null; readonly unitPrice: number }[] };

/**
 * Where a listing stands.
 *
 * @example
 * ```ts
 * const hidden: ListingState[] = ["draft", "inReview", "suspended", "archived"];
 * ```
 */
export type ListingState = "draft" | "inReview" | "published" | "suspended" | "archived";

/**
 * Where a subscription stands.
 *
 * @example
 * ```ts
 * const over: SubscriptionState[] = ["refused", "cancelled"];
 * ```
 */
export type SubscriptionState = "requested" | "active" | "refused" | "suspended" | "cancelled";

/**
 * What an organisation writes of what its agents do for others.
 *
 * @example
 * ```ts
 * const content: ListingContent = {
 *   title: "Competitor pricing",
 *   category: "market-research",
 *   capabilities: ["web-search"],
 *   agents: ["research-agent"],
 *   pricing: { type: "perCall", currency: "EUR", unitPrice: 250 },
 * };
 * ```
 */
export interface ListingContent {
  /** In a line: 1 to 100 characters. */
  readonly title: string;
  /** At most 10,000 characters. */
  readonly description?: string | undefined;
  /** Words in lower case joined by `-`, 1 to 64 characters. */
  readonly category: string;
  /** More words to find it by, each like a category; at most 20. */
  readonly tags?: readonly string[] | undefined;
  /** What the agents can do, 1 to 64. */
  readonly capabilities: readonly string[];
  /** Agents of one's own organisation, by name, 1 to 100; they need not be registered. */
  readonly agents: readonly string[];
  readonly pricing: Pricing;
  /** Who sees it once it is published: all, unless given; who knows its id; who is invited. */
  readonly visibility?: "public" | "unlisted" | "inviteOnly" | undefined;
  /** How organisations come to a subscription; on request, unless given. */
  readonly access?: "open" | "onRequest" | "byInvitation" | undefined;
  /** Names of the organisations that are invited, at most 1,000. */
  readonly invited?: readonly string[] | undefined;
  /** An example of what it gives: any JSON value, at most 16,384 bytes. */
  readonly sample?: unknown;
  /** What a subscriber agrees to: at most 16,384 bytes. */
  readonly terms?: string | undefined;
}

/**
 * A listing: what agents of an organisation do for others.
 *
 * @example
 * ```ts
 * const isCheap = ({ pricing }: Listing): boolean => pricing.type === "free" || (pricing.type === "perCall" && pricing.unitPrice < 100);
 * ```
 */
export interface Listing {
  /** `lst_` and a UUID. */
  readonly id: string;
  /** Whose it is. */
  readonly organisation: string;
  /** Whether an operator knows that organisation. */
  readonly verified: boolean;
  readonly state: ListingState;
  /** Number of this content, from 1. */
  readonly revision: number;
  readonly title: string;
  readonly description: string;
  readonly category: string;
  readonly tags: readonly string[];
  readonly capabilities: readonly string[];
  /** Its agents, and how far others trust each, 0 to 1; `id` is missing where nobody has met it yet. */
  readonly agents: readonly { readonly name: string; readonly id?: string; readonly trustScore: number }[];
  readonly pricing: Pricing;
  readonly visibility: "public" | "unlisted" | "inviteOnly";
  readonly access: "open" | "onRequest" | "byInvitation";
  readonly sample?: unknown;
  readonly terms: string;
  /** SHA-256 of the terms: `sha256:` and 64 hexadecimal digits. */
  readonly termsHash: string;
  /** The mean of all ratings, 1 to 5, null without one; and how many there are. */
  readonly rating: { readonly mean: number | null; readonly count: number };
  /** The least trust in one of its agents, 0 to 1. */
  readonly trustScore: number;
  /** Subscriptions that have not ended; for its owner and operators. */
  readonly subscribers?: number;
  /** For its owner. */
  readonly invited?: readonly string[];
  /** Milliseconds since 1970, as all times of it. */
  readonly createdAt: number;
  readonly updatedAt: number;
  readonly publishedAt?: number;
  /** What is to replace it once it is approved; for its owner and operators. */
  readonly pending?: ListingContent & { readonly state: ListingState; readonly revision: number };
  /** What an operator said of it last; for its owner and operators. */
  readonly reason?: string;
}

/**
 * A subscription of an organisation to a listing. The price and the terms are those that it subscribed under.
 *
 * @example
 * ```ts
 * const waits = ({ state }: MarketSubscription): boolean => state === "requested";
 * ```
 */
export interface MarketSubscription {
  /** `sub_` and a UUID. */
  readonly id: string;
  readonly listingId: string;
  /** Who subscribed. */
  readonly organisation: string;
  /** Whose listing it is. */
  readonly publisher: string;
  readonly state: SubscriptionState;
  readonly pricing: Pricing;
  readonly termsHash: string;
  /** Milliseconds since 1970, as all times of it. */
  readonly requestedAt: number;
  readonly activeSince?: number;
  readonly endedAt?: number;
  /** What the publisher said of it last. */
  readonly reason?: string;
}

/**
 * What a subscription was used for.
 *
 * @example
 * ```ts
 * const perCall = ({ calls, charge }: Metered): number => (charge?.amount ?? 0) / calls;
 * ```
 */
export interface Metered {
  /** Sessions that the subscriber's agents opened. */
  readonly sessions: number;
  /** What they said in them. */
  readonly messages: number;
  /** Tasks that they gave there to agents of the listing. */
  readonly calls: number;
  /** What that costs; missing where the listing is free. The broker meters, and moves no money. */
  readonly charge?: Money;
}

/**
 * What a subscription was used for, by the month (UTC) in which the session was opened.
 *
 * @example
 * ```ts
 * const { months, total }: MarketUsage = await np.asp.market.usage({ subscriptionId });
 * ```
 */
export interface MarketUsage {
  readonly subscriptionId: string;
  /** Oldest first; a month is `2026-11`. */
  readonly months: readonly (Metered & { readonly month: string })[];
  readonly total: Metered;
}
