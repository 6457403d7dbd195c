//! Who reads channels that live elsewhere: their interest ends some time after the last has left.

use std::sync::Arc;
use std::time::Duration;

use super::Regions;
use crate::broker::Residence;
use crate::region::interest::{Idle, InterestEvent, ReadBegun};
use crate::server::clock;
use crate::server::shared::Shared;
use crate::types::{ChannelName, Timestamp};

/// A fetch waits no longer than a minute, so who has not come back by then has left.
const GONE: Duration = Duration::from_secs(90);
/// How often readers are looked at.
const LOOK: Duration = Duration::from_secs(5);

impl Regions {
    /// Notes that a channel is read now.
    pub fn note_read(&self, name: &ChannelName) {
        let now = clock::instant();
        let mut readers = self.readers();
        match readers.get_mut(name) {
            Some(last) => *last = now,
            None => {
                readers.insert(name.clone(), now);
            }
        }
    }
}

/// Notes who reads a channel, where that keeps interest alive.
pub(in crate::server) fn note_fetch(shared: &Shared, name: &ChannelName) {
    let Some(regions) = &shared.regions else {
        return;
    };
    if matches!(shared.broker().residence(name), Residence::Copy(..)) {
        regions.note_read(name);
        if name.region().is_some() {
            regions.note_read(&name.channel());
        }
    }
}

/// Ends what nobody reads any more, until the server stops.
pub(super) async fn run(shared: Arc<Shared>, regions: Arc<Regions>) {
    // After a start nobody reads: the time begins for what was read before.
    let until = later(clock::now(), regions.interest_idle);
    let events = {
        let broker = shared.broker();
        broker.interests().unread(until, clock::now())
    };
    record(&shared, &regions, &events);
    loop {
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = tokio::time::sleep(LOOK.min(regions.interest_idle)) => {}
        }
        let events = due(&shared, &regions, clock::now());
        record(&shared, &regions, &events);
    }
}

/// The events that follow from who reads now.
fn due(shared: &Shared, regions: &Regions, now: Timestamp) -> Vec<InterestEvent> {
    let broker = shared.broker();
    let mut readers = regions.readers();
    let gone = GONE.min(regions.interest_idle);
    readers.retain(|_, last| last.elapsed() < gone);
    let mut events = Vec::new();
    for (org, channel, interest) in broker.interests().automatic() {
        match (readers.contains_key(channel), interest.until) {
            (false, None) => events.push(InterestEvent::Idle(Idle {
                org: org.clone(),
                channel: channel.clone(),
                until: later(now, regions.interest_idle),
                at: now,
            })),
            (true, Some(_)) => events.push(InterestEvent::Read(ReadBegun {
                org: org.clone(),
                channel: channel.clone(),
                wish: interest.wish.clone(),
                at: now,
            })),
            _ => {}
        }
    }
    let is_read = |event: &InterestEvent| match event {
        InterestEvent::Expired(expired) => readers.contains_key(&expired.channel),
        _ => false,
    };
    let expired = broker.interests().due(now);
    events.extend(expired.into_iter().filter(|event| !is_read(event)));
    events
}

fn record(shared: &Shared, regions: &Regions, events: &[InterestEvent]) {
    if events.is_empty() {
        return;
    }
    let recorded = shared.broker().record_interest(events, clock::now());
    shared.wake_committer();
    match recorded {
        Ok(_) => regions.tell_wanted(),
        // The next look finds the same.
        Err(refusal) => tracing::debug!(error = %refusal.error, "interest is recorded later"),
    }
}

fn later(now: Timestamp, idle: Duration) -> Timestamp {
    now.saturating_add_ms(i64::try_from(idle.as_millis()).unwrap_or(i64::MAX))
}
