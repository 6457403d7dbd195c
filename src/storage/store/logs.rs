//! The logs of a storage: opened, told of their options, trimmed, closed and dropped.

use std::sync::Arc;

use super::Storage;
use super::entry::QueuedEntry;
use crate::storage::error::{CommitError, IoFailure};
use crate::storage::log::{Log, LogOptions, LogPoint};
use crate::storage::removing::Removal;
use crate::storage::segment::Segment;
use crate::types::{Incarnation, LogEpoch, Offset};

impl Storage {
    /// Gives the epoch that new batches are stamped with from now on: that of this start, with what
    /// else the broker wants to be told from it. No log takes one below that of its last batch.
    pub fn set_stamp(&mut self, stamp: LogEpoch) {
        self.stamp = stamp;
    }

    /// As [`Storage::set_stamp`], of one log.
    pub fn set_stamp_of(&mut self, id: Incarnation, stamp: LogEpoch) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.stamp = Some(stamp);
        }
    }

    /// The epoch that the next batch of a log is stamped with.
    #[must_use]
    pub fn stamp_of(&self, id: Incarnation) -> LogEpoch {
        let log = self.logs.get(&id);
        log.and_then(|log| log.stamp).unwrap_or(self.stamp)
    }

    /// A log by its identity.
    #[must_use]
    pub fn log(&self, id: Incarnation) -> Option<&Log> {
        self.logs.get(&id)
    }

    /// Opens a new, empty log. Nothing reaches the disk before its first batch.
    pub fn create_log(&mut self, id: Incarnation, options: LogOptions) {
        self.create_log_at(id, options, Offset(0));
    }

    /// Opens a new, empty log whose first record has a given offset: a copy of a log whose older
    /// records nobody asked for. The same offset is to be in [`crate::storage::LiveLog::begins_at`].
    pub fn create_log_at(&mut self, id: Incarnation, options: LogOptions, begins_at: Offset) {
        let log = Log::new(
            &self.layout,
            id,
            options,
            &LogPoint::beginning_at(begins_at),
        );
        self.logs.insert(id, log);
    }

    /// Takes back the opening of a log whose first batch was refused: nothing of it is anywhere.
    pub fn forget_log(&mut self, id: Incarnation) {
        self.logs.remove(&id);
    }

    /// Changes what a log was told of its configuration.
    ///
    /// The high watermark never falls: after a change to `synced`, what was readable stays so.
    /// [`Storage::want_sync`] is called for it here.
    pub fn set_options(&mut self, id: Incarnation, options: LogOptions) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.shown = log.high_watermark();
            log.options = options;
        }
        self.sync_wanted = true;
    }

    /// The next batch of a log begins a new segment.
    pub fn roll(&mut self, id: Incarnation) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.rolls_next = true;
        }
    }

    /// Moves the log start; whole segments below it are given to upkeep for removal.
    pub fn set_log_start(&mut self, id: Incarnation, log_start: Offset) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        log.log_start = log.log_start.max(log_start.min(log.high_watermark()));
        // What is lost of records that nobody may read is no damage any more.
        let (start, segments) = (log.log_start, &log.segments);
        log.damage.retain(|row| {
            let is_there = |segment: &Arc<Segment>| segment.id().base == row.segment_base;
            row.end_offset > start
                || row.first_offset == row.end_offset && segments.iter().any(is_there)
        });
        self.dirty.insert(id);
        log.is_dirty = true;
        let expired = log.take_expired();
        if !expired.is_empty() {
            self.forget_expired(id);
            if self.is_needed(id, &expired) {
                self.checkpoints.want();
            }
            self.removals.push_back(Removal::Segments {
                log: id,
                segments: expired,
            });
        }
    }

    /// Lets go of what the tail of a log has of segments that were taken out of it.
    pub(in crate::storage) fn forget_expired(&mut self, id: Incarnation) {
        if let Some(log) = self.logs.get_mut(&id) {
            let freed = log.forget_expired();
            if !log.is_poisoned {
                self.unwritten_bytes -= freed;
            }
            self.bound_recent(id);
        }
    }

    /// Closes a log for good and gives its files to upkeep for removal.
    pub fn drop_log(&mut self, id: Incarnation) {
        let log = self.logs.remove(&id);
        // Who reads one of them later may find the file of a log that is there again.
        let segments = log.iter().flat_map(|log| &log.segments);
        segments.for_each(|segment| segment.give_up());
        if let Some(log) = log.filter(|log| !log.is_poisoned) {
            self.unwritten_bytes -= log.unwritten_bytes;
        }
        // What is still queued for it alone is not worth a place in the journal.
        let is_gone = |entry: &mut QueuedEntry| entry.batches.iter().all(|batch| batch.log == id);
        for entry in self.queue.extract_if(.., is_gone) {
            let bytes = entry.batches.iter().map(|batch| batch.bytes.len() as u64);
            self.queue_bytes -= bytes.sum::<u64>();
            self.failed.insert(entry.id.0, CommitError::Deleted(id));
        }
        self.tell_progress();
        self.owing.remove(&id);
        self.dirty.remove(&id);
        self.spared.remove(&id);
        self.forget_removals(id);
        self.forget_indexes(id);
        self.removals.push_back(Removal::Log(id));
        self.dropped.insert(id);
    }

    /// Whether a start would still find something of a log that was dropped: no other may have its
    /// identity until a checkpoint was taken.
    #[must_use]
    pub fn has_traces(&self, id: Incarnation) -> bool {
        self.dropped.contains(&id)
    }

    /// Asks for the checkpoint after which nothing is left of the logs that were dropped.
    pub fn want_traces_gone(&mut self) {
        self.checkpoints.want();
    }

    /// Closes a log to writers after a segment failed. What its segments lack stays in memory for
    /// readers, and no longer counts as waiting to be written: the journal's size bounds it.
    pub(in crate::storage) fn close_log(&mut self, id: Incarnation, failure: &IoFailure) {
        if let Some(log) = self.logs.get_mut(&id).filter(|log| !log.is_poisoned) {
            self.unwritten_bytes -= log.unwritten_bytes;
            log.poison(failure);
            // A start looks into nothing of it that nobody may read.
            let waiting = self.checkpoints.take_removals(id);
            self.removals.extend(waiting);
        }
    }
}
