//! How far a pass over everything is, and how fast it goes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::path::{Path, PathBuf};

use super::check::SegmentCheck;
use super::own_files::FaultyFile;
use crate::storage::error::IoFailure;
use crate::types::{Incarnation, Offset, Timestamp};

/// Most and fewest bytes of a piece; in between it is a quarter of a second's worth.
const PIECE_BYTES: std::ops::RangeInclusive<u64> = 64 * 1024..=1024 * 1024;

/// What a piece costs at least: opening a file is work too.
const LEAST_COST_BYTES: u64 = 16 * 1024;

/// The rate of a pass that is asked for while the scrubber is switched off.
const ASKED_BYTES_PER_S: u64 = 8 * 1024 * 1024;

/// When what could not be read, or a file of the broker's own that was bad, is looked at again.
const AGAIN_MS: i64 = 60 * 60 * 1000;

/// How far the scrubber is, and what it has found since the start.
#[derive(Debug)]
pub(in crate::storage) struct Scrub {
    pub(super) bytes_per_s: u64,
    pub(super) interval_ms: i64,
    /// No piece before this time.
    pub(super) due: Timestamp,
    /// The next pass begins at this time; `None` for at once.
    pub(super) next_pass: Option<Timestamp>,
    pub(super) last_seen: Timestamp,
    pub(super) is_wanted: bool,
    /// A job is under way.
    pub(super) is_running: bool,
    pub(super) pass: Option<Pass>,
    /// Files that the operating system could not read when they were last tried.
    pub(super) unreadable: BTreeMap<PathBuf, IoFailure>,
    pub(super) status: ScrubStatus,
}

/// One pass over everything.
#[derive(Debug)]
pub(super) struct Pass {
    pub(super) started_at: Timestamp,
    pub(super) bytes: u64,
    /// The logs that are not done; the first is under way.
    pub(super) logs: VecDeque<Incarnation>,
    /// The base offset of its last segment that is done.
    pub(super) after: Option<Offset>,
    /// The segment under way.
    pub(super) check: Option<SegmentCheck>,
    /// What could not be read: then this is no full pass.
    pub(super) unreadable: BTreeSet<PathBuf>,
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

    pub(super) fn piece_bytes(&self) -> u64 {
        (self.rate() / 4).clamp(*PIECE_BYTES.start(), *PIECE_BYTES.end())
    }

    /// Whether a piece may be planned at `now`.
    pub(super) fn is_due(&mut self, now: Timestamp) -> bool {
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
    pub(super) fn spent(&mut self, bytes: u64, now: Timestamp) {
        self.status.bytes += bytes;
        if let Some(pass) = &mut self.pass {
            pass.bytes += bytes;
        }
        let cost = u128::from(bytes.max(LEAST_COST_BYTES)) * 1000;
        let ms = cost.div_ceil(u128::from(self.rate()));
        self.due = now.saturating_add_ms(i64::try_from(ms).unwrap_or(i64::MAX));
    }

    pub(super) fn end_pass(&mut self, now: Timestamp) {
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

    pub(super) fn could_not_read(&mut self, path: &Path, failure: IoFailure) {
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
    pub(super) fn next_log(&mut self) {
        self.logs.pop_front();
        (self.after, self.check) = (None, None);
    }
}
