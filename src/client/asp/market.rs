//! The market: what organisations list, and who subscribes to it.

use super::asp;
use super::pages::Pages;
use crate::asp::chain::Digest;
use crate::asp::market::{ApproveVerdict, ReviewVerdict};
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    ListingChanged, ListingSeen, MarketApprove, MarketArchive, MarketCancel, MarketCreate,
    MarketInfo, MarketRate, MarketReview, MarketSearch, MarketSubmit, MarketSubscribe,
    MarketSubscriptions, MarketUpdate, MarketUsage, RatingSummary, SubscriptionChanged, UsageTold,
};
use crate::types::{AgentName, ListingId, SubscriptionId, Timestamp};

/// Requests about the market; [`Client::market`]. What changes anything needs a key that speaks for
/// all agents of its organisation.
///
/// ```no_run
/// use npayload::client::{Client, Market};
/// use npayload::protocol::asp::MarketSearch;
/// use npayload::types::AgentName;
///
/// # async fn example(seller: &Client, buyer: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let agents = vec![AgentName::parse("research-agent")?];
/// let can = vec![AgentName::parse("web-search")?];
/// let listing = Market::listing("Market research", "data-analysis", can, agents);
/// let listed = seller.market().create(listing).await?;
/// seller.market().submit(listed.id).await?; // an operator reviews it then
///
/// let search = MarketSearch { category: Some("data-analysis".into()), ..Default::default() };
/// let mut found = buyer.market().search(search);
/// while let Some(listing) = found.next().await {
///     let listing = listing?;
///     let told = buyer.market().subscribe(listing.id, Some(listing.terms_hash)).await?;
///     println!("{}: {}", told.id, told.state);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Market {
    client: Client,
}

impl Market {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// A free listing with a new id, for [`Market::create`]. Its other members say more: what it
    /// costs, who sees it, how one comes to a subscription.
    #[must_use]
    pub fn listing(
        title: impl Into<String>,
        category: impl Into<String>,
        capabilities: Vec<AgentName>,
        agents: Vec<AgentName>,
    ) -> MarketCreate {
        let id = ListingId(uuid::Uuid::now_v7().as_u128());
        MarketCreate::new(id, title, category, capabilities, agents)
    }

    /// Writes a listing down, as a draft. After a lost connection it is sent again with the same
    /// id; one is made up where it has none.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `LISTING_ID_TAKEN`, `INVALID_LISTING_ID`,
    /// `INVALID_LISTING`, `INVALID_PAYLOAD`, `ORG_KEY_REQUIRED` and `OUT_OF_LIMIT`.
    pub async fn create(&self, mut create: MarketCreate) -> Result<ListingChanged, RequestError> {
        create.id = (create.id).or_else(|| Some(ListingId(uuid::Uuid::now_v7().as_u128())));
        asp!(&self.client, Retry::Safe, MarketCreate(create))
    }

    /// Changes what a listing says; [`MarketUpdate::new`]. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `LISTING_NOT_FOUND`, `INVALID_LISTING`,
    /// `INVALID_PAYLOAD`, `ORG_KEY_REQUIRED` and `OUT_OF_LIMIT`.
    pub async fn update(&self, update: MarketUpdate) -> Result<ListingChanged, RequestError> {
        asp!(&self.client, Retry::Unsafe, MarketUpdate(update))
    }

    /// Hands a listing in for review. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `LISTING_NOT_FOUND`, `ILLEGAL_LISTING_STEP`,
    /// `ORG_KEY_REQUIRED` and `OUT_OF_LIMIT`.
    pub async fn submit(&self, listing_id: ListingId) -> Result<ListingChanged, RequestError> {
        let submit = MarketSubmit { listing_id };
        asp!(&self.client, Retry::Unsafe, MarketSubmit(submit))
    }

    /// Says, as an operator, whether a listing may be shown. For a key of the default organisation.
    /// Not sent again after a lost connection.
    ///
    /// - `reason`: at most 1,000 characters; needed to reject and to suspend.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `FORBIDDEN`, `LISTING_NOT_FOUND`,
    /// `ILLEGAL_LISTING_STEP`, `REASON_REQUIRED` and `OUT_OF_LIMIT`.
    pub async fn review(
        &self,
        listing_id: ListingId,
        verdict: ReviewVerdict,
        reason: Option<String>,
    ) -> Result<ListingChanged, RequestError> {
        let review = MarketReview {
            listing_id,
            verdict,
            reason,
        };
        asp!(&self.client, Retry::Unsafe, MarketReview(review))
    }

    /// Takes a listing down; its subscriptions go on. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `LISTING_NOT_FOUND`, `ILLEGAL_LISTING_STEP` and
    /// `ORG_KEY_REQUIRED`.
    pub async fn archive(&self, listing_id: ListingId) -> Result<ListingChanged, RequestError> {
        let archive = MarketArchive { listing_id };
        asp!(&self.client, Retry::Unsafe, MarketArchive(archive))
    }

    /// Listings that fit. Its `limit` is the size of a page, and its `cursor` where to begin.
    #[must_use]
    pub fn search(&self, search: MarketSearch) -> Pages<MarketSearch> {
        Pages::new(self.client.clone(), search)
    }

    /// A listing, and one's own subscription to it.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `LISTING_NOT_FOUND`.
    pub async fn info(&self, listing_id: ListingId) -> Result<ListingSeen, RequestError> {
        let info = MarketInfo { listing_id };
        asp!(&self.client, Retry::Safe, MarketInfo(info))
    }

    /// Subscribes to a listing, or asks its owner to. After a lost connection it is sent again with
    /// the same id.
    ///
    /// - `terms_hash`: the terms that are agreed to; refused where the listing has others.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `LISTING_NOT_FOUND`, `OWN_LISTING`, `LISTING_CLOSED`,
    /// `NOT_INVITED`, `TERMS_CHANGED`, `ALREADY_SUBSCRIBED`, `ORG_KEY_REQUIRED` and `OUT_OF_LIMIT`.
    pub async fn subscribe(
        &self,
        listing_id: ListingId,
        terms_hash: Option<Digest>,
    ) -> Result<SubscriptionChanged, RequestError> {
        let subscribe = MarketSubscribe {
            id: None,
            listing_id,
            terms_hash,
        };
        self.subscribe_as(subscribe).await
    }

    /// As [`Market::subscribe`], with an id of one's own: a program that is not sure whether it
    /// asked asks again with the same one.
    ///
    /// # Errors
    /// As [`Market::subscribe`], and of the broker's `INVALID_SUBSCRIPTION_ID` and
    /// `SUBSCRIPTION_ID_TAKEN`.
    pub async fn subscribe_as(
        &self,
        mut subscribe: MarketSubscribe,
    ) -> Result<SubscriptionChanged, RequestError> {
        let id = || SubscriptionId(uuid::Uuid::now_v7().as_u128());
        subscribe.id = subscribe.id.or_else(|| Some(id()));
        asp!(&self.client, Retry::Safe, MarketSubscribe(subscribe))
    }

    /// Says, as the publisher, what becomes of a subscription. Not sent again after a lost
    /// connection.
    ///
    /// - `reason`: at most 1,000 characters.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `SUBSCRIPTION_NOT_FOUND`, `ILLEGAL_SUBSCRIPTION_STEP`,
    /// `ORG_KEY_REQUIRED` and `OUT_OF_LIMIT`.
    pub async fn approve(
        &self,
        subscription_id: SubscriptionId,
        verdict: ApproveVerdict,
        reason: Option<String>,
    ) -> Result<SubscriptionChanged, RequestError> {
        let approve = MarketApprove {
            subscription_id,
            verdict,
            reason,
        };
        asp!(&self.client, Retry::Unsafe, MarketApprove(approve))
    }

    /// Ends a subscription, as the subscriber. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `SUBSCRIPTION_NOT_FOUND`, `ILLEGAL_SUBSCRIPTION_STEP` and
    /// `ORG_KEY_REQUIRED`.
    pub async fn cancel(
        &self,
        subscription_id: SubscriptionId,
    ) -> Result<SubscriptionChanged, RequestError> {
        let cancel = MarketCancel { subscription_id };
        asp!(&self.client, Retry::Unsafe, MarketCancel(cancel))
    }

    /// Rates a listing that one's organisation has used; a later rating takes the place of an
    /// earlier one, so that it is sent again after a lost connection.
    ///
    /// - `rating`: 1 to 5.
    /// - `comment`: at most 1,000 characters.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `LISTING_NOT_FOUND`, `NOT_USED`, `OWN_LISTING`,
    /// `ORG_KEY_REQUIRED` and `OUT_OF_LIMIT`.
    pub async fn rate(
        &self,
        listing_id: ListingId,
        rating: u8,
        comment: Option<String>,
    ) -> Result<RatingSummary, RequestError> {
        let rate = MarketRate {
            listing_id,
            rating: rating.into(),
            comment,
        };
        Ok(asp!(&self.client, Retry::Safe, MarketRate(rate))?.rating)
    }

    /// Subscriptions of one's organisation, the newest first. Its `limit` is the size of a page,
    /// and its `cursor` where to begin.
    #[must_use]
    pub fn subscriptions(&self, list: MarketSubscriptions) -> Pages<MarketSubscriptions> {
        Pages::new(self.client.clone(), list)
    }

    /// What a subscription was used for, and what that costs, by month (UTC) of when each session
    /// was opened.
    ///
    /// - `since`, `until`: from the month that holds one time up to the month that holds the other.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `SUBSCRIPTION_NOT_FOUND`.
    pub async fn usage(
        &self,
        subscription_id: SubscriptionId,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
    ) -> Result<UsageTold, RequestError> {
        let usage = MarketUsage {
            subscription_id,
            since,
            until,
        };
        asp!(&self.client, Retry::Safe, MarketUsage(usage))
    }
}
