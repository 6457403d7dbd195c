//! Putting a log that was written beside another in its place.
//!
//! ```text
//!   begin (locked)            wait                        run (no lock)                  finish (locked)
//!   the log takes nothing ──▶ a checkpoint has all of ──▶ all of the new one synced,  ──▶ the log is the
//!   more                      it, nothing is under way    the file `switch`, folders,     new one
//!                                                         a checkpoint with its end
//! ```
//! The file `switch` decides: before it the log is as it was, and a start removes the one beside; from
//! then on a start goes on with what is left to do. It names the checkpoint that has the new end, so
//! that it says nothing any more once that was taken. The log's old folder is moved away whole: who
//! reads one of its segments goes on there, and it is removed afterwards.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use super::beside::{BesideLog, BesidePlace, remove_tree};
use super::checkpoint::{NextCheckpoint, clear_other_checkpoints, write_checkpoint};
use super::cutting::Cut;
use super::disk::{Disk, OpenMode};
use super::error::{Closed, CutError, IoFailure, OpenError, While};
use super::layout::Layout;
use super::log::{Log, LogPoint};
use super::points::Points;
use super::removing::Removal;
use super::segment::{Segment, SegmentId};
use super::store::Storage;
use crate::format::{Checkpoint, LogRow};
use crate::types::Incarnation;

/// The log that is to be replaced.
#[derive(Debug)]
pub(super) struct Replacing {
    id: Incarnation,
    /// The last checkpoint when it began: a later one has all of the log.
    after: u64,
    beside: Option<BesideLog>,
    is_running: bool,
    /// How it ended.
    ended: Option<Cut>,
}

/// One replacing, ready to run.
#[derive(Debug)]
pub struct ReplaceJob {
    disk: Arc<dyn Disk>,
    layout: Layout,
    points: Arc<Points>,
    id: Incarnation,
    beside: BesideLog,
    /// The segments of the log that readers may hold.
    old: Vec<Arc<Segment>>,
    others: Vec<LogRow>,
    next: NextCheckpoint,
}

/// How a replacing ended.
#[derive(Debug)]
pub struct ReplaceEnd {
    id: Incarnation,
    number: u64,
    /// What the log is from now on: once it was decided.
    point: Option<LogPoint>,
    beside: BesideLog,
    error: Option<CutError>,
}

impl Storage {
    /// Begins to put a log in the place of the one beside which it was written. That one takes
    /// nothing more until it is done.
    ///
    /// # Errors
    /// [`CutError`] and the log beside; nothing is changed.
    pub fn begin_replace(&mut self, beside: BesideLog) -> Result<(), Box<(BesideLog, CutError)>> {
        let id = beside.id;
        if self.replacing.is_some() || self.cutting.is_some() {
            return Err(Box::new((beside, CutError::Busy)));
        }
        let log = self.logs.get_mut(&id).filter(|log| log.refused.is_none());
        let Some(log) = log else {
            return Err(Box::new((beside, CutError::Closed(id))));
        };
        if beside.end < log.end {
            let (at, within) = (beside.end, log.log_start..log.end);
            return Err(Box::new((beside, CutError::Outside { at, within })));
        }
        log.refused = Some(Closed::Cutting);
        log.is_dirty = true;
        self.dirty.insert(id);
        self.replacing = Some(Replacing {
            id,
            after: self.checkpoints.number(),
            beside: Some(beside),
            is_running: false,
            ended: None,
        });
        self.checkpoints.want();
        self.want_sync();
        Ok(())
    }

    /// Whether this log is being replaced.
    pub(super) fn is_replaced(&self, id: Incarnation) -> bool {
        self.replacing.as_ref().is_some_and(|it| it.id == id)
    }

    /// How a replacing ended, once: the highest fence and the producers of the log as it is now.
    pub fn take_replaced(&mut self) -> Option<(Incarnation, Cut)> {
        let ended = self.replacing.as_mut()?.ended.take()?;
        let replacing = self.replacing.take()?;
        if let Some(beside) = replacing.beside {
            self.removals.push_back(Removal::Beside(beside.place));
        }
        Some((replacing.id, ended))
    }

    /// Whether a replacing can be run now.
    pub(super) fn may_replace(&self) -> bool {
        let Some(replacing) = &self.replacing else {
            return false;
        };
        !replacing.is_running
            && replacing.ended.is_none()
            && self.is_at_rest(replacing.id, replacing.after)
            && !self.has_removals(replacing.id)
    }

    /// Whether files of a log are still to be removed: the new ones may have their names.
    fn has_removals(&self, id: Incarnation) -> bool {
        let waiting = self.checkpoints.waiting_removals();
        self.removals.iter().chain(waiting).any(|it| it.is_of(id))
    }

    /// The replacing that was begun, once it may be run.
    pub(super) fn plan_replace(&mut self) -> Option<ReplaceJob> {
        if let Some(replacing) = &mut self.replacing {
            let id = replacing.id;
            // It was deleted meanwhile, or has failed.
            let is_closed = |log: &Log| !matches!(log.refused, Some(Closed::Cutting));
            if self.logs.get(&id).is_none_or(is_closed) && !replacing.is_running {
                replacing.ended.get_or_insert(Err(CutError::Closed(id)));
                return None;
            }
        }
        if !self.may_replace() {
            return None;
        }
        let replacing = self.replacing.as_mut()?;
        let (id, beside) = (replacing.id, replacing.beside.take()?);
        replacing.is_running = true;
        self.forget_indexes(id);
        let others = self.unchanged_rows(|other| *other == id);
        self.checkpoints.replacing();
        let log = self.logs.get(&id)?;
        Some(ReplaceJob {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            points: self.points.clone(),
            id,
            beside,
            old: log.segments.clone(),
            others,
            next: self.next_checkpoint(self.checkpoints.start),
        })
    }

    pub(super) fn finish_replace(&mut self, end: ReplaceEnd) {
        let id = end.id;
        self.forget_indexes(id);
        let done = end.point.as_ref().filter(|_| end.error.is_none());
        self.checkpoints
            .replaced(done.map(|point| (end.number, point.to_row(id))));
        let ended = match (end.point, end.error) {
            (Some(point), None) => {
                self.put_in_place(id, &point, &end.beside);
                Ok((point.fence, point.producers))
            }
            (decided, error) => {
                let error = error.unwrap_or(CutError::Closed(id));
                tracing::error!(log = %id, %error, "a log was not put in another's place");
                match (decided, &error) {
                    // Nobody may write where the log lay before: the next start goes on.
                    (Some(_), CutError::Io(failure)) => {
                        self.fail_journal(self.written_through + 1, failure.clone());
                    }
                    _ => self.reopen(id),
                }
                Err(error)
            }
        };
        if let Some(replacing) = &mut self.replacing {
            replacing.is_running = false;
            // What is decided and not done is the next start's.
            if self.journal_failed.is_none() {
                replacing.beside = Some(end.beside);
            }
            replacing.ended = Some(ended);
        }
    }

    fn put_in_place(&mut self, id: Incarnation, point: &LogPoint, beside: &BesideLog) {
        let Some(old) = self.logs.remove(&id) else {
            return;
        };
        let mut log = Log::new(&self.layout, id, old.options, point);
        log.stamp = old.stamp;
        let active = std::mem::take(&mut log.segments);
        let before = beside.before.iter().map(|(base, previous, length)| {
            let id = SegmentId::new(&self.layout, id, *base);
            Arc::new(Segment::existing(id, *previous, *length))
        });
        log.segments = before.chain(active).collect();
        log.is_loaded = true;
        log.check();
        // Its spare files went away with the old folder, and so did what was to be removed.
        self.spared.remove(&id);
        self.forget_removals(id);
        tracing::info!(
            log = %id, from = %point.log_start, was = %old.log_start, to = %point.end,
            "a log was put in the place of the one beside which it was written"
        );
        self.logs.insert(id, log);
    }
}

impl ReplaceJob {
    /// Does the work. Call it without any lock.
    #[must_use]
    pub(super) fn run(mut self) -> ReplaceEnd {
        let mut point = None;
        let error = self.replace(&mut point).err();
        ReplaceEnd {
            id: self.id,
            number: self.next.number,
            point,
            beside: self.beside,
            error,
        }
    }

    /// - `decided`: where the log stands, from the moment on from which there is no way back.
    fn replace(&mut self, decided: &mut Option<LogPoint>) -> Result<(), CutError> {
        let point = self.beside.point()?.ok_or(CutError::Closed(self.id))?;
        let row = point.to_row(self.id);
        let switch = self.next.with(vec![row.clone()]);
        let disk = &*self.disk;
        let place = self.beside.place.clone();
        write_switch(disk, &place, &switch, || *decided = Some(point))?;
        // Readers of the old segments wait for the folders.
        let held: Vec<_> = self
            .old
            .iter()
            .map(|segment| segment.move_to(&place))
            .collect();
        swap(disk, &self.layout, &place, self.id)?;
        drop(held);
        let rows = self.others.iter().cloned().chain([row]).collect();
        write_checkpoint(disk, &self.layout, &self.next.with(rows))?;
        self.points.update_both(|point| {
            point.checkpoint = self.next.number;
            point.is_clean = false;
        })?;
        clear_other_checkpoints(disk, &self.layout, self.next.number);
        Ok(())
    }
}

/// Makes the file durable that decides.
///
/// - `decided`: called when it may be there.
fn write_switch(
    disk: &dyn Disk,
    place: &BesidePlace,
    switch: &Checkpoint,
    decided: impl FnOnce(),
) -> Result<(), IoFailure> {
    let (path, new) = (place.switch(), place.switch().with_extension("new"));
    let file = disk.open(&new, OpenMode::Create);
    let file = file.or_while("creating", &new)?;
    file.set_len(0).or_while("cutting", &new)?;
    let bytes = switch.encode();
    file.write_at(0, &[std::io::IoSlice::new(&bytes)])
        .or_while("writing", &new)?;
    file.sync_data().or_while("syncing", &new)?;
    disk.sync_dir(&place.root)
        .or_while("syncing", &place.root)?;
    decided();
    disk.rename(&new, &path).or_while("renaming", &new)?;
    disk.sync_dir(&place.root).or_while("syncing", &place.root)
}

/// Moves the log's folder away and the other one in its place. Doing it twice changes nothing.
fn swap(
    disk: &dyn Disk,
    layout: &Layout,
    place: &BesidePlace,
    id: Incarnation,
) -> Result<(), IoFailure> {
    let is_there = |path: &Path| disk.exists(path).or_while("looking for", path);
    let (here, new, old) = (layout.log_dir(id), place.layout.log_dir(id), place.old());
    let (channels, from) = (layout.channels_dir(), place.layout.channels_dir());
    if is_there(&new)? {
        if is_there(&here)? {
            match is_there(&old)? {
                // Only a part of the first step is there after a power cut.
                true => remove_tree(disk, &here)?,
                false => disk.rename(&here, &old).or_while("renaming", &here)?,
            }
        }
        disk.sync_dir(&place.root)
            .or_while("syncing", &place.root)?;
        layout.channels().sync(disk, &channels)?;
        disk.rename(&new, &here).or_while("renaming", &new)?;
    }
    layout.channels().sync(disk, &channels)?;
    disk.sync_dir(&from).or_while("syncing", &from)
}

/// Goes on, at a start, with what was decided and not done, and removes the rest. Gives the rows of
/// the logs that were replaced behind the last checkpoint.
pub(super) fn finish_at_start(
    disk: &dyn Disk,
    layout: &Layout,
    checkpoint: u64,
    rows: &mut HashMap<Incarnation, LogPoint>,
) -> Result<Vec<BesidePlace>, OpenError> {
    let all = BesidePlace::all(layout);
    let mut left = Vec::new();
    if !disk.exists(&all).or_while("looking for", &all)? {
        return Ok(left);
    }
    for entry in disk.list(&all).or_while("listing", &all)? {
        let Some(id) = entry
            .name
            .parse::<Incarnation>()
            .ok()
            .filter(|_| entry.is_dir)
        else {
            continue;
        };
        let place = BesidePlace::new(layout, id);
        let path = place.switch();
        if disk.exists(&path).or_while("looking for", &path)? {
            let bytes = super::recovery::read_file(disk, &path)?;
            let switch = Checkpoint::decode(&bytes);
            let switch = switch.map_err(|source| OpenError::Unreadable { path, source })?;
            let row = switch.logs.iter().find(|row| row.incarnation == id);
            if let Some(row) = row.filter(|_| switch.number > checkpoint) {
                swap(disk, layout, &place, id)?;
                tracing::warn!(log = %id, "a log was put in another's place at a start");
                rows.insert(id, LogPoint::from_row(row));
            }
        }
        left.push(place);
    }
    Ok(left)
}
