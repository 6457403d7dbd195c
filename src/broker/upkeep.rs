//! The keeper's side of the broker: checkpoints, retention, folded topics, the last stop.

use std::ops::Bound;
use std::sync::Arc;

use super::core::{After, Broker, Rows, Wake};
use super::directory::{DirectoryEvent, Removed, Trimmed};
use super::error::BrokerError;
use super::journal::{OwnRecord, own_batch};
use crate::storage::{LoadTask, Need, PointJob, ScrubEnd, ScrubJob, Upkeep, UpkeepEnd};
use crate::types::{ChannelName, Incarnation, Offset, Timestamp};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// How far a stop has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// There is work for the committer or the keeper.
    Waiting,
    /// All is durable and the directory is marked clean.
    Clean,
    /// The journal, a segment or the disk's space failed: what was acknowledged is durable, and
    /// the next start replays the journal.
    Failed,
}

/// How far a look at the retention of all channels has come; see [`Broker::tick`].
#[derive(Debug)]
pub enum Looked {
    /// A channel's segments must be listed first; feed the end to [`Broker::finish_load`].
    Unlisted(LoadTask),
    /// Some channels were looked at. Others may be left: the next look goes on behind them.
    Part,
    /// None is left, or the broker stops: the next look begins with the first channel.
    All,
}

impl Broker {
    /// The next piece of upkeep that is due.
    pub fn plan_upkeep(&mut self, now: Timestamp) -> Option<Upkeep> {
        self.storage.cut_checkpoint(now, &Rows(&self.channels));
        self.storage.plan_upkeep(now)
    }

    /// Books how a piece of upkeep ended. Those it gives are to be woken without the lock.
    pub fn finish_upkeep(&mut self, end: UpkeepEnd, now: Timestamp) -> Vec<Arc<dyn Wake>> {
        if let Some(incarnation) = self.storage.finish_upkeep(end, now)
            && let Some(channel) = self.directory.by_incarnation(incarnation)
        {
            // What may come from another region again has the same identity then, and what the
            // journal still has of this log would pass for the other's.
            let may_return = self.config.region.is_some() || channel.copy.is_some();
            if may_return && self.storage.has_traces(incarnation) {
                self.removed.push(incarnation);
                self.storage.want_traces_gone();
            } else {
                self.record_removed(incarnation, now);
            }
        }
        // Behind the last checkpoint nothing is recorded any more: the next start does it.
        let is_over = |id: &mut Incarnation| !self.storage.has_traces(*id);
        if !self.is_stopping {
            for incarnation in self.removed.extract_if(.., is_over).collect::<Vec<_>>() {
                self.record_removed(incarnation, now);
            }
        }
        let mut wake = self.book_cut(now);
        wake.extend(self.book_wider(now));
        wake.extend(self.take_failed());
        wake
    }

    fn record_removed(&mut self, incarnation: Incarnation, now: Timestamp) {
        let removed = DirectoryEvent::Removed(Removed { incarnation });
        // If this is not recorded, the next start finds no files and records it.
        if let Err(error) = self.record_directory(&[removed], Need::Freeing, now) {
            tracing::debug!(%error, %incarnation, "a removal is not on the record yet");
        }
    }

    /// The next piece of scrubbing that is due.
    pub fn plan_scrub(&mut self, now: Timestamp) -> Option<ScrubJob> {
        if self.is_stopping {
            return None;
        }
        self.storage.plan_scrub(now)
    }

    /// Books how a piece of scrubbing ended.
    pub fn finish_scrub(&mut self, end: ScrubEnd, now: Timestamp) {
        self.storage.finish_scrub(end, now);
    }

    /// Asks for a sync of all that was staged, whatever it waits for.
    pub fn want_sync(&mut self) {
        self.storage.want_sync();
    }

    /// Asks for a check of all that is stored, now.
    pub fn want_scrub(&mut self) {
        self.storage.want_scrub();
    }

    /// The name of the channel of a log.
    #[must_use]
    pub fn name_of(&self, id: Incarnation) -> Option<&ChannelName> {
        let channel = self.directory.by_incarnation(id)?;
        Some(&channel.name)
    }

    /// The job that vouches for the last group after a while without work.
    #[must_use]
    pub fn plan_point(&self) -> Option<PointJob> {
        self.storage.plan_point()
    }

    /// Books how that job ended. Those it gives are to be woken without the lock.
    pub fn finish_point(
        &mut self,
        ended: Result<(), crate::storage::IoFailure>,
    ) -> Vec<Arc<dyn Wake>> {
        self.storage.finish_point(ended);
        self.take_failed()
    }

    /// Those who wait for a round, once the journal has failed: no round will wake them.
    fn take_failed(&mut self) -> Vec<Arc<dyn Wake>> {
        match self.storage.journal_failure() {
            Some(_) => self.round_waiters.take_all(),
            None => Vec::new(),
        }
    }

    /// Books what a look at the disk's free space found; `None` where it could not be told.
    pub fn book_free_bytes(&mut self, available: Option<u64>) {
        self.storage.book_free_bytes(available);
    }

    /// Looks at the retention of the next few channels, and folds topics that have grown.
    pub fn tick(&mut self, now: Timestamp) -> Looked {
        const CHANNELS_PER_TICK: usize = 64;
        if self.is_stopping {
            return Looked::All;
        }
        self.rewrap(now);
        self.trim_what_waits(now);
        self.fold_topics(now);
        self.record_wider(now);
        self.drop_positions(now);
        self.audit_suppressed(now);
        let after = self.retention_cursor;
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let live = self.directory.live_from(from);
        let next: Vec<Incarnation> = live.take(CHANNELS_PER_TICK).collect();
        if next.is_empty() {
            self.retention_cursor = None;
            return Looked::All;
        }
        for id in next {
            if let Some(task) = self.retain(id, now) {
                if self.storage.is_unlisted(id) {
                    // It must not hold up those behind it for ever: its next turn is the next try.
                    self.retention_cursor = Some(id);
                }
                return Looked::Unlisted(task);
            }
            if let Some(channel) = self.channels.get_mut(&id) {
                channel.producers.expire(now);
            }
            self.drop_spent(id, now);
            self.retention_cursor = Some(id);
        }
        Looked::Part
    }

    /// Trims one channel to its retention: on the record first, the files follow.
    fn retain(&mut self, id: Incarnation, now: Timestamp) -> Option<LoadTask> {
        let config = &self.directory.by_incarnation(id)?.config;
        if config.retention_days.is_none() && config.retention_bytes.is_none() {
            return None;
        }
        let days = config
            .retention_days
            .and_then(|days| i64::try_from(days).ok());
        let oldest = days.map(|days| now.saturating_add_ms(-days.saturating_mul(DAY_MS)));
        let max_bytes = config.retention_bytes;
        if let Some(task) = self.storage.plan_load(id) {
            return Some(task);
        }
        let is_pending =
            |(_, after): &(_, After)| matches!(after, After::Trim(log, _) if *log == id);
        if self.after.iter().any(is_pending) || self.storage.is_cut(id) {
            return None;
        }
        let dropped = |needed| (self.storage).retention_start(id, oldest, max_bytes, needed);
        // What is held is looked up only where something would go.
        let start = dropped(None).and_then(|_| dropped(self.needed_from(id)));
        if let Some(log_start) = start {
            self.trim(id, log_start, now).unwrap_or_else(|error| {
                tracing::warn!(log = %id, %error, "retention waits");
            });
        }
        None
    }

    pub(super) fn trim(
        &mut self,
        id: Incarnation,
        log_start: Offset,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let trimmed = DirectoryEvent::Trimmed(Trimmed {
            incarnation: id,
            log_start,
        });
        let staged = self.record_directory(&[trimmed], Need::Freeing, now)?;
        self.after.push((staged.entry, After::Trim(id, log_start)));
        tracing::info!(log = %id, %log_start, "retention moved the log start");
        Ok(())
    }

    /// Writes the folded state of a topic that only carries state, and trims the topic before it.
    fn fold_topics(&mut self, now: Timestamp) {
        let fold_events = self.config.fold_events;
        let directory_rows = self.directory.len() as u64;
        if self.directory_events >= fold_events.max(4 * directory_rows) {
            let events = self.directory.fold();
            let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_directory).collect();
            let id = self.storage.directory_id();
            if self.fold_topic(id, &records, now) {
                self.directory_events = 0;
            }
        }
        let access_rows = self.access.len() as u64;
        if self.access_events >= fold_events.max(4u64.saturating_mul(access_rows)) {
            let events = self.access.fold();
            let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_access).collect();
            if self.fold_topic(self.access_log, &records, now) {
                self.access_events = 0;
            }
        }
        if let Some(log) = self.interest_log {
            let rows = self.interests.len() as u64;
            if self.interest_events >= fold_events.max(4u64.saturating_mul(rows)) {
                let events = self.interests.fold();
                let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_interest).collect();
                if self.fold_topic(log, &records, now) {
                    self.interest_events = 0;
                }
            }
        }
        self.fold_region_topics(now);
        self.fold_regions(now);
        // What is not known must not be folded: nothing would take the place of what is there.
        let Ok(consumers) = self.known_consumers() else {
            return;
        };
        let consumer_rows = consumers
            .channels()
            .map(|(id, _)| consumers.list(id).count() as u64)
            .sum();
        if self.consumer_events >= fold_events.max(4u64.saturating_mul(consumer_rows)) {
            let events = consumers.fold();
            let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_consumer).collect();
            if self.fold_topic(self.positions, &records, now) {
                self.consumer_events = 0;
            }
        }
    }

    fn fold_region_topics(&mut self, now: Timestamp) {
        let fold_events = self.config.fold_events;
        if let (Some(log), Some(me)) = (self.homes.log, self.config.region.clone()) {
            let rows = self.homes.homes.rows_of(&me) as u64;
            if self.homes.events >= fold_events.max(4u64.saturating_mul(rows)) {
                let events = self.homes.homes.fold(&me);
                let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_home).collect();
                if self.fold_topic(log, &records, now) {
                    self.homes.events = 0;
                }
            }
        }
        if let Some(log) = self.kept.log {
            let copies = &self.kept.copies;
            let rows = (copies.list().count() + copies.aside().len()) as u64;
            if self.kept.events >= fold_events.max(4u64.saturating_mul(rows)) {
                let starts = |id| self.storage.log(id).map(|log| log.log_start());
                let copies = copies.without_gaps_below(starts);
                let events = copies.fold();
                let records: Vec<OwnRecord> = events.iter().map(OwnRecord::of_copy).collect();
                if self.fold_topic(log, &records, now) {
                    self.kept.copies = copies;
                    self.kept.events = 0;
                }
            }
        }
    }

    pub(super) fn fold_topic(
        &mut self,
        id: Incarnation,
        records: &[OwnRecord],
        now: Timestamp,
    ) -> bool {
        let folded = own_batch(id, records)
            .and_then(|batch| Ok(self.storage.stage_for(&mut vec![batch], Need::Own, now)?));
        let staged = match folded {
            Ok(staged) => staged,
            Err(error) => {
                tracing::debug!(log = %id, %error, "folding a topic waits");
                return false;
            }
        };
        self.booked(id, &staged);
        let start = staged.batches[0].offsets.start;
        if id == self.storage.directory_id() {
            // The directory's own log start is in the checkpoint: nothing else is read before it.
            self.after.push((staged.entry, After::Trim(id, start)));
        } else {
            self.trim_folded(id, start, now);
        }
        true
    }

    /// Takes no more commands' upkeep than a stop needs: a last sync, a last checkpoint.
    pub fn begin_stop(&mut self) {
        self.is_stopping = true;
        self.storage.want_clean_stop();
    }

    /// Ends a stop whose last round finds no space.
    pub fn give_up(&mut self) {
        self.has_given_up = true;
    }

    /// Lets another broker open the directory, whoever still holds this one to read from it. To be
    /// called once a stop has ended.
    pub fn release(&mut self) {
        self.storage.release();
    }

    /// How far the stop has come.
    #[must_use]
    pub fn stop_state(&self) -> Stop {
        if self.has_given_up
            || self.storage.journal_failure().is_some()
            || self.storage.has_given_up()
        {
            return Stop::Failed;
        }
        if self.storage.is_clean() {
            Stop::Clean
        } else {
            Stop::Waiting
        }
    }
}
