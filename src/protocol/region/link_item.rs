//! Something new of one log, as it comes on a link: its bytes.

use bytes::{BufMut, Bytes, BytesMut};

use super::json;
use crate::protocol::error_code::WireError;
use crate::protocol::primitive::{BodyError, Reader, put_blob, put_name, put_optional_offset};
use crate::types::{ConsumerName, LogEpoch, Offset, Timestamp};

/// Something new of one log.
#[derive(Clone, Debug, PartialEq)]
pub enum LinkItem {
    /// Whole stored batches, end to end.
    Batches {
        /// The log.
        handle: u32,
        /// The source has synced everything below.
        flushed: Offset,
        /// They.
        batches: Bytes,
    },
    /// Whole stored batches, packed for the way.
    Packed {
        /// The log.
        handle: u32,
        /// The source has synced everything below.
        flushed: Offset,
        /// Bytes of the batches, at most [`MAX_UNPACKED`].
        unpacked: u32,
        /// One zstd frame of them, end to end.
        frame: Bytes,
    },
    /// Batches that hold no record of the types asked for.
    Skip {
        /// The log.
        handle: u32,
        /// First offset passed over.
        from: Offset,
        /// Offset after the last.
        to: Offset,
        /// Epoch of the last batch passed over.
        epoch: LogEpoch,
        /// Append time of the last batch passed over.
        append_time: Timestamp,
        /// The source has synced everything below.
        flushed: Offset,
    },
    /// Where a consumer stands.
    Position {
        /// The log.
        handle: u32,
        /// The consumer.
        consumer: ConsumerName,
        /// Next offset that it reads; `None` where it was forgotten.
        offset: Option<Offset>,
        /// Log epoch of the records before it; 0 is unknown.
        epoch: LogEpoch,
        /// When it came to be there.
        at: Timestamp,
        /// The consumer's own words.
        metadata: String,
    },
    /// Retention has removed records before they crossed.
    Gap {
        /// The log.
        handle: u32,
        /// First offset that is gone.
        from: Offset,
        /// Lowest offset still readable.
        to: Offset,
    },
    /// How far the source is.
    Head {
        /// The log.
        handle: u32,
        /// Lowest offset still readable there.
        log_start: Offset,
        /// Everything below is synced there.
        flushed: Offset,
        /// Epoch of the last batch.
        epoch: LogEpoch,
    },
    /// The log is not followed any more, and the handle is free.
    Stop {
        /// The log.
        handle: u32,
        /// Why.
        error: WireError,
    },
}

/// Numbers of the items.
mod tag {
    pub const BATCHES: u8 = 1;
    pub const PACKED: u8 = 2;
    pub const SKIP: u8 = 3;
    pub const GAP: u8 = 4;
    pub const HEAD: u8 = 5;
    pub const POSITION: u8 = 6;
    pub const STOP: u8 = 7;
}

/// What a gap item gives as its reason: removed by retention before it crossed.
const TRIMMED: u8 = 1;

/// Most bytes of batches in one packed item.
pub const MAX_UNPACKED: u32 = 64 << 20;

impl LinkItem {
    /// The log that it is of.
    #[must_use]
    pub fn handle(&self) -> u32 {
        match self {
            Self::Batches { handle, .. }
            | Self::Packed { handle, .. }
            | Self::Skip { handle, .. }
            | Self::Position { handle, .. }
            | Self::Gap { handle, .. }
            | Self::Head { handle, .. }
            | Self::Stop { handle, .. } => *handle,
        }
    }

    pub(super) fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        let tag = from.u8("tag")?;
        let handle = from.u32("handle")?;
        let offset = |from: &mut Reader, field| from.u64(field).map(Offset);
        Ok(match tag {
            tag::BATCHES => Self::Batches {
                handle,
                flushed: offset(from, "flushed")?,
                batches: from.blob("batches")?.freeze(),
            },
            tag::PACKED => {
                let flushed = offset(from, "flushed")?;
                let unpacked = from.u32("unpacked")?;
                if unpacked > MAX_UNPACKED {
                    return Err(BodyError::Limit {
                        field: "unpacked",
                        found: unpacked as usize,
                        limit: MAX_UNPACKED as usize,
                    });
                }
                Self::Packed {
                    handle,
                    flushed,
                    unpacked,
                    frame: from.blob("zstd")?.freeze(),
                }
            }
            tag::SKIP => Self::Skip {
                handle,
                from: offset(from, "from")?,
                to: offset(from, "to")?,
                epoch: LogEpoch(from.u64("epoch")?),
                append_time: Timestamp(from.i64("append_time")?),
                flushed: offset(from, "flushed")?,
            },
            tag::POSITION => Self::Position {
                handle,
                consumer: from.consumer()?,
                offset: from.optional_offset("offset")?,
                epoch: LogEpoch(from.u64("epoch")?),
                at: Timestamp(from.i64("at")?),
                metadata: String::from_utf8(from.blob("metadata")?.to_vec())
                    .map_err(|_| BodyError::NotUtf8 { field: "metadata" })?,
            },
            tag::GAP => {
                let item = Self::Gap {
                    handle,
                    from: offset(from, "from")?,
                    to: offset(from, "to")?,
                };
                match from.u8("reason")? {
                    TRIMMED => item,
                    found => {
                        return Err(BodyError::Field {
                            field: "reason",
                            found: found.into(),
                            allowed: "1 (trimmed)",
                        });
                    }
                }
            }
            tag::HEAD => Self::Head {
                handle,
                log_start: offset(from, "log_start")?,
                flushed: offset(from, "flushed")?,
                epoch: LogEpoch(from.u64("epoch")?),
            },
            tag::STOP => Self::Stop {
                handle,
                error: json(&from.blob("error")?)?,
            },
            found => {
                return Err(BodyError::Field {
                    field: "tag",
                    found: found.into(),
                    allowed: "1 (batches), 2 (packed), 3 (skip), 4 (gap), 5 (head), 6 (position) or \
                              7 (stop)",
                });
            }
        })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        match self {
            Self::Batches {
                handle,
                flushed,
                batches,
            } => {
                dst.put_u8(tag::BATCHES);
                dst.put_u32_le(*handle);
                dst.put_u64_le(flushed.0);
                put_blob(batches, dst);
            }
            Self::Packed {
                handle,
                flushed,
                unpacked,
                frame,
            } => {
                dst.put_u8(tag::PACKED);
                dst.put_u32_le(*handle);
                dst.put_u64_le(flushed.0);
                dst.put_u32_le(*unpacked);
                put_blob(frame, dst);
            }
            Self::Skip {
                handle,
                from,
                to,
                epoch,
                append_time,
                flushed,
            } => {
                dst.put_u8(tag::SKIP);
                dst.put_u32_le(*handle);
                dst.put_u64_le(from.0);
                dst.put_u64_le(to.0);
                dst.put_u64_le(epoch.0);
                dst.put_i64_le(append_time.0);
                dst.put_u64_le(flushed.0);
            }
            Self::Position {
                handle,
                consumer,
                offset,
                epoch,
                at,
                metadata,
            } => {
                dst.put_u8(tag::POSITION);
                dst.put_u32_le(*handle);
                put_name(consumer.as_str(), dst);
                put_optional_offset(*offset, dst);
                dst.put_u64_le(epoch.0);
                dst.put_i64_le(at.0);
                put_blob(metadata.as_bytes(), dst);
            }
            Self::Gap { handle, from, to } => {
                dst.put_u8(tag::GAP);
                dst.put_u32_le(*handle);
                dst.put_u64_le(from.0);
                dst.put_u64_le(to.0);
                dst.put_u8(TRIMMED);
            }
            Self::Head {
                handle,
                log_start,
                flushed,
                epoch,
            } => {
                dst.put_u8(tag::HEAD);
                dst.put_u32_le(*handle);
                dst.put_u64_le(log_start.0);
                dst.put_u64_le(flushed.0);
                dst.put_u64_le(epoch.0);
            }
            Self::Stop { handle, error } => {
                dst.put_u8(tag::STOP);
                dst.put_u32_le(*handle);
                let text = serde_json::to_vec(error).expect("an error has string keys");
                put_blob(&text, dst);
            }
        }
    }
}
