//! The record batch: the unit of append, checksum, replication and read.
//!
//! A producer builds it, the broker checks it at the door and stamps its own fields, and the same
//! bytes lie in the journal, in the segment and in a reader's hands. Two checksums cover it: the
//! producer's over everything it wrote, the broker's over everything it stamped. A batch that the
//! broker encrypts at rest is another version of it: see `seal.rs`.

mod rules;

use std::mem::offset_of;

use bytes::Bytes;
use zerocopy::little_endian::{I64, U16, U32, U64, U128};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::compression::{Compression, decompress};
use super::layout::{check_crc, check_len, check_version, check_zero_fields, fields, read};
use super::record::{MAX_RECORD_BYTES, Records, Walk, WalkRules};
use super::seal::SEAL_BYTES;
use super::{DecodeError, Layout};
use crate::types::{Incarnation, LogEpoch, Offset, ProducerId, Timestamp};

/// Bytes in front of the records.
pub const BATCH_HEADER_BYTES: usize = 128;
/// Largest batch, as stored and as decompressed, header and padding included: one record of the
/// largest size, and room for what surrounds it.
pub const MAX_BATCH_BYTES: usize = MAX_RECORD_BYTES + (64 << 10);
/// Largest batch on a disk: an encrypted one is longer than what it was made of.
pub const MAX_STORED_BATCH_BYTES: usize = MAX_BATCH_BYTES + SEAL_BYTES;
/// Most records of a batch.
pub const MAX_RECORDS_PER_BATCH: u32 = 1_000_000;
/// Version of a batch as producers send it and consumers get it.
pub const VERSION: u16 = 1;
/// Version of a batch that is encrypted at rest, and the highest that is read.
pub const SEALED_VERSION: u16 = 2;
/// A batch's length is a multiple of it.
pub const BATCH_ALIGNMENT: usize = 8;

/// Bit of the stamped flags: the span of offsets may exceed the count of records.
pub(super) const SPARSE: u16 = 1 << 0;
/// Bit of the stamped flags: the batch stands for records that were lost.
pub(super) const GAP: u16 = 1 << 1;

// Where the parts of the header begin; the checksums are declared in terms of them.
pub(super) const HEADER_CRC_AT: usize = offset_of!(BatchHeader, header_crc);
pub(super) const STAMPED_AT: usize = offset_of!(BatchHeader, version);
pub(super) const BODY_CRC_AT: usize = offset_of!(BatchHeader, body_crc);
pub(super) const INCARNATION_AT: usize = offset_of!(BatchHeader, incarnation);
pub(super) const BODY_AT: usize = offset_of!(BatchHeader, compression);

/// Header of a batch: 72 bytes that the broker stamps, then the producer's 56.
///
/// Specified by `storage-format.md`, "Batch header".
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned,
)]
#[repr(C)]
pub struct BatchHeader {
    pub(super) length: U32,
    pub(super) header_crc: U32,
    pub(super) version: U16,
    pub(super) stamped_flags: U16,
    pub(super) body_crc: U32,
    incarnation: U128,
    base_offset: U64,
    append_time: I64,
    log_epoch: U64,
    principal: U32,
    pub(super) key_id: U32,
    origin_region: U16,
    reserved: [u8; 6],
    pub(super) compression: u8,
    flags: u8,
    reserved_2: U16,
    pub(super) record_count: U32,
    pub(super) offset_span: U32,
    pub(super) uncompressed_len: U32,
    pub(super) producer_id: U128,
    pub(super) producer_epoch: U32,
    pub(super) records_len: U32,
    pub(super) base_sequence: U64,
    pub(super) fence: U64,
}

pub(super) const LAYOUT: Layout = fields!("Batch header": BatchHeader, BATCH_HEADER_BYTES;
    length, header_crc, version, stamped_flags, body_crc, incarnation, base_offset, append_time,
    log_epoch, principal, key_id, origin_region, reserved, compression, flags, reserved_2,
    record_count, offset_span, uncompressed_len, producer_id, producer_epoch, records_len,
    base_sequence, fence);

/// What a channel lets in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DoorLimits {
    /// Largest record, its 24-byte header included.
    pub max_record_bytes: u32,
    /// Whether LZ4 batches are allowed.
    pub lz4: bool,
    /// Whether zstd batches are allowed.
    pub zstd: bool,
}

/// What the broker stamps on a batch as it appends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The log the batch belongs to.
    pub incarnation: Incarnation,
    /// Offset of its first record.
    pub base_offset: Offset,
    /// Time of the append, never decreasing within a log.
    pub append_time: Timestamp,
    /// Epoch of the log at the append.
    pub log_epoch: LogEpoch,
    /// Who produced it; 0 when nobody had to say.
    pub principal: u32,
}

impl BatchHeader {
    /// Reads the header of a stored batch from its first bytes, without its body.
    ///
    /// The stamped part is verified by its checksum: length, offsets, times, epoch, and the body's
    /// checksum. The producer's part ([`record_count`](Self::record_count) and what follows it,
    /// [`end_offset`](Self::end_offset) too) lies under the body's checksum: trust it after
    /// [`check_stored`], or where another checksum already covered these bytes.
    ///
    /// # Errors
    /// Fewer than [`BATCH_HEADER_BYTES`], a length that no batch has (zero is unwritten space), a
    /// checksum that does not match, an unknown version, a reserved field in use.
    pub fn peek(bytes: &[u8]) -> Result<Self, DecodeError> {
        let header: Self = read("batch header", bytes)?;
        header.check_length(MAX_STORED_BATCH_BYTES)?;
        check_crc(
            "batch header",
            header.header_crc.get(),
            header_crc_of(bytes),
        )?;
        check_version("batch", header.version.get(), SEALED_VERSION)?;
        let flags = header.stamped_flags.get();
        if flags & !(SPARSE | GAP) != 0 {
            return Err(DecodeError::field(
                "stamped_flags of a batch",
                flags,
                "with a bit that no version knows",
            ));
        }
        if flags & (SPARSE | GAP) == GAP {
            return Err(DecodeError::field(
                "stamped_flags of a batch",
                flags,
                "with a gap that is not sparse",
            ));
        }
        header.check_key()?;
        if header.origin_region.get() != 0 {
            return Err(DecodeError::field(
                "origin_region of a batch",
                header.origin_region.get(),
                "and no version copies between regions yet",
            ));
        }
        check_zero_fields!("batch header", header: Self; reserved);
        Ok(header)
    }

    /// Reads the header of a batch as its producer sends it, from its first bytes. Nothing of it is
    /// checked: [`check_produced`] does that.
    ///
    /// # Errors
    /// Fewer than [`BATCH_HEADER_BYTES`].
    pub fn peek_produced(bytes: &[u8]) -> Result<Self, DecodeError> {
        read("batch header", bytes)
    }

    /// Bytes of the whole batch, padding included: a multiple of 8.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no batch is empty")]
    pub fn len(&self) -> usize {
        self.length.get() as usize
    }

    /// The broker's checksum, over length and stamped fields; 0 before the stamp.
    #[must_use]
    pub fn header_crc(&self) -> u32 {
        self.header_crc.get()
    }

    /// The producer's checksum, over everything from byte 72.
    #[must_use]
    pub fn body_crc(&self) -> u32 {
        self.body_crc.get()
    }

    /// Whether its records are encrypted: [`unseal`](super::unseal) makes them readable.
    #[must_use]
    pub fn is_sealed(&self) -> bool {
        self.key_id.get() != 0
    }

    /// Whether offsets may be missing between its records.
    #[must_use]
    pub fn is_sparse(&self) -> bool {
        self.stamped_flags.get() & SPARSE != 0
    }

    /// Whether it stands for records that were lost; [`Gap::of`](super::Gap::of) tells why.
    #[must_use]
    pub fn is_gap(&self) -> bool {
        self.stamped_flags.get() & GAP != 0
    }

    /// The log it belongs to.
    #[must_use]
    pub fn incarnation(&self) -> Incarnation {
        Incarnation(self.incarnation.get())
    }

    /// Offset of its first record.
    #[must_use]
    pub fn base_offset(&self) -> Offset {
        Offset(self.base_offset.get())
    }

    /// Offset after its last one: base plus span, exclusive.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        Offset(
            self.base_offset
                .get()
                .saturating_add(u64::from(self.offset_span.get())),
        )
    }

    /// When the broker appended it.
    #[must_use]
    pub fn append_time(&self) -> Timestamp {
        Timestamp(self.append_time.get())
    }

    /// Epoch of the log when it was appended.
    #[must_use]
    pub fn log_epoch(&self) -> LogEpoch {
        LogEpoch(self.log_epoch.get())
    }

    /// Who produced it; 0 when nobody had to say.
    #[must_use]
    pub fn principal(&self) -> u32 {
        self.principal.get()
    }

    /// Key that encrypts the batch at rest; 0 is none.
    #[must_use]
    pub fn key_id(&self) -> u32 {
        self.key_id.get()
    }

    /// Region that appended it first; 0 is this one.
    #[must_use]
    pub fn origin_region(&self) -> u16 {
        self.origin_region.get()
    }

    /// How its records are stored; none when the number is unknown, which [`check_stored`] and
    /// [`check_produced`] refuse.
    #[must_use]
    pub fn compression(&self) -> Option<Compression> {
        Compression::from_number(self.compression)
    }

    /// Records in it, at least 1.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count.get()
    }

    /// Offsets it takes up; equal to the count unless it [is sparse](Self::is_sparse).
    #[must_use]
    pub fn offset_span(&self) -> u32 {
        self.offset_span.get()
    }

    /// Bytes of its records part before compression.
    #[must_use]
    pub fn uncompressed_len(&self) -> usize {
        self.uncompressed_len.get() as usize
    }

    /// Bytes of its records part as stored, padding excluded.
    #[must_use]
    pub fn records_len(&self) -> usize {
        self.records_len.get() as usize
    }

    /// Idempotent producer that built it, or [`ProducerId::NONE`].
    #[must_use]
    pub fn producer_id(&self) -> ProducerId {
        ProducerId(self.producer_id.get())
    }

    /// The producer's epoch; a higher one fences off the lower.
    #[must_use]
    pub fn producer_epoch(&self) -> u32 {
        self.producer_epoch.get()
    }

    /// The producer's sequence number of the first record.
    #[must_use]
    pub fn base_sequence(&self) -> u64 {
        self.base_sequence.get()
    }

    /// Fencing token of the append; 0 is none.
    #[must_use]
    pub fn fence(&self) -> u64 {
        self.fence.get()
    }

    /// Where the records part begins.
    fn records_at(&self) -> usize {
        match self.is_sealed() {
            true => BATCH_HEADER_BYTES + SEAL_BYTES,
            false => BATCH_HEADER_BYTES,
        }
    }

    fn walk(&self, max_record_bytes: usize) -> Walk {
        Walk::new(
            self.record_count.get(),
            WalkRules {
                max_record_bytes,
                offset_span: self.offset_span.get(),
                sparse: self.is_sparse(),
            },
        )
    }
}

/// Checks a batch as a producer sends it, down to the last record: the door of the log.
///
/// `bytes` is the batch and nothing else. What passes can be stamped and stored as it is.
///
/// # Errors
/// Any rule of `storage-format.md`, "Batch header" and "Record", that the batch breaks, and what
/// `limits` do not allow. Memory spent on a compressed batch stays within the length it declares,
/// which is checked first, and the decompressor's fixed buffers.
pub fn check_produced(bytes: &[u8], limits: &DoorLimits) -> Result<BatchHeader, DecodeError> {
    let header: BatchHeader = read("batch header", bytes)?;
    header.check_length(MAX_BATCH_BYTES)?;
    check_version("batch", header.version.get(), VERSION)?;
    check_whole(&header, bytes)?;
    // What the broker stamps must be empty, its checksum too, so that nothing can be smuggled in.
    check_zero_fields!("batch header", header: BatchHeader;
        header_crc, stamped_flags, incarnation, base_offset, append_time, log_epoch, principal,
        key_id, origin_region, reserved);
    check_crc(
        "batch body",
        header.body_crc.get(),
        crc32fast::hash(&bytes[BODY_AT..]),
    )?;
    let compression = header.check_producer_part(bytes)?;
    let allowed = match compression {
        Compression::None => true,
        Compression::Lz4 => limits.lz4,
        Compression::Zstd => limits.zstd,
    };
    if !allowed {
        return Err(DecodeError::field(
            "compression of a batch",
            header.compression,
            "which this channel does not allow",
        ));
    }
    let max_record_bytes = limits.max_record_bytes as usize;
    let most = u64::from(header.record_count.get()) * u64::from(limits.max_record_bytes);
    // Before anything is decompressed; of others the record itself is told below.
    if compression != Compression::None && header.uncompressed_len() as u64 > most {
        return Err(DecodeError::length(
            "uncompressed_len of a batch",
            header.uncompressed_len() as u64,
            most,
        ));
    }
    let stored = &bytes[BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + header.records_len()];
    let decompressed;
    let raw = if compression == Compression::None {
        stored
    } else {
        decompressed = decompress(stored, compression, header.uncompressed_len())?;
        &decompressed
    };
    let mut walk = header.walk(max_record_bytes);
    while let Some(record) = walk.next(raw) {
        record?;
    }
    Ok(header)
}

/// Fills in the fields that are the broker's and the checksum over them; returns the header as it
/// now stands.
///
/// # Panics
/// When `batch` is shorter than a batch header: it must have passed [`check_produced`].
pub fn stamp(batch: &mut [u8], stamp: &Stamp) -> BatchHeader {
    let (header, _) =
        BatchHeader::mut_from_prefix(batch).expect("a batch that was checked has a header");
    header.incarnation = stamp.incarnation.0.into();
    header.base_offset = stamp.base_offset.0.into();
    header.append_time = stamp.append_time.0.into();
    header.log_epoch = stamp.log_epoch.0.into();
    header.principal = stamp.principal.into();
    header.header_crc = header_crc_of(header.as_bytes()).into();
    *header
}

/// Takes back what [`stamp`] has filled in: the batch is as its producer has sent it, and another log
/// may take it.
///
/// # Panics
/// When `batch` is shorter than a batch header: it must have passed [`check_stored`].
pub fn unstamp(batch: &mut [u8]) {
    let (header, _) =
        BatchHeader::mut_from_prefix(batch).expect("a batch that was checked has a header");
    header.incarnation = 0.into();
    header.base_offset = 0.into();
    header.append_time = 0.into();
    header.log_epoch = 0.into();
    header.principal = 0.into();
    header.header_crc = 0.into();
}

/// Checks a stored batch: both checksums and every rule of its header, without decompressing or
/// decrypting it.
///
/// `bytes` is the batch and nothing else.
///
/// # Errors
/// As [`BatchHeader::peek`]; besides, a length other than that of `bytes`, a body that does not
/// match its checksum, and a producer's part that breaks a rule.
pub fn check_stored(bytes: &[u8]) -> Result<BatchHeader, DecodeError> {
    let header = BatchHeader::peek(bytes)?;
    check_whole(&header, bytes)?;
    check_crc(
        "batch body",
        header.body_crc.get(),
        crc32fast::hash(&bytes[BODY_AT..]),
    )?;
    header.check_producer_part(bytes)?;
    Ok(header)
}

/// The records of a batch, decompressed when they have to be.
///
/// Checksums are not looked at, so a batch from a file or from the network goes through
/// [`check_stored`] first. `batch` is the batch and nothing else, stamped or not.
///
/// # Errors
/// A header that breaks a rule or records that do not decompress; [`DecodeError::Encrypted`]. A
/// record that breaks a rule is an error of the iterator.
pub fn records(batch: &Bytes) -> Result<Records, DecodeError> {
    let header: BatchHeader = read("batch header", batch)?;
    header.check_length(MAX_STORED_BATCH_BYTES)?;
    check_version("batch", header.version.get(), SEALED_VERSION)?;
    header.check_key()?;
    if header.is_sealed() {
        let key_id = header.key_id();
        return Err(DecodeError::Encrypted { key_id });
    }
    check_whole(&header, batch)?;
    let compression = header.check_producer_part(batch)?;
    let stored = batch.slice(BATCH_HEADER_BYTES..BATCH_HEADER_BYTES + header.records_len());
    let bytes = if compression == Compression::None {
        stored
    } else {
        decompress(&stored, compression, header.uncompressed_len())?.into()
    };
    Ok(Records {
        bytes,
        walk: header.walk(MAX_RECORD_BYTES),
        base_offset: header.base_offset(),
        append_time: header.append_time(),
    })
}

pub(super) fn check_whole(header: &BatchHeader, bytes: &[u8]) -> Result<(), DecodeError> {
    check_len("batch", bytes, header.len())?;
    if bytes.len() > header.len() {
        return Err(DecodeError::length(
            "bytes given for a batch",
            bytes.len() as u64,
            header.len() as u64,
        ));
    }
    Ok(())
}

/// The checksum over all bytes of a stored batch, of which only those before the body are read: the
/// batch has that of its body itself, which was checked at the door.
///
/// # Panics
/// With fewer bytes than a header.
#[must_use]
pub fn whole_crc(bytes: &[u8]) -> crc32fast::Hasher {
    let (stamped, body) = bytes.split_at(BODY_AT);
    let body_crc = bytes[BODY_CRC_AT..BODY_CRC_AT + 4].try_into();
    let body_crc = u32::from_le_bytes(body_crc.expect("four bytes"));
    let mut crc = crc32fast::Hasher::new();
    crc.update(stamped);
    let len = body.len() as u64;
    crc.combine(&crc32fast::Hasher::new_with_initial_len(body_crc, len));
    crc
}

/// Checksum of the length and the stamped fields: everything before the body but itself.
pub(super) fn header_crc_of(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..HEADER_CRC_AT]);
    crc.update(&bytes[STAMPED_AT..BODY_AT]);
    crc.finalize()
}
