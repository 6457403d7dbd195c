//! The directory of all regions after its end was taken out of the log here, as another region's: what
//! is known of it is folded anew from what stays.

use std::sync::Arc;

use bytes::Bytes;

use super::Regions;
use crate::broker::{BrokerError, Travelling};
use crate::protocol::WireError;
use crate::server::answer;
use crate::server::shared::Shared;
use crate::storage::Read;
use crate::types::{ChannelName, Incarnation};

/// Bytes of the topic that are read at once.
const READ_BYTES: u64 = 1 << 20;

/// Folds the directory anew, where the log is that of the directory. Nothing is taken into the log
/// meanwhile.
///
/// # Errors
/// What to answer: the log can't be read, or says what can't be so.
pub(super) async fn after_cut(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    id: Incarnation,
) -> Result<(), WireError> {
    if *name != Travelling::Regions.name() {
        return Ok(());
    }
    let reading = shared.clone();
    let read = tokio::task::spawn_blocking(move || all_of(&reading, id)).await;
    let read = read.unwrap_or_else(|_| Err(BrokerError::Bug("a panic".into())));
    let batches = read.map_err(|error| answer::refused(&error))?;
    let mut broker = shared.broker();
    let folded = broker.refold_regions(&batches);
    folded.map_err(|error| {
        let text = error.to_string();
        answer::refused(&BrokerError::Bug(text.into()))
    })?;
    regions.tell_consents(&broker);
    drop(broker);
    // What lived under names that are gone with it asks for them again.
    regions.rejoin.notify_one();
    Ok(())
}

fn all_of(shared: &Shared, id: Incarnation) -> Result<Vec<Bytes>, BrokerError> {
    let range = {
        let broker = shared.broker();
        let log = broker.storage().log(id);
        log.map(|log| (log.log_start(), log.high_watermark()))
    };
    let mut all = Vec::new();
    // Where nothing of it belonged to the log, the log is gone.
    let Some((mut at, end)) = range else {
        return Ok(all);
    };
    while at < end {
        let planned = shared.broker().storage().plan_read(id, at, READ_BYTES)?;
        let slices = match planned {
            Read::Ready(slices) => slices,
            Read::Segment(job) => job.run_checked()?,
            Read::Load(task) => {
                let loaded = task.run();
                shared.broker().finish_load(loaded)?;
                continue;
            }
        };
        if slices.parts.is_empty() {
            return Err(BrokerError::Bug("a log ends before its end".into()));
        }
        at = slices.next;
        all.extend(slices.parts);
    }
    Ok(all)
}
