//! Bodies that break a rule: JSON, names, numbers, and bytes cut off anywhere.

use serde_json::json;

use super::Watched;
use crate::raw::*;

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
        "", ".", "a..b", ".a", "a.", "a b", "a/b/c", "/a", "a/", "A/b", "../etc", "ä", "a\0b",
        "a\n", &long, &longer,
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
