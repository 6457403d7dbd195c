//! What is counted of one organisation: whose word counts how much.

use serde::{Deserialize, Serialize};

use super::decay::Moment;
use super::settings::ONE;
use crate::types::OrgId;

/// A counter and its period.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "(u32, u32)", into = "(u32, u32)")]
pub(super) struct Weight {
    counter: u32,
    period: u32,
}

impl From<(u32, u32)> for Weight {
    fn from((counter, period): (u32, u32)) -> Self {
        Self { counter, period }
    }
}

impl From<Weight> for (u32, u32) {
    fn from(of: Weight) -> Self {
        (of.counter, of.period)
    }
}

impl Weight {
    /// What is left of it.
    pub(super) fn at(self, now: Moment) -> u64 {
        now.read(self.counter, self.period).into()
    }

    pub(super) fn add(&mut self, more: u64, now: Moment) {
        self.counter = now.add(self.counter, self.period, more);
        self.period = now.period();
    }

    /// The same weight in a counter of another half-life.
    fn recount(&mut self, old: Moment, new: Moment) {
        let left = self.at(old);
        *self = Self::default();
        self.add(left, new);
    }
}

/// What is counted of one organisation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) org: OrgId,
    /// Whether an operator verified it.
    pub(super) is_verified: bool,
    /// How far its word counts, at most [`ONE`], as it was computed last.
    pub(super) credibility: u64,
    /// Successes of its agents for other organisations, by the place of those, ascending.
    pub(super) custom: Vec<(u32, Weight)>,
    /// Successes and failures of all of its agents for other organisations.
    pub(super) good: Weight,
    pub(super) bad: Weight,
    /// Disputes that it filed and that were dismissed, and those that were upheld.
    pub(super) dismissed: Weight,
    pub(super) upheld: Weight,
}

impl Owner {
    pub(super) fn new(org: OrgId) -> Self {
        let is_verified = org == OrgId::DEFAULT;
        Self {
            org,
            is_verified,
            credibility: if is_verified { ONE } else { 0 },
            custom: Vec::new(),
            good: Weight::default(),
            bad: Weight::default(),
            dismissed: Weight::default(),
            upheld: Weight::default(),
        }
    }

    /// Adds a success for another organisation. Returns whether it is the first for that one.
    pub(super) fn add_custom(&mut self, of: u32, more: u64, now: Moment) -> bool {
        let at = self.custom.binary_search_by_key(&of, |(of, _)| *of);
        if let Err(at) = at {
            self.custom.insert(at, (of, Weight::default()));
        }
        let (Ok(place) | Err(place)) = at;
        self.custom[place].1.add(more, now);
        at.is_err()
    }

    /// Successes for another organisation, as far as they have not decayed.
    pub(super) fn custom_of(&self, of: u32, now: Moment) -> u64 {
        let at = self.custom.binary_search_by_key(&of, |(of, _)| *of);
        at.map_or(0, |at| self.custom[at].1.at(now))
    }

    /// The same weights in counters of another half-life.
    pub(super) fn recount(&mut self, old: Moment, new: Moment) {
        let single = [
            &mut self.good,
            &mut self.bad,
            &mut self.dismissed,
            &mut self.upheld,
        ];
        let custom = self.custom.iter_mut().map(|(_, weight)| weight);
        for weight in single.into_iter().chain(custom) {
            weight.recount(old, new);
        }
    }
}
