//! Channels: made, described, listed, changed and deleted.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{ChannelConfig, ConfigChange};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// Creates a channel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelCreate {
    /// Its name.
    pub name: ChannelName,
    /// Its configuration, where it is not the default.
    #[serde(default)]
    pub config: ConfigChange,
    /// Whether an existing channel of the name is as good; its configuration is left alone.
    #[serde(default)]
    pub if_not_exists: bool,
    /// The region where it is to live; the one that is asked where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<RegionName>,
    /// Regions that may hold its bytes; all where it is left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<BTreeSet<RegionName>>,
}

/// The channel that was created, or was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelCreated {
    /// Whether this request created it.
    pub created: bool,
    /// The channel.
    pub channel: ChannelInfo,
}

/// Names one channel, as `name`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct NamedChannel {
    /// The channel.
    pub name: ChannelName,
}

/// Names one channel, as `channel`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OneChannel {
    /// The channel.
    pub channel: ChannelName,
}

/// One channel, as it is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelInfo {
    /// Its name.
    pub name: ChannelName,
    /// Its identity; the same as `incarnation`.
    pub id: Incarnation,
    /// Its identity: another one after it was deleted and created again.
    pub incarnation: Incarnation,
    /// Lowest offset that may still be read.
    pub log_start: Offset,
    /// Everything below survives a power cut.
    pub flushed: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
    /// Offset that the next record will get.
    pub log_end: Offset,
    /// Bytes of its segments.
    pub bytes: u64,
    /// Number of its segments.
    pub segments: u64,
    /// When it was created.
    pub created_at: Timestamp,
    /// The log epoch that its next batch will be stamped with.
    pub log_epoch: LogEpoch,
    /// Stored bytes that no longer match their checksum.
    pub damage: Vec<DamageRow>,
    /// Why it takes no more records; `None` when it does.
    pub writes_refused: Option<String>,
    /// Error number of the operating system, where one is the reason.
    #[serde(default)]
    pub errno: Option<i32>,
    /// Its configuration.
    pub config: ChannelConfig,
    /// The region where it lives; `None` where the broker is no region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub home: Option<RegionName>,
    /// Regions that alone may hold its bytes, as far as somebody has said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub residency: Option<BTreeSet<RegionName>>,
    /// The newest key that encrypts it at rest, or did; `None` where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption_key: Option<EncryptionKey>,
}

/// The key that encrypts a channel at rest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EncryptionKey {
    /// Its number, from 1 on.
    pub id: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// Offset of the next record when it was made.
    pub from: Offset,
    /// How many keys of the channel readable records may need.
    pub keys: u64,
    /// Why some of them can't be used; `None` when all can.
    pub locked: Option<String>,
}

/// A place in a channel whose stored bytes no longer match their checksum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DamageRow {
    /// First offset that is lost.
    pub first_offset: Offset,
    /// The offset after the last that is lost.
    pub end_offset: Offset,
    /// The file, below the data directory.
    pub file: String,
    /// Byte in the file at which the damage begins.
    pub position: u64,
    /// Bytes that are damaged.
    pub length: u64,
    /// What is wrong, in words.
    pub what: String,
}

/// Lists channels in the order of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelList {
    /// Only names that start with this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Whether to list the broker's own topics as well.
    #[serde(default)]
    pub internal: bool,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Most channels to answer with; the broker may answer with fewer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u32>,
}

/// Some of the channels.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelPage {
    /// Channels in the order of their names.
    pub channels: Vec<ChannelInfo>,
    /// What to ask for the next page with; `None` when this was the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Changes a channel's configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelUpdate {
    /// The channel.
    pub name: ChannelName,
    /// The fields to change.
    pub config: ConfigChange,
}

/// Deletes a channel, its records and its consumers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ChannelDelete {
    /// The channel.
    pub name: ChannelName,
    /// The incarnation it must have; any when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub incarnation: Option<Incarnation>,
}

/// The channel that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelDeleted {
    /// Its name.
    pub name: ChannelName,
    /// The identity it had.
    pub incarnation: Incarnation,
}
