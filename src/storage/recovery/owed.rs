//! The syncs that a replay owes, done many at once: a start after a kill has a segment to sync in
//! each log that was written to, and a disk takes several syncs in little more time than one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use super::super::disk::Disk;
use super::super::error::{IoFailure, While};
use super::super::segment::Segment;
use super::Unrecovered;

/// Syncs under way at once.
const AT_ONCE: usize = 8;

/// Segments that may wait for their sync; each holds an open file.
const MOST: usize = 256;

/// Up to this many are synced one by one, where threads would cost more than they bring.
const ONE_BY_ONE: usize = 32;

impl Unrecovered {
    /// Takes on the sync of a segment that was replayed into. All that are owed are synced once
    /// [`MOST`] wait.
    pub(super) fn owe(&mut self, segment: Arc<Segment>) -> Result<(), IoFailure> {
        self.owed.push(segment);
        if self.owed.len() < MOST {
            return Ok(());
        }
        self.sync_owed()
    }

    /// Syncs every segment that is owed one. The replayed bytes are durable then.
    pub(super) fn sync_owed(&mut self) -> Result<(), IoFailure> {
        sync_all(&*self.disk, &std::mem::take(&mut self.owed))
    }
}

/// The failure of the first in their order, if there was one; none is begun after a failure.
fn sync_all(disk: &dyn Disk, segments: &[Arc<Segment>]) -> Result<(), IoFailure> {
    if segments.len() <= ONE_BY_ONE {
        return segments.iter().try_for_each(|segment| sync(disk, segment));
    }
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(segment) = segments.get(at) else {
                return Ok(());
            };
            if let Err(failure) = sync(disk, segment) {
                next.store(segments.len(), Ordering::Relaxed);
                return Err((at, failure));
            }
        }
    };
    let failures = thread::scope(|scope| {
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        let ends = threads.into_iter().map(|thread| match thread.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        ends.filter_map(Result::err).collect::<Vec<_>>()
    });
    match failures.into_iter().min_by_key(|(at, _)| *at) {
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
        segment.sync(disk)?;
    }
    Ok(())
}
