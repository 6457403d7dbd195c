//! What was tried to make regions acknowledge what they do not hold, give up what they have
//! acknowledged, or spin.

use std::path::Path;

use bytes::BytesMut;
use npayload::client::{Link, RequestError};
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::protocol::{
    ErrorCode, LinkFetchRequest, LinkFetchResponse, PublishAsks, PublishRequest, PublishTarget,
    RegionResponse, Request, Response,
};
use npayload::types::{ChannelName, ProducerId};
use serde_json::{Value, json};

use crate::line::Line;
use crate::process::wait_for;
use crate::regions::{Region, follow_from_start, link_as};

/// A batch of one record, of one producer.
fn batch(sequence: u64) -> Request {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.producer(ProducerId(7), 1, sequence);
    let record = NewRecord {
        payload: Some(b"payload"),
        ..NewRecord::default()
    };
    builder.push(&record).expect("a record");
    Request::Publish(PublishRequest {
        target: PublishTarget {
            channel: ChannelName::parse("orders").expect("a name"),
            incarnation: None,
            expected_offset: None,
        },
        batch: BytesMut::from(&builder.build().expect("a batch")[..]),
        asks: Some(PublishAsks {
            outbox: false,
            wait_ms: 300,
        }),
    })
}

/// Publishes a batch: its offset and how many regions hold it.
async fn publish(link: &Link, sequence: u64) -> Result<(u64, u32), ErrorCode> {
    match link.send(&batch(sequence)).answer().await {
        Ok(Response::PublishAt(published, at)) => Ok((published.first_offset.0, at.held)),
        Err(RequestError::Server(error)) => Err(error.known().expect("a known error")),
        other => panic!("{other:?}"),
    }
}

/// What `us-east` is told that another region holds of `orders`.
fn is_held(home: &Region, by: &str, end: u64) {
    wait_for(&format!("{by} to hold {end}"), || {
        let status = home.status();
        let mut rows = status["held"].as_array()?.iter();
        let row = rows.find(|row| row["name"] == "orders")?;
        let mut regions = row["regions"].as_array()?.iter();
        let held = regions.find(|held| held["region"] == by)?;
        (held["offset"].as_u64() == Some(end)).then_some(())
    });
}

/// Three regions that are each other's peers; `eu-west` dials `us-east`, the home, over a line, and
/// both others want all of it.
fn three(dir: &Path) -> (Region, Line, Region, Region) {
    let mut east = Region::start(dir, "us-east", &[]);
    let line = Line::to(east.broker().address());
    let to_east = format!("us-east={}", line.url());
    let mut west = Region::start_at(dir, "eu-west", vec![to_east.clone()]);
    let south = Region::start(dir, "ap-south", &[&east, &west]);
    let to_south = format!("ap-south={}", south.url());
    east.kill();
    east.peers = vec![format!("eu-west={}", west.url()), to_south.clone()];
    east.restart();
    west.kill();
    west.peers = vec![to_east, to_south];
    west.restart();
    for region in [&east, &west, &south] {
        region.linked();
    }
    for region in [&west, &south] {
        region
            .run(&["interest", "add", "orders", "--from", "start"])
            .ok();
    }
    east.run(&["channel", "create", "orders", "--ack-regions", "2"])
        .ok();
    west.has("orders", 0);
    south.has("orders", 0);
    (east, line, west, south)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_that_was_begun_later_does_not_count_for_what_came_before() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    let mut west = Region::start(dir.path(), "eu-west", &[&east]);
    east.run(&["channel", "create", "orders", "--ack-regions", "2"])
        .ok();
    let link = link_as("sa-east", &east).await;
    assert_eq!(publish(&link, 0).await, Err(ErrorCode::NotEnoughRegions));
    west.run(&["interest", "add", "orders", "--from", "end"])
        .ok();
    is_held(&east, "eu-west", 1);
    // It has what comes from now on, and nothing of before; also once it has followed again.
    for _ in 0..2 {
        assert_eq!(publish(&link, 0).await, Err(ErrorCode::NotEnoughRegions));
        west.kill();
        west.restart();
        west.linked();
        is_held(&east, "eu-west", 1);
    }
    assert_eq!(publish(&link, 1).await, Ok((1, 2)));
    assert_eq!(west.records("orders").into_keys().collect::<Vec<_>>(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_held_before_a_move_does_not_count_behind_it() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, mut west, mut south) = three(dir.path());
    let link = link_as("sa-east", &east).await;
    for sequence in 0..2 {
        publish(&link, sequence).await.expect("held by two");
    }
    west.has("orders", 2);
    west.kill();
    for sequence in 2..5 {
        publish(&link, sequence).await.expect("held by two");
    }
    is_held(&east, "ap-south", 5);
    south.kill();
    line.cut();
    west.restart();
    let force = ["region", "move", "orders", "--to", "eu-west", "--force"];
    let told = west.run(&[&force[..], &["--json"]].concat()).json();
    assert_eq!(told["start"], json!(2), "{told}");
    let moved = |region: &Region, home: &str| {
        wait_for(&format!("{home} to be home"), || {
            let status = region.status();
            let mut rows = status["moved"].as_array()?.iter();
            let row = rows.find(|row| row["name"] == "orders")?;
            (row["home"] == home && row["moving"].is_null()).then_some(())
        });
    };
    moved(&east, "eu-west");
    for region in [&east, &west] {
        let info = region.run(&["channel", "info", "orders", "--json"]).json();
        assert_eq!(info["home"], "eu-west", "{info}");
    }
    wait_for("what was set aside", || {
        let status = east.status();
        let aside = status["aside"].as_array()?;
        (aside.len() == 1).then_some(())
    });
    line.mend();
    let mut last = Value::Null;
    wait_for("the home to be moved back", || {
        let back = east.run(&["region", "move", "orders", "--to", "us-east", "--json"]);
        last = json!(back.err);
        (back.code == 0).then_some(())
    });
    moved(&west, "us-east");
    // The two that could hold it are away: what one of them has at this offset is another record.
    line.cut();
    wait_for("the link to be missed", || {
        let status = west.status();
        let mut links = status["links"].as_array()?.iter();
        let link = links.find(|link| link["peer"] == "us-east")?;
        (link["state"] != "open").then_some(())
    });
    let told = publish(&link, 2).await;
    assert_eq!(told, Err(ErrorCode::NotEnoughRegions), "{last}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forced_move_takes_what_others_hold_from_them_where_the_home_is_silent() {
    let dir = tempfile::tempdir().expect("a directory");
    let (east, line, west, south) = three(dir.path());
    let link = link_as("sa-east", &east).await;
    for sequence in 0..2 {
        publish(&link, sequence).await.expect("held by two");
    }
    west.has("orders", 2);
    line.set(|line| (line.is_silent_there, line.is_silent_back) = (true, true));
    for sequence in 2..5 {
        publish(&link, sequence).await.expect("held by two");
    }
    south.has("orders", 5);
    let force = ["region", "move", "orders", "--to", "eu-west", "--force"];
    let told = west.run(&[&force[..], &["--json"]].concat()).json();
    assert_eq!(told["start"], json!(5), "{told}");
    assert_eq!(west.records("orders").len(), 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_for_no_bytes_is_answered_and_keeps_nobody_busy() {
    let dir = tempfile::tempdir().expect("a directory");
    let east = Region::start(dir.path(), "us-east", &[]);
    east.publish("orders", &["one", "two"]);
    let link = link_as("sa-east", &east).await;
    let follow = follow_from_start(u32::MAX, "orders");
    let wait = std::time::Duration::from_secs(30);
    let followed = link.ask(follow, wait).await;
    assert!(
        matches!(followed, Ok(RegionResponse::LinkFollow(_))),
        "{followed:?}"
    );
    let fetch = Request::LinkFetch(LinkFetchRequest {
        max_bytes: 0,
        max_wait_ms: 5_000,
        held: Vec::new(),
    });
    let answer = link.send(&fetch).answer().await;
    let Ok(Response::LinkFetch(LinkFetchResponse { items, .. })) = answer else {
        panic!("{answer:?}");
    };
    assert!(!items.is_empty());
}
