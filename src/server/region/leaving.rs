//! Regions that leave the directory: the word of it at its home, what the region itself does then, and
//! what becomes of it in the others. `docs/regions.md`, "Leaving".

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::Regions;
use super::directory::settled;
use super::naming::directory;
use crate::broker::{Broker, BrokerError, Seat, Travelling};
use crate::protocol::region::{DirectoryTold, LinkDirectory, RegionLeave, RegionLeft};
use crate::protocol::{ErrorCode, RegionRequest, WireError};
use crate::region::LogName;
use crate::region::directory::{Left, RegionEvent, Spread};
use crate::region::peers::{PeerEvent, PeerRemoved};
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::types::RegionName;

/// How long a link may take to end whose peer was removed.
const ENDED: Duration = Duration::from_secs(10);
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(10);

fn in_use(region: &RegionName, what: &str, channel: &str, count: usize) -> WireError {
    let text = format!("region `{region}` can't leave: {what}");
    WireError::new(ErrorCode::RegionInUse, text)
        .with("region", region.as_str())
        .with("channel", channel)
        .with("count", count)
}

/// What a region is told that has left and was not let in again.
pub(super) fn has_left(region: &RegionName) -> WireError {
    let text = format!(
        "region `{region}` has left the directory; `npayload region peer add` lets it in again"
    );
    WireError::new(ErrorCode::RegionLeft, text).with("region", region.as_str())
}

/// Whether a region has left, and was not added as a peer here since.
pub(super) fn is_out(broker: &Broker, regions: &Regions, region: &RegionName) -> bool {
    let Some(left) = broker.region_directory().left_at(region) else {
        return false;
    };
    // That it was removed says nothing for it: it may be on the record before it is no peer any more.
    let added = broker.peers().added_at(region);
    regions.peer(region).is_none() || added.is_none_or(|added| added < left)
}

/// The fact that a region leaves, at the home of the directory: refused while it is home of anything
/// that has a name.
pub(super) fn leaving(
    broker: &Broker,
    regions: &Regions,
    region: &RegionName,
) -> Result<RegionEvent, WireError> {
    let directory = broker.region_directory();
    if !directory.is_known(region) {
        let text = format!("there is no region `{region}` in the directory");
        return Err(WireError::new(ErrorCode::UnknownRegion, text).with("region", region.as_str()));
    }
    if *region == regions.name {
        let topic = Travelling::Regions.name();
        let what = "it is the home of the directory, which has to be moved first";
        return Err(in_use(region, what, topic.as_str(), 1));
    }
    let homes = broker.known_homes();
    let logs = directory.channels().flat_map(|(name, known)| {
        let logs = known.logs.iter();
        logs.map(move |(made_in, log)| (name, known.regions, made_in, *log))
    });
    let of_region = logs.filter(|(_, _, made_in, log)| homes.home(*log, made_in).region == *region);
    let names: Vec<LogName> = of_region
        .map(|(name, spread, made_in, _)| LogName {
            channel: name.clone(),
            region: (spread == Spread::Each).then(|| made_in.clone()),
        })
        .collect();
    if let Some(first) = names.first() {
        let what = format!("it is home of `{first}`, one of {} logs", names.len());
        return Err(in_use(region, &what, &first.to_string(), names.len()));
    }
    Ok(RegionEvent::Left(Left {
        region: region.clone(),
        at: clock::now(),
    }))
}

/// That nothing lives here, named or not, and that nothing waits here for another region.
fn nothing_lives_here(broker: &Broker, regions: &Regions) -> Result<(), WireError> {
    let lives = broker.homes("").count();
    if let Some((_, first)) = broker.homes("").next() {
        let what = format!("it is home of `{first}`, one of {lives} logs");
        return Err(in_use(&regions.name, &what, first.as_str(), lives));
    }
    let mut waits = regions.outboxes_told(broker);
    waits.retain(|outbox| outbox.records > 0);
    if let Some(first) = waits.first() {
        let what = format!("records for `{}` wait in its outbox", first.channel);
        let channel = first.channel.as_str();
        return Err(in_use(&regions.name, &what, channel, waits.len()));
    }
    Ok(())
}

/// Whether this region has left, and what follows from that here was cut short: its copy of the
/// directory says so, or its home, which lets it in no more; or nobody is left who could be asked.
fn is_cut_short(broker: &Broker, regions: &Regions, home: &RegionName) -> bool {
    let directory = broker.region_directory();
    let is_told = directory.left_at(&regions.name).is_some();
    let says_left = regions
        .peer(home)
        .is_some_and(|peer| peer.state().says_left);
    regions.link_to(home).is_none() && (is_told || says_left || regions.is_alone())
}

/// Takes a region out of the directory, this one or another.
///
/// # Errors
/// What to answer: it is home of something, not known, or the directory's home can't be reached.
pub(super) async fn leave(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: &RegionLeave,
) -> Result<RegionLeft, WireError> {
    let regions = shared.regions.clone();
    let regions = regions.ok_or_else(|| answer::refused(&BrokerError::NotARegion))?;
    let region = asked.region.clone();
    let region = region.unwrap_or_else(|| regions.name.clone());
    let is_own = region == regions.name;
    let told = said(shared, &regions, &region, is_own).await;
    let draft = Draft::of_region(&RegionRequest::RegionLeave(RegionLeave {
        region: Some(region.clone()),
    }));
    {
        let mut broker = shared.broker();
        match &told {
            Ok(_) => {
                broker.audit(draft.done_by(caller), clock::now());
            }
            Err(error) => draft.refused(&mut broker, caller, error),
        }
    }
    shared.wake_committer();
    let told = told?;
    if is_own {
        go_alone(shared, &regions).await?;
    }
    Ok(RegionLeft {
        region,
        regions: told.regions,
    })
}

/// Has it recorded at the home of the directory.
async fn said(
    shared: &Arc<Shared>,
    regions: &Regions,
    region: &RegionName,
    is_own: bool,
) -> Result<DirectoryTold, WireError> {
    {
        let broker = shared.broker();
        if broker.directory_seat() == Seat::Nowhere {
            let text = "this region belongs to no directory";
            let error = WireError::new(ErrorCode::UnknownRegion, text);
            return Err(error.with("region", regions.name.as_str()));
        }
        if is_own && broker.directory_seat() != Seat::Here {
            nothing_lives_here(&broker, regions)?;
        }
        if is_own
            && let Seat::There(home) = broker.directory_seat()
            && is_cut_short(&broker, regions, &home)
        {
            let known = broker.region_directory().regions();
            let others = known.filter(|(name, _)| **name != regions.name);
            return Ok(DirectoryTold {
                home: Some(home),
                regions: others.map(|(name, _)| name.clone()).collect(),
                place: None,
                taken: Vec::new(),
            });
        }
    }
    let region = region.clone();
    directory(shared, regions, LinkDirectory::Leave { region }).await
}

/// Goes on without peers and without the directory that this region has left. What is on the record of
/// its peers outlives a restart, so it comes back only where somebody adds one again.
async fn go_alone(shared: &Arc<Shared>, regions: &Regions) -> Result<(), WireError> {
    let peers = regions.peers();
    for peer in &peers {
        let event = PeerEvent::Removed(PeerRemoved {
            region: peer.name.clone(),
            at: clock::now(),
        });
        let recorded = shared.broker().record_peer(&event, clock::now());
        let recorded = recorded.map_err(|refusal| answer::refused(&refusal.error))?;
        settled(shared, recorded.wait).await?;
        regions.take_peer(&peer.name);
        peer.gone.cancel();
        super::peers::forget(shared, &peer.name);
    }
    // Nothing comes any more of what is removed now.
    let ended = async {
        while peers.iter().any(|peer| peer.link().is_some()) {
            sleep(LOOK).await;
        }
    };
    let _ = timeout(ENDED, ended).await;
    *regions.told_home() = None;
    let gone = shared.broker().leave_directory(clock::now());
    let gone = gone.map_err(|refusal| answer::refused(&refusal.error))?;
    settled(shared, gone.wait).await?;
    regions.tell_consents(&shared.broker());
    tracing::warn!("this region has left the directory, and goes on without peers");
    Ok(())
}

/// Lets go of regions that have left: they are peers no more, and what they hold and want counts for
/// nothing.
pub(super) fn let_go(shared: &Arc<Shared>, regions: &Regions) {
    let left: Vec<RegionName> = {
        let broker = shared.broker();
        let left = broker.region_directory().left();
        let out = left.filter(|(name, _)| is_out(&broker, regions, name));
        out.map(|(name, _)| name.clone()).collect()
    };
    for region in left.into_iter().filter(|name| *name != regions.name) {
        regions.held.forgets_all(&region);
        if regions.peer(&region).is_none() {
            continue;
        }
        let event = PeerEvent::Removed(PeerRemoved {
            region: region.clone(),
            at: clock::now(),
        });
        let recorded = shared.broker().record_peer(&event, clock::now());
        if let Err(refusal) = recorded {
            tracing::warn!(%region, error = %refusal.error, "a region that has left is a peer for now");
            continue;
        }
        shared.wake_committer();
        if let Some(gone) = regions.take_peer(&region) {
            gone.gone.cancel();
        }
        super::peers::forget(shared, &region);
        tracing::info!(%region, "a region has left the directory, and is a peer no more");
    }
}
