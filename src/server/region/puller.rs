//! The side of a link that pulls: one task for each peer keeps it open and appends what comes.

mod again;
mod anew;
mod appending;
mod follow;
mod holding;
#[cfg(test)]
mod idle;
mod lists;
mod own_gaps;
mod place;
mod positions;
mod routing;
mod standing;
mod taking;
mod widening;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

pub(super) use self::again::Narrow;
use self::holding::Holding;
use self::lists::List;
use self::standing::{Asks, Standing};
pub(super) use self::widening::Beside;
use super::{Peer, Regions, following, travel};
use crate::client::{Backoff, BackoffLimits, Client, Link, LinkCall, RequestError};
use crate::protocol::region::{LinkLog, LinkOpen, LinkState};
use crate::protocol::{ErrorCode, LinkFetchRequest, RegionRequest, Request, Response};
use crate::region::Tenure;
use crate::region::copies::{Cursor, Item};
use crate::server::clock;
use crate::server::shared::Shared;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, Timestamp};

/// How long a request waits at the peer.
const WAIT_MS: u32 = 55_000;
/// How long an answer that does not wait may take.
const ANSWER: Duration = Duration::from_secs(30);
/// A peer that says no is asked again after this.
const REFUSED: Duration = Duration::from_secs(60);
/// Waits before a lost link is opened again.
const LOST: BackoffLimits = BackoffLimits {
    min: Duration::from_millis(100),
    max: Duration::from_secs(10),
};
/// A link that was open for this long is opened again soon when it is lost.
const STEADY: Duration = Duration::from_secs(10);

/// Keeps the link to a peer open until the server stops.
pub(super) async fn run(shared: Arc<Shared>, peer: Arc<Peer>) {
    let Some(regions) = shared.regions.clone() else {
        return;
    };
    let mut backoff = Backoff::new(LOST);
    loop {
        peer.state().enter(LinkState::Dialling, clock::now());
        let begun = clock::instant();
        let bytes_before = peer.state().bytes;
        let ended = tokio::select! {
            () = shared.stop.cancelled() => return,
            () = peer.gone.cancelled() => ended("it is no peer any more"),
            ended = pull(&shared, &regions, &peer) => ended,
        };
        peer.set_link(None);
        shared.broker().forget_offered(&peer.name);
        for state in regions.copies().values_mut() {
            if state.is_of(&peer.name) {
                state.is_followed = false;
            }
        }
        regions.routes().lost(&peer.name);
        regions.tell_routed();
        if peer.gone.is_cancelled() {
            return tracing::info!(peer = %peer.name, "a region is no peer any more");
        }
        let (state, wait) = if ended.is_refused {
            (LinkState::Refused, REFUSED)
        } else {
            // A line that is cut again and again but moves on is dialled at once.
            if begun.elapsed() >= STEADY || peer.state().bytes > bytes_before {
                backoff.reset();
            }
            (LinkState::Waiting, backoff.next(None))
        };
        tracing::info!(peer = %peer.name, error = %ended.text, "the link to a region has ended");
        {
            let mut known = peer.state();
            known.enter(state, clock::now());
            known.error = Some(ended.text);
            known.says_left = ended.says_left;
        }
        tokio::select! {
            () = shared.stop.cancelled() => return,
            () = peer.gone.cancelled() => return,
            () = sleep(wait) => {}
        }
    }
}

/// Why a link has ended.
struct Ended {
    text: String,
    /// Trying again soon changes nothing.
    is_refused: bool,
    /// The peer says that this region has left the directory.
    says_left: bool,
}

impl From<RequestError> for Ended {
    fn from(error: RequestError) -> Self {
        let is_refused = match &error {
            RequestError::Connect(error) => !error.is_retryable(),
            RequestError::Server(error) => !error.retryable,
            _ => false,
        };
        let says_left = matches!(
            &error,
            RequestError::Server(error) if error.known() == Some(ErrorCode::RegionLeft)
        );
        let mut text = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        Self {
            text,
            is_refused,
            says_left,
        }
    }
}

fn ended(text: impl Into<String>) -> Ended {
    Ended {
        text: text.into(),
        is_refused: false,
        says_left: false,
    }
}

/// A log that is followed.
struct Copying {
    name: ChannelName,
    id: Incarnation,
    cursor: Cursor,
    /// Whether the peer is its home.
    is_home: bool,
    /// Record types that cross; `None` is all.
    types: Option<BTreeSet<String>>,
    /// It is written beside the copy, which has less.
    is_beside: bool,
    /// The tenure in which it was followed.
    tenure: Option<Tenure>,
}

impl Copying {
    /// Takes batches that the source has passed over, where the cursor does.
    ///
    /// - `last`: epoch and append time of the last of them.
    fn pass(
        &mut self,
        range: Range<Offset>,
        last: (LogEpoch, Timestamp),
        flushed: Offset,
    ) -> Result<(), String> {
        let skip = Item::Skip {
            range,
            epoch: last.0,
            append_time: last.1,
            flushed,
        };
        let accepted = self.cursor.accept(&skip);
        accepted.map(drop).map_err(|refused| refused.to_string())
    }
}

/// A link while it is open.
struct Session<'a> {
    shared: &'a Arc<Shared>,
    regions: &'a Regions,
    peer: &'a Peer,
    link: Link,
    /// What the peer is asked for.
    lists: Vec<List>,
    /// What the peer has of that.
    known: BTreeMap<ChannelName, LinkLog>,
    /// Of the first list, which is of all that the peer has where there are others.
    version: Option<u64>,
    copying: BTreeMap<u32, Copying>,
    next_handle: u32,
    /// When a log that was stopped is followed again, and how often it was stopped in a row.
    stopped: HashMap<ChannelName, (Option<Instant>, u32)>,
    next_number: u64,
    holding: Holding,
    /// Copies for which nothing has come since the last look at what others have.
    idle: BTreeSet<u32>,
    /// When the peer is asked again what it has.
    look_at: Option<Instant>,
}

async fn pull(shared: &Arc<Shared>, regions: &Regions, peer: &Peer) -> Ended {
    match session(shared, regions, peer).await {
        Ok(never) => match never {},
        Err(ended) => ended,
    }
}

async fn session(
    shared: &Arc<Shared>,
    regions: &Regions,
    peer: &Peer,
) -> Result<std::convert::Infallible, Ended> {
    let mut builder = Client::builder().name(format!("region {}", regions.name));
    if let Some(key) = &regions.key {
        builder = builder.api_key(key.clone());
    }
    if let Some(tls) = regions
        .tls
        .clone()
        .filter(|_| peer.url.starts_with("npayload+tls://"))
    {
        builder = builder.tls(tls);
    }
    let open = RegionRequest::LinkOpen(LinkOpen {
        region: regions.name.clone(),
        expect: peer.name.clone(),
        directory_id: shared.directory_id,
        pack: regions.peer_pack,
    });
    let asked = clock::instant();
    let (link, opened) = Link::connect(builder, &peer.url, open).await?;
    {
        let mut state = peer.state();
        state.enter(LinkState::Open, clock::now());
        state.opened += 1;
        state.round_trip_us = u64::try_from(asked.elapsed().as_micros()).ok();
        state.error = None;
    }
    peer.set_link(Some(link.clone()));
    regions.tell_linked();
    tracing::info!(peer = %opened.region, url = %peer.url, "linked to a region");
    let mut session = Session {
        shared,
        regions,
        peer,
        link,
        lists: Vec::new(),
        known: BTreeMap::new(),
        version: None,
        copying: BTreeMap::new(),
        next_handle: 1,
        stopped: HashMap::new(),
        next_number: 0,
        holding: Holding::default(),
        idle: BTreeSet::new(),
        look_at: None,
    };
    session.run().await
}

impl Session<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut wanted = self.regions.wanted.subscribe();
        let mut routed = self.regions.routed.subscribe();
        let mut logs: Option<LinkCall> = None;
        let mut look: Option<LinkCall> = None;
        let mut standing = Standing::default();
        self.lists = self.wanted_lists();
        loop {
            if logs.is_none() {
                logs = Some(self.ask_logs(&self.lists[0], self.version, None));
            }
            while !self.copying.is_empty() && standing.wants_one(|| self.says_all()) {
                let held = self.held();
                standing.push(self.ask_new(Asks::Much, held), Asks::Much);
            }
            // What was synced since is said at once: somebody may wait for it.
            if self.holding.is_due() && standing.may_say(|| self.is_synced()) {
                let held = self.held();
                if !held.is_empty() {
                    standing.push(self.ask_new(Asks::Little, held), Asks::Little);
                }
            }
            let synced = self.holding.synced.clone();
            let retry = self.stopped.values().filter_map(|(at, _)| *at).min();
            let look_at = self.look_at.filter(|_| look.is_none());
            let wider = self
                .regions
                .wider_again(self.copying.values().map(|one| one.id));
            tokio::select! {
                biased;
                changed = wanted.changed() => {
                    changed.map_err(|_| ended("the server ends"))?;
                    match self.change_wishes().await? {
                        true => logs = None,
                        false => self.follow_wanted().await?,
                    }
                }
                changed = routed.changed() => {
                    changed.map_err(|_| ended("the server ends"))?;
                    self.follow_wanted().await?;
                }
                answer = answer_of(logs.as_mut()) => {
                    logs = None;
                    self.learn(answer?).await?;
                }
                answer = answer_of(look.as_mut()) => {
                    look = None;
                    self.looked(answer?).await?;
                }
                answer = answer_of(standing.first()) => {
                    standing.answered();
                    let answer = answer?;
                    // The next is asked for while this one is stored.
                    if standing.wants_one(|| false) {
                        let held = self.held();
                        standing.push(self.ask_new(Asks::Much, held), Asks::Much);
                    }
                    self.take(answer).await?;
                }
                () = synced.0.notified(), if self.holding.is_due() => {}
                () = due(retry) => self.follow_wanted().await?,
                () = due(wider) => self.follow_wanted().await?,
                () = due(look_at) => look = Some(self.ask_logs(&self.lists[0], None, None)),
            }
        }
    }

    fn ask_new(&self, asks: Asks, held: Vec<(u32, Offset)>) -> LinkCall {
        self.link.send(&Request::LinkFetch(LinkFetchRequest {
            max_bytes: asks.bytes(),
            max_wait_ms: WAIT_MS,
            held,
        }))
    }

    /// Whether all that the peer is to be told of is synced; else a wake-up comes.
    fn is_synced(&self) -> bool {
        let log = |handle: u32| self.copying.get(&handle).map(|one| one.id);
        self.holding.is_synced(&mut self.shared.broker(), log)
    }

    /// Whether a request that is sent now says all that is to be said, or nothing is.
    fn says_all(&self) -> bool {
        !self.holding.is_due() || self.is_synced()
    }

    /// What the peer is to be told of what is synced here.
    fn held(&mut self) -> Vec<(u32, Offset)> {
        let copying = &self.copying;
        let log = |handle: u32| copying.get(&handle).map(|one| one.id);
        self.holding.say(&mut self.shared.broker(), log)
    }

    /// What the peer is to be asked for; never empty.
    fn wanted_lists(&self) -> Vec<List> {
        let patterns = following::patterns(&self.shared.broker());
        let topics = travel::topics(&self.shared.broker(), &self.peer.name);
        List::of(patterns, &topics)
    }

    fn ask_logs(&self, list: &List, after: Option<u64>, cursor: Option<String>) -> LinkCall {
        let request = RegionRequest::LinkLogs(list.ask(after, cursor, WAIT_MS));
        self.link.send(&Request::Region(Box::new(request)))
    }
}

async fn answer_of(call: Option<&mut LinkCall>) -> Result<Response, RequestError> {
    match call {
        Some(call) => call.answer().await,
        None => std::future::pending().await,
    }
}

async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
