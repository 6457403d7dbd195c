//! Starts that end before they are done, wherever that is and however often: the next one finds all
//! that was promised. And what is gone by then without being missed.

use std::path::PathBuf;
use std::sync::Arc;

use npayload::format::BatchHeader;
use npayload::storage::StageError;
use npayload::storage::disk::{CrashingDisk, Disk, FailingDisk, Fault, Loss, OpenMode, Operation};

use crate::crash::{Wreck, put, survive, with_spares};
use crate::storage_harness::{Harness, Mercy, Model, log_dir, log_id, segment_file};

/// What a killed broker leaves of which the journal has much that no segment has: small batches of
/// several logs in turn, rolls, an entry over two logs, runs that went past the journal, into files of
/// removed segments too, a log start, a deleted log, and a group that was being written.
fn left() -> Wreck {
    let (disk, mut harness) = with_spares();
    [0, 2, 3].into_iter().for_each(|n| harness.create(n));
    for n in 0..4 {
        put(&mut harness, n, &[60, 30]);
    }
    // A checkpoint at once: after a while without large runs nothing is kept to be written over.
    harness.storage.want_traces_gone();
    harness.flush();
    let spares = files(&disk, 1, ".spare").len();
    assert!(spares > 0);
    for turn in 0..3 {
        if turn == 1 {
            harness.roll(0);
            harness.roll(2);
        }
        for n in 0..4 {
            put(&mut harness, n, &[40 + turn, 7]);
        }
        harness.round();
        let shared: &[(u64, &[usize])] = &[(0, &[20]), (3, &[30])];
        if !matches!(harness.append(shared), Err(StageError::Busy)) {
            harness.round();
        }
        put(&mut harness, 1, &[3_200 + turn]);
        put(&mut harness, 2, &[3_300 + turn]);
        harness.round();
    }
    let start = harness.model.logs[&log_id(1)].start;
    harness.set_log_start(1, start + 2);
    harness.drop_log(3);
    harness.round();
    // A checkpoint that was only cut, in a file that has old bytes behind each batch.
    put(&mut harness, 1, &[33]);
    harness.round();
    harness.storage.want_traces_gone();
    assert!(harness.cut_checkpoint());
    put(&mut harness, 1, &[34]);
    harness.round();
    put(&mut harness, 0, &[2_500]);
    put(&mut harness, 1, &[90]);
    assert!(files(&disk, 1, ".spare").len() < spares);
    disk.crash_during(disk.calls());
    harness.round();
    assert!(disk.is_crashed());
    let now = harness.now + 1;
    Wreck {
        disk,
        model: harness.kill(),
        now,
    }
}

/// Opens what is there without a fault: how many calls change the disk, how many of all kinds there
/// are, and how many of them are syncs of files.
fn counted(wreck: &Wreck) -> (u64, u64, u64) {
    let disk = wreck.disk.after(Loss::None);
    let counting = FailingDisk::new(Arc::new(disk.clone()));
    let on = Arc::new(counting.clone());
    let mut harness = Harness::open(on, wreck.model.clone(), wreck.now).unwrap();
    assert!(harness.report.batches > 12, "{:?}", harness.report);
    assert!(harness.report.torn.is_some());
    let counts = (
        disk.calls(),
        counting.calls(),
        counting.count(Operation::Sync),
    );
    harness.check_recovered(Mercy::Process);
    counts
}

fn told(story: &str, ran: impl FnOnce()) {
    if let Err(panic) = std::panic::catch_unwind(std::panic::AssertUnwindSafe(ran)) {
        eprintln!("--- {story}");
        std::panic::resume_unwind(panic);
    }
}

/// Every byte between the batches of a log is zero, as far as it goes.
fn padding_is_zero(disk: &dyn Disk, n: u64, end: u64) {
    for path in files(disk, n, ".log") {
        let file = disk.open(&path, OpenMode::Read).unwrap();
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        let mut at = 4096;
        while at < bytes.len() {
            match BatchHeader::peek(&bytes[at..]) {
                Ok(header) if header.end_offset().0 >= end => return,
                Ok(header) if at + header.len() <= bytes.len() => at += header.len(),
                _ => {
                    let next = (at + 1).next_multiple_of(4096).min(bytes.len());
                    assert!(
                        bytes[at..next].iter().all(|byte| *byte == 0),
                        "{} at byte {at}",
                        path.display()
                    );
                    at = next;
                }
            }
        }
    }
}

fn files(disk: &dyn Disk, n: u64, ending: &str) -> Vec<PathBuf> {
    let dir = log_dir(n);
    let entries = disk.list(&dir).unwrap_or_default().into_iter();
    let names = entries.map(|entry| entry.name);
    let found = names.filter(|name| name.ends_with(ending));
    found.map(|name| dir.join(name)).collect()
}

#[test]
fn a_start_that_is_cut_short_at_any_call_again_and_again_loses_nothing() {
    let wreck = left();
    let (calls, ..) = counted(&wreck);
    assert!(calls > 50, "a start takes {calls} calls");
    for call in 0..calls {
        // Killed each time, or the power goes each time.
        for mercy in [Mercy::Process, Mercy::Power] {
            let story = format!("a start cut short at call {call} of {calls}, {mercy:?}");
            told(&story, || {
                let mut disk = wreck.disk.after(match mercy {
                    Mercy::Process => Loss::None,
                    Mercy::Power => Loss::Random(call),
                });
                for turn in 0..3 {
                    let at = (call + turn * 17) % calls;
                    match (call + turn) % 2 {
                        0 => disk.crash_during(at),
                        _ => disk.crash_after(at),
                    }
                    let on = Arc::new(disk.clone());
                    let opened = Harness::open(on, wreck.model.clone(), wreck.now);
                    assert!(opened.is_ok() || disk.is_crashed(), "{:?}", opened.err());
                    drop(opened);
                    disk = disk.after(match (mercy, turn) {
                        (Mercy::Process, _) => Loss::None,
                        (_, 0) => Loss::Random(call),
                        (_, 1) => Loss::All,
                        _ => Loss::RandomPages(call),
                    });
                }
                survive(&wreck, &disk, mercy, &story);
            });
        }
    }
}

#[test]
fn a_start_of_which_any_call_fails_is_begun_again_and_loses_nothing() {
    let wreck = left();
    let (_, calls, _) = counted(&wreck);
    for nth in (1..=calls).step_by(2) {
        let errno = match nth / 2 % 2 {
            0 => Fault::IO,
            _ => Fault::NO_SPACE,
        };
        let story = format!("call {nth} of {calls} of a start fails with {errno}");
        told(&story, || {
            let disk = wreck.disk.after(Loss::None);
            let failing = FailingDisk::new(Arc::new(disk.clone()));
            failing.plan(Fault::new(errno).nth(nth).after_writing(100));
            drop(Harness::open(
                Arc::new(failing),
                wreck.model.clone(),
                wreck.now,
            ));
            // The process that failed ends, and its successor finds what it had written.
            let disk = disk.after(Loss::None);
            let on = Arc::new(disk.clone());
            let mut harness = Harness::open(on, wreck.model.clone(), wreck.now + 1).unwrap();
            harness.check_recovered(Mercy::Process);
            let (now, model) = (harness.now + 1, harness.kill());
            let after = Arc::new(disk.after(Loss::All));
            let mut harness = Harness::open(after, model, now).unwrap();
            harness.check_recovered(Mercy::Process);
        });
    }
}

#[test]
fn a_start_of_which_any_sync_fails_leaves_nothing_in_the_page_cache_alone() {
    let wreck = left();
    let (.., syncs) = counted(&wreck);
    assert!(syncs > 8, "{syncs} syncs");
    for nth in 0..syncs {
        for seed in 0..6 {
            let story = format!("sync {nth} of {syncs} of a start fails, seed {seed}");
            told(&story, || {
                let disk = wreck.disk.after(Loss::None);
                disk.fail_sync_after(nth, seed);
                let on = Arc::new(disk.clone());
                drop(Harness::open(on, wreck.model.clone(), wreck.now));
                let disk = disk.after(Loss::None);
                let on = Arc::new(disk.clone());
                let mut harness = Harness::open(on, wreck.model.clone(), wreck.now + 1).unwrap();
                harness.check_recovered(Mercy::Process);
                let (now, model) = (harness.now + 1, harness.kill());
                let disk = disk.after(Loss::All);
                let on = Arc::new(disk.clone());
                let mut harness = Harness::open(on, model, now).unwrap();
                harness.check_recovered(Mercy::Process);
                assert_eq!(harness.report.repaired, []);
                for n in 0..3 {
                    let end = harness.storage.log(log_id(n)).unwrap().end().0;
                    padding_is_zero(&disk, n, end);
                }
            });
        }
    }
}

/// The segment after the one that a checkpoint has was staged when the log start came to be there. It
/// counts in memory, so that the one before it goes; then the broker is killed.
#[test]
fn a_segment_that_went_before_its_successor_was_written_is_not_missed() {
    for loss in [Loss::None, Loss::All] {
        let disk = CrashingDisk::new();
        let on = Arc::new(disk.clone());
        let mut harness = Harness::open(on, Model::default(), 1).unwrap();
        (0..3).for_each(|n| harness.create(n));
        put(&mut harness, 1, &[300]);
        harness.checkpoint();
        put(&mut harness, 1, &[40]);
        harness.round();
        let first = segment_file(1, 0);
        assert!(disk.exists(&first).unwrap());
        harness.set_log_start(1, 2);
        harness.step_round(); // planned
        harness.roll(1);
        put(&mut harness, 1, &[50]);
        harness.step_round();
        harness.step_round(); // booked
        while harness.step_upkeep() {}
        assert!(!disk.exists(&first).unwrap(), "its records are trimmed");
        let now = harness.now + 1;
        let wreck = Wreck {
            disk,
            model: harness.kill(),
            now,
        };
        let after = wreck.disk.after(loss);
        survive(&wreck, &after, Mercy::Power, &format!("{loss:?}"));
    }
}

#[test]
fn a_log_that_has_lost_its_folder_keeps_no_other_from_starting() {
    // The journal has all of it, or what came behind the checkpoint.
    for has_all in [true, false] {
        let disk = CrashingDisk::new();
        let on = Arc::new(disk.clone());
        let mut harness = Harness::open(on, Model::default(), 1).unwrap();
        (0..3).for_each(|n| harness.create(n));
        for n in 0..3 {
            put(&mut harness, n, &[300]);
        }
        if !has_all {
            harness.flush();
        }
        harness.checkpoint();
        for n in 0..3 {
            put(&mut harness, n, &[40]);
        }
        harness.round();
        let (now, model) = (harness.now + 1, harness.kill());
        for entry in disk.list(&log_dir(1)).unwrap() {
            disk.remove_file(&log_dir(1).join(entry.name)).unwrap();
        }
        disk.remove_dir(&log_dir(1)).unwrap();
        let on = Arc::new(disk.clone());
        let mut harness = Harness::open(on, model.clone(), now).unwrap();
        if has_all {
            // Nothing is lost.
            harness.check_recovered(Mercy::Process);
            continue;
        }
        let is_refused = |harness: &Harness, n| {
            let log = harness.storage.log(log_id(n)).unwrap();
            log.refused().is_some()
        };
        let damage = harness.report.damage.clone();
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert_eq!(damage[0].log, Some(log_id(1)));
        assert!(is_refused(&harness, 1));
        // What the journal has of it is served.
        let read = harness.read(log_id(1), 1, 3000).unwrap();
        assert_eq!(read.len(), 1);
        for n in [0, 2] {
            assert!(!is_refused(&harness, n));
            harness.check_from(log_id(n), 0, 3000);
        }
    }
}

/// A slot of the recovery point names a checkpoint that was not taken, as the other slot found no
/// space. The next try leaves its files alone.
#[test]
fn a_checkpoint_that_was_named_and_not_taken_is_not_written_over() {
    for call in 0..12 {
        let disk = CrashingDisk::new();
        let failing = FailingDisk::new(Arc::new(disk.clone()));
        let on = Arc::new(failing.clone());
        let mut harness = Harness::open(on, Model::default(), 1).unwrap();
        (0..3).for_each(|n| harness.create(n));
        for n in 0..3 {
            put(&mut harness, n, &[300]);
        }
        harness.flush();
        let before = harness.storage.checkpoint_number();
        let full = Fault::new(Fault::NO_SPACE).on(Operation::Write);
        failing.plan(full.at("recovery-point").nth(2));
        harness.checkpoint();
        assert_eq!(failing.struck(), 1);
        assert_eq!(harness.storage.checkpoint_number(), before);
        match call % 2 {
            0 => disk.crash_during(disk.calls() + call / 2),
            _ => disk.crash_after(disk.calls() + call / 2),
        }
        harness.checkpoint();
        let now = harness.now + 1;
        let wreck = Wreck {
            disk,
            model: harness.kill(),
            now,
        };
        for loss in [Loss::None, Loss::All, Loss::Random(call)] {
            let story = format!("cut short at call {call}, {loss:?}");
            told(&story, || {
                let after = wreck.disk.after(loss);
                survive(&wreck, &after, Mercy::Power, &story);
            });
        }
    }
}
