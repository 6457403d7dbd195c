//! Bodies of fetches.

use bytes::{BufMut, BytesMut};

use crate::protocol::primitive::{BodyError, Reader, put_incarnation, put_name};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

/// Most record types that a fetch names.
pub const MAX_FETCH_TYPES: usize = 100;

/// Where a fetch begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FetchFrom {
    /// At this record.
    Offset(Offset),
    /// At the log start.
    Start,
    /// At the high watermark: only what comes later.
    End,
    /// At the first record whose append time is this or later.
    Time(Timestamp),
}

/// Body of a fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchRequest {
    /// The channel.
    pub channel: ChannelName,
    /// The incarnation it must have; `None` takes any.
    pub incarnation: Option<Incarnation>,
    /// Where to begin.
    pub from: FetchFrom,
    /// The log epoch of the last batch read, so that a log that was cut and has grown again is
    /// noticed; 0 when nothing was read yet.
    pub last_epoch: LogEpoch,
    /// Bytes of batches to answer with at most; one whole batch always fits.
    pub max_bytes: u32,
    /// Bytes of batches to wait for.
    pub min_bytes: u32,
    /// Longest wait for `min_bytes`.
    pub max_wait_ms: u32,
}

/// What becomes of a read of what a copy does not have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lacking {
    /// The channel's home is asked.
    #[default]
    ReadHome,
    /// The reader is told.
    Refuse,
}

/// Body of a fetch of what a copy may not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchBeyondRequest {
    /// What becomes of what it does not have.
    pub lacking: Lacking,
    /// The record types that the reader wants; none is all.
    pub types: Vec<String>,
    /// What is read.
    pub fetch: FetchRequest,
}

impl FetchFrom {
    pub(super) fn decode(kind: u8, value: u64) -> Result<Self, BodyError> {
        match kind {
            1 => Ok(Self::Offset(Offset(value))),
            2 => Ok(Self::Start),
            3 => Ok(Self::End),
            4 => Ok(Self::Time(Timestamp(value.cast_signed()))),
            _ => Err(BodyError::Field {
                field: "from_kind",
                found: u64::from(kind),
                allowed: "1 (offset), 2 (start), 3 (end) or 4 (time)",
            }),
        }
    }

    pub(super) fn encode(self, dst: &mut BytesMut) {
        let (kind, value) = match self {
            Self::Offset(offset) => (1, offset.0),
            Self::Start => (2, 0),
            Self::End => (3, 0),
            Self::Time(time) => (4, time.0.cast_unsigned()),
        };
        dst.put_u8(kind);
        dst.put_u64_le(value);
    }
}

impl FetchBeyondRequest {
    pub(super) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let lacking = match from.u8("lacking")? {
            1 => Lacking::ReadHome,
            2 => Lacking::Refuse,
            found => {
                return Err(BodyError::Field {
                    field: "lacking",
                    found: u64::from(found),
                    allowed: "1 or 2",
                });
            }
        };
        let count = usize::from(from.u16("type_count")?);
        if count > MAX_FETCH_TYPES {
            return Err(BodyError::Limit {
                field: "type_count",
                found: count,
                limit: MAX_FETCH_TYPES,
            });
        }
        let mut types = Vec::with_capacity(count);
        for _ in 0..count {
            types.push(from.text("type")?);
        }
        Ok(Self {
            lacking,
            types,
            fetch: FetchRequest::decode(from.rest())?,
        })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        dst.put_u8(match self.lacking {
            Lacking::ReadHome => 1,
            Lacking::Refuse => 2,
        });
        dst.put_u16_le(u16::try_from(self.types.len()).unwrap_or(u16::MAX));
        for one in &self.types {
            put_name(one, dst);
        }
        self.fetch.encode(dst);
    }
}

impl FetchRequest {
    pub(super) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let request = Self {
            channel: from.channel()?,
            incarnation: from.optional_incarnation("incarnation")?,
            from: FetchFrom::decode(from.u8("from_kind")?, from.u64("from")?)?,
            last_epoch: LogEpoch(from.u64("last_epoch")?),
            max_bytes: from.u32("max_bytes")?,
            min_bytes: from.u32("min_bytes")?,
            max_wait_ms: from.u32("max_wait_ms")?,
        };
        from.end()?;
        Ok(request)
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        put_name(self.channel.as_str(), dst);
        put_incarnation(self.incarnation, dst);
        self.from.encode(dst);
        dst.put_u64_le(self.last_epoch.0);
        dst.put_u32_le(self.max_bytes);
        dst.put_u32_le(self.min_bytes);
        dst.put_u32_le(self.max_wait_ms);
    }
}
