//! Positions over the logs of all regions, and the one order of a replay that merges them.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::types::{Offset, RegionName, Timestamp};

/// The next offset to read in each region's log. A region that is not in it counts from the log
/// start.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Vector(BTreeMap<RegionName, Offset>);

/// A vector that can't move so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the position in `{region}` is {here}, and cannot become {to}")]
pub struct BackwardStep {
    /// Which log.
    pub region: RegionName,
    /// Where it stands.
    pub here: Offset,
    /// Where it was to go.
    pub to: Offset,
}

impl Vector {
    /// The next offset in a region's log; 0 where the region is not in it.
    #[must_use]
    pub fn of(&self, region: &RegionName) -> Offset {
        self.0.get(region).copied().unwrap_or_default()
    }

    /// The next offset in a region's log, where the region is in it.
    #[must_use]
    pub fn part(&self, region: &RegionName) -> Option<Offset> {
        self.0.get(region).copied()
    }

    /// Whether it names no region: everything counts from the log starts.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its parts, sorted by region.
    pub fn parts(&self) -> impl Iterator<Item = (&RegionName, Offset)> {
        self.0.iter().map(|(region, offset)| (region, *offset))
    }

    /// Goes on in one region.
    ///
    /// # Errors
    /// [`BackwardStep`] when the log was read further already; nothing is changed.
    pub fn advance(&mut self, region: &RegionName, to: Offset) -> Result<(), BackwardStep> {
        let here = self.of(region);
        if to < here {
            let region = region.clone();
            return Err(BackwardStep { region, here, to });
        }
        self.0.insert(region.clone(), to);
        Ok(())
    }

    /// The least vector that has read all that either has.
    #[must_use]
    pub fn union(mut self, other: &Self) -> Self {
        for (region, offset) in &other.0 {
            let part = self.0.entry(region.clone()).or_default();
            *part = (*part).max(*offset);
        }
        self
    }
}

impl FromIterator<(RegionName, Offset)> for Vector {
    fn from_iter<I: IntoIterator<Item = (RegionName, Offset)>>(parts: I) -> Self {
        Self(parts.into_iter().collect())
    }
}

/// By each part. One that is ahead in one region and behind in another is neither.
impl PartialOrd for Vector {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        if self == other {
            return Some(Ordering::Equal);
        }
        let regions = self.0.keys().chain(other.0.keys());
        let mut found = Ordering::Equal;
        for region in regions {
            let here = self.of(region).cmp(&other.of(region));
            if found == here.reverse() && here.is_ne() {
                return None;
            }
            found = found.then(here);
        }
        // The same offsets, one of them with a 0 written out: neither has read more.
        (found.is_ne()).then_some(found)
    }
}

impl fmt::Display for Vector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        for (at, (region, offset)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{region}: {offset}")?;
        }
        f.write_str("}")
    }
}

/// What comes next of one region's log.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Next {
    /// A record with this append time; it can be taken.
    At(Timestamp),
    /// More has to be read first.
    Unread,
    /// All of it, up to the end that was asked for, is taken.
    Done,
}

/// Merges the logs of all regions between two vectors: by append time, then by region name, each
/// log in its own order. As append time never goes down within a log, the order is the same
/// everywhere and every time.
///
/// The caller reads; this says whose record is next.
///
/// ```text
/// loop { match merge.poll() { Step::Read(region) => read, then handle_next;  Step::Take(region) => yield;  Step::Done => break } }
/// ```
#[derive(Clone, Debug)]
pub struct Merge {
    position: Vector,
    to: Vector,
    next: BTreeMap<RegionName, Next>,
}

/// What a merge wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MergeStep {
    /// The next record of this region's log, before anything can be taken.
    Read(RegionName),
    /// The next record of this region's log is the next of all.
    Take(RegionName),
    /// Everything is taken.
    Done,
}

/// A record that can't be the next of its log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MergeError {
    /// Nobody asked for it.
    #[error("no record of `{region}` is to be read")]
    NotWanted {
        /// The region.
        region: RegionName,
    },
    /// It lies before what is read already.
    #[error("a record of `{region}` at {found} comes after {next}")]
    Backward {
        /// The region.
        region: RegionName,
        /// Its offset.
        found: Offset,
        /// The next offset to read.
        next: Offset,
    },
}

impl Merge {
    /// A merge from one vector to another, exclusive. A region that `to` does not name is not
    /// read; one that is behind in `to` has nothing to read.
    #[must_use]
    pub fn between(from: Vector, to: Vector) -> Self {
        let next = to.parts().map(|(region, end)| {
            let is_read = from.of(region) >= end;
            let next = if is_read { Next::Done } else { Next::Unread };
            (region.clone(), next)
        });
        Self {
            next: next.collect(),
            position: from,
            to,
        }
    }

    /// Where the reader stands after what it has taken.
    #[must_use]
    pub fn position(&self) -> &Vector {
        &self.position
    }

    /// What to do next.
    #[must_use]
    pub fn poll(&self) -> MergeStep {
        let mut first: Option<(Timestamp, &RegionName)> = None;
        for (region, next) in &self.next {
            match next {
                Next::Unread => return MergeStep::Read(region.clone()),
                Next::Done => {}
                Next::At(time) => {
                    let one = (*time, region);
                    first = Some(first.map_or(one, |first| first.min(one)));
                }
            }
        }
        first.map_or(MergeStep::Done, |(_, region)| {
            MergeStep::Take(region.clone())
        })
    }

    /// The next record of a region's log was read. Offsets that hold nothing are passed over; at
    /// or behind the end that was asked for it is not taken.
    ///
    /// # Errors
    /// [`MergeError`] when the record can't be the next; nothing is changed.
    pub fn handle_next(
        &mut self,
        region: &RegionName,
        offset: Offset,
        append_time: Timestamp,
    ) -> Result<(), MergeError> {
        let Some(next) = self
            .next
            .get_mut(region)
            .filter(|next| **next == Next::Unread)
        else {
            let region = region.clone();
            return Err(MergeError::NotWanted { region });
        };
        let end = self.to.of(region).min(offset);
        if let Err(step) = self.position.advance(region, end) {
            return Err(MergeError::Backward {
                region: step.region,
                found: offset,
                next: step.here,
            });
        }
        *next = if offset >= self.to.of(region) {
            Next::Done
        } else {
            Next::At(append_time)
        };
        Ok(())
    }

    /// Offsets of a region's log, up to `end`, hold nothing that could be taken.
    ///
    /// # Errors
    /// [`MergeError`] when no record of the region is to be read, or the offsets were passed before;
    /// nothing is changed.
    pub fn handle_passed(&mut self, region: &RegionName, end: Offset) -> Result<(), MergeError> {
        self.handle_next(region, end, Timestamp(i64::MAX))?;
        let next = self.next.get_mut(region).expect("seen just now");
        if *next != Next::Done {
            *next = Next::Unread;
        }
        Ok(())
    }

    /// The record that [`MergeStep::Take`] names was taken.
    ///
    /// # Panics
    /// When none of this region was to be taken.
    pub fn handle_taken(&mut self, region: &RegionName) {
        let next = self.next.get_mut(region).expect("a region of the merge");
        assert!(matches!(next, Next::At(_)), "a record that was read");
        let behind = Offset(self.position.of(region).0 + 1);
        self.position
            .advance(region, behind)
            .expect("one further is never back");
        *next = if behind >= self.to.of(region) {
            Next::Done
        } else {
            Next::Unread
        };
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn region(name: &str) -> RegionName {
        RegionName::parse(name).unwrap()
    }

    fn vector(parts: &[(&str, u64)]) -> Vector {
        let parts = parts.iter();
        parts
            .map(|(name, offset)| (region(name), Offset(*offset)))
            .collect()
    }

    #[test]
    fn vectors_compare_by_each_part() {
        use Ordering::{Equal, Greater, Less};
        let none: &[(&str, u64)] = &[];
        for (a, b, order) in [
            (none, none, Some(Equal)),
            (none, &[("us", 1)], Some(Less)),
            (&[("us", 2)], &[("us", 1)], Some(Greater)),
            (&[("us", 2), ("eu", 1)], &[("us", 2), ("eu", 3)], Some(Less)),
            (&[("us", 2), ("eu", 1)], &[("us", 1), ("eu", 3)], None),
            (&[("us", 2)], &[("eu", 3)], None),
            (&[("us", 0)], none, None),
        ] {
            assert_eq!(vector(a).partial_cmp(&vector(b)), order, "{a:?} {b:?}");
            let reverse = order.map(Ordering::reverse);
            assert_eq!(vector(b).partial_cmp(&vector(a)), reverse, "{b:?} {a:?}");
        }
    }

    #[test]
    fn a_vector_never_goes_back() {
        let mut position = vector(&[("us", 5)]);
        let error = position.advance(&region("us"), Offset(4)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the position in `us` is 5, and cannot become 4"
        );
        position.advance(&region("us"), Offset(5)).unwrap();
        position.advance(&region("eu"), Offset(2)).unwrap();
        assert_eq!(position.to_string(), "{eu: 2, us: 5}");
        let json = serde_json::to_string(&position).unwrap();
        assert_eq!(json, r#"{"eu":2,"us":5}"#);
        assert_eq!(serde_json::from_str::<Vector>(&json).unwrap(), position);
        let union = position.union(&vector(&[("us", 3), ("ap", 1)]));
        assert_eq!(union, vector(&[("ap", 1), ("eu", 2), ("us", 5)]));
    }

    #[test]
    fn a_record_that_is_not_the_next_is_refused() {
        let mut merge = Merge::between(vector(&[("us", 5)]), vector(&[("us", 9)]));
        let us = region("us");
        let error = merge.handle_next(&us, Offset(4), Timestamp(0)).unwrap_err();
        assert_eq!(error.to_string(), "a record of `us` at 4 comes after 5");
        let eu = merge.handle_next(&region("eu"), Offset(5), Timestamp(0));
        assert!(matches!(eu, Err(MergeError::NotWanted { .. })));
        merge.handle_next(&us, Offset(5), Timestamp(0)).unwrap();
        let twice = merge.handle_next(&us, Offset(6), Timestamp(0));
        assert!(matches!(twice, Err(MergeError::NotWanted { .. })));
        merge.handle_taken(&us);
        merge.handle_passed(&us, Offset(8)).unwrap();
        assert_eq!(merge.position(), &vector(&[("us", 8)]));
        assert_eq!(merge.poll(), MergeStep::Read(us.clone()));
        assert!(merge.handle_passed(&us, Offset(7)).is_err());
        // The rest of the range holds nothing.
        merge.handle_next(&us, Offset(12), Timestamp(0)).unwrap();
        assert_eq!(merge.poll(), MergeStep::Done);
        assert_eq!(merge.position(), &vector(&[("us", 9)]));
    }

    const NAMES: [&str; 3] = ["ap", "eu", "us"];

    /// Append times of a log that never go down.
    fn log() -> impl Strategy<Value = Vec<i64>> {
        vec(0..3_i64, 0..12).prop_map(|steps| {
            let mut time = 0;
            let rising = steps.into_iter().map(|step| {
                time += step;
                time
            });
            rising.collect()
        })
    }

    proptest! {
        #[test]
        fn a_merge_takes_every_record_once_in_the_one_order(
            logs in vec(log(), 3),
            from in vec(0..8_usize, 3),
            to in vec(0..14_usize, 3),
        ) {
            let part = |parts: &[usize], at: usize| (region(NAMES[at]), Offset(parts[at] as u64));
            let to: Vec<usize> = to.iter().zip(&logs).map(|(to, log)| (*to).min(log.len())).collect();
            let start: Vector = (0..3).map(|at| part(&from, at)).collect();
            let end: Vector = (0..3).map(|at| part(&to, at)).collect();
            let mut merge = Merge::between(start.clone(), end.clone());
            let mut taken = Vec::new();
            loop {
                match merge.poll() {
                    MergeStep::Done => break,
                    MergeStep::Read(name) => {
                        let at = NAMES.iter().position(|one| region(one) == name).unwrap();
                        let offset = merge.position().of(&name);
                        let time = logs[at][usize::try_from(offset.0).unwrap()];
                        merge.handle_next(&name, offset, Timestamp(time)).unwrap();
                    }
                    MergeStep::Take(name) => {
                        let offset = merge.position().of(&name);
                        taken.push((name.clone(), offset.0));
                        merge.handle_taken(&name);
                    }
                }
            }
            let mut expected = Vec::new();
            for (at, log) in logs.iter().enumerate() {
                for (offset, time) in log.iter().enumerate().take(to[at]).skip(from[at]) {
                    expected.push((*time, region(NAMES[at]), offset as u64));
                }
            }
            expected.sort();
            let expected: Vec<_> = expected.into_iter().map(|(_, name, offset)| (name, offset)).collect();
            prop_assert_eq!(taken, expected);
            prop_assert_eq!(merge.position().clone(), start.union(&end));
        }
    }
}
