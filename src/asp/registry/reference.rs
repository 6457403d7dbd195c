//! How somebody says which agent is meant.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

impl fmt::Display for AgentRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Id(id) => id.fmt(f),
            Self::Name(name) => name.fmt(f),
            Self::Uri { org, name } => write!(f, "agent://{org}/{name}"),
        }
    }
}

impl FromStr for AgentRef {
    type Err = InvalidName;

    fn from_str(text: &str) -> Result<Self, InvalidName> {
        Self::parse(text)
    }
}

impl Serialize for AgentRef {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AgentRef {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}

impl From<AgentId> for AgentRef {
    fn from(id: AgentId) -> Self {
        Self::Id(id)
    }
}

impl From<AgentName> for AgentRef {
    fn from(name: AgentName) -> Self {
        Self::Name(name)
    }
}
