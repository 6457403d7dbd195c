//! The first steps of an opening: whose directory it is, and what the journal holds.

mod files;
mod making;
mod ring;
mod vouched;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(in crate::storage) use self::files::read_file;
pub(super) use self::files::write_file;
use super::super::beside::BesidePlace;
use super::super::disk::{Disk, DiskLock, LockError};
use super::super::error::{IoFailure, OpenError, While};
use super::super::layout::Layout;
use super::super::log::LogPoint;
use super::super::open_files::OpenFiles;
use super::super::points::Points;
use super::super::replacing::finish_at_start;
use super::super::store::StorageConfig;
use super::RecoveryReport;
use super::ahead::Ahead;
use super::batches::Batches;
use super::owed::Owed;
use super::pieces::Piece;
use super::room;
use super::scan::{JournalFiles, Scan};
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
    making::refuse_foreign(&*disk, &layout)?;
    if making::is_unmade(&*disk, &layout)? {
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
    if making::is_unmade(&*disk, &layout)? {
        making::make(&*disk, &layout, &config, now, random)?;
        report.is_new = true;
    }
    making::keep_names(&*disk, &layout)?;
    let marker = vouched::read_marker(&*disk, &layout)?;
    let (file, point) = vouched::read_point(&*disk, &layout, marker.directory_id, &mut report)?;
    let (checkpoint, damaged_checkpoints) =
        vouched::read_checkpoint(&*disk, &layout, &point, &mut report)?;
    report.was_clean = point.is_clean;
    let needed = checkpoint.journal_file.max(point.flushed_file);
    let opened = ring::open(&*disk, &layout, marker.directory_id, needed, &mut report)?;
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
