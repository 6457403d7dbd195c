//! The batch that records are copied into, and those that are full and wait for the driver.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};
use tokio::sync::{Semaphore, SemaphorePermit, mpsc};
use tokio::time::Instant;

use super::Options;
use super::error::PublishError;
use super::ticket::{BatchAck, Outcome, Ticket};
use crate::format::{
    BATCH_ALIGNMENT, BatchBuilder, Compression, MAX_BATCH_BYTES, MAX_RECORDS_PER_BATCH, NewRecord,
};
use crate::types::Offset;

/// Room that the open batch takes at once for the records to come, so that not each of them takes
/// its own.
const ROOM_BYTES: usize = 32 << 10;

/// Behind one lock, which is held for a copy of one record and never across a wait.
#[derive(Debug)]
pub(super) struct Batches {
    inner: Mutex<Inner>,
    /// One permit for each byte that may still become unacknowledged.
    room: Semaphore,
    batch_bytes: usize,
    batch_records: u32,
    max_unacked_bytes: usize,
    compression: Compression,
    /// Buffers that are kept for batches to come.
    max_spares: usize,
}

#[derive(Debug)]
struct Inner {
    open: Option<Open>,
    full: VecDeque<Open>,
    /// The batch that was opened last, for `flush`.
    last: Option<Arc<Outcome>>,
    failure: Option<Arc<PublishError>>,
    restart: Option<Restart>,
    listeners: Vec<mpsc::UnboundedSender<BatchAck>>,
    is_closed: bool,
    /// Buffers of batches that were acknowledged: memory that is warm.
    spares: Vec<BytesMut>,
    /// Bytes of the batch that was sealed last: how large the next will be, about.
    likely_bytes: usize,
}

/// A batch that is not built yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) builder: BatchBuilder,
    pub(super) outcome: Arc<Outcome>,
    pub(super) opened: Instant,
    /// Permits that it has taken, and how many of them its records need: once it is sealed they are
    /// the same.
    permits: usize,
    used: usize,
    /// Whether it is to be sent without waiting for more records.
    flush: bool,
}

impl Open {
    /// Permits to give back once it is acknowledged.
    pub(super) fn permits(&self) -> usize {
        self.permits
    }

    /// Permits that none of its records needs.
    #[inline]
    fn spare(&self) -> usize {
        self.permits - self.used
    }

    /// Gives up what its records do not need.
    fn trim(&mut self, room: &Semaphore) {
        room.add_permits(self.spare());
        self.permits = self.used;
    }
}

/// What the driver is to do after a failure was dealt with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    pub(super) expected_offset: Option<Offset>,
}

/// What became of a record that was to be taken.
pub(super) enum Pushed {
    /// It was taken.
    Taken {
        ticket: Ticket,
        /// Whether there is something new for the driver: a batch to wait for, or to send.
        wakes_driver: bool,
    },
    /// Too many bytes are not acknowledged yet.
    Full,
}

/// What the driver finds.
pub(super) enum Next {
    /// A failure was dealt with: what follows begins anew.
    Restart(Restart),
    /// A batch to send.
    Batch(Box<Open>),
    /// An open batch that may wait for more records until then.
    Wait(Instant),
    /// Nothing.
    Nothing,
    /// Nothing, and the producer was dropped.
    Closed,
}

impl Batches {
    pub(super) fn new(options: &Options) -> Self {
        Self {
            inner: Mutex::new(Inner {
                open: None,
                full: VecDeque::new(),
                last: None,
                failure: None,
                restart: None,
                listeners: Vec::new(),
                is_closed: false,
                spares: Vec::new(),
                likely_bytes: 0,
            }),
            room: Semaphore::new(options.max_unacked_bytes),
            batch_bytes: options.batch_bytes.min(MAX_BATCH_BYTES),
            batch_records: options.batch_records.min(MAX_RECORDS_PER_BATCH),
            max_unacked_bytes: options.max_unacked_bytes,
            compression: options.compression,
            max_spares: options.max_in_flight.saturating_add(1),
        }
    }

    #[inline]
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a record of so many bytes takes of the room.
    fn cost(&self, bytes: usize) -> usize {
        bytes.min(self.max_unacked_bytes)
    }

    /// Waits for room for a record of so many bytes, which [`push`](Self::push) is given then.
    pub(super) async fn room_for(&self, bytes: usize) -> Option<SemaphorePermit<'_>> {
        let permits = u32::try_from(self.cost(bytes)).unwrap_or(u32::MAX);
        self.room.acquire_many(permits).await.ok()
    }

    /// Makes room: so many bytes are acknowledged, or never will be.
    pub(super) fn give_back(&self, permits: usize) {
        self.room.add_permits(permits);
    }

    /// Bytes of records that are not acknowledged yet.
    pub(super) fn unacked_bytes(&self) -> usize {
        let inner = self.inner();
        let spare = inner.open.as_ref().map_or(0, Open::spare);
        self.max_unacked_bytes
            .saturating_sub(self.room.available_permits())
            .saturating_sub(spare)
    }

    /// Copies a record into the open batch, opening one if need be.
    ///
    /// - `bytes`: what it takes in the batch, as `encoded_len` gave it.
    /// - `given`: room that was waited for; without it the record is taken only where there is some.
    #[inline]
    pub(super) fn push(
        &self,
        record: &NewRecord<'_>,
        bytes: usize,
        given: Option<SemaphorePermit<'_>>,
    ) -> Result<Pushed, PublishError> {
        let mut inner = self.inner();
        // What nearly every record meets: an open batch that has place and room for it.
        if given.is_none()
            && inner.failure.is_none()
            && let Some(open) = &mut inner.open
            && open.builder.len() + bytes + BATCH_ALIGNMENT <= self.batch_bytes
            && open.builder.record_count() + 1 < self.batch_records
            && open.spare() >= bytes
        {
            let index = open.builder.record_count();
            open.builder.push_measured(record, bytes)?;
            open.used += bytes;
            return Ok(Pushed::Taken {
                ticket: Ticket::new(Arc::clone(&open.outcome), index),
                wakes_driver: false,
            });
        }
        self.push_first_or_last(&mut inner, record, bytes, given)
    }

    /// As [`push`](Self::push), for a record that opens a batch, fills one, or needs more room.
    #[cold]
    fn push_first_or_last(
        &self,
        inner: &mut Inner,
        record: &NewRecord<'_>,
        bytes: usize,
        given: Option<SemaphorePermit<'_>>,
    ) -> Result<Pushed, PublishError> {
        if let Some(failure) = &inner.failure {
            return Err(PublishError::Poisoned(Arc::clone(failure)));
        }
        let mut wakes_driver = false;
        let is_in_the_way = |open: &Open| open.builder.len() + bytes > self.batch_bytes;
        if inner.open.as_ref().is_some_and(is_in_the_way) {
            self.seal_full(inner);
            wakes_driver = true;
        }
        let cost = self.cost(bytes);
        let spare = inner.open.as_ref().map_or(0, Open::spare);
        let taken = match given {
            Some(permit) => {
                // Given back when the batch is acknowledged or has failed.
                permit.forget();
                cost
            }
            None if spare >= cost => 0,
            None => {
                let Some(taken) = self.take_room(cost - spare) else {
                    return Ok(Pushed::Full);
                };
                taken
            }
        };
        let open = match &mut inner.open {
            Some(open) => open,
            None => {
                wakes_driver = true;
                let buffer = inner.spares.pop();
                let buffer = buffer.unwrap_or_else(|| BytesMut::with_capacity(inner.likely_bytes));
                let outcome = Arc::<Outcome>::default();
                inner.last = Some(Arc::clone(&outcome));
                inner.open.insert(Open {
                    builder: BatchBuilder::in_buffer(self.compression, buffer),
                    outcome,
                    opened: Instant::now(),
                    permits: 0,
                    used: 0,
                    flush: false,
                })
            }
        };
        open.permits += taken;
        let index = open.builder.record_count();
        open.builder.push_measured(record, bytes)?;
        open.used += cost;
        let ticket = Ticket::new(Arc::clone(&open.outcome), index);
        if index + 1 >= self.batch_records || open.builder.len() >= self.batch_bytes {
            self.seal_full(inner);
            wakes_driver = true;
        }
        Ok(Pushed::Taken {
            ticket,
            wakes_driver,
        })
    }

    /// Takes room for a record, and at once for some that follow, where there is as much.
    fn take_room(&self, needed: usize) -> Option<usize> {
        [needed.max(ROOM_BYTES), needed].into_iter().find(|bytes| {
            let permits = u32::try_from(*bytes).unwrap_or(u32::MAX);
            match self.room.try_acquire_many(permits) {
                Ok(permit) => {
                    permit.forget();
                    true
                }
                Err(_) => false,
            }
        })
    }

    /// Moves the open batch, where there is one, to those that are to be sent.
    fn seal_full(&self, inner: &mut Inner) {
        if let Some(mut full) = inner.open.take() {
            full.trim(&self.room);
            inner.likely_bytes = full.builder.len();
            inner.full.push_back(full);
        }
    }

    /// Takes back the buffer of a batch that is acknowledged, where nobody else holds it.
    pub(super) fn reuse(&self, bytes: Bytes) {
        let Ok(buffer) = bytes.try_into_mut() else {
            return;
        };
        // One that a single large record has stretched is not kept.
        let is_large = buffer.capacity() > 2 * self.batch_bytes.max(ROOM_BYTES);
        let mut inner = self.inner();
        if inner.spares.len() < self.max_spares && !is_large {
            inner.spares.push(buffer);
        }
    }

    /// Lets the buffers go that are kept for more: nothing is under way.
    pub(super) fn rest(&self) {
        let spares = std::mem::take(&mut self.inner().spares);
        drop(spares);
    }

    /// Marks the open batch to be sent at once, and names the last batch there is.
    pub(super) fn seal_and_last(&self) -> Result<Option<Arc<Outcome>>, PublishError> {
        let mut inner = self.inner();
        if let Some(failure) = &inner.failure {
            return Err(PublishError::clone(failure));
        }
        if let Some(open) = &mut inner.open {
            open.flush = true;
        }
        Ok(inner.last.clone())
    }

    /// Marks the open batch to be sent at once, and gives up the room that it has no records for.
    pub(super) fn seal(&self) {
        if let Some(open) = &mut self.inner().open {
            open.flush = true;
            open.trim(&self.room);
        }
    }

    /// The next batch to send at `now`.
    pub(super) fn next(&self, now: Instant, linger: std::time::Duration) -> Next {
        let mut inner = self.inner();
        if let Some(restart) = inner.restart.take() {
            return Next::Restart(restart);
        }
        if let Some(full) = inner.full.pop_front() {
            return Next::Batch(Box::new(full));
        }
        let is_closed = inner.is_closed;
        let Some(open) = &inner.open else {
            return if is_closed {
                Next::Closed
            } else {
                Next::Nothing
            };
        };
        let due = open.opened + linger;
        if due > now && !open.flush && !is_closed {
            return Next::Wait(due);
        }
        self.seal_full(&mut inner);
        let open = inner.full.pop_front();
        open.map_or(Next::Nothing, |open| Next::Batch(Box::new(open)))
    }

    /// Fails every batch that the driver has not taken yet and every record to come.
    pub(super) fn fail(&self, error: &Arc<PublishError>) {
        let mut inner = self.inner();
        inner.failure = Some(Arc::clone(error));
        let waiting: Vec<_> = inner.full.drain(..).collect();
        let open = inner.open.take();
        drop(inner);
        for batch in waiting.into_iter().chain(open) {
            self.give_back(batch.permits);
            let error = PublishError::Poisoned(Arc::clone(error));
            batch.outcome.resolve(Err(error));
        }
    }

    pub(super) fn failure(&self) -> Option<PublishError> {
        let failure = self.inner().failure.clone()?;
        Some(PublishError::clone(&failure))
    }

    pub(super) fn resume(&self, expected_offset: Option<Offset>) {
        let mut inner = self.inner();
        if inner.failure.take().is_some() {
            inner.restart = Some(Restart { expected_offset });
            inner.last = None;
        }
    }

    pub(super) fn listen(&self, sender: mpsc::UnboundedSender<BatchAck>) {
        self.inner().listeners.push(sender);
    }

    pub(super) fn tell(&self, ack: &BatchAck) {
        self.inner()
            .listeners
            .retain(|listener| listener.send(ack.clone()).is_ok());
    }

    pub(super) fn close(&self) {
        self.inner().is_closed = true;
    }
}
