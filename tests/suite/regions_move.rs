//! Moves of homes between processes: planned ones that lose nothing, forced ones that name what may
//! be lost, and losers that come back.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::process::wait_for;
use crate::regions::{Region, raw};

const NAMES: [&str; 3] = ["us-east", "eu-west", "ap-south"];

/// Regions that are each other's peers; the first is the home of what it publishes, and the others
/// want all of it from the start.
pub fn regions(dir: &Path, count: usize) -> Vec<Region> {
    let mut all: Vec<Region> = Vec::new();
    for name in &NAMES[..count] {
        let others: Vec<&Region> = all.iter().collect();
        all.push(Region::start(dir, name, &others));
    }
    for at in 0..count {
        let others = (0..count).filter(|other| *other != at);
        let peers = others.map(|other| format!("{}={}", NAMES[other], all[other].url()));
        let peers: Vec<String> = peers.collect();
        all[at].kill();
        all[at].peers = peers;
        all[at].restart();
    }
    for region in &all {
        region.linked();
    }
    for region in &all[1..] {
        region
            .run(&["interest", "add", ">", "--from", "start"])
            .ok();
    }
    all
}

pub fn move_to(by: &Region, channel: &str, to: &str, force: bool) -> Value {
    let mut args = vec!["region", "move", channel, "--to", to, "--json"];
    args.extend(force.then_some("--force"));
    by.run(&args).json()
}

/// What a region says of a channel that was moved.
pub fn moved(region: &Region, channel: &str) -> Option<Value> {
    let status = region.status();
    let mut moved = status["moved"]
        .as_array()
        .cloned()
        .unwrap_or_default()
        .into_iter();
    moved.find(|row| row["name"] == channel)
}

/// Waits until a region knows who is home of a channel.
pub fn knows_home(region: &Region, channel: &str, home: &str) {
    let mut last = Value::Null;
    wait_for(
        &format!("{home} to be known as the home of {channel}"),
        || {
            let row = moved(region, channel)?;
            last = row.clone();
            (row["home"] == home && row["moving"].is_null()).then_some(())
        },
    );
}

/// Publishes a line; tried again while the home is being moved.
pub fn publish(region: &Region, channel: &str, line: &str) -> u64 {
    wait_for(&format!("`{line}` to be taken"), || {
        let args = ["publish", channel, "--json"];
        let ran = region
            .broker()
            .run_with(&args, format!("{line}\n").as_bytes());
        (ran.code == 0).then(|| ran.json()["firstOffset"].as_u64().expect("an offset"))
    })
}

pub fn is_equal(one: &Region, other: &Region, channel: &str, end: u64) {
    other.has(channel, end);
    assert_eq!(raw(one, channel), raw(other, channel), "the same bytes");
}

/// The files of a region's `lost+found` with batches.
pub fn aside(region: &Region) -> Vec<PathBuf> {
    let dir = region.data.join("lost+found");
    let entries = std::fs::read_dir(dir).expect("a directory");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let is_it = |path: &PathBuf| path.extension().is_some_and(|it| it == "batches");
    paths.filter(is_it).collect()
}

/// The payloads in a file of batches.
pub fn payloads(path: &Path) -> Vec<String> {
    let mut rest = bytes::Bytes::from(std::fs::read(path).expect("a file"));
    let mut found = Vec::new();
    while !rest.is_empty() {
        let header = npayload::format::BatchHeader::peek(&rest).expect("a batch");
        let batch = rest.split_to(header.len());
        npayload::format::check_stored(&batch).expect("intact");
        for record in npayload::format::records(&batch).expect("records") {
            let payload = record.expect("a record").payload.expect("a payload");
            found.push(String::from_utf8_lossy(&payload).into_owned());
        }
    }
    found
}

#[test]
fn a_planned_move_loses_nothing_and_writers_go_on_in_the_new_home() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 3);
    let [east, west, south] = &mut all[..] else {
        panic!("three")
    };
    for n in 0..20 {
        publish(east, "orders", &format!("before {n}"));
    }
    west.has("orders", 20);
    south.has("orders", 20);
    // Asked of one that has nothing to do with it.
    let told = move_to(south, "orders", "eu-west", false);
    assert_eq!(
        (
            &told["home"],
            &told["term"],
            &told["start"],
            &told["forced"]
        ),
        (&json!("eu-west"), &json!(1), &json!(20), &json!(false)),
        "{told}"
    );
    knows_home(east, "orders", "eu-west");
    knows_home(south, "orders", "eu-west");
    // Writers in all three go on: offsets follow, and all have the same.
    assert_eq!(publish(west, "orders", "in the new home"), 20);
    assert_eq!(publish(east, "orders", "in the old one"), 21);
    assert_eq!(publish(south, "orders", "elsewhere"), 22);
    is_equal(west, east, "orders", 23);
    is_equal(west, south, "orders", 23);
    // Both sides know it after restarts, whoever is up first.
    west.kill();
    east.kill();
    east.restart();
    let refused = east
        .broker()
        .run_with(&["publish", "orders", "--timeout-s", "1"], b"x\n");
    assert_ne!(refused.code, 0, "its home is away");
    west.restart();
    assert_eq!(publish(east, "orders", "after restarts"), 23);
    // And back.
    east.has("orders", 24);
    let told = move_to(west, "orders", "us-east", false);
    assert_eq!(
        (&told["home"], &told["term"]),
        (&json!("us-east"), &json!(2)),
        "{told}"
    );
    knows_home(west, "orders", "us-east");
    knows_home(south, "orders", "us-east");
    assert_eq!(publish(west, "orders", "back"), 24);
    is_equal(east, west, "orders", 25);
    is_equal(east, south, "orders", 25);
    assert!(all.iter().all(|region| aside(region).is_empty()));
}

#[test]
fn a_move_that_the_target_does_not_finish_is_given_up_and_the_home_goes_on() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 2);
    let [east, west] = &mut all[..] else {
        panic!("two")
    };
    publish(east, "orders", "one");
    west.has("orders", 1);
    let refused = west.run(&["region", "move", "orders", "--to", "us-east"]);
    let error = refused.fails(1);
    assert!(error.contains("home already"), "{error}");
    let refused = west.run(&["region", "move", "orders", "--to", "nowhere"]);
    let error = refused.fails(1);
    assert!(error.contains("nowhere"), "{error}");
    let refused = east.run(&["region", "move", "unknown", "--to", "eu-west"]);
    assert_ne!(refused.code, 0);
    // The target dies at any moment of its move.
    for round in 0..4u64 {
        let args = ["region", "move", "orders", "--to", "eu-west"];
        let asked = west
            .broker()
            .command(&args)
            .stderr(std::process::Stdio::null())
            .spawn();
        let mut asked = asked.expect("it starts");
        std::thread::sleep(std::time::Duration::from_millis(20 * round));
        west.kill();
        let _ = asked.wait();
        west.restart();
        west.linked();
        // Whoever is home by then takes writes, and it is one of the two.
        let before = east.records("orders").len() as u64;
        let offset = publish(east, "orders", "goes on");
        assert!(offset >= before.min(1), "round {round}: {offset}");
        let there = wait_for("one home", || {
            let homes = [&*east, &*west].map(|region| moved(region, "orders"));
            match homes {
                [None, None] => Some("us-east".to_owned()),
                [Some(one), Some(other)]
                    if one["home"] == other["home"]
                        && one["moving"].is_null()
                        && other["moving"].is_null() =>
                {
                    Some(one["home"].as_str().expect("a name").to_owned())
                }
                _ => None,
            }
        });
        if there == "eu-west" {
            move_to(east, "orders", "us-east", false);
            knows_home(west, "orders", "us-east");
        }
        west.has("orders", offset + 1);
    }
    let all: Vec<u64> = east.records("orders").into_keys().collect();
    assert_eq!(
        all,
        (0..all.len() as u64).collect::<Vec<_>>(),
        "no offset is missing"
    );
    is_equal(east, west, "orders", all.len() as u64);
}

#[test]
fn f6_38_a_home_that_is_lost_is_taken_by_force_and_its_tail_lies_aside_when_it_returns() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 3);
    let [east, west, south] = &mut all[..] else {
        panic!("three")
    };
    publish(east, "orders", "kept 1");
    publish(east, "orders", "kept 2");
    west.has("orders", 2);
    south.has("orders", 2);
    // Both others are gone while it goes on: nobody else has that.
    west.kill();
    south.kill();
    for n in 0..3 {
        east.publish("orders", &[&format!("lost {n}")]);
    }
    east.kill();
    west.restart();
    south.restart();
    let told = move_to(west, "orders", "eu-west", true);
    assert_eq!(
        (
            &told["home"],
            &told["start"],
            &told["forced"],
            &told["missing"]["from"]
        ),
        (&json!("eu-west"), &json!(2), &json!(true), &json!(2)),
        "{told}"
    );
    knows_home(south, "orders", "eu-west");
    assert_eq!(publish(south, "orders", "after 1"), 2);
    assert_eq!(publish(west, "orders", "after 2"), 3);
    // The lost one returns: what it alone had lies aside, and it follows the new home.
    east.restart();
    let set = wait_for("what was set aside", || {
        let status = east.status();
        status["aside"]
            .as_array()
            .and_then(|rows| rows.first().cloned())
    });
    assert_eq!(
        (&set["from"], &set["end"], &set["reason"]),
        (&json!(2), &json!(5), &json!("overtaken")),
        "{set}"
    );
    let files = aside(east);
    assert_eq!(files.len(), 1);
    let place = east.data.join(set["place"].as_str().expect("a place"));
    assert_eq!(files[0], place);
    assert_eq!(payloads(&place), ["lost 0", "lost 1", "lost 2"]);
    is_equal(west, east, "orders", 4);
    is_equal(west, south, "orders", 4);
    assert_eq!(publish(east, "orders", "after 3"), 4);
    is_equal(west, east, "orders", 5);
    // It stays so.
    east.kill();
    east.restart();
    is_equal(west, east, "orders", 5);
    assert_eq!(aside(east).len(), 1);
    let verified = east.run(&["region", "verify", "orders", "--json"]).json();
    assert_eq!(verified["equal"], json!(true), "{verified}");
}

#[test]
fn f6_38_of_two_forced_moves_in_a_split_the_higher_epoch_wins_and_the_other_is_set_aside() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 3);
    let [east, west, south] = &mut all[..] else {
        panic!("three")
    };
    publish(east, "orders", "kept");
    west.has("orders", 1);
    south.has("orders", 1);
    east.kill();
    // Neither sees the other.
    south.kill();
    let told = move_to(west, "orders", "eu-west", true);
    assert_eq!(
        (&told["term"], &told["start"]),
        (&json!(1), &json!(1)),
        "{told}"
    );
    west.publish("orders", &["in the west"]);
    west.kill();
    south.restart();
    let told = move_to(south, "orders", "ap-south", true);
    assert_eq!(
        (&told["term"], &told["start"]),
        (&json!(1), &json!(1)),
        "{told}"
    );
    south.publish("orders", &["in the south", "in the south again"]);
    // The number of ap-south is the higher one: 58,613 against 37,593.
    west.restart();
    east.restart();
    for region in [&*east, &*west] {
        knows_home(region, "orders", "ap-south");
        is_equal(south, region, "orders", 3);
    }
    let set = wait_for("what was set aside", || {
        let status = west.status();
        status["aside"]
            .as_array()
            .and_then(|rows| rows.first().cloned())
    });
    assert_eq!((&set["from"], &set["end"]), (&json!(1), &json!(2)), "{set}");
    assert_eq!(payloads(&aside(west)[0]), ["in the west"]);
    assert!(aside(east).is_empty() && aside(south).is_empty());
    assert_eq!(publish(west, "orders", "together"), 3);
    is_equal(south, west, "orders", 4);
    is_equal(south, east, "orders", 4);
}

#[test]
fn a_copy_that_was_refused_three_times_stays_stopped_until_somebody_asks() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 2);
    let [east, west] = &mut all[..] else {
        panic!("two")
    };
    east.publish("orders", &["one", "two"]);
    west.has("orders", 2);
    east.kill();
    west.kill();
    let backup = dir.path().join("backup");
    crate::regions::copy_dir(&east.data, &backup);
    east.restart();
    west.restart();
    east.publish("orders", &["three"]);
    west.has("orders", 3);
    east.kill();
    std::fs::remove_dir_all(&east.data).expect("removed");
    crate::regions::copy_dir(&backup, &east.data);
    east.restart();
    let is_stopped = |words: &str| {
        wait_for("the copy to be stopped", || {
            let copy = west.copy("orders")?;
            let error = copy["error"].as_str().unwrap_or_default().to_owned();
            (copy["followed"] == false && error.contains(words)).then_some(())
        });
    };
    is_stopped("DIVERGED");
    let retried = west.run(&["region", "retry", "orders", "--json"]).json();
    assert_eq!(retried["name"], "orders");
    let refused = east.run(&["region", "retry", "orders"]);
    let error = refused.fails(1);
    assert!(error.contains("lives here"), "{error}");
    is_stopped("DIVERGED");
    // The copy is right: its region takes the home over, and what the other one has otherwise is set
    // aside, also below where the new home begins.
    east.publish("orders", &["drei", "vier"]);
    move_to(west, "orders", "eu-west", true);
    knows_home(east, "orders", "eu-west");
    is_equal(west, east, "orders", 3);
    let aside: Vec<String> = aside(east).iter().flat_map(|path| payloads(path)).collect();
    assert_eq!(aside.len(), 2, "{aside:?}");
    assert!(
        ["drei", "vier"]
            .iter()
            .all(|text| aside.iter().any(|it| it == text))
    );
}
