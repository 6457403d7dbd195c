//! The file that says "this directory is an npayload data directory".

use zerocopy::little_endian::{I64, U16, U32, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{
    check_crc, check_magic, check_version, check_zero_fields, fields, read, to_array,
};
use super::{DecodeError, Layout};
use crate::types::{Incarnation, Timestamp};

const MAGIC: &[u8; 8] = b"NPAYLOAD";
const WHAT: &str = "data directory marker";
// The checksum covers what is before it.
const CRC_AT: usize = std::mem::offset_of!(MarkerLayout, crc);

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct MarkerLayout {
    magic: [u8; 8],
    version: U16,
    reserved: [u8; 6],
    directory_id: U128,
    created_at: I64,
    reserved_2: [u8; 20],
    crc: U32,
}

pub(super) const LAYOUT: Layout = fields!("Marker": MarkerLayout, Marker::BYTES;
    magic, version, reserved, directory_id, created_at, reserved_2, crc);

/// Contents of `npayload.marker`: which data directory this is. Specified by `storage-format.md`,
/// "Marker".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Identity of the directory; every other file of it names the same.
    pub directory_id: Incarnation,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Marker {
    /// Bytes of the file.
    pub const BYTES: usize = 64;
    /// Version of the whole directory that this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// The bytes of the file.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut layout = MarkerLayout {
            magic: *MAGIC,
            version: Self::VERSION.into(),
            reserved: [0; 6],
            directory_id: self.directory_id.0.into(),
            created_at: self.created_at.0.into(),
            reserved_2: [0; 20],
            crc: 0.into(),
        };
        layout.crc = crc32fast::hash(&layout.as_bytes()[..CRC_AT]).into();
        to_array(&layout)
    }

    /// Reads the file's bytes.
    ///
    /// The version comes before the checksum here, alone of all structures: whatever a later
    /// version does to the directory, an older broker can say which one it needs.
    ///
    /// # Errors
    /// Bytes that are not a marker, of another version, damaged, or not exactly [`Self::BYTES`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let layout: MarkerLayout = read(WHAT, bytes)?;
        check_magic(WHAT, &layout.magic, MAGIC)?;
        check_version(WHAT, layout.version.get(), Self::VERSION)?;
        check_crc(WHAT, layout.crc.get(), crc32fast::hash(&bytes[..CRC_AT]))?;
        check_zero_fields!(WHAT, layout: MarkerLayout; reserved, reserved_2);
        if bytes.len() > Self::BYTES {
            return Err(DecodeError::length(
                WHAT,
                bytes.len() as u64,
                Self::BYTES as u64,
            ));
        }
        Ok(Self {
            directory_id: Incarnation(layout.directory_id.get()),
            created_at: Timestamp(layout.created_at.get()),
        })
    }
}
