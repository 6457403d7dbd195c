//! Atomic publishes over several channels with a commit, and consumers that read and commit.

use std::io;

use npayload::format::Compression;
use serde_json::json;

use super::ledger::{Draws, Ledger, Mark};
use super::writer::{appended_after_all, batch_from};
use super::{Site, Worker};
use crate::raw::{
    ATOMIC, COMMIT, ERROR, FETCH, NONE, POSITION, Raw, Reply, atomic_body, commit_body,
    commit_part, fetch_body, publish_part,
};

/// Publishes to two channels at once, ticks on a third, and commits how often it had ticked.
#[derive(Debug)]
pub struct Atomic {
    id: u32,
    draws: Draws,
    ticks: String,
    channels: [String; 2],
    /// How many records it had sent to each of the two channels before each tick.
    sent: Vec<u64>,
    next: u64,
    /// What is not answered: the tick, the records of each channel, the body.
    unacked: Option<(u64, u64, Vec<u8>)>,
}

const TICKER: &str = "ticker";

impl Atomic {
    pub fn new(id: u32, seed: u64, ticks: &str, channels: [&str; 2]) -> Self {
        Self {
            id,
            draws: Draws(seed ^ u64::from(id)),
            ticks: ticks.to_owned(),
            channels: channels.map(str::to_owned),
            sent: Vec::new(),
            next: 0,
            unacked: None,
        }
    }

    fn make(&mut self, seed: u64) {
        let tick = self.sent.len() as u64;
        let count = match self.draws.below(16) {
            0 => self.draws.below(1_000) + 1,
            _ => self.draws.below(10) + 1,
        };
        let batch = |number, count| {
            let writer = self.id;
            batch_from(Mark { writer, number }, count, seed, Compression::None)
        };
        let mut parts: Vec<Vec<u8>> = self
            .channels
            .iter()
            .map(|channel| publish_part(channel, NONE, &batch(self.next, count)))
            .collect();
        parts.push(publish_part(&self.ticks, tick, &batch(tick, 1)));
        parts.push(commit_part(&self.ticks, TICKER, tick));
        self.unacked = Some((tick, count, atomic_body(&parts)));
        self.sent.push(self.next);
        self.next += count;
    }

    fn answered(&self, tick: u64, count: u64, reply: &Reply, ledger: &Ledger) -> io::Result<()> {
        let mut offsets = [None; 2];
        if reply.kind == ERROR {
            appended_after_all(reply)?;
        } else {
            let body = reply.of(ATOMIC);
            let first = |part: usize| {
                let at = 4 + part * 50;
                u64::from_le_bytes(body[at..at + 8].try_into().expect("8 bytes"))
            };
            offsets = [Some(first(0)), Some(first(1))];
            assert_eq!(first(2), tick, "nobody else ticks");
        }
        let writer = self.id;
        let number = self.sent[usize::try_from(tick).expect("small")];
        for (channel, offset) in self.channels.iter().zip(offsets) {
            ledger.acked(channel, Mark { writer, number }, count, offset);
        }
        let number = tick;
        ledger.acked(&self.ticks, Mark { writer, number }, 1, Some(tick));
        Ok(())
    }
}

impl Worker for Atomic {
    fn work(&mut self, site: &Site) -> io::Result<()> {
        let mut raw = Raw::try_greeted(site.address)?;
        loop {
            if self.unacked.is_none() {
                if site.is_over() {
                    return Ok(());
                }
                self.make(site.ledger.seed);
            }
            let (tick, count, body) = self.unacked.as_ref().expect("just made");
            let reply = raw.try_request(ATOMIC, body)?;
            self.answered(*tick, *count, &reply, &site.ledger)?;
            self.unacked = None;
        }
    }

    /// All of an atomic publish is there, or nothing: its records, its tick and its commit.
    fn check(&mut self, raw: &mut Raw, ledger: &Ledger) {
        let ticks = ledger.found(&self.ticks, self.id);
        let at = usize::try_from(ticks).expect("small");
        let expected = self.sent.get(at).copied().unwrap_or(self.next);
        for channel in &self.channels {
            let found = ledger.found(channel, self.id);
            assert_eq!(found, expected, "{channel}: after {ticks} atomic publishes");
        }
        let position = position(raw, &self.ticks, TICKER);
        assert_eq!(position, ticks.checked_sub(1), "the commit of the last one");
    }
}

/// Reads a channel from its own committed position, and commits.
#[derive(Debug)]
pub struct Follower {
    name: String,
    channel: String,
    /// The highest position that was acknowledged, and the highest that was sent.
    acked: Option<u64>,
    sent: u64,
}

impl Follower {
    pub fn new(name: &str, channel: &str) -> Self {
        Self {
            name: name.to_owned(),
            channel: channel.to_owned(),
            acked: None,
            sent: 0,
        }
    }
}

impl Worker for Follower {
    fn work(&mut self, site: &Site) -> io::Result<()> {
        let mut raw = Raw::try_greeted(site.address)?;
        let mut at = self.acked.unwrap_or_default();
        while !site.is_over() {
            let body = fetch_body(&self.channel, at, 512 << 10, 1, 20);
            let reply = raw.try_request(FETCH, &body)?;
            if reply.kind == ERROR {
                // Whatever else is refused, reads go on until the broker stops.
                reply.error("SHUTTING_DOWN");
                return Err(io::Error::other("the broker stops"));
            }
            for (offset, payload) in reply.fetched().records() {
                if offset >= at {
                    site.ledger.read(&self.channel, offset, &payload);
                    at = offset + 1;
                }
            }
            self.sent = self.sent.max(at);
            let body = commit_body(&self.channel, &self.name, at, NONE);
            let reply = raw.try_request(COMMIT, &body)?;
            if reply.kind == ERROR {
                appended_after_all(&reply)?;
            }
            reply.of(COMMIT);
            self.acked = Some(at);
        }
        Ok(())
    }

    fn check(&mut self, raw: &mut Raw, _ledger: &Ledger) {
        let position = position(raw, &self.channel, &self.name);
        assert!(
            position >= self.acked && position.unwrap_or_default() <= self.sent,
            "{} of {}: {position:?}, acknowledged {:?}, sent {}",
            self.name,
            self.channel,
            self.acked,
            self.sent
        );
        // What was under way when the broker went may have been stored.
        self.acked = position;
    }
}

/// The position of a consumer, if it has one.
fn position(raw: &mut Raw, channel: &str, consumer: &str) -> Option<u64> {
    let reply = raw.json(POSITION, &json!({"channel": channel, "consumer": consumer}));
    if reply.kind == ERROR {
        reply.error("CONSUMER_NOT_FOUND");
        return None;
    }
    reply.json()["offset"].as_u64()
}
