//! Brings every log to where the journal says it was.

use std::collections::{HashMap, HashSet};
use std::io::IoSlice;
use std::sync::Arc;

use bytes::Bytes;

use super::super::checkpoint::{Checkpoints, remove_other_checkpoints, write_checkpoint};
use super::super::disk::OpenMode;
use super::super::error::{IoFailure, OpenError, ReadError, While, is_no_file};
use super::super::index;
use super::super::journal::{FIRST_GROUP, Journal, MIN_FILES, prepare_file};
use super::super::layout::{is_spare, segment_base};
use super::super::log::{ActivePoint, Log, LogOptions, LogPoint, ReadPlan};
use super::super::segment::{FIRST_BATCH, Previous, Segment, SegmentId, Wanted, remove_file};
use super::super::store::Storage;
use super::super::upkeep::remove_log_dir;
use super::super::walk::{BLOCK_BYTES, Step, Walker};
use super::scan::FoundItem;
use super::{Damage, Unrecovered};
use crate::format::{
    BatchHeader, Checkpoint, DamageKind, DamageRow, GroupItem, ItemKind, LogRow, ProducerRow,
    SegmentHeader, check_stored,
};
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
        let replayed = self.replay(id, &live)?;
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
                    let wanted = Wanted::bytes(1 << 20);
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
        for id in ids {
            replayed.insert(id, self.replay(id, &live[&id])?);
        }
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
        let mut items = self.scan.items.remove(&id).unwrap_or_default();
        // What was copied forward may follow newer entries, and its originals may still be there:
        // the log's own order counts, and of two copies the one that is whole.
        items.sort_by_key(|found| (found.item.base_offset, !found.is_intact, found.group));
        let covered = items.iter().map(FoundItem::covers).max();
        let mut replay = LogReplay {
            id,
            point,
            covered: covered.unwrap_or(0),
            headers: Vec::new(),
            segment: None,
            first_live: Offset(0),
            is_active_lost: false,
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
        if let Some((path, from, to)) = &report.torn {
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
        // A ring of another file size, or a file without a header, is prepared anew; nothing in it
        // is needed any more.
        for (at, size) in sizes.iter().enumerate() {
            if *size != self.config.journal_file_bytes || self.journal.unprepared.contains(&at) {
                let number = u32::try_from(at).expect("a ring has few files");
                let (disk, layout) = (&*self.disk, &self.layout);
                let path = layout.journal_file(number);
                files[at].set_len(0).or_while("cutting", &path)?;
                let bytes = self.config.journal_file_bytes;
                files[at] = prepare_file(disk, layout, self.directory_id, number, bytes)?;
            }
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
    /// References up to this group were synced in time, also those that were written before.
    covered: u64,
    /// The segments before this one lie below the log start: their files may be gone.
    first_live: Offset,
    /// The active segment of the checkpoint has no file: what the journal still has of it makes one.
    pub is_active_lost: bool,
    /// The active segment of the checkpoint has no bytes from here on that it should have.
    pub lacks_from: Option<u64>,
    /// Records between the last item and this one are lost.
    has_lost: bool,
    /// Unsynced bytes were lost: nothing that follows belongs to the log any more.
    is_cut: bool,
}

impl LogReplay {
    fn find_first_live(&mut self, items: &[FoundItem]) {
        let bases = items.iter().map(|found| found.item.segment_base);
        let bases = bases.chain(self.point.active.map(|active| active.base));
        let below = bases.filter(|base| *base <= self.point.log_start);
        self.first_live = below.max().unwrap_or(Offset(0));
    }

    fn apply(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        let item = &found.item;
        let (base, end) = (item.base_offset, item.end_offset);
        if self.is_cut || end <= self.point.log_start && end <= self.point.end {
            return Ok(());
        }
        if end <= self.point.end {
            return self.compare(all, found);
        }
        if base < self.point.end {
            let what = "a batch overlaps the log's end";
            self.damage(all, found, (base, end), DamageKind::JournalGroup, what);
            return Ok(());
        }
        if base > self.point.end {
            let lost = (self.point.end, base);
            let what = "the records before this batch are lost with a damaged group";
            self.damage(all, found, lost, DamageKind::JournalGroup, what);
            self.point.end = base;
            self.has_lost = true;
        } else {
            self.has_lost = false;
        }
        match item.kind {
            _ if item.segment_base < self.first_live => self.pass(all, found),
            ItemKind::Batch if found.is_intact => self.write(all, found),
            ItemKind::Batch => {
                // The report has it already; the place stays a hole that reads run into.
                self.point
                    .damage
                    .push(damage_row(found, (base, end), DamageKind::JournalGroup));
                self.point.refused = true;
                let segment =
                    self.move_to(all, found, Timestamp(i64::MIN), self.point.last_epoch)?;
                self.clear_padding(all, found, &segment)?;
                self.advance(found, self.point.last_time, self.point.last_epoch);
                Ok(())
            }
            ItemKind::Reference => self.follow(all, found),
        }
    }

    /// A batch that the checkpoint vouches for and the journal still has: where the segment
    /// differs, the journal is right.
    fn compare(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        let item = &found.item;
        if item.kind != ItemKind::Batch
            || !found.is_intact
            || item.base_offset < self.point.log_start
        {
            return Ok(());
        }
        let id = SegmentId::new(&all.layout, self.id, item.segment_base);
        let path = id.path();
        let bytes = all.journal.batch(found)?;
        let file = match all.disk.open(&path, OpenMode::ReadWrite) {
            Ok(file) => file,
            Err(error) if is_no_file(&error) => {
                let active = self.point.active;
                if !self.is_active_lost || active.is_none_or(|it| it.base != item.segment_base) {
                    return Ok(()); // for the chain check to report
                }
                let header = BatchHeader::peek(&bytes).expect("the scan has checked it");
                let (time, epoch) = (header.append_time(), header.log_epoch());
                self.move_to(all, found, time, epoch)?;
                let opened = all.disk.open(&path, OpenMode::Create);
                opened.or_while("creating", &path)?
            }
            Err(error) => return Err(IoFailure::new("opening", &path, error)),
        };
        let mut stored = vec![0; bytes.len()];
        let read = file
            .read_at(item.position, &mut stored)
            .or_while("reading", &path)?;
        if read == bytes.len() && stored == bytes {
            return Ok(());
        }
        file.write_at(item.position, &[IoSlice::new(&bytes)])
            .or_while("writing", &path)?;
        file.sync_data().or_while("syncing", &path)?;
        all.report.repaired.push(Damage {
            path,
            from: item.position,
            to: item.position + item.length,
            log: Some(self.id),
            offsets: Some((item.base_offset, item.end_offset)),
            what: "differed from the journal and was written again from it".to_owned(),
        });
        Ok(())
    }

    /// Batches that lie below the log start with their whole segment: only their headers count.
    fn pass(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        let id = SegmentId::new(&all.layout, self.id, found.item.segment_base);
        let headers = match found.item.kind {
            ItemKind::Batch if found.is_intact => {
                let bytes = all.journal.batch(found)?;
                vec![BatchHeader::peek(&bytes).expect("the scan has checked it")]
            }
            ItemKind::Batch => Vec::new(),
            ItemKind::Reference => read_reference(all, &id, found, false)?.unwrap_or_default(),
        };
        let known = (self.point.last_time, self.point.last_epoch);
        let times = |header: &BatchHeader| (header.append_time(), header.log_epoch());
        let (start_time, _) = headers.first().map_or(known, times);
        let (time, epoch) = headers.last().map_or(known, times);
        self.headers.extend(headers);
        self.enter(found.item.segment_base, start_time);
        self.advance(found, time, epoch);
        Ok(())
    }

    /// Makes a segment the active one; gives the one before it, if that is known.
    fn enter(&mut self, base: Offset, start_time: Timestamp) -> Option<Previous> {
        let previous = match self.point.active {
            Some(active) if active.base == base => return active.previous,
            before => before.map(|before| Previous {
                base: before.base,
                length: before.position,
                last_time: self.point.last_time,
            }),
        };
        self.point.active = Some(ActivePoint {
            base,
            position: FIRST_BATCH,
            start_time,
            previous,
        });
        previous
    }

    fn write(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        let bytes = Bytes::from(all.journal.batch(found)?);
        let header = BatchHeader::peek(&bytes).expect("the scan has checked it");
        let (time, epoch) = (header.append_time(), header.log_epoch());
        let segment = self.move_to(all, found, time, epoch)?;
        self.clear_padding(all, found, &segment)?;
        segment.write(&*all.disk, &all.open_files, &[(found.item.position, bytes)])?;
        all.report.batches += 1;
        all.report.bytes += found.item.length;
        self.headers.push(header);
        self.advance(found, time, epoch);
        Ok(())
    }

    /// Bytes that went straight to the segment: their headers are read, for the producers.
    fn follow(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        let item = &found.item;
        let is_promised = item.was_synced_before || found.group <= all.scan.promised;
        // The sync that the bytes were owed may have failed, and then only the page cache has them.
        let is_owed = !item.was_synced_before && found.group > self.covered;
        let id = SegmentId::new(&all.layout, self.id, item.segment_base);
        let path = id.path();
        let read = read_reference(all, &id, found, is_owed)?;
        let (time, epoch) = match &read {
            Ok(headers) => (headers[0].append_time(), headers[0].log_epoch()),
            Err(_) => (self.point.last_time, self.point.last_epoch),
        };
        if read.is_ok() || is_promised {
            let segment = self.move_to(all, found, time, epoch)?;
            self.clear_padding(all, found, &segment)?;
        }
        match read {
            Ok(headers) => {
                if is_owed {
                    write_again(all, &path, item)?;
                }
                let last = headers.last().expect("a reference holds a batch");
                let (time, epoch) = (last.append_time(), last.log_epoch());
                self.headers.extend(headers);
                self.advance(found, time, epoch);
            }
            Err(what) if is_promised => {
                let lost = (item.base_offset, item.end_offset);
                self.damage(all, found, lost, DamageKind::Reference, &what);
                self.advance(found, time, epoch);
            }
            Err(what) => {
                self.is_cut = true;
                all.report.lost_unsynced.push(Damage {
                    path,
                    from: item.position,
                    to: item.position + item.length,
                    log: Some(self.id),
                    offsets: Some((item.base_offset, item.end_offset)),
                    what,
                });
            }
        }
        Ok(())
    }

    /// The segment of an item; a new one when the item names another than the active.
    fn move_to(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
        time: Timestamp,
        epoch: LogEpoch,
    ) -> Result<Arc<Segment>, IoFailure> {
        let base = found.item.segment_base;
        if let Some(segment) = &self.segment
            && segment.id().base == base
        {
            return Ok(segment.clone());
        }
        let id = SegmentId::new(&all.layout, self.id, base);
        let segment = match self.point.active {
            Some(active) if active.base == base && self.is_active_lost => {
                self.is_active_lost = false;
                let segment = Segment::create(id, active.previous, active.start_time, epoch);
                segment.write_header(&*all.disk)?;
                segment
            }
            Some(active) if active.base == base => {
                let segment = Segment::existing(id, active.previous, active.position);
                index::trim(&*all.disk, segment.id(), active.position)?;
                segment
            }
            _ => {
                let previous = self.enter(base, time);
                let segment = Segment::create(id, previous, time, epoch);
                self.keep_file(all, found, &segment)?;
                segment
            }
        };
        if let Some(left) = self.segment.replace(Arc::new(segment)) {
            sync_segment(all, &left)?;
        }
        Ok(self.segment.clone().expect("set above"))
    }

    /// A file that is there already may hold synced bytes of references: all of it is kept, and
    /// only a header that is not this segment's is written again.
    fn keep_file(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
        segment: &Segment,
    ) -> Result<(), IoFailure> {
        let path = segment.id().path();
        if !all.disk.exists(&path).or_while("looking for", &path)? {
            return Ok(());
        }
        index::trim(&*all.disk, segment.id(), 0)?;
        let header = Segment::read_header(&*all.disk, segment.id())?;
        let is_ours = |header: &SegmentHeader| {
            let previous = segment.previous();
            header.incarnation == self.id
                && header.base_offset == segment.id().base
                && header.previous_base == previous.map(|previous| previous.base)
                && header.previous_length == previous.map_or(0, |previous| previous.length)
        };
        if let Some(header) = header.ok().filter(is_ours) {
            return segment.keep_header(&*all.disk, &header);
        }
        segment.write_header(&*all.disk)?;
        if found.item.was_synced_before {
            all.report.repaired.push(Damage {
                path,
                from: 0,
                to: FIRST_BATCH,
                log: Some(self.id),
                offsets: None,
                what: "the segment's header was written again from the journal".to_owned(),
            });
        }
        Ok(())
    }

    /// Zeros what lies between the last batch and the block that the next one starts on: a lost
    /// write may have left it there, or the segment whose file this was before.
    fn clear_padding(
        &self,
        all: &Unrecovered,
        found: &FoundItem,
        segment: &Segment,
    ) -> Result<(), IoFailure> {
        let from = self.point.active.map_or(0, |active| active.position);
        if self.has_lost {
            return Ok(()); // what is lost may be there
        }
        let padding = found.item.position.saturating_sub(from);
        let path = segment.id().path();
        if padding == 0
            || padding >= BLOCK_BYTES
            || !all.disk.exists(&path).or_while("looking for", &path)?
        {
            return Ok(());
        }
        let file = all
            .disk
            .open(&path, OpenMode::ReadWrite)
            .or_while("opening", &path)?;
        let mut bytes = vec![0; usize::try_from(padding).expect("less than a block")];
        let read = file.read_at(from, &mut bytes).or_while("reading", &path)?;
        if bytes[..read].iter().any(|byte| *byte != 0) {
            bytes.fill(0);
            file.write_at(from, &[IoSlice::new(&bytes[..read])])
                .or_while("writing", &path)?;
            segment.set_dirty();
        }
        Ok(())
    }

    fn advance(&mut self, found: &FoundItem, time: Timestamp, epoch: LogEpoch) {
        self.point.end = found.item.end_offset;
        self.point.last_time = time;
        self.point.last_epoch = epoch;
        if let Some(active) = &mut self.point.active {
            active.position = found.item.position + found.item.length;
        }
    }

    fn damage(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
        lost: (Offset, Offset),
        kind: DamageKind,
        what: &str,
    ) {
        self.point.refused = true;
        self.point.damage.push(damage_row(found, lost, kind));
        let id = SegmentId::new(&all.layout, self.id, found.item.segment_base);
        all.report.damage.push(Damage {
            path: id.path(),
            from: found.item.position,
            to: found.item.position + found.item.length,
            log: Some(self.id),
            offsets: Some(lost),
            what: what.to_owned(),
        });
    }

    /// Makes the replayed bytes durable and takes away what lies beyond the log's end: a power
    /// loss may have kept it without the journal's word for it.
    fn close(&mut self, all: &mut Unrecovered) -> Result<(), IoFailure> {
        if let Some(active) = self.point.active {
            let id = SegmentId::new(&all.layout, self.id, active.base);
            let path = id.path();
            if !all.disk.exists(&path).or_while("looking for", &path)? {
                // All of it lay below the log start, and what came after it is lost.
                if self.point.end <= self.point.log_start {
                    self.point.active = None;
                }
            } else {
                let file = all
                    .disk
                    .open(&path, OpenMode::ReadWrite)
                    .or_while("opening", &path)?;
                if file.len().or_while("reading the length of", &path)? > active.position {
                    // With a lost group the log may end too early: what it lost may be there.
                    if all.scan.is_list_lost || self.point.refused {
                        all.keep_copy(&path, "bytes beyond the log's end, which are cut off")?;
                    }
                    file.set_len(active.position).or_while("cutting", &path)?;
                    file.sync_data().or_while("syncing", &path)?;
                }
            }
        }
        if let Some(segment) = self.segment.take() {
            sync_segment(all, &segment)?;
        }
        let dir = all.layout.log_dir(self.id);
        if !all.disk.exists(&dir).or_while("looking for", &dir)? {
            return Ok(());
        }
        let last = self.point.active.map(|active| active.base);
        for entry in all.disk.list(&dir).or_while("listing", &dir)? {
            let path = dir.join(&entry.name);
            let stem = entry.name.split('.').next().unwrap_or_default();
            let base = segment_base(&format!("{stem}.log"));
            if is_spare(&entry.name) {
                remove_file(&*all.disk, &path)?;
                continue;
            }
            if base.is_none_or(|base| last.is_some_and(|last| base <= last)) {
                continue;
            }
            if entry.name.ends_with(".log") {
                all.move_aside(&path, "lies beyond the log's end")?;
            } else {
                remove_file(&*all.disk, &path)?; // an index, which is a cache
            }
        }
        Ok(())
    }
}

fn sync_segment(all: &Unrecovered, segment: &Arc<Segment>) -> Result<(), IoFailure> {
    let path = segment.id().path();
    // Bytes of references may be in the page cache alone, so a segment is synced even if nothing
    // was written to it here.
    if all.disk.exists(&path).or_while("looking for", &path)? {
        segment.set_dirty();
        segment.sync(&*all.disk)?;
    }
    Ok(())
}

/// Writes the bytes of a reference over themselves: after a failed sync they may be in the page
/// cache alone, and no later sync would bring them to the device.
fn write_again(
    all: &Unrecovered,
    path: &std::path::Path,
    item: &GroupItem,
) -> Result<(), IoFailure> {
    let file = all
        .disk
        .open(path, OpenMode::ReadWrite)
        .or_while("opening", path)?;
    let mut bytes = vec![0; usize::try_from(item.length).unwrap_or(0)];
    let read = file
        .read_at(item.position, &mut bytes)
        .or_while("reading", path)?;
    file.write_at(item.position, &[IoSlice::new(&bytes[..read])])
        .or_while("writing", path)
}

/// The headers of the batches that a reference names, or what is wrong with them.
fn read_reference(
    all: &Unrecovered,
    id: &SegmentId,
    found: &FoundItem,
    checks_bytes: bool,
) -> Result<Result<Vec<BatchHeader>, String>, IoFailure> {
    let item = &found.item;
    let path = id.path();
    let file = match all.disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if is_no_file(&error) => {
            return Ok(Err("the segment file is missing".to_owned()));
        }
        Err(error) => return Err(IoFailure::new("opening", &path, error)),
    };
    let end = item.position + item.length;
    if checks_bytes {
        let mut bytes = vec![0; usize::try_from(item.length).unwrap_or(0)];
        let read = file
            .read_at(item.position, &mut bytes)
            .or_while("reading", &path)?;
        if read < bytes.len() || crc32fast::hash(&bytes) != item.checksum {
            return Ok(Err(
                "the bytes do not match the reference's checksum".to_owned()
            ));
        }
    }
    let mut walker = Walker::new(&*file, id, item.position, end, item.base_offset);
    let mut headers = Vec::new();
    while let Some(step) = walker.step()? {
        match step {
            Step::Batch(batch) => headers.push(batch.header),
            Step::Gap(gap) => return Ok(Err(gap.what.to_string())),
        }
    }
    match headers.last() {
        Some(last) if last.end_offset() == item.end_offset => Ok(Ok(headers)),
        _ => Ok(Err("the batches end before the reference does".to_owned())),
    }
}

fn damage_row(found: &FoundItem, lost: (Offset, Offset), what: DamageKind) -> DamageRow {
    DamageRow {
        first_offset: lost.0,
        end_offset: lost.1,
        segment_base: found.item.segment_base,
        position: found.item.position,
        length: found.item.length,
        what,
    }
}
