//! Taking out of a log what is another's: the end of a log whose home was lost to another region.
//!
//! What is taken out lies in `lost+found/` by then, synced. Then the log is cut there
//! (`storage/cutting.rs`), and what is folded from it is folded anew.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::core::{Broker, Refusal, Wake, appended, rows_of};
use super::error::BrokerError;
use super::journal::{OwnRecord, own_batch};
use super::open::producers_of;
use super::producers::{ProducerLimits, Producers};
use super::travelled::Travelling;
use crate::format::{BatchHeader, ProducerRow};
use crate::storage::disk::Disk;
use crate::storage::{CutError, FoldHeaders, Need};
use crate::types::{ChannelName, Incarnation, Offset, Timestamp};

/// The table of producers that the batches give which stay in a log.
#[derive(Debug)]
struct Refold(Producers);

impl FoldHeaders for Refold {
    fn header(&mut self, header: &BatchHeader) {
        self.0.record(&appended(header));
    }

    fn rows(&self) -> (u64, Vec<ProducerRow>) {
        rows_of(&self.0)
    }
}

/// An empty table, for a log that is written or cut.
pub(super) fn empty(limits: ProducerLimits) -> Box<dyn FoldHeaders> {
    Box::new(Refold(Producers::new(limits)))
}

impl Broker {
    /// The disk, and where what is set aside goes.
    #[must_use]
    pub fn aside(&self) -> (Arc<dyn Disk>, PathBuf, &Path) {
        let (disk, layout) = self.storage.place();
        (disk.clone(), layout.lost_and_found(), layout.root())
    }

    /// Whether anything stays of a log that is cut at an offset: it is readable, and on the record.
    #[must_use]
    pub fn stays(&self, id: Incarnation, at: Offset) -> bool {
        let recorded = self.directory.log_start(id);
        let log = self.storage.log(id).map(|log| log.log_start());
        recorded.max(log).is_some_and(|start| start < at)
    }

    /// Takes no batches into a copy while what it holds is compared and set aside.
    pub fn hold_copy(&mut self, id: Incarnation) {
        self.held_copies.insert(id);
    }

    /// Takes batches again.
    pub fn release_copy(&mut self, id: Incarnation) {
        self.held_copies.remove(&id);
    }

    /// Begins to cut off what a log has from an offset on, which lies elsewhere by now.
    ///
    /// # Errors
    /// [`CutError`]; the log is as it was.
    pub fn begin_cut(&mut self, id: Incarnation, at: Offset) -> Result<(), CutError> {
        let fold = empty(self.config.producers);
        self.storage.begin_cut(id, at, fold)
    }

    /// How the cut of a log has ended, once; none while it goes on.
    pub fn take_cut(&mut self, id: Incarnation) -> Option<Result<(), CutError>> {
        self.cuts.remove(&id)
    }

    /// Books a cut that has ended, and brings what is folded from the log to its new end. Those it
    /// gives are to be woken.
    pub(super) fn book_cut(&mut self, now: Timestamp) -> Vec<Arc<dyn Wake>> {
        let Some((id, ended)) = self.storage.take_cut() else {
            return Vec::new();
        };
        // What was to be trimmed may have been cut off.
        self.untrimmed.remove(&id);
        let ended = ended.map(|(fence, rows)| {
            let producers = producers_of(self.config.producers, fence, &rows);
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.producers = producers;
            }
            self.clamp_positions_of(id, now);
        });
        self.cuts.insert(id, ended);
        let mut wake = self.round_waiters.take_all();
        wake.extend(self.log_waiters.remove(&id).unwrap_or_default());
        wake
    }

    /// Brings positions beyond the end of a log that was cut to that end, on the record; where there
    /// is no room for that, the next start does it.
    fn clamp_positions_of(&mut self, id: Incarnation, now: Timestamp) {
        let Some(log) = self.storage.log(id) else {
            return;
        };
        let (end, epoch) = (log.end(), log.last_epoch());
        let events = self.consumers.clamp_to(id, end, epoch, now);
        if events.is_empty() || self.unknown_positions.is_some() {
            return;
        }
        let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_consumer).collect();
        let staged = own_batch(self.positions, &records)
            .and_then(|batch| Ok(self.storage.stage_for(&mut vec![batch], Need::Own, now)?))
            .and_then(|staged| self.apply_commits(&events, &staged));
        if let Err(error) = staged {
            tracing::warn!(log = %id, %error, "positions behind the end of a log stay for now");
        }
    }

    /// Removes a copy of which nothing belongs to its log: all of it lies elsewhere by now.
    ///
    /// # Errors
    /// [`Refusal`]: no such channel, or there is no room for the record.
    pub fn drop_copy(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.channel_is(name, id)?;
        if self.elsewhere(id).is_none() {
            return Err(BrokerError::Bug("a home is not dropped".into()).into());
        }
        if name == &Travelling::Regions.name() {
            // Until all of it has come from its home, nobody knows here who may hold what.
            return self.lets_go(name, "all of it was another region's", now);
        }
        if name.is_internal() {
            return Ok(self.remove_travelled(name, now)?);
        }
        Ok(self.drop_log_of_copy(id, now)?)
    }
}
