//! Space at a start: a new directory is made only where there is enough for it, and what an unfinished
//! journal file took is given back.

use std::path::Path;
use std::sync::Arc;

use super::super::disk::{Disk, DiskFile};
use super::super::error::{OpenError, While};
use super::super::journal::MIN_FILES;
use super::super::layout::Layout;
use super::super::store::StorageConfig;

/// Bytes of a new directory beside its journal: checkpoints, recovery point, and what is kept back for
/// a start on a full disk.
const BESIDE_BYTES: u64 = 1024 * 1024;

/// Bytes that a journal file is read by.
const PIECE_BYTES: usize = 1024 * 1024;

/// Refuses to make a directory where the journal's ring would leave producers nothing. What an earlier
/// try has written of it is not needed twice.
///
/// Where the operating system does not tell the space, the directory is made.
pub(super) fn refuse_small(
    disk: &dyn Disk,
    layout: &Layout,
    config: &StorageConfig,
) -> Result<(), OpenError> {
    let Some(free) = available(disk, layout.root()) else {
        return Ok(());
    };
    let dir = layout.journal_dir();
    let made: u64 = if disk.exists(&dir).or_while("looking for", &dir)? {
        let files = disk.list(&dir).or_while("listing", &dir)?;
        files.iter().map(|file| file.len).sum()
    } else {
        0
    };
    let journal = config.journal_file_bytes.saturating_mul(MIN_FILES.into());
    let needed = journal.saturating_add(config.min_free_bytes);
    let needed = needed.saturating_add(BESIDE_BYTES);
    if free.saturating_add(made) >= needed {
        return Ok(());
    }
    Err(OpenError::TooSmall {
        path: layout.root().to_owned(),
        free,
        needed: needed.saturating_sub(made),
        journal_files: MIN_FILES,
        journal_file_bytes: config.journal_file_bytes,
        min_free_bytes: config.min_free_bytes,
    })
}

/// Bytes free where a directory is, or will be once it is made.
fn available(disk: &dyn Disk, root: &Path) -> Option<u64> {
    let here = Path::new(".");
    let paths = root.ancestors();
    let mut paths = paths.map(|path| {
        if path.as_os_str().is_empty() {
            here
        } else {
            path
        }
    });
    paths.find_map(|path| match disk.available(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
        answer => Some(answer.ok()),
    })?
}

/// Cuts the files at the ring's end that hold nothing but zeros, not even a header: they were being
/// prepared when their broker ended, and a start may need their space.
///
/// - `needed`: the last file that must be there.
pub(super) fn give_back(files: &[Arc<dyn DiskFile>], unprepared: &[usize], needed: u32) {
    for at in (needed as usize + 1..files.len()).rev() {
        // What can't be read or cut is met again by the ring.
        let is_unfinished = unprepared.contains(&at) && is_zero(&*files[at]).unwrap_or(false);
        if !is_unfinished || files[at].set_len(0).is_err() {
            return;
        }
    }
}

/// Whether a file holds nothing but zeros.
fn is_zero(file: &dyn DiskFile) -> std::io::Result<bool> {
    let mut piece = vec![0; PIECE_BYTES];
    let mut position = 0;
    loop {
        let read = file.read_at(position, &mut piece)?;
        if piece[..read].iter().any(|byte| *byte != 0) {
            return Ok(false);
        }
        if read < piece.len() {
            return Ok(true);
        }
        position += read as u64;
    }
}
