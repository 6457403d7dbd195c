//! What came of the faults, for people or for programs.

use std::time::Duration;

use serde::Serialize;

use crate::list::Fault;
use crate::run::Outcome;

/// Collects and prints.
#[derive(Debug)]
pub struct Report {
    is_json: bool,
    caught: usize,
    harmless: usize,
    bad: Vec<String>,
    took: Duration,
}

#[derive(Serialize)]
struct Row<'a> {
    fault: &'a str,
    breaks: &'a str,
    is_caught: bool,
    caught_by: &'a [String],
    #[serde(skip_serializing_if = "Option::is_none")]
    problem: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    harmless_because: Option<&'a str>,
    seconds: f64,
}

impl Report {
    /// An empty one.
    pub fn new(is_json: bool) -> Self {
        Self {
            is_json,
            caught: 0,
            harmless: 0,
            bad: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Prints the row of a fault.
    pub fn add(&mut self, fault: &Fault, outcome: Outcome) {
        self.took += outcome.took;
        if outcome.problem.is_some() {
            self.bad.push(fault.name.clone());
        } else if outcome.is_harmless {
            self.harmless += 1;
        } else {
            self.caught += 1;
        }
        let seconds = outcome.took.as_secs_f64();
        if self.is_json {
            let row = Row {
                fault: &fault.name,
                breaks: &fault.breaks,
                is_caught: outcome.problem.is_none() && !outcome.is_harmless,
                caught_by: &outcome.red,
                problem: outcome.problem.as_deref(),
                harmless_because: fault.harmless_because.as_deref(),
                seconds,
            };
            println!(
                "{}",
                serde_json::to_string(&row).expect("strings and numbers")
            );
            return;
        }
        let verdict = match (&outcome.problem, outcome.is_harmless) {
            (Some(problem), _) => format!("SURVIVES  {problem}"),
            (None, true) => "harmless".to_owned(),
            (None, false) => "caught".to_owned(),
        };
        println!("{:<44} {seconds:>6.1} s  {verdict}", fault.name);
        for red in &outcome.red {
            println!("{:<44}           red: {red}", "");
        }
    }

    /// Prints the sum.
    pub fn end(&self) {
        if !self.is_json {
            println!(
                "{} caught, {} harmless, {} not caught, {:.0} s",
                self.caught,
                self.harmless,
                self.bad.len(),
                self.took.as_secs_f64()
            );
        }
        if !self.bad.is_empty() {
            eprintln!("not caught: {}", self.bad.join(", "));
        }
    }

    /// Whether every fault was caught, or harmless.
    pub fn is_good(&self) -> bool {
        self.bad.is_empty()
    }
}
