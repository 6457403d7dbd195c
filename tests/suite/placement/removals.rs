//! When the files of segments go.

use std::sync::Arc;

use npayload::storage::disk::{Disk, MemoryDisk};
use npayload::storage::{StorageConfig, Upkeep};
use npayload::types::Timestamp;

use super::{new, start};
use crate::storage_harness::{
    CHECKPOINT_MS, Harness, Mercy, Model, log_dir, log_id, names, segment_file, small,
};

#[test]
fn the_files_of_a_deleted_log_stay_until_its_direct_run_is_over() {
    let (disk, mut harness) = new();
    harness.append(&[(1, &[4_000])]).unwrap();
    let round = harness.storage.plan_round(Timestamp(harness.now)).unwrap();
    harness.storage.drop_log(log_id(1));
    let now = Timestamp(harness.now);
    while let Some(upkeep) = harness.storage.plan_upkeep(now) {
        assert!(
            !matches!(upkeep, Upkeep::Remove(_)),
            "removed under a direct run"
        );
        harness.storage.finish_upkeep(upkeep.run(), now);
    }
    let end = Box::new(round).run();
    harness.storage.finish_round(end);
    let mut removed = None;
    while let Some(upkeep) = harness.storage.plan_upkeep(now) {
        removed = removed.or(harness.storage.finish_upkeep(upkeep.run(), now));
    }
    assert_eq!(removed, Some(log_id(1)));
    let dir = log_dir(1);
    assert!(
        !disk.exists(&dir).unwrap(),
        "the direct run made the directory again"
    );
}

#[test]
fn segments_that_a_crash_left_below_the_log_start_are_removed_later() {
    let (disk, mut harness) = new();
    for _ in 0..12 {
        harness.append(&[(0, &[1_500])]).unwrap();
        harness.flush();
    }
    harness.checkpoint();
    harness.set_log_start(0, 9);
    harness.round();
    // Killed before the removal, after the disk has lost one of the names in the middle.
    let dir = log_dir(0);
    let names = || -> Vec<String> {
        let logs = disk.list(&dir).unwrap().into_iter().map(|entry| entry.name);
        logs.filter(|name| name.ends_with(".log")).collect()
    };
    let count = names().len();
    assert!(count > 5);
    disk.remove_file(&dir.join(&names()[1])).unwrap();
    let now = harness.now + 1;
    let model = harness.kill();
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.model.forget_waiting();
    harness.check();
    assert!(harness.storage.log(log_id(0)).unwrap().refused().is_none());
    harness.upkeep();
    assert!(names().len() < count - 3, "{:?}", names());
    harness.check();
}

/// The end of a segment may be in the journal and in memory alone when the segment is trimmed: nobody
/// writes it to a file that is gone.
#[test]
fn what_a_trimmed_segment_lacks_is_written_nowhere_and_fails_nobody() {
    let (disk, mut harness) = new();
    harness.append(&[(2, &[300])]).unwrap();
    harness.checkpoint();
    // Others are opened, so that the segment's file is closed.
    for n in [0, 1, 3] {
        if n == 3 {
            harness.create(n);
        }
        harness.append(&[(n, &[300])]).unwrap();
        harness.checkpoint();
    }
    harness.append(&[(2, &[40])]).unwrap();
    harness.roll(2);
    harness.append(&[(2, &[50])]).unwrap();
    harness.round();
    harness.set_log_start(2, 2);
    harness.flush();
    let first = segment_file(2, 0);
    assert!(!disk.exists(&first).unwrap());
    harness.checkpoint();
    assert!(harness.storage.log(log_id(2)).unwrap().refused().is_none());
    assert_eq!(harness.storage.unwritten_bytes(), 0);
    assert!(!disk.exists(&first).unwrap());
    harness.append(&[(2, &[60])]).unwrap();
    harness.flush();
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk), model, now).unwrap();
    harness.check_recovered(Mercy::Process);
}

#[test]
fn segments_before_it_go_while_a_large_run_is_under_way() {
    let (disk, mut harness) = new();
    for _ in 0..2 {
        harness.append(&[(0, &[4_000])]).unwrap();
        harness.flush();
        harness.roll(0);
    }
    harness.checkpoint();
    let first = segment_file(0, 0);
    assert!(disk.exists(&first).unwrap());
    harness.set_log_start(0, 1);
    harness.round();
    assert!(disk.exists(&first).unwrap());
    // Whoever writes large runs has one under way whenever somebody looks, or one that finds the disk full.
    harness.append(&[(0, &[4_000])]).unwrap();
    harness.step_round(); // planned
    while harness.step_upkeep() {}
    assert!(!disk.exists(&first).unwrap());
    harness.flush();
    harness.check();
}

#[test]
fn the_last_handle_of_a_removed_segment_is_closed_before_its_end_is_booked() {
    let (disk, mut harness) = new();
    for _ in 0..2 {
        harness.append(&[(0, &[100])]).unwrap();
        harness.checkpoint();
        harness.roll(0);
    }
    let first = segment_file(0, 0);
    harness.read(log_id(0), 0, 1000).unwrap();
    let before = disk.open_files();
    harness.set_log_start(0, 1);
    harness.round();
    // Planned, then run, then booked: that last under the lock that everybody waits for.
    while disk.exists(&first).unwrap() {
        assert!(harness.step_upkeep());
    }
    let after = disk.open_files();
    assert!(after < before, "{after} of {before} files are open");
    assert!(harness.step_upkeep());
    assert_eq!(disk.open_files(), after);
    harness.check();
}

#[test]
fn removals_one_after_the_other_keep_a_file_for_each_segment_begun() {
    let (disk, mut harness) = new();
    for _ in 0..5 {
        harness.append(&[(0, &[3_400])]).unwrap();
        harness.flush();
        harness.roll(0);
    }
    harness.checkpoint();
    let spares = || names(&disk, 0, ".spare").len();
    for (log_start, kept) in [(2, 2), (4, 4)] {
        harness.set_log_start(0, log_start);
        harness.round();
        harness.upkeep();
        assert_eq!(spares(), kept, "log start {log_start}");
    }
    harness.append(&[(0, &[3_400])]).unwrap();
    harness.flush();
    assert_eq!(spares(), 3, "the next segment is one of them");
    harness.check();
}

#[test]
fn what_retention_drops_goes_although_there_is_always_something_to_write() {
    let (disk, mut harness) = new();
    for _ in 0..3 {
        harness.append(&[(0, &[100])]).unwrap();
        harness.round();
        harness.roll(0);
    }
    harness.checkpoint();
    harness.set_log_start(0, 2);
    harness.round();
    let left = || names(&disk, 0, ".log").len();
    let (all, mut steps) = (left(), 0);
    while left() == all {
        assert!(steps < 24, "starved");
        harness.append(&[(1, &[2_500])]).unwrap();
        harness.round();
        assert!(harness.step_upkeep());
        steps += 1;
    }
    harness.check();
}

#[test]
fn no_index_is_saved_of_a_segment_that_was_removed() {
    let disk = MemoryDisk::new();
    let config = StorageConfig {
        max_open_segments: 64,
        ..small()
    };
    let open = || Harness::open_with(Arc::new(disk.clone()), config, Model::default(), 1).unwrap();
    let mut harness = start(&disk, open);
    harness.append(&[(0, &[100])]).unwrap();
    harness.checkpoint();
    let end = harness.storage.log(log_id(0)).unwrap().end().0;
    for _ in 0..2 {
        harness.append(&[(0, &[100])]).unwrap();
        harness.round();
        harness.roll(0);
    }
    harness.now += CHECKPOINT_MS;
    assert!(harness.cut_checkpoint());
    harness.round();
    assert!(harness.step_upkeep(), "a checkpoint is planned");
    harness.set_log_start(0, end + 1);
    harness.round();
    let now = Timestamp(harness.now);
    let before = harness.storage.checkpoint_number();
    while harness.storage.checkpoint_number() == before {
        assert!(harness.step_upkeep());
    }
    let mut jobs = Vec::new();
    while let Some(job) = harness.storage.plan_upkeep(now) {
        jobs.push(format!("{job:?}").split('(').next().unwrap().to_owned());
        harness.storage.finish_upkeep(job.run(), now);
    }
    let place = |kind: &str| jobs.iter().position(|job| job == kind).unwrap();
    assert!(place("Remove") < place("Index"), "{jobs:?}");
    let left = names(&disk, 0, ".log");
    for ending in [".index", ".timeindex"] {
        for name in names(&disk, 0, ending) {
            let segment = name.replace(ending, ".log");
            assert!(left.contains(&segment), "{name} of a removed segment");
        }
    }
    harness.check();
}

#[test]
fn segments_of_many_logs_go_in_one_job() {
    let (disk, mut harness) = new();
    for _ in 0..3 {
        for n in 0..3 {
            harness.append(&[(n, &[100])]).unwrap();
            harness.round();
            harness.roll(n);
        }
        harness.checkpoint();
    }
    for n in 0..3 {
        harness.set_log_start(n, 2);
    }
    harness.round();
    let left = || (0..3).map(|n| names(&disk, n, ".log").len()).sum::<usize>();
    let (all, now) = (left(), Timestamp(harness.now));
    let mut jobs = 0;
    while let Some(job) = harness.storage.plan_upkeep(now) {
        jobs += u32::from(matches!(job, Upkeep::Remove(_)));
        harness.storage.finish_upkeep(job.run(), now);
    }
    assert_eq!((left(), jobs), (all - 6, 1));
    harness.check();
}
