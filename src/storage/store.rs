//! All logs of a broker behind one journal: staging entries, and what became of them.
//!
//! [`Storage`] is the in-memory state; it does no I/O. Rounds, upkeep and reads are planned here,
//! run by their own jobs without the broker's lock, and booked here again.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use super::checkpoint::Checkpoints;
use super::disk::{Disk, DiskLock};
use super::error::{CommitError, IoFailure, ReadError, Shortage, StageError};
use super::journal::Journal;
use super::layout::Layout;
use super::log::{Log, LogOptions, LogPoint, TailBatch};
use super::open_files::OpenFiles;
use super::points::Points;
use super::progress::Progress;
use super::recent::RecentOrder;
use super::scrub::{RebuiltIndex, Scrub};
use super::segment::Segment;
use super::space::{Need, Space, SpaceInfo};
use crate::format::{BatchHeader, SEAL_BYTES, Sealing, Stamp, seal, stamp};
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

/// Sizes and limits of the storage room.
#[derive(Debug, Clone)]
pub struct StorageConfig {
    /// Bytes of one journal file; all files of a ring have the same size.
    pub journal_file_bytes: u64,
    /// Most files in the journal's ring, at least 2.
    pub journal_files: u32,
    /// Most bytes staged for one round; also the limit of an entry over several logs.
    pub max_round_bytes: u64,
    /// From this many bytes of one log in a round, its batches go straight to the segment.
    pub direct_bytes: u64,
    /// A batch above this always goes straight to the segment.
    pub always_direct_bytes: u64,
    /// A tail of this many bytes is written behind.
    pub write_behind_bytes: u64,
    /// Most bytes of all tails that no segment file holds yet; past it, writers wait.
    pub max_unwritten_bytes: u64,
    /// Bytes at which a segment of an internal topic is sealed.
    pub own_segment_bytes: u64,
    /// Most segments that are open at once.
    pub max_open_segments: usize,
    /// Producers get an error before fewer bytes than this are free on the disk.
    pub min_free_bytes: u64,
    /// Of these, what the broker's own records leave too, except for those that free space.
    pub reserve_bytes: u64,
    /// Most bytes that the scrubber checks in a second; 0 switches it off.
    pub scrub_bytes_per_s: u64,
    /// From the beginning of one of its passes to that of the next.
    pub scrub_interval_ms: i64,
    /// A checkpoint is taken after this long without one, and after a second without writes,
    /// where there is something to record.
    pub checkpoint_interval_ms: i64,
    /// Whether a directory that holds no data is refused, where a new one would be made.
    pub must_exist: bool,
}

impl Default for StorageConfig {
    fn default() -> Self {
        const MIB: u64 = 1024 * 1024;
        Self {
            journal_file_bytes: 64 * MIB,
            journal_files: 4,
            max_round_bytes: 16 * MIB,
            direct_bytes: 256 * 1024,
            always_direct_bytes: 8 * MIB,
            write_behind_bytes: 64 * 1024,
            max_unwritten_bytes: 256 * MIB,
            own_segment_bytes: 16 * MIB,
            max_open_segments: 512,
            min_free_bytes: 64 * MIB,
            reserve_bytes: 16 * MIB,
            scrub_bytes_per_s: 8 * MIB,
            scrub_interval_ms: 24 * 60 * 60 * 1000,
            checkpoint_interval_ms: 30_000,
            must_exist: false,
        }
    }
}

/// Number of a staged entry; later entries have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// A batch that was checked at the door and not yet stamped.
#[derive(Debug)]
pub struct NewBatch {
    /// The log it goes to.
    pub log: Incarnation,
    /// The batch as its producer built it.
    pub bytes: BytesMut,
    /// How many offsets it takes, from its checked header.
    pub span: u32,
    /// The offset its first record must get, if the producer says so.
    pub expected: Option<Offset>,
    /// Who wrote it.
    pub principal: u32,
    /// How it is encrypted as it is appended; none where it is stored as it is.
    pub sealing: Option<Sealing>,
    /// What it was given where its log lives, if this one is a copy: it keeps all of that.
    pub copied: Option<Copied>,
}

/// What a batch was given where its log lives, in another region. It keeps it in every copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Its append time.
    pub append_time: Timestamp,
    /// Its log epoch.
    pub log_epoch: LogEpoch,
}

impl NewBatch {
    /// Bytes that it takes in the journal and in its segment.
    fn stored_len(&self) -> u64 {
        let more = self.sealing.as_ref().map_or(0, |_| SEAL_BYTES);
        (self.bytes.len() + more) as u64
    }
}

impl Copied {
    /// Checks that a batch may follow another of its log.
    fn check_follows(&self, last: &Self) -> Result<(), StageError> {
        if self.log_epoch < last.log_epoch {
            return Err(StageError::EpochFell {
                found: self.log_epoch,
                last: last.log_epoch,
            });
        }
        if self.append_time < last.append_time {
            return Err(StageError::TimeFell {
                found: self.append_time,
                last: last.append_time,
            });
        }
        Ok(())
    }
}

/// What a batch was given when it was staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedBatch {
    /// Its offsets.
    pub offsets: Range<Offset>,
    /// Its append time.
    pub append_time: Timestamp,
    /// Its log epoch.
    pub epoch: LogEpoch,
    /// The level its acknowledgement will name.
    pub level: Durability,
}

/// An entry that waits for its round.
#[derive(Debug, Clone)]
pub struct Staged {
    /// Its number.
    pub entry: EntryId,
    /// The level that must be reached before it is acknowledged.
    pub level: Durability,
    /// One for each batch, in order.
    pub batches: Vec<StagedBatch>,
}

/// What became of an entry.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Its round is not over.
    Pending,
    /// Its level is reached.
    Done,
    /// It will never be acknowledged.
    Failed(CommitError),
}

/// A staged batch on its way to the journal.
#[derive(Debug)]
pub(super) struct QueuedBatch {
    pub log: Incarnation,
    pub offsets: Range<Offset>,
    pub segment: Arc<super::segment::Segment>,
    pub position: u64,
    pub bytes: Bytes,
    pub header_crc: u32,
    /// It was put on a fresh block: a checkpoint or a direct run ends before it.
    pub is_on_fresh_block: bool,
}

#[derive(Debug)]
pub(super) struct QueuedEntry {
    pub id: EntryId,
    pub level: Durability,
    pub batches: Vec<QueuedBatch>,
}

impl QueuedEntry {
    pub fn is_shared(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.log != self.batches[0].log)
    }
}

/// What recovery hands over.
pub(super) struct Recovered {
    pub disk: Arc<dyn Disk>,
    pub layout: Layout,
    pub config: StorageConfig,
    pub lock: Box<dyn DiskLock>,
    pub open_files: Arc<OpenFiles>,
    pub points: Arc<Points>,
    pub directory_id: Incarnation,
    pub epoch: LogEpoch,
    pub logs: HashMap<Incarnation, Log>,
    pub journal: Journal,
    pub checkpoints: Checkpoints,
    pub report: super::recovery::RecoveryReport,
}

/// The logs of one data directory.
#[derive(Debug)]
pub struct Storage {
    /// Held until the storage is closed.
    lock: Option<Box<dyn DiskLock>>,
    pub(super) disk: Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) config: StorageConfig,
    pub(super) open_files: Arc<OpenFiles>,
    pub(super) points: Arc<Points>,
    pub(super) directory_id: Incarnation,
    pub(super) epoch: LogEpoch,
    /// What new batches are stamped with, in logs that have no stamp of their own.
    stamp: LogEpoch,
    pub(super) logs: HashMap<Incarnation, Log>,
    pub(super) queue: Vec<QueuedEntry>,
    pub(super) queue_bytes: u64,
    pub(super) next_entry: u64,
    pub(super) written_through: u64,
    pub(super) synced_through: u64,
    pub(super) failed: BTreeMap<u64, CommitError>,
    /// Of the three above and the journal's failure, what whoever waits is told without the lock.
    progress: Arc<Progress>,
    pub(super) journal: Journal,
    pub(super) journal_failed: Option<IoFailure>,
    pub(super) is_round_running: bool,
    /// Where the next round gathers its group.
    pub(super) group_buffer: Vec<u8>,
    /// Logs with segments that hold unsynced direct runs.
    pub(super) owing: BTreeSet<Incarnation>,
    /// Logs whose direct runs the round under way writes.
    pub(super) in_flight: HashSet<Incarnation>,
    /// Logs whose flushed offset the next sync moves.
    pub(super) awaiting_sync: Vec<Incarnation>,
    /// When a `written` channel's interval is over.
    pub(super) sync_due: Option<Timestamp>,
    /// A sync was asked for whatever the queue holds.
    pub(super) sync_wanted: bool,
    pub(super) unwritten_bytes: u64,
    pub(super) behind_queue: VecDeque<Incarnation>,
    pub(super) dirty: BTreeSet<Incarnation>,
    pub(super) checkpoints: Checkpoints,
    pub(super) space: Space,
    pub(super) removals: VecDeque<super::upkeep::Removal>,
    /// Logs that were dropped and that a start would still find in the journal or the checkpoint.
    pub(super) dropped: BTreeSet<Incarnation>,
    /// Logs with spare files, and when they last got or needed one.
    pub(super) spared: BTreeMap<Incarnation, Timestamp>,
    pub(super) scrub: Scrub,
    /// Index files to be written anew.
    pub(super) rebuilt_indexes: Vec<RebuiltIndex>,
    /// Segments whose indexes are to be saved, each up to a position.
    pub(super) unsaved_indexes: Vec<(u64, Arc<super::segment::Segment>)>,
    /// What logs keep in memory for those who follow their ends, oldest first.
    pub(super) recent: RecentOrder,
    /// Preparing a journal file failed: the next try is at this time.
    pub(super) prepare_at: Option<Timestamp>,
    pub(super) report: super::recovery::RecoveryReport,
    /// Rounds that ended.
    pub(super) rounds: u64,
    /// An entry over several logs that found no room: its bytes, and the round until which the
    /// others leave it that much.
    pub(super) awaited: Option<(u64, u64)>,
    /// Somebody made way for it while nothing was under way that ends: a round without work.
    pub(super) makes_way: bool,
    /// The log whose end is to be cut off.
    pub(super) cutting: Option<super::cutting::Cutting>,
    /// The log that another one is put in the place of.
    pub(super) replacing: Option<super::replacing::Replacing>,
}

impl Storage {
    pub(super) fn recovered(from: Recovered) -> Self {
        let space = Space::new(from.config.min_free_bytes, from.config.reserve_bytes);
        let scrub = Scrub::new(from.config.scrub_bytes_per_s, from.config.scrub_interval_ms);
        Self {
            lock: Some(from.lock),
            disk: from.disk,
            layout: from.layout,
            config: from.config,
            open_files: from.open_files,
            points: from.points,
            directory_id: from.directory_id,
            epoch: from.epoch,
            stamp: from.epoch,
            logs: from.logs,
            queue: Vec::new(),
            queue_bytes: 0,
            next_entry: 1,
            written_through: 0,
            synced_through: 0,
            failed: BTreeMap::new(),
            progress: Arc::default(),
            journal: from.journal,
            journal_failed: None,
            is_round_running: false,
            group_buffer: Vec::new(),
            owing: BTreeSet::new(),
            in_flight: HashSet::new(),
            awaiting_sync: Vec::new(),
            sync_due: None,
            sync_wanted: false,
            unwritten_bytes: 0,
            behind_queue: VecDeque::new(),
            dirty: BTreeSet::new(),
            checkpoints: from.checkpoints,
            space,
            removals: VecDeque::new(),
            dropped: BTreeSet::new(),
            spared: BTreeMap::new(),
            scrub,
            rebuilt_indexes: Vec::new(),
            unsaved_indexes: Vec::new(),
            recent: RecentOrder::default(),
            prepare_at: None,
            report: from.report,
            rounds: 0,
            awaited: None,
            makes_way: false,
            cutting: None,
            replacing: None,
        }
    }

    /// Lets another process, or another storage of this one, open the directory. To be called once
    /// nothing writes any more; what still reads may go on.
    pub fn release(&mut self) {
        self.lock = None;
    }

    /// The disk, and where each file of the directory lies on it.
    pub(crate) fn place(&self) -> (&Arc<dyn Disk>, &Layout) {
        (&self.disk, &self.layout)
    }

    /// What opening the directory found and did.
    #[must_use]
    pub fn recovery_report(&self) -> &super::recovery::RecoveryReport {
        &self.report
    }

    /// Identity of the data directory.
    #[must_use]
    pub fn directory_id(&self) -> Incarnation {
        self.directory_id
    }

    /// The epoch of this start.
    #[must_use]
    pub fn epoch(&self) -> LogEpoch {
        self.epoch
    }

    /// Gives the epoch that new batches are stamped with from now on: that of this start, with what
    /// else the broker wants to be told from it. No log takes one below that of its last batch.
    pub fn set_stamp(&mut self, stamp: LogEpoch) {
        self.stamp = stamp;
    }

    /// As [`Storage::set_stamp`], of one log.
    pub fn set_stamp_of(&mut self, id: Incarnation, stamp: LogEpoch) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.stamp = Some(stamp);
        }
    }

    /// The epoch that the next batch of a log is stamped with.
    #[must_use]
    pub fn stamp_of(&self, id: Incarnation) -> LogEpoch {
        let log = self.logs.get(&id);
        log.and_then(|log| log.stamp).unwrap_or(self.stamp)
    }

    /// A log by its identity.
    #[must_use]
    pub fn log(&self, id: Incarnation) -> Option<&Log> {
        self.logs.get(&id)
    }

    /// Opens a new, empty log. Nothing reaches the disk before its first batch.
    pub fn create_log(&mut self, id: Incarnation, options: LogOptions) {
        self.create_log_at(id, options, Offset(0));
    }

    /// Opens a new, empty log whose first record has a given offset: a copy of a log whose older
    /// records nobody asked for. The same offset is to be in [`super::LiveLog::begins_at`].
    pub fn create_log_at(&mut self, id: Incarnation, options: LogOptions, begins_at: Offset) {
        let log = Log::new(
            &self.layout,
            id,
            options,
            &LogPoint::beginning_at(begins_at),
        );
        self.logs.insert(id, log);
    }

    /// Takes back the opening of a log whose first batch was refused: nothing of it is anywhere.
    pub fn forget_log(&mut self, id: Incarnation) {
        self.logs.remove(&id);
    }

    /// Changes what a log was told of its configuration.
    ///
    /// The high watermark never falls: after a change to `synced`, what was readable stays so.
    /// [`Storage::want_sync`] is called for it here.
    pub fn set_options(&mut self, id: Incarnation, options: LogOptions) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.shown = log.high_watermark();
            log.options = options;
        }
        self.sync_wanted = true;
    }

    /// Bytes staged, in tails and not yet in segments.
    #[must_use]
    pub fn unwritten_bytes(&self) -> u64 {
        self.unwritten_bytes
    }

    /// Journal files in use, and how many there may be.
    #[must_use]
    pub fn journal_usage(&self) -> (u32, u32) {
        self.journal.usage()
    }

    /// Number of the last checkpoint: how many the data directory has seen.
    #[must_use]
    pub fn checkpoint_number(&self) -> u64 {
        self.checkpoints.number()
    }

    /// Why the journal takes nothing more, if it failed.
    #[must_use]
    pub fn journal_failure(&self) -> Option<&IoFailure> {
        self.journal_failed.as_ref()
    }

    /// Whether producers are turned away because the disk is full, or nearly so.
    #[must_use]
    pub fn is_disk_full(&self) -> bool {
        self.space.is_full()
    }

    /// How much space is left and how much must be, while producers are turned away for it.
    #[must_use]
    pub fn shortage(&self) -> Option<Shortage> {
        self.space.producers_shortage()
    }

    /// What is known of the disk's space.
    #[must_use]
    pub fn space(&self) -> SpaceInfo {
        self.space.info()
    }

    /// Books what a look at the disk's free space found; `None` where it could not be told.
    pub fn book_free_bytes(&mut self, available: impl Into<Option<u64>>) {
        self.space.look(available.into(), self.unwritten_bytes);
    }

    /// Whether so much was staged since the last look at the disk's space that the next is due.
    #[must_use]
    pub fn wants_look(&self) -> bool {
        self.space.wants_look()
    }

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

    /// What became of an entry.
    #[must_use]
    pub fn outcome(&self, entry: EntryId, level: Durability) -> Outcome {
        let (written, synced) = (self.written_through, self.synced_through);
        debug_assert!(self.progress.is(self.has_failed(), written, synced));
        if let Some(error) = self.failed.get(&entry.0) {
            return Outcome::Failed(error.clone());
        }
        let through = match level {
            Durability::Written => self.written_through,
            Durability::Synced => self.synced_through,
        };
        if entry.0 <= through {
            return Outcome::Done;
        }
        // What was written and awaited its sync will not see one either.
        match &self.journal_failed {
            Some(failure) => Outcome::Failed(CommitError::Journal(failure.clone())),
            None => Outcome::Pending,
        }
    }

    /// How far rounds have come, for whoever waits for one without the lock.
    #[must_use]
    pub fn progress(&self) -> &Arc<Progress> {
        &self.progress
    }

    /// Tells how far rounds have come, and whether anything has failed.
    pub(super) fn tell_progress(&self) {
        self.progress
            .book(self.has_failed(), self.written_through, self.synced_through);
    }

    fn has_failed(&self) -> bool {
        !self.failed.is_empty() || self.journal_failed.is_some()
    }

    /// How many entries will never be acknowledged.
    #[must_use]
    pub fn failed_entries(&self) -> usize {
        self.failed.len()
    }

    /// The last entry that was staged; [`EntryId`] 0 before any.
    #[must_use]
    pub fn last_entry(&self) -> EntryId {
        EntryId(self.next_entry - 1)
    }

    /// The next batch of a log begins a new segment.
    pub fn roll(&mut self, id: Incarnation) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.rolls_next = true;
        }
    }

    /// Asks for a sync in the next round, even without entries.
    pub fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// Moves the log start; whole segments below it are given to upkeep for removal.
    pub fn set_log_start(&mut self, id: Incarnation, log_start: Offset) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        log.log_start = log.log_start.max(log_start.min(log.high_watermark()));
        // What is lost of records that nobody may read is no damage any more.
        let (start, segments) = (log.log_start, &log.segments);
        log.damage.retain(|row| {
            let is_there = |segment: &Arc<Segment>| segment.id().base == row.segment_base;
            row.end_offset > start
                || row.first_offset == row.end_offset && segments.iter().any(is_there)
        });
        self.dirty.insert(id);
        log.is_dirty = true;
        let expired = log.take_expired();
        if !expired.is_empty() {
            if self.is_needed(id, &expired) {
                self.checkpoints.want();
            }
            self.removals.push_back(super::upkeep::Removal::Segments {
                log: id,
                segments: expired,
            });
        }
    }

    /// Closes a log for good and gives its files to upkeep for removal.
    pub fn drop_log(&mut self, id: Incarnation) {
        if let Some(log) = self.logs.remove(&id).filter(|log| !log.is_poisoned) {
            self.unwritten_bytes -= log.unwritten_bytes;
        }
        // What is still queued for it alone is not worth a place in the journal.
        let is_gone = |entry: &mut QueuedEntry| entry.batches.iter().all(|batch| batch.log == id);
        for entry in self.queue.extract_if(.., is_gone) {
            let bytes = entry.batches.iter().map(|batch| batch.bytes.len() as u64);
            self.queue_bytes -= bytes.sum::<u64>();
            self.failed.insert(entry.id.0, CommitError::Deleted(id));
        }
        self.tell_progress();
        self.owing.remove(&id);
        self.dirty.remove(&id);
        self.spared.remove(&id);
        self.removals.push_back(super::upkeep::Removal::Log(id));
        self.dropped.insert(id);
    }

    /// Whether a start would still find something of a log that was dropped: no other may have its
    /// identity until a checkpoint was taken.
    #[must_use]
    pub fn has_traces(&self, id: Incarnation) -> bool {
        self.dropped.contains(&id)
    }

    /// Asks for the checkpoint after which nothing is left of the logs that were dropped.
    pub fn want_traces_gone(&mut self) {
        self.checkpoints.want();
    }

    /// Closes a log to writers after a segment failed. What its segments lack stays in memory for
    /// readers, and no longer counts as waiting to be written: the journal's size bounds it.
    pub(super) fn close_log(&mut self, id: Incarnation, failure: &IoFailure) {
        if let Some(log) = self.logs.get_mut(&id).filter(|log| !log.is_poisoned) {
            self.unwritten_bytes -= log.unwritten_bytes;
            log.poison(failure);
        }
    }

    /// The batch that holds `offset`, while it is staged and not yet to be read. What is made of it
    /// must not be answered before it is as durable as its log promises.
    #[must_use]
    pub fn staged_batch(&self, id: Incarnation, offset: Offset) -> Option<bytes::Bytes> {
        self.logs.get(&id)?.staged_batch(offset)
    }

    /// Reads stored batches; [`super::read::ReadJob`] does what needs the disk.
    ///
    /// - `from`: offset of a record; the first batch may begin below it.
    /// - `max_bytes`: bytes of encoded batches; at least one batch comes where there is one.
    ///
    /// # Errors
    /// [`ReadError::OutOfRange`] below the log start or above the high watermark.
    pub fn plan_read(
        &self,
        id: Incarnation,
        from: Offset,
        max_bytes: u64,
    ) -> Result<super::read::Read, ReadError> {
        let log = self.logs.get(&id).ok_or(ReadError::NoSuchLog(id))?;
        super::read::plan(self, log, from, max_bytes)
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
