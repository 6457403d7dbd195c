//! Requests about agents.

use super::super::access::Caller;
use super::super::auditing::Draft;
use super::super::shared::Shared;
use super::{Looked, cursor};
use crate::access::Principal;
use crate::asp::registry::{CapabilityPattern, Cursor, Query};
use crate::broker::asp::{AgentSeen, AgentsSeen, AspError, Register};
use crate::broker::{Accepted, BrokerError, Refusal};
use crate::protocol::asp::{
    AgentInfo, AgentProfile, AgentRegister, AgentRow, AgentSearch, AgentsPage,
};
use crate::protocol::{AspRequest, AspResponse};
use crate::types::Timestamp;

pub(super) fn register(
    shared: &Shared,
    caller: &Caller,
    register: &AgentRegister,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let request = Register {
        name: register.name.clone(),
        profile: register.profile(),
        public_key: register.public_key,
    };
    let act = Draft::of_agents(&AspRequest::AgentRegister(register.clone())).done_by(caller);
    let mut broker = shared.broker();
    let accepted = broker.acting(act, |broker| {
        broker.register_agent(&caller.principal, request, now)
    })?;
    Ok(changed(accepted, AspResponse::AgentRegister))
}

/// The answer to a change of an agent.
pub(super) fn changed(
    accepted: Accepted<AgentSeen>,
    response: impl FnOnce(AgentRow) -> AspResponse,
) -> Looked {
    Looked::answer(response(row(accepted.value)), accepted.wait)
}

pub(super) fn info(
    shared: &Shared,
    by: &Principal,
    info: &AgentInfo,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let Accepted { value, wait } = shared.broker().see_agent(by, &info.agent, now)?;
    Ok(Looked::answer(
        AspResponse::AgentInfo(profile(value)?),
        wait,
    ))
}

/// An agent and its card.
pub(super) fn profile(value: AgentSeen) -> Result<AgentProfile, BrokerError> {
    let card = serde_json::to_value(value.agent.card(&value.org, value.trust));
    let card = card.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
    Ok(AgentProfile {
        agent: row(value),
        card,
    })
}

pub(super) fn search(
    shared: &Shared,
    by: &Principal,
    search: &AgentSearch,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let query = query(search)?;
    let seen = {
        let broker = shared.broker();
        broker.agents_to_search(by, search.org.as_ref(), now)?
    };
    let page = page(&seen, &query, search.limit)?;
    Ok(Looked::Answer(AspResponse::AgentSearch(page), seen.wait))
}

/// What is looked for.
pub(super) fn query(search: &AgentSearch) -> Result<Query, AspError> {
    let patterns = search.capabilities.iter();
    let patterns = patterns.map(|text| CapabilityPattern::parse(text));
    let after = search.cursor.as_deref().map(cursor::decode::<Cursor>);
    Ok(Query {
        capabilities: patterns.collect::<Result<_, _>>().map_err(AspError::from)?,
        matching: search.matching,
        min_trust: search.min_trust_score,
        availability: search.availability,
        text: search.text.clone(),
        after: after.transpose()?,
    })
}

/// A page of what a search finds.
pub(super) fn page(seen: &AgentsSeen, query: &Query, limit: u32) -> Result<AgentsPage, AspError> {
    let (found, next) = seen.search(query, limit as usize)?;
    Ok(AgentsPage {
        agents: found.into_iter().map(row).collect(),
        cursor: next.as_ref().map(cursor::encode),
    })
}

fn row(seen: AgentSeen) -> AgentRow {
    let AgentSeen { org, agent, trust } = seen;
    AgentRow {
        agent: agent.agent,
        name: agent.name,
        org,
        standing: agent.standing,
        profile: agent.profile,
        public_key: agent.key,
        trust_score: trust,
        created_at: agent.created_at,
        changed_at: agent.changed_at,
        by: agent.by,
    }
}
