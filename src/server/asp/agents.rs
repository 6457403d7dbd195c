//! Requests about agents.

use super::super::shared::Shared;
use super::{Looked, cursor};
use crate::access::Principal;
use crate::asp::registry::{CapabilityPattern, Cursor, Query};
use crate::broker::asp::{AgentSeen, AspError, Register};
use crate::broker::{Accepted, BrokerError, Refusal};
use crate::protocol::AspResponse;
use crate::protocol::asp::{
    AgentInfo, AgentProfile, AgentRegister, AgentRow, AgentSearch, AgentsPage,
};
use crate::types::Timestamp;

pub(super) fn register(
    shared: &Shared,
    by: &Principal,
    register: &AgentRegister,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let request = Register {
        name: register.name.clone(),
        profile: register.profile(),
        public_key: register.public_key,
    };
    let accepted = shared.broker().register_agent(by, request, now)?;
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
    let card = serde_json::to_value(value.agent.card(&value.org, value.trust));
    let card = card.map_err(|error| BrokerError::Bug(error.to_string().into()))?;
    let profile = AgentProfile {
        agent: row(value),
        card,
    };
    Ok(Looked::answer(AspResponse::AgentInfo(profile), wait))
}

pub(super) fn search(
    shared: &Shared,
    by: &Principal,
    search: &AgentSearch,
    now: Timestamp,
) -> Result<Looked, Refusal> {
    let patterns = search.capabilities.iter();
    let patterns = patterns.map(|text| CapabilityPattern::parse(text));
    let after = search.cursor.as_deref().map(cursor::decode::<Cursor>);
    let query = Query {
        capabilities: patterns.collect::<Result<_, _>>().map_err(AspError::from)?,
        matching: search.matching,
        min_trust: search.min_trust_score,
        availability: search.availability,
        text: search.text.clone(),
        after: after.transpose()?,
    };
    let seen = {
        let broker = shared.broker();
        broker.agents_to_search(by, search.org.as_ref(), now)?
    };
    let (found, next) = seen.search(&query, search.limit as usize)?;
    let page = AgentsPage {
        agents: found.into_iter().map(row).collect(),
        cursor: next.as_ref().map(cursor::encode),
    };
    Ok(Looked::Answer(AspResponse::AgentSearch(page), seen.wait))
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
