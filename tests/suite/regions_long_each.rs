//! A channel with a log for each region, written in all three at once while the lines between them are
//! cut and each of them is killed, again and again: every copy is its home, byte for byte, and all
//! regions read every record once, in one order.
//!
//! With `NPAYLOAD_SOAK` at the full size, as in `regions_long`.

use std::time::Duration;

use serde_json::json;

use crate::kill::seed;
use crate::load::Draws;
use crate::regions_each::{Mesh, NAMES, log, merged};
use crate::regions_long::{
    Blow, CHANNEL, Writer, blows, caught_up, cut, is_once_and_whole, size, text,
};

/// The number of the text that stands at an offset of a region's log; no other log has it.
fn number(region: usize, offset: u64) -> u64 {
    offset * NAMES.len() as u64 + region as u64
}

#[test]
fn what_three_regions_write_through_cuts_and_kills_of_each_is_copied_once_and_whole() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut mesh = Mesh::start(dir.path());
    mesh.channel(CHANNEL);
    let (records, cuts, kills) = size();
    let mut draws = Draws(seed());
    // Each region is the home of one log and has copies of two: whoever is killed is either side.
    let blows = blows(&mut draws, cuts, kills);
    // Of each region.
    let records = records.div_ceil(NAMES.len() as u64);
    let mut writers: Vec<Writer> = mesh.regions.iter().map(Writer::start).collect();
    let write = |writers: &mut [Writer], offsets: std::ops::Range<u64>| {
        for (at, writer) in writers.iter_mut().enumerate() {
            writer.write(offsets.clone().map(|offset| number(at, offset)));
        }
    };
    // All logs are begun before the first blow.
    write(&mut writers, 0..1);
    mesh.all_have(CHANNEL, &[1; 3]);
    let part = (records - 1) / (blows.len() as u64 + 1);
    let mut written = 1;
    for blow in &blows {
        write(&mut writers, written..written + part);
        written += part;
        // Somewhere in the middle of writing and pulling it.
        std::thread::sleep(Duration::from_millis(draws.below(60)));
        let at = usize::try_from(draws.below(3)).expect("small");
        match blow {
            Blow::Cut => {
                let other = (at + 1 + usize::try_from(draws.below(2)).expect("small")) % 3;
                cut(&mesh.lines[&(at, other)], &mut draws);
            }
            Blow::KillHome | Blow::KillCopy => {
                mesh.regions[at].kill();
                mesh.regions[at].restart();
            }
        }
    }
    write(&mut writers, written..records);
    for writer in writers {
        let told = writer.end();
        assert_eq!(told["count"], json!(records), "{told}");
    }
    for (of, home) in mesh.regions.iter().enumerate() {
        let log = log(CHANNEL, of);
        for (at, copy) in mesh.regions.iter().enumerate() {
            if at != of {
                caught_up(copy, &log, records);
                is_once_and_whole(home, copy, &log, records, |offset| number(of, offset));
            }
        }
    }
    // Read together they are the same everywhere.
    let first = merged(&mesh.regions[0], CHANNEL, &[]);
    assert_eq!(first.len() as u64, records * NAMES.len() as u64);
    for one in &first {
        let of = NAMES.iter().position(|name| *name == one.region);
        let number = number(of.expect("one of them"), one.offset);
        assert_eq!(one.payload, text(number), "{one:?}");
    }
    for region in &mesh.regions[1..] {
        assert!(merged(region, CHANNEL, &[]) == first, "the same order");
    }
    let connections: u64 = mesh
        .lines
        .values()
        .map(crate::line::Line::connections)
        .sum();
    println!(
        "{records} records of each of three, {connections} connections of six links, {} blows",
        blows.len()
    );
}
