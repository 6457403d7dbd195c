//! Reads of what the page cache holds.

use anyhow::Result;
use npayload::types::Durability;

use super::bench::{Bench, Figure};
use crate::limits::Limit;
use crate::load::{Load, Via};
use crate::measured::float;
use crate::publish;
use crate::reading::{self, Replay};

/// Bytes of a fetch: between two of them a reader waits for a round trip.
const FETCH_BYTES: u32 = 4 << 20;

/// Raw, and decoded by the client.
pub async fn replay(bench: &Bench<'_>) -> Result<Vec<Figure>> {
    let limit = bench.limit(Limit::Stream(1)).await?;
    let loopback = limit.megabytes_per_second;
    let raw = Load {
        batch_bytes: Some(1 << 20),
        in_flight: 8,
        records: Some(bench.size(2 << 20, 100 << 10)),
        ..bench.load("replay", Durability::Written, 1024)
    };
    let small = Load {
        record_bytes: 100,
        batch_bytes: Some(256 << 10),
        records: Some(bench.size(10_000_000, 500_000)),
        channel: "replay-small".to_owned(),
        ..raw.clone()
    };
    let broker = bench.broker().await?;
    let (mut figures, mut encoded) = (Vec::new(), 0.0);
    for (load, via) in [(raw, Via::Frames), (small, Via::Client)] {
        publish::publish(&broker, &load).await?;
        let mut replay = Replay {
            load,
            readers: 1,
            fetch_bytes: FETCH_BYTES,
            no_publish: true,
        };
        // Once before: all of it is in the page cache then.
        let before = reading::replay(&broker, &replay).await?;
        if before.records > 0 {
            encoded = float(before.bytes) / float(before.records);
        }
        replay.load.via = via;
        let measured = reading::replay(&broker, &replay).await?;
        figures.push(match via {
            Via::Frames => Figure::beside(measured.megabytes_per_second, loopback),
            Via::Client => Figure::beside(measured.records_per_second, loopback * 1e6 / encoded),
        });
    }
    broker.stop().await?;
    Ok(figures)
}
