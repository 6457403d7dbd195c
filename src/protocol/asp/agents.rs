//! The bodies of requests about agents.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::strict::{self, StrictAvailability};
use super::{JsonText, default_page};
use crate::asp::TrustScore;
use crate::asp::registry::{
    AgentRef, AgentStanding, Amount, Availability, Match, Profile, PublicKey, Status,
};
use crate::types::{AgentId, AgentName, Offset, OrgName, PrincipalId, SessionId, Timestamp};

/// Registers an agent of one's own organisation: a new one, or the one that has the name, all of
/// whose profile it replaces.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentRegister {
    /// Its name.
    pub name: AgentName,
    /// What it is, in words; at most 4,096 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// Its version; at most 64 bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// What it can do; at most 256.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<AgentName>,
    /// What it speaks; at most 64 of 256 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub protocols: Vec<String>,
    /// The schemas that it knows; at most 64 of 256 bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schemas: Vec<String>,
    /// How much it may decide; at most 64 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authority_level: Option<String>,
    /// The largest amount that it may agree to.
    #[serde(
        default,
        deserialize_with = "strict::amount",
        skip_serializing_if = "Option::is_none"
    )]
    pub max_transaction: Option<Amount>,
    /// Whether it can be reached.
    #[serde(default, with = "StrictAvailability")]
    pub availability: Availability,
    /// Where it can be reached: at most 16, name to URL.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub endpoints: BTreeMap<String, String>,
    /// The application's own words; at most 16,384 bytes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// The key that its messages are signed with from now on; the one it has stays when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
}

impl AgentRegister {
    /// A registration of that name, with that profile and no change of the key.
    #[must_use]
    pub fn new(name: AgentName, profile: Profile) -> Self {
        Self {
            name,
            description: profile.description,
            version: profile.version,
            capabilities: profile.capabilities,
            protocols: profile.protocols,
            schemas: profile.schemas,
            authority_level: profile.authority_level,
            max_transaction: profile.max_transaction,
            availability: profile.availability,
            endpoints: profile.endpoints,
            metadata: profile.metadata,
            public_key: None,
        }
    }

    /// What the agent says of itself. Limits are not judged here.
    #[must_use]
    pub fn profile(&self) -> Profile {
        let said = self.clone();
        Profile {
            description: said.description,
            version: said.version,
            capabilities: said.capabilities,
            protocols: said.protocols,
            schemas: said.schemas,
            authority_level: said.authority_level,
            max_transaction: said.max_transaction,
            availability: said.availability,
            endpoints: said.endpoints,
            metadata: said.metadata,
        }
    }
}

/// Takes an agent out of search. Its identity, history and sessions stay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentDeregister {
    /// Which.
    pub agent: AgentRef,
}

/// Says whether an agent can be reached: a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentAvailability {
    /// Which.
    pub agent: AgentRef,
    /// Replaces what was said before, all of it.
    #[serde(with = "StrictAvailability")]
    pub availability: Availability,
}

/// Enrolls, rotates or revokes the public key of an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSetKey {
    /// Which.
    pub agent: AgentRef,
    /// The new key; none, `null` in JSON, revokes the one that it has.
    #[serde(deserialize_with = "strict::key_or_null")]
    pub public_key: Option<PublicKey>,
}

/// Asks for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentInfo {
    /// Which.
    pub agent: AgentRef,
}

/// Looks for registered agents.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentSearch {
    /// What they must be able to do, at most 64; a `*` at the end stands for any ending.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub capabilities: Vec<String>,
    /// Whether they need all of that.
    #[serde(default, rename = "match")]
    pub matching: Match,
    /// Least trust.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_trust_score: Option<TrustScore>,
    /// Whose agents; one's own when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub org: Option<OrgName>,
    /// Text within name or description, whatever the case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// At least that available.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub availability: Option<Status>,
    /// Agents of a page at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for AgentSearch {
    /// All agents of one's own organisation.
    fn default() -> Self {
        Self {
            capabilities: Vec::new(),
            matching: Match::All,
            min_trust_score: None,
            org: None,
            text: None,
            availability: None,
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Asks for what came for an agent: the records of sessions that it takes part in, or is asked to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AgentInbox {
    /// Whose inbox.
    pub agent: AgentRef,
    /// Where the page before ended: its `cursor`. From the first record when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Entries at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Longest wait for an entry, in milliseconds; the broker may take 60,000 for anything longer.
    #[serde(default)]
    pub wait_ms: u32,
}

/// One agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentRow {
    /// Its identity.
    pub agent: AgentId,
    /// Its name.
    pub name: AgentName,
    /// The organisation that it belongs to.
    pub org: OrgName,
    /// Whether it is registered.
    pub standing: AgentStanding,
    /// What it says of itself; nothing for a placeholder.
    #[serde(flatten)]
    pub profile: Profile,
    /// The key that its messages are signed with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<PublicKey>,
    /// How far it is trusted.
    pub trust_score: TrustScore,
    /// When its name was first used.
    pub created_at: Timestamp,
    /// When it changed last.
    pub changed_at: Timestamp,
    /// Who changed it last.
    pub by: PrincipalId,
}

/// One agent and its card.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentProfile {
    /// The agent.
    #[serde(flatten)]
    pub agent: AgentRow,
    /// The same in the form of an A2A 1.0 agent card.
    pub card: Value,
}

/// A page of agents, sorted by trust, availability and name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentsPage {
    /// The rows.
    pub agents: Vec<AgentRow>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// What came for an agent.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InboxPage {
    /// The records; none when the wait ended without any.
    pub entries: Vec<AgentEntry>,
    /// Where to read on, always.
    pub cursor: String,
}

/// One record of an inbox.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentEntry {
    /// The organisation whose topic it lies on.
    pub org: OrgName,
    /// The session that it is about.
    pub session_id: SessionId,
    /// Where on the topic it lies.
    pub offset: Offset,
    /// The record, byte by byte.
    pub record: JsonText,
}
