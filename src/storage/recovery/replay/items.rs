//! What the journal says of one log, item by item, compared with its segments or written to them.

use std::io::IoSlice;

use super::LogReplay;
use crate::format::{BatchHeader, DamageKind, DamageRow, GroupItem, ItemKind};
use crate::storage::disk::OpenMode;
use crate::storage::error::{IoFailure, While, is_no_file};
use crate::storage::log::ActivePoint;
use crate::storage::recovery::scan::FoundItem;
use crate::storage::recovery::{Damage, Unrecovered};
use crate::storage::segment::{FIRST_BATCH, Previous, SegmentId};
use crate::storage::walk::{Step, Walker};
use crate::types::{LogEpoch, Offset, Timestamp};

impl LogReplay {
    pub(super) fn find_first_live(&mut self, items: &[FoundItem]) {
        let bases = items.iter().map(|found| found.item.segment_base);
        let bases = bases.chain(self.point.active.map(|active| active.base));
        let below = bases.filter(|base| *base <= self.point.log_start);
        self.first_live = below.max().unwrap_or(Offset(0));
    }

    pub(super) fn apply(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
    ) -> Result<(), IoFailure> {
        let item = &found.item;
        let (base, end) = (item.base_offset, item.end_offset);
        if self.is_cut || end <= self.point.log_start && end <= self.point.end {
            return Ok(());
        }
        if end <= self.point.end {
            return self.compare(all, found);
        }
        if base < self.point.end {
            let what = "a batch overlaps the log's end";
            self.damage(all, found, (base, end), DamageKind::JournalGroup, what);
            return Ok(());
        }
        if base > self.point.end {
            let lost = (self.point.end, base);
            let what = "the records before this batch are lost with a damaged group";
            self.damage(all, found, lost, DamageKind::JournalGroup, what);
            self.point.end = base;
            self.has_lost = true;
        } else {
            self.has_lost = false;
        }
        match item.kind {
            _ if item.segment_base < self.first_live => self.pass(all, found),
            _ if self.is_active_lost && self.is_trimmed(item) => self.pass(all, found),
            ItemKind::Batch if found.is_intact => self.write(all, found),
            ItemKind::Batch => {
                // The report has it already; the place stays a hole that reads run into.
                self.point
                    .damage
                    .push(damage_row(found, (base, end), DamageKind::JournalGroup));
                self.point.refused = true;
                let segment =
                    self.move_to(all, found, Timestamp(i64::MIN), self.point.last_epoch)?;
                self.clear_padding(all, found, &segment)?;
                self.advance(found, self.point.last_time, self.point.last_epoch);
                Ok(())
            }
            ItemKind::Reference => self.follow(all, found),
        }
    }

    /// Whether an item lies below the log start, in the segment that the log ends in so far.
    fn is_trimmed(&self, item: &GroupItem) -> bool {
        let active = self.point.active;
        item.end_offset <= self.point.log_start
            && active.is_some_and(|active| active.base == item.segment_base)
    }

    /// Batches that lie below the log start with their whole segment: only their headers count.
    fn pass(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        let id = SegmentId::new(&all.layout, self.id, found.item.segment_base);
        let headers = match found.item.kind {
            ItemKind::Batch if found.is_intact => {
                let range = self.batch(all, found)?;
                let bytes = all.batches.bytes(range);
                vec![BatchHeader::peek(&bytes).expect("checked when it was taken")]
            }
            ItemKind::Batch => Vec::new(),
            ItemKind::Reference => read_reference(all, &id, found, false)?.unwrap_or_default(),
        };
        let known = (self.point.last_time, self.point.last_epoch);
        let times = |header: &BatchHeader| (header.append_time(), header.log_epoch());
        let (start_time, _) = headers.first().map_or(known, times);
        let (time, epoch) = headers.last().map_or(known, times);
        self.headers.extend(headers);
        self.enter(found.item.segment_base, start_time);
        self.advance(found, time, epoch);
        Ok(())
    }

    /// Makes a segment the active one; gives the one before it, if that is known.
    pub(super) fn enter(&mut self, base: Offset, start_time: Timestamp) -> Option<Previous> {
        let previous = match self.point.active {
            Some(active) if active.base == base => return active.previous,
            before => before.map(|before| Previous {
                base: before.base,
                length: before.position,
                last_time: self.point.last_time,
            }),
        };
        self.point.active = Some(ActivePoint {
            base,
            position: FIRST_BATCH,
            start_time,
            previous,
        });
        previous
    }

    fn write(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        let range = self.batch(all, found)?;
        let bytes = all.batches.bytes(range.clone());
        let header = BatchHeader::peek(&bytes).expect("checked when it was taken");
        let (time, epoch) = (header.append_time(), header.log_epoch());
        let segment = self.move_to(all, found, time, epoch)?;
        self.clear_padding(all, found, &segment)?;
        self.gather(found.item.position, range);
        all.report.batches += 1;
        all.report.bytes += found.item.length;
        self.headers.push(header);
        self.advance(found, time, epoch);
        Ok(())
    }

    /// Bytes that went straight to the segment: their headers are read, for the producers.
    fn follow(&mut self, all: &mut Unrecovered, found: &FoundItem) -> Result<(), IoFailure> {
        self.write_gathered(all)?;
        let item = &found.item;
        let is_promised = item.was_synced_before || found.group <= all.scan.promised;
        // The sync that the bytes were owed may have failed, and then only the page cache has them.
        let is_owed = !item.was_synced_before && found.group > self.covered;
        let id = SegmentId::new(&all.layout, self.id, item.segment_base);
        let path = id.path();
        let read = read_reference(all, &id, found, is_owed)?;
        let (time, epoch) = match &read {
            Ok(headers) => (headers[0].append_time(), headers[0].log_epoch()),
            Err(_) => (self.point.last_time, self.point.last_epoch),
        };
        if read.is_ok() || is_promised {
            let segment = self.move_to(all, found, time, epoch)?;
            self.clear_padding(all, found, &segment)?;
        }
        match read {
            Ok(headers) => {
                if is_owed {
                    write_again(all, &path, item)?;
                }
                let last = headers.last().expect("a reference holds a batch");
                let (time, epoch) = (last.append_time(), last.log_epoch());
                self.headers.extend(headers);
                self.advance(found, time, epoch);
            }
            Err(what) if is_promised => {
                let lost = (item.base_offset, item.end_offset);
                self.damage(all, found, lost, DamageKind::Reference, &what);
                self.advance(found, time, epoch);
            }
            Err(what) => {
                self.is_cut = true;
                all.report.lost_unsynced.push(Damage {
                    path,
                    from: item.position,
                    to: item.position + item.length,
                    log: Some(self.id),
                    offsets: Some((item.base_offset, item.end_offset)),
                    what,
                });
            }
        }
        Ok(())
    }

    fn advance(&mut self, found: &FoundItem, time: Timestamp, epoch: LogEpoch) {
        self.point.end = found.item.end_offset;
        self.point.last_time = time;
        self.point.last_epoch = epoch;
        if let Some(active) = &mut self.point.active {
            active.position = found.item.position + found.item.length;
        }
    }

    fn damage(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
        lost: (Offset, Offset),
        kind: DamageKind,
        what: &str,
    ) {
        self.point.refused = true;
        self.point.damage.push(damage_row(found, lost, kind));
        let id = SegmentId::new(&all.layout, self.id, found.item.segment_base);
        all.report.damage.push(Damage {
            path: id.path(),
            from: found.item.position,
            to: found.item.position + found.item.length,
            log: Some(self.id),
            offsets: Some(lost),
            what: what.to_owned(),
        });
    }
}

/// Writes the bytes of a reference over themselves: after a failed sync they may be in the page
/// cache alone, and no later sync would bring them to the device.
fn write_again(
    all: &Unrecovered,
    path: &std::path::Path,
    item: &GroupItem,
) -> Result<(), IoFailure> {
    let file = all
        .disk
        .open(path, OpenMode::ReadWrite)
        .or_while("opening", path)?;
    let mut bytes = vec![0; usize::try_from(item.length).unwrap_or(0)];
    let read = file
        .read_at(item.position, &mut bytes)
        .or_while("reading", path)?;
    file.write_at(item.position, &[IoSlice::new(&bytes[..read])])
        .or_while("writing", path)
}

/// The headers of the batches that a reference names, or what is wrong with them.
fn read_reference(
    all: &Unrecovered,
    id: &SegmentId,
    found: &FoundItem,
    checks_bytes: bool,
) -> Result<Result<Vec<BatchHeader>, String>, IoFailure> {
    let item = &found.item;
    let path = id.path();
    let file = match all.disk.open(&path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if is_no_file(&error) => {
            return Ok(Err("the segment file is missing".to_owned()));
        }
        Err(error) => return Err(IoFailure::new("opening", &path, error)),
    };
    let end = item.position + item.length;
    if checks_bytes {
        let mut bytes = vec![0; usize::try_from(item.length).unwrap_or(0)];
        let read = file
            .read_at(item.position, &mut bytes)
            .or_while("reading", &path)?;
        if read < bytes.len() || crc32fast::hash(&bytes) != item.checksum {
            return Ok(Err(
                "the bytes do not match the reference's checksum".to_owned()
            ));
        }
    }
    let mut walker = Walker::new(&*file, id, item.position, end, item.base_offset);
    let mut headers = Vec::new();
    while let Some(step) = walker.step()? {
        match step {
            Step::Batch(batch) => headers.push(batch.header),
            Step::Gap(gap) => return Ok(Err(gap.what.to_string())),
        }
    }
    match headers.last() {
        Some(last) if last.end_offset() == item.end_offset => Ok(Ok(headers)),
        _ => Ok(Err("the batches end before the reference does".to_owned())),
    }
}

fn damage_row(found: &FoundItem, lost: (Offset, Offset), what: DamageKind) -> DamageRow {
    DamageRow {
        first_offset: lost.0,
        end_offset: lost.1,
        segment_base: found.item.segment_base,
        position: found.item.position,
        length: found.item.length,
        what,
    }
}
