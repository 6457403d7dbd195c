//! Trying faults: put in, build, run the tests that should notice.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{Result, bail};

use crate::build::{self, Binaries, How, build, now};
use crate::list::{Fault, Target, Test};
use crate::report::Report;
use crate::tree::Tree;

/// What came of a fault.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Tests that turned red.
    pub red: Vec<String>,
    /// Why it counts as not caught: tests that stayed green.
    pub problem: Option<String>,
    /// How long its tests took.
    pub took: Duration,
}

/// Tries faults against their own tests, or against those of a search.
#[derive(Debug)]
pub struct Trial<'a> {
    /// Tests to run instead of those that the faults name; none runs those.
    pub search: &'a [Test],
    /// Whether the tests are seen green first.
    pub has_baseline: bool,
    /// How long one run of tests may take.
    pub timeout: Duration,
}

impl Trial<'_> {
    /// Tries all of these faults: all that can be built together at once.
    ///
    /// # Errors
    /// A fault that no longer applies or does not build.
    pub fn run(&self, tree: &mut Tree, faults: &[&Fault], report: &mut Report) -> Result<()> {
        let mut left = faults.to_vec();
        while !left.is_empty() {
            let waiting = tree.plant(&left)?;
            left.retain(|fault| !waiting.iter().any(|other| other.name == fault.name));
            eprintln!("building {} faults", left.len());
            let tests: BTreeSet<&Test> = left.iter().flat_map(|fault| self.tests(fault)).collect();
            let targets: BTreeSet<Target> = tests.iter().map(|test| test.target).collect();
            let binaries = match build(tree, &targets)? {
                Ok(binaries) => binaries,
                Err(output) => bail!("the faults do not build:\n{output}"),
            };
            let mut seen = BTreeMap::new();
            for fault in left {
                let red = match self.has_baseline && self.search.is_empty() {
                    true => self.see_green(tree, &binaries, fault, &mut seen)?,
                    false => None,
                };
                let outcome = match red {
                    Some(problem) => Outcome {
                        problem: Some(problem),
                        ..Outcome::default()
                    },
                    None => self.try_one(tree, &binaries, fault)?,
                };
                report.add(fault, &outcome);
            }
            left = waiting;
        }
        Ok(())
    }

    fn tests<'a>(&'a self, fault: &'a Fault) -> &'a [Test] {
        if self.search.is_empty() {
            &fault.caught_by
        } else {
            self.search
        }
    }

    /// Looks at the tests of a fault without it, once at each: one that is red then says nothing.
    /// Which ones are red.
    fn see_green<'a>(
        &self,
        tree: &Tree,
        binaries: &Binaries,
        fault: &'a Fault,
        seen: &mut BTreeMap<&'a Test, bool>,
    ) -> Result<Option<String>> {
        let how = How {
            fault: None,
            is_exact: true,
            timeout: self.timeout,
        };
        let mut red = Vec::new();
        for test in &fault.caught_by {
            let is_green = match seen.get(test) {
                Some(is_green) => *is_green,
                None => {
                    let ran = build::run(tree, binaries, test, &how)?;
                    if !ran.is_green && !ran.is_empty {
                        eprintln!("{test} without any fault:\n{}", ran.output);
                    }
                    seen.insert(test, ran.is_green);
                    ran.is_green
                }
            };
            if !is_green {
                red.push(format!("{test} is red without any fault, or no test"));
            }
        }
        Ok((!red.is_empty()).then(|| red.join("; ")))
    }

    fn try_one(&self, tree: &Tree, binaries: &Binaries, fault: &Fault) -> Result<Outcome> {
        let started = now();
        let is_search = !self.search.is_empty();
        let how = How {
            fault: Some(&fault.name),
            is_exact: !is_search,
            timeout: self.timeout,
        };
        let mut outcome = Outcome::default();
        let mut green = Vec::new();
        for test in self.tests(fault) {
            let ran = build::run(tree, binaries, test, &how)?;
            if ran.is_empty {
                green.push(format!("{test} is no test"));
            } else if ran.is_green {
                green.push(format!("{test} stays green"));
            } else if is_search && !ran.red.is_empty() {
                let target = test.target.name();
                let red = ran.red.into_iter().map(|red| format!("{target}:{red}"));
                outcome.red.extend(red);
                break;
            } else if ran.is_hung {
                outcome.red.push(format!("{test} (hung)"));
            } else {
                outcome.red.push(test.to_string());
            }
        }
        // What a search does not find is no problem, as long as it finds something.
        if !green.is_empty() && (!is_search || outcome.red.is_empty()) {
            outcome.problem = Some(green.join("; "));
        }
        outcome.took = started.elapsed();
        Ok(outcome)
    }
}
