//! A sync in the middle of a write: what the one has not covered, the next does.

use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use bytes::Bytes;

use super::disk::{
    DirEntry, Disk, DiskFile, DiskLock, FailingDisk, LockError, MemoryDisk, OpenMode, Operation,
    Watch, Watched,
};
use super::layout::Layout;
use super::open_files::OpenFiles;
use super::segment::{FIRST_BATCH, Segment, SegmentId};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// A disk that has a segment synced in front of the bytes that are written to it next: as another
/// thread may, while who writes waits for a processor.
#[derive(Debug, Clone)]
struct Interrupted {
    inner: FailingDisk,
    by: Arc<Mutex<Option<Weak<Segment>>>>,
}

impl Disk for Interrupted {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.inner.exists(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        Ok(Arc::new(Watched {
            inner: self.inner.open(path, mode)?,
            watch: self.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError> {
        self.inner.lock(path, contents)
    }

    fn available(&self, path: &Path) -> io::Result<u64> {
        self.inner.available(path)
    }
}

impl Watch for Interrupted {
    fn before_write(&self) {
        let segment = self.by.lock().unwrap().take();
        if let Some(segment) = segment.and_then(|segment| segment.upgrade()) {
            segment.sync(self).unwrap();
        }
    }
}

fn new() -> (Interrupted, OpenFiles, Arc<Segment>) {
    let disk = Interrupted {
        inner: FailingDisk::new(Arc::new(MemoryDisk::new())),
        by: Arc::default(),
    };
    for dir in ["/data", "/data/channels"] {
        disk.create_dir(Path::new(dir)).unwrap();
    }
    let id = SegmentId::new(&Layout::new(Path::new("/data")), Incarnation(1), Offset(0));
    let segment = Segment::create(id, None, Timestamp(1), LogEpoch(1));
    (disk, OpenFiles::new(8), Arc::new(segment))
}

/// A batch of this many bytes at this position.
fn at(position: u64, len: usize) -> (u64, Bytes) {
    (FIRST_BATCH + position, Bytes::from(vec![7; len]))
}

#[test]
fn a_sync_that_comes_between_a_write_and_its_mark_is_followed_by_another() {
    let (disk, open_files, segment) = new();
    segment
        .write(&disk, &open_files, &[at(0, 100)], true)
        .unwrap();
    segment.sync(&disk).unwrap();
    *disk.by.lock().unwrap() = Some(Arc::downgrade(&segment));
    segment
        .write(&disk, &open_files, &[at(100, 100)], true)
        .unwrap();
    assert!(disk.by.lock().unwrap().is_none(), "it was synced meanwhile");
    let syncs = disk.inner.count(Operation::Sync);
    segment.sync(&disk).unwrap();
    assert_eq!(disk.inner.count(Operation::Sync), syncs + 1);
    segment.sync(&disk).unwrap();
    assert_eq!(disk.inner.count(Operation::Sync), syncs + 1, "nothing new");
}
