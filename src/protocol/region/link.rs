//! What a link is opened with, and how logs are listed, followed and compared on it.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::protocol::control::ChannelConfig;
use crate::protocol::error_code::WireError;
use crate::region::ChannelPattern;
use crate::region::copies::BatchMark;
use crate::region::interest::Since;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, OrgName, RegionName, Timestamp};

/// Most logs in one page of [`LinkLogsPage`], and in one [`LinkFollow`].
pub const MAX_LOGS: usize = 1000;

/// Makes a connection a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkOpen {
    /// Who pulls.
    pub region: RegionName,
    /// Whom it means to reach.
    pub expect: RegionName,
    /// The data directory of who pulls.
    pub directory_id: Incarnation,
    /// Whether batches that came uncompressed may be sent as packed items.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub pack: bool,
}

/// Who answers a link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkOpened {
    /// Its name.
    pub region: RegionName,
    /// Its data directory.
    pub directory_id: Incarnation,
    /// The epoch of its start.
    pub epoch: LogEpoch,
    /// Its clock.
    pub now: Timestamp,
    /// Most logs that this link may follow.
    pub max_followed: u32,
}

/// Asks which logs a peer has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkLogs {
    /// The channels wanted.
    pub patterns: Vec<ChannelPattern>,
    /// The internal topics wanted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub topics: Vec<ChannelName>,
    /// `version` of the answer before: where nothing has changed since, the answer waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<u64>,
    /// Longest wait, at most 60,000.
    #[serde(default)]
    pub wait_ms: u32,
    /// `next` of the answer before, to go on with a long list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl LinkLogs {
    /// Asks for the first page, as it is now.
    #[must_use]
    pub fn at_once(patterns: Vec<ChannelPattern>, topics: Vec<ChannelName>) -> Self {
        Self {
            patterns,
            topics,
            after: None,
            wait_ms: 0,
            cursor: None,
        }
    }
}

/// One page of a peer's logs, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkLogsPage {
    /// Changes whenever a channel is created, deleted or changed.
    pub version: u64,
    /// The logs.
    pub logs: Vec<LinkLog>,
    /// Where there are more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// A log as its peer has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkLog {
    /// Its name.
    pub name: ChannelName,
    /// Its identity.
    pub incarnation: Incarnation,
    /// The region that appends to it.
    pub home: RegionName,
    /// Epoch of its last batch.
    pub epoch: LogEpoch,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Everything below survives power loss there.
    pub flushed: Offset,
    /// Whether the peer has all of it that there is, and so may serve others; its home has.
    pub whole: bool,
    /// Its configuration.
    pub config: ChannelConfig,
}

/// Follows logs: what is new in them comes with the answers to link.fetch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkFollow {
    /// At most [`MAX_LOGS`].
    pub logs: Vec<FollowLog>,
}

/// One log to follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FollowLog {
    /// What it is called on this link from now on.
    pub handle: u32,
    /// Its name.
    pub name: ChannelName,
    /// The identity that it must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
    /// Where to begin.
    pub from: FollowFrom,
    /// The batch before that, where the copy has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last: Option<BatchMark>,
    /// The epoch that the copy ends with, where it ends with a gap of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_epoch: Option<LogEpoch>,
    /// The first offset that the copy was to have; a new one has what follows `from`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begins_at: Option<Offset>,
    /// Record types wanted; `None` is all. Batches without any of them cross as skips.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
    /// The organisations that ask for it; none where who runs the broker does, or the log lived in the
    /// region that asks.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub orgs: BTreeSet<OrgName>,
}

/// Where following a log begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FollowFrom {
    /// At this record.
    Offset(Offset),
    /// At a place for which a new copy asks.
    Since(Since),
}

/// What became of each log, in the order asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LinkFollowed {
    /// One for each.
    pub logs: Vec<FollowedLog>,
}

/// What became of one log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum FollowedLog {
    /// It is followed.
    Followed {
        /// What it is called on this link.
        handle: u32,
        /// Its identity.
        incarnation: Incarnation,
        /// Where the first batch begins that will come.
        from: Offset,
    },
    /// It is not.
    Refused {
        /// What it would have been called.
        handle: u32,
        /// Why not.
        error: WireError,
    },
}

/// Follows logs no longer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkUnfollow {
    /// Which.
    pub handles: Vec<u32>,
}

/// They are not followed any more.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkUnfollowed {}

/// Asks for the digest of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LinkDigest {
    /// The log.
    pub name: ChannelName,
    /// The identity that it must have.
    pub incarnation: Incarnation,
    /// First offset.
    pub from: Offset,
    /// Offset after the last.
    pub to: Offset,
}

/// The digest of what is readable of a range.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RangeDigest {
    /// First offset that is in it: that of a batch.
    pub from: Offset,
    /// Offset after the last that is in it.
    pub to: Offset,
    /// Batches in it.
    pub batches: u64,
    /// SHA-256 over base offset, offset span, log epoch, append time and body checksum of each
    /// batch, 8 + 4 + 8 + 8 + 4 bytes, in hexadecimal.
    pub sha256: String,
}
