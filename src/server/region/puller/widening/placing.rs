//! The putting of what is beside a copy in its place.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};

use super::beside::{Beside, removed};
use crate::broker::Wake;
use crate::server::clock;
use crate::server::region::Regions;
use crate::server::region::puller::{Ended, Session};
use crate::server::shared::{Shared, TaskWake};
use crate::storage::CutError;
use crate::types::Incarnation;

/// How often a copy that is put in its place is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Where something else goes first.
const BUSY: Duration = Duration::from_millis(200);

impl Session<'_> {
    /// Has what is beside a copy put in its place, once it has all that the copy has.
    pub(super) async fn put_where_due(&mut self, handle: u32) -> Result<(), Ended> {
        let Some(copying) = self.copying.get(&handle) else {
            return Ok(());
        };
        let (id, name) = (copying.id, copying.name.clone());
        let place = self.shared.broker().copy_place(id);
        let end = self.regions.beside_place(id);
        let has_all = place
            .zip(end)
            .is_some_and(|(place, (begins_at, end))| end >= place.next && end > begins_at);
        let copies = self.copying.iter();
        let of_copy = copies.filter(|(_, one)| one.id == id && !one.is_beside);
        let Some(of_copy) = of_copy
            .map(|(handle, _)| *handle)
            .next()
            .filter(|_| has_all)
        else {
            return Ok(());
        };
        // Nobody follows it before it is done.
        self.regions.set_replaced(id, true);
        self.leave(vec![of_copy, handle]).await?;
        let (shared, wish) = (self.shared.clone(), self.wish(&name));
        let begun = self.regions.beside().get(&id).map(|beside| beside.since);
        let begun = begun.unwrap_or_else(|| Instant::from_std(clock::instant()));
        tokio::spawn(async move {
            let Some(regions) = shared.regions.clone() else {
                return;
            };
            let put = put_in_place(&shared, &regions, id).await;
            match put {
                Ok(()) => {
                    regions.forget_narrow(id);
                    regions.copy_state(id, |state| state.gaps.clear());
                    tracing::info!(channel = %name, "a copy has all that is wanted of it");
                }
                Err(error) => {
                    tracing::warn!(channel = %name, %error, "a copy stays as it was");
                    if let Some(wish) = wish {
                        let took = begun.elapsed();
                        regions.failed_wider(id, wish, &error.to_string(), took);
                    }
                }
            }
            regions.set_replaced(id, false);
            // Others may pull it from here now.
            regions.tell_homes();
            regions.tell_routed();
        });
        Ok(())
    }
}

async fn put_in_place(shared: &Shared, regions: &Regions, id: Incarnation) -> Result<(), CutError> {
    loop {
        let Some(beside) = regions.beside().remove(&id) else {
            return Err(CutError::Closed(id));
        };
        let Beside {
            log,
            wider,
            since,
            last,
        } = beside;
        let begun = shared.broker().put_in_place(log, wider.clone());
        match begun.map_err(|refused| *refused) {
            Ok(()) => break,
            Err((log, CutError::Busy)) => {
                let beside = Beside {
                    log,
                    wider,
                    since,
                    last,
                };
                regions.beside().insert(id, beside);
                tokio::select! {
                    () = sleep(BUSY) => {}
                    () = shared.stop.cancelled() => return Err(CutError::Busy),
                }
            }
            Err((log, error)) => {
                removed(log).await;
                return Err(error);
            }
        }
    }
    loop {
        shared.wake_committer();
        shared.wake_keeper();
        let waiter = TaskWake::new();
        {
            let mut broker = shared.broker();
            if let Some(ended) = broker.take_wider(id) {
                return ended;
            }
            broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
        }
        tokio::select! {
            _ = timeout(LOOK, waiter.0.notified()) => {}
            () = shared.stop.cancelled() => return Err(CutError::Busy),
        }
    }
}
