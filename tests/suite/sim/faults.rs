//! Which faults a run has, and when the next one strikes.

use npayload::storage::disk::{Fault, Operation};

use super::chance::Chance;
use super::disk::Strike;
use super::world::World;

/// Each run has some kinds of faults and not others, so that a rare one is not always behind a
/// common one.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub crash: bool,
    pub disk: bool,
    pub space: bool,
    pub network: bool,
    pub clock: bool,
    pub stop: bool,
}

impl Faults {
    pub fn new(chance: &mut Chance) -> Self {
        Self {
            crash: !chance.one_in(4),
            disk: chance.one_in(2),
            space: chance.one_in(3),
            network: !chance.one_in(3),
            clock: chance.one_in(3),
            stop: chance.one_in(2),
        }
    }
}

/// Which calls fail, and where.
const STRIKES: [(Operation, &str); 22] = [
    (Operation::Write, ".journal"),
    (Operation::Sync, ".journal"),
    (Operation::Write, "channels"),
    (Operation::Write, "channels"),
    (Operation::Sync, "channels"),
    (Operation::Sync, "channels"),
    (Operation::Open, "channels"),
    (Operation::CreateDir, "channels"),
    (Operation::SyncDir, "channels"),
    (Operation::Write, "checkpoint"),
    (Operation::Sync, "checkpoint"),
    (Operation::SyncDir, "checkpoint"),
    (Operation::Open, "checkpoint"),
    (Operation::Write, "recovery-point"),
    (Operation::Sync, "recovery-point"),
    (Operation::Rename, ""),
    (Operation::Remove, ""),
    (Operation::Remove, "channels"),
    (Operation::Read, "channels"),
    (Operation::Map, "channels"),
    (Operation::List, ""),
    (Operation::SetLen, ""),
];

pub fn any_strike(chance: &mut Chance) -> Strike {
    let (operation, at) = *chance.pick(&STRIKES);
    let may_lack_space = matches!(
        operation,
        Operation::Write | Operation::Open | Operation::CreateDir | Operation::Sync
    );
    let is_space = may_lack_space && chance.one_in(3);
    Strike {
        operation,
        at,
        errno: if is_space { Fault::NO_SPACE } else { Fault::IO },
        passes: chance.below(4),
        times: if is_space { chance.within(1..6) } else { 1 },
        fate: chance.draw(),
    }
}

impl World {
    pub fn step_fault(&mut self) {
        if self.is_closing || self.broker.is_none() || self.stopping.is_some() {
            return;
        }
        match self.chance.below(100) {
            0..=8 if self.faults.crash => {
                if self.chance.one_in(3) {
                    self.crash();
                } else {
                    let calls = self.chance.below(40);
                    let tears = self.chance.one_in(2);
                    self.disk.crash_in(calls, tears);
                    self.trace
                        .note("crash planned", &[calls], || format!("in {calls} calls"));
                }
            }
            9..=23 if self.faults.disk => {
                let strike = any_strike(&mut self.chance);
                self.trace
                    .note("strike planned", &[strike.passes], || format!("{strike:?}"));
                self.disk.strike(strike);
            }
            24..=33 if self.faults.space => {
                let is_full = !self.disk.is_full();
                self.disk.set_full(is_full);
                self.trace
                    .note("disk full", &[u64::from(is_full)], || is_full.to_string());
                self.trace.count(if is_full {
                    "fault: disk full"
                } else {
                    "event: space again"
                });
            }
            34..=40 => self.disk.heal(),
            41..=65 if self.faults.network => {
                if let Some(id) = self.any_live_connection() {
                    self.cut(id);
                }
            }
            66..=68 if self.faults.stop => self.stop(),
            _ => {}
        }
    }
}
