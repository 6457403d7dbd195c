//! Fetches that read from disk or wait for records: tasks of their own beside the connection.

use std::sync::Arc;
use std::time::Duration;

use super::answer;
use super::clock;
use super::shared::{Shared, TaskWake};
use crate::broker::{BrokerError, Fetch, FetchStep, Fetched, Wake};
use crate::protocol::{ErrorCode, FetchHead, FetchRequest, WireError};
use crate::types::Offset;

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
        u64::from(request.max_bytes.min(MAX_FETCH_BYTES)),
    )
}

/// Runs a fetch to what it finds now. Segments are read from the page cache, or the disk.
pub(super) fn run(shared: &Shared, fetch: &mut Fetch) -> Result<Fetched, BrokerError> {
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

/// Whether an answer may go, or the fetch should wait for more.
pub(super) fn is_enough(request: &FetchRequest, fetched: &Fetched) -> bool {
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

/// Waits until there is enough, the time is over, or the server stops.
pub(super) async fn wait(
    shared: &Arc<Shared>,
    request: &FetchRequest,
    mut fetch: Fetch,
    mut fetched: Fetched,
) -> Result<Fetched, WireError> {
    let wait = Duration::from_millis(u64::from(request.max_wait_ms.min(MAX_WAIT_MS)));
    let deadline = tokio::time::Instant::from_std(clock::instant()) + wait;
    loop {
        let waiter = TaskWake::new();
        let log = fetched.head.incarnation;
        let as_wake: Arc<dyn Wake> = waiter.clone();
        shared.broker().wake_on_append(log, as_wake.clone());
        // The log may have grown before the waiter was known.
        let has_grown = high_watermark(shared, &fetched) > fetched.head.high_watermark;
        let is_over = if has_grown {
            false
        } else {
            tokio::select! {
                () = waiter.0.notified() => false,
                () = tokio::time::sleep_until(deadline) => true,
                () = shared.stop.cancelled() => {
                    shared.broker().forget_waiter(log, &as_wake);
                    let text = "the broker is stopping";
                    return Err(WireError::new(ErrorCode::ShuttingDown, text).retry_after_ms(500));
                }
            }
        };
        shared.broker().forget_waiter(log, &as_wake);
        fetched = run(shared, &mut fetch).map_err(|error| answer::refused(&error))?;
        if is_over || is_enough(request, &fetched) {
            return Ok(fetched);
        }
    }
}

fn high_watermark(shared: &Shared, fetched: &Fetched) -> Offset {
    let broker = shared.broker();
    broker
        .storage()
        .log(fetched.head.incarnation)
        .map_or(Offset(u64::MAX), |log| log.high_watermark())
}
