//! What happens between regions, line by line of the table of faults in docs/regions.md: links that
//! flap, crawl, fall silent or are cut anywhere; retention that is faster; channels made again;
//! homes restored from a backup; interest that comes and goes; a ring; one log that is damaged.

use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::kill::{from_env, is_soak, seed};
use crate::line::Line;
use crate::load::Draws;
use crate::process::wait_for;
use crate::regions::{Region, over_line, raw};

/// A home, a line to it, and a region that pulls over the line and wants everything from the start.
fn pair(dir: &Path) -> (Region, Line, Region) {
    let (east, line, west) = over_line(dir);
    let add = ["interest", "add", ">", "--from", "start"];
    west.run(&add).ok();
    (east, line, west)
}

/// Lines of text that no two calls share.
fn lines(draws: &mut Draws, count: u64, longest: u64) -> Vec<String> {
    let one = |n| {
        let text = "x".repeat(usize::try_from(draws.below(longest)).expect("small"));
        format!("{n}-{}-{text}", draws.below(u64::MAX))
    };
    (0..count).map(one).collect()
}

/// Publishes them; the offset after the last.
fn publish(region: &Region, channel: &str, lines: &[String]) -> u64 {
    let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
    region.publish(channel, &texts) + lines.len() as u64
}

/// That a copy is its home, byte for byte, and nothing is wrong with it.
fn is_equal(home: &Region, copy: &Region, channel: &str) {
    assert_eq!(raw(home, channel), raw(copy, channel), "the same bytes");
    let told = copy.copy(channel).expect("a copy");
    let is_well = told["error"].is_null() && told["gaps"].is_null();
    assert!(is_well, "{told}");
    let verified = copy.run(&["region", "verify", channel, "--json"]).json();
    assert_eq!(verified["equal"], json!(true), "{verified}");
}

/// What a region says of its only link.
fn link(region: &Region) -> Value {
    region.status()["links"][0].clone()
}

/// Waits until a copy is stopped, for a reason that has these words.
fn is_stopped(region: &Region, channel: &str, words: &str) -> Value {
    let mut last = Value::Null;
    wait_for(&format!("a stop of {channel}: {words}"), || {
        let copy = region.copy(channel)?;
        if last != copy["error"] {
            println!("{channel}: {}", copy["error"]);
            last = copy["error"].clone();
        }
        let is_it = copy["error"]
            .as_str()
            .is_some_and(|error| error.contains(words));
        (is_it && copy["followed"] == false).then_some(copy)
    })
}

#[test]
fn f6_32_a_link_that_flaps_crawls_falls_silent_or_is_away_goes_on_where_it_was() {
    let mut draws = Draws(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    let mut end = 0;
    for _ in 0..5 {
        end = publish(&east, "all", &lines(&mut draws, 300, 800));
        line.flap();
    }
    west.has("all", end);
    line.set(|line| {
        line.bytes_per_s = Some(400_000);
        line.delay = Duration::from_millis(50);
    });
    end = publish(&east, "all", &lines(&mut draws, 500, 800));
    west.has("all", end);
    line.mend();
    for (there, back) in [(true, false), (false, true), (true, true)] {
        line.set(|line| (line.is_silent_there, line.is_silent_back) = (there, back));
        end = publish(&east, "all", &lines(&mut draws, 100, 800));
        assert_eq!(
            west.run(&["region", "status"]).code,
            0,
            "it answers meanwhile"
        );
        line.mend();
        west.has("all", end);
    }
    line.cut();
    wait_for("the link to be missed", || {
        let link = link(&west);
        (link["state"] != "open" && link["error"].is_string()).then_some(())
    });
    end = publish(&east, "all", &lines(&mut draws, 2000, 800));
    assert_ne!(west.copy("all").expect("a copy")["next"], json!(end));
    line.mend();
    west.has("all", end);
    is_equal(&east, &west, "all");
}

#[test]
fn f6_33_answers_that_are_cut_anywhere_leave_neither_a_hole_nor_a_repeat() {
    let cuts = from_env("ROUNDS", if is_soak() { 100 } else { 12 });
    let mut draws = Draws(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    let mut end = 0;
    for round in 0..cuts {
        for channel in ["all", "live"] {
            let sent = lines(&mut draws, 50, 400);
            end = publish(&east, channel, &sent);
        }
        let before = line.connections();
        line.set(|line| line.cut_after = Some(1_000 + draws.below(60_000)));
        line.flap();
        wait_for(
            &format!("the end of connection {before} in round {round}"),
            || (line.connections() > before).then_some(()),
        );
    }
    line.mend();
    line.flap();
    for channel in ["all", "live"] {
        west.has(channel, end);
        is_equal(&east, &west, channel);
    }
}

#[test]
fn f6_34_retention_that_is_faster_than_the_link_leaves_a_gap_that_is_named() {
    let mut draws = Draws(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    let sizes = ["--segment-bytes", "65536", "--retention-bytes", "200000"];
    let create = [&["channel", "create", "short"][..], &sizes].concat();
    east.run(&create).ok();
    let seen = publish(&east, "short", &lines(&mut draws, 20, 800));
    west.has("short", seen);
    line.cut();
    let mut end = 0;
    let start = wait_for("retention", || {
        end = publish(&east, "short", &lines(&mut draws, 300, 800));
        let info = east.run(&["channel", "info", "short", "--json"]).json();
        let start = info["logStart"].as_u64().expect("an offset");
        (start > seen + 20).then_some(start)
    });
    line.mend();
    west.has("short", end);
    let copy = west.copy("short").expect("a copy");
    let gap = copy["gaps"][0].as_array().expect("a gap").clone();
    let [from, to] = [0, 1].map(|at| gap[at].as_u64().expect("an offset"));
    assert_eq!(from, seen, "right behind what had come");
    assert!(to >= start, "{copy}");
    assert_eq!(copy["gaps"].as_array().map(Vec::len), Some(1));
    // A reader is told; nothing is passed over.
    let read = west.run(&["consume", "short", "--from", &seen.to_string()]);
    let error = read.fails(1);
    assert!(
        error.contains(&format!("offset {from} up to {to} are lost")),
        "{error}"
    );
    let here = west.records_from("short", to);
    let there = east.records_from("short", to);
    assert!(!here.is_empty());
    assert_eq!(here, there, "the same records behind it");
}

#[test]
fn f6_35_a_channel_made_again_is_never_mixed_into_the_copy_of_the_old_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = pair(dir.path());
    east.publish("orders", &["old 1", "old 2"]);
    west.has("orders", 2);
    let old = west.records("orders");
    line.cut();
    east.run(&["channel", "delete", "orders", "--yes"]).ok();
    east.publish("orders", &["new 1", "new 2", "new 3"]);
    line.mend();
    east.publish("other", &["1"]);
    west.has("orders", 3);
    west.has("other", 1);
    let new = west.records("orders");
    assert_eq!(new, east.records("orders"));
    let place = |west: &Region| {
        let status = west.status();
        let aside = status["aside"].as_array().expect("rows");
        assert_eq!(aside.len(), 1, "{status}");
        assert_eq!(aside[0]["reason"], "recreated");
        aside[0]["place"].as_str().expect("a name").to_owned()
    };
    let aside = place(&west);
    assert_eq!(west.records(&aside), old);
    west.kill();
    west.restart();
    west.has("orders", 3);
    assert_eq!(place(&west), aside);
    assert_eq!(west.records(&aside), old);
    assert_eq!(west.records("orders"), new);
}

#[test]
fn f6_35_a_home_restored_from_a_backup_is_noticed_and_the_copy_kept() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut east, line, west) = pair(dir.path());
    east.publish("orders", &["one", "two"]);
    east.publish("short", &["one", "two"]);
    west.has("orders", 2);
    west.has("short", 2);
    east.kill();
    let backup = dir.path().join("backup");
    copy_dir(&east.data, &backup);
    east.restart();
    east.publish("orders", &["of before", "and gone"]);
    east.publish("short", &["of before", "and gone"]);
    west.has("orders", 4);
    west.has("short", 4);
    let kept = west.records("orders");
    // Nobody sees it before it is longer than the copy: only what differs tells then.
    line.cut();
    east.kill();
    std::fs::remove_dir_all(&east.data).expect("removed");
    copy_dir(&backup, &east.data);
    east.restart();
    // As many again, in the same start of the broker as those that are gone: only they differ.
    east.publish("orders", &["three", "four", "five"]);
    east.publish("fine", &["one"]);
    line.mend();
    for channel in ["orders", "short"] {
        is_stopped(&west, channel, "DIVERGED");
    }
    west.has("fine", 1);
    assert_eq!(west.records("orders"), kept);
    let verified = west.run(&["region", "verify", "orders", "--json"]);
    let verified = String::from_utf8_lossy(&verified.out).into_owned();
    assert!(!verified.contains("\"equal\":true"), "{verified}");
}

#[test]
fn f6_36_interest_comes_and_goes_overlaps_and_is_the_same_after_restarts_and_cuts() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut east, line, mut west) = pair(dir.path());
    west.run(&["interest", "remove", ">"]).ok();
    let add = |west: &Region, pattern: &str| {
        west.run(&["interest", "add", pattern, "--from", "start"])
            .ok();
    };
    for _ in 0..5 {
        add(&west, "ml.>");
        add(&west, "ml.models");
        west.run(&["interest", "remove", "ml.>"]).ok();
    }
    east.publish("ml.models", &["1"]);
    east.publish("ml.other", &["1"]);
    west.has("ml.models", 1);
    assert!(west.copy("ml.other").is_none());
    // Overlapping, each record crosses once.
    add(&west, "ml.>");
    add(&west, "ml.*");
    east.publish("ml.models", &["2"]);
    west.has("ml.models", 2);
    west.has("ml.other", 1);
    assert_eq!(
        west.received(),
        east.status()["sentBytes"].as_u64().expect("bytes")
    );
    // Interest is declared while nobody can be asked, and either side starts again.
    line.cut();
    add(&west, "late");
    east.publish("late", &["1"]);
    west.kill();
    west.restart();
    line.mend();
    west.has("late", 1);
    east.kill();
    east.restart();
    east.publish("late", &["2"]);
    west.has("late", 2);
    for channel in ["late", "ml.models", "ml.other"] {
        is_equal(&east, &west, channel);
    }
}

#[test]
fn f6_37_in_a_ring_every_record_crosses_each_line_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["us-east", "eu-west", "ap-south"];
    let mut ring: Vec<Region> = Vec::new();
    for name in names {
        let others: Vec<&Region> = ring.iter().collect();
        ring.push(Region::start(dir.path(), name, &others));
    }
    for at in 0..3 {
        let others = (0..3).filter(|other| *other != at);
        let peers = others.map(|other| format!("{}={}", names[other], ring[other].url()));
        let peers: Vec<String> = peers.collect();
        ring[at].kill();
        ring[at].peers = peers;
        ring[at].restart();
        ring[at]
            .run(&["interest", "add", ">", "--from", "start"])
            .ok();
    }
    let mut draws = Draws(seed());
    let mut end = 0;
    for _ in 0..5 {
        for (at, name) in names.iter().enumerate() {
            end = publish(
                &ring[at],
                &format!("of.{name}"),
                &lines(&mut draws, 40, 300),
            );
        }
    }
    for (at, name) in names.iter().enumerate() {
        for copy in (0..3).filter(|copy| *copy != at) {
            let channel = format!("of.{name}");
            ring[copy].has(&channel, end);
            is_equal(&ring[at], &ring[copy], &channel);
        }
    }
    let sent: u64 = ring
        .iter()
        .map(|region| region.status()["sentBytes"].as_u64().expect("bytes"))
        .sum();
    let bytes = |at: usize| raw(&ring[at], &format!("of.{}", names[at])).len() as u64;
    assert_eq!(
        sent,
        2 * (0..3).map(bytes).sum::<u64>(),
        "to each of the two others once"
    );
}

#[test]
fn f6_39_one_damaged_log_stalls_no_other() {
    let mut draws = Draws(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let (mut east, line, west) = pair(dir.path());
    let seen = publish(&east, "bad", &lines(&mut draws, 20, 900));
    west.has("bad", seen);
    line.cut();
    let mut end = seen;
    for _ in 0..10 {
        end = publish(&east, "bad", &lines(&mut draws, 40, 900));
        publish(&east, "good", &lines(&mut draws, 40, 900));
    }
    let info = east.run(&["channel", "info", "bad", "--json"]).json();
    let id = info["incarnation"].as_str().expect("an id");
    assert_eq!(east.stop(), 0, "all is in its segments");
    let segment = east
        .data
        .join("channels")
        .join(id)
        .join("00000000000000000000.log");
    let mut bytes = std::fs::read(&segment).expect("a segment");
    let middle = bytes.len() / 2;
    bytes[middle..middle + 64]
        .iter_mut()
        .for_each(|byte| *byte ^= 0x55);
    std::fs::write(&segment, bytes).expect("written");
    east.restart();
    line.mend();
    let stopped = is_stopped(&west, "bad", "DAMAGED");
    assert!(stopped["next"].as_u64() < Some(end), "{stopped}");
    let more = publish(&east, "good", &lines(&mut draws, 400, 900));
    west.has("good", more);
    is_equal(&east, &west, "good");
    // What it has is served, and nothing else.
    let here = west.records("bad");
    assert_eq!(
        here.len() as u64,
        stopped["next"].as_u64().expect("an offset")
    );
}

fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("a type").is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("copied");
        }
    }
}
