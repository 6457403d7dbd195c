//! Logs that have the identity of one before them: what was to be removed of that one takes nothing of
//! theirs.

use std::sync::Arc;

use npayload::format::{BatchHeader, ProducerRow};
use npayload::storage::disk::{
    CrashingDisk, Disk, FailingDisk, Fault, Loss, MemoryDisk, Operation,
};
use npayload::storage::{FoldHeaders, Read, StorageConfig, Upkeep};
use npayload::types::{Offset, Timestamp};

use crate::storage_harness::{
    CHECKPOINT_MS, Harness, Mercy, Model, log_dir, log_id, names, options, small,
};

/// Five segments of one batch each.
fn fill(harness: &mut Harness) {
    for _ in 0..5 {
        harness.append(&[(2, &[3_400])]).unwrap();
        harness.round();
        harness.roll(2);
    }
}

fn start() -> (CrashingDisk, FailingDisk, Harness) {
    let disk = CrashingDisk::new();
    let failing = FailingDisk::new(Arc::new(disk.clone()));
    let on = Arc::new(failing.clone());
    let mut harness = Harness::open(on, Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    fill(&mut harness);
    harness.flush();
    harness.checkpoint();
    (disk, failing, harness)
}

/// Deletes the log, and waits until a start would find nothing of it.
fn forget(disk: &CrashingDisk, harness: &mut Harness) {
    harness.drop_log(2);
    harness.flush();
    assert!(!disk.exists(&log_dir(2)).unwrap());
    harness.storage.want_traces_gone();
    for _ in 0..20 {
        if !harness.storage.has_traces(log_id(2)) {
            break;
        }
        harness.round();
        harness.step_upkeep();
    }
    assert!(!harness.storage.has_traces(log_id(2)));
    harness.model.dropped.remove(&log_id(2));
}

fn is_whole(disk: &CrashingDisk, harness: Harness) {
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.check_recovered(Mercy::Process);
    harness.check_from(log_id(2), 0, 3000);
    assert_eq!(harness.storage.log(log_id(2)).unwrap().end().0, 5);
}

/// What could not be removed is tried again behind the next checkpoint: the log may be deleted by
/// then, and be there again.
#[test]
fn what_could_not_be_removed_of_a_deleted_log_is_not_looked_for_in_its_successor() {
    let (disk, failing, mut harness) = start();
    failing.plan(Fault::new(Fault::IO).on(Operation::Remove).at("channels/"));
    harness.set_log_start(2, 4);
    harness.flush();
    assert_eq!(failing.struck(), 1);
    forget(&disk, &mut harness);
    harness.create(2);
    fill(&mut harness);
    harness.checkpoint();
    harness.checkpoint();
    is_whole(&disk, harness);
}

#[test]
fn a_deleted_log_is_removed_once_its_name_is_gone_for_good() {
    let (disk, failing, mut harness) = start();
    let fault = Fault::new(Fault::IO).on(Operation::SyncDir);
    failing.plan(fault.at("channels"));
    harness.drop_log(2);
    harness.flush();
    assert_eq!(failing.struck(), 1);
    assert!(!disk.exists(&log_dir(2)).unwrap());
    let is_left = || disk.after(Loss::All).exists(&log_dir(2)).unwrap();
    assert!(is_left(), "its removal was not synced");
    // It is tried again behind the next checkpoint, of which no new segment has the folder of all logs
    // synced.
    harness.storage.want_traces_gone();
    harness.checkpoint();
    assert!(!is_left());
}

/// No producers.
#[derive(Debug)]
pub struct Nobody;

impl FoldHeaders for Nobody {
    fn header(&mut self, _: &BatchHeader) {}

    fn rows(&self) -> (u64, Vec<ProducerRow>) {
        (0, Vec::new())
    }
}

/// The log start of a log may still move while another log is put in its place.
#[test]
fn what_is_to_be_removed_of_a_replaced_log_is_not_looked_for_in_the_one_in_its_place() {
    let (disk, _, mut harness) = start();
    let id = log_id(2);
    let batches = harness.read(id, 0, 3000).unwrap();
    let beside = harness
        .storage
        .beside(id, options(id), Offset(0), Box::new(Nobody));
    let mut beside = beside.expect("the only one");
    for batch in &batches {
        let now = Timestamp(harness.now);
        beside.append(batch, None, now).unwrap();
    }
    harness.storage.begin_replace(beside).unwrap();
    let mut is_moved = false;
    for _ in 0..100 {
        harness.now += 60;
        harness.round();
        let now = Timestamp(harness.now);
        harness.cut_checkpoint();
        let Some(job) = harness.storage.plan_upkeep(now) else {
            continue;
        };
        if matches!(job, Upkeep::Replace(_)) {
            harness.storage.set_log_start(id, Offset(4));
            is_moved = true;
        }
        harness.storage.finish_upkeep(job.run(), now);
        if let Some((_, ended)) = harness.storage.take_replaced() {
            ended.unwrap();
            break;
        }
    }
    assert!(is_moved);
    harness.flush();
    harness.checkpoint();
    is_whole(&disk, harness);
}

/// Indexes are saved some at a time, and the log may be deleted, removed and there again before it is
/// its turn: a sealed segment is cut to its batches then.
#[test]
fn no_index_of_a_deleted_log_is_saved_over_its_successor() {
    // More than one job saves, and the log is the last of them.
    const LAST: u64 = 67;
    for is_running in [false, true] {
        let disk = MemoryDisk::new();
        let config = StorageConfig {
            journal_file_bytes: 1 << 20,
            max_round_bytes: 1 << 18,
            max_open_segments: 256,
            ..small()
        };
        let opened = Harness::open_with(Arc::new(disk.clone()), config, Model::default(), 1);
        let mut harness = opened.unwrap();
        let put = |harness: &mut Harness| {
            harness.append(&[(LAST, &[3_400])]).unwrap();
            harness.round();
        };
        (0..=LAST).for_each(|n| harness.create(n));
        harness.flush();
        for _ in 0..2 {
            put(&mut harness);
            harness.roll(LAST);
        }
        harness.checkpoint();
        harness.set_log_start(LAST, 1);
        harness.flush();
        assert_eq!(names(&disk, LAST, ".spare").len(), 1);
        // The segment at offset 2 is made of it.
        for _ in 0..2 {
            put(&mut harness);
            harness.roll(LAST);
        }
        assert!(names(&disk, LAST, ".spare").is_empty());
        for n in 0..LAST {
            harness.append(&[(n, &[10])]).unwrap();
        }
        harness.round();
        harness.now += CHECKPOINT_MS;
        assert!(harness.cut_checkpoint());
        harness.round();
        let now = Timestamp(harness.now);
        let job = harness.storage.plan_upkeep(now).expect("a checkpoint");
        assert!(matches!(job, Upkeep::Checkpoint(_)));
        if is_running {
            harness.drop_log(LAST);
            harness.round();
        }
        harness.storage.finish_upkeep(job.run(), now);
        if !is_running {
            harness.drop_log(LAST);
            harness.round();
        }
        while disk.exists(&log_dir(LAST)).unwrap() {
            let job = harness.storage.plan_upkeep(now).expect("it is removed");
            harness.storage.finish_upkeep(job.run(), now);
        }
        harness.storage.want_traces_gone();
        while harness.storage.has_traces(log_id(LAST)) {
            harness.cut_checkpoint();
            harness.round();
            let job = harness.storage.plan_upkeep(now).expect("a checkpoint");
            assert!(matches!(job, Upkeep::Checkpoint(_)), "{job:?}");
            harness.storage.finish_upkeep(job.run(), now);
        }
        harness.model.dropped.remove(&log_id(LAST));
        harness.create(LAST);
        for _ in 0..2 {
            put(&mut harness);
            put(&mut harness);
            harness.roll(LAST);
        }
        harness.upkeep();
        harness.check_from(log_id(LAST), 0, 10_000);
        harness.check();
    }
}

/// The file that a start goes on in may be longer than its log, and is cut to it when it is first
/// opened: by then it may be another's.
#[test]
fn who_comes_late_to_read_a_deleted_log_takes_nothing_of_its_successor_away() {
    let (disk, _, harness) = start();
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    let read = harness.storage.plan_read(log_id(2), Offset(4), 1000);
    let Ok(Read::Segment(read)) = read else {
        panic!("{read:?}");
    };
    forget(&disk, &mut harness);
    harness.create(2);
    for n in 0..6 {
        harness.append(&[(2, &[3_400])]).unwrap();
        harness.round();
        // The segment at offset 4 has more than the one before it had.
        if n < 4 {
            harness.roll(2);
        }
    }
    harness.flush();
    harness.checkpoint();
    drop(read.run());
    harness.check_from(log_id(2), 0, 3000);
    harness.check();
}
