//! The ring of journal files: where the next group goes, and which files may be used again.
//!
//! Only positions are kept here; the bytes are written by a round, without the broker's lock.

use std::io::IoSlice;
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
    max_files: u32,
    files: Vec<RingFile>,
    active: usize,
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

#[derive(Debug)]
struct RingFile {
    file: Arc<dyn DiskFile>,
    is_free: bool,
}

/// Room for one group.
#[derive(Debug)]
pub(super) struct Room {
    pub file: Arc<dyn DiskFile>,
    pub number: u32,
    pub position: u64,
    /// The file used before: it must be synced before the group is written.
    pub left: Option<Arc<dyn DiskFile>>,
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
        let mut files: Vec<RingFile> = files
            .into_iter()
            .map(|file| RingFile {
                file,
                is_free: true,
            })
            .collect();
        files[0].is_free = false;
        Self {
            epoch,
            salt,
            next_group,
            synced: last,
            written: last,
            file_bytes,
            max_files,
            files,
            active: 0,
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
            let next = self.next_file()?;
            if !may_take_last && self.files.iter().filter(|file| file.is_free).count() < 2 {
                return None;
            }
            if self.written.group > self.synced.group {
                left = Some(self.files[self.active].file.clone());
            }
            self.files[next].is_free = false;
            self.active = next;
            self.first_of_active = self.next_group;
            self.position = FIRST_GROUP;
        }
        let room = Room {
            file: self.files[self.active].file.clone(),
            number: self.number(),
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

    fn next_file(&self) -> Option<usize> {
        let next = if self.active + 1 < self.files.len() {
            self.active + 1
        } else {
            0
        };
        self.files[next].is_free.then_some(next)
    }

    fn number(&self) -> u32 {
        u32::try_from(self.active).expect("a ring has few files")
    }

    /// The active file, for a sync without a group.
    pub fn active_file(&self) -> (Arc<dyn DiskFile>, u32) {
        (self.files[self.active].file.clone(), self.number())
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
        let used = self.files.iter().filter(|file| !file.is_free).count();
        (
            u32::try_from(used).expect("a ring has few files"),
            self.max_files,
        )
    }

    /// Whether less than `percent` of the ring is free.
    pub fn has_less_free_than(&self, percent: u64) -> bool {
        let (used, files) = self.usage();
        let free = u64::from(files.saturating_sub(used)) * self.file_bytes + self.file_bytes
            - self.position.min(self.file_bytes);
        free * 100 < u64::from(files) * self.file_bytes * percent
    }

    /// Frees every file that lies before `point` in the ring.
    pub fn recycle(&mut self, point: JournalPoint) {
        let first = point.file as usize;
        for (at, file) in self.files.iter_mut().enumerate() {
            let is_kept = if first <= self.active {
                (first..=self.active).contains(&at)
            } else {
                at >= first || at <= self.active
            };
            file.is_free = !is_kept;
        }
    }

    /// The number of the file that should be prepared now, so that no round has to wait for it.
    ///
    /// - `may_be_larger`: whether the ring may have more files than it needs to go on.
    pub fn wants_file(&mut self, may_be_larger: bool) -> Option<u32> {
        let free = self.files.iter().filter(|file| file.is_free).count();
        let may_grow = self.files.len() < self.max_files as usize && !self.is_preparing;
        // A ring of fewer than three files is always filled up; a larger one grows where its end
        // is reached before its beginning is free.
        let is_short = self.files.len() < MIN_FILES as usize;
        let is_end_near = self.active + 2 >= self.files.len() && free < 2;
        if may_grow && (is_short || is_end_near && may_be_larger) {
            self.is_preparing = true;
            return Some(u32::try_from(self.files.len()).expect("a ring has few files"));
        }
        None
    }

    /// Takes a prepared file into the ring, or books that preparing it failed.
    pub fn prepared(&mut self, file: Option<Arc<dyn DiskFile>>) {
        self.is_preparing = false;
        self.files.extend(file.map(|file| RingFile {
            file,
            is_free: true,
        }));
    }
}

/// Creates journal file `number`: zero-filled and synced, so that a group's sync moves no metadata.
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
    zero_fill(&*file, file_bytes).or_while("filling", &path)?;
    let header = JournalFileHeader {
        directory_id,
        number,
        file_bytes,
    };
    file.write_at(0, &[IoSlice::new(&header.encode())])
        .or_while("writing", &path)?;
    file.sync_data().or_while("syncing", &path)?;
    let dir = layout.journal_dir();
    disk.sync_dir(&dir).or_while("syncing", &dir)?;
    Ok(file)
}
