//! Frames that lie about their length, come in pieces, or come too early.

use std::io::Write;
use std::time::Duration;

use serde_json::json;

use super::Watched;
use crate::raw::*;

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
    for kind in [0u16, 3, 20, 31, 0x7FFE, 0x7FFF, 0x8000, 0x8010, 0xFFFF] {
        let details = raw.request(kind, b"anything").error("UNKNOWN_KIND");
        assert_eq!(details["kind"], kind);
    }
    for version in [0u16, 3, u16::MAX] {
        raw.send(&frame_of_version(PUBLISH, version, 9, b"anything"));
        let reply = raw.reply();
        assert_eq!(reply.correlation, 9);
        let details = reply.error("UNSUPPORTED_VERSION");
        let expected = json!({"kind": 16, "version": version, "min": 1, "max": 2});
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
