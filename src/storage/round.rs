//! One round of the committer: what collected while the last sync was in flight becomes durable.
//!
//! ```text
//!   plan (locked)           run (no lock)                                   finish (locked)
//!   take the queue ──▶ large runs: write, sync segments ──▶ group: write, sync ──▶ move offsets
//! ```

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::copy_forward::Copied;
use super::disk::{Disk, DiskFile};
use super::error::{CommitError, IoFailure, While};
use super::journal::{GroupEnd, Room};
use super::layout::Layout;
use super::log::{Log, TailBatch};
use super::open_files::OpenFiles;
use super::segment::{FIRST_BATCH, Segment};
use super::store::{EntryId, QueuedBatch, QueuedEntry, Storage};
use crate::format::{GROUP_ALIGNMENT, GroupHeader, GroupItem, ItemKind, items_crc, whole_crc};
use crate::types::{Durability, Incarnation, Offset, Timestamp};

const GROUP_HEADER_BYTES: usize = GroupHeader::BYTES;
const GROUP_ITEM_BYTES: usize = GroupItem::BYTES;

/// The batches of one log that go straight to their segments in this round.
#[derive(Debug)]
struct DirectRun {
    log: Incarnation,
    /// The tail in front of them, which the journal holds: written with them, so that no byte of
    /// a block that they share is written after they are synced.
    before: Vec<TailBatch>,
    entries: Vec<EntryId>,
    batches: Vec<QueuedBatch>,
    /// Whether somebody is likely to read it from its segment soon.
    is_kept: bool,
}

impl DirectRun {
    fn offsets(&self) -> Range<Offset> {
        let first = self.before.first().map(|batch| batch.offsets.start);
        let first = first.unwrap_or(self.batches[0].offsets.start);
        first..self.batches[self.batches.len() - 1].offsets.end
    }
}

/// One round, planned and ready to run.
#[derive(Debug)]
pub struct Round {
    disk: Arc<dyn Disk>,
    layout: Layout,
    open_files: Arc<OpenFiles>,
    direct: Vec<DirectRun>,
    /// Segments that `written` channels wrote to and that this round must sync.
    owed: Vec<(Incarnation, Arc<Segment>)>,
    entries: Vec<QueuedEntry>,
    /// What is written again, so that older groups may go; a round with copies has nothing else.
    copies: Vec<Copied>,
    /// Entries of logs whose segments failed in this round: not in the group.
    dropped: Vec<(Incarnation, EntryId)>,
    room: Option<Room>,
    active_file: (Arc<dyn DiskFile>, u32),
    header: GroupHeader,
    salt: u64,
    is_synced: bool,
    through: u64,
    /// For each log, the offset that the round's end makes written.
    ends: BTreeMap<Incarnation, Offset>,
    /// Logs whose segment failed in this round.
    failed: Vec<(Incarnation, IoFailure)>,
    /// The log that says which others there are: without its entries those of others are nobody's.
    directory: Incarnation,
    is_segment_work_done: bool,
    /// Where the group is gathered; handed on from round to round.
    buffer: Vec<u8>,
}

/// How a round ended.
#[derive(Debug)]
pub enum RoundEnd {
    /// It is on the disk as far as it could be.
    Done(Box<Round>),
    /// The disk is full, or there is no file descriptor: nothing was acknowledged; the same round
    /// is to be run again.
    Full(Box<Round>, IoFailure),
    /// The journal failed: nothing was acknowledged, and nothing will be.
    Failed(Box<Round>, IoFailure),
}

/// What a finished round changed, for those who wait.
#[derive(Debug, Default)]
pub struct Finished {
    /// Logs whose high watermark may have moved.
    pub logs: Vec<Incarnation>,
    /// Everything in the tails that is due was written; upkeep has work.
    pub wants_upkeep: bool,
}

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
        self.in_flight = direct.into_iter().collect();
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
    pub(super) fn fail_journal(&mut self, first: u64, failure: IoFailure) {
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

impl Round {
    fn first_entry(&self) -> u64 {
        let queued = self.entries.iter().map(|entry| entry.id.0);
        let direct = self
            .direct
            .iter()
            .flat_map(|run| run.entries.iter().map(|id| id.0));
        queued.chain(direct).min().unwrap_or(self.through + 1)
    }

    /// Writes and syncs. Call it without any lock.
    #[must_use]
    pub fn run(mut self: Box<Self>) -> RoundEnd {
        if !self.is_segment_work_done {
            match self.run_segments() {
                Ok(()) => self.is_segment_work_done = true,
                Err(failure) => return RoundEnd::Full(self, failure),
            }
            // What is in this round may be of channels that nobody would know of any more.
            let directory = self.failed.iter().find(|(id, _)| *id == self.directory);
            if let Some((_, failure)) = directory {
                let failure = failure.clone();
                return RoundEnd::Failed(self, failure);
            }
            self.drop_failed();
        }
        match self.run_journal() {
            Ok(()) => RoundEnd::Done(self),
            Err((failure, true)) if failure.is_passing() => RoundEnd::Full(self, failure),
            Err((failure, _)) => RoundEnd::Failed(self, failure),
        }
    }

    /// Writes the direct runs and syncs what must be synced. What passes, as a full disk, ends the
    /// try.
    fn run_segments(&mut self) -> Result<(), IoFailure> {
        for run in &self.direct {
            let written = write_direct(&*self.disk, &self.open_files, run, self.is_synced);
            match written {
                Ok(()) => {}
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => self.failed.push((run.log, failure)),
            }
        }
        for (id, segment) in &self.owed {
            match segment.sync(&*self.disk) {
                Ok(()) => {}
                Err(failure) if failure.is_passing() => return Err(failure),
                Err(failure) => self.failed.push((*id, failure)),
            }
        }
        Ok(())
    }

    /// Takes the entries of failed logs out of the group. None of them is over several logs.
    fn drop_failed(&mut self) {
        let failed = &self.failed;
        let is_failed = |id: Incarnation| failed.iter().any(|(log, _)| *log == id);
        for run in self.direct.iter().filter(|run| is_failed(run.log)) {
            let entries = run.entries.iter();
            self.dropped.extend(entries.map(|entry| (run.log, *entry)));
        }
        let (gone, kept) = std::mem::take(&mut self.entries)
            .into_iter()
            .partition(|entry: &QueuedEntry| is_failed(entry.batches[0].log));
        self.entries = kept;
        let gone = gone.iter();
        self.dropped
            .extend(gone.map(|entry| (entry.batches[0].log, entry.id)));
    }

    /// Writes the group and syncs the journal. The flag of the error says whether trying again
    /// could help: a failed sync is never tried again.
    fn run_journal(&mut self) -> Result<(), (IoFailure, bool)> {
        let path = |number| self.layout.journal_file(number);
        if let Some(room) = &self.room {
            if let Some((left, number)) = &room.left {
                left.sync_data()
                    .or_while("syncing", &path(*number))
                    .map_err(|e| (e, false))?;
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            let group = self.group(&mut buffer);
            let room = self.room.as_ref().expect("seen above");
            let written = room
                .file
                .write_blocks(room.position, &group.slices(&buffer));
            let header = group.header;
            self.buffer = buffer;
            written
                .or_while("writing", &path(room.number))
                .map_err(|e| (e, true))?;
            self.header = header;
        }
        if self.is_synced {
            let (file, number) = &self.active_file;
            file.sync_data()
                .or_while("syncing", &path(*number))
                .map_err(|e| (e, false))?;
        }
        Ok(())
    }

    /// The group, filled with zeros up to the next block. What it has of its own and the small
    /// batches are gathered in `buffer`; large ones are written from where they are.
    fn group(&self, buffer: &mut Vec<u8>) -> Group<'_> {
        buffer.clear();
        // The header comes first, and is known last.
        buffer.resize(GROUP_HEADER_BYTES, 0);
        let items = &mut *buffer;
        let mut entry = 0;
        for run in &self.direct {
            if self.failed.iter().any(|(failed, _)| *failed == run.log) {
                continue;
            }
            for reference in references(run, self.is_synced, &mut entry) {
                items.extend_from_slice(&reference.encode());
            }
        }
        let mut data_len = 0;
        for copied in &self.copies {
            data_len += copied.bytes.len();
            let item = GroupItem {
                entry,
                ..copied.item
            };
            items.extend_from_slice(&item.encode());
            entry += 1;
        }
        for queued in &self.entries {
            let last = queued.batches.len() - 1;
            for (at, batch) in queued.batches.iter().enumerate() {
                data_len += batch.bytes.len();
                let span = batch.offsets.clone();
                let place = (&batch.segment, batch.position, batch.bytes.len() as u64);
                let item = item(ItemKind::Batch, entry, batch.log, span, place);
                let item = GroupItem {
                    is_last_of_entry: at == last,
                    checksum: batch.header_crc,
                    batch_count: 1,
                    ..item
                };
                items.extend_from_slice(&item.encode());
            }
            entry += 1;
        }
        let items = &buffer[GROUP_HEADER_BYTES..];
        let count = items.len() / GROUP_ITEM_BYTES;
        let header = GroupHeader {
            item_count: u32::try_from(count).expect("a round's bytes are bounded"),
            items_crc: items_crc(self.salt, self.header.group, items),
            data_len: u32::try_from(data_len).expect("a round's bytes are bounded"),
            ..self.header
        };
        buffer[..GROUP_HEADER_BYTES].copy_from_slice(&header.encode());
        let len = buffer.len() + data_len;
        let mut group = Group {
            header,
            pieces: vec![Piece::Gathered(0..buffer.len())],
        };
        for copied in &self.copies {
            group.push(&copied.bytes, buffer);
        }
        for batch in self.entries.iter().flat_map(|entry| &entry.batches) {
            group.push(&batch.bytes, buffer);
        }
        let padding = len.next_multiple_of(GROUP_ALIGNMENT) - len;
        group.push(&ZEROS[..padding], buffer);
        group
    }
}

/// What fills a group up to the next block.
const ZEROS: [u8; GROUP_ALIGNMENT] = [0; GROUP_ALIGNMENT];

/// A batch below this is copied beside its neighbours: a slice of its own would cost more.
const GATHERED_BYTES: usize = 4096;

/// Most bytes that a buffer keeps from one round to the next.
const KEPT_BUFFER_BYTES: usize = 4 * 1024 * 1024;

/// A group as it is written: its bytes, one piece after the other.
struct Group<'a> {
    header: GroupHeader,
    pieces: Vec<Piece<'a>>,
}

enum Piece<'a> {
    /// These bytes of the round's buffer.
    Gathered(Range<usize>),
    InPlace(&'a [u8]),
}

impl<'a> Group<'a> {
    fn push(&mut self, bytes: &'a [u8], buffer: &mut Vec<u8>) {
        if bytes.len() > GATHERED_BYTES {
            self.pieces.push(Piece::InPlace(bytes));
            return;
        }
        let from = buffer.len();
        buffer.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(Piece::Gathered(range)) => range.end = buffer.len(),
            _ => self.pieces.push(Piece::Gathered(from..buffer.len())),
        }
    }

    fn slices<'b>(&self, buffer: &'b [u8]) -> Vec<IoSlice<'b>>
    where
        'a: 'b,
    {
        let slice = |piece: &Piece<'a>| match piece {
            Piece::Gathered(range) => IoSlice::new(&buffer[range.clone()]),
            Piece::InPlace(bytes) => IoSlice::new(bytes),
        };
        self.pieces.iter().map(slice).collect()
    }
}

fn item(
    kind: ItemKind,
    entry: u32,
    log: Incarnation,
    offsets: Range<Offset>,
    (segment, position, length): (&Arc<Segment>, u64, u64),
) -> GroupItem {
    GroupItem {
        kind,
        is_last_of_entry: false,
        was_synced_before: false,
        is_copied: false,
        entry,
        incarnation: log,
        base_offset: offsets.start,
        end_offset: offsets.end,
        segment_base: segment.id().base,
        position,
        length,
        checksum: 0,
        batch_count: 0,
        previous_base: segment.previous().map(|previous| previous.base),
    }
}

fn write_direct(
    disk: &dyn Disk,
    open_files: &OpenFiles,
    run: &DirectRun,
    is_synced: bool,
) -> Result<(), IoFailure> {
    let before = run.before.iter();
    let before = before.map(|batch| (&batch.segment, batch.position, &batch.bytes));
    let batches = run.batches.iter();
    let batches = batches.map(|batch| (&batch.segment, batch.position, &batch.bytes));
    let all: Vec<(&Arc<Segment>, u64, &Bytes)> = before.chain(batches).collect();
    for part in all.chunk_by(|a, b| Arc::ptr_eq(a.0, b.0)) {
        let batches: Vec<(u64, Bytes)> = part
            .iter()
            .map(|(_, position, bytes)| (*position, Bytes::clone(bytes)))
            .collect();
        let segment = part[0].0;
        segment.write_run(disk, open_files, &batches, run.is_kept)?;
        if is_synced {
            segment.sync(disk)?;
        }
    }
    Ok(())
}

/// One reference for each stretch of adjacent batches.
fn references(run: &DirectRun, is_synced: bool, entry: &mut u32) -> Vec<GroupItem> {
    let is_adjacent = |a: &QueuedBatch, b: &QueuedBatch| {
        // A checkpoint may have been cut between the two, even where they follow each other: a
        // start goes on behind the one, and finds the other by its own reference.
        let is_one = !b.is_on_fresh_block && Arc::ptr_eq(&a.segment, &b.segment);
        is_one && a.position + a.bytes.len() as u64 == b.position
    };
    let mut items = Vec::new();
    for part in run.batches.chunk_by(is_adjacent) {
        let mut crc = crc32fast::Hasher::new();
        part.iter()
            .for_each(|batch| crc.combine(&whole_crc(&batch.bytes)));
        let length = part.iter().map(|batch| batch.bytes.len() as u64).sum();
        let (first, last) = (&part[0], &part[part.len() - 1]);
        let place = (&first.segment, first.position, length);
        let span = first.offsets.start..last.offsets.end;
        items.push(GroupItem {
            is_last_of_entry: true,
            was_synced_before: is_synced,
            checksum: crc.finalize(),
            batch_count: u32::try_from(part.len()).expect("a round's batches are bounded"),
            ..item(ItemKind::Reference, *entry, run.log, span, place)
        });
        *entry += 1;
    }
    items
}

/// When nothing came for a while: the recovery point that vouches for the last group.
#[derive(Debug)]
pub struct PointJob {
    points: Arc<super::points::Points>,
    synced: GroupEnd,
}

impl Storage {
    /// The job that writes how far the journal is synced, if the recovery point lags behind.
    #[must_use]
    pub fn plan_point(&self) -> Option<PointJob> {
        let lags = self.points.current().flushed_group < self.journal.synced.group;
        (lags && self.journal_failed.is_none()).then(|| PointJob {
            points: self.points.clone(),
            synced: self.journal.synced,
        })
    }

    /// Books that the recovery point could not be written: like a failed journal, but for a full
    /// disk, where the slot in use is intact and the other is written another time.
    pub fn finish_point(&mut self, ended: Result<(), IoFailure>) {
        if let Err(failure) = ended {
            if failure.is_out_of_space() {
                self.space.refused(&failure);
                return;
            }
            tracing::error!(%failure, "the recovery point failed: no more writes until a restart");
            self.fail_journal(self.written_through + 1, failure);
        }
    }

    /// When `now` is: whether a `written` channel's interval is over.
    #[must_use]
    pub fn wants_sync(&self, now: Timestamp) -> bool {
        self.is_sync_due(now)
    }
}

impl PointJob {
    /// Writes and syncs the recovery point. Call it without any lock.
    ///
    /// # Errors
    /// [`IoFailure`]; it is not tried again.
    pub fn run(&self) -> Result<(), IoFailure> {
        self.points.update(|point| {
            point.flushed_group = self.synced.group;
            point.flushed_file = self.synced.file;
            point.flushed_end = self.synced.end;
        })
    }
}
