//! Why a step of a dispute is refused.

use super::table::{DisputeState, DisputeStep, DisputeVoice};
use crate::asp::chain::Digest;
use crate::asp::commitment::{CommitmentError, OutOfLimit};
use crate::types::{AgentId, CommitmentId, DisputeId, Timestamp};

/// Why a step is refused. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DisputeError {
    /// There is no such dispute among those that are held.
    #[error("there is no dispute {0}")]
    Unknown(DisputeId),
    /// The id is no UUID of version 7.
    #[error("dispute id {0} is not a UUID of version 7")]
    IdVersion(DisputeId),
    /// The id was used for another dispute.
    #[error("dispute id {dispute} was used for another dispute: {member} differs")]
    IdTaken {
        /// The id.
        dispute: DisputeId,
        /// What differs.
        member: &'static str,
    },
    /// An agent disputes a commitment once.
    #[error("agent {agent} has disputed commitment {commitment} already, in {dispute}")]
    Filed {
        /// The commitment.
        commitment: CommitmentId,
        /// The agent.
        agent: AgentId,
        /// Its dispute.
        dispute: DisputeId,
    },
    /// The filer has filed as many disputes of late as it may, of those that the log does not decide.
    #[error(
        "agent {filer} would have filed {found} disputes in 24 hours that the log does not decide, and the limit is {limit}"
    )]
    TooMany {
        /// Who files.
        filer: AgentId,
        /// How many there would be.
        found: usize,
        /// How many there may be.
        limit: usize,
        /// When there is room for one again, in ms from now.
        wait_ms: u64,
    },
    /// No secret was sealed before, or another one is.
    #[error("the secret for a dispute is to be sealed before it is filed; sealed is {sealed:?}")]
    NotSealed {
        /// What is sealed.
        sealed: Option<Digest>,
    },
    /// The secret is not the one that was sealed.
    #[error("the secret has the digest {found}, and {sealed} was sealed")]
    OtherSecret {
        /// Digest of what was given.
        found: Digest,
        /// What was sealed.
        sealed: Digest,
    },
    /// The table has no such cell: in this state nobody, or not this one, may do it.
    #[error("{voice} may not {step} dispute {dispute}, which is {state}")]
    Illegal {
        /// The dispute.
        dispute: DisputeId,
        /// Its state.
        state: DisputeState,
        /// What was to be done.
        step: DisputeStep,
        /// As whom.
        voice: DisputeVoice,
    },
    /// The agent is not the one who may do that.
    #[error("agent {agent} is not {voice} of dispute {dispute}")]
    NotParty {
        /// The dispute.
        dispute: DisputeId,
        /// The agent.
        agent: AgentId,
        /// Who may.
        voice: DisputeVoice,
    },
    /// The arbitrator has voted.
    #[error("agent {agent} has voted on dispute {dispute} already, at {at:?}")]
    Voted {
        /// The dispute.
        dispute: DisputeId,
        /// The agent.
        agent: AgentId,
        /// When.
        at: Timestamp,
    },
    /// Somebody else decides it.
    #[error("dispute {dispute} is not with {voice}")]
    OtherMechanism {
        /// The dispute.
        dispute: DisputeId,
        /// Who was to decide it.
        voice: DisputeVoice,
    },
    /// An operator rules with a reason.
    #[error("a ruling on dispute {0} needs a reason")]
    NoReason(DisputeId),
    /// Its time to answer is not over.
    #[error("dispute {dispute} goes to review at {due:?} and not before")]
    NotDue {
        /// The dispute.
        dispute: DisputeId,
        /// When.
        due: Timestamp,
    },
    /// A limit is broken.
    #[error(transparent)]
    OutOfLimit(#[from] OutOfLimit),
    /// A deadline has passed and must be recorded first.
    #[error("a deadline of {due:?} has passed and comes first")]
    DeadlineFirst {
        /// When it was.
        due: Timestamp,
    },
    /// The commitment cannot be disputed so.
    #[error(transparent)]
    Commitment(#[from] CommitmentError),
}
