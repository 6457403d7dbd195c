//! Opening a data directory: what was promised is found again, and what is damaged is reported.
//!
//! ```text
//! prepare ─▶ scan the journal ─▶ replay the directory's log ─▶ (broker folds it) ─▶ replay the rest
//!         ─▶ sync ─▶ checkpoint ─▶ recovery point with the next epoch ─▶ Storage
//! ```
//! Nothing that a crash here could hurt is changed before the last step: replaying the journal
//! twice changes nothing. The table of cases is in docs/durability.md.

use std::path::PathBuf;

use crate::types::{Incarnation, Offset};

mod ahead;
mod batches;
mod judge;
mod keep;
mod owed;
mod pieces;
mod prepare;
mod replay;
mod room;
mod scan;

pub(super) use keep::set_aside;
pub(super) use pieces::Piece;
pub(super) use prepare::read_file;
pub use prepare::{Unrecovered, open};
pub use replay::{FoldProducers, LiveLog, Replayed};
pub(super) use scan::{FoundItem, JournalFiles};

/// Acknowledged bytes that are damaged or missing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// First damaged byte.
    pub from: u64,
    /// The byte after the damaged stretch.
    pub to: u64,
    /// The log that lost records, if that is known.
    pub log: Option<Incarnation>,
    /// Its first offset that is lost, and the one after the last.
    pub offsets: Option<(Offset, Offset)>,
    /// What is wrong.
    pub what: String,
}

/// What opening a data directory found and did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecoveryReport {
    /// The directory was made by this start.
    pub is_new: bool,
    /// The last broker stopped in order.
    pub was_clean: bool,
    /// Groups of the journal that were replayed.
    pub groups: u64,
    /// Batches written to their segments from the journal.
    pub batches: u64,
    /// Their bytes.
    pub bytes: u64,
    /// An unfinished group at the journal's end, never acknowledged: file, first and last byte.
    pub torn: Option<(PathBuf, u64, u64)>,
    /// Valid groups behind an unfinished one, none of them acknowledged, that were cut off.
    pub dropped_groups: u64,
    /// Segment bytes that differed from the journal's and were written again from it.
    pub repaired: Vec<Damage>,
    /// Bytes of `written` channels that a power cut took: file and offsets.
    pub lost_unsynced: Vec<Damage>,
    /// Acknowledged bytes that are damaged or missing.
    pub damage: Vec<Damage>,
    /// What belonged to nothing, and where it lies now.
    pub moved: Vec<(PathBuf, PathBuf)>,
}
