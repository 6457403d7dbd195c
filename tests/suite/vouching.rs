//! What vouches for a group must be true: a recovery point or a later group that says too much
//! turns a torn tail into damage.

use std::sync::Arc;

use npayload::format::ProducerRow;
use npayload::storage::disk::{CrashingDisk, Loss};
use npayload::storage::{ProducerRows, Upkeep};
use npayload::types::{Durability, Incarnation, Timestamp};

use crate::storage_harness::{Harness, Mercy, Model, log_id, options};

/// A log that is acknowledged before it is synced.
const WRITTEN: u64 = 2;

fn start() -> (CrashingDisk, Harness) {
    assert_eq!(options(log_id(WRITTEN)).durability, Durability::Written);
    let disk = CrashingDisk::new();
    let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    harness.flush();
    harness.point();
    (disk, harness)
}

/// Power cuts that keep any choice of what was not synced. Nothing of it is damage.
fn survive_power_cuts(disk: &CrashingDisk, harness: &Harness) {
    let all = (0..24).map(Loss::Random).chain([Loss::All, Loss::None]);
    for loss in all {
        let opened = Harness::open(
            Arc::new(disk.after(loss)),
            harness.model.clone(),
            harness.now + 1,
        );
        let mut after = opened.unwrap_or_else(|error| panic!("{loss:?}: {error}"));
        assert_eq!(after.report.damage, [], "{loss:?}");
        after.check_recovered(Mercy::Power);
    }
}

#[test]
fn a_recovery_point_never_promises_a_group_that_no_sync_has_covered() {
    let (disk, mut harness) = start();
    harness.append(&[(WRITTEN, &[300])]).unwrap();
    harness.round();
    harness.point();
    survive_power_cuts(&disk, &harness);
    // Nor does the one that a checkpoint writes, which waits for a sync of its own.
    harness.append(&[(WRITTEN, &[300])]).unwrap();
    harness.round();
    harness.checkpoint();
    harness.append(&[(WRITTEN, &[300])]).unwrap();
    harness.round();
    harness.point();
    survive_power_cuts(&disk, &harness);
}

#[test]
fn a_group_never_vouches_for_one_that_no_sync_has_covered() {
    let (disk, mut harness) = start();
    for _ in 0..3 {
        harness.append(&[(WRITTEN, &[300])]).unwrap();
        harness.round();
    }
    survive_power_cuts(&disk, &harness);
}

#[test]
fn a_sync_covers_the_segments_that_large_written_batches_went_to() {
    let (disk, mut harness) = start();
    harness.append(&[(WRITTEN, &[4_000])]).unwrap();
    harness.round();
    let offsets = |harness: &Harness| {
        let log = harness.storage.log(log_id(WRITTEN)).unwrap();
        (log.flushed().0, log.end().0)
    };
    assert_eq!(offsets(&harness), (0, 1), "past the journal, and unsynced");
    survive_power_cuts(&disk, &harness);
    // An entry of another log brings the sync.
    harness.append(&[(0, &[10])]).unwrap();
    harness.round();
    assert_eq!(offsets(&harness), (1, 1));
    harness.point();
    survive_power_cuts(&disk, &harness);
    for loss in [Loss::All, Loss::Random(5)] {
        let model = harness.model.clone();
        let after = Harness::open(Arc::new(disk.after(loss)), model, harness.now + 1).unwrap();
        assert_eq!(offsets(&after), (1, 1), "{loss:?}: flushed and lost");
    }
}

struct NoProducers;

impl ProducerRows for NoProducers {
    fn rows(&self, _: Incarnation) -> (u64, Vec<ProducerRow>) {
        (0, Vec::new())
    }
}

#[test]
fn journal_files_are_kept_until_the_checkpoint_that_replaces_them_is_taken() {
    let (disk, mut harness) = start();
    let write = |harness: &mut Harness, groups: u64| {
        for n in 0..groups {
            // Where the ring is full, writers wait.
            let _ = harness.append(&[(n % 2, &[900, 900])]);
            harness.round();
        }
    };
    write(&mut harness, 16);
    let checkpoint = loop {
        let now = Timestamp(harness.now);
        harness.storage.cut_checkpoint(now, &NoProducers);
        match harness.storage.plan_upkeep(now) {
            Some(job @ Upkeep::Checkpoint(_)) => break job,
            Some(other) => {
                harness.storage.finish_upkeep(other.run(), now);
            }
            None => write(&mut harness, 1),
        }
    };
    // It is on its way while more comes than the rest of the ring holds.
    write(&mut harness, 40);
    for loss in [Loss::None, Loss::All] {
        let model = harness.model.clone();
        let mut after = Harness::open(Arc::new(disk.after(loss)), model, harness.now + 1).unwrap();
        after.check_recovered(Mercy::Power);
    }
    let now = Timestamp(harness.now);
    harness.storage.finish_upkeep(checkpoint.run(), now);
    write(&mut harness, 40);
    harness.check();
}
