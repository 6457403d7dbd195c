//! Building the tests of the copy, and running one of them.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::list::{Target, Test};
use crate::tree::{Tree, VARIABLE};

/// Test binaries by their target.
pub type Binaries = BTreeMap<Target, PathBuf>;

/// How a test is run.
#[derive(Debug, Clone, Copy)]
pub struct How<'a> {
    /// The fault that is switched on.
    pub fault: Option<&'a str>,
    /// The name is that of one test, not parts of several.
    pub is_exact: bool,
    /// Longer is hung.
    pub timeout: Duration,
}

/// How one run of a test binary ended.
#[derive(Debug)]
pub struct Ran {
    /// Every test was green, and there was one.
    pub is_green: bool,
    /// It was ended because it took too long.
    pub is_hung: bool,
    /// No test has such a name.
    pub is_empty: bool,
    /// Paths of the tests that were red.
    pub red: Vec<String>,
    /// What it printed.
    pub output: String,
}

#[expect(clippy::disallowed_methods, reason = "a runner of tests has a clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Builds the test binaries of these targets; `None` and the compiler's words where the code does
/// not build.
///
/// # Errors
/// Cargo can't be run.
pub fn build(tree: &Tree, targets: &BTreeSet<Target>) -> Result<Result<Binaries, String>> {
    let mut binaries = Binaries::new();
    let is_wanted = |target: &Target| targets.contains(target);
    let own: Vec<Target> = [Target::Suite, Target::Lib]
        .into_iter()
        .filter(is_wanted)
        .collect();
    if !own.is_empty() {
        let mut args = vec!["-p", "npayload"];
        for target in own {
            match target {
                Target::Lib => args.push("--lib"),
                _ => args.extend(["--test", "suite"]),
            }
        }
        if let Err(output) = cargo(tree, &args, &mut binaries)? {
            return Ok(Err(output));
        }
    }
    if targets.contains(&Target::Inspect)
        && let Err(output) = cargo(tree, &["-p", "npayload-inspect", "--lib"], &mut binaries)?
    {
        return Ok(Err(output));
    }
    Ok(Ok(binaries))
}

fn cargo(tree: &Tree, args: &[&str], binaries: &mut Binaries) -> Result<Result<(), String>> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args([
            "test",
            "--no-run",
            "--message-format=json-render-diagnostics",
        ])
        .args(args)
        .arg("--target-dir")
        .arg(&tree.target_dir)
        .env_remove("CARGO_TARGET_DIR")
        // Nobody debugs a fault, and linking is most of the wait.
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .current_dir(&tree.dir)
        .output()
        .context("running cargo")?;
    if !output.status.success() {
        return Ok(Err(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let Ok(message) = serde_json::from_str::<serde_json::Value>(line) else {
            continue;
        };
        let Some(executable) = message["executable"].as_str() else {
            continue;
        };
        let target = match message["target"]["name"].as_str() {
            Some("suite") => Target::Suite,
            Some("npayload") if message["target"]["kind"][0] == "lib" => Target::Lib,
            Some("npayload_inspect") => Target::Inspect,
            _ => continue,
        };
        if message["profile"]["test"] == true {
            binaries.insert(target, executable.into());
        }
    }
    Ok(Ok(()))
}

/// Runs a test by its name, or all whose names hold a filter.
///
/// # Errors
/// The binary can't be started.
pub fn run(tree: &Tree, binaries: &Binaries, test: &Test, how: &How<'_>) -> Result<Ran> {
    let binary = binaries.get(&test.target).context("built before")?;
    let path = tree.target_dir.join("output.txt");
    let output = File::create(&path)?;
    let mut command = Command::new(binary);
    // A search may name several parts.
    command.args(test.name.split(' '));
    if how.is_exact {
        command.arg("--exact");
    }
    match how.fault {
        // What a broken broker does not do is not waited for as long as what a busy one will do.
        Some(name) => command.env(VARIABLE, name).env("NPAYLOAD_PATIENCE_S", "20"),
        None => command.env_remove(VARIABLE),
    };
    // A group of its own, so that a broker which a test has started ends with it.
    let mut child = command
        .current_dir(&tree.dir)
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .process_group(0)
        .spawn()
        .with_context(|| format!("starting {}", binary.display()))?;
    let started = now();
    let mut status: Option<ExitStatus> = None;
    while status.is_none() && started.elapsed() < how.timeout {
        status = child.try_wait()?;
        std::thread::sleep(Duration::from_millis(20));
    }
    if let Some(group) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) {
        // Gone already, in the ordinary case.
        let _ = kill_process_group(group, Signal::KILL);
    }
    if status.is_none() {
        child.wait()?;
    }
    let output = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
    let is_empty = output.contains("test result: ok. 0 passed");
    Ok(Ran {
        is_green: status.is_some_and(|status| status.success()) && !is_empty,
        is_hung: status.is_none(),
        is_empty,
        red: red(&output),
        output,
    })
}

/// The tests that the output calls failed.
fn red(output: &str) -> Vec<String> {
    let failed = |line: &str| {
        let line = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
        Some(line.split(' ').next().unwrap_or(line).to_owned())
    };
    output.lines().filter_map(failed).collect()
}

#[cfg(test)]
mod tests {
    use super::red;

    #[test]
    fn failed_tests_are_found_in_what_a_run_printed() {
        let output = "\nrunning 3 tests\ntest a::is_green ... ok\ntest a::is_red ... FAILED\n\
                      test b::panics - should panic ... FAILED\n\nfailures:\n    a::is_red\n";
        assert_eq!(red(output), ["a::is_red", "b::panics"]);
    }
}
