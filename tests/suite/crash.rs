//! A crash at every call that changes the disk, with every outcome that a disk may leave.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use npayload::format::BatchHeader;
use npayload::storage::StageError;
use npayload::storage::disk::{CrashingDisk, Disk, Loss, OpenMode};

use crate::storage_harness::{CHECKPOINT_MS, Harness, Mercy, Model, ROOT, log_dir, log_id, names};

/// How a run ended: the disk it left, and what it had promised by then.
pub struct Wreck {
    pub disk: CrashingDisk,
    pub model: Model,
    pub now: i64,
}

/// What a harness does to its disk between one opening and the next.
type Part = fn(&mut Harness, &CrashingDisk, u64);

/// Every kind of change to the disk, in a fixed order. Stops where the disk does.
fn work(disk: &CrashingDisk) -> Wreck {
    work_on(disk, run_part)
}

fn work_on(disk: &CrashingDisk, run_part: Part) -> Wreck {
    let mut model = Model::default();
    let mut now = 1;
    for part in 0..4 {
        let Ok(mut harness) = Harness::open(Arc::new(disk.clone()), model.clone(), now) else {
            break;
        };
        if part > 0 && !disk.is_crashed() {
            harness.check_recovered(Mercy::Process);
        }
        run_part(&mut harness, disk, part);
        now = harness.now + 1;
        model = harness.kill();
        if disk.is_crashed() {
            break;
        }
    }
    Wreck {
        disk: disk.clone(),
        model,
        now,
    }
}

fn run_part(harness: &mut Harness, disk: &CrashingDisk, part: u64) {
    if part == 0 {
        (0..3).for_each(|n| harness.create(n));
        harness.flush();
    }
    let small: &[usize] = &[40, 10];
    let steps: &[&[(u64, &[usize])]] = &[
        &[(0, small)],
        &[(0, &[700]), (1, &[30]), (2, &[900])],
        &[(1, &[2_000, 1_500])],
        &[(2, &[3_500])],
        &[(2, small)],
        &[(0, &[9_000])],
        &[(0, small), (2, small)],
        &[(2, &[200; 3])],
        &[(1, &[1_200])],
        &[(0, &[5_000])],
        &[(1, small)],
    ];
    for (n, step) in steps.iter().enumerate() {
        for _ in 0..3 {
            match harness.append(step) {
                Err(StageError::Busy) => harness.flush(),
                _ => break,
            }
        }
        if disk.is_crashed() || harness.is_broken() {
            return;
        }
        match n {
            2 | 4 | 6 => harness.round(),
            3 => {
                harness.round();
                harness.upkeep();
            }
            5 | 9 => harness.checkpoint(),
            7 => harness.point(),
            _ => {}
        }
    }
    harness.flush();
    match part {
        0 => {
            let end = harness
                .storage
                .log(log_id(0))
                .map_or(0, |log| log.flushed().0);
            harness.set_log_start(0, end / 2);
            harness.flush();
        }
        1 => {
            harness.stop();
        }
        2 => {
            harness.drop_log(1);
            harness.flush();
        }
        _ => {}
    }
}

/// Appends to one log, where a full round may stand in the way.
pub fn put(harness: &mut Harness, n: u64, sizes: &[usize]) {
    for _ in 0..3 {
        match harness.append(&[(n, sizes)]) {
            Err(StageError::Busy) => harness.flush(),
            _ => break,
        }
    }
}

/// Large runs into logs whose old segments are removed again and again, so that new ones are
/// written over their files; small batches, checkpoints and restarts in between.
fn reuse_files(harness: &mut Harness, disk: &CrashingDisk, part: u64) {
    if part == 0 {
        (0..3).for_each(|n| harness.create(n));
        harness.flush();
    }
    for turn in 0..3 {
        for n in [1, 2] {
            for step in 0..4 {
                put(harness, n, &[3_200 + 100 * turn + step]);
                harness.round();
            }
            // The run takes the small ones before it along, or leaves them to the checkpoint.
            put(harness, n, &[20 + turn]);
            if turn > 0 && n == 1 {
                harness.round();
                harness.checkpoint();
            }
            put(harness, n, &[30, 7]);
            harness.round();
            put(harness, n, &[3_300]);
            put(harness, n, &[41]);
            if disk.is_crashed() || harness.is_broken() {
                return;
            }
        }
        harness.flush();
        for n in [1, 2] {
            let log = harness.storage.log(log_id(n));
            let end = log.map_or(0, |log| log.flushed().0);
            harness.set_log_start(n, end - end.min(4));
        }
        harness.flush();
    }
    if part == 1 {
        harness.stop();
    }
}

/// A log of which most segments were removed, so that it has their files to spare.
pub fn with_spares() -> (CrashingDisk, Harness) {
    let disk = CrashingDisk::new();
    let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    harness.create(1);
    for _ in 0..9 {
        put(&mut harness, 1, &[3_400]);
        harness.round();
    }
    harness.set_log_start(1, 8);
    harness.flush();
    (disk, harness)
}

#[test]
fn the_file_of_a_removed_segment_is_written_over_and_is_cut_once_it_is_sealed() {
    let (disk, mut harness) = with_spares();
    let spare = names(&disk, 1, ".spare");
    assert!(!spare.is_empty(), "{:?}", names(&disk, 1, ""));
    harness.roll(1);
    put(&mut harness, 1, &[3_100]);
    harness.flush();
    let after = names(&disk, 1, ".spare");
    assert_eq!(after.len() + 1, spare.len(), "{:?}", names(&disk, 1, ""));
    let base = names(&disk, 1, ".log").pop().unwrap();
    let path = log_dir(1).join(&base);
    let len = || disk.open(&path, OpenMode::Read).unwrap().len().unwrap();
    assert!(
        len() > 4096 + 4096,
        "{} bytes are not of an older file",
        len()
    );
    harness.check();
    // Sealed, it keeps nothing behind its last batch.
    harness.roll(1);
    put(&mut harness, 1, &[50]);
    harness.flush();
    harness.checkpoint();
    harness.upkeep();
    assert!(len() < 4096 + 4096, "{} bytes", len());
    harness.check();
    // Neither a stop nor a start leaves spare files.
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.check_recovered(Mercy::Process);
    assert_eq!(names(&disk, 1, ".spare"), [""; 0]);
}

#[test]
fn a_stop_in_order_leaves_nothing_behind_the_end_of_a_reused_file() {
    for is_quiet in [false, true] {
        let (disk, mut harness) = with_spares();
        harness.roll(1);
        put(&mut harness, 1, &[3_100]);
        if is_quiet {
            // The last checkpoint has nothing of the log.
            harness.flush();
            harness.checkpoint();
        }
        harness.stop();
        assert!(harness.storage.is_clean());
        let (now, mut model) = (harness.now + 1, harness.kill());
        for (opening, loss) in [(0, Loss::None), (1, Loss::All)] {
            let now = now + opening;
            let disk = Arc::new(disk.after(loss));
            let mut harness = Harness::open(disk, model.clone(), now).unwrap();
            assert!(harness.report.was_clean);
            assert_eq!(harness.report.moved, [], "quiet: {is_quiet}, {loss:?}");
            harness.check_recovered(Mercy::Process);
            model = harness.kill();
        }
    }
}

#[test]
fn a_run_that_overtakes_a_checkpoint_leaves_no_old_bytes_in_front_of_it() {
    let (disk, mut harness) = with_spares();
    let spares = names(&disk, 1, ".spare").len();
    harness.roll(1);
    // Written behind: the padding is left to whoever comes next.
    put(&mut harness, 1, &[2_200]);
    harness.round();
    harness.upkeep();
    assert_eq!(names(&disk, 1, ".spare").len() + 1, spares);
    harness.now += CHECKPOINT_MS;
    assert!(harness.step_upkeep()); // planned, and behind it the next begins a block
    put(&mut harness, 1, &[3_300]);
    harness.round();
    let before = harness.storage.checkpoint_number();
    while harness.storage.checkpoint_number() == before {
        assert!(harness.step_upkeep());
    }
    let base = names(&disk, 1, ".log").pop().unwrap();
    let path = log_dir(1).join(&base);
    let mut block = [0; 4096];
    let file = disk.open(&path, OpenMode::Read).unwrap();
    file.read_at(4096, &mut block).unwrap();
    let first = BatchHeader::peek(&block).unwrap().len();
    assert!(block[first..].iter().all(|byte| *byte == 0));
    harness.check();
}

#[test]
fn a_crash_at_any_call_leaves_no_old_bytes_of_a_reused_file_in_a_log() {
    crash_everywhere(0, 5, reuse_files);
}

/// Opens what a crash left, judges it, appends, and opens it twice more.
pub fn survive(wreck: &Wreck, disk: &CrashingDisk, mercy: Mercy, story: &str) {
    let mut now = wreck.now;
    let mut model = wreck.model.clone();
    let mut mercy = mercy;
    for opening in 0..3 {
        let opened = Harness::open(Arc::new(disk.clone()), model, now);
        let mut harness = opened.unwrap_or_else(|error| panic!("{story}: {error}"));
        harness.check_recovered(mercy);
        for n in 0..3 {
            if harness.storage.log(log_id(n)).is_some() {
                // From the end that was found, which `append` compares with the model's.
                harness.append(&[(n, &[50 + opening, 60])]).unwrap();
            }
        }
        harness.flush();
        harness.check();
        if opening == 1 {
            harness.checkpoint();
            harness.check();
        }
        now = harness.now + 1;
        model = harness.kill();
        mercy = Mercy::Process;
    }
}

/// Two outcomes of one crash; all kinds come by turns. With `NPAYLOAD_SOAK` set, more of each.
fn losses(seed: u64, unsynced: u64) -> Vec<(Loss, Mercy)> {
    let prefix = Loss::Prefix(seed % unsynced.max(1));
    let all = [
        (Loss::All, Mercy::Power),
        (Loss::None, Mercy::Process),
        (prefix, Mercy::Power),
    ];
    let random = |n| (Loss::Random(seed * 16 + n), Mercy::Power);
    if std::env::var_os("NPAYLOAD_SOAK").is_some() {
        return all.into_iter().chain((0..8).map(random)).collect();
    }
    vec![all[usize::try_from(seed % 3).unwrap()], random(0)]
}

/// Crashes once more while the wreck is opened, and gives what that left.
fn crash_in_recovery(wreck: &Wreck, disk: &CrashingDisk, seed: u64) -> CrashingDisk {
    let disk = disk.after(Loss::None);
    disk.crash_during(seed % 23);
    let opened = Harness::open(Arc::new(disk.clone()), wreck.model.clone(), wreck.now);
    drop(opened);
    disk.after(Loss::Random(seed))
}

/// Crashes at every `step`-th call from `first`, whole and in the middle of a write.
fn crash_everywhere(first: u64, step: usize, part: Part) {
    let whole = CrashingDisk::new();
    work_on(&whole, part);
    let calls = whole.calls();
    assert!(calls > 500, "the workload shrank to {calls} calls");
    for call in (first..calls).step_by(step) {
        let disk = CrashingDisk::new();
        if call % 4 < 2 {
            disk.crash_during(call);
        } else {
            disk.crash_after(call);
        }
        let wreck = work_on(&disk, part);
        for (loss, mercy) in losses(call, wreck.disk.unsynced()) {
            let story = format!("crash at call {call} of {calls}, {loss:?}");
            let after = wreck.disk.after(loss);
            let survived = std::panic::AssertUnwindSafe(|| {
                survive(&wreck, &after.after(Loss::None), mercy, &story);
                if matches!(loss, Loss::Random(_)) {
                    let again = crash_in_recovery(&wreck, &after, call);
                    survive(&wreck, &again, Mercy::Power, &story);
                }
            });
            if let Err(panic) = std::panic::catch_unwind(survived) {
                eprintln!("--- {story}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}

#[test]
fn a_crash_at_any_call_keeps_a_prefix_with_every_acknowledged_record() {
    crash_everywhere(0, 2, run_part);
}

#[test]
fn a_crash_at_any_other_call_keeps_a_prefix_too() {
    crash_everywhere(1, 2, run_part);
}

/// Flips a bit in one slot of the recovery point; false where there is none yet.
fn damage_slot(disk: &CrashingDisk, slot: u64) -> bool {
    let path = Path::new(ROOT).join("recovery-point");
    let Ok(file) = disk.open(&path, OpenMode::ReadWrite) else {
        return false;
    };
    let mut byte = [0];
    file.read_at(slot * 4096 + 20, &mut byte).unwrap();
    file.write_at(slot * 4096 + 20, &[IoSlice::new(&[byte[0] ^ 4])])
        .unwrap();
    true
}

#[test]
fn either_slot_of_the_recovery_point_is_enough_at_any_moment() {
    let whole = CrashingDisk::new();
    work(&whole);
    let mut damaged = 0;
    for call in (0..whole.calls()).step_by(5) {
        let disk = CrashingDisk::new();
        disk.crash_after(call);
        let wreck = work(&disk);
        let (loss, mercy) = match call % 2 {
            0 => (Loss::None, Mercy::Process),
            _ => (Loss::All, Mercy::Power),
        };
        for slot in [0, 1] {
            let story = format!("crash at call {call}, {loss:?}, slot {slot} damaged");
            let after = wreck.disk.after(loss);
            if damage_slot(&after, slot) {
                damaged += 1;
                let survived = std::panic::AssertUnwindSafe(|| {
                    survive(&wreck, &after, mercy, &story);
                });
                if let Err(panic) = std::panic::catch_unwind(survived) {
                    eprintln!("--- {story}");
                    std::panic::resume_unwind(panic);
                }
            }
        }
    }
    assert!(damaged > 150, "{damaged} slots were damaged");
}

/// What a failed sync was to cover can be read, and no later sync of the file brings it to the
/// device: the start after it writes it again, the header of the segment and a run that went past
/// the journal included.
#[test]
fn what_a_failed_sync_left_in_the_page_cache_survives_a_restart_and_a_power_cut() {
    // The second goes straight to its segment, unsynced: the round that owes it a sync, which
    // fails, makes the group durable that refers to it.
    for (n, size) in [(1, 100), (2, 5_000)] {
        for seed in 0..8 {
            let disk = CrashingDisk::new();
            let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
            (0..3).for_each(|n| harness.create(n));
            harness.flush();
            harness.checkpoint();
            // The round that a checkpoint had synced.
            harness.append(&[(n, &[1])]).unwrap();
            harness.round();
            harness.append(&[(n, &[size])]).unwrap();
            harness.round();
            disk.fail_next_sync(seed);
            harness.checkpoint();
            let log = harness.storage.log(log_id(n)).unwrap();
            assert!(
                log.refused().is_some(),
                "no sync of its segment failed, but {:?} (log {n})",
                harness.storage.journal_failure()
            );
            harness.point();
            let (now, model) = (harness.now + 1, harness.kill());
            let disk = disk.after(Loss::None);
            let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
            harness.check_recovered(Mercy::Process);
            let (now, model) = (harness.now + 1, harness.kill());
            let disk = Arc::new(disk.after(Loss::All));
            let mut harness = Harness::open(disk, model, now).unwrap();
            harness.check_recovered(Mercy::Power);
            assert_eq!(harness.report.repaired, [], "log {n}, seed {seed}");
        }
    }
}

#[test]
fn a_first_start_that_was_killed_leaves_no_name_that_a_power_cut_takes_after_the_next() {
    let mut killed = 0;
    for calls in 0.. {
        let disk = CrashingDisk::new();
        disk.crash_after(calls);
        let opened = Harness::open(Arc::new(disk.clone()), Model::default(), 1);
        if opened.is_ok() && !disk.is_crashed() {
            break;
        }
        killed += 1;
        drop(opened);
        let disk = disk.after(Loss::None);
        let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 2).unwrap();
        harness.create(0);
        harness.append(&[(0, &[300, 20])]).unwrap();
        harness.flush();
        let model = harness.kill();
        let after = disk.after(Loss::All);
        let mut harness = Harness::open(Arc::new(after), model, 3).unwrap();
        assert!(!harness.report.is_new, "killed after {calls} calls");
        harness.check();
        assert_eq!(harness.storage.log(log_id(0)).unwrap().end().0, 2);
    }
    assert!(killed > 20, "killed at {killed} calls");
}
