//! This broker as a region among others: its peers, the links on which it pulls, what it serves to
//! those that pull from it. `docs/regions.md`.
//!
//! A link is one connection of whoever pulls. On the side of the source a task of the connection holds
//! what is followed ([`source`]); on the other side a task for each peer keeps the link open and
//! appends what comes ([`puller`]). Nothing of a link is recorded: the end of a copy is its cursor.

mod digest;
mod forward;
pub(super) mod held;
mod puller;
mod readers;
mod requests;
mod seek;
pub(super) mod source;
mod status;

use std::collections::HashMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use self::held::Held;
use self::status::{CopyState, PeerState};
use super::shared::Shared;
use crate::access::Secret;
use crate::client::Link;
use crate::region::routes::Routes;
use crate::tls::ClientTls;
use crate::types::{ChannelName, Incarnation, RegionName, Timestamp};

pub(super) use forward::{Forward, lives_elsewhere, told_where};
pub(super) use readers::note_fetch;
pub(super) use requests::{ask, carry_out, waits};
pub(super) use seek::{seek, seeks};

/// What a server is told of regions.
#[derive(Debug, Clone)]
pub struct RegionOptions {
    /// Its own name.
    pub name: RegionName,
    /// The others.
    pub peers: Vec<PeerOptions>,
    /// The API key that the peers are shown; none where they ask for none.
    pub key: Option<Secret>,
    /// How long interest lasts after the last reader of a channel has left.
    pub interest_idle: Duration,
    /// Whom to trust of peers that speak TLS; the system's CAs where it is not given.
    pub tls: Option<ClientTls>,
}

/// Another region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerOptions {
    /// Its name.
    pub name: RegionName,
    /// `npayload://HOST:PORT` or `npayload+tls://HOST:PORT`.
    pub url: String,
}

/// A peer, and the link to it.
pub(super) struct Peer {
    pub name: RegionName,
    pub url: String,
    state: Mutex<PeerState>,
    /// The link while it is open.
    link: Mutex<Option<Link>>,
}

/// This broker as a region.
pub(super) struct Regions {
    pub name: RegionName,
    peers: Vec<Arc<Peer>>,
    key: Option<Secret>,
    tls: Option<ClientTls>,
    /// Counts the changes of what this region wants.
    wanted: watch::Sender<u64>,
    /// Counts the links that were opened.
    linked: watch::Sender<u64>,
    copies: Mutex<HashMap<Incarnation, CopyState>>,
    /// Where channels live of which no copy is here.
    homes: Mutex<HashMap<ChannelName, (RegionName, Incarnation)>>,
    /// When channels that live elsewhere were last read.
    readers: Mutex<HashMap<ChannelName, Instant>>,
    interest_idle: Duration,
    /// Bytes of batches sent to other regions.
    pub sent_bytes: AtomicU64,
    /// What other regions hold of the logs that they pull from here.
    pub held: Held,
    /// From which peer each log is pulled.
    routes: Mutex<Routes>,
    /// Counts the changes of what a link may have to follow or to leave.
    routed: watch::Sender<u64>,
}

impl Regions {
    /// The region that a server is told to be; nothing of it runs yet.
    pub fn new(options: &RegionOptions, now: Timestamp) -> Self {
        let mut peers: Vec<Arc<Peer>> = options
            .peers
            .iter()
            .map(|peer| {
                Arc::new(Peer {
                    name: peer.name.clone(),
                    url: peer.url.clone(),
                    state: Mutex::new(PeerState::new(now)),
                    link: Mutex::new(None),
                })
            })
            .collect();
        peers.sort_by(|a, b| a.name.cmp(&b.name));
        let names: Vec<RegionName> = peers.iter().map(|peer| peer.name.clone()).collect();
        Self {
            name: options.name.clone(),
            peers,
            key: options.key.clone(),
            tls: options.tls.clone(),
            wanted: watch::Sender::new(0),
            linked: watch::Sender::new(0),
            copies: Mutex::default(),
            homes: Mutex::default(),
            readers: Mutex::default(),
            interest_idle: options.interest_idle,
            sent_bytes: AtomicU64::new(0),
            held: Held::default(),
            routes: Mutex::new(Routes::new(names)),
            routed: watch::Sender::new(0),
        }
    }

    /// The peer of that name.
    fn peer(&self, name: &RegionName) -> Option<&Arc<Peer>> {
        self.peers.iter().find(|peer| peer.name == *name)
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<ChannelName, (RegionName, Incarnation)>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<ChannelName, Instant>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<Incarnation, CopyState>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Tells the pullers that one of them may have to follow something, or to leave it.
    fn tell_routed(&self) {
        self.routed.send_modify(|changes| *changes += 1);
    }

    /// Tells who waits for a region that one is linked.
    fn tell_linked(&self) {
        self.linked.send_modify(|links| *links += 1);
    }

    /// Tells the pullers that this region wants something else.
    fn tell_wanted(&self) {
        self.wanted.send_modify(|changes| *changes += 1);
    }
}

impl Peer {
    fn state(&self) -> MutexGuard<'_, PeerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_link(&self, link: Option<Link>) {
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = link;
    }

    /// The link, while it is open.
    pub fn link(&self) -> Option<Link> {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        link.clone().filter(Link::is_open)
    }
}

/// Begins to pull from all peers.
pub(super) fn start(shared: &Arc<Shared>, tracker: &TaskTracker) {
    let Some(regions) = &shared.regions else {
        return;
    };
    tracker.spawn(readers::run(shared.clone(), regions.clone()));
    for peer in &regions.peers {
        tracker.spawn(puller::run(shared.clone(), peer.clone()));
    }
}
