//! What the tasks of a connection have found, and the requests that wait for it.

use std::sync::Arc;

use super::Connection;
use crate::broker::{Fetched, Wait};
use crate::protocol::{ErrorCode, Request, Response, WireError};
use crate::server::access::Caller;
use crate::server::dispatch::Handled;
use crate::server::fetching::{self, Answer};
use crate::server::key_watch::KeyWatch;
use crate::server::room::Held;
use crate::server::waiting::Pending;
use crate::server::{admission, region};
use crate::types::ChannelName;

/// What a task of the connection has found.
pub(super) enum Found {
    Fetched(u64, Result<Answer, WireError>),
    /// The same in one answer, with the room that it takes.
    FetchedWholly(u64, Result<(Box<Response>, Held), WireError>),
    /// What a read of what agents say, or one that another region has answered, has found, with the
    /// room that it takes.
    Said(u64, Result<(Box<Response>, Option<Wait>, Held), WireError>),
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

impl Connection {
    /// Whether as many requests wait as may; this one is answered so then.
    pub(super) fn refuses_to_wait(&mut self, correlation: u64) -> bool {
        let limit = self.fetches.len();
        if limit < self.shared.options.max_waiting_fetches {
            return false;
        }
        let text = format!("{limit} fetches of this connection wait, which is the limit");
        let error = WireError::new(ErrorCode::Overloaded, text).with("limit", limit);
        self.answer(correlation, &Response::Error(error.retry_after_ms(100)));
        true
    }

    fn count_fetched(&self, bytes: u64) {
        if let Some(key) = &self.key {
            key.usage().sent(bytes);
        }
        self.shared.metrics.fetches.increment(1);
        self.shared.metrics.fetched_bytes.increment(bytes);
    }

    pub(super) fn fetched(&mut self, correlation: u64, fetched: Fetched, held: Held) {
        self.count_fetched(fetched.slices.bytes);
        self.outbox
            .push_fetch(correlation, &fetching::head(&fetched), fetched.slices, held);
    }

    /// Sends what takes room once its wait is over.
    fn said(&mut self, correlation: u64, response: Box<Response>, wait: Option<Wait>, held: Held) {
        match wait.filter(|wait| wait.entry.0 > 0) {
            Some(wait) => self.waiting.push(Pending {
                correlation,
                response,
                wait,
                held: None,
                room: Some(held),
                bytes: 0,
            }),
            None => self.outbox.push_held(correlation, &response, held),
        }
    }

    /// What a fetch has found, for whoever may still read its channel: what was granted when it began to
    /// wait may have been taken back since.
    fn still_granted<T>(
        &self,
        channel: Option<ChannelName>,
        found: Result<T, WireError>,
    ) -> Result<T, WireError> {
        let found = found?;
        let caller = self.key.as_ref().map(KeyWatch::caller);
        caller.zip(channel).map_or(Ok(()), |(caller, channel)| {
            admission::check_fetched(&self.shared, caller, &channel)
        })?;
        Ok(found)
    }

    /// Ends the wait of a request. Nobody waits any more for what a key that has ended asked for.
    fn waits_no_more(&mut self, correlation: u64) -> Option<Option<ChannelName>> {
        let mut waiting = self.fetches.iter();
        let at = waiting.position(|(other, _)| *other == correlation)?;
        Some(self.fetches.swap_remove(at).1)
    }

    pub(super) fn book(&mut self, found: Found) {
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
                match self.still_granted(channel, found) {
                    Ok((fetched, held)) => self.fetched(correlation, fetched, held),
                    Err(error) => self.answer(correlation, &Response::Error(error)),
                }
            }
            Found::FetchedWholly(correlation, found) => {
                let Some(channel) = self.waits_no_more(correlation) else {
                    return;
                };
                let is_own = channel.is_some();
                match self.still_granted(channel, found) {
                    Ok((response, held)) => {
                        if is_own {
                            self.count_fetched(held.bytes());
                        }
                        self.outbox.push_held(correlation, &response, held);
                    }
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
                    Ok((response, wait, held)) => self.said(correlation, response, wait, held),
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
