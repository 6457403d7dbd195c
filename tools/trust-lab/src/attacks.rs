//! One market for each property of the table, honest and attacked.

use fastrand::Rng;
use npayload::asp::trust::{Party, Remark, Scope};
use npayload::types::OrgId;

use crate::world::{
    Broker, DAY, DAYS, Event, HOUR, Market, Plan, Qualities, VERIFIED, agent, customer, draw, task,
};

/// Number of the first organisation that is not of the honest market.
const STRANGER: u32 = 1_000;
/// Number of the first sybil.
const SYBIL: u32 = 10_000;

/// What a run measured: a number with its name.
pub type Measured = Vec<(&'static str, f64)>;

/// A run of one seed.
pub type Run = fn(u64, Qualities) -> Measured;

fn market(seed: u64, qualities: Qualities) -> (Market, Rng) {
    let mut rng = Rng::with_seed(seed);
    (Market::new(qualities, &mut rng), rng)
}

fn run(plan: Plan) -> Broker {
    let mut broker = Broker::new(false);
    broker.run(plan);
    broker
}

/// Some time of the market's last days.
fn late(days: i64, rng: &mut Rng) -> i64 {
    rng.i64((DAYS - days) * DAY..DAYS * DAY)
}

/// Six honest tasks of an attacker of quality 0.5.
fn history(of: Party, rng: &mut Rng) -> Plan {
    (0..6)
        .map(|_| (rng.i64(0..DAYS * DAY), task(of, 0.5, rng)))
        .collect()
}

/// Kendall's rank correlation over the pairs that differ in truth.
fn kendall(pairs: &[(f64, f64)]) -> f64 {
    let (mut sum, mut all) = (0.0, 0.0);
    for (index, (truth, told)) in pairs.iter().enumerate() {
        for (other_truth, other_told) in &pairs[..index] {
            if truth != other_truth {
                all += 1.0;
                let agreement = (truth - other_truth) * (told - other_told);
                sum += if agreement > 0.0 {
                    1.0
                } else if agreement < 0.0 {
                    -1.0
                } else {
                    0.0
                };
            }
        }
    }
    sum / all
}

/// The market as it is.
pub fn honest(seed: u64, qualities: Qualities) -> Measured {
    let (Market { agents, mut plan }, mut rng) = market(seed, qualities);
    let probe = agent(STRANGER, 0);
    plan.extend((0..40).map(|_| (late(30, &mut rng), task(probe, 0.97, &mut rng))));
    let broker = run(plan);
    let rank = |told: &dyn Fn(Party) -> f64| {
        let pairs: Vec<_> = (agents.iter())
            .map(|(party, quality)| (*quality, told(*party)))
            .collect();
        kendall(&pairs)
    };
    let errors = agents
        .iter()
        .map(|(party, quality)| (broker.mean(*party) - quality).abs());
    let error = errors.sum::<f64>() / 80.0;
    let counted = agents
        .iter()
        .map(|(party, quality)| (broker.tally(*party).beta() - quality).abs());
    vec![
        ("tau", rank(&|party| broker.score(party))),
        ("tau.raw", rank(&|party| broker.tally(party).raw())),
        ("tau.beta", rank(&|party| broker.tally(party).beta())),
        ("tau.wilson", rank(&|party| broker.tally(party).wilson())),
        ("error", error),
        ("error.beta", counted.sum::<f64>() / 80.0),
        ("probe", broker.score(probe)),
        ("probe.raw", broker.tally(probe).raw()),
        ("probe.beta", broker.tally(probe).beta()),
        ("probe.wilson", broker.tally(probe).wilson()),
    ]
}

/// One company that runs all of its agents itself.
pub fn company(seed: u64, _: Qualities) -> Measured {
    let mut rng = Rng::with_seed(seed);
    let (lead, worker) = (agent(STRANGER, 0), agent(STRANGER, 1));
    let plan = (0..40).map(|_| {
        let outcome = draw(0.97, &mut rng);
        let event = Event::Task {
            by: lead,
            to: worker,
            outcome,
        };
        (late(30, &mut rng), event)
    });
    let broker = run(plan.collect());
    measured("internal", worker, &broker, broker.internal(worker))
}

/// A score beside what only counting says.
fn measured(name: &'static str, of: Party, broker: &Broker, score: f64) -> Measured {
    let tally = broker.tally(of);
    vec![
        (name, score),
        ("raw", tally.raw()),
        ("beta", tally.beta()),
        ("wilson", tally.wilson()),
    ]
}

/// The change of an agent's score by an attack.
fn change(of: Party, honest: Plan, attack: Plan, sign: f64) -> (Measured, Broker) {
    let before = run(honest.clone());
    let after = run([honest, attack].concat());
    let (was, is) = (before.tally(of), after.tally(of));
    let moved = vec![
        ("change", sign * (after.score(of) - before.score(of))),
        ("raw", sign * (is.raw() - was.raw())),
        ("beta", sign * (is.beta() - was.beta())),
        ("wilson", sign * (is.wilson() - was.wilson())),
        ("from", before.score(of)),
        ("to", after.score(of)),
    ];
    (moved, after)
}

/// An attacker whose organisation's other agent has 2,000 tasks done by it.
pub fn wash(seed: u64, qualities: Qualities) -> Measured {
    let (market, mut rng) = market(seed, qualities);
    let [of, by] = [agent(STRANGER, 0), agent(STRANGER, 1)];
    let honest = [market.plan, history(of, &mut rng)].concat();
    let fake = Event::Task {
        by,
        to: of,
        outcome: Ok(()),
    };
    let attack = (0..2_000).map(|_| (late(30, &mut rng), fake)).collect();
    change(of, honest, attack, 1.0).0
}

/// Fakes of many organisations that nobody knows, which the attacker praises in return.
fn sybils(of: Party, count: u32, first: u32, rng: &mut Rng) -> Plan {
    let mut plan = Plan::new();
    for org in first..first + count {
        let by = agent(org, 0);
        for _ in 0..20 {
            let fake = Event::Task {
                by,
                to: of,
                outcome: Ok(()),
            };
            plan.push((late(30, rng), fake));
        }
        let praised = Event::Task {
            by: of,
            to: by,
            outcome: Ok(()),
        };
        plan.push((late(30, rng), praised));
    }
    plan
}

fn sybil_attack(seed: u64, qualities: Qualities, count: u32) -> Measured {
    let (market, mut rng) = market(seed, qualities);
    let of = agent(STRANGER, 0);
    let honest = [market.plan, history(of, &mut rng)].concat();
    let attack = sybils(of, count, SYBIL, &mut rng);
    change(of, honest, attack, 1.0).0
}

/// 20 sybils.
pub fn sybils_20(seed: u64, qualities: Qualities) -> Measured {
    sybil_attack(seed, qualities, 20)
}

/// 200 sybils.
pub fn sybils_200(seed: u64, qualities: Qualities) -> Measured {
    sybil_attack(seed, qualities, 200)
}

/// Every organisation of a ring has 100 tasks done by every other.
fn ring_of(members: &[Party], rng: &mut Rng) -> Plan {
    let mut plan = Plan::new();
    for to in members {
        for by in members.iter().filter(|by| by.org != to.org) {
            for _ in 0..100 {
                let fake = Event::Task {
                    by: *by,
                    to: *to,
                    outcome: Ok(()),
                };
                plan.push((late(30, rng), fake));
            }
        }
    }
    plan
}

/// A ring of five owners with six honest tasks each.
pub fn ring(seed: u64, qualities: Qualities) -> Measured {
    let (market, mut rng) = market(seed, qualities);
    let members: Vec<Party> = (0..5).map(|number| agent(STRANGER + number, 0)).collect();
    let mut honest = market.plan;
    for member in &members {
        honest.extend(history(*member, &mut rng));
    }
    let attack = ring_of(&members, &mut rng);
    let (mut moved, broker) = change(members[0], honest, attack, 1.0);
    let orgs: Vec<OrgId> = members.iter().map(|member| member.org).collect();
    let why = broker.state.explain(members[0].agent, Scope::External);
    let why = why.expect("there is evidence");
    let is_flagged = why.remarks.contains(&Remark::Ring { orgs });
    moved.push(("flagged", f64::from(u8::from(is_flagged))));
    moved
}

/// The same without returning anything: each praises the next one.
pub fn circle(seed: u64, qualities: Qualities) -> Measured {
    let (market, mut rng) = market(seed, qualities);
    let members: Vec<Party> = (0..5).map(|number| agent(STRANGER + number, 0)).collect();
    let mut honest = market.plan;
    for member in &members {
        honest.extend(history(*member, &mut rng));
    }
    let mut attack = Plan::new();
    for (index, to) in members.iter().enumerate() {
        let fake = Event::Task {
            by: members[(index + 1) % 5],
            to: *to,
            outcome: Ok(()),
        };
        attack.extend((0..100).map(|_| (late(30, &mut rng), fake)));
    }
    change(members[0], honest, attack, 1.0).0
}

/// The agent of the market with the highest score.
fn best(market: &Market) -> Party {
    let broker = run(market.plan.clone());
    let mut agents: Vec<Party> = market.agents.iter().map(|(party, _)| *party).collect();
    agents.sort_by(|one, other| broker.score(*other).total_cmp(&broker.score(*one)));
    agents[0]
}

fn slander(by: impl Iterator<Item = u32>, to: Party, count: u32, rng: &mut Rng) -> Plan {
    by.filter(|org| OrgId(*org) != to.org)
        .flat_map(|org| (0..count).map(move |_| agent(org, 0)))
        .map(|by| (late(30, rng), Event::Rating { by, to, rating: 0 }))
        .collect()
}

/// 200 sybils rate the best agent as bad as they can.
pub fn sybil_slander(seed: u64, qualities: Qualities) -> Measured {
    let (market, mut rng) = market(seed, qualities);
    let victim = best(&market);
    let attack = slander(SYBIL..SYBIL + 200, victim, 5, &mut rng);
    change(victim, market.plan, attack, -1.0).0
}

/// Three verified organisations do, 20 times each.
pub fn verified_slander(seed: u64, qualities: Qualities) -> Measured {
    let (market, mut rng) = market(seed, qualities);
    let victim = best(&market);
    let by: Vec<u32> = (1..=VERIFIED)
        .filter(|org| OrgId(*org) != victim.org)
        .take(3)
        .collect();
    let attack = slander(by.iter().copied(), victim, 20, &mut rng);
    let (mut moved, broker) = change(victim, market.plan, attack, -1.0);
    let why = broker.state.explain(victim.agent, Scope::External);
    let why = why.expect("there is evidence");
    let is_named = |org: &&u32| why.remarks.contains(&Remark::Outlier { org: OrgId(**org) });
    let named = by.iter().filter(is_named).count();
    moved.push(("named", f64::from(u8::try_from(named).unwrap_or(0)) / 3.0));
    moved
}

/// Breaches against three verified organisations, honest work for all others.
pub fn cheat(seed: u64, qualities: Qualities) -> Measured {
    let (Market { mut plan, .. }, mut rng) = market(seed, qualities);
    let cheat = agent(STRANGER, 0);
    for org in 1..=3 {
        let breach = Event::Task {
            by: agent(org, 0),
            to: cheat,
            outcome: Err(1),
        };
        plan.extend((0..10).map(|_| (late(30, &mut rng), breach)));
    }
    let mut done = 0;
    while done < 40 {
        let by = customer(cheat.org, &mut rng);
        if by.org > OrgId(3) {
            let outcome = draw(0.97, &mut rng);
            let honest = Event::Task {
                by,
                to: cheat,
                outcome,
            };
            plan.push((late(30, &mut rng), honest));
            done += 1;
        }
    }
    let broker = run(plan);
    measured("score", cheat, &broker, broker.score(cheat))
}

/// An hour for each task, until a condition holds; how many it took.
fn until(
    broker: &mut Broker,
    mut next: impl FnMut() -> Event,
    is_met: impl Fn(&Broker) -> bool,
) -> f64 {
    let mut count = 0.0;
    while !is_met(broker) && count < 200.0 {
        broker.pass(broker.elapsed() + HOUR);
        broker.happen(next());
        count += 1.0;
    }
    count
}

fn on_off(seed: u64, qualities: Qualities, severity: u8) -> Measured {
    let (Market { mut plan, .. }, mut rng) = market(seed, qualities);
    let of = agent(STRANGER, 0);
    plan.extend((0..100).map(|_| (late(30, &mut rng), task(of, 1.0, &mut rng))));
    let broker = run(plan);
    let fail = |rng: &mut Rng| Event::Task {
        by: customer(of.org, rng),
        to: of,
        outcome: Err(severity),
    };
    let mut falling = broker.clone();
    let fall = until(
        &mut falling,
        || fail(&mut rng),
        |broker| broker.score(of) < 0.8,
    );
    let beta = until(
        &mut broker.clone(),
        || fail(&mut rng),
        |broker| broker.tally(of).beta() < 0.8,
    );
    let wilson = until(
        &mut broker.clone(),
        || fail(&mut rng),
        |broker| broker.tally(of).wilson() < 0.8,
    );
    let mut failed = broker.clone();
    for _ in 0..8 {
        failed.pass(failed.elapsed() + HOUR);
        failed.happen(fail(&mut rng));
    }
    let low = failed.score(of);
    let mut succeed = || task(of, 1.0, &mut rng);
    let rise = until(&mut failed, &mut succeed, |broker| broker.score(of) >= 0.8);
    // A second relapse, from where the first one was made good.
    let again = until(
        &mut failed,
        || fail(&mut rng),
        |broker| broker.score(of) < low,
    );
    vec![
        ("fall", fall),
        ("rise", rise),
        ("again", again),
        ("high", broker.score(of)),
        ("low", low),
        ("fall.beta", beta),
        ("fall.wilson", wilson),
    ]
}

/// 100 successes, then failures of severity 1, then successes.
pub fn on_off_1(seed: u64, qualities: Qualities) -> Measured {
    on_off(seed, qualities, 1)
}

/// The same with severity 2.
pub fn on_off_2(seed: u64, qualities: Qualities) -> Measured {
    on_off(seed, qualities, 2)
}

/// Twenty lives of twenty tasks, each under a new name of a new owner.
pub fn whitewash(seed: u64, qualities: Qualities) -> Measured {
    let (Market { plan, .. }, mut rng) = market(seed, qualities);
    let mut broker = run(plan);
    let mut bests = Vec::new();
    let mut betas = Vec::new();
    for life in 0..20 {
        let of = agent(STRANGER + life, 0);
        let (mut best, mut beta) = (0.0_f64, 0.0_f64);
        for _ in 0..20 {
            broker.pass(broker.elapsed() + 2 * HOUR);
            broker.happen(task(of, 0.5, &mut rng));
            best = best.max(broker.score(of));
            beta = beta.max(broker.tally(of).beta());
        }
        bests.push(best);
        betas.push(beta);
    }
    let newcomer = agent(STRANGER + 100, 0);
    for _ in 0..3 {
        broker.happen(task(newcomer, 1.0, &mut rng));
    }
    vec![
        ("mean", bests.iter().sum::<f64>() / 20.0),
        ("worst", bests.iter().copied().fold(0.0, f64::max)),
        ("mean.beta", betas.iter().sum::<f64>() / 20.0),
        ("worst.beta", betas.iter().copied().fold(0.0, f64::max)),
        ("newcomer", broker.score(newcomer)),
        ("newcomer.beta", broker.tally(newcomer).beta()),
        ("newcomer.wilson", broker.tally(newcomer).wilson()),
    ]
}

/// One agent of a verified organisation files 500 disputes that are dismissed.
pub fn disputes(seed: u64, qualities: Qualities) -> Measured {
    let (Market { agents, plan }, mut rng) = market(seed, qualities);
    let filer = agent(1, 0);
    let victims: Vec<Party> = (agents.iter().map(|(party, _)| *party))
        .filter(|party| party.org != filer.org)
        .take(50)
        .collect();
    let before = run(plan.clone());
    let attack = (0..500).map(|number| {
        let to = victims[number % 50];
        (late(30, &mut rng), Event::Unfounded { by: filer, to })
    });
    let after = run([plan, attack.collect()].concat());
    let loss = victims
        .iter()
        .map(|victim| before.score(*victim) - after.score(*victim));
    let credibility = f64::from(after.state.credibility(filer.org)) / 1e6;
    vec![
        ("loss", loss.sum::<f64>() / 50.0),
        ("credibility", credibility),
    ]
}

/// Attackers of every kind, three in ten; each task goes to the best of five.
pub fn routing(seed: u64, qualities: Qualities) -> Measured {
    let (
        Market {
            mut agents,
            mut plan,
        },
        mut rng,
    ) = market(seed, qualities);
    let honest = agents.clone();
    let attackers: Vec<Party> = (0..35).map(|number| agent(STRANGER + number, 0)).collect();
    for (number, group) in attackers.chunks(5).enumerate() {
        for of in group {
            plan.extend(history(*of, &mut rng));
        }
        match number {
            0 => plan.extend(ring_of(group, &mut rng)),
            1 => {
                for of in group {
                    let fake = Event::Task {
                        by: agent(of.org.0, 1),
                        to: *of,
                        outcome: Ok(()),
                    };
                    plan.extend((0..200).map(|_| (late(30, &mut rng), fake)));
                }
            }
            2 | 3 => {
                for of in group {
                    plan.extend(sybils(*of, 20, SYBIL + 100 * of.org.0, &mut rng));
                }
            }
            4 => {
                for of in group {
                    let victim = honest[rng.usize(0..honest.len())].0;
                    let first = SYBIL + 100 * of.org.0;
                    plan.extend(sybils(*of, 10, first, &mut rng));
                    plan.extend(slander(first..first + 50, victim, 5, &mut rng));
                }
            }
            5 => {
                for of in group {
                    let good = (0..15).map(|_| {
                        let at = rng.i64((DAYS - 30) * DAY..(DAYS - 10) * DAY);
                        (at, task(*of, 1.0, &mut rng))
                    });
                    plan.extend(good.collect::<Plan>());
                    plan.extend((0..8).map(|_| (late(9, &mut rng), task(*of, 0.0, &mut rng))));
                }
            }
            _ => {}
        }
    }
    agents.extend(attackers.iter().map(|party| (*party, 0.5)));
    let broker = run(plan);
    let mut sums = [0.0; 5];
    let tasks = 2_000;
    for _ in 0..tasks {
        let candidates: Vec<(Party, f64)> =
            (0..5).map(|_| agents[rng.usize(0..agents.len())]).collect();
        let top = |told: &dyn Fn(Party, f64) -> f64| {
            let best = (candidates.iter())
                .max_by(|one, other| told(one.0, one.1).total_cmp(&told(other.0, other.1)));
            best.map_or(0.0, |(_, quality)| *quality)
        };
        sums[0] += top(&|party, _| broker.score(party));
        sums[1] += top(&|_, quality| quality);
        sums[2] += top(&|party, _| broker.tally(party).beta());
        sums[3] += candidates[0].1;
        sums[4] += top(&|party, _| broker.tally(party).wilson());
    }
    let share = |sum: f64| sum / f64::from(tasks);
    vec![
        ("share", sums[0] / sums[1]),
        ("trust", share(sums[0])),
        ("oracle", share(sums[1])),
        ("beta", share(sums[2])),
        ("random", share(sums[3])),
        ("wilson", share(sums[4])),
        ("share.random", sums[3] / sums[1]),
        ("share.beta", sums[2] / sums[1]),
        ("share.wilson", sums[4] / sums[1]),
    ]
}

/// How much more 200 sybils gain than 20.
pub fn sybils_more(seed: u64, qualities: Qualities) -> Measured {
    let few = sybils_20(seed, qualities);
    let many = sybils_200(seed, qualities);
    vec![("more", many[0].1 - few[0].1)]
}

/// Scores while an agent turns: ours, Beta mean, Wilson bound.
pub fn on_off_series(seed: u64, qualities: Qualities) -> Vec<(&'static str, Vec<f64>)> {
    let (Market { plan, .. }, mut rng) = market(seed, qualities);
    let of = agent(STRANGER, 0);
    let mut broker = run(plan);
    let mut series = vec![
        ("trust/1", vec![]),
        ("Beta mean", vec![]),
        ("Wilson bound", vec![]),
    ];
    for step in 0..148 {
        broker.pass(broker.elapsed() + HOUR);
        let quality = if (100..108).contains(&step) { 0.0 } else { 1.0 };
        broker.happen(task(of, quality, &mut rng));
        let tally = broker.tally(of);
        for (line, value) in series
            .iter_mut()
            .zip([broker.score(of), tally.beta(), tally.wilson()])
        {
            line.1.push(value);
        }
    }
    series
}

/// All evidence of an honest market, as JSON lines.
pub fn evidence(seed: u64, qualities: Qualities) -> String {
    let (Market { plan, .. }, _) = market(seed, qualities);
    let mut broker = Broker::new(true);
    broker.run(plan);
    let records = broker.records.unwrap_or_default();
    let lines = records.iter().enumerate().map(|(offset, record)| {
        let payload = String::from_utf8_lossy(&record.encode()).into_owned();
        let record_type = record.record_type();
        format!("{{\"offset\":{offset},\"type\":\"{record_type}\",\"payload\":{payload}}}\n")
    });
    lines.collect()
}
