//! Nothing is deleted: what is damaged or belongs to nothing is kept in `lost+found`.

use std::path::{Path, PathBuf};

use super::super::disk::Disk;
use super::super::error::{IoFailure, While};
use super::super::layout::Layout;
use super::Unrecovered;
use super::prepare::{read_file, write_file};

/// Moves a file or directory to `lost+found`, with the reason beside it; gives its new path.
pub(in crate::storage) fn set_aside(
    disk: &dyn Disk,
    layout: &Layout,
    path: &Path,
    why: &str,
) -> Result<PathBuf, IoFailure> {
    let target = free_name(disk, layout, path, why)?;
    let lost = layout.lost_and_found();
    disk.rename(path, &target).or_while("moving", path)?;
    disk.sync_dir(&lost).or_while("syncing", &lost)?;
    let parent = path.parent().unwrap_or(path);
    disk.sync_dir(parent).or_while("syncing", parent)?;
    Ok(target)
}

/// A name in `lost+found` for something of this path; the reason lies beside it already.
fn free_name(
    disk: &dyn Disk,
    layout: &Layout,
    path: &Path,
    why: &str,
) -> Result<PathBuf, IoFailure> {
    let lost = layout.lost_and_found();
    disk.create_dir(&lost).or_while("creating", &lost)?;
    let relative = path.strip_prefix(layout.root()).unwrap_or(path);
    let flat = relative.to_string_lossy().replace('/', "-");
    let mut target = lost.join(&flat);
    let mut copy = 1;
    while disk.exists(&target).or_while("looking for", &target)? {
        copy += 1;
        target = lost.join(format!("{flat}.{copy}"));
    }
    let mut reason = target.clone().into_os_string();
    reason.push(".why");
    let text = format!("{}: {why}\n", relative.display());
    write_file(disk, reason.as_ref(), text.as_bytes())?;
    disk.sync_dir(&lost).or_while("syncing", &lost)?;
    Ok(target)
}

impl Unrecovered {
    /// Moves a file or directory to `lost+found`, and reports it.
    pub(super) fn move_aside(&mut self, path: &Path, why: &str) -> Result<(), IoFailure> {
        let target = set_aside(&*self.disk, &self.layout, path, why)?;
        self.report.moved.push((path.to_owned(), target));
        Ok(())
    }

    /// Copies a file to `lost+found` before its damaged bytes are written over or cut off.
    pub(super) fn keep_copy(&mut self, path: &Path, why: &str) -> Result<(), IoFailure> {
        let bytes = read_file(&*self.disk, path)?;
        let target = free_name(&*self.disk, &self.layout, path, why)?;
        write_file(&*self.disk, &target, &bytes)?;
        let lost = self.layout.lost_and_found();
        self.disk.sync_dir(&lost).or_while("syncing", &lost)?;
        self.report.moved.push((path.to_owned(), target));
        Ok(())
    }

    /// Copies journal files with damage in them before the ring is used again.
    pub(super) fn keep_damaged_journal(&mut self) -> Result<(), IoFailure> {
        let mut files = std::mem::take(&mut self.scan.damaged_files);
        files.sort_unstable();
        files.dedup();
        for file in files {
            let number = u32::try_from(file).expect("a ring has few files");
            let path = self.layout.journal_file(number);
            if self.disk.exists(&path).or_while("looking for", &path)? {
                self.keep_copy(&path, "damage was found in it")?;
            }
        }
        Ok(())
    }

    /// Moves the copies of the checkpoint that could not be read aside, before new ones are
    /// written.
    pub(super) fn keep_damaged_checkpoints(&mut self) -> Result<(), IoFailure> {
        for path in std::mem::take(&mut self.damaged_checkpoints) {
            if self.disk.exists(&path).or_while("looking for", &path)? {
                self.move_aside(&path, "damage was found in it")?;
            }
        }
        Ok(())
    }
}
