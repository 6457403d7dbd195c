//! Checking one segment, a piece at a time: every checksum, the chain of offsets, the padding
//! between batches, the header, and the index files beside it.

use std::io;
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile, OpenMode};
use super::super::error::{IoFailure, While};
use super::super::index::{Filed, Index};
use super::super::segment::{FIRST_BATCH, Previous, Segment, SegmentId};
use super::super::walk::{Found, Gap, Step, Walker};
use crate::format::{DamageKind, DamageRow, SegmentHeader, check_stored};
use crate::types::{Incarnation, Offset};

/// What is wrong in a segment, and where.
#[derive(Debug)]
pub(super) struct Finding {
    pub row: DamageRow,
    pub what: Arc<str>,
}

/// The check of one segment, carried from piece to piece.
#[derive(Debug)]
pub(super) struct SegmentCheck {
    pub log: Incarnation,
    pub segment: Arc<Segment>,
    /// The first byte that is not checked yet; 0 before the header.
    pub position: u64,
    /// The offset of the next batch.
    next: Offset,
    /// The byte after the last batch that is vouched for, and the offset after its last record.
    pub limit: u64,
    end: Offset,
    /// Nothing is appended to it any more, so its index files are complete.
    is_sealed: bool,
    /// The runs of the batches met so far.
    index: Index,
    /// Nothing was found so far.
    pub is_intact: bool,
}

/// What checking a piece came to.
#[derive(Debug, Default)]
pub(super) struct Piece {
    /// Bytes that were checked.
    pub bytes: u64,
    pub findings: Vec<Finding>,
    pub is_last: bool,
    /// How the index files stand, after the last piece of an intact sealed segment.
    pub index: Option<(Filed, Index)>,
}

impl SegmentCheck {
    /// The check of a segment from its first byte.
    ///
    /// - `limit`, `end`: up to where a checkpoint vouches for it, in bytes and in offsets.
    pub fn new(
        log: Incarnation,
        segment: Arc<Segment>,
        limit: u64,
        end: Offset,
        is_sealed: bool,
    ) -> Self {
        Self {
            log,
            next: segment.id().base,
            segment,
            position: 0,
            limit,
            end,
            is_sealed,
            index: Index::default(),
            is_intact: true,
        }
    }

    /// Checks about `max_bytes` more: whole batches, at least one.
    ///
    /// # Errors
    /// [`IoFailure`] when the operating system can't open or read the file.
    pub fn run(&mut self, disk: &dyn Disk, max_bytes: u64) -> Result<Piece, IoFailure> {
        let mut piece = Piece::default();
        let path = self.segment.id().path();
        let file = match disk.open(&path, OpenMode::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let lost = self.segment.id().base..self.end;
                let kind = DamageKind::SegmentFile;
                self.find(&mut piece, lost, 0..0, kind, "the file is missing".into());
                piece.is_last = true;
                return Ok(piece);
            }
            opened => opened.or_while("opening", &path)?,
        };
        let start = self.position;
        // What the operating system remembers is no evidence of what the disk holds.
        file.uncache(start..start.saturating_add(max_bytes).min(self.limit));
        if self.position == 0 {
            self.check_header(&*file, &mut piece)?;
            self.position = FIRST_BATCH.min(self.limit);
        }
        let segment = self.segment.clone();
        let mut walker = Walker::new(&*file, segment.id(), self.position, self.limit, self.next);
        while self.position - start < max_bytes {
            match walker.step()? {
                Some(Step::Batch(found)) => self.check_batch(&*file, found, &mut piece)?,
                Some(Step::Gap(gap)) => self.book_gap(gap, &mut piece),
                None => {
                    piece.is_last = true;
                    break;
                }
            }
        }
        piece.bytes = self.position - start;
        piece.is_last |= self.position >= self.limit;
        if piece.is_last && self.is_intact && self.next != self.end {
            let (lost, at) = (self.next..self.end, self.limit..self.limit);
            let what = format!("the batches end at offset {}", self.next);
            self.find(&mut piece, lost, at, DamageKind::SegmentBatch, what.into());
        }
        if piece.is_last && self.is_intact && self.is_sealed {
            let index = std::mem::take(&mut self.index);
            piece.index = Some((index.compare(disk, self.segment.id()), index));
        }
        Ok(piece)
    }

    fn check_header(&mut self, file: &dyn DiskFile, piece: &mut Piece) -> Result<(), IoFailure> {
        let id = self.segment.id().clone();
        let mut block = vec![0; usize::try_from(FIRST_BATCH).expect("a small constant")];
        let read = file
            .read_at(0, &mut block)
            .or_while("reading", &id.path())?;
        let what = match SegmentHeader::decode(&block[..read]) {
            Err(error) => error.to_string(),
            Ok(header) if !self.is_of(&id, &header) => "the header is of another segment".into(),
            Ok(_) => return Ok(()),
        };
        // No record is lost with it, but the chain of segments is.
        let lost = id.base..id.base;
        self.find(
            piece,
            lost,
            0..FIRST_BATCH,
            DamageKind::SegmentFile,
            what.into(),
        );
        Ok(())
    }

    fn is_of(&self, id: &SegmentId, header: &SegmentHeader) -> bool {
        let previous = Previous::of(header).map(|previous| (previous.base, previous.length));
        let known = self.segment.previous();
        header.incarnation == id.log
            && header.base_offset == id.base
            && known.is_none_or(|known| previous == Some((known.base, known.length)))
    }

    fn check_batch(
        &mut self,
        file: &dyn DiskFile,
        found: Found,
        piece: &mut Piece,
    ) -> Result<(), IoFailure> {
        let range = u64::from(found.range.start)..u64::from(found.range.end);
        let path = self.segment.id().path();
        let mut bytes = vec![0; found.range.len()];
        let read = file.read_at(range.start, &mut bytes);
        let read = read.or_while("reading", &path)?;
        (self.position, self.next) = (range.end, found.offsets.end);
        if let Err(error) = check_stored(&bytes[..read]) {
            let (lost, kind) = (found.offsets, DamageKind::SegmentBatch);
            self.find(piece, lost, range, kind, error.to_string().into());
        } else {
            self.index
                .push(found.offsets, found.range, found.append_time);
        }
        Ok(())
    }

    fn book_gap(&mut self, gap: Gap, piece: &mut Piece) {
        let lost = gap.first..gap.next.unwrap_or(self.end);
        let range = gap.position..gap.position + gap.length;
        (self.position, self.next) = (range.end, lost.end);
        self.find(piece, lost, range, DamageKind::SegmentBatch, gap.what);
    }

    fn find(
        &mut self,
        piece: &mut Piece,
        lost: std::ops::Range<Offset>,
        bytes: std::ops::Range<u64>,
        kind: DamageKind,
        what: Arc<str>,
    ) {
        self.is_intact = false;
        piece.findings.push(Finding {
            row: DamageRow {
                first_offset: lost.start,
                end_offset: lost.end,
                segment_base: self.segment.id().base,
                position: bytes.start,
                length: bytes.end - bytes.start,
                what: kind,
            },
            what,
        });
    }
}
