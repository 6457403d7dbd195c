//! Why an operation of the storage room failed: one enum for each operation.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::io::Errno;

use crate::format::{DecodeError, NoRecoveryPoint};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// The operating system refused; `action` reads as "while …". Cloned to everyone who waited.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{action} {}: {source}", .path.display())]
pub struct IoFailure {
    /// What was being done, as "writing" or "syncing".
    pub action: &'static str,
    /// The file or directory.
    pub path: PathBuf,
    /// What the operating system said.
    pub source: Arc<io::Error>,
}

impl IoFailure {
    pub(crate) fn new(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self {
            action,
            path: path.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Whether nothing is broken and the same may be tried again later: the medium is full, or there
    /// is no file descriptor.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        self.is_out_of_space() || self.is_out_of_files()
    }

    /// Whether this process or the machine has as many files open as it may. Only an opening fails
    /// for that, and it has touched nothing: not even a sync that had to open its directory first.
    #[must_use]
    pub fn is_out_of_files(&self) -> bool {
        let number = self.source.raw_os_error();
        [Errno::MFILE, Errno::NFILE]
            .iter()
            .any(|errno| number == Some(errno.raw_os_error()))
    }

    /// Whether the medium is full or over quota: such a write may be tried again later. A sync may
    /// not, whatever it failed for.
    #[must_use]
    pub fn is_out_of_space(&self) -> bool {
        self.action != "syncing"
            && matches!(
                self.source.kind(),
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
            )
    }
}

/// Whether there is no file of that name: nothing at all, or something else in its place.
pub(super) fn is_no_file(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::IsADirectory
    )
}

/// Adds the action and the path to what the operating system said.
pub(crate) trait While<T> {
    fn or_while(self, action: &'static str, path: &Path) -> Result<T, IoFailure>;
}

impl<T> While<T> for io::Result<T> {
    fn or_while(self, action: &'static str, path: &Path) -> Result<T, IoFailure> {
        self.map_err(|source| IoFailure::new(action, path, source))
    }
}

/// Why a data directory was not opened. Nothing that it holds was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// Another process holds the directory.
    #[error("{} is in use by {holder}; stop that broker or choose another --data-dir", .path.display())]
    Locked {
        /// The directory.
        path: PathBuf,
        /// What the holder wrote into the lock file.
        holder: String,
    },
    /// The directory holds no data, and a new one is not to be made.
    #[error("{} holds no data, and --must-exist refuses to make a new data directory; is its file system mounted?", .path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
    },
    /// A new directory would not find the space that its settings ask for. Nothing was made.
    #[error(
        "a new data directory in {} takes {needed} bytes, and {free} are free: {journal_files} journal files of \
         {journal_file_bytes} bytes, {min_free_bytes} that producers leave, and what a start writes; free some space, \
         or set a smaller storage.journal_file_bytes or storage.min_free_bytes",
        .path.display()
    )]
    TooSmall {
        /// The directory.
        path: PathBuf,
        /// Bytes that are free.
        free: u64,
        /// Bytes that must be: less than all of it where some was made before.
        needed: u64,
        /// Fewest files of the journal's ring.
        journal_files: u32,
        /// Bytes of one of them.
        journal_file_bytes: u64,
        /// Bytes that producers leave.
        min_free_bytes: u64,
    },
    /// There are files, but no marker of ours.
    #[error("{} is not an npayload data directory: it holds `{found}` but no npayload.marker; choose an empty --data-dir", .path.display())]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// The first entry found.
        found: String,
    },
    /// A file without which the directory can't be judged is missing or damaged.
    #[error("{}: {source}; refusing to guess (npayload-inspect verify shows what is intact)", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: DecodeError,
    },
    /// Neither slot of the recovery point can be read.
    #[error("{}: {source}; refusing to guess what was acknowledged", .path.display())]
    NoRecoveryPoint {
        /// The file.
        path: PathBuf,
        /// What is wrong with the slots.
        source: Box<NoRecoveryPoint>,
    },
    /// The log that names all others can't be read whole.
    #[error("the directory of channels is damaged: {0}")]
    Directory(Box<ReadError>),
    /// The log that names all others has a hole.
    #[error("the directory of channels is damaged: {what}")]
    BrokenDirectory {
        /// What is missing.
        what: String,
    },
    /// A file belongs to another data directory.
    #[error("{} belongs to data directory {found:032x}, this one is {expected:032x}", .path.display())]
    Misplaced {
        /// The file.
        path: PathBuf,
        /// The directory it names.
        found: u128,
        /// The directory it lies in.
        expected: u128,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

/// Why an entry was not taken. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StageError {
    /// No log of this identity is open.
    #[error("log {0} does not exist")]
    NoSuchLog(Incarnation),
    /// The log's next offset is another.
    #[error("expected offset {expected}, the log's next is {actual}")]
    WrongOffset {
        /// What the writer expected.
        expected: Offset,
        /// What the next record will get.
        actual: Offset,
    },
    /// A batch would have a lower log epoch than the one before it.
    #[error("log epoch {found} of a batch is below {last}, the one before")]
    EpochFell {
        /// Its epoch.
        found: LogEpoch,
        /// That of the batch before.
        last: LogEpoch,
    },
    /// A copied batch was appended earlier than the one before it.
    #[error("append time {} of a copied batch is before {}, the one before", .found.0, .last.0)]
    TimeFell {
        /// Its append time.
        found: Timestamp,
        /// That of the batch before.
        last: Timestamp,
    },
    /// Buffers are full or a large run of the log is under way: try again after the next round.
    #[error("the broker's write buffers are full; try again")]
    Busy,
    /// The disk is full, or nearly so: try again once space was freed.
    #[error(transparent)]
    DiskFull(Shortage),
    /// More bytes in one entry over several logs than the limit.
    #[error("an entry over several channels holds {found} bytes, the limit is {limit}")]
    TooLarge {
        /// Bytes of the entry.
        found: u64,
        /// The limit.
        limit: u64,
    },
    /// The log takes no more writes.
    #[error("log {log} takes no writes: {reason}")]
    Refused {
        /// The log.
        log: Incarnation,
        /// Why.
        reason: Closed,
    },
    /// The journal failed; nothing is written until a restart.
    #[error("the journal failed, the broker takes no writes until it is restarted: {0}")]
    JournalFailed(IoFailure),
}

/// Why a log takes no writes.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Closed {
    /// Stored bytes are damaged: until the log is repaired.
    #[error("{0}")]
    Damaged(Arc<str>),
    /// A write or sync of a segment failed: until a restart.
    #[error(transparent)]
    Failed(IoFailure),
    /// Its end is being cut off: until that is done.
    #[error("the end of the log is being cut off")]
    Cutting,
}

/// Why the end of a log is not cut off. The log is as it was.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CutError {
    /// There is no such log, or it is closed for another reason.
    #[error("the log {0} is not there, or takes no writes")]
    Closed(Incarnation),
    /// Another cut is under way.
    #[error("another log is being cut")]
    Busy,
    /// The offset is not above the log start, or not below the log end.
    #[error("offset {at} is not behind the log start {} and before the log end {}", .within.start, .within.end)]
    Outside {
        /// The offset.
        at: Offset,
        /// Log start and log end.
        within: Range<Offset>,
    },
    /// No batch begins at the offset.
    #[error("no batch begins at offset {at}, where the log was to be cut")]
    NoBatch {
        /// The offset.
        at: Offset,
    },
    /// Damage lies where the log is to be cut.
    #[error("offset {first} is damaged, in front of offset {at}, where the log was to be cut")]
    Damaged {
        /// The first offset that can't be read.
        first: Offset,
        /// The offset.
        at: Offset,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
}

/// How much space is left, and how much an entry must leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "the disk is full: {} bytes are left, {limit} must stay; writes are taken again at {reopens}",
    .free.map_or_else(|| "an unknown number of".to_owned(), |free| free.to_string())
)]
pub struct Shortage {
    /// Bytes free at the last look, less what was staged and is still to be written; `None` where
    /// the operating system did not say.
    pub free: Option<u64>,
    /// Bytes that must stay free.
    pub limit: u64,
    /// Bytes from which such entries are taken again.
    pub reopens: u64,
}

/// Why a staged entry was never acknowledged.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CommitError {
    /// The journal failed; whether the entry will be found after a restart is not known.
    #[error("the journal failed, the broker takes no writes until it is restarted: {0}")]
    Journal(IoFailure),
    /// The log was deleted before the entry's round; the entry was not stored.
    #[error("log {0} was deleted")]
    Deleted(Incarnation),
    /// The log's segment failed; the entry was not stored.
    #[error("log {log} failed and takes no more writes: {source}")]
    Segment {
        /// The log.
        log: Incarnation,
        /// What failed.
        source: IoFailure,
    },
}

/// Why a read returned no batches.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// No log of this identity is open.
    #[error("log {0} does not exist")]
    NoSuchLog(Incarnation),
    /// The offset is outside the log; `available` is what a retry could ask for.
    #[error("offset {offset} is outside {}..{}", .available.start, .available.end)]
    OutOfRange {
        /// What was asked for.
        offset: Offset,
        /// Log start to high watermark.
        available: Range<Offset>,
    },
    /// Acknowledged bytes do not match their checksum, or are missing. Never skipped.
    #[error("{}: the batch with offset {offset} at byte {position} is damaged: {what}", .segment.display())]
    Damaged {
        /// The segment file.
        segment: PathBuf,
        /// First byte that is damaged.
        position: u64,
        /// First offset that can't be read.
        offset: Offset,
        /// The next offset that may be read, if one is known.
        next: Option<Offset>,
        /// What is wrong.
        what: Arc<str>,
    },
    /// The log was cut below this position and has grown again.
    #[error(
        "offset {offset} was read at log epoch {seen}, the log holds another record there, of epoch {found}: it was cut and has grown again"
    )]
    Diverged {
        /// The position of the reader.
        offset: Offset,
        /// The epoch the reader saw.
        seen: u64,
        /// The epoch found.
        found: u64,
    },
    /// The operating system refused.
    #[error(transparent)]
    Io(#[from] IoFailure),
}
