//! Internal topics that travel: which of a peer's are followed, and what they are called here. They are
//! copies like any other to links, with the same cursor; what they say is folded as it is appended
//! (`broker/travelled.rs`). Those of agents travel where somebody has asked for them
//! (`agent_topics.rs`, `broker/asp/copied.rs`).

use super::Regions;
use crate::broker::asp::CopiedTopic;
use crate::broker::{Broker, Residence, Travelling};
use crate::protocol::region::LinkLog;
use crate::region::RegionNumber;
use crate::region::interest::{Since, Wish};
use crate::server::answer;
use crate::types::{ChannelName, RegionName};

/// The topics that a peer is asked for: those that always travel, and those of agents that are wanted.
pub(super) fn topics(broker: &Broker, peer: &RegionName) -> Vec<ChannelName> {
    let always = Travelling::ALL.map(Travelling::name).into_iter();
    always.chain(broker.copied_topics_of(peer)).collect()
}

/// Gives a log of a peer the name that it has here.
pub(super) fn named_here(mut log: LinkLog, peer: &RegionName) -> LinkLog {
    if let Some(topic) = Travelling::of(&log.name) {
        log.name = topic.name_from(peer);
    } else if CopiedTopic::of(&log.name).is_some() {
        log.name = log.name.channel().of_region(peer);
    }
    log
}

/// What a peer calls a log that has this name here.
pub(super) fn named_there(name: &ChannelName) -> ChannelName {
    if CopiedTopic::of(name).is_some() {
        return name.channel();
    }
    Travelling::of(name).map_or_else(|| name.clone(), Travelling::name)
}

/// What is wanted of a topic that travels: all of it.
pub(super) fn wish(broker: &Broker, name: &ChannelName) -> Option<Wish> {
    let is_wanted = match CopiedTopic::of(name) {
        Some(_) => broker.wants_copied(name),
        None => Travelling::of(name).is_some(),
    };
    is_wanted.then_some(Wish {
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

/// A topic of this region that a peer asks for by its name, or its copy of the directory, from which
/// others complete theirs where its home is gone.
///
/// - `puller`: who asks.
pub(super) fn offered(
    broker: &Broker,
    regions: &Regions,
    puller: Option<&RegionName>,
    name: &ChannelName,
) -> Option<LinkLog> {
    let topic = Travelling::of(name).filter(|topic| topic.name() == *name);
    if topic.is_none() && !is_of_agents(name) {
        return None;
    }
    if puller.is_some_and(|puller| !broker.may_hold(name, puller)) {
        return None;
    }
    let (id, home) = match broker.residence(name) {
        Residence::Home(id) => (id, regions.name.clone()),
        Residence::Copy(id, home) if topic == Some(Travelling::Regions) => {
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
}

/// Whether a name is that of a topic of agents in the region that writes it.
pub(super) fn is_of_agents(name: &ChannelName) -> bool {
    CopiedTopic::of(name).is_some() && name.region().is_none()
}

/// Changes whenever a topic comes, or lives somewhere else.
pub(super) fn version_of(offered: impl Iterator<Item = LinkLog>) -> u64 {
    let homes = offered.map(|log| RegionNumber::of(&log.home));
    homes.map(|home| (1 << 16) + u64::from(home.0)).sum()
}
