//! What an answer waits for, and what a broker knows again after a crash: driven from one thread,
//! so that every moment between a command and its round can be looked at.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use npayload::broker::config::{ChannelConfig, ConfigChange};
use npayload::broker::{
    Accepted, Broker, BrokerConfig, BrokerError, CheckedBatch, CommitRequest, Fetch, FetchStep,
    Fetched, Looked, Place, Published, Refusal, Target, Wait, Wake,
};
use npayload::format::{
    BatchBuilder, Compression, DoorLimits, GroupHeader, NewRecord, check_produced,
};
use npayload::storage::disk::{CrashingDisk, Disk, Loss, OpenMode};
use npayload::storage::{Outcome, StageError, Upkeep};
use npayload::types::{
    ChannelName, ConsumerName, Durability, Incarnation, LogEpoch, Offset, ProducerId, Timestamp,
};

use crate::broker_failures::commit;
use crate::storage_harness::{ROOT, small};

const DOOR: DoorLimits = DoorLimits {
    max_record_bytes: 1 << 20,
    lz4: true,
    zstd: true,
};

/// Who writes a batch.
#[derive(Clone, Copy, Default)]
struct Writer {
    producer: u128,
    epoch: u32,
    sequence: u64,
    fence: u64,
}

impl Writer {
    fn producer(producer: u128, sequence: u64) -> Self {
        Self {
            producer,
            sequence,
            ..Self::default()
        }
    }

    fn fence(fence: u64) -> Self {
        Self {
            fence,
            ..Self::default()
        }
    }

    fn batch(self, size: usize) -> CheckedBatch {
        let mut builder = BatchBuilder::new(Compression::None);
        let payload = vec![7; size];
        let record = NewRecord {
            payload: Some(&payload),
            ..NewRecord::default()
        };
        builder.push(&record).unwrap();
        builder.producer(ProducerId(self.producer), self.epoch, self.sequence);
        builder.fence(self.fence);
        let bytes = builder.build().unwrap();
        let header = check_produced(&bytes, &DOOR).unwrap();
        CheckedBatch { header, bytes }
    }
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn target(name: &str, expected: Option<u64>) -> Target {
    Target {
        channel: channel(name),
        incarnation: None,
        expected: expected.map(Offset),
        principal: 0,
    }
}

/// A broker without threads, on a disk that forgets what was not synced.
struct Desk {
    disk: CrashingDisk,
    broker: Broker,
    now: i64,
}

impl Desk {
    fn new() -> Self {
        Self::open(CrashingDisk::new(), 1_000)
    }

    fn open(disk: CrashingDisk, now: i64) -> Self {
        let config = BrokerConfig {
            storage: small(),
            defaults: ChannelConfig {
                retention_days: None,
                ..ChannelConfig::default()
            },
            ..BrokerConfig::default()
        };
        let mut seed = now.unsigned_abs();
        let random = move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        };
        let at = Timestamp(now);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let broker = Broker::open(
            shared,
            Path::new(ROOT),
            config,
            "a test",
            at,
            Box::new(random),
        )
        .unwrap();
        let mut desk = Self { disk, broker, now };
        desk.round();
        desk
    }

    /// What a power cut leaves, opened.
    fn after_power_cut(&self) -> Self {
        Self::open(self.disk.after(Loss::All), self.now + 1)
    }

    fn at(&self) -> Timestamp {
        Timestamp(self.now)
    }

    fn create(&mut self, name: &str, change: &str) -> Incarnation {
        let change: ConfigChange = serde_json::from_str(change).unwrap();
        let at = self.at();
        self.broker
            .create_channel(channel(name), &change, false, at)
            .unwrap();
        self.round();
        self.id(name)
    }

    fn id(&self, name: &str) -> Incarnation {
        let info = self.broker.channel_info(&channel(name));
        info.unwrap().value.incarnation
    }

    fn publish(&mut self, target: &Target, writer: Writer) -> Result<Accepted<Published>, Refusal> {
        self.publish_sized(target, writer, 20)
    }

    fn publish_sized(
        &mut self,
        target: &Target,
        writer: Writer,
        size: usize,
    ) -> Result<Accepted<Published>, Refusal> {
        let at = self.at();
        self.broker
            .publish(target, &mut Some(writer.batch(size)), at)
    }

    /// One round, if there is work for one.
    fn round(&mut self) -> bool {
        let Some(round) = self.broker.plan_round(self.at()) else {
            return false;
        };
        for waiter in self.broker.finish_round(round.run()).wake {
            waiter.wake();
        }
        true
    }

    /// All upkeep that is due. Says whether files were removed.
    fn upkeep(&mut self) -> bool {
        let mut has_removed = false;
        while let Some(upkeep) = self.broker.plan_upkeep(self.at()) {
            has_removed |= matches!(upkeep, Upkeep::Remove(_));
            let at = self.at();
            self.broker.finish_upkeep(upkeep.run(), at);
        }
        has_removed
    }

    /// Rounds and upkeep until neither has work, a checkpoint with them.
    fn checkpoint(&mut self) {
        self.now += crate::storage_harness::CHECKPOINT_MS;
        for _ in 0..10 {
            self.upkeep();
            self.round();
        }
    }

    fn is_pending(&self, wait: Wait) -> bool {
        matches!(self.broker.outcome(wait), Outcome::Pending)
    }

    fn is_done(&self, wait: Wait) -> bool {
        matches!(self.broker.outcome(wait), Outcome::Done)
    }

    fn fetch(&mut self, name: &str, from: Place) -> Result<Fetched, BrokerError> {
        let mut fetch = Fetch::new(channel(name), None, from, LogEpoch(0), 1 << 20);
        loop {
            match self.broker.fetch_step(&mut fetch)? {
                FetchStep::Done(fetched) => return Ok(fetched),
                FetchStep::Run(job) => self.broker.feed_fetch(&mut fetch, job.run())?,
            }
        }
    }

    /// Reads a channel from its log start to its end; gives both.
    fn read_all(&mut self, name: &str) -> (u64, u64) {
        let head = self.fetch(name, Place::Start).unwrap().head;
        let mut from = head.log_start;
        while from < head.high_watermark {
            let fetched = self.fetch(name, Place::Offset(from)).unwrap();
            assert!(fetched.slices.next > from, "no progress at {from}");
            from = fetched.slices.next;
        }
        (head.log_start.0, from.0)
    }

    fn commit(&mut self, name: &str, offset: u64) -> Result<Accepted<Offset>, Refusal> {
        self.commit_as("reader", name, offset)
    }

    fn commit_as(
        &mut self,
        consumer: &str,
        name: &str,
        offset: u64,
    ) -> Result<Accepted<Offset>, Refusal> {
        let request = CommitRequest {
            consumer: ConsumerName::parse(consumer).unwrap(),
            ..commit(name, offset)
        };
        let at = self.at();
        self.broker.commit(&request, at)
    }

    fn position(&self, name: &str) -> u64 {
        let consumer = ConsumerName::parse("reader").unwrap();
        let info = self.broker.position(&channel(name), &consumer);
        info.unwrap().value.position.offset.0
    }
}

/// Unwraps a refusal.
fn refused<T>(result: Result<T, Refusal>) -> Refusal {
    match result {
        Ok(_) => panic!("taken"),
        Err(refusal) => refusal,
    }
}

#[test]
fn a_retry_is_answered_once_its_first_try_is_durable() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    let first = desk.publish(&target("a", None), Writer::producer(9, 0));
    let first = first.unwrap();
    let retry = desk.publish(&target("a", None), Writer::producer(9, 0));
    let retry = retry.unwrap();
    assert!(retry.value.is_duplicate);
    assert_eq!(retry.value.first, first.value.first);
    assert!(desk.is_pending(first.wait), "answered before a round");
    assert!(desk.is_pending(retry.wait), "the retry tells of an append");
    desk.round();
    assert!(desk.is_done(first.wait) && desk.is_done(retry.wait));
}

#[test]
fn a_retried_atomic_publish_is_answered_once_its_first_try_is_durable() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    desk.create("b", "{}");
    let parts = || {
        let part = |name| (target(name, None), Writer::producer(9, 0).batch(20));
        vec![part("a"), part("b")]
    };
    let at = desk.at();
    let first = desk.broker.publish_atomic(&mut parts(), &[], at).unwrap();
    let retry = desk.broker.publish_atomic(&mut parts(), &[], at).unwrap();
    assert!(retry.value.published.iter().all(|part| part.is_duplicate));
    assert!(desk.is_pending(first.wait) && desk.is_pending(retry.wait));
    desk.round();
    assert!(desk.is_done(first.wait) && desk.is_done(retry.wait));
}

#[test]
fn an_atomic_publish_of_which_a_part_was_appended_before_is_refused_whole() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    desk.create("b", "{}");
    desk.publish(&target("a", None), Writer::producer(9, 0))
        .unwrap();
    let part = |name| (target(name, None), Writer::producer(9, 0).batch(20));
    let at = desk.at();
    let mut parts = vec![part("a"), part("b")];
    let refusal = refused(desk.broker.publish_atomic(&mut parts, &[], at));
    assert!(matches!(refusal.error, BrokerError::Atomic { .. }));
    desk.round();
    assert_eq!((desk.read_all("a"), desk.read_all("b")), ((0, 1), (0, 0)));
}

#[test]
fn a_retry_waits_for_the_level_that_it_names() {
    let mut desk = Desk::new();
    desk.create("a", r#"{"durability":"written"}"#);
    let first = desk.publish(&target("a", None), Writer::producer(9, 0));
    let first = first.unwrap();
    desk.round();
    assert!(desk.is_done(first.wait));
    assert_eq!(first.value.level, Durability::Written);
    let change = serde_json::from_str(r#"{"durability":"synced"}"#).unwrap();
    let at = desk.at();
    desk.broker
        .update_channel(&channel("a"), &change, at)
        .unwrap();
    let retry = desk.publish(&target("a", None), Writer::producer(9, 0));
    let retry = retry.unwrap();
    assert_eq!(retry.value.level, Durability::Synced);
    assert!(desk.is_pending(retry.wait), "no sync has covered it yet");
    desk.round();
    assert!(desk.is_done(retry.wait));
}

#[test]
fn a_refusal_that_tells_the_logs_end_waits_for_what_it_tells() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    desk.publish(&target("a", Some(0)), Writer::default())
        .unwrap();
    // Nothing is flushed yet, and still only one of two writers may have offset 0.
    let refusal = refused(desk.publish(&target("a", Some(0)), Writer::default()));
    assert!(
        matches!(
            refusal.error,
            BrokerError::Stage(StageError::WrongOffset { actual, .. }) if actual == Offset(1)
        ),
        "{}",
        refusal.error
    );
    let wait = refusal.wait.expect("it tells of an unsynced append");
    assert!(desk.is_pending(wait));
    // So does one that tells of a fence, and one that tells of a gap.
    desk.publish(&target("a", None), Writer::fence(5)).unwrap();
    let refusal = refused(desk.publish(&target("a", None), Writer::fence(4)));
    assert!(desk.is_pending(refusal.wait.expect("it tells of a fence")));
    desk.round();
    assert!(desk.is_done(wait));
}

#[test]
fn nobody_reads_or_commits_what_no_sync_has_covered() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    desk.publish(&target("a", None), Writer::default()).unwrap();
    let look = |desk: &mut Desk| {
        let head = desk.fetch("a", Place::Start).unwrap().head;
        assert_eq!(head.high_watermark, Offset(0));
        let beyond = desk.fetch("a", Place::Offset(Offset(1)));
        assert!(beyond.is_err(), "an offset that no reader may know");
        assert!(desk.commit("a", 1).is_err(), "a position ahead of the log");
        let info = desk.broker.channel_info(&channel("a")).unwrap().value;
        assert_eq!((info.log_end, info.flushed), (Offset(0), Offset(0)));
    };
    look(&mut desk);
    // Written, synced, and not yet booked: still nobody was told.
    let round = desk.broker.plan_round(desk.at()).unwrap();
    look(&mut desk);
    let end = round.run();
    look(&mut desk);
    desk.broker.finish_round(end);
    assert_eq!(desk.read_all("a"), (0, 1));
    desk.commit("a", 1).unwrap();
}

#[derive(Default)]
struct Counter(AtomicU32);

impl Wake for Counter {
    fn wake(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_flush_wakes_those_who_wait_for_the_log_and_no_others() {
    let mut desk = Desk::new();
    let ids = [desk.create("a", "{}"), desk.create("b", "{}")];
    let waiters = [Arc::new(Counter::default()), Arc::new(Counter::default())];
    for (id, waiter) in ids.iter().zip(&waiters) {
        desk.broker.wake_on_append(*id, waiter.clone());
    }
    desk.publish(&target("a", None), Writer::default()).unwrap();
    desk.round();
    let woken = waiters.map(|waiter| waiter.0.load(Ordering::Relaxed));
    assert_eq!(woken, [1, 0]);
}

#[test]
fn a_written_channel_names_its_level_and_is_synced_when_its_interval_is_over() {
    let mut desk = Desk::new();
    let id = desk.create("a", r#"{"durability":"written","syncIntervalMs":100}"#);
    let first = desk.publish(&target("a", None), Writer::default()).unwrap();
    assert_eq!(first.value.level, Durability::Written);
    desk.round();
    assert!(desk.is_done(first.wait));
    let flushed = |desk: &Desk| desk.broker.storage().log(id).unwrap().flushed();
    assert_eq!(flushed(&desk), Offset(0));
    desk.now += 99;
    assert!(!desk.round(), "a sync before its time");
    desk.now += 1;
    assert!(desk.round(), "no sync when it is due");
    assert_eq!(flushed(&desk), Offset(1));
}

#[test]
fn append_times_never_fall_when_the_clock_is_set_back() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    let times = [500, -900, 100].map(|change| {
        desk.now += change;
        let taken = desk.publish(&target("a", None), Writer::default()).unwrap();
        desk.round();
        taken.value.append_time
    });
    assert_eq!(times[1], times[0], "a batch is older than the one before");
    assert!(times.is_sorted());
}

#[test]
fn a_deletion_touches_no_file_before_it_is_on_the_record() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    desk.publish(&target("a", None), Writer::default()).unwrap();
    desk.round();
    desk.checkpoint();
    let at = desk.at();
    let deleted = desk.broker.delete_channel(&channel("a"), None, at).unwrap();
    assert!(!desk.upkeep(), "files went before the record");
    assert!(desk.is_pending(deleted.wait));
    assert_eq!(desk.after_power_cut().read_all("a"), (0, 1));
    desk.round();
    assert!(desk.is_done(deleted.wait));
    assert!(desk.upkeep(), "the files stay");
    let after = desk.after_power_cut();
    assert!(
        after.broker.channel_info(&channel("a")).is_err(),
        "it is back"
    );
}

#[test]
fn retention_touches_no_file_before_the_log_start_is_on_the_record() {
    let mut desk = Desk::new();
    desk.create("a", r#"{"segmentBytes":1048576,"retentionBytes":1}"#);
    for _ in 0..3 {
        for _ in 0..80 {
            let taken = desk.publish_sized(&target("a", None), Writer::default(), 7_000);
            taken.unwrap();
            desk.round();
            desk.upkeep();
        }
    }
    desk.checkpoint();
    let before = desk.read_all("a");
    assert_eq!(before, (0, 240));
    let at = desk.at();
    while let Looked::Unlisted(task) = desk.broker.tick(at) {
        desk.broker.finish_load(task.run()).unwrap();
    }
    assert!(!desk.upkeep(), "files went before the record");
    assert_eq!(
        desk.read_all("a").0,
        0,
        "the log start moved before the record"
    );
    assert_eq!(desk.after_power_cut().read_all("a"), before);
    desk.round();
    assert!(desk.upkeep(), "the files stay");
    let (start, end) = desk.read_all("a");
    assert!(start > 0 && end == 240, "{start} to {end}");
    assert_eq!(desk.after_power_cut().read_all("a"), (start, end));
}

#[test]
fn retries_and_fences_are_known_again_after_a_crash() {
    // All of it only in the journal; some of it in a checkpoint; all of it in a checkpoint; and
    // once more through the checkpoint that a start takes.
    for checkpoint_after in [None, Some(0), Some(1)] {
        let mut desk = Desk::new();
        desk.create("a", "{}");
        for n in 0..2u64 {
            let writer = Writer {
                producer: 9,
                epoch: 3,
                sequence: n,
                fence: 5 + n,
            };
            desk.publish(&target("a", None), writer).unwrap();
            desk.round();
            if checkpoint_after == Some(n) {
                desk.checkpoint();
            }
        }
        for opening in 0..2 {
            desk = desk.after_power_cut();
            let story = format!("checkpoint after {checkpoint_after:?}, opening {opening}");
            for n in 0..2u64 {
                let writer = Writer {
                    producer: 9,
                    epoch: 3,
                    sequence: n,
                    fence: 5 + n,
                };
                let retry = desk.publish(&target("a", None), writer);
                let retry = retry.unwrap_or_else(|e| panic!("{story}: {}", e.error));
                assert!(retry.value.is_duplicate, "{story}: appended twice");
                assert_eq!(retry.value.first, Offset(n), "{story}");
            }
            let fenced = desk.publish(&target("a", None), Writer::fence(5));
            assert!(fenced.is_err(), "{story}: a fenced-off writer is let in");
            let former = Writer {
                producer: 9,
                epoch: 2,
                sequence: 2,
                fence: 6,
            };
            let former = desk.publish(&target("a", None), former);
            assert!(
                former.is_err(),
                "{story}: a producer's former self is let in"
            );
        }
    }
}

/// Positions of the groups in the first journal file, with their numbers.
fn groups(disk: &CrashingDisk) -> Vec<(u64, GroupHeader)> {
    let path = Path::new(ROOT).join("journal/0000.journal");
    let file = disk.open(&path, OpenMode::Read).unwrap();
    let mut block = [0; 4096];
    let mut found = Vec::new();
    for at in (4096..file.len().unwrap()).step_by(4096) {
        file.read_at(at, &mut block).unwrap();
        found.extend(GroupHeader::decode(&block).ok().map(|header| (at, header)));
    }
    found
}

#[test]
fn a_position_beyond_the_end_of_a_shortened_log_is_moved_there() {
    let mut desk = Desk::new();
    desk.create("a", r#"{"durability":"written"}"#);
    for size in [20, 12_000] {
        let target = target("a", None);
        desk.publish_sized(&target, Writer::default(), size)
            .unwrap();
        desk.round();
    }
    // The large run was written past the journal: the next start reads it again, and the disk has
    // lost it, although the sync before the commit covered it.
    desk.commit("a", 2).unwrap();
    desk.round();
    assert_eq!(desk.position("a"), 2);
    let dir = Path::new(ROOT)
        .join("channels")
        .join(desk.id("a").to_string());
    let path = dir.join(format!("{:020}.log", 0));
    let disk = desk.disk.after(Loss::All);
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    let len = file.len().unwrap();
    file.write_at(len - 4096, &[std::io::IoSlice::new(&[0; 4096])])
        .unwrap();
    file.sync_data().unwrap();
    drop(file);
    let desk = Desk::open(disk, desk.now + 1);
    let end = desk.broker.storage().log(desk.id("a")).unwrap().end();
    assert_eq!(end, Offset(1));
    assert_eq!(
        desk.position("a"),
        1,
        "a reader would wait for other records"
    );
    assert_eq!(desk.after_power_cut().position("a"), 1);
}

#[test]
fn where_a_commit_may_be_lost_at_the_end_of_its_topic_no_position_passes_for_the_last() {
    let mut desk = Desk::new();
    desk.create("a", "{}");
    for _ in 0..2 {
        desk.publish(&target("a", None), Writer::default()).unwrap();
        desk.round();
    }
    let lost = groups(&desk.disk).last().unwrap().0;
    desk.commit("a", 2).unwrap();
    desk.round();
    assert_eq!(desk.position("a"), 2);
    // The group that holds offset 1 is lost to damage; the commit behind it is not.
    let disk = desk.disk.after(Loss::All);
    let path = Path::new(ROOT).join("journal/0000.journal");
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_at(lost, &[std::io::IoSlice::new(&[0xEE; 64])])
        .unwrap();
    file.sync_data().unwrap();
    drop(file);
    let desk = Desk::open(disk, desk.now + 1);
    assert!(!desk.broker.storage().recovery_report().damage.is_empty());
    let end = desk.broker.storage().log(desk.id("a")).unwrap().end();
    assert_eq!(end, Offset(1));
    // Nobody knows whose the damaged groups were.
    let reader = ConsumerName::parse("reader").unwrap();
    let unknown = desk.broker.position(&channel("a"), &reader);
    assert!(matches!(unknown, Err(BrokerError::UnknownPositions(_))));
}

/// Who stands where, in pieces: what is done between two of them is `meanwhile`'s.
fn consumers_in_pieces(
    desk: &mut Desk,
    of: Option<&ChannelName>,
    most: usize,
    mut meanwhile: impl FnMut(&mut Desk),
) -> Vec<String> {
    let (mut found, mut from) = (Vec::new(), None);
    loop {
        let piece = desk.broker.consumers_from(of, from.as_ref(), most);
        let piece = piece.unwrap().value;
        assert!(piece.rows.len() <= most, "{}", piece.rows.len());
        let rows = piece.rows.iter();
        found.extend(rows.map(|info| format!("{} {}", info.channel, info.consumer)));
        let Some(next) = piece.next else { break };
        from = Some(next);
        meanwhile(desk);
    }
    found
}

#[test]
fn where_consumers_stand_is_told_in_pieces_that_are_the_whole_whatever_moves_meanwhile() {
    let mut desk = Desk::new();
    for name in ["a", "b", "c", "d", "e", "f"] {
        desk.create(name, "{}");
        desk.publish(&target(name, None), Writer::default())
            .unwrap();
        desk.checkpoint();
    }
    for (name, consumer) in [("b", "x"), ("b", "y"), ("b", "z"), ("d", "m"), ("f", "n")] {
        desk.commit_as(consumer, name, 1).unwrap();
        desk.checkpoint();
    }
    let expected = ["b x", "b y", "b z", "d m", "f n"];
    for most in 1..30 {
        let whole = consumers_in_pieces(&mut desk, None, most, |_| {});
        assert_eq!(whole, expected, "{most} at once");
        let of_one = consumers_in_pieces(&mut desk, Some(&channel("b")), most, |_| {});
        assert_eq!(of_one, expected[..3], "{most} at once");
    }
    // A piece is bounded by what is looked at, also where nothing is found.
    let piece = desk.broker.consumers_from(None, None, 1).unwrap().value;
    assert!(piece.rows.is_empty() && piece.next.is_some(), "{piece:?}");
    for most in 1..6 {
        let mut round = 0;
        let moving = consumers_in_pieces(&mut desk, None, most, |desk| {
            round += 1;
            for (name, consumer) in [("a", "new"), ("b", "xx"), ("c", "new"), ("e", "new")] {
                let consumer = ConsumerName::parse(consumer).unwrap();
                let (name, at) = (channel(name), desk.at());
                // There in every other round.
                match round % 2 {
                    1 => drop(desk.commit_as(consumer.as_str(), name.as_str(), 0)),
                    _ => drop(desk.broker.delete_consumer(&name, consumer, at)),
                }
                desk.checkpoint();
            }
        });
        let stayed: Vec<&String> = moving
            .iter()
            .filter(|row| expected.contains(&row.as_str()))
            .collect();
        assert_eq!(stayed, expected, "{most} at once: {moving:?}");
        let mut once = moving.clone();
        once.dedup();
        assert_eq!(once, moving, "{most} at once");
        assert!(moving.is_sorted(), "{moving:?}");
    }
}
