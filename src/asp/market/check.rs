//! What may be done on the market, judged before anything is written.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::content::{
    Content, ContentChange, ListingAccess, MAX_COMMENT_CHARS, MAX_REASON_CHARS, Visibility,
};
use super::error::MarketError;
use super::listing::{Listing, Subscription};
use super::market::{Market, check_listing, voice_of, voice_of_listing};
use super::metering::{Count, Month, Tally, Usage, Use};
use super::pricing::Pricing;
use super::record::{
    Approved, Cancelled, Listed, MarketRecord, Metered, Moved, Rated, Reviewed, Subscribed,
    Updated, Used,
};
use super::table::{
    ApproveVerdict, ListingState, ListingStep, ReviewVerdict, SubscriptionState, SubscriptionStep,
    allowed_listing, allowed_subscription, next_subscription,
};
use crate::asp::chain::Digest;
use crate::asp::commitment::{wide, within};
use crate::types::{
    AgentId, ListingId, OrgId, OrgName, PrincipalId, SessionId, SubscriptionId, Timestamp,
};

/// Most listings of an organisation that are not archived.
pub const MAX_LISTINGS: usize = 1_000;
/// Most subscriptions of an organisation that are held: those that have not ended, and those with
/// something to be paid.
pub const MAX_SUBSCRIPTIONS: usize = 10_000;

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asker {
    /// Which organisation.
    pub org: OrgId,
    /// Its name, as listings invite it.
    pub name: OrgName,
    /// Who speaks for it.
    pub by: PrincipalId,
    /// Whether they look after the broker as a whole.
    pub is_operator: bool,
}

/// A subscription to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NewSubscription {
    /// Its id.
    pub subscription: SubscriptionId,
    /// To what.
    pub listing: ListingId,
    /// The terms that the subscriber agrees to; whatever they are where none are named.
    pub terms_hash: Option<Digest>,
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It is to be recorded.
    New(MarketRecord),
    /// It was done before, or changes nothing.
    Before,
}

impl Market {
    /// Whether somebody may see a listing at all: its owner, an operator, who subscribed to it, and
    /// once it was published whoever it is for.
    #[must_use]
    pub fn sees(&self, asker: &Asker, listing: &Listing) -> bool {
        if listing.org == asker.org || asker.is_operator {
            return true;
        }
        let is_for = listing.content.visibility != Visibility::InviteOnly
            || listing.content.invites(&asker.name);
        let has_one = || {
            let own = self.subscription_between(listing.listing, asker.org);
            own.is_some_and(|own| !own.state.is_terminal())
        };
        listing.is_approved() && (is_for || has_one())
    }

    /// A listing that somebody may see.
    ///
    /// # Errors
    /// [`MarketError::ListingNotFound`].
    pub fn seen(&self, asker: &Asker, id: ListingId) -> Result<&Arc<Listing>, MarketError> {
        let listing = self.listing(id).filter(|one| self.sees(asker, one));
        listing.ok_or(MarketError::ListingNotFound(id))
    }

    /// A subscription, for its two sides and an operator.
    ///
    /// # Errors
    /// [`MarketError::SubscriptionNotFound`].
    pub fn sided(
        &self,
        asker: &Asker,
        id: SubscriptionId,
    ) -> Result<&Arc<Subscription>, MarketError> {
        let has_side = |one: &&Arc<Subscription>| {
            asker.is_operator || one.org == asker.org || one.publisher == asker.org
        };
        let one = self.subscription(id).filter(has_side);
        one.ok_or(MarketError::SubscriptionNotFound(id))
    }

    /// A new listing. With an id that was used for the same one, nothing happens.
    ///
    /// # Errors
    /// [`MarketError`] for a content that breaks a rule, an id that was used for another, and a
    /// limit.
    pub fn check_list(
        &self,
        asker: &Asker,
        id: ListingId,
        content: Content,
        now: Timestamp,
    ) -> Result<Checked, MarketError> {
        let taken = |member| MarketError::ListingIdTaken {
            listing: id,
            member,
        };
        if let Some(known) = self.listing(id) {
            return match known {
                known if known.org != asker.org => Err(taken("organisation")),
                known if known.created != content.digest() => Err(taken("content")),
                _ => Ok(Checked::Before),
            };
        }
        if !id.is_version_7() {
            return Err(MarketError::ListingIdVersion(id));
        }
        content.check()?;
        self.has_room(asker.org)?;
        Ok(Checked::New(MarketRecord::Listed(Listed {
            at: self.stamp(now),
            by: asker.by,
            content: Arc::new(content),
            listing: id,
            org: asker.org,
        })))
    }

    fn has_room(&self, org: OrgId) -> Result<(), MarketError> {
        let own = self.listings_of(org).filter(|listing| listing.counts());
        let count = wide(own.count() + 1);
        Ok(within("listings", count, 1, wide(MAX_LISTINGS))?)
    }

    fn own(&self, asker: &Asker, id: ListingId) -> Result<&Arc<Listing>, MarketError> {
        let own = self.listing(id).filter(|listing| listing.org == asker.org);
        own.ok_or(MarketError::ListingNotFound(id))
    }

    /// Another content of a listing: beside the published one, where it was published. One that
    /// changes nothing is not recorded.
    ///
    /// # Errors
    /// [`MarketError`] for a listing of another organisation, a content that breaks a rule, and
    /// where the table does not allow it.
    pub fn check_update(
        &self,
        asker: &Asker,
        id: ListingId,
        change: ContentChange,
        now: Timestamp,
    ) -> Result<Checked, MarketError> {
        let listing = self.own(asker, id)?;
        may_step(listing, ListingStep::Update)?;
        let before = listing.newest().0;
        let content = before.changed(change);
        if content == **before {
            return Ok(Checked::Before);
        }
        content.check()?;
        Ok(Checked::New(MarketRecord::Updated(Updated {
            at: self.stamp(now),
            by: asker.by,
            content: Arc::new(content),
            listing: id,
        })))
    }

    /// Hands a listing in for review, or what is pending beside its published content.
    ///
    /// # Errors
    /// [`MarketError`] for a listing of another organisation, one too many of them, and where the
    /// table does not allow it.
    pub fn check_submit(
        &self,
        asker: &Asker,
        id: ListingId,
        now: Timestamp,
    ) -> Result<MarketRecord, MarketError> {
        let listing = self.own(asker, id)?;
        may_step(listing, ListingStep::Submit)?;
        if !listing.counts() {
            self.has_room(asker.org)?;
        }
        Ok(MarketRecord::Submitted(self.moved(asker, id, now)))
    }

    /// Takes a listing down.
    ///
    /// # Errors
    /// As for [`Market::check_submit`].
    pub fn check_archive(
        &self,
        asker: &Asker,
        id: ListingId,
        now: Timestamp,
    ) -> Result<MarketRecord, MarketError> {
        may_step(self.own(asker, id)?, ListingStep::Archive)?;
        Ok(MarketRecord::Archived(self.moved(asker, id, now)))
    }

    fn moved(&self, asker: &Asker, listing: ListingId, now: Timestamp) -> Moved {
        Moved {
            at: self.stamp(now),
            by: asker.by,
            listing,
        }
    }

    /// What an operator says of a listing; whether they are one is judged elsewhere.
    ///
    /// # Errors
    /// [`MarketError`] for a listing that is not there, a reason that is missing or too long, and
    /// where the table does not allow it.
    pub fn check_review(
        &self,
        asker: &Asker,
        id: ListingId,
        decision: ReviewVerdict,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<MarketRecord, MarketError> {
        let listing = self.listing(id).ok_or(MarketError::ListingNotFound(id))?;
        may_step(listing, decision.step())?;
        let reason = reason.filter(|reason| !reason.is_empty());
        check_reason(reason.as_deref())?;
        if decision.needs_reason() && reason.is_none() {
            let step = decision.step();
            return Err(MarketError::ReasonRequired { step });
        }
        Ok(MarketRecord::Reviewed(Reviewed {
            at: self.stamp(now),
            by: asker.by,
            decision,
            listing: id,
            reason,
        }))
    }

    /// A subscription, active at once or requested, as the listing's access is.
    ///
    /// # Errors
    /// [`MarketError`] for a listing that is not for the asker, or their own, or takes none, for
    /// other terms, for an organisation that is not invited or has a subscription already, for an
    /// id that was used for another, and for a limit.
    pub fn check_subscribe(
        &self,
        asker: &Asker,
        new: &NewSubscription,
        now: Timestamp,
    ) -> Result<Checked, MarketError> {
        let NewSubscription {
            subscription,
            listing: id,
            terms_hash,
        } = *new;
        if let Some(known) = self.subscription(subscription) {
            let taken = |member| MarketError::SubscriptionIdTaken {
                subscription,
                member,
            };
            return match known {
                known if known.org != asker.org => Err(taken("organisation")),
                known if known.listing != id => Err(taken("listingId")),
                _ => Ok(Checked::Before),
            };
        }
        if !subscription.is_version_7() {
            return Err(MarketError::SubscriptionIdVersion(subscription));
        }
        let listing = self.seen(asker, id)?;
        if listing.org == asker.org {
            return Err(MarketError::OwnListing(id));
        }
        if listing.state != ListingState::Published {
            return Err(MarketError::Closed {
                listing: id,
                state: listing.state,
            });
        }
        let actual = listing.content.terms_hash();
        if let Some(expected) = terms_hash.filter(|expected| *expected != actual) {
            return Err(MarketError::TermsChanged {
                listing: id,
                expected,
                actual,
            });
        }
        let content = &listing.content;
        let by_invitation = content.access == ListingAccess::ByInvitation
            || content.visibility == Visibility::InviteOnly;
        if by_invitation && !content.invites(&asker.name) {
            return Err(MarketError::NotInvited(id));
        }
        let own = self.subscription_between(id, asker.org);
        if let Some(own) = own.filter(|own| !own.state.is_terminal()) {
            return Err(MarketError::AlreadySubscribed {
                listing: id,
                subscription: own.subscription,
            });
        }
        let held = wide(self.held_by(asker.org) + 1);
        within("subscriptions", held, 1, wide(MAX_SUBSCRIPTIONS))?;
        Ok(Checked::New(MarketRecord::Subscribed(Subscribed {
            at: self.stamp(now),
            by: asker.by,
            listing: id,
            org: asker.org,
            pricing: content.pricing.clone(),
            state: match content.access {
                ListingAccess::OnRequest => SubscriptionState::Requested,
                ListingAccess::Open | ListingAccess::ByInvitation => SubscriptionState::Active,
            },
            subscription,
            terms_hash: actual,
        })))
    }

    /// What a publisher says of a subscription.
    ///
    /// # Errors
    /// [`MarketError`] for a subscription to another organisation's listing, a reason that is too
    /// long, and where the table does not allow it.
    pub fn check_approve(
        &self,
        asker: &Asker,
        id: SubscriptionId,
        decision: ApproveVerdict,
        reason: Option<String>,
        now: Timestamp,
    ) -> Result<MarketRecord, MarketError> {
        let one = self.subscription(id);
        let one = one.filter(|one| one.publisher == asker.org);
        let one = one.ok_or(MarketError::SubscriptionNotFound(id))?;
        may_step_subscription(one, decision.step())?;
        let reason = reason.filter(|reason| !reason.is_empty());
        check_reason(reason.as_deref())?;
        Ok(MarketRecord::Approved(Approved {
            at: self.stamp(now),
            by: asker.by,
            decision,
            reason,
            subscription: id,
        }))
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// [`MarketError`] for a subscription of another organisation, and where the table does not
    /// allow it.
    pub fn check_cancel(
        &self,
        asker: &Asker,
        id: SubscriptionId,
        now: Timestamp,
    ) -> Result<MarketRecord, MarketError> {
        let one = self.subscription(id).filter(|one| one.org == asker.org);
        let one = one.ok_or(MarketError::SubscriptionNotFound(id))?;
        may_step_subscription(one, SubscriptionStep::Cancel)?;
        Ok(MarketRecord::Cancelled(Cancelled {
            at: self.stamp(now),
            by: asker.by,
            subscription: id,
        }))
    }

    /// Rates a listing; a rating again replaces the one before.
    ///
    /// # Errors
    /// [`MarketError`] for a listing that is not for the asker, or their own, or was not used by
    /// them, and for a limit.
    pub fn check_rate(
        &self,
        asker: &Asker,
        id: ListingId,
        rating: u8,
        comment: Option<String>,
        now: Timestamp,
    ) -> Result<MarketRecord, MarketError> {
        let has_used = self.has_used(id, asker.org);
        let listing = self.listing(id);
        let listing = listing.filter(|listing| has_used || self.sees(asker, listing));
        let listing = listing.ok_or(MarketError::ListingNotFound(id))?;
        if listing.org == asker.org {
            return Err(MarketError::OwnListing(id));
        }
        within("rating", rating.into(), 1, 5)?;
        let comment = comment.filter(|comment| !comment.is_empty());
        let chars = comment.as_ref().map_or(0, |text| text.chars().count());
        within(
            "comment characters",
            wide(chars),
            0,
            wide(MAX_COMMENT_CHARS),
        )?;
        if !has_used {
            return Err(MarketError::NotUsed(id));
        }
        Ok(MarketRecord::Rated(Rated {
            at: self.stamp(now),
            by: asker.by,
            comment,
            listing: id,
            org: asker.org,
            rating,
        }))
    }

    /// What ties a session to a subscription; none where nothing is to be recorded.
    ///
    /// - `agents`: those that needed it.
    /// - `counted`: what the session holds of the subscriber's use of some agents, from its
    ///   beginning, before they come in.
    #[must_use]
    pub fn use_record(
        &self,
        subscription: SubscriptionId,
        (session, host): (SessionId, OrgId),
        mut agents: Vec<AgentId>,
        counted: impl Fn(&[AgentId]) -> Count,
        now: Timestamp,
    ) -> Option<MarketRecord> {
        let known = self.uses.get(&(session, subscription));
        agents.sort_unstable();
        agents.dedup();
        if let Some(known) = known {
            agents.retain(|agent| !known.agents.contains(agent));
        }
        if agents.is_empty() {
            return None;
        }
        let mut before = counted(&agents);
        if known.is_some() {
            // What was given to nobody in particular and what was said counts already.
            before.calls = before.since(counted(&[])).calls;
            before.messages = 0;
        }
        Some(MarketRecord::Used(Used {
            agents,
            at: self.stamp(now),
            before,
            host,
            session,
            subscription,
        }))
    }

    /// What meters a session that ends, for each subscription that it is tied to.
    ///
    /// - `count`: what the session holds of a use from its beginning; none where it is no longer
    ///   held.
    pub fn meter_records(
        &self,
        session: SessionId,
        count: impl Fn(&Use, OrgId) -> Option<Count>,
        now: Timestamp,
    ) -> Vec<MarketRecord> {
        let metered = self.uses_in(session).map(|of| {
            let subscriber = self.subscription(of.subscription).map(|one| one.org);
            let counted = subscriber.and_then(|org| count(of, org));
            MarketRecord::Metered(Metered {
                at: self.stamp(now),
                count: counted.map_or_else(Count::default, |all| all.since(of.before)),
                lost: counted.is_none(),
                session,
                subscription: of.subscription,
            })
        });
        metered.collect()
    }

    /// What a subscription was used for in the months that meet a time, and what that costs.
    ///
    /// - `count`: what a session that is not metered holds of a use from its beginning; none where
    ///   it is no longer held.
    /// - `since`, `until`: from the month of the one up to that of the other.
    ///
    /// # Errors
    /// [`MarketError::SubscriptionNotFound`].
    pub fn usage(
        &self,
        id: SubscriptionId,
        count: impl Fn(&Use, OrgId) -> Option<Count>,
        since: Option<Timestamp>,
        until: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Usage, MarketError> {
        let one = self.subscription(id);
        let one = one.ok_or(MarketError::SubscriptionNotFound(id))?;
        let mut tallies: BTreeMap<Month, Tally> = one.months.clone();
        for of in self.uses_of(id) {
            if let Some(all) = count(of, one.org) {
                *tallies.entry(Month::of(of.at)).or_default() += all.since(of.before);
            }
        }
        if matches!(one.pricing, Pricing::Monthly { .. }) {
            for (first, last) in one.active_months.iter().copied().chain(one.run(now)) {
                let mut month = first;
                while month <= last {
                    tallies.entry(month).or_default();
                    if month == month.next() {
                        break;
                    }
                    month = month.next();
                }
            }
        }
        let (since, until) = (since.map(Month::of), until.map(Month::of));
        tallies.retain(|month, _| {
            since.is_none_or(|since| *month >= since) && until.is_none_or(|until| *month <= until)
        });
        let is_active = |month| one.is_active_in(month, now);
        Ok(Usage::of(&one.pricing, &tallies, is_active))
    }
}

fn may_step(listing: &Listing, step: ListingStep) -> Result<(), MarketError> {
    if check_listing(listing, step).is_some() {
        return Ok(());
    }
    let voice = voice_of_listing(step);
    let mut allowed = allowed_listing(listing.state, voice);
    allowed.retain(|step| check_listing(listing, *step).is_some());
    Err(MarketError::IllegalListing {
        listing: listing.listing,
        state: listing.state,
        pending: listing.pending_state(),
        step,
        voice,
        allowed,
    })
}

fn may_step_subscription(one: &Subscription, step: SubscriptionStep) -> Result<(), MarketError> {
    let voice = voice_of(step);
    if next_subscription(one.state, step, voice).is_some() {
        return Ok(());
    }
    Err(MarketError::IllegalSubscription {
        subscription: one.subscription,
        state: one.state,
        step,
        voice,
        allowed: allowed_subscription(one.state, voice),
    })
}

fn check_reason(reason: Option<&str>) -> Result<(), MarketError> {
    let chars = reason.map_or(0, |reason| reason.chars().count());
    Ok(within(
        "reason characters",
        wide(chars),
        0,
        wide(MAX_REASON_CHARS),
    )?)
}
