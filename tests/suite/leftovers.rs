//! What a crash, or an older life of a file, leaves lying about: it is never taken for data, and
//! nothing that counts goes with it.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npayload::format::{GroupHeader, RecoveryPoint};
use npayload::storage::disk::{
    CrashingDisk, Disk, FailingDisk, Fault, Loss, MemoryDisk, OpenMode, Operation,
};
use npayload::storage::{CommitError, Outcome, StageError, StorageConfig};
use npayload::types::{Durability, Timestamp};

use crate::storage_harness::{Harness, Mercy, Model, ROOT, log_dir, log_id, segment_file, small};
use crate::stored::read_file;

fn start(disk: &CrashingDisk) -> Harness {
    start_with(disk, small())
}

fn start_with(disk: &CrashingDisk, config: StorageConfig) -> Harness {
    let disk = Arc::new(disk.clone());
    let mut harness = Harness::open_with(disk, config, Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    harness.flush();
    harness
}

fn reopen(disk: &CrashingDisk, harness: Harness, mercy: Mercy) -> Harness {
    let now = harness.now + 1;
    let mut harness = Harness::open(Arc::new(disk.clone()), harness.kill(), now).unwrap();
    harness.check_recovered(mercy);
    harness
}

fn write(disk: &CrashingDisk, path: &Path, at: u64, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::Create).unwrap();
    file.write_at(at, &[IoSlice::new(bytes)]).unwrap();
}

/// Every group of the journal, in the order of their numbers, with its file and position.
fn groups(disk: &CrashingDisk) -> Vec<(GroupHeader, PathBuf, u64)> {
    let dir = Path::new(ROOT).join("journal");
    let mut found = Vec::new();
    for entry in disk.list(&dir).unwrap() {
        let path = dir.join(&entry.name);
        let bytes = read_file(disk, &path);
        for at in (4096..bytes.len()).step_by(4096) {
            if let Ok(header) = GroupHeader::decode(&bytes[at..]) {
                found.push((header, path.clone(), at as u64));
            }
        }
    }
    found.sort_by_key(|(header, ..)| header.group);
    found
}

#[test]
fn bytes_beyond_the_end_of_a_log_are_taken_away_before_others_follow() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    harness.append(&[(2, &[300])]).unwrap();
    harness.checkpoint();
    // Written behind by a broker whose journal group for it was lost.
    let path = segment_file(2, 0);
    let end = read_file(&disk, &path).len() as u64;
    write(&disk, &path, end, &[7; 500]);
    write(&disk, &path, end + 4096, &[7; 500]);
    let now = harness.now + 1;
    let mut harness = Harness::open(Arc::new(disk.clone()), harness.kill(), now).unwrap();
    // Before anybody reads it.
    assert_eq!(read_file(&disk, &path).len() as u64, end);
    harness.check_recovered(Mercy::Process);
    harness.append(&[(2, &[40])]).unwrap();
    harness.checkpoint();
    // An index that is rebuilt has to make sense of every byte.
    for ending in ["index", "timeindex"] {
        let index = path.with_extension(ending);
        if disk.exists(&index).unwrap() {
            disk.remove_file(&index).unwrap();
        }
    }
    let mut harness = reopen(&disk, harness, Mercy::Process);
    harness.append(&[(2, &[40])]).unwrap();
    harness.checkpoint();
    harness.check();
}

#[test]
fn a_segment_beyond_the_end_of_its_log_is_moved_aside_with_the_reason() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    harness.append(&[(2, &[300])]).unwrap();
    harness.checkpoint();
    let stale = log_dir(2).join(format!("{:020}", 1));
    let first = read_file(&disk, &segment_file(2, 0));
    let (log, index) = (stale.with_extension("log"), stale.with_extension("index"));
    write(&disk, &log, 0, &first);
    write(&disk, &index, 0, &[1; 80]);
    let mut harness = reopen(&disk, harness, Mercy::Process);
    assert!(!disk.exists(&log).unwrap() && !disk.exists(&index).unwrap());
    let moved = harness.report.moved.clone();
    assert!(moved.len() == 1 && moved[0].0 == log, "{moved:?}");
    assert_eq!(read_file(&disk, &moved[0].1), first);
    assert!(disk.exists(&moved[0].1.with_extension("log.why")).unwrap());
    // The next segment has that very name.
    while harness.storage.log(log_id(2)).unwrap().end().0 < 8 {
        harness.append(&[(2, &[2_900])]).unwrap();
        harness.flush();
    }
    harness.checkpoint();
    reopen(&disk, harness, Mercy::Process);
}

#[test]
fn a_full_ring_of_three_files_is_freed_by_a_checkpoint_that_waits_for_what_is_queued() {
    let disk = CrashingDisk::new();
    let config = StorageConfig {
        journal_files: 3,
        ..small()
    };
    let mut harness = start_with(&disk, config);
    harness.now += 60;
    for _ in 0..100 {
        if let Err(StageError::Busy) = harness.append(&[(0, &[900])]) {
            break;
        }
        harness.round();
    }
    let (used, files) = harness.storage.journal_usage();
    assert_eq!(files, 3);
    assert!(used < 3, "the last file is for what a checkpoint waits for");
    assert!(harness.storage.has_round(Timestamp(harness.now)));
    for _ in 0..6 {
        harness.upkeep();
        harness.round();
    }
    assert!(!harness.storage.has_round(Timestamp(harness.now)), "stuck");
    harness.check();
}

#[test]
fn every_time_between_and_on_the_batches_finds_the_first_offset_that_is_not_before_it() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    for n in 0..36 {
        for log in 0..3 {
            harness.append(&[(log, &[700, 3])]).unwrap();
            if n % 3 != 0 {
                harness.now -= 1; // the next one at the same time
            }
        }
        if n % 5 == 0 {
            // A run ends here, and the next begins at the same time.
            harness.append(&[(2, &[30])]).unwrap();
            let now = harness.now;
            harness.checkpoint();
            harness.now = now - 1;
            harness.append(&[(2, &[30])]).unwrap();
        }
        harness.flush();
        harness.now += i64::from(n % 4 == 0) * 10;
        if n % 7 == 0 {
            harness.checkpoint();
        }
    }
    let ask = |harness: &mut Harness| {
        for id in (0..3).map(log_id) {
            let times = harness.model.logs[&id].batches.iter();
            let times: Vec<i64> = times.map(|batch| batch.append_time).collect();
            for time in times.into_iter().flat_map(|time| time - 1..=time + 1) {
                harness.check_time(id, time);
            }
        }
    };
    ask(&mut harness);
    harness.checkpoint();
    ask(&mut harness);
    let mut harness = reopen(&disk, harness, Mercy::Process);
    ask(&mut harness);
}

#[test]
fn a_recovery_point_that_was_never_renamed_is_no_foreign_file() {
    let disk = MemoryDisk::new();
    disk.create_dir(Path::new(ROOT)).unwrap();
    let path = Path::new(ROOT).join("recovery-point.new");
    let file = disk.open(&path, OpenMode::Create).unwrap();
    file.write_at(0, &[IoSlice::new(&[9; 100])]).unwrap();
    let harness = Harness::open(Arc::new(disk), Model::default(), 1).unwrap();
    assert!(harness.report.is_new);
}

#[test]
fn what_is_queued_for_a_deleted_log_alone_is_told_so_and_takes_no_room() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    let alone = harness.append(&[(1, &[2_500])]).unwrap();
    let shared = harness.append(&[(1, &[20]), (0, &[20])]).unwrap();
    let groups_before = groups(&disk).len();
    harness.storage.drop_log(log_id(1));
    let outcome = |harness: &Harness, entry| harness.storage.outcome(entry, Durability::Synced);
    let told = outcome(&harness, alone);
    assert!(
        matches!(told, Outcome::Failed(CommitError::Deleted(log)) if log == log_id(1)),
        "{told:?}"
    );
    harness.append(&[(2, &[2_800])]).unwrap();
    let unwritten = harness.storage.unwritten_bytes();
    assert!(unwritten < 6_000, "{unwritten} bytes wait");
    harness.round();
    assert!(matches!(outcome(&harness, alone), Outcome::Failed(_)));
    assert!(matches!(outcome(&harness, shared), Outcome::Done));
    let written = groups(&disk);
    assert_eq!(written.len(), groups_before + 1);
    let group = written.last().unwrap().0;
    assert_eq!(group.item_count, 3, "two of one entry, and one");
}

#[test]
fn a_log_whose_direct_run_failed_ends_where_it_was_written() {
    let disk = CrashingDisk::new();
    let failing = FailingDisk::new(Arc::new(disk.clone()));
    let mut harness = Harness::open(Arc::new(failing.clone()), Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    harness.append(&[(1, &[100])]).unwrap();
    harness.flush();
    let fault = Fault::new(Fault::IO).on(Operation::Sync);
    failing.plan(fault.at(log_id(1).to_string()));
    let run = harness.append(&[(1, &[4_000])]).unwrap();
    harness.step_round(); // planned
    let behind = harness.append(&[(1, &[50])]).unwrap();
    let other = harness.append(&[(0, &[50])]).unwrap();
    harness.round();
    harness.round();
    for entry in [run, behind] {
        let outcome = harness.storage.outcome(entry, Durability::Synced);
        let is_told = matches!(outcome, Outcome::Failed(CommitError::Segment { .. }));
        assert!(is_told, "{outcome:?}");
    }
    let outcome = harness.storage.outcome(other, Durability::Synced);
    assert!(matches!(outcome, Outcome::Done));
    let log = harness.storage.log(log_id(1)).unwrap();
    assert_eq!((log.end().0, log.flushed().0), (1, 1));
    assert_eq!(harness.model.logs[&log_id(1)].end(), 1);
    harness.check();
    for loss in [Loss::None, Loss::All] {
        let (model, now) = (harness.model.clone(), harness.now + 1);
        let mut after = Harness::open(Arc::new(disk.after(loss)), model, now).unwrap();
        after.check_recovered(Mercy::Power);
        assert_eq!(after.storage.log(log_id(1)).unwrap().end().0, 1);
    }
}

#[test]
fn a_group_of_an_older_epoch_is_never_the_next_one() {
    let disk = CrashingDisk::new();
    let harness = start(&disk);
    let mut harness = reopen(&disk, harness, Mercy::Process);
    harness.append(&[(0, &[60])]).unwrap();
    harness.flush();
    harness.point();
    let model = harness.model.clone();
    harness.append(&[(0, &[70])]).unwrap();
    harness.round();
    // The next group as an older start would have written it, were its salt the same.
    let (mut header, path, at) = groups(&disk).pop().unwrap();
    assert_eq!(header.epoch, 2);
    header.epoch = 1;
    write(&disk, &path, at, &header.encode());
    let now = harness.now + 1;
    drop(harness);
    let mut after = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    after.check_recovered(Mercy::Process);
    assert_eq!(after.storage.log(log_id(0)).unwrap().end().0, 1);
    assert_eq!(after.report.torn, None);
    assert_eq!(after.report.dropped_groups, 0);
}

/// The write of a promised group never reached its place in a file that was used before: what lies
/// there is whole, of this very run, and older.
#[test]
fn a_stale_group_of_the_same_run_is_never_the_next_one() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    for size in [60, 70, 80] {
        harness.append(&[(0, &[size]), (1, &[size])]).unwrap();
        harness.flush();
    }
    harness.point();
    let written = groups(&disk);
    let bytes = |(header, path, at): &(GroupHeader, PathBuf, u64)| {
        let from = usize::try_from(*at).unwrap();
        let len = usize::try_from(header.total_len()).unwrap();
        read_file(&disk, path)[from..from + len].to_vec()
    };
    let [.., stale, lost, last] = &written[..] else {
        panic!("{} groups", written.len());
    };
    for place in [lost, last] {
        let after = disk.after(Loss::None);
        write(&after, &place.1, place.2, &bytes(stale));
        let (model, now) = (harness.model.clone(), harness.now + 1);
        let found = Harness::open(Arc::new(after), model, now).unwrap();
        let damage = found.report.damage.first().expect("the group was promised");
        assert_eq!((&damage.path, damage.from), (&place.1, place.2));
        for n in [0, 1] {
            // Whose entries a lost group had, nobody knows.
            let log = found.storage.log(log_id(n)).unwrap();
            assert!(log.refused().is_some(), "log {n} takes writes");
        }
    }
    // Where nothing was promised, it is what the file's last use left: the clean end.
    let after = disk.after(Loss::None);
    let (header, path, at) = last;
    let behind = at + header.total_len().next_multiple_of(4096);
    write(&after, path, behind, &bytes(stale));
    let (model, now) = (harness.model.clone(), harness.now + 1);
    let mut found = Harness::open(Arc::new(after), model, now).unwrap();
    found.check_recovered(Mercy::Process);
    assert_eq!(
        (&found.report.torn, found.report.dropped_groups),
        (&None, 0)
    );
}

/// The start after it is told that the one before left nothing behind the logs' ends.
#[test]
fn what_a_start_cut_off_stays_cut_when_the_power_goes() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    harness.append(&[(2, &[300])]).unwrap();
    harness.checkpoint();
    // A write of a broker whose journal group for it was lost: it has reached the device.
    let path = segment_file(2, 0);
    let end = read_file(&disk, &path).len() as u64;
    write(&disk, &path, end + 4096, &[7; 500]);
    disk.open(&path, OpenMode::ReadWrite)
        .unwrap()
        .sync_data()
        .unwrap();
    let mut harness = reopen(&disk, harness, Mercy::Process);
    assert_eq!(read_file(&disk, &path).len() as u64, end);
    harness.stop(); // with nothing written to that log
    let lost = disk.after(Loss::All);
    assert_eq!(
        read_file(&lost, &path).len() as u64,
        end,
        "the bytes are back"
    );
    let harness = reopen(&lost, harness, Mercy::Power);
    assert!(harness.report.was_clean);
    assert_eq!(harness.report.moved, []);
}

#[test]
fn a_checkpoint_vouches_for_nothing_that_is_not_synced() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    for n in 0..3 {
        harness.append(&[(n, &[500])]).unwrap();
        harness.append(&[(n, &[700])]).unwrap();
    }
    harness.flush();
    harness.checkpoint();
    let lost = disk.after(Loss::All);
    let after = reopen(&lost, harness, Mercy::Power);
    assert_eq!(after.report.batches, 0, "the journal helped");
}

#[test]
fn the_number_of_a_group_that_was_cut_off_is_never_used_again() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    harness.flush();
    harness.point();
    let model = harness.model.clone();
    // Two groups that no sync has covered; the first is torn.
    for size in [200, 300] {
        harness.append(&[(2, &[size])]).unwrap();
        harness.round();
    }
    let written = groups(&disk);
    let (torn, path, at) = written[written.len() - 2].clone();
    let last = written[written.len() - 1].0.group;
    write(&disk, &path, at + torn.total_len() - 20, &[1; 8]);
    let now = harness.now + 1;
    drop(harness);
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.check_recovered(Mercy::Power);
    assert_eq!(harness.report.dropped_groups, 1);
    let new = |harness: &mut Harness, epoch| {
        harness.append(&[(0, &[10])]).unwrap();
        harness.round();
        let all = groups(&disk).into_iter().map(|(header, ..)| header);
        let new = all.filter(|header| header.epoch == epoch);
        new.map(|header| header.group).collect::<Vec<_>>()
    };
    let second = new(&mut harness, 2);
    assert!(second[0] > last, "{second:?} after {last}");
    // And where the torn one was the last of all.
    let (torn, path, at) = groups(&disk).pop().unwrap();
    write(&disk, &path, at + torn.total_len() - 20, &[1; 8]);
    let (model, now) = (harness.model.clone(), harness.now + 1);
    drop(harness);
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    let third = new_epoch(&mut harness, &disk);
    assert!(third > torn.group, "{third} after {}", torn.group);
}

/// The number of the first group of the start that is running.
fn new_epoch(harness: &mut Harness, disk: &CrashingDisk) -> u64 {
    harness.model.forget_waiting();
    let end = harness.storage.log(log_id(0)).unwrap().end().0;
    let log = harness.model.logs.get_mut(&log_id(0)).unwrap();
    log.batches.retain(|batch| batch.end <= end);
    harness.append(&[(0, &[10])]).unwrap();
    harness.round();
    let epoch = harness.storage.epoch().0;
    let all = groups(disk).into_iter().map(|(header, ..)| header);
    let mut new = all.filter(|header| header.epoch == epoch);
    new.next().unwrap().group
}

#[test]
fn an_index_that_leaves_out_a_run_is_not_believed() {
    let disk = CrashingDisk::new();
    let mut harness = start(&disk);
    for _ in 0..5 {
        harness.append(&[(2, &[100, 50])]).unwrap();
        harness.checkpoint(); // the next batch begins a block, and so a run
    }
    harness.stop();
    let path = segment_file(2, 0);
    for ending in ["index", "timeindex"] {
        let path = path.with_extension(ending);
        let mut bytes = read_file(&disk, &path);
        assert_eq!(bytes.len(), 64 + 5 * 16, "{ending}");
        bytes.drain(64 + 16..64 + 32);
        disk.remove_file(&path).unwrap();
        write(&disk, &path, 0, &bytes);
    }
    let mut harness = reopen(&disk, harness, Mercy::Process);
    for from in (0..10).chain([0]) {
        harness.check_from(log_id(2), from, 200);
        harness.check_from(log_id(2), from, 30_000);
    }
    let times = harness.model.logs[&log_id(2)].batches.clone();
    for batch in times {
        harness.check_time(log_id(2), batch.append_time);
    }
}

#[test]
fn the_recovery_points_of_a_start_are_in_place_before_its_first_group() {
    let disk = CrashingDisk::new();
    let harness = start(&disk);
    let harness = reopen(&disk, harness, Mercy::Process);
    let bytes = read_file(&disk, &Path::new(ROOT).join("recovery-point"));
    for slot in bytes.chunks(4096) {
        let point = RecoveryPoint::decode(slot).unwrap();
        assert_eq!(point.epoch, harness.storage.epoch().0);
    }
}
