//! A segment with a gap in place of a batch, as a repair leaves it, under the real binary: served, told exactly, never passed over.

use std::path::{Path, PathBuf};

use npayload::format::{BatchHeader, Gap, Stamp};
use serde_json::{Value, json};

use crate::process::Broker;
use crate::stored::batches;

/// The segment of the one channel that is not the broker's own, and where its batches are.
fn segment(data: &Path, info: &Value) -> (PathBuf, Vec<(usize, BatchHeader)>) {
    let id = info["incarnation"].as_str().unwrap();
    let path = data
        .join("channels")
        .join(id)
        .join("00000000000000000000.log");
    let bytes = std::fs::read(&path).unwrap();
    let batches = batches(&bytes);
    (path, batches)
}

/// Five batches of two records each, the third of them lost; the broker runs again.
fn with_gap(data: &Path) -> Broker {
    let broker = Broker::start(data);
    for n in 0..5 {
        let lines = format!("{}\n{}\n", 2 * n, 2 * n + 1);
        broker.run_with(&["publish", "g"], lines.as_bytes()).ok();
    }
    let info = broker.run(&["channel", "info", "g", "--json"]).json();
    assert_eq!(broker.terminate(), 0);
    let (path, batches) = segment(data, &info);
    let (at, header) = batches[2];
    assert_eq!((header.base_offset().0, header.end_offset().0), (4, 6));
    let gap = Gap {
        reason: "damaged".to_owned(),
        ..Gap::default()
    };
    let stamp = Stamp {
        incarnation: header.incarnation(),
        base_offset: header.base_offset(),
        append_time: batches[3].1.append_time(),
        log_epoch: header.log_epoch(),
        principal: 0,
    };
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[at..at + header.len()].copy_from_slice(&gap.encode(&stamp, 2, header.len()));
    std::fs::write(&path, bytes).unwrap();
    Broker::start(data)
}

#[test]
fn a_reader_is_told_what_is_lost_and_goes_on_when_it_says_so() {
    let temporary = tempfile::tempdir().unwrap();
    let broker = with_gap(&temporary.path().join("data"));
    let raised = broker.run(&["consume", "g"]);
    assert_eq!(raised.out, b"0\n1\n2\n3\n");
    let error = raised.fails(1);
    assert!(error.contains("offset 4 up to 6 are lost"), "{error}");
    assert!(error.contains("--from 6"), "{error}");
    let behind = broker.run(&["consume", "g", "--from", "6"]).ok();
    assert_eq!(behind, b"6\n7\n8\n9\n");
    let told = broker.run(&["consume", "g", "--gaps", "yield"]);
    assert!(
        told.err.contains("offset 4 up to 6 are lost"),
        "{}",
        told.err
    );
    assert_eq!(told.ok(), b"0\n1\n2\n3\n6\n7\n8\n9\n");
    let lines = broker.run(&["consume", "g", "--gaps", "yield", "--json", "--from", "3"]);
    let lines = lines.json_lines();
    assert_eq!(lines.len(), 6);
    assert_eq!(lines[0]["offset"], 3);
    let gap = &lines[1]["gap"];
    assert_eq!(
        (&gap["firstOffset"], &gap["endOffset"]),
        (&json!(4), &json!(6))
    );
    assert_eq!(lines[2]["offset"], 6);
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn positions_times_and_writes_go_on_across_a_gap_and_restarts() {
    let temporary = tempfile::tempdir().unwrap();
    let data = temporary.path().join("data");
    let mut broker = with_gap(&data);
    for life in 0..3u64 {
        let end = 10 + life;
        broker.run_with(&["publish", "g"], b"new\n").ok();
        let info = broker.run(&["channel", "info", "g", "--json"]).json();
        assert_eq!(info["logEnd"], end + 1, "{info}");
        // A lookup by time from before the first record on, and one that no record answers.
        let all = broker.run(&[
            "consume", "g", "--gaps", "yield", "--from", "@-1h", "--json",
        ]);
        assert_eq!(all.json_lines().len() as u64, end, "a gap for two records");
        // A named consumer stands in the gap, and behind it.
        for offset in ["5", "6"] {
            let at = ["consumer", "reset", "g", "c", offset];
            let reset = broker.run(&at);
            assert_eq!(reset.code, 0, "{}", reset.err);
        }
        assert_eq!(broker.terminate(), 0);
        broker = Broker::start(&data);
    }
    let found = broker.run(&["consume", "g", "--gaps", "yield"]).ok();
    assert_eq!(found, b"0\n1\n2\n3\n6\n7\n8\n9\nnew\nnew\nnew\n");
    assert_eq!(broker.terminate(), 0);
}
