//! What a copy accepts from its source: what follows its end, and nothing else.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// What tells one stored batch from another, in whichever region it lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BatchMark {
    /// Offset of its first record.
    pub base: Offset,
    /// Offset after its last one.
    pub end: Offset,
    /// Epoch in which its home appended it.
    pub epoch: LogEpoch,
    /// When.
    pub append_time: Timestamp,
    /// Its producer's checksum.
    pub body_crc: u32,
}

/// Why a copy will never have some records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[non_exhaustive]
#[repr(u8)]
pub enum GapReason {
    /// Retention at the source has removed them before they crossed.
    Trimmed = 1,
}

impl GapReason {
    /// The reason with this number on the wire.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        (number == Self::Trimmed as u8).then_some(Self::Trimmed)
    }
}

/// What a source sends of one log, as far as the cursor judges it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A batch whose checksums match.
    Batch {
        /// The log it says to belong to.
        incarnation: Incarnation,
        /// What it is.
        mark: BatchMark,
        /// The source has synced everything below.
        flushed: Offset,
    },
    /// Batches that hold no record of the types asked for.
    Skip {
        /// Their offsets.
        range: Range<Offset>,
        /// Epoch of the last of them.
        epoch: LogEpoch,
        /// Append time of the last of them.
        append_time: Timestamp,
        /// The source has synced everything below.
        flushed: Offset,
    },
    /// Records that will never come.
    Gap {
        /// Their offsets.
        range: Range<Offset>,
        /// Why.
        reason: GapReason,
    },
    /// How far the source is.
    Head {
        /// Lowest offset still readable there.
        log_start: Offset,
        /// The source has synced everything below.
        flushed: Offset,
        /// Epoch of the log.
        epoch: LogEpoch,
    },
    /// Where a consumer stands.
    Position {
        /// Next offset that it reads; `None` where it was forgotten.
        offset: Option<Offset>,
    },
}

/// Why an item is not taken. Nothing of it is stored, and the copy stops.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RefusedItem {
    /// A batch of another log.
    #[error("a batch of incarnation {found}, but the copy is of {wanted}")]
    OtherIncarnation {
        /// The batch's.
        found: Incarnation,
        /// The copy's.
        wanted: Incarnation,
    },
    /// The copy has these offsets already.
    #[error("offset {found} came again, the copy goes on at {next}")]
    Again {
        /// First offset of the item.
        found: Offset,
        /// The copy's end.
        next: Offset,
    },
    /// Offsets before these did not come.
    #[error("offsets {next}..{found} were left out")]
    LeftOut {
        /// First offset of the item.
        found: Offset,
        /// The copy's end.
        next: Offset,
    },
    /// An epoch below that of the batch before.
    #[error("epoch {found} comes after {last}")]
    LowerEpoch {
        /// The item's.
        found: LogEpoch,
        /// The one before.
        last: LogEpoch,
    },
    /// A time before that of the batch before.
    #[error("append time {} comes after {}", .found.0, .last.0)]
    EarlierTime {
        /// The item's.
        found: Timestamp,
        /// The one before.
        last: Timestamp,
    },
    /// The source could lose it in a power cut, and the copy would be ahead of its home.
    #[error("offset {end} is above what the source has synced, {flushed}")]
    NotFlushed {
        /// The item's end.
        end: Offset,
        /// What the source says to have synced.
        flushed: Offset,
    },
    /// A range of no offsets.
    #[error("a range without offsets, {start}..{end}")]
    Empty {
        /// Its start.
        start: Offset,
        /// Its end.
        end: Offset,
    },
    /// Nobody asked for some types only.
    #[error("offsets {start}..{end} were skipped in a copy of all types")]
    NotFiltered {
        /// First offset skipped.
        start: Offset,
        /// Offset after the last.
        end: Offset,
    },
    /// The source has less than the copy, or contradicts itself.
    #[error("the source has {log_start}..{flushed}, the copy goes on at {next}")]
    SourceBehind {
        /// Log start there.
        log_start: Offset,
        /// Synced there.
        flushed: Offset,
        /// The copy's end.
        next: Offset,
    },
    /// A consumer can't have read what has not come.
    #[error("a consumer's position {found} is above the copy's end {next}")]
    PositionAhead {
        /// The position.
        found: Offset,
        /// The copy's end.
        next: Offset,
    },
}

/// What to do with an item that was accepted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Store the batch as it is.
    Append,
    /// Store a gap batch over these offsets, stamped with this epoch and time.
    Mark {
        /// What is not there.
        range: Range<Offset>,
        /// None where records of other types were passed over.
        reason: Option<GapReason>,
        /// Epoch for the stamp.
        epoch: LogEpoch,
        /// Time for the stamp.
        append_time: Timestamp,
    },
    /// How far the copy is behind.
    Lag {
        /// Records that the source has synced and the copy does not have.
        records: u64,
        /// Log start of the source.
        log_start: Offset,
    },
    /// Keep the consumer's position, or forget the consumer.
    Place,
}

/// How far a copy has come. It is the copy's own end, and kept nowhere else.
///
/// Invariant: `next` only grows, and every offset below it was covered by exactly one item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cursor {
    incarnation: Incarnation,
    is_filtered: bool,
    next: Offset,
    epoch: LogEpoch,
    append_time: Timestamp,
}

impl Cursor {
    /// The cursor of a copy as it was found or begun.
    ///
    /// - `next`: its log end.
    /// - `epoch`, `append_time`: of its last batch; 0 and the least time when it is empty.
    /// - `is_filtered`: whether it is of some record types only.
    #[must_use]
    pub fn new(
        incarnation: Incarnation,
        next: Offset,
        epoch: LogEpoch,
        append_time: Timestamp,
        is_filtered: bool,
    ) -> Self {
        Self {
            incarnation,
            is_filtered,
            next,
            epoch,
            append_time,
        }
    }

    /// The next offset to come.
    #[must_use]
    pub fn next(&self) -> Offset {
        self.next
    }

    /// The log epoch that the copy ends with.
    #[must_use]
    pub fn epoch(&self) -> LogEpoch {
        self.epoch
    }

    /// Judges an item; when it follows, the cursor is behind it.
    ///
    /// # Errors
    /// [`RefusedItem`] with the two values that disagree; the cursor is unchanged.
    pub fn accept(&mut self, item: &Item) -> Result<Step, RefusedItem> {
        match item {
            Item::Batch {
                incarnation,
                mark,
                flushed,
            } => {
                if *incarnation != self.incarnation {
                    return Err(RefusedItem::OtherIncarnation {
                        found: *incarnation,
                        wanted: self.incarnation,
                    });
                }
                self.follows(&(mark.base..mark.end))?;
                check_flushed(mark.end, *flushed)?;
                self.advance(mark.end, mark.epoch, mark.append_time)?;
                Ok(Step::Append)
            }
            Item::Skip {
                range,
                epoch,
                append_time,
                flushed,
            } => {
                if !self.is_filtered {
                    return Err(RefusedItem::NotFiltered {
                        start: range.start,
                        end: range.end,
                    });
                }
                self.follows(range)?;
                check_flushed(range.end, *flushed)?;
                self.advance(range.end, *epoch, *append_time)?;
                Ok(self.mark(range, None))
            }
            Item::Gap { range, reason } => {
                self.follows(range)?;
                self.next = range.end;
                Ok(self.mark(range, Some(*reason)))
            }
            Item::Head {
                log_start,
                flushed,
                epoch,
            } => self.head(*log_start, *flushed, *epoch),
            Item::Position { offset } => match *offset {
                Some(found) if found > self.next => Err(RefusedItem::PositionAhead {
                    found,
                    next: self.next,
                }),
                _ => Ok(Step::Place),
            },
        }
    }

    fn head(
        &self,
        log_start: Offset,
        flushed: Offset,
        epoch: LogEpoch,
    ) -> Result<Step, RefusedItem> {
        if flushed < self.next || log_start > flushed {
            return Err(RefusedItem::SourceBehind {
                log_start,
                flushed,
                next: self.next,
            });
        }
        if epoch < self.epoch {
            return Err(RefusedItem::LowerEpoch {
                found: epoch,
                last: self.epoch,
            });
        }
        Ok(Step::Lag {
            records: flushed.0 - self.next.0,
            log_start,
        })
    }

    fn follows(&self, range: &Range<Offset>) -> Result<(), RefusedItem> {
        let (found, next) = (range.start, self.next);
        if range.is_empty() {
            return Err(RefusedItem::Empty {
                start: range.start,
                end: range.end,
            });
        }
        if found < next {
            return Err(RefusedItem::Again { found, next });
        }
        if found > next {
            return Err(RefusedItem::LeftOut { found, next });
        }
        Ok(())
    }

    fn advance(
        &mut self,
        end: Offset,
        epoch: LogEpoch,
        append_time: Timestamp,
    ) -> Result<(), RefusedItem> {
        if epoch < self.epoch {
            return Err(RefusedItem::LowerEpoch {
                found: epoch,
                last: self.epoch,
            });
        }
        if append_time < self.append_time {
            return Err(RefusedItem::EarlierTime {
                found: append_time,
                last: self.append_time,
            });
        }
        self.next = end;
        self.epoch = epoch;
        self.append_time = append_time;
        Ok(())
    }

    fn mark(&self, range: &Range<Offset>, reason: Option<GapReason>) -> Step {
        Step::Mark {
            range: range.clone(),
            reason,
            epoch: self.epoch,
            append_time: self.append_time,
        }
    }
}

fn check_flushed(end: Offset, flushed: Offset) -> Result<(), RefusedItem> {
    if end > flushed {
        return Err(RefusedItem::NotFlushed { end, flushed });
    }
    Ok(())
}
