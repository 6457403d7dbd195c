//! How much a link may send.

use std::time::Duration;

use tokio::time::Instant;

/// Bytes that may be sent at once, though the limit for a second is smaller.
const LEAST_BURST: u64 = 64 << 10;

/// Bytes for each second, none of which is kept for long.
#[derive(Debug)]
pub(super) struct Budget {
    bytes_per_s: u64,
    /// What may be sent now; below zero what was sent ahead of its time.
    credit: i64,
    at: Instant,
}

impl Budget {
    /// - `bytes_per_s`: 0 is no limit.
    pub fn new(bytes_per_s: u64, now: Instant) -> Option<Self> {
        (bytes_per_s > 0).then_some(Self {
            bytes_per_s,
            credit: 0,
            at: now,
        })
    }

    /// What may be sent now; none before [`Budget::due`].
    pub fn allowed(&mut self, now: Instant) -> Option<u64> {
        let nanos = now.saturating_duration_since(self.at).as_nanos();
        let earned = nanos.saturating_mul(u128::from(self.bytes_per_s)) / 1_000_000_000;
        // What is less than a byte goes on counting.
        if earned > 0 {
            self.at = now;
            let burst = i64::try_from((self.bytes_per_s / 10).max(LEAST_BURST)).unwrap_or(i64::MAX);
            let earned = i64::try_from(earned).unwrap_or(i64::MAX);
            self.credit = self.credit.saturating_add(earned).min(burst);
        }
        u64::try_from(self.credit).ok().filter(|credit| *credit > 0)
    }

    /// Books what was sent.
    pub fn spend(&mut self, bytes: u64) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.credit = self.credit.saturating_sub(bytes);
    }

    /// When something may be sent again.
    pub fn due(&self) -> Instant {
        let owed = u64::try_from(self.credit.saturating_neg()).unwrap_or(0) + 1;
        let nanos = u128::from(owed) * 1_000_000_000 / u128::from(self.bytes_per_s);
        self.at + Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX) + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn start() -> Instant {
        Instant::from_std(crate::server::clock::instant())
    }

    #[test]
    fn what_is_sent_in_the_long_run_is_what_was_earned() {
        let mut now = start();
        let begun = now;
        let mut budget = Budget::new(1_000_000, now).unwrap();
        let mut sent = 0;
        for turn in 0..1000_u64 {
            match budget.allowed(now) {
                // Whole batches: now and then one is larger than what is left.
                Some(allowed) => {
                    let bytes = allowed.min(40_000) + turn % 7 * 30_000;
                    budget.spend(bytes);
                    sent += bytes;
                }
                None => now = budget.due(),
            }
        }
        let seconds = (now - begun).as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let rate = sent as f64 / seconds;
        assert!((900_000.0..1_300_000.0).contains(&rate), "{rate}");
    }

    #[test]
    fn what_was_not_sent_is_not_kept() {
        let now = start();
        let mut budget = Budget::new(1_000_000, now).unwrap();
        let later = now + Duration::from_secs(100);
        assert_eq!(budget.allowed(later), Some(100_000));
        budget.spend(100_001);
        assert_eq!(budget.allowed(later), None);
        assert!(budget.due() > later);
        assert!(budget.allowed(budget.due()).is_some());
        assert!(Budget::new(0, now).is_none());
    }
}
