//! The first records of many that come in any order, within the bounds of a page: what a request
//! reads is never held beyond what it answers with.

use std::collections::BTreeMap;

use crate::types::Offset;

/// The records of the lowest offsets: as many as fit, and one whatever its size.
pub(super) struct First<T> {
    most: usize,
    most_bytes: usize,
    bytes: usize,
    held: BTreeMap<Offset, (T, String)>,
    /// The first that did not fit.
    end: Option<Offset>,
}

impl<T> First<T> {
    /// Nothing yet.
    ///
    /// - `most`: records.
    /// - `most_bytes`: of their texts.
    pub fn new(most: usize, most_bytes: usize) -> Self {
        Self {
            most,
            most_bytes,
            bytes: 0,
            held: BTreeMap::new(),
            end: None,
        }
    }

    /// Takes a record, unless it lies behind one that did not fit.
    pub fn push(&mut self, offset: Offset, of: T, text: String) {
        if !self.wants(offset) {
            return;
        }
        self.bytes += text.len();
        self.held.insert(offset, (of, text));
        while self.held.len() > self.most || (self.bytes > self.most_bytes && self.held.len() > 1) {
            let Some((gone, (_, text))) = self.held.pop_last() else {
                return;
            };
            self.bytes -= text.len();
            self.end = Some(gone);
        }
    }

    /// Whether a record at an offset may still be one of them.
    pub fn wants(&self, offset: Offset) -> bool {
        self.end.is_none_or(|end| offset < end)
    }

    /// Where it goes on; none where all fit.
    pub fn end(&self) -> Option<Offset> {
        self.end
    }

    /// The records, in order.
    pub fn into_records(self) -> impl Iterator<Item = (Offset, T, String)> {
        let held = self.held.into_iter();
        held.map(|(offset, (of, text))| (offset, of, text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The texts of one record each: `lens` bytes, by offset.
    fn first(lens: &[usize], order: impl Iterator<Item = usize>, most: usize) -> First<()> {
        let mut first = First::new(most, 10);
        for at in order {
            first.push(Offset(at as u64), (), "x".repeat(lens[at]));
            let held: usize = first.held.values().map(|(_, text)| text.len()).sum();
            assert_eq!(held, first.bytes);
            assert!(held <= 10 || first.held.len() == 1, "{held} bytes are held");
            assert!(first.held.len() <= most);
        }
        first
    }

    #[test]
    fn whatever_the_order_the_first_that_fit_are_held_and_never_more() {
        for (lens, most, count, end) in [
            (&[4, 4, 4, 4][..], 9, 2, Some(2)),
            (&[4, 4, 4, 4], 1, 1, Some(1)),
            (&[11, 1, 1], 9, 1, Some(1)),
            (&[1, 11, 1], 9, 1, Some(1)),
            (&[5, 5], 9, 2, None),
            (&[], 9, 0, None),
        ] {
            let forwards = first(lens, 0..lens.len(), most);
            let backwards = first(lens, (0..lens.len()).rev(), most);
            for held in [forwards, backwards] {
                assert_eq!(held.end(), end.map(Offset), "{lens:?}");
                let offsets: Vec<u64> = held.into_records().map(|(at, ..)| at.0).collect();
                assert_eq!(offsets, (0..count).collect::<Vec<_>>(), "{lens:?}");
            }
        }
    }
}
