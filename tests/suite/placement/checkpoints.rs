//! When checkpoints come, what they wait for and what they do.

use std::sync::Arc;

use npayload::storage::disk::{
    CrashingDisk, Disk, FailingDisk, Fault, Loss, MemoryDisk, Operation,
};
use npayload::storage::{Outcome, StorageConfig, Upkeep};
use npayload::types::{Durability, Timestamp};

use super::{new, start};
use crate::storage_harness::{
    CHECKPOINT_MS, Harness, Model, journal_files, log_id, names, segment_file, small,
};

#[test]
fn a_checkpoint_and_a_stop_wait_for_no_entry_that_will_never_be_written() {
    for (is_deleted, is_cut_before) in [(true, true), (true, false), (false, true), (false, false)]
    {
        let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
        let open = || Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
        let mut harness = start(&disk, open);
        harness.append(&[(1, &[5_000])]).unwrap();
        harness.step_round(); // planned
        let last = harness.append(&[(1, &[100])]).unwrap();
        if is_cut_before {
            harness.now += CHECKPOINT_MS;
            harness.step_upkeep();
        }
        if is_deleted {
            harness.storage.drop_log(log_id(1));
        } else {
            let segments = log_id(1).to_string();
            disk.plan(Fault::new(Fault::IO).on(Operation::Write).at(segments));
        }
        harness.step_round();
        harness.step_round(); // booked
        let outcome = harness.storage.outcome(last, Durability::Synced);
        assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        harness.stop();
        assert!(
            harness.storage.is_clean(),
            "deleted: {is_deleted}, cut before: {is_cut_before}"
        );
    }
}

#[test]
fn a_checkpoint_of_new_logs_syncs_the_folder_of_all_logs_once() {
    let syncs = |logs: u64| {
        let crashing = CrashingDisk::new();
        let disk = FailingDisk::new(Arc::new(crashing.clone()));
        let opened = Harness::open(Arc::new(disk.clone()), Model::default(), 1);
        let mut harness = opened.unwrap();
        (0..logs).for_each(|n| harness.create(n));
        harness.flush();
        harness.checkpoint();
        for n in 0..logs {
            harness.append(&[(n, &[100])]).unwrap();
        }
        harness.round();
        let before = disk.count(Operation::SyncDir);
        harness.checkpoint();
        harness.check();
        let after = crashing.after(Loss::All);
        let lasts = |n| after.exists(&segment_file(n, 0)).unwrap();
        assert!((0..logs).all(lasts), "the checkpoint vouches for them");
        disk.count(Operation::SyncDir) - before
    };
    // Those of the logs' own folders.
    assert_eq!(syncs(9) - syncs(3), 6);
}

#[test]
fn indexes_of_many_logs_are_saved_in_jobs_of_some_so_that_a_checkpoint_comes_in_between() {
    const LOGS: u64 = 150;
    let disk = MemoryDisk::new();
    let config = StorageConfig {
        journal_file_bytes: 1 << 20,
        max_round_bytes: 1 << 18,
        ..small()
    };
    let opened = Harness::open_with(Arc::new(disk.clone()), config, Model::default(), 1);
    let mut harness = opened.unwrap();
    (0..LOGS).for_each(|n| harness.create(n));
    harness.flush();
    for n in 0..LOGS {
        harness.append(&[(n, &[10])]).unwrap();
    }
    harness.round();
    harness.now += CHECKPOINT_MS;
    assert!(harness.cut_checkpoint());
    harness.round();
    let saved = || (0..LOGS).filter(|n| !names(&disk, *n, ".index").is_empty());
    let now = Timestamp(harness.now);
    let mut jobs = 0;
    while let Some(job) = harness.storage.plan_upkeep(now) {
        let before = saved().count();
        jobs += usize::from(matches!(job, Upkeep::Index(_)));
        harness.storage.finish_upkeep(job.run(), now);
        assert!(saved().count() - before <= 64, "{jobs} jobs");
    }
    assert_eq!(saved().count() as u64, LOGS);
    harness.check();
}

/// With a ring that has all of its files, after so much was written to a log.
fn with_whole_ring(n: u64) -> Harness {
    let (disk, mut harness) = new();
    for _ in 0..60 {
        harness.append(&[(n, &[2_500])]).unwrap();
        harness.round();
        harness.upkeep();
    }
    assert_eq!(journal_files(&disk), 4);
    harness
}

#[test]
fn rounds_that_follow_at_once_keep_no_checkpoint_waiting() {
    let (_, mut harness) = new();
    let put = |harness: &mut Harness| harness.append(&[(0, &[3_400])]).unwrap();
    harness.checkpoint();
    let before = harness.storage.checkpoint_number();
    put(&mut harness);
    harness.step_round(); // planned
    harness.now += CHECKPOINT_MS;
    assert!(harness.cut_checkpoint());
    for n in 0.. {
        assert!(n < 4, "starved");
        put(&mut harness);
        harness.next_round();
        assert!(!harness.storage.has_round(Timestamp(harness.now)));
        while harness.step_upkeep() {}
        if harness.storage.checkpoint_number() > before {
            break;
        }
    }
    harness.round();
    harness.check();
}

#[test]
fn what_is_always_written_behind_keeps_no_checkpoint_waiting() {
    // Nothing else is left to do.
    let mut harness = with_whole_ring(0);
    let put = |harness: &mut Harness| harness.append(&[(0, &[2_500])]).unwrap();
    harness.checkpoint();
    harness.upkeep();
    let before = harness.storage.checkpoint_number();
    put(&mut harness);
    harness.round();
    assert!(harness.step_upkeep(), "it is to be written behind");
    put(&mut harness);
    harness.step_round(); // planned
    harness.now += CHECKPOINT_MS;
    assert!(harness.cut_checkpoint());
    for n in 0.. {
        assert!(n < 8, "starved");
        put(&mut harness);
        harness.next_round();
        // What the keeper did meanwhile ends, and what it does next goes on while others work.
        while harness.is_upkeep_under_way() {
            harness.step_upkeep();
        }
        harness.step_upkeep();
        if harness.storage.checkpoint_number() > before {
            break;
        }
    }
    harness.round();
    harness.check();
}

/// The committer calls the keeper where there is work for it, and the keeper the committer whenever it
/// has looked.
#[test]
fn nobody_calls_for_upkeep_that_can_not_begin() {
    let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
    let open = || Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    let mut harness = start(&disk, open);
    harness.checkpoint();
    for _ in 0..2 {
        harness.append(&[(1, &[3_400])]).unwrap();
        harness.round();
        harness.roll(1);
    }
    harness.set_log_start(1, 1);
    harness.round();
    assert!(harness.storage.has_upkeep(), "a checkpoint and a removal");
    disk.plan(Fault::new(Fault::IO).on(Operation::Write).at(".journal"));
    harness.append(&[(0, &[10])]).unwrap();
    harness.round();
    assert!(harness.is_broken());
    while harness.step_upkeep() {}
    assert!(
        disk.exists(&segment_file(1, 0)).unwrap(),
        "a start needs it"
    );
    assert!(!harness.storage.has_upkeep(), "nothing of it may begin");
}

/// All that a checkpoint waits for may be a sync of what is written already: who comes in between and
/// finds the ring full must not keep it waiting.
#[test]
fn a_full_ring_keeps_no_checkpoint_waiting_for_its_sync() {
    let put = |harness: &mut Harness| {
        harness.append(&[(2, &[2_500])]).unwrap();
        harness.round();
    };
    let filled = |rounds: usize| {
        let mut harness = with_whole_ring(2);
        harness.flush();
        harness.checkpoint();
        (0..rounds).for_each(|_| put(&mut harness));
        harness
    };
    let is_waiting = |harness: &Harness| harness.storage.has_round(Timestamp(harness.now));
    let full = (1..40).find(|rounds| is_waiting(&filled(*rounds)));
    let mut harness = filled(full.expect("the ring is full") - 1);
    let log = harness.storage.log(log_id(2)).unwrap();
    assert!(log.flushed() < log.end());
    assert!(harness.cut_checkpoint());
    harness.append(&[(2, &[2_500])]).unwrap();
    for _ in 0..20 {
        harness.round();
        harness.now += 1_000;
        harness.upkeep();
    }
    assert!(!is_waiting(&harness), "writers wait for ever");
    harness.check();
}

#[test]
fn a_checkpoint_comes_after_so_many_bytes_of_large_runs() {
    let disk = MemoryDisk::new();
    let config = StorageConfig {
        checkpoint_bytes: 12_000,
        ..small()
    };
    let open = || Harness::open_with(Arc::new(disk.clone()), config, Model::default(), 1).unwrap();
    let mut harness = start(&disk, open);
    let put = |harness: &mut Harness| {
        harness.append(&[(0, &[3_400])]).unwrap();
        harness.round();
    };
    // What else may be due is done.
    harness.checkpoint();
    for _ in 0..2 {
        for n in 1..=4 {
            assert!(!harness.cut_checkpoint(), "before {n}");
            put(&mut harness);
        }
        assert!(harness.cut_checkpoint());
        harness.round();
        while harness.step_upkeep() {}
        harness.check();
    }
}
