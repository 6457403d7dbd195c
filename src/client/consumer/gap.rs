//! Records that were lost, as a consumer is told of them.

use std::collections::BTreeSet;
use std::fmt;

use super::RawBatch;
use crate::format::{Gap, Record};
use crate::types::Offset;

/// Reason of a gap that a copy of some record types puts over batches of others.
const FILTERED: &str = "filtered";

/// What a consumer does where a repair found that records were lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Gaps {
    /// It ends with [`ConsumeError::Lost`](super::ConsumeError::Lost) in front of them; another one
    /// may begin behind them, once the program knows what that means.
    #[default]
    Raise,
    /// It tells of them as an item of its own and goes on behind them.
    Yield,
}

/// What [`Consumer::next_item`](super::Consumer::next_item) gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A record.
    Record(Record),
    /// In this place of the channel, records were lost.
    Lost(LostRecords),
}

/// Records that were acknowledged once and that the broker's disk lost.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LostRecords {
    /// First offset that is lost, and was asked for.
    pub first: Offset,
    /// Offset after the last: where to go on.
    pub end: Offset,
    /// What a repair found in their place.
    pub gap: Gap,
}

impl RawBatch {
    /// Whether it stands for records that a copy passed over, and that may be among what is wanted.
    ///
    /// - `types`: what is wanted; `None` is all.
    pub(super) fn lacks(&self, types: Option<&BTreeSet<String>>) -> bool {
        let gap = self.gap.as_deref();
        let is_filtered = gap.is_some_and(|gap| gap.reason == FILTERED);
        is_filtered && !types.is_some_and(|types| self.lacks_only_others(types))
    }

    /// Whether it stands for records that a copy passed over because they are of other types than
    /// the copy is of, and the copy is of all of these.
    pub(super) fn lacks_only_others(&self, types: &BTreeSet<String>) -> bool {
        let gap = self.gap.as_deref().filter(|gap| gap.reason == FILTERED);
        gap.is_some_and(|gap| types.iter().all(|one| gap.types.contains(one)))
    }
}

impl LostRecords {
    pub(super) fn of(batch: &RawBatch) -> Option<Self> {
        Some(Self {
            first: batch.first,
            end: batch.end,
            gap: batch.gap.as_deref()?.clone(),
        })
    }
}

impl fmt::Display for LostRecords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, end, gap) = (self.first, self.end, &self.gap);
        if gap.reason == FILTERED {
            let types = gap.types.join(", ");
            return write!(
                f,
                "the records from offset {first} up to {end} are not in this copy, which is of \
                 these record types only: {types}; offset {end} follows"
            );
        }
        write!(f, "the records from offset {first} up to {end} are lost")?;
        match (gap.reason.as_str(), gap.what.as_str()) {
            ("", "") => Ok(()),
            (reason, "") => write!(f, " ({reason})"),
            ("", what) => write!(f, " ({what})"),
            (reason, what) => write!(f, " ({reason}: {what})"),
        }?;
        write!(f, "; offset {end} follows")
    }
}
