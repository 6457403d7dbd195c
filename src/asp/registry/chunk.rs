//! A run of registered agents in the order of an answer, with what a search looks at side by
//! side: a search goes through memory in a line instead of jumping to each agent.

use std::sync::Arc;

use memchr::memmem::Finder;

use super::agents::Agent;
use super::index::{Place, place};
use super::profile::Status;
use crate::types::AgentId;

/// Agents of a chunk at which it is split in two, and bits of a set of them.
pub(super) const MAX_CHUNK: usize = 128;

/// Stands behind each text. No text holds this byte, so nothing is found across two of them.
const END: u8 = 0xff;

/// Some of the agents of a chunk: bit `n` is the `n`th.
pub(super) type Picked = u128;

/// See the file's description.
#[derive(Clone, Debug, Default)]
pub(super) struct Chunk {
    agents: Vec<(AgentId, Arc<Agent>)>,
    /// Numbers of what each can do, one agent's behind the other's.
    able: Rows<u32>,
    /// Name and description of each in small letters, [`END`] behind both.
    texts: Rows<u8>,
}

/// Rows of different lengths in one piece of memory.
#[derive(Clone, Debug, Default)]
struct Rows<T> {
    all: Vec<T>,
    /// Where each ends.
    ends: Vec<usize>,
}

impl Chunk {
    /// The first one of a listing.
    pub(super) fn of(agent: &Arc<Agent>, numbers: &[u32]) -> Self {
        let mut chunk = Self::default();
        chunk.insert(agent, numbers);
        chunk
    }

    pub(super) fn len(&self) -> usize {
        self.agents.len()
    }

    pub(super) fn first(&self) -> Place<'_> {
        place(&self.agents[0].1)
    }

    pub(super) fn last(&self) -> Place<'_> {
        place(&self.agents[self.len() - 1].1)
    }

    pub(super) fn insert(&mut self, agent: &Arc<Agent>, numbers: &[u32]) {
        let at = self.at(place(agent));
        let mut text = agent.name.as_str().to_lowercase().into_bytes();
        text.push(END);
        text.extend(agent.profile.description.to_lowercase().into_bytes());
        text.push(END);
        self.agents.insert(at, (agent.agent, agent.clone()));
        self.able.insert(at, numbers);
        self.texts.insert(at, &text);
    }

    pub(super) fn remove(&mut self, gone: Place<'_>) {
        let at = self.at(gone);
        if self.is_at(at, gone) {
            self.agents.remove(at);
            self.able.remove(at);
            self.texts.remove(at);
        }
    }

    /// Takes in the agent that has this place, where nothing that is looked at has changed.
    pub(super) fn put(&mut self, agent: &Arc<Agent>) {
        let at = self.at(place(agent));
        if self.is_at(at, place(agent)) {
            self.agents[at].1 = agent.clone();
        }
    }

    /// Gives the second half away.
    pub(super) fn split(&mut self) -> Self {
        let half = self.len() / 2;
        Self {
            agents: self.agents.split_off(half),
            able: self.able.split(half),
            texts: self.texts.split(half),
        }
    }

    pub(super) fn append(&mut self, next: &Self) {
        self.agents.extend_from_slice(&next.agents);
        self.able.append(&next.able);
        self.texts.append(&next.texts);
    }

    /// Those that stand behind `after` and are at least that available.
    pub(super) fn within(&self, after: Option<Place<'_>>, least: Status) -> Picked {
        let from = after.map_or(0, |after| {
            self.agents
                .partition_point(|(_, agent)| place(agent) <= after)
        });
        let is_fine = |(_, agent): &(AgentId, Arc<Agent>)| place(agent).0 <= least;
        let to = match self.agents.last() {
            Some(last) if is_fine(last) => self.len(),
            _ => self.agents.partition_point(is_fine),
        };
        below(to) & !below(from)
    }

    /// Those that can do enough.
    ///
    /// - `of`: what is asked for, as bits, that a capability of this number is.
    /// - `is_enough`: whether all bits of one agent are.
    pub(super) fn able(&self, of: impl Fn(u32) -> u64, is_enough: impl Fn(u64) -> bool) -> Picked {
        let rows = (0..self.len()).map(|at| self.able.row(at));
        rows.enumerate().fold(0, |picked, (at, row)| {
            let can = row.iter().fold(0, |can, number| can | of(*number));
            picked | Picked::from(is_enough(can)) << at
        })
    }

    /// Those in whose name or description the text stands.
    pub(super) fn saying(&self, text: &Finder<'_>) -> Picked {
        let (mut picked, mut from) = (0, 0);
        while let Some(found) = text.find(&self.texts.all[from..]) {
            let at = self.texts.ends.partition_point(|end| *end <= from + found);
            // An empty text stands also behind the last one.
            let Some(end) = self.texts.ends.get(at) else {
                break;
            };
            picked |= 1 << at;
            from = *end;
        }
        picked
    }

    /// The agents of a set, in order.
    pub(super) fn picked(
        &self,
        mut picked: Picked,
    ) -> impl Iterator<Item = (AgentId, &Arc<Agent>)> {
        std::iter::from_fn(move || {
            let at = picked.trailing_zeros() as usize;
            picked &= picked.wrapping_sub(1);
            let (id, agent) = self.agents.get(at)?;
            Some((*id, agent))
        })
    }

    fn at(&self, of: Place<'_>) -> usize {
        self.agents.partition_point(|(_, agent)| place(agent) < of)
    }

    fn is_at(&self, at: usize, of: Place<'_>) -> bool {
        let agent = self.agents.get(at);
        agent.is_some_and(|(_, agent)| place(agent) == of)
    }
}

/// The first `count` agents of a chunk.
fn below(count: usize) -> Picked {
    match count {
        0 => 0,
        count => Picked::MAX >> (MAX_CHUNK - count),
    }
}

impl<T: Copy> Rows<T> {
    fn start(&self, at: usize) -> usize {
        at.checked_sub(1).map_or(0, |before| self.ends[before])
    }

    fn row(&self, at: usize) -> &[T] {
        &self.all[self.start(at)..self.ends[at]]
    }

    fn insert(&mut self, at: usize, row: &[T]) {
        let start = self.start(at);
        self.all.splice(start..start, row.iter().copied());
        self.ends.insert(at, start);
        self.ends[at..].iter_mut().for_each(|end| *end += row.len());
    }

    fn remove(&mut self, at: usize) {
        let (start, end) = (self.start(at), self.ends[at]);
        self.all.drain(start..end);
        self.ends.remove(at);
        self.ends[at..]
            .iter_mut()
            .for_each(|later| *later -= end - start);
    }

    fn split(&mut self, at: usize) -> Self {
        let start = self.start(at);
        let mut ends = self.ends.split_off(at);
        ends.iter_mut().for_each(|end| *end -= start);
        let all = self.all.split_off(start);
        Self { all, ends }
    }

    fn append(&mut self, next: &Self) {
        let end = self.all.len();
        self.all.extend_from_slice(&next.all);
        self.ends.extend(next.ends.iter().map(|later| later + end));
    }
}
