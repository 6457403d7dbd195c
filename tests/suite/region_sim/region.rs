//! A region of a run: its broker, its disk, and what its logs were seen to hold.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use npayload::broker::{
    Broker, BrokerConfig, BrokerError, BrokerOpenError, Fetch, FetchFrom, FetchStep, Looked, Wait,
};
use npayload::format::BatchHeader;
use npayload::storage::Outcome;
use npayload::storage::disk::{Disk, Loss};
use npayload::types::{ChannelName, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

use super::widening::Widening;
use crate::sim::chance::Chance;
use crate::sim::disk::SimDisk;
use crate::sim::trace::{Trace, anomaly};
use crate::sim::world::{Committer, Keeper, ROOT};

/// A batch as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    pub end: u64,
    /// Of all its bytes.
    pub hash: u64,
    pub is_gap: bool,
}

/// What a log was seen to hold, all of it synced.
#[derive(Clone, Debug, Default)]
pub struct Content {
    pub batches: BTreeMap<u64, Seen>,
    pub upto: u64,
}

pub struct Region {
    pub name: RegionName,
    pub disk: SimDisk,
    pub broker: Option<Broker>,
    pub config: BrokerConfig,
    pub trace: Trace,
    /// Its own clock.
    pub now: i64,
    pub down_until: u64,
    pub contents: BTreeMap<Incarnation, Content>,
    /// What was appended to a copy, checked against its home at that moment.
    pub copied: BTreeMap<Incarnation, BTreeMap<u64, Seen>>,
    /// Gaps that were put into a copy, for what retention at its home had removed.
    pub own_gaps: BTreeMap<Incarnation, BTreeSet<(u64, u64)>>,
    pub widening: Widening,
    /// Everything below was acknowledged to writers here.
    pub acked: BTreeMap<Incarnation, u64>,
    waits: Vec<(Wait, Incarnation, u64)>,
    /// Logs that were deleted or purged here.
    pub dropped: BTreeSet<Incarnation>,
    /// A copy of the disk from earlier.
    pub backup: Option<SimDisk>,
    /// A call of its disk was struck in an earlier life.
    was_struck: bool,
    /// How often it was put back to a copy of its disk.
    pub restores: u32,
    committer: Committer,
    keeper: Keeper,
}

impl Region {
    pub fn new(name: RegionName, config: BrokerConfig, now: i64, trace: &Trace) -> Self {
        Self {
            name,
            disk: SimDisk::new(trace.clone()),
            broker: None,
            config,
            trace: trace.clone(),
            now,
            down_until: 0,
            contents: BTreeMap::new(),
            copied: BTreeMap::new(),
            own_gaps: BTreeMap::new(),
            widening: Widening::default(),
            acked: BTreeMap::new(),
            waits: Vec::new(),
            dropped: BTreeSet::new(),
            backup: None,
            was_struck: false,
            restores: 0,
            committer: Committer::Idle,
            keeper: Keeper::Idle,
        }
    }

    pub fn time(&self) -> Timestamp {
        Timestamp(self.now)
    }

    /// Opens the disk as it is.
    pub fn open(&mut self, chance: &mut Chance) -> Result<(), BrokerOpenError> {
        let mut random = Chance::new(chance.draw());
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let broker = Broker::open(
            disk,
            Path::new(ROOT),
            self.config.clone(),
            "simulation",
            self.time(),
            Box::new(move || random.draw()),
        )?;
        self.broker = Some(broker);
        Ok(())
    }

    /// The process is gone; what is on the disk is what `loss` leaves.
    pub fn end(&mut self, loss: Loss) {
        self.was_struck |= self.disk.was_struck();
        self.widening.end();
        self.broker = None;
        self.committer = Committer::Idle;
        self.keeper = Keeper::Idle;
        self.waits.clear();
        self.disk = self.disk.after(loss);
    }

    /// After a start: all that was synced is there, as it was.
    pub fn judge_start(&mut self) {
        let Some(broker) = self.broker.as_ref() else {
            return;
        };
        // One copy of a checkpoint may be unreadable where a call was struck, in this life or before.
        let mut damage = broker.storage().recovery_report().damage.clone();
        damage.retain(|one| one.log.is_some() || !self.was_struck);
        let is_excused = self.disk.was_struck() || !self.disk.lost_syncs().is_empty();
        if !damage.is_empty() && !is_excused {
            anomaly!("lost-write", "{}: damage {damage:?}", self.name);
        }
        for (id, content) in &self.contents {
            if self.dropped.contains(id) || content.batches.is_empty() {
                continue;
            }
            let promised = content.upto.max(self.acked.get(id).copied().unwrap_or(0));
            let found = broker.storage().log(*id).map(|log| log.flushed().0);
            if found.is_none_or(|found| found < promised) {
                anomaly!(
                    "lost-write",
                    "{}: {promised} of log {id} were synced, {found:?} are found",
                    self.name
                );
            }
        }
    }

    /// The logs of channels that live here (`true`), and the copies.
    pub fn logs(&self) -> Vec<(Incarnation, ChannelName, bool)> {
        let Some(broker) = self.broker.as_ref() else {
            return Vec::new();
        };
        let homes = broker.homes("").map(|(id, name)| (id, name.clone(), true));
        let copies = broker
            .copies()
            .map(|(id, name, _)| (id, name.clone(), false));
        homes.chain(copies).collect()
    }

    /// Log start and flushed offset.
    pub fn place(&self, id: Incarnation) -> Option<(u64, u64)> {
        let log = self.broker.as_ref()?.storage().log(id)?;
        Some((log.log_start().0, log.flushed().0))
    }

    /// Reads whole batches from an offset on, to below `end`.
    ///
    /// # Errors
    /// What the broker says.
    pub fn read(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        mut from: u64,
        end: u64,
        max_bytes: u64,
    ) -> Result<Vec<(BatchHeader, Bytes)>, BrokerError> {
        let broker = self.broker.as_mut().expect("it runs");
        let mut found = Vec::new();
        let mut bytes = 0;
        while from < end && bytes < max_bytes {
            let place = FetchFrom::Offset(Offset(from));
            let mut fetch = Fetch::new(name.clone(), Some(id), place, LogEpoch(0), max_bytes);
            let fetched = loop {
                match broker.fetch_step(&mut fetch)? {
                    FetchStep::Done(fetched) => break fetched,
                    FetchStep::Run(job) => {
                        let end = job.run();
                        broker.feed_fetch(&mut fetch, end)?;
                    }
                }
            };
            let before = from;
            for mut part in fetched.slices.parts {
                while !part.is_empty() {
                    let header = BatchHeader::peek(&part).expect("a whole batch");
                    let batch = part.split_to(header.len());
                    if header.end_offset().0 > end {
                        return Ok(found);
                    }
                    if header.base_offset().0 < from {
                        continue;
                    }
                    from = header.end_offset().0;
                    bytes += batch.len() as u64;
                    found.push((header, batch));
                }
            }
            if from == before {
                break;
            }
        }
        Ok(found)
    }

    /// Looks at what has been synced since the last look.
    pub fn look(&mut self) {
        for (id, name, is_home) in self.logs() {
            let Some((start, flushed)) = self.place(id) else {
                continue;
            };
            let known = self.contents.get(&id).map(|content| content.upto);
            // A copy begins where it begins; a log at home at its start.
            let upto = known.unwrap_or(start).max(start);
            if known.is_some() && upto >= flushed {
                continue;
            }
            let Some(batches) = self.read_surely(&name, id, upto, flushed) else {
                continue;
            };
            let mut at = upto;
            let mut new = Vec::new();
            for (header, bytes) in batches {
                let (base, seen) = seen(&header, &bytes);
                if base != at {
                    let name = &self.name;
                    anomaly!(
                        "hole",
                        "{name}: log {id} has {base} where {at} should be next"
                    );
                }
                at = seen.end;
                new.push((base, seen));
            }
            if at < flushed {
                let name = &self.name;
                anomaly!("hole", "{name}: log {id} ends at {at} and not at {flushed}");
            }
            for (base, seen) in &new {
                self.judge_batch(id, *base, seen, is_home);
            }
            let content = self.contents.entry(id).or_default();
            content.batches.extend(new);
            content.upto = flushed;
        }
    }

    fn judge_batch(&self, id: Incarnation, base: u64, seen: &Seen, is_home: bool) {
        if is_home {
            if seen.is_gap {
                let name = &self.name;
                anomaly!("gap", "{name}: a gap at home, {base}..{} of {id}", seen.end);
            }
            return;
        }
        let gaps = self.own_gaps.get(&id);
        if seen.is_gap && gaps.is_some_and(|gaps| gaps.contains(&(base, seen.end))) {
            return;
        }
        let copied = self.copied.get(&id).and_then(|all| all.get(&base));
        if copied != Some(seen) {
            anomaly!(
                "differs",
                "{}: the copy of {id} holds {seen:?} at {base}, {copied:?} was appended",
                self.name
            );
        }
    }

    /// Reads a range, in spite of calls that fail now and then.
    fn read_surely(
        &mut self,
        name: &ChannelName,
        id: Incarnation,
        from: u64,
        end: u64,
    ) -> Option<Vec<(BatchHeader, Bytes)>> {
        for _ in 0..30 {
            match self.read(name, id, from, end, u64::MAX >> 1) {
                Ok(batches) => return Some(batches),
                Err(_) if self.disk.is_crashed() => return None,
                Err(error) if !self.disk.was_struck() => {
                    anomaly!(
                        "unseen",
                        "{}: {name} from {from} to {end}: {error}",
                        self.name
                    );
                }
                Err(_) => {}
            }
        }
        None
    }

    /// Reads everything again: it is as it was seen.
    pub fn read_again(&mut self) {
        for (id, name, _) in self.logs() {
            let Some((start, flushed)) = self.place(id) else {
                continue;
            };
            let Some(batches) = self.read_surely(&name, id, start, flushed) else {
                continue;
            };
            let Some(content) = self.contents.get(&id) else {
                continue;
            };
            for (header, bytes) in batches {
                let (base, now) = seen(&header, &bytes);
                if now.end > content.upto {
                    continue;
                }
                if content.batches.get(&base) != Some(&now) {
                    anomaly!("changed", "{}: log {id} at {base}: {now:?}", self.name);
                }
            }
        }
    }

    /// What it holds is what an old copy of its disk holds: seen anew.
    pub fn see_anew(&mut self) {
        self.contents.clear();
        self.dropped.clear();
        self.widening.begin_anew();
        let mut copied = BTreeMap::new();
        for (id, name, is_home) in self.logs() {
            let Some((start, flushed)) = self.place(id) else {
                continue;
            };
            if let Some(acked) = self.acked.get_mut(&id) {
                *acked = (*acked).min(flushed);
            }
            if is_home {
                continue;
            }
            let batches = self.read_surely(&name, id, start, flushed);
            let batches = batches.unwrap_or_default().into_iter();
            let all = batches.map(|(header, bytes)| seen(&header, &bytes));
            copied.insert(id, all.collect());
        }
        self.copied = copied;
        self.look();
    }

    /// A batch was taken from a writer.
    pub fn took(&mut self, wait: Wait, id: Incarnation, end: u64) {
        self.waits.push((wait, id, end));
    }

    /// Books what was acknowledged meanwhile.
    fn settle(&mut self) {
        let Some(broker) = self.broker.as_ref() else {
            return;
        };
        let (acked, trace) = (&mut self.acked, &self.trace);
        self.waits
            .retain(|(wait, id, end)| match broker.outcome(*wait) {
                Outcome::Done => {
                    let below = acked.entry(*id).or_default();
                    *below = (*below).max(*end);
                    trace.count("event: acknowledged");
                    false
                }
                Outcome::Pending => true,
                _ => {
                    trace.count("event: never acknowledged");
                    false
                }
            });
        if self.disk.is_crashed() {
            return;
        }
        for (id, acked) in &self.acked {
            let flushed = broker.storage().log(*id).map(|log| log.flushed().0);
            if flushed.is_some_and(|flushed| flushed < *acked) {
                let name = &self.name;
                anomaly!(
                    "lost-write",
                    "{name}: {acked} of {id} acknowledged, {flushed:?} synced"
                );
            }
        }
    }

    pub fn step_committer(&mut self, chance: &mut Chance) {
        let now = self.time();
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        self.committer = match std::mem::replace(&mut self.committer, Committer::Idle) {
            Committer::Idle => match broker.plan_round(now) {
                Some(round) => Committer::Planned(round),
                None if chance.one_in(3) => broker
                    .plan_point()
                    .map_or(Committer::Idle, Committer::Point),
                None => Committer::Idle,
            },
            Committer::Planned(round) | Committer::Full(round) => Committer::Ran(round.run()),
            Committer::Ran(end) => {
                let result = broker.finish_round(end);
                result.wake.iter().for_each(|waiter| waiter.wake());
                if !self.disk.is_crashed() {
                    self.settle();
                    self.look();
                }
                result.again.map_or(Committer::Idle, Committer::Full)
            }
            Committer::Point(job) => Committer::PointRan(job.run()),
            Committer::PointRan(ended) => {
                broker.finish_point(ended);
                Committer::Idle
            }
        };
    }

    pub fn step_keeper(&mut self) {
        let now = self.time();
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        self.keeper = match std::mem::replace(&mut self.keeper, Keeper::Idle) {
            Keeper::Idle => broker
                .plan_upkeep(now)
                .map_or(Keeper::Idle, Keeper::Planned),
            Keeper::Planned(job) => Keeper::Ran(job.run()),
            Keeper::Ran(end) => {
                broker.finish_upkeep(end, now);
                if !self.disk.is_crashed() {
                    self.settle();
                    self.look();
                }
                Keeper::Idle
            }
            Keeper::Load(task) => Keeper::Loaded(task.run()),
            Keeper::Loaded(loaded) => {
                // A directory that can't be listed is listed another time.
                let _ = broker.finish_load(loaded);
                Keeper::Idle
            }
        };
    }

    /// Retention, and a look at the free space.
    pub fn tick(&mut self) {
        let now = self.time();
        let Some(broker) = self.broker.as_mut() else {
            return;
        };
        if let Ok(available) = self.disk.available(Path::new(ROOT)) {
            broker.book_free_bytes(Some(available));
        }
        if matches!(self.keeper, Keeper::Idle)
            && let Looked::Unlisted(task) = broker.tick(now)
        {
            self.keeper = Keeper::Load(task);
        }
    }

    /// Whether something failed that only a restart makes well.
    pub fn is_sick(&self) -> bool {
        let Some(broker) = self.broker.as_ref() else {
            return false;
        };
        broker.storage().journal_failure().is_some() || broker.sick_channels().refusing > 0
    }
}

/// A batch as the checker books it.
pub fn seen(header: &BatchHeader, bytes: &[u8]) -> (u64, Seen) {
    let [low, high] = [0, 0x9E37_79B9].map(|first| {
        let mut hasher = crc32fast::Hasher::new_with_initial(first);
        hasher.update(bytes);
        u64::from(hasher.finalize())
    });
    let seen = Seen {
        end: header.end_offset().0,
        hash: high << 32 | low,
        is_gap: header.is_gap(),
    };
    (header.base_offset().0, seen)
}
