//! The table: what has to be shown, and what was.

use serde::Serialize;

use crate::attacks::{self, Measured, Run};
use crate::world::Qualities;

/// One run of the table, for all figures that it gives.
pub struct Experiment {
    /// Its name.
    pub name: &'static str,
    run: Run,
    /// The figures that have to be reached.
    goals: &'static [Goal],
}

/// A figure that has to be reached.
pub struct Goal {
    /// Name of the figure among those that are measured.
    figure: &'static str,
    /// In words.
    what: &'static str,
    /// Whether it is a least or a most.
    is_least: bool,
    bound: f64,
    /// Names of the figures of who only counts: raw rate, Beta mean, Wilson bound.
    beside: [&'static str; 3],
}

const fn least(figure: &'static str, what: &'static str, bound: f64) -> Goal {
    Goal {
        figure,
        what,
        is_least: true,
        bound,
        beside: ["raw", "beta", "wilson"],
    }
}

const fn most(figure: &'static str, what: &'static str, bound: f64) -> Goal {
    Goal {
        is_least: false,
        ..least(figure, what, bound)
    }
}

const fn beside(goal: Goal, beside: [&'static str; 3]) -> Goal {
    Goal { beside, ..goal }
}

const NONE: [&str; 3] = ["", "", ""];

/// All of the table.
pub const EXPERIMENTS: &[Experiment] = &[
    Experiment {
        name: "honest",
        run: attacks::honest,
        goals: &[
            beside(
                least("tau", "rank correlation to true quality", 0.88),
                ["tau.raw", "tau.beta", "tau.wilson"],
            ),
            beside(
                most("error", "error of the mean", 0.07),
                ["", "error.beta", ""],
            ),
            beside(
                least("probe", "quality 0.97, 40 varied tasks in 30 days", 0.85),
                ["probe.raw", "probe.beta", "probe.wilson"],
            ),
        ],
    },
    Experiment {
        name: "company",
        run: attacks::company,
        goals: &[least("internal", "internal score, one coordinator", 0.85)],
    },
    Experiment {
        name: "wash",
        run: attacks::wash,
        goals: &[most("change", "gain by 2,000 fakes of the own owner", 0.02)],
    },
    Experiment {
        name: "sybils-20",
        run: attacks::sybils_20,
        goals: &[most("change", "gain by 20 sybil owners", 0.03)],
    },
    Experiment {
        name: "sybils-200",
        run: attacks::sybils_200,
        goals: &[most("change", "gain by 200 sybil owners", 0.03)],
    },
    Experiment {
        name: "sybils-more",
        run: attacks::sybils_more,
        goals: &[beside(
            most("more", "gain by 200 rather than 20", 0.01),
            NONE,
        )],
    },
    Experiment {
        name: "ring",
        run: attacks::ring,
        goals: &[
            most("change", "gain in a ring of 5 owners", 0.10),
            beside(least("flagged", "the ring is flagged", 1.0), NONE),
        ],
    },
    Experiment {
        name: "circle",
        run: attacks::circle,
        goals: &[most("change", "gain in a ring that returns nothing", 0.10)],
    },
    Experiment {
        name: "sybil-slander",
        run: attacks::sybil_slander,
        goals: &[most("change", "loss by 200 sybils' opinions", 0.02)],
    },
    Experiment {
        name: "verified-slander",
        run: attacks::verified_slander,
        goals: &[
            most("change", "loss by opinions of 3 of 8 verified", 0.25),
            beside(least("named", "share of the outliers named", 1.0), NONE),
        ],
    },
    Experiment {
        name: "cheat",
        run: attacks::cheat,
        goals: &[most("score", "who cheats 3 of 8 verified", 0.75)],
    },
    Experiment {
        name: "on-off-1",
        run: attacks::on_off_1,
        goals: &[
            beside(
                most("fall", "failures to below 0.80 after 100 successes", 8.0),
                ["", "fall.beta", "fall.wilson"],
            ),
            beside(least("rise", "successes to return, severity 1", 8.0), NONE),
        ],
    },
    Experiment {
        name: "on-off-2",
        run: attacks::on_off_2,
        goals: &[beside(
            least("rise", "successes to return, severity 2", 20.0),
            NONE,
        )],
    },
    Experiment {
        name: "whitewash",
        run: attacks::whitewash,
        goals: &[
            beside(
                most("mean", "best of a life of 20 tasks, mean", 0.55),
                ["", "mean.beta", ""],
            ),
            beside(
                most("worst", "best of a life, worst of 20 lives", 0.75),
                ["", "worst.beta", ""],
            ),
            beside(
                most("newcomer", "newcomer after 3 successes", 0.65),
                ["", "newcomer.beta", "newcomer.wilson"],
            ),
        ],
    },
    Experiment {
        name: "disputes",
        run: attacks::disputes,
        goals: &[
            beside(
                most("loss", "loss of victims of 500 unfounded disputes", 0.02),
                NONE,
            ),
            beside(
                most("credibility", "credibility of who filed them", 0.20),
                NONE,
            ),
        ],
    },
    Experiment {
        name: "routing",
        run: attacks::routing,
        goals: &[beside(
            least("share", "success of the best of five, of an oracle's", 0.95),
            ["share.random", "share.beta", "share.wilson"],
        )],
    },
];

/// A row of the table.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// Name of the experiment.
    pub experiment: &'static str,
    /// What is shown.
    pub what: &'static str,
    /// What `trust/1` reached: mean of all seeds.
    pub reached: f64,
    /// The least and the most of all seeds.
    pub range: [f64; 2],
    /// What it has to reach: `>=` or `<=`.
    pub relation: &'static str,
    /// And what number.
    pub bound: f64,
    /// Whether it does.
    pub passed: bool,
    /// Raw rate, Beta mean and Wilson bound; for routing the first is that of a random choice.
    pub beside: [Option<f64>; 3],
}

impl Experiment {
    /// Measures a seed.
    pub fn measure(&self, seed: u64, qualities: Qualities) -> Measured {
        (self.run)(seed, qualities)
    }

    /// The rows of all seeds' measures.
    pub fn rows(&self, seeds: &[Measured]) -> Vec<Row> {
        self.goals
            .iter()
            .map(|goal| self.row(goal, seeds))
            .collect()
    }

    fn row(&self, goal: &Goal, seeds: &[Measured]) -> Row {
        let all = |name: &str| -> Vec<f64> {
            let found = seeds.iter().flat_map(|seed| seed.iter());
            let found = found.filter(|(figure, _)| *figure == name);
            found.map(|(_, value)| *value).collect()
        };
        let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
        let values = all(goal.figure);
        let reached = mean(&values);
        let passed = if goal.is_least {
            reached >= goal.bound
        } else {
            reached <= goal.bound
        };
        Row {
            experiment: self.name,
            what: goal.what,
            reached,
            range: [
                values.iter().copied().fold(f64::INFINITY, f64::min),
                values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ],
            relation: if goal.is_least { ">=" } else { "<=" },
            bound: goal.bound,
            passed,
            beside: goal.beside.map(|name| {
                let values = all(name);
                (!values.is_empty()).then(|| mean(&values))
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_figure_of_the_table_is_reached_with_a_margin() {
        for experiment in EXPERIMENTS {
            let seeds: Vec<Measured> = (100..103)
                .map(|seed| experiment.measure(seed, Qualities::Classes))
                .collect();
            for row in experiment.rows(&seeds) {
                let margin = if row.relation == ">=" {
                    row.reached - row.bound
                } else {
                    row.bound - row.reached
                };
                // What is all or nothing has none.
                let least = if row.bound == 1.0 { 0.0 } else { 0.01 };
                assert!(row.passed && margin >= least, "{row:?}");
            }
        }
    }

    #[test]
    fn a_seed_measures_the_same_twice() {
        for experiment in EXPERIMENTS.iter().take(3) {
            let measure = || experiment.measure(3, Qualities::Uniform);
            assert_eq!(measure(), measure());
        }
    }

    #[test]
    fn who_only_counts_is_fooled_by_what_is_tried() {
        for name in ["wash", "sybils-200", "sybil-slander"] {
            let experiment = EXPERIMENTS.iter().find(|of| of.name == name);
            let experiment = experiment.expect("it is there");
            let seeds = [experiment.measure(1, Qualities::Classes)];
            let row = experiment.rows(&seeds).remove(0);
            assert!(row.beside[1].unwrap_or(0.0) > 0.3, "{row:?}");
        }
    }
}
