//! One log as the broker holds it in memory: its offsets, its tail buffer and its segments.
//!
//! ```text
//!            in segments            tail buffer
//!        ┌──────────────────┬───────────────────────┐
//!    log start          behind     flushed  written  log end
//! ```
//! Offsets and segment positions are given when a batch is staged, so nothing later chooses them.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;

use super::error::{Closed, IoFailure, ReadError};
use super::index::Run;
use super::layout::Layout;
use super::load::LoadJob;
use super::recent::Recent;
use super::segment::{FIRST_BATCH, Previous, Segment, SegmentId, Slices};
use super::spares::Spares;
use super::walk::BLOCK_BYTES;
use crate::format::{DamageKind, DamageRow, LogRow, ProducerRow};
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

/// A log that was not read from its segments while so many bytes were appended has no reader who is
/// a little behind.
const READ_BYTES: u64 = 1024 * 1024 * 1024;

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

/// A batch that is not yet, or not only, in its segment file.
#[derive(Debug, Clone)]
pub(super) struct TailBatch {
    pub offsets: Range<Offset>,
    pub position: u64,
    pub append_time: Timestamp,
    pub epoch: LogEpoch,
    pub bytes: Bytes,
    pub segment: Arc<Segment>,
    /// The segment file holds it.
    pub is_behind: bool,
}

impl TailBatch {
    fn end_position(&self) -> u64 {
        self.position + self.bytes.len() as u64
    }
}

/// Where the last checkpoint, or the journal's replay, says that a log stands.
#[derive(Debug, Clone)]
pub struct LogPoint {
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Offset of the next record.
    pub end: Offset,
    /// The active segment and the byte after its last batch, once there is one.
    pub active: Option<ActivePoint>,
    /// Append time of the last batch.
    pub last_time: Timestamp,
    /// Epoch of the last batch.
    pub last_epoch: LogEpoch,
    /// Why writes are refused since damage was found.
    pub refused: bool,
    /// Known damage.
    pub damage: Vec<DamageRow>,
    /// The highest fence and the producers that the checkpoint knew.
    pub fence: u64,
    /// As above.
    pub producers: Vec<ProducerRow>,
}

/// The active segment of a [`LogPoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ActivePoint {
    /// Its base offset.
    pub base: Offset,
    /// The byte after its last batch.
    pub position: u64,
    /// Append time of its first batch.
    pub start_time: Timestamp,
    /// The segment before it, as base offset and length.
    pub previous: Option<Previous>,
}

impl LogPoint {
    /// A log that nothing was ever appended to.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            log_start: Offset(0),
            end: Offset(0),
            active: None,
            last_time: Timestamp(i64::MIN),
            last_epoch: LogEpoch(0),
            refused: false,
            damage: Vec::new(),
            fence: 0,
            producers: Vec::new(),
        }
    }

    /// A log that nothing was ever appended to, whose first record will have this offset.
    #[must_use]
    pub fn beginning_at(offset: Offset) -> Self {
        Self {
            log_start: offset,
            end: offset,
            ..Self::empty()
        }
    }

    /// Moves the end to the log start where all that lay between was lost.
    pub(super) fn reach_log_start(&mut self) {
        self.end = self.end.max(self.log_start);
    }

    pub(super) fn from_row(row: &LogRow) -> Self {
        let active = (row.position >= FIRST_BATCH).then_some(ActivePoint {
            base: row.segment_base,
            position: row.position,
            start_time: row.segment_start_time,
            previous: row.previous_base.map(|base| Previous {
                base,
                length: row.previous_length,
                last_time: row.segment_start_time,
            }),
        });
        Self {
            log_start: row.log_start,
            end: row.end_offset,
            active,
            last_time: row.last_append_time,
            last_epoch: row.last_epoch,
            refused: row.refuses_writes,
            damage: row.damage.clone(),
            fence: row.fence,
            producers: row.producers.clone(),
        }
    }

    pub(super) fn to_row(&self, id: Incarnation) -> LogRow {
        let active = self.active.unwrap_or(ActivePoint {
            base: Offset(0),
            position: 0,
            start_time: Timestamp(0),
            previous: None,
        });
        LogRow {
            incarnation: id,
            log_start: self.log_start,
            end_offset: self.end,
            segment_base: active.base,
            position: active.position,
            segment_start_time: active.start_time,
            last_append_time: self.last_time,
            fence: self.fence,
            last_epoch: self.last_epoch,
            previous_base: active.previous.map(|previous| previous.base),
            previous_length: active.previous.map_or(0, |previous| previous.length),
            refuses_writes: self.refused,
            producers: self.producers.clone(),
            damage: self.damage.clone(),
        }
    }
}

/// One log.
#[derive(Debug)]
pub struct Log {
    pub(super) id: Incarnation,
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
    /// Segments that large runs have begun since segments were last removed.
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

/// Where a batch will lie; given once, when it is staged.
#[derive(Debug)]
pub(super) struct Place {
    pub segment: Arc<Segment>,
    pub position: u64,
}

impl Log {
    pub(super) fn new(
        layout: &Layout,
        id: Incarnation,
        options: LogOptions,
        point: &LogPoint,
    ) -> Self {
        let active = point.active.map(|active| {
            let id = SegmentId::new(layout, id, active.base);
            let segment = Segment::reopened(id, active.previous, active.position);
            Active {
                segment: Arc::new(segment),
                position: active.position,
                start_time: active.start_time,
            }
        });
        Self {
            id,
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

    /// Chooses the place of the next batch; rolls to a new segment where it does not fit.
    pub(super) fn place(
        &self,
        layout: &Layout,
        len: u64,
        span: u64,
        now: Timestamp,
        epoch: LogEpoch,
    ) -> Place {
        let position = self.active.as_ref().map(|active| {
            let aligned = active.position.next_multiple_of(BLOCK_BYTES);
            if self.align_next {
                aligned
            } else {
                active.position
            }
        });
        if let (Some(active), Some(position)) = (&self.active, position) {
            let base = active.segment.id().base;
            let fits = position + len <= FIRST_BATCH + self.options.segment_bytes
                && self.end.0 + span - base.0 <= u64::from(u32::MAX);
            // A segment whose records are all trimmed is left, so that it can be removed.
            let is_spent = self.log_start >= self.end && self.log_start > base;
            let stays = fits && !is_spent && !self.rolls_next;
            if stays || active.position == FIRST_BATCH {
                return Place {
                    segment: active.segment.clone(),
                    position,
                };
            }
        }
        let previous = self.active.as_ref().map(|active| Previous {
            base: active.segment.id().base,
            length: active.position,
            last_time: self.last_time,
        });
        let id = SegmentId::new(layout, self.id, self.end);
        Place {
            segment: Arc::new(
                Segment::create(id, previous, now, epoch).with_spares(self.spares.clone()),
            ),
            position: FIRST_BATCH,
        }
    }

    /// Appends a stamped batch at the place chosen for it.
    pub(super) fn append(&mut self, batch: TailBatch) {
        let is_new_segment = self
            .active
            .as_ref()
            .is_none_or(|active| !Arc::ptr_eq(&active.segment, &batch.segment));
        if is_new_segment {
            self.segments.push(batch.segment.clone());
            self.active = Some(Active {
                segment: batch.segment.clone(),
                position: FIRST_BATCH,
                start_time: batch.append_time,
            });
        }
        let active = self.active.as_mut().expect("set above");
        active.position = batch.end_position();
        self.align_next = false;
        self.rolls_next = false;
        self.is_dirty = true;
        self.end = batch.offsets.end;
        self.last_time = batch.append_time;
        self.last_epoch = batch.epoch;
        let len = batch.bytes.len() as u64;
        self.unwritten_bytes += len;
        *self.unread_bytes.get_mut() = self.unread_bytes.get_mut().saturating_add(len);
        self.tail.push_back(batch);
    }

    /// Whether somebody reads segments of this log while it is written: then what is written next is
    /// likely to be read from memory, which is where the operating system has it.
    pub(super) fn is_read(&self) -> bool {
        self.unread_bytes.load(Ordering::Relaxed) < READ_BYTES
    }

    /// The batches in front of `below` that the segment files lack.
    pub(super) fn unwritten_before(&self, below: Offset) -> Vec<TailBatch> {
        let before = self.tail.iter().take_while(|one| one.offsets.end <= below);
        before.filter(|one| !one.is_behind).cloned().collect()
    }

    /// Takes back the staged batches from offset `to` on: they were never acknowledged.
    pub(super) fn roll_back(&mut self, to: Offset) {
        while self
            .tail
            .back()
            .is_some_and(|batch| batch.offsets.start >= to)
        {
            let batch = self.tail.pop_back().expect("seen above");
            if !batch.is_behind {
                self.unwritten_bytes -= batch.bytes.len() as u64;
            }
            self.end = batch.offsets.start;
        }
        // What follows is compared with the batch that is the last one now.
        let last = self.tail.back();
        (self.last_time, self.last_epoch) =
            last.map_or(self.before_tail, |last| (last.append_time, last.epoch));
        // A segment that only these batches would have begun: there is no file of it.
        let end = self.end;
        self.segments.retain(|segment| segment.id().base < end);
        self.queued_bytes = 0;
    }

    /// The batches to write behind: in the journal, not in the segment, below `below`.
    pub(super) fn unwritten(&self, below: Offset) -> Vec<WriteRun> {
        let limit = below.min(self.high_watermark());
        let mut runs: Vec<WriteRun> = Vec::new();
        for batch in self.tail.iter().filter(|batch| !batch.is_behind) {
            if batch.offsets.end > limit {
                break;
            }
            let entry = (batch.position, batch.bytes.clone());
            match runs.last_mut() {
                Some(run) if Arc::ptr_eq(&run.segment, &batch.segment) => run.batches.push(entry),
                _ => runs.push(WriteRun {
                    segment: batch.segment.clone(),
                    batches: vec![entry],
                }),
            }
        }
        runs
    }

    /// Books the batches of `offsets` as lying in their segments, and lets go of the part of the
    /// tail that memory no longer has to serve. Returns the bytes let go.
    pub(super) fn book_behind(&mut self, offsets: &Range<Offset>) -> u64 {
        let mut freed = 0;
        let first = |tail: &VecDeque<TailBatch>, offset| {
            tail.partition_point(|batch| batch.offsets.start < offset)
        };
        let booked = first(&self.tail, offsets.start)..first(&self.tail, offsets.end);
        for batch in self.tail.range_mut(booked) {
            if !batch.is_behind {
                batch.is_behind = true;
                freed += batch.bytes.len() as u64;
            }
        }
        self.unwritten_bytes -= freed;
        let limit = self.high_watermark();
        let ready = self
            .tail
            .iter()
            .take_while(|batch| batch.is_behind && batch.offsets.end <= limit)
            .count();
        if let Some(last) = ready.checked_sub(1).and_then(|last| self.tail.get(last)) {
            self.before_tail = (last.append_time, last.epoch);
        }
        if *self.is_followed.get_mut() {
            for batch in self.tail.range(..ready) {
                self.recent.push(batch.offsets.clone(), batch.bytes.clone());
            }
        }
        let mut done = self.tail.drain(..ready).peekable();
        while let Some(first) = done.next() {
            let segment = first.segment.clone();
            let mut runs = vec![run_of(&first)];
            let mut ends = vec![first.offsets.end];
            while let Some(next) = done.next_if(|next| Arc::ptr_eq(&next.segment, &segment)) {
                runs.push(run_of(&next));
                ends.push(next.offsets.end);
            }
            segment.publish(runs.into_iter(), &ends);
        }
        freed
    }

    /// Where the log stands now, as a checkpoint records it.
    pub(super) fn point(&self) -> LogPoint {
        LogPoint {
            log_start: self.log_start,
            end: self.end,
            active: self.active.as_ref().map(|active| ActivePoint {
                base: active.segment.id().base,
                position: active.position,
                start_time: active.start_time,
                previous: active.segment.previous(),
            }),
            last_time: self.last_time,
            last_epoch: self.last_epoch,
            refused: self.is_damaged,
            damage: self.damage.clone(),
            fence: 0,
            producers: Vec::new(),
        }
    }

    /// What a read of `from` needs: bytes from memory at once, or a segment to read.
    pub(super) fn plan_read(&self, from: Offset, max_bytes: u64) -> Result<ReadPlan, ReadError> {
        let high_watermark = self.high_watermark();
        if from < self.log_start || from > high_watermark {
            return Err(ReadError::OutOfRange {
                offset: from,
                available: self.log_start..high_watermark,
            });
        }
        if from == high_watermark {
            self.is_followed.store(true, Ordering::Relaxed);
            return Ok(ReadPlan::Memory(Slices {
                next: from,
                ..Slices::default()
            }));
        }
        // Where damage is known, the segments tell of it.
        let recent = self.recent.start().filter(|_| self.damage.is_empty());
        let in_tail = self.tail.front().map(|batch| batch.offsets.start);
        if recent.or(in_tail).is_some_and(|start| start <= from) {
            return Ok(ReadPlan::Memory(self.read_memory(from, max_bytes)));
        }
        let segments = &self.segments;
        let at = segments.partition_point(|segment| segment.id().base <= from);
        match at.checked_sub(1) {
            Some(at) => {
                self.unread_bytes.store(0, Ordering::Relaxed);
                Ok(ReadPlan::Segment {
                    segment: segments[at].clone(),
                    after: segments.get(at + 1).map(|next| next.id().base),
                    until: self.next_damage(&segments[at], from)?,
                })
            }
            None if !self.is_loaded => Ok(ReadPlan::Load),
            None => Err(ReadError::Damaged {
                segment: "the log's directory".into(),
                position: 0,
                offset: from,
                next: segments.first().map(|first| first.id().base),
                what: "the segment that held this offset is missing".into(),
            }),
        }
    }

    /// The batch that holds `offset`, where it is staged and not yet to be read: above the high
    /// watermark.
    pub(super) fn staged_batch(&self, offset: Offset) -> Option<Bytes> {
        if offset < self.high_watermark() {
            return None;
        }
        let at = self
            .tail
            .partition_point(|batch| batch.offsets.end <= offset);
        let batch = self.tail.get(at)?;
        batch.offsets.contains(&offset).then(|| batch.bytes.clone())
    }

    /// Where the next batch begins that is known to be damaged, if `from` is not in one.
    fn next_damage(&self, segment: &Segment, from: Offset) -> Result<Option<Offset>, ReadError> {
        let is_batch = |row: &&DamageRow| row.what == DamageKind::SegmentBatch;
        let rows = || self.damage.iter().filter(is_batch);
        let at =
            |offset| rows().find(move |row| row.first_offset <= offset && offset < row.end_offset);
        let Some(row) = at(from) else {
            let after = rows().map(|row| row.first_offset);
            return Ok(after.filter(|first| *first > from).min());
        };
        let mut next = row.end_offset;
        while let Some(row) = at(next) {
            next = row.end_offset;
        }
        Err(ReadError::Damaged {
            segment: segment.id().path(),
            position: row.position,
            offset: from,
            next: Some(next),
            what: "it failed its checksum when it was last checked".into(),
        })
    }

    fn read_memory(&self, from: Offset, max_bytes: u64) -> Slices {
        let high_watermark = self.high_watermark();
        let mut slices = Slices {
            next: from,
            ..Slices::default()
        };
        let first = self.tail.partition_point(|batch| batch.offsets.end <= from);
        let tail = self.tail.range(first..);
        let tail = tail.map(|batch| (batch.offsets.end, &batch.bytes));
        for (end, bytes) in self.recent.from(from).chain(tail) {
            let len = bytes.len() as u64;
            if end > high_watermark || (!slices.parts.is_empty() && slices.bytes + len > max_bytes)
            {
                break;
            }
            slices.parts.push(bytes.clone());
            slices.bytes += len;
            slices.next = end;
        }
        slices
    }

    /// Epoch and append time of the record at `offset`, when memory knows them.
    pub(super) fn batch_in_tail(&self, offset: Offset) -> Option<(LogEpoch, Timestamp)> {
        let at = self
            .tail
            .partition_point(|batch| batch.offsets.end <= offset);
        let batch = self.tail.get(at)?;
        (batch.offsets.start <= offset).then_some((batch.epoch, batch.append_time))
    }

    /// The first offset in the tail appended at or after `time`, below the high watermark.
    pub(super) fn offset_in_tail(&self, time: Timestamp) -> Option<Offset> {
        let at = self.tail.partition_point(|batch| batch.append_time < time);
        let batch = self.tail.get(at)?;
        (batch.offsets.end <= self.high_watermark()).then_some(batch.offsets.start)
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

fn run_of(batch: &TailBatch) -> Run {
    let position = u32::try_from(batch.position).expect("segments stay below 4 GiB");
    let length = u32::try_from(batch.bytes.len()).expect("a batch's length is 32 bits");
    Run {
        first: batch.offsets.start,
        append_time: batch.append_time,
        position,
        length,
    }
}

/// Batches to write to one segment.
#[derive(Debug)]
pub(super) struct WriteRun {
    pub segment: Arc<Segment>,
    pub batches: Vec<(u64, Bytes)>,
}

/// How a read goes on.
#[derive(Debug)]
pub(super) enum ReadPlan {
    /// Here it is.
    Memory(Slices),
    /// The log's directory must be read first.
    Load,
    /// From this segment.
    Segment {
        segment: Arc<Segment>,
        /// Where the next one begins.
        after: Option<Offset>,
        /// The first batch at or behind this offset is known to be damaged.
        until: Option<Offset>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Log {
        let point = LogPoint {
            end: Offset(10),
            active: Some(ActivePoint {
                base: Offset(0),
                position: FIRST_BATCH + 1000,
                start_time: Timestamp(1),
                previous: None,
            }),
            ..LogPoint::empty()
        };
        let options = LogOptions {
            segment_bytes: 1 << 20,
            durability: Durability::Synced,
            sync_interval_ms: 100,
        };
        let layout = Layout::new(std::path::Path::new("/data"));
        Log::new(&layout, Incarnation(1), options, &point)
    }

    #[test]
    fn what_is_taken_back_leaves_the_time_and_epoch_of_the_batch_before() {
        let mut log = log();
        let append = |log: &mut Log, time, epoch| {
            let place = log.place(
                &Layout::new(std::path::Path::new("/data")),
                100,
                1,
                Timestamp(time),
                LogEpoch(epoch),
            );
            log.append(TailBatch {
                offsets: log.end..Offset(log.end.0 + 1),
                position: place.position,
                append_time: Timestamp(time),
                epoch: LogEpoch(epoch),
                bytes: Bytes::from_static(&[0; 100]),
                segment: place.segment,
                is_behind: false,
            });
        };
        let first = (log.last_time, log.last_epoch);
        append(&mut log, 50, 2);
        log.roll_back(Offset(10));
        assert_eq!((log.last_time, log.last_epoch), first);
        append(&mut log, 60, 3);
        append(&mut log, 70, 4);
        append(&mut log, 80, 5);
        log.roll_back(Offset(11));
        assert_eq!(
            (log.last_time, log.last_epoch),
            (Timestamp(60), LogEpoch(3))
        );
        // It is in its segment alone, and no longer in the tail.
        (log.written, log.flushed) = (Offset(11), Offset(11));
        log.book_behind(&(Offset(10)..Offset(11)));
        append(&mut log, 90, 6);
        log.roll_back(Offset(11));
        assert_eq!(
            (log.end, log.last_time, log.last_epoch),
            (Offset(11), Timestamp(60), LogEpoch(3))
        );
    }

    #[test]
    fn a_log_is_read_while_somebody_needs_its_segments() {
        let log = log();
        assert!(!log.is_read(), "nobody has read it yet");
        // Who follows its end needs none of them.
        assert!(matches!(
            log.plan_read(Offset(10), 100),
            Ok(ReadPlan::Memory(_))
        ));
        assert!(!log.is_read());
        assert!(matches!(
            log.plan_read(Offset(3), 100),
            Ok(ReadPlan::Segment { .. })
        ));
        assert!(log.is_read());
        log.unread_bytes.store(READ_BYTES - 1, Ordering::Relaxed);
        assert!(log.is_read());
        log.unread_bytes.store(READ_BYTES, Ordering::Relaxed);
        assert!(!log.is_read(), "the reader is gone");
    }
}
