//! The bodies of requests about trust: how far agents are trusted, why, and what they are rated.

use serde::{Deserialize, Serialize};

use super::{JsonText, PartyRow, default_page};
use crate::asp::registry::AgentRef;
use crate::asp::trust::{Components, Level, Scope};
use crate::types::{AgentId, AgentName, Offset, OrgName, PrincipalId, SessionId, Timestamp};

/// A number in whole millionths, so that it is the same on every machine; in JSON the number
/// itself: 0.92 is 920,000 millionths.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "f64", into = "f64")]
pub struct Millionths(pub u64);

/// A number that is none in whole millionths.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is outside 0..=9007199254")]
pub struct InvalidMillionths(pub f64);

/// The largest number that has exact millionths.
const MOST: f64 = 9_007_199_254.0;

impl TryFrom<f64> for Millionths {
    type Error = InvalidMillionths;

    /// # Errors
    /// [`InvalidMillionths`] below 0 and where millionths are not exact any more.
    fn try_from(number: f64) -> Result<Self, InvalidMillionths> {
        if !(0.0..=MOST).contains(&number) {
            return Err(InvalidMillionths(number));
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 2^53"
        )]
        Ok(Self((number * 1e6).round() as u64))
    }
}

impl From<Millionths> for f64 {
    fn from(millionths: Millionths) -> Self {
        #[expect(
            clippy::cast_precision_loss,
            reason = "what is above 2^53 is not exact"
        )]
        let number = millionths.0 as Self;
        number / 1e6
    }
}

impl From<u32> for Millionths {
    fn from(millionths: u32) -> Self {
        Self(millionths.into())
    }
}

/// Asks how far an agent is trusted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustAsk {
    /// Which.
    pub agent_id: AgentRef,
}

/// Asks why an agent is trusted so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustExplain {
    /// Which.
    pub agent_id: AgentRef,
    /// Pieces of evidence at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl TrustExplain {
    /// Why that agent has its score, with the first page of the evidence.
    #[must_use]
    pub fn new(agent_id: impl Into<AgentRef>) -> Self {
        Self {
            agent_id: agent_id.into(),
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Rates an agent for what it did in a session.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustRate {
    /// Where they worked together.
    pub session_id: SessionId,
    /// Who is rated.
    pub agent_id: AgentRef,
    /// Who rates.
    pub from: AgentRef,
    /// 0 to 1, in steps of a thousandth.
    pub rating: f64,
}

/// Endorses an agent, or takes that back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TrustEndorse {
    /// Who is endorsed.
    pub agent_id: AgentRef,
    /// Who endorses.
    pub from: AgentRef,
    /// Whether it is taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub withdrawn: bool,
}

/// Says that an operator knows who an organisation is, or takes that back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OrgVerify {
    /// Which.
    pub org: OrgName,
    /// Whether it is known.
    pub verified: bool,
}

/// How far an agent is trusted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustRow {
    /// The agent.
    pub agent_id: AgentId,
    /// Its name.
    pub name: AgentName,
    /// The organisation that it belongs to.
    pub org: OrgName,
    /// How scores are computed: `trust/1`.
    pub projection: String,
    /// The lower bound of how much of what it is asked for the agent does, 0 to 1: in the scope
    /// for whoever asks.
    pub score: Millionths,
    /// Which scope that is.
    pub scope: Scope,
    /// The level that the score reaches.
    pub level: Level,
    /// How much of it the agent does most likely, 0 to 1; `null` without evidence.
    pub mean: Option<Millionths>,
    /// How much evidence that rests on, 0 to 1.
    pub confidence: Millionths,
    /// For the agent's own organisation.
    pub internal: ScopeRow,
    /// For all others.
    pub external: ScopeRow,
    /// Tasks answered and commitments fulfilled, of all; `null` where there was none.
    pub completion_rate: Option<Millionths>,
    /// Mean time to the first answer, in milliseconds; `null` where nothing was answered.
    pub average_response_time: Option<u64>,
    /// Disputes upheld for each commitment, 1 at most; `null` where there was no commitment.
    pub dispute_rate: Option<Millionths>,
    /// Eight views of the same evidence, each 0 to 100.
    pub components: Components,
    /// Their weighted sum, 0 to 100.
    pub composite: Millionths,
    /// Pieces of evidence.
    pub evidence_count: u64,
    /// Organisations that the agent worked for, its own included.
    pub distinct_counterparties: u32,
    /// Time of the last clock record.
    pub as_of: Timestamp,
}

/// What one scope comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScopeRow {
    /// The lower bound of `mean`, 0 to 1.
    pub score: Millionths,
    /// What is most likely, 0 to 1; `null` without evidence.
    pub mean: Option<Millionths>,
    /// How much evidence that rests on, 0 to 1.
    pub confidence: Millionths,
}

/// Why an agent is trusted so far.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrustExplained {
    /// How far.
    pub trust: TrustRow,
    /// What each organisation's evidence comes to for others; the agent's own is not weighed.
    pub pairs: Vec<PairRow>,
    /// What stands out.
    pub remarks: Vec<RemarkRow>,
    /// Who endorses the agent, the weightiest first; they make no score.
    #[serde(default)]
    pub endorsements: Vec<EndorserRow>,
    /// The evidence, the newest first.
    pub evidence: Vec<EvidenceRow>,
    /// Where the next page of the evidence begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What one organisation's evidence comes to, in pieces of full weight.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PairRow {
    /// The organisation.
    pub org: OrgName,
    /// How far its word counts, 0 to 1.
    pub credibility: Millionths,
    /// Successes, decayed.
    pub good: Millionths,
    /// What is left of them where the two organisations trade praise.
    pub counted: Millionths,
    /// Failures, decayed, as far as they are not left out.
    pub bad: Millionths,
}

/// Something that stands out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(
    rename_all = "camelCase",
    rename_all_fields = "camelCase",
    tag = "remark"
)]
pub enum RemarkRow {
    /// Organisations that no operator verified vouch for each other, this agent's among them.
    Ring {
        /// The organisations.
        orgs: Vec<OrgName>,
    },
    /// The opinions of an organisation stand alone and are left out.
    Outlier {
        /// The organisation.
        org: OrgName,
    },
    /// The organisation's disputes were unfounded more often than not.
    UnfoundedDisputes {
        /// The organisation.
        org: OrgName,
        /// What is left of its credibility, 0 to 1.
        candour: Millionths,
    },
}

/// A piece of evidence.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EvidenceRow {
    /// Where on the topic `__asp.evidence` it lies.
    pub offset: Offset,
    /// The record, byte by byte.
    pub record: JsonText,
}

/// Who endorses an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndorserRow {
    /// The agent.
    pub agent_id: AgentId,
    /// Its organisation.
    pub org: OrgName,
    /// Its score for other organisations when it endorsed, 0 to 1.
    pub score: Millionths,
    /// What of that counts: a quarter of an organisation's further ones, and of the agent's own.
    pub counted: Millionths,
}

/// An endorsement, or that it was taken back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndorsementRow {
    /// Who is endorsed.
    pub agent: PartyRow,
    /// Who endorses.
    pub from: PartyRow,
    /// Whether it is taken back.
    pub withdrawn: bool,
    /// The endorser's score for other organisations, 0 to 1, which the endorsement keeps; none
    /// where it was taken back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Millionths>,
    /// When.
    pub at: Timestamp,
    /// Where on the topic `__asp.evidence` it lies.
    pub offset: Offset,
}

/// A rating.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RatingRow {
    /// Where they worked together.
    pub session_id: SessionId,
    /// Who is rated.
    pub agent: PartyRow,
    /// Who rated.
    pub from: PartyRow,
    /// 0 to 1.
    pub rating: Millionths,
    /// When.
    pub at: Timestamp,
    /// Where on the topic `__asp.evidence` it lies.
    pub offset: Offset,
}

/// Whether an operator knows who an organisation is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VerifiedOrg {
    /// The organisation.
    pub org: OrgName,
    /// Whether it is known.
    pub verified: bool,
    /// Since when.
    pub at: Timestamp,
    /// Where on the topic `__asp.evidence` that lies.
    pub offset: Offset,
    /// Who said so.
    pub by: PrincipalId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn millionths_come_back_as_they_were() {
        for number in [
            0,
            1,
            333_333,
            920_000,
            999_999,
            1_000_000,
            82_750_000,
            9_007_199_254_000_000,
        ] {
            let json = serde_json::to_string(&Millionths(number)).unwrap();
            let read: Millionths = serde_json::from_str(&json).unwrap();
            assert_eq!(read, Millionths(number), "{json}");
        }
        assert_eq!(serde_json::to_string(&Millionths(920_000)).unwrap(), "0.92");
        for bad in ["-0.1", "1e10", "\"1\""] {
            assert!(serde_json::from_str::<Millionths>(bad).is_err(), "{bad}");
        }
    }
}
