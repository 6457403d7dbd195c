//! One segment: a file of batches with its indexes, opened when first needed.

mod choosing;
mod file;
mod id;
mod reading;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod warm_tests;
mod writing;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use bytes::Bytes;

pub(super) use self::choosing::Wanted;
pub(super) use self::file::remove_file;
pub use self::id::{Previous, SegmentId};
pub use self::reading::Slices;
use super::beside::BesidePlace;
use super::disk::{Disk, DiskFile, OpenMode};
use super::error::{IoFailure, While};
use super::index::{self, Index};
use super::names::{Folder, Name};
use super::open_files::OpenFiles;
use super::spares::Spares;
use crate::types::{LogEpoch, Offset, Timestamp};

/// The first byte that a batch may occupy; the header's block is before it.
pub const FIRST_BATCH: u64 = 4096;

/// One file of a log, shared by the log, its readers and the jobs that write it.
#[derive(Debug)]
pub struct Segment {
    id: SegmentId,
    /// Where its files are since another log was put in the place of its own.
    moved: OnceLock<SegmentId>,
    previous: Option<Previous>,
    created_at: Timestamp,
    epoch: LogEpoch,
    /// The byte after the last batch that may be read.
    length: AtomicU64,
    /// Has writes that no sync has covered yet.
    is_dirty: AtomicBool,
    /// Held while a sync is under way, so that nobody takes its segment for synced before.
    syncing: Mutex<()>,
    /// The first write or sync that failed for good. Nothing is known of any write before it.
    failed: OnceLock<IoFailure>,
    /// Its file exists with its header.
    is_created: AtomicBool,
    /// In the folder of its log.
    name: Arc<Name>,
    /// The log's, in the folder of all logs.
    log_name: Arc<Name>,
    /// Both last.
    is_entered: AtomicBool,
    /// Bytes beyond its length may be left from before the last start: never promised, cut off
    /// when the file is first opened.
    may_be_long: AtomicBool,
    /// The offset after the last batch that went straight to it since the start: the journal has no
    /// header of it, only a reference.
    direct_end: AtomicU64,
    /// Files that its own may be made of.
    spares: Option<Arc<Spares>>,
    /// Its file was a spare one: behind what is written there are bytes of another segment.
    is_reused: AtomicBool,
    /// In such a file, the ends behind which the padding is written, from the last that a checkpoint
    /// has asked for.
    padded: Mutex<Vec<u64>>,
    /// One more for each map of its file that lives.
    maps: Arc<()>,
    open: Mutex<Option<Open>>,
}

/// A segment that nobody opens for as long as this lives.
pub(super) struct SegmentHeld<'a> {
    _open: MutexGuard<'a, Option<Open>>,
}

#[derive(Debug)]
struct Open {
    file: Arc<dyn DiskFile>,
    index: Index,
    /// The mapped beginning of the file; grows by mapping anew.
    map: Bytes,
}

impl Segment {
    /// A segment that no file holds yet; the first write creates it.
    pub(super) fn create(
        id: SegmentId,
        previous: Option<Previous>,
        created_at: Timestamp,
        epoch: LogEpoch,
    ) -> Self {
        Self {
            id,
            moved: OnceLock::new(),
            previous,
            created_at,
            epoch,
            length: AtomicU64::new(FIRST_BATCH),
            is_dirty: AtomicBool::new(false),
            syncing: Mutex::new(()),
            failed: OnceLock::new(),
            is_created: AtomicBool::new(false),
            name: Arc::default(),
            log_name: Arc::default(),
            is_entered: AtomicBool::new(false),
            may_be_long: AtomicBool::new(false),
            direct_end: AtomicU64::new(0),
            spares: None,
            is_reused: AtomicBool::new(false),
            padded: Mutex::default(),
            maps: Arc::new(()),
            open: Mutex::new(None),
        }
    }

    /// A segment whose batches end at `length`.
    pub(super) fn existing(id: SegmentId, previous: Option<Previous>, length: u64) -> Self {
        Self {
            length: AtomicU64::new(length),
            is_created: AtomicBool::new(true),
            // Its name may not last: a cut may have put the file in its place right before the crash.
            ..Self::create(id, previous, Timestamp(0), LogEpoch(0))
        }
    }

    /// The active segment as a start finds it.
    pub(super) fn reopened(id: SegmentId, previous: Option<Previous>, length: u64) -> Self {
        let segment = Self::existing(id, previous, length);
        segment.may_be_long.store(true, Ordering::Release);
        segment
    }

    /// The segment, whose file may be made of one of these.
    pub(super) fn with_spares(self, spares: Arc<Spares>) -> Self {
        Self {
            spares: Some(spares),
            ..self
        }
    }

    /// The segment, in the folder of its log, which has this name.
    pub(super) fn in_log(self, folder: &Arc<Folder>, log_name: Arc<Name>) -> Self {
        Self {
            name: folder.name(),
            log_name,
            ..self
        }
    }

    /// Which segment this is.
    pub fn id(&self) -> &SegmentId {
        &self.id
    }

    /// What its header says of the one before.
    pub fn previous(&self) -> Option<Previous> {
        self.previous
    }

    /// The byte after the last batch that may be read.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Acquire)
    }

    /// The byte after the last batch that may be read from now on.
    pub(super) fn set_length(&self, length: u64) {
        self.length.store(length, Ordering::Release);
    }

    /// The offset after the last batch that the journal only has a reference to.
    pub(super) fn direct_end(&self) -> Offset {
        Offset(self.direct_end.load(Ordering::Acquire))
    }

    /// Books a batch that goes straight to the segment.
    pub(super) fn set_direct(&self, end: Offset) {
        self.direct_end.fetch_max(end.0, Ordering::AcqRel);
    }

    fn is_dirty(&self) -> bool {
        self.is_dirty.load(Ordering::Acquire)
    }

    /// Books that the file may have bytes that no sync has covered.
    pub(super) fn set_dirty(&self) {
        self.is_dirty.store(true, Ordering::Release);
    }

    fn keep_failure(&self, failure: IoFailure) -> IoFailure {
        if !failure.is_passing() {
            self.failed.get_or_init(|| failure.clone());
        }
        failure
    }

    /// Whether its file was a spare one, and bytes of another segment may lie in it.
    pub(super) fn is_reused(&self) -> bool {
        self.is_reused.load(Ordering::Acquire)
    }

    /// Whether nobody reads it, nor will: it was taken out of its log, and no reader has a slice.
    pub(super) fn is_free(self: &Arc<Self>) -> bool {
        // Nobody can come by it any more but through one who has it.
        if Arc::strong_count(self) > 1 {
            return false;
        }
        self.lock().take();
        let is_free = Arc::strong_count(&self.maps) == 1;
        std::sync::atomic::fence(Ordering::Acquire);
        is_free
    }

    /// Closes the file and forgets the index, unless a sync is owed or somebody is using it.
    pub(super) fn try_close(&self) -> bool {
        let Ok(mut guard) = self.open.try_lock() else {
            return false;
        };
        if self.is_dirty() {
            return false;
        }
        guard.take();
        true
    }

    /// Books that its files go to the folder of what lay beside. Whoever reads waits until the guard
    /// is dropped.
    pub(super) fn move_to(&self, place: &BesidePlace) -> SegmentHeld<'_> {
        let held = self.lock();
        let _ = self.moved.set(self.id.in_folder(&place.old()));
        SegmentHeld { _open: held }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Open>> {
        self.open
            .lock()
            .expect("no panic while a segment is locked")
    }

    fn opened(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
    ) -> Result<MutexGuard<'_, Option<Open>>, IoFailure> {
        let mut guard = self.lock();
        if guard.is_none() {
            let id = self.moved.get().unwrap_or(&self.id);
            let path = &id.path;
            let file = disk
                .open(path, OpenMode::ReadWrite)
                .or_while("opening", path)?;
            let length = self.length();
            if self.may_be_long.load(Ordering::Acquire) {
                if file.len().or_while("reading the length of", path)? > length {
                    file.set_len(length).or_while("cutting", path)?;
                }
                index::trim(disk, id, length)?;
                self.may_be_long.store(false, Ordering::Release);
            }
            let index = Index::load(disk, id, &*file, length)?;
            for gap in index.gaps() {
                tracing::error!(
                    segment = %path.display(), position = gap.position, length = gap.length,
                    first = %gap.first, next = ?gap.next, what = %gap.what, "damage found"
                );
            }
            *guard = Some(Open {
                file,
                index,
                map: Bytes::new(),
            });
            open_files.opened(self);
        }
        Ok(guard)
    }
}
