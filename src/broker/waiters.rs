//! Those who wait for rounds, by what they wait for: a round wakes whom it is for, and nobody else.
//!
//! Most of what is staged comes while a round is under way, and is for the next one. Whoever were
//! woken by each round would be woken twice for each of their answers.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::{Wait, Wake};
use crate::storage::EntryId;
use crate::types::Durability;

/// Waiters of one level, in the order of the entries they wait for.
type ByEntry = BTreeMap<(EntryId, u64), Arc<dyn Wake>>;

/// All who wait for rounds.
#[derive(Default)]
pub(super) struct RoundWaiters {
    /// Those who wait for the next round, whatever it holds.
    next: Vec<Arc<dyn Wake>>,
    written: ByEntry,
    synced: ByEntry,
    /// Tells waiters of one entry apart.
    count: u64,
    /// How many entries had failed when waiters were last taken.
    failures: usize,
}

impl RoundWaiters {
    /// Adds one who is woken by the next round.
    pub fn push(&mut self, waiter: Arc<dyn Wake>) {
        self.next.push(waiter);
    }

    /// As [`RoundWaiters::push`], for several.
    pub fn extend(&mut self, waiters: impl IntoIterator<Item = Arc<dyn Wake>>) {
        self.next.extend(waiters);
    }

    /// Adds one who is woken once `wait` is over.
    pub fn push_for(&mut self, wait: Wait, waiter: Arc<dyn Wake>) {
        self.count += 1;
        let level = match wait.level {
            Durability::Written => &mut self.written,
            Durability::Synced => &mut self.synced,
        };
        level.insert((wait.entry, self.count), waiter);
    }

    /// Takes those whose wait a round has ended. Any failure ends all waits: a failed entry may stand
    /// behind one that is not over.
    ///
    /// - `failures`: how many have failed so far, entries and journal.
    pub fn take_over(
        &mut self,
        is_over: impl Fn(Wait) -> bool,
        failures: usize,
    ) -> Vec<Arc<dyn Wake>> {
        if failures != std::mem::replace(&mut self.failures, failures) {
            return self.take_all();
        }
        let mut woken = std::mem::take(&mut self.next);
        let levels = [
            (Durability::Written, &mut self.written),
            (Durability::Synced, &mut self.synced),
        ];
        for (level, waiting) in levels {
            while let Some(first) = waiting.first_entry() {
                let entry = first.key().0;
                if !is_over(Wait { entry, level }) {
                    break;
                }
                woken.push(first.remove());
            }
        }
        woken
    }

    /// Takes all of them.
    pub fn take_all(&mut self) -> Vec<Arc<dyn Wake>> {
        let mut woken = std::mem::take(&mut self.next);
        woken.extend(std::mem::take(&mut self.written).into_values());
        woken.extend(std::mem::take(&mut self.synced).into_values());
        woken
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use Durability::{Synced, Written};

    #[derive(Default)]
    struct Count(AtomicU32);

    impl Wake for Count {
        fn wake(&self) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waiters of these, and how often each was woken.
    fn waiters(waits: &[(u64, Durability)]) -> (RoundWaiters, Vec<Arc<Count>>) {
        let mut waiters = RoundWaiters::default();
        let counts: Vec<Arc<Count>> = waits.iter().map(|_| Arc::default()).collect();
        for ((entry, level), count) in waits.iter().zip(&counts) {
            let wait = Wait {
                entry: EntryId(*entry),
                level: *level,
            };
            waiters.push_for(wait, count.clone());
        }
        (waiters, counts)
    }

    fn through(written: u64, synced: u64) -> impl Fn(Wait) -> bool {
        move |wait| match wait.level {
            Written => wait.entry.0 <= written,
            Synced => wait.entry.0 <= synced,
        }
    }

    fn woken(counts: &[Arc<Count>]) -> Vec<u32> {
        let counts = counts.iter();
        counts
            .map(|count| count.0.load(Ordering::Relaxed))
            .collect()
    }

    fn wake(waiters: Vec<Arc<dyn Wake>>) {
        waiters.iter().for_each(|waiter| waiter.wake());
    }

    #[test]
    fn a_round_wakes_those_it_is_for_each_once() {
        let waits = [
            (5, Synced),
            (6, Written),
            (7, Synced),
            (5, Synced),
            (9, Written),
        ];
        let (mut waiters, counts) = waiters(&waits);
        wake(waiters.take_over(through(4, 4), 0));
        assert_eq!(woken(&counts), [0, 0, 0, 0, 0]);
        wake(waiters.take_over(through(8, 5), 0));
        assert_eq!(woken(&counts), [1, 1, 0, 1, 0]);
        wake(waiters.take_over(through(9, 7), 0));
        assert_eq!(woken(&counts), [1, 1, 1, 1, 1]);
    }

    #[test]
    fn the_next_round_wakes_whoever_waits_for_nothing_else() {
        let (mut waiters, counts) = waiters(&[(5, Synced)]);
        let any = Arc::<Count>::default();
        waiters.push(any.clone());
        wake(waiters.take_over(through(1, 1), 0));
        wake(waiters.take_over(through(2, 2), 0));
        assert_eq!(woken(&[any]), [1]);
        assert_eq!(woken(&counts), [0]);
    }

    #[test]
    fn a_failure_wakes_everybody() {
        let (mut waiters, counts) = waiters(&[(5, Synced), (6, Written)]);
        wake(waiters.take_over(through(1, 1), 1));
        assert_eq!(woken(&counts), [1, 1]);
        // It was told of.
        let (mut again, counts) = self::waiters(&[(7, Synced)]);
        again.failures = 1;
        wake(again.take_over(through(1, 1), 1));
        assert_eq!(woken(&counts), [0]);
        wake(again.take_all());
        assert_eq!(woken(&counts), [1]);
    }
}
