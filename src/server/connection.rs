//! One connection: requests in, answers out.
//!
//! ```text
//! read ─▶ all complete frames ─▶ broker ─▶ answers that are due ─▶ one write ─▶ read …
//!                                  │ staged: wait for the round
//!                                  └ fetch that waits: a task of its own
//! ```
//! While complete frames wait in the buffer nothing is flushed; while too many bytes wait for
//! their acknowledgement nothing is read, so the client's socket is the back-pressure.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::codec::Decoder;

use super::answer;
use super::clock;
use super::commit::is_over;
use super::dispatch::{self, Command, Handled};
use super::fetching;
use super::outbox::Outbox;
use super::shared::{Shared, TaskWake};
use crate::broker::{Fetched, Wait, Wake};
use crate::protocol::{
    ErrorCode, FetchRequest, Frame, FrameDecoder, FrameError, Request, Response, WireError,
};
use crate::storage::Outcome;

/// A client says hello within this time.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// A frame that was begun is whole within this time: 72 MiB at 1.2 MiB/s.
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers are written once this many bytes wait, even while frames are left in the buffer.
const FLUSH_BYTES: usize = 1 << 20;

/// A frame above this is received only while the broker has room for all of it.
const LARGE_FRAME_BYTES: usize = 128 * 1024;

/// Room made for each read.
const READ_BYTES: usize = 64 * 1024;

/// A command is refused after it found the buffers full for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// An answer that waits for a round.
struct Pending {
    correlation: u64,
    response: Box<Response>,
    wait: Wait,
    bytes: u64,
}

/// A command that found the broker's buffers full, and everything behind it.
struct Stalled {
    correlation: u64,
    command: Command,
    bytes: u64,
    since: std::time::Instant,
}

/// What a task of the connection has found.
enum Found {
    Fetched(u64, Result<Fetched, WireError>),
    Answer(u64, Box<Response>, Option<Wait>),
    /// Room to receive a large frame.
    Room,
}

struct Connection {
    shared: Arc<Shared>,
    socket: TcpStream,
    input: BytesMut,
    decoder: FrameDecoder,
    outbox: Outbox,
    pending: VecDeque<Pending>,
    pending_bytes: u64,
    stalled: Option<Stalled>,
    waker: Arc<TaskWake>,
    /// The broker will wake this connection when the next round ends.
    is_registered: bool,
    found: mpsc::UnboundedReceiver<Found>,
    finder: mpsc::UnboundedSender<Found>,
    tasks: usize,
    has_said_hello: bool,
    /// Room for the large frame that is being received.
    room: Option<OwnedSemaphorePermit>,
    /// Since when the buffer holds a part of a frame.
    partial_since: Option<std::time::Instant>,
    is_closing: bool,
}

/// Serves one connection until it ends.
pub(super) async fn serve(shared: Arc<Shared>, socket: TcpStream) {
    let (finder, found) = mpsc::unbounded_channel();
    let mut connection = Connection {
        shared,
        socket,
        input: BytesMut::with_capacity(READ_BYTES),
        decoder: FrameDecoder::requests(),
        outbox: Outbox::default(),
        pending: VecDeque::new(),
        pending_bytes: 0,
        stalled: None,
        waker: TaskWake::new(),
        is_registered: false,
        found,
        finder,
        tasks: 0,
        has_said_hello: false,
        room: None,
        partial_since: None,
        is_closing: false,
    };
    if let Err(error) = connection.run().await {
        tracing::debug!(%error, "connection ended");
    }
}

/// Waits for room to receive a large frame; the broker never ends its semaphore.
async fn receive_room(shared: &Shared, kib: Option<u32>) -> Option<OwnedSemaphorePermit> {
    let kib = kib.unwrap_or(1).min(shared.receive_kib);
    shared
        .receive_room
        .clone()
        .acquire_many_owned(kib)
        .await
        .ok()
}

/// What woke a connection.
enum Event {
    Read(usize),
    Round,
    Found(Found),
    Stop,
    Silent,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            let is_whole = self.take_frames();
            self.settle();
            if !self.outbox.is_empty() && (is_whole || self.outbox.len() >= FLUSH_BYTES) {
                let timeout = self.shared.options.write_timeout;
                self.outbox.write_to(&mut self.socket, timeout).await?;
            }
            if !is_whole {
                continue;
            }
            if self.is_closing && self.pending.is_empty() && self.tasks == 0 {
                return Ok(());
            }
            match self.next().await? {
                Event::Read(0) if self.pending.is_empty() && self.tasks == 0 => return Ok(()),
                // The peer has stopped sending, and may still take what it asked for.
                Event::Read(0) => self.is_closing = true,
                Event::Read(_) | Event::Round => {}
                Event::Found(found) => self.book(found),
                Event::Stop => self.is_closing = true,
                Event::Silent => return Ok(()),
            }
        }
    }

    async fn next(&mut self) -> std::io::Result<Event> {
        let wants_read = !self.is_closing
            && self.stalled.is_none()
            && self.pending_bytes < self.shared.options.in_flight_bytes;
        // A large frame is received once there is room for all of it.
        let lacks_room = if wants_read { self.lacks_room() } else { None };
        let may_read = wants_read && lacks_room.is_none();
        let silence = match (self.has_said_hello, &self.stalled) {
            (false, _) => HELLO_TIMEOUT,
            (true, Some(_)) => Duration::from_millis(200),
            (true, None) => self.shared.options.idle_timeout,
        };
        let is_waiting = !self.pending.is_empty() || self.tasks > 0;
        // A frame that never ends is cut off, however slowly its bytes trickle in.
        let patience = if self.has_said_hello {
            FRAME_TIMEOUT
        } else {
            HELLO_TIMEOUT
        };
        let partial = self.partial_since.filter(|_| may_read);
        let late = partial.map(|since| patience.saturating_sub(since.elapsed()));
        if may_read {
            self.input.reserve(READ_BYTES);
        }
        tokio::select! {
            biased;
            found = self.found.recv() => match found {
                Some(found) => Ok(Event::Found(found)),
                None => Ok(Event::Stop),
            },
            () = self.waker.0.notified() => {
                self.is_registered = false;
                Ok(Event::Round)
            }
            room = receive_room(&self.shared, lacks_room), if lacks_room.is_some() => {
                self.room = room;
                self.partial_since = Some(clock::instant());
                Ok(Event::Found(Found::Room))
            }
            read = self.socket.read_buf(&mut self.input), if may_read => Ok(Event::Read(read?)),
            () = self.shared.stop.cancelled(), if !self.is_closing => Ok(Event::Stop),
            () = tokio::time::sleep(late.unwrap_or_default()), if late.is_some() => {
                tracing::debug!("a frame did not end in time");
                Ok(Event::Silent)
            }
            () = tokio::time::sleep(silence), if !is_waiting || self.stalled.is_some() => {
                if self.stalled.is_some() { Ok(Event::Round) } else { Ok(Event::Silent) }
            }
        }
    }

    /// Room in KiB that the frame in the buffer still needs, where it is a large one.
    fn lacks_room(&self) -> Option<u32> {
        if self.room.is_some() {
            return None;
        }
        let total = self.decoder.peek(&self.input).ok().flatten()?;
        let kib = u32::try_from(total / 1024 + 1).unwrap_or(u32::MAX);
        (total > LARGE_FRAME_BYTES).then_some(kib)
    }

    /// Handles the complete frames in the buffer; true when none is left, or none may be taken.
    fn take_frames(&mut self) -> bool {
        if !self.retry_stalled() {
            return true;
        }
        let mut has_staged = false;
        let mut has_taken = false;
        let mut is_whole = true;
        while !self.is_closing && self.stalled.is_none() {
            if self.pending_bytes >= self.shared.options.in_flight_bytes {
                break;
            }
            if self.outbox.len() >= FLUSH_BYTES {
                is_whole = false;
                break;
            }
            match self.decoder.decode(&mut self.input) {
                Ok(Some(frame)) => {
                    has_taken = true;
                    self.room = None;
                    has_staged |= self.take(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    self.refuse_frame(&error);
                    break;
                }
            }
        }
        if has_staged {
            self.shared.wake_committer();
        }
        self.partial_since = match self.partial_since {
            _ if self.input.is_empty() || has_taken => None,
            Some(since) => Some(since),
            None => Some(clock::instant()),
        };
        is_whole
    }

    fn refuse_frame(&mut self, error: &FrameError) {
        if let Some((correlation, error)) = error.to_wire() {
            self.shared.metrics.errors.increment(1);
            self.outbox.push_error(correlation, error);
        }
        self.is_closing = true;
    }

    /// Handles one frame; true when its answer waits for a round.
    fn take(&mut self, frame: Frame) -> bool {
        let correlation = frame.header.correlation;
        let bytes = frame.body.len() as u64;
        self.shared.metrics.requests.increment(1);
        let request = match Request::decode(frame) {
            Ok(request) => request,
            Err(error) => {
                self.shared.metrics.errors.increment(1);
                self.outbox.push_error(correlation, error);
                return false;
            }
        };
        if !self.has_said_hello {
            self.greet(correlation, &request);
            return false;
        }
        let handled = dispatch::handle(&self.shared, request);
        self.handled(correlation, bytes, handled)
    }

    fn greet(&mut self, correlation: u64, request: &Request) {
        let greeted = match request {
            Request::Hello(hello) => dispatch::hello(&self.shared, hello),
            other => {
                let text = format!("{} came before the hello", other.kind().name());
                Err(WireError::new(ErrorCode::HelloRequired, text))
            }
        };
        match greeted {
            Ok(hello) => {
                self.has_said_hello = true;
                self.outbox.push(correlation, &Response::Hello(hello));
            }
            Err(error) => self.outbox.push_error(correlation, error),
        }
    }

    fn handled(&mut self, correlation: u64, bytes: u64, handled: Handled) -> bool {
        match handled {
            Handled::Answer(response, Some(wait)) if wait.entry.0 > 0 => {
                self.pending_bytes += bytes;
                self.pending.push_back(Pending {
                    correlation,
                    response,
                    wait,
                    bytes,
                });
                true
            }
            Handled::Answer(response, _) => {
                self.answer(correlation, &response);
                false
            }
            Handled::Busy(command) => {
                let since = clock::instant();
                self.stalled = Some(Stalled {
                    correlation,
                    command,
                    bytes,
                    since,
                });
                true
            }
            Handled::Read(request) => {
                self.read(correlation, request);
                false
            }
        }
    }

    fn answer(&mut self, correlation: u64, response: &Response) {
        if matches!(response, Response::Error(_)) {
            self.shared.metrics.errors.increment(1);
        }
        self.outbox.push(correlation, response);
    }

    /// Tries a command again that found the buffers full; false while it still does.
    fn retry_stalled(&mut self) -> bool {
        let Some(stalled) = self.stalled.take() else {
            return true;
        };
        let Stalled {
            correlation,
            command,
            bytes,
            since,
        } = stalled;
        let handled = dispatch::carry_out(&mut self.shared.broker(), &self.shared, command);
        self.shared.wake_committer();
        match handled {
            Handled::Busy(command) if since.elapsed() < BUSY_TIMEOUT => {
                self.stalled = Some(Stalled {
                    correlation,
                    command,
                    bytes,
                    since,
                });
                // The keeper frees buffers and journal space.
                self.shared.wake_keeper();
                false
            }
            Handled::Busy(_) => {
                let text = "the broker's write buffers stayed full";
                let error = WireError::new(ErrorCode::Overloaded, text).retry_after_ms(1000);
                self.answer(correlation, &Response::Error(error));
                true
            }
            other => {
                self.handled(correlation, bytes, other);
                true
            }
        }
    }

    /// Moves answers whose wait is over to the outbox.
    fn settle(&mut self) {
        if self.pending.is_empty() && self.stalled.is_none() {
            return;
        }
        let mut done = Vec::new();
        {
            let mut broker = self.shared.broker();
            let mut kept = VecDeque::with_capacity(self.pending.len());
            for pending in self.pending.drain(..) {
                let outcome = broker.outcome(pending.wait);
                if is_over(&outcome) {
                    done.push((pending, outcome))
                } else {
                    kept.push_back(pending)
                }
            }
            self.pending = kept;
            let is_waiting = !self.pending.is_empty() || self.stalled.is_some();
            if is_waiting && !self.is_registered {
                self.is_registered = true;
                let waiter: Arc<dyn Wake> = self.waker.clone();
                broker.wake_after_round(waiter);
            }
        }
        for (pending, outcome) in done {
            self.pending_bytes -= pending.bytes;
            match outcome {
                Outcome::Failed(error) => {
                    let error = Response::Error(answer::never_acknowledged(&error));
                    self.answer(pending.correlation, &error);
                }
                _ => self.answer(pending.correlation, &pending.response),
            }
        }
    }

    /// Answers a request that may read from the disk; a fetch is tried at once.
    fn read(&mut self, correlation: u64, request: Request) {
        if self.tasks >= self.shared.options.max_waiting_fetches {
            let text = format!("{} requests of this connection wait already", self.tasks);
            let error = WireError::new(ErrorCode::Overloaded, text).retry_after_ms(100);
            self.answer(correlation, &Response::Error(error));
            return;
        }
        match request {
            Request::Fetch(request) => self.fetch(correlation, request),
            request => {
                self.tasks += 1;
                let (shared, finder) = (self.shared.clone(), self.finder.clone());
                tokio::task::spawn_blocking(move || {
                    let (response, wait) = match dispatch::read(&shared, &request) {
                        Ok(answered) => answered,
                        Err(refusal) => {
                            let error = Response::Error(answer::refused(&refusal.error));
                            (error, refusal.wait)
                        }
                    };
                    shared.wake_committer();
                    // A closed connection takes no answers.
                    let _ = finder.send(Found::Answer(correlation, Box::new(response), wait));
                });
            }
        }
    }

    fn fetch(&mut self, correlation: u64, request: FetchRequest) {
        let mut fetch = fetching::fetch_of(&request);
        match fetching::run(&self.shared, &mut fetch) {
            Ok(fetched) if !fetching::is_enough(&request, &fetched) => {
                self.tasks += 1;
                let (shared, finder) = (self.shared.clone(), self.finder.clone());
                tokio::spawn(async move {
                    let closed = finder.closed();
                    tokio::select! {
                        found = fetching::wait(&shared, &request, fetch, fetched) => {
                            let _ = finder.send(Found::Fetched(correlation, found));
                        }
                        () = closed => {}
                    }
                });
            }
            Ok(fetched) => self.fetched(correlation, fetched),
            Err(error) => self.answer(correlation, &Response::Error(answer::refused(&error))),
        }
    }

    fn fetched(&mut self, correlation: u64, fetched: Fetched) {
        self.shared.metrics.fetches.increment(1);
        self.shared
            .metrics
            .fetched_bytes
            .increment(fetched.slices.bytes);
        self.outbox
            .push_fetch(correlation, &fetching::head(&fetched), fetched.slices);
    }

    fn book(&mut self, found: Found) {
        if !matches!(found, Found::Room) {
            self.tasks -= 1;
        }
        match found {
            Found::Room => {}
            Found::Fetched(correlation, Ok(fetched)) => self.fetched(correlation, fetched),
            Found::Fetched(correlation, Err(error)) => {
                self.answer(correlation, &Response::Error(error));
            }
            Found::Answer(correlation, response, wait) => {
                let handled = Handled::Answer(response, wait);
                // Settled before the next wait, which registers for the round.
                self.handled(correlation, 0, handled);
            }
        }
    }
}
