//! Prices of listings as they are typed and shown: `2.50EUR/call`, `9.90EUR/month`,
//! `0EUR/call..1000,0.05EUR/call`.

use super::output;
use crate::asp::escrow::Currency;
use crate::asp::market::{Charge, Pricing, Tier};

const SHAPE: &str = "a price is free, 2.50EUR/call, 9.90EUR/month, or one for each tier of a \
                     month's calls: 0EUR/call..1000,0.05EUR/call";

/// Currencies whose smallest unit is not a hundredth, and the digits that it has (ISO 4217).
const OTHER_DIGITS: [(&str, u32); 22] = [
    ("BHD", 3),
    ("BIF", 0),
    ("CLP", 0),
    ("DJF", 0),
    ("GNF", 0),
    ("IQD", 3),
    ("ISK", 0),
    ("JOD", 3),
    ("JPY", 0),
    ("KMF", 0),
    ("KRW", 0),
    ("KWD", 3),
    ("LYD", 3),
    ("OMR", 3),
    ("PYG", 0),
    ("RWF", 0),
    ("TND", 3),
    ("UGX", 0),
    ("VND", 0),
    ("VUV", 0),
    ("XAF", 0),
    ("XOF", 0),
];

/// Digits behind the point of a currency.
fn digits(currency: Currency) -> u32 {
    let mut others = OTHER_DIGITS.iter();
    let found = others.find(|(code, _)| *code == currency.as_str());
    found.map_or(2, |(_, digits)| *digits)
}

/// Reads a price.
pub(super) fn price(text: &str) -> Result<Pricing, String> {
    if text == "free" {
        return Ok(Pricing::Free);
    }
    if let Some(sum) = text.strip_suffix("/month") {
        let Charge { amount, currency } = sum_of(sum)?;
        return Ok(Pricing::Monthly {
            currency,
            price: amount,
        });
    }
    let mut tiers = Vec::new();
    let mut first = None;
    for part in text.split(',') {
        let (sum, end) = part.split_once("/call").ok_or(SHAPE)?;
        let up_to = match end {
            "" => None,
            _ => {
                let number = end.strip_prefix("..").and_then(|end| end.parse().ok());
                Some(number.ok_or(SHAPE)?)
            }
        };
        let Charge { amount, currency } = sum_of(sum)?;
        if *first.get_or_insert(currency) != currency {
            return Err("all tiers have one currency".to_owned());
        }
        tiers.push(Tier {
            unit_price: amount,
            up_to,
        });
    }
    let currency = first.ok_or(SHAPE)?;
    match tiers[..] {
        [
            Tier {
                unit_price,
                up_to: None,
            },
        ] => Ok(Pricing::PerCall {
            currency,
            unit_price,
        }),
        _ => Ok(Pricing::Tiered { currency, tiers }),
    }
}

/// Reads a sum with its currency, as people write it: `2.50EUR`.
pub(super) fn sum_of(text: &str) -> Result<Charge, String> {
    let at = text
        .find(|c: char| c.is_ascii_alphabetic())
        .ok_or_else(|| format!("`{text}` has no currency; {SHAPE}"))?;
    let (number, currency) = text.split_at(at);
    let currency: Currency = currency.parse().map_err(|error| format!("{error}"))?;
    let (whole, part) = number.split_once('.').unwrap_or((number, ""));
    let width = digits(currency) as usize;
    if part.len() > width {
        return Err(format!("{currency} has {width} digits behind the point"));
    }
    let is_plain = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !is_plain(whole) || !is_plain(part) || number.ends_with('.') {
        return Err(format!("`{number}` is no sum; {SHAPE}"));
    }
    let amount = format!("{whole}{part:0<width$}").parse();
    Ok(Charge {
        amount: amount.map_err(|_| format!("`{number}` is too large"))?,
        currency,
    })
}

/// A sum as people write it: `1,234.50 EUR`.
pub(super) fn sum_text(sum: Charge) -> String {
    let scale = 10u64.pow(digits(sum.currency));
    let whole = output::count(sum.amount / scale);
    match digits(sum.currency) as usize {
        0 => format!("{whole} {}", sum.currency),
        width => {
            let part = sum.amount % scale;
            format!("{whole}.{part:0width$} {}", sum.currency)
        }
    }
}

/// A price in words.
pub(super) fn price_text(pricing: &Pricing) -> String {
    let sum = |amount, currency: &Currency| {
        sum_text(Charge {
            amount,
            currency: *currency,
        })
    };
    match pricing {
        Pricing::Free => "free".to_owned(),
        Pricing::PerCall {
            currency,
            unit_price,
        } => format!("{} a call", sum(*unit_price, currency)),
        Pricing::Monthly { currency, price } => format!("{} a month", sum(*price, currency)),
        Pricing::Tiered { currency, tiers } => {
            let tiers = tiers.iter().map(|tier| {
                let price = sum(tier.unit_price, currency);
                match tier.up_to {
                    Some(up_to) => format!("{price} a call up to {}", output::count(up_to)),
                    None => format!("{price} a call beyond"),
                }
            });
            tiers.collect::<Vec<_>>().join(", ")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(text: &str) -> String {
        match price(text) {
            Ok(price) => format!(
                "{} = {}",
                serde_json::to_string(&price).unwrap(),
                price_text(&price)
            ),
            Err(error) => error,
        }
    }

    #[test]
    fn a_price_is_read_as_people_write_it_and_becomes_whole_smallest_units() {
        for (typed, wanted) in [
            ("free", r#"{"type":"free"} = free"#),
            (
                "2.50EUR/call",
                r#"{"currency":"EUR","type":"perCall","unitPrice":250} = 2.50 EUR a call"#,
            ),
            (
                "1234.5EUR/call",
                r#"{"currency":"EUR","type":"perCall","unitPrice":123450} = 1,234.50 EUR a call"#,
            ),
            (
                "500JPY/month",
                r#"{"currency":"JPY","price":500,"type":"monthly"} = 500 JPY a month"#,
            ),
            (
                "0.005KWD/call",
                r#"{"currency":"KWD","type":"perCall","unitPrice":5} = 0.005 KWD a call"#,
            ),
        ] {
            assert_eq!(told(typed), wanted);
        }
        let tiered = price("0EUR/call..1000,0.05EUR/call").unwrap();
        let tiers = vec![
            Tier {
                unit_price: 0,
                up_to: Some(1000),
            },
            Tier {
                unit_price: 5,
                up_to: None,
            },
        ];
        let currency = "EUR".parse().unwrap();
        assert_eq!(tiered, Pricing::Tiered { currency, tiers });
        assert_eq!(
            price_text(&tiered),
            "0.00 EUR a call up to 1,000, 0.05 EUR a call beyond"
        );
    }

    #[test]
    fn what_is_no_price_is_refused_with_the_reason() {
        for bad in [
            "",
            "FREE",
            "2.50",
            "2.50EUR",
            "EUR/call",
            "2.EUR/call",
            ".5EUR/call",
            "-1EUR/call",
            "2,50EUR/call",
            "1EUR/year",
            "1EUR/call..",
            "1EUR/call..x",
            "1eur/call",
            "1EUR/call..5,1USD/call",
            "99999999999999999999EUR/call",
        ] {
            assert!(price(bad).is_err(), "{bad}");
        }
        assert_eq!(told("1.005EUR/call"), "EUR has 2 digits behind the point");
        assert_eq!(told("1.5JPY/call"), "JPY has 0 digits behind the point");
        assert_eq!(
            told("1EUR/call..5,1USD/call"),
            "all tiers have one currency"
        );
    }
}
