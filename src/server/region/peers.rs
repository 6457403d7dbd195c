//! Peers at run time: added, moved to another address, removed; on the record, so that a restart knows
//! them.

use std::sync::Arc;

use super::status::PeerState;
use super::{Peer, PeerOptions, Regions, puller};
use crate::broker::{Broker, BrokerError, Refusal, Wait};
use crate::client::BrokerUrl;
use crate::protocol::region::RegionPeer;
use crate::region::RegionNumber;
use crate::region::peers::{PeerEvent, PeerRemoved, PeerSet};
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::clock;
use crate::server::ranks::Mutex;
use crate::server::shared::Shared;
use crate::types::RegionName;

/// The peers of a region: those that it is told of at its start, and over that what was said while it
/// ran.
pub(super) fn known(configured: &[PeerOptions], broker: &Broker) -> Vec<PeerOptions> {
    let mut peers = configured.to_vec();
    for (name, url) in broker.peers().said() {
        let configured = peers.iter().any(|peer| peer.name == *name);
        peers.retain(|peer| peer.name != *name);
        match url {
            Some(url) => peers.push(PeerOptions {
                name: name.clone(),
                url: url.to_owned(),
            }),
            None if configured => tracing::warn!(
                peer = %name,
                "a peer is left out that was removed: add it again with `npayload region peer add`"
            ),
            None => {}
        }
    }
    peers.sort_by(|a, b| a.name.cmp(&b.name));
    peers
}

/// Adds a peer, gives it another address, or removes it.
///
/// # Errors
/// [`Refusal`]: the broker is no region, or the peer can't be one.
pub(super) fn change(
    shared: &Arc<Shared>,
    regions: &Arc<Regions>,
    caller: &Caller,
    asked: &RegionPeer,
    draft: Draft,
) -> Result<Wait, Refusal> {
    let invalid = |what: String| BrokerError::InvalidPeer { what };
    let RegionPeer { name, url } = asked.clone();
    if name == regions.name {
        return Err(invalid(format!("region `{name}` can't be a peer of itself")).into());
    }
    let number = RegionNumber::of(&name);
    let mut others = regions.peers().into_iter().map(|peer| peer.name.clone());
    let others = others.find(|other| *other != name && RegionNumber::of(other) == number);
    let twin =
        others.or_else(|| Some(regions.name.clone()).filter(|own| RegionNumber::of(own) == number));
    if let Some(twin) = twin.filter(|_| url.is_some()) {
        return Err(invalid(format!("region `{name}` has the number of `{twin}`")).into());
    }
    let now = clock::now();
    let event = match &url {
        Some(url) => {
            let known = url.parse::<BrokerUrl>();
            known.map_err(|error| invalid(error.to_string()))?;
            PeerEvent::Set(PeerSet {
                region: name.clone(),
                url: url.clone(),
                at: now,
            })
        }
        None => {
            if regions.peer(&name).is_none() {
                return Err(invalid(format!("region `{name}` is no peer")).into());
            }
            PeerEvent::Removed(PeerRemoved {
                region: name.clone(),
                at: now,
            })
        }
    };
    let recorded = {
        let mut broker = shared.broker();
        broker.acting(draft.done_by(caller), |broker| {
            broker.record_peer(&event, now)
        })?
    };
    if let Some(gone) = regions.take_peer(&name) {
        gone.gone.cancel();
    }
    if url.is_none() {
        forget(shared, &name);
    }
    if let Some(url) = url {
        let peer = Arc::new(Peer::new(&PeerOptions { name, url }, now));
        regions.put_peer(peer.clone());
        if let Some(tracker) = regions.tracker.get() {
            tracker.spawn(puller::run(shared.clone(), peer));
        }
    }
    regions.rejoin.notify_one();
    Ok(recorded.wait)
}

/// Forgets the keys and grants of a region that is a peer no more.
pub(super) fn forget(shared: &Shared, region: &RegionName) {
    let forgotten = shared.broker().forget_access_of(region, clock::now());
    if let Err(refusal) = forgotten {
        tracing::warn!(%region, error = %refusal.error, "what a region has said of its keys stays for now");
    }
    shared.wake_committer();
    shared.tell_access_changed();
}

/// Forgets the keys and grants of all regions that this one is not told of as peers any more.
pub(super) fn forget_strangers(shared: &Shared, regions: &Regions) {
    let known = shared.broker().regions_with_access();
    for region in known
        .into_iter()
        .filter(|name| regions.peer(name).is_none())
    {
        forget(shared, &region);
    }
}

impl Peer {
    /// A peer whose link is yet to be opened.
    pub fn new(options: &PeerOptions, now: crate::types::Timestamp) -> Self {
        Self {
            name: options.name.clone(),
            url: options.url.clone(),
            state: Mutex::new(PeerState::new(now)),
            link: Mutex::new(None),
            gone: tokio_util::sync::CancellationToken::new(),
        }
    }
}
