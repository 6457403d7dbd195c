//! What a region writes beside its copies: it stays while links come and go.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use crate::broker::Wider;
use crate::region::copies::BatchMark;
use crate::server::clock;
use crate::server::ranks::MutexGuard;
use crate::server::region::Regions;
use crate::storage::BesideLog;
use crate::types::{Incarnation, LogEpoch, Offset};

/// A copy that is written beside another.
#[derive(Debug)]
pub(in crate::server::region) struct Beside {
    pub(super) log: BesideLog,
    pub(super) wider: Wider,
    /// When it was begun.
    pub(super) since: Instant,
    /// What it has at its end: of a gap of its own only the epoch.
    pub(super) last: Option<Result<BatchMark, LogEpoch>>,
}

impl Regions {
    pub(super) fn beside(&self) -> MutexGuard<'_, HashMap<Incarnation, Beside>> {
        self.beside.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a copy is being put in the place of this one.
    pub fn is_replaced(&self, id: Incarnation) -> bool {
        let replaced = self.replaced.lock();
        replaced
            .unwrap_or_else(PoisonError::into_inner)
            .contains(&id)
    }

    pub(super) fn set_replaced(&self, id: Incarnation, is_replaced: bool) {
        let replaced = self.replaced.lock();
        let mut replaced = replaced.unwrap_or_else(PoisonError::into_inner);
        match is_replaced {
            true => replaced.insert(id),
            false => replaced.remove(&id),
        };
    }

    /// First offset and end of what is written beside a copy.
    pub fn beside_place(&self, id: Incarnation) -> Option<(Offset, Offset)> {
        let beside = self.beside();
        let log = &beside.get(&id)?.log;
        Some((log.begins_at(), log.end()))
    }

    /// Gives up what is written beside a copy that was purged, whether or not a link is open.
    pub fn purged(self: &Arc<Self>, id: Incarnation) {
        self.forget_narrow(id);
        let regions = self.clone();
        tokio::spawn(async move { regions.give_up_beside(id).await });
    }

    /// Gives up what is written beside a copy; how long it was written.
    pub(in crate::server::region::puller) async fn give_up_beside(
        &self,
        id: Incarnation,
    ) -> Duration {
        let beside = self.beside().remove(&id);
        let Some(beside) = beside else {
            return Duration::ZERO;
        };
        removed(beside.log).await;
        Instant::from_std(clock::instant()).saturating_duration_since(beside.since)
    }
}

/// Removes what was written beside a copy. What is left goes at the next start, or with the next.
pub(super) async fn removed(log: BesideLog) {
    let gone = tokio::task::spawn_blocking(move || log.give_up()).await;
    if let Ok(Err(failure)) = gone {
        tracing::warn!(%failure, "what was written beside a copy was not removed");
    }
}
