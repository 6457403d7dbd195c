//! Why a message, or a new session, is refused.

use super::body::BodyError;
use super::table::{Performative, Role, State, Voice};
use crate::asp::chain::ForgedSignature;
use crate::asp::commitment::InvalidOffer;
use crate::asp::registry::PublicKey;
use crate::asp::{NotCanonical, TrustScore};
use crate::folding::IllegalEvent;
use crate::types::{AgentId, MessageId, SessionId, Timestamp};

/// Something is larger than allowed, smaller, or there is too much of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {value} is outside {least}..={most}")]
pub struct OutOfLimit {
    /// Name and unit of what is limited.
    pub what: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least allowed.
    pub least: u64,
    /// The most allowed.
    pub most: u64,
}

/// Why a message is refused. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SendError {
    /// There is no such session among those that are held.
    #[error("there is no session {0} among the live ones and those that ended last")]
    UnknownSession(SessionId),
    /// Who sends, or should act, is not in the session.
    #[error("agent {agent} is not in session {session}")]
    NotParticipant {
        /// The session.
        session: SessionId,
        /// The agent.
        agent: AgentId,
    },
    /// The transition table has no such cell.
    #[error(
        "{said} is not allowed in {state} for {}; allowed: {}",
        .voice.map_or_else(|| "anybody".to_owned(), |voice| voice.to_string()),
        names(.allowed)
    )]
    Illegal {
        /// Where the session stands.
        state: State,
        /// What was said.
        said: Performative,
        /// By whom; none where nobody may say anything.
        voice: Option<Voice>,
        /// What this voice may say there.
        allowed: Vec<Performative>,
    },
    /// An answer names no open offer that its sender may answer or take back.
    #[error("{said} needs an open offer to refer to, {}", refers(.offer))]
    OfferNotOpen {
        /// What was said.
        said: Performative,
        /// The message that it referred to.
        offer: Option<MessageId>,
    },
    /// The message that is answered allows other performatives only.
    #[error("{said} is no answer that was asked for; allowed: {}", names(.allowed))]
    PerformativeConstrained {
        /// What was said.
        said: Performative,
        /// What the message allows as an answer.
        allowed: Vec<Performative>,
    },
    /// The message that is answered wants more trust.
    #[error(
        "an answer needs a trust score of {}, and the sender has {}",
        f64::from(*.required), f64::from(*.score)
    )]
    TrustTooLow {
        /// What the message requires.
        required: TrustScore,
        /// What the sender has.
        score: TrustScore,
    },
    /// DELEGATE, and nothing else, brings exactly one agent in.
    #[error("a DELEGATE, and nothing else, brings one agent in")]
    DelegateBringsOne,
    /// The agent that a DELEGATE brings is in, or invited.
    #[error("agent {agent} takes part already")]
    AlreadyParticipant {
        /// The agent.
        agent: AgentId,
    },
    /// Only a coordinator brings in a coordinator.
    #[error("only a coordinator brings in a {role:?}")]
    RoleAboveOwn {
        /// The role asked for.
        role: Role,
    },
    /// The id was used for another message.
    #[error("message id {id} was used for another message")]
    MessageIdTaken {
        /// The id.
        id: MessageId,
    },
    /// The id is older than those held to recognise what comes again.
    #[error("message id {id} is not younger than {let_go}, so it cannot be told from a repetition")]
    MessageIdTooOld {
        /// The id.
        id: MessageId,
        /// The youngest id no longer held.
        let_go: MessageId,
    },
    /// The id is no UUID of version 7.
    #[error("message id {id} is not a UUID of version 7")]
    MessageIdVersion {
        /// The id.
        id: MessageId,
    },
    /// The id's time lies too far ahead: the ids that its sender makes later would be too old.
    #[error(
        "message id {id} is {ahead_ms} ms ahead of the broker's clock, and {most_ms} ms are allowed"
    )]
    MessageIdAhead {
        /// The id.
        id: MessageId,
        /// How far, in ms.
        ahead_ms: u64,
        /// The most that is allowed, in ms.
        most_ms: u64,
    },
    /// A deadline has passed and must be recorded first.
    #[error("a deadline of {due:?} has passed and comes first")]
    DeadlineFirst {
        /// When it was.
        due: Timestamp,
    },
    /// The session has ended; nobody leaves it any more.
    #[error("session {session} has ended, it is {state}")]
    Ended {
        /// The session.
        session: SessionId,
        /// CLOSED or FAILED.
        state: State,
    },
    /// The last coordinator cannot leave, only close.
    #[error("agent {agent} is the last coordinator, which cannot leave but only close")]
    LastCoordinator {
        /// The agent.
        agent: AgentId,
    },
    /// Only an escalated session is resumed.
    #[error("session {session} is {state}, and only one that is ESCALATED is resumed")]
    NotEscalated {
        /// The session.
        session: SessionId,
        /// Where it stands.
        state: State,
    },
    /// A limit is broken.
    #[error(transparent)]
    OutOfLimit(#[from] OutOfLimit),
    /// The payload is not the body of its performative.
    #[error(transparent)]
    Body(#[from] BodyError),
    /// The payload describes a commitment wrongly.
    #[error(transparent)]
    Offer(#[from] InvalidOffer),
    /// A COMMIT, and nothing else, offers a commitment.
    #[error("a COMMIT, and nothing else, offers a commitment")]
    OffersNone,
    /// The sender has a key, and has not signed.
    #[error("agent {agent} has the key {key} and signs what it sends")]
    Unsigned {
        /// The sender.
        agent: AgentId,
        /// Its key.
        key: PublicKey,
    },
    /// The sender has signed, and has no key that the signature could be checked with.
    #[error("agent {agent} has signed, and has no public key")]
    SignedWithoutKey {
        /// The sender.
        agent: AgentId,
    },
    /// The signature is not the sender's.
    #[error(transparent)]
    ForgedSignature(#[from] ForgedSignature),
}

/// Why a session is not begun. Nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CreateError {
    /// A limit is broken.
    #[error(transparent)]
    OutOfLimit(#[from] OutOfLimit),
    /// The metadata has no canonical form.
    #[error("the metadata cannot be kept: {0}")]
    Metadata(#[from] NotCanonical),
    /// Those who take part are none who could.
    #[error(transparent)]
    Illegal(#[from] IllegalEvent),
    /// The invitation is refused.
    #[error("the invitation is refused: {0}")]
    Invitation(#[from] SendError),
}

impl SendError {
    /// The rule, where the same is found in a record.
    pub(super) fn rule(&self) -> &'static str {
        match self {
            Self::UnknownSession(_) => "there is no such session",
            Self::NotParticipant { .. } => "an agent in it is not in the session",
            Self::Illegal { .. } => "the transition table does not allow it",
            Self::OfferNotOpen { .. } => "it answers no open offer",
            Self::PerformativeConstrained { .. } | Self::TrustTooLow { .. } => {
                "it breaks a constraint of the message that it answers"
            }
            Self::DelegateBringsOne => "a DELEGATE, and nothing else, brings one agent in",
            Self::AlreadyParticipant { .. } => "the agent it brings takes part already",
            Self::RoleAboveOwn { .. } => "only a coordinator brings in a coordinator",
            Self::MessageIdTaken { .. } => "its message id is taken",
            Self::MessageIdTooOld { .. } => "its message id is too old",
            Self::MessageIdVersion { .. } => "its message id is not a UUID of version 7",
            Self::MessageIdAhead { .. } => "its message id lies too far ahead of the clock",
            Self::DeadlineFirst { .. } => "a deadline that had passed is not recorded before it",
            Self::Ended { .. } => "the session has ended",
            Self::LastCoordinator { .. } => "the last coordinator cannot leave, only close",
            Self::NotEscalated { .. } => "the session is not escalated",
            Self::OutOfLimit(_) => "it breaks a limit",
            Self::Body(_) | Self::Offer(_) => "its payload is not the body of its performative",
            Self::OffersNone => "a COMMIT, and nothing else, offers a commitment",
            Self::Unsigned { .. } | Self::SignedWithoutKey { .. } | Self::ForgedSignature(_) => {
                "its signature is not its sender's"
            }
        }
    }
}

fn names(performatives: &[Performative]) -> String {
    if performatives.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<_> = performatives.iter().map(|said| said.name()).collect();
    names.join(", ")
}

fn refers(offer: &Option<MessageId>) -> String {
    offer.map_or_else(
        || "and names none".to_owned(),
        |offer| format!("and {offer} is none that this sender may answer or take back"),
    )
}
