//! Files of removed segments that later segments of the same log are written over.
//!
//! A file whose blocks were written before takes synced writes two to three times as fast as one
//! that grows: no sync has to record a new block or length, and its pages are in memory already.
//!
//! ```text
//!   <base>.log ──removed by retention──▶ <base>.spare ──a new segment begins──▶ <new base>.log
//! ```
//! What a spare file holds is nobody's any more, and what a segment made of one holds behind the
//! log's end is no data (`storage-format.md`, "Segments"). So the writer of such a segment writes
//! its padding too, and it is cut to its batches once it is sealed.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::layout::SPARE_EXTENSION;
use super::log::Log;
use super::removing::Removal;
use super::segment::{FIRST_BATCH, Segment};
use super::store::Storage;
use crate::types::{Incarnation, Timestamp};

/// Most spare files of a log. A fast writer begins some twenty segments a second, and those that it no
/// longer needs come together, after a checkpoint.
const MOST_SPARES: usize = 64;

/// A log's spare files are removed when it has begun no segment for this long.
const IDLE_MS: i64 = 10_000;

/// The spare files of one log: their names are durable, and no reader has a slice of them.
#[derive(Debug, Default)]
pub(super) struct Spares(Mutex<Vec<PathBuf>>);

impl Spares {
    fn lock(&self) -> MutexGuard<'_, Vec<PathBuf>> {
        // A panic of another holder leaves a list of paths.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// One of them, which is the taker's from now on.
    pub fn take(&self) -> Option<PathBuf> {
        self.lock().pop()
    }

    /// Adds files to them.
    pub fn give(&self, paths: impl IntoIterator<Item = PathBuf>) {
        self.lock().extend(paths);
    }

    fn take_all(&self) -> Vec<PathBuf> {
        std::mem::take(&mut *self.lock())
    }

    fn len(&self) -> usize {
        self.lock().len()
    }
}

impl Segment {
    /// The name of its file once it is a spare one.
    pub(super) fn spare_path(&self) -> PathBuf {
        self.id().path().with_extension(SPARE_EXTENSION)
    }
}

impl Log {
    /// How many of so many segments that are about to be removed leave their files for later ones: one
    /// for each that large runs have begun, so that a log which is no longer written to keeps none.
    fn wanted_spares(&mut self, removed: usize) -> usize {
        let most = MOST_SPARES.saturating_sub(self.spares.len());
        let begun = self.begun_by_runs.min(MOST_SPARES);
        let wanted = removed.min(begun).min(most);
        self.begun_by_runs = begun - wanted;
        wanted
    }
}

impl Storage {
    /// How many of these segments' files are kept as spare ones, now that they are removed.
    pub(super) fn plan_spares(
        &mut self,
        id: Incarnation,
        segments: &[std::sync::Arc<Segment>],
        now: Timestamp,
    ) -> usize {
        let Some(log) = self.logs.get_mut(&id).filter(|log| !log.is_poisoned) else {
            return 0;
        };
        let largest = log.options.segment_bytes;
        let is_fit = |segment: &std::sync::Arc<Segment>| segment.length() <= FIRST_BATCH + largest;
        // Space that others need is not kept.
        if !self.space.has_room_for(largest) || !segments.iter().all(is_fit) {
            return 0;
        }
        let wanted = log.wanted_spares(segments.len());
        if wanted > 0 {
            self.spared.insert(id, now);
        }
        wanted
    }

    /// The removal of a log's spare files, where nobody has needed one for long or the disk is short
    /// of space.
    pub(super) fn unneeded_spares(&mut self, now: Timestamp) -> Option<Removal> {
        let is_over = |id: &Incarnation, since: &Timestamp| {
            let log = self.logs.get(id);
            let bytes = log.map_or(0, |log| log.options.segment_bytes);
            let is_idle = now.0.saturating_sub(since.0) >= IDLE_MS || since.0 > now.0;
            is_idle || !self.space.has_room_for(bytes)
        };
        let (id, _) = self.spared.iter().find(|(id, since)| is_over(id, since))?;
        let id = *id;
        self.spared.remove(&id);
        let log = self.logs.get_mut(&id)?;
        log.begun_by_runs = 0;
        let paths = log.spares.take_all();
        (!paths.is_empty()).then_some(Removal::Spares { log: id, paths })
    }

    /// Gives up all spare files: the broker is about to stop.
    pub(super) fn drop_spares(&mut self) {
        for id in std::mem::take(&mut self.spared).into_keys() {
            let Some(log) = self.logs.get(&id) else {
                continue;
            };
            let paths = log.spares.take_all();
            if !paths.is_empty() {
                let removal = Removal::Spares { log: id, paths };
                self.removals_mut().push_back(removal);
            }
        }
    }
}
