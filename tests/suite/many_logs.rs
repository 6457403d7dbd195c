//! Starts that bring back so many logs, or batches, that they are not taken one by one.

use std::sync::Arc;

use npayload::storage::StorageConfig;
use npayload::storage::disk::{
    CrashingDisk, Disk, FailingDisk, Fault, Loss, MemoryDisk, Operation,
};

use crate::storage_harness::{Harness, Mercy, Model, log_id, small};

/// More than wait for their sync at once.
const LOGS: u64 = 300;

/// A journal that holds all of it, so that a start has everything to do.
fn config() -> StorageConfig {
    StorageConfig {
        journal_file_bytes: 4 << 20,
        ..small()
    }
}

fn open(disk: Arc<dyn Disk>, model: Model, now: i64) -> Harness {
    Harness::open_with(disk, config(), model, now).unwrap()
}

/// A killed broker's disk, with records of many logs in the journal alone, and what it promised.
fn killed() -> (CrashingDisk, Model, i64) {
    let disk = CrashingDisk::new();
    let mut harness = open(Arc::new(disk.clone()), Model::default(), 1);
    for n in 0..LOGS {
        harness.create(n);
        harness.append(&[(n, &[100, 40])]).unwrap();
        harness.round();
    }
    harness.flush();
    let now = harness.now + 1;
    (disk.after(Loss::None), harness.kill(), now)
}

#[test]
fn every_log_is_synced_before_the_journal_is_given_up() {
    let (disk, model, now) = killed();
    let counting = FailingDisk::new(Arc::new(disk.clone()));
    let harness = open(Arc::new(counting.clone()), model, now);
    assert!(
        harness.report.batches >= LOGS,
        "the journal had {} batches",
        harness.report.batches
    );
    // The folder of each log, and the one of all of them once, and what a start syncs anyway.
    let folders = counting.count(Operation::SyncDir);
    assert!(
        (LOGS..LOGS + 20).contains(&folders),
        "{folders} syncs of folders"
    );
    // The power fails once the start has said that all is safe.
    let (now, model) = (harness.now + 1, harness.kill());
    let mut after = open(Arc::new(disk.after(Loss::All)), model, now);
    after.check_recovered(Mercy::Process);
}

#[test]
fn one_sync_that_fails_of_many_ends_the_start_and_takes_nothing() {
    for failed in [0, 40, LOGS - 1] {
        let (disk, model, now) = killed();
        let failing = FailingDisk::new(Arc::new(disk.clone()));
        let dir = format!("channels/{}", log_id(failed));
        failing.plan(Fault::new(Fault::IO).on(Operation::Sync).at(&dir));
        let refused = Harness::open_with(Arc::new(failing), config(), model.clone(), now)
            .err()
            .unwrap();
        assert!(refused.to_string().contains(&dir), "{refused}");
        for loss in [Loss::None, Loss::All] {
            let mut after = open(Arc::new(disk.after(loss)), model.clone(), now + 1);
            after.check_recovered(Mercy::Process);
        }
    }
}

#[test]
fn a_crash_while_many_are_synced_is_recovered_again() {
    for calls in [100, 700, 1_200, 1_700, 2_200] {
        let (disk, model, now) = killed();
        disk.crash_after(calls);
        let begun = Harness::open_with(Arc::new(disk.clone()), config(), model.clone(), now);
        assert!(begun.is_err(), "the start was over after {calls} calls");
        for loss in [Loss::None, Loss::All, Loss::Random(calls)] {
            let mut after = open(Arc::new(disk.after(loss)), model.clone(), now + 1);
            after.check_recovered(Mercy::Process);
            assert_eq!(after.report.damage, [], "{loss:?} after {calls} calls");
        }
    }
}

#[test]
fn batches_that_follow_each_other_in_a_segment_are_written_to_it_at_once() {
    let disk = CrashingDisk::new();
    let mut harness = open(Arc::new(disk.clone()), Model::default(), 1);
    (0..4).for_each(|n| harness.create(n));
    // In the journal those of all logs lie in turn.
    for _ in 0..30 {
        (0..4).for_each(|n| {
            harness.append(&[(n, &[40])]).unwrap();
        });
        harness.round();
    }
    harness.flush();
    let (now, model) = (harness.now + 1, harness.kill());
    let counting = FailingDisk::new(Arc::new(disk.after(Loss::None)));
    let mut after = open(Arc::new(counting.clone()), model, now);
    let batches = after.report.batches;
    let (reads, writes) = (
        counting.count(Operation::Read),
        counting.count(Operation::Write),
    );
    assert!(batches >= 120, "the journal had {batches} batches");
    assert!(reads < batches, "{reads} reads for {batches} batches");
    assert!(
        writes < batches / 3,
        "{writes} writes for {batches} batches"
    );
    after.check_recovered(Mercy::Process);
}

/// Whatever is read takes the place of what was read before, and that must be in its segment by then.
#[test]
fn logs_of_which_the_journal_has_more_than_is_held_at_once_are_whole() {
    const BATCHES: u64 = 40;
    let config = StorageConfig {
        journal_file_bytes: 48 << 20,
        max_round_bytes: 8 << 20,
        direct_bytes: 4 << 20,
        always_direct_bytes: 4 << 20,
        write_behind_bytes: 64 << 20,
        max_unwritten_bytes: 64 << 20,
        ..small()
    };
    let disk = MemoryDisk::new();
    let open = |model, now| {
        let disk = Arc::new(disk.clone());
        Harness::open_with(disk, config.clone(), model, now).unwrap()
    };
    let mut harness = open(Model::default(), 1);
    (0..2).for_each(|n| harness.create(n));
    for n in 0..BATCHES {
        harness.append(&[(n % 2, &[1 << 20])]).unwrap();
        harness.round();
    }
    let (now, model) = (harness.now + 1, harness.kill());
    let mut after = open(model, now);
    assert!(after.report.batches >= BATCHES, "{:?}", after.report);
    after.check_recovered(Mercy::Process);
}
