//! The marketplace: listings of agents across organisations, subscriptions to them, what they are
//! used for and rated, as a pure state machine folded from the records of the topic
//! `__asp.market`. Specified by docs/asp.md, "The market".
//!
//! Invariant: an active subscription gives what a grant of the operation `asp` on the listing's
//! agents gives, and nothing else does; what is metered is what the sessions hold, no more.
//!
//! Not here: who speaks for an organisation and who is an operator (the access room), how far
//! agents are trusted (the trust room), money (it is counted here, and moves elsewhere).

mod check;
mod content;
mod error;
mod fold;
mod listing;
#[expect(clippy::module_inception, reason = "the state is the market")]
mod market;
mod metering;
mod pricing;
mod record;
mod search;
mod table;
#[cfg(test)]
mod tests;

pub use check::{Asker, Checked, MAX_LISTINGS, MAX_SUBSCRIPTIONS, NewSubscription};
pub use content::{
    Content, ContentChange, ListingAccess, MAX_AGENTS, MAX_CAPABILITIES, MAX_COMMENT_CHARS,
    MAX_INVITED, MAX_LABEL_BYTES, MAX_LISTING_DESCRIPTION_CHARS, MAX_LISTING_TERMS_BYTES,
    MAX_REASON_CHARS, MAX_SAMPLE_BYTES, MAX_TAGS, MAX_TITLE_CHARS, Visibility,
};
pub use error::MarketError;
pub use fold::MarketRow;
pub use listing::{Listing, Pending, Rating, RatingSum, Subscription};
pub use market::Market;
pub use metering::{Count, InvalidMonth, Month, MonthUsage, Tally, TotalUsage, Usage, Use};
pub use pricing::{Charge, MAX_PRICE, MAX_TIERS, Pricing, PricingType, Tier};
pub use record::{
    Approved, Cancelled, Listed, MarketRecord, Metered, Moved, Rated, Reviewed, Subscribed,
    Updated, Used,
};
pub use search::{
    MAX_MARKET_PAGE, MAX_MARKET_TEXT_BYTES, MAX_SEARCH_LABELS, MarketCursor, MarketFacts,
    MarketPage, MarketQuery, MarketSort,
};
pub use table::{
    ApproveVerdict, ListingNext, ListingState, ListingStep, ListingVoice, ReviewVerdict,
    SubscriptionState, SubscriptionStep, SubscriptionVoice, allowed_listing, allowed_subscription,
    next_listing, next_subscription,
};
