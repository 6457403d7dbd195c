//! The scrubber: reads what is stored while the broker runs, at a bounded rate, so that damage is
//! found before somebody needs the records.
//!
//! ```text
//!   plan (locked)                    run (no lock)                          finish (locked)
//!   the next piece of a segment  ──▶ read, check checksums, offsets,   ──▶ damage rows of the log,
//!   of the next log, when due        padding; indexes of sealed ones        numbers, what is due next
//! ```
//! It has a thread of its own: a disk that takes seconds for a read must not hold up checkpoints.
//! It opens its own handles and reads plainly, so no reader waits for it, and it checks only what a
//! checkpoint vouches for, which nobody writes any more. What it finds is marked as recovery marks
//! damage. Nothing is repaired but indexes, which are caches.
//!
//! A pass begins anew after a restart.

mod check;
mod own_files;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;

use self::check::{Finding, Piece, SegmentCheck};
pub use self::own_files::FaultyFile;
use self::own_files::OwnFiles;
use super::disk::Disk;
use super::error::IoFailure;
use super::index::{self, Filed};
use super::load::{LoadTask, Loaded};
use super::log::Log;
use super::segment::{FIRST_BATCH, Segment, SegmentId};
use super::store::Storage;
use crate::format::{DamageKind, DamageRow};
use crate::types::{Incarnation, Offset, Timestamp};

/// Most and fewest bytes of a piece; in between it is a quarter of a second's worth.
const PIECE_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=1024 * 1024;

/// What a piece costs at least: opening a file is work too.
const LEAST_COST_BYTES: u64 = 16 * 1024;

/// The rate of a pass that is asked for while the scrubber is switched off.
const ASKED_BYTES_PER_S: u64 = 8 * 1024 * 1024;

/// When what could not be read, or a file of the broker's own that was bad, is looked at again.
const AGAIN_MS: i64 = 60 * 60 * 1000;

/// Most damage rows of a log; what is found beyond stretches the last one.
const MOST_ROWS: usize = 1000;

/// How far the scrubber is, and what it has found since the start.
#[derive(Debug)]
pub(super) struct Scrub {
    bytes_per_s: u64,
    interval_ms: i64,
    /// No piece before this time.
    due: Timestamp,
    /// The next pass begins at this time; `None` for at once.
    next_pass: Option<Timestamp>,
    last_seen: Timestamp,
    is_wanted: bool,
    /// A job is under way.
    is_running: bool,
    pass: Option<Pass>,
    /// Files that the operating system could not read when they were last tried.
    unreadable: BTreeMap<PathBuf, IoFailure>,
    status: ScrubStatus,
}

/// One pass over everything.
#[derive(Debug)]
struct Pass {
    started_at: Timestamp,
    bytes: u64,
    /// The logs that are not done; the first is under way.
    logs: VecDeque<Incarnation>,
    /// The base offset of its last segment that is done.
    after: Option<Offset>,
    /// The segment under way.
    check: Option<SegmentCheck>,
    /// What could not be read: then this is no full pass.
    unreadable: BTreeSet<PathBuf>,
}

/// What the scrubber has done since the start, and where it is.
#[derive(Debug, Clone, Default)]
pub struct ScrubStatus {
    /// A pass is under way.
    pub is_running: bool,
    /// The log, the segment file and the byte where it is.
    pub at: Option<(Incarnation, PathBuf, u64)>,
    /// Bytes of the pass under way.
    pub pass_bytes: u64,
    /// The last pass that read everything.
    pub last_pass: Option<LastPass>,
    /// How many passes read everything.
    pub passes: u64,
    /// Bytes that were checked.
    pub bytes: u64,
    /// Stretches of damage that were not known before.
    pub damage_found: u64,
    /// Indexes that said something else than the batches, and were written anew.
    pub indexes_rebuilt: u64,
    /// Times that the operating system could not read a file.
    pub read_errors: u64,
    /// What it could not read when it last tried, each with the reason.
    pub unreadable: Vec<IoFailure>,
    /// Files of the broker's own that were bad when they were last checked.
    pub faulty_files: Vec<FaultyFile>,
}

/// A pass that read everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastPass {
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Timestamp,
    /// Bytes that it checked.
    pub bytes: u64,
}

/// An index that its batches gave, to be written to its files.
#[derive(Debug)]
pub(super) struct RebuiltIndex {
    segment: Arc<Segment>,
    image: (u64, BytesMut, BytesMut),
}

impl RebuiltIndex {
    /// The log that it is of.
    pub fn log(&self) -> Incarnation {
        self.segment.id().log
    }

    /// Writes both files. The segment forgets what it knew of the old ones.
    pub fn write(&self, disk: &dyn Disk) -> Result<(), IoFailure> {
        index::save(disk, self.segment.id(), &self.image)?;
        self.segment.try_close();
        Ok(())
    }
}

/// One piece of scrubbing.
#[derive(Debug)]
pub struct ScrubJob {
    disk: Arc<dyn Disk>,
    max_bytes: u64,
    work: Work,
}

#[derive(Debug)]
enum Work {
    /// The log's older segments must be listed first.
    Load(LoadTask),
    Segment(Box<SegmentCheck>),
    OwnFiles(OwnFiles),
}

/// How a piece of scrubbing ended.
#[derive(Debug)]
pub struct ScrubEnd(Done);

#[derive(Debug)]
enum Done {
    Load(Loaded),
    Segment(Box<SegmentCheck>, Result<Piece, IoFailure>),
    OwnFiles(u64, Vec<FaultyFile>),
}

impl ScrubJob {
    /// Reads and checks. Call it without any lock.
    #[must_use]
    pub fn run(self) -> ScrubEnd {
        ScrubEnd(match self.work {
            Work::Load(task) => Done::Load(task.run()),
            Work::Segment(mut check) => {
                let piece = check.run(&*self.disk, self.max_bytes);
                Done::Segment(check, piece)
            }
            Work::OwnFiles(files) => {
                let (bytes, faulty) = files.run();
                Done::OwnFiles(bytes, faulty)
            }
        })
    }
}

impl Scrub {
    /// A scrubber whose first pass begins at once, unless its rate is 0.
    pub fn new(bytes_per_s: u64, interval_ms: i64) -> Self {
        Self {
            bytes_per_s,
            interval_ms,
            due: Timestamp(i64::MIN),
            next_pass: None,
            last_seen: Timestamp(i64::MIN),
            is_wanted: false,
            is_running: false,
            pass: None,
            unreadable: BTreeMap::new(),
            status: ScrubStatus::default(),
        }
    }

    fn rate(&self) -> u64 {
        match self.bytes_per_s {
            0 => ASKED_BYTES_PER_S,
            rate => rate,
        }
    }

    fn piece_bytes(&self) -> u64 {
        (self.rate() / 4).clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end())
    }

    /// Whether a piece may be planned at `now`.
    fn is_due(&mut self, now: Timestamp) -> bool {
        if now < self.last_seen {
            // The clock was set back: nothing waits for the time that it showed.
            self.due = self.due.min(now);
            let latest = now.saturating_add_ms(self.interval_ms);
            self.next_pass = self.next_pass.map(|next| next.min(latest));
        }
        self.last_seen = now;
        if self.is_running || now < self.due {
            return false;
        }
        let is_time = self.bytes_per_s > 0 && self.next_pass.is_none_or(|next| next <= now);
        self.pass.is_some() || self.is_wanted || is_time
    }

    /// Books what a piece read: the next comes when the rate allows it.
    fn spent(&mut self, bytes: u64, now: Timestamp) {
        self.status.bytes += bytes;
        if let Some(pass) = &mut self.pass {
            pass.bytes += bytes;
        }
        let cost = u128::from(bytes.max(LEAST_COST_BYTES)) * 1000;
        let ms = cost.div_ceil(u128::from(self.rate()));
        self.due = now.saturating_add_ms(i64::try_from(ms).unwrap_or(i64::MAX));
    }

    fn end_pass(&mut self, now: Timestamp) {
        let Some(pass) = self.pass.take() else {
            return;
        };
        self.status.at = None;
        // What an earlier pass could not read is read, or gone.
        self.unreadable
            .retain(|path, _| pass.unreadable.contains(path));
        let is_partial = !pass.unreadable.is_empty();
        let wait = if is_partial || !self.status.faulty_files.is_empty() {
            AGAIN_MS.min(self.interval_ms)
        } else {
            self.interval_ms
        };
        self.next_pass = Some(pass.started_at.saturating_add_ms(wait).max(now));
        if is_partial {
            tracing::warn!(
                files = self.unreadable.len(),
                "a pass could not read everything"
            );
            return;
        }
        self.status.passes += 1;
        self.status.last_pass = Some(LastPass {
            started_at: pass.started_at,
            ended_at: now,
            bytes: pass.bytes,
        });
        tracing::debug!(bytes = pass.bytes, "everything stored was checked");
    }

    fn could_not_read(&mut self, path: &Path, failure: IoFailure) {
        self.status.read_errors += 1;
        if let Some(pass) = &mut self.pass {
            pass.unreadable.insert(path.to_owned());
        }
        if self.unreadable.insert(path.to_owned(), failure).is_none() {
            let failure = &self.unreadable[path];
            tracing::error!(%failure, "a stored file can't be read");
        }
    }
}

impl Pass {
    /// Leaves the log under way.
    fn next_log(&mut self) {
        self.logs.pop_front();
        (self.after, self.check) = (None, None);
    }
}

impl Storage {
    /// Asks for a pass over everything now; one that is under way begins anew after its end.
    pub fn want_scrub(&mut self) {
        self.scrub.is_wanted = true;
    }

    /// What the scrubber has done, and where it is.
    #[must_use]
    pub fn scrub_status(&self) -> ScrubStatus {
        let scrub = &self.scrub;
        let mut status = scrub.status.clone();
        status.unreadable = scrub.unreadable.values().cloned().collect();
        if let Some(pass) = &scrub.pass {
            status.is_running = true;
            status.pass_bytes = pass.bytes;
        }
        status
    }

    /// When the next piece may come, if a pass is under way; else there may be one at any time.
    #[must_use]
    pub fn scrub_due(&self) -> Option<Timestamp> {
        self.scrub.pass.as_ref().map(|_| self.scrub.due)
    }

    /// The next piece of scrubbing that is due at `now`, if any.
    pub fn plan_scrub(&mut self, now: Timestamp) -> Option<ScrubJob> {
        if !self.scrub.is_due(now) {
            return None;
        }
        if self.scrub.pass.is_none() {
            let mut logs: Vec<Incarnation> = self.logs.keys().copied().collect();
            logs.sort_unstable();
            self.scrub.is_wanted = false;
            self.scrub.pass = Some(Pass {
                started_at: now,
                bytes: 0,
                logs: logs.into(),
                after: None,
                check: None,
                unreadable: BTreeSet::new(),
            });
        }
        let work = self.next_work();
        self.scrub.is_running = true;
        if let Work::Segment(check) = &work {
            let at = (check.log, check.segment.id().path(), check.position);
            self.scrub.status.at = Some(at);
        }
        Some(ScrubJob {
            disk: self.disk.clone(),
            max_bytes: self.scrub.piece_bytes(),
            work,
        })
    }

    fn next_work(&mut self) -> Work {
        let pass = self.scrub.pass.as_mut().expect("begun before");
        if let Some(check) = pass.check.take() {
            return Work::Segment(Box::new(check));
        }
        while let Some(id) = pass.logs.front().copied() {
            let row = self.checkpoints.row(id);
            // A log that had no batch yet has a row without a place.
            let row = row.filter(|row| row.position >= FIRST_BATCH);
            let (Some(log), Some(row)) = (self.logs.get(&id), row) else {
                pass.next_log(); // deleted, or nothing of it is vouched for
                continue;
            };
            if let Some(job) = log.plan_load() {
                return Work::Load(self.load_task(id, job));
            }
            let is_next = |segment: &&Arc<Segment>| {
                let base = segment.id().base;
                base <= row.segment_base && pass.after.is_none_or(|after| base > after)
            };
            let Some(segment) = log.segments.iter().find(is_next) else {
                pass.next_log();
                continue;
            };
            let base = segment.id().base;
            let following = log.segments.iter().find(|next| next.id().base > base);
            let is_last = base == row.segment_base;
            let (limit, end) = match following.filter(|_| !is_last) {
                Some(next) => (segment.length(), next.id().base),
                None => (row.position, row.end_offset),
            };
            let is_sealed = following.is_some() && limit == segment.length();
            let check = SegmentCheck::new(id, segment.clone(), limit, end, is_sealed);
            return Work::Segment(Box::new(check));
        }
        Work::OwnFiles(OwnFiles {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            points: self.points.clone(),
            directory_id: self.directory_id,
        })
    }

    /// Books how a piece of scrubbing ended.
    pub fn finish_scrub(&mut self, end: ScrubEnd, now: Timestamp) {
        self.scrub.is_running = false;
        match end.0 {
            Done::Load(loaded) => {
                let dir = self.layout.log_dir(loaded.log());
                if let Err(failure) = self.finish_load(loaded) {
                    self.scrub.could_not_read(&dir, failure);
                    if let Some(pass) = &mut self.scrub.pass {
                        pass.next_log();
                    }
                }
                self.scrub.spent(0, now);
            }
            Done::Segment(check, piece) => {
                let bytes = piece.as_ref().map_or(0, |piece| piece.bytes);
                self.scrub.spent(bytes, now);
                self.finish_segment(*check, piece);
            }
            Done::OwnFiles(bytes, faulty) => {
                self.scrub.spent(bytes, now);
                for file in &faulty {
                    if !self.scrub.status.faulty_files.contains(file) {
                        tracing::error!(
                            file = %file.path.display(), what = %file.what,
                            "damage found in a file of the broker's own"
                        );
                        self.scrub.status.damage_found += 1;
                        // It writes a checkpoint with both copies, and a slot of the point.
                        self.checkpoints.want();
                    }
                }
                self.scrub.status.faulty_files = faulty;
                self.scrub.end_pass(now);
            }
        }
    }

    fn finish_segment(&mut self, check: SegmentCheck, piece: Result<Piece, IoFailure>) {
        let path = check.segment.id().path();
        let is_there = |log: &Log| {
            let mut segments = log.segments.iter();
            segments.any(|segment| Arc::ptr_eq(segment, &check.segment))
        };
        // A file that is being replaced by a shorter one is looked at in the next pass.
        let is_gone = !self.logs.get(&check.log).is_some_and(is_there) || self.is_cut(check.log);
        let after = Some(check.segment.id().base);
        self.scrub.status.at = Some((check.log, path.clone(), check.position));
        if is_gone {
            // Retention or a deletion took it meanwhile: no damage.
            self.scrub.unreadable.remove(&path);
            if let Some(pass) = &mut self.scrub.pass {
                pass.after = after;
            }
            return;
        }
        let piece = match piece {
            Ok(piece) => piece,
            Err(failure) => {
                self.scrub.could_not_read(&path, failure);
                if let Some(pass) = &mut self.scrub.pass {
                    pass.after = after;
                }
                return;
            }
        };
        for finding in piece.findings {
            self.book_finding(&check, finding);
        }
        if !piece.is_last {
            if let Some(pass) = &mut self.scrub.pass {
                pass.check = Some(check);
            }
            return;
        }
        self.scrub.unreadable.remove(&path);
        if check.is_intact {
            self.book_intact(&check);
        }
        if let Some((filed, index)) = piece.index {
            self.book_index(&check, filed, &index);
        }
        if let Some(pass) = &mut self.scrub.pass {
            pass.after = after;
        }
    }

    /// Marks what a pass found, and counts it where it is new.
    fn book_finding(&mut self, check: &SegmentCheck, Finding { row, what }: Finding) {
        if self.mark_damage(check.segment.id(), row, &what) {
            self.scrub.status.damage_found += 1;
        }
    }

    /// Marks damage of a log, unless it is known. It is logged once, and the next checkpoint keeps
    /// it. Writes go on: where the log ends is in the checkpoint, not in the segment.
    pub(super) fn mark_damage(&mut self, segment: &SegmentId, row: DamageRow, what: &str) -> bool {
        let Some(log) = self.logs.get_mut(&segment.log) else {
            return false;
        };
        let is_trimmed = row.first_offset < row.end_offset && row.end_offset <= log.log_start;
        let is_known = |known: &DamageRow| {
            known.segment_base == row.segment_base
                && known.first_offset <= row.first_offset
                && known.end_offset >= row.end_offset
                && (row.first_offset < row.end_offset || known.position == row.position)
        };
        if is_trimmed || log.damage.iter().any(is_known) {
            return false;
        }
        tracing::error!(
            file = %segment.path().display(), log = %segment.log,
            from = row.position, to = row.position + row.length,
            first = %row.first_offset, end = %row.end_offset, %what, "damage found"
        );
        log.mark_damaged(row, MOST_ROWS);
        log.is_dirty = true;
        self.dirty.insert(segment.log);
        true
    }

    /// Takes back what an earlier pass found in a segment in which nothing is wrong any more: the
    /// medium gave the bytes back. What recovery found stays until the log is repaired.
    fn book_intact(&mut self, check: &SegmentCheck) {
        let Some(log) = self.logs.get_mut(&check.log) else {
            return;
        };
        let base = check.segment.id().base;
        let before = log.damage.len();
        log.damage.retain(|row| {
            let is_ours = matches!(row.what, DamageKind::SegmentBatch | DamageKind::SegmentFile);
            !is_ours || row.segment_base != base || row.position > check.limit
        });
        if log.damage.len() < before {
            let file = check.segment.id().path();
            tracing::warn!(file = %file.display(), "what was damaged can be read again");
            log.is_dirty = true;
            self.dirty.insert(check.log);
        }
    }

    fn book_index(&mut self, check: &SegmentCheck, filed: Filed, index: &index::Index) {
        if filed == Filed::Whole || self.space.is_full() {
            return;
        }
        let id = check.segment.id();
        if filed == Filed::Bad {
            tracing::warn!(segment = %id.path().display(), "a bad index is written anew");
            self.scrub.status.indexes_rebuilt += 1;
        }
        self.rebuilt_indexes
            .extend(index.image(id).map(|image| RebuiltIndex {
                segment: check.segment.clone(),
                image,
            }));
    }
}
