//! What vouches for a group must be true: a recovery point or a later group that says too much
//! turns a torn tail into damage.

use std::sync::Arc;

use npayload::storage::disk::{CrashingDisk, Loss};
use npayload::types::Durability;

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
