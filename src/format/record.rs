//! One record inside a batch, and the walk over all of them.

use std::fmt;
use std::ops::{Deref, Range};

use bytes::Bytes;
use zerocopy::little_endian::{I64, U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::layout::{check_len, fields, read};
use super::{DecodeError, Layout};
use crate::types::{Offset, Timestamp};

/// Bytes of a record in front of its type, key, headers and payload.
pub const RECORD_HEADER_BYTES: usize = 24;
/// Largest record of any channel, header included.
pub const MAX_RECORD_BYTES: usize = 64 << 20;
/// Longest type of a record.
pub const MAX_TYPE_BYTES: usize = 256;
/// Most headers of a record.
pub const MAX_HEADERS_PER_RECORD: usize = 255;

pub(super) const KEY: u8 = 1 << 0;
pub(super) const PAYLOAD: u8 = 1 << 1;
pub(super) const EVENT_TIME: u8 = 1 << 2;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct RecordLayout {
    pub length: U32,
    pub offset_delta: U32,
    pub event_time: I64,
    pub key_len: U32,
    pub type_len: U16,
    pub header_count: u8,
    pub flags: u8,
}

pub(super) const LAYOUT: Layout = fields!("Record": RecordLayout, RECORD_HEADER_BYTES;
    length, offset_delta, event_time, key_len, type_len, header_count, flags);

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub(super) struct HeaderLayout {
    pub name_len: U16,
    pub value_len: U32,
}

pub(super) const HEADER_BYTES: usize = 6;
pub(super) const HEADER_LAYOUT: Layout = fields!("Header pair": HeaderLayout, HEADER_BYTES;
    name_len, value_len);

/// A record as a consumer sees it. Its parts are slices of the batch, or of the one buffer a
/// compressed batch was decompressed to; nothing is copied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Number in the channel.
    pub offset: Offset,
    /// When the broker appended its batch.
    pub append_time: Timestamp,
    /// When it happened, if the producer said so.
    pub event_time: Option<Timestamp>,
    /// What it is, such as `inference.feedback`; may be empty.
    pub record_type: Text,
    /// What it is about. Absent is not empty.
    pub key: Option<Bytes>,
    /// Names and values, in the producer's order; a name may occur twice.
    pub headers: Vec<(Text, Bytes)>,
    /// Its contents. Absent is not empty: under a key it is a tombstone.
    pub payload: Option<Bytes>,
}

/// UTF-8 text that shares the memory of the batch it came from.
#[derive(Clone, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text(Bytes);

impl Text {
    /// The text as `str`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("checked when the text was made")
    }

    /// The bytes of the text, sharing its memory.
    #[must_use]
    pub fn into_bytes(self) -> Bytes {
        self.0
    }
}

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        self.as_str()
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl PartialEq<str> for Text {
    fn eq(&self, other: &str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl PartialEq<&str> for Text {
    fn eq(&self, other: &&str) -> bool {
        self.0 == other.as_bytes()
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self)
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The records of one batch, in offset order; made by [`records`](super::records).
///
/// After an error it ends: nothing behind a malformed record can be trusted.
#[derive(Clone, Debug)]
pub struct Records {
    pub(super) bytes: Bytes,
    pub(super) walk: Walk,
    pub(super) base_offset: Offset,
    pub(super) append_time: Timestamp,
}

impl Iterator for Records {
    type Item = Result<Record, DecodeError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let parts = match self.walk.next(&self.bytes)? {
            Ok(parts) => parts,
            Err(error) => return Some(Err(error)),
        };
        let slice = |range: &Range<usize>| self.bytes.slice(range.clone());
        Some(Ok(Record {
            offset: Offset(self.base_offset.0 + u64::from(parts.offset_delta)),
            append_time: self.append_time,
            event_time: parts.event_time,
            record_type: Text(slice(&parts.record_type)),
            key: parts.key.as_ref().map(slice),
            headers: match parts.header_count {
                0 => Vec::new(),
                _ => parts
                    .headers(&self.bytes)
                    .map(|(name, value)| (Text(slice(&name)), slice(&value)))
                    .collect(),
            },
            payload: parts.payload.as_ref().map(slice),
        }))
    }
}

/// A position in a records part: one function walks it at the door and for a reader, so that the
/// two cannot disagree.
#[derive(Clone, Debug)]
pub(super) struct Walk {
    position: usize,
    remaining: u32,
    next_delta: u32,
    rules: WalkRules,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct WalkRules {
    pub max_record_bytes: usize,
    /// Deltas stay below it.
    pub offset_span: u32,
    /// Whether deltas may skip numbers.
    pub sparse: bool,
}

/// Where the parts of a record lie in the records part; checked to be inside, and text to be UTF-8.
#[derive(Debug)]
pub(super) struct RecordParts {
    offset_delta: u32,
    event_time: Option<Timestamp>,
    record_type: Range<usize>,
    key: Option<Range<usize>>,
    headers_at: usize,
    header_count: u8,
    payload: Option<Range<usize>>,
}

impl Walk {
    pub(super) fn new(record_count: u32, rules: WalkRules) -> Self {
        Self {
            position: 0,
            remaining: record_count,
            next_delta: 0,
            rules,
        }
    }

    /// The next record; none after the last, which must end where the bytes do.
    ///
    /// Compiled into each of its two loops: at the door nobody looks at the parts.
    #[inline(always)]
    pub(super) fn next(&mut self, bytes: &[u8]) -> Option<Result<RecordParts, DecodeError>> {
        if self.remaining == 0 {
            let rest = bytes.len() - self.position;
            if rest == 0 {
                return None;
            }
            self.position = bytes.len();
            return Some(Err(DecodeError::length(
                "bytes after the last record",
                rest as u64,
                0,
            )));
        }
        let found = self.step(bytes);
        if found.is_err() {
            self.remaining = 0;
            self.position = bytes.len();
        }
        Some(found)
    }

    #[inline(always)]
    fn step(&mut self, bytes: &[u8]) -> Result<RecordParts, DecodeError> {
        let (parts, end) = RecordParts::read(bytes, self.position, self.rules.max_record_bytes)?;
        let delta = parts.offset_delta;
        let in_order = if self.rules.sparse {
            delta >= self.next_delta && delta < self.rules.offset_span
        } else {
            delta == self.next_delta
        };
        if !in_order {
            return Err(DecodeError::field(
                "offset_delta of a record",
                delta,
                "which does not follow from the record before",
            ));
        }
        self.next_delta = delta.saturating_add(1);
        self.remaining -= 1;
        self.position = end;
        Ok(parts)
    }
}

impl RecordParts {
    /// The record at `start`, and where it ends.
    #[inline(always)]
    fn read(
        bytes: &[u8],
        start: usize,
        max_record_bytes: usize,
    ) -> Result<(Self, usize), DecodeError> {
        let header: RecordLayout = read("record", &bytes[start..])?;
        let length = header.length.get() as usize;
        if length < RECORD_HEADER_BYTES {
            return Err(DecodeError::field(
                "length of a record",
                header.length.get(),
                "which is less than its header",
            ));
        }
        if length > max_record_bytes {
            return Err(DecodeError::length(
                "length of a record",
                length as u64,
                max_record_bytes as u64,
            ));
        }
        check_len("record", &bytes[start..], length)?;
        let end = start + length;
        let flags = header.flags;
        if flags & !(KEY | PAYLOAD | EVENT_TIME) != 0 {
            return Err(DecodeError::field(
                "flags of a record",
                flags,
                "with a bit that no version knows",
            ));
        }
        let event_time = (flags & EVENT_TIME != 0).then(|| Timestamp(header.event_time.get()));
        if event_time.is_none() && header.event_time.get() != 0 {
            return Err(DecodeError::field(
                "event_time of a record",
                header.event_time.get().cast_unsigned(),
                "without its flag",
            ));
        }
        if flags & KEY == 0 && header.key_len.get() != 0 {
            return Err(DecodeError::field(
                "key_len of a record",
                header.key_len.get(),
                "without the key's flag",
            ));
        }
        let type_len = usize::from(header.type_len.get());
        if type_len > MAX_TYPE_BYTES {
            return Err(DecodeError::length(
                "type_len of a record",
                type_len as u64,
                MAX_TYPE_BYTES as u64,
            ));
        }
        let mut cursor = Cursor {
            bytes,
            position: start + RECORD_HEADER_BYTES,
            end,
        };
        let record_type = cursor.take("type of a record", type_len)?;
        check_text("type of a record", &bytes[record_type.clone()])?;
        let key = cursor.take("key of a record", header.key_len.get() as usize)?;
        let headers_at = cursor.position;
        for _ in 0..header.header_count {
            let (name, _) = cursor.take_header()?;
            check_text("name of a record's header", &bytes[name])?;
        }
        let payload = cursor.position..end;
        if flags & PAYLOAD == 0 && !payload.is_empty() {
            return Err(DecodeError::field(
                "length of a record",
                header.length.get(),
                "which leaves bytes for a payload that its flags deny",
            ));
        }
        let parts = Self {
            offset_delta: header.offset_delta.get(),
            event_time,
            record_type,
            key: (flags & KEY != 0).then_some(key),
            headers_at,
            header_count: header.header_count,
            payload: (flags & PAYLOAD != 0).then_some(payload),
        };
        Ok((parts, end))
    }

    /// Where name and value of each header lie.
    fn headers(&self, bytes: &[u8]) -> impl Iterator<Item = (Range<usize>, Range<usize>)> {
        let mut cursor = Cursor {
            bytes,
            position: self.headers_at,
            end: bytes.len(),
        };
        (0..self.header_count).map_while(move |_| cursor.take_header().ok())
    }
}

/// Takes lengths off a record without leaving it.
struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
    end: usize,
}

impl Cursor<'_> {
    #[inline(always)]
    fn take(&mut self, what: &'static str, len: usize) -> Result<Range<usize>, DecodeError> {
        let left = self.end - self.position;
        if len > left {
            return Err(DecodeError::Short {
                what,
                needed: len as u64,
                found: left as u64,
            });
        }
        let from = self.position;
        self.position += len;
        Ok(from..self.position)
    }

    fn take_header(&mut self) -> Result<(Range<usize>, Range<usize>), DecodeError> {
        let at = self.take("header of a record", HEADER_BYTES)?;
        let lens: HeaderLayout = read("header of a record", &self.bytes[at])?;
        let name = self.take(
            "name of a record's header",
            usize::from(lens.name_len.get()),
        )?;
        let value = self.take("value of a record's header", lens.value_len.get() as usize)?;
        Ok((name, value))
    }
}

#[inline(always)]
fn check_text(what: &'static str, bytes: &[u8]) -> Result<(), DecodeError> {
    // Nearly every type and name is ASCII, a few bytes long, and then there is nothing to decode.
    if bytes.iter().fold(0, |all, byte| all | byte).is_ascii() {
        return Ok(());
    }
    check_utf8(what, bytes)
}

#[cold]
fn check_utf8(what: &'static str, bytes: &[u8]) -> Result<(), DecodeError> {
    match std::str::from_utf8(bytes) {
        Ok(_) => Ok(()),
        Err(error) => Err(DecodeError::Text {
            what,
            valid_up_to: error.valid_up_to() as u64,
            found: bytes.len() as u64,
        }),
    }
}
