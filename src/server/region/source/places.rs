//! Where the consumers of the logs followed stand, and what of it the puller was told.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::Followed;
use crate::broker::{Broker, Wake};
use crate::protocol::LinkItem;
use crate::server::clock;
use crate::server::shared::TaskWake;
use crate::types::{ConsumerName, Incarnation, LogEpoch, Offset, Timestamp};

/// Positions in one answer at most: each has a few KiB of its consumer's own words.
const MOST: usize = 1000;
/// How often it is looked where consumers stand, at most: who commits often is told of now and then.
const APART: Duration = Duration::from_millis(200);

/// The consumers of what a link follows.
pub(super) struct Places {
    /// The handle of each log.
    handles: HashMap<Incarnation, u32>,
    /// What was told of each log.
    told: HashMap<u32, BTreeMap<ConsumerName, (Offset, Timestamp)>>,
    /// What was told of each log of consumers that were forgotten, and when they were.
    told_forgotten: HashMap<u32, BTreeMap<ConsumerName, Timestamp>>,
    /// Logs with a consumer that stands where the puller is not yet.
    ahead: BTreeSet<u32>,
    /// Logs that were not looked at yet.
    new: BTreeSet<u32>,
    /// Woken when any consumer has moved.
    pub moved: Arc<TaskWake>,
    /// When to look where all stand.
    look_at: Option<Instant>,
    looked_at: Instant,
}

impl Places {
    pub fn new() -> Self {
        let now = Instant::from_std(clock::instant());
        Self {
            handles: HashMap::new(),
            told: HashMap::new(),
            told_forgotten: HashMap::new(),
            ahead: BTreeSet::new(),
            new: BTreeSet::new(),
            moved: TaskWake::new(),
            look_at: Some(now),
            looked_at: now,
        }
    }

    pub fn followed(&mut self, handle: u32, id: Incarnation) {
        self.handles.insert(id, handle);
        self.new.insert(handle);
    }

    pub fn left(&mut self, handle: u32, id: Incarnation) {
        if self.handles.get(&id) == Some(&handle) {
            self.handles.remove(&id);
        }
        self.told.remove(&handle);
        self.told_forgotten.remove(&handle);
        self.ahead.remove(&handle);
        self.new.remove(&handle);
    }

    /// A consumer has moved.
    pub fn moves(&mut self) {
        let now = Instant::from_std(clock::instant());
        let at = (self.looked_at + APART).max(now);
        self.look_at.get_or_insert(at);
    }

    /// When to look next.
    pub fn due(&self) -> Option<Instant> {
        self.look_at
    }

    /// The positions that the puller was not told of, as far as it has the records before them.
    pub fn tell(
        &mut self,
        broker: &mut Broker,
        followed: &BTreeMap<u32, Followed>,
        items: &mut Vec<LinkItem>,
    ) {
        let now = Instant::from_std(clock::instant());
        let mut handles = std::mem::take(&mut self.new);
        handles.append(&mut self.ahead);
        if self.look_at.is_some_and(|at| at <= now) {
            self.look_at = None;
            self.looked_at = now;
            // Known before it is looked at, so that nothing that comes meanwhile is missed.
            let (log, wake) = (broker.positions_log(), self.moved.clone() as Arc<dyn Wake>);
            broker.forget_waiter(log, &wake);
            broker.wake_on_append(log, wake);
            let placed = broker.channels_with_consumers().into_iter();
            handles.extend(placed.filter_map(|id| self.handles.get(&id)));
            handles.extend(self.told.keys());
        }
        let begun = items.len();
        for handle in handles {
            if items.len() - begun >= MOST {
                self.new.insert(handle);
                continue;
            }
            if let Some(followed) = followed.get(&handle) {
                self.tell_of(handle, broker, followed, items);
            }
        }
    }

    fn tell_of(
        &mut self,
        handle: u32,
        broker: &Broker,
        followed: &Followed,
        items: &mut Vec<LinkItem>,
    ) {
        // A vector over the logs of all regions is each region's own.
        if followed.name.region().is_some() {
            return;
        }
        let told = self.told.entry(handle).or_default();
        let begun = items.len();
        let mut gone: BTreeSet<ConsumerName> = told.keys().cloned().collect();
        for (consumer, position) in broker.positions_of(followed.id) {
            gone.remove(consumer);
            let place = (position.offset, position.at);
            if told.get(consumer) == Some(&place) {
                continue;
            }
            if position.offset > followed.sent() {
                self.ahead.insert(handle);
                continue;
            }
            if items.len() - begun >= MOST {
                self.new.insert(handle);
                return;
            }
            told.insert(consumer.clone(), place);
            items.push(LinkItem::Position {
                handle,
                consumer: consumer.clone(),
                offset: Some(position.offset),
                epoch: position.log_epoch,
                at: position.at,
                metadata: position.metadata.clone(),
            });
        }
        let mut forget = |consumer: ConsumerName, at: Timestamp| {
            items.push(LinkItem::Position {
                handle,
                consumer,
                offset: None,
                epoch: LogEpoch(0),
                at,
                metadata: String::new(),
            });
        };
        // Also what was forgotten while no link stood: the puller may know of it from before.
        let told_forgotten = self.told_forgotten.entry(handle).or_default();
        let mut known = BTreeMap::new();
        for (consumer, at) in broker.forgotten_of(followed.id) {
            known.insert(consumer.clone(), at);
            told.remove(consumer);
            gone.remove(consumer);
            if told_forgotten.get(consumer) != Some(&at) {
                forget(consumer.clone(), at);
            }
        }
        *told_forgotten = known;
        if told_forgotten.is_empty() {
            self.told_forgotten.remove(&handle);
        }
        for consumer in gone {
            told.remove(&consumer);
            forget(consumer, clock::now());
        }
        if told.is_empty() {
            self.told.remove(&handle);
        }
    }

    /// Whether something may be to tell though no log has grown.
    pub fn is_due(&self) -> bool {
        let now = Instant::from_std(clock::instant());
        !self.new.is_empty() || self.look_at.is_some_and(|at| at <= now)
    }
}
