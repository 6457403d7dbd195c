//! What every run has at hand: a broker of its own, the limits, and the sizes.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail};
use npayload::types::Durability;

use crate::broker::{Broker, Speaks};
use crate::limits::Limit;
use crate::load::Load;
use crate::measured::Measured;
use crate::publish::published;
use crate::settle::settle;

/// Checkpoints that a run of writes lasts for: fewer would leave out what they cost.
const CHECKPOINTS: f64 = 5.0;

/// A run of writes gets at most so many times its seconds to see them.
const MOST_TIMES: f64 = 16.0;

/// One figure of one round.
#[derive(Debug, Clone)]
pub struct Figure {
    /// The figure.
    pub value: f64,
    /// What its ratio is to, measured in the same round.
    pub limit: Option<f64>,
    /// Checkpoints that the broker took meanwhile, where that is known.
    pub checkpoints: Option<f64>,
    /// What else is to be said of it.
    pub note: Option<String>,
}

impl Figure {
    /// A figure without a limit.
    pub fn alone(value: f64) -> Self {
        Self {
            value,
            limit: None,
            checkpoints: None,
            note: None,
        }
    }

    /// A figure beside a limit.
    pub fn beside(value: f64, limit: f64) -> Self {
        Self {
            limit: Some(limit),
            ..Self::alone(value)
        }
    }

    /// The same, with the checkpoints of a measured run.
    pub fn over(mut self, measured: &Measured) -> Self {
        self.checkpoints = measured.broker.as_ref().and_then(|spent| spent.checkpoints);
        self
    }

    /// The same, with something to be said of it.
    pub fn noted(mut self, note: String) -> Self {
        self.note = Some(note);
        self
    }
}

/// Where and how large.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    /// The `npayload` to start.
    pub binary: Option<&'a Path>,
    /// Where data lies.
    pub dir: &'a Path,
    /// Seconds of a run of writes, before it is made longer for the checkpoints.
    pub seconds: f64,
    /// Sizes for trying, whose figures prove nothing.
    pub is_quick: bool,
}

impl Bench<'_> {
    /// A broker on a directory of its own.
    pub async fn broker(&self) -> Result<Broker> {
        settle().await;
        let broker = Broker::started(self.binary, self.dir, Speaks::Plain).await?;
        broker.pid()?;
        Ok(broker)
    }

    /// A limit, now.
    pub async fn limit(&self, limit: Limit) -> Result<Measured> {
        settle().await;
        let time = if self.is_quick { 0.2 } else { 1.0 };
        let time = Duration::from_secs_f64(time);
        limit.measure(self.dir, time).await
    }

    /// What no broker can publish faster than, synced, in MB/s: what the disk takes in 1 MiB writes,
    /// or what comes over the loopback.
    pub async fn bytes_bound(&self) -> Result<f64> {
        let disk = self.limit(Limit::Sync(1 << 20)).await?;
        let loopback = self.limit(Limit::Stream(1)).await?;
        Ok(disk.megabytes_per_second.min(loopback.megabytes_per_second))
    }

    /// One of two sizes.
    pub fn size<T>(&self, whole: T, quick: T) -> T {
        if self.is_quick { quick } else { whole }
    }

    /// A load of one connection, one record of `record_bytes` a batch, one batch under way.
    pub fn load(&self, channel: &str, durability: Durability, record_bytes: usize) -> Load {
        Load {
            channel: channel.to_owned(),
            record_bytes,
            duration_s: self.seconds,
            warm_up_s: self.size(1.0, 0.2),
            ..Load::one(durability)
        }
    }

    /// Publishes a load over checkpoints.
    pub async fn published(&self, broker: &Broker, load: &Load) -> Result<Measured> {
        let [measured] = self
            .over_checkpoints(
                load,
                |load| async move { Ok([published(broker, &load).await?]) },
            )
            .await?;
        Ok(measured)
    }

    /// Has `measure` run a load for longer and longer, until the broker has taken five checkpoints
    /// meanwhile, as the first of what it gives tells: a run that saw none shows what costs least.
    /// Quick runs are taken as they come.
    pub async fn over_checkpoints<const N: usize, F: Future<Output = Result<[Measured; N]>>>(
        &self,
        load: &Load,
        measure: impl Fn(Load) -> F,
    ) -> Result<[Measured; N]> {
        let mut seconds = self.seconds;
        loop {
            let measured = measure(Load {
                duration_s: seconds,
                ..load.clone()
            })
            .await?;
            let broker = measured.first().and_then(|first| first.broker.as_ref());
            let checkpoints = broker.and_then(|spent| spent.checkpoints);
            let Some(checkpoints) = checkpoints else {
                bail!("the broker does not tell its checkpoints: it is older than this program");
            };
            let is_enough = checkpoints >= CHECKPOINTS || self.is_quick;
            if is_enough || seconds >= self.seconds * MOST_TIMES {
                return Ok(measured);
            }
            seconds *= 2.0;
        }
    }
}
