//! The bodies of the fuzz targets on stable Rust: over their corpora, the golden files, random bytes,
//! and golden files with random changes.
#![expect(clippy::unwrap_used, reason = "the helpers of tests")]

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../../fuzz/fuzz_targets/bodies.rs"]
mod bodies;
#[path = "../../fuzz/fuzz_targets/control_bodies.rs"]
mod control_bodies;
#[path = "../../fuzz/fuzz_targets/directory.rs"]
mod directory;

type Body = fn(&[u8]);

/// The decoders, which take any bytes.
const TARGETS: [(&str, Body); 4] = [
    ("batch", bodies::batch),
    ("journal", bodies::journal),
    ("disk_structures", bodies::disk_structures),
    ("frames", bodies::frames),
];

/// A whole broker: an input says what is done to it.
const BROKERS: [(&str, Body); 3] = [
    ("control", control_bodies::control),
    ("recovery", directory::recovery),
    ("segments", directory::segments),
];

fn files_in(directory: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join(directory);
    let mut paths: Vec<_> = std::fs::read_dir(&directory)
        .unwrap_or_else(|error| panic!("{directory:?}: {error}"))
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{directory:?} is empty");
    paths
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect()
}

#[test]
fn no_input_of_a_corpus_breaks_its_target() {
    for (name, body) in TARGETS.into_iter().chain(BROKERS) {
        for input in files_in(&format!("fuzz/corpus/{name}")) {
            body(&input);
        }
    }
}

#[test]
fn what_is_not_changed_is_read_as_it_was_stored() {
    for is_clean in [false, true] {
        let snapshot = directory::snapshot(is_clean);
        let disk = directory::disk_of(&snapshot.files);
        let found = directory::read_whole(&disk);
        assert_eq!(found, snapshot.records, "clean: {is_clean}");
    }
}

#[test]
fn no_golden_file_breaks_any_target() {
    for input in files_in("tests/golden") {
        for (_, body) in TARGETS {
            body(&input);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_break_any_target(bytes in vec(any::<u8>(), 0..5000)) {
        for (_, body) in TARGETS {
            body(&bytes);
        }
    }

    #[test]
    fn no_change_to_a_golden_file_breaks_any_target(
        file in any::<prop::sample::Index>(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
        cut in any::<prop::sample::Index>(),
        is_cut in any::<bool>(),
    ) {
        let files = files_in("tests/golden");
        let mut bytes = files[file.index(files.len())].clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if is_cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        for (_, body) in TARGETS {
            body(&bytes);
        }
    }
}

proptest! {
    // Each case opens four brokers.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: ProptestConfig::default().cases / 8,
        ..ProptestConfig::default()
    })]

    #[test]
    fn no_changes_to_its_files_break_a_broker(
        changes in vec(any::<[u8; 8]>(), 1..5),
        first in any::<u8>(),
    ) {
        let changes = changes.concat();
        directory::recovery(&[&[first][..], &changes].concat());
        directory::segments(&changes);
    }
}
