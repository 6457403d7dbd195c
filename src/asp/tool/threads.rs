//! The threads through the records that ended a call: one of each agent, of each tool, of each
//! pair of them, of each session, and of all. docs/asp.md, "Threads".

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::record::CallStarted;
use crate::asp::{Links, Thread};
use crate::types::{AgentId, Offset, SessionId, ToolName};

/// Which thread is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Which {
    /// Of all calls.
    All,
    /// Of an agent's calls.
    Agent,
    /// Of an agent's calls of one tool.
    AgentTool,
    /// Of the calls in a session, as far as they are not filed.
    Session,
    /// Of a tool's calls.
    Tool,
}

/// What the record of an ended call says of those before it, for each thread that it is in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct EndedLinks {
    /// Of the agent.
    pub agent: Links,
    /// Of the agent and the tool.
    pub agent_tool: Links,
    /// Of all calls.
    pub all: Links,
    /// Of the session; none where the call had none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<Links>,
    /// Of the tool.
    pub tool: Links,
}

impl EndedLinks {
    /// Those of one thread; none where the record is not in it.
    #[must_use]
    pub fn of(&self, which: Which) -> Option<Links> {
        match which {
            Which::All => Some(self.all),
            Which::Agent => Some(self.agent),
            Which::AgentTool => Some(self.agent_tool),
            Which::Session => self.session,
            Which::Tool => Some(self.tool),
        }
    }
}

/// The ends of all threads.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Threads {
    pub(super) agents: BTreeMap<AgentId, Arc<Thread>>,
    pub(super) pairs: BTreeMap<(AgentId, ToolName), Arc<Thread>>,
    pub(super) all: Arc<Thread>,
    /// Only of sessions that have a call that is held.
    pub(super) sessions: BTreeMap<SessionId, Arc<Thread>>,
    pub(super) tools: BTreeMap<ToolName, Arc<Thread>>,
}

impl Threads {
    /// What the record that ends this call says of those before it.
    pub(super) fn links(&self, call: &CallStarted) -> EndedLinks {
        let end = |thread: Option<&Arc<Thread>>| thread.map(|thread| thread.links());
        let pair = (call.agent, call.tool.clone());
        EndedLinks {
            agent: end(self.agents.get(&call.agent)).unwrap_or_default(),
            agent_tool: end(self.pairs.get(&pair)).unwrap_or_default(),
            all: self.all.links(),
            session: call
                .session
                .map(|session| end(self.sessions.get(&session)).unwrap_or_default()),
            tool: end(self.tools.get(&call.tool)).unwrap_or_default(),
        }
    }

    /// Takes in that a call begins: its agent and its tool make a pair from now on.
    pub(super) fn begin(&mut self, call: &CallStarted) {
        self.pairs
            .entry((call.agent, call.tool.clone()))
            .or_default();
    }

    /// Takes in the record that ends this call.
    pub(super) fn push(&mut self, call: &CallStarted, offset: Offset) {
        let pair = (call.agent, call.tool.clone());
        push(self.agents.entry(call.agent).or_default(), offset);
        push(self.pairs.entry(pair).or_default(), offset);
        push(&mut self.all, offset);
        if let Some(session) = call.session {
            push(self.sessions.entry(session).or_default(), offset);
        }
        match self.tools.get_mut(&call.tool) {
            Some(thread) => push(thread, offset),
            None => push(self.tools.entry(call.tool.clone()).or_default(), offset),
        }
    }
}

fn push(thread: &mut Arc<Thread>, offset: Offset) {
    Arc::make_mut(thread).push(offset);
}
