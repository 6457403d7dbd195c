//! What a repair changed, kept so that it can be taken back byte for byte: `lost+found/repair-<n>` with
//!
//! | file | contents |
//! | --- | --- |
//! | `manifest.json` | every change: files, ranges, lengths, names, checksums before and after |
//! | `bytes` | the old bytes of all changed ranges, one after the other |
//! | `files/<k>` | removed files, moved here as they were |
//! | `state` | `applying`, `applied`, `undoing`, `undone`, or `abandoned` when a broker started in between |
//!
//! All of it is on the disk before the first change is made.

use std::collections::{BTreeMap, BTreeSet};
use std::io::IoSlice;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use npayload::format::RecoveryPoint;
use npayload::storage::Layout;
use npayload::storage::disk::{Disk, DiskFile, OpenMode};
use npayload::types::Timestamp;
use serde::{Deserialize, Serialize};

use super::overlay::{Call, Overlay};
use super::scan::read;

/// How the bytes and the manifest are read and copied.
const PIECE_BYTES: u64 = 1 << 20;
const VERSION: u32 = 1;

/// How far a repair is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Applying,
    Applied,
    Undoing,
    Undone,
    Abandoned,
}

impl State {
    const ALL: [(Self, &str); 5] = [
        (Self::Applying, "applying"),
        (Self::Applied, "applied"),
        (Self::Undoing, "undoing"),
        (Self::Undone, "undone"),
        (Self::Abandoned, "abandoned"),
    ];

    fn name(self) -> &'static str {
        Self::ALL
            .iter()
            .find(|(state, _)| *state == self)
            .map_or("", |(_, name)| name)
    }

    /// Whether files may be half changed.
    pub fn is_unfinished(self) -> bool {
        matches!(self, Self::Applying | Self::Undoing)
    }
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Manifest {
    version: u32,
    tool: String,
    made_at: Timestamp,
    /// The recovery point before and after, slot by slot: a broker that starts in between changes it.
    points_before: [u32; 2],
    points_after: [u32; 2],
    changed: Vec<Changed>,
    created: Vec<Created>,
    removed: Vec<Removed>,
    removed_dirs: Vec<PathBuf>,
    moved: Vec<Moved>,
}

/// A file whose bytes changed, by the name it had before.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Changed {
    path: PathBuf,
    len_before: u64,
    len_after: u64,
    ranges: Vec<Kept>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kept {
    from: u64,
    to: u64,
    /// Where its old bytes begin in `bytes`.
    at: u64,
    crc_before: u32,
    crc_after: u32,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    path: PathBuf,
    is_dir: bool,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Removed {
    path: PathBuf,
    kept: u64,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Moved {
    from: PathBuf,
    to: PathBuf,
}

/// One repair's folder in `lost+found`.
pub struct Backup<'a> {
    disk: &'a dyn Disk,
    layout: &'a Layout,
    number: u64,
}

impl<'a> Backup<'a> {
    pub fn new(disk: &'a dyn Disk, layout: &'a Layout, number: u64) -> Self {
        Self {
            disk,
            layout,
            number,
        }
    }

    /// The repairs of a data directory that have left a folder, ascending.
    pub fn numbers(disk: &dyn Disk, layout: &Layout) -> Result<Vec<u64>> {
        let lost = layout.lost_and_found();
        if !disk.exists(&lost)? {
            return Ok(Vec::new());
        }
        let number = |name: &str| name.strip_prefix("repair-")?.parse().ok();
        let entries = disk
            .list(&lost)
            .with_context(|| format!("list {}", lost.display()))?;
        let mut numbers: Vec<u64> = entries
            .iter()
            .filter_map(|entry| number(&entry.name))
            .collect();
        numbers.sort_unstable();
        Ok(numbers)
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    pub fn dir(&self) -> PathBuf {
        let name = format!("repair-{}", self.number);
        self.layout.lost_and_found().join(name)
    }

    /// How far it is; none when it never began to change anything.
    pub fn state(&self) -> Result<Option<State>> {
        let path = self.dir().join("state");
        if !self.disk.exists(&path)? {
            return Ok(None);
        }
        let text = self.read_whole(&path)?;
        let text = String::from_utf8_lossy(&text);
        let known = State::ALL.iter().find(|(_, name)| *name == text.trim());
        match known {
            Some((state, _)) => Ok(Some(*state)),
            None => bail!("{}: `{}` is no state", path.display(), text.trim()),
        }
    }

    pub fn set_state(&self, state: State) -> Result<()> {
        let (path, new) = (self.dir().join("state"), self.dir().join("state.new"));
        self.write_whole(&new, format!("{}\n", state.name()).as_bytes())?;
        self.disk
            .rename(&new, &path)
            .with_context(|| format!("write {}", path.display()))?;
        self.sync_dir(&self.dir())
    }

    /// Keeps what the calls of `overlay` will change, synced.
    pub fn keep(&self, overlay: &Overlay, tool: &str, now: Timestamp) -> Result<()> {
        let dir = self.dir();
        for path in [self.layout.lost_and_found(), dir.clone(), dir.join("files")] {
            self.disk
                .create_dir(&path)
                .with_context(|| format!("create {}", path.display()))?;
        }
        let mut manifest = self.changes_of(&overlay.calls())?;
        manifest.version = VERSION;
        tool.clone_into(&mut manifest.tool);
        manifest.made_at = now;
        manifest.points_before = points(self.disk, self.layout)?;
        manifest.points_after = points(overlay, self.layout)?;
        let path = dir.join("bytes");
        let bytes = self.open(&path, OpenMode::Create)?;
        bytes.set_len(0)?;
        let mut end = 0;
        for changed in &mut manifest.changed {
            let old = self.open(&self.full(&changed.path), OpenMode::Read)?;
            let now_at = manifest
                .moved
                .iter()
                .fold(changed.path.clone(), |path, moved| moved.of(&path));
            // One that is removed in the end has nothing to compare.
            let is_there = overlay.exists(&self.full(&now_at))?;
            let now_at = if is_there {
                now_at
            } else {
                changed.path.clone()
            };
            let from: &dyn Disk = if is_there { overlay } else { self.disk };
            let new = from
                .open(&self.full(&now_at), OpenMode::Read)
                .with_context(|| format!("read {}", now_at.display()))?;
            changed.len_after = new.len()?;
            for range in &mut changed.ranges {
                range.at = end;
                range.crc_before = copy(&*old, range.from..range.to, &*bytes, end)?;
                range.crc_after = checksum(&*new, range.from..range.to)?;
                end += range.to - range.from;
            }
        }
        bytes
            .sync_data()
            .with_context(|| format!("sync {}", path.display()))?;
        let text = serde_json::to_vec_pretty(&manifest)?;
        self.write_whole(&dir.join("manifest.json"), &text)?;
        self.sync_dir(&dir)?;
        self.sync_dir(&self.layout.lost_and_found())?;
        self.sync_dir(self.layout.root())
    }

    /// Which files, ranges and names the calls change.
    fn changes_of(&self, calls: &[Call]) -> Result<Manifest> {
        let mut manifest = Manifest::default();
        let mut ranges: BTreeMap<PathBuf, (u64, Vec<Range<u64>>)> = BTreeMap::new();
        let mut new: BTreeSet<PathBuf> = BTreeSet::new();
        for call in calls {
            let (path, range) = match call {
                Call::SyncData(_) | Call::SyncDir(_) => continue,
                Call::CreateDir(path) | Call::CreateFile(path) => {
                    new.insert(path.clone());
                    manifest.created.push(Created {
                        path: self.short(path),
                        is_dir: matches!(call, Call::CreateDir(_)),
                    });
                    continue;
                }
                Call::Rename(from, to) => {
                    ensure!(
                        !self.disk.exists(to)?,
                        "{} is in the way of a file that must be moved",
                        to.display()
                    );
                    ensure!(!new.contains(from), "a new file is never moved");
                    manifest.moved.push(Moved {
                        from: self.short(from),
                        to: self.short(to),
                    });
                    continue;
                }
                Call::RemoveFile(path) => {
                    if new.remove(path) {
                        continue;
                    }
                    let kept = manifest.removed.len() as u64;
                    manifest.removed.push(Removed {
                        path: self.short(path),
                        kept,
                    });
                    continue;
                }
                Call::RemoveDir(path) => {
                    manifest.removed_dirs.push(self.short(path));
                    continue;
                }
                Call::Write(path, at, bytes) => (path, *at..*at + bytes.len() as u64),
                Call::SetLen(path, len) => (path, *len..u64::MAX),
            };
            if new.contains(path) {
                continue;
            }
            let before = manifest
                .moved
                .iter()
                .rev()
                .fold(self.short(path), |path, moved| moved.back(&path));
            let (len, ranges) = match ranges.entry(before) {
                std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::btree_map::Entry::Vacant(entry) => {
                    let file = self.open(&self.full(entry.key()), OpenMode::Read)?;
                    let len = file.len()?;
                    entry.insert((len, Vec::new()))
                }
            };
            let range = range.start.min(*len)..range.end.min(*len);
            if !range.is_empty() {
                ranges.push(range);
            }
        }
        manifest.changed = ranges
            .into_iter()
            .map(|(path, (len, ranges))| Changed {
                path,
                len_before: len,
                len_after: 0,
                ranges: joined(ranges)
                    .into_iter()
                    .map(|range| Kept {
                        from: range.start,
                        to: range.end,
                        at: 0,
                        crc_before: 0,
                        crc_after: 0,
                    })
                    .collect(),
            })
            .collect();
        Ok(manifest)
    }

    /// Carries the calls out on the disk, in their order; files that they remove are moved into the folder.
    pub fn apply(&self, calls: &[Call], progress: &dyn Fn(u64)) -> Result<()> {
        let mut open: BTreeMap<PathBuf, Arc<dyn DiskFile>> = BTreeMap::new();
        let mut new: BTreeSet<PathBuf> = BTreeSet::new();
        let mut kept = 0;
        for call in calls {
            match call {
                Call::CreateDir(path) => self.disk.create_dir(path),
                Call::CreateFile(path) => {
                    new.insert(path.clone());
                    self.disk.open(path, OpenMode::CreateNew).map(drop)
                }
                Call::Write(path, at, bytes) => {
                    progress(bytes.len() as u64);
                    self.opened(&mut open, path)?
                        .write_at(*at, &[IoSlice::new(bytes)])
                }
                Call::SetLen(path, len) => self.opened(&mut open, path)?.set_len(*len),
                Call::SyncData(path) => self.opened(&mut open, path)?.sync_data(),
                Call::Rename(from, to) => {
                    open.clear();
                    self.disk.rename(from, to)
                }
                Call::RemoveFile(path) if new.remove(path) => {
                    open.remove(path);
                    self.disk.remove_file(path)
                }
                Call::RemoveFile(path) => {
                    open.remove(path);
                    let to = self.dir().join("files").join(kept.to_string());
                    kept += 1;
                    self.disk
                        .rename(path, &to)
                        .and_then(|()| self.disk.sync_dir(&self.dir().join("files")))
                }
                Call::RemoveDir(path) => self.disk.remove_dir(path),
                Call::SyncDir(path) => self.disk.sync_dir(path),
            }
            .with_context(|| format!("{call:.80?}"))?;
        }
        Ok(())
    }

    fn opened<'b>(
        &self,
        open: &'b mut BTreeMap<PathBuf, Arc<dyn DiskFile>>,
        path: &Path,
    ) -> Result<&'b Arc<dyn DiskFile>> {
        if !open.contains_key(path) {
            let file = self.open(path, OpenMode::ReadWrite)?;
            open.insert(path.to_owned(), file);
        }
        open.get(path).context("opened above")
    }

    /// Why the repair can't be taken back, if so: what has changed since would be destroyed.
    pub fn moved_on(&self) -> Result<Option<String>> {
        let manifest = self.manifest()?;
        if points(self.disk, self.layout)? != manifest.points_after {
            return Ok(Some(
                "a broker or another repair has written to the directory since: recovery-point has changed"
                    .to_owned(),
            ));
        }
        for changed in &manifest.changed {
            let path = manifest
                .moved
                .iter()
                .fold(changed.path.clone(), |path, moved| moved.of(&path));
            if manifest.removed.iter().any(|removed| removed.path == path) {
                continue;
            }
            let file = self.open(&self.full(&path), OpenMode::Read)?;
            if file.len()? != changed.len_after {
                return Ok(Some(format!("{} has another length since", path.display())));
            }
            for range in &changed.ranges {
                if checksum(&*file, range.from..range.to)? != range.crc_after {
                    let (from, to) = (range.from, range.to);
                    let path = path.display();
                    return Ok(Some(format!(
                        "bytes {from}..{to} of {path} have changed since"
                    )));
                }
            }
        }
        Ok(None)
    }

    /// Whether nobody but this repair has written the recovery point: each slot is as it was or as the repair makes it.
    pub fn is_ours(&self) -> Result<bool> {
        let manifest = self.manifest()?;
        let now = points(self.disk, self.layout)?;
        Ok((0..2).all(|slot| {
            now[slot] == manifest.points_before[slot] || now[slot] == manifest.points_after[slot]
        }))
    }

    /// Takes the repair back. It may be whole, or have stopped anywhere, and so may an earlier undo: every part is found as it was
    /// or as it became.
    pub fn restore(&self, progress: &dyn Fn(u64)) -> Result<()> {
        let manifest = self.manifest()?;
        let files = self.dir().join("files");
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::from([files.clone()]);
        for path in manifest.removed_dirs.iter().rev() {
            self.disk.create_dir(&self.full(path))?;
            dirs.insert(parent(&self.full(path)));
        }
        for removed in &manifest.removed {
            let (from, to) = (
                files.join(removed.kept.to_string()),
                self.full(&removed.path),
            );
            if self.disk.exists(&from)? {
                self.disk
                    .rename(&from, &to)
                    .with_context(|| format!("restore {}", to.display()))?;
                dirs.insert(parent(&to));
            }
        }
        for moved in manifest.moved.iter().rev() {
            let (from, to) = (self.full(&moved.to), self.full(&moved.from));
            if self.disk.exists(&from)? && !self.disk.exists(&to)? {
                self.disk
                    .rename(&from, &to)
                    .with_context(|| format!("restore {}", to.display()))?;
                dirs.extend([parent(&from), parent(&to)]);
            }
        }
        for dir in &dirs {
            self.sync_dir(dir)?;
        }
        let bytes = self.open(&self.dir().join("bytes"), OpenMode::Read)?;
        // The recovery point first: what it names is there again, and what the repair made is not yet gone.
        let (points, others): (Vec<_>, Vec<_>) = manifest
            .changed
            .iter()
            .partition(|changed| changed.path == Path::new("recovery-point"));
        for changed in points.into_iter().chain(others) {
            let path = self.full(&changed.path);
            let file = self.open(&path, OpenMode::ReadWrite)?;
            for range in &changed.ranges {
                let len = range.to - range.from;
                let kept = checksum(&*bytes, range.at..range.at + len)?;
                ensure!(
                    kept == range.crc_before,
                    "{}: the kept bytes of {} are damaged",
                    self.dir().join("bytes").display(),
                    path.display()
                );
                copy(&*bytes, range.at..range.at + len, &*file, range.from)?;
                progress(len);
            }
            if file.len()? != changed.len_before {
                file.set_len(changed.len_before)?;
            }
            file.sync_data()
                .with_context(|| format!("sync {}", path.display()))?;
        }
        let mut dirs: BTreeSet<PathBuf> = BTreeSet::new();
        for created in manifest.created.iter().rev() {
            let path = self.full(&created.path);
            if !self.disk.exists(&path)? {
                continue;
            }
            if !created.is_dir {
                self.disk.remove_file(&path)?;
            } else if self.disk.list(&path)?.is_empty() {
                self.disk.remove_dir(&path)?;
                dirs.remove(&path);
            }
            dirs.insert(parent(&path));
        }
        for dir in &dirs {
            if self.disk.exists(dir)? {
                self.sync_dir(dir)?;
            }
        }
        Ok(())
    }

    fn manifest(&self) -> Result<Manifest> {
        let path = self.dir().join("manifest.json");
        let text = self.read_whole(&path)?;
        let manifest: Manifest =
            serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))?;
        ensure!(
            manifest.version == VERSION,
            "{}: version {}, this npayload-inspect reads {VERSION}",
            path.display(),
            manifest.version
        );
        Ok(manifest)
    }

    fn full(&self, path: &Path) -> PathBuf {
        self.layout.root().join(path)
    }

    fn short(&self, path: &Path) -> PathBuf {
        let root = self.layout.root();
        path.strip_prefix(root).unwrap_or(path).to_owned()
    }

    fn open(&self, path: &Path, mode: OpenMode) -> Result<Arc<dyn DiskFile>> {
        let file = self.disk.open(path, mode);
        file.with_context(|| format!("open {}", path.display()))
    }

    fn read_whole(&self, path: &Path) -> Result<Vec<u8>> {
        let file = self.open(path, OpenMode::Read)?;
        read(&*file, 0, file.len()?).with_context(|| format!("read {}", path.display()))
    }

    fn write_whole(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        let file = self.open(path, OpenMode::Create)?;
        let written = file
            .set_len(0)
            .and_then(|()| file.write_at(0, &[IoSlice::new(bytes)]))
            .and_then(|()| file.sync_data());
        written.with_context(|| format!("write {}", path.display()))
    }

    fn sync_dir(&self, dir: &Path) -> Result<()> {
        let synced = self.disk.sync_dir(dir);
        synced.with_context(|| format!("sync {}", dir.display()))
    }
}

impl Moved {
    /// Where a path is after the move.
    fn of(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.from)
            .map_or_else(|_| path.to_owned(), |rest| join(&self.to, rest))
    }

    /// Where a path was before it.
    fn back(&self, path: &Path) -> PathBuf {
        path.strip_prefix(&self.to)
            .map_or_else(|_| path.to_owned(), |rest| join(&self.from, rest))
    }
}

fn join(base: &Path, rest: &Path) -> PathBuf {
    if rest.as_os_str().is_empty() {
        return base.to_owned();
    }
    base.join(rest)
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(path).to_owned()
}

/// Checksums of the two slots of the recovery point.
fn points(disk: &dyn Disk, layout: &Layout) -> Result<[u32; 2]> {
    let path = layout.recovery_point();
    let file = disk
        .open(&path, OpenMode::Read)
        .with_context(|| format!("open {}", path.display()))?;
    let slot = RecoveryPoint::SLOT_BYTES as u64;
    Ok([
        checksum(&*file, 0..slot)?,
        checksum(&*file, slot..file.len()?.max(slot))?,
    ])
}

fn joined(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_by_key(|range| range.start);
    let mut joined: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match joined.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

/// CRC-32 of a range; of fewer bytes where the file ends before.
fn checksum(file: &dyn DiskFile, range: Range<u64>) -> Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut at = range.start;
    while at < range.end {
        let piece = read(file, at, PIECE_BYTES.min(range.end - at))?;
        if piece.is_empty() {
            break;
        }
        crc.update(&piece);
        at += piece.len() as u64;
    }
    Ok(crc.finalize())
}

/// Copies a range; its checksum.
fn copy(from: &dyn DiskFile, range: Range<u64>, to: &dyn DiskFile, at: u64) -> Result<u32> {
    let mut crc = crc32fast::Hasher::new();
    let mut done = range.start;
    while done < range.end {
        let piece = read(from, done, PIECE_BYTES.min(range.end - done))?;
        ensure!(!piece.is_empty(), "a file became shorter meanwhile");
        to.write_at(at + done - range.start, &[IoSlice::new(&piece)])?;
        crc.update(&piece);
        done += piece.len() as u64;
    }
    Ok(crc.finalize())
}
