//! The segments of a log that is replayed: moved to, kept where they are there, and closed.

use std::io::IoSlice;
use std::sync::Arc;

use super::LogReplay;
use crate::format::SegmentHeader;
use crate::storage::disk::OpenMode;
use crate::storage::error::{IoFailure, While};
use crate::storage::index;
use crate::storage::layout::{is_spare, segment_base};
use crate::storage::recovery::scan::FoundItem;
use crate::storage::recovery::{Damage, Unrecovered};
use crate::storage::segment::{FIRST_BATCH, Segment, SegmentId, remove_file};
use crate::storage::walk::BLOCK_BYTES;
use crate::types::{LogEpoch, Timestamp};

impl LogReplay {
    /// The segment of an item; a new one when the item names another than the active.
    pub(super) fn move_to(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
        time: Timestamp,
        epoch: LogEpoch,
    ) -> Result<Arc<Segment>, IoFailure> {
        let base = found.item.segment_base;
        if let Some(segment) = &self.segment
            && segment.id().base == base
        {
            return Ok(segment.clone());
        }
        self.write_gathered(all)?;
        let id = SegmentId::new(&all.layout, self.id, base);
        let segment = match self.point.active {
            Some(active) if active.base == base && self.is_active_lost => {
                self.is_active_lost = false;
                // Its folder may have gone with it.
                let dir = all.layout.log_dir(self.id);
                all.disk.create_dir(&dir).or_while("creating", &dir)?;
                let segment = Segment::create(id, active.previous, active.start_time, epoch);
                segment.write_header(&*all.disk)?;
                segment
            }
            Some(active) if active.base == base => {
                let segment = Segment::existing(id, active.previous, active.position);
                index::trim(&*all.disk, segment.id(), active.position)?;
                segment
            }
            _ => {
                let previous = self.enter(base, time);
                let segment = Segment::create(id, previous, time, epoch);
                self.keep_file(all, found, &segment)?;
                segment
            }
        };
        if let Some(left) = self.segment.replace(Arc::new(segment)) {
            all.owe(left)?;
        }
        Ok(self.segment.clone().expect("set above"))
    }

    /// A file that is there already may hold synced bytes of references: all of it is kept, and
    /// only a header that is not this segment's is written again.
    fn keep_file(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
        segment: &Segment,
    ) -> Result<(), IoFailure> {
        let path = segment.id().path();
        if !all.disk.exists(&path).or_while("looking for", &path)? {
            return Ok(());
        }
        index::trim(&*all.disk, segment.id(), 0)?;
        let header = Segment::read_header(&*all.disk, segment.id())?;
        let is_ours = |header: &SegmentHeader| {
            let previous = segment.previous();
            header.incarnation == self.id
                && header.base_offset == segment.id().base
                && header.previous_base == previous.map(|previous| previous.base)
                && header.previous_length == previous.map_or(0, |previous| previous.length)
        };
        if let Some(header) = header.ok().filter(is_ours) {
            return segment.keep_header(&*all.disk, &header);
        }
        segment.write_header(&*all.disk)?;
        if found.item.was_synced_before {
            all.report.repaired.push(Damage {
                path,
                from: 0,
                to: FIRST_BATCH,
                log: Some(self.id),
                offsets: None,
                what: "the segment's header was written again from the journal".to_owned(),
            });
        }
        Ok(())
    }

    /// Zeros what lies between the last batch and the block that the next one starts on: a lost
    /// write may have left it there, or the segment whose file this was before.
    pub(super) fn clear_padding(
        &self,
        all: &Unrecovered,
        found: &FoundItem,
        segment: &Segment,
    ) -> Result<(), IoFailure> {
        let from = self.point.active.map_or(0, |active| active.position);
        if self.has_lost {
            return Ok(()); // what is lost may be there
        }
        let padding = found.item.position.saturating_sub(from);
        let path = segment.id().path();
        if padding == 0
            || padding >= BLOCK_BYTES
            || !all.disk.exists(&path).or_while("looking for", &path)?
        {
            return Ok(());
        }
        let file = all
            .disk
            .open(&path, OpenMode::ReadWrite)
            .or_while("opening", &path)?;
        let len = file.len().or_while("reading the length of", &path)?;
        let there = usize::try_from(padding.min(len.saturating_sub(from)));
        let zeros = vec![0; there.expect("less than a block")];
        // Also over zeros: after a failed sync they may be in the page cache alone.
        if !zeros.is_empty() {
            file.write_at(from, &[IoSlice::new(&zeros)])
                .or_while("writing", &path)?;
            segment.set_dirty();
        }
        Ok(())
    }

    /// Makes the replayed bytes durable and takes away what lies beyond the log's end: a power
    /// loss may have kept it without the journal's word for it.
    pub(super) fn close(&mut self, all: &mut Unrecovered) -> Result<(), IoFailure> {
        if let Some(active) = self.point.active {
            let id = SegmentId::new(&all.layout, self.id, active.base);
            let path = id.path();
            if !all.disk.exists(&path).or_while("looking for", &path)? {
                // All of it lay below the log start, and what came after it is lost.
                if self.point.end <= self.point.log_start {
                    self.point.active = None;
                }
            } else {
                let file = all
                    .disk
                    .open(&path, OpenMode::ReadWrite)
                    .or_while("opening", &path)?;
                if file.len().or_while("reading the length of", &path)? > active.position {
                    // With a lost group the log may end too early: what it lost may be there.
                    if all.scan.is_list_lost || self.point.refused {
                        all.keep_copy(&path, "bytes beyond the log's end, which are cut off")?;
                    }
                    file.set_len(active.position).or_while("cutting", &path)?;
                    file.sync_data().or_while("syncing", &path)?;
                }
            }
        }
        if let Some(segment) = self.segment.take() {
            all.owe(segment)?;
        }
        let dir = all.layout.log_dir(self.id);
        if !all.disk.exists(&dir).or_while("looking for", &dir)? {
            return Ok(());
        }
        let last = self.point.active.map(|active| active.base);
        for entry in all.disk.list(&dir).or_while("listing", &dir)? {
            let path = dir.join(&entry.name);
            let stem = entry.name.split('.').next().unwrap_or_default();
            let base = segment_base(&format!("{stem}.log"));
            if is_spare(&entry.name) {
                remove_file(&*all.disk, &path)?;
                continue;
            }
            if base.is_none_or(|base| last.is_some_and(|last| base <= last)) {
                continue;
            }
            if entry.name.ends_with(".log") {
                all.move_aside(&path, "lies beyond the log's end")?;
            } else {
                remove_file(&*all.disk, &path)?; // an index, which is a cache
            }
        }
        Ok(())
    }
}
