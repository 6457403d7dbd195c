//! What lies in `lost+found` of a region: looking at it, reading it, noting that it was published
//! again. And what a region has ever heard of a log's home.

use serde::{Deserialize, Serialize};

use crate::region::copies::SetAside;
use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// Most bytes of batches in one [`AsidePart`].
pub const MAX_ASIDE_BYTES: usize = 4 << 20;

/// Asks about a file of batches that the region has set aside. Only those on its record are known.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    tag = "ask",
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    deny_unknown_fields
)]
pub enum RegionAside {
    /// What is in it; all of it is read and checked.
    Look {
        /// Its name in `lost+found`.
        file: String,
    },
    /// Its batches, in plain.
    Read {
        /// Its name in `lost+found`.
        file: String,
        /// Where in the file the batch begins.
        position: u64,
        /// Bytes of that batch, in plain, that are known already.
        #[serde(default)]
        within: u64,
    },
    /// How far it was published again.
    Published {
        /// Its name in `lost+found`.
        file: String,
        /// Where to.
        to: ChannelName,
        /// The identity of that channel.
        target: Incarnation,
        /// The end of that channel when it was begun.
        begun_at: Offset,
        /// Records of the file that are there.
        records: u64,
        /// Whether that is all.
        done: bool,
    },
}

impl RegionAside {
    /// The file.
    #[must_use]
    pub fn file(&self) -> &str {
        match self {
            Self::Look { file } | Self::Read { file, .. } | Self::Published { file, .. } => file,
        }
    }
}

/// What is told of such a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "told", rename_all = "camelCase")]
pub enum AsideTold {
    /// What is in it.
    Look(Box<AsideLook>),
    /// Some of its batches.
    Part(AsidePart),
    /// It is on the record.
    Published {},
}

/// What is in a file of batches.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AsideLook {
    /// What is on the record of it.
    pub aside: SetAside,
    /// The channel whose log it was taken from; `None` where nobody knows that here any more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
    /// Bytes of the file.
    pub bytes: u64,
    /// Batches with records.
    pub batches: u64,
    /// Records in them.
    pub records: u64,
    /// Batches that say that records are lost, and hold none.
    pub gaps: u64,
    /// Whether some are encrypted at rest.
    pub encrypted: bool,
    /// SHA-256 of the file, in hexadecimal digits.
    pub sha256: String,
}

/// Some of a file's batches, in plain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AsidePart {
    /// Their bytes, in base64; at most [`MAX_ASIDE_BYTES`] before that. The last one may be cut.
    pub batches: String,
    /// Where in the file to go on.
    pub position: u64,
    /// Bytes of the batch there that were told.
    pub within: u64,
}

/// Takes what a forced move may have lost off the list, once somebody has seen to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RegionAcknowledge {
    /// The channel.
    pub name: ChannelName,
}

/// It is on the record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RegionAcknowledged {
    /// The channel.
    pub name: ChannelName,
    /// The identity of its log.
    pub incarnation: Incarnation,
    /// What was on the list; nothing where somebody was faster.
    pub acknowledged: Vec<AcknowledgedRange>,
}

/// What a forced move may have lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AcknowledgedRange {
    /// Who forced the move.
    pub by: RegionName,
    /// In which term it has been home since.
    pub term: u32,
    /// First offset.
    pub from: Offset,
    /// Offset after the last that anybody is known to have had.
    pub to: Option<Offset>,
}

/// Asks what a region has ever heard of the home of a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkSeen {
    /// The log.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// The home that is meant.
    pub home: RegionName,
    /// In the term that is meant.
    pub term: u32,
}

/// What it has heard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkSaw {
    /// What it holds of the log, all of it synced; none where it has no whole copy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holds: Option<Offset>,
    /// The highest flushed offset of that home in that term that it was ever told of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flushed: Option<Offset>,
}
