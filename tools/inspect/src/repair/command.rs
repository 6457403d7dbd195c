//! `npayload-inspect repair` and `undo` as a person calls them: the lock, the check before and after, what is printed.

use std::hash::{BuildHasher, RandomState};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use npayload::storage::Layout;
use npayload::storage::disk::{Disk, RealDisk};
use npayload::types::Timestamp;
use serde::Serialize;

use super::plan::Plan;
use super::{Setting, apply, has_known_damage, lock, plan, undo as put_back, unfinished};
use crate::layout;
use crate::report::{Kind, Report};
use crate::verify;

/// Less work than this is done before a bar would be read.
const PROGRESS_FROM_BYTES: u64 = 256 << 20;

/// Arguments of `npayload-inspect repair`.
#[derive(Debug, Args)]
pub struct RepairArgs {
    /// The data directory of a stopped broker
    path: PathBuf,
    /// Carry the plan out, after keeping the old bytes in lost+found/repair-N
    #[arg(long)]
    apply: bool,
    /// Print {"steps","left","applied","clean"} instead of text
    #[arg(long)]
    json: bool,
}

/// Arguments of `npayload-inspect undo`.
#[derive(Debug, Args)]
pub struct UndoArgs {
    /// The data directory of a stopped broker
    path: PathBuf,
    /// Take this repair back instead of the last one
    #[arg(long, value_name = "N")]
    repair: Option<u64>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Answer<'a> {
    #[serde(flatten)]
    plan: &'a Plan,
    /// Number of the repair that was carried out.
    applied: Option<u64>,
    /// Nothing is damaged now.
    clean: bool,
}

/// Plans a repair, and carries it out when asked to.
///
/// # Errors
/// When a broker holds the directory, or it can't be read or repaired.
pub fn repair(args: &RepairArgs) -> Result<ExitCode> {
    let root = data_directory(&args.path)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let _lock = lock(&*disk, &root)?;
    let found = verify::run(&root)?;
    let is_unfinished = unfinished(&*disk, &Layout::new(&root))?.is_some();
    let mut out = io::stdout().lock();
    if found.clean && !is_unfinished && !has_known_damage(&*disk, &root) {
        if args.json {
            let plan = &Plan::default();
            answer(&mut out, plan, None, true)?;
        } else {
            writeln!(out, "clean: nothing to repair")?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let mut random = random();
    let bar = progress(&root, "reading", segment_bytes(&root));
    let planned = {
        let progress = |bytes| bar.inc(bytes);
        let mut setting = Setting {
            disk: disk.clone(),
            root: &root,
            now: now(),
            random: &mut random,
            progress: &progress,
        };
        plan(&mut setting, &damaged_indexes(&found))?
    };
    bar.finish_and_clear();
    if !args.json {
        planned.plan.print(&mut out)?;
    }
    if !args.apply {
        if args.json {
            answer(&mut out, &planned.plan, None, false)?;
        } else {
            let steps = planned.plan.steps.len();
            writeln!(
                out,
                "{steps} steps planned, nothing changed; --apply carries them out and keeps what it changes in lost+found"
            )?;
        }
        return Ok(ExitCode::from(2));
    }
    let bar = progress(&root, "repairing", planned.bytes());
    let number = {
        let progress = |bytes| bar.inc(bytes);
        let mut setting = Setting {
            disk,
            root: &root,
            now: now(),
            random: &mut random,
            progress: &progress,
        };
        apply(&mut setting, &planned)?
    };
    bar.finish_and_clear();
    let after = verify::run(&root)?;
    let clean = after.clean && planned.plan.left.is_empty();
    if args.json {
        answer(&mut out, &planned.plan, Some(number), clean)?;
    } else {
        after.print(&root, &mut out)?;
        writeln!(
            out,
            "repair {number} done; npayload-inspect undo takes it back until a broker starts here"
        )?;
    }
    Ok(ExitCode::from(if clean { 0 } else { 2 }))
}

/// Takes a repair back.
///
/// # Errors
/// When a broker holds the directory, there is no such repair, or something has been written since.
pub fn undo(args: &UndoArgs) -> Result<ExitCode> {
    let root = data_directory(&args.path)?;
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let _lock = lock(&*disk, &root)?;
    let bar = ProgressBar::hidden();
    let progress = |bytes| bar.inc(bytes);
    let mut setting = Setting {
        disk,
        root: &root,
        now: now(),
        random: &mut random(),
        progress: &progress,
    };
    let number = put_back(&mut setting, args.repair)?;
    println!("repair {number} is taken back: every file is as it was before");
    Ok(ExitCode::SUCCESS)
}

fn answer(out: &mut dyn Write, plan: &Plan, applied: Option<u64>, clean: bool) -> Result<()> {
    let answer = Answer {
        plan,
        applied,
        clean,
    };
    serde_json::to_writer(&mut *out, &answer)?;
    writeln!(out)?;
    Ok(())
}

fn data_directory(path: &Path) -> Result<PathBuf> {
    let path = std::path::absolute(path).with_context(|| format!("find {}", path.display()))?;
    if !path.is_dir() || !layout::is_data_directory(&path) {
        bail!(
            "{}: not a data directory: it has neither {} nor recovery-point",
            path.display(),
            layout::MARKER
        );
    }
    Ok(path)
}

pub fn damaged_indexes(report: &Report) -> Vec<PathBuf> {
    let is_index = |kind| matches!(kind, Kind::OffsetIndex | Kind::TimeIndex);
    let damaged = report
        .files
        .iter()
        .filter(|file| is_index(file.kind) && !file.damage.is_empty());
    damaged.map(|file| file.path.clone()).collect()
}

fn segment_bytes(root: &Path) -> u64 {
    let logs = layout::logs(root, &mut Vec::new()).unwrap_or_default();
    let entries = logs
        .iter()
        .filter_map(|(_, folder)| std::fs::read_dir(folder).ok())
        .flatten();
    entries
        .filter_map(|entry| entry.ok()?.metadata().ok())
        .map(|file| file.len())
        .sum()
}

fn progress(_root: &Path, what: &'static str, total: u64) -> ProgressBar {
    if total < PROGRESS_FROM_BYTES {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{msg} {bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(total)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        .with_message(what)
}

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "the edge of the program")]
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    let ms = since.map_or(0, |since| since.as_millis());
    Timestamp(i64::try_from(ms).unwrap_or(i64::MAX))
}

/// 64 random bits at each call: the standard library seeds its hasher from the operating system.
fn random() -> impl FnMut() -> u64 {
    let state = RandomState::new();
    let mut calls = 0u64;
    move || {
        calls += 1;
        state.hash_one(calls)
    }
}
