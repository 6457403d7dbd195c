//! Frames out of the buffer: each is one request, which is handled, and answered or kept until it can
//! be.

use tokio_util::codec::Decoder;

use super::{Connection, FLUSH_BYTES, Stalled};
use crate::protocol::{ErrorCode, Frame, FrameError, Request, Response};
use crate::server::dispatch::Handled;
use crate::server::waiting::Pending;
use crate::server::{admission, clock, quota};

/// A frame above this is received only while the broker has room for all of it.
const LARGE_FRAME_BYTES: usize = 128 * 1024;

impl Connection {
    /// Room in KiB that the frame in the buffer still needs, where it is a large one.
    pub(super) fn lacks_room(&self) -> Option<u32> {
        if self.room.is_some() {
            return None;
        }
        let total = self.decoder.peek(&self.input).ok().flatten()?;
        let kib = u32::try_from(total / 1024 + 1).unwrap_or(u32::MAX);
        (total > LARGE_FRAME_BYTES).then_some(kib)
    }

    /// Handles the complete frames in the buffer, as many as may be taken.
    pub(super) fn take_frames(&mut self) {
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
    pub(super) fn take(&mut self, frame: Frame) -> bool {
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
    pub(super) fn show(&self, handled: &mut Handled) {
        if let (Handled::Answer(response, _), Some(key)) = (handled, &self.key) {
            admission::show(&self.shared, key.caller(), response);
        }
    }

    pub(super) fn handled(&mut self, correlation: u64, bytes: u64, handled: Handled) -> bool {
        match handled {
            Handled::Answer(response, Some(wait)) if wait.entry.0 > 0 => {
                self.waiting.push(Pending {
                    correlation,
                    response,
                    wait,
                    held: None,
                    room: None,
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
                    room: None,
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

    pub(super) fn answer(&mut self, correlation: u64, response: &Response) {
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
}
