//! The bodies of requests about the market: what organisations list, and who subscribes to it. The
//! answers are in `market_rows`.

use serde::{Deserialize, Deserializer, Serialize};

use super::{JsonText, default_page, strict};
use crate::asp::TrustScore;
use crate::asp::chain::Digest;
use crate::asp::market::{
    ApproveVerdict, Charge, ListingAccess, MarketSort, Pricing, PricingType, ReviewVerdict,
    SubscriptionState, Visibility,
};
use crate::types::{AgentName, ListingId, OrgName, SubscriptionId, Timestamp};

/// Writes a listing down, as a draft.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketCreate {
    /// The sender's id for the listing, a UUID of version 7: sent again, it gets the same answer.
    /// The broker makes one up when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<ListingId>,
    /// In a line, 1 to 100 characters.
    pub title: String,
    /// In words, at most 10,000 characters.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// What kind of thing it is: 1 to 64 lower-case letters, digits and single `-` between them.
    pub category: String,
    /// More words to find it by, each like a category; at most 20.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What the agents can do, 1 to 64.
    pub capabilities: Vec<AgentName>,
    /// Agents of one's own organisation, by name, 1 to 100; they need not be registered.
    pub agents: Vec<AgentName>,
    /// What it costs.
    #[serde(deserialize_with = "strict::pricing")]
    pub pricing: Pricing,
    /// Who sees it once it is published: everybody, when left out.
    #[serde(default = "everybody")]
    pub visibility: Visibility,
    /// How an organisation comes to a subscription: on request, when left out.
    #[serde(default = "on_request")]
    pub access: ListingAccess,
    /// Organisations that are invited; at most 1,000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub invited: Vec<OrgName>,
    /// An example of what it gives; at most 16,384 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sample: Option<JsonText>,
    /// What a subscriber agrees to; at most 16,384 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub terms: String,
}

fn everybody() -> Visibility {
    Visibility::Public
}

fn on_request() -> ListingAccess {
    ListingAccess::OnRequest
}

impl MarketCreate {
    /// A listing with nothing but what each must have, which is free.
    #[must_use]
    pub fn new(
        id: ListingId,
        title: impl Into<String>,
        category: impl Into<String>,
        capabilities: Vec<AgentName>,
        agents: Vec<AgentName>,
    ) -> Self {
        Self {
            id: Some(id),
            title: title.into(),
            description: String::new(),
            category: category.into(),
            tags: Vec::new(),
            capabilities,
            agents,
            pricing: Pricing::Free,
            visibility: everybody(),
            access: on_request(),
            invited: Vec::new(),
            sample: None,
            terms: String::new(),
        }
    }
}

/// Changes what a listing says. What is left out stays as it is. What is published goes on as it
/// was until the change is approved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketUpdate {
    /// Which.
    pub listing_id: ListingId,
    /// See [`MarketCreate::title`], as all that follow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub title: Option<String>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// What kind of thing it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// More words to find it by.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<Vec<String>>,
    /// What the agents can do.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Vec<AgentName>>,
    /// The agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agents: Option<Vec<AgentName>>,
    /// What it costs.
    #[serde(
        default,
        deserialize_with = "strict::some_pricing",
        skip_serializing_if = "Option::is_none"
    )]
    pub pricing: Option<Pricing>,
    /// Who sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub visibility: Option<Visibility>,
    /// How an organisation comes to a subscription.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub access: Option<ListingAccess>,
    /// Organisations that are invited.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invited: Option<Vec<OrgName>>,
    /// An example of what it gives; `Some(None)`, `null` in JSON, takes it out.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub sample: Option<Option<JsonText>>,
    /// What a subscriber agrees to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<String>,
}

/// Tells a member that is null from one that is left out.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<JsonText>>, D::Error> {
    Option::<JsonText>::deserialize(from).map(Some)
}

impl MarketUpdate {
    /// A change of nothing yet.
    #[must_use]
    pub fn new(listing_id: ListingId) -> Self {
        Self {
            listing_id,
            title: None,
            description: None,
            category: None,
            tags: None,
            capabilities: None,
            agents: None,
            pricing: None,
            visibility: None,
            access: None,
            invited: None,
            sample: None,
            terms: None,
        }
    }
}

/// Hands a listing in for review.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketSubmit {
    /// Which.
    pub listing_id: ListingId,
}

/// Says, as an operator, whether a listing may be shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketReview {
    /// Which.
    pub listing_id: ListingId,
    /// What is said of it.
    pub verdict: ReviewVerdict,
    /// Why, at most 1,000 characters; needed to reject and to suspend.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Takes a listing down; its subscriptions go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketArchive {
    /// Which.
    pub listing_id: ListingId,
}

/// Looks for listings: published ones, unless others are asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketSearch {
    /// Words that all stand in title, description or labels, whatever the case; at most 1,024
    /// bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Of this category.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// With all of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// With all of these capabilities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<AgentName>,
    /// Least trust in each of its agents.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_trust_score: Option<TrustScore>,
    /// That cost at most so much, in that currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_price: Option<Charge>,
    /// That are paid so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pricing: Option<PricingType>,
    /// Of this organisation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub organisation: Option<OrgName>,
    /// Of organisations that an operator knows; or only of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verified: Option<bool>,
    /// One's own, in every state.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub own: bool,
    /// Those that wait for an operator; for operators.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub in_review: bool,
    /// In which order.
    #[serde(default)]
    pub sort: MarketSort,
    /// Listings of a page at most, 1 to 100.
    #[serde(default = "few")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Listings of a page where a request does not say how many.
pub const DEFAULT_LISTINGS: u32 = 20;

fn few() -> u32 {
    DEFAULT_LISTINGS
}

impl Default for MarketSearch {
    /// All that is published.
    fn default() -> Self {
        Self {
            text: None,
            category: None,
            tags: Vec::new(),
            capabilities: Vec::new(),
            min_trust_score: None,
            max_price: None,
            pricing: None,
            organisation: None,
            verified: None,
            own: false,
            in_review: false,
            sort: MarketSort::default(),
            limit: few(),
            cursor: None,
        }
    }
}

/// Asks for a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketInfo {
    /// Which.
    pub listing_id: ListingId,
}

/// Subscribes to a listing, or asks its owner to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketSubscribe {
    /// The sender's id for the subscription, a UUID of version 7: sent again, it gets the same
    /// answer. The broker makes one up when it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<SubscriptionId>,
    /// To what.
    pub listing_id: ListingId,
    /// Hash of the terms that are agreed to: refused where the listing has others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms_hash: Option<Digest>,
}

/// Says, as the publisher, what becomes of a subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketApprove {
    /// Which.
    pub subscription_id: SubscriptionId,
    /// What is said of it.
    pub verdict: ApproveVerdict,
    /// Why, at most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Ends a subscription, as the subscriber.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketCancel {
    /// Which.
    pub subscription_id: SubscriptionId,
}

/// Rates a listing that one's organisation has used; a later rating takes the place of an earlier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketRate {
    /// Which.
    pub listing_id: ListingId,
    /// 1 to 5.
    pub rating: u64,
    /// In words, at most 1,000 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// The side of a subscription.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SubscriptionSide {
    /// Who subscribed.
    #[default]
    Subscriber,
    /// Whose listing it is.
    Publisher,
}

/// Asks for the subscriptions of one's organisation, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketSubscriptions {
    /// On which side it is.
    #[serde(default, rename = "as")]
    pub side: SubscriptionSide,
    /// Those to a listing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listing_id: Option<ListingId>,
    /// Those in this state.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<SubscriptionState>,
    /// Subscriptions of a page at most, 1 to 100.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for MarketSubscriptions {
    /// All that one's organisation has subscribed to.
    fn default() -> Self {
        Self {
            side: SubscriptionSide::default(),
            listing_id: None,
            state: None,
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Asks what a subscription was used for, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct MarketUsage {
    /// Which.
    pub subscription_id: SubscriptionId,
    /// From the month on that holds this time; from the first when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Up to the month that holds this time, it included; up to now when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}
