//! The older segments of a log, listed when they are first needed: a start opens none of them.
//!
//! Each header says which segment comes before, so that a missing one is noticed. A log whose chain
//! is broken takes no more writes. One whose header is damaged does: its name and the header behind
//! it say the same, and its records are where they were.

use std::path::PathBuf;
use std::sync::Arc;

use super::disk::{Disk, OpenMode};
use super::error::{Closed, IoFailure, While, is_no_file};
use super::layout::{Layout, is_spare, segment_base};
use super::removing::Removal;
use super::segment::{FIRST_BATCH, Previous, Segment, SegmentId};
use super::store::Storage;
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, DamageKind, DamageRow};
use crate::types::{Incarnation, Offset, Timestamp};

/// Lists the older segments of a log.
#[derive(Debug)]
pub struct LoadTask {
    disk: Arc<dyn Disk>,
    layout: Layout,
    id: Incarnation,
    job: LoadJob,
}

/// What a [`LoadTask`] found.
#[derive(Debug)]
pub struct Loaded {
    id: Incarnation,
    found: Result<Older, IoFailure>,
}

impl Loaded {
    /// The log whose segments were listed.
    pub(super) fn log(&self) -> Incarnation {
        self.id
    }
}

impl LoadTask {
    /// Lists the directory. Call it without any lock.
    #[must_use]
    pub fn run(&self) -> Loaded {
        Loaded {
            id: self.id,
            found: self.job.run(&*self.disk, &self.layout),
        }
    }
}

impl Storage {
    pub(super) fn load_task(&self, id: Incarnation, job: LoadJob) -> LoadTask {
        LoadTask {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            id,
            job,
        }
    }

    /// The job that lists a log's older segments, if they are not known yet.
    #[must_use]
    pub fn plan_load(&self, id: Incarnation) -> Option<LoadTask> {
        let job = self.logs.get(&id)?.plan_load()?;
        Some(self.load_task(id, job))
    }

    /// Whether the last try to list a log's older segments failed.
    #[must_use]
    pub fn is_unlisted(&self, id: Incarnation) -> bool {
        self.logs.get(&id).is_some_and(|log| log.is_unlisted)
    }

    /// Books what a load found. A broken chain of segments closes the log to writers; a damaged
    /// header does not, since no record is lost with it.
    ///
    /// # Errors
    /// [`IoFailure`] when the directory could not be listed.
    pub fn finish_load(&mut self, loaded: Loaded) -> Result<(), IoFailure> {
        let Some(log) = self.logs.get_mut(&loaded.id) else {
            return Ok(());
        };
        // Another load was faster; or the log was cut, or replaced, and what was found is of the
        // files that it had before.
        if log.is_loaded {
            return Ok(());
        }
        let Older {
            segments,
            expired,
            spares,
            faults,
            bad_headers,
        } = match loaded.found {
            Ok(older) => older,
            Err(failure) => {
                if !log.is_unlisted {
                    tracing::warn!(log = %log.id, %failure, "a log's segments could not be listed");
                }
                log.is_unlisted = true;
                return Err(failure);
            }
        };
        log.is_unlisted = false;
        for fault in &faults {
            tracing::error!(log = %loaded.id, %fault, "damage found in the chain of segments");
        }
        if let Some(first) = faults.first() {
            log.refused = Some(Closed::Damaged(first.as_str().into()));
        }
        log.loaded(segments);
        if !spares.is_empty() {
            self.removals.push_back(Removal::Spares {
                log: loaded.id,
                paths: spares,
            });
        }
        let mut expired = expired;
        expired.extend(log.take_expired());
        self.forget_expired(loaded.id);
        if !expired.is_empty() {
            self.removals.push_back(Removal::Segments {
                log: loaded.id,
                segments: expired,
            });
        }
        for bad in bad_headers {
            self.mark_damage(&bad.segment, bad.row(), &bad.what);
        }
        Ok(())
    }
}

/// The older segments of a log.
#[derive(Debug, Default)]
pub(super) struct Older {
    /// Those that hold records, in order.
    pub segments: Vec<Arc<Segment>>,
    /// Those below the log start, left from a removal that a crash ended.
    pub expired: Vec<Arc<Segment>>,
    /// Spare files, left from before the start.
    pub spares: Vec<PathBuf>,
    /// What is missing or does not fit between them: nobody knows what the log lost there.
    pub faults: Vec<String>,
    /// Headers that are damaged. No record is lost with one, so that it closes nothing.
    pub bad_headers: Vec<BadHeader>,
}

/// A segment whose header says nothing, or something else.
#[derive(Debug)]
pub(super) struct BadHeader {
    pub segment: SegmentId,
    pub what: String,
}

impl BadHeader {
    /// The damage row: a block of the file, and no record.
    pub fn row(&self) -> DamageRow {
        DamageRow {
            first_offset: self.segment.base,
            end_offset: self.segment.base,
            segment_base: self.segment.base,
            position: 0,
            length: FIRST_BATCH,
            what: DamageKind::SegmentFile,
        }
    }
}

/// Lists the older segments of a log from its directory.
#[derive(Debug)]
pub(super) struct LoadJob {
    pub id: Incarnation,
    pub below: Offset,
    pub previous: Previous,
    pub log_start: Offset,
}

/// A segment file that a load found.
struct FoundFile {
    id: SegmentId,
    file_bytes: u64,
    header: Header,
}

/// What a segment's header says of the one before.
enum Header {
    Says(Option<Previous>),
    /// Nothing: it is damaged, or can't be read.
    Lost,
}

impl LoadJob {
    /// Reads the headers of all segments and follows them back from the first known one.
    pub(super) fn run(&self, disk: &dyn Disk, layout: &Layout) -> Result<Older, IoFailure> {
        let dir = layout.log_dir(self.id);
        let mut older = Older::default();
        let mut found = Vec::new();
        for entry in disk.list(&dir).or_while("listing", &dir)? {
            if is_spare(&entry.name) && !entry.is_dir {
                older.spares.push(dir.join(&entry.name));
                continue;
            }
            let base = segment_base(&entry.name).filter(|base| *base < self.below);
            let Some(base) = base.filter(|_| !entry.is_dir) else {
                continue;
            };
            let id = SegmentId::new(layout, self.id, base);
            let header = self.read_header(disk, &id, &mut older.bad_headers)?;
            found.push(FoundFile {
                id,
                file_bytes: entry.len,
                header,
            });
        }
        let mut next = (self.below, Some(self.previous));
        while let Some(file) = found.pop() {
            let id = file.id;
            if next.0 <= self.log_start {
                let previous = match file.header {
                    Header::Says(previous) => previous,
                    Header::Lost => None,
                };
                let segment = Segment::existing(id, previous, file.file_bytes);
                older.expired.push(Arc::new(segment));
                continue;
            }
            let follows = next.1.filter(|previous| previous.base == id.base);
            if follows.is_none() {
                let path = id.path();
                older.faults.push(format!(
                    "no segment between {} and offset {}",
                    path.display(),
                    next.0
                ));
            }
            // Without its header a segment still has its batches, and the file before it.
            let previous = match file.header {
                Header::Says(previous) => previous,
                Header::Lost => match found.last() {
                    Some(before) => Some(Previous {
                        base: before.id.base,
                        length: before.file_bytes,
                        last_time: latest_time_before(disk, &id)?,
                    }),
                    None => None,
                },
            };
            next = (id.base, previous);
            let length = follows.map_or(file.file_bytes, |previous| previous.length);
            let segment = Segment::existing(id, previous, length);
            older.segments.push(Arc::new(segment));
        }
        if next.0 > self.log_start {
            older.faults.push(format!(
                "{}: the segments from log start {} to offset {} are missing",
                dir.display(),
                self.log_start,
                next.0
            ));
        }
        // What lies below the log start is to be removed, whatever its header says.
        let first = older.segments.last().map(|first| first.id().base);
        let is_kept = |bad: &BadHeader| first.is_some_and(|first| bad.segment.base >= first);
        older.bad_headers.retain(is_kept);
        older.segments.reverse();
        older.expired.reverse();
        Ok(older)
    }

    /// What a segment's header says of the one before. A header that the operating system can't
    /// read is no damage yet: the scrubber says which file it is.
    fn read_header(
        &self,
        disk: &dyn Disk,
        id: &SegmentId,
        bad: &mut Vec<BadHeader>,
    ) -> Result<Header, IoFailure> {
        let what = match Segment::read_header(disk, id) {
            Ok(Ok(header)) if header.incarnation == self.id && header.base_offset == id.base => {
                return Ok(Header::Says(Previous::of(&header)));
            }
            Ok(Ok(header)) => format!(
                "the header is one of log {} from offset {}",
                header.incarnation, header.base_offset
            ),
            Ok(Err(error)) => error.to_string(),
            Err(failure) if failure.is_passing() || is_no_file(&failure.source) => {
                return Err(failure);
            }
            Err(failure) => {
                tracing::error!(%failure, "the header of a segment can't be read");
                return Ok(Header::Lost);
            }
        };
        let segment = id.clone();
        bad.push(BadHeader { segment, what });
        Ok(Header::Lost)
    }
}

/// A time that is not before the last batch of the segment in front of this one, where this one's
/// header does not say it: that of its own first batch, if that can be read.
fn latest_time_before(disk: &dyn Disk, id: &SegmentId) -> Result<Timestamp, IoFailure> {
    let mut bytes = [0; BATCH_HEADER_BYTES];
    let opened = disk.open(&id.path(), OpenMode::Read);
    let read = match opened.and_then(|file| file.read_at(FIRST_BATCH, &mut bytes)) {
        Ok(read) => read,
        Err(error) => {
            let failure = IoFailure::new("reading", &id.path(), error);
            if failure.is_passing() {
                return Err(failure);
            }
            0 // told of by those who want the batch
        }
    };
    let is_its =
        |header: &BatchHeader| header.incarnation() == id.log && header.base_offset() == id.base;
    let first = BatchHeader::peek(&bytes[..read]).ok().filter(is_its);
    Ok(first.map_or(Timestamp(i64::MAX), |first| first.append_time()))
}
