//! Why a command about agents is refused.

use std::sync::Arc;

use crate::asp::NotCanonical;
use crate::asp::chain::InvalidSignature;
use crate::asp::commitment::CommitmentError;
use crate::asp::dispute::DisputeError;
use crate::asp::escrow::EscrowError;
use crate::asp::market::MarketError;
use crate::asp::registry::{RegistryError, SearchError};
use crate::asp::session::{CreateError, SendError};
use crate::asp::tool::{InvalidProgress, ToolError};
use crate::asp::trust::EndorseError;
use crate::broker::topic::TopicError;
use crate::types::{
    AgentId, AgentName, CallId, ChannelName, CommitmentId, DisputeId, InvalidName, Offset, OrgName,
    RegionName, SessionId, Timestamp,
};

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
    /// No copy of a topic of agents in another region is here, or not all of it that was there when
    /// it was begun.
    #[error(
        "no copy of `{topic}` in region `{region}` is here yet: it has been asked for, and comes once \
         that region is linked"
    )]
    CopyNotHere {
        /// The topic, as that region calls it.
        topic: ChannelName,
        /// The region.
        region: RegionName,
    },
    /// A region has no such topic, or does not let it go to this region.
    #[error(
        "region `{region}` has no `{topic}` for this region: nothing has been recorded there yet, or \
         who may hold it does not include this region (`npayload consent list`)"
    )]
    CopyNotOffered {
        /// The topic, as that region calls it.
        topic: ChannelName,
        /// The region.
        region: RegionName,
    },
    /// Of another region's agents and sessions, copies show those of one's own organisation alone.
    #[error(
        "of what is copied from other regions that of your own organisation alone is shown, not that of `{0}`"
    )]
    OthersElsewhere(OrgName),
    /// A page of one region was to be gone on with in all of them.
    #[error("a cursor goes on in the region that gave it: name the region")]
    CursorOfOneRegion,
    /// The text says no agent.
    #[error(transparent)]
    Reference(#[from] InvalidName),
    /// The caller's key does not speak for the agent.
    #[error("the API key does not speak for agent `{agent}`")]
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
    /// The session can't be created.
    #[error(transparent)]
    Create(#[from] CreateError),
    /// The message is refused.
    #[error(transparent)]
    Send(#[from] SendError),
    /// The payload, the arguments or the result have no canonical form.
    #[error(transparent)]
    Payload(#[from] NotCanonical),
    /// The sender's public key was changed since its signature was judged.
    #[error("the public key of agent `{agent}` was changed while its message was judged")]
    KeyChanged {
        /// The agent.
        agent: AgentName,
    },
    /// The text is no signature.
    #[error(transparent)]
    SignatureText(#[from] InvalidSignature),
    /// What is delegated names nobody.
    #[error("whom a DELEGATE brings in: {0}")]
    Delegate(Arc<str>),
    /// Arguments or a result, and their digest beside them.
    #[error("either the value is given or its SHA-256, not both")]
    BothGiven,
    /// The progress is outside of its bounds.
    #[error(transparent)]
    Progress(#[from] InvalidProgress),
    /// There is no such commitment, or nobody in it is the caller's.
    #[error("there is no commitment {0}")]
    CommitmentNotFound(CommitmentId),
    /// What a COMMIT offers could not be accepted in time.
    #[error("the deadline of the offer, {deadline:?}, has passed; it is {now:?}")]
    OfferTooLate {
        /// The deadline.
        deadline: Timestamp,
        /// The broker's clock.
        now: Timestamp,
    },
    /// Money is booked in the ledger of the region that was meant, and in no other.
    #[error(
        "the ledger of region `{meant}` is meant, and this is {}",
        .here.as_ref().map_or_else(|| "no region".to_owned(), |here| format!("that of `{here}`"))
    )]
    OtherLedger {
        /// The region that was meant.
        meant: RegionName,
        /// This one; none where the broker is none.
        here: Option<RegionName>,
    },
    /// A COMMIT is promised to another agent than it is meant for.
    #[error(
        "the offer is to agent {counterparty}, and the message to {}",
        .recipient.map_or_else(|| "all".to_owned(), |agent| agent.to_string())
    )]
    OtherCounterparty {
        /// Whom the payload names.
        counterparty: AgentId,
        /// Whom the message names.
        recipient: Option<AgentId>,
    },
    /// The id of a commitment or a dispute may be one that is filed: these records of the topic are
    /// to be read first.
    #[error("the id is to be looked for in records of {channel} first")]
    LookFirst {
        /// The topic.
        channel: ChannelName,
        /// The records, the latest first.
        files: Vec<Offset>,
    },
    /// An offer was not accepted in time.
    #[error("the offer of commitment {0} has lapsed")]
    OfferLapsed(CommitmentId),
    /// There is no such dispute, or nobody in it is the caller's.
    #[error("there is no dispute {0}")]
    DisputeNotFound(DisputeId),
    /// The commitment does not allow it.
    #[error(transparent)]
    Commitment(Box<CommitmentError>),
    /// The dispute does not allow it.
    #[error(transparent)]
    Dispute(Box<DisputeError>),
    /// The ledger does not allow it.
    #[error(transparent)]
    Escrow(Box<EscrowError>),
    /// The market does not allow it.
    #[error(transparent)]
    Market(Box<MarketError>),
    /// Who rates has not worked with the agent, or is the agent.
    #[error("agent {agent} and who rates it have not both said something in the session")]
    NotCounterparty {
        /// Who was to be rated.
        agent: AgentId,
    },
    /// The endorsement is not one that counts.
    #[error(transparent)]
    Endorse(#[from] EndorseError),
    /// Who rates has rated the agent in that session, and otherwise.
    #[error(
        "agent {agent} was rated in session {session}, with {} of 1000, and is rated there once",
        .rating
    )]
    AlreadyRated {
        /// Who was to be rated.
        agent: AgentId,
        /// In which session.
        session: SessionId,
        /// The rating that it has, in thousandths.
        rating: u16,
    },
    /// A rating is outside of its bounds.
    #[error("a rating of {0} is outside 0..=1")]
    Rating(f64),
    /// There is no such organisation.
    #[error("there is no organisation `{0}`")]
    OrgNotFound(OrgName),
    /// Evidence points to what is not there, or says that it is another.
    #[error("evidence that points to {place}: {what}")]
    Evidence {
        /// The place.
        place: String,
        /// What is wrong.
        what: Arc<str>,
    },
    /// There is no such call.
    #[error("there is no tool call {0}")]
    CallNotFound(CallId),
    /// The call is refused.
    #[error(transparent)]
    Tool(#[from] ToolError),
    /// A record of a topic can't be read.
    #[error("internal topic {channel}, offset {offset}: {what}")]
    Damaged {
        /// The topic.
        channel: String,
        /// The record.
        offset: Offset,
        /// What is wrong.
        what: Arc<str>,
    },
    /// A cursor that this broker did not give.
    #[error("`{0}` is no cursor")]
    Cursor(String),
    /// A page of a list would be empty, or too long.
    #[error("a page of {asked} entries is outside 1..={most}")]
    PageLimit {
        /// Entries that were asked for.
        asked: u32,
        /// The most that are given.
        most: u32,
    },
    /// A topic is damaged: what it says is not known.
    #[error("not known until the topic is restored: {0}")]
    Unavailable(Arc<TopicError>),
}

impl AspError {
    /// The error of a cursor that no list has given.
    #[must_use]
    pub fn cursor(text: &str) -> Self {
        let shown = text.chars().take(64).flat_map(char::escape_debug);
        Self::Cursor(shown.collect())
    }
}

impl From<CommitmentError> for AspError {
    fn from(error: CommitmentError) -> Self {
        Self::Commitment(Box::new(error))
    }
}

impl From<DisputeError> for AspError {
    fn from(error: DisputeError) -> Self {
        Self::Dispute(Box::new(error))
    }
}

impl From<EscrowError> for AspError {
    fn from(error: EscrowError) -> Self {
        Self::Escrow(Box::new(error))
    }
}

impl From<MarketError> for AspError {
    fn from(error: MarketError) -> Self {
        Self::Market(Box::new(error))
    }
}
