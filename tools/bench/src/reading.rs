//! Reads: a replay from the start, and the tail as it grows.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use bytes::Bytes;
use clap::Args;
use npayload::format::{BatchHeader, check_stored, records};
use npayload::protocol::{FetchFrom, FetchRequest};
use npayload::types::{ChannelName, LogEpoch, Offset};

use crate::broker::Broker;
use crate::clock;
use crate::load::{Load, Via};
use crate::measured::{Counting, Measured};
use crate::publish::{self, Window};
use crate::wire::{Target, Wire};

/// How long the end of the tail is waited for once nothing is published any more.
const LAST_WAIT: Duration = Duration::from_millis(500);

/// Longest wait of one fetch at the tail.
const TAIL_WAIT_MS: u32 = 200;

/// How a channel is read again.
#[derive(Debug, Clone, Args)]
pub struct Replay {
    /// What is published first
    #[command(flatten)]
    pub load: Load,
    /// Connections that each read the whole channel
    #[arg(long, default_value_t = 1)]
    pub readers: usize,
    /// Bytes that one fetch asks for
    #[arg(long, default_value_t = 1 << 20)]
    pub fetch_bytes: u32,
    /// Read what the channel holds already, and publish nothing
    #[arg(long)]
    pub no_publish: bool,
}

fn fetch(channel: &ChannelName, from: FetchFrom, bytes: u32, max_wait_ms: u32) -> FetchRequest {
    FetchRequest {
        channel: channel.clone(),
        incarnation: None,
        from,
        last_epoch: LogEpoch(0),
        max_bytes: bytes,
        min_bytes: 1,
        max_wait_ms,
    }
}

/// Splits the batches of an answer: each with its header.
fn split(mut bytes: Bytes) -> Result<Vec<(BatchHeader, Bytes)>> {
    let mut batches = Vec::new();
    while !bytes.is_empty() {
        let header = BatchHeader::peek(&bytes)?;
        batches.push((header, bytes.split_to(header.len())));
    }
    Ok(batches)
}

/// Reads the first channel from its start to the end that it has now.
pub async fn replay(broker: &Broker, replay: &Replay) -> Result<Measured> {
    let channel = replay.load.channel_name(0)?;
    let before = broker.spent();
    let began = clock();
    let mut tasks = Vec::new();
    for _ in 0..replay.readers {
        let (target, channel) = (broker.target.clone(), channel.clone());
        let (via, bytes) = (replay.load.via, replay.fetch_bytes);
        tasks.push(tokio::spawn(async move {
            match via {
                Via::Frames => frames(&target, &channel, bytes).await,
                Via::Client => records_of(&target, channel, bytes).await,
            }
        }));
    }
    let mut all = Counting::new();
    for task in tasks {
        all.add(&task.await??);
    }
    let what = match replay.load.via {
        Via::Frames => "batches checked",
        Via::Client => "records by the Rust client",
    };
    let name = format!(
        "replay: batches of {} × {} B, {} reader(s), fetches of {} KiB, {what}",
        replay.load.records_in_batch(),
        replay.load.record_bytes,
        replay.readers,
        replay.fetch_bytes / 1024,
    );
    let mut measured = all.over(name, began.elapsed());
    let after = broker.spent();
    measured.broker = after
        .zip(before)
        .map(|(after, before)| after.since(&before));
    Ok(measured)
}

/// Fetches to the end, every checksum checked; the next fetch is under way meanwhile.
async fn frames(target: &Target, channel: &ChannelName, bytes: u32) -> Result<Counting> {
    let mut wire = Wire::connect(target).await?;
    let mut counting = Counting::new();
    let mut sent = clock();
    let first = fetch(channel, FetchFrom::Start, bytes, 0);
    wire.send_fetch(first).await?;
    loop {
        let fetched = wire.fetched().await?;
        let took = sent.elapsed();
        let size = fetched.batches.len() as u64;
        let batches = split(fetched.batches)?;
        let Some((last, _)) = batches.last() else {
            return Ok(counting);
        };
        let next = FetchFrom::Offset(last.end_offset());
        sent = clock();
        wire.send_fetch(fetch(channel, next, bytes, 0)).await?;
        let mut count = 0;
        for (header, batch) in &batches {
            check_stored(batch)?;
            count += u64::from(header.record_count());
        }
        counting.book(took, count, size);
    }
}

/// Records from one reading of the clock to the next: reading it for each would be a good part of
/// what is measured.
const MARK_EVERY: u64 = 64;

/// Reads every record through the client's consumer; bytes and times are those of payloads and of
/// the waits for 64 records.
async fn records_of(target: &Target, channel: ChannelName, bytes: u32) -> Result<Counting> {
    let client = target.client().await?;
    let mut consumer = client.consumer(channel).max_bytes(bytes).build();
    let mut counting = Counting::new();
    let (mut at, mut count, mut size) = (clock(), 0, 0);
    while let Some(record) = consumer.next().await {
        size += record?.payload.map_or(0, |payload| payload.len() as u64);
        count += 1;
        if count == MARK_EVERY {
            let now = clock();
            counting.book(now - at, count, size);
            (at, count, size) = (now, 0, 0);
        }
    }
    if count > 0 {
        counting.book(at.elapsed(), count, size);
    }
    client.close().await;
    Ok(counting)
}

/// Publishes at a rate while another connection follows the log's end. Two results: from the
/// intended send to the arrival, and from the intended send to the acknowledgement.
pub async fn tail(broker: &Broker, load: &Load) -> Result<[Measured; 2]> {
    publish::prepare(broker, load).await?;
    tail_elsewhere(broker, broker, load).await
}

/// The same with another broker whose end is followed; the channel is there already, in both.
pub async fn tail_elsewhere(
    broker: &Broker,
    elsewhere: &Broker,
    load: &Load,
) -> Result<[Measured; 2]> {
    let channel = load.channel_name(0)?;
    let zero = clock();
    let start = zero + load.warm_up();
    let window = Window {
        start,
        end: start + load.duration(),
    };
    let reader = Wire::connect(&elsewhere.target).await?;
    let following = tokio::spawn(follow(reader, channel, zero, window));
    let acked = publish::run(broker, load, window, Some(zero)).await?;
    let mut counting = following.await??;
    counting.missed = acked
        .missed
        .map(|missed| missed + acked.operations.saturating_sub(counting.operations));
    counting.level.clone_from(&acked.level);
    let mut arrived = counting.over(load.name("tail, send to arrival"), load.duration());
    arrived.generator_p99_us = acked.generator_p99_us;
    arrived.broker.clone_from(&acked.broker);
    let acked = Measured {
        name: load.name("tail, send to acknowledgement"),
        ..acked
    };
    Ok([arrived, acked])
}

/// Reads what comes at the end; records begin with the nanoseconds from `zero` to their send.
async fn follow(
    mut reader: Wire,
    channel: ChannelName,
    zero: Instant,
    window: Window,
) -> Result<Counting> {
    let bytes = 1 << 20;
    let end = fetch(&channel, FetchFrom::End, bytes, 0);
    reader.send_fetch(end).await?;
    let mut from: Offset = reader.fetched().await?.head.from_offset;
    let mut counting = Counting::new();
    while clock() < window.end + LAST_WAIT {
        let next = fetch(&channel, FetchFrom::Offset(from), bytes, TAIL_WAIT_MS);
        reader.send_fetch(next).await?;
        let fetched = reader.fetched().await?;
        let now = clock();
        for (header, batch) in split(fetched.batches)? {
            check_stored(&batch)?;
            from = header.end_offset();
            for record in records(&batch)? {
                let payload = record?.payload.context("a payload")?;
                let sent: [u8; 8] = payload
                    .get(..8)
                    .context("--record-bytes is below 8, which the time of the send takes")?
                    .try_into()?;
                let sent = zero + Duration::from_nanos(u64::from_le_bytes(sent));
                if window.contains(sent) {
                    let took = now.saturating_duration_since(sent);
                    counting.book(took, 1, payload.len() as u64);
                }
            }
        }
    }
    Ok(counting)
}
