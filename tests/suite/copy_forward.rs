//! Logs whose segments failed: the journal keeps what it alone has of them, and holds up nobody.

use std::io::IoSlice;
use std::sync::Arc;

use npayload::storage::StageError;
use npayload::storage::disk::{CrashingDisk, Disk, FailingDisk, Fault, Loss, OpenMode, Operation};
use npayload::types::Timestamp;

use crate::storage_harness::{
    CHECKPOINT_MS, Harness, Mercy, Model, journal_files, log_dir, log_id,
};

/// Groups of one block that fill a ring of the tests more than once.
const TURN: u64 = 40;

fn open(disk: &CrashingDisk) -> (FailingDisk, Harness) {
    let failing = FailingDisk::new(Arc::new(disk.clone()));
    let harness = Harness::open(Arc::new(failing.clone()), Model::default(), 1).unwrap();
    (failing, harness)
}

/// Lets every call of this kind on a log's segments fail from now on.
fn fail(failing: &FailingDisk, operation: Operation, n: u64) {
    let dir = format!("channels/{}", log_id(n));
    let fault = Fault::new(Fault::IO).on(operation).at(dir);
    failing.plan(fault.and_later());
}

/// Appends, and lets the committer and the keeper work where the storage is busy.
fn append(harness: &mut Harness, parts: &[(u64, &[usize])]) {
    for _ in 0..20 {
        match harness.append(parts) {
            Ok(_) => return,
            Err(StageError::Busy) => harness.flush(),
            Err(error) => panic!("{error}"),
        }
        // What paces checkpoints of a failing broker.
        harness.now += 1_000;
    }
    panic!("a healthy log is kept from writing");
}

fn is_refused(harness: &Harness, n: u64) -> bool {
    let log = harness.storage.log(log_id(n)).unwrap();
    log.refused().is_some()
}

/// Three logs; the second fails with a part of it in the journal alone, some of it written behind.
fn with_failed_log(disk: &CrashingDisk, operation: Operation) -> (FailingDisk, Harness) {
    let (failing, mut harness) = open(disk);
    (0..3).for_each(|n| harness.create(n));
    harness.append(&[(1, &[400, 20])]).unwrap();
    harness.flush();
    harness.checkpoint();
    harness.append(&[(1, &[2_500])]).unwrap(); // written behind, unsynced
    harness.flush();
    fail(&failing, operation, 1);
    for size in [700, 30] {
        harness.append(&[(1, &[size]), (0, &[size])]).unwrap();
        harness.round();
    }
    harness.append(&[(1, &[2_000])]).unwrap();
    harness.flush();
    harness.checkpoint();
    assert!(is_refused(&harness, 1), "{operation:?}");
    (failing, harness)
}

/// What a healthy disk makes of it: all that was acknowledged, and a log that takes writes.
fn reopen(disk: &CrashingDisk, harness: &Harness, loss: Loss, mercy: Mercy) {
    let model = harness.model.clone();
    let disk = Arc::new(disk.after(loss));
    let mut after = Harness::open(disk.clone(), model, harness.now + 1).unwrap();
    after.check_recovered(mercy);
    append(&mut after, &[(1, &[6])]);
    after.flush();
    after.checkpoint();
    after.check();
    let (now, model) = (after.now + 1, after.kill());
    let mut after = Harness::open(disk, model, now).unwrap();
    after.check_recovered(Mercy::Process);
}

#[test]
fn a_failed_log_holds_up_no_other_for_many_turns_of_the_ring() {
    for operation in [Operation::Write, Operation::Sync] {
        let disk = CrashingDisk::new();
        let (_, mut harness) = with_failed_log(&disk, operation);
        let unwritten = harness.storage.unwritten_bytes();
        for n in 0..12 * TURN {
            append(&mut harness, &[(n % 2 * 2, &[900])]);
            harness.round();
            harness.step_upkeep();
            if n % (5 * TURN) == 0 {
                harness.check();
            }
        }
        harness.flush();
        harness.checkpoint();
        assert!(
            harness.storage.unwritten_bytes() <= unwritten,
            "what can't be written takes the room of others"
        );
        harness.check();
        let files = journal_files(&disk);
        assert!(files <= 6, "the ring has grown to {files} files");
        for (loss, mercy) in [
            (Loss::None, Mercy::Process),
            (Loss::All, Mercy::Power),
            (Loss::Random(5), Mercy::Power),
        ] {
            reopen(&disk, &harness, loss, mercy);
        }
    }
}

#[test]
fn rounds_that_follow_at_once_keep_no_copies_waiting() {
    let disk = CrashingDisk::new();
    let (_, mut harness) = with_failed_log(&disk, Operation::Write);
    harness.now += 1_000;
    let before = harness.storage.checkpoint_number();
    append(&mut harness, &[(0, &[3_400])]);
    harness.step_round(); // planned
    let mut cut_at = None;
    for n in 0.. {
        append(&mut harness, &[(0, &[3_400])]);
        harness.next_round();
        if cut_at.is_none() && harness.cut_checkpoint() {
            cut_at = Some(n);
        }
        while harness.step_upkeep() {}
        if harness.storage.checkpoint_number() > before {
            break;
        }
        assert!(cut_at.is_none_or(|at| n < at + 5), "starved");
    }
    harness.round();
    harness.check();
    reopen(&disk, &harness, Loss::All, Mercy::Power);
}

/// Checkpoints are planned where rounds end, also while what is to be copied is still read: the log may
/// be deleted meanwhile, so that nothing is copied, and another one fail with the checkpoint.
#[test]
fn a_log_that_is_deleted_while_it_is_copied_keeps_no_later_copying_waiting() {
    let disk = CrashingDisk::new();
    let (failing, mut harness) = with_failed_log(&disk, Operation::Write);
    harness.now += 1_000;
    while !harness.cut_checkpoint() {
        append(&mut harness, &[(0, &[900])]);
        harness.round();
    }
    harness.round();
    assert!(harness.step_upkeep(), "it is planned");
    assert!(harness.step_upkeep(), "and read");
    harness.drop_log(1);
    harness.round();
    append(&mut harness, &[(2, &[10])]);
    harness.round();
    fail(&failing, Operation::Sync, 0);
    for _ in 0..4 {
        assert!(
            harness.step_upkeep(),
            "copies are booked, a checkpoint is tried"
        );
    }
    assert!(is_refused(&harness, 0));
    let before = harness.storage.checkpoint_number();
    for _ in 0..4 * TURN {
        append(&mut harness, &[(2, &[900])]);
        harness.round();
        harness.step_upkeep();
    }
    assert!(harness.storage.checkpoint_number() > before);
    harness.check();
    let model = harness.model.clone();
    let after = Arc::new(disk.after(Loss::All));
    let mut after = Harness::open(after, model, harness.now + 1).unwrap();
    after.check_recovered(Mercy::Power);
}

/// A checkpoint that frees nothing leaves in the journal what it vouches for: where a segment says
/// something else, the journal is right.
#[test]
fn what_the_journal_still_has_of_a_healthy_log_heals_its_segment() {
    let disk = CrashingDisk::new();
    let (_, mut harness) = with_failed_log(&disk, Operation::Sync);
    harness.append(&[(0, &[500, 20])]).unwrap();
    harness.flush();
    harness.checkpoint();
    let dir = log_dir(0);
    let mut healed = 0;
    for entry in disk.list(&dir).unwrap() {
        if !entry.name.ends_with(".log") {
            continue;
        }
        let path = dir.join(&entry.name);
        for at in (4096..entry.len).step_by(29) {
            let after = disk.after(Loss::None);
            let file = after.open(&path, OpenMode::ReadWrite).unwrap();
            let mut byte = [0];
            file.read_at(at, &mut byte).unwrap();
            file.write_at(at, &[IoSlice::new(&[byte[0] ^ 8])]).unwrap();
            let model = harness.model.clone();
            let disk = Arc::new(after);
            let mut after = Harness::open(disk, model, harness.now + 1).unwrap();
            let [repaired] = &after.report.repaired[..] else {
                panic!("byte {at} of {}: {:?}", entry.name, after.report);
            };
            assert_eq!(repaired.path, path);
            assert!((repaired.from..repaired.to).contains(&at));
            after.check_recovered(Mercy::Process);
            healed += 1;
        }
    }
    assert!(healed > 20, "{healed} bytes");
}

#[test]
fn a_ring_that_is_full_of_a_failed_log_grows_until_it_is_copied() {
    let disk = CrashingDisk::new();
    let (failing, mut harness) = open(&disk);
    (0..3).for_each(|n| harness.create(n));
    harness.flush();
    fail(&failing, Operation::Sync, 1);
    // No upkeep: nearly all of the ring is its own when it fails.
    while !harness.storage.has_round(Timestamp(harness.now)) {
        if harness.append(&[(1, &[2_000])]).is_err() {
            break;
        }
        harness.round();
    }
    for n in 0..6 * TURN {
        append(&mut harness, &[(n % 2 * 2, &[900])]);
        harness.round();
        harness.step_upkeep();
    }
    assert!(is_refused(&harness, 1));
    harness.check();
    reopen(&disk, &harness, Loss::None, Mercy::Process);
    reopen(&disk, &harness, Loss::All, Mercy::Power);
}

#[test]
fn a_checkpoint_cut_under_a_round_starts_where_the_next_group_goes() {
    let disk = CrashingDisk::new();
    let (_, mut harness) = open(&disk);
    (0..3).for_each(|n| harness.create(n));
    harness.flush();
    // A direct run: room for an item of each batch is reserved, and one reference is written.
    for _ in 0..70 {
        harness.append(&[(1, &[1])]).unwrap();
    }
    harness.step_round(); // planned
    harness.now += CHECKPOINT_MS;
    harness.step_upkeep(); // cut
    harness.round();
    harness.upkeep();
    harness.append(&[(0, &[10])]).unwrap();
    harness.flush();
    harness.point();
    reopen(&disk, &harness, Loss::All, Mercy::Power);
}

#[test]
fn a_crash_at_any_call_while_a_failed_log_is_copied_loses_nothing() {
    let run = |disk: &CrashingDisk, crash: Option<u64>| {
        let (_, mut harness) = with_failed_log(disk, Operation::Sync);
        let first = disk.calls();
        if let Some(call) = crash {
            match call % 4 {
                0 | 1 => disk.crash_during(first + call),
                _ => disk.crash_after(first + call),
            }
        }
        for n in 0..2 * TURN {
            if disk.is_crashed() {
                break;
            }
            let _ = harness.append(&[(n % 2 * 2, &[900])]);
            harness.now += 100;
            harness.round();
            harness.upkeep();
        }
        (disk.calls() - first, harness)
    };
    let (calls, _) = run(&CrashingDisk::new(), None);
    assert!(calls > 150, "the workload shrank to {calls} calls");
    for call in 0..calls {
        let disk = CrashingDisk::new();
        let (_, harness) = run(&disk, Some(call));
        let (loss, mercy) = match call % 3 {
            0 => (Loss::None, Mercy::Process),
            1 => (Loss::Random(call), Mercy::Power),
            _ => (Loss::Prefix(call % (disk.unsynced() + 1)), Mercy::Power),
        };
        let reopened = std::panic::AssertUnwindSafe(|| reopen(&disk, &harness, loss, mercy));
        if let Err(panic) = std::panic::catch_unwind(reopened) {
            eprintln!("--- crash at call {call} of {calls}, {loss:?}");
            std::panic::resume_unwind(panic);
        }
    }
}

/// SplitMix64.
fn draw(seed: &mut u64) -> u64 {
    *seed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut z = *seed;
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

#[test]
fn logs_that_fail_at_any_moment_keep_what_was_acknowledged() {
    for first in 0..80 {
        let seed = &mut { first };
        let disk = CrashingDisk::new();
        let (failing, mut harness) = open(&disk);
        (0..3).for_each(|n| harness.create(n));
        harness.flush();
        // An unsynced direct run of the third could be lost with its failed sync.
        let faults = [
            (draw(seed) % 120, Operation::Sync, draw(seed) % 2),
            (draw(seed) % 240, Operation::Write, draw(seed) % 3),
        ];
        for step in 0..300 {
            for (at, operation, n) in faults {
                if step == at {
                    fail(&failing, operation, n);
                }
            }
            let (n, size) = (draw(seed) % 3, draw(seed) % 1_500);
            let size = usize::try_from(size).unwrap();
            match draw(seed) % 12 {
                0..5 => drop(harness.append(&[(n, &[size])])),
                5 => drop(harness.append(&[(n, &[20]), ((n + 1) % 3, &[size])])),
                6 => drop(harness.append(&[(n, &[size + 3_000])])),
                7 => harness.upkeep(),
                8 => harness.now += 1_000,
                9 | 10 => harness.step_round(),
                _ => drop(harness.step_upkeep()),
            }
        }
        assert!(!harness.is_broken());
        harness.check();
        for (loss, mercy) in [
            (Loss::None, Mercy::Process),
            (Loss::Random(first), Mercy::Power),
        ] {
            let reopened = std::panic::AssertUnwindSafe(|| reopen(&disk, &harness, loss, mercy));
            if let Err(panic) = std::panic::catch_unwind(reopened) {
                eprintln!("--- seed {first}, {loss:?}");
                std::panic::resume_unwind(panic);
            }
        }
    }
}
