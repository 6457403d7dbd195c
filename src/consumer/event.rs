//! What is recorded on the topic `__consumers`.

use serde::{Deserialize, Serialize};

use crate::folding::{self, Folded};
use crate::types::{ChannelName, ConsumerName, Incarnation, LogEpoch, Offset, Timestamp};

/// A fact about consumers, stored as one JSON record of the topic `__consumers`. The record's type
/// is the member `type`; the member `v` is the version, now 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum ConsumerEvent {
    /// A consumer recorded how far it has come.
    #[serde(rename = "consumer.committed")]
    Committed(Committed),
    /// An operator placed a consumer.
    #[serde(rename = "consumer.reset")]
    Reset(Reset),
    /// A consumer was forgotten.
    #[serde(rename = "consumer.deleted")]
    Deleted(Deleted),
    /// The broker moved a consumer, because its position was no longer in the log.
    #[serde(rename = "consumer.repositioned")]
    Repositioned(Repositioned),
    /// All consumers of a channel were forgotten with it.
    #[serde(rename = "consumer.channelDropped")]
    ChannelDropped(ChannelDropped),
    /// Behind the whole state: consumers of a channel that were forgotten, and when.
    #[serde(rename = "consumer.forgotten")]
    Forgotten(Forgotten),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "consumers.folded")]
    Folded(Folded<ConsumerRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`ConsumerEvent::Committed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Committed {
    /// Log that the offset belongs to.
    pub channel: Incarnation,
    /// Name of the channel as the commit was made.
    pub channel_name: ChannelName,
    /// Who committed.
    pub consumer: ConsumerName,
    /// Next offset to read.
    pub offset: Offset,
    /// The consumer's own words, opaque to the broker.
    pub metadata: String,
    /// Log epoch of the records that the consumer has read; 0 is unknown.
    pub log_epoch: LogEpoch,
    /// When.
    pub at: Timestamp,
}

/// See [`ConsumerEvent::Reset`]. The metadata of the former position is dropped with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Reset {
    /// Log that the offset belongs to.
    pub channel: Incarnation,
    /// Name of the channel as the reset was made.
    pub channel_name: ChannelName,
    /// Who is placed; need not have a position before.
    pub consumer: ConsumerName,
    /// Next offset to read.
    pub offset: Offset,
    /// Log epoch at that offset; 0 is unknown.
    pub log_epoch: LogEpoch,
    /// When.
    pub at: Timestamp,
}

/// See [`ConsumerEvent::Deleted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Deleted {
    /// Log that the position belonged to.
    pub channel: Incarnation,
    /// Who is forgotten.
    pub consumer: ConsumerName,
    /// When.
    pub at: Timestamp,
}

/// See [`ConsumerEvent::Repositioned`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Repositioned {
    /// Log that the offsets belong to.
    pub channel: Incarnation,
    /// Who is moved.
    pub consumer: ConsumerName,
    /// Position before.
    pub from: Offset,
    /// Position after, lower than before.
    pub to: Offset,
    /// Log epoch at the position after; 0 is unknown.
    pub log_epoch: LogEpoch,
    /// Why it had to be moved.
    pub reason: RepositionReason,
    /// When.
    pub at: Timestamp,
}

/// Why the broker moved a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
pub enum RepositionReason {
    /// Recovery found the log to end before the committed offset.
    BeyondLogEnd,
}

/// See [`ConsumerEvent::ChannelDropped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ChannelDropped {
    /// Log whose consumers are forgotten, all of them; it may have none.
    pub channel: Incarnation,
    /// When.
    pub at: Timestamp,
}

/// See [`ConsumerEvent::Forgotten`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Forgotten {
    /// Log that the positions belonged to.
    pub channel: Incarnation,
    /// Who was forgotten, and when; none of them has a position.
    pub consumers: Vec<(ConsumerName, Timestamp)>,
}

/// One consumer in a state record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerRow {
    /// Log that the position belongs to.
    pub channel: Incarnation,
    /// Name of the channel as last recorded.
    pub channel_name: ChannelName,
    /// Whose position.
    pub consumer: ConsumerName,
    /// The position with all that is known of it.
    #[serde(flatten)]
    pub position: super::Position,
}

folding::topic_event! {
    ConsumerEvent {
        Committed = "consumer.committed",
        Reset = "consumer.reset",
        Deleted = "consumer.deleted",
        Repositioned = "consumer.repositioned",
        ChannelDropped = "consumer.channelDropped",
        Forgotten = "consumer.forgotten",
        Folded = "consumers.folded",
    }
}
