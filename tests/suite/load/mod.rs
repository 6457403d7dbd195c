//! Load on a broker that may go at any moment, and a ledger of what it has promised.
//!
//! A [`Load`] outlives the brokers it runs against: [`Load::begin`] sets its workers on one,
//! [`Run::end`] takes them back, and [`Load::check`] holds what the next broker serves against
//! everything that any of them was told.

mod atomic;
pub mod big;
mod ledger;
mod writer;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::json;

pub use ledger::{Draws, Ledger};

use crate::process::wait_for;
use crate::raw::{CREATE, Raw};

/// Channels that are synced before they are acknowledged.
const SYNCED: [&str; 3] = ["load.a", "load.b", "load.c"];

/// A channel that is acknowledged when it is written.
const WRITTEN: &str = "load.written";

/// Where an atomic publisher ticks.
const TICKS: &str = "load.ticks";

/// One thread of a load; it keeps what it knows from one broker to the next.
trait Worker: Send + std::fmt::Debug {
    /// Works until it is over, or the broker does not answer any more.
    fn work(&mut self, site: &Site) -> io::Result<()>;

    /// Holds what it was told against what there is, while nobody works; after the ledger's check.
    fn check(&mut self, raw: &mut Raw, ledger: &Ledger);
}

/// Where a worker works.
#[derive(Clone, Debug)]
struct Site {
    address: SocketAddr,
    ledger: Arc<Ledger>,
    over: Arc<AtomicBool>,
}

impl Site {
    fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }
}

/// Writers, atomic publishers and consumers at rest.
#[derive(Debug)]
pub struct Load {
    pub ledger: Arc<Ledger>,
    workers: Vec<Box<dyn Worker>>,
    /// The level of [`WRITTEN`].
    written: &'static str,
}

/// A load at work; it ends with its owner, also when a test panics.
pub struct Run {
    /// The load without its workers.
    rest: Load,
    over: Over,
    threads: Vec<JoinHandle<Box<dyn Worker>>>,
}

struct Over(Arc<AtomicBool>);

impl Drop for Over {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

impl Load {
    /// Three writers, an atomic publisher and two consumers, whose work follows from `seed`.
    pub fn new(seed: u64) -> Self {
        let [a, b, c] = SYNCED;
        let channels = [a, b, c, WRITTEN, TICKS];
        Self {
            ledger: Arc::new(Ledger::new(seed, &channels)),
            written: "written",
            workers: vec![
                Box::new(writer::Writer::new(1, seed, &[a, b])),
                Box::new(writer::Writer::new(2, seed, &[b, WRITTEN])),
                Box::new(writer::Writer::new(3, seed, &[a, c, WRITTEN])),
                Box::new(atomic::Atomic::new(4, seed, TICKS, [a, WRITTEN])),
                Box::new(atomic::Follower::new("one", a)),
                Box::new(atomic::Follower::new("two", b)),
            ],
        }
    }

    /// The same with synced channels alone, for power cuts.
    pub fn durable(seed: u64) -> Self {
        Self {
            written: "synced",
            ..Self::new(seed)
        }
    }

    /// Creates the channels.
    pub fn create(&self, raw: &mut Raw) {
        for channel in SYNCED.iter().chain([&WRITTEN, &TICKS]) {
            let durability = if *channel == WRITTEN {
                self.written
            } else {
                "synced"
            };
            let body = json!({"name": channel, "config": {"durability": durability}});
            raw.json(CREATE, &body).of(CREATE);
        }
    }

    /// Sets every worker to work on the broker at `address`.
    pub fn begin(mut self, address: SocketAddr) -> Run {
        let site = Site {
            address,
            ledger: self.ledger.clone(),
            over: Arc::default(),
        };
        let over = Over(site.over.clone());
        let start = |mut worker: Box<dyn Worker>| {
            let site = site.clone();
            std::thread::spawn(move || {
                // A broker that went, or that refused for now, is tried again until it is over.
                while worker.work(&site).is_err() && !site.is_over() {
                    std::thread::sleep(Duration::from_millis(5));
                }
                worker
            })
        };
        let workers = std::mem::take(&mut self.workers);
        let threads = workers.into_iter().map(start).collect();
        Run {
            rest: self,
            over,
            threads,
        }
    }

    /// Holds what there is against what was told since the last check.
    pub fn check(&mut self, address: SocketAddr) {
        let mut raw = Raw::greeted(address);
        self.ledger.check(&mut raw);
        for worker in &mut self.workers {
            worker.check(&mut raw, &self.ledger);
        }
    }

    /// Holds all that there is against all that was told.
    pub fn check_all(&mut self, address: SocketAddr) {
        self.ledger.check_all(&mut Raw::greeted(address));
        self.check(address);
    }
}

impl Run {
    /// Lets every worker finish what the broker still answers, and rest.
    pub fn end(self) -> Load {
        drop(self.over);
        let rest = |thread: JoinHandle<Box<dyn Worker>>| match thread.join() {
            Ok(worker) => worker,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        Load {
            workers: self.threads.into_iter().map(rest).collect(),
            ..self.rest
        }
    }

    /// Waits until one more record is acknowledged.
    pub fn goes_on(&self) {
        let before = self.promised();
        wait_for("an acknowledgement", || {
            (self.promised() > before).then_some(())
        });
    }

    /// Records that are acknowledged so far.
    pub fn promised(&self) -> u64 {
        let is_working = !self.threads.iter().any(JoinHandle::is_finished);
        assert!(is_working, "a worker has met what must not be: see above");
        self.rest.ledger.promised()
    }
}
