use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use npayload::format::{BatchBuilder, Compression, IndexHeader, NewRecord, Stamp, stamp};
use npayload::types::{LogEpoch, Offset, Timestamp};

use crate::fixture::{self, LOG_A, LOG_B, folder};
use crate::report::{FileReport, Kind, Report};
use crate::verify;

fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fixture::write(directory.path());
    directory
}

fn verify_all(directory: &Path) -> Report {
    verify::run(directory).unwrap()
}

fn clean(directory: &Path) -> Report {
    let report = verify_all(directory);
    let damage: Vec<_> = report
        .files
        .iter()
        .filter(|file| !file.damage.is_empty())
        .collect();
    assert!(report.clean, "{damage:#?}");
    report
}

fn file<'a>(report: &'a Report, end: &str) -> &'a FileReport {
    report
        .files
        .iter()
        .find(|file| file.path.ends_with(end))
        .unwrap()
}

fn open(path: &Path) -> File {
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .unwrap()
}

/// Flips one bit, verifies, and puts the bit back.
fn with_flipped_bit(directory: &Path, path: &Path, at: u64, bit: u32) -> Report {
    let file = open(path);
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ (1 << bit)], at).unwrap();
    let report = verify_all(directory);
    file.write_all_at(&byte, at).unwrap();
    report
}

/// Which bits of a byte to flip: all of them, or one where time is short.
fn flip_everything(every_bit: bool) {
    let directory = directory();
    let directory = directory.path();
    let mut flips = 0;
    for checked in clean(directory).files {
        let bytes = fs::read(&checked.path).unwrap();
        for [from, to] in checked.used_ranges {
            for at in from..to {
                let around = at.saturating_sub(8).max(from)..(at + 8).min(to);
                let is_blank = around
                    .clone()
                    .all(|at| bytes[usize::try_from(at).unwrap()] == 0);
                if is_blank && at % 257 != 0 {
                    continue;
                }
                let rotating = u32::try_from(at % 8).unwrap();
                for bit in (0..8).filter(|bit| every_bit || *bit == rotating) {
                    let report = with_flipped_bit(directory, &checked.path, at, bit);
                    let place = format!("{} byte {at} bit {bit}", checked.path.display());
                    for file in &report.files {
                        for damage in &file.damage {
                            assert_eq!(file.path, checked.path, "{place}: misplaced {damage:?}");
                            assert!(
                                (damage.from..damage.to).contains(&at),
                                "{place}: {damage:?}"
                            );
                        }
                    }
                    assert!(!report.clean, "{place}: not found");
                    flips += 1;
                }
            }
        }
    }
    assert!(flips > 5_000, "only {flips} flips");
    clean(directory);
}

#[test]
fn a_flipped_bit_in_a_used_range_is_found_where_it_is_and_nowhere_else() {
    flip_everything(false);
}

#[test]
#[ignore = "takes minutes: every bit of every used byte"]
fn every_flipped_bit_in_a_used_range_is_found_where_it_is() {
    flip_everything(true);
}

#[test]
fn used_ranges_cover_what_is_promised_and_leave_out_the_rest() {
    let directory = directory();
    let report = clean(directory.path());
    let kinds: std::collections::BTreeSet<Kind> =
        report.files.iter().map(|file| file.kind).collect();
    assert_eq!(kinds.len(), 7);
    let sealed = folder(directory.path(), LOG_A).join(format!("{:020}.log", 0));
    let sealed_len = fs::metadata(&sealed).unwrap().len();
    assert_eq!(
        file(&report, sealed.to_str().unwrap()).used_ranges,
        [[0, sealed_len]]
    );
    // Groups 1 and 2 lie before the checkpoint, group 7 has nobody to vouch for it.
    assert_eq!(
        file(&report, "0000.journal").used_ranges,
        [[0, 4096], [12288, 20480]]
    );
    assert_eq!(file(&report, "0001.journal").used_ranges, [[0, 12288]]);
    // Checkpointed bytes, then those of the synced reference; between them lies what only the journal promises.
    let other = folder(directory.path(), LOG_B).join(format!("{:020}.log", 0));
    let ranges = &file(&report, other.to_str().unwrap()).used_ranges;
    assert_eq!(ranges.len(), 2, "{ranges:?}");
    assert_eq!(ranges[1][0], 12288);
}

#[test]
fn damage_to_records_names_their_offsets() {
    let directory = directory();
    let path = folder(directory.path(), LOG_A).join(format!("{:020}.log", 0));
    // Inside the body, then inside the header, of the batch on the second block.
    for at in [8192 + 100, 8192 + 33] {
        let report = with_flipped_bit(directory.path(), &path, at, 3);
        let damage = &file(&report, path.to_str().unwrap()).damage;
        assert_eq!(damage.len(), 1, "{damage:?}");
        assert_eq!(
            (damage[0].first_offset, damage[0].last_offset),
            (Some(10), Some(14))
        );
    }
    // The padding before it holds no record.
    let report = with_flipped_bit(directory.path(), &path, 8190, 0);
    let damage = &file(&report, path.to_str().unwrap()).damage;
    assert_eq!(damage[0].first_offset, None);
}

#[test]
fn an_unvouched_last_group_may_be_torn_anywhere() {
    let directory = directory();
    let path = directory.path().join("journal/0001.journal");
    for at in 12288..12288 + 700 {
        let report = with_flipped_bit(directory.path(), &path, at, 5);
        assert!(
            report.clean,
            "byte {at}: {:?}",
            file(&report, "0001.journal").damage
        );
    }
}

#[test]
fn a_promised_group_that_is_zero_is_damage() {
    let directory = directory();
    let path = directory.path().join("journal/0000.journal");
    open(&path).write_all_at(&[0; 4096], 16384).unwrap();
    let report = verify_all(directory.path());
    let damage = &file(&report, "0000.journal").damage;
    assert_eq!(damage.len(), 1, "{damage:?}");
    assert_eq!(damage[0].from, 16384);
}

#[test]
fn a_missing_segment_is_reported_with_its_offsets() {
    let directory = directory();
    let path = folder(directory.path(), LOG_A).join(format!("{:020}.log", 20));
    fs::remove_file(&path).unwrap();
    let report = verify_all(directory.path());
    let damage = &file(&report, path.to_str().unwrap()).damage;
    assert_eq!(
        (damage[0].first_offset, damage[0].last_offset),
        (Some(20), Some(39))
    );
}

#[test]
fn a_segment_cut_short_is_damage_and_one_whose_tail_is_in_the_journal_is_not() {
    let directory = directory();
    let sealed = folder(directory.path(), LOG_A).join(format!("{:020}.log", 20));
    let active = folder(directory.path(), LOG_A).join(format!("{:020}.log", 40));
    open(&active)
        .set_len(fs::metadata(&active).unwrap().len() - 500)
        .unwrap();
    clean(directory.path());
    let len = fs::metadata(&sealed).unwrap().len();
    open(&sealed).set_len(len - 1).unwrap();
    let report = verify_all(directory.path());
    let damage = &file(&report, sealed.to_str().unwrap()).damage;
    assert_eq!(damage[0].to, len);
}

#[test]
fn one_file_is_judged_beside_its_directory_and_alone() {
    let directory = directory();
    for inside in clean(directory.path()).files {
        let report = verify::run(&inside.path).unwrap();
        assert_eq!(report.files.len(), 1, "{}", inside.path.display());
        assert_eq!(report.files[0].used_ranges, inside.used_ranges);
        assert!(report.clean);

        let elsewhere = tempfile::tempdir().unwrap();
        let copy = elsewhere.path().join(inside.path.file_name().unwrap());
        if inside.kind == Kind::RecoveryPoint || inside.kind == Kind::Marker {
            continue;
        }
        fs::copy(&inside.path, &copy).unwrap();
        let report = verify::run(&copy).unwrap();
        assert_eq!(report.files.len(), 1, "{}", copy.display());
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(verify::run(directory.path()).is_err());
    let path = directory.path().join("notes.txt");
    fs::write(&path, "hello").unwrap();
    assert!(verify::run(&path).is_err());
    assert!(verify::run(&directory.path().join("absent")).is_err());
}

#[test]
fn an_index_full_of_garbage_is_one_finding_however_long_it_is() {
    let directory = directory();
    let path = folder(directory.path(), LOG_A).join("00000000000000000000.index");
    let mut bytes = fs::read(&path).unwrap();
    bytes.truncate(IndexHeader::BYTES);
    bytes.resize(IndexHeader::BYTES + (16 << 20), 0xa5);
    fs::write(&path, &bytes).unwrap();
    let report = verify_all(directory.path());
    let is_it = |file: &&FileReport| file.path == path;
    let index = report.files.iter().find(is_it).unwrap();
    assert_eq!(index.damage.len(), 1, "{:?}", index.damage);
    let damage = &index.damage[0];
    let all = (IndexHeader::BYTES as u64, bytes.len() as u64);
    assert_eq!((damage.from, damage.to), all);
    assert!(damage.what.contains("1048576 entries"), "{}", damage.what);
}

#[test]
fn what_was_set_aside_follows_one_another_and_of_an_outbox_may_leave_others_out() {
    let directory = tempfile::tempdir().unwrap();
    let batch = |offset: u64| {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&NewRecord::default()).unwrap();
        let mut bytes = builder.build().unwrap().to_vec();
        let at = Stamp {
            incarnation: LOG_A,
            base_offset: Offset(offset),
            append_time: Timestamp(1),
            log_epoch: LogEpoch(1),
            principal: 0,
        };
        stamp(&mut bytes, &at);
        bytes
    };
    for (offsets, log, outbox) in [
        ([4, 5], true, true),
        ([4, 6], false, true),
        ([5, 4], false, false),
    ] {
        let bytes = offsets.map(batch).concat();
        for (name, is_clean) in [
            ("orders-4.batches", log),
            ("__outbox.0011.orders-4.batches", outbox),
        ] {
            let path = directory.path().join(name);
            fs::write(&path, &bytes).unwrap();
            let report = verify::run(&path).unwrap();
            assert_eq!(report.clean, is_clean, "{name}: {offsets:?}");
        }
    }
}
