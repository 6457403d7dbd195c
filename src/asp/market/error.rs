//! Why something on the market is refused.

use super::table::{ListingState, ListingStep, ListingVoice};
use super::table::{SubscriptionState, SubscriptionStep, SubscriptionVoice};
use crate::asp::chain::Digest;
use crate::asp::commitment::OutOfLimit;
use crate::folding::IllegalEvent;
use crate::types::{ListingId, SubscriptionId};

/// Why something on the market is refused. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MarketError {
    /// There is no such listing, or it is not for whoever asks.
    #[error("there is no listing {0}")]
    ListingNotFound(ListingId),
    /// The id is no UUID of version 7.
    #[error("listing id {0} is not a UUID of version 7")]
    ListingIdVersion(ListingId),
    /// The id was used for another listing.
    #[error("listing id {listing} was used for another listing: {member} differs")]
    ListingIdTaken {
        /// The id.
        listing: ListingId,
        /// What differs.
        member: &'static str,
    },
    /// What a listing says breaks a rule.
    #[error("{field} `{value}` {rule}")]
    Invalid {
        /// The member, as in JSON.
        field: &'static str,
        /// What it says, at most 64 characters of it.
        value: String,
        /// The rule that it breaks.
        rule: &'static str,
    },
    /// The table has no such cell, or nothing is pending that the step could be about.
    #[error(
        "the {voice} may not {step} listing {listing}, which is {state}{}; allowed: {}",
        pending_words(*.pending),
        words(.allowed.iter().map(|step| step.name()))
    )]
    IllegalListing {
        /// The listing.
        listing: ListingId,
        /// Its state.
        state: ListingState,
        /// State of the content that is pending beside the published one.
        pending: Option<ListingState>,
        /// What was to be done.
        step: ListingStep,
        /// As whom.
        voice: ListingVoice,
        /// What that one may do.
        allowed: Vec<ListingStep>,
    },
    /// There is no such subscription, or the organisation has no side in it.
    #[error("there is no subscription {0}")]
    SubscriptionNotFound(SubscriptionId),
    /// The id is no UUID of version 7.
    #[error("subscription id {0} is not a UUID of version 7")]
    SubscriptionIdVersion(SubscriptionId),
    /// The id was used for another subscription.
    #[error("subscription id {subscription} was used for another subscription: {member} differs")]
    SubscriptionIdTaken {
        /// The id.
        subscription: SubscriptionId,
        /// What differs.
        member: &'static str,
    },
    /// The table has no such cell.
    #[error(
        "the {voice} may not {step} subscription {subscription}, which is {state}; allowed: {}",
        words(.allowed.iter().map(|step| step.name()))
    )]
    IllegalSubscription {
        /// The subscription.
        subscription: SubscriptionId,
        /// Its state.
        state: SubscriptionState,
        /// What was to be done.
        step: SubscriptionStep,
        /// As whom.
        voice: SubscriptionVoice,
        /// What that one may do.
        allowed: Vec<SubscriptionStep>,
    },
    /// The organisation has a subscription that has not ended.
    #[error("listing {listing} is subscribed to already, by subscription {subscription}")]
    AlreadySubscribed {
        /// The listing.
        listing: ListingId,
        /// The subscription.
        subscription: SubscriptionId,
    },
    /// It is the organisation's own.
    #[error("listing {0} is the organisation's own")]
    OwnListing(ListingId),
    /// It takes no subscriptions.
    #[error("listing {listing} is {state} and takes no new subscriptions")]
    Closed {
        /// The listing.
        listing: ListingId,
        /// Its state.
        state: ListingState,
    },
    /// It is subscribed to by invitation.
    #[error("listing {0} is subscribed to by invitation, and the organisation is not invited")]
    NotInvited(ListingId),
    /// The terms are not those that were named.
    #[error("the terms of listing {listing} are {actual}, not {expected}")]
    TermsChanged {
        /// The listing.
        listing: ListingId,
        /// The hash that was named.
        expected: Digest,
        /// The hash of its terms.
        actual: Digest,
    },
    /// The key speaks only for some agents.
    #[error("what an organisation does on the market needs a key that speaks for all its agents")]
    OrgKeyRequired,
    /// Who rates it has not used it.
    #[error("listing {0} was not used: no session was opened by a subscription to it")]
    NotUsed(ListingId),
    /// A reason must be given.
    #[error("to {step} a listing takes a reason")]
    ReasonRequired {
        /// What was to be done.
        step: ListingStep,
    },
    /// A limit is broken.
    #[error(transparent)]
    OutOfLimit(#[from] OutOfLimit),
    /// What was checked cannot follow, which is a fault of this program.
    #[error(transparent)]
    Bug(#[from] IllegalEvent),
}

fn pending_words(pending: Option<ListingState>) -> String {
    pending.map_or_else(String::new, |state| format!(" with a pending {state}"))
}

fn words(names: impl Iterator<Item = &'static str>) -> String {
    let names: Vec<&str> = names.collect();
    match names.is_empty() {
        true => "nothing".to_owned(),
        false => names.join(", "),
    }
}
