//! What is recorded on the topic `__asp.sessions`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::sessions::SessionRow;
use super::table::{Performative, Role};
use crate::asp::TrustScore;
use crate::folding::{self, Folded};
use crate::types::{AgentId, MessageId, OrgId, PrincipalId, SessionId, Timestamp};

/// A fact about a session, one JSON record of the topic `__asp.sessions`. The record's type is the
/// member `type`; the member `v` is the version, now 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type")]
#[non_exhaustive]
pub enum SessionEvent {
    /// A session began.
    #[serde(rename = "session.created")]
    Created(Created),
    /// A message was taken.
    #[serde(rename = "session.messageSent")]
    MessageSent(MessageSent),
    /// A participant went.
    #[serde(rename = "session.participantLeft")]
    ParticipantLeft(AgentFact),
    /// An invitation was not answered in time.
    #[serde(rename = "session.invitationLapsed")]
    InvitationLapsed(AgentFact),
    /// A message was not answered in the time that it gave.
    #[serde(rename = "session.responseOverdue")]
    ResponseOverdue(ResponseOverdue),
    /// A human let an escalated session go on.
    #[serde(rename = "session.resumed")]
    Resumed(Resumed),
    /// The session's time was over.
    #[serde(rename = "session.expired")]
    Expired(Expired),
    /// A part of the whole state; replaces all that was before once the last part is there.
    #[serde(rename = "sessions.folded")]
    Folded(Folded<SessionRow>),
    /// An event of a newer broker: kept as it is, and without effect here.
    #[serde(skip)]
    Unknown {
        /// Type of the record.
        record_type: String,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`SessionEvent::Created`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The new session.
    pub session: SessionId,
    /// The creator's organisation: its agents are in at once.
    pub org: OrgId,
    /// What it is about.
    pub topic: String,
    /// Who takes part.
    pub participants: Vec<Invitee>,
    /// Time until the session expires, in ms.
    pub ttl_ms: u64,
    /// Time to answer an invitation, in ms.
    pub invitation_ms: u64,
    /// The application's own words.
    pub metadata: Map<String, Value>,
    /// Who created it.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// Somebody to take part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Invitee {
    /// Who.
    pub agent: AgentId,
    /// The agent's organisation.
    pub org: OrgId,
    /// As what.
    pub role: Role,
}

/// See [`SessionEvent::MessageSent`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MessageSent {
    /// The session.
    pub session: SessionId,
    /// All that the sender supplied.
    pub message: Message,
    /// SHA-256 over what the sender supplied.
    pub digest: Digest,
    /// Number of the message in its session, from 1.
    pub sequence: u64,
    /// Number of the message among those of its sender in the session, from 1.
    pub sender_sequence: u64,
    /// Whom a DELEGATE brings in. Recorded apart from the payload, so that the state does not
    /// depend on a payload that may be erased one day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub brings: Option<Invitee>,
    /// When.
    pub at: Timestamp,
}

/// What a sender supplies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The sender's id for it.
    pub id: MessageId,
    /// Who speaks.
    pub sender: AgentId,
    /// Who should act.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub recipient: Option<AgentId>,
    /// What kind of message.
    pub performative: Performative,
    /// The application's own type, dotted.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub message_type: Option<String>,
    /// The content.
    #[serde(default)]
    pub payload: Value,
    /// The message that it answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_reply_to: Option<MessageId>,
    /// What an answer must keep to.
    #[serde(default, skip_serializing_if = "Constraints::is_empty")]
    pub constraints: Constraints,
}

/// What whoever answers a message must keep to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Constraints {
    /// The performatives that an answer may have; none given: any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub allowed_performatives: Vec<Performative>,
    /// Time to answer, in ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_response_time_ms: Option<u64>,
    /// Least trust of who answers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub required_trust: Option<TrustScore>,
}

impl Constraints {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Something happened to a participant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentFact {
    /// The session.
    pub session: SessionId,
    /// Whom.
    pub agent: AgentId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::ResponseOverdue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ResponseOverdue {
    /// The session.
    pub session: SessionId,
    /// The message that was not answered.
    pub message: MessageId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::Resumed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Resumed {
    /// The session.
    pub session: SessionId,
    /// Who let it go on.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::Expired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Expired {
    /// The session.
    pub session: SessionId,
    /// When.
    pub at: Timestamp,
}

/// A SHA-256, shown as `sha256:` and 64 hexadecimal digits in lower case.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(pub [u8; 32]);

/// Text that is no digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a digest is `sha256:` and 64 hexadecimal digits in lower case")]
pub struct InvalidDigest;

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sha256:")?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Digest {
    type Err = InvalidDigest;

    fn from_str(text: &str) -> Result<Self, InvalidDigest> {
        let digits = text.strip_prefix("sha256:").ok_or(InvalidDigest)?;
        crate::asp::hex::decode(digits)
            .map(Self)
            .ok_or(InvalidDigest)
    }
}

impl Serialize for Digest {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Digest {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(from)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl SessionEvent {
    /// The session that it is about; none where it is about all or unknown.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        Some(match self {
            Self::Created(event) => event.session,
            Self::MessageSent(event) => event.session,
            Self::ParticipantLeft(event) | Self::InvitationLapsed(event) => event.session,
            Self::ResponseOverdue(event) => event.session,
            Self::Resumed(event) => event.session,
            Self::Expired(event) => event.session,
            Self::Folded(_) | Self::Unknown { .. } => return None,
        })
    }
}

folding::topic_event! {
    SessionEvent {
        Created = "session.created",
        MessageSent = "session.messageSent",
        ParticipantLeft = "session.participantLeft",
        InvitationLapsed = "session.invitationLapsed",
        ResponseOverdue = "session.responseOverdue",
        Resumed = "session.resumed",
        Expired = "session.expired",
        Folded = "sessions.folded",
    }
}
