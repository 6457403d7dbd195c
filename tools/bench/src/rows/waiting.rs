//! One record at a time: what a client waits for, and how many clients share a sync.

use anyhow::Result;
use npayload::types::Durability;

use super::bench::{Bench, Figure};
use crate::limits::Limit;
use crate::load::Load;
use crate::measured::float;
use crate::publish::published;
use crate::reading;

/// Clients where there are many.
const CLIENTS: usize = 64;

/// Clients that each wait for their record's acknowledgement, over as many channels.
fn load(bench: &Bench<'_>, clients: usize, channels: usize) -> Load {
    Load {
        connections: clients,
        channels,
        ..bench.load(
            &format!("waiting-{clients}-{channels}"),
            Durability::Synced,
            1024,
        )
    }
}

/// One client.
pub async fn one(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let sync = bench.limit(Limit::Sync(4 << 10)).await?;
    let trip = bench.limit(Limit::RoundTrip).await?;
    let broker = bench.broker().await?;
    // One client alone fills no journal: its checkpoints come seldom, and are not waited for.
    let measured = published(&broker, &load(bench, 1, 1)).await?;
    broker.stop().await?;
    let limit = float(sync.p50_us + trip.p50_us);
    let note = format!("p99 {} µs", measured.p99_us);
    Ok(vec![
        Figure::beside(float(measured.p50_us), limit)
            .over(&measured)
            .noted(note),
    ])
}

/// Many clients against one, and the way to the tail at half of their rate.
pub async fn many(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let sync = bench.limit(Limit::Sync(4 << 10)).await?;
    let broker = bench.broker().await?;
    let alone = published(&broker, &load(bench, 1, 1)).await?;
    let many = bench.published(&broker, &load(bench, CLIENTS, 1)).await?;
    broker.stop().await?;
    let rate = many.operations_per_second;
    let broker = bench.broker().await?;
    let tail = Load {
        rate: Some(rate / 2.0),
        in_flight: 64,
        ..load(bench, CLIENTS, 1)
    };
    let [arrived, acked] = bench
        .over_checkpoints(&tail, |load| {
            let broker = &broker;
            async move { reading::tail(broker, &load).await }
        })
        .await?;
    broker.stop().await?;
    let note = format!(
        "at {:.0}/s; acknowledged after {} µs at p99; {} missed; generator late by {} µs at p99",
        rate / 2.0,
        acked.p99_us,
        arrived.missed.unwrap_or(0),
        arrived.generator_p99_us.unwrap_or(0)
    );
    Ok(vec![
        Figure::beside(rate, alone.operations_per_second).over(&many),
        Figure::beside(float(arrived.p99_us), float(sync.p99_us))
            .over(&arrived)
            .noted(note),
    ])
}

/// The same load over one channel and over many.
pub async fn channels(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let broker = bench.broker().await?;
    let one = bench.published(&broker, &load(bench, CLIENTS, 1)).await?;
    broker.stop().await?;
    let mut figures = Vec::new();
    for channels in [1_000, 10_000] {
        let channels = bench.size(channels, channels / 20);
        let broker = bench.broker().await?;
        let many = bench
            .published(&broker, &load(bench, CLIENTS, channels))
            .await?;
        broker.stop().await?;
        figures.push(
            Figure::beside(many.operations_per_second, one.operations_per_second)
                .over(&many)
                .noted(format!("p99 {} µs", many.p99_us)),
        );
    }
    Ok(figures)
}
