//! What a run has measured, for people and as JSON.

use std::fmt;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::broker::Spent;

/// The figures of one run.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measured {
    /// What was run.
    pub name: String,
    /// The durability level that the acknowledgements named; none for reads.
    pub level: Option<String>,
    /// Length of the counted part of the run.
    pub seconds: f64,
    /// Batches, fetches, or writes.
    pub operations: u64,
    /// Records in them; 0 where there are none.
    pub records: u64,
    /// Bytes of payload for what is published, of stored batches for what is fetched.
    pub bytes: u64,
    /// Records a second.
    pub records_per_second: f64,
    /// Millions of bytes a second.
    pub megabytes_per_second: f64,
    /// Operations a second.
    pub operations_per_second: f64,
    /// Half of the operations took this long or less.
    pub p50_us: u64,
    /// 99 of 100 did.
    pub p99_us: u64,
    /// 999 of 1,000 did.
    pub p999_us: u64,
    /// The slowest.
    pub max_us: u64,
    /// Open loop only: what was due and was not answered, most often because it could not be sent
    /// with so many in flight.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missed: Option<u64>,
    /// Open loop only: how late the generator itself was, 99 times of 100 at most. It is part of
    /// the latencies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator_p99_us: Option<u64>,
    /// What the broker spent meanwhile, if it was started for the run.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker: Option<Spent>,
}

/// Latencies of one microsecond to a minute, to three digits.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 60_000_000, 3).expect("constants that the histogram accepts")
}

/// Whole microseconds, at least 1.
pub fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// Counts and latencies while a run lasts.
#[derive(Debug)]
pub struct Counting {
    /// Operations so far.
    pub operations: u64,
    /// Records in them.
    pub records: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// The level of the acknowledgements; `mixed` when they did not agree.
    pub level: Option<String>,
    /// What was due and not answered; none in a closed loop.
    pub missed: Option<u64>,
    latencies: Histogram<u64>,
}

impl Counting {
    /// Nothing yet.
    pub fn new() -> Self {
        Self {
            operations: 0,
            records: 0,
            bytes: 0,
            level: None,
            missed: None,
            latencies: histogram(),
        }
    }

    /// Books one operation.
    pub fn book(&mut self, took: Duration, records: u64, bytes: u64) {
        self.operations += 1;
        self.records += records;
        self.bytes += bytes;
        self.latencies.saturating_record(micros(took));
    }

    /// Books the level that an acknowledgement named.
    pub fn see_level(&mut self, level: &str) {
        match &self.level {
            None => self.level = Some(level.to_owned()),
            Some(known) if known == level => {}
            Some(_) => self.level = Some("mixed".to_owned()),
        }
    }

    /// Adds what another connection has counted.
    pub fn add(&mut self, other: &Self) {
        self.operations += other.operations;
        self.records += other.records;
        self.bytes += other.bytes;
        if let Some(level) = &other.level {
            self.see_level(level);
        }
        if let Some(missed) = other.missed {
            *self.missed.get_or_insert(0) += missed;
        }
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
            missed: self.missed,
            generator_p99_us: None,
            broker: None,
        }
    }
}

/// A count as a figure.
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
            "{}\n  level {level}, {:.2} s: {:.0} records/s, {:.1} MB/s, {:.0} operations/s\n  \
             µs: p50 {}, p99 {}, p99.9 {}, max {}",
            self.name,
            self.seconds,
            self.records_per_second,
            self.megabytes_per_second,
            self.operations_per_second,
            self.p50_us,
            self.p99_us,
            self.p999_us,
            self.max_us
        )?;
        if let Some(missed) = self.missed {
            write!(f, "; {missed} missed")?;
        }
        if let Some(late) = self.generator_p99_us {
            write!(f, "; the generator was late by {late} at p99")?;
        }
        if let Some(spent) = &self.broker {
            write!(f, "\n  broker: {spent}")?;
        }
        Ok(())
    }
}
