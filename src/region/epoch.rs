//! What a log epoch says: in which term, in which region, and at which start of its broker.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{LogEpoch, RegionName};

const TERM_BITS: u32 = 24;
const STARTS_BITS: u32 = 24;
const REGION_SHIFT: u32 = STARTS_BITS;
const TERM_SHIFT: u32 = STARTS_BITS + u16::BITS;

/// Highest term of a log, and highest count of starts that an epoch holds.
pub const MAX_TERM: u32 = (1 << TERM_BITS) - 1;

/// What stands for a region's name in 16 bits; 0 is a broker without a name.
///
/// It follows from the name alone, so that nobody has to hand numbers out, also not in a split.
/// Two regions of one number can't be peers.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct RegionNumber(pub u16);

impl RegionNumber {
    /// The number of a region: CRC-32 of its name, modulo 65,535, plus 1.
    #[must_use]
    pub fn of(name: &RegionName) -> Self {
        let number = crc32fast::hash(name.as_str().as_bytes()) % u32::from(u16::MAX) + 1;
        Self(u16::try_from(number).expect("at most 65,535"))
    }
}

impl fmt::Display for RegionNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Who is home of a log, and for the how-manieth time: what the epochs of one home have in common.
/// The higher one wins, so two regions that take a log over in the same term never tie.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "camelCase")]
pub struct Tenure {
    /// Raised by one at every move, at most [`MAX_TERM`].
    pub term: u32,
    /// The home.
    pub region: RegionNumber,
}

impl fmt::Display for Tenure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "term {} of region number {}", self.term, self.region)
    }
}

/// A term or a count of starts for which an epoch has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} {found} does not fit into a log epoch, whose limit is {MAX_TERM}")]
pub struct EpochOverflow {
    /// Which of the two.
    pub what: &'static str,
    /// Its value.
    pub found: u64,
}

/// A log epoch in its parts. Ordered as its number is: term, region, starts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HomeEpoch {
    /// Who was home.
    pub tenure: Tenure,
    /// Starts of that region's broker.
    pub starts: u32,
}

impl HomeEpoch {
    /// The epoch that a home stamps.
    ///
    /// - `starts`: number of its broker's start.
    ///
    /// # Errors
    /// [`EpochOverflow`] when the term or the count of starts is above [`MAX_TERM`].
    pub fn new(tenure: Tenure, starts: u64) -> Result<Self, EpochOverflow> {
        let overflow = |what, found| EpochOverflow { what, found };
        if tenure.term > MAX_TERM {
            return Err(overflow("term", u64::from(tenure.term)));
        }
        let counted = u32::try_from(starts)
            .ok()
            .filter(|starts| *starts <= MAX_TERM);
        let starts = counted.ok_or(overflow("start", starts))?;
        Ok(Self { tenure, starts })
    }

    /// The parts of an epoch; every number has them.
    #[must_use]
    pub fn of(epoch: LogEpoch) -> Self {
        let part = |shift: u32, bits: u32| (epoch.0 >> shift) & ((1 << bits) - 1);
        let narrow = |part: u64| u32::try_from(part).expect("24 bits");
        let region = u16::try_from(part(REGION_SHIFT, u16::BITS)).expect("16 bits");
        Self {
            tenure: Tenure {
                term: narrow(part(TERM_SHIFT, TERM_BITS)),
                region: RegionNumber(region),
            },
            starts: narrow(part(0, STARTS_BITS)),
        }
    }

    /// The number that is stamped.
    #[must_use]
    pub fn log_epoch(self) -> LogEpoch {
        let term = u64::from(self.tenure.term) << TERM_SHIFT;
        let region = u64::from(self.tenure.region.0) << REGION_SHIFT;
        LogEpoch(term | region | u64::from(self.starts))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn number(name: &str) -> RegionNumber {
        RegionNumber::of(&RegionName::parse(name).unwrap())
    }

    #[test]
    fn a_region_has_the_number_of_its_name_for_ever() {
        let numbers = ["us-east", "eu-west", "ap-south"].map(|name| number(name).0);
        assert_eq!(numbers, [3_692, 37_593, 58_613]);
    }

    #[test]
    fn epochs_from_before_there_were_regions_are_what_they_were() {
        let epoch = HomeEpoch::new(Tenure::default(), 7).unwrap();
        assert_eq!(epoch.log_epoch(), LogEpoch(7));
        let named = Tenure {
            term: 0,
            region: number("us-east"),
        };
        let next = HomeEpoch::new(named, 8).unwrap();
        assert!(next.log_epoch() > LogEpoch(u64::from(MAX_TERM)));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let most = Tenure {
            term: MAX_TERM,
            region: RegionNumber(u16::MAX),
        };
        let epoch = HomeEpoch::new(most, u64::from(MAX_TERM)).unwrap();
        assert_eq!(epoch.log_epoch(), LogEpoch(u64::MAX));
        assert!(HomeEpoch::new(most, u64::from(MAX_TERM) + 1).is_err());
        let term = MAX_TERM + 1;
        let error = HomeEpoch::new(Tenure { term, ..most }, 0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "term 16777216 does not fit into a log epoch, whose limit is 16777215"
        );
    }

    proptest! {
        #[test]
        fn the_order_of_epochs_is_that_of_their_parts(a: u64, b: u64) {
            let (of_a, of_b) = (HomeEpoch::of(LogEpoch(a)), HomeEpoch::of(LogEpoch(b)));
            prop_assert_eq!(of_a.cmp(&of_b), a.cmp(&b));
            prop_assert_eq!(of_a.log_epoch(), LogEpoch(a));
        }
    }
}
