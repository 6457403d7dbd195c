//! Homes that are moved, as planned and by force, while regions crash and lines are cut one way or
//! both: what was acknowledged is in the log, or set aside under a name.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use npayload::region::copies::{Before, Cursor, Item, Wanted, check_follow};
use npayload::region::homes::{Held, HomeEvent};
use npayload::region::{HomeEpoch, LogName, Tenure};
use npayload::types::{Offset, RegionName};

use super::homes::{Batch, Entry, LOG, Node, step_of};
use super::world::NAMES;
use crate::sim::chance::Chance;
use crate::sim::trace::{Trace, anomaly};

/// What the runs of a long test must have shown between them.
pub const MUST_HAPPEN: [&str; 13] = [
    "event: a planned move has ended",
    "event: a target declined",
    "event: a tail was set aside",
    "event: acknowledged",
    "event: fenced",
    "event: forced",
    "event: forced with one region gone",
    "event: pulled from a copy",
    "event: the home took no writes",
    "event: two homes in a split",
    "fault: line cut one way",
    "fault: power cut",
    "fault: region away",
];

const STEPS: u64 = 1_500;
const PATIENCE: u64 = 60_000;

/// Batches on their way to a region, from one source.
struct Pull {
    source: usize,
    cursor: Cursor,
    /// The next offset that the source sends.
    next: u64,
    items: VecDeque<(u64, Batch, u64)>,
}

struct Moving {
    chance: Chance,
    trace: Trace,
    step: u64,
    now: i64,
    log: LogName,
    made_in: RegionName,
    nodes: Vec<Node>,
    pulls: Vec<Option<Pull>>,
    /// Whether bytes of the first reach the second.
    passes: [[bool; 3]; 3],
    may_force: bool,
    is_closing: bool,
    next_uid: u32,
    /// What a home has appended and not synced, so that its writer is not told.
    waiting: Vec<(usize, Batch)>,
    /// Batches that were acknowledged to their writers.
    acked: BTreeMap<u32, Batch>,
    /// Who has ever synced a batch as its home, by tenure and offset.
    synced: BTreeMap<(Tenure, u64), Batch>,
    /// Which regions hold a batch synced.
    held: BTreeMap<u32, BTreeSet<usize>>,
    /// Ends of the homes that were taken by force, below which nothing may be lost.
    forced: Vec<u64>,
}

/// One run, from its seed alone.
pub fn run(seed: u64, trace: &Trace) -> u64 {
    let mut chance = Chance::new(seed ^ 0x6d6f_7665);
    let may_force = chance.one_in(2);
    trace.note("seed", &[seed], || format!("forced moves: {may_force}"));
    let mut moving = Moving {
        trace: trace.clone(),
        step: 0,
        now: 1_000,
        log: "orders".parse().unwrap(),
        made_in: RegionName::parse(NAMES[0]).unwrap(),
        nodes: NAMES.map(Node::new).into(),
        pulls: vec![None, None, None],
        passes: [[true; 3]; 3],
        may_force,
        is_closing: false,
        next_uid: 0,
        waiting: Vec::new(),
        acked: BTreeMap::new(),
        synced: BTreeMap::new(),
        held: BTreeMap::new(),
        forced: Vec::new(),
        chance,
    };
    for _ in 0..STEPS {
        moving.step();
    }
    moving.finish();
    trace.hash()
}

impl Moving {
    fn any(&mut self) -> usize {
        usize::try_from(self.chance.below(3)).unwrap()
    }

    fn step(&mut self) {
        self.step += 1;
        self.trace.set_step(self.step);
        self.now += 1;
        let at = self.any();
        let other = (at + 1 + usize::try_from(self.chance.below(2)).unwrap()) % 3;
        match self.chance.below(100) {
            0..=17 if !self.is_closing => self.publish(at),
            18..=32 => self.sync(at),
            33..=44 => self.follow(at),
            45..=56 => self.serve(at),
            57..=72 => self.deliver(at),
            73..=84 => self.travel(other, at),
            85..=86 if !self.is_closing => self.ask_for_fence(at),
            87..=90 => self.take(at),
            91 => self.decline(at),
            92 if !self.is_closing && self.may_force => self.force(at),
            93..=94 => self.judge(at),
            95..=99 if !self.is_closing => self.fault(at, other),
            _ => {}
        }
    }

    fn is_up(&self, at: usize) -> bool {
        self.nodes[at].is_up(self.step)
    }

    /// Whether both can talk to each other.
    fn is_linked(&self, one: usize, other: usize) -> bool {
        self.is_up(one) && self.is_up(other) && self.passes[one][other] && self.passes[other][one]
    }

    fn index(&self, region: &RegionName) -> usize {
        let mut nodes = self.nodes.iter();
        nodes.position(|node| node.name == *region).expect("known")
    }

    fn publish(&mut self, at: usize) {
        let writers =
            (0..3).filter(|at| self.is_up(*at) && self.nodes[*at].may_append(&self.made_in));
        if writers.count() > 1 {
            self.trace.count("event: two homes in a split");
        }
        let (now, made_in) = (self.now, &self.made_in);
        let node = &self.nodes[at];
        if !self.is_up(at) {
            return;
        }
        if !node.may_append(made_in) {
            self.trace.count("event: the home took no writes");
            return;
        }
        let last = node.log.last().map_or(0, |batch| batch.time);
        self.next_uid += 1;
        let base = node.end();
        let batch = Batch {
            base,
            end: base + self.chance.within(1..4),
            epoch: node.stamp(made_in),
            time: now.max(last),
            uid: self.next_uid,
        };
        self.trace.note("published", &[at as u64, base], || {
            format!("{batch:?} in {}", NAMES[at])
        });
        self.nodes[at].write(Entry::Batch(batch));
        self.waiting.push((at, batch));
    }

    /// All that a region has written is synced: writers are told.
    fn sync(&mut self, at: usize) {
        if !self.is_up(at) {
            return;
        }
        self.nodes[at].sync();
        for batch in self.nodes[at].log.clone() {
            let is_own = HomeEpoch::of(batch.epoch).tenure.region
                == npayload::region::RegionNumber::of(&self.nodes[at].name);
            if is_own {
                let key = (HomeEpoch::of(batch.epoch).tenure, batch.base);
                let known = self.synced.insert(key, batch);
                if known.is_some_and(|known| known != batch) {
                    anomaly!("two-homes", "{key:?}: {known:?} and {batch:?}");
                }
            }
            self.held.entry(batch.uid).or_default().insert(at);
        }
        let (nodes, acked, trace) = (&self.nodes, &mut self.acked, &self.trace);
        self.waiting.retain(|(by, batch)| {
            if *by != at {
                return true;
            }
            // What was cut off or lost with the power is never acknowledged.
            if nodes[at].holds(batch.base) == Some(*batch) {
                acked.insert(batch.uid, *batch);
                trace.count("event: acknowledged");
            }
            false
        });
    }

    /// A region begins to pull the log: from its home, or from another one.
    fn follow(&mut self, at: usize) {
        if !self.is_up(at) || self.nodes[at].may_append(&self.made_in) {
            self.pulls[at] = None;
            return;
        }
        if self.pulls[at].is_some() && !self.chance.one_in(6) {
            return;
        }
        self.pulls[at] = None;
        let home = self.nodes[at].homes.home(LOG, &self.made_in).region;
        let source = match self.chance.one_in(4) {
            true => self.any(),
            false => self.index(&home),
        };
        if source == at || !self.is_linked(at, source) || !self.nodes[at].is_synced() {
            return;
        }
        let node = &self.nodes[at];
        let from = node.end();
        let wanted = Wanted {
            incarnation: Some(LOG),
            from: Offset(from),
            before: match node.log.last() {
                Some(last) => Before::Batch(last.mark()),
                None => Before::Nothing,
            },
        };
        let has = self.nodes[source].source(&self.made_in, from);
        let begun = check_follow(&has, &wanted, None);
        self.trace.note("follow", &[at as u64, source as u64], || {
            format!("{} from {}: {begun:?}", NAMES[at], NAMES[source])
        });
        if begun.is_err() {
            return;
        }
        if !has.is_home {
            self.trace.count("event: pulled from a copy");
        }
        self.pulls[at] = Some(Pull {
            source,
            cursor: node.cursor(),
            next: from,
            items: VecDeque::new(),
        });
    }

    /// The source sends the next batch that it has synced.
    fn serve(&mut self, at: usize) {
        let Some(source) = self.pulls[at].as_ref().map(|pull| pull.source) else {
            return;
        };
        if !self.is_up(source) || !self.passes[source][at] {
            return;
        }
        let delay = self.chance.below(20);
        let (node, pull) = (&self.nodes[source], self.pulls[at].as_mut().expect("it is"));
        if let Some(batch) = node.holds(pull.next)
            && batch.end <= node.flushed
        {
            pull.next = batch.end;
            pull.items
                .push_back((self.step + delay, batch, node.flushed));
        }
    }

    fn deliver(&mut self, at: usize) {
        if !self.is_up(at) {
            return;
        }
        let Some(pull) = self.pulls[at].as_mut() else {
            return;
        };
        let Some((_, batch, flushed)) = pull.items.pop_front_if(|(due, ..)| *due <= self.step)
        else {
            return;
        };
        let item = Item::Batch {
            incarnation: LOG,
            mark: batch.mark(),
            flushed: Offset(flushed),
        };
        if let Err(refused) = pull.cursor.accept(&item) {
            self.trace
                .note("refused", &[at as u64], || refused.to_string());
            self.pulls[at] = None;
            return;
        }
        let key = (HomeEpoch::of(batch.epoch).tenure, batch.base);
        if self.synced.get(&key) != Some(&batch) {
            anomaly!(
                "ahead",
                "{} has {batch:?}, which no home has synced",
                NAMES[at]
            );
        }
        let node = &mut self.nodes[at];
        node.heard = node.heard.max(Some(Offset(flushed)));
        // It is not the one that the copy waits for any more.
        if node.end() != batch.base {
            self.pulls[at] = None;
            return;
        }
        node.write(Entry::Batch(batch));
        self.judge(at);
    }

    /// What a region says of homes reaches another one.
    fn travel(&mut self, from: usize, to: usize) {
        if !self.is_linked(from, to) {
            return;
        }
        let by = self.nodes[from].name.clone();
        let known = self.nodes[to].topics.get(&by).map_or(0, Vec::len);
        let Some(event) = self.nodes[from].own_events().get(known).cloned() else {
            return;
        };
        self.trace.note("heard", &[from as u64, to as u64], || {
            format!("{} of {by}: {event:?}", NAMES[to])
        });
        self.nodes[to].write(Entry::Event(by, event));
        self.judge(to);
    }

    /// What a loser wrote is set aside.
    fn judge(&mut self, at: usize) {
        if self.is_up(at) && self.nodes[at].judge() {
            self.trace.count("event: a tail was set aside");
            let aside = &self.nodes[at].set_aside;
            self.trace.note("set aside", &[at as u64], || {
                format!("{} {aside:?}", NAMES[at])
            });
            self.pulls[at] = None;
        }
    }

    /// A region that wants to be home asks the home to stop writing.
    fn ask_for_fence(&mut self, at: usize) {
        let home = self.nodes[at].homes.home(LOG, &self.made_in).region;
        let home = self.index(&home);
        if home == at || !self.is_linked(at, home) {
            return;
        }
        // The home answers once all of it is synced.
        self.sync(home);
        let (name, to) = (self.nodes[home].name.clone(), self.nodes[at].name.clone());
        let node = &self.nodes[home];
        if !node.may_append(&self.made_in) {
            return;
        }
        let step = step_of(&self.log, &self.made_in, &name);
        if let Ok(Some(event)) = node.homes.fence(step, &to, Offset(node.end())) {
            self.trace
                .note("fenced", &[home as u64, at as u64], || format!("{event:?}"));
            self.trace.count("event: fenced");
            self.nodes[home].write(Entry::Event(name, event));
        }
    }

    fn take(&mut self, at: usize) {
        if !self.is_up(at) || !self.nodes[at].is_synced() {
            return;
        }
        let node = &self.nodes[at];
        let name = node.name.clone();
        let runs = node.runs();
        let held = Held {
            end: Offset(node.end()),
            runs: &runs,
        };
        let step = step_of(&self.log, &self.made_in, &name);
        if let Ok(event) = node.homes.take(step, held) {
            self.trace
                .note("taken", &[at as u64], || format!("{event:?}"));
            self.trace.count("event: a planned move has ended");
            self.nodes[at].write(Entry::Event(name, event));
        }
    }

    fn decline(&mut self, at: usize) {
        if !self.is_up(at) {
            return;
        }
        let name = self.nodes[at].name.clone();
        let step = step_of(&self.log, &self.made_in, &name);
        if let Ok(event) = self.nodes[at].homes.decline(step) {
            self.trace
                .note("declined", &[at as u64], || format!("{event:?}"));
            self.trace.count("event: a target declined");
            self.nodes[at].write(Entry::Event(name, event));
        }
    }

    /// An operator makes a region home, since the home is gone, as far as can be told from there.
    fn force(&mut self, at: usize) {
        let home = self.nodes[at].homes.home(LOG, &self.made_in).region;
        let home = self.index(&home);
        if !self.is_up(at) || home == at || self.is_linked(at, home) {
            return;
        }
        // First it takes what any copy in reach has beyond it.
        let reached: Vec<usize> = (0..3)
            .filter(|other| *other != at && self.is_linked(at, *other))
            .collect();
        let own = self.nodes[at].end();
        let is_behind = |other: &usize| self.nodes[*other].flushed > own;
        if reached.iter().any(is_behind) || !self.nodes[at].is_synced() {
            return;
        }
        let heard = reached.iter().map(|other| self.nodes[*other].heard);
        let seen = heard.chain([self.nodes[at].heard]).max().flatten();
        let node = &self.nodes[at];
        let name = node.name.clone();
        let runs = node.runs();
        let held = Held {
            end: Offset(node.end()),
            runs: &runs,
        };
        let step = step_of(&self.log, &self.made_in, &name);
        let Ok(event) = node.homes.take_by_force(step, held, seen) else {
            return;
        };
        let HomeEvent::Taken(taken) = &event else {
            anomaly!("bug", "{event:?}");
        };
        self.trace
            .note("forced", &[at as u64], || format!("{event:?}"));
        self.trace.count("event: forced");
        self.forced.push(taken.start.0);
        if reached.len() == 1 {
            self.trace.count("event: forced with one region gone");
            self.judge_two_regions(at, home);
        }
        self.nodes[at].write(Entry::Event(name, event));
    }

    /// What two regions hold is never lost with one of them.
    fn judge_two_regions(&self, at: usize, gone: usize) {
        let there = self.nodes[at].log.iter().map(|batch| batch.uid);
        let there: BTreeSet<u32> = there.collect();
        let lineage = self.nodes[gone].homes.lineage(LOG);
        for batch in self.nodes[gone].log.iter() {
            let others = self.held.get(&batch.uid);
            let is_held = others
                .is_some_and(|held| held.iter().filter(|by| self.has(**by, batch)).count() >= 2);
            let is_of_log = lineage == self.nodes[at].homes.lineage(LOG);
            if is_held && is_of_log && self.acked.contains_key(&batch.uid) {
                let is_there = there.contains(&batch.uid);
                if !is_there {
                    anomaly!(
                        "lost-write",
                        "two regions held {batch:?}, {} has not",
                        NAMES[at]
                    );
                }
            }
        }
    }

    fn has(&self, at: usize, batch: &Batch) -> bool {
        self.nodes[at].holds(batch.base) == Some(*batch) && batch.end <= self.nodes[at].flushed
    }

    fn fault(&mut self, at: usize, other: usize) {
        match self.chance.below(10) {
            0..=1 => {
                let unsynced = self.nodes[at].unsynced();
                let kept = usize::try_from(self.chance.below(unsynced as u64 + 1)).unwrap();
                let is_long = self.chance.one_in(4);
                let down = self.chance.below(if is_long { 300 } else { 20 });
                self.trace.note("crash", &[at as u64, kept as u64], || {
                    format!("{} for {down} steps", NAMES[at])
                });
                self.trace.count("fault: power cut");
                if is_long {
                    self.trace.count("fault: region away");
                }
                self.nodes[at].crash(kept);
                self.nodes[at].down_until = self.step + down;
                self.pulls[at] = None;
                for pull in &mut self.pulls {
                    pull.take_if(|pull| pull.source == at);
                }
                // What was not synced may have come through; its writer is never told.
                self.waiting.retain(|(by, _)| *by != at);
                self.book_synced(at);
            }
            2..=4 => {
                self.passes[at][other] = false;
                self.trace.count("fault: line cut one way");
                self.pulls[other].take_if(|pull| pull.source == at && pull.items.is_empty());
            }
            _ => self.passes[at][other] = true,
        }
    }

    /// After a start, what the journal kept is synced.
    fn book_synced(&mut self, at: usize) {
        let own = npayload::region::RegionNumber::of(&self.nodes[at].name);
        for batch in &self.nodes[at].log {
            let tenure = HomeEpoch::of(batch.epoch).tenure;
            if tenure.region == own {
                let known = self.synced.insert((tenure, batch.base), *batch);
                if known.is_some_and(|known| known != *batch) {
                    anomaly!("two-homes", "{tenure}: {known:?} and {batch:?}");
                }
            }
            self.held.entry(batch.uid).or_default().insert(at);
        }
    }

    /// Nothing fails any more: all agree, and what was acknowledged is there or has a name.
    fn finish(&mut self) {
        self.is_closing = true;
        self.passes = [[true; 3]; 3];
        for node in &mut self.nodes {
            node.down_until = 0;
        }
        let begun = self.step;
        while !self.is_settled() {
            self.step();
            if self.step - begun > PATIENCE {
                for node in &self.nodes {
                    let home = node.homes.home(LOG, &self.made_in);
                    println!(
                        "{}: {home:?}, {} to {}",
                        node.name,
                        node.log.len(),
                        node.end()
                    );
                }
                anomaly!("stuck", "regions do not agree, though nothing fails");
            }
        }
        self.judge_all();
    }

    fn is_settled(&self) -> bool {
        let first = &self.nodes[0];
        let home = first.homes.home(LOG, &self.made_in);
        home.moving.is_none()
            && self
                .nodes
                .iter()
                .all(|node| node.is_synced() && node.homes == first.homes && node.log == first.log)
    }

    fn judge_all(&mut self) {
        let there: BTreeSet<u32> = self.nodes[0].log.iter().map(|batch| batch.uid).collect();
        let aside: BTreeSet<u32> = self
            .nodes
            .iter()
            .flat_map(|node| node.set_aside.iter().map(|batch| batch.uid))
            .collect();
        let lowest = self.forced.iter().min().copied();
        for (uid, batch) in &self.acked {
            if there.contains(uid) {
                continue;
            }
            match lowest {
                None => anomaly!("lost-write", "{batch:?} by a planned move"),
                Some(lowest) if batch.base < lowest => {
                    anomaly!("lost-write", "{batch:?} is below what a forced move named");
                }
                Some(_) if !aside.contains(uid) => {
                    anomaly!("lost-write", "{batch:?} is in no log and was not set aside");
                }
                Some(_) => self.trace.count("event: set aside, and named"),
            }
        }
        // Without a forced move nobody loses, so there is nothing to be set aside.
        if self.forced.is_empty() {
            for node in &self.nodes {
                if let Some(batch) = node.set_aside.first() {
                    anomaly!("set-aside", "{} set {batch:?} aside in vain", node.name);
                }
            }
        }
        self.trace.count("event: all agree");
    }
}
