//! The world of one run: three regions, the links between them, and whoever chooses what happens
//! next.

use npayload::broker::config::{ChannelConfig, ConfigChange, Encryption};
use npayload::broker::{BrokerConfig, CheckedBatch, Target};
use npayload::format::{DoorLimits, check_produced};
use npayload::keys::MasterKeys;
use npayload::region::ChannelPattern;
use npayload::region::interest::{Declared, Since, Wish};
use npayload::storage::disk::Loss;
use npayload::types::{ChannelName, DEFAULT_ORG_NAME, OrgName, RegionName};

use super::link::Link;
use super::region::Region;
use crate::sim::chance::Chance;
use crate::sim::faults::any_strike;
use crate::sim::request::{Sender, new_batch};
use crate::sim::trace::Trace;
use crate::sim::world::small_storage;

pub const NAMES: [&str; 3] = ["us-east", "eu-west", "ap-south"];
/// A channel that keeps all, one whose retention is short, one that is made again.
const KINDS: [&str; 3] = ["keep", "short", "again"];

/// Which faults a run has.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    pub crash: bool,
    pub disk: bool,
    pub network: bool,
    pub restore: bool,
}

pub struct World {
    pub chance: Chance,
    pub trace: Trace,
    pub step: u64,
    pub regions: Vec<Region>,
    pub links: Vec<Link>,
    pub faults: Faults,
    pub is_closing: bool,
    next_uid: u64,
}

fn config(seed: u64, name: &RegionName, chance: &mut Chance) -> BrokerConfig {
    BrokerConfig {
        storage: small_storage(chance),
        defaults: ChannelConfig {
            segment_bytes: 4096 * chance.within(1..4),
            encryption: *chance.pick(&[Encryption::On, Encryption::Off, Encryption::Off]),
            ..ChannelConfig::default()
        },
        // Each region encrypts under a key of its own.
        master_keys: MasterKeys::parse(&format!("{:02x}", seed % 251 + 1).repeat(32)).unwrap(),
        fold_events: *chance.pick(&[10, 30, 10_000]),
        region: Some(name.clone()),
        ..BrokerConfig::default()
    }
}

pub fn org() -> OrgName {
    OrgName::parse(DEFAULT_ORG_NAME).unwrap()
}

impl World {
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut chance = Chance::new(seed ^ 0x7265_6769_6f6e);
        let now = 1_700_000_000_000;
        let mut regions = Vec::new();
        for (n, name) in NAMES.iter().enumerate() {
            let name = RegionName::parse(name).unwrap();
            let config = config(seed + n as u64, &name, &mut chance);
            // Clocks of different regions differ.
            let now = now + i64::try_from(chance.below(20_000)).unwrap();
            regions.push(Region::new(name, config, now, &trace));
        }
        let pairs = (0..3).flat_map(|puller| (0..3).map(move |source| (puller, source)));
        let links = pairs.filter(|(puller, source)| puller != source);
        let links = links.map(|(puller, source)| Link::new(puller, source));
        let faults = Faults {
            crash: !chance.one_in(4),
            disk: chance.one_in(3),
            network: !chance.one_in(4),
            restore: chance.one_in(5),
        };
        Self {
            trace,
            step: 0,
            links: links.collect(),
            regions,
            faults,
            is_closing: false,
            next_uid: 0,
            chance,
        }
    }

    pub fn any_region(&mut self) -> usize {
        usize::try_from(self.chance.below(3)).unwrap()
    }

    fn any_link(&mut self) -> usize {
        usize::try_from(self.chance.below(self.links.len() as u64)).unwrap()
    }

    /// Whatever comes next.
    pub fn step(&mut self) {
        self.step += 1;
        self.trace.set_step(self.step);
        match self.chance.below(100) {
            0..=9 if self.is_closing => self.pass_time(500),
            0..=9 => self.publish(),
            10..=29 => {
                let at = self.any_region();
                self.regions[at].step_committer(&mut self.chance);
            }
            30..=37 => {
                let at = self.any_region();
                self.regions[at].step_keeper();
                self.regions[at].step_widening();
            }
            38..=39 => {
                let at = self.any_region();
                self.regions[at].tick();
            }
            40..=42 => self.pass_time(40),
            43..=62 => {
                let at = self.any_link();
                self.links[at].pull(&mut self.regions, self.step, &mut self.chance);
            }
            63..=78 => {
                let at = self.any_link();
                self.links[at].serve(&mut self.regions, self.step, &mut self.chance);
            }
            79..=91 => {
                let at = self.any_link();
                self.links[at].deliver(&mut self.regions, self.step, &mut self.chance);
            }
            92 if !self.is_closing => self.change_interest(),
            93 if !self.is_closing && self.chance.one_in(4) => self.make_again(),
            94..=95 if !self.is_closing => self.step_fault(),
            _ => {
                let at = self.any_link();
                self.links[at].pull(&mut self.regions, self.step, &mut self.chance);
            }
        }
        self.see_crashes();
    }

    fn pass_time(&mut self, most: u64) {
        for at in 0..self.regions.len() {
            let mut passed = i64::try_from(self.chance.below(most)).unwrap();
            // Now and then a clock is put back a little, or far ahead.
            match self.chance.below(60) {
                0 if !self.is_closing => passed = -2_000,
                1 if !self.is_closing => passed = 30_000,
                _ => {}
            }
            self.regions[at].now += passed;
        }
    }

    fn publish(&mut self) {
        let at = self.any_region();
        let kind = *self.chance.pick(&KINDS);
        self.next_uid += 1;
        let uid = self.next_uid;
        let batch = new_batch(&mut self.chance, uid, Sender::default());
        let region = &mut self.regions[at];
        let now = region.time();
        let name = ChannelName::parse(&format!("{}.{kind}", region.name)).unwrap();
        let Some(broker) = region.broker.as_mut() else {
            return;
        };
        if broker.identity_of(&name).is_none() {
            let change = match kind {
                "short" => ConfigChange {
                    retention_bytes: Some(Some(10_000)),
                    segment_bytes: Some(4096),
                    ..ConfigChange::default()
                },
                _ => ConfigChange::default(),
            };
            // Without room it is made another time.
            let _ = broker.create_channel(name, &change, false, now);
            return;
        }
        let limits = DoorLimits {
            max_record_bytes: 1 << 20,
            lz4: true,
            zstd: true,
        };
        let header = check_produced(&batch.bytes, &limits).unwrap();
        let target = Target {
            channel: name,
            incarnation: None,
            expected: None,
            principal: 0,
        };
        let bytes = batch.bytes.clone();
        let mut batch = Some(CheckedBatch { header, bytes });
        if let Ok(accepted) = broker.publish(&target, &mut batch, now) {
            let published = accepted.value;
            let (id, end) = (published.incarnation, published.last.0 + 1);
            self.trace.note("published", &[uid, end], || {
                format!("{uid} to {} ends at {end}", target.channel)
            });
            self.trace.count("event: published");
            region.took(accepted.wait, id, end);
        }
    }

    fn change_interest(&mut self) {
        let at = self.any_region();
        let kind = *self.chance.pick(&KINDS);
        let of = *self.chance.pick(&NAMES);
        let pattern = match self.chance.below(4) {
            0 => ">".to_owned(),
            1 => format!("*.{kind}"),
            2 => format!("{of}.>"),
            _ => format!("{of}.{kind}"),
        };
        let removes = self.chance.below(5) < 2;
        let from = match self.chance.below(3) {
            0 => Since::End,
            _ => Since::Start,
        };
        let purges = self.chance.one_in(3);
        let region = &mut self.regions[at];
        let now = region.time();
        let Some(broker) = region.broker.as_mut() else {
            return;
        };
        if removes {
            let declared = broker.interests().declared().next();
            let Some((org, pattern)) =
                declared.map(|(org, pattern, ..)| (org.clone(), pattern.clone()))
            else {
                return;
            };
            let text = pattern.to_string();
            if broker.remove_interest(org, pattern, now).is_ok() {
                self.trace.note("withdrawn", &[at as u64], || {
                    format!("{text} in {}", NAMES[at])
                });
                self.trace.count("event: interest withdrawn");
            }
            if purges {
                self.purge(at);
            }
            return;
        }
        let text = pattern.clone();
        let declared = Declared {
            org: org(),
            pattern: pattern.parse::<ChannelPattern>().unwrap(),
            wish: Wish {
                types: None,
                from,
                retention_days: None,
            },
            at: now,
        };
        if broker.declare_interest(declared, now).is_ok() {
            self.trace.note("declared", &[at as u64], || {
                format!("{text} in {}", NAMES[at])
            });
            self.trace.count("event: interest declared");
        }
    }

    /// Removes a copy that nobody wants.
    pub fn purge(&mut self, at: usize) {
        let region = &mut self.regions[at];
        let now = region.time();
        let logs = region.logs();
        let Some(broker) = region.broker.as_mut() else {
            return;
        };
        for (id, name, is_home) in logs {
            if is_home || broker.interests().wish(&name, |_| true).is_some() {
                continue;
            }
            if broker.purge_copy(&name, now).is_ok() {
                region.dropped.insert(id);
                region.widening.forget(id);
                self.trace.count("event: copy purged");
                self.trace.note("purged", &[at as u64], || {
                    format!("{name} in {}", NAMES[at])
                });
                return;
            }
        }
    }

    /// Deletes a channel; it is made again with the next batch for it.
    fn make_again(&mut self) {
        let at = self.any_region();
        let region = &mut self.regions[at];
        let now = region.time();
        let name = ChannelName::parse(&format!("{}.again", region.name)).unwrap();
        let Some(broker) = region.broker.as_mut() else {
            return;
        };
        if let Ok(deleted) = broker.delete_channel(&name, None, now) {
            region.dropped.insert(deleted.value);
            self.trace.count("event: channel deleted at home");
        }
    }

    fn step_fault(&mut self) {
        let link = self.any_link();
        let region = self.any_region();
        match self.chance.below(100) {
            0..=9 if self.faults.crash => {
                if self.chance.one_in(3) {
                    self.crash(region);
                } else {
                    let calls = self.chance.below(40);
                    let tears = self.chance.one_in(2);
                    self.regions[region].disk.crash_in(calls, tears);
                }
            }
            10..=19 if self.faults.disk => {
                let strike = any_strike(&mut self.chance);
                self.regions[region].disk.strike(strike);
            }
            20..=24 if self.faults.disk => {
                let disk = &self.regions[region].disk;
                disk.set_full(!disk.is_full());
            }
            25..=29 => self.regions[region].disk.heal(),
            30..=34 if self.regions[region].is_sick() => self.crash(region),
            35..=44 if self.faults.network => {
                self.trace.count("fault: link cut");
                let link = &mut self.links[link];
                link.lose(&self.regions[link.puller], &mut self.chance);
            }
            45..=52 if self.faults.network => {
                let line = &mut self.links[link].line;
                let (there, back) = (self.chance.one_in(2), self.chance.one_in(2));
                (line.is_silent_there, line.is_silent_back) = (there, back);
                line.is_cut = self.chance.one_in(3);
                line.delay = self.chance.below(40);
                self.trace.count(match (there, back) {
                    (true, true) => "fault: both ways silent",
                    (true, false) | (false, true) => "fault: one way silent",
                    _ => "fault: slow",
                });
            }
            53..=62 => {
                let line = &mut self.links[link].line;
                (line.is_silent_there, line.is_silent_back) = (false, false);
                (line.is_cut, line.delay) = (false, 0);
            }
            63..=72 if self.faults.network => {
                self.links[link].disturb(&self.trace, &mut self.chance);
            }
            73..=76 if self.faults.restore => {
                let region = &mut self.regions[region];
                if region.broker.is_some() && !region.disk.is_crashed() {
                    region.backup = Some(region.disk.after(Loss::None));
                }
            }
            77..=78 if self.faults.restore => self.restore(region),
            _ => {}
        }
    }
}
