//! Logs behave like vectors, whatever is written, moved, trimmed and reopened.

use std::sync::Arc;

use npayload::storage::disk::MemoryDisk;

use crate::storage_harness::{Harness, Mercy, Model, log_id};

#[test]
fn what_was_appended_is_read_back_after_every_kind_of_reopening() {
    let disk = MemoryDisk::new();
    let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    assert!(harness.report.is_new);
    for n in 0..3 {
        harness.create(n);
    }
    harness.append(&[(0, &[10, 20, 30])]).unwrap();
    harness.append(&[(1, &[100])]).unwrap();
    harness.flush();
    harness.check();
    harness
        .append(&[(0, &[2000]), (1, &[500]), (2, &[7])])
        .unwrap();
    harness.flush();
    harness.check();
    harness.append(&[(0, &[5000])]).unwrap();
    harness.flush();
    harness.check();
    harness.checkpoint();
    harness.check();
    for n in 0..40 {
        harness.append(&[(n % 3, &[300, 200])]).unwrap();
        harness.flush();
        harness.check();
    }
    // Killed.
    let now = harness.now + 1;
    let model = harness.kill();
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    assert!(!harness.report.was_clean);
    harness.check_recovered(Mercy::Process);
    harness.append(&[(0, &[1]), (2, &[1])]).unwrap();
    harness.flush();
    harness.check();
    harness.stop();
    assert!(harness.storage.is_clean());
    let now = harness.now + 1;
    let model = harness.kill();
    let mut harness = Harness::open(Arc::new(disk), model, now).unwrap();
    assert!(harness.report.was_clean);
    harness.check_recovered(Mercy::Process);
    for offset in 0..harness.storage.log(log_id(0)).unwrap().end().0 {
        harness.check_from(log_id(0), offset, 500);
    }
}
