//! Batches that came, appended to their copy as they are once there is room.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::sleep;

use super::{Copying, Ended, ended};
use crate::broker::{BrokerError, CopiedBatch, Wake};
use crate::format::BatchHeader;
use crate::region::copies::Item;
use crate::server::clock;
use crate::server::region::digest;
use crate::server::shared::{Shared, TaskWake};
use crate::storage::StageError;
use crate::types::Offset;

/// Appends the batches of an item to their copy, waiting for room in the broker.
pub(super) async fn append(
    shared: &Arc<Shared>,
    copying: &mut Copying,
    mut batches: Bytes,
    flushed: Offset,
) -> Result<Result<(), String>, Ended> {
    while !batches.is_empty() {
        let batch = match next_batch(copying, &mut batches, flushed) {
            Ok((batch, _)) => batch,
            Err(text) => return Ok(Err(text)),
        };
        let mut batch = Some(batch);
        loop {
            let waiter = TaskWake::new();
            let refused = {
                let mut broker = shared.broker();
                let refused = broker.append_copied(copying.id, &mut batch, clock::now());
                let refused = refused.err();
                if refused.as_ref().is_some_and(|refusal| refusal.is_busy()) {
                    broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
                }
                refused
            };
            shared.wake_committer();
            let Some(refusal) = refused else { break };
            if let Err(text) = room(shared, &waiter, &refusal.error).await? {
                return Ok(Err(text));
            }
        }
    }
    Ok(Ok(()))
}

/// Takes the next of whole batches that lie end to end: checked, and accepted by the cursor of their
/// log. Gives it with its bytes as they came.
pub(super) fn next_batch(
    copying: &mut Copying,
    batches: &mut Bytes,
    flushed: Offset,
) -> Result<(CopiedBatch, Bytes), String> {
    let header = BatchHeader::peek(batches).map_err(|error| error.to_string())?;
    if header.len() > batches.len() {
        let (found, left) = (header.len(), batches.len());
        return Err(format!("a batch of {found} bytes in {left} bytes"));
    }
    let bytes = batches.split_to(header.len());
    let batch = CopiedBatch::check(BytesMut::from(&bytes[..]))?;
    let item = Item::Batch {
        incarnation: batch.header().incarnation(),
        mark: digest::mark_of(batch.header()),
        flushed,
    };
    let accepted = copying.cursor.accept(&item);
    accepted.map_err(|refused| refused.to_string())?;
    Ok((batch, bytes))
}

/// Waits until what was refused for want of room may be tried again; an inner error is another
/// refusal.
///
/// - `waiter`: wakes after the next round.
pub(super) async fn room(
    shared: &Shared,
    waiter: &TaskWake,
    error: &BrokerError,
) -> Result<Result<(), String>, Ended> {
    let wait = match error {
        BrokerError::Stage(StageError::Busy) => Duration::from_millis(200),
        BrokerError::Stage(StageError::DiskFull(_)) => Duration::from_secs(1),
        error => return Ok(Err(error.to_string())),
    };
    shared.wake_keeper();
    tokio::select! {
        () = waiter.0.notified() => {}
        () = sleep(wait) => {}
        () = shared.stop.cancelled() => return Err(ended("the server ends")),
    }
    Ok(Ok(()))
}
