//! Copies that are not whole, and lives of a channel beside each other: what a region keeps when its
//! home makes a channel again.

use std::time::Duration;

use npayload::client::{Client, RequestError};
use npayload::protocol::control::ConfigChange;
use npayload::protocol::region::InterestAdd;
use npayload::protocol::{ErrorCode, FetchBeyondRequest, FetchFrom, FetchRequest, Lacking};
use npayload::region::interest::Since;
use npayload::types::{ChannelName, LogEpoch, Offset};
use serde_json::Value;

use crate::process::wait_for;
use crate::regions::Region;

/// The names under which former lives of channels are kept.
fn asides(region: &Region) -> Vec<String> {
    let status = region.status();
    let rows = status["aside"].as_array();
    let places = rows.into_iter().flatten().map(|row| {
        assert_eq!(row["reason"], "recreated", "{row}");
        row["place"].as_str().expect("a name").to_owned()
    });
    places.collect()
}

fn texts(region: &Region, channel: &str) -> Vec<String> {
    region.records(channel).into_values().collect()
}

#[test]
fn lives_of_a_channel_are_kept_beside_each_other_until_they_are_purged() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.linked();
    // From the end: what is made again is wanted whole all the same.
    east.publish("orders", &["a 0"]);
    declare(&west, "orders", &["--from", "end"]);
    wait_for("the copy", || west.copy("orders"));
    east.publish("orders", &["a 1", "a 2", "a 3"]);
    west.has("orders", 4);
    let first = wait_for("all that is new", || {
        let records = west.records("orders");
        (records.len() == 3).then_some(records)
    });
    east.run(&["consumer", "commit", "orders", "billing", "2"])
        .ok();
    // Made again while this region is down, and twice.
    west.kill();
    east.run(&["channel", "delete", "orders", "--yes"]).ok();
    east.publish("orders", &["b 1", "b 2"]);
    west.restart();
    west.has("orders", 2);
    holds_the_same(&west, &east, "orders");
    assert_eq!(texts(&west, "orders"), ["b 1", "b 2"]);
    assert_eq!(west.copy("orders").expect("a copy")["beginsAt"], 0);
    let one = asides(&west);
    assert_eq!(one.len(), 1);
    assert!(one[0].starts_with("__aside."), "{one:?}");
    assert!(one[0].ends_with(".orders"), "{one:?}");
    assert_eq!(west.records(&one[0]), first);
    east.run(&["channel", "delete", "orders", "--yes"]).ok();
    assert_eq!(east.publish("orders", &["c 1"]), 0);
    let two = wait_for("a second life set aside", || {
        let asides = asides(&west);
        (asides.len() == 2).then_some(asides)
    });
    west.has("orders", 1);
    // Killed at any time: the same.
    west.kill();
    west.restart();
    west.has("orders", 1);
    assert_eq!(asides(&west), two);
    holds_the_same(&west, &east, "orders");
    assert_eq!(texts(&west, "orders"), ["c 1"]);
    assert_eq!(texts(&west, &two[1]), ["b 1", "b 2"]);
    assert_eq!(west.records(&two[0]), first);
    // Nobody writes to what is over, and nobody is offered it.
    let refused = west.broker().run_with(&["publish", &two[0]], b"late\n");
    assert_ne!(refused.code, 0, "{}", refused.err);
    let listed = west.run(&["channel", "list", "--json"]).ok();
    assert!(!String::from_utf8_lossy(&listed).contains("__aside"));
    // Each goes by its own name.
    west.run(&["region", "purge", &two[0], "--yes"]).ok();
    assert_eq!(asides(&west), two[1..]);
    assert_ne!(west.run(&["consume", &two[0], "--json"]).code, 0);
    west.kill();
    west.restart();
    west.has("orders", 1);
    assert_eq!(asides(&west), two[1..]);
    assert_eq!(texts(&west, &two[1]), ["b 1", "b 2"]);
    assert_eq!(east.publish("orders", &["c 2"]), 1);
    west.has("orders", 2);
    let verified: Value = west.run(&["region", "verify", "orders", "--json"]).json();
    assert_eq!(verified["equal"], true, "{verified}");
}

#[test]
fn only_the_home_of_a_copy_can_say_that_its_channel_was_made_again() {
    let dir = tempfile::tempdir().expect("a directory");
    // Two regions that do not know each other have a channel of one name each.
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let south = Region::start(dir.path(), "ap-south", &[]);
    east.publish("orders", &["of the east"]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.run(&["interest", "add", "*", "--from", "start"]).ok();
    west.has("orders", 1);
    south.publish("orders", &["of the south"]);
    south.publish("news", &["of the south"]);
    east.kill();
    west.kill();
    west.peers.push(format!("ap-south={}", south.url()));
    west.restart();
    west.has("news", 1);
    assert_eq!(texts(&west, "orders"), ["of the east"]);
    assert!(asides(&west).is_empty());
    east.restart();
    east.publish("orders", &["more of it"]);
    west.has("orders", 2);
    assert!(asides(&west).is_empty());
}

/// Waits until a copy begins at an offset, is followed, and has as much as `next`.
fn is_wide(region: &Region, channel: &str, begins_at: u64, next: u64) -> Value {
    wait_for(&format!("a wider copy of {channel}"), || {
        let copy = region.copy(channel)?;
        let is_it = copy["beginsAt"] == begins_at
            && copy["beside"].is_null()
            && copy["followed"] == true
            && copy["next"].as_u64() >= Some(next);
        is_it.then_some(copy)
    })
}

fn declare(region: &Region, channel: &str, more: &[&str]) {
    region
        .run(&[&["interest", "add", channel][..], more].concat())
        .ok();
}

fn publish_typed(region: &Region, channel: &str, record_type: &str, line: &str) {
    let args = ["publish", channel, "--type", record_type, "--json"];
    region
        .broker()
        .run_with(&args, format!("{line}\n").as_bytes())
        .ok();
}

/// Waits until one region shows all that another one does: what has come is shown once it is synced.
fn holds_the_same(region: &Region, home: &Region, channel: &str) {
    let all = home.records(channel);
    wait_for(&format!("all records of {channel}"), || {
        (region.records(channel) == all).then_some(())
    });
}

/// What is left in the folder of logs that are written beside others.
fn left_beside(region: &Region) -> usize {
    std::fs::read_dir(region.data.join("beside")).map_or(0, Iterator::count)
}

#[test]
fn interest_from_an_earlier_start_begins_the_copy_anew_beside_the_old_one() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.linked();
    let lines: Vec<String> = (0..200)
        .map(|n| format!("{n} {}", "x".repeat(2000)))
        .collect();
    let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
    east.run(&["channel", "create", "orders", "--segment-bytes", "65536"])
        .ok();
    east.publish("orders", &lines);
    declare(&west, "orders", &["--from", "end"]);
    wait_for("the copy", || west.copy("orders"));
    east.publish("orders", &["late 1", "late 2", "late 3"]);
    west.has("orders", 203);
    assert_eq!(west.copy("orders").expect("a copy")["beginsAt"], 200);
    east.run(&["consumer", "commit", "orders", "billing", "202"])
        .ok();
    let stands = |region: &Region| {
        let told = region.run(&["consumer", "list", "orders", "--json"]);
        String::from_utf8_lossy(&told.out).into_owned()
    };
    wait_for("the position", || {
        stands(&west).contains("billing").then_some(())
    });
    declare(&west, "orders", &["--from", "start"]);
    let copy = is_wide(&west, "orders", 0, 203);
    assert_eq!(copy["whole"], true, "{copy}");
    assert_eq!(east.records("orders").len(), 203);
    holds_the_same(&west, &east, "orders");
    assert!(stands(&west).contains("202"), "{}", stands(&west));
    // What came in its place frees what it took.
    wait_for("the old one's space", || {
        (left_beside(&west) == 0).then_some(())
    });
    east.publish("orders", &["later"]);
    west.has("orders", 204);
    for _ in 0..2 {
        let verified = west.run(&["region", "verify", "orders", "--json"]).json();
        assert_eq!(verified["equal"], true, "{verified}");
        holds_the_same(&west, &east, "orders");
        west.kill();
        west.restart();
        west.has("orders", 204);
    }
    // It is whole, so another region may have it from here.
    let south = Region::start(dir.path(), "ap-south", &[&west]);
    declare(&south, "orders", &["--from", "start"]);
    south.has("orders", 204);
    holds_the_same(&south, &east, "orders");
}

#[test]
fn more_types_are_brought_from_before_and_the_copy_serves_meanwhile() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    for (record_type, line) in [("a", "a 1"), ("b", "b 1"), ("c", "c 1"), ("a", "a 2")] {
        publish_typed(&east, "ml.models", record_type, line);
    }
    declare(&west, "ml.models", &["--from", "start", "--type", "a"]);
    west.has("ml.models", 4);
    let reads = |types: &[&str], wanted: &[&str]| {
        let mut args = vec!["consume", "ml.models", "--json"];
        types.iter().for_each(|of| args.extend(["--type", of]));
        wait_for(&format!("{wanted:?}"), || {
            let lines = west.run(&args).json_lines();
            let texts = lines.iter().map(|line| line["payloadText"].as_str());
            texts
                .eq(wanted.iter().map(|text| Some(*text)))
                .then_some(())
        });
    };
    reads(&["a"], &["a 1", "a 2"]);
    declare(&west, "ml.*", &["--from", "start", "--type", "b"]);
    let has_types = |west: &Region, types: Value| {
        wait_for(&format!("a copy of {types}"), || {
            let copy = west.copy("ml.models")?;
            (copy["types"] == types && copy["followed"] == true).then_some(())
        });
    };
    has_types(&west, serde_json::json!(["a", "b"]));
    west.has("ml.models", 4);
    reads(&["a", "b"], &["a 1", "b 1", "a 2"]);
    publish_typed(&east, "ml.models", "c", "c 2");
    publish_typed(&east, "ml.models", "b", "b 2");
    west.has("ml.models", 6);
    west.kill();
    west.restart();
    west.has("ml.models", 6);
    has_types(&west, serde_json::json!(["a", "b"]));
    declare(&west, "ml.>", &["--from", "start"]);
    has_types(&west, Value::Null);
    west.has("ml.models", 6);
    holds_the_same(&west, &east, "ml.models");
    let verified = west
        .run(&["region", "verify", "ml.models", "--json"])
        .json();
    assert_eq!(verified["equal"], true, "{verified}");
    assert_eq!(west.copy("ml.models").expect("a copy")["whole"], true);
}

#[test]
fn a_copy_that_is_killed_while_it_becomes_wider_is_the_one_or_the_other_and_ends_wide() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.linked();
    let text = "y".repeat(4000);
    let lines: Vec<&str> = (0..1000).map(|_| text.as_str()).collect();
    east.run(&["channel", "create", "orders", "--segment-bytes", "262144"])
        .ok();
    east.publish("orders", &lines);
    declare(&west, "orders", &["--from", "end"]);
    wait_for("the copy", || west.copy("orders"));
    east.publish("orders", &["late 1", "late 2"]);
    west.has("orders", 1002);
    let late = wait_for("what is late", || {
        let records = west.records("orders");
        (records.len() == 2).then_some(records)
    });
    declare(&west, "orders", &["--from", "start"]);
    // Killed as soon as it is under way, and a little later each time; once the home goes away too.
    for round in 0..6_u64 {
        let seen = wait_for("it to be under way, or done", || {
            let copy = west.copy("orders")?;
            let is_wide = copy["beginsAt"] == 0;
            let end = copy["beside"][1].as_u64();
            (is_wide || end.is_some_and(|end| end >= round * 150)).then_some(is_wide)
        });
        if round == 3 {
            east.kill();
        }
        west.kill();
        west.restart();
        if round == 3 {
            // Alone it shows what it has.
            let copy = west.copy("orders").expect("a copy");
            match copy["beginsAt"].as_u64() {
                Some(0) => assert_eq!(west.records("orders").len(), 1002),
                _ => assert_eq!(west.records("orders"), late),
            }
            east.restart();
        }
        if seen {
            break;
        }
    }
    is_wide(&west, "orders", 0, 1002);
    holds_the_same(&west, &east, "orders");
    east.publish("orders", &["later"]);
    west.has("orders", 1003);
    let verified = west.run(&["region", "verify", "orders", "--json"]).json();
    assert_eq!(verified["equal"], true, "{verified}");
    wait_for("the old one's space", || {
        (left_beside(&west) == 0).then_some(())
    });
}

/// Whether any file below a folder holds these bytes.
fn is_kept(dir: &std::path::Path, bytes: &[u8]) -> bool {
    let entries = std::fs::read_dir(dir).expect("a folder");
    entries
        .map(|entry| entry.expect("an entry").path())
        .any(|path| match path.is_dir() {
            true => is_kept(&path, bytes),
            false => {
                let found = std::fs::read(&path).unwrap_or_default();
                found.windows(bytes.len()).any(|window| window == bytes)
            }
        })
}

#[test]
fn what_a_copy_does_not_have_is_read_at_its_home_and_does_not_stay() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    west.linked();
    publish_typed(&east, "orders", "a", "early one");
    publish_typed(&east, "orders", "b", "early two");
    declare(&west, "orders", &["--from", "end", "--type", "a"]);
    wait_for("the copy", || west.copy("orders"));
    publish_typed(&east, "orders", "a", "late one");
    publish_typed(&east, "orders", "b", "late two");
    west.has("orders", 4);
    let all = east.records("orders");
    let consume = |more: &[&str]| west.run(&[&["consume", "orders", "--json"][..], more].concat());
    let texts = |more: &[&str]| {
        let lines = consume(more).json_lines();
        let texts = lines
            .iter()
            .map(|line| line["payloadText"].as_str().expect("text").to_owned());
        texts.collect::<Vec<_>>()
    };
    wait_for("what is late", || {
        (texts(&["--from", "2", "--type", "a"]) == ["late one"]).then_some(())
    });
    let received = west.received();
    // Below its first offset, and of other types: in order, at the same offsets.
    assert_eq!(
        texts(&["--from", "0", "--type", "a"]),
        ["early one", "late one"]
    );
    assert_eq!(west.records_from("orders", 0), all);
    assert_eq!(west.records_from("orders", 1).len(), 3);
    // Nothing of that stays, and nobody takes it for interest.
    assert_eq!(west.received(), received);
    for text in ["early one", "early two", "late two"] {
        assert!(!is_kept(&west.data, text.as_bytes()), "{text}");
    }
    assert!(is_kept(&west.data, b"late one"));
    assert_eq!(west.copy("orders").expect("a copy")["beginsAt"], 2);
    // Who does not want the home to be asked is told what the copy has.
    for more in [
        &["--from", "0", "--type", "a"][..],
        &["--from", "2", "--type", "a", "--type", "b"],
        &["--from", "2"],
    ] {
        let refused = consume(&[more, &["--no-home"]].concat());
        assert_ne!(refused.code, 0);
        assert!(
            refused.err.contains("begins at offset 2"),
            "{}",
            refused.err
        );
        assert!(refused.err.contains("only: a"), "{}", refused.err);
    }
    // While the home is away the copy serves what it has.
    east.kill();
    let more = ["--from", "2", "--type", "a", "--no-home"];
    assert_eq!(texts(&more), ["late one"]);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let refused = runtime.block_on(async {
        let builder = Client::builder().request_timeout(Duration::from_secs(1));
        let client = builder.connect(&west.url()).await.expect("a connection");
        let beyond = FetchBeyondRequest {
            lacking: Lacking::ReadHome,
            types: Vec::new(),
            fetch: FetchRequest {
                channel: ChannelName::parse("orders").expect("a name"),
                incarnation: None,
                from: FetchFrom::Offset(Offset(0)),
                last_epoch: LogEpoch(0),
                max_bytes: 1 << 20,
                min_bytes: 0,
                max_wait_ms: 0,
            },
        };
        client
            .fetch_beyond(beyond)
            .await
            .expect_err("the home is away")
    });
    let RequestError::Server(error) = refused else {
        panic!("{refused}");
    };
    assert_eq!(
        error.known(),
        Some(ErrorCode::RegionUnreachable),
        "{error:?}"
    );
    east.restart();
    wait_for("the home", || {
        let read = consume(&["--from", "0", "--type", "a"]);
        (read.code == 0 && read.json_lines().len() == 2).then_some(())
    });
}

/// Each log that is followed names the record types that are wanted of it, and a frame has an end.
#[tokio::test(flavor = "multi_thread")]
async fn many_channels_of_many_types_are_followed_whatever_a_frame_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let west = Region::start(dir.path(), "eu-west", &[&east]);
    let client = Client::connect(&east.url()).await.expect("a connection");
    for n in 0..60 {
        let name = ChannelName::parse(&format!("ml.many.{n}")).expect("a name");
        let made = client.create_channel(&name, ConfigChange::default(), false);
        made.await.expect("a channel");
    }
    let types = (0..100).map(|n| format!("{}{n}", "x".repeat(240)));
    let interest = InterestAdd {
        pattern: "ml.many.*".parse().expect("a pattern"),
        types: Some(types.collect()),
        from: Since::Start,
        retention_days: None,
    };
    let there = Client::connect(&west.url()).await.expect("a connection");
    there.add_interest(interest).await.expect("interest");
    wait_for("all copies", || {
        let status = west.status();
        let copies = status["copies"].as_array()?.iter();
        (copies.filter(|copy| copy["followed"] == true).count() >= 60).then_some(())
    });
}

#[test]
fn what_is_written_beside_a_copy_goes_with_the_copy_also_while_no_link_is_open() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    east.restart_with(&["--peer-bandwidth", "300000", "--peer-pack", "false"]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.restart_with(&["--peer-pack", "false"]);
    west.linked();
    let text = "y".repeat(4000);
    east.publish("orders", &vec![text.as_str(); 1000]);
    declare(&west, "orders", &["--from", "end"]);
    wait_for("the copy", || west.copy("orders"));
    declare(&west, "orders", &["--from", "start"]);
    wait_for("some of it", || {
        let end = west.copy("orders")?["beside"][1].as_u64();
        (end >= Some(1)).then_some(())
    });
    east.kill();
    wait_for("the end of the link", || {
        let status = west.status();
        let mut links = status["links"].as_array()?.iter();
        links.all(|link| link["state"] != "open").then_some(())
    });
    assert_eq!(left_beside(&west), 1);
    west.run(&["interest", "remove", "orders"]).ok();
    west.run(&["region", "purge", "orders", "--yes"]).ok();
    wait_for("its space", || (left_beside(&west) == 0).then_some(()));
}
