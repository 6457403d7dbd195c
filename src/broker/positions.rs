//! Consumers: commits, positions, resets, and how far behind they are.

use std::collections::BTreeSet;
use std::ops::Bound;

use super::core::{Accepted, Broker, Part, Refusal, Wait};
use super::directory::Channel;
use super::error::BrokerError;
use super::journal::{OwnRecord, own_batch};
use crate::consumer::{
    ChannelDropped, Commit, Committed, ConsumerEvent, Consumers, Deleted, Expected, Position, Reset,
};
use crate::storage::Need;
use crate::types::{ChannelName, ConsumerName, Incarnation, LogEpoch, Offset, Timestamp};

/// A commit as a client asks for it.
#[derive(Debug, Clone)]
pub struct CommitRequest {
    /// The channel.
    pub channel: ChannelName,
    /// The identity it must have, if the client knows it.
    pub incarnation: Option<Incarnation>,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The next offset it will read.
    pub offset: Offset,
    /// The epoch it last saw; 0 when it knows none.
    pub log_epoch: LogEpoch,
    /// Where it must stand before.
    pub expected: Expected,
    /// What it wants to find beside the position.
    pub metadata: String,
}

/// Where a consumer stands.
#[derive(Debug, Clone)]
pub struct ConsumerInfo {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
    /// Its position.
    pub position: Position,
    /// Records up to the high watermark.
    pub lag_records: u64,
    /// Their bytes, as stored, estimated from the segments' sizes.
    pub lag_bytes: u64,
    /// The channel's identity; with the position, it finds when the next record was appended:
    /// [`Broker::append_time_of`].
    pub incarnation: Incarnation,
}

/// Where a list of consumers goes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConsumersFrom {
    channel: ChannelName,
    /// Behind this one; behind all of the channel where there is none.
    consumer: Option<ConsumerName>,
}

impl ConsumersFrom {
    fn behind(channel: &ChannelName) -> Self {
        Self {
            channel: channel.clone(),
            consumer: None,
        }
    }

    fn in_channel(last: &ConsumerInfo) -> Self {
        Self {
            channel: last.channel.clone(),
            consumer: Some(last.consumer.clone()),
        }
    }

    fn bound(&self) -> Bound<&ChannelName> {
        match self.consumer {
            Some(_) => Bound::Included(&self.channel),
            None => Bound::Excluded(&self.channel),
        }
    }
}

/// A piece of a list of consumers.
#[derive(Debug, Clone, Default)]
pub struct ConsumersPiece {
    /// Those that were found.
    pub rows: Vec<ConsumerInfo>,
    /// Where there may be more.
    pub next: Option<ConsumersFrom>,
}

impl Broker {
    /// Where consumers stand.
    ///
    /// # Errors
    /// [`BrokerError::UnknownPositions`] where the topic of positions is damaged: none of them may
    /// pass for absent or for up to date.
    pub(super) fn known_consumers(&self) -> Result<&Consumers, BrokerError> {
        match &self.unknown_positions {
            Some(error) => Err(BrokerError::UnknownPositions(error.clone())),
            None => Ok(&self.consumers),
        }
    }

    /// Records that a consumer has read up to an offset.
    ///
    /// # Errors
    /// [`Refusal`]: a position ahead of the log, another previous position than expected, metadata
    /// beyond its limit, or a position read from a part of the log that was cut off.
    pub fn commit(
        &mut self,
        request: &CommitRequest,
        now: Timestamp,
    ) -> Result<Accepted<Offset>, Refusal> {
        let events = self.check_commits(std::slice::from_ref(request), now)?;
        self.record_positions(&events, now)?;
        Ok(Accepted {
            value: request.offset,
            wait: self.wait_for(self.positions),
        })
    }

    /// Moves a consumer to an offset, backwards or forwards.
    ///
    /// # Errors
    /// [`Refusal`] when the offset is outside the log.
    pub fn reset(
        &mut self,
        channel: &ChannelName,
        consumer: ConsumerName,
        offset: Offset,
        now: Timestamp,
    ) -> Result<Accepted<ConsumerInfo>, Refusal> {
        let id = self.channel_to_read(channel, None)?;
        let log = self.storage.log(id).ok_or_else(|| no_such(channel))?;
        let event = self.known_consumers()?.check_reset(
            Reset {
                channel: id,
                channel_name: channel.clone(),
                consumer: consumer.clone(),
                offset,
                log_epoch: log.last_epoch(),
                at: now,
            },
            log.log_start()..log.high_watermark(),
        )?;
        self.record_positions(&[event], now)?;
        Ok(Accepted {
            value: self.position(channel, &consumer)?.value,
            wait: self.wait_for(self.positions),
        })
    }

    /// Forgets a consumer.
    ///
    /// # Errors
    /// [`Refusal`] when it has no position.
    pub fn delete_consumer(
        &mut self,
        channel: &ChannelName,
        consumer: ConsumerName,
        now: Timestamp,
    ) -> Result<Accepted<()>, Refusal> {
        let id = self.channel_to_read(channel, None)?;
        let event = self.known_consumers()?.check_delete(Deleted {
            channel: id,
            consumer,
            at: now,
        })?;
        self.record_positions(&[event], now)?;
        Ok(Accepted {
            value: (),
            wait: self.wait_for(self.positions),
        })
    }

    /// Where a consumer stands, and how far behind.
    ///
    /// # Errors
    /// [`BrokerError::NoSuchConsumer`] when it has no position, and
    /// [`BrokerError::UnknownPositions`].
    pub fn position(
        &self,
        channel: &ChannelName,
        consumer: &ConsumerName,
    ) -> Result<Accepted<ConsumerInfo>, BrokerError> {
        let id = self.channel_to_read(channel, None)?;
        let position = self.known_consumers()?.position(id, consumer.as_str());
        let position = position.ok_or_else(|| BrokerError::NoSuchConsumer {
            channel: channel.to_string(),
            consumer: consumer.clone(),
        })?;
        let value = self.consumer_info(id, channel, consumer, position);
        Ok(Accepted {
            value,
            wait: self.wait_for(self.positions),
        })
    }

    /// The consumers of one channel, or of all, by channel and name: the next of them, as many as are
    /// found with a look at so many channels and consumers. Of a channel with a log for each region
    /// they are those of all its logs that are here.
    ///
    /// Who lets the broker go between two pieces gets each consumer once that is there throughout:
    /// both names only grow.
    ///
    /// - `from`: where the piece before ended.
    /// - `most`: at least 1.
    ///
    /// # Errors
    /// [`BrokerError::NoSuchChannel`] and [`BrokerError::UnknownPositions`].
    pub fn consumers_from(
        &self,
        channel: Option<&ChannelName>,
        from: Option<&ConsumersFrom>,
        most: usize,
    ) -> Result<Accepted<ConsumersPiece>, BrokerError> {
        let consumers = self.known_consumers()?;
        let mut piece = ConsumersPiece::default();
        let (mut looked, mut before) = (0, None);
        'all: for (id, name) in self.logs_consumed(channel, from)? {
            if looked >= most {
                piece.next = before.map(ConsumersFrom::behind);
                break;
            }
            looked += 1;
            let begun = from.filter(|from| from.channel == *name);
            let after = begun.and_then(|from| from.consumer.as_ref());
            for (consumer, position) in consumers.list_after(id, after) {
                if looked > most {
                    piece.next = piece.rows.last().map(ConsumersFrom::in_channel);
                    break 'all;
                }
                looked += 1;
                let info = self.consumer_info(id, name, consumer, position);
                piece.rows.push(info);
            }
            before = Some(name);
        }
        Ok(Accepted {
            value: piece,
            wait: self.wait_for(self.positions),
        })
    }

    /// The logs of one channel, or of all, by name, from a place on.
    fn logs_consumed<'a>(
        &'a self,
        channel: Option<&'a ChannelName>,
        from: Option<&'a ConsumersFrom>,
    ) -> Result<Box<dyn Iterator<Item = (Incarnation, &'a ChannelName)> + 'a>, BrokerError> {
        let from = from.map_or(Bound::Unbounded, ConsumersFrom::bound);
        let Some(channel) = channel else {
            let all = self.directory.iter_from(from.map(ChannelName::as_str));
            return Ok(Box::new(all.map(|(id, channel)| (id, &channel.name))));
        };
        let logs = self.logs_of(channel);
        let mut logs: Vec<_> = logs.map(|(id, log)| (id, &log.name)).collect();
        if logs.is_empty() {
            logs.push((self.channel_to_read(channel, None)?, channel));
        }
        logs.retain(|(_, name)| match from {
            Bound::Included(at) => *name >= at,
            Bound::Excluded(at) => *name > at,
            Bound::Unbounded => true,
        });
        logs.sort_by_key(|(_, name)| *name);
        Ok(Box::new(logs.into_iter()))
    }

    fn consumer_info(
        &self,
        id: Incarnation,
        channel: &ChannelName,
        consumer: &ConsumerName,
        position: &Position,
    ) -> ConsumerInfo {
        let log = self.storage.log(id);
        let end = log.map_or(Offset(0), |log| log.high_watermark());
        let from = position
            .offset
            .max(log.map_or(Offset(0), |log| log.log_start()));
        let lag_records = end.0.saturating_sub(from.0);
        let lag_bytes = if lag_records == 0 {
            0
        } else {
            self.storage.bytes_from(id, from)
        };
        ConsumerInfo {
            channel: channel.clone(),
            consumer: consumer.clone(),
            position: position.clone(),
            lag_records,
            lag_bytes,
            incarnation: id,
        }
    }

    /// Turns commits into the events that record them.
    pub(super) fn check_commits(
        &self,
        commits: &[CommitRequest],
        now: Timestamp,
    ) -> Result<Vec<ConsumerEvent>, Refusal> {
        let mut events = Vec::with_capacity(commits.len());
        for (at, commit) in commits.iter().enumerate() {
            let is_repeated = commits[..at].iter().any(|earlier| {
                earlier.channel == commit.channel && earlier.consumer == commit.consumer
            });
            if is_repeated {
                let rule = "a consumer may commit once for each channel in an atomic publish";
                return Err(Refusal::from(BrokerError::Atomic { rule }).of_part(Part::Commit, at));
            }
            let event = self.check_one_commit(commit, now);
            events.push(event.map_err(|refusal| refusal.of_part(Part::Commit, at))?);
        }
        Ok(events)
    }

    fn check_one_commit(
        &self,
        commit: &CommitRequest,
        now: Timestamp,
    ) -> Result<ConsumerEvent, Refusal> {
        let id = self.channel_to_read(&commit.channel, commit.incarnation)?;
        let log = self
            .storage
            .log(id)
            .ok_or_else(|| no_such(&commit.channel))?;
        if commit.log_epoch > log.last_epoch() && commit.offset > log.high_watermark() {
            return Err(BrokerError::Diverged {
                offset: commit.offset,
                seen: commit.log_epoch.0,
                log_end: log.high_watermark(),
            }
            .into());
        }
        let known = commit.log_epoch.0 != 0;
        let committed = Committed {
            channel: id,
            channel_name: commit.channel.clone(),
            consumer: commit.consumer.clone(),
            offset: commit.offset,
            metadata: commit.metadata.clone(),
            log_epoch: if known {
                commit.log_epoch
            } else {
                log.last_epoch()
            },
            at: now,
        };
        let checked = self.known_consumers()?.check_commit(
            Commit {
                committed,
                expected: commit.expected,
            },
            log.log_start()..log.high_watermark(),
        );
        checked
            .map_err(|error| Refusal::revealing(error.into(), Some(self.wait_for(self.positions))))
    }

    /// Channels that are no more and whose positions are not dropped yet.
    #[must_use]
    pub fn stray_positions(&self) -> usize {
        self.strays().count()
    }

    fn strays(&self) -> impl Iterator<Item = Incarnation> {
        let is_live = |id| {
            let channel = self.directory.by_incarnation(id);
            channel.is_some_and(Channel::is_live)
        };
        let channels = self.consumers.channels().map(|(id, _)| id);
        let channels: BTreeSet<Incarnation> =
            channels.chain(self.consumers.forgotten_in()).collect();
        channels.into_iter().filter(move |id| !is_live(*id))
    }

    /// Drops the positions of channels that are no more. What can't be recorded now is left for the
    /// next tick or start: nobody can ask for it.
    pub(super) fn drop_positions(&mut self, now: Timestamp) {
        if !self.has_stray_positions || self.unknown_positions.is_some() {
            return;
        }
        let dropped: Vec<ConsumerEvent> = self
            .strays()
            .map(|channel| ConsumerEvent::ChannelDropped(ChannelDropped { channel, at: now }))
            .collect();
        let recorded = match dropped.is_empty() {
            true => Ok(()),
            false => self.stage_positions(&dropped, Need::Freeing, now),
        };
        match recorded {
            Ok(()) => self.has_stray_positions = false,
            Err(refusal) => {
                tracing::debug!(error = %refusal.error, "positions of deleted channels stay");
            }
        }
    }

    pub(super) fn record_positions(
        &mut self,
        events: &[ConsumerEvent],
        now: Timestamp,
    ) -> Result<Wait, Refusal> {
        self.stage_positions(events, Need::Own, now)?;
        Ok(self.wait_for(self.positions))
    }

    fn stage_positions(
        &mut self,
        events: &[ConsumerEvent],
        need: Need,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_consumer).collect();
        let mut batches = vec![own_batch(self.positions, &records)?];
        let staged = self.storage.stage_for(&mut batches, need, now)?;
        Ok(self.apply_commits(events, &staged)?)
    }
}

pub(super) fn no_such(channel: &ChannelName) -> BrokerError {
    BrokerError::NoSuchChannel {
        name: channel.to_string(),
    }
}
