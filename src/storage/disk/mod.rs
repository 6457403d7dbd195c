//! The seam between storage and the file system.
//!
//! Storage does all its I/O through [`Disk`] and [`DiskFile`], so that a test can put a failing or
//! a crashing disk in place of the real one:
//!
//! | Disk | What it is for |
//! | --- | --- |
//! | [`RealDisk`] | production: files of the operating system |
//! | [`MemoryDisk`] | tests that need no failure, and throw-away brokers |
//! | [`FailingDisk`] | the n-th call fails with a chosen errno |
//! | [`CrashingDisk`] | process death and power loss at any call |
//!
//! Calls are blocking and positioned; there is no cursor and no buffer. What a call wrote survives
//! a killed process; it survives power loss only after [`DiskFile::sync_data`], and the *name* of
//! a file only after [`Disk::sync_dir`] of its directory. Not here: retries, paths of the data
//! directory, any knowledge of formats.

mod crash_state;
mod crashing;
#[cfg(target_os = "linux")]
mod direct;
mod failing;
mod memory;
mod power_loss;
mod real;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod watched;

use std::fmt::Debug;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

pub use crashing::CrashingDisk;
pub use failing::{FailingDisk, Fault, Operation};
pub use memory::MemoryDisk;
pub use power_loss::{Loss, PAGE_BYTES, SECTOR_BYTES};
pub use real::RealDisk;
#[cfg(test)]
pub(in crate::storage) use watched::{Watch, Watched};

/// A file system as storage needs it. Used as `Arc<dyn Disk>`.
///
/// Errors are those of the operating system; the caller knows the path and adds it.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails as the operating system does"
)]
pub trait Disk: Send + Sync + Debug {
    /// Creates a directory (mode 0700) in an existing one. Not an error when it exists already.
    fn create_dir(&self, path: &Path) -> io::Result<()>;

    /// What the directory holds, sorted by name. Entries that vanish meanwhile are left out.
    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>>;

    /// Whether a file or directory of this path exists.
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Opens a file; one that this creates gets mode 0600. The handle stays usable after the file
    /// is renamed or removed.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>>;

    /// Renames a file or directory; a file at `to` is replaced in one step. `to` must not be a
    /// directory. Across directories, sync the directory of `to` before the one of `from`, or a
    /// power loss may leave the file without a name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file. Open handles and maps of it stay usable.
    fn remove_file(&self, path: &Path) -> io::Result<()>;

    /// Removes an empty directory.
    fn remove_dir(&self, path: &Path) -> io::Result<()>;

    /// Makes the names in a directory durable: creations, renames and removals so far.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock that this file stands for, creating the file when absent, and
    /// writes `contents` (who holds it) into it. Released when the returned value is dropped or
    /// the process ends; the file stays.
    ///
    /// # Errors
    /// [`LockError::Held`] when another holder has it, in this process or another.
    fn lock(&self, path: &Path, contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError>;

    /// Does tasks that each wait for a file of their own: one after the other, or several at once where
    /// the medium gets on faster so. All are done when it returns.
    fn side_by_side(&self, tasks: Tasks, task: &(dyn Fn(usize) + Sync)) {
        (0..tasks.count).for_each(task);
    }

    /// Bytes that this process may still write on the file system that holds `path`.
    fn available(&self, path: &Path) -> io::Result<u64>;
}

/// An open file. Calls take `&self` and a position, so threads may share a handle.
#[expect(
    clippy::missing_errors_doc,
    reason = "every method fails as the operating system does"
)]
pub trait DiskFile: Send + Sync + Debug {
    /// Writes all of `parts`, one after the other, from byte `position` on; the file grows as
    /// needed, and a gap reads as zeros. After an error any part of the bytes may be written.
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()>;

    /// As [`DiskFile::write_at`], of bytes that nobody is likely to read soon. Where the operating
    /// system can, it begins at once to bring them to the medium and lets go of them then, so that
    /// what is written next finds memory that is in use already.
    fn write_uncached(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.write_at(position, parts)
    }

    /// As [`DiskFile::write_at`], of whole blocks of 4 KiB into a file that is as long already or ends
    /// where they begin, and is written by nobody else meanwhile. Where the operating system can, they
    /// go past its memory.
    fn write_blocks(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.write_at(position, parts)
    }

    /// Reads from byte `position` until `buf` is full or the file ends; returns the bytes read.
    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// Makes the bytes and the length of the file durable, but not its name ([`Disk::sync_dir`]).
    /// After an error nothing is known about any write since the last success: do not retry.
    fn sync_data(&self) -> io::Result<()>;

    /// Length of the file in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file has no bytes.
    fn is_empty(&self) -> io::Result<bool> {
        Ok(self.len()? == 0)
    }

    /// Cuts the file to `len` bytes, or extends it with zeros. A mapped file must not be cut.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// Has the operating system let go of what it remembers of these bytes, where it can, so that
    /// the next read asks the medium. What is mapped or not yet written stays; what is not yet written
    /// is begun to be.
    fn uncache(&self, _range: Range<u64>) {}

    /// The bytes `range` of the file, as a read-only map where there is one (else a copy).
    /// They must not be written again, nor the file cut, while a slice of the result lives.
    ///
    /// # Errors
    /// `InvalidInput` when the range does not lie inside the file.
    fn map(&self, range: Range<u64>) -> io::Result<Bytes>;

    /// Whether the bytes `range` are in memory, so that who reads them waits for nothing. They are
    /// looked at here and there, and may be let go of right after. False where this can't be told.
    fn is_warm(&self, range: Range<u64>) -> bool {
        let _ = range;
        false
    }

    /// As [`DiskFile::read_at`], where nobody waits for the medium.
    ///
    /// # Errors
    /// `WouldBlock` where somebody would, or this can't be told.
    fn read_now(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let _ = (position, buf);
        Err(io::ErrorKind::WouldBlock.into())
    }

    /// Waits until the bytes `range` are in memory, where the disk is slower than that: who takes
    /// a mapped slice of them to a socket then waits for the socket alone. What can't be read is
    /// left to those who use it.
    fn warm(&self, range: Range<u64>) {
        let _ = range;
    }
}

/// A lock that is held until this value is dropped; see [`Disk::lock`].
pub trait DiskLock: Send + Sync + Debug {}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name within the directory; bytes that are not UTF-8 show as U+FFFD.
    pub name: String,
    /// Whether it is a directory.
    pub is_dir: bool,
    /// Length of the file in bytes; 0 for a directory.
    pub len: u64,
}

/// How [`Disk::open`] treats a file that is there, or is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// Must exist; reading only.
    Read,
    /// Must exist; reading and writing.
    ReadWrite,
    /// Created when absent; reading and writing.
    Create,
    /// Must not exist; reading and writing.
    CreateNew,
}

/// How many tasks [`Disk::side_by_side`] is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tasks {
    /// All of them; each is called with its number, from 0 on.
    pub count: usize,
    /// Most of them at once, at least 1.
    pub at_once: usize,
}

/// Why a lock could not be taken.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LockError {
    /// Another holder has it.
    #[error("held by {}", if .holder.is_empty() { "an unnamed process" } else { .holder })]
    Held {
        /// What the holder wrote into the file; empty when it has not yet done so.
        holder: String,
    },
    /// The operating system refused.
    #[error("locking")]
    Io(#[from] io::Error),
}

/// Reads exactly `buf.len()` bytes from byte `position` on.
///
/// # Errors
/// `UnexpectedEof` when the file ends before; else as [`DiskFile::read_at`].
pub fn read_exact_at(file: &dyn DiskFile, position: u64, buf: &mut [u8]) -> io::Result<()> {
    let read = file.read_at(position, buf)?;
    if read == buf.len() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::UnexpectedEof,
        format!(
            "{read} of {} bytes at byte {position}, then the file ends",
            buf.len()
        ),
    ))
}

/// Writes zeros over the first `len` bytes, synced. A file prepared like this takes synced writes at
/// full speed, because no later sync has to record a new block or length. Each piece is synced by
/// itself, so that the disk is never kept from others for longer than one takes, and goes past the
/// operating system's memory where it can: fresh pages for all of it would keep a processor from
/// others.
///
/// # Errors
/// As [`DiskFile::write_at`] and [`DiskFile::sync_data`].
pub fn zero_fill(file: &dyn DiskFile, len: u64) -> io::Result<()> {
    const PIECE_BYTES: usize = 1024 * 1024;
    let zeros = vec![0; PIECE_BYTES];
    let mut position = 0;
    while position < len {
        let bytes = usize::try_from(len - position).map_or(PIECE_BYTES, |n| n.min(PIECE_BYTES));
        file.write_blocks(position, &[IoSlice::new(&zeros[..bytes])])?;
        position += bytes as u64;
        file.sync_data()?;
    }
    Ok(())
}

/// Locks a mutex; a panic of another holder leaves the simple values here intact.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
