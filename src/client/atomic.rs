//! Publishing to several channels, together with consumer positions, all or nothing.

use bytes::BytesMut;

use super::error::RequestError;
use super::handle::{Client, Retry};
use crate::format::{BatchBuilder, BuildError, Compression, NewRecord};
use crate::protocol::frame::MAX_FRAME_BYTES;
use crate::protocol::{
    AtomicCommit, AtomicPart, ErrorCode, ExpectedPosition, PublishAsks, PublishAtomicRequest,
    PublishAtomicResponse, PublishRequest, PublishResponse, PublishTarget, Request, Response,
    Whereabouts, WireError,
};
use crate::types::{
    ChannelName, ConsumerName, MAX_LOG_NAME_BYTES, MAX_NAME_BYTES, Offset, ProducerId, RegionName,
};

/// Collects records and commits; made by [`Client::atomic`].
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::format::NewRecord;
/// use npayload::types::{ChannelName, ConsumerName, Offset};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let client = Client::connect("npayload://127.0.0.1:7400").await?;
/// let (raw, clean) = (ChannelName::parse("raw")?, ChannelName::parse("clean")?);
/// let mut atomic = client.atomic();
/// atomic.record(&clean, &NewRecord { payload: Some(b"made of 41"), ..NewRecord::default() })?;
/// atomic.commit(&raw, &ConsumerName::parse("cleaner")?, Offset(42));
/// let done = atomic.send().await?;
/// println!("appended at {}", done.published[0].first_offset);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct AtomicBuilder {
    client: Client,
    compression: Compression,
    parts: Vec<Part>,
}

#[derive(Clone, Debug)]
enum Part {
    Publish {
        target: PublishTarget,
        fence: u64,
        builder: Box<BatchBuilder>,
    },
    Commit(AtomicCommit),
}

/// What an atomic publish was given.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct AtomicAck {
    /// One for each channel with records, in order.
    pub published: Vec<PublishResponse>,
    /// The position of each commit, in order.
    pub committed: Vec<Offset>,
    /// The region that has carried it out; `None` where the broker is no region, or older.
    pub region: Option<RegionName>,
    /// How many regions hold it synced, that one included; 0 where it is only written, or the broker
    /// is older.
    pub held: u32,
}

/// Why an atomic publish was not carried out.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AtomicError {
    /// A record breaks a limit of the format, or a channel's records do not fit into one batch.
    #[error(transparent)]
    Invalid(#[from] BuildError),
    /// The request failed.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl Client {
    /// Begins an atomic publish. Nothing is sent before [`AtomicBuilder::send`].
    #[must_use]
    pub fn atomic(&self) -> AtomicBuilder {
        AtomicBuilder {
            client: self.clone(),
            compression: Compression::None,
            parts: Vec::new(),
        }
    }

    /// Sends an atomic publish of batches that are built already. It is tried again only as far as
    /// it cannot be carried out twice: always, when every batch names a producer.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, those of a publish and of a commit, with the number of the
    /// part as detail `part`.
    pub async fn publish_atomic(
        &self,
        parts: Vec<AtomicPart>,
        is_idempotent: bool,
    ) -> Result<PublishAtomicResponse, RequestError> {
        let (answer, _) = self.publish_atomic_as(parts, None, is_idempotent).await?;
        Ok(answer)
    }

    /// The same, which tells where the batches are where the broker can tell.
    async fn publish_atomic_as(
        &self,
        parts: Vec<AtomicPart>,
        asks: Option<PublishAsks>,
        is_idempotent: bool,
    ) -> Result<(PublishAtomicResponse, Whereabouts), RequestError> {
        let retry = if is_idempotent {
            Retry::Safe
        } else {
            Retry::Unsafe
        };
        let bytes: usize = parts.iter().map(part_bytes).sum();
        if bytes > usize::try_from(MAX_FRAME_BYTES).unwrap_or(usize::MAX) - 64 {
            // The broker would close the connection; this is what it says of one a little smaller.
            let text = format!("{bytes} bytes do not fit into a frame of {MAX_FRAME_BYTES}");
            let error = WireError::new(ErrorCode::AtomicTooLarge, text)
                .with("found", bytes)
                .with("limit", MAX_FRAME_BYTES);
            return Err(RequestError::Server(Box::new(error)));
        }
        let request = Request::PublishAtomic(PublishAtomicRequest { parts, asks });
        match self.call(&request, retry).await? {
            Response::PublishAtomic(answer) => Ok((answer, Whereabouts::default())),
            Response::PublishAtomicAt(answer, at) => Ok((answer, at)),
            _ => Err(RequestError::Unexpected {
                kind: request.kind().name(),
            }),
        }
    }
}

/// No less than the part takes in a frame.
fn part_bytes(part: &AtomicPart) -> usize {
    let names = 2 + MAX_LOG_NAME_BYTES + 2 + MAX_NAME_BYTES + 64;
    names
        + match part {
            AtomicPart::Publish(publish) => publish.batch.len(),
            AtomicPart::Commit(commit) => commit.metadata.len(),
        }
}

impl AtomicBuilder {
    /// How the batches are compressed; not at all unless set. Set it before the first record.
    pub fn compression(&mut self, compression: Compression) -> &mut Self {
        self.compression = compression;
        self
    }

    /// Adds a record; the records of one channel become one batch, in order.
    ///
    /// # Errors
    /// [`BuildError`] when the record breaks a limit of the format or does not fit.
    pub fn record(
        &mut self,
        channel: &ChannelName,
        record: &NewRecord<'_>,
    ) -> Result<&mut Self, BuildError> {
        let (_, _, builder) = self.part_of(channel);
        builder.push(record)?;
        Ok(self)
    }

    /// The offset that the channel's first record must get.
    pub fn expected_offset(&mut self, channel: &ChannelName, offset: Offset) -> &mut Self {
        let (target, _, _) = self.part_of(channel);
        target.expected_offset = Some(offset);
        self
    }

    /// Fencing token for the channel's batch; 0 is none.
    pub fn fence(&mut self, channel: &ChannelName, token: u64) -> &mut Self {
        let (_, fence, _) = self.part_of(channel);
        *fence = token;
        self
    }

    /// Stores a consumer's position, whatever it was.
    pub fn commit(
        &mut self,
        channel: &ChannelName,
        consumer: &ConsumerName,
        offset: Offset,
    ) -> &mut Self {
        self.commit_with(AtomicCommit {
            channel: channel.clone(),
            consumer: consumer.clone(),
            offset,
            expected_previous: ExpectedPosition::Any,
            metadata: String::new(),
        })
    }

    /// Stores a consumer's position, on a condition or with metadata.
    pub fn commit_with(&mut self, commit: AtomicCommit) -> &mut Self {
        self.parts.push(Part::Commit(commit));
        self
    }

    /// Sends it, all or nothing. With records in it, it is tried again after a lost connection
    /// without being carried out twice; with commits alone it is not tried again.
    ///
    /// # Errors
    /// [`AtomicError`].
    pub async fn send(self) -> Result<AtomicAck, AtomicError> {
        // A fresh identity each time: two atomic publishes do not have to wait for each other.
        let producer = ProducerId(uuid::Uuid::new_v4().as_u128());
        let mut is_idempotent = false;
        let mut parts = Vec::with_capacity(self.parts.len());
        for part in self.parts {
            parts.push(match part {
                Part::Commit(commit) => AtomicPart::Commit(commit),
                Part::Publish {
                    target,
                    fence,
                    mut builder,
                } => {
                    builder.producer(producer, 1, 0).fence(fence);
                    let batch: BytesMut = builder.build()?;
                    is_idempotent = true;
                    AtomicPart::Publish(PublishRequest {
                        target,
                        batch,
                        asks: None,
                    })
                }
            });
        }
        let client = &self.client;
        let open = client.open(client.deadline()).await;
        let open = open.map_err(RequestError::from)?;
        let asks = open.tells_where.then(PublishAsks::default);
        let sent = client.publish_atomic_as(parts, asks, is_idempotent);
        let (answer, at) = sent.await?;
        Ok(AtomicAck {
            published: answer.published,
            committed: answer.committed,
            region: at.region,
            held: at.held,
        })
    }

    fn part_of(
        &mut self,
        channel: &ChannelName,
    ) -> (&mut PublishTarget, &mut u64, &mut BatchBuilder) {
        let found = self.parts.iter().position(
            |part| matches!(part, Part::Publish { target, .. } if target.channel == *channel),
        );
        let at = found.unwrap_or_else(|| {
            self.parts.push(Part::Publish {
                target: PublishTarget::any(channel.clone()),
                fence: 0,
                builder: Box::new(BatchBuilder::new(self.compression)),
            });
            self.parts.len() - 1
        });
        match &mut self.parts[at] {
            Part::Publish {
                target,
                fence,
                builder,
            } => (target, fence, builder),
            Part::Commit(_) => unreachable!("found, or pushed just now, as a publish"),
        }
    }
}
