//! What a start takes from the last end, and what it makes its own.

use std::path::Path;
use std::sync::Arc;

use npayload::format::check_stored;
use npayload::storage::disk::{CrashingDisk, Disk, OpenMode};
use npayload::types::Incarnation;

use crate::storage_harness::{Harness, Mercy, Model, ROOT, log_id};

fn open(disk: &CrashingDisk, model: Model, now: i64) -> Harness {
    Harness::open(Arc::new(disk.clone()), model, now).unwrap()
}

/// A directory with a record in a log, and a harness on it.
fn start() -> (CrashingDisk, Harness) {
    let disk = CrashingDisk::new();
    let mut harness = open(&disk, Model::default(), 1);
    harness.create(1);
    harness.append(&[(1, &[100])]).unwrap();
    harness.flush();
    (disk, harness)
}

fn restart(disk: &CrashingDisk, harness: Harness) -> Harness {
    let now = harness.now + 1;
    let mut after = open(disk, harness.kill(), now);
    after.check_recovered(Mercy::Process);
    after
}

#[test]
fn only_a_stop_in_order_is_taken_for_one() {
    let (disk, mut harness) = start();
    harness.stop();
    assert!(harness.storage.is_clean());
    let harness = restart(&disk, harness);
    assert!(harness.report.was_clean);
    // Killed at once, without any work; and after work.
    let mut harness = restart(&disk, harness);
    assert!(!harness.report.was_clean, "a kill after a start");
    harness.append(&[(1, &[100])]).unwrap();
    harness.flush();
    let harness = restart(&disk, harness);
    assert!(!harness.report.was_clean, "a kill after work");
}

#[test]
fn every_start_has_an_epoch_of_its_own_and_stamps_its_batches_with_it() {
    let (disk, mut harness) = start();
    let mut epochs = vec![harness.storage.epoch()];
    for is_stopped in [false, true, false] {
        if is_stopped {
            harness.stop();
        }
        harness = restart(&disk, harness);
        harness.append(&[(1, &[100])]).unwrap();
        harness.flush();
        epochs.push(harness.storage.epoch());
    }
    assert!(epochs.is_sorted_by(|a, b| a < b), "{epochs:?}");
    let batches = harness.read(log_id(1), 0, 1 << 20).unwrap();
    let stamped: Vec<_> = batches
        .iter()
        .map(|batch| check_stored(batch).unwrap().log_epoch())
        .collect();
    assert_eq!(stamped, epochs);
}

#[test]
fn what_belongs_to_no_log_is_moved_aside_with_all_its_bytes() {
    let (disk, mut harness) = start();
    harness.stop();
    let stranger = Path::new(ROOT).join(format!("channels/{}", Incarnation(0xABCD)));
    disk.create_dir(&stranger).unwrap();
    let path = stranger.join("notes");
    let file = disk.open(&path, OpenMode::Create).unwrap();
    file.write_at(0, &[std::io::IoSlice::new(b"someone's")])
        .unwrap();
    file.sync_data().unwrap();
    let harness = restart(&disk, harness);
    let (from, to) = &harness.report.moved[0];
    assert_eq!(*from, stranger);
    assert!(!disk.exists(&stranger).unwrap());
    let file = disk.open(&to.join("notes"), OpenMode::Read).unwrap();
    let mut bytes = [0; 9];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), 9);
    assert_eq!(&bytes, b"someone's");
    let mut why = to.clone().into_os_string();
    why.push(".why");
    assert!(disk.exists(why.as_ref()).unwrap(), "no reason beside it");
}
