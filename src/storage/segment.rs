//! One segment: a file of batches with its indexes, opened when first needed.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use bytes::Bytes;

use super::beside::BesidePlace;
use super::disk::{Disk, DiskFile, OpenMode, read_exact_at};
use super::error::{IoFailure, ReadError, While, is_no_file};
use super::index::{self, Index, Run};
use super::layout::Layout;
use super::open_files::OpenFiles;
use super::recovery::set_aside;
use super::spares::Spares;
use super::walk::{BLOCK_BYTES, Step, Walker};
use crate::format::{DecodeError, GROUP_ALIGNMENT, IndexKind, SegmentHeader};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// The first byte that a batch may occupy; the header's block is before it.
pub const FIRST_BATCH: u64 = 4096;

/// Padding.
static ZEROS: [u8; GROUP_ALIGNMENT] = [0; GROUP_ALIGNMENT];

/// How batches are written to a segment.
#[derive(Debug, Clone, Copy)]
struct Written {
    /// What follows begins on a block of its own.
    is_run: bool,
    /// They stay in memory for readers.
    is_kept: bool,
}

impl Written {
    /// From a tail: the block that it ends in is written again.
    const BEHIND: Self = Self {
        is_run: false,
        is_kept: true,
    };
}

/// Which segment, and where its files are.
#[derive(Debug, Clone)]
pub struct SegmentId {
    /// The log it belongs to.
    pub log: Incarnation,
    /// Offset of its first record.
    pub base: Offset,
    path: PathBuf,
}

impl SegmentId {
    pub(super) fn new(layout: &Layout, log: Incarnation, base: Offset) -> Self {
        Self {
            log,
            base,
            path: layout.segment(log, base),
        }
    }

    /// The same segment, in another folder.
    fn in_folder(&self, folder: &std::path::Path) -> Self {
        let file = self.path.file_name().unwrap_or_default();
        Self {
            log: self.log,
            base: self.base,
            path: folder.join(file),
        }
    }

    /// The segment file.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// One of its index files.
    pub fn index_path(&self, kind: IndexKind) -> PathBuf {
        self.path.with_extension(match kind {
            IndexKind::Offset => "index",
            IndexKind::Time => "timeindex",
        })
    }
}

/// What a segment's header says of the segment before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// Its base offset.
    pub base: Offset,
    /// The byte after its last batch.
    pub length: u64,
    /// The append time of its last batch.
    pub last_time: Timestamp,
}

impl Previous {
    pub(super) fn of(header: &SegmentHeader) -> Option<Self> {
        Some(Self {
            base: header.previous_base?,
            length: header.previous_length,
            last_time: header.previous_last_time,
        })
    }
}

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
    /// Its directory entry is durable.
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

/// A map of a segment's file, which tells the segment how long it lives.
struct Map {
    bytes: Bytes,
    _of: Arc<()>,
}

impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
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
            id,
            moved: OnceLock::new(),
            previous,
            created_at: Timestamp(0),
            epoch: LogEpoch(0),
            length: AtomicU64::new(length),
            is_dirty: AtomicBool::new(false),
            syncing: Mutex::new(()),
            failed: OnceLock::new(),
            is_created: AtomicBool::new(true),
            // A cut may have put the file in its place right before the crash.
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

    /// Reads the header of a segment file.
    pub(super) fn read_header(
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

    /// Writes whole batches at their positions; the first write creates the file with its header.
    pub(super) fn write(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        batches: &[(u64, Bytes)],
    ) -> Result<(), IoFailure> {
        self.write_or_fail(disk, open_files, batches, Written::BEHIND)
    }

    /// As [`Segment::write`], where whatever follows begins on a block of its own.
    ///
    /// - `is_kept`: whether somebody is likely to read it soon.
    pub(super) fn write_run(
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
    pub(super) fn uncache(&self, from: u64, position: u64) {
        let whole = position - position % BLOCK_BYTES;
        if let Some(open) = self.lock().as_ref() {
            open.file.uncache(from..whole.max(from));
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
    pub(super) fn pad(
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

    /// Cuts the file of a sealed segment behind its last batch, where it was longer before.
    pub(super) fn cut(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        if !self.is_reused.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let path = &self.id.path;
        let file = match disk.open(path, OpenMode::ReadWrite) {
            // Retention took it meanwhile.
            Err(error) if is_no_file(&error) => return Ok(()),
            opened => opened.or_while("opening", path)?,
        };
        let length = self.length();
        if file.len().or_while("reading the length of", path)? > length {
            file.set_len(length).or_while("cutting", path)?;
        }
        Ok(())
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
    pub(super) fn sync(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        let _alone = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = self.failed.get() {
            return Err(failure.clone());
        }
        if !self.is_dirty() {
            return Ok(());
        }
        // Cleared first: a write that comes after this line is covered by the next sync.
        self.is_dirty.store(false, Ordering::Release);
        let file = self.lock().as_ref().map(|open| open.file.clone());
        let file = match file {
            Some(file) => Ok(file),
            None => disk
                .open(&self.id.path, OpenMode::ReadWrite)
                .or_while("opening", &self.id.path),
        };
        let synced = file.and_then(|file| file.sync_data().or_while("syncing", &self.id.path));
        let synced = synced.and_then(|()| self.sync_entry(disk));
        synced.map_err(|failure| {
            self.set_dirty();
            self.keep_failure(failure)
        })
    }

    fn sync_entry(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        if self.is_entered.load(Ordering::Acquire) {
            return Ok(());
        }
        let dir = self
            .id
            .path
            .parent()
            .expect("a segment lies in its log's directory");
        disk.sync_dir(dir).or_while("syncing", dir)?;
        let parent = dir
            .parent()
            .expect("a log's directory lies in the directory of all logs");
        disk.sync_dir(parent).or_while("syncing", parent)?;
        self.is_entered.store(true, Ordering::Release);
        Ok(())
    }

    /// Books batches that lie in the file, in order: from now on they can be read from it.
    pub(super) fn publish(&self, batches: impl Iterator<Item = Run>, ends: &[Offset]) {
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
    pub(super) fn save_index(&self, disk: &dyn Disk, limit: u64) -> Result<(), IoFailure> {
        let unsaved = match self.lock().as_mut() {
            Some(open) => open.index.unsaved(&self.id, limit),
            None => None,
        };
        match unsaved {
            Some(unsaved) => index::save(disk, &self.id, &unsaved),
            None => Ok(()),
        }
    }

    /// Whole batches from the one that holds `from`, at least one, as far as they are wanted.
    pub(super) fn read(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        from: Offset,
        wanted: Wanted,
    ) -> Result<Slices, ReadError> {
        let mut guard = match self.opened(disk, open_files) {
            Err(failure) if is_no_file(&failure.source) => {
                return Err(damaged(
                    &self.id,
                    0,
                    from,
                    None,
                    "the file is missing".into(),
                ));
            }
            opened => opened?,
        };
        let open = guard.as_mut().expect("opened above");
        let mut chosen = choose(open, &self.id, from, wanted, self.length());
        if open.index.is_from_files() && matches!(chosen, Err(ReadError::Damaged { .. })) {
            // An index is no evidence: the batches have the last word.
            open.index = Index::rebuild(&self.id, &*open.file, self.length())?;
            chosen = choose(open, &self.id, from, wanted, self.length());
        }
        let chosen = chosen?;
        if wanted.is_copied {
            let path = &self.id.path;
            return Ok(copied(&*open.file, chosen).or_while("reading", path)?);
        }
        let needed = chosen.ranges.last().map_or(0, |range| range.1);
        if (open.map.len() as u64) < needed {
            // A damaged end may be missing from the file.
            let path = &self.id.path;
            let file_len = open.file.len().or_while("reading the length of", path)?;
            let len = self.length().min(file_len).max(needed);
            match open.file.map(0..len) {
                Ok(bytes) => {
                    let _of = self.maps.clone();
                    open.map = Bytes::from_owner(Map { bytes, _of });
                }
                // A file system that has turned read-only by itself maps nothing any more, and a
                // process has only so many maps; both are still read.
                Err(error) => {
                    tracing::debug!(%error, segment = %path.display(), "read without a map");
                    return Ok(copied(&*open.file, chosen).or_while("reading", path)?);
                }
            }
        }
        let at = |position: u64| usize::try_from(position).expect("mapped, so it fits");
        let map = &open.map;
        let parts = chosen
            .ranges
            .iter()
            .map(|(from, to)| map.slice(at(*from)..at(*to)))
            .collect();
        let file = open.file.clone();
        drop(guard);
        for (from, to) in chosen.ranges {
            file.warm(from..to);
        }
        Ok(Slices {
            parts,
            bytes: chosen.bytes,
            next: chosen.next,
        })
    }

    /// The first offset whose append time is at or after `time`, if the segment has one.
    pub(super) fn offset_at(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        time: Timestamp,
    ) -> Result<Option<Offset>, IoFailure> {
        let mut guard = self.opened(disk, open_files)?;
        let open = guard.as_mut().expect("opened above");
        let first = open.index.run_before(time);
        let Some(run) = open.index.runs().get(first) else {
            return Ok(None);
        };
        let limit = self.length();
        let mut walker = Walker::new(&*open.file, &self.id, run.position.into(), limit, run.first);
        while let Some(step) = walker.step()? {
            if let Step::Batch(batch) = step
                && batch.append_time >= time
            {
                return Ok(Some(batch.offsets.start));
            }
        }
        Ok(None)
    }

    /// Epoch and append time of the batch that holds `offset`; `None` where it is damaged, or a gap
    /// that knows nothing of the batches it stands for.
    pub(super) fn batch_at(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        offset: Offset,
    ) -> Result<Option<(LogEpoch, Timestamp)>, IoFailure> {
        let mut guard = self.opened(disk, open_files)?;
        let open = guard.as_mut().expect("opened above");
        let Some(run) = open.index.runs().get(open.index.run_of(offset)) else {
            return Ok(None);
        };
        let limit = self.length();
        let mut walker = Walker::new(&*open.file, &self.id, run.position.into(), limit, run.first);
        while let Some(step) = walker.step()? {
            if let Step::Batch(batch) = step
                && offset < batch.offsets.end
            {
                if batch.header.is_gap() {
                    return Ok(None);
                }
                return Ok(Some((batch.header.log_epoch(), batch.append_time)));
            }
        }
        Ok(None)
    }

    /// What a reader of the batch that begins at `offset` is told of it: it failed its checks.
    pub(super) fn damaged_at(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
        offset: Offset,
        what: Arc<str>,
    ) -> Result<ReadError, IoFailure> {
        let mut guard = self.opened(disk, open_files)?;
        let open = guard.as_mut().expect("opened above");
        let runs = open.index.runs();
        let run = runs.get(open.index.run_of(offset));
        let (mut position, from) = run.map_or((FIRST_BATCH, self.id.base), |run| {
            (run.position.into(), run.first)
        });
        let mut walker = Walker::new(&*open.file, &self.id, position, self.length(), from);
        while let Some(step) = walker.step()? {
            let (start, end) = match step {
                Step::Batch(batch) => (batch.range.start.into(), Some(batch.offsets.end)),
                Step::Gap(gap) => (gap.position, gap.next),
            };
            if end.is_none_or(|end| offset < end) {
                position = start;
                break;
            }
        }
        Ok(damaged(&self.id, position, offset, None, what))
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

    fn file_for_writing(
        self: &Arc<Self>,
        disk: &dyn Disk,
        open_files: &OpenFiles,
    ) -> Result<Arc<dyn DiskFile>, IoFailure> {
        let path = &self.id.path;
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
    pub(super) fn set_created(&self) {
        self.is_created.store(true, Ordering::Release);
    }

    /// Writes the header into the file, which is made where there is none, and keeps the rest.
    pub(super) fn write_header(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        self.keep_header(disk, &self.header())
    }

    /// Writes the header that a file has into it again: what a failed sync left in the page cache
    /// alone is written by no later one.
    pub(super) fn keep_header(
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

/// Reads what was chosen into memory.
fn copied(file: &dyn DiskFile, chosen: Chosen) -> std::io::Result<Slices> {
    let mut parts = Vec::with_capacity(chosen.ranges.len());
    for (from, to) in chosen.ranges {
        let mut bytes = vec![0; usize::try_from(to - from).expect("read at once, so it fits")];
        read_exact_at(file, from, &mut bytes)?;
        parts.push(Bytes::from(bytes));
    }
    Ok(Slices {
        parts,
        bytes: chosen.bytes,
        next: chosen.next,
    })
}

/// Removes a file that may be gone already.
pub(super) fn remove_file(disk: &dyn Disk, path: &std::path::Path) -> Result<(), IoFailure> {
    match disk.remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.or_while("removing", path),
    }
}

/// Where a read ends.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// About so many bytes in all.
    pub max_bytes: u64,
    /// No batch from this offset on.
    pub until: Option<Offset>,
    /// The bytes are looked at: a map is for sockets only.
    pub is_copied: bool,
}

impl Wanted {
    /// About so many bytes, whatever they are.
    pub fn bytes(max_bytes: u64) -> Self {
        Self {
            max_bytes,
            until: None,
            is_copied: false,
        }
    }
}

/// Stored bytes of whole batches, in order.
#[derive(Debug, Default)]
pub struct Slices {
    /// The bytes; each part holds whole batches, without padding.
    pub parts: Vec<Bytes>,
    /// Bytes of all parts.
    pub bytes: u64,
    /// Offset after the last batch.
    pub next: Offset,
}

fn damaged(
    id: &SegmentId,
    position: u64,
    offset: Offset,
    next: Option<Offset>,
    what: Arc<str>,
) -> ReadError {
    ReadError::Damaged {
        segment: id.path(),
        position,
        offset,
        next,
        what,
    }
}

struct Chosen {
    ranges: Vec<(u64, u64)>,
    bytes: u64,
    next: Offset,
}

/// Chooses the batches to read: from the one that holds `from`, as far as they are wanted.
fn choose(
    open: &Open,
    id: &SegmentId,
    from: Offset,
    Wanted {
        max_bytes, until, ..
    }: Wanted,
    length: u64,
) -> Result<Chosen, ReadError> {
    if let Some(gap) = open.index.gap_at(from) {
        return Err(damaged(id, gap.position, from, gap.next, gap.what.clone()));
    }
    let runs = open.index.runs();
    let mut chosen = Chosen {
        ranges: Vec::new(),
        bytes: 0,
        next: from,
    };
    for (at, run) in runs.iter().enumerate().skip(open.index.run_of(from)) {
        let is_first = chosen.bytes == 0;
        // The offset after a run is the start of the next, where no damage is between.
        let end = match runs.get(at + 1) {
            Some(next) => next.first,
            None => open.index.end().unwrap_or(run.first),
        };
        if !is_first && (open.index.gap_at(chosen.next).is_some() || run.first != chosen.next) {
            break;
        }
        let is_wanted = |end: Offset| until.is_none_or(|until| end <= until);
        let room = max_bytes.saturating_sub(chosen.bytes);
        if !is_first && u64::from(run.length) <= room && is_wanted(end) {
            push_range(
                &mut chosen,
                run.position.into(),
                u64::from(run.position + run.length),
            );
            chosen.next = end;
            if open
                .index
                .gaps()
                .iter()
                .any(|gap| gap.first >= run.first && gap.first < end)
            {
                chosen.next = run_end_by_walking(open, id, run)?;
                break;
            }
            continue;
        }
        let limit = u64::from(run.position) + u64::from(run.length);
        let mut walker = Walker::new(&*open.file, id, run.position.into(), limit, run.first);
        while let Some(step) = walker.step()? {
            let batch = match step {
                Step::Batch(batch) => batch,
                // Also where it seems to begin behind `from`: an index may place a run too high.
                Step::Gap(gap) if chosen.bytes == 0 => {
                    // The walk ends with the run; the next run may be intact.
                    let next = gap.next.or(runs.get(at + 1).map(|next| next.first));
                    return Err(damaged(id, gap.position, from, next, gap.what));
                }
                Step::Gap(_) => return Ok(chosen),
            };
            if batch.offsets.end <= from {
                continue;
            }
            if chosen.bytes == 0 && batch.offsets.start > from {
                let what = "the batches in front of this byte are missing";
                let (position, next) = (batch.range.start.into(), Some(batch.offsets.start));
                return Err(damaged(id, position, from, next, what.into()));
            }
            let len = u64::from(batch.range.end - batch.range.start);
            if chosen.bytes > 0 && (chosen.bytes + len > max_bytes || !is_wanted(batch.offsets.end))
            {
                return Ok(chosen);
            }
            push_range(
                &mut chosen,
                batch.range.start.into(),
                batch.range.end.into(),
            );
            chosen.next = batch.offsets.end;
        }
    }
    if chosen.bytes == 0 {
        let end = open.index.end().unwrap_or(id.base);
        let what = format!("the segment ends before offset {end}");
        return Err(damaged(id, length, from, None, what.into()));
    }
    Ok(chosen)
}

fn run_end_by_walking(open: &Open, id: &SegmentId, run: &Run) -> Result<Offset, IoFailure> {
    let limit = u64::from(run.position) + u64::from(run.length);
    let mut walker = Walker::new(&*open.file, id, run.position.into(), limit, run.first);
    let mut end = run.first;
    while let Some(Step::Batch(batch)) = walker.step()? {
        end = batch.offsets.end;
    }
    Ok(end)
}

fn push_range(chosen: &mut Chosen, from: u64, to: u64) {
    chosen.bytes += to - from;
    match chosen.ranges.last_mut() {
        Some(last) if last.1 == from => last.1 = to,
        _ => chosen.ranges.push((from, to)),
    }
}
