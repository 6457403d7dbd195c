//! Where a read of a log finds what it asks for.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::Log;
use crate::format::{DamageKind, DamageRow};
use crate::storage::error::ReadError;
use crate::storage::segment::{Segment, Slices};
use crate::types::{LogEpoch, Offset, Timestamp};

/// A log that was not read from its segments while so many bytes were appended has no reader who is
/// a little behind.
pub(super) const READ_BYTES: u64 = 1024 * 1024 * 1024;

/// How a read goes on.
#[derive(Debug)]
pub(in crate::storage) enum ReadPlan {
    /// Here it is.
    Memory(Slices),
    /// The log's directory must be read first.
    Load,
    /// From this segment.
    Segment {
        segment: Arc<Segment>,
        /// Where the next one begins.
        after: Option<Offset>,
        /// The first batch at or behind this offset is known to be damaged, or is being cut off.
        until: Option<Offset>,
    },
}

impl Log {
    /// Whether somebody reads segments of this log while it is written: then what is written next is
    /// likely to be read from memory, which is where the operating system has it.
    pub(in crate::storage) fn is_read(&self) -> bool {
        self.unread_bytes.load(Ordering::Relaxed) < READ_BYTES
    }

    /// What a read of `from` needs: bytes from memory at once, or a segment to read.
    pub(in crate::storage) fn plan_read(
        &self,
        from: Offset,
        max_bytes: u64,
    ) -> Result<ReadPlan, ReadError> {
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
                let damage = self.next_damage(&segments[at], from)?;
                Ok(ReadPlan::Segment {
                    segment: segments[at].clone(),
                    after: segments.get(at + 1).map(|next| next.id().base),
                    // What is being cut off still lies in its segment.
                    until: damage.into_iter().chain(self.cut_at).min(),
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
    pub(in crate::storage) fn staged_batch(&self, offset: Offset) -> Option<Bytes> {
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
    pub(in crate::storage) fn batch_in_tail(
        &self,
        offset: Offset,
    ) -> Option<(LogEpoch, Timestamp)> {
        let at = self
            .tail
            .partition_point(|batch| batch.offsets.end <= offset);
        let batch = self.tail.get(at)?;
        (batch.offsets.start <= offset).then_some((batch.epoch, batch.append_time))
    }

    /// The first offset in the tail appended at or after `time`, below the high watermark.
    pub(in crate::storage) fn offset_in_tail(&self, time: Timestamp) -> Option<Offset> {
        let at = self.tail.partition_point(|batch| batch.append_time < time);
        let batch = self.tail.get(at)?;
        (batch.offsets.end <= self.high_watermark()).then_some(batch.offsets.start)
    }
}
