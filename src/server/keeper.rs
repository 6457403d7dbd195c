//! The keeper: one thread for all that no acknowledgement waits for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::shared::Shared;
use super::{ballast, clock};
use crate::broker::{Looked, Stop};
use crate::storage::disk::Disk;

/// How often the keeper looks for work that nobody told it of.
const LOOK: Duration = Duration::from_millis(100);

/// How often retention and the disk's free space are looked at; the latter also when much was
/// staged meanwhile.
const TICK: Duration = Duration::from_secs(1);

/// Most turns of retention in a tick: what is left of the channels comes with the next one.
const TURNS: usize = 64;

/// Does upkeep until the server ends.
pub(super) fn run(shared: &Arc<Shared>, disk: &Arc<dyn Disk>) {
    let mut keeper = Keeper::new(shared, disk);
    loop {
        let is_done = keeper.turn(&clock::instant);
        if shared.is_ending() && shared.broker().stop_state() != Stop::Waiting {
            snapshots(shared);
            return;
        }
        if is_done {
            wait(shared);
        }
    }
}

/// What the keeper remembers from one of its turns to the next.
struct Keeper<'a> {
    shared: &'a Arc<Shared>,
    disk: &'a Arc<dyn Disk>,
    last_tick: Option<Instant>,
    is_space_known: bool,
    has_ballast: bool,
}

impl<'a> Keeper<'a> {
    fn new(shared: &'a Arc<Shared>, disk: &'a Arc<dyn Disk>) -> Self {
        Self {
            shared,
            disk,
            last_tick: None,
            is_space_known: true,
            has_ballast: false,
        }
    }

    /// Looks at what is due by time, and does upkeep until that is due again. Whether no upkeep is left.
    fn turn(&mut self, clock: &dyn Fn() -> Instant) -> bool {
        let (shared, disk) = (self.shared, self.disk);
        let now = clock();
        let last = self.last_tick;
        let is_due = last.is_none_or(|last| now.duration_since(last) >= TICK);
        if is_due || shared.broker().storage().wants_look() {
            let available = look(shared, disk, &mut self.is_space_known);
            self.has_ballast = self.has_ballast || make_ballast(shared, disk, available);
        }
        if is_due {
            self.last_tick = Some(now);
            tick(shared);
        }
        while shared.broker().settle_asp(clock::now()) {
            shared.wake_committer();
        }
        snapshots(shared);
        upkeep(shared, now + TICK, clock)
    }
}

/// Does the upkeep that is due, until something else is: under load it never ends. Whether nothing of it
/// is left.
fn upkeep(shared: &Shared, until: Instant, clock: &dyn Fn() -> Instant) -> bool {
    loop {
        let job = shared.broker().plan_upkeep(clock::now());
        // A checkpoint may have been cut, which waits for a round.
        shared.wake_committer();
        let Some(job) = job else { return true };
        let end = job.run();
        let failed = shared.broker().finish_upkeep(end, clock::now());
        failed.iter().for_each(|waiter| waiter.wake());
        shared.wake_committer();
        if clock() >= until || shared.broker().storage().wants_look() {
            return false;
        }
    }
}

/// Writes the snapshots that are due.
fn snapshots(shared: &Shared) {
    loop {
        let job = shared.broker().plan_snapshot();
        let Some(job) = job else { return };
        let end = job.run();
        shared.broker().finish_snapshot(&end);
    }
}

fn wait(shared: &Shared) {
    let (has_work, signal) = &shared.upkeep;
    let mut guard = has_work.lock().expect("never held across a panic");
    if !*guard {
        let timeout = if shared.is_ending() {
            Duration::from_millis(2)
        } else {
            LOOK
        };
        guard = signal
            .wait_timeout(guard, timeout)
            .expect("never held across a panic")
            .0;
    }
    *guard = false;
}

/// Looks at the disk's free space.
fn look(shared: &Shared, disk: &Arc<dyn Disk>, was_known: &mut bool) -> Option<u64> {
    let available = match disk.available(&shared.options.data_dir) {
        Ok(available) => Some(available),
        Err(error) => {
            if *was_known {
                tracing::warn!(%error, "the disk's free space is not known");
            }
            None
        }
    };
    *was_known = available.is_some();
    shared.broker().book_free_bytes(available);
    available
}

/// Makes the ballast where there is space for it; whether it need not be tried again.
fn make_ballast(shared: &Shared, disk: &Arc<dyn Disk>, available: Option<u64>) -> bool {
    let min_free = shared.options.broker.storage.min_free_bytes;
    if !available.is_some_and(|left| ballast::is_affordable(left, min_free)) {
        return false;
    }
    match ballast::keep(&**disk, &shared.options.data_dir, min_free) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(%error, "no ballast is kept for a start on a full disk");
            // Space comes and goes; whatever else is wrong stays so.
            error.kind() != std::io::ErrorKind::StorageFull
        }
    }
}

fn tick(shared: &Arc<Shared>) {
    // Each turn looks at some channels, so that nobody waits long for the lock.
    for _ in 0..TURNS {
        let looked = shared.broker().tick(clock::now());
        match looked {
            Looked::Unlisted(task) => {
                // It lists one channel's directory; a channel is listed once.
                let loaded = task.run();
                // A channel that could not be listed is told of once, and tried again at its next turn.
                let _ = shared.broker().finish_load(loaded);
            }
            Looked::Part => {}
            Looked::All => break,
        }
    }
    shared.wake_committer();
    shared.observe();
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::server::desk::tests::{log_start, publish, with_short_retention};
    use crate::types::{ChannelName, Offset};

    #[test]
    fn retention_is_looked_at_although_there_is_always_something_to_write() {
        let (disk, desk) = with_short_retention();
        let channel = ChannelName::parse("events").unwrap();
        publish(&desk, &channel);
        let (start, looks) = (clock::instant(), Cell::new(0));
        // Whoever looks at the clock finds that it is time, and that others have published meanwhile.
        let clock = || {
            looks.set(looks.get() + 1);
            assert!(looks.get() < 100, "starved");
            publish(&desk, &channel);
            start + TICK * looks.get()
        };
        let mut keeper = Keeper::new(desk.shared(), &disk);
        while log_start(&desk, &channel) == Offset(0) {
            assert!(!keeper.turn(&clock), "there was something to write");
        }
    }
}
