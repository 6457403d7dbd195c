//! Records in, one batch out: what a producer does.

use bytes::{BufMut, BytesMut};
use zerocopy::{FromZeros, IntoBytes};

use super::batch::{
    BATCH_ALIGNMENT, BATCH_HEADER_BYTES, BODY_AT, BatchHeader, MAX_BATCH_BYTES,
    MAX_RECORDS_PER_BATCH, VERSION,
};
use super::compression::{Compression, compress};
use super::record::{
    EVENT_TIME, HEADER_BYTES, HeaderLayout, KEY, MAX_HEADERS_PER_RECORD, MAX_RECORD_BYTES,
    MAX_TYPE_BYTES, PAYLOAD, RECORD_HEADER_BYTES, RecordLayout,
};
use crate::types::{ProducerId, Timestamp};

/// A record to be published. Absent and empty differ, for the key and for the payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NewRecord<'a> {
    /// What it is, such as `inference.feedback`; at most 256 bytes.
    pub record_type: &'a str,
    /// What it is about.
    pub key: Option<&'a [u8]>,
    /// Names and values; at most 255.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Its contents; none under a key is a tombstone.
    pub payload: Option<&'a [u8]>,
    /// When it happened.
    pub event_time: Option<Timestamp>,
}

/// Why a record does not fit into a batch, or a batch cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// A part of the record is longer than the format can say.
    #[error("{what}: {found}, the limit is {limit}")]
    TooLong {
        /// The part.
        what: &'static str,
        /// Its length or count.
        found: u64,
        /// The highest allowed.
        limit: u64,
    },
    /// The batch has no room for the record: build it and start another.
    #[error("the batch is full at {bytes} bytes and {records} records")]
    Full {
        /// Bytes of the batch without the record.
        bytes: u64,
        /// Records of the batch without it.
        records: u32,
    },
    /// A batch has at least one record.
    #[error("a batch of no records cannot be built")]
    Empty,
}

/// Builds one batch.
///
/// ```
/// use bytes::Bytes;
/// use npayload::format::{BatchBuilder, Compression, NewRecord, records};
///
/// let mut builder = BatchBuilder::new(Compression::Lz4);
/// builder.push(&NewRecord { payload: Some(b"hello"), ..NewRecord::default() })?;
/// let batch: Bytes = builder.build()?.freeze();
/// let first = records(&batch)?.next().expect("one record was pushed")?;
/// assert_eq!(first.payload.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    /// The batch so far: room for its header, then the records.
    bytes: BytesMut,
    header: BatchHeader,
    record_count: u32,
    compression: Compression,
}

impl NewRecord<'_> {
    /// Bytes of the record in a batch, before compression.
    ///
    /// # Errors
    /// [`BuildError::TooLong`] when it breaks a limit of the format.
    #[inline]
    pub fn encoded_len(&self) -> Result<usize, BuildError> {
        if self.record_type.len() > MAX_TYPE_BYTES {
            let found = self.record_type.len();
            return Err(too_long("type of a record", found, MAX_TYPE_BYTES));
        }
        let mut length = RECORD_HEADER_BYTES
            .saturating_add(self.record_type.len())
            .saturating_add(self.key.unwrap_or_default().len())
            .saturating_add(self.payload.unwrap_or_default().len());
        if !self.headers.is_empty() {
            length = length.saturating_add(headers_len(self.headers)?);
        }
        if length > MAX_RECORD_BYTES {
            return Err(too_long("bytes of a record", length, MAX_RECORD_BYTES));
        }
        Ok(length)
    }
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub fn new(compression: Compression) -> Self {
        Self::in_buffer(compression, BytesMut::new())
    }

    /// An empty batch in this buffer, whose contents are gone and whose room is used.
    #[must_use]
    pub fn in_buffer(compression: Compression, mut buffer: BytesMut) -> Self {
        buffer.clear();
        buffer.resize(BATCH_HEADER_BYTES, 0);
        Self {
            bytes: buffer,
            header: BatchHeader::new_zeroed(),
            record_count: 0,
            compression,
        }
    }

    /// Adds a record behind the others. After an error the batch is what it was.
    ///
    /// # Errors
    /// [`BuildError::TooLong`] when the record breaks a limit of the format,
    /// [`BuildError::Full`] when it would fit into an empty batch but not into this one.
    pub fn push(&mut self, record: &NewRecord<'_>) -> Result<(), BuildError> {
        let length = record.encoded_len()?;
        self.push_measured(record, length)
    }

    /// As [`push`](Self::push), where `length` is what
    /// [`encoded_len`](NewRecord::encoded_len) gave for the record.
    ///
    /// # Errors
    /// [`BuildError::Full`] when it would fit into an empty batch but not into this one.
    #[inline]
    pub(crate) fn push_measured(
        &mut self,
        record: &NewRecord<'_>,
        length: usize,
    ) -> Result<(), BuildError> {
        let full = self.bytes.len() + length > MAX_BATCH_BYTES;
        if full || self.record_count == MAX_RECORDS_PER_BATCH {
            return Err(BuildError::Full {
                bytes: self.len() as u64,
                records: self.record_count,
            });
        }
        let flag = |set, flag| if set { flag } else { 0 };
        let header = RecordLayout {
            length: narrow(length).into(),
            offset_delta: self.record_count.into(),
            event_time: record.event_time.unwrap_or_default().0.into(),
            key_len: narrow(record.key.unwrap_or_default().len()).into(),
            type_len: narrow16(record.record_type.len()).into(),
            header_count: u8::try_from(record.headers.len()).expect("checked by encoded_len"),
            flags: flag(record.key.is_some(), KEY)
                | flag(record.payload.is_some(), PAYLOAD)
                | flag(record.event_time.is_some(), EVENT_TIME),
        };
        self.bytes.reserve(length);
        self.bytes.put_slice(header.as_bytes());
        self.bytes.put_slice(record.record_type.as_bytes());
        self.bytes.put_slice(record.key.unwrap_or_default());
        for (name, value) in record.headers {
            let lens = HeaderLayout {
                name_len: narrow16(name.len()).into(),
                value_len: narrow(value.len()).into(),
            };
            self.bytes.put_slice(lens.as_bytes());
            self.bytes.put_slice(name.as_bytes());
            self.bytes.put_slice(value);
        }
        self.bytes.put_slice(record.payload.unwrap_or_default());
        self.record_count += 1;
        Ok(())
    }

    /// Bytes of the batch if it were built now without compression: an upper bound.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len().next_multiple_of(BATCH_ALIGNMENT)
    }

    /// Records pushed so far.
    #[inline]
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.record_count
    }

    /// Whether nothing has been pushed yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.record_count == 0
    }

    /// Makes the append idempotent: the broker answers a repeated sequence with the first offset.
    /// `base_sequence` is the number of the first record among all that this producer sends to the
    /// channel.
    pub fn producer(&mut self, id: ProducerId, epoch: u32, base_sequence: u64) -> &mut Self {
        self.header.producer_id = id.0.into();
        self.header.producer_epoch = epoch.into();
        self.header.base_sequence = base_sequence.into();
        self
    }

    /// Sends a fencing token along: the broker refuses the append once it has seen a higher one.
    /// Zero is none.
    pub fn fence(&mut self, token: u64) -> &mut Self {
        self.header.fence = token.into();
        self
    }

    /// The batch as a producer sends it: unstamped, and uncompressed when compression does not make
    /// it smaller.
    ///
    /// # Errors
    /// [`BuildError::Empty`] without records.
    pub fn build(self) -> Result<BytesMut, BuildError> {
        if self.is_empty() {
            return Err(BuildError::Empty);
        }
        let Self {
            mut bytes,
            mut header,
            record_count,
            mut compression,
        } = self;
        let raw_len = bytes.len() - BATCH_HEADER_BYTES;
        match compress(&bytes[BATCH_HEADER_BYTES..], compression) {
            Some(stored) => {
                bytes.truncate(BATCH_HEADER_BYTES);
                bytes.extend_from_slice(&stored);
            }
            None => compression = Compression::None,
        }
        let records_len = bytes.len() - BATCH_HEADER_BYTES;
        bytes.resize(bytes.len().next_multiple_of(BATCH_ALIGNMENT), 0);
        header.length = narrow(bytes.len()).into();
        header.version = VERSION.into();
        header.compression = compression.number();
        header.record_count = record_count.into();
        header.offset_span = record_count.into();
        header.uncompressed_len = narrow(raw_len).into();
        header.records_len = narrow(records_len).into();
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
        header.body_crc = crc32fast::hash(&bytes[BODY_AT..]).into();
        bytes[..BATCH_HEADER_BYTES].copy_from_slice(header.as_bytes());
        Ok(bytes)
    }
}

/// Bytes of the headers of a record.
fn headers_len(headers: &[(&str, &[u8])]) -> Result<usize, BuildError> {
    if headers.len() > MAX_HEADERS_PER_RECORD {
        let found = headers.len();
        return Err(too_long(
            "headers of a record",
            found,
            MAX_HEADERS_PER_RECORD,
        ));
    }
    let mut length = 0_usize;
    for (name, value) in headers {
        let most = usize::from(u16::MAX);
        if name.len() > most {
            return Err(too_long("name of a record's header", name.len(), most));
        }
        length = length
            .saturating_add(HEADER_BYTES + name.len())
            .saturating_add(value.len());
    }
    Ok(length)
}

#[cold]
fn too_long(what: &'static str, found: usize, limit: usize) -> BuildError {
    BuildError::TooLong {
        what,
        found: found as u64,
        limit: limit as u64,
    }
}

#[inline]
fn narrow(len: usize) -> u32 {
    u32::try_from(len).expect("no part of a batch is longer than MAX_BATCH_BYTES")
}

#[inline]
fn narrow16(len: usize) -> u16 {
    u16::try_from(len).expect("checked by encoded_len")
}
