//! One TCP connection: any number of requests in flight, matched to their answers by correlation
//! id. A writer task sends all that is queued with one write; a reader task hands answers out.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{mpsc, oneshot};
use tokio_util::codec::Decoder;
use tokio_util::sync::CancellationToken;

use super::error::LostError;
use super::gather::Gather;
use super::stream::Stream;
use crate::protocol::{
    Frame, FrameDecoder, PublishAsks, PublishTarget, Request, Response, ResponseError, WireError,
};

/// How many bytes the writer gathers for one write.
const WRITE_BYTES: usize = 1 << 20;

/// Room made for each read.
const READ_BYTES: usize = 16 << 10;

/// How long the end of a connection may take to be said.
const GOODBYE: Duration = Duration::from_secs(1);

/// What becomes of a request on one connection.
pub(super) type Answer = Result<Response, CallError>;

/// Why a request on one connection has no answer.
#[derive(Clone, Debug)]
pub(super) enum CallError {
    /// The connection ended first.
    Lost(LostError),
    /// The answer is not understood.
    Answer(ResponseError),
}

/// A connection; dropping the last handle closes it.
#[derive(Debug)]
pub(super) struct Connection {
    queue: mpsc::UnboundedSender<Outgoing>,
    shared: Arc<Shared>,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Shared {
    pending: Mutex<Pending>,
    correlation: AtomicU64,
    /// Counts reads, so that silence can be told.
    reads: AtomicU64,
}

#[derive(Debug, Default)]
struct Pending {
    waiting: HashMap<u64, oneshot::Sender<Answer>>,
    lost: Option<LostError>,
}

#[derive(Debug)]
struct Outgoing {
    head: Bytes,
    /// Sent right behind `head`, from where it lies.
    tail: Bytes,
}

impl Shared {
    fn pending(&self) -> MutexGuard<'_, Pending> {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends every waiting request, and every one to come.
    fn lose(&self, why: LostError) {
        let waiting = {
            let mut pending = self.pending();
            pending.lost.get_or_insert_with(|| why.clone());
            std::mem::take(&mut pending.waiting)
        };
        for sender in waiting.into_values() {
            // A caller who no longer waits does not mind.
            let _ = sender.send(Err(CallError::Lost(why.clone())));
        }
    }
}

impl Connection {
    /// Takes over a fresh stream and starts its tasks. The caller sends the hello.
    pub(super) fn start(stream: Stream, max_frame_bytes: u32, keep_alive: Duration) -> Self {
        let (queue, outgoing) = mpsc::unbounded_channel();
        let shared = Arc::new(Shared {
            pending: Mutex::default(),
            correlation: AtomicU64::new(1),
            reads: AtomicU64::new(0),
        });
        let stop = CancellationToken::new();
        tokio::spawn(run(
            stop.clone(),
            Arc::clone(&shared),
            stream,
            max_frame_bytes,
            outgoing,
            (queue.downgrade(), keep_alive),
        ));
        Self {
            queue,
            shared,
            stop,
        }
    }

    /// Whether requests may still be sent.
    pub(super) fn is_open(&self) -> bool {
        self.shared.pending().lost.is_none()
    }

    /// Closes at once.
    pub(super) fn close(&self) {
        self.shared.lose(LostError::ClosedHere);
        self.stop.cancel();
    }

    /// Sends a request. The order of the calls is the order on the wire.
    pub(super) fn send(&self, request: &Request) -> Call {
        self.send_with(|correlation| {
            let mut head = BytesMut::new();
            request.encode(correlation, &mut head);
            Outgoing {
                head: head.freeze(),
                tail: Bytes::new(),
            }
        })
    }

    /// Sends a publish without copying its batch.
    pub(super) fn send_publish(
        &self,
        target: &PublishTarget,
        asks: Option<PublishAsks>,
        batch: Bytes,
    ) -> Call {
        self.send_with(|correlation| {
            let mut head = BytesMut::with_capacity(128);
            target.encode_before(asks, correlation, batch.len(), &mut head);
            Outgoing {
                head: head.freeze(),
                tail: batch,
            }
        })
    }

    fn send_with(&self, outgoing: impl FnOnce(u64) -> Outgoing) -> Call {
        let correlation = self.shared.correlation.fetch_add(1, Ordering::Relaxed);
        let (sender, receiver) = oneshot::channel();
        {
            let mut pending = self.shared.pending();
            if let Some(why) = &pending.lost {
                let _ = sender.send(Err(CallError::Lost(why.clone())));
            } else {
                pending.waiting.insert(correlation, sender);
                // A closed queue means that the tasks ended: `lose` answers what waits.
                let _ = self.queue.send(outgoing(correlation));
            }
        }
        Call {
            receiver,
            correlation,
            shared: Arc::clone(&self.shared),
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.close();
    }
}

/// A request that was sent. Dropping it forgets the answer, not the request.
#[derive(Debug)]
pub(super) struct Call {
    receiver: oneshot::Receiver<Answer>,
    correlation: u64,
    shared: Arc<Shared>,
}

impl Call {
    /// Waits for the answer. Cancel-safe.
    pub(super) async fn answer(&mut self) -> Answer {
        (&mut self.receiver)
            .await
            .unwrap_or(Err(CallError::Lost(LostError::Closed)))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.shared.pending().waiting.remove(&self.correlation);
    }
}

async fn run(
    stop: CancellationToken,
    shared: Arc<Shared>,
    Stream { reader, mut writer }: Stream,
    max_frame_bytes: u32,
    outgoing: mpsc::UnboundedReceiver<Outgoing>,
    (queue, keep_alive): (mpsc::WeakUnboundedSender<Outgoing>, Duration),
) {
    let why = tokio::select! {
        () = stop.cancelled() => LostError::ClosedHere,
        why = read(&shared, reader, max_frame_bytes) => why,
        why = write(&mut writer, outgoing) => why,
        why = keep(&shared, queue, keep_alive) => why,
    };
    let is_closed_here = matches!(why, LostError::ClosedHere);
    shared.lose(why);
    if is_closed_here {
        // Over TLS the broker is told that nothing was cut off. Gone already, it does not mind.
        let _ = tokio::time::timeout(GOODBYE, writer.shutdown()).await;
    }
}

async fn read(
    shared: &Shared,
    mut reader: Box<dyn AsyncRead + Send + Unpin>,
    max_frame_bytes: u32,
) -> LostError {
    let mut decoder = FrameDecoder::responses(max_frame_bytes);
    let mut src = BytesMut::with_capacity(64 << 10);
    loop {
        loop {
            match decoder.decode(&mut src) {
                Ok(Some(frame)) => {
                    if let Some(error) = deliver(shared, frame) {
                        return LostError::Server(Box::new(error));
                    }
                }
                Ok(None) => break,
                Err(error) => return LostError::Frame(Arc::new(error)),
            }
        }
        // In the middle of a large frame there is room for the rest of it: more would move all that
        // has come to another place.
        src.reserve(if src.len() < READ_BYTES {
            READ_BYTES
        } else {
            1
        });
        match reader.read_buf(&mut src).await {
            Ok(0) => return LostError::Closed,
            Ok(_) => shared.reads.fetch_add(1, Ordering::Relaxed),
            Err(error) => return LostError::Io(Arc::new(error)),
        };
    }
}

/// Hands an answer to whoever waits for it. An error that is for no request ends the connection.
fn deliver(shared: &Shared, frame: Frame) -> Option<WireError> {
    let correlation = frame.header.correlation;
    let sender = shared.pending().waiting.remove(&correlation);
    let answer = Response::decode(frame);
    match (sender, answer) {
        (Some(sender), answer) => {
            let _ = sender.send(answer.map_err(CallError::Answer));
            None
        }
        (None, Ok(Response::Error(error))) if correlation == 0 => Some(error),
        // An answer that nobody waits for any more.
        (None, _) => None,
    }
}

async fn write(
    writer: &mut Box<dyn AsyncWrite + Send + Unpin>,
    mut outgoing: mpsc::UnboundedReceiver<Outgoing>,
) -> LostError {
    let mut gather = Gather::default();
    while let Some(first) = outgoing.recv().await {
        let mut next = Some(first);
        while let Some(Outgoing { head, tail }) = next {
            gather.push(head);
            gather.push(tail);
            next = if gather.bytes() < WRITE_BYTES {
                outgoing.try_recv().ok()
            } else {
                None
            };
        }
        gather.seal();
        let written = async {
            writer.write_all_buf(&mut gather).await?;
            // A stream that encrypts may hold the last of it.
            writer.flush().await
        };
        if let Err(error) = written.await {
            return LostError::Io(Arc::new(error));
        }
    }
    LostError::ClosedHere
}

/// Pings when nothing came for a while, and gives up when nothing comes after that.
async fn keep(
    shared: &Shared,
    queue: mpsc::WeakUnboundedSender<Outgoing>,
    keep_alive: Duration,
) -> LostError {
    let mut seen = shared.reads.load(Ordering::Relaxed);
    let mut pinged = 0;
    loop {
        tokio::time::sleep(keep_alive).await;
        let reads = shared.reads.load(Ordering::Relaxed);
        if reads != seen {
            (seen, pinged) = (reads, 0);
            continue;
        }
        if pinged == 2 {
            return LostError::Silent;
        }
        let Some(queue) = queue.upgrade() else {
            return LostError::ClosedHere;
        };
        let mut head = BytesMut::new();
        Request::Ping.encode(u64::MAX, &mut head);
        let head = head.freeze();
        let _ = queue.send(Outgoing {
            head,
            tail: Bytes::new(),
        });
        pinged += 1;
    }
}
