//! What the copies of a link hold synced, and what of it the peer was told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::broker::{Broker, Wake};
use crate::protocol::region::MAX_HELD;
use crate::server::shared::TaskWake;
use crate::types::{Incarnation, Offset};

/// What the peer of a link is to be told, by handle.
#[derive(Debug, Default)]
pub(super) struct Holding {
    /// What it was told last.
    told: BTreeMap<u32, Offset>,
    /// The copies that hold something it was not told of, or soon will.
    unsaid: BTreeSet<u32>,
    /// Woken when something may have been synced.
    pub synced: Arc<TaskWake>,
}

impl Holding {
    /// A copy was begun, or has grown.
    pub fn grown(&mut self, handle: u32) {
        self.unsaid.insert(handle);
    }

    /// What the peer was told of a copy is to be told again.
    pub fn again(&mut self, handle: u32) {
        self.told.remove(&handle);
        self.unsaid.insert(handle);
    }

    /// A copy is not followed any more.
    pub fn left(&mut self, handle: u32) {
        self.told.remove(&handle);
        self.unsaid.remove(&handle);
    }

    /// Whether there may be something to say.
    pub fn is_due(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// Whether all that is to be said is synced. Where it is not, [`Holding::synced`] wakes.
    ///
    /// - `log`: the log of a handle.
    pub fn is_synced(&self, broker: &mut Broker, log: impl Fn(u32) -> Option<Incarnation>) -> bool {
        let is_waiting = self.unsaid.iter().any(|handle| {
            let place = log(*handle).and_then(|id| broker.copy_place(id));
            place.is_some_and(|place| place.flushed < place.next)
        });
        if is_waiting {
            broker.wake_after_round(self.synced.clone() as Arc<dyn Wake>);
        }
        !is_waiting
    }

    /// What is to be said now. For what is not synced yet, [`Holding::synced`] wakes.
    ///
    /// - `log`: the log of a handle.
    pub fn say(
        &mut self,
        broker: &mut Broker,
        log: impl Fn(u32) -> Option<Incarnation>,
    ) -> Vec<(u32, Offset)> {
        let mut said = Vec::new();
        let mut is_waiting = false;
        for handle in std::mem::take(&mut self.unsaid) {
            if said.len() == MAX_HELD {
                self.unsaid.insert(handle);
                continue;
            }
            let Some(place) = log(handle).and_then(|id| broker.copy_place(id)) else {
                continue;
            };
            // A new copy that begins in the middle holds nothing yet, and is told as that.
            if self.told.get(&handle) != Some(&place.flushed) {
                self.told.insert(handle, place.flushed);
                said.push((handle, place.flushed));
            }
            if place.flushed < place.next {
                is_waiting = true;
                self.unsaid.insert(handle);
            }
        }
        if is_waiting {
            broker.wake_after_round(self.synced.clone() as Arc<dyn Wake>);
        }
        said
    }
}
