//! Channels that are not here: asked for at the peers, before anybody is told that there are none, or
//! makes another of the name.

use std::sync::Arc;
use std::time::Duration;

use super::Regions;
use super::naming::{Elsewhere, give_back, whereabouts};
use super::requests::unreachable;
use crate::broker::{Asked, BrokerError, Residence, Seat};
use crate::protocol::region::{LinkLog, LinkLogs};
use crate::protocol::{
    AtomicPart, FetchFrom, PublishAtomicRequest, PublishTarget, RegionRequest, RegionResponse,
    Request, WireError, control,
};
use crate::region::ChannelPattern;
use crate::region::interest::{Since, Wish};
use crate::server::access::Caller;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::types::{ChannelName, Incarnation, RegionName};

/// How long a peer may take to say whether it has a channel.
const ASKED: Duration = Duration::from_secs(5);
/// How long a reader waits for a copy of a channel to be as far as its home was.
const COPIED: Duration = Duration::from_secs(15);
/// Most channels whose home is remembered without a copy of them.
const MAX_KNOWN: usize = 10_000;

/// What a request does with a channel that may live elsewhere.
enum Use<'a> {
    Publish(&'a PublishTarget),
    Atomic(&'a PublishAtomicRequest),
    Read(&'a ChannelName, Since),
    Delete(&'a control::ChannelDelete),
}

fn use_of(request: &Request) -> Option<Use<'_>> {
    match request {
        Request::Publish(publish) => Some(Use::Publish(&publish.target)),
        Request::PublishAtomic(publish) => Some(Use::Atomic(publish)),
        Request::ChannelDelete(delete) => Some(Use::Delete(delete)),
        Request::Fetch(fetch) => {
            let since = match fetch.from {
                FetchFrom::End => Since::End,
                FetchFrom::Time(time) => Since::Time(time),
                // Records before that may be asked for next.
                FetchFrom::Start | FetchFrom::Offset(_) => Since::Start,
            };
            Some(Use::Read(&fetch.channel, since))
        }
        Request::ChannelResolve(resolve) => {
            let since = match resolve.at {
                control::Place::End => Since::End,
                control::Place::Time(time) => Since::Time(time),
                _ => Since::Start,
            };
            Some(Use::Read(&resolve.channel, since))
        }
        _ => None,
    }
}

/// Whether the peers have to be asked before a request is carried out: it names a channel that is
/// not here.
pub(in crate::server) fn seeks(shared: &Shared, request: &Request) -> bool {
    let (Some(regions), Some(used)) = (&shared.regions, use_of(request)) else {
        return false;
    };
    let broker = shared.broker();
    let seat = broker.directory_seat();
    if regions.is_alone() && seat == Seat::Nowhere {
        return false;
    }
    let is_away =
        |name: &ChannelName| !name.is_internal() && broker.residence(name) == Residence::Unknown;
    match used {
        Use::Publish(target) => {
            is_away(&target.channel) && regions.known_home(&target.channel).is_none()
        }
        Use::Atomic(publish) => targets(publish).any(|target| is_away(&target.channel)),
        Use::Read(name, _) => is_away(name),
        // Its name is given back first.
        Use::Delete(delete) => {
            matches!(seat, Seat::There(_))
                && matches!(broker.residence(&delete.name), Residence::Home(_))
        }
    }
}

/// The channels that an atomic publish appends to.
fn targets(publish: &PublishAtomicRequest) -> impl Iterator<Item = &PublishTarget> {
    publish.parts.iter().filter_map(|part| match part {
        AtomicPart::Publish(publish) => Some(&publish.target),
        AtomicPart::Commit(_) => None,
    })
}

/// Looks for the channel of a request. A reader's interest is recorded, and its copy awaited.
///
/// # Errors
/// What to answer: a peer that may have the channel can't be reached.
pub(in crate::server) async fn seek(
    shared: &Arc<Shared>,
    caller: &Caller,
    request: &Request,
) -> Result<(), WireError> {
    let Some(regions) = shared.regions.clone() else {
        return Ok(());
    };
    match use_of(request) {
        None => Ok(()),
        Some(Use::Publish(target)) => {
            let making = making(shared, target);
            match whereabouts(shared, &regions, &target.channel, making).await? {
                None => {}
                Some(Elsewhere::Log(log)) => {
                    regions.remember_home(log.name, log.home, log.incarnation);
                }
                Some(Elsewhere::At(home, id)) => {
                    regions.remember_home(target.channel.clone(), home, id);
                }
            }
            Ok(())
        }
        Some(Use::Atomic(publish)) => {
            for target in targets(publish) {
                let name = &target.channel;
                let is_here = shared.broker().residence(name) != Residence::Unknown;
                if is_here || name.is_internal() {
                    continue;
                }
                let making = making(shared, target);
                let home = match whereabouts(shared, &regions, name, making).await? {
                    None => continue,
                    Some(Elsewhere::Log(log)) => log.home,
                    Some(Elsewhere::At(home, _)) => home,
                };
                let channel = name.to_string();
                let error = BrokerError::LivesElsewhere { channel, home };
                return Err(answer::refused(&error));
            }
            Ok(())
        }
        Some(Use::Delete(delete)) => give_back(shared, &regions, delete).await,
        Some(Use::Read(name, since)) => {
            let log = match whereabouts(shared, &regions, name, None).await? {
                None => return Ok(()),
                Some(Elsewhere::Log(log)) => *log,
                Some(Elsewhere::At(home, _)) => {
                    let at_home = match regions.peer(&home) {
                        Some(_) => find(&regions, name, |peer| *peer == home).await,
                        None => Err(unreachable(&home)),
                    };
                    let found = match at_home {
                        Ok(found) => found,
                        // Another one may have a copy that is whole.
                        Err(away) => {
                            let copy = find(&regions, name, |peer| *peer != home).await;
                            copy.ok().flatten().map(Some).ok_or(away)?
                        }
                    };
                    match found {
                        None => return check_consent(shared, caller, name),
                        Some(log) => log,
                    }
                }
            };
            check_consent(shared, caller, name)?;
            copied(shared, caller, &regions, log, since).await
        }
    }
}

/// What is asked for a channel that a publish makes where there is none.
fn making(shared: &Shared, target: &PublishTarget) -> Option<Asked> {
    let makes = target.incarnation.is_none() && shared.broker().makes_channels();
    makes.then(Asked::default)
}

/// Checks that a channel which lives elsewhere may come here, and for whom.
fn check_consent(shared: &Shared, caller: &Caller, name: &ChannelName) -> Result<(), WireError> {
    let broker = shared.broker();
    let crosses = broker.may_cross(name, &caller.row().org);
    match broker.region() {
        Some(region) if !crosses || !broker.may_hold_here(name) => {
            Err(answer::refused(&BrokerError::NoConsent {
                channel: name.to_string(),
                region: region.clone(),
            }))
        }
        _ => Ok(()),
    }
}

/// The channel as its home has it, or else as a peer that has all of it; none where every peer that is
/// meant was asked and none has it.
pub(super) async fn find(
    regions: &Regions,
    name: &ChannelName,
    is_meant: impl Fn(&RegionName) -> bool,
) -> Result<Option<LinkLog>, WireError> {
    let Ok(pattern) = ChannelPattern::exactly(name) else {
        return Ok(None);
    };
    let (mut away, mut copy) = (None, None);
    for peer in regions.peers().iter().filter(|peer| is_meant(&peer.name)) {
        let Some(link) = peer.link() else {
            away = Some(peer.name.clone());
            continue;
        };
        let request = RegionRequest::LinkLogs(LinkLogs {
            patterns: vec![pattern.clone()],
            topics: Vec::new(),
            after: None,
            wait_ms: 0,
            cursor: None,
        });
        match link.ask(request, ASKED).await {
            Ok(RegionResponse::LinkLogs(page)) => {
                let mut logs = page.logs.into_iter();
                let log = logs.find(|log| log.name == *name);
                match log {
                    Some(log) if log.home == peer.name => return Ok(Some(log)),
                    Some(log) => copy = Some(log),
                    None => {}
                }
            }
            _ => away = Some(peer.name.clone()),
        }
    }
    // Its home is no peer, or away, and a peer has a copy.
    if copy.is_some() {
        return Ok(copy);
    }
    match away {
        Some(region) => Err(unreachable(&region)),
        None => Ok(None),
    }
}

/// Records that a channel is read, and waits until a copy of it is here, with all that its home had
/// when it was asked.
async fn copied(
    shared: &Arc<Shared>,
    caller: &Caller,
    regions: &Regions,
    log: LinkLog,
    since: Since,
) -> Result<(), WireError> {
    regions.note_read(&log.name);
    let wish = Wish {
        types: None,
        from: since,
        retention_days: None,
    };
    let org = caller.row().org;
    let recorded = {
        let mut broker = shared.broker();
        broker.record_read(org, log.name.clone(), wish, clock::now())
    };
    recorded.map_err(|refusal| answer::refused(&refusal.error))?;
    shared.wake_committer();
    regions.tell_wanted();
    let deadline = tokio::time::Instant::from_std(clock::instant()) + COPIED;
    loop {
        let waiter = TaskWake::new();
        let is_begun = {
            let mut broker = shared.broker();
            match broker.residence(&log.name) {
                Residence::Copy(id, _) => {
                    let place = broker.copy_place(id);
                    if place.is_none_or(|place| place.flushed >= log.flushed) {
                        return Ok(());
                    }
                    broker.wake_on_append(id, waiter.clone());
                    true
                }
                Residence::Home(_) => return Ok(()),
                Residence::Unknown => {
                    broker.wake_on_append(shared.directory_id, waiter.clone());
                    false
                }
            }
        };
        tokio::select! {
            () = waiter.0.notified() => {}
            // What is long in coming is read as far as it is here.
            () = tokio::time::sleep_until(deadline), if is_begun => return Ok(()),
            () = tokio::time::sleep_until(deadline), if !is_begun => {
                return Err(unreachable(&log.home));
            }
        }
    }
}

impl Regions {
    /// Where a channel lives of which no copy is here, if that was asked.
    pub fn known_home(&self, name: &ChannelName) -> Option<(RegionName, Incarnation)> {
        self.homes().get(name).cloned()
    }

    fn remember_home(&self, name: ChannelName, home: RegionName, id: Incarnation) {
        let mut homes = self.homes();
        if homes.len() >= MAX_KNOWN {
            homes.clear();
        }
        homes.insert(name, (home, id));
    }

    /// Forgets where a channel lives: its home says otherwise.
    pub fn forget_home(&self, name: &ChannelName) {
        self.homes().remove(name);
    }
}
