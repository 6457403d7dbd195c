//! The first steps of an opening: whose directory it is, and what the journal holds.

use std::collections::HashMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::super::beside::BesidePlace;
use super::super::checkpoint::write_checkpoint;
use super::super::disk::{Disk, DiskFile, DiskLock, LockError, OpenMode};
use super::super::error::{IoFailure, OpenError, While};
use super::super::journal::{FIRST_GROUP, prepare_file};
use super::super::layout::Layout;
use super::super::log::LogPoint;
use super::super::open_files::OpenFiles;
use super::super::points::Points;
use super::super::replacing::finish_at_start;
use super::super::store::StorageConfig;
use super::ahead::Ahead;
use super::batches::Batches;
use super::owed::Owed;
use super::pieces::Piece;
use super::room;
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
    /// Segments that were replayed into and are not synced yet. First, so that the lock is held as
    /// long as a sync is under way.
    pub(super) owed: Owed,
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
    /// Copies of the checkpoint that can't be read.
    pub(super) damaged_checkpoints: Vec<PathBuf>,
    pub(super) salt: u64,
    pub(super) directory_log: Option<super::Replayed>,
    /// What was written beside logs: in its place, or given up.
    pub(super) beside: Vec<BesidePlace>,
    /// What the logs that are being replayed have in the journal.
    pub(super) batches: Batches,
}

/// Opens a data directory, making it if it is new.
///
/// - `holder`: what the lock file says of this process to another that finds it locked.
/// - `random`: 64 random bits at each call.
///
/// # Errors
/// [`OpenError`]; nothing that a directory holds was changed then.
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
    if is_unmade(&*disk, &layout)? {
        if config.must_exist {
            return Err(OpenError::Missing {
                path: root.to_owned(),
            });
        }
        room::refuse_small(&*disk, &layout, &config)?;
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
    keep_names(&*disk, &layout)?;
    let marker = read_marker(&*disk, &layout)?;
    let (file, point) = read_point(&*disk, &layout, marker.directory_id, &mut report)?;
    let (checkpoint, damaged_checkpoints) = read_checkpoint(&*disk, &layout, &point, &mut report)?;
    report.was_clean = point.is_clean;
    let needed = checkpoint.journal_file.max(point.flushed_file);
    let opened = open_journal(&*disk, &layout, marker.directory_id, needed, &mut report)?;
    let mut journal = JournalFiles {
        unprepared: opened.unprepared,
        layout: layout.clone(),
        files: opened.files,
        salt: point.salt,
        epoch: point.epoch,
        piece: Piece::default(),
    };
    let from = (
        checkpoint.journal_file as usize,
        u64::from(checkpoint.journal_position),
        checkpoint.journal_group,
    );
    // After a clean stop next to nothing of it is looked at.
    let ahead =
        (!point.is_clean).then(|| Ahead::begin(&journal.files, from.0, config.journal_file_bytes));
    let mut scan = journal.scan(from, &point, &mut report)?;
    drop(ahead);
    journal.piece.forget();
    scan.damaged_files.extend(opened.damaged);
    let rows = checkpoint.logs.iter();
    let rows = rows.map(|row| (row.incarnation, LogPoint::from_row(row)));
    let mut rows = rows.collect();
    let beside = finish_at_start(&*disk, &layout, checkpoint.number, &mut rows)?;
    let open_files = Arc::new(OpenFiles::new(config.max_open_segments));
    Ok(Unrecovered {
        owed: Owed::default(),
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
        damaged_checkpoints,
        salt: random(),
        directory_log: None,
        beside,
        batches: Batches::default(),
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
    Ok(())
}

/// Makes the directory's own name and those in it durable. A start that made the directory may
/// have been killed before it came to that, and left no trace of it.
fn keep_names(disk: &dyn Disk, layout: &Layout) -> Result<(), IoFailure> {
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

pub(super) fn write_file(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<(), IoFailure> {
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
fn read_checkpoint(
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

/// The files of the ring.
struct OpenedJournal {
    files: Vec<Arc<dyn DiskFile>>,
    /// Numbers of those to be prepared anew.
    unprepared: Vec<usize>,
    /// Numbers of those with damage.
    damaged: Vec<usize>,
}

/// Opens the ring: all files that are there, and at least those up to `needed`.
fn open_journal(
    disk: &dyn Disk,
    layout: &Layout,
    directory_id: Incarnation,
    needed: u32,
    report: &mut RecoveryReport,
) -> Result<OpenedJournal, OpenError> {
    let mut opened = OpenedJournal {
        files: Vec::new(),
        unprepared: Vec::new(),
        damaged: Vec::new(),
    };
    let dir = layout.journal_dir();
    let entries = disk.list(&dir).or_while("listing", &dir)?;
    let numbers = entries
        .iter()
        .filter_map(|entry| journal_number(&entry.name));
    let last = numbers.max().unwrap_or(0).max(needed);
    for number in 0..=last {
        let path = layout.journal_file(number);
        let mut damaged = |from: u64, to: u64, what: String| {
            report.damage.push(Damage {
                path: path.clone(),
                from,
                to,
                log: None,
                offsets: None,
                what: format!("{what}; its groups are judged one by one"),
            });
            opened.damaged.push(number as usize);
        };
        let file = match disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                damaged(0, 0, "the file is missing".to_owned());
                opened.unprepared.push(number as usize);
                opened.files.push(Arc::new(NoFile));
                continue;
            }
            Err(error) => return Err(IoFailure::new("opening", &path, error).into()),
        };
        let len = file.len().or_while("reading the length of", &path)?;
        let mut block = vec![0; JournalFileHeader::BYTES];
        let read = file.read_at(0, &mut block).or_while("reading", &path)?;
        match JournalFileHeader::decode(&block[..read]) {
            Ok(header) => {
                belongs(&path, header.directory_id, directory_id)?;
                if header.number != number {
                    let what = format!("it is file {} of the ring", header.number);
                    damaged(0, JournalFileHeader::BYTES as u64, what);
                    opened.unprepared.push(number as usize);
                } else if header.file_bytes != len {
                    let what = format!("{len} bytes, its header says {}", header.file_bytes);
                    let (from, to) = (header.file_bytes.min(len), header.file_bytes.max(len));
                    damaged(from, to, what);
                    opened.unprepared.push(number as usize);
                }
            }
            Err(error) => {
                opened.unprepared.push(number as usize);
                // The header comes last: a file without one was never used.
                if block[..read].iter().any(|byte| *byte != 0) || is_used(&*file, &path)? {
                    damaged(0, JournalFileHeader::BYTES as u64, error.to_string());
                }
            }
        }
        opened.files.push(file);
    }
    room::give_back(&opened.files, &opened.unprepared, needed);
    Ok(opened)
}

/// Whether a group could stand at the beginning of a journal file.
fn is_used(file: &dyn DiskFile, path: &Path) -> Result<bool, IoFailure> {
    let mut block = vec![0; JournalFileHeader::BYTES];
    let read = file.read_at(FIRST_GROUP, &mut block);
    let read = read.or_while("reading", path)?;
    Ok(block[..read].iter().any(|byte| *byte != 0))
}

/// The number of a journal file, if `name` is that of one.
fn journal_number(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".journal")?;
    let number = digits.parse().ok().filter(|_| digits.len() >= 4)?;
    (format!("{number:04}") == digits && number < MAX_FILES).then_some(number)
}

/// A ring is never longer; a file of a higher number is none of it.
const MAX_FILES: u32 = 10_000;

/// A file of the ring that is missing: nothing can be read from it.
#[derive(Debug)]
struct NoFile;

impl DiskFile for NoFile {
    fn write_at(&self, _: u64, _: &[IoSlice<'_>]) -> std::io::Result<()> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn read_at(&self, _: u64, _: &mut [u8]) -> std::io::Result<usize> {
        Ok(0)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        Ok(())
    }

    fn len(&self) -> std::io::Result<u64> {
        Ok(0)
    }

    fn set_len(&self, _: u64) -> std::io::Result<()> {
        Ok(())
    }

    fn map(&self, _: std::ops::Range<u64>) -> std::io::Result<bytes::Bytes> {
        Err(std::io::ErrorKind::InvalidInput.into())
    }
}
