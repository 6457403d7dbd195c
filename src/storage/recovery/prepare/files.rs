//! Small files: read and written whole, and whose they are.

use std::io::IoSlice;
use std::path::Path;

use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::{IoFailure, OpenError, While};
use crate::types::Incarnation;

pub(in crate::storage::recovery) fn write_file(
    disk: &dyn Disk,
    path: &Path,
    bytes: &[u8],
) -> Result<(), IoFailure> {
    let file = disk
        .open(path, OpenMode::Create)
        .or_while("creating", path)?;
    file.set_len(0).or_while("cutting", path)?;
    file.write_at(0, &[IoSlice::new(bytes)])
        .or_while("writing", path)?;
    file.sync_data().or_while("syncing", path)
}

pub(in crate::storage) fn read_file(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, IoFailure> {
    let file = disk.open(path, OpenMode::Read).or_while("opening", path)?;
    let len = file.len().or_while("reading the length of", path)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = file.read_at(0, &mut bytes).or_while("reading", path)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Refuses a file of another data directory.
pub(super) fn belongs(
    path: &Path,
    found: Incarnation,
    expected: Incarnation,
) -> Result<(), OpenError> {
    if found == expected {
        return Ok(());
    }
    Err(OpenError::Misplaced {
        path: path.to_owned(),
        found: found.0,
        expected: expected.0,
    })
}
