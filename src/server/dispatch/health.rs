//! What the broker tells of itself: whether all is well, and if not, why.

use std::sync::atomic::Ordering;

use crate::broker::Broker;
use crate::protocol::control::{self, Health};
use crate::server::answer;
use crate::server::shared::Shared;

pub(super) fn broker_info(shared: &Shared, broker: &Broker) -> control::BrokerInfo {
    control::BrokerInfo {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        epoch: shared.epoch,
        directory_id: shared.directory_id,
        started_at: shared.started_at,
        channels: broker.channel_count() as u64,
        connections: shared.connections.load(Ordering::Relaxed) as u64,
        health: health(shared, broker),
    }
}

/// Whether all is well, and if not, why.
pub(in crate::server) fn health(shared: &Shared, broker: &Broker) -> Health {
    let storage = broker.storage();
    let journal = storage.journal_failure();
    let writes_refused = match journal {
        Some(failure) => Some(failure.to_string()),
        None => storage.shortage().map(|shortage| shortage.to_string()),
    };
    let sick = broker.sick_channels();
    let refusals = sick.refusals.into_iter().map(answer::refusal);
    let scrub = answer::scrub(broker, &shared.options.data_dir);
    Health {
        ok: writes_refused.is_none()
            && sick.damaged == 0
            && sick.refusing == 0
            && sick.locked == 0
            && broker.master_key_trouble().is_none()
            && scrub.faults.is_empty(),
        insecure: shared.options.exposure(),
        writes_refused,
        damaged_channels: sick.damaged,
        refusing_channels: sick.refusing,
        locked_channels: sick.locked,
        master_key: broker.master_key_trouble().map(str::to_owned),
        refusals: refusals.collect(),
        errno: journal.and_then(|failure| failure.source.raw_os_error()),
        disk_free_bytes: storage.space().free,
        disk_limit_bytes: storage.space().limit,
        scrub: Some(Box::new(scrub)),
    }
}
