//! The side of a link that serves: what is followed, and what is new in it.
//!
//! One task for each link holds all of it and answers in the order of the requests. A log that has
//! nothing new costs nothing: it stands among the broker's waiters until it grows.

mod answering;
mod budget;
mod filter;
mod follow;
mod listing;
mod places;
mod reading;
mod turns;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use self::budget::Budget;
use self::filter::Skipped;
use self::places::Places;
use crate::broker::Wake;
use crate::protocol::{
    ErrorCode, LinkFetchRequest, RegionRequest, RegionResponse, Response, WireError,
};
use crate::server::clock;
use crate::server::connection::shutting_down;
use crate::server::shared::Shared;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, OrgName, RegionName};

/// Longest that a request waits.
const MAX_WAIT: Duration = Duration::from_secs(60);
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

fn link_required() -> WireError {
    let text = "the connection is no link: link.open comes first";
    WireError::new(ErrorCode::LinkRequired, text)
}
