//! The broker's state, and the bookkeeping between an append and its answer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::audit::Audit;
use super::config::{AllowedCompression, ChannelConfig};
use super::directory::Directory;
use super::error::BrokerError;
use super::producers::{AppendedBatch, ProducerLimits, Producers};
use super::regions::Asked;
use super::secret::DirectorySecret;
use super::topic::TopicError;
use super::waiters::RoundWaiters;
use crate::access::Access;
use crate::asp::trust::DEFAULT_HALF_LIFE_HOURS;
use crate::consumer::Consumers;
use crate::format::{BatchHeader, DoorLimits, ProducerRow};
use crate::keys::{Keyring, MasterKeys};
use crate::region::directory::Regions;
use crate::region::interest::Interests;
use crate::region::peers::Peers;
use crate::storage::{
    EntryId, Finished, LogOptions, Outcome, ProducerRows, RoundEnd, StageError, Storage,
    StorageConfig,
};
use crate::types::{ChannelName, Durability, Incarnation, Offset, RegionName, Timestamp};

/// What a broker is told at its start.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// Sizes and limits of the storage.
    pub storage: StorageConfig,
    /// Whether publishing to a channel that does not exist creates it.
    pub auto_create: bool,
    /// Most channels, internal topics not counted. All of them are in memory, and their folded
    /// directory is one batch.
    pub max_channels: usize,
    /// The configuration of a channel that was created without one.
    pub defaults: ChannelConfig,
    /// Bounds of each channel's table of producers.
    pub producers: ProducerLimits,
    /// An internal topic is folded into a record of its state after this many events, or four for
    /// each row of state.
    pub fold_events: u64,
    /// A topic of agents is kept in a snapshot after this many records.
    pub snapshot_records: u64,
    /// Days after which records of who did what to the broker are dropped; kept for ever when
    /// `None`. At least 1.
    pub audit_retention_days: Option<u64>,
    /// Half-life of evidence about agents, in hours, from the next record of the clock on: 1 to
    /// 87,600.
    pub trust_half_life_hours: u32,
    /// The master keys that wrap the keys of encrypted channels.
    pub master_keys: MasterKeys,
    /// After so many offsets a data key is replaced. It encrypts at most one batch for each of
    /// them, and about as many again that crashes took back and copies of the directory made.
    pub max_key_offsets: u64,
    /// Name of the region that the broker is; none where it is no region.
    pub region: Option<RegionName>,
}

impl Default for BrokerConfig {
    fn default() -> Self {
        Self {
            storage: StorageConfig::default(),
            auto_create: true,
            max_channels: 100_000,
            defaults: ChannelConfig::default(),
            producers: ProducerLimits::default(),
            fold_events: 10_000,
            snapshot_records: 100_000,
            audit_retention_days: None,
            trust_half_life_hours: DEFAULT_HALF_LIFE_HOURS,
            master_keys: MasterKeys::default(),
            max_key_offsets: 1 << 31,
            region: None,
        }
    }
}

/// Somebody who waits for a round or for a log to grow.
pub trait Wake: Send + Sync {
    /// Called without the broker's lock.
    fn wake(&self);
}

/// What must be durable before an answer is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wait {
    /// The entry.
    pub entry: EntryId,
    /// The level it must have reached.
    pub level: Durability,
}

impl Wait {
    /// What must be durable before either may be told: entries become durable in their order.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            entry: self.entry.max(other.entry),
            level: self.level.max(other.level),
        }
    }
}

/// An answer that may be sent once its wait is over.
#[derive(Debug, Clone)]
pub struct Accepted<T> {
    /// The answer.
    pub value: T,
    /// What it waits for.
    pub wait: Wait,
}

/// A refusal; where it reveals appends that are not yet durable, it waits for them.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Why.
    pub error: BrokerError,
    /// What the refusal must wait for.
    pub wait: Option<Wait>,
    /// The part of an atomic publish that is refused, where it is one part.
    pub part: Option<Part>,
}

/// A part of an atomic publish, by its place among those of its kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// A batch.
    Batch(u16),
    /// A commit.
    Commit(u16),
}

impl<E: Into<BrokerError>> From<E> for Refusal {
    fn from(error: E) -> Self {
        Self {
            error: error.into(),
            wait: None,
            part: None,
        }
    }
}

impl Refusal {
    /// The refusal as one of a part of an atomic publish.
    pub(super) fn of_part(self, part: impl FnOnce(u16) -> Part, at: usize) -> Self {
        let part = u16::try_from(at).ok().map(part);
        Self { part, ..self }
    }

    /// A refusal that waits where it tells something of appends that are not yet durable. What is
    /// refused for want of space must not wait for the appends that want it too.
    pub(super) fn revealing(error: BrokerError, wait: Option<Wait>) -> Self {
        let reveals = match &error {
            BrokerError::Stage(error) => matches!(error, StageError::WrongOffset { .. }),
            _ => true,
        };
        Self {
            error,
            wait: wait.filter(|_| reveals),
            part: None,
        }
    }

    /// Whether the same command may be tried again as soon as a round has ended.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        matches!(self.error, BrokerError::Stage(StageError::Busy))
    }
}

/// What the broker keeps of a channel beside its log and its directory row.
pub(super) struct ChannelState {
    pub producers: Producers,
    /// The last entry staged to it, and the level its answer waits for.
    pub last: Wait,
}

/// The broker.
pub struct Broker {
    pub(super) config: BrokerConfig,
    pub(super) storage: Storage,
    pub(super) directory: Directory,
    /// Where all consumers stand; to be read by [`Broker::known_consumers`].
    pub(super) consumers: Consumers,
    /// Why nobody knows where they stand, if so: until the topic is repaired and the broker
    /// started again.
    pub(super) unknown_positions: Option<Arc<TopicError>>,
    pub(super) channels: HashMap<Incarnation, ChannelState>,
    /// The data keys of the channels that have some.
    pub(super) keyrings: HashMap<Incarnation, Arc<Keyring>>,
    /// Keys may be left that another master key wraps than the first.
    pub(super) may_rewrap: bool,
    /// The topic of committed offsets.
    pub(super) positions: Incarnation,
    /// Organisations, keys and grants.
    pub(super) access: Access,
    /// The topic of these.
    pub(super) access_log: Incarnation,
    pub(super) access_events: u64,
    pub(super) secret: DirectorySecret,
    pub(super) audit: Audit,
    /// Agents, sessions and tool calls.
    pub(super) asp: super::asp::Asp,
    /// Of a quality that secrets can be made of, see [`Broker::open`].
    pub(super) random: Box<dyn FnMut() -> u64 + Send>,
    /// What follows once an entry is flushed.
    pub(super) after: Vec<(EntryId, After)>,
    /// Topics that hold their whole state from an offset on, and are not trimmed to it yet.
    pub(super) untrimmed: BTreeMap<Incarnation, Offset>,
    pub(super) round_waiters: RoundWaiters,
    pub(super) log_waiters: HashMap<Incarnation, Vec<Arc<dyn Wake>>>,
    /// Positions of deleted channels may be left, whose dropping is not on the record.
    pub(super) has_stray_positions: bool,
    pub(super) retention_cursor: Option<Incarnation>,
    pub(super) directory_events: u64,
    pub(super) consumer_events: u64,
    /// What the region wants of others.
    pub(super) interests: Interests,
    /// The topic of that, once the broker is a region.
    pub(super) interest_log: Option<Incarnation>,
    pub(super) interest_events: u64,
    /// Who is home of which log.
    pub(super) homes: super::homes::KnownHomes,
    /// Topics of other regions of which nobody knows here what they say.
    pub(super) lacking: super::lacking::Lackings,
    /// What became of the copies that are here.
    pub(super) kept: super::kept_copies::KeptCopies,
    /// Copies that take no batches for now.
    pub(super) held_copies: HashSet<Incarnation>,
    /// Copies that are being put in the place of those that have less.
    pub(super) wider: super::widening::Widenings,
    /// How cuts have ended that nobody has asked for yet.
    pub(super) cuts: HashMap<Incarnation, Result<(), crate::storage::CutError>>,
    /// What all regions know of each other, where this one has it.
    pub(super) regions: Regions,
    pub(super) regions_events: u64,
    pub(super) consents: u64,
    /// What was said of peers while the region ran.
    pub(super) peers: Peers,
    pub(super) peer_events: u64,
    /// Names that the home of the directory has given to channels that are yet to be made here.
    pub(super) granted: HashMap<ChannelName, Incarnation>,
    /// What the command under way asks for a channel that it makes.
    pub(super) asked: Asked,
    /// What other regions ask for.
    pub(super) interests_of: BTreeMap<RegionName, Interests>,
    /// Deleted logs whose files are gone, and of which a start would still find something.
    pub(super) removed: Vec<Incarnation>,
    pub(super) is_stopping: bool,
    /// The stop does without what could not be stored.
    pub(super) has_given_up: bool,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker")
            .field("channels", &self.directory.len())
            .finish_non_exhaustive()
    }
}

/// What is done once an entry is flushed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// Records below are gone: their segments may be removed.
    Trim(Incarnation, Offset),
    /// The channel is deleted: its log may be closed and its files removed.
    Drop(Incarnation),
}

/// The rows of a checkpoint, from the channels' tables.
pub(super) struct Rows<'a>(pub &'a HashMap<Incarnation, ChannelState>);

impl ProducerRows for Rows<'_> {
    fn rows(&self, log: Incarnation) -> (u64, Vec<ProducerRow>) {
        self.0
            .get(&log)
            .map_or((0, Vec::new()), |channel| rows_of(&channel.producers))
    }
}

/// A table of producers as a checkpoint holds it.
pub(super) fn rows_of(producers: &Producers) -> (u64, Vec<ProducerRow>) {
    let rows = producers.to_rows().into_iter().map(|state| ProducerRow {
        producer_id: state.producer_id,
        epoch: state.epoch,
        base_sequence: state.base_sequence,
        next_sequence: state.next_sequence,
        base_offset: state.base_offset,
        last_append_time: state.last_append_time,
    });
    (producers.fence(), rows.collect())
}

/// What a table books of a stored batch.
pub(super) fn appended(header: &BatchHeader) -> AppendedBatch {
    AppendedBatch {
        producer_id: header.producer_id(),
        epoch: header.producer_epoch(),
        base_sequence: header.base_sequence(),
        count: header.record_count(),
        base_offset: header.base_offset(),
        append_time: header.append_time(),
        fence: header.fence(),
    }
}

/// What a log is told of its channel's configuration.
pub(super) fn log_options(config: &ChannelConfig) -> LogOptions {
    LogOptions {
        segment_bytes: config.segment_bytes,
        durability: config.durability,
        sync_interval_ms: i64::try_from(config.sync_interval_ms).unwrap_or(i64::MAX),
    }
}

/// What a batch for a channel is checked against at the door.
pub(super) fn door_limits(config: &ChannelConfig) -> DoorLimits {
    DoorLimits {
        max_record_bytes: u32::try_from(config.max_record_bytes).unwrap_or(u32::MAX),
        lz4: config.allows(AllowedCompression::Lz4 as u8),
        zstd: config.allows(AllowedCompression::Zstd as u8),
    }
}

impl Broker {
    /// The storage, for its state: report, usage, failures.
    #[must_use]
    pub fn storage(&self) -> &Storage {
        &self.storage
    }

    /// How many channels there are, internal topics included.
    #[must_use]
    pub fn channel_count(&self) -> usize {
        self.directory.len()
    }

    /// What became of the append that an answer waits for.
    #[must_use]
    pub fn outcome(&self, wait: Wait) -> Outcome {
        self.storage.outcome(wait.entry, wait.level)
    }

    /// Wakes `waiter` once, when the next round ends.
    pub fn wake_after_round(&mut self, waiter: Arc<dyn Wake>) {
        self.round_waiters.push(waiter);
    }

    /// Wakes `waiter` once, when `wait` is over, or anything has failed.
    pub fn wake_when_over(&mut self, wait: Wait, waiter: Arc<dyn Wake>) {
        self.round_waiters.push_for(wait, waiter);
    }

    /// Wakes `waiter` once, when the log's high watermark may have moved or the channel is gone.
    pub fn wake_on_append(&mut self, log: Incarnation, waiter: Arc<dyn Wake>) {
        self.log_waiters.entry(log).or_default().push(waiter);
    }

    /// Takes back a waiter that was not woken.
    pub fn forget_waiter(&mut self, log: Incarnation, waiter: &Arc<dyn Wake>) {
        if let Some(waiters) = self.log_waiters.get_mut(&log) {
            waiters.retain(|other| !Arc::ptr_eq(other, waiter));
            if waiters.is_empty() {
                self.log_waiters.remove(&log);
            }
        }
    }

    /// The next round of the committer, if there is work.
    pub fn plan_round(&mut self, now: Timestamp) -> Option<Box<crate::storage::Round>> {
        self.storage.plan_round(now).map(Box::new)
    }

    /// Books how a round ended; the waiters are to be woken without the lock. A round that found
    /// the disk full comes back, to be run again.
    pub fn finish_round(&mut self, end: RoundEnd) -> RoundResult {
        let (finished, again) = self.storage.finish_round(end);
        if again.is_none() {
            self.do_what_follows();
        }
        let wake = self.take_waiters(&finished);
        RoundResult {
            wake,
            wants_upkeep: finished.wants_upkeep,
            again,
        }
    }

    fn take_waiters(&mut self, finished: &Finished) -> Vec<Arc<dyn Wake>> {
        let storage = &self.storage;
        let failures = storage.failed_entries() + usize::from(storage.journal_failure().is_some());
        let is_over = |wait: Wait| {
            let outcome = storage.outcome(wait.entry, wait.level);
            !matches!(outcome, Outcome::Pending)
        };
        let mut wake = self.round_waiters.take_over(is_over, failures);
        for log in &finished.logs {
            if let Some(waiters) = self.log_waiters.remove(log) {
                wake.extend(waiters);
            }
        }
        wake
    }

    /// Does what waited for a flush: removes trimmed segments and deleted logs.
    pub(super) fn do_what_follows(&mut self) {
        let mut waiting = std::mem::take(&mut self.after);
        let mut trimmed = Vec::new();
        waiting.retain(|(entry, after)| {
            match self.storage.outcome(*entry, Durability::Synced) {
                Outcome::Pending => return true,
                Outcome::Failed(_) => {}
                Outcome::Done => match *after {
                    After::Trim(log, offset) => {
                        self.storage.set_log_start(log, offset);
                        trimmed.push(log);
                    }
                    After::Drop(log) => {
                        self.storage.drop_log(log);
                        self.channels.remove(&log);
                        self.keyrings.remove(&log);
                        if let Some(waiters) = self.log_waiters.remove(&log) {
                            self.round_waiters.extend(waiters);
                        }
                    }
                },
            }
            false
        });
        self.after.append(&mut waiting);
        trimmed.into_iter().for_each(|log| self.let_keys_go(log));
    }
}

/// What a finished round leaves to do, without the lock.
pub struct RoundResult {
    /// Those who waited.
    pub wake: Vec<Arc<dyn Wake>>,
    /// The keeper has work.
    pub wants_upkeep: bool,
    /// The disk is full: run it again after a while.
    pub again: Option<Box<crate::storage::Round>>,
}
