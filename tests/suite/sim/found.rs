//! Bugs that runs of the simulation have found, each by itself and in as few steps as it takes.

use std::path::Path;
use std::sync::Arc;

use npayload::broker::config::{ChannelConfig, ConfigChange};
use npayload::broker::{
    Broker, BrokerConfig, BrokerError, CheckedBatch, CommitRequest, Fetch, FetchFrom, FetchJob,
    FetchStep, Fetched, Looked, Target, Wait,
};
use npayload::consumer::Expected;
use npayload::format::{BatchBuilder, Compression, NewRecord, check_produced};
use npayload::storage::disk::{CrashingDisk, FailingDisk, Fault, Loss, Operation};
use npayload::storage::{Outcome, ReadError, StorageConfig};
use npayload::types::{ChannelName, ConsumerName, LogEpoch, Offset, Timestamp};

/// A broker with small limits, and its disk.
struct Small {
    broker: Broker,
    disk: CrashingDisk,
    failing: FailingDisk,
    now: i64,
}

fn name() -> ChannelName {
    ChannelName::parse("orders").unwrap()
}

impl Small {
    fn open(disk: CrashingDisk, now: i64) -> Self {
        Self::open_with(disk, now, StorageConfig::default().always_direct_bytes)
    }

    fn open_with(disk: CrashingDisk, now: i64, always_direct_bytes: u64) -> Self {
        let failing = FailingDisk::new(Arc::new(disk.clone()));
        let config = BrokerConfig {
            storage: StorageConfig {
                journal_file_bytes: 32 * 1024,
                direct_bytes: 3 * 1024,
                always_direct_bytes,
                min_free_bytes: 1000,
                ..StorageConfig::default()
            },
            defaults: ChannelConfig {
                segment_bytes: 4096,
                ..ChannelConfig::default()
            },
            fold_events: 10,
            ..BrokerConfig::default()
        };
        let mut random = now as u64;
        let random = Box::new(move || {
            random += 1;
            random
        });
        let path = Path::new("/data");
        let disk_of = Arc::new(failing.clone());
        let broker = Broker::open(disk_of, path, config, "test", Timestamp(now), random).unwrap();
        Self {
            broker,
            disk,
            failing,
            now,
        }
    }

    /// What a killed process leaves to the next.
    fn restart(self) -> Self {
        Self::open(self.disk.after(Loss::None), self.now + 1000)
    }

    /// Appends a batch of one record.
    fn publish(&mut self, bytes: usize) -> Wait {
        let mut builder = BatchBuilder::new(Compression::None);
        let payload = vec![7; bytes];
        let record = NewRecord {
            payload: Some(&payload),
            ..NewRecord::default()
        };
        builder.push(&record).unwrap();
        let bytes = builder.build().unwrap();
        let header = check_produced(&bytes, &self.broker.door(&name()).unwrap()).unwrap();
        let target = Target {
            channel: name(),
            incarnation: None,
            expected: None,
            principal: 0,
        };
        let mut batch = Some(CheckedBatch { header, bytes });
        let now = Timestamp(self.now);
        let accepted = self.broker.publish(&target, &mut batch, now).unwrap();
        accepted.wait
    }

    fn is_done(&self, wait: Wait) -> bool {
        matches!(self.broker.outcome(wait), Outcome::Done)
    }

    /// Rounds and upkeep until there is nothing left to do, a checkpoint included.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.now += 2_000;
            let now = Timestamp(self.now);
            while let Some(round) = self.broker.plan_round(now) {
                self.broker.finish_round(round.run());
            }
            while let Some(job) = self.broker.plan_upkeep(now) {
                self.broker.finish_upkeep(job.run(), now);
            }
        }
    }

    fn retain(&mut self, bytes: u64) {
        let change = ConfigChange {
            retention_bytes: Some(Some(bytes)),
            ..ConfigChange::default()
        };
        let now = Timestamp(self.now);
        self.broker.update_channel(&name(), &change, now).unwrap();
        while let Looked::Unlisted(task) = self.broker.tick(now) {
            self.broker.finish_load(task.run()).unwrap();
        }
        self.settle();
    }

    /// A fetch up to the job that reads a segment.
    fn begin(&mut self, from: FetchFrom) -> (Fetch, FetchJob) {
        let mut fetch = Fetch::new(name(), None, from, LogEpoch(0), 4096).for_socket();
        loop {
            match self.broker.fetch_step(&mut fetch).unwrap() {
                FetchStep::Run(job @ (FetchJob::Read(_) | FetchJob::Time(_))) => {
                    return (fetch, job);
                }
                FetchStep::Run(job) => self.broker.feed_fetch(&mut fetch, job.run()).unwrap(),
                FetchStep::Done(_) => panic!("nothing is read from a segment"),
            }
        }
    }

    fn end(&mut self, (mut fetch, mut job): (Fetch, FetchJob)) -> Result<Fetched, BrokerError> {
        loop {
            self.broker.feed_fetch(&mut fetch, job.run())?;
            match self.broker.fetch_step(&mut fetch)? {
                FetchStep::Run(next) => job = next,
                FetchStep::Done(fetched) => return Ok(fetched),
            }
        }
    }
}

/// Eight records in a segment each, all on disk, and nothing in memory.
fn eight_segments() -> Small {
    let mut small = Small::open(CrashingDisk::new(), 1_000);
    for _ in 0..8 {
        small.publish(3_500);
        small.settle();
    }
    small.restart()
}

/// A reader's segment went while the read was under way, and the reader was told of damage.
#[test]
fn a_reader_that_retention_overtakes_is_told_where_the_log_starts_now() {
    let mut small = eight_segments();
    let (start, second, time) = (
        small.begin(FetchFrom::Start),
        small.begin(FetchFrom::Offset(Offset(1))),
        small.begin(FetchFrom::Time(Timestamp(0))),
    );
    small.retain(8_000);
    let fetched = small.end(start).unwrap();
    assert!(fetched.head.from > Offset(1), "{:?}", fetched.head);
    assert_eq!(fetched.head.from, fetched.head.log_start);
    assert!(fetched.slices.bytes > 0);
    let refused = small.end(second).unwrap_err();
    assert!(
        matches!(&refused, BrokerError::Read(ReadError::OutOfRange { available, .. })
            if available.start == fetched.head.from),
        "{refused}"
    );
    let found = small.end(time).unwrap();
    assert_eq!(found.head.from, fetched.head.from);
}

/// Segments that were begun in memory alone stayed with a log whose segment had failed, and the
/// next question for a consumer's lag brought the broker down.
#[test]
fn a_consumer_of_a_failed_channel_is_still_told_its_lag() {
    let mut small = Small::open(CrashingDisk::new(), 1_000);
    small.publish(100);
    small.settle();
    let consumer = ConsumerName::parse("billing").unwrap();
    let commit = CommitRequest {
        channel: name(),
        incarnation: None,
        consumer: consumer.clone(),
        offset: Offset(0),
        log_epoch: LogEpoch(0),
        expected: Expected::Any,
        metadata: String::new(),
    };
    small.broker.commit(&commit, Timestamp(small.now)).unwrap();
    small.settle();
    let channels = Fault::new(Fault::IO).on(Operation::Write).at("channels");
    small.failing.plan(channels);
    // The first fails, and the segments of the others are never begun.
    let waits: Vec<Wait> = (0..4).map(|_| small.publish(3_500)).collect();
    small.settle();
    assert_eq!(small.failing.struck(), 1);
    for wait in waits {
        assert!(matches!(small.broker.outcome(wait), Outcome::Failed(_)));
    }
    let lag = small.broker.position(&name(), &consumer).unwrap().value;
    assert_eq!(lag.lag_records, 1);
}

/// A full disk that let no recovery point be written closed the broker to writers until a restart.
#[test]
fn a_recovery_point_without_space_is_written_another_time() {
    let mut small = Small::open(CrashingDisk::new(), 1_000);
    small.publish(100);
    small.settle();
    let wait = small.publish(100);
    let round = small.broker.plan_round(Timestamp(small.now)).unwrap();
    small.broker.finish_round(round.run());
    assert!(small.is_done(wait));
    let full = Fault::new(Fault::NO_SPACE).on(Operation::Write);
    small.failing.plan(full.at("recovery-point").and_later());
    let job = small.broker.plan_point().unwrap();
    small.broker.finish_point(job.run());
    // A checkpoint ends with one, too.
    small.settle();
    assert!(small.failing.struck() >= 2);
    assert!(small.broker.storage().journal_failure().is_none());
    small.failing.heal();
    small.broker.book_free_bytes(Some(1 << 30));
    let wait = small.publish(100);
    small.settle();
    assert!(small.is_done(wait), "there is space again");
    assert!(
        small.broker.plan_point().is_none(),
        "and the point is written"
    );
}

/// Segments that were begun in memory alone let retention take the last one that a failed channel
/// had, and the next start called that damage.
#[test]
fn retention_leaves_a_failed_channel_its_last_segment() {
    let mut small = Small::open(CrashingDisk::new(), 1_000);
    for _ in 0..3 {
        small.publish(3_500);
        small.settle();
    }
    let channels = Fault::new(Fault::IO).on(Operation::Write).at("channels");
    small.failing.plan(channels);
    for _ in 0..4 {
        small.publish(3_500);
    }
    small.settle();
    assert_eq!(small.failing.struck(), 1);
    small.retain(1);
    let mut small = small.restart();
    assert_eq!(small.broker.storage().recovery_report().damage, []);
    let fetched = small.begin(FetchFrom::Start);
    let fetched = small.end(fetched).unwrap();
    assert_eq!(fetched.head.from, Offset(2));
    assert!(fetched.slices.bytes > 0);
    let wait = small.publish(100);
    small.settle();
    assert!(small.is_done(wait));
}

impl Small {
    fn create(&mut self, name: ChannelName) {
        let now = Timestamp(self.now);
        let change = ConfigChange::default();
        let created = self.broker.create_channel(name, &change, false, now);
        created.unwrap();
    }

    fn rounds(&mut self) {
        while let Some(round) = self.broker.plan_round(Timestamp(self.now)) {
            self.broker.finish_round(round.run());
        }
    }
}

/// The records of new channels went straight to the directory's segment where there were many of
/// them. When that failed, what was published to the channels was acknowledged all the same, and the
/// next start knew no such channels.
#[test]
fn nothing_is_acknowledged_of_a_channel_that_is_not_on_the_record() {
    let many = StorageConfig::default().always_direct_bytes;
    // The records have room in the journal, or what they are folded to has none.
    for (always_direct_bytes, is_huge) in [(many, false), (2_000, true)] {
        let mut small = Small::open_with(CrashingDisk::new(), 1_000, always_direct_bytes);
        small.settle();
        for n in 0..20 {
            small.create(ChannelName::parse(&format!("others.{n}")).unwrap());
            if is_huge {
                small.settle();
            }
        }
        if is_huge {
            for n in 1..150 {
                let change = ConfigChange {
                    retention_bytes: Some(Some(n)),
                    ..ConfigChange::default()
                };
                let (first, now) = (ChannelName::parse("others.0").unwrap(), small.now);
                let updated = small.broker.update_channel(&first, &change, Timestamp(now));
                updated.unwrap();
                small.settle();
            }
        }
        let directory = small.broker.storage().directory_id().to_string();
        let fault = Fault::new(Fault::IO).on(Operation::Write);
        small.failing.plan(fault.at(directory));
        small.create(name());
        let wait = small.publish(100);
        if is_huge {
            let looked = small.broker.tick(Timestamp(small.now));
            assert!(!matches!(looked, Looked::Unlisted(_)));
        }
        small.rounds();
        assert_eq!(small.failing.struck(), u64::from(is_huge));
        assert_eq!(small.is_done(wait), !is_huge);
        assert_eq!(small.broker.storage().journal_failure().is_some(), is_huge);
        let mut small = small.restart();
        let found = small.broker.identity_of(&name());
        assert_eq!(found.is_some(), !is_huge, "what was acknowledged is there");
        if found.is_some() {
            let fetched = small.begin(FetchFrom::Start);
            assert!(small.end(fetched).unwrap().slices.bytes > 0);
        }
    }
}
