//! Consumers: where they stand, how far behind they are, and where they are moved.

use serde::{Deserialize, Serialize};

use super::Place;
use crate::types::{ChannelName, ConsumerName, Offset, Timestamp};

/// Names one consumer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerTarget {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
}

/// Moves a consumer, or creates it at a place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ConsumerReset {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
    /// Where to.
    pub to: Place,
}

/// Asks for the lag of consumers.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LagRequest {
    /// Only of this channel; of all when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub channel: Option<ChannelName>,
}

/// One consumer of a channel and how far it is behind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerLagRow {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The next offset it will read.
    pub offset: Offset,
    /// What it stored with its position; empty when nothing.
    pub metadata: String,
    /// High watermark less `offset`.
    pub lag_records: u64,
    /// Bytes of the segments from `offset` to the high watermark; whole runs of batches, so it may
    /// be a little more than what a fetch would bring.
    pub lag_bytes: u64,
    /// Age of the record at `offset`; 0 when there is none.
    pub lag_ms: u64,
    /// When the position was stored.
    pub committed_at: Timestamp,
    /// Whether recovery moved the position back to the log end, because the log had lost what was
    /// beyond it. Cleared by the next commit or reset.
    pub repositioned: bool,
}

/// Consumers, in the order of channel and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Consumers {
    /// The consumers.
    pub consumers: Vec<ConsumerLagRow>,
}

/// The consumer that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerDeleted {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
}
