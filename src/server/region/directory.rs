//! What others ask of the directory of all regions: who belongs to it, where a channel was made, a name
//! for a new one. Answered in full where the directory is at home.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::requests::unreachable;
use super::{Regions, leaving, unnaming};
use crate::broker::{Broker, BrokerError, Seat, Travelling, Wait};
use crate::protocol::region::{
    ChannelNamed, ChannelPlace, ConsentSet, Consents, CrossingRow, DirectoryTold, LinkDirectory,
    MAX_NAMES, ResidencyRow,
};
use crate::protocol::{ErrorCode, WireError};
use crate::region::RegionNumber;
use crate::region::directory::{
    Consent, Crossing, Joined, Named, NamedChannel, RegionEvent, Scope, Spread,
};
use crate::server::connection::shutting_down;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::storage::Outcome;
use crate::types::{ChannelName, RegionName};

impl Regions {
    /// The region that is the home of the directory, as far as this one knows: that of the copy
    /// which is here, the one that a peer has named, else the first by name of those configured.
    pub fn directory_home(&self, broker: &Broker) -> Option<RegionName> {
        match broker.directory_seat() {
            Seat::Here => Some(self.name.clone()),
            Seat::There(home) => Some(home),
            Seat::Nowhere => {
                let told = self.told_home().clone();
                let first = || Some(self.peers().first()?.name.clone().min(self.name.clone()));
                told.or_else(first)
            }
        }
    }

    /// Tells links of consent that was given or withdrawn.
    pub fn tell_consents(&self, broker: &Broker) {
        let now = broker.consents();
        let is_new = self.consents.send_if_modified(|told| {
            let is_new = *told != now;
            *told = now;
            is_new
        });
        if is_new {
            self.tell_wanted();
            // A region may have left.
            self.rejoin.notify_one();
        }
    }
}

/// Waits until what was staged is as durable as its topic promises.
///
/// # Errors
/// What to answer: it never will be, or the server stops.
pub(super) async fn settled(shared: &Shared, wait: Wait) -> Result<(), WireError> {
    loop {
        let waiter = TaskWake::new();
        {
            let mut broker = shared.broker();
            match broker.outcome(wait) {
                Outcome::Done => return Ok(()),
                Outcome::Failed(error) => return Err(answer::never_acknowledged(&error)),
                Outcome::Pending => broker.wake_after_round(waiter.clone()),
            }
        }
        shared.wake_committer();
        tokio::select! {
            () = waiter.0.notified() => {}
            () = shared.stop.cancelled() => return Err(shutting_down()),
        }
    }
}

/// Answers what another region asks.
///
/// - `by`: who asks.
///
/// # Errors
/// What to answer: the directory is elsewhere, or refuses.
pub(super) async fn serve(
    shared: &Arc<Shared>,
    regions: &Regions,
    by: &RegionName,
    ask: LinkDirectory,
) -> Result<DirectoryTold, WireError> {
    let mut told = DirectoryTold::default();
    let wait = match ask {
        LinkDirectory::State => None,
        LinkDirectory::Join { channels, last } => {
            begin_if_alone(shared, regions).await?;
            let mut broker = at_home(shared, regions)?;
            if leaving::is_out(&broker, regions, by) {
                return Err(leaving::has_left(by));
            }
            let events = join(&broker, by, channels, last, &mut told)?;
            Some(record(&mut broker, &events)?)
        }
        LinkDirectory::Look { channel } => {
            let broker = at_home(shared, regions)?;
            told.place = place(&broker, &channel);
            // What is told may be staged only.
            broker.record_of_regions()
        }
        LinkDirectory::Name { channel } => {
            let mut broker = at_home(shared, regions)?;
            let (event, is_named) = name(&broker, by, channel)?;
            told.place = Some(is_named);
            match event {
                Some(event) => Some(record(&mut broker, &[event])?),
                None => broker.record_of_regions(),
            }
        }
        LinkDirectory::Unname {
            channel,
            incarnation,
        } => {
            unnaming::heard(shared, regions, by, &channel, incarnation).await;
            let mut broker = at_home(shared, regions)?;
            match unnaming::given_back(&broker, by, &channel, incarnation)? {
                Some(event) => Some(record(&mut broker, &[event])?),
                None => broker.record_of_regions(),
            }
        }
        LinkDirectory::Consent { word } => {
            let mut broker = at_home(shared, regions)?;
            let event = consent(&broker, word)?;
            Some(record(&mut broker, &[event])?)
        }
        LinkDirectory::Leave { region } => {
            let mut broker = at_home(shared, regions)?;
            let event = leaving::leaving(&broker, regions, &region)?;
            tracing::warn!(%region, "a region leaves the directory");
            Some(record(&mut broker, &[event])?)
        }
    };
    if let Some(wait) = wait {
        settled(shared, wait).await?;
    }
    let broker = shared.broker();
    regions.tell_consents(&broker);
    let directory = broker.region_directory();
    told.home = match broker.directory_seat() {
        Seat::Here => Some(regions.name.clone()),
        Seat::There(home) => Some(home),
        Seat::Nowhere => None,
    };
    told.regions = directory.regions().map(|(name, _)| name.clone()).collect();
    Ok(told)
}

/// A region that has no peers is the home of a directory as soon as another one asks it to be.
///
/// # Errors
/// What to answer: there is no room.
pub(super) async fn begin_if_alone(
    shared: &Arc<Shared>,
    regions: &Regions,
) -> Result<(), WireError> {
    let begun = {
        let mut broker = shared.broker();
        let is_begun = broker.directory_seat() != Seat::Nowhere || broker.lacks_directory();
        if is_begun || !regions.is_alone() {
            return Ok(());
        }
        broker.begin_directory(clock::now())
    };
    let begun = begun.map_err(|refusal| answer::refused(&refusal.error))?;
    settled(shared, begun.wait).await
}

/// The broker, where it is the home of the directory.
pub(super) fn at_home<'a>(
    shared: &'a Shared,
    regions: &Regions,
) -> Result<std::sync::MutexGuard<'a, Broker>, WireError> {
    let broker = shared.broker();
    match broker.directory_seat() {
        Seat::Here => Ok(broker),
        Seat::There(home) => {
            let channel = Travelling::Regions.name().to_string();
            let error = BrokerError::LivesElsewhere { channel, home };
            Err(answer::refused(&error))
        }
        Seat::Nowhere => Err(unreachable(&regions.name)),
    }
}

/// Records facts of the directory, which is at home here.
pub(super) fn record(broker: &mut Broker, events: &[RegionEvent]) -> Result<Wait, WireError> {
    let recorded = broker.record_regions(events, clock::now());
    let recorded = recorded.map_err(|refusal| answer::refused(&refusal.error))?;
    Ok(recorded.wait)
}

/// Where a channel of one log was made.
pub(super) fn place(broker: &Broker, channel: &ChannelName) -> Option<ChannelPlace> {
    let known = broker.region_directory().channel(channel.as_str())?;
    let (home, incarnation) = known.logs.iter().next()?;
    Some(ChannelPlace {
        channel: channel.clone(),
        home: home.clone(),
        incarnation: *incarnation,
    })
}

fn fact(named: ChannelNamed, home: &RegionName) -> Named {
    Named {
        channel: named.channel,
        incarnation: named.incarnation,
        regions: Spread::One,
        home: home.clone(),
        residency: named.residency,
        ack_regions: named.ack_regions,
        at: clock::now(),
    }
}

/// What is to be recorded of a region that joins with its channels.
fn join(
    broker: &Broker,
    by: &RegionName,
    channels: Vec<ChannelNamed>,
    last: bool,
    told: &mut DirectoryTold,
) -> Result<Vec<RegionEvent>, WireError> {
    let directory = broker.region_directory();
    let found = channels.len();
    if found > MAX_NAMES {
        let text = format!("{found} channels, the limit is {MAX_NAMES}");
        return Err(WireError::new(ErrorCode::InvalidRequest, text).with("limit", MAX_NAMES));
    }
    let other = directory.by_number(RegionNumber::of(by));
    if let Some(other) = other.filter(|other| *other != by) {
        let text = format!("region `{other}` has the number of `{by}`: choose another name");
        return Err(WireError::new(ErrorCode::RegionMismatch, text)
            .with("expected", by.as_str())
            .with("region", other.as_str()));
    }
    let mut events = Vec::new();
    let mut seen = BTreeSet::new();
    for channel in channels {
        let is_ours = |known: &NamedChannel| {
            let mut logs = known.logs.values();
            logs.any(|log| *log == channel.incarnation)
        };
        match directory.channel(channel.channel.as_str()) {
            Some(known) if is_ours(known) => {}
            Some(_) => {
                let taken = place(broker, &channel.channel);
                tracing::warn!(
                    channel = %channel.channel, region = %by,
                    "a region has a channel of a name that another region's channel has: neither \
                     is copied to the other"
                );
                told.taken.extend(taken);
            }
            None if !seen.insert(channel.channel.clone()) => {}
            None => events.push(RegionEvent::Named(fact(channel, by))),
        }
    }
    if last && !directory.is_known(by) {
        tracing::info!(region = %by, "a region has joined the directory");
        events.push(RegionEvent::Joined(Joined {
            region: by.clone(),
            at: clock::now(),
        }));
    }
    Ok(events)
}

/// The name of a channel that another region is to make: what is to be recorded, and whose it is.
fn name(
    broker: &Broker,
    by: &RegionName,
    channel: ChannelNamed,
) -> Result<(Option<RegionEvent>, ChannelPlace), WireError> {
    let directory = broker.region_directory();
    if !directory.is_known(by) {
        let text = format!("region `{by}` has not joined the directory");
        return Err(WireError::new(ErrorCode::UnknownRegion, text).with("region", by.as_str()));
    }
    // Named for who asks and not made there, as far as they know: theirs, as it was named.
    if let Some(place) = place(broker, &channel.channel) {
        return Ok((None, place));
    }
    let place = ChannelPlace {
        channel: channel.channel.clone(),
        home: by.clone(),
        incarnation: channel.incarnation,
    };
    let event = directory.check_name(fact(channel, by));
    let event = event.map_err(|error| answer::refused(&BrokerError::from(error)))?;
    Ok((Some(event), place))
}

/// What is to be recorded of consent.
fn consent(broker: &Broker, word: ConsentSet) -> Result<RegionEvent, WireError> {
    let directory = broker.region_directory();
    let at = clock::now();
    let (scope, residency) = match word {
        ConsentSet::Crossing {
            owner,
            guest,
            side,
            allowed,
        } => {
            return Ok(RegionEvent::Crossing(Crossing {
                owner,
                guest,
                side,
                allowed,
                at,
            }));
        }
        ConsentSet::Residency { scope, residency } => (scope, residency),
    };
    let mut named = residency.iter().flatten();
    if let Some(region) = named.find(|region| !directory.is_known(region)) {
        let text = format!("there is no region `{region}`");
        return Err(WireError::new(ErrorCode::UnknownRegion, text).with("region", region.as_str()));
    }
    if let Scope::Channel(name) = &scope {
        let known = directory.channel(name.as_str()).ok_or_else(|| {
            let name = name.to_string();
            answer::refused(&BrokerError::NoSuchChannel { name })
        })?;
        let is_named = |home: &&RegionName| {
            let mut named = residency.iter().flatten();
            residency.is_none() || named.any(|region| region == *home)
        };
        if let Some(home) = known.logs.keys().find(|home| !is_named(home)) {
            let text = format!("`{name}` is made in `{home}`, which has to be among its regions");
            return Err(WireError::new(ErrorCode::NoConsent, text)
                .with("channel", name.as_str())
                .with("region", home.as_str()));
        }
    }
    Ok(RegionEvent::Consent(Consent {
        scope,
        residency,
        at,
    }))
}

/// Who may hold what, as far as somebody has said and the caller may know.
pub(super) fn consents(
    broker: &Broker,
    is_seen: impl Fn(&Scope) -> bool,
    is_theirs: impl Fn(&str) -> bool,
) -> Consents {
    let directory = broker.region_directory();
    let channels = directory.channels().filter_map(|(name, known)| {
        let residency = known.residency.clone()?;
        Some((Scope::Channel(name.clone()), residency))
    });
    let orgs = directory.orgs();
    let orgs = orgs.map(|(name, residency)| (Scope::Org(name.clone()), residency.clone()));
    let rows = orgs.chain(channels).filter(|(scope, _)| is_seen(scope));
    let crossings = directory.crossings();
    let crossings = crossings
        .filter(|(owner, guest, ..)| is_theirs(owner.as_str()) || is_theirs(guest.as_str()));
    Consents {
        residency: rows
            .map(|(scope, residency)| ResidencyRow { scope, residency })
            .collect(),
        crossings: crossings
            .map(|(owner, guest, owner_allows, guest_allows)| CrossingRow {
                owner: owner.clone(),
                guest: guest.clone(),
                owner_allows,
                guest_allows,
            })
            .collect(),
    }
}
