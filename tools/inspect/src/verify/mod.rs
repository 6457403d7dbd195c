//! `verify`: is everything that was promised still there?
//!
//! The recovery point and what later groups vouch for say which part of the journal is promised; the checkpoint and the references
//! in the journal say it of the segments. Whatever lies beyond was never acknowledged as synced, and is no damage whatever it is.

mod fixed;
mod index;
pub mod journal;
mod log;
pub mod walk;

#[cfg(test)]
pub(crate) mod broker_tests;
#[cfg(test)]
mod flip_tests;
#[cfg(test)]
pub(crate) mod key_tests;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressStyle};
use npayload::format::{
    BATCH_HEADER_BYTES, BatchHeader, Checkpoint, IndexKind, RecoveryPoint, SegmentHeader,
    check_stored,
};
use npayload::types::Incarnation;

use crate::directory::{self, ACCESS, Channels};
use crate::layout::{self, MARKER, Numbered, SECRET};
use crate::report::{FileReport, Kind, Report};
use crate::source::Source;
use journal::{Expected, JournalCheck, JournalFile, LogEnd, Place, Promised};
use log::{LogCheck, Promise, SegmentCheck};
use walk::FIRST_BATCH;

/// A directory smaller than this is done before a bar would be read.
const PROGRESS_FROM_BYTES: u64 = 256 << 20;
/// How often files that look damaged are looked at again while a broker is changing the directory.
const ATTEMPTS: u32 = 5;

/// Verifies a data directory, or one file.
///
/// # Errors
/// When the path is neither, or can't be read.
pub fn run(path: &Path) -> Result<Report> {
    if path.is_dir() {
        if !layout::is_data_directory(path) {
            bail!(
                "{}: not a data directory: it has neither {MARKER} nor recovery-point",
                path.display()
            );
        }
        return verify_directory(path, None);
    }
    let kind = layout::kind_of(path)?;
    match layout::data_directory_of(path) {
        Some(directory) => verify_directory(&directory, Some(path)),
        None => verify_alone(path, kind).with_context(|| format!("read {}", path.display())),
    }
}

/// Verifies what `only` names, or everything. Files that look damaged while a broker is at work are looked at again.
fn verify_directory(directory: &Path, only: Option<&Path>) -> Result<Report> {
    let read = || format!("read {}", directory.display());
    let mut wanted: Option<BTreeSet<PathBuf>> = only.map(|path| BTreeSet::from([path.to_owned()]));
    let mut files: BTreeMap<PathBuf, FileReport> = BTreeMap::new();
    let mut attempt = 1;
    loop {
        let before = fingerprint(directory);
        let is_wanted = |path: &Path| wanted.as_ref().is_none_or(|wanted| wanted.contains(path));
        let bar = progress_bar(directory, wanted.is_some());
        let (found, notes) = Pass::new(directory, &is_wanted, &|bytes| bar.inc(bytes))
            .run()
            .with_context(read)?;
        bar.finish_and_clear();
        if let Some(wanted) = &wanted {
            files.retain(|path, _| !wanted.contains(path));
        }
        files.extend(
            found
                .into_iter()
                .map(|report| (report.path.clone(), report)),
        );
        let damaged: BTreeSet<PathBuf> = files
            .values()
            .filter(|report| !report.damage.is_empty())
            .map(|report| report.path.clone())
            .collect();
        if damaged.is_empty() || attempt == ATTEMPTS || fingerprint(directory) == before {
            return Ok(Report::new(files.into_values().collect(), notes));
        }
        wanted = Some(damaged);
        std::thread::sleep(Duration::from_millis(20 * u64::from(attempt)));
        attempt += 1;
    }
}

/// What changes when a broker writes: the recovery point, and the times of the journal's files.
fn fingerprint(directory: &Path) -> (Option<Vec<u8>>, Vec<Option<SystemTime>>) {
    let journal = layout::numbered(&directory.join("journal"), &["journal"], &mut Vec::new());
    let times = journal
        .unwrap_or_default()
        .iter()
        .map(|file| {
            std::fs::metadata(&file.path)
                .and_then(|file| file.modified())
                .ok()
        })
        .collect();
    (std::fs::read(directory.join("recovery-point")).ok(), times)
}

/// A bar over the bytes of the segments, hidden where nobody would look at it.
fn progress_bar(directory: &Path, again: bool) -> ProgressBar {
    let total = if again {
        0
    } else {
        segment_bytes(directory).unwrap_or(0)
    };
    if total < PROGRESS_FROM_BYTES {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:40} {bytes}/{total_bytes} {eta}");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn segment_bytes(directory: &Path) -> io::Result<u64> {
    let mut total = 0;
    for (_, folder) in layout::logs(directory, &mut Vec::new())? {
        for entry in std::fs::read_dir(folder)? {
            total += entry?.metadata()?.len();
        }
    }
    Ok(total)
}

/// One look at a data directory.
struct Pass<'a> {
    directory: &'a Path,
    wanted: &'a dyn Fn(&Path) -> bool,
    progress: &'a dyn Fn(u64),
    files: Vec<FileReport>,
    notes: Vec<String>,
    strangers: Vec<PathBuf>,
}

impl<'a> Pass<'a> {
    fn new(
        directory: &'a Path,
        wanted: &'a dyn Fn(&Path) -> bool,
        progress: &'a dyn Fn(u64),
    ) -> Self {
        Self {
            directory,
            wanted,
            progress,
            files: Vec::new(),
            notes: Vec::new(),
            strangers: Vec::new(),
        }
    }

    fn run(mut self) -> io::Result<(Vec<FileReport>, Vec<String>)> {
        let directory_id = match fixed::marker(&self.directory.join(MARKER)) {
            Ok((report, directory_id)) => {
                self.add(report);
                directory_id
            }
            Err(error) => {
                self.missing(MARKER, Kind::Marker, &error)?;
                None
            }
        };
        let points =
            match fixed::recovery_point(&self.directory.join("recovery-point"), directory_id) {
                Ok((report, points)) => {
                    self.add(report);
                    points
                }
                Err(error) => {
                    self.missing("recovery-point", Kind::RecoveryPoint, &error)?;
                    Vec::new()
                }
            };
        let directory_id = directory_id.or(points.first().map(|point| point.directory_id));
        let has_secret = match fixed::secret(&self.directory.join(SECRET), directory_id) {
            Ok(report) => {
                self.add(report);
                true
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(error),
        };
        let checkpoint = self.checkpoints(directory_id, &points)?;
        let promised = self.journal(directory_id, &points, checkpoint.as_ref())?;
        let has_keys = self.logs(directory_id, checkpoint.as_ref(), &promised)?;
        if has_keys && !has_secret {
            self.missing(SECRET, Kind::Secret, &io::ErrorKind::NotFound.into())?;
        }
        for path in layout::snapshots(self.directory)? {
            self.add(fixed::snapshot(&path)?);
        }
        for path in std::mem::take(&mut self.strangers) {
            let path = path.strip_prefix(self.directory).unwrap_or(&path).display();
            self.notes
                .push(format!("{path}: belongs to nothing, not checked"));
        }
        let wanted = self.wanted;
        self.files.retain(|report| wanted(&report.path));
        Ok((self.files, self.notes))
    }

    fn add(&mut self, report: FileReport) {
        self.files.push(report);
    }

    /// Books a file that has to be there as missing; any other error ends the run.
    fn missing(&mut self, name: &str, kind: Kind, error: &io::Error) -> io::Result<()> {
        if error.kind() != io::ErrorKind::NotFound {
            return Err(io::Error::new(error.kind(), format!("{name}: {error}")));
        }
        let mut report = FileReport::new(&self.directory.join(name), kind);
        report.damaged(0, 0, "the file is missing");
        self.add(report);
        Ok(())
    }

    /// Checks every checkpoint and copy; the one that the recovery point names, or with a damaged recovery point the newest.
    fn checkpoints(
        &mut self,
        directory_id: Option<Incarnation>,
        points: &[RecoveryPoint],
    ) -> io::Result<Option<Checkpoint>> {
        let folder = self.directory.join("checkpoints");
        let files = layout::numbered(&folder, &["checkpoint", "copy"], &mut self.strangers)?;
        let is_point = |report: &&FileReport| report.kind == Kind::RecoveryPoint;
        let is_sure = self
            .files
            .iter()
            .filter(is_point)
            .all(|report| report.damage.is_empty());
        let named = points.first().map_or(0, |point| point.checkpoint);
        let mut newest: Option<Checkpoint> = None;
        let mut seen = 0;
        for Numbered { number, path } in files {
            let (mut report, found) = match fixed::checkpoint(&path, Some(number), directory_id) {
                // A running broker has replaced it meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                found => found?,
            };
            if number > named && is_sure {
                // Written, but not yet referred to: it may be half there.
                report.used_ranges.clear();
                if report.damage.drain(..).count() > 0 {
                    report.note("never finished");
                }
            } else if let Some(found) = found
                && newest
                    .as_ref()
                    .is_none_or(|newest| newest.number < found.number)
            {
                newest = Some(found);
            }
            seen += u32::from(number == named);
            self.add(report);
        }
        if is_sure && named > 0 && seen < 2 {
            for extension in ["checkpoint", "copy"] {
                let name = format!("checkpoints/{named:020}.{extension}");
                if !self.directory.join(&name).exists() {
                    self.missing(&name, Kind::Checkpoint, &io::ErrorKind::NotFound.into())?;
                }
            }
        }
        Ok(newest.filter(|newest| newest.number >= named))
    }

    /// Checks the journal; what its promised part says of other files.
    fn journal(
        &mut self,
        directory_id: Option<Incarnation>,
        points: &[RecoveryPoint],
        checkpoint: Option<&Checkpoint>,
    ) -> io::Result<Promised> {
        let folder = self.directory.join("journal");
        let mut files = Vec::new();
        for Numbered { number, path } in
            layout::numbered(&folder, &["journal"], &mut self.strangers)?
        {
            let Ok(number) = u32::try_from(number) else {
                self.strangers.push(path);
                continue;
            };
            files.push(JournalFile::open(
                Source::open(&path)?,
                Some(number),
                directory_id,
            )?);
        }
        let Some(newest) = points.first() else {
            self.notes.push(
                "groups of the journal not checked: no recovery point to judge them by".to_owned(),
            );
            self.files.extend(files.into_iter().map(|file| file.report));
            return Ok(Promised::default());
        };
        if checkpoint.is_none() && newest.checkpoint > 0 {
            self.notes
                .push("groups of the journal not checked: no checkpoint to start from".to_owned());
            self.files.extend(files.into_iter().map(|file| file.report));
            return Ok(Promised::default());
        }
        // Every start begins with a checkpoint, so one start wrote all groups that follow it.
        let epoch = checkpoint.map_or(newest.epoch, |checkpoint| checkpoint.epoch);
        let epoch = epoch.max(newest.epoch);
        let expected = Expected {
            start: checkpoint.map_or_else(Place::default, |checkpoint| Place {
                group: checkpoint.journal_group,
                file: checkpoint.journal_file,
                position: u64::from(checkpoint.journal_position),
            }),
            flushed: Place {
                group: newest.flushed_group,
                file: newest.flushed_file,
                position: u64::from(newest.flushed_end),
            },
            epoch,
            salt: points
                .iter()
                .find(|point| point.epoch == epoch)
                .map(|point| point.salt),
            wanted: directory_id,
        };
        let ends = checkpoint
            .into_iter()
            .flat_map(|checkpoint| &checkpoint.logs)
            .map(|row| {
                let offset = row.end_offset.0;
                (
                    row.incarnation,
                    LogEnd {
                        offset,
                        is_exact: false,
                    },
                )
            });
        let promised = JournalCheck::new(&expected, &mut files, ends.collect()).run()?;
        self.files.extend(files.into_iter().map(|file| file.report));
        Ok(promised)
    }

    /// Checks every log; whether there are API keys, which need the secret file.
    fn logs(
        &mut self,
        directory_id: Option<Incarnation>,
        checkpoint: Option<&Checkpoint>,
        promised: &Promised,
    ) -> io::Result<bool> {
        let rows: BTreeMap<_, _> = checkpoint
            .into_iter()
            .flat_map(|checkpoint| &checkpoint.logs)
            .map(|row| (row.incarnation, row))
            .collect();
        let folder_of = |log: Incarnation| self.directory.join("channels").join(log.to_string());
        let channels = match directory_id {
            Some(own) => {
                let row = rows.get(&own).copied();
                Channels::read(&folder_of(own), own, row, promised)?
            }
            None => Channels::default(),
        };
        let mut key_logs = promised.key_logs.iter();
        let mut has_keys = key_logs.any(|log| channels.name_of(*log) == Some(ACCESS));
        let mut folders: BTreeMap<_, _> = rows.keys().map(|log| (*log, folder_of(*log))).collect();
        folders.extend(layout::logs(self.directory, &mut self.strangers)?);
        for (incarnation, folder) in folders {
            let is_deleted = channels.is_deleted(incarnation);
            let row = rows.get(&incarnation).copied().filter(|_| !is_deleted);
            let name = channels.name_of(incarnation);
            if name == Some(ACCESS) && !has_keys {
                has_keys = directory::has_keys(&folder, incarnation, row)?;
            }
            if let Some(row) = row.filter(|row| row.refuses_writes || !row.damage.is_empty()) {
                let writes = if row.refuses_writes {
                    "; it refuses writes"
                } else {
                    ""
                };
                let name = name.unwrap_or("of no known channel");
                let damages = row.damage.len();
                self.notes.push(format!(
                    "log {incarnation} ({name}): {damages} known damages{writes}"
                ));
            }
            let check = LogCheck {
                folder: &folder,
                incarnation,
                row,
                log_start: row
                    .map_or(0, |row| row.log_start.0)
                    .max(channels.log_start(incarnation).0),
                may_lack: channels.is_damaged(),
                references: if is_deleted {
                    &[]
                } else {
                    &promised.references
                },
            };
            let found = check.run(self.wanted, &mut self.strangers, self.progress)?;
            self.files
                .extend(found.into_iter().map(|report| FileReport {
                    channel: name.map(str::to_owned),
                    ..report
                }));
        }
        Ok(has_keys)
    }
}

/// Verifies a file that lies in no data directory, as far as it speaks for itself.
fn verify_alone(path: &Path, kind: Kind) -> io::Result<Report> {
    let mut notes = Vec::new();
    let files = match kind {
        Kind::Marker => vec![fixed::marker(path)?.0],
        Kind::Secret => vec![fixed::secret(path, None)?],
        Kind::Snapshot => vec![fixed::snapshot(path)?],
        Kind::RecoveryPoint => vec![fixed::recovery_point(path, None)?.0],
        Kind::Checkpoint => vec![fixed::checkpoint(path, None, None)?.0],
        Kind::Journal => {
            notes.push("groups not checked: that needs the recovery point beside them".to_owned());
            let number = path
                .file_stem()
                .and_then(|stem| stem.to_str()?.parse().ok());
            vec![JournalFile::open(Source::open(path)?, number, None)?.report]
        }
        Kind::Segment => segment_alone(path)?,
        Kind::OffsetIndex | Kind::TimeIndex => index_alone(path, kind)?,
        Kind::Batches => vec![batches_alone(path)?],
    };
    let wanted = files
        .into_iter()
        .filter(|report| report.path == path)
        .collect();
    Ok(Report::new(wanted, notes))
}

fn segment_alone(path: &Path) -> io::Result<Vec<FileReport>> {
    let source = Source::open(path)?;
    match SegmentHeader::decode(&source.read(0, FIRST_BATCH)?) {
        Ok(header) => SegmentCheck {
            path: path.to_owned(),
            incarnation: header.incarnation,
            base_offset: header.base_offset.0,
            promise: Promise::Sealed(None),
            end_offset: None,
            last_append_time: None,
            references: Vec::new(),
        }
        .run(),
        Err(error) => {
            let mut report = FileReport::new(path, Kind::Segment);
            report.checked(0, FIRST_BATCH);
            report.damaged(0, FIRST_BATCH, error);
            report.note("batches not checked: only the header says which log they belong to");
            Ok(vec![report])
        }
    }
}

/// Batches that were taken out of a log, end to end: each is whole, and follows the one before. Of an
/// outbox those between may have been carried to their home.
fn batches_alone(path: &Path) -> io::Result<FileReport> {
    let source = Source::open(path)?;
    let mut report = FileReport::new(path, Kind::Batches);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let is_of_outbox = name.contains("__outbox.");
    let (mut at, mut next) = (0, None);
    while at < source.len() {
        let head = source.read(at, BATCH_HEADER_BYTES as u64)?;
        let header = match BatchHeader::peek(&head) {
            Ok(header) => header,
            Err(error) => {
                report.checked(at, source.len());
                report.damaged(at, source.len(), error);
                return Ok(report);
            }
        };
        let end = at + header.len() as u64;
        report.checked(at, end.min(source.len()));
        if let Err(error) = check_stored(&source.read(at, header.len() as u64)?) {
            report.damaged(at, end.min(source.len()), error);
        } else if next.is_some_and(|next| {
            let base = header.base_offset();
            base < next || (base > next && !is_of_outbox)
        }) {
            report.damaged(at, end, "it does not follow the batch before it");
        }
        (at, next) = (end, Some(header.end_offset()));
    }
    Ok(report)
}

/// An index beside its segment is checked against it, one alone against its own checksums.
fn index_alone(path: &Path, kind: Kind) -> io::Result<Vec<FileReport>> {
    let segment = path.with_extension("log");
    if segment.is_file() {
        return segment_alone(&segment);
    }
    let kind = match kind {
        Kind::TimeIndex => IndexKind::Time,
        _ => IndexKind::Offset,
    };
    index::alone(path, kind)
}
