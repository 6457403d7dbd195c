//! Offset index and time index: two files beside a segment, rebuilt from it when lost.

use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{
    check_crc, check_magic, check_version, check_zero_fields, fields, read, to_array,
};
use super::{DecodeError, Layout};
use crate::types::{Incarnation, Offset, Timestamp};

const OFFSET_MAGIC: &[u8; 4] = b"NPOI";
const TIME_MAGIC: &[u8; 4] = b"NPTI";
const ENTRY_BYTES: usize = 16;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct IndexHeaderLayout {
    magic: [u8; 4],
    crc: U32,
    version: U16,
    kind: U16,
    reserved: U32,
    incarnation: U128,
    base_offset: U64,
    reserved_2: [u8; 24],
}

pub(super) const HEADER_LAYOUT: Layout = fields!("Index header": IndexHeaderLayout,
    IndexHeader::BYTES;
    magic, crc, version, kind, reserved, incarnation, base_offset, reserved_2);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct OffsetEntryLayout {
    offset_delta: U32,
    position: U32,
    length: U32,
    crc: U32,
}

pub(super) const OFFSET_LAYOUT: Layout = fields!("Offset index entry": OffsetEntryLayout,
    ENTRY_BYTES;
    offset_delta, position, length, crc);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct TimeEntryLayout {
    append_time: I64,
    offset_delta: U32,
    crc: U32,
}

pub(super) const TIME_LAYOUT: Layout = fields!("Time index entry": TimeEntryLayout, ENTRY_BYTES;
    append_time, offset_delta, crc);

/// Which of a segment's two indexes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum IndexKind {
    /// Offset → position.
    Offset = 1,
    /// Append time → offset.
    Time = 2,
}

impl IndexKind {
    fn magic(self) -> &'static [u8; 4] {
        match self {
            Self::Offset => OFFSET_MAGIC,
            Self::Time => TIME_MAGIC,
        }
    }

    fn what(self) -> &'static str {
        match self {
            Self::Offset => "offset index header",
            Self::Time => "time index header",
        }
    }
}

/// Header of an index file. Specified by `storage-format.md`, "Index header".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexHeader {
    /// Which of the two.
    pub kind: IndexKind,
    /// The log the segment belongs to.
    pub incarnation: Incarnation,
    /// Base offset of the segment.
    pub base_offset: Offset,
}

impl IndexHeader {
    /// Bytes of the header; entries follow it.
    pub const BYTES: usize = 64;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// The first bytes of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut layout = IndexHeaderLayout {
            magic: *self.kind.magic(),
            crc: 0.into(),
            version: Self::VERSION.into(),
            kind: (self.kind as u16).into(),
            reserved: 0.into(),
            incarnation: self.incarnation.0.into(),
            base_offset: self.base_offset.0.into(),
            reserved_2: [0; 24],
        };
        layout.crc = crc32fast::hash(&layout.as_bytes()[8..]).into();
        to_array(&layout)
    }

    /// Reads the header at the start of an index file of this kind.
    ///
    /// # Errors
    /// Bytes that are not an intact header of this kind and a known version.
    pub fn decode(bytes: &[u8], kind: IndexKind) -> Result<Self, DecodeError> {
        let what = kind.what();
        let layout: IndexHeaderLayout = read(what, bytes)?;
        check_magic(what, &layout.magic, kind.magic())?;
        check_crc(
            what,
            layout.crc.get(),
            crc32fast::hash(&bytes[8..Self::BYTES]),
        )?;
        check_version(what, layout.version.get(), Self::VERSION)?;
        if layout.kind.get() != kind as u16 {
            return Err(DecodeError::field(
                "kind of an index",
                layout.kind.get(),
                "which does not go with its magic number",
            ));
        }
        check_zero_fields!(what, layout: IndexHeaderLayout; reserved, reserved_2);
        Ok(Self {
            kind,
            incarnation: Incarnation(layout.incarnation.get()),
            base_offset: Offset(layout.base_offset.get()),
        })
    }
}

/// A run of whole, adjacent batches of a segment. Specified by `storage-format.md`, "Offset index
/// entry".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetEntry {
    /// Offset of the run's first record, from the segment's base offset.
    pub offset_delta: u32,
    /// Where the run begins in the segment file.
    pub position: u32,
    /// Bytes of the run.
    pub length: u32,
}

impl OffsetEntry {
    /// Bytes of an entry.
    pub const BYTES: usize = ENTRY_BYTES;

    /// The bytes of an entry of the index of this segment.
    #[must_use]
    pub fn encode(&self, incarnation: Incarnation, base_offset: Offset) -> [u8; Self::BYTES] {
        let mut layout = OffsetEntryLayout {
            offset_delta: self.offset_delta.into(),
            position: self.position.into(),
            length: self.length.into(),
            crc: 0.into(),
        };
        layout.crc = entry_crc(incarnation, base_offset, layout.as_bytes()).into();
        to_array(&layout)
    }

    /// Reads the entry at the start of `bytes`, in the index of this segment.
    ///
    /// # Errors
    /// Bytes that are not an intact entry of this segment's index.
    pub fn decode(
        bytes: &[u8],
        incarnation: Incarnation,
        base_offset: Offset,
    ) -> Result<Self, DecodeError> {
        let layout: OffsetEntryLayout = read("offset index entry", bytes)?;
        let computed = entry_crc(incarnation, base_offset, bytes);
        check_crc("offset index entry", layout.crc.get(), computed)?;
        Ok(Self {
            offset_delta: layout.offset_delta.get(),
            position: layout.position.get(),
            length: layout.length.get(),
        })
    }
}

/// When the first batch of a run was appended. Specified by `storage-format.md`, "Time index
/// entry".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    /// Append time of the run's first batch.
    pub append_time: Timestamp,
    /// Offset of the run's first record, from the segment's base offset.
    pub offset_delta: u32,
}

impl TimeEntry {
    /// Bytes of an entry.
    pub const BYTES: usize = ENTRY_BYTES;

    /// The bytes of an entry of the index of this segment.
    #[must_use]
    pub fn encode(&self, incarnation: Incarnation, base_offset: Offset) -> [u8; Self::BYTES] {
        let mut layout = TimeEntryLayout {
            append_time: self.append_time.0.into(),
            offset_delta: self.offset_delta.into(),
            crc: 0.into(),
        };
        layout.crc = entry_crc(incarnation, base_offset, layout.as_bytes()).into();
        to_array(&layout)
    }

    /// Reads the entry at the start of `bytes`, in the index of this segment.
    ///
    /// # Errors
    /// Bytes that are not an intact entry of this segment's index.
    pub fn decode(
        bytes: &[u8],
        incarnation: Incarnation,
        base_offset: Offset,
    ) -> Result<Self, DecodeError> {
        let layout: TimeEntryLayout = read("time index entry", bytes)?;
        let computed = entry_crc(incarnation, base_offset, bytes);
        check_crc("time index entry", layout.crc.get(), computed)?;
        Ok(Self {
            append_time: Timestamp(layout.append_time.get()),
            offset_delta: layout.offset_delta.get(),
        })
    }
}

/// Covers the segment's identity too, so an entry that strayed from another index is refused.
fn entry_crc(incarnation: Incarnation, base_offset: Offset, entry: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&incarnation.0.to_le_bytes());
    crc.update(&base_offset.0.to_le_bytes());
    crc.update(&entry[..12]);
    crc.finalize()
}
