//! Logs whose segment failed: what only the journal holds of them is copied forward.
//!
//! Nothing more is written to such a log's segments, so its part of the journal would be needed
//! for ever. Instead, a checkpoint that has to free journal files reads that part between the old
//! start of the replay and its own, and a round writes it again behind both. Once the copies are
//! synced, the checkpoint may let go of the originals. The log's row stays what it was.
//!
//! ```text
//!   old start        cut                              old start        cut
//!   │ p q p p │ q q q │ q q q ─▶     ─▶  copies ─▶    ·  free  · q q q │ p p p │ q q ─▶
//! ```
//! A crash in between leaves a replay that meets both, or the copies after newer entries:
//! it takes each log's entries in the order of their offsets, and each of them once.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io;

use bytes::Bytes;

use super::error::IoFailure;
use super::journal::JournalPoint;
use super::recovery::{FoundItem, JournalFiles, Piece};
use super::store::Storage;
use crate::format::{GroupItem, ItemKind};
use crate::types::{Incarnation, Offset};

/// How far a checkpoint's copying has come.
#[derive(Debug)]
pub(super) struct Copying {
    /// The logs it copies: those that were poisoned when it began.
    logs: BTreeSet<Incarnation>,
    /// What was copied, by first offset: each item once, however often the journal has it.
    seen: HashSet<(Incarnation, Offset)>,
    cursor: JournalPoint,
    bytes: u64,
    step: Step,
}

#[derive(Debug)]
enum Step {
    /// The next stretch is to be read.
    Next,
    /// A job reads it.
    Reading,
    /// Read, and waiting for a round.
    Ready(Vec<Copied>),
    /// A round writes it.
    Writing,
    Done,
}

/// An item to be written again, with its batch where it is one.
#[derive(Debug)]
pub(super) struct Copied {
    pub item: GroupItem,
    pub bytes: Bytes,
}

impl Copied {
    /// Bytes it takes in a group.
    pub fn len(&self) -> u64 {
        (GroupItem::BYTES + self.bytes.len()) as u64
    }
}

/// Reads one stretch of what is to be copied.
#[derive(Debug)]
pub struct CopyJob {
    files: JournalFiles,
    /// For each log, the offset up to which its row in the checkpoint vouches for it.
    logs: BTreeMap<Incarnation, Offset>,
    from: JournalPoint,
    /// The first group that needs no copy.
    to: u64,
    seen: HashSet<(Incarnation, Offset)>,
    max_bytes: u64,
}

/// What a [`CopyJob`] read.
#[derive(Debug)]
pub struct CopyEnd {
    /// The items, and where the next stretch begins.
    read: Result<(Vec<Copied>, JournalPoint), IoFailure>,
    seen: HashSet<(Incarnation, Offset)>,
}

impl Storage {
    /// Reads the next stretch of a checkpoint's copying, if it is its turn.
    pub(super) fn plan_copy(&mut self) -> Option<CopyJob> {
        if !self.is_cut_ready() {
            return None;
        }
        let logs: BTreeSet<Incarnation> = self.poisoned().collect();
        let from = self.checkpoints.start;
        let cut = self.checkpoints.cut_mut()?;
        if logs.is_empty() || !cut.copies_forward {
            return None;
        }
        let to = cut.start.group;
        let copying = cut.copying.get_or_insert_with(|| Copying::new(&logs, from));
        if !copying.logs.is_superset(&logs) && matches!(copying.step, Step::Next | Step::Done) {
            // Another log failed since: look for its part too.
            copying.logs.clone_from(&logs);
            copying.cursor = from;
            copying.step = Step::Next;
        }
        if !matches!(copying.step, Step::Next) {
            return None;
        }
        copying.step = Step::Reading;
        let from = copying.cursor;
        let seen = std::mem::take(&mut copying.seen);
        let vouched = |id| (id, self.checkpoints.end_of(id));
        Some(CopyJob {
            files: JournalFiles {
                layout: self.layout.clone(),
                files: self.journal.files(),
                salt: self.journal.salt,
                epoch: self.journal.epoch.0,
                unprepared: Vec::new(),
                piece: Piece::default(),
            },
            logs: logs.into_iter().map(vouched).collect(),
            from,
            to,
            seen,
            max_bytes: self.config.max_round_bytes,
        })
    }

    /// Books what was read: it waits for a round.
    pub(super) fn finish_copy(&mut self, end: CopyEnd) {
        let Some(cut) = self.checkpoints.cut_mut() else {
            return;
        };
        let Some(copying) = &mut cut.copying else {
            return;
        };
        match end.read {
            Ok((items, next)) => {
                copying.seen = end.seen;
                copying.cursor = next;
                copying.bytes += items.iter().map(Copied::len).sum::<u64>();
                copying.step = match items.is_empty() {
                    true => copying.next(cut.start.group),
                    false => Step::Ready(items),
                };
            }
            Err(failure) => {
                tracing::error!(
                    %failure,
                    "what a failed log has in the journal can't be copied: nothing is recycled"
                );
                self.checkpoints.stop_copying();
            }
        }
    }

    /// Whether copies wait for a round.
    pub(super) fn has_copies(&self) -> bool {
        let copying = self.checkpoints.copying();
        copying.is_some_and(|copying| matches!(copying.step, Step::Ready(_)))
    }

    /// Bytes of the copies that wait for a round.
    pub(super) fn copies_len(&self) -> u64 {
        match self.checkpoints.copying().map(|copying| &copying.step) {
            Some(Step::Ready(items)) => items.iter().map(Copied::len).sum(),
            _ => 0,
        }
    }

    /// The copies, for the round that writes them.
    pub(super) fn take_copies(&mut self) -> Vec<Copied> {
        let cut = self.checkpoints.cut_mut();
        match cut.and_then(|cut| cut.copying.as_mut()) {
            Some(copying) if matches!(copying.step, Step::Ready(_)) => {
                match std::mem::replace(&mut copying.step, Step::Writing) {
                    Step::Ready(items) => items,
                    _ => Vec::new(),
                }
            }
            _ => Vec::new(),
        }
    }

    /// Books that the round with the copies is synced.
    pub(super) fn book_copies(&mut self) {
        if let Some(cut) = self.checkpoints.cut_mut()
            && let Some(copying) = &mut cut.copying
        {
            copying.step = copying.next(cut.start.group);
        }
    }

    /// The logs whose segments take nothing more.
    pub(super) fn poisoned(&self) -> impl Iterator<Item = Incarnation> {
        let poisoned = self.logs.values().filter(|log| log.is_poisoned);
        poisoned.map(|log| log.id)
    }
}

fn key(item: &GroupItem) -> (Incarnation, Offset) {
    (item.incarnation, item.base_offset)
}

impl Copying {
    fn new(logs: &BTreeSet<Incarnation>, cursor: JournalPoint) -> Self {
        Self {
            logs: logs.clone(),
            seen: HashSet::new(),
            cursor,
            bytes: 0,
            step: Step::Next,
        }
    }

    fn next(&self, to: u64) -> Step {
        if self.cursor.group < to {
            Step::Next
        } else {
            Step::Done
        }
    }

    /// The bytes of the copies, once all of these logs are copied.
    pub fn done(&self, logs: &BTreeSet<Incarnation>) -> Option<u64> {
        let is_done = matches!(self.step, Step::Done) && self.logs.is_superset(logs);
        is_done.then_some(self.bytes)
    }
}

impl CopyJob {
    /// Reads whole groups until enough for one round is found. Call it without any lock.
    pub(super) fn run(mut self) -> CopyEnd {
        let read = self.read();
        let seen = self.seen;
        CopyEnd { read, seen }
    }

    fn read(&mut self) -> Result<(Vec<Copied>, JournalPoint), IoFailure> {
        let mut copies = Vec::new();
        let mut bytes = 0;
        let mut at = self.from;
        while at.group < self.to {
            let place = (at.file as usize, u64::from(at.position));
            let Some((items, next)) = self.files.group(place, at.group)? else {
                let what = format!("group {} is damaged", at.group);
                return Err(self.failure(place.0, what));
            };
            let mut found = Vec::new();
            let needed: Vec<_> = items.iter().filter(|one| self.is_needed(one)).collect();
            for one in needed {
                found.push(self.copy(one)?);
            }
            let len: u64 = found.iter().map(Copied::len).sum();
            if bytes > 0 && bytes + len > self.max_bytes {
                break;
            }
            bytes += len;
            let keys = found.iter().map(|one| key(&one.item));
            self.seen.extend(keys);
            copies.append(&mut found);
            at = JournalPoint {
                group: at.group + 1,
                file: u32::try_from(next.0).expect("a ring has few files"),
                position: u32::try_from(next.1).expect("journal files stay below 4 GiB"),
            };
        }
        Ok((copies, at))
    }

    fn is_needed(&self, found: &FoundItem) -> bool {
        let vouched = self.logs.get(&found.item.incarnation);
        vouched.is_some_and(|end| found.item.end_offset > *end)
            && !self.seen.contains(&key(&found.item))
    }

    fn copy(&mut self, found: &FoundItem) -> Result<Copied, IoFailure> {
        if !found.is_intact {
            let what = format!("a batch of group {} is damaged", found.group);
            return Err(self.failure(found.file, what));
        }
        let bytes = match found.item.kind {
            ItemKind::Batch => Bytes::copy_from_slice(self.files.batch(found)?),
            ItemKind::Reference => Bytes::new(),
        };
        let item = GroupItem {
            is_copied: true,
            // The rest of its entry, if it had one, is safe in the segments of other logs.
            is_last_of_entry: true,
            ..found.item
        };
        Ok(Copied { item, bytes })
    }

    fn failure(&self, file: usize, what: String) -> IoFailure {
        let source = io::Error::new(io::ErrorKind::InvalidData, what);
        IoFailure::new("copying from", &self.files.path(file), source)
    }
}
