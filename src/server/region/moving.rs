//! Moves of homes: what a home does that is to stop, and what a region does that takes over.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, timeout};

use super::Regions;
use super::requests::unreachable;
use super::runs::runs;
use crate::broker::asp::CopiedTopic;
use crate::broker::{BrokerError, Residence, Travelling, Wait, Wake};
use crate::client::{Link, RequestError};
use crate::protocol::region::{
    DirectoryMove, HomeDecline, HomeDeclined, HomeFence, HomeFenced, HomeTake, LinkLog, LinkLogs,
    LinkSeen, MissingRange, RegionMove, RegionMoved, RegionRetried, RegionRetry,
};
use crate::protocol::{ErrorCode, RegionRequest, RegionResponse, WireError};
use crate::region::ChannelPattern;
use crate::region::homes::Home;
use crate::region::routes::Refusal;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, clock};
use crate::storage::Outcome;
use crate::types::{ChannelName, Incarnation, Offset, RegionName};

/// How long a peer may take for an answer that waits for nothing but its disk.
const ANSWER: Duration = Duration::from_secs(30);
/// How long a home may take to have all synced, and the other side to hear of it.
const STEP: Duration = Duration::from_secs(30);
/// How long a copy may be behind when a move begins, and catch up.
const CATCH_UP: Duration = Duration::from_secs(120);
/// How long a forced move waits for more of a peer, since the last that came.
const NO_MORE: Duration = Duration::from_secs(5);
/// How long a peer may take to tell what it has, before it counts as out of reach in a forced move.
const TOLD: Duration = Duration::from_secs(10);
/// How often what is waited for is looked at, where nothing wakes.
const LOOK: Duration = Duration::from_millis(100);
/// How long another region may take to carry a move out.
const MOVE: Duration = Duration::from_secs(600);

/// A move of a log that this region carries out; it ends with this.
struct Underway<'a> {
    regions: &'a Regions,
    id: Incarnation,
}

impl<'a> Underway<'a> {
    fn begin(regions: &'a Regions, id: Incarnation) -> Option<Self> {
        regions.moves().insert(id).then_some(Self { regions, id })
    }
}

impl Drop for Underway<'_> {
    fn drop(&mut self) {
        self.regions.moves().remove(&self.id);
        // A fence that stands for nothing is declined by who looks at that.
        self.regions.tell_homes();
    }
}

/// Why a topic of agents has no other home.
const OF_AGENTS: &str = "what agents say is written in the region where they are";

fn refused(name: &ChannelName, reason: impl Into<String>) -> WireError {
    answer::refused(&BrokerError::MoveRefused {
        channel: name.to_string(),
        reason: reason.into(),
    })
}

fn no_channel(name: &ChannelName) -> WireError {
    let name = name.to_string();
    answer::refused(&BrokerError::NoSuchChannel { name })
}

/// Waits until what was staged is as durable as its answer promises.
pub(super) async fn durable(shared: &Shared, wait: Wait) -> Result<(), WireError> {
    shared.wake_committer();
    loop {
        let waiter = TaskWake::new();
        {
            let mut broker = shared.broker();
            match broker.outcome(wait) {
                Outcome::Done => return Ok(()),
                Outcome::Failed(error) => return Err(answer::never_acknowledged(&error)),
                Outcome::Pending => broker.wake_after_round(waiter.clone() as Arc<dyn Wake>),
            }
        }
        let _ = timeout(LOOK, waiter.0.notified()).await;
    }
}

/// Waits until all that a log has is synced.
pub(super) async fn synced(
    shared: &Shared,
    id: Incarnation,
    limit: Duration,
) -> Result<Offset, BrokerError> {
    let deadline = Instant::from_std(clock::instant()) + limit;
    loop {
        let waiter = TaskWake::new();
        let (flushed, end) = {
            let mut broker = shared.broker();
            let log = broker.storage().log(id);
            let log = log.ok_or_else(|| BrokerError::Bug("no log to be synced".into()))?;
            let place = (log.flushed(), log.end());
            broker.want_sync();
            broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
            place
        };
        if flushed == end {
            return Ok(end);
        }
        if Instant::from_std(clock::instant()) >= deadline {
            let text = format!("the log is synced up to {flushed} of {end} and goes no further");
            return Err(BrokerError::Bug(text.into()));
        }
        shared.wake_committer();
        let _ = timeout(LOOK, waiter.0.notified()).await;
    }
}

/// Stops writes to a log of which this region is home, for a move to the region of the link.
pub(super) async fn fence(
    shared: &Arc<Shared>,
    from: Option<&RegionName>,
    asked: &HomeFence,
) -> Result<HomeFenced, WireError> {
    let name = &asked.name;
    if from != Some(&asked.to) {
        return Err(refused(name, "a region asks for another one"));
    }
    if CopiedTopic::of(name).is_some() {
        return Err(refused(name, OF_AGENTS));
    }
    let (id, to) = (asked.incarnation, &asked.to);
    let stopped = shared.broker().stop_for_move(name, id, to, clock::now());
    let is_fenced = stopped.map_err(|error| answer::refused(&error))?;
    let recorded = async {
        if !is_fenced {
            let synced = synced(shared, id, STEP).await;
            synced.map_err(|error| answer::refused(&error))?;
        }
        let recorded = shared.broker().record_fence(name, id, to, clock::now());
        recorded.map_err(|refusal| answer::refused(&refusal.error))
    };
    let recorded = match recorded.await {
        Ok(recorded) => recorded,
        Err(error) => {
            shared.broker().go_on(id);
            return Err(error);
        }
    };
    durable(shared, recorded.wait).await?;
    let home = recorded.value;
    let fence = home
        .moving
        .ok_or_else(|| refused(name, "the fence is gone"))?;
    tracing::warn!(channel = %name, %to, end = %fence.end, "the home takes no writes while it is moved");
    Ok(HomeFenced {
        term: home.tenure.term,
        end: fence.end,
        next: fence.next,
    })
}

/// Gives up a move to this region, which another one asks for.
pub(super) async fn decline(
    shared: &Arc<Shared>,
    asked: &HomeDecline,
) -> Result<HomeDeclined, WireError> {
    let regions = regions(shared)?;
    let id = asked.incarnation;
    if regions.moves().contains(&id) {
        return Err(refused(&asked.name, "it is being taken over now"));
    }
    give_up(shared, &asked.name, id).await?;
    Ok(HomeDeclined {})
}

/// Records that this region gives the move of a log up.
pub(super) async fn give_up(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
) -> Result<(), WireError> {
    let declined = shared.broker().decline_home(name, id, clock::now());
    let declined = declined.map_err(|refusal| answer::refused(&refusal.error))?;
    tracing::warn!(channel = %name, "the move of a home to this region is given up");
    durable(shared, declined.wait).await
}

fn regions(shared: &Shared) -> Result<Arc<Regions>, WireError> {
    let regions = shared.regions.clone();
    regions.ok_or_else(|| answer::refused(&BrokerError::NotARegion))
}

/// Moves the home of a channel: here, or in the region that is to take it.
pub(super) async fn move_home(
    shared: &Arc<Shared>,
    asked: &RegionMove,
) -> Result<RegionMoved, WireError> {
    let regions = regions(shared)?;
    let take = HomeTake {
        name: asked.name.clone(),
        force: asked.force,
    };
    if asked.to == regions.name {
        return take_home(shared, &take).await;
    }
    let Some(peer) = regions.peer(&asked.to) else {
        let text = format!("no region `{}` is known", asked.to);
        let error = WireError::new(ErrorCode::UnknownRegion, text);
        return Err(error.with("region", asked.to.as_str()));
    };
    let link = peer.link().ok_or_else(|| unreachable(&asked.to))?;
    match ask(&link, &asked.to, RegionRequest::HomeTake(take), MOVE).await? {
        RegionResponse::HomeTake(moved) => Ok(moved),
        _ => Err(unreachable(&asked.to)),
    }
}

/// Moves the directory of all regions, which is a log like others: its copies are everywhere.
pub(super) async fn move_directory(
    shared: &Arc<Shared>,
    asked: &DirectoryMove,
) -> Result<RegionMoved, WireError> {
    let moved = RegionMove {
        name: Travelling::Regions.name(),
        to: asked.to.clone(),
        force: asked.force,
    };
    move_home(shared, &moved).await
}

async fn ask(
    link: &Link,
    region: &RegionName,
    request: RegionRequest,
    limit: Duration,
) -> Result<RegionResponse, WireError> {
    match link.ask(request, limit).await {
        Ok(answer) => Ok(answer),
        Err(RequestError::Server(error)) => Err(*error),
        Err(_) => Err(unreachable(region)),
    }
}

/// Makes this region home of a channel.
pub(super) async fn take_home(
    shared: &Arc<Shared>,
    asked: &HomeTake,
) -> Result<RegionMoved, WireError> {
    let regions = regions(shared)?;
    let name = &asked.name;
    if CopiedTopic::of(name).is_some() {
        return Err(refused(name, OF_AGENTS));
    }
    let residence = shared.broker().residence(name);
    let (id, home) = match residence {
        Residence::Unknown => return Err(no_channel(name)),
        Residence::Home(id) => return stay_home(shared, &regions, name, id).await,
        Residence::Copy(id, home) => (id, home),
    };
    let Some(_underway) = Underway::begin(&regions, id) else {
        return Err(refused(name, "a move of it is under way here"));
    };
    if !regions.is_settled(&shared.broker(), id) {
        return Err(refused(name, "its copy is still compared with its log"));
    }
    let taken = match asked.force {
        true => {
            let taken = take_by_force(shared, &regions, name, id).await;
            regions.routes().forgiven(&home, id);
            regions.tell_routed();
            taken
        }
        false => take_over(shared, &regions, name, id, &home).await,
    };
    let home = match taken {
        Ok(home) => home,
        Err(error) => {
            if !asked.force && shared.broker().fence_for_me(id).is_some() {
                // Where this fails too, it is tried again until it is on the record.
                let _ = give_up(shared, name, id).await;
            }
            return Err(error);
        }
    };
    regions.tell_homes();
    // Where it is the directory, what lives here without a name gets one.
    regions.rejoin.notify_one();
    Ok(told(shared, name, id, &home, asked.force))
}

fn told(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    home: &Home,
    forced: bool,
) -> RegionMoved {
    let broker = shared.broker();
    let mut claims = broker.known_homes().claims(id);
    let claim = claims.find(|(by, claim)| **by == home.region && claim.term == home.tenure.term);
    let missing = claim.and_then(|(_, claim)| claim.missing);
    RegionMoved {
        name: name.clone(),
        incarnation: id,
        home: home.region.clone(),
        term: home.tenure.term,
        start: home.start,
        forced,
        missing: missing.map(|missing| MissingRange {
            from: missing.from,
            to: missing.to,
        }),
    }
}

/// A move back to the home that has stopped: the region that was to take over gives it up.
async fn stay_home(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    id: Incarnation,
) -> Result<RegionMoved, WireError> {
    let home = shared.broker().home_of(id);
    let home = home.ok_or_else(|| no_channel(name))?;
    let Some(fence) = &home.moving else {
        return Err(refused(name, format!("`{}` is home already", regions.name)));
    };
    let to = fence.to.clone();
    let link = regions.peer(&to).and_then(|peer| peer.link());
    let link = link.ok_or_else(|| unreachable(&to))?;
    let request = RegionRequest::HomeDecline(HomeDecline {
        name: name.clone(),
        incarnation: id,
    });
    ask(&link, &to, request, ANSWER).await?;
    let is_free = || {
        let home = shared.broker().home_of(id);
        home.is_some_and(|home| home.moving.is_none())
    };
    until(regions, STEP, is_free)
        .await
        .ok_or_else(|| unreachable(&to))?;
    let home = shared.broker().home_of(id);
    let home = home.ok_or_else(|| no_channel(name))?;
    Ok(told(shared, name, id, &home, false))
}

/// Waits until something is so; none where it does not come to that.
async fn until(regions: &Regions, limit: Duration, is_so: impl Fn() -> bool) -> Option<()> {
    let deadline = Instant::from_std(clock::instant()) + limit;
    let mut changes = regions.homes_changes();
    while !is_so() {
        if Instant::from_std(clock::instant()) >= deadline {
            return None;
        }
        let _ = timeout(LOOK, changes.changed()).await;
    }
    Some(())
}

/// A planned move: the home stops, the copy is completed, this region takes over.
async fn take_over(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    id: Incarnation,
    home: &RegionName,
) -> Result<Home, WireError> {
    let link = regions.peer(home).and_then(|peer| peer.link());
    let link = link.ok_or_else(|| unreachable(home))?;
    let log = told_of(&link, home, name, ANSWER).await?;
    let log = log.filter(|log| log.incarnation == id && log.home == *home);
    let log = log.ok_or_else(|| refused(name, format!("`{home}` has no such log of its own")))?;
    is_whole(shared, name, id, log.log_start)?;
    let has = |end: Offset| {
        let place = shared.broker().copy_place(id);
        place.is_some_and(|place| place.flushed >= end)
    };
    let caught_up = until(regions, CATCH_UP, || has(log.flushed)).await;
    caught_up.ok_or_else(|| refused(name, "its copy does not catch up"))?;
    let request = RegionRequest::HomeFence(HomeFence {
        name: name.clone(),
        incarnation: id,
        to: regions.name.clone(),
    });
    let fenced = match ask(&link, home, request, STEP + ANSWER).await? {
        RegionResponse::HomeFence(fenced) => fenced,
        _ => return Err(unreachable(home)),
    };
    // The fence counts once it has come on the home's own topic.
    let is_known = || {
        let fence = shared.broker().fence_for_me(id);
        fence.is_some_and(|fence| fence.next == fenced.next && fence.end == fenced.end)
    };
    let drained = until(regions, STEP, || has(fenced.end) && is_known()).await;
    drained.ok_or_else(|| unreachable(home))?;
    record(shared, regions, name, id, None).await
}

/// That a copy has all that its log has.
fn is_whole(
    shared: &Shared,
    name: &ChannelName,
    id: Incarnation,
    log_start: Offset,
) -> Result<(), WireError> {
    let broker = shared.broker();
    let copy = broker.kept_copies().copy(id);
    if let Some(stop) = copy.and_then(|copy| copy.stop.as_ref()) {
        let reason = format!("its copy is stopped: {}: {}", stop.code, stop.message);
        return Err(refused(name, reason));
    }
    let begins_at = broker.copies().find(|(copy, ..)| *copy == id);
    let begins_at = begins_at.map_or(Offset(0), |(_, _, copy)| copy.begins_at);
    let is_whole = copy.is_none_or(|copy| copy.is_whole(log_start)) && begins_at <= log_start;
    match is_whole {
        true => Ok(()),
        false => Err(refused(
            name,
            format!(
                "its copy is not whole: the log begins at {log_start}, the copy at {begins_at}, or has gaps"
            ),
        )),
    }
}

/// What a peer has of a log.
async fn told_of(
    link: &Link,
    region: &RegionName,
    name: &ChannelName,
    limit: Duration,
) -> Result<Option<LinkLog>, WireError> {
    // No pattern means an internal topic.
    let (patterns, topics) = match name.is_internal() {
        true => (Vec::new(), vec![name.clone()]),
        false => match ChannelPattern::exactly(name) {
            Ok(pattern) => (vec![pattern], Vec::new()),
            Err(_) => return Ok(None),
        },
    };
    let request = RegionRequest::LinkLogs(LinkLogs::at_once(patterns, topics));
    match ask(link, region, request, limit).await? {
        RegionResponse::LinkLogs(page) => Ok(page.logs.into_iter().find(|log| log.name == *name)),
        _ => Err(unreachable(region)),
    }
}

/// A forced move: what can be reached is taken first, and what may be missing is named.
async fn take_by_force(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    id: Incarnation,
) -> Result<Home, WireError> {
    let home = shared.broker().home_of(id);
    let home = home.ok_or_else(|| no_channel(name))?;
    // The home is gone, whoever says so: others are followed without waiting for what becomes of the
    // first try to reach it.
    if regions.link_to(&home.region).is_none() {
        regions.routes().lost(&home.region);
        regions.tell_routed();
    }
    let mut seen = regions.seen_of(&shared.broker(), id, &home);
    // What can still be had, as against what is only known of.
    let mut held = None;
    for peer in regions.peers() {
        let Some(link) = peer.link() else { continue };
        let seeing = RegionRequest::LinkSeen(LinkSeen {
            name: name.clone(),
            incarnation: id,
            home: home.region.clone(),
            term: home.tenure.term,
        });
        if let Ok(RegionResponse::LinkSeen(told)) = ask(&link, &peer.name, seeing, TOLD).await {
            held = held.max(told.holds);
            seen = seen.max(told.flushed).max(told.holds);
            continue;
        }
        // One of an older version tells what it holds, and no more.
        let asked = told_of(&link, &peer.name, name, TOLD).await;
        if asked.is_err() && peer.name == home.region {
            // A home that has fallen silent is still linked for a while, and would be waited for
            // instead of those that have what it has acknowledged.
            regions.routes().refused(&home.region, id, Refusal::Passing);
            regions.tell_routed();
        }
        let log = asked.ok().flatten().filter(|log| log.incarnation == id);
        let flushed = log.map(|log| log.flushed);
        held = held.max(flushed);
        seen = seen.max(flushed);
    }
    let next = || {
        let place = shared.broker().copy_place(id);
        place.map_or(Offset(0), |place| place.flushed)
    };
    // As long as more comes, more is waited for.
    let mut at = next();
    while held.is_some_and(|held| at < held) {
        let more = until(regions, NO_MORE, || next() > at).await;
        if more.is_none() {
            break;
        }
        at = next();
    }
    record(shared, regions, name, id, Some(seen)).await
}

/// Records that this region is home, of exactly what its copy has.
async fn record(
    shared: &Arc<Shared>,
    regions: &Regions,
    name: &ChannelName,
    id: Incarnation,
    forced: Option<Option<Offset>>,
) -> Result<Home, WireError> {
    let error = |error: BrokerError| answer::refused(&error);
    // Nothing is taken into the copy any more: what it has is what is judged.
    shared.broker().hold_copy(id);
    let taken = async {
        let end = synced(shared, id, STEP).await.map_err(error)?;
        let runs = runs(shared, name, id, end).await.map_err(error)?;
        // What others said to hold was of a former home, and may have been set aside since.
        regions.held.moved(id);
        let now = clock::now();
        let taken = shared.broker().take_home(name, id, &runs, forced, now);
        let taken = taken.map_err(|refusal| error(refusal.error))?;
        durable(shared, taken.wait).await?;
        Ok(taken.value)
    };
    let taken = taken.await;
    shared.broker().release_copy(id);
    regions.tell_homes();
    taken
}

/// Follows a copy again that was stopped.
pub(super) fn retry(
    shared: &Shared,
    asked: &RegionRetry,
) -> Result<RegionRetried, crate::broker::Refusal> {
    let regions = shared.regions.as_ref().ok_or(BrokerError::NotARegion)?;
    let id = shared.broker().copy_to_retry(&asked.name)?;
    regions.want_retry(id);
    Ok(RegionRetried {
        name: asked.name.clone(),
        incarnation: id,
    })
}

/// Carries out what another region asks on its link.
#[expect(
    clippy::manual_async_fn,
    reason = "it is spawned, and calls itself by way of others"
)]
pub(super) fn answer_link(
    shared: Arc<Shared>,
    from: Option<RegionName>,
    request: RegionRequest,
) -> impl Future<Output = Result<RegionResponse, WireError>> + Send {
    async move {
        match &request {
            RegionRequest::HomeFence(asked) => fence(&shared, from.as_ref(), asked)
                .await
                .map(RegionResponse::HomeFence),
            RegionRequest::HomeDecline(asked) => decline(&shared, asked)
                .await
                .map(RegionResponse::HomeDecline),
            RegionRequest::HomeTake(asked) => take_home(&shared, asked)
                .await
                .map(RegionResponse::HomeTake),
            other => {
                let text = format!("{} is no request of a link", other.kind().name());
                Err(WireError::new(ErrorCode::InvalidRequest, text))
            }
        }
    }
}
