//! One piece of scrubbing, without any lock.

use std::sync::Arc;

use bytes::BytesMut;

use super::check::{Piece, SegmentCheck};
use super::own_files::{FaultyFile, OwnFiles};
use crate::storage::disk::Disk;
use crate::storage::error::IoFailure;
use crate::storage::index;
use crate::storage::load::{LoadTask, Loaded};
use crate::storage::segment::Segment;
use crate::types::{Incarnation, Offset};

/// An index that its batches gave, to be written to its files.
#[derive(Debug)]
pub(in crate::storage) struct RebuiltIndex {
    pub(super) segment: Arc<Segment>,
    pub(super) image: (u64, BytesMut, BytesMut),
}

impl RebuiltIndex {
    /// The log that it is of.
    pub fn log(&self) -> Incarnation {
        self.segment.id().log
    }

    /// Offset of the first record of its segment.
    pub fn base(&self) -> Offset {
        self.segment.id().base
    }

    /// Writes both files. The segment forgets what it knew of the old ones.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        index::save(disk, self.segment.id(), &self.image)?;
        self.segment.try_close();
        Ok(())
    }
}

/// One piece of scrubbing.
#[derive(Debug)]
pub struct ScrubJob {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) max_bytes: u64,
    pub(super) work: Work,
}

#[derive(Debug)]
pub(super) enum Work {
    /// The log's older segments must be listed first.
    Load(LoadTask),
    Segment(Box<SegmentCheck>),
    OwnFiles(OwnFiles),
}

/// How a piece of scrubbing ended.
#[derive(Debug)]
pub struct ScrubEnd(pub(super) Done);

#[derive(Debug)]
pub(super) enum Done {
    Load(Loaded),
    Segment(Box<SegmentCheck>, Result<Piece, IoFailure>),
    OwnFiles(u64, Vec<FaultyFile>),
}

impl ScrubJob {
    /// Reads and checks. Call it without any lock.
    #[must_use]
    pub fn run(self) -> ScrubEnd {
        ScrubEnd(match self.work {
            Work::Load(task) => Done::Load(task.run()),
            Work::Segment(mut check) => {
                let piece = check.run(&*self.disk, self.max_bytes);
                Done::Segment(check, piece)
            }
            Work::OwnFiles(files) => {
                let (bytes, faulty) = files.run();
                Done::OwnFiles(bytes, faulty)
            }
        })
    }
}
