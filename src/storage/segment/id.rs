//! Which segment, where its files are, and what its header says of the one before.

use std::path::PathBuf;

use crate::format::{IndexKind, SegmentHeader};
use crate::storage::layout::Layout;
use crate::types::{Incarnation, Offset, Timestamp};

/// Which segment, and where its files are.
#[derive(Debug, Clone)]
pub struct SegmentId {
    /// The log it belongs to.
    pub log: Incarnation,
    /// Offset of its first record.
    pub base: Offset,
    pub(super) path: PathBuf,
}

impl SegmentId {
    pub(in crate::storage) fn new(layout: &Layout, log: Incarnation, base: Offset) -> Self {
        Self {
            log,
            base,
            path: layout.segment(log, base),
        }
    }

    /// The same segment, in another folder.
    pub(super) fn in_folder(&self, folder: &std::path::Path) -> Self {
        let file = self.path.file_name().unwrap_or_default();
        Self {
            log: self.log,
            base: self.base,
            path: folder.join(file),
        }
    }

    /// The segment file.
    pub fn path(&self) -> PathBuf {
        self.path.clone()
    }

    /// One of its index files.
    pub fn index_path(&self, kind: IndexKind) -> PathBuf {
        self.path.with_extension(match kind {
            IndexKind::Offset => "index",
            IndexKind::Time => "timeindex",
        })
    }
}

/// What a segment's header says of the segment before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Previous {
    /// Its base offset.
    pub base: Offset,
    /// The byte after its last batch.
    pub length: u64,
    /// The append time of its last batch.
    pub last_time: Timestamp,
}

impl Previous {
    pub(in crate::storage) fn of(header: &SegmentHeader) -> Option<Self> {
        Some(Self {
            base: header.previous_base?,
            length: header.previous_length,
            last_time: header.previous_last_time,
        })
    }
}
