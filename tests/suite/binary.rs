//! The real binary, end to end: what the command line promises, also across kills.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::process::{Broker, binary, npayload, wait_for};

fn dir() -> (tempfile::TempDir, std::path::PathBuf) {
    let temporary = tempfile::tempdir().expect("a temporary directory");
    let data = temporary.path().join("data");
    (temporary, data)
}

#[test]
fn lines_come_back_byte_for_byte() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    let input = b"plain\r\n\n\xff\xfe bytes\n{\"a\": 1.50}\nlast without newline";
    let ack = broker
        .run_with(&["publish", "bytes", "--json"], input)
        .json();
    let expected = json!({"channel": "bytes", "count": 5, "firstOffset": 0, "lastOffset": 4, "level": "synced"});
    assert_eq!(ack, expected);
    let mut whole = input.to_vec();
    whole.push(b'\n');
    assert_eq!(broker.run(&["consume", "bytes"]).ok(), whole);
    let records = broker.run(&["consume", "bytes", "--json"]).json_lines();
    assert_eq!(records[0]["payloadText"], "plain\r");
    assert_eq!(records[1]["payloadText"], "");
    assert_eq!(records[2]["payloadBase64"], "//4gYnl0ZXM=");
    assert_eq!(records[4]["offset"], 4);
    assert_eq!(records[4]["eventTime"], Value::Null);
    let raw = String::from_utf8(
        broker
            .run(&["consume", "bytes", "--json", "--from", "3", "--max", "1"])
            .ok(),
    );
    assert!(
        raw.expect("UTF-8").contains("1.50"),
        "numbers stay as written"
    );
    assert_eq!(broker.terminate(), 0);
}

#[test]
fn a_replay_starts_and_ends_where_it_is_told() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    let input: String = (0..100).map(|n| format!("{n}\n")).collect();
    broker.run_with(&["publish", "r"], input.as_bytes()).ok();
    let consume = |args: &[&str]| {
        let args = [&["consume", "r"], args].concat();
        String::from_utf8(broker.run(&args).ok()).expect("digits")
    };
    assert_eq!(consume(&["--from", "97"]), "97\n98\n99\n");
    assert_eq!(consume(&["--from", "-2"]), "98\n99\n");
    assert_eq!(consume(&["--from", "-1000", "--max", "2"]), "0\n1\n");
    assert_eq!(consume(&["--from", "10", "--to", "12"]), "10\n11\n");
    assert_eq!(consume(&["--from", "end"]), "");
    assert_eq!(consume(&["--from", "@-1h", "--max", "1"]), "0\n");
    assert_eq!(consume(&["--from", "@2100-01-01T00:00:00Z"]), "");
    let first = broker.run(&["consume", "r", "--json", "--max", "1"]).json();
    assert_eq!(first["offset"], 0);
    let error = broker.run(&["consume", "r", "--from", "101"]).fails(1);
    assert!(error.contains("0..100") || error.contains("100"), "{error}");
    broker
        .run(&["consume", "r", "--from", "nonsense"])
        .fails_with_usage();
}

#[test]
fn conditions_hold_and_name_what_disagrees() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    broker
        .run_with(&["publish", "c", "--expect-offset", "0"], b"a\nb\n")
        .ok();
    let error = broker
        .run_with(&["publish", "c", "--expect-offset", "1"], b"x\n")
        .fails(1);
    assert!(error.contains('1') && error.contains('2'), "{error}");
    broker
        .run_with(
            &["publish", "c", "--expect-offset", "2", "--fence", "7"],
            b"c\n",
        )
        .ok();
    let error = broker
        .run_with(&["publish", "c", "--fence", "6"], b"old\n")
        .fails(1);
    assert!(error.contains('7'), "{error}");
    assert_eq!(broker.run(&["consume", "c"]).ok(), b"a\nb\nc\n");
    for codec in ["lz4", "zstd"] {
        let lines = "the same line again\n".repeat(500);
        broker
            .run_with(
                &["publish", codec, "--compression", codec],
                lines.as_bytes(),
            )
            .ok();
        assert_eq!(broker.run(&["consume", codec]).ok(), lines.as_bytes());
    }
}

#[test]
fn an_atomic_publish_is_all_or_nothing() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    broker.run_with(&["publish", "in"], b"1\n2\n").ok();
    let good = concat!(
        "{\"channel\":\"out.a\",\"payload\":{\"n\":1}}\n",
        "{\"channel\":\"out.b\",\"type\":\"t\",\"key\":\"k\",\"payload\":\"text\"}\n",
        "{\"consumer\":\"worker\",\"channel\":\"in\",\"commit\":2}\n",
    );
    broker
        .run_with(&["publish", "--atomic"], good.as_bytes())
        .ok();
    let position = || {
        broker
            .run(&["consumer", "position", "in", "worker", "--json"])
            .json()
    };
    assert_eq!(position()["offset"], 2);
    let bad = concat!(
        "{\"channel\":\"out.a\",\"payload\":2}\n",
        "{\"consumer\":\"worker\",\"channel\":\"in\",\"commit\":99}\n",
    );
    broker
        .run_with(&["publish", "--atomic"], bad.as_bytes())
        .fails(1);
    assert_eq!(
        broker
            .run(&["consume", "out.a", "--json"])
            .json_lines()
            .len(),
        1
    );
    assert_eq!(position()["offset"], 2);
    broker.kill();
    let broker = Broker::start(&data);
    assert_eq!(
        broker
            .run(&["consume", "out.a", "--json"])
            .json_lines()
            .len(),
        1
    );
    assert_eq!(
        broker.run(&["consume", "out.b", "--json"]).json_lines()[0]["key"],
        "k"
    );
}

#[test]
fn every_acknowledged_record_survives_a_kill_in_the_middle_of_publishing() {
    let (_keep, data) = dir();
    let lines: Vec<String> = (0..200_000).map(|n| format!("record {n}")).collect();
    let file = data.with_extension("lines");
    std::fs::write(&file, lines.join("\n")).expect("an input file");
    let file = file.to_str().expect("UTF-8");
    let mut base = 0;
    for round in 0..4u64 {
        let broker = Broker::start(&data);
        let mut publisher = broker
            .command(&[
                "publish",
                "k",
                "--file",
                file,
                "--acks",
                "--batch-records",
                "20",
                "--timeout-s",
                "1",
            ])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the publisher starts");
        let acks = BufReader::new(publisher.stdout.take().expect("piped"));
        let mut acked = 0;
        let mut broker = Some(broker);
        for line in acks.lines() {
            let Ok(ack) = serde_json::from_str::<Value>(&line.expect("a line")) else {
                continue;
            };
            let Some(last) = ack["lastOffset"].as_u64() else {
                continue;
            };
            acked = last + 1;
            if acked > base + 200 * (round + 1)
                && let Some(broker) = broker.take()
            {
                broker.kill();
            }
        }
        publisher.wait().expect("the publisher ends");
        drop(broker);
        let broker = Broker::start(&data);
        let found = broker
            .run(&["consume", "k", "--from", &base.to_string()])
            .ok();
        let found = String::from_utf8(found).expect("text");
        let found: Vec<&str> = found.lines().collect();
        let acked = usize::try_from(acked - base).expect("small");
        assert!(
            found.len() >= acked,
            "round {round}: {acked} acknowledged, {} found",
            found.len()
        );
        assert!(
            found.iter().zip(&lines).all(|(found, line)| found == line),
            "round {round}"
        );
        broker
            .run(&[
                "consumer",
                "commit",
                "k",
                "c",
                &(base + found.len() as u64).to_string(),
            ])
            .ok();
        base += found.len() as u64;
        broker.kill();
        let broker = Broker::start(&data);
        let position = broker
            .run(&["consumer", "position", "k", "c", "--json"])
            .json();
        assert_eq!(position["offset"], base, "commits survive a kill");
    }
}

#[test]
fn a_channel_made_again_under_its_name_is_another() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    let create = [
        "channel",
        "create",
        "x",
        "--retention-days",
        "30",
        "--durability",
        "written",
    ];
    broker.run(&create).ok();
    broker.run(&create).fails(1);
    broker
        .run(&[&create[..], &["--if-not-exists"]].concat())
        .ok();
    let ack = broker
        .run_with(&["publish", "x", "--json"], b"one\n")
        .json();
    assert_eq!(ack["level"], "written");
    broker.run(&["consumer", "commit", "x", "c", "1"]).ok();
    let before = broker.run(&["channel", "info", "x", "--json"]).json();
    assert_eq!(before["config"]["retentionDays"], 30);
    broker
        .run(&["channel", "update", "x", "--durability", "synced"])
        .ok();
    broker.run(&["channel", "delete", "x", "--yes"]).ok();
    broker.run(&["consume", "x"]).fails(1);
    broker.run(&["channel", "create", "x"]).ok();
    let after = broker.run(&["channel", "info", "x", "--json"]).json();
    assert_ne!(before["incarnation"], after["incarnation"]);
    assert_eq!(after["logEnd"], 0);
    assert_eq!(
        broker.run(&["consumer", "list", "x", "--json"]).json(),
        json!([])
    );
    assert_eq!(broker.terminate(), 0);
    let broker = Broker::start(&data);
    let again = broker.run(&["channel", "info", "x", "--json"]).json();
    assert_eq!(again["incarnation"], after["incarnation"]);
    let old = data
        .join("channels")
        .join(before["id"].as_str().expect("an id"));
    wait_for("the deleted channel's files to go", || {
        (!old.exists()).then_some(())
    });
}

#[test]
fn a_tail_is_served_as_soon_as_records_come() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    broker.run_with(&["publish", "t"], b"before\n").ok();
    let mut tail = broker
        .command(&["consume", "t", "--from", "end", "--follow"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the consumer starts");
    let out = BufReader::new(tail.stdout.take().expect("piped"));
    let (told, lines) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        out.lines()
            .map_while(Result::ok)
            .try_for_each(|line| told.send(line))
    });
    let patience = std::time::Duration::from_secs(20);
    let next = || lines.recv_timeout(patience).expect("a line");
    // Where the end is for the tail shows in what it prints first.
    let mut sent = 0;
    let first: u32 = wait_for("the tail to stand at the end", || {
        sent += 1;
        broker
            .run_with(&["publish", "t"], format!("{sent}\n").as_bytes())
            .ok();
        let line = lines
            .recv_timeout(std::time::Duration::from_millis(100))
            .ok()?;
        Some(line.parse().expect("nothing from before"))
    });
    for number in first + 1..=sent {
        assert_eq!(next(), number.to_string());
    }
    for text in ["first", "second"] {
        broker.run_with(&["publish", "t"], text.as_bytes()).ok();
        assert_eq!(next(), text);
    }
    tail.kill().expect("still following");
    tail.wait().expect("killed");
}

#[test]
fn a_directory_has_one_broker_and_is_npayloads_own() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    let path = data.to_str().expect("UTF-8");
    let second = ["serve", "--listen", "127.0.0.1:0", "--data-dir", path];
    let error = npayload(&second);
    assert_eq!(error.code, 1);
    assert!(error.err.contains("process"), "{}", error.err);
    drop(broker);
    let other = data.with_extension("other");
    std::fs::create_dir(&other).expect("a directory");
    std::fs::write(other.join("precious.txt"), "mine").expect("a file");
    let path = other.to_str().expect("UTF-8");
    let error = npayload(&["serve", "--listen", "127.0.0.1:0", "--data-dir", path]);
    assert_eq!(error.code, 1);
    assert!(error.err.contains("precious.txt"), "{}", error.err);
    assert_eq!(
        std::fs::read_dir(&other).expect("readable").count(),
        1,
        "nothing was added"
    );
    let open = npayload(&["serve", "--listen", "0.0.0.0:0", "--data-dir", path]);
    assert_eq!(open.code, 2);
    assert!(open.err.contains("--insecure"), "{}", open.err);
}

#[test]
fn an_address_that_is_taken_is_answered_with_what_to_do() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    let listen = broker.address().to_string();
    let other = data.with_extension("other");
    let path = other.to_str().expect("UTF-8");
    let error = npayload(&["serve", "--listen", &listen, "--data-dir", path]).fails(1);
    assert!(error.contains(&listen), "{error}");
    assert!(error.contains("another process listens there"), "{error}");
    assert!(error.contains("--listen"), "{error}");
}

#[test]
fn a_start_after_a_clean_stop_reports_nothing_as_cut_off() {
    let (_keep, data) = dir();
    // A small ring is used again and again, and holds what was there before behind its end.
    let settings = "[storage]\njournal_file_bytes = 1048576\nmax_round_bytes = 262144\n\
                    journal_files = 2\n";
    let config = data.with_extension("toml");
    std::fs::write(&config, settings).expect("a configuration file");
    let input = format!("{}\n", "z".repeat(900)).repeat(3000);
    for _ in 0..3 {
        let mut command = binary();
        command.env("NPAYLOAD_LOG", "info");
        let broker = Broker::launch_by(command, &config, &data, &[]).ready();
        let args = ["publish", "ring", "--batch-records", "50"];
        broker.run_with(&args, input.as_bytes()).ok();
        assert!(!broker.log().contains("cut off"), "{}", broker.log());
        assert_eq!(broker.terminate(), 0);
    }
}

#[test]
fn bad_names_and_long_lines_are_refused_with_what_is_wrong() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    for name in ["a..b", ".a", "a b", "__channels", &"n".repeat(257)] {
        let refused = broker.run_with(&["publish", name], b"x\n");
        assert!(
            refused.code == 1 || refused.code == 2,
            "{name}: {}",
            refused.err
        );
    }
    broker
        .run(&["channel", "create", "short", "--max-record-bytes", "1024"])
        .ok();
    let input = format!("ok\n{}\nafter\n", "x".repeat(2000));
    let error = broker
        .run_with(&["publish", "short"], input.as_bytes())
        .fails(1);
    assert!(error.contains("line 2"), "{error}");
    assert_eq!(
        broker.run(&["consume", "short"]).ok(),
        b"ok\n",
        "nothing after it is skipped to"
    );
    let topics = broker
        .run(&["consume", "__channels", "--json"])
        .json_lines();
    assert!(
        topics
            .iter()
            .any(|record| record["type"] == "channel.created")
    );
    let unreachable = npayload(&["--url", "npayload://127.0.0.1:1", "channel", "list"]).fails(1);
    assert!(unreachable.contains("npayload serve"), "{unreachable}");
}

#[test]
fn retention_by_bytes_moves_the_log_start_and_says_so() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    let sizes = ["--segment-bytes", "65536", "--retention-bytes", "200000"];
    broker
        .run(&[&["channel", "create", "old"], &sizes[..]].concat())
        .ok();
    let lines = format!("{}\n", "y".repeat(999)).repeat(1000);
    broker
        .run_with(
            &["publish", "old", "--batch-records", "20"],
            lines.as_bytes(),
        )
        .ok();
    let start = wait_for("retention", || {
        let info = broker.run(&["channel", "info", "old", "--json"]).json();
        info["logStart"].as_u64().filter(|start| *start > 0)
    });
    let error = broker.run(&["consume", "old", "--from", "0"]).fails(1);
    assert!(
        error.contains(&start.to_string()) || error.contains("1000"),
        "{error}"
    );
    let left = broker.run(&["consume", "old"]).ok();
    assert_eq!(left.len() % 1000, 0);
    broker.kill();
    let broker = Broker::start(&data);
    let info = broker.run(&["channel", "info", "old", "--json"]).json();
    assert!(info["logStart"].as_u64() >= Some(start));
    assert_eq!(info["logEnd"], 1000);
}

#[test]
fn a_master_key_comes_from_a_file_a_command_or_the_environment_and_its_lack_stops_no_start() {
    let (keep, data) = dir();
    let key = "6b65796b65796b65796b65796b65796b65796b65796b65796b65796b65796b65";
    let file = keep.path().join("master.key");
    std::fs::write(&file, format!("# for tests\n{key}\n")).expect("a key file");
    let path = file.to_str().expect("UTF-8");
    let broker = Broker::start_with(&data, &["--master-key-file", path]);
    broker
        .run(&["channel", "create", "s", "--encryption", "on"])
        .ok();
    broker
        .run_with(&["publish", "s"], b"the canary sings\n")
        .ok();
    let info = broker.run(&["channel", "rotate-key", "s", "--json"]).json();
    assert_eq!(info["encryptionKey"]["id"], 2);
    broker
        .run_with(&["publish", "s"], b"and sings again\n")
        .ok();
    let said = String::from_utf8(broker.run(&["channel", "info", "s"]).ok()).expect("UTF-8");
    assert!(said.contains("on, key 2 since offset 1"), "{said}");
    assert_eq!(broker.terminate(), 0);
    let sings = |broker: &Broker| broker.run(&["consume", "s"]).ok();
    let command = format!("cat {path}");
    let broker = Broker::start_with(&data, &["--master-key-command", &command]);
    assert_eq!(sings(&broker), b"the canary sings\nand sings again\n");
    assert_eq!(broker.terminate(), 0);
    let mut serve = crate::process::binary();
    serve.env("NPAYLOAD_MASTER_KEY", key);
    let config = data.with_extension("toml");
    let broker = Broker::launch_by(serve, &config, &data, &[]).ready();
    assert_eq!(sings(&broker), b"the canary sings\nand sings again\n");
    assert_eq!(broker.terminate(), 0);
    // None at all, and one that can't be had.
    for more in [&[][..], &["--master-key-file", "/nowhere"]] {
        let broker = Broker::start_with(&data, more);
        let error = broker.run(&["consume", "s"]).fails(1);
        assert!(
            error.contains("KEY_UNAVAILABLE") || error.contains("master key"),
            "{error}"
        );
        broker.run_with(&["publish", "open"], b"goes on\n").ok();
        let health = broker.run(&["broker", "info", "--json"]).json()["health"].clone();
        assert_eq!(
            (&health["ok"], &health["lockedChannels"]),
            (&json!(false), &json!(1))
        );
        assert_eq!(health["masterKey"].is_null(), more.is_empty());
        assert_eq!(broker.terminate(), 0);
    }
    // Two places are one too many, and no key is repeated.
    let both = crate::process::binary()
        .env("NPAYLOAD_MASTER_KEY", key)
        .args(["serve", "--master-key-file", path])
        .output()
        .expect("the binary runs");
    let error = String::from_utf8_lossy(&both.stderr).into_owned();
    assert_eq!(both.status.code(), Some(2), "{error}");
    assert!(
        error.contains("master_key_file and NPAYLOAD_MASTER_KEY"),
        "{error}"
    );
    assert!(!error.contains("6b65"), "{error}");
}

/// What scripts take apart: docs/operations.md, "For programs".
#[test]
fn the_lists_of_a_broker_are_one_array_and_all_others_a_line_for_each_row() {
    let (_keep, data) = dir();
    let broker = Broker::start(&data);
    for channel in ["a", "b"] {
        broker.run_with(&["publish", channel], b"one").ok();
        let commit = ["consumer", "commit", channel, "reader", "1"];
        broker.run(&commit).ok();
    }
    broker.run(&["consumer", "commit", "a", "other", "1"]).ok();
    broker.run(&["org", "create", "acme"]).ok();
    for args in [
        &["channel", "list"][..],
        &["consumer", "list", "a"],
        &["consumer", "lag", "a"],
        &["consumer", "lag"],
    ] {
        let rows = broker.run(&[args, &["--json"]].concat()).json_lines();
        assert_eq!(rows.len(), 1, "{args:?}: {rows:?}");
        let rows = rows[0].as_array().expect("an array");
        assert!(
            rows.len() >= 2 && rows.iter().all(Value::is_object),
            "{args:?}: {rows:?}"
        );
    }
    for args in [&["org", "list"][..], &["consume", "a"], &["key", "list"]] {
        let rows = broker.run(&[args, &["--json"]].concat()).json_lines();
        assert!(rows.iter().all(Value::is_object), "{args:?}: {rows:?}");
        let expected = match args[0] {
            "org" => 2,
            "consume" => 1,
            _ => 0,
        };
        assert_eq!(rows.len(), expected, "{args:?}: {rows:?}");
    }
}
