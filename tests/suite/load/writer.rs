//! Writers: idempotent batches of one to thousands of records, several in flight.

use std::collections::{BTreeMap, VecDeque};
use std::io;

use npayload::format::Compression;

use super::ledger::{Draws, Ledger, Mark};
use super::{Site, Worker};
use crate::raw::{ERROR, From, NONE, PUBLISH, Raw, Reply, batch_of, publish_body};

/// Batches of one writer that are sent and not answered.
const WINDOW: usize = 8;

/// Writes to its channels for ever. What is not acknowledged when the broker goes is sent again to
/// the next one, with the same sequences.
#[derive(Debug)]
pub struct Writer {
    id: u32,
    draws: Draws,
    lanes: Vec<Lane>,
}

/// One channel of a writer.
#[derive(Debug)]
struct Lane {
    channel: String,
    next: u64,
    unacked: VecDeque<Sent>,
}

#[derive(Debug)]
struct Sent {
    number: u64,
    count: u64,
    body: Vec<u8>,
}

/// The body that publishes `count` records of a writer from `first` on.
pub fn batch_from(first: Mark, count: u64, seed: u64, compression: Compression) -> Vec<u8> {
    let numbers = first.number..first.number + count;
    let payloads: Vec<Vec<u8>> = numbers
        .map(|number| Mark { number, ..first }.payload(seed))
        .collect();
    let payloads: Vec<&[u8]> = payloads.iter().map(Vec::as_slice).collect();
    let from = From {
        producer: (u128::from(seed) << 64) | (u128::from(first.writer) + 1),
        epoch: 1,
        sequence: first.number,
        fence: 0,
    };
    batch_of(from, compression, &payloads)
}

impl Writer {
    pub fn new(id: u32, seed: u64, channels: &[&str]) -> Self {
        let lane = |channel: &&str| Lane {
            channel: (*channel).to_owned(),
            next: 0,
            unacked: VecDeque::new(),
        };
        Self {
            id,
            draws: Draws(seed ^ u64::from(id)),
            lanes: channels.iter().map(lane).collect(),
        }
    }

    /// Makes the next batch of one of its channels; which one it is.
    fn make(&mut self, seed: u64) -> usize {
        let at = usize::try_from(self.draws.below(self.lanes.len() as u64)).expect("small");
        let count = match self.draws.below(64) {
            0 => self.draws.below(5_000) + 1,
            1..8 => self.draws.below(500) + 1,
            _ => self.draws.below(20) + 1,
        };
        let compression = match self.draws.below(8) {
            0 => Compression::Lz4,
            1 => Compression::Zstd,
            _ => Compression::None,
        };
        let lane = &mut self.lanes[at];
        let first = Mark {
            writer: self.id,
            number: lane.next,
        };
        let batch = batch_from(first, count, seed, compression);
        lane.unacked.push_back(Sent {
            number: lane.next,
            count,
            body: publish_body(&lane.channel, NONE, &batch),
        });
        lane.next += count;
        at
    }

    fn answered(&mut self, at: usize, number: u64, reply: &Reply, site: &Site) -> io::Result<()> {
        let lane = &mut self.lanes[at];
        let place = lane.unacked.iter().position(|sent| sent.number == number);
        let place = place.expect("it was sent");
        let count = lane.unacked[place].count;
        let first_offset = if reply.kind == ERROR {
            appended_after_all(reply)?;
            None
        } else {
            let ack = reply.published();
            assert_eq!(ack.last, ack.first + count - 1, "an ack covers its batch");
            Some(ack.first)
        };
        lane.unacked.remove(place);
        let mark = Mark {
            writer: self.id,
            number,
        };
        site.ledger.acked(&lane.channel, mark, count, first_offset);
        Ok(())
    }
}

/// An error that says that the batch was appended earlier; others may be tried again, or are wrong.
pub fn appended_after_all(reply: &Reply) -> io::Result<()> {
    let error = reply.json();
    if error["name"] == "SEQUENCE_TOO_OLD" {
        return Ok(());
    }
    // Until a restart there is nothing to be had from this broker; where its disk turned
    // read-only, a channel may notice first.
    let is_read_only = error["message"]
        .as_str()
        .is_some_and(|text| text.contains("os error 30"));
    let is_failed =
        error["name"] == "JOURNAL_FAILED" || error["name"] == "CHANNEL_POISONED" && is_read_only;
    assert!(
        is_failed || error["retryable"] == true,
        "a writer was refused: {error}"
    );
    Err(io::Error::other(error.to_string()))
}

impl Worker for Writer {
    fn work(&mut self, site: &Site) -> io::Result<()> {
        let mut raw = Raw::try_greeted(site.address)?;
        let mut waiting = BTreeMap::new();
        for (at, lane) in self.lanes.iter().enumerate() {
            for sent in &lane.unacked {
                let correlation = raw.try_ask(PUBLISH, &sent.body)?;
                waiting.insert(correlation, (at, sent.number));
            }
        }
        loop {
            while waiting.len() < WINDOW && !site.is_over() {
                let at = self.make(site.ledger.seed);
                let sent = self.lanes[at].unacked.back().expect("just made");
                let correlation = raw.try_ask(PUBLISH, &sent.body)?;
                waiting.insert(correlation, (at, sent.number));
            }
            if waiting.is_empty() {
                return Ok(());
            }
            let reply = raw.try_reply()?;
            let (at, number) = waiting.remove(&reply.correlation).expect("it was asked");
            self.answered(at, number, &reply, site)?;
        }
    }

    fn check(&mut self, _raw: &mut Raw, ledger: &Ledger) {
        for lane in &self.lanes {
            let found = ledger.found(&lane.channel, self.id);
            assert!(
                found <= lane.next,
                "{}: {found} records of writer {}, which made {}",
                lane.channel,
                self.id,
                lane.next
            );
        }
    }
}
