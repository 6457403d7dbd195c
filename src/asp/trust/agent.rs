//! What is counted of one agent.

use serde::{Deserialize, Serialize};

use super::decay::Moment;
use super::rated::RatedBy;
use super::settings::{MAX_ENDORSEMENTS, ONE, RECENT_LOSS_QUARTERS, RECENT_PACE, SATURATION};
use crate::asp::Thread;
use crate::types::{AgentId, OrgId};

/// The time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Now {
    /// For all counters but those of the recent past.
    pub(super) all: Moment,
    /// For those.
    pub(super) recent: Moment,
}

impl Now {
    /// - `hour`: since 1970.
    pub(super) fn new(hour: u32, half_life_hours: u32) -> Self {
        let hour = u64::from(hour);
        Self {
            all: Moment::new(hour, half_life_hours),
            recent: Moment::new(hour * RECENT_PACE, half_life_hours),
        }
    }
}

/// Counters of the evidence of one organisation about one agent; once read, what is left of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u32; 7]", into = "[u32; 7]")]
pub(super) struct Weights {
    /// Commitments fulfilled.
    pub(super) good: u32,
    /// Commitments breached, and disputes that were ruled on by the log or by an operator.
    pub(super) bad: u32,
    /// Opinions in favour: ratings.
    pub(super) praise: u32,
    /// Opinions against: ratings, and disputes that were ruled on by arbitrators.
    pub(super) blame: u32,
    /// Tasks answered.
    pub(super) answered: u32,
    /// Tasks not answered in time.
    pub(super) missed: u32,
    /// The period of the counters.
    pub(super) period: u32,
}

impl From<[u32; 7]> for Weights {
    fn from([good, bad, praise, blame, answered, missed, period]: [u32; 7]) -> Self {
        Self {
            good,
            bad,
            praise,
            blame,
            answered,
            missed,
            period,
        }
    }
}

impl From<Weights> for [u32; 7] {
    fn from(of: Weights) -> Self {
        [
            of.good,
            of.bad,
            of.praise,
            of.blame,
            of.answered,
            of.missed,
            of.period,
        ]
    }
}

impl Weights {
    /// What is left of them.
    pub(super) fn at(self, now: Moment) -> Self {
        let read = |counter| now.read(counter, self.period);
        Self {
            good: read(self.good),
            bad: read(self.bad),
            praise: read(self.praise),
            blame: read(self.blame),
            answered: read(self.answered),
            missed: read(self.missed),
            period: now.period(),
        }
    }

    fn add(&mut self, more: Added, now: Moment) {
        let add = |counter, more| now.add(counter, self.period, more);
        *self = Self {
            good: add(self.good, more.good),
            bad: add(self.bad, more.bad),
            praise: add(self.praise, more.praise),
            blame: add(self.blame, more.blame),
            answered: add(self.answered, more.answered),
            missed: add(self.missed, more.missed),
            period: now.period(),
        };
    }

    /// The same weights in counters of another half-life.
    pub(super) fn recount(&mut self, old: Moment, new: Moment) {
        let left = self.at(old);
        *self = Self::default();
        self.add(
            Added {
                good: left.good.into(),
                bad: left.bad.into(),
                praise: left.praise.into(),
                blame: left.blame.into(),
                answered: left.answered.into(),
                missed: left.missed.into(),
            },
            new,
        );
    }

    /// Tasks answered that no commitment stands for: a task that ended in a commitment is one piece
    /// of evidence and not two.
    pub(super) fn plain_tasks(&self) -> u64 {
        u64::from(self.answered).saturating_sub(u64::from(self.good) + u64::from(self.bad))
    }
}

/// What a piece of evidence adds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Added {
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) praise: u64,
    pub(super) blame: u64,
    pub(super) answered: u64,
    pub(super) missed: u64,
}

/// Counters that do not decay: what the rates are made of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Totals {
    /// Pieces of evidence.
    pub(super) evidence: u64,
    /// Commitments that ended.
    pub(super) commitments: u64,
    /// Of those fulfilled.
    pub(super) fulfilled: u64,
    /// Of those fulfilled with something in escrow.
    pub(super) escrow_kept: u64,
    /// Commitments with something in escrow.
    pub(super) escrow: u64,
    /// Tasks.
    pub(super) tasks: u64,
    /// Of those answered.
    pub(super) answered: u64,
    /// Times of the answers in ms.
    pub(super) response_ms: u64,
    /// Disputes upheld, whole or in part.
    pub(super) upheld: u64,
    /// Commitments fulfilled and tasks answered with a signature.
    pub(super) signed: u64,
}

/// An endorsement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(AgentId, OrgId, u32)", into = "(AgentId, OrgId, u32)")]
pub(super) struct Endorsement {
    /// Who endorses.
    pub(super) endorser: AgentId,
    /// Of which organisation.
    pub(super) org: OrgId,
    /// The endorser's score when it did so, in millionths.
    pub(super) score: u32,
}

impl From<(AgentId, OrgId, u32)> for Endorsement {
    fn from((endorser, org, score): (AgentId, OrgId, u32)) -> Self {
        Self {
            endorser,
            org,
            score,
        }
    }
}

impl From<Endorsement> for (AgentId, OrgId, u32) {
    fn from(of: Endorsement) -> Self {
        (of.endorser, of.org, of.score)
    }
}

/// Successes and failures of the last days, weighed by the credibility of who saw them when they
/// did. Failures are only those that the clock saw, or that were ruled on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "[u32; 5]", into = "[u32; 5]")]
pub(super) struct Recent {
    /// For other organisations.
    pub(super) good: u32,
    pub(super) bad: u32,
    /// For the agent's own.
    pub(super) home_good: u32,
    pub(super) home_bad: u32,
    /// The period of the counters.
    pub(super) period: u32,
}

impl From<[u32; 5]> for Recent {
    fn from([good, bad, home_good, home_bad, period]: [u32; 5]) -> Self {
        Self {
            good,
            bad,
            home_good,
            home_bad,
            period,
        }
    }
}

impl From<Recent> for [u32; 5] {
    fn from(of: Recent) -> Self {
        [of.good, of.bad, of.home_good, of.home_bad, of.period]
    }
}

impl Recent {
    /// What is left of it.
    pub(super) fn at(self, now: Moment) -> Self {
        let read = |counter| now.read(counter, self.period);
        Self {
            good: read(self.good),
            bad: read(self.bad),
            home_good: read(self.home_good),
            home_bad: read(self.home_bad),
            period: now.period(),
        }
    }

    /// Adds in the order of the members.
    fn add(&mut self, [good, bad, home_good, home_bad]: [u64; 4], now: Moment) {
        let add = |counter, more| now.add(counter, self.period, more);
        *self = Self {
            good: add(self.good, good),
            bad: add(self.bad, bad),
            home_good: add(self.home_good, home_good),
            home_bad: add(self.home_bad, home_bad),
            period: now.period(),
        };
    }

    /// The same weights in counters of another half-life.
    pub(super) fn recount(&mut self, old: Moment, new: Moment) {
        let left = self.at(old);
        let all = [left.good, left.bad, left.home_good, left.home_bad];
        *self = Self::default();
        self.add(all.map(u64::from), new);
    }
}

/// What is counted of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct AgentTrust {
    /// Its organisation, by its place among the owners.
    pub(super) home: u32,
    /// The number of that.
    pub(super) own_org: OrgId,
    /// By the place of the organisation that it worked for, ascending.
    pub(super) pairs: Vec<(u32, Weights)>,
    pub(super) recent: Recent,
    pub(super) totals: Totals,
    pub(super) endorsements: Vec<Endorsement>,
    pub(super) rated: RatedBy,
    pub(super) thread: Thread,
}

impl AgentTrust {
    pub(super) fn new(home: u32, own_org: OrgId) -> Self {
        Self {
            home,
            own_org,
            pairs: Vec::new(),
            recent: Recent::default(),
            totals: Totals::default(),
            endorsements: Vec::new(),
            rated: RatedBy::default(),
            thread: Thread::default(),
        }
    }

    /// Adds a piece of evidence of an organisation.
    ///
    /// - `credibility`: how far the organisation's word counts now.
    pub(super) fn add(&mut self, owner: u32, credibility: u64, more: Added, now: &Now) {
        let at = self.pairs.binary_search_by_key(&owner, |(owner, _)| *owner);
        let at = at.unwrap_or_else(|at| {
            self.pairs.insert(at, (owner, Weights::default()));
            at
        });
        let weights = &mut self.pairs[at].1;
        let said = u64::from(weights.at(now.all).good);
        weights.add(more, now.all);
        let lost = |bad: u64| bad * RECENT_LOSS_QUARTERS / 4;
        let recent = if owner == self.home {
            let good = more.good + more.praise + more.answered;
            [0, 0, good, lost(more.bad + more.missed)]
        } else {
            // Whoever has said much already adds little.
            let fresh = SATURATION * credibility / (SATURATION + said);
            let good = more.good + more.praise + more.answered / 4;
            let bad = lost(more.bad + more.missed / 2) * credibility / ONE;
            [good * fresh / ONE, bad, 0, 0]
        };
        self.recent.add(recent, now.recent);
    }

    /// Takes an endorsement in, in place of an earlier one of the same endorser; `None` takes that
    /// back. Beyond [`MAX_ENDORSEMENTS`] none counts.
    pub(super) fn endorse(&mut self, endorser: AgentId, endorsement: Option<Endorsement>) {
        let at = self
            .endorsements
            .iter()
            .position(|held| held.endorser == endorser);
        match (at, endorsement) {
            (Some(at), Some(new)) => self.endorsements[at] = new,
            (Some(at), None) => {
                self.endorsements.remove(at);
            }
            (None, Some(new)) if self.endorsements.len() < MAX_ENDORSEMENTS => {
                self.endorsements.push(new);
            }
            (None, _) => {}
        }
    }
}
