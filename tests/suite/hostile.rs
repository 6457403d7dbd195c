//! What hostile and broken clients send, byte by byte: each gets the documented error, and nobody
//! else and no log notices.

use std::io::{Read, Write};
use std::time::Duration;

use npayload::format::{Compression, MAX_BATCH_BYTES};
use serde_json::json;

use crate::raw::*;

/// A server with a log that must not change, and a client that must go on being served.
struct Watched {
    server: Server,
    witness: Raw,
    log: Vec<(u64, Vec<u8>)>,
}

impl Watched {
    fn new() -> Self {
        Self::of(Server::start())
    }

    fn of(server: Server) -> Self {
        let mut witness = server.client();
        for n in 0..3u8 {
            witness
                .publish("kept", &batch(&[&[n; 20], b"x"]))
                .published();
        }
        let log = witness.all("kept");
        assert_eq!(log.len(), 6);
        Self {
            server,
            witness,
            log,
        }
    }

    /// The witness and a new connection are served, and the log is what it was.
    fn is_untouched(&mut self) {
        self.witness.request(PING, b"").of(PING);
        assert_eq!(self.witness.all("kept"), self.log);
        assert_eq!(self.server.client().all("kept"), self.log);
    }
}

#[test]
fn a_length_that_breaks_a_limit_is_answered_and_ends_the_connection() {
    let mut watched = Watched::new();
    for length in [0u32, 1, 11] {
        let mut raw = watched.server.client();
        raw.send(&length.to_le_bytes());
        let details = raw.reply().error("INVALID_FRAME");
        assert_eq!(details, json!({"length": length, "min": 12}));
        raw.expect_closed();
    }
    let limits = [
        (HELLO, 64 << 10),
        (PING, 1 << 20),
        (FETCH, 1 << 20),
        (CREATE, 1 << 20),
        (999, 1 << 20),
        (PUBLISH, 72 << 20),
        (ATOMIC, 72 << 20),
    ];
    for (kind, limit) in limits {
        for length in [limit + 1, u32::MAX / 2 + 1, u32::MAX] {
            let mut raw = watched.server.client();
            let mut head = frame(kind, 77, b"");
            head[..4].copy_from_slice(&length.to_le_bytes());
            raw.send(&head);
            let reply = raw.reply();
            assert_eq!(reply.correlation, 77);
            let details = reply.error("FRAME_TOO_LONG");
            assert_eq!(details, json!({"length": length, "limit": limit}));
            raw.expect_closed();
        }
    }
    watched.is_untouched();
}

#[test]
fn the_error_reaches_a_client_that_is_still_sending_its_huge_frame() {
    let mut watched = Watched::new();
    for _ in 0..5 {
        let mut raw = watched.server.client();
        let mut head = frame(PUBLISH, 5, b"");
        head[..4].copy_from_slice(&u32::MAX.to_le_bytes());
        raw.send(&head);
        // Far more than any socket buffer; whether all of it is taken is the broker's business.
        for _ in 0..200 {
            if raw.stream.write_all(&[7; 64 * 1024]).is_err() {
                break;
            }
        }
        raw.reply().error("FRAME_TOO_LONG");
    }
    watched.is_untouched();
}

#[test]
fn unknown_kinds_and_versions_leave_the_connection_usable() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    for kind in [0u16, 3, 20, 31, 65, 0x7FFF, 0x8000, 0x8010, 0xFFFF] {
        let details = raw.request(kind, b"anything").error("UNKNOWN_KIND");
        assert_eq!(details["kind"], kind);
    }
    for version in [0u16, 2, u16::MAX] {
        raw.send(&frame_of_version(PUBLISH, version, 9, b"anything"));
        let reply = raw.reply();
        assert_eq!(reply.correlation, 9);
        let details = reply.error("UNSUPPORTED_VERSION");
        let expected = json!({"kind": 16, "version": version, "min": 1, "max": 1});
        assert_eq!(details, expected);
    }
    raw.request(PING, b"").of(PING);
    watched.is_untouched();
}

#[test]
fn a_hello_comes_first_and_once() {
    let mut watched = Watched::new();
    let mut raw = Raw::connect(watched.server.address());
    raw.request(PING, b"").error("HELLO_REQUIRED");
    raw.publish("kept", &batch(&[b"too early"]))
        .error("HELLO_REQUIRED");
    raw.json(CREATE, &json!({"name": "too.early"}))
        .error("HELLO_REQUIRED");
    let details = raw
        .json(
            HELLO,
            &json!({"client": "old", "minVersion": 2, "maxVersion": 9}),
        )
        .error("UNSUPPORTED_VERSION");
    assert_eq!((&details["min"], &details["max"]), (&json!(1), &json!(1)));
    raw.json(HELLO, &json!({"client": "x", "minVersion": 1}))
        .error("INVALID_REQUEST");
    raw.request(HELLO, &hello()).of(HELLO);
    raw.request(HELLO, &hello()).error("INVALID_REQUEST");
    raw.request(PING, b"").of(PING);
    // Requests may follow the hello without waiting for its answer.
    let mut eager = Raw::connect(watched.server.address());
    eager.send(&[frame(HELLO, 1, &hello()), frame(PING, 2, b"")].concat());
    let replies = eager.replies(2);
    replies[0].of(HELLO);
    replies[1].of(PING);
    watched.is_untouched();
}

#[test]
fn json_that_breaks_a_rule_is_an_invalid_request() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let bodies: [&[u8]; 12] = [
        b"",
        b"{",
        b"null",
        b"[]",
        b"\xff\xfe",
        b"{\"name\":\"kept\"} {}",
        b"{\"name\":\"kept\",\"name\":\"kept\"}",
        b"{\"name\":\"kept\",\"unheardOf\":1}",
        b"{\"name\":7}",
        b"{\"name\":null}",
        b"{}",
        deep.as_bytes(),
    ];
    for body in bodies {
        let shown = String::from_utf8_lossy(&body[..body.len().min(40)]).into_owned();
        let reply = raw.request(INFO, body);
        assert_eq!(
            reply.json()["name"],
            "INVALID_REQUEST",
            "{shown}: {reply:?}"
        );
    }
    let configs = [
        json!({"segmentBytes": -1}),
        json!({"segmentBytes": 1.5}),
        json!({"segmentBytes": 1e300}),
        json!({"durability": "maybe"}),
        json!({"compression": ["brotli"]}),
    ];
    for config in configs {
        raw.json(CREATE, &json!({"name": "bad", "config": config}))
            .error("INVALID_REQUEST");
    }
    let configs = [
        ("segmentBytes", json!(1)),
        ("segmentBytes", json!(u64::MAX)),
        ("maxRecordBytes", json!(65 << 20)),
        ("syncIntervalMs", json!(0)),
        ("compression", json!([])),
    ];
    for (field, value) in configs {
        let mut config = json!({});
        config[field] = value.clone();
        let details = raw
            .json(CREATE, &json!({"name": "bad", "config": config}))
            .error("INVALID_CONFIG");
        assert_eq!(details["field"], field, "{value}");
    }
    raw.json(INFO, &json!({"name": "bad"}))
        .error("CHANNEL_NOT_FOUND");
    watched.is_untouched();
}

#[test]
fn bad_names_are_refused_with_the_name() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let long = "n".repeat(257);
    let longer = "n".repeat(60_000);
    let names = [
        "", ".", "a..b", ".a", "a.", "a b", "a/b", "../etc", "ä", "a\0b", "a\n", &long, &longer,
    ];
    for name in names {
        let reply = raw.publish(name, &batch(&[b"x"]));
        let details = reply.error("INVALID_NAME");
        let shown = details["name"].as_str().expect("the name");
        assert!(shown.len() < 300, "shortened");
        raw.json(CREATE, &json!({"name": name}))
            .error("INVALID_NAME");
        raw.fetch(name, 0).error("INVALID_NAME");
        raw.request(COMMIT, &commit_body("kept", name, 0, NONE))
            .error("INVALID_NAME");
    }
    for name in ["__channels", "__consumers", "__new"] {
        let details = raw.publish(name, &batch(&[b"x"])).error("INTERNAL_TOPIC");
        assert_eq!(details["name"], name);
        for (kind, body) in [
            (CREATE, json!({"name": name})),
            (35, json!({"name": name, "config": {}})),
            (DELETE, json!({"name": name})),
        ] {
            let details = raw.json(kind, &body).error("INTERNAL_TOPIC");
            assert_eq!(details["name"], name, "kind {kind}");
        }
    }
    assert!(
        !raw.all("__channels").is_empty(),
        "internal topics are read"
    );
    raw.json(INFO, &json!({"name": "__consumers"})).of(INFO);
    watched.is_untouched();
}

#[test]
fn batches_that_break_a_rule_are_refused_at_the_door() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let good = batch(&[b"hello", b"", b"world"]);
    let mut refused = |name: &str, bytes: &[u8]| raw.publish("kept", bytes).error(name);
    for at in 72..good.len() {
        let mut flipped = good.clone();
        flipped[at] ^= 1;
        refused("BATCH_CHECKSUM", &flipped);
    }
    for cut in 0..good.len() {
        refused("INVALID_BATCH", &good[..cut]);
    }
    refused("INVALID_BATCH", &[&good[..], &good[..]].concat());
    refused("INVALID_BATCH", &[&good[..], &[0; 8]].concat());
    // What the broker stamps must be zero; each byte of it, alone.
    for at in (4..8).chain(10..12).chain(16..72) {
        let mut stamped = good.clone();
        stamped[at] = 1;
        refused("INVALID_BATCH", &stamped);
    }
    let set = |at: usize, value: u32| {
        forged(good.clone(), |batch| {
            batch[at..at + 4].copy_from_slice(&value.to_le_bytes());
        })
    };
    for count in [0, 1, 2, 4, 1_000_001, u32::MAX] {
        let forged = forged(set(76, count), |batch| {
            batch[80..84].copy_from_slice(&count.to_le_bytes());
        });
        let name = if count > 1_000_000 {
            "BATCH_TOO_LARGE"
        } else {
            "INVALID_BATCH"
        };
        refused(name, &forged);
    }
    refused("INVALID_BATCH", &set(80, 4));
    for length in [0, 1, u32::MAX] {
        refused("INVALID_BATCH", &set(108, length));
    }
    for length in [0, 1, u32::MAX] {
        let name = if length == u32::MAX {
            "BATCH_TOO_LARGE"
        } else {
            "INVALID_BATCH"
        };
        refused(name, &set(84, length));
    }
    for compression in [0u8, 4, 255] {
        refused(
            "INVALID_BATCH",
            &forged(good.clone(), |b| b[72] = compression),
        );
    }
    // The first record: its length, delta, key and header counts, flags.
    refused("RECORD_TOO_LARGE", &set(128, u32::MAX));
    for (at, value) in [(128, 0), (128, 23), (132, 1), (144, u32::MAX)] {
        refused("INVALID_BATCH", &set(at, value));
    }
    for (at, value) in [(150, 255u8), (151, 0x80), (148, 255), (149, 255)] {
        refused("INVALID_BATCH", &forged(good.clone(), |b| b[at] = value));
    }
    watched.is_untouched();
}

#[test]
fn compression_bombs_and_oversized_records_are_bounded() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let zeros = vec![0; 1 << 20];
    for compression in [Compression::Lz4, Compression::Zstd] {
        let packed = batch_of(From::default(), compression, &[&zeros[..900_000]; 8]);
        assert!(packed.len() < 100_000);
        // It claims less than it holds, and more.
        let claim = |value: u32| {
            forged(packed.clone(), |batch| {
                batch[84..88].copy_from_slice(&value.to_le_bytes());
            })
        };
        for claimed in [0, 1, 900_000, 8 << 20] {
            raw.publish("kept", &claim(claimed)).error("INVALID_BATCH");
        }
        // Eight records of the channel's largest size do not make that much.
        raw.publish("kept", &claim(64 << 20))
            .error("RECORD_TOO_LARGE");
        let details = raw
            .publish("kept", &claim(u32::MAX))
            .error("BATCH_TOO_LARGE");
        assert_eq!(details["limit"], MAX_BATCH_BYTES - 128);
        // Garbage where a compressed frame should be, with a right checksum.
        let garbage = forged(packed.clone(), |batch| batch[128..].fill(0xA5));
        raw.publish("kept", &garbage).error("INVALID_BATCH");
        let wrong = if compression == Compression::Lz4 {
            3
        } else {
            2
        };
        let wrong = forged(packed.clone(), |batch| batch[72] = wrong);
        raw.publish("kept", &wrong).error("INVALID_BATCH");
        let large = batch_of(From::default(), compression, &[&zeros[..]]);
        let details = raw.publish("kept", &large).error("RECORD_TOO_LARGE");
        assert_eq!(details, json!({"found": (1 << 20) + 24, "limit": 1 << 20}));
    }
    let large = batch(&[b"small", &zeros]);
    let details = raw.publish("kept", &large).error("RECORD_TOO_LARGE");
    assert_eq!(details["limit"], 1 << 20);
    raw.json(
        CREATE,
        &json!({"name": "plain", "config": {"compression": ["none"]}}),
    )
    .of(CREATE);
    let packed = batch_of(From::default(), Compression::Zstd, &[b"x"]);
    raw.publish("plain", &packed)
        .error("COMPRESSION_NOT_ALLOWED");
    watched.is_untouched();
}

#[test]
fn bodies_cut_or_grown_anywhere_are_invalid_requests() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let atomic = atomic_body(&[
        publish_part("kept", NONE, &batch(&[b"x"])),
        commit_part("kept", "c", 1),
    ]);
    let bodies = [
        (ATOMIC, atomic.clone()),
        (FETCH, fetch_body("kept", 0, 1000, 1, 0)),
        (COMMIT, commit_body("kept", "c", 1, NONE)),
    ];
    for (kind, body) in bodies {
        for cut in 0..body.len() {
            let reply = raw.request(kind, &body[..cut]);
            let name = reply.json()["name"].as_str().unwrap_or("none").to_owned();
            let is_refused = ["INVALID_REQUEST", "INVALID_NAME", "INVALID_BATCH"].contains(&&*name);
            assert!(is_refused, "kind {kind} cut at {cut}: {name}");
        }
        raw.request(kind, &[&body[..], &[0]].concat())
            .error("INVALID_REQUEST");
    }
    for count in [0u32, 1, 3, 1025, u32::MAX] {
        let mut body = atomic.clone();
        body[..4].copy_from_slice(&count.to_le_bytes());
        let reply = raw.request(ATOMIC, &body);
        let name = if count > 1024 {
            "ATOMIC_TOO_LARGE"
        } else {
            "INVALID_REQUEST"
        };
        reply.error(name);
    }
    let mut tagged = atomic.clone();
    tagged[4] = 3;
    raw.request(ATOMIC, &tagged).error("INVALID_REQUEST");
    let mut flags = publish_body("kept", NONE, &batch(&[b"x"]));
    flags[2 + 4 + 16 + 8] = 1;
    raw.request(PUBLISH, &flags).error("INVALID_REQUEST");
    raw.request(PING, b"x").error("INVALID_REQUEST");
    watched.is_untouched();
    raw.json(POSITION, &json!({"channel": "kept", "consumer": "c"}))
        .error("CONSUMER_NOT_FOUND");
}

#[test]
fn numbers_at_the_edges_are_refused_with_the_valid_range() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    for from in [7, 1 << 53, u64::MAX - 1, u64::MAX] {
        let details = raw.fetch("kept", from).error("OFFSET_OUT_OF_RANGE");
        assert_eq!((&details["start"], &details["end"]), (&json!(0), &json!(6)));
        let committed = raw.request(COMMIT, &commit_body("kept", "c", from, NONE));
        let details = committed.error("OFFSET_OUT_OF_RANGE");
        assert_eq!((&details["start"], &details["end"]), (&json!(0), &json!(6)));
    }
    for from_kind in [0u8, 5, 255] {
        let mut body = fetch_body("kept", 0, 1000, 1, 0);
        body[2 + 4 + 16] = from_kind;
        raw.request(FETCH, &body).error("INVALID_REQUEST");
    }
    for (time, from) in [(i64::MIN, 0), (-1, 0), (i64::MAX, 6)] {
        let mut body = fetch_body("kept", u64::from_le_bytes(time.to_le_bytes()), 1000, 1, 0);
        body[2 + 4 + 16] = 4;
        assert_eq!(raw.request(FETCH, &body).fetched().from, from, "{time}");
    }
    // An epoch from the future: what was read there is not what is here.
    let mut body = fetch_body("kept", 3, 1000, 1, 0);
    body[2 + 4 + 16 + 1 + 8..][..8].copy_from_slice(&u64::MAX.to_le_bytes());
    raw.request(FETCH, &body).error("DIVERGED");
    let details = raw
        .request(
            PUBLISH,
            &publish_body("kept", u64::MAX - 1, &batch(&[b"x"])),
        )
        .error("EXPECTED_OFFSET_MISMATCH");
    assert_eq!(details, json!({"expected": u64::MAX - 1, "actual": 6}));
    for place in [json!({"offset": u64::MAX}), json!({"offset": 7})] {
        raw.json(37, &json!({"channel": "kept", "at": place}))
            .error("OFFSET_OUT_OF_RANGE");
    }
    let back = raw.json(37, &json!({"channel": "kept", "at": {"back": u64::MAX}}));
    assert_eq!(back.json()["offset"], 0);
    for place in [
        json!({}),
        json!({"offset": 1, "start": true}),
        json!({"offset": -1}),
        json!({"start": false}),
    ] {
        raw.json(37, &json!({"channel": "kept", "at": place.clone()}))
            .error("INVALID_REQUEST");
    }
    watched.is_untouched();
}

#[test]
fn a_request_may_come_in_pieces_cut_anywhere() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let whole = frame(PUBLISH, 1, &publish_body("pieces", NONE, &batch(&[b"p"])));
    for cut in 1..whole.len() {
        raw.send(&whole[..cut]);
        if cut % 16 == 0 {
            // Long enough that the piece is read alone; the others arrive as they may.
            std::thread::sleep(Duration::from_millis(2));
        }
        raw.send(&whole[cut..]);
        assert_eq!(raw.reply().published().first, cut as u64 - 1);
    }
    for byte in &whole {
        raw.send(&[*byte]);
    }
    raw.reply().published();
    assert_eq!(raw.all("pieces").len(), whole.len());
    // Cut off for good, at every place: nothing of it is stored.
    for cut in 0..whole.len() {
        let mut raw = watched.server.client();
        raw.send(&whole[..cut]);
        if cut % 2 == 0 {
            raw.half_close();
            raw.expect_closed();
        }
    }
    assert_eq!(raw.all("pieces").len(), whole.len());
    watched.is_untouched();
}

#[test]
fn what_was_sent_before_a_half_close_is_answered() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    for n in 0..50u64 {
        raw.ask(PUBLISH, &publish_body("half", n, &batch(&[b"h"])));
    }
    raw.half_close();
    for reply in raw.replies(50) {
        reply.published();
    }
    raw.expect_closed();
    watched.is_untouched();
}

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
