//! `npayload-bench`: load for a broker, and what came of it.
//!
//! Frames are built once and sent over bare connections, so what is measured is the broker and not
//! a client. Every run prints the machine and the durability level that the acknowledgements named.

mod broker;
mod limits;
mod machine;
mod measured;
mod runs;
mod table;
mod wire;

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Args, Parser, Subcommand};
use npayload::types::Durability;

use crate::machine::Machine;
use crate::measured::Measured;

/// Load generator for npayload.
#[derive(Debug, Parser)]
#[command(name = "npayload-bench", version, arg_required_else_help = true)]
struct Cli {
    /// The broker, HOST:PORT or npayload://HOST:PORT; without it one is started on a temporary
    /// directory and stopped again
    #[arg(long, global = true, env = "NPAYLOAD_URL")]
    url: Option<String>,
    /// Directory for the broker that is started, and for the disk's limit
    #[arg(long, global = true, default_value = ".")]
    dir: std::path::PathBuf,
    /// The `npayload` binary for the broker that is started; by default the one beside this
    #[arg(long, global = true)]
    broker: Option<std::path::PathBuf>,
    /// One JSON object for each result
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Publish as fast as the broker takes it, or at a rate
    Publish(Load),
    /// Publish, then read everything again from the start
    Replay(Load),
    /// Publish at a rate while another connection reads the tail: from intended send to arrival
    Tail(Load),
    /// One batch at a time, or at a rate: from intended send to acknowledgement
    Latency(Load),
    /// What the disk and the loopback can do without a broker
    Limits {
        /// Seconds for each
        #[arg(long, default_value_t = 2)]
        duration_s: u64,
    },
    /// A fixed set of runs beside the limits, as a Markdown table
    Table {
        /// Seconds for each run
        #[arg(long, default_value_t = 3)]
        duration_s: u64,
    },
}

/// What is published.
#[derive(Debug, Clone, Args)]
pub struct Load {
    /// Channel; several are numbered behind this name
    #[arg(long, default_value = "bench")]
    channel: String,
    /// Channels that the connections write to in turn
    #[arg(long, default_value_t = 1)]
    channels: usize,
    /// Connections that publish
    #[arg(long, default_value_t = 1)]
    connections: usize,
    /// Bytes of each payload
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Records in each batch
    #[arg(long, default_value_t = 1)]
    batch_records: u32,
    /// Batches of one connection that wait for their acknowledgement at once
    #[arg(long, default_value_t = 32)]
    in_flight: usize,
    /// Durability of the channels, which are created
    #[arg(long, default_value = "synced")]
    durability: Durability,
    /// Batches a second over all connections; times count from the intended send
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds to publish
    #[arg(long, default_value_t = 5)]
    duration_s: u64,
}

impl Load {
    fn duration(&self) -> Duration {
        Duration::from_secs(self.duration_s)
    }

    fn name(&self, what: &str) -> String {
        let rate = self
            .rate
            .map_or(String::new(), |rate| format!(", {rate} batches/s"));
        let channels = match self.channels {
            1 => String::new(),
            many => format!(" to {many} channels"),
        };
        format!(
            "{what}: {} B × {}, {} conn × {}{channels}{rate}",
            self.record_bytes, self.batch_records, self.connections, self.in_flight
        )
    }
}

/// The clock of all measurements.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(cli))
}

async fn run(cli: Cli) -> Result<()> {
    let machine = Machine::read(&cli.dir);
    let json = cli.json;
    let show = |measured: &Measured| {
        if json {
            let line = serde_json::json!({ "machine": machine, "result": measured });
            println!("{line}");
        } else {
            println!("{measured}");
        }
    };
    if !json {
        println!("machine: {machine}");
    }
    match cli.command {
        Command::Limits { duration_s } => {
            for measured in limits(&cli.dir, Duration::from_secs(duration_s))? {
                show(&measured);
            }
            return Ok(());
        }
        Command::Table { duration_s } => {
            let time = Duration::from_secs(duration_s);
            let broker = broker::Broker::get(None, cli.broker.as_deref(), &cli.dir)?;
            return table::print(&broker, &cli.dir, &machine, time).await;
        }
        _ => {}
    }
    let broker = broker::Broker::get(cli.url.as_deref(), cli.broker.as_deref(), &cli.dir)?;
    match cli.command {
        Command::Publish(load) => show(&runs::publish(&broker.address, &load).await?),
        Command::Latency(mut load) => {
            if load.rate.is_none() {
                load.in_flight = 1;
            }
            show(&runs::publish(&broker.address, &load).await?);
        }
        Command::Replay(load) => {
            show(&runs::publish(&broker.address, &load).await?);
            show(&runs::replay(&broker.address, &load).await?);
        }
        Command::Tail(load) => show(&runs::tail(&broker.address, &load).await?),
        Command::Limits { .. } | Command::Table { .. } => {}
    }
    Ok(())
}

/// The machine's limits, each measured for `time`.
fn limits(dir: &std::path::Path, time: Duration) -> Result<Vec<Measured>> {
    Ok(vec![
        limits::disk(dir, 4096, time)?,
        limits::disk(dir, 64 << 10, time)?,
        limits::disk(dir, 1 << 20, time)?,
        limits::round_trips(time)?,
        limits::stream(time)?,
    ])
}
