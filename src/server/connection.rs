//! One connection: requests in, answers out.
//!
//! ```text
//! read ─▶ all complete frames ─▶ broker ─▶ answers that are due ─▶ one write ─▶ read …
//!                                  │ staged: wait for the round
//!                                  └ fetch that waits: a task of its own
//! ```
//! While complete frames wait in the buffer nothing is flushed; while too many bytes wait for
//! their acknowledgement nothing is read, so the client's socket is the back-pressure.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::codec::Decoder;

use super::access::Caller;
use super::admission;
use super::answer;
use super::asp;
use super::auditing;
use super::clock;
use super::dispatch::{self, Command, Handled};
use super::fetching::{self, Answer};
use super::key_watch::{KeyNews, KeyWatch};
use super::outbox::Outbox;
use super::quota;
use super::region::{self, source};
use super::room::{ConnectionRoom, Held};
use super::shared::{Shared, TaskWake};
use super::socket::Socket;
use super::waiting::{Pending, Waiting};
use crate::broker::{Fetched, Wait, Wake};
use crate::protocol::{
    AspRequest, ErrorCode, FetchBeyondRequest, FetchRequest, FetchResponse, Frame, FrameDecoder,
    FrameError, RegionRequest, Request, Response, WireError,
};
use crate::storage::Outcome;
use crate::tls::PeerCertificate;
use crate::types::ChannelName;

/// A client says hello within this time after it has connected.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Most bytes of a frame of who has not said hello: a stranger takes no room that large requests
/// need.
const STRANGERS_FRAME_BYTES: u32 = 128 * 1024;

/// A frame that was begun is whole within this time: 72 MiB at 1.2 MiB/s.
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers are written once this many bytes wait, even while frames are left in the buffer.
const FLUSH_BYTES: usize = 1 << 20;

/// A frame above this is received only while the broker has room for all of it.
const LARGE_FRAME_BYTES: usize = 128 * 1024;

/// A command is refused after it found the buffers full for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

/// Requests of one connection that look into segments or list them at once; what they answer is
/// built in memory, so the others wait in the socket.
const MAX_LOOKS: usize = 8;

/// A command that found the broker's buffers full, and everything behind it.
struct Stalled {
    correlation: u64,
    command: Command,
    bytes: u64,
    since: std::time::Instant,
    /// A large command keeps the room that it was received in.
    _room: Option<OwnedSemaphorePermit>,
}

/// What a task of the connection has found.
enum Found {
    Fetched(u64, Result<Answer, WireError>),
    /// What a request about agents has found.
    Said(u64, Result<(Box<Response>, Option<Wait>), WireError>),
    Looked(u64, Box<Response>, Option<Wait>),
    /// What a link, or another region, has answered, what that waits for here; and the bytes of the
    /// request that waited.
    Linked(u64, Box<Response>, Option<Wait>, u64),
    /// Other regions were asked for the channel of a request, which goes on now.
    Sought(u64, u64, Box<Request>, Result<(), WireError>),
    /// The same for whom another region has let in.
    SoughtFor(u64, u64, Arc<Caller>, Box<Request>, Result<(), WireError>),
    /// Room to receive a large frame.
    Room,
}

struct Connection {
    shared: Arc<Shared>,
    socket: Socket,
    input: BytesMut,
    decoder: FrameDecoder,
    outbox: Outbox,
    waiting: Waiting,
    stalled: Option<Stalled>,
    waker: Arc<TaskWake>,
    /// The broker will wake this connection when the next round ends.
    is_registered: bool,
    /// And when these waits are over, one of each level.
    registered: Vec<Wait>,
    /// Failed entries as of the last look: with any of them the broker has woken everybody.
    failures: usize,
    found: mpsc::UnboundedReceiver<Found>,
    finder: mpsc::UnboundedSender<Found>,
    /// The requests that wait for records, by correlation, and the channel that each fetch reads.
    fetches: Vec<(u64, Option<ChannelName>)>,
    looks: usize,
    /// The requests of a link, where another region pulls on this connection.
    link: Option<mpsc::UnboundedSender<(u64, source::Ask)>>,
    /// Bytes of requests that another region carries out.
    forwarded_bytes: u64,
    /// Other regions are asked for a channel.
    is_seeking: bool,
    answer_room: ConnectionRoom,
    peer: SocketAddr,
    certificate: Option<PeerCertificate>,
    opened: std::time::Instant,
    /// Whom it speaks for, once it has said hello.
    key: Option<KeyWatch>,
    /// Why the broker closes the connection, to be told last.
    last_words: Option<WireError>,
    /// The answer to a hello whose key did not let it in, and when it is due.
    turned_away: Option<(u64, WireError, tokio::time::Instant)>,
    /// Room for the large frame that is being received.
    room: Option<OwnedSemaphorePermit>,
    /// Bytes of the last frame, where it was a large one and the buffer still holds on to its memory.
    behind_large: Option<usize>,
    /// The last frame was a large one, and the next is likely to be another.
    expects_large: bool,
    /// Since when the buffer holds a part of a frame.
    partial_since: Option<std::time::Instant>,
    /// The peer has stopped sending, and may still take what it asked for.
    is_read_out: bool,
    /// No frame is taken any more.
    is_closing: bool,
}

/// Serves one connection until it ends.
///
/// - `peer`: where it comes from.
/// - `certificate`: what was verified of the client in a TLS handshake.
pub(super) async fn serve(
    shared: Arc<Shared>,
    socket: Socket,
    peer: SocketAddr,
    certificate: Option<PeerCertificate>,
) {
    let (finder, found) = mpsc::unbounded_channel();
    let answer_room = &shared.answer_room;
    let answer_room = answer_room.of_connection(shared.options.connection_send_bytes);
    let mut connection = Connection {
        shared,
        socket,
        input: BytesMut::new(),
        decoder: FrameDecoder::strangers(STRANGERS_FRAME_BYTES),
        outbox: Outbox::default(),
        waiting: Waiting::default(),
        stalled: None,
        waker: TaskWake::new(),
        is_registered: false,
        registered: Vec::new(),
        failures: 0,
        found,
        finder,
        fetches: Vec::new(),
        looks: 0,
        link: None,
        forwarded_bytes: 0,
        is_seeking: false,
        answer_room,
        peer,
        certificate,
        opened: clock::instant(),
        key: None,
        last_words: None,
        turned_away: None,
        room: None,
        behind_large: None,
        expects_large: false,
        partial_since: None,
        is_read_out: false,
        is_closing: false,
    };
    match connection.run().await {
        Ok(()) => connection.socket.close().await,
        Err(error) => tracing::debug!(%error, "connection ended"),
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

/// Who is answered.
#[derive(Clone, Copy, Debug)]
enum For {
    /// Whoever is connected.
    Caller,
    /// Another region, which asks for somebody that it has let in.
    Region,
}

impl For {
    /// The answer as they are told.
    fn told(self, shared: &Shared, caller: &Caller, mut response: Response) -> Response {
        match self {
            Self::Caller => {
                admission::show(shared, caller, &mut response);
                response
            }
            Self::Region => region::told_region(shared, response),
        }
    }
}

/// What woke a connection.
enum Event {
    Read(usize),
    Round,
    Found(Found),
    Stop,
    Silent,
    /// The key may have ended.
    Key,
}

impl Connection {
    async fn run(&mut self) -> std::io::Result<()> {
        loop {
            self.take_frames();
            self.turn_away();
            self.settle();
            // What was settled may have made room for frames that are here already.
            let is_whole = !self.may_take() || !self.has_frame();
            if !self.outbox.is_empty() && (is_whole || self.outbox.len() >= FLUSH_BYTES) {
                let timeout = self.shared.options.write_timeout;
                let is_short = || self.answer_room.is_short();
                let written = self.outbox.write_to(&mut self.socket, timeout, is_short);
                written.await?;
            }
            if !is_whole {
                continue;
            }
            if (self.is_closing || self.is_read_out) && !self.is_waiting() {
                // Behind all answers: a client may close once it reads this.
                let Some(error) = self.last_words.take() else {
                    return Ok(());
                };
                self.outbox.push_error(0, error);
                continue;
            }
            // However much a stranger says, and however often they try another key.
            if self.patience_with_stranger() == Some(Duration::ZERO) {
                return Ok(());
            }
            match self.next().await? {
                Event::Read(0) => self.is_read_out = true,
                Event::Read(_) | Event::Round => {}
                Event::Found(found) => self.book(found),
                Event::Stop => self.shut_down(),
                Event::Silent => return Ok(()),
                Event::Key => self.look_at_key(),
            }
        }
    }

    /// How much longer a connection has to say hello, where it has not and no answer to it is due.
    fn patience_with_stranger(&self) -> Option<Duration> {
        let is_stranger = self.key.is_none() && self.turned_away.is_none();
        is_stranger.then(|| HELLO_TIMEOUT.saturating_sub(self.opened.elapsed()))
    }

    /// Whether something was asked for that is not answered yet.
    fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
            || self.stalled.is_some()
            || self.is_seeking
            || !self.fetches.is_empty()
            || self.looks > 0
    }

    /// Whether another request may be taken now.
    fn may_take(&self) -> bool {
        !self.is_closing
            && self.stalled.is_none()
            && !self.is_seeking
            && self.turned_away.is_none()
            && self.looks < MAX_LOOKS
            && self.waiting.bytes() + self.forwarded_bytes < self.shared.options.in_flight_bytes
    }

    /// Whether the buffer holds a whole frame, or what can't become one.
    fn has_frame(&self) -> bool {
        match self.decoder.peek(&self.input) {
            Ok(Some(total)) => total <= self.input.len(),
            Ok(None) => false,
            Err(_) => true,
        }
    }

    /// Answers what nothing was done for yet, and takes no more.
    fn shut_down(&mut self) {
        self.is_closing = true;
        if let Some((correlation, error, _)) = self.turned_away.take() {
            self.answer(correlation, &Response::Error(error));
        }
        let mut refused: Vec<u64> = self
            .stalled
            .take()
            .into_iter()
            .map(|s| s.correlation)
            .collect();
        while let Ok(Some(frame)) = self.decoder.decode(&mut self.input) {
            refused.push(frame.header.correlation);
        }
        for correlation in refused {
            self.answer(correlation, &Response::Error(shutting_down()));
        }
    }

    async fn next(&mut self) -> std::io::Result<Event> {
        let wants_read = !self.is_read_out && self.may_take();
        // A large frame is received once there is room for all of it.
        let lacks_room = if wants_read { self.lacks_room() } else { None };
        let may_read = wants_read && lacks_room.is_none();
        let silence = match (self.patience_with_stranger(), &self.stalled) {
            (Some(patience), _) => patience,
            (None, Some(_)) => Duration::from_millis(200),
            (None, None) => self.shared.options.idle_timeout,
        };
        let is_waiting = self.is_waiting();
        // A frame that never ends is cut off, however slowly its bytes trickle in.
        let patience = if self.key.is_some() {
            FRAME_TIMEOUT
        } else {
            HELLO_TIMEOUT
        };
        let partial = self.partial_since.filter(|_| may_read);
        let key = &mut self.key;
        let key_changed = async {
            match key {
                Some(key) => key.changed().await,
                None => std::future::pending().await,
            }
        };
        let turned_away = self.turned_away.as_ref().map(|(_, _, due)| *due);
        let is_turned_away = turned_away.is_some();
        let due = async move {
            match turned_away {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        let late = partial.map(|since| patience.saturating_sub(since.elapsed()));
        if self.input.is_empty() {
            // A connection that is idle keeps no buffer.
            let rest = std::mem::take(&mut self.input);
            if let Some(bytes) = self.behind_large.take() {
                self.shared.buffers.keep(rest, bytes);
            }
        }
        let (buffers, expects_large) = (&self.shared.buffers, self.expects_large);
        let spare = || expects_large.then(|| buffers.take()).flatten();
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
            read = self.socket.read_some(&mut self.input, spare), if may_read => Ok(Event::Read(read?)),
            () = self.shared.stop.cancelled(), if !self.is_closing => Ok(Event::Stop),
            () = due, if is_turned_away => Ok(Event::Round),
            () = key_changed, if !self.is_closing => Ok(Event::Key),
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

    /// Handles the complete frames in the buffer, as many as may be taken.
    fn take_frames(&mut self) {
        let now = quota::tick();
        if let Some(key) = &mut self.key {
            key.use_again(&self.shared);
            if key.has_news(now) {
                self.look_at_key();
            }
        }
        if !self.retry_stalled() {
            return;
        }
        let mut has_staged = false;
        let mut has_taken = false;
        while self.may_take() && self.outbox.len() < FLUSH_BYTES {
            match self.decoder.decode(&mut self.input) {
                Ok(Some(frame)) => {
                    has_taken = true;
                    let bytes = frame.body.len();
                    self.expects_large = bytes > LARGE_FRAME_BYTES;
                    self.behind_large = self.expects_large.then_some(bytes);
                    has_staged |= self.take(frame);
                    self.room = None;
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
                // What is no request costs its sender as much as one.
                let key = self.key.as_ref();
                let error = key
                    .and_then(|key| key.usage().admit(bytes, false).err())
                    .unwrap_or(error);
                self.answer(correlation, &Response::Error(error));
                return false;
            }
        };
        let Some(key) = &mut self.key else {
            self.greet(correlation, &request);
            return false;
        };
        if let Some(error) = key.ended() {
            let error = Response::Error(error.clone());
            self.answer(correlation, &error);
            return false;
        }
        let is_fetch = matches!(request, Request::Fetch(_) | Request::FetchBeyond(_));
        if let Err(error) = key.usage().admit(bytes, is_fetch) {
            self.answer(correlation, &Response::Error(error));
            return false;
        }
        let mut handled = key.handle(&self.shared, request);
        self.show(&mut handled);
        self.handled(correlation, bytes, handled)
    }

    /// Gives channels in an answer the names that the caller has for them.
    fn show(&self, handled: &mut Handled) {
        if let (Handled::Answer(response, _), Some(key)) = (handled, &self.key) {
            admission::show(&self.shared, key.caller(), response);
        }
    }

    /// Once its key has ended, a connection carries nothing out any more: what waits for records or
    /// buffers is refused, what was staged is still answered.
    fn look_at_key(&mut self) {
        let Some(key) = &mut self.key else { return };
        let error = match key.look(&self.shared) {
            KeyNews::None => return,
            KeyNews::Over => {
                self.is_closing = true;
                self.last_words = key.ended().cloned();
                return;
            }
            KeyNews::Ended(error) => error,
        };
        tracing::info!(%error, "a connection ends with its key");
        let stalled = self.stalled.take().map(|stalled| stalled.correlation);
        let fetches = self.fetches.drain(..).map(|(correlation, _)| correlation);
        let refused: Vec<u64> = stalled.into_iter().chain(fetches).collect();
        for correlation in refused {
            self.answer(correlation, &Response::Error(error.clone()));
        }
    }

    fn greet(&mut self, correlation: u64, request: &Request) {
        let greeted = match request {
            Request::Hello(hello) => {
                dispatch::hello(&self.shared, hello, self.certificate.as_ref()).and_then(
                    |(hello, caller)| {
                        let caller = Caller {
                            peer: Some(self.peer),
                            ..caller
                        };
                        let key = KeyWatch::new(&self.shared, caller)?;
                        Ok((hello, key))
                    },
                )
            }
            other => {
                let text = format!("{} came before the hello", other.kind().name());
                Err(WireError::new(ErrorCode::HelloRequired, text))
            }
        };
        match greeted {
            Ok((hello, key)) => {
                if key.caller().principal.key.is_some() {
                    self.shared.doorstep.entered(self.peer.ip());
                }
                self.key = Some(key);
                self.decoder = FrameDecoder::requests();
                self.outbox.push(correlation, &Response::Hello(hello));
            }
            Err(error) if is_failed_authentication(&error) => {
                self.shared.metrics.failed_authentications.increment(1);
                let now = clock::instant();
                let wait = self.shared.doorstep.failed(self.peer.ip(), now);
                let due = tokio::time::Instant::from_std(now + wait);
                tracing::info!(peer = %self.peer, %error, "a client was not let in");
                auditing::turned_away(&self.shared, self.peer, &error);
                self.turned_away = Some((correlation, error, due));
            }
            Err(error) => self.outbox.push_error(correlation, error),
        }
    }

    /// Answers a hello that did not let its client in, once that is due.
    fn turn_away(&mut self) {
        let now = clock::instant();
        let due = |(_, _, due): &mut (u64, WireError, tokio::time::Instant)| due.into_std() <= now;
        if let Some((correlation, error, _)) = self.turned_away.take_if(due) {
            self.answer(correlation, &Response::Error(error));
        }
    }

    fn handled(&mut self, correlation: u64, bytes: u64, handled: Handled) -> bool {
        match handled {
            Handled::Answer(response, Some(wait)) if wait.entry.0 > 0 => {
                self.waiting.push(Pending {
                    correlation,
                    response,
                    wait,
                    held: None,
                    bytes,
                });
                true
            }
            Handled::Held(response, wait, held) => {
                self.waiting.push(Pending {
                    correlation,
                    response,
                    wait,
                    held: Some(held),
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
                    _room: self.room.take(),
                });
                true
            }
            Handled::Read(request) => {
                self.read(correlation, request);
                false
            }
            Handled::ReadFor(caller, request) => {
                self.read_for(correlation, caller, request);
                false
            }
            Handled::Seek(request) => {
                self.seek(correlation, bytes, *request);
                false
            }
            Handled::SeekFor(caller, request) => {
                self.seek_for(correlation, bytes, caller, *request);
                false
            }
            Handled::Forward(forward) => {
                self.forward(correlation, bytes, *forward);
                false
            }
        }
    }

    fn answer(&mut self, correlation: u64, response: &Response) {
        if let Response::Error(error) = response {
            self.shared.metrics.errors.increment(1);
            match error.known() {
                Some(ErrorCode::Forbidden) => self.shared.metrics.forbidden.increment(1),
                Some(ErrorCode::RateLimited) => self.shared.metrics.rate_limited.increment(1),
                _ => {}
            }
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
            _room: room,
        } = stalled;
        let Some(caller) = self.key.as_ref().map(|key| key.caller().clone()) else {
            return true;
        };
        let mut broker = self.shared.broker();
        if let Err(ended) = admission::check_alive(&broker, &caller) {
            drop(broker);
            self.answer(correlation, &Response::Error(ended));
            return true;
        }
        let mut handled = dispatch::carry_out(&mut broker, &self.shared, &caller, command);
        drop(broker);
        self.show(&mut handled);
        self.shared.wake_committer();
        match handled {
            Handled::Busy(command) if since.elapsed() < BUSY_TIMEOUT => {
                self.stalled = Some(Stalled {
                    correlation,
                    command,
                    bytes,
                    since,
                    _room: room,
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
        if self.waiting.is_empty() && self.stalled.is_none() {
            return;
        }
        // Without the lock, which all whom a round has woken want at once.
        let failures = self.failures;
        let mut done = self
            .waiting
            .take_done(|wait| self.shared.outcome(wait), failures);
        if self.has_to_ask() {
            let mut broker = self.shared.broker();
            let failures = broker.storage().failed_entries();
            if failures != std::mem::replace(&mut self.failures, failures) {
                // A failure has woken everybody.
                self.registered.clear();
            }
            done.extend(
                self.waiting
                    .take_done(|wait| broker.outcome(wait), failures),
            );
            if self.stalled.is_some() && !self.is_registered {
                self.is_registered = true;
                broker.wake_after_round(self.waker.clone() as Arc<dyn Wake>);
            }
            // Of one level, what is waited for first is over first.
            for wait in self.waiting.firsts() {
                if !self.registered.contains(&wait) {
                    self.registered.retain(|known| known.level != wait.level);
                    self.registered.push(wait);
                    broker.wake_when_over(wait, self.waker.clone() as Arc<dyn Wake>);
                }
            }
        }
        for (pending, outcome) in done {
            match outcome {
                Outcome::Failed(error) => {
                    let error = Response::Error(answer::never_acknowledged(&error));
                    self.answer(pending.correlation, &error);
                }
                _ if pending.held.is_some() => self.wait_for_regions(pending),
                _ => self.answer(pending.correlation, &pending.response),
            }
        }
    }

    /// Whether something waits of which the broker does not know that this connection is to be woken
    /// for it, or anything has failed.
    fn has_to_ask(&self) -> bool {
        self.stalled.is_some()
            || self.shared.has_failed()
            || self
                .waiting
                .firsts()
                .any(|wait| !self.registered.contains(&wait))
    }

    /// Sends an answer that is durable here once enough regions hold what it tells of.
    fn wait_for_regions(&mut self, pending: Pending) {
        let Pending {
            correlation,
            response,
            held: Some(held),
            bytes,
            ..
        } = pending
        else {
            return;
        };
        self.fetches.push((correlation, None));
        self.forwarded_bytes += bytes;
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        tokio::spawn(async move {
            let closed = finder.closed();
            tokio::select! {
                response = held.done(&shared, *response) => {
                    let _ = finder.send(Found::Linked(correlation, Box::new(response), None, bytes));
                }
                () = closed => {}
            }
        });
    }

    /// Answers a request that may read from the disk; a fetch is tried at once.
    fn read(&mut self, correlation: u64, request: Request) {
        let Some(caller) = self.key.as_ref().map(|key| key.caller().clone()) else {
            return;
        };
        match request {
            Request::Fetch(request) => self.fetch(correlation, request),
            Request::FetchBeyond(request) => self.fetch_beyond(correlation, &caller, *request),
            Request::LinkFetch(request) => self.ask_link(correlation, source::Ask::Fetch(request)),
            Request::Region(request) if request.is_of_link() => {
                self.ask_link(correlation, source::Ask::Json(request));
            }
            Request::Region(request) if region::waits(&request) => {
                self.ask_region(correlation, caller, *request);
            }
            Request::ChannelCreate(create) if region::asks_others(&self.shared, &create) => {
                self.create_among_regions(correlation, caller, create);
            }
            Request::Asp(request) if asp::waits(&request) => {
                self.listen(correlation, caller, *request, For::Caller);
            }
            request => self.look(correlation, caller, request, For::Caller),
        }
    }

    /// The same for whom another region has let in.
    fn read_for(&mut self, correlation: u64, caller: Arc<Caller>, request: Request) {
        match request {
            Request::FetchBeyond(beyond) => {
                self.fetch_wholly(correlation, beyond.fetch, For::Region);
            }
            Request::Asp(request) if asp::waits(&request) => {
                self.listen(correlation, caller, *request, For::Region);
            }
            request => self.look(correlation, caller, request, For::Region),
        }
    }

    /// Has a request looked after by a thread that may wait for the disk.
    fn look(&mut self, correlation: u64, caller: Arc<Caller>, request: Request, asked: For) {
        self.looks += 1;
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        tokio::spawn(async move {
            let looking = shared.clone();
            let asking = caller.clone();
            let looked = shared.on_disk(move || dispatch::read(&looking, &asking, &request));
            let (response, wait) = match looked.await {
                Ok(answered) => answered,
                Err(refusal) => {
                    let error = Response::Error(answer::refused(&refusal.error));
                    (error, refusal.wait)
                }
            };
            let response = asked.told(&shared, &caller, response);
            shared.wake_committer();
            // A closed connection takes no answers.
            let _ = finder.send(Found::Looked(correlation, Box::new(response), wait));
        });
    }

    fn fetch(&mut self, correlation: u64, request: FetchRequest) {
        region::note_fetch(&self.shared, &request.channel);
        let mut fetch = fetching::fetch_of(&request);
        match fetching::at_once(&self.shared, &self.answer_room, &request, &mut fetch) {
            Ok(Some((fetched, held))) => self.fetched(correlation, fetched, held),
            Err(error) => self.answer(correlation, &Response::Error(answer::refused(&error))),
            Ok(None) if self.refuses_to_wait(correlation) => {}
            Ok(None) => {
                let channel = Some(request.channel.clone());
                self.fetches.push((correlation, channel));
                let (shared, finder) = (self.shared.clone(), self.finder.clone());
                let room = self.answer_room.clone();
                tokio::spawn(async move {
                    let closed = finder.closed();
                    tokio::select! {
                        found = fetching::find(&shared, &room, &request, fetch) => {
                            let _ = finder.send(Found::Fetched(correlation, found));
                        }
                        () = closed => {}
                    }
                });
            }
        }
    }

    /// Reads what a copy here may not have: here, or at the channel's home.
    fn fetch_beyond(
        &mut self,
        correlation: u64,
        caller: &Arc<Caller>,
        request: FetchBeyondRequest,
    ) {
        region::note_fetch(&self.shared, &request.fetch.channel);
        let forward = match region::beyond(&self.shared, caller, &request) {
            None => return self.fetch_wholly(correlation, request.fetch, For::Caller),
            Some(Err(error)) => return self.answer(correlation, &Response::Error(*error)),
            Some(Ok(forward)) => forward,
        };
        if self.refuses_to_wait(correlation) {
            return;
        }
        let call = match forward.send(&self.shared) {
            Ok(call) => call,
            Err(error) => return self.answer(correlation, &Response::Error(error)),
        };
        self.fetches
            .push((correlation, Some(request.fetch.channel)));
        let finder = self.finder.clone();
        tokio::spawn(async move {
            let closed = finder.closed();
            tokio::select! {
                (response, wait) = call.answer() => {
                    let _ = finder.send(Found::Linked(correlation, Box::new(response), wait, 0));
                }
                () = closed => {}
            }
        });
    }

    /// Reads into one answer, for who is not sent batches as they lie.
    fn fetch_wholly(&mut self, correlation: u64, request: FetchRequest, asked: For) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches
            .push((correlation, Some(request.channel.clone())));
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        let room = self.answer_room.clone();
        tokio::spawn(async move {
            let closed = finder.closed();
            let fetch = fetching::fetch_of(&request);
            tokio::select! {
                found = fetching::find(&shared, &room, &request, fetch) => {
                    let response = match found {
                        Ok((fetched, _held)) => Response::FetchBeyond(FetchResponse {
                            head: fetching::head(&fetched),
                            batches: fetched.slices.parts.concat().into(),
                        }),
                        Err(error) => Response::Error(error),
                    };
                    let response = match asked {
                        For::Caller => response,
                        For::Region => region::told_region(&shared, response),
                    };
                    let _ = finder.send(Found::Linked(correlation, Box::new(response), None, 0));
                }
                () = closed => {}
            }
        });
    }

    /// Hands a request of a link to the task that serves it, which begins with the first.
    fn ask_link(&mut self, correlation: u64, ask: source::Ask) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let link = self.link.get_or_insert_with(|| {
            let finder = self.finder.clone();
            let answers = move |correlation, response| {
                // A closed connection takes no answers.
                let _ = finder.send(Found::Linked(correlation, Box::new(response), None, 0));
            };
            source::start(self.shared.clone(), Arc::new(answers))
        });
        if link.send((correlation, ask)).is_err() {
            self.book(Found::Linked(
                correlation,
                Box::new(Response::Error(shutting_down())),
                None,
                0,
            ));
        }
    }

    /// Answers a request that asks other regions.
    fn ask_region(&mut self, correlation: u64, caller: Arc<Caller>, request: RegionRequest) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        tokio::spawn(async move {
            let closed = finder.closed();
            tokio::select! {
                mut response = region::ask(&shared, &caller, &request) => {
                    admission::show(&shared, &caller, &mut response);
                    let _ = finder.send(Found::Linked(correlation, Box::new(response), None, 0));
                }
                () = closed => {}
            }
        });
    }

    /// Makes a channel, for which other regions are asked.
    fn create_among_regions(
        &mut self,
        correlation: u64,
        caller: Arc<Caller>,
        create: crate::protocol::control::ChannelCreate,
    ) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        // Goes on when the connection is closed: a name is not given without its channel.
        tokio::spawn(async move {
            let mut response = region::create(&shared, &caller, create, None).await;
            admission::show(&shared, &caller, &mut response);
            let _ = finder.send(Found::Linked(correlation, Box::new(response), None, 0));
        });
    }

    /// Asks other regions for the channel of a request. Nothing else is taken meanwhile, so that what
    /// follows stays behind it.
    fn seek(&mut self, correlation: u64, bytes: u64, request: Request) {
        let Some(caller) = self.key.as_ref().map(|key| key.caller().clone()) else {
            return;
        };
        self.is_seeking = true;
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        tokio::spawn(async move {
            let closed = finder.closed();
            tokio::select! {
                sought = region::seek(&shared, &caller, &request) => {
                    let sought = Found::Sought(correlation, bytes, Box::new(request), sought);
                    let _ = finder.send(sought);
                }
                () = closed => {}
            }
        });
    }

    /// The same for whom another region has let in. The link takes other requests meanwhile.
    fn seek_for(&mut self, correlation: u64, bytes: u64, caller: Arc<Caller>, request: Request) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        tokio::spawn(async move {
            let closed = finder.closed();
            tokio::select! {
                sought = region::seek(&shared, &caller, &request) => {
                    let request = Box::new(request);
                    let sought = Found::SoughtFor(correlation, bytes, caller, request, sought);
                    let _ = finder.send(sought);
                }
                () = closed => {}
            }
        });
    }

    /// Goes on with a request whose channel other regions were asked for.
    fn sought(&mut self, correlation: u64, bytes: u64, request: Request) {
        let Some(caller) = self.key.as_ref().map(|key| key.caller().clone()) else {
            return;
        };
        let alive = admission::check_alive(&self.shared.broker(), &caller);
        if let Err(ended) = alive {
            return self.answer(correlation, &Response::Error(ended));
        }
        let mut handled = dispatch::handle_sought(&self.shared, &caller, request);
        self.show(&mut handled);
        if self.handled(correlation, bytes, handled) {
            self.shared.wake_committer();
        }
    }

    /// Has a request carried out where what it is about lives. It is sent at once, so that those of one
    /// connection arrive in order.
    fn forward(&mut self, correlation: u64, bytes: u64, forward: region::Forward) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        let call = match forward.send(&self.shared) {
            Ok(call) => call,
            Err(error) => return self.answer(correlation, &Response::Error(error)),
        };
        self.fetches.push((correlation, None));
        self.forwarded_bytes += bytes;
        let finder = self.finder.clone();
        tokio::spawn(async move {
            let (response, wait) = call.answer().await;
            let _ = finder.send(Found::Linked(correlation, Box::new(response), wait, bytes));
        });
    }

    /// Whether as many requests wait as may; this one is answered so then.
    fn refuses_to_wait(&mut self, correlation: u64) -> bool {
        let limit = self.fetches.len();
        if limit < self.shared.options.max_waiting_fetches {
            return false;
        }
        let text = format!("{limit} fetches of this connection wait, which is the limit");
        let error = WireError::new(ErrorCode::Overloaded, text).with("limit", limit);
        self.answer(correlation, &Response::Error(error.retry_after_ms(100)));
        true
    }

    /// Answers a request that reads what agents say, and may wait for it.
    fn listen(&mut self, correlation: u64, caller: Arc<Caller>, request: AspRequest, asked: For) {
        if self.refuses_to_wait(correlation) {
            return;
        }
        self.fetches.push((correlation, None));
        let (shared, finder) = (self.shared.clone(), self.finder.clone());
        let request = Arc::new(request);
        tokio::spawn(async move {
            let closed = finder.closed();
            tokio::select! {
                found = asp::find(&shared, &caller, &request) => {
                    let found = found.map(|(response, wait)| {
                        let response = Response::Asp(response);
                        let response = match asked {
                            For::Caller => response,
                            For::Region => region::told_region(&shared, response),
                        };
                        (Box::new(response), wait)
                    });
                    let _ = finder.send(Found::Said(correlation, found));
                }
                () = closed => {}
            }
        });
    }

    fn fetched(&mut self, correlation: u64, fetched: Fetched, held: Held) {
        if let Some(key) = &self.key {
            key.usage().sent(fetched.slices.bytes);
        }
        self.shared.metrics.fetches.increment(1);
        self.shared
            .metrics
            .fetched_bytes
            .increment(fetched.slices.bytes);
        self.outbox
            .push_fetch(correlation, &fetching::head(&fetched), fetched.slices, held);
    }

    /// Ends the wait of a request. Nobody waits any more for what a key that has ended asked for.
    fn waits_no_more(&mut self, correlation: u64) -> Option<Option<ChannelName>> {
        let mut waiting = self.fetches.iter();
        let at = waiting.position(|(other, _)| *other == correlation)?;
        Some(self.fetches.swap_remove(at).1)
    }

    fn book(&mut self, found: Found) {
        match found {
            Found::Room => {}
            Found::Sought(correlation, bytes, request, sought) => {
                self.is_seeking = false;
                match sought {
                    Ok(()) => self.sought(correlation, bytes, *request),
                    Err(error) => self.answer(correlation, &Response::Error(error)),
                }
            }
            Found::SoughtFor(correlation, bytes, caller, request, sought) => {
                if self.waits_no_more(correlation).is_none() {
                    return;
                }
                match sought {
                    Ok(()) => {
                        let handled = region::sought_for(&self.shared, &caller, *request);
                        self.handled(correlation, bytes, handled);
                        self.shared.wake_committer();
                    }
                    Err(error) => self.answer(correlation, &Response::Error(error)),
                }
            }
            Found::Fetched(correlation, found) => {
                let Some(channel) = self.waits_no_more(correlation) else {
                    return;
                };
                // What was granted when it began to wait may have been taken back since.
                let found = found.and_then(|found| {
                    let caller = self.key.as_ref().map(KeyWatch::caller);
                    caller.zip(channel).map_or(Ok(()), |(caller, channel)| {
                        admission::check_fetched(&self.shared, caller, &channel)
                    })?;
                    Ok(found)
                });
                match found {
                    Ok((fetched, held)) => self.fetched(correlation, fetched, held),
                    Err(error) => self.answer(correlation, &Response::Error(error)),
                }
            }
            Found::Linked(correlation, response, wait, bytes) => {
                self.forwarded_bytes -= bytes;
                if self.waits_no_more(correlation).is_some() {
                    let mut handled = Handled::Answer(response, wait);
                    self.show(&mut handled);
                    self.handled(correlation, bytes, handled);
                }
            }
            Found::Said(correlation, found) => {
                if self.waits_no_more(correlation).is_none() {
                    return;
                }
                match found {
                    Ok((response, wait)) => {
                        self.handled(correlation, 0, Handled::Answer(response, wait));
                    }
                    Err(error) => self.answer(correlation, &Response::Error(error)),
                }
            }
            Found::Looked(correlation, response, wait) => {
                self.looks -= 1;
                let handled = Handled::Answer(response, wait);
                // Settled before the next wait, which registers for the round.
                self.handled(correlation, 0, handled);
            }
        }
    }
}

/// Whether a hello failed for want of a key that works.
fn is_failed_authentication(error: &WireError) -> bool {
    matches!(
        error.known(),
        Some(ErrorCode::Unauthenticated | ErrorCode::KeyRevoked | ErrorCode::KeyExpired)
    )
}

/// What a request is told that came too late.
pub(super) fn shutting_down() -> WireError {
    WireError::new(ErrorCode::ShuttingDown, "the broker is stopping").retry_after_ms(500)
}
