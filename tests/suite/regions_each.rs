//! Channels with a log for each region: every region writes its own at its own pace, and whoever reads
//! them all reads the same, wherever and whenever.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use npayload::client::{Client, MergedError, MergedRecord};
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::region::Vector;
use npayload::types::{ChannelName, ConsumerName, Offset, ProducerId, RegionName};
use serde_json::{Value, json};

use crate::kill::{from_env, is_soak, seed};
use crate::line::Line;
use crate::load::Draws;
use crate::process::{Broker, ended, wait_for};
use crate::raw::Raw;
use crate::regions::{Region, raw};

pub const NAMES: [&str; 3] = ["ap-south", "eu-west", "us-east"];

/// Three regions that are all linked to each other, each over a line of its own to every other.
pub struct Mesh {
    pub regions: Vec<Region>,
    /// From the first to the second.
    pub lines: BTreeMap<(usize, usize), Line>,
}

impl Mesh {
    pub fn start(dir: &Path) -> Self {
        let mut regions: Vec<Region> = NAMES
            .iter()
            .map(|name| Region::start(dir, name, &[]))
            .collect();
        let mut lines = BTreeMap::new();
        for from in 0..3 {
            let mut peers = Vec::new();
            for to in (0..3).filter(|to| *to != from) {
                let line = Line::to(regions[to].broker().address());
                peers.push(format!("{}={}", NAMES[to], line.url()));
                lines.insert((from, to), line);
            }
            regions[from].peers = peers;
        }
        // All of them end first, so that no link to one that is about to end passes for open.
        regions.iter_mut().for_each(Region::kill);
        regions.iter_mut().for_each(Region::restart);
        let mesh = Self { regions, lines };
        mesh.linked();
        mesh
    }

    fn linked(&self) {
        for region in &self.regions {
            wait_for("the links", || {
                let status = region.status();
                let mut links = status["links"].as_array().expect("rows").iter();
                links.all(|link| link["state"] == "open").then_some(())
            });
        }
    }

    /// A channel with a log for each region, of which all want everything.
    pub fn channel(&self, name: &str) {
        let create = ["channel", "create", name, "--regions", "each"];
        self.regions[0].run(&create).ok();
        for region in &self.regions {
            region
                .run(&["interest", "add", name, "--from", "start"])
                .ok();
        }
    }

    /// Waits until every region has as many records of every log.
    pub fn all_have(&self, channel: &str, ends: &[u64; 3]) {
        for (at, region) in self.regions.iter().enumerate() {
            for of in (0..3).filter(|of| *of != at && ends[*of] > 0) {
                region.has(&log(channel, of), ends[of]);
            }
        }
    }

    /// Cuts one region off, or joins it again.
    fn cut(&self, at: usize, is_cut: bool) {
        for ((from, to), line) in &self.lines {
            if *from == at || *to == at {
                match is_cut {
                    true => line.cut(),
                    false => line.mend(),
                }
            }
        }
    }
}

pub fn log(channel: &str, of: usize) -> String {
    format!("{channel}@{}", NAMES[of])
}

/// A record as it is read of all logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    pub region: String,
    pub offset: u64,
    time: i64,
    pub payload: String,
}

fn read_of(lines: &[Value]) -> Vec<Read> {
    let one = |line: &Value| Read {
        region: line["region"].as_str().expect("a region").to_owned(),
        offset: line["offset"].as_u64().expect("an offset"),
        time: line["appendTime"].as_i64().expect("a time"),
        payload: line["payloadText"].as_str().expect("a text").to_owned(),
    };
    lines.iter().map(one).collect()
}

pub fn merged(region: &Region, channel: &str, more: &[&str]) -> Vec<Read> {
    let mut args = vec!["consume", channel, "--json"];
    args.extend(more);
    read_of(&region.run(&args).json_lines())
}

/// That each region's records come once and in order; how many there are of each.
fn in_order(read: &[Read]) -> BTreeMap<String, u64> {
    let mut next: BTreeMap<String, u64> = BTreeMap::new();
    for record in read {
        let next = next.entry(record.region.clone()).or_default();
        assert_eq!(record.offset, *next, "of {}", record.region);
        *next += 1;
    }
    next
}

fn tail(region: &Region, channel: &str, more: &[&str]) -> Child {
    let mut args = vec!["consume", channel, "--follow", "--json"];
    args.extend(more);
    let mut command = region.broker().command(&args);
    command.stdout(Stdio::piped()).spawn().expect("it starts")
}

fn told(tail: Child) -> Vec<Read> {
    let output = ended(tail);
    let text = String::from_utf8(output.stdout).expect("JSON");
    let lines: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    read_of(&lines)
}

#[test]
fn each_region_writes_its_own_log_and_all_read_the_same_in_the_same_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(dir.path());
    mesh.channel("ml.feedback");
    // The first writer in a region begins its log; offsets are each log's own.
    for round in 0..4_u64 {
        for (at, region) in mesh.regions.iter().enumerate() {
            let text = format!("{round} of {}", NAMES[at]);
            assert_eq!(region.publish("ml.feedback", &[&text]), round);
        }
    }
    mesh.all_have("ml.feedback", &[4; 3]);
    let read: Vec<Vec<Read>> = mesh
        .regions
        .iter()
        .map(|region| merged(region, "ml.feedback", &[]))
        .collect();
    assert_eq!(in_order(&read[0]).into_values().collect::<Vec<_>>(), [4; 3]);
    let mut sorted = read[0].clone();
    sorted.sort_by_key(|one| (one.time, one.region.clone(), one.offset));
    assert_eq!(read[0], sorted, "by append time, then region");
    for other in &read[1..] {
        assert_eq!(*other, read[0], "the same in every region");
    }
    assert_eq!(merged(&mesh.regions[0], "ml.feedback", &[]), read[0]);
    // Between two vectors; regions that the end does not name are not read.
    let (from, to) = ("eu-west=1,us-east=2", "ap-south=1,eu-west=3,us-east=3");
    let places = ["--from", from, "--to", to];
    let part = merged(&mesh.regions[1], "ml.feedback", &places);
    let told: BTreeSet<(&str, u64)> = part
        .iter()
        .map(|one| (one.region.as_str(), one.offset))
        .collect();
    let wanted = [
        ("ap-south", 0),
        ("eu-west", 1),
        ("eu-west", 2),
        ("us-east", 2),
    ];
    assert_eq!(told, wanted.into_iter().collect());
    assert_eq!(part.len(), wanted.len());
    assert_eq!(merged(&mesh.regions[2], "ml.feedback", &places), part);
    let none = ["--to", "eu-west=0"];
    assert_eq!(merged(&mesh.regions[0], "ml.feedback", &none), []);
    // A text shows where each record stands.
    let shown = mesh.regions[0].run(&["consume", "ml.feedback", "--to", "eu-west=2"]);
    let shown = String::from_utf8(shown.ok()).expect("text");
    assert_eq!(shown, "eu-west=0\t0 of eu-west\neu-west=1\t1 of eu-west\n");
    // One log alone, by its name or by its region.
    let one = mesh.regions[0].records("ml.feedback@eu-west");
    assert_eq!(one.len(), 4);
    let args = ["consume", "ml.feedback", "--region", "eu-west", "--json"];
    assert_eq!(mesh.regions[0].run(&args).json_lines().len(), 4);
    // The copies are their homes, byte for byte.
    for (at, region) in mesh.regions.iter().enumerate() {
        for of in (0..3).filter(|of| *of != at) {
            let name = log("ml.feedback", of);
            assert_eq!(raw(region, &name), raw(&mesh.regions[of], &name));
            let verified = region.run(&["region", "verify", &name, "--json"]).json();
            assert_eq!(verified["equal"], json!(true), "{verified}");
        }
    }
    // Operators see the logs.
    let info = mesh.regions[1].run(&["channel", "info", "ml.feedback", "--json"]);
    let info = info.json();
    assert_eq!(info["regions"], "each");
    let logs = info["logs"].as_array().expect("rows");
    let regions: Vec<&str> = logs
        .iter()
        .filter_map(|log| log["region"].as_str())
        .collect();
    assert_eq!(regions, NAMES);
    assert!(
        logs.iter()
            .all(|log| log["held"] == true && log["region"] == log["home"])
    );
    let status = mesh.regions[1].status();
    assert_eq!(status["logs"].as_array().expect("rows").len(), 3);
    let of_one = ["channel", "info", "ml.feedback@us-east", "--json"];
    let of_one = mesh.regions[1].run(&of_one).json();
    assert_eq!(of_one["config"]["regions"], "each");
    assert_eq!(of_one["logEnd"], json!(4));
}

#[test]
fn a_region_that_is_cut_off_writes_on_and_a_tail_elsewhere_gets_everything_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(dir.path());
    mesh.channel("events");
    mesh.regions[0].publish("events", &["first"]);
    mesh.all_have("events", &[1, 0, 0]);
    // us-east has written nothing yet, and knows the channel by a copy alone.
    let follow = tail(&mesh.regions[1], "events", &["--max", "61"]);
    mesh.cut(2, true);
    for round in 0..20 {
        for (at, region) in mesh.regions.iter().enumerate() {
            region.publish("events", &[&format!("{round} of {}", NAMES[at])]);
        }
        mesh.lines[&(1, 0)].flap();
    }
    // What is here is read meanwhile.
    let here = merged(&mesh.regions[2], "events", &[]);
    let here = in_order(&here);
    assert_eq!(here["us-east"], 20);
    mesh.cut(2, false);
    let read = told(follow);
    let counts = in_order(&read);
    assert_eq!(counts.into_values().collect::<Vec<_>>(), [21, 20, 20]);
    mesh.all_have("events", &[21, 20, 20]);
    let all = merged(&mesh.regions[0], "events", &[]);
    assert_eq!(all.len(), 61);
    assert_eq!(merged(&mesh.regions[2], "events", &[]), all);
}

#[test]
fn a_tail_from_the_end_has_every_record_of_a_log_that_is_begun_later() {
    let dir = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(dir.path());
    let create = ["channel", "create", "news", "--regions", "each"];
    mesh.regions[0].run(&create).ok();
    mesh.regions[0].publish("news", &["old", "older"]);
    // Nobody has asked for it: the tail is the first.
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let client = Client::connect(&mesh.regions[1].url())
            .await
            .expect("there");
        let news = client.merged(name("news")).from_end().follow(true);
        let mut reader = news.build().await.expect("it begins");
        assert_eq!(reader.position().to_string(), "{ap-south: 2}");
        mesh.regions[0].publish("news", &["new"]);
        let first = reader.next().await.expect("no end").expect("a record");
        assert_eq!(place(&first), ("ap-south".to_owned(), 2));
        // Both logs are begun now, one of them with several records before the reader's region hears
        // of it.
        mesh.lines[&(1, 2)].cut();
        mesh.regions[2].publish("news", &["a", "b", "c"]);
        mesh.regions[1].publish("news", &["d"]);
        mesh.lines[&(1, 2)].mend();
        let mut read = BTreeSet::new();
        while read.len() < 4 {
            // A future that is dropped loses nothing.
            let soon = tokio::time::timeout(Duration::from_millis(1), reader.next());
            if let Ok(record) = soon.await {
                let record = record.expect("no end").expect("a record");
                assert!(read.insert(place(&record)), "once: {record:?}");
            }
        }
        let wanted = [
            ("eu-west", 0),
            ("us-east", 0),
            ("us-east", 1),
            ("us-east", 2),
        ];
        let wanted = wanted.map(|(region, offset)| (region.to_owned(), offset));
        assert_eq!(read, wanted.into_iter().collect());
        let all = "{ap-south: 3, eu-west: 1, us-east: 3}";
        assert_eq!(reader.position().to_string(), all);
    });
    // What was there before was not asked for.
    let copy = mesh.regions[1].copy("news@ap-south").expect("a copy");
    assert_eq!(copy["beginsAt"], json!(2));
    // Nobody has read it here.
    assert!(mesh.regions[0].copy("news@us-east").is_none());
}

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a name")
}

fn place(record: &MergedRecord) -> (String, u64) {
    (record.region.to_string(), record.record.offset.0)
}

fn vector(parts: &[(&str, u64)]) -> Vector {
    let one = |(name, offset): &(&str, u64)| {
        let region = RegionName::parse(name).expect("a name");
        (region, Offset(*offset))
    };
    parts.iter().map(one).collect()
}

#[test]
fn a_retry_goes_to_the_region_first_tried_whose_log_alone_knows_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(dir.path());
    mesh.channel("orders");
    let batch = |sequence| {
        let mut builder = BatchBuilder::new(Compression::None);
        let record = NewRecord {
            payload: Some(b"paid"),
            ..NewRecord::default()
        };
        builder.push(&record).expect("it fits");
        builder.producer(ProducerId(7), 1, sequence);
        builder.build().expect("a batch")
    };
    let mut clients: Vec<Raw> = mesh
        .regions
        .iter()
        .map(|region| Raw::greeted(region.broker().address()))
        .collect();
    let first = clients[0].publish("orders", &batch(0)).published();
    assert_eq!((first.first, first.is_duplicate), (0, false));
    let again = clients[0].publish("orders", &batch(0)).published();
    assert_eq!((again.first, again.is_duplicate), (0, true));
    // Another region's log has never heard of it.
    let elsewhere = clients[1].publish("orders", &batch(0)).published();
    assert_eq!((elsewhere.first, elsewhere.is_duplicate), (0, false));
    assert_ne!(elsewhere.incarnation, first.incarnation);
    // Who can reach only another region names the log that was tried.
    mesh.regions[1].has("orders@ap-south", 1);
    let named = clients[1].publish("orders@ap-south", &batch(0)).published();
    assert_eq!(named.incarnation, first.incarnation);
    assert_eq!((named.first, named.is_duplicate), (0, true));
    let next = clients[2].publish("orders@ap-south", &batch(1)).published();
    assert_eq!((next.first, next.is_duplicate), (1, false));
    assert_eq!(next.incarnation, first.incarnation);
    // A log that nobody has begun is not made by its name.
    clients[0]
        .publish("orders@us-east", &batch(0))
        .error("CHANNEL_NOT_FOUND");
    clients[0]
        .publish("orders@mars", &batch(0))
        .error("CHANNEL_NOT_FOUND");
    clients[0]
        .publish("fresh@ap-south", &batch(0))
        .error("CHANNEL_NOT_FOUND");
    // The channel's own name is no log to read.
    let refused = clients[0].fetch("orders", 0).error("EACH_REGION");
    assert_eq!(refused["channel"], "orders");
    assert_eq!(clients[0].all("orders@ap-south").len(), 2);
}

#[test]
fn a_channel_is_one_log_or_one_for_each_region() {
    let dir = tempfile::tempdir().expect("a directory");
    let mesh = Mesh::start(dir.path());
    let [south, west] = [&mesh.regions[0], &mesh.regions[1]];
    let create = |region: &Region, more: &[&str]| {
        let mut args = vec!["channel", "create"];
        args.extend(more);
        region.run(&args)
    };
    create(south, &["a@eu-west"]).fails_with_usage();
    let mut client = Raw::greeted(south.broker().address());
    let named = client.json(32, &json!({"name": "a@ap-south"}));
    named.error("INVALID_NAME");
    create(south, &["a", "--regions", "each"]).ok();
    assert!(
        create(south, &["a", "--regions", "each"])
            .fails(1)
            .contains("a@ap-south")
    );
    create(south, &["a"]).fails(1);
    create(south, &["a", "--if-not-exists"]).ok();
    create(south, &["one"]).ok();
    create(south, &["one", "--regions", "each"]).fails(1);
    let listed = south.run(&["channel", "list", "--json"]).json();
    let names: Vec<&str> = listed
        .as_array()
        .expect("rows")
        .iter()
        .filter_map(|row| row["name"].as_str())
        .collect();
    assert_eq!(names, ["a@ap-south", "one"]);
    // Another region begins its log with the channel's configuration.
    let update = ["channel", "update", "a", "--max-record-bytes", "4096"];
    south.run(&update).ok();
    assert_eq!(west.publish("a", &["one"]), 0);
    let info = west.run(&["channel", "info", "a@eu-west", "--json"]).json();
    assert_eq!(info["config"]["maxRecordBytes"], json!(4096));
    assert_eq!(info["config"]["regions"], "each");
    let long = "x".repeat(5000);
    let refused = west
        .broker()
        .run_with(&["publish", "a"], format!("{long}\n").as_bytes());
    assert_ne!(refused.code, 0);
    // Each region deletes its own log.
    west.run(&["channel", "delete", "a", "--yes"]).ok();
    let info = west.run(&["channel", "info", "a", "--json"]).json();
    assert_eq!(info["logs"].as_array().expect("rows").len(), 1, "{info}");
    // A broker that is no region has none to name a log by.
    let alone = Broker::start(&dir.path().join("alone"));
    let refused = alone.run(&["channel", "create", "a", "--regions", "each"]);
    assert!(refused.fails(1).contains("no region"));
}

#[test]
fn a_consumer_stands_in_every_log_and_goes_on_after_a_restart() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut mesh = Mesh::start(dir.path());
    mesh.channel("jobs");
    for region in &mesh.regions {
        region.publish("jobs", &["one", "two", "three"]);
    }
    mesh.all_have("jobs", &[3; 3]);
    let consumer = ConsumerName::parse("worker").expect("a name");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let read = runtime.block_on(async {
        let client = Client::connect(&mesh.regions[1].url())
            .await
            .expect("there");
        let mut reader = client
            .merged(name("jobs"))
            .build()
            .await
            .expect("it begins");
        let mut read = Vec::new();
        for _ in 0..5 {
            let record = reader.next().await.expect("no end").expect("a record");
            read.push(place(&record));
        }
        reader.commit(&consumer, "five").await.expect("stored");
        // Ahead of the data in one log: nothing moves in any.
        let ahead = vector(&[("ap-south", 1), ("us-east", 4)]);
        let before = client.merged_position(&name("jobs"), &consumer).await;
        client
            .commit_merged(&name("jobs"), &consumer, &ahead, "")
            .await
            .expect_err("ahead");
        let after = client.merged_position(&name("jobs"), &consumer).await;
        assert_eq!(after.expect("stands"), before.expect("stands"));
        read
    });
    mesh.regions[1].kill();
    mesh.regions[1].restart();
    let position = ["consumer", "position", "jobs", "worker", "--json"];
    let position = mesh.regions[1].run(&position).json();
    let mut counts: BTreeMap<&str, u64> = BTreeMap::new();
    for (region, _) in &read {
        *counts.entry(region).or_default() += 1;
    }
    let stands: BTreeMap<String, u64> =
        serde_json::from_value(position["position"].clone()).expect("offsets");
    let stands: BTreeMap<&str, u64> = stands
        .iter()
        .map(|(region, offset)| (region.as_str(), *offset))
        .filter(|(_, offset)| *offset > 0)
        .collect();
    assert_eq!(stands, counts);
    let rest = runtime.block_on(async {
        let client = Client::connect(&mesh.regions[1].url())
            .await
            .expect("there");
        let reader = client.merged(name("jobs")).from_consumer(consumer.clone());
        let mut reader = reader.build().await.expect("it begins");
        let mut rest = Vec::new();
        while let Some(record) = reader.next().await {
            rest.push(place(&record.expect("a record")));
        }
        // More than any region has is awaited, and not for ever.
        let beyond = client.merged(name("jobs")).to(vector(&[("us-east", 9)]));
        let beyond = beyond.patience(Duration::from_millis(50));
        let mut beyond = beyond.build().await.expect("it begins");
        let behind = loop {
            match beyond.next().await.expect("no end") {
                Ok(_) => {}
                Err(error) => break error,
            }
        };
        let MergedError::Behind { region, at, to, .. } = behind else {
            panic!("{behind}");
        };
        assert_eq!((region.as_str(), at, to), ("us-east", Offset(3), Offset(9)));
        rest
    });
    // Both parts together are what a replay has, in its order.
    let all = merged(&mesh.regions[2], "jobs", &[]);
    let all: Vec<(String, u64)> = all
        .into_iter()
        .map(|one| (one.region, one.offset))
        .collect();
    assert_eq!([read, rest].concat(), all);
    // By hand.
    let commit = ["consumer", "commit", "jobs", "other", "eu-west=1,us-east=2"];
    mesh.regions[0].run(&commit).ok();
    let position = mesh.regions[0].run(&["consumer", "position", "jobs", "other"]);
    let position = String::from_utf8(position.ok()).expect("text");
    assert!(position.contains("eu-west=1,us-east=2"), "{position}");
    let rows = |args: &[&str]| {
        let rows = mesh.regions[0].run(args).json();
        rows.as_array().expect("rows").len()
    };
    assert_eq!(rows(&["consumer", "list", "jobs", "--json"]), 2);
    let reset = ["consumer", "reset", "jobs", "other", "end", "--json"];
    assert_eq!(rows(&reset), 3);
    let position = ["consumer", "position", "jobs", "other", "--json"];
    let position = mesh.regions[0].run(&position).json();
    let ends = json!({"ap-south": 3, "eu-west": 3, "us-east": 3});
    assert_eq!(position["position"], ends);
    mesh.regions[0]
        .run(&["consumer", "reset", "jobs", "other", "1"])
        .fails_with_usage();
}

#[test]
fn a_key_for_a_channel_opens_the_logs_of_all_regions_and_no_other_key_does() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = |name: &str| dir.path().join(name).display().to_string();
    let data = dir.path().join("us-east");
    let admin = file("admin");
    let args = [
        "--region",
        "us-east",
        "--require-keys",
        "--admin-key-file",
        &admin,
    ];
    let broker = Broker::start_with(&data, &args);
    let asked = |key: &str, args: &[&str], input: &[u8]| {
        let (mut all, key) = (args.to_vec(), file(key));
        all.extend(["--api-key-file", &key]);
        broker.run_with(&all, input)
    };
    let key = |name: &str, scopes: &[&str]| {
        let mut args = vec!["key", "create", name, "--json"];
        for scope in scopes {
            args.extend(["--scope", scope]);
        }
        let made = asked("admin", &args, b"").json();
        let secret = made["secret"].as_str().expect("a text");
        std::fs::write(file(name), secret).expect("written");
    };
    key("orders", &["consume:orders", "publish:orders"]);
    key(
        "other",
        &["consume:others", "publish:order", "consume:orders.*"],
    );
    let create = ["channel", "create", "orders", "--regions", "each"];
    asked("admin", &create, b"").ok();
    let publish = ["publish", "orders", "--json"];
    asked("orders", &publish, b"one\n").ok();
    assert_ne!(asked("other", &publish, b"two\n").code, 0);
    for name in ["orders", "orders@us-east"] {
        let consume = ["consume", name, "--json"];
        assert_eq!(asked("orders", &consume, b"").json_lines().len(), 1);
        assert_ne!(asked("other", &consume, b"").code, 0);
    }
}

#[test]
fn three_writers_and_cuts_and_kills_leave_three_logs_that_are_the_same_everywhere() {
    let rounds = from_env("ROUNDS", if is_soak() { 50 } else { 6 });
    let mut draws = Draws(seed());
    let dir = tempfile::tempdir().expect("a directory");
    let mut mesh = Mesh::start(dir.path());
    mesh.channel("all");
    let mut acked: [Vec<String>; 3] = Default::default();
    for round in 0..rounds {
        for (at, acked) in acked.iter_mut().enumerate() {
            let count = 50 + draws.below(200);
            let lines: Vec<String> = (0..count)
                .map(|n| {
                    let length = usize::try_from(draws.below(600)).expect("small");
                    format!("{round}-{at}-{n}-{}", "x".repeat(length))
                })
                .collect();
            let texts: Vec<&str> = lines.iter().map(String::as_str).collect();
            let first = mesh.regions[at].publish("all", &texts);
            assert_eq!(first, acked.len() as u64);
            acked.extend(lines);
        }
        let at = usize::try_from(draws.below(3)).expect("small");
        match draws.below(3) {
            0 => {
                mesh.regions[at].kill();
                mesh.regions[at].restart();
            }
            1 => mesh.lines[&(at, (at + 1) % 3)].flap(),
            _ => {
                mesh.cut(at, true);
                mesh.regions[at].publish("all", &["alone"]);
                acked[at].push("alone".to_owned());
                mesh.cut(at, false);
            }
        }
    }
    let ends = [0, 1, 2].map(|at: usize| acked[at].len() as u64);
    mesh.all_have("all", &ends);
    let first = merged(&mesh.regions[0], "all", &[]);
    for (at, name) in NAMES.iter().enumerate() {
        let theirs = first.iter().filter(|one| one.region == *name);
        let theirs: Vec<&String> = theirs.map(|one| &one.payload).collect();
        assert_eq!(theirs, acked[at].iter().collect::<Vec<_>>(), "{name}");
        let log = log("all", at);
        for region in &mesh.regions {
            assert_eq!(raw(region, &log), raw(&mesh.regions[at], &log), "{log}");
        }
    }
    for region in &mesh.regions[1..] {
        assert_eq!(merged(region, "all", &[]), first);
    }
}
