//! Damage in the topic of positions: who asks where a consumer stands is told that it is not known,
//! everybody else goes on, and a repair brings back what is left.

use std::path::PathBuf;

use npayload::format::{BatchHeader, Gap, Stamp};
use serde_json::{Value, json};

use crate::raw::*;
use crate::stored::batches;

const CONSUMER_LIST: u16 = 48;
const CONSUMER_RESET: u16 = 50;
const CONSUMER_LAG: u16 = 51;
const CONSUMER_DELETE: u16 = 52;

/// The segment of the topic of positions, and where its batches are.
fn topic(server: &Server) -> (PathBuf, Vec<(usize, BatchHeader)>) {
    let info = server.client().json(INFO, &json!({"name": "__consumers"}));
    let id = info.json()["id"].as_str().unwrap().to_owned();
    let dir = server.data_dir().join("channels").join(id);
    let path = dir.join(format!("{:020}.log", 0));
    let bytes = std::fs::read(&path).unwrap();
    let batches = batches(&bytes);
    (path, batches)
}

/// Three consumers of a channel of five records, each with a position of its own, all of it in the
/// segments; `early` has committed twice.
fn with_positions() -> Server {
    let mut server = Server::start_with(|options| {
        options.http = Some(([127, 0, 0, 1], 0).into());
        // Only what a start finds.
        options.broker.storage.scrub_bytes_per_s = 0;
    });
    let mut raw = server.client();
    for n in 0..5u8 {
        raw.publish("a", &batch(&[&[n]])).published();
    }
    for (consumer, offset) in [("early", 1), ("lost", 2), ("early", 3), ("late", 4)] {
        let body = commit_body("a", consumer, offset, NONE);
        raw.request(COMMIT, &body).of(COMMIT);
    }
    server.restart();
    server
}

fn position(raw: &mut Raw, consumer: &str) -> Reply {
    raw.json(POSITION, &json!({"channel": "a", "consumer": consumer}))
}

#[test]
fn damaged_positions_are_told_as_damage_and_stop_nobody_else() {
    let mut server = with_positions();
    let (path, batches) = topic(&server);
    let (at, header) = batches[1];
    let intact = std::fs::read(&path).unwrap();
    let mut bytes = intact.clone();
    bytes[at + header.len() - 1] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    for _ in 0..2 {
        server.restart();
        let mut raw = server.client();
        let one = |consumer: &str| json!({"channel": "a", "consumer": consumer});
        let mut replies: Vec<Reply> = ["early", "lost", "late", "nobody"]
            .map(|consumer| position(&mut raw, consumer))
            .into();
        let to = json!({"channel": "a", "consumer": "late", "to": {"offset": 0}});
        replies.push(raw.json(CONSUMER_LIST, &json!({"channel": "a"})));
        replies.push(raw.json(CONSUMER_LAG, &json!({})));
        replies.push(raw.json(CONSUMER_RESET, &to));
        replies.push(raw.json(CONSUMER_DELETE, &one("late")));
        for consumer in ["late", "new"] {
            replies.push(raw.request(COMMIT, &commit_body("a", consumer, 5, NONE)));
        }
        let parts = [
            publish_part("a", NONE, &batch(&[b"never"])),
            commit_part("a", "late", 5),
        ];
        replies.push(raw.request(ATOMIC, &atomic_body(&parts)));
        for reply in &replies {
            let details = reply.error("DAMAGED");
            assert_eq!(details["channel"], "__consumers", "{details}");
            assert_eq!(details["position"], at, "{details}");
            assert_eq!(details["offset"], header.base_offset().0, "{details}");
            assert_eq!(details["file"], path.display().to_string(), "{details}");
        }
        // Publishing, alone or together, and reading go on; new channels too.
        let before = raw.all("a").len();
        raw.publish("a", &batch(&[b"on"])).published();
        raw.publish(&format!("new-{before}"), &batch(&[b"on"]))
            .published();
        let parts = [publish_part("a", NONE, &batch(&[b"on"]))];
        raw.request(ATOMIC, &atomic_body(&parts)).of(ATOMIC);
        assert_eq!(raw.all("a").len(), before + 2);
        assert!(raw.all("a").iter().all(|(_, payload)| payload != b"never"));
        let (status, health) = server.http("/healthz");
        let health: Value = serde_json::from_str(&health).unwrap();
        assert_eq!((status, &health["refusingChannels"]), (503, &json!(1)));
        assert_eq!(health["refusals"][0]["channel"], "__consumers");
        let reason = health["refusals"][0]["reason"].as_str().unwrap();
        assert!(reason.contains(path.to_str().unwrap()), "{reason}");
    }
    // The bytes were brought back: so are all positions.
    assert!(server.stop());
    std::fs::write(&path, intact).unwrap();
    server.launch();
    let mut raw = server.client();
    for (consumer, offset) in [("early", 3), ("lost", 2), ("late", 4)] {
        assert_eq!(position(&mut raw, consumer).json()["offset"], offset);
    }
    assert_eq!(server.http("/healthz").0, 200);
}

#[test]
fn behind_a_gap_in_their_topic_positions_are_served_and_taken_again() {
    for lost in 0..4 {
        let mut server = with_positions();
        let mut raw = server.client();
        // What follows may be about what is lost.
        let gone = json!({"channel": "a", "consumer": "lost"});
        raw.json(CONSUMER_DELETE, &gone).of(CONSUMER_DELETE);
        server.restart();
        let (path, batches) = topic(&server);
        let (at, header) = batches[lost];
        let stamp = Stamp {
            incarnation: header.incarnation(),
            base_offset: header.base_offset(),
            append_time: batches[lost + 1].1.append_time(),
            log_epoch: header.log_epoch(),
            principal: 0,
        };
        let gap = Gap {
            reason: "damaged".to_owned(),
            ..Gap::default()
        };
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at..at + header.len()].copy_from_slice(&gap.encode(&stamp, 1, header.len()));
        std::fs::write(&path, bytes).unwrap();
        for life in 0..2 {
            server.restart();
            let mut raw = server.client();
            let early = if lost == 2 { 1 } else { 3 };
            assert_eq!(position(&mut raw, "early").json()["offset"], early);
            position(&mut raw, "lost").error("CONSUMER_NOT_FOUND");
            let late = position(&mut raw, "late");
            match lost == 3 && life == 0 {
                true => drop(late.error("CONSUMER_NOT_FOUND")),
                false => assert_eq!(late.json()["offset"], 4, "commit {lost} lost"),
            }
            let again = commit_body("a", "late", 4, NONE);
            raw.request(COMMIT, &again).of(COMMIT);
            assert_eq!(server.http("/healthz").0, 200);
        }
    }
}
