//! `npayload-faults`: deliberate faults, put into the code and tried one at a time. Each must turn
//! tests red.
//!
//! The faults are in `faults.toml`. All of them are compiled together into a copy of the tree, each
//! behind a switch; a run of a test switches on one or none. Nothing here changes a source file of
//! the tree itself, except the table in `docs/durability.md` when it is asked to.

mod build;
mod document;
mod list;
mod report;
mod run;
mod tree;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;

use crate::list::{Fault, List, Test};
use crate::report::Report;
use crate::run::Trial;
use crate::tree::Tree;

/// Puts deliberate faults into the code, one at a time, and expects a test to turn red.
#[derive(Debug, Parser)]
#[command(name = "npayload-faults", version)]
struct Cli {
    /// Faults to try: all whose name contains one of these; all without any
    names: Vec<String>,
    /// Name the faults and what they break, and try none
    #[arg(long)]
    list: bool,
    /// Run these tests instead of those the list names, up to the first that turns red: TARGET:FILTER,
    /// as in `suite:crash` or `lib:format`
    #[arg(long, value_name = "TARGET:FILTER")]
    search: Vec<Test>,
    /// Try the faults without seeing the tests green before
    #[arg(long)]
    no_baseline: bool,
    /// Try them from the end of the list on: what was added last comes first
    #[arg(long)]
    newest_first: bool,
    /// Seconds that one test may take before it counts as hung, which is red
    #[arg(long, default_value_t = 600)]
    timeout: u64,
    /// One JSON object for each fault instead of a table
    #[arg(long)]
    json: bool,
    /// Write the list into docs/durability.md, and try no fault
    #[arg(long)]
    write_docs: bool,
    /// The source tree
    #[arg(long, default_value_os_t = workspace())]
    root: PathBuf,
}

fn workspace() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn main() -> Result<ExitCode> {
    let cli = Cli::parse();
    let root = cli.root.canonicalize()?;
    let list = List::read(&root)?;
    if cli.write_docs {
        document::write(&root, &list)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_chosen = |fault: &&Fault| {
        let is_named = cli.names.iter().any(|name| fault.name.contains(name));
        let is_tried = fault.harmless_because.is_none() || !cli.search.is_empty() || cli.list;
        is_tried && (is_named || cli.names.is_empty())
    };
    let mut chosen: Vec<&Fault> = list.faults.iter().filter(is_chosen).collect();
    if cli.newest_first {
        chosen.reverse();
    }
    if chosen.is_empty() {
        bail!("no fault has a name with {:?} in it", cli.names);
    }
    if cli.list {
        for fault in &chosen {
            println!("{:<40} {}", fault.name, fault.breaks);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut tree = Tree::copy(&root)?;
    let mut report = Report::new(cli.json);
    let trial = Trial {
        search: &cli.search,
        has_baseline: !cli.no_baseline,
        timeout: Duration::from_secs(cli.timeout),
    };
    trial.run(&mut tree, &chosen, &mut report)?;
    report.end();
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
