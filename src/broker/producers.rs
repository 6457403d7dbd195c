//! Who has appended what to a channel: the table that makes a retry harmless, and the highest
//! fence. Folded from the channel's batches; kept in checkpoints as rows.

use std::collections::{BTreeSet, HashMap, VecDeque};

use crate::types::{Offset, ProducerId, Timestamp};

/// Batches remembered for each producer, so that as many may be in flight and be retried.
pub const REMEMBERED_BATCHES: usize = 5;

/// Bounds of a channel's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerLimits {
    /// Most producers remembered; above it, the one that appended least recently is forgotten.
    pub max_producers: usize,
    /// Milliseconds after its last append at which a producer is forgotten.
    pub max_age_ms: i64,
}

impl Default for ProducerLimits {
    fn default() -> Self {
        Self {
            max_producers: 10_000,
            max_age_ms: 7 * 24 * 60 * 60 * 1000,
        }
    }
}

/// What the table says of a batch that may be appended or answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To be appended.
    New,
    /// Appended before: to be answered as it was then, once that append is flushed.
    Duplicate {
        /// Offset its first record was given.
        base_offset: Offset,
        /// Time it was given.
        append_time: Timestamp,
    },
}

/// Why a batch is neither new nor a known retry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProducerError {
    /// The producer is not known, or forgotten, and claims to have appended before.
    #[error("sequence {sequence} of a producer that is not known; a new one starts at 0")]
    Unknown {
        /// Sequence of the batch.
        sequence: u64,
    },
    /// Records before these are missing.
    #[error("sequence {found} leaves a gap, expected {expected}")]
    Gap {
        /// Sequence that would follow.
        expected: u64,
        /// Sequence of the batch.
        found: u64,
    },
    /// The producer has started anew with a higher epoch; this is its former self.
    #[error("producer epoch {epoch} is fenced by {highest_epoch}")]
    Fenced {
        /// Epoch of the batch.
        epoch: u32,
        /// Highest epoch of the producer.
        highest_epoch: u32,
    },
    /// Appended so long ago that its offset is no longer remembered.
    #[error("sequence {found} is appended already, but offsets are remembered only from {oldest}")]
    TooOld {
        /// Lowest sequence still remembered.
        oldest: u64,
        /// Sequence of the batch.
        found: u64,
    },
    /// Some of its sequences are appended already, but not as this batch. A retry must repeat the
    /// batch as it was.
    #[error(
        "sequence {found} with {count} records repeats a part of another batch, expected {expected}"
    )]
    Overlap {
        /// Sequence that would follow.
        expected: u64,
        /// Sequence of the batch.
        found: u64,
        /// Records of the batch.
        count: u32,
    },
}

/// A batch that somebody without the right to append has sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("fence {token} is below {highest}, the highest of the channel")]
pub struct Fenced {
    /// Token of the batch; 0 when it has none.
    pub token: u64,
    /// Highest token the channel has seen.
    pub highest: u64,
}

/// A batch that is appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendedBatch {
    /// Its producer; none is booked only for its fence.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub epoch: u32,
    /// Sequence of its first record.
    pub base_sequence: u64,
    /// Number of its records.
    pub count: u32,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// When it was appended.
    pub append_time: Timestamp,
    /// Its fencing token; 0 is none.
    pub fence: u64,
}

/// One remembered batch of one producer, as a checkpoint keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerState {
    /// The producer.
    pub producer_id: ProducerId,
    /// Its epoch.
    pub epoch: u32,
    /// Sequence of the batch's first record.
    pub base_sequence: u64,
    /// Sequence after the batch's last record.
    pub next_sequence: u64,
    /// Offset of the batch's first record.
    pub base_offset: Offset,
    /// When the batch was appended.
    pub last_append_time: Timestamp,
}

/// Rows that no table gives.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("row {row} of the producers: {rule}")]
pub struct InvalidRows {
    /// Index of the row.
    pub row: usize,
    /// What it breaks.
    pub rule: &'static str,
}

/// The producers of one channel and its highest fence. For each producer:
///
/// ```text
/// Absent --batch at 0--> Known(epoch e, next sequence n)
/// Known(e, n) --batch of e at n--> Known(e, n + count)
/// Known(e, n) --batch of f > e at 0--> Known(f, count), former batches forgotten
/// Known --expired by age, or by number--> Absent
/// ```
///
/// [`Producers::check`] judges a batch by these arrows. [`Producers::record`] books what is in the
/// log without judging it again, for the log is the truth: a table that has expired a producer and
/// one, replayed from the log, that still knows it are the same after that producer's next batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Producers {
    limits: ProducerLimits,
    fence: u64,
    known: HashMap<ProducerId, Producer>,
    /// Every producer under the offset of its last batch: the order of their appends, which is
    /// also that of the times, since append times never decrease.
    by_last_append: BTreeSet<(Offset, u128)>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: u32,
    /// The newest batches, oldest first, each where the one before ends; never empty.
    batches: VecDeque<Batch>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Batch {
    base_sequence: u64,
    next_sequence: u64,
    base_offset: Offset,
    append_time: Timestamp,
}

impl Producer {
    fn last(&self) -> &Batch {
        self.batches.back().expect("a known producer has a batch")
    }
}

impl Producers {
    /// An empty table.
    #[must_use]
    pub fn new(limits: ProducerLimits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Whether a batch is to be appended or was appended before. Changes nothing; a batch without
    /// a producer is always new.
    ///
    /// - `count`: records of the batch, at least 1.
    ///
    /// # Errors
    /// [`ProducerError`] when appending it could lose or repeat records.
    pub fn check(
        &self,
        producer_id: ProducerId,
        epoch: u32,
        base_sequence: u64,
        count: u32,
    ) -> Result<Verdict, ProducerError> {
        if producer_id.is_none() {
            return Ok(Verdict::New);
        }
        let Some(producer) = self.known.get(&producer_id) else {
            return match base_sequence {
                0 => Ok(Verdict::New),
                sequence => Err(ProducerError::Unknown { sequence }),
            };
        };
        if epoch < producer.epoch {
            return Err(ProducerError::Fenced {
                epoch,
                highest_epoch: producer.epoch,
            });
        }
        let expected = if epoch > producer.epoch {
            0
        } else {
            producer.last().next_sequence
        };
        if base_sequence == expected {
            return Ok(Verdict::New);
        }
        if base_sequence > expected {
            return Err(ProducerError::Gap {
                expected,
                found: base_sequence,
            });
        }
        let repeated = producer.batches.iter().find(|batch| {
            batch.base_sequence == base_sequence
                && batch.next_sequence - batch.base_sequence == u64::from(count)
        });
        if let Some(batch) = repeated {
            return Ok(Verdict::Duplicate {
                base_offset: batch.base_offset,
                append_time: batch.append_time,
            });
        }
        let oldest = producer.batches[0].base_sequence;
        if base_sequence < oldest {
            return Err(ProducerError::TooOld {
                oldest,
                found: base_sequence,
            });
        }
        Err(ProducerError::Overlap {
            expected,
            found: base_sequence,
            count,
        })
    }

    /// Whether a batch with this fencing token (0 is none) may be appended: an equal or higher one
    /// than the highest so far. Without a token only while the channel has seen none. A higher one
    /// becomes the highest when its batch is recorded.
    ///
    /// # Errors
    /// [`Fenced`] with both tokens.
    pub fn check_fence(&self, token: u64) -> Result<(), Fenced> {
        if token < self.fence {
            return Err(Fenced {
                token,
                highest: self.fence,
            });
        }
        Ok(())
    }

    /// Highest fencing token of the channel; 0 is none.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence
    }

    /// Offset of the last batch of a producer, where it is remembered.
    #[must_use]
    pub fn last_of(&self, producer_id: ProducerId) -> Option<Offset> {
        let producer = self.known.get(&producer_id)?;
        Some(producer.last().base_offset)
    }

    /// Number of producers remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.known.len()
    }

    /// Whether no producer is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    /// Books a batch of the log, newly appended or replayed, in the log's order. A batch booked
    /// before changes nothing. Returns the producer that had to be forgotten for it, if any.
    pub fn record(&mut self, batch: &AppendedBatch) -> Option<ProducerId> {
        self.fence = self.fence.max(batch.fence);
        if batch.producer_id.is_none() {
            return None;
        }
        let booked = Batch {
            base_sequence: batch.base_sequence,
            next_sequence: batch.base_sequence.saturating_add(u64::from(batch.count)),
            base_offset: batch.base_offset,
            append_time: batch.append_time,
        };
        match self.known.get_mut(&batch.producer_id) {
            None => {
                self.known.insert(
                    batch.producer_id,
                    Producer {
                        epoch: batch.epoch,
                        batches: VecDeque::from([booked]),
                    },
                );
            }
            Some(producer) => {
                let last = *producer.last();
                if batch.base_offset <= last.base_offset {
                    return None;
                }
                let follows =
                    batch.epoch == producer.epoch && batch.base_sequence == last.next_sequence;
                if !follows {
                    producer.batches.clear();
                } else if producer.batches.len() == REMEMBERED_BATCHES {
                    producer.batches.pop_front();
                }
                producer.epoch = batch.epoch;
                producer.batches.push_back(booked);
                self.by_last_append
                    .remove(&(last.base_offset, batch.producer_id.0));
            }
        }
        self.by_last_append
            .insert((batch.base_offset, batch.producer_id.0));
        if self.known.len() > self.limits.max_producers {
            return self.forget_oldest();
        }
        None
    }

    /// Forgets every producer whose last append is `max_age_ms` ago or longer. Returns how many.
    pub fn expire(&mut self, now: Timestamp) -> usize {
        let mut expired = 0;
        while let Some(&(_, oldest)) = self.by_last_append.first() {
            let appended = self.known[&ProducerId(oldest)].last().append_time;
            if appended.saturating_add_ms(self.limits.max_age_ms) > now {
                break;
            }
            self.forget_oldest();
            expired += 1;
        }
        expired
    }

    /// The table as rows: the remembered batches of each producer one after the other, oldest
    /// first; the producers in the order of their last appends. The fence is apart:
    /// [`Producers::fence`].
    #[must_use]
    pub fn to_rows(&self) -> Vec<ProducerState> {
        self.by_last_append
            .iter()
            .flat_map(|&(_, id)| {
                let producer_id = ProducerId(id);
                let producer = &self.known[&producer_id];
                producer.batches.iter().map(move |batch| ProducerState {
                    producer_id,
                    epoch: producer.epoch,
                    base_sequence: batch.base_sequence,
                    next_sequence: batch.next_sequence,
                    base_offset: batch.base_offset,
                    last_append_time: batch.append_time,
                })
            })
            .collect()
    }

    /// The table that gave these rows, with the fence that was kept beside them. Under a lower
    /// limit than then, the producers that appended least recently are left out.
    ///
    /// # Errors
    /// [`InvalidRows`] when no table gives such rows.
    pub fn from_rows(
        limits: ProducerLimits,
        fence: u64,
        rows: &[ProducerState],
    ) -> Result<Self, InvalidRows> {
        let mut table = Self::new(limits);
        table.fence = fence;
        let mut of_producer = 0;
        for (row, state) in rows.iter().enumerate() {
            let before = row.checked_sub(1).map(|row| &rows[row]);
            let continued = before.filter(|before| before.producer_id == state.producer_id);
            of_producer = if continued.is_some() {
                of_producer + 1
            } else {
                1
            };
            let rule = if state.producer_id.is_none() {
                Some("it has no producer")
            } else if state.next_sequence <= state.base_sequence {
                Some("its batch has no records")
            } else if of_producer > REMEMBERED_BATCHES {
                Some("its producer has more rows than are remembered")
            } else {
                match continued {
                    Some(before) if before.epoch != state.epoch => {
                        Some("its epoch is not that of the row before")
                    }
                    Some(before) if before.next_sequence != state.base_sequence => {
                        Some("its sequence does not follow the row before")
                    }
                    Some(before) if before.base_offset >= state.base_offset => {
                        Some("its offset is not above the row before")
                    }
                    None if table.known.contains_key(&state.producer_id) => {
                        Some("other rows of its producer stand apart")
                    }
                    _ => None,
                }
            };
            if let Some(rule) = rule {
                return Err(InvalidRows { row, rule });
            }
            table.restore(state);
        }
        while table.known.len() > limits.max_producers {
            table.forget_oldest();
        }
        Ok(table)
    }

    fn restore(&mut self, state: &ProducerState) {
        let producer = self
            .known
            .entry(state.producer_id)
            .or_insert_with(|| Producer {
                epoch: state.epoch,
                batches: VecDeque::new(),
            });
        if let Some(last) = producer.batches.back() {
            self.by_last_append
                .remove(&(last.base_offset, state.producer_id.0));
        }
        producer.batches.push_back(Batch {
            base_sequence: state.base_sequence,
            next_sequence: state.next_sequence,
            base_offset: state.base_offset,
            append_time: state.last_append_time,
        });
        self.by_last_append
            .insert((state.base_offset, state.producer_id.0));
    }

    fn forget_oldest(&mut self) -> Option<ProducerId> {
        let (_, oldest) = self.by_last_append.pop_first()?;
        self.known.remove(&ProducerId(oldest));
        Some(ProducerId(oldest))
    }
}

#[cfg(test)]
mod tests;
