//! What is recorded on the topic `__asp.sessions`.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::fold::FoldRow;
use super::one::Standing;
use super::table::{Performative, Role, State};
use crate::asp::chain::{Digest, Signature};
use crate::asp::registry::PublicKey;
use crate::asp::{Canonical, Links, TrustScore};
use crate::folding::Folded;
use crate::types::{
    AgentId, CommitmentId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp,
};

/// A fact about a session, or about all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SessionEvent {
    /// `session.created`: a session began.
    Created(Box<Created>),
    /// `session.messageSent`: a message was taken.
    MessageSent(Box<MessageSent>),
    /// `session.participantLeft`: a participant went.
    ParticipantLeft(ParticipantLeft),
    /// `session.invitationLapsed`: an invitation was not answered in time.
    InvitationLapsed(InvitationLapsed),
    /// `session.responseOverdue`: a message was not answered in the time that it gave.
    ResponseOverdue(ResponseOverdue),
    /// `session.resumed`: a human let an escalated session go on.
    Resumed(Resumed),
    /// `session.expired`: the session's time was over.
    Expired(Expired),
    /// `session.ended`: what is to be known of a session that has ended, in the same entry behind
    /// the record that ended it.
    Ended(Box<Ended>),
    /// `sessions.filed`: sessions that ended, and where each is to be found.
    Filed(Filed),
    /// `sessions.folded`: a part of the whole state; replaces all that was before once the last
    /// part is there. Stands in a snapshot and not on the topic.
    Folded(Folded<FoldRow>),
    /// An event of a newer broker: kept as it is. It takes its place in the session's chain, and
    /// has no effect else.
    Unknown {
        /// Type of the record.
        record_type: String,
        /// The session that it is about, where it says so.
        session: Option<SessionId>,
        /// Payload of the record.
        payload: Vec<u8>,
    },
}

/// See [`SessionEvent::Created`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
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
    /// What it may grow to.
    #[serde(default)]
    pub limits: Limits,
    /// The application's own words.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// Who created it.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// What a session may grow to; `None` where only the general limits hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Limits {
    /// Most messages; a CLOSE is taken beyond it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_messages: Option<u64>,
    /// Most participants, those who went included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_participants: Option<u64>,
    /// Most bytes of a payload in canonical form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_payload_bytes: Option<u64>,
}

impl Limits {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MessageSent {
    /// All that the sender supplied.
    pub message: Message,
    /// SHA-256 over what the sender supplied.
    pub digest: Digest,
    /// The sender's signature of the digest.
    pub signature: Option<Signature>,
    /// The key it was checked with.
    pub key: Option<PublicKey>,
    /// The payload. Reading a record leaves it out, as no state depends on it.
    pub payload: Option<Canonical>,
    /// Number of the message among those of its sender in the session, from 1.
    pub sender_sequence: u64,
    /// Whom a DELEGATE brings in. Recorded apart from the payload, so that the state does not
    /// depend on a payload that may be erased one day.
    pub brings: Option<Invitee>,
    /// The commitment that a COMMIT offers. Recorded apart from the payload for the same reason.
    pub commitment: Option<CommitmentId>,
    /// The principal that sent it.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// What a sender supplies, and what its digest covers.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Message {
    /// The sender's id for it.
    pub id: MessageId,
    /// To which session.
    pub session: SessionId,
    /// Who speaks.
    pub sender: AgentId,
    /// Who should act.
    #[serde(default)]
    pub recipient: Option<AgentId>,
    /// What kind of message.
    pub performative: Performative,
    /// The application's own type, dotted.
    #[serde(default, rename = "type")]
    pub message_type: Option<String>,
    /// Digest of the payload's canonical form; of `null` where there is none.
    pub payload: Digest,
    /// The message that it answers.
    #[serde(default)]
    pub in_reply_to: Option<MessageId>,
    /// What an answer must keep to.
    #[serde(default)]
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

/// See [`SessionEvent::ParticipantLeft`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ParticipantLeft {
    /// The session.
    pub session: SessionId,
    /// Who left.
    pub agent: AgentId,
    /// On whose request.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::InvitationLapsed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct InvitationLapsed {
    /// The session.
    pub session: SessionId,
    /// Who did not answer.
    pub agent: AgentId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::ResponseOverdue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct ResponseOverdue {
    /// The session.
    pub session: SessionId,
    /// The message that was not answered.
    pub message: MessageId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::Resumed`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Resumed {
    /// The session.
    pub session: SessionId,
    /// Who let it go on.
    pub by: PrincipalId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::Expired`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct Expired {
    /// The session.
    pub session: SessionId,
    /// When.
    pub at: Timestamp,
}

/// See [`SessionEvent::Ended`]: enough to list the session without reading more.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Ended {
    /// The session.
    pub session: SessionId,
    /// The creator's organisation.
    pub org: OrgId,
    /// What it was about.
    pub topic: String,
    /// The application's own words.
    #[serde(default)]
    pub metadata: Map<String, Value>,
    /// What it might have grown to.
    #[serde(default)]
    pub limits: Limits,
    /// Who created it.
    pub by: PrincipalId,
    /// When.
    pub created_at: Timestamp,
    /// When it would have expired.
    pub expires_at: Timestamp,
    /// CLOSED or FAILED.
    pub state: State,
    /// Commitments that were accepted.
    pub accepted: u64,
    /// All who ever took part or were asked to, by id.
    pub participants: Vec<EndedParticipant>,
    /// The `session.ended` before it, of all sessions.
    pub all: Links,
    /// When it ended.
    pub at: Timestamp,
}

/// One of those in [`Ended::participants`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub struct EndedParticipant {
    /// Who.
    pub agent: AgentId,
    /// The agent's organisation.
    pub org: OrgId,
    /// As what.
    pub role: Role,
    /// How far it came.
    pub standing: EndedStanding,
    /// Messages it sent.
    pub messages: u64,
    /// The `session.ended` before it, of the sessions of this agent.
    #[serde(flatten)]
    pub links: Links,
}

/// Whether somebody was in when the session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EndedStanding {
    /// Never invited.
    Pending,
    /// Invited, without an answer.
    Invited,
    /// In.
    In,
    /// Refused the invitation.
    Refused,
    /// Did not answer it in time.
    Lapsed,
    /// Was in, and left.
    Left,
}

impl From<Standing> for EndedStanding {
    fn from(standing: Standing) -> Self {
        match standing {
            Standing::Pending => Self::Pending,
            Standing::Invited { .. } => Self::Invited,
            Standing::In => Self::In,
            Standing::Refused => Self::Refused,
            Standing::Lapsed => Self::Lapsed,
            Standing::Left => Self::Left,
        }
    }
}

/// See [`SessionEvent::Filed`].
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct Filed {
    /// The sessions, the first that ended first, each with the offset of its `session.ended`.
    pub rows: Vec<(SessionId, Offset)>,
}

impl Filed {
    /// Offset of the `session.ended` of that session, where it is filed here.
    #[must_use]
    pub fn find(&self, session: SessionId) -> Option<Offset> {
        let row = self.rows.iter().find(|(filed, _)| *filed == session);
        row.map(|(_, offset)| *offset)
    }
}

impl SessionEvent {
    /// The session that it is about; none where it is about all or unknown.
    #[must_use]
    pub fn session(&self) -> Option<SessionId> {
        Some(match self {
            Self::Created(event) => event.session,
            Self::MessageSent(event) => event.message.session,
            Self::ParticipantLeft(event) => event.session,
            Self::InvitationLapsed(event) => event.session,
            Self::ResponseOverdue(event) => event.session,
            Self::Resumed(event) => event.session,
            Self::Expired(event) => event.session,
            Self::Ended(event) => event.session,
            Self::Unknown { session, .. } => return *session,
            Self::Filed(_) | Self::Folded(_) => return None,
        })
    }

    /// When; none where the broker's clock has no part in it, or it is unknown.
    #[must_use]
    pub fn at(&self) -> Option<Timestamp> {
        Some(match self {
            Self::Created(event) => event.at,
            Self::MessageSent(event) => event.at,
            Self::ParticipantLeft(event) => event.at,
            Self::InvitationLapsed(event) => event.at,
            Self::ResponseOverdue(event) => event.at,
            Self::Resumed(event) => event.at,
            Self::Expired(event) => event.at,
            Self::Ended(event) => event.at,
            Self::Filed(_) | Self::Folded(_) | Self::Unknown { .. } => return None,
        })
    }

    /// Type of the record that holds this event.
    #[must_use]
    pub fn record_type(&self) -> &str {
        match self {
            Self::Created(_) => "session.created",
            Self::MessageSent(_) => "session.messageSent",
            Self::ParticipantLeft(_) => "session.participantLeft",
            Self::InvitationLapsed(_) => "session.invitationLapsed",
            Self::ResponseOverdue(_) => "session.responseOverdue",
            Self::Resumed(_) => "session.resumed",
            Self::Expired(_) => "session.expired",
            Self::Ended(_) => "session.ended",
            Self::Filed(_) => "sessions.filed",
            Self::Folded(_) => "sessions.folded",
            Self::Unknown { record_type, .. } => record_type,
        }
    }
}
