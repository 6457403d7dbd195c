//! The bodies of requests about sessions.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::strict::StrictConstraints;
use super::{JsonText, default_page};
use crate::asp::chain::Digest;
use crate::asp::registry::AgentRef;
use crate::asp::session::{Constraints, Performative, Role, State};
use crate::types::{
    AgentId, AgentName, CommitmentId, MessageId, Offset, OrgName, PrincipalId, SessionId, Timestamp,
};

/// Begins a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionCreate {
    /// What it is about: 1 to 1,024 bytes.
    pub topic: String,
    /// Who takes part: 2 to 64, one coordinator of one's own organisation among them.
    pub participants: Vec<Joining>,
    /// Time until it expires, in milliseconds; an hour when left out, 30 days at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ttl_ms: Option<u64>,
    /// Time to answer an invitation, in milliseconds; 30 s when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation_ms: Option<u64>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "SessionLimits::is_empty")]
    pub limits: SessionLimits,
    /// The application's own words; at most 16,384 bytes.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
}

/// Somebody who is to take part.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Joining {
    /// Who.
    pub agent_id: AgentRef,
    /// As what.
    pub role: Role,
}

impl SessionCreate {
    /// A session about that, with those participants and nothing else said.
    #[must_use]
    pub fn new(topic: impl Into<String>, participants: Vec<Joining>) -> Self {
        Self {
            topic: topic.into(),
            participants,
            ttl_ms: None,
            invitation_ms: None,
            limits: SessionLimits::default(),
            metadata: Map::new(),
        }
    }
}

impl Joining {
    /// An agent in a role.
    #[must_use]
    pub fn new(agent: impl Into<AgentRef>, role: Role) -> Self {
        Self {
            agent_id: agent.into(),
            role,
        }
    }
}

/// What a session may use at most; what is left out has the broker's own limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionLimits {
    /// Messages.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_messages: Option<u64>,
    /// Bytes of a payload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_payload_bytes: Option<u64>,
    /// Participants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_participants: Option<u64>,
}

impl SessionLimits {
    /// Whether it limits nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Asks for sessions: the live ones, newest first, then those that ended, latest end first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionList {
    /// Those of an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentRef>,
    /// Those in one of these states; any when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub states: Vec<State>,
    /// Those that were still open then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// Those that were open before then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Sessions of a page at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Where the page before ended: its `cursor`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

impl Default for SessionList {
    /// All of one's own organisation.
    fn default() -> Self {
        Self {
            agent: None,
            states: Vec::new(),
            since: None,
            until: None,
            limit: default_page(),
            cursor: None,
        }
    }
}

/// Asks for a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionInfo {
    /// Which.
    pub session_id: SessionId,
}

/// Says something in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionSend {
    /// Where.
    pub session_id: SessionId,
    /// The sender's id for the message, a UUID of version 7: sent again, it gets the same answer.
    pub id: MessageId,
    /// Who speaks.
    pub from: AgentRef,
    /// Who should act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<AgentRef>,
    /// What kind of message; as the type says, else INFORM, when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub performative: Option<Performative>,
    /// The application's own type, dotted.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
    /// The content, 262,144 bytes at most; none is `null`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payload: Option<JsonText>,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<MessageId>,
    /// What an answer must keep to.
    #[serde(
        default,
        with = "StrictConstraints",
        skip_serializing_if = "Constraints::is_empty"
    )]
    pub constraints: Constraints,
    /// `ed25519:` and 128 hexadecimal digits over the digest; needed where the sender has a public
    /// key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
}

/// Asks for the records of a session from one of them on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionHistory {
    /// Which.
    pub session_id: SessionId,
    /// The participant on whose behalf it is read; needed for sessions of other organisations.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub agent: Option<AgentRef>,
    /// Number of the first record wanted.
    #[serde(default)]
    pub from: u64,
    /// Records at most, 1 to 1,000.
    #[serde(default = "default_page")]
    pub limit: u32,
    /// Bytes of records at most; one record always fits.
    #[serde(default = "a_mebibyte")]
    pub max_bytes: u32,
    /// Longest wait for a record, in milliseconds; the broker may take 60,000 for anything longer.
    #[serde(default)]
    pub wait_ms: u32,
}

fn a_mebibyte() -> u32 {
    1 << 20
}

impl SessionHistory {
    /// The records from that number on, without waiting.
    #[must_use]
    pub fn new(session_id: SessionId, from: u64) -> Self {
        Self {
            session_id,
            agent: None,
            from,
            limit: default_page(),
            max_bytes: a_mebibyte(),
            wait_ms: 0,
        }
    }
}

/// Takes an agent out of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionLeave {
    /// Which.
    pub session_id: SessionId,
    /// Who leaves.
    pub agent: AgentRef,
}

/// Lets an escalated session go on, as a human decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SessionResume {
    /// Which.
    pub session_id: SessionId,
}

/// One session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionRow {
    /// Its identity.
    pub session_id: SessionId,
    /// The organisation that created it.
    pub org: OrgName,
    /// What it is about.
    pub topic: String,
    /// Where it stands.
    pub state: State,
    /// All who take part, took part, or were asked to.
    pub participants: Vec<ParticipantRow>,
    /// Records so far, which is the number that the next one gets.
    pub sequence: u64,
    /// Hash of the last record.
    pub hash: Digest,
    /// When it began.
    pub created_at: Timestamp,
    /// When it expires; not told of a session that is no longer held in memory, as the next four.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Time to answer an invitation, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub invitation_ms: Option<u64>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "SessionLimits::is_empty")]
    pub limits: SessionLimits,
    /// The application's own words.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub metadata: Map<String, Value>,
    /// Who created it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<PrincipalId>,
    /// When it ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}

/// One who takes part in a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ParticipantRow {
    /// Who.
    pub agent_id: AgentId,
    /// Its name.
    pub name: AgentName,
    /// The organisation that it belongs to.
    pub org: OrgName,
    /// As what.
    pub role: Role,
    /// Whether it is in: `pending`, `invited`, `in`, `refused`, `lapsed` or `left`; not told of a
    /// session that is no longer held in memory, as the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub standing: Option<String>,
    /// Messages that it sent in the session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub messages: Option<u64>,
}

/// A page of sessions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionsPage {
    /// The rows.
    pub sessions: Vec<SessionRow>,
    /// Where the next page begins; none when this is the last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
}

/// A message that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SessionSent {
    /// Its id.
    pub id: MessageId,
    /// The session.
    pub session_id: SessionId,
    /// Number of its record in the session.
    pub sequence: u64,
    /// Number among its sender's messages in the session, from 1.
    pub sender_sequence: u64,
    /// When.
    pub at: Timestamp,
    /// SHA-256 over what the sender supplied.
    pub digest: Digest,
    /// Hash of its record, which is over the record before it too.
    pub hash: Digest,
    /// Where the session stood after it.
    pub state: State,
    /// Whether it had been taken before, and this is what was answered then.
    pub duplicate: bool,
    /// The commitment that it offers, or answers; as long as that is held in memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commitment_id: Option<CommitmentId>,
}

/// Records of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryPage {
    /// The records, in order and without gaps; none when the wait ended without any.
    pub records: Vec<HistoryRecord>,
    /// Number of the record behind the last one.
    pub next: u64,
    /// Where the session stands now.
    pub state: State,
}

/// One record of a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryRecord {
    /// Where on the topic it lies.
    pub offset: Offset,
    /// The record, byte by byte.
    pub record: JsonText,
}
