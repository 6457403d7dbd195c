//! Outboxes: the room that they have together, their couriers (`courier.rs`), and what is told of them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};

use tokio::sync::{mpsc, oneshot};

use super::Regions;
use super::courier::Courier;
use super::forward::{Asker, home_of};
use crate::broker::{Broker, Outbox, Wait};
use crate::protocol::region::{OutboxRefused, OutboxStatus};
use crate::protocol::{PublishRequest, Response};
use crate::server::clock;
use crate::server::ranks::{Mutex, MutexGuard};
use crate::server::shared::Shared;
use crate::types::{Incarnation, Offset, Timestamp};

/// What becomes of a publish: its answer, and what that waits for here.
pub(super) type Reply = (Response, Option<Wait>);

/// A publish that may wait.
pub(super) struct Handed {
    pub publish: PublishRequest,
    pub by: Asker,
    pub reply: oneshot::Sender<Reply>,
}

/// The outboxes of this region.
pub(super) struct Outboxes {
    /// Most bytes that wait in all of them.
    pub limit: u64,
    /// Bytes that wait.
    bytes: AtomicU64,
    couriers: Mutex<HashMap<Incarnation, Known>>,
}

struct Known {
    inbox: mpsc::UnboundedSender<Handed>,
    told: Arc<Mutex<Told>>,
}

/// What is told of an outbox.
#[derive(Debug, Clone, Default)]
pub(super) struct Told {
    pub records: u64,
    pub bytes: u64,
    /// When the oldest record was kept.
    pub oldest: Option<Timestamp>,
    pub error: Option<String>,
}

pub(super) fn lock(told: &Mutex<Told>) -> MutexGuard<'_, Told> {
    told.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Outboxes {
    pub fn new(limit: u64) -> Self {
        Self {
            limit,
            bytes: AtomicU64::new(0),
            couriers: Mutex::default(),
        }
    }

    /// The list of couriers, for whoever has locked the broker: beginning one takes both.
    fn couriers<'a>(&'a self, _: &'a Broker) -> MutexGuard<'a, HashMap<Incarnation, Known>> {
        self.couriers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes room for bytes that are to wait; false where there is none.
    pub(super) fn take_room(&self, bytes: u64) -> bool {
        let more = |held: u64| {
            let total = held.saturating_add(bytes);
            (total <= self.limit).then_some(total)
        };
        let relaxed = Ordering::Relaxed;
        self.bytes.fetch_update(relaxed, relaxed, more).is_ok()
    }

    /// Gives room back.
    pub(super) fn give_room(&self, bytes: u64) {
        self.bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Whether anything waits in any of them.
    pub(super) fn is_in_use(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) > 0
    }

    /// Whether anything waits in an outbox.
    pub(super) fn is_waiting(&self, broker: &Broker, outbox: &Outbox) -> bool {
        let couriers = self.couriers(broker);
        let known = couriers.get(&outbox.log);
        known.is_some_and(|known| lock(&known.told).records > 0)
    }

    /// Ends a courier that has nothing to do, unless something came for it.
    pub(super) fn let_go(
        &self,
        broker: &Broker,
        outbox: &Outbox,
        inbox: &mpsc::UnboundedReceiver<Handed>,
    ) -> bool {
        let mut couriers = self.couriers(broker);
        let is_over = inbox.is_empty();
        if is_over {
            couriers.remove(&outbox.log);
        }
        is_over
    }
}

impl Regions {
    /// Hands a publish to the courier of its channel.
    pub(super) fn hand_over(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        outbox: Outbox,
        handed: Handed,
    ) {
        let broker = shared.broker();
        let mut couriers = self.outboxes.couriers(&broker);
        let known = couriers
            .entry(outbox.log)
            .or_insert_with(|| begin(shared, &broker, self, outbox));
        // A courier that has ended answers nobody: its publishes are sent again.
        let _ = known.inbox.send(handed);
    }

    /// Begins to carry what was kept before this start.
    pub(super) fn carry_kept(self: &Arc<Self>, shared: &Arc<Shared>) {
        let broker = shared.broker();
        let kept = broker.outboxes().filter(|outbox| {
            let place = broker.outbox_place(outbox);
            place.is_some_and(|place| place.start < place.end)
        });
        let mut couriers = self.outboxes.couriers(&broker);
        for outbox in kept {
            couriers
                .entry(outbox.log)
                .or_insert_with(|| begin(shared, &broker, self, outbox));
        }
    }

    /// How the outboxes are in which something waits, that something is wrong with, or of which
    /// something was refused.
    pub(super) fn outboxes_told(&self, broker: &Broker) -> Vec<OutboxStatus> {
        let now = clock::now();
        let couriers = self.outboxes.couriers(broker);
        let rows = broker.outboxes().filter_map(|outbox| {
            let known = couriers.get(&outbox.log);
            let told = known.map(|known| lock(&known.told).clone());
            let told = told.unwrap_or_default();
            let refused = refused_of(broker, &outbox);
            if told.records == 0 && told.error.is_none() && refused.is_none() {
                return None;
            }
            let age = |oldest: Timestamp| (now.0 - oldest.0).max(0).unsigned_abs();
            Some(OutboxStatus {
                home: home_of(broker, self, &outbox.channel).map(|(home, _)| home),
                channel: outbox.channel,
                incarnation: outbox.incarnation,
                records: told.records,
                bytes: told.bytes,
                oldest_ms: told.oldest.map(age),
                error: told.error,
                refused,
            })
        });
        rows.collect()
    }
}

fn refused_of(broker: &Broker, outbox: &Outbox) -> Option<OutboxRefused> {
    let known = broker.refused_of(outbox)?;
    let why = known.last.refused?;
    Some(OutboxRefused {
        records: known.records,
        code: why.code,
        message: why.message,
        place: known.last.place,
        at: known.last.at,
    })
}

fn begin(shared: &Arc<Shared>, broker: &Broker, regions: &Arc<Regions>, outbox: Outbox) -> Known {
    let (sender, inbox) = mpsc::unbounded_channel();
    let told = Arc::new(Mutex::new(Told::default()));
    let place = broker.outbox_place(&outbox);
    let (start, end, bytes) = place.map_or((Offset(0), Offset(0), 0), |place| {
        (place.start, place.end, place.bytes)
    });
    regions.outboxes.bytes.fetch_add(bytes, Ordering::Relaxed);
    let courier = Courier::new(
        shared,
        regions,
        outbox,
        inbox,
        told.clone(),
        start..end,
        bytes,
    );
    courier.tell();
    tokio::spawn(courier.run());
    Known {
        inbox: sender,
        told,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_room_up_to_the_limit_and_what_is_carried_makes_some() {
        let outboxes = Outboxes::new(1000);
        assert!(!outboxes.is_in_use());
        assert!(outboxes.take_room(600));
        assert!(!outboxes.take_room(401), "nothing is taken of it");
        assert!(outboxes.take_room(400));
        assert!(outboxes.is_in_use());
        outboxes.give_room(600);
        assert!(outboxes.take_room(600));
        outboxes.give_room(1000);
        assert!(!outboxes.is_in_use());
    }
}
