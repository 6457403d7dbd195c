//! Endorsements: one agent vouches for another. They make no score, and are told beside it.

use serde::Serialize;

use super::agent::{AgentTrust, Endorsement};
use super::record::{Endorsed, Party};
use super::settings::{ENDORSER_FLOOR, MAX_ENDORSEMENTS};
use super::state::TrustState;
use crate::types::{AgentId, Offset, OrgId};

/// Why an endorsement is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EndorseError {
    /// An agent endorses itself.
    #[error("agent {0} endorses itself")]
    Own(AgentId),
    /// The endorser is not trusted enough itself. Scores are in millionths.
    #[error(
        "agent {endorser} has a score of {score} millionths for others, and endorsing takes {least}"
    )]
    Score {
        /// Who endorses.
        endorser: AgentId,
        /// Its score for other organisations.
        score: u32,
        /// What it would have to be.
        least: u32,
    },
    /// The agent has as many endorsements as count.
    #[error("agent {agent} would have {found} endorsements, and {limit} count")]
    TooMany {
        /// Who is endorsed.
        agent: AgentId,
        /// How many there would be.
        found: usize,
        /// How many count.
        limit: usize,
    },
    /// What is taken back was not given, or was taken back before.
    #[error("agent {endorser} does not endorse agent {agent}")]
    NotGiven {
        /// Who is endorsed.
        agent: AgentId,
        /// Who endorses.
        endorser: AgentId,
    },
}

/// An endorsement that counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endorser {
    /// Who endorses.
    pub agent: AgentId,
    /// Of which organisation.
    pub org: OrgId,
    /// Its score for other organisations when it did so, in millionths.
    pub score: u32,
    /// What of that counts, in millionths.
    pub counted: u32,
}

/// The endorsements of an agent with what each counts, the weightiest endorser first: the best of
/// an organisation counts its endorser's score; its further ones, and all of the agent's own
/// organisation, a quarter of that.
pub(super) fn endorsers(agent: &AgentTrust) -> Vec<Endorser> {
    let mut best = agent.endorsements.clone();
    best.sort_by_key(|endorsement| std::cmp::Reverse(endorsement.score));
    let mut seen = vec![agent.own_org];
    let weighed = best.iter().map(|endorsement| {
        let is_known = seen.contains(&endorsement.org);
        if !is_known {
            seen.push(endorsement.org);
        }
        Endorser {
            agent: endorsement.endorser,
            org: endorsement.org,
            score: endorsement.score,
            counted: match is_known {
                true => endorsement.score / 4,
                false => endorsement.score,
            },
        }
    });
    weighed.collect()
}

impl TrustState {
    /// Whether an agent may endorse another now, or take that back. The same endorser again takes
    /// the place of what it said before.
    ///
    /// # Errors
    /// [`EndorseError`].
    pub fn check_endorse(
        &self,
        agent: AgentId,
        endorser: AgentId,
        withdrawn: bool,
    ) -> Result<(), EndorseError> {
        if agent == endorser {
            return Err(EndorseError::Own(agent));
        }
        let is_held = self.endorsement(agent, endorser).is_some();
        if withdrawn {
            let not_given = EndorseError::NotGiven { agent, endorser };
            return is_held.then_some(()).ok_or(not_given);
        }
        let score = self.endorser_score(endorser);
        if score < ENDORSER_FLOOR {
            return Err(EndorseError::Score {
                endorser,
                score,
                least: ENDORSER_FLOOR,
            });
        }
        let held = self
            .agents
            .get(&agent)
            .map_or(0, |of| of.endorsements.len());
        if !is_held && held >= MAX_ENDORSEMENTS {
            return Err(EndorseError::TooMany {
                agent,
                found: held + 1,
                limit: MAX_ENDORSEMENTS,
            });
        }
        Ok(())
    }

    /// The endorser's score when it endorsed an agent, in millionths; none where it does not.
    #[must_use]
    pub fn endorsement(&self, agent: AgentId, endorser: AgentId) -> Option<u32> {
        let held = self.agents.get(&agent)?.endorsements.iter();
        let mut of = held.filter(|held| held.endorser == endorser);
        of.next().map(|held| held.score)
    }

    /// The organisation of an agent of which there is evidence.
    #[must_use]
    pub fn org_of(&self, agent: AgentId) -> Option<OrgId> {
        self.agents.get(&agent).map(|agent| agent.own_org)
    }

    /// What an endorser's word weighs: its score for other organisations.
    fn endorser_score(&self, endorser: AgentId) -> u32 {
        let endorser = self.agents.get(&endorser);
        endorser.map_or(0, |endorser| self.view().scores(endorser)[0].score)
    }

    pub(super) fn endorse(&mut self, of: &Endorsed, offset: Offset) -> Result<(), &'static str> {
        self.check(&of.agent, &of.links)?;
        if of.agent.agent == of.by.agent {
            return Err("an agent endorses itself");
        }
        let Party { agent, org, .. } = of.by;
        let score = self.endorser_score(agent);
        let endorsement = (!of.withdrawn && score >= ENDORSER_FLOOR).then_some(Endorsement {
            endorser: agent,
            org,
            score,
        });
        self.agent(&of.agent, offset).endorse(agent, endorsement);
        Ok(())
    }
}
