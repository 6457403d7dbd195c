//! Payments of operators that are known again: what was booked in or out under an id that the
//! operator chose, and what was answered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::check::Cash;
use super::error::EscrowError;
use super::ledger::{Account, Balance, Escrow};
use super::money::Currency;
use super::record::MoveKind;
use crate::asp::session::MAX_ID_AHEAD_MS;
use crate::types::{PaymentId, Timestamp};

/// How many payments of a ledger are known again, those of the youngest ids. Any other id that is not
/// younger than the youngest one let go is refused, so no money is booked twice, whenever it is tried
/// again.
pub const MAX_PAID: usize = 10_000;

/// A payment, and what was answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// Whose money it is.
    pub account: Account,
    /// How much.
    pub amount: u64,
    /// What the account had of the currency then.
    pub balance: Balance,
    /// The currency.
    pub currency: Currency,
    /// Whether it came in, or went out.
    pub deposit: bool,
}

/// The payments that are known again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Payments {
    pub(super) held: BTreeMap<PaymentId, Paid>,
    /// The youngest one that was let go.
    pub(super) let_go: Option<PaymentId>,
}

impl Payments {
    /// Why the replay refuses a payment of this id.
    pub(super) fn cannot_follow(&self, id: PaymentId) -> Option<&'static str> {
        if self.held.contains_key(&id) {
            return Some("its payment was booked before");
        }
        let is_let_go = self.let_go.is_some_and(|let_go| id <= let_go);
        is_let_go.then_some("its payment is older than those that are known again")
    }

    /// Takes a payment in; of too many the oldest id is let go.
    pub(super) fn take(&mut self, id: PaymentId, paid: Paid) {
        self.held.insert(id, paid);
        if self.held.len() > MAX_PAID {
            self.let_go = self.held.pop_first().map(|(id, _)| id);
        }
    }
}

impl Escrow {
    /// What was answered to a payment that was booked before; none where it is new, or has no id.
    ///
    /// - `kind`: [`MoveKind::Deposit`] or [`MoveKind::Withdraw`].
    /// - `now`: the broker's clock.
    ///
    /// # Errors
    /// [`EscrowError`] when the id was used for another payment, is older than those that are known
    /// again, or is none that may be chosen.
    pub fn paid_before(
        &self,
        kind: MoveKind,
        cash: Cash,
        now: Timestamp,
    ) -> Result<Option<Balance>, EscrowError> {
        let Some(payment) = cash.payment else {
            return Ok(None);
        };
        if let Some(known) = self.paid.held.get(&payment) {
            return match differs(kind, cash, known) {
                None => Ok(Some(known.balance)),
                Some(member) => Err(EscrowError::PaymentIdTaken { payment, member }),
            };
        }
        if !payment.is_version_7() {
            return Err(EscrowError::PaymentIdVersion(payment));
        }
        if let Some(let_go) = self.paid.let_go.filter(|let_go| payment <= *let_go) {
            return Err(EscrowError::PaymentIdTooOld { payment, let_go });
        }
        let id_ms = u64::try_from(payment.0 >> 80).unwrap_or(u64::MAX);
        let ahead_ms = id_ms.saturating_sub(u64::try_from(now.0).unwrap_or(0));
        if ahead_ms > MAX_ID_AHEAD_MS {
            return Err(EscrowError::PaymentIdAhead { payment, ahead_ms });
        }
        Ok(None)
    }
}

/// The first member of the request in which a payment is another one.
fn differs(kind: MoveKind, cash: Cash, known: &Paid) -> Option<&'static str> {
    let differs = [
        ("step", (kind == MoveKind::Deposit) != known.deposit),
        ("agentId", cash.account.agent != known.account.agent),
        ("org", cash.account.org != known.account.org),
        ("amount", cash.amount != known.amount),
        ("currency", cash.currency != known.currency),
    ];
    let differs = differs.into_iter().find(|(_, differs)| *differs);
    differs.map(|(member, _)| member)
}
