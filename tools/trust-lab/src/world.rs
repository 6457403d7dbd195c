//! The market: who works for whom, how well, and what the broker would record of it.

use std::collections::HashMap;

use fastrand::Rng;
use npayload::asp::Links;
use npayload::asp::chain::Digest;
use npayload::asp::trust::{
    ClockRead, CommitmentEnded, Confirmation, DEFAULT_HALF_LIFE_HOURS, DisputeRuled, Kind,
    Mechanism, OrgVerified, Party, Rated, Ruling, Scope, TaskSettled, TrustRecord, TrustState,
};
use npayload::types::{
    AgentId, CommitmentId, DisputeId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};

/// 2026-01-01T00:00:00Z, when every market begins.
const START_MS: i64 = 1_767_225_600_000;
/// An hour, in ms.
pub const HOUR: i64 = 3_600_000;
/// A day, in ms.
pub const DAY: i64 = 24 * HOUR;
/// Honest organisations, with two agents each.
pub const ORGS: u32 = 40;
/// Those of them that an operator verified: the first ones.
pub const VERIFIED: u32 = 8;
/// How long a market runs, in days.
pub const DAYS: i64 = 90;
/// Tasks among honest organisations: 50 for each agent.
const TASKS: usize = 4_000;

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
pub enum Event {
    /// A task: given, answered, promised; and fulfilled, or breached with a severity.
    Task {
        /// Who gave it.
        by: Party,
        /// Who did it.
        to: Party,
        /// Whether it was done, or the severity of the breach.
        outcome: Result<(), u8>,
    },
    /// A rating, in thousandths.
    Rating {
        /// Who rates.
        by: Party,
        /// Who is rated.
        to: Party,
        /// The rating.
        rating: u16,
    },
    /// A dispute that was dismissed.
    Unfounded {
        /// Who filed it.
        by: Party,
        /// Against whom.
        to: Party,
    },
}

/// When things happen, in ms from the start of the market.
pub type Plan = Vec<(i64, Event)>;

/// An agent of an organisation.
pub fn agent(org: u32, number: u32) -> Party {
    Party {
        agent: AgentId(
            0x0199_0000_0000_7000_8000 << 48 | u128::from(org) << 16 | u128::from(number),
        ),
        org: OrgId(org),
        team: None,
    }
}

/// How good agents are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Qualities {
    /// 0.60, 0.75, 0.90 or 0.97.
    Classes,
    /// Anything from 0.5 to 1.
    Uniform,
}

/// A market without anybody who attacks it.
pub struct Market {
    /// The agents and how good they are.
    pub agents: Vec<(Party, f64)>,
    /// What they do.
    pub plan: Plan,
}

/// A success with that probability.
pub fn draw(quality: f64, rng: &mut Rng) -> Result<(), u8> {
    if rng.f64() < quality { Ok(()) } else { Err(1) }
}

/// Some agent of an honest organisation other than `but`.
pub fn customer(but: OrgId, rng: &mut Rng) -> Party {
    loop {
        let org = rng.u32(1..=ORGS);
        if OrgId(org) != but {
            return agent(org, rng.u32(0..2));
        }
    }
}

/// A task of a random honest customer.
pub fn task(to: Party, quality: f64, rng: &mut Rng) -> Event {
    let by = customer(to.org, rng);
    let outcome = draw(quality, rng);
    Event::Task { by, to, outcome }
}

impl Market {
    /// The honest market of a seed.
    pub fn new(qualities: Qualities, rng: &mut Rng) -> Self {
        let quality = |rng: &mut Rng| match qualities {
            Qualities::Classes => [0.6, 0.75, 0.9, 0.97][rng.usize(0..4)],
            Qualities::Uniform => 0.5 + rng.f64() / 2.0,
        };
        let agents: Vec<(Party, f64)> = (1..=ORGS)
            .flat_map(|org| [agent(org, 0), agent(org, 1)])
            .map(|party| (party, quality(rng)))
            .collect();
        let plan = (0..TASKS).map(|number| {
            let (party, quality) = agents[number % agents.len()];
            (rng.i64(0..DAYS * DAY), task(party, quality, rng))
        });
        let plan = plan.collect();
        Self { agents, plan }
    }
}

/// What everybody sees who only counts: successes and failures.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    good: f64,
    bad: f64,
}

impl Tally {
    /// Share of successes.
    pub fn raw(self) -> f64 {
        let all = self.good + self.bad;
        if all > 0.0 { self.good / all } else { 0.0 }
    }

    /// Mean of the Beta distribution.
    pub fn beta(self) -> f64 {
        (self.good + 1.0) / (self.good + self.bad + 2.0)
    }

    /// Lower bound of E. B. Wilson, at 1.96.
    pub fn wilson(self) -> f64 {
        let (n, p, z2) = (self.good + self.bad, self.raw(), 1.96_f64 * 1.96);
        if n == 0.0 {
            return 0.0;
        }
        let root = (z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))).sqrt();
        (p + z2 / (2.0 * n) - root) / (1.0 + z2 / n)
    }
}

/// A broker's fold with its clock in hand.
#[derive(Clone)]
pub struct Broker {
    /// The fold.
    pub state: TrustState,
    /// What only counts.
    pub tallies: HashMap<AgentId, Tally>,
    /// Every record so far, where they are kept.
    pub records: Option<Vec<TrustRecord>>,
    next: u64,
    now: i64,
}

impl Broker {
    /// One at the start of a market, with the first organisations verified.
    pub fn new(keeps: bool) -> Self {
        let mut broker = Self {
            state: TrustState::default(),
            tallies: HashMap::new(),
            records: keeps.then(Vec::new),
            next: 0,
            now: START_MS,
        };
        broker.clock();
        for org in 1..=VERIFIED {
            broker.append(TrustRecord::Org(OrgVerified {
                at: Timestamp(broker.now),
                by: PrincipalId(0),
                org: OrgId(org),
                kind: Kind::Org,
                v: 1,
                verified: true,
            }));
        }
        broker
    }

    /// Does all of a plan in the order of time, and lets the rest of the market's days go by.
    pub fn run(&mut self, mut plan: Plan) {
        plan.sort_by_key(|(at, _)| *at);
        for (at, event) in plan {
            self.pass(at);
            self.happen(event);
        }
        self.pass(DAYS * DAY);
    }

    /// Lets time pass, to so many ms after the start.
    pub fn pass(&mut self, to: i64) {
        let to = START_MS + to;
        while (self.now / HOUR + 1) * HOUR <= to {
            self.now = (self.now / HOUR + 1) * HOUR;
            self.clock();
        }
        self.now = self.now.max(to);
    }

    /// Time passed since the start, in ms.
    pub fn elapsed(&self) -> i64 {
        self.now - START_MS
    }

    fn clock(&mut self) {
        self.append(TrustRecord::Clock(ClockRead {
            at: Timestamp(self.now),
            half_life_hours: DEFAULT_HALF_LIFE_HOURS,
            kind: Kind::Clock,
            v: 1,
        }));
    }

    fn id(&self) -> u128 {
        0x0199_0000_0000_7000_9000 << 48 | u128::from(self.next)
    }

    fn append(&mut self, record: TrustRecord) {
        let record = self.state.link(record);
        self.state
            .apply(&record, Offset(self.next))
            .expect("what the market does is evidence");
        self.next += 1;
        if let Some(records) = &mut self.records {
            records.push(record);
        }
    }

    /// Records what happens now.
    pub fn happen(&mut self, event: Event) {
        match event {
            Event::Task { by, to, outcome } => self.do_task(by, to, outcome),
            Event::Rating { by, to, rating } => self.rate(by, to, rating),
            Event::Unfounded { by, to } => self.append(TrustRecord::Dispute(DisputeRuled {
                against: to,
                at: Timestamp(self.now),
                commitment: CommitmentId(self.id()),
                counted: 0,
                dispute: DisputeId(self.id()),
                filer: by,
                filer_links: Links::default(),
                links: Links::default(),
                mechanism: Mechanism::Arbitrated,
                ruling: Ruling::Dismissed,
                severity: 3,
                kind: Kind::Dispute,
                v: 1,
            })),
        }
    }

    fn rate(&mut self, by: Party, to: Party, rating: u16) {
        let tally = self.tallies.entry(to.agent).or_default();
        tally.good += f64::from(rating) / 1e3;
        tally.bad += 1.0 - f64::from(rating) / 1e3;
        self.append(TrustRecord::Rating(Rated {
            agent: to,
            at: Timestamp(self.now),
            by,
            links: Links::default(),
            rating,
            session: SessionId(self.id()),
            kind: Kind::Rating,
            v: 1,
        }));
    }

    fn do_task(&mut self, by: Party, to: Party, outcome: Result<(), u8>) {
        let tally = self.tallies.entry(to.agent).or_default();
        match outcome {
            Ok(()) => tally.good += 1.0,
            Err(_) => tally.bad += 1.0,
        }
        // Drawn from what happens itself, so that an attack changes nothing of the honest part.
        let low = |of: Party| u64::try_from(of.agent.0 & u128::from(u64::MAX)).unwrap_or(0);
        let seed = self.now.unsigned_abs() ^ low(by) << 20 ^ low(to);
        let mut chance = Rng::with_seed(seed);
        let response_ms = Some(chance.u64(200..4_000));
        self.append(TrustRecord::Task(TaskSettled {
            agent: to,
            at: Timestamp(self.now),
            by,
            links: Links::default(),
            message: MessageId(self.id()),
            response_ms,
            session: SessionId(self.id()),
            signed: false,
            kind: Kind::Task,
            v: 1,
        }));
        let is_silent = chance.u32(0..5) == 0;
        self.append(TrustRecord::Commitment(CommitmentEnded {
            at: Timestamp(self.now),
            commitment: CommitmentId(self.id()),
            confirmation: outcome.is_ok().then_some(if is_silent {
                Confirmation::Silence
            } else {
                Confirmation::Explicit
            }),
            counterparty: Some(by),
            escrow: false,
            links: Links::default(),
            obligor: to,
            one_sided: false,
            severity: outcome.err(),
            signed: false,
            terms: Digest::ZERO,
            kind: Kind::Commitment,
            v: 1,
        }));
        // One customer in four rates what it got.
        if chance.u32(0..4) == 0 {
            let rating = if outcome.is_ok() { 1_000 } else { 0 };
            self.append(TrustRecord::Rating(Rated {
                agent: to,
                at: Timestamp(self.now),
                by,
                links: Links::default(),
                rating,
                session: SessionId(self.id()),
                kind: Kind::Rating,
                v: 1,
            }));
        }
    }

    /// The score of an agent for others, 0 to 1.
    pub fn score(&self, party: Party) -> f64 {
        f64::from(self.state.score(party.agent, Scope::External).score) / 1e6
    }

    /// The score of an agent for its own organisation, 0 to 1.
    pub fn internal(&self, party: Party) -> f64 {
        f64::from(self.state.score(party.agent, Scope::Internal).score) / 1e6
    }

    /// The most likely quality of an agent, for others.
    pub fn mean(&self, party: Party) -> f64 {
        let mean = self.state.score(party.agent, Scope::External).external.mean;
        f64::from(mean.unwrap_or(500_000)) / 1e6
    }

    /// What only counting says of an agent.
    pub fn tally(&self, party: Party) -> Tally {
        self.tallies.get(&party.agent).copied().unwrap_or_default()
    }
}
