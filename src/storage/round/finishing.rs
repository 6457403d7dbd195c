//! Books how a round ended, under the lock.

use super::{Finished, Round, RoundEnd};
use crate::storage::error::{CommitError, IoFailure};
use crate::storage::journal::GroupEnd;
use crate::storage::store::Storage;
use crate::types::Incarnation;

/// Most bytes that a buffer keeps from one round to the next.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

impl Storage {
    /// Books how a round ended and moves the offsets it made durable.
    pub fn finish_round(&mut self, end: RoundEnd) -> (Finished, Option<Box<Round>>) {
        match end {
            RoundEnd::Full(round, failure) => {
                if failure.is_out_of_space() {
                    self.space.refused(&failure);
                    self.space.set_stuck(true);
                } else {
                    tracing::warn!(%failure, "a round waits for a file descriptor");
                }
                (Finished::default(), Some(round))
            }
            RoundEnd::Failed(round, failure) => {
                tracing::error!(%failure, "the journal failed: no more writes until a restart");
                self.space.set_stuck(false);
                self.is_round_running = false;
                self.in_flight.clear();
                self.fail_journal(round.first_entry(), failure);
                (
                    Finished {
                        logs: round.ends.into_keys().collect(),
                        wants_upkeep: false,
                    },
                    None,
                )
            }
            RoundEnd::Done(round) => {
                self.space.set_stuck(false);
                self.space.written();
                self.is_round_running = false;
                self.in_flight.clear();
                let mut round = *round;
                let buffer = std::mem::take(&mut round.buffer);
                if buffer.capacity() <= KEPT_BUFFER_BYTES {
                    self.group_buffer = buffer;
                }
                (self.finish_done(round), None)
            }
        }
    }

    /// Fails every entry from `first` on and refuses all that follow.
    pub(in crate::storage) fn fail_journal(&mut self, first: u64, failure: IoFailure) {
        for id in first..self.next_entry {
            let error = CommitError::Journal(failure.clone());
            self.failed.entry(id).or_insert(error);
        }
        self.queue.clear();
        self.queue_bytes = 0;
        self.journal_failed = Some(failure);
        self.tell_progress();
    }

    fn finish_done(&mut self, round: Round) -> Finished {
        let mut finished = Finished::default();
        self.rounds += 1;
        if let Some(room) = &round.room {
            let end = GroupEnd {
                group: round.header.group,
                file: room.number,
                end: u32::try_from(room.position + round.header.total_len())
                    .expect("journal files stay below 4 GiB"),
            };
            self.journal.settle(end);
            // A checkpoint that was cut meanwhile starts where the next group really goes.
            self.checkpoints.settle(self.journal.point());
        }
        if !round.copies.is_empty() {
            self.book_copies();
            finished.wants_upkeep = true;
        }
        if round.is_synced {
            self.journal.synced = self.journal.written;
        }
        for (id, _) in &round.owed {
            if let Some(log) = self.logs.get_mut(id) {
                log.owed_in_flight = false;
            }
        }
        for (id, failure) in &round.failed {
            self.poison(*id, failure, &round);
        }
        for (id, end) in &round.ends {
            if round.failed.iter().any(|(failed, _)| failed == id) {
                finished.logs.push(*id);
                continue;
            }
            let Some(log) = self.logs.get_mut(id) else {
                continue;
            };
            log.written = *end;
            if !log.awaits_sync {
                log.awaits_sync = true;
                self.awaiting_sync.push(*id);
            }
            finished.logs.push(*id);
        }
        if round.is_synced {
            for id in self.awaiting_sync.drain(..) {
                let Some(log) = self.logs.get_mut(&id) else {
                    continue;
                };
                log.awaits_sync = false;
                if round.failed.iter().any(|(failed, _)| *failed == id) {
                    continue;
                }
                log.flushed = log.written;
                log.check();
                if !round.ends.contains_key(&id) {
                    finished.logs.push(id);
                }
            }
            self.synced_through = round.through;
        }
        self.written_through = round.through;
        self.tell_progress();
        for run in &round.direct {
            let Some(log) = self.logs.get_mut(&run.log) else {
                continue;
            };
            log.direct_in_flight = false;
            if !log.is_poisoned {
                self.unwritten_bytes -= log.book_behind(&run.offsets());
                self.bound_recent(run.log);
            }
        }
        for id in &finished.logs {
            let Some(log) = self.logs.get(id) else {
                continue;
            };
            if log.unwritten_bytes >= self.config.write_behind_bytes && !log.is_writing_behind {
                self.behind_queue.push_back(*id);
                finished.wants_upkeep = true;
            }
        }
        finished.wants_upkeep |= self.plan_between_rounds();
        finished
    }

    /// Closes a log to writers: what was staged on it since the failure is taken back.
    fn poison(&mut self, id: Incarnation, failure: &IoFailure, round: &Round) {
        let error = || CommitError::Segment {
            log: id,
            source: failure.clone(),
        };
        for (_, entry) in round.dropped.iter().filter(|(log, _)| *log == id) {
            self.failed.entry(entry.0).or_insert_with(error);
        }
        // Entries over several logs are not staged while a direct run is in flight or unsynced, so
        // whatever of this log is still queued is of this log alone.
        let queue = std::mem::take(&mut self.queue);
        for entry in queue {
            if entry.batches[0].log == id && !entry.is_shared() {
                self.failed.insert(entry.id.0, error());
            } else {
                self.queue.push(entry);
            }
        }
        self.queue_bytes = self
            .queue
            .iter()
            .flat_map(|entry| &entry.batches)
            .map(|b| b.bytes.len() as u64)
            .sum();
        if let Some(log) = self.logs.get_mut(&id) {
            let before = log.unwritten_bytes;
            log.roll_back(log.written);
            if !log.is_poisoned {
                self.unwritten_bytes -= before - log.unwritten_bytes;
            }
            log.direct_in_flight = false;
            self.close_log(id, failure);
        }
    }
}
