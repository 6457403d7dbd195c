//! The disk of a run: one that crashes, whose calls fail as planned, and whose every call is in the
//! trace.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use npayload::storage::disk::{
    CrashingDisk, DirEntry, Disk, DiskFile, DiskLock, Fault, LockError, Loss, OpenMode, Operation,
};

use super::trace::Trace;

/// A call that is to fail.
#[derive(Clone, Debug)]
pub struct Strike {
    pub operation: Operation,
    /// A part of the path; empty for any.
    pub at: &'static str,
    pub errno: i32,
    /// Matching calls that still pass.
    pub passes: u64,
    /// Calls that are struck from then on.
    pub times: u64,
    /// How much of a write comes through, in 256ths, and what a failed sync loses.
    pub fate: u64,
}

#[derive(Debug, Default)]
struct Plan {
    strikes: Vec<Strike>,
    /// Files can't grow, and none can be made.
    is_full: bool,
    /// Paths at which a call was struck since the broker was opened.
    struck: Vec<(Operation, PathBuf, i32)>,
    /// A sync failed: what it covered may be in the page cache alone.
    has_lost_pages: bool,
    /// Files and folders of which a sync failed, in this life or a former one.
    lost_syncs: Vec<PathBuf>,
    crash_is_planned: bool,
}

/// Clones share it.
#[derive(Clone, Debug)]
pub struct SimDisk {
    crashing: CrashingDisk,
    plan: Arc<Mutex<Plan>>,
    trace: Trace,
}

impl SimDisk {
    pub fn new(trace: Trace) -> Self {
        Self {
            crashing: CrashingDisk::new(),
            plan: Arc::default(),
            trace,
        }
    }

    /// The disk as the next process finds it. A sync that failed once has failed for good.
    pub fn after(&self, loss: Loss) -> Self {
        let before = self.plan();
        let plan = Plan {
            is_full: before.is_full,
            has_lost_pages: before.has_lost_pages && loss == Loss::None,
            lost_syncs: before.lost_syncs.clone(),
            ..Plan::default()
        };
        drop(before);
        Self {
            crashing: self.crashing.after(loss),
            plan: Arc::new(Mutex::new(plan)),
            trace: self.trace.clone(),
        }
    }

    /// The crash that comes `calls` mutating calls from now.
    pub fn crash_in(&self, calls: u64, tears: bool) {
        let at = self.crashing.calls() + calls;
        self.plan().crash_is_planned = true;
        if tears {
            self.crashing.crash_during(at);
        } else {
            self.crashing.crash_after(at);
        }
    }

    pub fn is_crashed(&self) -> bool {
        self.crashing.is_crashed()
    }

    pub fn unsynced(&self) -> u64 {
        self.crashing.unsynced()
    }

    pub fn strike(&self, strike: Strike) {
        self.plan().strikes.push(strike);
    }

    pub fn set_full(&self, is_full: bool) {
        self.plan().is_full = is_full;
    }

    pub fn is_full(&self) -> bool {
        self.plan().is_full
    }

    pub fn heal(&self) {
        let mut plan = self.plan();
        plan.strikes.clear();
        plan.is_full = false;
    }

    pub fn is_healthy(&self) -> bool {
        let plan = self.plan();
        plan.strikes.is_empty() && !plan.is_full
    }

    /// Files of which a sync ever failed.
    pub fn lost_syncs(&self) -> Vec<PathBuf> {
        self.plan().lost_syncs.clone()
    }

    /// Whether any call failed since the broker was opened.
    pub fn was_struck(&self) -> bool {
        !self.plan().struck.is_empty()
    }

    /// Whether a crash is planned.
    pub fn will_crash(&self) -> bool {
        self.plan().crash_is_planned
    }

    /// Takes back a crash that is planned.
    pub fn no_crash(&self) {
        self.crashing.crash_after(u64::MAX);
        self.plan().crash_is_planned = false;
    }

    pub fn has_lost_pages(&self) -> bool {
        self.plan().has_lost_pages
    }

    /// Whether a call other than for want of space failed at such a path.
    pub fn was_struck_at(&self, part: &str) -> bool {
        let plan = self.plan();
        let is_at = |(operation, path, errno): &(Operation, PathBuf, i32)| {
            let is_failure = *errno != Fault::NO_SPACE || *operation == Operation::Sync;
            is_failure && path.to_string_lossy().contains(part)
        };
        plan.struck.iter().any(is_at)
    }

    /// Whether a call on the directory of this name itself failed.
    pub fn was_struck_in(&self, directory: &str) -> bool {
        let struck = &self.plan().struck;
        struck.iter().any(|(_, path, _)| path.ends_with(directory))
    }

    fn plan(&self) -> MutexGuard<'_, Plan> {
        self.plan.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Books a call, and says whether it fails: the error and how much of a write comes through.
    fn call(
        &self,
        operation: Operation,
        path: &Path,
        values: &[u64],
        grows: bool,
    ) -> Result<(), (io::Error, u64)> {
        self.trace.note(name(operation), values, || {
            format!("{} {values:?}", path.display())
        });
        if self.is_crashed() {
            return Ok(());
        }
        let mut plan = self.plan();
        let mut struck = (plan.is_full && grows).then_some((Fault::NO_SPACE, 100));
        let text = path.to_string_lossy();
        for strike in &mut plan.strikes {
            if strike.operation != operation || !text.contains(strike.at) {
                continue;
            }
            if strike.passes > 0 {
                strike.passes -= 1;
            } else if struck.is_none() && strike.times > 0 {
                strike.times -= 1;
                struck = Some((strike.errno, strike.fate));
            }
        }
        plan.strikes.retain(|strike| strike.times > 0);
        let Some((errno, fate)) = struck else {
            return Ok(());
        };
        plan.struck.push((operation, path.to_owned(), errno));
        if operation == Operation::Sync {
            plan.has_lost_pages = true;
        }
        if matches!(operation, Operation::Sync | Operation::SyncDir) {
            plan.lost_syncs.push(path.to_owned());
        }
        let what = if errno == Fault::NO_SPACE {
            "no space"
        } else {
            "I/O error"
        };
        self.trace
            .count(format!("fault: {what} on {}", name(operation)));
        self.trace
            .note("struck", &[u64::try_from(errno).unwrap()], || {
                format!("{} at {}", name(operation), path.display())
            });
        Err((io::Error::from_raw_os_error(errno), fate))
    }

    fn check(&self, operation: Operation, path: &Path, grows: bool) -> io::Result<()> {
        let hash = u64::from(crc32fast::hash(path.to_string_lossy().as_bytes()));
        let called = self.call(operation, path, &[hash], grows);
        called.map_err(|(error, _)| error)
    }
}

/// How the trace and the table call it.
fn name(operation: Operation) -> &'static str {
    match operation {
        Operation::CreateDir => "create directory",
        Operation::List => "list",
        Operation::Exists => "exists",
        Operation::Open => "open",
        Operation::Rename => "rename",
        Operation::Remove => "remove",
        Operation::SyncDir => "sync directory",
        Operation::Lock => "lock",
        Operation::Available => "available",
        Operation::Write => "write",
        Operation::Read => "read",
        Operation::Sync => "sync",
        Operation::Len => "length",
        Operation::SetLen => "set length",
        _ => "map",
    }
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::CreateDir, path, true)?;
        self.crashing.create_dir(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        self.check(Operation::List, dir, false)?;
        self.crashing.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.check(Operation::Exists, path, false)?;
        self.crashing.exists(path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let creates = matches!(mode, OpenMode::Create | OpenMode::CreateNew);
        let grows = creates && !self.crashing.exists(path).unwrap_or(true);
        self.check(Operation::Open, path, grows)?;
        Ok(Arc::new(SimFile {
            inner: self.crashing.open(path, mode)?,
            path: path.to_owned(),
            disk: self.clone(),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.check(Operation::Rename, from, false)?;
        self.crashing.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path, false)?;
        self.crashing.remove_file(path)
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.check(Operation::Remove, path, false)?;
        self.crashing.remove_dir(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.check(Operation::SyncDir, dir, false)?;
        self.crashing.sync_dir(dir)
    }

    fn lock(&self, path: &Path, contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError> {
        self.check(Operation::Lock, path, false)?;
        self.crashing.lock(path, contents)
    }

    fn available(&self, path: &Path) -> io::Result<u64> {
        self.check(Operation::Available, path, false)?;
        if self.is_full() {
            return Ok(0);
        }
        self.crashing.available(path)
    }
}

#[derive(Debug)]
struct SimFile {
    inner: Arc<dyn DiskFile>,
    path: PathBuf,
    disk: SimDisk,
}

impl SimFile {
    fn check(&self, operation: Operation, values: &[u64]) -> Result<(), (io::Error, u64)> {
        self.disk.call(operation, &self.path, values, false)
    }
}

/// Many small parts as one, in one go each: these runs write a lot.
fn joined(parts: &[IoSlice<'_>]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

impl DiskFile for SimFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let bytes: Vec<u8> = joined(parts);
        let end = position + bytes.len() as u64;
        let grows = self.inner.len().is_ok_and(|len| end > len);
        let values = [
            position,
            bytes.len() as u64,
            u64::from(crc32fast::hash(&bytes)),
        ];
        let called = self.disk.call(Operation::Write, &self.path, &values, grows);
        if let Err((error, fate)) = called {
            let written = bytes.len() * usize::try_from(fate % 256).unwrap() / 256;
            self.inner
                .write_at(position, &[IoSlice::new(&bytes[..written])])?;
            return Err(error);
        }
        self.inner.write_at(position, parts)
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.check(Operation::Read, &[position, buf.len() as u64])
            .map_err(|(error, _)| error)?;
        self.inner.read_at(position, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        if let Err((error, fate)) = self.check(Operation::Sync, &[]) {
            self.disk.crashing.fail_next_sync(fate);
            // A crash during the sync is a crash; else the planned error.
            let failed = self.inner.sync_data();
            return match failed {
                Err(crashed) if self.disk.is_crashed() => Err(crashed),
                _ => Err(error),
            };
        }
        self.inner.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.check(Operation::Len, &[])
            .map_err(|(error, _)| error)?;
        self.inner.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check(Operation::SetLen, &[len])
            .map_err(|(error, _)| error)?;
        self.inner.set_len(len)
    }

    fn map(&self, range: Range<u64>) -> io::Result<Bytes> {
        self.check(Operation::Map, &[range.start, range.end])
            .map_err(|(error, _)| error)?;
        self.inner.map(range)
    }
}
