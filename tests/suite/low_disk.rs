//! Little space left on the disk: who is turned away and with what numbers, who goes on, and what
//! frees space.

use std::path::Path;
use std::sync::Arc;

use npayload::broker::config::ConfigChange;
use npayload::broker::{Broker, BrokerConfig, BrokerError, Looked, Refusal};
use npayload::storage::disk::{
    Disk, FailingDisk, Fault, MemoryDisk, OpenMode, Operation, RealDisk,
};
use npayload::storage::{OpenError, Outcome, Shortage, StageError};
use npayload::types::{ChannelName, Timestamp};
use serde_json::json;

use crate::broker_failures::{checked, commit};
use crate::process::wait_for;
use crate::raw::*;
use crate::storage_harness::{Harness, Mercy, Model, ROOT, log_id, small};

const KIB: u64 = 1024;
const MIN_FREE: u64 = 400 * KIB;
const RESERVE: u64 = 100 * KIB;

/// A broker driven from one thread, on a disk whose free space is set by hand.
struct Driven {
    broker: Broker,
    disk: FailingDisk,
    now: i64,
}

impl Driven {
    fn open() -> Self {
        let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
        let mut config = BrokerConfig {
            storage: npayload::storage::StorageConfig {
                min_free_bytes: MIN_FREE,
                reserve_bytes: RESERVE,
                ..small()
            },
            ..BrokerConfig::default()
        };
        config.defaults.segment_bytes = 8 * KIB;
        let mut seed = 1_u64;
        let random = Box::new(move || {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            seed
        });
        let (disk_of, root) = (Arc::new(disk.clone()), Path::new(ROOT));
        let broker = Broker::open(disk_of, root, config, "a test", Timestamp(1), random).unwrap();
        Self {
            broker,
            disk,
            now: 1,
        }
    }

    /// What the keeper does once a second.
    fn look(&mut self, available: u64) {
        self.disk.set_available(available);
        let available = self.disk.available(Path::new(ROOT)).unwrap();
        self.broker.book_free_bytes(Some(available));
    }

    /// Rounds and upkeep until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..20 {
            self.now += 2_000;
            let now = Timestamp(self.now);
            while let Some(round) = self.broker.plan_round(now) {
                self.broker.finish_round(round.run());
            }
            while let Some(job) = self.broker.plan_upkeep(now) {
                self.broker.finish_upkeep(job.run(), now);
                while let Some(round) = self.broker.plan_round(now) {
                    self.broker.finish_round(round.run());
                }
            }
        }
    }

    fn tick(&mut self) {
        for _ in 0..10 {
            let Looked::Unlisted(task) = self.broker.tick(Timestamp(self.now)) else {
                break;
            };
            self.broker.finish_load(task.run()).unwrap();
        }
        self.settle();
    }

    fn publish(&mut self, channel: &str, sizes: &[usize]) -> Result<(), Refusal> {
        self.now += 1;
        let (target, batch) = checked(channel, self.now.unsigned_abs(), sizes);
        let now = Timestamp(self.now);
        let accepted = self.broker.publish(&target, &mut Some(batch), now)?;
        let _ = accepted;
        Ok(())
    }

    fn commit(&mut self, channel: &str, offset: u64) -> Result<(), Refusal> {
        self.now += 1;
        let request = commit(channel, offset);
        let accepted = self.broker.commit(&request, Timestamp(self.now))?;
        self.settle();
        let outcome = self.broker.outcome(accepted.wait);
        assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
        Ok(())
    }

    fn files(&self, dir: &str) -> Vec<String> {
        let listed = self.disk.list(&Path::new(ROOT).join(dir)).unwrap();
        listed.into_iter().map(|entry| entry.name).collect()
    }
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

fn shortage(refused: Result<(), Refusal>) -> Shortage {
    match refused.unwrap_err().error {
        BrokerError::Stage(StageError::DiskFull(shortage)) => shortage,
        other => panic!("{other}"),
    }
}

#[test]
fn producers_are_turned_away_first_and_consumers_commit_down_to_the_reserve() {
    let mut driven = Driven::open();
    driven.look(1 << 30);
    driven.publish("a", &[500, 500]).unwrap();
    driven.settle();
    driven.look(MIN_FREE - 1);
    let told = shortage(driven.publish("a", &[1]));
    assert_eq!(
        (told.free, told.limit, told.reopens),
        (Some(MIN_FREE - 1), MIN_FREE, MIN_FREE + MIN_FREE / 4)
    );
    shortage(driven.publish("new", &[1]));
    assert!(
        driven.broker.channel_info(&name("new")).is_err(),
        "made for nothing"
    );
    driven.commit("a", 1).unwrap();
    driven.look(RESERVE - 1);
    let told = shortage(driven.commit("a", 2));
    assert_eq!((told.free, told.limit), (Some(RESERVE - 1), RESERVE));
    // Each is let in again a quarter above its mark.
    driven.look(RESERVE);
    shortage(driven.commit("a", 2));
    driven.look(RESERVE + RESERVE / 4);
    driven.commit("a", 2).unwrap();
    driven.look(MIN_FREE);
    shortage(driven.publish("a", &[1]));
    driven.look(MIN_FREE + MIN_FREE / 4);
    driven.publish("a", &[1]).unwrap();
}

#[test]
fn a_fast_producer_does_not_run_through_the_margin_between_two_looks() {
    let mut driven = Driven::open();
    driven.publish("a", &[10]).unwrap();
    driven.settle();
    driven.look(MIN_FREE + 50 * KIB);
    let mut staged = 0;
    let mut is_asked_for = false;
    loop {
        match driven.publish("a", &[900]) {
            Ok(()) => staged += 900,
            Err(refusal) if refusal.is_busy() => driven.settle(),
            refused => {
                let told = shortage(refused);
                assert!(
                    told.free.is_some_and(|free| free >= MIN_FREE - KIB),
                    "{told}"
                );
                break;
            }
        }
        is_asked_for |= driven.broker.storage().wants_look();
        assert!(staged < 60 * KIB, "{staged} bytes into 50 KiB");
    }
    assert!(staged > 40 * KIB, "turned away after {staged} bytes");
    assert!(is_asked_for, "no look was asked for on the way");
}

#[test]
fn deletion_and_retention_free_space_with_nothing_left() {
    let mut driven = Driven::open();
    driven.look(1 << 30);
    for channel in ["a", "b"] {
        for _ in 0..30 {
            driven.publish(channel, &[1_500]).unwrap();
            driven.settle();
        }
    }
    driven.commit("b", 7).unwrap();
    let segments = |driven: &Driven, channel: &str| {
        let info = driven.broker.channel_info(&name(channel)).unwrap();
        driven.files(&format!("channels/{}", info.value.incarnation))
    };
    let before = segments(&driven, "a").len();
    assert!(before > 12, "{before} files");
    driven.look(0);
    shortage(driven.publish("a", &[1]));
    let change = ConfigChange {
        retention_bytes: Some(Some(4 * KIB)),
        ..ConfigChange::default()
    };
    let now = Timestamp(driven.now);
    driven
        .broker
        .update_channel(&name("a"), &change, now)
        .unwrap();
    driven.settle();
    driven.tick();
    let after = segments(&driven, "a").len();
    assert!(after < before / 2, "{before} files, then {after}");
    let id = driven
        .broker
        .channel_info(&name("b"))
        .unwrap()
        .value
        .incarnation;
    let now = Timestamp(driven.now);
    driven.broker.delete_channel(&name("b"), None, now).unwrap();
    driven.settle();
    assert!(
        !driven.files("channels").contains(&id.to_string()),
        "its files are there"
    );
    driven.look(1 << 30);
    driven.publish("a", &[1]).unwrap();
}

#[test]
fn while_the_disk_does_not_tell_its_space_the_last_figure_counts_down() {
    let mut driven = Driven::open();
    driven.look(MIN_FREE + 10 * KIB);
    driven
        .disk
        .plan(Fault::new(Fault::IO).on(Operation::Available).and_later());
    assert!(driven.disk.available(Path::new(ROOT)).is_err());
    driven.broker.book_free_bytes(None);
    assert_eq!(driven.broker.storage().space().free, None);
    let mut taken = 0;
    while driven.publish("a", &[900]).is_ok() {
        taken += 1;
        assert!(taken < 20, "never turned away");
        driven.settle();
    }
    shortage(driven.publish("a", &[900]));
    assert!(driven.broker.storage().is_disk_full());
    driven.disk.heal();
    driven.look(1 << 30);
    driven.publish("a", &[900]).unwrap();
}

#[test]
fn the_ring_grows_only_where_writers_keep_their_space_and_gives_back_what_it_could_not_fill() {
    let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
    let config = npayload::storage::StorageConfig {
        min_free_bytes: MIN_FREE,
        ..small()
    };
    let open = Harness::open_with(Arc::new(disk.clone()), config, Model::default(), 1);
    let mut harness = open.unwrap();
    harness.create(0);
    let ring = |disk: &FailingDisk| {
        let files = disk.list(&Path::new(ROOT).join("journal")).unwrap();
        files.iter().map(|file| file.len).collect::<Vec<_>>()
    };
    let full = 32 * KIB;
    harness.upkeep();
    assert_eq!(ring(&disk), [full; 3], "what it can't do without");
    let fill = |harness: &mut Harness| {
        for _ in 0..60 {
            let _ = harness.append(&[(0, &[900, 900])]);
            harness.round();
            let now = Timestamp(harness.now);
            while let Some(job) = harness.storage.plan_upkeep(now) {
                harness.storage.finish_upkeep(job.run(), now);
            }
        }
    };
    harness.storage.book_free_bytes(MIN_FREE + full - 1);
    fill(&mut harness);
    assert_eq!(ring(&disk), [full; 3], "it grew into what writers need");
    let fourth = Fault::new(Fault::NO_SPACE).on(Operation::Write).at("0003");
    disk.plan(fourth.nth(1).after_writing(8_192).and_later());
    harness.storage.book_free_bytes(1 << 30);
    fill(&mut harness);
    assert!(disk.struck() > 0);
    assert_eq!(ring(&disk), [full, full, full, 0]);
    disk.heal();
    harness.now += 2_000;
    harness.storage.book_free_bytes(1 << 30);
    fill(&mut harness);
    assert_eq!(ring(&disk), [full; 4]);
    harness.flush();
    harness.check();
    assert!(harness.storage.log(log_id(0)).unwrap().refused().is_none());
}

/// Bytes of a journal file of [`small`].
const FILE: u64 = 32 * KIB;

/// A disk, and the harness's settings with both marks at the reserve.
fn with_reserve() -> (FailingDisk, npayload::storage::StorageConfig) {
    let config = npayload::storage::StorageConfig {
        min_free_bytes: RESERVE,
        reserve_bytes: RESERVE,
        ..small()
    };
    (FailingDisk::new(Arc::new(MemoryDisk::new())), config)
}

/// The lengths of the journal's files.
fn journal(disk: &FailingDisk) -> Vec<u64> {
    let files = disk.list(&Path::new(ROOT).join("journal")).unwrap();
    files.iter().map(|file| file.len).collect()
}

#[test]
fn a_journal_file_that_would_not_leave_the_reserve_is_not_begun_and_the_ring_goes_on_with_two() {
    let (disk, config) = with_reserve();
    let open = Harness::open_with(Arc::new(disk.clone()), config, Model::default(), 1);
    let mut harness = open.unwrap();
    for _ in 0..5 {
        harness.storage.book_free_bytes(RESERVE + FILE - 1);
        harness.upkeep();
        harness.now += 2_000;
    }
    assert_eq!(journal(&disk), [FILE], "the reserve does not stay");
    let shortage = harness.storage.shortage().expect("a ring of one file");
    let numbers = (shortage.free, shortage.limit);
    assert_eq!(numbers, (Some(RESERVE + FILE - 1), RESERVE + FILE));
    harness.storage.book_free_bytes(RESERVE + FILE);
    harness.upkeep();
    assert_eq!(journal(&disk), [FILE; 2], "what it takes is gone at once");
    assert!(harness.storage.shortage().is_none());
    harness.storage.book_free_bytes(RESERVE + FILE - 1);
    harness.create(0);
    // Many turns of a ring of two: each time a checkpoint frees the other one.
    for _ in 0..60 {
        harness.storage.book_free_bytes(RESERVE + FILE - 1);
        harness.append(&[(0, &[900, 900])]).unwrap();
        harness.round();
        harness.upkeep();
    }
    harness.flush();
    harness.check();
    assert_eq!(journal(&disk), [FILE; 2]);
    harness.storage.book_free_bytes(1 << 30);
    harness.upkeep();
    assert_eq!(journal(&disk), [FILE; 3]);
}

#[test]
fn a_new_directory_without_space_for_its_journal_is_refused_and_nothing_of_it_is_made() {
    let (disk, config) = with_reserve();
    let needs = 3 * FILE + RESERVE + KIB * KIB;
    let open = |disk: &FailingDisk| {
        Harness::open_with(Arc::new(disk.clone()), config.clone(), Model::default(), 1)
    };
    disk.set_available(needs - 1);
    match open(&disk).map(drop).unwrap_err() {
        OpenError::TooSmall { free, needed, .. } => assert_eq!((free, needed), (needs - 1, needs)),
        other => panic!("{other}"),
    }
    assert!(!disk.exists(Path::new(ROOT)).unwrap());
    // A start that was cut off has taken some of what the next one needs.
    disk.set_available(needs);
    disk.plan(
        Fault::new(Fault::NO_SPACE)
            .on(Operation::Write)
            .at("checkpoints"),
    );
    assert!(matches!(
        open(&disk).map(drop).unwrap_err(),
        OpenError::Io(_)
    ));
    disk.set_available(needs - FILE - 1);
    let refused = open(&disk).map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::TooSmall { .. }), "{refused}");
    disk.set_available(needs - FILE);
    let harness = open(&disk).unwrap();
    // A directory that is there is opened whatever is left.
    let model = harness.kill();
    disk.set_available(0);
    Harness::open_with(Arc::new(disk.clone()), config, model, 2).unwrap();
}

#[test]
fn a_journal_file_that_finds_no_space_at_the_first_start_gives_back_what_it_took() {
    let (disk, config) = with_reserve();
    let fault = Fault::new(Fault::NO_SPACE)
        .on(Operation::Write)
        .at("0000.journal");
    disk.plan(fault.after_writing(8_192));
    let open = |now| {
        Harness::open_with(
            Arc::new(disk.clone()),
            config.clone(),
            Model::default(),
            now,
        )
    };
    open(1).map(drop).unwrap_err();
    assert_eq!(journal(&disk), [0]);
    open(2).unwrap();
}

#[test]
fn a_journal_file_that_was_being_prepared_is_given_back_before_a_start_writes_and_not_made_by_it() {
    let (disk, config) = with_reserve();
    let open = |model, now| Harness::open_with(Arc::new(disk.clone()), config.clone(), model, now);
    let mut harness = open(Model::default(), 1).unwrap();
    harness.create(0);
    harness.append(&[(0, &[900, 900])]).unwrap();
    harness.flush();
    let (now, mut model) = (harness.now, harness.kill());
    assert_eq!(journal(&disk), [FILE; 3]);
    let path = Path::new(ROOT).join("journal/0003.journal");
    let write = |position, bytes: &[u8]| {
        let file = disk.open(&path, OpenMode::Create).unwrap();
        file.write_at(position, &[std::io::IoSlice::new(bytes)])
            .unwrap();
    };
    let full = || Fault::new(Fault::NO_SPACE).on(Operation::Write).and_later();
    // What holds anything at all is no file that was being prepared.
    for (last, left) in [(b"\0", 0), (b"x", 20_001)] {
        write(0, &[0; 20_000]);
        write(20_000, last);
        disk.plan(full());
        let refused = open(model.clone(), now + 1).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Io(_)), "{refused}");
        assert_eq!(journal(&disk)[3], left);
        disk.heal();
    }
    disk.plan(full().at("0003.journal"));
    for start in 2..4 {
        let mut harness = open(model, now + start).unwrap();
        harness.check_recovered(Mercy::Process);
        assert_eq!(journal(&disk), [FILE, FILE, FILE, 0]);
        model = harness.kill();
    }
}

#[test]
fn a_server_low_on_space_says_so_turns_producers_away_and_serves_consumers() {
    let disk = FailingDisk::new(Arc::new(RealDisk));
    let server = Server::start_on(Arc::new(disk.clone()), |options| {
        options.http = Some(([127, 0, 0, 1], 0).into());
    });
    let mut raw = server.client();
    raw.publish("a", &batch(&[b"first"])).published();
    let (status, body) = server.http("/healthz");
    assert_eq!(status, 200, "{body}");
    let limit = 64 * KIB * KIB;
    disk.set_available(limit - 1);
    wait_for("the look at the disk", || {
        (server.http("/healthz").0 == 503).then_some(())
    });
    let refused = raw.publish("a", &batch(&[b"second"]));
    refused.error("DISK_FULL");
    let refused = refused.json();
    assert_eq!(refused["retryable"], true);
    assert!(refused["retryAfterMs"].as_u64().unwrap() > 0, "{refused}");
    // What waits to be written to its segment is counted as taken.
    let left = refused["details"]["free"].as_u64().unwrap();
    assert!((limit - 100 * KIB..limit).contains(&left), "{refused}");
    assert_eq!(refused["details"]["limit"], limit);
    let text = refused["message"].as_str().unwrap();
    assert!(
        text.contains(&left.to_string()) && text.contains(&limit.to_string()),
        "{text}"
    );
    let health: serde_json::Value = serde_json::from_str(&server.http("/healthz").1).unwrap();
    assert_eq!(health["ok"], false);
    assert_eq!(health["diskFreeBytes"], limit - 1);
    assert_eq!(health["diskLimitBytes"], limit);
    let reason = health["writesRefused"].as_str().unwrap();
    assert!(
        reason.contains("bytes are left") && reason.contains(&limit.to_string()),
        "{reason}"
    );
    assert_eq!(server.metric("npayload_disk_full"), 1.0);
    assert_eq!(
        server.metric("npayload_disk_free_bytes"),
        (limit - 1) as f64
    );
    assert_eq!(server.metric("npayload_disk_limit_bytes"), limit as f64);
    // Consumers read and commit, and a channel is deleted.
    assert_eq!(raw.all("a"), [(0, b"first".to_vec())]);
    let commit = raw.request(COMMIT, &commit_body("a", "reader", 1, NONE));
    commit.of(COMMIT);
    raw.json(DELETE, &json!({"name": "a"})).of(DELETE);
    // Without the disk's word the last one counts.
    disk.plan(Fault::new(Fault::IO).on(Operation::Available).and_later());
    wait_for("a look that fails", || {
        server
            .metric("npayload_disk_free_bytes")
            .is_nan()
            .then_some(())
    });
    assert_eq!(server.http("/healthz").0, 503);
    disk.heal();
    disk.set_available(2 * limit);
    wait_for("writes to go on", || {
        (server.http("/healthz").0 == 200).then_some(())
    });
    raw.publish("b", &batch(&[b"third"])).published();
}

#[test]
fn health_names_the_errno_of_a_failed_journal_and_of_each_failed_channel() {
    let disk = FailingDisk::new(Arc::new(RealDisk));
    let server = Server::start_on(Arc::new(disk.clone()), |options| {
        options.http = Some(([127, 0, 0, 1], 0).into());
    });
    let mut raw = server.client();
    raw.publish("a", &batch(&[b"first"])).published();
    raw.publish("b", &batch(&[b"first"])).published();
    let info = raw.json(INFO, &json!({"name": "a"})).json();
    let id = info["id"].as_str().unwrap();
    disk.plan(Fault::new(Fault::IO).on(Operation::Write).at(id));
    // Large enough to go straight to the segment.
    let large = vec![7; 600_000];
    raw.publish("a", &batch(&[&large]))
        .error("CHANNEL_POISONED");
    let (status, body) = server.http("/healthz");
    let health: serde_json::Value = serde_json::from_str(&body).unwrap();
    assert_eq!((status, &health["ok"]), (503, &json!(false)));
    assert_eq!(health["refusingChannels"], 1);
    assert_eq!(health["refusals"][0]["channel"], "a");
    assert_eq!(health["refusals"][0]["errno"], 5);
    let info = raw.json(INFO, &json!({"name": "a"})).json();
    assert_eq!(info["errno"], 5);
    assert!(
        info["writesRefused"]
            .as_str()
            .unwrap()
            .contains("os error 5"),
        "{info}"
    );
    raw.publish("b", &batch(&[b"second"])).published();
    // The file that groups go to: those that are prepared beside it are synced too.
    disk.plan(Fault::new(Fault::IO).on(Operation::Sync).at("0000.journal"));
    raw.publish("b", &batch(&[b"third"]))
        .error("JOURNAL_FAILED");
    let health: serde_json::Value = serde_json::from_str(&server.http("/healthz").1).unwrap();
    assert_eq!(health["errno"], 5);
    assert!(
        health["writesRefused"]
            .as_str()
            .unwrap()
            .contains("os error 5"),
        "{health}"
    );
    let mut again = server.client();
    let info = again.json(64, &json!({})).json();
    // What changes by itself between two looks is left out.
    let lasting = |health: &serde_json::Value| {
        let mut health = health.clone();
        for field in ["diskFreeBytes", "scrub"] {
            health[field] = serde_json::Value::Null;
        }
        health
    };
    assert_eq!(lasting(&info["health"]), lasting(&health));
    assert_eq!(raw.all("b").len(), 2);
}
