//! Three regions that append, copy, hear of each other late, and move a log's home, planned and by
//! force: never two homes in one tenure, nothing lost by a planned move, and one log in the end.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::region::HomeEpoch;

const NAMES: [&str; 3] = ["us", "eu", "ap"];

/// One region: its copy of the log, what it has said, and what it has heard of all.
#[derive(Default)]
struct Site {
    /// Epoch and identity of each record.
    log: Vec<(LogEpoch, u32)>,
    topic: Vec<HomeEvent>,
    homes: Homes,
    heard: [usize; 3],
}

#[derive(Clone, Debug)]
enum Op {
    Append(usize),
    Hear {
        by: usize,
        of: usize,
        events: usize,
    },
    Copy {
        to: usize,
        from: usize,
        records: usize,
    },
    Fence {
        home: usize,
        to: usize,
    },
    Take(usize),
    Decline(usize),
    Force(usize),
}

fn op() -> impl Strategy<Value = Op> {
    let site = 0..3_usize;
    let two = (0..3_usize, 1..3_usize).prop_map(|(a, by)| (a, (a + by) % 3));
    prop_oneof![
        6 => site.clone().prop_map(Op::Append),
        6 => (two.clone(), 1..4_usize).prop_map(|((by, of), events)| Op::Hear { by, of, events }),
        6 => (two.clone(), 1..5_usize).prop_map(|((to, from), records)| Op::Copy { to, from, records }),
        3 => two.prop_map(|(home, to)| Op::Fence { home, to }),
        3 => site.clone().prop_map(Op::Take),
        1 => site.clone().prop_map(Op::Decline),
        1 => site.prop_map(Op::Force),
    ]
}

struct World {
    sites: [Site; 3],
    /// Who has appended in a tenure.
    homes: BTreeMap<Tenure, usize>,
    appended: u32,
    was_forced: bool,
}

impl World {
    fn step(
        &mut self,
        at: usize,
        f: impl FnOnce(&Homes, Move<'_>, Held<'_>) -> Option<HomeEvent>,
    ) -> bool {
        let (me, made_in, log) = (region(NAMES[at]), region("us"), log());
        let site = &mut self.sites[at];
        let runs = runs(&site.log);
        let step = Move {
            log: &log,
            incarnation: LOG,
            made_in: &made_in,
            me: &me,
            at: Timestamp(0),
        };
        let held = Held {
            end: Offset(site.log.len() as u64),
            runs: &runs,
        };
        let Some(event) = f(&site.homes, step, held) else {
            return false;
        };
        site.homes.apply(&me, &event).expect("judged before");
        site.topic.push(event);
        site.heard[at] += 1;
        true
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Append(at) => {
                let (me, us) = (region(NAMES[at]), region("us"));
                let site = &mut self.sites[at];
                if !site.homes.may_append(LOG, &us, &me) {
                    return;
                }
                let tenure = site.homes.home(LOG, &us).tenure;
                let other = *self.homes.entry(tenure).or_insert(at);
                assert_eq!(other, at, "two homes in {tenure}");
                let epoch = HomeEpoch::new(tenure, 1).unwrap().log_epoch();
                assert!(site.log.last().is_none_or(|(last, _)| *last <= epoch));
                self.appended += 1;
                site.log.push((epoch, self.appended));
            }
            Op::Hear { by, of, events } => {
                let from = self.sites[by].heard[of];
                let new: Vec<_> = self.sites[of].topic[from..]
                    .iter()
                    .take(events)
                    .cloned()
                    .collect();
                let site = &mut self.sites[by];
                site.heard[of] += new.len();
                for event in new {
                    site.homes.apply(&region(NAMES[of]), &event).unwrap();
                }
                self.set_aside(by);
            }
            Op::Copy { to, from, records } => self.copy(to, from, records),
            Op::Fence { home, to } => {
                let to = region(NAMES[to]);
                self.step(home, |homes, step, held| {
                    homes.fence(step, &to, held.end).ok()?
                });
            }
            Op::Take(at) => {
                self.step(at, |homes, step, held| homes.take(step, held).ok());
            }
            Op::Decline(at) => {
                self.step(at, |homes, step, _| homes.decline(step).ok());
            }
            Op::Force(at) => {
                let forced = self.step(at, |homes, step, held| {
                    homes.take_by_force(step, held, None).ok()
                });
                self.was_forced |= forced;
            }
        }
    }

    /// What a follow does: only from a source with the same record before, only what comes next.
    fn copy(&mut self, to: usize, from: usize, records: usize) {
        let home = self.sites[to].homes.home(LOG, &region("us")).region;
        let next = self.sites[to].log.len();
        let source = &self.sites[from].log;
        let same = next == 0 || source.get(next - 1) == self.sites[to].log.last();
        if home == region(NAMES[to]) || next > source.len() || !same {
            return;
        }
        let new: Vec<_> = source[next..].iter().take(records).copied().collect();
        let last = self.sites[to].log.last().copied();
        assert!(
            new.first()
                .zip(last)
                .is_none_or(|(new, last)| new.0 >= last.0)
        );
        self.sites[to].log.extend(new);
        self.set_aside(to);
    }

    fn set_aside(&mut self, at: usize) {
        let site = &mut self.sites[at];
        if let Verdict::Cut(from) = site.homes.lineage(LOG).judge(&runs(&site.log)) {
            site.log.truncate(usize::try_from(from.0).unwrap());
        }
    }
}

fn runs(log: &[(LogEpoch, u32)]) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for (at, (epoch, _)) in (0..).zip(log) {
        match runs.last_mut() {
            Some(run) if run.epoch == *epoch => run.offsets.end = Offset(at + 1),
            _ => runs.push(Run {
                epoch: *epoch,
                offsets: Offset(at)..Offset(at + 1),
            }),
        }
    }
    runs
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]
    #[test]
    fn there_is_one_home_in_a_tenure_and_one_log_in_the_end(ops in vec(op(), 0..120)) {
        let mut world = World {
            sites: Default::default(),
            homes: BTreeMap::new(),
            appended: 0,
            was_forced: false,
        };
        for op in &ops {
            world.run(op);
        }
        // The links come back.
        for by in 0..3 {
            for of in 0..3 {
                world.run(&Op::Hear { by, of, events: usize::MAX });
            }
        }
        let home = world.sites[0].homes.home(LOG, &region("us"));
        let at = NAMES.iter().position(|name| region(name) == home.region).unwrap();
        for to in 0..3 {
            prop_assert_eq!(&world.sites[to].homes, &world.sites[0].homes, "all know the same");
            world.copy(to, at, usize::MAX);
        }
        for site in &world.sites {
            prop_assert_eq!(&site.log, &world.sites[at].log);
        }
        if !world.was_forced {
            let found: Vec<u32> = world.sites[at].log.iter().map(|(_, id)| *id).collect();
            let all: Vec<u32> = (1..=world.appended).collect();
            prop_assert_eq!(found, all, "a planned move loses nothing");
        }
    }
}
