//! Writes the recovery point: two slots in turn, so that one is whole at any time.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::disk::DiskFile;
use super::error::{IoFailure, While};
use crate::format::RecoveryPoint;

/// The recovery point as last written.
#[derive(Debug)]
pub(super) struct Points {
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    current: Mutex<RecoveryPoint>,
}

impl Points {
    pub fn new(path: PathBuf, file: Arc<dyn DiskFile>, current: RecoveryPoint) -> Self {
        Self {
            path,
            file,
            current: Mutex::new(current),
        }
    }

    /// The recovery point as last written.
    pub fn current(&self) -> RecoveryPoint {
        *self
            .current
            .lock()
            .expect("no panic while the recovery point is locked")
    }

    /// Writes a changed recovery point into both slots, one after the other. From then on nothing
    /// needs what either named before: damage to one slot leaves one that means the same.
    pub fn update_both(&self, change: impl Fn(&mut RecoveryPoint)) -> Result<(), IoFailure> {
        self.update(&change)?;
        self.update(&change)
    }

    /// Writes a changed recovery point over the whole of the older slot and syncs it: whatever was
    /// there before, damage in the slot's unused rest too, would keep the new point from being read.
    pub fn update(&self, change: impl FnOnce(&mut RecoveryPoint)) -> Result<(), IoFailure> {
        let mut current = self
            .current
            .lock()
            .expect("no panic while the recovery point is locked");
        let mut next = *current;
        change(&mut next);
        next.sequence = current.sequence + 1;
        let mut slot = [0; RecoveryPoint::SLOT_BYTES];
        slot[..RecoveryPoint::BYTES].copy_from_slice(&next.encode());
        let written = self
            .file
            .write_at(next.slot_position(), &[IoSlice::new(&slot)]);
        written.or_while("writing", &self.path)?;
        self.file.sync_data().or_while("syncing", &self.path)?;
        *current = next;
        Ok(())
    }
}
