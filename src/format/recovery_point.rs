//! What is known to be synced: the one thing that tells a torn tail from damage.

use zerocopy::little_endian::{U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{
    check_crc, check_magic, check_version, check_zero, check_zero_fields, fields, read, to_array,
};
use super::{BLOCK_BYTES, DecodeError, Layout};
use crate::types::Incarnation;

const MAGIC: &[u8; 4] = b"NPRP";
const WHAT: &str = "recovery point";
const CLEAN: u16 = 1 << 0;

#[derive(Clone, Copy, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
struct RecoveryPointLayout {
    magic: [u8; 4],
    crc: U32,
    version: U16,
    flags: U16,
    reserved: U32,
    sequence: U64,
    directory_id: U128,
    epoch: U64,
    salt: U64,
    checkpoint: U64,
    flushed_group: U64,
    flushed_file: U32,
    flushed_end: U32,
    reserved_2: [u8; 48],
}

pub(super) const LAYOUT: Layout = fields!("Recovery point": RecoveryPointLayout,
    RecoveryPoint::BYTES;
    magic, crc, version, flags, reserved, sequence, directory_id, epoch, salt, checkpoint,
    flushed_group, flushed_file, flushed_end, reserved_2);

/// One slot of the recovery point. Specified by `storage-format.md`, "Recovery point".
///
/// The file has two slots, written in turn, so that one is always whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecoveryPoint {
    /// Whether the broker stopped in order after writing it.
    pub is_clean: bool,
    /// Number of this writing; the higher of the two slots counts, and its parity names the slot.
    pub sequence: u64,
    /// The directory it belongs to.
    pub directory_id: Incarnation,
    /// Epoch of the start that wrote it: the number that batches of this start are stamped with.
    pub epoch: u64,
    /// Salt of the checksums of this start's groups.
    pub salt: u64,
    /// Number of the newest checkpoint.
    pub checkpoint: u64,
    /// Last group known to be synced; 0 before the first.
    pub flushed_group: u64,
    /// Number of the journal file that holds it.
    pub flushed_file: u32,
    /// Position after that group's last byte in that file.
    pub flushed_end: u32,
}

impl RecoveryPoint {
    /// Bytes of a slot that carry values; the rest of its block is zero.
    pub const BYTES: usize = 128;
    /// Bytes of a slot.
    pub const SLOT_BYTES: usize = BLOCK_BYTES;
    /// Bytes of the file: two slots.
    pub const FILE_BYTES: usize = 2 * Self::SLOT_BYTES;
    /// Version this code writes, and the highest it reads.
    pub const VERSION: u16 = 1;

    /// Position in the file of the slot that this sequence goes to.
    #[must_use]
    pub fn slot_position(&self) -> u64 {
        (self.sequence % 2) * Self::SLOT_BYTES as u64
    }

    /// The bytes of the slot; zeros follow up to its end.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::BYTES] {
        let mut layout = RecoveryPointLayout {
            magic: *MAGIC,
            crc: 0.into(),
            version: Self::VERSION.into(),
            flags: if self.is_clean { CLEAN } else { 0 }.into(),
            reserved: 0.into(),
            sequence: self.sequence.into(),
            directory_id: self.directory_id.0.into(),
            epoch: self.epoch.into(),
            salt: self.salt.into(),
            checkpoint: self.checkpoint.into(),
            flushed_group: self.flushed_group.into(),
            flushed_file: self.flushed_file.into(),
            flushed_end: self.flushed_end.into(),
            reserved_2: [0; 48],
        };
        layout.crc = crc32fast::hash(&layout.as_bytes()[8..]).into();
        to_array(&layout)
    }

    /// Reads a slot: at least its 128 bytes; whatever is given beyond them must be zero.
    ///
    /// # Errors
    /// Bytes that are not an intact slot of a known version.
    pub fn decode(slot: &[u8]) -> Result<Self, DecodeError> {
        let layout: RecoveryPointLayout = read(WHAT, slot)?;
        check_magic(WHAT, &layout.magic, MAGIC)?;
        check_crc(
            WHAT,
            layout.crc.get(),
            crc32fast::hash(&slot[8..Self::BYTES]),
        )?;
        check_version(WHAT, layout.version.get(), Self::VERSION)?;
        if layout.flags.get() & !CLEAN != 0 {
            return Err(DecodeError::field(
                "flags of a recovery point",
                layout.flags.get(),
                "with a bit that no version knows",
            ));
        }
        check_zero_fields!(WHAT, layout: RecoveryPointLayout; reserved, reserved_2);
        check_zero(WHAT, &slot[Self::BYTES..], Self::BYTES)?;
        Ok(Self {
            is_clean: layout.flags.get() & CLEAN != 0,
            sequence: layout.sequence.get(),
            directory_id: Incarnation(layout.directory_id.get()),
            epoch: layout.epoch.get(),
            salt: layout.salt.get(),
            checkpoint: layout.checkpoint.get(),
            flushed_group: layout.flushed_group.get(),
            flushed_file: layout.flushed_file.get(),
            flushed_end: layout.flushed_end.get(),
        })
    }

    /// The recovery point of a file with these two slots: the intact one with the higher sequence.
    ///
    /// # Errors
    /// [`NoRecoveryPoint`] when neither is intact, and when either is intact but of a newer
    /// version: then a newer broker has run here, and the older slot is out of date.
    pub fn newest(slot_a: &[u8], slot_b: &[u8]) -> Result<Self, NoRecoveryPoint> {
        match (Self::decode_slot(slot_a, 0), Self::decode_slot(slot_b, 1)) {
            (Ok(a), Ok(b)) => Ok(if a.sequence > b.sequence { a } else { b }),
            (Ok(point), Err(error)) | (Err(error), Ok(point)) => match error {
                DecodeError::UnsupportedVersion { .. } => Err(NoRecoveryPoint::Newer(error)),
                _ => Ok(point),
            },
            (
                Err(DecodeError::UnsupportedVersion {
                    what,
                    found,
                    supported,
                }),
                _,
            )
            | (
                _,
                Err(DecodeError::UnsupportedVersion {
                    what,
                    found,
                    supported,
                }),
            ) => Err(NoRecoveryPoint::Newer(DecodeError::UnsupportedVersion {
                what,
                found,
                supported,
            })),
            (Err(slot_a), Err(slot_b)) => Err(NoRecoveryPoint::Damaged { slot_a, slot_b }),
        }
    }

    fn decode_slot(slot: &[u8], parity: u64) -> Result<Self, DecodeError> {
        let point = Self::decode(slot)?;
        if point.sequence % 2 != parity {
            return Err(DecodeError::field(
                "sequence of a recovery point",
                point.sequence,
                "which belongs into the other slot",
            ));
        }
        Ok(point)
    }
}

/// Why a file has no recovery point to start from.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRecoveryPoint {
    /// Neither slot is intact.
    #[error("neither slot is intact: the first: {slot_a}; the second: {slot_b}")]
    Damaged {
        /// What is wrong with the first.
        slot_a: DecodeError,
        /// What is wrong with the second.
        slot_b: DecodeError,
    },
    /// A newer npayload has written to the directory.
    #[error(transparent)]
    Newer(DecodeError),
}
