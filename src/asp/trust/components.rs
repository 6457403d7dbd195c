//! The eight components of the specification and their weighted sum, and the levels.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::agent::AgentTrust;
use super::endorse::endorsers;
use super::owner::Owner;
use super::score::Sums;
use super::settings::{MILLION, ONE};

/// What a score allows, by its thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Level {
    /// Below 0.3: nothing is known yet, or nothing good.
    L0,
    /// From 0.3: verified.
    L1,
    /// From 0.5: established.
    L2,
    /// From 0.7: trusted.
    L3,
    /// From 0.9: premium.
    L4,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Self; 5] = [Self::L0, Self::L1, Self::L2, Self::L3, Self::L4];

    /// The level of a score in millionths.
    #[must_use]
    pub fn of(score: u32) -> Self {
        let mut levels = Self::ALL.into_iter().rev();
        levels
            .find(|level| score >= level.least())
            .unwrap_or(Self::L0)
    }

    /// The least score that has it, in millionths.
    #[must_use]
    pub fn least(self) -> u32 {
        match self {
            Self::L0 => 0,
            Self::L1 => 300_000,
            Self::L2 => 500_000,
            Self::L3 => 700_000,
            Self::L4 => 900_000,
        }
    }

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L0 => "L0",
            Self::L1 => "L1",
            Self::L2 => "L2",
            Self::L3 => "L3",
            Self::L4 => "L4",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Eight views of the same evidence, each 0 to 100. None is raised by a breach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Components {
    /// 100 where an operator verified the organisation, else half of its credibility.
    pub identity_verification: u32,
    /// Successes: half at 20.
    pub communication_history: u32,
    /// Weight of commitments fulfilled, of all that ended.
    pub commitment_fulfillment: u32,
    /// Share of the organisations worked for, of whose evidence something is left, that no failure
    /// is known to.
    pub behavioral_consistency: u32,
    /// Ratings.
    pub response_quality: u32,
    /// Share of commitments fulfilled and tasks answered with a signature, of all that ended.
    pub security_posture: u32,
    /// Share of commitments with something in escrow that were fulfilled.
    pub economic_reliability: u32,
    /// Endorsements by their endorsers' scores: half at five.
    pub peer_endorsements: u32,
}

/// Part of a whole, 0 to 100; 0 where there is none.
fn percent(of: u64, all: u64) -> u32 {
    u32::try_from((100 * of).checked_div(all).unwrap_or(0)).unwrap_or(100)
}

impl Components {
    pub(super) fn new(home: &Owner, sums: &Sums, agent: &AgentTrust) -> Self {
        let totals = &agent.totals;
        Self {
            identity_verification: if home.is_verified {
                100
            } else {
                percent(home.credibility, 2 * ONE)
            },
            communication_history: percent(sums.good, sums.good + 20 * ONE),
            commitment_fulfillment: percent(sums.fulfilled, sums.fulfilled + sums.breached),
            behavioral_consistency: percent(sums.content, sums.customers),
            response_quality: percent(sums.praise, sums.praise + sums.blame),
            security_posture: percent(totals.signed, totals.tasks + totals.commitments),
            economic_reliability: percent(totals.escrow_kept, totals.escrow),
            peer_endorsements: Self::endorsed(agent),
        }
    }

    fn endorsed(agent: &AgentTrust) -> u32 {
        let counted = endorsers(agent).into_iter();
        let weight: u64 = counted.map(|endorser| u64::from(endorser.counted)).sum();
        percent(weight, weight + 5 * MILLION)
    }

    /// The weighted sum in hundredths, 0 to 10,000.
    #[must_use]
    pub fn composite(&self) -> u32 {
        20 * (self.identity_verification + self.commitment_fulfillment)
            + 15 * self.communication_history
            + 10 * (self.behavioral_consistency + self.response_quality)
            + 10 * (self.security_posture + self.economic_reliability)
            + 5 * self.peer_endorsements
    }
}
