//! What is known of links and copies, for operators.

use std::ops::Range;

use super::Regions;
use crate::broker::Broker;
use crate::broker::asp::CopiedTopic;
use crate::protocol::region::{
    CopyStatus, DisputedName, HeldBy, HeldStatus, LinkRow, LinkState, MissingRange, MovedRow,
    PeerRow, RegionTold,
};
use crate::types::{ChannelName, Incarnation, Offset, RegionName, Timestamp};

/// What is told of a copy whose consent was withdrawn. Nothing is removed by itself: these may be the
/// last bytes there are.
const WITHDRAWN: &str = "NO_CONSENT: this region may not hold the channel any more, and holds this \
    copy; remove it with `npayload region purge`";

/// What is told of a copy whose channel was deleted at its home.
const OVER: &str = "CHANNEL_NOT_FOUND: the channel was deleted at its home; this is what is left of it, \
    goes with `npayload region purge`, and is kept beside once another channel of its name is made";

/// How the link to a peer is.
#[derive(Debug, Clone)]
pub(super) struct PeerState {
    pub state: LinkState,
    pub since: Timestamp,
    pub round_trip_us: Option<u64>,
    pub bytes: u64,
    pub wire_bytes: u64,
    pub opened: u64,
    pub error: Option<String>,
    /// It does not let this region in any more, which has left the directory.
    pub says_left: bool,
}

impl PeerState {
    pub fn new(now: Timestamp) -> Self {
        Self {
            state: LinkState::Dialling,
            since: now,
            round_trip_us: None,
            bytes: 0,
            wire_bytes: 0,
            opened: 0,
            error: None,
            says_left: false,
        }
    }

    /// Changes the state; the time is that of the change.
    pub fn enter(&mut self, state: LinkState, now: Timestamp) {
        if self.state != state {
            self.state = state;
            self.since = now;
        }
    }
}

/// How a copy is.
#[derive(Debug, Clone, Default)]
pub(super) struct CopyState {
    /// The peer that it is pulled from.
    pub source: Option<RegionName>,
    pub is_followed: bool,
    /// Records that it will never have, since the start of this broker.
    pub gaps: Vec<Range<Offset>>,
    /// What its home had synced when it last said.
    pub home_flushed: Option<Offset>,
    /// Since when something is missing.
    pub behind_since: Option<Timestamp>,
    pub bytes: u64,
    pub error: Option<String>,
}

impl CopyState {
    /// Whether it is pulled from this peer.
    pub fn is_of(&self, peer: &RegionName) -> bool {
        self.source.as_ref() == Some(peer)
    }

    /// Books how far the home is, and the copy.
    pub fn saw(&mut self, home_flushed: Offset, next: Offset, now: Timestamp) {
        self.home_flushed = Some(home_flushed);
        self.behind_since = match self.behind_since {
            _ if next >= home_flushed => None,
            Some(since) => Some(since),
            None => Some(now),
        };
    }
}

/// The channels here whose home was moved or is being moved.
fn moved(broker: &Broker) -> Vec<MovedRow> {
    let rows = broker.moved_logs().into_iter().map(|log| {
        let place = broker.copy_place(log.incarnation);
        let epoch = place.map_or(0, |place| place.last_epoch.0);
        MovedRow {
            name: log.name,
            incarnation: log.incarnation,
            home: log.home.region,
            term: log.home.tenure.term,
            epoch: epoch.to_string(),
            moving: log.home.moving.map(|fence| fence.to),
            missing: (log.missing.into_iter())
                .map(|(_, missing)| MissingRange {
                    from: missing.from,
                    to: missing.to,
                })
                .collect(),
        }
    });
    rows.collect()
}

/// Topics of which nobody knows here what they say, and nothing is here now.
fn gone_topics(broker: &Broker) -> Vec<CopyStatus> {
    let gone = broker
        .lacking_topics()
        .filter_map(|(name, incarnation, error)| {
            let home = RegionName::parse(name.region()?).ok()?;
            broker.identity_of(name).is_none().then(|| CopyStatus {
                name: name.clone(),
                incarnation,
                home,
                followed: false,
                source: None,
                whole: false,
                types: None,
                begins_at: Offset(0),
                next: Offset(0),
                home_flushed: None,
                lag_records: None,
                lag_ms: None,
                bytes: 0,
                error: Some(error),
                gaps: Vec::new(),
                beside: None,
                wider: None,
            })
        });
    gone.collect()
}

impl Regions {
    /// Changes what is known of a copy.
    pub(super) fn copy_state(&self, id: Incarnation, change: impl FnOnce(&mut CopyState)) {
        change(self.copies().entry(id).or_default());
    }

    /// The peers.
    pub fn peer_rows(&self) -> Vec<PeerRow> {
        let known = self.peers();
        let peers = known.iter().map(|peer| PeerRow {
            name: peer.name.clone(),
            url: peer.url.clone(),
            state: peer.state().state,
        });
        peers.collect()
    }

    /// The links and copies.
    pub fn told(&self, broker: &Broker, now: Timestamp) -> RegionTold {
        let known = self.peers();
        let links = known.iter().map(|peer| {
            let state = peer.state().clone();
            LinkRow {
                peer: peer.name.clone(),
                state: state.state,
                since: state.since,
                round_trip_us: state.round_trip_us,
                bytes: state.bytes,
                wire_bytes: state.wire_bytes,
                opened: state.opened,
                error: state.error,
            }
        });
        let states = self.copies();
        let error_of = |id: Incarnation, name: &ChannelName| {
            let mut lacking = broker.lacking_topics();
            match lacking.find(|(topic, ..)| *topic == name) {
                Some((.., error)) => Some(error),
                None if broker.is_withdrawn(name) => Some(WITHDRAWN.to_owned()),
                None if broker.is_over(name) => Some(OVER.to_owned()),
                None => states.get(&id).and_then(|state| state.error.clone()),
            }
        };
        // Of topics that always travel those are told with which somebody has to do something.
        let is_shown = |name: &ChannelName, error: &Option<String>| {
            !name.is_internal() || CopiedTopic::of(name).is_some() || error.is_some()
        };
        let copies = broker.copies().filter_map(|(id, name, copy)| {
            let error = error_of(id, name);
            is_shown(name, &error).then_some((id, name, copy, error))
        });
        let copies = copies.map(|(id, name, copy, error)| {
            let state = states.get(&id).cloned().unwrap_or_default();
            let next = broker.copy_place(id).map_or(copy.begins_at, |it| it.next);
            let lag_ms = match (state.home_flushed, state.behind_since) {
                (None, _) => None,
                (Some(_), None) => Some(0),
                (Some(_), Some(since)) => Some((now.0 - since.0).max(0).unsigned_abs()),
            };
            CopyStatus {
                name: name.clone(),
                incarnation: id,
                home: copy.home.clone(),
                followed: state.is_followed,
                source: state.source,
                whole: copy.is_whole(),
                types: copy.types.clone(),
                begins_at: copy.begins_at,
                next,
                home_flushed: state.home_flushed,
                lag_records: state.home_flushed.map(|at| at.0.saturating_sub(next.0)),
                lag_ms,
                bytes: state.bytes,
                error,
                gaps: state.gaps.iter().map(|gap| (gap.start, gap.end)).collect(),
                beside: self.beside_place(id),
                wider: self.wider_status(id),
            }
        });
        let gone = gone_topics(broker).into_iter();
        let disputed = broker.disputed().into_iter();
        RegionTold {
            disputed: disputed
                .map(|(channel, named_in)| DisputedName { channel, named_in })
                .collect(),
            region: self.name.clone(),
            links: links.collect(),
            copies: copies.chain(gone).collect(),
            logs: super::each::all_here(broker, &self.name),
            sent_bytes: self.sent_bytes.load(std::sync::atomic::Ordering::Relaxed),
            outboxes: self.outboxes_told(broker),
            moved: moved(broker),
            aside: broker.kept_copies().aside().to_vec(),
            held: self.held_rows(broker),
        }
    }

    /// What other regions hold of the logs that they pull from here.
    fn held_rows(&self, broker: &Broker) -> Vec<HeldStatus> {
        let offered = broker.offered("");
        let rows = offered.filter_map(|(id, name, _)| {
            let regions = self.held.of(id).into_iter();
            let regions: Vec<HeldBy> = regions
                .map(|(region, offset)| HeldBy { region, offset })
                .collect();
            let log = broker.storage().log(id)?;
            (!regions.is_empty()).then(|| HeldStatus {
                name: name.clone(),
                incarnation: id,
                flushed: log.flushed(),
                regions,
            })
        });
        rows.collect()
    }
}
