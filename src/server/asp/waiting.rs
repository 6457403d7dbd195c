//! Requests that wait until something is said: tasks of their own beside the connection. One that
//! waits is woken by its session or its agent alone.

use std::sync::Arc;
use std::time::Duration;

use super::super::access::Caller;
use super::super::connection::shutting_down;
use super::super::room::{ConnectionRoom, Held, Rereading, SHORT_FETCH_BYTES};
use super::super::shared::{Shared, TaskWake};
use super::super::{answer, clock};
use super::{Looked, look};
use crate::broker::asp::AspWaiter;
use crate::broker::{Wait, Wake};
use crate::protocol::{AspRequest, AspResponse, WireError};

/// Longest that a request waits.
const MAX_WAIT_MS: u32 = 60_000;

/// Whether a request may have to wait for the next record.
pub(in crate::server) fn waits(request: &AspRequest) -> bool {
    matches!(
        request,
        AspRequest::SessionHistory(_) | AspRequest::AgentInbox(_)
    )
}

fn wait_ms(request: &AspRequest) -> u32 {
    match request {
        AspRequest::SessionHistory(history) => history.wait_ms,
        AspRequest::AgentInbox(inbox) => inbox.wait_ms,
        _ => 0,
    }
}

/// Bytes of the records in an answer to one of these.
pub(in crate::server) fn record_bytes(response: &AspResponse) -> u64 {
    let bytes: usize = match response {
        AspResponse::SessionHistory(page) => {
            let records = page.records.iter();
            records.map(|row| row.record.text().len()).sum()
        }
        AspResponse::AgentInbox(page) => {
            let entries = page.entries.iter();
            entries.map(|row| row.record.text().len()).sum()
        }
        _ => 0,
    };
    bytes as u64
}

/// Has one of these ask for at most so many bytes, or one record.
pub(in crate::server) fn limit(request: &mut AspRequest, most: u64) {
    match request {
        AspRequest::SessionHistory(history) => {
            let most = u32::try_from(most).unwrap_or(u32::MAX);
            history.max_bytes = history.max_bytes.min(most);
        }
        AspRequest::AgentInbox(inbox) if most <= SHORT_FETCH_BYTES => {
            inbox.limit = inbox.limit.min(1);
        }
        _ => {}
    }
}

/// Looks until there is something and room for it, the time is over, or the server stops.
///
/// # Errors
/// What to answer instead.
pub(in crate::server) async fn find(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: &AspRequest,
    room: &ConnectionRoom,
) -> Result<(Box<AspResponse>, Option<Wait>, Held), WireError> {
    let wait = Duration::from_millis(u64::from(wait_ms(request).min(MAX_WAIT_MS)));
    let deadline = tokio::time::Instant::from_std(clock::instant()) + wait;
    let mut waiting: Option<(AspWaiter, Waiting)> = None;
    let mut is_over = wait.is_zero();
    let mut reading = Rereading::new(room);
    loop {
        let looked = {
            let (looking, asking) = (shared.clone(), caller.clone());
            let mut request = request.clone();
            limit(&mut request, reading.most());
            shared
                .on_disk(move || look(&looking, &asking, &request))
                .await
        };
        match looked.map_err(|refusal| answer::refused(&refusal.error))? {
            Looked::Answer(response, wait) => {
                let bytes = record_bytes(&response);
                if let Some(held) = reading.take(bytes) {
                    return Ok((Box::new(response), wait, held));
                }
                // It is read again when there is room.
                drop(response);
                reading.wait(bytes).await?;
            }
            Looked::Nothing(_, empty, wait) if is_over => {
                let nothing = reading.take(0);
                match nothing {
                    Some(held) => return Ok((Box::new(empty), wait, held)),
                    None => reading.wait(0).await?,
                }
            }
            // It may have been said before the waiter was known: one more look.
            Looked::Nothing(what, ..) if waiting.is_none() => {
                reading.give_back();
                waiting = Some((what, Waiting::new(shared, what)));
            }
            Looked::Nothing(..) => {
                reading.give_back();
                let Some((_, waiter)) = waiting.take() else {
                    continue;
                };
                tokio::select! {
                    () = waiter.wake.0.notified() => {}
                    () = tokio::time::sleep_until(deadline) => is_over = true,
                    () = shared.stop.cancelled() => return Err(shutting_down()),
                }
            }
        }
    }
}

/// Somebody who waits; taken back also when the connection has ended.
struct Waiting {
    shared: Arc<Shared>,
    what: AspWaiter,
    wake: Arc<TaskWake>,
}

impl Waiting {
    fn new(shared: &Arc<Shared>, what: AspWaiter) -> Self {
        let wake = TaskWake::new();
        shared.broker().wake_on_asp(what, wake.clone());
        Self {
            shared: shared.clone(),
            what,
            wake,
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let wake: Arc<dyn Wake> = self.wake.clone();
        self.shared.broker().forget_asp_waiter(self.what, &wake);
    }
}
