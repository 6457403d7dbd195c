//! Internal topics that travel: which of a peer's are followed, and what they are called here. They are
//! copies like any other to links, with the same cursor; what they say is folded as it is appended
//! (`broker/travelled.rs`).

use super::Regions;
use crate::broker::{Broker, Residence, Travelling};
use crate::protocol::region::LinkLog;
use crate::region::RegionNumber;
use crate::region::interest::{Since, Wish};
use crate::server::answer;
use crate::types::{ChannelName, RegionName};

/// The topics that are asked of every peer.
pub(super) fn topics() -> Vec<ChannelName> {
    Travelling::ALL.map(Travelling::name).into()
}

/// Gives a log of a peer the name that it has here.
pub(super) fn named_here(mut log: LinkLog, peer: &RegionName) -> LinkLog {
    if let Some(topic) = Travelling::of(&log.name) {
        log.name = topic.name_from(peer);
    }
    log
}

/// What a peer calls a log that has this name here.
pub(super) fn named_there(name: &ChannelName) -> ChannelName {
    Travelling::of(name).map_or_else(|| name.clone(), Travelling::name)
}

/// What is wanted of a topic that travels: all of it.
pub(super) fn wish(name: &ChannelName) -> Option<Wish> {
    Travelling::of(name).map(|_| Wish {
        types: None,
        from: Since::Start,
        retention_days: None,
    })
}

/// Whether a peer's log is none that is to be followed: a directory of its own, beside the one that
/// this region goes by.
pub(super) fn is_other_directory(broker: &Broker, regions: &Regions, log: &LinkLog) -> bool {
    Travelling::of(&log.name) == Some(Travelling::Regions)
        && regions.directory_home(broker).as_ref() != Some(&log.home)
}

/// Whether a peer's log is a copy of the directory: one is completed from it, and none begun, as its
/// home has to be reached for names.
pub(super) fn is_spare_directory(broker: &Broker, peer: &RegionName, log: &LinkLog) -> bool {
    Travelling::of(&log.name) == Some(Travelling::Regions)
        && log.home != *peer
        && broker.residence(&log.name) == Residence::Unknown
}

/// The topics of this region among those that a peer asks for by their names, and its copy of the
/// directory, from which others complete theirs where its home is gone.
///
/// - `puller`: who asks.
pub(super) fn offered(
    broker: &Broker,
    regions: &Regions,
    puller: Option<&RegionName>,
    asked: &[ChannelName],
) -> Vec<LinkLog> {
    let logs = asked.iter().filter_map(|name| {
        let topic = Travelling::of(name).filter(|topic| topic.name() == *name)?;
        if puller.is_some_and(|puller| !broker.may_hold(name, puller)) {
            return None;
        }
        let (id, home) = match broker.residence(&topic.name()) {
            Residence::Home(id) => (id, regions.name.clone()),
            Residence::Copy(id, home) if topic == Travelling::Regions => {
                (id, Some(home).filter(|_| regions.is_settled(broker, id))?)
            }
            Residence::Copy(..) | Residence::Unknown => return None,
        };
        let log = broker.storage().log(id)?;
        let info = broker.channel_info(name).ok()?;
        Some(LinkLog {
            name: name.clone(),
            incarnation: id,
            home,
            epoch: log.last_epoch(),
            log_start: log.log_start(),
            flushed: log.flushed(),
            whole: true,
            config: answer::channel_info(info.value).config,
        })
    });
    logs.collect()
}

/// Changes whenever a topic comes, or lives somewhere else.
pub(super) fn version_of(offered: &[LinkLog]) -> u64 {
    let homes = offered.iter().map(|log| RegionNumber::of(&log.home));
    homes.map(|home| (1 << 16) + u64::from(home.0)).sum()
}
