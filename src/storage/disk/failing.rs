//! A disk whose calls fail as planned.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{DirEntry, Disk, DiskFile, DiskLock, LockError, OpenMode, locked};

/// Passes calls on to another disk, counts them, and fails those that a [`Fault`] names, before
/// they reach the other disk. Clones share the plan, so one of them can change it at run time.
///
/// ```
/// use std::{path::Path, sync::Arc};
/// use npayload::storage::disk::{Disk, FailingDisk, Fault, MemoryDisk, OpenMode, Operation};
///
/// let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
/// disk.plan(Fault::new(Fault::IO).on(Operation::Open).nth(2));
/// assert!(disk.open(Path::new("a"), OpenMode::Create).is_ok());
/// let refused = disk.open(Path::new("b"), OpenMode::Create).unwrap_err();
/// assert_eq!(refused.raw_os_error(), Some(Fault::IO));
/// assert_eq!(disk.count(Operation::Open), 2);
/// ```
#[derive(Clone, Debug)]
pub struct FailingDisk {
    inner: Arc<dyn Disk>,
    plan: Arc<Mutex<Plan>>,
}

/// A kind of call, by which a [`Fault`] picks and [`FailingDisk::count`] counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Operation {
    /// [`Disk::create_dir`]
    CreateDir,
    /// [`Disk::list`]
    List,
    /// [`Disk::exists`]
    Exists,
    /// [`Disk::open`]
    Open,
    /// [`Disk::rename`]; its path is the one renamed from.
    Rename,
    /// [`Disk::remove_file`] and [`Disk::remove_dir`]
    Remove,
    /// [`Disk::sync_dir`]
    SyncDir,
    /// [`Disk::lock`]
    Lock,
    /// [`Disk::available`]
    Available,
    /// [`DiskFile::write_at`]
    Write,
    /// [`DiskFile::read_at`]
    Read,
    /// [`DiskFile::sync_data`]
    Sync,
    /// [`DiskFile::len`]
    Len,
    /// [`DiskFile::set_len`]
    SetLen,
    /// [`DiskFile::map`]
    Map,
}

/// Which call fails, and how. Built by chaining; by default the very next call, once.
#[derive(Clone, Debug)]
#[must_use = "a fault does nothing until it is planned"]
pub struct Fault {
    errno: i32,
    operation: Option<Operation>,
    path_contains: String,
    /// Matching calls that still pass; `None` once a fault that strikes once has struck.
    passes: Option<u64>,
    is_lasting: bool,
    written_bytes: usize,
}

impl Fault {
    /// `EIO`: the device failed.
    pub const IO: i32 = 5;
    /// `ENOSPC`: no space left.
    pub const NO_SPACE: i32 = 28;

    /// A fault that returns this error number of the operating system.
    pub fn new(errno: i32) -> Self {
        Self {
            errno,
            operation: None,
            path_contains: String::new(),
            passes: Some(0),
            is_lasting: false,
            written_bytes: 0,
        }
    }

    /// Strikes calls of this kind only.
    pub fn on(mut self, operation: Operation) -> Self {
        self.operation = Some(operation);
        self
    }

    /// Strikes calls whose path contains this text only. The path of a call on a file is the one
    /// that the file was opened by.
    pub fn at(mut self, path_contains: impl Into<String>) -> Self {
        self.path_contains = path_contains.into();
        self
    }

    /// Strikes the `n`-th matching call from when it is planned; 1 is the next one.
    pub fn nth(mut self, n: u64) -> Self {
        self.passes = Some(n.saturating_sub(1));
        self
    }

    /// Strikes all later matching calls too.
    pub fn and_later(mut self) -> Self {
        self.is_lasting = true;
        self
    }

    /// A write that is struck first writes this many of its bytes.
    pub fn after_writing(mut self, bytes: usize) -> Self {
        self.written_bytes = bytes;
        self
    }

    /// Whether this call is to fail; counts it when it matches.
    fn strikes(&mut self, operation: Operation, path: &Path) -> bool {
        let matches = self.operation.is_none_or(|wanted| wanted == operation)
            && path.to_string_lossy().contains(&self.path_contains);
        match self.passes {
            Some(0) if matches => {
                if !self.is_lasting {
                    self.passes = None;
                }
                true
            }
            Some(passes) if matches => {
                self.passes = Some(passes - 1);
                false
            }
            _ => false,
        }
    }
}

#[derive(Debug, Default)]
struct Plan {
    faults: Vec<Fault>,
    counts: BTreeMap<Operation, u64>,
    struck: u64,
    available_bytes: Option<u64>,
}

/// How a call fails.
struct Struck {
    error: io::Error,
    written_bytes: usize,
}

/// Counts a call and asks the plan about it. Every fault sees every call; the first that strikes
/// decides the error.
fn check(plan: &Mutex<Plan>, operation: Operation, path: &Path) -> Result<(), Struck> {
    let mut plan = locked(plan);
    *plan.counts.entry(operation).or_default() += 1;
    let mut struck = None;
    for fault in &mut plan.faults {
        if fault.strikes(operation, path) && struck.is_none() {
            struck = Some(Struck {
                error: io::Error::from_raw_os_error(fault.errno),
                written_bytes: fault.written_bytes,
            });
        }
    }
    match struck {
        Some(struck) => {
            plan.struck += 1;
            Err(struck)
        }
        None => Ok(()),
    }
}

impl From<Struck> for io::Error {
    fn from(struck: Struck) -> Self {
        struck.error
    }
}

impl FailingDisk {
    /// A disk that behaves like `inner` until a fault is planned.
    #[must_use]
    pub fn new(inner: Arc<dyn Disk>) -> Self {
        Self {
            inner,
            plan: Arc::default(),
        }
    }

    /// Adds a fault to the plan.
    pub fn plan(&self, fault: Fault) {
        locked(&self.plan).faults.push(fault);
    }

    /// Drops all faults, and the planned [`Self::set_available`]; the counters stay.
    pub fn heal(&self) {
        let mut plan = locked(&self.plan);
        plan.faults.clear();
        plan.available_bytes = None;
    }

    /// Makes [`Disk::available`] answer this many bytes.
    pub fn set_available(&self, bytes: u64) {
        locked(&self.plan).available_bytes = Some(bytes);
    }

    /// Calls of this kind so far, those that failed included.
    #[must_use]
    pub fn count(&self, operation: Operation) -> u64 {
        locked(&self.plan)
            .counts
            .get(&operation)
            .copied()
            .unwrap_or_default()
    }

    /// Calls of all kinds so far, those that failed included.
    #[must_use]
    pub fn calls(&self) -> u64 {
        locked(&self.plan).counts.values().sum()
    }

    /// Calls that a fault has struck so far.
    #[must_use]
    pub fn struck(&self) -> u64 {
        locked(&self.plan).struck
    }

    fn check(&self, operation: Operation, path: &Path) -> io::Result<()> {
        Ok(check(&self.plan, operation, path)?)
    }
}

impl Disk for FailingDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::CreateDir, path)?;
        self.inner.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.check(Operation::List, dir)?;
        self.inner.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.check(Operation::Exists, path)?;
        self.inner.exists(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        self.check(Operation::Open, path)?;
        let inner = self.inner.open(path, mode)?;
        Ok(Arc::new(FailingFile {
            inner,
            path: path.to_owned(),
            plan: Arc::clone(&self.plan),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename, from)?;
        self.inner.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        self.inner.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path)?;
        self.inner.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir, dir)?;
        self.inner.sync_dir(dir)
    }

    fn lock(&self, path: &Path, contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError> {
        self.check(Operation::Lock, path)?;
        self.inner.lock(path, contents)
    }

    fn available(&self, path: &Path) -> io::Result<u64> {
        self.check(Operation::Available, path)?;
        let planned = locked(&self.plan).available_bytes;
        planned.map_or_else(|| self.inner.available(path), Ok)
    }
}

#[derive(Debug)]
struct FailingFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    plan: Arc<Mutex<Plan>>,
}

impl FailingFile {
    fn check(&self, operation: Operation) -> Result<(), Struck> {
        check(&self.plan, operation, &self.path)
    }
}

impl DiskFile for FailingFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        if let Err(struck) = self.check(Operation::Write) {
            let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
            let written = &bytes[..struck.written_bytes.min(bytes.len())];
            self.inner.write_at(position, &[IoSlice::new(written)])?;
            return Err(struck.error);
        }
        self.inner.write_at(position, parts)
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.check(Operation::Read)?;
        self.inner.read_at(position, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check(Operation::Sync)?;
        self.inner.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.check(Operation::Len)?;
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(Operation::SetLen)?;
        self.inner.set_len(len)
    }

    fn map(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.check(Operation::Map)?;
        self.inner.map(range)
    }
}
