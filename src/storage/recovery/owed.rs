//! The syncs that a replay owes. A start after a kill has a segment to sync in each log that was
//! written to. A disk takes several syncs in little more time than one, and none of them needs a
//! processor, so they are made side by side while further logs are replayed.

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::super::disk::{Disk, Tasks};
use super::super::error::{IoFailure, While};
use super::super::segment::Segment;
use super::Unrecovered;

/// Syncs under way at once: nobody else writes yet.
const AT_ONCE: usize = 8;

/// So many segments are synced together while others are replayed. Each holds an open file, and as many
/// again may wait.
const TOGETHER: usize = 64;

/// The segments that were replayed into and are not synced yet.
#[derive(Debug, Default)]
pub(super) struct Owed {
    waiting: Vec<Arc<Segment>>,
    under_way: Option<JoinHandle<Result<(), IoFailure>>>,
}

impl Unrecovered {
    /// Takes on the sync of a segment that was replayed into. Waits for those under way where
    /// [`TOGETHER`] wait.
    pub(super) fn owe(&mut self, segment: Arc<Segment>) -> Result<(), IoFailure> {
        self.owed.waiting.push(segment);
        if self.owed.waiting.len() < TOGETHER {
            return Ok(());
        }
        let waiting = std::mem::take(&mut self.owed.waiting);
        self.owed.wait()?;
        let disk = self.disk.clone();
        self.owed.under_way = Some(thread::spawn(move || sync_all(&*disk, &waiting)));
        Ok(())
    }

    /// Syncs every segment that is owed one, and its name. The replayed bytes are durable then.
    pub(super) fn sync_owed(&mut self) -> Result<(), IoFailure> {
        let waiting = std::mem::take(&mut self.owed.waiting);
        if waiting.is_empty() && self.owed.under_way.is_none() {
            return Ok(());
        }
        self.owed.wait()?;
        sync_all(&*self.disk, &waiting)?;
        // Once for all of them: their folders lie in it.
        let dir = self.layout.channels_dir();
        self.disk.sync_dir(&dir).or_while("syncing", &dir)
    }
}

impl Owed {
    /// Waits for the syncs under way.
    fn wait(&mut self) -> Result<(), IoFailure> {
        match self.under_way.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(end)) => end,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

/// A start that fails elsewhere lets go of its directory once nothing is written there any more.
impl Drop for Owed {
    fn drop(&mut self) {
        if let Some(thread) = self.under_way.take() {
            let _ = thread.join();
        }
    }
}

/// Syncs all of them. The failure of the first in their order, if there was one; none is begun after a
/// failure.
fn sync_all(disk: &dyn Disk, segments: &[Arc<Segment>]) -> Result<(), IoFailure> {
    let met: Mutex<Option<(usize, IoFailure)>> = Mutex::new(None);
    let failed = || met.lock().unwrap_or_else(PoisonError::into_inner);
    let tasks = Tasks {
        count: segments.len(),
        at_once: AT_ONCE,
    };
    disk.side_by_side(tasks, &|n| {
        if failed().is_some() {
            return;
        }
        if let Err(failure) = sync(disk, &segments[n]) {
            let mut met = failed();
            if met.as_ref().is_none_or(|(first, _)| n < *first) {
                *met = Some((n, failure));
            }
        }
    });
    match met.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some((_, failure)) => Err(failure),
        None => Ok(()),
    }
}

fn sync(disk: &dyn Disk, segment: &Segment) -> Result<(), IoFailure> {
    let path = segment.id().path();
    // Bytes of references may be in the page cache alone, so a segment is synced even if nothing
    // was written to it here.
    if disk.exists(&path).or_while("looking for", &path)? {
        segment.set_dirty();
        segment.sync_in_log(disk)?;
    }
    Ok(())
}
