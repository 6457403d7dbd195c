//! Waits between tries: growing, jittered, so that many clients do not come back at once.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first and the longest wait between two tries. The bound of each is twice that of the one before,
/// and chance makes it up to half shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimits {
    /// The first wait is not longer than this.
    pub min: Duration,
    /// No wait is longer than this, but where a broker asks for more.
    pub max: Duration,
}

impl Default for BackoffLimits {
    fn default() -> Self {
        Self {
            min: Duration::from_millis(20),
            max: Duration::from_secs(2),
        }
    }
}

/// The waits of one row of tries.
#[derive(Debug)]
pub struct Backoff {
    limits: BackoffLimits,
    waits: ExponentialBackoff,
}

impl Backoff {
    /// Waits within these limits.
    #[must_use]
    pub fn new(limits: BackoffLimits) -> Self {
        Self {
            limits,
            waits: waits(limits),
        }
    }

    /// The next wait, at least what the broker asked for.
    pub fn next(&mut self, retry_after_ms: Option<u64>) -> Duration {
        let asked = Duration::from_millis(retry_after_ms.unwrap_or(0)).min(self.limits.max * 10);
        self.waits.next().unwrap_or(self.limits.max).max(asked)
    }

    /// Begins again with the shortest wait.
    pub fn reset(&mut self) {
        self.waits = waits(self.limits);
    }
}

fn waits(limits: BackoffLimits) -> ExponentialBackoff {
    // Chance adds up to as much again.
    ExponentialBuilder::default()
        .with_min_delay(limits.min / 2)
        .with_max_delay(limits.max / 2)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_no_further() {
        let ms = Duration::from_millis;
        let limits = BackoffLimits {
            min: ms(100),
            max: ms(10_000),
        };
        let mut backoff = Backoff::new(limits);
        for _ in 0..2 {
            let mut bound = limits.min;
            for n in 0..200 {
                let wait = backoff.next(None);
                assert!(
                    wait >= bound / 2 && wait <= bound,
                    "wait {n} is {wait:?} of {bound:?}"
                );
                bound = (bound * 2).min(limits.max);
            }
            backoff.reset();
        }
        assert_eq!(backoff.next(Some(30_000)), ms(30_000), "what is asked for");
        assert_eq!(backoff.next(Some(u64::MAX)), limits.max * 10);
    }
}
