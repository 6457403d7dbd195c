//! What protection costs: the same load without it and with it in turn, on two brokers of the same
//! run.

use std::path::Path;

use anyhow::Result;
use clap::Args;
use serde::Serialize;

use crate::broker::{Broker, Speaks};
use crate::limits::Limits;
use crate::load::Load;
use crate::measured::Measured;
use crate::publish::{self, published};
use crate::reading::{self, Replay};
use crate::settle::settle;
use crate::shown::Shown;
use crate::spread::Spread;

/// What the cost is asked of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A connection over TLS.
    Tls,
    /// A key that every request is judged by, and limits that every request is counted against.
    Quotas,
}

impl Of {
    fn name(self) -> &'static str {
        match self {
            Self::Tls => "TLS",
            Self::Quotas => "quotas",
        }
    }
}

/// What is run, each time without it and with it.
#[derive(Debug, Clone, Args)]
pub struct Compared {
    /// What is published, and read again
    #[command(flatten)]
    load: Load,
    /// How often: without, with, without, with, …
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    rounds: u32,
    /// Bytes that one fetch asks for
    #[arg(long, default_value_t = 1 << 20)]
    fetch_bytes: u32,
}

/// With over without, of the medians of all rounds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Ratio {
    of: &'static str,
    what: &'static str,
    rounds: usize,
    megabytes_per_second: f64,
    p50_us: f64,
    p99_us: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    broker_cpu_us_each: Option<f64>,
}

/// One side's results.
#[derive(Debug, Default)]
struct Side {
    published: Vec<Measured>,
    replayed: Vec<Measured>,
}

/// Runs the rounds and prints every result and the ratios.
pub async fn compare(
    of: Of,
    compared: &Compared,
    binary: Option<&Path>,
    dir: &Path,
    shown: &Shown,
) -> Result<()> {
    let plain = Broker::started(binary, dir, Speaks::Plain).await?;
    let mut other = match of {
        Of::Tls => Broker::started(binary, dir, Speaks::Tls).await?,
        Of::Quotas => Broker::started(binary, dir, Speaks::Plain).await?,
    };
    if of == Of::Quotas {
        other.count_everything().await?;
    }
    shown.machine(plain.kind);
    if !shown.json {
        let command: Vec<String> = std::env::args().skip(1).collect();
        println!("command: npayload-bench {}", command.join(" "));
        println!("load average before: {}", shown.load_before);
    }
    let (mut without, mut with) = (Side::default(), Side::default());
    for round in 0..compared.rounds {
        without
            .round(&plain, "plain", round, compared, shown)
            .await?;
        with.round(&other, of.name(), round, compared, shown)
            .await?;
    }
    plain.stop().await?;
    other.stop().await?;
    for ratio in [
        Ratio::of(of, "publish", &without.published, &with.published),
        Ratio::of(of, "replay", &without.replayed, &with.replayed),
    ] {
        if shown.json {
            println!(
                "{}",
                serde_json::json!({"machine": shown.machine, "ratio": ratio})
            );
            continue;
        }
        let cpu = ratio.broker_cpu_us_each.map_or_else(String::new, |cpu| {
            format!(", broker's processor time for each operation {cpu:.2} ×")
        });
        println!(
            "{}: {} is {:.2} × plain in MB/s, p50 {:.2} ×, p99 {:.2} ×{cpu} (medians of {})",
            ratio.what,
            ratio.of,
            ratio.megabytes_per_second,
            ratio.p50_us,
            ratio.p99_us,
            ratio.rounds
        );
    }
    Ok(())
}

impl Side {
    async fn round(
        &mut self,
        broker: &Broker,
        side: &str,
        round: u32,
        compared: &Compared,
        shown: &Shown,
    ) -> Result<()> {
        settle().await;
        let load = Load {
            channel: format!("{}.{round}", compared.load.channel),
            ..compared.load.clone()
        };
        let mut done = published(broker, &load).await?;
        done.name = format!("{side}, {}", done.name);
        shown.result(&done, Limits::beside_disk);
        self.published.push(done);
        settle().await;
        let replay = Replay {
            load,
            readers: 1,
            fetch_bytes: compared.fetch_bytes,
            no_publish: true,
        };
        let mut done = reading::replay(broker, &replay).await?;
        done.name = format!("{side}, {}", done.name);
        shown.result(&done, Limits::beside_network);
        self.replayed.push(done);
        publish::remove(broker, &replay.load).await
    }
}

impl Ratio {
    fn of(of: Of, what: &'static str, plain: &[Measured], other: &[Measured]) -> Self {
        let ratio = |figure: &dyn Fn(&Measured) -> Option<f64>| {
            Some(median(other, figure)? / median(plain, figure)?)
        };
        let known = |ratio: Option<f64>| ratio.unwrap_or(f64::NAN);
        Self {
            of: of.name(),
            what,
            rounds: plain.len(),
            megabytes_per_second: known(ratio(&|run| Some(run.megabytes_per_second))),
            p50_us: known(ratio(&|run| Some(crate::measured::float(run.p50_us)))),
            p99_us: known(ratio(&|run| Some(crate::measured::float(run.p99_us)))),
            broker_cpu_us_each: ratio(&|run| {
                let spent = run.broker.as_ref()?;
                Some(spent.cpu_us_each(run.operations))
            }),
        }
    }
}

/// The median of a figure of all rounds; nothing where one round lacks it.
fn median(runs: &[Measured], figure: &dyn Fn(&Measured) -> Option<f64>) -> Option<f64> {
    let figures: Vec<f64> = runs.iter().map(figure).collect::<Option<_>>()?;
    Some(Spread::of(figures)?.median)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measured::Counting;

    fn run(megabytes: u64, took_us: u64) -> Measured {
        let mut counting = Counting::new();
        counting.book(Duration::from_micros(took_us), 1, megabytes * 1_000_000);
        counting.over("a run", Duration::from_secs(1))
    }

    #[test]
    fn the_ratio_is_that_of_the_medians() {
        let plain = [run(100, 10), run(900, 11), run(200, 900)];
        let tls = [run(150, 22), run(1, 33), run(160, 1)];
        let ratio = Ratio::of(Of::Tls, "publish", &plain, &tls);
        assert!((ratio.megabytes_per_second - 0.75).abs() < 1e-9);
        assert!((ratio.p50_us - 2.0).abs() < 1e-9);
        assert_eq!(ratio.broker_cpu_us_each, None);
        let even = median(&[run(1, 1), run(3, 1)], &|run| {
            Some(run.megabytes_per_second)
        });
        assert!(even.is_some_and(|even| (even - 2.0).abs() < 1e-9));
    }
}
