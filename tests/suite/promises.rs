//! What the wire protocol promises clients: order, retries, long polls, all or nothing, and the
//! details of refusals.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use npayload::format::Compression;
use serde_json::json;

use crate::raw::*;

fn of(producer: u128, sequence: u64) -> From {
    From {
        producer,
        epoch: 1,
        sequence,
        fence: 0,
    }
}

fn one(from: From, payload: &[u8]) -> Vec<u8> {
    batch_of(from, Compression::None, &[payload])
}

#[expect(
    clippy::disallowed_methods,
    reason = "a test's patience is measured in real time"
)]
fn clock() -> Instant {
    Instant::now()
}

#[test]
fn pipelined_publishes_are_applied_in_the_order_sent() {
    let server = Server::start();
    let mut raw = server.client();
    // One write with everything, so that the broker sees as many frames at once as it likes.
    let mut bytes = Vec::new();
    for n in 0..2_000u64 {
        let channel = if n % 2 == 0 { "even" } else { "odd" };
        let batch = batch(&[&n.to_le_bytes()]);
        bytes.extend(frame(PUBLISH, n, &publish_body(channel, n / 2, &batch)));
    }
    let mut writer = raw.stream.try_clone().expect("a second handle");
    let writing = std::thread::spawn(move || {
        use std::io::Write;
        writer.write_all(&bytes).expect("the server reads");
    });
    for (n, reply) in raw.replies(2_000).iter().enumerate() {
        assert_eq!(reply.published().first, n as u64 / 2);
    }
    writing.join().expect("written");
    for (channel, first) in [("even", 0u64), ("odd", 1)] {
        for (offset, payload) in raw.all(channel) {
            assert_eq!(payload, (2 * offset + first).to_le_bytes());
        }
    }
}

#[test]
fn connections_that_publish_at_once_each_keep_their_order() {
    let server = Server::start();
    let address = server.address();
    let threads: Vec<_> = (0..6u8)
        .map(|id| {
            std::thread::spawn(move || {
                let mut raw = Raw::greeted(address);
                for n in 0..100u8 {
                    raw.ask(PUBLISH, &publish_body("shared", NONE, &batch(&[&[id, n]])));
                }
                let acks = raw.replies(100);
                acks.iter().map(|ack| ack.published().first).collect()
            })
        })
        .collect();
    let acks: Vec<Vec<u64>> = threads
        .into_iter()
        .map(|thread| thread.join().expect("served"))
        .collect();
    let log = server.client().all("shared");
    assert_eq!(log.len(), 600);
    for (id, offsets) in acks.iter().enumerate() {
        assert!(offsets.is_sorted());
        for (n, offset) in offsets.iter().enumerate() {
            let record = &log[usize::try_from(*offset).expect("small")];
            assert_eq!(record.1, [id as u8, n as u8], "an ack names its record");
        }
    }
}

#[test]
fn a_retry_is_answered_with_what_the_first_try_was_given() {
    let mut server = Server::start();
    let mut raw = server.client();
    let acks: Vec<Ack> = (0..7)
        .map(|n| raw.publish("idem", &one(of(9, n), b"x")).published())
        .collect();
    // The connection is lost, and everything that may have been unanswered is sent again.
    drop(raw);
    for is_restarted in [false, true] {
        if is_restarted {
            server.restart();
        }
        let mut raw = server.client();
        let remembered = if is_restarted { 6..7 } else { 2..7 };
        for n in remembered {
            let again = raw.publish("idem", &one(of(9, n), b"x")).published();
            let ack = acks[usize::try_from(n).expect("small")];
            assert!(again.is_duplicate);
            assert_eq!((again.first, again.last), (ack.first, ack.last));
            assert_eq!(again.level, 2);
        }
        raw.publish("idem", &one(of(9, 0), b"x"))
            .error("SEQUENCE_TOO_OLD");
        let details = raw
            .publish("idem", &one(of(9, 9), b"x"))
            .error("SEQUENCE_GAP");
        assert_eq!(
            (&details["expected"], &details["actual"]),
            (&json!(7), &json!(9))
        );
        raw.publish("idem", &one(of(10, 1), b"x"))
            .error("UNKNOWN_PRODUCER");
        // The retry comes before a condition that the first try had fulfilled.
        let body = publish_body("idem", 6, &one(of(9, 6), b"x"));
        assert!(raw.request(PUBLISH, &body).published().is_duplicate);
        assert_eq!(raw.all("idem").len(), 7);
    }
    let mut raw = server.client();
    let next = From {
        epoch: 2,
        ..of(9, 0)
    };
    assert_eq!(raw.publish("idem", &one(next, b"new")).published().first, 7);
    raw.publish("idem", &one(of(9, 7), b"zombie"))
        .error("PRODUCER_FENCED");
    assert_eq!(raw.all("idem").len(), 8);
}

#[test]
fn behind_a_failed_batch_the_next_ones_of_its_producer_fail_too() {
    let server = Server::start();
    let mut raw = server.client();
    raw.publish("chain", &one(of(5, 0), b"0")).published();
    let mut bad = one(of(5, 1), b"1");
    bad[140] ^= 1;
    raw.ask(PUBLISH, &publish_body("chain", NONE, &bad));
    for n in 2..5 {
        raw.ask(
            PUBLISH,
            &publish_body("chain", NONE, &one(of(5, n), b"later")),
        );
    }
    let replies = raw.replies(4);
    replies[0].error("BATCH_CHECKSUM");
    for reply in &replies[1..] {
        reply.error("SEQUENCE_GAP");
    }
    for n in 1..5u64 {
        let ack = raw.publish("chain", &one(of(5, n), b"again")).published();
        assert_eq!(ack.first, n);
    }
}

#[test]
fn of_writers_that_expect_the_same_offset_one_succeeds() {
    let server = Server::start();
    let address = server.address();
    for round in 0..20u64 {
        let threads: Vec<_> = (0..4)
            .map(|_| {
                std::thread::spawn(move || {
                    let mut raw = Raw::greeted(address);
                    let body = publish_body("race", round, &batch(&[b"w"]));
                    let reply = raw.request(PUBLISH, &body);
                    if reply.kind != ERROR {
                        return true;
                    }
                    let details = reply.error("EXPECTED_OFFSET_MISMATCH");
                    assert_eq!(details["expected"], round);
                    // The offset that the refusal reveals is there to be read.
                    let end = details["actual"].as_u64().expect("an offset");
                    assert_eq!(raw.all("race").len() as u64, end);
                    false
                })
            })
            .collect();
        let won = threads
            .into_iter()
            .filter(|_| true)
            .map(|thread| thread.join().expect("served"))
            .filter(|won| *won)
            .count();
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn a_fence_shuts_out_those_before_it_also_after_a_restart() {
    let mut server = Server::start();
    let fence = |token| From {
        fence: token,
        ..From::default()
    };
    let mut raw = server.client();
    raw.publish("f", &one(fence(5), b"5")).published();
    server.restart();
    let mut raw = server.client();
    for token in [0, 4] {
        let details = raw.publish("f", &one(fence(token), b"old")).error("FENCED");
        assert_eq!(details["highest"], 5);
    }
    raw.publish("f", &one(fence(5), b"5")).published();
    raw.publish("f", &one(fence(u64::MAX), b"max")).published();
    raw.publish("f", &one(fence(6), b"6")).error("FENCED");
    assert_eq!(raw.all("f").len(), 3);
}

#[test]
fn a_long_poll_waits_for_its_bytes_and_no_longer_than_it_may() {
    let server = Server::start();
    let mut writer = server.client();
    let mut tail = server.client();
    writer.publish("poll", &batch(&[&[1; 100]])).published();
    let began = clock();
    // Too little for `min_bytes`: what is there comes when the time is over.
    let reply = tail.request(FETCH, &fetch_body("poll", 0, 1 << 20, 1 << 19, 400));
    assert_eq!(reply.fetched().records().len(), 1);
    assert!(began.elapsed() >= Duration::from_millis(380));
    let waiting = tail.ask(FETCH, &fetch_body("poll", 1, 1 << 20, 1000, 10_000));
    // The connection serves others meanwhile.
    tail.request(PING, b"").of(PING);
    let began = clock();
    for _ in 0..5 {
        writer.publish("poll", &batch(&[&[2; 100]])).published();
    }
    let reply = tail.reply();
    assert_eq!(reply.correlation, waiting);
    assert!(reply.fetched().batches.len() >= 1000);
    assert!(
        began.elapsed() < Duration::from_secs(5),
        "woken, not timed out"
    );
    // With less than its bytes allowed there is nothing to wait for.
    let began = clock();
    tail.request(FETCH, &fetch_body("poll", 0, 1, 1 << 20, 10_000))
        .fetched();
    assert!(began.elapsed() < Duration::from_secs(5));
    // A channel that goes away ends the wait.
    let waiting = tail.ask(FETCH, &fetch_body("poll", 6, 1 << 20, 1, 20_000));
    tail.request(PING, b"").of(PING);
    let began = clock();
    writer.json(DELETE, &json!({"name": "poll"})).of(DELETE);
    let reply = tail.reply();
    assert_eq!(reply.correlation, waiting);
    reply.error("CHANNEL_NOT_FOUND");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_fetch_of_end_and_of_a_place_is_answered_with_its_offset() {
    let server = Server::start();
    let mut raw = server.client();
    raw.publish("p", &batch(&[b"a", b"b", b"c"])).published();
    for (kind, from) in [(2u8, 0), (3, 3)] {
        let mut body = fetch_body("p", 0, 1 << 20, 1, 0);
        body[2 + 1 + 16] = kind;
        let fetched = raw.request(FETCH, &body).fetched();
        assert_eq!(fetched.from, from);
        assert_eq!((fetched.log_start, fetched.high_watermark), (0, 3));
    }
    // Batches are whole: the first one begins below the offset.
    assert_eq!(raw.fetch("p", 2).fetched().records().len(), 3);
}

#[test]
fn a_refused_atomic_publish_names_its_part_and_leaves_nothing() {
    let server = Server::start();
    let mut raw = server.client();
    raw.publish("a", &batch(&[b"0", b"1"])).published();
    raw.request(COMMIT, &commit_body("a", "c", 1, NONE))
        .of(COMMIT);
    let good = |channel: &str| publish_part(channel, NONE, &batch(&[b"part"]));
    let fenced = From {
        fence: 3,
        ..From::default()
    };
    raw.publish("fenced", &one(fenced, b"f")).published();
    let mut damaged = batch(&[b"part"]);
    damaged[150] ^= 1;
    let mut previous = commit_part("a", "c", 2);
    let at = previous.len() - 4 - 8;
    previous[at..at + 8].copy_from_slice(&0u64.to_le_bytes());
    let bad = [
        (
            "EXPECTED_OFFSET_MISMATCH",
            publish_part("a", 7, &batch(&[b"x"])),
        ),
        ("BATCH_CHECKSUM", publish_part("a", NONE, &damaged)),
        ("FENCED", good("fenced")),
        (
            "UNKNOWN_PRODUCER",
            publish_part("a", NONE, &one(of(1, 8), b"x")),
        ),
        ("INTERNAL_TOPIC", good("__channels")),
        ("OFFSET_OUT_OF_RANGE", commit_part("a", "c", 99)),
        ("CHANNEL_NOT_FOUND", commit_part("nowhere", "c", 0)),
        ("POSITION_MISMATCH", previous),
    ];
    for (name, part) in bad {
        let parts = [good("a"), commit_part("a", "other", 2), good("b"), part];
        let reply = raw.request(ATOMIC, &atomic_body(&parts));
        let details = reply.error(name);
        assert_eq!(details["part"], 3, "{name}: {}", reply.json());
        assert_eq!(raw.all("a").len(), 2, "{name}");
        raw.json(POSITION, &json!({"channel": "a", "consumer": "other"}))
            .error("CONSUMER_NOT_FOUND");
        raw.json(INFO, &json!({"name": "b"}))
            .error("CHANNEL_NOT_FOUND");
    }
    // Offsets are expected part by part: the second follows the first.
    let parts = [
        publish_part("a", 2, &batch(&[b"2", b"3"])),
        commit_part("a", "c", 2),
        publish_part("a", 4, &batch(&[b"4"])),
        publish_part("b", 0, &batch(&[b"0"])),
    ];
    raw.request(ATOMIC, &atomic_body(&parts)).of(ATOMIC);
    assert_eq!((raw.all("a").len(), raw.all("b").len()), (5, 1));
}

#[test]
fn a_retried_atomic_publish_is_answered_and_not_applied_again() {
    let mut server = Server::start();
    let mut raw = server.client();
    raw.publish("in", &batch(&[b"0", b"1", b"2"])).published();
    let parts = [
        publish_part("x", NONE, &one(of(3, 0), b"x")),
        publish_part("y", NONE, &one(of(3, 0), b"y")),
        commit_part("in", "c", 2),
    ];
    let body = atomic_body(&parts);
    let first = raw.request(ATOMIC, &body).of(ATOMIC).to_vec();
    raw.request(COMMIT, &commit_body("in", "c", 3, NONE))
        .of(COMMIT);
    for _ in 0..2 {
        let again = raw.request(ATOMIC, &body).of(ATOMIC).to_vec();
        assert_eq!(again.len(), first.len());
        assert_eq!(again[4..12], first[4..12], "the same offset");
        let position = raw.json(POSITION, &json!({"channel": "in", "consumer": "c"}));
        assert_eq!(
            position.json()["offset"],
            3,
            "commits are not applied again"
        );
        assert_eq!((raw.all("x").len(), raw.all("y").len()), (1, 1));
        server.restart();
        raw = server.client();
    }
    let half = [
        publish_part("x", NONE, &one(of(3, 0), b"x")),
        publish_part("y", NONE, &one(of(3, 1), b"y")),
    ];
    raw.request(ATOMIC, &atomic_body(&half))
        .error("INVALID_REQUEST");
}

#[test]
fn positions_are_compared_before_they_are_set() {
    let mut server = Server::start();
    let mut raw = server.client();
    raw.publish("a", &batch(&[b"0", b"1", b"2"])).published();
    let absent = u64::MAX - 1;
    let details = raw
        .request(COMMIT, &commit_body("a", "c", 1, 0))
        .error("POSITION_MISMATCH");
    assert_eq!(
        (&details["expected"], &details["actual"]),
        (&json!(0), &json!(null))
    );
    raw.request(COMMIT, &commit_body("a", "c", 1, absent))
        .of(COMMIT);
    server.restart();
    let mut raw = server.client();
    let details = raw
        .request(COMMIT, &commit_body("a", "c", 2, 0))
        .error("POSITION_MISMATCH");
    assert_eq!(
        (&details["expected"], &details["actual"]),
        (&json!(0), &json!(1))
    );
    let details = raw
        .request(COMMIT, &commit_body("a", "c", 2, absent))
        .error("POSITION_MISMATCH");
    assert_eq!(
        (&details["expected"], &details["actual"]),
        (&json!(null), &json!(1))
    );
    raw.request(COMMIT, &commit_body("a", "c", 0, 1)).of(COMMIT);
    let mut large = commit_body("a", "c", 2, NONE);
    large.truncate(large.len() - 4);
    large.extend(blob(&[b'm'; 4097]));
    let details = raw.request(COMMIT, &large).error("METADATA_TOO_LARGE");
    assert_eq!(
        (&details["found"], &details["limit"]),
        (&json!(4097), &json!(4096))
    );
}

#[test]
fn a_channel_made_again_shuts_out_those_who_knew_the_old_one() {
    let mut server = Server::start();
    let mut raw = server.client();
    let old = raw.publish("c", &one(of(4, 0), b"old")).published();
    raw.request(COMMIT, &commit_body("c", "reader", 1, NONE))
        .of(COMMIT);
    let details = raw
        .json(DELETE, &json!({"name": "c", "incarnation": "0".repeat(32)}))
        .json();
    assert!(
        ["CHANNEL_RECREATED", "INVALID_REQUEST"]
            .contains(&details["name"].as_str().expect("a name")),
        "{details}"
    );
    raw.json(DELETE, &json!({"name": "c"})).of(DELETE);
    let body = publish_to("c", old.incarnation, NONE, &one(of(4, 1), b"lost"));
    raw.request(PUBLISH, &body).error("CHANNEL_NOT_FOUND");
    raw.json(CREATE, &json!({"name": "c"})).of(CREATE);
    for _ in 0..2 {
        raw.request(PUBLISH, &body).error("CHANNEL_RECREATED");
        raw.publish("c", &one(of(4, 1), b"lost"))
            .error("UNKNOWN_PRODUCER");
        raw.json(POSITION, &json!({"channel": "c", "consumer": "reader"}))
            .error("CONSUMER_NOT_FOUND");
        assert!(raw.all("c").is_empty());
        server.restart();
        raw = server.client();
    }
}

#[test]
fn a_slow_reader_and_a_tailing_one_do_not_disturb_each_other() {
    let server = Server::start();
    let mut writer = server.client();
    let payload = vec![3; 200_000];
    for _ in 0..20 {
        writer.publish("both", &batch(&[&payload])).published();
    }
    // It asks for everything, and takes it a little at a time.
    let mut slow = server.client();
    let mut asked: HashMap<u64, u64> = (0..20)
        .map(|n| (slow.ask(FETCH, &fetch_body("both", n, 1, 1, 0)), n))
        .collect();
    let mut tail = server.client();
    for n in 20..60u64 {
        tail.ask(FETCH, &fetch_body("both", n, 8 << 20, 1, 10_000));
        let began = clock();
        writer.publish("both", &batch(&[b"new"])).published();
        let fetched = tail.reply().fetched();
        assert_eq!(fetched.records(), [(n, b"new".to_vec())]);
        assert!(began.elapsed() < Duration::from_secs(2));
        if n % 2 == 0 {
            // In any order, each once.
            let reply = slow.reply();
            let at = asked.remove(&reply.correlation).expect("asked for");
            assert!(reply.fetched().records() == [(at, payload.clone())]);
        }
    }
}
