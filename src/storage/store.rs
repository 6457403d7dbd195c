//! All logs of a broker behind one journal: staging entries, and what became of them.
//!
//! [`Storage`] is the in-memory state; it does no I/O. Rounds, upkeep and reads are planned here,
//! run by their own jobs without the broker's lock, and booked here again.

mod config;
mod entry;
mod logs;
mod staging;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

pub use self::config::StorageConfig;
pub use self::entry::{Copied, EntryId, NewBatch, Outcome, Staged, StagedBatch};
pub(super) use self::entry::{QueuedBatch, QueuedEntry};
use super::checkpoint::Checkpoints;
use super::disk::{Disk, DiskLock};
use super::error::{CommitError, IoFailure, ReadError, Shortage};
use super::journal::Journal;
use super::layout::Layout;
use super::log::Log;
use super::open_files::OpenFiles;
use super::points::Points;
use super::progress::Progress;
use super::recent::RecentOrder;
use super::scrub::{RebuiltIndex, Scrub};
use super::space::{Space, SpaceInfo};
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

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
    /// Logs whose segments the round under way writes to or syncs, with the base of the first of these.
    pub(super) in_flight: HashMap<Incarnation, Offset>,
    /// Logs whose flushed offset the next sync moves.
    pub(super) awaiting_sync: Vec<Incarnation>,
    /// When a `written` channel's interval is over.
    pub(super) sync_due: Option<Timestamp>,
    /// A sync was asked for whatever the queue holds.
    pub(super) sync_wanted: bool,
    pub(super) unwritten_bytes: u64,
    /// Bytes of large runs since the last checkpoint was cut.
    pub(super) run_bytes: u64,
    /// Pieces of upkeep that took turns, and who had nothing to do.
    pub(super) upkeep_turns: u64,
    /// Upkeep that has to begin while no round is under way, planned where one ended.
    pub(super) between_rounds: Option<super::upkeep::Upkeep>,
    pub(super) behind_queue: VecDeque<Incarnation>,
    pub(super) dirty: BTreeSet<Incarnation>,
    pub(super) checkpoints: Checkpoints,
    pub(super) space: Space,
    pub(super) removals: VecDeque<super::removing::Removal>,
    pub(super) besides: super::beside::Besides,
    /// Logs that were dropped and that a start would still find in the journal or the checkpoint.
    pub(super) dropped: BTreeSet<Incarnation>,
    /// Logs with spare files, and when they last got or needed one.
    pub(super) spared: BTreeMap<Incarnation, Timestamp>,
    pub(super) scrub: Scrub,
    /// Index files to be written anew.
    pub(super) rebuilt_indexes: Vec<RebuiltIndex>,
    /// Segments whose indexes are to be saved, by log and base offset, each up to a position.
    pub(super) unsaved_indexes:
        BTreeMap<(Incarnation, Offset), (u64, Arc<super::segment::Segment>)>,
    /// What logs keep in memory for those who follow their ends, oldest first.
    pub(super) recent: RecentOrder,
    /// Journal files that were not prepared.
    pub(super) preparing: super::preparing::Preparing,
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
            in_flight: HashMap::new(),
            awaiting_sync: Vec::new(),
            sync_due: None,
            sync_wanted: false,
            unwritten_bytes: 0,
            run_bytes: 0,
            upkeep_turns: 0,
            between_rounds: None,
            behind_queue: VecDeque::new(),
            dirty: BTreeSet::new(),
            checkpoints: from.checkpoints,
            space,
            removals: VecDeque::new(),
            besides: super::beside::Besides::new(),
            dropped: BTreeSet::new(),
            spared: BTreeMap::new(),
            scrub,
            rebuilt_indexes: Vec::new(),
            unsaved_indexes: BTreeMap::new(),
            recent: RecentOrder::default(),
            preparing: super::preparing::Preparing::default(),
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

    /// Asks for a sync in the next round, even without entries.
    pub fn want_sync(&mut self) {
        self.sync_wanted = true;
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
