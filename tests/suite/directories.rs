//! Data directories that are held, exchanged, mixed up or gone.

use std::path::Path;

use crate::process::{Broker, npayload};

fn publish(data: &Path, text: &str) {
    let broker = Broker::start(data);
    broker.run_with(&["publish", "c"], text.as_bytes()).ok();
    assert_eq!(broker.terminate(), 0);
}

fn records(data: &Path) -> String {
    let broker = Broker::start(data);
    let found = String::from_utf8(broker.run(&["consume", "c"]).ok()).expect("text");
    assert_eq!(broker.terminate(), 0);
    found
}

/// Why a start on this directory fails, in one line.
fn refusal(data: &Path, more: &[&str]) -> String {
    let path = data.to_str().expect("UTF-8");
    let args = ["serve", "--listen", "127.0.0.1:0", "--data-dir", path];
    let ran = npayload(&[&args, more].concat());
    assert_eq!(ran.code, 1, "{}", ran.err);
    ran.err
}

fn exchange(one: &Path, other: &Path) {
    let aside = one.with_extension("aside");
    std::fs::rename(one, &aside).expect("renamed");
    std::fs::rename(other, one).expect("renamed");
    std::fs::rename(&aside, other).expect("renamed");
}

#[test]
fn a_second_broker_is_told_which_process_holds_the_directory_and_where_it_listens() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let broker = Broker::start(&data);
    let why = refusal(&data, &[]);
    assert!(why.contains(&format!("process {}", broker.pid())), "{why}");
    assert!(why.contains(&broker.address().to_string()), "{why}");
    // By another path it is the same directory.
    let link = dir.path().join("link");
    std::os::unix::fs::symlink(&data, &link).expect("a link");
    let why = refusal(&link, &[]);
    assert!(why.contains(&format!("process {}", broker.pid())), "{why}");
    broker.run_with(&["publish", "c"], b"still well\n").ok();
    broker.kill();
    assert_eq!(
        records(&data),
        "still well\n",
        "a lock dies with its process"
    );
}

#[test]
fn directories_exchanged_whole_are_each_themselves_and_mixed_ones_are_refused() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (a, b) = (dir.path().join("a"), dir.path().join("b"));
    publish(&a, "of a\n");
    publish(&b, "of b\n");
    exchange(&a, &b);
    assert_eq!(
        (records(&a), records(&b)),
        ("of b\n".into(), "of a\n".into())
    );
    for part in [
        "journal",
        "checkpoints",
        "recovery-point",
        "npayload.marker",
    ] {
        exchange(&a.join(part), &b.join(part));
        for data in [&a, &b] {
            let why = refusal(data, &[]);
            let is_named = why.contains(data.to_str().expect("UTF-8"));
            assert!(is_named, "{part}: {why}");
        }
        exchange(&a.join(part), &b.join(part));
        assert_eq!(
            (records(&a), records(&b)),
            ("of b\n".into(), "of a\n".into()),
            "{part}: nothing was changed"
        );
    }
}

#[test]
fn a_directory_that_must_exist_is_not_made_anew() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let data = dir.path().join("data");
    let why = refusal(&data, &["--must-exist"]);
    assert!(why.contains("--must-exist"), "{why}");
    assert!(!data.exists(), "nothing was made");
    // An empty directory, as where a file system should be mounted and is not.
    std::fs::create_dir(&data).expect("a directory");
    let why = refusal(&data, &["--must-exist"]);
    assert!(why.contains(data.to_str().expect("UTF-8")), "{why}");
    assert_eq!(std::fs::read_dir(&data).expect("readable").count(), 0);
    publish(&data, "kept\n");
    let broker = Broker::start_with(&data, &["--must-exist"]);
    assert_eq!(broker.run(&["consume", "c"]).ok(), b"kept\n");
}

#[test]
fn a_damaged_directory_of_channels_is_refused_with_file_and_position() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    publish(&data, "one\n");
    let logs = std::fs::read_dir(data.join("channels")).expect("a folder");
    let segments = logs.map(|log| log.expect("an entry").path().join(format!("{:020}.log", 0)));
    let holds = |bytes: &[u8], text: &[u8]| bytes.windows(text.len()).any(|one| one == text);
    let mut found = segments.filter_map(|path| {
        let bytes = std::fs::read(&path).ok()?;
        holds(&bytes, b"channel.created").then_some((path, bytes))
    });
    let (path, mut bytes) = found.next().expect("the segment of __channels");
    let last = bytes.iter().rposition(|byte| *byte != 0).expect("a record");
    bytes[last] ^= 1;
    std::fs::write(&path, bytes).expect("a segment");
    let why = refusal(&data, &[]);
    assert!(why.contains(path.to_str().expect("UTF-8")), "{why}");
    assert!(why.contains("at byte "), "{why}");
}
