//! Bodies of publishes: of one batch, and of several with commits, all or nothing.

use bytes::{BufMut, Bytes, BytesMut};

use super::commit::{ExpectedPosition, metadata};
use crate::protocol::api::Kind;
use crate::protocol::asking::PublishAsks;
use crate::protocol::frame::{FrameHeader, encode_frame_before};
use crate::protocol::primitive::{
    BodyError, Reader, put_blob, put_incarnation, put_name, put_optional_offset,
};
use crate::types::{ChannelName, ConsumerName, Incarnation, Offset};

/// Most parts of an atomic publish.
pub const MAX_ATOMIC_PARTS: usize = 1024;

/// Where a batch is to be appended, and under which condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishTarget {
    /// The channel.
    pub channel: ChannelName,
    /// The incarnation it must have; `None` takes any, and creates the channel if need be.
    pub incarnation: Option<Incarnation>,
    /// The offset that the first record must get; `None` takes any.
    pub expected_offset: Option<Offset>,
}

/// Body of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishRequest {
    /// Where to append.
    pub target: PublishTarget,
    /// One produced batch, not looked at yet: `storage-format.md`, "Batch header".
    pub batch: BytesMut,
    /// What version 2 asks for; `None` is version 1, as it is in a part of an atomic publish.
    pub asks: Option<PublishAsks>,
}

/// Body of an atomic publish: at most [`MAX_ATOMIC_PARTS`] parts, applied in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishAtomicRequest {
    /// The parts.
    pub parts: Vec<AtomicPart>,
    /// What version 2 asks for; `None` is version 1.
    pub asks: Option<PublishAsks>,
}

/// One part of an atomic publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AtomicPart {
    /// Appends a batch.
    Publish(PublishRequest),
    /// Stores a consumer's position.
    Commit(AtomicCommit),
}

/// A commit within an atomic publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AtomicCommit {
    /// The channel.
    pub channel: ChannelName,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The next offset it will read.
    pub offset: Offset,
    /// The position it must have had.
    pub expected_previous: ExpectedPosition,
    /// Anything the consumer wants to find again, at most [`MAX_METADATA_BYTES`](crate::types::MAX_METADATA_BYTES) bytes.
    pub metadata: String,
}

impl PublishTarget {
    /// Any incarnation of the channel, at whatever offset comes next.
    #[must_use]
    pub fn any(channel: ChannelName) -> Self {
        Self {
            channel,
            incarnation: None,
            expected_offset: None,
        }
    }

    pub(super) fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        Ok(Self {
            channel: from.writable_channel()?,
            incarnation: from.optional_incarnation("incarnation")?,
            expected_offset: from.optional_offset("expected_offset")?,
        })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        put_name(self.channel.as_str(), dst);
        put_incarnation(self.incarnation, dst);
        put_optional_offset(self.expected_offset, dst);
    }

    fn encode_publish(&self, asks: Option<PublishAsks>, dst: &mut BytesMut) {
        self.encode(dst);
        match asks {
            None => dst.put_u8(0),
            Some(asks) => asks.encode(dst),
        }
    }

    /// Appends the frame of a publish up to its batch; the sender lets the batch follow from where
    /// it lies.
    ///
    /// - `asks`: what version 2 asks for; without it the frame is one of version 1.
    pub fn encode_before(
        &self,
        asks: Option<PublishAsks>,
        correlation: u64,
        batch_bytes: usize,
        dst: &mut BytesMut,
    ) {
        let version = PublishAsks::version(asks);
        let header = FrameHeader::of_version(Kind::Publish, version, correlation);
        encode_frame_before(header, batch_bytes, dst, |dst| {
            self.encode_publish(asks, dst);
        });
    }
}

impl PublishRequest {
    pub(super) fn encode(&self, dst: &mut BytesMut) {
        self.target.encode_publish(self.asks, dst);
        dst.put_slice(&self.batch);
    }

    pub(super) fn decode(version: u16, body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let target = PublishTarget::decode(&mut from)?;
        let asks = match version {
            1 => {
                let flags = from.u8("flags")?;
                if flags != 0 {
                    return Err(BodyError::Field {
                        field: "flags",
                        found: u64::from(flags),
                        allowed: "0",
                    });
                }
                None
            }
            _ => Some(PublishAsks::decode(&mut from)?),
        };
        Ok(Self {
            target,
            batch: from.rest(),
            asks,
        })
    }
}

impl PublishAtomicRequest {
    pub(super) fn decode(version: u16, body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let asks = match version {
            1 => None,
            _ => Some(PublishAsks::decode_atomic(&mut from)?),
        };
        let count = from.u32("part_count")?;
        let count = usize::try_from(count).expect("usize has at least 32 bits");
        if count == 0 {
            return Err(BodyError::Field {
                field: "part_count",
                found: 0,
                allowed: "1 or more",
            });
        }
        if count > MAX_ATOMIC_PARTS {
            return Err(BodyError::Limit {
                field: "part_count",
                found: count,
                limit: MAX_ATOMIC_PARTS,
            });
        }
        let mut parts = Vec::with_capacity(count);
        for part in 0..count {
            let decoded = AtomicPart::decode(&mut from).map_err(Box::new);
            parts.push(decoded.map_err(|source| BodyError::Part { part, source })?);
        }
        from.end()?;
        Ok(Self { parts, asks })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        if let Some(asks) = self.asks {
            asks.encode(dst);
        }
        dst.put_u32_le(u32::try_from(self.parts.len()).unwrap_or(u32::MAX));
        for part in &self.parts {
            match part {
                AtomicPart::Publish(PublishRequest { target, batch, .. }) => {
                    dst.put_u8(1);
                    target.encode(dst);
                    put_blob(batch, dst);
                }
                AtomicPart::Commit(commit) => {
                    dst.put_u8(2);
                    put_name(commit.channel.as_str(), dst);
                    put_name(commit.consumer.as_str(), dst);
                    dst.put_u64_le(commit.offset.0);
                    dst.put_u64_le(commit.expected_previous.number());
                    put_blob(commit.metadata.as_bytes(), dst);
                }
            }
        }
    }
}

impl AtomicPart {
    pub(super) fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        match from.u8("tag")? {
            1 => Ok(Self::Publish(PublishRequest {
                target: PublishTarget::decode(from)?,
                batch: from.blob("batch")?,
                asks: None,
            })),
            2 => Ok(Self::Commit(AtomicCommit {
                channel: from.channel()?,
                consumer: from.consumer()?,
                offset: Offset(from.u64("offset")?),
                expected_previous: ExpectedPosition::from_number(from.u64("expected_previous")?),
                metadata: metadata(from)?,
            })),
            tag => Err(BodyError::Field {
                field: "tag",
                found: u64::from(tag),
                allowed: "1 (publish) or 2 (commit)",
            }),
        }
    }
}

/// A batch as a request carries it; one copy, for callers that hold [`Bytes`].
impl From<(PublishTarget, Bytes)> for PublishRequest {
    fn from((target, batch): (PublishTarget, Bytes)) -> Self {
        Self {
            target,
            batch: BytesMut::from(batch),
            asks: None,
        }
    }
}
