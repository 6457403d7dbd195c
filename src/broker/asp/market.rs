//! The market: listings, subscriptions and ratings, on the one topic `__asp.market` of all
//! organisations, which is the default one's.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use super::record::{Entry, own};
use super::snapshot::Snapshot;
use super::{AspError, Topic};
use crate::access::{Operation, Pattern, Principal, Scope};
use crate::asp::chain::Digest;
use crate::asp::market::{
    ApproveVerdict, Asker, Checked, Content, ContentChange, ListingState, Market, MarketError,
    MarketRecord, NewSubscription, RatingSum, ReviewVerdict, SubscriptionState,
};
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::broker::topic::{Fold, TopicError};
use crate::folding::{EventError, IllegalEvent};
use crate::storage::{Need, NewBatch};
use crate::types::{
    AgentName, ChannelName, Incarnation, ListingId, Offset, OrgId, SubscriptionId, Timestamp,
};

impl Fold for Market {
    type Event = MarketRecord;
    const TOPIC: &'static str = "__asp.market";

    fn decode(record_type: &str, payload: &[u8]) -> Result<MarketRecord, EventError> {
        MarketRecord::decode(record_type, payload)
    }

    fn event(&mut self, offset: Offset, event: MarketRecord) -> Result<(), IllegalEvent> {
        self.apply(&event, offset)
    }

    /// Who may reach whom would be wrong without a part of it.
    fn gap(&mut self, lost: Range<Offset>) -> Result<(), TopicError> {
        let topic = Self::TOPIC;
        Err(TopicError::Lost { topic, lost })
    }
}

impl Snapshot for Market {
    const STATE_RECORD: &'static str = "market.folded";

    fn state_records(&self) -> Vec<Vec<u8>> {
        self.fold().iter().map(MarketRecord::encode).collect()
    }
}

/// Where a listing stands after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListingDone {
    /// The listing.
    pub listing: ListingId,
    /// Its state.
    pub state: ListingState,
    /// Number of the content that its owner wrote last.
    pub revision: u64,
}

/// Where a subscription stands after a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SubscriptionDone {
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Its state.
    pub state: SubscriptionState,
}

impl Broker {
    /// The name of the topic of the market.
    pub(super) fn market_channel() -> ChannelName {
        ChannelName::parse_any(Market::TOPIC).expect("a constant that follows the rule")
    }

    /// Makes the topic of the market, where there is none.
    pub(super) fn make_market(&mut self, now: Timestamp) -> Result<(), BrokerError> {
        if self.asp.market.is_some() {
            return Ok(());
        }
        let incarnation = self.new_incarnation();
        self.make_kept_topics(&[(Self::market_channel(), incarnation)], now)?;
        self.asp.market = Some(Topic::new(incarnation));
        Ok(())
    }

    /// The state of the market; an empty one where nobody has used it.
    ///
    /// # Errors
    /// [`AspError::Unavailable`] where nobody knows.
    pub fn market(&self) -> Result<&Market, AspError> {
        /// What nobody has used.
        static EMPTY: LazyLock<Market> = LazyLock::new(Market::default);
        match &self.asp.market {
            Some(topic) => topic.known(),
            None => Ok(&EMPTY),
        }
    }

    /// The state of the market, to be looked at without the broker's lock.
    pub(super) fn shared_market(&self) -> Result<Arc<Market>, AspError> {
        match &self.asp.market {
            Some(topic) => topic.shared(),
            None => Ok(Arc::default()),
        }
    }

    pub(super) fn market_wait(&self) -> Wait {
        let log = self.asp.market.as_ref().map(|topic| topic.log);
        self.wait_for(log.unwrap_or_default())
    }

    /// Records of the market as a batch.
    pub(super) fn market_batch(
        &self,
        log: Incarnation,
        records: &[MarketRecord],
    ) -> Result<NewBatch, BrokerError> {
        let records = records.iter();
        let records = records.map(|record| own(record.record_type(), record.encode()));
        self.asp_batch(log, &records.collect::<Vec<_>>())
    }

    /// Takes records of the market in.
    pub(super) fn apply_market(
        &mut self,
        records: &[MarketRecord],
        offset: Offset,
    ) -> Result<(), BrokerError> {
        let Some(topic) = &mut self.asp.market else {
            return Ok(());
        };
        for (offset, record) in (offset.0..).map(Offset).zip(records) {
            let applied = Arc::make_mut(&mut topic.state).apply(record, offset);
            applied.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
        }
        topic.count(records.len());
        Ok(())
    }

    /// Whether one organisation shows another an agent: by a grant, or by a subscription to a
    /// listing that has it. The one place where that is judged.
    pub(super) fn shows_agent(
        &self,
        owner: OrgId,
        name: &str,
        guest: OrgId,
        now: Timestamp,
    ) -> bool {
        self.access.shows_agent(owner, name, guest, now)
            || self.subscription_for(owner, name, guest).is_some()
    }

    /// The subscription that shows one organisation an agent of another.
    pub(super) fn subscription_for(
        &self,
        owner: OrgId,
        name: &str,
        guest: OrgId,
    ) -> Option<SubscriptionId> {
        let market = self.market().ok()?;
        market.shows(owner, name, guest)
    }

    /// The names of an organisation's agents that subscriptions show another.
    pub(super) fn subscribed_names(&self, owner: OrgId, guest: OrgId) -> Vec<AgentName> {
        let market = self.market().ok();
        market.map_or_else(Vec::new, |market| {
            market.shown(owner, guest).cloned().collect()
        })
    }

    /// Who asks the market.
    pub(super) fn asker(&self, by: &Principal, now: Timestamp) -> Result<Asker, BrokerError> {
        self.authorize_asp(by, now)?;
        Ok(Asker {
            org: by.org,
            name: self.shown_org(by.org),
            by: by.id,
            is_operator: self.is_operator(by, now),
        })
    }

    /// Who acts for a whole organisation: a key that speaks for all of its agents.
    fn org_asker(&self, by: &Principal, now: Timestamp) -> Result<Asker, BrokerError> {
        let asker = self.asker(by, now)?;
        let scopes = self.access.scopes(by);
        let speaks_for_all = scopes.iter().any(|scope: &Scope| {
            scope.operations.contains(&Operation::Asp)
                && scope.agents.iter().any(|one| *one == Pattern::all())
        });
        if !speaks_for_all {
            return Err(refused(MarketError::OrgKeyRequired));
        }
        Ok(asker)
    }

    /// Creates a listing, as a draft. With an id that was used for the same one, nothing is done.
    ///
    /// - `listing`: its id; the broker chooses one where none is given.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for the organisation, a content that breaks a rule,
    /// an id that was used for another, a limit, or an entry that was not taken.
    pub fn create_listing(
        &mut self,
        by: &Principal,
        listing: Option<ListingId>,
        content: Content,
        now: Timestamp,
    ) -> Result<Accepted<ListingDone>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let id = listing.unwrap_or(ListingId(self.new_uuid(now)));
        let checked = self.market()?.check_list(&asker, id, content, now);
        self.change_listing(by, id, checked, now)
    }

    /// Changes what a listing says: beside the published content, where it was published. What
    /// changes nothing is not recorded.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for the organisation, a listing that is not its own,
    /// a content that breaks a rule, what the table does not allow, or an entry that was not taken.
    pub fn update_listing(
        &mut self,
        by: &Principal,
        listing: ListingId,
        change: ContentChange,
        now: Timestamp,
    ) -> Result<Accepted<ListingDone>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let checked = self.market()?.check_update(&asker, listing, change, now);
        self.change_listing(by, listing, checked, now)
    }

    /// Hands a listing in for review, or what is pending beside its published content.
    ///
    /// # Errors
    /// As for [`Broker::update_listing`].
    pub fn submit_listing(
        &mut self,
        by: &Principal,
        listing: ListingId,
        now: Timestamp,
    ) -> Result<Accepted<ListingDone>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let checked = self.market()?.check_submit(&asker, listing, now);
        self.change_listing(by, listing, checked.map(Checked::New), now)
    }

    /// Says for the broker as a whole what is to become of a listing.
    ///
    /// # Errors
    /// [`Refusal`]: a caller who is no operator, a listing that is not there, a reason that is
    /// missing, what the table does not allow, or an entry that was not taken.
    pub fn review_listing(
        &mut self,
        by: &Principal,
        listing: ListingId,
        verdict: ReviewVerdict,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Accepted<ListingDone>, Refusal> {
        self.authorize_operator(by, now)?;
        let asker = Asker {
            org: by.org,
            name: self.shown_org(by.org),
            by: by.id,
            is_operator: true,
        };
        let checked = self.market()?;
        let checked = checked.check_review(&asker, listing, verdict, reason, now);
        self.change_listing(by, listing, checked.map(Checked::New), now)
    }

    /// Takes a listing down; subscriptions go on.
    ///
    /// # Errors
    /// As for [`Broker::update_listing`].
    pub fn archive_listing(
        &mut self,
        by: &Principal,
        listing: ListingId,
        now: Timestamp,
    ) -> Result<Accepted<ListingDone>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let checked = self.market()?.check_archive(&asker, listing, now);
        self.change_listing(by, listing, checked.map(Checked::New), now)
    }

    /// Subscribes to a listing, or asks to. With an id that was used for the same one, nothing is
    /// done.
    ///
    /// - `subscription`: its id; the broker chooses one where none is given.
    /// - `terms_hash`: the terms that the organisation agrees to.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for the organisation, a listing that is not for it
    /// or takes no subscriptions, other terms, a subscription that it has already, a limit, or an
    /// entry that was not taken.
    pub fn subscribe_listing(
        &mut self,
        by: &Principal,
        subscription: Option<SubscriptionId>,
        listing: ListingId,
        terms_hash: Option<Digest>,
        now: Timestamp,
    ) -> Result<Accepted<SubscriptionDone>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let id = subscription.unwrap_or(SubscriptionId(self.new_uuid(now)));
        let new = NewSubscription {
            subscription: id,
            listing,
            terms_hash,
        };
        let checked = self.market()?.check_subscribe(&asker, &new, now);
        self.change_subscription(by, id, checked, now)
    }

    /// Says for the publisher what is to become of a subscription.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for the publisher, a subscription that is not there,
    /// what the table does not allow, or an entry that was not taken.
    pub fn approve_subscription(
        &mut self,
        by: &Principal,
        subscription: SubscriptionId,
        verdict: ApproveVerdict,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<Accepted<SubscriptionDone>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let checked = self.market()?;
        let checked = checked.check_approve(&asker, subscription, verdict, reason, now);
        self.change_subscription(by, subscription, checked.map(Checked::New), now)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// As for [`Broker::approve_subscription`], for the subscriber.
    pub fn cancel_subscription(
        &mut self,
        by: &Principal,
        subscription: SubscriptionId,
        now: Timestamp,
    ) -> Result<Accepted<SubscriptionDone>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let checked = self.market()?.check_cancel(&asker, subscription, now);
        self.change_subscription(by, subscription, checked.map(Checked::New), now)
    }

    /// Rates a listing that the organisation has used; a rating again replaces the one before.
    ///
    /// - `rating`: 1 to 5.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for the organisation, a listing that is not there,
    /// or its own, or that it has not used, a limit, or an entry that was not taken.
    pub fn rate_listing(
        &mut self,
        by: &Principal,
        listing: ListingId,
        rating: u8,
        comment: Option<String>,
        now: Timestamp,
    ) -> Result<Accepted<RatingSum>, Refusal> {
        let asker = self.org_asker(by, now)?;
        let checked = self.market()?;
        let record = checked.check_rate(&asker, listing, rating, comment, now);
        let wait = self.record_market(by.org, vec![record.map_err(refused)?], now)?;
        let market = self.market()?;
        let value = market.listing(listing).map(|listing| listing.rating);
        let value = value.ok_or_else(gone)?;
        Ok(Accepted { value, wait })
    }

    /// Records what becomes of a listing, and tells where it stands.
    fn change_listing(
        &mut self,
        by: &Principal,
        listing: ListingId,
        checked: Result<Checked, MarketError>,
        now: Timestamp,
    ) -> Result<Accepted<ListingDone>, Refusal> {
        let wait = self.record_checked(by.org, checked, now)?;
        let market = self.market()?;
        let held = market.listing(listing).ok_or_else(gone)?;
        let value = ListingDone {
            listing,
            state: held.state,
            revision: held.newest().1,
        };
        Ok(Accepted { value, wait })
    }

    fn change_subscription(
        &mut self,
        by: &Principal,
        subscription: SubscriptionId,
        checked: Result<Checked, MarketError>,
        now: Timestamp,
    ) -> Result<Accepted<SubscriptionDone>, Refusal> {
        let wait = self.record_checked(by.org, checked, now)?;
        let market = self.market()?;
        let held = market.subscription(subscription).ok_or_else(gone)?;
        let value = SubscriptionDone {
            subscription,
            state: held.state,
        };
        Ok(Accepted { value, wait })
    }

    fn record_checked(
        &mut self,
        org: OrgId,
        checked: Result<Checked, MarketError>,
        now: Timestamp,
    ) -> Result<Wait, BrokerError> {
        match checked.map_err(refused)? {
            Checked::New(record) => self.record_market(org, vec![record], now),
            Checked::Before => Ok(self.market_wait()),
        }
    }

    /// Records something of the market alone.
    pub(super) fn record_market(
        &mut self,
        org: OrgId,
        market: Vec<MarketRecord>,
        now: Timestamp,
    ) -> Result<Wait, BrokerError> {
        self.make_asp(org, now)?;
        let entry = Entry {
            market,
            ..Entry::default()
        };
        self.record_asp(org, &entry, Need::Producer, now)
    }
}

/// What the market refuses, as the broker answers it.
pub(super) fn refused(error: MarketError) -> BrokerError {
    AspError::from(error).into()
}

fn gone() -> BrokerError {
    BrokerError::Bug("what was just recorded on the market is gone".into())
}
