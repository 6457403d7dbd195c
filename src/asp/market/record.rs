//! What is recorded on the topic `__asp.market`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::content::Content;
use super::fold::MarketRow;
use super::metering::Count;
use super::pricing::Pricing;
use super::table::{ApproveVerdict, ReviewVerdict, SubscriptionState};
use crate::asp::chain::Digest;
use crate::asp::commitment::{Reader, envelope};
use crate::asp::shared;
use crate::folding::{EventError, Folded};
use crate::types::{AgentId, ListingId, OrgId, PrincipalId, SessionId, SubscriptionId, Timestamp};

/// Declares the records: JSON with members in alphabetical order, so that each is the canonical
/// form (RFC 8785) of what it says.
macro_rules! records {
    ($($(#[$doc:meta])* $variant:ident($record:ty) = $name:literal,)*) => {
        /// One record of the topic `__asp.market`.
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum MarketRecord {
            $($(#[$doc])* $variant($record),)*
            /// A record of a newer broker: kept as it is, and without effect here.
            Unknown {
                /// Type of the record.
                record_type: String,
                /// Payload of the record.
                payload: Vec<u8>,
            },
        }

        impl MarketRecord {
            /// The types of records, in the order of the document.
            pub const TYPES: [&'static str; [$($name),*].len()] = [$($name),*];

            /// Type of the record.
            #[must_use]
            pub fn record_type(&self) -> &str {
                match self {
                    $(Self::$variant(_) => $name,)*
                    Self::Unknown { record_type, .. } => record_type,
                }
            }

            /// Payload of the record.
            #[must_use]
            pub fn encode(&self) -> Vec<u8> {
                match self {
                    $(Self::$variant(record) => envelope($name, record),)*
                    Self::Unknown { payload, .. } => payload.clone(),
                }
            }

            /// What a record of the topic holds. A type this broker does not know gives `Unknown`;
            /// members it does not know are passed over.
            ///
            /// # Errors
            /// [`EventError`] when the payload is not that record's JSON, or has a newer version.
            pub fn decode(record_type: &str, payload: &[u8]) -> Result<Self, EventError> {
                let read = Reader {
                    record_type,
                    payload,
                };
                match record_type {
                    $($name => Ok(Self::$variant(read.read()?)),)*
                    _ => Ok(Self::Unknown {
                        record_type: record_type.to_owned(),
                        payload: payload.to_owned(),
                    }),
                }
            }
        }
    };
}

records! {
    /// A listing was created: `market.listed`.
    Listed(Listed) = "market.listed",
    /// Its content was changed: `market.updated`.
    Updated(Updated) = "market.updated",
    /// It was handed in for review: `market.submitted`.
    Submitted(Moved) = "market.submitted",
    /// An operator said something of it: `market.reviewed`.
    Reviewed(Reviewed) = "market.reviewed",
    /// Its owner took it down: `market.archived`.
    Archived(Moved) = "market.archived",
    /// An organisation subscribed, or asked to: `market.subscribed`.
    Subscribed(Subscribed) = "market.subscribed",
    /// The publisher said something of a subscription: `market.approved`.
    Approved(Approved) = "market.approved",
    /// The subscriber ended it: `market.cancelled`.
    Cancelled(Cancelled) = "market.cancelled",
    /// A session was tied to a subscription: `market.used`.
    Used(Used) = "market.used",
    /// Such a session was metered: `market.metered`.
    Metered(Metered) = "market.metered",
    /// A listing was rated: `market.rated`.
    Rated(Rated) = "market.rated",
    /// A part of the whole state: `market.folded`. Stands in snapshots and not on the topic.
    Folded(Folded<MarketRow>) = "market.folded",
}

/// See [`MarketRecord::Listed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// When; never before the record before it, as in all records.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// What it says.
    #[serde(with = "shared")]
    pub content: Arc<Content>,
    /// The listing.
    pub listing: ListingId,
    /// Whose it is.
    pub org: OrgId,
}

/// See [`MarketRecord::Updated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Updated {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// All that it says now.
    #[serde(with = "shared")]
    pub content: Arc<Content>,
    /// The listing.
    pub listing: ListingId,
}

/// See [`MarketRecord::Submitted`] and [`MarketRecord::Archived`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Moved {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// The listing.
    pub listing: ListingId,
}

/// See [`MarketRecord::Reviewed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// What was said.
    pub decision: ReviewVerdict,
    /// The listing.
    pub listing: ListingId,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// See [`MarketRecord::Subscribed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Subscribed {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// To what.
    pub listing: ListingId,
    /// Which organisation.
    pub org: OrgId,
    /// What it costs.
    pub pricing: Pricing,
    /// Requested, or active at once.
    pub state: SubscriptionState,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// Hash of the terms.
    pub terms_hash: Digest,
}

/// See [`MarketRecord::Approved`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Approved {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// What was said.
    pub decision: ApproveVerdict,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The subscription.
    pub subscription: SubscriptionId,
}

/// See [`MarketRecord::Cancelled`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cancelled {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// The subscription.
    pub subscription: SubscriptionId,
}

/// See [`MarketRecord::Used`]. Said again of a session, it adds agents, and the tasks that those
/// were given before.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Used {
    /// The listed agents that needed the subscription, by id.
    pub agents: Vec<AgentId>,
    /// When.
    pub at: Timestamp,
    /// What the session held before, which does not count.
    pub before: Count,
    /// The organisation whose topic the session lies on.
    pub host: OrgId,
    /// The session.
    pub session: SessionId,
    /// The subscription.
    pub subscription: SubscriptionId,
}

/// See [`MarketRecord::Metered`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metered {
    /// When.
    pub at: Timestamp,
    /// What was counted.
    pub count: Count,
    /// The session was no longer held when it was to be counted: it counts nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub lost: bool,
    /// The session.
    pub session: SessionId,
    /// The subscription.
    pub subscription: SubscriptionId,
}

/// See [`MarketRecord::Rated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rated {
    /// When.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// What is rated.
    pub listing: ListingId,
    /// Which organisation rates.
    pub org: OrgId,
    /// 1 to 5.
    pub rating: u8,
}

impl MarketRecord {
    /// The listing that it is about, where it names one.
    #[must_use]
    pub fn listing(&self) -> Option<ListingId> {
        match self {
            Self::Listed(record) => Some(record.listing),
            Self::Updated(record) => Some(record.listing),
            Self::Submitted(record) | Self::Archived(record) => Some(record.listing),
            Self::Reviewed(record) => Some(record.listing),
            Self::Subscribed(record) => Some(record.listing),
            Self::Rated(record) => Some(record.listing),
            _ => None,
        }
    }

    /// The subscription that it is about, where it names one.
    #[must_use]
    pub fn subscription(&self) -> Option<SubscriptionId> {
        match self {
            Self::Subscribed(record) => Some(record.subscription),
            Self::Approved(record) => Some(record.subscription),
            Self::Cancelled(record) => Some(record.subscription),
            Self::Used(record) => Some(record.subscription),
            Self::Metered(record) => Some(record.subscription),
            _ => None,
        }
    }

    /// When; none where the broker's clock has no part in it, or it is unknown.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        Some(match self {
            Self::Listed(record) => record.at,
            Self::Updated(record) => record.at,
            Self::Submitted(record) | Self::Archived(record) => record.at,
            Self::Reviewed(record) => record.at,
            Self::Subscribed(record) => record.at,
            Self::Approved(record) => record.at,
            Self::Cancelled(record) => record.at,
            Self::Used(record) => record.at,
            Self::Metered(record) => record.at,
            Self::Rated(record) => record.at,
            Self::Folded(_) | Self::Unknown { .. } => return None,
        })
    }
}
