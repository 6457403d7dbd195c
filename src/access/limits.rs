//! What an organisation or a key may use.

use serde::{Deserialize, Serialize};

/// Limits of an organisation or a key. What is left out is not limited here; a key is bound by its
/// organisation's limits too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Limits {
    /// Connections at once, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
    /// Requests a second, at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_s: Option<u32>,
    /// Bytes a second that it sends, frames included, at least 1,024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_in_per_s: Option<u32>,
    /// Bytes a second that it gets, frames included, at least 1,024.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes_out_per_s: Option<u32>,
    /// Channels; counts for organisations only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_channels: Option<u32>,
    /// Longest retention that a channel may have, in days; counts for organisations only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_retention_days: Option<u32>,
    /// Largest record that a channel may take, in bytes; counts for organisations only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_record_bytes: Option<u32>,
}

/// A limit that nobody could work under.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} of {value} is below the least that makes sense, {least}")]
pub struct InvalidLimit {
    /// Name of the limit, as in JSON.
    pub field: &'static str,
    /// What was asked for.
    pub value: u32,
    /// The least allowed.
    pub least: u32,
}

impl Limits {
    /// Checks what an administrator asks for.
    ///
    /// # Errors
    /// [`InvalidLimit`] for the first limit that is too low.
    pub fn check(&self) -> Result<(), InvalidLimit> {
        let rows = [
            ("maxConnections", self.max_connections, 1),
            ("requestsPerS", self.requests_per_s, 1),
            ("bytesInPerS", self.bytes_in_per_s, 1024),
            ("bytesOutPerS", self.bytes_out_per_s, 1024),
            ("maxChannels", self.max_channels, 0),
            ("maxRetentionDays", self.max_retention_days, 1),
            ("maxRecordBytes", self.max_record_bytes, 1),
        ];
        for (field, value, least) in rows {
            if let Some(value) = value.filter(|value| *value < least) {
                return Err(InvalidLimit {
                    field,
                    value,
                    least,
                });
            }
        }
        Ok(())
    }
}
