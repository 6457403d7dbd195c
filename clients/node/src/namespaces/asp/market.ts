import type { OffsetType } from "../../offset.js";
import type { CallOptions } from "../../options.js";
import { Page, Paged } from "../../paging.js";
import { type Context, ONCE, SAFE } from "../context.js";
import type { Money } from "./commitment-types.js";
import { uuidV7 } from "./ids.js";
import { type Instant, millisecondsOf } from "./instant.js";
import type { Listing, ListingContent, ListingState, MarketSubscription, MarketUsage, Pricing, SubscriptionState } from "./market-types.js";

/**
 * A listing to be written down.
 *
 * @example
 * ```ts
 * const request: CreateListingRequest = {
 *   title: "Competitor pricing",
 *   category: "market-research",
 *   capabilities: ["web-search"],
 *   agents: ["research-agent"],
 *   pricing: { type: "free" },
 * };
 * ```
 */
export interface CreateListingRequest extends ListingContent {
  /** `lst_` and a UUID of version 7; made unless given. The same id with the same content is written once. */
  readonly id?: string | undefined;
}

/**
 * What is to change of a listing; what is left out stays, and `sample: null` takes the sample out.
 *
 * @example
 * ```ts
 * const request: UpdateListingRequest = { listingId: listing.id, tags: ["pricing", "retail"] };
 * ```
 */
export type UpdateListingRequest = ListingRequest & { readonly [K in keyof ListingContent]?: ListingContent[K] | undefined };

/**
 * Names a listing.
 *
 * @example
 * ```ts
 * const { title } = await np.asp.market.get({ listingId: listing.id });
 * ```
 */
export interface ListingRequest {
  readonly listingId: string;
}

/**
 * Where a listing stands after a change: of what is pending, where the change is about that.
 *
 * @example
 * ```ts
 * const { state, revision }: ListingChange = await np.asp.market.submit({ listingId: listing.id });
 * ```
 */
export interface ListingChange {
  readonly id: string;
  readonly state: ListingState;
  /** Number of the content that the change is about, from 1. */
  readonly revision: number;
}

/**
 * What an operator says of a listing. To reject and to suspend takes a reason.
 *
 * @example
 * ```ts
 * const request: ReviewListingRequest = { listingId: listing.id, verdict: "reject", reason: "The terms are missing" };
 * ```
 */
export interface ReviewListingRequest extends ListingRequest {
  readonly verdict: "approve" | "reject" | "suspend" | "restore";
  /** At most 1,000 characters. */
  readonly reason?: string | undefined;
}

/**
 * Which listings to find.
 *
 * @example
 * ```ts
 * const request: SearchListingsRequest = { capabilities: ["web-search"], minTrustScore: 0.7, maxPrice: { amount: 500, currency: "EUR" } };
 * ```
 */
export interface SearchListingsRequest {
  /** Words of title, description, category and tags. */
  readonly text?: string | undefined;
  readonly category?: string | undefined;
  /** All of them. */
  readonly tags?: readonly string[] | undefined;
  /** All of them. */
  readonly capabilities?: readonly string[] | undefined;
  /** Of each of its agents, 0 to 1. */
  readonly minTrustScore?: number | undefined;
  /** For a call; monthly prices are compared only with `pricing: "monthly"`. */
  readonly maxPrice?: Money | undefined;
  readonly pricing?: Pricing["type"] | undefined;
  readonly organisation?: string | undefined;
  /** Those of organisations that an operator knows. */
  readonly verified?: boolean | undefined;
  /** One's own, in every state. */
  readonly own?: boolean | undefined;
  /** Those that wait for an operator; for operators. */
  readonly inReview?: boolean | undefined;
  /** `relevance` unless given. */
  readonly sort?: "relevance" | "trust" | "rating" | "price" | "newest" | undefined;
  /** Listings of one page, 1 to 100; 20 unless given. */
  readonly limit?: number | undefined;
}

/**
 * A subscription to be begun.
 *
 * @example
 * ```ts
 * const request: SubscribeListingRequest = { listingId: listing.id, termsHash: listing.termsHash };
 * ```
 */
export interface SubscribeListingRequest extends ListingRequest {
  /** Hash of the terms that were read: refused where the listing has others by now. */
  readonly termsHash?: string | undefined;
  /** `sub_` and a UUID of version 7; made unless given. */
  readonly id?: string | undefined;
}

/**
 * Names a subscription.
 *
 * @example
 * ```ts
 * await np.asp.market.cancel({ subscriptionId: subscription.id });
 * ```
 */
export interface MarketSubscriptionRequest {
  readonly subscriptionId: string;
}

/**
 * What the publisher says of a subscription.
 *
 * @example
 * ```ts
 * const request: ApproveSubscriptionRequest = { subscriptionId: subscription.id, verdict: "approve" };
 * ```
 */
export interface ApproveSubscriptionRequest extends MarketSubscriptionRequest {
  readonly verdict: "approve" | "refuse" | "suspend" | "resume";
  /** At most 1,000 characters. */
  readonly reason?: string | undefined;
}

/**
 * Where a subscription stands after a change.
 *
 * @example
 * ```ts
 * const { id, state }: SubscriptionChange = await np.asp.market.subscribe({ listingId: listing.id });
 * ```
 */
export interface SubscriptionChange {
  readonly id: string;
  readonly state: SubscriptionState;
}

/**
 * A rating by an organisation that has used a listing.
 *
 * @example
 * ```ts
 * const request: RateListingRequest = { listingId: listing.id, rating: 5, comment: "Fast, and with sources" };
 * ```
 */
export interface RateListingRequest extends ListingRequest {
  /** 1 to 5. */
  readonly rating: number;
  /** At most 1,000 characters. */
  readonly comment?: string | undefined;
}

/**
 * Which subscriptions of one's own organisation to list.
 *
 * @example
 * ```ts
 * const request: ListSubscriptionsRequest = { as: "publisher", state: "requested" };
 * ```
 */
export interface ListSubscriptionsRequest {
  /** On which side it is; `subscriber` unless given. */
  readonly as?: "subscriber" | "publisher" | undefined;
  readonly listingId?: string | undefined;
  readonly state?: SubscriptionState | undefined;
  /** Subscriptions of one page, 1 to 1,000; 100 unless given. */
  readonly limit?: number | undefined;
}

/**
 * Which use to sum up.
 *
 * @example
 * ```ts
 * const request: MarketUsageRequest = { subscriptionId: subscription.id, since: "2026-11-01" };
 * ```
 */
export interface MarketUsageRequest extends MarketSubscriptionRequest {
  /** From the month on that holds this time; from the first unless given. */
  readonly since?: Instant | undefined;
  /** Up to the month that holds this time, it included; up to now unless given. */
  readonly until?: Instant | undefined;
}

/**
 * The marketplace: what agents do for other organisations, on which terms and at what price.
 *
 * @example
 * ```ts
 * const [listing] = await np.asp.market.search({ capabilities: ["web-search"], minTrustScore: 0.7 });
 * const { state } = await np.asp.market.subscribe({ listingId: listing.id, termsHash: listing.termsHash });
 * // Once it is active, agents of this organisation open sessions with those of the listing.
 * ```
 */
export class Market<O extends OffsetType = number> {
  /** @internal */
  constructor(private readonly context: Context<O>) {}

  /**
   * Writes a listing down, as a draft. After a lost connection it is sent again with the same id.
   *
   * @throws InvalidListingError
   *
   * @example
   * ```ts
   * const { id } = await np.asp.market.create({
   *   title: "Competitor pricing",
   *   category: "market-research",
   *   capabilities: ["web-search", "summarization"],
   *   agents: ["research-agent"],
   *   pricing: { type: "perCall", currency: "EUR", unitPrice: 250 },
   *   terms: "Results are for the subscriber's own use.",
   * });
   * ```
   */
  create({ id = `lst_${uuidV7()}`, ...content }: CreateListingRequest, options?: CallOptions): Promise<ListingChange> {
    return this.context.requester.json("market.create", { id, ...content }, options, SAFE);
  }

  /**
   * Changes what a listing says. What is published goes on as it is until the change is submitted and approved. Not sent again
   * after a lost connection.
   *
   * @example
   * ```ts
   * const { revision } = await np.asp.market.update({ listingId: listing.id, pricing: { type: "free" } });
   * ```
   */
  update(request: UpdateListingRequest, options?: CallOptions): Promise<ListingChange> {
    return this.context.requester.json("market.update", request, options, ONCE);
  }

  /**
   * Hands a listing, or its pending change, in for review. Not sent again after a lost connection.
   *
   * @example
   * ```ts
   * const { state } = await np.asp.market.submit({ listingId: listing.id });
   * ```
   */
  submit(request: ListingRequest, options?: CallOptions): Promise<ListingChange> {
    return this.context.requester.json("market.submit", request, options, ONCE);
  }

  /**
   * Says whether a listing may be shown, for operators: a key of the default organisation with `accessAdmin`. Not sent again
   * after a lost connection.
   *
   * @example
   * ```ts
   * await np.asp.market.review({ listingId: listing.id, verdict: "approve" });
   * ```
   */
  review(request: ReviewListingRequest, options?: CallOptions): Promise<ListingChange> {
    return this.context.requester.json("market.review", request, options, ONCE);
  }

  /**
   * Takes a listing down; subscriptions that there are go on. Not sent again after a lost connection.
   *
   * @example
   * ```ts
   * await np.asp.market.archive({ listingId: listing.id });
   * ```
   */
  archive(request: ListingRequest, options?: CallOptions): Promise<ListingChange> {
    return this.context.requester.json("market.archive", request, options, ONCE);
  }

  /**
   * Listings that are published, or one's own: the first page when awaited, all with `for await`.
   *
   * @example
   * ```ts
   * for await (const { title, organisation, trustScore } of np.asp.market.search({ text: "pricing", sort: "trust" })) {
   *   console.log(title, organisation, trustScore);
   * }
   * ```
   */
  search(request: SearchListingsRequest = {}, options?: CallOptions): Paged<Listing> {
    return new Paged(async (cursor) => {
      type Answer = { listings: Listing[]; cursor?: string };
      const answer = await this.context.requester.json<Answer>("market.search", { ...request, cursor }, options, SAFE);
      return new Page(answer.listings, answer.cursor);
    });
  }

  /**
   * One listing, and one's own organisation's subscription to it: the one that has not ended, else the latest.
   *
   * @throws ListingNotFoundError
   *
   * @example
   * ```ts
   * const { terms, termsHash, subscription } = await np.asp.market.get({ listingId: listing.id });
   * ```
   */
  async get(request: ListingRequest, options?: CallOptions): Promise<Listing & { readonly subscription?: MarketSubscription }> {
    type Answer = { listing: Listing; subscription?: MarketSubscription };
    const { listing, subscription } = await this.context.requester.json<Answer>("market.info", request, options, SAFE);
    return subscription === undefined ? listing : { ...listing, subscription };
  }

  /**
   * Subscribes to a listing, or asks its owner to let one. After a lost connection it is sent again with the same id.
   *
   * @throws AlreadySubscribedError
   * @throws TermsChangedError where the listing has other terms than those of `termsHash`.
   * @throws NotInvitedError
   *
   * @example
   * ```ts
   * const { id, state } = await np.asp.market.subscribe({ listingId: listing.id, termsHash: listing.termsHash });
   * ```
   */
  subscribe({ id = `sub_${uuidV7()}`, ...request }: SubscribeListingRequest, options?: CallOptions): Promise<SubscriptionChange> {
    return this.context.requester.json("market.subscribe", { id, ...request }, options, SAFE);
  }

  /**
   * Says, as the publisher, what becomes of a subscription. Not sent again after a lost connection.
   *
   * @example
   * ```ts
   * for await (const { id } of np.asp.market.subscriptions({ as: "publisher", state: "requested" })) {
   *   await np.asp.market.approve({ subscriptionId: id, verdict: "approve" });
   * }
   * ```
   */
  approve(request: ApproveSubscriptionRequest, options?: CallOptions): Promise<SubscriptionChange> {
    return this.context.requester.json("market.approve", request, options, ONCE);
  }

  /**
   * Ends a subscription, as the subscriber. Not sent again after a lost connection.
   *
   * @example
   * ```ts
   * await np.asp.market.cancel({ subscriptionId: subscription.id });
   * ```
   */
  cancel(request: MarketSubscriptionRequest, options?: CallOptions): Promise<SubscriptionChange> {
    return this.context.requester.json("market.cancel", request, options, ONCE);
  }

  /**
   * Rates a listing that one's own organisation has used; a later rating takes the place of an earlier one. It does not touch
   * trust.
   *
   * @throws NotUsedError
   *
   * @example
   * ```ts
   * const { mean, count } = await np.asp.market.rate({ listingId: listing.id, rating: 5 });
   * ```
   */
  async rate(request: RateListingRequest, options?: CallOptions): Promise<Listing["rating"]> {
    return (await this.context.requester.json<{ rating: Listing["rating"] }>("market.rate", request, options, SAFE)).rating;
  }

  /**
   * Subscriptions of one's own organisation, newest first: the first page when awaited, all with `for await`.
   *
   * @example
   * ```ts
   * for await (const { listingId, state } of np.asp.market.subscriptions()) console.log(listingId, state);
   * ```
   */
  subscriptions(request: ListSubscriptionsRequest = {}, options?: CallOptions): Paged<MarketSubscription> {
    return new Paged(async (cursor) => {
      type Answer = { subscriptions: MarketSubscription[]; cursor?: string };
      const answer = await this.context.requester.json<Answer>("market.subscriptions", { ...request, cursor }, options, SAFE);
      return new Page(answer.subscriptions, answer.cursor);
    });
  }

  /**
   * What a subscription was used for and what that costs, for either side.
   *
   * @example
   * ```ts
   * const { months, total } = await np.asp.market.usage({ subscriptionId: subscription.id, since: "2026-11-01" });
   * console.log(total.calls, total.charge?.amount, total.charge?.currency);
   * ```
   */
  async usage({ subscriptionId, since, until }: MarketUsageRequest, options?: CallOptions): Promise<MarketUsage> {
    const at = (instant: Instant | undefined, name: string): number | undefined => (instant === undefined ? undefined : millisecondsOf(instant, name));
    const body = { subscriptionId, since: at(since, "since"), until: at(until, "until") };
    return this.context.requester.json<MarketUsage>("market.usage", body, options, SAFE);
  }
}
