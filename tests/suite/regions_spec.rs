//! The table of faults and their tests in docs/regions.md against the tests that there are.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

const DOC: &str = include_str!("../../docs/regions.md");

/// Parts that each fault of the list has.
const PARTS: [(u32, usize); 9] = [
    (32, 4),
    (33, 1),
    (34, 1),
    (35, 3),
    (36, 4),
    (37, 2),
    (38, 3),
    (39, 1),
    (40, 1),
];

/// The rows of the table: the fault's number, what it is, and the tests that are named for it.
fn rows() -> Vec<(u32, &'static str, Vec<&'static str>)> {
    let begin = "| Fault | Tests, in `tests/suite` |";
    let table = DOC.split(begin).nth(1).expect("the table");
    let lines = table.trim_start().lines().skip(1);
    let row = |line: &'static str| {
        let mut cells = line.strip_prefix('|')?.split('|').map(str::trim);
        let (fault, tests) = (cells.next()?, cells.next()?);
        let (number, what) = fault.split_once(' ').expect("a number and words");
        let tests = tests.split(", ").map(|name| name.trim_matches('`'));
        Some((number.parse().expect("a number"), what, tests.collect()))
    };
    lines.map_while(row).collect()
}

/// Whether a test of this path is in the suite, and runs.
fn is_a_test(path: &str) -> bool {
    let Some((module, name)) = path.rsplit_once("::") else {
        return false;
    };
    let suite = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/suite");
    let file = suite.join(module.replace("::", "/") + ".rs");
    let Ok(source) = std::fs::read_to_string(file) else {
        return false;
    };
    let lines: Vec<&str> = source.lines().map(str::trim).collect();
    let is_here = |line: &&str| {
        let rest = line.strip_prefix("async ").unwrap_or(line);
        let rest = rest
            .strip_prefix("fn ")
            .and_then(|it| it.strip_prefix(name));
        rest.is_some_and(|rest| rest.starts_with("()"))
    };
    let Some(at) = lines.iter().position(is_here) else {
        return false;
    };
    // Its attributes stand right above it.
    let above = lines[..at].iter().rev();
    let attributes: Vec<&&str> = above.take_while(|line| line.starts_with("#[")).collect();
    let is_marked = attributes
        .iter()
        .any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"));
    is_marked && !attributes.iter().any(|line| line.starts_with("#[ignore"))
}

#[test]
fn every_fault_between_regions_names_tests_and_each_is_there() {
    let mut parts: BTreeMap<u32, BTreeSet<&str>> = BTreeMap::new();
    for (number, what, tests) in rows() {
        assert!(
            parts.entry(number).or_default().insert(what),
            "{what}: twice"
        );
        assert!(!tests.is_empty());
        for test in tests {
            assert!(is_a_test(test), "{number} {what}: `{test}` is no test");
        }
    }
    let parts: Vec<(u32, usize)> = parts.iter().map(|(at, all)| (*at, all.len())).collect();
    assert_eq!(parts, PARTS, "lines of the list, and parts of each");
    assert!(!is_a_test("region_faults::f6_41_nothing"));
    assert!(!is_a_test("region_faults::pair"));
}
