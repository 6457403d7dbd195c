//! The end of a log in memory: batches get their place, wait for their segment, and are let go of or
//! taken back.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::{Active, Log};
use crate::storage::index::Run;
use crate::storage::layout::Layout;
use crate::storage::segment::{FIRST_BATCH, Previous, Segment, SegmentId};
use crate::storage::walk::BLOCK_BYTES;
use crate::types::{LogEpoch, Offset, Timestamp};

/// A batch that is not yet, or not only, in its segment file.
#[derive(Debug, Clone)]
pub(in crate::storage) struct TailBatch {
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

/// Where a batch will lie; given once, when it is staged.
#[derive(Debug)]
pub(in crate::storage) struct Place {
    pub segment: Arc<Segment>,
    pub position: u64,
}

/// Batches to write to one segment.
#[derive(Debug)]
pub(in crate::storage) struct WriteRun {
    pub segment: Arc<Segment>,
    pub batches: Vec<(u64, Bytes)>,
}

impl Log {
    /// Chooses the place of the next batch; rolls to a new segment where it does not fit.
    pub(in crate::storage) fn place(
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
        let segment = Segment::create(id, previous, now, epoch);
        let segment = segment.with_spares(self.spares.clone());
        Place {
            segment: Arc::new(segment.in_log(&self.folder, self.name.clone())),
            position: FIRST_BATCH,
        }
    }

    /// Appends a stamped batch at the place chosen for it.
    pub(in crate::storage) fn append(&mut self, batch: TailBatch) {
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

    /// The batches in front of `below` that the segment files lack.
    pub(in crate::storage) fn unwritten_before(&self, below: Offset) -> Vec<TailBatch> {
        let before = self.tail.iter().take_while(|one| one.offsets.end <= below);
        before.filter(|one| !one.is_behind).cloned().collect()
    }

    /// Takes back the staged batches from offset `to` on: they were never acknowledged.
    pub(in crate::storage) fn roll_back(&mut self, to: Offset) {
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
    pub(in crate::storage) fn unwritten(&self, below: Offset) -> Vec<WriteRun> {
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

    /// Lets go of the batches of segments that were taken out of the log, written or not: nobody reads
    /// them, and their files go. Returns the bytes that are not written any more.
    pub(in crate::storage) fn forget_expired(&mut self) -> u64 {
        let Some(first) = self.segments.first().map(|first| first.id().base) else {
            return 0;
        };
        let gone = self.tail.partition_point(|one| one.offsets.start < first);
        let is_followed = *self.is_followed.get_mut();
        let mut freed = 0;
        for batch in self.tail.drain(..gone) {
            self.before_tail = (batch.append_time, batch.epoch);
            // What follows there begins where this ends.
            if is_followed {
                self.recent.push(batch.offsets.clone(), batch.bytes.clone());
            }
            if !batch.is_behind {
                freed += batch.bytes.len() as u64;
            }
        }
        self.unwritten_bytes -= freed;
        freed
    }

    /// Books the batches of `offsets` as lying in their segments, and lets go of the part of the
    /// tail that memory no longer has to serve. Returns the bytes let go.
    pub(in crate::storage) fn book_behind(&mut self, offsets: &Range<Offset>) -> u64 {
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
