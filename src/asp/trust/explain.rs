//! Why an agent has the score that it has.

use serde::Serialize;

use super::endorse::{Endorser, endorsers};
use super::score::{AgentScore, Scope};
use super::settings::{MILLION, MUTUAL, ONE};
use super::state::TrustState;
use crate::asp::Knot;
use crate::types::{AgentId, OrgId};

/// Organisations that are named as one ring at most.
const MAX_RING: usize = 64;

/// Why an agent has the score that it has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The score.
    pub score: AgentScore,
    /// The last piece of evidence; the links of each record lead to the one before it.
    pub last: Option<Knot>,
    /// What each organisation's evidence comes to; the agent's own is not weighed.
    pub pairs: Vec<Pair>,
    /// What stands out.
    pub remarks: Vec<Remark>,
    /// Who endorses the agent, the weightiest first.
    pub endorsements: Vec<Endorser>,
}

/// What one organisation's evidence about an agent comes to for others, in millionths of a piece.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Pair {
    /// The organisation.
    pub org: OrgId,
    /// How far its word counts.
    pub credibility: u32,
    /// Successes, decayed.
    pub good: u64,
    /// What is left of them where the two organisations trade praise.
    pub counted: u64,
    /// Failures, decayed, as far as they are not left out.
    pub bad: u64,
}

/// Something that stands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "remark")]
pub enum Remark {
    /// Organisations that no operator verified vouch for each other, this agent's among them.
    Ring {
        /// The organisations, ascending.
        orgs: Vec<OrgId>,
    },
    /// The opinions of an organisation stand alone and are left out.
    Outlier {
        /// The organisation.
        org: OrgId,
    },
    /// The organisation's disputes were unfounded more often than not.
    UnfoundedDisputes {
        /// The organisation.
        org: OrgId,
        /// What is left of its credibility, in millionths.
        candour: u32,
    },
}

fn millionths(weight: u64) -> u64 {
    weight * MILLION / ONE
}

impl TrustState {
    /// Why an agent has the score that it has; none where there is no evidence about it.
    #[must_use]
    pub fn explain(&self, agent: AgentId, scope: Scope) -> Option<Explanation> {
        let of = self.agents.get(&agent)?;
        let view = self.view();
        let weighed = view.weighed(of);
        let mut remarks = Vec::new();
        let ring = self.ring(of.home);
        if ring.len() > 1 {
            remarks.push(Remark::Ring { orgs: ring });
        }
        let outliers = weighed.iter().filter(|of| of.is_outlier);
        remarks.extend(outliers.map(|of| Remark::Outlier {
            org: self.owners[of.owner as usize].org,
        }));
        let home = &self.owners[of.home as usize];
        let candour = super::credibility::candour(home, view.now.all);
        if 2 * candour <= ONE {
            remarks.push(Remark::UnfoundedDisputes {
                org: home.org,
                candour: u32::try_from(millionths(candour)).unwrap_or(u32::MAX),
            });
        }
        let pairs = weighed.iter().map(|of| Pair {
            org: self.owners[of.owner as usize].org,
            credibility: u32::try_from(millionths(of.credibility)).unwrap_or(u32::MAX),
            good: millionths(of.praised),
            counted: millionths(of.good),
            bad: millionths(of.bad),
        });
        Some(Explanation {
            score: self.score(agent, scope),
            last: of.thread.last(),
            pairs: pairs.collect(),
            remarks,
            endorsements: endorsers(of),
        })
    }

    /// The organisations that are reached from one by mutual successes that are discounted by half
    /// or more, itself included.
    fn ring(&self, home: u32) -> Vec<OrgId> {
        let view = self.view();
        let mut found = vec![home];
        let mut next = 0;
        while let Some(&place) = found.get(next) {
            next += 1;
            let owner = &self.owners[place as usize];
            for (other, weight) in &owner.custom {
                let customer = &self.owners[*other as usize];
                let forward = weight.at(view.now.all);
                let backward = customer.custom_of(place, view.now.all);
                let is_mutual = 2 * forward.min(backward) >= MUTUAL;
                let is_new = found.len() < MAX_RING && !found.contains(other);
                if is_mutual && is_new && !customer.is_verified && !owner.is_verified {
                    found.push(*other);
                }
            }
        }
        let mut orgs: Vec<OrgId> = (found.iter())
            .map(|place| self.owners[*place as usize].org)
            .collect();
        orgs.sort_unstable();
        orgs
    }
}
