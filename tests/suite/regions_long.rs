//! A channel that is written all the time while its link is cut and each side is killed, again and
//! again: the copy is its home, byte for byte, and holds every record once.
//!
//! With `NPAYLOAD_SOAK` at the full size: 1,000,000 records, 100 cuts, 50 kills of each side.
//! `NPAYLOAD_SEED` sets what is written and done, not how far it had come by then.

use std::io::Write;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::kill::{from_env, is_soak, seed};
use crate::line::Line;
use crate::load::Draws;
use crate::process::wait_for;
use crate::raw::Raw;
use crate::regions::{Region, raw};

pub const CHANNEL: &str = "all";

/// What is done to a chain of regions, each of which pulls from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    Cut,
    KillHome,
    /// Of one that holds a copy.
    KillCopy,
}

/// So many of each, in an order that the draws decide.
pub fn blows(draws: &mut Draws, cuts: u64, kills: u64) -> Vec<Blow> {
    let mut blows = Vec::new();
    for (blow, times) in [
        (Blow::Cut, cuts),
        (Blow::KillHome, kills),
        (Blow::KillCopy, kills),
    ] {
        blows.extend((0..times).map(|_| blow));
    }
    for at in (1..blows.len()).rev() {
        let other = usize::try_from(draws.below(at as u64 + 1)).expect("small");
        blows.swap(at, other);
    }
    blows
}

/// The text of a record; no other one has it.
pub fn text(n: u64) -> String {
    let filler = "x".repeat(usize::try_from(n * 7919 % 120).expect("small"));
    format!("{n}-{filler}")
}

/// A writer that goes on through restarts of its broker, fed by hand.
pub struct Writer(Child);

impl Writer {
    pub fn start(region: &Region) -> Self {
        let mut command = region.broker().command(&["publish", CHANNEL, "--json"]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        Self(child.expect("it starts"))
    }

    pub fn write(&mut self, numbers: impl Iterator<Item = u64>) {
        let lines: String = numbers.map(|n| text(n) + "\n").collect();
        let input = self.0.stdin.as_mut().expect("piped");
        input.write_all(lines.as_bytes()).expect("it reads");
    }

    /// Waits until all is acknowledged.
    pub fn end(mut self) -> Value {
        drop(self.0.stdin.take());
        let output = self.0.wait_with_output().expect("it ends");
        assert!(output.status.success(), "{output:?}");
        serde_json::from_slice(&output.stdout).expect("JSON")
    }
}

/// Waits as long as the copy of a log moves on.
pub fn caught_up(copy: &Region, log: &str, end: u64) {
    let mut last = 0;
    while last < end {
        last = wait_for(&format!("the copy of {log} to go on from {last}"), || {
            let told = copy.copy(log)?;
            let next = told["next"].as_u64()?;
            (next > last || next == end).then_some(next)
        });
    }
}

/// A home, and the regions that pull from it, one from the other, each over a line of its own.
struct Chain {
    home: Region,
    hops: Vec<(Line, Region)>,
}

impl Chain {
    fn start(dir: &Path, names: &[&'static str]) -> Self {
        let home = Region::start(dir, "us-east", &[]);
        let mut chain = Self {
            home,
            hops: Vec::new(),
        };
        let mut before = "us-east";
        for name in names {
            let last = chain.hops.last().map_or(&chain.home, |(_, region)| region);
            let line = Line::to(last.broker().address());
            let peer = format!("{before}={}", line.url());
            let region = Region::start_at(dir, name, vec![peer]);
            region
                .run(&["interest", "add", ">", "--from", "start"])
                .ok();
            chain.hops.push((line, region));
            before = name;
        }
        chain
    }

    fn strike(&mut self, blow: Blow, draws: &mut Draws) {
        let at = usize::try_from(draws.below(self.hops.len() as u64)).expect("small");
        let (line, region) = &mut self.hops[at];
        match blow {
            Blow::Cut => cut(line, draws),
            Blow::KillHome => {
                self.home.kill();
                self.home.restart();
            }
            Blow::KillCopy => {
                region.kill();
                region.restart();
            }
        }
    }
}

/// Records, cuts, and kills of each side.
pub fn size() -> (u64, u64, u64) {
    let (records, cuts, kills) = if is_soak() {
        (1_000_000, 100, 50)
    } else {
        (20_000, 5, 2)
    };
    (
        from_env("RECORDS", records),
        from_env("CUTS", cuts),
        from_env("KILLS", kills),
    )
}

/// Writes through blows of every kind, until every region of the chain has all of it.
fn write_through(mut chain: Chain) {
    let (records, cuts, kills) = size();
    let mut draws = Draws(seed());
    let blows = blows(&mut draws, cuts, kills);
    let mut writer = Writer::start(&chain.home);
    let part = records / (blows.len() as u64 + 1);
    let mut written = 0;
    for blow in &blows {
        writer.write(written..written + part);
        written += part;
        // Somewhere in the middle of writing and pulling it.
        std::thread::sleep(Duration::from_millis(draws.below(60)));
        chain.strike(*blow, &mut draws);
    }
    writer.write(written..records);
    let told = writer.end();
    assert_eq!(told["count"], json!(records), "{told}");
    for (line, copy) in &chain.hops {
        line.mend();
        caught_up(copy, CHANNEL, records);
        is_once_and_whole(&chain.home, copy, CHANNEL, records, |n| n);
        println!(
            "{records} records, {} connections of a link, {} blows",
            line.connections(),
            blows.len()
        );
    }
}

#[test]
fn what_is_written_through_cuts_and_kills_of_either_side_is_copied_once_and_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    write_through(Chain::start(dir.path(), &["eu-west"]));
}

#[test]
fn what_a_hub_hands_on_through_cuts_and_kills_is_copied_once_and_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    write_through(Chain::start(dir.path(), &["hub", "eu-west"]));
}

#[test]
fn what_goes_round_a_ring_through_cuts_and_kills_is_copied_once_and_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut chain = Chain::start(dir.path(), &["ap-south", "eu-west"]);
    // The home pulls from the last one, and wants all of it.
    let last = &chain.hops[1].1;
    let peer = format!("eu-west={}", last.url());
    chain.home.kill();
    chain.home.peers = vec![peer];
    chain.home.restart();
    chain
        .home
        .run(&["interest", "add", ">", "--from", "start"])
        .ok();
    write_through(chain);
}

/// Ends the link's connection: at once, or in the middle of an answer.
pub fn cut(line: &Line, draws: &mut Draws) {
    let before = line.connections();
    wait_for("a connection to be cut", || {
        (line.connections() > 0).then_some(())
    });
    let bytes = draws.below(200_000);
    let is_late = draws.below(2) == 0;
    line.set(|line| line.cut_after = is_late.then_some(bytes));
    line.flap();
    wait_for("the next connection", || {
        (line.connections() > before).then_some(())
    });
    line.mend();
}

/// That home and copy of a log hold every record once, in order, as the same bytes.
///
/// - `number`: of the text at an offset.
pub fn is_once_and_whole(
    home: &Region,
    copy: &Region,
    log: &str,
    records: u64,
    number: impl Fn(u64) -> u64,
) {
    // The end of a copy is told before it is synced, and readable then.
    wait_for("the end to be synced", || {
        let info = copy.run(&["channel", "info", log, "--json"]).json();
        (info["highWatermark"] == json!(records)).then_some(())
    });
    let (there, here) = (raw(home, log), raw(copy, log));
    assert_eq!(there.len(), here.len(), "as many bytes");
    assert!(there == here, "the same bytes");
    drop((there, here));
    let found = Raw::greeted(copy.broker().address()).all(log);
    assert_eq!(found.len() as u64, records, "0 gaps, 0 repeats");
    for (n, (offset, payload)) in (0..).zip(&found) {
        assert_eq!(*offset, n);
        assert_eq!(payload, text(number(n)).as_bytes(), "at {n}");
    }
    let told = copy.copy(log).expect("a copy");
    assert!(told["gaps"].is_null() && told["error"].is_null(), "{told}");
    let verified = copy.run(&["region", "verify", log, "--json"]).json();
    assert_eq!(verified["equal"], json!(true), "{verified}");
}
