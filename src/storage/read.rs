//! Reading stored batches: what memory holds at once, the rest by a job without the lock.

use std::sync::Arc;

use super::disk::Disk;
use super::error::{IoFailure, ReadError};
use super::load::LoadTask;
use super::log::{Log, ReadPlan};
use super::open_files::OpenFiles;
use super::segment::{Segment, Slices, Wanted};
use super::store::Storage;
use crate::format::{BatchHeader, check_stored};
use crate::types::{Incarnation, LogEpoch, Offset, Timestamp};

/// How a read goes on.
#[derive(Debug)]
pub enum Read {
    /// The batches, from memory.
    Ready(Slices),
    /// The batches lie in a segment: run the job without the lock.
    Segment(ReadJob),
    /// The log's older segments must be listed first: run the job, book it, plan again.
    Load(LoadTask),
}

/// What a read from a segment needs, apart from the lock.
#[derive(Debug, Clone)]
pub struct ReadJob {
    disk: Arc<dyn Disk>,
    open_files: Arc<OpenFiles>,
    segment: Arc<Segment>,
    from: Offset,
    max_bytes: u64,
    after: Option<Offset>,
    /// Known damage begins here, or what is being cut off: nothing from here on is read.
    until: Option<Offset>,
}

impl ReadJob {
    /// Reads whole batches; the slices map the segment file.
    ///
    /// # Errors
    /// [`ReadError::Damaged`] where a checksum fails or bytes are missing.
    pub fn run(&self) -> Result<Slices, ReadError> {
        self.read(false)
    }

    /// As [`ReadJob::run`], where nobody would wait for the disk; else `None`.
    #[must_use]
    pub fn run_warm(&self) -> Option<Slices> {
        self.segment.read_warm(self.from, self.wanted(false))
    }

    /// As [`ReadJob::run`], into memory, so that the bytes may be looked at.
    ///
    /// # Errors
    /// As for [`ReadJob::run`].
    pub fn run_copied(&self) -> Result<Slices, ReadError> {
        self.read(true)
    }

    /// What a reader is told of the batch at `offset`, which failed a check.
    #[must_use]
    pub fn damaged_at(&self, offset: Offset, next: Option<Offset>, what: Arc<str>) -> ReadError {
        let (disk, files) = (&*self.disk, &self.open_files);
        let mut error = match self.segment.damaged_at(disk, files, offset, what) {
            Ok(error) => error,
            Err(failure) => return failure.into(),
        };
        if let ReadError::Damaged { next: known, .. } = &mut error {
            *known = next.or(self.after);
        }
        error
    }

    fn wanted(&self, is_copied: bool) -> Wanted {
        Wanted {
            max_bytes: self.max_bytes,
            until: self.until,
            is_copied,
            is_now: false,
        }
    }

    fn read(&self, is_copied: bool) -> Result<Slices, ReadError> {
        let (disk, files) = (&*self.disk, &self.open_files);
        let wanted = self.wanted(is_copied);
        let mut read = self.segment.read(disk, files, self.from, wanted);
        if let Err(ReadError::Damaged { next, .. }) = &mut read {
            *next = next.or(self.after);
        }
        read
    }

    /// As [`ReadJob::run_copied`], with what a client checks for itself: the checksums of all records,
    /// and that each batch is one of this log and follows the one before.
    ///
    /// # Errors
    /// As for [`ReadJob::run`].
    pub fn run_checked(&self) -> Result<Slices, ReadError> {
        let slices = self.run_copied()?;
        let log = self.segment.id().log;
        let mut next = self.from;
        for part in &slices.parts {
            let mut rest = part.clone();
            while !rest.is_empty() {
                let header = BatchHeader::peek(&rest);
                let len = header.map_or(rest.len(), |header| header.len());
                let batch = rest.split_to(len.min(rest.len()));
                let checked = check_stored(&batch).map_err(|error| error.to_string());
                let checked = checked.and_then(|header| {
                    let (base, end) = (header.base_offset(), header.end_offset());
                    if header.incarnation() != log {
                        return Err(format!("belongs to log {}", header.incarnation()));
                    }
                    // The first may begin below what is asked for.
                    let follows = base == next || next == self.from && base < next && next < end;
                    follows
                        .then_some(end)
                        .ok_or_else(|| format!("holds offset {base}, expected {next}"))
                });
                match checked {
                    Ok(end) => next = end,
                    Err(what) => {
                        let (disk, files) = (&*self.disk, &self.open_files);
                        return Err(self.segment.damaged_at(disk, files, next, what.into())?);
                    }
                }
            }
        }
        Ok(slices)
    }
}

/// Finds the first offset of a time in the segments of a log.
#[derive(Debug)]
pub struct TimeJob {
    disk: Arc<dyn Disk>,
    open_files: Arc<OpenFiles>,
    segments: Vec<Arc<Segment>>,
    time: Timestamp,
    in_tail: Option<Offset>,
    log_start: Offset,
    high_watermark: Offset,
}

impl TimeJob {
    /// The first offset appended at or after the time; the high watermark where none is.
    ///
    /// # Errors
    /// [`IoFailure`] when a segment can't be read.
    pub fn run(&self) -> Result<Offset, IoFailure> {
        // The last segment whose successor began before the time may hold it; so may that one.
        let is_before = |segment: &Arc<Segment>| {
            segment
                .previous()
                .is_none_or(|previous| previous.last_time < self.time)
        };
        let first = self.segments.partition_point(is_before).saturating_sub(1);
        for segment in &self.segments[first..] {
            let found = segment.offset_at(&*self.disk, &self.open_files, self.time)?;
            if let Some(offset) = found.filter(|offset| *offset < self.high_watermark) {
                return Ok(offset.max(self.log_start));
            }
        }
        Ok(self
            .in_tail
            .unwrap_or(self.high_watermark)
            .max(self.log_start))
    }
}

/// Finds the batch of one record.
#[derive(Debug)]
pub enum BatchAt {
    /// It is in memory.
    Known {
        /// Its log epoch.
        epoch: LogEpoch,
        /// Its append time.
        append_time: Timestamp,
    },
    /// A segment must be read.
    Segment(BatchJob),
    /// The log's older segments must be listed first.
    Load(LoadTask),
    /// The log has no such record.
    Unknown,
}

/// Reads what a record's batch says of itself from its segment.
#[derive(Debug)]
pub struct BatchJob(ReadJob);

impl BatchJob {
    /// Epoch and append time of the batch that holds the record; `None` where it is damaged or lost.
    ///
    /// # Errors
    /// [`IoFailure`] when the segment can't be read.
    pub fn run(&self) -> Result<Option<(LogEpoch, Timestamp)>, IoFailure> {
        self.0
            .segment
            .batch_at(&*self.0.disk, &self.0.open_files, self.0.from)
    }

    /// The same where nobody would wait for the disk; else the outer `None`.
    #[must_use]
    pub fn run_warm(&self) -> Option<Option<(LogEpoch, Timestamp)>> {
        self.0.segment.batch_at_warm(self.0.from)
    }
}

pub(super) fn plan(
    storage: &Storage,
    log: &Log,
    from: Offset,
    max_bytes: u64,
) -> Result<Read, ReadError> {
    match log.plan_read(from, max_bytes)? {
        ReadPlan::Memory(slices) => Ok(Read::Ready(slices)),
        ReadPlan::Segment {
            segment,
            after,
            until,
        } => {
            let mut job = storage.read_job(segment, from, max_bytes);
            (job.after, job.until) = (after, until);
            Ok(Read::Segment(job))
        }
        ReadPlan::Load => match log.plan_load() {
            Some(job) => Ok(Read::Load(storage.load_task(log.id, job))),
            None => Err(ReadError::OutOfRange {
                offset: from,
                available: log.log_start()..log.high_watermark(),
            }),
        },
    }
}

impl Storage {
    fn read_job(&self, segment: Arc<Segment>, from: Offset, max_bytes: u64) -> ReadJob {
        ReadJob {
            disk: self.disk.clone(),
            open_files: self.open_files.clone(),
            segment,
            from,
            max_bytes,
            after: None,
            until: None,
        }
    }

    /// The job that finds the first record appended at or after `time`; `None` while the log's
    /// older segments are not known: load them and ask again.
    #[must_use]
    pub fn plan_time(&self, id: Incarnation, time: Timestamp) -> Option<TimeJob> {
        let log = self.logs.get(&id).filter(|log| log.is_loaded)?;
        Some(TimeJob {
            disk: self.disk.clone(),
            open_files: self.open_files.clone(),
            // A segment none of whose batches is behind has no file to look into.
            segments: log
                .segments
                .iter()
                .filter(|segment| segment.length() > super::segment::FIRST_BATCH)
                .cloned()
                .collect(),
            time,
            in_tail: log.offset_in_tail(time),
            log_start: log.log_start(),
            high_watermark: log.high_watermark(),
        })
    }

    /// What the batch of the record at `offset` says of itself, or how to find it.
    #[must_use]
    pub fn plan_batch_at(&self, id: Incarnation, offset: Offset) -> BatchAt {
        let Some(log) = self.logs.get(&id) else {
            return BatchAt::Unknown;
        };
        if let Some((epoch, append_time)) = log.batch_in_tail(offset) {
            return BatchAt::Known { epoch, append_time };
        }
        match log.plan_read(offset, 0) {
            Ok(ReadPlan::Segment { segment, .. }) => {
                BatchAt::Segment(BatchJob(self.read_job(segment, offset, 0)))
            }
            Ok(ReadPlan::Load) => match log.plan_load() {
                Some(job) => BatchAt::Load(self.load_task(id, job)),
                None => BatchAt::Unknown,
            },
            _ => BatchAt::Unknown,
        }
    }

    /// Bytes of batches from `from` to the high watermark, as far as the segments tell without
    /// reading: the lag of a consumer in bytes, to within one segment's sparse index.
    #[must_use]
    pub fn bytes_from(&self, id: Incarnation, from: Offset) -> u64 {
        let Some(log) = self.logs.get(&id) else {
            return 0;
        };
        let tail = log
            .tail
            .iter()
            .filter(|batch| batch.offsets.end > from && !batch.is_behind);
        let in_tail: u64 = tail.map(|batch| batch.bytes.len() as u64).sum();
        let mut on_disk = 0;
        for (at, segment) in log.segments.iter().enumerate() {
            let end = log
                .segments
                .get(at + 1)
                .map_or(log.end(), |next| next.id().base);
            if end <= from {
                continue;
            }
            let bytes = segment.length().saturating_sub(super::segment::FIRST_BATCH);
            let base = segment.id().base;
            let records = (end.0 - base.0).max(1);
            let wanted = end.0 - from.0.max(base.0);
            let share = u128::from(bytes) * u128::from(wanted) / u128::from(records);
            on_disk += u64::try_from(share).unwrap_or(bytes);
        }
        on_disk + in_tail
    }
}
