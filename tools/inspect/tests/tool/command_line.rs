//! `verify`, `repair` and `undo` as processes, around the real broker: what they print, their exit codes, and what is in the files.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use npayload::format::BatchHeader;
use serde_json::{Value, json};

use crate::broker::Broker;

/// What a command printed.
struct Ran {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        assert_eq!(self.out.lines().count(), 1, "{}", self.out);
        serde_json::from_str(&self.out).expect("one JSON value")
    }
}

fn inspect(args: &[&str], data: &Path) -> Ran {
    let Output {
        status,
        stdout,
        stderr,
    } = Command::new(env!("CARGO_BIN_EXE_npayload-inspect"))
        .args(args)
        .arg(data)
        .output()
        .unwrap();
    Ran {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        err: String::from_utf8(stderr).unwrap(),
    }
}

/// All files by their path, without those that say who holds the directory and what repairs have kept.
fn files(data: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![data.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let short = path.strip_prefix(data).unwrap().to_owned();
            if path.is_dir() {
                if short != Path::new("lost+found") {
                    folders.push(path);
                }
            } else if !short.to_string_lossy().contains("lock") {
                found.insert(short, fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// A record of 4 KB that no compression makes smaller.
fn payload(n: u64) -> String {
    let mut state = n;
    let words = std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        format!("{:08x}", state >> 32)
    });
    format!("{n} {}", words.take(512).collect::<String>())
}

/// The sealed first segment of the channel `c`, with 12 batches of 4 records in it and the next ones, written by a broker that has
/// stopped.
fn published(data: &Path) -> PathBuf {
    let broker = Broker::start(data);
    let create = ["channel", "create", "c", "--segment-bytes", "65536"];
    broker.run(&create, "");
    for batch in 0..12u64 {
        let lines: String = (4 * batch..4 * batch + 4)
            .map(|n| payload(n) + "\n")
            .collect();
        broker.run(&["publish", "c"], &lines);
    }
    let info = broker.run(&["channel", "info", "c", "--json"], "");
    let info: Value = serde_json::from_str(&info).unwrap();
    broker.stop();
    let folder = data
        .join("channels")
        .join(info["incarnation"].as_str().unwrap());
    let segments = fs::read_dir(&folder).unwrap();
    let segments = segments.filter(|entry| {
        let path = entry.as_ref().unwrap().path();
        path.extension().is_some_and(|extension| extension == "log")
    });
    assert!(segments.count() > 1, "the first segment is sealed");
    folder.join("00000000000000000000.log")
}

/// Flips a bit in the body of the second batch of a segment; the batch's bytes and its header.
fn damage(segment: &Path) -> (std::ops::Range<usize>, BatchHeader) {
    let mut bytes = fs::read(segment).unwrap();
    let first = BatchHeader::peek(&bytes[4096..]).unwrap();
    let mut at = 4096 + first.len();
    if BatchHeader::peek(&bytes[at..]).is_err() {
        at = at.next_multiple_of(4096);
    }
    let header = BatchHeader::peek(&bytes[at..]).unwrap();
    bytes[at + header.len() / 2] ^= 0x10;
    fs::write(segment, bytes).unwrap();
    (at..at + header.len(), header)
}

#[test]
fn a_damaged_segment_is_found_planned_repaired_read_around_and_can_be_put_back() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    let segment = published(&data);
    assert_eq!(inspect(&["verify"], &data).code, Some(0));
    let clean = inspect(&["repair"], &data);
    assert_eq!(
        (clean.code, clean.out.as_str()),
        (Some(0), "clean: nothing to repair\n")
    );
    let nothing = inspect(&["repair", "--json"], &data).json();
    assert_eq!(
        nothing,
        json!({"steps": [], "left": [], "applied": null, "clean": true})
    );

    let (bytes, lost) = damage(&segment);
    let (first, end) = (lost.base_offset().0, lost.end_offset().0);
    assert_eq!((first, end), (4, 8), "the second of the batches");
    let damaged = files(&data);
    let verified = inspect(&["verify"], &data);
    assert_eq!(verified.code, Some(2), "{}", verified.out);
    let place = format!("bytes {}..{}, offsets 4 to 7", bytes.start, bytes.end);
    assert!(verified.out.contains(&place), "{}", verified.out);

    // The plan, for a person and for a program.
    let planned = inspect(&["repair"], &data);
    assert_eq!(planned.code, Some(2), "{}", planned.err);
    let name = segment.strip_prefix(&data).unwrap().display().to_string();
    let row = planned
        .out
        .lines()
        .find(|line| line.split_whitespace().next() == Some("gap"))
        .expect("a row for the gap");
    for part in [&name, " c ", " 4 to 7 ", " 4 "] {
        assert!(row.contains(part), "{part:?} in {row}");
    }
    assert!(planned.out.contains("nothing changed"), "{}", planned.out);
    let told = inspect(&["repair", "--json"], &data);
    assert_eq!(told.code, Some(2), "{}", told.err);
    let told = told.json();
    assert_eq!(
        (&told["clean"], &told["applied"], &told["left"]),
        (&json!(false), &Value::Null, &json!([]))
    );
    let steps = told["steps"].as_array().unwrap();
    let gaps: Vec<&Value> = steps
        .iter()
        .filter(|step| step["action"] == "gap")
        .collect();
    assert_eq!(gaps.len(), 1, "{told}");
    for (field, expected) in [
        ("file", json!(name)),
        ("from", json!(bytes.start)),
        ("to", json!(bytes.end)),
        ("channel", json!("c")),
        ("firstOffset", json!(4)),
        ("lastOffset", json!(7)),
        ("lost", json!(4)),
    ] {
        assert_eq!(gaps[0][field], expected, "{field} of {}", gaps[0]);
    }
    assert!(files(&data) == damaged, "a plan changes nothing");
    let kept = data.join("lost+found/repair-1");
    assert!(!kept.exists(), "and keeps nothing");

    // Carried out, and taken back.
    let applied = inspect(&["repair", "--apply", "--json"], &data);
    assert_eq!(applied.code, Some(0), "{}", applied.err);
    let applied = applied.json();
    assert_eq!(
        (&applied["clean"], &applied["applied"]),
        (&json!(true), &json!(1))
    );
    assert_eq!(applied["steps"], told["steps"], "what was planned is done");
    assert_eq!(inspect(&["verify"], &data).code, Some(0));
    assert!(files(&data) != damaged, "a repair writes");
    let undone = inspect(&["undo"], &data);
    assert_eq!(undone.code, Some(0), "{}", undone.err);
    assert!(files(&data) == damaged, "every byte is as it was");
    assert_eq!(inspect(&["verify"], &data).code, Some(2));

    // Carried out for good.
    let again = inspect(&["repair", "--apply"], &data);
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert!(again.out.contains("\nclean\n"), "{}", again.out);
    assert!(again.out.contains("repair 2 done"), "{}", again.out);
    assert_eq!(inspect(&["verify"], &data).code, Some(0));
    let broker = Broker::start(&data);
    for args in [&["repair"][..], &["repair", "--apply"], &["undo"]] {
        let refused = inspect(args, &data);
        assert_eq!(refused.code, Some(1), "{}", refused.out);
        assert!(refused.err.contains("in use by"), "{}", refused.err);
    }
    let lines = broker.run(&["consume", "c", "--gaps", "yield", "--json"], "");
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines.len(), 45, "44 records and a gap");
    let gap = &lines[4]["gap"];
    assert_eq!(
        (&gap["firstOffset"], &gap["endOffset"]),
        (&json!(4), &json!(8))
    );
    let text = broker.run(&["consume", "c", "--gaps", "yield"], "");
    let intact: String = (0..48)
        .filter(|n| !(4..8).contains(n))
        .map(|n| payload(n) + "\n")
        .collect();
    assert!(text == intact, "every record before and behind");
    broker.run(&["publish", "c"], "new\n");
    broker.stop();

    // What was written since would be lost.
    let late = inspect(&["undo"], &data);
    assert_eq!(late.code, Some(1), "{}", late.out);
    assert_eq!(late.err.lines().count(), 1, "{}", late.err);
    let behind = Broker::start(&data);
    assert_eq!(behind.run(&["consume", "c", "--from", "48"], ""), "new\n");
    behind.stop();
}

#[test]
fn a_dump_of_a_real_directory_says_what_was_promised_and_what_became_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let broker = Broker::start(&data);
    let run = |words: &str| {
        let args: Vec<&str> = words.split_whitespace().collect();
        broker.run(&args, "").trim_end().to_owned()
    };
    let session =
        run("session create survey --participant lead:coordinator --participant writer:specialist");
    run("escrow deposit 500:EUR --agent writer");
    let promise = format!("commitment create {session} survey --agent writer");
    let kept = run(&format!("{promise} --deadline 2h --escrow 200:EUR"));
    run(&format!("commitment deliver {kept} --evidence {{}}"));
    let dispute = run(&format!("dispute create {kept} half"));
    run(&format!("dispute withdraw {dispute}"));
    run(&format!("commitment confirm {kept}"));
    let broken = run(&format!("{promise} --deadline 2020-01-01T00:00:00Z"));
    broker.stop();
    let dumped = inspect(&["dump", "--records"], &data);
    assert_eq!(dumped.code, Some(0), "{}", dumped.err);
    for line in [
        format!("promises in session {session}, until "),
        format!(": {kept}, with 200 EUR behind it"),
        format!("{kept} is delivered"),
        format!(" disputes {kept}: {dispute}, specificationMismatch"),
        format!("{dispute}: dispute.withdrawn"),
        format!("{kept}: commitment.confirmed by agent "),
        format!("{kept} is closed, fulfilled, with 1 disputes"),
        format!("{broken}: commitment.breached by the clock"),
        "500 EUR from outside to available of the account of agent ".to_owned(),
        "200 EUR from held of the account of agent ".to_owned(),
        format!(" kept {kept}"),
        format!(" broke {broken}, severity 1"),
        "the first secret is sealed as sha256:".to_owned(),
    ] {
        assert!(
            dumped.out.contains(&line),
            "{line} is not in {}",
            dumped.out
        );
    }
    assert!(!dumped.out.contains("newer broker"));
    let verified = inspect(&["verify"], &data);
    assert_eq!(verified.code, Some(0), "{}", verified.out);
}

#[test]
fn what_is_no_data_directory_can_neither_be_verified_nor_repaired() {
    let empty = tempfile::tempdir().unwrap();
    for args in [
        &["verify"][..],
        &["repair"],
        &["repair", "--apply"],
        &["undo"],
        &["dump"],
    ] {
        let refused = inspect(args, empty.path());
        assert_eq!(refused.code, Some(1), "{args:?}: {}", refused.out);
        assert!(
            refused.err.contains("not a data directory"),
            "{}",
            refused.err
        );
    }
    assert_eq!(
        fs::read_dir(empty.path()).unwrap().count(),
        0,
        "nothing is left there"
    );
}
