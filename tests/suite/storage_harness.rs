//! Drives the storage room from one thread, and a model of what it must hold.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use npayload::format::{
    BatchBuilder, BatchHeader, Compression, DataKey, NewRecord, ProducerRow, Sealing, check_stored,
    records, unseal,
};
use npayload::storage::disk::Disk;
use npayload::storage::{
    EntryId, LiveLog, LogOptions, NewBatch, OpenError, Outcome, ProducerRows, Read, ReadError,
    RecoveryReport, Round, RoundEnd, StageError, Storage, StorageConfig, Upkeep, UpkeepEnd, open,
};
use npayload::types::{Durability, Incarnation, Offset, Timestamp};

/// Where the broker's own part of a stored batch ends; what follows is the producer's.
pub const BODY_AT: usize = 72;
pub const ROOT: &str = "/data";
pub const CHECKPOINT_MS: i64 = 1_000_000;

/// Small limits, so that rolls, direct runs and a full ring happen within a few appends.
pub fn small() -> StorageConfig {
    StorageConfig {
        journal_file_bytes: 32 * 1024,
        journal_files: 4,
        max_round_bytes: 12 * 1024,
        direct_bytes: 3 * 1024,
        always_direct_bytes: 8 * 1024,
        write_behind_bytes: 2 * 1024,
        max_unwritten_bytes: 128 * 1024,
        own_segment_bytes: 16 * 1024 * 1024,
        max_open_segments: 3,
        min_free_bytes: 0,
        checkpoint_interval_ms: CHECKPOINT_MS,
        ..StorageConfig::default()
    }
}

/// The `n`-th log of a test; every third is acknowledged before it is synced.
pub fn log_id(n: u64) -> Incarnation {
    Incarnation(0x1000 + u128::from(n))
}

/// The folder of the `n`-th log.
pub fn log_dir(n: u64) -> PathBuf {
    Path::new(ROOT).join(format!("channels/{}", log_id(n)))
}

/// The file of a log's segment that begins at this offset.
pub fn segment_file(n: u64, base: u64) -> PathBuf {
    log_dir(n).join(format!("{base:020}.log"))
}

/// The names of a log's files that end like this.
pub fn names(disk: &dyn Disk, n: u64, ending: &str) -> Vec<String> {
    let entries = disk.list(&log_dir(n)).unwrap_or_default().into_iter();
    let names = entries.map(|entry| entry.name);
    names.filter(|name| name.ends_with(ending)).collect()
}

/// How many files the journal's ring has.
pub fn journal_files(disk: &dyn Disk) -> usize {
    disk.list(&Path::new(ROOT).join("journal")).unwrap().len()
}

pub fn options(id: Incarnation) -> LogOptions {
    LogOptions {
        // One block, or several, so that batches on a fresh block follow in the same segment.
        segment_bytes: 4096 * [5, 1, 3][usize::try_from(id.0 % 3).unwrap()],
        durability: if id.0.is_multiple_of(3) {
            Durability::Written
        } else {
            Durability::Synced
        },
        sync_interval_ms: 50,
    }
}

/// How the `n`-th batch of a log is encrypted, if it is: every fourth log is. The nonce is unique
/// within a test, also where a crash takes offsets back.
fn sealing_of(log: Incarnation, n: u64) -> Option<Sealing> {
    let mut nonce = [0; 12];
    nonce[..8].copy_from_slice(&n.to_le_bytes());
    (log.0 % 4 == 2).then(|| Sealing {
        key: Arc::new(DataKey::new(
            &log.0.to_le_bytes().repeat(2).try_into().unwrap(),
        )),
        key_id: 1,
        nonce,
    })
}

/// A stored batch as its producer built it.
pub fn in_plain(id: Incarnation, stored: &Bytes) -> Bytes {
    let header = check_stored(stored).expect("a stored batch is intact");
    let sealing = sealing_of(id, 0);
    assert_eq!(header.is_sealed(), sealing.is_some(), "log {id}");
    let Some(sealing) = sealing else {
        return stored.clone();
    };
    let mut plain = BytesMut::new();
    unseal(stored, &sealing.key, &mut plain).expect("encrypted by this key");
    plain.freeze()
}

/// A batch as a producer would build it: one record for each size.
pub fn batch(id: u64, sizes: &[usize]) -> BytesMut {
    let mut builder = BatchBuilder::new(Compression::None);
    for (n, size) in sizes.iter().enumerate() {
        let seed = (id * 31 + n as u64).to_le_bytes();
        let payload: Vec<u8> = (0..*size)
            .map(|at| seed[at % 8] ^ u8::try_from(at / 8 % 251).unwrap())
            .collect();
        let record = NewRecord {
            payload: Some(&payload),
            ..NewRecord::default()
        };
        builder.push(&record).unwrap();
    }
    builder.build().unwrap()
}

/// What a log of a [`Model`] should hold.
#[derive(Debug, Clone)]
pub struct ModelBatch {
    pub entry: u64,
    pub first: u64,
    pub end: u64,
    pub body: Vec<u8>,
    pub append_time: i64,
}

#[derive(Debug, Clone, Default)]
pub struct ModelLog {
    pub batches: Vec<ModelBatch>,
    /// Lowest readable offset, as last asked for and as last made durable.
    pub start: u64,
    pub sure_start: u64,
    /// Everything below was acknowledged at the level, or any level.
    pub synced: u64,
    pub written: u64,
}

impl ModelLog {
    pub fn end(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.end)
    }
}

/// An entry that was staged and whose outcome is not known yet.
#[derive(Debug, Clone)]
struct Waiting {
    entry: EntryId,
    level: Durability,
    ends: Vec<(Incarnation, u64)>,
    event: Option<Event>,
}

/// What the log of logs records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Event {
    Create(Incarnation),
    Start(Incarnation, u64),
    Drop(Incarnation),
}

impl Event {
    fn batch(self) -> BytesMut {
        let (kind, id, offset) = match self {
            Self::Create(id) => (1u8, id, 0),
            Self::Start(id, offset) => (2, id, offset),
            Self::Drop(id) => (3, id, 0),
        };
        let mut payload = vec![kind];
        payload.extend_from_slice(&id.0.to_le_bytes());
        payload.extend_from_slice(&offset.to_le_bytes());
        let record = NewRecord {
            payload: Some(&payload),
            ..NewRecord::default()
        };
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&record).unwrap();
        builder.build().unwrap()
    }

    fn of(batch: &Bytes) -> Self {
        let record = records(batch).unwrap().next().unwrap().unwrap();
        let payload = record.payload.unwrap();
        let id = Incarnation(u128::from_le_bytes(payload[1..17].try_into().unwrap()));
        let offset = u64::from_le_bytes(payload[17..25].try_into().unwrap());
        match payload[0] {
            1 => Self::Create(id),
            2 => Self::Start(id, offset),
            _ => Self::Drop(id),
        }
    }
}

/// What every log should hold, and what was acknowledged.
#[derive(Debug, Clone, Default)]
pub struct Model {
    pub logs: BTreeMap<Incarnation, ModelLog>,
    /// Logs whose creation or deletion was asked for and not yet acknowledged.
    pub unsure: HashSet<Incarnation>,
    pub dropped: HashSet<Incarnation>,
    waiting: Vec<Waiting>,
    next_batch: u64,
    next_entry: u64,
}

impl Model {
    /// Whatever waited when the broker ended has no outcome.
    pub fn forget_waiting(&mut self) {
        self.waiting.clear();
        self.unsure.clear();
    }
}

struct NoProducers;

impl ProducerRows for NoProducers {
    fn rows(&self, _log: Incarnation) -> (u64, Vec<ProducerRow>) {
        (0, Vec::new())
    }
}

/// What a power loss or a killed process may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mercy {
    /// Nothing that was acknowledged at any level.
    Process,
    /// What was acknowledged as written, from the end.
    Power,
}

/// A storage and the model of what it holds.
pub struct Harness {
    pub storage: Storage,
    pub model: Model,
    pub now: i64,
    pub report: RecoveryReport,
    pub full: Option<Box<Round>>,
    /// A round and a piece of upkeep on their way, as other threads would have them.
    round: InFlight<Box<Round>, RoundEnd>,
    upkeep: InFlight<Upkeep, UpkeepEnd>,
}

#[derive(Default)]
enum InFlight<Planned, Ran> {
    #[default]
    Nothing,
    Planned(Planned),
    Ran(Ran),
}

/// The batches in a slice of stored bytes, each checked.
pub fn split(mut part: Bytes) -> Vec<Bytes> {
    let mut batches = Vec::new();
    while !part.is_empty() {
        let len = BatchHeader::peek(&part).unwrap().len();
        batches.push(part.split_to(len));
    }
    batches
}

impl Harness {
    /// Opens or makes the directory and brings back what its log of logs names.
    pub fn open(disk: Arc<dyn Disk>, model: Model, now: i64) -> Result<Self, OpenError> {
        Self::open_with(disk, small(), model, now)
    }

    pub fn open_with(
        disk: Arc<dyn Disk>,
        config: StorageConfig,
        model: Model,
        now: i64,
    ) -> Result<Self, OpenError> {
        let mut seed = 0x9E37_79B9_u64.wrapping_mul(now.unsigned_abs() + 1);
        let mut random = || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        };
        let now_time = Timestamp(now);
        let root = Path::new(ROOT);
        let mut found = open(disk, root, config, "a test", now_time, &mut random)?;
        let directory = found.directory_id();
        let (mut live, mut deleted) = (HashMap::new(), HashSet::new());
        for part in found.replay_directory()? {
            for batch in split(part) {
                check_stored(&batch).unwrap();
                match Event::of(&batch) {
                    Event::Create(id) => {
                        let log = LiveLog {
                            options: options(id),
                            log_start: Offset(0),
                            begins_at: Offset(0),
                        };
                        live.insert(id, log);
                    }
                    Event::Start(id, offset) => {
                        live.get_mut(&id).unwrap().log_start = Offset(offset);
                    }
                    Event::Drop(id) => {
                        live.remove(&id);
                        deleted.insert(id);
                    }
                }
            }
        }
        let _ = directory;
        let none = |_: Incarnation, _: &npayload::storage::Replayed| (0, Vec::new());
        let (storage, _) = found.recover(&live, &deleted, &none, now_time)?;
        let report = storage.recovery_report().clone();
        Ok(Self {
            storage,
            model,
            now,
            report,
            full: None,
            round: InFlight::Nothing,
            upkeep: InFlight::Nothing,
        })
    }

    pub fn is_broken(&self) -> bool {
        self.storage.journal_failure().is_some()
    }

    /// Records an event about logs and applies it once it is durable.
    fn record(&mut self, event: Event) -> Result<(), StageError> {
        let directory = self.storage.directory_id();
        let batch = NewBatch {
            log: directory,
            bytes: event.batch(),
            span: 1,
            expected: None,
            principal: 0,
            sealing: None,
            copied: None,
        };
        let staged = self.storage.stage(&mut vec![batch], Timestamp(self.now))?;
        match event {
            Event::Create(id) => {
                self.model.logs.insert(id, ModelLog::default());
                self.model.unsure.insert(id);
            }
            Event::Drop(id) => {
                self.model.unsure.insert(id);
            }
            Event::Start(id, offset) => {
                self.model.logs.get_mut(&id).unwrap().start = offset;
            }
        }
        self.model.waiting.push(Waiting {
            entry: staged.entry,
            level: staged.level,
            ends: Vec::new(),
            event: Some(event),
        });
        Ok(())
    }

    pub fn create(&mut self, n: u64) {
        // Busy is over after a round.
        for _ in 0..10 {
            match self.record(Event::Create(log_id(n))) {
                Err(StageError::Busy) => self.flush(),
                _ => break,
            }
        }
        self.round();
    }

    pub fn drop_log(&mut self, n: u64) {
        let _ = self.record(Event::Drop(log_id(n)));
    }

    /// The next batch of a log begins a new segment.
    pub fn roll(&mut self, n: u64) {
        self.storage.roll(log_id(n));
    }

    pub fn set_log_start(&mut self, n: u64, offset: u64) {
        let _ = self.record(Event::Start(log_id(n), offset));
    }

    /// Stages one entry: a batch of records of these sizes for each log named.
    pub fn append(&mut self, parts: &[(u64, &[usize])]) -> Result<EntryId, StageError> {
        self.now += 1;
        let mut batches = Vec::new();
        let mut bodies = Vec::new();
        for (n, sizes) in parts {
            self.model.next_batch += 1;
            let bytes = batch(self.model.next_batch, sizes);
            bodies.push(bytes[BODY_AT..].to_vec());
            batches.push(NewBatch {
                log: log_id(*n),
                bytes,
                span: u32::try_from(sizes.len()).unwrap(),
                expected: None,
                principal: 7,
                sealing: sealing_of(log_id(*n), self.model.next_batch),
                copied: None,
            });
        }
        let staged = self.storage.stage(&mut batches, Timestamp(self.now))?;
        self.model.next_entry += 1;
        let mut ends = Vec::new();
        for (((n, sizes), body), one) in parts.iter().zip(bodies).zip(&staged.batches) {
            let log = self.model.logs.get_mut(&log_id(*n)).unwrap();
            assert_eq!(
                one.offsets.start.0,
                log.end(),
                "an offset was skipped or given twice"
            );
            assert_eq!(one.offsets.end.0, log.end() + sizes.len() as u64);
            ends.push((log_id(*n), one.offsets.end.0));
            log.batches.push(ModelBatch {
                entry: self.model.next_entry,
                first: one.offsets.start.0,
                end: one.offsets.end.0,
                body,
                append_time: one.append_time.0,
            });
        }
        self.model.waiting.push(Waiting {
            entry: staged.entry,
            level: staged.level,
            ends,
            event: None,
        });
        Ok(staged.entry)
    }

    /// One round, if there is work. Entries that reached their level are booked in the model.
    pub fn round(&mut self) {
        while !matches!(self.round, InFlight::Nothing) {
            self.step_round(); // of the round under way
        }
        for _ in 0..3 {
            self.step_round();
        }
    }

    /// One step of a round: it is planned, run or booked, and other work may come in between.
    pub fn step_round(&mut self) {
        self.round = match std::mem::take(&mut self.round) {
            InFlight::Nothing => {
                let planned = self.full.take().or_else(|| {
                    let planned = self.storage.plan_round(Timestamp(self.now));
                    planned.map(Box::new)
                });
                planned.map_or(InFlight::Nothing, InFlight::Planned)
            }
            InFlight::Planned(round) => InFlight::Ran(round.run()),
            InFlight::Ran(end) => {
                self.full = self.storage.finish_round(end).1;
                self.book();
                InFlight::Nothing
            }
        };
    }

    /// Runs the round that is planned, and plans the next one under the lock that books it.
    pub fn next_round(&mut self) {
        for _ in 0..3 {
            self.step_round();
        }
    }

    /// Cuts a checkpoint if one is due.
    pub fn cut_checkpoint(&mut self) -> bool {
        let now = Timestamp(self.now);
        self.storage.cut_checkpoint(now, &NoProducers)
    }

    /// One step of upkeep, as [`Self::step_round`]. False when there was nothing to do.
    pub fn step_upkeep(&mut self) -> bool {
        let now = Timestamp(self.now);
        self.upkeep = match std::mem::take(&mut self.upkeep) {
            InFlight::Nothing => {
                self.cut_checkpoint();
                match self.storage.plan_upkeep(now) {
                    Some(planned) => InFlight::Planned(planned),
                    None => return false,
                }
            }
            InFlight::Planned(job) => InFlight::Ran(job.run()),
            InFlight::Ran(end) => {
                self.storage.finish_upkeep(end, now);
                InFlight::Nothing
            }
        };
        true
    }

    /// Whether a piece of upkeep is planned and not booked.
    pub fn is_upkeep_under_way(&self) -> bool {
        !matches!(self.upkeep, InFlight::Nothing)
    }

    fn book(&mut self) {
        let waiting = std::mem::take(&mut self.model.waiting);
        for one in waiting {
            match self.storage.outcome(one.entry, one.level) {
                Outcome::Pending => self.model.waiting.push(one),
                Outcome::Failed(_) => self.take_back(&one),
                Outcome::Done => {
                    for (id, end) in &one.ends {
                        let Some(log) = self.model.logs.get_mut(id) else {
                            continue;
                        };
                        log.written = log.written.max(*end);
                        if one.level == Durability::Synced {
                            log.synced = log.synced.max(*end);
                        }
                    }
                    if let Some(event) = one.event {
                        self.apply(event);
                    }
                }
            }
        }
    }

    /// A log that failed by itself has forgotten what it took since.
    fn take_back(&mut self, one: &Waiting) {
        if self.is_broken() {
            return;
        }
        for (id, end) in &one.ends {
            if let Some(log) = self.model.logs.get_mut(id) {
                log.batches.retain(|batch| batch.end < *end);
            }
        }
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Create(id) => {
                self.model.unsure.remove(&id);
                self.storage.create_log(id, options(id));
            }
            Event::Start(id, offset) => {
                self.model.logs.get_mut(&id).unwrap().sure_start = offset;
                self.storage.set_log_start(id, Offset(offset));
            }
            Event::Drop(id) => {
                self.model.unsure.remove(&id);
                self.model.logs.remove(&id);
                self.model.dropped.insert(id);
                self.storage.drop_log(id);
            }
        }
    }

    /// Rounds until nothing waits.
    pub fn flush(&mut self) {
        for _ in 0..8 {
            self.now += 60; // beyond every sync interval
            self.round();
            self.upkeep();
            if !self.storage.has_round(Timestamp(self.now)) {
                break;
            }
        }
    }

    /// All upkeep that is due, checkpoints included.
    pub fn upkeep(&mut self) {
        for _ in 0..600 {
            if self.cut_checkpoint() {
                self.round(); // which the checkpoint waits for
            }
            if !self.step_upkeep() {
                return;
            }
        }
        panic!("upkeep never ends");
    }

    /// A checkpoint, if there is anything to record.
    pub fn checkpoint(&mut self) {
        self.now += CHECKPOINT_MS;
        self.upkeep();
        self.flush();
    }

    /// Writes how far the journal is synced, as an idle broker does.
    pub fn point(&mut self) {
        if let Some(job) = self.storage.plan_point() {
            let ended = job.run();
            self.storage.finish_point(ended);
        }
    }

    pub fn stop(&mut self) {
        self.flush();
        self.storage.want_clean_stop();
        for _ in 0..20 {
            if self.storage.is_clean() || self.is_broken() {
                break;
            }
            self.now += CHECKPOINT_MS;
            self.upkeep();
            self.round();
        }
    }

    /// All batches from `from` to the high watermark.
    pub fn read(&mut self, id: Incarnation, from: u64, max: u64) -> Result<Vec<Bytes>, ReadError> {
        let mut batches = Vec::new();
        let mut at = Offset(from);
        loop {
            let slices = match self.storage.plan_read(id, at, max)? {
                Read::Ready(slices) => slices,
                Read::Segment(job) => {
                    let slices = job.run()?;
                    // What needs no disk finds the same, or leaves it to who may wait.
                    if let Some(warm) = job.run_warm() {
                        assert_eq!(warm.parts.concat(), slices.parts.concat());
                        assert_eq!((warm.bytes, warm.next), (slices.bytes, slices.next));
                    }
                    slices
                }
                Read::Load(task) => {
                    let loaded = task.run();
                    self.storage.finish_load(loaded)?;
                    continue;
                }
            };
            if slices.parts.is_empty() {
                assert_eq!(slices.next, at, "an empty read moved");
                return Ok(batches);
            }
            assert!(slices.next > at, "a read made no progress");
            for part in slices.parts {
                batches.extend(split(part));
            }
            at = slices.next;
        }
    }

    /// Compares the first offset at or after a time with the model's.
    pub fn check_time(&mut self, id: Incarnation, time: i64) {
        let job = loop {
            if let Some(job) = self.storage.plan_time(id, Timestamp(time)) {
                break job;
            }
            let loaded = self.storage.plan_load(id).expect("not loaded").run();
            self.storage.finish_load(loaded).unwrap();
        };
        let log = self.storage.log(id).unwrap();
        let (start, high) = (log.log_start().0, log.high_watermark().0);
        let at = self.model.logs[&id]
            .batches
            .iter()
            .find(|batch| batch.append_time >= time && batch.end > start && batch.end <= high);
        let expected = at.map_or(high, |batch| batch.first.max(start));
        assert_eq!(job.run().unwrap().0, expected, "log {id} at time {time}");
    }

    /// Compares a log with its model, read from `from`.
    pub fn check_from(&mut self, id: Incarnation, from: u64, max: u64) {
        let high = self.storage.log(id).unwrap().high_watermark().0;
        let found = match self.read(id, from, max) {
            Ok(found) => found,
            Err(error) if error.to_string().ends_with(": crashed") => return,
            Err(error) => panic!("log {id}, from {from} of ..{high}: {error}"),
        };
        let log = &self.model.logs[&id];
        let expected = log
            .batches
            .iter()
            .filter(|batch| batch.end > from && batch.end <= high);
        let mut count = 0;
        for (found, expected) in found.iter().zip(expected.clone()) {
            let found = in_plain(id, found);
            let header = check_stored(&found).expect("a stored batch is intact");
            assert_eq!(
                header.base_offset().0,
                expected.first,
                "log {id} from {from}"
            );
            assert_eq!(header.end_offset().0, expected.end);
            assert_eq!(header.incarnation(), id);
            assert_eq!(header.append_time().0, expected.append_time);
            assert_eq!(found[BODY_AT..], expected.body[..], "another record");
            count += 1;
        }
        assert_eq!(found.len(), count, "log {id}: records that nobody wrote");
        assert_eq!(expected.count(), count, "log {id}: records are missing");
    }

    /// Compares every log with its model, from its start.
    pub fn check(&mut self) {
        for id in self.model.logs.keys().copied().collect::<Vec<_>>() {
            if let Some(log) = self.storage.log(id) {
                let start = log.log_start().0;
                assert!(
                    log.flushed().0 >= self.model.logs[&id].synced,
                    "not flushed"
                );
                assert!(
                    log.high_watermark().0
                        >= self.model.logs[&id]
                            .written
                            .min(self.model.logs[&id].end())
                            .min(if options(id).durability == Durability::Written {
                                u64::MAX
                            } else {
                                log.flushed().0
                            })
                );
                self.check_from(id, start, 3000);
            }
        }
    }

    /// Judges what a crash left: all that was acknowledged, nothing that was never written, and
    /// entries over several logs whole. The model then forgets what is gone.
    pub fn check_recovered(&mut self, mercy: Mercy) {
        assert_eq!(self.report.damage, [], "damage after a crash");
        let unsure = std::mem::take(&mut self.model.unsure);
        self.model.forget_waiting();
        for id in unsure {
            // A creation or deletion under way is done or undone.
            if self.storage.log(id).is_none() {
                let log = self.model.logs.remove(&id);
                if log.is_some_and(|log| log.end() > 0) {
                    self.model.dropped.insert(id);
                }
            }
        }
        for id in &self.model.dropped {
            assert!(self.storage.log(*id).is_none(), "a deleted log is back");
        }
        let mut cut: HashMap<u64, Vec<(Incarnation, bool)>> = HashMap::new();
        for (id, log) in &mut self.model.logs {
            let found = self.storage.log(*id).expect("an acknowledged log is lost");
            assert!(found.refused().is_none(), "log {id}");
            let end = found.end().0;
            let sure = match mercy {
                Mercy::Process => log.written,
                Mercy::Power => log.synced,
            };
            assert!(
                end >= sure,
                "log {id}: acknowledged up to {sure}, found up to {end}"
            );
            let ends = log.batches.iter().map(|batch| batch.end);
            assert!(
                end == 0 || ends.clone().any(|known| known == end),
                "log {id} ends at {end}, between batches"
            );
            for batch in &log.batches {
                let kept = batch.end <= end;
                cut.entry(batch.entry).or_default().push((*id, kept));
            }
            log.batches.retain(|batch| batch.end <= end);
            let start = found.log_start().0;
            assert!(
                (log.sure_start..=log.start.max(log.sure_start)).contains(&start),
                "log {id}: start {start}, asked for {}",
                log.start
            );
            (log.start, log.sure_start) = (start, start);
            (log.synced, log.written) = (end, end);
        }
        for (entry, parts) in cut {
            assert!(
                parts.iter().all(|part| part.1 == parts[0].1),
                "entry {entry} is torn: {parts:?}"
            );
        }
        self.check();
    }

    /// Closes the storage as a killed process would, and gives back the model.
    pub fn kill(self) -> Model {
        self.model
    }
}
