//! Entries that wait, or that are never written.

use std::path::Path;
use std::sync::Arc;

use npayload::storage::disk::{Disk, FailingDisk, Fault, MemoryDisk, Operation};
use npayload::storage::{CommitError, Outcome};
use npayload::types::{Durability, Timestamp};

use super::{new, start};
use crate::storage_harness::{Harness, Model, ROOT, log_id};

#[test]
fn what_was_queued_for_a_deleted_log_is_not_acknowledged() {
    let (_, mut harness) = new();
    let queued = harness.append(&[(1, &[100])]).unwrap();
    let other = harness.append(&[(0, &[100])]).unwrap();
    harness.storage.drop_log(log_id(1));
    let outcome = |harness: &Harness, entry| harness.storage.outcome(entry, Durability::Synced);
    for _ in 0..2 {
        let failed = outcome(&harness, queued);
        assert!(
            matches!(&failed, Outcome::Failed(CommitError::Deleted(id)) if *id == log_id(1)),
            "{failed:?}"
        );
        harness.round();
    }
    assert!(matches!(outcome(&harness, other), Outcome::Done));
}

#[test]
fn a_new_journal_file_that_fails_is_tried_again_later_and_hinders_nothing() {
    let memory = MemoryDisk::new();
    let disk = FailingDisk::new(Arc::new(memory.clone()));
    disk.plan(
        Fault::new(Fault::NO_SPACE)
            .on(Operation::Open)
            .at("0001.journal")
            .and_later(),
    );
    let open = || Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    let mut harness = start(&disk, open);
    assert!(harness.storage.is_disk_full());
    harness.storage.book_free_bytes(1 << 30);
    let struck = disk.struck();
    harness.append(&[(0, &[100])]).unwrap();
    harness.flush();
    harness.checkpoint();
    harness.check();
    assert!(disk.struck() <= struck + 2, "tried without a pause");
    disk.heal();
    harness.now += 10_000;
    harness.upkeep();
    assert!(
        memory
            .exists(&Path::new(ROOT).join("journal/0001.journal"))
            .unwrap()
    );
}

#[test]
fn an_entry_over_several_logs_waits_for_their_unsynced_direct_runs() {
    let (_, mut harness) = new();
    harness.append(&[(2, &[4_000])]).unwrap();
    harness.round();
    let log = harness.storage.log(log_id(2)).unwrap();
    assert!(log.flushed() < log.high_watermark(), "written, not synced");
    let shared: &[(u64, &[usize])] = &[(2, &[1]), (0, &[1])];
    harness.append(shared).unwrap_err();
    harness.round(); // the refusal asked for a sync
    harness.append(shared).unwrap();
    harness.flush();
    harness.check();
}

#[test]
fn an_entry_over_several_logs_wins_against_steady_direct_runs_and_full_rounds() {
    for (size, per_round) in [(4_000, 2), (2_000, 8)] {
        let (_, mut harness) = new();
        let mut staged_at = None;
        for n in 0..40 {
            // Whoever writes large runs is always there first.
            for _ in 0..per_round {
                let _ = harness.append(&[(0, &[size])]);
                let _ = harness.append(&[(1, &[size])]);
            }
            harness.step_round(); // planned: its direct runs are in flight
            for _ in 0..per_round {
                let _ = harness.append(&[(0, &[size])]);
                let _ = harness.append(&[(1, &[size])]);
            }
            if harness.append(&[(0, &[2_000]), (1, &[2_000])]).is_ok() {
                staged_at = Some(n);
                break;
            }
            harness.round();
            harness.upkeep();
        }
        assert!(staged_at.is_some(), "starved");
        // And then the large runs are let in again.
        harness.flush();
        harness.append(&[(0, &[4_000])]).unwrap();
        harness.flush();
        harness.check();
    }
}

#[test]
fn an_entry_that_is_given_up_keeps_nobody_waiting() {
    let (_, mut harness) = new();
    harness.append(&[(0, &[4_000])]).unwrap();
    harness.step_round();
    harness.append(&[(0, &[10]), (1, &[10])]).unwrap_err();
    harness.round();
    // It never comes back. A large run waits a few rounds for it, which come without work.
    let mut rounds = 0;
    while harness.append(&[(0, &[4_000])]).is_err() {
        assert!(harness.storage.has_round(Timestamp(harness.now)), "stuck");
        harness.round();
        rounds += 1;
    }
    assert!(rounds <= 8, "{rounds} rounds");
    harness.flush();
    harness.check();
}
