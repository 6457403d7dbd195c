//! The answers to requests about the market.

use serde::{Deserialize, Serialize};

use super::{JsonText, Millionths};
use crate::asp::TrustScore;
use crate::asp::chain::Digest;
use crate::asp::market::{
    Charge, ListingAccess, ListingState, Month, Pricing, SubscriptionState, Visibility,
};
use crate::types::{AgentId, AgentName, ListingId, OrgName, SubscriptionId, Timestamp};

/// Where a listing stands after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListingChanged {
    /// Its id.
    pub id: ListingId,
    /// Its state.
    pub state: ListingState,
    /// Number of the content that its owner wrote last, from 1.
    pub revision: u64,
}

/// An agent of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListedAgent {
    /// Its name.
    pub name: AgentName,
    /// Its identity, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<AgentId>,
    /// How far others trust it, 0 to 1; 0 without evidence.
    pub trust_score: TrustScore,
}

/// What all ratings of a listing come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RatingSummary {
    /// Their mean, 1 to 5 in hundredths; `null` where there is none.
    pub mean: Option<Millionths>,
    /// How many there are.
    pub count: u64,
}

/// A listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListingRow {
    /// Its id.
    pub id: ListingId,
    /// Whose it is.
    pub organisation: OrgName,
    /// Whether an operator knows that organisation.
    pub verified: bool,
    /// Where it stands.
    pub state: ListingState,
    /// Number of the content that follows, from 1.
    pub revision: u64,
    /// In a line.
    pub title: String,
    /// In words.
    pub description: String,
    /// What kind of thing it is.
    pub category: String,
    /// More words to find it by.
    pub tags: Vec<String>,
    /// What the agents can do.
    pub capabilities: Vec<AgentName>,
    /// The agents.
    pub agents: Vec<ListedAgent>,
    /// What it costs.
    pub pricing: Pricing,
    /// Who sees it.
    pub visibility: Visibility,
    /// How an organisation comes to a subscription.
    pub access: ListingAccess,
    /// An example of what it gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<JsonText>,
    /// What a subscriber agrees to.
    pub terms: String,
    /// SHA-256 of the terms.
    pub terms_hash: Digest,
    /// What it is rated.
    pub rating: RatingSummary,
    /// The least trust in one of its agents, 0 to 1.
    pub trust_score: TrustScore,
    /// Subscriptions that have not ended; for its owner and for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribers: Option<u64>,
    /// Organisations that are invited; for its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited: Option<Vec<OrgName>>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When its content was approved last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// What is to replace it once it is approved; for its owner and for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Box<PendingRow>>,
    /// Why an operator said so last; for its owner and for operators.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Content of a listing beside the published one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PendingRow {
    /// Where it stands: a draft, or in review.
    pub state: ListingState,
    /// Its number, from 1.
    pub revision: u64,
    /// In a line.
    pub title: String,
    /// In words.
    pub description: String,
    /// What kind of thing it is.
    pub category: String,
    /// More words to find it by.
    pub tags: Vec<String>,
    /// What the agents can do.
    pub capabilities: Vec<AgentName>,
    /// The agents.
    pub agents: Vec<AgentName>,
    /// What it costs.
    pub pricing: Pricing,
    /// Who sees it.
    pub visibility: Visibility,
    /// How an organisation comes to a subscription.
    pub access: ListingAccess,
    /// Organisations that are invited; for its owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited: Option<Vec<OrgName>>,
    /// An example of what it gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<JsonText>,
    /// What a subscriber agrees to.
    pub terms: String,
}

/// A page of listings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListingsPage {
    /// The rows.
    pub listings: Vec<ListingRow>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A listing, and what one's own organisation has to do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ListingSeen {
    /// The listing.
    pub listing: ListingRow,
    /// One's own subscription: the one that has not ended, else the latest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscription: Option<SubscriptionRow>,
}

/// Where a subscription stands after a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionChanged {
    /// Its id.
    pub id: SubscriptionId,
    /// Its state.
    pub state: SubscriptionState,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionRow {
    /// Its id.
    pub id: SubscriptionId,
    /// To what.
    pub listing_id: ListingId,
    /// Who subscribed.
    pub organisation: OrgName,
    /// Whose listing it is.
    pub publisher: OrgName,
    /// Where it stands.
    pub state: SubscriptionState,
    /// What it costs, as the listing said when it was asked for.
    pub pricing: Pricing,
    /// Hash of the terms, as the listing had them when it was asked for.
    pub terms_hash: Digest,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it became active first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub active_since: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Why the publisher said so last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A page of subscriptions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SubscriptionsPage {
    /// The rows.
    pub subscriptions: Vec<SubscriptionRow>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What a listing is rated, after one more rating.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MarketRated {
    /// What all ratings come to.
    pub rating: RatingSummary,
}

/// What a subscription was used for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UsageTold {
    /// Which.
    pub subscription_id: SubscriptionId,
    /// By month (UTC) of when the session was opened, the oldest first.
    pub months: Vec<MonthRow>,
    /// Their sum.
    pub total: TotalRow,
}

/// What a subscription was used for in a month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MonthRow {
    /// The month: `2026-11`.
    pub month: Month,
    /// Sessions that the subscriber's agents opened.
    pub sessions: u64,
    /// What they said in them.
    pub messages: u64,
    /// Tasks that they gave there to listed agents.
    pub calls: u64,
    /// What that costs; none where the listing is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
}

/// What a subscription was used for in several months.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TotalRow {
    /// Sessions that the subscriber's agents opened.
    pub sessions: u64,
    /// What they said in them.
    pub messages: u64,
    /// Tasks that they gave there to listed agents.
    pub calls: u64,
    /// What that costs; none where the listing is free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub charge: Option<Charge>,
}
