//! Requests about agents, their sessions, their tool calls, what they promise each other, how far
//! they are trusted and what is offered of them, and the answers: one list of kinds, JSON bodies. `docs/wire-protocol.md`,
//! "Agents".
//!
//! - [`agents`]: who they are and what they can do.
//! - [`sessions`]: what they say to each other.
//! - [`tools`]: what they call.
//! - [`commitments`]: what they promise each other.
//! - [`disputes`]: that a promise was not kept.
//! - [`evidence`]: what somebody points to in the broker's record.
//! - [`trust`]: how far they are trusted.
//! - [`escrow`]: money behind promises.
//! - [`copies`]: all of that in other regions, as far as it is known.
//! - [`market`]: what organisations list, and who subscribes to it; answers in [`market_rows`].
//!
//! Payloads, arguments and results are [`JsonText`]: the bytes of the sender, so that nothing is
//! reformatted on the way.

pub mod agents;
pub mod commitments;
pub mod copies;
pub mod disputes;
pub mod escrow;
pub mod evidence;
pub mod market;
pub mod market_rows;
pub mod sessions;
mod strict;
mod text;
pub mod tools;
pub mod trust;

use serde::Deserialize;
use serde::de::DeserializeOwned;

pub use self::agents::{
    AgentAvailability, AgentDeregister, AgentEntry, AgentInbox, AgentInfo, AgentProfile,
    AgentRegister, AgentRow, AgentSearch, AgentSetKey, AgentsPage, InboxPage,
};
pub use self::commitments::{
    CommitmentConfirm, CommitmentCreate, CommitmentDeliver, CommitmentInfo, CommitmentList,
    CommitmentReceipt, CommitmentRow, CommitmentSide, CommitmentWindow, CommitmentsPage,
    DeliveryRow, EndedRow, PartyRow, ReceiptExport, RuledRow,
};
pub use self::copies::{CopiesRead, CopiesTold, CopyAnswer, CopyAsk, CopyPart};
pub use self::disputes::{
    AnswerRow, DisputeAnswer, DisputeCreate, DisputeInfo, DisputeList, DisputeRow, DisputeRule,
    DisputeWithdraw, DisputesPage, RulingRow, SeatRow, VoteRow,
};
pub use self::escrow::{
    AccountOf, AccountRow, Balances, EscrowBalance, EscrowDeposit, EscrowEntry, EscrowLedger,
    EscrowPayment, EscrowStep, EscrowWithdraw, LedgerPage, MoneyPlace,
};
pub use self::evidence::{ChannelPlace, EvidencePlace, SessionPlace};
pub use self::market::{
    DEFAULT_LISTINGS, MarketApprove, MarketArchive, MarketCancel, MarketCreate, MarketInfo,
    MarketRate, MarketReview, MarketSearch, MarketSubmit, MarketSubscribe, MarketSubscriptions,
    MarketUpdate, MarketUsage, SubscriptionSide,
};
pub use self::market_rows::{
    ListedAgent, ListingChanged, ListingRow, ListingSeen, ListingsPage, MarketRated, MonthRow,
    PendingRow, RatingSummary, SubscriptionChanged, SubscriptionRow, SubscriptionsPage, TotalRow,
    UsageTold,
};
pub use self::sessions::{
    HistoryPage, HistoryRecord, Joining, ParticipantRow, SessionCreate, SessionHistory,
    SessionInfo, SessionLeave, SessionLimits, SessionList, SessionResume, SessionRow, SessionSend,
    SessionSent, SessionsPage,
};
pub use self::text::{InvalidJson, JsonText};
pub use self::tools::{
    CallOutcome, ToolFail, ToolFinish, ToolInfo, ToolList, ToolProgress, ToolRow, ToolStart,
    ToolStats, ToolStatsRow, ToolTotals, ToolsPage,
};
pub use self::trust::{
    EndorsementRow, EndorserRow, EvidenceRow, InvalidMillionths, Millionths, OrgVerify, PairRow,
    RatingRow, RemarkRow, ScopeRow, TrustAsk, TrustEndorse, TrustExplain, TrustExplained,
    TrustRate, TrustRow, VerifiedOrg,
};
use super::json_kinds::json_kinds;
use super::primitive::BodyError;
use crate::asp::registry::AgentRef;
use crate::types::AgentName;

json_kinds! {
    /// A request about agents, what they do, and what they promise.
    AspRequest;
    /// An answer about agents, what they do, and what they promise.
    AspResponse;

    /// Registers an agent, or replaces what it says of itself.
    AgentRegister(AgentRegister) -> AgentRow;
    /// Takes an agent out of search.
    AgentDeregister(AgentDeregister) -> AgentRow;
    /// Says whether an agent can be reached.
    AgentAvailability(AgentAvailability) -> AgentRow;
    /// Gives an agent a public key, another one, or none.
    AgentSetKey(AgentSetKey) -> AgentRow;
    /// Describes an agent.
    AgentInfo(AgentInfo) -> AgentProfile;
    /// Finds agents.
    AgentSearch(AgentSearch) -> AgentsPage;
    /// Reads what came for an agent, waiting for it if asked to.
    AgentInbox(AgentInbox) -> InboxPage;
    /// Begins a session.
    SessionCreate(SessionCreate) -> SessionRow;
    /// Lists sessions.
    SessionList(SessionList) -> SessionsPage;
    /// Describes a session.
    SessionInfo(SessionInfo) -> SessionRow;
    /// Says something in a session.
    SessionSend(SessionSend) -> SessionSent;
    /// Reads the records of a session, waiting for them if asked to.
    SessionHistory(SessionHistory) -> HistoryPage;
    /// Leaves a session.
    SessionLeave(SessionLeave) -> SessionRow;
    /// Lets an escalated session go on.
    SessionResume(SessionResume) -> SessionRow;
    /// Says that a tool is called.
    ToolStart(ToolStart) -> ToolRow;
    /// Says how far a call is.
    ToolProgress(ToolProgress) -> ToolRow;
    /// Says that a call has come to its result.
    ToolFinish(ToolFinish) -> ToolRow;
    /// Says that a call has failed.
    ToolFail(ToolFail) -> ToolRow;
    /// Lists tool calls.
    ToolList(ToolList) -> ToolsPage;
    /// Describes a tool call.
    ToolInfo(ToolInfo) -> ToolRow;
    /// Sums up the calls of each tool.
    ToolStats(ToolStats) -> ToolTotals;
    /// Promises something in a session.
    CommitmentCreate(CommitmentCreate) -> CommitmentRow;
    /// Says that what was promised is delivered.
    CommitmentDeliver(CommitmentDeliver) -> CommitmentRow;
    /// Says that a delivery is what was promised.
    CommitmentConfirm(CommitmentConfirm) -> CommitmentRow;
    /// Makes the time for judging a delivery shorter.
    CommitmentWindow(CommitmentWindow) -> CommitmentRow;
    /// Lists commitments.
    CommitmentList(CommitmentList) -> CommitmentsPage;
    /// Describes a commitment.
    CommitmentInfo(CommitmentInfo) -> CommitmentRow;
    /// Exports a receipt of a commitment.
    CommitmentReceipt(CommitmentReceipt) -> ReceiptExport;
    /// Says that a promise was not kept.
    DisputeCreate(DisputeCreate) -> DisputeRow;
    /// Answers a dispute.
    DisputeAnswer(DisputeAnswer) -> DisputeRow;
    /// Takes a dispute back.
    DisputeWithdraw(DisputeWithdraw) -> DisputeRow;
    /// Votes on a dispute, or rules on it.
    DisputeRule(DisputeRule) -> DisputeRow;
    /// Lists disputes.
    DisputeList(DisputeList) -> DisputesPage;
    /// Describes a dispute.
    DisputeInfo(DisputeInfo) -> DisputeRow;
    /// Tells how far an agent is trusted.
    TrustScore(TrustAsk) -> TrustRow;
    /// Tells why an agent is trusted so far.
    TrustExplain(TrustExplain) -> TrustExplained;
    /// Endorses an agent, or takes that back.
    TrustEndorse(TrustEndorse) -> EndorsementRow;
    /// Rates an agent for what it did in a session.
    TrustRate(TrustRate) -> RatingRow;
    /// Says whether an operator knows who an organisation is.
    OrgVerify(OrgVerify) -> VerifiedOrg;
    /// Puts money into an account.
    EscrowDeposit(EscrowDeposit) -> AccountRow;
    /// Takes money out of an account.
    EscrowWithdraw(EscrowWithdraw) -> AccountRow;
    /// Tells what accounts hold.
    EscrowBalance(EscrowBalance) -> Balances;
    /// Lists what happened to accounts.
    EscrowLedger(EscrowLedger) -> LedgerPage;
    /// Writes a listing down, as a draft.
    MarketCreate(MarketCreate) -> ListingChanged;
    /// Changes what a listing says.
    MarketUpdate(MarketUpdate) -> ListingChanged;
    /// Hands a listing in for review.
    MarketSubmit(MarketSubmit) -> ListingChanged;
    /// Says, as an operator, whether a listing may be shown.
    MarketReview(MarketReview) -> ListingChanged;
    /// Takes a listing down.
    MarketArchive(MarketArchive) -> ListingChanged;
    /// Finds listings.
    MarketSearch(MarketSearch) -> ListingsPage;
    /// Describes a listing.
    MarketInfo(MarketInfo) -> ListingSeen;
    /// Subscribes to a listing, or asks its owner to.
    MarketSubscribe(MarketSubscribe) -> SubscriptionChanged;
    /// Says, as the publisher, what becomes of a subscription.
    MarketApprove(MarketApprove) -> SubscriptionChanged;
    /// Ends a subscription.
    MarketCancel(MarketCancel) -> SubscriptionChanged;
    /// Rates a listing.
    MarketRate(MarketRate) -> MarketRated;
    /// Lists subscriptions.
    MarketSubscriptions(MarketSubscriptions) -> SubscriptionsPage;
    /// Tells what a subscription was used for, and what that costs.
    MarketUsage(MarketUsage) -> UsageTold;
    /// Reads what agents have said in other regions, as far as it is known here.
    CopiesRead(CopiesRead) -> CopiesTold;
}

/// Entries of a page where a request does not say how many.
pub const DEFAULT_PAGE: u32 = 100;

fn default_page() -> u32 {
    DEFAULT_PAGE
}

/// Reads a body. Where it cannot be read because of the name of an agent, the error says so.
fn json<T: DeserializeOwned>(body: &[u8]) -> Result<T, BodyError> {
    super::json_body::read(body).map_err(|error| bad_agent(body).unwrap_or(error))
}

/// What is wrong with an agent that a request names.
fn bad_agent(body: &[u8]) -> Option<BodyError> {
    /// The members that name agents in any of the requests.
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Named {
        name: Option<String>,
        agent: Option<String>,
        agent_id: Option<String>,
        counterparty: Option<String>,
        from: Option<serde_json::Value>,
        to: Option<String>,
        agents: Option<Vec<String>>,
        participants: Option<Vec<Participant>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Participant {
        agent_id: Option<String>,
    }
    let named: Named = serde_json::from_slice(body).ok()?;
    if let Some(error) = named.name.and_then(|name| AgentName::parse(&name).err()) {
        return Some(BodyError::Name(error));
    }
    // A listing names agents of one's own organisation.
    let mut listed = named.agents.iter().flatten();
    if let Some(error) = listed.find_map(|name| AgentName::parse(name).err()) {
        return Some(BodyError::Name(error));
    }
    // In a history, `from` is a number.
    let from = named
        .from
        .and_then(|from| from.as_str().map(ToOwned::to_owned));
    let invited = named.participants.into_iter().flatten();
    let agents = invited.filter_map(|participant| participant.agent_id);
    let others = named.agent_id.into_iter().chain(named.counterparty);
    let mut all = (agents.chain(named.agent).chain(from))
        .chain(named.to)
        .chain(others);
    all.find_map(|agent| AgentRef::parse(&agent).err())
        .map(BodyError::Agent)
}
