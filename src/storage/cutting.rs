//! Cutting off the end of a log: what lies from an offset on was never a part of it.
//!
//! ```text
//!   begin (locked)            wait                        run (no lock)                  finish (locked)
//!   the log takes nothing ──▶ a checkpoint has all of ──▶ the kept part of the segment ──▶ the log ends
//!   more                      it, nothing is under way    to a new file, a checkpoint     there
//!                                                         with the new end, then files
//! ```
//! The checkpoint decides: before it the log is as it was, and from then on a start cuts off what
//! lies beyond the end that it names, as it does behind any log. No file is made shorter that a
//! reader may have mapped: the segment with the new end is written anew and put in its place.
//!
//! Whoever asks for it has kept what is cut off elsewhere, synced.

use std::io::IoSlice;
use std::path::PathBuf;
use std::sync::Arc;

use super::checkpoint::{NextCheckpoint, clear_other_checkpoints, write_checkpoint};
use super::disk::{Disk, OpenMode};
use super::error::{Closed, CutError, IoFailure, While};
use super::index;
use super::layout::{Layout, SPARE_EXTENSION};
use super::load::{BadHeader, LoadJob};
use super::log::{ActivePoint, Log, LogPoint};
use super::open_files::OpenFiles;
use super::points::Points;
use super::removing::Removal;
use super::segment::{FIRST_BATCH, Segment, remove_file};
use super::store::Storage;
use super::walk::{Step, Walker};
use crate::format::{BatchHeader, DamageRow, IndexKind, LogRow, ProducerRow};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// Bytes that are copied at once.
const COPIED_BYTES: u64 = 1 << 20;

/// Folds the batches that stay in a log, in order, to the producers that its checkpoint knows.
pub trait FoldHeaders: Send + std::fmt::Debug {
    /// Takes the next batch.
    fn header(&mut self, header: &BatchHeader);

    /// The highest fence, and the producers.
    fn rows(&self) -> (u64, Vec<ProducerRow>);
}

/// The log whose end is to be cut off.
#[derive(Debug)]
pub(super) struct Cutting {
    id: Incarnation,
    at: Offset,
    /// The last checkpoint when it began: a later one has all of the log.
    after: u64,
    fold: Option<Box<dyn FoldHeaders>>,
    is_running: bool,
    /// How it ended.
    ended: Option<Cut>,
}

/// One cut, ready to run.
#[derive(Debug)]
pub struct CutJob {
    disk: Arc<dyn Disk>,
    layout: Layout,
    open_files: Arc<OpenFiles>,
    points: Arc<Points>,
    id: Incarnation,
    at: Offset,
    log_start: Offset,
    damage: Vec<DamageRow>,
    segments: Vec<Arc<Segment>>,
    load: Option<LoadJob>,
    others: Vec<LogRow>,
    next: NextCheckpoint,
    fold: Box<dyn FoldHeaders>,
}

/// How a cut ended.
#[derive(Debug)]
pub struct CutEnd {
    id: Incarnation,
    /// What the log is from now on: once a checkpoint says so.
    done: Option<Done>,
    /// What went wrong; before the checkpoint, or behind it.
    error: Option<CutError>,
    is_point_failed: bool,
    /// What was being made of it.
    copy: Option<PathBuf>,
    /// What a crash has left of the log, where this was the first to list it.
    left: Left,
}

/// Files of a log that are nobody's any more, and what is wrong with those that stay.
#[derive(Debug, Default)]
struct Left {
    expired: Vec<Arc<Segment>>,
    spares: Vec<PathBuf>,
    /// Damage that nobody has marked yet.
    bad_headers: Vec<BadHeader>,
}

#[derive(Debug)]
struct Done {
    number: u64,
    point: LogPoint,
    /// The segments before the one with the new end.
    before: Vec<Arc<Segment>>,
}

/// Where a log is cut.
struct Place {
    /// The segment with the new end, by its number.
    segment: usize,
    position: u64,
    start_time: Timestamp,
    last_time: Timestamp,
    last_epoch: LogEpoch,
}

/// How a cut ended: the highest fence and the producers of what is left of the log.
pub type Cut = Result<(u64, Vec<ProducerRow>), CutError>;

impl Storage {
    /// Begins to cut off what a log has from an offset on. It takes nothing more until that is done.
    ///
    /// - `fold`: an empty table; it is given the batches that stay.
    ///
    /// # Errors
    /// [`CutError`]; the log is as it was.
    pub fn begin_cut(
        &mut self,
        id: Incarnation,
        at: Offset,
        fold: Box<dyn FoldHeaders>,
    ) -> Result<(), CutError> {
        if self.cutting.is_some() || self.replacing.is_some() {
            return Err(CutError::Busy);
        }
        let log = self.logs.get_mut(&id).ok_or(CutError::Closed(id))?;
        if log.refused.is_some() {
            return Err(CutError::Closed(id));
        }
        if at <= log.log_start || at >= log.end {
            let within = log.log_start..log.end;
            return Err(CutError::Outside { at, within });
        }
        log.refused = Some(Closed::Cutting);
        log.is_dirty = true;
        self.dirty.insert(id);
        self.cutting = Some(Cutting {
            id,
            at,
            after: self.checkpoints.number(),
            fold: Some(fold),
            is_running: false,
            ended: None,
        });
        self.checkpoints.want();
        self.want_sync();
        Ok(())
    }

    /// Whether the end of this log is being cut off, or another one put in its place.
    #[must_use]
    pub fn is_cut(&self, id: Incarnation) -> bool {
        let cutting = self.cutting.as_ref();
        cutting.is_some_and(|cutting| cutting.id == id) || self.is_replaced(id)
    }

    /// How a cut ended, once.
    pub fn take_cut(&mut self) -> Option<(Incarnation, Cut)> {
        let ended = self.cutting.as_mut()?.ended.take()?;
        let cutting = self.cutting.take()?;
        Some((cutting.id, ended))
    }

    /// Whether a cut can be run now.
    pub(super) fn may_cut(&self) -> bool {
        let Some(cutting) = &self.cutting else {
            return false;
        };
        !cutting.is_running && cutting.ended.is_none() && self.is_at_rest(cutting.id, cutting.after)
    }

    /// Whether the files of a log may be changed by hand: a checkpoint behind `after` vouches for all
    /// that it has, and nothing of the storage is under way or has failed.
    pub(super) fn is_at_rest(&self, id: Incarnation, after: u64) -> bool {
        self.checkpoints.is_settled()
            && self.checkpoints.number() > after
            && self.poisoned().next().is_none()
            && self.is_quiet(id)
    }

    /// Whether all that a log has is in its segments, and a checkpoint vouches for it.
    fn is_quiet(&self, id: Incarnation) -> bool {
        let Some(log) = self.logs.get(&id) else {
            return false;
        };
        let row = self.checkpoints.row(id);
        row.is_some_and(|row| row.end_offset == log.end)
            && log.flushed == log.end
            && log.tail.is_empty()
            && log.queued_bytes == 0
            && log.unsynced_direct.is_empty()
            && !log.direct_in_flight
            && !log.owed_in_flight
            && !log.is_writing_behind
            && !log.is_dirty
            && !self.owing.contains(&id)
            && !self.in_flight.contains_key(&id)
    }

    /// The cut that was begun, once it may be run.
    pub(super) fn plan_cut(&mut self) -> Option<CutJob> {
        if let Some(cutting) = &self.cutting {
            let id = cutting.id;
            // It was deleted meanwhile.
            if !self.logs.contains_key(&id) && cutting.ended.is_none() {
                self.end_cut(Err(CutError::Closed(id)));
                return None;
            }
        }
        if !self.may_cut() {
            return None;
        }
        let cutting = self.cutting.as_mut()?;
        let (id, at) = (cutting.id, cutting.at);
        let within = self.logs.get(&id).map(|log| log.log_start..log.end);
        if let Some(within) = within.filter(|within| at <= within.start) {
            self.reopen(id);
            self.end_cut(Err(CutError::Outside { at, within }));
            return None;
        }
        let fold = cutting.fold.take()?;
        cutting.is_running = true;
        self.forget_indexes(id);
        let log = self.logs.get_mut(&id)?;
        log.cut_at = Some(at);
        let others = self.unchanged_rows(|other| *other == id);
        self.checkpoints.replacing();
        let log = self.logs.get(&id)?;
        Some(CutJob {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            open_files: self.open_files.clone(),
            points: self.points.clone(),
            id,
            at,
            log_start: log.log_start,
            damage: log.damage.clone(),
            segments: log.segments.clone(),
            load: log.plan_load(),
            others,
            next: self.next_checkpoint(self.checkpoints.start),
            fold,
        })
    }

    /// No index of this log is saved that was made before.
    pub(super) fn forget_indexes(&mut self, id: Incarnation) {
        self.unsaved_indexes.retain(|(log, _), _| *log != id);
        self.rebuilt_indexes.retain(|index| index.log() != id);
    }

    /// No index of this segment is saved that was made before.
    pub(super) fn forget_index(&mut self, id: Incarnation, base: Offset) {
        self.unsaved_indexes.remove(&(id, base));
        self.rebuilt_indexes
            .retain(|index| (index.log(), index.base()) != (id, base));
    }

    /// The log takes batches again.
    pub(super) fn reopen(&mut self, id: Incarnation) {
        if let Some(log) = self.logs.get_mut(&id) {
            log.cut_at = None;
            if matches!(log.refused, Some(Closed::Cutting)) {
                log.refused = None;
            }
        }
    }

    fn end_cut(&mut self, ended: Cut) {
        if let Some(cutting) = &mut self.cutting {
            cutting.is_running = false;
            cutting.ended = Some(ended);
        }
    }

    pub(super) fn finish_cut(&mut self, end: CutEnd) {
        let id = end.id;
        self.forget_indexes(id);
        let taken = end.done.as_ref();
        self.checkpoints
            .replaced(taken.map(|done| (done.number, done.point.to_row(id))));
        if end.is_point_failed
            && let Some(CutError::Io(failure)) = &end.error
        {
            self.fail_journal(self.written_through + 1, failure.clone());
        }
        let Some(done) = end.done else {
            if let Some(copy) = end.copy.filter(|_| self.logs.contains_key(&id)) {
                let paths = vec![copy];
                self.removals.push_back(Removal::Spares { log: id, paths });
            }
            self.reopen(id);
            let error = end.error.unwrap_or(CutError::Closed(id));
            tracing::error!(log = %id, %error, "the end of a log was not cut off");
            return self.end_cut(Err(error));
        };
        // Some are of files that are gone: the last handle of one is not closed under a lock.
        let old = self.logs.remove(&id);
        let handles = old.iter().flat_map(|old| old.segments.iter().cloned());
        let handles = handles.collect();
        self.removals.push_back(Removal::Handles(handles));
        let Some(old) = old else {
            return self.end_cut(Err(CutError::Closed(id)));
        };
        let mut log = Log::new(&self.layout, id, old.options, &done.point);
        log.stamp = old.stamp;
        log.log_start = old.log_start;
        log.spares = old.spares;
        let active = std::mem::take(&mut log.segments);
        log.segments = done.before.into_iter().chain(active).collect();
        log.is_loaded = true;
        // Some may have been marked while the cut ran, which its checkpoint does not have.
        log.damage = left_damage(&old.damage, done.point.end);
        if log.damage != done.point.damage {
            log.is_dirty = true;
            self.dirty.insert(id);
        }
        // The log start may have moved while the cut ran.
        let segments = log.take_expired();
        let segments: Vec<_> = end.left.expired.into_iter().chain(segments).collect();
        let paths = end.left.spares;
        if !paths.is_empty() {
            self.removals.push_back(Removal::Spares { log: id, paths });
        }
        if !segments.is_empty() {
            let expired = Removal::Segments { log: id, segments };
            self.removals.push_back(expired);
        }
        log.check();
        tracing::warn!(log = %id, from = %done.point.end, to = %old.end, "the end of a log was cut off");
        self.logs.insert(id, log);
        let stays = |bad: &BadHeader| bad.segment.base < done.point.end;
        for bad in end.left.bad_headers.into_iter().filter(stays) {
            self.mark_damage(&bad.segment, bad.row(), &bad.what);
        }
        // What is left of the files the next start takes away; until then nothing is written to them.
        if let Some(CutError::Io(failure)) = end.error {
            self.close_log(id, &failure);
        }
        self.end_cut(Ok((done.point.fence, done.point.producers)));
    }
}

/// Damage in front of the new end.
fn left_damage(damage: &[DamageRow], at: Offset) -> Vec<DamageRow> {
    let rows = damage.iter().filter(|row| row.first_offset < at);
    rows.cloned().collect()
}

impl CutJob {
    /// Does the work. Call it without any lock.
    #[must_use]
    pub(super) fn run(mut self) -> CutEnd {
        let mut end = CutEnd {
            id: self.id,
            done: None,
            error: None,
            is_point_failed: false,
            copy: None,
            left: Left::default(),
        };
        if let Err(error) = self.cut(&mut end) {
            end.error = Some(error);
        }
        end
    }

    fn cut(&mut self, end: &mut CutEnd) -> Result<(), CutError> {
        if let Some(load) = self.load.take() {
            let older = load.run(&*self.disk, &self.layout)?;
            if !older.faults.is_empty() {
                return Err(CutError::Closed(self.id));
            }
            let mut segments = older.segments;
            segments.append(&mut self.segments);
            self.segments = segments;
            (end.left.expired, end.left.spares) = (older.expired, older.spares);
            end.left.bad_headers = older.bad_headers;
        }
        // Who has yet to open one would cut its file to the length that it is told to have once it is cut,
        // or what is written to a file of its name afterwards.
        for segment in &self.segments {
            segment.settle(&*self.disk, &self.open_files)?;
        }
        let place = self.find()?;
        let segment = self.segments[place.segment].clone();
        let (fence, producers) = self.fold.rows();
        let point = LogPoint {
            log_start: self.log_start,
            end: self.at,
            active: Some(ActivePoint::of(&segment, place.position, place.start_time)),
            last_time: place.last_time,
            last_epoch: place.last_epoch,
            refused: false,
            damage: left_damage(&self.damage, self.at),
            fence,
            producers,
        };
        let new = match place.position < segment.length() {
            true => Some(self.copy(&segment, place.position, end)?),
            false => None,
        };
        self.record(&point, end)?;
        // Not before: whoever opens it indexes what it is told to have, and may have to read all of it.
        segment.set_length(place.position);
        end.done = Some(Done {
            number: self.next.number,
            point,
            before: self.segments[..place.segment].to_vec(),
        });
        Ok(self.remove_rest(&place, &segment, new)?)
    }

    /// Walks through what stays of the log, and gives where it ends.
    fn find(&mut self) -> Result<Place, CutError> {
        let at = self.at;
        let behind = |segment: &Arc<Segment>| segment.id().base < at;
        let last = self.segments.partition_point(behind).checked_sub(1);
        let last = last.ok_or(CutError::NoBatch { at })?;
        for n in 0..=last {
            let segment = self.segments[n].clone();
            let path = segment.id().path();
            let file = self.disk.open(&path, OpenMode::Read);
            let file = file.or_while("opening", &path)?;
            let (id, limit) = (segment.id(), segment.length());
            let mut walker = Walker::new(&*file, id, FIRST_BATCH, limit, id.base);
            let mut place: Option<Place> = None;
            while let Some(step) = walker.step()? {
                let batch = match step {
                    Step::Batch(batch) => batch,
                    // Its producers are not known; what was found of it stays reported.
                    Step::Gap(_) if n < last => continue,
                    Step::Gap(gap) => {
                        let first = gap.first;
                        return Err(CutError::Damaged { first, at });
                    }
                };
                if batch.offsets.end > at {
                    return match place.filter(|_| batch.offsets.start == at) {
                        Some(place) => Ok(place),
                        None => Err(CutError::NoBatch { at }),
                    };
                }
                self.fold.header(&batch.header);
                let time = batch.append_time;
                place = Some(Place {
                    segment: n,
                    position: batch.range.end.into(),
                    start_time: place.map_or(time, |place| place.start_time),
                    last_time: time,
                    last_epoch: batch.header.log_epoch(),
                });
                if n == last && batch.offsets.end == at {
                    return place.ok_or(CutError::NoBatch { at });
                }
            }
        }
        Err(CutError::NoBatch { at })
    }

    /// Writes what stays of a segment to a file of its own, and makes it durable.
    fn copy(&self, segment: &Segment, length: u64, end: &mut CutEnd) -> Result<PathBuf, IoFailure> {
        let path = segment.id().path();
        let new = path.with_extension(SPARE_EXTENSION);
        end.copy = Some(new.clone());
        let from = self.disk.open(&path, OpenMode::Read);
        let from = from.or_while("opening", &path)?;
        let to = self.disk.open(&new, OpenMode::Create);
        let to = to.or_while("creating", &new)?;
        to.set_len(0).or_while("cutting", &new)?;
        let mut at = 0;
        while at < length {
            let bytes = usize::try_from(COPIED_BYTES.min(length - at)).unwrap_or(usize::MAX);
            let mut buffer = vec![0; bytes];
            super::disk::read_exact_at(&*from, at, &mut buffer).or_while("reading", &path)?;
            to.write_at(at, &[IoSlice::new(&buffer)])
                .or_while("writing", &new)?;
            at += bytes as u64;
        }
        to.sync_data().or_while("syncing", &new)?;
        Ok(new)
    }

    /// Takes the checkpoint that says where the log ends from now on.
    fn record(&self, point: &LogPoint, end: &mut CutEnd) -> Result<(), IoFailure> {
        let row = point.to_row(self.id);
        let rows = self.others.iter().cloned().chain([row]).collect();
        write_checkpoint(&*self.disk, &self.layout, &self.next.with(rows))?;
        let pointed = self.points.update_both(|point| {
            point.checkpoint = self.next.number;
            point.is_clean = false;
        });
        // One of its slots may name the checkpoint: nothing may follow where the log ended before.
        end.is_point_failed = pointed.is_err();
        pointed?;
        clear_other_checkpoints(&*self.disk, &self.layout, self.next.number);
        Ok(())
    }

    /// Puts the shorter segment in its place and removes what lies behind it.
    fn remove_rest(
        &self,
        place: &Place,
        segment: &Segment,
        new: Option<PathBuf>,
    ) -> Result<(), IoFailure> {
        let (disk, path) = (&*self.disk, segment.id().path());
        // An index that says more than its segment has is cut first: it is rebuilt where it is short.
        index::trim(disk, segment.id(), place.position)?;
        if let Some(new) = new {
            disk.rename(&new, &path).or_while("renaming", &new)?;
        }
        for later in &self.segments[place.segment + 1..] {
            for kind in [IndexKind::Time, IndexKind::Offset] {
                remove_file(disk, &later.id().index_path(kind))?;
            }
            remove_file(disk, &later.id().path())?;
        }
        let dir = self.layout.log_dir(self.id);
        disk.sync_dir(&dir).or_while("syncing", &dir)
    }
}
