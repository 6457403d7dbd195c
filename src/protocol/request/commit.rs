//! Body of a commit: where a consumer stands.

use bytes::{BufMut, BytesMut};

use crate::protocol::primitive::{BodyError, NONE, Reader, put_blob, put_incarnation, put_name};
use crate::types::{ChannelName, ConsumerName, Incarnation, LogEpoch, MAX_METADATA_BYTES, Offset};

/// Stands for "the consumer must have no position yet" in `expected_previous`.
const NO_POSITION: u64 = u64::MAX - 1;

/// The position that a consumer must have for a commit to be carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExpectedPosition {
    /// Any or none.
    #[default]
    Any,
    /// None yet.
    Absent,
    /// Exactly this one.
    At(Offset),
}

/// Body of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitRequest {
    /// The channel.
    pub channel: ChannelName,
    /// The incarnation it must have; `None` takes any.
    pub incarnation: Option<Incarnation>,
    /// The consumer.
    pub consumer: ConsumerName,
    /// The next offset it will read.
    pub offset: Offset,
    /// The log epoch of the last batch read; 0 when unknown.
    pub log_epoch: LogEpoch,
    /// The position it must have had.
    pub expected_previous: ExpectedPosition,
    /// Anything the consumer wants to find again, at most [`MAX_METADATA_BYTES`] bytes.
    pub metadata: String,
}

impl ExpectedPosition {
    pub(super) fn from_number(number: u64) -> Self {
        match number {
            NONE => Self::Any,
            NO_POSITION => Self::Absent,
            offset => Self::At(Offset(offset)),
        }
    }

    pub(super) fn number(self) -> u64 {
        match self {
            Self::Any => NONE,
            Self::Absent => NO_POSITION,
            Self::At(offset) => offset.0,
        }
    }
}

impl CommitRequest {
    pub(super) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let request = Self {
            channel: from.channel()?,
            incarnation: from.optional_incarnation("incarnation")?,
            consumer: from.consumer()?,
            offset: Offset(from.u64("offset")?),
            log_epoch: LogEpoch(from.u64("log_epoch")?),
            expected_previous: ExpectedPosition::from_number(from.u64("expected_previous")?),
            metadata: metadata(&mut from)?,
        };
        from.end()?;
        Ok(request)
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        put_name(self.channel.as_str(), dst);
        put_incarnation(self.incarnation, dst);
        put_name(self.consumer.as_str(), dst);
        dst.put_u64_le(self.offset.0);
        dst.put_u64_le(self.log_epoch.0);
        dst.put_u64_le(self.expected_previous.number());
        put_blob(self.metadata.as_bytes(), dst);
    }
}

pub(super) fn metadata(from: &mut Reader) -> Result<String, BodyError> {
    let bytes = from.blob("metadata")?;
    if bytes.len() > MAX_METADATA_BYTES {
        return Err(BodyError::Limit {
            field: "metadata",
            found: bytes.len(),
            limit: MAX_METADATA_BYTES,
        });
    }
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(text.to_owned()),
        Err(_) => Err(BodyError::NotUtf8 { field: "metadata" }),
    }
}
