//! Holds the figures of today against those that are stored with the code: instructions of the
//! codecs, and ratios to the limits of the same run, which a faster machine changes little.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::instructions::{self, Work};
use crate::rows::{self, Bound, Run, Wanted};
use crate::spread::short;

/// A ratio may be so much worse than the stored one: the noise of a shared machine is in both.
const TOLERANCE: f64 = 1.3;

/// What is held against what.
#[derive(Debug, Clone, Args)]
pub struct Check {
    /// File with what is stored
    #[arg(long, default_value = "tools/bench/stored.json")]
    pub stored: PathBuf,
    /// Store what is measured instead of holding it against what is stored
    #[arg(long)]
    pub store: bool,
    /// Only the instructions, which a machine that has other things to do counts as well
    #[arg(long)]
    pub instructions: bool,
    /// How often each ratio is measured
    #[arg(long, default_value_t = 5)]
    pub rounds: u32,
    /// Seconds of a run of writes
    #[arg(long, default_value_t = 3.0)]
    pub duration_s: f64,
}

/// What is stored with the code.
#[derive(Debug, Default, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// Instructions of each piece of work, release build.
    pub instructions: BTreeMap<String, u64>,
    /// Median ratios to the limit of the same round.
    pub ratios: BTreeMap<String, f64>,
}

/// Runs that are short enough for a check and give ratios.
const RUNS: [Run; 7] = [
    Run::OneClient,
    Run::ManyClients,
    Run::Batches,
    Run::Producers,
    Run::Frames,
    Run::Client,
    Run::Replay,
];

/// Measures, and stores or compares; an error where something is worse.
pub async fn check(check: &Check, binary: Option<&Path>, dir: &Path) -> Result<()> {
    if cfg!(debug_assertions) {
        bail!("a debug build is held against nothing: cargo build --release");
    }
    let stored = match std::fs::read_to_string(&check.stored) {
        Ok(text) => serde_json::from_str(&text)
            .with_context(|| format!("reading {}", check.stored.display()))?,
        Err(_) if check.store => Stored::default(),
        Err(error) => {
            return Err(error)
                .with_context(|| format!("{}: `check --store` makes it", check.stored.display()));
        }
    };
    let mut now = Stored::default();
    for work in Work::value_variants() {
        let count = work.instructions(dir)?;
        now.instructions.insert(work.name(), count);
    }
    if !check.instructions {
        for run in RUNS {
            let wanted = Wanted {
                names: Vec::new(),
                rounds: check.rounds,
                duration_s: check.duration_s,
                quick: false,
                list: false,
            };
            for row in rows::rows(run, &wanted, binary, dir).await? {
                if let Some(ratio) = row.ratio {
                    now.ratios.insert(row.goal.name.to_owned(), ratio.median);
                }
            }
        }
    }
    if check.store {
        if check.instructions {
            now.ratios = stored.ratios;
        }
        let text = serde_json::to_string_pretty(&now)?;
        std::fs::write(&check.stored, text + "\n")?;
        println!("stored in {}", check.stored.display());
        return Ok(());
    }
    let worse = compare(&stored, &now);
    match worse.len() {
        0 => Ok(()),
        count => bail!("{count} worse than what is stored: {}", worse.join(", ")),
    }
}

/// Prints each figure beside the stored one; the names of those that are worse.
fn compare(stored: &Stored, now: &Stored) -> Vec<String> {
    let mut worse = Vec::new();
    for (name, count) in &now.instructions {
        let before = stored.instructions.get(name).copied();
        let is_worse = before.is_none_or(|before| instructions::is_worse(*count, before));
        say(
            name,
            &count.to_string(),
            before.map(|it| it.to_string()),
            is_worse,
        );
        if is_worse {
            worse.push(name.clone());
        }
    }
    for (name, ratio) in &now.ratios {
        let before = stored.ratios.get(name).copied();
        let is_worse = before.is_none_or(|before| is_ratio_worse(name, *ratio, before));
        say(name, &short(*ratio), before.map(short), is_worse);
        if is_worse {
            worse.push(name.clone());
        }
    }
    worse
}

fn is_ratio_worse(name: &str, now: f64, before: f64) -> bool {
    let mut goals = Run::ALL.iter().flat_map(|run| run.goals());
    let wants_less = goals.any(|goal| {
        goal.name == name && matches!(goal.bound, Bound::RatioAtMost(_) | Bound::AtMost(_))
    });
    match wants_less {
        true => now > before * TOLERANCE,
        false => now * TOLERANCE < before,
    }
}

fn say(name: &str, now: &str, before: Option<String>, is_worse: bool) {
    let before = before.unwrap_or_else(|| "nothing stored".to_owned());
    let worse = if is_worse { "  WORSE" } else { "" };
    println!("{name:<16} {now:>14}  stored {before:>14}{worse}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stored(instructions: u64, frames: f64, tail: f64) -> Stored {
        Stored {
            instructions: [("stamp".to_owned(), instructions)].into(),
            ratios: [("frames".to_owned(), frames), ("tail".to_owned(), tail)].into(),
        }
    }

    #[test]
    fn what_got_worse_is_named_and_what_got_better_is_not() {
        let before = stored(1_000, 0.5, 2.0);
        assert!(compare(&before, &stored(1_010, 0.45, 2.2)).is_empty());
        assert_eq!(compare(&before, &stored(1_030, 9.0, 0.1)), ["stamp"]);
        // More is better of the one, less of the other.
        assert_eq!(compare(&before, &stored(1, 0.3, 2.0)), ["frames"]);
        assert_eq!(compare(&before, &stored(1, 0.5, 3.0)), ["tail"]);
    }

    #[test]
    fn what_is_not_stored_is_not_passed_over() {
        let mut before = stored(1_000, 0.5, 2.0);
        before.ratios.remove("tail");
        assert_eq!(compare(&before, &stored(1_000, 0.5, 2.0)), ["tail"]);
    }

    #[test]
    fn every_piece_of_work_can_be_done() {
        for work in Work::value_variants() {
            work.run(2).expect("work that succeeds");
        }
    }
}
