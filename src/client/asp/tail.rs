//! The records of a session as they come.

use std::collections::VecDeque;

use serde::Deserialize;
use tokio::time::sleep;

use super::sessions::Sessions;
use crate::asp::registry::AgentRef;
use crate::client::backoff::Backoff;
use crate::client::error::RequestError;
use crate::protocol::asp::{HistoryRecord, SessionHistory};
use crate::types::SessionId;

/// How long the broker waits for a record before it answers without one.
const WAIT_MS: u32 = 25_000;

/// Reads a session record by record; [`Sessions::tail`].
///
/// It knows the number of the record that comes next and asks for that one, so that a connection
/// that is lost and made again, or a broker that is started again, neither loses nor repeats any.
#[derive(Debug)]
pub struct Tail {
    sessions: Sessions,
    backoff: Backoff,
    request: SessionHistory,
    /// Whether to wait for what comes later.
    follow: bool,
    records: VecDeque<HistoryRecord>,
    /// Whether the session has ended, so that there is nothing to wait for.
    is_over: bool,
    has_ended: bool,
}

/// Why no more records come.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TailError {
    /// The broker refused, or is not there and will not be.
    #[error(transparent)]
    Request(#[from] RequestError),
    /// The broker answered with another record than the one that comes next.
    #[error("record {expected} of the session was asked for, and {found} came")]
    Gap {
        /// The number of the record that comes next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// The broker answered with something that is no record.
    #[error("record {expected} of the session has no number")]
    NoRecord {
        /// The number of the record that comes next.
        expected: u64,
    },
}

impl Tail {
    pub(super) fn new(
        sessions: Sessions,
        backoff: Backoff,
        session_id: SessionId,
        from: u64,
    ) -> Self {
        Self {
            sessions,
            backoff,
            request: SessionHistory {
                limit: 1000,
                ..SessionHistory::new(session_id, from)
            },
            follow: false,
            records: VecDeque::new(),
            is_over: false,
            has_ended: false,
        }
    }

    /// Whether to wait for what comes later, until the session ends; unless set it ends with the
    /// last record there is.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// On whose behalf it is read; needed for a session of another organisation.
    #[must_use]
    pub fn on_behalf_of(mut self, agent: impl Into<AgentRef>) -> Self {
        self.request.agent = Some(agent.into());
        self
    }

    /// The number of the record that comes next.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.request.from - self.records.len() as u64
    }

    /// The next record; `None` behind the last. After an error nothing comes any more.
    ///
    /// Dropping the future loses nothing.
    ///
    /// # Errors
    /// [`TailError`]. What may pass is tried again for ever where it follows, and for the time that
    /// a request may take where it does not.
    pub async fn next(&mut self) -> Option<Result<HistoryRecord, TailError>> {
        loop {
            if let Some(record) = self.records.pop_front() {
                return Some(Ok(record));
            }
            if self.has_ended {
                return None;
            }
            if let Err(error) = self.fill().await {
                self.has_ended = true;
                return Some(Err(error));
            }
        }
    }

    /// Asks for the records that come next.
    async fn fill(&mut self) -> Result<(), TailError> {
        let may_wait = self.follow && !self.is_over;
        self.request.wait_ms = if may_wait { WAIT_MS } else { 0 };
        let page = loop {
            match self.sessions.history(self.request.clone()).await {
                Ok(page) => break page,
                Err(error) if self.follow && error.is_retryable() => {
                    let after = error.server().and_then(|error| error.retry_after_ms);
                    sleep(self.backoff.next(after)).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        self.backoff.reset();
        for (expected, record) in (self.request.from..).zip(&page.records) {
            let found = sequence(record).ok_or(TailError::NoRecord { expected })?;
            if found != expected {
                return Err(TailError::Gap { expected, found });
            }
        }
        self.is_over = page.state.is_terminal();
        self.has_ended = page.records.is_empty() && (self.is_over || !self.follow);
        self.request.from += page.records.len() as u64;
        self.records = page.records.into();
        Ok(())
    }
}

/// The number that a record has in its session.
fn sequence(record: &HistoryRecord) -> Option<u64> {
    #[derive(Deserialize)]
    struct Numbered {
        sequence: u64,
    }
    let numbered: Numbered = record.record.read().ok()?;
    Some(numbered.sequence)
}
