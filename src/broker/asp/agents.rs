//! Agents: registering, leaving, saying whether they are there, their keys, and finding them.

use std::sync::Arc;

use super::AspError;
use super::record::Entry;
use crate::access::{Operation, Pattern, Principal};
use crate::asp::registry::{
    Agent, AgentEvent, AgentRef, AgentStanding, Agents, Availability, AvailabilityChanged, Cursor,
    Fact, KeyFact, Listing, Profile, PublicKey, Query, Registered, RegistryError,
};
use crate::asp::trust::{TrustFor, TrustState, TrustWithin};
use crate::asp::{Trust, TrustScore};
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::storage::Need;
use crate::types::{AgentId, AgentName, OrgId, OrgName, Timestamp};

/// What an agent registers as.
#[derive(Clone, Debug)]
pub struct Register {
    /// Its name within the organisation.
    pub name: AgentName,
    /// All that it says of itself.
    pub profile: Profile,
    /// Its public key; what it has stays where none is given.
    pub public_key: Option<PublicKey>,
}

/// An agent, with what is not its own record.
#[derive(Clone, Debug)]
pub struct AgentSeen {
    /// Its organisation.
    pub org: OrgName,
    /// The agent.
    pub agent: Agent,
    /// How far it is trusted.
    pub trust: TrustScore,
}

impl Broker {
    /// Registers an agent, or replaces what it said of itself.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for the agent, a profile that breaks a limit, a
    /// public key that was the agent's before, or an entry that was not taken.
    pub fn register_agent(
        &mut self,
        by: &Principal,
        request: Register,
        now: Timestamp,
    ) -> Result<Accepted<AgentSeen>, Refusal> {
        self.check_speaks(by, &request.name, now)?;
        self.make_asp(by.org, now)?;
        let agent = AgentId(self.new_uuid(now));
        let registered = Registered {
            agent,
            name: request.name.clone(),
            profile: request.profile,
            by: by.id,
            at: now,
        };
        let agents = self.made_asp(by.org)?.registry.known()?;
        let known = agents.agent_by_name(request.name.as_str());
        let fact = |key| KeyFact {
            agent: known.map_or(agent, |known| known.agent),
            key,
            by: by.id,
            at: now,
        };
        let mut events = vec![agents.check_register(registered).map_err(AspError::from)?];
        if let Some(key) = request.public_key {
            events.extend(key_event(known, fact(key)).map_err(AspError::from)?);
        }
        self.change_agent(by, &request.name, events, now)
    }

    /// Takes an agent out of searches; its identity and history stay.
    ///
    /// # Errors
    /// [`Refusal`]: no such agent, one that is not registered, a key that does not speak for it,
    /// or an entry that was not taken.
    pub fn deregister_agent(
        &mut self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Accepted<AgentSeen>, Refusal> {
        let id = self.own_agent(by, agent, now)?;
        let of_org = self.made_asp(by.org)?;
        let known = of_org.registry.known()?.agent(id).cloned();
        if let Some(gone) = known.filter(|known| known.standing == AgentStanding::Deregistered) {
            // Asked again after a lost connection: what was done is answered.
            let log = self.made_asp(by.org)?.registry.log;
            return Ok(Accepted {
                value: self.seen(by, by.org, gone),
                wait: self.wait_for(log),
            });
        }
        self.change_own(by, agent, now, |agents, agent| {
            agents.check_deregister(Fact {
                agent,
                by: by.id,
                at: now,
            })
        })
    }

    /// Records whether an agent is there.
    ///
    /// # Errors
    /// As for [`Broker::deregister_agent`], and where it says too much.
    pub fn change_availability(
        &mut self,
        by: &Principal,
        agent: &AgentRef,
        availability: Availability,
        now: Timestamp,
    ) -> Result<Accepted<AgentSeen>, Refusal> {
        self.change_own(by, agent, now, |agents, agent| {
            agents.check_availability(AvailabilityChanged {
                agent,
                availability,
                by: by.id,
                at: now,
            })
        })
    }

    /// Gives an agent a public key, another one, or none.
    ///
    /// # Errors
    /// As for [`Broker::deregister_agent`], and for a key that was the agent's before.
    pub fn set_agent_key(
        &mut self,
        by: &Principal,
        agent: &AgentRef,
        key: Option<PublicKey>,
        now: Timestamp,
    ) -> Result<Accepted<AgentSeen>, Refusal> {
        self.change_own(by, agent, now, |agents, agent| match key {
            Some(key) => agents.check_key(KeyFact {
                agent,
                key,
                by: by.id,
                at: now,
            }),
            None => agents.check_revoke(Fact {
                agent,
                by: by.id,
                at: now,
            }),
        })
    }

    /// An agent that the caller may see.
    ///
    /// # Errors
    /// [`Refusal`]: no such agent, or the topic is damaged.
    pub fn see_agent(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Accepted<AgentSeen>, Refusal> {
        let (org, id) = self.agent_there(by, agent, now)?;
        let agents = self.agents_of(org)?;
        let seen = agents.and_then(|agents| agents.agent(id));
        let bug = || BrokerError::Bug("an agent that was found is not there".into());
        let value = self.seen(by, org, seen.ok_or_else(bug)?.clone());
        let wait = self.registry_wait(org);
        Ok(Accepted { value, wait })
    }

    /// The agents of an organisation, to be searched without the broker's lock: one's own, or
    /// those that another shows.
    ///
    /// # Errors
    /// [`AspError`]: there is no such organisation, or its topic is damaged.
    pub fn agents_to_search(
        &self,
        by: &Principal,
        org: Option<&OrgName>,
        now: Timestamp,
    ) -> Result<AgentsSeen, AspError> {
        let org = match org {
            None => by.org,
            Some(name) if name.as_str() == crate::types::DEFAULT_ORG_NAME => OrgId::DEFAULT,
            Some(name) => match self.access.org_by_name(name.as_str()) {
                Some(org) => org.org,
                // As one that shows nothing.
                None => return Ok(AgentsSeen::none(by, name.clone())),
            },
        };
        let agents = self.agents_of(org)?;
        // A listing, and not the state: a change that meets that one in use would copy it.
        let listing = agents.map(Agents::listing).unwrap_or_default();
        let shown = (org != by.org).then(|| {
            let grants = self.access.grants(by.org);
            let shown = grants.filter(|grant| {
                grant.owner == org
                    && grant.guest == by.org
                    && grant.operation == Operation::Asp
                    && grant.is_active(now)
            });
            let shown = shown.map(|grant| grant.channels.clone());
            let named = self.subscribed_names(org, by.org).into_iter();
            let named = named.map(|name| Pattern::Exact(name.as_str().into()));
            shown.chain(named).collect()
        });
        Ok(AgentsSeen {
            org: self.shown_org(org),
            listing,
            trust: self.trust_state()?,
            asker: Some(by.org),
            shown,
            wait: Some(self.registry_wait(org)),
        })
    }

    fn change_own(
        &mut self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
        check: impl FnOnce(&Agents, AgentId) -> Result<AgentEvent, RegistryError>,
    ) -> Result<Accepted<AgentSeen>, Refusal> {
        let id = self.own_agent(by, agent, now)?;
        let agents = self.made_asp(by.org)?.registry.known()?;
        let event = check(agents, id).map_err(AspError::from)?;
        let name = agents.agent(id).map(|agent| agent.name.clone());
        let name = name.ok_or_else(|| BrokerError::Bug("an agent without a name".into()))?;
        self.change_agent(by, &name, vec![event], now)
    }

    fn change_agent(
        &mut self,
        by: &Principal,
        name: &AgentName,
        agents: Vec<AgentEvent>,
        now: Timestamp,
    ) -> Result<Accepted<AgentSeen>, Refusal> {
        let org = by.org;
        let entry = Entry {
            agents,
            ..Entry::default()
        };
        let wait = self.record_asp(org, &entry, Need::Producer, now)?;
        let agents = self.made_asp(org)?.registry.known()?;
        let changed = agents.agent_by_name(name.as_str()).cloned();
        let changed = changed.ok_or_else(|| BrokerError::Bug("a changed agent is gone".into()))?;
        let value = self.seen(by, org, changed);
        Ok(Accepted { value, wait })
    }

    fn seen(&self, by: &Principal, org: OrgId, agent: Agent) -> AgentSeen {
        let state = self.asp.evidence.as_ref().map(|topic| &*topic.state);
        let trust = state.map_or(TrustScore::NONE, |state| {
            let asker = by.org;
            TrustFor { state, asker }.score(agent.agent)
        });
        AgentSeen {
            org: self.shown_org(org),
            trust,
            agent,
        }
    }

    fn registry_wait(&self, org: OrgId) -> Wait {
        let log = self.asp_of(org).map(|of| of.registry.log);
        self.wait_for(log.unwrap_or_default())
    }
}

/// Agents as somebody may see them.
#[derive(Clone, Debug)]
pub struct AgentsSeen {
    /// Their organisation.
    pub org: OrgName,
    listing: Listing,
    trust: Arc<TrustState>,
    /// Who asks; none: the agents' own organisation, whatever its number is where they are.
    asker: Option<OrgId>,
    /// The names that may be seen; none: all.
    shown: Option<Vec<Pattern>>,
    /// What an answer waits for.
    pub wait: Option<Wait>,
}

impl AgentsSeen {
    fn none(by: &Principal, org: OrgName) -> Self {
        Self {
            org,
            listing: Listing::default(),
            trust: Arc::default(),
            asker: Some(by.org),
            shown: None,
            wait: None,
        }
    }

    /// All agents of an organisation's own, in a region where it may have another number.
    pub(super) fn within(org: OrgName, listing: Listing, trust: Arc<TrustState>) -> Self {
        Self {
            org,
            listing,
            trust,
            asker: None,
            shown: None,
            wait: None,
        }
    }

    /// A page of those that a query finds, and where the next page begins, if there is one.
    ///
    /// - `limit`: agents of the page, 1 to [`crate::asp::registry::MAX_PAGE`].
    ///
    /// # Errors
    /// [`AspError::Search`] for a query or a page that breaks a rule.
    pub fn search(
        &self,
        query: &Query,
        limit: usize,
    ) -> Result<(Vec<AgentSeen>, Option<Cursor>), AspError> {
        let shown = |agent: &Agent| match &self.shown {
            None => true,
            Some(shown) => shown.iter().any(|one| one.matches(agent.name.as_str())),
        };
        let state = &*self.trust;
        let page = match self.asker {
            Some(asker) => {
                let trust = TrustFor { state, asker };
                self.listing.search_where(query, &trust, limit, &shown)?
            }
            None => {
                let trust = TrustWithin(state);
                self.listing.search_where(query, &trust, limit, &shown)?
            }
        };
        let seen = page.agents.into_iter().map(|(agent, trust)| AgentSeen {
            org: self.org.clone(),
            agent: agent.clone(),
            trust,
        });
        Ok((seen.collect(), page.next))
    }
}

/// The event that gives an agent a key as it registers; none where it has that key.
fn key_event(known: Option<&Agent>, fact: KeyFact) -> Result<Option<AgentEvent>, RegistryError> {
    let Some(known) = known else {
        return Ok(Some(AgentEvent::KeyEnrolled(fact)));
    };
    if known.key == Some(fact.key) {
        return Ok(None);
    }
    known.check_new_key(fact.key)?;
    Ok(Some(match known.key {
        None => AgentEvent::KeyEnrolled(fact),
        Some(_) => AgentEvent::KeyRotated(fact),
    }))
}
