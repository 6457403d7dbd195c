//! How somebody says which agent is meant.

use super::agents::{Agent, Agents};
use crate::types::{AgentId, AgentName, InvalidName, OrgName};

/// What stands where an agent is asked for: an id, a name, or `agent://org/…/name`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgentRef {
    /// That identity.
    Id(AgentId),
    /// That name in the caller's organisation.
    Name(AgentName),
    /// That name in that organisation.
    Uri {
        /// The organisation.
        org: OrgName,
        /// The name.
        name: AgentName,
    },
}

impl AgentRef {
    /// Reads any of the three forms. What stands between organisation and name in an address is
    /// checked and passed over: the name is unique without it.
    ///
    /// # Errors
    /// [`InvalidName`] when the text is none of them.
    pub fn parse(text: &str) -> Result<Self, InvalidName> {
        if text.starts_with("agt_") {
            return text.parse().map(Self::Id);
        }
        let Some(path) = text.strip_prefix("agent://") else {
            return AgentName::parse(text).map(Self::Name);
        };
        let (org, path) = path.split_once('/').unwrap_or((path, ""));
        let org = OrgName::parse(org)?;
        let (between, name) = match path.rsplit_once('/') {
            Some((between, name)) => (Some(between), name),
            None => (None, path),
        };
        for part in between.into_iter().flat_map(|between| between.split('/')) {
            AgentName::parse(part)?;
        }
        let name = AgentName::parse(name)?;
        Ok(Self::Uri { org, name })
    }

    /// The agent meant, of the agents of the organisation that it names, or of the caller's own.
    #[must_use]
    pub fn find<'a>(&self, agents: &'a Agents) -> Option<&'a Agent> {
        match self {
            Self::Id(id) => agents.agent(*id),
            Self::Name(name) | Self::Uri { name, .. } => agents.agent_by_name(name.as_str()),
        }
    }
}
