//! The journal group of a round: its header, its items and its bytes, in the pieces that are written.

use std::io::IoSlice;
use std::ops::Range;
use std::sync::Arc;

use super::{DirectRun, Round};
use crate::format::{GROUP_ALIGNMENT, GroupHeader, GroupItem, ItemKind, items_crc, whole_crc};
use crate::storage::segment::Segment;
use crate::storage::store::QueuedBatch;
use crate::types::{Incarnation, Offset};

pub(super) const GROUP_HEADER_BYTES: usize = GroupHeader::BYTES;
pub(super) const GROUP_ITEM_BYTES: usize = GroupItem::BYTES;

/// What fills a group up to the next block.
const ZEROS: [u8; GROUP_ALIGNMENT] = [0; GROUP_ALIGNMENT];

/// A batch below this is copied beside its neighbours: a slice of its own would cost more.
const GATHERED_BYTES: usize = 4096;

/// A group as it is written: its bytes, one piece after the other.
pub(super) struct Group<'a> {
    pub(super) header: GroupHeader,
    pieces: Vec<Piece<'a>>,
}

enum Piece<'a> {
    /// These bytes of the round's buffer.
    Gathered(Range<usize>),
    InPlace(&'a [u8]),
}

impl<'a> Group<'a> {
    fn push(&mut self, bytes: &'a [u8], buffer: &mut Vec<u8>) {
        if bytes.len() > GATHERED_BYTES {
            self.pieces.push(Piece::InPlace(bytes));
            return;
        }
        let from = buffer.len();
        buffer.extend_from_slice(bytes);
        match self.pieces.last_mut() {
            Some(Piece::Gathered(range)) => range.end = buffer.len(),
            _ => self.pieces.push(Piece::Gathered(from..buffer.len())),
        }
    }

    pub(super) fn slices<'b>(&self, buffer: &'b [u8]) -> Vec<IoSlice<'b>>
    where
        'a: 'b,
    {
        let slice = |piece: &Piece<'a>| match piece {
            Piece::Gathered(range) => IoSlice::new(&buffer[range.clone()]),
            Piece::InPlace(bytes) => IoSlice::new(bytes),
        };
        self.pieces.iter().map(slice).collect()
    }
}

impl Round {
    /// The group, filled with zeros up to the next block. What it has of its own and the small
    /// batches are gathered in `buffer`; large ones are written from where they are.
    pub(super) fn group(&self, buffer: &mut Vec<u8>) -> Group<'_> {
        buffer.clear();
        // The header comes first, and is known last.
        buffer.resize(GROUP_HEADER_BYTES, 0);
        let items = &mut *buffer;
        let mut entry = 0;
        for run in &self.direct {
            if self.failed.iter().any(|(failed, _)| *failed == run.log) {
                continue;
            }
            for reference in references(run, self.is_synced, &mut entry) {
                items.extend_from_slice(&reference.encode());
            }
        }
        let mut data_len = 0;
        for copied in &self.copies {
            data_len += copied.bytes.len();
            let item = GroupItem {
                entry,
                ..copied.item
            };
            items.extend_from_slice(&item.encode());
            entry += 1;
        }
        for queued in &self.entries {
            let last = queued.batches.len() - 1;
            for (at, batch) in queued.batches.iter().enumerate() {
                data_len += batch.bytes.len();
                let span = batch.offsets.clone();
                let place = (&batch.segment, batch.position, batch.bytes.len() as u64);
                let item = item(ItemKind::Batch, entry, batch.log, span, place);
                let item = GroupItem {
                    is_last_of_entry: at == last,
                    checksum: batch.header_crc,
                    batch_count: 1,
                    ..item
                };
                items.extend_from_slice(&item.encode());
            }
            entry += 1;
        }
        let items = &buffer[GROUP_HEADER_BYTES..];
        let count = items.len() / GROUP_ITEM_BYTES;
        let header = GroupHeader {
            item_count: u32::try_from(count).expect("a round's bytes are bounded"),
            items_crc: items_crc(self.salt, self.header.group, items),
            data_len: u32::try_from(data_len).expect("a round's bytes are bounded"),
            ..self.header
        };
        buffer[..GROUP_HEADER_BYTES].copy_from_slice(&header.encode());
        let len = buffer.len() + data_len;
        let mut group = Group {
            header,
            pieces: vec![Piece::Gathered(0..buffer.len())],
        };
        for copied in &self.copies {
            group.push(&copied.bytes, buffer);
        }
        for batch in self.entries.iter().flat_map(|entry| &entry.batches) {
            group.push(&batch.bytes, buffer);
        }
        let padding = len.next_multiple_of(GROUP_ALIGNMENT) - len;
        group.push(&ZEROS[..padding], buffer);
        group
    }
}

fn item(
    kind: ItemKind,
    entry: u32,
    log: Incarnation,
    offsets: Range<Offset>,
    (segment, position, length): (&Arc<Segment>, u64, u64),
) -> GroupItem {
    GroupItem {
        kind,
        is_last_of_entry: false,
        was_synced_before: false,
        is_copied: false,
        entry,
        incarnation: log,
        base_offset: offsets.start,
        end_offset: offsets.end,
        segment_base: segment.id().base,
        position,
        length,
        checksum: 0,
        batch_count: 0,
        previous_base: segment.previous().map(|previous| previous.base),
    }
}

/// One reference for each stretch of adjacent batches.
fn references(run: &DirectRun, is_synced: bool, entry: &mut u32) -> Vec<GroupItem> {
    let is_adjacent = |a: &QueuedBatch, b: &QueuedBatch| {
        // A checkpoint may have been cut between the two, even where they follow each other: a
        // start goes on behind the one, and finds the other by its own reference.
        let is_one = !b.is_on_fresh_block && Arc::ptr_eq(&a.segment, &b.segment);
        is_one && a.position + a.bytes.len() as u64 == b.position
    };
    let mut items = Vec::new();
    for part in run.batches.chunk_by(is_adjacent) {
        let mut crc = crc32fast::Hasher::new();
        part.iter()
            .for_each(|batch| crc.combine(&whole_crc(&batch.bytes)));
        let length = part.iter().map(|batch| batch.bytes.len() as u64).sum();
        let (first, last) = (&part[0], &part[part.len() - 1]);
        let place = (&first.segment, first.position, length);
        let span = first.offsets.start..last.offsets.end;
        items.push(GroupItem {
            is_last_of_entry: true,
            was_synced_before: is_synced,
            checksum: crc.finalize(),
            batch_count: u32::try_from(part.len()).expect("a round's batches are bounded"),
            ..item(ItemKind::Reference, *entry, run.log, span, place)
        });
        *entry += 1;
    }
    items
}
