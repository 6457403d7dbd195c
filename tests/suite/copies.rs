//! Copies of channels that live elsewhere: the same bytes at the same offsets, whatever happens.

use std::path::Path;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use npayload::broker::config::ChannelConfig;
use npayload::broker::{
    Broker, BrokerConfig, BrokerError, BrokerOpenError, CheckedBatch, CopiedBatch, Fetch,
    FetchStep, NewCopy, Place, Published, Refusal, Target,
};
use npayload::format::{BatchBuilder, BatchHeader, Compression, NewRecord};
use npayload::storage::disk::{CrashingDisk, Disk, Loss};
use npayload::storage::{Outcome, StageError, StorageConfig};
use npayload::types::{
    ChannelName, Incarnation, LogEpoch, Offset, ProducerId, RegionName, Timestamp,
};

use crate::broker_failures::let_in;
use crate::storage_harness::{CHECKPOINT_MS, ROOT, small};

/// A broker driven from one thread.
pub struct Driven {
    pub broker: Broker,
    pub disk: CrashingDisk,
    pub now: i64,
    region: Option<RegionName>,
}

pub fn name() -> ChannelName {
    ChannelName::parse("ml.models").unwrap()
}

impl Driven {
    fn open(disk: CrashingDisk, now: i64) -> Option<Self> {
        Self::open_as(disk, now, None)
    }

    /// Opens it as a region.
    pub fn open_as(disk: CrashingDisk, now: i64, region: Option<&str>) -> Option<Self> {
        Self::try_open(disk, now, region).ok()
    }

    pub fn try_open(
        disk: CrashingDisk,
        now: i64,
        region: Option<&str>,
    ) -> Result<Self, BrokerOpenError> {
        let region = region.map(|region| RegionName::parse(region).unwrap());
        let mut config = BrokerConfig {
            region: region.clone(),
            storage: StorageConfig {
                reserve_bytes: 0,
                ..small()
            },
            ..BrokerConfig::default()
        };
        config.defaults.segment_bytes = 8 * 1024;
        let mut seed = now.unsigned_abs();
        let random = Box::new(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        });
        let of: Arc<dyn Disk> = Arc::new(disk.clone());
        let broker = Broker::open(
            of,
            Path::new(ROOT),
            config,
            "a test",
            Timestamp(now),
            random,
        );
        Ok(Self {
            broker: broker?,
            disk,
            now,
            region,
        })
    }

    pub fn reopen(self, loss: Loss) -> Self {
        let now = self.now + 1;
        let region = self.region.as_ref().map(RegionName::as_str);
        Self::open_as(self.disk.after(loss), now, region).expect("a disk that works opens")
    }

    fn round(&mut self) {
        while let Some(round) = self.broker.plan_round(Timestamp(self.now)) {
            let (end, failed) = (round.run(), self.disk.is_crashed());
            self.broker.finish_round(end);
            if failed {
                return;
            }
        }
    }

    pub fn settle(&mut self) {
        for _ in 0..4 {
            self.now += 2_000;
            let now = Timestamp(self.now);
            self.round();
            while let Some(job) = self.broker.plan_upkeep(now) {
                self.broker.finish_upkeep(job.run(), now);
                self.round();
                if self.disk.is_crashed() {
                    return;
                }
            }
        }
    }

    fn publish(&mut self, sequence: u64, sizes: &[usize]) {
        let mut batch = Some(Self::built(sequence, sizes));
        loop {
            match self.try_publish(&mut batch) {
                Ok(_) => return,
                Err(refusal) => assert!(refusal.is_busy(), "{:?}", refusal.error),
            }
            self.settle();
        }
    }

    /// A batch of one producer from a sequence on.
    pub fn built(sequence: u64, sizes: &[usize]) -> CheckedBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        for size in sizes {
            let payload = vec![u8::try_from(sequence % 251).unwrap(); *size];
            let record = NewRecord {
                payload: Some(&payload),
                ..NewRecord::default()
            };
            builder.push(&record).unwrap();
        }
        builder.producer(ProducerId(77), 1, sequence).fence(3);
        let_in(builder.build().unwrap())
    }

    pub fn try_publish(&mut self, batch: &mut Option<CheckedBatch>) -> Result<Published, Refusal> {
        self.now += 1;
        let target = Target {
            channel: name(),
            incarnation: None,
            expected: None,
            principal: 9,
        };
        let now = Timestamp(self.now);
        let accepted = self.broker.publish(&target, batch, now);
        accepted.map(|accepted| accepted.value)
    }

    /// All stored batches from `from` on.
    pub fn batches(&mut self, from: Offset) -> Vec<Bytes> {
        self.batches_of(&name(), from)
    }

    /// As [`Driven::batches`], of another log.
    pub fn batches_of(&mut self, of: &ChannelName, from: Offset) -> Vec<Bytes> {
        let mut found = Vec::new();
        let mut at = from;
        loop {
            let mut fetch = Fetch::new(of.clone(), None, Place::Offset(at), LogEpoch(0), 1 << 20);
            let fetched = loop {
                match self.broker.fetch_step(&mut fetch).expect("readable") {
                    FetchStep::Done(fetched) => break fetched,
                    FetchStep::Run(job) => {
                        let end = job.run();
                        self.broker.feed_fetch(&mut fetch, end).expect("readable");
                    }
                }
            };
            if fetched.slices.parts.is_empty() {
                return found;
            }
            at = fetched.slices.next;
            for mut part in fetched.slices.parts {
                while !part.is_empty() {
                    let len = BatchHeader::peek(&part).unwrap().len();
                    found.push(part.split_to(len));
                }
            }
        }
    }

    pub fn id(&self) -> Option<Incarnation> {
        self.broker.identity_of(&name())
    }

    pub fn begin_copy(&mut self, id: Incarnation, begins_at: Offset) {
        let config = ChannelConfig {
            segment_bytes: 8 * 1024,
            ..ChannelConfig::default()
        };
        let new = NewCopy {
            name: name(),
            incarnation: id,
            config,
            home: RegionName::parse("us-east").unwrap(),
            begins_at,
            from_start: false,
            types: None,
        };
        self.broker.create_copy(new, Timestamp(self.now)).unwrap();
    }

    /// Appends batches to a copy, each in a round of its own.
    fn take(&mut self, batches: &[Bytes], id: Incarnation) {
        for bytes in batches {
            let mut batch = Some(CopiedBatch::check(BytesMut::from(&bytes[..])).unwrap());
            let now = Timestamp(self.now);
            self.broker.append_copied(id, &mut batch, now).unwrap();
            self.round();
        }
        self.round();
    }

    /// Appends what a copy lacks of these batches, as far as its disk goes; gives the offset below
    /// which all was acknowledged as synced.
    pub fn pull(&mut self, home: &[Bytes], id: Incarnation) -> Offset {
        let mut sure = Offset(0);
        let mut waits = Vec::new();
        for (n, bytes) in home.iter().enumerate() {
            let mut batch = Some(CopiedBatch::check(BytesMut::from(&bytes[..])).unwrap());
            self.now += 1;
            let appended = loop {
                let now = Timestamp(self.now);
                match self.broker.append_copied(id, &mut batch, now) {
                    Ok(appended) => break appended,
                    Err(refusal) if refusal.is_busy() => self.settle(),
                    Err(_) if self.disk.is_crashed() => return sure,
                    Err(refusal) => panic!("{:?}", refusal.error),
                }
                if self.disk.is_crashed() {
                    return sure;
                }
            };
            waits.push(appended);
            match n % 5 {
                1 | 3 => self.round(),
                4 => {
                    self.now += CHECKPOINT_MS;
                    self.settle();
                }
                _ => {}
            }
            if self.disk.is_crashed() {
                break;
            }
        }
        if !self.disk.is_crashed() {
            self.settle();
        }
        for wait in waits {
            if matches!(self.broker.outcome(wait.wait), Outcome::Done) {
                sure = sure.max(wait.value);
            }
        }
        sure
    }
}

/// Batches that fill several segments: the payloads of each.
pub const SIZES: [&[usize]; 12] = [
    &[40, 10],
    &[700],
    &[2_000, 1_500],
    &[30],
    &[5_000],
    &[200; 3],
    &[9_000],
    &[1_200],
    &[60],
    &[3_500],
    &[40; 7],
    &[800],
];

/// A home of many kinds of batches, small ones, large ones that pass the journal by, and of two
/// starts: with two log epochs.
fn home() -> (Driven, Vec<Bytes>) {
    let mut home = Driven::open(CrashingDisk::new(), 1).unwrap();
    let mut sequence = 0;
    for part in 0..2 {
        for sizes in SIZES {
            home.publish(sequence, sizes);
            sequence += sizes.len() as u64;
        }
        home.settle();
        if part == 0 {
            home = home.reopen(Loss::None);
        }
    }
    home.settle();
    let batches = home.batches(Offset(0));
    assert_eq!(batches.len(), 2 * SIZES.len());
    (home, batches)
}

#[test]
fn a_copy_is_its_home_byte_for_byte_and_knows_what_its_home_knows() {
    let (home, batches) = home();
    let id = home.id().unwrap();
    // A copy that was started more often than its home: epochs are its home's all the same.
    let mut copy = Driven::open(CrashingDisk::new(), 5).unwrap();
    for _ in 0..4 {
        copy = copy.reopen(Loss::None);
    }
    copy.begin_copy(id, Offset(0));
    copy.pull(&batches, id);
    assert_eq!(copy.batches(Offset(0)), batches);
    assert_eq!(copy.broker.fence_of(&name()), 3);
    let mut copy = copy.reopen(Loss::All);
    assert_eq!(copy.batches(Offset(0)), batches);
    assert_eq!(copy.broker.fence_of(&name()), 3);
    // What was sent again changes nothing.
    copy.pull(&batches, id);
    assert_eq!(copy.batches(Offset(0)), batches);
    let place = copy.broker.copy_place(id).unwrap();
    let last = BatchHeader::peek(batches.last().unwrap()).unwrap();
    assert_eq!(
        (place.next, place.flushed),
        (last.end_offset(), last.end_offset())
    );
    assert_eq!(place.last_epoch, last.log_epoch());
}

#[test]
fn a_copy_takes_nothing_but_the_next_batch_of_its_home() {
    let (home, batches) = home();
    let id = home.id().unwrap();
    let mut copy = Driven::open(CrashingDisk::new(), 5).unwrap();
    copy.begin_copy(id, Offset(0));
    let checked = |bytes: &Bytes| Some(CopiedBatch::check(BytesMut::from(&bytes[..])).unwrap());
    let now = Timestamp(copy.now);
    let skipped = copy
        .broker
        .append_copied(id, &mut checked(&batches[1]), now);
    assert!(matches!(
        skipped.unwrap_err().error,
        BrokerError::NotCopied { .. }
    ));
    // One bit anywhere.
    for at in [5, 40, 60, 130] {
        let mut bytes = BytesMut::from(&batches[0][..]);
        bytes[at] ^= 1;
        assert!(CopiedBatch::check(bytes).is_err(), "byte {at}");
    }
    // Of a later epoch first, then of an earlier one.
    copy.pull(&batches[..1], id);
    let mut later = BytesMut::from(&batches[1][..]);
    restamp(&mut later, |header| header.log_epoch.0 += 9);
    let (mut later, now) = (checked(&later.freeze()), Timestamp(copy.now));
    copy.broker.append_copied(id, &mut later, now).unwrap();
    let refused = copy
        .broker
        .append_copied(id, &mut checked(&batches[2]), now);
    let error = refused.unwrap_err().error;
    assert!(
        matches!(error, BrokerError::Stage(StageError::EpochFell { .. })),
        "{error}"
    );
    let mut earlier = BytesMut::from(&batches[2][..]);
    restamp(&mut earlier, |stamp| {
        stamp.log_epoch.0 += 9;
        stamp.append_time.0 = 0;
    });
    let refused = copy
        .broker
        .append_copied(id, &mut checked(&earlier.freeze()), now);
    let error = refused.unwrap_err().error;
    assert!(
        matches!(error, BrokerError::Stage(StageError::TimeFell { .. })),
        "{error}"
    );
    // Writers here are sent to its home.
    let target = Target {
        channel: name(),
        incarnation: None,
        expected: None,
        principal: 0,
    };
    let produced = produced();
    let refused = copy.broker.publish(&target, &mut Some(produced), now);
    assert!(matches!(
        refused.unwrap_err().error,
        BrokerError::LivesElsewhere { .. }
    ));
}

/// Stamps a stored batch anew.
fn restamp(bytes: &mut BytesMut, change: impl FnOnce(&mut npayload::format::Stamp)) {
    let header = BatchHeader::peek(bytes).unwrap();
    let mut stamp = npayload::format::Stamp {
        incarnation: header.incarnation(),
        base_offset: header.base_offset(),
        append_time: header.append_time(),
        log_epoch: header.log_epoch(),
        principal: header.principal(),
    };
    change(&mut stamp);
    npayload::format::stamp(bytes, &stamp);
}

fn produced() -> CheckedBatch {
    let_in(crate::storage_harness::batch(1, &[10]))
}

#[test]
fn a_copy_may_begin_in_the_middle_and_begins_there_after_any_restart() {
    let (home, batches) = home();
    let id = home.id().unwrap();
    let first = BatchHeader::peek(&batches[5]).unwrap().base_offset();
    for pulls in [false, true] {
        let mut copy = Driven::open(CrashingDisk::new(), 5).unwrap();
        copy.begin_copy(id, first);
        copy.settle();
        let mut copy = copy.reopen(Loss::All);
        assert_eq!(copy.broker.copy_place(id).unwrap().next, first);
        if pulls {
            copy.pull(&batches[5..9], id);
            // Without a checkpoint since, and with the last round in the journal alone.
            copy = copy.reopen(Loss::All);
            assert_eq!(copy.batches(first), batches[5..9]);
        }
        copy.pull(&batches[5..], id);
        assert_eq!(copy.batches(first), batches[5..]);
        let mut copy = copy.reopen(Loss::All);
        assert_eq!(copy.batches(first), batches[5..]);
        assert_eq!(copy.broker.storage().recovery_report().damage, []);
    }
}

/// The journal still has batches of a copy that was removed when it is begun anew, with the same
/// identity: none of them belongs to it.
#[test]
fn a_copy_that_is_begun_anew_has_nothing_of_the_one_before() {
    let (home, batches) = home();
    let id = home.id().unwrap();
    let base = |n: usize| BatchHeader::peek(&batches[n]).unwrap().base_offset();
    for (taken, again) in [(8, 3..6), (3, 0..7), (6, 5..6), (7, 2..2), (9, 11..13)] {
        for loss in [Loss::None, Loss::All] {
            let mut copy = Driven::open_as(CrashingDisk::new(), 5, Some("eu-west")).unwrap();
            copy.settle();
            copy.begin_copy(id, Offset(0));
            copy.take(&batches[..taken], id);
            let now = Timestamp(copy.now);
            copy.broker.purge_copy(&name(), now).unwrap();
            // No time passes in which a checkpoint would be due.
            copy.round();
            while let Some(job) = copy.broker.plan_upkeep(now) {
                copy.broker.finish_upkeep(job.run(), now);
                copy.round();
            }
            let first = base(again.start);
            copy.begin_copy(id, first);
            copy.take(&batches[again.clone()], id);
            let mut copy = copy.reopen(loss);
            assert_eq!(copy.broker.storage().recovery_report().damage, []);
            let place = copy.broker.copy_place(id).unwrap();
            assert_eq!(place.next, base(again.end), "{taken} {again:?}");
            assert_eq!(copy.batches(first), batches[again.clone()]);
            copy.pull(&batches[again.end..], id);
            assert_eq!(copy.batches(first), batches[again.start..]);
        }
    }
}

#[test]
fn a_crash_at_any_call_leaves_a_copy_that_goes_on_to_its_homes_bytes() {
    let (home, batches) = home();
    let id = home.id().unwrap();
    let begin = |disk: &CrashingDisk| {
        let mut copy = Driven::open(disk.clone(), 5)?;
        copy.begin_copy(id, Offset(0));
        copy.settle();
        Some(copy)
    };
    let whole = CrashingDisk::new();
    let mut copy = begin(&whole).unwrap();
    let calls_before = whole.calls();
    copy.pull(&batches, id);
    let calls = whole.calls();
    assert!(calls - calls_before > 100, "{calls_before}..{calls}");
    for call in calls_before..calls {
        let disk = CrashingDisk::new();
        let mut copy = begin(&disk).unwrap();
        if call % 2 == 0 {
            disk.crash_during(call);
        } else {
            disk.crash_after(call);
        }
        let sure = copy.pull(&batches, id);
        let loss = match call % 3 {
            0 => Loss::All,
            1 => Loss::None,
            _ => Loss::Random(call),
        };
        let mut copy = copy.reopen(loss);
        let report = copy.broker.storage().recovery_report();
        assert_eq!(report.damage, [], "call {call}, {loss:?}");
        let place = copy.broker.copy_place(id).unwrap();
        assert!(place.next >= sure, "call {call}: {} of {sure}", place.next);
        let found = copy.batches(Offset(0));
        assert_eq!(found, batches[..found.len()], "call {call}, {loss:?}");
        copy.pull(&batches, id);
        assert_eq!(copy.batches(Offset(0)), batches, "call {call}, {loss:?}");
        assert_eq!(copy.broker.fence_of(&name()), 3, "call {call}");
    }
}
