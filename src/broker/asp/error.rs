//! Why a command about agents is refused.

use std::sync::Arc;

use crate::asp::body::InvalidBody;
use crate::asp::chain::{NotCanonical, SignatureError};
use crate::asp::registry::{RegistryError, SearchError};
use crate::asp::session::{OutOfLimit, SendError};
use crate::asp::tool::ToolError;
use crate::broker::topic::TopicError;
use crate::types::{AgentName, CallId, InvalidName, SessionId};

/// Why a command about agents, sessions or tool calls is refused. Nothing was changed.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum AspError {
    /// There is no such agent, or it is another organisation's that shows it to nobody who asks.
    #[error("there is no agent `{agent}`")]
    AgentNotFound {
        /// How it was asked for.
        agent: String,
    },
    /// The text says no agent.
    #[error(transparent)]
    Reference(#[from] InvalidName),
    /// The agent is another organisation's.
    #[error("agent `{agent}` is another organisation's: only its own keys speak for it")]
    NotYourAgent {
        /// How it was asked for.
        agent: String,
    },
    /// The registry refuses the change.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What is searched for breaks a rule.
    #[error(transparent)]
    Search(#[from] SearchError),
    /// There is no such session, or nobody in it is the caller's.
    #[error("there is no session {0}")]
    SessionNotFound(SessionId),
    /// The session can't be created so.
    #[error("the session can't be created: {rule}")]
    Session {
        /// The rule that is broken.
        rule: &'static str,
    },
    /// A limit is broken.
    #[error(transparent)]
    Limit(#[from] OutOfLimit),
    /// The message is refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The body is not that of its performative.
    #[error(transparent)]
    Body(#[from] InvalidBody),
    /// The payload has no canonical form.
    #[error(transparent)]
    Payload(#[from] NotCanonical),
    /// The agent has enrolled a key, and the message is not signed.
    #[error("agent `{agent}` has enrolled a public key: its messages must be signed")]
    SignatureRequired {
        /// The agent.
        agent: AgentName,
    },
    /// The message is signed, and the agent has no key.
    #[error("agent `{agent}` has no public key that its signature could be checked with")]
    NoKey {
        /// The agent.
        agent: AgentName,
    },
    /// The signature is not that of the agent's key over the message's digest.
    #[error("the signature of agent `{agent}` does not fit: {source}")]
    Signature {
        /// The agent.
        agent: AgentName,
        /// Why.
        source: SignatureError,
    },
    /// There is no such call.
    #[error("there is no tool call {0}")]
    CallNotFound(CallId),
    /// The call is refused.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A topic is damaged: what it says is not known.
    #[error("not known until the topic is restored: {0}")]
    Unavailable(Arc<TopicError>),
}
