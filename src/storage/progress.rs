//! How far rounds have come, for those who wait: to be read without the broker's lock.
//!
//! Every acknowledgement waits for a round. Whoever a round has woken finds out here that theirs is
//! over; the lock, which all others want at that moment too, is for what can't be told from here.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::store::EntryId;
use crate::types::Durability;

/// What [`super::Storage::outcome`] goes by, as of the last change of it.
#[derive(Debug, Default)]
pub struct Progress {
    /// Some entry will never be acknowledged: which, is told under the lock.
    has_failed: AtomicBool,
    written_through: AtomicU64,
    synced_through: AtomicU64,
}

impl Progress {
    /// Books how far they have come. To be called under the lock, with each change.
    pub(super) fn book(&self, has_failed: bool, written_through: u64, synced_through: u64) {
        // First: who sees that a round is over sees what failed in it.
        self.has_failed.store(has_failed, Ordering::Release);
        let through = [
            (&self.written_through, written_through),
            (&self.synced_through, synced_through),
        ];
        for (known, now) in through {
            known.store(now, Ordering::Release);
        }
    }

    /// Whether an entry has reached a level; none once anything has failed, and is to be looked for
    /// under the lock.
    #[must_use]
    pub fn has_reached(&self, entry: EntryId, level: Durability) -> Option<bool> {
        let through = match level {
            Durability::Written => &self.written_through,
            Durability::Synced => &self.synced_through,
        };
        let has_reached = entry.0 <= through.load(Ordering::Acquire);
        // Behind the other: see `book`.
        (!self.has_failed()).then_some(has_reached)
    }

    /// Whether anything has failed, an entry or the journal.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    /// Whether this is what was booked last.
    pub(super) fn is(&self, has_failed: bool, written_through: u64, synced_through: u64) -> bool {
        let through = |known: &AtomicU64| known.load(Ordering::Acquire);
        self.has_failed() == has_failed
            && through(&self.written_through) == written_through
            && through(&self.synced_through) == synced_through
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Durability::{Synced, Written};

    #[test]
    fn an_entry_has_reached_the_level_that_rounds_have_come_to() {
        let progress = Progress::default();
        assert_eq!(progress.has_reached(EntryId(1), Written), Some(false));
        progress.book(false, 7, 4);
        let reached = |entry, level| progress.has_reached(EntryId(entry), level);
        assert_eq!(reached(7, Written), Some(true));
        assert_eq!(reached(8, Written), Some(false));
        assert_eq!(reached(4, Synced), Some(true));
        assert_eq!(reached(5, Synced), Some(false));
    }

    #[test]
    fn nothing_is_told_once_anything_has_failed() {
        let progress = Progress::default();
        progress.book(true, 7, 7);
        for level in [Written, Synced] {
            assert_eq!(progress.has_reached(EntryId(1), level), None);
        }
    }
}
