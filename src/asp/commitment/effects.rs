//! What follows from a record for the money behind a commitment and for those who trust.

use super::commitments::Commitments;
use super::one::{Commitment, Confirmation};
use super::promise::{EscrowTerms, Party};
use super::queries::Held;
use super::record::{CommitmentRecord, Mode};
use super::table::State;
use crate::asp::chain::Digest;
use crate::asp::dispute::{Dispute, DisputeState, DisputeType, Mechanism, Verdict};
use crate::asp::escrow::{days_late, late_penalty, non_delivery_penalty};
use crate::folding::IllegalEvent;
use crate::types::{CommitmentId, DisputeId, Offset, SessionId, Timestamp};

/// What follows from records that are written in one entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Effects {
    /// What becomes of the escrow, in this order, in the same entry.
    pub escrow: Vec<EscrowStep>,
    /// How the commitment came out, where that is now known. Each is all that is to be known of
    /// the commitment: a later one replaces the one before.
    pub outcome: Option<Outcome>,
    /// The disputes that ended.
    pub disputes: Vec<DisputeOutcome>,
}

/// What becomes of the escrow of a commitment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscrowStep {
    /// It is held, of what the obligor has.
    Hold(EscrowTerms),
    /// It stays where it is while a dispute is open.
    Freeze,
    /// It moves again.
    Unfreeze,
    /// So much of it goes to whom it was promised.
    Forfeit {
        /// In the smallest unit of the currency, at least 1.
        amount: u64,
    },
    /// What is left of it goes back to the obligor.
    Release,
}

/// How a commitment came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum OutcomeKind {
    /// It was kept.
    Fulfilled,
    /// The clock saw it broken.
    Breached,
    /// A dispute about it was upheld in part.
    Partial,
    /// A dispute about it was upheld.
    Upheld,
}

/// How a commitment came out: nothing of what it was about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// How.
    pub kind: OutcomeKind,
    /// The commitment.
    pub commitment: CommitmentId,
    /// Its session.
    pub session: SessionId,
    /// Who promised.
    pub obligor: Party,
    /// To whom; none where it was to the session.
    pub counterparty: Option<Party>,
    /// How it came to bind.
    pub mode: Mode,
    /// Whether who promised signed it.
    pub signed: bool,
    /// Hash of the terms.
    pub terms_hash: Digest,
    /// How it was confirmed, where it was kept.
    pub confirmation: Option<Confirmation>,
    /// Who confirmed it by word.
    pub confirmed_by: Option<Party>,
    /// How bad it is, 1 to 5; where it was kept, how bad it would have been not to.
    pub severity: u8,
    /// Who ruled, where somebody did.
    pub mechanism: Option<Mechanism>,
    /// When it began to bind.
    pub bound_at: Timestamp,
    /// Until when it was to be delivered.
    pub deadline: Timestamp,
    /// When it was delivered, late or not.
    pub delivered_at: Option<Timestamp>,
    /// When it came out so.
    pub at: Timestamp,
}

/// How a dispute ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DisputeOutcome {
    /// The dispute.
    pub dispute: DisputeId,
    /// The commitment that it was about.
    pub commitment: CommitmentId,
    /// Hash of the commitment's terms.
    pub terms_hash: Digest,
    /// Who filed it.
    pub filer: Party,
    /// Against whom.
    pub against: Party,
    /// What it said went wrong.
    pub dispute_type: DisputeType,
    /// Resolved, withdrawn or expired.
    pub state: DisputeState,
    /// What was ruled, by whom, and how bad it is, where it was resolved.
    pub ruling: Option<(Verdict, Mechanism, u8)>,
    /// When it was filed.
    pub filed_at: Timestamp,
    /// When it ended.
    pub at: Timestamp,
}

impl Commitments {
    /// What follows from records about one commitment that are to be written next, in one entry.
    /// Changes nothing.
    ///
    /// - `records`: what a check gave, or [`Commitments::next_due`]; in their order.
    ///
    /// # Errors
    /// [`IllegalEvent`] when they cannot follow.
    pub fn effects(&self, records: &[CommitmentRecord]) -> Result<Effects, IllegalEvent> {
        let Some(id) = records.iter().find_map(CommitmentRecord::commitment) else {
            return Ok(Effects::default());
        };
        let mut alone = self.alone(id);
        let before = self.live(id).map(|commitment| (**commitment).clone());
        let was_open = |dispute: &Dispute| {
            let known = self
                .disputes_of(id)
                .find(|known| known.id() == dispute.id());
            known.is_none_or(|known| !known.state.is_terminal())
        };
        let mut closed = None;
        for record in records {
            if let CommitmentRecord::Closed(record) = record {
                closed = Some(record.commitment.clone());
                break;
            }
            // Where it will stand does not matter for what follows from it.
            alone.apply(record, Offset(0))?;
        }
        let after = closed.or_else(|| match alone.commitment(id) {
            Some(Held::Live(commitment)) => Some((*commitment).clone()),
            _ => None,
        });
        let Some(after) = after else {
            return Ok(Effects::default());
        };
        let ended = alone.disputes_of(id);
        let ended = ended.filter(|dispute| dispute.state.is_terminal() && was_open(dispute));
        Ok(Effects {
            escrow: escrow_steps(before.as_ref(), &after),
            outcome: after.outcome_after(before.as_ref()),
            disputes: ended
                .map(|dispute| dispute_outcome(dispute, &after))
                .collect(),
        })
    }
}

/// Where the escrow of a commitment is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Escrowed {
    /// What was taken of it for good.
    forfeited: u64,
    /// Whether what is left is still held.
    is_held: bool,
    /// Whether a dispute holds it fast.
    is_frozen: bool,
}

impl Commitment {
    /// How it came out; none while that is open.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        let promise = &self.created.promise;
        let ended = self.ended;
        let (kind, at) = match (self.state, self.ruled) {
            (State::Fulfilled, _) => (OutcomeKind::Fulfilled, ended?.at),
            (State::Breached, _) => (OutcomeKind::Breached, ended?.at),
            (State::Resolved, Some(ruled)) if ruled.verdict == Verdict::Upheld => {
                (OutcomeKind::Upheld, ruled.at)
            }
            (State::Resolved, Some(ruled)) if self.is_breach() => {
                // The clock saw more than the ruling found.
                (OutcomeKind::Breached, ruled.at)
            }
            (State::Resolved, Some(ruled)) => (OutcomeKind::Partial, ruled.at),
            _ => return None,
        };
        let ruled = self.ruled.filter(|_| self.state == State::Resolved);
        Some(Outcome {
            kind,
            commitment: self.id(),
            session: promise.session,
            obligor: promise.obligor,
            counterparty: self.counterparty,
            mode: self.created.mode,
            signed: self.created.signed,
            terms_hash: self.created.terms_hash,
            confirmation: ended.and_then(|ended| ended.confirmation),
            confirmed_by: ended.and_then(|ended| ended.party),
            severity: ruled.map_or(promise.severity(), |ruled| ruled.severity),
            mechanism: ruled.map(|ruled| ruled.mechanism),
            bound_at: self.accepted.unwrap_or(self.created.at),
            deadline: promise.deadline,
            delivered_at: self.delivery.map(|delivery| delivery.at),
            at,
        })
    }

    /// How it came out, where that is another than it was before.
    fn outcome_after(&self, before: Option<&Self>) -> Option<Outcome> {
        let is_new = before.is_none_or(|before| {
            before.state != self.state && before.disputed.map(|was| was.state) != Some(self.state)
        });
        self.outcome().filter(|_| is_new)
    }

    /// What was forfeited for a breach so far, and whether that is all.
    fn breach_penalty(&self, amount: u64) -> (u64, bool) {
        let promise = &self.created.promise;
        let none = non_delivery_penalty(promise.penalties.as_ref(), amount);
        let Some(penalties) = promise.penalties.filter(|_| promise.may_be_late()) else {
            return (none, true);
        };
        let days = |until: Timestamp| {
            let late = until.0.saturating_sub(promise.deadline.0);
            days_late(u64::try_from(late).unwrap_or(0)).max(1)
        };
        // What is delivered while a dispute is open counts once that has ended.
        let counts = self.disputed.is_none_or(|suspended| suspended.delivered);
        match self.delivery.filter(|_| counts) {
            Some(delivery) => (late_penalty(&penalties, amount, days(delivery.at)), true),
            None if self.closed => {
                let until = self.claims_until().unwrap_or(promise.deadline);
                (
                    late_penalty(&penalties, amount, days(until)).max(none),
                    true,
                )
            }
            None => (late_penalty(&penalties, amount, 1), false),
        }
    }

    /// What was forfeited by a ruling; none where none went against the obligor beyond what the
    /// clock saw.
    fn ruled_penalty(&self, amount: u64) -> Option<u64> {
        let by_clock = |mechanism| mechanism == Mechanism::Automated && self.is_breach();
        let ruled = self.ruled.filter(|_| self.state == State::Resolved)?;
        if by_clock(ruled.mechanism) {
            return None;
        }
        let all = non_delivery_penalty(self.created.promise.penalties.as_ref(), amount);
        Some(match ruled.verdict {
            Verdict::Upheld => all,
            Verdict::Partial => all / 2,
            Verdict::Dismissed => 0,
        })
    }

    fn escrowed(&self) -> Escrowed {
        let Some(escrow) = self.created.promise.escrow else {
            return Escrowed::default();
        };
        let is_frozen = self.state == State::Disputed;
        match self.state {
            State::Withdrawn | State::Rejected | State::Expired | State::Fulfilled => {
                Escrowed::default()
            }
            State::Breached | State::Disputed | State::Resolved if self.is_breach() => {
                let (by_clock, is_all) = self.breach_penalty(escrow.amount);
                let ruled = self.ruled_penalty(escrow.amount);
                let forfeited = by_clock.max(ruled.unwrap_or(0));
                let is_held = !is_all && ruled.is_none() && forfeited < escrow.amount;
                Escrowed {
                    forfeited,
                    is_held,
                    is_frozen: is_frozen && is_held,
                }
            }
            State::Resolved => Escrowed {
                forfeited: self.ruled_penalty(escrow.amount).unwrap_or(0),
                is_held: false,
                is_frozen: false,
            },
            _ => Escrowed {
                forfeited: 0,
                is_held: true,
                is_frozen,
            },
        }
    }
}

fn escrow_steps(before: Option<&Commitment>, after: &Commitment) -> Vec<EscrowStep> {
    let Some(escrow) = after.created.promise.escrow else {
        return Vec::new();
    };
    let mut steps = Vec::new();
    let was = match before {
        Some(before) => before.escrowed(),
        None => {
            steps.push(EscrowStep::Hold(escrow));
            Escrowed {
                is_held: true,
                ..Escrowed::default()
            }
        }
    };
    let is = after.escrowed();
    if was.is_frozen && !is.is_frozen {
        steps.push(EscrowStep::Unfreeze);
    }
    // What is gone is gone: a later, milder rule brings nothing back.
    let more = is.forfeited.saturating_sub(was.forfeited);
    if was.is_held && more > 0 {
        steps.push(EscrowStep::Forfeit { amount: more });
    }
    if was.is_held && !is.is_held && is.forfeited < escrow.amount {
        steps.push(EscrowStep::Release);
    }
    if !was.is_frozen && is.is_frozen {
        steps.push(EscrowStep::Freeze);
    }
    steps
}

fn dispute_outcome(dispute: &Dispute, commitment: &Commitment) -> DisputeOutcome {
    let ruling = dispute.ruling.as_ref();
    DisputeOutcome {
        dispute: dispute.id(),
        commitment: commitment.id(),
        terms_hash: commitment.created.terms_hash,
        filer: dispute.filed.filer,
        against: dispute.filed.against,
        dispute_type: dispute.filed.dispute_type,
        state: dispute.state,
        ruling: ruling.map(|ruling| (ruling.verdict, ruling.mechanism, ruling.severity)),
        filed_at: dispute.filed.at,
        at: dispute.ended.unwrap_or(dispute.since),
    }
}
