//! Names of channels, asked of the directory of all regions: where a channel lives, a name for one that
//! is to be made here, and giving one back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Regions;
use super::directory::{begin_if_alone, place, serve, settled};
use super::requests::unreachable;
use super::seek::find;
use crate::broker::{Asked, Broker, BrokerError, Residence, Seat, Travelling};
use crate::client::RequestError;
use crate::protocol::control::{ChannelCreate, ChannelDelete};
use crate::protocol::region::{
    ChannelNamed, ChannelPlace, DirectoryTold, LinkCreate, LinkDirectory, LinkLog,
};
use crate::protocol::{ErrorCode, RegionRequest, RegionResponse, Request, Response, WireError};
use crate::region::directory::Spread;
use crate::server::access::Caller;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock, dispatch};
use crate::types::{ChannelName, Incarnation, RegionName};

/// How long the directory's home may take to answer.
const ASKED: Duration = Duration::from_secs(10);
/// How long a channel whose name was given back may take to be deleted.
const DELETED: Duration = Duration::from_secs(60);

/// Where a channel lives that is not here.
pub(super) enum Elsewhere {
    /// As its home has it.
    Log(Box<LinkLog>),
    /// As the directory says.
    At(RegionName, Incarnation),
}

/// Looks for a channel that is not here. Where there is none and one is to be made, it has a name then.
///
/// - `making`: what is asked for the channel that is to be made; `None` where none is.
///
/// # Errors
/// What to answer: whoever knows can't be reached, or the name is refused.
pub(super) async fn whereabouts(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    making: Option<Asked>,
) -> Result<Option<Elsewhere>, WireError> {
    let (seat, known) = {
        let broker = shared.broker();
        (broker.directory_seat(), place(&broker, name))
    };
    // One that was made here and lives elsewhere by now is not to be made again.
    let known = known.map(|known| lives(&shared.broker(), regions, known));
    // One that was named for this region and is not here is to be made, or was just deleted.
    if let Some(known) = known.filter(|known| known.home != regions.name) {
        return Ok(Some(Elsewhere::At(known.home, known.incarnation)));
    }
    // Of those that have not joined, the directory does not know what they have.
    let log = find(regions, name, |peer| {
        seat == Seat::Nowhere || !shared.broker().region_directory().is_known(peer)
    });
    if let Some(log) = log.await? {
        return Ok(Some(Elsewhere::Log(Box::new(log))));
    }
    let Seat::There(home) = seat else {
        return Ok(None);
    };
    let ask = match &making {
        None => LinkDirectory::Look {
            channel: name.clone(),
        },
        Some(asked) => {
            let incarnation = {
                let mut broker = shared.broker();
                let fits = broker.check_making(name);
                fits.map_err(|error| answer::refused(&error))?;
                broker.draw_incarnation()
            };
            LinkDirectory::Name {
                channel: ChannelNamed {
                    channel: name.clone(),
                    incarnation,
                    residency: asked.residency.clone(),
                    ack_regions: asked.ack_regions,
                },
            }
        }
    };
    let told = ask_directory(regions, &home, ask).await?;
    let Some(place) = told.place else {
        return Ok(None);
    };
    let place = lives(&shared.broker(), regions, place);
    if place.home != regions.name {
        return Ok(Some(Elsewhere::At(place.home, place.incarnation)));
    }
    if making.is_some() {
        known_here(shared, &home, &place).await?;
        let mut broker = shared.broker();
        broker.grant(place.channel, place.incarnation);
    }
    Ok(None)
}

/// The place of a channel that is not here, by what is known of its home, which may have been moved
/// since it was made.
fn lives(broker: &Broker, regions: &Regions, place: ChannelPlace) -> ChannelPlace {
    let home = broker.known_homes().home(place.incarnation, &place.home);
    match home.region == regions.name {
        true => place,
        false => ChannelPlace {
            home: home.region,
            ..place
        },
    }
}

/// Whether what is here under a name is the copy of a channel that is over, so that another one may be
/// made: the directory has none of the name any more, and its home, where it can be asked, no such
/// channel.
async fn is_over(
    shared: &Shared,
    regions: &Regions,
    name: &ChannelName,
    (home, id): (&RegionName, Incarnation),
) -> bool {
    if !shared.broker().is_over(name) {
        return false;
    }
    let found = find(regions, name, |peer| peer == home).await;
    !matches!(found, Ok(Some(log)) if log.incarnation == id)
}

/// Waits until the name that was given is in this region's copy of the directory: from then on links
/// know who may hold the channel.
async fn known_here(
    shared: &Shared,
    home: &RegionName,
    named: &ChannelPlace,
) -> Result<(), WireError> {
    let deadline = tokio::time::Instant::from_std(clock::instant()) + ASKED;
    loop {
        let waiter = TaskWake::new();
        {
            let mut broker = shared.broker();
            if place(&broker, &named.channel).as_ref() == Some(named) {
                return Ok(());
            }
            match broker.identity_of(&Travelling::Regions.name()) {
                Some(log) => broker.wake_on_append(log, waiter.clone()),
                None => return Err(unreachable(home)),
            }
        }
        tokio::select! {
            () = waiter.0.notified() => {}
            () = tokio::time::sleep_until(deadline) => return Err(unreachable(home)),
        }
    }
}

/// Asks the home of the directory, which is another region.
pub(super) async fn ask_directory(
    regions: &Regions,
    home: &RegionName,
    ask: LinkDirectory,
) -> Result<DirectoryTold, WireError> {
    let link = regions.peer(home).and_then(|peer| peer.link());
    let link = link.ok_or_else(|| unreachable(home))?;
    match link.ask(RegionRequest::LinkDirectory(ask), ASKED).await {
        Ok(RegionResponse::LinkDirectory(told)) => Ok(told),
        Err(RequestError::Server(error)) => {
            let joins = error.known() == Some(ErrorCode::UnknownRegion)
                && error.detail("region") == Some(regions.name.as_str());
            if joins {
                // It has to be joined first.
                regions.rejoin.notify_one();
                return Err(unreachable(home));
            }
            Err(*error)
        }
        Ok(_) | Err(_) => Err(unreachable(home)),
    }
}

/// Asks the home of the directory, wherever it is. Where there is none and there are no peers, it
/// begins here.
///
/// # Errors
/// What to answer: it can't be reached, or refuses.
pub(super) async fn directory(
    shared: &Arc<Shared>,
    regions: &Regions,
    ask: LinkDirectory,
) -> Result<DirectoryTold, WireError> {
    begin_if_alone(shared, regions).await?;
    let home = regions.directory_home(&shared.broker());
    match home {
        Some(home) if home != regions.name => ask_directory(regions, &home, ask).await,
        _ => serve(shared, regions, &regions.name, ask).await,
    }
}

/// Gives the name of a channel back that is to be deleted here.
///
/// # Errors
/// What to answer: it can't be deleted, or the directory's home can't be reached.
pub(super) async fn give_back(
    shared: &Arc<Shared>,
    regions: &Regions,
    delete: &ChannelDelete,
) -> Result<(), WireError> {
    let (id, home) = {
        let broker = shared.broker();
        let id = broker.check_deleting(&delete.name, delete.incarnation);
        let id = id.map_err(|error| answer::refused(&error))?;
        let place = place(&broker, &delete.name.channel());
        if delete.name.region().is_some() && place.is_none_or(|place| place.incarnation != id) {
            // The name of a channel with a log for each region is that of the first log.
            return Ok(());
        }
        match broker.directory_seat() {
            Seat::There(home) => (id, home),
            Seat::Here | Seat::Nowhere => return Ok(()),
        }
    };
    let channel = delete.name.channel();
    regions.deleting().insert(id, clock::instant());
    let ask = LinkDirectory::Unname {
        channel,
        incarnation: id,
    };
    let told = ask_directory(regions, &home, ask).await;
    if told.is_err() {
        regions.deleting().remove(&id);
    }
    told.map(drop)
}

impl Regions {
    /// Whether a channel is being deleted, so that its name is not asked for again.
    pub fn is_deleting(&self, id: Incarnation) -> bool {
        let mut deleting = self.deleting();
        deleting.retain(|_, since: &mut Instant| since.elapsed() < DELETED);
        deleting.contains_key(&id)
    }
}

/// Whether making a channel waits for other regions.
pub(in crate::server) fn asks_others(shared: &Shared, create: &ChannelCreate) -> bool {
    let Some(regions) = &shared.regions else {
        return false;
    };
    let broker = shared.broker();
    create
        .home
        .as_ref()
        .is_some_and(|home| *home != regions.name)
        || create.residency.is_some()
        || broker.is_over(&create.name)
        || (broker.residence(&create.name) == Residence::Unknown
            && (!regions.is_alone() || broker.directory_seat() != Seat::Nowhere))
}

/// Makes a channel where it is asked for, once nobody has another of its name.
///
/// - `by`: the region that asks, where another one does.
pub(in crate::server) async fn create(
    shared: &Arc<Shared>,
    caller: &Caller,
    create: ChannelCreate,
    by: Option<&RegionName>,
) -> Response {
    match created(shared, caller, create, by).await {
        Ok(response) => response,
        Err(error) => Response::Error(error),
    }
}

async fn created(
    shared: &Arc<Shared>,
    caller: &Caller,
    mut create: ChannelCreate,
    by: Option<&RegionName>,
) -> Result<Response, WireError> {
    let regions = shared.regions.clone();
    let regions = regions.ok_or_else(|| answer::refused(&BrokerError::NotARegion))?;
    let home = create.home.take().filter(|home| *home != regions.name);
    if let Some(home) = home {
        return create_at(&regions, &home, create).await;
    }
    let asked = Asked {
        residency: create.residency.clone(),
        ..Asked::default()
    };
    if asked.residency.is_some() {
        begin_if_alone(shared, &regions).await?;
        let broker = shared.broker();
        if broker.directory_seat() == Seat::Nowhere {
            let home = regions.directory_home(&broker);
            return Err(unreachable(home.as_ref().unwrap_or(&regions.name)));
        }
    }
    let is_each = create.config.regions == Some(Spread::Each);
    let residence = shared.broker().residence(&create.name);
    let elsewhere = match residence {
        Residence::Unknown => whereabouts(shared, &regions, &create.name, Some(asked)).await?,
        Residence::Copy(id, home) if is_over(shared, &regions, &create.name, (&home, id)).await => {
            whereabouts(shared, &regions, &create.name, Some(asked)).await?
        }
        Residence::Copy(id, home) => Some(Elsewhere::At(home, id)),
        Residence::Home(_) => None,
    };
    let elsewhere = match elsewhere {
        // Others have logs of it: this region's own is begun.
        Some(Elsewhere::Log(log)) if is_each && log.name != create.name => None,
        Some(Elsewhere::At(home, id)) if is_each => {
            match find(&regions, &create.name, |peer| *peer == home).await? {
                Some(log) if log.name != create.name => None,
                _ => Some(Elsewhere::At(home, id)),
            }
        }
        elsewhere => elsewhere,
    };
    if let Some(elsewhere) = elsewhere {
        let (home, id) = match elsewhere {
            Elsewhere::Log(log) => (log.home, log.incarnation),
            Elsewhere::At(home, id) => (home, id),
        };
        if create.if_not_exists && by.is_none() {
            return create_at(&regions, &home, create).await;
        }
        let name = create.name.as_str();
        let text = format!("channel `{name}` exists already, in region `{home}`");
        return Err(WireError::new(ErrorCode::ChannelExists, text)
            .with("channel", name)
            .with("incarnation", id.to_string())
            .with("home", home.as_str()));
    }
    let (making, asking) = (shared.clone(), caller.clone());
    let request = Request::ChannelCreate(create);
    let made = shared.on_disk(move || dispatch::read(&making, &asking, &request));
    let (response, wait) = match made.await {
        Ok(answered) => answered,
        Err(refusal) => (
            Response::Error(answer::refused(&refusal.error)),
            refusal.wait,
        ),
    };
    if let Some(wait) = wait {
        settled(shared, wait).await?;
    }
    Ok(response)
}

/// Has a channel made in another region.
async fn create_at(
    regions: &Regions,
    home: &RegionName,
    create: ChannelCreate,
) -> Result<Response, WireError> {
    let Some(peer) = regions.peer(home) else {
        let text = format!("there is no region `{home}` among the peers of this one");
        return Err(WireError::new(ErrorCode::UnknownRegion, text).with("region", home.as_str()));
    };
    let link = peer.link().ok_or_else(|| unreachable(home))?;
    let by = regions.name.clone();
    let request = RegionRequest::LinkCreate(LinkCreate { by, create });
    match link.ask(request, ASKED).await {
        Ok(RegionResponse::LinkCreate(created)) => Ok(Response::ChannelCreate(created)),
        Err(RequestError::Server(error)) => Err(*error),
        // Nobody knows whether it was made; asking again finds out.
        Ok(_) | Err(_) => Err(unreachable(home)),
    }
}
