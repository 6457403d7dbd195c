//! Throughput of writes.

use std::path::Path;

use anyhow::{Context, Result};
use npayload::types::Durability;

use super::bench::{Bench, Figure};
use crate::limits::Limit;
use crate::load::{Load, Via};
use crate::measured::{Measured, float};
use crate::process::written_bytes;
use crate::publish;

/// A batch of the large kind.
const BATCH_BYTES: usize = 1 << 20;

/// 1 KiB records in 1 MiB batches.
pub fn large(bench: &Bench<'_>, channel: &str) -> Load {
    Load {
        batch_bytes: Some(BATCH_BYTES),
        in_flight: 4,
        ..bench.load(channel, Durability::Synced, 1024)
    }
}

/// Bytes that a channel keeps which has reached its retention.
const KEPT_BYTES: u64 = 1 << 30;

/// Large batches into a channel that has reached its retention.
pub async fn batches(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    at_retention(bench, large(bench, "batches")).await
}

/// The same from 16 producers.
pub async fn producers(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let load = Load {
        connections: 16,
        batch_bytes: Some(64 << 10),
        in_flight: 4,
        ..bench.load("producers", Durability::Synced, 1024)
    };
    at_retention(bench, load).await
}

/// Once a channel has reached its retention, what segments are made of has been written before.
async fn at_retention(bench: &Bench<'_>, load: Load) -> Result<Vec<Figure>> {
    let limit = bench.bytes_bound().await?;
    let kept: u64 = bench.size(KEPT_BYTES, 256 << 20);
    let broker = bench.broker().await?;
    let load = Load {
        retention_bytes: Some(kept),
        ..load
    };
    let before = Load {
        records: Some(kept / 1024 * 2),
        ..load.clone()
    };
    let grown = publish::publish(&broker, &before).await?;
    let measured = bench.published(&broker, &load).await?;
    broker.stop().await?;
    let note = format!("{:.0} MB/s while it filled", grown.megabytes_per_second);
    Ok(vec![
        Figure::beside(measured.megabytes_per_second, limit)
            .over(&measured)
            .noted(note),
    ])
}

/// Large batches, many GiB of them, in four quarters.
pub async fn long(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let limit = bench.bytes_bound().await?;
    let quarter: u64 = bench.size(5 << 30, 256 << 20);
    let broker = bench.broker().await?;
    let load = Load {
        records: Some(quarter / 1024),
        ..large(bench, "long")
    };
    let before = settled_bytes(bench.dir).await?;
    let mut quarters: Vec<Measured> = Vec::new();
    for _ in 0..4 {
        quarters.push(publish::publish(&broker, &load).await?);
    }
    let batches = quarters.iter().map(|quarter| quarter.operations).sum();
    let on_disk = settled_bytes(bench.dir).await? - before;
    let checkpoints = quarters.iter().map(checkpoints_of).sum();
    broker.stop().await?;
    let seconds: f64 = quarters.iter().map(|quarter| quarter.seconds).sum();
    let bytes: f64 = quarters.iter().map(|quarter| float(quarter.bytes)).sum();
    let rate = |n: usize| -> Result<f64> {
        let quarter = quarters.get(n).context("four quarters")?;
        Ok(quarter.megabytes_per_second)
    };
    let mut whole = Figure::beside(bytes / seconds / 1e6, limit);
    whole.checkpoints = Some(checkpoints);
    Ok(vec![
        whole,
        Figure::beside(rate(3)?, rate(0)?),
        Figure::alone(float(on_disk) / encoded(&load, batches)?),
    ])
}

/// Records alone: journal and segment both hold them.
pub async fn records(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let broker = bench.broker().await?;
    let load = Load {
        connections: 64,
        records: Some(bench.size(1_000_000, 20_000)),
        ..bench.load("records", Durability::Synced, 1024)
    };
    // The journal's files are made once, and zero-filled: here, and not in what counts.
    let once = Load {
        records: Some(bench.size(400_000, 5_000)),
        ..load.clone()
    };
    publish::publish(&broker, &once).await?;
    let before = settled_bytes(bench.dir).await?;
    let measured = publish::publish(&broker, &load).await?;
    let on_disk = settled_bytes(bench.dir).await? - before;
    broker.stop().await?;
    let ratio = float(on_disk) / encoded(&load, measured.operations)?;
    Ok(vec![Figure::alone(ratio).over(&measured)])
}

/// One small record a frame, many under way.
pub async fn frames(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let limit = bench.limit(Limit::RoundTrips).await?;
    let broker = bench.broker().await?;
    let load = Load {
        in_flight: 4096,
        ..bench.load("frames", Durability::Written, 100)
    };
    let measured = bench.published(&broker, &load).await?;
    broker.stop().await?;
    Ok(vec![
        Figure::beside(measured.records_per_second, limit.operations_per_second).over(&measured),
    ])
}

/// Small records, batched by the client.
pub async fn client(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let limit = bench.limit(Limit::Stream(1)).await?;
    let mut figures = Vec::new();
    for connections in [1, 4] {
        let broker = bench.broker().await?;
        let load = Load {
            connections,
            batch_bytes: Some(1 << 20),
            in_flight: 8,
            via: Via::Client,
            ..bench.load("client", Durability::Written, 100)
        };
        let measured = bench.published(&broker, &load).await?;
        broker.stop().await?;
        let each = encoded(&load, 1)? / f64::from(load.records_in_batch());
        let limit = limit.megabytes_per_second * 1e6 / each;
        figures.push(Figure::beside(measured.records_per_second, limit).over(&measured));
    }
    Ok(figures)
}

fn checkpoints_of(measured: &Measured) -> f64 {
    let spent = measured.broker.as_ref();
    spent.and_then(|spent| spent.checkpoints).unwrap_or(0.0)
}

/// Bytes of so many batches of a load as they travel and lie.
fn encoded(load: &Load, batches: u64) -> Result<f64> {
    Ok(float(batches) * float(publish::batch(load, 0)?.len() as u64))
}

/// What a directory's disk was given to write, once a second has brought no more: what is written behind is in it.
async fn settled_bytes(dir: &Path) -> Result<u64> {
    let mut last = written_bytes(dir)?;
    // A checkpoint of an idle broker comes after a second.
    for _ in 0..20 {
        tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        let now = written_bytes(dir)?;
        // Other processes may log a little.
        if now - last < 1 << 20 {
            return Ok(now);
        }
        last = now;
    }
    Ok(last)
}
