//! The ring of journal files: where the next group goes, and which files may be used again.
//!
//! Files follow each other as they come free, not by number: a group names its predecessor by its
//! own number, so a replay finds the next file by its first group.
//!
//! Only positions are kept here; the bytes are written by a round, without the broker's lock.

use std::collections::{BTreeSet, VecDeque};
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, DiskFile, OpenMode, zero_fill};
use super::error::{IoFailure, While};
use super::layout::Layout;
use crate::format::{GROUP_ALIGNMENT, JournalFileHeader};
use crate::types::{Incarnation, LogEpoch};

/// The first byte that a group may occupy.
pub(super) const FIRST_GROUP: u64 = GROUP_ALIGNMENT as u64;

/// Fewest files of a ring: one in use, one for the round that a checkpoint waits for, and one that
/// the checkpoint frees.
pub(super) const MIN_FILES: u32 = 3;

/// The journal as the committer sees it.
#[derive(Debug)]
pub(super) struct Journal {
    pub epoch: LogEpoch,
    pub salt: u64,
    /// The number that the next group gets.
    pub next_group: u64,
    /// The last group that a sync has covered.
    pub synced: GroupEnd,
    /// The last group that was written.
    pub written: GroupEnd,
    file_bytes: u64,
    /// Most files of the ring, and how many it may have beyond that for what is copied forward.
    max_files: u32,
    extra_files: u32,
    /// Copies wait for another file.
    is_growing: bool,
    files: Vec<Arc<dyn DiskFile>>,
    /// The files that hold groups still needed, oldest first; groups go to the last.
    used: VecDeque<u32>,
    /// The others.
    free: BTreeSet<u32>,
    /// Bytes of the groups in use that were copied forward, and will be again.
    copied_bytes: u64,
    /// The number of the first group in the active file.
    first_of_active: u64,
    position: u64,
    is_preparing: bool,
}

/// A group's number and where it ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct GroupEnd {
    pub group: u64,
    pub file: u32,
    pub end: u32,
}

/// Room for one group.
#[derive(Debug)]
pub(super) struct Room {
    pub file: Arc<dyn DiskFile>,
    pub number: u32,
    pub position: u64,
    /// The file used before and its number: it must be synced before the group is written.
    pub left: Option<(Arc<dyn DiskFile>, u32)>,
}

/// A position in the journal, from which a replay would start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct JournalPoint {
    pub group: u64,
    pub file: u32,
    pub position: u32,
}

impl Journal {
    /// A journal whose next group is the first of its first file.
    pub fn new(
        files: Vec<Arc<dyn DiskFile>>,
        max_files: u32,
        file_bytes: u64,
        epoch: LogEpoch,
        salt: u64,
        next_group: u64,
    ) -> Self {
        let last = GroupEnd {
            group: next_group - 1,
            file: 0,
            end: 0,
        };
        let count = u32::try_from(files.len()).expect("a ring has few files");
        Self {
            epoch,
            salt,
            next_group,
            synced: last,
            written: last,
            file_bytes,
            max_files,
            extra_files: 0,
            is_growing: false,
            files,
            used: VecDeque::from([0]),
            free: (1..count).collect(),
            copied_bytes: 0,
            first_of_active: next_group,
            position: FIRST_GROUP,
            is_preparing: false,
        }
    }

    /// Takes room for a group of `len` bytes; `None` when the ring is full.
    ///
    /// - `may_take_last`: only the round that a checkpoint waits for takes the last free file.
    ///   Else a full ring could hold neither what the checkpoint needs written nor be freed by it.
    pub fn reserve(&mut self, len: u64, may_take_last: bool) -> Option<Room> {
        let len = len.next_multiple_of(GROUP_ALIGNMENT as u64);
        assert!(
            FIRST_GROUP + len <= self.file_bytes,
            "a group is bounded below a journal file"
        );
        let mut left = None;
        if self.position + len > self.file_bytes {
            if !may_take_last && self.free.len() < 2 {
                return None;
            }
            let next = self.free.pop_first()?;
            if self.written.group > self.synced.group {
                left = Some(self.active_file());
            }
            self.used.push_back(next);
            self.first_of_active = self.next_group;
            self.position = FIRST_GROUP;
        }
        let (file, number) = self.active_file();
        let room = Room {
            file,
            number,
            position: self.position,
            left,
        };
        self.position += len;
        self.next_group += 1;
        Some(room)
    }

    /// Books where the group of the last reservation really ended: the next follows there.
    pub fn settle(&mut self, end: GroupEnd) {
        self.written = end;
        self.position = u64::from(end.end).next_multiple_of(GROUP_ALIGNMENT as u64);
    }

    fn number(&self) -> u32 {
        *self.used.back().expect("one file is always in use")
    }

    /// The active file and its number.
    pub fn active_file(&self) -> (Arc<dyn DiskFile>, u32) {
        (self.file(self.number()), self.number())
    }

    fn file(&self, number: u32) -> Arc<dyn DiskFile> {
        self.files[number as usize].clone()
    }

    /// All files, for reading groups that were written.
    pub fn files(&self) -> Vec<Arc<dyn DiskFile>> {
        self.files.clone()
    }

    /// Where the next group will be looked for.
    pub fn point(&self) -> JournalPoint {
        JournalPoint {
            group: self.next_group,
            file: self.number(),
            position: u32::try_from(self.position).expect("journal files stay below 4 GiB"),
        }
    }

    /// The same point, at the beginning of the file in use where no group from it on lies before:
    /// what is left of the file before is not worth keeping it.
    pub fn without_empty_end(&self, point: JournalPoint) -> JournalPoint {
        if point.file != self.number() && point.group == self.first_of_active {
            return JournalPoint {
                group: point.group,
                file: self.number(),
                position: u32::try_from(FIRST_GROUP).expect("a small constant"),
            };
        }
        point
    }

    /// Files in use, of all that there may be.
    pub fn usage(&self) -> (u32, u32) {
        let used = u32::try_from(self.used.len()).expect("a ring has few files");
        let prepared = u32::try_from(self.files.len()).expect("a ring has few files");
        (used, self.max_files.max(prepared))
    }

    /// Bytes of the groups in use that were copied forward.
    pub fn copied_bytes(&self) -> u64 {
        self.copied_bytes
    }

    /// Whether less than `percent` of the ring is free, what was copied forward set aside: it is
    /// there again after the next checkpoint, so it is no reason to take one.
    pub fn has_less_free_than(&self, percent: u64) -> bool {
        let (used, ring) = (self.used.len() as u64, u64::from(self.max_files));
        let in_use = (used - 1) * self.file_bytes + self.position.min(self.file_bytes);
        let free =
            (ring * self.file_bytes).saturating_sub(in_use.saturating_sub(self.copied_bytes));
        free * 100 < ring * self.file_bytes * percent
    }

    /// Frees every file that lies before `point` in the ring.
    ///
    /// - `copied_bytes`: how much of what lies behind `point` was copied from before it.
    pub fn recycle(&mut self, point: JournalPoint, copied_bytes: u64) {
        self.copied_bytes = copied_bytes;
        let is_kept = |number: &u32| *number == point.file;
        let first = self.used.iter().position(is_kept);
        let first = first.expect("a replay starts in a file that is in use");
        self.free.extend(self.used.drain(..first));
    }

    /// Lets the ring grow by a file beyond its limit: what is copied forward needs room before it
    /// can free any.
    pub fn grow(&mut self) {
        let prepared = u32::try_from(self.files.len()).expect("a ring has few files");
        if !self.is_preparing && self.free.is_empty() {
            let extra = (prepared + 1).saturating_sub(self.max_files);
            self.extra_files = self.extra_files.max(extra);
            self.is_growing = true;
        }
    }

    /// The number of the file that should be prepared now, so that no round has to wait for it.
    ///
    /// - `may_be_larger`: whether the ring may have more files than it needs to go on.
    pub fn wanted_file(&self, may_be_larger: bool) -> Option<u32> {
        let prepared = u32::try_from(self.files.len()).expect("a ring has few files");
        // A ring of fewer than three files is always filled up; a larger one grows where its free
        // files come to an end.
        let is_end_near = self.free.len() < 2 && (may_be_larger || self.is_growing);
        let is_short = prepared < MIN_FILES || is_end_near;
        let may_grow = prepared < self.max_files + self.extra_files && !self.is_preparing;
        (is_short && may_grow).then_some(prepared)
    }

    /// Books that the wanted file is being prepared.
    pub fn preparing(&mut self) {
        self.is_preparing = true;
    }

    /// Whether the ring has a single file, which no checkpoint could ever free.
    pub fn is_single(&self) -> bool {
        self.files.len() < 2
    }

    /// Takes a prepared file into the ring, or books that preparing it failed.
    pub fn prepared(&mut self, file: Option<Arc<dyn DiskFile>>) {
        self.is_preparing = false;
        if let Some(file) = file {
            let number = u32::try_from(self.files.len()).expect("a ring has few files");
            self.files.push(file);
            self.is_growing = false;
            self.free.insert(number);
        }
    }
}

/// Creates journal file `number`: zero-filled and synced, so that a group's sync moves no metadata.
/// One that finds no space gives back what it took.
pub(super) fn prepare_file(
    disk: &dyn Disk,
    layout: &Layout,
    directory_id: Incarnation,
    number: u32,
    file_bytes: u64,
) -> Result<Arc<dyn DiskFile>, IoFailure> {
    let path = layout.journal_file(number);
    let file = disk
        .open(&path, OpenMode::Create)
        .or_while("creating", &path)?;
    let header = JournalFileHeader {
        directory_id,
        number,
        file_bytes,
    };
    if let Err(failure) = fill(&*file, &path, &header) {
        if failure.is_out_of_space()
            && let Err(error) = file.set_len(0)
        {
            tracing::warn!(%error, path = %path.display(), "its space was not given back");
        }
        return Err(failure);
    }
    let dir = layout.journal_dir();
    disk.sync_dir(&dir).or_while("syncing", &dir)?;
    Ok(file)
}

/// Fills a journal file. Its header comes last: a file without one was never in the ring.
fn fill(file: &dyn DiskFile, path: &Path, header: &JournalFileHeader) -> Result<(), IoFailure> {
    zero_fill(file, header.file_bytes).or_while("filling", path)?;
    file.write_at(0, &[IoSlice::new(&header.encode())])
        .or_while("writing", path)?;
    file.sync_data().or_while("syncing", path)
}
