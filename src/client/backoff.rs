//! Waits between tries: growing, jittered, so that many clients do not come back at once.

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Shortest and longest wait between two tries. Each wait is up to twice the one before, and is
/// moved by chance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackoffLimits {
    /// The first wait.
    pub min: Duration,
    /// No wait is much longer than this.
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
    ExponentialBuilder::default()
        .with_min_delay(limits.min)
        .with_max_delay(limits.max)
        .with_factor(2.0)
        .with_jitter()
        .without_max_times()
        .build()
}
