//! Channels that are over: deleted at their home, as the directory of all regions says, which has no
//! such name any more. What is here of one stays, and is in the way of no other: where a channel is
//! made of that name, it is kept beside, as that of a channel that was made again at its home.

use super::config::ChannelConfig;
use super::copies::Residence;
use super::core::Broker;
use super::directory::CreateError;
use super::error::BrokerError;
use super::journal::own_batch;
use super::regions::Seat;
use crate::storage::Need;
use crate::types::{ChannelName, Incarnation, Timestamp};

impl Broker {
    /// Whether a copy is here under a name whose channel is over: its home belongs to the directory, or
    /// did, and the directory has no such channel. Of a channel with a log for each region it names
    /// one log alone, so that nobody can tell of the others.
    #[must_use]
    pub fn is_over(&self, name: &ChannelName) -> bool {
        if name.is_internal() || name.region().is_some() || self.lacking.has_directory() {
            return false;
        }
        let Residence::Copy(id, home) = self.residence(name) else {
            return false;
        };
        let directory = &self.regions;
        let is_of_it = directory.is_known(&home) || directory.left_at(&home).is_some();
        let known = directory.channel(name.as_str());
        let is_named = known.is_some_and(|known| known.logs.values().any(|log| *log == id));
        self.directory_seat() != Seat::Nowhere && is_of_it && !is_named
    }

    /// Whether the channel of a copy is over, and the directory has another one of its name: this.
    #[must_use]
    pub fn is_made_again(&self, name: &ChannelName, new: Incarnation) -> bool {
        let known = self.regions.channel(name.as_str());
        let is_named = known.is_some_and(|known| known.logs.values().any(|log| *log == new));
        is_named && self.is_over(name)
    }

    /// Keeps beside what is here of a channel that is over, where one of its name is made here. What
    /// is made then may be refused still: nothing is lost by it.
    pub(super) fn make_way(
        &mut self,
        name: &ChannelName,
        config: &ChannelConfig,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        // A log of one region has no channel of one log beside it.
        for name in [name.clone(), name.channel()] {
            if let Residence::Copy(old, _) = self.residence(&name)
                && self.is_over(&name)
            {
                config.check().map_err(CreateError::from)?;
                self.put_aside(&name, old, now)?;
            }
        }
        Ok(())
    }

    fn put_aside(
        &mut self,
        name: &ChannelName,
        old: Incarnation,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let (renamed, drafted) = self.draft_beside(name, old, now)?;
        let more = own_batch(drafted.log, &drafted.records)?;
        let staged = self.record_directory_with(&[renamed], Some(more), Need::Producer, now)?;
        self.booked(drafted.log, &staged);
        self.kept.copies = drafted.next;
        self.kept.events += drafted.records.len() as u64;
        // Who waits for more of it is told.
        if let Some(waiters) = self.log_waiters.remove(&old) {
            self.round_waiters.extend(waiters);
        }
        tracing::warn!(
            channel = %name, %old,
            "another channel is made of a name that was deleted: what is here of the old one is kept \
             beside"
        );
        Ok(())
    }
}
