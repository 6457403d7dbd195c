//! Which agent is meant, and whether somebody may see it or speak for it.

use super::{AspError, OrgAsp};
use crate::access::{AccessError, Ask, Denied, Principal};
use crate::asp::registry::{Agent, AgentRef, Agents, Placeheld};
use crate::broker::core::Broker;
use crate::broker::error::BrokerError;
use crate::types::{AgentId, AgentName, DEFAULT_ORG_NAME, OrgId, OrgName, Timestamp};

/// An agent as answers show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its identity.
    pub agent: AgentId,
    /// Its name.
    pub name: AgentName,
    /// Its organisation.
    pub org: OrgName,
}

/// An agent that was asked for: there, or a name of one's own organisation that nobody has used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is there.
    There {
        /// Its identity.
        agent: AgentId,
        /// Its organisation.
        org: OrgId,
    },
    /// Its name is free.
    Free(AgentName),
}

impl Broker {
    /// The agents of an organisation, where it has any.
    ///
    /// # Errors
    /// [`AspError::Unavailable`] where nobody knows.
    pub(super) fn agents_of(&self, org: OrgId) -> Result<Option<&Agents>, AspError> {
        self.asp_of(org).map(|of| of.registry.known()).transpose()
    }

    /// Finds an agent that somebody asks for: of their own organisation, or one that another shows
    /// them by a grant or a subscription. What they may not see is answered like what is not there.
    pub(super) fn find_agent(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Found, AspError> {
        let absent = || AspError::AgentNotFound {
            agent: shown(agent),
        };
        let there = |org, agent: &Agent| Found::There {
            agent: agent.agent,
            org,
        };
        match agent {
            AgentRef::Name(name) => self.in_org(by.org, name, absent),
            AgentRef::Uri { org, name } => {
                let org = match org.as_str() {
                    DEFAULT_ORG_NAME => OrgId::DEFAULT,
                    org => self.access.org_by_name(org).ok_or_else(absent)?.org,
                };
                if org == by.org {
                    return self.in_org(org, name, absent);
                }
                // Who is shown nothing there learns nothing of how it is.
                if !self.shows_agent(org, name.as_str(), by.org, now) {
                    return Err(absent());
                }
                let agents = self.agents_of(org)?;
                let found = agents.and_then(|agents| agents.agent_by_name(name.as_str()));
                found.map(|agent| there(org, agent)).ok_or_else(absent)
            }
            AgentRef::Id(id) => {
                let own = self.agents_of(by.org);
                let agents = own.as_ref().ok().copied().flatten();
                if let Some(agent) = agents.and_then(|agents| agents.agent(*id)) {
                    return Ok(there(by.org, agent));
                }
                for (org, of_org) in self.asp.orgs.iter().filter(|(org, _)| **org != by.org) {
                    let found = of_org.registry.known().ok().and_then(|all| all.agent(*id));
                    if let Some(agent) = found {
                        let name = agent.name.as_str();
                        return match self.shows_agent(*org, name, by.org, now) {
                            true => Ok(there(*org, agent)),
                            false => Err(absent()),
                        };
                    }
                }
                // One's own that cannot be read may have it.
                own.and(Err(absent()))
            }
        }
    }

    fn in_org(
        &self,
        org: OrgId,
        name: &AgentName,
        _absent: impl Fn() -> AspError,
    ) -> Result<Found, AspError> {
        let found = self.agents_of(org)?;
        let found = found.and_then(|agents| agents.agent_by_name(name.as_str()));
        Ok(match found {
            Some(agent) => Found::There {
                agent: agent.agent,
                org,
            },
            None => Found::Free(name.clone()),
        })
    }

    /// The agent that somebody asks for, which must be there.
    pub(super) fn agent_there(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<(OrgId, AgentId), AspError> {
        match self.find_agent(by, agent, now)? {
            Found::There { agent, org } => Ok((org, agent)),
            Found::Free(_) => Err(AspError::AgentNotFound {
                agent: shown(agent),
            }),
        }
    }

    /// The agent of their own organisation that somebody wants to speak for.
    ///
    /// # Errors
    /// Where it is not there, or their key does not speak for it.
    pub(super) fn own_agent(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<AgentId, BrokerError> {
        let (org, id) = self.agent_there(by, agent, now)?;
        let name = self.name_of_agent(org, id);
        if org != by.org {
            let agent = shown(agent);
            return Err(AspError::NotYourAgent { agent }.into());
        }
        self.check_speaks(by, &name, now)?;
        Ok(id)
    }

    /// Whether somebody's key speaks for an agent of their organisation.
    pub(super) fn check_speaks(
        &self,
        by: &Principal,
        name: &AgentName,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let ask = Ask::Agent {
            name: name.as_str(),
        };
        let judged = self.access.authorize(by, &ask, now);
        judged.map_err(|denied| match denied {
            Denied::Scope { .. } => AspError::NotYourAgent {
                agent: name.to_string(),
            }
            .into(),
            denied => BrokerError::Access(AccessError::from(denied)),
        })
    }

    /// Whether somebody's key speaks for an agent of their organisation.
    pub(super) fn speaks_for(&self, by: &Principal, agent: AgentId, now: Timestamp) -> bool {
        let agents = self.agents_of(by.org).ok().flatten();
        let agent = agents.and_then(|agents| agents.agent(agent));
        agent.is_some_and(|agent| self.check_speaks(by, &agent.name, now).is_ok())
    }

    /// An agent as answers show it.
    pub(super) fn named(&self, org: OrgId, agent: AgentId) -> Named {
        Named {
            agent,
            name: self.name_of_agent(org, agent),
            org: self.shown_org(org),
        }
    }

    /// The name of an organisation as answers show it.
    pub(super) fn shown_org(&self, org: OrgId) -> OrgName {
        let default = || OrgName::parse(DEFAULT_ORG_NAME).expect("a plain name");
        self.org_name(org).unwrap_or_else(default)
    }

    fn name_of_agent(&self, org: OrgId, agent: AgentId) -> AgentName {
        let known = self.asp_of(org).map(|of| &of.registry.state);
        let known = known.and_then(|agents| agents.agent(agent));
        known.map_or_else(
            || AgentName::parse("unknown").expect("a plain name"),
            |agent| agent.name.clone(),
        )
    }
}

impl OrgAsp {
    /// The event that keeps the place of a name that is used first.
    pub(super) fn placeheld(
        agent: AgentId,
        name: AgentName,
        by: &Principal,
        at: Timestamp,
    ) -> Placeheld {
        Placeheld {
            agent,
            name,
            by: by.id,
            at,
        }
    }
}

/// How an agent was asked for.
pub(super) fn shown(agent: &AgentRef) -> String {
    match agent {
        AgentRef::Id(id) => id.to_string(),
        AgentRef::Name(name) => name.to_string(),
        AgentRef::Uri { org, name } => format!("agent://{org}/{name}"),
    }
}
