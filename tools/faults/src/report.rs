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
    seconds: f64,
}

impl Report {
    /// An empty one.
    pub fn new(is_json: bool) -> Self {
        Self {
            is_json,
            caught: 0,
            bad: Vec::new(),
            took: Duration::ZERO,
        }
    }

    /// Prints the row of a fault.
    pub fn add(&mut self, fault: &Fault, outcome: &Outcome) {
        self.took += outcome.took;
        if outcome.problem.is_some() {
            self.bad.push(fault.name.clone());
        } else {
            self.caught += 1;
        }
        let seconds = outcome.took.as_secs_f64();
        if self.is_json {
            let row = Row {
                fault: &fault.name,
                breaks: &fault.breaks,
                is_caught: outcome.problem.is_none(),
                caught_by: &outcome.red,
                problem: outcome.problem.as_deref(),
                seconds,
            };
            println!(
                "{}",
                serde_json::to_string(&row).expect("strings and numbers")
            );
            return;
        }
        let verdict = match &outcome.problem {
            Some(problem) => format!("SURVIVES  {problem}"),
            None => "caught".to_owned(),
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
                "{} caught, {} not caught, {:.0} s",
                self.caught,
                self.bad.len(),
                self.took.as_secs_f64()
            );
        }
        if !self.bad.is_empty() {
            eprintln!("not caught: {}", self.bad.join(", "));
        }
    }

    /// Whether every fault was caught.
    pub fn is_good(&self) -> bool {
        self.bad.is_empty()
    }
}
