//! The figures that the broker is judged by, each beside the limit of the same round.

mod bench;
mod footprint;
mod goal;
mod replaying;
mod waiting;
mod writing;

use std::path::Path;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;

use self::bench::Bench;
pub use self::bench::Figure;
pub use self::goal::{Bound, Goal, Run};
use crate::process::check_room;
use crate::shown::Shown;
use crate::spread::{Spread, short};

/// Which figures, and how often.
#[derive(Debug, Clone, Args)]
pub struct Wanted {
    /// Figures to show, by name; all of them without one
    pub names: Vec<String>,
    /// How often each is measured; the median counts
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub rounds: u32,
    /// Seconds of a run of writes; longer where five checkpoints take longer
    #[arg(long, default_value_t = 10.0)]
    pub duration_s: f64,
    /// Small sizes, for trying: the figures prove nothing
    #[arg(long)]
    pub quick: bool,
    /// Only list the figures
    #[arg(long)]
    pub list: bool,
}

/// A figure of all rounds.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// What it is held against.
    #[serde(flatten)]
    pub goal: Goal,
    /// The figure.
    pub figure: Spread,
    /// What it was beside.
    pub limit_figure: Option<Spread>,
    /// The ratio of each round.
    pub ratio: Option<Spread>,
    /// Whether the medians reach the goal.
    pub is_reached: bool,
    /// Fewest checkpoints that the broker took in a round.
    pub checkpoints: Option<f64>,
    /// What the last round said.
    pub note: Option<String>,
    /// How it is measured alone.
    pub command: String,
}

impl Run {
    /// Bytes that it leaves on the disk while it runs.
    fn room(self, is_quick: bool) -> u64 {
        match (self, is_quick) {
            (Self::Long | Self::Client, false) => 21 << 30,
            (Self::Start | Self::Memory, false) => 12 << 30,
            (_, false) => 8 << 30,
            (_, true) => 2 << 30,
        }
    }

    async fn round(self, bench: &Bench<'_>) -> Result<Vec<Figure>> {
        match self {
            Self::Batches => writing::batches(bench).await,
            Self::Long => writing::long(bench).await,
            Self::Producers => writing::producers(bench).await,
            Self::Records => writing::records(bench).await,
            Self::OneClient => waiting::one(bench).await,
            Self::ManyClients => waiting::many(bench).await,
            Self::Frames => writing::frames(bench).await,
            Self::Client => writing::client(bench).await,
            Self::Replay => replaying::replay(bench).await,
            Self::Channels => waiting::channels(bench).await,
            Self::Start => footprint::start(bench).await,
            Self::Memory => footprint::memory(bench).await,
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
    if !shown.json {
        heading(wanted, shown);
    }
    for run in runs {
        for row in rows(run, wanted, binary, dir).await? {
            let is_wanted =
                wanted.names.is_empty() || wanted.names.iter().any(|name| name == row.goal.name);
            match is_wanted {
                true if shown.json => {
                    let machine = &shown.machine;
                    let line = serde_json::json!({"machine": machine, "row": row});
                    println!("{line}");
                }
                true => println!("{}", row.markdown()),
                false => {}
            }
        }
    }
    Ok(())
}

/// The runs that show the figures of these names.
fn runs(names: &[String]) -> Result<Vec<Run>> {
    let known = |name: &str| {
        let mut goals = Run::ALL.iter().flat_map(|run| run.goals());
        goals.any(|goal| goal.name == name)
    };
    if let Some(name) = names.iter().find(|name| !known(name)) {
        bail!("no figure is called {name}: `npayload-bench rows --list` names them");
    }
    Ok(Run::ALL
        .into_iter()
        .filter(|run| {
            let mut goals = run.goals().iter();
            names.is_empty() || goals.any(|goal| names.iter().any(|name| name == goal.name))
        })
        .collect())
}

/// All rounds of one run.
pub async fn rows(
    run: Run,
    wanted: &Wanted,
    binary: Option<&Path>,
    dir: &Path,
) -> Result<Vec<Row>> {
    let bench = Bench {
        binary,
        dir,
        seconds: if wanted.quick { 1.0 } else { wanted.duration_s },
        is_quick: wanted.quick,
    };
    let mut rounds: Vec<Vec<Figure>> = Vec::new();
    for _ in 0..wanted.rounds {
        check_room(dir, run.room(wanted.quick))?;
        let figures = run.round(&bench).await?;
        if figures.len() != run.goals().len() {
            bail!("{run:?} shows {} figures", figures.len());
        }
        rounds.push(figures);
    }
    let mut rows = Vec::new();
    for (n, goal) in run.goals().iter().enumerate() {
        let figures: Vec<Figure> = rounds.iter().map(|round| round[n].clone()).collect();
        rows.push(row(*goal, &figures, wanted)?);
    }
    Ok(rows)
}

/// One figure of all rounds, as `npayload-bench rows` shows it.
fn row(goal: Goal, figures: &[Figure], wanted: &Wanted) -> Result<Row> {
    let quick = if wanted.quick { " --quick" } else { "" };
    let (name, rounds) = (goal.name, wanted.rounds);
    let command = format!("npayload-bench rows {name} --rounds {rounds}{quick}");
    row_of(goal, figures, command)
}

/// One figure of all rounds, and how it is measured alone.
pub fn row_of(goal: Goal, figures: &[Figure], command: String) -> Result<Row> {
    let Some(figure) = Spread::of(figures.iter().map(|figure| figure.value)) else {
        bail!("{} was not measured", goal.name);
    };
    let ratios = figures
        .iter()
        .filter_map(|figure| Some(figure.value / figure.limit?));
    let ratio = Spread::of(ratios);
    let checkpoints = figures.iter().filter_map(|figure| figure.checkpoints);
    Ok(Row {
        goal,
        figure,
        limit_figure: Spread::of(figures.iter().filter_map(|figure| figure.limit)),
        ratio,
        is_reached: goal
            .bound
            .is_reached(figure.median, ratio.map(|ratio| ratio.median)),
        checkpoints: checkpoints.min_by(f64::total_cmp),
        note: figures.last().and_then(|figure| figure.note.clone()),
        command,
    })
}

fn heading(wanted: &Wanted, shown: &Shown) {
    println!(
        "Machine: {}; load average before: {}.  ",
        shown.machine, shown.load_before
    );
    println!(
        "Medians (least–greatest) of {} rounds, the broker a process of its own for each; a limit is measured in the round of its figure.{}\n",
        wanted.rounds,
        if wanted.quick {
            " **Small sizes, for trying: the figures prove nothing.**"
        } else {
            ""
        }
    );
    columns();
}

/// The head of the table.
pub fn columns() {
    println!(
        "| Figure | | level | median (spread) | limit of the same round | ratio | to reach | | checkpoints | note | command |"
    );
    println!("| --- | --- | --- | --: | --- | --: | --- | --- | --: | --- | --- |");
}

impl Row {
    /// As a row of the table.
    pub fn markdown(&self) -> String {
        let text = |figure: &Option<Spread>| figure.map_or_else(String::new, |it| it.to_string());
        let limit = match (self.goal.limit, &self.limit_figure) {
            (Some(name), Some(figure)) => format!("{name}: {figure}"),
            _ => String::new(),
        };
        format!(
            "| {} | {} | {} | {} {} | {limit} | {} | {} | {} | {} | {} | `{}` |",
            self.goal.name,
            self.goal.what,
            self.goal.durability.unwrap_or(""),
            self.figure,
            self.goal.unit,
            text(&self.ratio),
            self.goal.bound.text(),
            if self.is_reached {
                "reached"
            } else {
                "**not reached**"
            },
            self.checkpoints.map_or_else(String::new, short),
            self.note.as_deref().unwrap_or(""),
            self.command
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> Wanted {
        Wanted {
            names: Vec::new(),
            rounds: 3,
            duration_s: 1.0,
            quick: true,
            list: false,
        }
    }

    #[test]
    fn the_ratio_is_of_each_round_and_not_of_the_medians() {
        let goal = Run::OneClient.goals()[0];
        let figures = [
            Figure::beside(10.0, 10.0),
            Figure::beside(40.0, 20.0),
            Figure::beside(90.0, 30.0),
        ];
        let row = row(goal, &figures, &wanted()).expect("a row");
        assert_eq!(row.ratio.expect("a ratio").median, 2.0);
        assert!(!row.is_reached, "2.0 is more than 1.5");
        assert!(row.markdown().contains("**not reached**"));
    }

    #[test]
    fn a_name_that_is_none_is_refused() {
        assert!(runs(&["no-such".to_owned()]).is_err());
        assert_eq!(
            runs(&["tail".to_owned()]).expect("a run"),
            [Run::ManyClients]
        );
        assert_eq!(runs(&[]).expect("all").len(), Run::ALL.len());
    }
}
