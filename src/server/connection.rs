//! One connection: requests in, answers out.
//!
//! ```text
//! read ─▶ all complete frames ─▶ broker ─▶ answers that are due ─▶ one write ─▶ read …
//!                                  │ staged: wait for the round
//!                                  └ fetch that waits: a task of its own
//! ```
//! While complete frames wait in the buffer nothing is flushed; while too many bytes wait for
//! their acknowledgement nothing is read, so the client's socket is the back-pressure.

mod found;
mod frames;
mod greeting;
mod reading;
mod regions;
mod settling;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::codec::Decoder;

use self::found::Found;
use self::greeting::HELLO_TIMEOUT;
use super::clock;
use super::dispatch::Command;
use super::key_watch::KeyWatch;
use super::outbox::Outbox;
use super::region::source;
use super::room::ConnectionRoom;
use super::shared::{Shared, TaskWake};
use super::socket::Socket;
use super::waiting::Waiting;
use crate::broker::Wait;
use crate::protocol::{ErrorCode, FrameDecoder, Response, WireError};
use crate::tls::PeerCertificate;
use crate::types::ChannelName;

/// Most bytes of a frame of who has not said hello: a stranger takes no room that large requests
/// need.
const STRANGERS_FRAME_BYTES: u32 = 128 * 1024;

/// A frame that was begun is whole within this time: 72 MiB at 1.2 MiB/s.
const FRAME_TIMEOUT: Duration = Duration::from_secs(60);

/// Answers are written once this many bytes wait, even while frames are left in the buffer.
const FLUSH_BYTES: usize = 1 << 20;

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
}

/// What a request is told that came too late.
pub(super) fn shutting_down() -> WireError {
    WireError::new(ErrorCode::ShuttingDown, "the broker is stopping").retry_after_ms(500)
}
