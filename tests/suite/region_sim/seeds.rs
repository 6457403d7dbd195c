//! The runs, side by side on all cores, and what they covered.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::sim::trace::Trace;

/// What the runs of a long test must have shown between them; else they prove less than they say.
const MUST_HAPPEN: [&str; 34] = [
    "event: a copy waits for room",
    "event: a missing answer ended the link",
    "event: acknowledged",
    "event: channel deleted at home",
    "event: compared in all regions",
    "event: copied",
    "event: copy begun",
    "event: copy begun anew by an operator",
    "event: copy purged",
    "event: copy widened",
    "event: followed",
    "event: gap",
    "event: interest declared",
    "event: interest withdrawn",
    "event: link opened",
    "event: published",
    "event: widening begun",
    "event: widening given up",
    "event: widening goes on",
    "event: written beside",
    "fault: an answer is lost",
    "fault: answers change places",
    "fault: both ways silent",
    "fault: link cut",
    "fault: one way silent",
    "fault: power cut, all unsynced lost",
    "fault: power cut, pages reordered",
    "fault: power cut, sectors reordered",
    "fault: power cut, torn in order",
    "fault: process killed",
    "fault: restored from a backup",
    "stop: diverged",
    "stop: made again",
    "stop: passing",
];

/// From this many seeds on, all of it has happened.
const ENOUGH_SEEDS: u64 = 500;

/// Seeds of a run of the ordinary suite.
const FEW_SEEDS: u64 = 48;

type Run = fn(u64, &Trace) -> u64;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One seed: its hash, or what it found.
fn try_seed(run: Run, seed: u64, keeps_lines: bool) -> (Result<u64, String>, Trace) {
    let trace = Trace::new(keeps_lines);
    let ended = catch_unwind(AssertUnwindSafe(|| run(seed, &trace)));
    let ended = ended.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    });
    (ended, trace)
}

/// Runs a seed that failed, or that somebody asks for; its story is printed when it fails.
fn replay(run: Run, seed: u64, last_lines: usize) {
    let (ended, trace) = try_seed(run, seed, true);
    if let Err(what) = ended {
        let lines = trace.lines();
        for line in &lines[lines.len().saturating_sub(last_lines)..] {
            println!("{line}");
        }
        panic!("seed {seed}: {what}\nrepeat it with NPAYLOAD_SIM_SEED={seed}");
    }
}

/// Runs all seeds; what they covered.
fn try_all(run: Run) -> (u64, BTreeMap<String, u64>) {
    if let Some(seed) = number("NPAYLOAD_SIM_SEED") {
        replay(run, seed, usize::MAX);
        return (1, BTreeMap::new());
    }
    let seeds = number("NPAYLOAD_REGION_SEEDS").unwrap_or(FEW_SEEDS);
    let first = number("NPAYLOAD_SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let failed: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let covered: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while failed.lock().unwrap().len() < 10 {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let (ended, trace) = try_seed(run, seed, false);
                    if let Err(what) = ended {
                        failed.lock().unwrap().insert(seed, what);
                    }
                    let mut covered = covered.lock().unwrap();
                    for (what, count) in trace.counts() {
                        *covered.entry(what).or_default() += count;
                    }
                }
            });
        }
    });
    let covered = covered.into_inner().unwrap();
    for (what, count) in &covered {
        println!("{count:>9}  {what}");
    }
    println!("{seeds} seeds");
    let failed = failed.into_inner().unwrap();
    for (seed, what) in &failed {
        println!("seed {seed}: {what}");
    }
    if let Some(seed) = failed.keys().next() {
        replay(run, *seed, 150);
    }
    (seeds, covered)
}

fn holds(run: Run, must_happen: &[&str]) {
    let (seeds, covered) = try_all(run);
    for what in must_happen.iter().filter(|_| seeds >= ENOUGH_SEEDS) {
        assert!(covered.contains_key(*what), "`{what}` never happened");
    }
}

#[test]
fn no_seed_finds_a_copy_that_is_not_its_home() {
    holds(super::life::run, &MUST_HAPPEN);
}

#[test]
fn no_seed_finds_a_move_that_loses_or_a_tenure_with_two_homes() {
    holds(super::moving::run, &super::moving::MUST_HAPPEN);
}

#[test]
fn a_seed_run_twice_leaves_the_same_trace() {
    for (run, seeds) in [(super::life::run as Run, 4), (super::moving::run, 20)] {
        for seed in 0..seeds {
            let (first, one) = try_seed(run, seed, true);
            let (second, other) = try_seed(run, seed, true);
            let (one, other) = (one.lines(), other.lines());
            let differs = one.iter().zip(&other).find(|(one, other)| one != other);
            assert_eq!(differs, None, "seed {seed}");
            assert_eq!(one.len(), other.len(), "seed {seed}");
            assert!(!one.is_empty(), "seed {seed} tells nothing");
            assert_eq!(first, second, "seed {seed}");
        }
    }
}
