//! The score of an agent.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::agent::{AgentTrust, Now, Weights};
use super::components::{Components, Level};
use super::credibility::unreciprocated;
use super::filter::{Opinion, outliers};
use super::owner::Owner;
use super::settings::{
    INHERITED, MILLION, MUTUAL, ONE, QUANTILE_SQUARED, RECENT_CREDIT, SATURATION, SETTLED,
};
use super::wilson::lower_bound;
use crate::types::Timestamp;

/// For whom a score is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// For the agent's own organisation: its own evidence counts in full, and that of others as in
    /// the other scope. To cheat it is to cheat oneself.
    Internal,
    /// For all others: what the own organisation says counts nothing.
    External,
}

/// What one scope comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ScopeScore {
    /// How much of what it is asked for the agent does, shown by the evidence, in millionths: the
    /// lower bound of [`mean`](Self::mean).
    pub score: u32,
    /// How much of it the agent does most likely, in millionths; none without evidence.
    pub mean: Option<u32>,
    /// How much evidence that rests on, in millionths: half at ten pieces of full weight.
    pub confidence: u32,
}

/// All that is told of an agent's trust. Shares are in millionths.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentScore {
    /// For whom [`score`](Self::score) is.
    pub scope: Scope,
    /// The score of that scope.
    pub score: u32,
    /// The level that it reaches.
    pub level: Level,
    /// For the agent's own organisation.
    pub internal: ScopeScore,
    /// For all others.
    pub external: ScopeScore,
    /// Tasks answered and commitments fulfilled, of all; none where there was none.
    pub completion_rate: Option<u32>,
    /// Mean time to the first answer in ms; none where nothing was answered.
    pub average_response_ms: Option<u64>,
    /// Disputes upheld for each commitment, 1 at most; none where there was no commitment.
    pub dispute_rate: Option<u32>,
    /// The eight components, 0 to 100, in that scope.
    pub components: Components,
    /// Their weighted sum, in hundredths, 0 to 10,000.
    pub composite: u32,
    /// Pieces of evidence.
    pub evidence_count: u64,
    /// Organisations that the agent worked for, its own included.
    pub distinct_counterparties: u32,
    /// Time of the last clock record.
    pub as_of: Timestamp,
}

impl AgentScore {
    /// Of an agent of which there is no evidence.
    pub(super) fn none(scope: Scope, as_of: Timestamp) -> Self {
        Self {
            scope,
            score: 0,
            level: Level::L0,
            internal: ScopeScore::default(),
            external: ScopeScore::default(),
            completion_rate: None,
            average_response_ms: None,
            dispute_rate: None,
            components: Components::default(),
            composite: 0,
            evidence_count: 0,
            distinct_counterparties: 0,
            as_of,
        }
    }
}

/// What weights come to in one scope.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sums {
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) fulfilled: u64,
    pub(super) breached: u64,
    pub(super) praise: u64,
    pub(super) blame: u64,
    /// Organisations whose word counts and of whose evidence something is left, and those of them
    /// that no failure is known to.
    pub(super) customers: u64,
    pub(super) content: u64,
}

impl Sums {
    /// Counts an organisation, unless nothing is left of all that it said: one of whom just a
    /// failure was known, long ago, must not become one that was served well.
    fn count_customer(&mut self, good: u64, bad: u64) {
        self.customers += u64::from(good + bad > 0);
        self.content += u64::from(good > 0 && bad == 0);
    }
}

/// What an organisation's evidence comes to in the external scope.
#[derive(Clone, Copy, Debug)]
pub(super) struct Weighed {
    pub(super) owner: u32,
    pub(super) now: Weights,
    /// In favour, before and after what is discounted for trading praise.
    pub(super) praised: u64,
    pub(super) good: u64,
    pub(super) bad: u64,
    pub(super) credibility: u64,
    pub(super) is_outlier: bool,
}

impl Weighed {
    /// Success and failure, as they count.
    fn effect(&self) -> (u64, u64) {
        if self.credibility == 0 {
            return (0, 0);
        }
        let most = SATURATION * self.credibility / ONE;
        let part = |weight| most * weight / (most + self.good + self.bad) * self.credibility / ONE;
        (part(self.good), part(self.bad))
    }
}

/// What a score is computed from.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub(super) owners: &'a [Arc<Owner>],
    pub(super) now: Now,
}

impl View<'_> {
    /// The evidence of all other organisations, in the order of the pairs.
    pub(super) fn weighed(&self, agent: &AgentTrust) -> Vec<Weighed> {
        let home = &self.owners[agent.home as usize];
        let mut all: Vec<Weighed> = (agent.pairs.iter())
            .filter(|(owner, _)| *owner != agent.home)
            .map(|&(place, weights)| {
                let (owner, now) = (&self.owners[place as usize], weights.at(self.now.all));
                let praised = u64::from(now.good) + u64::from(now.praise) + now.plain_tasks() / 4;
                let good = if owner.is_verified {
                    praised
                } else {
                    let forward = home.custom_of(place, self.now.all);
                    let backward = owner.custom_of(agent.home, self.now.all);
                    praised * unreciprocated(forward, backward) / MUTUAL
                };
                Weighed {
                    owner: place,
                    now,
                    praised,
                    good,
                    bad: u64::from(now.bad) + u64::from(now.missed) / 2,
                    credibility: owner.credibility,
                    is_outlier: false,
                }
            })
            .collect();
        let opinions = all.iter().enumerate().map(|(index, of)| Opinion {
            index,
            org: self.owners[of.owner as usize].org.0,
            credibility: of.credibility,
            // Without regard to what was breached, so that no breach has a say in what is left out.
            good: u64::from(of.now.good)
                + u64::from(of.now.praise)
                + u64::from(of.now.answered) / 4,
            blame: of.now.blame.into(),
        });
        let outliers = outliers(opinions.collect());
        for index in outliers {
            all[index].is_outlier = true;
        }
        for of in &mut all {
            if !of.is_outlier {
                of.bad += u64::from(of.now.blame);
            }
        }
        all
    }

    /// The sums of the external and of the internal scope.
    pub(super) fn sums(&self, agent: &AgentTrust) -> [Sums; 2] {
        let mut sums = Sums::default();
        for of in self.weighed(agent) {
            let (good, bad) = of.effect();
            let part = |weight: u32| u64::from(weight) * of.credibility / ONE;
            sums.good += good;
            sums.bad += bad;
            sums.fulfilled += part(of.now.good);
            sums.breached += part(of.now.bad);
            sums.praise += part(of.now.praise);
            if !of.is_outlier {
                sums.blame += part(of.now.blame);
            }
            if of.credibility > 0 {
                sums.count_customer(of.praised, of.bad);
            }
        }
        let external = sums;
        if let Ok(at) = agent
            .pairs
            .binary_search_by_key(&agent.home, |(owner, _)| *owner)
        {
            let now = agent.pairs[at].1.at(self.now.all);
            let bad = u64::from(now.bad) + u64::from(now.blame) + u64::from(now.missed);
            let good = u64::from(now.good) + u64::from(now.praise) + now.plain_tasks();
            sums.good += good;
            sums.bad += bad;
            sums.fulfilled += u64::from(now.good);
            sums.breached += u64::from(now.bad);
            sums.praise += u64::from(now.praise);
            sums.blame += u64::from(now.blame);
            sums.count_customer(good, bad);
        }
        [external, sums]
    }

    /// What a newcomer bears for the other agents of its organisation; less with each success.
    pub(super) fn inherited(&self, agent: &AgentTrust, good: u64) -> u64 {
        let home = &self.owners[agent.home as usize];
        let bad = home.bad.at(self.now.all);
        let all = home.good.at(self.now.all) + bad + ONE;
        INHERITED * bad / all * SETTLED.saturating_sub(good) / SETTLED
    }

    fn scope_score(sums: &Sums, inherited: u64, recent: [u32; 2]) -> ScopeScore {
        let (good, bad) = (sums.good, sums.bad);
        let weight = good + bad;
        let share = |of: u64, all: u64| u32::try_from(MILLION * of / all).unwrap_or(1_000_000);
        let [recent_good, recent_bad] = recent.map(u64::from);
        let recent_good = recent_good + RECENT_CREDIT;
        let bound = lower_bound(good, bad + inherited, QUANTILE_SQUARED);
        ScopeScore {
            score: bound.min(share(recent_good, recent_good + recent_bad)),
            mean: (weight > 0).then(|| share(good + ONE / 2, weight + ONE)),
            confidence: share(weight, weight + 10 * ONE),
        }
    }

    fn of_sums(&self, agent: &AgentTrust, [external, internal]: &[Sums; 2]) -> [ScopeScore; 2] {
        let now = agent.recent.at(self.now.recent);
        let all = [
            now.good.saturating_add(now.home_good),
            now.bad.saturating_add(now.home_bad),
        ];
        let inherited = self.inherited(agent, external.good);
        [
            Self::scope_score(external, inherited, [now.good, now.bad]),
            Self::scope_score(internal, 0, all),
        ]
    }

    /// The two scores alone: external, internal.
    pub(super) fn scores(&self, agent: &AgentTrust) -> [ScopeScore; 2] {
        self.of_sums(agent, &self.sums(agent))
    }

    /// All of it.
    pub(super) fn score(&self, agent: &AgentTrust, scope: Scope, as_of: Timestamp) -> AgentScore {
        let both = self.sums(agent);
        let [external, internal] = self.of_sums(agent, &both);
        let [outside, inside] = both;
        let (sums, score) = match scope {
            Scope::Internal => (inside, internal.score),
            Scope::External => (outside, external.score),
        };
        let totals = &agent.totals;
        let home = &self.owners[agent.home as usize];
        let components = Components::new(home, &sums, agent);
        let rate = |of: u64, all: u64| {
            (all > 0).then(|| u32::try_from(MILLION * of.min(all) / all).unwrap_or(u32::MAX))
        };
        AgentScore {
            scope,
            score,
            level: Level::of(score),
            internal,
            external,
            completion_rate: rate(
                totals.answered + totals.fulfilled,
                totals.tasks + totals.commitments,
            ),
            average_response_ms: totals.response_ms.checked_div(totals.answered),
            dispute_rate: rate(totals.upheld, totals.commitments),
            composite: components.composite(),
            components,
            evidence_count: totals.evidence,
            distinct_counterparties: u32::try_from(agent.pairs.len()).unwrap_or(u32::MAX),
            as_of,
        }
    }
}
