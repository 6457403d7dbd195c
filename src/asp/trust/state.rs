//! The state: a fold over the records.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::agent::{AgentTrust, Now};
use super::fold::TrustRow;
use super::ids::ById;
use super::owner::Owner;
use super::rated::GivenRating;
use super::record::{Party, TrustRecord};
use super::score::{AgentScore, Scope, View};
use super::settings::{DEFAULT_HALF_LIFE_HOURS, ONE};
use crate::asp::{Knot, Links, Thread, Trust, TrustScore};
use crate::folding::{Assembly, IllegalEvent};
use crate::types::{AgentId, Offset, OrgId, SessionId, Timestamp};

/// Milliseconds of an hour.
pub(super) const HOUR_MS: i64 = 3_600_000;

/// How far each agent is trusted: `trust/1`. A record is checked and applied by the same function,
/// so the two cannot disagree; a clone shares what is counted of each agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustState {
    pub(super) clock: Clock,
    pub(super) now: Now,
    /// By their places, in which they came up.
    pub(super) owners: Vec<Arc<Owner>>,
    pub(super) places: HashMap<OrgId, u32, ById>,
    pub(super) agents: HashMap<AgentId, Arc<AgentTrust>, ById>,
    pub(super) assembly: Option<Assembly<TrustRow>>,
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

    /// Time of the last clock record; none before the first.
    #[must_use]
    pub fn clock(&self) -> Option<Timestamp> {
        self.clock.at
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

    /// The score alone, as one of any other organisation would be told it.
    #[must_use]
    pub fn external_score(&self, agent: AgentId) -> TrustScore {
        let agent = self.agents.get(&agent);
        let external = agent.map(|agent| self.view().scores(agent)[0].score);
        TrustScore::from_millionths(external.unwrap_or(0))
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

    pub(super) fn owner(&mut self, place: u32) -> &mut Owner {
        Arc::make_mut(&mut self.owners[place as usize])
    }

    fn links(&self, party: &Party) -> Links {
        let agent = self.agents.get(&party.agent);
        agent.map_or_else(Links::default, |agent| agent.thread.links())
    }
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

/// Trust as an agent's own organisation is told it, whatever number that has where the evidence was
/// recorded.
#[derive(Clone, Copy, Debug)]
pub struct TrustWithin<'a>(pub &'a TrustState);

impl Trust for TrustWithin<'_> {
    fn score(&self, agent: AgentId) -> TrustScore {
        let agent = self.0.agents.get(&agent);
        let score = agent.map_or(0, |agent| self.0.view().scores(agent)[1].score);
        TrustScore::from_millionths(score)
    }

    fn uniform(&self) -> Option<TrustScore> {
        (self.0.agents() == 0).then(|| TrustScore::from_millionths(0))
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
