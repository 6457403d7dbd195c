//! Checkpoints: the point up to which segments are synced, so that journal files may be reused.
//!
//! ```text
//!   cut (locked)               wait                run (no lock)                      finish (locked)
//!   positions of dirty logs ─▶ all of it flushed ─▶ write behind, sync segments,  ──▶ free journal
//!   and the next group                              write checkpoint, recovery point  files
//! ```
//! Batches staged after the cut start on a fresh block, so what the checkpoint vouches for is never
//! written again. Nothing here is waited for by an acknowledgement.
//!
//! A checkpoint that was not taken is tried again with the same cut: all it needs is in the journal.
//! A later cut would wait for entries that may have no room there until a checkpoint frees some.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::copy_forward::Copying;
use super::disk::{Disk, OpenMode};
use super::error::{IoFailure, While};
use super::journal::{GroupEnd, JournalPoint};
use super::layout::Layout;
use super::open_files::OpenFiles;
use super::points::Points;
use super::segment::Segment;
use super::store::Storage;
use super::upkeep::{Removal, Tail};
use crate::format::{Checkpoint, LogRow, ProducerRow};
use crate::types::{Incarnation, Offset, Timestamp};

/// Start a checkpoint when less than this much of the ring, in percent, is free.
const FREE_PERCENT: u64 = 50;

/// Start a checkpoint when nothing was staged for this long, so that the next start has nothing
/// to replay.
const IDLE_MS: i64 = 1_000;

/// How often a stop tries to leave the directory clean.
const LAST_TRIES: u32 = 5;

/// How long after a checkpoint that freed nothing the next one is tried.
const RETRY_MS: i64 = 1_000;

/// What is known of checkpoints between jobs.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Number of the last one.
    pub number: u64,
    /// Where a replay would start now.
    pub start: JournalPoint,
    /// The rows of the last one.
    rows: BTreeMap<Incarnation, LogRow>,
    last_taken: Timestamp,
    /// The last entry when it was last looked at, and since when it is the last.
    last_seen: (u64, Timestamp),
    is_wanted: bool,
    /// The ring is full.
    wants_room: bool,
    /// The cut of a checkpoint that was not taken, with what it copied: the next try is of it.
    kept: Option<Cut>,
    /// Copying failed: what failed logs have in the journal stays where it is.
    cannot_copy: bool,
    phase: Phase,
    /// The next one is the last before the broker stops.
    is_last: bool,
    is_clean: bool,
    last_tries: u32,
    /// The last one freed nothing: the next comes at this time.
    retry_at: Option<Timestamp>,
    retry: Vec<Removal>,
    /// The last one freed nothing: a log that failed keeps all of the journal.
    is_pinned: bool,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Cut(Cut),
    Running { is_clean: bool },
}

/// The positions that a checkpoint will record.
#[derive(Debug)]
pub(super) struct Cut {
    /// The last entry staged before it; 0 once all of them are flushed.
    entry: u64,
    pub start: JournalPoint,
    /// It has to free journal files: what failed logs have in them is copied forward.
    pub copies_forward: bool,
    pub copying: Option<Copying>,
    rows: Vec<(Incarnation, LogRow)>,
    /// Logs that were dropped before it.
    dropped: Vec<Incarnation>,
}

/// What a broker knows of its producers, for the rows of a checkpoint.
pub trait ProducerRows {
    /// The highest fence of a log, and its producers.
    fn rows(&self, log: Incarnation) -> (u64, Vec<ProducerRow>);
}

/// One checkpoint, ready to run.
#[derive(Debug)]
pub struct CheckpointJob {
    disk: Arc<dyn Disk>,
    layout: Layout,
    open_files: Arc<OpenFiles>,
    points: Arc<Points>,
    cut: Cut,
    tails: Vec<Tail>,
    /// Every segment that may hold unsynced bytes of a log in the cut.
    segments: Vec<(Incarnation, Arc<Segment>)>,
    others: Vec<LogRow>,
    number: u64,
    directory_id: Incarnation,
    epoch: u64,
    /// Where a replay starts from it.
    start: JournalPoint,
    synced: GroupEnd,
    /// A log that can't be written keeps all of the journal.
    is_pinned: bool,
    /// Some log can't be written: the next start has to replay it.
    has_failed_logs: bool,
    copied_bytes: u64,
    is_clean: bool,
}

/// How a checkpoint ended.
#[derive(Debug)]
pub struct CheckpointEnd {
    cut: Cut,
    number: u64,
    start: JournalPoint,
    is_pinned: bool,
    copied_bytes: u64,
    tails: Vec<(Incarnation, Range<Offset>, Result<(), IoFailure>)>,
    failed: Vec<(Incarnation, IoFailure)>,
    /// The segments it vouches for.
    segments: Vec<(Incarnation, Arc<Segment>)>,
    /// Why the checkpoint as a whole was not taken.
    failure: Option<IoFailure>,
    is_point_failed: bool,
    is_clean: bool,
}

impl Checkpoints {
    pub fn new(
        number: u64,
        start: JournalPoint,
        rows: BTreeMap<Incarnation, LogRow>,
        now: Timestamp,
    ) -> Self {
        Self {
            number,
            start,
            rows,
            last_taken: now,
            last_seen: (0, now),
            is_wanted: false,
            wants_room: false,
            kept: None,
            cannot_copy: false,
            phase: Phase::Idle,
            is_last: false,
            is_clean: false,
            last_tries: 0,
            retry_at: None,
            retry: Vec::new(),
            is_pinned: false,
        }
    }

    /// What the last one says of a log: everything in its row is synced.
    pub fn row(&self, id: Incarnation) -> Option<&LogRow> {
        self.rows.get(&id)
    }

    /// Asks for a checkpoint as soon as possible.
    pub fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Asks for a checkpoint that frees journal files.
    pub fn want_room(&mut self) {
        self.is_wanted = true;
        self.wants_room = true;
    }

    /// Books where the next group goes, which a cut may have taken while a round was under way.
    pub fn settle(&mut self, point: JournalPoint) {
        if let Some(cut) = self.cut_mut()
            && cut.start.group == point.group
        {
            cut.start = point;
        }
    }

    /// The checkpoint that was cut and is not running yet.
    pub fn cut_mut(&mut self) -> Option<&mut Cut> {
        match &mut self.phase {
            Phase::Cut(cut) => Some(cut),
            _ => None,
        }
    }

    /// Gives up copying until the next start: a part of the journal can't be read.
    pub fn stop_copying(&mut self) {
        self.cannot_copy = true;
        if let Some(cut) = self.cut_mut() {
            cut.copies_forward = false;
            cut.copying = None;
        }
    }

    /// What that checkpoint copies forward.
    pub fn copying(&self) -> Option<&Copying> {
        match &self.phase {
            Phase::Cut(cut) => cut.copying.as_ref(),
            _ => None,
        }
    }

    /// The end of a log as the last checkpoint has it.
    pub fn end_of(&self, id: Incarnation) -> Offset {
        self.rows.get(&id).map_or(Offset(0), |row| row.end_offset)
    }

    pub fn is_wanted(&self) -> bool {
        self.is_wanted && self.retry_at.is_none()
    }

    /// Number of the last one that was taken.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The rows of the last one.
    pub fn rows(&self) -> impl Iterator<Item = &LogRow> {
        self.rows.values()
    }

    /// Whether nothing in the journal from where a replay starts is older than the last one, which
    /// may be replaced: none is under way, nor is one kept for another try.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.kept.is_none() && !self.is_pinned && !self.is_last
    }

    /// Another is being taken, which begins where the last one does.
    pub fn replacing(&mut self) {
        self.phase = Phase::Running { is_clean: false };
    }

    /// It was taken, with another row of one log; or not.
    pub fn replaced(&mut self, taken: Option<(u64, LogRow)>) {
        self.phase = Phase::Idle;
        if let Some((number, row)) = taken {
            self.number = number;
            self.rows.insert(row.incarnation, row);
        }
    }

    /// Removals that failed and wait for the next one.
    pub fn waiting_removals(&self) -> impl Iterator<Item = &Removal> {
        self.retry.iter()
    }

    /// Keeps a removal that failed for the time after the next checkpoint.
    pub fn retry_removal(&mut self, removal: Removal) {
        self.retry.push(removal);
    }
}

impl Storage {
    /// Takes a last checkpoint that marks the directory clean; upkeep runs it.
    pub fn want_clean_stop(&mut self) {
        self.checkpoints.is_last = true;
        self.checkpoints.want();
        self.drop_spares();
        self.want_sync();
    }

    /// Whether the directory is marked clean: nothing is left to do before a stop.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.checkpoints.is_clean
    }

    /// Whether the last checkpoint is being taken or was: nothing may follow it.
    pub(super) fn is_stopping(&self) -> bool {
        self.checkpoints.is_clean
            || matches!(self.checkpoints.phase, Phase::Running { is_clean: true })
    }

    /// Whether a checkpoint was cut that waits for entries still queued.
    pub(super) fn is_checkpoint_waiting(&self) -> bool {
        matches!(&self.checkpoints.phase, Phase::Cut(cut) if !self.is_decided(cut.entry))
    }

    /// Cuts a checkpoint if one is due at `now`; its job comes from upkeep once all is flushed.
    ///
    /// - `producers`: asked for the rows of every dirty log, as of this moment.
    pub fn cut_checkpoint(&mut self, now: Timestamp, producers: &dyn ProducerRows) -> bool {
        if !matches!(self.checkpoints.phase, Phase::Idle) || self.journal_failed.is_some() {
            return false;
        }
        let last_entry = self.next_entry - 1;
        if self.checkpoints.last_seen.0 != last_entry {
            self.checkpoints.last_seen = (last_entry, now);
        }
        let since = |then: Timestamp| now.0.saturating_sub(then.0);
        let is_idle = since(self.checkpoints.last_seen.1) >= IDLE_MS;
        let is_old = since(self.checkpoints.last_taken) >= self.config.checkpoint_interval_ms;
        let is_healthy = |id| self.logs.get(id).is_some_and(|log| !log.is_poisoned);
        let is_due = (is_idle || is_old) && self.dirty.iter().any(is_healthy);
        // Cut while there is still room in the ring for what is staged and not yet written.
        let is_low = self.journal.has_less_free_than(FREE_PERCENT)
            && self.checkpoints.start != self.journal.point();
        let is_stopping = self.checkpoints.is_last && !self.has_given_up();
        let is_early = self.checkpoints.retry_at.is_some_and(|at| now < at);
        if is_early && !is_stopping || !(is_low || is_due || self.checkpoints.is_wanted) {
            return false;
        }
        self.checkpoints.retry_at = None;
        let frees = is_low || std::mem::take(&mut self.checkpoints.wants_room);
        // A stop does without: the next start replays the originals.
        let may_copy = !self.checkpoints.is_last && !self.checkpoints.cannot_copy;
        let kept = self.checkpoints.kept.take();
        // What was staged or dropped since a kept cut is not in it: another follows at once.
        let is_behind = !self.dirty.is_empty() || !self.dropped.is_empty();
        self.checkpoints.is_wanted = kept.is_some() && is_behind;
        let mut cut = kept.unwrap_or_else(|| self.cut(producers));
        cut.copies_forward = may_copy && (frees || cut.copies_forward);
        self.checkpoints.phase = Phase::Cut(cut);
        self.want_sync();
        true
    }

    /// The positions of every dirty log, behind all that was staged.
    fn cut(&mut self, producers: &dyn ProducerRows) -> Cut {
        let mut rows = Vec::with_capacity(self.dirty.len());
        for id in std::mem::take(&mut self.dirty) {
            let Some(log) = self.logs.get_mut(&id) else {
                continue;
            };
            log.is_dirty = false;
            log.align_next = true;
            let (fence, producers) = producers.rows(id);
            let mut point = log.point();
            point.fence = fence;
            point.producers = producers;
            rows.push((id, point.to_row(id)));
        }
        Cut {
            entry: self.next_entry - 1,
            start: self.journal.point(),
            copies_forward: false,
            copying: None,
            rows,
            dropped: self.dropped.iter().copied().collect(),
        }
    }

    /// Whether an entry was written, or will never be: of a log that failed or was deleted.
    fn is_decided(&self, entry: u64) -> bool {
        let is_open = !self.queue.is_empty() || self.is_round_running;
        self.written_through >= entry || !is_open
    }

    /// Whether a checkpoint was cut and all that it records is flushed.
    pub(super) fn is_cut_ready(&self) -> bool {
        let Phase::Cut(cut) = &self.checkpoints.phase else {
            return false;
        };
        let is_flushed = self.synced_through >= cut.entry || self.awaiting_sync.is_empty();
        is_flushed
            && self.is_decided(cut.entry)
            && !self.is_round_running
            && self.journal_failed.is_none()
    }

    /// The job of the checkpoint that was cut, once all it records is flushed.
    pub(super) fn plan_checkpoint(&mut self) -> Option<CheckpointJob> {
        let Phase::Cut(cut) = &self.checkpoints.phase else {
            return None;
        };
        if !self.is_cut_ready() {
            return None;
        }
        let is_writing = |(id, _): &(Incarnation, LogRow)| {
            self.logs.get(id).is_some_and(|log| log.is_writing_behind)
        };
        if cut.rows.iter().any(is_writing) {
            return None;
        }
        // A log whose segments can't be written keeps its place: its last row, and all of the
        // journal since, or the copies of what it has there.
        let poisoned: BTreeSet<Incarnation> = self.poisoned().collect();
        let copied = match &cut.copying {
            _ if poisoned.is_empty() => Some(0),
            Some(copying) => copying.done(&poisoned),
            None => None,
        };
        if copied.is_none() && cut.copies_forward {
            return None;
        }
        let running = Phase::Running { is_clean: false };
        let Phase::Cut(mut cut) = std::mem::replace(&mut self.checkpoints.phase, running) else {
            return None;
        };
        cut.rows
            .retain(|(id, _)| self.logs.contains_key(id) && !poisoned.contains(id));
        let (start, copied_bytes) = match copied {
            Some(bytes) => (self.journal.without_empty_end(cut.start), bytes),
            None => (self.checkpoints.start, self.journal.copied_bytes()),
        };
        let ends: Vec<(Incarnation, Offset)> = cut
            .rows
            .iter()
            .map(|(id, row)| (*id, row.end_offset))
            .collect();
        let tails = ends
            .iter()
            .filter_map(|(id, end)| self.take_tail(*id, *end))
            .collect();
        let mut segments = Vec::new();
        for (id, row) in &cut.rows {
            let Some(log) = self.logs.get(id) else {
                continue;
            };
            let known = self
                .checkpoints
                .rows
                .get(id)
                .map_or(Offset(0), |old| old.segment_base);
            for segment in log.segments.iter().rev() {
                let base = segment.id().base;
                if base < known {
                    break;
                }
                if base <= row.segment_base {
                    segments.push((*id, segment.clone()));
                }
            }
        }
        let changed: BTreeSet<Incarnation> = cut.rows.iter().map(|(id, _)| *id).collect();
        let others = self
            .checkpoints
            .rows
            .iter()
            .filter(|(id, _)| !changed.contains(id) && self.logs.contains_key(id))
            .map(|(_, row)| row.clone())
            .collect();
        let is_idle = self.queue.is_empty() && self.dirty.is_empty();
        let is_clean = self.checkpoints.is_last && is_idle;
        self.checkpoints.phase = Phase::Running { is_clean };
        Some(CheckpointJob {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            open_files: self.open_files.clone(),
            points: self.points.clone(),
            cut,
            tails,
            segments,
            others,
            number: self.checkpoints.number + 1,
            directory_id: self.directory_id,
            epoch: self.epoch.0,
            start,
            synced: self.journal.synced,
            is_pinned: copied.is_none(),
            has_failed_logs: !poisoned.is_empty(),
            copied_bytes,
            is_clean,
        })
    }

    pub(super) fn finish_checkpoint(&mut self, end: CheckpointEnd, now: Timestamp) {
        self.checkpoints.phase = Phase::Idle;
        for (id, offsets, written) in end.tails {
            self.book_tail(id, &offsets, written);
        }
        for (id, failure) in &end.failed {
            if !failure.is_passing() {
                self.close_log(*id, failure);
            }
        }
        if let Some(failure) = end.failure {
            if failure.is_out_of_space() {
                self.space.refused(&failure);
            }
            tracing::error!(%failure, "the checkpoint was not taken");
            // All that it records is flushed: the next try waits for no entry.
            self.checkpoints.kept = Some(Cut {
                entry: 0,
                ..end.cut
            });
            if end.is_point_failed {
                self.fail_journal(self.written_through + 1, failure);
            }
            self.checkpoints.last_taken = now;
            self.checkpoints.retry_at = Some(now.saturating_add_ms(RETRY_MS));
            self.checkpoints.want();
            self.try_last_again(false);
            return;
        }
        self.checkpoints.number = end.number;
        self.checkpoints.last_taken = now;
        self.checkpoints.is_clean = end.is_clean;
        self.want_indexes(end.segments, &end.cut.rows);
        for (id, row) in end.cut.rows {
            if self.logs.contains_key(&id) {
                self.checkpoints.rows.insert(id, row);
            }
        }
        self.checkpoints
            .rows
            .retain(|id, _| self.logs.contains_key(id));
        self.checkpoints.is_pinned = end.is_pinned;
        // A replay no longer begins before they were dropped.
        for id in end.cut.dropped.iter().filter(|_| !end.is_pinned) {
            self.dropped.remove(id);
        }
        if end.is_pinned {
            self.checkpoints.retry_at = Some(now.saturating_add_ms(RETRY_MS));
        }
        self.checkpoints.start = end.start;
        self.journal.recycle(end.start, end.copied_bytes);
        let retry = std::mem::take(&mut self.checkpoints.retry);
        self.removals_mut().extend(retry);
        self.try_last_again(end.is_clean);
    }
}

impl Storage {
    /// Leaves the indexes of what a checkpoint vouches for to upkeep.
    fn want_indexes(
        &mut self,
        segments: Vec<(Incarnation, Arc<Segment>)>,
        rows: &[(Incarnation, LogRow)],
    ) {
        let active: BTreeMap<Incarnation, (Offset, u64)> = rows
            .iter()
            .map(|(id, row)| (*id, (row.segment_base, row.position)))
            .collect();
        let limit = |id, segment: &Segment| match active.get(&id) {
            Some((base, position)) if segment.id().base == *base => *position,
            _ => u64::MAX,
        };
        let wanted = segments
            .into_iter()
            .map(|(id, segment)| (limit(id, &segment), segment));
        self.unsaved_indexes.extend(wanted);
    }

    /// Asks for another last checkpoint where one did not leave everything clean; not for ever.
    fn try_last_again(&mut self, is_clean: bool) {
        if self.checkpoints.is_last && !is_clean {
            self.checkpoints.last_tries += 1;
            if !self.has_given_up() {
                self.checkpoints.want();
            }
        }
    }

    /// Whether a stop can't leave the directory clean: the next start replays the journal.
    #[must_use]
    pub fn has_given_up(&self) -> bool {
        self.checkpoints.last_tries >= LAST_TRIES
    }
}

impl CheckpointJob {
    /// Does the work. Call it without any lock.
    pub(super) fn run(self) -> CheckpointEnd {
        let mut failed: Vec<(Incarnation, IoFailure)> = Vec::new();
        let mut tails = Vec::new();
        for tail in &self.tails {
            let written = tail.write(&*self.disk, &self.open_files);
            if let Err(failure) = &written {
                failed.push((tail.log, failure.clone()));
            }
            tails.push((tail.log, tail.offsets.clone(), written));
        }
        self.pad(&mut failed);
        for (id, segment) in &self.segments {
            if failed.iter().any(|(log, _)| log == id) {
                continue;
            }
            if let Err(failure) = segment.sync(&*self.disk) {
                failed.push((*id, failure));
            }
        }
        let mut is_point_failed = false;
        let failure = match failed.first() {
            // A log that failed keeps its place in the journal, so nothing may be recycled.
            Some((_, failure)) => Some(failure.clone()),
            None => match self.write() {
                Err(failure) => Some(failure),
                Ok(()) => {
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
            number: self.number,
            start: self.start,
            is_pinned: self.is_pinned,
            copied_bytes: self.copied_bytes,
            tails,
            failed,
            segments: self.segments,
            failure,
            is_point_failed,
        }
    }

    /// Writes the padding behind what the checkpoint vouches for, where it is not zero by itself.
    fn pad(&self, failed: &mut Vec<(Incarnation, IoFailure)>) {
        for (id, segment) in self.segments.iter().filter(|(_, one)| one.is_reused()) {
            let row = self.cut.rows.iter().find(|(log, _)| log == id);
            let row = row.filter(|(_, row)| row.segment_base == segment.id().base);
            let Some((_, row)) = row.filter(|_| !failed.iter().any(|(log, _)| log == id)) else {
                continue;
            };
            let padded = segment.pad(&*self.disk, &self.open_files, row.position);
            if let Err(failure) = padded {
                failed.push((*id, failure));
            }
        }
    }

    fn write(&self) -> Result<(), IoFailure> {
        let changed = self.cut.rows.iter().map(|(_, row)| row.clone());
        let checkpoint = Checkpoint {
            number: self.number,
            directory_id: self.directory_id,
            epoch: self.epoch,
            journal_group: self.start.group,
            journal_file: self.start.file,
            journal_position: self.start.position,
            logs: self.others.iter().cloned().chain(changed).collect(),
        };
        write_checkpoint(&*self.disk, &self.layout, &checkpoint)
    }

    fn point(&self) -> Result<(), IoFailure> {
        // Both slots, before the journal files and the checkpoint that the older one needs go.
        self.points.update_both(|point| {
            point.checkpoint = self.number;
            point.is_clean = self.is_clean && !self.has_failed_logs;
            if self.synced.group > point.flushed_group {
                point.flushed_group = self.synced.group;
                point.flushed_file = self.synced.file;
                point.flushed_end = self.synced.end;
            }
        })
    }

    fn remove_old(&self) {
        let dir = self.layout.checkpoint_dir();
        remove_other_checkpoints(&*self.disk, &self.layout, self.number).unwrap_or_else(
            |failure| {
                tracing::warn!(%failure, dir = %dir.display(), "old checkpoints were not removed");
            },
        );
    }
}

/// Writes both copies of a checkpoint and makes them durable. It counts only once the recovery
/// point names it.
pub(super) fn write_checkpoint(
    disk: &dyn Disk,
    layout: &Layout,
    checkpoint: &Checkpoint,
) -> Result<(), IoFailure> {
    let bytes = checkpoint.encode();
    for path in [
        layout.checkpoint(checkpoint.number),
        layout.checkpoint_copy(checkpoint.number),
    ] {
        let file = disk
            .open(&path, OpenMode::Create)
            .or_while("creating", &path)?;
        // A file of this number may be left from a checkpoint that was never named.
        file.set_len(0).or_while("cutting", &path)?;
        file.write_at(0, &[IoSlice::new(&bytes)])
            .or_while("writing", &path)?;
        file.sync_data().or_while("syncing", &path)?;
    }
    let dir = layout.checkpoint_dir();
    disk.sync_dir(&dir).or_while("syncing", &dir)
}

/// Removes every checkpoint but `keep`.
pub(super) fn remove_other_checkpoints(
    disk: &dyn Disk,
    layout: &Layout,
    keep: u64,
) -> Result<(), IoFailure> {
    let dir = layout.checkpoint_dir();
    let kept = [layout.checkpoint(keep), layout.checkpoint_copy(keep)];
    for entry in disk.list(&dir).or_while("listing", &dir)? {
        let path = dir.join(&entry.name);
        let is_ours = entry.name.ends_with(".checkpoint") || entry.name.ends_with(".copy");
        if is_ours && !kept.contains(&path) {
            disk.remove_file(&path).or_while("removing", &path)?;
        }
    }
    Ok(())
}
