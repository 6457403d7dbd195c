//! Random bits of whole data directories that a broker wrote: each is located, or lies where nothing is promised.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::Path;

use crate::verify;

#[path = "../../../../tests/suite/corruption/case/mod.rs"]
#[allow(
    dead_code,
    clippy::cast_possible_truncation,
    reason = "the corruption tests of the broker use all of it; its numbers are small"
)]
mod case;

use case::damage::{BYTE_ROWS, Subject};
use case::image::Image;
use case::patient::{End, Patient, next};

/// Flips of a plain test run; `make soak-flips` sets its own number.
const FLIPS: u64 = 1_500;

/// Where nothing is promised, and why.
const UNUSED: [(&str, &str); 5] = [
    ("lock", "only the lock on the file counts, not its bytes"),
    (
        "journal, not in use",
        "groups before the checkpoint or of an earlier use, and zeros",
    ),
    (
        "journal, last group",
        "nothing vouches for it: it cannot be told from a torn one",
    ),
    (
        "active segment, batch that the journal has",
        "the journal's bytes are checked, and written again from there",
    ),
    (
        "segment, padding",
        "in front of such a batch, which brings its padding with it",
    ),
];

fn write(image: &Image, directory: &Path) {
    for dir in &image.dirs {
        fs::create_dir_all(directory.join(dir)).unwrap();
    }
    for (name, bytes) in &image.files {
        fs::write(directory.join(name), bytes).unwrap();
    }
}

#[test]
fn a_random_flipped_bit_is_located_or_lies_where_nothing_is_promised() {
    let flips = std::env::var("NPAYLOAD_FLIPS").map_or(FLIPS, |text| text.parse().unwrap());
    let mut random = 20_261_125;
    let mut counts: BTreeMap<(&str, &str), u64> = BTreeMap::new();
    for (which, end) in [End::Clean, End::Killed].into_iter().enumerate() {
        let subject = Subject::new(Patient::new(end));
        let directory = tempfile::tempdir().unwrap();
        write(&subject.patient.image, directory.path());
        let clean = verify::run(directory.path()).unwrap();
        assert!(clean.clean, "{:?}", clean.notes);
        for n in 0..flips / 2 + flips % 2 * (which as u64 ^ 1) {
            let (name, at) = subject.pick(n * 2, &mut random);
            let bit = next(&mut random) % 8;
            let row = subject
                .map
                .row_of(&subject.patient.image, &BYTE_ROWS, &name, at);
            let path = directory.path().join(&name);
            let place = format!(
                "{}: {row}: {name} byte {at} bit {bit}",
                subject.patient.name
            );
            let is_used = clean.files.iter().any(|file| {
                let mut ranges = file.used_ranges.iter();
                file.path == path && ranges.any(|[from, to]| (*from..*to).contains(&(at as u64)))
            });
            let file = OpenOptions::new().write(true).open(&path).unwrap();
            let byte = subject.patient.image.file(&name)[at];
            file.write_all_at(&[byte ^ (1 << bit)], at as u64).unwrap();
            let report = verify::run(directory.path()).unwrap();
            file.write_all_at(&[byte], at as u64).unwrap();
            assert_eq!(report.clean, !is_used, "{place}");
            for file in &report.files {
                for damage in &file.damage {
                    assert_eq!(file.path, path, "{place}: misplaced {damage:?}");
                    let is_there = (damage.from..damage.to).contains(&(at as u64));
                    assert!(is_there, "{place}: {damage:?}");
                }
            }
            if report.clean {
                let is_known = UNUSED.iter().any(|(unused, _)| *unused == row);
                assert!(is_known, "{place}: not found");
            }
            let outcome = if report.clean {
                "nothing promised"
            } else {
                "located"
            };
            *counts.entry((row, outcome)).or_default() += 1;
        }
    }
    for ((row, outcome), count) in &counts {
        println!("{count:6} {row}: {outcome}");
    }
    println!("{flips} flips");
}
