//! Batches into a segment, and what makes them durable there and found again.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use bytes::Bytes;

use super::Segment;
use crate::format::GROUP_ALIGNMENT;
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::{IoFailure, While};
use crate::storage::index::{self, Run};
use crate::storage::open_files::OpenFiles;
use crate::storage::walk::BLOCK_BYTES;
use crate::types::Offset;

/// Padding.
pub(super) static ZEROS: [u8; GROUP_ALIGNMENT] = [0; GROUP_ALIGNMENT];

/// How batches are written to a segment.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// What follows begins on a block of its own.
    is_run: bool,
    /// They stay in memory for readers.
    is_kept: bool,
}

/// Which entries a sync makes durable.
#[derive(Debug, Clone, Copy)]
enum Entry {
    /// The segment's in the folder of its log.
    OfItself,
    /// That, and the log's in the folder of all logs.
    OfItsLogToo,
}

impl Segment {
    /// Writes whole batches at their positions; the first write creates the file with its header. The
    /// block that they end in is written again.
    ///
    /// - `is_kept`: whether somebody is likely to read them soon from the operating system's memory.
    pub(in crate::storage) fn write(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        batches: &[(u64, Bytes)],
        is_kept: bool,
    ) -> Result<(), IoFailure> {
        let behind = Written {
            is_run: false,
            is_kept,
        };
        self.write_or_fail(disk, open_files, batches, behind)
    }

    /// As [`Segment::write`], where whatever follows begins on a block of its own.
    pub(in crate::storage) fn write_run(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        batches: &[(u64, Bytes)],
        is_kept: bool,
    ) -> Result<(), IoFailure> {
        let run = Written {
            is_run: true,
            is_kept,
        };
        self.write_or_fail(disk, open_files, batches, run)
    }

    /// Has the operating system let go of the whole blocks in front of `position`, which were synced:
    /// nobody reads them.
    pub(in crate::storage) fn uncache(&self, from: u64, position: u64) {
        let whole = position - position % BLOCK_BYTES;
        // Not under its lock: who books a round waits for that with the broker's.
        let file = self.lock().as_ref().map(|open| open.file.clone());
        if let Some(file) = file {
            file.uncache(from..whole.max(from));
        }
    }

    /// A write that failed is not tried again, it fails for ever.
    fn write_or_fail(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        batches: &[(u64, Bytes)],
        how: Written,
    ) -> Result<(), IoFailure> {
        if let Some(failure) = self.failed.get() {
            return Err(failure.clone());
        }
        let written = self.write_all(disk, open_files, batches, how);
        // Again: a sync that came meanwhile has taken the mark, and may have covered nothing of it.
        self.set_dirty();
        written.map_err(|failure| self.keep_failure(failure))
    }

    /// Writes the padding behind `position`, where the next batch begins on a block of its own: in
    /// a file that was another segment's before, it is not zero by itself.
    pub(in crate::storage) fn pad(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        position: u64,
    ) -> Result<(), IoFailure> {
        let is_whole = position.is_multiple_of(BLOCK_BYTES);
        if !self.is_reused() || is_whole || self.is_padded(position) {
            return Ok(());
        }
        self.write_run(disk, open_files, &[(position, Bytes::new())], true)
    }

    /// Whether the padding behind `position` is written. Nobody asks for one before it any more.
    fn is_padded(&self, position: u64) -> bool {
        let mut padded = self.padded.lock().unwrap_or_else(PoisonError::into_inner);
        padded.retain(|end| *end >= position);
        padded.contains(&position)
    }

    fn write_all(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        batches: &[(u64, Bytes)],
        Written { is_run, is_kept }: Written,
    ) -> Result<(), IoFailure> {
        self.set_dirty();
        let file = self.file_for_writing(disk, open_files)?;
        let is_reused = self.is_reused();
        let padding = |from: u64, to: u64| {
            let bytes = usize::try_from(to - from).unwrap_or(usize::MAX);
            ZEROS.get(..bytes).filter(|_| is_reused)
        };
        // Adjacent batches go in one call; a gap of padding begins another, unless it has to be
        // written.
        let mut batches = batches.iter().peekable();
        while let Some((start, first)) = batches.next() {
            let mut parts = vec![IoSlice::new(first)];
            let mut end = start + first.len() as u64;
            let mut padded = Vec::new();
            while let Some((position, bytes)) = batches.peek() {
                if *position != end {
                    let Some(zeros) = padding(end, *position) else {
                        break;
                    };
                    parts.push(IoSlice::new(zeros));
                    padded.push(end);
                }
                parts.push(IoSlice::new(bytes));
                end = position + bytes.len() as u64;
                batches.next();
            }
            let whole = end.next_multiple_of(BLOCK_BYTES);
            let zeros = padding(end, whole).filter(|_| is_run && batches.peek().is_none());
            padded.extend(zeros.map(|_| end));
            parts.extend(zeros.map(IoSlice::new));
            let written = match is_kept {
                true => file.write_at(*start, &parts),
                false => file.write_uncached(*start, &parts),
            };
            written.or_while("writing", &self.id.path)?;
            if !padded.is_empty() {
                let mut known = self.padded.lock().unwrap_or_else(PoisonError::into_inner);
                known.append(&mut padded);
            }
        }
        Ok(())
    }

    /// Makes all that was written durable, and the file's entry in its directory with it.
    /// A sync that failed is not tried again, it fails for ever.
    pub(in crate::storage) fn sync(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        self.sync_as(disk, Entry::OfItsLogToo)
    }

    /// As [`Segment::sync`], where the caller syncs the folder of all logs: with the first sync of a log
    /// it does not last before that is done ([`Segment::owes_entry`]).
    pub(in crate::storage) fn sync_in_log(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        self.sync_as(disk, Entry::OfItself)
    }

    /// Whether it was synced, and lasts only once the folder of all logs is, too.
    pub(in crate::storage) fn owes_entry(&self) -> bool {
        self.name.is_durable() && !self.is_entered.load(Ordering::Acquire)
    }

    /// Books how the sync of the folder of all logs ended that came behind [`Segment::sync_in_log`].
    pub(in crate::storage) fn book_entry(
        &self,
        synced: Result<(), IoFailure>,
    ) -> Result<(), IoFailure> {
        let booked = synced.and_then(|()| self.log_name.book());
        booked.map_err(|failure| self.keep_failure(failure))?;
        self.is_entered.store(true, Ordering::Release);
        Ok(())
    }

    fn sync_as(&self, disk: &dyn Disk, entry: Entry) -> Result<(), IoFailure> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = self.failed.get() {
            return Err(failure.clone());
        }
        // Cleared first: a write that comes after this line is covered by the next sync.
        let was_dirty = self.is_dirty.swap(false, Ordering::AcqRel);
        // Without bytes to sync it may still owe its log's entry: whoever asks for that does not wait
        // for the one who synced the bytes.
        if !was_dirty && !self.owes_entry() {
            return Ok(());
        }
        let synced = match was_dirty {
            true => self.sync_file(disk),
            false => Ok(()),
        };
        let synced = synced.and_then(|()| self.sync_entry(disk, entry));
        synced.map_err(|failure| {
            self.set_dirty();
            self.keep_failure(failure)
        })
    }

    fn sync_file(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        let file = self.lock().as_ref().map(|open| open.file.clone());
        let file = match file {
            Some(file) => file,
            None => disk
                .open(&self.id.path, OpenMode::ReadWrite)
                .or_while("opening", &self.id.path)?,
        };
        file.sync_data().or_while("syncing", &self.id.path)
    }

    fn sync_entry(&self, disk: &dyn Disk, entry: Entry) -> Result<(), IoFailure> {
        let dir = self
            .id
            .path
            .parent()
            .expect("a segment lies in its log's directory");
        if !self.name.is_durable() {
            self.name.sync(disk, dir)?;
        }
        if matches!(entry, Entry::OfItself) || !self.owes_entry() {
            return Ok(());
        }
        let parent = dir
            .parent()
            .expect("a log's directory lies in the directory of all logs");
        self.log_name.sync(disk, parent)?;
        self.is_entered.store(true, Ordering::Release);
        Ok(())
    }

    /// Books batches that lie in the file, in order: from now on they can be read from it.
    pub(in crate::storage) fn publish(&self, batches: impl Iterator<Item = Run>, ends: &[Offset]) {
        let mut guard = self.lock();
        let mut length = self.length();
        for (run, end) in batches.zip(ends) {
            let range = run.position..run.position + run.length;
            length = range.end.into();
            if let Some(open) = guard.as_mut() {
                open.index.push(run.first..*end, range, run.append_time);
            }
        }
        self.length.store(length, Ordering::Release);
    }

    /// Writes what the index files lack of the runs below `limit`, which a checkpoint vouches for.
    pub(in crate::storage) fn save_index(
        &self,
        disk: &dyn Disk,
        limit: u64,
    ) -> Result<(), IoFailure> {
        let unsaved = match self.lock().as_mut() {
            Some(open) => open.index.unsaved(&self.id, limit),
            None => None,
        };
        match unsaved {
            Some(unsaved) => index::save(disk, &self.id, &unsaved),
            None => Ok(()),
        }
    }
}
