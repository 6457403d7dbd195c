//! Random bits of a whole data directory, each flip against the cell of the place it hits.

use std::collections::BTreeMap;

use super::case::damage::{BYTE_ROWS, Subject};
use super::case::patient::{End, Patient, next};
use super::case::table;
use super::laws::broken;
use super::outcome::{examine, words};

/// Flips of a plain test run; `make soak-flips` sets its own number.
const FLIPS: u64 = 600;

/// Where a flip may stay without consequence and without a word of the broker, and why.
const UNUSED: [(&str, &str); 5] = [
    ("lock", "only the lock on the file counts, not its bytes"),
    (
        "journal, not in use",
        "groups before the checkpoint or of an earlier use, and zeros",
    ),
    (
        "segment, padding",
        "no record lies there; the inspect tool reports it",
    ),
    (
        "active segment, batch that the journal has",
        "it is written again from the journal",
    ),
    ("offset index", "rebuilt from the segment"),
];

#[test]
fn a_random_flipped_bit_is_located_or_lies_where_nothing_is_kept() {
    let flips = std::env::var("NPAYLOAD_FLIPS").map_or(FLIPS, |text| text.parse().unwrap());
    let documented = table::table("Damaged bytes.");
    let subjects = [End::Clean, End::Killed].map(|end| Subject::new(Patient::new(end)));
    let mut random = 20_261_125;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut wrong = Vec::new();
    for n in 0..flips {
        let subject = &subjects[(n % 2) as usize];
        let (file, at) = subject.pick(n, &mut random);
        let bit = (next(&mut random) % 8) as u32;
        let case = subject.flipped(&file, at, bit);
        let row = subject
            .map
            .row_of(&subject.patient.image, &BYTE_ROWS, &file, at);
        let (first, second) = examine(subject, &case);
        let mut laws = broken(subject, &case, &first, &second);
        let cell = &documented[&(row.to_owned(), "bit flip".to_owned())];
        let found = words(subject, &case, &first);
        for word in &found {
            if !cell.iter().any(|known| known == word) {
                laws.push(format!("`{word}` is not in the cell of `{row}`"));
            }
        }
        let is_unused = UNUSED.iter().any(|(unused, _)| *unused == row);
        if found.contains("unaffected") && !is_unused {
            laws.push(format!("not noticed in `{row}`"));
        }
        wrong.extend(laws.into_iter().map(|law| format!("{}: {law}", case.story)));
        let found: Vec<&str> = found.into_iter().collect();
        *counts
            .entry((row.to_owned(), found.join(", ")))
            .or_default() += 1;
    }
    for ((row, outcome), count) in &counts {
        println!("{count:6} {row}: {outcome}");
    }
    println!("{flips} flips");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
