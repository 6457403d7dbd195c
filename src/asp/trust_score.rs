//! How far an agent is trusted, as far as this room needs to know: a number behind a port.

use serde::{Deserialize, Serialize};

use crate::types::AgentId;

/// A trust score in thousandths, 0 to 1,000; in JSON a number from 0 to 1. Whole thousandths, so
/// that two scores compare and sort alike on every machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct TrustScore(u16);

/// A number that is no trust score.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("trust score {0} is outside 0..=1")]
pub struct InvalidTrustScore(pub f64);

impl TrustScore {
    /// What an agent has of which nothing was seen.
    pub const NONE: Self = Self(0);
    /// What everybody has where nobody counts what agents do.
    pub const NEUTRAL: Self = Self(500);

    /// The score of so many millionths, rounded down; 1 for more than a million.
    #[must_use]
    pub(super) fn from_millionths(millionths: u32) -> Self {
        Self(u16::try_from(millionths / 1_000).map_or(1_000, |score| score.min(1_000)))
    }

    /// The score in thousandths, 0 to 1,000.
    #[must_use]
    pub fn thousandths(self) -> u16 {
        self.0
    }
}

impl TryFrom<f64> for TrustScore {
    type Error = InvalidTrustScore;

    /// # Errors
    /// [`InvalidTrustScore`] outside of 0 to 1, and for what is not a number.
    fn try_from(score: f64) -> Result<Self, InvalidTrustScore> {
        if !(0.0..=1.0).contains(&score) {
            return Err(InvalidTrustScore(score));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 1,000"
        )]
        Ok(Self((score * 1000.0).round() as u16))
    }
}

impl From<TrustScore> for f64 {
    fn from(score: TrustScore) -> Self {
        Self::from(score.0) / 1000.0
    }
}

/// Where scores come from.
pub trait Trust {
    /// The agent's score now.
    fn score(&self, agent: AgentId) -> TrustScore;

    /// The score of everybody, where all have the same: then nobody has to be asked for each.
    fn uniform(&self) -> Option<TrustScore> {
        None
    }
}

/// The same score for everybody, as long as nothing counts what agents do.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeutralTrust;

impl Trust for NeutralTrust {
    fn score(&self, _: AgentId) -> TrustScore {
        TrustScore::NEUTRAL
    }

    fn uniform(&self) -> Option<TrustScore> {
        Some(TrustScore::NEUTRAL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_a_number_from_0_to_1_in_thousandths() {
        for (text, thousandths) in [("0.0", 0), ("0.85", 850), ("1.0", 1000), ("0.9204", 920)] {
            let score: TrustScore = serde_json::from_str(text).unwrap();
            assert_eq!(score.thousandths(), thousandths);
            let again = serde_json::to_string(&score).unwrap();
            assert_eq!(serde_json::from_str::<TrustScore>(&again).unwrap(), score);
        }
        for wrong in [-0.001, 1.001, f64::NAN, f64::INFINITY] {
            assert!(TrustScore::try_from(wrong).is_err(), "{wrong}");
        }
    }
}
