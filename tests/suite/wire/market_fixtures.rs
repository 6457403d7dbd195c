//! One example of every request about the market, and of every answer.

use npayload::asp::TrustScore;
use npayload::asp::chain::Digest;
use npayload::asp::market::{
    ApproveVerdict, Charge, ListingAccess, ListingState, MarketSort, Pricing, PricingType,
    ReviewVerdict, SubscriptionState, Tier, Visibility,
};
use npayload::protocol::asp::*;
use npayload::types::*;

use super::asp_fixtures::{AGENT, later, name, org, text};
use super::fixtures::TIME;

const LISTING: ListingId = ListingId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0670);
const SUBSCRIPTION: SubscriptionId = SubscriptionId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0680);
const MONTH_MS: i64 = 31 * 24 * 3_600_000;

fn sum(amount: u64) -> Charge {
    Charge {
        amount,
        currency: "EUR".parse().unwrap(),
    }
}

fn per_call() -> Pricing {
    Pricing::PerCall {
        currency: "EUR".parse().unwrap(),
        unit_price: 250,
    }
}

fn tiered() -> Pricing {
    Pricing::Tiered {
        currency: "EUR".parse().unwrap(),
        tiers: vec![
            Tier {
                unit_price: 0,
                up_to: Some(1000),
            },
            Tier {
                unit_price: 5,
                up_to: None,
            },
        ],
    }
}

fn trust(score: f64) -> TrustScore {
    score.try_into().unwrap()
}

fn texts(all: &[&str]) -> Vec<String> {
    all.iter().map(|&one| one.to_owned()).collect()
}

/// The requests, by number.
pub fn requests() -> Vec<AspRequest> {
    let mut all = listing_requests();
    all.extend(subscription_requests());
    all
}

fn listing_requests() -> Vec<AspRequest> {
    let agents = vec![name("research-agent"), name("prices.bot")];
    let listing_id = LISTING;
    vec![
        AspRequest::MarketCreate(MarketCreate {
            description: "Finds what others ask for a product.".to_owned(),
            tags: texts(&["prices", "retail"]),
            pricing: per_call(),
            visibility: Visibility::InviteOnly,
            access: ListingAccess::ByInvitation,
            invited: vec![org("beta")],
            sample: Some(text(r#"{"product":"x","price":1.5}"#)),
            terms: "Fair use.".to_owned(),
            ..MarketCreate::new(
                LISTING,
                "Market research",
                "data-analysis",
                vec![name("web-search")],
                agents.clone(),
            )
        }),
        AspRequest::MarketUpdate(MarketUpdate {
            title: Some("Market research, daily".to_owned()),
            description: Some(String::new()),
            category: Some("research".to_owned()),
            tags: Some(Vec::new()),
            capabilities: Some(vec![name("web-search"), name("citation")]),
            agents: Some(agents),
            pricing: Some(tiered()),
            visibility: Some(Visibility::Public),
            access: Some(ListingAccess::Open),
            invited: Some(Vec::new()),
            sample: Some(None),
            terms: Some("Fair use, and no resale.".to_owned()),
            ..MarketUpdate::new(LISTING)
        }),
        AspRequest::MarketSubmit(MarketSubmit { listing_id }),
        AspRequest::MarketReview(MarketReview {
            listing_id,
            verdict: ReviewVerdict::Reject,
            reason: Some("say what a call is".to_owned()),
        }),
        AspRequest::MarketArchive(MarketArchive { listing_id }),
        AspRequest::MarketSearch(MarketSearch {
            text: Some("competitor prices".to_owned()),
            category: Some("data-analysis".to_owned()),
            tags: texts(&["prices"]),
            capabilities: vec![name("web-search")],
            min_trust_score: Some(trust(0.5)),
            max_price: Some(sum(500)),
            pricing: Some(PricingType::PerCall),
            organisation: Some(org("acme")),
            verified: Some(true),
            own: true,
            // For operators; see the table of who may do what.
            in_review: false,
            sort: MarketSort::Trust,
            limit: 10,
            cursor: Some("c13".to_owned()),
        }),
        AspRequest::MarketInfo(MarketInfo { listing_id }),
    ]
}

fn subscription_requests() -> Vec<AspRequest> {
    vec![
        AspRequest::MarketSubscribe(MarketSubscribe {
            id: Some(SUBSCRIPTION),
            listing_id: LISTING,
            terms_hash: Some(Digest([0xcd; 32])),
        }),
        AspRequest::MarketApprove(MarketApprove {
            subscription_id: SUBSCRIPTION,
            verdict: ApproveVerdict::Suspend,
            reason: Some("the invoice is open".to_owned()),
        }),
        AspRequest::MarketCancel(MarketCancel {
            subscription_id: SUBSCRIPTION,
        }),
        AspRequest::MarketRate(MarketRate {
            listing_id: LISTING,
            rating: 4,
            comment: Some("fast".to_owned()),
        }),
        AspRequest::MarketSubscriptions(MarketSubscriptions {
            side: SubscriptionSide::Publisher,
            listing_id: Some(LISTING),
            state: Some(SubscriptionState::Requested),
            limit: 10,
            cursor: Some("c14".to_owned()),
        }),
        AspRequest::MarketUsage(MarketUsage {
            subscription_id: SUBSCRIPTION,
            since: Some(TIME),
            until: Some(later(MONTH_MS)),
        }),
    ]
}

fn changed(state: ListingState, revision: u64) -> ListingChanged {
    ListingChanged {
        id: LISTING,
        state,
        revision,
    }
}

/// As anybody sees it.
fn listing() -> ListingRow {
    ListingRow {
        id: LISTING,
        organisation: org("acme"),
        verified: true,
        state: ListingState::Published,
        revision: 2,
        title: "Market research".to_owned(),
        description: "Finds what others ask for a product.".to_owned(),
        category: "data-analysis".to_owned(),
        tags: texts(&["prices", "retail"]),
        capabilities: vec![name("web-search")],
        agents: vec![
            ListedAgent {
                name: name("research-agent"),
                id: Some(AGENT),
                trust_score: trust(0.92),
            },
            ListedAgent {
                name: name("prices.bot"),
                id: None,
                trust_score: trust(0.0),
            },
        ],
        pricing: per_call(),
        visibility: Visibility::Public,
        access: ListingAccess::OnRequest,
        sample: Some(text(r#"{"price":1.5,"product":"x"}"#)),
        terms: "Fair use.".to_owned(),
        terms_hash: Digest([0xcd; 32]),
        rating: RatingSummary {
            mean: Some(Millionths(4_250_000)),
            count: 4,
        },
        trust_score: trust(0.0),
        subscribers: None,
        invited: None,
        created_at: TIME,
        updated_at: later(2000),
        published_at: Some(later(1000)),
        pending: None,
        reason: None,
    }
}

/// As its owner sees it.
fn own_listing() -> ListingRow {
    ListingRow {
        subscribers: Some(3),
        invited: Some(vec![org("beta")]),
        pending: Some(Box::new(PendingRow {
            state: ListingState::InReview,
            revision: 3,
            title: "Market research, daily".to_owned(),
            description: String::new(),
            category: "research".to_owned(),
            tags: Vec::new(),
            capabilities: vec![name("web-search")],
            agents: vec![name("research-agent")],
            pricing: tiered(),
            visibility: Visibility::Unlisted,
            access: ListingAccess::Open,
            invited: Some(Vec::new()),
            sample: Some(text("[1,2]")),
            terms: String::new(),
        })),
        reason: Some("say what a call is".to_owned()),
        ..listing()
    }
}

fn subscription(state: SubscriptionState) -> SubscriptionRow {
    SubscriptionRow {
        id: SUBSCRIPTION,
        listing_id: LISTING,
        organisation: org("beta"),
        publisher: org("acme"),
        state,
        pricing: per_call(),
        terms_hash: Digest([0xcd; 32]),
        requested_at: TIME,
        active_since: Some(later(1000)),
        ended_at: Some(later(MONTH_MS)),
        reason: Some("the invoice is open".to_owned()),
    }
}

fn moved(state: SubscriptionState) -> SubscriptionChanged {
    SubscriptionChanged {
        id: SUBSCRIPTION,
        state,
    }
}

/// The answers, by number.
pub fn responses() -> Vec<AspResponse> {
    let mut free = listing();
    free.pricing = Pricing::Free;
    free.rating = RatingSummary::default();
    free.sample = None;
    let mut requested = subscription(SubscriptionState::Requested);
    requested.active_since = None;
    requested.ended_at = None;
    requested.reason = None;
    requested.pricing = Pricing::Monthly {
        currency: "JPY".parse().unwrap(),
        price: 900,
    };
    vec![
        AspResponse::MarketCreate(changed(ListingState::Draft, 1)),
        AspResponse::MarketUpdate(changed(ListingState::Published, 3)),
        AspResponse::MarketSubmit(changed(ListingState::InReview, 1)),
        AspResponse::MarketReview(changed(ListingState::Suspended, 2)),
        AspResponse::MarketArchive(changed(ListingState::Archived, 2)),
        AspResponse::MarketSearch(ListingsPage {
            listings: vec![listing(), free],
            cursor: Some("c15".to_owned()),
        }),
        AspResponse::MarketInfo(ListingSeen {
            listing: own_listing(),
            subscription: Some(subscription(SubscriptionState::Active)),
        }),
        AspResponse::MarketSubscribe(moved(SubscriptionState::Requested)),
        AspResponse::MarketApprove(moved(SubscriptionState::Suspended)),
        AspResponse::MarketCancel(moved(SubscriptionState::Cancelled)),
        AspResponse::MarketRate(MarketRated {
            rating: listing().rating,
        }),
        AspResponse::MarketSubscriptions(SubscriptionsPage {
            subscriptions: vec![subscription(SubscriptionState::Cancelled), requested],
            cursor: None,
        }),
        AspResponse::MarketUsage(UsageTold {
            subscription_id: SUBSCRIPTION,
            months: vec![
                MonthRow {
                    month: "2026-10".parse().unwrap(),
                    sessions: 2,
                    messages: 14,
                    calls: 3,
                    charge: Some(sum(750)),
                },
                MonthRow {
                    month: "2026-11".parse().unwrap(),
                    sessions: 1,
                    messages: 0,
                    calls: 0,
                    charge: None,
                },
            ],
            total: TotalRow {
                sessions: 3,
                messages: 14,
                calls: 3,
                charge: Some(sum(750)),
            },
        }),
    ]
}
