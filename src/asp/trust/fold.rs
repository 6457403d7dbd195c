//! The whole state as records, for snapshots.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::agent::{AgentTrust, Endorsement, Now, Recent, Totals, Weights};
use super::owner::{Owner, Weight};
use super::rated::RatedBy;
use super::record::{Kind, TrustRecord};
use super::settings::MAX_HALF_LIFE_HOURS;
use super::state::{Clock, TrustState};
use crate::asp::Thread;
use crate::folding::{self, EVENT_VERSION, Folded, MAX_PART_BYTES, WrittenPart};
use crate::types::{AgentId, Offset, OrgId, Timestamp};

/// One part of the whole state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustPart {
    /// The part.
    pub folded: Folded<TrustRow>,
    /// Type of the record.
    pub kind: Kind,
    /// Version of the record.
    pub v: u64,
}

/// One row of the whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum TrustRow {
    /// What is counted of an agent. Stands behind all owners.
    Agent(Box<AgentRow>),
    /// The time, and what has changed.
    Clock(ClockRow),
    /// What is counted of an organisation; in the order of their places.
    Owner(Box<OwnerRow>),
}

/// See [`TrustRow::Clock`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ClockRow {
    at: Option<Timestamp>,
    changes: u64,
    computed: u32,
    edges: u64,
    half_life_hours: u32,
    hour: u32,
    is_due: bool,
    next: Offset,
}

/// See [`TrustRow::Owner`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct OwnerRow {
    bad: Weight,
    credibility: u64,
    custom: Vec<(u32, Weight)>,
    dismissed: Weight,
    good: Weight,
    is_verified: bool,
    org: OrgId,
    upheld: Weight,
}

/// See [`TrustRow::Agent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRow {
    agent: AgentId,
    endorsements: Vec<Endorsement>,
    org: OrgId,
    pairs: Vec<(u32, Weights)>,
    #[serde(default, skip_serializing_if = "RatedBy::is_empty")]
    rated: RatedBy,
    recent: Recent,
    thread: Thread,
    totals: Totals,
}

impl Serialize for TrustPart {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        WrittenPart::of(&self.folded, self.kind, self.v).serialize(to)
    }
}

impl<'de> Deserialize<'de> for TrustPart {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let (folded, kind, v) = WrittenPart::<Vec<_>, _>::deserialize(from)?.into_parts();
        Ok(Self { folded, kind, v })
    }
}

impl TrustState {
    /// The whole state as records. Applied in order, to any state that stands between two entries,
    /// they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<TrustRecord> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<TrustRecord> {
        let clock = &self.clock;
        let clock = TrustRow::Clock(ClockRow {
            at: clock.at,
            changes: clock.changes,
            computed: clock.computed,
            edges: clock.edges,
            half_life_hours: clock.half_life_hours,
            hour: clock.hour,
            is_due: clock.is_due,
            next: clock.next,
        });
        let owners = self.owners.iter().map(|owner| owner_row(owner));
        let mut agents: Vec<_> = self.agents.iter().collect();
        agents.sort_unstable_by_key(|(id, _)| **id);
        let agents = agents.into_iter().map(|(id, agent)| agent_row(*id, agent));
        folding::split(
            [clock].into_iter().chain(owners).chain(agents),
            max_part_bytes,
        )
        .into_iter()
        .map(|folded| {
            TrustRecord::Folded(TrustPart {
                folded,
                kind: Kind::Folded,
                v: EVENT_VERSION.into(),
            })
        })
        .collect()
    }

    pub(super) fn from_rows(
        rows: &mut dyn Iterator<Item = &TrustRow>,
    ) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            match row {
                TrustRow::Clock(row) => state.insert_clock(row)?,
                TrustRow::Owner(row) => state.insert_owner(row)?,
                TrustRow::Agent(row) => state.insert_agent(row)?,
            }
        }
        let places = state.owners.len();
        let is_known = |(place, _): &(u32, Weight)| (*place as usize) < places;
        if !(state.owners.iter()).all(|owner| owner.custom.iter().all(is_known)) {
            return Err(UNKNOWN_PLACE);
        }
        Ok(state)
    }

    fn insert_clock(&mut self, row: &ClockRow) -> Result<(), &'static str> {
        if !(1..=MAX_HALF_LIFE_HOURS).contains(&row.half_life_hours) {
            return Err("its half-life is outside 1..=87600 hours");
        }
        self.clock = Clock {
            at: row.at,
            hour: row.hour,
            half_life_hours: row.half_life_hours,
            computed: row.computed,
            is_due: row.is_due,
            changes: row.changes,
            edges: row.edges,
            next: row.next,
        };
        self.now = Now::new(row.hour, row.half_life_hours);
        Ok(())
    }

    fn insert_owner(&mut self, row: &OwnerRow) -> Result<(), &'static str> {
        let place = self.place(row.org) as usize;
        if place + 1 != self.owners.len() || !self.agents.is_empty() {
            return Err("an organisation stands in it twice, or behind an agent");
        }
        ascending(&row.custom)?;
        self.owners[place] = Arc::new(Owner {
            org: row.org,
            is_verified: row.is_verified,
            credibility: row.credibility,
            custom: row.custom.clone(),
            good: row.good,
            bad: row.bad,
            dismissed: row.dismissed,
            upheld: row.upheld,
        });
        Ok(())
    }

    fn insert_agent(&mut self, row: &AgentRow) -> Result<(), &'static str> {
        let places = self.owners.len();
        ascending(&row.pairs)?;
        if !row.rated.is_ascending() {
            return Err("its ratings are not in the order of their sessions");
        }
        let home = self.place(row.org);
        if self.owners.len() != places || row.pairs.iter().any(|pair| pair.0 as usize >= places) {
            return Err(UNKNOWN_PLACE);
        }
        let agent = AgentTrust {
            home,
            own_org: row.org,
            pairs: row.pairs.clone(),
            recent: row.recent,
            totals: row.totals,
            endorsements: row.endorsements.clone(),
            rated: row.rated.clone(),
            thread: row.thread.clone(),
        };
        match self.agents.insert(row.agent, Arc::new(agent)) {
            Some(_) => Err("an agent stands in it twice"),
            None => Ok(()),
        }
    }
}

const UNKNOWN_PLACE: &str = "it names an organisation that does not stand in it";

fn ascending<T>(pairs: &[(u32, T)]) -> Result<(), &'static str> {
    let is_ascending = pairs.windows(2).all(|two| two[0].0 < two[1].0);
    is_ascending
        .then_some(())
        .ok_or("its pairs are not in the order of their places")
}

fn owner_row(owner: &Owner) -> TrustRow {
    TrustRow::Owner(Box::new(OwnerRow {
        bad: owner.bad,
        credibility: owner.credibility,
        custom: owner.custom.clone(),
        dismissed: owner.dismissed,
        good: owner.good,
        is_verified: owner.is_verified,
        org: owner.org,
        upheld: owner.upheld,
    }))
}

fn agent_row(id: AgentId, agent: &AgentTrust) -> TrustRow {
    TrustRow::Agent(Box::new(AgentRow {
        agent: id,
        endorsements: agent.endorsements.clone(),
        org: agent.own_org,
        pairs: agent.pairs.clone(),
        rated: agent.rated.clone(),
        recent: agent.recent,
        thread: agent.thread.clone(),
        totals: agent.totals,
    }))
}
