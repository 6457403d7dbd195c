//! What a client is told of a refusal of the market.

use super::refused::out_of_limit;
use crate::asp::market::MarketError;
use crate::protocol::{ErrorCode, WireError};

/// The error of something that the market does not allow.
pub(super) fn market(error: &MarketError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        MarketError::ListingNotFound(id) => {
            plain(ErrorCode::ListingNotFound).with("listingId", id.to_string())
        }
        MarketError::ListingIdVersion(id) => {
            plain(ErrorCode::InvalidListingId).with("listingId", id.to_string())
        }
        MarketError::ListingIdTaken { listing, member } => plain(ErrorCode::ListingIdTaken)
            .with("listingId", listing.to_string())
            .with("member", *member),
        MarketError::Invalid { field, value, .. } => plain(ErrorCode::InvalidListing)
            .with("field", *field)
            .with("value", value.as_str()),
        MarketError::IllegalListing {
            listing,
            state,
            pending,
            step,
            voice,
            allowed,
        } => {
            let allowed: Vec<_> = allowed.iter().map(|step| step.name()).collect();
            let told = plain(ErrorCode::IllegalListingStep)
                .with("listingId", listing.to_string())
                .with("state", state.name())
                .with("step", step.name())
                .with("voice", voice.name())
                .with("allowed", allowed);
            match pending {
                Some(pending) => told.with("pending", pending.name()),
                None => told,
            }
        }
        MarketError::SubscriptionNotFound(id) => {
            plain(ErrorCode::SubscriptionNotFound).with("subscriptionId", id.to_string())
        }
        MarketError::SubscriptionIdVersion(id) => {
            plain(ErrorCode::InvalidSubscriptionId).with("subscriptionId", id.to_string())
        }
        MarketError::SubscriptionIdTaken {
            subscription,
            member,
        } => plain(ErrorCode::SubscriptionIdTaken)
            .with("subscriptionId", subscription.to_string())
            .with("member", *member),
        MarketError::IllegalSubscription {
            subscription,
            state,
            step,
            voice,
            allowed,
        } => {
            let allowed: Vec<_> = allowed.iter().map(|step| step.name()).collect();
            plain(ErrorCode::IllegalSubscriptionStep)
                .with("subscriptionId", subscription.to_string())
                .with("state", state.name())
                .with("step", step.name())
                .with("voice", voice.name())
                .with("allowed", allowed)
        }
        MarketError::AlreadySubscribed {
            listing,
            subscription,
        } => plain(ErrorCode::AlreadySubscribed)
            .with("listingId", listing.to_string())
            .with("subscriptionId", subscription.to_string()),
        MarketError::OwnListing(id) => {
            plain(ErrorCode::OwnListing).with("listingId", id.to_string())
        }
        MarketError::Closed { listing, state } => plain(ErrorCode::ListingClosed)
            .with("listingId", listing.to_string())
            .with("state", state.name()),
        MarketError::NotInvited(id) => {
            plain(ErrorCode::NotInvited).with("listingId", id.to_string())
        }
        MarketError::TermsChanged {
            listing,
            expected,
            actual,
        } => plain(ErrorCode::TermsChanged)
            .with("listingId", listing.to_string())
            .with("expected", expected.to_string())
            .with("actual", actual.to_string()),
        MarketError::OrgKeyRequired => plain(ErrorCode::OrgKeyRequired),
        MarketError::NotUsed(id) => plain(ErrorCode::NotUsed).with("listingId", id.to_string()),
        MarketError::ReasonRequired { step } => {
            plain(ErrorCode::ReasonRequired).with("step", step.name())
        }
        MarketError::OutOfLimit(error) => {
            let text = error.to_string();
            out_of_limit(&text, error.what, error.value, error.least, error.most)
        }
        MarketError::Bug(_) => plain(ErrorCode::Internal),
    }
}
