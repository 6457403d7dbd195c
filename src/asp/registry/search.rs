//! Finding agents by what they can do.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::agents::{Agent, AgentStanding, Agents};
use super::profile::Status;
use crate::asp::{Trust, TrustScore};
use crate::types::{AgentId, AgentName, InvalidName};

/// Most agents of a page.
pub const MAX_PAGE: usize = 1000;
/// Most capabilities of a query.
pub const MAX_PATTERNS: usize = 64;

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

    fn matches(&self, capability: &AgentName) -> bool {
        match self {
            Self::Exact(name) => name == capability,
            Self::Prefix(prefix) => capability.as_str().starts_with(prefix.as_str()),
        }
    }
}

impl Agents {
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
        within("page", limit, 1, MAX_PAGE)?;
        within("capabilities", query.capabilities.len(), 0, MAX_PATTERNS)?;
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let mut found: Vec<_> = self
            .candidates(query)
            .filter(|agent| query.fits(agent, text.as_deref()))
            .map(|agent| (trust.score(agent.agent), agent))
            .filter(|(score, _)| query.min_trust.is_none_or(|least| *score >= least))
            .filter(|place| {
                query
                    .after
                    .as_ref()
                    .is_none_or(|after| key(place) > borrowed(after))
            })
            .collect();
        let is_last = found.len() <= limit;
        if !is_last {
            // Only what the page shows has to be sorted.
            found.select_nth_unstable_by(limit, |a, b| key(a).cmp(&key(b)));
            found.truncate(limit);
        }
        found.sort_unstable_by(|a, b| key(a).cmp(&key(b)));
        let next = found
            .last()
            .filter(|_| !is_last)
            .map(|(score, agent)| Cursor {
                trust: Reverse(*score),
                status: agent.profile.availability.status,
                name: agent.name.clone(),
            });
        let agents = found.into_iter().map(|(score, agent)| (agent, score));
        Ok(Page {
            agents: agents.collect(),
            next,
        })
    }

    /// The agents among which those are that a query finds: from the index where it names
    /// capabilities.
    fn candidates(&self, query: &Query) -> Box<dyn Iterator<Item = &Agent> + '_> {
        let ids = match query.matching {
            _ if query.capabilities.is_empty() => return Box::new(self.agents()),
            Match::Any => {
                let able = query.capabilities.iter().map(|pattern| self.able(pattern));
                able.flatten().collect()
            }
            Match::All => {
                let counted = query.capabilities.iter().map(|pattern| {
                    let count = self.sets(pattern).map(BTreeSet::len).sum::<usize>();
                    (count, pattern)
                });
                let rarest = counted.min_by_key(|(count, _)| *count);
                rarest
                    .map(|(_, pattern)| self.able(pattern))
                    .unwrap_or_default()
            }
        };
        Box::new(ids.into_iter().filter_map(|id| self.agent(id)))
    }

    fn able(&self, pattern: &CapabilityPattern) -> BTreeSet<AgentId> {
        self.sets(pattern).flatten().copied().collect()
    }

    fn sets<'a>(
        &'a self,
        pattern: &'a CapabilityPattern,
    ) -> impl Iterator<Item = &'a BTreeSet<AgentId>> {
        let from = match pattern {
            CapabilityPattern::Exact(name) => name.as_str(),
            CapabilityPattern::Prefix(prefix) => prefix.as_str(),
        };
        self.capabilities
            .range::<str, _>((Bound::Included(from), Bound::Unbounded))
            .take_while(|(capability, _)| pattern.matches(capability))
            .map(|(_, able)| able)
    }
}

impl Query {
    fn fits(&self, agent: &Agent, text: Option<&str>) -> bool {
        let can = |pattern: &CapabilityPattern| {
            let mut capabilities = agent.profile.capabilities.iter();
            capabilities.any(|capability| pattern.matches(capability))
        };
        let is_able = match self.matching {
            _ if self.capabilities.is_empty() => true,
            Match::All => self.capabilities.iter().all(can),
            Match::Any => self.capabilities.iter().any(can),
        };
        let status = agent.profile.availability.status;
        agent.standing == AgentStanding::Registered
            && is_able
            && self.availability.is_none_or(|least| status <= least)
            && text.is_none_or(|text| {
                agent.name.as_str().to_lowercase().contains(text)
                    || agent.profile.description.to_lowercase().contains(text)
            })
    }
}

type Key<'a> = (Reverse<TrustScore>, Status, &'a str);

fn key<'a>(place: &(TrustScore, &'a Agent)) -> Key<'a> {
    let (score, agent) = place;
    (
        Reverse(*score),
        agent.profile.availability.status,
        agent.name.as_str(),
    )
}

fn borrowed(cursor: &Cursor) -> Key<'_> {
    (cursor.trust, cursor.status, cursor.name.as_str())
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
