//! The gap batch: stands in a log for records that were lost, in the very bytes they took up.
//!
//! It is an ordinary stored batch with a flag that only a repair sets, and one record that tells
//! why. So positions, offsets and whatever points at them stay as they were.

use std::mem::offset_of;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use zerocopy::{FromBytes, IntoBytes};

use super::batch::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BODY_AT, BatchHeader, GAP, SPARSE, VERSION,
};
use super::compression::Compression;
use super::record::{MAX_RECORD_BYTES, PAYLOAD, RECORD_HEADER_BYTES, RecordLayout};
use super::{DecodeError, Stamp, batch};
use crate::types::Timestamp;

/// Type of a gap's one record, where there is room for it. The flag decides, not the type.
pub const GAP_TYPE: &str = "npayload.gap";
/// Bytes of the smallest gap, which are those of the smallest batch: a header, and a record of
/// neither type nor payload.
pub const MIN_GAP_BYTES: usize = BATCH_HEADER_BYTES + RECORD_HEADER_BYTES;

/// Why records are missing, as far as the place they left had room to say it.
///
/// The payload of a gap's record, as JSON. Specified by `storage-format.md`, "Gaps".
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Gap {
    /// In one word: `damaged` (stored bytes failed their checksums), `missing` (a file was not
    /// there), `journal` (acknowledged groups of the journal were lost), `uncertain` (such groups
    /// were lost, and nobody knows whether a record of this log was among them). Empty when there
    /// was no room.
    pub reason: String,
    /// Record types that a copy is of, where nothing that the gap stands for has one of them.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub types: Vec<String>,
    /// What was wrong, for a person.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub what: String,
    /// File that held the records, relative to the data directory; empty when not known.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub file: String,
    /// First damaged byte in it.
    pub position: u64,
    /// Damaged bytes.
    pub length: u64,
    /// When the gap was written.
    pub repaired_at: Timestamp,
    /// Name and version of the program that wrote it.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub tool: String,
}

impl Gap {
    /// A stamped batch of exactly `len` bytes that stands for `offset_span` lost records from
    /// `stamp.base_offset` on. What does not fit of the reason is left out.
    ///
    /// # Panics
    /// When `len` is not a multiple of 8 from [`MIN_GAP_BYTES`] up to what one record of the
    /// largest size takes, or `offset_span` is zero.
    #[must_use]
    pub fn encode(&self, stamp: &Stamp, offset_span: u32, len: usize) -> Vec<u8> {
        assert!(offset_span > 0, "a gap of no offsets");
        assert!(
            len.is_multiple_of(BATCH_ALIGNMENT) && (MIN_GAP_BYTES..=Self::MAX_BYTES).contains(&len),
            "a gap of {len} bytes"
        );
        let records_len = len - BATCH_HEADER_BYTES;
        let room = records_len - RECORD_HEADER_BYTES;
        let record_type = if room >= GAP_TYPE.len() { GAP_TYPE } else { "" };
        let text = self.text(room - record_type.len());
        let narrow = |len: usize| u32::try_from(len).expect("within MAX_BYTES");
        let record = RecordLayout {
            length: narrow(records_len).into(),
            offset_delta: 0.into(),
            event_time: 0.into(),
            key_len: 0.into(),
            type_len: u16::try_from(record_type.len())
                .expect("a short constant")
                .into(),
            header_count: 0,
            flags: PAYLOAD,
        };
        let mut bytes = vec![0; BATCH_HEADER_BYTES];
        bytes.extend_from_slice(record.as_bytes());
        bytes.extend_from_slice(record_type.as_bytes());
        bytes.extend_from_slice(text.as_bytes());
        // Space around JSON is part of it, so the payload stays what it says.
        bytes.resize(len, b' ');
        let (header, _) = BatchHeader::mut_from_prefix(&mut bytes).expect("made with its room");
        header.length = narrow(len).into();
        header.version = VERSION.into();
        header.stamped_flags = (SPARSE | GAP).into();
        header.compression = Compression::None.number();
        header.record_count = 1.into();
        header.offset_span = offset_span.into();
        header.uncompressed_len = narrow(records_len).into();
        header.records_len = narrow(records_len).into();
        let crc = crc32fast::hash(&bytes[BODY_AT..]);
        let at = offset_of!(BatchHeader, body_crc);
        bytes[at..at + 4].copy_from_slice(&crc.to_le_bytes());
        batch::stamp(&mut bytes, stamp);
        bytes
    }

    /// The largest gap: one record of the largest size.
    pub const MAX_BYTES: usize = BATCH_HEADER_BYTES + MAX_RECORD_BYTES;

    /// What a batch says of the records it stands for; `None` when it holds records.
    ///
    /// A gap that had no room for its reason, or that another program wrote with other words, is
    /// told with as much as could be read.
    ///
    /// # Errors
    /// As [`records`](super::records), whose checks `batch` must have passed.
    pub fn of(batch: &Bytes) -> Result<Option<Self>, DecodeError> {
        let header: BatchHeader = super::layout::read("batch header", batch)?;
        if !header.is_gap() {
            return Ok(None);
        }
        let record = super::records(batch)?.next().transpose()?;
        let payload = record.and_then(|record| record.payload);
        let gap = payload.and_then(|payload| serde_json::from_slice(&payload).ok());
        Ok(Some(gap.unwrap_or_default()))
    }

    /// As much of the JSON as `room` bytes hold.
    fn text(&self, room: usize) -> String {
        let without_words = Self {
            what: String::new(),
            ..self.clone()
        };
        let without_place = Self {
            file: String::new(),
            tool: String::new(),
            ..without_words.clone()
        };
        let bare = serde_json::json!({ "reason": self.reason }).to_string();
        [self, &without_words, &without_place]
            .map(|gap| serde_json::to_string(gap).expect("plain fields"))
            .into_iter()
            .chain([bare, "{}".to_owned()])
            .find(|text| text.len() <= room)
            .unwrap_or_default()
    }
}
