//! The twin of the crash test: every synced byte is damaged in turn. The damage is reported where
//! it is, no log gets shorter in silence, no other record is touched.

use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use npayload::format::{
    BatchHeader, GroupHeader, IndexHeader, OffsetEntry, TimeEntry, check_stored,
};
use npayload::storage::disk::{CrashingDisk, Disk, Loss, OpenMode};
use npayload::storage::{OpenError, Read, ReadError};
use npayload::types::{Incarnation, Offset};

use crate::storage_harness::{BODY_AT, Harness, Mercy, Model, ModelBatch, ROOT, in_plain, log_id};
use crate::stored::read_file;

/// A stopped or killed broker, to be damaged in copies.
struct Patient {
    disk: CrashingDisk,
    model: Model,
    now: i64,
}

impl Patient {
    fn copy(&self) -> CrashingDisk {
        self.disk.after(Loss::None)
    }

    fn open(&self, disk: &CrashingDisk) -> Result<Harness, OpenError> {
        let mut harness = Harness::open(Arc::new(disk.clone()), self.model.clone(), self.now)?;
        harness.model.forget_waiting();
        Ok(harness)
    }
}

/// Writes to three logs until they have several segments, checkpointed, and some groups of the
/// journal behind that.
fn patient(end: impl FnOnce(&mut Harness)) -> Patient {
    let disk = CrashingDisk::new();
    let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    for n in 0..9 {
        harness.append(&[(0, &[300, 20])]).unwrap();
        harness.append(&[(0, &[60]), (1, &[500])]).unwrap();
        harness.append(&[(2, &[150; 4])]).unwrap();
        harness.flush();
        if n == 4 {
            harness.append(&[(1, &[3_600, 10])]).unwrap();
            harness.flush();
            harness.checkpoint();
        }
    }
    harness.checkpoint();
    end(&mut harness);
    harness.check();
    Patient {
        now: harness.now + 1,
        model: harness.kill(),
        disk,
    }
}

/// Groups behind the last checkpoint, all of them promised.
fn with_journal(harness: &mut Harness) {
    harness.append(&[(0, &[90]), (2, &[40])]).unwrap();
    harness.flush();
    harness.append(&[(1, &[33, 44])]).unwrap();
    harness.append(&[(0, &[700])]).unwrap();
    harness.flush();
    harness.append(&[(1, &[3_300])]).unwrap();
    harness.flush();
    harness.append(&[(1, &[5])]).unwrap();
    harness.flush();
    harness.point();
}

fn flip(disk: &CrashingDisk, path: &Path, at: usize, bit: u32) {
    let file = disk.open(path, OpenMode::ReadWrite).unwrap();
    let mut byte = [0];
    file.read_at(at as u64, &mut byte).unwrap();
    byte[0] ^= 1 << bit;
    file.write_at(at as u64, &[IoSlice::new(&byte)]).unwrap();
}

fn files(disk: &CrashingDisk, dir: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in disk.list(dir).unwrap() {
        let path = dir.join(&entry.name);
        if entry.is_dir {
            found.extend(files(disk, &path, ending));
        } else if entry.name.ends_with(ending) {
            found.push(path);
        }
    }
    found
}

/// What a careful reader gets of a log: it checks every batch, and goes on behind damage.
#[derive(Debug, Default)]
struct Reading {
    /// First offsets of the batches that could not be read, and what said so.
    bad: Vec<(u64, String)>,
    /// Where the storage itself said that damage is.
    named: Vec<(PathBuf, u64, Option<Offset>)>,
}

fn read_around(harness: &mut Harness, id: Incarnation) -> Reading {
    let mut reading = Reading::default();
    let batches = harness.model.logs[&id].batches.clone();
    let start = harness.storage.log(id).unwrap().log_start().0;
    let end = harness.storage.log(id).unwrap().high_watermark().0;
    let mut at = start;
    while at < end {
        let Some(expected) = batches.iter().find(|batch| batch.end > at) else {
            panic!("log {id} goes on at {at}, where nobody wrote");
        };
        let read = match harness.storage.plan_read(id, Offset(at), 2_000) {
            Ok(Read::Ready(slices)) => Ok(slices),
            Ok(Read::Segment(job)) => job.run(),
            Ok(Read::Load(task)) => {
                let loaded = task.run();
                harness.storage.finish_load(loaded).unwrap();
                continue;
            }
            Err(error) => Err(error),
        };
        match read {
            Ok(slices) => {
                assert!(
                    !slices.parts.is_empty(),
                    "log {id} ends in silence at {at} of {end}"
                );
                let mut from = at;
                for part in slices.parts {
                    if let Err(what) = take(part, &batches, &mut from) {
                        let bad = batches.iter().find(|batch| batch.end > from).unwrap();
                        reading.bad.push((bad.first, what));
                        from = bad.end;
                        break;
                    }
                }
                assert!(from > at);
                at = from;
            }
            Err(ReadError::Damaged {
                segment,
                position,
                offset,
                next,
                what,
            }) => {
                assert_eq!(offset.0, at, "the damage is said to be elsewhere");
                assert!(
                    next.is_none_or(|next| next.0 > at),
                    "next is not after: {what}"
                );
                reading.bad.push((expected.first, what.to_string()));
                reading.named.push((segment, position, next));
                // What is named as readable is read; all between is lost with the first.
                let to = next.map_or(expected.end, |next| next.0);
                let lost = batches
                    .iter()
                    .filter(|batch| batch.first > at && batch.end <= to);
                reading
                    .bad
                    .extend(lost.map(|batch| (batch.first, what.to_string())));
                at = to;
            }
            Err(error) => panic!("log {id} at {at}: {error}"),
        }
    }
    reading
}

/// Compares stored bytes with the model; `from` is where the next batch must begin.
fn take(mut part: Bytes, batches: &[ModelBatch], from: &mut u64) -> Result<(), String> {
    while !part.is_empty() {
        let header = BatchHeader::peek(&part).map_err(|error| error.to_string())?;
        if header.len() > part.len() {
            return Err("a batch is cut".to_owned());
        }
        let batch = part.split_to(header.len());
        let header = check_stored(&batch).map_err(|error| error.to_string())?;
        let expected = batches.iter().find(|batch| batch.end > *from);
        let expected = expected.expect("a record that nobody wrote");
        assert_eq!(
            header.base_offset().0,
            expected.first,
            "records are skipped in silence"
        );
        let plain = in_plain(header.incarnation(), &batch);
        assert_eq!(plain[BODY_AT..], expected.body[..], "a wrong record");
        *from = expected.end;
    }
    Ok(())
}

/// Reads all logs but `hurt`, which must be whole, and writes to all that are not refused.
fn check_others(harness: &mut Harness, hurt: Option<Incarnation>) {
    for n in 0..3 {
        let id = log_id(n);
        if Some(id) == hurt || harness.storage.log(id).unwrap().refused().is_some() {
            continue;
        }
        let end = harness.storage.log(id).unwrap().end().0;
        assert_eq!(
            end,
            harness.model.logs[&id].end(),
            "log {id} is shorter in silence"
        );
        let reading = read_around(harness, id);
        assert!(reading.bad.is_empty(), "log {id}: {:?}", reading.bad);
        harness.append(&[(n, &[77])]).unwrap();
    }
    harness.flush();
}

/// The groups of a journal file: the number of each, and where it begins and ends.
fn groups(bytes: &[u8], epoch: u64) -> Vec<(u64, usize, usize)> {
    let mut found = Vec::new();
    let mut at = 4096;
    while at + 4096 <= bytes.len() {
        let mut len = 0;
        if let Ok(header) = GroupHeader::decode(&bytes[at..])
            && header.epoch == epoch
        {
            len = usize::try_from(header.total_len()).unwrap();
            found.push((header.group, at, at + len));
        }
        at += len.max(1).next_multiple_of(4096);
    }
    found
}

#[test]
fn damage_in_a_promised_group_is_reported_at_its_place() {
    let patient = patient(with_journal);
    let whole = patient.open(&patient.copy()).unwrap();
    let first = whole.report.groups;
    assert!(first >= 4, "{first} groups are replayed");
    drop(whole);
    let epoch = 1;
    let mut checked = 0;
    // Those that are replayed have the highest numbers, wherever in the ring they lie.
    let mut all = Vec::new();
    for path in files(&patient.disk, &Path::new(ROOT).join("journal"), ".journal") {
        let found = groups(&read_file(&patient.disk, &path), epoch);
        all.extend(found.into_iter().map(|group| (group, path.clone())));
    }
    all.sort_unstable_by_key(|((number, ..), _)| std::cmp::Reverse(*number));
    for ((_, start, end), path) in all.into_iter().take(usize::try_from(first).unwrap() + 2) {
        for at in (start..end).filter(|at| at - start < 256 || at % 11 == 0) {
            let disk = patient.copy();
            flip(&disk, &path, at, u32::try_from(at % 8).unwrap());
            let mut harness = match patient.open(&disk) {
                Ok(harness) => harness,
                Err(error) => panic!("byte {at} of {}: {error}", path.display()),
            };
            let damage = harness.report.damage.clone();
            let place = damage.iter().find(|damage| {
                damage.path == path && (damage.from..damage.to).contains(&(at as u64))
            });
            let Some(place) = place else {
                // Groups from before the checkpoint are not needed any more. One that lies
                // where the journal ends can't be told from a group that was torn there.
                assert_eq!(damage, [], "byte {at} of {}", path.display());
                if let Some((torn, from, _)) = &harness.report.torn {
                    assert_eq!((torn, *from), (&path, start as u64), "byte {at}");
                }
                check_others(&mut harness, None);
                continue;
            };
            checked += 1;
            let hurt = place.log;
            check_others(&mut harness, hurt);
            for n in 0..3 {
                let id = log_id(n);
                let is_short = harness.storage.log(id).unwrap().end().0
                    < harness.model.logs[&id].batches.last().unwrap().end;
                let is_refused = harness.storage.log(id).unwrap().refused().is_some();
                assert!(
                    !is_short || is_refused,
                    "log {id} is shorter and takes writes"
                );
                read_around(&mut harness, id);
            }
        }
    }
    assert!(checked > 500, "{checked} bytes were checked");
}

#[test]
fn a_torn_last_group_that_nobody_promised_is_cut_and_reported() {
    let patient = patient(|harness| {
        with_journal(harness);
        harness.append(&[(0, &[500])]).unwrap();
        harness.round();
    });
    let path = files(&patient.disk, &Path::new(ROOT).join("journal"), ".journal")
        .into_iter()
        .max_by_key(|path| {
            let bytes = read_file(&patient.disk, path);
            let groups = groups(&bytes, 1).into_iter();
            groups.map(|(number, ..)| number).max().unwrap_or(0)
        })
        .unwrap();
    let bytes = read_file(&patient.disk, &path);
    let (_, start, end) = groups(&bytes, 1).into_iter().max().unwrap();
    for at in (start..end).step_by(3) {
        let disk = patient.copy();
        flip(&disk, &path, at, 3);
        let mut harness = patient.open(&disk).unwrap();
        assert_eq!(harness.report.damage, []);
        let (file, from, to) = harness.report.torn.clone().expect("a torn group");
        assert_eq!((file, from), (path.clone(), start as u64));
        assert!(to > from);
        let log = harness.model.logs.get_mut(&log_id(0)).unwrap();
        let gone = log.batches.pop().unwrap();
        assert_eq!(harness.storage.log(log_id(0)).unwrap().end().0, gone.first);
        check_others(&mut harness, None);
    }
}

#[test]
fn damage_in_a_segment_below_the_checkpoint_hurts_one_batch() {
    let patient = patient(Harness::stop);
    let mut checked = 0;
    for path in files(&patient.disk, &Path::new(ROOT).join("channels"), ".log") {
        let bytes = read_file(&patient.disk, &path);
        let hurt: Incarnation = path
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str())
            .unwrap()
            .parse()
            .unwrap();
        let is_directory = !patient.model.logs.contains_key(&hurt);
        for at in (0..bytes.len()).filter(|at| at % 13 == 0 || (at % 4096) < 200 && at % 2 == 0) {
            let disk = patient.copy();
            flip(&disk, &path, at, u32::try_from(at % 8).unwrap());
            let mut harness = match patient.open(&disk) {
                Ok(harness) => harness,
                Err(error) => {
                    assert!(is_directory, "byte {at} of {}: {error}", path.display());
                    checked += 1;
                    continue;
                }
            };
            let story = format!("byte {at} of {}", path.display());
            if is_directory {
                check_others(&mut harness, None);
                continue;
            }
            let reading = read_around(&mut harness, hurt);
            checked += 1;
            for (file, position, _) in &reading.named {
                let near = position.abs_diff(at as u64) < 4096 && *file == path;
                assert!(near, "{story}: named {} at {position}", file.display());
            }
            let mut bad: Vec<u64> = reading.bad.iter().map(|bad| bad.0).collect();
            bad.dedup();
            assert!(bad.len() <= 1, "{story}: {:?}", reading.bad);
            check_others(&mut harness, Some(hurt));
        }
    }
    assert!(checked > 1_000, "{checked} bytes were checked");
}

#[test]
fn damage_in_an_index_is_never_seen() {
    let patient = patient(Harness::stop);
    let mut indexes = files(&patient.disk, &Path::new(ROOT).join("channels"), "index");
    indexes.retain(|path| !path.to_string_lossy().contains(".log"));
    assert!(indexes.len() > 8, "{indexes:?}");
    for path in indexes {
        let bytes = read_file(&patient.disk, &path);
        for at in 0..bytes.len() + 1 {
            let disk = patient.copy();
            if at < bytes.len() {
                flip(&disk, &path, at, u32::try_from(at % 8).unwrap());
            } else {
                disk.remove_file(&path).unwrap();
            }
            let Ok(mut harness) = patient.open(&disk) else {
                panic!("byte {at} of {}", path.display());
            };
            assert_eq!(harness.report.damage, []);
            for id in (0..3).map(log_id) {
                let end = harness.storage.log(id).unwrap().end().0;
                for from in (0..end).step_by(3) {
                    harness.check_from(id, from, 400);
                }
                for time in [0, 5, 12, 1_000_007, harness.now / 2, harness.now] {
                    harness.check_time(id, time);
                }
            }
        }
    }
}

#[test]
fn damage_in_the_marker_refuses_and_in_a_checkpoint_is_reported() {
    let patient = patient(with_journal);
    let root = Path::new(ROOT);
    let marker = root.join("npayload.marker");
    for at in 0..read_file(&patient.disk, &marker).len() {
        let disk = patient.copy();
        flip(&disk, &marker, at, 1);
        let refused = patient.open(&disk).err().expect("the marker is damaged");
        assert!(matches!(refused, OpenError::Unreadable { path, .. } if path == marker));
    }
    let checkpoint = files(&patient.disk, &root.join("checkpoints"), ".checkpoint").remove(0);
    let copy = files(&patient.disk, &root.join("checkpoints"), ".copy").remove(0);
    for at in 0..read_file(&patient.disk, &checkpoint).len() {
        let disk = patient.copy();
        flip(&disk, &checkpoint, at, 2);
        let mut harness = patient.open(&disk).unwrap();
        let damage = harness.report.damage.clone();
        assert!(
            damage.len() == 1 && damage[0].path == checkpoint,
            "{damage:?}"
        );
        check_others(&mut harness, None);
        let disk = patient.copy();
        flip(&disk, &checkpoint, at, 2);
        flip(&disk, &copy, at / 2, 2);
        assert!(
            patient.open(&disk).is_err(),
            "both copies are damaged at {at}"
        );
    }
}

#[test]
fn damage_in_the_recovery_point_loses_nothing_in_silence() {
    // After a checkpoint, a stop and a start the newest point names what the one before did not.
    for end in [
        with_journal,
        Harness::checkpoint,
        Harness::stop,
        |_: &mut Harness| {},
    ] {
        damage_the_recovery_point(&patient(end));
    }
}

fn damage_the_recovery_point(patient: &Patient) {
    let path = Path::new(ROOT).join("recovery-point");
    for at in (0..8192).filter(|at| at % 4096 < 140 && at % 3 == 0 || at % 509 == 0) {
        let disk = patient.copy();
        flip(&disk, &path, at, 5);
        let opened = patient.open(&disk);
        let mut harness = opened.unwrap_or_else(|error| panic!("byte {at}: {error}"));
        assert!(
            harness.report.repaired.iter().any(|one| one.path == path),
            "byte {at} is not reported"
        );
        assert_eq!(harness.report.damage, []);
        check_others(&mut harness, None);
        // The point that this start wrote is in the slot that was damaged.
        let model = harness.kill();
        let again = Harness::open(Arc::new(disk), model, patient.now + 1);
        let again = again.unwrap_or_else(|error| panic!("byte {at}, then: {error}"));
        assert_eq!(again.report.repaired, [], "byte {at}");
    }
    let disk = patient.copy();
    flip(&disk, &path, 9, 0);
    flip(&disk, &path, 4096 + 9, 0);
    let refused = patient.open(&disk).err().expect("both slots are damaged");
    assert!(
        matches!(refused, OpenError::NoRecoveryPoint { .. }),
        "{refused}"
    );
}

#[test]
fn damage_in_the_header_of_a_journal_file_is_reported_once() {
    let patient = patient(with_journal);
    let journal = files(&patient.disk, &Path::new(ROOT).join("journal"), ".journal");
    for path in journal {
        for at in (0..4096).filter(|at| *at < 140 || at % 301 == 0) {
            let disk = patient.copy();
            flip(&disk, &path, at, 4);
            let mut harness = patient.open(&disk).unwrap();
            let damage = harness.report.damage.clone();
            assert!(damage.len() == 1 && damage[0].path == path, "{damage:?}");
            check_others(&mut harness, None);
            let now = harness.now + 1;
            let model = harness.kill();
            let mut harness = Harness::open(Arc::new(disk), model, now).unwrap();
            harness.check_recovered(Mercy::Process);
        }
    }
}

#[test]
fn a_missing_segment_is_damage_and_the_rest_of_the_log_is_read() {
    let patient = patient(Harness::stop);
    for path in files(&patient.disk, &Path::new(ROOT).join("channels"), ".log") {
        let id: Incarnation = path
            .parent()
            .and_then(Path::file_name)
            .and_then(|name| name.to_str())
            .unwrap()
            .parse()
            .unwrap();
        let disk = patient.copy();
        disk.remove_file(&path).unwrap();
        let Ok(mut harness) = patient.open(&disk) else {
            assert!(!patient.model.logs.contains_key(&id), "{}", path.display());
            continue;
        };
        let reading = read_around(&mut harness, id);
        assert!(!reading.bad.is_empty(), "{} is not missed", path.display());
        check_others(&mut harness, Some(id));
    }
}

/// Moves the offset that an entry of both index files gives its run, checksums and all.
fn forge_offset(disk: &CrashingDisk, path: &Path, entry: usize, by: i64) {
    let name = path.file_stem().unwrap().to_string_lossy().into_owned();
    let base = Offset(name.parse().unwrap());
    let dir = path.parent().unwrap().file_name().unwrap();
    let id: Incarnation = dir.to_string_lossy().parse().unwrap();
    let at = IndexHeader::BYTES + entry * OffsetEntry::BYTES;
    let moved = |delta: u32| u32::try_from(i64::from(delta) + by).unwrap();
    let write = |path: &Path, bytes: &[u8]| {
        let file = disk.open(path, OpenMode::ReadWrite).unwrap();
        file.write_at(at as u64, &[std::io::IoSlice::new(bytes)])
            .unwrap();
    };
    let bytes = read_file(disk, path);
    let mut offset = OffsetEntry::decode(&bytes[at..at + OffsetEntry::BYTES], id, base).unwrap();
    offset.offset_delta = moved(offset.offset_delta);
    write(path, &offset.encode(id, base));
    let path = path.with_extension("timeindex");
    let bytes = read_file(disk, &path);
    let mut time = TimeEntry::decode(&bytes[at..at + TimeEntry::BYTES], id, base).unwrap();
    time.offset_delta = moved(time.offset_delta);
    write(&path, &time.encode(id, base));
}

#[test]
fn an_index_that_says_what_its_segment_does_not_hold_is_not_believed() {
    let disk = CrashingDisk::new();
    let mut harness = Harness::open(Arc::new(disk.clone()), Model::default(), 1).unwrap();
    (0..3).for_each(|n| harness.create(n));
    // What follows a checkpoint is on a fresh block, and so in a run of its own.
    for _ in 0..8 {
        harness.append(&[(2, &[100, 50])]).unwrap();
        harness.append(&[(2, &[100])]).unwrap();
        harness.checkpoint();
    }
    harness.stop();
    let patient = Patient {
        now: harness.now + 1,
        model: harness.kill(),
        disk,
    };
    let mut forged = 0;
    for path in files(&patient.disk, &Path::new(ROOT).join("channels"), "index") {
        let entries = read_file(&patient.disk, &path).len() - IndexHeader::BYTES;
        // The last run is walked when the index is loaded; one before it is taken at its word.
        for entry in 1..(entries / OffsetEntry::BYTES).saturating_sub(1) {
            for by in [1, -1] {
                let disk = patient.copy();
                forge_offset(&disk, &path, entry, by);
                forged += 1;
                let mut harness = patient.open(&disk).unwrap();
                for id in (0..3).map(log_id) {
                    let end = harness.storage.log(id).unwrap().end().0;
                    for from in 0..end {
                        for max in [1, 400, 100_000] {
                            harness.check_from(id, from, max);
                        }
                    }
                }
            }
        }
    }
    assert!(forged > 0, "no index has enough runs");
}
