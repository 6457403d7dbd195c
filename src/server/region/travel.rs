//! Internal topics that travel: which of a peer's are followed, and what they are called here. They are
//! copies like any other to links, with the same cursor; what they say is folded as it is appended
//! (`broker/travelled.rs`).

use super::Regions;
use crate::broker::{Broker, Residence, Travelling};
use crate::protocol::region::LinkLog;
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

/// The topics of this region among those that a peer asks for by their names.
pub(super) fn offered(broker: &Broker, regions: &Regions, asked: &[ChannelName]) -> Vec<LinkLog> {
    let logs = asked.iter().filter_map(|name| {
        let topic = Travelling::of(name).filter(|topic| topic.name() == *name)?;
        let Residence::Home(id) = broker.residence(&topic.name()) else {
            return None;
        };
        let log = broker.storage().log(id)?;
        let info = broker.channel_info(name).ok()?;
        Some(LinkLog {
            name: name.clone(),
            incarnation: id,
            home: regions.name.clone(),
            epoch: log.last_epoch(),
            log_start: log.log_start(),
            flushed: log.flushed(),
            whole: true,
            config: answer::channel_info(info.value).config,
        })
    });
    logs.collect()
}
