//! What a connection is about to send: small answers in one buffer, batches as slices of their own.

use std::collections::VecDeque;
use std::io::IoSlice;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncWrite, AsyncWriteExt};

use crate::protocol::{FetchHead, Response, WireError};
use crate::storage::Slices;

/// Most slices in one write; Linux takes 1,024.
const MAX_SLICES: usize = 256;

/// Answers in the order in which they will be sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    buffer: BytesMut,
    parts: VecDeque<Bytes>,
    bytes: usize,
}

impl Outbox {
    /// Adds an answer.
    pub fn push(&mut self, correlation: u64, response: &Response) {
        let before = self.buffer.len();
        response.encode(correlation, &mut self.buffer);
        self.bytes += self.buffer.len() - before;
    }

    /// Adds an error.
    pub fn push_error(&mut self, correlation: u64, error: WireError) {
        self.push(correlation, &Response::Error(error));
    }

    /// Adds the answer of a fetch: its head, then the stored batches as they are.
    pub fn push_fetch(&mut self, correlation: u64, head: &FetchHead, slices: Slices) {
        let bytes = usize::try_from(slices.bytes).unwrap_or(usize::MAX);
        head.encode_before(correlation, bytes, &mut self.buffer);
        self.parts.push_back(self.buffer.split().freeze());
        self.parts.extend(slices.parts);
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

    /// Writes everything; an error when the peer takes nothing for `timeout`.
    pub async fn write_to(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        timeout: Duration,
    ) -> std::io::Result<()> {
        if !self.buffer.is_empty() {
            self.parts.push_back(self.buffer.split().freeze());
        }
        while let Some(first) = self.parts.front() {
            if first.is_empty() {
                self.parts.pop_front();
                continue;
            }
            let slices: Vec<IoSlice<'_>> = self
                .parts
                .iter()
                .take(MAX_SLICES)
                .map(|part| IoSlice::new(part))
                .collect();
            let written = tokio::time::timeout(timeout, socket.write_vectored(&slices));
            let written = written.await.map_err(|_| std::io::ErrorKind::TimedOut)??;
            if written == 0 {
                return Err(std::io::ErrorKind::WriteZero.into());
            }
            self.advance(written);
        }
        self.bytes = 0;
        Ok(())
    }

    fn advance(&mut self, mut written: usize) {
        while written > 0 {
            let Some(first) = self.parts.front_mut() else {
                return;
            };
            let taken = written.min(first.len());
            first.advance(taken);
            written -= taken;
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
    }
}
