//! What operators do with a copy: compare it with its home, or remove it.

use serde::{Deserialize, Serialize};

use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// Compares a copy with its home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionVerify {
    /// The channel.
    pub name: ChannelName,
}

/// What the comparison showed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Verified {
    /// The channel.
    pub name: ChannelName,
    /// The region that it was compared with; the one that was asked, where that is the home.
    pub home: RegionName,
    /// First offset compared.
    pub from: Offset,
    /// Offset after the last one compared.
    pub to: Offset,
    /// Batches compared, of all copies.
    pub batches: u64,
    /// Whether everything was compared, and is the same.
    pub equal: bool,
    /// The first range that differs, as offsets; `None` where all is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<(Offset, Offset)>,
    /// Asked at the home: each copy that another region holds, by region. None where a copy was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copies: Option<Vec<VerifiedCopy>>,
}

/// What the comparison of one copy with its home showed, where the home was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedCopy {
    /// The region that holds it.
    pub region: RegionName,
    /// First offset compared.
    pub from: Offset,
    /// Offset after the last one compared.
    pub to: Offset,
    /// Batches compared.
    pub batches: u64,
    /// The first range that differs, as offsets; `None` where all that was compared is the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub differs: Option<(Offset, Offset)>,
    /// Why it was not compared, or not to its end.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// Removes a copy of a channel that lives elsewhere, with all that is in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionPurge {
    /// The channel.
    pub name: ChannelName,
}

/// The copy that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionPurged {
    /// The channel.
    pub name: ChannelName,
    /// The identity of its log.
    pub incarnation: Incarnation,
}
