//! Checking the few small files without which a directory does not open: the marker, both slots of
//! the recovery point, both copies of the checkpoint.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::disk::{Disk, OpenMode};
use super::super::error::{IoFailure, While};
use super::super::layout::Layout;
use super::super::points::Points;
use crate::format::{Checkpoint, Marker, RecoveryPoint};
use crate::types::Incarnation;

/// How often files that change under the check are read again before it believes them damaged.
const TRIES: u32 = 5;

/// One of the broker's own files that is not what it should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultyFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, with the byte where that is known.
    pub what: String,
}

/// The check of these files.
#[derive(Debug)]
pub(super) struct OwnFiles {
    pub disk: Arc<dyn Disk>,
    pub layout: Layout,
    pub points: Arc<Points>,
    pub directory_id: Incarnation,
}

impl OwnFiles {
    /// Reads all of them; returns the bytes read and what is wrong.
    pub fn run(&self) -> (u64, Vec<FaultyFile>) {
        let mut last = (0, Vec::new());
        for _ in 0..TRIES {
            let before = self.points.current();
            last = self.read(before.checkpoint);
            // A point or a checkpoint that was written meanwhile may have been met half way.
            let after = self.points.current();
            let is_still =
                (before.sequence, before.checkpoint) == (after.sequence, after.checkpoint);
            if last.1.is_empty() || is_still {
                return last;
            }
        }
        tracing::debug!("the broker's own files change too often to be checked now");
        (last.0, Vec::new())
    }

    fn read(&self, checkpoint: u64) -> (u64, Vec<FaultyFile>) {
        let mut bytes = 0;
        let mut faulty = Vec::new();
        let mut check = |path: PathBuf, judge: &dyn Fn(&[u8]) -> Result<(), String>| {
            let judged = match self.contents(&path) {
                Ok(found) => {
                    bytes += found.len() as u64;
                    judge(&found)
                }
                Err(failure) => Err(failure.to_string()),
            };
            if let Err(what) = judged {
                faulty.push(FaultyFile { path, what });
            }
        };
        check(self.layout.marker(), &|found| {
            let marker = Marker::decode(found).map_err(|error| error.to_string())?;
            self.is_ours(marker.directory_id)
        });
        check(self.layout.recovery_point(), &|found| self.slots(found));
        for copy in [
            self.layout.checkpoint(checkpoint),
            self.layout.checkpoint_copy(checkpoint),
        ] {
            check(copy, &|found| {
                let read = Checkpoint::decode(found).map_err(|error| error.to_string())?;
                if read.number != checkpoint {
                    return Err(format!("holds checkpoint {}", read.number));
                }
                self.is_ours(read.directory_id)
            });
        }
        (bytes, faulty)
    }

    fn contents(&self, path: &Path) -> Result<Vec<u8>, IoFailure> {
        let file = self.disk.open(path, OpenMode::Read);
        let file = file.or_while("opening", path)?;
        let len = file.len().or_while("reading the length of", path)?;
        file.uncache(0..len);
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        let read = file.read_at(0, &mut bytes).or_while("reading", path)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    fn slots(&self, found: &[u8]) -> Result<(), String> {
        if found.len() < RecoveryPoint::FILE_BYTES {
            return Err(format!("holds {} bytes", found.len()));
        }
        for (at, slot) in found.chunks(RecoveryPoint::SLOT_BYTES).take(2).enumerate() {
            let position = at * RecoveryPoint::SLOT_BYTES;
            let point = RecoveryPoint::decode(slot);
            let point = point.map_err(|error| format!("the slot at byte {position}: {error}"))?;
            self.is_ours(point.directory_id)?;
        }
        Ok(())
    }

    fn is_ours(&self, found: Incarnation) -> Result<(), String> {
        if found == self.directory_id {
            return Ok(());
        }
        Err(format!("belongs to data directory {found}"))
    }
}
