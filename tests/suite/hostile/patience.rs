//! Clients that never read, never speak, or are too many.

use std::io::{Read, Write};
use std::time::Duration;

use super::Watched;
use crate::raw::*;

#[test]
fn a_client_that_never_reads_holds_up_nobody() {
    let mut watched = Watched::of(Server::start_with(|options| {
        options.write_timeout = Duration::from_millis(700);
    }));
    let mut greedy = watched.server.client();
    let large = vec![9; 500_000];
    for _ in 0..8 {
        greedy.publish("large", &batch(&[&large])).published();
    }
    let fetch = frame(FETCH, 1, &fetch_body("large", 0, 8 << 20, 1, 0));
    greedy
        .stream
        .set_write_timeout(Some(Duration::from_millis(500)))
        .expect("a socket option");
    // Four GiB of answers, none of them read.
    for _ in 0..1000 {
        if greedy.stream.write_all(&fetch).is_err() {
            break;
        }
    }
    for _ in 0..20 {
        watched.is_untouched();
        std::thread::sleep(Duration::from_millis(50));
    }
    // The broker has given it up: what is left in the sockets ends.
    let mut sink = vec![0; 1 << 20];
    let ended = (0..10_000).any(|_| !matches!(greedy.stream.read(&mut sink), Ok(1..)));
    assert!(ended);
    watched.is_untouched();
}

#[test]
fn idle_connections_cost_little_and_a_limit_holds() {
    let mut watched = Watched::of(Server::start_with(|options| {
        options.max_connections = 510;
    }));
    let idle: Vec<Raw> = (0..500).map(|_| watched.server.client()).collect();
    watched.is_untouched();
    let mut more: Vec<Raw> = Vec::new();
    let refused = loop {
        let mut raw = Raw::connect(watched.server.address());
        raw.ask(HELLO, &hello());
        let reply = raw.reply();
        if reply.kind == ERROR {
            break (raw, reply);
        }
        more.push(raw);
        assert!(more.len() < 20, "the limit holds");
    };
    let (raw, reply) = refused;
    assert_eq!(reply.correlation, 0);
    reply.error("TOO_MANY_CONNECTIONS");
    assert_eq!(reply.json()["retryable"], true);
    raw.expect_closed();
    watched.witness.request(PING, b"").of(PING);
    drop((idle, more));
    std::thread::sleep(Duration::from_millis(300));
    watched.is_untouched();
}

#[test]
fn silent_and_slow_connections_are_closed() {
    let mut watched = Watched::of(Server::start_with(|options| {
        options.idle_timeout = Duration::from_millis(300);
    }));
    let idle = watched.server.client();
    idle.expect_closed();
    // A long poll is a sign of life.
    let mut tail = watched.server.client();
    let reply = tail.request(FETCH, &fetch_body("kept", 6, 1000, 1, 900));
    assert!(reply.fetched().batches.is_empty());
    watched.witness = watched.server.client();
    watched.is_untouched();
}

#[test]
fn who_never_says_hello_is_closed_however_much_they_say() {
    let watched = Watched::new();
    let mut stranger = Raw::connect(watched.server.address());
    let mut said = 0;
    // Each is a sign of life, and none of them a hello.
    while said < 25 && stranger.try_ask(PING, b"").is_ok() {
        let Ok(reply) = stranger.try_reply() else {
            break;
        };
        reply.error("HELLO_REQUIRED");
        said += 1;
        std::thread::sleep(Duration::from_secs(1));
    }
    assert!(
        said < 25,
        "a stranger keeps a connection for as long as they like"
    );
}

#[test]
fn strangers_take_no_room_that_large_requests_need() {
    let mut watched = Watched::of(Server::start_with(|options| {
        options.receive_bytes = 1 << 20;
    }));
    let mut strangers: Vec<Raw> = (0..4)
        .map(|_| {
            let mut raw = Raw::connect(watched.server.address());
            // The head of a publish of 8 MiB, and no more of it for now.
            let head = frame(PUBLISH, 7, &[])[4..].to_vec();
            raw.send(&[&(8_u32 << 20).to_le_bytes(), &head[..], &[0; 64]].concat());
            raw
        })
        .collect();
    for stranger in &mut strangers {
        let reply = stranger.reply();
        assert_eq!(reply.correlation, 7);
        reply.error("FRAME_TOO_LONG");
    }
    let large = vec![7; 600 << 10];
    watched
        .witness
        .publish("large", &batch(&[&large]))
        .published();
    watched.is_untouched();
}
