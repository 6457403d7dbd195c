//! What is read of copies of other regions' topics of agents. Numbers of organisations in them are
//! their region's own, so nothing here compares them with those of this region: what a copy of a
//! topic of an organisation tells is told to that organisation, which is the same in all regions by
//! its name.

use std::sync::Arc;

use super::agents::{AgentSeen, AgentsSeen};
use super::copied::{CopiedState, CopiedTopic};
use super::evidence::TrustSeen;
use super::listing::{Reads, SessionHead};
use super::resolve::shown;
use super::sessions::SessionSeen;
use super::{AspError, Named};
use crate::access::Principal;
use crate::asp::registry::{Agent, AgentRef, Agents};
use crate::asp::session::{Session, Sessions, Standing};
use crate::asp::trust::{Explanation, Scope, TrustState, TrustWithin};
use crate::asp::{Trust, TrustScore};
use crate::broker::core::{Broker, Wait};
use crate::broker::error::BrokerError;
use crate::region::UpTo;
use crate::types::{
    AgentId, AgentName, ChannelName, Incarnation, Offset, OrgId, OrgName, RegionName, SessionId,
    Timestamp,
};

/// What was found in copies, and up to where they were known.
#[derive(Clone, Debug)]
pub struct Copied<T> {
    /// What was found.
    pub value: T,
    /// The topic that it is of.
    pub up_to: UpTo,
    /// The evidence that its scores rest on; none where it has none, or no copy of it is here.
    pub evidence: Option<UpTo>,
    /// What an answer waits for: all of that is to be there after a crash too.
    pub wait: Wait,
}

/// A session in a copy, as somebody may see it.
#[derive(Clone, Debug)]
pub struct SessionCopied {
    /// What it is.
    pub seen: SessionSeen,
    /// Where its records end in the copy.
    pub head: SessionHead,
}

/// A copy of a topic that may be read.
struct There<'a, S> {
    log: Incarnation,
    state: &'a S,
    next: Offset,
}

impl Broker {
    fn registry_there(&self, org: OrgId, region: &RegionName) -> CopyThere<'_, Agents> {
        let (log, copied) = self.copied(org, CopiedTopic::Registry, region)?;
        match &copied.state {
            CopiedState::Registry(agents) => Ok(There {
                log,
                state: agents,
                next: copied.next,
            }),
            _ => Err(other_topic()),
        }
    }

    fn evidence_there(&self, org: OrgId, region: &RegionName) -> CopyThere<'_, Arc<TrustState>> {
        let (log, copied) = self.copied(org, CopiedTopic::Evidence, region)?;
        match &copied.state {
            CopiedState::Evidence(state) => Ok(There {
                log,
                state,
                next: copied.next,
            }),
            _ => Err(other_topic()),
        }
    }

    fn sessions_there(&self, org: OrgId, region: &RegionName) -> CopyThere<'_, Sessions> {
        let (log, copied) = self.copied(org, CopiedTopic::Sessions, region)?;
        match &copied.state {
            CopiedState::Sessions(sessions) => Ok(There {
                log,
                state: sessions,
                next: copied.next,
            }),
            _ => Err(other_topic()),
        }
    }

    /// What was found in a copy, and in that of the evidence where one is here.
    fn told<T, S>(&self, value: T, of: &There<'_, S>, by: &Evidence<'_>) -> Copied<T> {
        let evidence = by.as_ref().map(|by| self.up_to(by.log, by.next));
        let wait = self.wait_for(of.log);
        Copied {
            value,
            up_to: self.up_to(of.log, of.next),
            evidence,
            wait: match by {
                None => wait,
                Some(by) => wait.and(self.wait_for(by.log)),
            },
        }
    }

    /// The agents that the caller's organisation has in another region, as far as its registry is
    /// known here, to be searched without the broker's lock.
    ///
    /// - `needs_trust`: whether what is looked for depends on scores.
    ///
    /// # Errors
    /// [`BrokerError`]: no copy is here that may be read.
    pub fn agents_elsewhere(
        &self,
        by: &Principal,
        region: &RegionName,
        needs_trust: bool,
    ) -> Result<Copied<AgentsSeen>, BrokerError> {
        let registry = self.registry_there(by.org, region)?;
        let evidence = match self.evidence_there(by.org, region) {
            Ok(evidence) => Some(evidence),
            Err(error) if needs_trust => return Err(error),
            Err(_) => None,
        };
        let trust = evidence.as_ref().map(|it| it.state.clone());
        let (org, listing) = (self.shown_org(by.org), registry.state.listing());
        let seen = AgentsSeen::within(org, listing, trust.unwrap_or_default());
        Ok(self.told(seen, &registry, &evidence))
    }

    /// An agent that the caller's organisation has in another region.
    ///
    /// # Errors
    /// [`BrokerError`]: no copy is here that may be read, or there is no such agent in it.
    pub fn agent_elsewhere(
        &self,
        by: &Principal,
        region: &RegionName,
        agent: &AgentRef,
    ) -> Result<Copied<AgentSeen>, BrokerError> {
        let registry = self.registry_there(by.org, region)?;
        let evidence = self.evidence_there(by.org, region).ok();
        let own = self.shown_org(by.org);
        let agent = agent_in(registry.state, &own, agent)?.clone();
        let trust = evidence.as_ref();
        let trust = trust.map_or(TrustScore::NONE, |it| {
            Trust::score(&TrustWithin(it.state), agent.agent)
        });
        let org = own;
        let seen = AgentSeen { org, agent, trust };
        Ok(self.told(seen, &registry, &evidence))
    }

    /// How far an agent of the caller's organisation is trusted in another region, what that rests
    /// on, and the topic that the evidence is read from.
    ///
    /// # Errors
    /// [`BrokerError`]: no copies of the registry and of the evidence are here that may be read, or
    /// there is no such agent in the registry.
    pub fn trust_elsewhere(
        &self,
        by: &Principal,
        region: &RegionName,
        agent: &AgentRef,
    ) -> Result<Copied<(TrustSeen, Option<Explanation>)>, BrokerError> {
        let registry = self.registry_there(by.org, region)?;
        let evidence = self.evidence_there(by.org, region)?;
        let org = self.shown_org(by.org);
        let found = agent_in(registry.state, &org, agent)?;
        let (id, scope) = (found.agent, Scope::Internal);
        let seen = TrustSeen {
            agent: Named {
                agent: id,
                name: found.name.clone(),
                org,
            },
            score: evidence.state.score(id, scope),
        };
        let explained = evidence.state.explain(id, scope);
        let wait = self.wait_for(registry.log).and(self.wait_for(evidence.log));
        Ok(Copied {
            value: (seen, explained),
            up_to: self.up_to(evidence.log, evidence.next),
            evidence: None,
            wait,
        })
    }

    /// The name under which the copy of a topic of the caller's organisation is kept.
    #[must_use]
    pub fn copied_channel(
        &self,
        by: &Principal,
        topic: CopiedTopic,
        region: &RegionName,
    ) -> ChannelName {
        self.copied_name(by.org, topic, region)
    }

    /// A session of the caller's organisation in another region that is held there, as far as it is
    /// known here, for who may see it.
    ///
    /// # Errors
    /// [`BrokerError`]: no copies of sessions and registry are here that may be read.
    /// [`AspError::SessionNotFound`] where it is not held: it may be filed.
    pub fn session_elsewhere(
        &self,
        by: &Principal,
        region: &RegionName,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Copied<SessionCopied>, BrokerError> {
        self.authorize_asp(by, now)?;
        let sessions = self.sessions_there(by.org, region)?;
        let registry = self.registry_there(by.org, region)?;
        let absent = || AspError::SessionNotFound(session);
        let held = sessions.state.session(session).ok_or_else(absent)?;
        let reads = self.reads_elsewhere(by, registry.state, held, now);
        let reads = reads.ok_or_else(absent)?;
        let participants = held.participants.iter().map(|(agent, one)| {
            self.name_in(
                by,
                region,
                registry.state,
                (one.org == held.org, one.org),
                *agent,
            )
        });
        let wait = self.wait_for(sessions.log).and(self.wait_for(registry.log));
        let head = SessionHead {
            channel: self.copied_name(by.org, CopiedTopic::Sessions, region),
            log: sessions.log,
            head: held.head(),
            state: held.state,
            reads,
            wait,
        };
        let seen = SessionSeen {
            org: self.shown_org(by.org),
            participants: participants.collect(),
            session: held.clone(),
        };
        Ok(Copied {
            value: SessionCopied { seen, head },
            up_to: self.up_to(sessions.log, sessions.next),
            evidence: None,
            wait,
        })
    }

    /// The records in which a session of a copy may be filed that is not held there.
    ///
    /// # Errors
    /// As for [`Broker::session_elsewhere`].
    pub fn session_files_elsewhere(
        &self,
        by: &Principal,
        region: &RegionName,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Copied<Vec<(ChannelName, Offset)>>, BrokerError> {
        self.authorize_asp(by, now)?;
        let sessions = self.sessions_there(by.org, region)?;
        let registry = self.registry_there(by.org, region)?;
        let channel = self.copied_name(by.org, CopiedTopic::Sessions, region);
        let files = sessions.state.filed(session);
        let files = files.map(|offset| (channel.clone(), offset)).collect();
        Ok(Copied {
            value: files,
            up_to: self.up_to(sessions.log, sessions.next),
            evidence: None,
            wait: self.wait_for(sessions.log).and(self.wait_for(registry.log)),
        })
    }

    /// Whether somebody speaks for an agent of their organisation in another region.
    #[must_use]
    pub fn speaks_elsewhere(
        &self,
        by: &Principal,
        region: &RegionName,
        agent: AgentId,
        now: Timestamp,
    ) -> bool {
        let registry = self.registry_there(by.org, region).ok();
        registry.is_some_and(|it| self.speaks_in(by, it.state, agent, now))
    }

    /// An agent of a copy as answers show it.
    ///
    /// - `org`: its organisation's number in that region, and whether it is the caller's own.
    #[must_use]
    pub fn name_elsewhere(
        &self,
        by: &Principal,
        region: &RegionName,
        org: (bool, OrgId),
        agent: AgentId,
    ) -> Named {
        match self.registry_there(by.org, region) {
            Ok(registry) => self.name_in(by, region, registry.state, org, agent),
            Err(_) => self.name_in(by, region, &Agents::default(), org, agent),
        }
    }

    /// The name of an organisation that has that number in another region; `unknown` where that has
    /// not been told here.
    #[must_use]
    pub fn name_org_elsewhere(&self, region: &RegionName, org: OrgId) -> OrgName {
        if org == OrgId::DEFAULT {
            return self.shown_org(org);
        }
        let named = self.access.org_of(region, org);
        let unknown = || OrgName::parse("unknown").expect("a plain name");
        named.map_or_else(unknown, |org| org.name.clone())
    }

    fn name_in(
        &self,
        by: &Principal,
        region: &RegionName,
        registry: &Agents,
        (is_own, org): (bool, OrgId),
        agent: AgentId,
    ) -> Named {
        let known = registry.agent(agent).filter(|_| is_own);
        let unknown = || AgentName::parse("unknown").expect("a plain name");
        Named {
            agent,
            name: known.map_or_else(unknown, |known| known.name.clone()),
            org: match is_own {
                true => self.shown_org(by.org),
                false => self.name_org_elsewhere(region, org),
            },
        }
    }

    fn speaks_in(&self, by: &Principal, registry: &Agents, agent: AgentId, now: Timestamp) -> bool {
        let known = registry.agent(agent);
        known.is_some_and(|known| self.check_speaks(by, &known.name, now).is_ok())
    }

    /// How far somebody reads a session of a copy; none where it may not see it. All who speak here
    /// are of the organisation whose session it is, so no grant has let them in.
    fn reads_elsewhere(
        &self,
        by: &Principal,
        registry: &Agents,
        session: &Session,
        now: Timestamp,
    ) -> Option<Reads> {
        let own = session.participants.iter().filter(|(agent, one)| {
            one.org == session.org
                && one.standing != Standing::Pending
                && self.speaks_in(by, registry, **agent, now)
        });
        let each = own.map(|(_, one)| match one.standing {
            Standing::Refused | Standing::Lapsed | Standing::Left => {
                Reads::Through(one.gone.unwrap_or(0))
            }
            _ => Reads::All,
        });
        each.reduce(Reads::or)
    }
}

/// A copy that may be read, or why there is none.
type CopyThere<'a, S> = Result<There<'a, S>, BrokerError>;

/// The copy of the evidence, where one is here.
type Evidence<'a> = Option<There<'a, Arc<TrustState>>>;

fn other_topic() -> BrokerError {
    BrokerError::Bug("a copy is folded as another topic".into())
}

/// The agent of an organisation's own registry that somebody asks for.
fn agent_in<'a>(
    registry: &'a Agents,
    own: &OrgName,
    agent: &AgentRef,
) -> Result<&'a Agent, AspError> {
    let found = match agent {
        AgentRef::Id(id) => registry.agent(*id),
        AgentRef::Name(name) => registry.agent_by_name(name.as_str()),
        AgentRef::Uri { org, name } if org == own => registry.agent_by_name(name.as_str()),
        AgentRef::Uri { .. } => None,
    };
    found.ok_or_else(|| AspError::AgentNotFound {
        agent: shown(agent),
    })
}
