//! The rules of a header that need nothing but the batch itself.

use super::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BatchHeader, MAX_BATCH_BYTES, MAX_RECORDS_PER_BATCH,
    VERSION,
};
use crate::format::DecodeError;
use crate::format::compression::Compression;
use crate::format::layout::{check_zero, check_zero_fields};
use crate::format::record::RECORD_HEADER_BYTES;

impl BatchHeader {
    /// A key and the version that has one go together, and so does its room.
    pub(super) fn check_key(&self) -> Result<(), DecodeError> {
        let key = self.key_id.get();
        if self.version.get() == VERSION {
            if key != 0 {
                let rule = "and a batch of version 1 is not encrypted";
                return Err(DecodeError::field("key_id of a batch", key, rule));
            }
            return self.check_length(MAX_BATCH_BYTES);
        }
        if key == 0 {
            let rule = "and a batch of version 2 has a key";
            return Err(DecodeError::field("key_id of a batch", key, rule));
        }
        if self.is_gap() {
            let flags = self.stamped_flags.get();
            let rule = "with a gap that is encrypted";
            return Err(DecodeError::field("stamped_flags of a batch", flags, rule));
        }
        Ok(())
    }

    pub(super) fn check_length(&self, most: usize) -> Result<(), DecodeError> {
        let length = self.len();
        if length > most {
            return Err(DecodeError::length(
                "length of a batch",
                length as u64,
                most as u64,
            ));
        }
        if length < BATCH_HEADER_BYTES || !length.is_multiple_of(BATCH_ALIGNMENT) {
            return Err(DecodeError::field(
                "length of a batch",
                self.length.get(),
                "which is not a multiple of 8 of at least 128",
            ));
        }
        Ok(())
    }

    /// The rules of the producer's part, which need nothing but the header and the padding.
    pub(super) fn check_producer_part(&self, bytes: &[u8]) -> Result<Compression, DecodeError> {
        let Some(compression) = self.compression() else {
            return Err(DecodeError::field(
                "compression of a batch",
                self.compression,
                "which is none of none (1), lz4 (2) and zstd (3)",
            ));
        };
        if self.flags != 0 {
            return Err(DecodeError::field(
                "flags of a batch",
                self.flags,
                "with a bit that no version knows",
            ));
        }
        check_zero_fields!("batch header", self: Self; reserved_2);
        let count = self.record_count.get();
        if count == 0 {
            return Err(DecodeError::field(
                "record_count of a batch",
                count,
                "and a batch has at least one record",
            ));
        }
        if count > MAX_RECORDS_PER_BATCH {
            return Err(DecodeError::length(
                "record_count of a batch",
                u64::from(count),
                u64::from(MAX_RECORDS_PER_BATCH),
            ));
        }
        let span = self.offset_span.get();
        if span < count || (span > count && !self.is_sparse()) {
            return Err(DecodeError::field(
                "offset_span of a batch",
                span,
                "which does not agree with its record_count",
            ));
        }
        if self.is_gap() {
            self.check_gap(compression)?;
        }
        if self
            .base_offset
            .get()
            .checked_add(u64::from(span))
            .is_none()
        {
            return Err(DecodeError::field(
                "base_offset of a batch",
                self.base_offset.get(),
                "which leaves no room for its records",
            ));
        }
        let stored = self.records_len();
        let needed = self.records_at() + stored;
        if needed.next_multiple_of(BATCH_ALIGNMENT) != self.len() {
            return Err(DecodeError::field(
                "records_len of a batch",
                self.records_len.get(),
                "which does not agree with its length",
            ));
        }
        let raw = self.uncompressed_len();
        let max_raw = MAX_BATCH_BYTES - BATCH_HEADER_BYTES;
        if raw > max_raw {
            return Err(DecodeError::length(
                "uncompressed_len of a batch",
                raw as u64,
                max_raw as u64,
            ));
        }
        if raw < count as usize * RECORD_HEADER_BYTES {
            return Err(DecodeError::field(
                "uncompressed_len of a batch",
                self.uncompressed_len.get(),
                "which is too few bytes for its records",
            ));
        }
        if compression == Compression::None && raw != stored {
            return Err(DecodeError::field(
                "uncompressed_len of a batch",
                self.uncompressed_len.get(),
                "which differs from records_len without compression",
            ));
        }
        check_zero("batch padding", &bytes[needed..self.len()], needed)?;
        Ok(compression)
    }

    /// A gap is nobody's: one record that is not compressed, and no producer.
    fn check_gap(&self, compression: Compression) -> Result<(), DecodeError> {
        let wrong = "which a gap does not have";
        if self.record_count.get() != 1 {
            let count = self.record_count.get();
            return Err(DecodeError::field("record_count of a batch", count, wrong));
        }
        if compression != Compression::None {
            let found = self.compression;
            return Err(DecodeError::field("compression of a batch", found, wrong));
        }
        check_zero_fields!("header of a gap", self: Self;
            producer_id, producer_epoch, base_sequence, fence);
        Ok(())
    }
}
