//! What was written behind and is kept in memory for a while, for those who follow a log's end.
//!
//! A reader that follows is a little behind the writer. Without this window it would map the segment
//! again and again, each time a little more of it.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::Bytes;

use super::store::Storage;
use crate::types::{Incarnation, Offset};

/// Most bytes kept, of all logs.
const MAX_BYTES: u64 = 16 * 1024 * 1024;

/// The batches of one log right in front of its tail.
#[derive(Debug, Default)]
pub(super) struct Recent {
    batches: VecDeque<(Range<Offset>, Bytes)>,
    /// Bytes and batches that were added since [`Storage::bound_recent`] last looked.
    added: (u64, usize),
}

impl Recent {
    /// Adds a batch behind the others.
    pub fn push(&mut self, offsets: Range<Offset>, bytes: Bytes) {
        debug_assert!(
            self.batches
                .back()
                .is_none_or(|(last, _)| last.end == offsets.start)
        );
        self.added.0 += bytes.len() as u64;
        self.added.1 += 1;
        self.batches.push_back((offsets, bytes));
    }

    /// The first offset it holds.
    pub fn start(&self) -> Option<Offset> {
        self.batches.front().map(|(offsets, _)| offsets.start)
    }

    /// The batches from the one that holds `from` on.
    pub fn from(&self, from: Offset) -> impl Iterator<Item = (Offset, &Bytes)> {
        let first = self
            .batches
            .partition_point(|(offsets, _)| offsets.end <= from);
        let batches = self.batches.range(first..);
        batches.map(|(offsets, bytes)| (offsets.end, bytes))
    }
}

/// Which log's batches to let go of next: what was added first, with its bytes and batches.
#[derive(Debug, Default)]
pub(super) struct RecentOrder {
    added: VecDeque<(Incarnation, u64, usize)>,
    bytes: u64,
}

impl Storage {
    /// Books what was added to a log's window, and lets go of the oldest past the bound.
    pub(super) fn bound_recent(&mut self, id: Incarnation) {
        let Some(log) = self.logs.get_mut(&id) else {
            return;
        };
        let (bytes, batches) = std::mem::take(&mut log.recent.added);
        if batches > 0 {
            self.recent.bytes += bytes;
            self.recent.added.push_back((id, bytes, batches));
        }
        while self.recent.bytes > MAX_BYTES
            && let Some((id, bytes, batches)) = self.recent.added.pop_front()
        {
            self.recent.bytes -= bytes;
            if let Some(log) = self.logs.get_mut(&id) {
                let batches = batches.min(log.recent.batches.len());
                log.recent.batches.drain(..batches);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_is_read_from_the_batch_that_holds_an_offset() {
        let mut recent = Recent::default();
        for first in [10, 14, 20] {
            let end = if first == 10 { 14 } else { first + 6 };
            let bytes = Bytes::from(vec![u8::try_from(first).expect("small"); 3]);
            recent.push(Offset(first)..Offset(end), bytes);
        }
        assert_eq!(recent.start(), Some(Offset(10)));
        let ends = |from| -> Vec<u64> { recent.from(Offset(from)).map(|(end, _)| end.0).collect() };
        assert_eq!(ends(10), [14, 20, 26]);
        assert_eq!(ends(13), [14, 20, 26]);
        assert_eq!(ends(14), [20, 26]);
        assert_eq!(ends(25), [26]);
        assert!(ends(26).is_empty());
    }
}
