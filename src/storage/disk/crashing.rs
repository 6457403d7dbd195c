//! A disk that crashes: process death and power loss at any call, with any outcome that a file
//! system may leave.

use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;

use super::crash_state::{Crash, Dir, Node, NodeId, State};
use super::memory::{
    AVAILABLE_BYTES, copy_of, found, holder, names, not_writable, read_from, size,
};
use super::power_loss::{FileHistory, Loss, PAGE_BYTES, SECTOR_BYTES, SplitMix64};
use super::{DirEntry, Disk, DiskFile, DiskLock, Fault, LockError, OpenMode, locked};

/// A disk in memory that knows what a crash may leave of it. Clones share it; each outcome of a
/// crash is a disk of its own.
///
/// The model is no kinder than POSIX: [`DiskFile::sync_data`] makes the bytes and the length of a
/// file durable, [`Disk::sync_dir`] the names in a directory, and nothing else does either.
/// Whatever was not synced may be lost or kept in pieces of [`SECTOR_BYTES`],
/// in any order; a name that was not synced may be lost or kept too, but after a lost change of a
/// name no later change of it is kept. A rename within a directory is one change; across
/// directories it is two.
///
/// ```
/// use std::{io::IoSlice, path::Path};
/// use npayload::storage::disk::{CrashingDisk, Disk, Loss, OpenMode};
///
/// let disk = CrashingDisk::new();
/// let file = disk.open(Path::new("a"), OpenMode::Create)?;
/// disk.sync_dir(Path::new("/"))?;
/// file.write_at(0, &[IoSlice::new(b"synced")])?;
/// file.sync_data()?;
/// file.write_at(6, &[IoSlice::new(b", not synced")])?;
///
/// let after = disk.after(Loss::All);
/// assert_eq!(after.open(Path::new("a"), OpenMode::Read)?.len()?, 6);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CrashingDisk {
    state: Arc<Mutex<State>>,
}

impl CrashingDisk {
    /// An empty disk. The root directory exists and is durable.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Mutating calls so far: all but list, exists, open for `Read` or `ReadWrite`, read, len, map
    /// and available. Calls that failed count, those after the crash do not.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.any_state().calls
    }

    /// Lets the process die once [`Self::calls`] is `calls`: that many mutating calls pass, then
    /// every call fails with `ErrorKind::Other`, "crashed". What is on the disk stays for
    /// [`Self::after`] and its like.
    pub fn crash_after(&self, calls: u64) {
        self.any_state().crash = Some(Crash {
            after_calls: calls,
            tears_write: false,
        });
    }

    /// Like [`Self::crash_after`], but when the next mutating call is a write, the first half of
    /// its bytes is written.
    pub fn crash_during(&self, calls: u64) {
        self.any_state().crash = Some(Crash {
            after_calls: calls,
            tears_write: true,
        });
    }

    /// Lets the next sync of a file fail with `EIO`, as a real one does: what it was to cover has
    /// reached the device or not, as `seed` decides for each write, and no later sync brings it
    /// there, although it can be read until the power goes.
    pub fn fail_next_sync(&self, seed: u64) {
        self.fail_sync_after(0, seed);
    }

    /// As [`Self::fail_next_sync`], of the sync that comes after so many more.
    pub fn fail_sync_after(&self, syncs: u64, seed: u64) {
        self.any_state().failing_sync = Some((syncs, seed));
    }

    /// Whether the planned crash has happened.
    #[must_use]
    pub fn is_crashed(&self) -> bool {
        self.any_state().is_crashed()
    }

    /// Number of changes (writes, changes of length, changes of names) that a power loss may take:
    /// [`Loss::Prefix`] of this number loses nothing.
    #[must_use]
    pub fn unsynced(&self) -> u64 {
        self.any_state().pending().len() as u64
    }

    /// The disk as a new process finds it after a crash. Locks are released, handles of this disk
    /// do not reach it, and no crash is planned.
    #[must_use]
    pub fn after(&self, loss: Loss) -> Self {
        let state = self.any_state();
        let after = match loss {
            Loss::None => state.after_process_death(),
            Loss::All => state.after_prefix(0, false),
            Loss::Prefix(changes) => state.after_prefix(changes, true),
            Loss::Random(seed) => {
                let mut random = SplitMix64(seed);
                state.after_power_loss(SECTOR_BYTES, &mut |_| random.draw())
            }
            Loss::RandomPages(seed) => {
                let mut random = SplitMix64(seed);
                state.after_power_loss(PAGE_BYTES, &mut |_| random.draw())
            }
        };
        Self {
            state: Arc::new(Mutex::new(after)),
        }
    }

    /// The disk after a power loss whose outcome `fate` draws. It is told what is drawn for:
    ///
    /// - `name`: an odd number keeps the change of a directory.
    /// - `file`: modulo 4, 0 loses all that is unsynced of a file, 1 keeps it, else the rest of
    ///   the draws decide.
    /// - `length`, `growth`: which of its lengths the file has, or how far its growth came.
    /// - `sector`: modulo the states that the sector went through, 0 is the oldest possible.
    #[must_use]
    pub fn after_power_loss(&self, fate: &mut dyn FnMut(&str) -> u64) -> Self {
        Self {
            state: Arc::new(Mutex::new(
                self.any_state().after_power_loss(SECTOR_BYTES, fate),
            )),
        }
    }

    /// `count` outcomes of a crash now: process death, the loss of all that is unsynced, then by
    /// turns chance and a torn prefix of the changes.
    #[must_use]
    pub fn crash_images(&self, seed: u64, count: usize) -> Vec<Self> {
        let mut random = SplitMix64(seed);
        let unsynced = self.unsynced();
        let mut loss = |n: usize| match n {
            0 => Loss::None,
            1 => Loss::All,
            n if n % 2 == 0 => Loss::Random(random.draw()),
            _ => Loss::Prefix(random.draw() % (unsynced + 1)),
        };
        (0..count).map(|n| self.after(loss(n))).collect()
    }

    fn any_state(&self) -> MutexGuard<'_, State> {
        locked(&self.state)
    }

    /// The state for a call that changes nothing.
    fn reading(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.any_state();
        if state.is_crashed() {
            Err(crashed())
        } else {
            Ok(state)
        }
    }

    /// The state for a call that changes something.
    fn changing(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.any_state();
        if state.is_crashed() {
            if let Some(crash) = &mut state.crash {
                crash.tears_write = false; // another call was in progress
            }
            return Err(crashed());
        }
        state.calls += 1;
        Ok(state)
    }
}

fn crashed() -> io::Error {
    io::Error::other("crashed")
}

impl Disk for CrashingDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        if names(path)?.is_empty() {
            return Ok(());
        }
        let (dir, name) = state.parent(path)?;
        match state.dir(dir)?.live.get(name) {
            Some(node) => match state.nodes[node] {
                Node::Dir(_) => Ok(()),
                Node::File(_) => Err(io::ErrorKind::AlreadyExists.into()),
            },
            None => state
                .create(dir, name, Node::Dir(Dir::default()))
                .map(|_| ()),
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.reading()?;
        let dir = state.dir(state.node_at(&names(dir)?)?)?;
        let entries = dir
            .live
            .iter()
            .map(|(name, node)| match &state.nodes[node] {
                Node::Dir(_) => DirEntry {
                    name: name.clone(),
                    is_dir: true,
                    len: 0,
                },
                Node::File(file) => {
                    let len = file.live.len() as u64;
                    DirEntry {
                        name: name.clone(),
                        is_dir: false,
                        len,
                    }
                }
            });
        Ok(entries.collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let state = self.reading()?;
        found(state.node_at(&names(path)?).map(|_| true))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let node = match mode {
            OpenMode::Read | OpenMode::ReadWrite => {
                let state = self.reading()?;
                let node = state.node_at(&names(path)?)?;
                state.file(node)?;
                node
            }
            OpenMode::Create => self.changing()?.open_or_create(path)?,
            OpenMode::CreateNew => {
                let mut state = self.changing()?;
                let (dir, name) = state.parent(path)?;
                if state.dir(dir)?.live.contains_key(name) {
                    return Err(io::ErrorKind::AlreadyExists.into());
                }
                state.create(dir, name, Node::File(FileHistory::default()))?
            }
        };
        let is_writable = mode != OpenMode::Read;
        Ok(Arc::new(CrashingFile {
            disk: self.clone(),
            node,
            is_writable,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        if to != from && to.starts_with(from) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let (from_dir, from_name) = state.parent(from)?;
        let (to_dir, to_name) = state.parent(to)?;
        let node = state.dir(from_dir)?.live.get(from_name).copied();
        let node = node.ok_or(io::ErrorKind::NotFound)?;
        if (from_dir, from_name) == (to_dir, to_name) {
            return Ok(());
        }
        if let Some(replaced) = state.dir(to_dir)?.live.get(to_name)
            && matches!(state.nodes[replaced], Node::Dir(_))
        {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        let remove = (from_name.to_owned(), None);
        let add = (to_name.to_owned(), Some(node));
        if from_dir == to_dir {
            return state.edit(from_dir, vec![remove, add]);
        }
        state.edit(from_dir, vec![remove])?;
        state.edit(to_dir, vec![add])
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let (dir, name) = state.parent(path)?;
        state.file(state.node_at(&names(path)?)?)?;
        state.edit(dir, vec![(name.to_owned(), None)])
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let (dir, name) = state.parent(path)?;
        if !state.dir(state.node_at(&names(path)?)?)?.live.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        state.edit(dir, vec![(name.to_owned(), None)])
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.changing()?;
        let node = state.node_at(&names(dir)?)?;
        state.dir(node)?;
        state.sync_dir(node);
        Ok(())
    }

    fn lock(&self, path: &Path, contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError> {
        let mut state = self.changing()?;
        let node = state.open_or_create(path)?;
        if !state.locks.insert(node) {
            return Err(LockError::Held {
                holder: holder(&state.file(node)?.live),
            });
        }
        let sequence = state.next_sequence();
        state.file_mut(node)?.set_len(sequence, 0);
        let sequence = state.next_sequence();
        state
            .file_mut(node)?
            .write(sequence, 0, contents.to_vec())?;
        Ok(Box::new(CrashingLock {
            disk: self.clone(),
            node,
        }))
    }

    fn available(&self, _path: &Path) -> io::Result<u64> {
        self.reading().map(|_| AVAILABLE_BYTES)
    }
}

#[derive(Debug)]
struct CrashingLock {
    disk: CrashingDisk,
    node: NodeId,
}

impl DiskLock for CrashingLock {}

impl Drop for CrashingLock {
    fn drop(&mut self) {
        self.disk.any_state().locks.remove(&self.node);
    }
}

#[derive(Debug)]
struct CrashingFile {
    disk: CrashingDisk,
    node: NodeId,
    is_writable: bool,
}

impl CrashingFile {
    /// The state for a change of this file, and the number of that change.
    fn changing(&self) -> io::Result<(MutexGuard<'_, State>, u64)> {
        let mut state = self.disk.changing()?;
        if !self.is_writable {
            return Err(not_writable());
        }
        let sequence = state.next_sequence();
        Ok((state, sequence))
    }
}

impl DiskFile for CrashingFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        let mut bytes = Vec::with_capacity(parts.iter().map(|part| part.len()).sum());
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        let position = size(position)?;
        let mut state = self.disk.any_state();
        if self.is_writable && state.is_crashed() && state.take_tear() {
            bytes.truncate(bytes.len() / 2);
            let sequence = state.next_sequence();
            state
                .file_mut(self.node)?
                .write(sequence, position, bytes)?;
            return Err(crashed());
        }
        drop(state);
        let (mut state, sequence) = self.changing()?;
        state.file_mut(self.node)?.write(sequence, position, bytes)
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let state = self.disk.reading()?;
        Ok(read_from(&state.file(self.node)?.live, position, buf))
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut state = self.disk.changing()?;
        match state.failing_sync.take() {
            Some((0, seed)) => {
                state
                    .file_mut(self.node)?
                    .fail_sync(&mut SplitMix64(seed))?;
                return Err(io::Error::from_raw_os_error(Fault::IO));
            }
            Some((syncs, seed)) => state.failing_sync = Some((syncs - 1, seed)),
            None => {}
        }
        state.file_mut(self.node)?.sync()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.reading()?.file(self.node)?.live.len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = size(len)?;
        let (mut state, sequence) = self.changing()?;
        state.file_mut(self.node)?.set_len(sequence, len);
        Ok(())
    }

    fn map(&self, range: Range<u64>) -> io::Result<Bytes> {
        copy_of(&self.disk.reading()?.file(self.node)?.live, range)
    }
}
