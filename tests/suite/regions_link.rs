//! From whom a copy is pulled, and what of it: several routes, record types, positions, shares of a
//! link.

use std::path::Path;
use std::time::Duration;

use npayload::client::Client;
use npayload::protocol::control::ConfigChange;
use npayload::protocol::region::LinkLogs;
use npayload::protocol::{RegionRequest, RegionResponse, Request, Response};
use npayload::types::ChannelName;
use serde_json::{Value, json};

use crate::line::Line;
use crate::process::wait_for;
use crate::regions::{Region, link_as, raw};

/// A region that pulls over these lines, and wants everything from the start.
fn wants_all(dir: &Path, name: &'static str, lines: &[(&str, &Line)]) -> Region {
    let peers = lines.iter();
    let peers = peers.map(|(peer, line)| format!("{peer}={}", line.url()));
    let region = Region::start_at(dir, name, peers.collect());
    region
        .run(&["interest", "add", ">", "--from", "start"])
        .ok();
    region
}

/// Publishes so many records; the offset after the last.
fn publish(region: &Region, channel: &str, count: usize) -> u64 {
    let text = "x".repeat(300);
    let first = region.publish(channel, &vec![text.as_str(); count]);
    first + count as u64
}

/// That two regions serve the same bytes.
fn is_equal(one: &Region, other: &Region, channel: &str) {
    // What was appended last may be readable a moment later.
    wait_for("the same bytes", || {
        (raw(one, channel) == raw(other, channel)).then_some(())
    });
    let told = other.copy(channel).expect("a copy");
    assert!(told["gaps"].is_null() && told["error"].is_null(), "{told}");
}

/// What a region says that the others hold of a channel.
fn held(region: &Region, channel: &str) -> Value {
    let status = region.status();
    let mut rows = status["held"].as_array().expect("rows").iter();
    let row = rows.find(|row| row["name"] == channel);
    row.map_or(Value::Null, |row| row["regions"].clone())
}

fn is_pulled_from(region: &Region, channel: &str, source: &str) {
    wait_for(&format!("{channel} to be pulled from {source}"), || {
        let copy = region.copy(channel)?;
        (copy["followed"] == true && copy["source"] == source).then_some(())
    });
}

#[test]
fn a_home_knows_what_each_region_holds_synced_and_forgets_who_has_left() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let line = Line::to(east.broker().address());
    let west = wants_all(dir.path(), "eu-west", &[("us-east", &line)]);
    let mut south = wants_all(dir.path(), "ap-south", &[("us-east", &line)]);
    let mut end = publish(&east, "orders", 3);
    let both = |end: u64| {
        json!([
            { "region": "ap-south", "offset": end },
            { "region": "eu-west", "offset": end },
        ])
    };
    let hold = |held_by: Value| {
        wait_for(&format!("what is held: {held_by}"), || {
            (held(&east, "orders") == held_by).then_some(())
        });
    };
    hold(both(end));
    // Nothing else comes that could bring it along.
    end = publish(&east, "orders", 1);
    hold(both(end));
    // What a region that is away has said stays true.
    south.kill();
    let more = publish(&east, "orders", 2);
    hold(json!([
        { "region": "ap-south", "offset": end },
        { "region": "eu-west", "offset": more },
    ]));
    south.restart();
    hold(both(more));
    west.run(&["interest", "remove", ">"]).ok();
    hold(json!([{ "region": "ap-south", "offset": more }]));
}

#[test]
fn a_hub_hands_on_what_it_has_whole_to_those_that_have_no_link_of_their_own() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let to_east = Line::to(east.broker().address());
    let mut hub = wants_all(dir.path(), "hub", &[("us-east", &to_east)]);
    let to_hub = Line::to(hub.broker().address());
    let west = wants_all(dir.path(), "eu-west", &[("hub", &to_hub)]);
    let south = Region::start_at(
        dir.path(),
        "ap-south",
        vec![format!("hub={}", to_hub.url())],
    );
    let mut end = publish(&east, "ml.models", 20);
    west.has("ml.models", end);
    is_pulled_from(&west, "ml.models", "hub");
    let copy = west.copy("ml.models").expect("a copy");
    assert_eq!(
        (&copy["home"], &copy["whole"]),
        (&json!("us-east"), &json!(true))
    );
    assert_eq!(copy["source"], "hub");
    // Cuts and kills on either side of the hub.
    for round in 0..6 {
        match round % 3 {
            0 => to_east.flap(),
            1 => to_hub.flap(),
            _ => {
                hub.kill();
                hub.restart();
            }
        }
        end = publish(&east, "ml.models", 50);
    }
    west.has("ml.models", end);
    is_equal(&east, &west, "ml.models");
    let verified = west
        .run(&["region", "verify", "ml.models", "--json"])
        .json();
    assert_eq!(
        (&verified["equal"], &verified["home"]),
        (&json!(true), &json!("hub"))
    );
    // While its home is away, a hub still serves what it has.
    east.kill();
    south
        .run(&["interest", "add", "ml.*", "--from", "start"])
        .ok();
    south.has("ml.models", end);
    is_equal(&west, &south, "ml.models");
    east.restart();
    end = publish(&east, "ml.models", 5);
    south.has("ml.models", end);
    is_equal(&east, &south, "ml.models");
}

#[test]
fn in_a_ring_a_copy_is_pulled_the_other_way_round_while_its_home_is_out_of_reach() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let west_to_east = Line::to(east.broker().address());
    let south_to_east = Line::to(east.broker().address());
    let mut west = wants_all(dir.path(), "eu-west", &[("us-east", &west_to_east)]);
    let to_west = Line::to(west.broker().address());
    let south = wants_all(
        dir.path(),
        "ap-south",
        &[("us-east", &south_to_east), ("eu-west", &to_west)],
    );
    let to_south = Line::to(south.broker().address());
    west.kill();
    west.peers.push(format!("ap-south={}", to_south.url()));
    west.restart();
    let mut end = publish(&east, "all", 20);
    for region in [&west, &south] {
        region.has("all", end);
        is_pulled_from(region, "all", "us-east");
    }
    for (cut, away, other) in [
        (&south_to_east, &south, "eu-west"),
        (&west_to_east, &west, "ap-south"),
    ] {
        cut.cut();
        end = publish(&east, "all", 50);
        away.has("all", end);
        is_pulled_from(away, "all", other);
        end = publish(&east, "all", 50);
        away.has("all", end);
        // The home comes first again as soon as it is there.
        cut.mend();
        is_pulled_from(away, "all", "us-east");
    }
    // Both are cut off, and may pull from each other; either way back brings both on.
    for back in [&west_to_east, &south_to_east] {
        west_to_east.cut();
        south_to_east.cut();
        end = publish(&east, "all", 30);
        wait_for("both to be cut off", || {
            let is_off = |region: &Region| {
                let links = region.status()["links"].clone();
                let mut links = links.as_array().expect("rows").iter();
                links.any(|link| link["peer"] == "us-east" && link["state"] != "open")
            };
            (is_off(&west) && is_off(&south)).then_some(())
        });
        back.mend();
        west.has("all", end);
        south.has("all", end);
    }
    west_to_east.mend();
    for region in [&west, &south] {
        is_equal(&east, region, "all");
    }
}

#[test]
fn batches_without_the_types_asked_for_do_not_cross() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    let typed = |east: &Region, record_type: &str, count: usize| {
        let text = ("x".repeat(500) + "\n").repeat(count);
        let args = ["publish", "ml.models", "--type", record_type, "--json"];
        let told = east.broker().run_with(&args, text.as_bytes()).json();
        told["firstOffset"].as_u64().expect("an offset") + count as u64
    };
    typed(&east, "model.trained", 200);
    let add = [
        "interest",
        "add",
        "ml.>",
        "--from",
        "start",
        "--type",
        "model.deployed",
    ];
    west.run(&add).ok();
    let wanted = typed(&east, "model.deployed", 1);
    let mut end = typed(&east, "model.trained", 200);
    west.has("ml.models", end);
    let all = raw(&east, "ml.models").len() as u64;
    assert!(all > 200_000, "{all}");
    let received = west.received();
    assert!((500..2_000).contains(&received), "{received}");
    assert_eq!(east.status()["sentBytes"], json!(received));
    let copy = west.copy("ml.models").expect("a copy");
    assert_eq!(copy["types"], json!(["model.deployed"]));
    assert_eq!(copy["whole"], json!(false));
    // Nobody takes for all what is a part: what it has is at its offset, and the rest is read at home.
    let consume = ["consume", "ml.models", "--json", "--type"];
    let read = west.run(&[&consume[..], &["model.deployed", "--no-home"]].concat());
    let read = read.json_lines();
    assert_eq!(read.len(), 1, "{read:?}");
    assert_eq!(read[0]["offset"], json!(wanted - 1));
    let others = ["model.deployed", "--type", "model.trained"];
    let read = west.run(&[&consume[..], &others].concat()).json_lines();
    assert_eq!(read.len() as u64, end);
    assert_eq!(west.records("ml.models"), east.records("ml.models"));
    assert_eq!(west.received(), received, "what is read so does not stay");
    // Who does not want that is told.
    let error = west
        .run(&[&consume[..], &others, &["--no-home"]].concat())
        .fails(1);
    assert!(error.contains("only: model.deployed"), "{error}");
    // It goes on behind a range that it passed over, after either side was away.
    for round in 0..3 {
        if round != 1 {
            west.kill();
            west.restart();
        }
        if round != 0 {
            east.kill();
            east.restart();
        }
        typed(&east, "model.deployed", 1);
        end = typed(&east, "model.trained", 50);
        west.has("ml.models", end);
    }
    assert!(west.received() < 4_000, "{}", west.received());
    let copy = west.copy("ml.models").expect("a copy");
    assert!(copy["error"].is_null(), "{copy}");
    let verified = west
        .run(&["region", "verify", "ml.models", "--json"])
        .json();
    assert_eq!(
        (&verified["equal"], &verified["batches"]),
        (&json!(true), &json!(4))
    );
    // A part is no source, and the home does not count on it.
    let south = Region::start(dir.path(), "ap-south", &[&west]);
    south
        .run(&["interest", "add", "ml.>", "--from", "start"])
        .ok();
    wait_for("the link", || {
        (south.status()["links"][0]["state"] == "open").then_some(())
    });
    assert_eq!(held(&east, "ml.models"), Value::Null);
    // What was there is asked for again, and nobody answers with it.
    assert_ne!(south.run(&["consume", "ml.models"]).code, 0);
    assert!(south.copy("ml.models").is_none());
}

/// Where a consumer stands.
fn position(region: &Region, channel: &str, consumer: &str) -> Option<u64> {
    let told = region.run(&["consumer", "position", channel, consumer, "--json"]);
    (told.code == 0).then(|| told.json()["offset"].as_u64().expect("an offset"))
}

fn commit(region: &Region, channel: &str, consumer: &str, offset: u64) {
    let offset = offset.to_string();
    region
        .run(&["consumer", "commit", channel, consumer, &offset])
        .ok();
}

#[test]
fn f6_40_a_consumer_goes_on_in_another_region_at_its_offset_and_never_ahead_of_the_data() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    east.restart_with(&["--peer-bandwidth", "300000"]);
    let line = Line::to(east.broker().address());
    let mut west = wants_all(dir.path(), "eu-west", &[("us-east", &line)]);
    west.restart_with(&["--peer-pack", "false"]);
    let mut end = publish(&east, "orders", 20);
    commit(&east, "orders", "billing", 7);
    let stands = |region: &Region, consumer: &str, offset: Option<u64>| {
        wait_for(&format!("{consumer} at {offset:?}"), || {
            (position(region, "orders", consumer) == offset).then_some(())
        });
    };
    west.has("orders", end);
    stands(&west, "billing", Some(7));
    // It is as far as its records: those come slowly, over a line that is cut again and again.
    for round in 0..3 {
        for _ in 0..4 {
            end = publish(&east, "orders", 200);
        }
        commit(&east, "orders", "billing", end);
        let (mut seen, mut looks) = (0, 0);
        while seen < end {
            looks += 1;
            // The position is looked at first: the copy may grow in between.
            seen = position(&west, "orders", "billing").expect("it stands");
            let copy = west.copy("orders").expect("a copy");
            let next = copy["next"].as_u64();
            assert!(copy["error"].is_null(), "{copy}");
            assert!(Some(seen) <= next, "{seen} is ahead of {next:?}");
            if next < Some(end) && round != 1 && looks % 4 == 0 {
                line.flap();
            }
        }
        west.kill();
        west.restart();
        assert_eq!(position(&west, "orders", "billing"), Some(end));
    }
    // One that is new, one that is moved back, one that is gone.
    commit(&east, "orders", "audit", 3);
    east.run(&["consumer", "reset", "orders", "billing", "5"])
        .ok();
    stands(&west, "audit", Some(3));
    stands(&west, "billing", Some(5));
    east.run(&["consumer", "delete", "orders", "audit", "--yes"])
        .ok();
    stands(&west, "audit", None);
    // The home is gone: nobody else stores where a consumer stands. It goes on once it is back.
    east.kill();
    let refused = west.run(&["consumer", "commit", "orders", "billing", "9"]);
    assert!(refused.fails(1).contains("REGION_UNREACHABLE"));
    east.restart();
    west.linked();
    commit(&west, "orders", "billing", 9);
    stands(&west, "billing", Some(9));
    end = publish(&east, "orders", 1);
    west.has("orders", end);
    commit(&east, "orders", "audit", 1);
    stands(&west, "audit", Some(1));
    stands(&east, "billing", Some(9));
}

#[test]
fn a_backlog_on_a_limited_link_holds_up_no_live_channel() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut east = Region::start(dir.path(), "us-east", &[]);
    east.restart_with(&["--peer-bandwidth", "1000000"]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    west.restart_with(&["--peer-pack", "false"]);
    west.run(&["interest", "add", ">", "--from", "start"]).ok();
    let mut live = publish(&east, "live", 1);
    west.has("live", live);
    west.kill();
    let text = "x".repeat(1000);
    let big = east.publish("backlog", &vec![text.as_str(); 8000]) + 8000;
    west.restart();
    wait_for("the backlog to begin", || {
        let next = west.copy("backlog")?["next"].as_u64();
        next.filter(|next| *next > 0)
    });
    for _ in 0..3 {
        live = publish(&east, "live", 1);
        west.has("live", live);
    }
    // Eight seconds of it were there.
    let next = west.copy("backlog").expect("a copy")["next"].as_u64();
    assert!(next < Some(big), "{next:?}");
    west.has("backlog", big);
    is_equal(&east, &west, "backlog");
}

#[test]
fn batches_that_came_uncompressed_are_packed_for_the_way_and_are_the_same_there() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let line = Line::to(east.broker().address());
    let west = wants_all(dir.path(), "eu-west", &[("us-east", &line)]);
    let mut plain = Region::start(dir.path(), "ap-south", &[&east]);
    plain.restart_with(&["--peer-pack", "false"]);
    plain.run(&["interest", "add", ">", "--from", "start"]).ok();
    let end = publish(&east, "orders", 500);
    for region in [&west, &plain] {
        region.has("orders", end);
        is_equal(&east, region, "orders");
    }
    let bytes = |region: &Region| {
        let link = region.status()["links"][0].clone();
        (
            link["bytes"].as_u64().expect("bytes"),
            link["wireBytes"].as_u64().expect("bytes"),
        )
    };
    let (stored, way) = bytes(&west);
    assert!(way * 10 < stored, "{way} of {stored}");
    assert_eq!(bytes(&plain), (stored, stored));
}

/// However many topics of agents a region asks for: each organisation has three of them.
#[tokio::test(flavor = "multi_thread")]
async fn any_number_of_topics_is_listed_page_by_page() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let topic = |name: &str| ChannelName::parse_any(name).expect("a name");
    let link = link_as("eu-west", &east).await;
    let ask = async |patterns: &[&str], topics: &[ChannelName], cursor: Option<String>| {
        let patterns = patterns.iter().map(|one| one.parse().expect("a pattern"));
        let asked = RegionRequest::LinkLogs(LinkLogs {
            patterns: patterns.collect(),
            topics: topics.to_vec(),
            after: None,
            wait_ms: 0,
            cursor,
        });
        let mut call = link.send(&Request::Region(Box::new(asked)));
        match call.answer().await.expect("an answer") {
            Response::Region(answer) => match *answer {
                RegionResponse::LinkLogs(page) => page,
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    };
    east.publish("orders", &["one"]);
    // Behind many that the region does not have, and behind many that it has.
    let absent = (0..1500).map(|n| topic(&format!("org{n}/__asp.registry")));
    let many = vec![topic("__homes"); 2100];
    let topics: Vec<ChannelName> = absent.chain(many).chain([topic("__interest")]).collect();
    for (patterns, channels) in [(&[][..], 0), (&["orders"][..], 1)] {
        let mut names = Vec::new();
        let mut cursor = None;
        loop {
            let page = ask(patterns, &topics, cursor).await;
            assert!(page.logs.len() <= 1000, "{}", page.logs.len());
            names.extend(page.logs.into_iter().map(|log| log.name));
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(names.len(), channels + 2101);
        assert_eq!(names.last(), Some(&topic("__interest")));
    }
}

/// Looking for what is asked for takes pieces of so many channels each, and what is asked for may stand
/// anywhere among them.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_is_found_among_any_number_of_channels() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let client = Client::connect(&east.url()).await.expect("a connection");
    let names = ["a.first".to_owned(), "z.last".to_owned()].into_iter();
    let names = names.chain((0..2100).map(|n| format!("m.{n:04}")));
    let names: Vec<String> = names.collect();
    // As many at once as a connection may have wait.
    for some in names.chunks(100) {
        let mut making = tokio::task::JoinSet::new();
        for name in some {
            let (client, name) = (client.clone(), ChannelName::parse(name).expect("a name"));
            making.spawn(async move {
                let made = client.create_channel(&name, ConfigChange::default(), false);
                made.await.expect("a channel");
            });
        }
        making.join_all().await;
    }
    let link = link_as("eu-west", &east).await;
    for (patterns, expected) in [
        (&["z.*"][..], &["z.last"][..]),
        (
            &["a.*", "m.0999", "m.1998", "z.>"],
            &["a.first", "m.0999", "m.1998", "z.last"],
        ),
        (&["nobody.has.it"], &[]),
    ] {
        let patterns = patterns.iter().map(|one| one.parse().expect("a pattern"));
        let asked = RegionRequest::LinkLogs(LinkLogs {
            patterns: patterns.collect(),
            topics: Vec::new(),
            after: None,
            wait_ms: 0,
            cursor: None,
        });
        let answer = link.ask(asked, Duration::from_secs(30)).await;
        let Ok(RegionResponse::LinkLogs(page)) = answer else {
            panic!("{answer:?}");
        };
        let names: Vec<String> = page.logs.iter().map(|log| log.name.to_string()).collect();
        assert_eq!(names, expected);
        assert_eq!(page.next, None);
    }
}
