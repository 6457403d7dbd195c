//! Regions as processes of their own: what is published in one reaches the others that asked for it,
//! at the same offsets, and nobody else.

mod agents;
mod keys;
mod region;

use std::collections::BTreeMap;

use serde_json::{Value, json};

pub use self::agents::{promise, promised, survey};
pub use self::keys::{kept_key, key_of_org};
pub use self::region::{Region, copy_dir, follow_from_start, link_as, over_line, raw};
use crate::kill::{from_env, is_soak, seed};
use crate::load::Draws;
use crate::process::{ended, wait_for};

#[test]
fn a_publish_in_one_region_reaches_a_tail_in_another_that_asked_at_the_same_offset_and_no_third() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    let south = Region::start(dir.path(), "ap-south", &[&east, &west]);
    east.publish("ml.models", &["before anybody asked"]);
    west.run(&["interest", "add", "ml.>"]).ok();
    west.has("ml.models", 1);
    // A tail that waits for what comes: from an offset, as the end may be one or two records further
    // by the time it is there.
    let follow = [
        "consume",
        "ml.models",
        "--from",
        "1",
        "--follow",
        "--max",
        "2",
        "--json",
    ];
    let tail = west
        .broker()
        .command(&follow)
        .stdout(std::process::Stdio::piped())
        .spawn();
    let tail = tail.expect("it starts");
    let texts = ["resnet deployed", "resnet retired"];
    let published = texts.map(|text| east.publish("ml.models", &[text]));
    let told = ended(tail).stdout;
    let told = String::from_utf8(told).expect("JSON");
    let told: Vec<Value> = told
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    for ((record, offset), text) in told.iter().zip(published).zip(texts) {
        assert_eq!(record["offset"], json!(offset), "{told:?}");
        assert_eq!(record["payloadText"], text);
    }
    assert_eq!(told.len(), 2);
    // What was there before was not asked for.
    assert_eq!(
        west.copy("ml.models").expect("a copy")["beginsAt"],
        json!(1)
    );
    // Nobody else has a byte of it, nor was sent one.
    assert!(south.copy("ml.models").is_none());
    assert_eq!(south.received(), 0);
    assert!(west.received() > 0);
    assert_eq!(east.status()["sentBytes"].as_u64(), Some(west.received()));
    assert_eq!(west.status()["sentBytes"], json!(0));
    let listed = south.run(&["channel", "list", "--json"]).ok();
    assert!(!String::from_utf8_lossy(&listed).contains("ml.models"));
    let verified = west
        .run(&["region", "verify", "ml.models", "--json"])
        .json();
    assert_eq!(
        (&verified["equal"], &verified["to"]),
        (&json!(true), &json!(3))
    );
}

#[test]
fn a_publish_to_a_copy_is_carried_out_at_its_home() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    east.publish("orders", &["one"]);
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    west.has("orders", 1);
    assert_eq!(west.publish("orders", &["two", "three"]), 1);
    west.has("orders", 3);
    let all = ["one", "two", "three"].map(str::to_owned);
    let all: BTreeMap<u64, String> = (0..).zip(all).collect();
    assert_eq!(east.records("orders"), all);
    assert_eq!(west.records("orders"), all);
    // While its home is away a copy is read, and takes nothing.
    east.kill();
    assert_eq!(west.records("orders"), all);
    let args = ["publish", "orders", "--timeout-s", "1"];
    let refused = west.broker().run_with(&args, b"lost\n");
    assert_ne!(refused.code, 0, "{}", refused.err);
    east.restart();
    wait_for("the link", || {
        let acks = west
            .broker()
            .run_with(&["publish", "orders", "--json"], b"four\n");
        (acks.code == 0).then_some(())
    });
    west.has("orders", 4);
    assert!(
        east.records("orders")
            .values()
            .any(|payload| payload == "four")
    );
}

#[test]
fn reading_a_channel_that_lives_elsewhere_brings_it_and_leaving_it_ends_that() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.restart_with(&["--interest-idle", "1s"]);
    west.linked();
    east.publish("ml.models", &["one", "two"]);
    east.publish("ml.others", &["one"]);
    // A reader needs no word of where it lives.
    let all: BTreeMap<u64, String> = (0..).zip(["one", "two"].map(str::to_owned)).collect();
    assert_eq!(west.records("ml.models"), all);
    let interests = west.run(&["interest", "list", "--json"]).json();
    assert_eq!(interests["interests"][0]["pattern"], "ml.models");
    assert_eq!(interests["interests"][0]["automatic"], true);
    assert!(west.copy("ml.others").is_none());
    let nowhere = west.run(&["consume", "ml.nowhere"]);
    assert_ne!(nowhere.code, 0, "nobody has it");
    // Nobody reads it any more.
    wait_for("the end of the interest", || {
        let interests = west.run(&["interest", "list", "--json"]).json();
        let left = interests["interests"].as_array().expect("rows").is_empty();
        (left && west.copy("ml.models")?["followed"] == false).then_some(())
    });
    let before = west.received();
    east.publish("ml.models", &["three"]);
    // Whatever comes next of what is wanted comes without it.
    west.run(&["interest", "add", "ml.others", "--from", "start"])
        .ok();
    west.has("ml.others", 1);
    assert_eq!(west.copy("ml.models").expect("it stays")["next"], json!(2));
    assert!(west.received() > before);
}

#[test]
fn a_publish_to_a_channel_that_is_known_elsewhere_makes_no_second_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    west.linked();
    east.publish("orders", &["one"]);
    assert_eq!(west.publish("orders", &["two"]), 1);
    assert_eq!(west.publish("orders", &["three"]), 2);
    let listed = west.run(&["channel", "list", "--json"]).ok();
    assert!(!String::from_utf8_lossy(&listed).contains("orders"));
    assert_eq!(east.records("orders").len(), 3);
    // One that nobody has lives where it was asked for.
    assert_eq!(west.publish("news", &["one"]), 0);
    let listed = east.run(&["channel", "list", "--json"]).ok();
    assert!(!String::from_utf8_lossy(&listed).contains("news"));
    // While a peer is away nobody knows whether it has it; what is here goes on.
    east.kill();
    let refused = west
        .broker()
        .run_with(&["publish", "unknown", "--timeout-s", "1"], b"x\n");
    assert_ne!(refused.code, 0);
    assert!(refused.err.contains("us-east"), "{}", refused.err);
    assert_eq!(west.publish("news", &["two"]), 1);
}

#[test]
fn what_retention_removed_before_it_crossed_is_a_gap_and_never_a_jump() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    let small = ["--segment-bytes", "4096", "--retention-bytes", "8192"];
    let mut create = vec!["channel", "create", "brief"];
    create.extend(small);
    east.run(&create).ok();
    west.run(&["interest", "add", "brief", "--from", "start"])
        .ok();
    east.publish("brief", &["the first"]);
    west.has("brief", 1);
    west.kill();
    let text = "x".repeat(1500);
    for _ in 0..20 {
        east.publish("brief", &[&text]);
    }
    let start = wait_for("retention", || {
        let info = east.run(&["channel", "info", "brief", "--json"]).json();
        info["logStart"].as_u64().filter(|start| *start > 5)
    });
    west.restart();
    west.has("brief", 21);
    let copy = west.copy("brief").expect("a copy");
    assert_eq!(copy["gaps"][0][0], json!(1), "{copy}");
    assert!(copy["gaps"][0][1].as_u64() >= Some(start), "{copy}");
    // Whoever reads over it is told, and not led past it.
    let read = west.run(&["consume", "brief", "--json"]);
    assert_ne!(read.code, 0);
    let read = west
        .run(&["consume", "brief", "--json", "--gaps", "yield"])
        .json_lines();
    assert!(
        read.iter()
            .any(|line| line["gap"]["firstOffset"] == json!(1))
    );
    let verified = west.run(&["region", "verify", "brief", "--json"]).json();
    assert_eq!(verified["equal"], json!(true), "{verified}");
}

#[test]
fn a_channel_made_again_at_home_is_begun_anew_and_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    west.run(&["interest", "add", "*", "--from", "start"]).ok();
    east.publish("first", &["old"]);
    east.publish("second", &["one"]);
    west.has("first", 1);
    east.run(&["channel", "delete", "first", "--yes"]).ok();
    east.publish("first", &["new", "newer"]);
    east.publish("second", &["two"]);
    west.has("second", 2);
    west.has("first", 2);
    let texts = |name: &str| west.records(name).into_values().collect::<Vec<_>>();
    assert_eq!(texts("first"), ["new", "newer"]);
    // What was there of the old one stays, and is not taken for the new one's.
    let status = west.status();
    let aside = status["aside"][0]["place"].as_str().expect("a name");
    assert_eq!(texts(aside), ["old"]);
    assert_eq!(status["aside"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_home_that_was_restored_from_an_old_backup_is_not_copied_over_what_a_copy_has() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    west.run(&["interest", "add", "*", "--from", "start"]).ok();
    east.publish("ledger", &["one", "two"]);
    east.publish("other", &["one"]);
    east.stop();
    let (data, backup) = (east.data.clone(), dir.path().join("backup"));
    copy_dir(&data, &backup);
    east.restart();
    east.publish("ledger", &["three", "four"]);
    west.has("ledger", 4);
    let before = west.records("ledger");
    east.kill();
    std::fs::remove_dir_all(&data).expect("removed");
    copy_dir(&backup, &data);
    east.restart();
    // Shorter than the copy at first, then longer and another one.
    for texts in [&[][..], &["drei", "vier", "fünf"][..]] {
        if !texts.is_empty() {
            east.publish("ledger", texts);
        }
        wait_for("the copy to be stopped", || {
            let copy = west.copy("ledger")?;
            let error = copy["error"].as_str().unwrap_or_default();
            (copy["followed"] == false && error.starts_with("DIVERGED")).then_some(())
        });
    }
    assert_eq!(west.records("ledger"), before, "it keeps what it has");
    east.publish("other", &["two"]);
    west.has("other", 2);
    let differs = west.run(&["region", "verify", "ledger"]);
    assert_eq!(differs.code, 1, "{}", differs.err);
    // Once nobody wants it, it may go.
    west.run(&["region", "purge", "ledger", "--yes"]).fails(1);
    west.run(&["interest", "remove", "*"]).ok();
    west.run(&["region", "purge", "ledger", "--yes"]).ok();
    assert!(west.copy("ledger").is_none());
}

#[test]
fn a_peer_that_asks_for_keys_is_pulled_from_with_the_scope_for_it_and_with_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let mut east = Region::start(dir.path(), "us-east", &[]);
    east.kill();
    let admin: &'static str = file("admin").leak();
    east.more = vec!["--require-keys", "--admin-key-file", admin].leak();
    east.restart();
    east.more = &["--require-keys"];
    let asked = |args: &[&str]| {
        let mut all = args.to_vec();
        all.extend(["--api-key-file", admin]);
        east.run(&all)
    };
    let key = |name: &str, scope: &str| {
        let made = asked(&["key", "create", name, "--scope", scope, "--json"]).json();
        let secret = made["secret"].as_str().expect("a text");
        std::fs::write(dir.path().join(name), secret).expect("written");
    };
    key("wrong", "consume");
    key("right", "replicate");
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    for (name, state) in [("", "refused"), ("wrong", "refused"), ("right", "open")] {
        west.kill();
        let file: &'static str = file(name).leak();
        west.more = match name {
            "" => &[],
            _ => vec!["--peer-key-file", file].leak(),
        };
        west.restart();
        wait_for(&format!("a link that is {state} with key `{name}`"), || {
            (west.status()["links"][0]["state"] == state).then_some(())
        });
    }
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    let publish = ["publish", "orders", "--api-key-file", admin];
    assert_eq!(east.broker().run_with(&publish, b"one\n").code, 0);
    west.has("orders", 1);
    assert_eq!(west.publish("orders", &["two"]), 1);
    west.has("orders", 2);
}

#[test]
fn interest_that_is_withdrawn_stops_the_copy_and_outlives_a_restart_until_then() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.run(&["interest", "add", "a.*", "--from", "start"])
        .ok();
    east.publish("a.one", &["1"]);
    east.publish("a.one.deep", &["1"]);
    west.has("a.one", 1);
    west.kill();
    east.publish("a.one", &["2"]);
    west.restart();
    west.has("a.one", 2);
    assert!(west.copy("a.one.deep").is_none());
    west.run(&["interest", "remove", "a.*"]).ok();
    wait_for("the end of the copy", || {
        (west.copy("a.one")?["followed"] == false).then_some(())
    });
    let before = west.received();
    east.publish("a.one", &["3"]);
    east.publish("a.two", &["1"]);
    west.run(&["interest", "add", "b", "--from", "start"]).ok();
    east.publish("b", &["1"]);
    west.has("b", 1);
    assert_eq!(west.copy("a.one").expect("it stays")["next"], json!(2));
    assert!(west.copy("a.two").is_none());
    assert!(west.received() > before);
    west.run(&["interest", "remove", "nothing"]).fails(1);
}

#[test]
fn kills_of_either_side_leave_a_copy_that_is_its_home_byte_for_byte() {
    let rounds = from_env("ROUNDS", if is_soak() { 50 } else { 4 });
    let mut draws = Draws(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.run(&["interest", "add", ">", "--from", "start"]).ok();
    let mut acked: Vec<(u64, String)> = Vec::new();
    for round in 0..rounds {
        let lines: Vec<String> = (0..500 + draws.below(500))
            .map(|n| {
                format!(
                    "{round}-{n}-{}",
                    "x".repeat(usize::try_from(draws.below(900)).expect("small"))
                )
            })
            .collect();
        let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
        let first = east.publish("all", &texts);
        acked.extend((first..).zip(lines.iter().cloned()));
        // Somewhere in the middle of pulling it.
        std::thread::sleep(std::time::Duration::from_millis(draws.below(60)));
        match draws.below(3) {
            0 => {
                west.kill();
                west.restart();
            }
            1 => {
                east.kill();
                east.restart();
            }
            _ => {
                west.kill();
                east.kill();
                east.restart();
                west.restart();
            }
        }
    }
    let end = acked.len() as u64;
    west.has("all", end);
    assert_eq!(east.records("all"), acked.into_iter().collect());
    let verified = west.run(&["region", "verify", "all", "--json"]).json();
    assert_eq!(verified["equal"], json!(true), "{verified}");
    assert_eq!(
        (&verified["from"], &verified["to"]),
        (&json!(0), &json!(end))
    );
    assert_eq!(raw(&east, "all"), raw(&west, "all"), "the same bytes");
    assert_eq!(west.copy("all").expect("a copy")["error"], Value::Null);
}
