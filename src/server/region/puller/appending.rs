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
        let length = match BatchHeader::peek(&batches) {
            Ok(header) if header.len() <= batches.len() => header.len(),
            Ok(header) => {
                let (found, left) = (header.len(), batches.len());
                return Ok(Err(format!("a batch of {found} bytes in {left} bytes")));
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        let checked = CopiedBatch::check(BytesMut::from(&batches.split_to(length)[..]));
        let batch = match checked {
            Ok(batch) => batch,
            Err(text) => return Ok(Err(text)),
        };
        let item = Item::Batch {
            incarnation: batch.header().incarnation(),
            mark: digest::mark_of(batch.header()),
            flushed,
        };
        if let Err(refused) = copying.cursor.accept(&item) {
            return Ok(Err(refused.to_string()));
        }
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
