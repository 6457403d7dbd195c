//! What connections, committer and keeper share.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

use tokio::sync::{Notify, Semaphore, watch};
use tokio_util::sync::CancellationToken;

use super::buffers::Buffers;
use super::clock;
use super::doorstep::Doorstep;
use super::entrance::Complaints;
use super::metrics::Metrics;
use super::options::ServeOptions;
use super::quota::Quotas;
use super::ranks;
use super::region::Regions;
use super::room::AnswerRoom;
use crate::broker::{Broker, Wait, Wake};
use crate::storage::{Outcome, Progress};
use crate::tls::ServerTls;
use crate::types::{Incarnation, LogEpoch, Timestamp};

/// A fetch is refused after it found no room for its answer for this long.
const ROOM_TIMEOUT: Duration = Duration::from_secs(20);

/// The broker and the ways to wake those who work on it.
pub(crate) struct Shared {
    broker: Mutex<Broker>,
    /// How far its rounds have come.
    progress: Arc<Progress>,
    /// Signalled when something was staged; waited for by the committer with the broker's lock.
    pub staged: Condvar,
    /// Set and signalled when the keeper has work.
    pub upkeep: (Mutex<bool>, Condvar),
    /// Set and signalled when a pass of the scrubber is asked for, and when it is to end.
    pub scrub: (Mutex<bool>, Condvar),
    pub options: ServeOptions,
    pub metrics: Metrics,
    pub connections: AtomicUsize,
    /// The certificate of both ports, where there is one.
    pub tls: Option<Arc<ServerTls>>,
    /// Holds back the log's lines about clients that are turned away.
    pub complaints: Complaints,
    /// KiB of large frames that may be received at once, and the room for them.
    pub receive_kib: u32,
    pub receive_room: Arc<Semaphore>,
    /// Memory of large frames.
    pub buffers: Buffers,
    /// Room for fetched batches until they are written.
    pub answer_room: AnswerRoom,
    readers: Arc<Semaphore>,
    /// Whose keys did not let them in.
    pub doorstep: Doorstep,
    /// What organisations and keys use.
    pub quotas: Quotas,
    /// Counts the changes of organisations, keys and grants.
    access_changes: watch::Sender<u64>,
    /// Cancelled when the server stops: connections finish what is due and close.
    pub stop: CancellationToken,
    /// Committer and keeper end once this is set and the broker is clean.
    pub is_ending: AtomicBool,
    /// This broker as a region, where it is one.
    pub(super) regions: Option<Arc<Regions>>,
    pub started_at: Timestamp,
    pub directory_id: Incarnation,
    pub epoch: LogEpoch,
}

impl Shared {
    pub fn new(broker: Broker, options: ServeOptions, metrics: Metrics, now: Timestamp) -> Self {
        let receive_kib = u32::try_from(options.receive_bytes / 1024).unwrap_or(u32::MAX);
        Self {
            receive_kib,
            receive_room: Arc::new(Semaphore::new(receive_kib as usize)),
            buffers: Buffers::default(),
            answer_room: AnswerRoom::new(options.send_bytes, ROOM_TIMEOUT),
            readers: Arc::new(Semaphore::new(options.max_readers)),
            directory_id: broker.storage().directory_id(),
            epoch: broker.storage().epoch(),
            staged: Condvar::new(),
            upkeep: (Mutex::new(false), Condvar::new()),
            scrub: (Mutex::new(false), Condvar::new()),
            doorstep: Doorstep::default(),
            quotas: Quotas::default(),
            access_changes: watch::Sender::new(0),
            regions: options
                .region
                .as_ref()
                .map(|region| Arc::new(Regions::new(region, &broker, now))),
            progress: broker.storage().progress().clone(),
            broker: Mutex::new(broker),
            options,
            metrics,
            connections: AtomicUsize::new(0),
            tls: None,
            complaints: Complaints::default(),
            stop: CancellationToken::new(),
            is_ending: AtomicBool::new(false),
            started_at: now,
        }
    }

    /// The broker, for a short section without I/O. It is locked before any lock of `ranks`.
    #[cfg_attr(debug_assertions, track_caller)]
    pub fn broker(&self) -> MutexGuard<'_, Broker> {
        ranks::locks_broker();
        self.broker
            .lock()
            .expect("a panic under the broker's lock ends the process")
    }

    /// What became of the append that an answer waits for, as far as that can be told without the
    /// broker's lock: pending, too, where anything has failed.
    pub fn outcome(&self, wait: Wait) -> Outcome {
        match self.progress.has_reached(wait.entry, wait.level) {
            Some(true) => Outcome::Done,
            Some(false) | None => Outcome::Pending,
        }
    }

    /// Whether anything has failed: what became of an append is then told by the broker alone.
    pub fn has_failed(&self) -> bool {
        self.progress.has_failed()
    }

    /// Books what the broker's state shows in the metrics.
    pub fn observe(&self) {
        if let Some(tls) = &self.tls {
            let seconds = tls.certificate().not_after.0 / 1000;
            #[expect(clippy::cast_precision_loss, reason = "gauges are floating point")]
            self.metrics.certificate_not_after.set(seconds as f64);
        }
        let broker = self.broker();
        self.metrics.observe(&broker, self.started_at, clock::now());
        if let Some(regions) = &self.regions {
            let told = regions.told(&broker, clock::now());
            self.metrics.observe_regions(&told);
        }
    }

    /// Tells the committer that something was staged.
    pub fn wake_committer(&self) {
        self.staged.notify_one();
    }

    /// Has everything synced that was staged.
    pub(super) fn broker_wants_sync(&self) {
        self.broker().want_sync();
        self.wake_committer();
    }

    /// Tells the keeper that there is upkeep.
    pub fn wake_keeper(&self) {
        *self.upkeep.0.lock().expect("never held across a panic") = true;
        self.upkeep.1.notify_one();
    }

    /// Does work that may wait for the disk on a thread of its own, of which there are only so
    /// many: whoever waits for a cold page holds up nobody else's requests.
    pub async fn on_disk<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let permit = self.readers.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            // Held by the work, which goes on when nobody waits for it any more.
            let _permit = permit;
            work()
        });
        match done.await {
            Ok(done) => done,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and with it whoever waits.
            Err(_) => std::future::pending().await,
        }
    }

    /// Tells connections that keys may have ended.
    pub fn tell_access_changed(&self) {
        self.access_changes.send_modify(|changes| *changes += 1);
    }

    /// Changes whenever keys may have ended.
    pub fn access_changes(&self) -> watch::Receiver<u64> {
        self.access_changes.subscribe()
    }

    /// Tells the scrubber to look what there is to do.
    pub fn wake_scrubber(&self) {
        *self.scrub.0.lock().expect("never held across a panic") = true;
        self.scrub.1.notify_one();
    }

    pub fn is_ending(&self) -> bool {
        self.is_ending.load(Ordering::Acquire)
    }
}

/// A waiter that wakes a task.
#[derive(Debug, Default)]
pub(crate) struct TaskWake(pub Notify);

impl Wake for TaskWake {
    fn wake(&self) {
        self.0.notify_one();
    }
}

impl TaskWake {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }
}
