//! The runs, side by side on all cores, and what they covered.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::life::{Summary, run};
use super::trace::Trace;

/// What the runs of a test must have shown between them; else they prove less than they say.
const MUST_HAPPEN: [&str; 67] = [
    "answer: atomic",
    "answer: atomic duplicate",
    "answer: committed",
    "answer: created",
    "answer: deleted",
    "answer: duplicate",
    "answer: fetched",
    "answer: fetched nothing",
    "answer: never acknowledged: journal",
    "answer: never acknowledged: segment",
    "answer: position",
    "answer: published",
    "answer: refused: channel failed",
    "answer: refused: disk full",
    "answer: refused: diverged",
    "answer: refused: fenced",
    "answer: refused: journal failed",
    "answer: refused: no such channel",
    "answer: refused: out of range",
    "answer: refused: position",
    "answer: refused: producer unknown",
    "answer: refused: recreated",
    "answer: refused: sequence gap",
    "answer: refused: too large",
    "answer: refused: wrong offset",
    "answer: shutting down",
    "event: a tail was lost",
    "event: a torn group was cut off",
    "event: batches decrypted",
    "event: batches replayed",
    "event: channel removed",
    "event: checkpoint",
    "event: clean stop",
    "event: indexes saved",
    "event: journal failed",
    "event: journal file prepared",
    "event: moved to lost+found",
    "event: opening failed",
    "event: recovery point",
    "event: retention moved a log start",
    "event: retention or fold recorded",
    "event: round done",
    "event: round found the disk full",
    "event: segments removed",
    "event: space again",
    "event: taken back after a failed segment",
    "event: write behind",
    "fault: I/O error on open",
    "fault: I/O error on read",
    "fault: I/O error on remove",
    "fault: I/O error on sync",
    "fault: I/O error on sync directory",
    "fault: I/O error on write",
    "fault: clock back by a day",
    "fault: clock back by ten years",
    "fault: clock forward by a day",
    "fault: clock forward by ten years",
    "fault: connection cut",
    "fault: crash during recovery",
    "fault: disk full",
    "fault: no space on create directory",
    "fault: no space on open",
    "fault: no space on write",
    "fault: power cut, all unsynced lost",
    "fault: power cut, pages reordered",
    "fault: power cut, sectors reordered",
    "fault: process killed",
];

/// From this many seeds on, all of it has happened.
const ENOUGH_SEEDS: u64 = 500;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// One seed, with its trace printed where it fails.
fn try_seed(seed: u64, keeps_lines: bool) -> (Result<Summary, String>, Trace) {
    let trace = Trace::new(keeps_lines);
    let ended = catch_unwind(AssertUnwindSafe(|| run(seed, &trace)));
    let ended = ended.map_err(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
        text.unwrap_or_else(|| "a panic without words".to_owned())
    });
    (ended, trace)
}

/// Runs a seed that once failed, or that somebody asks for; all of its story is printed when it
/// fails.
fn replay(seed: u64, last_lines: usize) {
    let (ended, trace) = try_seed(seed, true);
    if let Err(what) = ended {
        let lines = trace.lines();
        for line in &lines[lines.len().saturating_sub(last_lines)..] {
            println!("{line}");
        }
        panic!("seed {seed}: {what}\nrepeat it with NPAYLOAD_SIM_SEED={seed}");
    }
}

#[test]
fn no_seed_finds_an_anomaly() {
    if let Some(seed) = number("NPAYLOAD_SIM_SEED") {
        return replay(seed, usize::MAX);
    }
    let seeds = number("NPAYLOAD_SIM_SEEDS").unwrap_or(1_000);
    let first = number("NPAYLOAD_SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let failed: Mutex<BTreeMap<u64, String>> = Mutex::default();
    let covered: Mutex<BTreeMap<String, u64>> = Mutex::default();
    let steps = AtomicU64::new(0);
    let cores = std::thread::available_parallelism().map_or(2, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while failed.lock().unwrap().len() < 10 {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds {
                        return;
                    }
                    let (ended, trace) = try_seed(seed, false);
                    match ended {
                        Ok(summary) => {
                            steps.fetch_add(summary.steps, Ordering::Relaxed);
                        }
                        Err(what) => {
                            failed.lock().unwrap().insert(seed, what);
                        }
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
    println!("{seeds} seeds, {} steps", steps.into_inner());
    let failed = failed.into_inner().unwrap();
    for (seed, what) in &failed {
        println!("seed {seed}: {what}");
    }
    if let Some(seed) = failed.keys().next() {
        replay(*seed, 150);
    }
    for what in MUST_HAPPEN.iter().filter(|_| seeds >= ENOUGH_SEEDS) {
        assert!(covered.contains_key(*what), "`{what}` never happened");
    }
}

#[test]
fn a_seed_run_twice_leaves_the_same_trace() {
    for seed in 0..12 {
        let (first, one) = try_seed(seed, true);
        let (second, other) = try_seed(seed, true);
        let (one, other) = (one.lines(), other.lines());
        let differs = one.iter().zip(&other).find(|(one, other)| one != other);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!(one.len(), other.len(), "seed {seed}");
        let hash = |summary: Result<Summary, String>| summary.map(|summary| summary.hash);
        assert_eq!(hash(first), hash(second), "seed {seed}");
    }
}
