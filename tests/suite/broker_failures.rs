//! The broker on a disk whose calls fail: who waits is told, and one channel holds up no other.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::BytesMut;
use npayload::broker::config::ConfigChange;
use npayload::broker::{
    Accepted, AtomicPublished, Broker, BrokerConfig, BrokerError, CheckedBatch, CommitRequest,
    Looked, Published, Refusal, Target, Wake,
};
use npayload::consumer::Expected;
use npayload::format::{DoorLimits, check_produced};
use npayload::storage::disk::{CrashingDisk, Disk, FailingDisk, Fault, Loss, OpenMode, Operation};
use npayload::storage::{CommitError, Outcome, StageError, StorageConfig};
use npayload::types::{
    ChannelName, ConsumerName, Durability, Incarnation, LogEpoch, Offset, Timestamp,
};

use crate::storage_harness::{ROOT, batch as batch_of_sizes, small};

/// A broker driven from one thread.
struct Driven {
    broker: Broker,
    below: CrashingDisk,
    disk: FailingDisk,
    now: i64,
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

/// A producer's batch, as the door lets it in.
pub fn let_in(bytes: BytesMut) -> CheckedBatch {
    let limits = DoorLimits {
        max_record_bytes: 1 << 20,
        lz4: true,
        zstd: true,
    };
    let header = check_produced(&bytes, &limits).expect("a batch");
    CheckedBatch { header, bytes }
}

/// A batch of records of these sizes as the door lets it in, and where it goes.
pub fn checked(channel: &str, seed: u64, sizes: &[usize]) -> (Target, CheckedBatch) {
    let batch = let_in(batch_of_sizes(seed, sizes));
    let target = Target {
        channel: name(channel),
        incarnation: None,
        expected: None,
        principal: 0,
    };
    (target, batch)
}

/// That `reader` stands at an offset.
pub fn commit(channel: &str, offset: u64) -> CommitRequest {
    CommitRequest {
        channel: name(channel),
        incarnation: None,
        consumer: ConsumerName::parse("reader").unwrap(),
        offset: Offset(offset),
        log_epoch: LogEpoch(0),
        expected: Expected::Any,
        metadata: String::new(),
    }
}

impl Driven {
    fn open(below: CrashingDisk, now: i64) -> Self {
        Self::open_with(below, now, |_| {})
    }

    fn open_with(below: CrashingDisk, now: i64, change: fn(&mut BrokerConfig)) -> Self {
        let disk = FailingDisk::new(Arc::new(below.clone()));
        let mut config = BrokerConfig {
            storage: StorageConfig {
                reserve_bytes: 0,
                ..small()
            },
            ..BrokerConfig::default()
        };
        config.defaults.segment_bytes = 8 * 1024;
        change(&mut config);
        let mut seed = now.unsigned_abs();
        let random = Box::new(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        });
        let (of, root) = (Arc::new(disk.clone()), Path::new(ROOT));
        let broker = Broker::open(of, root, config, "a test", Timestamp(now), random).unwrap();
        let mut driven = Self {
            broker,
            below,
            disk,
            now,
        };
        driven.settle();
        driven
    }

    /// As a killed broker is found, on a disk that works.
    fn reopen(self, loss: Loss) -> Self {
        let now = self.now + 1;
        Self::open(self.below.after(loss), now)
    }

    fn round(&mut self) {
        while let Some(round) = self.broker.plan_round(Timestamp(self.now)) {
            self.broker.finish_round(round.run());
        }
    }

    /// Rounds and upkeep until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..10 {
            self.now += 2_000;
            let now = Timestamp(self.now);
            self.round();
            while let Some(job) = self.broker.plan_upkeep(now) {
                self.broker.finish_upkeep(job.run(), now);
                self.round();
            }
        }
    }

    /// What the keeper does once a second.
    fn tick(&mut self) {
        for _ in 0..64 {
            let Looked::Unlisted(task) = self.broker.tick(Timestamp(self.now)) else {
                break;
            };
            let _ = self.broker.finish_load(task.run());
        }
        self.settle();
    }

    fn checked(&mut self, channel: &str, sizes: &[usize]) -> (Target, CheckedBatch) {
        self.now += 1;
        checked(channel, self.now.unsigned_abs(), sizes)
    }

    fn publish(&mut self, channel: &str, sizes: &[usize]) -> Result<Accepted<Published>, Refusal> {
        let (target, batch) = self.checked(channel, sizes);
        let now = Timestamp(self.now);
        self.broker.publish(&target, &mut Some(batch), now)
    }

    fn atomic(&mut self, parts: &[(&str, usize)]) -> Result<Accepted<AtomicPublished>, Refusal> {
        let parts = parts.iter().map(|(channel, size)| (*channel, [*size]));
        let mut batches: Vec<_> = parts
            .map(|(channel, sizes)| self.checked(channel, &sizes))
            .collect();
        self.broker
            .publish_atomic(&mut batches, &[], Timestamp(self.now))
    }

    fn commit(&mut self, channel: &str, offset: u64) {
        let request = commit(channel, offset);
        self.broker.commit(&request, Timestamp(self.now)).unwrap();
        self.settle();
    }

    fn id(&self, channel: &str) -> Option<Incarnation> {
        let info = self.broker.channel_info(&name(channel)).ok()?;
        Some(info.value.incarnation)
    }

    fn log_start(&self, channel: &str) -> u64 {
        let info = self.broker.channel_info(&name(channel)).unwrap();
        info.value.log_start.0
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(&self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn who_waits_is_woken_and_told_when_the_journal_fails_outside_of_a_round() {
    for is_checkpoint in [false, true] {
        let mut driven = Driven::open(CrashingDisk::new(), 1);
        driven.publish("a", &[10]).unwrap();
        driven.round();
        let fault = Fault::new(Fault::IO).on(Operation::Sync);
        driven.disk.plan(fault.at("recovery-point"));
        // Nothing is in flight: what waits, waits for the next round.
        let accepted = driven.publish("a", &[20]).unwrap();
        let waiter = Arc::new(Woken::default());
        driven.broker.wake_after_round(waiter.clone());
        let woken = if is_checkpoint {
            driven.round();
            driven.broker.wake_after_round(waiter.clone());
            driven.now += 100_000_000;
            let mut woken = Vec::new();
            for _ in 0..40 {
                let now = Timestamp(driven.now);
                match driven.broker.plan_upkeep(now) {
                    Some(job) => woken.extend(driven.broker.finish_upkeep(job.run(), now)),
                    None => driven.round(),
                }
                if driven.broker.storage().journal_failure().is_some() {
                    break;
                }
            }
            woken
        } else {
            let job = driven.broker.plan_point().unwrap();
            driven.broker.finish_point(job.run())
        };
        assert!(driven.broker.storage().journal_failure().is_some());
        woken.iter().for_each(|waiter| waiter.wake());
        assert!(waiter.0.load(Ordering::Relaxed), "nobody was woken");
        if !is_checkpoint {
            let outcome = driven.broker.outcome(accepted.wait);
            let is_told = matches!(outcome, Outcome::Failed(CommitError::Journal(_)));
            assert!(is_told, "{outcome:?}");
        }
        let refused = driven.publish("a", &[30]).unwrap_err().error;
        let is_refused = matches!(refused, BrokerError::Stage(StageError::JournalFailed(_)));
        assert!(is_refused, "{refused}");
    }
}

#[test]
fn an_answer_that_waits_for_a_sync_is_told_when_the_journal_fails() {
    let mut driven = Driven::open(CrashingDisk::new(), 1);
    let change = ConfigChange {
        durability: Some(Durability::Written),
        sync_interval_ms: Some(60_000),
        ..ConfigChange::default()
    };
    let now = Timestamp(driven.now);
    driven
        .broker
        .create_channel(name("a"), &change, false, now)
        .unwrap();
    driven.settle();
    driven.publish("a", &[10]).unwrap();
    driven.now += 1;
    driven.round();
    // Written and not synced; what waits for the sync waits for a round that will not come.
    let mut wait = driven.publish("a", &[10]).unwrap().wait;
    driven.round();
    wait.level = Durability::Synced;
    assert!(matches!(driven.broker.outcome(wait), Outcome::Pending));
    let fault = Fault::new(Fault::IO).on(Operation::Sync);
    driven.disk.plan(fault.at(".journal"));
    driven.publish("b", &[10]).unwrap();
    driven.round();
    let outcome = driven.broker.outcome(wait);
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
}

#[test]
fn a_channel_that_cannot_be_listed_holds_up_the_retention_of_no_other() {
    let mut driven = Driven::open(CrashingDisk::new(), 1);
    let names = ["a", "b", "c", "d"];
    let change = ConfigChange {
        retention_bytes: Some(Some(9_000)),
        ..ConfigChange::default()
    };
    for channel in names {
        let now = Timestamp(driven.now);
        driven
            .broker
            .create_channel(name(channel), &change, false, now)
            .unwrap();
        for _ in 0..8 {
            driven.publish(channel, &[2_500]).unwrap();
            driven.settle();
        }
    }
    // After a start, the older segments are known from a listing alone.
    let mut driven = driven.reopen(Loss::None);
    let first = names.map(|channel| driven.id(channel).unwrap());
    let first = first.iter().min().unwrap();
    let fault = Fault::new(Fault::IO).on(Operation::List);
    driven.disk.plan(fault.at(first.to_string()).and_later());
    for _ in 0..4 {
        driven.tick();
    }
    for channel in names {
        let is_trimmed = driven.log_start(channel) > 0;
        let is_first = driven.id(channel) == Some(*first);
        assert_ne!(is_trimmed, is_first, "{channel}");
    }
    driven.disk.heal();
    for _ in 0..4 {
        driven.tick();
    }
    assert!(names.iter().all(|channel| driven.log_start(channel) > 0));
}

#[test]
fn the_positions_of_a_deleted_channel_go_even_where_that_could_not_be_recorded_at_once() {
    let mut was_left = 0;
    for room in (200..1_200).step_by(60) {
        let mut driven = Driven::open(CrashingDisk::new(), 1);
        driven.publish("a", &[10]).unwrap();
        driven.publish("filler", &[10]).unwrap();
        driven.settle();
        driven.commit("a", 1);
        // The round has room for so much more: for the deletion, or for its event too.
        for size in [2_800, 2_800, 2_800, 3_200 - room] {
            driven.publish("filler", &[size]).unwrap();
        }
        let now = Timestamp(driven.now);
        let deleted = driven.broker.delete_channel(&name("a"), None, now);
        if deleted.is_err() {
            continue;
        }
        was_left += usize::from(driven.broker.stray_positions() > 0);
        driven.settle();
        driven.tick();
        assert_eq!(driven.broker.stray_positions(), 0, "left after a tick");
        let driven = driven.reopen(Loss::None);
        assert_eq!(driven.broker.stray_positions(), 0, "back after a start");
    }
    assert!(was_left > 0, "there was always room");
}

#[test]
fn a_crash_between_a_deletion_and_the_dropping_of_its_positions_leaves_none() {
    let mut driven = Driven::open(CrashingDisk::new(), 1);
    driven.publish("a", &[10]).unwrap();
    driven.publish("b", &[10]).unwrap();
    driven.settle();
    driven.commit("a", 1);
    driven.commit("b", 1);
    let topic = driven
        .broker
        .list_channels("__consumers", true, None, 1)
        .value;
    // A segment of the topic that failed refuses the event.
    let fault = Fault::new(Fault::IO).on(Operation::Sync).and_later();
    driven.disk.plan(fault.at(topic[0].incarnation.to_string()));
    driven.commit("b", 1);
    driven.settle();
    let now = Timestamp(driven.now);
    driven.broker.delete_channel(&name("a"), None, now).unwrap();
    driven.settle();
    assert_eq!(driven.broker.stray_positions(), 1, "nothing refused it");
    for loss in [Loss::None, Loss::All] {
        driven = driven.reopen(loss);
        assert_eq!(driven.broker.stray_positions(), 0);
        let consumer = ConsumerName::parse("reader").unwrap();
        let kept = driven.broker.position(&name("b"), &consumer).unwrap();
        assert_eq!(kept.value.position.offset, Offset(1));
    }
}

#[test]
fn positions_that_are_not_known_are_not_folded_over_those_that_are_stored() {
    let mut driven = Driven::open(CrashingDisk::new(), 1);
    driven.publish("a", &[10]).unwrap();
    driven.settle();
    driven.commit("a", 0);
    driven.commit("a", 1);
    let topic = driven.broker.list_channels("__consumers", true, None, 1);
    let dir = Path::new(ROOT).join("channels");
    let dir = dir.join(topic.value[0].incarnation.to_string());
    let path = dir.join(format!("{:020}.log", 0));
    let flip = |disk: &CrashingDisk| {
        let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        let at = bytes.iter().rposition(|byte| *byte == b'}').unwrap();
        let byte = [bytes[at - 1] ^ 1];
        file.write_at(at as u64 - 1, &[std::io::IoSlice::new(&byte)])
            .unwrap();
        file.sync_data().unwrap();
    };
    let consumer = ConsumerName::parse("reader").unwrap();
    let disk = driven.below.after(Loss::None);
    flip(&disk);
    let mut driven = Driven::open_with(disk, driven.now + 1, |config| config.fold_events = 0);
    for _ in 0..4 {
        driven.publish("a", &[10]).unwrap();
        driven.tick();
        let unknown = driven.broker.position(&name("a"), &consumer);
        assert!(matches!(unknown, Err(BrokerError::UnknownPositions(_))));
    }
    let disk = driven.below.after(Loss::None);
    flip(&disk);
    let driven = Driven::open(disk, driven.now + 1);
    let kept = driven.broker.position(&name("a"), &consumer).unwrap();
    assert_eq!(kept.value.position.offset, Offset(1));
}

#[test]
fn an_atomic_publish_that_is_refused_leaves_no_channel_behind() {
    let mut driven = Driven::open(CrashingDisk::new(), 1);
    driven.publish("sick", &[10]).unwrap();
    driven.settle();
    let id = driven.id("sick").unwrap();
    let fault = Fault::new(Fault::IO).on(Operation::Sync).and_later();
    driven.disk.plan(fault.at(id.to_string()));
    driven.publish("sick", &[10]).unwrap();
    driven.settle();
    // Refused for another channel, for its size, and for want of room in the round.
    let refused = driven.atomic(&[("new", 10), ("sick", 10)]).unwrap_err();
    let is_refused = matches!(
        refused.error,
        BrokerError::Stage(StageError::Refused { .. })
    );
    assert!(is_refused, "{}", refused.error);
    assert_eq!(driven.id("new"), None);
    driven
        .atomic(&[("new", 4_000), ("newer", 4_100)])
        .unwrap_err();
    assert_eq!((driven.id("new"), driven.id("newer")), (None, None));
    for _ in 0..4 {
        let _ = driven.publish("other", &[2_600]);
    }
    let busy = driven.atomic(&[("new", 3_000), ("newer", 3_000)]);
    assert!(busy.unwrap_err().is_busy());
    let busy = driven.publish("newest", &[2_600]).unwrap_err();
    assert!(busy.is_busy());
    assert_eq!((driven.id("new"), driven.id("newest")), (None, None));
    driven.settle();
    let mut driven = driven.reopen(Loss::None);
    assert_eq!((driven.id("new"), driven.id("newest")), (None, None));
    // And one that is taken makes all of them, or none where a power cut takes it.
    let staged = driven.atomic(&[("new", 30), ("newer", 30), ("new", 40)]);
    assert_eq!(staged.unwrap().value.published[2].first, Offset(1));
    let cut = Driven::open(driven.below.after(Loss::All), driven.now + 1);
    assert_eq!((cut.id("new"), cut.id("newer")), (None, None));
    driven.settle();
    let driven = driven.reopen(Loss::All);
    for (channel, end) in [("new", 2), ("newer", 1)] {
        let info = driven.broker.channel_info(&name(channel)).unwrap();
        assert_eq!(info.value.log_end, Offset(end), "{channel}");
    }
}
