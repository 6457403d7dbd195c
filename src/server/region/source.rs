//! The side of a link that serves: what is followed, and what is new in it.
//!
//! One task for each link holds all of it and answers in the order of the requests. A log that has
//! nothing new costs nothing: it stands among the broker's waiters until it grows.

mod budget;
mod filter;
mod places;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use self::budget::Budget;
use self::filter::Skipped;
use self::places::Places;
use super::digest::{batch_at, digest};
use super::{Regions, create, directory, leaving, packing, travel};
use crate::broker::{BrokerError, CopyOf, Fetch, Place, Residence, Travelling, Wake};
use crate::format::BatchHeader;
use crate::protocol::region::{
    FollowFrom, FollowLog, FollowedLog, LinkFollowed, LinkLog, LinkLogs, LinkLogsPage, LinkOpen,
    LinkOpened, LinkUnfollowed, MAX_LOGS,
};
use crate::protocol::{
    ErrorCode, LinkFetchRequest, LinkFetchResponse, LinkItem, RegionRequest, RegionResponse,
    Response, WireError,
};
use crate::region::RegionNumber;
use crate::region::copies::{Before, FollowRefusal, Source as Has, Wanted, check_follow};
use crate::region::interest::Since;
use crate::server::access::Caller;
use crate::server::connection::shutting_down;
use crate::server::shared::{Shared, TaskWake};
use crate::server::{answer, auditing, clock, fetching};
use crate::storage::ReadError;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, OrgName, RegionName};

/// Most logs that one link follows.
const MAX_FOLLOWED: usize = 100_000;
/// Most requests of a link that wait for something new.
const MAX_STANDING: usize = 16;
/// Most bytes of items in one answer.
const MAX_ANSWER_BYTES: u64 = 8 << 20;
/// Of one log at once at most, and at least where there is that much.
const MAX_LOG_BYTES: u64 = 1 << 20;
const MIN_LOG_BYTES: u64 = 64 << 10;
/// Longest that a request waits.
const MAX_WAIT: Duration = Duration::from_secs(60);
/// Bytes that are read for one answer, of logs of which little crosses, before others have a turn.
const MAX_READ_BYTES: u64 = 16 << 20;
/// How soon a log is looked at again whose last records are readable and not yet synced.
const UNSYNCED: Duration = Duration::from_millis(20);

/// A request on a link.
pub(in crate::server) enum Ask {
    /// With a JSON body.
    Json(Box<RegionRequest>),
    /// For what is new.
    Fetch(LinkFetchRequest),
}

/// Takes answers, each with the correlation of its request.
pub(in crate::server) type Answers = Arc<dyn Fn(u64, Response) + Send + Sync>;

/// Begins to serve the link of a connection; it ends with the sender.
pub(in crate::server) fn start(
    shared: Arc<Shared>,
    answers: Answers,
) -> mpsc::UnboundedSender<(u64, Ask)> {
    let (sender, asks) = mpsc::unbounded_channel();
    let bandwidth = shared.regions.as_ref().map_or(0, |it| it.peer_bandwidth);
    let now = Instant::from_std(clock::instant());
    let source = Source {
        shared,
        answers,
        is_open: false,
        puller: None,
        told: 0,
        packs: false,
        places: Places::new(),
        budget: Budget::new(bandwidth, now),
        pause: None,
        followed: BTreeMap::new(),
        ready: Arc::default(),
        unsynced: BTreeSet::new(),
        lingering: BTreeMap::new(),
        backlog: BTreeSet::new(),
        standing: VecDeque::new(),
        next_number: 0,
        after: 0,
        after_backlog: 0,
    };
    tokio::spawn(source.run(asks));
    sender
}

/// The logs that may have something new.
#[derive(Default)]
struct Ready {
    handles: Mutex<BTreeSet<u32>>,
    notify: Notify,
}

impl Ready {
    fn insert(&self, handle: u32) {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        handles.insert(handle);
        self.notify.notify_one();
    }

    fn take(&self) -> BTreeSet<u32> {
        let mut handles = self.handles.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *handles)
    }
}

/// Wakes a link for one of its logs.
struct Grown {
    handle: u32,
    ready: Arc<Ready>,
}

impl Wake for Grown {
    fn wake(&self) {
        self.ready.insert(self.handle);
    }
}

struct Followed {
    name: ChannelName,
    id: Incarnation,
    /// From where on the puller has it.
    begins_at: Offset,
    next: Offset,
    /// Log start and epoch that were last said.
    said: Option<(Offset, LogEpoch)>,
    waker: Arc<dyn Wake>,
    /// Whether this region is its home, and not a copy that serves for it.
    is_home: bool,
    /// Record types wanted; `None` is all.
    types: Option<BTreeSet<String>>,
    /// The organisations that ask for it; none where the region does.
    orgs: BTreeSet<OrgName>,
    /// What was passed over and not told yet.
    skipped: Option<Skipped>,
}

impl Followed {
    /// The puller was sent, or told to have passed over, everything below.
    fn sent(&self) -> Offset {
        self.skipped.as_ref().map_or(self.next, Skipped::from)
    }
}

struct Standing {
    correlation: u64,
    max_bytes: u64,
    deadline: Instant,
}

struct Source {
    shared: Arc<Shared>,
    answers: Answers,
    is_open: bool,
    /// The region that pulls, once it has said so.
    puller: Option<RegionName>,
    /// Whether it takes packed items.
    packs: bool,
    places: Places,
    budget: Option<Budget>,
    /// When something may be sent again.
    pause: Option<Instant>,
    followed: BTreeMap<u32, Followed>,
    ready: Arc<Ready>,
    unsynced: BTreeSet<u32>,
    /// Logs of which something was passed over, and when that is to be told.
    lingering: BTreeMap<u32, Instant>,
    /// Logs that had more than one turn brought. The others come first.
    backlog: BTreeSet<u32>,
    standing: VecDeque<Standing>,
    next_number: u64,
    /// The log that had the last turn.
    after: u32,
    /// The log with a backlog that had the last turn.
    after_backlog: u32,
    /// Bytes of internal topics in the answer under way.
    told: u64,
}

impl Source {
    async fn run(mut self, mut asks: mpsc::UnboundedReceiver<(u64, Ask)>) {
        let mut consents = self
            .shared
            .regions
            .as_ref()
            .map(|it| it.consents.subscribe());
        loop {
            self.answer_standing().await;
            let deadline = self.standing.front().map(|first| first.deadline);
            let waits = deadline.is_some();
            let ready = self.ready.clone();
            let due = async move {
                match deadline {
                    Some(deadline) => sleep_until(deadline).await,
                    None => std::future::pending().await,
                }
            };
            // Whatever has its time, also for what the link has to spend.
            let told = self.lingering.values().min().copied();
            let told = self.pause.or(match (told, self.places.due()) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            });
            let moved = self.places.moved.clone();
            let tell = async move {
                match told {
                    Some(at) => sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            let stop = self.shared.stop.clone();
            tokio::select! {
                ask = asks.recv() => match ask {
                    Some((correlation, ask)) => self.take(correlation, ask).await,
                    None => break,
                },
                () = ready.notify.notified(), if waits => {}
                () = due, if waits => {}
                () = moved.0.notified() => self.places.moves(),
                () = tell, if waits => {
                    let now = Instant::from_std(clock::instant());
                    let due = self.lingering.extract_if(.., |_, at| *at <= now);
                    due.for_each(|(handle, _)| self.ready.insert(handle));
                }
                () = changed(consents.as_mut()) => self.look_at_consent(),
                () = sleep(UNSYNCED), if waits && !self.unsynced.is_empty() => {
                    for handle in std::mem::take(&mut self.unsynced) {
                        self.ready.insert(handle);
                    }
                }
                () = stop.cancelled() => {
                    for standing in self.standing.drain(..) {
                        (self.answers)(standing.correlation, Response::Error(shutting_down()));
                    }
                    break;
                }
            }
        }
        {
            let moved = self.places.moved.clone() as Arc<dyn Wake>;
            let mut broker = self.shared.broker();
            let log = broker.positions_log();
            broker.forget_waiter(log, &moved);
        }
        let handles: Vec<u32> = self.followed.keys().copied().collect();
        handles.into_iter().for_each(|handle| self.unfollow(handle));
    }

    fn say(&self, correlation: u64, answer: Result<RegionResponse, WireError>) {
        let response = match answer {
            Ok(response) => Response::Region(Box::new(response)),
            Err(error) => Response::Error(error),
        };
        (self.answers)(correlation, response);
    }

    async fn take(&mut self, correlation: u64, ask: Ask) {
        let request = match ask {
            Ask::Json(request) => *request,
            Ask::Fetch(fetch) => return self.fetch(correlation, fetch),
        };
        let Some(regions) = self.shared.regions.clone() else {
            return self.say(correlation, Err(not_a_region()));
        };
        if let RegionRequest::LinkOpen(open) = request {
            let opened = self.open(&regions, &open).map(RegionResponse::LinkOpen);
            return self.say(correlation, opened);
        }
        if !self.is_open {
            return self.say(correlation, Err(link_required()));
        }
        match request {
            RegionRequest::LinkFollow(follow) => {
                let mut logs = Vec::with_capacity(follow.logs.len());
                if follow.logs.len() > MAX_LOGS {
                    let text = format!("{} logs, the limit is {MAX_LOGS}", follow.logs.len());
                    let error = WireError::new(ErrorCode::InvalidRequest, text);
                    return self.say(correlation, Err(error));
                }
                for log in follow.logs {
                    let handle = log.handle;
                    logs.push(match self.follow(&regions, log).await {
                        Ok(followed) => followed,
                        Err(error) => FollowedLog::Refused { handle, error },
                    });
                }
                let answer = RegionResponse::LinkFollow(LinkFollowed { logs });
                self.say(correlation, Ok(answer));
            }
            RegionRequest::LinkUnfollow(unfollow) => {
                for handle in unfollow.handles {
                    self.unfollow_for_good(handle, &regions);
                }
                let answer = RegionResponse::LinkUnfollow(LinkUnfollowed {});
                self.say(correlation, Ok(answer));
            }
            RegionRequest::LinkDirectory(ask) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                let by = self.puller.clone().unwrap_or_else(|| regions.name.clone());
                tokio::spawn(async move {
                    let response = match directory::serve(&shared, &regions, &by, ask).await {
                        Ok(told) => Response::Region(Box::new(RegionResponse::LinkDirectory(told))),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            RegionRequest::LinkFind(asked) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                tokio::spawn(async move {
                    let response = match super::matters::serve(&shared, asked).await {
                        Ok(found) => Response::Region(Box::new(RegionResponse::LinkFind(found))),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            RegionRequest::LinkCreate(asked) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                tokio::spawn(async move {
                    let (caller, by) = (Caller::LOCAL, Some(&asked.by));
                    let response = match create(&shared, &caller, asked.create, by).await {
                        Response::ChannelCreate(created) => {
                            Response::Region(Box::new(RegionResponse::LinkCreate(created)))
                        }
                        other => other,
                    };
                    answers(correlation, response);
                });
            }
            // These hold up nothing else.
            RegionRequest::LinkLogs(logs) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                let puller = self.puller.clone();
                tokio::spawn(async move {
                    let response = match list(&shared, &regions, puller.as_ref(), logs).await {
                        Ok(page) => Response::Region(Box::new(RegionResponse::LinkLogs(page))),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            RegionRequest::LinkSeen(asked) => {
                let saw = super::seen::told(&self.shared, &regions, &asked);
                self.say(correlation, Ok(RegionResponse::LinkSeen(saw)));
            }
            RegionRequest::LinkDigest(asked) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                tokio::spawn(async move {
                    let range = asked.from..asked.to;
                    let digest = digest(&shared, &asked.name, asked.incarnation, range).await;
                    let response = match digest {
                        Ok(digest) => {
                            Response::Region(Box::new(RegionResponse::LinkDigest(digest)))
                        }
                        Err(error) => Response::Error(answer::refused(&error)),
                    };
                    answers(correlation, response);
                });
            }
            // Nor do these, which wait for disks and other regions.
            request @ (RegionRequest::HomeFence(_)
            | RegionRequest::HomeDecline(_)
            | RegionRequest::HomeTake(_)) => {
                let (shared, answers) = (self.shared.clone(), self.answers.clone());
                let answer = super::moving::answer_link(shared, self.puller.clone(), request);
                tokio::spawn(async move {
                    let response = match answer.await {
                        Ok(response) => Response::Region(Box::new(response)),
                        Err(error) => Response::Error(error),
                    };
                    answers(correlation, response);
                });
            }
            other => {
                let text = format!("{} is no request of a link", other.kind().name());
                let error = WireError::new(ErrorCode::InvalidRequest, text);
                self.say(correlation, Err(error));
            }
        }
    }

    fn open(&mut self, regions: &Regions, open: &LinkOpen) -> Result<LinkOpened, WireError> {
        let mismatch = |text: String| {
            WireError::new(ErrorCode::RegionMismatch, text)
                .with("expected", open.expect.as_str())
                .with("region", regions.name.as_str())
        };
        if self.is_open {
            let text = "the connection is a link already";
            return Err(WireError::new(ErrorCode::InvalidRequest, text));
        }
        if open.expect != regions.name {
            let text = format!(
                "region `{}` is meant, this is `{}`",
                open.expect, regions.name
            );
            return Err(mismatch(text));
        }
        if open.directory_id == self.shared.directory_id || open.region == regions.name {
            return Err(mismatch("a region links to itself".to_owned()));
        }
        if RegionNumber::of(&open.region) == RegionNumber::of(&regions.name) {
            let text = format!(
                "regions `{}` and `{}` have the same number: one of them needs another name",
                open.region, regions.name
            );
            return Err(mismatch(text));
        }
        if leaving::is_out(&self.shared.broker(), regions, &open.region) {
            return Err(leaving::has_left(&open.region));
        }
        self.is_open = true;
        self.puller = Some(open.region.clone());
        self.packs = open.pack;
        Ok(LinkOpened {
            region: regions.name.clone(),
            directory_id: self.shared.directory_id,
            epoch: self.shared.epoch,
            now: clock::now(),
            max_followed: u32::try_from(MAX_FOLLOWED).unwrap_or(u32::MAX),
        })
    }

    async fn follow(
        &mut self,
        regions: &Regions,
        log: FollowLog,
    ) -> Result<FollowedLog, WireError> {
        let handle = log.handle;
        if self.followed.contains_key(&handle) {
            let text = format!("handle {handle} is in use");
            return Err(WireError::new(ErrorCode::InvalidRequest, text).with("handle", handle));
        }
        if self.followed.len() >= MAX_FOLLOWED {
            let text = format!("the link follows {MAX_FOLLOWED} logs, which is the limit");
            let error = WireError::new(ErrorCode::TooManyFollowed, text);
            return Err(error.with("limit", MAX_FOLLOWED));
        }
        let name = &log.name;
        self.check_consent(name, &log.orgs)?;
        let (id, is_home, log_start, flushed, epoch) = {
            let broker = self.shared.broker();
            let (id, is_home) = match broker.residence(name) {
                Residence::Home(id)
                    if !name.is_internal()
                        || Travelling::of(name).is_some()
                        || travel::is_of_agents(name) =>
                {
                    (id, true)
                }
                Residence::Copy(id, _)
                    if broker.copy_of(id).is_none_or(CopyOf::is_whole)
                        && regions.is_settled(&broker, id) =>
                {
                    (id, false)
                }
                Residence::Copy(_, home) => {
                    let channel = name.to_string();
                    let error = BrokerError::LivesElsewhere { channel, home };
                    return Err(answer::refused(&error));
                }
                _ => return Err(absent(name)),
            };
            let log = broker.storage().log(id).ok_or_else(|| absent(name))?;
            let (start, flushed) = (log.log_start(), log.flushed());
            (id, is_home, start, flushed, log.last_epoch())
        };
        let refused = |error: &BrokerError| answer::refused(error);
        let from = match log.from {
            FollowFrom::Offset(offset) => offset,
            FollowFrom::Since(Since::Start) => log_start,
            FollowFrom::Since(Since::End) => flushed,
            FollowFrom::Since(Since::Time(time)) => {
                let place = Place::Time(time);
                let mut fetch = Fetch::new(name.clone(), Some(id), place, LogEpoch(0), 0);
                let found = fetching::run(&self.shared, &mut fetch).await;
                found
                    .map_err(|error| refused(&error))?
                    .head
                    .from
                    .min(flushed)
            }
        };
        let readable = |offset: Offset| offset >= log_start && offset < flushed;
        let (before, holds) = match log.last {
            Some(last) => {
                let at = from.0.checked_sub(1).map(Offset).filter(|at| readable(*at));
                let before = match at {
                    Some(at) => batch_at(&self.shared, name, id, at).await,
                    None => Ok(None),
                };
                (
                    before.map_err(|error| refused(&error))?,
                    (Before::Batch(last), None),
                )
            }
            None if log.last_epoch.is_some() => {
                let epoch = log.last_epoch.unwrap_or_default();
                (None, (Before::OwnGap(epoch), None))
            }
            None => {
                // A new copy begins with a whole batch.
                let holds = match readable(from) {
                    true => batch_at(&self.shared, name, id, from).await,
                    false => Ok(None),
                };
                (
                    None,
                    (Before::Nothing, holds.map_err(|error| refused(&error))?),
                )
            }
        };
        let (before_from, holds) = holds;
        let source = Has {
            incarnation: id,
            is_home,
            log_start,
            flushed,
            epoch,
            before,
        };
        let wanted = Wanted {
            incarnation: log.incarnation,
            from,
            before: before_from,
        };
        let from = check_follow(&source, &wanted, holds).map_err(|error| diverged(&error))?;
        if !is_home && from < log_start {
            return Err(lacks(from..log_start));
        }
        let waker: Arc<dyn Wake> = Arc::new(Grown {
            handle,
            ready: self.ready.clone(),
        });
        tracing::debug!(log = %id, %name, %from, region = %regions.name, "a log is followed");
        let followed = Followed {
            name: log.name,
            id,
            begins_at: log.begins_at.unwrap_or(from),
            next: from,
            said: None,
            waker,
            is_home,
            types: log.types,
            orgs: log.orgs,
            skipped: None,
        };
        self.followed.insert(handle, followed);
        self.places.followed(handle, id);
        self.ready.insert(handle);
        Ok(FollowedLog::Followed {
            handle,
            incarnation: id,
            from,
        })
    }

    /// The puller wants a log no longer, and may remove what it has of it.
    fn unfollow_for_good(&mut self, handle: u32, regions: &Regions) {
        let id = self.followed.get(&handle).map(|followed| followed.id);
        if let (Some(id), Some(region)) = (id, &self.puller) {
            regions.held.forgets(id, region);
        }
        self.unfollow(handle);
    }

    /// Takes what the puller holds synced of each log.
    fn take_held(&self, held: &[(u32, Offset)]) {
        let (Some(regions), Some(region)) = (&self.shared.regions, &self.puller) else {
            return;
        };
        if leaving::is_out(&self.shared.broker(), regions, region) {
            return;
        }
        for (handle, offset) in held {
            // A copy of some types does not hold what was passed over.
            let followed = self.followed.get(handle);
            if let Some(followed) = followed.filter(|it| it.types.is_none()) {
                let held = followed.begins_at..(*offset).min(followed.next);
                regions.held.says(followed.id, region, held);
            }
        }
    }

    /// Checks that who pulls may hold a channel, and that it may cross for one of those that ask for
    /// it there; a refusal is on the record.
    fn check_consent(&self, name: &ChannelName, orgs: &BTreeSet<OrgName>) -> Result<(), WireError> {
        let Some(puller) = &self.puller else {
            return Ok(());
        };
        let mut broker = self.shared.broker();
        if broker.may_hold(name, puller) && broker.may_cross_for(name, orgs) {
            return Ok(());
        }
        let error = answer::refused(&BrokerError::NoConsent {
            channel: name.to_string(),
            region: puller.clone(),
        });
        auditing::Draft::of_copying(name, puller).refused(&mut broker, &Caller::LOCAL, &error);
        drop(broker);
        self.shared.wake_committer();
        tracing::warn!(channel = %name, region = %puller, "a region asked for what it may not hold");
        Err(error)
    }

    /// Has the logs looked at that who pulls may not hold any more: they are sent no further.
    fn look_at_consent(&mut self) {
        let Some(puller) = &self.puller else { return };
        let broker = self.shared.broker();
        for (handle, followed) in &self.followed {
            let may_cross = broker.may_cross_for(&followed.name, &followed.orgs);
            if !broker.may_hold(&followed.name, puller) || !may_cross {
                self.ready.insert(*handle);
            }
        }
    }

    fn unfollow(&mut self, handle: u32) {
        self.unsynced.remove(&handle);
        self.lingering.remove(&handle);
        self.backlog.remove(&handle);
        if let Some(followed) = self.followed.remove(&handle) {
            self.places.left(handle, followed.id);
            let mut broker = self.shared.broker();
            broker.forget_waiter(followed.id, &followed.waker);
        }
    }

    fn fetch(&mut self, correlation: u64, request: LinkFetchRequest) {
        let refused = |error| (self.answers)(correlation, Response::Error(error));
        if !self.is_open {
            return refused(link_required());
        }
        if self.standing.len() >= MAX_STANDING {
            let text = format!("{MAX_STANDING} requests of the link wait, which is the limit");
            return refused(WireError::new(ErrorCode::Overloaded, text).retry_after_ms(100));
        }
        self.take_held(&request.held);
        let wait = Duration::from_millis(u64::from(request.max_wait_ms)).min(MAX_WAIT);
        self.standing.push_back(Standing {
            correlation,
            // The first batch is sent however large, and so is one where nothing is asked for.
            max_bytes: u64::from(request.max_bytes).clamp(1, MAX_ANSWER_BYTES),
            deadline: Instant::from_std(clock::instant()) + wait,
        });
    }

    /// Answers what stands and has something to be told, or has waited for long enough.
    async fn answer_standing(&mut self) {
        while let Some(first) = self.standing.front() {
            let is_over = Instant::from_std(clock::instant()) >= first.deadline;
            let items = self.collect(first.max_bytes).await;
            if items.is_empty() && !is_over {
                return;
            }
            let Some(first) = self.standing.pop_front() else {
                return;
            };
            let response = LinkFetchResponse {
                number: self.next_number,
                now: clock::now(),
                items,
            };
            self.next_number += 1;
            (self.answers)(first.correlation, Response::LinkFetch(response));
        }
    }

    /// What is new. Logs that have little come first; those with a backlog share what is left, by
    /// turns, so that it starves no live log.
    async fn collect(&mut self, max_bytes: u64) -> Vec<LinkItem> {
        let now = Instant::from_std(clock::instant());
        self.pause = None;
        let max_bytes = match self.budget.as_mut().map(|budget| budget.allowed(now)) {
            None => max_bytes,
            Some(Some(allowed)) => max_bytes.min(allowed),
            Some(None) => {
                self.pause = self.budget.as_ref().map(Budget::due);
                return Vec::new();
            }
        };
        let ready = self.ready.take();
        if ready.is_empty() && self.backlog.is_empty() && !self.places.is_due() {
            return Vec::new();
        }
        let (mut items, mut bytes, mut passed) = (Vec::new(), 0, 0);
        // Each has its turn: those behind the last one come first.
        let live = ready.difference(&self.backlog).copied().collect();
        for handle in behind(&live, self.after) {
            if bytes >= max_bytes {
                self.ready.insert(handle);
                continue;
            }
            self.after = handle;
            let part = (max_bytes - bytes).clamp(MIN_LOG_BYTES, MAX_LOG_BYTES);
            let (sent, read) = self.read(handle, part, &mut items).await;
            bytes += sent;
            passed += read - sent;
        }
        while bytes < max_bytes && passed < MAX_READ_BYTES {
            let Some(handle) = behind(&self.backlog, self.after_backlog).next() else {
                break;
            };
            self.after_backlog = handle;
            let part = (max_bytes - bytes).clamp(MIN_LOG_BYTES, MAX_LOG_BYTES);
            let (sent, read) = self.read(handle, part, &mut items).await;
            bytes += sent;
            passed += read - sent;
        }
        if passed >= MAX_READ_BYTES {
            // There may be nothing to answer yet, and other requests have their turn first.
            self.ready.notify.notify_one();
        }
        if let Some(regions) = &self.shared.regions {
            let told = std::mem::take(&mut self.told);
            let sent = bytes - told;
            regions.sent_bytes.fetch_add(sent, Ordering::Relaxed);
        }
        let mut way = bytes;
        if self.packs && bytes > 0 {
            (items, way) = packed(items).await;
        }
        if let Some(budget) = &mut self.budget {
            budget.spend(way);
        }
        let mut broker = self.shared.broker();
        self.places.tell(&mut broker, &self.followed, &mut items);
        drop(broker);
        items
    }

    /// Reads what is new in a log, and notes whether there is more; the bytes of it that are sent,
    /// and of all that was read.
    async fn read(&mut self, handle: u32, max_bytes: u64, items: &mut Vec<LinkItem>) -> (u64, u64) {
        self.backlog.remove(&handle);
        let followed = self.followed.get(&handle);
        if let Some(Err(error)) = followed.map(|it| self.check_consent(&it.name, &it.orgs)) {
            self.unfollow(handle);
            items.push(LinkItem::Stop { handle, error });
            return (0, 0);
        }
        let Some(followed) = self.followed.get_mut(&handle) else {
            return (0, 0);
        };
        match read(&self.shared, handle, followed, max_bytes, items).await {
            Ok(Read { sent, read, rest }) => {
                let always_travels = Travelling::of(&followed.name).is_some();
                self.told += if always_travels { sent } else { 0 };
                if let Some(skipped) = &followed.skipped {
                    self.lingering.insert(handle, skipped.due());
                } else {
                    self.lingering.remove(&handle);
                }
                match rest {
                    Rest::More => {
                        self.backlog.insert(handle);
                    }
                    Rest::Unsynced => {
                        self.unsynced.insert(handle);
                    }
                    Rest::Nothing => {}
                }
                (sent, read)
            }
            Err(error) => {
                match (error.known(), self.shared.regions.clone()) {
                    (Some(ErrorCode::ChannelNotFound), Some(regions)) => {
                        self.unfollow_for_good(handle, &regions);
                    }
                    _ => self.unfollow(handle),
                }
                items.push(LinkItem::Stop { handle, error });
                (0, 0)
            }
        }
    }
}

/// The items with their batches packed, where that is worth it; and the bytes of batches that go on
/// the way.
async fn packed(items: Vec<LinkItem>) -> (Vec<LinkItem>, u64) {
    let pack = move || {
        let mut way = 0;
        let each = items.into_iter().map(|item| {
            let LinkItem::Batches {
                handle,
                flushed,
                batches,
            } = item
            else {
                return item;
            };
            let packed = packing::pack(&batches).zip(u32::try_from(batches.len()).ok());
            way += packed
                .as_ref()
                .map_or(batches.len(), |(frame, _)| frame.len()) as u64;
            match packed {
                Some((frame, unpacked)) => LinkItem::Packed {
                    handle,
                    flushed,
                    unpacked,
                    frame,
                },
                None => LinkItem::Batches {
                    handle,
                    flushed,
                    batches,
                },
            }
        });
        let items: Vec<LinkItem> = each.collect();
        (items, way)
    };
    match tokio::task::spawn_blocking(pack).await {
        Ok(packed) => packed,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and with it the link.
        Err(_) => std::future::pending().await,
    }
}

/// The handles in order, those behind `after` first.
fn behind(handles: &BTreeSet<u32>, after: u32) -> impl Iterator<Item = u32> {
    let first = handles.range(after.saturating_add(1)..);
    first.chain(handles.range(..=after)).copied()
}

/// Waits until it changes who may hold what.
async fn changed(consents: Option<&mut watch::Receiver<u64>>) {
    let changed = match consents {
        Some(consents) => consents.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        std::future::pending::<()>().await;
    }
}

/// What was read of a log.
struct Read {
    sent: u64,
    /// With what does not cross.
    read: u64,
    rest: Rest,
}

/// What is left of a log.
enum Rest {
    /// There is more to send.
    More,
    /// There is more to read, which is not synced yet.
    Unsynced,
    /// It waits until it grows.
    Nothing,
}

/// Reads what a log has behind what was sent: only what is synced here.
async fn read(
    shared: &Shared,
    handle: u32,
    followed: &mut Followed,
    max_bytes: u64,
    items: &mut Vec<LinkItem>,
) -> Result<Read, WireError> {
    let refused = |error: BrokerError| answer::refused(&error);
    let gone = || BrokerError::NoSuchChannel {
        name: followed.name.to_string(),
    };
    let (log_start, flushed, high_watermark, epoch) = {
        let mut broker = shared.broker();
        let is_it = broker.channel_is(&followed.name, followed.id);
        is_it.map_err(refused)?;
        // What is another's here is to be taken out first; then this region is a source again.
        let home = broker.home_of(followed.id).map(|home| home.region);
        let is_home = home.as_ref() == broker.region();
        let regions = shared.regions.as_ref();
        let is_settled = regions.is_none_or(|it| it.is_settled(&broker, followed.id));
        if let Some(home) = home.filter(|_| is_home != followed.is_home || !is_settled) {
            let channel = followed.name.to_string();
            return Err(refused(BrokerError::LivesElsewhere { channel, home }));
        }
        // Known before it is looked at, so that nothing that comes meanwhile is missed.
        broker.forget_waiter(followed.id, &followed.waker);
        broker.wake_on_append(followed.id, followed.waker.clone());
        let log = broker
            .storage()
            .log(followed.id)
            .ok_or_else(|| refused(gone()))?;
        let end = log.high_watermark();
        (
            log.log_start(),
            log.flushed().min(end),
            end,
            log.last_epoch(),
        )
    };
    if followed.said != Some((log_start, epoch)) {
        followed.said = Some((log_start, epoch));
        items.push(LinkItem::Head {
            handle,
            log_start,
            flushed,
            epoch,
        });
    }
    if followed.next < log_start {
        // Its home may still have what is gone here.
        if !followed.is_home {
            return Err(lacks(followed.next..log_start));
        }
        filter::tell(handle, followed, flushed, items);
        items.push(LinkItem::Gap {
            handle,
            from: followed.next,
            to: log_start,
        });
        followed.next = log_start;
    }
    if followed.skipped.as_ref().is_some_and(Skipped::is_due) {
        filter::tell(handle, followed, flushed, items);
    }
    if followed.next >= flushed {
        let rest = match high_watermark > flushed {
            true => Rest::Unsynced,
            false => Rest::Nothing,
        };
        return Ok(Read {
            sent: 0,
            read: 0,
            rest,
        });
    }
    let place = Place::Offset(followed.next);
    let (name, id) = (followed.name.clone(), Some(followed.id));
    let mut fetch = Fetch::new(name, id, place, LogEpoch(0), max_bytes);
    let fetched = match fetching::run(shared, &mut fetch).await {
        Ok(fetched) => fetched,
        // Retention was faster: the next look sees where it begins now.
        Err(BrokerError::Read(ReadError::OutOfRange { available, .. }))
            if available.start > followed.next =>
        {
            return Ok(Read {
                sent: 0,
                read: 0,
                rest: Rest::More,
            });
        }
        Err(error) => return Err(refused(error)),
    };
    let (batches, next) = below(&fetched.slices.parts, followed.next, flushed);
    if !followed.is_home
        && let Some(gap) = filter::own_gap(&batches)
    {
        return Err(lacks(gap));
    }
    followed.next = next;
    let read = batches.len() as u64;
    let sent = match &followed.types {
        Some(_) => filter::send(handle, followed, &batches, flushed, items),
        None if batches.is_empty() => 0,
        None => {
            let sent = batches.len() as u64;
            items.push(LinkItem::Batches {
                handle,
                flushed,
                batches,
            });
            sent
        }
    };
    let rest = match next < flushed {
        true => Rest::More,
        false if high_watermark > flushed => Rest::Unsynced,
        false => Rest::Nothing,
    };
    Ok(Read { sent, read, rest })
}

/// The whole batches from `next` on that end at or below `flushed`, and the offset after them.
fn below(parts: &[Bytes], mut next: Offset, flushed: Offset) -> (Bytes, Offset) {
    let mut batches = BytesMut::new();
    for part in parts {
        let mut rest = &part[..];
        while let Ok(header) = BatchHeader::peek(rest) {
            let Some((batch, after)) = rest.split_at_checked(header.len()) else {
                break;
            };
            if header.end_offset() > flushed {
                return (batches.freeze(), next);
            }
            if header.base_offset() >= next {
                batches.extend_from_slice(batch);
                next = header.end_offset();
            }
            rest = after;
        }
    }
    (batches.freeze(), next)
}

/// The logs that may be pulled from here and match, once there is something to tell.
async fn list(
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
    let offered = travel::offered(broker, regions, puller, &asked.topics);
    if asked.patterns.is_empty() {
        // Whoever asks for topics alone waits for another topic, not for any channel.
        return LinkLogsPage {
            version: travel::version_of(&offered),
            logs: offered,
            next: None,
        };
    }
    let mut logs = Vec::new();
    let mut next = None;
    for (id, name, copy) in broker.offered(asked.cursor.as_deref().unwrap_or("")) {
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
        logs.extend(offered);
    }
    LinkLogsPage {
        version,
        logs,
        next,
    }
}

fn not_a_region() -> WireError {
    answer::refused(&BrokerError::NotARegion)
}

fn link_required() -> WireError {
    let text = "the connection is no link: link.open comes first";
    WireError::new(ErrorCode::LinkRequired, text)
}

fn absent(name: &ChannelName) -> WireError {
    answer::refused(&BrokerError::NoSuchChannel {
        name: name.to_string(),
    })
}

/// What a copy that serves for its home answers where it lacks what others may have.
fn lacks(range: std::ops::Range<Offset>) -> WireError {
    let text = format!(
        "this copy does not have offsets {}..{}",
        range.start, range.end
    );
    WireError::new(ErrorCode::SourceBehind, text).with("end", range.start.0)
}

fn diverged(refusal: &FollowRefusal) -> WireError {
    let text = refusal.to_string();
    match refusal {
        FollowRefusal::Recreated { found, here } => {
            WireError::new(ErrorCode::ChannelRecreated, text)
                .with("expected", found.to_string())
                .with("actual", here.to_string())
        }
        FollowRefusal::HomeEndsBefore { from, end } => WireError::new(ErrorCode::Diverged, text)
            .with("offset", from.0)
            .with("end", end.0),
        FollowRefusal::SourceBehind { end, .. } => {
            WireError::new(ErrorCode::SourceBehind, text).with("end", end.0)
        }
        FollowRefusal::OtherBatch { from, .. } => {
            WireError::new(ErrorCode::Diverged, text).with("offset", from.0)
        }
        _ => WireError::new(ErrorCode::Diverged, text),
    }
}
