//! What is checked next, and what becomes of what was found: under the lock.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::check::{Finding, Piece, SegmentCheck};
use super::job::{Done, RebuiltIndex, ScrubEnd, ScrubJob, Work};
use super::own_files::OwnFiles;
use super::pass::{Pass, ScrubStatus};
use crate::format::{DamageKind, DamageRow};
use crate::storage::error::IoFailure;
use crate::storage::index::{self, Filed};
use crate::storage::log::Log;
use crate::storage::segment::{FIRST_BATCH, Segment, SegmentId};
use crate::storage::store::Storage;
use crate::types::{Incarnation, Timestamp};

/// Most damage rows of a log; what is found beyond stretches the last one.
const MOST_ROWS: usize = 1000;

impl Storage {
    /// Asks for a pass over everything now; one that is under way begins anew after its end.
    pub fn want_scrub(&mut self) {
        self.scrub.is_wanted = true;
    }

    /// What the scrubber has done, and where it is.
    #[must_use]
    pub fn scrub_status(&self) -> ScrubStatus {
        let scrub = &self.scrub;
        let mut status = scrub.status.clone();
        status.unreadable = scrub.unreadable.values().cloned().collect();
        if let Some(pass) = &scrub.pass {
            status.is_running = true;
            status.pass_bytes = pass.bytes;
        }
        status
    }

    /// When the next piece may come, if a pass is under way; else there may be one at any time.
    #[must_use]
    pub fn scrub_due(&self) -> Option<Timestamp> {
        self.scrub.pass.as_ref().map(|_| self.scrub.due)
    }

    /// The next piece of scrubbing that is due at `now`, if any.
    pub fn plan_scrub(&mut self, now: Timestamp) -> Option<ScrubJob> {
        if !self.scrub.is_due(now) {
            return None;
        }
        if self.scrub.pass.is_none() {
            let mut logs: Vec<Incarnation> = self.logs.keys().copied().collect();
            logs.sort_unstable();
            self.scrub.is_wanted = false;
            self.scrub.pass = Some(Pass {
                started_at: now,
                bytes: 0,
                logs: logs.into(),
                after: None,
                check: None,
                unreadable: BTreeSet::new(),
            });
        }
        let work = self.next_work();
        self.scrub.is_running = true;
        if let Work::Segment(check) = &work {
            let at = (check.log, check.segment.id().path(), check.position);
            self.scrub.status.at = Some(at);
        }
        Some(ScrubJob {
            disk: self.disk.clone(),
            max_bytes: self.scrub.piece_bytes(),
            work,
        })
    }

    fn next_work(&mut self) -> Work {
        let pass = self.scrub.pass.as_mut().expect("begun before");
        if let Some(check) = pass.check.take() {
            return Work::Segment(Box::new(check));
        }
        while let Some(id) = pass.logs.front().copied() {
            let row = self.checkpoints.row(id);
            // A log that had no batch yet has a row without a place.
            let row = row.filter(|row| row.position >= FIRST_BATCH);
            let (Some(log), Some(row)) = (self.logs.get(&id), row) else {
                pass.next_log(); // deleted, or nothing of it is vouched for
                continue;
            };
            if let Some(job) = log.plan_load() {
                return Work::Load(self.load_task(id, job));
            }
            let is_next = |segment: &&Arc<Segment>| {
                let base = segment.id().base;
                base <= row.segment_base && pass.after.is_none_or(|after| base > after)
            };
            let Some(segment) = log.segments.iter().find(is_next) else {
                pass.next_log();
                continue;
            };
            let base = segment.id().base;
            let following = log.segments.iter().find(|next| next.id().base > base);
            let is_last = base == row.segment_base;
            let (limit, end) = match following.filter(|_| !is_last) {
                Some(next) => (segment.length(), next.id().base),
                None => (row.position, row.end_offset),
            };
            let is_sealed = following.is_some() && limit == segment.length();
            let check = SegmentCheck::new(id, segment.clone(), limit, end, is_sealed);
            return Work::Segment(Box::new(check));
        }
        Work::OwnFiles(OwnFiles {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            points: self.points.clone(),
            directory_id: self.directory_id,
        })
    }

    /// Books how a piece of scrubbing ended.
    pub fn finish_scrub(&mut self, end: ScrubEnd, now: Timestamp) {
        self.scrub.is_running = false;
        match end.0 {
            Done::Load(loaded) => {
                let dir = self.layout.log_dir(loaded.log());
                if let Err(failure) = self.finish_load(loaded) {
                    self.scrub.could_not_read(&dir, failure);
                    if let Some(pass) = &mut self.scrub.pass {
                        pass.next_log();
                    }
                }
                self.scrub.spent(0, now);
            }
            Done::Segment(check, piece) => {
                let bytes = piece.as_ref().map_or(0, |piece| piece.bytes);
                self.scrub.spent(bytes, now);
                self.finish_segment(*check, piece);
            }
            Done::OwnFiles(bytes, faulty) => {
                self.scrub.spent(bytes, now);
                for file in &faulty {
                    if !self.scrub.status.faulty_files.contains(file) {
                        tracing::error!(
                            file = %file.path.display(), what = %file.what,
                            "damage found in a file of the broker's own"
                        );
                        self.scrub.status.damage_found += 1;
                        // It writes a checkpoint with both copies, and a slot of the point.
                        self.checkpoints.want();
                    }
                }
                self.scrub.status.faulty_files = faulty;
                self.scrub.end_pass(now);
            }
        }
    }

    fn finish_segment(&mut self, check: SegmentCheck, piece: Result<Piece, IoFailure>) {
        let path = check.segment.id().path();
        let is_there = |log: &Log| {
            let mut segments = log.segments.iter();
            segments.any(|segment| Arc::ptr_eq(segment, &check.segment))
        };
        // A file that is being replaced by a shorter one is looked at in the next pass.
        let is_gone = !self.logs.get(&check.log).is_some_and(is_there) || self.is_cut(check.log);
        let after = Some(check.segment.id().base);
        self.scrub.status.at = Some((check.log, path.clone(), check.position));
        if is_gone {
            // Retention or a deletion took it meanwhile: no damage.
            self.scrub.unreadable.remove(&path);
            if let Some(pass) = &mut self.scrub.pass {
                pass.after = after;
            }
            return;
        }
        let piece = match piece {
            Ok(piece) => piece,
            Err(failure) => {
                self.scrub.could_not_read(&path, failure);
                if let Some(pass) = &mut self.scrub.pass {
                    pass.after = after;
                }
                return;
            }
        };
        for finding in piece.findings {
            self.book_finding(&check, finding);
        }
        if !piece.is_last {
            if let Some(pass) = &mut self.scrub.pass {
                pass.check = Some(check);
            }
            return;
        }
        self.scrub.unreadable.remove(&path);
        if check.is_intact {
            self.book_intact(&check);
        }
        if let Some((filed, index)) = piece.index {
            self.book_index(&check, filed, &index);
        }
        if let Some(pass) = &mut self.scrub.pass {
            pass.after = after;
        }
    }

    /// Marks what a pass found, and counts it where it is new.
    fn book_finding(&mut self, check: &SegmentCheck, Finding { row, what }: Finding) {
        if self.mark_damage(check.segment.id(), row, &what) {
            self.scrub.status.damage_found += 1;
        }
    }

    /// Marks damage of a log, unless it is known. It is logged once, and the next checkpoint keeps
    /// it. Writes go on: where the log ends is in the checkpoint, not in the segment.
    pub(in crate::storage) fn mark_damage(
        &mut self,
        segment: &SegmentId,
        row: DamageRow,
        what: &str,
    ) -> bool {
        let Some(log) = self.logs.get_mut(&segment.log) else {
            return false;
        };
        let is_trimmed = row.first_offset < row.end_offset && row.end_offset <= log.log_start;
        let is_known = |known: &DamageRow| {
            known.segment_base == row.segment_base
                && known.first_offset <= row.first_offset
                && known.end_offset >= row.end_offset
                && (row.first_offset < row.end_offset || known.position == row.position)
        };
        if is_trimmed || log.damage.iter().any(is_known) {
            return false;
        }
        tracing::error!(
            file = %segment.path().display(), log = %segment.log,
            from = row.position, to = row.position + row.length,
            first = %row.first_offset, end = %row.end_offset, %what, "damage found"
        );
        log.mark_damaged(row, MOST_ROWS);
        log.is_dirty = true;
        self.dirty.insert(segment.log);
        true
    }

    /// Takes back what an earlier pass found in a segment in which nothing is wrong any more: the
    /// medium gave the bytes back. What recovery found stays until the log is repaired.
    fn book_intact(&mut self, check: &SegmentCheck) {
        let Some(log) = self.logs.get_mut(&check.log) else {
            return;
        };
        let base = check.segment.id().base;
        let before = log.damage.len();
        log.damage.retain(|row| {
            let is_ours = matches!(row.what, DamageKind::SegmentBatch | DamageKind::SegmentFile);
            !is_ours || row.segment_base != base || row.position > check.limit
        });
        if log.damage.len() < before {
            let file = check.segment.id().path();
            tracing::warn!(file = %file.display(), "what was damaged can be read again");
            log.is_dirty = true;
            self.dirty.insert(check.log);
        }
    }

    fn book_index(&mut self, check: &SegmentCheck, filed: Filed, index: &index::Index) {
        if filed == Filed::Whole || self.space.is_full() {
            return;
        }
        let id = check.segment.id();
        if filed == Filed::Bad {
            tracing::warn!(segment = %id.path().display(), "a bad index is written anew");
            self.scrub.status.indexes_rebuilt += 1;
        }
        self.rebuilt_indexes
            .extend(index.image(id).map(|image| RebuiltIndex {
                segment: check.segment.clone(),
                image,
            }));
    }
}
