//! What a run has measured, for people and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// What was run.
    pub name: String,
    /// The durability level that the acknowledgements named; none for reads.
    pub level: Option<String>,
    pub seconds: f64,
    pub operations: u64,
    pub records: u64,
    pub bytes: u64,
    pub records_per_second: f64,
    pub megabytes_per_second: f64,
    pub operations_per_second: f64,
    pub p50_us: u64,
    pub p99_us: u64,
    pub p999_us: u64,
    pub max_us: u64,
}

/// Counts and latencies while a run lasts.
#[derive(Debug)]
pub struct Counting {
    pub operations: u64,
    pub records: u64,
    pub bytes: u64,
    pub level: Option<String>,
    latencies: Histogram<u64>,
}

impl Counting {
    pub fn new() -> Self {
        // One microsecond to a minute, three digits.
        let latencies = Histogram::new_with_bounds(1, 60_000_000, 3)
            .expect("constants that the histogram accepts");
        Self {
            operations: 0,
            records: 0,
            bytes: 0,
            level: None,
            latencies,
        }
    }

    /// Books one operation.
    pub fn book(&mut self, took: Duration, records: u64, bytes: u64) {
        self.operations += 1;
        self.records += records;
        self.bytes += bytes;
        let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1);
        self.latencies.saturating_record(us);
    }

    /// Adds what another connection has counted.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.records += other.records;
        self.bytes += other.bytes;
        self.level = self.level.take().or_else(|| other.level.clone());
        self.latencies
            .add(&other.latencies)
            .expect("histograms of the same bounds");
    }

    /// The figures, over the time that the run took.
    pub fn over(self, name: impl Into<String>, took: Duration) -> Measured {
        let seconds = took.as_secs_f64().max(1e-9);
        let quantile = |q| self.latencies.value_at_quantile(q);
        Measured {
            name: name.into(),
            level: self.level,
            seconds,
            operations: self.operations,
            records: self.records,
            bytes: self.bytes,
            records_per_second: float(self.records) / seconds,
            megabytes_per_second: float(self.bytes) / seconds / 1e6,
            operations_per_second: float(self.operations) / seconds,
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
            p999_us: quantile(0.999),
            max_us: self.latencies.max(),
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "figures for people; counts stay below 2^53"
)]
pub fn float(value: u64) -> f64 {
    value as f64
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let level = self.level.as_deref().unwrap_or("-");
        write!(
            f,
            "{:<44} {:<8} {:>10.0} rec/s {:>8.1} MB/s {:>9.0} op/s   µs p50 {:>6} p99 {:>7} p99.9 {:>7} max {:>8}",
            self.name,
            level,
            self.records_per_second,
            self.megabytes_per_second,
            self.operations_per_second,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.max_us
        )
    }
}
