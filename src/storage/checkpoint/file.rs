//! The files of checkpoints.

use std::io::IoSlice;

use crate::format::{Checkpoint, LogRow};
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::{IoFailure, While};
use crate::storage::journal::JournalPoint;
use crate::storage::layout::Layout;
use crate::storage::segment::remove_file;
use crate::storage::store::Storage;
use crate::types::Incarnation;

/// The checkpoint that follows the last one; all of it but its rows.
#[derive(Clone, Copy, Debug)]
pub(in crate::storage) struct NextCheckpoint {
    pub number: u64,
    directory_id: Incarnation,
    epoch: u64,
    /// Where a replay starts from it.
    pub start: JournalPoint,
}

impl NextCheckpoint {
    /// The checkpoint with these rows.
    pub fn with(&self, logs: Vec<LogRow>) -> Checkpoint {
        Checkpoint {
            number: self.number,
            directory_id: self.directory_id,
            epoch: self.epoch,
            journal_group: self.start.group,
            journal_file: self.start.file,
            journal_position: self.start.position,
            logs,
        }
    }
}

impl Storage {
    /// The next checkpoint.
    ///
    /// - `start`: where a replay starts from it.
    pub(in crate::storage) fn next_checkpoint(&self, start: JournalPoint) -> NextCheckpoint {
        NextCheckpoint {
            number: self.checkpoints.number.max(self.checkpoints.named) + 1,
            directory_id: self.directory_id,
            epoch: self.epoch.0,
            start,
        }
    }

    /// What the last checkpoint says of all logs that are there but of those that have changed.
    pub(in crate::storage) fn unchanged_rows(
        &self,
        has_changed: impl Fn(&Incarnation) -> bool,
    ) -> Vec<LogRow> {
        let rows = self.checkpoints.rows.iter();
        let rows = rows.filter(|(id, _)| !has_changed(id) && self.logs.contains_key(id));
        rows.map(|(_, row)| row.clone()).collect()
    }
}

/// Writes both copies of a checkpoint and makes them durable. It counts only once the recovery
/// point names it.
pub(in crate::storage) fn write_checkpoint(
    disk: &dyn Disk,
    layout: &Layout,
    checkpoint: &Checkpoint,
) -> Result<(), IoFailure> {
    let bytes = checkpoint.encode();
    let paths = [
        layout.checkpoint(checkpoint.number),
        layout.checkpoint_copy(checkpoint.number),
    ];
    for path in &paths {
        let file = disk
            .open(path, OpenMode::Create)
            .or_while("creating", path)?;
        // A file of this number may be left from a checkpoint that was never named.
        file.set_len(0).or_while("cutting", path)?;
        file.write_at(0, &[IoSlice::new(&bytes)])
            .or_while("writing", path)?;
        file.sync_data().or_while("syncing", path)?;
    }
    let dir = layout.checkpoint_dir();
    let synced = disk.sync_dir(&dir).or_while("syncing", &dir);
    if synced.is_err() {
        // What it was for is made durable by no later sync: the next try makes the names anew.
        for path in &paths {
            if let Err(failure) = remove_file(disk, path) {
                tracing::warn!(%failure, "a checkpoint that was not taken was not removed");
            }
        }
    }
    synced
}

/// Removes every checkpoint but `keep`.
pub(in crate::storage) fn remove_other_checkpoints(
    disk: &dyn Disk,
    layout: &Layout,
    keep: u64,
) -> Result<(), IoFailure> {
    let dir = layout.checkpoint_dir();
    let kept = [layout.checkpoint(keep), layout.checkpoint_copy(keep)];
    for entry in disk.list(&dir).or_while("listing", &dir)? {
        let path = dir.join(&entry.name);
        let is_ours = entry.name.ends_with(".checkpoint") || entry.name.ends_with(".copy");
        if is_ours && !kept.contains(&path) {
            disk.remove_file(&path).or_while("removing", &path)?;
        }
    }
    Ok(())
}

/// Removes every checkpoint but `keep`; what can't be removed now is by a later one.
pub(in crate::storage) fn clear_other_checkpoints(disk: &dyn Disk, layout: &Layout, keep: u64) {
    let dir = layout.checkpoint_dir();
    remove_other_checkpoints(disk, layout, keep).unwrap_or_else(|failure| {
        tracing::warn!(%failure, dir = %dir.display(), "old checkpoints were not removed");
    });
}
