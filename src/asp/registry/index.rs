//! What the search looks at instead of the agents: the registered ones in the order of an answer,
//! and who can do what. It follows from the agents alone; only the numbers that it gives them
//! depend on the way there, and nobody sees those.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use memchr::memmem::Finder;

use super::agents::{Agent, AgentStanding};
use super::profile::Status;
use super::search::{CapabilityPattern, Match, Query};
use crate::types::AgentName;

/// Where an agent stands among those of its score.
pub(super) type Place = (Status, AgentName);

/// The index over the registered agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// In the order of an answer, for those of one score.
    order: BTreeMap<Place, Listed>,
    /// By what they can do, by number; no set is empty.
    able: BTreeMap<AgentName, BTreeSet<u32>>,
    /// Numbers below the most that were ever given, and are free again.
    free: Vec<u32>,
}

/// A registered agent.
#[derive(Clone, Debug)]
struct Listed {
    /// Its number here, by which sets of agents are sets of bits.
    number: u32,
    agent: Arc<Agent>,
    /// Name and description in small letters, where text is looked for.
    text: Arc<(Box<str>, Box<str>)>,
}

impl Index {
    /// Follows the change of an agent.
    pub(super) fn replace(&mut self, before: Option<&Agent>, agent: &Arc<Agent>) {
        let is_listed = |agent: &Agent| agent.standing == AgentStanding::Registered;
        let before = before.filter(|before| is_listed(before));
        let Some(before) = before else {
            if is_listed(agent) {
                self.list(agent);
            }
            return;
        };
        if !is_listed(agent) {
            self.unlist(before);
            return;
        }
        let (is_able, says) = (&before.profile.capabilities, &before.profile.description);
        if *is_able != agent.profile.capabilities || *says != agent.profile.description {
            self.unlist(before);
            self.list(agent);
        } else if let Some(listed) = self.order.remove(&place(before)) {
            let agent = agent.clone();
            self.order.insert(place(&agent), Listed { agent, ..listed });
        }
    }

    /// The agents that the query finds, whatever their score, in order.
    ///
    /// - `after`: the place after which to begin.
    pub(super) fn find<'a, 'q>(
        &'a self,
        query: &'q Query,
        after: Option<&Place>,
    ) -> impl Iterator<Item = &'a Agent> + use<'a, 'q> {
        let able = self.able(query);
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let text = text.map(|text| Finder::new(&text).into_owned());
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(after.clone()));
        self.order
            .range((from, Bound::Unbounded))
            .take_while(|((status, _), _)| query.availability.is_none_or(|least| *status <= least))
            .map(|(_, listed)| listed)
            .filter(move |listed| {
                able.as_ref()
                    .is_none_or(|able| able.contains(listed.number))
            })
            .filter(move |listed| {
                text.as_ref().is_none_or(|text| {
                    let (name, description) = &*listed.text;
                    let is_in = |within: &str| text.find(within.as_bytes()).is_some();
                    is_in(name) || is_in(description)
                })
            })
            .map(|listed| &*listed.agent)
    }

    /// Who can do what the query asks for; none where it asks for nothing.
    fn able(&self, query: &Query) -> Option<Bits> {
        let numbers = self.order.len() + self.free.len();
        let mut found: Option<Bits> = None;
        for pattern in &query.capabilities {
            // Where all are needed, only those that can do what was asked before are of interest.
            let mut able = Bits::new(numbers);
            for number in self.sets(pattern).flatten() {
                able.insert(*number);
            }
            match (&mut found, query.matching) {
                (None, _) => found = Some(able),
                (Some(found), Match::All) => found.intersect(&able),
                (Some(found), Match::Any) => found.unite(&able),
            }
        }
        found
    }

    fn sets<'a>(
        &'a self,
        pattern: &'a CapabilityPattern,
    ) -> impl Iterator<Item = &'a BTreeSet<u32>> {
        self.able
            .range::<str, _>((Bound::Included(pattern.as_str()), Bound::Unbounded))
            .take_while(|(capability, _)| pattern.matches(capability))
            .map(|(_, able)| able)
    }

    fn list(&mut self, agent: &Arc<Agent>) {
        let next = u32::try_from(self.order.len()).unwrap_or(u32::MAX);
        let number = self.free.pop().unwrap_or(next);
        for capability in &agent.profile.capabilities {
            let able = self.able.entry(capability.clone()).or_default();
            able.insert(number);
        }
        let small = |text: &str| text.to_lowercase().into_boxed_str();
        let text = (
            small(agent.name.as_str()),
            small(&agent.profile.description),
        );
        let listed = Listed {
            number,
            agent: agent.clone(),
            text: Arc::new(text),
        };
        self.order.insert(place(agent), listed);
    }

    fn unlist(&mut self, agent: &Agent) {
        let Some(listed) = self.order.remove(&place(agent)) else {
            return;
        };
        for capability in &agent.profile.capabilities {
            if let Some(able) = self.able.get_mut(capability) {
                able.remove(&listed.number);
                if able.is_empty() {
                    self.able.remove(capability);
                }
            }
        }
        self.free.push(listed.number);
    }
}

fn place(agent: &Agent) -> Place {
    (agent.profile.availability.status, agent.name.clone())
}

/// A set of agents by number.
struct Bits(Vec<u64>);

impl Bits {
    fn new(numbers: usize) -> Self {
        Self(vec![0; numbers.div_ceil(64)])
    }

    fn insert(&mut self, number: u32) {
        if let Some(word) = self.0.get_mut(number as usize / 64) {
            *word |= 1 << (number % 64);
        }
    }

    fn contains(&self, number: u32) -> bool {
        let word = self.0.get(number as usize / 64).copied().unwrap_or(0);
        word >> (number % 64) & 1 == 1
    }

    fn intersect(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word &= other;
        }
    }

    fn unite(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }
}
