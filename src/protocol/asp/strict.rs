//! Members of requests that are objects themselves, read so that a misspelt member of theirs is
//! noticed. Records, which a newer broker may have written, are read without that.

use serde::de::{Error as _, IgnoredAny};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::asp::TrustScore;
use crate::asp::market::Pricing;
use crate::asp::registry::{Amount, Availability, PublicKey, Status};
use crate::asp::session::{Constraints, Performative};

/// Reads an [`Availability`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "Availability", rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StrictAvailability {
    #[serde(default)]
    status: Status,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    timezone: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    response_time_ms: Option<u64>,
}

/// Reads [`Constraints`].
#[derive(Serialize, Deserialize)]
#[serde(remote = "Constraints", rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct StrictConstraints {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed_performatives: Vec<Performative>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_response_time_ms: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    required_trust: Option<TrustScore>,
}

/// Reads an [`Amount`], where there is one.
pub(super) fn amount<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Amount>, D::Error> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        value: u64,
        currency: String,
    }
    let amount = Option::<Strict>::deserialize(from)?;
    Ok(amount.map(|Strict { value, currency }| Amount { value, currency }))
}

/// Reads a key or `null`, one of which has to be there.
pub(super) fn key_or_null<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<PublicKey>, D::Error> {
    Option::deserialize(from)
}

/// Reads a [`Pricing`].
pub(super) fn pricing<'de, D: Deserializer<'de>>(from: D) -> Result<Pricing, D::Error> {
    /// The members that any price may have; which of them go together is judged by [`Pricing`].
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only the names are looked at")]
    struct Strict {
        r#type: IgnoredAny,
        currency: Option<IgnoredAny>,
        price: Option<IgnoredAny>,
        unit_price: Option<IgnoredAny>,
        tiers: Option<Vec<StrictTier>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    #[expect(dead_code, reason = "only the names are looked at")]
    struct StrictTier {
        up_to: Option<IgnoredAny>,
        unit_price: IgnoredAny,
    }
    let value = Value::deserialize(from)?;
    Strict::deserialize(&value).map_err(D::Error::custom)?;
    Pricing::deserialize(value).map_err(D::Error::custom)
}

/// Reads a [`Pricing`] that is there.
pub(super) fn some_pricing<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<Option<Pricing>, D::Error> {
    pricing(from).map(Some)
}
