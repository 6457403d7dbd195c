//! Limits of what one client may have the broker hold, and what it is told past them.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::Watched;
use crate::process::wait_for;
use crate::raw::*;

#[test]
fn requests_past_the_bytes_in_flight_are_taken_as_soon_as_others_are_answered() {
    let mut watched = Watched::of(Server::start_with(|options| {
        options.in_flight_bytes = 1000;
    }));
    for is_half_closed in [false, true] {
        let mut raw = watched.server.client();
        let body = publish_body("flood", NONE, &batch(&[&[7; 100]]));
        let frames: Vec<u8> = (1..=200).flat_map(|n| frame(PUBLISH, n, &body)).collect();
        // In one piece, so that nothing follows that would wake the broker.
        raw.send(&frames);
        if is_half_closed {
            raw.half_close();
        }
        for reply in raw.replies(200) {
            reply.published();
        }
    }
    watched.is_untouched();
}

#[test]
fn a_channel_more_than_the_limit_is_refused_and_those_there_are_go_on() {
    let mut watched = Watched::of(Server::start_with(|options| {
        options.broker.max_channels = 3;
    }));
    let mut raw = watched.server.client();
    raw.publish("second", &batch(&[b"x"])).published();
    let one = |name| publish_part(name, NONE, &batch(&[b"x"]));
    // Two more at once are too many, and then neither is made.
    let details = raw
        .request(ATOMIC, &atomic_body(&[one("a"), one("b")]))
        .error("TOO_MANY_CHANNELS");
    assert_eq!(details["found"], 4);
    raw.json(INFO, &json!({"name": "a"}))
        .error("CHANNEL_NOT_FOUND");
    raw.json(CREATE, &json!({"name": "third"})).of(CREATE);
    for _ in 0..3 {
        let reply = raw.publish("fourth", &batch(&[b"x"]));
        let details = reply.error("TOO_MANY_CHANNELS");
        assert_eq!(details, json!({"found": 4, "limit": 3}));
        let reply = raw.json(CREATE, &json!({"name": "fourth"}));
        reply.error("TOO_MANY_CHANNELS");
    }
    raw.json(CREATE, &json!({"name": "third", "ifNotExists": true}))
        .of(CREATE);
    raw.json(CREATE, &json!({"name": "third"}))
        .error("CHANNEL_EXISTS");
    for name in ["second", "third"] {
        let atomic = atomic_body(&[one(name), commit_part("kept", "c", 0)]);
        raw.request(ATOMIC, &atomic).of(ATOMIC);
    }
    watched.is_untouched();
    watched.server.restart();
    let mut raw = watched.server.client();
    raw.publish("fourth", &batch(&[b"x"]))
        .error("TOO_MANY_CHANNELS");
    raw.json(DELETE, &json!({"name": "third"})).of(DELETE);
    // Its place is free once its files are gone.
    wait_for("room for a channel", || {
        let reply = raw.publish("fourth", &batch(&[b"x"]));
        (reply.kind != ERROR).then_some(())
    });
}

#[test]
fn what_a_stop_finds_waiting_for_buffers_is_told_so() {
    // What has come by the stop, chance decides: one of some has something that waits.
    let told: Vec<usize> = (0..20)
        .map(|_| told_at_a_stop())
        .take_while(|told| *told == 0)
        .collect();
    assert!(told.len() < 20, "no stop found anything that waited");
}

/// How many requests a stop finds waiting, and answers.
fn told_at_a_stop() -> usize {
    // The buffers hold a few of these: the next one waits, and others wait behind it.
    let mut server = Server::start_with(|options| {
        options.broker.storage.max_unwritten_bytes = 300_000;
        options.broker.storage.max_round_bytes = 64 * 1024;
        options.stop_timeout = Duration::from_secs(20);
    });
    let mut raw = server.client();
    let payload = vec![1; 60_000];
    let body = publish_body("busy", NONE, &batch(&[&payload]));
    let sent = 64;
    let frames: Vec<u8> = (1..=sent).flat_map(|n| frame(PUBLISH, n, &body)).collect();
    let mut writer = raw.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        // The broker may have gone before all of it was taken.
        let _ = writer.write_all(&frames);
    });
    let first = raw.reply();
    first.published();
    assert!(server.stop(), "stops clean");
    let mut answered = vec![first.correlation];
    let mut told = 0;
    while let Some(reply) = raw.reply_or_end() {
        answered.push(reply.correlation);
        if reply.kind == ERROR {
            reply.error("SHUTTING_DOWN");
            assert_eq!(reply.json()["retryable"], true);
            told += 1;
        }
    }
    writing.join().expect("the writer ends");
    answered.sort_unstable();
    let whole: Vec<u64> = (1..=answered.len() as u64).collect();
    assert_eq!(
        answered, whole,
        "every request that was taken has one answer"
    );
    told
}
