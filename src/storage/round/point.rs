//! The recovery point that vouches for the last group, when nothing came for a while.

use std::sync::Arc;

use crate::storage::error::IoFailure;
use crate::storage::journal::GroupEnd;
use crate::storage::points;
use crate::storage::store::Storage;

/// When nothing came for a while: the recovery point that vouches for the last group.
#[derive(Debug)]
pub struct PointJob {
    points: Arc<points::Points>,
    synced: GroupEnd,
}

impl Storage {
    /// The job that writes how far the journal is synced, if the recovery point lags behind.
    #[must_use]
    pub fn plan_point(&self) -> Option<PointJob> {
        let lags = self.points.current().flushed_group < self.journal.synced.group;
        (lags && self.journal_failed.is_none()).then(|| PointJob {
            points: self.points.clone(),
            synced: self.journal.synced,
        })
    }

    /// Books that the recovery point could not be written: like a failed journal, but for a full
    /// disk, where the slot in use is intact and the other is written another time.
    pub fn finish_point(&mut self, ended: Result<(), IoFailure>) {
        if let Err(failure) = ended {
            if failure.is_out_of_space() {
                self.space.refused(&failure);
                return;
            }
            tracing::error!(%failure, "the recovery point failed: no more writes until a restart");
            self.fail_journal(self.written_through + 1, failure);
        }
    }
}

impl PointJob {
    /// Writes and syncs the recovery point. Call it without any lock.
    ///
    /// # Errors
    /// [`IoFailure`]; it is not tried again.
    pub fn run(&self) -> Result<(), IoFailure> {
        self.points.update(|point| {
            point.flushed_group = self.synced.group;
            point.flushed_file = self.synced.file;
            point.flushed_end = self.synced.end;
        })
    }
}
