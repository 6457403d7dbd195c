//! The task that sends batches and takes their acknowledgements, in order.
//!
//! ```text
//! full or lingered --built--> waiting --sent--> in flight --acknowledged--> done
//!                                 ^                |
//!                                 +--- lost, or a retryable refusal: all from the front on
//! ```

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep_until};

use super::Shared;
use super::batches::{Next, Open, Restart};
use super::error::PublishError;
use super::ticket::{BatchAck, Outcome};
use crate::client::backoff::Backoff;
use crate::client::connection::{Answer, Call, CallError};
use crate::client::error::RequestError;
use crate::client::handle::{Client, Open as OpenConnection};
use crate::format::{BatchBuilder, NewRecord, records};
use crate::protocol::{
    ErrorCode, PublishAsks, PublishResponse, PublishTarget, Response, Whereabouts, WireError,
};
use crate::types::{Incarnation, Offset};

pub(super) struct Driver {
    client: Client,
    shared: Arc<Shared>,
    /// Built batches that are not acknowledged, oldest first.
    unacked: VecDeque<Built>,
    connection: Option<Arc<OpenConnection>>,
    backoff: Backoff,
    /// Nothing is sent before.
    not_before: Option<Instant>,
    /// Why the front was not acknowledged the last time.
    last_error: Option<RequestError>,
    epoch: u32,
    next_sequence: u64,
    expected_offset: Option<Offset>,
    /// Known from the first acknowledgement on: a channel that was created again is noticed.
    incarnation: Option<Incarnation>,
    /// The offset after the last acknowledged record: where a search for a lost one begins.
    acked_to: Option<Offset>,
}

/// A batch in its final bytes: a retry sends the same.
struct Built {
    bytes: Bytes,
    records: u32,
    sequence: u64,
    expected_offset: Option<Offset>,
    outcome: Arc<Outcome>,
    permits: usize,
    deadline: Instant,
    tries: u32,
    call: Option<Call>,
}

/// What woke the driver.
enum Event {
    Answered(Box<Answer>),
    Expired,
    Wake,
}

impl Driver {
    pub(super) fn new(client: Client, shared: Arc<Shared>) -> Self {
        Self {
            backoff: client.backoff(),
            client,
            unacked: VecDeque::new(),
            connection: None,
            not_before: None,
            last_error: None,
            epoch: 1,
            next_sequence: 0,
            expected_offset: shared.options.expected_offset,
            incarnation: None,
            acked_to: None,
            shared,
        }
    }

    pub(super) async fn run(mut self) {
        loop {
            let Some(linger_ends) = self.fill() else {
                return;
            };
            self.send_all().await;
            match self.wait(linger_ends).await {
                Event::Wake => {}
                Event::Expired => self.expire(),
                Event::Answered(answer) => self.answered(*answer).await,
            }
        }
    }

    /// Takes batches until as many are unacknowledged as may be in flight. Returns when the open
    /// batch is due, if there is one; `None` when the producer is gone and all is done.
    fn fill(&mut self) -> Option<Option<Instant>> {
        let linger = self.shared.options.linger;
        while self.unacked.len() < self.shared.options.max_in_flight {
            match self.shared.batches.next(Instant::now(), linger) {
                Next::Batch(open) => self.build(*open),
                Next::Restart(Restart { expected_offset }) => {
                    self.begin_epoch();
                    self.expected_offset = expected_offset;
                }
                Next::Wait(due) => return Some(Some(due)),
                Next::Closed if self.unacked.is_empty() => return None,
                Next::Closed | Next::Nothing => return Some(None),
            }
        }
        Some(None)
    }

    /// Compresses and checksums a batch, outside of the lock that `publish` takes.
    fn build(&mut self, open: Open) {
        let permits = open.permits();
        let Open {
            mut builder,
            outcome,
            opened,
            ..
        } = open;
        let options = &self.shared.options;
        let records = builder.record_count();
        let sequence = self.next_sequence;
        builder
            .producer(options.producer, self.epoch, sequence)
            .fence(options.fence);
        let bytes = match builder.build() {
            Ok(bytes) => bytes.freeze(),
            Err(error) => {
                self.shared.batches.give_back(permits);
                outcome.resolve(Err(error.into()));
                return;
            }
        };
        self.next_sequence += u64::from(records);
        let expected_offset = self.expected_offset;
        if let Some(offset) = &mut self.expected_offset {
            offset.0 += u64::from(records);
        }
        self.unacked.push_back(Built {
            bytes,
            records,
            sequence,
            expected_offset,
            outcome,
            permits,
            deadline: opened + options.delivery_timeout,
            tries: 0,
            call: None,
        });
    }

    /// Sends what was not sent on this connection, connecting first if need be.
    async fn send_all(&mut self) {
        let lost = self
            .connection
            .as_ref()
            .is_none_or(|open| !open.connection.is_open());
        let Some(front) = self.unacked.front() else {
            return;
        };
        if lost {
            // An answer that came before the connection was lost still counts, so the front is
            // looked at first; see `wait`.
            if front.call.is_some() {
                return;
            }
            self.connection = None;
        }
        if self.not_before.is_some_and(|then| then > Instant::now()) {
            return;
        }
        self.not_before = None;
        if self.connection.is_none() {
            match self.client.open(front.deadline).await {
                Ok(open) => self.connection = Some(open),
                Err(error) => {
                    if error.is_retryable() {
                        self.last_error = Some(RequestError::Connect(error));
                        self.expire();
                    } else {
                        self.fail(PublishError::Connect(error));
                    }
                    return;
                }
            }
        }
        let Some(open) = &self.connection else {
            return;
        };
        let options = &self.shared.options;
        if options.outbox && !open.tells_where {
            let text = "the broker keeps no batches in an outbox: it is of an older version";
            let error = WireError::new(ErrorCode::UnsupportedVersion, text);
            return self.fail(PublishError::Server(Box::new(error)));
        }
        let wait = options.regions_wait.unwrap_or(options.delivery_timeout / 2);
        let wait_ms = u32::try_from(wait.as_millis().max(1)).unwrap_or(u32::MAX);
        let asks = open.tells_where.then_some(PublishAsks {
            outbox: options.outbox,
            wait_ms,
        });
        for batch in &mut self.unacked {
            if batch.call.is_some() {
                continue;
            }
            let target = PublishTarget {
                channel: self.shared.options.channel.clone(),
                incarnation: self.incarnation,
                expected_offset: batch.expected_offset,
            };
            batch.tries += 1;
            batch.call = Some(
                open.connection
                    .send_publish(&target, asks, batch.bytes.clone()),
            );
        }
    }

    /// Waits for the front's answer or deadline, or for something to send.
    async fn wait(&mut self, linger_ends: Option<Instant>) -> Event {
        let not_before = self.not_before;
        let wake = self.shared.wake.notified();
        let Some(front) = self.unacked.front_mut() else {
            if linger_ends.is_none() {
                self.shared.batches.rest();
            }
            tokio::select! {
                () = wake => {}
                () = until(linger_ends) => {}
            }
            return Event::Wake;
        };
        let deadline = front.deadline;
        let answer = async {
            match &mut front.call {
                Some(call) => call.answer().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            answer = answer => Event::Answered(Box::new(answer)),
            () = sleep_until(deadline) => Event::Expired,
            () = until(not_before) => Event::Wake,
            () = until(linger_ends) => Event::Wake,
            () = wake => Event::Wake,
        }
    }

    async fn answered(&mut self, answer: Answer) {
        match answer {
            Ok(Response::Publish(response)) => {
                self.acknowledged(&response, Whereabouts::default());
            }
            Ok(Response::PublishAt(response, at)) => self.acknowledged(&response, at),
            Ok(Response::Error(error)) => self.refused(error).await,
            Ok(_) => {
                let error = RequestError::Unexpected { kind: "publish" };
                self.fail(PublishError::Answer(Box::new(error)));
            }
            Err(CallError::Answer(error)) => {
                let error = RequestError::Answer(error);
                self.fail(PublishError::Answer(Box::new(error)));
            }
            Err(CallError::Lost(error)) => {
                self.connection = None;
                self.last_error = Some(RequestError::Interrupted(error));
                self.again(None);
            }
        }
    }

    fn acknowledged(&mut self, response: &PublishResponse, at: Whereabouts) {
        let Some(front) = self.unacked.pop_front() else {
            return;
        };
        let (first, last) = (response.first_offset, response.last_offset);
        if last.0.checked_sub(first.0) != Some(u64::from(front.records) - 1) {
            let records = front.records;
            self.unacked.push_front(front);
            self.fail(PublishError::Count {
                first,
                last,
                records,
            });
            return;
        }
        self.backoff.reset();
        self.last_error = None;
        // What waits in an outbox has no place in the channel yet.
        if !at.outbox {
            self.incarnation = Some(response.incarnation);
            self.acked_to = Some(Offset(last.0 + 1));
        }
        self.shared.batches.give_back(front.permits);
        let ack = BatchAck {
            first_offset: first,
            last_offset: last,
            level: response.level,
            append_time: response.append_time,
            log_epoch: response.log_epoch,
            incarnation: response.incarnation,
            duplicate: response.duplicate,
            region: at.region,
            held: at.held,
            outbox: at.outbox,
        };
        front.outcome.resolve(Ok(ack.clone()));
        self.shared.batches.tell(&ack);
        self.shared.batches.reuse(front.bytes);
    }

    async fn refused(&mut self, error: WireError) {
        let Some(front) = self.unacked.front() else {
            return;
        };
        let first_try = front.tries == 1;
        if error.retryable {
            let after = error.retry_after_ms;
            self.last_error = Some(RequestError::Server(Box::new(error)));
            self.again(after);
        } else if error.is(ErrorCode::SequenceTooOld) && !first_try {
            self.locate_front().await;
        } else if error.is(ErrorCode::UnknownProducer) && first_try && front.sequence > 0 {
            // The broker forgot a producer that was idle for long. Everything before is
            // acknowledged and the front was sent once, so nothing can be appended twice.
            self.begin_epoch();
            self.renumber();
        } else {
            self.fail(PublishError::Server(Box::new(error)));
        }
    }

    /// An earlier try was appended, but the broker no longer knows where: look for it.
    async fn locate_front(&mut self) {
        let Some(front) = self.unacked.front() else {
            return;
        };
        let from = self.acked_to;
        let wanted = super::locate::Wanted {
            channel: &self.shared.options.channel,
            incarnation: self.incarnation,
            producer: self.shared.options.producer,
            epoch: self.epoch,
            sequence: front.sequence,
        };
        match super::locate::locate(&self.client, &wanted, from).await {
            Ok(response) => self.acknowledged(&response, Whereabouts::default()),
            Err(error) => self.fail(error),
        }
    }

    /// Sends everything from the front on again, after a wait.
    fn again(&mut self, retry_after_ms: Option<u64>) {
        for batch in &mut self.unacked {
            batch.call = None;
        }
        self.not_before = Some(Instant::now() + self.backoff.next(retry_after_ms));
    }

    /// Begins a producer epoch: sequences count from 0 again.
    fn begin_epoch(&mut self) {
        self.epoch = self.epoch.saturating_add(1);
        self.next_sequence = 0;
    }

    /// Gives the unacknowledged batches the sequences of a new epoch.
    fn renumber(&mut self) {
        let old: Vec<_> = self.unacked.drain(..).collect();
        for batch in old {
            match rebuild(&batch.bytes, self.shared.options.compression) {
                Some(builder) => {
                    let sequence = self.next_sequence;
                    let mut builder = builder;
                    builder
                        .producer(self.shared.options.producer, self.epoch, sequence)
                        .fence(self.shared.options.fence);
                    if let Ok(bytes) = builder.build() {
                        self.next_sequence += u64::from(batch.records);
                        self.unacked.push_back(Built {
                            bytes: bytes.freeze(),
                            sequence,
                            call: None,
                            ..batch
                        });
                        continue;
                    }
                    self.unacked.push_back(batch);
                }
                None => self.unacked.push_back(batch),
            }
        }
    }

    /// Fails the front when its time is up.
    fn expire(&mut self) {
        if self
            .unacked
            .front()
            .is_some_and(|front| front.deadline <= Instant::now())
        {
            let error = PublishError::Timeout {
                after: self.shared.options.delivery_timeout,
                last: self.last_error.take().map(Box::new),
            };
            self.fail(error);
        }
    }

    /// Fails the front with the reason, everything behind it, and every record to come.
    fn fail(&mut self, error: PublishError) {
        let cause = Arc::new(error.clone());
        let mut permits = 0;
        for (at, batch) in self.unacked.drain(..).enumerate() {
            permits += batch.permits;
            // Of those that were sent it is as unknown as of the front whether they were appended.
            let outcome = match (&error, at) {
                (_, 0) => error.clone(),
                (PublishError::Timeout { after, .. }, _) if batch.tries > 0 => {
                    PublishError::Timeout {
                        after: *after,
                        last: None,
                    }
                }
                _ => PublishError::Poisoned(Arc::clone(&cause)),
            };
            batch.outcome.resolve(Err(outcome));
        }
        self.shared.batches.fail(&cause);
        self.shared.batches.give_back(permits);
        self.not_before = None;
        self.last_error = None;
    }
}

/// The records of a batch in a builder again.
fn rebuild(batch: &Bytes, compression: crate::format::Compression) -> Option<BatchBuilder> {
    let mut builder = BatchBuilder::new(compression);
    for record in records(batch).ok()? {
        let record = record.ok()?;
        let headers: Vec<(&str, &[u8])> = record
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), &value[..]))
            .collect();
        builder
            .push(&NewRecord {
                record_type: record.record_type.as_str(),
                key: record.key.as_deref(),
                headers: &headers,
                payload: record.payload.as_deref(),
                event_time: record.event_time,
            })
            .ok()?;
    }
    Some(builder)
}

/// Until then; for ever without a time.
async fn until(then: Option<Instant>) {
    match then {
        Some(then) => sleep_until(then).await,
        None => std::future::pending().await,
    }
}
