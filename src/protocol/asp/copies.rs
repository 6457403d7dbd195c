//! The bodies of reads of copies: what agents have said in other regions, as far as it is known in the
//! one that is asked.

use serde::{Deserialize, Serialize};

use super::{
    AgentInfo, AgentProfile, AgentSearch, AgentsPage, HistoryPage, SessionHistory, SessionInfo,
    SessionRow, TrustAsk, TrustExplain, TrustExplained, TrustRow,
};
use crate::protocol::error_code::WireError;
use crate::region::{AsOf, UpTo};
use crate::types::RegionName;

/// Asks copies of what agents have said in other regions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CopiesRead {
    /// Of which region. When left out: of each of which something is known, this one included; of a
    /// session that in which it lives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<RegionName>,
    /// What is asked.
    pub ask: CopyAsk,
}

/// A request that copies answer, by the name of its kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CopyAsk {
    /// Describes an agent.
    #[serde(rename = "agent.info")]
    AgentInfo(AgentInfo),
    /// Finds agents.
    #[serde(rename = "agent.search")]
    AgentSearch(AgentSearch),
    /// Tells how far an agent is trusted.
    #[serde(rename = "trust.score")]
    TrustScore(TrustAsk),
    /// Tells why an agent is trusted so far.
    #[serde(rename = "trust.explain")]
    TrustExplain(TrustExplain),
    /// Describes a session.
    #[serde(rename = "session.info")]
    SessionInfo(SessionInfo),
    /// Reads the records of a session; it does not wait for more.
    #[serde(rename = "session.history")]
    SessionHistory(SessionHistory),
}

impl CopyAsk {
    /// Where the page before ended.
    #[must_use]
    pub fn cursor(&self) -> Option<&str> {
        match self {
            Self::AgentSearch(search) => search.cursor.as_deref(),
            Self::TrustExplain(explain) => explain.cursor.as_deref(),
            _ => None,
        }
    }
}

/// What copies say.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopiesTold {
    /// Up to where the log of each region is known that an answer below is of.
    pub as_of: AsOf,
    /// What each region has said, sorted by region.
    pub parts: Vec<CopyPart>,
}

/// What one region has said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct CopyPart {
    /// The region.
    pub region: RegionName,
    /// The answer; none where there is an error instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<CopyAnswer>,
    /// Why there is none, where several regions were asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<WireError>,
    /// Up to where the evidence is known on which the scores of agents rest; without it they have
    /// none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence_as_of: Option<UpTo>,
}

/// An answer, by the name of the kind that was asked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CopyAnswer {
    /// An agent.
    #[serde(rename = "agent.info")]
    AgentInfo(Box<AgentProfile>),
    /// Agents.
    #[serde(rename = "agent.search")]
    AgentSearch(AgentsPage),
    /// How far an agent is trusted.
    #[serde(rename = "trust.score")]
    TrustScore(Box<TrustRow>),
    /// Why.
    #[serde(rename = "trust.explain")]
    TrustExplain(Box<TrustExplained>),
    /// A session.
    #[serde(rename = "session.info")]
    SessionInfo(Box<SessionRow>),
    /// Records of a session.
    #[serde(rename = "session.history")]
    SessionHistory(HistoryPage),
}
