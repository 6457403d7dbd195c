//! Channels that are deleted while other regions have copies of them, and are made again elsewhere; and
//! regions that lose their data directory and are begun anew.

use std::fs;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::process::{Ran, wait_for};
use crate::regions::{Region, kept_key, over_line};
use crate::regions_access::said_of_access;
use crate::regions_dir::{has_joined, mesh};
use crate::regions_move::{knows_home, move_to};
use crate::regions_unknown::{damage_end, taken_over, tells_of_homes};

fn texts(region: &Region, channel: &str) -> Vec<String> {
    region.records(channel).into_values().collect()
}

fn try_publish(region: &Region, channel: &str, line: &str) -> Ran {
    let input = format!("{line}\n");
    let args = ["publish", channel, "--timeout-s", "1"];
    region.broker().run_with(&args, input.as_bytes())
}

/// Waits until a region knows that what it has of a channel is what is left of it.
fn is_over(region: &Region, channel: &str) {
    wait_for("the copy to say that its channel was deleted", || {
        let copy = region.copy(channel)?;
        let error = copy["error"].as_str().unwrap_or_default();
        error.starts_with("CHANNEL_NOT_FOUND").then_some(())
    });
}

/// The name under which what is left of a deleted channel is kept.
fn aside(region: &Region) -> String {
    wait_for("what is kept beside", || {
        let status = region.status();
        let row = status["aside"].as_array()?.first().cloned()?;
        assert_eq!(row["reason"], "recreated", "{row}");
        row["place"].as_str().map(str::to_owned)
    })
}

/// Three regions, of which the last has published to `orders`; the others have all of it.
fn copied(dir: &Path) -> [Region; 3] {
    let [south, west, east] = mesh(dir, ["ap-south", "eu-west", "us-east"]);
    for region in [&south, &west] {
        region
            .run(&["interest", "add", ">", "--from", "start"])
            .ok();
    }
    east.publish("orders", &["old"]);
    south.has("orders", 1);
    west.has("orders", 1);
    [south, west, east]
}

#[test]
fn a_channel_that_was_deleted_at_its_home_is_made_again_in_a_region_that_has_a_copy() {
    let dir = tempfile::tempdir().expect("a directory");
    let [south, mut west, east] = copied(dir.path());
    // While it is there, there is none to be made.
    let refused = west.run(&["channel", "create", "orders"]).fails(1);
    assert!(refused.contains("CHANNEL_EXISTS"), "{refused}");
    east.run(&["channel", "delete", "orders", "--yes"]).ok();
    for region in [&south, &west] {
        is_over(region, "orders");
        // Reads go on; nobody else is told anything but that there is no such channel.
        assert_eq!(texts(region, "orders"), ["old"]);
        let refused = try_publish(region, "orders", "late");
        assert!(refused.err.contains("CHANNEL_NOT_FOUND"), "{}", refused.err);
        let refused = region.run(&["channel", "delete", "orders", "--yes"]);
        assert!(refused.err.contains("CHANNEL_NOT_FOUND"), "{}", refused.err);
    }
    west.run(&["channel", "create", "orders"]).ok();
    assert_eq!(west.publish("orders", &["new", "newer"]), 0);
    let place = aside(&west);
    assert_eq!(texts(&west, &place), ["old"]);
    // The others follow the one that the directory names, and keep beside what they have.
    south.has("orders", 2);
    assert_eq!(texts(&south, "orders"), ["new", "newer"]);
    assert_eq!(aside(&south), place);
    assert_eq!(texts(&south, &place), ["old"]);
    assert_eq!(texts(&east, "orders"), ["new", "newer"]);
    west.kill();
    west.restart();
    assert_eq!(texts(&west, "orders"), ["new", "newer"]);
    assert_eq!(texts(&west, &place), ["old"]);
    assert_eq!(west.publish("orders", &["newest"]), 2);
    south.has("orders", 3);
}

#[test]
fn what_is_left_of_a_deleted_channel_goes_whatever_interest_there_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let [south, west, east] = copied(dir.path());
    let refused = west.run(&["region", "purge", "orders", "--yes"]).fails(1);
    assert!(refused.contains("PURGE_REFUSED"), "{refused}");
    east.run(&["channel", "delete", "orders", "--yes"]).ok();
    is_over(&west, "orders");
    west.run(&["region", "purge", "orders", "--yes"]).ok();
    assert!(west.copy("orders").is_none());
    // Where the directory is at home, it is the same.
    is_over(&south, "orders");
    south.run(&["channel", "create", "orders"]).ok();
    south.publish("orders", &["new"]);
    assert_eq!(texts(&south, &aside(&south)), ["old"]);
    west.has("orders", 1);
    assert_eq!(texts(&west, "orders"), ["new"]);
}

#[test]
fn a_channel_that_was_moved_away_is_not_made_again_where_its_copy_was_purged() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut south, west] = mesh(dir.path(), ["ap-south", "eu-west"]);
    south.publish("orders", &["one"]);
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    west.has("orders", 1);
    move_to(&west, "orders", "eu-west", false);
    knows_home(&south, "orders", "eu-west");
    wait_for("the copy to go", || {
        let purged = south.run(&["region", "purge", "orders", "--yes"]);
        (purged.code == 0).then_some(())
    });
    south.kill();
    south.restart();
    south.linked();
    let refused = south.run(&["channel", "create", "orders"]).fails(1);
    assert!(refused.contains("CHANNEL_EXISTS"), "{refused}");
    assert_eq!(south.publish("orders", &["two"]), 1);
    assert_eq!(texts(&west, "orders"), ["one", "two"]);
}

#[test]
fn a_kill_while_what_another_region_says_of_homes_is_brought_anew_makes_no_second_writer() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut east, line, mut west) = over_line(dir.path());
    taken_over(&mut east, &mut west);
    damage_end(&tells_of_homes(&west).expect("the topic"));
    // The line is slow enough for a kill between the end of the old one and the new one.
    line.set(|line| line.delay = Duration::from_secs(2));
    west.restart();
    wait_for("the copy to be removed", || {
        tells_of_homes(&west).is_none().then_some(())
    });
    west.kill();
    line.cut();
    for _ in 0..2 {
        west.restart();
        let refused = try_publish(&west, "orders", "of eu-west alone");
        assert!(refused.err.contains("DAMAGED"), "{}", refused.err);
        assert!(refused.err.contains("us-east"), "{}", refused.err);
        let told = west.copy("__homes@us-east").expect("it is told");
        let error = told["error"].as_str().expect("a reason");
        assert!(error.starts_with("DAMAGED"), "{error}");
        west.kill();
    }
    line.mend();
    west.restart();
    knows_home(&west, "orders", "us-east");
    wait_for("eu-west to send what it is asked for to its home", || {
        let ran = try_publish(&west, "orders", "by way of eu-west");
        (ran.code == 0).then_some(())
    });
    assert!(
        west.copy("__homes@us-east").is_none(),
        "nothing is to be done"
    );
    assert_eq!(texts(&east, "orders"), ["one", "by way of eu-west"]);
}

fn key(region: &Region, file: &Path) -> String {
    let made = region.run(&["key", "create", "a key", "--scope", "consume", "--json"]);
    kept_key(&made.json(), file)
}

/// Reads in a region with a key.
fn reads(region: &Region, key: &str) -> Ran {
    region.with_key(key, &["consume", "orders", "--from", "start"])
}

/// The region loses its data directory, and is begun anew under its name.
fn begin_anew(region: &mut Region) {
    region.kill();
    fs::remove_dir_all(&region.data).expect("the data directory");
    region.restart();
}

#[test]
fn the_keys_of_a_region_that_was_begun_anew_count_and_those_of_before_do_not() {
    let dir = tempfile::tempdir().expect("a directory");
    let [mut west, mut east] = mesh(dir.path(), ["eu-west", "us-east"]);
    west.publish("orders", &["one"]);
    let old = key(&east, &dir.path().join("old"));
    wait_for("the key to have come", || {
        (reads(&west, &old).code == 0).then_some(())
    });
    begin_anew(&mut east);
    has_joined(&east, &["eu-west", "us-east"]);
    let new = key(&east, &dir.path().join("new"));
    wait_for("the key to have come", || {
        (reads(&west, &new).code == 0).then_some(())
    });
    for _ in 0..2 {
        let refused = reads(&west, &old);
        assert_ne!(refused.code, 0, "it opens nothing any more");
        assert!(
            west.copy("__access@us-east").is_none(),
            "nothing is to be done"
        );
        west.kill();
        west.restart();
        west.linked();
    }
    assert_eq!(reads(&west, &new).code, 0);
    // Whoever has it is none of those of before.
    let met = said_of_access(&west, "principal.met");
    let numbers: Vec<&Value> = met.iter().map(|fact| &fact["principal"]).collect();
    assert!(met.len() >= 2 && numbers[0] != numbers[1], "{met:?}");
}

#[test]
fn what_a_region_said_of_homes_before_it_was_begun_anew_is_told_and_stays_where_it_counts() {
    let dir = tempfile::tempdir().expect("a directory");
    let [west, mut east] = mesh(dir.path(), ["eu-west", "us-east"]);
    west.publish("orders", &["one"]);
    east.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    east.has("orders", 1);
    move_to(&east, "orders", "us-east", false);
    knows_home(&west, "orders", "us-east");
    begin_anew(&mut east);
    let topic = "__homes@us-east";
    let error = wait_for("it to be told", || {
        let copy = west.copy(topic)?;
        copy["error"].as_str().map(str::to_owned)
    });
    assert!(error.contains("begun it anew"), "{error}");
    assert!(
        error.contains("`orders`") && error.contains("--force"),
        "{error}"
    );
    west.run(&["region", "retry", topic]).ok();
    let refused = west.run(&["region", "purge", topic, "--yes"]).fails(1);
    assert!(refused.contains("PURGE_REFUSED"), "{refused}");
    // What it asks for now has come all the same.
    wait_for("only that to be left", || {
        let status = west.status();
        let copies = status["copies"].as_array()?.iter();
        let told: Vec<&Value> = copies
            .map(|copy| &copy["name"])
            .filter(|name| name.as_str().is_some_and(|name| name.starts_with("__")))
            .collect();
        (told == [&json!(topic)]).then_some(())
    });
    // Whose records are gone takes no writes here by itself, and does by force.
    let refused = try_publish(&west, "orders", "two");
    assert_ne!(refused.code, 0);
    move_to(&west, "orders", "eu-west", true);
    assert_eq!(west.publish("orders", &["two"]), 1);
}
