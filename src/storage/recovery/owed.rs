//! The syncs that a replay owes. A start after a kill has a segment to sync in each log that was
//! written to. A disk takes several syncs in little more time than one, and none of them needs a
//! processor, so they are made by threads of their own while further logs are replayed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::super::disk::Disk;
use super::super::error::{IoFailure, While};
use super::super::segment::Segment;
use super::Unrecovered;

/// Syncs under way at once.
const AT_ONCE: usize = 8;

/// Segments that may wait for their sync; each holds an open file.
const MOST: usize = 256;

/// Up to this many are synced one by one at the end, where threads would cost more than they bring.
const ONE_BY_ONE: usize = 32;

/// The segments that were replayed into and are not synced yet.
#[derive(Debug, Default)]
pub(super) struct Owed {
    waiting: Vec<Arc<Segment>>,
    threads: Option<Threads>,
}

/// Threads that sync what they are sent, and how many segments they were.
#[derive(Debug)]
struct Threads {
    sender: Option<SyncSender<(usize, Arc<Segment>)>>,
    sent: usize,
    threads: Vec<JoinHandle<Result<(), (usize, IoFailure)>>>,
    has_failed: Arc<AtomicBool>,
}

impl Unrecovered {
    /// Takes on the sync of a segment that was replayed into. Waits where [`MOST`] wait already.
    pub(super) fn owe(&mut self, segment: Arc<Segment>) -> Result<(), IoFailure> {
        self.owed.waiting.push(segment);
        if self.owed.waiting.len() <= ONE_BY_ONE && self.owed.threads.is_none() {
            return Ok(());
        }
        let threads = &mut self.owed.threads;
        let threads = threads.get_or_insert_with(|| Threads::start(&self.disk));
        self.owed
            .waiting
            .drain(..)
            .for_each(|one| threads.sync(one));
        if threads.has_failed.load(Ordering::Relaxed) {
            return self.sync_owed();
        }
        Ok(())
    }

    /// Syncs every segment that is owed one, and its name. The replayed bytes are durable then.
    pub(super) fn sync_owed(&mut self) -> Result<(), IoFailure> {
        let owed = std::mem::take(&mut self.owed);
        if owed.waiting.is_empty() && owed.threads.is_none() {
            return Ok(());
        }
        owed.finish(&*self.disk)?;
        // Once for all of them: their folders lie in it.
        let dir = self.layout.channels_dir();
        self.disk.sync_dir(&dir).or_while("syncing", &dir)
    }
}

impl Owed {
    /// The failure of the first in their order, if there was one; none is begun after a failure.
    fn finish(mut self, disk: &dyn Disk) -> Result<(), IoFailure> {
        match self.threads.take() {
            Some(threads) => threads.finish(),
            None => self.waiting.iter().try_for_each(|one| sync(disk, one)),
        }
    }
}

impl Threads {
    fn start(disk: &Arc<dyn Disk>) -> Self {
        let (sender, receiver) = sync_channel(MOST - AT_ONCE);
        let receiver = Arc::new(Mutex::new(receiver));
        let has_failed = Arc::new(AtomicBool::new(false));
        let threads = (0..AT_ONCE).map(|_| {
            let (disk, receiver, has_failed) = (disk.clone(), receiver.clone(), has_failed.clone());
            thread::spawn(move || sync_all(&*disk, &receiver, &has_failed))
        });
        Self {
            threads: threads.collect(),
            sender: Some(sender),
            sent: 0,
            has_failed,
        }
    }

    fn sync(&mut self, segment: Arc<Segment>) {
        let sender = self.sender.as_ref().expect("taken at the end");
        // Nobody receives once all of them have panicked, which the end passes on.
        let _ = sender.send((self.sent, segment));
        self.sent += 1;
    }

    fn finish(mut self) -> Result<(), IoFailure> {
        self.sender = None;
        let ends = self.threads.drain(..).map(|thread| match thread.join() {
            Ok(end) => end,
            Err(panic) => std::panic::resume_unwind(panic),
        });
        let failures = ends.filter_map(Result::err);
        match failures.min_by_key(|(at, _)| *at) {
            Some((_, failure)) => Err(failure),
            None => Ok(()),
        }
    }
}

/// A start that fails elsewhere lets go of its directory once nothing is written there any more.
impl Drop for Threads {
    fn drop(&mut self) {
        self.has_failed.store(true, Ordering::Relaxed);
        self.sender = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Syncs what is received until nothing more can be. After a failure it is only received, so that
/// nobody waits.
fn sync_all(
    disk: &dyn Disk,
    receiver: &Mutex<Receiver<(usize, Arc<Segment>)>>,
    has_failed: &AtomicBool,
) -> Result<(), (usize, IoFailure)> {
    let mut end = Ok(());
    loop {
        let received = {
            let receiver = receiver.lock().unwrap_or_else(PoisonError::into_inner);
            receiver.recv()
        };
        let Ok((at, segment)) = received else {
            return end;
        };
        if has_failed.load(Ordering::Relaxed) {
            continue;
        }
        if let Err(failure) = sync(disk, &segment) {
            has_failed.store(true, Ordering::Relaxed);
            end = Err((at, failure));
        }
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
