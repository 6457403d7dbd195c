//! The taking of a checkpoint, without any lock.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use super::Cut;
use super::file::{NextCheckpoint, clear_other_checkpoints, write_checkpoint};
use crate::format::LogRow;
use crate::storage::disk::{Disk, Tasks};
use crate::storage::error::IoFailure;
use crate::storage::journal::GroupEnd;
use crate::storage::layout::Layout;
use crate::storage::open_files::OpenFiles;
use crate::storage::points::Points;
use crate::storage::segment::Segment;
use crate::storage::upkeep::Tail;
use crate::types::{Incarnation, Offset};

/// How many logs are synced at once. More of them leave the journal, which is written meanwhile, too
/// little of the disk.
const AT_ONCE: usize = 4;

/// One checkpoint, ready to run.
#[derive(Debug)]
pub struct CheckpointJob {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) open_files: Arc<OpenFiles>,
    pub(super) points: Arc<Points>,
    pub(super) cut: Cut,
    pub(super) tails: Vec<Tail>,
    /// Every segment that may hold unsynced bytes of a log in the cut.
    pub(super) segments: Vec<(Incarnation, Arc<Segment>)>,
    /// Of the last one before a stop: where logs end whose files go on behind that.
    pub(super) ends: Vec<(Arc<Segment>, u64)>,
    pub(super) others: Vec<LogRow>,
    pub(super) next: NextCheckpoint,
    pub(super) synced: GroupEnd,
    /// A log that can't be written keeps all of the journal.
    pub(super) is_pinned: bool,
    /// Some log can't be written: the next start has to replay it.
    pub(super) has_failed_logs: bool,
    pub(super) copied_bytes: u64,
    pub(super) is_clean: bool,
}

/// How a checkpoint ended.
#[derive(Debug)]
pub struct CheckpointEnd {
    pub(super) cut: Cut,
    pub(super) next: NextCheckpoint,
    pub(super) is_pinned: bool,
    pub(super) copied_bytes: u64,
    pub(super) tails: Vec<(Incarnation, Range<Offset>, Result<(), IoFailure>)>,
    pub(super) failed: Vec<(Incarnation, IoFailure)>,
    /// The segments it vouches for.
    pub(super) segments: Vec<(Incarnation, Arc<Segment>)>,
    /// Why the checkpoint as a whole was not taken.
    pub(super) failure: Option<IoFailure>,
    /// It was whole when it failed: the recovery point was being written.
    pub(super) may_be_named: bool,
    pub(super) is_point_failed: bool,
    pub(super) is_clean: bool,
}

impl CheckpointJob {
    /// Does the work. Call it without any lock.
    pub(in crate::storage) fn run(self) -> CheckpointEnd {
        let mut failed: Vec<(Incarnation, IoFailure)> = Vec::new();
        let mut tails = Vec::new();
        for tail in &self.tails {
            let written = tail.write(&*self.disk, &self.open_files);
            if let Err(failure) = &written {
                failed.push((tail.log, failure.clone()));
            }
            tails.push((tail.log, tail.offsets.clone(), written));
        }
        self.cut_ends();
        self.pad(&mut failed);
        self.sync(&mut failed);
        let mut may_be_named = false;
        let mut is_point_failed = false;
        let failure = match failed.first() {
            // A log that failed keeps its place in the journal, so nothing may be recycled.
            Some((_, failure)) => Some(failure.clone()),
            None => match self.write() {
                Err(failure) => Some(failure),
                Ok(()) => {
                    may_be_named = true;
                    let pointed = self.point();
                    let is_full = |failure: &IoFailure| failure.is_out_of_space();
                    is_point_failed = pointed.as_ref().is_err_and(|failure| !is_full(failure));
                    pointed.err()
                }
            },
        };
        if failure.is_none() {
            self.remove_old();
        }
        CheckpointEnd {
            is_clean: self.is_clean && failure.is_none(),
            cut: self.cut,
            next: self.next,
            is_pinned: self.is_pinned,
            copied_bytes: self.copied_bytes,
            tails,
            failed,
            segments: self.segments,
            failure,
            may_be_named,
            is_point_failed,
        }
    }

    /// Cuts the files that logs end in behind their ends: a start takes what it finds there after a
    /// stop in order for something that is to be kept.
    fn cut_ends(&self) {
        for (segment, position) in &self.ends {
            match segment.cut_at(&*self.disk, *position) {
                Ok(true) => segment.set_dirty(),
                Ok(false) => {}
                Err(failure) => {
                    tracing::warn!(%failure, "a segment keeps bytes behind its last batch");
                }
            }
        }
    }

    /// Writes the padding behind what the checkpoint vouches for, where it is not zero by itself.
    fn pad(&self, failed: &mut Vec<(Incarnation, IoFailure)>) {
        for (id, segment) in self.segments.iter().filter(|(_, one)| one.is_reused()) {
            let row = self.cut.row_of(*id);
            let row = row.filter(|row| row.segment_base == segment.id().base);
            let Some(row) = row.filter(|_| !failed.iter().any(|(log, _)| log == id)) else {
                continue;
            };
            let padded = segment.pad(&*self.disk, &self.open_files, row.position);
            if let Err(failure) = padded {
                failed.push((*id, failure));
            }
        }
    }

    /// Syncs the segments, of several logs at once where the disk can, and then the folder of all logs
    /// once, where one of them is new in it.
    fn sync(&self, failed: &mut Vec<(Incarnation, IoFailure)>) {
        let ended = self.ends.iter();
        let ended = ended.map(|(segment, _)| (segment.id().log, segment.clone()));
        let mut logs: BTreeMap<Incarnation, Vec<Arc<Segment>>> = BTreeMap::new();
        for (id, segment) in self.segments.iter().cloned().chain(ended) {
            if failed.iter().any(|(log, _)| *log == id) {
                continue;
            }
            let of_log = logs.entry(id).or_default();
            // What a log ends in may be dirty as well.
            if !of_log.iter().any(|one| Arc::ptr_eq(one, &segment)) {
                of_log.push(segment);
            }
        }
        let logs: Vec<_> = logs.into_iter().collect();
        let met = Mutex::new(Vec::new());
        let tasks = Tasks {
            count: logs.len(),
            at_once: AT_ONCE,
        };
        self.disk.side_by_side(tasks, &|n| {
            let (id, segments) = &logs[n];
            let mut synced = segments.iter().map(|one| one.sync_in_log(&*self.disk));
            if let Some(failure) = synced.find_map(Result::err) {
                let mut met = met.lock().unwrap_or_else(PoisonError::into_inner);
                met.push((*id, failure));
            }
        });
        let mut met = met.into_inner().unwrap_or_else(PoisonError::into_inner);
        let owing: Vec<_> = logs
            .iter()
            .flat_map(|(id, segments)| segments.iter().map(move |one| (*id, one)))
            .filter(|(_, one)| one.owes_entry())
            .collect();
        if !owing.is_empty() {
            let dir = self.layout.channels_dir();
            let synced = self.layout.channels().sync(&*self.disk, &dir);
            for (id, segment) in owing {
                if let Err(failure) = segment.book_entry(synced.clone()) {
                    met.push((id, failure));
                }
            }
        }
        failed.append(&mut met);
    }

    fn write(&self) -> Result<(), IoFailure> {
        let changed = self.cut.rows.iter().map(|(_, row)| row.clone());
        let rows = self.others.iter().cloned().chain(changed).collect();
        write_checkpoint(&*self.disk, &self.layout, &self.next.with(rows))
    }

    fn point(&self) -> Result<(), IoFailure> {
        // Both slots, before the journal files and the checkpoint that the older one needs go.
        self.points.update_both(|point| {
            point.checkpoint = self.next.number;
            point.is_clean = self.is_clean && !self.has_failed_logs;
            if self.synced.group > point.flushed_group {
                point.flushed_group = self.synced.group;
                point.flushed_file = self.synced.file;
                point.flushed_end = self.synced.end;
            }
        })
    }

    fn remove_old(&self) {
        clear_other_checkpoints(&*self.disk, &self.layout, self.next.number);
    }
}
