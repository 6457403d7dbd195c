//! Acknowledgements that wait until enough regions hold what they tell of.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Regions;
use crate::broker::{Broker, BrokerError, Published};
use crate::protocol::{ErrorCode, PublishAsks, Response, WireError};
use crate::server::answer;
use crate::server::connection::shutting_down;
use crate::server::shared::Shared;
use crate::types::{ChannelName, Incarnation, Offset};

/// What an acknowledgement waits for beside its entry.
#[derive(Debug)]
pub(in crate::server) struct HeldWait {
    logs: Vec<Wanted>,
    wait: Duration,
    /// It goes to another region, which asked for somebody.
    pub is_for_region: bool,
}

/// What is to be held of one log.
#[derive(Debug)]
struct Wanted {
    log: Incarnation,
    channel: Option<ChannelName>,
    offsets: Range<Offset>,
    /// This one included.
    regions: u32,
}

/// What the acknowledgement of these batches waits for beside their entry, if for anything.
pub(in crate::server) fn held_wait(
    shared: &Shared,
    broker: &Broker,
    published: &[Published],
    asks: Option<PublishAsks>,
) -> Option<Box<HeldWait>> {
    let regions = shared.regions.as_ref()?;
    let logs = published.iter().filter_map(|batch| {
        let wanted = broker.ack_regions_of(batch.incarnation);
        (wanted > 1).then(|| Wanted {
            log: batch.incarnation,
            channel: broker.name_of(batch.incarnation).cloned(),
            offsets: batch.first..Offset(batch.last.0 + 1),
            regions: wanted,
        })
    });
    let logs: Vec<Wanted> = logs.collect();
    let asked = asks.map_or(0, |asks| asks.wait_ms);
    let wait = match asked {
        0 => regions.ack_wait,
        ms => Duration::from_millis(u64::from(ms)),
    };
    (!logs.is_empty()).then(|| {
        Box::new(HeldWait {
            logs,
            wait,
            is_for_region: false,
        })
    })
}

impl HeldWait {
    /// The acknowledgement, once enough regions hold it; or that there are too few.
    pub async fn done(self, shared: &Arc<Shared>, response: Response) -> Response {
        let Some(regions) = &shared.regions else {
            return response;
        };
        let others = async {
            for one in &self.logs {
                let others = usize::try_from(one.regions).unwrap_or(usize::MAX) - 1;
                if !regions
                    .held
                    .wait(one.log, one.offsets.clone(), others)
                    .await
                {
                    return false;
                }
            }
            true
        };
        let answer = tokio::select! {
            are_held = others => self.unless_moved(shared, are_held, || self.held(regions, response)),
            () = tokio::time::sleep(self.wait) => match self.too_few(shared, regions) {
                Some(error) => Response::Error(error),
                // The last of them came just now.
                None => self.unless_moved(shared, true, || self.held(regions, response)),
            },
            () = shared.stop.cancelled() => Response::Error(shutting_down()),
        };
        match self.is_for_region {
            true => super::told_region(shared, answer),
            false => answer,
        }
    }

    /// The acknowledgement with the number of regions that hold it: of several batches the fewest.
    fn held(&self, regions: &Regions, mut response: Response) -> Response {
        let held = self.logs.iter().map(|one| 1 + holders(regions, one));
        let held = held.min().unwrap_or(1);
        if let Response::PublishAt(_, at) | Response::PublishAtomicAt(_, at) = &mut response {
            at.held = held;
        }
        response
    }

    /// The acknowledgement, unless a log is written in another region by now: what was appended may
    /// lie aside, and the same batch is for the home that there is.
    fn unless_moved(
        &self,
        shared: &Shared,
        are_held: bool,
        held: impl FnOnce() -> Response,
    ) -> Response {
        let broker = shared.broker();
        let here = shared.regions.as_ref().map(|regions| &regions.name);
        let moved = self.logs.iter().find_map(|one| {
            let home = broker.home_of(one.log)?.region;
            let channel = one.channel.as_ref()?.to_string();
            (Some(&home) != here).then_some(BrokerError::LivesElsewhere { channel, home })
        });
        drop(broker);
        match (moved, self.logs.first()) {
            (Some(moved), _) => Response::Error(answer::refused(&moved)),
            // It was away, and is back here already.
            (None, Some(one)) if !are_held => Response::Error(not_enough(1, one.regions)),
            (None, _) => held(),
        }
    }

    fn too_few(&self, shared: &Shared, regions: &Regions) -> Option<WireError> {
        let broker = shared.broker();
        let found = self.logs.iter().map(|one| {
            let log = broker.storage().log(one.log);
            let is_here = log.is_some_and(|log| log.flushed() >= one.offsets.end);
            (u32::from(is_here) + holders(regions, one), one)
        });
        let mut found = found.filter(|(held, one)| *held < one.regions);
        let (held, one) = found.next()?;
        let error = not_enough(held, one.regions)
            .with("held", held)
            .with("wanted", one.regions);
        Some(match &one.channel {
            Some(channel) => error.with("channel", channel.as_str()),
            None => error,
        })
    }
}

fn not_enough(held: u32, wanted: u32) -> WireError {
    let text = format!("the batch is appended, but {held} regions hold it and {wanted} are wanted");
    WireError::new(ErrorCode::NotEnoughRegions, text).retry_after_ms(100)
}

/// How many other regions hold it.
fn holders(regions: &Regions, one: &Wanted) -> u32 {
    let holders = regions.held.holders(one.log, &one.offsets);
    u32::try_from(holders).unwrap_or(u32::MAX)
}
