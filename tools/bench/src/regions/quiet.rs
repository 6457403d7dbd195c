//! What regions cost that have nothing to tell each other.

use std::time::Duration;

use anyhow::Result;
use npayload::types::Durability;
use tokio::time::sleep;

use super::Bench;
use super::world::{EAST, WEST, World};
use crate::clock;
use crate::load::Load;
use crate::measured::float;
use crate::publish::{self, Window};
use crate::rows::Figure;

/// Batches a second into the channels that nobody asked for.
const RATE: f64 = 1_000.0;

/// A link of which one channel is followed, and nothing comes.
pub async fn idle(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let world = World::start(bench).await?;
    world.want(WEST, "quiet", "start").await?;
    let load = Load {
        channel: "quiet".to_owned(),
        records: Some(1),
        ..Load::one(Durability::Synced)
    };
    publish::publish(&world.regions[EAST].broker, &load).await?;
    world.followed(WEST, "quiet").await?;
    sleep(Duration::from_secs(2)).await;
    let before = world.link_bytes(WEST, EAST);
    // Requests stand for up to a minute: longer than that, so that some are asked again.
    let time: Duration = bench.size(Duration::from_secs(70), Duration::from_secs(3));
    sleep(time).await;
    let bytes = world.link_bytes(WEST, EAST) - before;
    let note = format!("{bytes} B in {} s", time.as_secs());
    let rate = float(bytes) / time.as_secs_f64();
    Ok(vec![Figure::alone(rate).noted(note)])
}

/// What is spent in a second.
struct Cost {
    link_bytes: f64,
    /// Processor milliseconds of the region that did not ask.
    cpu_ms: f64,
    made_bytes: u64,
}

/// Channels that nobody has asked for, beside one that somebody has.
async fn cost(bench: &Bench<'_>, channels: usize) -> Result<Cost> {
    let world = World::start(bench).await?;
    world.want(WEST, "wanted", "start").await?;
    let wanted = Load {
        channel: "wanted".to_owned(),
        records: Some(1),
        ..Load::one(Durability::Synced)
    };
    publish::publish(&world.regions[EAST].broker, &wanted).await?;
    world.followed(WEST, "wanted").await?;
    let load = Load {
        channel: "other".to_owned(),
        channels,
        record_bytes: 100,
        in_flight: 256,
        rate: Some(RATE),
        // Each request that stands is asked anew every 55 s and a round trip: over just this long each
        // is once, whenever it began.
        duration_s: bench.size(54.6, 2.0),
        warm_up_s: 0.5,
        ..Load::one(Durability::Synced)
    };
    let before = world.link_bytes(WEST, EAST);
    publish::prepare(&world.regions[EAST].broker, &load).await?;
    sleep(Duration::from_secs(1)).await;
    let made_bytes = world.link_bytes(WEST, EAST) - before;
    let (link, cpu, began) = (
        world.link_bytes(WEST, EAST),
        world.cpu_seconds(WEST)?,
        clock(),
    );
    let start = began + load.warm_up();
    let window = Window {
        start,
        end: start + load.duration(),
    };
    publish::run(&world.regions[EAST].broker, &load, window, None).await?;
    let seconds = began.elapsed().as_secs_f64();
    Ok(Cost {
        link_bytes: float(world.link_bytes(WEST, EAST) - link) / seconds,
        cpu_ms: (world.cpu_seconds(WEST)? - cpu) * 1e3 / seconds,
        made_bytes,
    })
}

/// Many of them beside few.
pub async fn unwanted(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let few = cost(bench, 100).await?;
    let many = cost(bench, bench.size(10_000, 1_000)).await?;
    let note = format!(
        "making them took {} B of the link, {} B for 100",
        many.made_bytes, few.made_bytes
    );
    Ok(vec![
        Figure::beside(many.link_bytes, few.link_bytes.max(1.0)).noted(note),
        Figure::beside(many.cpu_ms, few.cpu_ms.max(0.1)),
    ])
}
