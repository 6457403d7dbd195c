//! One round of the committer: what collected while the last sync was in flight becomes durable.
//!
//! ```text
//!   plan (locked)           run (no lock)                                   finish (locked)
//!   take the queue ──▶ large runs: write, sync segments ──▶ group: write, sync ──▶ move offsets
//! ```

mod finishing;
mod group;
mod planning;
mod point;
mod running;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

pub use self::point::PointJob;
use super::copy_forward::Copied;
use super::disk::{Disk, DiskFile};
use super::error::IoFailure;
use super::journal::Room;
use super::layout::Layout;
use super::log::TailBatch;
use super::open_files::OpenFiles;
use super::segment::Segment;
use super::store::{EntryId, QueuedBatch, QueuedEntry};
use crate::format::GroupHeader;
use crate::types::{Incarnation, Offset};

/// The batches of one log that go straight to their segments in this round.
#[derive(Debug)]
struct DirectRun {
    log: Incarnation,
    /// The tail in front of them, which the journal holds: written with them, so that no byte of
    /// a block that they share is written after they are synced.
    before: Vec<TailBatch>,
    entries: Vec<EntryId>,
    batches: Vec<QueuedBatch>,
    /// Whether somebody is likely to read it from its segment soon.
    is_kept: bool,
}

impl DirectRun {
    fn offsets(&self) -> Range<Offset> {
        let first = self.before.first().map(|batch| batch.offsets.start);
        let first = first.unwrap_or(self.batches[0].offsets.start);
        first..self.batches[self.batches.len() - 1].offsets.end
    }
}

/// One round, planned and ready to run.
#[derive(Debug)]
pub struct Round {
    disk: Arc<dyn Disk>,
    layout: Layout,
    open_files: Arc<OpenFiles>,
    direct: Vec<DirectRun>,
    /// Segments that `written` channels wrote to and that this round must sync.
    owed: Vec<(Incarnation, Arc<Segment>)>,
    entries: Vec<QueuedEntry>,
    /// What is written again, so that older groups may go; a round with copies has nothing else.
    copies: Vec<Copied>,
    /// Entries of logs whose segments failed in this round: not in the group.
    dropped: Vec<(Incarnation, EntryId)>,
    room: Option<Room>,
    active_file: (Arc<dyn DiskFile>, u32),
    header: GroupHeader,
    salt: u64,
    is_synced: bool,
    through: u64,
    /// For each log, the offset that the round's end makes written.
    ends: BTreeMap<Incarnation, Offset>,
    /// Logs whose segment failed in this round.
    failed: Vec<(Incarnation, IoFailure)>,
    /// The log that says which others there are: without its entries those of others are nobody's.
    directory: Incarnation,
    is_segment_work_done: bool,
    /// Where the group is gathered; handed on from round to round.
    buffer: Vec<u8>,
}

/// How a round ended.
#[derive(Debug)]
pub enum RoundEnd {
    /// It is on the disk as far as it could be.
    Done(Box<Round>),
    /// The disk is full, or there is no file descriptor: nothing was acknowledged; the same round
    /// is to be run again.
    Full(Box<Round>, IoFailure),
    /// The journal failed: nothing was acknowledged, and nothing will be.
    Failed(Box<Round>, IoFailure),
}

/// What a finished round changed, for those who wait.
#[derive(Debug, Default)]
pub struct Finished {
    /// Logs whose high watermark may have moved.
    pub logs: Vec<Incarnation>,
    /// Everything in the tails that is due was written; upkeep has work.
    pub wants_upkeep: bool,
}

impl Round {
    fn first_entry(&self) -> u64 {
        let queued = self.entries.iter().map(|entry| entry.id.0);
        let direct = self
            .direct
            .iter()
            .flat_map(|run| run.entries.iter().map(|id| id.0));
        queued.chain(direct).min().unwrap_or(self.through + 1)
    }
}
