//! Who waits for something to be said: in a session, or to an agent. Only they are woken, so that
//! ten thousand idle tails cost nothing.

use std::collections::HashMap;
use std::sync::Arc;

use crate::broker::core::{Broker, Wake};
use crate::types::{AgentId, SessionId};

/// What somebody waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AspWaiter {
    /// The next record of a session.
    Session(SessionId),
    /// The next record of any session that an agent takes part in.
    Inbox(AgentId),
}

/// All who wait.
#[derive(Default)]
pub(super) struct Waiters(HashMap<AspWaiter, Vec<Arc<dyn Wake>>>);

impl Waiters {
    /// Whether anybody waits at all.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes those who wait for that.
    pub fn take(&mut self, what: AspWaiter) -> Vec<Arc<dyn Wake>> {
        self.0.remove(&what).unwrap_or_default()
    }
}

impl Broker {
    /// Wakes `waiter` once, in the round after something new was said there.
    pub fn wake_on_asp(&mut self, what: AspWaiter, waiter: Arc<dyn Wake>) {
        self.asp.waiters.0.entry(what).or_default().push(waiter);
    }

    /// Takes back a waiter that was not woken.
    pub fn forget_asp_waiter(&mut self, what: AspWaiter, waiter: &Arc<dyn Wake>) {
        if let Some(waiters) = self.asp.waiters.0.get_mut(&what) {
            waiters.retain(|other| !Arc::ptr_eq(other, waiter));
            if waiters.is_empty() {
                self.asp.waiters.0.remove(&what);
            }
        }
    }
}
