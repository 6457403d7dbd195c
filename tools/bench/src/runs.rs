//! The runs: publish, replay, tail.

use std::time::Duration;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use npayload::client::Client;
use npayload::format::{BatchBuilder, Compression, NewRecord, check_stored, records};
use npayload::protocol::control::ConfigChange;
use npayload::protocol::{FetchFrom, FetchRequest, PublishTarget};
use npayload::types::{ChannelName, LogEpoch, Offset};

use crate::measured::{Counting, Measured};
use crate::wire::{Load as WireLoad, Wire};
use crate::{Load, clock};

/// Bytes that one fetch of a replay asks for.
const FETCH_BYTES: u32 = 1 << 20;

fn channel(load: &Load, n: usize) -> Result<ChannelName> {
    let name = match load.channels {
        1 => load.channel.clone(),
        _ => format!("{}.{n}", load.channel),
    };
    Ok(ChannelName::parse(&name)?)
}

/// Creates the channels of a load with its durability.
async fn prepare(address: &str, load: &Load) -> Result<()> {
    let client = Client::connect(&format!("npayload://{address}")).await?;
    let config = ConfigChange {
        durability: Some(load.durability),
        ..ConfigChange::default()
    };
    for n in 0..load.channels {
        client
            .create_channel(&channel(load, n)?, config.clone(), true)
            .await?;
    }
    client.close().await;
    Ok(())
}

fn batch(load: &Load) -> Result<BytesMut> {
    let payload: Vec<u8> = (b'a'..=b'z').cycle().take(load.record_bytes).collect();
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..load.batch_records {
        builder.push(&NewRecord {
            record_type: "bench",
            key: None,
            headers: &[],
            payload: Some(&payload),
            event_time: None,
        })?;
    }
    Ok(builder.build()?)
}

fn wire_load(load: &Load, n: usize) -> Result<WireLoad> {
    Ok(WireLoad {
        target: PublishTarget::any(channel(load, n % load.channels)?),
        batch: batch(load)?,
        records: load.batch_records.into(),
        record_bytes: load.record_bytes as u64,
        in_flight: load.in_flight.max(1),
        rate: load
            .rate
            .map(|rate| rate / crate::measured::float(load.connections as u64)),
    })
}

/// Publishes for the load's time.
pub async fn publish(address: &str, load: &Load) -> Result<Measured> {
    prepare(address, load).await?;
    let began = clock();
    let end = began + load.duration();
    let mut tasks = Vec::new();
    for n in 0..load.connections {
        let (address, wire_load) = (address.to_owned(), wire_load(load, n)?);
        tasks.push(tokio::spawn(async move {
            let mut wire = Wire::connect(&address).await?;
            wire.publish_until(&wire_load, end).await
        }));
    }
    let mut all = Counting::new();
    for task in tasks {
        all.add(&task.await??);
    }
    Ok(all.over(load.name("publish"), began.elapsed()))
}

fn fetch_request(channel: ChannelName, from: FetchFrom, max_wait_ms: u32) -> FetchRequest {
    FetchRequest {
        channel,
        incarnation: None,
        from,
        last_epoch: LogEpoch(0),
        max_bytes: FETCH_BYTES,
        min_bytes: 1,
        max_wait_ms,
    }
}

/// Splits the batches of an answer, and checks each to the last byte.
fn checked(mut bytes: Bytes, mut each: impl FnMut(&Bytes) -> Result<()>) -> Result<Option<Offset>> {
    let mut next = None;
    while !bytes.is_empty() {
        let header = npayload::format::BatchHeader::peek(&bytes)?;
        let batch = bytes.split_to(header.len());
        check_stored(&batch)?;
        next = Some(header.end_offset());
        each(&batch)?;
    }
    Ok(next)
}

/// Reads a channel from its start to its end, every checksum checked.
pub async fn replay(address: &str, load: &Load) -> Result<Measured> {
    let mut wire = Wire::connect(address).await?;
    let channel = channel(load, 0)?;
    let mut counting = Counting::new();
    let (began, mut from) = (clock(), Offset(0));
    loop {
        let at = clock();
        let request = fetch_request(channel.clone(), FetchFrom::Offset(from), 0);
        let fetched = wire.fetch(&request).await?;
        let bytes = fetched.batches.len() as u64;
        let took = at.elapsed();
        let Some(next) = checked(fetched.batches, |_| Ok(()))? else {
            break;
        };
        counting.book(took, next.0 - from.0, bytes);
        from = next;
    }
    let name = format!(
        "replay: {} B × {}, 1 conn, 1 MiB fetches",
        load.record_bytes, load.batch_records
    );
    Ok(counting.over(name, began.elapsed()))
}

/// Publishes at a rate; another connection follows the log's end. A record carries the time it was
/// meant to be sent at, so what is counted is the whole way.
pub async fn tail(address: &str, load: &Load) -> Result<Measured> {
    prepare(address, load).await?;
    let rate = load.rate.unwrap_or(1000.0);
    let channel = channel(load, 0)?;
    let began = clock();
    let end = began + load.duration();
    let mut reader = Wire::connect(address).await?;
    let start = reader
        .fetch(&fetch_request(channel.clone(), FetchFrom::End, 0))
        .await?;
    let mut from = start.head.from_offset;
    let follow = channel.clone();
    let reading = tokio::spawn(async move {
        let mut counting = Counting::new();
        while clock() < end + Duration::from_millis(500) {
            let request = fetch_request(follow.clone(), FetchFrom::Offset(from), 200);
            let fetched = reader.fetch(&request).await?;
            let now = began.elapsed();
            let next = checked(fetched.batches, |batch| {
                for record in records(batch)? {
                    let payload = record?.payload.context("a payload")?;
                    let sent: [u8; 8] = payload[..8].try_into()?;
                    let sent = Duration::from_nanos(u64::from_le_bytes(sent));
                    counting.book(now.saturating_sub(sent), 1, payload.len() as u64);
                }
                Ok(())
            })?;
            from = next.unwrap_or(from);
        }
        anyhow::Ok(counting)
    });
    let mut writer = Wire::connect(address).await?;
    let interval = Duration::from_secs_f64(1.0 / rate);
    let mut due = began;
    while due < end {
        tokio::time::sleep(due.saturating_duration_since(clock())).await;
        // Everything that is due goes now, with the time it was due at.
        while due <= clock() && due < end {
            let nanos = u64::try_from((due - began).as_nanos()).unwrap_or(u64::MAX);
            let mut payload = vec![b'x'; load.record_bytes.max(8)];
            payload[..8].copy_from_slice(&nanos.to_le_bytes());
            let mut builder = BatchBuilder::new(Compression::None);
            builder.push(&NewRecord {
                record_type: "bench",
                key: None,
                headers: &[],
                payload: Some(&payload),
                event_time: None,
            })?;
            writer
                .publish_one(PublishTarget::any(channel.clone()), builder.build()?)
                .await?;
            due += interval;
        }
    }
    let mut counting = reading.await??;
    counting.level = writer.drain().await?;
    let name = format!(
        "tail: {} B, {rate} records/s, send to arrival",
        load.record_bytes
    );
    Ok(counting.over(name, load.duration()))
}
