//! The loose ends of moves: what a loser has set aside is published again, each record once; what a
//! forced move may have lost is named after restarts too, and taken off the list by who has seen to it.

use std::process::Stdio;

use npayload::client::{BatchAck, Client};
use npayload::format::NewRecord;
use npayload::types::{ChannelName, ProducerId};
use serde_json::{Value, json};

use crate::process::{Ran, wait_for};
use crate::regions::{Region, copy_dir, raw};
use crate::regions_move::{
    aside, is_equal, knows_home, move_to, moved, payloads, publish, regions,
};

/// Two regions, of which the second has taken `orders` over from the first by force; the first is back
/// and has set `lines` aside. The file's name.
fn overtaken(east: &mut Region, west: &mut Region, lines: &[&str]) -> String {
    publish(east, "orders", "kept");
    west.has("orders", 1);
    west.kill();
    east.publish("orders", lines);
    east.kill();
    west.restart();
    move_to(west, "orders", "eu-west", true);
    east.restart();
    knows_home(east, "orders", "eu-west");
    let row = wait_for("what was set aside", || set_aside(east).first().cloned());
    west.linked();
    east.has("orders", 1);
    row["place"].as_str().expect("a place").to_owned()
}

fn set_aside(region: &Region) -> Vec<Value> {
    let status = region.status();
    status["aside"].as_array().cloned().unwrap_or_default()
}

fn republish(region: &Region, file: &str, more: &[&str]) -> Value {
    let args = ["region", "republish", file, "--json"];
    region.run(&[&args[..], more].concat()).json()
}

fn sorted(region: &Region, channel: &str) -> Vec<String> {
    let mut lines: Vec<String> = region.records(channel).into_values().collect();
    lines.sort();
    lines
}

/// Two of the regions of a test.
fn two(all: &mut [Region]) -> [&mut Region; 2] {
    let [one, other, ..] = all else {
        panic!("two at least")
    };
    [one, other]
}

#[test]
fn what_was_set_aside_is_published_again_once_however_often_it_is_asked_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 2);
    let [east, west] = two(&mut all);
    let file = overtaken(east, west, &["lost 0", "lost 1", "lost 2"]);
    // Looking at it publishes nothing.
    let told = republish(east, &file, &["--dry-run"]);
    assert_eq!(
        (
            &told["records"],
            &told["published"],
            &told["to"],
            &told["from"]
        ),
        (&json!(3), &json!(0), &json!("orders"), &json!(1)),
        "{told}"
    );
    assert_eq!(west.records("orders").len(), 1);
    // The home is the other region now; the records go there.
    let told = republish(east, &file, &[]);
    assert_eq!(
        (
            &told["published"],
            &told["alreadyThere"],
            &told["firstOffset"],
            &told["lastOffset"]
        ),
        (&json!(3), &json!(0), &json!(1), &json!(3)),
        "{told}"
    );
    is_equal(west, east, "orders", 4);
    assert_eq!(
        sorted(west, "orders"),
        ["kept", "lost 0", "lost 1", "lost 2"]
    );
    let row = set_aside(east).remove(0);
    assert_eq!(
        (
            &row["republished"][0]["to"],
            &row["republished"][0]["records"],
            &row["republished"][0]["done"]
        ),
        (&json!("orders"), &json!(3), &json!(true)),
        "{row}"
    );
    // Asked for again, by the file's name alone, after a restart too.
    let name = file.rsplit('/').next().expect("a name");
    for restart in [false, true] {
        if restart {
            east.kill();
            east.restart();
        }
        let told = republish(east, name, &[]);
        assert_eq!(
            (&told["published"], &told["alreadyThere"]),
            (&json!(0), &json!(3)),
            "{told}"
        );
    }
    assert_eq!(west.records("orders").len(), 4);
    // Another channel has it of its own.
    east.run(&["channel", "create", "late"]).ok();
    let text = east
        .run(&["region", "republish", &file, "--to", "late"])
        .ok();
    let text = String::from_utf8(text).expect("text");
    assert!(
        text.contains("3 records published to late, offsets 0 to 2"),
        "{text}"
    );
    assert_eq!(sorted(east, "late"), ["lost 0", "lost 1", "lost 2"]);
    // What is not there, or damaged, is said by name and place.
    let refused = east
        .run(&["region", "republish", "nothing.batches"])
        .fails(1);
    assert!(
        refused.contains("nothing.batches") && refused.contains("record"),
        "{refused}"
    );
    let refused = west.run(&["region", "republish", &file]).fails(1);
    assert!(refused.contains("not on the record"), "{refused}");
    let path = &aside(east)[0];
    let mut bytes = std::fs::read(path).expect("a file");
    let at = bytes.len() - 10;
    bytes[at] ^= 1;
    std::fs::write(path, bytes).expect("written");
    let refused = east
        .run(&["region", "republish", &file, "--to", "later"])
        .fails(1);
    assert!(
        refused.contains("damaged") && refused.contains("byte 0"),
        "{refused}"
    );
}

/// Begins to publish a file again, and waits until that is on the record.
fn begin(region: &Region, file: &str, times: usize) -> std::process::Child {
    let noted = |row: &Value| row["republished"][0]["at"].clone();
    let before = noted(&set_aside(region)[0]);
    let mut command = region
        .broker()
        .command(&["region", "republish", file, "--json"]);
    let child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let child = child.expect("it starts");
    wait_for(&format!("run {times} to be begun"), || {
        let now = noted(&set_aside(region)[0]);
        (now != before).then_some(())
    });
    child
}

fn ended(child: std::process::Child) -> Value {
    let output = child.wait_with_output().expect("it ends");
    let ran = Ran {
        code: output.status.code().unwrap_or(-1),
        out: output.stdout,
        err: String::from_utf8_lossy(&output.stderr).into_owned(),
    };
    ran.json()
}

#[test]
fn runs_that_are_killed_or_meet_publish_each_record_that_was_set_aside_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 2);
    let [east, west] = two(&mut all);
    let file = overtaken(east, west, &["lost 0", "lost 1", "lost 2"]);
    // While the home is away runs begin and get no further.
    west.kill();
    let mut killed = begin(east, &file, 1);
    killed.kill().expect("it runs");
    killed.wait().expect("it ends");
    let one = begin(east, &file, 2);
    let other = begin(east, &file, 3);
    west.restart();
    let (one, other) = (ended(one), ended(other));
    let sum = |name: &str| one[name].as_u64().unwrap() + other[name].as_u64().unwrap();
    assert_eq!(
        (sum("published"), sum("alreadyThere")),
        (3, 3),
        "{one} {other}"
    );
    assert_eq!(
        sorted(west, "orders"),
        ["kept", "lost 0", "lost 1", "lost 2"]
    );
    is_equal(west, east, "orders", 4);
}

#[test]
fn what_was_set_aside_of_an_encrypted_log_is_opened_by_the_region_that_has_its_keys() {
    let dir = tempfile::tempdir().expect("a directory");
    let key = dir.path().join("master.key");
    std::fs::write(
        &key,
        "6b65796b65796b65796b65796b65796b65796b65796b65796b65796b65796b65\n",
    )
    .expect("written");
    let args: Vec<String> = vec!["--master-key-file".into(), key.display().to_string()];
    let args: Vec<&'static str> = args.into_iter().map(|arg| &*arg.leak()).collect();
    let mut all = regions(dir.path(), 2);
    for region in &mut all {
        region.restart_with(args.clone().leak());
    }
    let [east, west] = two(&mut all);
    east.linked();
    west.linked();
    east.run(&["channel", "create", "orders", "--encryption", "on"])
        .ok();
    let file = overtaken(east, west, &["secret 0", "secret 1"]);
    let stored = std::fs::read(east.data.join(&file)).expect("a file");
    let found = stored.windows(6).any(|bytes| bytes == b"secret");
    assert!(!found, "it is encrypted at rest there too");
    let told = republish(east, &file, &[]);
    assert_eq!(
        (&told["published"], &told["records"]),
        (&json!(2), &json!(2)),
        "{told}"
    );
    assert_eq!(sorted(west, "orders"), ["kept", "secret 0", "secret 1"]);
    is_equal(west, east, "orders", 3);
    // The copy goes, and with it the log's keys: those that lie beside the file stay.
    east.run(&["region", "purge", "orders", "--yes"]).ok();
    east.run(&["channel", "create", "late"]).ok();
    let told = republish(east, &file, &["--to", "late"]);
    assert_eq!(told["published"], json!(2), "{told}");
    assert_eq!(sorted(east, "late"), ["secret 0", "secret 1"]);
    // Without them it is refused, by the key's number.
    let keys = east.data.join(format!("{file}.keys"));
    std::fs::remove_file(keys).expect("they lie there");
    east.run(&["channel", "create", "later"]).ok();
    let refused = east
        .run(&["region", "republish", &file, "--to", "later"])
        .fails(1);
    assert!(
        refused.contains("encrypted at rest with key 1"),
        "{refused}"
    );
    assert_eq!(sorted(east, "later"), Vec::<String>::new());
}

/// The records of an internal topic with what they say.
fn facts(region: &Region, topic: &str, kind: &str) -> Vec<Value> {
    let args = ["consume", topic, "--from", "start", "--json"];
    let lines = region.run(&args).json_lines();
    let facts = lines.iter().filter(|line| line["type"] == kind);
    facts.map(|line| line["payload"].clone()).collect()
}

#[test]
fn what_a_forced_move_may_have_lost_is_what_anybody_has_heard_of_and_listed_until_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 3);
    let [east, west, south] = &mut all[..] else {
        panic!("three")
    };
    // The home sends slowly, so that others hear of more than they get.
    south.restart_with(&["--peer-pack", "false"]);
    south.linked();
    publish(east, "orders", "kept");
    west.has("orders", 1);
    south.has("orders", 1);
    // That it was heard of at all is recorded first, and what is beyond the copy as it comes.
    wait_for("the record of the first word", || {
        let seen = facts(south, "__copies", "copy.seen");
        (!seen.is_empty()).then_some(())
    });
    west.kill();
    south.kill();
    east.restart_with(&["--peer-bandwidth", "65536"]);
    let line = "x".repeat(60_000);
    let lines = vec![line.as_str(); 40];
    east.publish("orders", &lines);
    south.restart();
    // The one that hears of it is killed, and its own home with it.
    let heard = wait_for("the record of what was heard", || {
        let seen = facts(south, "__copies", "copy.seen");
        seen.into_iter().rfind(|seen| seen["flushed"] == 41)
    });
    assert_eq!(
        (&heard["home"], &heard["term"]),
        (&json!("us-east"), &json!(0)),
        "{heard}"
    );
    east.kill();
    south.kill();
    west.restart();
    south.restart();
    wait_for("the link between those that are left", || {
        let status = west.status();
        let mut links = status["links"].as_array()?.iter();
        links.find(|link| link["peer"] == "ap-south" && link["state"] == "open")?;
        Some(())
    });
    let held = south.copy("orders").expect("a copy")["next"]
        .as_u64()
        .unwrap();
    assert!(held < 41, "{held} of 41: it was not slow");
    let told = move_to(west, "orders", "eu-west", true);
    assert_eq!(
        (
            &told["start"],
            &told["missing"]["from"],
            &told["missing"]["to"]
        ),
        (&json!(held), &json!(held), &json!(41)),
        "{told}"
    );
    knows_home(south, "orders", "eu-west");
    let listed = |region: &Region| moved(region, "orders").expect("a row")["missing"].clone();
    for region in [&*west, &*south] {
        assert_eq!(listed(region), json!([{"from": held, "to": 41}]));
    }
    // Seen to in one region it is off the list in all, and after restarts; the claim keeps it.
    let told = south
        .run(&["region", "acknowledge", "orders", "--json"])
        .json();
    assert_eq!(
        told["acknowledged"],
        json!([{"by": "eu-west", "term": 1, "from": held, "to": 41}]),
        "{told}"
    );
    let told = south
        .run(&["region", "acknowledge", "orders", "--json"])
        .json();
    assert_eq!(told["acknowledged"], json!([]), "{told}");
    wait_for("the home to know", || {
        (listed(west) == Value::Null).then_some(())
    });
    west.kill();
    west.restart();
    assert_eq!(listed(west), Value::Null);
    let claims = facts(west, "__homes", "home.taken");
    assert_eq!(
        claims[0]["missing"],
        json!({"from": held, "to": 41}),
        "{claims:?}"
    );
    let refused = west.run(&["region", "acknowledge", "unknown"]);
    assert_ne!(refused.code, 0);
}

#[test]
fn f6_38_a_home_restored_from_a_backup_and_overtaken_sets_aside_all_that_is_not_in_the_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 2);
    let [east, west] = two(&mut all);
    let say = |region: &Region, life: &str, range: std::ops::Range<u64>| {
        for n in range {
            region.publish("orders", &[&format!("{life} {n}")]);
        }
    };
    say(east, "both", 0..5);
    west.has("orders", 5);
    east.kill();
    let backup = dir.path().join("backup");
    copy_dir(&east.data, &backup);
    east.restart();
    say(east, "first", 5..10);
    west.has("orders", 10);
    // It is put back to its backup and goes on, beyond what the copy has, unseen by it.
    east.kill();
    west.kill();
    std::fs::remove_dir_all(&east.data).expect("removed");
    copy_dir(&backup, &east.data);
    east.restart();
    say(east, "second", 5..13);
    east.kill();
    west.restart();
    let told = move_to(west, "orders", "eu-west", true);
    assert_eq!(told["start"], json!(10), "{told}");
    publish(west, "orders", "after 10");
    // Killed between what lies above the new home's first offset and what differs below it.
    east.restart();
    wait_for("the first that is set aside", || {
        set_aside(east).first().cloned()
    });
    east.kill();
    east.restart();
    knows_home(east, "orders", "eu-west");
    is_equal(west, east, "orders", 11);
    let rows = set_aside(east);
    let ranges: Vec<_> = rows
        .iter()
        .map(|row| {
            (
                row["reason"].clone(),
                row["from"].clone(),
                row["end"].clone(),
            )
        })
        .collect();
    assert_eq!(
        ranges,
        [
            (json!("overtaken"), json!(10), json!(13)),
            (json!("diverged"), json!(5), json!(10)),
        ]
    );
    let mut lines: Vec<String> = aside(east).iter().flat_map(|path| payloads(path)).collect();
    lines.sort();
    let mut second: Vec<String> = (5..13).map(|n| format!("second {n}")).collect();
    second.sort();
    assert_eq!(lines, second);
    // Of what the log had from before nothing is lost, and the copy is whole.
    let kept = west.records("orders").into_values().take(10);
    let both = (0..5).map(|n| format!("both {n}"));
    let first = (5..10).map(|n| format!("first {n}"));
    assert_eq!(
        kept.collect::<Vec<_>>(),
        both.chain(first).collect::<Vec<_>>()
    );
    assert_eq!(raw(east, "orders"), raw(west, "orders"));
    let verified = east.run(&["region", "verify", "orders", "--json"]).json();
    assert_eq!(verified["equal"], json!(true), "{verified}");
    // Both files go back into the channel, each record once.
    for row in &rows {
        republish(east, row["place"].as_str().expect("a place"), &[]);
    }
    let all: Vec<String> = west.records("orders").into_values().collect();
    assert_eq!(all.len(), 19, "{all:?}");
    assert!(second.iter().all(|line| all.contains(line)), "{all:?}");
}

#[test]
fn a_consumer_that_is_forgotten_while_the_link_is_away_is_forgotten_in_the_copy_once_it_is_back() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 2);
    let [east, west] = two(&mut all);
    east.publish("orders", &["one", "two", "three"]);
    west.has("orders", 3);
    for (consumer, offset) in [("stays", "1"), ("goes", "2"), ("comes-back", "2")] {
        east.run(&["consumer", "commit", "orders", consumer, offset])
            .ok();
    }
    let stand = |region: &Region| {
        let rows = region.run(&["consumer", "list", "orders", "--json"]).json();
        let rows = rows.as_array().cloned().unwrap_or_default();
        let rows = rows.iter().map(|row| {
            let name = row["consumer"].as_str().expect("a name").to_owned();
            (name, row["offset"].as_u64().expect("an offset"))
        });
        rows.collect::<std::collections::BTreeMap<_, _>>()
    };
    wait_for("positions to travel", || {
        (stand(west).len() == 3).then_some(())
    });
    west.kill();
    for consumer in ["goes", "comes-back"] {
        let gone = ["consumer", "delete", "orders", consumer, "--yes"];
        east.run(&gone).ok();
    }
    // What was forgotten is known after a restart, and one that is placed again is not forgotten.
    east.kill();
    east.restart();
    east.run(&["consumer", "commit", "orders", "comes-back", "3"])
        .ok();
    west.restart();
    let wanted = [("comes-back".to_owned(), 3), ("stays".to_owned(), 1)].into();
    let mut last = stand(west);
    wait_for(&format!("the same as at home: {last:?}"), || {
        last = stand(west);
        (last == wanted).then_some(())
    });
    assert_eq!(stand(east), wanted);
}

/// Two regions with a channel of which each has a log, and all of the other's.
fn each(dir: &std::path::Path) -> Vec<Region> {
    let mut all = regions(dir, 2);
    let [east, west] = two(&mut all);
    east.run(&["interest", "add", "jobs", "--from", "start"])
        .ok();
    east.run(&["channel", "create", "jobs", "--regions", "each"])
        .ok();
    east.publish("jobs", &["east 0", "east 1", "east 2"]);
    west.has("jobs@us-east", 3);
    west.publish("jobs", &["west 0", "west 1"]);
    east.has("jobs@eu-west", 2);
    all
}

#[test]
fn a_consumer_of_all_regions_logs_is_moved_in_all_of_them_at_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = each(dir.path());
    let [east, _west] = two(&mut all);
    let commit = [
        "consumer",
        "commit",
        "jobs",
        "reader",
        "eu-west=1,us-east=1",
    ];
    east.run(&commit).ok();
    let rows = east
        .run(&["consumer", "reset", "jobs", "reader", "end", "--json"])
        .json();
    let ends: Vec<_> = rows
        .as_array()
        .expect("rows")
        .iter()
        .map(|row| (row["channel"].clone(), row["offset"].clone()))
        .collect();
    assert_eq!(
        ends,
        [
            (json!("jobs@eu-west"), json!(2)),
            (json!("jobs@us-east"), json!(3))
        ]
    );
    // Both positions are one entry: in all logs or in none.
    let args = ["consume", "__consumers", "--from", "start", "--json"];
    let lines = east.run(&args).json_lines();
    let [.., one, other] = &lines[..] else {
        panic!("records")
    };
    for line in [one, other] {
        assert_eq!(line["payload"]["consumer"], "reader", "{line}");
    }
    assert_eq!(one["appendTime"], other["appendTime"]);
    let refused = east.run(&["consumer", "reset", "jobs", "reader", "1"]);
    refused.fails_with_usage();
}

#[test]
fn deleting_a_channel_with_a_log_for_each_region_says_which_and_deletes_all_where_that_is_asked_for()
 {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = each(dir.path());
    let [east, west] = two(&mut all);
    let refused = east.run(&["channel", "delete", "jobs"]);
    assert_eq!(refused.code, 2);
    let said = refused.err;
    assert!(
        said.contains("jobs@us-east (3 records)") && said.contains("also jobs@eu-west (2 records)"),
        "{said}"
    );
    let refused = west.run(&["channel", "delete", "jobs", "--everywhere"]);
    assert_eq!(refused.code, 2);
    let said = refused.err;
    assert!(
        said.contains("all of them") && said.contains("jobs@us-east"),
        "{said}"
    );
    // While one of them can't be reached nothing is deleted.
    west.kill();
    let delete = ["channel", "delete", "jobs", "--everywhere", "--yes"];
    wait_for("the link to be lost", || {
        let status = east.status();
        (status["links"][0]["state"] != "open").then_some(())
    });
    let refused = east.broker().command(&delete).output().expect("it runs");
    assert!(!refused.status.success());
    assert_eq!(east.records("jobs@us-east").len(), 3);
    west.restart();
    west.linked();
    east.linked();
    // One region's own log, and what stays.
    let text = String::from_utf8(west.run(&["channel", "delete", "jobs", "--yes"]).ok());
    let text = text.expect("text");
    assert!(
        text.contains("jobs@eu-west") && text.contains("stay"),
        "{text}"
    );
    assert_eq!(east.records("jobs@us-east").len(), 3);
    // All that are left, from the region that has none of its own any more.
    west.run(&["interest", "remove", ">"]).ok();
    let delete = [
        "channel",
        "delete",
        "jobs",
        "--everywhere",
        "--yes",
        "--json",
    ];
    let done = west.run(&delete).json();
    assert_eq!(done["deleted"][0]["name"], json!("jobs@us-east"), "{done}");
    assert_eq!(done["purged"], json!(["jobs@us-east"]), "{done}");
    // The other region has deleted its own log with that; its copy of what was deleted stays.
    let listed = east.run(&["channel", "list", "--json"]).json();
    let listed = listed.as_array().expect("rows").iter();
    let listed: Vec<_> = listed.map(|row| row["name"].clone()).collect();
    assert_eq!(listed, ["jobs@eu-west"]);
    let info = west.run(&["channel", "info", "jobs"]);
    let left = String::from_utf8_lossy(&info.out);
    assert_ne!(info.code, 0, "nothing of it is left: {left}");
}

/// Publishes records as a producer of this identity from its first sequence on: what the first
/// acknowledgement says.
async fn publish_as(region: &Region, id: u128, outbox: bool, line: &str) -> BatchAck {
    let client = Client::connect(&region.url()).await.expect("a connection");
    let channel = ChannelName::parse("orders").expect("a name");
    let producer = client.producer(channel).producer_id(ProducerId(id));
    let producer = producer.outbox(outbox).build();
    let mut acks = producer.acks();
    let record = NewRecord {
        payload: Some(line.as_bytes()),
        ..NewRecord::default()
    };
    let _ticket = producer.publish(&record).await.expect("taken");
    producer.flush().await.expect("acknowledged");
    acks.recv().await.expect("an acknowledgement")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_sent_again_is_known_at_its_home_whichever_way_it_came() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut all = regions(dir.path(), 2);
    let [east, west] = two(&mut all);
    publish(east, "orders", "before");
    west.has("orders", 1);
    // Whoever lost the answer sends the same again, to a region that forwards it.
    let first = publish_as(west, 7, false, "forwarded").await;
    let again = publish_as(west, 7, false, "forwarded").await;
    assert!(!first.duplicate && again.duplicate, "{first:?} {again:?}");
    assert_eq!(again.first_offset, first.first_offset);
    // One that the home has, whose answer was lost, waits in the outbox all the same.
    let first = publish_as(west, 8, true, "kept").await;
    assert!(!first.outbox, "{first:?}");
    east.kill();
    let again = publish_as(west, 8, true, "kept").await;
    assert!(again.outbox, "{again:?}");
    publish_as(west, 9, true, "behind it").await;
    east.restart();
    wait_for("an empty outbox", || {
        let status = west.status();
        let rows = status["outboxes"].as_array().map_or(0, Vec::len);
        (rows == 0).then_some(())
    });
    let lines: Vec<String> = east.records("orders").into_values().collect();
    assert_eq!(lines, ["before", "forwarded", "kept", "behind it"]);
    is_equal(east, west, "orders", 4);
}
