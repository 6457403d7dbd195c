//! What the checkpoint vouches for and the journal still has: where a segment differs, the journal
//! is right.

use std::io::IoSlice;
use std::sync::Arc;

use super::LogReplay;
use crate::format::{BatchHeader, ItemKind};
use crate::storage::disk::{DiskFile, OpenMode};
use crate::storage::error::{IoFailure, While, is_no_file};
use crate::storage::recovery::pieces::Piece;
use crate::storage::recovery::scan::FoundItem;
use crate::storage::recovery::{Damage, Unrecovered};
use crate::storage::segment::SegmentId;
use crate::types::Offset;

/// A segment that is compared, and what was read of it last: nothing is written to it meanwhile.
#[derive(Debug)]
pub(super) struct Compared {
    base: Offset,
    file: Arc<dyn DiskFile>,
    piece: Piece,
}

impl LogReplay {
    pub(super) fn compare(
        &mut self,
        all: &mut Unrecovered,
        found: &FoundItem,
    ) -> Result<(), IoFailure> {
        let item = &found.item;
        if item.kind != ItemKind::Batch
            || !found.is_intact
            || item.base_offset < self.point.log_start
        {
            return Ok(());
        }
        self.write_gathered(all)?;
        let id = SegmentId::new(&all.layout, self.id, item.segment_base);
        let path = id.path();
        let range = self.batch(all, found)?;
        let bytes = all.batches.bytes(range);
        let held = self.compared.take();
        let mut compared = match held.filter(|compared| compared.base == item.segment_base) {
            Some(compared) => compared,
            None => {
                let file = match all.disk.open(&path, OpenMode::ReadWrite) {
                    Ok(file) => file,
                    Err(error) if is_no_file(&error) => {
                        let is_lost = self.is_active_lost
                            && self
                                .point
                                .active
                                .is_some_and(|active| active.base == item.segment_base);
                        if !is_lost {
                            return Ok(()); // for the chain check to report
                        }
                        let header = BatchHeader::peek(&bytes).expect("checked when it was taken");
                        let (time, epoch) = (header.append_time(), header.log_epoch());
                        self.move_to(all, found, time, epoch)?;
                        let opened = all.disk.open(&path, OpenMode::Create);
                        opened.or_while("creating", &path)?
                    }
                    Err(error) => return Err(IoFailure::new("opening", &path, error)),
                };
                Compared {
                    base: item.segment_base,
                    file,
                    piece: Piece::default(),
                }
            }
        };
        let file = compared.file.clone();
        let end = item.position + item.length;
        let stored = compared.piece.read(&*file, 0, item.position..end);
        let is_same = stored.or_while("reading", &path)? == &bytes[..];
        if is_same {
            self.compared = Some(compared);
            return Ok(());
        }
        file.write_at(item.position, &[IoSlice::new(&bytes)])
            .or_while("writing", &path)?;
        file.sync_data().or_while("syncing", &path)?;
        compared.piece.forget();
        self.compared = Some(compared);
        all.report.repaired.push(Damage {
            path,
            from: item.position,
            to: item.position + item.length,
            log: Some(self.id),
            offsets: Some((item.base_offset, item.end_offset)),
            what: "differed from the journal and was written again from it".to_owned(),
        });
        Ok(())
    }
}
