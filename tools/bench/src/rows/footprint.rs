//! What a broker holds, and how long its start takes.

use anyhow::Result;
use npayload::types::Durability;

use super::bench::{Bench, Figure};
use super::writing::large;
use crate::load::Load;
use crate::process::{Watch, allow_open_files};
use crate::publish;
use crate::reading::{self, Replay};
use crate::wire::Wire;

/// Idle connections, with the one that asks.
const CONNECTIONS: usize = 10_000;

/// Starts after a stop and after a kill.
pub async fn start(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let channels = bench.size(1_000, 100);
    let bytes: u64 = bench.size(10 << 30, 256 << 20);
    let mut broker = bench.broker().await?;
    let load = Load {
        channels,
        batch_bytes: Some(256 << 10),
        in_flight: 8,
        connections: 4,
        records: Some(bytes / 1024),
        ..bench.load("start", Durability::Written, 1024)
    };
    publish::publish(&broker, &load).await?;
    let clean = broker.start_again_clean().await?;
    // Something for the journal to be replayed for.
    let more = Load {
        records: Some(bench.size(100_000, 5_000)),
        batch_bytes: None,
        connections: 64,
        ..load
    };
    publish::publish(&broker, &more).await?;
    let killed = broker.start_again(true)?;
    broker.stop().await?;
    Ok(vec![
        Figure::alone(clean.as_secs_f64()),
        Figure::alone(killed.as_secs_f64()),
    ])
}

/// Anonymous memory of three loads.
pub async fn memory(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    Ok(vec![
        Figure::alone(ingest_and_replay(bench).await?),
        Figure::alone(idle(bench).await?),
        Figure::alone(channels(bench).await?),
    ])
}

async fn ingest_and_replay(bench: &Bench<'_>) -> Result<f64> {
    let broker = bench.broker().await?;
    let watch = Watch::start(broker.pid()?);
    let bytes: u64 = bench.size(10 << 30, 256 << 20);
    let replay = Replay {
        load: Load {
            records: Some(bytes / 1024),
            ..large(bench, "memory")
        },
        readers: 1,
        fetch_bytes: 1 << 20,
        no_publish: true,
    };
    publish::publish(&broker, &replay.load).await?;
    reading::replay(&broker, &replay).await?;
    let most = watch.most_mib()?;
    broker.stop().await?;
    Ok(most)
}

async fn idle(bench: &Bench<'_>) -> Result<f64> {
    // Both ends of each: the broker inherits the limit.
    allow_open_files(CONNECTIONS as u64 + 2_000)?;
    let broker = bench.broker().await?;
    let watch = Watch::start(broker.pid()?);
    let count = bench.size(CONNECTIONS, 500);
    let mut idle = Vec::with_capacity(count);
    for _ in 0..count {
        idle.push(Wire::connect(&broker.target).await?);
    }
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let most = watch.most_mib()?;
    drop(idle);
    broker.stop().await?;
    Ok(most)
}

async fn channels(bench: &Bench<'_>) -> Result<f64> {
    let broker = bench.broker().await?;
    let watch = Watch::start(broker.pid()?);
    let channels = bench.size(10_000, 500);
    let load = Load {
        channels,
        connections: 64,
        records: Some(channels as u64 * 20),
        ..bench.load("memory", Durability::Synced, 1024)
    };
    publish::publish(&broker, &load).await?;
    let most = watch.most_mib()?;
    broker.stop().await?;
    Ok(most)
}
