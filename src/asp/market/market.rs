//! The market, folded from [`MarketRecord`]s.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::content::Content;
use super::fold::MarketRow;
use super::listing::{Listing, Pending, Rating, RatingSum, Subscription};
use super::metering::{Count, Month, Use};
use super::record::{Approved, Listed, MarketRecord, Metered, Rated, Subscribed, Updated, Used};
use super::table::{
    ListingNext, ListingState, ListingStep, ListingVoice, SubscriptionState, SubscriptionStep,
    SubscriptionVoice, next_listing, next_subscription,
};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent};
use crate::types::{AgentName, ListingId, Offset, OrgId, SessionId, SubscriptionId, Timestamp};

/// All listings, subscriptions and ratings. A clone shares them, and takes a copy of one when that
/// one changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Market {
    pub(super) listings: BTreeMap<ListingId, Arc<Listing>>,
    pub(super) subscriptions: BTreeMap<SubscriptionId, Arc<Subscription>>,
    pub(super) ratings: BTreeMap<(ListingId, OrgId), Rating>,
    /// Sessions that are tied to a subscription and not metered.
    pub(super) uses: BTreeMap<(SessionId, SubscriptionId), Use>,
    /// Time of the last record.
    pub(super) at: Timestamp,
    of_owner: BTreeSet<(OrgId, ListingId)>,
    of_subscriber: BTreeSet<(OrgId, SubscriptionId)>,
    of_listing: BTreeSet<(ListingId, SubscriptionId)>,
    of_use: BTreeSet<(SubscriptionId, SessionId)>,
    /// The subscriptions that are active, by subscriber and publisher.
    active: BTreeSet<(OrgId, OrgId, SubscriptionId)>,
    assembly: Option<Assembly<MarketRow>>,
}

impl Market {
    /// Takes a record into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow; the state is unchanged.
    pub fn apply(&mut self, record: &MarketRecord, _: Offset) -> Result<(), IllegalEvent> {
        self.transition(record)
            .map_err(|rule| illegal(record, rule))
    }

    /// The listing of that id.
    #[must_use]
    pub fn listing(&self, listing: ListingId) -> Option<&Arc<Listing>> {
        self.listings.get(&listing)
    }

    /// All listings, the oldest first.
    pub fn listings(&self) -> impl Iterator<Item = &Arc<Listing>> {
        self.listings.values()
    }

    /// The listings of an organisation, the oldest first.
    pub fn listings_of(&self, org: OrgId) -> impl Iterator<Item = &Arc<Listing>> {
        let all = (org, ListingId(0))..=(org, ListingId(u128::MAX));
        let ids = self.of_owner.range(all);
        ids.filter_map(|(_, id)| self.listings.get(id))
    }

    /// The subscription of that id.
    #[must_use]
    pub fn subscription(&self, subscription: SubscriptionId) -> Option<&Arc<Subscription>> {
        self.subscriptions.get(&subscription)
    }

    /// The subscriptions of an organisation, the newest first.
    pub fn subscriptions_of(&self, org: OrgId) -> impl Iterator<Item = &Arc<Subscription>> {
        let all = (org, SubscriptionId(0))..=(org, SubscriptionId(u128::MAX));
        let ids = self.of_subscriber.range(all).rev();
        ids.filter_map(|(_, id)| self.subscriptions.get(id))
    }

    /// How many subscriptions of an organisation are held.
    pub(super) fn held_by(&self, org: OrgId) -> usize {
        let all = (org, SubscriptionId(0))..=(org, SubscriptionId(u128::MAX));
        self.of_subscriber.range(all).count()
    }

    /// The subscriptions to a listing, the newest first.
    pub fn subscriptions_to(&self, listing: ListingId) -> impl Iterator<Item = &Arc<Subscription>> {
        let all = (listing, SubscriptionId(0))..=(listing, SubscriptionId(u128::MAX));
        let ids = self.of_listing.range(all).rev();
        ids.filter_map(|(_, id)| self.subscriptions.get(id))
    }

    /// The last subscription of an organisation to a listing: the one that has not ended, where
    /// there is one.
    #[must_use]
    pub fn subscription_between(
        &self,
        listing: ListingId,
        org: OrgId,
    ) -> Option<&Arc<Subscription>> {
        let mut own = self.subscriptions_to(listing).filter(|one| one.org == org);
        let first = own.next()?;
        if first.state.is_terminal() {
            return Some(own.find(|one| !one.state.is_terminal()).unwrap_or(first));
        }
        Some(first)
    }

    /// How many subscriptions to a listing have not ended.
    #[must_use]
    pub fn subscribers(&self, listing: ListingId) -> usize {
        let all = self.subscriptions_to(listing);
        all.filter(|one| !one.state.is_terminal()).count()
    }

    /// What an organisation says of a listing.
    #[must_use]
    pub fn rating(&self, listing: ListingId, org: OrgId) -> Option<&Rating> {
        self.ratings.get(&(listing, org))
    }

    /// The sessions of a subscription that are not metered.
    pub fn uses_of(&self, subscription: SubscriptionId) -> impl Iterator<Item = &Use> {
        let all = (subscription, SessionId(0))..=(subscription, SessionId(u128::MAX));
        let sessions = self.of_use.range(all).map(|(_, session)| *session);
        sessions.filter_map(move |session| self.uses.get(&(session, subscription)))
    }

    /// The subscriptions that a session is tied to and not metered for.
    pub fn uses_in(&self, session: SessionId) -> impl Iterator<Item = &Use> {
        let all = (session, SubscriptionId(0))..=(session, SubscriptionId(u128::MAX));
        self.uses.range(all).map(|(_, one)| one)
    }

    /// All sessions that are not metered.
    pub fn uses(&self) -> impl Iterator<Item = &Use> {
        self.uses.values()
    }

    /// The subscription that shows an organisation an agent of another, as a grant of the operation
    /// `asp` would: the oldest of those that are active and whose listing has the agent.
    #[must_use]
    pub fn shows(&self, owner: OrgId, agent: &str, guest: OrgId) -> Option<SubscriptionId> {
        self.given(guest, owner)
            .find(|(_, listing)| has_agent(listing, agent))
            .map(|(subscription, _)| subscription)
    }

    /// The organisations that an organisation subscribed to something of, or that did to something
    /// of its own, and were let in.
    pub fn dealt_with(&self, org: OrgId) -> impl Iterator<Item = OrgId> {
        let own = self.subscriptions_of(org);
        let listings = self.listings_of(org);
        let others = listings.flat_map(|listing| self.subscriptions_to(listing.listing));
        let all = own.chain(others).filter(|one| one.active_since.is_some());
        all.flat_map(|one| [one.org, one.publisher])
    }

    /// When the last subscription ended that showed an organisation an agent of another; none where
    /// none did, or one that did has not ended.
    #[must_use]
    pub fn shown_until(&self, owner: OrgId, agent: &str, guest: OrgId) -> Option<Timestamp> {
        let showed = self.subscriptions_of(guest).filter(|one| {
            let listing = self.listings.get(&one.listing);
            one.publisher == owner
                && one.active_since.is_some()
                && listing.is_some_and(|listing| has_agent(listing, agent))
        });
        let ends: Option<Vec<Timestamp>> = showed.map(|one| one.ended_at).collect();
        ends?.into_iter().max()
    }

    /// The agents of an organisation that subscriptions show another.
    pub fn shown(&self, owner: OrgId, guest: OrgId) -> impl Iterator<Item = &AgentName> {
        self.given(guest, owner)
            .flat_map(|(_, listing)| &listing.content.agents)
    }

    fn given(
        &self,
        guest: OrgId,
        owner: OrgId,
    ) -> impl Iterator<Item = (SubscriptionId, &Arc<Listing>)> {
        let first = (guest, owner, SubscriptionId(0));
        let last = (guest, owner, SubscriptionId(u128::MAX));
        let active = self.active.range(first..=last);
        active.filter_map(|(_, _, id)| {
            let listing = self.listings.get(&self.subscriptions.get(id)?.listing)?;
            listing.gives().then_some((*id, listing))
        })
    }

    /// The time that a record gets: the clock's, but never one before the last record's.
    #[must_use]
    pub fn stamp(&self, now: Timestamp) -> Timestamp {
        now.max(self.at)
    }

    fn transition(&mut self, record: &MarketRecord) -> Result<(), &'static str> {
        match record {
            MarketRecord::Unknown { .. } => return Ok(()),
            MarketRecord::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                return Ok(());
            }
            _ if self.assembly.is_some() => return Err(BETWEEN_PARTS),
            _ => {}
        }
        let at = record.at().unwrap_or(self.at);
        if at < self.at {
            return Err("its time lies before that of the record before it");
        }
        match record {
            MarketRecord::Listed(listed) => self.list(listed)?,
            MarketRecord::Updated(updated) => self.update(updated)?,
            MarketRecord::Submitted(moved) => {
                self.step(moved.listing, ListingStep::Submit, None, at)?;
            }
            MarketRecord::Archived(moved) => {
                self.step(moved.listing, ListingStep::Archive, None, at)?;
            }
            MarketRecord::Reviewed(reviewed) => {
                let step = reviewed.decision.step();
                let reason = Some(reviewed.reason.clone());
                self.step(reviewed.listing, step, reason, at)?;
            }
            MarketRecord::Subscribed(subscribed) => self.subscribe(subscribed)?,
            MarketRecord::Approved(approved) => self.judge(approved)?,
            MarketRecord::Cancelled(cancelled) => {
                let step = SubscriptionStep::Cancel;
                let mut one = self.next(cancelled.subscription, step, at)?;
                one.reason = None;
                self.put_subscription(Arc::new(one));
            }
            MarketRecord::Used(used) => self.use_it(used)?,
            MarketRecord::Metered(metered) => self.meter(metered)?,
            MarketRecord::Rated(rated) => self.rate(rated)?,
            MarketRecord::Folded(_) | MarketRecord::Unknown { .. } => {}
        }
        self.at = at;
        Ok(())
    }

    fn list(&mut self, listed: &Listed) -> Result<(), &'static str> {
        if self.listings.contains_key(&listed.listing) {
            return Err("the listing is there already");
        }
        self.put_listing(Arc::new(Listing {
            listing: listed.listing,
            org: listed.org,
            state: ListingState::Draft,
            content: Arc::clone(&listed.content),
            revision: 1,
            pending: None,
            suspended_from: None,
            reason: None,
            created: listed.content.digest(),
            created_at: listed.at,
            updated_at: listed.at,
            published_at: None,
            rating: RatingSum::default(),
        }));
        Ok(())
    }

    fn update(&mut self, updated: &Updated) -> Result<(), &'static str> {
        let mut listing = self.known(updated.listing)?;
        let next = next_listing(listing.state, ListingStep::Update, ListingVoice::Owner);
        match next {
            Some(ListingNext::Back) => listing.state = listing.back(),
            Some(ListingNext::Stays) => {}
            _ => return Err("its state does not allow the step"),
        }
        let revision = listing.newest().1 + 1;
        listing.updated_at = updated.at;
        if listing.is_approved() {
            listing.pending = Some(Pending {
                content: Arc::clone(&updated.content),
                revision,
                state: ListingState::Draft,
            });
        } else {
            listing.content = Arc::clone(&updated.content);
            listing.revision = revision;
        }
        self.put_listing(Arc::new(listing));
        Ok(())
    }

    /// What a step makes of a listing, but for an update.
    ///
    /// - `reason`: that of a review.
    fn step(
        &mut self,
        id: ListingId,
        step: ListingStep,
        reason: Option<Option<String>>,
        at: Timestamp,
    ) -> Result<(), &'static str> {
        let mut listing = self.known(id)?;
        check_listing(&listing, step).ok_or("its state does not allow the step")?;
        take_step(&mut listing, step, at);
        listing.updated_at = at;
        if let Some(reason) = reason {
            listing.reason = reason;
        }
        self.put_listing(Arc::new(listing));
        Ok(())
    }

    fn subscribe(&mut self, subscribed: &Subscribed) -> Result<(), &'static str> {
        let listing = self.known(subscribed.listing)?;
        if self.subscriptions.contains_key(&subscribed.subscription) {
            return Err("the subscription is there already");
        }
        if listing.org == subscribed.org {
            return Err("it is the organisation's own listing");
        }
        if listing.state != ListingState::Published {
            return Err("the listing takes no subscriptions");
        }
        let is_active = match subscribed.state {
            SubscriptionState::Active => true,
            SubscriptionState::Requested => false,
            _ => return Err("a subscription begins as requested or active"),
        };
        let own = self.subscriptions_to(subscribed.listing);
        let own: Vec<_> = own.filter(|one| one.org == subscribed.org).collect();
        if own.iter().any(|one| !one.state.is_terminal()) {
            return Err("the organisation has a subscription that has not ended");
        }
        let own = own.into_iter().filter(|one| one.is_forgettable());
        let forgotten: Vec<SubscriptionId> = own.map(|one| one.subscription).collect();
        for id in forgotten {
            self.forget_subscription(id);
        }
        self.put_subscription(Arc::new(Subscription {
            subscription: subscribed.subscription,
            listing: subscribed.listing,
            org: subscribed.org,
            publisher: listing.org,
            state: subscribed.state,
            pricing: subscribed.pricing.clone(),
            terms_hash: subscribed.terms_hash,
            requested_at: subscribed.at,
            active_since: is_active.then_some(subscribed.at),
            running_since: is_active.then_some(subscribed.at),
            ended_at: None,
            reason: None,
            active_months: Vec::new(),
            months: BTreeMap::new(),
        }));
        Ok(())
    }

    fn judge(&mut self, approved: &Approved) -> Result<(), &'static str> {
        let step = approved.decision.step();
        let mut one = self.next(approved.subscription, step, approved.at)?;
        one.reason.clone_from(&approved.reason);
        self.put_subscription(Arc::new(one));
        Ok(())
    }

    /// A subscription after a step.
    fn next(
        &self,
        id: SubscriptionId,
        step: SubscriptionStep,
        at: Timestamp,
    ) -> Result<Subscription, &'static str> {
        let known = self.subscriptions.get(&id);
        let known = known.ok_or("there is no such subscription")?;
        let next = next_subscription(known.state, step, voice_of(step));
        let next = next.ok_or("its state does not allow the step")?;
        let mut one = Subscription::clone(known);
        one.state = next;
        if next == SubscriptionState::Active {
            one.active_since = one.active_since.or(Some(at));
            one.running_since = Some(at);
        } else {
            one.pause(at);
        }
        if next.is_terminal() {
            one.ended_at = Some(at);
        }
        Ok(one)
    }

    fn use_it(&mut self, used: &Used) -> Result<(), &'static str> {
        let known = self.subscriptions.get(&used.subscription);
        let known = known.ok_or("there is no such subscription")?;
        if known.state != SubscriptionState::Active {
            return Err("the subscription is not active");
        }
        if used.agents.is_empty() || !used.agents.is_sorted_by(|one, next| one < next) {
            return Err("its agents are not there, or not in order");
        }
        let key = (used.session, used.subscription);
        if let Some(of) = self.uses.get_mut(&key) {
            if used.before.messages != 0 || used.host != of.host {
                return Err("it does not say the same of the session as before");
            }
            of.before.calls = of.before.calls.saturating_add(used.before.calls);
            let all: BTreeSet<_> = of.agents.iter().chain(&used.agents).copied().collect();
            of.agents = all.into_iter().collect();
            return Ok(());
        }
        let mut one = Subscription::clone(known);
        one.months.entry(Month::of(used.at)).or_default().sessions += 1;
        self.put_subscription(Arc::new(one));
        let of = Use {
            agents: used.agents.clone(),
            at: used.at,
            before: used.before,
            host: used.host,
            session: used.session,
            subscription: used.subscription,
        };
        self.put_use(of);
        Ok(())
    }

    fn meter(&mut self, metered: &Metered) -> Result<(), &'static str> {
        if metered.lost && metered.count != Count::default() {
            return Err("what is lost counts nothing");
        }
        let key = (metered.session, metered.subscription);
        let of = self.uses.get(&key);
        let of = of.ok_or("the session is not tied to the subscription, or metered already")?;
        let known = self.subscriptions.get(&metered.subscription);
        let mut one = Subscription::clone(known.ok_or("there is no such subscription")?);
        *one.months.entry(Month::of(of.at)).or_default() += metered.count;
        self.uses.remove(&key);
        self.of_use.remove(&(metered.subscription, metered.session));
        self.put_subscription(Arc::new(one));
        Ok(())
    }

    fn rate(&mut self, rated: &Rated) -> Result<(), &'static str> {
        let mut listing = self.known(rated.listing)?;
        if !(1..=5).contains(&rated.rating) {
            return Err("the rating is outside 1..=5");
        }
        if !self.has_used(rated.listing, rated.org) {
            return Err("the organisation has not used it");
        }
        let key = (rated.listing, rated.org);
        let before = self.ratings.get(&key).map(|before| before.rating);
        listing.rating = listing.rating.with(before, rated.rating);
        self.ratings.insert(
            key,
            Rating {
                at: rated.at,
                by: rated.by,
                comment: rated.comment.clone(),
                rating: rated.rating,
            },
        );
        self.put_listing(Arc::new(listing));
        Ok(())
    }

    /// Whether an organisation has opened a session by a subscription to a listing.
    #[must_use]
    pub fn has_used(&self, listing: ListingId, org: OrgId) -> bool {
        let mut all = self.subscriptions_to(listing);
        all.any(|one| one.org == org && one.is_used())
    }

    fn known(&self, listing: ListingId) -> Result<Listing, &'static str> {
        let known = self.listings.get(&listing);
        known
            .map(|known| Listing::clone(known))
            .ok_or("there is no such listing")
    }

    /// Puts a listing in the place of the one before, which is given back.
    pub(super) fn put_listing(&mut self, listing: Arc<Listing>) -> Option<Arc<Listing>> {
        self.of_owner.insert((listing.org, listing.listing));
        self.listings.insert(listing.listing, listing)
    }

    /// Puts a subscription in the place of the one before, which is given back.
    pub(super) fn put_subscription(&mut self, one: Arc<Subscription>) -> Option<Arc<Subscription>> {
        let id = one.subscription;
        self.of_subscriber.insert((one.org, id));
        self.of_listing.insert((one.listing, id));
        let key = (one.org, one.publisher, id);
        if one.state == SubscriptionState::Active {
            self.active.insert(key);
        } else {
            self.active.remove(&key);
        }
        self.subscriptions.insert(id, one)
    }

    /// Ties a session to a subscription, in the place of what tied it before, which is given back.
    pub(super) fn put_use(&mut self, of: Use) -> Option<Use> {
        self.of_use.insert((of.subscription, of.session));
        self.uses.insert((of.session, of.subscription), of)
    }

    fn forget_subscription(&mut self, id: SubscriptionId) {
        if let Some(one) = self.subscriptions.remove(&id) {
            self.of_subscriber.remove(&(one.org, id));
            self.of_listing.remove(&(one.listing, id));
            self.active.remove(&(one.org, one.publisher, id));
        }
    }
}

/// Who takes a step of a listing.
pub(super) fn voice_of_listing(step: ListingStep) -> ListingVoice {
    match step {
        ListingStep::Update | ListingStep::Submit | ListingStep::Archive => ListingVoice::Owner,
        ListingStep::Approve
        | ListingStep::Reject
        | ListingStep::Suspend
        | ListingStep::Restore => ListingVoice::Operator,
    }
}

/// Who takes a step of a subscription.
pub(super) fn voice_of(step: SubscriptionStep) -> SubscriptionVoice {
    match step {
        SubscriptionStep::Cancel => SubscriptionVoice::Subscriber,
        _ => SubscriptionVoice::Publisher,
    }
}

/// What a step does to a listing; none where it is not allowed. Beside a published content, a step
/// about what is pending needs that in the right state.
pub(super) fn check_listing(listing: &Listing, step: ListingStep) -> Option<ListingNext> {
    let next = next_listing(listing.state, step, voice_of_listing(step))?;
    let is_about_pending = next == ListingNext::Stays && step != ListingStep::Update;
    let needs = match step {
        ListingStep::Submit => ListingState::Draft,
        _ => ListingState::InReview,
    };
    if is_about_pending && listing.pending_state() != Some(needs) {
        return None;
    }
    Some(next)
}

/// Takes a step that [`check_listing`] let through.
fn take_step(listing: &mut Listing, step: ListingStep, at: Timestamp) {
    let next = check_listing(listing, step);
    let before = listing.state;
    match next {
        Some(ListingNext::To(state)) => listing.state = state,
        Some(ListingNext::Back) => listing.state = listing.back(),
        Some(ListingNext::Stays) | None => {}
    }
    match step {
        ListingStep::Update => {}
        ListingStep::Submit => pending_to(listing, ListingState::InReview),
        ListingStep::Reject | ListingStep::Archive => pending_to(listing, ListingState::Draft),
        ListingStep::Approve => {
            if let Some(pending) = listing.pending.take() {
                listing.content = pending.content;
                listing.revision = pending.revision;
            }
            listing.published_at = Some(at);
        }
        ListingStep::Suspend => listing.suspended_from = Some(before),
        ListingStep::Restore => listing.suspended_from = None,
    }
}

fn pending_to(listing: &mut Listing, state: ListingState) {
    if let Some(pending) = &mut listing.pending {
        pending.state = state;
    }
}

fn has_agent(listing: &Listing, agent: &str) -> bool {
    let content: &Content = &listing.content;
    content.agents.iter().any(|one| one.as_str() == agent)
}

fn illegal(record: &MarketRecord, rule: &'static str) -> IllegalEvent {
    let subject = match (record.subscription(), record.listing(), record) {
        (Some(subscription), ..) => format!("subscription {subscription}"),
        (None, Some(listing), _) => format!("listing {listing}"),
        (None, None, MarketRecord::Folded(part)) => {
            format!("part {} of {}", part.part, part.parts)
        }
        (None, None, _) => "nothing known".to_owned(),
    };
    IllegalEvent {
        event: record.record_type().to_owned(),
        subject,
        rule,
    }
}
