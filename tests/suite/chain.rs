//! The chain of a log's segments, which each header carries on: a lost header costs no record and
//! closes nothing, a missing segment closes its log to writers.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use npayload::format::{BatchHeader, DamageKind};
use npayload::storage::disk::{CrashingDisk, Disk, FailingDisk, Fault, Loss, OpenMode, Operation};
use npayload::storage::{Closed, IoFailure};
use npayload::types::Timestamp;

use crate::storage_harness::{Harness, Mercy, Model, ROOT, log_id};

const BLOCK: usize = 4096;

/// A log of one segment for each few batches, stopped in order.
struct Patient {
    disk: CrashingDisk,
    model: Model,
    now: i64,
    /// Its segment files, oldest first; the last is the active one.
    paths: Vec<PathBuf>,
}

impl Patient {
    fn new() -> Self {
        let disk = CrashingDisk::new();
        let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
        (0..2).for_each(|n| harness.create(n));
        for _ in 0..16 {
            harness.append(&[(0, &[700, 20]), (1, &[40])]).unwrap();
            harness.flush();
        }
        harness.stop();
        let dir = Path::new(ROOT).join("channels").join(log_id(0).to_string());
        let mut paths: Vec<PathBuf> = disk
            .list(&dir)
            .unwrap()
            .into_iter()
            .filter(|entry| entry.name.ends_with(".log"))
            .map(|entry| dir.join(entry.name))
            .collect();
        paths.sort();
        assert!(paths.len() >= 4, "{paths:?}");
        let now = harness.now + 1;
        Self {
            disk,
            model: harness.kill(),
            now,
            paths,
        }
    }

    fn copy(&self) -> FailingDisk {
        FailingDisk::new(Arc::new(self.disk.after(Loss::None)))
    }

    fn open(&self, disk: &FailingDisk) -> Harness {
        let disk = Arc::new(disk.clone());
        Harness::open(disk, self.model.clone(), self.now).unwrap()
    }

    fn sealed(&self) -> &[PathBuf] {
        &self.paths[..self.paths.len() - 1]
    }
}

fn block(disk: &dyn Disk, path: &Path, at: usize) -> Vec<u8> {
    let mut bytes = vec![0; BLOCK];
    let file = disk.open(path, OpenMode::Read).unwrap();
    let read = file.read_at(at as u64, &mut bytes).unwrap();
    bytes.truncate(read);
    bytes
}

fn base(path: &Path) -> u64 {
    path.file_stem().unwrap().to_str().unwrap().parse().unwrap()
}

/// Appends to the log, stops and starts again: all of it is there.
fn goes_on(mut harness: Harness, disk: &FailingDisk) -> Harness {
    harness.append(&[(0, &[30]), (1, &[5])]).unwrap();
    harness.stop();
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.check_recovered(Mercy::Process);
    harness
}

#[test]
fn a_damaged_header_is_reported_at_its_place_and_closes_nothing() {
    let patient = Patient::new();
    for (n, path) in patient.sealed().iter().enumerate() {
        let header = block(&patient.disk, path, 0);
        let mut flipped = header.clone();
        flipped[20 + n] ^= 4;
        let other = block(&patient.disk, &patient.paths[n + 1], 0);
        for bytes in [flipped, vec![0; BLOCK], other] {
            let disk = patient.copy();
            let file = disk.open(path, OpenMode::ReadWrite).unwrap();
            file.write_at(0, &[IoSlice::new(&bytes)]).unwrap();
            let mut harness = patient.open(&disk);
            // Everything is read, found by its time, and written on.
            harness.check_recovered(Mercy::Process);
            for batch in &patient.model.logs[&log_id(0)].batches {
                harness.check_time(log_id(0), batch.append_time);
                harness.check_time(log_id(0), batch.append_time + 1);
            }
            let is_marked = |harness: &Harness| {
                let log = harness.storage.log(log_id(0)).unwrap();
                assert!(log.refused().is_none(), "{:?}", log.refused());
                let [row] = log.damage() else {
                    panic!("{:?}", log.damage());
                };
                assert_eq!(row.what, DamageKind::SegmentFile);
                assert_eq!((row.segment_base.0, row.position), (base(path), 0));
                assert_eq!(row.length, BLOCK as u64);
                assert_eq!(row.first_offset, row.end_offset, "no record is lost");
            };
            is_marked(&harness);
            let harness = goes_on(harness, &disk);
            is_marked(&harness);
        }
    }
}

#[test]
fn a_header_that_cannot_be_read_hides_no_record_and_is_no_damage_yet() {
    let patient = Patient::new();
    for path in patient.sealed() {
        for operation in [Operation::Open, Operation::Read] {
            let disk = patient.copy();
            let mut harness = patient.open(&disk);
            let name = path.file_name().unwrap().to_str().unwrap();
            disk.plan(Fault::new(Fault::IO).on(operation).at(name));
            harness.check_recovered(Mercy::Process);
            assert_eq!(disk.struck(), 1, "{operation:?} of {name}");
            let log = harness.storage.log(log_id(0)).unwrap();
            assert!(log.refused().is_none(), "{:?}", log.refused());
            assert_eq!(log.damage(), []);
            goes_on(harness, &disk);
        }
    }
}

#[test]
fn a_lack_of_descriptors_is_no_lost_header() {
    let patient = Patient::new();
    let disk = patient.copy();
    let mut harness = patient.open(&disk);
    let name = patient.paths[1].file_name().unwrap().to_str().unwrap();
    let no_more = rustix::io::Errno::MFILE.raw_os_error();
    disk.plan(Fault::new(no_more).on(Operation::Open).at(name));
    let task = harness.storage.plan_load(log_id(0)).unwrap();
    let ended: Result<(), IoFailure> = harness.storage.finish_load(task.run());
    assert!(ended.unwrap_err().is_out_of_files());
    harness.check_recovered(Mercy::Process);
}

/// Retention judges a segment by the header behind it.
#[test]
fn retention_is_not_held_up_by_a_lost_header() {
    let patient = Patient::new();
    let start = |disk: &FailingDisk, oldest: i64| {
        let mut harness = patient.open(disk);
        harness.check();
        let id = log_id(0);
        harness
            .storage
            .retention_start(id, Some(Timestamp(oldest)), None, None)
    };
    let whole = patient.copy();
    for path in &patient.sealed()[1..] {
        let disk = patient.copy();
        let file = disk.open(path, OpenMode::ReadWrite).unwrap();
        file.write_at(0, &[IoSlice::new(&[0; BLOCK])]).unwrap();
        let first = BatchHeader::peek(&block(&disk, path, BLOCK)).unwrap();
        let first = first.append_time().0;
        for oldest in [first - 1, first + 1, patient.now] {
            let (lost, kept) = (start(&disk, oldest), start(&whole, oldest));
            assert!(lost <= kept, "{lost:?} of {kept:?} before {oldest}");
            assert!(oldest < first || lost == kept, "held up at {lost:?}");
        }
        assert!(start(&disk, first + 1).is_some_and(|start| start.0 >= base(path)));
    }
}

#[test]
fn a_missing_segment_closes_its_log_to_writers_and_no_other() {
    let patient = Patient::new();
    for path in patient.sealed() {
        let disk = patient.copy();
        disk.remove_file(path).unwrap();
        let mut harness = patient.open(&disk);
        let task = harness.storage.plan_load(log_id(0)).unwrap();
        harness.storage.finish_load(task.run()).unwrap();
        let log = harness.storage.log(log_id(0)).unwrap();
        assert!(matches!(log.refused(), Some(Closed::Damaged(_))));
        assert!(harness.append(&[(0, &[30])]).is_err());
        // What lies before and behind it is read.
        let next = patient.paths.iter().position(|one| one == path).unwrap() + 1;
        harness.check_from(log_id(0), base(&patient.paths[next]), 3_000);
        assert!(harness.read(log_id(0), base(path), 3_000).is_err());
        harness.append(&[(1, &[30])]).unwrap();
        harness.flush();
        harness.check_from(log_id(1), 0, 3_000);
    }
}

/// Its removal was cut short: it goes at the next start, whatever its header says.
#[test]
fn a_lost_header_below_the_log_start_is_nobodys_damage() {
    let patient = Patient::new();
    let disk = patient.copy();
    let file = disk.open(&patient.paths[0], OpenMode::ReadWrite).unwrap();
    file.write_at(0, &[IoSlice::new(&[0; BLOCK])]).unwrap();
    let mut harness = patient.open(&disk);
    harness.set_log_start(0, base(&patient.paths[2]));
    harness.round();
    assert!(disk.exists(&patient.paths[0]).unwrap(), "no upkeep came");
    let (now, model) = (harness.now + 1, harness.kill());
    let mut harness = Harness::open(Arc::new(disk.clone()), model, now).unwrap();
    harness.check_recovered(Mercy::Process);
    let log = harness.storage.log(log_id(0)).unwrap();
    assert_eq!(log.log_start().0, base(&patient.paths[2]));
    assert_eq!(log.damage(), []);
    harness.upkeep();
    assert!(!disk.exists(&patient.paths[0]).unwrap());
    assert!(disk.exists(&patient.paths[2]).unwrap());
}
