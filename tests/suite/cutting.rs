//! Cutting off the end of a log, and a crash at every call to the disk while that goes on.

use std::io::IoSlice;
use std::sync::Arc;

use npayload::broker::{BrokerError, Fetch, FetchJob, FetchStep, Fetched, JobEnd, Place};
use npayload::format::BatchHeader;
use npayload::storage::disk::{
    CrashingDisk, Disk, FailingDisk, Fault, Loss, MemoryDisk, OpenMode, Operation,
};
use npayload::storage::{Read, ReadError, Upkeep, UpkeepEnd};
use npayload::types::{LogEpoch, Offset, Timestamp};

use crate::copies::{Driven, SIZES, name};
use crate::scrub::pass;
use crate::storage_harness::{Harness, Mercy, Model, log_dir, log_id, names, segment_file};
use crate::successors::Nobody;

/// A log of four segments of two batches, one record each, of which all is read.
fn four_segments(disk: Arc<dyn Disk>) -> Harness {
    let mut harness = Harness::open(disk, Model::default(), 1).expect("it opens");
    harness.create(0);
    harness.flush();
    for _ in 0..4 {
        for _ in 0..2 {
            harness.append(&[(0, &[100])]).expect("it is taken");
            harness.flush();
        }
        harness.checkpoint();
        harness.roll(0);
    }
    harness.read(log_id(0), 0, 1000).expect("it is read");
    harness
}

/// Such a log, and a cut of it that has run and is not booked. Something may happen before it runs.
fn ran(before: impl FnOnce(&mut Harness)) -> (MemoryDisk, Harness, UpkeepEnd) {
    let disk = MemoryDisk::new();
    let mut harness = four_segments(Arc::new(disk.clone()));
    let end = cut_of(&mut harness, 5, before);
    (disk, harness, end)
}

/// A cut of the log that has run and is not booked.
fn cut_of(harness: &mut Harness, at: u64, before: impl FnOnce(&mut Harness)) -> UpkeepEnd {
    cut_of_log(0, harness, at, before)
}

fn cut_of_log(
    n: u64,
    harness: &mut Harness,
    at: u64,
    before: impl FnOnce(&mut Harness),
) -> UpkeepEnd {
    let begun = harness
        .storage
        .begin_cut(log_id(n), Offset(at), Box::new(Nobody));
    begun.expect("it begins");
    let mut before = Some(before);
    for _ in 0..100 {
        harness.now += 60;
        harness.round();
        harness.cut_checkpoint();
        let now = Timestamp(harness.now);
        let Some(job) = harness.storage.plan_upkeep(now) else {
            continue;
        };
        let is_cut = matches!(job, Upkeep::Cut(_));
        if is_cut && let Some(before) = before.take() {
            before(harness);
        }
        let end = job.run();
        if is_cut {
            return end;
        }
        harness.storage.finish_upkeep(end, now);
    }
    panic!("the cut never runs");
}

#[test]
fn the_last_handle_of_a_cut_segment_is_closed_without_the_lock() {
    let (disk, mut harness, end) = ran(|_| {});
    let now = Timestamp(harness.now);
    let before = disk.open_files();
    harness.storage.finish_upkeep(end, now);
    assert_eq!(disk.open_files(), before, "booked under a lock");
    let (_, ended) = harness.storage.take_cut().expect("it ends");
    ended.expect("it is cut");
    assert!(!disk.exists(&segment_file(0, 6)).expect("it is told"));
    assert!(harness.storage.has_upkeep(), "at once");
    let mut closed = 0;
    while let Some(job) = harness.storage.plan_upkeep(now) {
        let planned = disk.open_files();
        let end = job.run();
        closed += planned.saturating_sub(disk.open_files());
        let ran = disk.open_files();
        harness.storage.finish_upkeep(end, now);
        assert_eq!(disk.open_files(), ran, "booked under a lock");
    }
    assert!(closed > 0, "none of {before} files is closed");
}

#[test]
fn segments_that_retention_takes_while_a_cut_runs_stay_out_of_the_log() {
    let (disk, mut harness, end) = ran(|harness| {
        harness.storage.set_log_start(log_id(0), Offset(3));
    });
    let now = Timestamp(harness.now);
    harness.storage.finish_upkeep(end, now);
    let (_, ended) = harness.storage.take_cut().expect("it ends");
    ended.expect("it is cut");
    harness.upkeep();
    assert!(!disk.exists(&segment_file(0, 0)).expect("it is told"));
    // Whoever asks for the earliest time looks into the first segment that the log has.
    let job = harness.storage.plan_time(log_id(0), Timestamp(0));
    let found = job.expect("its segments are known").run();
    assert_eq!(found.expect("it is read"), Offset(3));
}

#[test]
fn what_a_crash_left_of_a_log_goes_also_where_a_cut_is_the_first_to_list_it() {
    let disk = MemoryDisk::new();
    let mut harness = four_segments(Arc::new(disk.clone()));
    // Killed before the removal.
    harness.set_log_start(0, 3);
    harness.round();
    let (now, model) = (harness.now + 1, harness.kill());
    let opened = Harness::open(Arc::new(disk.clone()), model, now);
    let mut harness = opened.expect("it opens");
    assert!(harness.storage.plan_load(log_id(0)).is_some(), "not listed");
    assert!(disk.exists(&segment_file(0, 0)).expect("it is told"));
    let spare = log_dir(0).join(format!("{:020}.spare", 1));
    disk.open(&spare, OpenMode::Create).expect("it is made");
    let end = cut_of(&mut harness, 5, |_| {});
    harness.storage.finish_upkeep(end, Timestamp(harness.now));
    let (_, ended) = harness.storage.take_cut().expect("it ends");
    ended.expect("it is cut");
    harness.upkeep();
    assert!(!disk.exists(&segment_file(0, 0)).expect("it is told"));
    assert_eq!(names(&disk, 0, ".spare"), Vec::<String>::new());
    assert!(disk.exists(&segment_file(0, 2)).expect("it is told"));
}

#[test]
fn a_cut_that_fails_leaves_no_copy_behind() {
    for (operation, at) in [
        (Operation::Write, "checkpoint"),
        (Operation::Write, ".spare"),
    ] {
        let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
        let mut harness = four_segments(Arc::new(disk.clone()));
        let end = cut_of(&mut harness, 5, |_| {
            disk.plan(Fault::new(Fault::NO_SPACE).on(operation).at(at));
        });
        assert_eq!(disk.struck(), 1, "{at}");
        assert_eq!(names(&disk, 0, ".spare").len(), 1);
        harness.storage.finish_upkeep(end, Timestamp(harness.now));
        let (_, ended) = harness.storage.take_cut().expect("it ends");
        assert!(ended.is_err());
        harness.upkeep();
        assert_eq!(names(&disk, 0, ".spare"), Vec::<String>::new(), "{at}");
        harness.check();
    }
}

/// Whoever opens a segment indexes what it is told to have.
#[test]
fn who_reads_while_a_cut_fails_hides_nothing_from_who_reads_later() {
    let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
    // The files of three segments are open, and not that of the first.
    let mut harness = four_segments(Arc::new(disk.clone()));
    let end = cut_of(&mut harness, 1, |_| {
        let fault = Fault::new(Fault::NO_SPACE).on(Operation::Write);
        disk.plan(fault.at("checkpoint"));
    });
    assert_eq!(disk.struck(), 1);
    let opened = disk.count(Operation::Open);
    let read = harness.storage.plan_read(log_id(0), Offset(0), 1000);
    let Ok(Read::Segment(read)) = read else {
        panic!("{read:?}");
    };
    assert_eq!(read.run().expect("it is read").next, Offset(1));
    assert!(disk.count(Operation::Open) > opened, "it was open");
    harness.storage.finish_upkeep(end, Timestamp(harness.now));
    let (_, ended) = harness.storage.take_cut().expect("it ends");
    assert!(ended.is_err());
    harness.check();
}

/// The file that a start goes on in may be longer than its log, and is cut to it when it is first
/// opened: not to what a cut has told readers, nor to what an older one knew of it.
#[test]
fn who_reads_a_log_first_while_it_is_cut_takes_nothing_of_it_away() {
    for fails in [true, false] {
        let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
        let harness = four_segments(Arc::new(disk.clone()));
        let (now, model) = (harness.now + 1, harness.kill());
        let opened = Harness::open(Arc::new(disk.clone()), model, now);
        let mut harness = opened.expect("it opens");
        let id = log_id(0);
        let read = harness.storage.plan_read(id, Offset(6), 1000);
        let Ok(Read::Segment(read)) = read else {
            panic!("{read:?}");
        };
        let end = cut_of(&mut harness, 7, |_| {
            if fails {
                let fault = Fault::new(Fault::NO_SPACE).on(Operation::Write);
                disk.plan(fault.at("checkpoint"));
            }
        });
        if fails {
            drop(read.run());
        }
        let now = Timestamp(harness.now);
        harness.storage.finish_upkeep(end, now);
        let (_, ended) = harness.storage.take_cut().expect("it ends");
        assert_eq!(ended.is_err(), fails);
        if !fails {
            let log = harness.model.logs.get_mut(&id).expect("it is known");
            log.batches.retain(|batch| batch.end <= 7);
            (log.synced, log.written) = (7, 7);
            harness.append(&[(0, &[100])]).expect("it is taken");
            harness.flush();
            harness.checkpoint();
            drop(read.run());
        }
        harness.check();
        let (now, model) = (harness.now + 1, harness.kill());
        let opened = Harness::open(Arc::new(disk.clone()), model, now);
        opened.expect("it opens").check_recovered(Mercy::Power);
    }
}

/// What is written behind the new end goes to the file that such a reader has yet to open.
#[test]
fn who_comes_late_to_read_a_log_that_was_cut_takes_nothing_of_it_away() {
    // A segment of it has room for several blocks.
    const N: u64 = 1;
    let disk = MemoryDisk::new();
    let opened = Harness::open(Arc::new(disk.clone()), Model::default(), 1);
    let mut harness = opened.expect("it opens");
    harness.create(N);
    for _ in 0..2 {
        harness.append(&[(N, &[100])]).expect("it is taken");
        harness.flush();
    }
    harness.checkpoint();
    let (now, model) = (harness.now + 1, harness.kill());
    let opened = Harness::open(Arc::new(disk.clone()), model, now);
    let mut harness = opened.expect("it opens");
    let read = harness.storage.plan_read(log_id(N), Offset(0), 1000);
    let Ok(Read::Segment(read)) = read else {
        panic!("{read:?}");
    };
    let end = cut_of_log(N, &mut harness, 1, |_| {});
    harness.storage.finish_upkeep(end, Timestamp(harness.now));
    let (_, ended) = harness.storage.take_cut().expect("it ends");
    ended.expect("it is cut");
    let log = harness.model.logs.get_mut(&log_id(N)).expect("it is known");
    log.batches.retain(|batch| batch.end <= 1);
    (log.synced, log.written) = (1, 1);
    harness.append(&[(N, &[100])]).expect("it is taken");
    harness.flush();
    harness.checkpoint();
    assert_eq!(names(&disk, N, ".log").len(), 1, "it is in the same file");
    drop(read.run());
    harness.check();
}

#[test]
fn damage_that_is_found_while_a_cut_runs_stays_marked() {
    for is_read in [false, true] {
        let disk = MemoryDisk::new();
        let harness = four_segments(Arc::new(disk.clone()));
        let (now, model) = (harness.now + 1, harness.kill());
        let file = disk.open(&segment_file(0, 2), OpenMode::ReadWrite);
        file.and_then(|file| file.write_at(0, &[IoSlice::new(&[0xFF; 64])]))
            .expect("its header is damaged");
        let opened = Harness::open(Arc::new(disk.clone()), model, now);
        let mut harness = opened.expect("it opens");
        // Who looks for its segments, where that is not the cut alone.
        let end = cut_of(&mut harness, 5, |harness| {
            let task = harness.storage.plan_load(log_id(0)).expect("not listed");
            if is_read {
                let listed = harness.storage.finish_load(task.run());
                listed.expect("it is listed");
            }
        });
        harness.storage.finish_upkeep(end, Timestamp(harness.now));
        let (_, ended) = harness.storage.take_cut().expect("it ends");
        ended.expect("it is cut");
        let marked = |harness: &Harness| {
            let log = harness.storage.log(log_id(0)).expect("a log");
            let rows = log.damage().iter().map(|row| row.segment_base.0);
            rows.collect::<Vec<_>>()
        };
        assert_eq!(marked(&harness), [2], "{is_read}");
        harness.checkpoint();
        let (now, model) = (harness.now + 1, harness.kill());
        let opened = Harness::open(Arc::new(disk), model, now);
        assert_eq!(marked(&opened.expect("it opens")), [2], "{is_read}");
    }
}

#[test]
fn damage_that_is_trimmed_while_a_cut_runs_is_none_after_it() {
    let damage = |harness: &Harness| {
        let log = harness.storage.log(log_id(0)).expect("a log");
        log.damage().len()
    };
    let disk = MemoryDisk::new();
    let mut harness = four_segments(Arc::new(disk.clone()));
    let file = disk.open(&segment_file(0, 0), OpenMode::ReadWrite);
    file.and_then(|file| file.write_at(4096 + 200, &[IoSlice::new(&[0xFF; 8])]))
        .expect("its first batch is damaged");
    pass(&mut harness);
    assert_eq!(damage(&harness), 1);
    let end = cut_of(&mut harness, 5, |harness| {
        harness.storage.set_log_start(log_id(0), Offset(3));
        assert_eq!(damage(harness), 0);
    });
    let now = Timestamp(harness.now);
    harness.storage.finish_upkeep(end, now);
    let (_, ended) = harness.storage.take_cut().expect("it ends");
    ended.expect("it is cut");
    assert_eq!(damage(&harness), 0);
}

#[test]
fn who_reads_a_log_while_it_is_cut_gets_nothing_of_what_goes() {
    ran(|harness| {
        let read = harness.storage.plan_read(log_id(0), Offset(4), 1000);
        let Ok(Read::Segment(read)) = read else {
            panic!("{read:?}");
        };
        assert_eq!(read.run().expect("it is read").next, Offset(5));
    });
}

/// A log over several segments, of two starts.
fn filled(disk: CrashingDisk) -> Driven {
    let mut home = Driven::open_as(disk, 1, Some("us-east")).expect("it opens");
    let mut sequence = 0;
    for part in 0..2 {
        for sizes in SIZES {
            publish(&mut home, sequence, sizes);
            sequence += sizes.len() as u64;
        }
        home.settle();
        if part == 0 {
            home = home.reopen(Loss::None);
        }
    }
    home.settle();
    home
}

/// Publishes a batch; false where the disk has crashed.
fn publish(home: &mut Driven, sequence: u64, sizes: &[usize]) -> bool {
    let mut batch = Some(Driven::built(sequence, sizes));
    loop {
        match home.try_publish(&mut batch) {
            Ok(_) => return true,
            Err(_) if home.disk.is_crashed() => return false,
            Err(refusal) => assert!(refusal.is_busy(), "{:?}", refusal.error),
        }
        home.settle();
    }
}

/// Cuts the log and waits until that is done; false where the disk has crashed.
fn cut(home: &mut Driven, at: Offset) -> bool {
    let id = home.id().expect("a log");
    home.broker.begin_cut(id, at).expect("it begins");
    let mut batch = Some(Driven::built(0, &[1]));
    let refused = home
        .try_publish(&mut batch)
        .map(|_| ())
        .map_err(|refusal| refusal.error);
    let is_retry = refused.is_ok();
    assert!(
        is_retry || refused.is_err(),
        "nothing new is taken meanwhile"
    );
    for _ in 0..20 {
        home.settle();
        if home.disk.is_crashed() {
            return false;
        }
        if let Some(ended) = home.broker.take_cut(id) {
            ended.expect("it is cut");
            return true;
        }
    }
    panic!("the cut at {at} does not end");
}

fn ends(home: &mut Driven) -> Vec<u64> {
    let mut end = 0;
    let batches = home.batches(Offset(0));
    let ends = batches.iter().map(|batch| {
        let header = BatchHeader::peek(batch).expect("a batch");
        end = header.end_offset().0;
        end
    });
    ends.collect()
}

#[test]
fn a_log_is_cut_at_any_batch_and_goes_on_there() {
    let mut whole = filled(CrashingDisk::new());
    let (batches, ends) = (whole.batches(Offset(0)), ends(&mut whole));
    for (kept, end) in ends.iter().enumerate().take(ends.len() - 1) {
        let mut home = filled(CrashingDisk::new());
        let at = Offset(*end);
        assert!(cut(&mut home, at));
        assert_eq!(home.batches(Offset(0)), batches[..=kept], "cut at {at}");
        // The table of producers is that of what is left: the next sequence is the one after it.
        let more = Driven::built(*end + 1, &[10]);
        assert!(
            home.try_publish(&mut Some(more)).is_err(),
            "a sequence left out"
        );
        let last = &SIZES[kept % SIZES.len()];
        let again = Driven::built(*end - last.len() as u64, last);
        let again = home.try_publish(&mut Some(again)).expect("a retry");
        assert!(again.is_duplicate);
        assert_eq!(again.last, Offset(*end - 1));
        let mut sequence = *end;
        for sizes in SIZES {
            publish(&mut home, sequence, sizes);
            sequence += sizes.len() as u64;
        }
        home.settle();
        let grown = home.batches(Offset(0));
        assert_eq!(grown[..=kept], batches[..=kept]);
        assert_eq!(grown.len(), kept + 1 + SIZES.len());
        for loss in [Loss::All, Loss::None] {
            home = home.reopen(loss);
            assert_eq!(home.batches(Offset(0)), grown, "cut at {at}");
            let report = home.broker.storage().recovery_report();
            assert_eq!((&report.damage, &report.moved), (&Vec::new(), &Vec::new()));
        }
    }
}

#[test]
fn a_listing_that_a_cut_overtakes_closes_nothing() {
    let mut whole = filled(CrashingDisk::new());
    let (batches, ends) = (whole.batches(Offset(0)), ends(&mut whole));
    // As a start leaves it: nobody has looked into the log's folder.
    let mut home = whole.reopen(Loss::None);
    let id = home.id().expect("a log");
    let task = home.broker.storage().plan_load(id).expect("not listed");
    assert!(cut(&mut home, Offset(ends[0])));
    home.broker.finish_load(task.run()).expect("it is listed");
    assert!(publish(&mut home, ends[0], &[10]), "it takes batches");
    home.settle();
    let grown = home.batches(Offset(0));
    assert_eq!((grown.len(), &grown[0]), (2, &batches[0]));
}

#[test]
fn a_crash_at_any_call_of_a_cut_leaves_the_log_whole_or_cut() {
    let mut whole = filled(CrashingDisk::new());
    let (batches, ends) = (whole.batches(Offset(0)), ends(&mut whole));
    for kept in [2, 13, 20] {
        let at = Offset(ends[kept]);
        let counted = CrashingDisk::new();
        let mut home = filled(counted.clone());
        let before = home.disk.calls();
        assert!(cut(&mut home, at));
        let calls = home.disk.calls();
        assert!(calls - before > 15, "{before}..{calls}");
        for call in before..calls {
            let mut home = filled(CrashingDisk::new());
            match call % 2 {
                0 => home.disk.crash_during(call),
                _ => home.disk.crash_after(call),
            }
            cut(&mut home, at);
            let loss = match call % 3 {
                0 => Loss::All,
                1 => Loss::None,
                _ => Loss::Random(call),
            };
            let mut home = home.reopen(loss);
            let report = home.broker.storage().recovery_report();
            assert_eq!(report.damage, [], "call {call}, {loss:?}");
            let found = home.batches(Offset(0));
            if found.len() == batches.len() {
                assert_eq!(found, batches, "call {call}, {loss:?}");
                assert!(cut(&mut home, at));
            }
            assert_eq!(
                home.batches(Offset(0)),
                batches[..=kept],
                "call {call}, {loss:?}"
            );
            publish(&mut home, at.0, &[100, 200]);
            home.settle();
            let mut home = home.reopen(Loss::All);
            assert_eq!(
                home.batches(Offset(0)).len(),
                kept + 2,
                "call {call}, {loss:?}"
            );
        }
    }
}

#[test]
fn a_cut_anywhere_else_is_refused_and_changes_nothing() {
    let mut home = filled(CrashingDisk::new());
    let (batches, ends) = (home.batches(Offset(0)), ends(&mut home));
    let id = home.id().expect("a log");
    for at in [0, ends[ends.len() - 1], u64::MAX] {
        assert!(home.broker.begin_cut(id, Offset(at)).is_err(), "at {at}");
    }
    // In the middle of a batch: found out once it is looked at.
    home.broker.begin_cut(id, Offset(1)).expect("it begins");
    assert!(
        home.broker.begin_cut(id, Offset(2)).is_err(),
        "one at a time"
    );
    home.settle();
    let ended = home.broker.take_cut(id).expect("it ends");
    assert!(ended.is_err());
    assert_eq!(home.batches(Offset(0)), batches);
    assert!(
        publish(&mut home, ends[ends.len() - 1], &[10]),
        "it takes batches again"
    );
    home.settle();
    let mut home = home.reopen(Loss::All);
    assert_eq!(home.batches(Offset(0)).len(), batches.len() + 1);
}

/// What a fetch finds now.
fn found(home: &mut Driven, fetch: &mut Fetch) -> Result<Fetched, BrokerError> {
    loop {
        match home.broker.fetch_step(fetch)? {
            FetchStep::Done(fetched) => return Ok(fetched),
            FetchStep::Run(job) => home.broker.feed_fetch(fetch, job.run())?,
        }
    }
}

/// Cuts the log; something comes between the run of the cut and its end.
fn cut_with(home: &mut Driven, at: Offset, between: impl FnOnce(&mut Driven)) {
    let id = home.id().expect("a log");
    home.broker.begin_cut(id, at).expect("it begins");
    let mut between = Some(between);
    for _ in 0..100 {
        home.now += 2_000;
        let now = Timestamp(home.now);
        while let Some(round) = home.broker.plan_round(now) {
            home.broker.finish_round(round.run());
        }
        if let Some(job) = home.broker.plan_upkeep(now) {
            let is_cut = matches!(job, Upkeep::Cut(_));
            let end = job.run();
            if is_cut && let Some(between) = between.take() {
                between(home);
            }
            home.broker.finish_upkeep(end, now);
        }
        if let Some(ended) = home.broker.take_cut(id) {
            return ended.expect("it is cut");
        }
    }
    panic!("the cut at {at} does not end");
}

/// When the job of a fetch runs, and its end is booked, where a cut comes in between.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Job {
    RunsBefore,
    EndsBeforeTheCutDoes,
    RunsBehind,
}

/// A fetch from an offset, and its job that reads batches.
fn begun(home: &mut Driven, from: Offset) -> (Fetch, FetchJob) {
    let fetch = Fetch::new(name(), None, Place::Offset(from), LogEpoch(0), 1 << 20);
    let mut fetch = fetch.for_socket();
    loop {
        match home.broker.fetch_step(&mut fetch).expect("readable") {
            FetchStep::Run(job @ FetchJob::Load(_)) => {
                let listed = home.broker.feed_fetch(&mut fetch, job.run());
                listed.expect("it is listed");
            }
            FetchStep::Run(job) => return (fetch, job),
            FetchStep::Done(fetched) => panic!("{fetched:?}"),
        }
    }
}

fn told(home: &mut Driven, fetch: &mut Fetch, end: JobEnd) -> Result<Vec<u8>, BrokerError> {
    home.broker.feed_fetch(fetch, end)?;
    found(home, fetch).map(|fetched| fetched.slices.parts.concat())
}

#[test]
fn a_fetch_that_a_cut_overtakes_is_told_of_the_log_as_it_is() {
    let ends = ends(&mut filled(CrashingDisk::new()));
    let (at, from) = (ends[13], Offset(ends[16]));
    let cases = [true, false].map(|is_open| {
        [
            (Job::RunsBefore, is_open, false),
            (Job::RunsBefore, is_open, true),
            (Job::EndsBeforeTheCutDoes, is_open, false),
            (Job::RunsBehind, is_open, false),
            (Job::RunsBehind, is_open, true),
        ]
    });
    for case in cases.concat() {
        let (when, is_open, has_grown) = case;
        let mut home = filled(CrashingDisk::new());
        if !is_open {
            home = home.reopen(Loss::None);
        }
        let (mut fetch, job) = begun(&mut home, from);
        let early = (when == Job::RunsBefore).then(|| job.run());
        let mut answer = None;
        cut_with(&mut home, Offset(at), |home| {
            if when == Job::EndsBeforeTheCutDoes {
                answer = Some(told(home, &mut fetch, job.run()));
            }
        });
        if has_grown {
            // Other batches than those before.
            for sequence in at..ends[ends.len() - 1] + 5 {
                publish(&mut home, sequence, &[500]);
            }
            home.settle();
        }
        let answer = answer.unwrap_or_else(|| {
            let end = early.unwrap_or_else(|| job.run());
            told(&mut home, &mut fetch, end)
        });
        match (answer, has_grown) {
            (Ok(found), true) => {
                let all = home.batches(from).concat();
                assert!(!found.is_empty() && all.starts_with(&found), "{case:?}");
            }
            (Err(BrokerError::Read(ReadError::OutOfRange { .. })), false) => {}
            (answer, _) => panic!("{case:?}: {answer:?}"),
        }
    }
}

/// It has seen what was cut off.
#[test]
fn who_waits_at_the_end_of_a_log_that_is_cut_and_grows_beyond_is_told_so() {
    let mut home = Driven::open_as(CrashingDisk::new(), 1, Some("us-east")).expect("it opens");
    let fill = |home: &mut Driven, mut sequence: u64| {
        for sizes in SIZES {
            publish(home, sequence, sizes);
            sequence += sizes.len() as u64;
        }
        home.settle();
    };
    fill(&mut home, 0);
    let ends = ends(&mut home);
    let last = home.batches(Offset(0)).pop().expect("it has batches");
    let seen = BatchHeader::peek(&last).expect("a batch").log_epoch();
    // Of another start: what follows has another epoch.
    let mut home = home.reopen(Loss::None);
    let end = Offset(ends[ends.len() - 1]);
    let mut fetch = Fetch::new(name(), None, Place::Offset(end), seen, 1 << 20);
    let at_end = found(&mut home, &mut fetch).expect("nothing was cut yet");
    assert_eq!(at_end.slices.next, end);
    assert!(cut(&mut home, Offset(ends[5])));
    fill(&mut home, ends[5]);
    let grown = home.batches(end);
    assert!(!grown.is_empty(), "it has grown beyond {end}");
    let told = found(&mut home, &mut fetch).map(|fetched| fetched.slices.next);
    assert!(
        matches!(told, Err(BrokerError::Read(ReadError::Diverged { .. }))),
        "{told:?}"
    );
}

/// All that comes behind the cut came after it had asked for the end.
#[test]
fn who_waits_for_what_comes_at_the_end_is_given_all_that_comes_behind_a_cut() {
    for place in [Place::End, Place::Back(0)] {
        let mut home = filled(CrashingDisk::new());
        let ends = ends(&mut home);
        let (at, end) = (ends[5], ends[ends.len() - 1]);
        let mut fetch = Fetch::new(name(), None, place, LogEpoch(0), 1 << 20);
        let at_end = found(&mut home, &mut fetch).expect("nothing was cut yet");
        assert_eq!(at_end.slices.next, Offset(end));
        assert!(cut(&mut home, Offset(at)));
        for sequence in at..end + 5 {
            publish(&mut home, sequence, &[500]);
        }
        home.settle();
        let given = found(&mut home, &mut fetch).expect("it is readable");
        assert_eq!(given.head.from, Offset(at), "{place:?}");
        let all = home.batches(Offset(at)).concat();
        let given = given.slices.parts.concat();
        assert!(!given.is_empty() && all.starts_with(&given), "{place:?}");
    }
}
