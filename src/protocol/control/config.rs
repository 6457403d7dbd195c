//! What a channel is configured to be.

use serde::{Deserialize, Deserializer, Serialize};

use crate::format::Compression;
use crate::region::directory::Spread;
use crate::types::Durability;

/// How the records part of a batch is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CompressionName {
    /// Not at all.
    None,
    /// One LZ4 frame.
    Lz4,
    /// One zstd frame.
    Zstd,
}

impl From<CompressionName> for Compression {
    fn from(name: CompressionName) -> Self {
        match name {
            CompressionName::None => Self::None,
            CompressionName::Lz4 => Self::Lz4,
            CompressionName::Zstd => Self::Zstd,
        }
    }
}

impl From<Compression> for CompressionName {
    fn from(compression: Compression) -> Self {
        match compression {
            Compression::None => Self::None,
            Compression::Lz4 => Self::Lz4,
            Compression::Zstd => Self::Zstd,
        }
    }
}

/// Whether records are encrypted on the broker's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// They are stored as they came.
    #[default]
    Off,
    /// They are encrypted with a key of the channel's own.
    On,
}

/// A channel's whole configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelConfig {
    /// Days after which segments are dropped; `None` keeps them for ever.
    pub retention_days: Option<u32>,
    /// Bytes above which the oldest segments are dropped; `None` keeps them all.
    pub retention_bytes: Option<u64>,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// Longest time between syncs of a `written` channel.
    pub sync_interval_ms: u64,
    /// Size at which a segment is sealed.
    pub segment_bytes: u64,
    /// Largest record.
    pub max_record_bytes: u32,
    /// Compressions that producers may use.
    pub compression: Vec<CompressionName>,
    /// Whether records are encrypted at rest; off from a broker that does not know it.
    #[serde(default)]
    pub encryption: Encryption,
    /// Whether it is one log, the default, or one for each region.
    #[serde(default, skip_serializing_if = "Spread::is_one")]
    pub regions: Spread,
    /// How many regions hold a batch synced before it is acknowledged; left out where it is 1, the home
    /// alone.
    #[serde(default = "one", skip_serializing_if = "is_one")]
    pub ack_regions: u32,
}

fn one() -> u32 {
    1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_one(regions: &u32) -> bool {
    *regions == 1
}

/// Fields of a configuration to set; those left out keep their value, or take the default when a
/// channel is created.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigChange {
    /// Days; `Some(None)`, null in JSON, for ever.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub retention_days: Option<Option<u32>>,
    /// Bytes; `Some(None)`, null in JSON, all.
    #[serde(
        default,
        deserialize_with = "present",
        skip_serializing_if = "Option::is_none"
    )]
    pub retention_bytes: Option<Option<u64>>,
    /// What an acknowledgement promises.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// Longest time between syncs of a `written` channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_interval_ms: Option<u64>,
    /// Size at which a segment is sealed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// Largest record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_record_bytes: Option<u32>,
    /// Compressions that producers may use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Vec<CompressionName>>,
    /// Whether records are encrypted at rest.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// Whether it is one log, or one for each region; set when it is created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Spread>,
    /// How many regions hold a batch synced before it is acknowledged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_regions: Option<u32>,
}

/// Tells a field that is null from one that is left out.
fn present<'de, D, T>(from: D) -> Result<Option<Option<T>>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    Option::<T>::deserialize(from).map(Some)
}
