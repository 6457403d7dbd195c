//! Starts, stops and crashes of the broker, and the end of a run.

use std::collections::BTreeMap;

use npayload::broker::{ChannelInfo, Stop};
use npayload::storage::disk::Loss;
use npayload::types::Timestamp;

use super::faults::any_strike;
use super::restart::Ending;
use super::trace::{Trace, anomaly};
use super::world::{Committer, Keeper, World};

/// Steps of a run before its faults end.
const STEPS: u64 = 900;
/// Steps of a stop after which what waits for room in the journal is given up.
const LAST_WAIT: u64 = 5_000;
/// Steps within which everything that was begun must be done once the faults have ended.
const PATIENCE: u64 = 30_000;

/// What is known when a run is over.
pub struct Summary {
    pub hash: u64,
    pub steps: u64,
}

/// One run, from its seed alone. Panics where something is seen that must never be.
pub fn run(seed: u64, trace: &Trace) -> Summary {
    let mut world = World::new(seed, trace.clone());
    world.trace.note("seed", &[seed], || {
        format!("{:?} {:?}", world.faults, world.config)
    });
    if world.faults.crash && world.chance.one_in(4) {
        let calls = world.chance.below(60);
        world.disk.crash_in(calls, false);
    }
    world.start(Ending {
        lost_power: true,
        is_clean: false,
        is_struck: false,
        flushed: BTreeMap::new(),
        lost_syncs: Vec::new(),
    });
    for _ in 0..STEPS {
        world.step();
        if world.disk.is_crashed() {
            world.crash();
        }
    }
    world.finish();
    Summary {
        hash: trace.hash(),
        steps: world.step,
    }
}

impl World {
    /// A step of those who work behind the answers.
    fn work(&mut self) {
        self.step += 1;
        self.trace.set_step(self.step);
        match self.chance.below(8) {
            0..=2 => self.step_committer(),
            3..=5 => self.step_keeper(),
            6 => self.settle(),
            _ if self.chance.one_in(8) => self.tick(),
            _ => self.now += 5,
        }
        self.history.latest = self.history.latest.max(self.now);
    }

    /// How this broker ends, as far as the disk's outcome `loss` goes.
    fn ending(&self, lost_power: bool, is_clean: bool) -> Ending {
        let mut flushed = BTreeMap::new();
        if let Some(broker) = &self.broker {
            for info in broker.list_channels("", true, None, 1000).value {
                flushed.insert(info.incarnation, info.flushed.0);
            }
        }
        Ending {
            lost_power: lost_power || self.disk.has_lost_pages(),
            is_clean,
            is_struck: false,
            flushed,
            lost_syncs: Vec::new(),
        }
    }

    fn any_loss(&mut self) -> Loss {
        match self.chance.below(7) {
            0 | 1 => Loss::None,
            2 => Loss::All,
            3 => Loss::Prefix(self.chance.below(self.disk.unsynced() + 1)),
            4 | 5 => Loss::Random(self.chance.draw()),
            _ => Loss::RandomPages(self.chance.draw()),
        }
    }

    fn lose(&mut self) -> Loss {
        let loss = self.any_loss();
        let name = match loss {
            Loss::None => "process killed",
            Loss::All => "power cut, all unsynced lost",
            Loss::Prefix(_) => "power cut, torn in order",
            Loss::Random(_) => "power cut, sectors reordered",
            Loss::RandomPages(_) => "power cut, pages reordered",
        };
        self.trace.note("crash", &[], || format!("{loss:?}"));
        self.trace.count(format!("fault: {name}"));
        loss
    }

    /// The broker is gone, and every connection with it.
    fn end(&mut self) {
        self.committer = Committer::Idle;
        self.keeper = Keeper::Idle;
        self.broker = None;
        self.stopping = None;
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            if self.connections.get(&id).is_some_and(|one| !one.is_cut) {
                self.cut(id);
            }
        }
        self.connections.clear();
    }

    /// The process dies, or the power goes.
    pub fn crash(&mut self) {
        let loss = self.lose();
        let ending = self.ending(loss != Loss::None, false);
        self.end();
        self.disk = self.disk.after(loss);
        self.start(ending);
    }

    /// Opens the disk; the opening may fail or crash too, twice, three times.
    fn start(&mut self, mut ending: Ending) {
        for attempt in 0..8 {
            let may_fail = attempt < 4 && !self.is_closing;
            if may_fail && self.faults.crash && self.chance.one_in(4) {
                let calls = self.chance.below(30);
                let tears = self.chance.one_in(2);
                self.disk.crash_in(calls, tears);
            }
            if may_fail && self.faults.disk && self.chance.one_in(6) {
                self.disk.strike(any_strike(&mut self.chance));
            }
            if attempt > 4 {
                self.disk.heal();
            }
            let opened = self.open();
            self.trace.note("open", &[u64::from(opened.is_ok())], || {
                opened
                    .as_ref()
                    .map_or_else(ToString::to_string, |()| "done".to_owned())
            });
            match opened {
                Ok(()) if self.disk.is_crashed() => {}
                Ok(()) => {
                    ending.is_struck = self.disk.was_struck();
                    ending.lost_syncs = self.disk.lost_syncs();
                    self.opened(&ending);
                    return;
                }
                Err(_) if self.disk.is_crashed() => {}
                Err(error) if self.disk.is_healthy() && attempt > 4 => {
                    anomaly!("unopened", "{error}");
                }
                Err(error) => {
                    self.trace.count("event: opening failed");
                    let text = error.to_string();
                    // The process ends, and another tries again.
                    if !self.disk.was_struck() {
                        anomaly!("unopened", "{text}");
                    }
                    ending.is_clean = false;
                    ending.lost_power |= self.disk.has_lost_pages();
                    self.disk = self.disk.after(Loss::None);
                    continue;
                }
            }
            self.trace.count("fault: crash during recovery");
            self.broker = None;
            let loss = self.lose();
            ending.lost_power |= loss != Loss::None || self.disk.has_lost_pages();
            ending.is_clean = false;
            self.disk = self.disk.after(loss);
        }
        anomaly!("unopened", "the broker does not open, whatever is tried");
    }

    fn opened(&mut self, ending: &Ending) {
        let broker = self.broker.as_ref().unwrap();
        let report = broker.storage().recovery_report();
        if report.torn.is_some() {
            self.trace.count("event: a torn group was cut off");
        }
        if report.batches > 0 {
            self.trace.count("event: batches replayed");
        }
        if !report.lost_unsynced.is_empty() {
            self.trace.count("event: unsynced bytes lost");
        }
        if !report.moved.is_empty() {
            self.trace.count("event: moved to lost+found");
        }
        self.history.check_restart(broker, ending);
        if self.disk.is_healthy() && !self.disk.will_crash() {
            self.read_all();
        }
    }

    /// An orderly stop, and the next start.
    pub fn stop(&mut self) {
        self.trace.note("stop", &[], String::new);
        self.stopping = Some(0);
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            self.call(id, |connection, call| connection.session.stop_tasks(call));
        }
        // What is due is answered, within bounds.
        for _ in 0..300 {
            self.work();
            if self.disk.is_crashed() {
                return self.crash();
            }
        }
        if let Some(broker) = &mut self.broker {
            broker.begin_stop();
        }
        for step in 0.. {
            if self.stop_state() != Stop::Waiting {
                break;
            }
            let broker = self.broker.as_mut().unwrap();
            if step > LAST_WAIT && broker.storage().has_round(Timestamp(self.now)) {
                // No room in the journal: as the committer does after ten seconds.
                self.trace.count("event: a stop gave up what had no room");
                broker.give_up();
            }
            if step > PATIENCE {
                anomaly!(
                    "stuck",
                    "a stop does not end: {:?}",
                    self.broker.as_ref().unwrap().storage()
                );
            }
            self.work();
            if self.disk.is_crashed() {
                return self.crash();
            }
        }
        let is_clean = self.stop_state() == Stop::Clean;
        self.trace.count(if is_clean {
            "event: clean stop"
        } else {
            "event: stop gave up"
        });
        self.trace
            .note("stopped", &[u64::from(is_clean)], || is_clean.to_string());
        // After a clean stop the power may go, too.
        let loss = if is_clean && self.chance.one_in(2) {
            Loss::All
        } else {
            Loss::None
        };
        let mut ending = self.ending(loss != Loss::None, is_clean);
        ending.is_clean &= !self.has_failed();
        self.end();
        self.disk = self.disk.after(loss);
        self.start(ending);
    }

    fn has_failed(&self) -> bool {
        let Some(broker) = &self.broker else {
            return true;
        };
        let listed = broker.list_channels("", true, None, 1000).value;
        let is_sick = |info: &ChannelInfo| {
            let log = self.history.logs.get(&info.incarnation);
            let is_known = log.is_some_and(|log| log.is_damaged);
            !is_known && (info.refused.is_some() || !info.damage.is_empty())
        };
        listed.iter().any(is_sick) || broker.storage().journal_failure().is_some()
    }

    /// The faults end: all that was begun is done, and what is there is what was promised.
    fn finish(&mut self) {
        self.is_closing = true;
        self.disk.heal();
        self.disk.no_crash();
        if self.chance.one_in(2) {
            self.crash();
        } else {
            self.stop();
        }
        let begun = self.step;
        while !self.is_quiet() {
            self.step();
            self.now += 5;
            if self.step - begun > PATIENCE {
                anomaly!("stuck", "clients wait for ever, though nothing fails");
            }
        }
        self.read_all();
        self.stop();
        self.read_all();
        if self.stop_state() != Stop::Waiting || self.has_failed() {
            let listed = self
                .broker
                .as_ref()
                .unwrap()
                .list_channels("", true, None, 99);
            anomaly!(
                "stuck",
                "the broker is not well at the end: {:?}",
                listed.value
            );
        }
    }
}
