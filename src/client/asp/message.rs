//! A message before it is sent.

use serde::Serialize;

use crate::asp::registry::AgentRef;
use crate::asp::session::{Constraints, Performative};
use crate::protocol::asp::{InvalidJson, JsonText, SessionSend};
use crate::types::{MessageId, SessionId};

/// A message to send with [`Sessions::send`](super::Sessions::send).
///
/// ```
/// use npayload::asp::session::Performative;
/// use npayload::client::NewMessage;
/// use npayload::types::AgentName;
/// use serde_json::json;
///
/// # fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let coordinator = AgentName::parse("coordinator-agent")?;
/// let task = NewMessage::new(coordinator.clone())
///     .typed("task.assign")
///     .content(&json!({"task": "research", "priority": "high"}))?;
/// let close = NewMessage::new(coordinator).said(Performative::Close);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct NewMessage {
    /// The sender's id for it; a new one when none is given.
    pub id: Option<MessageId>,
    /// Who speaks.
    pub from: AgentRef,
    /// Who should act.
    pub to: Option<AgentRef>,
    /// What kind of message; as the type says, else INFORM, when left out.
    pub performative: Option<Performative>,
    /// The application's own type, dotted.
    pub message_type: Option<String>,
    /// The content.
    pub payload: Option<JsonText>,
    /// The message that it answers.
    pub in_reply_to: Option<MessageId>,
    /// What an answer must keep to.
    pub constraints: Constraints,
}

impl NewMessage {
    /// A message of an agent, an INFORM without content so far.
    #[must_use]
    pub fn new(from: impl Into<AgentRef>) -> Self {
        Self {
            id: None,
            from: from.into(),
            to: None,
            performative: None,
            message_type: None,
            payload: None,
            in_reply_to: None,
            constraints: Constraints::default(),
        }
    }

    /// Gives it the application's own type, dotted.
    #[must_use]
    pub fn typed(mut self, message_type: impl Into<String>) -> Self {
        self.message_type = Some(message_type.into());
        self
    }

    /// Says what kind of message it is.
    #[must_use]
    pub fn said(mut self, performative: Performative) -> Self {
        self.performative = Some(performative);
        self
    }

    /// Says who should act.
    #[must_use]
    pub fn to(mut self, recipient: impl Into<AgentRef>) -> Self {
        self.to = Some(recipient.into());
        self
    }

    /// Makes it an answer.
    #[must_use]
    pub fn answers(mut self, message: MessageId) -> Self {
        self.in_reply_to = Some(message);
        self
    }

    /// Gives it its content as JSON that is written already.
    #[must_use]
    pub fn payload(mut self, payload: JsonText) -> Self {
        self.payload = Some(payload);
        self
    }

    /// Gives it its content.
    ///
    /// # Errors
    /// [`InvalidJson`] when the value cannot be written as JSON.
    pub fn content(self, value: &(impl Serialize + ?Sized)) -> Result<Self, InvalidJson> {
        Ok(self.payload(JsonText::of(value)?))
    }

    /// Says what an answer must keep to.
    #[must_use]
    pub fn constraints(mut self, constraints: Constraints) -> Self {
        self.constraints = constraints;
        self
    }

    /// The request, not signed yet.
    pub(super) fn request(self, session_id: SessionId) -> SessionSend {
        SessionSend {
            session_id,
            id: self
                .id
                .unwrap_or_else(|| MessageId(uuid::Uuid::now_v7().as_u128())),
            from: self.from,
            to: self.to,
            performative: self.performative,
            message_type: self.message_type,
            payload: self.payload,
            in_reply_to: self.in_reply_to,
            constraints: self.constraints,
            signature: None,
        }
    }
}
