//! What the broker itself writes: clean at every moment, also when it is killed there, and under a check where it is promised.

use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use npayload::broker::config::{ChannelConfig, ConfigChange, Encryption};
use npayload::broker::{Broker, BrokerConfig, CheckedBatch, Looked, Stop, Target};
use npayload::format::{BatchBuilder, Compression, NewRecord, check_produced};
use npayload::keys::MasterKeys;
use npayload::storage::StorageConfig;
use npayload::storage::disk::RealDisk;
use npayload::types::{ChannelName, Durability, Timestamp};

use crate::report::{Kind, Report};
use crate::verify;

/// A broker driven from one thread, with everything small, so that all cases come soon.
pub(crate) struct Driver {
    pub(crate) broker: Broker,
    pub(crate) now: Timestamp,
    random: u64,
}

/// The master key of [`Driver`], as the broker is given it.
pub(crate) const MASTER_KEY: &str = concat!(
    "6b65796b65796b65796b65796b65796b",
    "65796b65796b65796b65796b65796b65"
);

fn config() -> BrokerConfig {
    BrokerConfig {
        storage: StorageConfig {
            journal_file_bytes: 256 << 10,
            journal_files: 3,
            max_round_bytes: 64 << 10,
            direct_bytes: 8 << 10,
            always_direct_bytes: 32 << 10,
            write_behind_bytes: 2 << 10,
            max_unwritten_bytes: 1 << 20,
            min_free_bytes: 0,
            ..StorageConfig::default()
        },
        defaults: ChannelConfig {
            segment_bytes: 24 << 10,
            // What checks and repairs does so without the key.
            encryption: Encryption::On,
            ..ChannelConfig::default()
        },
        master_keys: MasterKeys::parse(MASTER_KEY).unwrap(),
        ..BrokerConfig::default()
    }
}

impl Driver {
    pub(crate) fn open(directory: &Path, seed: u64) -> Self {
        let mut state = seed;
        let random = Box::new(move || next(&mut state));
        let now = Timestamp(1_000_000 + i64::try_from(seed).unwrap());
        let disk = Arc::new(RealDisk);
        let broker = Broker::open(disk, directory, config(), "the test", now, random).unwrap();
        let mut driver = Self {
            broker,
            now,
            random: seed,
        };
        driver.rounds();
        driver
    }

    fn random(&mut self, below: u64) -> u64 {
        next(&mut self.random) % below
    }

    pub(crate) fn rounds(&mut self) {
        while let Some(round) = self.broker.plan_round(self.now) {
            let end = round.run();
            assert!(self.broker.finish_round(end).again.is_none());
        }
    }

    pub(crate) fn upkeep(&mut self, most: usize) {
        for _ in 0..most {
            let Some(job) = self.broker.plan_upkeep(self.now) else {
                return;
            };
            let end = job.run();
            self.broker.finish_upkeep(end, self.now);
            self.rounds();
        }
    }

    pub(crate) fn publish(&mut self, channel: &str) {
        let compression = [Compression::None, Compression::Lz4, Compression::Zstd];
        let mut builder = BatchBuilder::new(compression[usize::try_from(self.random(3)).unwrap()]);
        let payload_bytes =
            usize::try_from([30, 300, 3_000][usize::try_from(self.random(3)).unwrap()]).unwrap();
        for _ in 0..=self.random(8) {
            let payload: Vec<u8> = (0..payload_bytes)
                .map(|_| u8::try_from(self.random(251)).unwrap())
                .collect();
            let record = NewRecord {
                payload: Some(&payload),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
        }
        let bytes = builder.build().unwrap();
        let channel = ChannelName::parse(channel).unwrap();
        let header = check_produced(&bytes, &self.broker.door(&channel).unwrap()).unwrap();
        let target = Target {
            channel,
            incarnation: None,
            expected: None,
            principal: 0,
        };
        let mut batch = Some(CheckedBatch { header, bytes });
        for _ in 0..100 {
            let Err(refusal) = self.broker.publish(&target, &mut batch, self.now) else {
                return;
            };
            assert!(refusal.is_busy(), "{}", refusal.error);
            self.rounds();
            self.upkeep(100);
        }
        let storage = self.broker.storage();
        panic!(
            "busy for ever: journal {:?}, {} bytes unwritten",
            storage.journal_usage(),
            storage.unwritten_bytes()
        );
    }

    /// One random piece of work.
    pub(crate) fn step(&mut self) {
        self.now.0 += 40;
        match self.random(20) {
            0..=9 => {
                let channel = ["a", "b", "lazy", "short"][usize::try_from(self.random(4)).unwrap()];
                self.publish(channel);
            }
            10..=13 => self.rounds(),
            14..=16 => self.upkeep(2),
            17 => {
                if let Some(job) = self.broker.plan_point() {
                    let ended = job.run();
                    self.broker.finish_point(ended);
                }
            }
            18 => {
                if let Looked::Unlisted(task) = self.broker.tick(self.now) {
                    let loaded = task.run();
                    self.broker.finish_load(loaded).unwrap();
                }
            }
            _ if self.random(4) == 0 => {
                let name = ChannelName::parse("b").unwrap();
                let _ = self.broker.delete_channel(&name, None, self.now);
            }
            _ => self.now.0 += 3_000,
        }
    }

    pub(crate) fn create_channels(&mut self) {
        let lazy = ConfigChange {
            durability: Some(Durability::Written),
            encryption: Some(Encryption::Off),
            ..ConfigChange::default()
        };
        let short = ConfigChange {
            retention_bytes: Some(Some(40 << 10)),
            ..ConfigChange::default()
        };
        for (name, change) in [("lazy", lazy), ("short", short)] {
            let name = ChannelName::parse(name).unwrap();
            self.broker
                .create_channel(name, &change, true, self.now)
                .unwrap();
        }
    }

    pub(crate) fn stop(mut self) {
        self.broker.begin_stop();
        for _ in 0..100 {
            self.rounds();
            self.upkeep(100);
            if self.broker.stop_state() == Stop::Clean {
                return;
            }
            self.now.0 += 1_000;
        }
        panic!("the broker does not stop");
    }
}

/// splitmix64: the same for every run of a seed, and close seeds share nothing.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut x = *state;
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

pub(crate) fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(crate) fn clean(directory: &Path, when: &str) -> Report {
    let report = verify::run(directory).unwrap();
    let damage: Vec<_> = report
        .files
        .iter()
        .filter(|file| !file.damage.is_empty())
        .collect();
    assert!(report.clean, "{when}: {damage:#?} {:#?}", report.notes);
    report
}

#[test]
fn a_broker_that_runs_is_killed_and_starts_again_leaves_no_damage() {
    for seed in 1..=6 {
        let mut directory = tempfile::tempdir().unwrap();
        for life in 0..4 {
            let seed = seed * 100 + life;
            let mut driver = Driver::open(directory.path(), seed);
            driver.create_channels();
            for step in 0..150 {
                driver.step();
                if step % 5 == 0 {
                    clean(directory.path(), &format!("seed {seed}, step {step}"));
                }
            }
            // A copy is what a killed process leaves: all that it wrote, and nothing it had in memory.
            let killed = tempfile::tempdir().unwrap();
            copy(directory.path(), killed.path());
            clean(killed.path(), &format!("seed {seed}, killed"));
            driver.stop();
            clean(directory.path(), &format!("seed {seed}, stopped"));
            directory = killed;
        }
    }
}

#[test]
fn after_a_clean_stop_every_file_is_under_a_check_to_its_end() {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = Driver::open(directory.path(), 42);
    driver.create_channels();
    for _ in 0..200 {
        driver.step();
    }
    driver.stop();
    let report = clean(directory.path(), "stopped");
    for file in &report.files {
        let len = fs::metadata(&file.path).unwrap().len();
        let expected: &[[u64; 2]] = if file.kind == Kind::Journal {
            &[[0, 4096]]
        } else {
            &[[0, len]]
        };
        assert_eq!(
            file.used_ranges,
            expected,
            "{}: {:?}",
            file.path.display(),
            file.notes
        );
    }
}

#[test]
fn a_bit_flipped_in_what_a_broker_wrote_is_found_where_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = Driver::open(directory.path(), 7);
    driver.create_channels();
    for _ in 0..160 {
        driver.step();
    }
    for channel in ["a", "b", "lazy", "short"] {
        driver.publish(channel);
    }
    driver.rounds();
    let ended = driver.broker.plan_point().unwrap().run();
    driver.broker.finish_point(ended);
    let killed = tempfile::tempdir().unwrap();
    copy(directory.path(), killed.path());
    let files = clean(killed.path(), "killed").files;
    let journal = files.iter().filter(|file| file.kind == Kind::Journal);
    let live = journal
        .flat_map(|file| &file.used_ranges)
        .any(|range| range[1] > 4096);
    assert!(live, "the journal has a live part");
    for number in 0..6000 {
        let checked = &files[number % files.len()];
        if checked.used_ranges.is_empty() {
            continue;
        }
        let pick = usize::try_from(driver.random(checked.used_ranges.len() as u64)).unwrap();
        let [from, to] = checked.used_ranges[pick];
        let at = from + driver.random(to - from);
        let bit = u32::try_from(driver.random(8)).unwrap();
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .open(&checked.path)
            .unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
        let report = verify::run(killed.path()).unwrap();
        file.write_all_at(&byte, at).unwrap();
        let place = format!("{} byte {at} bit {bit}", checked.path.display());
        assert!(!report.clean, "{place}: not found");
        for file in &report.files {
            for damage in &file.damage {
                assert_eq!(file.path, checked.path, "{place}: misplaced {damage:?}");
                assert!(
                    (damage.from..damage.to).contains(&at),
                    "{place}: {damage:?}"
                );
            }
        }
    }
    clean(killed.path(), "restored");
}
