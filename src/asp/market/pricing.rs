//! What a listing costs, and what use of it comes to. Whole minor units everywhere.

use serde::{Deserialize, Serialize};

use super::error::MarketError;
use super::metering::Count;
use super::table::named;
use crate::asp::MAX_INTEGER;
use crate::asp::commitment::within;
use crate::asp::escrow::Currency;

/// Most tiers of a price.
pub const MAX_TIERS: usize = 32;
/// Greatest price, in the smallest unit of its currency.
pub const MAX_PRICE: u64 = 1_000_000_000_000;

/// What a listing costs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub enum Pricing {
    /// Nothing.
    Free,
    /// So much for each call.
    PerCall {
        /// The currency.
        currency: Currency,
        /// For a call, 0 to [`MAX_PRICE`].
        unit_price: u64,
    },
    /// So much for each calendar month that has begun while the subscription is active.
    Monthly {
        /// The currency.
        currency: Currency,
        /// For a month, 0 to [`MAX_PRICE`].
        price: u64,
    },
    /// For each call what its tier says: calls are counted from 1 in each month.
    Tiered {
        /// The currency.
        currency: Currency,
        /// One after the other, the last without an end.
        tiers: Vec<Tier>,
    },
}

/// Calls of one price.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tier {
    /// For a call, 0 to [`MAX_PRICE`].
    pub unit_price: u64,
    /// The last call of a month at this price; none for all that follow.
    pub up_to: Option<u64>,
}

named! {
    /// Kind of a price.
    PricingType {
        /// See [`Pricing::Free`].
        Free = "free",
        /// See [`Pricing::PerCall`].
        PerCall = "perCall",
        /// See [`Pricing::Monthly`].
        Monthly = "monthly",
        /// See [`Pricing::Tiered`].
        Tiered = "tiered",
    }
}

/// An amount of money.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Charge {
    /// In the smallest unit of the currency.
    pub amount: u64,
    /// The currency.
    pub currency: Currency,
}

impl Pricing {
    /// What kind of price it is.
    #[must_use]
    pub fn kind(&self) -> PricingType {
        match self {
            Self::Free => PricingType::Free,
            Self::PerCall { .. } => PricingType::PerCall,
            Self::Monthly { .. } => PricingType::Monthly,
            Self::Tiered { .. } => PricingType::Tiered,
        }
    }

    /// The currency; none where it costs nothing.
    #[must_use]
    pub fn currency(&self) -> Option<Currency> {
        match self {
            Self::Free => None,
            Self::PerCall { currency, .. }
            | Self::Monthly { currency, .. }
            | Self::Tiered { currency, .. } => Some(*currency),
        }
    }

    /// What a search compares, in the smallest unit: what a call costs at most, or a month where it
    /// is paid by the month.
    #[must_use]
    pub fn compared(&self) -> u64 {
        match self {
            Self::Free => 0,
            Self::PerCall { unit_price, .. } => *unit_price,
            Self::Monthly { price, .. } => *price,
            Self::Tiered { tiers, .. } => {
                let prices = tiers.iter().map(|tier| tier.unit_price);
                prices.max().unwrap_or(0)
            }
        }
    }

    /// What a month's use costs; none where it costs nothing. What could not be counted exactly is
    /// the greatest amount that can.
    ///
    /// - `is_active`: the subscription was active in that month.
    #[must_use]
    pub fn charge(&self, count: &Count, is_active: bool) -> Option<Charge> {
        let currency = self.currency()?;
        let amount = match self {
            Self::Free => 0,
            Self::PerCall { unit_price, .. } => u128::from(*unit_price) * u128::from(count.calls),
            Self::Monthly { price, .. } => u128::from(*price) * u128::from(is_active),
            Self::Tiered { tiers, .. } => {
                let mut from = 0;
                let mut sum: u128 = 0;
                for tier in tiers {
                    let end = tier.up_to.unwrap_or(u64::MAX).min(count.calls);
                    let calls = end.saturating_sub(from);
                    sum += u128::from(calls) * u128::from(tier.unit_price);
                    from = end.max(from);
                }
                sum
            }
        };
        let amount = u64::try_from(amount).unwrap_or(u64::MAX).min(MAX_INTEGER);
        Some(Charge { amount, currency })
    }

    /// Checks what somebody wants to ask for.
    ///
    /// # Errors
    /// [`MarketError`] for the first price that breaks a limit, and for tiers that do not follow
    /// each other.
    pub fn check(&self) -> Result<(), MarketError> {
        let price = |what, price| within(what, price, 0, MAX_PRICE);
        match self {
            Self::Free => {}
            Self::PerCall { unit_price, .. } => price("pricing.unitPrice", *unit_price)?,
            Self::Monthly { price: month, .. } => price("pricing.price", *month)?,
            Self::Tiered { tiers, .. } => {
                let count = u64::try_from(tiers.len()).unwrap_or(u64::MAX);
                within("pricing.tiers", count, 1, MAX_TIERS as u64)?;
                let mut least = 1;
                for (number, tier) in tiers.iter().enumerate() {
                    price("pricing.tiers.unitPrice", tier.unit_price)?;
                    let is_last = number + 1 == tiers.len();
                    match tier.up_to {
                        Some(up_to) if !is_last => {
                            within("pricing.tiers.upTo", up_to, least, MAX_INTEGER)?;
                            least = up_to + 1;
                        }
                        None if is_last => {}
                        up_to => {
                            return Err(MarketError::Invalid {
                                field: "pricing.tiers.upTo",
                                value: up_to.map_or("null".to_owned(), |up_to| up_to.to_string()),
                                rule: "must be null in the last tier, and only there",
                            });
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// A price as JSON: members in the order of their names, and those of its kind alone.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    currency: Option<Currency>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    price: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    tiers: Option<Vec<Tier>>,
    #[serde(rename = "type")]
    kind: PricingType,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unit_price: Option<u64>,
}

/// JSON of a price that does not have the members of its kind, and those alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a price of type {} has {}, and no other", .0.name(), members(*.0))]
struct WrongMembers(PricingType);

fn members(kind: PricingType) -> &'static str {
    match kind {
        PricingType::Free => "no other member",
        PricingType::PerCall => "the members currency and unitPrice",
        PricingType::Monthly => "the members currency and price",
        PricingType::Tiered => "the members currency and tiers",
    }
}

impl TryFrom<Written> for Pricing {
    type Error = WrongMembers;

    fn try_from(written: Written) -> Result<Self, WrongMembers> {
        let Written {
            currency,
            price,
            tiers,
            kind,
            unit_price,
        } = written;
        match (kind, currency, price, tiers, unit_price) {
            (PricingType::Free, None, None, None, None) => Ok(Self::Free),
            (PricingType::PerCall, Some(currency), None, None, Some(unit_price)) => {
                Ok(Self::PerCall {
                    currency,
                    unit_price,
                })
            }
            (PricingType::Monthly, Some(currency), Some(price), None, None) => {
                Ok(Self::Monthly { currency, price })
            }
            (PricingType::Tiered, Some(currency), None, Some(tiers), None) => {
                Ok(Self::Tiered { currency, tiers })
            }
            _ => Err(WrongMembers(kind)),
        }
    }
}

impl From<Pricing> for Written {
    fn from(pricing: Pricing) -> Self {
        let mut written = Self {
            currency: pricing.currency(),
            price: None,
            tiers: None,
            kind: pricing.kind(),
            unit_price: None,
        };
        match pricing {
            Pricing::Free => {}
            Pricing::PerCall { unit_price, .. } => written.unit_price = Some(unit_price),
            Pricing::Monthly { price, .. } => written.price = Some(price),
            Pricing::Tiered { tiers, .. } => written.tiers = Some(tiers),
        }
        written
    }
}
