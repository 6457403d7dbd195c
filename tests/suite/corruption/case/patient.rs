//! The data directories that are damaged: a broker has lived in them twice, and they hold every
//! kind of file, log and group.
//!
//! ```text
//! steady   synced, many small batches, several segments
//! direct   large runs that bypass the journal, several segments
//! lazy     acknowledged before it is synced
//! idem     an idempotent producer
//! quiet    a few batches of long ago
//! gone     was deleted
//! journal  before the checkpoint | promised | the last group, which nothing vouches for
//! ```

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use npayload::access::{KeyKind, KeyRequest, Limits, Principal, Scope, Secret};
use npayload::broker::config::{ChannelConfig, ConfigChange};
use npayload::broker::{
    Broker, BrokerConfig, BrokerOpenError, CheckedBatch, CommitRequest, Published, Stop, Target,
};
use npayload::consumer::Expected;
use npayload::format::{BatchBuilder, Compression, NewRecord, check_produced};
use npayload::storage::StorageConfig;
use npayload::storage::disk::{Disk, MemoryDisk};
use npayload::types::{
    ChannelName, ConsumerName, Durability, Incarnation, LogEpoch, Offset, OrgId, ProducerId,
    Timestamp,
};

use super::image::{Image, ROOT};

const PRODUCER: ProducerId = ProducerId(77);
const DAY_MS: i64 = 24 * 60 * 60 * 1000;

/// Everything small, so that all cases come soon.
pub fn config() -> BrokerConfig {
    BrokerConfig {
        storage: StorageConfig {
            journal_file_bytes: 48 << 10,
            journal_files: 3,
            max_round_bytes: 24 << 10,
            direct_bytes: 3 << 10,
            always_direct_bytes: 8 << 10,
            write_behind_bytes: 2 << 10,
            max_unwritten_bytes: 256 << 10,
            max_open_segments: 4,
            min_free_bytes: 0,
            reserve_bytes: 0,
            checkpoint_interval_ms: DAY_MS,
            ..StorageConfig::default()
        },
        defaults: ChannelConfig {
            segment_bytes: 12 << 10,
            ..ChannelConfig::default()
        },
        ..BrokerConfig::default()
    }
}

/// A batch as its producer knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownBatch {
    pub first: u64,
    pub end: u64,
    pub payloads: Vec<Vec<u8>>,
}

/// What a channel must hold.
#[derive(Clone, Debug, Default)]
pub struct KnownChannel {
    pub id: Incarnation,
    pub batches: Vec<KnownBatch>,
}

impl KnownChannel {
    pub fn end(&self) -> u64 {
        self.batches.last().map_or(0, |batch| batch.end)
    }

    /// The batch that holds `offset`.
    pub fn batch_at(&self, offset: u64) -> Option<&KnownBatch> {
        self.batches.iter().find(|batch| batch.end > offset)
    }
}

/// What was acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Known {
    pub channels: BTreeMap<String, KnownChannel>,
    /// The topics of positions, and of organisations and keys.
    pub consumers: Incarnation,
    pub access: Incarnation,
    /// A key that was never revoked.
    pub key: Option<Secret>,
    pub positions: BTreeMap<(String, String), u64>,
    /// First sequence of the next idempotent batch, of the last one, and its first offset.
    pub next_sequence: u64,
    pub last_sequence: u64,
    pub last_first: u64,
}

/// A directory to be damaged in copies.
pub struct Patient {
    pub name: &'static str,
    pub image: Image,
    pub known: Known,
    pub now: i64,
    /// The directory at earlier moments, oldest first.
    pub history: Vec<Image>,
    /// Another data directory that has lived the same life, and what it knows.
    pub other: Image,
    pub other_known: Known,
}

/// How the last broker ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Clean,
    Killed,
}

impl Patient {
    /// The directory of a broker that ended like this, and never knew a key.
    pub fn new(end: End) -> Self {
        Self::of(end, false)
    }

    /// The same with API keys.
    pub fn with_keys(end: End) -> Self {
        Self::of(end, true)
    }

    fn of(end: End, has_keys: bool) -> Self {
        let (image, known, now, history) = live(end, 1, has_keys);
        let (other, other_known, ..) = live(end, 2, has_keys);
        let name = match end {
            End::Clean => "stopped",
            End::Killed => "killed",
        };
        Self {
            name,
            image,
            known,
            now,
            history,
            other,
            other_known,
        }
    }
}

/// A broker driven from one thread.
pub struct Driver {
    pub broker: Broker,
    pub now: i64,
    pub known: Known,
    seed: u64,
}

/// splitmix64: the same for every run of a seed, and close seeds share nothing.
pub fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

fn name_of(channel: &str) -> ChannelName {
    ChannelName::parse(channel).unwrap()
}

impl Driver {
    pub fn open(
        disk: Arc<dyn Disk>,
        root: &Path,
        now: i64,
        seed: u64,
    ) -> Result<Self, BrokerOpenError> {
        let mut state = seed;
        let random = Box::new(move || next(&mut state));
        let broker = Broker::open(disk, root, config(), "a test", Timestamp(now), random)?;
        let mut driver = Self {
            broker,
            now,
            known: Known::default(),
            seed,
        };
        driver.rounds();
        driver.known.consumers = driver.id("__consumers");
        driver.known.access = driver.id("__access");
        Ok(driver)
    }

    fn id(&self, topic: &str) -> Incarnation {
        let name = ChannelName::parse_any(topic).unwrap();
        self.broker.channel_info(&name).unwrap().value.incarnation
    }

    /// Makes a key; it is known from then on.
    pub fn make_key(&mut self) -> Result<(), String> {
        let now = Timestamp(self.now);
        if let Some(job) = self.broker.plan_secret() {
            self.broker.finish_secret(job.run()).unwrap();
        }
        let request = KeyRequest {
            org: OrgId::DEFAULT,
            name: "a key".to_owned(),
            kind: KeyKind::Live,
            scopes: vec![Scope::all()],
            limits: Limits::default(),
            expires_at: None,
            certificate: None,
        };
        let made = self.broker.create_key(&Principal::LOCAL, request, now);
        let (_, secret) = made.map_err(|refusal| refusal.error.to_string())?.value;
        self.known.key = Some(secret);
        self.rounds();
        Ok(())
    }

    pub fn rounds(&mut self) {
        while let Some(round) = self.broker.plan_round(Timestamp(self.now)) {
            let end = round.run();
            assert!(self.broker.finish_round(end).again.is_none());
        }
    }

    pub fn upkeep(&mut self) {
        for _ in 0..500 {
            let Some(job) = self.broker.plan_upkeep(Timestamp(self.now)) else {
                return;
            };
            let end = job.run();
            self.broker.finish_upkeep(end, Timestamp(self.now));
            self.rounds();
        }
        panic!("upkeep never ends");
    }

    pub fn checkpoint(&mut self) {
        self.rounds();
        self.now += DAY_MS + 1;
        self.upkeep();
    }

    pub fn point(&mut self) {
        let ended = self.broker.plan_point().expect("a point is due").run();
        self.broker.finish_point(ended);
    }

    pub fn create(&mut self, channel: &str, change: &ConfigChange) {
        let now = Timestamp(self.now);
        let created = self
            .broker
            .create_channel(name_of(channel), change, false, now);
        created.unwrap();
        self.rounds();
        let info = self.broker.channel_info(&name_of(channel)).unwrap().value;
        let known = self.known.channels.entry(channel.to_owned()).or_default();
        known.id = info.incarnation;
    }

    /// Publishes one batch; refused or given its offsets, and known from then on.
    pub fn publish(
        &mut self,
        channel: &str,
        sizes: &[usize],
        sequence: Option<u64>,
    ) -> Result<Published, String> {
        let mut builder = BatchBuilder::new(Compression::None);
        if let Some(sequence) = sequence {
            builder.producer(PRODUCER, 1, sequence);
        }
        let payloads: Vec<Vec<u8>> = sizes.iter().map(|size| self.payload(*size)).collect();
        for payload in &payloads {
            let record = NewRecord {
                payload: Some(payload),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
        }
        let bytes = builder.build().unwrap();
        let channel_name = name_of(channel);
        let door = self.broker.door(&channel_name);
        let door = door.map_err(|error| error.to_string())?;
        let header = check_produced(&bytes, &door).unwrap();
        let target = Target {
            channel: channel_name,
            incarnation: None,
            expected: None,
            principal: 0,
        };
        let mut batch = Some(CheckedBatch { header, bytes });
        for _ in 0..100 {
            let now = Timestamp(self.now);
            match self.broker.publish(&target, &mut batch, now) {
                Ok(accepted) if accepted.value.is_duplicate => return Ok(accepted.value),
                Ok(accepted) => {
                    let (first, end) = (accepted.value.first.0, accepted.value.last.0 + 1);
                    let known = self.known.channels.entry(channel.to_owned()).or_default();
                    known.batches.push(KnownBatch {
                        first,
                        end,
                        payloads,
                    });
                    return Ok(accepted.value);
                }
                Err(refusal) if refusal.is_busy() => {
                    self.rounds();
                    self.upkeep();
                }
                Err(refusal) => return Err(refusal.error.to_string()),
            }
        }
        panic!("busy for ever");
    }

    fn payload(&mut self, size: usize) -> Vec<u8> {
        let mut state = next(&mut self.seed);
        (0..size).map(|_| (next(&mut state) % 251) as u8).collect()
    }

    fn put(&mut self, channel: &str, sizes: &[usize]) {
        self.publish(channel, sizes, None).unwrap();
        self.rounds();
    }

    fn put_idempotent(&mut self) {
        let sequence = self.known.next_sequence;
        let published = self.publish("idem", &[180, 40], Some(sequence)).unwrap();
        self.rounds();
        self.known.last_sequence = sequence;
        self.known.last_first = published.first.0;
        self.known.next_sequence += 2;
    }

    pub fn commit(&mut self, channel: &str, consumer: &str, offset: u64) -> Result<(), String> {
        let request = CommitRequest {
            channel: name_of(channel),
            incarnation: None,
            consumer: ConsumerName::parse(consumer).unwrap(),
            offset: Offset(offset),
            log_epoch: LogEpoch(0),
            expected: Expected::Any,
            metadata: String::new(),
        };
        let committed = self.broker.commit(&request, Timestamp(self.now));
        committed.map_err(|refusal| refusal.error.to_string())?;
        self.rounds();
        let key = (channel.to_owned(), consumer.to_owned());
        self.known.positions.insert(key, offset);
        Ok(())
    }

    pub fn stop(&mut self) {
        self.rounds();
        self.broker.begin_stop();
        for _ in 0..100 {
            self.rounds();
            self.upkeep();
            if self.broker.stop_state() == Stop::Clean {
                return;
            }
            self.now += 1_000;
        }
        panic!("the broker does not stop");
    }
}

fn live(end: End, seed: u64, has_keys: bool) -> (Image, Known, i64, Vec<Image>) {
    let disk = MemoryDisk::new();
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let root = Path::new(ROOT);
    let mut history = Vec::new();

    let mut first = Driver::open(shared.clone(), root, 1_000_000, seed).unwrap();
    create_channels(&mut first);
    for n in 0..12u64 {
        if has_keys && n.is_multiple_of(3) {
            first.make_key().unwrap();
        }
        first.put("steady", &[400, 90]);
        first.put_idempotent();
        first.put("lazy", &[250]);
        if n < 3 {
            first.put("quiet", &[70, 80, 90]);
            first.put("gone", &[500]);
        }
        if n % 3 == 0 {
            first.put("direct", &[1_500, 1_600]);
            first.checkpoint();
            history.push(Image::of(&disk));
        }
        first.commit("steady", "reader", n * 2).unwrap();
    }
    let gone = name_of("gone");
    let now = Timestamp(first.now);
    first.broker.delete_channel(&gone, None, now).unwrap();
    first.known.channels.remove("gone");
    first.rounds();
    first.upkeep();
    first.stop();
    history.push(Image::of(&disk));
    let (known, now) = (first.known, first.now + 10);
    drop(first.broker);

    let mut second = Driver::open(shared, root, now, seed + 100).unwrap();
    second.known = known;
    for n in 0..14u64 {
        if has_keys && n.is_multiple_of(4) {
            second.make_key().unwrap();
        }
        second.put("steady", &[400, 90]);
        second.put("lazy", &[250]);
        second.put_idempotent();
        if n % 4 == 1 {
            second.put("direct", &[1_500, 1_600]);
            second.commit("steady", "reader", 24 + n).unwrap();
            second.commit("idem", "other", n).unwrap();
        }
        if n == 3 || n == 8 {
            second.checkpoint();
            history.push(Image::of(&disk));
        }
    }
    second.checkpoint();
    history.push(Image::of(&disk));
    with_journal(&mut second);
    match end {
        End::Clean => second.stop(),
        End::Killed => second.put("steady", &[400, 90]), // nothing vouches for this last group
    }
    let (known, now) = (second.known.clone(), second.now + 10);
    (Image::of(&disk), known, now, history)
}

/// Groups behind the last checkpoint, all of them promised.
fn with_journal(driver: &mut Driver) {
    driver.put("steady", &[400, 90]);
    driver.put("direct", &[1_500, 1_600]);
    driver.put_idempotent();
    for channel in ["steady", "lazy"] {
        driver.publish(channel, &[400, 90], None).unwrap();
    }
    driver.rounds();
    driver.commit("idem", "other", 20).unwrap();
    driver.upkeep();
    driver.put("steady", &[400, 90]);
    driver.put("lazy", &[250]);
    driver.put("steady", &[400, 90]);
    driver.point();
}

fn create_channels(driver: &mut Driver) {
    let lazy = ConfigChange {
        durability: Some(Durability::Written),
        ..ConfigChange::default()
    };
    let plain = ConfigChange::default();
    for channel in ["steady", "direct", "idem", "quiet", "gone"] {
        driver.create(channel, &plain);
    }
    driver.create("lazy", &lazy);
}
