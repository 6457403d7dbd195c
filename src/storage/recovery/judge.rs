//! Looks at the file that each log appends to, before anything is written to it.

use std::collections::BTreeSet;

use super::super::disk::OpenMode;
use super::super::error::{IoFailure, OpenError, While, is_no_file};
use super::super::index::Index;
use super::super::log::ActivePoint;
use super::super::segment::{FIRST_BATCH, Segment, SegmentId};
use super::super::walk::Gap;
use super::replay::LogReplay;
use super::scan::FoundItem;
use super::{Damage, Unrecovered};
use crate::format::{BATCH_HEADER_BYTES, BatchHeader, DamageKind, DamageRow, SegmentHeader};
use crate::types::Offset;

impl LogReplay {
    /// Makes room for the log's segments where something else lies in their places, and reports
    /// what the active one lacks of what the checkpoint vouches for.
    pub(super) fn judge(
        &mut self,
        all: &mut Unrecovered,
        items: &[FoundItem],
    ) -> Result<(), IoFailure> {
        let bases = items.iter().map(|found| found.item.segment_base);
        let active = self
            .point
            .active
            .filter(|_| self.point.end > self.point.log_start);
        if let Some(trimmed) = self.point.active.filter(|_| active.is_none()) {
            // All that the checkpoint vouches for may be gone. What the journal has beyond it, and of
            // the segment that came next, may not have reached the disk, so the replay may end there.
            let path = SegmentId::new(&all.layout, self.id, trimmed.base).path();
            let is_there = all.disk.exists(&path).or_while("looking for", &path)?;
            self.is_active_lost = !is_there;
        }
        let bases: BTreeSet<Offset> = bases.chain(active.map(|active| active.base)).collect();
        // The directory's own log is not replayed into another file: `check_directory` refuses.
        if self.id != all.directory_id {
            for base in bases {
                self.clear_place(all, base)?;
            }
        }
        let Some(active) = active.filter(|active| active.position > FIRST_BATCH) else {
            return Ok(());
        };
        let id = SegmentId::new(&all.layout, self.id, active.base);
        let path = id.path();
        let file = match all.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if is_no_file(&error) => {
                self.is_active_lost = true;
                self.is_active_missed = true;
                self.lacks_from = Some(0);
                return Ok(());
            }
            Err(error) => return Err(IoFailure::new("opening", &path, error)),
        };
        let len = file.len().or_while("reading the length of", &path)?;
        let mut block = vec![0; SegmentHeader::BYTES];
        let read = file.read_at(0, &mut block).or_while("reading", &path)?;
        let what = match SegmentHeader::decode(&block[..read]) {
            Ok(header) if header.incarnation == self.id && header.base_offset == active.base => {
                None
            }
            Ok(header) => Some(format!("the header is one of log {}", header.incarnation)),
            Err(error) => Some(error.to_string()),
        };
        if let Some(what) = what {
            all.report.damage.push(Damage {
                path: path.clone(),
                from: 0,
                to: FIRST_BATCH,
                log: Some(self.id),
                offsets: None,
                what,
            });
        }
        if len < active.position {
            self.lacks_from = Some(len);
        } else if len > active.position && all.report.was_clean && items.is_empty() {
            // A stop in order leaves nothing there.
            all.keep_copy(&path, "bytes beyond the log's end, which are cut off")?;
        }
        Ok(())
    }

    /// Reports what the active segment of the checkpoint lacks after the replay: the journal may
    /// have had some of it. Where its file is missed, with any of that, the log takes no more writes.
    pub(super) fn report_lacks(
        &mut self,
        all: &mut Unrecovered,
        vouched: Option<(ActivePoint, Offset)>,
    ) -> Result<(), IoFailure> {
        let (Some(from), Some((active, end))) = (self.lacks_from, vouched) else {
            return Ok(());
        };
        let id = SegmentId::new(&all.layout, self.id, active.base);
        let path = id.path();
        let file = match all.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if is_no_file(&error) => {
                let gap = Gap {
                    first: active.base,
                    next: None,
                    position: 0,
                    length: active.position,
                    what: "the segment file is missing".into(),
                };
                self.point.refused = true;
                self.report_gap(all, &id, &gap, end, DamageKind::SegmentFile);
                return Ok(());
            }
            Err(error) => return Err(IoFailure::new("opening", &path, error)),
        };
        let index = Index::rebuild(&id, &*file, active.position)?;
        for gap in index.gaps() {
            if gap.position + gap.length > from {
                self.point.refused |= self.is_active_missed;
                self.report_gap(all, &id, gap, end, DamageKind::SegmentBatch);
            }
        }
        Ok(())
    }

    /// Moves aside what lies in a segment's place and is none, or one of another log or place.
    fn clear_place(&self, all: &mut Unrecovered, base: Offset) -> Result<(), IoFailure> {
        let id = SegmentId::new(&all.layout, self.id, base);
        let path = id.path();
        let file = match all.disk.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) if is_no_file(&error) => {
                return all.move_aside(&path, "a directory in the place of a segment");
            }
            Err(error) => return Err(IoFailure::new("opening", &path, error)),
        };
        let mut block = vec![0; SegmentHeader::BYTES + BATCH_HEADER_BYTES];
        let read = match file.read_at(0, &mut block) {
            Ok(read) => read,
            Err(error) if is_no_file(&error) => {
                return all.move_aside(&path, "a directory in the place of a segment");
            }
            Err(error) => return Err(IoFailure::new("reading", &path, error)),
        };
        let (header, batch) = block[..read].split_at(read.min(SegmentHeader::BYTES));
        // A header of elsewhere before batches that are ours is one block's damage.
        let is_ours = BatchHeader::peek(batch)
            .is_ok_and(|batch| batch.incarnation() == self.id && batch.base_offset() == base);
        match SegmentHeader::decode(header) {
            Ok(_) if is_ours => Ok(()),
            Ok(header) if header.incarnation != self.id || header.base_offset != base => {
                let why = format!(
                    "the segment from offset {} of log {} in the place of another",
                    header.base_offset, header.incarnation
                );
                all.move_aside(&path, &why)
            }
            _ => Ok(()),
        }
    }

    fn report_gap(
        &mut self,
        all: &mut Unrecovered,
        id: &SegmentId,
        gap: &Gap,
        end: Offset,
        what: DamageKind,
    ) {
        let end_offset = gap.next.unwrap_or(end);
        let first_offset = gap.first.max(self.point.log_start).min(end_offset);
        let row = DamageRow {
            first_offset,
            end_offset,
            segment_base: id.base,
            position: gap.position,
            length: gap.length,
            what,
        };
        // Every start finds it again.
        if !self.point.damage.contains(&row) {
            self.point.damage.push(row);
        }
        all.report.damage.push(Damage {
            path: id.path(),
            from: gap.position,
            to: gap.position + gap.length,
            log: Some(self.id),
            offsets: Some((first_offset, end_offset)),
            what: gap.what.to_string(),
        });
    }
}

impl Unrecovered {
    /// Refuses a directory whose own log has lost the file it appends to.
    pub(super) fn check_directory(&self) -> Result<(), OpenError> {
        let id = self.directory_id;
        let row = self.rows.get(&id).and_then(|point| point.active);
        let Some(active) = row.filter(|active| active.position > FIRST_BATCH) else {
            return Ok(());
        };
        let id = SegmentId::new(&self.layout, id, active.base);
        let path = id.path();
        let broken = |what: String| {
            let what = format!("{}: {what}", path.display());
            Err(OpenError::BrokenDirectory { what })
        };
        match self.disk.open(&path, OpenMode::ReadWrite) {
            Err(error) if is_no_file(&error) => return broken("no such file".to_owned()),
            opened => opened.or_while("opening", &path)?,
        };
        match Segment::read_header(&*self.disk, &id)? {
            Ok(header) if header.incarnation != id.log || header.base_offset != id.base => {
                broken(format!("a segment of log {}", header.incarnation))
            }
            // Its batches are read and checked one by one.
            _ => Ok(()),
        }
    }
}
