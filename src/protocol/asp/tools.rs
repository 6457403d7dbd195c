//! The bodies of requests about tool calls.

use serde::{Deserialize, Serialize};

use super::{JsonText, default_page};
use crate::asp::chain::Digest;
use crate::asp::registry::AgentRef;
use crate::types::{AgentId, AgentName, CallId, OrgName, PrincipalId, SessionId, Timestamp};

/// Says that a tool is called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolStart {
    /// The caller's id for the call, a UUID of version 7: sent again, it gets the same answer.
    pub call_id: CallId,
    /// Name of the tool, 1 to 256 bytes.
    pub tool: String,
    /// Who calls it.
    pub agent: AgentRef,
    /// The session that it is called for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The call that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_call_id: Option<CallId>,
    /// What the tool gets, 262,144 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<JsonText>,
    /// Instead of the arguments: their SHA-256, where the caller keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_sha256: Option<Digest>,
    /// Whether the broker keeps only the SHA-256 of the arguments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
    /// Time after which an open call counts as abandoned, in milliseconds; a day when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
}

/// Says how far a call is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolProgress {
    /// Which.
    pub call_id: CallId,
    /// 0 to 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Says that a call has come to its result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolFinish {
    /// Which.
    pub call_id: CallId,
    /// What came out, 262,144 bytes at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JsonText>,
    /// Instead of the result: its SHA-256, where the caller keeps it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_sha256: Option<Digest>,
    /// Whether the broker keeps only the SHA-256 of the result.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sensitive: bool,
}

/// Says that a call has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolFail {
    /// Which.
    pub call_id: CallId,
    /// What kind of failure: one of few words, such as `timeout`.
    pub error_type: String,
    /// In words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}

/// Asks for tool calls, the newest first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolList {
    /// Those of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentRef>,
    /// Those of a tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Those made for a session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// Those that ended so, or are open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<CallOutcome>,
    /// Those that ended then or later; open ones whatever their time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Those that ended before then; open ones that began before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Calls of a page at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for ToolList {
    /// All of one's own organisation.
    fn default() -> Self {
        Self {
            agent: None,
            tool: None,
            session_id: None,
            outcome: None,
            since: None,
            until: None,
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Asks for a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolInfo {
    /// Which.
    pub call_id: CallId,
}

/// Asks for totals of one tool, or of all.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ToolStats {
    /// Which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// What became of a tool call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum CallOutcome {
    /// Nothing yet.
    Open,
    /// A result.
    Finished,
    /// An error.
    Failed,
    /// Nobody said in time what became of it.
    Abandoned,
}

impl CallOutcome {
    /// The name, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Finished => "finished",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        }
    }
}

/// One tool call.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolRow {
    /// Its identity.
    pub call_id: CallId,
    /// Name of the tool.
    pub tool: String,
    /// Who called it.
    pub agent: AgentId,
    /// Name of the agent.
    pub name: AgentName,
    /// The organisation that the agent belongs to.
    pub org: OrgName,
    /// The session that it was called for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<SessionId>,
    /// The call that it is a part of.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent_call_id: Option<CallId>,
    /// What became of it.
    pub outcome: CallOutcome,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// How long it took, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub duration_ms: Option<u64>,
    /// Time after which it counts as abandoned while it is open, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// How far it is, 0 to 1, as last heard of an open one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<f64>,
    /// What the tool got, where it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments: Option<JsonText>,
    /// SHA-256 of what the tool got, where only that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_sha256: Option<Digest>,
    /// What came out, where it was told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<JsonText>,
    /// SHA-256 of what came out, where only that was kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result_sha256: Option<Digest>,
    /// What kind of failure, of a failed one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_type: Option<String>,
    /// The failure, or the progress, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Who said that it began.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
}

/// A page of tool calls.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolsPage {
    /// The rows.
    pub calls: Vec<ToolRow>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// Totals of tools, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolTotals {
    /// The rows.
    pub tools: Vec<ToolStatsRow>,
}

/// Totals of one tool. Times are in milliseconds and of calls that finished or failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ToolStatsRow {
    /// Its name.
    pub tool: String,
    /// All calls.
    pub calls: u64,
    /// Those that are open.
    pub open: u64,
    /// Those with a result.
    pub finished: u64,
    /// Those with an error.
    pub failed: u64,
    /// Those of which nobody said in time what became of them.
    pub abandoned: u64,
    /// Half of them took at most that long.
    pub p50_ms: u64,
    /// Nine of ten took at most that long.
    pub p90_ms: u64,
    /// 99 of 100 took at most that long.
    pub p99_ms: u64,
    /// The longest.
    pub max_ms: u64,
    /// All together.
    pub total_ms: u64,
}
