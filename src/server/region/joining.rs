//! Joining the directory of all regions, and beginning it where it is at home.
//!
//! The first region by name begins it, once every peer it was told of has said that there is none
//! yet; the others join with the channels that they have already. Whatever was made or kept without
//! a name, as after a cut in the middle, is named when the directory's home is reached again.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::naming::ask_directory;
use super::{Regions, leaving};
use crate::broker::Seat;
use crate::client::{Backoff, BackoffLimits};
use crate::protocol::WireError;
use crate::protocol::region::{ChannelNamed, DirectoryTold, LinkDirectory, MAX_NAMES};
use crate::server::clock;
use crate::server::shared::Shared;
use crate::types::RegionName;

/// Waits before what did not go is tried again.
const AGAIN: BackoffLimits = BackoffLimits {
    min: Duration::from_millis(100),
    max: Duration::from_secs(10),
};

/// What is left to do.
#[derive(PartialEq, Eq)]
enum Left {
    /// Nothing, until a link is opened.
    Nothing,
    /// The same again, after a while.
    Again,
}

/// Joins and keeps what is here named, until the server stops.
pub(super) async fn run(shared: Arc<Shared>, regions: Arc<Regions>) {
    let mut linked = regions.linked.subscribe();
    let mut backoff = Backoff::new(AGAIN);
    loop {
        let left = tokio::select! {
            () = shared.stop.cancelled() => return,
            left = step(&shared, &regions) => left,
        };
        if left == Left::Nothing {
            backoff.reset();
        }
        let wait = backoff.next(None);
        tokio::select! {
            () = shared.stop.cancelled() => return,
            changed = linked.changed() => if changed.is_err() { return },
            () = regions.rejoin.notified() => {}
            () = sleep(wait), if left == Left::Again => {}
        }
    }
}

async fn step(shared: &Arc<Shared>, regions: &Regions) -> Left {
    leaving::let_go(shared, regions);
    let (seat, home) = {
        let broker = shared.broker();
        (broker.directory_seat(), regions.directory_home(&broker))
    };
    match (seat, home) {
        (Seat::Here, _) => name_own(shared, regions),
        (Seat::There(home), _) => {
            let is_joined = {
                let broker = shared.broker();
                let is_known = broker.region_directory().is_known(&regions.name);
                is_known && broker.unnamed("", 1).is_empty()
            };
            match is_joined {
                true => Left::Nothing,
                false => join(shared, regions, &home).await,
            }
        }
        (Seat::Nowhere, None) => Left::Nothing,
        (Seat::Nowhere, Some(home)) if home == regions.name => begin(shared, regions).await,
        (Seat::Nowhere, Some(home)) => join(shared, regions, &home).await,
    }
}

/// Names the channels that live in the directory's home, where one has no name.
fn name_own(shared: &Shared, regions: &Regions) -> Left {
    let mut broker = shared.broker();
    let is_known = broker.region_directory().is_known(&regions.name);
    if is_known && broker.unnamed("", 1).is_empty() {
        return Left::Nothing;
    }
    let begun = broker.begin_directory(clock::now());
    regions.tell_consents(&broker);
    drop(broker);
    shared.wake_committer();
    match begun {
        Ok(_) => Left::Nothing,
        Err(refusal) => {
            tracing::warn!(error = %refusal.error, "the channels of this region have no names yet");
            Left::Again
        }
    }
}

/// Begins the directory, once every peer has said that it knows of none.
async fn begin(shared: &Arc<Shared>, regions: &Regions) -> Left {
    for peer in regions.peers() {
        match ask_directory(regions, &peer.name, LinkDirectory::State).await {
            Ok(DirectoryTold { home: None, .. }) => {}
            Ok(DirectoryTold {
                home: Some(home), ..
            }) => {
                if home == regions.name {
                    tracing::error!(
                        peer = %peer.name,
                        "a peer has a copy of the directory of this region, which has none: its data \
                         directory is another one, or was restored from an old backup"
                    );
                    return Left::Again;
                }
                return take_home(regions, &home);
            }
            Err(error) => {
                tracing::debug!(peer = %peer.name, %error, "the directory waits for a peer");
                return Left::Again;
            }
        }
    }
    if shared.broker().lacks_directory() {
        tracing::warn!("the directory of all regions was here, and no peer has it now");
        return Left::Again;
    }
    tracing::info!("this region is the home of the directory of all regions");
    name_own(shared, regions)
}

/// Goes by another region's directory from now on.
fn take_home(regions: &Regions, home: &RegionName) -> Left {
    if regions.peer(home).is_none() {
        tracing::warn!(
            %home, "the directory of all regions is at a region that this one has not as a peer"
        );
        return Left::Again;
    }
    *regions.told_home() = Some(home.clone());
    // Its topic is followed from now on.
    regions.tell_wanted();
    regions.rejoin.notify_one();
    Left::Nothing
}

/// Joins the directory at its home, with the channels that have no name there.
async fn join(shared: &Arc<Shared>, regions: &Regions, home: &RegionName) -> Left {
    match joined(shared, regions, home).await {
        Ok(told) => {
            for place in told.taken {
                tracing::warn!(
                    channel = %place.channel, region = %place.home,
                    "a channel here has the name of another region's: neither is copied to the other"
                );
            }
            Left::Nothing
        }
        Err(error) => {
            let other = error
                .detail("home")
                .and_then(|home| RegionName::parse(home).ok());
            if let Some(other) = other.filter(|other| other != home && *other != regions.name) {
                return take_home(regions, &other);
            }
            tracing::debug!(%home, %error, "joining the directory waits");
            Left::Again
        }
    }
}

async fn joined(
    shared: &Arc<Shared>,
    regions: &Regions,
    home: &RegionName,
) -> Result<DirectoryTold, WireError> {
    let mut after = String::new();
    let mut taken = Vec::new();
    loop {
        let unnamed = shared.broker().unnamed(&after, MAX_NAMES);
        let last = unnamed.len() < MAX_NAMES;
        if let Some((name, _)) = unnamed.last() {
            after = name.to_string();
        }
        let channels = unnamed.into_iter();
        let channels = channels.filter(|(_, incarnation)| !regions.is_deleting(*incarnation));
        let channels = channels.map(|(channel, incarnation)| ChannelNamed {
            channel,
            incarnation,
            residency: None,
            ack_regions: 1,
        });
        let channels = channels.collect();
        let mut told = ask_directory(regions, home, LinkDirectory::Join { channels, last }).await?;
        taken.append(&mut told.taken);
        if last {
            return Ok(DirectoryTold { taken, ..told });
        }
    }
}
