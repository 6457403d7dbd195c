//! The bodies of requests about disputes: that a promise was not kept, and who decides.

use serde::{Deserialize, Serialize};

use super::{EvidencePlace, JsonText, PartyRow, default_page};
use crate::asp::chain::Digest;
use crate::asp::dispute::{DisputeState, DisputeType, Mechanism, Verdict};
use crate::asp::registry::AgentRef;
use crate::types::{CommitmentId, DisputeId, Offset, OrgName, PrincipalId, SessionId, Timestamp};

/// Says that a promise was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisputeCreate {
    /// The sender's id for the dispute, a UUID of version 7: sent again, it gets the same answer.
    pub id: DisputeId,
    /// Which promise.
    pub commitment_id: CommitmentId,
    /// Who files it; when left out a coordinator of the session that the key speaks for, else
    /// another participant but who promised.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// What went wrong; as the log shows when left out.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub dispute_type: Option<DisputeType>,
    /// How bad it is, 1 to 5; inferred when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// In words; at most 4,096 bytes.
    pub reason: String,
    /// What shows it, in one's own words; at most 65,536 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<JsonText>,
    /// What shows it in the broker's record; at most 32 places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<EvidencePlace>,
    /// Time for the one who promised to answer, in ms: an hour to 90 days, 72 hours when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer_ms: Option<u64>,
    /// Time for arbitrators to rule, and again for an operator, in ms: an hour to 90 days, 7 days
    /// when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arbitration_ms: Option<u64>,
}

/// Answers a dispute. Only who promised answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisputeAnswer {
    /// Which.
    pub dispute_id: DisputeId,
    /// In words; at most 4,096 bytes.
    pub reason: String,
    /// What shows it, in one's own words; at most 65,536 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<JsonText>,
    /// What shows it in the broker's record; at most 32 places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<EvidencePlace>,
}

/// Takes a dispute back. Only who filed it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisputeWithdraw {
    /// Which.
    pub dispute_id: DisputeId,
}

/// Votes on a dispute as an arbitrator, or rules on it as an operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisputeRule {
    /// Which.
    pub dispute_id: DisputeId,
    /// The arbitrator that votes; an operator rules when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// What is held.
    pub verdict: Verdict,
    /// How bad it is, 1 to 5; as the dispute says when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub severity: Option<u8>,
    /// In words; at most 4,096 bytes, and at least 1 of an operator.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

/// Asks for disputes: those that are not decided, newest first, then those that are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisputeList {
    /// Those about a commitment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment_id: Option<CommitmentId>,
    /// Those that an agent filed, that are against it, or that it arbitrates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
    /// Those in a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Those in one of these states; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<DisputeState>,
    /// Disputes of a page at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for DisputeList {
    /// All of one's own organisation.
    fn default() -> Self {
        Self {
            commitment_id: None,
            agent_id: None,
            session_id: None,
            states: Vec::new(),
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Asks for a dispute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DisputeInfo {
    /// Which.
    pub dispute_id: DisputeId,
    /// The participant or arbitrator on whose behalf it is read; needed in sessions of other
    /// organisations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent_id: Option<AgentRef>,
}

/// One dispute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisputeRow {
    /// Its id.
    pub id: DisputeId,
    /// The commitment that it is about.
    pub commitment_id: CommitmentId,
    /// The session of that.
    pub session_id: SessionId,
    /// The organisation on whose topic it lies: that of the session.
    pub org: OrgName,
    /// Where it stands.
    pub state: DisputeState,
    /// What went wrong.
    #[serde(rename = "type")]
    pub dispute_type: DisputeType,
    /// How bad it is, 1 to 5.
    pub severity: u8,
    /// Who filed it.
    pub filed_by: PartyRow,
    /// Against whom.
    pub filed_against: PartyRow,
    /// In words.
    pub reason: String,
    /// What shows it, in words of the filer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<JsonText>,
    /// What shows it in the broker's record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<EvidencePlace>,
    /// When it was filed.
    pub filed_at: Timestamp,
    /// When the clock does something to it next; none where it has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub due_at: Option<Timestamp>,
    /// What the obligor answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<AnswerRow>,
    /// Who decides it; none before that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mechanism: Option<Mechanism>,
    /// Those who have or had a seat as arbitrators.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arbitrators: Vec<SeatRow>,
    /// What was ruled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ruling: Option<RulingRow>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Hash of the last record of the session when it was filed: what arbitrators are drawn by.
    pub log_hash: Digest,
    /// Digest of the broker's secret that they are drawn by, recorded before it was filed.
    pub seal: Digest,
    /// Offsets of the records about it, in their order.
    pub offsets: Vec<Offset>,
    /// Whose key filed it.
    pub by: PrincipalId,
}

/// What the obligor answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AnswerRow {
    /// When.
    pub at: Timestamp,
    /// In words.
    pub reason: String,
    /// What shows it, in words of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<JsonText>,
    /// What shows it in the broker's record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<EvidencePlace>,
}

/// The seat of an arbitrator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeatRow {
    /// Who.
    #[serde(flatten)]
    pub party: PartyRow,
    /// Since when.
    pub since: Timestamp,
    /// Whether it was silent, and another has its place.
    pub replaced: bool,
    /// What it voted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vote: Option<VoteRow>,
}

/// A vote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VoteRow {
    /// When.
    pub at: Timestamp,
    /// What it holds.
    pub verdict: Verdict,
    /// How bad it is, 1 to 5.
    pub severity: u8,
    /// In words.
    pub reason: String,
}

/// A ruling.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RulingRow {
    /// When.
    pub at: Timestamp,
    /// What was ruled.
    pub verdict: Verdict,
    /// How bad it is, 1 to 5.
    pub severity: u8,
    /// Who ruled.
    pub mechanism: Mechanism,
    /// In words.
    pub reason: String,
}

/// A page of disputes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DisputesPage {
    /// The rows.
    pub disputes: Vec<DisputeRow>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl DisputeCreate {
    /// A dispute with nothing but what each must have.
    #[must_use]
    pub fn new(id: DisputeId, commitment_id: CommitmentId, reason: impl Into<String>) -> Self {
        Self {
            id,
            commitment_id,
            agent_id: None,
            dispute_type: None,
            severity: None,
            reason: reason.into(),
            evidence: None,
            references: Vec::new(),
            answer_ms: None,
            arbitration_ms: None,
        }
    }
}
