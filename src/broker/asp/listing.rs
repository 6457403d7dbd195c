//! Where sessions are read from: their heads, the lists of them, and an agent's inbox. The records
//! themselves are read without the broker's lock.

use super::sessions::SessionSeen;
use super::{AspError, OrgAsp};
use crate::access::Principal;
use crate::asp::Knot;
use crate::asp::commitment::Commitments;
use crate::asp::escrow::Escrow;
use crate::asp::registry::{AgentRef, Agents};
use crate::asp::session::{Participant, Session, Sessions, Standing, State};
use crate::asp::tool::Tools;
use crate::asp::trust::TrustState;
use crate::broker::core::{Accepted, Broker, Refusal, Wait};
use crate::broker::error::BrokerError;
use crate::broker::topic::Fold;
use crate::types::{
    AgentId, ChannelName, Incarnation, Offset, OrgId, OrgName, SessionId, Timestamp,
};

/// Where a session's records end.
#[derive(Clone, Debug)]
pub struct SessionHead {
    /// The topic.
    pub channel: ChannelName,
    /// Its log.
    pub log: Incarnation,
    /// Its last record.
    pub head: Knot,
    /// Where the session stands.
    pub state: State,
    /// How far the caller reads.
    pub reads: Reads,
    /// What an answer that tells of it waits for.
    pub wait: Wait,
}

/// How far somebody reads a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reads {
    /// All of it.
    All,
    /// Through the record of this number, with which it went.
    Through(u64),
    /// What was recorded until then, when the last grant or subscription ended that showed its
    /// agent.
    Until(Timestamp),
}

impl Reads {
    /// The further of two.
    pub(super) fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Through(one), Self::Through(other)) => Self::Through(one.max(other)),
            (Self::Until(one), Self::Until(other)) => Self::Until(one.max(other)),
            // Who went has not lost its grant, and is told by the record.
            (through @ Self::Through(_), Self::Until(_))
            | (Self::Until(_), through @ Self::Through(_)) => through,
        }
    }
}

/// A page of live sessions.
#[derive(Clone, Debug)]
pub struct LivePage {
    /// The newest first.
    pub sessions: Vec<SessionSeen>,
    /// The page is full: there may be more behind its last.
    pub is_full: bool,
    /// The sessions that have ended, in the caller's own topic.
    pub ended: Option<EndedToWalk>,
    /// What the answer waits for.
    pub wait: Wait,
}

/// Sessions that have ended, to be read backwards.
#[derive(Clone, Debug)]
pub struct EndedToWalk {
    /// The topic.
    pub channel: ChannelName,
    /// The last of them; none where there is none.
    pub last: Option<Knot>,
    /// The thread: of an agent's, or of all.
    pub agent: Option<AgentId>,
}

/// The sessions of one topic that an agent's inbox is made of.
#[derive(Clone, Debug)]
pub struct InboxTopic {
    /// The organisation whose topic it is.
    pub org: OrgName,
    /// The topic.
    pub channel: ChannelName,
    /// Its log.
    pub log: Incarnation,
    /// Its end: everything below was recorded before.
    pub end: Offset,
    /// The sessions that are held, the last record of each, and how far the agent reads.
    pub sessions: Vec<(SessionId, Knot, Reads)>,
    /// The agent's last session that has ended.
    pub ended: Option<Knot>,
}

impl Broker {
    /// What the topics of agents fold to, of each organisation that has some.
    pub fn asp_states(&self) -> impl Iterator<Item = (OrgId, &Agents, &Sessions, &Tools)> {
        let orgs = self.asp.orgs.iter();
        orgs.map(|(org, of)| {
            (
                *org,
                &*of.registry.state,
                &*of.sessions.state,
                &*of.tools.state,
            )
        })
    }

    /// What the topics of promises and money fold to, organisation by organisation, for tests and
    /// tools.
    pub fn promise_states(&self) -> impl Iterator<Item = (OrgId, &Commitments, &Escrow)> {
        let orgs = self.asp.orgs.iter();
        orgs.map(|(org, of)| (*org, &*of.commitments.state, &*of.escrow.state))
    }

    /// What the topic of evidence folds to, where there is one.
    #[must_use]
    pub fn evidence_state(&self) -> Option<&TrustState> {
        self.asp.evidence.as_ref().map(|topic| &*topic.state)
    }

    /// The batch of a topic of agents that holds a record which is not yet to be read. An answer that
    /// tells of it waits for the topic's last entry.
    #[must_use]
    pub fn staged_asp_batch(&self, channel: &ChannelName, offset: Offset) -> Option<bytes::Bytes> {
        let log = self.identity_of(channel)?;
        self.storage.staged_batch(log, offset)
    }

    /// The name of a topic of an organisation's agents.
    pub(super) fn asp_channel(&self, org: OrgId, topic: &str) -> ChannelName {
        let local = ChannelName::parse_any(topic).expect("a constant that follows the rule");
        local.within(self.org_name(org).as_ref())
    }

    /// Where a held session's records end, for who may see the session.
    ///
    /// # Errors
    /// [`AspError::SessionNotFound`] where it is not held: see [`Broker::session_files`].
    pub fn session_head(
        &self,
        by: &Principal,
        session: SessionId,
        now: Timestamp,
    ) -> Result<SessionHead, BrokerError> {
        let org = self.org_of_session(by, session, now)?;
        let of_org = self.asp_of(org);
        let held = of_org.and_then(|of| Some((of, of.sessions.state.session(session)?)));
        let absent = || AspError::SessionNotFound(session);
        let (of_org, held) = held.ok_or_else(absent)?;
        Ok(SessionHead {
            channel: self.asp_channel(org, Sessions::TOPIC),
            log: of_org.sessions.log,
            head: held.head(),
            state: held.state,
            reads: self.reads(by, held, now),
            wait: self.sessions_wait(org),
        })
    }

    /// How far somebody reads a session, as the agents that it speaks for take part in it.
    fn reads(&self, by: &Principal, session: &Session, now: Timestamp) -> Reads {
        let own = session.participants.iter().filter(|(agent, one)| {
            one.org == by.org
                && one.standing != Standing::Pending
                && self.speaks_for(by, **agent, now)
        });
        let each = own.map(|(agent, one)| self.reads_as(session, *agent, one, now));
        each.reduce(Reads::or).unwrap_or(Reads::Through(0))
    }

    /// How far one of its participants reads a session.
    fn reads_as(
        &self,
        session: &Session,
        agent: AgentId,
        one: &Participant,
        now: Timestamp,
    ) -> Reads {
        match one.standing {
            Standing::Refused | Standing::Lapsed | Standing::Left => {
                Reads::Through(one.gone.unwrap_or(0))
            }
            _ => self.shown_in(session.org, (one.org, agent), now),
        }
    }

    /// How far an agent reads that is in a session of an organisation to which it was shown.
    #[must_use]
    pub fn shown_in(&self, org: OrgId, (of, agent): (OrgId, AgentId), now: Timestamp) -> Reads {
        let name = self.named(of, agent).name;
        if self.shows_agent(of, name.as_str(), org, now) {
            return Reads::All;
        }
        let by_grants = self.access.agent_shown_until(of, name.as_str(), org, now);
        let market = self.market().ok();
        let by_market = market.and_then(|market| market.shown_until(of, name.as_str(), org));
        by_grants.max(by_market).map_or(Reads::All, Reads::Until)
    }

    /// Whether the caller speaks for the agent on whose behalf it reads.
    ///
    /// # Errors
    /// [`Refusal`]: an agent that is not there, or that the caller does not speak for.
    pub fn check_reads_for(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        self.own_agent(by, agent, now)?;
        Ok(())
    }

    /// The agent that somebody asks for.
    ///
    /// # Errors
    /// [`Refusal`]: it is not there, or not shown to the caller.
    pub fn agent_asked_for(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<AgentId, Refusal> {
        Ok(self.agent_there(by, agent, now)?.1)
    }

    /// The records in which a session may be filed that is not held: each with its topic, the
    /// likeliest first.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents.
    pub fn session_files(
        &self,
        by: &Principal,
        session: SessionId,
        now: Timestamp,
    ) -> Result<Vec<(ChannelName, Offset)>, Refusal> {
        self.authorize_asp(by, now)?;
        let own = self.asp.orgs.get_key_value(&by.org);
        let others = self.asp.orgs.iter().filter(|(org, _)| **org != by.org);
        let files = own.into_iter().chain(others).flat_map(|(org, of_org)| {
            let channel = self.asp_channel(*org, Sessions::TOPIC);
            let found = of_org.sessions.state.filed(session);
            found.map(move |offset| (channel.clone(), offset))
        });
        Ok(files.collect())
    }

    /// Whether somebody speaks for one of these agents, which took part in a session.
    #[must_use]
    pub fn speaks_for_any(
        &self,
        by: &Principal,
        agents: impl IntoIterator<Item = (OrgId, AgentId)>,
        now: Timestamp,
    ) -> bool {
        let mut agents = agents.into_iter();
        agents.any(|(org, agent)| org == by.org && self.speaks_for(by, agent, now))
    }

    /// An agent as answers show it.
    #[must_use]
    pub fn name_agent(&self, org: OrgId, agent: AgentId) -> super::Named {
        self.named(org, agent)
    }

    /// The name of an organisation as answers show it.
    #[must_use]
    pub fn name_org(&self, org: OrgId) -> OrgName {
        self.shown_org(org)
    }

    /// A page of the live sessions that the caller may see, the newest first.
    ///
    /// - `agent`: only those that this agent takes part in.
    /// - `fits`: which are wanted.
    /// - `before`: only those with a lesser id.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents, an agent that is not there, or a damaged
    /// topic.
    pub fn live_sessions(
        &self,
        by: &Principal,
        agent: Option<&AgentRef>,
        fits: &dyn Fn(&Session) -> bool,
        before: Option<SessionId>,
        limit: usize,
        now: Timestamp,
    ) -> Result<LivePage, Refusal> {
        self.authorize_asp(by, now)?;
        let agent = match agent {
            Some(agent) => Some(self.agent_there(by, agent, now)?.1),
            None => None,
        };
        let own = self.asp_of(by.org);
        let mut found: Vec<(OrgId, &Session)> = Vec::new();
        if let Some(of_org) = own {
            let sessions = of_org.sessions.known()?;
            let all: Box<dyn Iterator<Item = &Session>> = match agent {
                Some(agent) => Box::new(sessions.of_agent(agent)),
                None => Box::new(sessions.sessions()),
            };
            found.extend(all.map(|session| (by.org, session)));
        }
        let shared = self.asp.shared.iter().filter(|(_, org)| **org != by.org);
        for (session, org) in shared {
            let held = self
                .asp_of(*org)
                .and_then(|of| of.sessions.state.session(*session));
            found.extend(held.map(|held| (*org, held)));
        }
        found.retain(|(_, session)| {
            !session.state.is_terminal()
                && before.is_none_or(|before| session.session < before)
                && agent.is_none_or(|agent| session.participants.contains_key(&agent))
                && fits(session)
        });
        found.sort_unstable_by_key(|(_, session)| std::cmp::Reverse(session.session));
        let seen = found
            .into_iter()
            .filter(|(_, session)| self.may_see(by, session, now));
        let seen: Vec<(OrgId, &Session)> = seen.take(limit).collect();
        let sessions: Vec<SessionSeen> = seen
            .into_iter()
            .map(|(org, session)| self.session_seen(org, session))
            .collect();
        let ended = own.map(|of_org| EndedToWalk {
            channel: self.asp_channel(by.org, Sessions::TOPIC),
            last: match agent {
                Some(agent) => of_org.sessions.state.ended_of_agent(agent),
                None => of_org.sessions.state.ended(),
            },
            agent,
        });
        Ok(LivePage {
            is_full: sessions.len() >= limit,
            sessions,
            ended,
            wait: self.sessions_wait(by.org),
        })
    }

    /// The sessions that an agent's inbox is made of, and the agent.
    ///
    /// # Errors
    /// [`Refusal`]: an agent that is not there, or that the caller does not speak for.
    pub fn inbox(
        &self,
        by: &Principal,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Accepted<(AgentId, Vec<InboxTopic>)>, Refusal> {
        let agent = self.own_agent(by, agent, now)?;
        let mut topics = Vec::new();
        let mut wait = self.sessions_wait(by.org);
        for (org, of_org) in &self.asp.orgs {
            if *org != by.org && of_org.sessions.unknown.is_some() {
                continue;
            }
            let sessions = of_org.sessions.known()?;
            let held: Vec<(SessionId, Knot, Reads)> = sessions
                .of_agent(agent)
                .filter_map(|session| {
                    let own = session.participants.get(&agent)?;
                    let reads = self.reads_as(session, agent, own, now);
                    let is_asked = own.standing != Standing::Pending;
                    is_asked.then_some((session.session, session.head(), reads))
                })
                .collect();
            let ended = sessions.ended_of_agent(agent);
            if held.is_empty() && ended.is_none() && *org != by.org {
                continue;
            }
            wait = later(wait, self.sessions_wait(*org));
            topics.push(self.inbox_topic(*org, of_org, held, ended));
        }
        Ok(Accepted {
            value: (agent, topics),
            wait,
        })
    }

    fn inbox_topic(
        &self,
        org: OrgId,
        of_org: &OrgAsp,
        sessions: Vec<(SessionId, Knot, Reads)>,
        ended: Option<Knot>,
    ) -> InboxTopic {
        InboxTopic {
            org: self.shown_org(org),
            channel: self.asp_channel(org, Sessions::TOPIC),
            log: of_org.sessions.log,
            end: self.next_offset(of_org.sessions.log),
            sessions,
            ended,
        }
    }
}

/// The wait that is over last.
pub(super) fn later(one: Wait, other: Wait) -> Wait {
    if other.entry > one.entry { other } else { one }
}
