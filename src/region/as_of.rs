//! Up to when an answer from copies is current: how much of each region's log was known, and when the
//! last of that was appended there. `docs/regions.md`, "Copies of what agents say".

use std::cmp::Ordering;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::vector::Vector;
use crate::types::{Offset, RegionName, Timestamp};

/// Up to where one region's log is known.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpTo {
    /// The next offset of the log: everything below is counted in.
    pub offset: Offset,
    /// When the last record below it was appended, by the log's own append times; none where the log
    /// is empty up to there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
}

/// Up to where the log of each region is known that an answer rests on. A region that is not in it
/// counts nothing in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AsOf(BTreeMap<RegionName, UpTo>);

impl AsOf {
    /// Up to where one region's log is known.
    #[must_use]
    pub fn part(&self, region: &RegionName) -> Option<UpTo> {
        self.0.get(region).copied()
    }

    /// Its parts, sorted by region.
    pub fn parts(&self) -> impl Iterator<Item = (&RegionName, UpTo)> {
        self.0.iter().map(|(region, up_to)| (region, *up_to))
    }

    /// Its offsets alone.
    #[must_use]
    pub fn vector(&self) -> Vector {
        self.parts()
            .map(|(region, up_to)| (region.clone(), up_to.offset))
            .collect()
    }
}

impl FromIterator<(RegionName, UpTo)> for AsOf {
    fn from_iter<I: IntoIterator<Item = (RegionName, UpTo)>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

/// By each part's offset, as [`Vector`] compares: an answer that knows more of one region and less of
/// another is neither newer nor older.
impl PartialOrd for AsOf {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other {
            return Some(Ordering::Equal);
        }
        // The same offsets with other times are of logs that are not the same.
        let found = self.vector().partial_cmp(&other.vector());
        found.filter(|found| found.is_ne())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn as_of(parts: &[(&str, u64)]) -> AsOf {
        let parts = parts.iter().map(|(region, offset)| {
            let time = (*offset > 0).then(|| Timestamp(1_000 + i64::try_from(*offset).unwrap()));
            let offset = Offset(*offset);
            (RegionName::parse(region).unwrap(), UpTo { offset, time })
        });
        parts.collect()
    }

    #[test]
    fn answers_compare_by_each_region_and_one_that_is_ahead_and_behind_is_neither() {
        let (old, new) = (as_of(&[("eu-west", 4)]), as_of(&[("eu-west", 9)]));
        assert!(old < new);
        assert!(new > old);
        assert!(
            as_of(&[]) < old,
            "a region that is not in it counts nothing in"
        );
        let both = as_of(&[("eu-west", 4), ("us-east", 1)]);
        assert!(old < both);
        assert_eq!(
            both.partial_cmp(&new),
            None,
            "ahead in one, behind in the other"
        );
        assert_eq!(both.partial_cmp(&both.clone()), Some(Ordering::Equal));
    }

    #[test]
    fn the_same_offset_at_another_time_is_another_log() {
        let one = as_of(&[("eu-west", 4)]);
        let region = RegionName::parse("eu-west").unwrap();
        let time = Some(Timestamp(5));
        let other: AsOf = [(
            region,
            UpTo {
                offset: Offset(4),
                time,
            },
        )]
        .into_iter()
        .collect();
        assert_eq!(one.partial_cmp(&other), None);
    }

    #[test]
    fn it_is_an_object_of_offset_and_time_by_region() {
        let told = as_of(&[("eu-west", 4), ("us-east", 0)]);
        let json = serde_json::to_string(&told).unwrap();
        assert_eq!(
            json,
            r#"{"eu-west":{"offset":4,"time":1004},"us-east":{"offset":0}}"#
        );
        assert_eq!(serde_json::from_str::<AsOf>(&json).unwrap(), told);
    }
}
