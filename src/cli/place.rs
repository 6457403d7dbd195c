//! Places in a channel as they are typed: `start`, `end`, `42`, `-10`, `@TIME`, `@-1h`.

use std::str::FromStr;

use crate::protocol::control::Place;
use crate::types::{Offset, Timestamp};

/// A place as it was typed. An age becomes a time only when it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlaceArg {
    /// The log start.
    Start,
    /// The high watermark.
    End,
    /// This offset.
    Offset(u64),
    /// This many records before the high watermark, but not before the log start.
    Back(u64),
    /// The first record appended at this time or later.
    Time(Timestamp),
    /// The first record appended this many milliseconds ago or later.
    Ago(i64),
}

/// A time to come as it was typed: itself, or how long from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// This time.
    At(Timestamp),
    /// This many milliseconds from now.
    In(i64),
}

impl Moment {
    /// The time, where `now` is the time that an age is counted from.
    #[must_use]
    pub fn after(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(ms) => now.saturating_add_ms(ms),
        }
    }

    /// The time gone by, where `now` is the time that an age is counted back from.
    #[must_use]
    pub fn before(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(time) => time,
            Self::In(ms) => now.saturating_add_ms(-ms),
        }
    }
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(ms) = age_ms(text) {
            return Ok(Self::In(ms));
        }
        let time = time_ms(text).map_err(|why| {
            format!(
                "{why}; give a time such as 2027-01-31T08:00:00Z, or how far it is from now, such \
                 as 90d"
            )
        })?;
        Ok(Self::At(time))
    }
}

/// A text that names no place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{why}; a place is {PLACES}")]
pub struct InvalidPlace {
    why: &'static str,
}

/// Every form of a place, for help texts and errors.
pub const PLACES: &str = "`start`, `end`, an offset (`42`), a number of records before the end \
    (`-10`), a time (`@2026-01-31T08:00:00Z`) or an age (`@-30s`, `@-1h30m`, `@-7d`)";

impl PlaceArg {
    /// The place, where `now` is the time that an age is counted back from.
    #[must_use]
    pub fn at(self, now: Timestamp) -> Place {
        match self {
            Self::Start => Place::Start,
            Self::End => Place::End,
            Self::Offset(offset) => Place::Offset(Offset(offset)),
            Self::Back(records) => Place::Back(records),
            Self::Time(time) => Place::Time(time),
            Self::Ago(ms) => Place::Time(now.saturating_add_ms(-ms)),
        }
    }
}

impl FromStr for PlaceArg {
    type Err = InvalidPlace;

    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        let invalid = |why| InvalidPlace { why };
        match text {
            "start" => return Ok(Self::Start),
            "end" => return Ok(Self::End),
            "" => return Err(invalid("it is empty")),
            _ => {}
        }
        if let Some(age) = text.strip_prefix("@-") {
            return age_ms(age).map(Self::Ago).map_err(invalid);
        }
        if let Some(time) = text.strip_prefix('@') {
            return time_ms(time).map(Self::Time).map_err(invalid);
        }
        let (digits, is_back) = match text.strip_prefix('-') {
            Some(digits) => (digits, true),
            None => (text, false),
        };
        // `u64::from_str` would take a plus sign, which other tools read in several ways.
        if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(invalid("it is none of the known forms"));
        }
        match digits.parse() {
            Ok(records) if is_back => Ok(Self::Back(records)),
            // The highest number stands for "none" on the wire.
            Ok(u64::MAX) | Err(_) => Err(invalid("the number is too large")),
            Ok(offset) => Ok(Self::Offset(offset)),
        }
    }
}

/// A time of RFC 3339 in milliseconds; a fraction of one counts as the next, because the place is
/// the first record at the time *or later*.
fn time_ms(text: &str) -> Result<Timestamp, &'static str> {
    let time: jiff::Timestamp = text
        .parse()
        .map_err(|_| "the time is not RFC 3339 with `Z` or an offset from UTC")?;
    let has_fraction = time.as_nanosecond() % 1_000_000 > 0;
    Ok(Timestamp(time.as_millisecond() + i64::from(has_fraction)))
}

/// `1h30m` and the like.
pub(super) fn age_ms(text: &str) -> Result<i64, &'static str> {
    const SHAPE: &str = "an age is numbers with a unit each: ms, s, m, h, d or w";
    let mut rest = text;
    let mut sum: i64 = 0;
    if rest.is_empty() {
        return Err(SHAPE);
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or(SHAPE)?;
        let number: i64 = rest[..digits].parse().map_err(|_| SHAPE)?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(rest.len());
        let unit: i64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return Err(SHAPE),
        };
        rest = &rest[letters..];
        sum = number
            .checked_mul(unit)
            .and_then(|ms| sum.checked_add(ms))
            .ok_or("the age is too long")?;
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_a_place_is_understood() {
        for (text, place) in [
            ("start", PlaceArg::Start),
            ("end", PlaceArg::End),
            ("0", PlaceArg::Offset(0)),
            ("42", PlaceArg::Offset(42)),
            ("-10", PlaceArg::Back(10)),
            ("-0", PlaceArg::Back(0)),
            ("@1970-01-01T00:00:01Z", PlaceArg::Time(Timestamp(1000))),
            ("@1970-01-01t00:00:01z", PlaceArg::Time(Timestamp(1000))),
            ("@1970-01-01T01:00:00+01:00", PlaceArg::Time(Timestamp(0))),
            ("@1970-01-01T00:00:00.5Z", PlaceArg::Time(Timestamp(500))),
            ("@1970-01-01T00:00:00.0001Z", PlaceArg::Time(Timestamp(1))),
            ("@-1h", PlaceArg::Ago(3_600_000)),
            ("@-1h30m", PlaceArg::Ago(5_400_000)),
            ("@-250ms", PlaceArg::Ago(250)),
            ("@-7d", PlaceArg::Ago(604_800_000)),
            ("@-1w", PlaceArg::Ago(604_800_000)),
        ] {
            assert_eq!(text.parse(), Ok(place), "{text}");
        }
    }

    #[test]
    fn what_could_mean_two_things_is_refused_with_examples() {
        for text in [
            "",
            "-",
            "--5",
            "+5",
            "5-",
            "1_000",
            "Start",
            "@",
            "@-",
            "@-h",
            "@-5",
            "@-5y",
            "@-1M",
            "@-99999999999w",
            "@-é",
            "@1h",
            "@2026-01-31",
            "@2026-01-31T08:00:00",
            "@1700000000000",
            "18446744073709551615",
            "18446744073709551616",
        ] {
            let error = text.parse::<PlaceArg>().unwrap_err().to_string();
            assert!(error.contains("@-1h30m"), "{text}: {error}");
        }
    }

    #[test]
    fn a_time_to_come_is_itself_or_counted_from_now() {
        let now = Timestamp(10_000);
        let after = |text: &str| text.parse::<Moment>().map(|moment| moment.after(now));
        assert_eq!(after("90d"), Ok(Timestamp(10_000 + 90 * 86_400_000)));
        assert_eq!(after("1970-01-01T00:00:20Z"), Ok(Timestamp(20_000)));
        for bad in ["", "tomorrow", "-1d", "2027-01-31", "5"] {
            let why = after(bad).unwrap_err();
            // A deadline lies ahead, where nothing has an age.
            assert!(why.contains("90d") && !why.contains("age"), "{bad}: {why}");
        }
    }

    #[test]
    fn an_age_is_counted_back_from_now() {
        let now = Timestamp(10_000);
        assert_eq!(PlaceArg::Ago(1000).at(now), Place::Time(Timestamp(9000)));
        assert_eq!(PlaceArg::Back(3).at(now), Place::Back(3));
    }
}
