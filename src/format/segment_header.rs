//! First block of a segment file.

use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{
    NONE, check_crc, check_len, check_magic, check_version, check_zero, check_zero_fields, fields,
    read, to_array,
};
use super::{BLOCK_BYTES, DecodeError, Layout};
use crate::types::{Incarnation, Offset, Timestamp};

const MAGIC: &[u8; 4] = b"NPSG";
const WHAT: &str = "segment header";
const USED: usize = 128;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SegmentHeaderLayout {
    magic: [u8; 4],
    crc: U32,
    version: U16,
    reserved: [u8; 6],
    incarnation: U128,
    base_offset: U64,
    previous_base: U64,
    previous_length: U64,
    previous_last_time: I64,
    created_at: I64,
    epoch: U64,
    reserved_2: [u8; 48],
}

pub(super) const LAYOUT: Layout = fields!("Segment header": SegmentHeaderLayout, USED;
    magic, crc, version, reserved, incarnation, base_offset, previous_base, previous_length,
    previous_last_time, created_at, epoch, reserved_2);

/// Header of a segment file. Specified by `storage-format.md`, "Segment header".
///
/// It names the segment before, so a hole or an overlap in the chain shows without reading batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The log the segment belongs to.
    pub incarnation: Incarnation,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Base offset of the segment before; none in the first of a log.
    pub previous_base: Option<Offset>,
    /// Bytes of the segment before, up to the end of its last batch; 0 in the first of a log.
    pub previous_length: u64,
    /// Append time of the last batch of the segment before.
    pub previous_last_time: Timestamp,
    /// When the file was made.
    pub created_at: Timestamp,
    /// Epoch of the log when the file was made.
    pub epoch: u64,
}

impl SegmentHeader {
    /// Bytes of the header in the file: one block. The first batch follows it.
    pub const BYTES: usize = BLOCK_BYTES;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// The first block of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut layout = SegmentHeaderLayout {
            magic: *MAGIC,
            crc: 0.into(),
            version: Self::VERSION.into(),
            reserved: [0; 6],
            incarnation: self.incarnation.0.into(),
            base_offset: self.base_offset.0.into(),
            previous_base: self.previous_base.map_or(NONE, |base| base.0).into(),
            previous_length: self.previous_length.into(),
            previous_last_time: self.previous_last_time.0.into(),
            created_at: self.created_at.0.into(),
            epoch: self.epoch.into(),
            reserved_2: [0; 48],
        };
        layout.crc = crc32fast::hash(&layout.as_bytes()[8..]).into();
        to_array(&layout)
    }

    /// Reads the first block of a file; bytes beyond the block are not looked at.
    ///
    /// # Errors
    /// Fewer bytes than a block, or a block that is not an intact header of a known version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        check_len(WHAT, bytes, Self::BYTES)?;
        let layout: SegmentHeaderLayout = read(WHAT, bytes)?;
        check_magic(WHAT, &layout.magic, MAGIC)?;
        check_crc(WHAT, layout.crc.get(), crc32fast::hash(&bytes[8..USED]))?;
        check_version(WHAT, layout.version.get(), Self::VERSION)?;
        check_zero_fields!(WHAT, layout: SegmentHeaderLayout; reserved, reserved_2);
        check_zero(WHAT, &bytes[USED..Self::BYTES], USED)?;
        let previous_base = match layout.previous_base.get() {
            NONE => None,
            base => Some(Offset(base)),
        };
        let base_offset = Offset(layout.base_offset.get());
        if previous_base.is_some_and(|previous| previous >= base_offset) {
            return Err(DecodeError::field(
                "previous_base of a segment",
                layout.previous_base.get(),
                "which is not below its base_offset",
            ));
        }
        Ok(Self {
            incarnation: Incarnation(layout.incarnation.get()),
            base_offset,
            previous_base,
            previous_length: layout.previous_length.get(),
            previous_last_time: Timestamp(layout.previous_last_time.get()),
            created_at: Timestamp(layout.created_at.get()),
            epoch: layout.epoch.get(),
        })
    }
}
