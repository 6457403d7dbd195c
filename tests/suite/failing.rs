//! A disk whose calls fail: what fails with them, and what goes on.

#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

use std::path::Path;
use std::sync::Arc;

use npayload::storage::disk::{CrashingDisk, Disk, FailingDisk, Fault, Loss, Operation};
use npayload::storage::{CommitError, EntryId, Outcome, StageError, StorageConfig};
use npayload::types::{Durability, Timestamp};

use crate::storage_harness::{Harness, Mercy, Model, ROOT, log_dir, log_id, small};

/// Three logs with a few records each, on a disk that works so far.
fn start() -> (CrashingDisk, FailingDisk, Harness) {
    start_with(small())
}

fn start_with(config: StorageConfig) -> (CrashingDisk, FailingDisk, Harness) {
    let disk = CrashingDisk::new();
    let failing = FailingDisk::new(Arc::new(disk.clone()));
    let on = Arc::new(failing.clone());
    let mut harness = Harness::open_with(on, config, Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    for n in 0..3 {
        harness.append(&[(n, &[100, 200])]).unwrap();
    }
    harness.flush();
    harness.check();
    (disk, failing, harness)
}

fn reopen(disk: &CrashingDisk, harness: Harness, loss: Loss, mercy: Mercy) -> Harness {
    let now = harness.now + 1;
    let mut model = harness.kill();
    model.forget_waiting();
    let mut harness = Harness::open(Arc::new(disk.after(loss)), model, now).unwrap();
    harness.check_recovered(mercy);
    harness
}

#[test]
fn after_a_failed_journal_nothing_is_acknowledged_and_reads_go_on() {
    for operation in [Operation::Write, Operation::Sync] {
        let (disk, failing, mut harness) = start();
        failing.plan(Fault::new(Fault::IO).on(operation).at(".journal"));
        let lost = harness.append(&[(0, &[50])]).unwrap();
        harness.round();
        let syncs = failing.count(Operation::Sync);
        assert!(harness.is_broken());
        let outcome = harness.storage.outcome(lost, Durability::Synced);
        assert!(
            matches!(outcome, Outcome::Failed(CommitError::Journal(_))),
            "{outcome:?}"
        );
        for _ in 0..3 {
            let refused = harness.append(&[(1, &[50])]).unwrap_err();
            assert!(matches!(refused, StageError::JournalFailed(_)), "{refused}");
            harness.round();
            harness.checkpoint();
        }
        // What was flushed before may be written behind, but no journal is synced again.
        assert!(!harness.storage.has_round(Timestamp(harness.now)));
        assert_eq!(
            failing.count(Operation::Sync),
            syncs,
            "a failed sync was tried again"
        );
        harness.check();
        // The device had the write, or not: either way what was acknowledged is there.
        for loss in [Loss::All, Loss::None, Loss::Random(3)] {
            let now = harness.now + 1;
            let mut model = harness.model.clone();
            model.forget_waiting();
            let mut after = Harness::open(Arc::new(disk.after(loss)), model, now).unwrap();
            after.check_recovered(Mercy::Power);
        }
    }
}

#[test]
fn a_failed_segment_closes_its_log_and_no_other() {
    let segments = log_id(1).to_string();
    // A direct run, write behind, and the sync of a checkpoint.
    for (operation, size) in [
        (Operation::Write, 5_000),
        (Operation::Sync, 5_000),
        (Operation::Write, 2_500),
        (Operation::Sync, 2_500),
        (Operation::Open, 2_500),
    ] {
        let (disk, failing, mut harness) = start();
        failing.plan(Fault::new(Fault::IO).on(operation).at(&segments));
        harness.append(&[(1, &[size])]).unwrap();
        harness.append(&[(0, &[30])]).unwrap();
        harness.flush();
        harness.checkpoint();
        assert_eq!(failing.struck(), 1, "{operation:?} of {size}");
        let refused = harness.append(&[(1, &[5])]).unwrap_err();
        assert!(
            matches!(refused, StageError::Refused { log, .. } if log == log_id(1)),
            "{refused}"
        );
        let (writes, syncs) = (
            failing.count(Operation::Write),
            failing.count(Operation::Sync),
        );
        assert!(writes > 0 && syncs > 0);
        harness.check();
        for _ in 0..6 {
            harness.append(&[(0, &[300]), (2, &[200])]).unwrap();
            harness.flush();
            harness.checkpoint();
            harness.check();
        }
        assert!(!harness.is_broken());
        for loss in [Loss::None, Loss::All, Loss::Random(9)] {
            let mercy = if loss == Loss::None {
                Mercy::Process
            } else {
                Mercy::Power
            };
            let now = harness.now + 1;
            let model = harness.model.clone();
            let mut after = Harness::open(Arc::new(disk.after(loss)), model, now).unwrap();
            after.check_recovered(mercy);
            after.append(&[(1, &[6])]).unwrap();
            after.flush();
            after.check();
        }
    }
}

#[test]
fn a_failed_sync_of_a_segment_is_never_tried_again() {
    let segments = log_id(1).to_string();
    let (_, failing, mut harness) = start();
    failing.plan(Fault::new(Fault::IO).on(Operation::Sync).at(&segments));
    harness.append(&[(1, &[5_000])]).unwrap();
    harness.round();
    assert_eq!(failing.struck(), 1);
    // From now on a sync of that log would be struck again.
    failing.plan(
        Fault::new(Fault::IO)
            .on(Operation::Sync)
            .at(&segments)
            .and_later(),
    );
    for _ in 0..4 {
        harness.append(&[(0, &[30])]).unwrap();
        harness.flush();
        harness.checkpoint();
    }
    assert_eq!(failing.struck(), 1, "the sync was tried again");
}

/// The system tells of a failed sync once, and whoever syncs the folder next is told that all is well.
#[test]
fn a_failed_sync_of_the_folder_of_all_logs_closes_those_that_are_new_in_it_and_no_other() {
    let (disk, failing, mut harness) = start();
    harness.checkpoint();
    harness.create(3);
    harness.create(4);
    // It is written behind, and no checkpoint follows.
    harness.append(&[(3, &[2_500])]).unwrap();
    harness.flush();
    assert!(disk.exists(&log_dir(3)).unwrap());
    assert!(!disk.after(Loss::All).exists(&log_dir(3)).unwrap());
    let fault = Fault::new(Fault::IO).on(Operation::SyncDir);
    failing.plan(fault.at("channels"));
    harness.drop_log(2);
    harness.flush();
    assert_eq!(failing.struck(), 1, "its removal");
    harness.append(&[(4, &[100])]).unwrap();
    harness.checkpoint();
    let refused = harness.append(&[(3, &[5])]).unwrap_err();
    assert!(
        matches!(refused, StageError::Refused { log, .. } if log == log_id(3)),
        "{refused}"
    );
    for _ in 0..6 {
        harness.append(&[(0, &[300]), (4, &[200])]).unwrap();
        harness.flush();
        harness.checkpoint();
        harness.check();
    }
    reopen(&disk, harness, Loss::All, Mercy::Power);
}

fn all_in(disk: &CrashingDisk, folder: &str) -> Vec<String> {
    let entries = disk.list(&Path::new(ROOT).join(folder)).unwrap();
    entries.into_iter().map(|one| one.name).collect()
}

/// What a failed sync of their folder was for is made durable by no later one.
#[test]
fn the_names_of_a_checkpoint_whose_sync_failed_are_made_anew() {
    let (disk, failing, mut harness) = start();
    harness.checkpoint();
    let number = harness.storage.checkpoint_number();
    let before = all_in(&disk, "checkpoints");
    let fault = Fault::new(Fault::IO).on(Operation::SyncDir);
    failing.plan(fault.at("checkpoints"));
    harness.append(&[(0, &[100])]).unwrap();
    harness.checkpoint();
    assert_eq!(failing.struck(), 1);
    assert_eq!(harness.storage.checkpoint_number(), number);
    assert_eq!(all_in(&disk, "checkpoints"), before);
    harness.checkpoint();
    assert!(harness.storage.checkpoint_number() > number);
    harness.check();
    reopen(&disk, harness, Loss::All, Mercy::Power);
}

#[test]
fn the_name_of_a_journal_file_whose_sync_failed_is_made_anew() {
    let (disk, failing, mut harness) = start();
    let before = all_in(&disk, "journal");
    let fault = Fault::new(Fault::IO).on(Operation::SyncDir);
    failing.plan(fault.at("journal"));
    let put = |harness: &mut Harness| {
        harness.append(&[(0, &[2_500])]).unwrap();
        harness.flush();
    };
    for n in 0.. {
        assert!(n < 40, "the ring does not grow");
        put(&mut harness);
        if failing.struck() > 0 {
            break;
        }
    }
    assert_eq!(all_in(&disk, "journal"), before);
    harness.now += 10_000;
    put(&mut harness);
    assert!(all_in(&disk, "journal").len() > before.len());
    harness.check();
    reopen(&disk, harness, Loss::All, Mercy::Power);
}

#[test]
fn a_full_disk_turns_writers_away_until_there_is_space() {
    for path in [".journal", ".log"] {
        let (disk, failing, mut harness) = start();
        failing.plan(
            Fault::new(Fault::NO_SPACE)
                .on(Operation::Write)
                .at(path)
                .and_later(),
        );
        let waiting = harness.append(&[(1, &[4_000])]).unwrap();
        harness.round();
        assert!(harness.full.is_some(), "{path}");
        let outcome = harness.storage.outcome(waiting, Durability::Synced);
        assert!(matches!(outcome, Outcome::Pending), "{outcome:?}");
        let refused = harness.append(&[(0, &[1])]).unwrap_err();
        assert!(matches!(refused, StageError::DiskFull(_)), "{refused}");
        harness.round();
        assert!(harness.full.is_some(), "still full");
        failing.heal();
        harness.storage.book_free_bytes(1 << 30);
        harness.round();
        let outcome = harness.storage.outcome(waiting, Durability::Synced);
        assert!(matches!(outcome, Outcome::Done), "{outcome:?}");
        harness.append(&[(0, &[1])]).unwrap();
        harness.flush();
        harness.checkpoint();
        harness.check();
        reopen(&disk, harness, Loss::All, Mercy::Power);
    }
}

#[test]
fn write_behind_and_checkpoints_resume_when_a_full_disk_has_space() {
    let (disk, failing, mut harness) = start();
    harness.append(&[(0, &[900])]).unwrap();
    harness.append(&[(1, &[900])]).unwrap();
    harness.round();
    for path in ["channels", "checkpoints"] {
        failing.plan(
            Fault::new(Fault::NO_SPACE)
                .on(Operation::Write)
                .at(path)
                .and_later(),
        );
        for _ in 0..3 {
            harness.checkpoint();
            harness.check();
            assert!(harness.storage.is_disk_full());
            assert!(harness.storage.log(log_id(0)).unwrap().refused().is_none());
        }
        failing.heal();
        harness.storage.book_free_bytes(1 << 30);
        harness.append(&[(0, &[100])]).unwrap();
        harness.flush();
        harness.checkpoint();
        harness.check();
        assert_eq!(harness.storage.unwritten_bytes(), 0, "{path}");
        harness.append(&[(0, &[100]), (1, &[100])]).unwrap();
        harness.flush();
    }
    reopen(&disk, harness, Loss::All, Mercy::Power);
}

#[test]
fn a_failed_recovery_point_stops_the_journal() {
    // The one of an idle broker, and that of a checkpoint.
    for is_checkpoint in [false, true] {
        let (disk, failing, mut harness) = start();
        failing.plan(
            Fault::new(Fault::IO)
                .on(Operation::Sync)
                .at("recovery-point"),
        );
        harness.append(&[(0, &[100])]).unwrap();
        harness.round();
        if is_checkpoint {
            harness.checkpoint();
        } else {
            harness.point();
        }
        assert_eq!(failing.struck(), 1);
        assert!(harness.is_broken(), "checkpoint: {is_checkpoint}");
        harness.check();
        reopen(&disk, harness, Loss::Random(1), Mercy::Power);
    }
}

#[test]
fn a_full_ring_is_freed_by_a_checkpoint_that_waits_for_what_is_queued() {
    let (disk, _, mut harness) = start();
    // No upkeep: the ring fills up.
    let mut is_full = false;
    for n in 0..400u64 {
        match harness.append(&[(n % 3, &[900, 900])]) {
            Err(StageError::Busy) if !harness.storage.has_round(Timestamp(harness.now)) => break,
            Err(StageError::Busy) | Ok(_) => {}
            Err(error) => panic!("{error}"),
        }
        harness.round();
        is_full = harness.storage.has_round(Timestamp(harness.now));
        if is_full {
            break;
        }
    }
    assert!(is_full, "the ring never filled up");
    for _ in 0..8 {
        harness.upkeep();
        harness.round();
    }
    assert!(
        !harness.storage.has_round(Timestamp(harness.now)),
        "stuck for ever"
    );
    harness.flush();
    harness.check();
    reopen(&disk, harness, Loss::All, Mercy::Power);
}

/// Appends to the three logs in turn until what is staged finds no room in the journal.
fn fill(harness: &mut Harness, entries: &mut Vec<EntryId>) {
    for n in 0..400u64 {
        match harness.append(&[(n % 3, &[900, 900])]) {
            Ok(entry) => entries.push(entry),
            Err(StageError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
        harness.round();
        if harness.storage.has_round(Timestamp(harness.now)) {
            return;
        }
    }
    panic!("the ring never filled up");
}

/// What was queued after a checkpoint that failed had no room in the journal, and the next one
/// waited for it before it freed any.
#[test]
fn a_full_ring_is_freed_after_checkpoints_that_found_no_space_again_and_again() {
    for path in ["channels", "checkpoints", "recovery-point"] {
        for failures in 1..5 {
            let (disk, failing, mut harness) = start_with(StorageConfig {
                max_unwritten_bytes: 1 << 20,
                ..small()
            });
            let mut entries = Vec::new();
            fill(&mut harness, &mut entries);
            let full = Fault::new(Fault::NO_SPACE).on(Operation::Write).at(path);
            failing.plan(full.and_later());
            for _ in 0..failures {
                let struck = failing.struck();
                for _ in 0..4 {
                    harness.now += 1_000;
                    harness.upkeep();
                    harness.round();
                }
                assert!(failing.struck() > struck, "{path}: no checkpoint was tried");
                // Space for a moment, as the broker's look finds it: more is taken.
                harness.storage.book_free_bytes(1 << 30);
                fill(&mut harness, &mut entries);
            }
            failing.heal();
            harness.storage.book_free_bytes(1 << 30);
            for _ in 0..8 {
                harness.now += 1_000;
                harness.upkeep();
                harness.flush();
            }
            for entry in entries {
                let outcome = harness.storage.outcome(entry, Durability::Synced);
                assert!(
                    matches!(outcome, Outcome::Done),
                    "{path}, {failures} failures: {outcome:?} for ever"
                );
            }
            harness.checkpoint();
            assert_eq!(harness.storage.unwritten_bytes(), 0);
            harness.check();
            harness.stop();
            assert!(harness.storage.is_clean());
            reopen(&disk, harness, Loss::All, Mercy::Power);
        }
    }
}

#[test]
fn any_single_failed_call_loses_nothing_that_was_acknowledged() {
    let run = |failing: &FailingDisk, disk: &CrashingDisk| {
        let opened = Harness::open(Arc::new(failing.clone()), Model::default(), 1);
        let Ok(mut harness) = opened else {
            // A new directory that could not be made is made the next time.
            let healed = Harness::open(Arc::new(disk.after(Loss::None)), Model::default(), 2);
            healed.unwrap().check_recovered(Mercy::Process);
            return;
        };
        (0..3).for_each(|n| harness.create(n));
        for n in 0..12u64 {
            for part in [
                vec![(n % 3, &[700, 3][..])],
                vec![(0, &[9][..]), (2, &[2_500])],
            ] {
                let known = |n: &u64| harness.storage.log(log_id(*n)).is_some();
                if part.iter().all(|(n, _)| known(n)) {
                    let _ = harness.append(&part);
                }
            }
            if n % 2 == 0 {
                harness.flush();
            }
            if n % 5 == 4 {
                harness.checkpoint();
            }
        }
        let now = harness.now + 1;
        let mut model = harness.kill();
        for loss in [Loss::None, Loss::All] {
            let mercy = if loss == Loss::None {
                Mercy::Process
            } else {
                Mercy::Power
            };
            let disk = disk.after(loss);
            let mut after = Harness::open(Arc::new(disk), model.clone(), now).unwrap();
            after.check_recovered(mercy);
        }
        model.forget_waiting();
    };
    let disk = CrashingDisk::new();
    let failing = FailingDisk::new(Arc::new(disk.clone()));
    run(&failing, &disk);
    let calls = failing.calls();
    for nth in (1..calls).step_by(2) {
        for errno in [Fault::IO, Fault::NO_SPACE] {
            let disk = CrashingDisk::new();
            let failing = FailingDisk::new(Arc::new(disk.clone()));
            failing.plan(Fault::new(errno).nth(nth));
            let ran = std::panic::AssertUnwindSafe(|| run(&failing, &disk));
            if let Err(panic) = std::panic::catch_unwind(ran) {
                eprintln!("--- call {nth} of {calls} failed with {errno}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
