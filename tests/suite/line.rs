//! A line between two regions that can be made slow, narrow, silent or cut, in either direction.
//!
//! The tests run over it, and `npayload-bench regions` measures over it.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{sleep, spawn};
use std::time::{Duration, Instant};

/// Pieces of up to [`PIECE_BYTES`] that are on their way at most, in each direction.
const PIECES: usize = 1024;
const PIECE_BYTES: usize = 64 << 10;
/// How far a narrow line may be late and make up for it: what a thread sleeps too long.
const SLACK: Duration = Duration::from_millis(2);

/// How a line is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Condition {
    /// Time that bytes take, in each direction.
    pub delay: Duration,
    /// Bytes that pass in a second, in each direction, of all connections together; `None` as many
    /// as come.
    pub bytes_per_s: Option<u64>,
    /// Nothing that the one who connects sends gets through meanwhile, and nobody is told.
    pub is_silent_there: bool,
    /// Nothing that the other one sends gets through meanwhile, and nobody is told.
    pub is_silent_back: bool,
    /// Connections are closed, and new ones at once.
    is_cut: bool,
    /// Close each connection once this many bytes have come back over it.
    pub cut_after: Option<u64>,
}

#[derive(Default)]
struct State {
    condition: Condition,
    open: HashMap<u64, [TcpStream; 2]>,
    connections: u64,
    /// Bytes that have passed, there and back.
    passed: [u64; 2],
    /// When the next byte may pass, there and back, where the line is narrow.
    free_at: [Option<Instant>; 2],
    is_over: bool,
}

/// A line to one address. It ends with its owner.
pub struct Line {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

impl Line {
    /// A line to a broker, in good condition.
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let state = Arc::new(Mutex::new(State::default()));
        let of_thread = state.clone();
        spawn(move || {
            for connection in listener.incoming().flatten() {
                if lock(&of_thread).is_over {
                    return;
                }
                connect(&of_thread, connection, target);
            }
        });
        Self { address, state }
    }

    /// Where it is dialled.
    pub fn url(&self) -> String {
        format!("npayload://{}", self.address)
    }

    /// Changes how it is, for what is under way too.
    pub fn set(&self, change: impl FnOnce(&mut Condition)) {
        change(&mut lock(&self.state).condition);
    }

    /// Cuts it: connections end, and new ones get nowhere.
    pub fn cut(&self) {
        lock(&self.state).condition.is_cut = true;
        self.flap();
    }

    /// Makes it as good as new.
    pub fn mend(&self) {
        lock(&self.state).condition = Condition::default();
    }

    /// Ends all connections once; they may be made again at once.
    pub fn flap(&self) {
        lock(&self.state).end_all();
    }

    /// Connections made so far.
    pub fn connections(&self) -> u64 {
        lock(&self.state).connections
    }

    /// Bytes that have passed so far, there and back.
    #[allow(dead_code, reason = "the benchmark counts them, the tests do not yet")]
    pub fn passed(&self) -> [u64; 2] {
        lock(&self.state).passed
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let mut state = lock(&self.state);
        state.is_over = true;
        state.end_all();
        drop(state);
        // The acceptor looks once more, and ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn end_all(&mut self) {
        for (_, ends) in self.open.drain() {
            for end in ends {
                let _ = end.shutdown(Shutdown::Both);
            }
        }
    }

    /// Takes the line for so long; when that is over.
    fn next_turn(&mut self, way: usize, takes: Duration) -> Instant {
        let now = clock();
        let earliest = now.checked_sub(SLACK).unwrap_or(now);
        let from = self.free_at[way].map_or(now, |at| at.max(earliest));
        let through = from + takes;
        self.free_at[way] = Some(through);
        through
    }

    fn end(&mut self, number: u64) {
        for end in self.open.remove(&number).into_iter().flatten() {
            let _ = end.shutdown(Shutdown::Both);
        }
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().expect("nobody panics with it")
}

fn connect(state: &Arc<Mutex<State>>, near: TcpStream, target: SocketAddr) {
    if lock(state).condition.is_cut {
        return;
    }
    // Whoever is not there refuses, and the one who dials sees his connection end.
    let Ok(far) = TcpStream::connect(target) else {
        return;
    };
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let copy = |stream: &TcpStream| stream.try_clone().expect("another handle");
    let mut known = lock(state);
    // It was cut while the other end was dialled.
    if known.condition.is_cut {
        return;
    }
    known.connections += 1;
    let number = known.connections;
    known.open.insert(number, [copy(&near), copy(&far)]);
    drop(known);
    for (from, to, way) in [(copy(&near), copy(&far), 0), (far, near, 1)] {
        let (send, receive) = mpsc::sync_channel(PIECES);
        let (of_reader, of_writer) = (state.clone(), state.clone());
        spawn(move || take(from, &send, &of_reader));
        spawn(move || {
            give(to, &receive, &of_writer, number, way);
            lock(&of_writer).end(number);
        });
    }
}

/// Reads what comes in, with the time at which it is due at the other end.
fn take(mut from: TcpStream, send: &SyncSender<(Instant, Vec<u8>)>, state: &Mutex<State>) {
    let mut piece = vec![0; PIECE_BYTES];
    while let Ok(len @ 1..) = from.read(&mut piece) {
        let due = clock() + lock(state).condition.delay;
        if send.send((due, piece[..len].to_vec())).is_err() {
            return;
        }
    }
}

/// Writes it out when it is due, as fast as the line is.
fn give(
    mut to: TcpStream,
    receive: &Receiver<(Instant, Vec<u8>)>,
    state: &Mutex<State>,
    number: u64,
    way: usize,
) {
    let mut of_connection = 0;
    while let Ok((due, mut piece)) = receive.recv() {
        sleep(due.saturating_duration_since(clock()));
        let mut condition = lock(state).condition;
        // What is sent waits on the line, as it would in the buffers of a real one.
        while [condition.is_silent_there, condition.is_silent_back][way] {
            sleep(Duration::from_millis(5));
            let state = lock(state);
            if !state.open.contains_key(&number) {
                return;
            }
            condition = state.condition;
        }
        if let Some(limit) = condition.bytes_per_s {
            let takes = Duration::from_secs_f64(piece.len() as f64 / limit as f64);
            let through = lock(state).next_turn(way, takes);
            sleep(through.saturating_duration_since(clock()));
        }
        let left = condition
            .cut_after
            .map(|limit| limit.saturating_sub(of_connection));
        let is_last = way == 1 && left.is_some_and(|left| left < piece.len() as u64);
        if is_last {
            piece.truncate(usize::try_from(left.expect("is last")).expect("shorter"));
        }
        of_connection += piece.len() as u64;
        {
            let mut state = lock(state);
            state.passed[way] += piece.len() as u64;
            // What was under way when it was cut is lost.
            if !state.open.contains_key(&number) {
                return;
            }
        }
        if to.write_all(&piece).is_err() || is_last {
            return;
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a line delays in real time")]
fn clock() -> Instant {
    Instant::now()
}
