//! Checkpoints: the point up to which segments are synced, so that journal files may be reused.
//!
//! ```text
//!   cut (locked)               wait                run (no lock)                      finish (locked)
//!   positions of dirty logs ─▶ all of it flushed ─▶ write behind, sync segments,  ──▶ free journal
//!   and the next group                              write checkpoint, recovery point  files
//! ```
//! Batches staged after the cut start on a fresh block, so what the checkpoint vouches for is never
//! written again. Nothing here is waited for by an acknowledgement.
//!
//! A checkpoint that was not taken is tried again with the same cut: all it needs is in the journal.
//! A later cut would wait for entries that may have no room there until a checkpoint frees some.

mod file;
mod planning;
mod running;

use std::collections::BTreeMap;

pub(super) use self::file::{
    NextCheckpoint, clear_other_checkpoints, remove_other_checkpoints, write_checkpoint,
};
pub use self::running::{CheckpointEnd, CheckpointJob};
use super::copy_forward::Copying;
use super::journal::JournalPoint;
use super::removing::Removal;
use crate::format::{LogRow, ProducerRow};
use crate::types::{Incarnation, Offset, Timestamp};

/// What is known of checkpoints between jobs.
#[derive(Debug)]
pub(super) struct Checkpoints {
    /// Number of the last one.
    pub number: u64,
    /// The highest that a slot of the recovery point may name although it was not taken: its files
    /// are not written again.
    named: u64,
    /// Where a replay would start now.
    pub start: JournalPoint,
    /// The rows of the last one.
    rows: BTreeMap<Incarnation, LogRow>,
    last_taken: Timestamp,
    /// The last entry when it was last looked at, and since when it is the last.
    last_seen: (u64, Timestamp),
    is_wanted: bool,
    /// The ring is full.
    wants_room: bool,
    /// The cut of a checkpoint that was not taken, with what it copied: the next try is of it.
    kept: Option<Cut>,
    /// Copying failed: what failed logs have in the journal stays where it is.
    cannot_copy: bool,
    phase: Phase,
    /// The next one is the last before the broker stops.
    is_last: bool,
    is_clean: bool,
    last_tries: u32,
    /// The last one freed nothing: the next comes at this time.
    retry_at: Option<Timestamp>,
    retry: Vec<Removal>,
    /// The last one freed nothing: a log that failed keeps all of the journal.
    is_pinned: bool,
}

#[derive(Debug)]
enum Phase {
    Idle,
    Cut(Cut),
    Running { is_clean: bool },
}

/// The positions that a checkpoint will record.
#[derive(Debug)]
pub(super) struct Cut {
    /// The last entry staged before it; 0 once all of them are flushed.
    entry: u64,
    pub start: JournalPoint,
    /// It has to free journal files: what failed logs have in them is copied forward.
    pub copies_forward: bool,
    pub copying: Option<Copying>,
    /// By log, in order.
    rows: Vec<(Incarnation, LogRow)>,
    /// Logs that were dropped before it.
    dropped: Vec<Incarnation>,
}

impl Cut {
    fn row_of(&self, id: Incarnation) -> Option<&LogRow> {
        let found = self.rows.binary_search_by_key(&id, |(log, _)| *log);
        Some(&self.rows[found.ok()?].1)
    }
}

/// What a broker knows of its producers, for the rows of a checkpoint.
pub trait ProducerRows {
    /// The highest fence of a log, and its producers.
    fn rows(&self, log: Incarnation) -> (u64, Vec<ProducerRow>);
}

impl Checkpoints {
    pub fn new(
        number: u64,
        start: JournalPoint,
        rows: BTreeMap<Incarnation, LogRow>,
        now: Timestamp,
    ) -> Self {
        Self {
            number,
            named: number,
            start,
            rows,
            last_taken: now,
            last_seen: (0, now),
            is_wanted: false,
            wants_room: false,
            kept: None,
            cannot_copy: false,
            phase: Phase::Idle,
            is_last: false,
            is_clean: false,
            last_tries: 0,
            retry_at: None,
            retry: Vec::new(),
            is_pinned: false,
        }
    }

    /// What the last one says of a log: everything in its row is synced.
    pub fn row(&self, id: Incarnation) -> Option<&LogRow> {
        self.rows.get(&id)
    }

    /// Asks for a checkpoint as soon as possible.
    pub fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Asks for a checkpoint that frees journal files.
    pub fn want_room(&mut self) {
        self.is_wanted = true;
        self.wants_room = true;
    }

    /// Books where the next group goes, which a cut may have taken while a round was under way.
    pub fn settle(&mut self, point: JournalPoint) {
        if let Some(cut) = self.cut_mut()
            && cut.start.group == point.group
        {
            cut.start = point;
        }
    }

    /// The checkpoint that was cut and is not running yet.
    pub fn cut_mut(&mut self) -> Option<&mut Cut> {
        match &mut self.phase {
            Phase::Cut(cut) => Some(cut),
            _ => None,
        }
    }

    /// Whether a log is in the checkpoint that was cut and is not running yet.
    pub fn is_cut_of(&self, id: Incarnation) -> bool {
        matches!(&self.phase, Phase::Cut(cut) if cut.row_of(id).is_some())
    }

    /// Gives up copying until the next start: a part of the journal can't be read.
    pub fn stop_copying(&mut self) {
        self.cannot_copy = true;
        if let Some(cut) = self.cut_mut() {
            cut.copies_forward = false;
            cut.copying = None;
        }
    }

    /// What that checkpoint copies forward.
    pub fn copying(&self) -> Option<&Copying> {
        match &self.phase {
            Phase::Cut(cut) => cut.copying.as_ref(),
            _ => None,
        }
    }

    /// The end of a log as the last checkpoint has it.
    pub fn end_of(&self, id: Incarnation) -> Offset {
        self.rows.get(&id).map_or(Offset(0), |row| row.end_offset)
    }

    /// Whether the next one is the last before a stop.
    pub fn is_last(&self) -> bool {
        self.is_last
    }

    /// Whether one is wanted, and none is under way.
    pub fn may_be_cut(&self) -> bool {
        self.is_wanted && self.retry_at.is_none() && matches!(self.phase, Phase::Idle)
    }

    /// Number of the last one that was taken.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether nothing in the journal from where a replay starts is older than the last one, which
    /// may be replaced: none is under way, nor is one kept for another try.
    pub fn is_settled(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.kept.is_none() && !self.is_pinned && !self.is_last
    }

    /// Another is being taken, which begins where the last one does.
    pub fn replacing(&mut self) {
        self.phase = Phase::Running { is_clean: false };
    }

    /// It was taken, with another row of one log; or not.
    pub fn replaced(&mut self, taken: Option<(u64, LogRow)>) {
        self.phase = Phase::Idle;
        if let Some((number, row)) = taken {
            self.number = number;
            self.rows.insert(row.incarnation, row);
        }
    }

    /// Removals that wait for the next one.
    pub fn waiting_removals(&self) -> impl Iterator<Item = &Removal> {
        self.retry.iter()
    }

    /// Keeps a removal, which failed or may not begin yet, for the time after the next checkpoint.
    pub fn retry_removal(&mut self, removal: Removal) {
        self.retry.push(removal);
    }

    /// Takes out those that take files of this log away.
    pub fn take_removals(&mut self, id: Incarnation) -> Vec<Removal> {
        let is_its = |removal: &mut Removal| removal.is_of(id);
        self.retry.extract_if(.., is_its).collect()
    }

    /// Tries nothing again that takes files of this log away.
    pub fn forget_removals(&mut self, id: Incarnation) {
        self.retry.retain(|removal| !removal.is_of(id));
    }
}
