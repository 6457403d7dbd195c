//! The real binary killed at random moments: under load, while it starts, while it stops.
//!
//! `ROUNDS` and `NPAYLOAD_SEED` set how often and from which seed. The seed decides what is written
//! and when the broker is killed, not how far it had come by then.

use std::path::Path;
use std::time::Duration;

use rustix::process::Signal;

use crate::load::{Draws, Load, big};
use crate::process::{Broker, clock};
use crate::raw::Raw;

/// A number from the environment, or this.
pub fn from_env(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| {
        text.parse()
            .unwrap_or_else(|error| panic!("{name}={text}: {error}"))
    })
}

/// A seed from the environment, or another one each time; printed, so that a failure names it.
pub fn seed() -> u64 {
    let seed = from_env("NPAYLOAD_SEED", uuid::Uuid::new_v4().as_u64_pair().0);
    println!("NPAYLOAD_SEED={seed}");
    seed
}

/// Whether this is a long run.
pub fn is_soak() -> bool {
    std::env::var_os("NPAYLOAD_SOAK").is_some()
}

/// Settings with a journal of this size: a small one is checkpointed all the time.
fn configure(data: &Path, journal_file_bytes: u64, journal_files: u64) {
    let round = (journal_file_bytes / 4).min(16 << 20);
    let segment = journal_file_bytes * 2;
    let text = format!(
        "[storage]\njournal_file_bytes = {journal_file_bytes}\njournal_files = {journal_files}\n\
         max_round_bytes = {round}\n[channel]\nsegmentBytes = {segment}\n"
    );
    std::fs::write(data.with_extension("toml"), text).expect("a configuration file");
}

/// What a series of kills did.
#[derive(Debug, Default)]
struct Tally {
    kills: u64,
    records: u64,
    starts: Vec<Duration>,
}

impl Tally {
    /// Starts a broker, after killing it in its start a few times at random.
    fn start(&mut self, data: &Path, draws: &mut Draws) -> Broker {
        let last = self.starts.last().copied().unwrap_or_default();
        let latest = u64::try_from(last.as_micros()).expect("short") + 1_000;
        for _ in 0..draws.below(6).saturating_sub(3) {
            let starting = Broker::launch(data, &[]);
            std::thread::sleep(Duration::from_micros(draws.below(latest)));
            starting.kill();
            self.kills += 1;
        }
        let began = clock();
        let broker = Broker::launch(data, &[]).ready();
        self.starts.push(began.elapsed());
        broker
    }

    /// Prints it, and in a long run holds the starts against their goal.
    fn report(mut self, rounds: u64) {
        self.starts.sort_unstable();
        let median = self.starts[self.starts.len() / 2];
        let longest = self.starts[self.starts.len() - 1];
        println!(
            "{} kills in {rounds} rounds, {} records acknowledged, all there; \
             starts: median {median:.0?}, longest {longest:.0?}",
            self.kills, self.records
        );
        assert!(
            !is_soak() || longest <= START_GOAL,
            "a start after a kill took {longest:?}, more than {START_GOAL:?}"
        );
    }
}

/// How long a start after a kill may take, however large the channels are.
const START_GOAL: Duration = Duration::from_secs(1);

/// Kills a broker `rounds` times, and holds what each next one serves against what was promised.
fn kill_again_and_again(data: &Path, rounds: u64, draws: &mut Draws, tally: &mut Tally) {
    let mut load = Load::new(draws.draw());
    let mut broker = Broker::start(data);
    let mut raw = Raw::greeted(broker.address());
    load.create(&mut raw);
    let big_bytes = if is_soak() { 1 << 30 } else { 1 << 20 };
    let big_records = big::fill(&mut raw, big_bytes);
    for _ in 0..rounds {
        let run = load.begin(broker.address());
        // Late enough that something was promised, and then at any moment.
        run.goes_on();
        std::thread::sleep(Duration::from_millis(draws.below(200)));
        if draws.below(4) == 0 {
            broker.signal(Signal::TERM);
            std::thread::sleep(Duration::from_millis(draws.below(40)));
        }
        broker.kill_anyway();
        tally.kills += 1;
        load = run.end();
        broker = tally.start(data, draws);
        load.check(broker.address());
        big::check_end(&mut Raw::greeted(broker.address()), big_records);
    }
    load.check_all(broker.address());
    assert_eq!(broker.terminate(), 0, "stops clean");
    let broker = Broker::start(data);
    load.check_all(broker.address());
    big::check_all(&mut Raw::greeted(broker.address()), big_records);
    tally.records += load.ledger.promised();
}

#[test]
fn whatever_moment_it_is_killed_at_nothing_acknowledged_is_lost_doubled_or_reordered() {
    let mut draws = Draws(seed());
    let rounds = from_env("ROUNDS", 10);
    let mut tally = Tally::default();
    // A directory for each 20 rounds. A small journal is checkpointed all the time, a larger one
    // now and then, and the default one holds nearly all that a round writes.
    let journals = [(4 << 20, 2), (4 << 20, 16), (64 << 20, 4)];
    for (first, (file_bytes, files)) in (0..rounds).step_by(20).zip(journals.iter().cycle()) {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let data = dir.path().join("data");
        configure(&data, *file_bytes, *files);
        let rounds = (rounds - first).min(20);
        kill_again_and_again(&data, rounds, &mut draws, &mut tally);
    }
    tally.report(rounds);
}
