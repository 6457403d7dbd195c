//! Copies of which more is wanted than they have: one with more is written beside the old one, and
//! takes its place once it has all that the old one has.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{Bytes, BytesMut};
use npayload::broker::{CopiedBatch, Wider};
use npayload::format::BatchHeader;
use npayload::region::copies::{BatchMark, Before, Cursor, Item};
use npayload::region::interest::{Since, Wish};
use npayload::storage::{BesideLog, CutError};
use npayload::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

use super::copying::Home;
use super::region::{Region, Seen, seen};
use super::source::{Ask, From, Known, Refused};
use crate::sim::trace::anomaly;

/// What a region writes beside its copies.
#[derive(Default)]
pub struct Widening {
    beside: BTreeMap<Incarnation, Beside>,
    placing: BTreeMap<Incarnation, Placing>,
    /// Copies of which there is no more, as far as their homes have said in this life.
    narrow: BTreeSet<Incarnation>,
    /// What was in those that were to be put in place. Whether they were shows after a crash.
    placed: BTreeMap<Incarnation, BTreeMap<u64, Seen>>,
}

struct Beside {
    log: BesideLog,
    batches: BTreeMap<u64, Seen>,
}

/// A copy that is being put in the place of another.
struct Placing {
    wider: Wider,
    /// Until the broker takes it.
    log: Option<BesideLog>,
}

impl Widening {
    /// The process has ended: a start removes what was not put in place.
    pub fn end(&mut self) {
        self.beside.clear();
        self.placing.clear();
        self.narrow.clear();
    }

    /// The disk is another one.
    pub fn begin_anew(&mut self) {
        self.end();
        self.placed.clear();
    }

    /// Whether nobody may follow a log, as another one takes its place.
    pub fn is_placing(&self, id: Incarnation) -> bool {
        self.placing.contains_key(&id)
    }

    /// Whether any copy takes another's place.
    pub fn is_under_way(&self) -> bool {
        !self.placing.is_empty()
    }

    /// Whether the home has said that it has no more than the copy.
    pub fn is_narrow(&self, id: Incarnation) -> bool {
        self.narrow.contains(&id)
    }

    /// Gives up what is beside a copy.
    pub fn give_up(&mut self, id: Incarnation) {
        if let Some(beside) = self.beside.remove(&id) {
            // A disk that fails keeps it until the next one, or the next start.
            let _ = beside.log.give_up();
        }
    }

    /// Gives it up for this life of the process.
    pub fn stays_narrow(&mut self, id: Incarnation) {
        self.give_up(id);
        self.narrow.insert(id);
    }

    /// The copy is gone.
    pub fn forget(&mut self, id: Incarnation) {
        self.give_up(id);
        self.narrow.remove(&id);
        self.placed.remove(&id);
        // What the broker has begun ends in its own time.
        self.placing
            .retain(|of, placing| *of != id || placing.log.is_none());
    }
}

/// How more of a copy is asked for; none where it has all that is wanted.
pub fn plan(region: &Region, log: &Known, wish: &Wish) -> Option<(From, Before)> {
    let widening = &region.widening;
    let is_over = widening.is_narrow(log.id) || widening.is_placing(log.id);
    if wish.from != Since::Start || is_over {
        return None;
    }
    let copy = region.broker.as_ref()?.copy_of(log.id)?;
    let is_of_all = copy.from_start || copy.begins_at == Offset(0);
    let (start, _) = region.place(log.id)?;
    if is_of_all || log.log_start.0 >= start {
        return None;
    }
    Some(match widening.beside.get(&log.id) {
        None => (From::Since(Since::Start), Before::Nothing),
        Some(beside) => {
            let last = beside.log.last_header().map(mark_of);
            let before = last.map_or(Before::Nothing, Before::Batch);
            (From::Offset(beside.log.end()), before)
        }
    })
}

/// Takes what became of a log that was to be followed beside its copy; none where it is to be left.
pub fn begin(region: &mut Region, ask: &Ask, begun: Result<Offset, Refused>) -> Option<Cursor> {
    let id = ask.log.id;
    let Ok(from) = begun else {
        region.widening.stays_narrow(id);
        return None;
    };
    if let Some(beside) = region.widening.beside.get(&id) {
        if beside.log.end() != from {
            region.widening.give_up(id);
            return None;
        }
        region.trace.count("event: widening goes on");
        let (epoch, time) = beside.log.last();
        return Some(Cursor::new(id, from, epoch, time, false));
    }
    let (start, _) = region.place(id)?;
    if from.0 >= start {
        region.widening.narrow.insert(id);
        return None;
    }
    let now = region.time();
    let broker = region.broker.as_mut().expect("it runs");
    // Without room it is begun another time.
    let log = broker.begin_wider(id, &wider(from), now).ok()?;
    region.trace.count("event: widening begun");
    region.trace.note("widening begun", &[from.0, start], || {
        format!("{} in {}: {from}, was {start}", ask.log.name, region.name)
    });
    let batches = BTreeMap::new();
    region.widening.beside.insert(id, Beside { log, batches });
    let earliest = Timestamp(i64::MIN);
    Some(Cursor::new(id, from, LogEpoch(0), earliest, false))
}

fn wider(begins_at: Offset) -> Wider {
    Wider {
        begins_at,
        from_start: true,
        types: None,
    }
}

/// Takes a batch of a log that is followed beside its copy.
///
/// # Errors
/// Why it is given up.
pub fn take(
    region: &mut Region,
    (name, cursor): (&ChannelName, &mut Cursor),
    home: &Home<'_>,
    bytes: &Bytes,
    flushed: Offset,
) -> Result<(), String> {
    let batch = CopiedBatch::check(BytesMut::from(&bytes[..]))
        .unwrap_or_else(|text| anomaly!("refused", "a batch of its home: {text}"));
    let header = *batch.header();
    let id = header.incarnation();
    let item = Item::Batch {
        incarnation: id,
        mark: mark_of(&header),
        flushed,
    };
    if let Err(refused) = cursor.accept(&item) {
        if home.region.restores == 0 {
            anomaly!("refused", "{name} beside: {refused}");
        }
        return Err(refused.to_string());
    }
    let (base, seen) = seen(&header, bytes);
    let there = home.region.contents.get(&id);
    let there = there.and_then(|content| content.batches.get(&base));
    if there != Some(&seen) {
        anomaly!(
            "ahead",
            "{} has taken {base} of {name} beside its copy, of which its home has synced {there:?}",
            region.name
        );
    }
    let now = region.time();
    let broker = region.broker.as_mut().expect("it runs");
    let sealing = broker.seal_beside(id, now);
    let sealing = sealing.map_err(|error| error.to_string())?;
    let beside = region.widening.beside.get_mut(&id);
    let beside = beside.ok_or("it was given up")?;
    let written = beside.log.append(bytes, sealing.as_ref(), now);
    written.map_err(|error| error.to_string())?;
    beside.batches.insert(base, seen);
    region.trace.count("event: written beside");
    Ok(())
}

/// Takes what is beside a copy to be put in its place, once it has all that the copy has.
pub fn put_where_due(region: &mut Region, id: Incarnation) -> bool {
    let broker = region.broker.as_ref().expect("it runs");
    let next = broker.copy_place(id).map(|place| place.next);
    let beside = region.widening.beside.get(&id);
    let has_all = beside.zip(next).is_some_and(|(beside, next)| {
        beside.log.end() >= next && beside.log.end() > beside.log.begins_at()
    });
    if !has_all {
        return false;
    }
    let beside = region.widening.beside.remove(&id).expect("it is there");
    let placing = Placing {
        wider: wider(beside.log.begins_at()),
        log: Some(beside.log),
    };
    region.widening.placing.insert(id, placing);
    region.widening.placed.insert(id, beside.batches);
    true
}

impl Region {
    /// Copies are put in the place of others, and found there.
    pub fn step_widening(&mut self) {
        let ids: Vec<Incarnation> = self.widening.placing.keys().copied().collect();
        for id in ids {
            self.step_placing(id);
        }
    }

    fn step_placing(&mut self, id: Incarnation) {
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        let placing = self.widening.placing.get_mut(&id).expect("it is there");
        let ended = match placing.log.take() {
            Some(log) => match broker.put_in_place(log, placing.wider.clone()) {
                Ok(()) => None,
                Err(refused) => match *refused {
                    (log, CutError::Busy) => {
                        placing.log = Some(log);
                        None
                    }
                    (log, error) => {
                        let _ = log.give_up();
                        Some(Err(error))
                    }
                },
            },
            None => broker.take_wider(id),
        };
        match ended {
            None => {}
            Some(Ok(())) => {
                self.widening.placing.remove(&id);
                self.trace.count("event: copy widened");
                self.trace
                    .note("widened", &[], || format!("{id} in {}", self.name));
                self.adopt(id);
                if !self.disk.is_crashed() {
                    self.look();
                }
            }
            Some(Err(error)) => {
                self.widening.placing.remove(&id);
                self.widening.narrow.insert(id);
                let is_excused = self.disk.was_struck() || self.disk.is_crashed();
                // It may have grown by what was on its way, or is gone.
                let is_behind = matches!(error, CutError::Outside { .. });
                if !is_excused && !is_behind && self.place(id).is_some() {
                    anomaly!("refused", "{}: {id} is not widened: {error}", self.name);
                }
                self.trace.count("event: a copy stays as it was");
            }
        }
    }

    /// After a start: copies that were put in the place of others before the crash.
    pub fn see_widened(&mut self) {
        for (id, _, is_home) in self.logs() {
            let first = self.contents.get(&id).map(|content| {
                let first = content.batches.keys().next();
                first.copied().unwrap_or(content.upto)
            });
            let start = self.place(id).map(|(start, _)| start);
            let is_wider = start.zip(first).is_some_and(|(start, first)| start < first);
            if !is_home && is_wider && self.widening.placed.contains_key(&id) {
                self.trace
                    .count("event: a widened copy is found after a crash");
                self.adopt(id);
            }
        }
    }

    /// What was beside a copy is the copy now, and is seen anew.
    fn adopt(&mut self, id: Incarnation) {
        let Some(placed) = self.widening.placed.get(&id) else {
            return;
        };
        let copied = self.copied.entry(id).or_default();
        for (base, seen) in placed {
            let before = copied.insert(*base, *seen);
            if before.is_some_and(|before| before != *seen) {
                anomaly!(
                    "differs",
                    "{}: {id} at {base}: {before:?}, {seen:?}",
                    self.name
                );
            }
        }
        self.own_gaps.remove(&id);
        let before = self.contents.remove(&id).map_or(0, |content| content.upto);
        let found = self.place(id).map_or(0, |(_, flushed)| flushed);
        if found < before && !self.disk.is_crashed() {
            anomaly!(
                "lost-write",
                "{}: {id} was synced to {before}, and is to {found} since it was widened",
                self.name
            );
        }
    }
}

fn mark_of(header: &BatchHeader) -> BatchMark {
    BatchMark {
        base: header.base_offset(),
        end: header.end_offset(),
        epoch: header.log_epoch(),
        append_time: header.append_time(),
        body_crc: header.body_crc(),
    }
}
