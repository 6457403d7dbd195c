//! One more file for the journal's ring, made while nobody waits for it.
//!
//! What the ring can't do without (three files, and one more where a failed log's part is copied
//! forward) leaves the reserve, every other file what producers leave. One that would not is not begun:
//! the log says so once, and it is made when a look at the disk finds the space.

use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::error::{IoFailure, Shortage};
use super::journal::prepare_file;
use super::layout::Layout;
use super::segment::remove_file;
use super::store::Storage;
use crate::types::{Incarnation, Timestamp};

/// How long after a failure a journal file is prepared again; twice as long after each further one.
const RETRY_MS: i64 = 1_000;

/// The longest such wait.
const MAX_RETRY_MS: i64 = 60_000;

/// Prepares one journal file.
#[derive(Debug)]
pub struct PrepareJob {
    disk: Arc<dyn Disk>,
    layout: Layout,
    directory_id: Incarnation,
    number: u32,
    file_bytes: u64,
}

/// What is known of files that were not prepared.
#[derive(Debug, Default)]
pub(super) struct Preparing {
    /// Preparing one failed: when the next try is, and how long after the failure that is.
    retry: Option<(Timestamp, i64)>,
    /// The log says that one waits for space.
    is_told: bool,
}

impl Preparing {
    fn tell_short(&mut self, shortage: &Shortage, file_bytes: u64, files: u32) {
        if !std::mem::replace(&mut self.is_told, true) {
            tracing::warn!(
                free = ?shortage.free, needed = shortage.limit, file_bytes, files,
                "the journal needs another file and there is no space for it: it is made once there is \
                 (free some, or set a smaller storage.journal_file_bytes or storage.reserve_bytes)"
            );
        }
    }
}

impl Storage {
    /// The journal file that should be prepared at `now` and finds its space.
    pub(super) fn plan_prepare(&mut self, now: Timestamp) -> Option<PrepareJob> {
        if self.preparing.retry.is_some_and(|(at, _)| now < at) {
            return None;
        }
        let file_bytes = self.config.journal_file_bytes;
        // A larger ring is worth its space only where writers don't need that.
        let has_room = self.space.has_room_for(file_bytes);
        let number = self.journal.wanted_file(has_room)?;
        if let Err(shortage) = self.space.leaves_reserve(file_bytes) {
            self.preparing.tell_short(&shortage, file_bytes, number);
            // Nobody gets into a ring that could not be freed again.
            let needed = self.journal.is_single().then_some(shortage.limit);
            self.space.set_ring_needs(needed);
            return None;
        }
        self.space.set_ring_needs(None);
        self.journal.preparing();
        // The next look finds it gone; until then nobody else counts on it.
        self.space.staged(file_bytes);
        Some(PrepareJob {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            directory_id: self.directory_id,
            number,
            file_bytes,
        })
    }

    /// Books a journal file that is ready, or is not.
    pub(super) fn finish_prepare(
        &mut self,
        prepared: Result<Arc<dyn DiskFile>, IoFailure>,
        now: Timestamp,
    ) {
        match prepared {
            Ok(file) => {
                if std::mem::take(&mut self.preparing.is_told) {
                    tracing::info!("the journal has the file that waited for space");
                }
                self.preparing.retry = None;
                self.journal.prepared(Some(file));
            }
            Err(failure) => {
                // It is tried for as long as it takes; one line of the log is enough.
                if self.preparing.retry.is_none() {
                    tracing::warn!(%failure, "a journal file could not be prepared; it is tried again");
                }
                if failure.is_out_of_space() {
                    self.space.refused(&failure);
                }
                let before = self.preparing.retry.map_or(0, |(_, wait)| wait);
                let wait = (2 * before).clamp(RETRY_MS, MAX_RETRY_MS);
                self.preparing.retry = Some((now.saturating_add_ms(wait), wait));
                self.journal.prepared(None);
            }
        }
    }
}

impl PrepareJob {
    /// Does the work.
    pub(super) fn run(&self) -> Result<Arc<dyn DiskFile>, IoFailure> {
        let (disk, layout) = (&*self.disk, &self.layout);
        let made = prepare_file(
            disk,
            layout,
            self.directory_id,
            self.number,
            self.file_bytes,
        );
        if let Err(failure) = &made
            && failure.path == layout.journal_dir()
        {
            // What a failed sync was for is made durable by no later one: the next try makes the name anew.
            remove_file(disk, &layout.journal_file(self.number))?;
        }
        made
    }
}
