//! The figures of regions: three brokers as processes, joined by lines that delay and limit.
//!
//! Clients speak to the broker of their own region directly; only links run over the lines. The
//! figures beside a limit have it from the same minute: one bare stream over a line of its own, or
//! the same figure without what is to do it no harm.

mod goals;
mod pulling;
mod quiet;
mod tailing;
mod world;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;

pub use self::goals::Run;
use self::goals::{LINE_BYTES_PER_S, ROUND_TRIP_MS};
use crate::process::check_room;
use crate::rows::{self, Figure};
use crate::shown::Shown;

/// Which figures.
#[derive(Debug, Clone, Args)]
pub struct Wanted {
    /// Figures to show, by name; all of them without one
    pub names: Vec<String>,
    /// Small sizes and short times, for trying: the figures prove nothing
    #[arg(long)]
    pub quick: bool,
    /// Only list the figures
    #[arg(long)]
    pub list: bool,
}

/// Where and how large.
#[derive(Debug, Clone)]
pub struct Bench<'a> {
    /// The `npayload` to start.
    pub binary: PathBuf,
    /// Where data lies.
    pub dir: &'a Path,
    /// Sizes for trying, whose figures prove nothing.
    pub is_quick: bool,
}

impl Bench<'_> {
    /// One of two sizes.
    pub fn size<T>(&self, whole: T, quick: T) -> T {
        if self.is_quick { quick } else { whole }
    }
}

impl Run {
    /// Bytes that it leaves on the disk while it runs.
    fn room(self, is_quick: bool) -> u64 {
        match (self, is_quick) {
            (Self::One | Self::Many | Self::Backlog, false) => 8 << 30,
            (_, false) => 2 << 30,
            (_, true) => 1 << 30,
        }
    }

    async fn figures(self, bench: &Bench<'_>) -> Result<Vec<Figure>> {
        match self {
            Self::Tail => tailing::tail(bench).await,
            Self::One => pulling::link(bench, 1).await,
            Self::Many => pulling::link(bench, bench.size(1_000, 100)).await,
            Self::Backlog => tailing::backlog(bench).await,
            Self::Idle => quiet::idle(bench).await,
            Self::Unwanted => quiet::unwanted(bench).await,
        }
    }
}

/// Measures what is wanted and prints it.
pub async fn measure(
    wanted: &Wanted,
    binary: Option<&Path>,
    dir: &Path,
    shown: &Shown,
) -> Result<()> {
    let runs = runs(&wanted.names)?;
    if wanted.list {
        for goal in runs.iter().flat_map(|run| run.goals()) {
            println!("{}: {}, {}", goal.name, goal.what, goal.bound.text());
        }
        return Ok(());
    }
    let binary = match binary {
        Some(binary) => binary.to_owned(),
        None => std::env::current_exe()?.with_file_name("npayload"),
    };
    if !binary.is_file() {
        bail!(
            "regions are processes, and {} is none: give --broker",
            binary.display()
        );
    }
    let bench = Bench {
        binary,
        dir,
        is_quick: wanted.quick,
    };
    if !shown.json {
        println!(
            "Machine: {}; load average before: {}.  ",
            shown.machine, shown.load_before
        );
        println!(
            "Three brokers, each a process, links over lines of {ROUND_TRIP_MS} ms there and back and {} MB/s each way.{}\n",
            LINE_BYTES_PER_S / 1_000_000,
            if wanted.quick {
                " **Small sizes, for trying: the figures prove nothing.**"
            } else {
                ""
            }
        );
        rows::columns();
    }
    for run in runs {
        check_room(dir, run.room(wanted.quick))?;
        let figures = run.figures(&bench).await;
        let figures = figures.with_context(|| format!("measuring {run:?}"))?;
        if figures.len() != run.goals().len() {
            bail!("{run:?} shows {} figures", figures.len());
        }
        for (goal, figure) in run.goals().iter().zip(figures) {
            let quick = if wanted.quick { " --quick" } else { "" };
            let command = format!("npayload-bench regions {}{quick}", goal.name);
            let row = rows::row_of(*goal, &[figure], command)?;
            match shown.json {
                true => println!(
                    "{}",
                    serde_json::json!({"machine": shown.machine, "row": row})
                ),
                false => println!("{}", row.markdown()),
            }
        }
    }
    Ok(())
}

/// The runs that show the figures of these names.
fn runs(names: &[String]) -> Result<Vec<Run>> {
    let shows = |run: &Run, name: &str| run.goals().iter().any(|goal| goal.name == name);
    let is_none = |name: &&String| !Run::ALL.iter().any(|run| shows(run, name));
    if let Some(name) = names.iter().find(is_none) {
        bail!("no figure is called {name}: `npayload-bench regions --list` names them");
    }
    let is_wanted = |run: &Run| names.is_empty() || names.iter().any(|name| shows(run, name));
    Ok(Run::ALL.into_iter().filter(is_wanted).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_chosen_by_name_and_a_name_that_is_none_is_refused() {
        assert_eq!(runs(&[]).expect("all"), Run::ALL);
        let both = ["unwanted-cpu", "tail"].map(str::to_owned);
        assert_eq!(runs(&both).expect("two"), [Run::Tail, Run::Unwanted]);
        assert!(runs(&["no-such".to_owned()]).is_err());
    }

    #[test]
    fn no_two_figures_have_one_name() {
        let goals = Run::ALL.iter().flat_map(|run| run.goals());
        let mut names: Vec<&str> = goals.map(|goal| goal.name).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
