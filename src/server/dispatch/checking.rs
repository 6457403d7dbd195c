//! What is published, checked at the door.

use std::ops::Deref;

use super::Atomic;
use crate::broker::{Broker, BrokerError, CheckedBatch, CommitRequest, Target};
use crate::format::{BatchHeader, Compression, DoorLimits, check_produced};
use crate::protocol::{AtomicPart, PublishAtomicRequest, PublishRequest, PublishTarget, WireError};
use crate::server::access::Caller;
use crate::server::shared::Shared;
use crate::server::{admission, answer};
use crate::types::LogEpoch;

fn target(caller: &Caller, target: PublishTarget) -> Target {
    Target {
        channel: target.channel,
        incarnation: target.incarnation,
        expected: target.expected_offset,
        principal: caller.principal.id.0,
    }
}

/// A batch up to this size is checked under the lock that it is published with: taking that once more
/// costs more.
const CHECKED_AT_ONCE_BYTES: usize = 4096;

/// Whether a batch is checked under the broker's lock: a small one that need not be decompressed.
pub(super) fn is_checked_at_once(batch: &[u8]) -> bool {
    let is_plain = || {
        let header = BatchHeader::peek_produced(batch);
        header.is_ok_and(|header| header.compression() == Some(Compression::None))
    };
    batch.len() <= CHECKED_AT_ONCE_BYTES && is_plain()
}

pub(super) fn check_publish(
    shared: &Shared,
    caller: &Caller,
    publish: PublishRequest,
) -> Result<(Target, CheckedBatch), WireError> {
    let limits = shared.broker().door(&publish.target.channel);
    check_published(&limits, caller, publish, || shared.broker())
}

/// Checks a batch against the limits of its channel.
///
/// - `broker`: asked where a guest publishes.
pub(super) fn check_published<B: Deref<Target = Broker>>(
    limits: &Result<DoorLimits, BrokerError>,
    caller: &Caller,
    publish: PublishRequest,
    broker: impl FnOnce() -> B,
) -> Result<(Target, CheckedBatch), WireError> {
    let target = target(caller, publish.target);
    let limits = limits.as_ref().map_err(answer::refused)?;
    let batch = publish.batch;
    let header = check_produced(&batch, limits).map_err(|error| WireError::from_batch(&error))?;
    if !caller.owns(target.channel.org()) {
        admission::check_guests_fence(&broker(), &target.channel, header.fence())?;
    }
    Ok((
        target,
        CheckedBatch {
            header,
            bytes: batch,
        },
    ))
}

pub(super) fn check_atomic(
    shared: &Shared,
    caller: &Caller,
    request: PublishAtomicRequest,
) -> Result<Atomic, WireError> {
    let mut atomic = Atomic {
        asks: request.asks,
        ..Atomic::default()
    };
    for (at, part) in request.parts.into_iter().enumerate() {
        match part {
            AtomicPart::Publish(publish) => {
                let checked = check_publish(shared, caller, publish);
                let checked = checked.map_err(|error| error.with("part", at as u64))?;
                atomic.batches.push(checked);
                atomic.batch_at.push(at);
            }
            AtomicPart::Commit(commit) => {
                atomic.commits.push(CommitRequest {
                    channel: commit.channel,
                    incarnation: None,
                    consumer: commit.consumer,
                    offset: commit.offset,
                    log_epoch: LogEpoch(0),
                    expected: answer::expected(commit.expected_previous),
                    metadata: commit.metadata,
                });
                atomic.commit_at.push(at);
            }
        }
    }
    Ok(atomic)
}
