//! Where a copy ends, as a source is to be told.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use crate::broker::{BrokerError, Fetch, Place, Wake, is_of_copy};
use crate::format::{BatchHeader, Gap};
use crate::region::copies::Before;
use crate::server::fetching;
use crate::server::region::digest::mark_of;
use crate::server::shared::{Shared, TaskWake};
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset};

/// Where a copy ends, with all of it synced, and what it has before that.
pub(super) async fn end_of(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
) -> Result<(Offset, Before), BrokerError> {
    loop {
        let waiter = TaskWake::new();
        let (next, start) = {
            let mut broker = shared.broker();
            let log = broker.storage().log(id).ok_or_else(|| {
                let name = name.to_string();
                BrokerError::NoSuchChannel { name }
            })?;
            let (end, flushed, start) = (log.end(), log.flushed(), log.log_start());
            if flushed < end {
                broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
                (None, start)
            } else {
                (Some(end), start)
            }
        };
        let Some(next) = next else {
            shared.broker_wants_sync();
            let _ = timeout(Duration::from_millis(200), waiter.0.notified()).await;
            continue;
        };
        let before = match next.0.checked_sub(1).map(Offset).filter(|at| *at >= start) {
            Some(at) => batch_before(shared, name, id, at).await?,
            None => Before::Nothing,
        };
        return Ok((next, before));
    }
}

/// What holds an offset: a batch that the home has too, or a gap of the copy's own.
async fn batch_before(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    at: Offset,
) -> Result<Before, BrokerError> {
    let place = Place::Offset(at);
    let mut fetch = Fetch::new(name.clone(), Some(id), place, LogEpoch(0), 1);
    let fetched = fetching::run(shared, &mut fetch).await?;
    let Some(part) = fetched.slices.parts.first() else {
        return Ok(Before::Nothing);
    };
    let Ok(header) = BatchHeader::peek(part) else {
        return Ok(Before::Nothing);
    };
    let whole = part.slice(..header.len().min(part.len()));
    let is_own = match header.is_gap() {
        true => Gap::of(&whole)
            .ok()
            .flatten()
            .is_some_and(|gap| is_of_copy(&gap)),
        false => false,
    };
    Ok(match is_own {
        true => Before::OwnGap(header.log_epoch()),
        false => Before::Batch(mark_of(&header)),
    })
}
