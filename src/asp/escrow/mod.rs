//! Money held behind promises: a double-entry ledger in whole minor units. Specified by
//! docs/asp.md, "Escrow".
mod money;

pub use money::{
    Currency, DAY_MS, InvalidCurrency, InvalidPercent, Percent, days_late, late_penalty,
    non_delivery_penalty,
};
