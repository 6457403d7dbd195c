//! The positions of all consumers, folded from [`ConsumerEvent`]s.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Bound, Range};

use serde::{Deserialize, Serialize};

use super::event::{
    ChannelDropped, Committed, ConsumerEvent, ConsumerRow, Deleted, Forgotten, RepositionReason,
    Repositioned, Reset,
};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::types::{
    ChannelName, ConsumerName, Incarnation, LogEpoch, MAX_METADATA_BYTES, Offset, Timestamp,
};

/// Most consumers of a channel of which it is known that they were forgotten: the latest ones.
pub const MAX_FORGOTTEN: usize = 1000;

/// Where a consumer stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Position {
    /// Next offset to read.
    pub offset: Offset,
    /// What the consumer stored with it; empty after a reset.
    pub metadata: String,
    /// Log epoch of the records read before it; 0 is unknown.
    pub log_epoch: LogEpoch,
    /// When it came to be here.
    pub at: Timestamp,
    /// Set when the broker moved it here, until the next commit or reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repositioned: Option<PositionMark>,
}

/// Says that the broker moved a consumer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PositionMark {
    /// The offset it had committed.
    pub from: Offset,
    /// Why it could not stay there.
    pub reason: RepositionReason,
}

/// What a commit demands of the position before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing.
    Any,
    /// The consumer must have none yet.
    Absent,
    /// It must be this one.
    At(Offset),
}

impl fmt::Display for Expected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any position"),
            Self::Absent => f.write_str("no position"),
            Self::At(offset) => offset.fmt(f),
        }
    }
}

/// A consumer's request to record a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// What is to be recorded.
    pub committed: Committed,
    /// Compare-and-set on the position before.
    pub expected: Expected,
}

/// Why a commit is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The position is not the expected one; somebody else has moved it.
    #[error("expected {expected}, but the consumer is at {}", at(.actual))]
    PositionMismatch {
        /// What the commit demanded.
        expected: Expected,
        /// The position now, if there is one.
        actual: Option<Offset>,
    },
    /// Nothing has been read there yet.
    #[error("offset {offset} is beyond the log {log_start}..{log_end}")]
    BeyondLogEnd {
        /// The offset of the commit.
        offset: Offset,
        /// Lowest offset still readable.
        log_start: Offset,
        /// Offset of the next record to be appended; the highest that may be committed.
        log_end: Offset,
    },
    /// The metadata is longer than allowed.
    #[error("metadata of {found} bytes is longer than {limit}")]
    MetadataTooLarge {
        /// Bytes of the metadata.
        found: usize,
        /// [`MAX_METADATA_BYTES`].
        limit: usize,
    },
}

/// Why a reset is refused: the offset is not in the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("offset {offset} is outside {}..{}, the end included", .available.start, .available.end)]
pub struct ResetError {
    /// The offset asked for.
    pub offset: Offset,
    /// Log start and log end; the log end may be asked for too.
    pub available: Range<Offset>,
}

/// Why a consumer cannot be deleted: it has no position on the channel.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("consumer `{consumer}` has no position on channel {channel}")]
pub struct DeleteError {
    /// The channel asked for.
    pub channel: Incarnation,
    /// The consumer asked for.
    pub consumer: ConsumerName,
}

fn at(offset: &Option<Offset>) -> String {
    offset.map_or_else(|| "no position".to_owned(), |offset| offset.to_string())
}

/// The positions of all consumers. For each consumer of each channel:
///
/// ```text
/// Absent --committed, reset--> Placed --deleted, channelDropped--> Absent
///                               | ^  <--committed, reset-- (to any offset, itself included)
///                 repositioned  | |  committed, reset
///                               v |
///                              Moved --deleted, channelDropped--> Absent
///                                ^---repositioned
/// ```
///
/// `channelDropped` of a channel without consumers changes nothing. A state record replaces all
/// once its last part is there; no other event may stand between its parts. An unknown event
/// changes nothing.
///
/// That a consumer was forgotten, and when, is known until it is placed again or its channel is
/// dropped, of the latest [`MAX_FORGOTTEN`] of a channel: copies in other regions learn it from there.
///
/// The limits on a commit are judged once, at the door ([`Consumers::check_commit`]), and not
/// again by a replay: a log written under wider limits stays readable.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consumers {
    channels: BTreeMap<Incarnation, Channel>,
    /// Consumers without a position that had one, and when that was forgotten; no channel without any.
    forgotten: BTreeMap<Incarnation, BTreeMap<ConsumerName, Timestamp>>,
    assembly: Option<Assembly<ConsumerRow>>,
}

/// The consumers of one channel; never empty, so that equal contents are equal states.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Channel {
    name: ChannelName,
    positions: BTreeMap<ConsumerName, Position>,
}

impl Consumers {
    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &ConsumerEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(event),
            rule,
        })
    }

    /// An event as it may be applied where records before it are lost: whether it follows from
    /// them is not known. `None` where it says nothing of what is left.
    ///
    /// A consumer that it moves, or that stands elsewhere than it says, is placed where it was
    /// moved to; where even the channel's name is lost with its commits, it stays absent.
    #[must_use]
    pub fn behind_gap(&self, event: ConsumerEvent) -> Option<ConsumerEvent> {
        let known = |channel, consumer: &ConsumerName| self.position(channel, consumer.as_str());
        match event {
            ConsumerEvent::Deleted(deleted) => known(deleted.channel, &deleted.consumer)
                .is_some()
                .then_some(ConsumerEvent::Deleted(deleted)),
            ConsumerEvent::Repositioned(moved) => {
                let position = known(moved.channel, &moved.consumer);
                if position.is_some_and(|position| position.offset == moved.from) {
                    return Some(ConsumerEvent::Repositioned(moved));
                }
                let name = &self.channels.get(&moved.channel)?.name;
                Some(ConsumerEvent::Reset(Reset {
                    channel: moved.channel,
                    channel_name: name.clone(),
                    consumer: moved.consumer,
                    offset: moved.to,
                    log_epoch: moved.log_epoch,
                    at: moved.at,
                }))
            }
            other => Some(other),
        }
    }

    /// Turns a commit into the event that records it.
    ///
    /// - `log`: log start to log end of the channel. The log end itself may be committed: all is
    ///   read. An offset below the log start may be, too: it is true of a consumer that retention
    ///   has overtaken, and its next fetch says so.
    ///
    /// # Errors
    /// [`CommitError`] naming what was expected and what was found. Nothing is changed either way.
    pub fn check_commit(
        &self,
        commit: Commit,
        log: Range<Offset>,
    ) -> Result<ConsumerEvent, CommitError> {
        let Commit {
            committed,
            expected,
        } = commit;
        if committed.metadata.len() > MAX_METADATA_BYTES {
            return Err(CommitError::MetadataTooLarge {
                found: committed.metadata.len(),
                limit: MAX_METADATA_BYTES,
            });
        }
        let actual = self
            .position(committed.channel, committed.consumer.as_str())
            .map(|position| position.offset);
        let holds = match expected {
            Expected::Any => true,
            Expected::Absent => actual.is_none(),
            Expected::At(offset) => actual == Some(offset),
        };
        if !holds {
            return Err(CommitError::PositionMismatch { expected, actual });
        }
        if committed.offset > log.end {
            return Err(CommitError::BeyondLogEnd {
                offset: committed.offset,
                log_start: log.start,
                log_end: log.end,
            });
        }
        Ok(ConsumerEvent::Committed(committed))
    }

    /// Turns a request to place a consumer into the event that records it.
    ///
    /// - `log`: log start to log end of the channel; the log end itself may be asked for.
    ///
    /// # Errors
    /// [`ResetError`] with the valid range when the offset is outside the log.
    pub fn check_reset(
        &self,
        reset: Reset,
        log: Range<Offset>,
    ) -> Result<ConsumerEvent, ResetError> {
        if reset.offset < log.start || reset.offset > log.end {
            return Err(ResetError {
                offset: reset.offset,
                available: log,
            });
        }
        Ok(ConsumerEvent::Reset(reset))
    }

    /// Turns a request to forget a consumer into the event that records it.
    ///
    /// # Errors
    /// [`DeleteError`] when the consumer has no position on that channel.
    pub fn check_delete(&self, deleted: Deleted) -> Result<ConsumerEvent, DeleteError> {
        if self
            .position(deleted.channel, deleted.consumer.as_str())
            .is_none()
        {
            return Err(DeleteError {
                channel: deleted.channel,
                consumer: deleted.consumer,
            });
        }
        Ok(ConsumerEvent::Deleted(deleted))
    }

    /// The events that bring a channel's consumers back to its log end, after recovery found that
    /// the log ends before their positions. Empty when none is beyond it.
    ///
    /// - `log_epoch`: epoch of the log at its end, for the new positions.
    #[must_use]
    pub fn clamp_to(
        &self,
        channel: Incarnation,
        log_end: Offset,
        log_epoch: LogEpoch,
        at: Timestamp,
    ) -> Vec<ConsumerEvent> {
        self.list(channel)
            .filter(|(_, position)| position.offset > log_end)
            .map(|(consumer, position)| {
                ConsumerEvent::Repositioned(Repositioned {
                    channel,
                    consumer: consumer.clone(),
                    from: position.offset,
                    to: log_end,
                    log_epoch,
                    reason: RepositionReason::BeyondLogEnd,
                    at,
                })
            })
            .collect()
    }

    /// Where a consumer of a channel stands, if it has a position.
    #[must_use]
    pub fn position(&self, channel: Incarnation, consumer: &str) -> Option<&Position> {
        self.channels.get(&channel)?.positions.get(consumer)
    }

    /// The consumers of a channel, sorted by name.
    pub fn list(&self, channel: Incarnation) -> impl Iterator<Item = (&ConsumerName, &Position)> {
        self.list_after(channel, None)
    }

    /// The consumers of a channel behind one of them, sorted by name.
    pub fn list_after(
        &self,
        channel: Incarnation,
        after: Option<&ConsumerName>,
    ) -> impl Iterator<Item = (&ConsumerName, &Position)> {
        let after = after.map_or(Bound::Unbounded, Bound::Excluded);
        let channel = self.channels.get(&channel).into_iter();
        channel.flat_map(move |channel| {
            let range = (after, Bound::Unbounded);
            channel.positions.range::<ConsumerName, _>(range)
        })
    }

    /// The consumers of a channel that were forgotten, and when; sorted by name.
    pub fn forgotten(
        &self,
        channel: Incarnation,
    ) -> impl Iterator<Item = (&ConsumerName, Timestamp)> {
        let known = self.forgotten.get(&channel).into_iter().flatten();
        known.map(|(consumer, at)| (consumer, *at))
    }

    /// The channels of which it is known that consumers were forgotten.
    pub fn forgotten_in(&self) -> impl Iterator<Item = Incarnation> {
        self.forgotten.keys().copied()
    }

    /// When a consumer of a channel was forgotten, if it was.
    #[must_use]
    pub fn forgotten_at(&self, channel: Incarnation, consumer: &str) -> Option<Timestamp> {
        self.forgotten.get(&channel)?.get(consumer).copied()
    }

    /// The channels that have consumers, sorted by incarnation, each with its name as last
    /// recorded.
    pub fn channels(&self) -> impl Iterator<Item = (Incarnation, &ChannelName)> {
        self.channels
            .iter()
            .map(|(id, channel)| (*id, &channel.name))
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<ConsumerEvent> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<ConsumerEvent> {
        let rows = self.channels.iter().flat_map(|(id, channel)| {
            channel
                .positions
                .iter()
                .map(|(consumer, position)| ConsumerRow {
                    channel: *id,
                    channel_name: channel.name.clone(),
                    consumer: consumer.clone(),
                    position: position.clone(),
                })
        });
        let folded = folding::split(rows, max_part_bytes);
        let folded = folded.into_iter().map(ConsumerEvent::Folded);
        let forgotten = self.forgotten.iter().map(|(channel, known)| {
            ConsumerEvent::Forgotten(Forgotten {
                channel: *channel,
                consumers: known.iter().map(|(name, at)| (name.clone(), *at)).collect(),
            })
        });
        folded.chain(forgotten).collect()
    }

    fn transition(&mut self, event: &ConsumerEvent) -> Result<(), &'static str> {
        match event {
            ConsumerEvent::Unknown { .. } => Ok(()),
            ConsumerEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            ConsumerEvent::Committed(event) => {
                let position = Position {
                    offset: event.offset,
                    metadata: event.metadata.clone(),
                    log_epoch: event.log_epoch,
                    at: event.at,
                    repositioned: None,
                };
                self.place(
                    event.channel,
                    &event.channel_name,
                    &event.consumer,
                    position,
                );
                Ok(())
            }
            ConsumerEvent::Reset(event) => {
                let position = Position {
                    offset: event.offset,
                    metadata: String::new(),
                    log_epoch: event.log_epoch,
                    at: event.at,
                    repositioned: None,
                };
                self.place(
                    event.channel,
                    &event.channel_name,
                    &event.consumer,
                    position,
                );
                Ok(())
            }
            ConsumerEvent::Deleted(event) => self.delete(event),
            ConsumerEvent::Repositioned(event) => self.reposition(event),
            ConsumerEvent::ChannelDropped(ChannelDropped { channel, .. }) => {
                self.channels.remove(channel);
                self.forgotten.remove(channel);
                Ok(())
            }
            ConsumerEvent::Forgotten(event) => {
                for (consumer, at) in &event.consumers {
                    // Where records are lost between, it may have a position: that counts.
                    if self.position(event.channel, consumer.as_str()).is_none() {
                        self.forget(event.channel, consumer, *at);
                    }
                }
                Ok(())
            }
        }
    }

    fn place(
        &mut self,
        channel: Incarnation,
        name: &ChannelName,
        consumer: &ConsumerName,
        position: Position,
    ) {
        if let Some(known) = self.forgotten.get_mut(&channel)
            && known.remove(consumer).is_some()
            && known.is_empty()
        {
            self.forgotten.remove(&channel);
        }
        let channel = self.channels.entry(channel).or_insert_with(|| Channel {
            name: name.clone(),
            positions: BTreeMap::new(),
        });
        if channel.name != *name {
            channel.name = name.clone();
        }
        match channel.positions.get_mut(consumer) {
            Some(known) => *known = position,
            None => {
                channel.positions.insert(consumer.clone(), position);
            }
        }
    }

    fn delete(&mut self, event: &Deleted) -> Result<(), &'static str> {
        let channel = self
            .channels
            .get_mut(&event.channel)
            .ok_or("the consumer has no position")?;
        channel
            .positions
            .remove(&event.consumer)
            .ok_or("the consumer has no position")?;
        if channel.positions.is_empty() {
            self.channels.remove(&event.channel);
        }
        self.forget(event.channel, &event.consumer, event.at);
        Ok(())
    }

    /// Keeps that a consumer was forgotten; where there are too many, the first of them gives way.
    fn forget(&mut self, channel: Incarnation, consumer: &ConsumerName, at: Timestamp) {
        let known = self.forgotten.entry(channel).or_default();
        known.insert(consumer.clone(), at);
        if known.len() > MAX_FORGOTTEN {
            let oldest = known
                .iter()
                .min_by_key(|(name, at)| (**at, (*name).clone()));
            if let Some(name) = oldest.map(|(name, _)| name.clone()) {
                known.remove(&name);
            }
        }
    }

    fn reposition(&mut self, event: &Repositioned) -> Result<(), &'static str> {
        let position = self
            .channels
            .get_mut(&event.channel)
            .and_then(|channel| channel.positions.get_mut(&event.consumer))
            .ok_or("the consumer has no position")?;
        if position.offset != event.from {
            return Err("the consumer is at another offset than it is moved from");
        }
        if event.to >= event.from {
            return Err("a consumer is moved only to a lower offset");
        }
        position.offset = event.to;
        position.log_epoch = event.log_epoch;
        position.at = event.at;
        position.repositioned = Some(PositionMark {
            from: event.from,
            reason: event.reason,
        });
        Ok(())
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &ConsumerRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            let channel = state
                .channels
                .entry(row.channel)
                .or_insert_with(|| Channel {
                    name: row.channel_name.clone(),
                    positions: BTreeMap::new(),
                });
            if channel.name != row.channel_name {
                return Err("rows of one channel name it differently");
            }
            let former = channel
                .positions
                .insert(row.consumer.clone(), row.position.clone());
            if former.is_some() {
                return Err("two rows are of the same consumer");
            }
        }
        Ok(state)
    }
}

fn subject(event: &ConsumerEvent) -> String {
    match event {
        ConsumerEvent::Committed(Committed {
            channel, consumer, ..
        })
        | ConsumerEvent::Reset(Reset {
            channel, consumer, ..
        })
        | ConsumerEvent::Deleted(Deleted {
            channel, consumer, ..
        })
        | ConsumerEvent::Repositioned(Repositioned {
            channel, consumer, ..
        }) => format!("consumer `{consumer}` of channel {channel}"),
        ConsumerEvent::Forgotten(event) => format!("channel {}", event.channel),
        ConsumerEvent::ChannelDropped(event) => format!("channel {}", event.channel),
        ConsumerEvent::Folded(part) => format!("part {} of {}", part.part, part.parts),
        ConsumerEvent::Unknown { .. } => "nobody known".to_owned(),
    }
}
