//! What waits for the broker: answers for their round, and a command for room in its buffers.

use std::sync::Arc;
use std::time::Duration;

use super::{Connection, Stalled};
use crate::broker::Wake;
use crate::protocol::{ErrorCode, Response, WireError};
use crate::server::dispatch::{self, Handled};
use crate::server::{admission, answer};
use crate::storage::Outcome;

/// A command is refused after it found the buffers full for this long.
const BUSY_TIMEOUT: Duration = Duration::from_secs(20);

impl Connection {
    /// Tries a command again that found the buffers full; false while it still does.
    pub(super) fn retry_stalled(&mut self) -> bool {
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
    pub(super) fn settle(&mut self) {
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
                _ => match pending.room {
                    Some(room) => {
                        let correlation = pending.correlation;
                        self.outbox.push_held(correlation, &pending.response, room);
                    }
                    None => self.answer(pending.correlation, &pending.response),
                },
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
}
