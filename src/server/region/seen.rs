//! What homes were heard to have synced: the highest offset of each, in its tenure, so that a forced
//! move names what may be lost also after restarts. It is told to other regions that ask.
//!
//! What a copy holds was synced at its home, so the record lags behind only where a copy does; it is
//! brought up within [`EVERY`] then, and at a stop.

use std::sync::Arc;
use std::time::Duration;

use super::Regions;
use crate::broker::Broker;
use crate::protocol::region::{LinkSaw, LinkSeen};
use crate::region::Tenure;
use crate::region::copies::Seen;
use crate::region::homes::Home;
use crate::server::clock;
use crate::server::shared::Shared;
use crate::types::{Incarnation, Offset, RegionName};

/// How often what was heard is recorded, where it is more than the copy holds.
const EVERY: Duration = Duration::from_secs(1);

/// A home and the term in which it is that, and the offset below which it has all synced.
pub(super) type Heard = ((RegionName, u32), Offset);

impl Regions {
    /// Notes what a home has synced, as it is told by its region or by a copy that has it.
    pub(super) fn saw_home(&self, id: Incarnation, home: &Home, flushed: Offset) {
        let mut seen = self.seen();
        let now = (home.region.clone(), home.tenure.term);
        match seen.get_mut(&id) {
            Some((tenure, highest)) if *tenure == now => *highest = flushed.max(*highest),
            _ => {
                seen.insert(id, (now, flushed));
            }
        }
    }

    /// The highest offset that a home was ever heard to have synced in its tenure; none where it was
    /// not heard of.
    pub(super) fn seen_of(&self, broker: &Broker, id: Incarnation, home: &Home) -> Option<Offset> {
        let term = home.tenure.term;
        let heard = self.seen().get(&id).cloned();
        let heard = heard.filter(|((region, of), _)| *region == home.region && *of == term);
        let heard = heard.map(|(_, flushed)| flushed);
        let copy = broker.kept_copies().copy(id);
        let kept = copy.and_then(|copy| copy.seen.as_ref());
        let kept = kept.filter(|seen| seen.home == home.region && seen.term == term);
        let known = heard.max(kept.map(|seen| seen.flushed))?;
        // What the copy holds was synced there before it came.
        let held = broker.copy_place(id).map(|place| place.flushed);
        Some(known.max(held.unwrap_or(known)))
    }
}

/// Takes what a peer says that is synced of a log. Of another one than the home that counts only while
/// the log has the home that it had when it was followed: the peer may not have heard of a move.
pub(super) fn saw(
    shared: &Shared,
    regions: &Regions,
    peer: &RegionName,
    id: Incarnation,
    followed_in: Option<Tenure>,
    flushed: Offset,
) {
    let home = shared.broker().home_of(id);
    let counts = |home: &Home| home.region == *peer || Some(home.tenure) == followed_in;
    if let Some(home) = home.filter(counts) {
        regions.saw_home(id, &home, flushed);
    }
}

/// Records it, until the server stops.
pub(super) async fn run(shared: Arc<Shared>, regions: Arc<Regions>) {
    loop {
        let is_over = tokio::select! {
            () = shared.stop.cancelled() => true,
            () = tokio::time::sleep(EVERY) => false,
        };
        record(&shared, &regions);
        if is_over {
            return;
        }
    }
}

fn record(shared: &Shared, regions: &Regions) {
    let now = clock::now();
    let heard: Vec<_> = regions.seen().clone().into_iter().collect();
    let mut broker = shared.broker();
    let rows = heard
        .into_iter()
        .filter_map(|(id, ((home, term), flushed))| {
            let copy = broker.kept_copies().copy(id)?;
            if copy.log.channel.is_internal() {
                return None; // Those are not moved.
            }
            let same = copy.seen.as_ref();
            let same = same.filter(|seen| seen.home == home && seen.term == term);
            // The first of a tenure says that it was heard of at all.
            let is_new = match same {
                None => true,
                Some(seen) => {
                    let held = broker.copy_place(id).map(|place| place.flushed);
                    flushed > seen.flushed && held.is_none_or(|held| held < flushed)
                }
            };
            is_new.then_some(Seen {
                incarnation: id,
                home,
                term,
                flushed,
                at: now,
            })
        });
    let rows: Vec<Seen> = rows.collect();
    if rows.is_empty() {
        return;
    }
    if let Err(refusal) = broker.record_seen(rows, now) {
        tracing::warn!(error = %refusal.error, "what homes have synced is not on the record");
    }
    drop(broker);
    shared.wake_committer();
}

/// What this region has of a log, and has heard of its home.
pub(super) fn told(shared: &Shared, regions: &Regions, asked: &LinkSeen) -> LinkSaw {
    let broker = shared.broker();
    let id = asked.incarnation;
    let home = broker.home_of(id);
    let is_meant = |home: &Home| home.region == asked.home && home.tenure.term == asked.term;
    let Some(home) = home.filter(is_meant) else {
        return LinkSaw::default();
    };
    let place = broker.copy_place(id).map(|place| place.flushed);
    if home.region == regions.name {
        return LinkSaw {
            holds: place,
            flushed: place,
        };
    }
    let mut offered = broker.offered("");
    let is_whole = offered.any(|(log, ..)| log == id);
    LinkSaw {
        holds: place.filter(|_| is_whole),
        flushed: regions.seen_of(&broker, id, &home),
    }
}
