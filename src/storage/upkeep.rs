//! The keeper's work: write tails behind, prepare journal files, take checkpoints, remove files.
//!
//! None of it stands between a writer and its acknowledgement.

use std::ops::Range;
use std::sync::Arc;

use super::checkpoint::{CheckpointEnd, CheckpointJob};
use super::copy_forward::{CopyEnd, CopyJob};
use super::cutting::{CutEnd, CutJob};
use super::disk::{Disk, DiskFile};
use super::error::IoFailure;
use super::log::WriteRun;
use super::open_files::OpenFiles;
use super::preparing::PrepareJob;
use super::removing::RemoveJob;
use super::replacing::{ReplaceEnd, ReplaceJob};
use super::scrub::RebuiltIndex;
use super::segment::Segment;
use super::store::Storage;
use crate::types::{Incarnation, Offset, Timestamp};

/// Most bytes that one write-behind job takes, so that upkeep stays responsive.
const JOB_BYTES: u64 = 32 * 1024 * 1024;

/// Most indexes that one job saves: a checkpoint of many logs leaves one of each, and the next one would
/// wait until two files are made for all of them.
const JOB_INDEXES: usize = 64;

/// One piece of upkeep.
#[derive(Debug)]
pub enum Upkeep {
    /// Write tails to their segments.
    WriteBehind(WriteBehindJob),
    /// Prepare one more journal file.
    Prepare(PrepareJob),
    /// Read what a checkpoint copies forward.
    Copy(CopyJob),
    /// Take a checkpoint.
    Checkpoint(Box<CheckpointJob>),
    /// Cut off the end of a log.
    Cut(Box<CutJob>),
    /// Put a log in the place of another.
    Replace(Box<ReplaceJob>),
    /// Save indexes.
    Index(IndexJob),
    /// Remove files.
    Remove(RemoveJob),
}

/// How a piece of upkeep ended.
#[derive(Debug)]
pub enum UpkeepEnd {
    /// Tails were written, each or not.
    WriteBehind(Vec<(Incarnation, Range<Offset>, Result<(), IoFailure>)>),
    /// A journal file is ready, or not.
    Prepare(Result<Arc<dyn DiskFile>, IoFailure>),
    /// What is to be copied forward was read, or not.
    Copy(CopyEnd),
    /// A checkpoint was taken, or not.
    Checkpoint(Box<CheckpointEnd>),
    /// The end of a log was cut off, or not.
    Cut(Box<CutEnd>),
    /// A log was put in the place of another, or not.
    Replace(Box<ReplaceEnd>),
    /// Indexes were saved as far as they could be.
    Index,
    /// Files were removed; of a deleted log, all.
    Removed(Option<Incarnation>),
    /// Files could not be removed, not all of them.
    NotRemoved(RemoveJob, IoFailure),
}

/// After so many bytes written behind, their segment is synced: a checkpoint that finds more to
/// write keeps the disk from the journal for as long as that takes.
const SYNC_BEHIND_BYTES: u64 = 1024 * 1024;

/// Writes tails to their segments.
#[derive(Debug)]
pub struct WriteBehindJob {
    disk: Arc<dyn Disk>,
    open_files: Arc<OpenFiles>,
    tails: Vec<Tail>,
}

/// The batches of one log that a job writes behind.
#[derive(Debug)]
pub(super) struct Tail {
    pub log: Incarnation,
    pub offsets: Range<Offset>,
    pub runs: Vec<WriteRun>,
    /// Much was written since the last sync.
    is_sync_due: bool,
    /// Somebody reads the log's segments while it is written.
    is_kept: bool,
}

impl Tail {
    pub fn write(&self, disk: &dyn Disk, open_files: &OpenFiles) -> Result<(), IoFailure> {
        for run in &self.runs {
            // What nobody reads is begun to be brought to the medium at once, and let go of: in pieces that
            // the journal does not wait for, where the sync of it all would keep the disk from it.
            run.segment
                .write(disk, open_files, &run.batches, self.is_kept)?;
            if self.is_sync_due {
                // A segment keeps that its sync has failed: the next checkpoint meets it again.
                let synced = run.segment.sync(disk);
                if let (Ok(()), false, Some((position, bytes))) =
                    (synced, self.is_kept, run.batches.last())
                {
                    let end = position + bytes.len() as u64;
                    let from = end.saturating_sub(2 * SYNC_BEHIND_BYTES);
                    run.segment.uncache(from, end);
                }
            }
        }
        Ok(())
    }
}

/// Saves the indexes of segments, each up to a position.
#[derive(Debug)]
pub struct IndexJob {
    disk: Arc<dyn Disk>,
    segments: Vec<(u64, Arc<Segment>)>,
    rebuilt: Vec<RebuiltIndex>,
}

impl Storage {
    /// The next piece of upkeep that is due at `now`.
    pub fn plan_upkeep(&mut self, now: Timestamp) -> Option<Upkeep> {
        if let Some(job) = self.between_rounds.take() {
            return Some(job);
        }
        if let Some(job) = self.plan_prepare(now) {
            return Some(Upkeep::Prepare(job));
        }
        if let Some(job) = self.plan_copy() {
            return Some(Upkeep::Copy(job));
        }
        if let Some(job) = self.plan_checkpoint() {
            return Some(Upkeep::Checkpoint(Box::new(job)));
        }
        if let Some(job) = self.plan_cut() {
            return Some(Upkeep::Cut(Box::new(job)));
        }
        if let Some(job) = self.plan_replace() {
            return Some(Upkeep::Replace(Box::new(job)));
        }
        self.plan_in_turn(now)
    }

    /// What is written behind, indexes and removals take turns: under load there is always something to
    /// write, and the disk would fill with what retention has dropped.
    fn plan_in_turn(&mut self, now: Timestamp) -> Option<Upkeep> {
        (0..3).find_map(|_| {
            self.upkeep_turns += 1;
            match self.upkeep_turns % 3 {
                1 => self.plan_write_behind().map(Upkeep::WriteBehind),
                2 => self.plan_index().map(Upkeep::Index),
                _ => self.plan_removal(now).map(Upkeep::Remove),
            }
        })
    }

    fn plan_index(&mut self) -> Option<IndexJob> {
        let next = || self.unsaved_indexes.pop_first().map(|(_, one)| one);
        let segments: Vec<_> = std::iter::from_fn(next).take(JOB_INDEXES).collect();
        let rebuilt = std::mem::take(&mut self.rebuilt_indexes);
        let has_work = !segments.is_empty() || !rebuilt.is_empty();
        has_work.then(|| IndexJob {
            disk: self.disk.clone(),
            segments,
            rebuilt,
        })
    }

    /// Whether there is work for upkeep that is not bound to a time and may begin: who calls the keeper
    /// for anything else is called by it in turn, for ever.
    #[must_use]
    pub fn has_upkeep(&self) -> bool {
        self.between_rounds.is_some()
            || !self.behind_queue.is_empty()
            || self.may_remove()
            || self.checkpoints.may_be_cut() && self.journal_failed.is_none()
            || self.may_cut()
            || self.may_replace()
    }

    /// Plans, where a round has just ended, the upkeep that has to begin while none is under way.
    /// Returns whether there is some.
    ///
    /// Under load the next round is planned before anybody else has the lock: whoever looks for such a
    /// moment later finds none.
    pub(super) fn plan_between_rounds(&mut self) -> bool {
        // The last checkpoint waits until nothing comes any more, and marks the directory clean.
        if self.checkpoints.is_last() {
            return false;
        }
        let copy = self.plan_copy().map(Upkeep::Copy);
        let planned = copy.or_else(|| Some(Upkeep::Checkpoint(Box::new(self.plan_checkpoint()?))));
        if planned.is_some() {
            self.between_rounds = planned;
        }
        self.between_rounds.is_some()
    }

    fn plan_write_behind(&mut self) -> Option<WriteBehindJob> {
        let mut tails = Vec::new();
        let mut bytes = 0;
        while bytes < JOB_BYTES {
            let Some(id) = self.behind_queue.pop_front() else {
                break;
            };
            // The checkpoint that waits writes it, and can't be planned while somebody else does.
            if self.checkpoints.is_cut_of(id) && self.journal_failed.is_none() {
                continue;
            }
            let Some(tail) = self.take_tail(id, Offset(u64::MAX)) else {
                continue;
            };
            let parts = tail.runs.iter().flat_map(|run| &run.batches);
            bytes += parts.map(|(_, bytes)| bytes.len() as u64).sum::<u64>();
            tails.push(tail);
        }
        (!tails.is_empty()).then(|| WriteBehindJob {
            disk: self.disk.clone(),
            open_files: self.open_files.clone(),
            tails,
        })
    }

    /// The unwritten tail of a log below `below`; until it is booked, nobody else takes it.
    pub(super) fn take_tail(&mut self, id: Incarnation, below: Offset) -> Option<Tail> {
        let log = self.logs.get_mut(&id)?;
        if log.is_writing_behind || log.is_poisoned {
            return None;
        }
        let runs = log.unwritten(below);
        if runs.is_empty() {
            return None;
        }
        log.is_writing_behind = true;
        let is_sync_due = log.unsynced_behind >= SYNC_BEHIND_BYTES;
        if is_sync_due {
            log.unsynced_behind = 0;
        }
        let is_kept = log.is_read();
        let end = log.high_watermark().min(below);
        let start = log.tail.front().map_or(end, |batch| batch.offsets.start);
        Some(Tail {
            log: id,
            offsets: start..end,
            runs,
            is_sync_due,
            is_kept,
        })
    }

    /// Books how a piece of upkeep ended. Returns the deleted log whose files are gone, if that
    /// is what the piece was.
    pub fn finish_upkeep(&mut self, end: UpkeepEnd, now: Timestamp) -> Option<Incarnation> {
        match end {
            UpkeepEnd::WriteBehind(tails) => {
                for (id, offsets, written) in tails {
                    self.book_tail(id, &offsets, written);
                }
            }
            UpkeepEnd::Prepare(prepared) => self.finish_prepare(prepared, now),
            UpkeepEnd::Copy(end) => self.finish_copy(end),
            UpkeepEnd::Checkpoint(end) => self.finish_checkpoint(*end, now),
            UpkeepEnd::Cut(end) => self.finish_cut(*end),
            UpkeepEnd::Replace(end) => self.finish_replace(*end),
            UpkeepEnd::Index => {}
            UpkeepEnd::Removed(log) => return log,
            UpkeepEnd::NotRemoved(job, failure) => self.book_not_removed(job, &failure),
        }
        None
    }

    pub(super) fn book_tail(
        &mut self,
        id: Incarnation,
        offsets: &Range<Offset>,
        written: Result<(), IoFailure>,
    ) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        log.is_writing_behind = false;
        match written {
            Ok(()) => {
                self.space.written();
                let freed = log.book_behind(offsets);
                log.unsynced_behind += freed;
                if !log.is_poisoned {
                    self.unwritten_bytes -= freed;
                }
                if log.unwritten_bytes >= self.config.write_behind_bytes {
                    self.behind_queue.push_back(id);
                }
                self.bound_recent(id);
            }
            Err(failure) if failure.is_passing() => {
                // The bytes stay in memory and in the journal; the next checkpoint tries again.
                if failure.is_out_of_space() {
                    self.space.refused(&failure);
                }
            }
            Err(failure) => self.close_log(id, &failure),
        }
    }
}

impl Upkeep {
    /// Does the work. Call it without any lock.
    #[must_use]
    pub fn run(self) -> UpkeepEnd {
        match self {
            Self::WriteBehind(job) => UpkeepEnd::WriteBehind(job.run()),
            Self::Prepare(job) => UpkeepEnd::Prepare(job.run()),
            Self::Copy(job) => UpkeepEnd::Copy(job.run()),
            Self::Checkpoint(job) => UpkeepEnd::Checkpoint(Box::new(job.run())),
            Self::Cut(job) => UpkeepEnd::Cut(Box::new(job.run())),
            Self::Replace(job) => UpkeepEnd::Replace(Box::new(job.run())),
            Self::Index(job) => {
                job.run();
                UpkeepEnd::Index
            }
            Self::Remove(job) => {
                let log = job.removed_log();
                match job.run() {
                    Ok(()) => UpkeepEnd::Removed(log),
                    Err((left, failure)) => UpkeepEnd::NotRemoved(left, failure),
                }
            }
        }
    }
}

impl WriteBehindJob {
    fn run(self) -> Vec<(Incarnation, Range<Offset>, Result<(), IoFailure>)> {
        let write = |tail: Tail| {
            let written = tail.write(&*self.disk, &self.open_files);
            (tail.log, tail.offsets, written)
        };
        self.tails.into_iter().map(write).collect()
    }
}

impl IndexJob {
    /// An index is a cache: one that can't be saved is rebuilt.
    fn run(&self) {
        for (limit, segment) in &self.segments {
            // Nothing more is written to a sealed one.
            if *limit == u64::MAX
                && let Err(failure) = segment.cut(&*self.disk)
            {
                tracing::warn!(%failure, "a segment keeps bytes behind its last batch");
            }
            if let Err(failure) = segment.save_index(&*self.disk, *limit) {
                tracing::warn!(%failure, "an index could not be saved; it will be rebuilt");
            }
        }
        for rebuilt in &self.rebuilt {
            if let Err(failure) = rebuilt.write(&*self.disk) {
                tracing::warn!(%failure, "a rebuilt index could not be saved");
            }
        }
    }
}
