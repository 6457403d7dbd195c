//! The producer: records in, batches out, each record's ticket resolved when its batch is
//! acknowledged.
//!
//! `publish` copies the record into the open batch; a driver task seals it when it is full or its
//! linger has passed, keeps a bounded number of batches in flight, and after a lost connection sends
//! what is not acknowledged again, in order, with the same sequences, so the log holds each record
//! once.

mod batches;
mod driver;
mod error;
mod locate;
mod ticket;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};
use tokio::time::timeout;

pub use error::PublishError;
pub use ticket::{Ack, BatchAck, Ticket};

use super::handle::Client;
use crate::format::{Compression, NewRecord};
use crate::types::{ChannelName, Offset, ProducerId};
use batches::{Batches, Pushed};
use driver::Driver;
use ticket::Outcome;

/// What `publish` does when the unacknowledged bytes are at their limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnFull {
    /// It waits until there is room.
    #[default]
    Wait,
    /// It waits this long, then fails with [`PublishError::Full`].
    Timeout(Duration),
    /// It fails with [`PublishError::Full`] at once.
    Fail,
}

/// Options of a producer; made by [`Client::producer`].
#[derive(Clone, Debug)]
pub struct ProducerBuilder {
    client: Client,
    options: Options,
}

#[derive(Clone, Debug)]
struct Options {
    channel: ChannelName,
    batch_bytes: usize,
    batch_records: u32,
    linger: Duration,
    compression: Compression,
    max_unacked_bytes: usize,
    on_full: OnFull,
    fence: u64,
    expected_offset: Option<Offset>,
    delivery_timeout: Duration,
    max_in_flight: usize,
    producer: ProducerId,
    outbox: bool,
    regions_wait: Option<Duration>,
}

impl Client {
    /// Options for a producer of a channel.
    #[must_use]
    pub fn producer(&self, channel: ChannelName) -> ProducerBuilder {
        ProducerBuilder {
            client: self.clone(),
            options: Options {
                channel,
                batch_bytes: 256 << 10,
                batch_records: 1000,
                linger: Duration::from_millis(5),
                compression: Compression::None,
                max_unacked_bytes: 8 << 20,
                on_full: OnFull::Wait,
                fence: 0,
                expected_offset: None,
                delivery_timeout: Duration::from_secs(30),
                max_in_flight: 5,
                producer: ProducerId(uuid::Uuid::new_v4().as_u128()),
                outbox: false,
                regions_wait: None,
            },
        }
    }
}

impl ProducerBuilder {
    /// Bytes at which a batch is sent without waiting longer; 256 KiB unless set. A larger record
    /// travels alone.
    #[must_use]
    pub fn batch_bytes(mut self, bytes: usize) -> Self {
        self.options.batch_bytes = bytes;
        self
    }

    /// Records at which a batch is sent without waiting longer; 1,000 unless set, at least 1.
    #[must_use]
    pub fn batch_records(mut self, records: u32) -> Self {
        self.options.batch_records = records.max(1);
        self
    }

    /// How long a record waits for others to share its batch; 5 ms unless set.
    #[must_use]
    pub fn linger(mut self, linger: Duration) -> Self {
        self.options.linger = linger;
        self
    }

    /// How batches are compressed; not at all unless set.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.options.compression = compression;
        self
    }

    /// Bytes of records that may be unacknowledged at once; 8 MiB unless set. A larger record may
    /// travel when nothing else does.
    #[must_use]
    pub fn max_unacked_bytes(mut self, bytes: usize) -> Self {
        self.options.max_unacked_bytes = bytes.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// What `publish` does when they are reached; waits unless set.
    #[must_use]
    pub fn on_full(mut self, policy: OnFull) -> Self {
        self.options.on_full = policy;
        self
    }

    /// Fencing token to send with every batch: once the channel has seen a higher one, this producer
    /// is refused. None unless set; 0 is none.
    #[must_use]
    pub fn fence(mut self, token: u64) -> Self {
        self.options.fence = token;
        self
    }

    /// The offset that the first record must get, and so on for those that follow. Any unless set.
    #[must_use]
    pub fn expected_offset(mut self, offset: Offset) -> Self {
        self.options.expected_offset = Some(offset);
        self
    }

    /// How long a batch is tried before its records fail with [`PublishError::Timeout`]; 30 s
    /// unless set.
    #[must_use]
    pub fn delivery_timeout(mut self, timeout: Duration) -> Self {
        self.options.delivery_timeout = timeout;
        self
    }

    /// Batches that may be sent and not acknowledged at once; 5 unless set, at least 1.
    #[must_use]
    pub fn max_in_flight(mut self, batches: usize) -> Self {
        self.options.max_in_flight = batches.max(1);
        self
    }

    /// The identity that the broker recognises repeated batches by; random unless set.
    #[must_use]
    pub fn producer_id(mut self, id: ProducerId) -> Self {
        self.options.producer = id;
        self
    }

    /// Whether batches may wait in the outbox of the region that the broker is, while the home of the
    /// channel can't be reached: they are kept there, synced, and carried to the home in order, each
    /// once. Not unless set. Excludes a fence and expected offsets.
    #[must_use]
    pub fn outbox(mut self, allow: bool) -> Self {
        self.options.outbox = allow;
        self
    }

    /// Longest wait for the regions that the channel wants to hold a batch, before the broker answers
    /// that there are too few; half of the delivery timeout unless set, so that a timeout says why.
    /// Such a batch is sent again until then.
    #[must_use]
    pub fn regions_wait(mut self, wait: Duration) -> Self {
        self.options.regions_wait = Some(wait);
        self
    }

    /// Starts the producer. Nothing is sent before the first record.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn build(self) -> Producer {
        let Self { client, options } = self;
        let shared = Arc::new(Shared {
            batches: Batches::new(&options),
            wake: Notify::new(),
            options,
        });
        tokio::spawn(Driver::new(client, Arc::clone(&shared)).run());
        Producer { shared }
    }
}

/// What a producer and its driver share.
#[derive(Debug)]
struct Shared {
    options: Options,
    batches: Batches,
    /// Wakes the driver.
    wake: Notify,
}

/// Publishes records to one channel, in order.
///
/// Records get their offsets in the order in which `publish` was called, whatever the network does.
/// When a batch fails for good, the records behind it fail too, and so does every `publish`, until
/// [`resume`](Self::resume) says that this has been dealt with: nothing is left out in silence.
///
/// Dropping a producer does not drop its records: they are sent in the background, as long as the
/// runtime lives. [`flush`](Self::flush) waits for them.
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::format::NewRecord;
/// use npayload::types::ChannelName;
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("npayload://127.0.0.1:7400").await?;
/// let producer = client.producer(ChannelName::parse("chat.log")?).build();
/// let record = NewRecord {
///     record_type: "chat.message",
///     payload: Some(b"hello"),
///     ..NewRecord::default()
/// };
/// let ack = producer.publish(&record).await?.await?;
/// println!("offset {}, {}", ack.offset, ack.level);
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Producer {
    shared: Arc<Shared>,
}

impl Producer {
    /// Copies a record into the open batch. The ticket resolves when the broker has acknowledged
    /// it, or has not; it may be dropped, the record is sent all the same.
    ///
    /// Cancel-safe: when the future is dropped before it is ready, the record is not published.
    ///
    /// # Errors
    /// [`PublishError::Invalid`] when the record breaks a limit of the format,
    /// [`PublishError::Full`] by the policy, [`PublishError::Poisoned`] after a failure.
    #[inline]
    pub async fn publish(&self, record: &NewRecord<'_>) -> Result<Ticket, PublishError> {
        let bytes = record.encoded_len()?;
        match self.push(record, bytes, None)? {
            Some(ticket) => Ok(ticket),
            None => self.publish_when_room(record, bytes).await,
        }
    }

    /// The ticket of a record that was taken; none where there is no room for it.
    #[inline]
    fn push(
        &self,
        record: &NewRecord<'_>,
        bytes: usize,
        given: Option<SemaphorePermit<'_>>,
    ) -> Result<Option<Ticket>, PublishError> {
        match self.shared.batches.push(record, bytes, given)? {
            Pushed::Taken {
                ticket,
                wakes_driver,
            } => {
                if wakes_driver {
                    self.shared.wake.notify_one();
                }
                Ok(Some(ticket))
            }
            Pushed::Full => Ok(None),
        }
    }

    /// Does as the policy says while too many bytes are not acknowledged.
    async fn publish_when_room(
        &self,
        record: &NewRecord<'_>,
        bytes: usize,
    ) -> Result<Ticket, PublishError> {
        let Shared {
            options, batches, ..
        } = &*self.shared;
        // What waits for company is sent: nobody can join it any more.
        batches.seal();
        self.shared.wake.notify_one();
        let room = batches.room_for(bytes);
        let given = match options.on_full {
            OnFull::Fail => None,
            OnFull::Wait => room.await,
            OnFull::Timeout(limit) => timeout(limit, room).await.ok().flatten(),
        };
        let taken = match given {
            Some(given) => self.push(record, bytes, Some(given))?,
            None => None,
        };
        taken.ok_or(PublishError::Full {
            limit: options.max_unacked_bytes,
        })
    }

    /// Sends the open batch now and waits until everything published so far is acknowledged.
    ///
    /// # Errors
    /// Why a batch failed, if one has failed since the start or the last
    /// [`resume`](Self::resume).
    pub async fn flush(&self) -> Result<(), PublishError> {
        let last: Option<Arc<Outcome>> = self.shared.batches.seal_and_last()?;
        self.shared.wake.notify_one();
        match last {
            Some(outcome) => outcome.done().await,
            None => Ok(()),
        }
    }

    /// From now on every acknowledgement of a batch, in order of offsets. The receiver holds what
    /// is not taken out of it.
    #[must_use]
    pub fn acks(&self) -> mpsc::UnboundedReceiver<BatchAck> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.shared.batches.listen(sender);
        receiver
    }

    /// Why the producer takes no more records, if it does not.
    #[must_use]
    pub fn failure(&self) -> Option<PublishError> {
        self.shared.batches.failure()
    }

    /// Takes records again after a failure, the first of them at `expected_offset` if given. Those
    /// that failed are gone: publish them again if they are still wanted. One that failed with
    /// [`PublishError::Timeout`] may have been appended.
    pub fn resume(&self, expected_offset: Option<Offset>) {
        self.shared.batches.resume(expected_offset);
    }

    /// Bytes of records that are not acknowledged yet.
    #[must_use]
    pub fn unacked_bytes(&self) -> usize {
        self.shared.batches.unacked_bytes()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.shared.batches.close();
        self.shared.wake.notify_one();
    }
}
