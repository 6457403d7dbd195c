//! The batch that records are copied into, and those that are full and wait for the driver.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;
use tokio::time::Instant;

use super::error::PublishError;
use super::ticket::{BatchAck, Outcome, Ticket};
use super::{Options, record_bytes};
use crate::format::{BatchBuilder, Compression, NewRecord};
use crate::types::Offset;

/// Behind one lock, which is held for a copy of one record and never across a wait.
#[derive(Debug)]
pub(super) struct Batches {
    inner: Mutex<Inner>,
    batch_bytes: usize,
    batch_records: u32,
    compression: Compression,
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
}

/// A batch that is not built yet.
#[derive(Debug)]
pub(super) struct Open {
    pub(super) builder: BatchBuilder,
    pub(super) outcome: Arc<Outcome>,
    pub(super) opened: Instant,
    /// Permits to give back.
    pub(super) permits: usize,
    /// Whether it is to be sent without waiting for more records.
    flush: bool,
}

/// What the driver is to do after a failure was dealt with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Restart {
    pub(super) expected_offset: Option<Offset>,
}

/// A record that was taken.
pub(super) struct Pushed {
    pub(super) ticket: Ticket,
    /// Whether there is something new for the driver: a batch to wait for, or to send.
    pub(super) wakes_driver: bool,
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
            }),
            batch_bytes: options.batch_bytes,
            batch_records: options.batch_records,
            compression: options.compression,
        }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies a record into the open batch, opening one if need be.
    pub(super) fn push(
        &self,
        record: &NewRecord<'_>,
        permits: u32,
    ) -> Result<Pushed, PublishError> {
        let mut inner = self.inner();
        if let Some(failure) = &inner.failure {
            return Err(PublishError::Poisoned(Arc::clone(failure)));
        }
        let mut wakes_driver = false;
        let open = inner.open.take_if(|open| {
            open.builder.len() + record_bytes(record) > self.batch_bytes
                || open.builder.record_count() >= self.batch_records
        });
        if let Some(full) = open {
            inner.full.push_back(full);
            wakes_driver = true;
        }
        let mut open = match inner.open.take() {
            Some(open) => open,
            None => {
                wakes_driver = true;
                Open {
                    builder: BatchBuilder::new(self.compression),
                    outcome: Arc::default(),
                    opened: Instant::now(),
                    permits: 0,
                    flush: false,
                }
            }
        };
        let index = open.builder.record_count();
        if let Err(error) = open.builder.push(record) {
            // The batch is what it was; an empty one is not kept.
            inner.open = (!open.builder.is_empty()).then_some(open);
            return Err(error.into());
        }
        open.permits += usize::try_from(permits).unwrap_or(usize::MAX);
        let ticket = Ticket::new(Arc::clone(&open.outcome), index);
        inner.last = Some(Arc::clone(&open.outcome));
        if open.builder.record_count() >= self.batch_records
            || open.builder.len() >= self.batch_bytes
        {
            inner.full.push_back(open);
            wakes_driver = true;
        } else {
            inner.open = Some(open);
        }
        Ok(Pushed {
            ticket,
            wakes_driver,
        })
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

    /// Marks the open batch to be sent at once.
    pub(super) fn seal(&self) {
        if let Some(open) = &mut self.inner().open {
            open.flush = true;
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
        inner
            .open
            .take()
            .map_or(Next::Nothing, |open| Next::Batch(Box::new(open)))
    }

    /// Fails every batch that the driver has not taken yet and every record to come. Returns the
    /// permits to give back.
    pub(super) fn fail(&self, error: &Arc<PublishError>) -> usize {
        let mut inner = self.inner();
        inner.failure = Some(Arc::clone(error));
        let mut permits = 0;
        let waiting: Vec<_> = inner.full.drain(..).collect();
        let open = inner.open.take();
        drop(inner);
        for batch in waiting.into_iter().chain(open) {
            permits += batch.permits;
            let error = PublishError::Poisoned(Arc::clone(error));
            batch.outcome.resolve(Err(error));
        }
        permits
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

    pub(super) fn tell(&self, ack: BatchAck) {
        self.inner()
            .listeners
            .retain(|listener| listener.send(ack).is_ok());
    }

    pub(super) fn close(&self) {
        self.inner().is_closed = true;
    }
}
