//! What agents say to each other.

use std::sync::Arc;
use std::time::Duration;

use super::inbox::Inbox;
use super::message::NewMessage;
use super::pages::Pages;
use super::signing::Signing;
use super::tail::Tail;
use super::{FRESH_IDS, ask, asp, unexpected};
use crate::asp::chain::SigningKey;
use crate::asp::registry::AgentRef;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    HistoryPage, SessionCreate, SessionHistory, SessionInfo, SessionLeave, SessionList,
    SessionResume, SessionRow, SessionSent,
};
use crate::protocol::{AspRequest, AspResponse, ErrorCode, Kind};
use crate::types::SessionId;

/// Requests about sessions; [`Client::sessions`].
///
/// ```no_run
/// use npayload::asp::session::{Performative, Role};
/// use npayload::client::{Client, NewMessage};
/// use npayload::protocol::asp::{Joining, SessionCreate};
/// use npayload::types::AgentName;
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let [lead, writer] = ["coordinator-agent", "writer-agent"].map(AgentName::parse);
/// let (lead, writer) = (lead?, writer?);
/// let session = client
///     .sessions()
///     .create(SessionCreate::new(
///         "market analysis",
///         vec![
///             Joining::new(lead.clone(), Role::Coordinator),
///             Joining::new(writer, Role::Specialist),
///         ],
///     ))
///     .await?
///     .session_id;
/// let task = NewMessage::new(lead).typed("task.assign").content("write it down")?;
/// println!("number {}", client.sessions().send(session, task).await?.sequence);
/// let mut tail = client.sessions().tail(session, 0);
/// while let Some(record) = tail.next().await.transpose()? {
///     println!("{}", record.record);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Sessions {
    client: Client,
    signing: Option<Arc<Signing>>,
}

impl Sessions {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            signing: None,
        }
    }

    /// The same, for an agent whose public key is enrolled: what is sent with it is signed.
    #[must_use]
    pub fn signing_with(mut self, key: SigningKey) -> Self {
        self.signing = Some(Arc::new(Signing::new(key)));
        self
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Begins a session. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `INVALID_SESSION`, `AGENT_NOT_FOUND`, `NOT_YOUR_AGENT`
    /// and `OUT_OF_LIMIT`.
    pub async fn create(&self, create: SessionCreate) -> Result<SessionRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, SessionCreate(create))
    }

    /// Sessions: the live ones, newest first, then those that ended, latest end first. Its `limit`
    /// is the size of a page, and its `cursor` where to begin.
    #[must_use]
    pub fn list(&self, list: SessionList) -> Pages<SessionList> {
        Pages::new(self.client.clone(), list)
    }

    /// A session.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `SESSION_NOT_FOUND`.
    pub async fn info(&self, session_id: SessionId) -> Result<SessionRow, RequestError> {
        let info = SessionInfo { session_id };
        asp!(&self.client, Retry::Safe, SessionInfo(info))
    }

    /// Says something in a session. After a lost connection it is sent again with the same id, so
    /// that it is taken once. It is signed where the sender's key was given with
    /// [`Sessions::signing_with`]. One without an id of its own is said under another one where
    /// somebody else has used that which it was given.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, among others `ILLEGAL_MESSAGE`, `SESSION_NOT_FOUND`,
    /// `SESSION_ENDED`, `NOT_PARTICIPANT`, `NOT_YOUR_AGENT`, `OFFER_NOT_OPEN`, `INVALID_BODY`,
    /// `INVALID_PAYLOAD`, `SIGNATURE_REQUIRED` and `MESSAGE_ID_TAKEN`; of a COMMIT that offers a
    /// commitment, and of its answers, `INVALID_OFFER`, `OFFER_LAPSED`, `COMMITMENT_ID_TAKEN`,
    /// `INSUFFICIENT_FUNDS`, `ABOVE_CEILING` and `TOO_MANY_COMMITMENTS`.
    pub async fn send(
        &self,
        session_id: SessionId,
        message: NewMessage,
    ) -> Result<SessionSent, RequestError> {
        let fresh_ids = message.id.map_or(FRESH_IDS, |_| 0);
        for _ in 0..fresh_ids {
            match self.send_once(session_id, message.clone()).await {
                Err(error)
                    if error.is(ErrorCode::MessageIdTaken)
                        || error.is(ErrorCode::CommitmentIdTaken) => {}
                sent => return sent,
            }
        }
        self.send_once(session_id, message).await
    }

    async fn send_once(
        &self,
        session_id: SessionId,
        message: NewMessage,
    ) -> Result<SessionSent, RequestError> {
        let mut send = message.request(session_id);
        if let Some(signing) = &self.signing {
            signing.sign(self, &mut send).await?;
        }
        asp!(&self.client, Retry::Safe, SessionSend(send))
    }

    /// Records of a session from one of them on, waiting for the first if asked to. One answer; most
    /// callers want a [`Tail`].
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `SESSION_NOT_FOUND`, `NOT_PARTICIPANT`, `OUT_OF_LIMIT`
    /// and `ASP_UNAVAILABLE`.
    pub async fn history(&self, history: SessionHistory) -> Result<HistoryPage, RequestError> {
        let wait = Duration::from_millis(u64::from(history.wait_ms));
        let request = AspRequest::SessionHistory(history);
        match ask(&self.client, request, Retry::Safe, wait).await? {
            AspResponse::SessionHistory(page) => Ok(page),
            _ => Err(unexpected(Kind::SessionHistory)),
        }
    }

    /// The records of a session in order, none of them twice and none left out, whatever the
    /// connection does.
    ///
    /// - `from`: number of the first record.
    #[must_use]
    pub fn tail(&self, session_id: SessionId, from: u64) -> Tail {
        Tail::new(self.clone(), self.client.backoff(), session_id, from)
    }

    /// Takes an agent out of a session. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `SESSION_NOT_FOUND`, `SESSION_ENDED`, `NOT_PARTICIPANT`,
    /// `NOT_YOUR_AGENT` and `ILLEGAL_MESSAGE` for the last coordinator.
    pub async fn leave(
        &self,
        session_id: SessionId,
        agent: impl Into<AgentRef>,
    ) -> Result<SessionRow, RequestError> {
        let leave = SessionLeave {
            session_id,
            agent: agent.into(),
        };
        asp!(&self.client, Retry::Unsafe, SessionLeave(leave))
    }

    /// Lets an escalated session go on, as a human decided. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `SESSION_NOT_FOUND`, `SESSION_ENDED` and
    /// `ILLEGAL_MESSAGE` where it is not escalated.
    pub async fn resume(&self, session_id: SessionId) -> Result<SessionRow, RequestError> {
        let resume = SessionResume { session_id };
        asp!(&self.client, Retry::Unsafe, SessionResume(resume))
    }

    /// What comes for an agent, from all sessions that it takes part in or is invited to.
    ///
    /// - `cursor`: where an inbox ended before ([`Inbox::cursor`]); from the first record when none
    ///   is given.
    #[must_use]
    pub fn inbox(&self, agent: impl Into<AgentRef>, cursor: Option<String>) -> Inbox {
        Inbox::new(self.client.clone(), agent.into(), cursor)
    }
}
