//! `npayload-inspect`: looks into the files of a data directory, checks them, and repairs them.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use npayload_inspect::{DumpArgs, RepairArgs, UndoArgs};

/// Looks into npayload's files and checks them, while the broker runs too; repairs them when it is stopped.
#[derive(Parser)]
#[command(version, arg_required_else_help = true)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check every checksum, every order and every cross-reference.
    ///
    /// Exit status: 0 clean, 2 damage, 1 could not run.
    Verify {
        /// A data directory, or one file of it.
        path: PathBuf,
        /// Print {"files":[{"path","kind","usedRanges","damage"}],"clean"} instead of text.
        #[arg(long)]
        json: bool,
    },
    /// Print what the files hold, field by field.
    Dump(DumpArgs),
    /// Plan the repair of a stopped broker's data directory; with --apply, carry it out.
    ///
    /// Lost records become gaps that readers are told of, every intact batch before and after stays in its place, and channels take
    /// writes again. Exit status: 0 nothing to repair, or clean now; 2 damage, planned or left; 1 could not run.
    Repair(RepairArgs),
    /// Take a repair back, byte for byte, as long as no broker has started since.
    ///
    /// Exit status: 0 taken back, 1 could not.
    Undo(UndoArgs),
}

fn main() -> ExitCode {
    let args = Args::try_parse().unwrap_or_else(|error| {
        let _ = error.print();
        // Status 2 means damage, so wrong usage is "could not run".
        std::process::exit(i32::from(error.use_stderr()));
    });
    let result = match args.command {
        Command::Verify { path, json } => run_verify(&path, json),
        Command::Dump(args) => run_dump(&args),
        Command::Repair(args) => npayload_inspect::repair(&args),
        Command::Undo(args) => npayload_inspect::undo(&args),
    };
    result.unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        eprintln!("npayload-inspect: {error:#}");
        ExitCode::from(1)
    })
}

fn run_verify(path: &std::path::Path, json: bool) -> Result<ExitCode> {
    let path = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    let report = npayload_inspect::verify(&path)?;
    let mut out = io::stdout().lock();
    if json {
        serde_json::to_writer(&mut out, &report)?;
        writeln!(out)?;
    } else {
        report.print(&path, &mut out)?;
    }
    Ok(ExitCode::from(if report.clean { 0 } else { 2 }))
}

fn run_dump(args: &DumpArgs) -> Result<ExitCode> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    npayload_inspect::dump(args, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}

/// Whether the reader of our output went away, as `head` does.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
}
