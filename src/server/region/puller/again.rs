//! Wider copies that were given up, or give no more than the copy has: why, and when one is tried again.
//!
//! What failed is tried again by itself, after a wait that doubles and is at least as long as the try
//! before took, so that no link spends more than half of its time on what comes to nothing. Where
//! trying again could change nothing, it waits until something else is wanted.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use crate::protocol::region::WiderStatus;
use crate::region::interest::Wish;
use crate::server::clock;
use crate::server::ranks::MutexGuard;
use crate::server::region::Regions;
use crate::types::Incarnation;

/// The first wait, and the longest but for tries that take longer.
const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(600);

/// Why a copy is not made wider.
#[derive(Debug)]
pub(in crate::server::region) struct Narrow {
    /// What is wanted of it.
    wish: Wish,
    /// None: it has all that there is.
    failed: Option<Failed>,
}

#[derive(Debug)]
struct Failed {
    error: String,
    /// How often in a row.
    times: u32,
    /// When it is tried again; none: it may be now.
    again: Option<Instant>,
}

/// How long to wait after so many failures in a row, of which the last took that long.
fn wait_after(times: u32, took: Duration) -> Duration {
    let doubled = FIRST.saturating_mul(1 << times.saturating_sub(1).min(10));
    doubled.min(LONGEST).max(took)
}

impl Regions {
    fn narrow(&self) -> MutexGuard<'_, HashMap<Incarnation, Narrow>> {
        self.narrow.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a copy stays as it is for now, though this is wanted of it.
    pub(super) fn stays_narrow(&self, id: Incarnation, wish: &Wish) -> bool {
        let narrow = self.narrow();
        let known = narrow.get(&id).filter(|known| known.wish == *wish);
        known.is_some_and(|known| match &known.failed {
            None => true,
            Some(failed) => failed.again.is_some(),
        })
    }

    /// Notes that a copy has all that there is of what is wanted.
    pub(super) fn has_all(&self, id: Incarnation, wish: Wish) {
        let failed = None;
        self.narrow().insert(id, Narrow { wish, failed });
    }

    /// Notes that a wider copy was given up, and when it is tried again.
    ///
    /// - `took`: how long this try has lasted.
    pub(super) fn failed_wider(&self, id: Incarnation, wish: Wish, error: &str, took: Duration) {
        let mut narrow = self.narrow();
        let before = narrow.get(&id).filter(|known| known.wish == wish);
        let before = before.and_then(|known| known.failed.as_ref());
        let times = before.map_or(0, |failed| failed.times).saturating_add(1);
        let now = Instant::from_std(clock::instant());
        let failed = Some(Failed {
            error: error.to_owned(),
            times,
            again: Some(now + wait_after(times, took)),
        });
        narrow.insert(id, Narrow { wish, failed });
    }

    /// Notes why a copy can't be made wider now; it is as soon as that is no longer so.
    pub(super) fn waits_wider(&self, id: Incarnation, wish: Wish, error: &str) {
        let mut narrow = self.narrow();
        let before = narrow.get(&id).and_then(|known| known.failed.as_ref());
        let times = before.map_or(0, |failed| failed.times);
        let failed = Some(Failed {
            error: error.to_owned(),
            times,
            again: None,
        });
        narrow.insert(id, Narrow { wish, failed });
    }

    /// Forgets what kept a copy from becoming wider.
    pub(super) fn forget_narrow(&self, id: Incarnation) {
        self.narrow().remove(&id);
    }

    /// When the first of these copies is to be tried again.
    pub(super) fn wider_again(&self, ids: impl Iterator<Item = Incarnation>) -> Option<Instant> {
        let narrow = self.narrow();
        let due = ids.filter_map(|id| narrow.get(&id)?.failed.as_ref()?.again);
        due.min()
    }

    /// Lets those of these copies be tried again whose time has come.
    pub(super) fn try_wider(&self, ids: impl Iterator<Item = Incarnation>) {
        let now = Instant::from_std(clock::instant());
        let mut narrow = self.narrow();
        for id in ids {
            let known = narrow.get_mut(&id);
            if let Some(failed) = known.and_then(|known| known.failed.as_mut()) {
                failed.again = failed.again.filter(|again| *again > now);
            }
        }
    }

    /// What is told of a copy that could not be made wider; nothing where it has all there is.
    pub fn wider_status(&self, id: Incarnation) -> Option<WiderStatus> {
        let narrow = self.narrow();
        let failed = narrow.get(&id)?.failed.as_ref()?;
        let now = Instant::from_std(clock::instant());
        let wait = failed
            .again
            .map(|again| again.saturating_duration_since(now));
        Some(WiderStatus {
            error: failed.error.clone(),
            times: failed.times,
            again_ms: wait.map(|wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest_and_are_no_shorter_than_the_try() {
        let short = Duration::ZERO;
        let waits: Vec<u64> = (1..=4).map(|n| wait_after(n, short).as_secs()).collect();
        assert_eq!(waits, [1, 2, 4, 8]);
        assert_eq!(wait_after(11, short), LONGEST);
        assert_eq!(wait_after(u32::MAX, short), LONGEST);
        let hour = Duration::from_secs(3600);
        assert_eq!(wait_after(1, hour), hour);
    }
}
