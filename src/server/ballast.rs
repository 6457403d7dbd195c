//! A ballast: some bytes of the disk that are kept back in a file, for a start on a full one. Only a
//! start that finds no space lets go of it, and it is made again once there is some.
//!
//! A start has to write before anything is read: who holds the directory, what the journal still has for
//! segments, a checkpoint. What it replaces is freed behind it, so what the ballast gave is enough for
//! starts after this one too.

use std::io::{self, IoSlice};
use std::path::Path;

use super::listener::StartError;
use crate::broker::BrokerOpenError;
use crate::storage::disk::{Disk, DiskFile, OpenMode};

/// The file, in the data directory.
const FILE: &str = "ballast";
/// Bytes of it beside those of a checkpoint, but for brokers that leave less than that free.
const BYTES: u64 = 1 << 20;
/// Bytes that are written at once.
const CHUNK: usize = 64 << 10;

/// Opens what `open` opens; on a disk without space once more, without the ballast.
///
/// # Errors
/// What `open` gives; [`StartError::NoSpace`] where there is no ballast, or it was not enough.
pub(super) fn with<T>(
    disk: &dyn Disk,
    data_dir: &Path,
    open: impl Fn() -> Result<T, BrokerOpenError>,
) -> Result<T, StartError> {
    let error = match open() {
        Ok(opened) => return Ok(opened),
        Err(error) if !error.is_out_of_space() => return Err(StartError::Open(Box::new(error))),
        Err(error) => error,
    };
    match release(disk, data_dir) {
        Ok(false) => Err(no_space(disk, data_dir, error)),
        Ok(true) => {
            tracing::warn!(%error, "the disk is full: this start takes the ballast for it");
            open().map_err(|error| match error.is_out_of_space() {
                true => no_space(disk, data_dir, error),
                false => StartError::Open(Box::new(error)),
            })
        }
        Err(failure) => {
            tracing::error!(error = %failure, "the ballast can't be removed");
            Err(no_space(disk, data_dir, error))
        }
    }
}

/// Removes the ballast; whether there was one.
fn release(disk: &dyn Disk, data_dir: &Path) -> io::Result<bool> {
    let path = data_dir.join(FILE);
    if !disk.exists(&path)? {
        return Ok(false);
    }
    disk.remove_file(&path)?;
    disk.sync_dir(data_dir)?;
    Ok(true)
}

fn no_space(disk: &dyn Disk, data_dir: &Path, error: BrokerOpenError) -> StartError {
    StartError::NoSpace {
        data_dir: data_dir.to_owned(),
        available: disk.available(data_dir).unwrap_or(0),
        needed: needed(disk, data_dir),
        error: Box::new(error),
    }
}

/// Bytes that a start takes at most: all that the journal holds could have to go to segments.
fn needed(disk: &dyn Disk, data_dir: &Path) -> u64 {
    let journal = disk.list(&data_dir.join("journal")).unwrap_or_default();
    let journal: u64 = journal.iter().map(|file| file.len).sum();
    journal + size(disk, data_dir, u64::MAX)
}

/// Bytes of the ballast: a checkpoint is written twice before the one before it goes.
fn size(disk: &dyn Disk, data_dir: &Path, min_free: u64) -> u64 {
    let checkpoints = disk.list(&data_dir.join("checkpoints")).unwrap_or_default();
    let largest = checkpoints.iter().map(|file| file.len).max().unwrap_or(0);
    (BYTES + 2 * largest).min(min_free)
}

/// Whether so much is free that a ballast takes it from nobody.
///
/// - `min_free`: bytes that producers leave, and no ballast has more.
pub(super) fn is_affordable(available: u64, min_free: u64) -> bool {
    available >= min_free.saturating_mul(2).saturating_add(min_free / 2)
}

/// Makes the ballast where it is not there whole.
///
/// # Errors
/// As the operating system does; what was written of it is removed.
pub(super) fn keep(disk: &dyn Disk, data_dir: &Path, min_free: u64) -> io::Result<()> {
    let path = data_dir.join(FILE);
    let size = size(disk, data_dir, min_free);
    let file = disk.open(&path, OpenMode::Create)?;
    if file.len()? >= size {
        return Ok(());
    }
    let written = fill(&*file, size).and_then(|()| disk.sync_dir(data_dir));
    if written.is_err() {
        let _ = disk.remove_file(&path);
    }
    written
}

/// Writes bytes that no file system could make fewer, and has them on the medium.
fn fill(file: &dyn DiskFile, size: u64) -> io::Result<()> {
    let mut word = 0x9e37_79b9_7f4a_7c15_u64;
    let mut at = 0;
    while at < size {
        let bytes: Vec<u8> = (0..CHUNK / 8)
            .flat_map(|_| {
                word ^= word << 13;
                word ^= word >> 7;
                word ^= word << 17;
                word.to_le_bytes()
            })
            .collect();
        let left = usize::try_from(size - at).unwrap_or(CHUNK);
        let part = &bytes[..left.min(CHUNK)];
        file.write_at(at, &[IoSlice::new(part)])?;
        at += part.len() as u64;
    }
    file.sync_data()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::storage::disk::MemoryDisk;

    #[test]
    fn a_ballast_is_made_once_and_gone_when_it_is_released() {
        let disk: Arc<dyn Disk> = Arc::new(MemoryDisk::new());
        let dir = Path::new("/data");
        disk.create_dir(dir).unwrap();
        let len = || {
            let files = disk.list(dir).unwrap();
            files.iter().find(|file| file.name == FILE).map(|it| it.len)
        };
        assert!(!release(&*disk, dir).unwrap());
        keep(&*disk, dir, 1000).unwrap();
        assert_eq!(len(), Some(1000), "never more than producers leave");
        keep(&*disk, dir, 64 << 20).unwrap();
        assert_eq!(len(), Some(BYTES));
        keep(&*disk, dir, 1000).unwrap();
        assert_eq!(len(), Some(BYTES), "one that is large enough stays");
        // Where checkpoints are large, a start needs more.
        let checkpoints = dir.join("checkpoints");
        disk.create_dir(&checkpoints).unwrap();
        let path = checkpoints.join("1.checkpoint");
        let file = disk.open(&path, OpenMode::Create).unwrap();
        file.set_len(3 << 20).unwrap();
        keep(&*disk, dir, 64 << 20).unwrap();
        assert_eq!(len(), Some(BYTES + (6 << 20)));
        assert!(release(&*disk, dir).unwrap());
        assert_eq!(len(), None);
    }

    #[test]
    fn a_ballast_takes_no_space_that_producers_have() {
        let min_free = 64 << 20;
        assert!(!is_affordable(2 * min_free, min_free));
        assert!(is_affordable(3 * min_free, min_free));
    }
}
