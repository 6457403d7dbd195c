//! The consumer: records of a channel in order, fetched ahead, checked, and never passed over.
//!
//! A fetcher task asks for batches and checks each (checksums, identity, no gap); the consumer
//! takes them out of a bounded queue. What was fetched and not taken is only memory: dropping a
//! consumer, or a future of it, loses no record, because the position moves when a record is
//! handed out.

mod check;
mod error;
mod fetcher;
mod gap;

use std::collections::BTreeSet;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;

pub use error::ConsumeError;
pub use gap::{Gaps, Item, LostRecords};

use super::error::RequestError;
use super::handle::Client;
use crate::format::{Gap, Record, Records, records};
use crate::protocol::{CommitRequest, ExpectedPosition, FetchFrom, Lacking};
use crate::types::{ChannelName, ConsumerName, Incarnation, LogEpoch, Offset, Timestamp};
use fetcher::Fetcher;

/// Options of a consumer; made by [`Client::consumer`].
#[derive(Clone, Debug)]
pub struct ConsumerBuilder {
    client: Client,
    options: Options,
}

#[derive(Clone, Debug)]
struct Options {
    channel: ChannelName,
    incarnation: Option<Incarnation>,
    from: FetchFrom,
    last_epoch: LogEpoch,
    to: Option<Offset>,
    follow: bool,
    max_bytes: u32,
    min_bytes: u32,
    max_wait: Duration,
    prefetch: usize,
    retry_for: Duration,
    gaps: Gaps,
    types: Option<BTreeSet<String>>,
    lacking: Lacking,
}

impl Client {
    /// Options for a consumer of a channel; from the start to the end as it is now, unless set.
    #[must_use]
    pub fn consumer(&self, channel: ChannelName) -> ConsumerBuilder {
        ConsumerBuilder {
            client: self.clone(),
            options: Options {
                channel,
                incarnation: None,
                from: FetchFrom::Start,
                last_epoch: LogEpoch(0),
                to: None,
                follow: false,
                max_bytes: 1 << 20,
                min_bytes: 1,
                max_wait: Duration::from_secs(5),
                prefetch: 4,
                retry_for: Duration::from_secs(60),
                gaps: Gaps::Raise,
                types: None,
                lacking: Lacking::ReadHome,
            },
        }
    }
}

impl ConsumerBuilder {
    /// Begins at this record.
    #[must_use]
    pub fn from_offset(mut self, offset: Offset) -> Self {
        self.options.from = FetchFrom::Offset(offset);
        self
    }

    /// Begins at the log start; so it does unless set.
    #[must_use]
    pub fn from_start(mut self) -> Self {
        self.options.from = FetchFrom::Start;
        self
    }

    /// Begins at the end: only what is published from now on.
    #[must_use]
    pub fn from_end(mut self) -> Self {
        self.options.from = FetchFrom::End;
        self
    }

    /// Begins at the first record that was appended at this time or later.
    #[must_use]
    pub fn from_time(mut self, time: Timestamp) -> Self {
        self.options.from = FetchFrom::Time(time);
        self
    }

    /// Begins where another consumer was, noticing if the log was cut in between or the channel
    /// created again.
    #[must_use]
    pub fn from_position(mut self, position: Position) -> Self {
        if let Some(offset) = position.offset {
            self.options.from = FetchFrom::Offset(offset);
        }
        self.options.incarnation = position.incarnation;
        self.options.last_epoch = position.last_epoch;
        self
    }

    /// Ends before this record.
    #[must_use]
    pub fn to(mut self, offset: Offset) -> Self {
        self.options.to = Some(offset);
        self
    }

    /// Waits for more at the end of the log, instead of ending where the end was at the start.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.options.follow = follow;
        self
    }

    /// Bytes of batches to ask for at once; 1 MiB unless set. A larger batch comes alone.
    #[must_use]
    pub fn max_bytes(mut self, bytes: u32) -> Self {
        self.options.max_bytes = bytes.max(1);
        self
    }

    /// Bytes to wait for at the end of the log; 1 unless set: anything.
    #[must_use]
    pub fn min_bytes(mut self, bytes: u32) -> Self {
        self.options.min_bytes = bytes;
        self
    }

    /// Longest wait of one fetch at the end of the log; 5 s unless set.
    #[must_use]
    pub fn max_wait(mut self, wait: Duration) -> Self {
        self.options.max_wait = wait;
        self
    }

    /// Fetches to hold that were not consumed yet, each of up to `max_bytes`; 4 unless set, at
    /// least 1.
    #[must_use]
    pub fn prefetch(mut self, fetches: usize) -> Self {
        self.options.prefetch = fetches.clamp(1, 1024);
        self
    }

    /// How long to go on trying while the broker does not answer; 60 s unless set.
    #[must_use]
    pub fn retry_for(mut self, time: Duration) -> Self {
        self.options.retry_for = time;
        self
    }

    /// What to do where a repair found that records were lost; [`Gaps::Raise`] unless set.
    #[must_use]
    pub fn gaps(mut self, gaps: Gaps) -> Self {
        self.options.gaps = gaps;
        self
    }

    /// What becomes of a read of what the broker's copy of the channel does not have: records below its
    /// first one, or of types that it is not of. The channel's home is asked unless set, and has to be
    /// in reach then.
    #[must_use]
    pub fn lacking(mut self, lacking: Lacking) -> Self {
        self.options.lacking = lacking;
        self
    }

    /// Hands out only records of these types; of all unless set. A copy that is of some types serves
    /// who asks for no others; for everybody else the channel's home is asked, see
    /// [`ConsumerBuilder::lacking`].
    #[must_use]
    pub fn types(mut self, types: impl IntoIterator<Item = String>) -> Self {
        self.options.types = Some(types.into_iter().collect());
        self
    }

    /// Starts fetching.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn build(self) -> Consumer {
        let Self { client, options } = self;
        let position = Position {
            offset: match options.from {
                FetchFrom::Offset(offset) => Some(offset),
                FetchFrom::Start | FetchFrom::End | FetchFrom::Time(_) => None,
            },
            incarnation: options.incarnation,
            last_epoch: options.last_epoch,
        };
        let (channel, gaps) = (options.channel.clone(), options.gaps);
        let types = options.types.clone();
        let max_bytes = usize::try_from(options.max_bytes).unwrap_or(usize::MAX);
        let permits = max_bytes
            .saturating_mul(options.prefetch)
            .min(Semaphore::MAX_PERMITS);
        let room = Arc::new(Semaphore::new(permits));
        // A fetch takes at least one permit for each byte, so the queue needs no bound of its own
        // beyond one for many tiny answers.
        let (sender, queue) = mpsc::channel(options.prefetch.max(16));
        let fetcher = Fetcher::new(client.clone(), options, sender, (room, permits));
        Consumer {
            client,
            channel,
            queue,
            task: tokio::spawn(fetcher.run()),
            fetched: None,
            current: None,
            position,
            gaps,
            types,
            is_done: false,
        }
    }
}

/// Where a consumer is: all that another one needs to go on there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Position {
    /// Offset of the next record; `None` while the first answer has not come.
    pub offset: Option<Offset>,
    /// The channel's identity, once known.
    pub incarnation: Option<Incarnation>,
    /// The log epoch of the last record; 0 when there was none.
    pub last_epoch: LogEpoch,
}

/// A whole batch, checked, and which of its records are wanted.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RawBatch {
    /// The stored bytes; decode them with [`records`].
    pub bytes: Bytes,
    /// First offset that is wanted.
    pub first: Offset,
    /// Offset after the last that is wanted.
    pub end: Offset,
    /// Offset of its first record, wanted or not.
    pub base_offset: Offset,
    /// Number of its records, wanted or not.
    pub record_count: u32,
    /// When it was appended.
    pub append_time: Timestamp,
    /// The log epoch it was appended in.
    pub log_epoch: LogEpoch,
    /// The channel's identity.
    pub incarnation: Incarnation,
    /// The batch stands for records that were lost, and this is why. Only with [`Gaps::Yield`].
    pub gap: Option<Box<Gap>>,
}

/// The batches of one answer.
#[derive(Debug)]
struct Fetched {
    batches: std::vec::IntoIter<RawBatch>,
    /// Where the consumer stands when all of them are consumed, or when there were none.
    then: Position,
    /// Gives room for the next fetch when the last batch was taken.
    _room: Option<OwnedSemaphorePermit>,
}

/// The batch that records are handed out from.
#[derive(Debug)]
struct Current {
    batch: RawBatch,
    records: Records,
}

/// Reads the records of a channel in order, as a [`Stream`] or batch by batch.
///
/// - **Cancel-safe**: dropping a future of it at any point loses and repeats nothing.
/// - It goes on by itself after a lost connection or a restart of the broker, at the next record.
/// - Each batch is checked: both checksums, the channel's identity, and that it follows the one
///   before. A gap is an error, never passed over.
/// - Where a repair found that records were lost, it tells which and why, as [`Gaps`] says.
/// - After an error it ends; a new one may begin at [`position`](Self::position).
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::types::ChannelName;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("npayload://127.0.0.1:7400").await?;
/// let mut consumer = client.consumer(ChannelName::parse("chat.log")?).build();
/// while let Some(record) = consumer.next().await {
///     let record = record?;
///     println!("{}: {:?}", record.offset, record.payload);
/// }
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Consumer {
    client: Client,
    channel: ChannelName,
    queue: mpsc::Receiver<Result<Fetched, ConsumeError>>,
    task: JoinHandle<()>,
    fetched: Option<Fetched>,
    current: Option<Current>,
    position: Position,
    gaps: Gaps,
    types: Option<BTreeSet<String>>,
    is_done: bool,
}

impl Consumer {
    /// The next record; `None` at the end. Cancel-safe.
    ///
    /// # Errors
    /// [`ConsumeError`]. After [`ConsumeError::Lost`] a consumer with [`Gaps::Yield`] goes on behind
    /// the lost records; after any other it has ended.
    pub async fn next(&mut self) -> Option<Result<Record, ConsumeError>> {
        std::future::poll_fn(|context| self.poll_record(context)).await
    }

    /// The next record or, with [`Gaps::Yield`], what was lost in its place; `None` at the end.
    /// Cancel-safe.
    ///
    /// # Errors
    /// [`ConsumeError`], and the consumer has ended.
    pub async fn next_item(&mut self) -> Option<Result<Item, ConsumeError>> {
        std::future::poll_fn(|context| self.poll_item(context)).await
    }

    /// The next batch, or what is left of one whose first records were taken with
    /// [`next`](Self::next). Faster than records when the bytes are only passed on or counted.
    /// Cancel-safe.
    ///
    /// # Errors
    /// As an item of the stream.
    pub async fn next_batch(&mut self) -> Option<Result<RawBatch, ConsumeError>> {
        std::future::poll_fn(|context| {
            let batch = match self.current.take() {
                Some(Current { mut batch, .. }) if self.position.offset < Some(batch.end) => {
                    batch.first = batch.first.max(self.position.offset.unwrap_or_default());
                    batch
                }
                _ => match ready!(self.poll_batch(context)) {
                    Some(Ok(batch)) => batch,
                    other => return Poll::Ready(other),
                },
            };
            if let Some(lost) = LostRecords::of(&batch)
                && self.gaps == Gaps::Raise
            {
                return self.end_with(ConsumeError::Lost(Box::new(lost)));
            }
            self.position = Position {
                offset: Some(batch.end),
                incarnation: Some(batch.incarnation),
                last_epoch: batch.log_epoch,
            };
            Poll::Ready(Some(Ok(batch)))
        })
        .await
    }

    /// Where it is: the next record that it will hand out.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// Stores its position under a consumer's name, with anything to be found again.
    ///
    /// # Errors
    /// As [`Client::commit`]. Before the first answer has come there is nothing to store, which is
    /// no error: `None`.
    pub async fn commit(
        &self,
        consumer: &ConsumerName,
        metadata: &str,
    ) -> Result<Option<Offset>, RequestError> {
        let Some(offset) = self.position.offset else {
            return Ok(None);
        };
        let request = CommitRequest {
            channel: self.channel.clone(),
            incarnation: self.position.incarnation,
            consumer: consumer.clone(),
            offset,
            log_epoch: self.position.last_epoch,
            expected_previous: ExpectedPosition::Any,
            metadata: metadata.to_owned(),
        };
        self.client.commit(request).await.map(Some)
    }

    fn poll_record(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Record, ConsumeError>>> {
        Poll::Ready(ready!(self.poll_item(context)).map(|item| match item? {
            Item::Record(record) => Ok(record),
            Item::Lost(lost) => Err(ConsumeError::Lost(Box::new(lost))),
        }))
    }

    pub(in crate::client) fn poll_item(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Item, ConsumeError>>> {
        loop {
            while let Some(current) = &mut self.current {
                match current.records.next() {
                    Some(Ok(record)) if record.offset < current.batch.first => {}
                    Some(Ok(record)) if record.offset < current.batch.end => {
                        self.position.offset = Some(Offset(record.offset.0 + 1));
                        self.position.incarnation = Some(current.batch.incarnation);
                        self.position.last_epoch = current.batch.log_epoch;
                        let types = self.types.as_ref();
                        if types.is_some_and(|it| !it.contains(record.record_type.as_str())) {
                            continue;
                        }
                        return Poll::Ready(Some(Ok(Item::Record(record))));
                    }
                    // The last record that is wanted was handed out: in a sparse batch the
                    // position is still to move over the offsets that are missing at its end.
                    Some(Ok(_)) | None => {
                        self.position.offset = Some(current.batch.end);
                        self.position.incarnation = Some(current.batch.incarnation);
                        self.position.last_epoch = current.batch.log_epoch;
                        self.current = None;
                    }
                    Some(Err(source)) => {
                        let offset = current.batch.base_offset;
                        return self.end_with(ConsumeError::Corrupt { offset, source });
                    }
                }
            }
            match ready!(self.poll_batch(context)) {
                Some(Ok(batch)) if batch.gap.is_some() => {
                    let lost = LostRecords::of(&batch).expect("seen above");
                    if self.gaps == Gaps::Raise {
                        return self.end_with(ConsumeError::Lost(Box::new(lost)));
                    }
                    self.position = Position {
                        offset: Some(batch.end),
                        incarnation: Some(batch.incarnation),
                        last_epoch: batch.log_epoch,
                    };
                    return Poll::Ready(Some(Ok(Item::Lost(lost))));
                }
                Some(Ok(batch)) => match records(&batch.bytes) {
                    Ok(records) => self.current = Some(Current { batch, records }),
                    Err(source) => {
                        let offset = batch.base_offset;
                        return self.end_with(ConsumeError::Corrupt { offset, source });
                    }
                },
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                None => return Poll::Ready(None),
            }
        }
    }

    fn poll_batch(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<RawBatch, ConsumeError>>> {
        loop {
            if let Some(fetched) = &mut self.fetched {
                if let Some(batch) = fetched.batches.next() {
                    if self
                        .types
                        .as_ref()
                        .is_some_and(|types| batch.lacks_only_others(types))
                    {
                        self.position = Position {
                            offset: Some(batch.end),
                            incarnation: Some(batch.incarnation),
                            last_epoch: batch.log_epoch,
                        };
                        continue;
                    }
                    return Poll::Ready(Some(Ok(batch)));
                }
                self.position = fetched.then;
                self.fetched = None;
            }
            if self.is_done {
                return Poll::Ready(None);
            }
            match ready!(self.queue.poll_recv(context)) {
                Some(Ok(fetched)) => self.fetched = Some(fetched),
                Some(Err(error)) => {
                    self.is_done = true;
                    return Poll::Ready(Some(Err(error)));
                }
                None => {
                    self.is_done = true;
                    return Poll::Ready(None);
                }
            }
        }
    }

    fn end_with<T>(&mut self, error: ConsumeError) -> Poll<Option<Result<T, ConsumeError>>> {
        self.is_done = true;
        self.current = None;
        self.fetched = None;
        self.task.abort();
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Consumer {
    type Item = Result<Record, ConsumeError>;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.get_mut().poll_record(context)
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.task.abort();
    }
}
