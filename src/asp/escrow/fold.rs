//! The whole state as records, for snapshots.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::ledger::{Account, Balance, Escrow, Hold};
use super::money::Currency;
use super::paid::Paid;
use super::record::EscrowRecord;
use crate::asp::{Thread, shared};
use crate::folding::{self, MAX_PART_BYTES};
use crate::types::{CommitmentId, PaymentId, Timestamp};

/// One row of the whole state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EscrowRow {
    /// The thread of all.
    All(#[serde(with = "shared")] Arc<Thread>),
    /// Time of the last record.
    At(Timestamp),
    /// What an account has of a currency.
    Balance(Account, Currency, Balance),
    /// What is held for a commitment.
    Hold(CommitmentId, Hold),
    /// A payment that is known again.
    Paid(PaymentId, Paid),
    /// The youngest payment that is no longer known.
    PaidBefore(PaymentId),
    /// The thread of an account.
    Thread(Account, #[serde(with = "shared")] Arc<Thread>),
    /// What came in of a currency less what went out.
    Total(Currency, u64),
}

impl Escrow {
    /// The whole state as records. Applied in order, to any state that stands between two entries,
    /// they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<EscrowRecord> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<EscrowRecord> {
        folding::split(self.rows(), max_part_bytes)
            .into_iter()
            .map(EscrowRecord::Folded)
            .collect()
    }

    fn rows(&self) -> impl Iterator<Item = EscrowRow> {
        use EscrowRow as Row;
        let balances = self.balances();
        let threads = self.threads.iter();
        [Row::At(self.at), Row::All(self.all.clone())]
            .into_iter()
            .chain(
                self.totals
                    .iter()
                    .map(|(of, total)| Row::Total(*of, *total)),
            )
            .chain(balances.map(|(account, of, balance)| Row::Balance(account, of, balance)))
            .chain(self.holds.iter().map(|(id, hold)| Row::Hold(*id, *hold)))
            .chain(self.paid.let_go.map(Row::PaidBefore))
            .chain(
                self.paid
                    .held
                    .iter()
                    .map(|(id, paid)| Row::Paid(*id, *paid)),
            )
            .chain(threads.map(|(account, end)| Row::Thread(*account, end.clone())))
    }

    pub(super) fn from_rows(
        rows: &mut dyn Iterator<Item = &EscrowRow>,
    ) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            let is_twice = match row {
                EscrowRow::All(end) => {
                    let before = std::mem::replace(&mut state.all, end.clone());
                    !before.is_empty()
                }
                EscrowRow::At(at) => {
                    state.at = *at;
                    false
                }
                EscrowRow::Balance(account, of, balance) => {
                    let key = (*account, *of);
                    state.balances.insert(key, *balance).is_some()
                }
                EscrowRow::Hold(id, hold) => state.holds.insert(*id, *hold).is_some(),
                EscrowRow::Paid(id, paid) => state.paid.held.insert(*id, *paid).is_some(),
                EscrowRow::PaidBefore(id) => state.paid.let_go.replace(*id).is_some(),
                EscrowRow::Thread(account, end) => {
                    state.threads.insert(*account, end.clone()).is_some()
                }
                EscrowRow::Total(of, total) => state.totals.insert(*of, *total).is_some(),
            };
            if is_twice {
                return Err("something stands in it twice");
            }
        }
        if !state.is_balanced() {
            return Err("its accounts do not add up");
        }
        Ok(state)
    }
}
