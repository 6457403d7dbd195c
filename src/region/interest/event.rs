//! What is recorded on the topic `__interest`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::state::InterestRow;
use crate::folding::{self, Folded};
use crate::region::ChannelPattern;
use crate::types::{ChannelName, OrgName, Timestamp};

/// A fact about what a region wants of the others, stored as one JSON record of its topic
/// `__interest`. The record's type is the member `type`; the member `v` is the version, now 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum InterestEvent {
    /// Somebody wants what matches a pattern.
    #[serde(rename = "interest.declared")]
    Declared(Declared),
    /// Not any more.
    #[serde(rename = "interest.removed")]
    Removed(Removed),
    /// Somebody reads a channel that lives elsewhere.
    #[serde(rename = "interest.read")]
    Read(ReadBegun),
    /// The last reader has left.
    #[serde(rename = "interest.idle")]
    Idle(Idle),
    /// The time since then is over.
    #[serde(rename = "interest.expired")]
    Expired(Expired),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "interest.folded")]
    Folded(Folded<InterestRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// From where a channel is wanted. The earliest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Since {
    /// The log start.
    Start,
    /// The first record appended at this time or later.
    Time(Timestamp),
    /// What comes from now on.
    End,
}

/// What is wanted of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Wish {
    /// Record types; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// From where.
    pub from: Since,
    /// Days for which the copy is kept here; `None` is as long as at home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u64>,
}

/// Bytes of the names of record types of which a log crosses.
const MAX_CROSSING_BYTES: usize = 64 << 10;

impl Wish {
    /// What has to cross so that both get what they want.
    #[must_use]
    pub fn union(self, other: &Self) -> Self {
        let types = match (self.types, &other.types) {
            (Some(mut all), Some(more)) => {
                all.extend(more.iter().cloned());
                Some(all)
            }
            _ => None,
        };
        let days = self.retention_days.zip(other.retention_days);
        Self {
            types,
            from: self.from.min(other.from),
            retention_days: days.map(|(a, b)| a.max(b)),
        }
    }

    /// The types that cross of a log of which these are wanted: all where they are too many to be
    /// named, as each link says them of each log.
    #[must_use]
    pub fn types_that_cross(types: Option<BTreeSet<String>>) -> Option<BTreeSet<String>> {
        let bytes = |types: &BTreeSet<String>| types.iter().map(String::len).sum::<usize>();
        types.filter(|types| bytes(types) <= MAX_CROSSING_BYTES)
    }

    /// Whether a record of this type is wanted.
    #[must_use]
    pub fn takes(&self, record_type: &str) -> bool {
        let types = self.types.as_ref();
        types.is_none_or(|types| types.contains(record_type))
    }
}

/// See [`InterestEvent::Declared`]. What the same organisation declared of the same pattern before
/// is replaced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declared {
    /// Who asks.
    pub org: OrgName,
    /// Which channels.
    pub pattern: ChannelPattern,
    /// What of them.
    #[serde(flatten)]
    pub wish: Wish,
    /// When.
    pub at: Timestamp,
}

/// See [`InterestEvent::Removed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Who had asked.
    pub org: OrgName,
    /// For which channels.
    pub pattern: ChannelPattern,
    /// When.
    pub at: Timestamp,
}

/// See [`InterestEvent::Read`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadBegun {
    /// Who reads.
    pub org: OrgName,
    /// Which channel.
    pub channel: ChannelName,
    /// What of it.
    #[serde(flatten)]
    pub wish: Wish,
    /// When.
    pub at: Timestamp,
}

/// See [`InterestEvent::Idle`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Idle {
    /// Who had read.
    pub org: OrgName,
    /// Which channel.
    pub channel: ChannelName,
    /// When the interest ends, unless somebody reads again.
    pub until: Timestamp,
    /// When.
    pub at: Timestamp,
}

/// See [`InterestEvent::Expired`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expired {
    /// Who had read.
    pub org: OrgName,
    /// Which channel.
    pub channel: ChannelName,
    /// When; not before it was due.
    pub at: Timestamp,
}

folding::topic_event! {
    InterestEvent {
        Declared = "interest.declared",
        Removed = "interest.removed",
        Read = "interest.read",
        Idle = "interest.idle",
        Expired = "interest.expired",
        Folded = "interest.folded",
    }
}
