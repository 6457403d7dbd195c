//! What becomes of a batch, and the tickets of its records.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::error::PublishError;
use crate::types::{Durability, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

/// What the broker promised about one record.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ack {
    /// The record's offset.
    pub offset: Offset,
    /// The durability reached.
    pub level: Durability,
    /// When it was appended, by the broker's clock.
    pub append_time: Timestamp,
    /// The region that has appended it; `None` where the broker is no region, or older.
    pub region: Option<RegionName>,
    /// Whether it waits in the outbox of that region: see [`BatchAck::outbox`].
    pub outbox: bool,
}

/// What the broker promised about one batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BatchAck {
    /// Offset of its first record.
    pub first_offset: Offset,
    /// Offset of its last record, inclusive.
    pub last_offset: Offset,
    /// The durability reached.
    pub level: Durability,
    /// When it was appended, by the broker's clock.
    pub append_time: Timestamp,
    /// The log epoch it was appended in.
    pub log_epoch: LogEpoch,
    /// The channel's identity.
    pub incarnation: Incarnation,
    /// Whether an earlier try had appended it.
    pub duplicate: bool,
    /// The region that has appended it; `None` where the broker is no region, or older.
    pub region: Option<RegionName>,
    /// How many regions hold it synced, that one included; 0 where it is only written, or the broker
    /// is older.
    pub held: u32,
    /// Whether it waits in the outbox of that region. Its offsets are those of the outbox then, and it
    /// gets others in the channel once it is carried to its home; its level is that of the channel.
    pub outbox: bool,
}

/// A record that was taken; resolves to its offset and durability, never before they are promised.
///
/// Dropping it changes nothing about the record.
#[derive(Debug)]
#[must_use = "the record may fail: await the ticket, or flush the producer"]
pub struct Ticket {
    outcome: Arc<Outcome>,
    /// Number of the record in its batch.
    index: u32,
}

impl Ticket {
    #[inline]
    pub(super) fn new(outcome: Arc<Outcome>, index: u32) -> Self {
        Self { outcome, index }
    }
}

impl Future for Ticket {
    type Output = Result<Ack, PublishError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        self.outcome.poll(context).map_ok(|batch| Ack {
            offset: Offset(batch.first_offset.0 + u64::from(self.index)),
            level: batch.level,
            append_time: batch.append_time,
            region: batch.region,
            outbox: batch.outbox,
        })
    }
}

/// What becomes of one batch, shared by the tickets of its records.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    state: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Pending(Vec<Waker>),
    Done(Result<BatchAck, PublishError>),
}

impl Default for State {
    fn default() -> Self {
        Self::Pending(Vec::new())
    }
}

impl Outcome {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves every ticket. The first resolution counts.
    pub(super) fn resolve(&self, result: Result<BatchAck, PublishError>) {
        let mut state = self.state();
        let wakers = match &mut *state {
            State::Done(_) => return,
            State::Pending(wakers) => std::mem::take(wakers),
        };
        *state = State::Done(result);
        drop(state);
        for waker in wakers {
            waker.wake();
        }
    }

    fn poll(&self, context: &mut Context<'_>) -> Poll<Result<BatchAck, PublishError>> {
        match &mut *self.state() {
            State::Done(result) => Poll::Ready(result.clone()),
            State::Pending(wakers) => {
                if !wakers.iter().any(|waker| waker.will_wake(context.waker())) {
                    wakers.push(context.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    /// Waits for the batch.
    pub(super) async fn done(&self) -> Result<(), PublishError> {
        poll_fn(|context| self.poll(context)).await.map(|_| ())
    }
}
