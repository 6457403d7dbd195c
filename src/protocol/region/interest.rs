//! What a region wants of the others, as it is declared, listed and withdrawn.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::region::ChannelPattern;
use crate::region::interest::Since;
use crate::types::Timestamp;

/// Declares interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InterestAdd {
    /// Which channels.
    pub pattern: ChannelPattern,
    /// Record types wanted, 1 to 100; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// From where, in copies that are yet to be begun.
    #[serde(default = "from_the_end")]
    pub from: Since,
    /// Days for which the copies are kept; as long as at home where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u64>,
}

fn from_the_end() -> Since {
    Since::End
}

/// One interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterestRow {
    /// Which channels.
    pub pattern: ChannelPattern,
    /// Record types wanted; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// From where.
    pub from: Since,
    /// Days for which the copies are kept; `None` is as long as at home.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention_days: Option<u64>,
    /// Whether it follows from somebody's reading, and is not declared.
    pub automatic: bool,
    /// When it was declared; `None` for an automatic one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub declared_at: Option<Timestamp>,
    /// When an automatic one ends; `None` while somebody reads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Asks what the region wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InterestList {}

/// What the region wants, the declared first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterestRows {
    /// The rows.
    pub interests: Vec<InterestRow>,
}

/// Withdraws interest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct InterestRemove {
    /// As it was declared.
    pub pattern: ChannelPattern,
}

/// It is withdrawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InterestRemoved {
    /// As it was declared.
    pub pattern: ChannelPattern,
}
