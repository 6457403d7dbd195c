//! What the search looks at instead of the agents: the registered ones in the order of an answer,
//! in chunks that lie close in memory and are shared with clones. It follows from the agents
//! alone; only the numbers that it gives to capabilities, and where chunks end, depend on the way
//! there, and nobody sees those.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use memchr::memmem::Finder;

use super::agents::{Agent, AgentStanding};
use super::chunk::{Chunk, MAX_CHUNK};
use super::profile::Status;
use super::search::{CapabilityPattern, Match, Query};
use crate::types::{AgentId, AgentName};

/// Where an agent stands among those of its score.
pub(super) type Place<'a> = (Status, &'a str);

/// The registered agents of an organisation, as far as a search needs them. A clone shares all
/// with its original and costs next to nothing; what changes later does not show in it.
#[derive(Clone, Debug, Default)]
pub struct Listing {
    /// None is empty, and each begins after the end of the one before it.
    chunks: Vec<Arc<Chunk>>,
    /// Numbers of the capabilities that somebody has.
    numbers: Arc<BTreeMap<AgentName, u32>>,
}

/// The listing, and what it takes to change it.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    pub(super) listing: Listing,
    /// How many agents have a capability, by its number.
    uses: Vec<u32>,
    /// Numbers of capabilities that nobody has any longer.
    free: Vec<u32>,
}

impl Index {
    /// Follows the change of an agent.
    pub(super) fn replace(&mut self, before: Option<&Agent>, agent: &Arc<Agent>) {
        let is_listed = |agent: &Agent| agent.standing == AgentStanding::Registered;
        match before.filter(|before| is_listed(before)) {
            None if is_listed(agent) => self.list(agent),
            None => {}
            Some(before) if is_listed(agent) => self.relist(before, agent),
            Some(before) => self.unlist(before),
        }
    }

    fn list(&mut self, agent: &Arc<Agent>) {
        let capabilities = agent.profile.capabilities.iter();
        let numbers: Vec<_> = capabilities.map(|name| self.number(name)).collect();
        self.listing.insert(agent, &numbers);
    }

    fn unlist(&mut self, agent: &Agent) {
        self.listing.remove(agent);
        for capability in &agent.profile.capabilities {
            let Some(number) = self.listing.numbers.get(capability).copied() else {
                continue;
            };
            let uses = &mut self.uses[number as usize];
            *uses -= 1;
            if *uses == 0 {
                Arc::make_mut(&mut self.listing.numbers).remove(capability);
                self.free.push(number);
            }
        }
    }

    fn relist(&mut self, before: &Agent, agent: &Arc<Agent>) {
        let stays = place(before) == place(agent)
            && before.profile.description == agent.profile.description
            && before.profile.capabilities == agent.profile.capabilities;
        if stays {
            self.listing.put(agent);
        } else {
            self.unlist(before);
            self.list(agent);
        }
    }

    /// The number of a capability that one more agent has.
    fn number(&mut self, capability: &AgentName) -> u32 {
        if let Some(number) = self.listing.numbers.get(capability) {
            self.uses[*number as usize] += 1;
            return *number;
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.uses.push(0);
            u32::try_from(self.uses.len() - 1).expect("fewer capabilities than fit into memory")
        });
        self.uses[number as usize] = 1;
        let numbers = Arc::make_mut(&mut self.listing.numbers);
        numbers.insert(capability.clone(), number);
        number
    }
}

impl Listing {
    /// The agents that the query finds, whatever their score, in order.
    ///
    /// - `after`: the place after which to begin.
    pub(super) fn find<'a, 'q>(
        &'a self,
        query: &'q Query,
        after: Option<Place<'q>>,
    ) -> impl Iterator<Item = (AgentId, &'a Arc<Agent>)> + use<'a, 'q> {
        let able = self.able(query);
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let text = text.map(|text| Finder::new(&text).into_owned());
        let first = after.map_or(0, |after| {
            self.chunks.partition_point(|chunk| chunk.last() <= after)
        });
        let least = query.availability.unwrap_or(Status::Offline);
        self.chunks[first..]
            .iter()
            .take_while(move |chunk| chunk.first().0 <= least)
            .flat_map(move |chunk| {
                let after = after.filter(|after| chunk.first() <= *after);
                let mut fits = chunk.within(after, least);
                if let Some(able) = &able {
                    fits &=
                        chunk.able(|number| able.of[number as usize], |can| able.is_enough(can));
                }
                // Where nobody else fits, no text has to be read.
                if let (Some(text), true) = (&text, fits != 0) {
                    fits &= chunk.saying(text);
                }
                chunk.picked(fits)
            })
    }

    /// What the query's capabilities are, by number; none where it asks for none.
    fn able(&self, query: &Query) -> Option<Able> {
        if query.capabilities.is_empty() {
            return None;
        }
        let most = self
            .numbers
            .values()
            .max()
            .map_or(0, |most| *most as usize + 1);
        let mut of = vec![0; most];
        for (bit, pattern) in query.capabilities.iter().enumerate() {
            for number in self.numbers_of(pattern) {
                of[number as usize] |= 1 << bit;
            }
        }
        let all = u64::MAX >> (64 - query.capabilities.len().min(64));
        let matching = query.matching;
        Some(Able { of, all, matching })
    }

    fn numbers_of(&self, pattern: &CapabilityPattern) -> impl Iterator<Item = u32> {
        self.numbers
            .range::<str, _>((Bound::Included(pattern.as_str()), Bound::Unbounded))
            .take_while(move |(capability, _)| pattern.matches(capability))
            .map(|(_, number)| *number)
    }

    fn insert(&mut self, agent: &Arc<Agent>, numbers: &[u32]) {
        let place = place(agent);
        // The last chunk that does not begin after it.
        let after = self.chunks.partition_point(|chunk| chunk.first() <= place);
        let at = after.saturating_sub(1);
        let Some(chunk) = self.chunks.get_mut(at) else {
            self.chunks.push(Arc::new(Chunk::of(agent, numbers)));
            return;
        };
        let chunk = Arc::make_mut(chunk);
        chunk.insert(agent, numbers);
        if chunk.len() == MAX_CHUNK {
            let second = chunk.split();
            self.chunks.insert(at + 1, Arc::new(second));
        }
    }

    fn remove(&mut self, agent: &Agent) {
        let Some(at) = self.chunk_of(agent) else {
            return;
        };
        let chunk = Arc::make_mut(&mut self.chunks[at]);
        chunk.remove(place(agent));
        let len = chunk.len();
        if len == 0 {
            self.chunks.remove(at);
            return;
        }
        let next = self.chunks.get(at + 1).map(|next| next.len());
        if next.is_some_and(|next| len + next <= MAX_CHUNK / 2) {
            let next = self.chunks.remove(at + 1);
            Arc::make_mut(&mut self.chunks[at]).append(&next);
        }
    }

    /// Takes the agent in where it is already.
    fn put(&mut self, agent: &Arc<Agent>) {
        if let Some(at) = self.chunk_of(agent) {
            Arc::make_mut(&mut self.chunks[at]).put(agent);
        }
    }

    fn chunk_of(&self, agent: &Agent) -> Option<usize> {
        let place = place(agent);
        let at = self.chunks.partition_point(|chunk| chunk.last() < place);
        (at < self.chunks.len()).then_some(at)
    }
}

/// What a query's capabilities are: a bit for each.
struct Able {
    /// Which of them a capability is, by its number.
    of: Vec<u64>,
    all: u64,
    matching: Match,
}

impl Able {
    fn is_enough(&self, can: u64) -> bool {
        match self.matching {
            Match::All => can == self.all,
            Match::Any => can != 0,
        }
    }
}

pub(super) fn place(agent: &Agent) -> Place<'_> {
    (agent.profile.availability.status, agent.name.as_str())
}
