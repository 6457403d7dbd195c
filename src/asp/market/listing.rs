//! One listing, one subscription, one rating, as their records have left them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::metering::{Month, Tally};
use super::pricing::Pricing;
use super::table::{ListingState, SubscriptionState};
use crate::asp::chain::Digest;
use crate::asp::shared;
use crate::types::{ListingId, OrgId, PrincipalId, SubscriptionId, Timestamp};

/// A listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Listing {
    /// Its identity.
    pub listing: ListingId,
    /// Whose it is.
    pub org: OrgId,
    /// Where it stands.
    pub state: ListingState,
    /// What is shown and subscribed to: what was approved last, or the draft where nothing was.
    #[serde(with = "shared")]
    pub content: Arc<Content>,
    /// Number of that content among all that the owner wrote, from 1.
    pub revision: u64,
    /// What is to replace it once it is approved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pending: Option<Pending>,
    /// Where it goes back to when it is restored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspended_from: Option<ListingState>,
    /// The reason of the last review.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Digest of the content that it was created with.
    pub created: Digest,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was changed last.
    pub updated_at: Timestamp,
    /// When its content was approved last; none where it never was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub published_at: Option<Timestamp>,
    /// What it is rated.
    pub rating: RatingSum,
}

/// Content beside the published one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The content.
    #[serde(with = "shared")]
    pub content: Arc<Content>,
    /// Its number among all that the owner wrote.
    pub revision: u64,
    /// A draft, or in review.
    pub state: ListingState,
}

/// What all ratings of a listing come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RatingSum {
    /// How many there are.
    pub count: u64,
    /// Their sum.
    pub sum: u64,
}

/// What an organisation says of a listing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rating {
    /// When.
    pub at: Timestamp,
    /// On whose word.
    pub by: PrincipalId,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// 1 to 5.
    pub rating: u8,
}

/// A subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscription {
    /// Its identity.
    pub subscription: SubscriptionId,
    /// To what.
    pub listing: ListingId,
    /// Who subscribed.
    pub org: OrgId,
    /// Whose listing it is.
    pub publisher: OrgId,
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
    /// Since when it is active without a pause; none while it is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running_since: Option<Timestamp>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// The reason of the publisher's last verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The months in which it was active before the present run, as first and last of each run of
    /// months.
    pub active_months: Vec<(Month, Month)>,
    /// What it was used for in sessions that have been metered, and how many were opened, by month.
    pub months: std::collections::BTreeMap<Month, Tally>,
}

impl Listing {
    /// Whether its content was ever approved.
    #[must_use]
    pub fn is_approved(&self) -> bool {
        self.published_at.is_some()
    }

    /// The content that its owner wrote last, and its number.
    #[must_use]
    pub fn newest(&self) -> (&Arc<Content>, u64) {
        match &self.pending {
            Some(pending) => (&pending.content, pending.revision),
            None => (&self.content, self.revision),
        }
    }

    /// State of what is pending.
    #[must_use]
    pub fn pending_state(&self) -> Option<ListingState> {
        self.pending.as_ref().map(|pending| pending.state)
    }

    /// Where it goes back to from review, or when it is restored.
    #[must_use]
    pub fn back(&self) -> ListingState {
        match (self.suspended_from, self.is_approved()) {
            (Some(before), _) => before,
            (None, true) => ListingState::Archived,
            (None, false) => ListingState::Draft,
        }
    }

    /// Whether its subscriptions give what they should.
    #[must_use]
    pub fn gives(&self) -> bool {
        self.is_approved() && self.state != ListingState::Suspended
    }

    /// Whether it counts against the limit of its organisation.
    #[must_use]
    pub fn counts(&self) -> bool {
        self.state != ListingState::Archived
    }
}

impl RatingSum {
    /// The mean in hundredths, rounded half up; none where nobody rated it.
    #[must_use]
    pub fn mean_hundredths(&self) -> Option<u64> {
        (self.sum * 200 + self.count).checked_div(self.count * 2)
    }

    /// With a rating more, or in place of another.
    pub(super) fn with(self, before: Option<u8>, rating: u8) -> Self {
        Self {
            count: self.count + u64::from(before.is_none()),
            sum: self.sum - u64::from(before.unwrap_or(0)) + u64::from(rating),
        }
    }
}

impl Subscription {
    /// Whether it has ever been used.
    #[must_use]
    pub fn is_used(&self) -> bool {
        !self.months.is_empty()
    }

    /// Whether nothing is lost when it is forgotten: it has ended, and there is nothing to pay.
    pub(super) fn is_forgettable(&self) -> bool {
        let is_monthly = matches!(self.pricing, Pricing::Monthly { .. });
        self.state.is_terminal()
            && !self.is_used()
            && (!is_monthly || self.active_months.is_empty())
    }

    /// Whether it was active in a month.
    ///
    /// - `now`: up to when the present run is looked at.
    #[must_use]
    pub fn is_active_in(&self, month: Month, now: Timestamp) -> bool {
        let runs = self.active_months.iter().copied();
        let mut runs = runs.chain(self.run(now));
        runs.any(|(first, last)| (first..=last).contains(&month))
    }

    /// The months of the present run.
    pub(super) fn run(&self, now: Timestamp) -> Option<(Month, Month)> {
        let since = self.running_since?;
        Some((Month::of(since), Month::of(now.max(since))))
    }

    /// Ends the present run.
    pub(super) fn pause(&mut self, at: Timestamp) {
        let Some((first, last)) = self.run(at) else {
            return;
        };
        self.running_since = None;
        match self.active_months.last_mut() {
            // Runs come one after the other; those that meet are one.
            Some((_, end)) if first <= end.next() => *end = last.max(*end),
            _ => self.active_months.push((first, last)),
        }
    }
}
