//! This broker as a region among others: its peers, the links on which it pulls, what it serves to
//! those that pull from it. `docs/regions.md`.
//!
//! A link is one connection of whoever pulls. On the side of the source a task of the connection holds
//! what is followed ([`source`]); on the other side a task for each peer keeps the link open and
//! appends what comes ([`puller`]). Nothing of a link is recorded: the end of a copy is its cursor.

mod acks;
mod agent_topics;
mod agents;
mod aside_files;
mod asides;
mod carry_here;
mod courier;
mod digest;
mod directory;
mod each;
mod following;
mod forward;
mod forwarded;
pub(super) mod held;
mod joining;
mod keeping;
mod leaving;
mod matters;
mod moving;
mod naming;
mod outbox;
mod packing;
mod partial;
mod peers;
mod puller;
mod readers;
mod recent;
mod refold;
mod refusals;
mod refused;
mod requests;
mod runs;
mod seeing;
mod seek;
mod seen;
pub(super) mod source;
mod status;
mod stored;
mod travel;
mod unnaming;
mod verifying;

use std::collections::{HashMap, HashSet};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::held::Held;
use self::matters::KnownMatters;
use self::outbox::Outboxes;
use self::seek::KnownHome;
use self::status::{CopyState, PeerState};
use super::ranks::{Mutex, MutexGuard};
use super::shared::Shared;
use crate::access::Secret;
use crate::broker::Broker;
use crate::client::Link;
use crate::region::Tenure;
use crate::region::routes::Routes;
use crate::tls::ClientTls;
use crate::types::{ChannelName, Incarnation, RegionName, Timestamp};

pub(super) use acks::{HeldWait, held_wait};
pub(super) use agent_topics::{Asked, asked};
pub(super) use each::name_logs;
pub(super) use forward::{Forward, Route, read_there, route};
pub(super) use forwarded::{carry_out_for, for_another, sought_for, told_region, whereabouts};
pub(super) use naming::{asks_others, create};
pub(super) use partial::beyond;
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
    /// Bytes that are sent to each peer in a second; 0 is no limit.
    pub peer_bandwidth: u64,
    /// Whether batches that came uncompressed are asked for packed.
    pub peer_pack: bool,
    /// Most bytes that wait in outboxes.
    pub outbox_bytes: u64,
    /// How long a publish waits by itself for the regions that its channel wants to hold it.
    pub ack_wait: Duration,
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
    /// Cancelled when it is a peer no longer.
    gone: CancellationToken,
}

/// This broker as a region.
pub(super) struct Regions {
    pub name: RegionName,
    /// By name.
    peers: RwLock<Vec<Arc<Peer>>>,
    key: Option<Secret>,
    tls: Option<ClientTls>,
    /// Counts the changes of what this region wants.
    wanted: watch::Sender<u64>,
    /// Counts the links that were opened.
    linked: watch::Sender<u64>,
    copies: Mutex<HashMap<Incarnation, CopyState>>,
    /// Where channels live of which no copy is here.
    homes: Mutex<HashMap<ChannelName, KnownHome>>,
    /// Where that is which follows from sessions that live elsewhere.
    matters: KnownMatters,
    /// When channels that live elsewhere were last read.
    readers: Mutex<HashMap<ChannelName, Instant>>,
    /// How often it has changed who may hold what, as links were told.
    consents: watch::Sender<u64>,
    /// The home of the directory, as a peer has told before a copy of it is here.
    told_home: Mutex<Option<RegionName>>,
    /// The directory is to be joined again.
    rejoin: Notify,
    /// Those that pull from a peer, so that a stop waits for them.
    tracker: OnceLock<TaskTracker>,
    /// Channels whose names were given back, which are about to be deleted.
    deleting: Mutex<HashMap<Incarnation, Instant>>,
    interest_idle: Duration,
    peer_bandwidth: u64,
    peer_pack: bool,
    outboxes: Outboxes,
    ack_wait: Duration,
    /// Counts what has changed of homes.
    homes_changed: watch::Sender<u64>,
    /// Logs whose home this region is taking over.
    moves: Mutex<HashSet<Incarnation>>,
    /// Logs all of whose batches here belong to them, by the claim of this tenure.
    settled: Mutex<HashMap<Incarnation, Tenure>>,
    /// Copies that stay stopped, since the start of this broker.
    stopped: Mutex<HashSet<Incarnation>>,
    /// Copies that have something else than the region that has taken their home over by force.
    diverged: Mutex<HashSet<Incarnation>>,
    /// How often copies were refused in a row without progress.
    refusals: Mutex<HashMap<Incarnation, u32>>,
    /// Stopped copies that somebody wants to be followed again.
    retries: Mutex<HashSet<Incarnation>>,
    /// Bytes of batches sent to other regions.
    pub sent_bytes: AtomicU64,
    /// What other regions hold of the logs that they pull from here.
    pub held: Held,
    /// From which peer each log is pulled.
    routes: Mutex<Routes>,
    /// Counts the changes of what a link may have to follow or to leave.
    routed: watch::Sender<u64>,
    /// Copies that are written beside others, which have less.
    beside: Mutex<HashMap<Incarnation, puller::Beside>>,
    /// Copies in whose place others are being put.
    replaced: Mutex<HashSet<Incarnation>>,
    /// What was found to be no more than a copy has.
    narrow: Mutex<HashMap<Incarnation, puller::Narrow>>,
    /// What the home of each copy was heard to have synced, in the tenure of that home.
    seen: Mutex<HashMap<Incarnation, seen::Heard>>,
}

impl Regions {
    /// The region that a server is told to be; nothing of it runs yet.
    pub fn new(options: &RegionOptions, broker: &Broker, now: Timestamp) -> Self {
        let peers = peers::known(&options.peers, broker);
        let names: Vec<RegionName> = peers.iter().map(|peer| peer.name.clone()).collect();
        let peers = peers.iter().map(|peer| Arc::new(Peer::new(peer, now)));
        Self {
            name: options.name.clone(),
            peers: RwLock::new(peers.collect()),
            key: options.key.clone(),
            tls: options.tls.clone(),
            wanted: watch::Sender::new(0),
            linked: watch::Sender::new(0),
            consents: watch::Sender::new(0),
            told_home: Mutex::default(),
            rejoin: Notify::new(),
            tracker: OnceLock::new(),
            deleting: Mutex::default(),
            copies: Mutex::default(),
            homes: Mutex::default(),
            matters: KnownMatters::default(),
            readers: Mutex::default(),
            interest_idle: options.interest_idle,
            peer_bandwidth: options.peer_bandwidth,
            peer_pack: options.peer_pack,
            outboxes: Outboxes::new(options.outbox_bytes),
            ack_wait: options.ack_wait,
            homes_changed: watch::Sender::new(0),
            moves: Mutex::default(),
            settled: Mutex::default(),
            stopped: Mutex::default(),
            diverged: Mutex::default(),
            refusals: Mutex::default(),
            retries: Mutex::default(),
            sent_bytes: AtomicU64::new(0),
            held: Held::default(),
            routes: Mutex::new(Routes::new(names)),
            routed: watch::Sender::new(0),
            beside: Mutex::default(),
            replaced: Mutex::default(),
            narrow: Mutex::default(),
            seen: Mutex::default(),
        }
    }

    /// The peers, by name.
    fn peers(&self) -> Vec<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.clone()
    }

    /// The peer of that name.
    fn peer(&self, name: &RegionName) -> Option<Arc<Peer>> {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.iter().find(|peer| peer.name == *name).cloned()
    }

    /// Whether it has no peers.
    fn is_alone(&self) -> bool {
        let peers = self.peers.read().unwrap_or_else(PoisonError::into_inner);
        peers.is_empty()
    }

    fn take_peer(&self, name: &RegionName) -> Option<Arc<Peer>> {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        let at = peers.iter().position(|peer| peer.name == *name)?;
        Some(peers.remove(at))
    }

    fn put_peer(&self, peer: Arc<Peer>) {
        let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
        peers.push(peer);
        peers.sort_by(|a, b| a.name.cmp(&b.name));
    }

    /// The link to a peer, while it is open.
    fn link_to(&self, name: &RegionName) -> Option<Link> {
        self.peer(name).and_then(|peer| peer.link())
    }

    fn homes(&self) -> MutexGuard<'_, HashMap<ChannelName, KnownHome>> {
        self.homes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn readers(&self) -> MutexGuard<'_, HashMap<ChannelName, Instant>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn copies(&self) -> MutexGuard<'_, HashMap<Incarnation, CopyState>> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn moves(&self) -> MutexGuard<'_, HashSet<Incarnation>> {
        self.moves.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn settled(&self) -> MutexGuard<'_, HashMap<Incarnation, Tenure>> {
        self.settled.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn retries(&self) -> MutexGuard<'_, HashSet<Incarnation>> {
        self.retries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn diverged(&self) -> MutexGuard<'_, HashSet<Incarnation>> {
        self.diverged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<Incarnation, u32>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> MutexGuard<'_, HashSet<Incarnation>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<Incarnation, seen::Heard>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_stopped(&self, id: Incarnation) -> bool {
        self.stopped().contains(&id)
    }

    /// Counts the changes of homes.
    fn homes_changes(&self) -> watch::Receiver<u64> {
        self.homes_changed.subscribe()
    }

    /// How many changes of homes there were.
    fn homes_version(&self) -> u64 {
        *self.homes_changed.borrow()
    }

    /// Tells everybody that logs live somewhere else now, or may.
    pub(super) fn tell_homes(&self) {
        self.homes_changed.send_modify(|changes| *changes += 1);
        self.tell_wanted();
    }

    /// Has a stopped copy followed again.
    fn want_retry(&self, id: Incarnation) {
        self.stopped().remove(&id);
        self.refusals().remove(&id);
        self.retries().insert(id);
        self.tell_wanted();
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

    fn told_home(&self) -> MutexGuard<'_, Option<RegionName>> {
        self.told_home
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn deleting(&self) -> MutexGuard<'_, HashMap<Incarnation, Instant>> {
        self.deleting.lock().unwrap_or_else(PoisonError::into_inner)
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
    regions.carry_kept(shared);
    tracker.spawn(asides::run(shared.clone(), regions.clone()));
    tracker.spawn(seen::run(shared.clone(), regions.clone()));
    tracker.spawn(joining::run(shared.clone(), regions.clone()));
    peers::forget_strangers(shared, regions);
    let _ = regions.tracker.set(tracker.clone());
    for peer in regions.peers() {
        tracker.spawn(puller::run(shared.clone(), peer));
    }
}
