//! The logs of a channel as they grow: in order of arrival, and logs that are begun meanwhile.

use std::collections::BTreeSet;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{MergedError, MergedItem, MergedRecord};
use crate::client::{Client, Consumer, Item};
use crate::protocol::logs::RegionLogs;
use crate::region::Vector;
use crate::region::interest::Since;
use crate::types::{ChannelName, Offset, RegionName};

/// How long the broker is asked to wait for a log that comes or goes, in milliseconds.
const WAIT_MS: u32 = 20_000;
/// How soon a broker that does not answer is asked again.
const AGAIN: Duration = Duration::from_secs(1);

/// Reads several logs, each in its order.
#[derive(Debug)]
pub(super) struct Live {
    readers: Vec<(RegionName, Consumer)>,
    position: Vector,
    /// The reader that is looked at first, so that a busy log holds up no other.
    turn: usize,
    begun: mpsc::Receiver<RegionName>,
    watch: JoinHandle<()>,
}

impl Live {
    /// Reads on with these readers, and finds the logs that are begun later.
    ///
    /// - `version`: of what the broker has told of the channel's logs.
    pub(super) fn new(
        client: Client,
        channel: ChannelName,
        version: u64,
        readers: Vec<(RegionName, Consumer)>,
        position: Vector,
    ) -> Self {
        let known = readers.iter().map(|(region, _)| region.clone()).collect();
        let (sender, begun) = mpsc::channel(16);
        Self {
            readers,
            position,
            turn: 0,
            begun,
            watch: tokio::spawn(watch(client, channel, version, known, sender)),
        }
    }

    pub(super) fn position(&self) -> &Vector {
        &self.position
    }

    /// The next that has arrived of any log.
    ///
    /// - `reader`: a reader of a region's log from its start.
    pub(super) fn poll_item(
        &mut self,
        context: &mut Context<'_>,
        reader: impl Fn(&RegionName) -> Consumer,
    ) -> Poll<Result<MergedItem, MergedError>> {
        while let Poll::Ready(Some(region)) = self.begun.poll_recv(context) {
            let consumer = reader(&region);
            self.readers.push((region, consumer));
        }
        let count = self.readers.len();
        for at in (0..count).map(|step| (self.turn + step) % count) {
            let (region, consumer) = &mut self.readers[at];
            let Poll::Ready(Some(item)) = consumer.poll_item(context) else {
                // A reader that follows has no end.
                continue;
            };
            self.turn = (at + 1) % count;
            let region = region.clone();
            let item = match item {
                Ok(item) => item,
                Err(source) => {
                    let source = Box::new(source);
                    return Poll::Ready(Err(MergedError::Log { region, source }));
                }
            };
            let end = match &item {
                Item::Record(record) => Offset(record.offset.0 + 1),
                Item::Lost(lost) => lost.end,
            };
            self.position.advance(&region, end).map_err(|step| {
                crate::region::MergeError::Backward {
                    region: step.region,
                    found: step.to,
                    next: step.here,
                }
            })?;
            return Poll::Ready(Ok(match item {
                Item::Record(record) => MergedItem::Record(MergedRecord { region, record }),
                Item::Lost(lost) => MergedItem::Lost { region, lost },
            }));
        }
        Poll::Pending
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        self.watch.abort();
    }
}

/// Tells of logs that come.
async fn watch(
    client: Client,
    channel: ChannelName,
    mut version: u64,
    mut known: BTreeSet<RegionName>,
    begun: mpsc::Sender<RegionName>,
) {
    loop {
        let asked = RegionLogs {
            channel: channel.clone(),
            read: true,
            from: Since::Start,
            after: Some(version),
            wait_ms: WAIT_MS,
        };
        // Who reads is told what is wrong by the readers.
        let Ok(told) = client.channel_logs(asked).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        version = told.version;
        for log in told.logs {
            let is_new = log.held && known.insert(log.region.clone());
            if is_new && begun.send(log.region).await.is_err() {
                return;
            }
        }
    }
}
