//! When a checkpoint is due, what it takes along, and what becomes of its end: all of it under the lock.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{CheckpointEnd, CheckpointJob, Cut, Phase, ProducerRows};
use crate::format::LogRow;
use crate::storage::segment::Segment;
use crate::storage::store::Storage;
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
    pub(in crate::storage) fn is_stopping(&self) -> bool {
        self.checkpoints.is_clean
            || matches!(self.checkpoints.phase, Phase::Running { is_clean: true })
    }

    /// Whether a checkpoint was cut that waits for a round: for entries still queued, or the sync of
    /// what is written, which the next round has whatever it is for.
    pub(in crate::storage) fn is_checkpoint_waiting(&self) -> bool {
        let is_due = |entry| self.is_decided(entry) && self.is_flushed(entry);
        matches!(&self.checkpoints.phase, Phase::Cut(cut) if !is_due(cut.entry))
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
        let is_much = self.run_bytes >= self.config.checkpoint_bytes;
        let is_due = (is_idle || is_old || is_much) && self.dirty.iter().any(is_healthy);
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
        self.run_bytes = 0;
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

    /// Whether an entry that is decided is synced, or none is written that is not.
    fn is_flushed(&self, entry: u64) -> bool {
        self.synced_through >= entry || self.awaiting_sync.is_empty()
    }

    /// Whether a checkpoint was cut and all that it records is flushed.
    pub(in crate::storage) fn is_cut_ready(&self) -> bool {
        let Phase::Cut(cut) = &self.checkpoints.phase else {
            return false;
        };
        self.is_flushed(cut.entry)
            && self.is_decided(cut.entry)
            && !self.is_round_running
            && self.journal_failed.is_none()
    }

    /// The job of the checkpoint that was cut, once all it records is flushed.
    pub(in crate::storage) fn plan_checkpoint(&mut self) -> Option<CheckpointJob> {
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
        if poisoned.is_empty() {
            // Of logs that were deleted. A job may still read for it, whose end is booked nowhere.
            cut.copying = None;
        }
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
        let others = self.unchanged_rows(|id| changed.contains(id));
        let is_idle = self.queue.is_empty() && self.dirty.is_empty();
        let is_clean = self.checkpoints.is_last && is_idle;
        let ends = if is_clean {
            self.reused_ends()
        } else {
            Vec::new()
        };
        self.checkpoints.phase = Phase::Running { is_clean };
        Some(CheckpointJob {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            open_files: self.open_files.clone(),
            points: self.points.clone(),
            cut,
            tails,
            segments,
            ends,
            others,
            next: self.next_checkpoint(start),
            synced: self.journal.synced,
            is_pinned: copied.is_none(),
            has_failed_logs: !poisoned.is_empty(),
            copied_bytes,
            is_clean,
        })
    }

    /// Where the logs end that are written over the file of a removed segment: that one's bytes are
    /// behind it.
    fn reused_ends(&self) -> Vec<(Arc<Segment>, u64)> {
        let healthy = self.logs.values().filter(|log| !log.is_poisoned);
        let active = healthy.filter_map(|log| log.active.as_ref());
        let reused = active.filter(|active| active.segment.is_reused());
        reused
            .map(|active| (active.segment.clone(), active.position))
            .collect()
    }

    pub(in crate::storage) fn finish_checkpoint(&mut self, end: CheckpointEnd, now: Timestamp) {
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
            if end.may_be_named {
                self.checkpoints.named = end.next.number;
            }
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
        self.checkpoints.number = end.next.number;
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
        self.checkpoints.start = end.next.start;
        self.journal.recycle(end.next.start, end.copied_bytes);
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
        // A log that was deleted meanwhile may be there again before an index is saved.
        let wanted = segments
            .into_iter()
            .filter(|(id, _)| self.logs.contains_key(id))
            .map(|(id, segment)| ((id, segment.id().base), (limit(id, &segment), segment)));
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
