//! What is vouched for: the marker, the recovery point, and the checkpoint that it names.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::files::{belongs, read_file};
use crate::format::{Checkpoint, DecodeError, Marker, NoRecoveryPoint, RecoveryPoint};
use crate::storage::disk::{Disk, DiskFile, OpenMode};
use crate::storage::error::{OpenError, While};
use crate::storage::layout::Layout;
use crate::storage::recovery::{Damage, RecoveryReport};
use crate::types::Incarnation;

pub(super) fn read_marker(disk: &dyn Disk, layout: &Layout) -> Result<Marker, OpenError> {
    let path = layout.marker();
    let bytes = read_file(disk, &path)?;
    Marker::decode(&bytes).map_err(|source| OpenError::Unreadable { path, source })
}

/// The recovery point, and its file.
pub(super) fn read_point(
    disk: &dyn Disk,
    layout: &Layout,
    directory_id: Incarnation,
    report: &mut RecoveryReport,
) -> Result<(Arc<dyn DiskFile>, RecoveryPoint), OpenError> {
    let path = layout.recovery_point();
    let mut bytes = read_file(disk, &path)?;
    let found = bytes.len();
    bytes.resize(RecoveryPoint::FILE_BYTES, 0);
    let (a, b) = bytes.split_at(RecoveryPoint::SLOT_BYTES);
    let point = RecoveryPoint::newest(a, b).map_err(|error| match error {
        NoRecoveryPoint::Newer(source) => OpenError::Unreadable {
            path: path.clone(),
            source,
        },
        source => OpenError::NoRecoveryPoint {
            path: path.clone(),
            source: Box::new(source),
        },
    })?;
    belongs(&path, point.directory_id, directory_id)?;
    if found != RecoveryPoint::FILE_BYTES {
        let expected = RecoveryPoint::FILE_BYTES;
        report.repaired.push(Damage {
            path: path.clone(),
            from: found.min(expected) as u64,
            to: found.max(expected) as u64,
            log: None,
            offsets: None,
            what: format!("{found} bytes instead of {expected}; its slots are read one by one"),
        });
    }
    // Torn by a power cut or damaged: the other slot vouches for less, and the next point written
    // takes its place.
    for (slot, from) in [(a, 0), (b, RecoveryPoint::SLOT_BYTES)] {
        if let Err(error) = RecoveryPoint::decode(slot) {
            report.repaired.push(Damage {
                path: path.clone(),
                from: from as u64,
                to: (from + RecoveryPoint::SLOT_BYTES) as u64,
                log: None,
                offsets: None,
                what: format!("{error}; the other slot is used"),
            });
        }
    }
    let file = disk
        .open(&path, OpenMode::ReadWrite)
        .or_while("opening", &path)?;
    Ok((file, point))
}

/// The checkpoint that the recovery point names, and the copies of it that can't be read.
pub(super) fn read_checkpoint(
    disk: &dyn Disk,
    layout: &Layout,
    point: &RecoveryPoint,
    report: &mut RecoveryReport,
) -> Result<(Checkpoint, Vec<PathBuf>), OpenError> {
    let mut found = None;
    let mut damaged = Vec::new();
    let mut last = None;
    for path in [
        layout.checkpoint(point.checkpoint),
        layout.checkpoint_copy(point.checkpoint),
    ] {
        let (len, error) = match read_file(disk, &path) {
            Ok(bytes) => match decode_checkpoint(&path, &bytes, point) {
                Ok(checkpoint) => {
                    found.get_or_insert(checkpoint);
                    continue;
                }
                Err(error) => (bytes.len() as u64, error),
            },
            Err(failure) => (0, failure.into()),
        };
        let what = match &error {
            OpenError::Unreadable { source, .. } => source.to_string(),
            other => other.to_string(),
        };
        report.damage.push(Damage {
            path: path.clone(),
            from: 0,
            to: len,
            log: None,
            offsets: None,
            what: format!("{what}; the other copy is used"),
        });
        damaged.push(path);
        last = Some(error);
    }
    match (found, last) {
        (Some(checkpoint), _) => Ok((checkpoint, damaged)),
        (None, last) => Err(last.expect("two copies were tried")),
    }
}

fn decode_checkpoint(
    path: &Path,
    bytes: &[u8],
    point: &RecoveryPoint,
) -> Result<Checkpoint, OpenError> {
    let unreadable = |source| OpenError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let checkpoint = Checkpoint::decode(bytes).map_err(unreadable)?;
    belongs(path, checkpoint.directory_id, point.directory_id)?;
    if checkpoint.number != point.checkpoint {
        return Err(unreadable(DecodeError::field(
            "number of a checkpoint",
            checkpoint.number,
            "which is not that of its file",
        )));
    }
    Ok(checkpoint)
}
