//! Currencies, percentages and what a penalty comes to, all in whole numbers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::asp::commitment::Penalties;

/// A currency: three capital letters, such as `EUR`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Currency([u8; 3]);

/// Text that is no currency.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("currency `{0}` is not three capital letters")]
pub struct InvalidCurrency(pub String);

/// A percentage from 0 to 100, in hundredths of a percent; in JSON a number with at most two
/// digits behind the point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "f64")]
pub struct Percent(u16);

/// A number that is no percentage.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{0} is not a percentage from 0 to 100 with at most two digits behind the point")]
pub struct InvalidPercent(pub f64);

/// A day, in ms.
pub const DAY_MS: u64 = 24 * 3_600_000;

impl Currency {
    /// The three letters.
    ///
    /// # Panics
    /// Never: they are letters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("they are letters")
    }
}

impl FromStr for Currency {
    type Err = InvalidCurrency;

    fn from_str(text: &str) -> Result<Self, InvalidCurrency> {
        match <[u8; 3]>::try_from(text.as_bytes()) {
            Ok(letters) if letters.iter().all(u8::is_ascii_uppercase) => Ok(Self(letters)),
            _ => Err(InvalidCurrency(text.chars().take(16).collect())),
        }
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Serialize for Currency {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Currency {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        crate::types::from_text(from)
    }
}

impl Percent {
    /// All of it.
    pub const ALL: Self = Self(10_000);

    /// In hundredths of a percent, 0 to 10,000.
    #[must_use]
    pub fn hundredths(self) -> u16 {
        self.0
    }

    /// That part of an amount, any fraction of a unit rounded down: who may lose money loses no
    /// unit that the terms do not give away whole.
    ///
    /// - `times`: how often it is taken; what it comes to is never more than the amount.
    #[must_use]
    pub fn of(self, amount: u64, times: u64) -> u64 {
        let hundredths = u128::from(self.0).saturating_mul(times.into()).min(10_000);
        let part = u128::from(amount) * hundredths / 10_000;
        u64::try_from(part).unwrap_or(amount)
    }
}

impl TryFrom<f64> for Percent {
    type Error = InvalidPercent;

    /// # Errors
    /// [`InvalidPercent`] outside of 0 to 100, and with more than two digits behind the point.
    fn try_from(percent: f64) -> Result<Self, InvalidPercent> {
        if !(0.0..=100.0).contains(&percent) {
            return Err(InvalidPercent(percent));
        }
        let rounded = (percent * 100.0).round();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 10,000"
        )]
        let hundredths = rounded as u16;
        #[expect(clippy::float_cmp, reason = "the nearest double of both is the same")]
        if f64::from(hundredths) / 100.0 != percent {
            return Err(InvalidPercent(percent));
        }
        Ok(Self(hundredths))
    }
}

impl From<Percent> for f64 {
    fn from(percent: Percent) -> Self {
        Self::from(percent.0) / 100.0
    }
}

impl Serialize for Percent {
    /// Whole ones without a point, as the canonical form has them.
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        if self.0.is_multiple_of(100) {
            to.serialize_u16(self.0 / 100)
        } else {
            to.serialize_f64((*self).into())
        }
    }
}

/// How late a delivery is, in days: each one that has begun counts. 0 at or before the deadline.
#[must_use]
pub fn days_late(late_ms: u64) -> u64 {
    late_ms.div_ceil(DAY_MS)
}

/// What is forfeited, of the whole amount, for a delivery so many days late.
#[must_use]
pub fn late_penalty(penalties: &Penalties, amount: u64, days: u64) -> u64 {
    let percent = penalties.late_fulfillment_percent_per_day;
    percent.map_or(0, |percent| percent.of(amount, days))
}

/// What is forfeited, of the whole amount, where nothing was delivered: all unless the penalties
/// say otherwise.
#[must_use]
pub fn non_delivery_penalty(penalties: Option<&Penalties>, amount: u64) -> u64 {
    let percent = penalties.and_then(|penalties| penalties.non_delivery_percent);
    percent.unwrap_or(Percent::ALL).of(amount, 1)
}
