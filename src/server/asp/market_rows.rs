//! The market as answers show it: each sees of a listing what is theirs to see.

use std::sync::Arc;

use crate::asp::market::{Content, Listing, MonthUsage, Pending, RatingSum, TotalUsage};
use crate::asp::tool::Plain;
use crate::broker::asp::{ListingSeen as Seen, SubscriptionSeen};
use crate::protocol::asp::{
    JsonText, ListedAgent, ListingRow, ListingSeen, Millionths, MonthRow, PendingRow,
    RatingSummary, SubscriptionRow, TotalRow,
};

pub(super) fn listing_seen(seen: Seen, own: Option<SubscriptionSeen>) -> ListingSeen {
    ListingSeen {
        listing: listing_row(seen),
        subscription: own.map(subscription_row),
    }
}

/// A listing. What is pending beside it, why, and for how many is for its owner and operators, who
/// is invited for its owner alone.
pub(super) fn listing_row(seen: Seen) -> ListingRow {
    let is_inside = seen.is_own || seen.is_operator;
    let listing: &Listing = &seen.listing;
    let content: Content = (*listing.content).clone();
    let terms_hash = content.terms_hash();
    let pending = listing.pending.as_ref().filter(|_| is_inside);
    let agents = seen.agents.into_iter().map(|agent| ListedAgent {
        name: agent.name,
        id: agent.agent,
        trust_score: agent.trust,
    });
    ListingRow {
        id: listing.listing,
        organisation: seen.org,
        verified: seen.is_verified,
        state: listing.state,
        revision: listing.revision,
        title: content.title,
        description: content.description,
        category: content.category,
        tags: content.tags,
        capabilities: content.capabilities,
        agents: agents.collect(),
        pricing: content.pricing,
        visibility: content.visibility,
        access: content.access,
        sample: content.sample.as_ref().and_then(text),
        terms: content.terms,
        terms_hash,
        rating: rating_summary(listing.rating),
        trust_score: seen.trust,
        subscribers: is_inside.then_some(seen.subscribers as u64),
        invited: seen.is_own.then_some(content.invited),
        created_at: listing.created_at,
        updated_at: listing.updated_at,
        published_at: listing.published_at,
        pending: pending.map(|pending| pending_row(pending, seen.is_own).into()),
        reason: listing.reason.clone().filter(|_| is_inside),
    }
}

fn pending_row(pending: &Pending, is_own: bool) -> PendingRow {
    let content = Arc::unwrap_or_clone(Arc::clone(&pending.content));
    PendingRow {
        state: pending.state,
        revision: pending.revision,
        title: content.title,
        description: content.description,
        category: content.category,
        tags: content.tags,
        capabilities: content.capabilities,
        agents: content.agents,
        pricing: content.pricing,
        visibility: content.visibility,
        access: content.access,
        invited: is_own.then_some(content.invited),
        sample: content.sample.as_ref().and_then(text),
        terms: content.terms,
    }
}

fn text(sample: &Plain) -> Option<JsonText> {
    JsonText::parse(sample.as_str()).ok()
}

pub(super) fn rating_summary(sum: RatingSum) -> RatingSummary {
    let mean = sum.mean_hundredths();
    RatingSummary {
        mean: mean.map(|hundredths| Millionths(hundredths * 10_000)),
        count: sum.count,
    }
}

pub(super) fn subscription_row(seen: SubscriptionSeen) -> SubscriptionRow {
    let one = &seen.subscription;
    SubscriptionRow {
        id: one.subscription,
        listing_id: one.listing,
        organisation: seen.org,
        publisher: seen.publisher,
        state: one.state,
        pricing: one.pricing.clone(),
        terms_hash: one.terms_hash,
        requested_at: one.requested_at,
        active_since: one.active_since,
        ended_at: one.ended_at,
        reason: one.reason.clone(),
    }
}

pub(super) fn month_row(usage: MonthUsage) -> MonthRow {
    MonthRow {
        month: usage.month,
        sessions: usage.tally.sessions,
        messages: usage.tally.messages,
        calls: usage.tally.calls,
        charge: usage.charge,
    }
}

pub(super) fn total_row(total: TotalUsage) -> TotalRow {
    TotalRow {
        sessions: total.tally.sessions,
        messages: total.tally.messages,
        calls: total.tally.calls,
        charge: total.charge,
    }
}
