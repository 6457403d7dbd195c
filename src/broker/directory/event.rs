//! What is recorded on the topic `__channels`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::broker::config::ChannelConfig;
use crate::folding::{self, Folded};
use crate::keys::{Wrapped, WrappedKey};
use crate::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

/// Version of the events that tell of encryption.
const ENCRYPTION_VERSION: u16 = 2;
/// Version of the events that tell of copies.
const COPY_VERSION: u16 = 3;
/// Version of the events that tell of channels with a log for each region.
const EACH_VERSION: u16 = 4;
/// Version of the events that tell of copies beside each other: under another name than they were
/// made with, or with more than they were begun with.
const RENAMED_VERSION: u16 = 5;

/// A fact about channels, stored as one JSON record of the topic `__channels`. The record's type
/// is the member `type`; the member `v` is the version: 1, 2 where the event tells of encryption,
/// so that a broker that knows nothing of it does not go on in plain text, or forget keys, or 3 where
/// it tells of a copy, to which a broker that knows nothing of them would write records of its own,
/// or 4 where it tells of a channel with a log for each region, or 5 where a channel goes on under
/// another name, which a broker that knows nothing of it would give to two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum DirectoryEvent {
    /// A channel came to be.
    #[serde(rename = "channel.created")]
    Created(Created),
    /// A channel was configured anew.
    #[serde(rename = "channel.updated")]
    Updated(Updated),
    /// A channel was deleted: its name is free again, its files are still there.
    #[serde(rename = "channel.deleted")]
    Deleted(Deleted),
    /// A channel goes on under another name: another life of it takes the name it had.
    #[serde(rename = "channel.renamed")]
    Renamed(Renamed),
    /// A copy was begun anew with more than it had, and is that now.
    #[serde(rename = "channel.widened")]
    Widened(Widened),
    /// The files of a deleted channel are gone.
    #[serde(rename = "channel.removed")]
    Removed(Removed),
    /// The records below an offset were given up.
    #[serde(rename = "channel.trimmed")]
    Trimmed(Trimmed),
    /// A channel got a data key, which encrypts what comes.
    #[serde(rename = "channel.keyAdded")]
    KeyAdded(KeyAdded),
    /// A data key is wrapped by another master key.
    #[serde(rename = "channel.keyRewrapped")]
    KeyRewrapped(KeyRewrapped),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "directory.folded")]
    Folded(Folded<ChannelRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`DirectoryEvent::Created`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// Its name, which no other live channel has.
    pub name: ChannelName,
    /// Identity of its log, never used before.
    pub incarnation: Incarnation,
    /// How it keeps its records.
    pub config: ChannelConfig,
    /// When.
    pub at: Timestamp,
    /// What it is a copy of, if it lives in another region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub copy: Option<CopyOf>,
}

/// What a copy of a channel is told of its home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyOf {
    /// The region where the channel lives, which alone appends to it.
    pub home: RegionName,
    /// Offset of the first record of the copy; what came before was not asked for.
    pub begins_at: Offset,
    /// Whether that was the first record that there was.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub from_start: bool,
    /// Record types that it is of; `None` is all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub types: Option<BTreeSet<String>>,
}

impl CopyOf {
    /// Whether it is of all types and has all that there was when it was begun, so that others may
    /// pull it from here.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.types.is_none() && (self.from_start || self.begins_at == Offset(0))
    }
}

/// See [`DirectoryEvent::Updated`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Updated {
    /// Which channel.
    pub incarnation: Incarnation,
    /// The whole configuration from now on.
    pub config: ChannelConfig,
}

/// See [`DirectoryEvent::Deleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// Which channel.
    pub incarnation: Incarnation,
    /// Its name.
    pub name: ChannelName,
    /// When.
    pub at: Timestamp,
}

/// See [`DirectoryEvent::Renamed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Renamed {
    /// Which channel.
    pub incarnation: Incarnation,
    /// The name that it had, which is free now.
    pub name: ChannelName,
    /// Its name from now on, which no other live channel has.
    pub to: ChannelName,
    /// When.
    pub at: Timestamp,
}

/// See [`DirectoryEvent::Widened`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Widened {
    /// Which channel.
    pub incarnation: Incarnation,
    /// What it is a copy of now.
    pub copy: CopyOf,
    /// Lowest offset still readable, which may be lower than before.
    pub log_start: Offset,
}

/// See [`DirectoryEvent::Removed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Removed {
    /// Which channel.
    pub incarnation: Incarnation,
}

/// See [`DirectoryEvent::Trimmed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Trimmed {
    /// Which channel.
    pub incarnation: Incarnation,
    /// Lowest offset still readable, higher than before.
    pub log_start: Offset,
}

/// See [`DirectoryEvent::KeyAdded`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyAdded {
    /// Which channel.
    pub incarnation: Incarnation,
    /// The key, with the next number.
    pub key: WrappedKey,
}

/// See [`DirectoryEvent::KeyRewrapped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeyRewrapped {
    /// Which channel.
    pub incarnation: Incarnation,
    /// Number of the key.
    pub key_id: u32,
    /// The key as it is wrapped now.
    #[serde(flatten)]
    pub wrapped: Wrapped,
}

/// One channel in a state record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelRow {
    /// Identity of its log.
    pub incarnation: Incarnation,
    /// All that is known of it.
    #[serde(flatten)]
    pub channel: super::Channel,
}

impl DirectoryEvent {
    /// The version of its JSON.
    fn version(&self) -> u16 {
        let is_each = match self {
            Self::Created(event) => !event.config.regions.is_one(),
            Self::Updated(event) => !event.config.regions.is_one(),
            Self::Folded(part) => {
                let mut rows = part.rows.iter();
                rows.any(|row| !row.channel.config.regions.is_one())
            }
            _ => false,
        };
        if matches!(self, Self::Renamed(_) | Self::Widened(_)) {
            return RENAMED_VERSION;
        }
        if is_each {
            return EACH_VERSION;
        }
        let is_copy = match self {
            Self::Created(event) => event.copy.is_some(),
            Self::Folded(part) => part.rows.iter().any(|row| row.channel.copy.is_some()),
            _ => false,
        };
        if is_copy {
            return COPY_VERSION;
        }
        let is_encrypted = match self {
            Self::Created(event) => !event.config.encryption.is_off(),
            Self::Updated(event) => !event.config.encryption.is_off(),
            Self::KeyAdded(_) | Self::KeyRewrapped(_) => true,
            Self::Folded(part) => part
                .rows
                .iter()
                .any(|row| !row.channel.keys.is_empty() || !row.channel.config.encryption.is_off()),
            _ => false,
        };
        if is_encrypted {
            ENCRYPTION_VERSION
        } else {
            folding::EVENT_VERSION
        }
    }
}

folding::topic_event! {
    DirectoryEvent, versions up to RENAMED_VERSION {
        Created = "channel.created",
        Updated = "channel.updated",
        Deleted = "channel.deleted",
        Renamed = "channel.renamed",
        Widened = "channel.widened",
        Removed = "channel.removed",
        Trimmed = "channel.trimmed",
        KeyAdded = "channel.keyAdded",
        KeyRewrapped = "channel.keyRewrapped",
        Folded = "directory.folded",
    }
}
