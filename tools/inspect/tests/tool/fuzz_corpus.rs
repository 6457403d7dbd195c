//! The body of the fuzz target `inspect` on stable Rust: over its corpus and over random changes.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

#[path = "../../../../fuzz/fuzz_targets/bodies.rs"]
mod bodies;
#[path = "../../../../fuzz/fuzz_targets/directory.rs"]
mod directory;
#[path = "../../../../fuzz/fuzz_targets/inspect_bodies.rs"]
mod inspect_bodies;

#[test]
fn no_input_of_the_corpus_breaks_verify_or_dump() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/inspect");
    let mut inputs = 0;
    for entry in std::fs::read_dir(corpus).unwrap() {
        inspect_bodies::inspect(&std::fs::read(entry.unwrap().path()).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "an empty corpus");
}

#[test]
fn what_is_not_changed_is_clean_and_has_everything() {
    // The last of them are all options of the dump at once.
    for first in [0, 1, 0b1_1101] {
        inspect_bodies::inspect(&[first]);
    }
    let place = tempfile::tempdir().unwrap();
    for (path, bytes) in &directory::snapshot(true).files {
        let path = place.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let report = npayload_inspect::verify(&place.path().join("data")).unwrap();
    assert!(report.clean, "{report:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_changes_to_its_files_break_verify_or_dump(
        first in any::<u8>(),
        changes in vec(any::<[u8; 8]>(), 1..5),
    ) {
        inspect_bodies::inspect(&[&[first][..], &changes.concat()].concat());
    }
}
