//! One log as the broker holds it in memory: its offsets, its tail buffer and its segments.
//!
//! ```text
//!            in segments            tail buffer
//!        ┌──────────────────┬───────────────────────┐
//!    log start          behind     flushed  written  log end
//! ```
//! Offsets and segment positions are given when a batch is staged, so nothing later chooses them.

mod point;
mod reading;
mod tail;
#[cfg(test)]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64};

pub use self::point::{ActivePoint, LogPoint};
use self::reading::READ_BYTES;
pub(super) use self::reading::ReadPlan;
pub(super) use self::tail::{TailBatch, WriteRun};
use super::error::{Closed, IoFailure};
use super::layout::Layout;
use super::load::LoadJob;
use super::names::{Folder, Name};
use super::recent::Recent;
use super::segment::{FIRST_BATCH, Segment, SegmentId};
use super::spares::Spares;
use crate::format::DamageRow;
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

/// What a log is told of its channel's configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    /// The active segment is sealed before it would exceed this many bytes.
    pub segment_bytes: u64,
    /// What an acknowledgement promises.
    pub durability: Durability,
    /// How long `written` bytes may wait for a sync.
    pub sync_interval_ms: i64,
}

/// What the offsets of a log stand for: something else once its end was cut off, or another log was put
/// in its place.
#[derive(Debug, Clone)]
pub struct History(Arc<Offset>);

impl History {
    /// Where the log ended when this began.
    pub fn began_at(&self) -> Offset {
        *self.0
    }
}

impl PartialEq for History {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

/// One log.
#[derive(Debug)]
pub struct Log {
    pub(super) id: Incarnation,
    /// The names of its segments.
    pub(super) folder: Arc<Folder>,
    /// Its own, in the folder of all logs.
    name: Arc<Name>,
    history: History,
    pub(super) options: LogOptions,
    pub(super) log_start: Offset,
    /// Everything below survives a killed process.
    pub(super) written: Offset,
    /// Everything below survives power loss.
    pub(super) flushed: Offset,
    pub(super) end: Offset,
    pub(super) active: Option<Active>,
    pub(super) last_time: Timestamp,
    pub(super) last_epoch: LogEpoch,
    /// What its new batches are stamped with, if not with what those of all logs are.
    pub(super) stamp: Option<LogEpoch>,
    /// It is being cut: what lies from here on may not be read any more.
    pub(super) cut_at: Option<Offset>,
    /// The next batch starts on a fresh block.
    pub(super) align_next: bool,
    /// The next batch begins a new segment.
    pub(super) rolls_next: bool,
    pub(super) tail: VecDeque<TailBatch>,
    /// Append time and epoch of the batch in front of the tail.
    before_tail: (Timestamp, LogEpoch),
    /// Bytes of the tail that its segment files lack.
    pub(super) unwritten_bytes: u64,
    /// Bytes written behind since the keeper last synced them.
    pub(super) unsynced_behind: u64,
    /// In front of the tail, for those who follow.
    pub(super) recent: Recent,
    /// Somebody has read up to the end, and waits for more.
    pub(super) is_followed: AtomicBool,
    /// Bytes appended since somebody last read from a segment.
    unread_bytes: AtomicU64,
    /// The segments known so far, in order; the last is the active one.
    pub(super) segments: Vec<Arc<Segment>>,
    /// Files that its next segments are written over.
    pub(super) spares: Arc<Spares>,
    /// Segments that large runs have begun and no removed one has left its file for.
    pub(super) begun_by_runs: usize,
    /// The directory was read, so that no older segment is unknown.
    pub(super) is_loaded: bool,
    /// The last try to read the directory failed.
    pub(super) is_unlisted: bool,
    /// Why the log takes no writes, if so.
    pub(super) refused: Option<Closed>,
    /// Error number of the operating system that closed the log to writers, if one did.
    pub(super) errno: Option<i32>,
    /// Recovery found damage that hides the log's end: refused, and kept over restarts.
    pub(super) is_damaged: bool,
    /// A segment failed: nothing more is written to it, so the journal keeps what it lacks.
    pub(super) is_poisoned: bool,
    pub(super) damage: Vec<DamageRow>,
    /// Bytes staged and not yet in a round.
    pub(super) queued_bytes: u64,
    /// Entries over several logs among them.
    pub(super) queued_shared: u32,
    /// An entry over several logs waits for this one, until this round.
    pub(super) awaited_until: u64,
    /// A direct run of this log is being written.
    pub(super) direct_in_flight: bool,
    /// Segments with bytes of direct runs that no sync has covered.
    pub(super) unsynced_direct: Vec<Arc<Segment>>,
    /// The round under way syncs such segments.
    pub(super) owed_in_flight: bool,
    /// High watermark when the log's durability was last changed: what was shown stays shown.
    pub(super) shown: Offset,
    /// The keeper is writing this log's tail.
    pub(super) is_writing_behind: bool,
    /// Staged to since the last checkpoint took its positions.
    pub(super) is_dirty: bool,
    /// In the list of logs whose unflushed offsets the next sync moves.
    pub(super) awaits_sync: bool,
}

/// The segment that staging appends to.
#[derive(Debug, Clone)]
pub(super) struct Active {
    pub segment: Arc<Segment>,
    /// The byte after the last staged batch.
    pub position: u64,
    pub start_time: Timestamp,
}

impl Log {
    pub(super) fn new(
        layout: &Layout,
        id: Incarnation,
        options: LogOptions,
        point: &LogPoint,
    ) -> Self {
        let (folder, name) = (Arc::<Folder>::default(), layout.channels().name());
        let active = point.active.map(|active| {
            let id = SegmentId::new(layout, id, active.base);
            let segment = Segment::reopened(id, active.previous, active.position);
            let segment = segment.in_log(&folder, name.clone());
            Active {
                segment: Arc::new(segment),
                position: active.position,
                start_time: active.start_time,
            }
        });
        Self {
            id,
            folder,
            name,
            history: History(Arc::new(point.end)),
            options,
            log_start: point.log_start,
            written: point.end,
            flushed: point.end,
            end: point.end,
            segments: active.iter().map(|active| active.segment.clone()).collect(),
            spares: Arc::default(),
            begun_by_runs: 0,
            // Without a segment before the active one there is nothing to list.
            is_loaded: active
                .as_ref()
                .is_none_or(|active| active.segment.previous().is_none()),
            active,
            last_time: point.last_time,
            last_epoch: point.last_epoch,
            stamp: None,
            cut_at: None,
            align_next: true,
            rolls_next: false,
            tail: VecDeque::new(),
            before_tail: (point.last_time, point.last_epoch),
            is_unlisted: false,
            unwritten_bytes: 0,
            unsynced_behind: 0,
            recent: Recent::default(),
            is_followed: AtomicBool::new(false),
            unread_bytes: AtomicU64::new(READ_BYTES),
            refused: point.refused.then(|| {
                let what = "damage was found; see the channel's info and npayload-inspect";
                Closed::Damaged(what.into())
            }),
            errno: None,
            is_damaged: point.refused,
            is_poisoned: false,
            damage: point.damage.clone(),
            queued_bytes: 0,
            queued_shared: 0,
            awaited_until: 0,
            direct_in_flight: false,
            unsynced_direct: Vec::new(),
            owed_in_flight: false,
            shown: Offset(0),
            is_writing_behind: false,
            is_dirty: false,
            awaits_sync: false,
        }
    }

    /// Closes the log to writers after a segment failed.
    pub(super) fn poison(&mut self, failure: &IoFailure) {
        tracing::error!(log = %self.id, %failure, "a segment failed: the log takes no more writes");
        self.is_poisoned = true;
        self.errno = self.errno.or(failure.source.raw_os_error());
        self.refused
            .get_or_insert_with(|| Closed::Failed(failure.clone()));
    }

    /// Books damage in a segment. A row that follows another extends it, and so does whatever is
    /// found once there are `most_rows`.
    pub(super) fn mark_damaged(&mut self, row: DamageRow, most_rows: usize) {
        let is_over = self.damage.len() >= most_rows;
        let last = self.damage.iter_mut().rev().find(|last| {
            last.segment_base == row.segment_base
                && last.what == row.what
                && last.position <= row.position
        });
        match last {
            Some(last)
                if is_over
                    || last.end_offset == row.first_offset
                        && last.position + last.length == row.position =>
            {
                last.end_offset = last.end_offset.max(row.end_offset);
                last.length = row.position + row.length - last.position;
            }
            _ => self.damage.push(row),
        }
    }

    /// The same for as long as what was read of it stays true.
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Lowest offset still readable.
    pub fn log_start(&self) -> Offset {
        self.log_start
    }

    /// Everything below survives power loss on this node.
    pub fn flushed(&self) -> Offset {
        self.flushed
    }

    /// Offset of the next record.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Everything below may be read.
    pub fn high_watermark(&self) -> Offset {
        let readable = match self.options.durability {
            Durability::Synced => self.flushed.max(self.shown),
            Durability::Written => self.written,
        };
        self.cut_at.map_or(readable, |at| at.min(readable))
    }

    /// Append time of the last batch; the earliest time before there is one.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// Epoch of the last batch.
    pub fn last_epoch(&self) -> LogEpoch {
        self.last_epoch
    }

    /// Why the log takes no more writes, if so.
    pub fn refused(&self) -> Option<&Closed> {
        self.refused.as_ref()
    }

    /// Error number of the operating system that closed the log to writers, if one did.
    pub fn errno(&self) -> Option<i32> {
        self.errno
    }

    /// Damage that recovery or the scrubber found.
    pub fn damage(&self) -> &[DamageRow] {
        &self.damage
    }

    /// Segments and bytes of batches on disk and in the tail; `None` until the log is loaded.
    pub fn size(&self) -> Option<(usize, u64)> {
        if !self.is_loaded {
            return None;
        }
        let on_disk: u64 = self
            .segments
            .iter()
            .map(|segment| segment.length().saturating_sub(FIRST_BATCH))
            .sum();
        Some((self.segments.len(), on_disk + self.unwritten_bytes))
    }

    /// Asserts what must always hold.
    pub(super) fn check(&self) {
        assert!(
            self.log_start <= self.high_watermark(),
            "log start beyond the high watermark"
        );
        assert!(
            self.high_watermark() <= self.end,
            "high watermark beyond the log end"
        );
        assert!(
            self.flushed <= self.written && self.written <= self.end,
            "flushed ≤ written ≤ end"
        );
    }

    /// Where the log stands now, as a checkpoint records it.
    pub(super) fn point(&self) -> LogPoint {
        LogPoint {
            log_start: self.log_start,
            end: self.end,
            active: self
                .active
                .as_ref()
                .map(|active| ActivePoint::of(&active.segment, active.position, active.start_time)),
            last_time: self.last_time,
            last_epoch: self.last_epoch,
            refused: self.is_damaged,
            damage: self.damage.clone(),
            fence: 0,
            producers: Vec::new(),
        }
    }

    /// The job that lists the segments before the first known one, if that is still to do.
    pub(super) fn plan_load(&self) -> Option<LoadJob> {
        let first = self.segments.first().filter(|_| !self.is_loaded)?;
        Some(LoadJob {
            id: self.id,
            below: first.id().base,
            previous: first.previous()?,
            log_start: self.log_start,
        })
    }

    /// Takes the older segments that a load found.
    pub(super) fn loaded(&mut self, mut older: Vec<Arc<Segment>>) {
        if !self.is_loaded {
            older.append(&mut self.segments);
            self.segments = older;
            self.is_loaded = true;
        }
    }

    /// Segments whose records all lie below the log start, taken out of the log.
    pub(super) fn take_expired(&mut self) -> Vec<Arc<Segment>> {
        if !self.is_loaded {
            return Vec::new();
        }
        let below = |segment: &Arc<Segment>| segment.id().base <= self.log_start;
        let keep_from = self.segments.partition_point(below).saturating_sub(1);
        self.segments.drain(..keep_from).collect()
    }
}
