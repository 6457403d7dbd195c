//! The small files: marker, recovery point, checkpoints. Each is read whole and checked whole.

use std::io;
use std::path::Path;
use std::time::Duration;

use npayload::format::{Checkpoint, DecodeError, Marker, RecoveryPoint, SecretFile, read_snapshot};
use npayload::types::Incarnation;

use crate::report::{FileReport, Kind};
use crate::source::Source;

/// Largest checkpoint that is read: far more rows than a broker can have logs.
const MAX_CHECKPOINT_BYTES: u64 = 1 << 32;

/// Checks the marker; the directory's identity when it is intact.
pub fn marker(path: &Path) -> io::Result<(FileReport, Option<Incarnation>)> {
    let mut report = FileReport::new(path, Kind::Marker);
    let source = Source::open(path)?;
    let bytes = source.read(0, Marker::BYTES as u64 + 1)?;
    report.checked(0, Marker::BYTES as u64);
    match Marker::decode(&bytes) {
        Ok(marker) => Ok((report, Some(marker.directory_id))),
        Err(error) => {
            report.damaged(0, source.len().max(Marker::BYTES as u64), error);
            Ok((report, None))
        }
    }
}

/// Checks the secret file; nothing of its key is shown.
pub fn secret(path: &Path, directory_id: Option<Incarnation>) -> io::Result<FileReport> {
    let mut report = FileReport::new(path, Kind::Secret);
    let source = Source::open(path)?;
    let bytes = source.read(0, SecretFile::BYTES as u64 + 1)?;
    report.checked(0, SecretFile::BYTES as u64);
    let (from, to) = (0, source.len().max(SecretFile::BYTES as u64));
    match SecretFile::decode(&bytes) {
        Err(error) => report.damaged(from, to, error),
        Ok(found) if directory_id.is_some_and(|id| id != found.directory_id) => {
            let found = found.directory_id;
            report.damaged(from, to, format!("belongs to data directory {found}"));
        }
        Ok(_) => {}
    }
    Ok(report)
}

/// Checks a snapshot. It is a cache: a start does without one that is damaged.
pub fn snapshot(path: &Path) -> io::Result<FileReport> {
    let mut report = FileReport::new(path, Kind::Snapshot);
    let source = Source::open(path)?;
    let bytes = source.read(0, source.len())?;
    report.checked(0, source.len());
    if let Err(error) = read_snapshot(&bytes.to_vec().into()) {
        report.damaged(0, source.len(), error);
    }
    Ok(report)
}

/// Checks the recovery point; its intact slots, the newer one first.
pub fn recovery_point(
    path: &Path,
    directory_id: Option<Incarnation>,
) -> io::Result<(FileReport, Vec<RecoveryPoint>)> {
    let mut before = Vec::new();
    loop {
        let source = Source::open(path)?;
        let bytes = source.read(0, RecoveryPoint::FILE_BYTES as u64 + 1)?;
        let (report, points) = judge_slots(path, &bytes, directory_id);
        // A broker may be writing to the file: what differs at each look is not yet a finding.
        if report.damage.is_empty() || bytes == before {
            return Ok((report, points));
        }
        before = bytes;
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn judge_slots(
    path: &Path,
    bytes: &[u8],
    directory_id: Option<Incarnation>,
) -> (FileReport, Vec<RecoveryPoint>) {
    let mut report = FileReport::new(path, Kind::RecoveryPoint);
    let file_bytes = RecoveryPoint::FILE_BYTES as u64;
    report.checked(0, file_bytes);
    let found = bytes.len() as u64;
    if found != file_bytes {
        let what = format!("{found} bytes or more, instead of {file_bytes}");
        report.damaged(found.min(file_bytes), file_bytes.max(found), what);
    }
    let mut points = Vec::new();
    for (at, slot) in bytes.chunks(RecoveryPoint::SLOT_BYTES).take(2).enumerate() {
        let from = (at * RecoveryPoint::SLOT_BYTES) as u64;
        let to = from + slot.len() as u64;
        if slot.iter().all(|byte| *byte == 0) {
            continue;
        }
        match RecoveryPoint::decode(slot) {
            Err(error) => report.damaged(from, to, error),
            Ok(point) if point.slot_position() != from => {
                report.damaged(
                    from,
                    to,
                    format!("sequence {} in the wrong slot", point.sequence),
                );
            }
            Ok(point) if directory_id.is_some_and(|id| id != point.directory_id) => {
                report.damaged(
                    from,
                    to,
                    format!("belongs to data directory {}", point.directory_id),
                );
            }
            Ok(point) => points.push(point),
        }
    }
    if points.is_empty() && report.damage.is_empty() {
        report.damaged(0, file_bytes, "neither slot was ever written");
    }
    points.sort_by_key(|point| std::cmp::Reverse(point.sequence));
    (report, points)
}

/// Checks a checkpoint or its copy, which the file's name gives `number`.
pub fn checkpoint(
    path: &Path,
    number: Option<u64>,
    directory_id: Option<Incarnation>,
) -> io::Result<(FileReport, Option<Checkpoint>)> {
    let mut report = FileReport::new(path, Kind::Checkpoint);
    let source = Source::open(path)?;
    let bytes = source.read(0, MAX_CHECKPOINT_BYTES)?;
    report.checked(0, source.len());
    let (from, to) = (0, source.len());
    match Checkpoint::decode(&bytes) {
        Err(error) => {
            // The header's checksum says which part is meant.
            let from = match &error {
                DecodeError::Checksum {
                    what: "checkpoint body",
                    ..
                } => Checkpoint::HEADER_BYTES as u64,
                _ => from,
            };
            report.damaged(from, to, error);
        }
        Ok(found) if number.is_some_and(|number| number != found.number) => {
            report.damaged(from, to, format!("holds checkpoint {}", found.number));
        }
        Ok(found) if directory_id.is_some_and(|id| id != found.directory_id) => {
            report.damaged(
                from,
                to,
                format!("belongs to data directory {}", found.directory_id),
            );
        }
        Ok(found) => return Ok((report, Some(found))),
    }
    Ok((report, None))
}
