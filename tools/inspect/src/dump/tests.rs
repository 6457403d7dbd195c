use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::dump::{self, DumpArgs, OffsetRange};
use crate::fixture::{self, LOG_A, folder};

fn args(path: &Path) -> DumpArgs {
    DumpArgs {
        path: path.to_owned(),
        records: true,
        json: true,
        offset: None,
        max: None,
        master_key_file: None,
        master_key_command: None,
    }
}

fn rows(args: &DumpArgs) -> Vec<Value> {
    let mut out = Vec::new();
    dump::run(args, &mut out).unwrap();
    let lines = String::from_utf8(out).unwrap();
    lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn directory() -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    fixture::write(directory.path());
    let path = directory.path().to_owned();
    (directory, path)
}

fn of<'a>(rows: &'a [Value], what: &str) -> Vec<&'a Value> {
    rows.iter().filter(|row| row["is"] == what).collect()
}

#[test]
fn every_structure_of_a_directory_is_shown() {
    let (_guard, path) = directory();
    let rows = rows(&args(&path));
    for (what, count) in [
        ("marker", 1),
        ("recoveryPoint", 2),
        ("checkpoint", 2),
        ("log", 4),
        ("producer", 2),
        ("journalFile", 2),
        ("group", 7),
        ("item", 9),
        ("segment", 4),
        ("index", 8),
    ] {
        assert_eq!(of(&rows, what).len(), count, "{what}");
    }
    // The last bytes of one segment are not written yet; nothing else is out of order.
    assert_eq!(
        rows.iter().filter(|row| row["error"].is_string()).count(),
        1
    );
    let record = of(&rows, "record")
        .into_iter()
        .find(|row| row["offset"] == 22)
        .unwrap();
    assert_eq!(record["payload"]["n"], 22);
    assert_eq!(record["type"], "test.number");
    assert_eq!(record["key"], "key");
}

#[test]
fn a_range_of_offsets_and_a_number_of_rows_bound_what_is_shown() {
    let (_guard, path) = directory();
    let segment = folder(&path, LOG_A).join(format!("{:020}.log", 0));
    let mut args = args(&segment);
    args.offset = Some("7:11".parse().unwrap());
    let shown = rows(&args);
    let offsets: Vec<_> = of(&shown, "record")
        .iter()
        .map(|row| row["offset"].as_u64())
        .collect();
    assert_eq!(offsets, [Some(7), Some(8), Some(9), Some(10)]);
    assert_eq!(of(&shown, "batch").len(), 2);
    args.max = Some(3);
    assert_eq!(rows(&args).len(), 3);
}

#[test]
fn a_range_of_offsets_has_a_start_below_its_end() {
    let all: OffsetRange = ":".parse().unwrap();
    assert_eq!(all, OffsetRange::ALL);
    assert_eq!("5".parse(), Ok(OffsetRange { first: 5, end: 6 }));
    for bad in ["", "5:5", "6:5", "a:b", "-1"] {
        assert!(bad.parse::<OffsetRange>().is_err(), "{bad}");
    }
}

#[test]
fn a_payload_is_json_or_text_or_base64_and_always_one_line() {
    let shown = |bytes: &[u8]| {
        let row = super::row::Row::default().with_bytes(["json", "text", "base64"], bytes);
        let mut out = Vec::new();
        super::row::Out::new(&mut out, true, None)
            .row("x", &row)
            .unwrap();
        String::from_utf8(out).unwrap()
    };
    assert!(shown(b"{\n\"a\": 1.50}").contains(r#""json":{ "a": 1.50}"#));
    assert!(shown(b"two\nlines").contains(r#""text":"two\nlines""#));
    assert!(shown(b"").contains(r#""text":"""#));
    assert!(shown(b"\xff").contains(r#""base64":"/w==""#));
}

#[test]
fn the_text_form_names_each_file_once() {
    let (_guard, path) = directory();
    let mut args = args(&path);
    args.json = false;
    let mut out = Vec::new();
    dump::run(&args, &mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.matches("== ").count(), 1 + 1 + 2 + 2 + 12);
    assert!(text.contains("payload={\"n\":22}"), "{text}");
}

#[test]
fn records_of_an_encrypted_channel_are_shown_with_their_key_alone() {
    use crate::verify::broker_tests::{Driver, MASTER_KEY};
    let directory = tempfile::tempdir().unwrap();
    let data = directory.path().join("data");
    let mut driver = Driver::open(&data, 5);
    driver.create_channels();
    // Some are in the segments, some in the journal alone.
    for n in 0..24 {
        driver.publish(["a", "lazy"][n % 2]);
        driver.rounds();
        if n == 12 {
            driver.upkeep(100);
        }
    }
    drop(driver);
    let right = directory.path().join("right");
    std::fs::write(&right, MASTER_KEY).unwrap();
    let wrong = directory.path().join("wrong");
    std::fs::write(&wrong, "77".repeat(32)).unwrap();
    let shown = |path: &Path, key: Option<&PathBuf>| {
        let mut args = args(path);
        args.master_key_file = key.cloned();
        let rows = rows(&args);
        let count = |what| of(&rows, what).len();
        let why = of(&rows, "encrypted")
            .first()
            .map(|row| row["why"].to_string());
        (count("record"), count("encrypted"), why.unwrap_or_default())
    };
    let (plain, hidden, why) = shown(&data, None);
    assert!(plain > 0 && hidden > 0, "one channel is in plain");
    assert!(
        why.contains("encrypted with key 1: master key") && why.contains("none was given"),
        "{why}"
    );
    let (same, _, why) = shown(&data, Some(&wrong));
    assert_eq!(same, plain);
    assert!(why.contains("was given"), "{why}");
    let (all, none, _) = shown(&data, Some(&right));
    assert!(all > plain + hidden && none == 0, "{all} {none}");
    // One file alone finds its directory by itself.
    let channels = std::fs::read_dir(data.join("channels")).unwrap();
    let mut opened = 0;
    for channel in channels {
        for file in std::fs::read_dir(channel.unwrap().path()).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "log") {
                let (_, hidden, _) = shown(&path, None);
                let (shown, still, _) = shown(&path, Some(&right));
                assert!(still == 0 && shown >= hidden);
                opened += usize::from(hidden > 0);
            }
        }
    }
    assert!(opened > 0);
    let missing = directory.path().join("missing");
    let mut args = args(&data);
    args.master_key_file = Some(missing);
    assert!(dump::run(&args, &mut Vec::new()).is_err());
}
