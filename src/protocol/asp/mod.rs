//! Requests about agents, their sessions and their tool calls, and the answers: one list of kinds,
//! JSON bodies. `docs/wire-protocol.md`, "Agents".
//!
//! - [`agents`]: who they are and what they can do.
//! - [`sessions`]: what they say to each other.
//! - [`tools`]: what they call.
//!
//! Payloads, arguments and results are [`JsonText`]: the bytes of the sender, so that nothing is
//! reformatted on the way.

pub mod agents;
pub mod sessions;
mod strict;
mod text;
pub mod tools;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use self::agents::{
    AgentAvailability, AgentDeregister, AgentEntry, AgentInbox, AgentInfo, AgentProfile,
    AgentRegister, AgentRow, AgentSearch, AgentSetKey, AgentsPage, InboxPage,
};
pub use self::sessions::{
    HistoryPage, HistoryRecord, Joining, ParticipantRow, SessionCreate, SessionHistory,
    SessionInfo, SessionLeave, SessionLimits, SessionList, SessionResume, SessionRow, SessionSend,
    SessionSent, SessionsPage,
};
pub use self::text::{InvalidJson, JsonText};
pub use self::tools::{
    CallOutcome, ToolFail, ToolFinish, ToolInfo, ToolList, ToolProgress, ToolRow, ToolStart,
    ToolStats, ToolStatsRow, ToolTotals, ToolsPage,
};
use super::json_kinds::json_kinds;
use super::primitive::BodyError;
use crate::asp::registry::AgentRef;
use crate::types::AgentName;

json_kinds! {
    /// A request about agents, sessions and tool calls.
    AspRequest;
    /// An answer about agents, sessions and tool calls.
    AspResponse;

    /// Registers an agent, or replaces what it says of itself.
    AgentRegister(AgentRegister) -> AgentRow;
    /// Takes an agent out of search.
    AgentDeregister(AgentDeregister) -> AgentRow;
    /// Says whether an agent can be reached.
    AgentAvailability(AgentAvailability) -> AgentRow;
    /// Gives an agent a public key, another one, or none.
    AgentSetKey(AgentSetKey) -> AgentRow;
    /// Describes an agent.
    AgentInfo(AgentInfo) -> AgentProfile;
    /// Finds agents.
    AgentSearch(AgentSearch) -> AgentsPage;
    /// Reads what came for an agent, waiting for it if asked to.
    AgentInbox(AgentInbox) -> InboxPage;
    /// Begins a session.
    SessionCreate(SessionCreate) -> SessionRow;
    /// Lists sessions.
    SessionList(SessionList) -> SessionsPage;
    /// Describes a session.
    SessionInfo(SessionInfo) -> SessionRow;
    /// Says something in a session.
    SessionSend(SessionSend) -> SessionSent;
    /// Reads the records of a session, waiting for them if asked to.
    SessionHistory(SessionHistory) -> HistoryPage;
    /// Leaves a session.
    SessionLeave(SessionLeave) -> SessionRow;
    /// Lets an escalated session go on.
    SessionResume(SessionResume) -> SessionRow;
    /// Says that a tool is called.
    ToolStart(ToolStart) -> ToolRow;
    /// Says how far a call is.
    ToolProgress(ToolProgress) -> ToolRow;
    /// Says that a call has come to its result.
    ToolFinish(ToolFinish) -> ToolRow;
    /// Says that a call has failed.
    ToolFail(ToolFail) -> ToolRow;
    /// Lists tool calls.
    ToolList(ToolList) -> ToolsPage;
    /// Describes a tool call.
    ToolInfo(ToolInfo) -> ToolRow;
    /// Sums up the calls of each tool.
    ToolStats(ToolStats) -> ToolTotals;
}

/// Entries of a page where a request does not say how many.
pub const DEFAULT_PAGE: u32 = 100;

fn default_page() -> u32 {
    DEFAULT_PAGE
}

/// Reads a body. Where it cannot be read because of the name of an agent, the error says so.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    serde_json::from_slice(body)
        .map_err(|error| bad_agent(body).unwrap_or_else(|| BodyError::Json(error.to_string())))
}

/// What is wrong with an agent that a request names.
fn bad_agent(body: &[u8]) -> Option<BodyError> {
    /// The members that name agents in any of the requests.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        name: Option<String>,
        agent: Option<String>,
        from: Option<serde_json::Value>,
        to: Option<String>,
        participants: Option<Vec<Participant>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Participant {
        agent_id: Option<String>,
    }
    let named: Named = serde_json::from_slice(body).ok()?;
    if let Some(error) = named.name.and_then(|name| AgentName::parse(&name).err()) {
        return Some(BodyError::Name(error));
    }
    // In a history, `from` is a number.
    let from = named
        .from
        .and_then(|from| from.as_str().map(ToOwned::to_owned));
    let invited = named.participants.into_iter().flatten();
    let agents = invited.filter_map(|participant| participant.agent_id);
    let mut all = agents.chain(named.agent).chain(from).chain(named.to);
    all.find_map(|agent| AgentRef::parse(&agent).err())
        .map(BodyError::Agent)
}
