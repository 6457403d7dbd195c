//! Where a log stands, as a checkpoint records it.

use crate::format::{DamageRow, LogRow, ProducerRow};
use crate::storage::segment::{FIRST_BATCH, Previous, Segment};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

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

impl ActivePoint {
    /// How far a segment is written.
    pub(in crate::storage) fn of(segment: &Segment, position: u64, start_time: Timestamp) -> Self {
        Self {
            base: segment.id().base,
            position,
            start_time,
            previous: segment.previous(),
        }
    }
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
    pub(in crate::storage) fn reach_log_start(&mut self) {
        self.end = self.end.max(self.log_start);
    }

    pub(in crate::storage) fn from_row(row: &LogRow) -> Self {
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

    pub(in crate::storage) fn to_row(&self, id: Incarnation) -> LogRow {
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
