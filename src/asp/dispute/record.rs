//! What is recorded of disputes on the topic `__asp.commitments`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::arbitration::Secret;
use super::ruling::{DisputeType, Mechanism, Verdict};
use super::table::DisputeStep;
use crate::asp::chain::Digest;
use crate::asp::commitment::{Evidence, Party, Reader, Voice, envelope};
use crate::folding::EventError;
use crate::types::{AgentId, CommitmentId, DisputeId, PrincipalId, Timestamp};

/// One record about disputes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DisputeRecord {
    /// The broker has a new secret, and this is its digest: `arbitration.sealed`.
    Sealed(Sealed),
    /// A dispute begins: `dispute.filed`.
    Filed(Arc<Filed>),
    /// The obligor answers: `dispute.answered`.
    Answered(Arc<Answered>),
    /// It goes to arbitrators, or to an operator: `dispute.reviewed`.
    Reviewed(Arc<Reviewed>),
    /// An arbitrator votes: `dispute.voted`.
    Voted(Arc<Voted>),
    /// It is ruled: `dispute.ruled`.
    Ruled(Arc<RuledOn>),
    /// Any other step: `dispute.withdrawn`, `.arbitratorReplaced`, `.escalated`, `.expired`.
    Stepped {
        /// Which.
        step: DisputeStep,
        /// What is said of it.
        stepped: DisputeStepped,
    },
}

/// See [`DisputeRecord::Sealed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sealed {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Digest of the secret.
    pub seal: Digest,
}

/// See [`DisputeRecord::Filed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Filed {
    /// Against whom it is: the obligor.
    pub against: Party,
    /// Time to answer, in ms.
    pub answer_ms: u64,
    /// Time for a ruling by arbitrators, and again for one by an operator, in ms.
    pub arbitration_ms: u64,
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Time for an arbitrator to vote, in ms.
    pub ballot_ms: u64,
    /// Who said so.
    pub by: PrincipalId,
    /// The commitment.
    pub commitment: CommitmentId,
    /// The dispute.
    pub dispute: DisputeId,
    /// What went wrong.
    pub dispute_type: DisputeType,
    /// What shows it.
    pub evidence: Evidence,
    /// The agent that files it.
    pub filer: Party,
    /// Hash of the last record of the commitment's session.
    pub log_hash: Digest,
    /// Digest of the secret for the next dispute.
    pub next_seal: Digest,
    /// In words.
    pub reason: String,
    /// As whom it is filed.
    pub role: Voice,
    /// Digest of the secret for this dispute, which a record before this one sealed.
    pub seal: Digest,
    /// Number of that secret among those of the topic, 0 for the first: by it the broker finds the
    /// secret again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal_number: Option<u64>,
    /// How bad it is, 1 to 5.
    pub severity: u8,
}

/// See [`DisputeRecord::Answered`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// The commitment.
    pub commitment: CommitmentId,
    /// The dispute.
    pub dispute: DisputeId,
    /// What shows it.
    pub evidence: Evidence,
    /// In words.
    pub reason: String,
}

/// See [`DisputeRecord::Reviewed`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reviewed {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Those among whom was drawn, or would have been if there were enough, by id.
    pub candidates: Vec<Party>,
    /// The commitment.
    pub commitment: CommitmentId,
    /// The dispute.
    pub dispute: DisputeId,
    /// The order drawn: the first three have the seats. Empty where an operator decides.
    pub order: Vec<Party>,
}

/// See [`DisputeRecord::Voted`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voted {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so.
    pub by: PrincipalId,
    /// The commitment.
    pub commitment: CommitmentId,
    /// The dispute.
    pub dispute: DisputeId,
    /// What it holds.
    #[serde(rename = "finding")]
    pub verdict: Verdict,
    /// The arbitrator.
    pub party: Party,
    /// In words.
    pub reason: String,
    /// How bad it is, 1 to 5.
    pub severity: u8,
}

/// See [`DisputeRecord::Ruled`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuledOn {
    /// When; never before the record before it.
    pub at: Timestamp,
    /// The operator; none where the log or votes ruled.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
    /// The commitment.
    pub commitment: CommitmentId,
    /// The dispute.
    pub dispute: DisputeId,
    /// What was ruled.
    #[serde(rename = "finding")]
    pub verdict: Verdict,
    /// Who ruled.
    pub mechanism: Mechanism,
    /// In words.
    pub reason: String,
    /// The secret, where arbitrators were drawn, so that everybody can draw them again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// How bad it is, 1 to 5.
    pub severity: u8,
}

/// See [`DisputeRecord::Stepped`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DisputeStepped {
    /// The arbitrator that is replaced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentId>,
    /// When; never before the record before it.
    pub at: Timestamp,
    /// Who said so; none where the clock did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
    /// The commitment.
    pub commitment: CommitmentId,
    /// The dispute.
    pub dispute: DisputeId,
}

/// The types of records of a step, `None` for those that have a record of their own.
fn step_type(step: DisputeStep) -> Option<&'static str> {
    Some(match step {
        DisputeStep::Withdraw => "dispute.withdrawn",
        DisputeStep::Replace => "dispute.arbitratorReplaced",
        DisputeStep::Escalate => "dispute.escalated",
        DisputeStep::Expire => "dispute.expired",
        DisputeStep::Answer | DisputeStep::Review | DisputeStep::Vote | DisputeStep::Rule => {
            return None;
        }
    })
}

impl DisputeRecord {
    /// Type of the record.
    ///
    /// # Panics
    /// Where a step is given that has a record of its own.
    #[must_use]
    pub fn record_type(&self) -> &'static str {
        match self {
            Self::Sealed(_) => "arbitration.sealed",
            Self::Filed(_) => "dispute.filed",
            Self::Answered(_) => "dispute.answered",
            Self::Reviewed(_) => "dispute.reviewed",
            Self::Voted(_) => "dispute.voted",
            Self::Ruled(_) => "dispute.ruled",
            Self::Stepped { step, .. } => step_type(*step).expect("no step with its own record"),
        }
    }

    /// The dispute that it is about; none for a seal.
    #[must_use]
    pub fn dispute(&self) -> Option<DisputeId> {
        self.ids().map(|(dispute, _)| dispute)
    }

    /// The commitment that its dispute is about; none for a seal.
    #[must_use]
    pub fn commitment(&self) -> Option<CommitmentId> {
        self.ids().map(|(_, commitment)| commitment)
    }

    fn ids(&self) -> Option<(DisputeId, CommitmentId)> {
        Some(match self {
            Self::Sealed(_) => return None,
            Self::Filed(filed) => (filed.dispute, filed.commitment),
            Self::Answered(answered) => (answered.dispute, answered.commitment),
            Self::Reviewed(reviewed) => (reviewed.dispute, reviewed.commitment),
            Self::Voted(voted) => (voted.dispute, voted.commitment),
            Self::Ruled(ruled) => (ruled.dispute, ruled.commitment),
            Self::Stepped { stepped, .. } => (stepped.dispute, stepped.commitment),
        })
    }

    /// When it was recorded.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Sealed(sealed) => sealed.at,
            Self::Filed(filed) => filed.at,
            Self::Answered(answered) => answered.at,
            Self::Reviewed(reviewed) => reviewed.at,
            Self::Voted(voted) => voted.at,
            Self::Ruled(ruled) => ruled.at,
            Self::Stepped { stepped, .. } => stepped.at,
        }
    }

    pub(in crate::asp) fn encode(&self) -> Vec<u8> {
        let record_type = self.record_type();
        match self {
            Self::Sealed(sealed) => envelope(record_type, sealed),
            Self::Filed(filed) => envelope(record_type, &**filed),
            Self::Answered(answered) => envelope(record_type, &**answered),
            Self::Reviewed(reviewed) => envelope(record_type, &**reviewed),
            Self::Voted(voted) => envelope(record_type, &**voted),
            Self::Ruled(ruled) => envelope(record_type, &**ruled),
            Self::Stepped { stepped, .. } => envelope(record_type, stepped),
        }
    }

    /// The record of that type; `None` for a type that is none of a dispute.
    pub(in crate::asp) fn decode(
        record_type: &str,
        payload: &[u8],
    ) -> Result<Option<Self>, EventError> {
        let read = Reader {
            record_type,
            payload,
        };
        Ok(Some(match record_type {
            "arbitration.sealed" => Self::Sealed(read.read()?),
            "dispute.filed" => Self::Filed(Arc::new(read.read()?)),
            "dispute.answered" => Self::Answered(Arc::new(read.read()?)),
            "dispute.reviewed" => Self::Reviewed(Arc::new(read.read()?)),
            "dispute.voted" => Self::Voted(Arc::new(read.read()?)),
            "dispute.ruled" => Self::Ruled(Arc::new(read.read()?)),
            _ => {
                let mut steps = DisputeStep::ALL.into_iter();
                let Some(step) = steps.find(|step| step_type(*step) == Some(record_type)) else {
                    return Ok(None);
                };
                let stepped = read.read()?;
                Self::Stepped { step, stepped }
            }
        }))
    }
}
