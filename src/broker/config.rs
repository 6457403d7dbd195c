//! What can be set for each channel, its limits, and changes to it.

use std::fmt;
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer, Serialize};

use crate::region::directory::Spread;
use crate::types::Durability;

/// Longest retention by age, in days: a hundred years.
pub const MAX_RETENTION_DAYS: u64 = 36_500;
/// Bounds of the interval at which a `written` channel is synced, in milliseconds; at most an hour.
pub const SYNC_INTERVAL_MS: RangeInclusive<u64> = 1..=3_600_000;
/// Bounds of a segment file's size, in bytes.
pub const SEGMENT_BYTES: RangeInclusive<u64> = 4096..=1 << 30;
/// Bounds of the largest record, in bytes. The lower one is a record's own header.
pub const MAX_RECORD_BYTES: RangeInclusive<u64> = 24..=64 << 20;

/// Bounds of the number of regions that an acknowledgement waits for.
pub const ACK_REGIONS: RangeInclusive<u64> = 1..=64;

/// A compression of the records of a batch. The number is the one in the batch header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[repr(u8)]
pub enum AllowedCompression {
    /// Stored as they are.
    None = 1,
    /// One LZ4 frame.
    Lz4 = 2,
    /// One Zstandard frame.
    Zstd = 3,
}

/// Whether a channel's records are encrypted on the broker's disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encryption {
    /// They are stored as their producers sent them.
    #[default]
    Off,
    /// They are encrypted with a key of the channel's own.
    On,
}

impl Encryption {
    /// Whether it is off.
    #[must_use]
    pub fn is_off(&self) -> bool {
        *self == Self::Off
    }
}

/// How a channel keeps its records. JSON uses the names in camel case; what is absent there has
/// its default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ChannelConfig {
    /// Age in days after which a segment may be dropped; `None` keeps for ever. Default 7.
    pub retention_days: Option<u64>,
    /// Bytes of the log above which the oldest segments may be dropped; `None` is without bound,
    /// the default.
    pub retention_bytes: Option<u64>,
    /// What an acknowledgement promises. Default synced.
    pub durability: Durability,
    /// Milliseconds between syncs; used only with [`Durability::Written`]. Default 200.
    pub sync_interval_ms: u64,
    /// Bytes at which a segment is sealed and the next begun. Default 128 MiB. A batch larger than
    /// that has a segment of its own.
    pub segment_bytes: u64,
    /// Largest record in bytes: key, headers, type, payload and 24 more. Default 1 MiB.
    pub max_record_bytes: u64,
    /// The compressions a producer may use. Default all.
    pub compression: Vec<AllowedCompression>,
    /// Whether records are encrypted at rest. Default off.
    #[serde(skip_serializing_if = "Encryption::is_off")]
    pub encryption: Encryption,
    /// Whether it is one log, or one for each region. Default one. It stays what it was made.
    #[serde(skip_serializing_if = "Spread::is_one")]
    pub regions: Spread,
    /// How many regions, the home included, hold a batch synced before it is acknowledged. Default 1.
    #[serde(skip_serializing_if = "is_one")]
    pub ack_regions: u32,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants a reference")]
fn is_one(regions: &u32) -> bool {
    *regions == 1
}

impl Default for ChannelConfig {
    fn default() -> Self {
        Self {
            retention_days: Some(7),
            retention_bytes: None,
            durability: Durability::Synced,
            sync_interval_ms: 200,
            segment_bytes: 128 << 20,
            max_record_bytes: 1 << 20,
            compression: vec![
                AllowedCompression::None,
                AllowedCompression::Lz4,
                AllowedCompression::Zstd,
            ],
            encryption: Encryption::Off,
            regions: Spread::One,
            ack_regions: 1,
        }
    }
}

/// A value that a channel cannot be configured with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} is {value}, but must be {rule}")]
pub struct InvalidConfig {
    /// The field's name in JSON.
    pub field: &'static str,
    /// Its value.
    pub value: String,
    /// What it must be, reading on from "must be".
    pub rule: String,
}

impl ChannelConfig {
    /// Whether every value is within its limits.
    ///
    /// # Errors
    /// [`InvalidConfig`] with the first field that is not.
    pub fn check(&self) -> Result<(), InvalidConfig> {
        if let Some(days) = self.retention_days {
            within("retentionDays", days, &(1..=MAX_RETENTION_DAYS))?;
        }
        if let Some(bytes) = self.retention_bytes {
            within("retentionBytes", bytes, &(1..=u64::MAX))?;
        }
        within("syncIntervalMs", self.sync_interval_ms, &SYNC_INTERVAL_MS)?;
        within("segmentBytes", self.segment_bytes, &SEGMENT_BYTES)?;
        within("maxRecordBytes", self.max_record_bytes, &MAX_RECORD_BYTES)?;
        within("ackRegions", u64::from(self.ack_regions), &ACK_REGIONS)?;
        let compression = |rule: &str| InvalidConfig {
            field: "compression",
            value: format!("{:?}", self.compression).to_lowercase(),
            rule: rule.to_owned(),
        };
        if self.compression.is_empty() {
            return Err(compression("a list of at least one of none, lz4, zstd"));
        }
        let twice = (1..self.compression.len())
            .any(|i| self.compression[..i].contains(&self.compression[i]));
        if twice {
            return Err(compression("a list that names each compression once"));
        }
        Ok(())
    }

    /// Whether a producer may use the compression with this number in the batch header.
    #[must_use]
    pub fn allows(&self, compression: u8) -> bool {
        self.compression
            .iter()
            .any(|&allowed| allowed as u8 == compression)
    }
}

fn within(
    field: &'static str,
    value: u64,
    limits: &RangeInclusive<u64>,
) -> Result<(), InvalidConfig> {
    if limits.contains(&value) {
        return Ok(());
    }
    Err(InvalidConfig {
        field,
        value: value.to_string(),
        rule: match *limits.end() {
            u64::MAX => format!("at least {}", limits.start()),
            end => format!("from {} to {end}", limits.start()),
        },
    })
}

/// A change to a channel's configuration; what is `None`, or absent in JSON, stays. Retention can
/// also be lifted: `null` in JSON is `Some(None)` here.
///
/// A name that is none of these is refused, so that a misspelt limit is not silently without
/// effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConfigChange {
    /// See [`ChannelConfig::retention_days`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub retention_days: Option<Option<u64>>,
    /// See [`ChannelConfig::retention_bytes`].
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub retention_bytes: Option<Option<u64>>,
    /// See [`ChannelConfig::durability`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub durability: Option<Durability>,
    /// See [`ChannelConfig::sync_interval_ms`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sync_interval_ms: Option<u64>,
    /// See [`ChannelConfig::segment_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub segment_bytes: Option<u64>,
    /// See [`ChannelConfig::max_record_bytes`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_record_bytes: Option<u64>,
    /// See [`ChannelConfig::compression`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compression: Option<Vec<AllowedCompression>>,
    /// See [`ChannelConfig::encryption`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encryption: Option<Encryption>,
    /// See [`ChannelConfig::regions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regions: Option<Spread>,
    /// See [`ChannelConfig::ack_regions`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ack_regions: Option<u32>,
}

impl ConfigChange {
    /// The configuration after this change. Applied to the default, it configures a new channel.
    ///
    /// # Errors
    /// [`InvalidConfig`] when the result breaks a limit.
    pub fn apply(&self, config: &ChannelConfig) -> Result<ChannelConfig, InvalidConfig> {
        let changed = ChannelConfig {
            retention_days: self.retention_days.unwrap_or(config.retention_days),
            retention_bytes: self.retention_bytes.unwrap_or(config.retention_bytes),
            durability: self.durability.unwrap_or(config.durability),
            sync_interval_ms: self.sync_interval_ms.unwrap_or(config.sync_interval_ms),
            segment_bytes: self.segment_bytes.unwrap_or(config.segment_bytes),
            max_record_bytes: self.max_record_bytes.unwrap_or(config.max_record_bytes),
            compression: self
                .compression
                .clone()
                .unwrap_or_else(|| config.compression.clone()),
            encryption: self.encryption.unwrap_or(config.encryption),
            regions: self.regions.unwrap_or(config.regions),
            ack_regions: self.ack_regions.unwrap_or(config.ack_regions),
        };
        changed.check()?;
        Ok(changed)
    }
}

impl fmt::Display for AllowedCompression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// A field that is there, `null` or not; serde takes an absent one from the default.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(from).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(json: &str) -> Result<ChannelConfig, InvalidConfig> {
        let change: ConfigChange = serde_json::from_str(json).unwrap();
        change.apply(&ChannelConfig::default())
    }

    #[test]
    fn the_defaults_are_within_the_limits_and_have_the_documented_json() {
        let config = ChannelConfig::default();
        config.check().unwrap();
        assert_eq!(
            serde_json::to_value(&config).unwrap(),
            serde_json::json!({
                "retentionDays": 7, "retentionBytes": null, "durability": "synced",
                "syncIntervalMs": 200, "segmentBytes": 134_217_728, "maxRecordBytes": 1_048_576,
                "compression": ["none", "lz4", "zstd"],
            })
        );
        assert_eq!(
            serde_json::from_str::<ChannelConfig>("{}").unwrap(),
            config,
            "what an older broker did not write has its default"
        );
    }

    #[test]
    fn a_change_touches_only_what_it_names() {
        let config = changed(r#"{"durability":"written","segmentBytes":4096}"#).unwrap();
        assert_eq!(
            config,
            ChannelConfig {
                durability: Durability::Written,
                segment_bytes: 4096,
                ..ChannelConfig::default()
            }
        );
        assert_eq!(changed("{}").unwrap(), ChannelConfig::default());
    }

    #[test]
    fn null_lifts_retention_and_absence_keeps_it() {
        assert_eq!(
            changed(r#"{"retentionDays":null}"#).unwrap().retention_days,
            None
        );
        assert_eq!(changed("{}").unwrap().retention_days, Some(7));
        let lift = ConfigChange {
            retention_bytes: Some(None),
            ..ConfigChange::default()
        };
        let json = serde_json::to_string(&lift).unwrap();
        assert_eq!(json, r#"{"retentionBytes":null}"#);
        assert_eq!(serde_json::from_str::<ConfigChange>(&json).unwrap(), lift);
    }

    #[test]
    fn a_misspelt_field_is_refused() {
        let misspelt = r#"{"retentionDay":1}"#;
        assert!(serde_json::from_str::<ConfigChange>(misspelt).is_err());
    }

    #[test]
    fn every_limit_is_named_with_the_value_that_breaks_it() {
        for (json, field, value) in [
            (r#"{"retentionDays":0}"#, "retentionDays", "0"),
            (r#"{"retentionDays":36501}"#, "retentionDays", "36501"),
            (r#"{"retentionBytes":0}"#, "retentionBytes", "0"),
            (r#"{"syncIntervalMs":0}"#, "syncIntervalMs", "0"),
            (r#"{"syncIntervalMs":3600001}"#, "syncIntervalMs", "3600001"),
            (r#"{"segmentBytes":4095}"#, "segmentBytes", "4095"),
            (
                r#"{"segmentBytes":1073741825}"#,
                "segmentBytes",
                "1073741825",
            ),
            (r#"{"maxRecordBytes":23}"#, "maxRecordBytes", "23"),
            (
                r#"{"maxRecordBytes":67108865}"#,
                "maxRecordBytes",
                "67108865",
            ),
            (r#"{"ackRegions":0}"#, "ackRegions", "0"),
            (r#"{"ackRegions":65}"#, "ackRegions", "65"),
            (r#"{"compression":[]}"#, "compression", "[]"),
            (
                r#"{"compression":["lz4","lz4"]}"#,
                "compression",
                "[lz4, lz4]",
            ),
        ] {
            let error = changed(json).unwrap_err();
            assert_eq!((error.field, error.value.as_str()), (field, value));
        }
        for json in [
            r#"{"retentionDays":36500,"retentionBytes":1,"syncIntervalMs":3600000}"#,
            r#"{"segmentBytes":1073741824,"maxRecordBytes":67108864,"compression":["zstd"]}"#,
            r#"{"segmentBytes":4096,"maxRecordBytes":24,"syncIntervalMs":1,"retentionDays":1}"#,
        ] {
            changed(json).unwrap();
        }
        let error = changed(r#"{"segmentBytes":1}"#).unwrap_err();
        assert_eq!(
            error.to_string(),
            "segmentBytes is 1, but must be from 4096 to 1073741824"
        );
    }

    #[test]
    fn only_allowed_compressions_pass() {
        let config = changed(r#"{"compression":["none","zstd"]}"#).unwrap();
        assert_eq!(
            [0, 1, 2, 3, 4].map(|n| config.allows(n)),
            [false, true, false, true, false]
        );
    }
}
