//! What version 2 of a publish asks for, and what it is told. `docs/wire-protocol.md`, "Publish".

use bytes::{BufMut, BytesMut};

use super::primitive::{BodyError, Reader, put_name};
use crate::types::RegionName;

/// Set in the flags where the batch may wait in an outbox.
const OUTBOX: u8 = 1;

/// What a publish of version 2 asks for beside its append.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PublishAsks {
    /// Whether the batch may wait in the outbox of the region that is asked while the home of its
    /// channel can't be reached. Never of an atomic publish.
    pub outbox: bool,
    /// Longest wait for the regions that the channel wants to hold it, in milliseconds; 0 is as long
    /// as the broker waits by itself.
    pub wait_ms: u32,
}

impl PublishAsks {
    /// The version of a publish that asks for this.
    pub(super) fn version(asks: Option<Self>) -> u16 {
        if asks.is_some() { 2 } else { 1 }
    }

    pub(super) fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        Self::decode_flags(from, OUTBOX, "0 or 1")
    }

    /// As of an atomic publish, which waits in no outbox.
    pub(super) fn decode_atomic(from: &mut Reader) -> Result<Self, BodyError> {
        Self::decode_flags(from, 0, "0")
    }

    fn decode_flags(
        from: &mut Reader,
        known: u8,
        allowed: &'static str,
    ) -> Result<Self, BodyError> {
        let flags = from.u8("flags")?;
        if flags & !known != 0 {
            return Err(BodyError::Field {
                field: "flags",
                found: u64::from(flags),
                allowed,
            });
        }
        Ok(Self {
            outbox: flags & OUTBOX != 0,
            wait_ms: from.u32("wait_ms")?,
        })
    }

    pub(super) fn encode(self, dst: &mut BytesMut) {
        dst.put_u8(if self.outbox { OUTBOX } else { 0 });
        dst.put_u32_le(self.wait_ms);
    }
}

/// Where what was published is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Whereabouts {
    /// The region that has appended it; `None` where the broker is no region.
    pub region: Option<RegionName>,
    /// How many regions hold it synced, that one included: 0 where it is only written.
    pub held: u32,
    /// Whether it waits in the outbox of that region: its offsets are those of the outbox then, and
    /// it gets others from its home.
    pub outbox: bool,
}

impl Whereabouts {
    pub(super) fn decode(from: &mut Reader) -> Result<Self, BodyError> {
        let region = from.optional_region("region")?;
        let held = from.u32("held")?;
        let outbox = match from.u8("outbox")? {
            0 => false,
            1 => true,
            other => {
                return Err(BodyError::Field {
                    field: "outbox",
                    found: u64::from(other),
                    allowed: "0 or 1",
                });
            }
        };
        Ok(Self {
            region,
            held,
            outbox,
        })
    }

    pub(super) fn encode(&self, dst: &mut BytesMut) {
        put_name(self.region.as_ref().map_or("", RegionName::as_str), dst);
        dst.put_u32_le(self.held);
        dst.put_u8(u8::from(self.outbox));
    }
}
