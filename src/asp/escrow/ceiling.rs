//! How much an agent may put behind a promise: by its trust, and by its own word.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::error::EscrowError;
use super::money::Currency;
use crate::asp::registry::Amount;
use crate::asp::{MAX_INTEGER, TrustScore};

/// How far an agent is trusted, in steps. docs/asp.md, "Ceilings", has the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Level {
    /// Below 0.5.
    Unproven,
    /// 0.5 and more.
    Basic,
    /// 0.7 and more.
    Established,
    /// 0.85 and more.
    Trusted,
    /// 0.95 and more.
    Outstanding,
}

impl Level {
    /// All levels, the lowest first.
    pub const ALL: [Self; 5] = [
        Self::Unproven,
        Self::Basic,
        Self::Established,
        Self::Trusted,
        Self::Outstanding,
    ];

    /// The level of a score.
    #[must_use]
    pub fn of(score: TrustScore) -> Self {
        let mut levels = Self::ALL.into_iter().rev();
        levels
            .find(|level| score.thousandths() >= level.least())
            .unwrap_or(Self::Unproven)
    }

    /// The least score that has it, in thousandths.
    #[must_use]
    pub fn least(self) -> u16 {
        match self {
            Self::Unproven => 0,
            Self::Basic => 500,
            Self::Established => 700,
            Self::Trusted => 850,
            Self::Outstanding => 950,
        }
    }

    /// The most that one promise may have behind it, in the smallest unit of any currency.
    #[must_use]
    pub fn ceiling(self) -> u64 {
        match self {
            Self::Unproven => 100_000,
            Self::Basic => 1_000_000,
            Self::Established => 10_000_000,
            Self::Trusted => 100_000_000,
            Self::Outstanding => MAX_INTEGER,
        }
    }

    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unproven => "unproven",
            Self::Basic => "basic",
            Self::Established => "established",
            Self::Trusted => "trusted",
            Self::Outstanding => "outstanding",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
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
    let level = Level::of(score);
    if amount > level.ceiling() {
        return Err(EscrowError::AboveLevel {
            amount,
            currency,
            level,
            ceiling: level.ceiling(),
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
