//! Totals of a tool, and how long its calls took, in whole numbers only, so that every replay
//! counts alike on every machine.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::record::Outcome;

/// Bits of a duration that tell buckets of one power of two apart.
const FINE_BITS: u32 = 4;

/// How long calls took, in ms, counted in buckets: one for each duration below 32 ms, and 16 for
/// each power of two above. The middle of a bucket stands for all in it, so that a percentile is
/// off by at most 1/32, 3.1 %, of the real one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Durations {
    /// Calls by bucket, in JSON `{"bucket": calls}`; no count is 0.
    buckets: BTreeMap<u16, u64>,
    /// The longest, exactly, in ms.
    pub max_ms: u64,
    /// All together, exactly, in ms, up to the largest number there is.
    pub total_ms: u64,
}

impl Durations {
    /// Counts one call.
    pub fn record(&mut self, ms: u64) {
        *self.buckets.entry(bucket(ms)).or_default() += 1;
        self.max_ms = self.max_ms.max(ms);
        self.total_ms = self.total_ms.saturating_add(ms);
    }

    /// How many calls were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.values().sum()
    }

    /// The duration in ms that `per_mille` thousandths of the calls did not exceed, off by at most
    /// 3.1 %, and never above the longest; none where no call was counted.
    ///
    /// - `per_mille`: 500 for the median, 0 to 1,000.
    #[must_use]
    pub fn percentile(&self, per_mille: u16) -> Option<u64> {
        let count = u128::from(self.count());
        // The rank of the call that is asked for, from 1.
        let rank = (count * u128::from(per_mille)).div_ceil(1000).max(1);
        let mut seen = 0;
        self.buckets.iter().find_map(|(bucket, calls)| {
            seen += u128::from(*calls);
            (seen >= rank).then(|| middle(*bucket).min(self.max_ms))
        })
    }
}

/// The bucket of a duration.
fn bucket(ms: u64) -> u16 {
    let shift = (u64::BITS - ms.leading_zeros()).saturating_sub(FINE_BITS + 1);
    let fine = ms >> shift; // below 32, and from 16 on where anything was shifted out
    u16::try_from((u64::from(shift) << FINE_BITS) + fine).expect("at most 60 × 16 + 31")
}

/// The middle of the durations of a bucket.
fn middle(bucket: u16) -> u64 {
    let shift = (bucket >> FINE_BITS).saturating_sub(1);
    let fine = u64::from(bucket) - (u64::from(shift) << FINE_BITS);
    (fine << shift) + ((1 << shift) >> 1)
}

/// What became of the calls of a tool.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolStats {
    /// Calls that were started, the open ones included.
    pub calls: u64,
    /// Calls that were given up by the clock. How long they took is not counted.
    pub abandoned: u64,
    /// Calls that failed.
    pub failed: u64,
    /// Calls that finished.
    pub finished: u64,
    /// How long those took that finished or failed.
    pub durations: Durations,
}

impl ToolStats {
    /// Calls that are open.
    #[must_use]
    pub fn open(&self) -> u64 {
        self.calls - self.abandoned - self.failed - self.finished
    }

    pub(super) fn end(&mut self, outcome: Outcome, ms: u64) {
        match outcome {
            Outcome::Abandoned => self.abandoned += 1,
            Outcome::Failed => self.failed += 1,
            Outcome::Finished => self.finished += 1,
        }
        if outcome != Outcome::Abandoned {
            self.durations.record(ms);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_stands_for_its_durations_within_a_thirty_second_part() {
        let mut last = 0;
        let around =
            (0..63).flat_map(|bit| [0, 1, 3, 7].map(|more| (1u64 << bit) + (more << bit >> 3)));
        let mut all: Vec<u64> = (0..5_000).chain(around).chain([u64::MAX]).collect();
        all.sort_unstable();
        for ms in all {
            let bucket = bucket(ms);
            assert!(bucket >= last, "{ms} goes back");
            last = bucket;
            let off = middle(bucket).abs_diff(ms);
            assert!(off <= ms / 32, "{ms} ms is told as {}", middle(bucket));
        }
    }

    #[test]
    fn a_percentile_is_that_of_the_sorted_durations() {
        let mut durations = Durations::default();
        assert_eq!(durations.percentile(500), None);
        let mut sorted: Vec<u64> = (0u64..1_000).map(|n| n * n * 7 % 90_001).collect();
        sorted.iter().for_each(|ms| durations.record(*ms));
        sorted.sort_unstable();
        for (per_mille, rank) in [
            (0, 1),
            (1, 1),
            (500, 500),
            (900, 900),
            (990, 990),
            (1000, 1000),
        ] {
            let (exact, told) = (sorted[rank - 1], durations.percentile(per_mille).unwrap());
            assert!(
                told.abs_diff(exact) <= exact / 32,
                "{exact} is told as {told}"
            );
        }
        assert_eq!(durations.max_ms, *sorted.last().unwrap());
        assert_eq!(durations.total_ms, sorted.iter().sum::<u64>());
        let json = serde_json::to_string(&durations).unwrap();
        assert_eq!(serde_json::from_str::<Durations>(&json).unwrap(), durations);
    }
}
