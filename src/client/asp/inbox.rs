//! What comes for an agent.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::sleep;

use super::{ask, unexpected};
use crate::asp::registry::AgentRef;
use crate::client::backoff::Backoff;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{AgentEntry, AgentInbox, InboxPage};
use crate::protocol::{AspRequest, AspResponse, Kind};

/// How long the broker waits for an entry before it answers without one.
const WAIT_MS: u32 = 25_000;

/// Reads what comes for an agent; [`Sessions::inbox`](super::Sessions::inbox).
#[derive(Debug)]
pub struct Inbox {
    client: Client,
    backoff: Backoff,
    request: AgentInbox,
    /// Whether to wait for what comes later.
    follow: bool,
    entries: VecDeque<AgentEntry>,
    has_ended: bool,
}

impl Inbox {
    pub(super) fn new(client: Client, agent: AgentRef, cursor: Option<String>) -> Self {
        Self {
            backoff: client.backoff(),
            client,
            request: AgentInbox {
                agent,
                cursor,
                limit: crate::protocol::asp::DEFAULT_PAGE,
                wait_ms: 0,
            },
            follow: false,
            entries: VecDeque::new(),
            has_ended: false,
        }
    }

    /// Whether to wait for what comes later; unless set it ends with the last entry there is.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Where to read on behind the page that was read last: the entries of that page that were not
    /// taken yet are not behind it. Ask for it when [`Inbox::is_between_pages`].
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        self.request.cursor.as_deref()
    }

    /// Whether all entries before [`Inbox::cursor`] were taken.
    #[must_use]
    pub fn is_between_pages(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next entry; `None` behind the last. After an error nothing comes any more.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `NOT_YOUR_AGENT`, `INVALID_CURSOR` and
    /// `ASP_UNAVAILABLE`. What may pass is tried again for ever where it follows.
    pub async fn next(&mut self) -> Option<Result<AgentEntry, RequestError>> {
        loop {
            if let Some(entry) = self.entries.pop_front() {
                return Some(Ok(entry));
            }
            if self.has_ended {
                return None;
            }
            match self.page().await {
                Ok(page) => {
                    self.backoff.reset();
                    self.has_ended = page.entries.is_empty() && !self.follow;
                    self.request.cursor = Some(page.cursor);
                    self.entries = page.entries.into();
                }
                Err(error) if self.follow && error.is_retryable() => {
                    let after = error.server().and_then(|error| error.retry_after_ms);
                    sleep(self.backoff.next(after)).await;
                }
                Err(error) => {
                    self.has_ended = true;
                    return Some(Err(error));
                }
            }
        }
    }

    async fn page(&mut self) -> Result<InboxPage, RequestError> {
        self.request.wait_ms = if self.follow { WAIT_MS } else { 0 };
        let wait = Duration::from_millis(u64::from(self.request.wait_ms));
        let request = AspRequest::AgentInbox(self.request.clone());
        match ask(&self.client, request, Retry::Safe, wait).await? {
            AspResponse::AgentInbox(page) => Ok(page),
            _ => Err(unexpected(Kind::AgentInbox)),
        }
    }
}
