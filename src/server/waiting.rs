//! Answers of one connection that wait for a round, found again by what they wait for.

use std::collections::BTreeMap;

use super::commit::is_over;
use super::region::HeldWait;
use super::room::Held;
use crate::broker::Wait;
use crate::protocol::Response;
use crate::storage::{EntryId, Outcome};
use crate::types::Durability;

/// What an answer that waits costs beside the bytes of its request, about.
pub(super) const PENDING_BYTES: u64 = 256;

/// An answer that waits for a round.
pub(super) struct Pending {
    pub correlation: u64,
    pub response: Box<Response>,
    pub wait: Wait,
    /// The regions that are to hold what it tells of then.
    pub held: Option<Box<HeldWait>>,
    /// The room that it takes.
    pub room: Option<Held>,
    /// Bytes of its request.
    pub bytes: u64,
}

/// All of them. Of one level, an entry is over no later than those behind it, so what is done
/// stands in front: looking for it costs no more than there is to find.
#[derive(Default)]
pub(super) struct Waiting {
    written: BTreeMap<(EntryId, u64), Pending>,
    synced: BTreeMap<(EntryId, u64), Pending>,
    next: u64,
    bytes: u64,
    failures: usize,
}

impl Waiting {
    pub fn push(&mut self, pending: Pending) {
        self.next += 1;
        self.bytes += pending.bytes + PENDING_BYTES;
        let key = (pending.wait.entry, self.next);
        self.level(pending.wait.level).insert(key, pending);
    }

    pub fn is_empty(&self) -> bool {
        self.written.is_empty() && self.synced.is_empty()
    }

    /// Bytes of the requests that wait, and what keeping their answers costs.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// For each level, what is waited for first.
    pub fn firsts(&self) -> impl Iterator<Item = Wait> {
        let levels = [&self.written, &self.synced].into_iter();
        levels.filter_map(|level| level.values().next().map(|pending| pending.wait))
    }

    /// Takes what is over, in the order in which it came.
    ///
    /// - `failures`: how many entries have failed so far. A failed entry may stand behind one that
    ///   is not over, so a new failure is looked for everywhere.
    pub fn take_done(
        &mut self,
        outcome: impl Fn(Wait) -> Outcome,
        failures: usize,
    ) -> Vec<(Pending, Outcome)> {
        let has_failed = failures != std::mem::replace(&mut self.failures, failures);
        let mut done = Vec::new();
        for level in [&mut self.written, &mut self.synced] {
            while let Some(first) = level.first_entry() {
                let found = outcome(first.get().wait);
                if !is_over(&found) {
                    break;
                }
                let ((_, number), pending) = first.remove_entry();
                done.push((number, pending, found));
            }
            if has_failed {
                for ((_, number), pending) in level.extract_if(.., |_, pending| {
                    matches!(outcome(pending.wait), Outcome::Failed(_))
                }) {
                    let found = outcome(pending.wait);
                    done.push((number, pending, found));
                }
            }
        }
        done.sort_unstable_by_key(|(number, ..)| *number);
        done.into_iter()
            .map(|(_, pending, found)| {
                self.bytes -= pending.bytes + PENDING_BYTES;
                (pending, found)
            })
            .collect()
    }

    fn level(&mut self, level: Durability) -> &mut BTreeMap<(EntryId, u64), Pending> {
        match level {
            Durability::Written => &mut self.written,
            Durability::Synced => &mut self.synced,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::sync::Arc;

    use super::*;
    use crate::storage::{CommitError, IoFailure};

    fn pending(correlation: u64, entry: u64, level: Durability) -> Pending {
        let entry = EntryId(entry);
        Pending {
            correlation,
            response: Box::new(Response::Pong),
            wait: Wait { entry, level },
            held: None,
            room: None,
            bytes: 100,
        }
    }

    fn through(written: u64, synced: u64) -> impl Fn(Wait) -> Outcome {
        move |wait| {
            let through = match wait.level {
                Durability::Written => written,
                Durability::Synced => synced,
            };
            if wait.entry.0 <= through {
                Outcome::Done
            } else {
                Outcome::Pending
            }
        }
    }

    fn correlations(done: &[(Pending, Outcome)]) -> Vec<u64> {
        done.iter()
            .map(|(pending, _)| pending.correlation)
            .collect()
    }

    #[test]
    fn answers_of_both_levels_leave_when_theirs_is_reached_in_the_order_they_came() {
        use Durability::{Synced, Written};
        let mut waiting = Waiting::default();
        // The fourth reveals an older entry: a duplicate.
        let entries = [
            (5, Synced),
            (6, Written),
            (7, Synced),
            (4, Synced),
            (9, Written),
        ];
        for (correlation, (entry, level)) in (1..).zip(entries) {
            waiting.push(pending(correlation, entry, level));
        }
        assert_eq!(waiting.bytes(), 5 * (100 + PENDING_BYTES));
        assert!(waiting.take_done(through(3, 3), 0).is_empty());
        assert_eq!(correlations(&waiting.take_done(through(8, 4), 0)), [2, 4]);
        assert_eq!(
            correlations(&waiting.take_done(through(9, 7), 0)),
            [1, 3, 5]
        );
        assert!(waiting.is_empty());
        assert_eq!(waiting.bytes(), 0);
    }

    #[test]
    fn a_failed_entry_is_answered_though_one_before_it_still_waits() {
        let mut waiting = Waiting::default();
        for entry in 1..=4 {
            waiting.push(pending(entry, entry, Durability::Synced));
        }
        let failed = |wait: Wait| match wait.entry.0 {
            3 => Outcome::Failed(CommitError::Journal(IoFailure {
                action: "writing",
                path: "journal".into(),
                source: Arc::new(std::io::Error::other("gone")),
            })),
            _ => Outcome::Pending,
        };
        let done = waiting.take_done(failed, 1);
        assert_eq!(correlations(&done), [3]);
        assert!(matches!(done[0].1, Outcome::Failed(_)));
        assert_eq!(
            correlations(&waiting.take_done(through(9, 9), 1)),
            [1, 2, 4]
        );
    }

    #[test]
    fn looking_costs_no_more_than_there_is_to_find() {
        let mut waiting = Waiting::default();
        for entry in 1..=10_000 {
            waiting.push(pending(entry, entry, Durability::Synced));
        }
        let looks = Cell::new(0);
        let mut found = 0;
        for synced in 1..=100 {
            let outcome = through(0, synced);
            let done = waiting.take_done(
                |wait| {
                    looks.set(looks.get() + 1);
                    outcome(wait)
                },
                0,
            );
            found += done.len();
        }
        assert_eq!(found, 100);
        assert_eq!(
            looks.get(),
            200,
            "one look for each that is done, one that ends the search"
        );
    }
}
