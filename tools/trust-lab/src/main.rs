//! Seeded market simulator for the trust score `trust/1`: honest markets and attacks on them, through
//! the same records and the same fold that the broker has, with the clock in hand.

mod attacks;
mod figures;
mod plot;
mod speed;
mod world;

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use comfy_table::{Cell, CellAlignment, Table, presets};
use figures::{EXPERIMENTS, Row};
use indicatif::{ProgressBar, ProgressStyle};
use world::Qualities;

/// Simulates markets and attacks on them, and holds the trust score against the figures that it has
/// to reach.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Seeds: the mean of so many is told.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    seeds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first_seed: u64,
    /// How good honest agents are.
    #[arg(long, value_enum, default_value_t = Qualities::Classes)]
    qualities: Qualities,
    /// Only experiments whose name has this in it.
    #[arg(long)]
    only: Option<String>,
    /// Print JSON instead of a table.
    #[arg(long)]
    json: bool,
    /// Write plots into this directory.
    #[arg(long)]
    plots: Option<PathBuf>,
    /// Write the evidence of the first seed's honest market to this file, as `npayload consume
    /// --json` prints it, and do nothing else.
    #[arg(long)]
    evidence: Option<PathBuf>,
    /// Measure speed instead.
    #[arg(long)]
    speed: bool,
    /// Agents, for speed.
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u32).range(200..))]
    agents: u32,
    /// Pieces of evidence, for speed.
    #[arg(long, default_value_t = 5_000_000)]
    pieces: u64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if arguments.speed {
        return speed(&arguments);
    }
    if let Some(path) = &arguments.evidence {
        let lines = attacks::evidence(arguments.first_seed, arguments.qualities);
        return std::fs::write(path, lines)
            .with_context(|| format!("while writing {}", path.display()));
    }
    let rows = simulate(&arguments);
    if let Some(directory) = &arguments.plots {
        draw(directory, &rows, &arguments)?;
    }
    if arguments.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
    } else {
        println!("{}", table(&rows));
    }
    let missed = rows.iter().filter(|row| !row.passed).count();
    anyhow::ensure!(missed == 0, "{missed} of {} figures are missed", rows.len());
    Ok(())
}

fn bar(len: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} {msg} {eta}");
    ProgressBar::new(len).with_style(style.expect("a template that is right"))
}

fn simulate(arguments: &Arguments) -> Vec<Row> {
    let is_asked = |name: &str| {
        let only = arguments.only.as_deref();
        only.is_none_or(|only| name.contains(only))
    };
    let experiments: Vec<_> = (EXPERIMENTS.iter())
        .filter(|experiment| is_asked(experiment.name))
        .collect();
    let bar = bar(experiments.len() as u64 * arguments.seeds);
    let mut rows = Vec::new();
    for experiment in experiments {
        bar.set_message(experiment.name);
        let seeds = arguments.first_seed..arguments.first_seed + arguments.seeds;
        let measured: Vec<_> = seeds
            .map(|seed| {
                bar.inc(1);
                experiment.measure(seed, arguments.qualities)
            })
            .collect();
        rows.extend(experiment.rows(&measured));
    }
    bar.finish_and_clear();
    rows
}

fn table(rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_FULL_CONDENSED);
    table.set_header([
        "experiment",
        "figure",
        "trust/1",
        "least",
        "most",
        "goal",
        "",
        "raw",
        "Beta",
        "Wilson",
    ]);
    let number = |value: f64| Cell::new(format!("{value:.3}")).set_alignment(CellAlignment::Right);
    for row in rows {
        let mut cells = vec![
            Cell::new(row.experiment),
            Cell::new(row.what),
            number(row.reached),
            number(row.range[0]),
            number(row.range[1]),
            Cell::new(format!("{} {}", row.relation, row.bound)),
            Cell::new(if row.passed { "pass" } else { "FAIL" }),
        ];
        cells.extend(
            row.beside
                .map(|value| value.map_or_else(|| Cell::new(""), number)),
        );
        table.add_row(cells);
    }
    table
}

fn draw(directory: &PathBuf, rows: &[Row], arguments: &Arguments) -> anyhow::Result<()> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("while making {}", directory.display()))?;
    let series = attacks::on_off_series(arguments.first_seed, arguments.qualities);
    let title = "100 successes, 8 failures, 40 successes";
    for (name, svg) in [
        ("figures.svg", plot::bars(rows)),
        ("on-off.svg", plot::lines(title, &series)),
    ] {
        let path = directory.join(name);
        std::fs::write(&path, svg).with_context(|| format!("while writing {}", path.display()))?;
    }
    Ok(())
}

fn speed(arguments: &Arguments) -> anyhow::Result<()> {
    let bar = bar(arguments.pieces);
    let speed = speed::measure(arguments.agents, arguments.pieces, |done| {
        bar.set_position(done);
    })?;
    bar.finish_and_clear();
    println!("{}", serde_json::to_string_pretty(&speed)?);
    Ok(())
}
