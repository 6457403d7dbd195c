//! A repair that is cut short anywhere, and directories of killed brokers whose journal is damaged.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::IoSlice;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npayload::format::{BatchHeader, Gap};
use npayload::storage::disk::{CrashingDisk, Disk, Loss, OpenMode};
use npayload::types::Timestamp;

use super::tests::{batches, lost, patient, read_all, repair, segments, tree};
use super::{Setting, apply, plan, undo};
use crate::verify::broker_tests::{Driver, clean, copy};

const ROOT: &str = "/data";

fn setting<T>(disk: &CrashingDisk, act: impl FnOnce(&mut Setting<'_>) -> T) -> T {
    let mut state = 11u64;
    let mut random = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(7);
        state
    };
    act(&mut Setting {
        disk: Arc::new(disk.clone()),
        root: Path::new(ROOT),
        now: Timestamp(5_000_000),
        random: &mut random,
        progress: &|_| {},
    })
}

/// A directory of the real disk on one that crashes, all of it synced.
fn load(root: &Path) -> CrashingDisk {
    let disk = CrashingDisk::new();
    disk.create_dir(Path::new(ROOT)).unwrap();
    let target = |path: &Path| Path::new(ROOT).join(path.strip_prefix(root).unwrap());
    for (path, bytes) in tree(root) {
        let Some(bytes) = bytes else {
            disk.create_dir(&target(&path)).unwrap();
            continue;
        };
        let file = disk.open(&target(&path), OpenMode::CreateNew).unwrap();
        file.write_at(0, &[IoSlice::new(&bytes)]).unwrap();
        file.sync_data().unwrap();
    }
    let dirs = tree(root).into_iter().filter(|(_, bytes)| bytes.is_none());
    for (path, _) in dirs {
        disk.sync_dir(&target(&path)).unwrap();
    }
    disk.sync_dir(Path::new(ROOT)).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk
}

/// Every file of the disk, by its path in the data directory.
fn files(disk: &CrashingDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut left = vec![PathBuf::from(ROOT)];
    while let Some(dir) = left.pop() {
        for entry in disk.list(&dir).unwrap() {
            let path = dir.join(&entry.name);
            if entry.is_dir {
                left.push(path);
                continue;
            }
            let file = disk.open(&path, OpenMode::Read).unwrap();
            let mut bytes = vec![0; usize::try_from(entry.len).unwrap()];
            assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
            all.insert(path.strip_prefix(ROOT).unwrap().to_owned(), bytes);
        }
    }
    all
}

/// The same without what repairs have kept.
fn own_files(disk: &CrashingDisk) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = files(disk);
    all.retain(|path, _| !path.starts_with("lost+found") && path != Path::new("lock"));
    all
}

fn export(disk: &CrashingDisk) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (path, bytes) in files(disk) {
        let path = directory.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
    directory
}

fn flip(path: &Path, at: u64) {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], at).unwrap();
}

#[test]
fn a_repair_that_is_cut_short_anywhere_is_run_again_or_taken_back() {
    let (directory, records) = patient(9_000);
    let root = directory.path();
    let all = segments(root, "a", &records);
    let (batch, other) = (all[0].batches[1], &all[2]);
    flip(&all[0].path, batch.0 + 40);
    flip(&all[1].path, 30);
    fs::remove_file(&other.path).unwrap();
    let damaged = load(root);
    let before = own_files(&damaged);
    let counted = damaged.after(Loss::None);
    let planned = setting(&counted, |setting| plan(setting, &[]).unwrap());
    assert_eq!(counted.calls(), 0, "a plan changes nothing");
    setting(&counted, |setting| apply(setting, &planned).unwrap());
    let calls = counted.calls();
    assert!(calls > 30, "{calls}");
    let end = other.batches.last().unwrap().3;
    let expected = BTreeMap::from([("a", vec![batch.2..batch.3, other.base..end])]);
    for call in (0..calls).step_by(3).chain([calls - 2, calls - 1]) {
        let disk = damaged.after(Loss::None);
        let planned = setting(&disk, |setting| plan(setting, &[]).unwrap());
        disk.crash_during(call);
        setting(&disk, |setting| apply(setting, &planned).unwrap_err());
        let losses = [Loss::None, Loss::All, Loss::Random(call)];
        let crashed = disk.after(losses[usize::try_from(call % 3).unwrap()]);
        let when = format!("call {call} of {calls}");
        // Taken back: the old bytes, every one of them.
        let back = crashed.after(Loss::None);
        let taken = setting(&back, |setting| undo(setting, None));
        if taken.is_ok() {
            // What was put back survives a power cut, too.
            assert!(
                own_files(&back.after(Loss::All)) == before,
                "{when}, taken back"
            );
        } else {
            assert!(own_files(&back) == before, "{when}: {taken:?}");
        }
        // Run again.
        let again = crashed.after(Loss::None);
        let planned = setting(&again, |setting| plan(setting, &[]).unwrap());
        setting(&again, |setting| apply(setting, &planned).unwrap());
        let exported = export(&again.after(Loss::All));
        clean(exported.path(), &when);
        let mut driver = Driver::open(exported.path(), call);
        let found = read_all(&mut driver.broker);
        assert_eq!(lost(&records, &found), expected, "{when}");
        // And a broker that starts in between loses nothing that is intact.
        let exported = export(&crashed);
        let driver = Driver::open(exported.path(), call);
        driver.stop();
        repair(exported.path());
        clean(exported.path(), &format!("{when}, a broker in between"));
        let mut driver = Driver::open(exported.path(), call + 1);
        let found = read_all(&mut driver.broker);
        assert_eq!(
            lost(&records, &found),
            expected,
            "{when}, a broker in between"
        );
    }
}

/// A killed broker's directory with a promised part of the journal that its segments lack, and what was promised.
fn killed(seed: u64) -> (tempfile::TempDir, super::tests::Records) {
    let directory = tempfile::tempdir().unwrap();
    let mut driver = Driver::open(directory.path(), seed);
    driver.create_channels();
    for _ in 0..20 {
        for channel in ["a", "b", "lazy"] {
            driver.publish(channel);
        }
        driver.rounds();
        driver.upkeep(1);
    }
    for _ in 0..8 {
        for channel in ["a", "b"] {
            driver.publish(channel);
        }
        driver.rounds();
    }
    if let Some(job) = driver.broker.plan_point() {
        let ended = job.run();
        driver.broker.finish_point(ended);
    }
    let records = read_all(&mut driver.broker);
    let copied = tempfile::tempdir().unwrap();
    copy(directory.path(), copied.path());
    (copied, records)
}

/// Where the batches of channel a lie in the journal, as far as they are in no segment.
fn in_journal(root: &Path, records: &super::tests::Records) -> Vec<(PathBuf, u64, u64)> {
    let mut found = Vec::new();
    for (path, bytes) in tree(root) {
        let is_journal = path.extension().is_some_and(|name| name == "journal");
        let Some(bytes) = bytes.filter(|_| is_journal) else {
            continue;
        };
        for (base, batch) in &records["a"] {
            // From the log's identity to the principal, which encryption leaves as they are.
            let stamped = &batch[16..60];
            let place = |stored: &[u8]| {
                let found = stored.windows(44).position(|window| window == stamped);
                found.map(|at| at - 16)
            };
            let at = place(&bytes);
            let is_there = |path: &PathBuf| place(&fs::read(path).unwrap()).is_some();
            let in_segment = segments(root, "a", records)
                .iter()
                .any(|segment| is_there(&segment.path));
            if let Some(at) = at.filter(|_| !in_segment) {
                found.push((path.clone(), at as u64, *base));
            }
        }
    }
    found
}

#[test]
fn what_the_journal_still_has_is_written_again_and_costs_nothing() {
    let (directory, records) = killed(40);
    let root = directory.path();
    let all = segments(root, "b", &records);
    // Damaged in the segment, while the journal has not been used again.
    let batch = all[0].batches[0];
    flip(&all[0].path, batch.0 + 30);
    repair(root);
    clean(root, "repaired");
    let mut driver = Driver::open(root, 41);
    let found = read_all(&mut driver.broker);
    assert_eq!(lost(&records, &found), BTreeMap::new());
}

#[test]
fn a_batch_that_is_lost_with_the_journal_becomes_a_gap_and_writes_go_on() {
    // Large batches go to their segments at once, so not every run ends with one in the journal alone.
    let (directory, records, (path, at, base)) = (50..60)
        .find_map(|seed| {
            let (directory, records) = killed(seed);
            let found = in_journal(directory.path(), &records).first()?.clone();
            Some((directory, records, found))
        })
        .expect("the newest are in no segment");
    let root = directory.path();
    let end = BatchHeader::peek(&records["a"][&base])
        .unwrap()
        .end_offset()
        .0;
    flip(&path, at + 135);
    let before = tree(root);
    repair(root);
    clean(root, "repaired");
    let again = tempfile::tempdir().unwrap();
    copy(root, again.path());
    super::tests::undone(again.path(), &before, root);
    for life in 0..2 {
        let mut driver = Driver::open(root, 51 + life);
        let found = read_all(&mut driver.broker);
        let lost = lost(&records, &found);
        assert_eq!(lost.keys().collect::<Vec<_>>(), [&"a"]);
        assert_eq!((lost["a"].len(), &lost["a"][0]), (1, &(base..end)));
        let gap = Gap::of(&found["a"][&base]).unwrap().unwrap();
        assert!(gap.reason == "journal" || gap.reason.is_empty(), "{gap:?}");
        driver.publish("a");
        driver.rounds();
        driver.stop();
        clean(root, "a life later");
    }
}

#[test]
fn where_nobody_knows_whose_records_are_lost_every_channel_says_so_and_takes_writes_again() {
    let (directory, records) = killed(60);
    let root = directory.path();
    let (path, at, _) = in_journal(root, &records).first().expect("some").clone();
    // The list of entries stands in front of the data, in the first block of the group.
    let group = at / 4096 * 4096;
    flip(&path, group + 64 + 4);
    let driver = Driver::open(root, 61);
    let refused: Vec<&str> = ["a", "b", "lazy"]
        .into_iter()
        .filter(|channel| {
            let batch = records[channel].values().next().unwrap();
            let log = BatchHeader::peek(batch).unwrap().incarnation();
            driver
                .broker
                .storage()
                .log(log)
                .unwrap()
                .refused()
                .is_some()
        })
        .collect();
    assert_eq!(refused, ["a", "b", "lazy"]);
    driver.stop();
    repair(root);
    clean(root, "repaired");
    let mut driver = Driver::open(root, 62);
    for channel in ["a", "b", "lazy"] {
        let all = batches(&mut driver.broker, channel);
        let gap = Gap::of(all.last().unwrap())
            .unwrap()
            .expect("a gap at the end");
        assert_eq!(gap.reason, "uncertain");
        driver.publish(channel);
    }
    driver.rounds();
    driver.stop();
    clean(root, "a life later");
}
