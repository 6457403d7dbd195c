//! Where batches lie in their segments, and what goes when.

#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

use std::path::Path;
use std::sync::Arc;

use npayload::format::BatchHeader;
use npayload::storage::disk::{
    CrashingDisk, Disk, FailingDisk, Fault, Loss, MemoryDisk, OpenMode, Operation,
};
use npayload::storage::{CommitError, LogOptions, Outcome, Read, ReadJob, StorageConfig, Upkeep};
use npayload::types::{Durability, Offset, Timestamp};

use crate::storage_harness::{
    CHECKPOINT_MS, Harness, Mercy, Model, ROOT, batch, journal_files, log_dir, log_id, names,
    options, segment_file, small,
};

const BLOCK: u64 = 4096;

fn start(disk: &dyn Disk, open: impl FnOnce() -> Harness) -> Harness {
    let mut harness = open();
    (0..3).for_each(|n| harness.create(n));
    harness.flush();
    assert!(disk.exists(Path::new(ROOT)).unwrap());
    harness
}

fn new() -> (MemoryDisk, Harness) {
    let disk = MemoryDisk::new();
    let open = || Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    let harness = start(&disk, open);
    (disk, harness)
}

/// First offset and position of every batch in the first segment of a log.
fn places(disk: &dyn Disk, n: u64) -> Vec<(u64, u64)> {
    let file = disk.open(&segment_file(n, 0), OpenMode::Read).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    let mut places = Vec::new();
    let mut at = 4096;
    while at < bytes.len() {
        match BatchHeader::peek(&bytes[at..]) {
            Ok(header) => {
                places.push((header.base_offset().0, at as u64));
                at += header.len();
            }
            Err(_) => {
                let next = (at + 1).next_multiple_of(4096).min(bytes.len());
                assert!(bytes[at..next].iter().all(|byte| *byte == 0), "padding");
                at = next;
            }
        }
    }
    places
}

#[test]
fn a_batch_after_a_checkpoint_starts_on_a_fresh_block() {
    let (disk, mut harness) = new();
    harness.append(&[(1, &[100])]).unwrap();
    harness.append(&[(1, &[100])]).unwrap();
    harness.checkpoint();
    let before = places(&disk, 1);
    assert_eq!(before.len(), 2);
    assert!(
        !before[1].1.is_multiple_of(BLOCK),
        "batches follow each other"
    );
    harness.append(&[(1, &[100])]).unwrap();
    harness.checkpoint();
    let after = places(&disk, 1);
    assert_eq!(after[..2], before);
    assert!(after[2].1.is_multiple_of(BLOCK), "{after:?}");
}

#[test]
fn a_direct_run_shares_no_block_with_what_is_written_later() {
    let (disk, mut harness) = new();
    harness.append(&[(1, &[100])]).unwrap();
    harness.round();
    assert_ne!(harness.storage.unwritten_bytes(), 0);
    harness.append(&[(1, &[3_200])]).unwrap();
    harness.round();
    // The tail in front of it shares its first block, so it was written too.
    assert_eq!(places(&disk, 1).len(), 2);
    let records = small().write_behind_bytes;
    assert!(
        harness.storage.unwritten_bytes() < records,
        "only the directory is left"
    );
    harness.append(&[(1, &[20])]).unwrap();
    harness.checkpoint();
    let places = places(&disk, 1);
    assert!(places[2].1.is_multiple_of(BLOCK), "{places:?}");
    harness.check();
}

#[test]
fn a_checkpoint_that_is_cut_within_a_direct_run_finds_what_follows_it() {
    let (disk, mut harness) = new();
    // It fills its block, so that the next one follows it although it begins a fresh one.
    let whole = |size: &usize| batch(0, &[*size]).len() as u64 == BLOCK;
    let whole = (3_000..4_096).find(whole).unwrap();
    harness.append(&[(1, &[whole])]).unwrap();
    harness.now += CHECKPOINT_MS;
    harness.step_upkeep(); // it is cut, and waits for the round
    harness.append(&[(1, &[500])]).unwrap();
    harness.append(&[(1, &[500])]).unwrap();
    let before = harness.storage.checkpoint_number();
    harness.flush();
    assert_eq!(harness.storage.checkpoint_number(), before + 1);
    let places = places(&disk, 1);
    assert_eq!(places[..2], [(0, BLOCK), (1, 2 * BLOCK)]);
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.check_recovered(Mercy::Power);
    assert_eq!(harness.storage.log(log_id(1)).unwrap().end(), Offset(3));
}

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
