//! Where the records behind promises, money and trust are read from, without the broker's lock.

use super::AspError;
use crate::access::{Ask, Operation, Principal};
use crate::asp::Knot;
use crate::asp::commitment::{Commitments, Held};
use crate::asp::escrow::{Account, Escrow};
use crate::asp::registry::{Agent, AgentRef};
use crate::asp::session::Sessions;
use crate::broker::core::{Accepted, Broker, Refusal};
use crate::broker::error::BrokerError;
use crate::broker::topic::Fold;
use crate::types::{ChannelName, CommitmentId, Offset, OrgId, OrgName, Timestamp};

/// Where the records of a commitment are.
#[derive(Clone, Debug)]
pub struct CommitmentPlace {
    /// The topic.
    pub channel: ChannelName,
    /// The topic of its session.
    pub sessions: ChannelName,
    /// Those about it and its disputes, in their order, and the one that closed it.
    pub offsets: Vec<Offset>,
}

/// Where the movements of money are.
#[derive(Clone, Debug)]
pub struct LedgerPlace {
    /// The topic.
    pub channel: ChannelName,
    /// Whose movements; all of the topic where none is named.
    pub account: Option<Account>,
    /// The last of them.
    pub last: Option<Knot>,
}

impl Broker {
    /// Where a commitment's records are, for who may see it.
    ///
    /// # Errors
    /// As for [`Broker::see_commitment`].
    pub fn commitment_place(
        &self,
        by: &Principal,
        commitment: CommitmentId,
        now: Timestamp,
    ) -> Result<Accepted<CommitmentPlace>, Refusal> {
        let (org, _) = self.commitment_at(by, commitment, now)?;
        let of_org = self.asp_of(org);
        let held = of_org.and_then(|of| Some((of, of.commitments.state.commitment(commitment)?)));
        let absent = || AspError::CommitmentNotFound(commitment);
        let (of_org, held) = held.ok_or_else(absent)?;
        let offsets = match held {
            Held::Live(commitment) => commitment.offsets.clone(),
            Held::Closed(closed, offset) => {
                let mut offsets = closed.commitment.offsets.clone();
                offsets.retain(|one| *one != offset);
                offsets.push(offset);
                offsets
            }
        };
        Ok(Accepted {
            value: CommitmentPlace {
                channel: self.asp_channel(org, Commitments::TOPIC),
                sessions: self.asp_channel(org, Sessions::TOPIC),
                offsets,
            },
            wait: self.wait_for(of_org.commitments.log),
        })
    }

    /// Where the movements of an agent's account are, or those of a whole organisation.
    ///
    /// - `org`: another organisation than the caller's, for an operator.
    ///
    /// # Errors
    /// [`Refusal`]: a key that does not speak for agents or for that one, an organisation that is
    /// another's, or a damaged topic.
    pub fn ledger_place(
        &self,
        by: &Principal,
        org: Option<&OrgName>,
        agent: Option<&AgentRef>,
        now: Timestamp,
    ) -> Result<Accepted<LedgerPlace>, Refusal> {
        self.authorize_asp(by, now)?;
        let org = self.account_org(by, org, now)?;
        let account = match agent {
            Some(agent) => Some(self.account_of(by, org, agent, now)?),
            None => None,
        };
        let last = match self.asp_of(org) {
            Some(of_org) => of_org.escrow.known()?.knot(account),
            None => None,
        };
        let log = self.asp_of(org).map(|of_org| of_org.escrow.log);
        Ok(Accepted {
            value: LedgerPlace {
                channel: self.asp_channel(org, Escrow::TOPIC),
                account,
                last,
            },
            wait: self.wait_for(log.unwrap_or_default()),
        })
    }

    /// The topic of evidence.
    #[must_use]
    pub fn evidence_topic(&self) -> ChannelName {
        Self::evidence_channel()
    }

    /// Whether somebody looks after the broker as a whole.
    #[must_use]
    pub fn is_operator(&self, by: &Principal, now: Timestamp) -> bool {
        self.authorize_operator(by, now).is_ok()
    }

    /// Refuses whoever does not look after the broker as a whole.
    pub(super) fn authorize_operator(
        &self,
        by: &Principal,
        now: Timestamp,
    ) -> Result<(), BrokerError> {
        let operation = Operation::AccessAdmin;
        let judged = self.access.authorize(by, &Ask::Broker { operation }, now);
        judged.map_err(|denied| BrokerError::Access(denied.into()))
    }

    /// The organisation whose accounts somebody asks for: their own, or any as an operator.
    pub(super) fn account_org(
        &self,
        by: &Principal,
        org: Option<&OrgName>,
        now: Timestamp,
    ) -> Result<OrgId, BrokerError> {
        let Some(name) = org else {
            return Ok(by.org);
        };
        if self.shown_org(by.org) == *name {
            return Ok(by.org);
        }
        self.authorize_operator(by, now)?;
        self.org_id_of(name)
    }

    /// The account in an organisation's ledger that somebody asks for: of an agent that they speak
    /// for, or of any as an operator.
    ///
    /// - `org`: whose ledger; a name alone is that of an agent of this organisation.
    pub(super) fn account_of(
        &self,
        by: &Principal,
        org: OrgId,
        agent: &AgentRef,
        now: Timestamp,
    ) -> Result<Account, BrokerError> {
        if !self.is_operator(by, now) {
            let agent = Some(self.own_agent(by, agent, now)?);
            return Ok(Account { agent, org: by.org });
        }
        let absent = || AspError::AgentNotFound {
            agent: super::resolve::shown(agent),
        };
        let of = |org: OrgId, agent: Option<&Agent>| {
            let agent = agent.map(|agent| agent.agent);
            Ok(Account {
                agent: Some(agent.ok_or_else(absent)?),
                org,
            })
        };
        match agent {
            AgentRef::Name(name) => {
                let agents = self.agents_of(org)?.ok_or_else(absent)?;
                of(org, agents.agent_by_name(name.as_str()))
            }
            AgentRef::Uri { org, name } => {
                let org = self.org_id_of(org)?;
                let agents = self.agents_of(org)?.ok_or_else(absent)?;
                of(org, agents.agent_by_name(name.as_str()))
            }
            AgentRef::Id(id) => {
                let mut all = self.asp.orgs.iter();
                let found = all.find_map(|(org, of_org)| {
                    Some((*org, of_org.registry.known().ok()?.agent(*id)?))
                });
                match found {
                    Some((org, agent)) => of(org, Some(agent)),
                    None => of(org, None),
                }
            }
        }
    }
}
