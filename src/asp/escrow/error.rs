//! Why money does not move.

use super::ledger::Account;
use super::money::Currency;
use crate::asp::commitment::OutOfLimit;
use crate::asp::session::MAX_ID_AHEAD_MS;
use crate::asp::trust::Level;
use crate::types::{CommitmentId, PaymentId};

/// Why a movement is refused. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EscrowError {
    /// There is not enough.
    #[error("{account} has {available} {currency} available, and {wanted} is wanted")]
    TooLittle {
        /// Whose.
        account: Account,
        /// The currency.
        currency: Currency,
        /// What is available.
        available: u64,
        /// What is wanted.
        wanted: u64,
    },
    /// All accounts of a currency together would have more than can be counted exactly.
    #[error("all accounts together would have {found} {currency}, the limit is {limit}")]
    TooMuch {
        /// The currency.
        currency: Currency,
        /// What there would be.
        found: u64,
        /// The limit.
        limit: u64,
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
    /// A payment's id was used for another one.
    #[error("payment {payment} was another one: its {member} differs")]
    PaymentIdTaken {
        /// The payment.
        payment: PaymentId,
        /// The first member of the request that differs.
        member: &'static str,
    },
    /// Whether it was booked is not known any more.
    #[error(
        "payment {payment} is not younger than {let_go}, which is no longer known: the ledger tells whether it was booked"
    )]
    PaymentIdTooOld {
        /// The payment.
        payment: PaymentId,
        /// The youngest one that is no longer known.
        let_go: PaymentId,
    },
    /// A payment's id is no UUID of version 7.
    #[error("payment {0} is not a UUID of version 7")]
    PaymentIdVersion(PaymentId),
    /// The time of a payment's id lies too far ahead.
    #[error(
        "the time of payment {payment} lies {ahead_ms} ms ahead, the limit is {MAX_ID_AHEAD_MS}"
    )]
    PaymentIdAhead {
        /// The payment.
        payment: PaymentId,
        /// How far it lies ahead of the broker's clock, in ms.
        ahead_ms: u64,
    },
    /// Something is held for that commitment already.
    #[error("{amount} {currency} is held for commitment {commitment} already")]
    HeldAlready {
        /// The commitment.
        commitment: CommitmentId,
        /// What is held.
        amount: u64,
        /// The currency.
        currency: Currency,
    },
    /// Nothing is held for that commitment.
    #[error("nothing is held for commitment {0}")]
    NothingHeld(CommitmentId),
    /// A dispute holds it fast.
    #[error("what is held for commitment {0} is frozen while it is disputed")]
    Frozen(CommitmentId),
    /// No dispute holds it fast.
    #[error("what is held for commitment {0} is not frozen")]
    NotFrozen(CommitmentId),
    /// More is to be forfeited than is held.
    #[error("{wanted} is to be forfeited of commitment {commitment}, and {held} is held")]
    MoreThanHeld {
        /// The commitment.
        commitment: CommitmentId,
        /// What is held.
        held: u64,
        /// What is to be forfeited.
        wanted: u64,
    },
    /// It is more than the agent is trusted with.
    #[error("{amount} {currency} is above {ceiling}, the ceiling of an agent of level {level}")]
    AboveLevel {
        /// What is wanted.
        amount: u64,
        /// The currency.
        currency: Currency,
        /// How far it is trusted.
        level: Level,
        /// The most at that level.
        ceiling: u64,
    },
    /// It is more than the agent's own profile allows.
    #[error("{amount} {currency} is above {ceiling}, the agent's own maximum")]
    AboveOwn {
        /// What is wanted.
        amount: u64,
        /// The currency.
        currency: Currency,
        /// The most by its profile.
        ceiling: u64,
    },
    /// Holding is asked for by itself, with whose money it is.
    #[error("commitment {0} is held with its account and beneficiary, not as a step")]
    HoldIsNoStep(CommitmentId),
    /// A limit is broken.
    #[error(transparent)]
    OutOfLimit(#[from] OutOfLimit),
}
