//! The agents of an organisation, folded from [`AgentEvent`]s.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::event::{AgentEvent, AvailabilityChanged, Fact, KeyFact, Placeheld, Registered};
use super::index::{Index, Listing};
use super::profile::{InvalidProfile, Profile, PublicKey};
use crate::folding::{self, Assembly, BETWEEN_PARTS, IllegalEvent, MAX_PART_BYTES};
use crate::types::{AgentId, AgentName, PrincipalId, Timestamp};

/// Most agents of an organisation, placeholders and deregistered ones included.
pub const MAX_AGENTS: usize = 1_000_000;
/// Most public keys that an agent may have had.
pub const MAX_KEYS: usize = 64;

/// An agent as its events have left it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Agent {
    /// Its identity, the same for ever.
    pub agent: AgentId,
    /// Its name, unique within the organisation.
    pub name: AgentName,
    /// Whether it is registered.
    pub standing: AgentStanding,
    /// What it said of itself last; empty for a placeholder.
    pub profile: Profile,
    /// Its public key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<PublicKey>,
    /// Keys that were replaced or revoked, oldest first; none of them is taken again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub retired_keys: Vec<PublicKey>,
    /// When its name was first used.
    pub created_at: Timestamp,
    /// When it changed last.
    pub changed_at: Timestamp,
    /// Who changed it last.
    pub by: PrincipalId,
}

/// One agent in a state record.
pub type AgentRow = Agent;

/// Whether an agent is registered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum AgentStanding {
    /// Its name was used, and nobody registered it.
    Placeholder,
    /// It is found by searches.
    Registered,
    /// It was registered.
    Deregistered,
}

impl Agent {
    /// Whether a public key may become the agent's.
    ///
    /// # Errors
    /// [`RegistryError`] when the key was its own before, or it has had too many.
    pub fn check_new_key(&self, key: PublicKey) -> Result<(), RegistryError> {
        if self.key == Some(key) || self.retired_keys.contains(&key) {
            return Err(RegistryError::KeyUsed(key));
        }
        let found = self.retired_keys.len() + usize::from(self.key.is_some());
        if found >= MAX_KEYS {
            return Err(RegistryError::TooManyKeys {
                found,
                limit: MAX_KEYS,
            });
        }
        Ok(())
    }
}

/// Why a change of the registry is refused. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegistryError {
    /// There is no such agent.
    #[error("there is no agent {0}")]
    UnknownAgent(AgentId),
    /// The agent is not registered.
    #[error("agent `{name}` is not registered: {standing:?}")]
    NotRegistered {
        /// Its name.
        name: AgentName,
        /// What it is instead.
        standing: AgentStanding,
    },
    /// The organisation has as many agents as it may have.
    #[error("the organisation has {found} agents, and at most {limit} are allowed")]
    TooManyAgents {
        /// How many it has.
        found: usize,
        /// [`MAX_AGENTS`].
        limit: usize,
    },
    /// The agent has had as many keys as it may have.
    #[error("the agent has had {found} keys, and at most {limit} are allowed")]
    TooManyKeys {
        /// How many it has had.
        found: usize,
        /// [`MAX_KEYS`].
        limit: usize,
    },
    /// The key is the agent's, or was.
    #[error("the key {0} is the agent's own already, or was")]
    KeyUsed(PublicKey),
    /// There is no key to be revoked.
    #[error("agent `{0}` has no public key")]
    NoKey(AgentName),
    /// The profile breaks a limit.
    #[error(transparent)]
    Profile(#[from] InvalidProfile),
}

/// The agents of one organisation. For each of them:
///
/// ```text
/// Absent --placeheld--> Placeholder --registered--> Registered --deregistered--> Deregistered
///    |                                              ^ ^  | registered,                |
///    +-----------------registered-------------------+ |  | availabilityChanged        |
///                                                     +--+                            |
///                                                     +----------registered-----------+
/// without key --keyEnrolled--> with key --keyRotated--> with key --keyRevoked--> without key
/// ```
///
/// Keys change in Registered only. A state record replaces all once its last part is there; no
/// other event may stand between its parts. An unknown event changes nothing. Limits are judged
/// once, at the door, and not by a replay.
///
/// Rows are shared with clones, so that a clone for a snapshot copies no agent. A search that is
/// not to hold anybody up takes a [`Listing`].
#[derive(Clone, Debug, Default)]
pub struct Agents {
    agents: BTreeMap<AgentId, Arc<Agent>>,
    names: BTreeMap<AgentName, AgentId>,
    /// Of those that are registered.
    pub(super) index: Index,
    assembly: Option<Assembly<AgentRow>>,
}

/// Names and index follow from the agents, so two states are the same where those are.
impl PartialEq for Agents {
    fn eq(&self, other: &Self) -> bool {
        self.agents == other.agents && self.assembly == other.assembly
    }
}

impl Eq for Agents {}

impl Agents {
    /// Takes an event into the state. One function checks an append and replays the log.
    ///
    /// # Errors
    /// [`IllegalEvent`] when the event cannot follow; the state is unchanged.
    pub fn apply(&mut self, event: &AgentEvent) -> Result<(), IllegalEvent> {
        self.transition(event).map_err(|rule| IllegalEvent {
            event: event.record_type().to_owned(),
            subject: subject(event),
            rule,
        })
    }

    /// The agent of that identity, whatever its standing.
    #[must_use]
    pub fn agent(&self, agent: AgentId) -> Option<&Agent> {
        self.agents.get(&agent).map(|agent| &**agent)
    }

    /// The agent of that name, whatever its standing.
    #[must_use]
    pub fn agent_by_name(&self, name: &str) -> Option<&Agent> {
        self.agent(*self.names.get(name)?)
    }

    /// All agents, by identity and so by age.
    pub fn agents(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values().map(|agent| &**agent)
    }

    /// The registered agents as a search needs them, to be searched elsewhere: it costs next to
    /// nothing, and what changes here later does not show there.
    #[must_use]
    pub fn listing(&self) -> Listing {
        self.index.listing.clone()
    }

    /// Turns the use of a name into the event that keeps its place; `None` where it has one.
    ///
    /// - `placeheld`: its identity is a new one.
    ///
    /// # Errors
    /// [`RegistryError::TooManyAgents`].
    pub fn check_use(&self, placeheld: Placeheld) -> Result<Option<AgentEvent>, RegistryError> {
        if self.names.contains_key(&placeheld.name) {
            return Ok(None);
        }
        self.check_room()?;
        Ok(Some(AgentEvent::Placeheld(placeheld)))
    }

    /// Turns a registration into the event that records it. An agent that has the name keeps its
    /// identity, which then takes the place of the one given.
    ///
    /// # Errors
    /// [`RegistryError::Profile`] and [`RegistryError::TooManyAgents`].
    pub fn check_register(&self, mut registered: Registered) -> Result<AgentEvent, RegistryError> {
        registered.profile.check()?;
        match self.names.get(&registered.name) {
            Some(known) => registered.agent = *known,
            None => self.check_room()?,
        }
        Ok(AgentEvent::Registered(registered))
    }

    /// Turns a request to deregister into the event that records it.
    ///
    /// # Errors
    /// [`RegistryError`] when the agent is not there, or not registered.
    pub fn check_deregister(&self, fact: Fact) -> Result<AgentEvent, RegistryError> {
        self.registered(fact.agent)?;
        Ok(AgentEvent::Deregistered(fact))
    }

    /// Turns a heartbeat into the event that records it.
    ///
    /// # Errors
    /// [`RegistryError`] when the agent is not registered, or says too much.
    pub fn check_availability(
        &self,
        changed: AvailabilityChanged,
    ) -> Result<AgentEvent, RegistryError> {
        self.registered(changed.agent)?;
        changed.availability.check()?;
        Ok(AgentEvent::AvailabilityChanged(changed))
    }

    /// Turns a public key into the event that records it: enrolled where the agent has none, else
    /// rotated.
    ///
    /// # Errors
    /// [`RegistryError`] when the agent is not registered, the key was its own before, or it has
    /// had too many.
    pub fn check_key(&self, fact: KeyFact) -> Result<AgentEvent, RegistryError> {
        let agent = self.registered(fact.agent)?;
        agent.check_new_key(fact.key)?;
        Ok(match agent.key {
            None => AgentEvent::KeyEnrolled(fact),
            Some(_) => AgentEvent::KeyRotated(fact),
        })
    }

    /// Turns a revocation into the event that records it.
    ///
    /// # Errors
    /// [`RegistryError`] when the agent is not registered, or has no key.
    pub fn check_revoke(&self, fact: Fact) -> Result<AgentEvent, RegistryError> {
        let agent = self.registered(fact.agent)?;
        if agent.key.is_none() {
            return Err(RegistryError::NoKey(agent.name.clone()));
        }
        Ok(AgentEvent::KeyRevoked(fact))
    }

    /// The whole state as events, to be appended as one entry. Applied in order, to any state that
    /// stands between two entries, they give a state identical to this one.
    #[must_use]
    pub fn fold(&self) -> Vec<AgentEvent> {
        self.fold_in_parts(MAX_PART_BYTES)
    }

    pub(super) fn fold_in_parts(&self, max_part_bytes: usize) -> Vec<AgentEvent> {
        folding::split(self.agents().cloned(), max_part_bytes)
            .into_iter()
            .map(AgentEvent::Folded)
            .collect()
    }

    fn registered(&self, agent: AgentId) -> Result<&Agent, RegistryError> {
        let agent = self
            .agent(agent)
            .ok_or(RegistryError::UnknownAgent(agent))?;
        match agent.standing {
            AgentStanding::Registered => Ok(agent),
            standing => Err(RegistryError::NotRegistered {
                name: agent.name.clone(),
                standing,
            }),
        }
    }

    fn check_room(&self) -> Result<(), RegistryError> {
        let found = self.agents.len();
        if found >= MAX_AGENTS {
            return Err(RegistryError::TooManyAgents {
                found,
                limit: MAX_AGENTS,
            });
        }
        Ok(())
    }

    fn transition(&mut self, event: &AgentEvent) -> Result<(), &'static str> {
        match event {
            AgentEvent::Unknown { .. } => Ok(()),
            AgentEvent::Folded(part) => {
                if let Some(state) = folding::join(&mut self.assembly, part, Self::from_rows)? {
                    *self = state;
                }
                Ok(())
            }
            _ if self.assembly.is_some() => Err(BETWEEN_PARTS),
            AgentEvent::Placeheld(event) => self.insert(Agent {
                agent: event.agent,
                name: event.name.clone(),
                standing: AgentStanding::Placeholder,
                profile: Profile::default(),
                key: None,
                retired_keys: Vec::new(),
                created_at: event.at,
                changed_at: event.at,
                by: event.by,
            }),
            AgentEvent::Registered(event) => self.register(event),
            AgentEvent::Deregistered(event) => {
                self.change(event.agent, event.by, event.at, |agent| {
                    agent.standing = AgentStanding::Deregistered;
                    Ok(())
                })
            }
            AgentEvent::AvailabilityChanged(event) => {
                self.change(event.agent, event.by, event.at, |agent| {
                    agent.profile.availability = event.availability.clone();
                    Ok(())
                })
            }
            AgentEvent::KeyEnrolled(event) => self.put_key(event, false),
            AgentEvent::KeyRotated(event) => self.put_key(event, true),
            AgentEvent::KeyRevoked(event) => {
                self.change(event.agent, event.by, event.at, |agent| {
                    let key = agent.key.take().ok_or("the agent has no key")?;
                    agent.retired_keys.push(key);
                    Ok(())
                })
            }
        }
    }

    fn register(&mut self, event: &Registered) -> Result<(), &'static str> {
        let Some(known) = self.names.get(&event.name) else {
            return self.insert(Agent {
                agent: event.agent,
                name: event.name.clone(),
                standing: AgentStanding::Registered,
                profile: event.profile.clone(),
                key: None,
                retired_keys: Vec::new(),
                created_at: event.at,
                changed_at: event.at,
                by: event.by,
            });
        };
        if *known != event.agent {
            return Err("another agent has that name");
        }
        let known = self.agent(event.agent).ok_or(NO_AGENT)?;
        let mut agent = known.clone();
        agent.standing = AgentStanding::Registered;
        agent.profile = event.profile.clone();
        (agent.by, agent.changed_at) = (event.by, event.at);
        self.replace(agent);
        Ok(())
    }

    fn put_key(&mut self, event: &KeyFact, replaces: bool) -> Result<(), &'static str> {
        self.change(event.agent, event.by, event.at, |agent| {
            if agent.key.is_some() != replaces {
                return Err(
                    "a key is enrolled where there is none, and rotated where there is one",
                );
            }
            if agent.key == Some(event.key) || agent.retired_keys.contains(&event.key) {
                return Err("the key is the agent's own already, or was");
            }
            let retired = agent.key.replace(event.key);
            agent.retired_keys.extend(retired);
            Ok(())
        })
    }

    /// Changes a registered agent, and stamps it as changed. A change that is refused has changed
    /// nothing.
    fn change(
        &mut self,
        agent: AgentId,
        by: PrincipalId,
        at: Timestamp,
        change: impl FnOnce(&mut Agent) -> Result<(), &'static str>,
    ) -> Result<(), &'static str> {
        let agent = self.agents.get(&agent).ok_or(NO_AGENT)?;
        if agent.standing != AgentStanding::Registered {
            return Err("the agent is not registered");
        }
        let mut agent = (**agent).clone();
        (agent.by, agent.changed_at) = (by, at);
        change(&mut agent)?;
        self.replace(agent);
        Ok(())
    }

    /// Puts an agent in the place of what it was.
    fn replace(&mut self, agent: Agent) {
        let agent = Arc::new(agent);
        let before = self.agents.insert(agent.agent, agent.clone());
        self.index.replace(before.as_deref(), &agent);
    }

    fn insert(&mut self, agent: Agent) -> Result<(), &'static str> {
        if self.agents.contains_key(&agent.agent) {
            return Err("the identity is taken");
        }
        if self.names.contains_key(&agent.name) {
            return Err("another agent has that name");
        }
        self.names.insert(agent.name.clone(), agent.agent);
        self.replace(agent);
        Ok(())
    }

    fn from_rows(rows: &mut dyn Iterator<Item = &AgentRow>) -> Result<Self, &'static str> {
        let mut state = Self::default();
        for row in rows {
            state.insert(row.clone())?;
        }
        Ok(state)
    }
}

const NO_AGENT: &str = "there is no such agent";

fn subject(event: &AgentEvent) -> String {
    match event {
        AgentEvent::Placeheld(event) => format!("agent {} (`{}`)", event.agent, event.name),
        AgentEvent::Registered(event) => format!("agent {} (`{}`)", event.agent, event.name),
        AgentEvent::Deregistered(event) | AgentEvent::KeyRevoked(event) => {
            format!("agent {}", event.agent)
        }
        AgentEvent::AvailabilityChanged(event) => format!("agent {}", event.agent),
        AgentEvent::KeyEnrolled(event) | AgentEvent::KeyRotated(event) => {
            format!("agent {}", event.agent)
        }
        AgentEvent::Folded(part) => format!("part {} of {}", part.part, part.parts),
        AgentEvent::Unknown { .. } => "nobody known".to_owned(),
    }
}
