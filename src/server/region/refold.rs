//! The directory of all regions after its end was taken out of the log here, as another region's: what
//! is known of it is folded anew from what stays.

use std::sync::Arc;

use bytes::Bytes;

use super::{Regions, stored};
use crate::broker::{BrokerError, Travelling};
use crate::protocol::WireError;
use crate::server::answer;
use crate::server::shared::Shared;
use crate::storage::ReadJob;
use crate::types::{ChannelName, Incarnation};

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
        log.map(|log| log.log_start()..log.high_watermark())
    };
    let mut all = Vec::new();
    // Where nothing of it belonged to the log, the log is gone.
    let Some(range) = range else {
        return Ok(all);
    };
    stored::each_part(shared, id, range, ReadJob::run_checked, |part| {
        all.push(part);
        Ok(())
    })?;
    Ok(all)
}
