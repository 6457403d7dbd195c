//! What can be read, and from where.

use std::sync::Arc;

use npayload::storage::disk::{FailingDisk, MemoryDisk, Operation};
use npayload::storage::{LogOptions, Read, ReadJob};
use npayload::types::{Durability, Offset};

use super::{new, start};
use crate::storage_harness::{Harness, Model, log_id, options};

#[test]
fn what_was_readable_stays_readable_when_a_log_becomes_synced() {
    let (_, mut harness) = new();
    let id = log_id(2);
    assert_eq!(options(id).durability, Durability::Written);
    harness.append(&[(2, &[10, 20])]).unwrap();
    harness.round();
    let log = harness.storage.log(id).unwrap();
    assert!(log.flushed() < log.high_watermark());
    harness.storage.set_log_start(id, Offset(2));
    let synced = LogOptions {
        durability: Durability::Synced,
        ..options(id)
    };
    harness.storage.set_options(id, synced);
    assert_eq!(harness.storage.log(id).unwrap().high_watermark(), Offset(2));
    harness.append(&[(2, &[30])]).unwrap();
    harness.round();
    assert_eq!(harness.storage.log(id).unwrap().high_watermark(), Offset(3));
}

#[test]
fn few_segments_are_open_at_once_and_all_can_be_read() {
    let memory = MemoryDisk::new();
    let disk = FailingDisk::new(Arc::new(memory.clone()));
    let open = || Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    let mut harness = start(&disk, open);
    for _ in 0..20 {
        harness.append(&[(0, &[1_500])]).unwrap();
        harness.append(&[(1, &[1_500])]).unwrap();
        harness.flush();
    }
    harness.checkpoint();
    harness.check();
    let before = disk.count(Operation::Open);
    harness.check();
    harness.check();
    let opened = disk.count(Operation::Open) - before;
    assert!(
        opened > 20,
        "more than three segments stayed open: {opened} were opened again"
    );
}

/// The job that reads a log from its start.
fn reading(harness: &Harness, n: u64) -> ReadJob {
    match harness.storage.plan_read(log_id(n), Offset(0), 1 << 20) {
        Ok(Read::Segment(job)) => job,
        read => panic!("not of a segment: {read:?}"),
    }
}

#[test]
fn what_memory_has_of_an_open_segment_is_read_without_the_disk() {
    let (memory, mut harness) = new();
    harness.append(&[(0, &[1_500])]).unwrap();
    harness.flush();
    harness.checkpoint();
    let job = reading(&harness, 0);
    let found = job.run().unwrap();
    let warm = job.run_warm().expect("it is open and in memory");
    assert_eq!(warm.parts, found.parts);
    // Others are opened, so that it is closed.
    for n in 1..5 {
        harness.roll(0);
        harness.append(&[(0, &[1_500 + n])]).unwrap();
        harness.flush();
    }
    harness.checkpoint();
    harness.check();
    let read = reading(&harness, 0).run_warm();
    assert!(read.is_none(), "its file is to be opened first: {read:?}");
    harness.stop();
    drop(harness);
    // A disk that can't tell what is in memory.
    let disk = FailingDisk::new(Arc::new(memory));
    let mut harness = Harness::open(Arc::new(disk), Model::default(), 1).unwrap();
    harness
        .storage
        .plan_load(log_id(0))
        .map(|task| harness.storage.finish_load(task.run()));
    let job = reading(&harness, 0);
    job.run().unwrap();
    assert!(job.run_warm().is_none(), "it may lie on the disk alone");
}

#[test]
fn a_time_that_two_segments_share_is_found_in_the_first() {
    let (_, mut harness) = new();
    harness.append(&[(0, &[2_000])]).unwrap();
    let time = harness.now;
    for _ in 0..6 {
        harness.now = time - 1; // which `append` counts up
        harness.append(&[(0, &[2_000])]).unwrap();
        harness.round();
    }
    harness.checkpoint();
    assert!(harness.storage.log(log_id(0)).unwrap().size().unwrap().0 > 2);
    for time in [time - 1, time, time + 1] {
        harness.check_time(log_id(0), time);
    }
}
