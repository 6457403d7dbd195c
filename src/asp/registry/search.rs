//! Finding agents by what they can do.

use std::cmp::Reverse;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::agents::{Agent, Agents};
use super::index::{Listing, Place, place};
use super::profile::Status;
use crate::asp::{Trust, TrustScore};
use crate::types::{AgentName, InvalidName};

/// Most agents of a page.
pub const MAX_PAGE: usize = 1000;
/// Most capabilities of a query.
pub const MAX_PATTERNS: usize = 64;

/// Longest text of a query, in bytes.
pub const MAX_TEXT_BYTES: usize = 1024;

/// A capability that is looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CapabilityPattern {
    /// This one.
    Exact(AgentName),
    /// All that begin so: written with a `*` at the end.
    Prefix(String),
}

/// Whether an agent needs all capabilities that are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Match {
    /// All of them.
    #[default]
    All,
    /// One of them.
    Any,
}

/// What is looked for. The default finds all that are registered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Capabilities; none given: any agent.
    pub capabilities: Vec<CapabilityPattern>,
    /// Whether all of them are needed.
    pub matching: Match,
    /// Least trust.
    pub min_trust: Option<TrustScore>,
    /// At least that available.
    pub availability: Option<Status>,
    /// Text within name or description, whatever the case.
    pub text: Option<String>,
    /// Where the page before ended.
    pub after: Option<Cursor>,
}

/// A place in a sorted answer: the sort key of an agent. It stays a place when agents come and go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    /// Trust, the highest first.
    pub trust: Reverse<TrustScore>,
    /// Availability, the best first.
    pub status: Status,
    /// Name; unique, so no two agents share a place.
    pub name: AgentName,
}

/// A page of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<'a> {
    /// The agents with their scores, sorted by trust, availability and name.
    pub agents: Vec<(&'a Agent, TrustScore)>,
    /// Where the next page begins; none when this is the last.
    pub next: Option<Cursor>,
}

/// Why a search is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {found} is outside {least}..={most}")]
pub struct SearchError {
    /// What is limited.
    pub what: &'static str,
    /// What was asked for.
    pub found: usize,
    /// The least allowed.
    pub least: usize,
    /// The most allowed.
    pub most: usize,
}

impl CapabilityPattern {
    /// Reads a capability, or the beginning of one with a `*` after it.
    ///
    /// # Errors
    /// [`InvalidName`] when the text breaks the rule for names.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        let Some(prefix) = text.strip_suffix('*') else {
            return AgentName::parse(text).map(Self::Exact);
        };
        // With one more letter it must be a name.
        AgentName::parse(&format!("{prefix}x"))?;
        Ok(Self::Prefix(prefix.to_owned()))
    }

    /// What the capability is, or begins with.
    pub(super) fn as_str(&self) -> &str {
        match self {
            Self::Exact(name) => name.as_str(),
            Self::Prefix(prefix) => prefix,
        }
    }

    pub(super) fn matches(&self, capability: &AgentName) -> bool {
        match self {
            Self::Exact(name) => name == capability,
            Self::Prefix(prefix) => capability.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl Agents {
    /// A page of the registered agents that a query finds. As [`Listing::search`].
    ///
    /// # Errors
    /// [`SearchError`] when the page or the query is too large.
    pub fn search(
        &self,
        query: &Query,
        trust: &dyn Trust,
        limit: usize,
    ) -> Result<Page<'_>, SearchError> {
        self.index.listing.search(query, trust, limit)
    }
}

impl Listing {
    /// A page of the registered agents that a query finds.
    ///
    /// - `limit`: agents of the page, 1 to [`MAX_PAGE`].
    ///
    /// # Errors
    /// [`SearchError`] when the page or the query is too large.
    pub fn search(
        &self,
        query: &Query,
        trust: &dyn Trust,
        limit: usize,
    ) -> Result<Page<'_>, SearchError> {
        self.search_where(query, trust, limit, &|_| true)
    }

    /// The same among those agents that `is_shown` lets through.
    ///
    /// # Errors
    /// As for [`Listing::search`].
    pub fn search_where(
        &self,
        query: &Query,
        trust: &dyn Trust,
        limit: usize,
        is_shown: &dyn Fn(&Agent) -> bool,
    ) -> Result<Page<'_>, SearchError> {
        within("page", limit, 1, MAX_PAGE)?;
        within("capabilities", query.capabilities.len(), 0, MAX_PATTERNS)?;
        let text_bytes = query.text.as_ref().map_or(0, String::len);
        within("text bytes", text_bytes, 0, MAX_TEXT_BYTES)?;
        let (mut agents, is_last) = match trust.uniform() {
            Some(score) => self.in_order(query, score, limit, is_shown),
            None => self.by_score(query, trust, limit, is_shown),
        };
        agents.truncate(limit);
        let next = agents
            .last()
            .filter(|_| !is_last)
            .map(|(agent, score)| Cursor {
                trust: Reverse(*score),
                status: agent.profile.availability.status,
                name: agent.name.clone(),
            });
        Ok(Page { agents, next })
    }

    /// A page where all have the same score: the index has the order, and no more of it is read
    /// than the page needs. Whether nothing comes after it.
    fn in_order(
        &self,
        query: &Query,
        score: TrustScore,
        limit: usize,
        is_shown: &dyn Fn(&Agent) -> bool,
    ) -> (Vec<(&Agent, TrustScore)>, bool) {
        let is_trusted = query.min_trust.is_none_or(|least| score >= least);
        let after = match &query.after {
            Some(after) if after.trust > Reverse(score) => return (Vec::new(), true),
            Some(after) if after.trust == Reverse(score) => Some(after.place()),
            _ => None,
        };
        if !is_trusted {
            return (Vec::new(), true);
        }
        let found = self.find(query, after).map(|(_, agent)| &**agent);
        let found = found.filter(|agent| is_shown(agent));
        let page: Vec<_> = found.take(limit + 1).map(|agent| (agent, score)).collect();
        let is_last = page.len() <= limit;
        (page, is_last)
    }

    /// A page where scores differ: everybody that is found is asked for, and those that the page
    /// shows are sorted. Whether nothing comes after it.
    fn by_score(
        &self,
        query: &Query,
        trust: &dyn Trust,
        limit: usize,
        is_shown: &dyn Fn(&Agent) -> bool,
    ) -> (Vec<(&Agent, TrustScore)>, bool) {
        // They come by availability and name, so their number stands for both.
        let mut found = Vec::new();
        for (number, (id, agent)) in self.find(query, None).enumerate() {
            let score = Reverse(trust.score(id));
            if query.min_trust.is_some_and(|least| score.0 < least) || !is_shown(agent) {
                continue;
            }
            let is_after = query.after.as_ref().is_none_or(|after| {
                score > after.trust || score == after.trust && place(agent) > after.place()
            });
            if is_after {
                found.push((score, number, agent));
            }
        }
        let is_last = found.len() <= limit;
        let key = |found: &(Reverse<TrustScore>, usize, &Arc<Agent>)| (found.0, found.1);
        if !is_last {
            // Only what the page shows has to be sorted.
            found.select_nth_unstable_by_key(limit, key);
            found.truncate(limit);
        }
        found.sort_unstable_by_key(key);
        let page = found
            .into_iter()
            .map(|(score, _, agent)| (&**agent, score.0));
        (page.collect(), is_last)
    }
}

impl Cursor {
    fn place(&self) -> Place<'_> {
        (self.status, self.name.as_str())
    }
}

fn within(what: &'static str, found: usize, least: usize, most: usize) -> Result<(), SearchError> {
    if (least..=most).contains(&found) {
        return Ok(());
    }
    Err(SearchError {
        what,
        found,
        least,
        most,
    })
}
