//! Brings every log to where the journal says it was.

mod compare;
mod gather;
mod items;
mod segments;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use self::compare::Compared;
use super::super::checkpoint::{Checkpoints, remove_other_checkpoints, write_checkpoint};
use super::super::error::{IoFailure, OpenError, ReadError, While};
use super::super::journal::{FIRST_GROUP, Journal, MIN_FILES, prepare_file};
use super::super::log::{Log, LogOptions, LogPoint, ReadPlan};
use super::super::removing::remove_log_dir;
use super::super::segment::{Segment, Wanted};
use super::super::store::Storage;
use super::Unrecovered;
use super::batches::Batches;
use super::scan::FoundItem;
use crate::format::{BatchHeader, Checkpoint, LogRow, ProducerRow, check_stored};
use crate::types::{Durability, Incarnation, LogEpoch, Offset, Timestamp};

/// A log that the directory says is alive.
#[derive(Debug, Clone, Copy)]
pub struct LiveLog {
    /// Its configuration.
    pub options: LogOptions,
    /// Its log start.
    pub log_start: Offset,
    /// Offset of the first record that it ever had: 0, or higher in a copy that was not asked for
    /// what came before.
    pub begins_at: Offset,
}

/// Where a log stands after its replay.
#[derive(Debug)]
pub struct Replayed {
    /// Its position, with the producers that the checkpoint knew.
    pub point: LogPoint,
    /// The batches after the checkpoint, in order: what to fold onto those producers.
    pub headers: Vec<BatchHeader>,
}

/// Folds a log's replayed batches onto the producers that its checkpoint knew: the highest fence
/// and the rows of the next checkpoint.
pub type FoldProducers<'a> = dyn Fn(Incarnation, &Replayed) -> (u64, Vec<ProducerRow>) + 'a;

/// The options of the log that holds the directory of all others.
pub(super) fn directory_options(segment_bytes: u64) -> LogOptions {
    LogOptions {
        segment_bytes,
        durability: Durability::Synced,
        sync_interval_ms: 0,
    }
}

impl Unrecovered {
    /// Identity of the data directory, and of the log that holds its directory of logs.
    #[must_use]
    pub fn directory_id(&self) -> Incarnation {
        self.directory_id
    }

    /// Replays the directory's own log and gives all its batches in order.
    ///
    /// # Errors
    /// [`OpenError`] when it can't be read whole: without it nobody knows which logs there are.
    pub fn replay_directory(&mut self) -> Result<Vec<Bytes>, OpenError> {
        let id = self.directory_id;
        self.check_directory()?;
        let options = directory_options(self.config.own_segment_bytes);
        let live = LiveLog {
            options,
            log_start: Offset(0),
            begins_at: Offset(0),
        };
        self.want_batches(&[id]);
        let replayed = self.replay(id, &live)?;
        self.sync_owed()?;
        let log = Log::new(&self.layout, id, options, &replayed.point);
        self.directory_log = Some(replayed);
        self.read_all(log)
    }

    /// All batches of a log, one by one, each checked to the last byte.
    fn read_all(&self, mut log: Log) -> Result<Vec<Bytes>, OpenError> {
        let mut batches = Vec::new();
        let mut from = log.log_start;
        let unreadable = |error: ReadError| match error {
            ReadError::Io(failure) => OpenError::Io(failure),
            other => OpenError::Directory(Box::new(other)),
        };
        while from < log.end {
            let mut of = None;
            let slices = match log.plan_read(from, 1 << 20).map_err(unreadable)? {
                ReadPlan::Memory(slices) => slices,
                ReadPlan::Segment { segment, .. } => {
                    let wanted = Wanted {
                        is_copied: true,
                        ..Wanted::bytes(1 << 20)
                    };
                    let slices = segment.read(&*self.disk, &self.open_files, from, wanted);
                    of = Some(segment);
                    slices.map_err(unreadable)?
                }
                ReadPlan::Load => {
                    let Some(job) = log.plan_load() else { break };
                    let older = job.run(&*self.disk, &self.layout)?;
                    let bad = older.bad_headers.iter();
                    let bad =
                        bad.map(|bad| format!("{}: {}", bad.segment.path().display(), bad.what));
                    if let Some(what) = older.faults.into_iter().chain(bad).next() {
                        return Err(OpenError::BrokenDirectory { what });
                    }
                    log.loaded(older.segments);
                    continue;
                }
            };
            let mut next = from;
            for mut part in slices.parts {
                while !part.is_empty() {
                    let len = BatchHeader::peek(&part).map_or(part.len(), |header| header.len());
                    let batch = part.split_to(len.min(part.len()));
                    next = match (check_stored(&batch), &of) {
                        (Ok(header), _) => header.end_offset(),
                        (Err(error), Some(segment)) => {
                            let (disk, files) = (&*self.disk, &self.open_files);
                            let what = error.to_string().into();
                            return Err(unreadable(segment.damaged_at(disk, files, next, what)?));
                        }
                        (Err(error), None) => {
                            let what = format!("the batch with offset {next}: {error}");
                            return Err(OpenError::BrokenDirectory { what });
                        }
                    };
                    batches.push(batch);
                }
            }
            from = slices.next;
        }
        Ok(batches)
    }

    /// Replays every live log, makes all of it durable under a new epoch, and opens the storage.
    ///
    /// - `live`: the logs that the directory says exist.
    /// - `deleted`: logs whose deletion was recorded and whose files may still be there.
    /// - `producers`: folds a log's replayed batches onto the producers its checkpoint knew.
    ///
    /// # Errors
    /// [`OpenError`]; trying again later finds the same state.
    pub fn recover(
        mut self,
        live: &HashMap<Incarnation, LiveLog>,
        deleted: &HashSet<Incarnation>,
        producers: &FoldProducers<'_>,
        now: Timestamp,
    ) -> Result<(Storage, HashMap<Incarnation, Replayed>), OpenError> {
        let mut replayed = HashMap::new();
        let directory = self
            .directory_log
            .take()
            .expect("the directory is replayed first");
        let mut ids: Vec<Incarnation> = live.keys().copied().collect();
        ids.sort_unstable();
        ids.retain(|id| *id != self.directory_id);
        self.want_batches(&ids);
        for id in ids {
            replayed.insert(id, self.replay(id, &live[&id])?);
        }
        self.batches = Batches::default();
        self.sync_owed()?;
        replayed.insert(self.directory_id, directory);
        if let Some(log) = live.get(&self.directory_id) {
            let replayed = replayed
                .get_mut(&self.directory_id)
                .expect("inserted above");
            replayed.point.log_start = replayed.point.log_start.max(log.log_start);
        }
        self.sort_out(live, deleted)?;
        self.keep_damaged_journal()?;
        self.keep_damaged_checkpoints()?;
        let epoch = self.points.current().epoch + 1;
        let next_group = self.scan.last_group + 1;
        let checkpoint = Checkpoint {
            number: self.checkpoint + 1,
            directory_id: self.directory_id,
            epoch,
            journal_group: next_group,
            journal_file: 0,
            journal_position: u32::try_from(FIRST_GROUP).expect("a small constant"),
            logs: Self::rows(&replayed, producers),
        };
        write_checkpoint(&*self.disk, &self.layout, &checkpoint)?;
        // Both slots, before the first group of this start takes the place of an older one.
        self.points.update_both(|point| {
            point.is_clean = false;
            point.epoch = epoch;
            point.salt = self.salt;
            point.checkpoint = checkpoint.number;
            point.flushed_group = next_group - 1;
            point.flushed_file = 0;
            point.flushed_end = 0;
        })?;
        remove_other_checkpoints(&*self.disk, &self.layout, checkpoint.number)?;
        // What was decided is in this checkpoint, and the rest is of no use.
        for place in std::mem::take(&mut self.beside) {
            place.remove(&*self.disk)?;
        }
        self.log_report();
        let storage = self.into_storage(checkpoint, live, &replayed, now)?;
        Ok((storage, replayed))
    }

    /// The rows of the first checkpoint, with the producers folded up to the logs' ends.
    fn rows(
        replayed: &HashMap<Incarnation, Replayed>,
        producers: &FoldProducers<'_>,
    ) -> Vec<LogRow> {
        let mut rows = Vec::with_capacity(replayed.len());
        for (id, one) in replayed {
            let mut row = one.point.to_row(*id);
            (row.fence, row.producers) = producers(*id, one);
            rows.push(row);
        }
        rows.sort_unstable_by_key(|row| row.incarnation);
        rows
    }

    /// Brings one log from its checkpoint to the journal's end.
    fn replay(&mut self, id: Incarnation, live: &LiveLog) -> Result<Replayed, IoFailure> {
        let empty = || LogPoint::beginning_at(live.begins_at);
        let mut point = self.rows.get(&id).cloned().unwrap_or_else(empty);
        point.log_start = point.log_start.max(live.log_start);
        let items = self.scan.items.remove(&id).unwrap_or_default();
        let covered = items.iter().map(FoundItem::covers).max();
        let mut replay = LogReplay {
            id,
            point,
            covered: covered.unwrap_or(0),
            headers: Vec::new(),
            segment: None,
            gathered: Vec::new(),
            compared: None,
            first_live: Offset(0),
            is_active_lost: false,
            is_active_missed: false,
            lacks_from: None,
            has_lost: false,
            is_cut: false,
        };
        replay.find_first_live(&items);
        let vouched = replay.point.active.map(|active| (active, replay.point.end));
        replay.judge(self, &items)?;
        for found in &items {
            replay.apply(self, found)?;
        }
        replay.write_gathered(self)?;
        if self.scan.is_list_lost && id != self.directory_id {
            replay.point.refused = true;
        }
        // A clean stop left nothing behind the last checkpoint.
        if !(self.report.was_clean && items.is_empty()) {
            replay.close(self)?;
        }
        replay.report_lacks(self, vouched)?;
        replay.point.reach_log_start();
        Ok(Replayed {
            point: replay.point,
            headers: replay.headers,
        })
    }

    /// Removes what is left of deleted logs, and moves aside what belongs to nothing.
    fn sort_out(
        &mut self,
        live: &HashMap<Incarnation, LiveLog>,
        deleted: &HashSet<Incarnation>,
    ) -> Result<(), IoFailure> {
        let dir = self.layout.channels_dir();
        for entry in self.disk.list(&dir).or_while("listing", &dir)? {
            let id = entry
                .name
                .parse::<Incarnation>()
                .ok()
                .filter(|_| entry.is_dir);
            match id {
                Some(id) if live.contains_key(&id) || id == self.directory_id => {}
                Some(id) if deleted.contains(&id) => {
                    remove_log_dir(&*self.disk, &self.layout, id)?;
                }
                _ => self.move_aside(&dir.join(&entry.name), "no channel has this identity")?,
            }
        }
        Ok(())
    }

    fn log_report(&self) {
        let report = &self.report;
        for damage in &report.damage {
            tracing::error!(
                file = %damage.path.display(), from = damage.from, to = damage.to,
                log = ?damage.log.map(|log| log.to_string()), offsets = ?damage.offsets,
                what = %damage.what, "damage found"
            );
        }
        for lost in &report.lost_unsynced {
            tracing::warn!(
                file = %lost.path.display(), log = ?lost.log.map(|log| log.to_string()),
                offsets = ?lost.offsets, what = %lost.what, "unsynced records lost"
            );
        }
        for repaired in &report.repaired {
            tracing::warn!(
                file = %repaired.path.display(), from = repaired.from, to = repaired.to,
                "repaired from the journal"
            );
        }
        for (from, to) in &report.moved {
            tracing::warn!(from = %from.display(), to = %to.display(), "moved aside");
        }
        // After a clean stop the bytes behind the last group are those of an earlier turn of the ring.
        if let Some((path, from, to)) = report.torn.as_ref().filter(|_| !report.was_clean) {
            tracing::info!(
                file = %path.display(), from, to, dropped = report.dropped_groups,
                "an unfinished group at the journal's end was cut off; it was never acknowledged"
            );
        }
    }

    fn into_storage(
        self,
        checkpoint: Checkpoint,
        live: &HashMap<Incarnation, LiveLog>,
        replayed: &HashMap<Incarnation, Replayed>,
        now: Timestamp,
    ) -> Result<Storage, OpenError> {
        let mut files = self.journal.files;
        let sizes: Result<Vec<u64>, _> = files.iter().map(|file| file.len()).collect();
        let sizes = sizes.or_while("reading the length of", &self.layout.journal_dir())?;
        // A file of another size, or without a header, is none of the ring any more; nothing in it is
        // needed. At the ring's end its space is given back, and upkeep finds it again where there is
        // enough; any other one is prepared anew.
        let is_fit = |at: usize| {
            let is_prepared = !self.journal.unprepared.contains(&at);
            sizes[at] == self.config.journal_file_bytes && is_prepared
        };
        while files.len() > 1 && !is_fit(files.len() - 1) {
            let number = u32::try_from(files.len() - 1).expect("a ring has few files");
            let path = self.layout.journal_file(number);
            let last = files.pop().expect("more than one");
            last.set_len(0).or_while("cutting", &path)?;
        }
        for (at, file) in files.iter_mut().enumerate().filter(|(at, _)| !is_fit(*at)) {
            let number = u32::try_from(at).expect("a ring has few files");
            let (disk, layout) = (&*self.disk, &self.layout);
            let path = layout.journal_file(number);
            file.set_len(0).or_while("cutting", &path)?;
            let bytes = self.config.journal_file_bytes;
            *file = prepare_file(disk, layout, self.directory_id, number, bytes)?;
        }
        let epoch = LogEpoch(checkpoint.epoch);
        let max_files = self.config.journal_files.max(MIN_FILES);
        let journal = Journal::new(
            files,
            max_files,
            self.config.journal_file_bytes,
            epoch,
            self.salt,
            checkpoint.journal_group,
        );
        let own_segment_bytes = self.config.own_segment_bytes;
        let logs = replayed
            .iter()
            .map(|(id, replayed)| {
                let options = live
                    .get(id)
                    .map_or_else(|| directory_options(own_segment_bytes), |log| log.options);
                (*id, Log::new(&self.layout, *id, options, &replayed.point))
            })
            .collect();
        let start = journal.point();
        let rows = checkpoint
            .logs
            .into_iter()
            .map(|row| (row.incarnation, row))
            .collect();
        Ok(Storage::recovered(super::super::store::Recovered {
            disk: self.disk,
            layout: self.layout,
            config: self.config,
            lock: self.lock,
            open_files: self.open_files,
            points: self.points,
            directory_id: self.directory_id,
            epoch,
            logs,
            journal,
            checkpoints: Checkpoints::new(checkpoint.number, start, rows, now),
            report: self.report,
        }))
    }
}

/// The replay of one log.
pub(super) struct LogReplay {
    pub id: Incarnation,
    pub point: LogPoint,
    headers: Vec<BatchHeader>,
    segment: Option<Arc<Segment>>,
    /// What goes to that segment and is not written yet, as positions there and bytes of what is
    /// held: one stretch for batches that follow each other.
    gathered: Vec<(u64, Range<usize>)>,
    /// The segment that was last compared with the journal.
    compared: Option<Compared>,
    /// References up to this group were synced in time, also those that were written before.
    covered: u64,
    /// The segments before this one lie below the log start: their files may be gone.
    first_live: Offset,
    /// The active segment of the checkpoint has no file: what the journal still has of it, and is
    /// not below the log start, makes one.
    pub is_active_lost: bool,
    /// That segment had no file, and should have one.
    pub is_active_missed: bool,
    /// The active segment of the checkpoint has no bytes from here on that it should have.
    pub lacks_from: Option<u64>,
    /// Records between the last item and this one are lost.
    has_lost: bool,
    /// Unsynced bytes were lost: nothing that follows belongs to the log any more.
    is_cut: bool,
}
