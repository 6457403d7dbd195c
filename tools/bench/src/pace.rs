//! The arrivals of an open loop: a thread that lets them go when they are due.
//!
//! The runtime's timer counts milliseconds, which would be most of what is measured; a thread that
//! sleeps is late by the scheduler's some ten microseconds, and tells by how much.

use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::clock;
use crate::measured::{histogram, micros};

/// The times at which one connection is to send.
pub type Arrivals = UnboundedReceiver<Instant>;

/// A thread that tells each connection in turn when it is to send.
pub struct Pacer {
    thread: JoinHandle<Histogram<u64>>,
}

impl Pacer {
    /// Lets `rate` arrivals a second go from `from` to `end`, one after the other to each of
    /// `connections`.
    pub fn start(
        rate: f64,
        connections: usize,
        from: Instant,
        end: Instant,
    ) -> (Self, Vec<Arrivals>) {
        let (senders, arrivals): (Vec<_>, Vec<_>) =
            (0..connections).map(|_| unbounded_channel()).unzip();
        let interval = Duration::from_secs_f64(1.0 / rate);
        let thread = std::thread::spawn(move || pace(interval, &senders, from, end));
        (Self { thread }, arrivals)
    }

    /// How late the arrivals were let go, in microseconds.
    pub fn lateness(self) -> Result<Histogram<u64>> {
        self.thread
            .join()
            .map_err(|_| anyhow!("the pacing thread panicked"))
    }
}

fn pace(
    interval: Duration,
    senders: &[UnboundedSender<Instant>],
    from: Instant,
    end: Instant,
) -> Histogram<u64> {
    let mut late = histogram();
    let mut due = from;
    for sender in senders.iter().cycle() {
        if due >= end {
            break;
        }
        let wait = due.saturating_duration_since(clock());
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
        late.saturating_record(micros(due.elapsed()));
        // A connection that has failed says so itself.
        let _ = sender.send(due);
        due += interval;
    }
    late
}
