//! The side of a link that pulls: what it follows, and what it makes of what comes.

use std::collections::{BTreeMap, VecDeque};

use bytes::{Bytes, BytesMut};
use npayload::broker::{BrokerError, CopiedBatch, NewCopy, Residence};
use npayload::format::BatchHeader;
use npayload::region::ChannelPattern;
use npayload::region::copies::{BatchMark, Before, Cursor, GapReason};
use npayload::region::interest::{Since, Wish};
use npayload::storage::StageError;
use npayload::types::{ChannelName, Incarnation, Offset};

use super::region::{Region, seen};
use super::source::{Ask, From, Item, Known, Refused, mark_at};
use super::widening;
use crate::sim::trace::anomaly;

/// Longest wait until a copy that was stopped is followed again.
const LONGEST_STOP_MS: i64 = 60_000;

struct Copying {
    name: ChannelName,
    id: Incarnation,
    cursor: Cursor,
    /// It is written beside the copy, which has less.
    is_beside: bool,
}

/// What is to be stored.
enum Work {
    Batch {
        handle: u32,
        bytes: Bytes,
        flushed: Offset,
        /// It was accepted, and finds no room yet.
        accepted: Option<CopiedBatch>,
    },
    Other(Item),
}

/// Why a copy is not followed.
#[derive(Clone, Debug)]
pub enum Stop {
    Diverged(String),
    /// The channel was made again at its home.
    Recreated,
    /// The source goes on elsewhere than the copy ends.
    Elsewhere,
    /// Calls of a disk fail, or the channel is gone meanwhile.
    Passing(String),
}

impl Stop {
    /// Why, in words.
    pub fn text(&self) -> &str {
        match self {
            Self::Recreated => "made again at its home",
            Self::Elsewhere => "the source goes on elsewhere",
            Self::Diverged(text) | Self::Passing(text) => text,
        }
    }
}

pub struct Stopped {
    pub id: Incarnation,
    pub why: Stop,
    until: i64,
    times: u32,
}

/// What the puller holds of one connection.
#[derive(Default)]
pub struct Pulling {
    patterns: Vec<ChannelPattern>,
    known: BTreeMap<ChannelName, Known>,
    copying: BTreeMap<u32, Copying>,
    next_handle: u32,
    pub asks_logs: bool,
    pub asks_follow: bool,
    pub standing: u32,
    next_number: u64,
    inbox: VecDeque<Work>,
}

/// The copies that a link has stopped; they outlive the connection.
pub type Stops = BTreeMap<ChannelName, Stopped>;

/// What the checker has to know of the home.
pub struct Home<'a> {
    pub region: &'a Region,
}

impl Pulling {
    pub fn is_copying(&self) -> bool {
        !self.copying.is_empty()
    }

    pub fn has_work(&self) -> bool {
        !self.inbox.is_empty()
    }

    /// What the region wants of the peer's logs now; the handles that are to be left.
    pub fn change_wishes(&mut self, region: &Region) -> (Vec<ChannelPattern>, Vec<u32>) {
        let broker = region.broker.as_ref().expect("it runs");
        let wanted = |name: &ChannelName| broker.interests().wish(name, |_| true).is_some();
        let copying = self.copying.iter();
        let left = copying.filter(|(_, copying)| !wanted(&copying.name));
        let left: Vec<u32> = left.map(|(handle, _)| *handle).collect();
        for handle in &left {
            self.copying.remove(handle);
        }
        let patterns = broker.interests().patterns();
        if patterns != self.patterns {
            self.known.clear();
            self.patterns.clone_from(&patterns);
        }
        (patterns, left)
    }

    pub fn learn(&mut self, logs: Vec<Known>) {
        self.asks_logs = false;
        self.known = logs
            .into_iter()
            .map(|log| (log.name.clone(), log))
            .collect();
    }

    /// The logs that are wanted and not followed, as they are to be asked for.
    pub fn plan(&mut self, region: &mut Region, stops: &mut Stops) -> Vec<Ask> {
        let mut asks = Vec::new();
        for log in self.known.values().cloned().collect::<Vec<_>>() {
            let is_held = stops
                .get(&log.name)
                .is_some_and(|stop| stop.until > region.now);
            let mut copying = self.copying.values().filter(|one| one.id == log.id);
            let is_copied = copying.clone().any(|one| !one.is_beside);
            let is_beside = copying.any(|one| one.is_beside);
            let is_placing = region.widening.is_placing(log.id);
            if is_held || is_placing || (is_copied && is_beside) {
                continue;
            }
            let broker = region.broker.as_ref().expect("it runs");
            let Some(wish) = broker.interests().wish(&log.name, |_| true) else {
                continue;
            };
            let place = match is_copied {
                true => widening::plan(region, &log, &wish),
                false => place(region, stops, &log, &wish),
            };
            if let Some((from, before)) = place {
                self.next_handle += 1;
                let handle = self.next_handle;
                asks.push(Ask {
                    handle,
                    log,
                    from,
                    before,
                    is_beside: is_copied,
                });
            }
        }
        self.asks_follow = !asks.is_empty();
        asks
    }

    /// Takes what became of a log that was to be followed; the handles that are to be left.
    pub fn begin(
        &mut self,
        region: &mut Region,
        stops: &mut Stops,
        home: &Home<'_>,
        ask: Ask,
        begun: Result<Offset, Refused>,
    ) -> Vec<u32> {
        let (name, id) = (ask.log.name.clone(), ask.log.id);
        if ask.is_beside {
            let Some(cursor) = widening::begin(region, &ask, begun) else {
                return vec![ask.handle];
            };
            let is_beside = true;
            let one = Copying {
                name,
                id,
                cursor,
                is_beside,
            };
            self.copying.insert(ask.handle, one);
            return self.put_where_due(region, ask.handle);
        }
        let from = match begun {
            Ok(from) => from,
            Err(refused) => {
                hold(region, stops, &name, id, of_source(refused));
                return Vec::new();
            }
        };
        if let Err(error) = make(region, home, &ask, from) {
            let stop = Stop::Passing(error.to_string());
            hold(region, stops, &name, id, stop);
            return vec![ask.handle];
        }
        let broker = region.broker.as_ref().expect("it runs");
        let place = match broker.residence(&name) {
            Residence::Copy(here, _) if here == id => broker.copy_place(id),
            _ => None,
        };
        let Some(place) = place.filter(|place| place.next == from) else {
            hold(region, stops, &name, id, Stop::Elsewhere);
            return vec![ask.handle];
        };
        judge_follow(region, home, id, from);
        stops.remove(&name);
        region.trace.count("event: followed");
        region
            .trace
            .note("followed", &[u64::from(ask.handle), from.0], || {
                format!("{name} in {} from {from} as {}", region.name, ask.handle)
            });
        let cursor = Cursor::new(id, from, place.last_epoch, place.last_time, false);
        let one = Copying {
            name,
            id,
            cursor,
            is_beside: false,
        };
        self.copying.insert(ask.handle, one);
        Vec::new()
    }

    /// Has what is beside a copy put in its place where that is due; the handles that are to be left.
    fn put_where_due(&mut self, region: &mut Region, handle: u32) -> Vec<u32> {
        let id = self.copying[&handle].id;
        let mut copies = self.copying.iter();
        let of_copy = copies.find(|(_, one)| one.id == id && !one.is_beside);
        let Some(of_copy) = of_copy.map(|(handle, _)| *handle) else {
            return Vec::new();
        };
        if !widening::put_where_due(region, id) {
            return Vec::new();
        }
        let left = vec![of_copy, handle];
        for handle in &left {
            self.copying.remove(handle);
        }
        left
    }

    /// Takes an answer with what is new; false where one is missing before it.
    pub fn take(&mut self, number: u64, items: Vec<Item>) -> bool {
        if number != self.next_number {
            return false;
        }
        self.next_number += 1;
        self.standing -= 1;
        for item in items {
            let Item::Batches {
                handle,
                flushed,
                mut batches,
            } = item
            else {
                self.inbox.push_back(Work::Other(item));
                continue;
            };
            while !batches.is_empty() {
                let length = BatchHeader::peek(&batches).expect("a whole batch").len();
                self.inbox.push_back(Work::Batch {
                    handle,
                    bytes: batches.split_to(length),
                    flushed,
                    accepted: None,
                });
            }
        }
        true
    }

    /// Stores the next of what came; the handles that are to be left.
    pub fn work(&mut self, region: &mut Region, stops: &mut Stops, home: &Home<'_>) -> Vec<u32> {
        let Some(work) = self.inbox.pop_front() else {
            return Vec::new();
        };
        let handle = match &work {
            Work::Batch { handle, .. } => *handle,
            Work::Other(
                Item::Batches { handle, .. }
                | Item::Head { handle, .. }
                | Item::Gap { handle, .. }
                | Item::Stop { handle, .. },
            ) => *handle,
        };
        let Some(copying) = self.copying.get_mut(&handle) else {
            return Vec::new();
        };
        if copying.is_beside {
            return self.work_beside(region, home, handle, work);
        }
        let done = match work {
            Work::Batch {
                bytes,
                flushed,
                accepted,
                ..
            } => {
                let done = append(region, copying, home, &bytes, flushed, accepted);
                match done {
                    Ok(None) => Ok(()),
                    Ok(Some(accepted)) => {
                        let accepted = Some(accepted);
                        self.inbox.push_front(Work::Batch {
                            handle,
                            bytes,
                            flushed,
                            accepted,
                        });
                        Ok(())
                    }
                    Err(stop) => Err(stop),
                }
            }
            Work::Other(item) => other(region, copying, home, item),
        };
        let Err(stop) = done else {
            return Vec::new();
        };
        let copying = self.copying.remove(&handle).expect("it is there");
        hold(region, stops, &copying.name, copying.id, stop);
        vec![handle]
    }

    /// The same of a log that is followed beside its copy. Whatever is wrong with it ends that alone.
    fn work_beside(
        &mut self,
        region: &mut Region,
        home: &Home<'_>,
        handle: u32,
        work: Work,
    ) -> Vec<u32> {
        let copying = self.copying.get_mut(&handle).expect("it is followed");
        let id = copying.id;
        let taken = match work {
            Work::Batch { bytes, flushed, .. } => {
                let one = (&copying.name, &mut copying.cursor);
                widening::take(region, one, home, &bytes, flushed)
            }
            Work::Other(Item::Gap { .. } | Item::Stop { .. }) => Err("not there".to_owned()),
            Work::Other(Item::Batches { .. } | Item::Head { .. }) => Ok(()),
        };
        let Err(text) = taken else {
            return self.put_where_due(region, handle);
        };
        self.copying.remove(&handle);
        region.widening.stays_narrow(id);
        region.trace.count("event: widening given up");
        region
            .trace
            .note("widening given up", &[], || format!("{id}: {text}"));
        vec![handle]
    }
}

/// From where a log is asked for; none where it can't be, which is noted.
fn place(
    region: &mut Region,
    stops: &mut Stops,
    log: &Known,
    wish: &Wish,
) -> Option<(From, Before)> {
    let broker = region.broker.as_mut().expect("it runs");
    match broker.residence(&log.name) {
        Residence::Unknown => Some((From::Since(wish.from), Before::Nothing)),
        Residence::Home(_) => anomaly!("two-homes", "{} lives in two regions", log.name),
        Residence::Copy(id, _) if id != log.id => {
            hold(region, stops, &log.name, id, Stop::Recreated);
            None
        }
        Residence::Copy(id, _) => {
            let held = broker.storage().log(id)?;
            let (end, flushed, start) = (held.end(), held.flushed(), held.log_start());
            if flushed < end {
                broker.want_sync();
                return None;
            }
            let at = end.0.checked_sub(1).map(Offset).filter(|at| *at >= start);
            let last = match at {
                Some(at) => mark_at(region, &log.name, id, at, end),
                None => Ok(None),
            };
            match last {
                Ok(last) => {
                    let before = match last {
                        None => Before::Nothing,
                        Some((last, true)) => Before::OwnGap(last.epoch),
                        Some((last, false)) => Before::Batch(last),
                    };
                    Some((From::Offset(end), before))
                }
                Err(error) => {
                    let stop = Stop::Passing(error.to_string());
                    hold(region, stops, &log.name, id, stop);
                    None
                }
            }
        }
    }
}

fn make(region: &mut Region, home: &Home<'_>, ask: &Ask, from: Offset) -> Result<(), BrokerError> {
    let log = &ask.log;
    let now = region.time();
    let home = home.region.name.clone();
    let broker = region.broker.as_mut().expect("it runs");
    if broker.residence(&log.name) != Residence::Unknown {
        return Ok(());
    }
    let new = NewCopy {
        name: log.name.clone(),
        incarnation: log.id,
        config: log.config.clone(),
        home,
        begins_at: from,
        from_start: matches!(ask.from, From::Since(Since::Start)),
        types: None,
    };
    broker
        .create_copy(new, now)
        .map_err(|refusal| refusal.error)?;
    region.trace.count("event: copy begun");
    region.trace.note("copy begun", &[from.0], || {
        format!("{} in {} at {from}", log.name, region.name)
    });
    region.dropped.remove(&log.id);
    region.contents.remove(&log.id);
    Ok(())
}

/// Appends a batch; it comes back where there is no room now.
fn append(
    region: &mut Region,
    copying: &mut Copying,
    home: &Home<'_>,
    bytes: &Bytes,
    flushed: Offset,
    accepted: Option<CopiedBatch>,
) -> Result<Option<CopiedBatch>, Stop> {
    let id = copying.id;
    let batch = match accepted {
        Some(batch) => batch,
        None => {
            let batch = CopiedBatch::check(BytesMut::from(&bytes[..]))
                .unwrap_or_else(|text| anomaly!("refused", "a batch of its home: {text}"));
            let header = batch.header();
            let item = npayload::region::copies::Item::Batch {
                incarnation: header.incarnation(),
                mark: BatchMark {
                    base: header.base_offset(),
                    end: header.end_offset(),
                    epoch: header.log_epoch(),
                    append_time: header.append_time(),
                    body_crc: header.body_crc(),
                },
                flushed,
            };
            if let Err(refused) = copying.cursor.accept(&item) {
                // A log that takes no writes any more has ends that were taken back.
                if is_closed(region, id) {
                    return Err(Stop::Passing(refused.to_string()));
                }
                // One that was put back to a backup goes on otherwise than what is here, and where
                // retention has removed the rest of it only the times tell.
                if home.region.restores > 0 {
                    return Err(Stop::Diverged(refused.to_string()));
                }
                anomaly!("refused", "{} of {}: {refused}", copying.name, region.name);
            }
            batch
        }
    };
    let (base, seen) = seen(batch.header(), bytes);
    let now = region.time();
    let mut batch = Some(batch);
    let broker = region.broker.as_mut().expect("it runs");
    match broker.append_copied(id, &mut batch, now) {
        Ok(_) => {}
        Err(refusal) if refusal.is_busy() || is_full(&refusal.error) => {
            region.trace.count("event: a copy waits for room");
            return Ok(batch);
        }
        Err(refusal) => return Err(of_here(region, refusal.error)),
    }
    region.trace.count("event: copied");
    region.trace.note("copied", &[base, seen.end], || {
        format!(
            "{base}..{} of {} in {}",
            seen.end, copying.name, region.name
        )
    });
    let there = home.region.contents.get(&id);
    let there = there.and_then(|content| content.batches.get(&base));
    if there != Some(&seen) {
        anomaly!(
            "ahead",
            "{} has taken {base}..{} of {}, of which its home has synced {there:?}",
            region.name,
            seen.end,
            copying.name
        );
    }
    region.copied.entry(id).or_default().insert(base, seen);
    Ok(None)
}

fn other(
    region: &mut Region,
    copying: &mut Copying,
    home: &Home<'_>,
    item: Item,
) -> Result<(), Stop> {
    let id = copying.id;
    match item {
        Item::Head {
            log_start,
            flushed,
            epoch,
            ..
        } => {
            let head = npayload::region::copies::Item::Head {
                log_start,
                flushed,
                epoch,
            };
            if let Err(refused) = copying.cursor.accept(&head) {
                if is_closed(region, id) {
                    return Err(Stop::Passing(refused.to_string()));
                }
                anomaly!("refused", "a head of {}: {refused}", copying.name);
            }
        }
        Item::Gap { from, to, .. } => {
            let gap = npayload::region::copies::Item::Gap {
                range: from..to,
                reason: GapReason::Trimmed,
            };
            if let Err(refused) = copying.cursor.accept(&gap) {
                anomaly!("refused", "a gap in {}: {refused}", copying.name);
            }
            let now = region.time();
            let broker = region.broker.as_mut().expect("it runs");
            if let Err(refusal) = broker.append_gap(id, from..to, now) {
                let is_busy = refusal.is_busy() || is_full(&refusal.error);
                return Err(match is_busy {
                    true => Stop::Passing(refusal.error.to_string()),
                    false => of_here(region, refusal.error),
                });
            }
            region.trace.count("event: gap");
            let trimmed = home.region.place(id).map_or(u64::MAX, |(start, _)| start);
            if to.0 > trimmed || !copying.name.as_str().ends_with("short") {
                anomaly!(
                    "gap",
                    "{} of {}: {from}..{to} is a gap, its home begins at {trimmed}",
                    copying.name,
                    region.name
                );
            }
            // It is of the copy's own making: its bytes are seen once it is synced.
            let copied = region.copied.entry(id).or_default();
            copied.retain(|base, _| *base < from.0);
            region
                .own_gaps
                .entry(id)
                .or_default()
                .insert((from.0, to.0));
        }
        Item::Stop { why, .. } => return Err(of_source(why)),
        Item::Batches { .. } => unreachable!("split before"),
    }
    Ok(())
}

/// Whether a call failed for the copy, so that only a restart opens it to writes again.
fn is_closed(region: &Region, id: Incarnation) -> bool {
    let broker = region.broker.as_ref().expect("it runs");
    let log = broker.storage().log(id);
    region.disk.was_struck() && log.is_some_and(|log| log.refused().is_some())
}

fn is_full(error: &BrokerError) -> bool {
    matches!(
        error,
        BrokerError::Stage(StageError::Busy | StageError::DiskFull(_))
    )
}

/// A refusal of the copy's own broker must have a reason.
fn of_here(region: &Region, error: BrokerError) -> Stop {
    let is_excused = match &error {
        BrokerError::Stage(StageError::Refused { .. } | StageError::JournalFailed(_)) => {
            region.disk.was_struck() || region.disk.is_crashed()
        }
        // What was taken before was taken back when a call failed.
        BrokerError::NotCopied { .. } => region.disk.was_struck(),
        // Purged meanwhile.
        BrokerError::NoSuchChannel { .. } => true,
        _ => false,
    };
    if !is_excused {
        anomaly!("refused", "{} refuses for its copy: {error}", region.name);
    }
    Stop::Passing(error.to_string())
}

fn of_source(refused: Refused) -> Stop {
    match refused {
        Refused::Diverged(text) => Stop::Diverged(text),
        Refused::Recreated => Stop::Recreated,
        Refused::Gone => Stop::Passing("no such channel".to_owned()),
        Refused::Unreadable(text) => Stop::Passing(text),
    }
}

fn hold(region: &Region, stops: &mut Stops, name: &ChannelName, id: Incarnation, why: Stop) {
    let times = stops.get(name).map_or(0, |stop| stop.times);
    let wait = (1_000 << times.min(6)).min(LONGEST_STOP_MS);
    let kind = match &why {
        Stop::Diverged(_) => "stop: diverged",
        Stop::Recreated => "stop: made again",
        Stop::Passing(_) | Stop::Elsewhere => "stop: passing",
    };
    region.trace.count(kind);
    region
        .trace
        .note(kind, &[id.0 as u64], || format!("{name}: {}", why.text()));
    let stopped = Stopped {
        id,
        why,
        until: region.now + wait,
        times: times + 1,
    };
    stops.insert(name.clone(), stopped);
}

/// Whoever goes on from here has what its home has, as far as both still have it.
fn judge_follow(region: &Region, home: &Home<'_>, id: Incarnation, from: Offset) {
    let (Some(here), Some(there)) = (region.contents.get(&id), home.region.contents.get(&id))
    else {
        return;
    };
    let start = home.region.place(id).map_or(0, |(start, _)| start);
    let held = here.batches.range(start.min(from.0)..from.0);
    for (base, seen) in held.filter(|(_, seen)| !seen.is_gap) {
        if there.batches.get(base) != Some(seen) {
            anomaly!(
                "diverged",
                "{} goes on at {from} of {id}, and holds another batch at {base}",
                region.name
            );
        }
    }
}
