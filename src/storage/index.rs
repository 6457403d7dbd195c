//! The index of one segment: runs of whole batches, by offset and by append time.
//!
//! An index is a cache of the segment: where it is missing, short, ahead or damaged, it is rebuilt
//! from the batch headers, and what it says is never evidence about the log.

use std::ops::Range;

use bytes::BytesMut;

use super::disk::{Disk, DiskFile, OpenMode};
use super::error::{IoFailure, While};
use super::segment::{FIRST_BATCH, SegmentId};
use super::walk::{BLOCK_BYTES, Gap, Step, Walker};
use crate::format::{IndexHeader, IndexKind, OffsetEntry, TimeEntry};
use crate::types::{Offset, Timestamp};

/// A run is closed once it holds this many bytes: the most that a reader skips to find its batch.
pub const RUN_BYTES: u32 = 16 * 1024;

/// Bytes of an entry of either index, and of their headers.
const ENTRY_BYTES: usize = OffsetEntry::BYTES;
const INDEX_HEADER_BYTES: usize = IndexHeader::BYTES;

/// Whole batches that follow each other without padding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Run {
    /// Offset of the first record.
    pub first: Offset,
    /// Append time of the first batch.
    pub append_time: Timestamp,
    /// First byte in the segment file.
    pub position: u32,
    /// Bytes of all its batches.
    pub length: u32,
}

impl Run {
    fn end(&self) -> u32 {
        self.position + self.length
    }
}

/// The runs of a segment in order, and the gaps between them that should hold records.
#[derive(Debug, Default)]
pub struct Index {
    runs: Vec<Run>,
    gaps: Vec<Gap>,
    /// Offset after the last indexed batch.
    end: Option<Offset>,
    /// How many runs the files hold, the last of them perhaps shorter than it is now.
    saved: usize,
    /// Some runs are the files' word; the batches in them were not looked at.
    is_from_files: bool,
}

impl Index {
    /// Books a batch that lies in the segment at `range`.
    pub fn push(&mut self, offsets: Range<Offset>, range: Range<u32>, append_time: Timestamp) {
        let length = range.end - range.start;
        match self.runs.last_mut() {
            Some(run) if run.end() == range.start && run.length < RUN_BYTES => run.length += length,
            _ => self.runs.push(Run {
                first: offsets.start,
                append_time,
                position: range.start,
                length,
            }),
        }
        self.end = Some(offsets.end);
    }

    /// Books bytes that should hold batches and do not.
    pub fn push_gap(&mut self, gap: Gap) {
        self.end = self.end.max(gap.next);
        self.gaps.push(gap);
    }

    /// Offset after the last batch, if there is any.
    pub fn end(&self) -> Option<Offset> {
        self.end
    }

    /// The run that holds `offset`, as its number; the first run for an offset below all.
    pub fn run_of(&self, offset: Offset) -> usize {
        self.runs
            .partition_point(|run| run.first <= offset)
            .saturating_sub(1)
    }

    /// The last run that begins before `time`, as its number; the first for an earlier time.
    pub fn run_before(&self, time: Timestamp) -> usize {
        self.runs
            .partition_point(|run| run.append_time < time)
            .saturating_sub(1)
    }

    /// All runs in order.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The damaged stretch that holds `offset`, if there is one.
    pub fn gap_at(&self, offset: Offset) -> Option<&Gap> {
        self.gaps
            .iter()
            .find(|gap| gap.first <= offset && gap.next.is_none_or(|next| offset < next))
    }

    /// All damaged stretches in order.
    pub fn gaps(&self) -> &[Gap] {
        &self.gaps
    }

    /// Reads the index files of a segment, and completes or rebuilds the index from the batch
    /// headers below `limit`, the first byte not vouched for.
    pub fn load(
        disk: &dyn Disk,
        id: &SegmentId,
        segment: &dyn DiskFile,
        limit: u64,
    ) -> Result<Self, IoFailure> {
        // A run that the segment does not have is found missing by walking.
        let len = segment
            .len()
            .or_while("reading the length of", &id.path())?;
        let mut index = Self::read_files(disk, id, limit.min(len)).unwrap_or_default();
        // The last run may have grown since it was saved, so it is walked again.
        if let Some(last) = index.runs.pop() {
            index.saved = index.runs.len();
            if index.walk(Walker::new(
                segment,
                id,
                last.position.into(),
                limit,
                last.first,
            ))? {
                index.is_from_files = true;
                return Ok(index);
            }
        }
        Self::rebuild(id, segment, limit)
    }

    /// Reads the index from the batch headers alone.
    pub fn rebuild(id: &SegmentId, segment: &dyn DiskFile, limit: u64) -> Result<Self, IoFailure> {
        let mut rebuilt = Self::default();
        rebuilt.walk(Walker::new(segment, id, FIRST_BATCH, limit, id.base))?;
        Ok(rebuilt)
    }

    /// Whether a rebuilt index could say something else.
    pub fn is_from_files(&self) -> bool {
        self.is_from_files
    }

    /// Adds what the walker meets; false when nothing lies where the walk began.
    fn walk(&mut self, mut walker: Walker<'_>) -> Result<bool, IoFailure> {
        let mut is_first = true;
        while let Some(step) = walker.step()? {
            match step {
                Step::Batch(batch) => self.push(batch.offsets, batch.range, batch.append_time),
                Step::Gap(_) if is_first && !self.runs.is_empty() => return Ok(false),
                Step::Gap(gap) => self.push_gap(gap),
            }
            is_first = false;
        }
        Ok(true)
    }

    /// The runs that both files agree on, as far as they are intact and below `limit`.
    fn read_files(disk: &dyn Disk, id: &SegmentId, limit: u64) -> Option<Self> {
        let offsets = read_entries(disk, id, IndexKind::Offset)?;
        let times = read_entries(disk, id, IndexKind::Time)?;
        let mut index = Self::default();
        for (offset, time) in offsets
            .chunks_exact(ENTRY_BYTES)
            .zip(times.chunks_exact(ENTRY_BYTES))
        {
            let Ok(offset) = OffsetEntry::decode(offset, id.log, id.base) else {
                break;
            };
            let Ok(time) = TimeEntry::decode(time, id.log, id.base) else {
                break;
            };
            // A run begins where the last one ends, or on the next block. An entry that was saved
            // before its run was full, and kept by a power loss beside newer ones, shows here.
            let end = index
                .runs
                .last()
                .map_or(FIRST_BATCH, |last| last.end().into());
            let position = u64::from(offset.position);
            if position != end && position != end.next_multiple_of(BLOCK_BYTES) {
                break;
            }
            if offset.offset_delta != time.offset_delta
                || u64::from(offset.position) + u64::from(offset.length) > limit
                || index.runs.last().is_some_and(|last| {
                    last.end() > offset.position
                        || last.first.0 >= id.base.0 + u64::from(offset.offset_delta)
                })
            {
                break;
            }
            index.runs.push(Run {
                first: Offset(id.base.0 + u64::from(offset.offset_delta)),
                append_time: time.append_time,
                position: offset.position,
                length: offset.length,
            });
        }
        Some(index)
    }

    /// What must be written so that the files hold all runs below `limit`: bytes of the offset
    /// index and of the time index, and where both begin. The first time, the headers are part
    /// of it.
    ///
    /// - `limit`: the byte up to which a checkpoint vouches for the segment. Beyond it a power
    ///   cut may still take batches away, and others in their place would have other runs.
    pub fn unsaved(&mut self, id: &SegmentId, limit: u64) -> Option<(u64, BytesMut, BytesMut)> {
        let to = self
            .runs
            .partition_point(|run| u64::from(run.end()) <= limit);
        // The last saved run may have grown: it is written again.
        let from = self.saved.min(to).saturating_sub(1);
        if to == 0 || to == self.saved && self.runs[from].length >= RUN_BYTES {
            return None;
        }
        let mut offsets = BytesMut::new();
        let mut times = BytesMut::new();
        let position = if from == 0 {
            offsets.extend_from_slice(&header(IndexKind::Offset, id).encode());
            times.extend_from_slice(&header(IndexKind::Time, id).encode());
            0
        } else {
            (INDEX_HEADER_BYTES + from * ENTRY_BYTES) as u64
        };
        for run in &self.runs[from..to] {
            let delta = u32::try_from(run.first.0 - id.base.0)
                .expect("a segment is rolled before its offsets exceed 32 bits");
            let offset = OffsetEntry {
                offset_delta: delta,
                position: run.position,
                length: run.length,
            };
            offsets.extend_from_slice(&offset.encode(id.log, id.base));
            let time = TimeEntry {
                append_time: run.append_time,
                offset_delta: delta,
            };
            times.extend_from_slice(&time.encode(id.log, id.base));
        }
        self.saved = to;
        Some((position, offsets, times))
    }
}

/// How the index files of a segment stand to the batches in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filed {
    /// They hold all its runs.
    Whole,
    /// They hold the first of them, or none: what an index is that was never saved to its end.
    Short,
    /// They say something else.
    Bad,
}

impl Index {
    /// Compares the index files with this index, which the batches themselves gave.
    pub fn compare(&self, disk: &dyn Disk, id: &SegmentId) -> Filed {
        let Some((_, offsets, times)) = self.image(id) else {
            return Filed::Whole;
        };
        let filed = [(IndexKind::Offset, &offsets), (IndexKind::Time, &times)]
            .map(|(kind, image)| compare_file(disk, id, kind, image));
        match filed {
            [Filed::Whole, Filed::Whole] => Filed::Whole,
            [Filed::Bad, _] | [_, Filed::Bad] => Filed::Bad,
            _ => Filed::Short,
        }
    }

    /// The whole contents of both index files, as [`Index::unsaved`] gives what they lack.
    pub fn image(&self, id: &SegmentId) -> Option<(u64, BytesMut, BytesMut)> {
        let mut all = Self {
            runs: self.runs.clone(),
            ..Self::default()
        };
        all.unsaved(id, u64::MAX)
    }
}

fn compare_file(disk: &dyn Disk, id: &SegmentId, kind: IndexKind, image: &[u8]) -> Filed {
    let path = id.index_path(kind);
    let Ok(file) = disk.open(&path, OpenMode::Read) else {
        return Filed::Short;
    };
    // One byte more than there should be shows a file that goes on.
    let mut found = vec![0; image.len() + 1];
    let len = file.len().unwrap_or(0);
    file.uncache(0..len);
    let Ok(read) = file.read_at(0, &mut found) else {
        return Filed::Bad;
    };
    found.truncate(read);
    if found == image {
        return Filed::Whole;
    }
    if found.is_empty() {
        return Filed::Short;
    }
    // The last entry may have been saved before its run was full.
    let is_short = found.len() >= INDEX_HEADER_BYTES
        && found.len() <= image.len()
        && (found.len() - INDEX_HEADER_BYTES).is_multiple_of(ENTRY_BYTES);
    let sure = found
        .len()
        .saturating_sub(ENTRY_BYTES)
        .max(INDEX_HEADER_BYTES);
    if !is_short || found[..sure] != image[..sure] {
        return Filed::Bad;
    }
    let (last, full) = (&found[sure..], &image[sure..found.len()]);
    let begins_alike = || {
        let last = OffsetEntry::decode(last, id.log, id.base).ok()?;
        let full = OffsetEntry::decode(full, id.log, id.base).ok()?;
        Some(
            last.offset_delta == full.offset_delta
                && last.position == full.position
                && last.length <= full.length,
        )
    };
    if last == full || kind == IndexKind::Offset && begins_alike() == Some(true) {
        Filed::Short
    } else {
        Filed::Bad
    }
}

fn header(kind: IndexKind, id: &SegmentId) -> IndexHeader {
    IndexHeader {
        kind,
        incarnation: id.log,
        base_offset: id.base,
    }
}

fn read_entries(disk: &dyn Disk, id: &SegmentId, kind: IndexKind) -> Option<Vec<u8>> {
    let path = id.index_path(kind);
    let file = disk.open(&path, OpenMode::Read).ok()?;
    let len = usize::try_from(file.len().ok()?).ok()?;
    // A longer file is not ours: a segment of 4 GiB has 2^18 runs of 16 KiB.
    if !(INDEX_HEADER_BYTES..=INDEX_HEADER_BYTES + (ENTRY_BYTES << 25)).contains(&len) {
        return None;
    }
    let mut bytes = vec![0; len];
    let read = file.read_at(0, &mut bytes).ok()?;
    bytes.truncate(read);
    let found = IndexHeader::decode(bytes.get(..INDEX_HEADER_BYTES)?, kind).ok()?;
    if found != header(kind, id) {
        return None;
    }
    Some(bytes.split_off(INDEX_HEADER_BYTES))
}

/// Cuts off what the index files say beyond byte `limit` of the segment: batches that were lost,
/// whose places others may take. Synced, since a power loss could bring it back.
pub(super) fn trim(disk: &dyn Disk, id: &SegmentId, limit: u64) -> Result<(), IoFailure> {
    let known = Index::read_files(disk, id, limit).map_or(0, |index| index.runs.len());
    for kind in [IndexKind::Offset, IndexKind::Time] {
        let path = id.index_path(kind);
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if super::error::is_no_file(&error) => continue,
            Err(error) => return Err(IoFailure::new("opening", &path, error)),
        };
        let len = match known {
            0 => 0,
            known => (INDEX_HEADER_BYTES + known * ENTRY_BYTES) as u64,
        };
        if file.len().or_while("reading the length of", &path)? > len {
            file.set_len(len).or_while("cutting", &path)?;
            file.sync_data().or_while("syncing", &path)?;
        }
    }
    Ok(())
}

/// Writes both index files of a segment, as [`Index::unsaved`] gave them.
pub(super) fn save(
    disk: &dyn Disk,
    id: &SegmentId,
    (position, offsets, times): &(u64, BytesMut, BytesMut),
) -> Result<(), IoFailure> {
    for (kind, bytes) in [(IndexKind::Offset, offsets), (IndexKind::Time, times)] {
        let path = id.index_path(kind);
        let file = disk
            .open(&path, OpenMode::Create)
            .or_while("opening", &path)?;
        file.write_at(*position, &[std::io::IoSlice::new(bytes)])
            .or_while("writing", &path)?;
        let end = position + bytes.len() as u64;
        if file.len().or_while("reading the length of", &path)? > end {
            file.set_len(end).or_while("cutting", &path)?;
        }
    }
    Ok(())
}
