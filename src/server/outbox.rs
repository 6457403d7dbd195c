//! What a connection is about to send: small answers in one buffer, batches as slices of their own.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::room::Held;
use crate::protocol::{FetchHead, Response, WireError};
use crate::storage::Slices;

/// Most slices in one write; Linux takes 1,024.
const MAX_SLICES: usize = 256;

/// A peer takes so much, or all there is, within each timeout; less is as good as nothing.
const MIN_PROGRESS_BYTES: usize = 64 * 1024;

/// While room is short, a peer has this part of the timeout.
const PATIENCE_PARTS: u32 = 6;

/// Answers in the order in which they will be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    buffer: BytesMut,
    parts: VecDeque<Part>,
    bytes: usize,
}

#[derive(Debug)]
struct Part {
    bytes: Bytes,
    /// The room of an answer, given back with its last byte.
    _held: Option<Held>,
}

impl From<Bytes> for Part {
    fn from(bytes: Bytes) -> Self {
        Self { bytes, _held: None }
    }
}

impl Outbox {
    /// Adds an answer.
    pub fn push(&mut self, correlation: u64, response: &Response) {
        let before = self.buffer.len();
        response.encode(correlation, &mut self.buffer);
        self.bytes += self.buffer.len() - before;
    }

    /// Adds an answer that takes room, which is given back once all of it is written.
    pub fn push_held(&mut self, correlation: u64, response: &Response, held: Held) {
        self.push(correlation, response);
        self.parts.push_back(Part {
            bytes: self.buffer.split().freeze(),
            _held: Some(held),
        });
    }

    /// Adds an error.
    pub fn push_error(&mut self, correlation: u64, error: WireError) {
        self.push(correlation, &Response::Error(error));
    }

    /// Adds the answer of a fetch: its head, then the stored batches as they are. The room is
    /// given back once all of it is written.
    pub fn push_fetch(&mut self, correlation: u64, head: &FetchHead, slices: Slices, held: Held) {
        let bytes = usize::try_from(slices.bytes).unwrap_or(usize::MAX);
        head.encode_before(correlation, bytes, &mut self.buffer);
        self.parts.push_back(self.buffer.split().freeze().into());
        self.parts.extend(slices.parts.into_iter().map(Part::from));
        if let Some(last) = self.parts.back_mut() {
            last._held = Some(held);
        }
        self.bytes += bytes;
    }

    /// Whether there is nothing to send.
    pub fn is_empty(&self) -> bool {
        self.buffer.is_empty() && self.parts.is_empty()
    }

    /// Bytes added since the last write, about.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Writes everything; an error when the peer takes nothing for `timeout`, or so little that
    /// it might as well.
    ///
    /// - `is_short`: whether others wait for the room that these answers take; the peer has a
    ///   fraction of the time then.
    pub async fn write_to(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        timeout: Duration,
        is_short: impl Fn() -> bool,
    ) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            self.parts.push_back(self.buffer.split().freeze().into());
        }
        let part = (timeout / PATIENCE_PARTS).max(Duration::from_millis(1));
        // Not a tick at once: a timer takes up to a millisecond to find that it is over.
        let mut late = tokio::time::interval_at(tokio::time::Instant::now() + part, part);
        late.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let (mut progress, mut parts_left) = (0, PATIENCE_PARTS);
        loop {
            let Some(first) = self.parts.front() else {
                // A stream that encrypts may hold the last of it.
                tokio::select! {
                    biased;
                    flushed = socket.flush() => break flushed?,
                    _ = late.tick() => {
                        parts_left -= 1;
                        if parts_left == 0 || is_short() {
                            return Err(std::io::ErrorKind::TimedOut.into());
                        }
                        continue;
                    }
                }
            };
            if first.bytes.is_empty() {
                self.parts.pop_front();
                continue;
            }
            let written = tokio::select! {
                biased;
                written = write(socket, &self.parts) => written?,
                _ = late.tick() => {
                    parts_left -= 1;
                    if parts_left == 0 || is_short() {
                        return Err(std::io::ErrorKind::TimedOut.into());
                    }
                    continue;
                }
            };
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
            progress += written;
            if progress >= MIN_PROGRESS_BYTES {
                progress = 0;
                parts_left = PATIENCE_PARTS;
                late.reset();
            }
        }
        self.bytes = 0;
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let Some(first) = self.parts.front_mut() else {
                return;
            };
            let taken = written.min(first.bytes.len());
            first.bytes.advance(taken);
            written -= taken;
            if first.bytes.is_empty() {
                self.parts.pop_front();
            }
        }
    }
}

/// Writes what one call takes.
async fn write(
    socket: &mut (impl AsyncWrite + Unpin),
    parts: &VecDeque<Part>,
) -> std::io::Result<usize> {
    // Small answers are one part.
    if let (1, Some(only)) = (parts.len(), parts.front()) {
        return socket.write(&only.bytes).await;
    }
    let slices = parts.iter().take(MAX_SLICES);
    let slices: Vec<IoSlice<'_>> = slices.map(|part| IoSlice::new(&part.bytes)).collect();
    socket.write_vectored(&slices).await
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    /// Between what is ready and the socket stands no timer: one costs up to a millisecond.
    #[tokio::test]
    async fn what_the_socket_takes_is_written_without_a_wait() {
        let (mut near, _far) = tokio::io::duplex(4096);
        for correlation in 0..100 {
            let mut outbox = Outbox::default();
            outbox.push(correlation, &Response::Pong);
            let writing = outbox.write_to(&mut near, Duration::from_secs(60), || false);
            let polled = pin!(writing).poll(&mut Context::from_waker(Waker::noop()));
            assert!(
                matches!(polled, Poll::Ready(Ok(()))),
                "{correlation}: {polled:?}"
            );
            assert!(outbox.is_empty());
        }
    }
}
