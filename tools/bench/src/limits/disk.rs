//! The disk: writes of one size, each followed by a sync, into files that were prepared.

use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use npayload::storage::disk::{Disk, DiskFile, OpenMode, RealDisk, zero_fill};

use crate::clock;
use crate::measured::{Counting, Measured};

/// Bytes of the one prepared file that is written round and round.
const FILE_BYTES: u64 = 256 << 20;

/// Files that are written in turn, where it is not one.
pub const MANY_FILES: usize = 1_000;

/// Writes of `write_bytes`, each synced, one after the other, for `time`: into one file, or in turn
/// into [`MANY_FILES`] that hold `write_bytes` each. The files lie in `dir` and are removed again.
pub fn synced(dir: &Path, write_bytes: usize, is_one: bool, time: Duration) -> Result<Measured> {
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    let (count, file_bytes) = match is_one {
        true => (1, FILE_BYTES),
        false => (MANY_FILES, write_bytes as u64),
    };
    let mut files: Vec<Arc<dyn DiskFile>> = Vec::with_capacity(count);
    for n in 0..count {
        let path = dir.join(format!("limit-{n}"));
        let file = disk
            .open(&path, OpenMode::Create)
            .context("creating a file")?;
        zero_fill(&*file, file_bytes).context("filling a file")?;
        files.push(file);
    }
    let block = vec![7; write_bytes];
    let mut counting = Counting::new();
    let (began, mut position) = (clock(), 0);
    for file in files.iter().cycle() {
        let at = clock();
        if at - began >= time {
            break;
        }
        file.write_at(position, &[IoSlice::new(&block)])?;
        file.sync_data()?;
        counting.book(at.elapsed(), 0, write_bytes as u64);
        position = (position + write_bytes as u64) % (file_bytes - write_bytes as u64 + 1);
        position -= position % 4096;
    }
    let took = began.elapsed();
    drop(files);
    for n in 0..count {
        disk.remove_file(&dir.join(format!("limit-{n}")))?;
    }
    let kib = write_bytes / 1024;
    let name = match is_one {
        true => format!("disk: {kib} KiB written and synced"),
        false => format!("disk: {kib} KiB written and synced, {MANY_FILES} files in turn"),
    };
    Ok(counting.over(name, took))
}
