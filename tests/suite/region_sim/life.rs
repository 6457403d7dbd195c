//! Crashes and starts of the regions, and the end of a run.

use std::collections::BTreeMap;

use npayload::broker::Residence;
use npayload::region::ChannelPattern;
use npayload::region::interest::{Declared, Since, Wish};
use npayload::storage::disk::Loss;
use npayload::types::ChannelName;

use super::copying::Stop;
use super::world::{World, org};
use crate::sim::faults::any_strike;
use crate::sim::trace::{Trace, anomaly};

/// Steps of a run before its faults end.
const STEPS: u64 = 2_500;
/// Steps within which every copy must be complete once the faults have ended.
const PATIENCE: u64 = 60_000;

/// One run, from its seed alone. Panics where something is seen that must never be.
pub fn run(seed: u64, trace: &Trace) -> u64 {
    let mut world = World::new(seed, trace.clone());
    world
        .trace
        .note("seed", &[seed], || format!("{:?}", world.faults));
    for at in 0..world.regions.len() {
        world.start(at);
    }
    for _ in 0..STEPS {
        world.step();
    }
    world.finish();
    trace.hash()
}

impl World {
    fn any_loss(&mut self, at: usize) -> Loss {
        let unsynced = self.regions[at].disk.unsynced();
        let (loss, name) = match self.chance.below(7) {
            0 | 1 => (Loss::None, "fault: process killed"),
            2 => (Loss::All, "fault: power cut, all unsynced lost"),
            3 => (
                Loss::Prefix(self.chance.below(unsynced + 1)),
                "fault: power cut, torn in order",
            ),
            4 | 5 => (
                Loss::Random(self.chance.draw()),
                "fault: power cut, sectors reordered",
            ),
            _ => (
                Loss::RandomPages(self.chance.draw()),
                "fault: power cut, pages reordered",
            ),
        };
        self.trace.count(name);
        loss
    }

    /// Regions whose disk has crashed come to their end; those that were down long enough start.
    pub fn see_crashes(&mut self) {
        for at in 0..self.regions.len() {
            let region = &self.regions[at];
            if region.broker.is_some() && region.disk.is_crashed() {
                self.crash(at);
            } else if region.broker.is_none() && region.down_until <= self.step {
                self.start(at);
            }
        }
    }

    /// The process of a region dies, or its power goes.
    pub fn crash(&mut self, at: usize) {
        let loss = self.any_loss(at);
        self.trace.note("crash", &[at as u64], || {
            format!("{} {loss:?}", self.regions[at].name)
        });
        let down = self.chance.below(60);
        self.end(at, loss, down);
    }

    fn end(&mut self, at: usize, loss: Loss, down: u64) {
        self.regions[at].end(loss);
        self.regions[at].down_until = self.step + down;
        for link in &mut self.links {
            if link.puller == at {
                link.forget();
            } else if link.source == at {
                link.lose(&self.regions[link.puller], &mut self.chance);
            }
        }
    }

    /// Opens the disk; opening may fail, too.
    fn start(&mut self, at: usize) {
        for attempt in 0..10 {
            if attempt < 3 && self.faults.disk && !self.is_closing && self.chance.one_in(10) {
                let strike = any_strike(&mut self.chance);
                self.regions[at].disk.strike(strike);
            }
            if attempt > 3 {
                self.regions[at].disk.heal();
            }
            let opened = self.regions[at].open(&mut self.chance);
            if self.regions[at].disk.is_crashed() {
                self.trace.count("fault: crash during recovery");
                let loss = self.any_loss(at);
                self.regions[at].end(loss);
                continue;
            }
            let region = &mut self.regions[at];
            match opened {
                Ok(()) => {
                    region.judge_start();
                    region.see_widened();
                    region.look();
                    if self.chance.one_in(3) {
                        region.read_again();
                    }
                    return;
                }
                Err(error) if !region.disk.was_struck() => {
                    anomaly!("unopened", "{}: {error}", region.name);
                }
                Err(_) => region.end(Loss::None),
            }
        }
        anomaly!("unopened", "{} does not open", self.regions[at].name);
    }

    /// A region is put back to an old copy of its disk: what it took since then is gone.
    pub fn restore(&mut self, at: usize) {
        let Some(backup) = self.regions[at].backup.clone() else {
            return;
        };
        self.trace.count("fault: restored from a backup");
        self.trace.note("restored", &[at as u64], || {
            self.regions[at].name.to_string()
        });
        self.end(at, Loss::None, 0);
        let region = &mut self.regions[at];
        region.disk = backup.after(Loss::None);
        region.disk.heal();
        region.restores += 1;
        region.contents.clear();
        if region.open(&mut self.chance).is_err() {
            anomaly!("unopened", "a backup of {} does not open", region.name);
        }
        region.see_anew();
    }

    /// The faults end: every region has all that the others have synced.
    fn finish(&mut self) {
        self.is_closing = true;
        for at in 0..self.regions.len() {
            self.regions[at].disk.heal();
            self.regions[at].disk.no_crash();
            let loss = match self.chance.one_in(2) {
                true => Loss::None,
                false => Loss::All,
            };
            self.end(at, loss, 0);
            self.start(at);
            self.want_all(at);
        }
        for link in &mut self.links {
            link.line = super::link::Line::default();
            link.lose(&self.regions[link.puller], &mut self.chance);
        }
        let begun = self.step;
        while !self.is_complete() {
            for _ in 0..300 {
                self.step();
            }
            self.operate();
            if self.step - begun > PATIENCE {
                self.complain();
            }
        }
        for at in 0..self.regions.len() {
            self.regions[at].read_again();
        }
        self.compare();
    }

    fn want_all(&mut self, at: usize) {
        let region = &mut self.regions[at];
        let now = region.time();
        let declared = Declared {
            org: org(),
            pattern: ">".parse::<ChannelPattern>().unwrap(),
            wish: Wish {
                types: None,
                from: Since::Start,
                retention_days: None,
            },
            at: now,
        };
        // Without room it is declared with the next look.
        if let Some(broker) = region.broker.as_mut() {
            let _ = broker.declare_interest(declared, now);
        }
    }

    /// An operator sees to copies that have stopped for good: the home is right, so they are
    /// removed and begun anew. Whoever is sick is started again.
    fn operate(&mut self) {
        for at in 0..self.regions.len() {
            let region = &self.regions[at];
            // A log that is being replaced takes no writes either.
            if region.is_sick() && !region.widening.is_under_way() {
                self.end(at, Loss::None, 0);
                self.start(at);
            }
            self.want_all(at);
        }
        for link in 0..self.links.len() {
            let (puller, source) = (self.links[link].puller, self.links[link].source);
            let mut removed = Vec::new();
            for (name, stopped) in &self.links[link].stops {
                match stopped.why {
                    // An empty copy that begins where its restored home has no batch begin.
                    Stop::Elsewhere if self.regions[source].restores > 0 => {}
                    Stop::Passing(_) | Stop::Elsewhere => continue,
                    Stop::Diverged(_) if self.regions[source].restores == 0 => {
                        anomaly!("diverged", "{name} is stopped: {}", stopped.why.text());
                    }
                    Stop::Recreated => {
                        let here = self.regions[source].broker.as_ref();
                        let here = here.and_then(|broker| broker.identity_of(name));
                        if here == Some(stopped.id) {
                            anomaly!("recreated", "{name} is the same as ever");
                        }
                    }
                    Stop::Diverged(_) => {}
                }
                removed.push(name.clone());
            }
            for name in removed {
                self.begin_anew(puller, &name);
                self.links[link].stops.remove(&name);
            }
        }
    }

    fn begin_anew(&mut self, at: usize, name: &ChannelName) {
        let region = &mut self.regions[at];
        let now = region.time();
        let Some(broker) = region.broker.as_mut() else {
            return;
        };
        let declared = broker.interests().declared();
        let all: Vec<_> = declared
            .map(|(org, pattern, ..)| (org.clone(), pattern.clone()))
            .collect();
        for (org, pattern) in all {
            let _ = broker.remove_interest(org, pattern, now);
        }
        let Residence::Copy(id, _) = broker.residence(name) else {
            return;
        };
        if broker.purge_copy(name, now).is_ok() {
            region.dropped.insert(id);
            region.widening.forget(id);
            region.trace.count("event: copy begun anew by an operator");
        }
        self.want_all(at);
    }

    /// What every region should have: each channel where it lives, and how far it is synced.
    fn homes(&self) -> BTreeMap<ChannelName, (usize, npayload::types::Incarnation, u64)> {
        let mut homes = BTreeMap::new();
        for (at, region) in self.regions.iter().enumerate() {
            for (id, name, is_home) in region.logs() {
                if let Some((_, flushed)) = region.place(id).filter(|_| is_home) {
                    homes.insert(name, (at, id, flushed));
                }
            }
        }
        homes
    }

    /// The first copy that is missing or not complete.
    fn incomplete(&self) -> Option<String> {
        for (name, (home, id, flushed)) in self.homes() {
            let start = self.regions[home].place(id).map_or(0, |(start, _)| start);
            for (at, region) in self.regions.iter().enumerate() {
                let place = region.place(id);
                // Retention may be faster than what is written beside a copy, and than that at home.
                let is_short = name.as_str().ends_with("short") || region.widening.is_narrow(id);
                let begins = if is_short { u64::MAX } else { start };
                let is_whole = place.is_some_and(|(here, end)| here <= begins && end == flushed);
                if at != home && !is_whole {
                    return Some(format!(
                        "{name} in {}: {place:?}, synced at home: {flushed}",
                        region.name
                    ));
                }
            }
        }
        None
    }

    fn is_complete(&self) -> bool {
        self.links.iter().all(super::link::Link::is_open) && self.incomplete().is_none()
    }

    fn complain(&self) -> ! {
        for link in &self.links {
            let (puller, source) = (&self.regions[link.puller], &self.regions[link.source]);
            for (name, stopped) in &link.stops {
                let why = stopped.why.text();
                println!("{} from {}: {name}: {why}", puller.name, source.name);
            }
        }
        let what = self.incomplete();
        anomaly!("stuck", "nothing fails, and still: {what:?}");
    }

    /// Same offset, same bytes, in every region.
    fn compare(&self) {
        for (name, (home, id, flushed)) in self.homes() {
            let start = self.regions[home].place(id).map_or(0, |(start, _)| start);
            let there = &self.regions[home].contents[&id];
            for region in &self.regions {
                let here = &region.contents[&id];
                if here.upto != flushed {
                    anomaly!("hole", "{name} in {}: up to {}", region.name, here.upto);
                }
                let (first, _) = region.place(id).unwrap_or_default();
                for (base, seen) in here.batches.range(first.max(start)..) {
                    let is_same = there.batches.get(base) == Some(seen);
                    if !is_same && (!seen.is_gap || !name.as_str().ends_with("short")) {
                        anomaly!("differs", "{name} in {} at {base}", region.name);
                    }
                }
            }
            self.trace.count("event: compared in all regions");
        }
    }
}
