//! Money that stands behind promises: a double-entry ledger in whole minor units, folded from the
//! records of the topic `__asp.escrow`. Specified by docs/asp.md, "Escrow".
//!
//! Every record moves one amount from one place to another, so the ledger balances after each; a
//! movement that would leave less than nothing is refused, by the check and by the replay.
mod ceiling;
mod check;
mod error;
mod fold;
mod ledger;
mod money;
mod paid;
mod record;
#[cfg(test)]
mod tests;

pub use ceiling::{ceiling, check_ceiling};
pub use check::{Cash, HoldFor, MAX_BALANCES};
pub use error::EscrowError;
pub use fold::EscrowRow;
pub use ledger::{Account, Balance, Escrow, Hold, Move};
pub use money::{
    Currency, DAY_MS, InvalidCurrency, InvalidPercent, Percent, days_late, late_penalty,
    non_delivery_penalty,
};
pub use paid::{MAX_PAID, Paid};
pub use record::{EscrowRecord, MoveKind, Moved, MovedLinks, Part, Place};
