//! Walking a segment from batch to batch by its headers, with plain reads.

use std::ops::Range;
use std::sync::Arc;

use super::disk::DiskFile;
use super::error::{IoFailure, While};
use super::segment::SegmentId;
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, check_stored};
use crate::types::{Offset, Timestamp};

/// Batches may start on the next multiple of this after zeros.
pub const BLOCK_BYTES: u64 = crate::format::BLOCK_BYTES as u64;

/// How much is read at once: headers of small batches share a read.
pub const WINDOW_BYTES: usize = 64 * 1024;

/// Where a batch lies, from its header.
#[derive(Debug, Clone)]
pub struct Found {
    /// Offsets of its records.
    pub offsets: Range<Offset>,
    /// Its bytes in the segment file.
    pub range: Range<u32>,
    /// When it was appended.
    pub append_time: Timestamp,
    /// The whole header.
    pub header: BatchHeader,
}

/// A stretch of a segment that should hold batches and does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// The first offset that can't be read.
    pub first: Offset,
    /// The next offset that can be read, if any follows in this segment.
    pub next: Option<Offset>,
    /// The first damaged byte.
    pub position: u64,
    /// Bytes up to the next intact batch or the end of the segment.
    pub length: u64,
    /// What is wrong at its first byte.
    pub what: Arc<str>,
}

/// What the walker met.
#[derive(Debug)]
pub enum Step {
    /// The next batch in order.
    Batch(Found),
    /// Damage, up to the next intact batch.
    Gap(Gap),
}

/// Reads batch headers one after the other, up to a position that is vouched for.
pub struct Walker<'a> {
    file: &'a dyn DiskFile,
    id: &'a SegmentId,
    position: u64,
    limit: u64,
    next: Offset,
    window: Vec<u8>,
    window_start: u64,
    /// Bytes of the file, once somebody had to know.
    file_len: Option<u64>,
    /// What is not in memory is not waited for.
    is_now: bool,
}

impl<'a> Walker<'a> {
    /// Starts at byte `position`, where the batch with record `next` begins.
    ///
    /// - `limit`: the byte after the last batch; below it everything must be batches or padding.
    pub fn new(
        file: &'a dyn DiskFile,
        id: &'a SegmentId,
        position: u64,
        limit: u64,
        next: Offset,
    ) -> Self {
        Self {
            file,
            id,
            position,
            limit,
            next,
            window: Vec::new(),
            window_start: 0,
            file_len: None,
            is_now: false,
        }
    }

    /// The same for who may not wait: it fails where that would be for the medium, and at damage.
    pub fn now(self, is_now: bool) -> Self {
        Self { is_now, ..self }
    }

    /// The next batch or damaged stretch; `None` at the limit.
    ///
    /// # Errors
    /// [`IoFailure`] when the operating system can't read the file.
    pub fn step(&mut self) -> Result<Option<Step>, IoFailure> {
        if self.position >= self.limit {
            return Ok(None);
        }
        match self.batch_at(self.position)? {
            Ok(found) => self.advance(found).map(Some),
            Err(mut what) => {
                let aligned = self.position.next_multiple_of(BLOCK_BYTES);
                // The limit is the end of a batch, so padding never reaches it.
                if (self.position + 1..self.limit).contains(&aligned)
                    && self.is_zero(self.position, aligned)?
                {
                    match self.batch_at(aligned)? {
                        Ok(found) => return self.advance(found).map(Some),
                        // The padding is as it should be, the batch behind it is not.
                        Err(behind) if self.header_at(aligned)?.is_err() => {
                            self.position = aligned;
                            what = behind;
                        }
                        // Another batch is there: the next one should have been here.
                        Err(_) => {}
                    }
                }
                self.gap(what).map(Some)
            }
        }
    }

    fn advance(&mut self, found: Found) -> Result<Step, IoFailure> {
        self.position = found.range.end.into();
        self.next = found.offsets.end;
        // How many offsets a batch takes is not under its header's checksum. Where the next batch
        // begins elsewhere, either this span is damaged, or records are missing in between.
        let Some(next) = self.next_base()?.filter(|next| *next != found.offsets.end) else {
            return Ok(Step::Batch(found));
        };
        let (start, end) = (found.range.start.into(), found.range.end.into());
        self.may_search()?;
        if next <= found.offsets.start || self.is_intact(start, end)? {
            return Ok(Step::Batch(found));
        }
        self.next = next;
        Ok(Step::Gap(Gap {
            first: found.offsets.start,
            next: Some(next),
            position: start,
            length: end - start,
            what: "the batch fails its checksum".into(),
        }))
    }

    /// Where the batch that follows here says that it begins.
    fn next_base(&mut self) -> Result<Option<Offset>, IoFailure> {
        let aligned = self.position.next_multiple_of(BLOCK_BYTES);
        for at in [self.position, aligned] {
            // What lies behind more than padding does not follow: batches between may be intact.
            if at < self.limit
                && self.is_zero(self.position, at)?
                && let Ok(header) = self.header_at(at)?
            {
                return Ok(Some(header.base_offset()));
            }
        }
        Ok(None)
    }

    /// To find out how far damage goes takes a while for a large batch, also in memory.
    fn may_search(&self) -> Result<(), IoFailure> {
        match self.is_now {
            true => {
                Err(std::io::ErrorKind::WouldBlock.into()).or_while("searching", &self.id.path())
            }
            false => Ok(()),
        }
    }

    fn is_intact(&mut self, from: u64, to: u64) -> Result<bool, IoFailure> {
        let mut bytes = vec![0; usize::try_from(to - from).expect("a batch fits memory")];
        let read = self.read(from, &mut bytes)?;
        Ok(check_stored(&bytes[..read]).is_ok())
    }

    /// The damaged stretch from here to the next batch of this log with a higher offset.
    fn gap(&mut self, what: Arc<str>) -> Result<Step, IoFailure> {
        self.may_search()?;
        let start = self.position;
        let mut at = start + 8;
        let mut resumed = None;
        while at < self.limit {
            if let Some(found) = self.any_batch_at(at)? {
                resumed = Some(found);
                break;
            }
            at += 8;
        }
        let next = resumed.as_ref().map(|found| found.offsets.start);
        let end = resumed.map_or(self.limit, |found| found.range.start.into());
        let gap = Gap {
            first: self.next,
            next,
            position: start,
            length: end - start,
            what,
        };
        self.position = end;
        self.next = next.unwrap_or(self.next);
        Ok(Step::Gap(gap))
    }

    /// The batch at `position` if it is the next of this log, else what is wrong.
    fn batch_at(&mut self, position: u64) -> Result<Result<Found, Arc<str>>, IoFailure> {
        let header = match self.header_at(position)? {
            Ok(header) => header,
            Err(what) => return Ok(Err(what)),
        };
        if header.base_offset() != self.next {
            let what = format!(
                "holds offset {}, expected {}",
                header.base_offset(),
                self.next
            );
            return Ok(Err(what.into()));
        }
        self.found(position, header)
    }

    /// A batch of this log at `position` with an offset not below the next.
    fn any_batch_at(&mut self, position: u64) -> Result<Option<Found>, IoFailure> {
        let Ok(header) = self.header_at(position)? else {
            return Ok(None);
        };
        if header.base_offset() < self.next {
            return Ok(None);
        }
        Ok(self.found(position, header)?.ok())
    }

    fn header_at(&mut self, position: u64) -> Result<Result<BatchHeader, Arc<str>>, IoFailure> {
        let bytes = self.bytes(position, BATCH_HEADER_BYTES)?;
        let header = match BatchHeader::peek(bytes) {
            Ok(header) => header,
            Err(error) => return Ok(Err(error.to_string().into())),
        };
        if header.incarnation() != self.id.log {
            let what = format!("belongs to log {}", header.incarnation());
            return Ok(Err(what.into()));
        }
        Ok(Ok(header))
    }

    fn found(
        &mut self,
        position: u64,
        header: BatchHeader,
    ) -> Result<Result<Found, Arc<str>>, IoFailure> {
        let end = position + header.len() as u64;
        if end > self.limit {
            let what = format!("ends at byte {end}, beyond {}", self.limit);
            return Ok(Err(what.into()));
        }
        if end > self.window_start + self.window.len() as u64 {
            let file_len = self.file_len()?;
            if end > file_len {
                let what = format!("ends at byte {end}, the file at {file_len}");
                return Ok(Err(what.into()));
            }
        }
        let (Ok(start), Ok(end)) = (u32::try_from(position), u32::try_from(end)) else {
            let what = format!("ends at byte {end}, beyond the largest segment");
            return Ok(Err(what.into()));
        };
        Ok(Ok(Found {
            offsets: header.base_offset()..header.end_offset(),
            range: start..end,
            append_time: header.append_time(),
            header,
        }))
    }

    fn file_len(&mut self) -> Result<u64, IoFailure> {
        if let Some(len) = self.file_len {
            return Ok(len);
        }
        let len = self.file.len();
        let len = len.or_while("reading the length of", &self.id.path())?;
        self.file_len = Some(len);
        Ok(len)
    }

    fn is_zero(&mut self, from: u64, to: u64) -> Result<bool, IoFailure> {
        let needed = usize::try_from(to - from).expect("less than a block");
        let bytes = self.bytes(from, needed)?;
        Ok(bytes.iter().all(|b| *b == 0))
    }

    fn read(&self, position: u64, bytes: &mut [u8]) -> Result<usize, IoFailure> {
        let read = match self.is_now {
            true => self.file.read_now(position, bytes),
            false => self.file.read_at(position, bytes),
        };
        read.or_while("reading", &self.id.path())
    }

    /// Up to `needed` bytes from `position`, fewer at the end of the file.
    fn bytes(&mut self, position: u64, needed: usize) -> Result<&[u8], IoFailure> {
        let has = |start: u64, window: &[u8]| {
            position >= start && position + needed as u64 <= start + window.len() as u64
        };
        if !has(self.window_start, &self.window) {
            let left = usize::try_from(self.limit.saturating_sub(position)).unwrap_or(usize::MAX);
            let mut window = vec![0; WINDOW_BYTES.min(left).max(needed)];
            let read = self.read(position, &mut window)?;
            window.truncate(read);
            (self.window, self.window_start) = (window, position);
        }
        let from = usize::try_from(position - self.window_start).expect("inside the window");
        let to = (from + needed).min(self.window.len());
        Ok(&self.window[from..to])
    }
}
