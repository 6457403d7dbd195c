//! Why a step of a commitment is refused.

use super::table::{State, Step, Voice};
use crate::asp::escrow::Currency;
use crate::folding::IllegalEvent;
use crate::types::{AgentId, CommitmentId, Timestamp};

/// A limit that is broken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {value}, outside {least}..={most}")]
pub struct OutOfLimit {
    /// What is limited.
    pub what: &'static str,
    /// What was found.
    pub value: u64,
    /// The least that is allowed.
    pub least: u64,
    /// The most that is allowed.
    pub most: u64,
}

/// Why a step is refused. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CommitmentError {
    /// There is no such commitment among those that are held.
    #[error("there is no commitment {0}")]
    Unknown(CommitmentId),
    /// The id is no UUID of version 7.
    #[error("commitment id {0} is not a UUID of version 7")]
    IdVersion(CommitmentId),
    /// The id was used for another promise.
    #[error("commitment id {commitment} was used for another promise: {member} differs")]
    IdTaken {
        /// The id.
        commitment: CommitmentId,
        /// What differs.
        member: &'static str,
    },
    /// A promise to oneself.
    #[error("agent {0} promises to itself")]
    OwnCounterparty(AgentId),
    /// There is nobody who could accept the offer.
    #[error("nobody but agent {0} could accept what it offers")]
    NobodyAccepts(AgentId),
    /// The agent has no say in the commitment: it is not in its session.
    #[error("agent {agent} has no part in commitment {commitment}")]
    NotParty {
        /// The commitment.
        commitment: CommitmentId,
        /// The agent.
        agent: AgentId,
    },
    /// The table has no such cell: in this state nobody, or not this one, may do it.
    #[error(
        "{voice} may not {step} commitment {commitment}, which is {state}; allowed: {}",
        names(.allowed)
    )]
    Illegal {
        /// The commitment.
        commitment: CommitmentId,
        /// Its state.
        state: State,
        /// What was to be done.
        step: Step,
        /// As whom.
        voice: Voice,
        /// What that one may do in that state.
        allowed: Vec<Step>,
    },
    /// A delivery comes once.
    #[error("commitment {commitment} was delivered already, at {at:?}")]
    Delivered {
        /// The commitment.
        commitment: CommitmentId,
        /// When.
        at: Timestamp,
    },
    /// Its escrow is not held.
    #[error("commitment {commitment} wants {amount} {currency} held in escrow, and {held} is held")]
    EscrowNotHeld {
        /// The commitment.
        commitment: CommitmentId,
        /// What should be held.
        amount: u64,
        /// The currency.
        currency: Currency,
        /// What is held.
        held: u64,
    },
    /// There is no room for more.
    #[error("{what} would be {found}, the limit is {limit}")]
    TooMany {
        /// What is limited.
        what: &'static str,
        /// How many there would be.
        found: usize,
        /// The limit.
        limit: usize,
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
    /// What was checked cannot follow, which is a fault of this program.
    #[error(transparent)]
    Bug(#[from] IllegalEvent),
}

fn names(steps: &[Step]) -> String {
    if steps.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<_> = steps.iter().map(|step| step.name()).collect();
    names.join(", ")
}
