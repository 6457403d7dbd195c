//! What goes to a segment: gathered, and written in one call for batches that follow each other.

use std::ops::Range;

use bytes::Bytes;

use super::LogReplay;
use crate::storage::error::IoFailure;
use crate::storage::recovery::Unrecovered;
use crate::storage::recovery::scan::FoundItem;

impl LogReplay {
    /// Where the bytes of a batch are among those that are held, checked.
    pub(super) fn batch(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
    ) -> Result<Range<usize>, IoFailure> {
        if !all.batches.is_held(found) {
            // What is gathered is a part of what is held, and others take its place.
            self.write_gathered(all)?;
            all.batches.read_from(&all.journal, found)?;
        }
        all.batches.take(&all.journal, found)
    }

    /// Takes a batch on for the segment that was moved to.
    pub(super) fn gather(&mut self, position: u64, bytes: Range<usize>) {
        match self.gathered.last_mut() {
            Some((start, last))
                if *start + last.len() as u64 == position && last.end == bytes.start =>
            {
                last.end = bytes.end;
            }
            _ => self.gathered.push((position, bytes)),
        }
    }

    /// Writes what was gathered. Called before anything looks at the segment, or leaves it.
    pub(super) fn write_gathered(&mut self, all: &Unrecovered) -> Result<(), IoFailure> {
        let Some(segment) = self.segment.as_ref().filter(|_| !self.gathered.is_empty()) else {
            return Ok(());
        };
        self.compared = None;
        let gathered = self.gathered.drain(..);
        let batches: Vec<(u64, Bytes)> = gathered
            .map(|(position, range)| (position, all.batches.bytes(range)))
            .collect();
        segment.open_to_write(&*all.disk, &all.open_files)?;
        segment.write(&*all.disk, &all.open_files, &batches, true)
    }
}
