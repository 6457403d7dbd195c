//! What each region records on its topic `__homes`.

use serde::{Deserialize, Serialize};

use super::state::HomeRow;
use crate::folding::{self, Folded};
use crate::region::LogName;
use crate::types::{Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// A fact about the homes of logs, stored as one JSON record of the topic `__homes` of the region
/// that says it. The record's type is the member `type`; the member `v` is the version, now 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum HomeEvent {
    /// The home has stopped writing, for a planned move.
    #[serde(rename = "home.fenced")]
    Fenced(Fenced),
    /// The region is home.
    #[serde(rename = "home.taken")]
    Taken(Taken),
    /// The target of a planned move gives it up.
    #[serde(rename = "home.declined")]
    Declined(Declined),
    /// Somebody has seen to what a forced move may have lost.
    #[serde(rename = "home.acknowledged")]
    Acknowledged(Acknowledged),
    /// A part of all that this region has said; replaces it once the last part is there.
    #[serde(rename = "homes.folded")]
    Folded(Folded<HomeRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`HomeEvent::Fenced`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Fenced {
    /// Which log.
    pub incarnation: Incarnation,
    /// Its name.
    pub log: LogName,
    /// Term in which the region is home.
    pub term: u32,
    /// Offset after the last record; all before it is synced.
    pub end: Offset,
    /// Who may take the log over.
    pub to: RegionName,
    /// In which term, above every term known of the log.
    pub next: u32,
    /// When.
    pub at: Timestamp,
}

/// Records that may be lost in a forced move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Missing {
    /// First offset.
    pub from: Offset,
    /// Offset after the last that anybody is known to have had; `None` where nobody can know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Offset>,
}

/// See [`HomeEvent::Taken`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// Which log.
    pub incarnation: Incarnation,
    /// Its name.
    pub log: LogName,
    /// Term of the epochs that the region stamps.
    pub term: u32,
    /// First offset that it appends.
    pub start: Offset,
    /// Epoch of the batch before; 0 where there is none.
    pub after: LogEpoch,
    /// Whether the home before did not agree.
    pub forced: bool,
    /// What may be lost; only where it was forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<Missing>,
    /// When.
    pub at: Timestamp,
}

/// See [`HomeEvent::Declined`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Declined {
    /// Which log.
    pub incarnation: Incarnation,
    /// Its name.
    pub log: LogName,
    /// Term that the region will never take.
    pub term: u32,
    /// When.
    pub at: Timestamp,
}

/// See [`HomeEvent::Acknowledged`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Acknowledged {
    /// Which log.
    pub incarnation: Incarnation,
    /// Its name.
    pub log: LogName,
    /// Who forced the move.
    pub by: RegionName,
    /// In which term it has been home since.
    pub term: u32,
    /// When.
    pub at: Timestamp,
}

impl HomeEvent {
    /// The log that it is about.
    #[must_use]
    pub fn incarnation(&self) -> Option<Incarnation> {
        match self {
            Self::Fenced(event) => Some(event.incarnation),
            Self::Taken(event) => Some(event.incarnation),
            Self::Declined(event) => Some(event.incarnation),
            Self::Acknowledged(event) => Some(event.incarnation),
            Self::Folded(_) | Self::Unknown { .. } => None,
        }
    }
}

folding::topic_event! {
    HomeEvent {
        Fenced = "home.fenced",
        Taken = "home.taken",
        Declined = "home.declined",
        Acknowledged = "home.acknowledged",
        Folded = "homes.folded",
    }
}
