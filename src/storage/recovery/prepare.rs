//! The first steps of an opening: whose directory it is, and what the journal holds.

use std::collections::HashMap;
use std::io::IoSlice;
use std::path::Path;
use std::sync::Arc;

use super::super::checkpoint::write_checkpoint;
use super::super::disk::{Disk, DiskFile, DiskLock, LockError, OpenMode};
use super::super::error::{IoFailure, OpenError, While};
use super::super::journal::{FIRST_GROUP, prepare_file};
use super::super::layout::Layout;
use super::super::log::LogPoint;
use super::super::open_files::OpenFiles;
use super::super::points::Points;
use super::super::store::StorageConfig;
use super::scan::{JournalFiles, Scan};
use super::{Damage, RecoveryReport};
use crate::format::{
    Checkpoint, DecodeError, JournalFileHeader, Marker, NoRecoveryPoint, RecoveryPoint,
};
use crate::types::{Incarnation, Timestamp};

/// A data directory that is locked and read, and not yet replayed.
///
/// The log named by the directory's own identity holds the directory of all others:
/// [`Unrecovered::replay_directory`] gives its batches, and what they fold to decides which logs
/// [`Unrecovered::recover`] brings back.
#[derive(Debug)]
pub struct Unrecovered {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) layout: Layout,
    pub(super) config: StorageConfig,
    pub(super) lock: Box<dyn DiskLock>,
    pub(super) points: Arc<Points>,
    pub(super) open_files: Arc<OpenFiles>,
    pub(super) directory_id: Incarnation,
    pub(super) checkpoint: u64,
    pub(super) rows: HashMap<Incarnation, LogPoint>,
    pub(super) journal: JournalFiles,
    pub(super) scan: Scan,
    pub(super) report: RecoveryReport,
    pub(super) salt: u64,
    pub(super) directory_log: Option<super::Replayed>,
}

/// Opens a data directory, making it if it is new.
///
/// - `holder`: what the lock file says of this process to another that finds it locked.
/// - `random`: 64 random bits at each call.
///
/// # Errors
/// [`OpenError`]; nothing in the directory was changed then.
pub fn open(
    disk: Arc<dyn Disk>,
    root: &Path,
    config: StorageConfig,
    holder: &str,
    now: Timestamp,
    random: &mut dyn FnMut() -> u64,
) -> Result<Unrecovered, OpenError> {
    let layout = Layout::new(root);
    refuse_foreign(&*disk, &layout)?;
    if config.must_exist && is_unmade(&*disk, &layout)? {
        return Err(OpenError::Missing {
            path: root.to_owned(),
        });
    }
    disk.create_dir(root).or_while("creating", root)?;
    let lock = disk
        .lock(&layout.lock(), holder.as_bytes())
        .map_err(|error| match error {
            LockError::Held { holder } => OpenError::Locked {
                path: root.to_owned(),
                holder,
            },
            LockError::Io(source) => IoFailure::new("locking", &layout.lock(), source).into(),
        })?;
    let mut report = RecoveryReport::default();
    if is_unmade(&*disk, &layout)? {
        make(&*disk, &layout, &config, now, random)?;
        report.is_new = true;
    }
    let marker = read_marker(&*disk, &layout)?;
    let (file, point) = read_point(&*disk, &layout, marker.directory_id, &mut report)?;
    let checkpoint = read_checkpoint(&*disk, &layout, &point, &mut report)?;
    report.was_clean = point.is_clean;
    let (files, unprepared) = open_journal(&*disk, &layout, marker.directory_id, &mut report)?;
    let journal = JournalFiles {
        unprepared,
        layout: layout.clone(),
        files,
        salt: point.salt,
        epoch: point.epoch,
    };
    let from = (
        checkpoint.journal_file as usize,
        u64::from(checkpoint.journal_position),
        checkpoint.journal_group,
    );
    if from.0 >= journal.files.len() {
        let path = layout.journal_file(checkpoint.journal_file);
        let source = DecodeError::Short {
            what: "journal file",
            needed: 1,
            found: 0,
        };
        return Err(OpenError::Unreadable { path, source });
    }
    let scan = journal.scan(from, &point, &mut report)?;
    let rows = checkpoint
        .logs
        .iter()
        .map(|row| (row.incarnation, LogPoint::from_row(row)))
        .collect();
    let open_files = Arc::new(OpenFiles::new(config.max_open_segments));
    Ok(Unrecovered {
        points: Arc::new(Points::new(layout.recovery_point(), file, point)),
        disk,
        layout,
        config,
        lock,
        open_files,
        directory_id: marker.directory_id,
        checkpoint: checkpoint.number,
        rows,
        journal,
        scan,
        report,
        salt: random(),
        directory_log: None,
    })
}

/// Refuses a directory that holds somebody else's files.
fn refuse_foreign(disk: &dyn Disk, layout: &Layout) -> Result<(), OpenError> {
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
fn is_unmade(disk: &dyn Disk, layout: &Layout) -> Result<bool, OpenError> {
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
fn make(
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
    disk.sync_dir(root).or_while("syncing", root)?;
    if let Some(parent) = root
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
    {
        disk.sync_dir(parent).or_while("syncing", parent)?;
    }
    Ok(())
}

pub(super) fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), IoFailure> {
    let file = disk
        .open(path, OpenMode::Create)
        .or_while("creating", path)?;
    file.set_len(0).or_while("cutting", path)?;
    file.write_at(0, &[IoSlice::new(bytes)])
        .or_while("writing", path)?;
    file.sync_data().or_while("syncing", path)
}

pub(super) fn read_file(disk: &dyn Disk, path: &Path) -> Result<Vec<u8>, IoFailure> {
    let file = disk.open(path, OpenMode::Read).or_while("opening", path)?;
    let len = file.len().or_while("reading the length of", path)?;
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let read = file.read_at(0, &mut bytes).or_while("reading", path)?;
    bytes.truncate(read);
    Ok(bytes)
}

fn read_marker(disk: &dyn Disk, layout: &Layout) -> Result<Marker, OpenError> {
    let path = layout.marker();
    let bytes = read_file(disk, &path)?;
    Marker::decode(&bytes).map_err(|source| OpenError::Unreadable { path, source })
}

fn belongs(path: &Path, found: Incarnation, expected: Incarnation) -> Result<(), OpenError> {
    if found == expected {
        return Ok(());
    }
    Err(OpenError::Misplaced {
        path: path.to_owned(),
        found: found.0,
        expected: expected.0,
    })
}

fn read_point(
    disk: &dyn Disk,
    layout: &Layout,
    directory_id: Incarnation,
    report: &mut RecoveryReport,
) -> Result<(Arc<dyn DiskFile>, RecoveryPoint), OpenError> {
    let path = layout.recovery_point();
    let mut bytes = read_file(disk, &path)?;
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

/// The checkpoint that the recovery point names: the first of its two copies that is intact.
fn read_checkpoint(
    disk: &dyn Disk,
    layout: &Layout,
    point: &RecoveryPoint,
    report: &mut RecoveryReport,
) -> Result<Checkpoint, OpenError> {
    let mut last = None;
    for path in [
        layout.checkpoint(point.checkpoint),
        layout.checkpoint_copy(point.checkpoint),
    ] {
        let read = match read_file(disk, &path) {
            Ok(bytes) => Checkpoint::decode(&bytes).map_err(|error| (error.to_string(), error)),
            Err(failure) => {
                let error = DecodeError::Short {
                    what: "checkpoint",
                    needed: 96,
                    found: 0,
                };
                Err((failure.to_string(), error))
            }
        };
        match read {
            Ok(checkpoint) => {
                belongs(&path, checkpoint.directory_id, point.directory_id)?;
                return Ok(checkpoint);
            }
            Err((what, source)) => {
                report.damage.push(Damage {
                    path: path.clone(),
                    from: 0,
                    to: 0,
                    log: None,
                    offsets: None,
                    what: format!("{what}; the other copy is used"),
                });
                last = Some(OpenError::Unreadable { path, source });
            }
        }
    }
    Err(last.expect("two copies were tried"))
}

/// The files of the ring, and the numbers of those without a header.
type OpenedJournal = (Vec<Arc<dyn DiskFile>>, Vec<usize>);

fn open_journal(
    disk: &dyn Disk,
    layout: &Layout,
    directory_id: Incarnation,
    report: &mut RecoveryReport,
) -> Result<OpenedJournal, OpenError> {
    let mut files = Vec::new();
    let mut unprepared = Vec::new();
    for number in 0.. {
        let path = layout.journal_file(number);
        if !disk.exists(&path).or_while("looking for", &path)? {
            break;
        }
        let file = disk
            .open(&path, OpenMode::ReadWrite)
            .or_while("opening", &path)?;
        let mut block = vec![0; JournalFileHeader::BYTES];
        let read = file.read_at(0, &mut block).or_while("reading", &path)?;
        match JournalFileHeader::decode(&block[..read]) {
            Ok(header) => belongs(&path, header.directory_id, directory_id)?,
            Err(error) => {
                unprepared.push(files.len());
                // The header comes last: a file without one was never used.
                if block[..read].iter().any(|byte| *byte != 0) {
                    report.damage.push(Damage {
                        path: path.clone(),
                        from: 0,
                        to: JournalFileHeader::BYTES as u64,
                        log: None,
                        offsets: None,
                        what: format!("{error}; its groups are judged one by one"),
                    });
                }
            }
        }
        files.push(file);
    }
    Ok((files, unprepared))
}
