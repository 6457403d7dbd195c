//! Agents, sessions, tool calls, promises and money on the record. Each organisation has topics of
//! its own, made when it first uses them: `__asp.registry`, `__asp.sessions`, `__asp.tools`,
//! `__asp.commitments`, `__asp.escrow`; and all share `__asp.evidence`, of what the broker saw, and
//! `__asp.market`. A command is checked against what they fold to, recorded in one entry, and
//! applied.
//!
//! Invariant: what a topic's state says is what its records say, in their order; a snapshot or a
//! replay gives the same state. Where a topic can't be read, what needs it is refused, and all
//! else goes on.
//!
//! Not here: what may follow what (the `asp` room), walks through a topic (the server, which may
//! wait for the disk), names on the wire.

mod agents;
mod agreed;
mod arbitration;
mod commitments;
mod copied;
mod disputes;
mod elsewhere;
mod error;
mod escrow;
mod evidence;
mod held;
mod listing;
mod market;
mod matters;
mod metering;
mod open;
mod places;
mod promised;
mod ratings;
mod record;
mod resolve;
mod sessions;
mod shop;
mod snapshot;
mod tools;
mod upkeep;
mod waiters;

pub use agents::{AgentSeen, AgentsSeen, Register};
pub use commitments::{CommitmentSeen, LookedFor, NewCommitment};
pub use copied::CopiedTopic;
pub use disputes::{DisputeSeen, NewDispute};
pub use elsewhere::{Copied, SessionCopied};
pub use error::AspError;
pub use escrow::{BalanceSeen, Payment};
pub use evidence::{EVIDENCE_TOPIC, TrustSeen};
pub use listing::{EndedToWalk, InboxTopic, LivePage, Reads, SessionHead};
pub use market::{ListingDone, SubscriptionDone};
pub use matters::MatterHeld;
pub use places::{CommitmentPlace, LedgerPlace};
pub use promised::{ClosedToWalk, LiveCommitments, LiveDisputes, Sight};
pub use ratings::{EndorsementSeen, RatingSeen};
pub use resolve::Named;
pub use sessions::{Addressed, Invited, NewSession, SentMessage, SessionSeen};
pub use shop::{
    ListedAgent, ListingSeen, MAX_SUBSCRIPTION_PAGE, MarketToSearch, SubscriptionSeen,
    SubscriptionsAsked,
};
pub use snapshot::{SnapshotEnd, SnapshotJob};
pub use tools::{CallSeen, CallStep, CallsToWalk, NewCall};
pub use waiters::AspWaiter;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::topic::TopicError;
use crate::asp::commitment::Commitments;
use crate::asp::escrow::Escrow;
use crate::asp::market::Market;
use crate::asp::registry::Agents;
use crate::asp::session::Sessions;
use crate::asp::tool::Tools;
use crate::asp::trust::TrustState;
use crate::types::{Incarnation, Offset, OrgId, SessionId};
use copied::CopiedTopics;
use waiters::Waiters;

/// The agents of all organisations.
#[derive(Default)]
pub(super) struct Asp {
    orgs: BTreeMap<OrgId, OrgAsp>,
    /// Sessions that are held and have participants of other organisations, and where they lie.
    shared: HashMap<SessionId, OrgId>,
    waiters: Waiters,
    /// What the broker saw agents do, of all organisations; made with its first record.
    evidence: Option<Topic<TrustState>>,
    /// Listings and subscriptions of all organisations; made with its first record.
    market: Option<Topic<Market>>,
    /// Sessions of subscriptions may have ended and not be metered.
    may_have_strays: bool,
    /// What copies of other regions' topics of agents fold to.
    pub(super) copied: CopiedTopics,
}

/// What one organisation has on the record of its agents.
pub(super) struct OrgAsp {
    registry: Topic<Agents>,
    sessions: Topic<Sessions>,
    tools: Topic<Tools>,
    commitments: Topic<Commitments>,
    escrow: Topic<Escrow>,
}

/// A topic and what it folds to.
struct Topic<S> {
    log: Incarnation,
    /// Shared with searches and snapshots under way: a change copies it only then.
    state: Arc<S>,
    /// Why nobody knows what it says, if so: until it is repaired and the broker started again.
    unknown: Option<Arc<TopicError>>,
    /// Records since the last snapshot.
    unsaved: u64,
    /// A snapshot is being written that goes up to here.
    saving: Option<Offset>,
}

impl<S> Topic<S> {
    fn known(&self) -> Result<&S, AspError> {
        match &self.unknown {
            None => Ok(&self.state),
            Some(reason) => Err(AspError::Unavailable(reason.clone())),
        }
    }

    /// The state, to be looked at without the broker's lock.
    fn shared(&self) -> Result<Arc<S>, AspError> {
        self.known()?;
        Ok(self.state.clone())
    }
}
