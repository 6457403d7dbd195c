//! The digest of records of a channel, which anybody who can read them can compute. Specified by
//! docs/asp.md, "The digest of records".

use std::ops::Range;

use sha2::{Digest as _, Sha256};

use super::error::OutOfLimit;
use super::evidence::{MAX_REFERENCED_BYTES, MAX_REFERENCED_RECORDS};
use super::promise::within;
use crate::asp::MAX_INTEGER;
use crate::asp::chain::Digest;
use crate::types::{Offset, Timestamp};

const KEY: u8 = 1;
const PAYLOAD: u8 = 2;
const EVENT_TIME: u8 = 4;

/// A record of a channel, as far as its digest goes.
#[derive(Clone, Copy, Debug)]
pub struct RecordParts<'a> {
    /// Number in the channel.
    pub offset: Offset,
    /// When the broker appended it.
    pub append_time: Timestamp,
    /// When it happened, if the producer said so.
    pub event_time: Option<Timestamp>,
    /// What it is.
    pub record_type: &'a str,
    /// What it is about. Absent is not empty.
    pub key: Option<&'a [u8]>,
    /// Names and values, in the producer's order.
    pub headers: &'a [(&'a str, &'a [u8])],
    /// Its contents. Absent is not empty.
    pub payload: Option<&'a [u8]>,
}

/// Computes the digest of the records of a range, which are given in the order of their offsets.
#[derive(Clone, Debug)]
pub struct RecordsDigest {
    hasher: Sha256,
    /// Bytes that went in, of records alone.
    bytes: u64,
    records: u64,
}

impl RecordsDigest {
    /// Of the records of `range`.
    ///
    /// # Errors
    /// [`OutOfLimit`] for a range that is empty, has more than [`MAX_REFERENCED_RECORDS`], or ends
    /// beyond what JSON holds exactly.
    pub fn begin(range: &Range<Offset>) -> Result<Self, OutOfLimit> {
        let (start, end) = (range.start.0, range.end.0);
        let least = start.saturating_add(1);
        within("evidence.references.end", end, least, MAX_INTEGER)?;
        let records = end - start;
        within(
            "evidence.references records",
            records,
            1,
            MAX_REFERENCED_RECORDS,
        )?;
        let mut hasher = Sha256::new();
        hasher.update(b"npayload/asp/records/1\n");
        hasher.update(start.to_le_bytes());
        hasher.update(end.to_le_bytes());
        Ok(Self {
            hasher,
            bytes: 0,
            records: 0,
        })
    }

    /// Takes the next record in.
    ///
    /// - `before`: bytes of the places before this one.
    ///
    /// # Errors
    /// [`OutOfLimit`] where all together have more than [`MAX_REFERENCED_BYTES`].
    pub fn add(&mut self, record: &RecordParts<'_>, before: u64) -> Result<(), OutOfLimit> {
        let flag = |is_there: bool, flag: u8| if is_there { flag } else { 0 };
        let flags = flag(record.key.is_some(), KEY)
            | flag(record.payload.is_some(), PAYLOAD)
            | flag(record.event_time.is_some(), EVENT_TIME);
        self.put(&record.offset.0.to_le_bytes());
        self.put(&record.append_time.0.to_le_bytes());
        self.put(&[flags]);
        if let Some(time) = record.event_time {
            self.put(&time.0.to_le_bytes());
        }
        self.put_long(record.record_type.as_bytes());
        if let Some(key) = record.key {
            self.put_long(key);
        }
        self.put(&(record.headers.len() as u64).to_le_bytes());
        for (name, value) in record.headers {
            self.put_long(name.as_bytes());
            self.put_long(value);
        }
        if let Some(payload) = record.payload {
            self.put_long(payload);
        }
        self.records += 1;
        let all = before.saturating_add(self.bytes);
        within("evidence.references bytes", all, 0, MAX_REFERENCED_BYTES)
    }

    /// Bytes of the records so far, as they go into the digest.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Records so far.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The digest.
    #[must_use]
    pub fn finish(self) -> Digest {
        Digest(self.hasher.finalize().into())
    }

    fn put_long(&mut self, bytes: &[u8]) {
        self.put(&(bytes.len() as u64).to_le_bytes());
        self.put(bytes);
    }

    fn put(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.bytes += bytes.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(record: &RecordParts<'_>) -> Digest {
        let mut digest = RecordsDigest::begin(&(Offset(3)..Offset(5))).unwrap();
        digest.add(record, 0).unwrap();
        digest.finish()
    }

    fn record() -> RecordParts<'static> {
        RecordParts {
            offset: Offset(3),
            append_time: Timestamp(7),
            event_time: None,
            record_type: "t",
            key: None,
            headers: &[("a", b"b")],
            payload: Some(b"x"),
        }
    }

    #[test]
    fn every_part_of_a_record_is_in_its_digest_and_absent_is_not_empty() {
        let one = record();
        let all = [
            one,
            RecordParts {
                offset: Offset(4),
                ..one
            },
            RecordParts {
                append_time: Timestamp(8),
                ..one
            },
            RecordParts {
                event_time: Some(Timestamp(0)),
                ..one
            },
            RecordParts {
                record_type: "",
                ..one
            },
            RecordParts {
                key: Some(b""),
                ..one
            },
            RecordParts {
                key: Some(b"k"),
                ..one
            },
            RecordParts {
                headers: &[],
                ..one
            },
            RecordParts {
                headers: &[("ab", b"")],
                ..one
            },
            RecordParts {
                headers: &[("a", b"b"), ("a", b"b")],
                ..one
            },
            RecordParts {
                payload: None,
                ..one
            },
            RecordParts {
                payload: Some(b""),
                ..one
            },
        ];
        let mut all: Vec<_> = all.iter().map(digest).collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count);
    }

    #[test]
    fn what_is_too_much_is_refused_with_value_and_limit() {
        let range = |start, end| RecordsDigest::begin(&(Offset(start)..Offset(end))).map(drop);
        assert_eq!(range(7, 10_007), Ok(()));
        for (start, end, value, least, most) in [
            (7, 10_008, 10_001, 1, 10_000),
            (7, 7, 7, 8, MAX_INTEGER),
            (8, 7, 7, 9, MAX_INTEGER),
            (7, u64::MAX, u64::MAX, 8, MAX_INTEGER),
        ] {
            let error = range(start, end).unwrap_err();
            assert_eq!((error.value, error.least, error.most), (value, least, most));
        }
        let mut digest = RecordsDigest::begin(&(Offset(3)..Offset(5))).unwrap();
        let left = MAX_REFERENCED_BYTES;
        digest.add(&record(), left - 100).unwrap();
        let error = digest.add(&record(), left - 100).unwrap_err();
        assert_eq!(
            (error.value, error.most),
            (left - 100 + digest.bytes(), left)
        );
    }
}
