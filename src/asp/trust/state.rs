//! The state: a fold over the records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::agent::{Added, AgentTrust, Endorsement, Now, Totals};
use super::credibility::credibilities;
use super::fold::TrustRow;
use super::ids::ById;
use super::owner::Owner;
use super::rated::GivenRating;
use super::record::{
    ClockRead, CommitmentEnded, Confirmation, DisputeRuled, Endorsed, Mechanism, OrgVerified,
    Party, Rated, Ruling, TaskSettled, TrustRecord,
};
use super::score::{AgentScore, Scope, View};
use super::settings::{
    DEFAULT_HALF_LIFE_HOURS, EDGES_A_CHANGE, ENDORSER_FLOOR, MAX_HALF_LIFE_HOURS, ONE, RATING,
    SEVERITY, STALE_HOURS,
};
use crate::asp::{Knot, Links, Thread, Trust, TrustScore};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent};
use crate::types::{AgentId, Offset, OrgId, SessionId, Timestamp};

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// How far each agent is trusted: `trust/1`. A record is checked and applied by the same function,
/// so the two cannot disagree; a clone shares what is counted of each agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustState {
    pub(super) clock: Clock,
    pub(super) now: Now,
    /// By their places, in which they came up.
    pub(super) owners: Vec<Arc<Owner>>,
    places: HashMap<OrgId, u32, ById>,
    pub(super) agents: HashMap<AgentId, Arc<AgentTrust>, ById>,
    assembly: Option<Assembly<TrustRow>>,
}

/// The time as records told it, and what has changed since credibility was computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clock {
    /// Time of the last clock record; none before the first.
    pub(super) at: Option<Timestamp>,
    pub(super) hour: u32,
    pub(super) half_life_hours: u32,
    /// Hour for which credibility was computed last.
    pub(super) computed: u32,
    /// Whether it has to be computed with the next hour in any case.
    pub(super) is_due: bool,
    /// Successes for other organisations since then.
    pub(super) changes: u64,
    /// Pairs of organisations.
    pub(super) edges: u64,
    /// The least offset of the next record.
    pub(super) next: Offset,
}

impl Default for Clock {
    fn default() -> Self {
        Self {
            at: None,
            hour: 0,
            half_life_hours: DEFAULT_HALF_LIFE_HOURS,
            computed: 0,
            is_due: false,
            changes: 0,
            edges: 0,
            next: Offset(0),
        }
    }
}

impl TrustState {
    /// Takes a record into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the record cannot follow; the state is unchanged.
    pub fn apply(&mut self, record: &TrustRecord, offset: Offset) -> Result<(), IllegalEvent> {
        self.transition(record, offset)
            .map_err(|rule| IllegalEvent {
                event: record.record_type().to_owned(),
                subject: format!("the record at offset {}", offset.0),
                rule,
            })
    }

    /// The record with what it says of the evidence before it. Changes nothing; apply it before
    /// the next is linked.
    #[must_use]
    pub fn link(&self, mut record: TrustRecord) -> TrustRecord {
        match &mut record {
            TrustRecord::Commitment(of) => of.links = self.links(&of.obligor),
            TrustRecord::Dispute(of) => {
                of.links = self.links(&of.against);
                of.filer_links = self.links(&of.filer);
            }
            TrustRecord::Endorsement(of) => of.links = self.links(&of.agent),
            TrustRecord::Rating(of) => of.links = self.links(&of.agent),
            TrustRecord::Task(of) => of.links = self.links(&of.agent),
            _ => {}
        }
        record
    }

    /// Records that are written one behind the other, each with what it says of the evidence before
    /// it. Changes nothing.
    ///
    /// - `offset`: what the first of them will have.
    #[must_use]
    pub fn link_all(&self, records: Vec<TrustRecord>, offset: Offset) -> Vec<TrustRecord> {
        let mut threads: BTreeMap<AgentId, Thread> = BTreeMap::new();
        let mut linked = Vec::with_capacity(records.len());
        for (mut record, offset) in records.into_iter().zip((offset.0..).map(Offset)) {
            record.each_thread(&mut |agent, links| {
                let thread = threads.entry(agent).or_insert_with(|| {
                    let known = self.agents.get(&agent);
                    known.map_or_else(Thread::default, |known| known.thread.clone())
                });
                *links = thread.links();
                thread.push(offset);
            });
            linked.push(record);
        }
        linked
    }

    /// When the next clock record is due; at once before the first.
    #[must_use]
    pub fn next_clock(&self) -> Timestamp {
        let hour = i64::from(self.clock.hour) + 1;
        let next = Timestamp(hour.saturating_mul(HOUR_MS));
        self.clock.at.map_or(Timestamp(0), |_| next)
    }

    /// Half-life of evidence in hours, as the last clock record said.
    #[must_use]
    pub fn half_life_hours(&self) -> u32 {
        self.clock.half_life_hours
    }

    /// All that is told of an agent; with a score of 0 and without rates for one of which there is
    /// no evidence.
    #[must_use]
    pub fn score(&self, agent: AgentId, scope: Scope) -> AgentScore {
        let as_of = self.clock.at.unwrap_or_default();
        match self.agents.get(&agent) {
            Some(agent) => self.view().score(agent, scope, as_of),
            None => AgentScore::none(scope, as_of),
        }
    }

    /// The score alone, in millionths, as one of that organisation would be told it.
    #[must_use]
    pub fn score_for(&self, agent: AgentId, asker: OrgId) -> u32 {
        let Some(agent) = self.agents.get(&agent) else {
            return 0;
        };
        let [external, internal] = self.view().scores(agent);
        if agent.own_org == asker {
            internal.score
        } else {
            external.score
        }
    }

    /// How far the word of an organisation counts, in millionths.
    #[must_use]
    pub fn credibility(&self, org: OrgId) -> u32 {
        let owner = self.places.get(&org).map(|at| &self.owners[*at as usize]);
        let credibility = owner.map_or_else(|| Owner::new(org).credibility, |of| of.credibility);
        u32::try_from(credibility * 1_000_000 / ONE).unwrap_or(1_000_000)
    }

    /// Whether an operator verified an organisation.
    #[must_use]
    pub fn is_verified(&self, org: OrgId) -> bool {
        let owner = self.places.get(&org).map(|at| &self.owners[*at as usize]);
        owner.map_or_else(|| Owner::new(org).is_verified, |of| of.is_verified)
    }

    /// The last piece of evidence about an agent; [`TrustRecord::links_of`] leads on from it.
    #[must_use]
    pub fn last_evidence(&self, agent: AgentId) -> Option<Knot> {
        self.agents.get(&agent)?.thread.last()
    }

    /// The rating that an agent got from another in a session; none where it got none, or that
    /// began too long ago.
    #[must_use]
    pub fn rating(&self, agent: AgentId, by: AgentId, session: SessionId) -> Option<GivenRating> {
        self.agents.get(&agent)?.rated.find(session, by)
    }

    /// Agents of which there is evidence.
    #[must_use]
    pub fn agents(&self) -> usize {
        self.agents.len()
    }

    pub(super) fn view(&self) -> View<'_> {
        View {
            owners: &self.owners,
            now: self.now,
        }
    }

    pub(super) fn place(&mut self, org: OrgId) -> u32 {
        *self.places.entry(org).or_insert_with(|| {
            self.owners.push(Arc::new(Owner::new(org)));
            u32::try_from(self.owners.len() - 1).expect("fewer than 2^32 organisations")
        })
    }

    fn owner(&mut self, place: u32) -> &mut Owner {
        Arc::make_mut(&mut self.owners[place as usize])
    }

    fn links(&self, party: &Party) -> Links {
        let agent = self.agents.get(&party.agent);
        agent.map_or_else(Links::default, |agent| agent.thread.links())
    }

    fn transition(&mut self, record: &TrustRecord, offset: Offset) -> Result<(), &'static str> {
        if let TrustRecord::Folded(part) = record {
            let state = folding::join(&mut self.assembly, &part.folded, Self::from_rows)?;
            if let Some(state) = state {
                *self = state;
            }
            return Ok(());
        }
        if self.assembly.is_some() {
            return Err(BETWEEN_PARTS);
        }
        if offset < self.clock.next {
            return Err("its offset is not above that of the record before it");
        }
        if self.clock.at.is_none() && !matches!(record, TrustRecord::Clock(_)) {
            return Err("no clock record stands before it");
        }
        match record {
            TrustRecord::Clock(clock) => self.read_clock(clock)?,
            TrustRecord::Commitment(ended) => self.end_commitment(ended, offset)?,
            TrustRecord::Dispute(ruled) => self.rule(ruled, offset)?,
            TrustRecord::Endorsement(endorsed) => self.endorse(endorsed, offset)?,
            TrustRecord::Org(verified) => self.verify(verified),
            TrustRecord::Rating(rated) => self.rate(rated, offset)?,
            TrustRecord::Task(settled) => self.settle(settled, offset)?,
            TrustRecord::Folded(_) | TrustRecord::Unknown { .. } => {}
        }
        self.clock.next = Offset(offset.0.saturating_add(1));
        Ok(())
    }

    fn read_clock(&mut self, read: &ClockRead) -> Result<(), &'static str> {
        if !(1..=MAX_HALF_LIFE_HOURS).contains(&read.half_life_hours) {
            return Err("its half-life is outside 1..=87600 hours");
        }
        if self.clock.at.is_some_and(|at| read.at < at) {
            return Err("its time is before that of the last clock record");
        }
        let hour = u32::try_from(read.at.0.div_euclid(HOUR_MS));
        let hour = hour.map_err(|_| "its time is before 1970, or in an hour beyond 2^32")?;
        let new = Now::new(hour, read.half_life_hours);
        if self.clock.half_life_hours != read.half_life_hours {
            self.recount(hour, &new);
        }
        self.now = new;
        let clock = &mut self.clock;
        clock.half_life_hours = read.half_life_hours;
        (clock.at, clock.hour) = (Some(read.at), hour);
        let is_stale = hour - clock.computed.min(hour) >= STALE_HOURS;
        let has_changed = clock.changes > 0 && clock.changes * EDGES_A_CHANGE >= clock.edges;
        if clock.is_due || is_stale || has_changed {
            (clock.computed, clock.is_due, clock.changes) = (hour, false, 0);
            self.compute_credibility();
        }
        Ok(())
    }

    /// Takes all counters over into those of another half-life.
    fn recount(&mut self, hour: u32, new: &Now) {
        let old = Now::new(hour, self.clock.half_life_hours);
        for owner in &mut self.owners {
            Arc::make_mut(owner).recount(old.all, new.all);
        }
        for agent in self.agents.values_mut() {
            let agent = Arc::make_mut(agent);
            agent.recent.recount(old.recent, new.recent);
            for (_, weights) in &mut agent.pairs {
                weights.recount(old.all, new.all);
            }
        }
    }

    fn compute_credibility(&mut self) {
        let owners = self.owners.iter().map(|owner| &**owner);
        let all = credibilities(owners, self.now.all);
        for (owner, credibility) in self.owners.iter_mut().zip(all) {
            if owner.credibility != credibility {
                Arc::make_mut(owner).credibility = credibility;
            }
        }
    }

    /// Checks that the evidence about an agent fits behind that before it, and is of the
    /// organisation that all of it was.
    fn check(&self, party: &Party, links: &Links) -> Result<(), &'static str> {
        let Some(agent) = self.agents.get(&party.agent) else {
            let is_first = *links == Links::default();
            return is_first.then_some(()).ok_or(MISLINKED);
        };
        if agent.own_org != party.org {
            return Err("the agent is of another organisation");
        }
        (agent.thread.links() == *links)
            .then_some(())
            .ok_or(MISLINKED)
    }

    /// The agent, with one more piece of evidence in its thread.
    fn agent(&mut self, party: &Party, offset: Offset) -> &mut AgentTrust {
        let home = self.place(party.org);
        let agent = self.agents.entry(party.agent);
        let agent = agent.or_insert_with(|| Arc::new(AgentTrust::new(home, party.org)));
        let agent = Arc::make_mut(agent);
        agent.thread.push(offset);
        agent.totals.evidence += 1;
        agent
    }

    /// The counters of an agent of which there is evidence.
    fn totals(&mut self, agent: AgentId) -> &mut Totals {
        let agent = self.agents.get_mut(&agent).map(Arc::make_mut);
        &mut agent.expect("evidence was just added").totals
    }

    /// Adds what an organisation's evidence says of an agent.
    fn add(&mut self, about: &Party, of: OrgId, more: Added, offset: Offset) {
        let (home, place) = (self.place(about.org), self.place(of));
        let now = self.now;
        let credibility = self.owners[place as usize].credibility;
        self.agent(about, offset)
            .add(place, credibility, more, &now);
        if home == place {
            return;
        }
        let custom = more.good + more.praise + more.answered / 4;
        let owner = self.owner(home);
        owner.good.add(custom * credibility / ONE, now.all);
        let bad = more.bad + more.missed / 2;
        owner.bad.add(bad * credibility / ONE, now.all);
        if custom > 0 {
            let is_new = owner.add_custom(place, custom, now.all);
            self.clock.edges += u64::from(is_new);
            self.clock.changes += 1;
        }
    }

    fn end_commitment(&mut self, of: &CommitmentEnded, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.obligor, &of.links)?;
        let obligor = of.obligor;
        let mut more = Added::default();
        match (of.confirmation, of.severity) {
            (Some(confirmation), None) => more.good = fulfilled(of, confirmation),
            (None, Some(severity)) => more.bad = weight(severity)?,
            _ => return Err("it is either confirmed or breached"),
        }
        let by = of.counterparty.map_or(obligor.org, |party| party.org);
        self.add(&obligor, by, more, offset);
        let totals = self.totals(obligor.agent);
        // A promise that nobody but the obligor knows of says nothing when it is kept.
        if more.good > 0 || more.bad > 0 {
            let is_kept = u64::from(more.good > 0);
            totals.commitments += 1;
            totals.fulfilled += is_kept;
            totals.signed += is_kept * u64::from(of.signed);
            totals.escrow += u64::from(of.escrow);
            totals.escrow_kept += is_kept * u64::from(of.escrow);
        }
        Ok(())
    }

    fn settle(&mut self, of: &TaskSettled, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.agent, &of.links)?;
        if of.agent.agent == of.by.agent {
            return Err("an agent gives a task to itself");
        }
        let mut more = Added::default();
        match of.response_ms {
            Some(_) => more.answered = ONE,
            None => more.missed = ONE,
        }
        self.add(&of.agent, of.by.org, more, offset);
        let totals = self.totals(of.agent.agent);
        totals.tasks += 1;
        if let Some(ms) = of.response_ms {
            totals.answered += 1;
            totals.response_ms = totals.response_ms.saturating_add(ms);
            totals.signed += u64::from(of.signed);
        }
        Ok(())
    }

    fn rate(&mut self, of: &Rated, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.agent, &of.links)?;
        if of.rating > 1_000 {
            return Err("a rating is 0 to 1,000 thousandths");
        }
        if of.agent.agent == of.by.agent {
            return Err("an agent rates itself");
        }
        let (agent, by) = (of.agent.agent, of.by.agent);
        if self.rating(agent, by, of.session).is_some() {
            return Err("that agent has rated it in this session");
        }
        let mut more = Added::default();
        more.praise = RATING * u64::from(of.rating) / 1_000;
        more.blame = RATING - more.praise;
        self.add(&of.agent, of.by.org, more, offset);
        if let Some(known) = self.agents.get_mut(&agent) {
            let given = GivenRating {
                session: of.session,
                by,
                offset,
                rating: of.rating,
            };
            Arc::make_mut(known).rated.insert(given, of.at);
        }
        Ok(())
    }

    fn rule(&mut self, of: &DisputeRuled, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.against, &of.links)?;
        self.check(&of.filer, &of.filer_links)?;
        if of.filer.agent == of.against.agent {
            return Err("an agent disputes with itself");
        }
        let severity = weight(of.severity)?;
        let counted = if of.counted == 0 {
            0
        } else {
            weight(of.counted)?
        };
        let weight = match of.ruling {
            Ruling::Upheld => severity,
            Ruling::Partial => severity / 2,
            Ruling::Dismissed => 0,
        };
        let more = weight.saturating_sub(counted);
        let more = match of.mechanism {
            Mechanism::Arbitrated => Added {
                blame: more,
                ..Added::default()
            },
            Mechanism::Automated | Mechanism::Human => Added {
                bad: more,
                ..Added::default()
            },
        };
        self.add(&of.against, of.filer.org, more, offset);
        self.agent(&of.filer, offset);
        self.totals(of.against.agent).upheld += u64::from(weight > 0);
        if of.filer.org != of.against.org {
            let now = self.now;
            let place = self.place(of.filer.org);
            let filer = self.owner(place);
            match of.ruling {
                Ruling::Dismissed => filer.dismissed.add(ONE, now.all),
                Ruling::Upheld | Ruling::Partial => filer.upheld.add(ONE, now.all),
            }
            self.clock.is_due = true;
        }
        Ok(())
    }

    fn endorse(&mut self, of: &Endorsed, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.agent, &of.links)?;
        if of.agent.agent == of.by.agent {
            return Err("an agent endorses itself");
        }
        let endorser = self.agents.get(&of.by.agent);
        let score = endorser.map_or(0, |endorser| self.view().scores(endorser)[0].score);
        let endorsement = (!of.withdrawn && score >= ENDORSER_FLOOR).then_some(Endorsement {
            endorser: of.by.agent,
            org: of.by.org,
            score,
        });
        self.agent(&of.agent, offset)
            .endorse(of.by.agent, endorsement);
        Ok(())
    }

    fn verify(&mut self, of: &OrgVerified) {
        let place = self.place(of.org);
        self.owner(place).is_verified = of.verified;
        self.clock.is_due = true;
    }
}

const MISLINKED: &str = "it does not follow the last evidence about its agent";

fn weight(severity: u8) -> Result<u64, &'static str> {
    let place = usize::from(severity).checked_sub(1);
    let weight = place.and_then(|place| SEVERITY.get(place).copied());
    weight.ok_or("a severity is 1 to 5")
}

/// What a commitment that was fulfilled counts.
fn fulfilled(of: &CommitmentEnded, confirmation: Confirmation) -> u64 {
    let Some(counterparty) = of.counterparty else {
        return 0;
    };
    let is_other = counterparty.agent != of.obligor.agent;
    let teams = [of.obligor.team, counterparty.team];
    let is_apart = counterparty.org != of.obligor.org
        || matches!(teams, [Some(one), Some(other)] if one != other);
    let counts = match confirmation {
        Confirmation::Explicit => is_other && (is_apart || !of.one_sided),
        Confirmation::Silence => is_other && !of.one_sided,
        Confirmation::Itself => false,
    };
    if counts { ONE } else { 0 }
}

/// Scores as one organisation is told them.
#[derive(Clone, Copy, Debug)]
pub struct TrustFor<'a> {
    /// What they come from.
    pub state: &'a TrustState,
    /// Who asks.
    pub asker: OrgId,
}

impl Trust for TrustFor<'_> {
    fn score(&self, agent: AgentId) -> TrustScore {
        TrustScore::from_millionths(self.state.score_for(agent, self.asker))
    }

    fn uniform(&self) -> Option<TrustScore> {
        (self.state.agents() == 0).then(|| TrustScore::from_millionths(0))
    }
}

impl Trust for TrustState {
    /// For other organisations.
    fn score(&self, agent: AgentId) -> TrustScore {
        let agent = self.agents.get(&agent);
        let score = agent.map_or(0, |agent| self.view().scores(agent)[0].score);
        TrustScore::from_millionths(score)
    }
}
