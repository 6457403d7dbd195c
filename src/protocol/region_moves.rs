//! Moves of homes and stopped copies: what operators ask for, and what regions ask each other.

use serde::{Deserialize, Serialize};

use crate::region::copies::SetAside;
use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// Asks the home of a log to stop writing, for a planned move to who asks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HomeFence {
    /// The log.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// Who asks: the region of the link.
    pub to: RegionName,
}

/// The home takes no writes any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HomeFenced {
    /// Term in which it was home.
    pub term: u32,
    /// Offset after its last record; all before it is synced there.
    pub end: Offset,
    /// Term that the target may take.
    pub next: u32,
}

/// Asks the target of a planned move to give it up.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HomeDecline {
    /// The log.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
}

/// The move is given up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeDeclined {}

/// Asks another region to become home of a log, for an operator who has asked here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct HomeTake {
    /// The log.
    pub name: ChannelName,
    /// Without the home before, which is gone.
    pub force: bool,
}

/// Moves the home of a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionMove {
    /// The channel.
    pub name: ChannelName,
    /// Who becomes home.
    pub to: RegionName,
    /// Without the home before, which is gone.
    #[serde(default)]
    pub force: bool,
}

/// Records that may be lost in a forced move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MissingRange {
    /// First offset.
    pub from: Offset,
    /// Offset after the last that anybody is known to have had; `None` where nobody can know.
    pub to: Option<Offset>,
}

/// Who is home now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionMoved {
    /// The channel.
    pub name: ChannelName,
    /// The identity of its log.
    pub incarnation: Incarnation,
    /// The home.
    pub home: RegionName,
    /// Term of its epochs.
    pub term: u32,
    /// First offset that it appends.
    pub start: Offset,
    /// Whether the home before did not agree.
    pub forced: bool,
    /// What may be lost; only where it was forced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub missing: Option<MissingRange>,
}

/// Follows a stopped copy again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionRetry {
    /// The channel.
    pub name: ChannelName,
}

/// It is tried again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionRetried {
    /// The channel.
    pub name: ChannelName,
    /// The identity of its log.
    pub incarnation: Incarnation,
}

/// A channel here whose home was moved, or is being moved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MovedRow {
    /// The channel.
    pub name: ChannelName,
    /// The identity of its log.
    pub incarnation: Incarnation,
    /// Where it lives.
    pub home: RegionName,
    /// In which term.
    pub term: u32,
    /// Epoch of the last batch that is here, in decimal: it may be above 2^53.
    pub epoch: String,
    /// The region that it is being moved to; the home takes no writes meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moving: Option<RegionName>,
    /// What forced moves may have lost, the oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub missing: Vec<MissingRange>,
}

/// Records that lie in `lost+found` and not in their log any more.
pub type AsideRow = SetAside;
