//! A directory that is new, was never made to its end, or is somebody else's.

use std::path::Path;

use super::files::write_file;
use crate::format::{Checkpoint, Marker, RecoveryPoint};
use crate::storage::checkpoint::write_checkpoint;
use crate::storage::disk::{Disk, OpenMode};
use crate::storage::error::{IoFailure, OpenError, While};
use crate::storage::journal::{FIRST_GROUP, prepare_file};
use crate::storage::layout::Layout;
use crate::storage::store::StorageConfig;
use crate::types::{Incarnation, Timestamp};

/// Refuses a directory that holds somebody else's files.
pub(super) fn refuse_foreign(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
    let root = layout.root();
    let is_there = |path: &Path| disk.exists(path).or_while("looking for", path);
    if !is_there(root)? || is_there(&layout.marker())? {
        return Ok(());
    }
    // `lost+found` alone is what a fresh ext4 file system holds.
    let known = [
        "lock",
        "journal",
        "checkpoints",
        "channels",
        "beside",
        "ballast",
        "lost+found",
        "recovery-point.new",
    ];
    let entries = disk.list(root).or_while("listing", root)?;
    match entries
        .into_iter()
        .find(|entry| !known.contains(&entry.name.as_str()))
    {
        Some(entry) => Err(OpenError::NotOurs {
            path: root.to_owned(),
            found: entry.name,
        }),
        None => Ok(()),
    }
}

/// Whether the making of this directory never ended: nothing was ever stored in it.
pub(super) fn is_unmade(disk: &dyn Disk, layout: &Layout) -> Result<bool, OpenError> {
    let is_there = |path: &Path| disk.exists(path).or_while("looking for", path);
    if is_there(&layout.recovery_point())? {
        return Ok(false);
    }
    let channels = layout.channels_dir();
    if is_there(&channels)?
        && !disk
            .list(&channels)
            .or_while("listing", &channels)?
            .is_empty()
    {
        return Ok(false);
    }
    let first = layout.journal_file(0);
    if !is_there(&first)? {
        return Ok(true);
    }
    let file = disk
        .open(&first, OpenMode::Read)
        .or_while("opening", &first)?;
    let mut group = vec![0; 4096];
    let read = file
        .read_at(FIRST_GROUP, &mut group)
        .or_while("reading", &first)?;
    Ok(group[..read].iter().all(|byte| *byte == 0))
}

/// Makes a new data directory. The recovery point comes last, in one step: until it is there,
/// the next start makes the directory again.
pub(super) fn make(
    disk: &dyn Disk,
    layout: &Layout,
    config: &StorageConfig,
    now: Timestamp,
    random: &mut dyn FnMut() -> u64,
) -> Result<(), OpenError> {
    let root = layout.root();
    for dir in [
        layout.journal_dir(),
        layout.checkpoint_dir(),
        layout.channels_dir(),
        layout.lost_and_found(),
    ] {
        disk.create_dir(&dir).or_while("creating", &dir)?;
    }
    let directory_id = Incarnation(u128::from(random()) << 64 | u128::from(random()));
    let marker = Marker {
        directory_id,
        created_at: now,
    };
    write_file(disk, &layout.marker(), &marker.encode())?;
    prepare_file(disk, layout, directory_id, 0, config.journal_file_bytes)?;
    let checkpoint = Checkpoint {
        number: 1,
        directory_id,
        epoch: 0,
        journal_group: 1,
        journal_file: 0,
        journal_position: u32::try_from(FIRST_GROUP).expect("a small constant"),
        logs: Vec::new(),
    };
    write_checkpoint(disk, layout, &checkpoint)?;
    let point = RecoveryPoint {
        is_clean: true,
        sequence: 0,
        directory_id,
        epoch: 0,
        salt: random(),
        checkpoint: 1,
        flushed_group: 0,
        flushed_file: 0,
        flushed_end: 0,
    };
    let mut slots = vec![0; RecoveryPoint::FILE_BYTES];
    for sequence in [0, 1] {
        let point = RecoveryPoint { sequence, ..point };
        let at = usize::try_from(point.slot_position()).expect("one of two slots");
        slots[at..at + RecoveryPoint::BYTES].copy_from_slice(&point.encode());
    }
    let new = layout.recovery_point().with_extension("new");
    write_file(disk, &new, &slots)?;
    // The other entries of the root must be durable before the one that makes them count.
    disk.sync_dir(root).or_while("syncing", root)?;
    disk.rename(&new, &layout.recovery_point())
        .or_while("renaming", &new)?;
    Ok(())
}

/// Makes the directory's own name and those in it durable. A start that made the directory may
/// have been killed before it came to that, and left no trace of it.
pub(super) fn keep_names(disk: &dyn Disk, layout: &Layout) -> Result<(), IoFailure> {
    let root = layout.root();
    disk.sync_dir(root).or_while("syncing", root)?;
    let parent = root.parent().filter(|path| !path.as_os_str().is_empty());
    let Some(parent) = parent else { return Ok(()) };
    match disk.sync_dir(parent) {
        // Whoever made the directory may look where this process may not.
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => Ok(()),
        synced => synced.or_while("syncing", parent),
    }
}
