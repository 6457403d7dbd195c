//! A region of a run in which homes are moved: its journal, and what it says and knows of homes.
//!
//! The log and the topics are a model, so that what a broker does not do yet is judged too; who is
//! home, which batches belong to the log and what a copy takes is decided by the code that runs.

use std::collections::BTreeMap;

use npayload::region::copies::{BatchMark, Cursor, Source as Has};
use npayload::region::homes::{HomeEvent, Homes, Move, Run, Verdict};
use npayload::region::{HomeEpoch, LogName};
use npayload::types::{Incarnation, LogEpoch, Offset, RegionName, Timestamp};

use crate::sim::trace::anomaly;

pub const LOG: Incarnation = Incarnation(7);

/// A batch of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Batch {
    pub base: u64,
    pub end: u64,
    pub epoch: LogEpoch,
    pub time: i64,
    /// No other batch of the run has it: it stands for the bytes.
    pub uid: u32,
}

impl Batch {
    pub fn mark(&self) -> BatchMark {
        BatchMark {
            base: Offset(self.base),
            end: Offset(self.end),
            epoch: self.epoch,
            append_time: Timestamp(self.time),
            body_crc: self.uid,
        }
    }
}

/// What a region has written, in order.
#[derive(Clone, Debug)]
pub enum Entry {
    /// Appended as the home, or to the copy.
    Batch(Batch),
    /// Of the topic of a region, its own or another's.
    Event(RegionName, HomeEvent),
    /// What lies from this offset on was set aside.
    Cut(u64),
}

pub struct Node {
    pub name: RegionName,
    journal: Vec<Entry>,
    /// Entries that survive a power cut.
    synced: usize,
    pub starts: u64,
    pub down_until: u64,
    pub homes: Homes,
    /// Events known of each region's topic.
    pub topics: BTreeMap<RegionName, Vec<HomeEvent>>,
    pub log: Vec<Batch>,
    pub set_aside: Vec<Batch>,
    /// The highest flushed offset of a home that it has heard of.
    pub heard: Option<Offset>,
    /// How many batches, and events of its own, are synced.
    pub flushed: u64,
    synced_events: usize,
}

impl Node {
    pub fn new(name: &str) -> Self {
        Self {
            name: RegionName::parse(name).unwrap(),
            journal: Vec::new(),
            synced: 0,
            starts: 1,
            down_until: 0,
            homes: Homes::default(),
            topics: BTreeMap::new(),
            log: Vec::new(),
            set_aside: Vec::new(),
            heard: None,
            flushed: 0,
            synced_events: 0,
        }
    }

    pub fn is_up(&self, step: u64) -> bool {
        self.down_until <= step
    }

    pub fn end(&self) -> u64 {
        self.log.last().map_or(0, |batch| batch.end)
    }

    pub fn epoch(&self) -> LogEpoch {
        self.log.last().map_or(LogEpoch(0), |batch| batch.epoch)
    }

    pub fn is_synced(&self) -> bool {
        self.synced == self.journal.len()
    }

    /// Its own events that survive a power cut.
    pub fn own_events(&self) -> &[HomeEvent] {
        self.topics
            .get(&self.name)
            .map_or(&[], |events| &events[..self.synced_events])
    }

    /// Writes an entry; it takes effect at once, and is not synced yet.
    pub fn write(&mut self, entry: Entry) {
        self.apply(&entry);
        self.journal.push(entry);
    }

    fn apply(&mut self, entry: &Entry) {
        match entry {
            Entry::Batch(batch) => {
                if batch.base != self.end() {
                    anomaly!("hole", "{} at {} of {}", batch.base, self.end(), self.name);
                }
                self.log.push(*batch);
            }
            Entry::Event(by, event) => {
                if let Err(illegal) = self.homes.apply(by, event) {
                    anomaly!("illegal", "{} takes of {by}: {illegal}", self.name);
                }
                self.topics
                    .entry(by.clone())
                    .or_default()
                    .push(event.clone());
            }
            Entry::Cut(from) => {
                let kept = self.log.partition_point(|batch| batch.end <= *from);
                self.set_aside.extend(self.log.drain(kept..));
                self.flushed = self.flushed.min(self.end());
                if self.end() != *from && self.end() > *from {
                    anomaly!("cut", "{} inside of a batch", from);
                }
            }
        }
    }

    /// All that was written survives from now on.
    pub fn sync(&mut self) {
        self.synced = self.journal.len();
        self.flushed = self.end();
        self.synced_events = self.topics.get(&self.name).map_or(0, Vec::len);
    }

    /// The power goes: of what was not synced, the first `kept` entries are there.
    pub fn crash(&mut self, kept: usize) {
        let mut journal = std::mem::take(&mut self.journal);
        journal.truncate((self.synced + kept).min(journal.len()));
        let name = self.name.to_string();
        let (starts, down_until) = (self.starts + 1, self.down_until);
        *self = Self {
            starts,
            down_until,
            heard: self.heard,
            ..Self::new(&name)
        };
        for entry in journal {
            self.write(entry);
        }
        self.sync();
    }

    pub fn unsynced(&self) -> usize {
        self.journal.len() - self.synced
    }

    pub fn runs(&self) -> Vec<Run> {
        let mut runs: Vec<Run> = Vec::new();
        for batch in &self.log {
            match runs.last_mut() {
                Some(run) if run.epoch == batch.epoch => run.offsets.end = Offset(batch.end),
                _ => runs.push(Run {
                    epoch: batch.epoch,
                    offsets: Offset(batch.base)..Offset(batch.end),
                }),
            }
        }
        runs
    }

    pub fn may_append(&self, made_in: &RegionName) -> bool {
        // Whose log holds what is not of its lineage sets it aside first.
        self.homes.may_append(LOG, made_in, &self.name)
            && self.homes.lineage(LOG).judge(&self.runs()) == Verdict::Belongs
    }

    /// What the region sets aside: all that a loser wrote.
    pub fn judge(&mut self) -> bool {
        match self.homes.lineage(LOG).judge(&self.runs()) {
            Verdict::Cut(from) => {
                self.write(Entry::Cut(from.0));
                true
            }
            Verdict::Belongs | Verdict::Unknown => false,
        }
    }

    /// The batch that holds an offset.
    pub fn holds(&self, at: u64) -> Option<Batch> {
        let after = self.log.partition_point(|batch| batch.end <= at);
        self.log
            .get(after)
            .filter(|batch| batch.base <= at)
            .copied()
    }

    pub fn cursor(&self) -> Cursor {
        let time = self.log.last().map_or(i64::MIN, |batch| batch.time);
        Cursor::new(
            LOG,
            Offset(self.end()),
            self.epoch(),
            Timestamp(time),
            false,
        )
    }

    /// What it is as a source for one who goes on from an offset.
    pub fn source(&self, made_in: &RegionName, from: u64) -> Has {
        let before = from.checked_sub(1).filter(|at| *at < self.flushed);
        Has {
            incarnation: LOG,
            is_home: self.homes.home(LOG, made_in).region == self.name,
            log_start: Offset(0),
            flushed: Offset(self.flushed),
            epoch: self.epoch(),
            before: before.and_then(|at| self.holds(at)).map(|it| it.mark()),
        }
    }

    /// The epoch that it stamps as the home.
    pub fn stamp(&self, made_in: &RegionName) -> LogEpoch {
        let home = self.homes.home(LOG, made_in);
        HomeEpoch::new(home.tenure, self.starts)
            .expect("few moves")
            .log_epoch()
    }
}

/// A step of a move that a region takes.
pub fn step_of<'a>(log: &'a LogName, made_in: &'a RegionName, me: &'a RegionName) -> Move<'a> {
    Move {
        log,
        incarnation: LOG,
        made_in,
        me,
        at: Timestamp(1),
    }
}
