//! `npayload-bench`: load for a broker, and what came of it.
//!
//! Frames are built once and sent over bare connections, so what is measured is the broker and not
//! a client; `--via client` measures the Rust client instead. Without `--url` a broker is started
//! on a directory of its own. Every run prints the machine and the durability level that the
//! acknowledgements named. Nothing here reads or writes the broker's files.

mod asp;
mod broker;
mod check;
mod compare;
mod instructions;
mod killed;
mod limits;
#[path = "../../../tests/suite/line.rs"]
#[expect(dead_code, reason = "the tests use the rest of it")]
mod line;
mod load;
mod machine;
mod measured;
mod pace;
mod process;
mod produce;
mod publish;
mod reading;
mod regions;
mod rows;
mod sessions;
mod settle;
mod shown;
mod spread;
mod table;
mod wire;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::broker::Broker;
use crate::compare::{Compared, Of};
use crate::limits::{Limit, Limits};
use crate::load::{Load, Via};
use crate::machine::Machine;
use crate::publish::published;
use crate::reading::Replay;
use crate::shown::Shown;

/// Load generator for npayload.
#[derive(Debug, Parser)]
#[command(name = "npayload-bench", version, arg_required_else_help = true)]
struct Cli {
    /// The broker, HOST:PORT, npayload://HOST:PORT or npayload+tls://HOST:PORT; without it one is started and stopped again
    #[arg(long, global = true, env = "NPAYLOAD_URL")]
    url: Option<String>,
    /// CA to trust over TLS, PEM; the system's without it
    #[arg(long, global = true, env = "NPAYLOAD_CA")]
    ca: Option<PathBuf>,
    /// Directory that the broker's data and the files of the limits are made in and removed from
    #[arg(long, global = true, default_value = ".")]
    dir: PathBuf,
    /// The `npayload` to start; by default the one beside this program, else one inside it
    #[arg(long, global = true)]
    broker: Option<PathBuf>,
    /// Measure the machine's limits first and set the results beside them
    #[arg(long, global = true)]
    limits: bool,
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
    Replay(Replay),
    /// Publish at a rate (1,000/s) while another connection follows the end: from intended send to
    /// arrival, and to acknowledgement
    Tail(Load),
    /// Publish at a rate (1,000/s): from intended send to acknowledgement
    Latency(Load),
    /// Publish and replay without TLS and over TLS in turn, and what TLS costs
    Tls(Compared),
    /// Publish and replay without a key and with a key and limits in turn, and what judging and
    /// counting every request costs
    Quotas(Compared),
    /// Search among many agents, and make and replay tool calls: what it costs without a broker, in
    /// memory and on one thread
    Asp(asp::Asp),
    /// Agents talk in sessions, through the client: messages a second, each answered once synced
    Sessions(sessions::Talk),
    /// Hold instructions of the codecs and ratios to the limits against those stored with the code
    Check(check::Check),
    /// Do a piece of a codec's work so many times, for `check` to count its instructions
    #[command(hide = true)]
    Codec(instructions::Codec),
    /// Kill a broker under load, start it again, and count the acknowledged records that are gone
    Kill(killed::Kill),
    /// What disk, loopback, processor and memory can do without a broker
    Limits {
        /// Seconds for each
        #[arg(long, default_value_t = 2.0)]
        duration_s: f64,
    },
    /// The figures that the broker is judged by, each beside the limit of the same round, as medians
    /// of several rounds
    Rows(rows::Wanted),
    /// The figures of regions, each beside its goal: three brokers, joined by lines of 100 ms there
    /// and back and 1 Gbit/s
    Regions(regions::Wanted),
    /// A fixed set of runs beside the limits, as Markdown tables; takes about 45 times the seconds
    Table {
        /// Seconds for each run
        #[arg(long, default_value_t = 3.0)]
        duration_s: f64,
    },
}

/// Arrivals a second where a rate is needed and not given.
const DEFAULT_RATE: f64 = 1000.0;

/// The clock of all measurements.
#[expect(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
fn clock() -> Instant {
    Instant::now()
}

#[tokio::main]
async fn main() -> Result<()> {
    let cli = Cli::parse();
    let machine = Machine::read(&cli.dir);
    let load_before = machine::load_average();
    let limits = match &cli.command {
        Command::Table { .. } => Some(Limits::measure(&cli.dir, Duration::from_secs(2)).await?),
        _ if cli.limits => Some(Limits::measure(&cli.dir, Duration::from_secs(1)).await?),
        _ => None,
    };
    let shown = Shown {
        machine,
        load_before,
        limits,
        json: cli.json,
    };
    if let Command::Limits { duration_s } = cli.command {
        shown.machine("");
        for limit in Limit::ALL {
            let time = Duration::from_secs_f64(duration_s);
            shown.result(&limit.measure(&cli.dir, time).await?, |_, _| String::new());
        }
        return Ok(());
    }
    if let Command::Codec(codec) = &cli.command {
        return codec.work.run(codec.times);
    }
    if let Command::Check(check) = &cli.command {
        return check::check(check, cli.broker.as_deref(), &cli.dir).await;
    }
    if let Command::Kill(kill) = &cli.command {
        let killed = killed::kill(kill, cli.broker.as_deref(), &cli.dir).await?;
        match shown.json {
            true => println!("{}", serde_json::to_string(&killed)?),
            false => println!(
                "{} acknowledged, {} of them gone",
                killed.acked, killed.lost
            ),
        }
        return Ok(());
    }
    if let Command::Rows(wanted) = &cli.command {
        return rows::measure(wanted, cli.broker.as_deref(), &cli.dir, &shown).await;
    }
    if let Command::Regions(wanted) = &cli.command {
        return regions::measure(wanted, cli.broker.as_deref(), &cli.dir, &shown).await;
    }
    if let Command::Asp(asp) = &cli.command {
        shown.machine("none: pure state, in memory");
        for measured in &asp::measure(asp)? {
            shown.result(measured, |_, _| String::new());
        }
        return Ok(());
    }
    let cost = match &cli.command {
        Command::Tls(compared) => Some((Of::Tls, compared)),
        Command::Quotas(compared) => Some((Of::Quotas, compared)),
        _ => None,
    };
    if let Some((of, compared)) = cost {
        // Two brokers, so `--url` would name one too few.
        return compare::compare(of, compared, cli.broker.as_deref(), &cli.dir, &shown).await;
    }
    let (url, ca) = (cli.url.as_deref(), cli.ca.as_deref());
    let mut broker = Broker::get(url, ca, cli.broker.as_deref(), &cli.dir).await?;
    if let Command::Sessions(talk) = &cli.command {
        shown.machine(broker.kind);
        let talked = sessions::talk(&broker, talk).await?;
        for measured in &talked {
            shown.result(measured, Limits::beside_disk);
        }
        if talk.starts {
            let records = talked.iter().map(|measured| measured.records).sum();
            for measured in &sessions::starts(&mut broker, records)? {
                shown.result(measured, |_, _| String::new());
            }
        }
        return broker.stop().await;
    }
    load(cli.command, &broker, &shown).await?;
    broker.stop().await
}

async fn load(command: Command, broker: &Broker, shown: &Shown) -> Result<()> {
    if let Command::Table { duration_s } = command {
        let Some(limits) = &shown.limits else {
            return Ok(());
        };
        return table::print(
            broker,
            limits,
            &shown.machine,
            &shown.load_before,
            duration_s,
        )
        .await;
    }
    shown.machine(broker.kind);
    match command {
        Command::Publish(load) => {
            shown.result(&published(broker, &load).await?, Limits::beside_disk);
        }
        Command::Latency(mut load) => {
            load.rate.get_or_insert(DEFAULT_RATE);
            shown.result(&publish::publish(broker, &load).await?, Limits::beside_disk);
        }
        Command::Replay(replay) => {
            if !replay.no_publish {
                let load = Load {
                    via: Via::Frames,
                    ..replay.load.clone()
                };
                shown.result(&published(broker, &load).await?, Limits::beside_disk);
            }
            shown.result(
                &reading::replay(broker, &replay).await?,
                Limits::beside_network,
            );
        }
        Command::Tail(mut load) => {
            load.rate.get_or_insert(DEFAULT_RATE);
            for measured in &reading::tail(broker, &load).await? {
                shown.result(measured, Limits::beside_disk);
            }
        }
        Command::Asp(_)
        | Command::Sessions(_)
        | Command::Rows(_)
        | Command::Regions(_)
        | Command::Kill(_)
        | Command::Check(_)
        | Command::Codec(_)
        | Command::Limits { .. }
        | Command::Table { .. }
        | Command::Tls(_)
        | Command::Quotas(_) => {}
    }
    Ok(())
}
