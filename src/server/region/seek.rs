//! Channels that are not here: asked for at the peers, before anybody is told that there are none, or
//! makes another of the name.

use std::sync::Arc;
use std::time::Duration;

use super::Regions;
use super::matters::Seeker;
use super::naming::{Elsewhere, give_back, whereabouts};
use super::requests::unreachable;
use crate::broker::config::ChannelConfig;
use crate::broker::{Asked, BrokerError, Residence, Seat};
use crate::protocol::region::{LinkLog, LinkLogs};
use crate::protocol::{
    AtomicPart, FetchFrom, PublishTarget, RegionRequest, RegionResponse, Request, WireError,
    control,
};
use crate::region::ChannelPattern;
use crate::region::interest::{Since, Wish};
use crate::server::access::Caller;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::types::{ChannelName, Incarnation, RegionName};

/// How long a peer may take to say whether it has a channel.
pub(super) const ASKED: Duration = Duration::from_secs(5);
/// How long a reader waits for a copy of a channel to be as far as its home was.
pub(super) const COPIED: Duration = Duration::from_secs(15);
/// Most channels whose home is remembered without a copy of them.
const MAX_KNOWN: usize = 10_000;

/// Where a channel lives of which no copy is here.
pub(super) struct KnownHome {
    home: RegionName,
    id: Incarnation,
    /// Unknown where its home was not asked.
    config: Option<control::ChannelConfig>,
}

/// What a request does with a channel that may live elsewhere.
enum Use<'a> {
    /// What its home carries out.
    Home(Vec<&'a ChannelName>),
    Read(&'a ChannelName, Since),
    Delete(&'a control::ChannelDelete),
}

fn use_of(request: &Request) -> Option<Use<'_>> {
    match request {
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
        request => {
            let names = super::forward::channels(request);
            (!names.is_empty()).then_some(Use::Home(names))
        }
    }
}

/// Whether the peers have to be asked before a request is carried out: it names a channel that is
/// not here.
pub(in crate::server) fn seeks(shared: &Shared, caller: &Caller, request: &Request) -> bool {
    let Some(regions) = &shared.regions else {
        return false;
    };
    if let Some(asked) = super::agents::matter_of(request) {
        return Seeker::new(shared, caller, asked).is_unknown(regions);
    }
    let Some(used) = use_of(request) else {
        return false;
    };
    let broker = shared.broker();
    let seat = broker.directory_seat();
    if regions.is_alone() && seat == Seat::Nowhere {
        return false;
    }
    let is_away = |name: &ChannelName| {
        !name.is_internal()
            && broker.residence(name) == Residence::Unknown
            && broker.logs_of(name).next().is_none()
            && !broker.is_to_be_begun(name)
    };
    let is_unknown = |name: &ChannelName| is_away(name) && regions.known_home(name).is_none();
    match used {
        Use::Home(names) => names.into_iter().any(is_unknown),
        Use::Read(name, _) => is_away(name),
        Use::Delete(delete) => match broker.residence(&delete.name) {
            // Its name is given back first.
            Residence::Home(_) => matches!(seat, Seat::There(_)),
            _ => is_unknown(&delete.name),
        },
    }
}

/// The channels that a request appends to.
fn targets(request: &Request) -> Vec<&PublishTarget> {
    match request {
        Request::Publish(publish) => vec![&publish.target],
        Request::PublishAtomic(atomic) => {
            let parts = atomic.parts.iter();
            let targets = parts.filter_map(|part| match part {
                AtomicPart::Publish(publish) => Some(&publish.target),
                AtomicPart::Commit(_) => None,
            });
            targets.collect()
        }
        _ => Vec::new(),
    }
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
    if let Some(asked) = super::agents::matter_of(request) {
        return super::matters::seek(shared, &regions, caller, asked).await;
    }
    match use_of(request) {
        None => Ok(()),
        Some(Use::Home(names)) => {
            for name in names {
                find_home(shared, caller, &regions, request, name).await?;
            }
            Ok(())
        }
        Some(Use::Delete(delete)) => {
            let residence = shared.broker().residence(&delete.name);
            match residence {
                Residence::Home(_) => give_back(shared, &regions, delete).await,
                _ => find_home(shared, caller, &regions, request, &delete.name).await,
            }
        }
        Some(Use::Read(name, since)) => {
            let log = match whereabouts(shared, &regions, name, None).await? {
                None => return Ok(()),
                Some(Elsewhere::Log(log)) => *log,
                Some(Elsewhere::At(home, _)) => {
                    if regions.peer(&home).is_none() {
                        return Err(unreachable(&home));
                    }
                    match find(&regions, name, |peer| *peer == home).await? {
                        None => return check_consent(shared, caller, name),
                        Some(log) => log,
                    }
                }
            };
            check_consent(shared, caller, name)?;
            if log.name != *name {
                let channel = name.to_string();
                return Err(answer::refused(&BrokerError::EachRegion { channel }));
            }
            copied(shared, caller, &regions, log, since).await
        }
    }
}

/// Looks for the home of a channel that is not here and not remembered. Where there is no such channel
/// and the request makes it, it has a name then; this region's log of one that others have is begun.
async fn find_home(
    shared: &Arc<Shared>,
    caller: &Caller,
    regions: &Regions,
    request: &Request,
    name: &ChannelName,
) -> Result<(), WireError> {
    let is_unknown = shared.broker().residence(name) == Residence::Unknown;
    if !is_unknown || name.is_internal() || regions.known_home(name).is_some() {
        return Ok(());
    }
    let mut targets = targets(request).into_iter();
    let target = targets.find(|target| target.channel == *name);
    let making = target.and_then(|target| making(shared, target));
    match whereabouts(shared, regions, name, making).await? {
        None => {}
        Some(Elsewhere::Log(log)) if log.name != *name => {
            super::each::begin(shared, caller, &log)?;
        }
        Some(Elsewhere::Log(log)) => regions.remember_home(*log),
        Some(Elsewhere::At(home, id)) => {
            // It may have a log for each region: its home knows, and how it is configured.
            match find(regions, name, |peer| *peer == home).await {
                Ok(Some(log)) if log.name != *name => super::each::begin(shared, caller, &log)?,
                Ok(Some(log)) => regions.remember_home(log),
                Ok(None) | Err(_) => regions.remember(name.clone(), home, id, None),
            }
        }
    }
    Ok(())
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

/// The channel as its home has it, or one region's log of it where there is one for each, or else as a
/// peer that has all of it; none where every peer that is meant was asked and none has it.
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
        let request = LinkLogs::at_once(vec![pattern.clone()], Vec::new());
        let request = RegionRequest::LinkLogs(request);
        match link.ask(request, ASKED).await {
            Ok(RegionResponse::LinkLogs(page)) => {
                let is_it = |log: &LinkLog| {
                    log.name == *name || (name.region().is_none() && log.name.channel() == *name)
                };
                let found: Vec<LinkLog> = page.logs.into_iter().filter(is_it).collect();
                if let Some(log) = found.iter().find(|log| log.home == peer.name) {
                    return Ok(Some(log.clone()));
                }
                copy = found.into_iter().next().or(copy);
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
    until_copied(shared, &log, deadline).await
}

/// Waits until a copy of a log is here, with all that its home had when it was asked.
///
/// # Errors
/// What to answer where none was begun in time.
pub(super) async fn until_copied(
    shared: &Shared,
    log: &LinkLog,
    deadline: tokio::time::Instant,
) -> Result<(), WireError> {
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
        let homes = self.homes();
        let known = homes.get(name)?;
        Some((known.home.clone(), known.id))
    }

    /// How a channel is configured of which no copy is here, if its home was asked.
    pub(super) fn known_config(&self, name: &ChannelName) -> Option<ChannelConfig> {
        // Both are the same names in JSON.
        let config = serde_json::to_value(self.homes().get(name)?.config.as_ref()?);
        config.and_then(serde_json::from_value).ok()
    }

    fn remember_home(&self, log: LinkLog) {
        self.remember(log.name, log.home, log.incarnation, Some(log.config));
    }

    fn remember(
        &self,
        name: ChannelName,
        home: RegionName,
        id: Incarnation,
        config: Option<control::ChannelConfig>,
    ) {
        let mut homes = self.homes();
        if homes.len() >= MAX_KNOWN {
            homes.clear();
        }
        homes.insert(name, KnownHome { home, id, config });
    }

    /// Forgets where a channel lives: its home says otherwise.
    pub fn forget_home(&self, name: &ChannelName) {
        self.homes().remove(name);
    }
}
