//! Load through the client's producer: what a program that publishes record by record gets.

use std::time::Instant;

use anyhow::Result;
use npayload::client::Ticket;
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
/// records; their times are from `publish` to the ticket's end, linger included.
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
    let producer = builder.build();
    let payload = vec![b'x'; load.record_bytes];
    let record = NewRecord {
        record_type: "bench",
        payload: Some(&payload),
        ..NewRecord::default()
    };
    let (sender, tickets) = unbounded_channel();
    let counting = tokio::spawn(count(tickets, window, payload.len() as u64));
    loop {
        let at = clock();
        if at >= window.end {
            break;
        }
        sender.send((at, producer.publish(&record).await?))?;
    }
    drop(sender);
    producer.flush().await?;
    let counted = counting.await??;
    client.close().await;
    Ok(counted)
}

/// Waits for each ticket in turn; batches are acknowledged in order.
async fn count(
    mut tickets: UnboundedReceiver<(Instant, Ticket)>,
    window: Window,
    bytes: u64,
) -> Result<Counting> {
    let mut counting = Counting::new();
    while let Some((at, ticket)) = tickets.recv().await {
        let ack = ticket.await?;
        let now = clock();
        if window.contains(now) {
            counting.book(now - at, 1, bytes);
            counting.see_level(ack.level.name());
        }
    }
    Ok(counting)
}
