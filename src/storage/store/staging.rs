//! Takes entries: whether there is room for one, and what its batches are given.

use std::collections::HashMap;

use bytes::Bytes;

use super::Storage;
use super::entry::{Copied, EntryId, NewBatch, QueuedBatch, QueuedEntry, Staged, StagedBatch};
use crate::format::{BatchHeader, Stamp, seal, stamp};
use crate::storage::error::StageError;
use crate::storage::layout::Layout;
use crate::storage::log::{Log, TailBatch};
use crate::storage::space::Need;
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

impl Storage {
    /// Whether an entry of these batches would be taken now; changes nothing.
    ///
    /// # Errors
    /// As for [`Storage::stage_for`].
    ///
    /// # Panics
    /// When `batches` is empty.
    pub fn check_stage(&self, batches: &[NewBatch], need: Need) -> Result<(), StageError> {
        if let Some(failure) = &self.journal_failed {
            return Err(StageError::JournalFailed(failure.clone()));
        }
        assert!(!batches.is_empty(), "an entry has a batch");
        let bytes: u64 = batches.iter().map(NewBatch::stored_len).sum();
        let is_shared = batches.iter().any(|batch| batch.log != batches[0].log);
        if (is_shared || batches.len() > 1) && bytes > self.config.always_direct_bytes {
            let limit = self.config.always_direct_bytes;
            return Err(StageError::TooLarge {
                found: bytes,
                limit,
            });
        }
        let mut ends: Vec<(Incarnation, Offset)> = Vec::with_capacity(1);
        let mut copied: HashMap<Incarnation, Copied> = HashMap::new();
        for batch in batches {
            let log = self
                .logs
                .get(&batch.log)
                .ok_or(StageError::NoSuchLog(batch.log))?;
            if let Some(reason) = &log.refused {
                let reason = reason.clone();
                return Err(StageError::Refused {
                    log: batch.log,
                    reason,
                });
            }
            let known = ends.iter().position(|(id, _)| *id == batch.log);
            let end = known.map_or(log.end, |at| ends[at].1);
            if let Some(expected) = batch.expected
                && expected != end
            {
                return Err(StageError::WrongOffset {
                    expected,
                    actual: end,
                });
            }
            if let Some(new) = batch.copied {
                let last = copied.insert(batch.log, new).unwrap_or(Copied {
                    append_time: log.last_time,
                    log_epoch: log.last_epoch,
                });
                new.check_follows(&last)?;
            } else {
                let found = log.stamp.unwrap_or(self.stamp);
                if found < log.last_epoch {
                    let last = log.last_epoch;
                    return Err(StageError::EpochFell { found, last });
                }
            }
            let span = u64::from(batch.span);
            match known {
                Some(at) => ends[at].1.0 += span,
                None => ends.push((batch.log, Offset(end.0 + span))),
            }
            let is_huge = batch.stored_len() > self.config.always_direct_bytes;
            // An entry over several logs comes after the earlier direct runs of all of them are
            // synced, so that no power cut takes it from one log and not from another.
            let owes =
                log.direct_in_flight || log.owed_in_flight || !log.unsynced_direct.is_empty();
            if is_shared && (owes || log.queued_bytes >= self.config.direct_bytes)
                || is_huge && log.queued_shared > 0
            {
                return Err(StageError::Busy);
            }
            // While such an entry waits, the log takes no more than goes through the journal.
            let len = batch.stored_len();
            let is_large = log.queued_bytes + len >= self.config.direct_bytes;
            if !is_shared && is_large && self.rounds < log.awaited_until {
                return Err(StageError::Busy);
            }
        }
        self.space
            .check(bytes, need)
            .map_err(StageError::DiskFull)?;
        if self.is_stopping() {
            return Err(StageError::Busy);
        }
        let kept = match self.awaited {
            Some((bytes, until)) if !is_shared && self.rounds < until => bytes,
            _ => 0,
        };
        let is_over =
            self.queue_bytes > 0 && self.queue_bytes + bytes + kept > self.config.max_round_bytes;
        let is_full = self.unwritten_bytes > 0
            && self.unwritten_bytes + bytes > self.config.max_unwritten_bytes;
        if is_over || is_full {
            return Err(StageError::Busy);
        }
        Ok(())
    }

    /// Stages an entry of a producer; as [`Storage::stage_for`].
    ///
    /// # Errors
    /// As for [`Storage::stage_for`].
    pub fn stage(
        &mut self,
        batches: &mut Vec<NewBatch>,
        now: Timestamp,
    ) -> Result<Staged, StageError> {
        self.stage_for(batches, Need::Producer, now)
    }

    /// Stamps the batches of one entry, gives them their offsets and places, and queues the entry
    /// for the next round. All of them or none.
    ///
    /// - `need`: who asks, which decides how low the disk may be for it.
    ///
    /// # Errors
    /// [`StageError`]; `batches` is then left as it was.
    pub fn stage_for(
        &mut self,
        batches: &mut Vec<NewBatch>,
        need: Need,
        now: Timestamp,
    ) -> Result<Staged, StageError> {
        if let Err(refused) = self.check_stage(batches, need) {
            // An entry over several logs may be waiting for unsynced direct runs.
            if matches!(refused, StageError::Busy) {
                self.sync_wanted |= !self.owing.is_empty();
                self.makes_way |= self.rounds < self.logs[&batches[0].log].awaited_until;
                self.await_shared(batches);
            }
            if need == Need::Producer && matches!(refused, StageError::DiskFull(_)) {
                self.space.turned_away();
            }
            return Err(refused);
        }
        let is_shared = batches.iter().any(|batch| batch.log != batches[0].log);
        if is_shared {
            self.awaited = None;
        }
        let entry = EntryId(self.next_entry);
        self.next_entry += 1;
        let mut level = Durability::Written;
        let mut staged = Vec::with_capacity(batches.len());
        let mut queued = Vec::with_capacity(batches.len());
        for new in batches.drain(..) {
            let log = self.logs.get_mut(&new.log).expect("checked above");
            level = level.max(log.options.durability);
            let (one, batch) = append(log, &self.layout, new, now, self.stamp);
            let len = batch.bytes.len() as u64;
            log.queued_bytes += len;
            log.queued_shared += u32::from(is_shared);
            if is_shared {
                log.awaited_until = 0;
            }
            log.check();
            self.queue_bytes += len;
            self.unwritten_bytes += len;
            self.space.staged(len);
            self.dirty.insert(batch.log);
            staged.push(one);
            queued.push(batch);
        }
        for one in &mut staged {
            one.level = level;
        }
        if level == Durability::Written {
            let intervals = queued.iter().filter_map(|batch| self.logs.get(&batch.log));
            let interval = intervals
                .map(|log| log.options.sync_interval_ms)
                .min()
                .unwrap_or(0);
            let due = now.saturating_add_ms(interval);
            self.sync_due = Some(self.sync_due.map_or(due, |known| known.min(due)));
        }
        self.queue.push(QueuedEntry {
            id: entry,
            level,
            batches: queued,
        });
        Ok(Staged {
            entry,
            level,
            batches: staged,
        })
    }

    /// Makes way for an entry over several logs that was refused: it is tried again after a round,
    /// and whoever fills its logs or the round in between would win for ever.
    fn await_shared(&mut self, batches: &[NewBatch]) {
        if batches.iter().all(|batch| batch.log == batches[0].log) {
            return;
        }
        let until = self.rounds + AWAITED_ROUNDS;
        for batch in batches {
            if let Some(log) = self.logs.get_mut(&batch.log) {
                log.awaited_until = until;
            }
        }
        let bytes: u64 = batches.iter().map(NewBatch::stored_len).sum();
        let most = self.awaited.map_or(bytes, |(known, _)| known.max(bytes));
        self.awaited = Some((most, until));
    }
}

fn append(
    log: &mut Log,
    layout: &Layout,
    new: NewBatch,
    now: Timestamp,
    epoch: LogEpoch,
) -> (StagedBatch, QueuedBatch) {
    let span = u64::from(new.span);
    let (append_time, epoch) = match new.copied {
        Some(copied) => (copied.append_time, copied.log_epoch),
        None => (now.max(log.last_time), log.stamp.unwrap_or(epoch)),
    };
    let place = log.place(layout, new.stored_len(), span, now, epoch);
    let is_on_fresh_block = log.align_next;
    let offsets = log.end..Offset(log.end.0 + span);
    let mut bytes = new.bytes;
    let mut header = match new.copied {
        Some(_) => BatchHeader::peek(&bytes).expect("a copied batch was checked"),
        None => stamp(
            &mut bytes,
            &Stamp {
                incarnation: log.id,
                base_offset: offsets.start,
                append_time,
                log_epoch: epoch,
                principal: new.principal,
            },
        ),
    };
    if let Some(sealing) = &new.sealing {
        (bytes, header) = seal(&bytes, sealing);
    }
    let header_crc = header.header_crc();
    // A small batch gets memory of its own, so that it does not pin a whole receive buffer.
    let bytes = if new.sealing.is_none() && bytes.len() <= COPY_BYTES {
        Bytes::copy_from_slice(&bytes)
    } else {
        bytes.freeze()
    };
    log.append(TailBatch {
        offsets: offsets.clone(),
        position: place.position,
        append_time,
        epoch,
        bytes: bytes.clone(),
        segment: place.segment.clone(),
        is_behind: false,
    });
    let staged = StagedBatch {
        offsets: offsets.clone(),
        append_time,
        epoch,
        level: Durability::Written,
    };
    let queued = QueuedBatch {
        log: log.id,
        offsets,
        segment: place.segment,
        position: place.position,
        bytes,
        header_crc,
        is_on_fresh_block,
    };
    (staged, queued)
}

/// For so many rounds others make way for an entry over several logs, unless it is tried again.
const AWAITED_ROUNDS: u64 = 4;

/// Batches up to this size are copied out of the buffer they were received in.
const COPY_BYTES: usize = 16 * 1024;
