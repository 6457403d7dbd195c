//! Kills a broker under load, starts it again, and looks for every record that it had acknowledged.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Args;
use npayload::client::Client;
use npayload::format::NewRecord;
use npayload::types::{ChannelName, Durability};
use serde::Serialize;

use crate::broker::{Broker, Speaks};
use crate::load::Load;
use crate::publish::prepare;
use crate::wire::Target;

/// How a broker is killed.
#[derive(Debug, Clone, Args)]
pub struct Kill {
    /// Connections, each of which waits for the acknowledgement of a record before it sends the next
    #[arg(long, default_value_t = 64)]
    pub connections: usize,
    /// Durability of the channel
    #[arg(long, default_value = "synced")]
    pub durability: Durability,
    /// Seconds until the kill
    #[arg(long, default_value_t = 2.0)]
    pub duration_s: f64,
}

/// What was promised, and what of it is gone.
#[derive(Debug, Clone, Serialize)]
pub struct Killed {
    /// Records that were acknowledged before the kill.
    pub acked: u64,
    /// Of these, records that are not there after the start.
    pub lost: u64,
}

/// Publishes, kills, starts again, reads.
pub async fn kill(kill: &Kill, binary: Option<&Path>, dir: &Path) -> Result<Killed> {
    let mut broker = Broker::started(binary, dir, Speaks::Plain).await?;
    broker.pid()?;
    let load = Load {
        channel: "killed".to_owned(),
        ..Load::one(kill.durability)
    };
    prepare(&broker, &load).await?;
    let channel = load.channel_name(0)?;
    let next = Arc::new(AtomicU64::new(0));
    let mut senders = Vec::new();
    for _ in 0..kill.connections {
        let client = broker.target.client().await?;
        senders.push(tokio::spawn(send(client, channel.clone(), next.clone())));
    }
    tokio::time::sleep(Duration::from_secs_f64(kill.duration_s)).await;
    broker.start_again(true)?;
    let mut acked = HashSet::new();
    for sender in senders {
        acked.extend(sender.await?);
    }
    let promised = acked.len() as u64;
    read(&broker.target, channel, &mut acked).await?;
    broker.stop().await?;
    Ok(Killed {
        acked: promised,
        lost: acked.len() as u64,
    })
}

/// Sends numbers until the broker is gone; those that were acknowledged.
async fn send(client: Client, channel: ChannelName, next: Arc<AtomicU64>) -> Vec<u64> {
    // Nothing is sent again: the new broker listens elsewhere.
    let producer = client
        .producer(channel)
        .batch_records(1)
        .delivery_timeout(Duration::from_secs(2))
        .build();
    let mut acked = Vec::new();
    loop {
        let number = next.fetch_add(1, Ordering::Relaxed);
        let payload = number.to_le_bytes();
        let record = NewRecord {
            record_type: "bench",
            payload: Some(&payload),
            ..NewRecord::default()
        };
        let ticket = match producer.publish(&record).await {
            Ok(ticket) => ticket,
            Err(_) => return acked,
        };
        match ticket.await {
            Ok(_) => acked.push(number),
            Err(_) => return acked,
        }
    }
}

/// Strikes off every number that the channel holds.
async fn read(target: &Target, channel: ChannelName, acked: &mut HashSet<u64>) -> Result<()> {
    let client = target.client().await?;
    let mut consumer = client.consumer(channel).build();
    while let Some(record) = consumer.next().await {
        let payload = record?.payload.context("a payload")?;
        let number: [u8; 8] = payload.as_ref().try_into().context("a number")?;
        acked.remove(&u64::from_le_bytes(number));
    }
    client.close().await;
    Ok(())
}
