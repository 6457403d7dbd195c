//! Channels with a log for each region: this region's own, begun by the first who writes, and which
//! logs there are for who reads them all.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::Regions;
use super::requests::unreachable;
use super::seek::{ASKED, COPIED, until_copied};
use crate::broker::config::ChannelConfig;
use crate::broker::directory::Channel;
use crate::broker::{Broker, BrokerError, Wake};
use crate::protocol::logs::{ChannelLogs, LogRow, RegionLogs};
use crate::protocol::region::{LinkLog, LinkLogs};
use crate::protocol::{AtomicPart, Kind, RegionRequest, RegionResponse, Request, WireError};
use crate::region::ChannelPattern;
use crate::region::directory::Spread;
use crate::region::interest::{InterestEvent, ReadBegun, Since, Wish};
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::connection::shutting_down;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::types::{ChannelName, Incarnation, OrgName, RegionName};

/// Longest that a request for the logs of a channel waits.
const MAX_WAIT: Duration = Duration::from_secs(60);

/// Gives a write to a channel that has a log for each region the name of this region's.
pub(in crate::server) fn name_logs(shared: &Shared, request: &mut Request) {
    if shared.regions.is_none() {
        return;
    }
    let name_one = |name: &mut ChannelName| {
        if let Some(own) = shared.broker().own_log(name) {
            *name = own;
        }
    };
    match request {
        Request::Publish(publish) => name_one(&mut publish.target.channel),
        Request::PublishAtomic(atomic) => {
            for part in &mut atomic.parts {
                if let AtomicPart::Publish(publish) = part {
                    name_one(&mut publish.target.channel);
                }
            }
        }
        // Who asks how to write to it is told of what they would write to, once it is there.
        Request::ChannelInfo(named) if shared.broker().identity_to_write(&named.name).is_some() => {
            name_one(&mut named.name);
        }
        Request::ChannelUpdate(update) => name_one(&mut update.name),
        Request::ChannelRotateKey(named) => name_one(&mut named.name),
        Request::ChannelDelete(delete) => name_one(&mut delete.name),
        _ => {}
    }
}

/// Begins this region's log of a channel of which another region has one.
///
/// # Errors
/// What to answer the first writer.
pub(super) fn begin(shared: &Shared, caller: &Caller, log: &LinkLog) -> Result<(), WireError> {
    // Both are the same names in JSON.
    let config = serde_json::to_value(&log.config).and_then(serde_json::from_value);
    let config: ChannelConfig = config.map_err(|error| {
        let text = format!("the configuration of `{}`: {error}", log.name);
        WireError::new(crate::protocol::ErrorCode::Internal, text)
    })?;
    let channel = log.name.channel();
    let begun = {
        let mut broker = shared.broker();
        let act = Draft::of_making(Kind::Publish, &[&channel]).done_by(caller);
        broker.acting(act, |broker| {
            broker.begin_log(&channel, config, clock::now())
        })
    };
    shared.wake_committer();
    begun
        .map(drop)
        .map_err(|refusal| answer::refused(&refusal.error))
}

/// Tells which logs a channel has. Who is going to read them gets copies of them here.
///
/// # Errors
/// What to answer: nobody has the channel, or a region that may have it can't be reached.
pub(super) async fn logs(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: &RegionLogs,
) -> Result<ChannelLogs, WireError> {
    let regions = shared.regions.clone();
    let regions = regions.ok_or_else(|| answer::refused(&BrokerError::NotARegion))?;
    let channel = asked.channel.channel();
    if asked.read {
        regions.note_read(&channel);
    }
    if let Some(after) = asked.after {
        let wait = Duration::from_millis(u64::from(asked.wait_ms)).min(MAX_WAIT);
        until_changed(shared, after, wait).await?;
        return Ok(known(shared, &regions, &channel, Vec::new(), Vec::new()));
    }
    let (found, away) = at_peers(&regions, &channel).await;
    if asked.read && !regions.is_alone() {
        want(shared, caller, &regions, &channel, &found, asked.from)?;
        let deadline = Instant::from_std(clock::instant()) + COPIED;
        for log in &found {
            // What is long in coming is read as far as it is here, or awaited by who reads it.
            let _ = until_copied(shared, log, deadline).await;
        }
    }
    let told = known(shared, &regions, &channel, found, away);
    match (told.logs.is_empty(), told.unreachable.first()) {
        (false, _) => Ok(told),
        (true, Some(region)) => Err(unreachable(region)),
        (true, None) => {
            let name = asked.channel.to_string();
            Err(answer::refused(&BrokerError::NoSuchChannel { name }))
        }
    }
}

/// The logs of a channel that the peers are home of, and the peers that can't be asked.
async fn at_peers(regions: &Regions, channel: &ChannelName) -> (Vec<LinkLog>, Vec<RegionName>) {
    let (mut found, mut away) = (Vec::new(), Vec::new());
    let Ok(pattern) = ChannelPattern::exactly(channel) else {
        return (found, away);
    };
    for peer in regions.peers() {
        let request = LinkLogs::at_once(vec![pattern.clone()], Vec::new());
        let request = RegionRequest::LinkLogs(request);
        let answer = match peer.link() {
            Some(link) => link.ask(request, ASKED).await.ok(),
            None => None,
        };
        let Some(RegionResponse::LinkLogs(page)) = answer else {
            away.push(peer.name.clone());
            continue;
        };
        let is_theirs = |log: &LinkLog| log.name.channel() == *channel && log.home == peer.name;
        found.extend(page.logs.into_iter().filter(is_theirs));
    }
    (found, away)
}

/// Records that all logs of a channel are read. Those that are known are wanted from where the reader
/// begins; of those that are begun later, every record comes after that.
fn want(
    shared: &Shared,
    caller: &Caller,
    regions: &Regions,
    channel: &ChannelName,
    found: &[LinkLog],
    from: Since,
) -> Result<(), WireError> {
    let (org, at) = (caller.row().org, clock::now());
    let read = |channel: &ChannelName, from: Since| ReadBegun {
        org: org.clone(),
        channel: channel.clone(),
        wish: Wish {
            types: None,
            from,
            retention_days: None,
        },
        at,
    };
    let mut wanted = Vec::new();
    if from != Since::Start {
        for log in found.iter().filter(|log| log.name != *channel) {
            regions.note_read(&log.name);
            wanted.push(read(&log.name, from));
        }
    }
    let is_one = found.iter().any(|log| log.name == *channel);
    wanted.push(read(channel, if is_one { from } else { Since::Start }));
    let mut broker = shared.broker();
    wanted.retain(|read| !is_wanted(&broker, &org, read));
    let events: Vec<_> = wanted.into_iter().map(InterestEvent::Read).collect();
    if events.is_empty() {
        return Ok(());
    }
    let recorded = broker.record_interest(&events, at);
    drop(broker);
    recorded.map_err(|refusal| answer::refused(&refusal.error))?;
    shared.wake_committer();
    regions.tell_wanted();
    Ok(())
}

/// Whether a read changes nothing of what is wanted already.
fn is_wanted(broker: &Broker, org: &OrgName, read: &ReadBegun) -> bool {
    let mut automatic = broker.interests().automatic();
    automatic.any(|(of, channel, interest)| {
        let wish = &interest.wish;
        of == org
            && *channel == read.channel
            && interest.until.is_none()
            && read.wish.clone().union(wish) == *wish
    })
}

/// Waits until something of the directory has changed here.
async fn until_changed(shared: &Arc<Shared>, after: u64, wait: Duration) -> Result<(), WireError> {
    let deadline = Instant::from_std(clock::instant()) + wait;
    let waiter = TaskWake::new();
    let as_wake: Arc<dyn Wake> = waiter.clone();
    loop {
        let is_new = {
            let mut broker = shared.broker();
            broker.wake_on_append(shared.directory_id, as_wake.clone());
            version(shared, &broker) != after
        };
        let is_over = is_new || Instant::from_std(clock::instant()) >= deadline;
        if !is_over {
            tokio::select! {
                () = waiter.0.notified() => {}
                () = sleep_until(deadline) => {}
                () = shared.stop.cancelled() => return Err(shutting_down()),
            }
        }
        shared.broker().forget_waiter(shared.directory_id, &as_wake);
        if is_over {
            return Ok(());
        }
    }
}

/// Counts what is recorded of channels and can't be lost.
fn version(shared: &Shared, broker: &Broker) -> u64 {
    let log = broker.storage().log(shared.directory_id);
    log.map_or(0, |log| log.flushed().0)
}

/// What is known of a channel's logs: those that are here, and those that peers have told of.
fn known(
    shared: &Shared,
    regions: &Regions,
    channel: &ChannelName,
    found: Vec<LinkLog>,
    unreachable: Vec<RegionName>,
) -> ChannelLogs {
    let broker = shared.broker();
    let mut logs = here(&broker, &regions.name, channel);
    for log in found {
        if logs.iter().any(|row| row.name == log.name) {
            continue;
        }
        logs.push(LogRow {
            region: region_of(&log.name, &log.home),
            name: log.name,
            incarnation: log.incarnation,
            home: log.home,
            held: false,
            log_start: log.log_start,
            flushed: log.flushed,
            high_watermark: log.flushed,
        });
    }
    logs.sort_by(|a, b| a.region.cmp(&b.region));
    let is_one = logs.iter().any(|row| row.name == *channel);
    ChannelLogs {
        channel: channel.clone(),
        regions: if is_one { Spread::One } else { Spread::Each },
        version: version(shared, &broker),
        logs,
        unreachable,
    }
}

/// The logs of a channel that are here.
fn here(broker: &Broker, own: &RegionName, channel: &ChannelName) -> Vec<LogRow> {
    let each = broker.logs_of(channel);
    let mut rows: Vec<LogRow> = each
        .filter_map(|(id, log)| row(broker, own, id, log))
        .collect();
    let one = broker.identity_of(channel);
    let one = one.and_then(|id| Some((id, broker.channel_of(id)?)));
    rows.extend(one.and_then(|(id, log)| row(broker, own, id, log)));
    rows
}

/// The logs here of all channels that have one for each region.
pub(super) fn all_here(broker: &Broker, own: &RegionName) -> Vec<LogRow> {
    let logs = broker.all_logs();
    logs.filter_map(|(id, log)| row(broker, own, id, log))
        .collect()
}

fn row(broker: &Broker, own: &RegionName, id: Incarnation, channel: &Channel) -> Option<LogRow> {
    let log = broker.storage().log(id)?;
    let home = broker
        .home_of(id)
        .map_or_else(|| own.clone(), |home| home.region);
    Some(LogRow {
        name: channel.name.clone(),
        region: region_of(&channel.name, &home),
        incarnation: id,
        home,
        held: true,
        log_start: log.log_start(),
        flushed: log.flushed(),
        high_watermark: log.high_watermark(),
    })
}

/// The region that a log's name says, else its home.
fn region_of(name: &ChannelName, home: &RegionName) -> RegionName {
    let named = name.region().and_then(|name| RegionName::parse(name).ok());
    named.unwrap_or_else(|| home.clone())
}
