//! The batches of one segment, one after the other, with whatever lies between them that should not.

use std::io;

use npayload::format::{BATCH_HEADER_BYTES, BatchHeader, check_stored};
use npayload::types::Incarnation;

use crate::source::{Source, Window, block_end};

/// Where the first batch of a segment starts.
pub const FIRST_BATCH: u64 = 4096;

/// What one batch's header says, as far as the checks need it.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    pub position: u64,
    pub length: u64,
    pub base_offset: u64,
    pub append_time: i64,
}

/// One step of a [`Walk`].
#[derive(Debug)]
pub enum Step {
    /// An intact batch.
    Batch(Found),
    /// Bytes that are neither a batch nor the zeros allowed before the next block. `offsets` (first, end) are the records lost
    /// in them, where that is known.
    Damage {
        from: u64,
        to: u64,
        offsets: Option<(u64, u64)>,
        what: String,
    },
}

/// The part of a segment that a [`Walk`] covers.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    /// First byte of a batch.
    pub from: u64,
    /// All batches end at or before this position.
    pub to: u64,
    /// Offset the first batch must have, where it is known.
    pub first_offset: Option<u64>,
    /// Offset that follows the last batch, where it is known.
    pub end_offset: Option<u64>,
}

/// Walks the batches of a segment.
pub struct Walk<'a> {
    source: &'a Source,
    window: Window<'a>,
    incarnation: Incarnation,
    at: u64,
    end: u64,
    /// Offset the next batch must start with; none after damage that hides it.
    next_offset: Option<u64>,
    end_offset: Option<u64>,
    last_append_time: Option<i64>,
    last_epoch: u64,
}

/// A batch whose header is intact, with what is wrong with its body or its place.
struct Header {
    found: Found,
    end_offset: u64,
    epoch: u64,
}

impl<'a> Walk<'a> {
    /// A walk over a stretch of the segment of the log `incarnation`; no batch may be older than `not_before`.
    pub fn new(
        source: &'a Source,
        incarnation: Incarnation,
        stretch: Stretch,
        not_before: Option<i64>,
    ) -> Self {
        Self {
            source,
            window: Window::new(source),
            incarnation,
            at: stretch.from,
            end: stretch.to,
            next_offset: stretch.first_offset,
            end_offset: stretch.end_offset,
            last_append_time: not_before,
            last_epoch: 0,
        }
    }

    /// Offset of the record that would follow, where it is known.
    pub fn next_offset(&self) -> Option<u64> {
        self.next_offset
    }

    /// Append time of the last batch, or the one the walk was given.
    pub fn last_append_time(&self) -> Option<i64> {
        self.last_append_time
    }

    /// The next batch or damage; none at the end.
    pub fn step(&mut self) -> io::Result<Option<Step>> {
        while self.at < self.end {
            let head = self.window.read(self.at, BATCH_HEADER_BYTES as u64)?;
            if head.iter().take(4).all(|byte| *byte == 0) {
                // Zeros to the next block are padding, and so is the rest when nothing follows it.
                let block = block_end(self.at).min(self.end);
                if block > self.at && self.source.first_set(self.at, block)?.is_none() {
                    self.at = block;
                    continue;
                }
                return self.skip("neither a batch nor padding").map(Some);
            }
            return match self.header()? {
                Ok(header) => self.take(&header).map(Some),
                Err(what) => self.skip(&what).map(Some),
            };
        }
        Ok(None)
    }

    /// The header at the current position, or why it can't be believed.
    fn header(&mut self) -> io::Result<Result<Header, String>> {
        let head = self.window.read(self.at, BATCH_HEADER_BYTES as u64)?;
        let header = match BatchHeader::peek(head) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string())),
        };
        if header.incarnation() != self.incarnation {
            return Ok(Err("a batch of another log".to_owned()));
        }
        let length = header.len() as u64;
        if self.at + length > self.end {
            return Ok(Err(format!(
                "a batch of {length} bytes reaches over byte {}, where the data ends",
                self.end
            )));
        }
        Ok(Ok(Header {
            found: Found {
                position: self.at,
                length,
                base_offset: header.base_offset().0,
                append_time: header.append_time().0,
            },
            end_offset: header.end_offset().0,
            epoch: header.log_epoch().0,
        }))
    }

    /// Checks the batch's body and its place in the log, and steps over it.
    fn take(&mut self, header: &Header) -> io::Result<Step> {
        let Found {
            position, length, ..
        } = header.found;
        let bytes = self.window.read(position, length)?;
        let body = check_stored(bytes).err().map(|error| error.to_string());
        let order = self.out_of_order(header);
        let to = position + length;
        self.at = to;
        if body.is_some() {
            // The span lies in the body, so the next header tells where the damaged batch ended.
            self.next_offset = self.offset_at(to)?;
        } else {
            self.next_offset = Some(header.end_offset);
        }
        self.last_append_time = self.last_append_time.max(Some(header.found.append_time));
        self.last_epoch = self.last_epoch.max(header.epoch);
        Ok(match body.or(order) {
            None => Step::Batch(header.found),
            Some(what) => Step::Damage {
                from: position,
                to,
                offsets: Some(header.found.base_offset).zip(self.next_offset),
                what,
            },
        })
    }

    fn out_of_order(&self, header: &Header) -> Option<String> {
        let base = header.found.base_offset;
        if let Some(expected) = self.next_offset.filter(|expected| *expected != base) {
            return Some(format!(
                "the batch starts at offset {base} instead of {expected}"
            ));
        }
        let time = header.found.append_time;
        if let Some(last) = self.last_append_time.filter(|last| time < *last) {
            return Some(format!(
                "append time {time} is before {last}, the one of the batch before"
            ));
        }
        (header.epoch < self.last_epoch)
            .then(|| format!("log epoch {} after {}", header.epoch, self.last_epoch))
    }

    /// Base offset of the batch that starts at `position` or after the padding there; at the end of the stretch its own.
    fn offset_at(&mut self, position: u64) -> io::Result<Option<u64>> {
        if position >= self.end {
            return Ok(self.end_offset);
        }
        for start in [position, block_end(position)] {
            let head = self.window.read(start, BATCH_HEADER_BYTES as u64)?;
            if let Some(header) = believable(head, self.incarnation, None) {
                return Ok(Some(header.base_offset().0));
            }
        }
        Ok(None)
    }

    /// Books the bytes from here to the next believable batch, or to the end.
    fn skip(&mut self, what: &str) -> io::Result<Step> {
        let (from, incarnation, end, expected) =
            (self.at, self.incarnation, self.end, self.next_offset);
        let mut next = self.end_offset;
        let found = self
            .source
            .find(from + 8, end, 8, BATCH_HEADER_BYTES, |position, bytes| {
                let header = believable(bytes, incarnation, expected)
                    .filter(|header| position + header.len() as u64 <= end);
                if let Some(header) = header {
                    next = Some(header.base_offset().0);
                }
                header.is_some()
            })?;
        self.at = found.unwrap_or(end);
        self.next_offset = next;
        Ok(Step::Damage {
            from,
            to: self.at,
            offsets: expected.zip(next),
            what: what.to_owned(),
        })
    }
}

/// A header of this log, at or after `expected`: a copy of an older part of the log inside a payload lies before it.
fn believable(
    bytes: &[u8],
    incarnation: Incarnation,
    expected: Option<u64>,
) -> Option<BatchHeader> {
    // The cheap test first: this runs at every eighth byte.
    if *bytes.get(16..32)? != incarnation.0.to_le_bytes() {
        return None;
    }
    let header = BatchHeader::peek(bytes).ok()?;
    (header.base_offset().0 >= expected.unwrap_or(0)).then_some(header)
}
