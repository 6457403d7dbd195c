//! Names of channels that are given back to the directory: by the region that holds them, and, where
//! that can't be had any more, by who runs the directory's home.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Regions;
use super::directory::{at_home, record, settled};
use crate::broker::{Broker, BrokerError};
use crate::protocol::region::{DirectoryUnname, DirectoryUnnamed, RegionRequest};
use crate::protocol::{ErrorCode, WireError};
use crate::region::directory::{RegionEvent, Unnamed};
use crate::server::access::Caller;
use crate::server::auditing::Draft;
use crate::server::shared::Shared;
use crate::server::{answer, clock};
use crate::types::{ChannelName, Incarnation, RegionName};

/// How long the claim of a region that has just become home may be on its way.
const HEARD: Duration = Duration::from_secs(5);
/// How often what is known of homes is looked at.
const LOOK: Duration = Duration::from_millis(200);

/// The region that holds the name of a log: where that lives now. None where it has no name.
fn holder(broker: &Broker, channel: &ChannelName, log: Incarnation) -> Option<RegionName> {
    let known = broker.region_directory().channel(channel.as_str())?;
    let (made_in, _) = known.logs.iter().find(|(_, named)| **named == log)?;
    Some(broker.known_homes().home(log, made_in).region)
}

fn held(channel: &ChannelName, holder: &RegionName) -> WireError {
    let text = format!("`{channel}` lives in region `{holder}`, which alone gives its name back");
    WireError::new(ErrorCode::NameHeld, text)
        .with("channel", channel.as_str())
        .with("region", holder.as_str())
}

/// What is to be recorded where a region gives the name of a log back; nothing where it has none.
///
/// # Errors
/// `NAME_HELD`: the log lives in another region.
pub(super) fn given_back(
    broker: &Broker,
    by: &RegionName,
    channel: &ChannelName,
    log: Incarnation,
) -> Result<Option<RegionEvent>, WireError> {
    match holder(broker, channel, log) {
        None => Ok(None),
        Some(holder) if holder != *by => Err(held(channel, &holder)),
        Some(_) => Ok(Some(unnamed(channel, log))),
    }
}

fn unnamed(channel: &ChannelName, log: Incarnation) -> RegionEvent {
    RegionEvent::Unnamed(Unnamed {
        channel: channel.clone(),
        incarnation: log,
        at: clock::now(),
    })
}

/// Waits a little for a region to be known as the home of a log whose name it gives back: it may have
/// become that a moment ago, and what it says of homes is on its way.
pub(super) async fn heard(
    shared: &Shared,
    regions: &Regions,
    by: &RegionName,
    channel: &ChannelName,
    log: Incarnation,
) {
    let deadline = Instant::from_std(clock::instant()) + HEARD;
    let mut changes = regions.homes_changes();
    loop {
        let holder = holder(&shared.broker(), channel, log);
        let is_over = Instant::from_std(clock::instant()) >= deadline;
        if holder.is_none_or(|holder| holder == *by) || is_over {
            return;
        }
        let _ = timeout(LOOK, changes.changed()).await;
    }
}

/// Takes a name out of the directory, which is at home here, for who runs it: its region is gone, and
/// nobody else could ever have a channel of that name. A region that still has the channel asks for
/// the name again.
///
/// # Errors
/// What to answer: the directory is elsewhere, there is no such name, or the channel lives here.
pub(super) async fn take_back(
    shared: &Arc<Shared>,
    caller: &Caller,
    asked: &DirectoryUnname,
) -> Result<DirectoryUnnamed, WireError> {
    let regions = shared.regions.clone();
    let regions = regions.ok_or_else(|| answer::refused(&BrokerError::NotARegion))?;
    let draft = Draft::of_region(&RegionRequest::DirectoryUnname(asked.clone()));
    let taken = {
        let broker = at_home(shared, &regions);
        // Who asks the wrong region is told which is the right one, and not to ask again here.
        let mut broker = broker.map_err(|error| WireError {
            retryable: false,
            ..error
        })?;
        let taken = named(&broker, &regions, asked).and_then(|told| {
            let event = unnamed(&told.channel, told.incarnation);
            let wait = record(&mut broker, &[event])?;
            Ok((told, wait))
        });
        match &taken {
            Ok(_) => {
                broker.audit(draft.done_by(caller), clock::now());
            }
            Err(error) => draft.refused(&mut broker, caller, error),
        }
        taken
    };
    shared.wake_committer();
    let (told, wait) = taken?;
    settled(shared, wait).await?;
    tracing::warn!(
        channel = %told.channel, region = %told.region,
        "the name of another region's channel is taken out of the directory"
    );
    Ok(told)
}

/// The name that is meant, and who holds it.
fn named(
    broker: &Broker,
    regions: &Regions,
    asked: &DirectoryUnname,
) -> Result<DirectoryUnnamed, WireError> {
    let channel = asked.channel.channel();
    let absent = || {
        let name = asked.channel.to_string();
        answer::refused(&BrokerError::NoSuchChannel { name })
    };
    let known = broker.region_directory().channel(channel.as_str());
    let known = known.ok_or_else(absent)?;
    let log = match asked.channel.region() {
        Some(region) => known.logs.iter().find(|(name, _)| name.as_str() == region),
        None if known.logs.len() > 1 => {
            let text = format!("`{channel}` has a log for each region, and one has to be named");
            let error = WireError::new(ErrorCode::EachRegion, text);
            return Err(error.with("channel", channel.as_str()));
        }
        None => known.logs.iter().next(),
    };
    let (_, log) = log.ok_or_else(absent)?;
    let region = holder(broker, &channel, *log).ok_or_else(absent)?;
    if region == regions.name {
        let text = format!("`{channel}` lives here: deleting it gives its name back");
        return Err(WireError::new(ErrorCode::NameHeld, text)
            .with("channel", channel.as_str())
            .with("region", region.as_str()));
    }
    Ok(DirectoryUnnamed {
        channel,
        incarnation: *log,
        region,
    })
}
