//! How many refused acts are recorded, so that nobody fills the disk by being refused.

use std::collections::BTreeMap;

use crate::types::{OrgId, Timestamp};

/// Refused acts that are recorded in a row.
pub const REFUSALS_AT_ONCE: u32 = 30;

/// Milliseconds after which one more is.
pub const REFUSAL_EVERY_MS: i64 = 10_000;

/// What may be recorded of each organisation's refused acts; those of nobody known have a place of
/// their own. At a few hundred bytes each, one organisation adds 5 MB a day at most.
#[derive(Debug, Default)]
pub struct Refusals(BTreeMap<Option<OrgId>, Bucket>);

#[derive(Debug)]
struct Bucket {
    left: u32,
    /// From when the next one more is counted.
    since: Timestamp,
    suppressed: u64,
}

impl Bucket {
    fn refill(&mut self, now: Timestamp) {
        let passed = now.0.saturating_sub(self.since.0);
        // A clock that was set back starts anew.
        if passed < 0 {
            self.since = now;
            return;
        }
        let more = passed / REFUSAL_EVERY_MS;
        self.since = self.since.saturating_add_ms(more * REFUSAL_EVERY_MS);
        let more = u32::try_from(more).unwrap_or(REFUSALS_AT_ONCE);
        self.left = self.left.saturating_add(more).min(REFUSALS_AT_ONCE);
    }
}

impl Refusals {
    /// Whether a refused act is to be recorded, and how many before it were not; else it is
    /// counted.
    pub fn take(&mut self, org: Option<OrgId>, now: Timestamp) -> Option<u64> {
        let bucket = self.0.entry(org).or_insert(Bucket {
            left: REFUSALS_AT_ONCE,
            since: now,
            suppressed: 0,
        });
        bucket.refill(now);
        if bucket.left == 0 {
            bucket.suppressed += 1;
            return None;
        }
        bucket.left -= 1;
        Some(std::mem::take(&mut bucket.suppressed))
    }

    /// Takes back a refusal that could not be recorded: it and those it told of are counted.
    pub fn give_back(&mut self, org: Option<OrgId>, suppressed: u64) {
        if let Some(bucket) = self.0.get_mut(&org) {
            bucket.suppressed += suppressed + 1;
        }
    }

    /// An organisation with counted refusals of which a record may tell by now.
    #[must_use]
    pub fn due(&mut self, now: Timestamp) -> Option<Option<OrgId>> {
        let mut buckets = self.0.iter_mut();
        buckets.find_map(|(org, bucket)| {
            bucket.refill(now);
            (bucket.suppressed > 0 && bucket.left > 0).then_some(*org)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_refusals_is_counted_and_others_are_recorded_beside_it() {
        let mut refusals = Refusals::default();
        let org = |n| Some(OrgId(n));
        let mut recorded = 0;
        for n in 0..10_000 {
            recorded += u64::from(refusals.take(None, Timestamp(n)).is_some());
        }
        assert_eq!(recorded, u64::from(REFUSALS_AT_ONCE));
        assert_eq!(refusals.take(org(1), Timestamp(10_000)), Some(0));
        assert_eq!(refusals.due(Timestamp(9_999)), None);
        let later = Timestamp(REFUSAL_EVERY_MS);
        assert_eq!(refusals.due(later), Some(None));
        assert_eq!(refusals.take(None, later), Some(10_000 - recorded));
        assert_eq!(refusals.due(later), None, "told");
        assert_eq!(refusals.take(None, later), None);
        // However long nobody was refused, no more than so many are recorded at once.
        let much_later = Timestamp(i64::MAX);
        let mut at_once = 0;
        while refusals.take(None, much_later).is_some() {
            at_once += 1;
        }
        assert_eq!(at_once, REFUSALS_AT_ONCE);
    }

    #[test]
    fn what_could_not_be_recorded_is_counted_and_a_clock_set_back_lets_nothing_through() {
        let mut refusals = Refusals::default();
        let at = Timestamp(1_000_000);
        assert_eq!(refusals.take(None, at), Some(0));
        refusals.give_back(None, 0);
        assert_eq!(refusals.take(None, at), Some(1));
        while refusals.take(None, at).is_some() {}
        assert_eq!(refusals.take(None, Timestamp(0)), None);
        assert_eq!(refusals.take(None, Timestamp(REFUSAL_EVERY_MS)), Some(2));
    }
}
