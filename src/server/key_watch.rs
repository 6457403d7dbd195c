//! The key that a connection was opened with: used, and at some time ended.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::access::{Caller, ended_key};
use super::admitted::Admitted;
use super::clock;
use super::dispatch::{self, Handled};
use super::quota::{CountedConnection, Usage};
use super::shared::Shared;
use crate::protocol::{Request, WireError};

/// After its key has ended, a connection refuses for this long what was on its way, so that the
/// client reads why, and closes then.
const GRACE: Duration = Duration::from_millis(500);

/// A use that goes on is told to the broker this often.
const USE_INTERVAL: Duration = Duration::from_secs(15 * 60);

/// What a look at the key has shown.
#[derive(Debug, PartialEq)]
pub(super) enum KeyNews {
    /// It still opens what it did.
    None,
    /// It has just ended.
    Ended(WireError),
    /// It ended a while ago: the connection is to be closed.
    Over,
}

fn usage_of(shared: &Shared, caller: &Caller) -> Usage {
    let broker = shared.broker();
    shared.quotas.usage(broker.access(), &caller.principal)
}

/// Whom a connection speaks for, and whether they still may.
pub(super) struct KeyWatch {
    caller: Arc<Caller>,
    changes: watch::Receiver<u64>,
    /// When the key ends by itself.
    ends: Option<Instant>,
    used: Instant,
    ended: Option<(WireError, Instant)>,
    usage: Usage,
    admitted: Admitted,
    _counted: CountedConnection,
}

impl KeyWatch {
    /// Begins to watch the key of who has said hello.
    ///
    /// # Errors
    /// `TOO_MANY_CONNECTIONS` where the key or its organisation has as many as it may.
    pub fn new(shared: &Shared, caller: Caller) -> Result<Self, WireError> {
        let changes = shared.access_changes();
        let usage = usage_of(shared, &caller);
        let now = Instant::from_std(clock::instant());
        let mut watch = Self {
            caller: Arc::new(caller),
            changes,
            ends: None,
            used: now,
            ended: None,
            admitted: Admitted::default(),
            _counted: usage.connect()?,
            usage,
        };
        watch.ends = watch.end_of_key(shared, now);
        Ok(watch)
    }

    /// Whether the key should be looked at before anything else is done for it.
    pub fn has_news(&self, now: Instant) -> bool {
        let is_over = self.ends.is_some_and(|ends| ends <= now);
        self.ended.is_none() && (is_over || self.changes.has_changed().unwrap_or(false))
    }

    /// Takes a request as far as it goes without I/O, if it may be carried out. What is like
    /// something before is not judged again.
    pub fn handle(&mut self, shared: &Shared, mut request: Request) -> Handled {
        // A change that has just come counts for the request behind it.
        if !self.changes.has_changed().unwrap_or(true) && self.admitted.admit(&mut request) {
            return dispatch::handle_admitted(shared, &self.caller, request);
        }
        let said = Admitted::name_of(&mut request);
        match dispatch::admit(shared, &self.caller, request) {
            Ok(mut request) => {
                if let Some(said) = said {
                    self.admitted.remember(&self.caller, said, &mut request);
                }
                dispatch::handle_admitted(shared, &self.caller, request)
            }
            Err(refused) => *refused,
        }
    }

    /// What the connection is measured by.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }

    /// Whom the connection speaks for.
    pub fn caller(&self) -> &Arc<Caller> {
        &self.caller
    }

    /// Why nothing is carried out any more, if so.
    pub fn ended(&self) -> Option<&WireError> {
        self.ended.as_ref().map(|(error, _)| error)
    }

    fn end_of_key(&self, shared: &Shared, now: Instant) -> Option<Instant> {
        let key = self.caller.principal.key?;
        let ends = shared.broker().access().known_key(key)?.expires_at?;
        let left = ends.0.saturating_sub(clock::now().0);
        // A timer takes no time that is years away; the key is looked at again then.
        let left = u64::try_from(left).unwrap_or(0).min(86_400_000);
        Some(now + Duration::from_millis(left))
    }

    /// Waits until the key should be looked at. Cancel-safe.
    pub async fn changed(&mut self) {
        if let Some((_, since)) = &self.ended {
            return tokio::time::sleep_until(*since + GRACE).await;
        }
        let expiry = async {
            match self.ends {
                Some(ends) => tokio::time::sleep_until(ends).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // The sender lives as long as the server.
            _ = self.changes.changed() => {}
            () = expiry => {}
        }
    }

    /// Looks at the key.
    pub fn look(&mut self, shared: &Shared) -> KeyNews {
        let now = Instant::from_std(clock::instant());
        if let Some((_, since)) = &self.ended {
            return if now >= *since + GRACE {
                KeyNews::Over
            } else {
                KeyNews::None
            };
        }
        self.changes.mark_unchanged();
        self.admitted.forget();
        let principal = &self.caller.principal;
        let alive = shared
            .broker()
            .access()
            .check_alive(principal, clock::now());
        match alive {
            Ok(()) => {
                self.usage = usage_of(shared, &self.caller);
                self.ends = self.end_of_key(shared, now);
                KeyNews::None
            }
            Err(ended) => {
                let error = ended_key(&ended);
                self.ended = Some((error.clone(), now));
                KeyNews::Ended(error)
            }
        }
    }

    /// Tells the broker now and then that the key is in use.
    pub fn use_again(&mut self, shared: &Shared) {
        let Some(key) = self.caller.principal.key else {
            return;
        };
        if self.used.elapsed() >= USE_INTERVAL {
            self.used = Instant::from_std(clock::instant());
            shared.broker().use_key(key, clock::now());
        }
    }
}
