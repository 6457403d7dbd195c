//! Batches out of the journal, for the replay of one log after the other.
//!
//! The batches of a log lie apart in the journal, between those of others, and follow each other in
//! its segment. So those of many logs are taken out of the journal together, in its order and in
//! large pieces, and are held in the order of the replay: what goes to a segment is one stretch then.
//!
//! ```text
//!   journal   │ a b c │ b a │ c a b │ …          read once for as many logs as are held
//!   held      │ a a a b b b c c │                at most HELD_BYTES
//! ```

use std::collections::VecDeque;
use std::io;
use std::ops::Range;

use bytes::{Bytes, BytesMut};

use super::Unrecovered;
use super::pieces::PIECE_BYTES;
use super::scan::{FoundItem, JournalFiles, Place, is_intact};
use crate::format::ItemKind;
use crate::storage::error::{IoFailure, While};
use crate::types::Incarnation;

/// Most bytes that are held at once; more only where a single batch has more.
const HELD_BYTES: u64 = 32 * 1024 * 1024;

/// Two batches that are less than this apart are read with what lies between them: passing over it
/// costs more.
const BETWEEN_BYTES: u64 = 16 * 1024;

/// Batches of the journal, in the order of the replay.
#[derive(Debug, Default)]
pub(super) struct Batches {
    /// Where those lie that are not read yet, and their lengths.
    wanted: VecDeque<(Place, u64)>,
    /// Where those lay that were read and are not replayed yet, and where they are in `bytes`.
    held: VecDeque<(Place, Range<usize>)>,
    bytes: Bytes,
    piece: Vec<u8>,
}

impl Unrecovered {
    /// Puts what the journal has of these logs in the order of their replay.
    pub(super) fn want_batches(&mut self, ids: &[Incarnation]) {
        self.batches = Batches::default();
        for id in ids {
            if let Some(items) = self.scan.items.get_mut(id) {
                self.batches.want(items);
            }
        }
    }
}

impl Batches {
    /// Puts what the journal has of a log in the order of its replay, behind that of others.
    fn want(&mut self, items: &mut [FoundItem]) {
        // What was copied forward may follow newer entries, and its originals may still be there:
        // the log's own order counts, and of two copies the one that is whole.
        items.sort_by_key(|found| (found.item.base_offset, !found.is_intact, found.group));
        let batches = items
            .iter()
            .filter(|found| found.is_intact && found.item.kind == ItemKind::Batch);
        self.wanted
            .extend(batches.map(|found| (place(found), found.item.length)));
    }

    /// Whether a batch is held; those in front of it are not replayed any more.
    pub fn is_held(&mut self, found: &FoundItem) -> bool {
        while let Some((held, _)) = self.held.front() {
            if *held == place(found) {
                return true;
            }
            self.held.pop_front();
        }
        false
    }

    /// Reads a batch with as many of those behind it as may be held, in the place of those held
    /// before.
    pub fn read_from(
        &mut self,
        journal: &JournalFiles,
        found: &FoundItem,
    ) -> Result<(), IoFailure> {
        while self
            .wanted
            .front()
            .is_some_and(|next| next.0 != place(found))
        {
            self.wanted.pop_front();
        }
        let mut len = 0;
        self.held.clear();
        while let Some((place, length)) = self.wanted.front().copied() {
            if len > 0 && len + length > HELD_BYTES {
                break;
            }
            let range = in_memory(len)..in_memory(len + length);
            self.held.push_back((place, range));
            self.wanted.pop_front();
            len += length;
        }
        // The same memory again, where nobody else has it.
        let bytes = std::mem::take(&mut self.bytes).try_into_mut();
        let mut bytes = bytes.unwrap_or_default();
        bytes.resize(in_memory(len), 0);
        self.fill(journal, &mut bytes)?;
        self.bytes = bytes.freeze();
        Ok(())
    }

    /// Reads what is to be held, in the order of the journal.
    fn fill(&mut self, journal: &JournalFiles, bytes: &mut BytesMut) -> Result<(), IoFailure> {
        let mut parts: Vec<_> = self.held.iter().collect();
        parts.sort_unstable_by_key(|(place, _)| *place);
        let mut parts = parts.into_iter().peekable();
        while let Some((first, range)) = parts.next() {
            let (file, from) = *first;
            let mut together = vec![(from, range)];
            let mut end = from + range.len() as u64;
            while let Some(((_, position), range)) = parts.next_if(|((other, position), range)| {
                let to = position + range.len() as u64;
                *other == file && *position < end + BETWEEN_BYTES && to <= from + PIECE_BYTES
            }) {
                end = end.max(position + range.len() as u64);
                together.push((*position, range));
            }
            self.piece.resize(in_memory(end - from), 0);
            let read = match journal.files[file].read_at(from, &mut self.piece) {
                // Between them may be what the medium has lost, and nobody asks for.
                Err(_) if together.len() > 1 => {
                    for (position, range) in together {
                        let read = journal.files[file].read_at(position, &mut bytes[range.clone()]);
                        read.or_while("reading", &journal.path(file))?;
                    }
                    continue;
                }
                read => read.or_while("reading", &journal.path(file))?,
            };
            for (position, range) in together {
                let at = in_memory(position - from);
                if let Some(piece) = self.piece[..read].get(at..at + range.len()) {
                    bytes[range.clone()].copy_from_slice(piece);
                }
            }
        }
        Ok(())
    }

    /// Where a batch that is held is. It is replayed now, and checked again: what the scan found
    /// intact was read at another time.
    pub fn take(
        &mut self,
        journal: &JournalFiles,
        found: &FoundItem,
    ) -> Result<Range<usize>, IoFailure> {
        let held = self.held.pop_front().map(|(_, range)| range);
        let held = held.filter(|range| is_intact(&self.bytes[range.clone()], &found.item));
        held.ok_or_else(|| {
            let what = format!(
                "the batch at byte {} is another than before",
                found.position
            );
            let source = io::Error::new(io::ErrorKind::InvalidData, what);
            IoFailure::new("reading", &journal.path(found.file), source)
        })
    }

    /// Bytes that are held.
    pub fn bytes(&self, range: Range<usize>) -> Bytes {
        self.bytes.slice(range)
    }
}

fn place(found: &FoundItem) -> Place {
    (found.file, found.position)
}

fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).expect("what is held fits memory")
}

#[cfg(test)]
mod tests {
    use std::io::IoSlice;
    use std::path::Path;
    use std::sync::Arc;

    use super::*;
    use crate::format::testing::stored;
    use crate::format::{BatchHeader, Compression, GroupItem, NewRecord, Stamp, check_stored};
    use crate::storage::disk::{Disk, FailingDisk, Fault, MemoryDisk, OpenMode, Operation};
    use crate::storage::layout::Layout;
    use crate::storage::recovery::Piece;
    use crate::types::{LogEpoch, Offset, Timestamp};

    /// A journal with batches of several logs in turn, and what was found of each log.
    struct Written {
        disk: FailingDisk,
        journal: JournalFiles,
        logs: Vec<Vec<FoundItem>>,
        batches: Batches,
    }

    fn written(logs: u64, each: u64, payload_bytes: usize) -> Written {
        let disk = FailingDisk::new(Arc::new(MemoryDisk::new()));
        let file = disk.open(Path::new("a"), OpenMode::Create).unwrap();
        let payload = vec![7; payload_bytes];
        let mut found: Vec<Vec<FoundItem>> = vec![Vec::new(); usize::try_from(logs).unwrap()];
        let mut position = 8192;
        for base in 0..each {
            for (log, items) in (1..).zip(&mut found) {
                let record = NewRecord {
                    payload: Some(&payload),
                    ..NewRecord::default()
                };
                let stamped = Stamp {
                    incarnation: Incarnation(log),
                    base_offset: Offset(base),
                    append_time: Timestamp(1),
                    log_epoch: LogEpoch(1),
                    principal: 0,
                };
                let batch = stored(Compression::None, &[record], &stamped);
                let header = BatchHeader::peek(&batch).unwrap();
                file.write_at(position, &[IoSlice::new(&batch)]).unwrap();
                let length = batch.len() as u64;
                let item = GroupItem {
                    kind: ItemKind::Batch,
                    is_last_of_entry: true,
                    was_synced_before: false,
                    is_copied: false,
                    entry: 0,
                    incarnation: Incarnation(log),
                    base_offset: Offset(base),
                    end_offset: Offset(base + 1),
                    segment_base: Offset(0),
                    position: 4096 + base * length,
                    length,
                    checksum: header.header_crc(),
                    batch_count: 1,
                    previous_base: None,
                };
                items.push(FoundItem {
                    item,
                    file: 0,
                    position,
                    group: 1,
                    synced_group: 0,
                    is_intact: true,
                });
                position += length;
            }
        }
        let mut batches = Batches::default();
        found.iter_mut().for_each(|items| batches.want(items));
        let journal = JournalFiles {
            layout: Layout::new(Path::new("/data")),
            files: vec![file],
            salt: 1,
            epoch: 1,
            unprepared: Vec::new(),
            piece: Piece::default(),
        };
        Written {
            disk,
            journal,
            logs: found,
            batches,
        }
    }

    impl Written {
        fn take(&mut self, found: &FoundItem) -> Result<Range<usize>, IoFailure> {
            if !self.batches.is_held(found) {
                self.batches.read_from(&self.journal, found)?;
            }
            self.batches.take(&self.journal, found)
        }
    }

    #[test]
    fn what_lies_apart_in_the_journal_is_read_at_once_and_held_one_behind_the_other() {
        let mut written = written(3, 40, 700);
        let mut end = 0;
        for found in written.logs.concat() {
            let range = written.take(&found).unwrap();
            assert_eq!(range.start, end, "not in the order of the replay");
            end = range.end;
            let header = check_stored(&written.batches.bytes(range)).unwrap();
            assert_eq!(header.incarnation(), found.item.incarnation);
            assert_eq!(header.base_offset(), found.item.base_offset);
        }
        assert_eq!(written.disk.count(Operation::Read), 1);
    }

    #[test]
    fn what_the_medium_has_lost_between_batches_fails_nobody() {
        let mut written = written(3, 40, 700);
        // Whatever is asked for together has a lost sector in it.
        written.disk.plan(Fault::new(Fault::IO).on(Operation::Read));
        for found in written.logs.concat() {
            let range = written.take(&found).unwrap();
            let header = check_stored(&written.batches.bytes(range)).unwrap();
            assert_eq!(header.base_offset(), found.item.base_offset);
        }
        assert_eq!(written.disk.struck(), 1);
    }

    #[test]
    fn no_more_is_held_than_there_is_room_for() {
        let mut written = written(2, 8, 3 << 20);
        for found in written.logs.concat() {
            let range = written.take(&found).unwrap();
            assert!(written.batches.bytes.len() as u64 <= HELD_BYTES);
            let header = check_stored(&written.batches.bytes(range)).unwrap();
            assert_eq!(header.base_offset(), found.item.base_offset);
        }
    }

    #[test]
    fn a_batch_that_is_passed_over_leaves_those_behind_it() {
        let mut written = written(2, 10, 100);
        for found in written.logs.concat().iter().step_by(3) {
            let range = written.take(found).unwrap();
            let header = check_stored(&written.batches.bytes(range)).unwrap();
            assert_eq!(header.base_offset(), found.item.base_offset);
        }
    }

    #[test]
    fn what_has_changed_since_it_was_found_intact_is_not_replayed() {
        let mut written = written(2, 3, 100);
        let changed = written.logs[1][1].clone();
        let at = changed.position + changed.item.length - 16;
        written.journal.files[0]
            .write_at(at, &[IoSlice::new(b"?")])
            .unwrap();
        for found in written.logs.concat() {
            let taken = written.take(&found);
            if found.position == changed.position {
                let failure = taken.unwrap_err();
                assert!(failure.path.ends_with("0000.journal"), "{failure}");
            } else {
                taken.unwrap();
            }
        }
    }
}
