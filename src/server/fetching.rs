//! Fetches that read from disk or wait for records: tasks of their own beside the connection.

use std::sync::Arc;
use std::time::Duration;

use super::answer;
use super::clock;
use super::connection::shutting_down;
use super::room::{ConnectionRoom, Held, SHORT_FETCH_BYTES};
use super::shared::{Shared, TaskWake};
use crate::broker::{BrokerError, Fetch, FetchStep, Fetched, Wake};
use crate::protocol::{FetchHead, FetchRequest, WireError};
use crate::types::{Incarnation, Offset};

/// Most bytes in one answer, whatever was asked for; a single larger batch still comes whole.
const MAX_FETCH_BYTES: u32 = 8 << 20;

/// Longest that a fetch waits.
const MAX_WAIT_MS: u32 = 60_000;

/// The fetch of a request.
pub(super) fn fetch_of(request: &FetchRequest) -> Fetch {
    Fetch::new(
        request.channel.clone(),
        request.incarnation,
        answer::fetch_from(request.from),
        request.last_epoch,
        asked(request),
    )
}

/// Runs a fetch to what it finds now, on a thread that may wait for the disk.
pub(super) fn run_here(shared: &Shared, fetch: &mut Fetch) -> Result<Fetched, BrokerError> {
    loop {
        let step = shared.broker().fetch_step(fetch)?;
        match step {
            FetchStep::Done(fetched) => return Ok(fetched),
            FetchStep::Run(job) => {
                let end = job.run();
                shared.broker().feed_fetch(fetch, end)?;
            }
        }
    }
}

/// Runs a fetch to what it finds now; what memory does not hold is read by another thread.
pub(super) async fn run(shared: &Shared, fetch: &mut Fetch) -> Result<Fetched, BrokerError> {
    loop {
        let step = shared.broker().fetch_step(fetch)?;
        match step {
            FetchStep::Done(fetched) => return Ok(fetched),
            FetchStep::Run(job) => {
                let end = shared.on_disk(move || job.run()).await;
                shared.broker().feed_fetch(fetch, end)?;
            }
        }
    }
}

/// What memory holds, the page cache too, where that is enough and there is room for it; `None`
/// leaves it to [`find`].
pub(super) fn at_once(
    shared: &Shared,
    room: &ConnectionRoom,
    request: &FetchRequest,
    fetch: &mut Fetch,
) -> Result<Option<Answer>, BrokerError> {
    loop {
        let step = shared.broker().fetch_step(fetch)?;
        let end = match step {
            FetchStep::Done(fetched) if is_enough(request, &fetched) => {
                let held = room.try_hold(fetched.slices.bytes);
                return Ok(held.map(|held| (fetched, held)));
            }
            FetchStep::Done(_) => return Ok(None),
            FetchStep::Run(job) => job.run_warm(),
        };
        let Some(end) = end else {
            return Ok(None);
        };
        shared.broker().feed_fetch(fetch, end)?;
    }
}

/// What a fetch has found, with the room it takes until it is written.
pub(super) type Answer = (Fetched, Held);

fn asked(request: &FetchRequest) -> u64 {
    u64::from(request.max_bytes.min(MAX_FETCH_BYTES))
}

/// Whether an answer may go, or the fetch should wait for more.
fn is_enough(request: &FetchRequest, fetched: &Fetched) -> bool {
    request.max_wait_ms == 0
        || fetched.slices.bytes >= u64::from(request.min_bytes.max(1))
        || fetched.slices.next < fetched.head.high_watermark
}

/// The head of an answer.
pub(super) fn head(fetched: &Fetched) -> FetchHead {
    FetchHead {
        incarnation: fetched.head.incarnation,
        log_start: fetched.head.log_start,
        high_watermark: fetched.head.high_watermark,
        log_end: fetched.head.high_watermark,
        from_offset: fetched.head.from,
        log_epoch: fetched.head.log_epoch,
    }
}

/// Waits until there is enough and room for it, the time is over, or the server stops. Nothing that
/// was found is kept while it waits.
pub(super) async fn find(
    shared: &Shared,
    room: &ConnectionRoom,
    request: &FetchRequest,
    mut fetch: Fetch,
) -> Result<Answer, WireError> {
    let wait = Duration::from_millis(u64::from(request.max_wait_ms.min(MAX_WAIT_MS)));
    let deadline = tokio::time::Instant::from_std(clock::instant()) + wait;
    let mut is_over = false;
    // Room in the broker is short: a small answer has to do.
    let mut is_short = false;
    let mut held: Option<Held> = None;
    loop {
        let most = if is_short {
            SHORT_FETCH_BYTES
        } else {
            u64::MAX
        };
        let most = held.as_ref().map_or(most, |held| held.bytes().min(most));
        fetch.limit(asked(request).min(most));
        let fetched = run(shared, &mut fetch).await;
        let fetched = fetched.map_err(|error| answer::refused(&error))?;
        if !is_over && !is_enough(request, &fetched) {
            drop(held.take());
            let seen = (fetched.head.incarnation, fetched.head.high_watermark);
            drop(fetched);
            is_over = !wait_for_growth(shared, seen, deadline).await?;
            continue;
        }
        let bytes = fetched.slices.bytes;
        let enough = held.take().filter(|held| held.bytes() >= bytes);
        if let Some(held) = enough.or_else(|| room.try_hold(bytes)) {
            return Ok((fetched, held));
        }
        // It is read again when there is room.
        drop(fetched);
        if is_short {
            held = Some(room.hold_little(bytes).await?);
        } else {
            held = room.hold(bytes).await;
            is_short = held.is_none();
        }
    }
}

/// Waits until a log's high watermark is above the one seen; false when the time is over.
async fn wait_for_growth(
    shared: &Shared,
    (log, seen): (Incarnation, Offset),
    deadline: tokio::time::Instant,
) -> Result<bool, WireError> {
    let waiter = TaskWake::new();
    let as_wake: Arc<dyn Wake> = waiter.clone();
    shared.broker().wake_on_append(log, as_wake.clone());
    let _forget = Forget(shared, log, as_wake);
    // The log may have grown before the waiter was known.
    if high_watermark(shared, log) > seen {
        return Ok(true);
    }
    tokio::select! {
        () = waiter.0.notified() => Ok(true),
        () = tokio::time::sleep_until(deadline) => Ok(false),
        () = shared.stop.cancelled() => Err(shutting_down()),
    }
}

/// Takes a waiter back, also when the connection it waits for has ended.
struct Forget<'a>(&'a Shared, Incarnation, Arc<dyn Wake>);

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.0.broker().forget_waiter(self.1, &self.2);
    }
}

fn high_watermark(shared: &Shared, log: Incarnation) -> Offset {
    let broker = shared.broker();
    broker
        .storage()
        .log(log)
        .map_or(Offset(u64::MAX), |log| log.high_watermark())
}
