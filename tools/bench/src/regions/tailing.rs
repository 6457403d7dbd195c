//! From a publish in one region to a tail in another, alone and beside a backlog.

use anyhow::{Result, bail};
use npayload::types::Durability;

use super::Bench;
use super::pulling::{BATCH_BYTES, fill};
use super::world::{EAST, SOUTH, WEST, World};
use crate::load::Load;
use crate::measured::{Measured, float};
use crate::rows::Figure;
use crate::{publish, reading};

/// Batches a second of the live channel.
const RATE: f64 = 200.0;

fn live(seconds: f64) -> Load {
    Load {
        channel: "live.models".to_owned(),
        rate: Some(RATE),
        in_flight: 64,
        duration_s: seconds,
        warm_up_s: 1.0,
        ..Load::one(Durability::Synced)
    }
}

async fn tailed(world: &World, seconds: f64) -> Result<Measured> {
    let (home, copy) = (&world.regions[EAST].broker, &world.regions[WEST].broker);
    let [arrived, _] = reading::tail_elsewhere(home, copy, &live(seconds)).await?;
    if arrived.operations == 0 {
        bail!("nothing has arrived");
    }
    Ok(arrived)
}

async fn prepare(world: &World) -> Result<()> {
    world.want(WEST, "live.>", "start").await?;
    publish::prepare(&world.regions[EAST].broker, &live(1.0)).await?;
    world.followed(WEST, "live.models").await
}

fn note(arrived: &Measured) -> String {
    format!(
        "p99 {:.1} ms; {} records at {RATE}/s; {} missed",
        float(arrived.p99_us) / 1e3,
        arrived.operations,
        arrived.missed.unwrap_or(0)
    )
}

/// The way to a region that asked, and what reaches one that did not.
pub async fn tail(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let world = World::start(bench).await?;
    prepare(&world).await?;
    let arrived = tailed(&world, bench.size(20.0, 2.0)).await?;
    let south = world.told(SOUTH).await?;
    let east = world.told(EAST).await?;
    let west = world.told(WEST).await?;
    let came: u64 = south.links.iter().map(|link| link.bytes).sum();
    let held: u64 = south.copies.iter().map(|copy| copy.bytes).sum();
    let west_took: u64 = west.links.iter().map(|link| link.bytes).sum();
    // What its home sent and nobody else took went to somebody who did not ask.
    let strayed = east.sent_bytes.saturating_sub(west_took) + west.sent_bytes;
    let on_lines = world.link_bytes(SOUTH, EAST) + world.link_bytes(SOUTH, WEST);
    let third = Figure::alone(float(came + held + strayed)).noted(format!(
        "{} copies there; eu-west took {west_took} B; both lines of ap-south carried {on_lines} B, hellos and lists included",
        south.copies.len()
    ));
    let median = float(arrived.p50_us) / 1e3;
    Ok(vec![Figure::alone(median).noted(note(&arrived)), third])
}

/// A live channel without a backlog, and beside one.
pub async fn backlog(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let world = World::start(bench).await?;
    let bytes = bench.size(2 << 30, 256 << 20);
    let batches = fill(&world, "backlog", 1, bytes).await?;
    prepare(&world).await?;
    let alone = tailed(&world, bench.size(8.0, 1.0)).await?;
    world.want(WEST, "backlog", "start").await?;
    world.followed(WEST, "backlog").await?;
    let beside = tailed(&world, bench.size(8.0, 1.0)).await?;
    let told = world.told(WEST).await?;
    let came = told.copies.iter().find(|it| it.name.as_str() == "backlog");
    let came = came.map_or(0, |copy| copy.bytes);
    let part = float(came) / float(batches * BATCH_BYTES as u64) * 100.0;
    let note = format!(
        "{}; {part:.0} % of the backlog came meanwhile",
        note(&beside)
    );
    let [alone, beside] = [alone, beside].map(|one| float(one.p50_us) / 1e3);
    Ok(vec![Figure::beside(beside, alone).noted(note)])
}
