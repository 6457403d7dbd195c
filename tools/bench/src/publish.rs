//! Load: connections that publish, each with a window of batches in flight.
//!
//! A closed loop sends whenever the window has room. An open loop sends at times that were fixed
//! before, and counts from them: a broker that is slow for a second is charged with every arrival
//! of that second.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::BytesMut;
use npayload::format::{BatchBuilder, Compression, NewRecord};
use npayload::protocol::control::ConfigChange;
use npayload::protocol::{PublishTarget, Request, Response};
use npayload::types::Durability;
use tokio::sync::Semaphore;
use tokio::time::{sleep_until, timeout};

use crate::broker::Broker;
use crate::clock;
use crate::load::{Load, Via};
use crate::measured::{Counting, Measured, float};
use crate::pace::{Arrivals, Pacer};
use crate::produce::produce;
use crate::wire::{Receiving, Sending, Wire};

/// How long answers may take once nothing is sent any more.
const GRACE: Duration = Duration::from_secs(20);

/// Channels that are created at once.
const LANES: usize = 32;

/// The part of a run that counts.
#[derive(Debug, Clone, Copy)]
pub struct Window {
    /// From here.
    pub start: Instant,
    /// To here.
    pub end: Instant,
}

impl Window {
    /// Whether something at this time counts.
    pub fn contains(&self, at: Instant) -> bool {
        self.start <= at && at < self.end
    }
}

/// Creates the channels of a load with its durability.
pub async fn prepare(broker: &Broker, load: &Load) -> Result<()> {
    let client = broker.target.client().await?;
    let config = ConfigChange {
        durability: Some(load.durability),
        retention_bytes: load.retention_bytes.map(Some),
        ..ConfigChange::default()
    };
    let mut making = Vec::new();
    for lane in 0..load.channels.min(LANES) {
        let names: Vec<_> = (lane..load.channels)
            .step_by(LANES)
            .map(|n| load.channel_name(n))
            .collect::<Result<_>>()?;
        let (client, config) = (client.clone(), config.clone());
        making.push(tokio::spawn(async move {
            for name in &names {
                client.create_channel(name, config.clone(), true).await?;
            }
            anyhow::Ok(())
        }));
    }
    for made in making {
        made.await??;
    }
    client.close().await;
    Ok(())
}

/// Removes the channels of a load, so that the disk does not fill and the next run starts alike.
pub async fn remove(broker: &Broker, load: &Load) -> Result<()> {
    let client = broker.target.client().await?;
    for n in 0..load.channels {
        client.delete_channel(&load.channel_name(n)?).await?;
    }
    client.close().await;
    Ok(())
}

/// One batch of the load. The payload of each record begins with `mark`.
pub fn batch(load: &Load, mark: u64) -> Result<BytesMut> {
    let mut payload: Vec<u8> = (b'a'..=b'z').cycle().take(load.record_bytes).collect();
    if let Some(first) = payload.get_mut(..8) {
        first.copy_from_slice(&mark.to_le_bytes());
    }
    let mut builder = BatchBuilder::new(Compression::None);
    for _ in 0..load.records_in_batch() {
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

/// Publishes by what the load names.
pub async fn published(broker: &Broker, load: &Load) -> Result<Measured> {
    match load.via {
        Via::Frames => publish(broker, load).await,
        Via::Client => produce(broker, load).await,
    }
}

/// Publishes for the load's time, or its records.
pub async fn publish(broker: &Broker, load: &Load) -> Result<Measured> {
    prepare(broker, load).await?;
    let began = clock();
    let start = began + load.warm_up();
    let window = Window {
        start,
        end: start + load.duration(),
    };
    run(broker, load, window, None).await
}

/// As [`publish`], into channels that are there. With `zero` every record begins with the time it
/// was due, in nanoseconds after `zero`.
pub async fn run(
    broker: &Broker,
    load: &Load,
    window: Window,
    zero: Option<Instant>,
) -> Result<Measured> {
    let began = clock();
    let batches = load
        .records
        .map(|records| records.div_ceil(u64::from(load.records_in_batch())));
    let (pacer, mut arrivals) = match load.rate {
        Some(rate) => {
            let end = match batches {
                Some(batches) => began + Duration::from_secs_f64(float(batches) / rate),
                None => window.end,
            };
            let (pacer, arrivals) = Pacer::start(rate, load.connections, began, end);
            let arrivals: Vec<_> = arrivals.into_iter().map(Some).collect();
            (Some(pacer), arrivals)
        }
        None => (None, (0..load.connections).map(|_| None).collect()),
    };
    let left = Arc::new(AtomicU64::new(batches.unwrap_or(u64::MAX)));
    let mut tasks = Vec::new();
    for (n, arrivals) in arrivals.drain(..).enumerate() {
        let shared = Arc::new(Shared {
            window,
            is_counted: batches.is_some(),
            in_flight: Semaphore::new(load.in_flight.max(1)),
            sent: Mutex::default(),
            records: u64::from(load.records_in_batch()),
            record_bytes: load.record_bytes as u64,
            is_open_loop: load.rate.is_some(),
        });
        let wire = Wire::connect(&broker.target).await?;
        let reading = tokio::spawn(receive(shared.clone(), wire.receiving));
        let writer = Writer {
            shared,
            left: left.clone(),
            load: load.clone(),
            first_channel: n,
            zero,
        };
        let writing = tokio::spawn(writer.run(wire.sending, arrivals));
        tasks.push((reading, writing));
    }
    let mut before = broker.spent();
    if batches.is_none() {
        sleep_until(window.start.into()).await;
        before = broker.spent();
        sleep_until(window.end.into()).await;
    }
    let at_end = broker.spent();
    let mut all = Counting::new();
    let mut last = window.start;
    for (reading, writing) in tasks {
        // A reader that has failed says why; its writer may wait for it in vain.
        let (counting, last_answer) = reading.await??;
        let missed = writing.await??;
        all.add(&counting);
        if load.rate.is_some() {
            *all.missed.get_or_insert(0) += missed;
        }
        last = last.max(last_answer);
    }
    let took = match (batches, load.rate) {
        (Some(_), _) => last.saturating_duration_since(began),
        (None, None) => window.end - window.start,
        // Arrivals count when they were due in the window, whenever they were answered.
        (None, Some(_)) => last.max(window.end) - window.start,
    };
    let mut measured = all.over(load.name("publish"), took);
    if let Some(pacer) = pacer {
        measured.generator_p99_us = Some(pacer.lateness()?.value_at_quantile(0.99));
    }
    let after = if batches.is_some() {
        broker.spent()
    } else {
        at_end
    };
    measured.broker = after
        .zip(before)
        .map(|(after, before)| after.since(&before));
    Ok(measured)
}

/// What the two halves of a connection share.
struct Shared {
    window: Window,
    /// The run ends after a number of records, all of which count.
    is_counted: bool,
    is_open_loop: bool,
    in_flight: Semaphore,
    /// When the requests that have no answer yet were sent, or due.
    sent: Mutex<HashMap<u64, Instant>>,
    records: u64,
    record_bytes: u64,
}

impl Shared {
    fn sent(&self) -> MutexGuard<'_, HashMap<u64, Instant>> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Writer {
    shared: Arc<Shared>,
    /// Batches that are still to be sent, of all connections.
    left: Arc<AtomicU64>,
    load: Load,
    first_channel: usize,
    zero: Option<Instant>,
}

impl Writer {
    /// Sends until the end; how many arrivals could not be sent by then.
    async fn run(self, mut sending: Sending, mut arrivals: Option<Arrivals>) -> Result<u64> {
        let targets: Vec<PublishTarget> = (0..self.load.channels)
            .map(|n| Ok(PublishTarget::any(self.load.channel_name(n)?)))
            .collect::<Result<_>>()?;
        let mut ready = batch(&self.load, 0)?;
        let mut missed = 0;
        for n in self.first_channel.. {
            let due = match &mut arrivals {
                None => clock(),
                Some(arrivals) => {
                    let next = match arrivals.try_recv() {
                        Ok(due) => Some(due),
                        Err(_) => {
                            sending.flush().await?;
                            arrivals.recv().await
                        }
                    };
                    match next {
                        Some(due) => due,
                        None => break,
                    }
                }
            };
            if !self.take(&mut sending).await? {
                missed += u64::from(self.shared.window.contains(due));
                match &mut arrivals {
                    Some(_) => continue,
                    None => break,
                }
            }
            if let Some(zero) = self.zero {
                let after = u64::try_from(due.saturating_duration_since(zero).as_nanos())?;
                ready = batch(&self.load, after)?;
            }
            let correlation = sending.correlation();
            // A closed loop counts from here: the wait for the window is its own doing.
            let from = if arrivals.is_some() { due } else { clock() };
            self.shared.sent().insert(correlation, from);
            let target = &targets[n % targets.len()];
            let head =
                |output: &mut BytesMut| target.encode_before(correlation, ready.len(), output);
            sending.frame(head, &ready).await?;
        }
        // Its answer tells the reader that no more requests follow.
        let last = Request::Ping;
        sending.request(&last);
        sending.flush().await?;
        Ok(missed)
    }

    /// Waits for room in the window; false when the run is over.
    async fn take(&self, sending: &mut Sending) -> Result<bool> {
        let permit = match self.shared.in_flight.try_acquire() {
            Ok(permit) => permit,
            Err(_) => {
                sending.flush().await?;
                timeout(GRACE, self.shared.in_flight.acquire())
                    .await
                    .context("the window stayed full")??
            }
        };
        if !self.shared.is_counted && clock() >= self.shared.window.end {
            return Ok(false);
        }
        let less = |left: u64| left.checked_sub(1);
        let is_taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less)
            .is_ok();
        if is_taken {
            permit.forget();
        }
        Ok(is_taken)
    }
}

/// Takes answers until the last; what was counted, and when the last came.
async fn receive(shared: Arc<Shared>, mut receiving: Receiving) -> Result<(Counting, Instant)> {
    let mut counting = Counting::new();
    let mut level: Option<Durability> = None;
    let mut last = shared.window.start;
    let mut is_last_sent = false;
    loop {
        timeout(GRACE, receiving.read())
            .await
            .with_context(|| format!("no answer came for {GRACE:?}"))??;
        let now = clock();
        while let Some((correlation, response)) = receiving.ready()? {
            let ack = match response {
                Response::Publish(ack) => ack,
                Response::Pong => {
                    is_last_sent = true;
                    continue;
                }
                other => bail!("the broker answered a publish with {other:?}"),
            };
            let sent = shared.sent().remove(&correlation);
            let sent = sent.context("an answer to a request that was not sent")?;
            shared.in_flight.add_permits(1);
            if level != Some(ack.level) {
                level = Some(ack.level);
                counting.see_level(ack.level.name());
            }
            let counts_at = if shared.is_open_loop { sent } else { now };
            if shared.is_counted || shared.window.contains(counts_at) {
                let bytes = shared.records * shared.record_bytes;
                counting.book(now.saturating_duration_since(sent), shared.records, bytes);
                last = now;
            }
        }
        if is_last_sent && shared.sent().is_empty() {
            return Ok((counting, last));
        }
    }
}
