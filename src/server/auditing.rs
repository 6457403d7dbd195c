//! Requests as acts on the record: what is administrative, and what was refused.

use std::fmt::Display;
use std::net::SocketAddr;

use super::access::Caller;
use super::clock;
use super::shared::Shared;
use crate::access::{AuditAct, AuditOutcome, Principal};
use crate::asp::escrow::Currency;
use crate::asp::registry::AgentRef;
use crate::broker::Broker;
use crate::protocol::access::AccessRequest;
use crate::protocol::region::{ConsentSet, RegionLeave};
use crate::protocol::{AspRequest, ErrorCode, Kind, RegionRequest, Request, WireError};
use crate::region::directory::Scope;
use crate::types::{ChannelName, OrgName, RegionName, SessionId};

/// What is recorded of a request before it is carried out.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    kind: Kind,
    target: String,
}

impl Draft {
    /// A request as an act.
    pub fn of(request: &Request) -> Self {
        Self {
            kind: request.kind(),
            target: target_of(request),
        }
    }

    /// A request about agents, sessions or tool calls as an act.
    pub fn of_agents(request: &AspRequest) -> Self {
        Self {
            kind: request.kind(),
            target: target_among_agents(request),
        }
    }

    /// A request about regions as an act.
    pub fn of_region(request: &RegionRequest) -> Self {
        Self {
            kind: request.kind(),
            target: target_among_regions(request),
        }
    }

    /// A message in a session.
    pub fn of_message(session: SessionId, from: &AgentRef) -> Self {
        Self {
            kind: Kind::SessionSend,
            target: format!("{session} {from}"),
        }
    }

    /// A publish that makes its channels.
    pub fn of_making(kind: Kind, channels: &[&ChannelName]) -> Self {
        let names: Vec<&str> = channels.iter().map(|name| name.as_str()).collect();
        let target = names.join(" ");
        Self { kind, target }
    }

    /// A copy that a region asks for.
    pub fn of_copying(channel: &ChannelName, region: &RegionName) -> Self {
        Self {
            kind: Kind::LinkFollow,
            target: format!("{channel} {region}"),
        }
    }

    /// The act, done by somebody.
    pub fn done_by(self, caller: &Caller) -> AuditAct {
        let (who, from) = (Some(caller.principal), caller.peer);
        act(who, from, self.kind, self.target, AuditOutcome::Done)
    }

    /// Records that it was refused, where that is worth a record: an administrative act whatever
    /// the reason, any other because the caller may not.
    pub fn refused(self, broker: &mut Broker, caller: &Caller, error: &WireError) {
        let is_denied = matches!(
            error.known(),
            Some(
                ErrorCode::Forbidden
                    | ErrorCode::NotYourAgent
                    | ErrorCode::OrgKeyRequired
                    | ErrorCode::NoConsent
            )
        );
        if !(is_denied || is_administrative(self.kind)) || error.retryable {
            return;
        }
        let (who, from) = (Some(caller.principal), caller.peer);
        let outcome = refusal(error);
        broker.audit(
            act(who, from, self.kind, self.target, outcome),
            clock::now(),
        );
    }
}

/// Records that a client was not let in.
pub(super) fn turned_away(shared: &Shared, peer: SocketAddr, error: &WireError) {
    let act = act(None, Some(peer), Kind::Hello, String::new(), refusal(error));
    shared.broker().audit(act, clock::now());
    shared.wake_committer();
}

fn refusal(error: &WireError) -> AuditOutcome {
    let code = error.known().unwrap_or(ErrorCode::Internal);
    AuditOutcome::Refused { error: code.name() }
}

fn act(
    who: Option<Principal>,
    from: Option<SocketAddr>,
    kind: Kind,
    target: String,
    outcome: AuditOutcome,
) -> AuditAct {
    AuditAct {
        who,
        from: from.map_or(String::new(), |from| from.to_string()),
        act: kind.name(),
        target,
        detail: String::new(),
        outcome,
    }
}

/// Whether a request changes what there is and who may use it, or what the broker does.
fn is_administrative(kind: Kind) -> bool {
    match kind {
        Kind::ChannelCreate
        | Kind::ChannelUpdate
        | Kind::ChannelDelete
        | Kind::ChannelRotateKey
        | Kind::BrokerScrub
        | Kind::OrgCreate
        | Kind::OrgLimit
        | Kind::KeyCreate
        | Kind::KeyRotate
        | Kind::KeyRevoke
        | Kind::GrantPropose
        | Kind::GrantAccept
        | Kind::GrantRevoke
        | Kind::AgentRegister
        | Kind::AgentDeregister
        | Kind::AgentSetKey
        | Kind::SessionResume
        | Kind::DisputeRule
        | Kind::OrgVerify
        | Kind::EscrowDeposit
        | Kind::EscrowWithdraw
        | Kind::RegionPurge
        | Kind::RegionMove
        | Kind::RegionRetry
        | Kind::RegionAside
        | Kind::RegionAcknowledge
        | Kind::RegionPeer
        | Kind::DirectoryMove
        | Kind::RegionLeave
        | Kind::DirectoryUnname
        | Kind::ConsentSet
        | Kind::InterestAdd
        | Kind::InterestRemove
        | Kind::MarketReview => true,
        Kind::Hello
        | Kind::Ping
        | Kind::Publish
        | Kind::PublishAtomic
        | Kind::Fetch
        | Kind::FetchBeyond
        | Kind::Commit
        | Kind::ChannelList
        | Kind::ChannelInfo
        | Kind::ChannelResolve
        | Kind::ConsumerList
        | Kind::ConsumerPosition
        | Kind::ConsumerReset
        | Kind::ConsumerLag
        | Kind::ConsumerDelete
        | Kind::BrokerInfo
        | Kind::OrgList
        | Kind::KeyList
        | Kind::GrantList
        | Kind::AgentAvailability
        | Kind::AgentInfo
        | Kind::AgentSearch
        | Kind::AgentInbox
        | Kind::SessionCreate
        | Kind::SessionList
        | Kind::SessionInfo
        | Kind::SessionSend
        | Kind::SessionHistory
        | Kind::SessionLeave
        | Kind::ToolStart
        | Kind::ToolProgress
        | Kind::ToolFinish
        | Kind::ToolFail
        | Kind::ToolList
        | Kind::ToolInfo
        | Kind::ToolStats
        | Kind::CommitmentCreate
        | Kind::CommitmentDeliver
        | Kind::CommitmentConfirm
        | Kind::CommitmentWindow
        | Kind::CommitmentList
        | Kind::CommitmentInfo
        | Kind::CommitmentReceipt
        | Kind::DisputeCreate
        | Kind::DisputeAnswer
        | Kind::DisputeWithdraw
        | Kind::DisputeList
        | Kind::DisputeInfo
        | Kind::TrustScore
        | Kind::TrustExplain
        | Kind::TrustEndorse
        | Kind::TrustRate
        | Kind::EscrowBalance
        | Kind::EscrowLedger
        | Kind::MarketCreate
        | Kind::MarketUpdate
        | Kind::MarketSubmit
        | Kind::MarketArchive
        | Kind::MarketSearch
        | Kind::MarketInfo
        | Kind::MarketSubscribe
        | Kind::MarketApprove
        | Kind::MarketCancel
        | Kind::MarketRate
        | Kind::MarketSubscriptions
        | Kind::LinkOpen
        | Kind::LinkLogs
        | Kind::LinkFollow
        | Kind::LinkUnfollow
        | Kind::LinkFetch
        | Kind::LinkForward
        | Kind::LinkDigest
        | Kind::LinkSeen
        | Kind::HomeFence
        | Kind::HomeDecline
        | Kind::HomeTake
        | Kind::RegionList
        | Kind::RegionStatus
        | Kind::RegionVerify
        | Kind::InterestList
        | Kind::RegionLogs
        | Kind::LinkDirectory
        | Kind::LinkCreate
        | Kind::LinkFind
        | Kind::ConsentList
        | Kind::CopiesRead
        | Kind::MarketUsage => false,
    }
}

/// What a request is about, in its own words.
fn target_of(request: &Request) -> String {
    match request {
        Request::Publish(publish) => publish.target.channel.to_string(),
        Request::Fetch(fetch) => fetch.channel.to_string(),
        Request::FetchBeyond(beyond) => beyond.fetch.channel.to_string(),
        Request::Commit(commit) => commit.channel.to_string(),
        Request::ChannelCreate(create) => create.name.to_string(),
        Request::ChannelInfo(named) | Request::ChannelRotateKey(named) => named.name.to_string(),
        Request::ChannelUpdate(update) => update.name.to_string(),
        Request::ChannelDelete(delete) => delete.name.to_string(),
        Request::ChannelResolve(resolve) => resolve.channel.to_string(),
        Request::ConsumerList(list) => list.channel.to_string(),
        Request::ConsumerPosition(target) | Request::ConsumerDelete(target) => {
            format!("{} {}", target.channel, target.consumer)
        }
        Request::ConsumerReset(reset) => format!("{} {}", reset.channel, reset.consumer),
        Request::ConsumerLag(lag) => {
            let channel = lag.channel.as_ref();
            channel.map_or(String::new(), ToString::to_string)
        }
        Request::Access(request) => match request {
            AccessRequest::OrgCreate(org) => org.name.to_string(),
            AccessRequest::OrgLimit(org) => org.name.to_string(),
            AccessRequest::KeyCreate(key) => key.name.clone(),
            AccessRequest::KeyRotate(key) => key.key.to_string(),
            AccessRequest::KeyRevoke(key) => key.key.to_string(),
            AccessRequest::GrantPropose(grant) => grant.channels.to_string(),
            AccessRequest::GrantAccept(grant) => grant.grant.to_string(),
            AccessRequest::GrantRevoke(grant) => grant.grant.to_string(),
            AccessRequest::OrgList(_) | AccessRequest::KeyList(_) | AccessRequest::GrantList(_) => {
                String::new()
            }
        },
        Request::Asp(request) => target_among_agents(request),
        Request::Region(request) => target_among_regions(request),
        Request::LinkForward(forward) => format!("for {}", forward.forwarded_by),
        Request::LinkFetch(_) => String::new(),
        Request::Hello(_)
        | Request::Ping
        | Request::PublishAtomic(_)
        | Request::ChannelList(_)
        | Request::BrokerInfo(_)
        | Request::BrokerScrub(_) => String::new(),
    }
}

/// What a request about agents, sessions or tool calls is about.
fn target_among_agents(request: &AspRequest) -> String {
    match request {
        AspRequest::AgentRegister(register) => register.name.to_string(),
        AspRequest::AgentDeregister(deregister) => deregister.agent.to_string(),
        AspRequest::AgentAvailability(availability) => availability.agent.to_string(),
        AspRequest::AgentSetKey(key) => key.agent.to_string(),
        AspRequest::AgentInfo(info) => info.agent.to_string(),
        AspRequest::AgentInbox(inbox) => inbox.agent.to_string(),
        AspRequest::SessionInfo(info) => info.session_id.to_string(),
        AspRequest::SessionSend(send) => Draft::of_message(send.session_id, &send.from).target,
        AspRequest::SessionHistory(history) => history.session_id.to_string(),
        AspRequest::SessionLeave(leave) => format!("{} {}", leave.session_id, leave.agent),
        AspRequest::SessionResume(resume) => resume.session_id.to_string(),
        AspRequest::ToolStart(start) => format!("{} {}", start.call_id, start.agent),
        AspRequest::ToolProgress(progress) => progress.call_id.to_string(),
        AspRequest::ToolFinish(finish) => finish.call_id.to_string(),
        AspRequest::ToolFail(fail) => fail.call_id.to_string(),
        AspRequest::ToolInfo(info) => info.call_id.to_string(),
        AspRequest::CommitmentCreate(create) => format!("{} {}", create.id, create.agent_id),
        AspRequest::CommitmentDeliver(deliver) => deliver.commitment_id.to_string(),
        AspRequest::CommitmentConfirm(confirm) => {
            done_for(confirm.commitment_id, confirm.agent_id.as_ref())
        }
        AspRequest::CommitmentWindow(window) => {
            done_for(window.commitment_id, window.agent_id.as_ref())
        }
        AspRequest::CommitmentInfo(info) => info.commitment_id.to_string(),
        AspRequest::CommitmentReceipt(receipt) => receipt.commitment_id.to_string(),
        AspRequest::DisputeCreate(create) => {
            let dispute = format!("{} {}", create.id, create.commitment_id);
            done_for(dispute, create.agent_id.as_ref())
        }
        AspRequest::DisputeAnswer(answer) => answer.dispute_id.to_string(),
        AspRequest::DisputeWithdraw(withdraw) => withdraw.dispute_id.to_string(),
        AspRequest::DisputeRule(rule) => done_for(rule.dispute_id, rule.agent_id.as_ref()),
        AspRequest::DisputeInfo(info) => info.dispute_id.to_string(),
        AspRequest::TrustScore(ask) => ask.agent_id.to_string(),
        AspRequest::TrustExplain(explain) => explain.agent_id.to_string(),
        AspRequest::TrustEndorse(endorse) => format!("{} {}", endorse.agent_id, endorse.from),
        AspRequest::TrustRate(rate) => {
            format!("{} {} {}", rate.session_id, rate.agent_id, rate.from)
        }
        AspRequest::OrgVerify(verify) => verify.org.to_string(),
        AspRequest::EscrowDeposit(deposit) => money(
            deposit.agent_id.as_ref(),
            deposit.org.as_ref(),
            deposit.amount,
            deposit.currency,
        ),
        AspRequest::EscrowWithdraw(withdraw) => money(
            withdraw.agent_id.as_ref(),
            withdraw.org.as_ref(),
            withdraw.amount,
            withdraw.currency,
        ),
        AspRequest::EscrowBalance(balance) => {
            account(balance.agent_id.as_ref(), balance.org.as_ref())
        }
        AspRequest::EscrowLedger(ledger) => account(ledger.agent_id.as_ref(), ledger.org.as_ref()),
        AspRequest::MarketCreate(create) => create.id.map_or(String::new(), |id| id.to_string()),
        AspRequest::MarketUpdate(update) => update.listing_id.to_string(),
        AspRequest::MarketSubmit(submit) => submit.listing_id.to_string(),
        AspRequest::MarketReview(review) => format!("{} {}", review.listing_id, review.verdict),
        AspRequest::MarketArchive(archive) => archive.listing_id.to_string(),
        AspRequest::MarketInfo(info) => info.listing_id.to_string(),
        AspRequest::MarketSubscribe(subscribe) => match subscribe.id {
            Some(id) => format!("{id} {}", subscribe.listing_id),
            None => subscribe.listing_id.to_string(),
        },
        AspRequest::MarketApprove(approve) => {
            format!("{} {}", approve.subscription_id, approve.verdict)
        }
        AspRequest::MarketCancel(cancel) => cancel.subscription_id.to_string(),
        AspRequest::MarketRate(rate) => rate.listing_id.to_string(),
        AspRequest::MarketUsage(usage) => usage.subscription_id.to_string(),
        AspRequest::AgentSearch(_)
        | AspRequest::CopiesRead(_)
        | AspRequest::CommitmentList(_)
        | AspRequest::DisputeList(_)
        | AspRequest::MarketSearch(_)
        | AspRequest::MarketSubscriptions(_)
        | AspRequest::SessionCreate(_)
        | AspRequest::SessionList(_)
        | AspRequest::ToolList(_)
        | AspRequest::ToolStats(_) => String::new(),
    }
}

fn target_among_regions(request: &RegionRequest) -> String {
    match request {
        RegionRequest::InterestAdd(add) => add.pattern.to_string(),
        RegionRequest::InterestRemove(remove) => remove.pattern.to_string(),
        RegionRequest::RegionVerify(verify) => verify.name.to_string(),
        RegionRequest::RegionPurge(purge) => purge.name.to_string(),
        RegionRequest::RegionLogs(logs) => logs.channel.to_string(),
        RegionRequest::RegionMove(moved) => format!("{} {}", moved.name, moved.to),
        RegionRequest::RegionRetry(retry) => retry.name.to_string(),
        RegionRequest::RegionAside(aside) => aside.file().to_owned(),
        RegionRequest::RegionAcknowledge(asked) => asked.name.to_string(),
        RegionRequest::LinkOpen(open) => open.region.to_string(),
        RegionRequest::LinkCreate(asked) => format!("{} {}", asked.create.name, asked.by),
        RegionRequest::RegionPeer(peer) => peer.name.to_string(),
        RegionRequest::DirectoryMove(moved) => moved.to.to_string(),
        RegionRequest::DirectoryUnname(asked) => asked.channel.to_string(),
        RegionRequest::RegionLeave(RegionLeave {
            region: Some(region),
        }) => region.to_string(),
        RegionRequest::ConsentSet(word) => match word {
            ConsentSet::Residency { scope, .. } => match scope {
                Scope::Channel(name) => name.to_string(),
                Scope::Org(name) => name.to_string(),
            },
            ConsentSet::Crossing { owner, guest, .. } => format!("{owner} {guest}"),
        },
        _ => String::new(),
    }
}

/// Something that is done for an agent, where one is named.
fn done_for(what: impl Display, agent: Option<&AgentRef>) -> String {
    match agent {
        Some(agent) => format!("{what} {agent}"),
        None => what.to_string(),
    }
}

/// Whose account it is; nothing for that of one's own organisation.
fn account(agent: Option<&AgentRef>, org: Option<&OrgName>) -> String {
    match (agent, org) {
        (Some(agent), _) => agent.to_string(),
        (None, Some(org)) => org.to_string(),
        (None, None) => String::new(),
    }
}

/// A sum and whose account it is.
fn money(
    agent: Option<&AgentRef>,
    org: Option<&OrgName>,
    amount: u64,
    currency: Currency,
) -> String {
    let account = account(agent, org);
    format!("{amount} {currency} {account}")
        .trim_end()
        .to_owned()
}
