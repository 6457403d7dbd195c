//! What agents promise each other.

use super::pages::Pages;
use super::{FRESH_IDS, asp, new_id_beside};
use crate::asp::commitment::Receipt;
use crate::asp::registry::AgentRef;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::ErrorCode;
use crate::protocol::asp::{
    CommitmentConfirm, CommitmentCreate, CommitmentDeliver, CommitmentInfo, CommitmentList,
    CommitmentReceipt, CommitmentRow, CommitmentWindow,
};
use crate::types::{CommitmentId, SessionId, Timestamp};

/// Requests about commitments; [`Client::commitments`]. What is to be agreed on is offered and
/// accepted in the session instead, with COMMIT and ACCEPT.
///
/// ```no_run
/// use npayload::client::{Client, Commitments};
/// use npayload::types::{AgentName, SessionId, Timestamp};
///
/// # async fn example(client: &Client, session: SessionId) -> Result<(), Box<dyn std::error::Error>> {
/// let agent = AgentName::parse("research-agent")?;
/// let deadline = Timestamp(1_773_532_800_000); // 2026-03-15T00:00:00Z
/// let promise =
///     Commitments::promise(session, agent, "Deliver competitor pricing analysis", deadline);
/// let commitment = client.commitments().create(promise).await?;
/// println!("{}: {}", commitment.id, commitment.state);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Commitments {
    client: Client,
}

impl Commitments {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// A promise to a session with a new id, for [`Commitments::create`]. It ends as the session's,
    /// and so names the region where both live. Its other members say more: to whom, with what
    /// escrow.
    #[must_use]
    pub fn promise(
        session: SessionId,
        agent: impl Into<AgentRef>,
        description: impl Into<String>,
        deadline: Timestamp,
    ) -> CommitmentCreate {
        let id = CommitmentId(new_id_beside(session.0));
        CommitmentCreate::new(id, session, agent, description, deadline)
    }

    /// Promises something. After a lost connection it is sent again with the same id.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COMMITMENT_ID_TAKEN`, `INVALID_COMMITMENT_ID`,
    /// `INVALID_COMMITMENT`, `SESSION_NOT_FOUND`, `NOT_PARTICIPANT`, `NOT_YOUR_AGENT`,
    /// `INVALID_PAYLOAD`, `INSUFFICIENT_FUNDS`, `ABOVE_CEILING`, `TOO_MANY_COMMITMENTS` and
    /// `OUT_OF_LIMIT`.
    pub async fn create(&self, create: CommitmentCreate) -> Result<CommitmentRow, RequestError> {
        asp!(&self.client, Retry::Safe, CommitmentCreate(create))
    }

    /// As [`Commitments::create`], but under another id, which the answer tells, where somebody else
    /// has used the one that it has: for an id that nobody has been told, and that is not kept to be
    /// tried again by another process.
    ///
    /// # Errors
    /// As [`Commitments::create`].
    pub async fn create_anew(
        &self,
        mut create: CommitmentCreate,
    ) -> Result<CommitmentRow, RequestError> {
        for _ in 0..FRESH_IDS {
            match self.create(create.clone()).await {
                Err(error) if error.is(ErrorCode::CommitmentIdTaken) => {
                    create.id = CommitmentId(new_id_beside(create.session_id.0));
                }
                made => return made,
            }
        }
        self.create(create).await
    }

    /// Says that what was promised is delivered. Not sent again after a lost connection: a delivery
    /// comes once, and [`Commitments::info`] tells whether it did.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COMMITMENT_NOT_FOUND`, `ILLEGAL_STEP`,
    /// `ALREADY_DELIVERED`, `INVALID_EVIDENCE`, `INVALID_PAYLOAD`, `NOT_YOUR_AGENT` and
    /// `OUT_OF_LIMIT`.
    pub async fn deliver(&self, deliver: CommitmentDeliver) -> Result<CommitmentRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, CommitmentDeliver(deliver))
    }

    /// Says that a delivery is what was promised. Not sent again after a lost connection.
    ///
    /// - `agent`: who says so; with none, the one who judges it that the key speaks for.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COMMITMENT_NOT_FOUND`, `NOT_PARTY`, `ILLEGAL_STEP` and
    /// `NOT_YOUR_AGENT`.
    pub async fn confirm(
        &self,
        commitment_id: CommitmentId,
        agent: Option<AgentRef>,
    ) -> Result<CommitmentRow, RequestError> {
        let confirm = CommitmentConfirm {
            commitment_id,
            agent_id: agent,
        };
        asp!(&self.client, Retry::Unsafe, CommitmentConfirm(confirm))
    }

    /// Makes the time for judging a delivery shorter. Not sent again after a lost connection.
    ///
    /// - `agent`: who says so; with none, the one who judges it that the key speaks for.
    /// - `window_ms`: from the delivery on; at least 1, and less than it was.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COMMITMENT_NOT_FOUND`, `NOT_PARTY`, `ILLEGAL_STEP`,
    /// `NOT_YOUR_AGENT` and `OUT_OF_LIMIT`.
    pub async fn shorten(
        &self,
        commitment_id: CommitmentId,
        agent: Option<AgentRef>,
        window_ms: u64,
    ) -> Result<CommitmentRow, RequestError> {
        let window = CommitmentWindow {
            commitment_id,
            agent_id: agent,
            window_ms,
        };
        asp!(&self.client, Retry::Unsafe, CommitmentWindow(window))
    }

    /// Commitments: those that are not closed, newest first, then the others. Its `limit` is the
    /// size of a page, and its `cursor` where to begin.
    #[must_use]
    pub fn list(&self, list: CommitmentList) -> Pages<CommitmentList> {
        Pages::new(self.client.clone(), list)
    }

    /// A commitment.
    ///
    /// - `agent`: the participant on whose behalf; needed in sessions of other organisations.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COMMITMENT_NOT_FOUND`.
    pub async fn info(
        &self,
        commitment_id: CommitmentId,
        agent: Option<AgentRef>,
    ) -> Result<CommitmentRow, RequestError> {
        let info = CommitmentInfo {
            commitment_id,
            agent_id: agent,
        };
        asp!(&self.client, Retry::Safe, CommitmentInfo(info))
    }

    /// A receipt, which [`Receipt::verify`] verifies without a broker.
    ///
    /// - `agent`: the participant on whose behalf; needed in sessions of other organisations.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COMMITMENT_NOT_FOUND`.
    pub async fn receipt(
        &self,
        commitment_id: CommitmentId,
        agent: Option<AgentRef>,
    ) -> Result<Receipt, RequestError> {
        let of = CommitmentReceipt {
            commitment_id,
            agent_id: agent,
        };
        Ok(asp!(&self.client, Retry::Safe, CommitmentReceipt(of))?.receipt)
    }
}
