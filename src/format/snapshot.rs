//! A snapshot: what a topic of the broker's folds to, kept so that a start need not read the topic
//! from its beginning.

use bytes::Bytes;
use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{
    check_crc, check_magic, check_version, check_zero_fields, fields, read, to_array,
};
use super::{DecodeError, Layout};
use crate::types::{Incarnation, LogEpoch, Offset};

const MAGIC: &[u8; 4] = b"NPSN";
const WHAT: &str = "snapshot header";
// The checksum covers what follows it.
const CHECKED: std::ops::Range<usize> = 8..SnapshotHeader::BYTES;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct SnapshotLayout {
    magic: [u8; 4],
    header_crc: U32,
    version: U16,
    reserved: [u8; 6],
    log: U128,
    next_offset: U64,
    log_epoch: U64,
    body_len: U64,
    parts: U32,
    body_crc: U32,
}

pub(super) const LAYOUT: Layout = fields!("Snapshot header": SnapshotLayout, SnapshotHeader::BYTES;
    magic, header_crc, version, reserved, log, next_offset, log_epoch, body_len, parts, body_crc);

/// First bytes of a snapshot file. Behind it stand its parts: each a `u32` length, then that many
/// bytes, the payload of a state record of the topic. Specified by `storage-format.md`, "Snapshot
/// header".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SnapshotHeader {
    /// The topic's log.
    pub log: Incarnation,
    /// Offset of the first record that is not in it.
    pub next_offset: Offset,
    /// Epoch of the last batch that is in it; 0 when there is none.
    pub log_epoch: LogEpoch,
    /// Bytes of the parts, with their lengths.
    pub body_len: u64,
    /// How many parts there are.
    pub parts: u32,
    /// CRC-32 (IEEE) of the parts, with their lengths.
    pub body_crc: u32,
}

impl SnapshotHeader {
    /// Bytes of the header.
    pub const BYTES: usize = 64;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// The bytes of the header.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut layout = SnapshotLayout {
            magic: *MAGIC,
            header_crc: 0.into(),
            version: Self::VERSION.into(),
            reserved: [0; 6],
            log: self.log.0.into(),
            next_offset: self.next_offset.0.into(),
            log_epoch: self.log_epoch.0.into(),
            body_len: self.body_len.into(),
            parts: self.parts.into(),
            body_crc: self.body_crc.into(),
        };
        layout.header_crc = crc32fast::hash(&layout.as_bytes()[CHECKED]).into();
        to_array(&layout)
    }

    /// Reads the header's bytes; what follows them is not looked at.
    ///
    /// # Errors
    /// Bytes that are no snapshot header, damaged, or of a newer version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let layout: SnapshotLayout = read(WHAT, bytes)?;
        check_magic(WHAT, &layout.magic, MAGIC)?;
        check_crc(
            WHAT,
            layout.header_crc.get(),
            crc32fast::hash(&bytes[CHECKED]),
        )?;
        check_version(WHAT, layout.version.get(), Self::VERSION)?;
        check_zero_fields!(WHAT, layout: SnapshotLayout; reserved);
        Ok(Self {
            log: Incarnation(layout.log.get()),
            next_offset: Offset(layout.next_offset.get()),
            log_epoch: LogEpoch(layout.log_epoch.get()),
            body_len: layout.body_len.get(),
            parts: layout.parts.get(),
            body_crc: layout.body_crc.get(),
        })
    }
}

/// Most bytes of a part.
pub const MAX_SNAPSHOT_PART_BYTES: u32 = 64 * 1024 * 1024;

/// Reads the bytes of a snapshot file: its header and its parts.
///
/// # Errors
/// Bytes that are no snapshot, damaged, or of a newer version.
pub fn read_snapshot(bytes: &Bytes) -> Result<(SnapshotHeader, Vec<Bytes>), DecodeError> {
    let header = SnapshotHeader::decode(bytes)?;
    let mut rest = bytes.slice(SnapshotHeader::BYTES..);
    let found = rest.len() as u64;
    if found < header.body_len {
        return Err(DecodeError::Short {
            what: "snapshot",
            needed: header.body_len,
            found,
        });
    }
    if found > header.body_len {
        return Err(DecodeError::length("snapshot", found, header.body_len));
    }
    check_crc("snapshot", header.body_crc, crc32fast::hash(&rest))?;
    let mut parts = Vec::new();
    for _ in 0..header.parts {
        let len = take(&mut rest, 4)?;
        let len = u32::from_le_bytes(len[..].try_into().unwrap_or_default());
        if len > MAX_SNAPSHOT_PART_BYTES {
            let limit = MAX_SNAPSHOT_PART_BYTES.into();
            return Err(DecodeError::length("snapshot part", len.into(), limit));
        }
        parts.push(take(&mut rest, len as usize)?);
    }
    if !rest.is_empty() {
        return Err(DecodeError::length(
            "snapshot behind its parts",
            rest.len() as u64,
            0,
        ));
    }
    Ok((header, parts))
}

/// That many bytes from the front.
fn take(rest: &mut Bytes, len: usize) -> Result<Bytes, DecodeError> {
    if rest.len() < len {
        return Err(DecodeError::Short {
            what: "snapshot part",
            needed: len as u64,
            found: rest.len() as u64,
        });
    }
    Ok(rest.split_to(len))
}
