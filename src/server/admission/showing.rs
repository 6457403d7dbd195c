//! What of an answer the caller may see, and under which names.

use super::{ANY_SIGHT, Door};
use crate::broker::Broker;
use crate::protocol::asp::EvidencePlace;
use crate::protocol::control::ChannelInfo;
use crate::protocol::{RegionResponse, Response};
use crate::server::access::Caller;
use crate::server::asp::places;
use crate::server::shared::Shared;
use crate::types::{ChannelName, ConsumerName};

/// Which channels the caller sees in a list, under the broker's names.
pub(in crate::server) fn seen_channels<'a>(
    broker: &'a Broker,
    caller: &'a Caller,
) -> impl Fn(&ChannelName) -> bool + 'a {
    let door = Door::new(broker, caller);
    move |name| door.judge(name, ANY_SIGHT).is_ok()
}

/// Which consumers the caller sees in a list, under the broker's names.
pub(in crate::server) fn seen_consumers<'a>(
    broker: &'a Broker,
    caller: &'a Caller,
) -> impl Fn(&ChannelName, &ConsumerName) -> bool + 'a {
    let door = Door::new(broker, caller);
    move |channel, consumer| door.sees(channel, consumer)
}

/// Rows of a long list that are judged while the broker's lock is held.
const PIECE: usize = 1000;

/// Leaves out of an answer what the caller may not see, and gives channels the names that the
/// caller's organisation has for them.
pub(in crate::server) fn show(shared: &Shared, caller: &Caller, response: &mut Response) {
    match response {
        Response::ConsumerLag(consumers) | Response::ConsumerList(consumers) => {
            let mut rest = std::mem::take(&mut consumers.consumers).into_iter();
            // Nobody waits for the broker's lock while all of a long list is looked at.
            while !rest.as_slice().is_empty() {
                let broker = shared.broker();
                let door = Door::new(&broker, caller);
                let piece = rest.by_ref().take(PIECE);
                let seen = piece.filter(|row| door.sees(&row.channel, &row.consumer));
                consumers.consumers.extend(seen);
            }
            for row in &mut consumers.consumers {
                rename_consumer(caller, &mut row.channel, &mut row.consumer);
            }
        }
        Response::ChannelList(page) => {
            let broker = shared.broker();
            let door = Door::new(&broker, caller);
            let is_seen = |row: &ChannelInfo| door.judge(&row.name, ANY_SIGHT).is_ok();
            page.channels.retain(is_seen);
            for row in &mut page.channels {
                rename(caller, &mut row.name);
            }
        }
        Response::ConsumerPosition(row) | Response::ConsumerReset(row) => {
            rename_consumer(caller, &mut row.channel, &mut row.consumer);
        }
        Response::ConsumerDelete(row) => {
            rename_consumer(caller, &mut row.channel, &mut row.consumer);
        }
        Response::ChannelInfo(row)
        | Response::ChannelUpdate(row)
        | Response::ChannelRotateKey(row) => rename(caller, &mut row.name),
        Response::ChannelCreate(made) => rename(caller, &mut made.channel.name),
        Response::ChannelDelete(deleted) => rename(caller, &mut deleted.name),
        Response::Asp(answer) => {
            for place in places::told(answer) {
                if let EvidencePlace::Channel(place) = place {
                    rename(caller, &mut place.channel);
                }
            }
        }
        Response::Region(answer) => {
            // What operators ask of regions has the broker's names, as the links have.
            if let RegionResponse::RegionLogs(logs) = &mut **answer {
                rename(caller, &mut logs.channel);
                for log in &mut logs.logs {
                    rename(caller, &mut log.name);
                }
            }
        }
        Response::LinkFetch(_) | Response::LinkForward(_) => {}
        // These name no channels.
        Response::Hello(_)
        | Response::Pong
        | Response::Publish(_)
        | Response::PublishAt(..)
        | Response::PublishAtomic(_)
        | Response::PublishAtomicAt(..)
        | Response::Fetch(_)
        | Response::FetchBeyond(_)
        | Response::Commit(_)
        | Response::ChannelResolve(_)
        | Response::BrokerInfo(_)
        | Response::BrokerScrub(_)
        | Response::Access(_)
        | Response::Error(_) => {}
    }
}

/// The names that the caller's organisation has for a channel and a consumer of it.
fn rename_consumer(caller: &Caller, channel: &mut ChannelName, consumer: &mut ConsumerName) {
    if !caller.owns(channel.org()) {
        *consumer = consumer.local();
    }
    rename(caller, channel);
}

/// The name that the caller's organisation has for a channel.
fn rename(caller: &Caller, name: &mut ChannelName) {
    if let Some(org) = &caller.org {
        *name = name.seen_by(org);
    }
}
