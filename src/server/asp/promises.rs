//! What a client is told of a refusal about promises, disputes and the money behind them.

use super::refused::out_of_limit;
use crate::asp::commitment::{CommitmentError, OutOfLimit};
use crate::asp::dispute::DisputeError;
use crate::asp::escrow::EscrowError;
use crate::asp::session::MAX_ID_AHEAD_MS;
use crate::protocol::{ErrorCode, WireError};

fn limit(error: &OutOfLimit) -> WireError {
    let text = error.to_string();
    out_of_limit(&text, error.what, error.value, error.least, error.most)
}

/// The error of a step of a commitment.
pub(super) fn commitment(error: &CommitmentError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        CommitmentError::Unknown(id) => {
            plain(ErrorCode::CommitmentNotFound).with("commitmentId", id.to_string())
        }
        CommitmentError::IdVersion(id) => {
            plain(ErrorCode::InvalidCommitmentId).with("commitmentId", id.to_string())
        }
        CommitmentError::IdTaken { commitment, member } => plain(ErrorCode::CommitmentIdTaken)
            .with("commitmentId", commitment.to_string())
            .with("member", *member),
        CommitmentError::OwnCounterparty(agent) | CommitmentError::NobodyAccepts(agent) => {
            plain(ErrorCode::InvalidCommitment).with("agent", agent.to_string())
        }
        CommitmentError::NotParty { commitment, agent } => plain(ErrorCode::NotParty)
            .with("commitmentId", commitment.to_string())
            .with("agent", agent.to_string()),
        CommitmentError::Illegal {
            commitment,
            state,
            step,
            voice,
            allowed,
        } => {
            let allowed: Vec<_> = allowed.iter().map(|step| step.name()).collect();
            plain(ErrorCode::IllegalStep)
                .with("commitmentId", commitment.to_string())
                .with("state", state.to_string())
                .with("step", step.name())
                .with("voice", voice.to_string())
                .with("allowed", allowed)
        }
        CommitmentError::Delivered { commitment, at } => plain(ErrorCode::AlreadyDelivered)
            .with("commitmentId", commitment.to_string())
            .with("deliveredAt", at.0),
        CommitmentError::EscrowNotHeld {
            commitment,
            amount,
            currency,
            held,
        } => plain(ErrorCode::EscrowNotHeld)
            .with("commitmentId", commitment.to_string())
            .with("amount", *amount)
            .with("currency", currency.as_str())
            .with("held", *held),
        CommitmentError::TooMany { what, found, limit } => plain(ErrorCode::TooManyCommitments)
            .with("what", *what)
            .with("found", *found)
            .with("limit", *limit),
        CommitmentError::OutOfLimit(error) => limit(error),
        CommitmentError::DeadlineFirst { .. } => plain(ErrorCode::Overloaded).retry_after_ms(100),
        CommitmentError::Bug(_) => plain(ErrorCode::Internal),
    }
}

/// The error of a step of a dispute.
pub(super) fn dispute(error: &DisputeError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        DisputeError::Unknown(id) => {
            plain(ErrorCode::DisputeNotFound).with("disputeId", id.to_string())
        }
        DisputeError::IdVersion(id) => {
            plain(ErrorCode::InvalidDisputeId).with("disputeId", id.to_string())
        }
        DisputeError::IdTaken { dispute, member } => plain(ErrorCode::DisputeIdTaken)
            .with("disputeId", dispute.to_string())
            .with("member", *member),
        DisputeError::Filed {
            commitment,
            agent,
            dispute,
        } => plain(ErrorCode::AlreadyDisputed)
            .with("commitmentId", commitment.to_string())
            .with("agent", agent.to_string())
            .with("disputeId", dispute.to_string()),
        DisputeError::TooMany {
            filer,
            found,
            limit,
            wait_ms,
        } => plain(ErrorCode::TooManyDisputes)
            .with("agent", filer.to_string())
            .with("found", *found)
            .with("limit", *limit)
            .retry_after_ms(*wait_ms),
        DisputeError::NotSealed { .. } | DisputeError::OtherSecret { .. } => {
            plain(ErrorCode::Internal)
        }
        DisputeError::Illegal {
            dispute,
            state,
            step,
            voice,
        } => plain(ErrorCode::IllegalStep)
            .with("disputeId", dispute.to_string())
            .with("state", state.to_string())
            .with("step", step.to_string())
            .with("voice", voice.to_string()),
        DisputeError::NotParty { dispute, agent, .. } => plain(ErrorCode::NotParty)
            .with("disputeId", dispute.to_string())
            .with("agent", agent.to_string()),
        DisputeError::Voted { dispute, agent, at } => plain(ErrorCode::AlreadyVoted)
            .with("disputeId", dispute.to_string())
            .with("agent", agent.to_string())
            .with("votedAt", at.0),
        DisputeError::OtherMechanism { dispute, voice } => plain(ErrorCode::OtherMechanism)
            .with("disputeId", dispute.to_string())
            .with("voice", voice.to_string()),
        DisputeError::NoReason(id) => {
            plain(ErrorCode::ReasonRequired).with("disputeId", id.to_string())
        }
        DisputeError::OutOfLimit(error) => limit(error),
        DisputeError::NotDue { .. } | DisputeError::DeadlineFirst { .. } => {
            plain(ErrorCode::Overloaded).retry_after_ms(100)
        }
        DisputeError::Commitment(error) => commitment(error),
    }
}

/// The error of a movement of money.
pub(super) fn escrow(error: &EscrowError) -> WireError {
    let plain = |code| WireError::new(code, error.to_string());
    match error {
        EscrowError::TooLittle {
            currency,
            available,
            wanted,
            ..
        } => plain(ErrorCode::InsufficientFunds)
            .with("currency", currency.as_str())
            .with("available", *available)
            .with("amount", *wanted),
        EscrowError::TooMuch { found, limit, .. } => {
            out_of_limit(&error.to_string(), "amount", *found, 1, *limit)
        }
        EscrowError::TooMany { what, found, limit } => {
            out_of_limit(&error.to_string(), what, *found as u64, 0, *limit as u64)
        }
        EscrowError::AboveLevel {
            amount,
            currency,
            ceiling,
            ..
        }
        | EscrowError::AboveOwn {
            amount,
            currency,
            ceiling,
        } => plain(ErrorCode::AboveCeiling)
            .with("amount", *amount)
            .with("currency", currency.as_str())
            .with("ceiling", *ceiling),
        EscrowError::PaymentIdTaken { payment, member } => plain(ErrorCode::PaymentIdTaken)
            .with("id", payment.to_string())
            .with("member", *member),
        EscrowError::PaymentIdTooOld { payment, let_go } => plain(ErrorCode::PaymentIdTooOld)
            .with("id", payment.to_string())
            .with("letGo", let_go.to_string()),
        EscrowError::PaymentIdVersion(payment) => {
            plain(ErrorCode::InvalidPaymentId).with("id", payment.to_string())
        }
        EscrowError::PaymentIdAhead { payment, ahead_ms } => plain(ErrorCode::InvalidPaymentId)
            .with("id", payment.to_string())
            .with("aheadMs", *ahead_ms)
            .with("maxAheadMs", MAX_ID_AHEAD_MS),
        EscrowError::HeldAlready { commitment, .. } => plain(ErrorCode::CommitmentIdTaken)
            .with("commitmentId", commitment.to_string())
            .with("member", "escrow"),
        EscrowError::OutOfLimit(error) => limit(error),
        EscrowError::NothingHeld(_)
        | EscrowError::Frozen(_)
        | EscrowError::NotFrozen(_)
        | EscrowError::MoreThanHeld { .. }
        | EscrowError::HoldIsNoStep(_) => plain(ErrorCode::Internal),
    }
}
