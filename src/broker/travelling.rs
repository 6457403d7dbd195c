//! Positions of consumers that travel with a channel, from where it is pulled to its copies.

use super::core::{Broker, Refusal};
use super::error::BrokerError;
use crate::consumer::{Commit, Committed, Deleted, Expected, Position};
use crate::types::{ChannelName, ConsumerName, Incarnation, LogEpoch, Offset, Timestamp};

/// Where a consumer stands in another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Placed {
    /// The consumer.
    pub consumer: ConsumerName,
    /// Next offset that it reads; `None` where it was forgotten.
    pub offset: Option<Offset>,
    /// Log epoch of the records before it; 0 is unknown.
    pub log_epoch: LogEpoch,
    /// When it came to be there.
    pub at: Timestamp,
    /// Its own words.
    pub metadata: String,
}

impl Broker {
    /// The topic that grows whenever a consumer moves.
    #[must_use]
    pub fn positions_log(&self) -> Incarnation {
        self.positions
    }

    /// The channels that have consumers.
    #[must_use]
    pub fn channels_with_consumers(&self) -> Vec<Incarnation> {
        let known = self.known_consumers().into_iter();
        known
            .flat_map(|consumers| consumers.channels().map(|(id, _)| id))
            .collect()
    }

    /// The consumers of a channel, and where they stand.
    pub fn positions_of(
        &self,
        id: Incarnation,
    ) -> impl Iterator<Item = (&ConsumerName, &Position)> {
        let known = self.known_consumers().into_iter();
        known.flat_map(move |consumers| consumers.list(id))
    }

    /// The consumers of a channel that were forgotten here, and when.
    pub fn forgotten_of(
        &self,
        id: Incarnation,
    ) -> impl Iterator<Item = (&ConsumerName, Timestamp)> {
        let known = self.known_consumers().into_iter();
        known.flat_map(move |consumers| consumers.forgotten(id))
    }

    /// Takes where a consumer stands in the region that a copy is pulled from. Where it was moved
    /// here later than there, it stays where it is.
    ///
    /// # Errors
    /// [`Refusal`]: no such copy, a position above what may be read of it, or no room.
    pub fn place_consumer(
        &mut self,
        channel: &ChannelName,
        id: Incarnation,
        placed: Placed,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.channel_is(channel, id)?;
        let log = self.storage.log(id);
        let log = log.ok_or_else(|| super::positions::no_such(channel))?;
        let readable = log.log_start()..log.high_watermark();
        let consumers = self.known_consumers()?;
        let here = consumers.position(id, placed.consumer.as_str());
        if here.is_some_and(|here| here.at >= placed.at) {
            return Ok(());
        }
        // One that was forgotten here later than it was placed there stays forgotten.
        let forgotten = consumers.forgotten_at(id, placed.consumer.as_str());
        if placed.offset.is_some() && forgotten.is_some_and(|at| at >= placed.at) {
            return Ok(());
        }
        let event = match placed.offset {
            None if here.is_none() => return Ok(()),
            None => {
                let checked = consumers.check_delete(Deleted {
                    channel: id,
                    consumer: placed.consumer,
                    at: placed.at,
                });
                checked.map_err(BrokerError::from)?
            }
            Some(offset) => {
                let committed = Committed {
                    channel: id,
                    channel_name: channel.clone(),
                    consumer: placed.consumer,
                    offset,
                    metadata: placed.metadata,
                    log_epoch: placed.log_epoch,
                    at: placed.at,
                };
                let expected = Expected::Any;
                let commit = Commit {
                    committed,
                    expected,
                };
                let checked = consumers.check_commit(commit, readable);
                checked.map_err(BrokerError::from)?
            }
        };
        self.record_positions(&[event], now).map(drop)
    }
}
