//! The list of logs that may be pulled from here.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, sleep_until};

use super::{MAX_WAIT, changed};
use crate::broker::{Broker, CopyOf, Wake};
use crate::protocol::WireError;
use crate::protocol::region::{LinkLog, LinkLogs, LinkLogsPage, MAX_LOGS};
use crate::region::PatternTree;
use crate::server::connection::shutting_down;
use crate::server::region::{Regions, travel};
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::types::{ChannelName, Incarnation, RegionName};

/// What a cursor begins with, and no name of a channel does, where channels are over: which of the
/// topics that are asked for is the next follows.
const TOPICS_FROM: &str = "#";

/// Channels, or topics, that are looked at while the broker's lock is held: it is let go between such
/// pieces, so nobody waits for more than one of them, however many channels there are.
const PIECE: usize = 1000;

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
    let mut patterns = PatternTree::default();
    asked
        .patterns
        .iter()
        .for_each(|one| patterns.insert(one, ()));
    let listing = Listing {
        shared,
        regions,
        puller,
        asked: &asked,
        patterns,
    };
    loop {
        let waiter = TaskWake::new();
        let as_wake: Arc<dyn Wake> = waiter.clone();
        // What comes from here on wakes: of what a page says, nothing can come unheard.
        (shared.broker()).wake_on_append(shared.directory_id, as_wake.clone());
        let version = listing.version().await;
        let is_new = asked.after != Some(version) || asked.cursor.is_some();
        let is_over = Instant::from_std(clock::instant()) >= deadline;
        if is_new || is_over {
            shared.broker().forget_waiter(shared.directory_id, &as_wake);
            return Ok(match is_new {
                true => listing.page(version).await,
                // Who knows it all is not told it again.
                false => LinkLogsPage {
                    version,
                    logs: Vec::new(),
                    next: None,
                },
            });
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

/// How far a piece has come.
enum Looked {
    /// The page is full, and there is more.
    Full,
    /// Behind this name the next piece goes on.
    To(ChannelName),
    /// There are no more.
    All,
}

/// What is asked for. A page is made of pieces, by name: of what is there throughout, it leaves out
/// nothing and tells nothing twice. What comes or goes meanwhile changes the version behind that of
/// the page, so who asked is told of it next.
struct Listing<'a> {
    shared: &'a Shared,
    regions: &'a Regions,
    puller: Option<&'a RegionName>,
    asked: &'a LinkLogs,
    /// The channels, so that none of them is held against each pattern.
    patterns: PatternTree<()>,
}

impl Listing<'_> {
    async fn version(&self) -> u64 {
        if !self.asked.patterns.is_empty() {
            let broker = self.shared.broker();
            let log = broker.storage().log(self.shared.directory_id);
            // All of them only grow, so their sum changes whenever one does.
            let homes = self.regions.homes_version();
            return log.map_or(0, |log| log.flushed().0) + broker.consents() + homes;
        }
        // Whoever asks for topics alone waits for another topic, not for any channel.
        let mut version = 0;
        for piece in self.asked.topics.chunks(PIECE) {
            {
                let broker = self.shared.broker();
                let offered = piece.iter().filter_map(|name| self.topic(&broker, name));
                version += travel::version_of(offered);
            }
            yield_now().await;
        }
        version
    }

    async fn page(&self, version: u64) -> LinkLogsPage {
        let mut page = LinkLogsPage {
            version,
            logs: Vec::new(),
            next: None,
        };
        let cursor = self.asked.cursor.as_deref().unwrap_or("");
        let topics_from = cursor.strip_prefix(TOPICS_FROM);
        let mut after = cursor.to_owned();
        let mut has_channels = !self.asked.patterns.is_empty() && topics_from.is_none();
        while has_channels {
            match self.channels(&after, &mut page.logs) {
                Looked::Full => {
                    page.next = page.logs.last().map(|last| last.name.to_string());
                    return page;
                }
                Looked::To(name) => after = name.to_string(),
                Looked::All => has_channels = false,
            }
            yield_now().await;
        }
        let from = topics_from.and_then(|at| at.parse().ok()).unwrap_or(0);
        let topics: Vec<_> = self.asked.topics.iter().enumerate().skip(from).collect();
        for piece in topics.chunks(PIECE) {
            if let Some(next) = self.topics(piece, &mut page.logs) {
                page.next = Some(format!("{TOPICS_FROM}{next}"));
                return page;
            }
            yield_now().await;
        }
        page
    }

    /// Takes what is asked for of a piece of the channels behind a name.
    fn channels(&self, after: &str, logs: &mut Vec<LinkLog>) -> Looked {
        let broker = self.shared.broker();
        let mut looked = 0;
        let mut last = None;
        for (name, offer) in broker.offered_among(after).take(PIECE) {
            (looked, last) = (looked + 1, Some(name));
            let Some(log) = offer.and_then(|(id, copy)| self.channel(&broker, id, name, copy))
            else {
                continue;
            };
            if logs.len() == MAX_LOGS {
                return Looked::Full;
            }
            logs.push(log);
        }
        match last {
            Some(last) if looked == PIECE => Looked::To(last.clone()),
            _ => Looked::All,
        }
    }

    fn channel(
        &self,
        broker: &Broker,
        id: Incarnation,
        name: &ChannelName,
        copy: Option<CopyOf>,
    ) -> Option<LinkLog> {
        let may_hold = |puller: &RegionName| broker.may_hold(name, puller);
        // What is another's in it is to be taken out first.
        if self.patterns.matching(name).is_empty()
            || !self.puller.is_none_or(may_hold)
            || !self.regions.is_settled(broker, id)
        {
            return None;
        }
        let log = broker.storage().log(id)?;
        let info = broker.channel_info(name).ok()?;
        Some(LinkLog {
            name: name.clone(),
            incarnation: id,
            home: copy.map_or_else(|| self.regions.name.clone(), |copy| copy.home),
            epoch: log.last_epoch(),
            log_start: log.log_start(),
            flushed: log.flushed(),
            whole: true,
            config: answer::channel_info(info.value).config,
        })
    }

    /// Takes what is here of a piece of the topics; which of all topics is the next, where the page is
    /// full.
    fn topics(&self, piece: &[(usize, &ChannelName)], logs: &mut Vec<LinkLog>) -> Option<usize> {
        let broker = self.shared.broker();
        for (at, name) in piece {
            let Some(log) = self.topic(&broker, name) else {
                continue;
            };
            if logs.len() == MAX_LOGS {
                return Some(*at);
            }
            logs.push(log);
        }
        None
    }

    fn topic(&self, broker: &Broker, name: &ChannelName) -> Option<LinkLog> {
        travel::offered(broker, self.regions, self.puller, name)
    }
}
