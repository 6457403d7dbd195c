//! How much an agent may put behind a promise: by its trust, and by its own word.

use super::error::EscrowError;
use super::money::Currency;
use crate::asp::registry::Amount;
use crate::asp::trust::Level;
use crate::asp::{MAX_INTEGER, TrustScore};

/// The most that one promise of an agent of that level may have behind it, in the smallest unit of
/// any currency. docs/asp.md, "Ceilings", has the table.
#[must_use]
pub fn ceiling(level: Level) -> u64 {
    match level {
        Level::L0 => 100_000,
        Level::L1 => 300_000,
        Level::L2 => 1_000_000,
        Level::L3 => 10_000_000,
        Level::L4 => MAX_INTEGER,
    }
}

/// Checks what an agent wants to put behind one promise.
///
/// - `amount`: in the smallest unit of the currency.
/// - `own`: the largest deal that it may make by its own profile. One in another currency says
///   nothing here.
///
/// # Errors
/// [`EscrowError::AboveLevel`] or [`EscrowError::AboveOwn`] naming the ceiling.
pub fn check_ceiling(
    amount: u64,
    currency: Currency,
    score: TrustScore,
    own: Option<&Amount>,
) -> Result<(), EscrowError> {
    let level = Level::of(u32::from(score.thousandths()) * 1_000);
    let ceiling = ceiling(level);
    if amount > ceiling {
        return Err(EscrowError::AboveLevel {
            amount,
            currency,
            level,
            ceiling,
        });
    }
    match own.filter(|own| own.currency == currency.as_str()) {
        Some(own) if amount > own.value => Err(EscrowError::AboveOwn {
            amount,
            currency,
            ceiling: own.value,
        }),
        _ => Ok(()),
    }
}
