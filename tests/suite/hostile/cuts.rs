//! Every kind of request: cut at each byte, sent byte by byte, and with a body of anything.

use std::io::Write;

use npayload::protocol::api::APIS;

use super::Watched;
use crate::raw::*;

/// One frame of every request but the hello, by the file's name.
fn requests() -> Vec<(String, Vec<u8>)> {
    let frames = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/frames");
    let mut found: Vec<(String, Vec<u8>)> = std::fs::read_dir(frames)
        .expect("the golden frames")
        .map(|entry| entry.expect("a file").path())
        .filter_map(|path| {
            let name = path.file_stem()?.to_str()?.to_owned();
            let bytes = std::fs::read(&path).expect("a golden frame");
            (name.ends_with("_request") && name != "hello_request").then_some((name, bytes))
        })
        .collect();
    found.sort();
    let later = found
        .iter()
        .filter(|(name, _)| name.contains("_v2_"))
        .count();
    assert_eq!(
        found.len() - later,
        APIS.len() - 1,
        "every kind but the hello"
    );
    found
}

#[test]
fn every_request_cut_at_each_byte_does_nothing_and_ends_alone() {
    let mut watched = Watched::new();
    let before = watched.all_channels();
    let mut half_open = Vec::new();
    for (name, frame) in requests() {
        for cut in 0..frame.len() {
            let mut raw = watched.server.client();
            // What stands before it is answered, whatever becomes of the rest.
            raw.ask(PING, b"");
            raw.send(&frame[..cut]);
            match cut % 3 {
                0 => {
                    raw.half_close();
                    raw.reply().of(PING);
                    raw.expect_closed();
                }
                1 => drop(raw),
                _ => {
                    raw.reply().of(PING);
                    half_open.push(raw);
                }
            }
        }
        assert_eq!(watched.all_channels(), before, "{name}");
    }
    watched.is_untouched();
    drop(half_open);
    watched.is_untouched();
    assert_eq!(watched.all_channels(), before);
}

#[test]
fn every_request_that_comes_byte_by_byte_is_answered_once() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    for (name, frame) in requests() {
        for byte in &frame {
            raw.send(&[*byte]);
        }
        assert_eq!(raw.reply().correlation, 7, "{name}");
        raw.request(PING, b"").of(PING);
    }
    watched.is_untouched();
}

#[test]
fn every_length_within_a_frame_is_checked_before_it_is_believed() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    // A body of 0xFF where any length, count or number may stand, from each byte on.
    for (name, frame) in requests() {
        for at in 16..frame.len() {
            for width in [1, 2, 4, 8] {
                let mut spoilt = frame.clone();
                let end = (at + width).min(spoilt.len());
                spoilt[at..end].fill(0xFF);
                raw.stream.write_all(&spoilt).expect("the server reads");
                let reply = raw.reply();
                assert_eq!(reply.correlation, 7, "{name}, {width} bytes at {at}");
            }
        }
    }
    watched.is_untouched();
}

#[test]
fn bodies_of_json_that_explode_are_refused_for_every_kind() {
    let mut watched = Watched::new();
    let mut raw = watched.server.client();
    let nested = |open: &str, close: &str, depth: usize| {
        format!("{{\"name\":{}{}}}", open.repeat(depth), close.repeat(depth))
    };
    let digits = "9".repeat(900_000);
    let bombs: Vec<Vec<u8>> = vec![
        nested("[", "]", 500_000).into(),
        nested("{\"a\":", "}", 100_000).into(),
        format!("{{\"limit\":{digits}}}").into(),
        format!("{{\"at\":{{\"offset\":-{digits}}}}}").into(),
        format!("{{\"at\":{{\"offset\":1e{digits}}}}}").into(),
        format!("{{\"name\":\"{}\"}}", "\\u0000".repeat(170_000)).into(),
        format!("{{\"{}\":1}}", "k".repeat(1_000_000)).into(),
        format!("{{{}\"name\":1}}", "\"name\":\"a\",".repeat(90_000)).into(),
        b"{\"name\":\"\xff\xfe\xed\xa0\x80\"}".to_vec(),
        b"{\"name\":\"\\ud800\"}".to_vec(),
        vec![b'{'; 1_000_000],
        vec![b' '; 1_000_000],
        vec![b'"'; 1_000_000],
        vec![0; 1_000_000],
    ];
    for kind in (32..=37).chain(48..=52).chain([64]) {
        for (n, bomb) in bombs.iter().enumerate() {
            let reply = raw.request(kind, bomb);
            let shown = String::from_utf8_lossy(&reply.body);
            let shown = &shown[..shown.len().min(200)];
            assert_eq!(reply.kind, ERROR, "kind {kind}, bomb {n}: {shown}");
            let name = reply.json()["name"].clone();
            let is_typed = name == "INVALID_REQUEST" || name == "INVALID_NAME";
            assert!(is_typed, "kind {kind}, bomb {n}: {shown}");
            assert!(reply.body.len() < 2000, "an answer repeats its bomb");
        }
    }
    watched.is_untouched();
}

#[test]
fn garbage_after_the_hello_is_answered_or_cut_off() {
    let mut watched = Watched::new();
    let mut seed = 0x9E37_79B9_7F4A_7C15_u64;
    for round in 0..200u32 {
        let mut raw = watched.server.client();
        let garbage: Vec<u8> = (0..300)
            .map(|_| {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                seed.to_le_bytes()[3]
            })
            .collect();
        // In half of them the first frame is of a length that might be meant.
        let mut bytes = garbage;
        if round % 2 == 0 {
            bytes[..4].copy_from_slice(&(100 + round).to_le_bytes());
        }
        let _ = raw.stream.write_all(&bytes);
        raw.half_close();
        while let Some(reply) = raw.reply_or_end() {
            assert_eq!(reply.kind, ERROR, "{reply:?}");
        }
    }
    watched.is_untouched();
}
