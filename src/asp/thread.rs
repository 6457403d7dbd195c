//! Threads through a topic. Each record of a thread names the one before it, and one further back,
//! so that a thread is read backwards from its last record, and any of its records is found in a
//! number of reads that grows with the logarithm of its length. Memory holds no more than that
//! many entries for each thread, however long it is. docs/asp.md, "Threads".
//!
//! The jumps are those of a skew-binary list (E. W. Myers, "An applicative random-access stack",
//! Information Processing Letters 17, 1983).

use serde::{Deserialize, Serialize};

use crate::types::Offset;

/// One record of a thread, in JSON `[number, offset]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "(u64, u64)", into = "(u64, u64)")]
pub struct Knot {
    /// Its number in the thread, from 0.
    pub number: u64,
    /// Its offset in the topic.
    pub offset: Offset,
}

impl From<(u64, u64)> for Knot {
    fn from((number, offset): (u64, u64)) -> Self {
        Self {
            number,
            offset: Offset(offset),
        }
    }
}

impl From<Knot> for (u64, u64) {
    fn from(knot: Knot) -> Self {
        (knot.number, knot.offset.0)
    }
}

/// What a record of a thread says of those before it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Links {
    /// The record before; none for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub back: Option<Knot>,
    /// A record further back, where there is a useful one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jump: Option<Knot>,
}

impl Links {
    /// Number of the record that holds them.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.back.map_or(0, |back| back.number.saturating_add(1))
    }

    /// The next record to look at on the way to record `number`; none where there is no earlier.
    #[must_use]
    pub fn towards(&self, number: u64) -> Option<Knot> {
        self.jump.filter(|jump| jump.number >= number).or(self.back)
    }
}

/// The end of a thread: what the next record needs to be linked. In JSON an array of
/// `[number, offset]`, the last record of the thread at its end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Knot>", into = "Vec<Knot>")]
pub struct Thread(Vec<Knot>);

/// Records that are the end of no thread.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the records of a thread have ascending numbers and offsets")]
pub struct InvalidThread;

impl TryFrom<Vec<Knot>> for Thread {
    type Error = InvalidThread;

    /// # Errors
    /// [`InvalidThread`] unless numbers and offsets ascend.
    fn try_from(knots: Vec<Knot>) -> Result<Self, InvalidThread> {
        let ascend = |two: &[Knot]| two[0].number < two[1].number && two[0].offset < two[1].offset;
        let is_last = |knot: &Knot| knot.number < u64::MAX;
        if knots.windows(2).all(ascend) && knots.last().is_none_or(is_last) {
            return Ok(Self(knots));
        }
        Err(InvalidThread)
    }
}

impl From<Thread> for Vec<Knot> {
    fn from(thread: Thread) -> Self {
        thread.0
    }
}

impl Thread {
    /// How many records it has.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.0.last().map_or(0, |last| last.number + 1)
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Its last record.
    #[must_use]
    pub fn last(&self) -> Option<Knot> {
        self.0.last().copied()
    }

    /// What the next record says of those before it.
    #[must_use]
    pub fn links(&self) -> Links {
        let back = self.last();
        let jump = if self.merges() {
            self.0.iter().rev().nth(2).copied()
        } else {
            None
        };
        Links { back, jump }
    }

    /// Takes the next record in.
    pub fn push(&mut self, offset: Offset) {
        let number = self.len();
        if self.merges() {
            self.0.truncate(self.0.len() - 2);
        }
        self.0.push(Knot { number, offset });
    }

    /// Whether the next record heads the two last runs, which are as long as each other.
    fn merges(&self) -> bool {
        let len = |at: usize| {
            let before = at.checked_sub(1).map_or(0, |at| self.0[at].number + 1);
            self.0[at].number + 1 - before
        };
        match self.0.len() {
            0 | 1 => false,
            count => len(count - 1) == len(count - 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A thread of `count` records at every third offset, with the links of each.
    fn thread(count: u64) -> (Thread, Vec<Links>) {
        let mut thread = Thread::default();
        let links = (0..count).map(|n| {
            let links = thread.links();
            thread.push(Offset(3 * n));
            links
        });
        let links = links.collect();
        (thread, links)
    }

    #[test]
    fn every_record_is_found_from_every_later_one_in_few_steps() {
        let (end, links) = thread(2_000);
        assert_eq!(end.len(), 2_000);
        for from in [0_usize, 1, 2, 3, 100, 1_022, 1_023, 1_024, 1_999] {
            for number in 0..=from as u64 {
                let (mut at, mut steps) = (from as u64, 0);
                while at != number {
                    let next = links[usize::try_from(at).unwrap()].towards(number).unwrap();
                    assert!(number <= next.number && next.number < at);
                    assert_eq!(next.offset, Offset(3 * next.number));
                    (at, steps) = (next.number, steps + 1);
                }
                assert!(steps <= 33, "{steps} steps from {from} to {number}");
            }
        }
    }

    #[test]
    fn links_number_their_record_and_the_first_has_none() {
        let (_, links) = thread(10);
        assert_eq!(links[0], Links::default());
        assert!((0..).zip(&links).all(|(n, links)| links.number() == n));
        assert!(
            links
                .iter()
                .all(|links| links.jump.is_none_or(|jump| jump < links.back.unwrap()))
        );
    }

    #[test]
    fn memory_grows_with_the_logarithm_of_the_length() {
        let mut thread = Thread::default();
        for n in 0..100_000 {
            thread.push(Offset(n));
            assert!(thread.0.len() <= 18, "{} entries for {n}", thread.0.len());
        }
        let json = serde_json::to_string(&thread).unwrap();
        assert_eq!(serde_json::from_str::<Thread>(&json).unwrap(), thread);
        for wrong in [
            "[[1,5],[1,6]]",
            "[[0,5],[1,5]]",
            "[[18446744073709551615,1]]",
        ] {
            serde_json::from_str::<Thread>(wrong).unwrap_err();
        }
    }
}
