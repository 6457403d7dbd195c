//! Disk bytes ⇄ values: every structure of `storage-format.md`, declared once.
//!
//! Each file holds one structure: its layout as a `#[repr(C)]` struct of little-endian fields, the
//! value other rooms work with, and `encode` and `decode` between the two. A decoder accepts any
//! bytes without panicking, checks a length against its limit before it allocates, and refuses
//! whatever this version does not know. Checksums come before versions, so a damaged version field
//! is damage and an intact unknown one is [`DecodeError::UnsupportedVersion`].
//!
//! Deliberately not here: files, positions in files, and what to do about damage (`storage/`).

pub mod batch;
mod builder;
mod checkpoint;
mod compression;
mod error;
mod gap;
mod index_entry;
mod journal;
mod layout;
mod marker;
mod record;
mod recovery_point;
mod seal;
mod secret_file;
mod segment_header;
mod snapshot;

pub use batch::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, DoorLimits, MAX_BATCH_BYTES,
    MAX_RECORDS_PER_BATCH, MAX_STORED_BATCH_BYTES, Stamp, check_produced, check_stored, records,
    stamp, unstamp, whole_crc,
};
pub use builder::{BatchBuilder, BuildError, NewRecord};
pub use checkpoint::{Checkpoint, DamageKind, DamageRow, LogRow, ProducerRow};
pub use compression::Compression;
pub use error::DecodeError;
pub use gap::{GAP_TYPE, Gap, MIN_GAP_BYTES};
pub use index_entry::{IndexHeader, IndexKind, OffsetEntry, TimeEntry};
pub use journal::{
    GROUP_ALIGNMENT, GroupHeader, GroupItem, ItemKind, JournalFileHeader, items_crc,
};
pub use layout::{BLOCK_BYTES, LAYOUTS, Layout};
pub use marker::Marker;
pub use record::{
    MAX_HEADERS_PER_RECORD, MAX_RECORD_BYTES, MAX_TYPE_BYTES, RECORD_HEADER_BYTES, Record, Records,
    Text,
};
pub use recovery_point::{NoRecoveryPoint, RecoveryPoint};
pub use seal::{DataKey, NONCE_BYTES, SEAL_BYTES, Sealing, TAG_BYTES, seal, unseal};
pub use secret_file::SecretFile;
pub use segment_header::SegmentHeader;
pub use snapshot::{MAX_SNAPSHOT_PART_BYTES, SnapshotHeader, read_snapshot};

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
