//! That a promise was not kept.

use super::pages::Pages;
use super::{FRESH_IDS, asp, new_id_beside};
use crate::asp::registry::AgentRef;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::ErrorCode;
use crate::protocol::asp::{
    DisputeAnswer, DisputeCreate, DisputeInfo, DisputeList, DisputeRow, DisputeRule,
    DisputeWithdraw,
};
use crate::types::{CommitmentId, DisputeId};

/// Requests about disputes; [`Client::disputes`].
///
/// ```no_run
/// use npayload::client::{Client, Disputes};
/// use npayload::protocol::asp::JsonText;
/// use npayload::types::CommitmentId;
/// use serde_json::json;
///
/// # async fn example(client: &Client, commitment: CommitmentId) -> Result<(), Box<dyn std::error::Error>> {
/// let mut dispute =
///     Disputes::about(commitment, "Analysis was not delivered by the deadline");
/// dispute.evidence = Some(JsonText::of(&json!({"missedDeadline": true}))?);
/// let dispute = client.disputes().create(dispute).await?;
/// println!("{}: {}", dispute.id, dispute.state);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Disputes {
    client: Client,
}

impl Disputes {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// A dispute with a new id, for [`Disputes::create`]. It ends as the promise's. Its other members
    /// say more: what shows it, how bad it is.
    #[must_use]
    pub fn about(commitment_id: CommitmentId, reason: impl Into<String>) -> DisputeCreate {
        let id = DisputeId(new_id_beside(commitment_id.0));
        DisputeCreate::new(id, commitment_id, reason)
    }

    /// Says that a promise was not kept. Where the log decides, the answer has the ruling. After a
    /// lost connection it is sent again with the same id.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `COMMITMENT_NOT_FOUND`, `NOT_PARTY`, `ILLEGAL_STEP`,
    /// `ALREADY_DISPUTED`, `TOO_MANY_DISPUTES`, `DISPUTE_ID_TAKEN`, `INVALID_DISPUTE_ID`, `INVALID_EVIDENCE`,
    /// `INVALID_PAYLOAD`, `NOT_YOUR_AGENT` and `OUT_OF_LIMIT`.
    pub async fn create(&self, create: DisputeCreate) -> Result<DisputeRow, RequestError> {
        asp!(&self.client, Retry::Safe, DisputeCreate(create))
    }

    /// As [`Disputes::create`], but under another id, which the answer tells, where somebody else has
    /// used the one that it has: for an id that nobody has been told, and that is not kept to be
    /// tried again by another process.
    ///
    /// # Errors
    /// As [`Disputes::create`].
    pub async fn create_anew(&self, mut create: DisputeCreate) -> Result<DisputeRow, RequestError> {
        for _ in 0..FRESH_IDS {
            match self.create(create.clone()).await {
                Err(error) if error.is(ErrorCode::DisputeIdTaken) => {
                    create.id = DisputeId(new_id_beside(create.commitment_id.0));
                }
                made => return made,
            }
        }
        self.create(create).await
    }

    /// Answers a dispute, for who promised. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `DISPUTE_NOT_FOUND`, `ILLEGAL_STEP`, `INVALID_EVIDENCE`,
    /// `INVALID_PAYLOAD`, `NOT_YOUR_AGENT` and `OUT_OF_LIMIT`.
    pub async fn answer(&self, answer: DisputeAnswer) -> Result<DisputeRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, DisputeAnswer(answer))
    }

    /// Takes a dispute back, for who filed it. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `DISPUTE_NOT_FOUND`, `ILLEGAL_STEP` and `NOT_YOUR_AGENT`.
    pub async fn withdraw(&self, dispute_id: DisputeId) -> Result<DisputeRow, RequestError> {
        asp!(
            &self.client,
            Retry::Unsafe,
            DisputeWithdraw(DisputeWithdraw { dispute_id })
        )
    }

    /// Votes as an arbitrator, or, where no agent is named, rules as an operator. Not sent again
    /// after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `DISPUTE_NOT_FOUND`, `NOT_PARTY`, `ILLEGAL_STEP`,
    /// `ALREADY_VOTED`, `OTHER_MECHANISM`, `REASON_REQUIRED`, `FORBIDDEN`, `NOT_YOUR_AGENT` and
    /// `OUT_OF_LIMIT`.
    pub async fn rule(&self, rule: DisputeRule) -> Result<DisputeRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, DisputeRule(rule))
    }

    /// Disputes: those that are not decided, newest first, then the others. Its `limit` is the size
    /// of a page, and its `cursor` where to begin.
    #[must_use]
    pub fn list(&self, list: DisputeList) -> Pages<DisputeList> {
        Pages::new(self.client.clone(), list)
    }

    /// A dispute.
    ///
    /// - `agent`: the participant or arbitrator on whose behalf; needed in sessions of other
    ///   organisations.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `DISPUTE_NOT_FOUND`.
    pub async fn info(
        &self,
        dispute_id: DisputeId,
        agent: Option<AgentRef>,
    ) -> Result<DisputeRow, RequestError> {
        let info = DisputeInfo {
            dispute_id,
            agent_id: agent,
        };
        asp!(&self.client, Retry::Safe, DisputeInfo(info))
    }
}
