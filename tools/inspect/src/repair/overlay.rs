//! A disk over another: reads see what was changed, and the disk below stays as it is. Every change is kept as a call that can be
//! carried out later, in the same order and with the same syncs.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use npayload::storage::disk::{DirEntry, Disk, DiskFile, DiskLock, LockError, OpenMode};

/// A call that changes a disk.
#[derive(Clone, Debug)]
pub enum Call {
    CreateDir(PathBuf),
    CreateFile(PathBuf),
    Write(PathBuf, u64, Bytes),
    SetLen(PathBuf, u64),
    SyncData(PathBuf),
    Rename(PathBuf, PathBuf),
    RemoveFile(PathBuf),
    RemoveDir(PathBuf),
    SyncDir(PathBuf),
}

/// The overlay; clones share it.
#[derive(Clone, Debug)]
pub struct Overlay {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    below: Arc<dyn Disk>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// What differs from the disk below.
    names: BTreeMap<PathBuf, Name>,
    calls: Vec<Call>,
}

#[derive(Clone, Debug)]
enum Name {
    /// There was something, and it is gone.
    Gone,
    /// A directory, with the one below that it shows, if any.
    Dir(Option<PathBuf>),
    File(Arc<Mutex<Contents>>),
}

/// A file that was opened through the overlay.
#[derive(Debug)]
struct Contents {
    /// Where it is now.
    path: PathBuf,
    /// The file below whose bytes show where nothing was written.
    below: Option<Arc<dyn DiskFile>>,
    /// Bytes of the file below that still show.
    shown: u64,
    len: u64,
    /// Written bytes, by position; they do not overlap.
    written: BTreeMap<u64, Bytes>,
}

impl Overlay {
    pub fn new(below: Arc<dyn Disk>) -> Self {
        let shared = Shared {
            below,
            state: Mutex::default(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// All changes so far, in order.
    pub fn calls(&self) -> Vec<Call> {
        self.state().calls.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.shared.state)
    }

    /// What `path` is: changed here, or a path of the disk below, or nothing.
    fn resolve(&self, state: &State, path: &Path) -> Found {
        for ancestor in path.ancestors() {
            let Some(name) = state.names.get(ancestor) else {
                continue;
            };
            let rest = path.strip_prefix(ancestor).unwrap_or(path);
            return match name {
                Name::File(contents) if rest.as_os_str().is_empty() => {
                    Found::File(contents.clone())
                }
                Name::Dir(below) if rest.as_os_str().is_empty() => Found::Dir(below.clone()),
                Name::Dir(Some(below)) => Found::Below(below.join(rest)),
                Name::Gone | Name::Dir(None) | Name::File(_) => Found::Nothing,
            };
        }
        Found::Below(path.to_owned())
    }

    fn is_there(&self, state: &State, path: &Path) -> io::Result<bool> {
        match self.resolve(state, path) {
            Found::File(_) | Found::Dir(_) => Ok(true),
            Found::Below(path) => self.shared.below.exists(&path),
            Found::Nothing => Ok(false),
        }
    }

    /// The file at `path`, taken into the overlay if it is only below.
    fn contents(&self, state: &mut State, path: &Path) -> io::Result<Arc<Mutex<Contents>>> {
        match self.resolve(state, path) {
            Found::File(contents) => Ok(contents),
            Found::Dir(_) => Err(io::ErrorKind::IsADirectory.into()),
            Found::Nothing => Err(io::ErrorKind::NotFound.into()),
            Found::Below(below) => {
                let file = self.shared.below.open(&below, OpenMode::Read)?;
                let len = file.len()?;
                let contents = Arc::new(Mutex::new(Contents {
                    path: path.to_owned(),
                    below: Some(file),
                    shown: len,
                    len,
                    written: BTreeMap::new(),
                }));
                let name = Name::File(contents.clone());
                state.names.insert(path.to_owned(), name);
                Ok(contents)
            }
        }
    }
}

enum Found {
    File(Arc<Mutex<Contents>>),
    Dir(Option<PathBuf>),
    Below(PathBuf),
    Nothing,
}

impl Disk for Overlay {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if self.is_there(&state, path)? {
            return Ok(());
        }
        state.names.insert(path.to_owned(), Name::Dir(None));
        state.calls.push(Call::CreateDir(path.to_owned()));
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<DirEntry>> {
        let state = self.state();
        let below = match self.resolve(&state, dir) {
            Found::Below(below) | Found::Dir(Some(below)) => Some(below),
            Found::Dir(None) => None,
            Found::File(_) => return Err(io::ErrorKind::NotADirectory.into()),
            Found::Nothing => return Err(io::ErrorKind::NotFound.into()),
        };
        let mut entries: BTreeMap<String, DirEntry> = BTreeMap::new();
        if let Some(below) = below {
            for entry in self.shared.below.list(&below)? {
                entries.insert(entry.name.clone(), entry);
            }
        }
        for (path, name) in &state.names {
            let (Some(parent), Some(own)) = (path.parent(), path.file_name()) else {
                continue;
            };
            if parent != dir {
                continue;
            }
            let own = own.to_string_lossy().into_owned();
            match name {
                Name::Gone => {
                    entries.remove(&own);
                }
                Name::Dir(_) => {
                    let entry = DirEntry {
                        name: own.clone(),
                        is_dir: true,
                        len: 0,
                    };
                    entries.insert(own, entry);
                }
                Name::File(contents) => {
                    let entry = DirEntry {
                        name: own.clone(),
                        is_dir: false,
                        len: lock(contents).len,
                    };
                    entries.insert(own, entry);
                }
            }
        }
        Ok(entries.into_values().collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.is_there(&self.state(), path)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.state();
        let contents = match (self.contents(&mut state, path), mode) {
            (Ok(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Err(error), OpenMode::Create | OpenMode::CreateNew)
                if error.kind() == io::ErrorKind::NotFound =>
            {
                let contents = Arc::new(Mutex::new(Contents {
                    path: path.to_owned(),
                    below: None,
                    shown: 0,
                    len: 0,
                    written: BTreeMap::new(),
                }));
                state
                    .names
                    .insert(path.to_owned(), Name::File(contents.clone()));
                state.calls.push(Call::CreateFile(path.to_owned()));
                contents
            }
            (contents, _) => contents?,
        };
        Ok(Arc::new(OverlayFile {
            overlay: self.clone(),
            contents,
            is_writable: mode != OpenMode::Read,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        let name = match self.resolve(&state, from) {
            Found::Nothing => return Err(io::ErrorKind::NotFound.into()),
            Found::Dir(below) => Name::Dir(below),
            Found::File(contents) => Name::File(contents),
            // A path below may be either.
            Found::Below(below) => match self.shared.below.list(&below) {
                Ok(_) => Name::Dir(Some(below)),
                Err(_) => Name::File(self.contents(&mut state, from)?),
            },
        };
        if let Name::File(contents) = &name {
            lock(contents).path = to.to_owned();
        }
        let inside: Vec<PathBuf> = state
            .names
            .keys()
            .filter(|path| path.starts_with(from) && *path != from)
            .cloned()
            .collect();
        for path in inside {
            let moved = to.join(path.strip_prefix(from).unwrap_or(&path));
            if let Some(name) = state.names.remove(&path) {
                if let Name::File(contents) = &name {
                    lock(contents).path.clone_from(&moved);
                }
                state.names.insert(moved, name);
            }
        }
        state.names.insert(from.to_owned(), Name::Gone);
        state.names.insert(to.to_owned(), name);
        state
            .calls
            .push(Call::Rename(from.to_owned(), to.to_owned()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        self.contents(&mut state, path)?;
        state.names.insert(path.to_owned(), Name::Gone);
        state.calls.push(Call::RemoveFile(path.to_owned()));
        Ok(())
    }

    fn remove_dir(&self, path: &Path) -> io::Result<()> {
        if !self.list(path)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        let mut state = self.state();
        state.names.insert(path.to_owned(), Name::Gone);
        state.calls.push(Call::RemoveDir(path.to_owned()));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.state().calls.push(Call::SyncDir(dir.to_owned()));
        Ok(())
    }

    /// The lock of the disk below is held by who made the overlay.
    fn lock(&self, _path: &Path, _contents: &[u8]) -> Result<Box<dyn DiskLock>, LockError> {
        Ok(Box::new(Unlocked))
    }

    fn available(&self, path: &Path) -> io::Result<u64> {
        self.shared.below.available(path)
    }
}

#[derive(Debug)]
struct Unlocked;

impl DiskLock for Unlocked {}

#[derive(Debug)]
struct OverlayFile {
    overlay: Overlay,
    contents: Arc<Mutex<Contents>>,
    is_writable: bool,
}

impl OverlayFile {
    fn check_writable(&self) -> io::Result<()> {
        if self.is_writable {
            return Ok(());
        }
        Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "opened for reading",
        ))
    }
}

impl DiskFile for OverlayFile {
    fn write_at(&self, position: u64, parts: &[IoSlice<'_>]) -> io::Result<()> {
        self.check_writable()?;
        let bytes: Vec<u8> = parts.iter().flat_map(|part| part.iter().copied()).collect();
        let bytes = Bytes::from(bytes);
        let mut contents = lock(&self.contents);
        contents.write(position, bytes.clone());
        let call = Call::Write(contents.path.clone(), position, bytes);
        self.overlay.state().calls.push(call);
        Ok(())
    }

    fn read_at(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        lock(&self.contents).read(position, buf)
    }

    fn sync_data(&self) -> io::Result<()> {
        let path = lock(&self.contents).path.clone();
        self.overlay.state().calls.push(Call::SyncData(path));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.contents).len)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        let mut contents = lock(&self.contents);
        contents.clear(len..u64::MAX);
        contents.shown = contents.shown.min(len);
        contents.len = len;
        let call = Call::SetLen(contents.path.clone(), len);
        self.overlay.state().calls.push(call);
        Ok(())
    }

    fn map(&self, range: Range<u64>) -> io::Result<Bytes> {
        let contents = lock(&self.contents);
        if range.end > contents.len || range.start > range.end {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let len = usize::try_from(range.end - range.start).map_err(io::Error::other)?;
        let mut bytes = vec![0; len];
        contents.read(range.start, &mut bytes)?;
        Ok(bytes.into())
    }
}

impl Contents {
    /// Forgets what was written in a range.
    fn clear(&mut self, range: Range<u64>) {
        let end_of = |(at, bytes): (&u64, &Bytes)| *at + bytes.len() as u64;
        let first = self
            .written
            .range(..range.start)
            .next_back()
            .filter(|one| end_of(*one) > range.start)
            .map_or(range.start, |(at, _)| *at);
        let touched: Vec<u64> = self
            .written
            .range(first..range.end)
            .map(|(at, _)| *at)
            .collect();
        for at in touched {
            let Some(bytes) = self.written.remove(&at) else {
                continue;
            };
            let end = at + bytes.len() as u64;
            let cut = |position: u64| usize::try_from(position - at).unwrap_or(bytes.len());
            if at < range.start {
                self.written.insert(at, bytes.slice(..cut(range.start)));
            }
            if end > range.end {
                self.written
                    .insert(range.end, bytes.slice(cut(range.end)..));
            }
        }
    }

    fn write(&mut self, position: u64, bytes: Bytes) {
        let end = position + bytes.len() as u64;
        self.clear(position..end);
        self.len = self.len.max(end);
        if !bytes.is_empty() {
            self.written.insert(position, bytes);
        }
    }

    fn read(&self, position: u64, buf: &mut [u8]) -> io::Result<usize> {
        let there = self.len.saturating_sub(position);
        let wanted = usize::try_from(there).unwrap_or(usize::MAX).min(buf.len());
        let buf = &mut buf[..wanted];
        buf.fill(0);
        if let Some(below) = &self.below
            && position < self.shown
        {
            let shown = usize::try_from(self.shown - position).unwrap_or(usize::MAX);
            let shown = shown.min(wanted);
            below.read_at(position, &mut buf[..shown])?;
        }
        let end = position + wanted as u64;
        let before = self.written.range(..position).next_back();
        for (at, bytes) in before.into_iter().chain(self.written.range(position..end)) {
            let from = (*at).max(position);
            let to = (*at + bytes.len() as u64).min(end);
            if from >= to {
                continue;
            }
            let cut = |position: u64, base: u64| usize::try_from(position - base);
            let map = |_| io::Error::other("a range beyond memory");
            let target = cut(from, position).map_err(map)?..cut(to, position).map_err(map)?;
            let source = cut(from, *at).map_err(map)?..cut(to, *at).map_err(map)?;
            buf[target].copy_from_slice(&bytes[source]);
        }
        Ok(wanted)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use npayload::storage::disk::MemoryDisk;

    use super::*;

    fn put(disk: &dyn Disk, path: &str, bytes: &[u8]) {
        let file = disk.open(Path::new(path), OpenMode::Create).unwrap();
        file.set_len(0).unwrap();
        file.write_at(0, &[IoSlice::new(bytes)]).unwrap();
    }

    fn get(disk: &dyn Disk, path: &str) -> Option<Vec<u8>> {
        let file = disk.open(Path::new(path), OpenMode::Read).ok()?;
        let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
        file.read_at(0, &mut bytes).unwrap();
        Some(bytes)
    }

    #[test]
    fn changes_are_seen_through_it_and_the_disk_below_keeps_its_bytes() {
        let below: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        below.create_dir(Path::new("d")).unwrap();
        for name in ["d/a", "d/b", "d/c"] {
            put(&*below, name, b"0123456789");
        }
        let disk = Overlay::new(below.clone());
        let file = disk.open(Path::new("d/a"), OpenMode::ReadWrite).unwrap();
        for (at, bytes) in [(2, &b"xy"[..]), (3, b"zzz"), (12, b"end"), (0, b"A")] {
            file.write_at(at, &[IoSlice::new(bytes)]).unwrap();
        }
        assert_eq!(get(&disk, "d/a").unwrap(), b"A1xzzz6789\0\0end");
        file.set_len(5).unwrap();
        file.set_len(8).unwrap();
        assert_eq!(get(&disk, "d/a").unwrap(), b"A1xzz\0\0\0");
        disk.rename(Path::new("d/b"), Path::new("d/e")).unwrap();
        disk.remove_file(Path::new("d/c")).unwrap();
        assert_eq!(get(&disk, "d/b"), None);
        assert_eq!(get(&disk, "d/e").unwrap(), b"0123456789");
        let names = |disk: &dyn Disk, dir: &str| -> Vec<String> {
            let entries = disk.list(Path::new(dir)).unwrap();
            entries.into_iter().map(|entry| entry.name).collect()
        };
        assert_eq!(names(&disk, "d"), ["a", "e"]);
        disk.rename(Path::new("d"), Path::new("f")).unwrap();
        assert_eq!(names(&disk, "f"), ["a", "e"]);
        assert_eq!(get(&disk, "f/a").unwrap(), b"A1xzz\0\0\0");
        assert!(!disk.exists(Path::new("d/a")).unwrap());
        assert_eq!(names(&*below, "d"), ["a", "b", "c"]);
        assert_eq!(get(&*below, "d/a").unwrap(), b"0123456789");
        assert_eq!(disk.calls().len(), 9);
    }
}
