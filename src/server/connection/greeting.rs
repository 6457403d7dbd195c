//! Who speaks: a hello and its answer, how long a stranger is borne with, and the key for as long as
//! it lasts.

use std::time::Duration;

use super::Connection;
use crate::protocol::{ErrorCode, FrameDecoder, Request, Response, WireError};
use crate::server::access::Caller;
use crate::server::key_watch::{KeyNews, KeyWatch};
use crate::server::{auditing, clock, dispatch};

/// A client says hello within this time after it has connected.
pub(super) const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

impl Connection {
    /// How much longer a connection has to say hello, where it has not and no answer to it is due.
    pub(super) fn patience_with_stranger(&self) -> Option<Duration> {
        let is_stranger = self.key.is_none() && self.turned_away.is_none();
        is_stranger.then(|| HELLO_TIMEOUT.saturating_sub(self.opened.elapsed()))
    }

    pub(super) fn greet(&mut self, correlation: u64, request: &Request) {
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
    pub(super) fn turn_away(&mut self) {
        let now = clock::instant();
        let due = |(_, _, due): &mut (u64, WireError, tokio::time::Instant)| due.into_std() <= now;
        if let Some((correlation, error, _)) = self.turned_away.take_if(due) {
            self.answer(correlation, &Response::Error(error));
        }
    }

    /// Once its key has ended, a connection carries nothing out any more: what waits for records or
    /// buffers is refused, what was staged is still answered.
    pub(super) fn look_at_key(&mut self) {
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
}

/// Whether a hello failed for want of a key that works.
fn is_failed_authentication(error: &WireError) -> bool {
    matches!(
        error.known(),
        Some(ErrorCode::Unauthenticated | ErrorCode::KeyRevoked | ErrorCode::KeyExpired)
    )
}
