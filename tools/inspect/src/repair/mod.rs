//! `repair` and `undo`: what a disk has lost becomes a fact of the log, everything else is as it was, and all of it can be taken back.
//!
//! ```text
//! lock ─▶ overlay: the broker's own recovery, then the repair of each log ─▶ plan
//!      ─▶ keep the old bytes (lost+found/repair-<n>) ─▶ the same calls on the disk ─▶ verify
//! ```
//! The repair runs first on an overlay that changes nothing. What it did there is the plan; what is applied are the very calls it made,
//! in their order and with their syncs. So a plan can't differ from its application, and a crash leaves what a crashed recovery leaves:
//! the old state, or one from which the old bytes are put back.

mod backup;
pub mod command;
mod overlay;
mod plan;
mod scan;
mod segments;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use npayload::broker::directory::Directory;
use npayload::broker::{BrokerConfig, BrokerOpenError, Recovered, recover};
use npayload::format::{Checkpoint, JournalFileHeader, RecoveryPoint};
use npayload::storage::disk::{Disk, DiskLock, LockError, OpenMode};
use npayload::storage::{Layout, OpenError, RecoveryReport, StorageConfig};
use npayload::types::{Incarnation, Timestamp};

use crate::directory::ACCESS;
use backup::{Backup, State};
use overlay::{Call, Overlay};
use plan::{Action, Plan, Step};
use scan::read;
use segments::{LogRepair, Repair};

/// Groups of a journal file begin behind its header's block.
const FIRST_GROUP: u64 = 4096;

/// What a repair is told from outside.
pub struct Setting<'a> {
    pub disk: Arc<dyn Disk>,
    pub root: &'a Path,
    pub now: Timestamp,
    pub random: &'a mut dyn FnMut() -> u64,
    /// Bytes read or written since the last call.
    pub progress: &'a dyn Fn(u64),
}

/// Name and version, as a gap and a backup tell them.
pub fn tool() -> String {
    format!("npayload-inspect {}", env!("CARGO_PKG_VERSION"))
}

/// Takes the lock of a data directory, which a running broker holds.
///
/// # Errors
/// When somebody else has it.
pub fn lock(disk: &dyn Disk, root: &Path) -> Result<Box<dyn DiskLock>> {
    let layout = Layout::new(root);
    let holder = format!("{}, process {}", tool(), std::process::id());
    match disk.lock(&layout.lock(), holder.as_bytes()) {
        Ok(lock) => Ok(lock),
        Err(LockError::Held { holder }) => bail!(
            "{}: in use by {}; stop it first: a repair changes files that it holds open",
            root.display(),
            holder.lines().next().unwrap_or("an unnamed process")
        ),
        Err(error) => Err(error).with_context(|| format!("lock {}", layout.lock().display())),
    }
}

/// A repair that was thought through, and not carried out.
pub struct Planned {
    pub plan: Plan,
    overlay: Overlay,
}

/// Plans the repair of a data directory. Nothing on the disk is changed.
///
/// - `damaged_indexes`: index files that a check has found damaged.
///
/// # Errors
/// When the directory can't be read, or is damaged in a way that takes more than a repair.
pub fn plan(setting: &mut Setting<'_>, damaged_indexes: &[PathBuf]) -> Result<Planned> {
    let layout = Layout::new(setting.root);
    let below = Overlay::new(setting.disk.clone());
    let mut plan = Plan::default();
    if let Some(unfinished) = unfinished(&below, &layout)? {
        take_back(&unfinished, &mut plan, setting.progress)?;
    }
    // What was taken back is not part of the repair: it is done on the disk before.
    let overlay = Overlay::new(Arc::new(below));
    let disk: Arc<dyn Disk> = Arc::new(overlay.clone());
    let Recovered {
        storage, directory, ..
    } = recover(
        disk.clone(),
        setting.root,
        &config(&*disk, &layout)?,
        "npayload-inspect",
        setting.now,
        setting.random,
    )
    .map_err(|error| advised(&error))?;
    let report = storage.recovery_report().clone();
    if report.is_new {
        bail!("{}: holds no records", setting.root.display());
    }
    let own = storage.directory_id();
    drop(storage);
    recovery_steps(&report, &layout, &mut plan);
    let (point, mut checkpoint) = read_point(&*disk, &layout)?;
    let is_list_lost = report.damage.iter().any(|damage| {
        damage.log.is_none()
            && damage.from >= FIRST_GROUP
            && damage.path.starts_with(layout.journal_dir())
    });
    let before = checkpoint.clone();
    let tool = tool();
    let repair = Repair {
        disk: &*disk,
        layout: &layout,
        now: setting.now,
        tool: &tool,
        progress: setting.progress,
    };
    let has_secret = disk.exists(&layout.secret())?;
    for row in &mut checkpoint.logs {
        let id = row.incarnation;
        let log_start = row
            .log_start
            .max(directory.log_start(id).unwrap_or_default());
        let log = LogRepair {
            all: &repair,
            incarnation: id,
            name: &name_of(&directory, id, own),
            log_start: log_start.0,
            is_irreplaceable: has_secret && name_of(&directory, id, own) == ACCESS,
            is_end_uncertain: id != own
                && row.refuses_writes
                && (is_list_lost || row.damage.is_empty()),
            damaged_indexes: &bases_of(damaged_indexes, &layout.log_dir(id)),
            plan: &mut plan,
        };
        let name = log.name.to_owned();
        log.run(row)
            .with_context(|| format!("repair channel {name}"))?;
    }
    if checkpoint != before {
        write_point(&*disk, &layout, point, checkpoint)?;
    }
    Ok(Planned { plan, overlay })
}

/// Carries a plan out; the number of the repair, to take it back by.
///
/// # Errors
/// When the disk refuses something. What was changed by then is put back by the next repair, or by an undo.
pub fn apply(setting: &mut Setting<'_>, planned: &Planned) -> Result<u64> {
    let layout = Layout::new(setting.root);
    let disk = &*setting.disk;
    if let Some(unfinished) = unfinished(disk, &layout)? {
        take_back(&unfinished, &mut Plan::default(), setting.progress)?;
    }
    let number = Backup::numbers(disk, &layout)?
        .last()
        .map_or(1, |last| last + 1);
    let backup = Backup::new(disk, &layout, number);
    backup.keep(&planned.overlay, &tool(), setting.now)?;
    backup.set_state(State::Applying)?;
    backup.apply(&planned.overlay.calls(), setting.progress)?;
    backup.set_state(State::Applied)?;
    Ok(number)
}

impl Planned {
    /// Bytes that its application writes.
    pub fn bytes(&self) -> u64 {
        let calls = self.overlay.calls();
        let bytes = calls.iter().map(|call| match call {
            Call::Write(_, _, bytes) => bytes.len() as u64,
            _ => 0,
        });
        bytes.sum()
    }
}

/// Takes a repair back: the last one, or the one of this number. Its number.
///
/// # Errors
/// When there is none, or something has been written to the directory since.
pub fn undo(setting: &mut Setting<'_>, number: Option<u64>) -> Result<u64> {
    let layout = Layout::new(setting.root);
    let disk = &*setting.disk;
    let mut chosen = None;
    for candidate in Backup::numbers(disk, &layout)? {
        let backup = Backup::new(disk, &layout, candidate);
        let state = backup.state()?;
        let is_wanted = match number {
            Some(number) => number == candidate,
            None => matches!(
                state,
                Some(State::Applied | State::Applying | State::Undoing)
            ),
        };
        if is_wanted {
            chosen = Some((backup, state));
        }
    }
    let Some((backup, state)) = chosen else {
        match number {
            Some(number) => bail!(
                "there is no repair {number} in {}",
                layout.lost_and_found().display()
            ),
            None => bail!("there is no repair to take back"),
        }
    };
    let number = backup.number();
    let obstacle = match state {
        None => Some("it never changed anything".to_owned()),
        Some(State::Undone) => Some("it was taken back already".to_owned()),
        Some(State::Abandoned) => {
            Some("it was cut short, and a broker has written to the directory since".to_owned())
        }
        Some(State::Applied) => backup.moved_on()?,
        Some(State::Applying | State::Undoing) => (!backup.is_ours()?).then(|| {
            "it was cut short, and a broker has written to the directory since".to_owned()
        }),
    };
    if let Some(obstacle) = obstacle {
        bail!("repair {number} can't be taken back: {obstacle}");
    }
    backup.set_state(State::Undoing)?;
    backup.restore(setting.progress)?;
    backup.set_state(State::Undone)?;
    Ok(number)
}

/// The repair that was cut short, if there is one.
pub fn unfinished<'a>(disk: &'a dyn Disk, layout: &'a Layout) -> Result<Option<Backup<'a>>> {
    for number in Backup::numbers(disk, layout)? {
        let backup = Backup::new(disk, layout, number);
        if backup.state()?.is_some_and(State::is_unfinished) {
            return Ok(Some(backup));
        }
    }
    Ok(None)
}

/// Puts the old bytes back that a repair which was cut short has changed; leaves them, when a broker has gone on from there.
fn take_back(backup: &Backup<'_>, plan: &mut Plan, progress: &dyn Fn(u64)) -> Result<()> {
    let number = backup.number();
    let file = Path::new("lost+found").join(format!("repair-{number}"));
    let what = if backup.is_ours()? {
        backup.restore(progress)?;
        backup.set_state(State::Undone)?;
        "it was cut short and is taken back first"
    } else {
        backup.set_state(State::Abandoned)?;
        "it was cut short, and a broker has gone on from there: it can't be taken back any more"
    };
    plan.steps
        .push(Step::new(Action::Recover, file, 0..0, what));
    Ok(())
}

/// A configuration that keeps the journal's ring as it is.
fn config(disk: &dyn Disk, layout: &Layout) -> Result<BrokerConfig> {
    let mut storage = StorageConfig::default();
    let mut files = 0;
    let mut is_known = false;
    loop {
        let path = layout.journal_file(files);
        if !disk.exists(&path)? {
            break;
        }
        let file = disk
            .open(&path, OpenMode::Read)
            .with_context(|| format!("open {}", path.display()))?;
        let block = read(&*file, 0, FIRST_GROUP)?;
        if let Ok(header) = JournalFileHeader::decode(&block)
            && !is_known
        {
            storage.journal_file_bytes = header.file_bytes;
            is_known = true;
        }
        files += 1;
    }
    storage.journal_files = storage.journal_files.max(files);
    Ok(BrokerConfig {
        storage,
        ..BrokerConfig::default()
    })
}

/// Why a directory can't be repaired, and what to do instead.
fn advised(error: &BrokerOpenError) -> anyhow::Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    let advice = match error {
        BrokerOpenError::Secret(_) => {
            "nobody can make the key again that API keys were hashed under"
        }
        BrokerOpenError::Storage(storage) => match &**storage {
            OpenError::NoRecoveryPoint { .. } => {
                "without the recovery point nobody knows what was promised: restore recovery-point from a backup of this directory, \
                 together with journal/ and checkpoints/ of the same moment"
            }
            OpenError::Unreadable { path, .. } if path.ends_with("npayload.marker") => {
                "restore npayload.marker from any backup of this directory: it never changes"
            }
            OpenError::Unreadable { path, .. } if path.to_string_lossy().contains("checkpoint") => {
                "both copies of the checkpoint are gone: restore checkpoints/, recovery-point and journal/ from a backup of one moment"
            }
            OpenError::Directory(_) | OpenError::BrokenDirectory { .. } => {
                "the log of channels itself is damaged, so nobody knows which channels there are: restore its folder in channels/ (named \
                 by the directory's identity, see npayload-inspect dump npayload.marker) from a backup"
            }
            _ => "nothing was changed",
        },
        _ => {
            "the log of channels itself is damaged, so nobody knows which channels there are: restore its folder in channels/ from a backup"
        }
    };
    anyhow!("{text}; it can't be repaired: {advice}")
}

/// What the broker's own recovery does, as steps.
fn recovery_steps(report: &RecoveryReport, layout: &Layout, plan: &mut Plan) {
    let short = |path: &Path| path.strip_prefix(layout.root()).unwrap_or(path).to_owned();
    if report.groups > 0 {
        let what = format!(
            "{} groups are replayed, {} batches of {} bytes written to their segments",
            report.groups, report.batches, report.bytes
        );
        plan.steps
            .push(Step::new(Action::Recover, "journal", 0..0, what));
    }
    if let Some((path, from, to)) = &report.torn {
        let what = "an unfinished group at the end is cut off; it was never acknowledged";
        plan.steps
            .push(Step::new(Action::Recover, short(path), *from..*to, what));
    }
    let changes = report
        .damage
        .iter()
        .chain(&report.repaired)
        .chain(&report.lost_unsynced);
    for damage in changes {
        let path = short(&damage.path);
        let is_copy = path.starts_with("checkpoints") || path == Path::new("recovery-point");
        let action = if is_copy {
            Action::Copy
        } else {
            Action::Recover
        };
        // What a log has lost is told by its gaps.
        let step = Step::new(action, path, damage.from..damage.to, damage.what.clone());
        plan.steps.push(step);
    }
    for (from, to) in &report.moved {
        let what = format!("goes to {}", short(to).display());
        plan.steps
            .push(Step::new(Action::Move, short(from), 0..0, what));
    }
}

fn name_of(directory: &Directory, id: Incarnation, own: Incarnation) -> String {
    match directory.by_incarnation(id) {
        Some(channel) => channel.name.as_str().to_owned(),
        None if id == own => "__channels".to_owned(),
        None => id.to_string(),
    }
}

/// The base offsets of the segments in `dir` that the index files belong to.
fn bases_of(indexes: &[PathBuf], dir: &Path) -> Vec<u64> {
    let own = indexes.iter().filter(|path| path.parent() == Some(dir));
    let mut bases: Vec<u64> = own
        .filter_map(|path| path.file_stem()?.to_str()?.parse().ok())
        .collect();
    bases.dedup();
    bases
}

fn read_point(disk: &dyn Disk, layout: &Layout) -> Result<(RecoveryPoint, Checkpoint)> {
    let path = layout.recovery_point();
    let file = disk
        .open(&path, OpenMode::Read)
        .with_context(|| format!("open {}", path.display()))?;
    let mut bytes = read(&*file, 0, RecoveryPoint::FILE_BYTES as u64)?;
    bytes.resize(RecoveryPoint::FILE_BYTES, 0);
    let (a, b) = bytes.split_at(RecoveryPoint::SLOT_BYTES);
    let point = RecoveryPoint::newest(a, b).with_context(|| format!("read {}", path.display()))?;
    let path = layout.checkpoint(point.checkpoint);
    let file = disk
        .open(&path, OpenMode::Read)
        .with_context(|| format!("open {}", path.display()))?;
    let checkpoint = Checkpoint::decode(&read(&*file, 0, file.len()?)?)
        .with_context(|| format!("read {}", path.display()))?;
    Ok((point, checkpoint))
}

/// Writes the rows as a new checkpoint, then the recovery point that names it.
fn write_point(
    disk: &dyn Disk,
    layout: &Layout,
    point: RecoveryPoint,
    mut checkpoint: Checkpoint,
) -> Result<()> {
    let before = checkpoint.number;
    checkpoint.number += 1;
    let bytes = checkpoint.encode();
    for path in [
        layout.checkpoint(checkpoint.number),
        layout.checkpoint_copy(checkpoint.number),
    ] {
        let file = disk
            .open(&path, OpenMode::Create)
            .with_context(|| format!("create {}", path.display()))?;
        file.set_len(0)?;
        file.write_at(0, &[IoSlice::new(&bytes)])?;
        file.sync_data()?;
    }
    disk.sync_dir(&layout.checkpoint_dir())?;
    let file = disk.open(&layout.recovery_point(), OpenMode::ReadWrite)?;
    // Both slots name it before the one that they named is removed.
    for step in [1, 2] {
        let next = RecoveryPoint {
            sequence: point.sequence + step,
            checkpoint: checkpoint.number,
            ..point
        };
        let mut slot = vec![0; RecoveryPoint::SLOT_BYTES];
        slot[..RecoveryPoint::BYTES].copy_from_slice(&next.encode());
        file.write_at(next.slot_position(), &[IoSlice::new(&slot)])?;
        file.sync_data()?;
    }
    for path in [layout.checkpoint(before), layout.checkpoint_copy(before)] {
        disk.remove_file(&path)?;
    }
    disk.sync_dir(&layout.checkpoint_dir())?;
    Ok(())
}

/// Logs of a directory that refuse writes or know of damage, as its checkpoint has it; none when it can't be read.
pub fn has_known_damage(disk: &dyn Disk, root: &Path) -> bool {
    let layout = Layout::new(root);
    let damaged: Option<BTreeMap<Incarnation, bool>> =
        read_point(disk, &layout).ok().map(|(_, checkpoint)| {
            let rows = checkpoint.logs.into_iter();
            rows.map(|row| {
                (
                    row.incarnation,
                    row.refuses_writes || !row.damage.is_empty(),
                )
            })
            .collect()
        });
    damaged.is_some_and(|logs| logs.into_values().any(|is_damaged| is_damaged))
}
