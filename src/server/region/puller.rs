//! The side of a link that pulls: one task for each peer keeps it open and appends what comes.

mod holding;
#[cfg(test)]
mod idle;
mod own_gaps;
mod place;
mod positions;
mod routing;
mod standing;
mod widening;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use self::holding::Holding;
use self::standing::{Asks, Standing};
pub(super) use self::widening::Beside;
use super::{Peer, Regions, following, packing, seen, travel};
use crate::broker::config::ChannelConfig;
use crate::broker::{BrokerError, CopiedBatch, NewCopy, Placed, Residence, Travelling, Wake};
use crate::client::{Backoff, BackoffLimits, Client, Link, LinkCall, RequestError};
use crate::format::BatchHeader;
use crate::protocol::region::{
    FollowFrom, FollowLog, FollowedLog, LinkFollow, LinkLog, LinkLogs, LinkLogsPage, LinkOpen,
    LinkState, LinkUnfollow,
};
use crate::protocol::{
    ErrorCode, LinkFetchRequest, LinkFetchResponse, LinkItem, RegionRequest, RegionResponse,
    Request, Response,
};
use crate::region::copies::{Before, Cursor, GapReason, Item};
use crate::region::interest::{Since, Wish};
use crate::region::routes::{Refusal, Turn};
use crate::region::{ChannelPattern, Tenure};
use crate::server::clock;
use crate::server::shared::{Shared, TaskWake};
use crate::storage::StageError;
use crate::types::{ChannelName, Incarnation, Offset};

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
/// How long the removal of a copy may take that is brought anew.
const REMOVED: Duration = Duration::from_secs(10);
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

/// A link while it is open.
struct Session<'a> {
    shared: &'a Arc<Shared>,
    regions: &'a Regions,
    peer: &'a Peer,
    link: Link,
    patterns: Vec<ChannelPattern>,
    /// What the peer has of what is wanted.
    known: BTreeMap<ChannelName, LinkLog>,
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
    homes_anew(shared, peer).await?;
    let mut session = Session {
        shared,
        regions,
        peer,
        link,
        patterns: Vec::new(),
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

/// Has what a peer says of homes brought anew, where it is damaged here.
async fn homes_anew(shared: &Arc<Shared>, peer: &Peer) -> Result<(), Ended> {
    let begun = shared
        .broker()
        .begin_homes_anew(&peer.name, clock::now())
        .map_err(|refusal| ended(refusal.error.to_string()))?;
    let Some(begun) = begun else {
        return Ok(());
    };
    let removed = super::directory::settled(shared, begun.wait).await;
    removed.map_err(|error| ended(error.message))?;
    // It is followed under the same identity, once nothing is left of the one before.
    let limit = Instant::from_std(clock::instant()) + REMOVED;
    while shared.broker().storage().log(begun.value).is_some() {
        if Instant::from_std(clock::instant()) >= limit {
            return Err(ended("what was damaged is not removed yet"));
        }
        sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}

impl Session<'_> {
    async fn run(&mut self) -> Result<std::convert::Infallible, Ended> {
        let mut wanted = self.regions.wanted.subscribe();
        let mut routed = self.regions.routed.subscribe();
        let mut logs: Option<LinkCall> = None;
        let mut look: Option<LinkCall> = None;
        let mut standing = Standing::default();
        self.patterns = following::patterns(&self.shared.broker());
        loop {
            if logs.is_none() {
                logs = Some(self.ask_logs(None, self.version));
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
                () = due(look_at) => look = Some(self.ask_logs(None, None)),
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

    fn ask_logs(&self, cursor: Option<String>, after: Option<u64>) -> LinkCall {
        let request = RegionRequest::LinkLogs(LinkLogs {
            patterns: self.patterns.clone(),
            topics: travel::topics(),
            after,
            wait_ms: WAIT_MS,
            cursor,
        });
        self.link.send(&Request::Region(Box::new(request)))
    }

    /// Takes what this region wants now; true where the peer is to be asked anew.
    async fn change_wishes(&mut self) -> Result<bool, Ended> {
        let patterns = following::patterns(&self.shared.broker());
        let mut left = Vec::new();
        for (handle, copying) in &self.copying {
            let wish = self.wish(&copying.name);
            if wish.is_none_or(|wish| self.types(copying.id, &wish) != copying.types) {
                left.push(*handle);
                following::note_withdrawn(self.shared, self.regions, &copying.name);
            }
        }
        self.leave(left).await?;
        // What somebody wants to be tried again is due now.
        let retries: Vec<Incarnation> = self.regions.retries().iter().copied().collect();
        for id in retries {
            let name = self.shared.broker().name_of(id).cloned();
            if let Some((at, _)) = name.and_then(|name| self.stopped.get_mut(&name)) {
                *at = at.map(|_| Instant::from_std(clock::instant()));
            }
        }
        if patterns == self.patterns {
            self.follow_wanted().await?;
            return Ok(false);
        }
        self.patterns = patterns;
        self.version = None;
        self.known.clear();
        Ok(true)
    }

    fn wish(&self, name: &ChannelName) -> Option<Wish> {
        following::wish(&self.shared.broker(), name)
    }

    async fn leave(&mut self, handles: Vec<u32>) -> Result<(), Ended> {
        if handles.is_empty() {
            return Ok(());
        }
        for handle in &handles {
            let copying = self.copying.remove(handle);
            if let Some(beside) = copying.as_ref().filter(|one| one.is_beside) {
                // The peer forgets what was said of the log.
                let rest = self.copying.iter().filter(|(_, one)| one.id == beside.id);
                rest.for_each(|(handle, _)| self.holding.again(*handle));
            } else if let Some(copying) = copying {
                self.regions
                    .copy_state(copying.id, |state| state.is_followed = false);
                self.holding.left(*handle);
                self.idle.remove(handle);
                self.regions.routes().left(&self.peer.name, copying.id);
            }
        }
        self.regions.tell_routed();
        let request = RegionRequest::LinkUnfollow(LinkUnfollow { handles });
        self.link.ask(request, ANSWER).await?;
        Ok(())
    }

    /// Takes the list of the peer's logs, all pages of it.
    async fn learn(&mut self, answer: Response) -> Result<(), Ended> {
        let mut page = logs_page(answer)?;
        // The wait has ended, and nothing has changed.
        if page.logs.is_empty() && self.version == Some(page.version) {
            return Ok(());
        }
        self.version = Some(page.version);
        self.known.clear();
        loop {
            let next = page.next.take();
            for log in page.logs {
                let log = travel::named_here(log, &self.peer.name);
                self.known.insert(log.name.clone(), log);
            }
            let Some(cursor) = next else { break };
            let mut call = self.ask_logs(Some(cursor), None);
            page = match timeout(ANSWER, call.answer()).await {
                Ok(answer) => logs_page(answer?)?,
                Err(_) => return Err(ended("the list of logs did not come in time")),
            };
        }
        self.tell_list();
        self.follow_wanted().await
    }

    /// Follows every log of the peer that is wanted and not followed.
    async fn follow_wanted(&mut self) -> Result<(), Ended> {
        self.forgive_due();
        let mut asked: Vec<(FollowLog, LinkLog, Wish)> = Vec::new();
        let mut left = Vec::new();
        let handles = self.copying.iter().filter(|(_, one)| !one.is_beside);
        let handles: HashMap<Incarnation, u32> = handles.map(|(at, one)| (one.id, *at)).collect();
        for log in self.known.values().cloned().collect::<Vec<_>>() {
            let Some(wish) = self.wish(&log.name) else {
                continue;
            };
            let handle = handles.get(&log.incarnation).copied();
            match self.turn(&log, handle) {
                Turn::Follow => {
                    if let Some(follow) = self.plan(&log, &wish).await {
                        asked.push((follow, log, wish));
                    }
                }
                Turn::Leave => left.extend(handle),
                Turn::Stay | Turn::Wait => {}
            }
        }
        self.leave(left).await?;
        self.plan_look();
        while !asked.is_empty() {
            let rest = asked.split_off(asked.len().min(crate::protocol::region::MAX_LOGS));
            let logs = asked.iter().map(|(follow, ..)| follow.clone()).collect();
            let request = RegionRequest::LinkFollow(LinkFollow { logs });
            let answer = match self.link.ask(request, ANSWER).await? {
                RegionResponse::LinkFollow(answer) => answer,
                _ => return Err(ended("the peer gave another answer to link.follow")),
            };
            if answer.logs.len() != asked.len() {
                return Err(ended(
                    "the peer answered for other logs than were asked for",
                ));
            }
            for (followed, (_, log, wish)) in answer.logs.into_iter().zip(asked) {
                self.begin(followed, &log, &wish).await?;
            }
            asked = rest;
        }
        self.follow_wider().await
    }

    /// How a log is to be followed; none where it can't be, which is noted.
    async fn plan(&mut self, log: &LinkLog, wish: &Wish) -> Option<FollowLog> {
        let handle = self.next_handle;
        let residence = self.shared.broker().residence(&log.name);
        let types = self.types(log.incarnation, wish);
        // What was here and was purged says nothing of a copy that is to be begun.
        let begins_at = match residence {
            Residence::Copy(id, _) => self.shared.broker().begins_at(id),
            _ => None,
        };
        let follow = |from, before| {
            let (last, last_epoch) = match before {
                Before::Nothing => (None, None),
                Before::Batch(mark) => (Some(mark), None),
                Before::OwnGap(epoch) => (None, Some(epoch)),
            };
            FollowLog {
                handle,
                name: travel::named_there(&log.name),
                incarnation: Some(log.incarnation),
                from,
                last,
                last_epoch,
                begins_at,
                types,
                orgs: self.shared.broker().askers(&log.name),
            }
        };
        let planned = match residence {
            Residence::Unknown => follow(FollowFrom::Since(wish.from), Before::Nothing),
            Residence::Home(_) => {
                let text = "a channel of this name lives here too, and is another one";
                self.hold(log, log.incarnation, text, Refusal::Differs);
                return None;
            }
            // Another life of the channel: it is begun from its start, beside what is here of the old.
            Residence::Copy(id, home) if id != log.incarnation => {
                if home != self.peer.name || log.home != self.peer.name {
                    let text = "the channel was deleted and created again; this copy is of the old \
                                one, whose home has not said so";
                    self.hold(log, id, text, Refusal::Differs);
                    return None;
                }
                follow(FollowFrom::Since(Since::Start), Before::Nothing)
            }
            Residence::Copy(id, _) => {
                let (next, before) = match place::end_of(self.shared, &log.name, id).await {
                    Ok(place) => place,
                    Err(error) => {
                        self.hold(log, id, &error.to_string(), Refusal::Differs);
                        return None;
                    }
                };
                follow(FollowFrom::Offset(next), before)
            }
        };
        self.next_handle = self.next_handle.wrapping_add(1);
        Some(planned)
    }

    /// Takes what became of a log that was to be followed.
    async fn begin(
        &mut self,
        followed: FollowedLog,
        log: &LinkLog,
        wish: &Wish,
    ) -> Result<(), Ended> {
        let (handle, id, from) = match followed {
            FollowedLog::Followed {
                handle,
                incarnation,
                from,
            } => (handle, incarnation, from),
            FollowedLog::Refused { error, .. } => {
                self.refused(log, log.incarnation, &error);
                return Ok(());
            }
        };
        if id != log.incarnation {
            return Err(ended("the peer follows another log than was asked for"));
        }
        if let Err(text) = self.make(log, wish, from) {
            self.hold(log, id, &text, Refusal::Differs);
            return self.leave(vec![handle]).await;
        }
        let Some(place) = self.shared.broker().copy_place(id) else {
            return Err(ended("a copy is gone"));
        };
        if place.next != from {
            let text = format!("the peer goes on at {from}, the copy at {}", place.next);
            self.hold(log, id, &text, Refusal::Passing);
            return self.leave(vec![handle]).await;
        }
        self.stopped.remove(&log.name);
        following::resume(self.shared, self.regions, id, &self.peer.name);
        let peer = self.peer.name.clone();
        self.regions.copy_state(id, |state| {
            state.source = Some(peer);
            state.is_followed = true;
            state.error = None;
        });
        let types = self.types(id, wish);
        let (epoch, time) = (place.last_epoch, place.last_time);
        let copying = Copying {
            name: log.name.clone(),
            id,
            cursor: Cursor::new(id, from, epoch, time, types.is_some()),
            is_home: log.home == self.peer.name,
            types,
            is_beside: false,
            tenure: self.shared.broker().home_of(id).map(|home| home.tenure),
        };
        self.copying.insert(handle, copying);
        self.holding.grown(handle);
        Ok(())
    }

    /// Makes the copy, where there is none.
    fn make(&self, log: &LinkLog, wish: &Wish, from: Offset) -> Result<(), String> {
        let mut broker = self.shared.broker();
        let is_again = match broker.residence(&log.name) {
            Residence::Unknown => false,
            Residence::Copy(id, _) if id != log.incarnation && !log.name.is_internal() => true,
            _ => return Ok(()),
        };
        // Both are the same names in JSON.
        let config = serde_json::to_value(&log.config).and_then(serde_json::from_value);
        let mut config: ChannelConfig = config.map_err(|error| error.to_string())?;
        if wish.retention_days.is_some() {
            config.retention_days = wish.retention_days;
        }
        let new = NewCopy {
            name: log.name.clone(),
            incarnation: log.incarnation,
            config,
            home: log.home.clone(),
            begins_at: from,
            from_start: (is_again || wish.from == Since::Start) && log.whole,
            types: wish.types.clone(),
        };
        if Travelling::of(&log.name) == Some(Travelling::Homes) {
            broker.homes_go_to(&log.home, log.flushed);
        }
        let made = match new.name.is_internal() {
            true => broker.create_travelled(new, clock::now()),
            false if is_again => broker.create_recreated(new, clock::now()),
            false => broker.create_copy(new, clock::now()),
        };
        if made.is_ok() {
            self.regions.settle_new(&broker, log.incarnation);
        }
        drop(broker);
        self.shared.wake_committer();
        made.map(drop).map_err(|refusal| refusal.error.to_string())
    }

    /// Takes an answer with what is new.
    async fn take(&mut self, answer: Response) -> Result<(), Ended> {
        let Response::LinkFetch(LinkFetchResponse { number, items, .. }) = answer else {
            return Err(ended("the peer gave another answer to link.fetch"));
        };
        if number != self.next_number {
            let next = self.next_number;
            return Err(ended(format!("answer {number} came, {next} is the next")));
        }
        self.next_number += 1;
        for item in items {
            let handle = item.handle();
            if !self.copying.contains_key(&handle) {
                continue; // It was left while this was on its way.
            }
            let taken = match unpacked(item).await {
                Ok((item, way)) => {
                    self.peer.state().wire_bytes += way;
                    self.take_item(item).await?
                }
                Err(text) => Err(text),
            };
            if let Err(text) = taken {
                if self.is_beside(handle) {
                    self.give_up(handle, &text).await?;
                    continue;
                }
                if let Some(log) = self.log_of(handle) {
                    self.hold(&log, log.incarnation, &text, Refusal::Passing);
                }
                self.leave(vec![handle]).await?;
            }
        }
        Ok(())
    }

    /// Notes how far the peer says that a log is synced, how far its copy has come, and with how many
    /// bytes.
    fn saw(
        &self,
        id: Incarnation,
        tenure: Option<Tenure>,
        flushed: Offset,
        next: Offset,
        bytes: u64,
    ) {
        let (shared, regions) = (self.shared, self.regions);
        seen::saw(shared, regions, &self.peer.name, id, tenure, flushed);
        regions.copy_state(id, |state| {
            state.bytes += bytes;
            state.saw(flushed, next, clock::now());
        });
    }

    /// Takes one item; an inner error stops its copy and no other.
    async fn take_item(&mut self, item: LinkItem) -> Result<Result<(), String>, Ended> {
        let Some(copying) = self.copying.get_mut(&item.handle()) else {
            return Ok(Ok(()));
        };
        let (id, item_handle) = (copying.id, item.handle());
        if copying.is_beside {
            return self.take_beside(item).await;
        }
        match item {
            LinkItem::Batches {
                flushed, batches, ..
            } => {
                let bytes = batches.len() as u64;
                if let Err(text) = append(self.shared, copying, batches, flushed).await? {
                    return Ok(Err(text));
                }
                self.regions.progressed(id);
                let (next, tenure) = (copying.cursor.next(), copying.tenure);
                let is_internal = copying.name.is_internal();
                let is_access = Travelling::of(&copying.name) == Some(Travelling::Access);
                self.saw(id, tenure, flushed, next, bytes);
                if is_internal {
                    self.regions.tell_consents(&self.shared.broker());
                    self.regions.tell_homes(); // It may say who is home of what.
                    if is_access {
                        self.shared.tell_access_changed();
                    }
                } else {
                    self.peer.state().bytes += bytes;
                }
                self.grown(item_handle);
            }
            LinkItem::Head {
                log_start,
                flushed,
                epoch,
                ..
            } => {
                let head = Item::Head {
                    log_start,
                    flushed,
                    epoch,
                };
                // Behind a trim at home a gap comes next.
                if let Err(refused) = copying.cursor.accept(&head) {
                    return Ok(Err(refused.to_string()));
                }
                let (next, tenure) = (copying.cursor.next(), copying.tenure);
                self.saw(id, tenure, flushed, next, 0);
            }
            LinkItem::Skip {
                from,
                to,
                epoch,
                append_time,
                flushed,
                ..
            } => {
                let skip = Item::Skip {
                    range: from..to,
                    epoch,
                    append_time,
                    flushed,
                };
                if let Err(refused) = copying.cursor.accept(&skip) {
                    return Ok(Err(refused.to_string()));
                }
                let last = (epoch, append_time);
                if let Err(text) = own_gaps::skip(self.shared, copying, from..to, last).await? {
                    return Ok(Err(text));
                }
                let (next, tenure) = (copying.cursor.next(), copying.tenure);
                self.saw(id, tenure, flushed, next, 0);
                self.grown(item_handle);
            }
            // It was unpacked before.
            LinkItem::Packed { .. } => return Ok(Err("a packed item in another one".to_owned())),
            LinkItem::Position {
                consumer,
                offset,
                epoch,
                at,
                metadata,
                ..
            } => {
                if let Err(refused) = copying.cursor.accept(&Item::Position { offset }) {
                    return Ok(Err(refused.to_string()));
                }
                let placed = Placed {
                    consumer,
                    offset,
                    log_epoch: epoch,
                    at,
                    metadata,
                };
                if let Err(text) = positions::place(self.shared, copying, placed).await? {
                    return Ok(Err(text));
                }
            }
            LinkItem::Gap { from, to, .. } => {
                // Others may have what a copy has not.
                if !copying.is_home {
                    return Ok(Err("a gap from a region that is not its home".to_owned()));
                }
                let gap = Item::Gap {
                    range: from..to,
                    reason: GapReason::Trimmed,
                };
                if let Err(refused) = copying.cursor.accept(&gap) {
                    return Ok(Err(refused.to_string()));
                }
                let (name, peer) = (copying.name.clone(), &self.peer.name);
                if let Err(text) = own_gaps::lost(self.shared, id, from..to).await? {
                    return Ok(Err(text));
                }
                tracing::error!(
                    %peer, channel = %name, %from, %to,
                    "retention at its home was faster than the link: the copy has a gap"
                );
                self.regions
                    .copy_state(id, |state| state.gaps.push(from..to));
                self.grown(item_handle);
            }
            LinkItem::Stop { handle, error } => {
                let log = self.log_of(handle);
                self.copying.remove(&handle);
                self.holding.left(handle);
                self.idle.remove(&handle);
                // The peer may have said meanwhile that it has another log of the name.
                self.regions.routes().left(&self.peer.name, id);
                self.regions
                    .copy_state(id, |state| state.is_followed = false);
                // Another link may follow it now, also where the peer does not list it any more.
                self.regions.tell_routed();
                if let Some(log) = log {
                    self.refused(&log, id, &error);
                    if error.known() == Some(ErrorCode::NoConsent) {
                        following::record_withdrawn(self.shared, self.regions, &log.name);
                    }
                }
            }
        }
        Ok(Ok(()))
    }
}

/// An item with its batches as they are stored, and the bytes that they took on the way. Batches are
/// unpacked where that holds up nobody.
async fn unpacked(item: LinkItem) -> Result<(LinkItem, u64), String> {
    match item {
        LinkItem::Packed {
            handle,
            flushed,
            unpacked,
            frame,
        } => {
            let way = frame.len() as u64;
            let work = tokio::task::spawn_blocking(move || packing::unpack(&frame, unpacked));
            let batches = work.await.map_err(|error| error.to_string())??;
            let item = LinkItem::Batches {
                handle,
                flushed,
                batches,
            };
            Ok((item, way))
        }
        LinkItem::Batches { ref batches, .. } => {
            let way = batches.len() as u64;
            Ok((item, way))
        }
        other => Ok((other, 0)),
    }
}

/// Appends the batches of an item to their copy, waiting for room in the broker.
async fn append(
    shared: &Arc<Shared>,
    copying: &mut Copying,
    mut batches: Bytes,
    flushed: Offset,
) -> Result<Result<(), String>, Ended> {
    while !batches.is_empty() {
        let length = match BatchHeader::peek(&batches) {
            Ok(header) if header.len() <= batches.len() => header.len(),
            Ok(header) => {
                let (found, left) = (header.len(), batches.len());
                return Ok(Err(format!("a batch of {found} bytes in {left} bytes")));
            }
            Err(error) => return Ok(Err(error.to_string())),
        };
        let checked = CopiedBatch::check(BytesMut::from(&batches.split_to(length)[..]));
        let batch = match checked {
            Ok(batch) => batch,
            Err(text) => return Ok(Err(text)),
        };
        let item = Item::Batch {
            incarnation: batch.header().incarnation(),
            mark: super::digest::mark_of(batch.header()),
            flushed,
        };
        if let Err(refused) = copying.cursor.accept(&item) {
            return Ok(Err(refused.to_string()));
        }
        let mut batch = Some(batch);
        loop {
            let waiter = TaskWake::new();
            let refused = {
                let mut broker = shared.broker();
                let refused = broker.append_copied(copying.id, &mut batch, clock::now());
                let refused = refused.err();
                if refused.as_ref().is_some_and(|refusal| refusal.is_busy()) {
                    broker.wake_after_round(waiter.clone() as Arc<dyn Wake>);
                }
                refused
            };
            shared.wake_committer();
            let Some(refusal) = refused else { break };
            if let Err(text) = room(shared, &waiter, &refusal.error).await? {
                return Ok(Err(text));
            }
        }
    }
    Ok(Ok(()))
}

/// Waits until what was refused for want of room may be tried again; an inner error is another
/// refusal.
///
/// - `waiter`: wakes after the next round.
async fn room(
    shared: &Shared,
    waiter: &TaskWake,
    error: &BrokerError,
) -> Result<Result<(), String>, Ended> {
    let wait = match error {
        BrokerError::Stage(StageError::Busy) => Duration::from_millis(200),
        BrokerError::Stage(StageError::DiskFull(_)) => Duration::from_secs(1),
        error => return Ok(Err(error.to_string())),
    };
    shared.wake_keeper();
    tokio::select! {
        () = waiter.0.notified() => {}
        () = sleep(wait) => {}
        () = shared.stop.cancelled() => return Err(ended("the server ends")),
    }
    Ok(Ok(()))
}

fn logs_page(answer: Response) -> Result<LinkLogsPage, Ended> {
    match answer {
        Response::Region(answer) => match *answer {
            RegionResponse::LinkLogs(page) => Ok(page),
            _ => Err(ended("the peer gave another answer to link.logs")),
        },
        _ => Err(ended("the peer gave another answer to link.logs")),
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
