//! Who there is, and what they can do.

use super::asp;
use super::pages::Pages;
use crate::asp::registry::{AgentRef, Availability, PublicKey};
use crate::client::error::RequestError;
use crate::client::handle::{Client, Retry};
use crate::protocol::asp::{
    AgentAvailability, AgentDeregister, AgentInfo, AgentProfile, AgentRegister, AgentRow,
    AgentSearch, AgentSetKey,
};

/// Requests about agents; [`Client::agents`].
///
/// ```no_run
/// use npayload::asp::registry::Profile;
/// use npayload::client::Client;
/// use npayload::protocol::asp::{AgentRegister, AgentSearch};
/// use npayload::types::AgentName;
///
/// # async fn example(client: &Client) -> Result<(), Box<dyn std::error::Error>> {
/// let name = AgentName::parse("research-agent")?;
/// let profile = Profile {
///     capabilities: vec![AgentName::parse("web-search")?],
///     ..Profile::default()
/// };
/// client.agents().register(AgentRegister::new(name, profile)).await?;
/// let mut able = client.agents().search(AgentSearch {
///     capabilities: vec!["web-*".to_owned()],
///     ..AgentSearch::default()
/// });
/// while let Some(agent) = able.next().await.transpose()? {
///     println!("{}: {:?}", agent.name, agent.profile.capabilities);
/// }
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Agents {
    client: Client,
}

impl Agents {
    pub(super) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Registers an agent, or replaces what it says of itself. With a public key it is not sent
    /// again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `INVALID_PROFILE`, `PUBLIC_KEY_USED`, `NOT_YOUR_AGENT`
    /// and `OUT_OF_LIMIT`.
    pub async fn register(&self, agent: AgentRegister) -> Result<AgentRow, RequestError> {
        let retry = match agent.public_key {
            None => Retry::Safe,
            Some(_) => Retry::Unsafe,
        };
        asp!(&self.client, retry, AgentRegister(agent))
    }

    /// Takes an agent out of search. Not sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `AGENT_NOT_REGISTERED` and
    /// `NOT_YOUR_AGENT`.
    pub async fn deregister(&self, agent: impl Into<AgentRef>) -> Result<AgentRow, RequestError> {
        let agent = agent.into();
        asp!(
            &self.client,
            Retry::Unsafe,
            AgentDeregister(AgentDeregister { agent })
        )
    }

    /// Says whether an agent can be reached: a heartbeat.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `AGENT_NOT_REGISTERED`,
    /// `INVALID_PROFILE` and `NOT_YOUR_AGENT`.
    pub async fn availability(
        &self,
        agent: impl Into<AgentRef>,
        availability: Availability,
    ) -> Result<AgentRow, RequestError> {
        let said = AgentAvailability {
            agent: agent.into(),
            availability,
        };
        asp!(&self.client, Retry::Safe, AgentAvailability(said))
    }

    /// Gives an agent a public key, replaces the one that it has, or, with none, revokes it. Not
    /// sent again after a lost connection.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`, `AGENT_NOT_REGISTERED`,
    /// `PUBLIC_KEY_USED`, `NO_PUBLIC_KEY`, `NOT_YOUR_AGENT` and `OUT_OF_LIMIT`.
    pub async fn set_key(
        &self,
        agent: impl Into<AgentRef>,
        public_key: Option<PublicKey>,
    ) -> Result<AgentRow, RequestError> {
        let set = AgentSetKey {
            agent: agent.into(),
            public_key,
        };
        asp!(&self.client, Retry::Unsafe, AgentSetKey(set))
    }

    /// An agent, with its card.
    ///
    /// # Errors
    /// [`RequestError`]; of the broker's, `AGENT_NOT_FOUND`.
    pub async fn info(&self, agent: impl Into<AgentRef>) -> Result<AgentProfile, RequestError> {
        let agent = agent.into();
        asp!(&self.client, Retry::Safe, AgentInfo(AgentInfo { agent }))
    }

    /// Registered agents, sorted by trust, availability and name. Its `limit` is the size of a
    /// page, and its `cursor` where to begin.
    #[must_use]
    pub fn search(&self, search: AgentSearch) -> Pages<AgentSearch> {
        Pages::new(self.client.clone(), search)
    }
}
