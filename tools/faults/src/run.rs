//! Trying a fault: put in, build, run the tests that should notice, take out.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::build::{self, build, now};
use crate::list::{Fault, Target, Test};
use crate::tree::Tree;

/// What came of a fault.
#[derive(Debug)]
pub struct Outcome {
    /// Tests that turned red.
    pub red: Vec<String>,
    /// What is wrong with it, if anything is: a test that stayed green, a change that no longer
    /// applies, code that does not build.
    pub problem: Option<String>,
    /// Harmless by its own word: not tried.
    pub is_harmless: bool,
    /// How long it took.
    pub took: Duration,
}

/// Sees every test that the faults name green on the code as it is. A test that is red there says
/// nothing about a fault.
///
/// # Errors
/// A test is red, or no test has its name, or the code does not build.
pub fn baseline(tree: &Tree, faults: &[&Fault], timeout: Duration) -> Result<()> {
    let tests: BTreeSet<&Test> = faults.iter().flat_map(|fault| &fault.caught_by).collect();
    eprintln!("without a fault: {} tests", tests.len());
    let targets: BTreeSet<Target> = tests.iter().map(|test| test.target).collect();
    let binaries = match build(tree, &targets)? {
        Ok(binaries) => binaries,
        Err(output) => bail!("the code does not build:\n{output}"),
    };
    for test in tests {
        let ran = build::run(tree, &binaries, test, true, timeout)?;
        if ran.is_empty {
            bail!("no test is called {test}");
        }
        if !ran.is_green {
            bail!("{test} is red without any fault:\n{}", ran.output);
        }
    }
    Ok(())
}

/// Tries one fault; with `search`, against these tests instead of its own.
///
/// # Errors
/// The copy can't be changed, or nothing can be run.
pub fn try_fault(
    tree: &Tree,
    fault: &Fault,
    search: &[Test],
    timeout: Duration,
) -> Result<Outcome> {
    let started = now();
    let mut outcome = Outcome {
        red: Vec::new(),
        problem: None,
        is_harmless: false,
        took: Duration::ZERO,
    };
    if fault.harmless_because.is_some() && search.is_empty() {
        outcome.is_harmless = true;
        return Ok(outcome);
    }
    let originals = match tree.apply(fault) {
        Ok(originals) => originals,
        Err(error) => {
            outcome.problem = Some(format!("does not apply: {error}"));
            return Ok(outcome);
        }
    };
    let tried = run_tests(tree, fault, search, timeout, &mut outcome);
    tree.take_back(originals)?;
    tried?;
    outcome.took = started.elapsed();
    Ok(outcome)
}

fn run_tests(
    tree: &Tree,
    fault: &Fault,
    search: &[Test],
    timeout: Duration,
    outcome: &mut Outcome,
) -> Result<()> {
    let is_search = !search.is_empty();
    let tests = if is_search { search } else { &fault.caught_by };
    let targets: BTreeSet<Target> = tests.iter().map(|test| test.target).collect();
    let binaries = match build(tree, &targets)? {
        Ok(binaries) => binaries,
        Err(output) => {
            outcome.problem = Some(format!("does not build:\n{output}"));
            return Ok(());
        }
    };
    let mut green = Vec::new();
    for test in tests {
        let ran = build::run(tree, &binaries, test, !is_search, timeout)?;
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
    Ok(())
}
