//! Reading the journal from the last checkpoint on, and judging its end.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use super::super::disk::DiskFile;
use super::super::error::{IoFailure, While};
use super::super::journal::FIRST_GROUP;
use super::super::layout::Layout;
use super::pieces::{PIECE_BYTES, Piece};
use super::{Damage, RecoveryReport};
use crate::format::{
    GROUP_ALIGNMENT, GroupHeader, GroupItem, ItemKind, RecoveryPoint, check_stored, items_crc,
};
use crate::types::Incarnation;

const GROUP_HEADER_BYTES: usize = GroupHeader::BYTES;
const GROUP_ITEM_BYTES: usize = GroupItem::BYTES;

const BLOCK: u64 = GROUP_ALIGNMENT as u64;

/// A batch or reference found in the journal.
#[derive(Debug, Clone)]
pub(in crate::storage) struct FoundItem {
    pub item: GroupItem,
    /// The file and the position of its bytes, for a batch.
    pub file: usize,
    pub position: u64,
    pub group: u64,
    /// The last group whose sync had returned when this one was written.
    pub synced_group: u64,
    /// Its bytes match their checksums.
    pub is_intact: bool,
}

impl FoundItem {
    /// The group up to which this item shows that its log's direct runs are synced. Every sync of
    /// the journal comes after the segments that are owed one, and a log of which such a sync failed
    /// gets no item any more but copies.
    pub fn covers(&self) -> u64 {
        match &self.item {
            item if item.is_copied => 0,
            item if item.was_synced_before => self.group,
            _ => self.synced_group,
        }
    }
}

/// What the journal holds from the checkpoint on.
#[derive(Debug, Default)]
pub(in crate::storage) struct Scan {
    pub items: HashMap<Incarnation, Vec<FoundItem>>,
    pub groups: u64,
    /// The highest group number met, dropped groups included.
    pub last_group: u64,
    /// Groups up to this one were promised.
    pub promised: u64,
    /// A promised group is lost with its list of entries: nobody knows whose it was.
    pub is_list_lost: bool,
    /// Journal files with damage in them.
    pub damaged_files: Vec<usize>,
}

/// The files of the ring, opened for reading.
#[derive(Debug)]
pub(in crate::storage) struct JournalFiles {
    pub layout: Layout,
    pub files: Vec<Arc<dyn DiskFile>>,
    pub salt: u64,
    pub epoch: u64,
    /// Files that must be prepared again.
    pub unprepared: Vec<usize>,
    /// What was read of them last: each group is many small parts.
    pub piece: Piece,
}

/// A file of the ring and a position in it.
pub(in crate::storage) type Place = (usize, u64);

/// A group at a position, as far as it could be read.
enum At {
    /// Whole, with its items; some batches may be damaged.
    Group {
        header: GroupHeader,
        items: Vec<FoundItem>,
        end: u64,
    },
    /// Not a group of this run.
    Nothing { is_clean: bool, what: String },
}

impl JournalFiles {
    pub fn path(&self, file: usize) -> PathBuf {
        path_in(&self.layout, file)
    }

    fn read(&mut self, file: usize, range: Range<u64>) -> Result<&[u8], IoFailure> {
        let read = self.piece.read(&*self.files[file], file, range);
        let layout = &self.layout;
        read.map_err(|source| IoFailure::new("reading", &path_in(layout, file), source))
    }

    /// Bytes of a batch in the journal.
    pub fn batch(&mut self, found: &FoundItem) -> Result<&[u8], IoFailure> {
        let end = found.position + found.item.length;
        self.read(found.file, found.position..end)
    }

    fn len(&self, file: usize) -> Result<u64, IoFailure> {
        self.files[file]
            .len()
            .or_while("reading the length of", &self.path(file))
    }

    fn at(&mut self, file: usize, position: u64) -> Result<At, IoFailure> {
        let nothing = |is_clean, what: String| Ok(At::Nothing { is_clean, what });
        let head = self.read(file, position..position + GROUP_HEADER_BYTES as u64)?;
        if head.len() < GROUP_HEADER_BYTES {
            return nothing(true, "the file ends".to_owned());
        }
        if head.iter().all(|byte| *byte == 0) {
            return nothing(true, "only zeros".to_owned());
        }
        let header = match GroupHeader::decode(head) {
            Ok(header) => header,
            Err(error) => return nothing(false, error.to_string()),
        };
        if header.epoch != self.epoch {
            let what = format!("group {} of epoch {}", header.group, header.epoch);
            return nothing(header.epoch < self.epoch, what);
        }
        let items_at = position + GROUP_HEADER_BYTES as u64;
        let data_at = items_at + u64::from(header.item_count) * GROUP_ITEM_BYTES as u64;
        let end = data_at + u64::from(header.data_len);
        if end > self.len(file)? {
            return nothing(
                false,
                format!("group {} ends beyond the file", header.group),
            );
        }
        let salt = self.salt;
        let items = self.read(file, items_at..data_at)?.to_vec();
        if items_crc(salt, header.group, &items) != header.items_crc {
            return nothing(
                false,
                format!("the entry list of group {} is damaged", header.group),
            );
        }
        let mut found = Vec::with_capacity(header.item_count as usize);
        let mut position = data_at;
        for bytes in items.chunks_exact(GROUP_ITEM_BYTES) {
            let item = match GroupItem::decode(bytes) {
                Ok(item) => item,
                Err(error) => return nothing(false, error.to_string()),
            };
            let mut one = FoundItem {
                file,
                position,
                group: header.group,
                synced_group: header.synced_group,
                is_intact: true,
                item,
            };
            if one.item.kind == ItemKind::Batch {
                position += one.item.length;
                if position > end {
                    return nothing(false, format!("group {} is inconsistent", header.group));
                }
                one.is_intact = is_intact(self.batch(&one)?, &one.item);
            }
            found.push(one);
        }
        Ok(At::Group {
            header,
            items: found,
            end,
        })
    }

    /// Group `number` at a place, or first in another file, with the place behind it; `None` where
    /// there is no such group.
    pub fn group(
        &mut self,
        place: Place,
        number: u64,
    ) -> Result<Option<(Vec<FoundItem>, Place)>, IoFailure> {
        let mut next = Some(place);
        while let Some((file, position)) = next {
            if let At::Group { header, items, end } = self.at(file, position)?
                && header.group == number
            {
                return Ok(Some((items, (file, end.next_multiple_of(BLOCK)))));
            }
            let other = self.file_that_begins_with(number)?;
            next = other.map(|other| (other, FIRST_GROUP));
            next = next.filter(|other| *other != (file, position));
        }
        Ok(None)
    }

    /// Reads from the checkpoint's position on, and judges what it can't read.
    pub fn scan(
        &mut self,
        (mut file, mut position, first): (usize, u64, u64),
        point: &RecoveryPoint,
        report: &mut RecoveryReport,
    ) -> Result<Scan, IoFailure> {
        let mut scan = Scan {
            last_group: first - 1,
            promised: point.flushed_group,
            ..Scan::default()
        };
        let mut expected = first;
        loop {
            let met = self.at(file, position)?;
            let what = match met {
                At::Group { header, items, end } if header.group == expected => {
                    let is_torn = items.iter().any(|found| !found.is_intact);
                    scan.promised = scan.promised.max(header.synced_group);
                    if !is_torn || self.is_promised(&scan, (file, position), expected)? {
                        self.take(&mut scan, items, expected, report);
                        if expected <= scan.promised {
                            self.check_zeros(&mut scan, file, end, expected, report)?;
                        }
                        position = end.next_multiple_of(BLOCK);
                        expected += 1;
                        continue;
                    }
                    format!("group {expected} is not whole")
                }
                At::Group { header, .. } if header.group > expected => {
                    format!("group {} where {expected} was expected", header.group)
                }
                At::Group { .. } => String::new(),
                At::Nothing { is_clean: true, .. } => String::new(),
                At::Nothing { what, .. } => what,
            };
            // The group may have not fitted here and stand first in another file.
            if let Some(other) = self.file_that_begins_with(expected)?
                && (other, FIRST_GROUP) != (file, position)
            {
                (file, position) = (other, FIRST_GROUP);
                continue;
            }
            // After a clean stop nothing can follow what was promised.
            let later = if point.is_clean && expected > scan.promised {
                Vec::new()
            } else {
                self.later_groups(file, position, expected)?
            };
            let vouched = later
                .iter()
                .map(|(_, _, header)| header.synced_group)
                .max()
                .unwrap_or(0);
            scan.promised = scan.promised.max(vouched);
            if expected <= scan.promised {
                let next = later.iter().min_by_key(|(_, _, header)| header.group);
                let place = next.map(|(file, at, _)| (*file, *at));
                let (bad_file, from, to) = self.damaged_place((file, position), place, point)?;
                scan.is_list_lost = true;
                scan.damaged_files.push(bad_file);
                let last = next.map_or(scan.promised, |(_, _, header)| header.group - 1);
                let what = if what.is_empty() {
                    "the groups are missing"
                } else {
                    &what
                };
                // The copy of a later group in the place of an earlier one leads astray.
                let groups = if last < expected {
                    format!("in front of acknowledged group {expected}")
                } else {
                    format!("acknowledged groups {expected} to {last}")
                };
                report.damage.push(Damage {
                    path: self.path(bad_file),
                    from,
                    to: to.max(from + 1),
                    log: None,
                    offsets: None,
                    what: format!("{groups}: {what}"),
                });
                match next {
                    Some((next_file, next_position, header)) => {
                        (file, position, expected) = (*next_file, *next_position, header.group);
                        continue;
                    }
                    None => break,
                }
            }
            if !what.is_empty() {
                let end = self.torn_end(file, position)?;
                report.torn = Some((self.path(file), position, end));
            }
            report.dropped_groups = later.len() as u64;
            let dropped = later
                .iter()
                .map(|(_, _, header)| header.group)
                .max()
                .unwrap_or(0);
            // A group number is never used twice, not even that of a torn group.
            scan.last_group = scan.last_group.max(dropped).max(expected);
            break;
        }
        scan.last_group = scan.last_group.max(expected - 1).max(point.flushed_group);
        report.groups = scan.groups;
        Ok(scan)
    }

    /// The bytes that should hold the groups between the place where the last one ended and the
    /// next one that was found: as far as the recovery point, where none was.
    fn damaged_place(
        &self,
        (file, position): (usize, u64),
        next: Option<(usize, u64)>,
        point: &RecoveryPoint,
    ) -> Result<(usize, u64, u64), IoFailure> {
        let end = match next {
            Some(next) => next,
            None => (point.flushed_file as usize, u64::from(point.flushed_end)),
        };
        let len = self.len(file)?;
        Ok(match end {
            (other, to) if other == file && to > position => (file, position, to),
            // The group did not fit behind the last one, and opened the next file.
            (other, to) if other != file && other < self.files.len() && to > FIRST_GROUP => {
                (other, FIRST_GROUP, to)
            }
            _ => (file, position, len.max(position)),
        })
    }

    /// The bytes between a promised group and the next block were zero when they were written.
    fn check_zeros(
        &mut self,
        scan: &mut Scan,
        file: usize,
        end: u64,
        group: u64,
        report: &mut RecoveryReport,
    ) -> Result<(), IoFailure> {
        let to = end.next_multiple_of(BLOCK);
        if self.read(file, end..to)?.iter().any(|byte| *byte != 0) {
            scan.damaged_files.push(file);
            report.damage.push(Damage {
                path: self.path(file),
                from: end,
                to,
                log: None,
                offsets: None,
                what: format!("the bytes behind acknowledged group {group} are not zero"),
            });
        }
        Ok(())
    }

    fn take(
        &self,
        scan: &mut Scan,
        items: Vec<FoundItem>,
        group: u64,
        report: &mut RecoveryReport,
    ) {
        scan.groups += 1;
        scan.last_group = group;
        for found in items {
            if !found.is_intact {
                scan.damaged_files.push(found.file);
                report.damage.push(Damage {
                    path: self.path(found.file),
                    from: found.position,
                    to: found.position + found.item.length,
                    log: Some(found.item.incarnation),
                    offsets: Some((found.item.base_offset, found.item.end_offset)),
                    what: format!("a batch of acknowledged group {group} fails its checksum"),
                });
            }
            let log = found.item.incarnation;
            scan.items.entry(log).or_default().push(found);
        }
    }

    fn is_promised(
        &mut self,
        scan: &Scan,
        (file, position): (usize, u64),
        group: u64,
    ) -> Result<bool, IoFailure> {
        if group <= scan.promised {
            return Ok(true);
        }
        let later = self.later_groups(file, position + BLOCK, group)?;
        Ok(later
            .iter()
            .any(|(_, _, header)| header.synced_group >= group))
    }

    /// The file whose first group has this number.
    fn file_that_begins_with(&mut self, group: u64) -> Result<Option<usize>, IoFailure> {
        for file in 0..self.files.len() {
            if self.may_begin_with(file, group)?
                && let At::Group { header, .. } = self.at(file, FIRST_GROUP)?
                && header.group == group
            {
                return Ok(Some(file));
            }
        }
        Ok(None)
    }

    /// What the first header of a file says. Not a piece of each file is read for that: a ring may
    /// have many.
    fn may_begin_with(&self, file: usize, group: u64) -> Result<bool, IoFailure> {
        let mut head = vec![0; GROUP_HEADER_BYTES];
        let read = self.files[file].read_at(FIRST_GROUP, &mut head);
        let read = read.or_while("reading", &self.path(file))?;
        Ok(GroupHeader::decode(&head[..read]).is_ok_and(|header| header.group == group))
    }

    /// Every valid group of this run from `expected` on, wherever it lies.
    fn later_groups(
        &mut self,
        file: usize,
        position: u64,
        expected: u64,
    ) -> Result<Vec<(usize, u64, GroupHeader)>, IoFailure> {
        let mut found = Vec::new();
        for other in 0..self.files.len() {
            let len = self.len(other)?;
            let mut at = if other == file { position } else { FIRST_GROUP };
            while at + BLOCK <= len {
                match self.at(other, at)? {
                    At::Group { header, items, end } if header.group >= expected => {
                        // What a damaged one says of its length is not to be believed.
                        if items.iter().all(|found| found.is_intact) {
                            found.push((other, at, header));
                            at = end.next_multiple_of(BLOCK);
                        } else {
                            at += BLOCK;
                        }
                    }
                    _ => at += BLOCK,
                }
            }
        }
        Ok(found)
    }

    /// The last byte that is not zero from `position` on, within what one group may hold.
    fn torn_end(&mut self, file: usize, position: u64) -> Result<u64, IoFailure> {
        let len = self.len(file)?;
        let (mut at, mut end) = (position, position);
        while at < len {
            let to = len.min(at + PIECE_BYTES);
            let bytes = self.read(file, at..to)?;
            if let Some(last) = bytes.iter().rposition(|byte| *byte != 0) {
                end = at + last as u64 + 1;
            }
            at = to;
        }
        Ok(end)
    }
}

fn path_in(layout: &Layout, file: usize) -> PathBuf {
    layout.journal_file(u32::try_from(file).unwrap_or(u32::MAX))
}

pub(super) fn is_intact(bytes: &[u8], item: &GroupItem) -> bool {
    check_stored(bytes).is_ok_and(|header| {
        header.header_crc() == item.checksum
            && header.incarnation() == item.incarnation
            && header.base_offset() == item.base_offset
            && header.end_offset() == item.end_offset
    })
}
