//! The request of a link for whatever is new in the logs that it follows, and its answer.

use bytes::{BufMut, BytesMut};

use super::link_item::LinkItem;
use crate::protocol::primitive::{BodyError, Reader};
use crate::types::{Offset, Timestamp};

/// Asks for whatever is new in the logs followed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkFetchRequest {
    /// Bytes of items at most; the first batch comes however large.
    pub max_bytes: u32,
    /// Longest wait when nothing is new, at most 60,000.
    pub max_wait_ms: u32,
    /// Of each log the handle, and the offset below which the copy holds everything synced; only
    /// what has changed since it was last said. At most [`MAX_HELD`].
    pub held: Vec<(u32, Offset)>,
}

/// Most logs of which one [`LinkFetchRequest`] says what the copy holds.
pub const MAX_HELD: usize = 10_000;

/// What is new.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkFetchResponse {
    /// 0, 1, 2, … on a link: answers go on from each other.
    pub number: u64,
    /// Clock of the source.
    pub now: Timestamp,
    /// Of each log in offset order, without gaps between them.
    pub items: Vec<LinkItem>,
}

impl LinkFetchRequest {
    pub(in crate::protocol) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let (max_bytes, max_wait_ms) = (from.u32("max_bytes")?, from.u32("max_wait_ms")?);
        let count = from.u32("held_count")? as usize;
        if count > MAX_HELD {
            return Err(BodyError::Limit {
                field: "held_count",
                found: count,
                limit: MAX_HELD,
            });
        }
        let mut held = Vec::new();
        for _ in 0..count {
            held.push((from.u32("handle")?, Offset(from.u64("held")?)));
        }
        from.end()?;
        Ok(Self {
            max_bytes,
            max_wait_ms,
            held,
        })
    }

    pub(in crate::protocol) fn encode(&self, dst: &mut BytesMut) {
        dst.put_u32_le(self.max_bytes);
        dst.put_u32_le(self.max_wait_ms);
        dst.put_u32_le(u32::try_from(self.held.len()).expect("at most MAX_HELD"));
        for (handle, offset) in &self.held {
            dst.put_u32_le(*handle);
            dst.put_u64_le(offset.0);
        }
    }
}

impl LinkFetchResponse {
    pub(in crate::protocol) fn decode(body: BytesMut) -> Result<Self, BodyError> {
        let mut from = Reader::new(body);
        let (number, now) = (from.u64("number")?, Timestamp(from.i64("now")?));
        let count = from.u32("item_count")?;
        let mut items = Vec::new();
        for _ in 0..count {
            items.push(LinkItem::decode(&mut from)?);
        }
        from.end()?;
        Ok(Self { number, now, items })
    }

    pub(in crate::protocol) fn encode(&self, dst: &mut BytesMut) {
        dst.put_u64_le(self.number);
        dst.put_i64_le(self.now.0);
        dst.put_u32_le(u32::try_from(self.items.len()).expect("an answer is far smaller"));
        for item in &self.items {
            item.encode(dst);
        }
    }
}
