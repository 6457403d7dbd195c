//! The list of logs that may be pulled from here.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::{MAX_WAIT, changed};
use crate::broker::Wake;
use crate::protocol::WireError;
use crate::protocol::region::{LinkLog, LinkLogs, LinkLogsPage, MAX_LOGS};
use crate::server::connection::shutting_down;
use crate::server::region::{Regions, travel};
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::types::{ChannelName, RegionName};

/// What a cursor begins with, and no name of a channel does, where channels are over: which of the
/// topics that are asked for is the next follows.
const TOPICS_FROM: &str = "#";

/// The logs that may be pulled from here and match, once there is something to tell.
pub(super) async fn list(
    shared: &Shared,
    regions: &Regions,
    puller: Option<&RegionName>,
    asked: LinkLogs,
) -> Result<LinkLogsPage, WireError> {
    let wait = Duration::from_millis(u64::from(asked.wait_ms)).min(MAX_WAIT);
    let deadline = Instant::from_std(clock::instant()) + wait;
    let mut homes = regions.homes_changes();
    let mut consents = regions.consents.subscribe();
    loop {
        let waiter = TaskWake::new();
        let as_wake: Arc<dyn Wake> = waiter.clone();
        let page = {
            let mut broker = shared.broker();
            broker.wake_on_append(shared.directory_id, as_wake.clone());
            page(&broker, shared, regions, puller, &asked)
        };
        let mut page = page;
        let is_new = asked.after != Some(page.version) || asked.cursor.is_some();
        let is_over = Instant::from_std(clock::instant()) >= deadline;
        if is_new || is_over {
            shared.broker().forget_waiter(shared.directory_id, &as_wake);
            // Who knows it all is not told it again.
            if !is_new {
                page.logs.clear();
                page.next = None;
            }
            return Ok(page);
        }
        tokio::select! {
            () = waiter.0.notified() => {}
            _ = homes.changed() => {}
            () = changed(Some(&mut consents)) => {}
            () = sleep_until(deadline) => {}
            () = shared.stop.cancelled() => return Err(shutting_down()),
        }
        shared.broker().forget_waiter(shared.directory_id, &as_wake);
    }
}

fn page(
    broker: &crate::broker::Broker,
    shared: &Shared,
    regions: &Regions,
    puller: Option<&RegionName>,
    asked: &LinkLogs,
) -> LinkLogsPage {
    let version = broker.storage().log(shared.directory_id);
    // All of them only grow, so their sum changes whenever one does.
    let version =
        version.map_or(0, |log| log.flushed().0) + broker.consents() + regions.homes_version();
    let offered = |name: &ChannelName| travel::offered(broker, regions, puller, name);
    let version = match asked.patterns.is_empty() {
        // Whoever asks for topics alone waits for another topic, not for any channel.
        true => travel::version_of(asked.topics.iter().filter_map(offered)),
        false => version,
    };
    let mut logs = Vec::new();
    let mut next = None;
    let cursor = asked.cursor.as_deref().unwrap_or("");
    let topics_from = cursor.strip_prefix(TOPICS_FROM);
    let has_channels = !asked.patterns.is_empty() && topics_from.is_none();
    let channels = has_channels.then(|| broker.offered(cursor));
    for (id, name, copy) in channels.into_iter().flatten() {
        let is_asked = asked.patterns.iter().any(|pattern| pattern.matches(name));
        if !is_asked || puller.is_some_and(|puller| !broker.may_hold(name, puller)) {
            continue;
        }
        // What is another's in it is to be taken out first.
        if !regions.is_settled(broker, id) {
            continue;
        }
        if logs.len() == MAX_LOGS {
            next = logs.last().map(|last: &LinkLog| last.name.to_string());
            break;
        }
        let (Some(log), Ok(info)) = (broker.storage().log(id), broker.channel_info(name)) else {
            continue;
        };
        logs.push(LinkLog {
            name: name.clone(),
            incarnation: id,
            home: copy.map_or_else(|| regions.name.clone(), |copy| copy.home),
            epoch: log.last_epoch(),
            log_start: log.log_start(),
            flushed: log.flushed(),
            whole: true,
            config: answer::channel_info(info.value).config,
        });
    }
    if next.is_none() {
        let from = topics_from.and_then(|at| at.parse().ok()).unwrap_or(0);
        for (at, name) in asked.topics.iter().enumerate().skip(from) {
            let Some(log) = offered(name) else { continue };
            if logs.len() == MAX_LOGS {
                next = Some(format!("{TOPICS_FROM}{at}"));
                break;
            }
            logs.push(log);
        }
    }
    LinkLogsPage {
        version,
        logs,
        next,
    }
}
