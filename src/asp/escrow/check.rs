//! What may be done with money, judged before anything is written.

use super::ceiling::check_ceiling;
use super::error::EscrowError;
use super::ledger::{Account, Balance, Escrow, Move};
use super::money::Currency;
use super::record::{MoveKind, Moved, MovedLinks, Part, Place};
use crate::asp::commitment::{EscrowStep, EscrowTerms, within};
use crate::asp::registry::Amount;
use crate::asp::{MAX_INTEGER, TrustScore};
use crate::types::{CommitmentId, PaymentId, PrincipalId, Timestamp};

/// Most accounts of a ledger, each with one currency.
pub const MAX_BALANCES: usize = 1_000_000;

/// Money that an operator moves in or out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cash {
    /// Whose.
    pub account: Account,
    /// In the smallest unit of the currency; at least 1.
    pub amount: u64,
    /// The currency.
    pub currency: Currency,
    /// The operator's id for it, under which it is known again.
    pub payment: Option<PaymentId>,
    /// The operator.
    pub by: PrincipalId,
}

/// Money that is put behind a promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HoldFor<'a> {
    /// The commitment.
    pub commitment: CommitmentId,
    /// How much.
    pub terms: EscrowTerms,
    /// Whose: the obligor's.
    pub account: Account,
    /// To whom it goes where the promise is not kept: the counterparty's, or where there is none
    /// that of the session's organisation.
    pub beneficiary: Account,
    /// How far the obligor is trusted now.
    pub score: TrustScore,
    /// The largest deal that it may make by its own profile.
    pub own_maximum: Option<&'a Amount>,
    /// Who says so.
    pub by: PrincipalId,
}

impl Escrow {
    /// Money comes in, where [`Escrow::paid_before`] does not know it.
    ///
    /// # Errors
    /// [`EscrowError`] when there would be more than can be counted.
    pub fn check_deposit(&self, cash: Cash, now: Timestamp) -> Result<Move, EscrowError> {
        within("amount", cash.amount, 1, MAX_INTEGER)?;
        let found = self.total(cash.currency).saturating_add(cash.amount);
        if found > MAX_INTEGER {
            return Err(EscrowError::TooMuch {
                currency: cash.currency,
                found,
                limit: MAX_INTEGER,
            });
        }
        self.has_room(cash.account, cash.currency)?;
        let to = Some(available(cash.account));
        Ok(self.cash(MoveKind::Deposit, cash, None, to, now))
    }

    /// Money goes out, where [`Escrow::paid_before`] does not know it.
    ///
    /// # Errors
    /// [`EscrowError::TooLittle`] when less is available.
    pub fn check_withdraw(&self, cash: Cash, now: Timestamp) -> Result<Move, EscrowError> {
        within("amount", cash.amount, 1, MAX_INTEGER)?;
        self.has(cash.account, cash.currency, cash.amount)?;
        let from = Some(available(cash.account));
        Ok(self.cash(MoveKind::Withdraw, cash, from, None, now))
    }

    /// Money is put behind a promise.
    ///
    /// # Errors
    /// [`EscrowError`] when less is available, it is above a ceiling, or something is held for
    /// that commitment already.
    pub fn check_hold(&self, hold: HoldFor<'_>, now: Timestamp) -> Result<Move, EscrowError> {
        let EscrowTerms { amount, currency } = hold.terms;
        within("escrow.amount", amount, 1, MAX_INTEGER)?;
        if let Some(known) = self.hold(hold.commitment) {
            return Err(EscrowError::HeldAlready {
                commitment: hold.commitment,
                amount: known.amount,
                currency: known.currency,
            });
        }
        check_ceiling(amount, currency, hold.score, hold.own_maximum)?;
        self.has(hold.account, currency, amount)?;
        self.has_room(hold.beneficiary, currency)?;
        let place = |part| {
            let account = hold.account;
            Some(Place { account, part })
        };
        Ok(Move {
            kind: MoveKind::Hold,
            moved: Moved {
                amount,
                at: self.stamp(now),
                beneficiary: Some(hold.beneficiary),
                by: Some(hold.by),
                commitment: Some(hold.commitment),
                currency,
                from: place(Part::Available),
                payment: None,
                threads: MovedLinks::default(),
                to: place(Part::Held),
            },
        })
    }

    /// What follows for the money from what happened to a commitment, as
    /// [`Effects`](crate::asp::commitment::Effects) has it, in its order.
    ///
    /// # Errors
    /// [`EscrowError`] when nothing is held, it is frozen, or more is to be forfeited than is
    /// held; and for a hold, which [`Escrow::check_hold`] checks.
    pub fn check_steps(
        &self,
        commitment: CommitmentId,
        steps: &[EscrowStep],
        now: Timestamp,
    ) -> Result<Vec<Move>, EscrowError> {
        if steps.is_empty() {
            return Ok(Vec::new());
        }
        let hold = self.hold(commitment);
        let mut hold = hold.ok_or(EscrowError::NothingHeld(commitment))?;
        let mut moves = Vec::with_capacity(steps.len());
        for step in steps {
            let (kind, amount) = match step {
                EscrowStep::Hold(_) => return Err(EscrowError::HoldIsNoStep(commitment)),
                EscrowStep::Unfreeze if !hold.frozen => {
                    return Err(EscrowError::NotFrozen(commitment));
                }
                EscrowStep::Unfreeze => (MoveKind::Unfreeze, hold.amount),
                _ if hold.frozen => return Err(EscrowError::Frozen(commitment)),
                EscrowStep::Freeze => (MoveKind::Freeze, hold.amount),
                EscrowStep::Release => (MoveKind::Release, hold.amount),
                EscrowStep::Forfeit { amount } => (MoveKind::Forfeit, *amount),
            };
            if amount == 0 {
                return Err(EscrowError::NothingHeld(commitment));
            }
            if amount > hold.amount {
                return Err(EscrowError::MoreThanHeld {
                    commitment,
                    held: hold.amount,
                    wanted: amount,
                });
            }
            match kind {
                MoveKind::Freeze => hold.frozen = true,
                MoveKind::Unfreeze => hold.frozen = false,
                _ => hold.amount -= amount,
            }
            let to = match kind {
                MoveKind::Forfeit => hold.beneficiary,
                _ => hold.account,
            };
            let place = |account, part: Option<Part>| part.map(|part| Place { account, part });
            let (from_part, to_part) = kind.parts();
            moves.push(Move {
                kind,
                moved: Moved {
                    amount,
                    at: self.stamp(now),
                    beneficiary: None,
                    by: None,
                    commitment: Some(commitment),
                    currency: hold.currency,
                    from: place(hold.account, from_part),
                    payment: None,
                    threads: MovedLinks::default(),
                    to: place(to, to_part),
                },
            });
        }
        Ok(moves)
    }

    fn cash(
        &self,
        kind: MoveKind,
        cash: Cash,
        from: Option<Place>,
        to: Option<Place>,
        now: Timestamp,
    ) -> Move {
        Move {
            kind,
            moved: Moved {
                amount: cash.amount,
                at: self.stamp(now),
                beneficiary: None,
                by: Some(cash.by),
                commitment: None,
                currency: cash.currency,
                from,
                payment: cash.payment,
                threads: MovedLinks::default(),
                to,
            },
        }
    }

    fn has(&self, account: Account, currency: Currency, wanted: u64) -> Result<(), EscrowError> {
        let Balance { available, .. } = self.balance(account, currency);
        if available >= wanted {
            return Ok(());
        }
        Err(EscrowError::TooLittle {
            account,
            currency,
            available,
            wanted,
        })
    }

    fn has_room(&self, account: Account, currency: Currency) -> Result<(), EscrowError> {
        let found = self.balances.len() + 1;
        if found <= MAX_BALANCES || self.balances.contains_key(&(account, currency)) {
            return Ok(());
        }
        Err(EscrowError::TooMany {
            what: "accounts with a currency",
            found,
            limit: MAX_BALANCES,
        })
    }
}

fn available(account: Account) -> Place {
    Place {
        account,
        part: Part::Available,
    }
}
