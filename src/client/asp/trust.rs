//! How far agents are trusted.

use super::asp;
use crate::asp::registry::AgentRef;
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    EndorsementRow, OrgVerify, RatingRow, TrustAsk, TrustEndorse, TrustExplain, TrustExplained,
    TrustRate, TrustRow, VerifiedOrg,
};
use crate::types::OrgName;

/// Requests about trust; [`Client::trust`].
///
/// ```no_run
/// use npayload::client::Client;
/// use npayload::types::AgentName;
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let agent = AgentName::parse("research-agent")?;
/// let trust = client.trust().score(agent).await?;
/// if f64::from(trust.score) < 0.8 {
///     println!("{} needs somebody to look at its work", trust.name);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Trust {
    client: Client,
}

impl Trust {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// How far an agent is trusted.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`.
    pub async fn score(&self, agent: impl Into<AgentRef>) -> Result<TrustRow, RequestError> {
        let agent_id = agent.into();
        asp!(&self.client, Retry::Safe, TrustScore(TrustAsk { agent_id }))
    }

    /// Why an agent is trusted so far, with a page of the evidence.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `INVALID_CURSOR` and `OUT_OF_LIMIT`.
    pub async fn explain(&self, explain: TrustExplain) -> Result<TrustExplained, RequestError> {
        asp!(&self.client, Retry::Safe, TrustExplain(explain))
    }

    /// Rates an agent for what it did in a session. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `SESSION_NOT_FOUND`,
    /// `NOT_PARTICIPANT`, `NOT_COUNTERPARTY`, `NOT_YOUR_AGENT` and `OUT_OF_LIMIT`.
    pub async fn rate(&self, rate: TrustRate) -> Result<RatingRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, TrustRate(rate))
    }

    /// Endorses an agent, or takes that back. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `NOT_YOUR_AGENT`,
    /// `ENDORSER_NOT_TRUSTED`, `TOO_MANY_ENDORSEMENTS` and `INVALID_ENDORSEMENT`.
    pub async fn endorse(&self, endorse: TrustEndorse) -> Result<EndorsementRow, RequestError> {
        asp!(&self.client, Retry::Unsafe, TrustEndorse(endorse))
    }

    /// Says whether an operator knows who an organisation is: credibility flows from those. For a
    /// key of the default organisation. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `ORG_NOT_FOUND` and `FORBIDDEN`.
    pub async fn verify_org(
        &self,
        org: OrgName,
        verified: bool,
    ) -> Result<VerifiedOrg, RequestError> {
        let verify = OrgVerify { org, verified };
        asp!(&self.client, Retry::Unsafe, OrgVerify(verify))
    }
}
