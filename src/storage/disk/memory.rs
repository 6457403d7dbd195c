//! A file system in memory.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;

use super::{DirEntry, Disk, DiskFile, DiskLock, LockError, OpenMode, locked};

/// A tree of files in memory; clones share it. The root directory exists from the start, and
/// relative paths begin there too.
#[derive(Clone, Debug, Default)]
pub struct MemoryDisk {
    root: Arc<Mutex<Dir>>,
    open_files: Arc<AtomicUsize>,
}

type Dir = BTreeMap<String, Node>;

#[derive(Debug)]
enum Node {
    Dir(Dir),
    File(Arc<MemoryFile>),
}

#[derive(Debug, Default)]
struct MemoryFile {
    bytes: Mutex<Vec<u8>>,
    is_locked: AtomicBool,
}

impl MemoryDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many files are open, those counted that were removed meanwhile.
    #[must_use]
    pub fn open_files(&self) -> usize {
        self.open_files.load(Ordering::Acquire)
    }

    /// Runs `act` on the directory that holds `path`, and the name of `path` in it.
    fn in_parent<T>(
        &self,
        path: &Path,
        act: impl FnOnce(&mut Dir, &str) -> io::Result<T>,
    ) -> io::Result<T> {
        let names = names(path)?;
        let (name, parents) = names.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        act(dir_at(&mut locked(&self.root), parents)?, name)
    }

    /// The file at `path`, created when `mode` says so.
    fn file(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<MemoryFile>> {
        self.in_parent(path, |dir, name| match (dir.get(name), mode) {
            (Some(Node::Dir(_)), _) => Err(io::ErrorKind::IsADirectory.into()),
            (Some(Node::File(_)), OpenMode::CreateNew) => Err(io::ErrorKind::AlreadyExists.into()),
            (Some(Node::File(file)), _) => Ok(Arc::clone(file)),
            (None, OpenMode::Read | OpenMode::ReadWrite) => Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                let file = Arc::new(MemoryFile::default());
                dir.insert(name.to_owned(), Node::File(Arc::clone(&file)));
                Ok(file)
            }
        })
    }
}

impl Disk for MemoryDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if names(path)?.is_empty() {
            return Ok(());
        }
        self.in_parent(path, |dir, name| match dir.get(name) {
            Some(Node::Dir(_)) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            None => {
                dir.insert(name.to_owned(), Node::Dir(Dir::new()));
                Ok(())
            }
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let mut root = locked(&self.root);
        let entries = dir_at(&mut root, &names(dir)?)?
            .iter()
            .map(|(name, node)| match node {
                Node::Dir(_) => DirEntry {
                    name: name.clone(),
                    is_dir: true,
                    len: 0,
                },
                Node::File(file) => {
                    let len = locked(&file.bytes).len() as u64;
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
        if names(path)?.is_empty() {
            return Ok(true);
        }
        found(self.in_parent(path, |dir, name| Ok(dir.contains_key(name))))
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let file = self.file(path, mode)?;
        self.open_files.fetch_add(1, Ordering::AcqRel);
        Ok(Arc::new(MemoryHandle {
            file,
            is_writable: mode != OpenMode::Read,
            open_files: Arc::clone(&self.open_files),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        if to != from && to.starts_with(from) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let mut root = locked(&self.root);
        let (from, to) = (names(from)?, names(to)?);
        let (from_name, from_dir) = from.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        let (to_name, to_dir) = to.split_last().ok_or(io::ErrorKind::InvalidInput)?;
        if !dir_at(&mut root, from_dir)?.contains_key(*from_name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if from == to {
            return Ok(());
        }
        if let Some(Node::Dir(_)) = dir_at(&mut root, to_dir)?.get(*to_name) {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        if let Some(node) = dir_at(&mut root, from_dir)?.remove(*from_name) {
            dir_at(&mut root, to_dir)?.insert((*to_name).to_owned(), node);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.in_parent(path, |dir, name| match dir.get(name) {
            Some(Node::File(_)) => {
                dir.remove(name);
                Ok(())
            }
            Some(Node::Dir(_)) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        self.in_parent(path, |dir, name| match dir.get(name) {
            Some(Node::Dir(inner)) if inner.is_empty() => {
                dir.remove(name);
                Ok(())
            }
            Some(Node::Dir(_)) => Err(io::ErrorKind::DirectoryNotEmpty.into()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        dir_at(&mut locked(&self.root), &names(dir)?).map(|_| ())
    }

    fn lock(&self, path: &Path, contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError> {
        let file = self.file(path, OpenMode::Create)?;
        if file.is_locked.swap(true, Ordering::AcqRel) {
            return Err(LockError::Held {
                holder: holder(&locked(&file.bytes)),
            });
        }
        *locked(&file.bytes) = contents.to_vec();
        Ok(Box::new(MemoryLock { file }))
    }

    fn available(&self, _path: &Path) -> io::Result<u64> {
        Ok(AVAILABLE_BYTES)
    }
}

#[derive(Debug)]
struct MemoryLock {
    file: Arc<MemoryFile>,
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.file.is_locked.store(false, Ordering::Release);
    }
}

#[derive(Debug)]
struct MemoryHandle {
    file: Arc<MemoryFile>,
    is_writable: bool,
    /// Of the whole disk.
    open_files: Arc<AtomicUsize>,
}

impl Drop for MemoryHandle {
    fn drop(&mut self) {
        self.open_files.fetch_sub(1, Ordering::AcqRel);
    }
}

impl MemoryHandle {
    fn change(&self, act: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        if !self.is_writable {
            return Err(not_writable());
        }
        act(&mut locked(&self.file.bytes))
    }
}

impl DiskFile for MemoryHandle {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.change(|bytes| {
            let mut position = size(position)?;
            for part in parts {
                write_into(bytes, position, part)?;
                position += part.len();
            }
            Ok(())
        })
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        Ok(read_from(&locked(&self.file.bytes), position, buf))
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.file.bytes).len() as u64)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let len = size(len)?;
        self.change(|bytes| {
            bytes.resize(len, 0);
            Ok(())
        })
    }

    fn map(&self, range: Range<u64>) -> io::Result<Bytes> {
        copy_of(&locked(&self.file.bytes), range)
    }

    fn is_warm(&self, range: Range<u64>) -> bool {
        range.end <= locked(&self.file.bytes).len() as u64
    }

    fn read_now(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.read_at(position, buf)
    }
}

/// What a disk in memory says is available: without a bound, but safe to add to.
pub(super) const AVAILABLE_BYTES: u64 = 1 << 62;

/// Longest file of a disk in memory, so that a wrong position is an error and not an abort.
const MAX_FILE_BYTES: u64 = 1 << 32;

/// The names that lead from the root to `path`.
pub(super) fn names(path: &Path) -> io::Result<Vec<&str>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir => {}
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidInput)?)
            }
            Component::Prefix(_) | Component::ParentDir => {
                return Err(io::ErrorKind::InvalidInput.into());
            }
        }
    }
    Ok(names)
}

/// Turns "no such directory on the way" into "does not exist".
pub(super) fn found(result: io::Result<bool>) -> io::Result<bool> {
    match result {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(false),
        other => other,
    }
}

/// What the holder of a lock wrote, as text.
pub(super) fn holder(contents: &[u8]) -> String {
    String::from_utf8_lossy(contents).trim().to_owned()
}

/// The error of a write through a handle opened for reading, as the operating system has it.
pub(super) fn not_writable() -> io::Error {
    rustix::io::Errno::BADF.into()
}

/// A position or length as an index into memory.
pub(super) fn size(bytes: u64) -> io::Result<usize> {
    match usize::try_from(bytes) {
        Ok(size) if bytes <= MAX_FILE_BYTES => Ok(size),
        _ => Err(io::ErrorKind::FileTooLarge.into()),
    }
}

/// Writes `part` at `position`, growing the file; a gap becomes zeros.
pub(super) fn write_into(bytes: &mut Vec<u8>, position: usize, part: &[u8]) -> io::Result<()> {
    let end = position + part.len();
    size(end as u64)?;
    if part.is_empty() {
        return Ok(()); // writing nothing does not grow a file
    }
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[position..end].copy_from_slice(part);
    Ok(())
}

/// Copies what the file holds from `position` on into `buf`; returns the bytes copied.
pub(super) fn read_from(bytes: &[u8], position: u64, buf: &mut [u8]) -> usize {
    let rest = usize::try_from(position)
        .ok()
        .and_then(|at| bytes.get(at..))
        .unwrap_or_default();
    let read = rest.len().min(buf.len());
    buf[..read].copy_from_slice(&rest[..read]);
    read
}

/// The bytes `range` of the file, or `InvalidInput`.
pub(super) fn copy_of(bytes: &[u8], range: Range<u64>) -> io::Result<Bytes> {
    let range = usize::try_from(range.start)
        .ok()
        .zip(usize::try_from(range.end).ok());
    let bytes = range.and_then(|(start, end)| bytes.get(start..end));
    Ok(Bytes::copy_from_slice(
        bytes.ok_or(io::ErrorKind::InvalidInput)?,
    ))
}

fn dir_at<'a>(root: &'a mut Dir, names: &[&str]) -> io::Result<&'a mut Dir> {
    let mut dir = root;
    for name in names {
        dir = match dir.get_mut(*name) {
            Some(Node::Dir(inner)) => inner,
            Some(Node::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            None => return Err(io::ErrorKind::NotFound.into()),
        };
    }
    Ok(dir)
}
