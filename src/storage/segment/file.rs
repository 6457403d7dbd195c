//! The file of a segment: made with its header, or of a spare one, and cut where it is too long.

use std::io::IoSlice;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};

use bytes::Bytes;

use super::id::SegmentId;
use super::writing::ZEROS;
use super::{FIRST_BATCH, Open, Segment};
use crate::format::{DecodeError, IndexKind, SegmentHeader};
use crate::storage::disk::{Disk, DiskFile, OpenMode};
use crate::storage::error::{IoFailure, While, is_no_file};
use crate::storage::index::Index;
use crate::storage::layout::Layout;
use crate::storage::open_files::OpenFiles;
use crate::storage::recovery::set_aside;
use crate::types::Timestamp;

impl Segment {
    /// Reads the header of a segment file.
    pub(in crate::storage) fn read_header(
        disk: &dyn Disk,
        id: &SegmentId,
    ) -> Result<Result<SegmentHeader, DecodeError>, IoFailure> {
        let file = disk
            .open(&id.path, OpenMode::Read)
            .or_while("opening", &id.path)?;
        let mut block = vec![0; usize::try_from(FIRST_BATCH).expect("a small constant")];
        let read = file.read_at(0, &mut block).or_while("reading", &id.path)?;
        Ok(SegmentHeader::decode(&block[..read]))
    }

    /// Cuts the file of a sealed segment behind its last batch, where it was longer before.
    pub(in crate::storage) fn cut(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        self.cut_at(disk, self.length()).map(|_| ())
    }

    /// As [`Segment::cut`], of a segment whose last batch ends at `length`; false where the file is no
    /// longer than that.
    pub(in crate::storage) fn cut_at(
        &self,
        disk: &dyn Disk,
        length: u64,
    ) -> Result<bool, IoFailure> {
        if !self.is_reused.swap(false, Ordering::AcqRel) {
            return Ok(false);
        }
        let cut = self.cut_behind(disk, length);
        if cut.is_err() {
            // What was there before still lies behind its end.
            self.is_reused.store(true, Ordering::Release);
        }
        cut
    }

    fn cut_behind(&self, disk: &dyn Disk, length: u64) -> Result<bool, IoFailure> {
        let path = &self.id.path;
        let file = match disk.open(path, OpenMode::ReadWrite) {
            // Retention took it meanwhile.
            Err(error) if is_no_file(&error) => return Ok(false),
            opened => opened.or_while("opening", path)?,
        };
        let is_longer = file.len().or_while("reading the length of", path)? > length;
        if is_longer {
            file.set_len(length).or_while("cutting", path)?;
        }
        Ok(is_longer)
    }

    pub(super) fn file_for_writing(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
    ) -> Result<Arc<dyn DiskFile>, IoFailure> {
        let path = &self.id.path;
        if !self.is_created.load(Ordering::Acquire) {
            self.log_name.made();
            self.name.made();
        }
        let guard = self.lock();
        if let Some(open) = guard.as_ref() {
            return Ok(open.file.clone());
        }
        if self.is_created.load(Ordering::Acquire) {
            drop(guard);
            let guard = self.opened(disk, open_files)?;
            return Ok(guard.as_ref().expect("opened above").file.clone());
        }
        if let Some(file) = self.file_of_spare(disk)? {
            return Ok(self.created(guard, open_files, file));
        }
        let dir = path
            .parent()
            .expect("a segment lies in its log's directory");
        disk.create_dir(dir).or_while("creating", dir)?;
        // Indexes and bytes of a segment that a power loss took are not of this one.
        for kind in [IndexKind::Offset, IndexKind::Time] {
            remove_file(disk, &self.id.index_path(kind))?;
        }
        let file = disk
            .open(path, OpenMode::Create)
            .or_while("creating", path)?;
        // Nobody maps it yet: it is left from a segment that never came to be, and has at most a
        // header. More than that came from somewhere else, and is not for us to remove.
        let len = file.len().or_while("reading the length of", path)?;
        let file = if len > FIRST_BATCH {
            let root = dir
                .parent()
                .and_then(std::path::Path::parent)
                .unwrap_or(dir);
            let why = "lay where a new segment was made";
            let moved = set_aside(disk, &Layout::new(root), path, why)?;
            tracing::warn!(from = %path.display(), to = %moved.display(), "moved aside");
            disk.open(path, OpenMode::Create)
                .or_while("creating", path)?
        } else {
            file
        };
        if len > 0 {
            file.set_len(0).or_while("cutting", path)?;
        }
        file.write_at(0, &[IoSlice::new(&self.header().encode())])
            .or_while("writing", path)?;
        Ok(self.created(guard, open_files, file))
    }

    /// Cuts the file to the segment where a start left it longer, as whoever opens it first does: from
    /// then on nobody does.
    pub(in crate::storage) fn settle(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
    ) -> Result<(), IoFailure> {
        if !self.may_be_long.load(Ordering::Acquire) {
            return Ok(());
        }
        match self.opened(disk, open_files) {
            Err(failure) if is_no_file(&failure.source) => self.give_up(),
            opened => drop(opened?),
        }
        Ok(())
    }

    /// Leaves its file as long as it is: it is another's from now on.
    pub(in crate::storage) fn give_up(&self) {
        self.may_be_long.store(false, Ordering::Release);
    }

    /// Opens a file that is only written to: no index is loaded. Nobody reads from such a segment.
    pub(in crate::storage) fn open_to_write(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
    ) -> Result<(), IoFailure> {
        let guard = self.lock();
        if guard.is_none() && self.is_created.load(Ordering::Acquire) {
            let path = &self.id.path;
            let file = disk
                .open(path, OpenMode::ReadWrite)
                .or_while("opening", path)?;
            self.created(guard, open_files, file);
        }
        Ok(())
    }

    fn created(
        self: &Arc<Self>,
        mut guard: MutexGuard<'_, Option<Open>>,
        open_files: &OpenFiles,
        file: Arc<dyn DiskFile>,
    ) -> Arc<dyn DiskFile> {
        self.set_created();
        *guard = Some(Open {
            file: file.clone(),
            index: Index::default(),
            map: Bytes::new(),
        });
        open_files.opened(self);
        file
    }

    /// Makes the segment's file of a spare one; `None` where there is none, or something lies where
    /// the segment goes.
    fn file_of_spare(&self, disk: &dyn Disk) -> Result<Option<Arc<dyn DiskFile>>, IoFailure> {
        let path = &self.id.path;
        let Some(spares) = &self.spares else {
            return Ok(None);
        };
        if disk.exists(path).or_while("looking for", path)? {
            return Ok(None);
        }
        let Some(spare) = spares.take() else {
            return Ok(None);
        };
        for kind in [IndexKind::Offset, IndexKind::Time] {
            remove_file(disk, &self.id.index_path(kind))?;
        }
        // The whole block: what follows the header is zero.
        let header = self.header().encode();
        let rest = &ZEROS[header.len()..];
        let made = disk.open(&spare, OpenMode::ReadWrite).and_then(|file| {
            file.write_at(0, &[IoSlice::new(&header), IoSlice::new(rest)])?;
            disk.rename(&spare, path)?;
            Ok(file)
        });
        match made {
            Ok(file) => {
                self.is_reused.store(true, Ordering::Release);
                Ok(Some(file))
            }
            Err(error) => {
                // The segment gets a file of its own; a start removes what is left of this one.
                tracing::warn!(%error, path = %spare.display(), "a spare file was not of use");
                if let Err(failure) = remove_file(disk, &spare) {
                    tracing::warn!(%failure, "it was not removed either");
                }
                Ok(None)
            }
        }
    }

    fn header(&self) -> SegmentHeader {
        SegmentHeader {
            incarnation: self.id.log,
            base_offset: self.id.base,
            previous_base: self.previous.map(|previous| previous.base),
            previous_length: self.previous.map_or(0, |previous| previous.length),
            previous_last_time: self
                .previous
                .map_or(Timestamp(0), |previous| previous.last_time),
            created_at: self.created_at,
            epoch: self.epoch.0,
        }
    }

    /// Books that the file exists, with bytes to keep.
    pub(in crate::storage) fn set_created(&self) {
        self.is_created.store(true, Ordering::Release);
    }

    /// Writes the header into the file, which is made where there is none, and keeps the rest.
    pub(in crate::storage) fn write_header(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        self.keep_header(disk, &self.header())
    }

    /// Writes the header that a file has into it again: what a failed sync left in the page cache
    /// alone is written by no later one.
    pub(in crate::storage) fn keep_header(
        &self,
        disk: &dyn Disk,
        header: &SegmentHeader,
    ) -> Result<(), IoFailure> {
        let path = &self.id.path;
        let file = disk
            .open(path, OpenMode::Create)
            .or_while("creating", path)?;
        file.write_at(0, &[IoSlice::new(&header.encode())])
            .or_while("writing", path)?;
        self.set_dirty();
        self.set_created();
        Ok(())
    }
}

/// Removes a file that may be gone already.
pub(in crate::storage) fn remove_file(
    disk: &dyn Disk,
    path: &std::path::Path,
) -> Result<(), IoFailure> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.or_while("removing", path),
    }
}
