//! ARCHITECTURE.md, "The rooms of `src/`", against the `crate::…` paths in each room.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

fn table() -> BTreeMap<String, BTreeSet<String>> {
    let document = include_str!("../../ARCHITECTURE.md");
    let names = |cell: &str| -> BTreeSet<String> {
        cell.split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect()
    };
    let rows = document
        .lines()
        .skip_while(|line| !line.starts_with("| Room |"))
        .skip(2);
    rows.take_while(|line| line.starts_with('|'))
        .map(|line| {
            let cells: Vec<&str> = line.split('|').collect();
            let room = names(cells[1]).into_iter().next().expect("a room");
            (room, names(cells[3]))
        })
        .collect()
}

fn sources(path: &Path, found: &mut Vec<String>) {
    if path.is_dir() {
        for entry in std::fs::read_dir(path).expect("a readable directory") {
            sources(&entry.expect("a readable entry").path(), found);
        }
    } else if path.extension().is_some_and(|extension| extension == "rs") {
        found.push(std::fs::read_to_string(path).expect("a readable file"));
    }
}

#[test]
fn every_room_uses_only_the_rooms_that_its_row_names() {
    let table = table();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for (room, allowed) in &table {
        let mut files = Vec::new();
        let dir = root.join(room);
        sources(if dir.is_dir() { &dir } else { Path::new("") }, &mut files);
        if !dir.is_dir() {
            sources(&root.join(format!("{room}.rs")), &mut files);
        }
        assert!(!files.is_empty(), "room {room} has no files");
        for file in &files {
            for used in file.split("crate::").skip(1) {
                let used: String = used
                    .chars()
                    .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                    .collect();
                if table.contains_key(&used) && used != *room && !allowed.contains(&used) {
                    wrong.push(format!("{room} uses {used}"));
                }
            }
        }
    }
    wrong.sort();
    wrong.dedup();
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn every_room_has_a_row() {
    let lib = include_str!("../../src/lib.rs");
    for line in lib.lines().filter_map(|line| line.strip_prefix("pub mod ")) {
        let room = line.trim_end_matches(';');
        assert!(
            table().contains_key(room),
            "ARCHITECTURE.md has no row for {room}"
        );
    }
}
