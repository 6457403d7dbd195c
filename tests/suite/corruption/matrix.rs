//! Each cell of the tables against what really happens.

use std::collections::BTreeMap;

use super::case::damage::{
    BYTE_DAMAGES, BYTE_ROWS, Case, FILE_DAMAGES, KEY_ROWS, Subject, of_bytes, of_files,
};
use super::case::patient::{End, Patient};
use super::case::table::{self, Table};
use super::laws::broken;
use super::outcome::{examine, words};

pub const FILE_ROWS: [&str; 15] = [
    "marker",
    "lock",
    "recovery point",
    "checkpoint",
    "checkpoint copy",
    "journal file in use",
    "journal file not in use",
    "sealed segment",
    "active segment",
    "offset index",
    "time index",
    "`__channels` segment",
    "`__consumers` segment",
    "secret file",
    "`__access` segment",
];

type Cases = fn(&Subject, &str, &str) -> Vec<Case>;

fn check(title: &str, rows: &[&str], columns: &[&str], cases: Cases) {
    let ends = [End::Clean, End::Killed];
    let plain = ends.map(|end| Subject::new(Patient::new(end)));
    let with_keys = ends.map(|end| Subject::new(Patient::with_keys(end)));
    let mut found: BTreeMap<(String, String), Vec<String>> = Table::new();
    let (mut count, mut wrong) = (0, Vec::new());
    let only = std::env::var("NPAYLOAD_CELL").unwrap_or_default();
    for row in rows {
        let subjects = match KEY_ROWS.contains(row) {
            true => &with_keys,
            false => &plain,
        };
        for column in columns {
            if !format!("{row} / {column}").contains(&only) {
                continue;
            }
            for subject in subjects {
                for case in cases(subject, row, column) {
                    count += 1;
                    let (first, second) = examine(subject, &case);
                    for law in broken(subject, &case, &first, &second) {
                        wrong.push(format!("{row} / {column}: {}: {law}", case.story));
                    }
                    let cell = found.entry(((*row).to_owned(), (*column).to_owned()));
                    let cell = cell.or_default();
                    for word in words(subject, &case, &first) {
                        if std::env::var_os("NPAYLOAD_STORIES").is_some() {
                            println!("{word}: {row} / {column}: {}", case.story);
                        }
                        if !cell.iter().any(|known| known == word) {
                            cell.push(word.to_owned());
                            cell.sort();
                        }
                    }
                }
            }
        }
    }
    println!("{title} {count} cases");
    println!("{}", table::print(&found, rows, columns));
    assert!(
        wrong.is_empty(),
        "{} laws broken:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    let mut documented = table::table(title);
    documented.values_mut().for_each(|cell| cell.sort());
    assert!(
        documented == found,
        "docs/durability.md, `{title}`, should be\n{}",
        table::print(&found, rows, columns)
    );
}

#[test]
fn damaged_bytes_have_the_outcome_that_the_document_says() {
    check("Damaged bytes.", &BYTE_ROWS, &BYTE_DAMAGES, of_bytes);
}

#[test]
fn damaged_files_have_the_outcome_that_the_document_says() {
    check("Damaged files.", &FILE_ROWS, &FILE_DAMAGES, of_files);
}
