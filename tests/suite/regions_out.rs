//! What leaves a region for another: requests that their home carries out, acknowledgements that say
//! where, and outboxes.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bytes::BytesMut;
use npayload::access::Secret;
use npayload::client::{Client, Link, RequestError};
use npayload::format::{BatchBuilder, Compression, NewRecord, check_stored};
use npayload::protocol::region::LinkOpen;
use npayload::protocol::{
    CommitRequest, ErrorCode, ExpectedPosition, FetchFrom, FetchRequest, Kind, LinkForwardRequest,
    PublishAsks, PublishRequest, PublishTarget, RegionRequest, Request, Response,
};
use npayload::types::{
    ChannelName, ConsumerName, Incarnation, KeyId, LogEpoch, Offset, OrgName, RegionName,
};
use serde_json::{Value, json};

use crate::line::Line;
use crate::process::{Ran, ended, wait_for};
use crate::regions::{self, Region, over_line};

fn texts(count: usize, prefix: &str) -> Vec<String> {
    (0..count).map(|n| format!("{prefix}-{n}")).collect()
}

fn all(texts: &[&str]) -> BTreeMap<u64, String> {
    (0..)
        .zip(texts.iter().map(|text| (*text).to_owned()))
        .collect()
}

/// A home, a line to it, and a region that has a copy of `orders`.
pub fn pair(dir: &Path) -> (Region, Line, Region) {
    let (east, line, west) = over_line(dir);
    west.linked();
    east.publish("orders", &["zero"]);
    west.run(&["interest", "add", "orders", "--from", "start"])
        .ok();
    west.has("orders", 1);
    (east, line, west)
}

#[test]
fn configuration_deletion_and_positions_are_carried_out_at_home() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, west) = pair(dir.path());
    east.publish("orders", &["one", "two"]);
    west.has("orders", 3);
    let update = [
        "channel",
        "update",
        "orders",
        "--retention-days",
        "30",
        "--json",
    ];
    let told = west.run(&update).json();
    assert_eq!(told["config"]["retentionDays"], 30, "{told}");
    let info = east.run(&["channel", "info", "orders", "--json"]).json();
    assert_eq!(info["config"]["retentionDays"], 30);
    // Where a consumer stands is one thing; a copy tells it once it has come back there.
    west.run(&["consumer", "commit", "orders", "reader", "2"])
        .ok();
    for region in [&east, &west] {
        wait_for("the position", || {
            let ran = region.run(&["consumer", "position", "orders", "reader", "--json"]);
            (ran.code == 0 && ran.json()["offset"] == 2).then_some(())
        });
    }
    let stale = [
        "consumer", "commit", "orders", "reader", "3", "--expect", "1",
    ];
    assert!(west.run(&stale).err.contains("POSITION_MISMATCH"));
    west.run(&["consumer", "reset", "orders", "reader", "start"])
        .ok();
    let position = ["consumer", "position", "orders", "reader", "--json"];
    assert_eq!(east.run(&position).json()["offset"], 0);
    west.run(&["consumer", "delete", "orders", "reader", "--yes"])
        .ok();
    assert_ne!(east.run(&position).code, 0, "nobody stands there");
    // Of a channel that no copy is here of, too.
    east.publish("others", &["one"]);
    let update = ["channel", "update", "others", "--retention-days", "3"];
    west.run(&update).ok();
    let info = east.run(&["channel", "info", "others", "--json"]).json();
    assert_eq!(info["config"]["retentionDays"], 3);
    west.run(&["channel", "delete", "others", "--yes"]).ok();
    west.run(&["channel", "delete", "orders", "--yes"]).ok();
    let listed = east.run(&["channel", "list", "--json"]).ok();
    assert!(
        !String::from_utf8_lossy(&listed).contains("or"),
        "both are gone"
    );
}

#[test]
fn an_atomic_publish_is_forwarded_whole_or_not_at_all() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, west) = pair(dir.path());
    east.publish("bills", &["zero"]);
    let both = r#"{"channel":"orders","payloadText":"one"}
{"channel":"bills","payloadText":"one"}
{"consumer":"reader","channel":"orders","commit":1}
"#;
    let args = ["publish", "--atomic", "--json"];
    let told = west.broker().run_with(&args, both.as_bytes()).json();
    assert_eq!(told["count"], 2, "{told}");
    let zero_one = all(&["zero", "one"]);
    assert_eq!(east.records("orders"), zero_one);
    assert_eq!(east.records("bills"), zero_one);
    let position = ["consumer", "position", "orders", "reader", "--json"];
    assert_eq!(east.run(&position).json()["offset"], 1);
    // One that lives here and one that lives there have no home together.
    west.publish("news", &["zero"]);
    let across = r#"{"channel":"orders","payloadText":"two"}
{"channel":"news","payloadText":"one"}
"#;
    let refused = west.broker().run_with(&args, across.as_bytes());
    assert!(refused.err.contains("FORWARD_REFUSED"), "{}", refused.err);
    assert_eq!(east.records("orders"), zero_one, "nothing of it");
    assert_eq!(west.records("news"), all(&["zero"]));
}

#[test]
fn an_acknowledgement_says_where_the_batch_is() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, west) = pair(dir.path());
    let publish = |region: &Region, args: &[&str]| -> Ran {
        let args = [&["publish", "orders"], args].concat();
        region.broker().run_with(&args, b"more\n")
    };
    for region in [&west, &east] {
        let told = publish(region, &["--json"]).json();
        let place = (&told["level"], &told["region"], &told["held"]);
        assert_eq!(place, (&json!("synced"), &json!("us-east"), &json!(1)));
    }
    let told = String::from_utf8(publish(&west, &[]).ok()).expect("a text");
    assert!(told.ends_with(": offset 3, synced@us-east\n"), "{told}");
    let acks = publish(&west, &["--acks"]).json_lines();
    assert_eq!(acks[0]["region"], "us-east", "{acks:?}");
    // Only written is held synced by nobody yet.
    let create = ["channel", "create", "fast", "--durability", "written"];
    east.run(&create).ok();
    let told = east
        .broker()
        .run_with(&["publish", "fast", "--json"], b"x\n")
        .json();
    assert_eq!(
        (&told["level"], &told["held"]),
        (&json!("written"), &json!(0))
    );
}

/// Text and identity of a key that is made with the text of another.
fn key(
    region: &Region,
    dir: &Path,
    admin: &str,
    name: &str,
    scope: &str,
) -> (Secret, KeyId, String) {
    let args = [
        "--api-key-file",
        admin,
        "key",
        "create",
        name,
        "--scope",
        scope,
        "--json",
    ];
    let made = region.run(&args).json();
    let text = made["secret"].as_str().expect("a text");
    let file = dir.join(name);
    std::fs::write(&file, text).expect("a file");
    let id = made["id"].as_str().or(made["key"]["id"].as_str());
    let id = id.unwrap_or_else(|| panic!("{made}"));
    let id = id.parse().expect("an identity");
    (text.parse().expect("a key"), id, file.display().to_string())
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a name")
}

fn publish_request(name: &str, incarnation: Option<Incarnation>) -> Request {
    let mut builder = BatchBuilder::new(Compression::None);
    let record = NewRecord {
        payload: Some(b"forwarded"),
        ..NewRecord::default()
    };
    builder.push(&record).expect("a record");
    Request::Publish(PublishRequest {
        target: PublishTarget {
            channel: channel(name),
            incarnation,
            expected_offset: None,
        },
        batch: BytesMut::from(&builder.build().expect("a batch")[..]),
        asks: Some(PublishAsks::default()),
    })
}

/// A link as another region makes one.
async fn link_to(region: &Region, key: Option<&Secret>) -> Link {
    let open = RegionRequest::LinkOpen(LinkOpen {
        region: RegionName::parse("eu-west").expect("a name"),
        expect: RegionName::parse("us-east").expect("a name"),
        directory_id: Incarnation(7),
        pack: false,
    });
    let mut builder = Client::builder();
    if let Some(key) = key {
        builder = builder.api_key(key.clone());
    }
    let linked = Link::connect(builder, &region.url(), open).await;
    linked.expect("a link").0
}

/// What the region answers to a request that is forwarded for somebody.
async fn forward(
    link: &Link,
    key: Option<KeyId>,
    org: &str,
    request: &Request,
) -> Result<Response, ErrorCode> {
    let org = OrgName::parse(org).expect("a name");
    let by = RegionName::parse("eu-west").expect("a name");
    let forward = LinkForwardRequest::new(3, key, org, by, request);
    let mut call = link.send(&Request::LinkForward(Box::new(forward)));
    match call.answer().await {
        Ok(Response::LinkForward(answer)) => {
            assert_eq!(answer.region.as_str(), "us-east");
            let response = answer.response(request.kind(), request.version());
            Ok(response.expect("an answer to the request"))
        }
        Err(RequestError::Server(error)) => Err(error.known().expect("a known error")),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forwarded_request_is_judged_by_the_key_where_that_is_known_and_else_vouched_for() {
    let dir = tempfile::tempdir().expect("a directory");
    let admin = dir.path().join("admin");
    let admin = admin.to_str().expect("a path").to_owned();
    let mut east = Region::start(dir.path(), "us-east", &[]);
    east.restart_with(vec!["--require-keys", "--admin-key-file", admin.clone().leak()].leak());
    east.more = &["--require-keys"];
    let (own, own_id, _) = key(&east, dir.path(), &admin, "link", "replicate");
    let (_, known, _) = key(
        &east,
        dir.path(),
        &admin,
        "writer",
        "publish,consume:orders*",
    );
    for name in ["orders.eu", "secrets"] {
        east.run(&["--api-key-file", &admin, "channel", "create", name])
            .ok();
    }
    let link = link_to(&east, Some(&own)).await;
    let to = |name: &str| publish_request(name, None);
    // Judged by what its key may do here.
    let done = forward(&link, Some(known), "default", &to("orders.eu")).await;
    let Ok(Response::PublishAt(published, at)) = done else {
        panic!("{done:?}");
    };
    assert_eq!((published.first_offset, at.held), (Offset(0), 1));
    let refused = forward(&link, Some(known), "default", &to("secrets")).await;
    assert_eq!(refused, Err(ErrorCode::Forbidden));
    // Of another organisation than its own the key is not known; nor is that organisation.
    let refused = forward(&link, Some(known), "acme", &to("secrets")).await;
    assert_eq!(refused, Err(ErrorCode::OrgNotFound));
    // One that nobody knows here is vouched for.
    let strange = Some(KeyId(12345));
    forward(&link, strange, "default", &to("secrets"))
        .await
        .expect("vouched for");
    // Each batch says who wrote it.
    let url = east.url();
    let client = Client::builder().api_key(secret_in(&admin)).connect(&url);
    let client = client.await.expect("a connection");
    let keys = east
        .run(&["--api-key-file", &admin, "key", "list", "--json"])
        .json_lines();
    let principal = |id: KeyId| {
        let mut rows = keys.iter();
        let row = rows.find(|row| row["id"] == id.to_string());
        row.expect("the key")["principal"].as_u64()
    };
    for (name, id) in [("orders.eu", known), ("secrets", own_id)] {
        let batch = fetched(&client, name).await;
        let header = check_stored(&batch).expect("a batch");
        assert_eq!(Some(u64::from(header.principal())), principal(id), "{name}");
    }
    // A key that has ended opens nothing through another region either.
    let known_text = known.to_string();
    let revoke = [
        "--api-key-file",
        &admin,
        "key",
        "revoke",
        &known_text,
        "--yes",
    ];
    east.run(&revoke).ok();
    let refused = forward(&link, Some(known), "default", &to("orders.eu")).await;
    assert_eq!(refused, Err(ErrorCode::KeyRevoked));
}

fn secret_in(file: &str) -> Secret {
    let text = std::fs::read_to_string(file).expect("a file");
    text.trim().parse().expect("a key")
}

async fn fetched(client: &Client, name: &str) -> bytes::Bytes {
    let fetch = FetchRequest {
        channel: channel(name),
        incarnation: None,
        from: FetchFrom::Start,
        last_epoch: LogEpoch(0),
        max_bytes: 1 << 20,
        min_bytes: 0,
        max_wait_ms: 0,
    };
    client.fetch(fetch).await.expect("records").batches
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_is_forwarded_once_and_only_what_may_be() {
    let dir = tempfile::tempdir().expect("a directory");
    let north = Region::start(dir.path(), "eu-north", &[]);
    let east = Region::start(dir.path(), "us-east", &[&north]);
    east.linked();
    north.publish("far", &["zero"]);
    east.run(&["interest", "add", "far", "--from", "start"])
        .ok();
    east.has("far", 1);
    east.publish("near", &["zero"]);
    let link = link_to(&east, None).await;
    // Its home is a third region: who forwards is told, and nothing goes on from here.
    let refused = forward(&link, None, "default", &publish_request("far", None)).await;
    assert_eq!(refused, Err(ErrorCode::NotHome));
    let commit = Request::Commit(CommitRequest {
        channel: channel("far"),
        incarnation: None,
        consumer: ConsumerName::parse("reader").expect("a name"),
        offset: Offset(1),
        log_epoch: LogEpoch(0),
        expected_previous: ExpectedPosition::Any,
        metadata: String::new(),
    });
    let refused = forward(&link, None, "default", &commit).await;
    assert_eq!(refused, Err(ErrorCode::NotHome));
    assert_eq!(north.records("far").len(), 1);
    // A request that reads is asked for where one reads, and no link is forwarded.
    let fetch = Request::Fetch(FetchRequest {
        channel: channel("near"),
        incarnation: None,
        from: FetchFrom::Start,
        last_epoch: LogEpoch(0),
        max_bytes: 1,
        min_bytes: 0,
        max_wait_ms: 0,
    });
    let refused = forward(&link, None, "default", &fetch).await;
    assert_eq!(refused, Err(ErrorCode::ForwardRefused));
    let by = RegionName::parse("eu-west").expect("a name");
    let org = OrgName::parse("default").expect("a name");
    let inner = LinkForwardRequest::new(3, None, org, by, &publish_request("near", None));
    let twice = Request::LinkForward(Box::new(inner));
    assert_eq!(twice.kind(), Kind::LinkForward);
    let refused = forward(&link, None, "default", &twice).await;
    assert_eq!(refused, Err(ErrorCode::ForwardRefused));
    // A body that breaks a rule is told so.
    let mut bad = publish_request("near", None);
    if let Request::Publish(publish) = &mut bad {
        publish.batch.truncate(100);
    }
    let refused = forward(&link, None, "default", &bad).await;
    assert_eq!(refused, Err(ErrorCode::InvalidBatch));
    assert_eq!(east.records("near").len(), 1);
}

/// Waits until a region's links are not open.
fn unlinked(region: &Region) {
    wait_for("the link to be missed", || {
        let status = region.status();
        let mut links = status["links"].as_array().expect("rows").iter();
        links.all(|link| link["state"] != "open").then_some(())
    });
}

fn outbox(region: &Region) -> Vec<Value> {
    let status = region.status();
    status["outboxes"].as_array().cloned().unwrap_or_default()
}

fn keep(region: &Region, lines: &[&str]) -> Value {
    let input = lines.join("\n") + "\n";
    let args = ["publish", "orders", "--outbox", "--json"];
    region.broker().run_with(&args, input.as_bytes()).json()
}

/// Waits until the home has this many records; all of them.
fn arrived(home: &Region, count: usize) -> Vec<String> {
    wait_for(&format!("{count} records at home"), || {
        let records: Vec<String> = home.records("orders").into_values().collect();
        (records.len() >= count).then_some(records)
    })
}

#[test]
fn what_cannot_reach_its_home_waits_in_the_outbox_and_is_carried_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = pair(dir.path());
    // As long as the home is there, nothing waits.
    let told = keep(&west, &["one"]);
    assert_eq!(
        (&told["region"], &told["firstOffset"]),
        (&json!("us-east"), &json!(1))
    );
    assert!(told.get("outbox").is_none(), "{told}");
    line.cut();
    unlinked(&west);
    let told = keep(&west, &["two", "three"]);
    let place = (&told["region"], &told["outbox"], &told["level"]);
    assert_eq!(place, (&json!("eu-west"), &json!(2), &json!("synced")));
    assert_eq!(
        told["firstOffset"],
        Value::Null,
        "it has none in the channel yet"
    );
    let rows = outbox(&west);
    let row = (&rows[0]["channel"], &rows[0]["home"], &rows[0]["records"]);
    assert_eq!(row, (&json!("orders"), &json!("us-east"), &json!(2)));
    assert!(rows[0]["bytes"].as_u64() > Some(0), "{rows:?}");
    // Others may not wait, and are told why.
    let plain = ["publish", "orders", "--timeout-s", "1"];
    let refused = west.broker().run_with(&plain, b"lost\n");
    assert!(refused.err.contains("us-east"), "{}", refused.err);
    // It is there after a power cut, and so is what is kept then.
    west.kill();
    west.restart();
    let told = keep(&west, &["four"]);
    assert_eq!(told["outbox"], 1, "{told}");
    assert_eq!(outbox(&west)[0]["records"], 3);
    east.publish("orders", &["theirs"]);
    line.mend();
    let records = arrived(&east, 6);
    assert_eq!(records, ["zero", "one", "theirs", "two", "three", "four"]);
    west.has("orders", 6);
    wait_for("an empty outbox", || outbox(&west).is_empty().then_some(()));
    let told = keep(&west, &["five"]);
    assert_eq!(
        (&told["region"], &told["firstOffset"]),
        (&json!("us-east"), &json!(6))
    );
    // Nothing of it comes back with a restart.
    west.kill();
    west.restart();
    west.linked();
    west.has("orders", 7);
    assert!(outbox(&west).is_empty());
    assert_eq!(east.records("orders").len(), 7);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_producer_goes_on_through_cuts_and_kills_of_either_side_each_record_once_and_in_order() {
    let dir = tempfile::tempdir().expect("a directory");
    let (mut east, line, mut west) = pair(dir.path());
    let client = Client::builder()
        .connect(&west.url())
        .await
        .expect("a connection");
    let producer = client
        .producer(channel("orders"))
        .batch_records(1)
        .linger(Duration::ZERO)
        .outbox(true)
        .delivery_timeout(Duration::from_secs(120))
        .build();
    let sent = texts(240, "record");
    let mut outboxed = 0;
    let mut tickets = Vec::new();
    for (n, text) in sent.iter().enumerate() {
        match n {
            40 => line.cut(),
            80 => {
                west.kill();
                west.restart();
            }
            120 => line.mend(),
            150 => {
                east.kill();
                east.restart();
            }
            180 => line.flap(),
            200 => {
                west.kill();
                west.restart();
            }
            _ => {}
        }
        let record = NewRecord {
            payload: Some(text.as_bytes()),
            ..NewRecord::default()
        };
        tickets.push(producer.publish(&record).await.expect("taken"));
        if n % 10 == 9 {
            for ticket in tickets.drain(..) {
                outboxed += u32::from(ticket.await.expect("acknowledged").outbox);
            }
        }
    }
    assert!(outboxed >= 40, "{outboxed}: what came during the cut");
    let records = arrived(&east, sent.len() + 1);
    assert_eq!(records[1..], sent, "each once, in order");
    wait_for("an empty outbox", || outbox(&west).is_empty().then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_may_not_wait_is_refused_and_a_full_outbox_leaves_nothing_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west) = pair(dir.path());
    west.restart_with(&["--outbox-bytes", "3000"]);
    west.linked();
    line.cut();
    unlinked(&west);
    let client = Client::builder()
        .connect(&west.url())
        .await
        .expect("a connection");
    let producer = || {
        let limit = Duration::from_secs(3);
        client
            .producer(channel("orders"))
            .outbox(true)
            .delivery_timeout(limit)
    };
    let record = NewRecord {
        payload: Some(b"refused"),
        ..NewRecord::default()
    };
    for conditional in [
        producer().expected_offset(Offset(1)).build(),
        producer().fence(7).build(),
    ] {
        let ticket = conditional.publish(&record).await.expect("taken");
        let error = ticket.await.expect_err("it may not wait");
        assert!(error.is(ErrorCode::OutboxRefused), "{error:?}");
    }
    // The second is too large, the third behind it would fit, and must not overtake it.
    let full = producer().batch_records(1).linger(Duration::ZERO).build();
    let large = "x".repeat(4000);
    let mut outcomes = Vec::new();
    for payload in ["first", &large, "third"] {
        let record = NewRecord {
            payload: Some(payload.as_bytes()),
            ..NewRecord::default()
        };
        outcomes.push(full.publish(&record).await.expect("taken"));
    }
    let mut outcomes = outcomes.into_iter();
    let first = outcomes.next().expect("three").await.expect("it waits");
    assert!(first.outbox);
    let error = outcomes.next().expect("three").await.expect_err("no room");
    assert!(error.is(ErrorCode::OutboxFull), "{error:?}");
    outcomes
        .next()
        .expect("three")
        .await
        .expect_err("behind it");
    assert_eq!(outbox(&west)[0]["records"], 1);
    line.mend();
    assert_eq!(arrived(&east, 2), ["zero", "first"]);
}

#[test]
fn what_the_home_does_not_take_stays_and_says_why() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    line.cut();
    unlinked(&west);
    keep(&west, &["kept"]);
    east.run(&["channel", "delete", "orders", "--yes"]).ok();
    line.mend();
    let row = wait_for("the refusal", || {
        let row = outbox(&west).into_iter().next()?;
        let error = row["error"].as_str()?.to_owned();
        error.contains("CHANNEL_NOT_FOUND").then_some(row)
    });
    assert_eq!(row["records"], 1, "{row}");
    // Who publishes more is told so, and what waits can be read.
    let args = ["publish", "orders", "--outbox", "--timeout-s", "2"];
    let refused = west.broker().run_with(&args, b"more\n");
    assert!(refused.err.contains("CHANNEL_NOT_FOUND"), "{}", refused.err);
    let listed = west.run(&["channel", "list", "--internal", "--json"]).ok();
    let listed = String::from_utf8(listed).expect("JSON");
    let name = listed.split('"').find(|text| text.starts_with("__outbox."));
    let kept = west.records(name.expect("a name"));
    assert_eq!(kept.into_values().collect::<Vec<_>>(), ["kept"]);
}

/// A session of two agents that lives in a region; its id.
pub fn survey(region: &Region) -> String {
    regions::survey(region, ["writer:coordinator", "editor:specialist"])
}

#[test]
fn a_session_is_used_from_any_region_and_lives_where_it_was_made() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    let session = survey(&east);
    // Asked for elsewhere, it is the same session.
    let info = west.run(&["session", "show", &session, "--json"]).json();
    assert_eq!(
        info,
        east.run(&["session", "show", &session, "--json"]).json()
    );
    let send = [
        "session", "send", &session, "{}", "--from", "writer", "--json",
    ];
    let sent = west.run(&send).json();
    let history = |region: &Region| {
        let lines = region
            .run(&["session", "tail", &session, "--json"])
            .json_lines();
        format!("{lines:?}")
    };
    assert!(
        history(&east).contains(sent["id"].as_str().expect("an id")),
        "{sent}"
    );
    assert_eq!(history(&east), history(&west));
    // Nothing of it is kept where it was asked for.
    let listed = west.run(&["channel", "list", "--internal", "--json"]).ok();
    assert!(
        !String::from_utf8_lossy(&listed).contains("__asp"),
        "nothing here"
    );
    west.run(&["session", "leave", &session, "editor"]).ok();
    line.cut();
    unlinked(&west);
    let away = west.run(&["session", "show", &session]);
    assert!(away.err.contains("us-east"), "{}", away.err);
}

#[test]
fn a_channel_may_want_more_regions_to_hold_what_is_acknowledged() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west) = pair(dir.path());
    east.run(&["channel", "update", "orders", "--ack-regions", "2"])
        .ok();
    let publish = |region: &Region, args: &[&str], text: &[u8]| -> Ran {
        let args = [&["publish", "orders", "--json"], args].concat();
        region.broker().run_with(&args, text)
    };
    for region in [&east, &west] {
        let told = publish(region, &[], b"held by both\n").json();
        assert_eq!(
            (&told["region"], &told["held"]),
            (&json!("us-east"), &json!(2))
        );
        let copy = west.copy("orders").expect("a copy");
        let last = told["lastOffset"].as_u64().expect("an offset");
        assert!(copy["next"].as_u64() > Some(last), "{copy}");
    }
    // While the other region is away it is appended, and not acknowledged; and once it is back the
    // same batch is, at the same offset.
    line.cut();
    unlinked(&west);
    let refused = publish(&east, &["--timeout-s", "1"], b"alone\n");
    assert!(
        refused.err.contains("NOT_ENOUGH_REGIONS"),
        "{}",
        refused.err
    );
    assert_eq!(east.records("orders").len(), 4, "it is there");
    let waiting = east
        .broker()
        .command(&["publish", "orders", "--json", "--timeout-s", "60"]);
    let told = std::thread::scope(|scope| {
        let publisher = scope.spawn(move || {
            use std::io::Write;
            let mut waiting = waiting;
            let mut child = waiting
                .stdin(std::process::Stdio::piped())
                .stdout(std::process::Stdio::piped())
                .spawn()
                .expect("it starts");
            child
                .stdin
                .take()
                .expect("piped")
                .write_all(b"later\n")
                .expect("written");
            ended(child).stdout
        });
        wait_for("it to be appended", || {
            (east.records("orders").len() == 5).then_some(())
        });
        line.mend();
        publisher.join().expect("no panic")
    });
    let told: Value = serde_json::from_slice(&told).expect("JSON");
    let place = (&told["firstOffset"], &told["lastOffset"], &told["held"]);
    assert_eq!(place, (&json!(4), &json!(4), &json!(2)), "{told}");
    assert_eq!(east.records("orders").len(), 5, "once");
    // More regions than there are.
    east.run(&["channel", "update", "orders", "--ack-regions", "3"])
        .ok();
    let refused = publish(&east, &["--timeout-s", "1"], b"for three\n");
    assert!(
        refused.err.contains("2 regions hold it and 3 are wanted"),
        "{}",
        refused.err
    );
    let refused = east.run(&["channel", "update", "orders", "--ack-regions", "0"]);
    assert!(refused.err.contains("ackRegions"), "{}", refused.err);
}

#[test]
fn a_broker_without_a_name_waits_for_no_regions() {
    let dir = tempfile::tempdir().expect("a directory");
    let broker = crate::process::Broker::start(dir.path());
    let create = ["channel", "create", "orders", "--ack-regions", "2"];
    let refused = broker.run(&create);
    assert!(refused.err.contains("NOT_A_REGION"), "{}", refused.err);
    broker
        .run(&["channel", "create", "orders", "--ack-regions", "1"])
        .ok();
}

#[test]
fn a_key_speaks_for_no_other_agent_through_another_region_either() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, _line, mut west) = pair(dir.path());
    let session = survey(&east);
    let admin = dir.path().join("admin");
    let admin = admin.to_str().expect("a path").to_owned();
    west.restart_with(vec!["--require-keys", "--admin-key-file", admin.clone().leak()].leak());
    let args = |key: &str| ["--api-key-file", key].map(str::to_owned);
    let linked = || {
        let [option, file] = args(&admin);
        let status = west
            .run(&["region", "status", "--json", &option, &file])
            .json();
        (status["links"][0]["state"] == "open").then_some(())
    };
    wait_for("the link", linked);
    let (_, _, editor) = key(&west, dir.path(), &admin, "editor-key", "asp:*:editor");
    let send = |from: &str| {
        let [option, file] = args(&editor);
        west.run(&[
            "session", "send", &session, "{}", "--from", from, &option, &file,
        ])
    };
    send("editor").ok();
    let refused = send("writer");
    assert!(refused.err.contains("FORBIDDEN"), "{}", refused.err);
    // Under its identity the home alone knows which agent it is.
    let agents = east.run(&["agent", "show", "editor", "--json"]).json();
    let refused = send(agents["agent"].as_str().expect("an identity"));
    assert!(refused.err.contains("FORBIDDEN"), "{}", refused.err);
}

#[test]
fn nothing_waits_where_the_channel_may_not_be_held_and_its_name_is_free_once_it_is_deleted() {
    let dir = tempfile::tempdir().expect("a directory");
    let south = Region::start(dir.path(), "ap-south", &[]);
    let east = Region::start(dir.path(), "us-east", &[&south]);
    east.linked();
    let line = Line::to(east.broker().address());
    let peers = [
        format!("us-east={}", line.url()),
        format!("ap-south={}", south.url()),
    ];
    let west = Region::start_at(dir.path(), "eu-west", peers.into());
    west.linked();
    let create = ["channel", "create", "secret", "--residency", "us-east"];
    east.run(&create).ok();
    // Publishing needs no copy; waiting would be one.
    assert_eq!(west.publish("secret", &["zero"]), 0);
    line.cut();
    wait_for("the link to be missed", || {
        let status = west.status();
        let mut links = status["links"].as_array().expect("rows").iter();
        let east = links.find(|link| link["peer"] == "us-east")?;
        (east["state"] != "open").then_some(())
    });
    let args = ["publish", "secret", "--outbox", "--timeout-s", "5"];
    let refused = west.broker().run_with(&args, b"one\n");
    assert!(refused.err.contains("may not hold"), "{}", refused.err);
    assert!(outbox(&west).is_empty());
    line.mend();
    west.linked();
    // The directory, a third region's, has the name back when the deletion is carried out.
    west.run(&["channel", "delete", "secret", "--yes"]).ok();
    let listed = east.run(&["channel", "list", "--json"]).ok();
    assert!(!String::from_utf8_lossy(&listed).contains("secret"));
    assert_eq!(south.publish("secret", &["another one"]), 0);
    assert_eq!(west.publish("secret", &["of it"]), 1);
}
