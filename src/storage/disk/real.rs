//! Files of the operating system.

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, IoSlice};
use std::ops::Range;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use bytes::Bytes;
#[cfg(target_os = "linux")]
use rustix::io::ReadWriteFlags;

use super::{DirEntry, Disk, DiskFile, DiskLock, LockError, OpenMode, Tasks};
use crate::storage::mmap;

/// Slices that one `pwritev` takes at most: `IOV_MAX` of Linux and macOS.
const MAX_SLICES: usize = 1024;

/// The file system of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => Ok(()),
            other => other,
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let metadata = match entry.metadata() {
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue, // removed meanwhile
                other => other?,
            };
            entries.push(DirEntry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_dir: metadata.is_dir(),
                len: if metadata.is_dir() { 0 } else { metadata.len() },
            });
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => &mut options,
            OpenMode::ReadWrite => options.write(true),
            OpenMode::Create => options.write(true).create(true).truncate(false),
            OpenMode::CreateNew => options.write(true).create_new(true),
        };
        Ok(Arc::new(RealFile {
            file: options.open(path)?,
            keeps_all: AtomicBool::new(false),
            #[cfg(target_os = "linux")]
            direct: super::direct::Direct::default(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        fs::remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn lock(&self, path: &Path, contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError> {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600);
        let file = options.open(path)?;
        // `flock`: bound to this open file, so a second open in the same process is refused too,
        // and the kernel releases it however the process ends.
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let holder = fs::read(path)?;
                let holder = String::from_utf8_lossy(&holder).trim().to_owned();
                return Err(LockError::Held { holder });
            }
            Err(TryLockError::Error(e)) => return Err(e.into()),
        }
        // In this order, what an earlier holder wrote is enough space on a disk that has none left.
        file.write_all_at(contents, 0)?;
        file.set_len(contents.len() as u64)?;
        Ok(Box::new(RealLock { file }))
    }

    fn side_by_side(&self, tasks: Tasks, task: &(dyn Fn(usize) + Sync)) {
        let next = AtomicUsize::new(0);
        let work = || {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                if n >= tasks.count {
                    return;
                }
                task(n);
            }
        };
        // A thread costs more than the few syncs that it would save.
        let others = (tasks.count / tasks.at_once).min(tasks.at_once - 1);
        thread::scope(|scope| {
            for _ in 0..others {
                // Where no thread is to be had, this one does it all.
                let begun = thread::Builder::new()
                    .name("syncer".into())
                    .spawn_scoped(scope, work);
                if let Err(error) = begun {
                    tracing::debug!(%error, "files are synced by fewer threads");
                    break;
                }
            }
            work();
        });
    }

    fn available(&self, path: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Held until it is dropped, or the process ends.
#[derive(Debug)]
struct RealLock {
    file: File,
}

impl DiskLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        // Closing the file is not enough: a child that this process is about to start has it open
        // too, until it runs its own program.
        if let Err(error) = self.file.unlock() {
            tracing::debug!(%error, "a lock is released when its file is closed");
        }
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    /// The operating system knows no writes that it does not keep in memory.
    keeps_all: AtomicBool,
    #[cfg(target_os = "linux")]
    direct: super::direct::Direct,
}

/// `RWF_DONTCACHE`, since Linux 6.14.
#[cfg(target_os = "linux")]
const DONT_CACHE: ReadWriteFlags = ReadWriteFlags::from_bits_retain(0x80);

/// Most bytes of one call that is not cached: the system begins to bring them to the medium when a
/// call ends, so the medium is at work on one piece while the next is copied.
#[cfg(target_os = "linux")]
const UNCACHED_BYTES: usize = 512 * 1024;

/// One byte of each stretch stands for all of it: what Linux reads ahead by default.
const WARM_BYTES: u64 = 128 * 1024;

/// The positions that stand for the bytes `range`: the first of each stretch, and the last of all.
fn looked_at(range: Range<u64>) -> impl Iterator<Item = u64> {
    let last = range.end.checked_sub(1).filter(|last| range.contains(last));
    let step = usize::try_from(WARM_BYTES).expect("it is small");
    range.step_by(step).chain(last)
}

impl DiskFile for RealFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        write_all(position, parts, |position, parts| {
            Ok(rustix::io::pwritev(&self.file, parts, position)?)
        })
    }

    #[cfg(target_os = "linux")]
    fn write_uncached(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        if !self.keeps_all.load(Ordering::Relaxed) {
            let write = |position, parts: &[IoSlice<'_>]| {
                Ok(rustix::io::pwritev2(
                    &self.file, parts, position, DONT_CACHE,
                )?)
            };
            let written = write_all(position, parts, |position, parts| {
                match whole_within(parts, UNCACHED_BYTES) {
                    0 => write(position, &[IoSlice::new(&parts[0][..UNCACHED_BYTES])]),
                    count => write(position, &parts[..count]),
                }
            });
            match written {
                // An older system, or a file system that can't.
                Err(error) if is_unknown(&error) => self.keeps_all.store(true, Ordering::Relaxed),
                written => return written,
            }
        }
        self.write_at(position, parts)
    }

    #[cfg(target_os = "linux")]
    fn write_blocks(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        match self.direct.write(&self.file, position, parts) {
            Some(written) => written,
            None => self.write_at(position, parts),
        }
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let mut read = 0;
        while read < buf.len() {
            match self.file.read_at(&mut buf[read..], position + read as u64) {
                Ok(0) => break,
                Ok(bytes) => read += bytes,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(read)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data() // fdatasync; F_FULLFSYNC on macOS
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn map(&self, range: Range<u64>) -> io::Result<Bytes> {
        mmap::map_read_only(&self.file, range)
    }

    fn uncache(&self, range: Range<u64>) {
        #[cfg(target_os = "linux")]
        if let Some(len) = std::num::NonZeroU64::new(range.end.saturating_sub(range.start)) {
            let advice = rustix::fs::Advice::DontNeed;
            // Only a hint: without it a read checks what memory holds.
            let _ = rustix::fs::fadvise(&self.file, range.start, Some(len), advice);
        }
        #[cfg(not(target_os = "linux"))]
        let _ = range;
    }

    #[cfg(target_os = "linux")]
    fn is_warm(&self, range: Range<u64>) -> bool {
        looked_at(range).all(|position| {
            let mut byte = [0];
            let parts = &mut [io::IoSliceMut::new(&mut byte)];
            // A file system that can't tell answers with an error, too.
            rustix::io::preadv2(&self.file, parts, position, ReadWriteFlags::NOWAIT) == Ok(1)
        })
    }

    #[cfg(target_os = "linux")]
    fn read_now(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let wanted = buf.len();
        let parts = &mut [io::IoSliceMut::new(buf)];
        let read = rustix::io::preadv2(&self.file, parts, position, ReadWriteFlags::NOWAIT);
        // Fewer come at the end of the file, too: who may wait finds out.
        match read {
            Ok(read) if read == wanted => Ok(read),
            _ => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn warm(&self, range: Range<u64>) {
        // Asking for what is there costs a look at each page.
        if self.is_warm(range.clone()) {
            return;
        }
        #[cfg(target_os = "linux")]
        {
            let len = std::num::NonZeroU64::new(range.end.saturating_sub(range.start));
            let advice = rustix::fs::Advice::WillNeed;
            // Only a hint: the reads below wait for what it began.
            let _ = rustix::fs::fadvise(&self.file, range.start, len, advice);
        }
        for position in looked_at(range) {
            let _ = self.file.read_at(&mut [0], position);
        }
    }
}

/// How many of the first slices have no more than so many bytes together.
#[cfg(target_os = "linux")]
fn whole_within(parts: &[IoSlice<'_>], most: usize) -> usize {
    let mut bytes = 0;
    let within = parts.iter().take_while(|part| {
        bytes += part.len();
        bytes <= most
    });
    within.count()
}

/// Whether a call with a flag failed because of the flag.
#[cfg(target_os = "linux")]
fn is_unknown(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = Errno::from_io_error(error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::INVAL | Errno::NOSYS))
}

/// Calls `write` until all of `parts` is written. A call may take less than it was given, and at
/// most [`MAX_SLICES`] slices.
pub(super) fn write_all(
    mut position: u64,
    parts: &[IoSlice<'_>],
    mut write: impl FnMut(u64, &[IoSlice<'_>]) -> io::Result<usize>,
) -> io::Result<()> {
    // Without empty slices, zero bytes written means that nothing more can be.
    let mut parts: Vec<_> = parts
        .iter()
        .filter(|part| !part.is_empty())
        .copied()
        .collect();
    let mut rest = &mut parts[..];
    while !rest.is_empty() {
        match write(position, &rest[..rest.len().min(MAX_SLICES)]) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                IoSlice::advance_slices(&mut rest, bytes);
                position += bytes as u64;
            }
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}
