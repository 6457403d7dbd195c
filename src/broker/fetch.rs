//! Fetching: from a place in a log to stored batches, step by step, with I/O between the steps.
//!
//! ```text
//! named ──▶ (load segments) ──▶ offset known ──▶ (epoch checked) ──▶ batches
//! ```

use super::channels::Place;
use super::core::Broker;
use super::error::BrokerError;
use super::unsealing::{Sealed, UnsealJob};
use crate::storage::IoFailure;
use crate::storage::{
    BatchAt, BatchJob, History, LoadTask, Loaded, Log, Read, ReadError, ReadJob, Slices, TimeJob,
};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

/// Where a fetch begins.
pub type FetchFrom = Place;

/// A fetch under way.
#[derive(Debug)]
pub struct Fetch {
    channel: ChannelName,
    incarnation: Option<Incarnation>,
    from: Place,
    last_epoch: LogEpoch,
    max_bytes: u64,
    offset: Option<Offset>,
    is_epoch_checked: bool,
    slices: Option<Slices>,
    /// Only its head is wanted: batches stay as they are stored.
    is_head: bool,
    /// What is found goes to a socket as it is, and nobody looks at it.
    is_for_socket: bool,
    /// The log start at the last step: what lay there may be removed while a job runs.
    log_start: Offset,
    /// The high watermark then: what lay below it may be cut off.
    high_watermark: Offset,
    /// What the offsets stood for.
    history: Option<History>,
}

/// What a fetch says beside its batches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchHead {
    /// The channel's identity.
    pub incarnation: Incarnation,
    /// Lowest offset still readable.
    pub log_start: Offset,
    /// Everything below may be read.
    pub high_watermark: Offset,
    /// Offset of the first record asked for.
    pub from: Offset,
    /// Epoch of the last batch of the log.
    pub log_epoch: LogEpoch,
}

/// What a fetch found.
#[derive(Debug)]
pub struct Fetched {
    /// Where the log stands.
    pub head: FetchHead,
    /// The batches; empty at the high watermark.
    pub slices: Slices,
}

/// The next step of a fetch.
#[derive(Debug)]
pub enum FetchStep {
    /// It is done.
    Done(Fetched),
    /// Run this without the lock and feed its end to the fetch.
    Run(FetchJob),
}

/// What a fetch needs from the disk.
#[derive(Debug)]
pub enum FetchJob {
    /// List the log's older segments.
    Load(LoadTask),
    /// Find a time.
    Time(TimeJob),
    /// Find the epoch of a record.
    Epoch(BatchJob),
    /// Read batches for a socket.
    Read(ReadJob),
    /// Read batches into memory.
    Copy(ReadJob),
    /// Read batches, if they are not in memory, and decrypt them.
    Unseal(UnsealJob),
}

/// How a job ended.
#[derive(Debug)]
pub enum JobEnd {
    /// The segments were listed, or not.
    Load(Loaded),
    /// The time was found, or not.
    Time(Result<Offset, IoFailure>),
    /// The epoch was found, or not.
    Epoch(Result<Option<(LogEpoch, Timestamp)>, IoFailure>),
    /// The batches were read, or not.
    Read(Result<Slices, ReadError>),
    /// The batches were read and decrypted, or not.
    Unsealed(Result<Slices, BrokerError>),
}

impl FetchJob {
    /// Does the work. Call it without any lock.
    #[must_use]
    pub fn run(&self) -> JobEnd {
        match self {
            Self::Load(task) => JobEnd::Load(task.run()),
            Self::Time(job) => JobEnd::Time(job.run()),
            Self::Epoch(job) => JobEnd::Epoch(job.run()),
            Self::Read(job) => JobEnd::Read(job.run()),
            Self::Copy(job) => JobEnd::Read(job.run_copied()),
            Self::Unseal(job) => JobEnd::Unsealed(job.run()),
        }
    }

    /// The same where nobody would wait for the disk; else `None`. Call it without any lock, too.
    #[must_use]
    pub fn run_warm(&self) -> Option<JobEnd> {
        match self {
            Self::Epoch(job) => job.run_warm().map(|found| JobEnd::Epoch(Ok(found))),
            Self::Read(job) => job.run_warm().map(|slices| JobEnd::Read(Ok(slices))),
            Self::Load(_) | Self::Time(_) | Self::Copy(_) | Self::Unseal(_) => None,
        }
    }
}

impl Fetch {
    /// A fetch from `from`.
    ///
    /// - `last_epoch`: epoch of the record before `from` that the reader has seen; 0 when none.
    /// - `max_bytes`: bytes of batches; at least one batch comes where there is one.
    #[must_use]
    pub fn new(
        channel: ChannelName,
        incarnation: Option<Incarnation>,
        from: Place,
        last_epoch: LogEpoch,
        max_bytes: u64,
    ) -> Self {
        Self {
            channel,
            incarnation,
            from,
            last_epoch,
            max_bytes,
            offset: None,
            is_epoch_checked: last_epoch.0 == 0,
            slices: None,
            is_head: false,
            is_for_socket: false,
            log_start: Offset(0),
            high_watermark: Offset(0),
            history: None,
        }
    }

    /// The same for its head alone, which an encrypted channel tells without its key.
    #[must_use]
    pub fn for_head(self) -> Self {
        Self {
            is_head: true,
            ..self
        }
    }

    /// The same for who hands what is found to a socket: it may be mapped. Where the medium has lost a
    /// part of a file, who looks at a map of it dies, and a socket only fails.
    #[must_use]
    pub fn for_socket(self) -> Self {
        Self {
            is_for_socket: true,
            ..self
        }
    }

    /// Changes how many bytes of batches it asks for.
    pub fn limit(&mut self, max_bytes: u64) {
        self.max_bytes = max_bytes;
    }

    /// The offset that the fetch begins at, once it is known; a later try goes on from it.
    #[must_use]
    pub fn offset(&self) -> Option<Offset> {
        self.offset
    }

    /// Takes where the log stands at a step. What was found of it before counts for nothing where its end
    /// was cut off since, or another log is in its place: also what a reader has seen is looked up again.
    fn stands(&mut self, log: &Log) {
        let history = log.history();
        let last = self.history.replace(history.clone());
        if last.is_some_and(|last| last != *history) {
            self.is_epoch_checked = self.last_epoch.0 == 0;
            self.slices = None;
            self.offset = match self.from {
                Place::Start | Place::Time(_) => None,
                Place::Offset(_) => self.offset,
                // What came behind the cut came after the end was asked for.
                Place::End | Place::Back(_) => {
                    self.offset.map(|offset| offset.min(history.began_at()))
                }
            };
        }
        if log.high_watermark() < self.high_watermark {
            self.slices = None;
        }
        (self.log_start, self.high_watermark) = (log.log_start(), log.high_watermark());
    }
}

impl Broker {
    /// The next step of a fetch.
    ///
    /// # Errors
    /// [`BrokerError`]: no such channel, an offset outside the log, a position of a part that was
    /// cut off.
    pub fn fetch_step(&self, fetch: &mut Fetch) -> Result<FetchStep, BrokerError> {
        let id = self.channel_to_read(&fetch.channel, fetch.incarnation)?;
        // The first step has chosen a channel; a new one of the same name is another.
        fetch.incarnation = Some(id);
        let Some(log) = self.storage.log(id) else {
            return Err(super::positions::no_such(&fetch.channel));
        };
        fetch.stands(log);
        if fetch.offset.is_none() {
            fetch.offset = match fetch.from {
                Place::Offset(offset) => Some(offset),
                Place::Start => Some(log.log_start()),
                Place::End => Some(log.high_watermark()),
                Place::Back(records) => {
                    let back = log.high_watermark().0.saturating_sub(records);
                    Some(Offset(back).max(log.log_start()))
                }
                Place::Time(time) => return self.find_time(id, time),
            };
        }
        let Some(offset) = fetch.offset else {
            return Err(BrokerError::Bug("a fetch without an offset".into()));
        };
        if !fetch.is_epoch_checked {
            // A copy is behind its home, and its epochs are not those of this broker's starts.
            let is_copy = self.elsewhere(id).is_some();
            let stamp = self.storage.stamp_of(id);
            if !is_copy && offset > log.high_watermark() && fetch.last_epoch < stamp {
                return Err(BrokerError::Diverged {
                    offset,
                    seen: fetch.last_epoch.0,
                    log_end: log.high_watermark(),
                });
            }
            // Nothing was cut since the reader saw the epoch that the log still has.
            if fetch.last_epoch != log.last_epoch() && offset > log.log_start() {
                match self.storage.plan_batch_at(id, Offset(offset.0 - 1)) {
                    BatchAt::Known { epoch, .. } => self.check_epoch(fetch, epoch)?,
                    BatchAt::Segment(job) => return Ok(FetchStep::Run(FetchJob::Epoch(job))),
                    BatchAt::Load(task) => return Ok(FetchStep::Run(FetchJob::Load(task))),
                    BatchAt::Unknown => {}
                }
            }
            fetch.is_epoch_checked = true;
        }
        let head = FetchHead {
            incarnation: id,
            log_start: log.log_start(),
            high_watermark: log.high_watermark(),
            from: offset,
            log_epoch: log.last_epoch(),
        };
        let done = |slices| FetchStep::Done(Fetched { head, slices });
        match fetch.slices.take() {
            Some(slices) => Ok(done(slices)),
            None => {
                let read = self.storage.plan_read(id, offset, fetch.max_bytes)?;
                let keyring = self.keyrings.get(&id).filter(|_| !fetch.is_head);
                let sealed = match (read, keyring) {
                    (Read::Load(task), _) => return Ok(FetchStep::Run(FetchJob::Load(task))),
                    (Read::Segment(job), None) => {
                        let job = match fetch.is_for_socket {
                            true => FetchJob::Read(job),
                            false => FetchJob::Copy(job),
                        };
                        return Ok(FetchStep::Run(job));
                    }
                    (Read::Ready(slices), None) => return Ok(done(slices)),
                    (Read::Ready(slices), _) if slices.parts.is_empty() => return Ok(done(slices)),
                    (Read::Ready(slices), Some(keyring)) => (Sealed::Tail(slices), keyring),
                    (Read::Segment(job), Some(keyring)) => (Sealed::Segment(job), keyring),
                };
                Ok(FetchStep::Run(FetchJob::Unseal(UnsealJob {
                    sealed: sealed.0,
                    keyring: sealed.1.clone(),
                    channel: fetch.channel.clone(),
                    from: offset,
                    sealed_from: self.sealed_from(id),
                })))
            }
        }
    }

    fn find_time(&self, id: Incarnation, time: Timestamp) -> Result<FetchStep, BrokerError> {
        if let Some(job) = self.storage.plan_time(id, time) {
            return Ok(FetchStep::Run(FetchJob::Time(job)));
        }
        match self.storage.plan_load(id) {
            Some(task) => Ok(FetchStep::Run(FetchJob::Load(task))),
            None => Err(BrokerError::Bug(
                "a log that can be neither searched nor loaded".into(),
            )),
        }
    }

    fn check_epoch(&self, fetch: &Fetch, found: LogEpoch) -> Result<(), BrokerError> {
        match fetch.offset {
            Some(offset) if found != fetch.last_epoch => {
                let seen = fetch.last_epoch.0;
                Err(ReadError::Diverged {
                    offset,
                    seen,
                    found: found.0,
                }
                .into())
            }
            _ => Ok(()),
        }
    }

    /// Takes the end of a fetch's job. One whose files retention, a deletion or a cut took meanwhile
    /// has not failed: the next step sees the log as it is now.
    ///
    /// # Errors
    /// [`BrokerError`] that ends the fetch.
    pub fn feed_fetch(&mut self, fetch: &mut Fetch, end: JobEnd) -> Result<(), BrokerError> {
        let fed = self.take_end(fetch, end);
        if fed.is_err() && self.is_overtaken(fetch) {
            if fetch.from == Place::Start {
                fetch.offset = None;
            }
            return Ok(());
        }
        fed
    }

    /// Whether files that the last step's job reads may have been removed since.
    fn is_overtaken(&self, fetch: &Fetch) -> bool {
        let id = fetch.incarnation.unwrap_or_default();
        let is_live = self.directory.log_start(id).is_some();
        let log = self.storage.log(id).filter(|_| is_live);
        log.is_none_or(|log| {
            log.log_start() > fetch.log_start
                || log.high_watermark() < fetch.high_watermark
                || fetch.history.as_ref() != Some(log.history())
        })
    }

    fn take_end(&mut self, fetch: &mut Fetch, end: JobEnd) -> Result<(), BrokerError> {
        match end {
            JobEnd::Load(loaded) => self.storage.finish_load(loaded)?,
            JobEnd::Time(found) => fetch.offset = Some(found?),
            JobEnd::Epoch(found) => {
                if let Some((epoch, _)) = found? {
                    self.check_epoch(fetch, epoch)?;
                }
                fetch.is_epoch_checked = true;
            }
            JobEnd::Read(slices) => fetch.slices = Some(slices?),
            JobEnd::Unsealed(slices) => fetch.slices = Some(slices?),
        }
        Ok(())
    }

    /// When the record at `offset` was appended, or how to find out.
    #[must_use]
    pub fn append_time_of(&self, log: Incarnation, offset: Offset) -> BatchAt {
        self.storage.plan_batch_at(log, offset)
    }
}
