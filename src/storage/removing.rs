//! Removing: files that no record needs any more, once no start would look into them and no round
//! writes to them.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use super::beside::BesidePlace;
use super::disk::Disk;
use super::error::{IoFailure, While, is_no_file};
use super::layout::Layout;
use super::names::Folder;
use super::segment::{Segment, remove_file};
use super::spares::Spares;
use super::store::Storage;
use crate::format::IndexKind;
use crate::types::{Incarnation, Timestamp};

/// Files that no record needs any more.
#[derive(Debug)]
pub(super) enum Removal {
    /// Segments below a log's start.
    Segments {
        log: Incarnation,
        segments: Vec<Arc<Segment>>,
    },
    /// Spare files of a log.
    Spares {
        log: Incarnation,
        paths: Vec<PathBuf>,
    },
    /// A deleted log with all it has.
    Log(Incarnation),
    /// What was written beside a log, or lay in its place before.
    Beside(BesidePlace),
    /// Handles of segments whose files are gone, or other ones by now.
    Handles(
        #[expect(
            dead_code,
            reason = "they are closed where it is dropped, without a lock"
        )]
        Vec<Arc<Segment>>,
    ),
}

impl Removal {
    /// The log that it takes files of, and not all of them.
    fn part_of(&self) -> Option<Incarnation> {
        match self {
            Self::Segments { log, .. } | Self::Spares { log, .. } => Some(*log),
            Self::Log(_) | Self::Beside(_) | Self::Handles(_) => None,
        }
    }

    /// Whether it takes files of this log away, one by one.
    pub fn is_of(&self, id: Incarnation) -> bool {
        match self {
            Self::Segments { log, .. } | Self::Spares { log, .. } => *log == id,
            Self::Log(log) => *log == id,
            Self::Beside(_) | Self::Handles(_) => false,
        }
    }
}

/// Most logs that one job removes segments of: what retention drops of many at once goes as fast as it
/// comes, also where a checkpoint follows the other.
const JOB_REMOVALS: usize = 64;

/// Removes the files of one log, or the expired segments of some.
#[derive(Debug)]
pub struct RemoveJob {
    disk: Arc<dyn Disk>,
    layout: Layout,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    removal: Removal,
    /// Of the log that it takes files of.
    folder: Arc<Folder>,
    /// Where so many of the files go that a later segment may be written over.
    spares: Option<(Arc<Spares>, usize)>,
}

impl RemoveJob {
    /// The deleted log whose files this job removes; `None` for expired segments.
    #[must_use]
    pub fn removed_log(&self) -> Option<Incarnation> {
        self.parts.iter().find_map(|part| match part.removal {
            Removal::Log(id) => Some(id),
            Removal::Segments { .. }
            | Removal::Spares { .. }
            | Removal::Beside(_)
            | Removal::Handles(_) => None,
        })
    }
}

impl Storage {
    /// The next removals that nothing stands against at `now`.
    pub(super) fn plan_removal(&mut self, now: Timestamp) -> Option<RemoveJob> {
        let is_of_segments = |removal: &Removal| matches!(removal, Removal::Segments { .. });
        let mut at = 0;
        let first = self.next_removal(&mut at, |_| true);
        let first = first.or_else(|| self.unneeded_spares(now))?;
        // The end of any other is booked by itself.
        let most = if is_of_segments(&first) {
            JOB_REMOVALS
        } else {
            1
        };
        let mut parts = vec![self.removal_part(first, now)];
        while parts.len() < most
            && let Some(next) = self.next_removal(&mut at, is_of_segments)
        {
            parts.push(self.removal_part(next, now));
        }
        Some(RemoveJob {
            disk: self.disk.clone(),
            layout: self.layout.clone(),
            parts,
        })
    }

    /// Takes the first removal of a kind, from a place on, that nothing stands against. What a start would
    /// still look into waits for the next checkpoint, and is not looked at until then.
    fn next_removal(
        &mut self,
        at: &mut usize,
        is_wanted: impl Fn(&Removal) -> bool,
    ) -> Option<Removal> {
        while let Some(one) = self.removals.get(*at) {
            if self.waits_for_checkpoint(one) {
                let one = self.removals.remove(*at)?;
                self.checkpoints.retry_removal(one);
            } else if is_wanted(one) && self.is_free(one) {
                return self.removals.remove(*at);
            } else {
                *at += 1;
            }
        }
        None
    }

    fn waits_for_checkpoint(&self, removal: &Removal) -> bool {
        match removal {
            Removal::Segments { log, segments } => self.is_needed(*log, segments),
            Removal::Log(_) | Removal::Spares { .. } | Removal::Beside(_) | Removal::Handles(_) => {
                false
            }
        }
    }

    /// Whether there is a removal that nothing stands against.
    pub(super) fn may_remove(&self) -> bool {
        self.removals.iter().any(|one| self.is_free(one))
    }

    fn is_free(&self, removal: &Removal) -> bool {
        // A direct run under way would make the directory of a deleted log again, and takes along what
        // the segment before it lacks. Segments before that go all the same: under load a round is
        // always under way, and one that finds the disk full waits for what they free.
        match removal {
            Removal::Log(id) => !self.in_flight.contains_key(id),
            Removal::Segments { log, segments } => {
                let first = self.in_flight.get(log);
                let is_before =
                    |one: &Arc<Segment>| first.is_none_or(|first| one.id().base < *first);
                segments.iter().all(is_before) && !self.waits_for_checkpoint(removal)
            }
            Removal::Spares { .. } | Removal::Beside(_) | Removal::Handles(_) => true,
        }
    }

    fn removal_part(&mut self, removal: Removal, now: Timestamp) -> Part {
        let mut spares = None;
        if let Removal::Segments { log, segments } = &removal {
            for segment in segments {
                self.forget_index(*log, segment.id().base);
            }
            let wanted = self.plan_spares(*log, segments, now);
            let known = self.logs.get(log).filter(|_| wanted > 0);
            spares = known.map(|log| (log.spares.clone(), wanted));
        }
        let log = removal.part_of().and_then(|log| self.logs.get(&log));
        let folder = log.map(|log| log.folder.clone()).unwrap_or_default();
        Part {
            removal,
            folder,
            spares,
        }
    }

    /// Whether a start would still look into segments that nobody may read any more.
    ///
    /// The directory's own log is read from the log start that the checkpoint has. Of any other, the
    /// journal has nothing of what went straight to a segment but references, and the producers of
    /// that are told by its headers, until a checkpoint has them.
    pub(super) fn is_needed(&self, log: Incarnation, segments: &[Arc<Segment>]) -> bool {
        let Some(known) = self.logs.get(&log).filter(|log| !log.is_poisoned) else {
            return false;
        };
        if log == self.directory_id {
            let kept = known
                .segments
                .first()
                .map_or(known.end, |one| one.id().base);
            let row = self.checkpoints.row(log);
            return row.is_none_or(|row| row.log_start < kept);
        }
        let vouched = self.checkpoints.end_of(known.id);
        segments.iter().any(|one| one.direct_end() > vouched)
    }

    /// Has what could not be removed tried again.
    pub(super) fn book_not_removed(&mut self, job: RemoveJob, failure: &IoFailure) {
        tracing::warn!(%failure, "files that are no longer needed could not be removed");
        for part in job.parts {
            // What is left of a deleted log goes with its folder.
            let is_gone = |id| !self.logs.contains_key(&id);
            if !part.removal.part_of().is_some_and(is_gone) {
                self.checkpoints.retry_removal(part.removal);
            }
        }
    }

    /// Removes nothing more of a log's files: they are gone with their folder, and others may come
    /// to have their names.
    pub(super) fn forget_removals(&mut self, id: Incarnation) {
        self.removals.retain(|removal| !removal.is_of(id));
        self.checkpoints.forget_removals(id);
    }

    pub(super) fn removals_mut(&mut self) -> &mut VecDeque<Removal> {
        &mut self.removals
    }
}

impl RemoveJob {
    /// Removes what there is to remove. Gives what could not be, with the first failure.
    ///
    /// Handles are closed here, and not where the end is booked under a lock: with the last handle of a
    /// removed file the file system gives its blocks back, which takes a tenth of a second for some.
    pub(super) fn run(mut self) -> Result<(), (Self, IoFailure)> {
        let mut parts = std::mem::take(&mut self.parts);
        let mut first = None;
        parts.retain(|part| match self.remove_part(part) {
            Ok(()) => false,
            Err(failure) => {
                first.get_or_insert(failure);
                true
            }
        });
        match first {
            None => Ok(()),
            Some(failure) => Err((Self { parts, ..self }, failure)),
        }
    }

    fn remove_part(&self, part: &Part) -> Result<(), IoFailure> {
        match &part.removal {
            Removal::Segments { log, segments } => {
                let mut kept = Vec::new();
                let wanted = part.spares.as_ref().map_or(0, |(_, wanted)| *wanted);
                for segment in segments {
                    // The segment goes last: an index without a segment is found and removed by
                    // nobody, a segment without an index is rebuilt or removed again.
                    self.remove(&segment.id().index_path(IndexKind::Time))?;
                    self.remove(&segment.id().index_path(IndexKind::Offset))?;
                    if kept.len() < wanted && segment.is_free() {
                        kept.extend(self.keep(segment)?);
                    } else {
                        self.remove(&segment.id().path())?;
                        // Where keeping it ended halfway.
                        self.remove(&segment.spare_path())?;
                    }
                }
                self.sync_names(*log, &part.folder)?;
                if let Some((spares, _)) = &part.spares {
                    spares.give(kept);
                }
                Ok(())
            }
            Removal::Spares { log, paths } => {
                paths.iter().try_for_each(|path| self.remove(path))?;
                self.sync_names(*log, &part.folder)
            }
            Removal::Log(id) => remove_log_dir(&*self.disk, &self.layout, *id),
            Removal::Beside(place) => place.remove(&*self.disk),
            // Dropped by `run`, which is all that is to be done.
            Removal::Handles(_) => Ok(()),
        }
    }

    fn sync_names(&self, log: Incarnation, folder: &Folder) -> Result<(), IoFailure> {
        match folder.sync(&*self.disk, &self.layout.log_dir(log)) {
            // The log was deleted meanwhile, or never reached the disk.
            Err(failure) if is_no_file(&failure.source) => Ok(()),
            synced => synced,
        }
    }

    /// Makes a spare file of a removed segment; none where there is no file.
    fn keep(&self, segment: &Segment) -> Result<Option<PathBuf>, IoFailure> {
        let (path, spare) = (segment.id().path(), segment.spare_path());
        match self.disk.rename(&path, &spare) {
            Ok(()) => Ok(Some(spare)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                // An earlier try renamed it, and did not come to an end.
                self.remove(&spare)?;
                Ok(None)
            }
            Err(error) => Err(error).or_while("renaming", &path),
        }
    }

    fn remove(&self, path: &std::path::Path) -> Result<(), IoFailure> {
        remove_file(&*self.disk, path)
    }
}

/// Removes a log's directory with all that is in it. Doing it twice changes nothing.
pub(super) fn remove_log_dir(
    disk: &dyn Disk,
    layout: &Layout,
    id: Incarnation,
) -> Result<(), IoFailure> {
    let dir = layout.log_dir(id);
    if disk.exists(&dir).or_while("looking for", &dir)? {
        for entry in disk.list(&dir).or_while("listing", &dir)? {
            remove_file(disk, &dir.join(&entry.name))?;
        }
        disk.remove_dir(&dir).or_while("removing", &dir)?;
    }
    // Also where it is gone: an earlier try may have come so far.
    layout.channels().sync(disk, &layout.channels_dir())
}
