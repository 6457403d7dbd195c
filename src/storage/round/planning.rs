//! What goes into a round, taken under the lock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::group::{GROUP_HEADER_BYTES, GROUP_ITEM_BYTES};
use super::{DirectRun, Round};
use crate::format::GroupHeader;
use crate::storage::journal::Room;
use crate::storage::log::Log;
use crate::storage::segment::{FIRST_BATCH, Segment};
use crate::storage::store::{QueuedBatch, Storage};
use crate::types::{Durability, Incarnation, Offset, Timestamp};

impl Storage {
    /// Whether a round has work at `now`.
    #[must_use]
    pub fn has_round(&self, now: Timestamp) -> bool {
        self.journal_failed.is_none()
            && !self.is_round_running
            && (self.has_work(now) || self.has_copies())
    }

    fn has_work(&self, now: Timestamp) -> bool {
        !self.queue.is_empty() || self.is_sync_due(now) || self.makes_way
    }

    /// When the next sync of `written` channels is due.
    #[must_use]
    pub fn sync_due(&self) -> Option<Timestamp> {
        self.sync_due
    }

    fn is_sync_due(&self, now: Timestamp) -> bool {
        let is_behind = !self.awaiting_sync.is_empty();
        is_behind && (self.sync_wanted || self.sync_due.is_some_and(|due| due <= now))
    }

    /// When `now` is: whether a `written` channel's interval is over.
    #[must_use]
    pub fn wants_sync(&self, now: Timestamp) -> bool {
        self.is_sync_due(now)
    }

    /// Takes everything that was staged; `None` when there is nothing to do or no journal space,
    /// which a checkpoint will free.
    pub fn plan_round(&mut self, now: Timestamp) -> Option<Round> {
        if !self.has_round(now) {
            return None;
        }
        if let Some(round) = self.plan_copies(now) {
            return Some(round);
        }
        if !self.has_work(now) {
            return None;
        }
        let direct = self.take_direct_logs();
        // At most one item for each batch: a reference stands for one batch or more.
        let group_bytes: u64 = self
            .queue
            .iter()
            .flat_map(|entry| &entry.batches)
            .map(|batch| {
                let is_direct = direct.contains(&batch.log);
                GROUP_ITEM_BYTES as u64
                    + if is_direct {
                        0
                    } else {
                        batch.bytes.len() as u64
                    }
            })
            .sum();
        let may_take_last = self.is_checkpoint_waiting();
        let room = if self.queue.is_empty() {
            None
        } else {
            match self
                .journal
                .reserve(GROUP_HEADER_BYTES as u64 + group_bytes, may_take_last)
            {
                Some(room) => Some(room),
                None => {
                    self.checkpoints.want_room();
                    return None;
                }
            }
        };
        self.makes_way = false;
        let mut entries = std::mem::take(&mut self.queue);
        let is_synced = self.is_sync_due(now)
            || self.sync_wanted
            || entries
                .iter()
                .any(|entry| entry.level == Durability::Synced);
        let mut ends = BTreeMap::new();
        for batch in entries.iter().flat_map(|entry| &entry.batches) {
            ends.insert(batch.log, batch.offsets.end);
        }
        let owed = if is_synced {
            self.take_owed()
        } else {
            Vec::new()
        };
        for id in ends.keys() {
            if let Some(log) = self.logs.get_mut(id) {
                log.queued_bytes = 0;
                log.queued_shared = 0;
            }
        }
        let mut runs: Vec<DirectRun> = Vec::new();
        if !direct.is_empty() {
            let mut kept = Vec::with_capacity(entries.len());
            for mut entry in entries {
                let log = entry.batches[0].log;
                if !direct.contains(&log) {
                    kept.push(entry);
                    continue;
                }
                let run = match runs.iter().position(|run| run.log == log) {
                    Some(at) => &mut runs[at],
                    None => {
                        let first = entry.batches[0].offsets.start;
                        let before = self.logs.get(&log);
                        runs.push(DirectRun {
                            log,
                            before: before.map_or(Vec::new(), |log| log.unwritten_before(first)),
                            entries: Vec::new(),
                            batches: Vec::new(),
                            is_kept: before.is_some_and(Log::is_read),
                        });
                        runs.last_mut().expect("just pushed")
                    }
                };
                run.entries.push(entry.id);
                run.batches.append(&mut entry.batches);
            }
            entries = kept;
            for id in &direct {
                if let Some(log) = self.logs.get_mut(id) {
                    log.direct_in_flight = true;
                    log.align_next = true;
                }
            }
            for batch in runs.iter().flat_map(|run| &run.batches) {
                self.run_bytes += batch.bytes.len() as u64;
                batch.segment.set_direct(batch.offsets.end);
                if batch.position == FIRST_BATCH
                    && let Some(log) = self.logs.get_mut(&batch.log)
                {
                    log.begun_by_runs += 1;
                    if let Some(since) = self.spared.get_mut(&batch.log) {
                        *since = now;
                    }
                }
            }
            for run in runs.iter().filter(|_| !is_synced) {
                let Some(log) = self.logs.get_mut(&run.log) else {
                    continue;
                };
                self.owing.insert(run.log);
                for batch in &run.batches {
                    let known = &log.unsynced_direct;
                    if !known.iter().any(|one| Arc::ptr_eq(one, &batch.segment)) {
                        log.unsynced_direct.push(batch.segment.clone());
                    }
                }
            }
        }
        self.queue_bytes = 0;
        self.in_flight = touched(&runs, &owed);
        self.is_round_running = true;
        Some(Round {
            direct: runs,
            owed,
            entries,
            is_synced,
            through: self.next_entry - 1,
            ends,
            ..self.empty_round(room, now)
        })
    }

    /// A round with the copies that a checkpoint waits for, where there are any and room for them.
    fn plan_copies(&mut self, now: Timestamp) -> Option<Round> {
        if !self.has_copies() {
            return None;
        }
        let len = GROUP_HEADER_BYTES as u64 + self.copies_len();
        let Some(room) = self.journal.reserve(len, true) else {
            self.journal.grow();
            return None;
        };
        let copies = self.take_copies();
        self.is_round_running = true;
        Some(Round {
            owed: self.take_owed(),
            copies,
            is_synced: true,
            through: self.written_through,
            ..self.empty_round(Some(room), now)
        })
    }

    fn empty_round(&mut self, room: Option<Room>, now: Timestamp) -> Round {
        let header = GroupHeader {
            item_count: 0,
            items_crc: 0,
            data_len: 0,
            group: self.journal.next_group - u64::from(room.is_some()),
            epoch: self.journal.epoch.0,
            synced_group: self.journal.synced.group,
            written_at: now,
        };
        Round {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            open_files: self.open_files.clone(),
            direct: Vec::new(),
            owed: Vec::new(),
            entries: Vec::new(),
            copies: Vec::new(),
            dropped: Vec::new(),
            room,
            active_file: self.journal.active_file(),
            header,
            salt: self.journal.salt,
            is_synced: false,
            through: 0,
            ends: BTreeMap::new(),
            failed: Vec::new(),
            directory: self.directory_id,
            is_segment_work_done: false,
            buffer: std::mem::take(&mut self.group_buffer),
        }
    }

    /// The segments with unsynced bytes of direct runs, which a synced round syncs first.
    fn take_owed(&mut self) -> Vec<(Incarnation, Arc<Segment>)> {
        self.sync_due = None;
        self.sync_wanted = false;
        let mut owed = Vec::new();
        for id in std::mem::take(&mut self.owing) {
            let Some(log) = self.logs.get_mut(&id) else {
                continue;
            };
            log.owed_in_flight = true;
            let segments = log.unsynced_direct.drain(..);
            owed.extend(segments.map(|segment| (id, segment)));
        }
        owed
    }

    /// The logs that have enough staged for a direct run, and no entry shared with others.
    ///
    /// The directory's own log is not among them: its entries would be lost with its segment, and
    /// what is acknowledged of a channel that one of them makes needs that one. It goes straight to
    /// its segment only with a batch that has no room in the journal, and then fails with it.
    fn take_direct_logs(&self) -> Vec<Incarnation> {
        let mut direct = Vec::new();
        for entry in &self.queue {
            let id = entry.batches[0].log;
            let Some(log) = self.logs.get(&id) else {
                continue;
            };
            let is_huge = |batch: &QueuedBatch| {
                let bytes = batch.bytes.len() as u64;
                batch.log == id && bytes > self.config.always_direct_bytes
            };
            let is_large = if id == self.directory_id {
                let batches = self.queue.iter().flat_map(|entry| &entry.batches);
                batches.into_iter().any(is_huge)
            } else {
                log.queued_bytes >= self.config.direct_bytes
            };
            if is_large && log.queued_shared == 0 && !direct.contains(&id) {
                direct.push(id);
            }
        }
        direct
    }
}

/// The logs whose segments a round writes to or syncs, with the base of the first of these.
fn touched(
    runs: &[DirectRun],
    owed: &[(Incarnation, Arc<Segment>)],
) -> HashMap<Incarnation, Offset> {
    let written = runs.iter().flat_map(|run| {
        let before = run.before.iter().map(|batch| &batch.segment);
        let batches = run.batches.iter().map(|batch| &batch.segment);
        before.chain(batches).map(|segment| (run.log, segment))
    });
    let synced = owed.iter().map(|(log, segment)| (*log, segment));
    let mut touched = HashMap::new();
    for (log, segment) in written.chain(synced) {
        let base = segment.id().base;
        let first = touched.entry(log).or_insert(base);
        *first = base.min(*first);
    }
    touched
}
