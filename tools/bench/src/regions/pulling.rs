//! What a link carries when there is much to carry.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use npayload::types::Durability;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

use super::Bench;
use super::world::{EAST, WEST, World, line};
use crate::clock;
use crate::load::Load;
use crate::measured::float;
use crate::publish;
use crate::rows::Figure;

/// Bytes of the batches of a backlog.
pub const BATCH_BYTES: usize = 256 << 10;

/// What has to have come before it counts: the requests are on their way by then.
const FIRST_BYTES: u64 = 4 << 20;

/// Publishes a backlog into channels of the first region; how many batches it has.
pub async fn fill(world: &World, name: &str, channels: usize, bytes: u64) -> Result<u64> {
    let load = Load {
        channel: name.to_owned(),
        channels,
        batch_bytes: Some(BATCH_BYTES),
        in_flight: 16,
        ..Load::one(Durability::Synced)
    };
    let batches = (bytes / BATCH_BYTES as u64).max(channels as u64);
    let load = Load {
        records: Some(batches * u64::from(load.records_in_batch())),
        ..load
    };
    publish::publish(&world.regions[EAST].broker, &load).await?;
    Ok(batches)
}

/// Megabytes a second that one bare stream carries over a line.
async fn stream(time: Duration) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address: SocketAddr = listener.local_addr()?;
    let line = line(address);
    let source = tokio::spawn(async move {
        let (mut far, _) = listener.accept().await?;
        let block = vec![7; 256 << 10];
        // It ends when the other one has had enough.
        while far.write_all(&block).await.is_ok() {}
        anyhow::Ok(())
    });
    let url = line.url();
    let mut near = TcpStream::connect(url.trim_start_matches("npayload://")).await?;
    let mut buffer = vec![0; 256 << 10];
    near.read_exact(&mut buffer).await?;
    let (began, mut bytes) = (clock(), 0);
    while began.elapsed() < time {
        match near.read(&mut buffer).await? {
            0 => bail!("the line has ended"),
            read => bytes += read as u64,
        }
    }
    let took = began.elapsed();
    drop(near);
    source.await??;
    Ok(float(bytes) / took.as_secs_f64() / 1e6)
}

/// A backlog of so many channels over the link.
pub async fn link(bench: &Bench<'_>, channels: usize) -> Result<Vec<Figure>> {
    let limit = stream(bench.size(Duration::from_secs(3), Duration::from_secs(1))).await?;
    // Packed batches are fewer bytes: the line is what is measured here, so they go as they are.
    let world = World::start_with(bench, &["--peer-pack", "false"]).await?;
    let batches = fill(&world, "backlog", channels, bench.size(1 << 30, 128 << 20)).await?;
    let all = batches * BATCH_BYTES as u64;
    let line = world.line(WEST, EAST);
    let pattern = if channels == 1 {
        "backlog"
    } else {
        "backlog.>"
    };
    let asked = (clock(), line.passed()[1]);
    let cpu = [world.cpu_seconds(EAST)?, world.cpu_seconds(WEST)?];
    world.want(WEST, pattern, "start").await?;
    let mut first = None;
    let (took, bytes) = loop {
        sleep(Duration::from_millis(2)).await;
        let (now, came) = (clock(), line.passed()[1] - asked.1);
        if now - asked.0 > Duration::from_secs(120) {
            bail!("{came} of {all} bytes have come in two minutes");
        }
        match first {
            None if came >= FIRST_BYTES => first = Some((now, came)),
            // The last batches of many channels come one by one.
            Some((at, before)) if came >= all / 100 * 95 => break (now - at, came - before),
            _ => {}
        }
    };
    let rate = float(bytes) / took.as_secs_f64() / 1e6;
    let synced = |told: &npayload::protocol::region::RegionTold| {
        let is_whole = |copy: &&npayload::protocol::region::CopyStatus| {
            copy.lag_records == Some(0) && copy.next.0 > 0
        };
        told.copies.iter().filter(is_whole).count() == channels
    };
    world.wait(WEST, "the rest", synced).await?;
    let whole = asked.0.elapsed().as_secs_f64();
    let cpu = [
        world.cpu_seconds(EAST)? - cpu[0],
        world.cpu_seconds(WEST)? - cpu[1],
    ];
    let note = format!(
        "{} MiB complete {whole:.1} s after they were asked for; processor: {:.1} s at the source, {:.1} s at the copy",
        all >> 20,
        cpu[0],
        cpu[1]
    );
    Ok(vec![Figure::beside(rate, limit).noted(note)])
}
