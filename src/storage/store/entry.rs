//! An entry on its way: its batches as they come, as they are staged and as they are queued, and what
//! becomes of it.

use std::ops::Range;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};

use crate::format::{SEAL_BYTES, Sealing};
use crate::storage::error::{CommitError, StageError};
use crate::storage::segment;
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

/// Number of a staged entry; later entries have higher numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryId(pub u64);

/// A batch that was checked at the door and not yet stamped.
#[derive(Debug)]
pub struct NewBatch {
    /// The log it goes to.
    pub log: Incarnation,
    /// The batch as its producer built it.
    pub bytes: BytesMut,
    /// How many offsets it takes, from its checked header.
    pub span: u32,
    /// The offset its first record must get, if the producer says so.
    pub expected: Option<Offset>,
    /// Who wrote it.
    pub principal: u32,
    /// How it is encrypted as it is appended; none where it is stored as it is.
    pub sealing: Option<Sealing>,
    /// What it was given where its log lives, if this one is a copy: it keeps all of that.
    pub copied: Option<Copied>,
}

/// What a batch was given where its log lives, in another region. It keeps it in every copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// Its append time.
    pub append_time: Timestamp,
    /// Its log epoch.
    pub log_epoch: LogEpoch,
}

impl NewBatch {
    /// Bytes that it takes in the journal and in its segment.
    pub(super) fn stored_len(&self) -> u64 {
        let more = self.sealing.as_ref().map_or(0, |_| SEAL_BYTES);
        (self.bytes.len() + more) as u64
    }
}

impl Copied {
    /// Checks that a batch may follow another of its log.
    pub(super) fn check_follows(&self, last: &Self) -> Result<(), StageError> {
        if self.log_epoch < last.log_epoch {
            return Err(StageError::EpochFell {
                found: self.log_epoch,
                last: last.log_epoch,
            });
        }
        if self.append_time < last.append_time {
            return Err(StageError::TimeFell {
                found: self.append_time,
                last: last.append_time,
            });
        }
        Ok(())
    }
}

/// What a batch was given when it was staged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StagedBatch {
    /// Its offsets.
    pub offsets: Range<Offset>,
    /// Its append time.
    pub append_time: Timestamp,
    /// Its log epoch.
    pub epoch: LogEpoch,
    /// The level its acknowledgement will name.
    pub level: Durability,
}

/// An entry that waits for its round.
#[derive(Debug, Clone)]
pub struct Staged {
    /// Its number.
    pub entry: EntryId,
    /// The level that must be reached before it is acknowledged.
    pub level: Durability,
    /// One for each batch, in order.
    pub batches: Vec<StagedBatch>,
}

/// What became of an entry.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// Its round is not over.
    Pending,
    /// Its level is reached.
    Done,
    /// It will never be acknowledged.
    Failed(CommitError),
}

/// A staged batch on its way to the journal.
#[derive(Debug)]
pub(in crate::storage) struct QueuedBatch {
    pub log: Incarnation,
    pub offsets: Range<Offset>,
    pub segment: Arc<segment::Segment>,
    pub position: u64,
    pub bytes: Bytes,
    pub header_crc: u32,
    /// It was put on a fresh block: a checkpoint or a direct run ends before it.
    pub is_on_fresh_block: bool,
}

#[derive(Debug)]
pub(in crate::storage) struct QueuedEntry {
    pub id: EntryId,
    pub level: Durability,
    pub batches: Vec<QueuedBatch>,
}

impl QueuedEntry {
    pub fn is_shared(&self) -> bool {
        self.batches
            .iter()
            .any(|batch| batch.log != self.batches[0].log)
    }
}
