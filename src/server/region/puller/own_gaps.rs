//! Gaps that a copy puts over what it will never have: lost to retention, or passed over.

use std::ops::Range;
use std::sync::Arc;

use super::appending::room;
use super::{Copying, Ended};
use crate::broker::{Broker, Refusal, Wake};
use crate::server::clock;
use crate::server::shared::{Shared, TaskWake};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// Marks what retention at home removed before it came. An inner error stops the copy.
pub(super) async fn lost(
    shared: &Shared,
    id: Incarnation,
    range: Range<Offset>,
) -> Result<Result<(), String>, Ended> {
    mark(shared, |broker| {
        broker.append_gap(id, range.clone(), clock::now())
    })
    .await
}

/// Marks batches without any of the record types that a copy is of.
pub(super) async fn skip(
    shared: &Shared,
    copying: &Copying,
    range: Range<Offset>,
    last: (LogEpoch, Timestamp),
) -> Result<Result<(), String>, Ended> {
    let types = copying.types.clone().unwrap_or_default();
    mark(shared, |broker| {
        broker.append_skip(copying.id, range.clone(), &types, last, clock::now())
    })
    .await
}

/// Tries until there is room: what is there already changes nothing.
async fn mark(
    shared: &Shared,
    append: impl Fn(&mut Broker) -> Result<(), Refusal>,
) -> Result<Result<(), String>, Ended> {
    loop {
        let waiter = TaskWake::new();
        let refused = {
            let mut broker = shared.broker();
            let refused = append(&mut broker).err();
            if refused.as_ref().is_some_and(Refusal::is_busy) {
                broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
            }
            refused
        };
        shared.wake_committer();
        let Some(refusal) = refused else {
            return Ok(Ok(()));
        };
        if let Err(text) = room(shared, &waiter, &refusal.error).await? {
            return Ok(Err(text));
        }
    }
}
