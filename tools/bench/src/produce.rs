//! Load through the client's producer: what a program that publishes record by record gets.

use std::time::Instant;

use anyhow::Result;
use npayload::client::{BatchAck, Producer};
use npayload::format::NewRecord;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep_until;

use crate::broker::Broker;
use crate::clock;
use crate::load::Load;
use crate::measured::{Counting, Measured};
use crate::publish::{Window, prepare};
use crate::wire::Target;

/// Publishes records through one producer for each connection, which batches them. Operations are
/// batches; their times are from `publish` of the first record to the acknowledgement, linger
/// included. Where batches are of one record and one is in flight, each waits for the one before it.
pub async fn produce(broker: &Broker, load: &Load) -> Result<Measured> {
    prepare(broker, load).await?;
    let start = clock() + load.warm_up();
    let window = Window {
        start,
        end: start + load.duration(),
    };
    let mut tasks = Vec::new();
    for n in 0..load.connections {
        let target = broker.target.clone();
        let load = load.clone();
        tasks.push(tokio::spawn(one(target, load, n, window)));
    }
    sleep_until(window.start.into()).await;
    let before = broker.spent();
    sleep_until(window.end.into()).await;
    let after = broker.spent();
    let mut all = Counting::new();
    for task in tasks {
        all.add(&task.await??);
    }
    let mut measured = all.over(load.name("publish"), load.duration());
    measured.broker = after
        .zip(before)
        .map(|(after, before)| after.since(&before));
    Ok(measured)
}

/// Records from one reading of the clock to the next: reading it for each would be a good part of
/// what is measured.
const MARK_EVERY: u64 = 64;

async fn one(target: Target, load: Load, n: usize, window: Window) -> Result<Counting> {
    let client = target.client().await?;
    let channel = load.channel_name(n % load.channels.max(1))?;
    let mut builder = client
        .producer(channel)
        .batch_records(load.records_in_batch())
        .max_in_flight(load.in_flight);
    if let Some(bytes) = load.batch_bytes {
        builder = builder.batch_bytes(bytes);
    }
    if let Some(bytes) = load.unacked_bytes {
        builder = builder.max_unacked_bytes(bytes);
    }
    let producer = builder.build();
    let payload = vec![b'x'; load.record_bytes];
    let record = NewRecord {
        record_type: "bench",
        payload: Some(&payload),
        ..NewRecord::default()
    };
    if load.in_flight == 1 && load.records_in_batch() == 1 {
        let counted = one_by_one(&producer, &record, window).await?;
        client.close().await;
        return Ok(counted);
    }
    let (marks, marked) = unbounded_channel();
    let acks = producer.acks();
    let counting = tokio::spawn(count(acks, marked, window, payload.len() as u64));
    for published in 0.. {
        if published % MARK_EVERY == 0 {
            let at = clock();
            if at >= window.end {
                break;
            }
            marks.send((published, at))?;
        }
        // Its batch's acknowledgement counts it; the last flush tells of any that failed.
        drop(producer.publish(&record).await?);
    }
    drop(marks);
    producer.flush().await?;
    drop(producer);
    let counted = counting.await?;
    client.close().await;
    Ok(counted)
}

/// Waits for the acknowledgement of each record before it sends the next.
async fn one_by_one(
    producer: &Producer,
    record: &NewRecord<'_>,
    window: Window,
) -> Result<Counting> {
    let bytes = record.payload.map_or(0, <[u8]>::len) as u64;
    let mut counting = Counting::new();
    loop {
        let at = clock();
        if at >= window.end {
            return Ok(counting);
        }
        let ack = producer.publish(record).await?.await?;
        let now = clock();
        if window.contains(now) {
            counting.book(now - at, 1, bytes);
            counting.see_level(ack.level.name());
        }
    }
}

/// Takes each acknowledgement of a batch, which come in order: its time is from the last mark at or
/// before its first record.
async fn count(
    mut acks: UnboundedReceiver<BatchAck>,
    mut marks: UnboundedReceiver<(u64, Instant)>,
    window: Window,
    bytes: u64,
) -> Counting {
    let mut counting = Counting::new();
    let (mut acked, mut mark, mut next) = (0, None, None);
    while let Some(ack) = acks.recv().await {
        let now = clock();
        loop {
            next = next.or_else(|| marks.try_recv().ok());
            match next {
                Some((number, at)) if number <= acked => (mark, next) = (Some(at), None),
                _ => break,
            }
        }
        let records = ack.last_offset.0 - ack.first_offset.0 + 1;
        acked += records;
        if let Some(mark) = mark.filter(|_| window.contains(now)) {
            counting.book(now - mark, records, records * bytes);
            counting.see_level(ack.level.name());
        }
    }
    counting
}
