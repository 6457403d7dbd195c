//! Requests about agents, what they do, what they promise and what is offered of them: between the wire and the broker.
//!
//! What is said in a session is checked here, without the broker's lock, as far as that goes: its
//! form, its canonical payload, its signature. Whatever walks through a topic does so on a thread
//! that may wait for the disk; whoever waits for the next record does so in a task of its own.

mod agents;
mod commitments;
mod copies;
mod cursor;
mod disputes;
mod escrow;
mod evidence;
mod filed;
mod first;
mod history;
mod inbox;
mod listings;
mod market;
mod market_rows;
mod matters;
pub(super) mod places;
mod promises;
mod reader;
mod reads;
mod refused;
mod sending;
mod sessions;
mod tools;
mod trust;
mod waiting;

pub(super) use matters::find_matter;
pub(super) use refused::refused;
pub(super) use sending::{Prepared, prepare};
pub(super) use waiting::{find, limit, record_bytes, waits};

use super::access::Caller;
use super::auditing::Draft;
use super::clock;
use super::dispatch::Answered;
use super::shared::Shared;
use crate::broker::asp::AspWaiter;
use crate::broker::{Refusal, Wait};
use crate::protocol::{AspRequest, AspResponse, Response};

/// What a look found.
pub(super) enum Looked {
    /// The answer, to be sent once its wait is over.
    Answer(AspResponse, Option<Wait>),
    /// Nothing new: what to wait for, and the answer when nobody waits any longer, with its wait.
    Nothing(AspWaiter, AspResponse, Option<Wait>),
}

impl Looked {
    fn answer(response: AspResponse, wait: Wait) -> Self {
        Self::Answer(response, Some(wait))
    }
}

/// Carries out a request that may wait for the disk, and does not wait for anything to be said.
///
/// # Errors
/// The refusal.
pub(super) fn carry_out(shared: &Shared, caller: &Caller, request: &AspRequest) -> Answered {
    match look(shared, caller, request)? {
        Looked::Answer(response, wait) => Ok((Response::Asp(response.into()), wait)),
        Looked::Nothing(_, empty, wait) => Ok((Response::Asp(empty.into()), wait)),
    }
}

/// What a request finds now.
fn look(shared: &Shared, caller: &Caller, request: &AspRequest) -> Result<Looked, Refusal> {
    let by = &caller.principal;
    let now = clock::now();
    let act = || Draft::of_agents(request).done_by(caller);
    match request {
        AspRequest::AgentRegister(register) => agents::register(shared, caller, register, now),
        AspRequest::AgentDeregister(gone) => {
            let mut broker = shared.broker();
            let accepted = broker.acting(act(), |broker| {
                broker.deregister_agent(by, &gone.agent, now)
            })?;
            Ok(agents::changed(accepted, AspResponse::AgentDeregister))
        }
        AspRequest::AgentAvailability(changed) => {
            let availability = changed.availability.clone();
            let mut broker = shared.broker();
            let accepted = broker.change_availability(by, &changed.agent, availability, now)?;
            Ok(agents::changed(accepted, AspResponse::AgentAvailability))
        }
        AspRequest::AgentSetKey(set) => {
            let mut broker = shared.broker();
            let accepted = broker.acting(act(), |broker| {
                broker.set_agent_key(by, &set.agent, set.public_key, now)
            })?;
            Ok(agents::changed(accepted, AspResponse::AgentSetKey))
        }
        AspRequest::AgentInfo(info) => agents::info(shared, by, info, now),
        AspRequest::AgentSearch(search) => agents::search(shared, by, search, now),
        AspRequest::AgentInbox(inbox) => inbox::look(shared, by, inbox, now),
        AspRequest::SessionCreate(create) => sessions::create(shared, by, create, now),
        AspRequest::SessionList(list) => sessions::list(shared, by, list, now),
        AspRequest::SessionInfo(info) => sessions::info(shared, by, info, now),
        AspRequest::SessionHistory(history) => history::look(shared, by, history, now),
        AspRequest::SessionLeave(leave) => {
            let mut broker = shared.broker();
            let accepted = broker.leave_session(by, leave.session_id, &leave.agent, now)?;
            Ok(sessions::changed(accepted, AspResponse::SessionLeave))
        }
        AspRequest::SessionResume(resume) => {
            let mut broker = shared.broker();
            let accepted = broker.acting(act(), |broker| {
                broker.resume_session(by, resume.session_id, now)
            })?;
            Ok(sessions::changed(accepted, AspResponse::SessionResume))
        }
        AspRequest::SessionSend(send) => sending::look(shared, caller, send),
        AspRequest::ToolStart(start) => tools::start(shared, by, start, now),
        AspRequest::ToolProgress(progress) => tools::progress(shared, by, progress, now),
        AspRequest::ToolFinish(finish) => tools::finish(shared, by, finish, now),
        AspRequest::ToolFail(fail) => tools::fail(shared, by, fail, now),
        AspRequest::ToolList(list) => tools::list(shared, by, list, now),
        AspRequest::ToolInfo(info) => tools::info(shared, by, info, now),
        AspRequest::ToolStats(stats) => tools::stats(shared, by, stats, now),
        AspRequest::CommitmentCreate(asked) => commitments::create(shared, by, asked, now),
        AspRequest::CommitmentDeliver(asked) => commitments::deliver(shared, by, asked, now),
        AspRequest::CommitmentConfirm(asked) => commitments::confirm(shared, by, asked, now),
        AspRequest::CommitmentWindow(asked) => commitments::window(shared, by, asked, now),
        AspRequest::CommitmentList(asked) => commitments::list(shared, by, asked, now),
        AspRequest::CommitmentInfo(asked) => commitments::info(shared, by, asked, now),
        AspRequest::CommitmentReceipt(asked) => commitments::receipt(shared, by, asked, now),
        AspRequest::DisputeCreate(asked) => disputes::create(shared, by, asked, now),
        AspRequest::DisputeAnswer(asked) => disputes::answer(shared, by, asked, now),
        AspRequest::DisputeWithdraw(asked) => disputes::withdraw(shared, by, asked, now),
        AspRequest::DisputeRule(asked) => disputes::rule(shared, by, asked, act(), now),
        AspRequest::DisputeList(asked) => disputes::list(shared, by, asked, now),
        AspRequest::DisputeInfo(asked) => disputes::info(shared, by, asked, now),
        AspRequest::TrustScore(asked) => trust::score(shared, by, asked, now),
        AspRequest::TrustExplain(asked) => trust::explain(shared, by, asked, now),
        AspRequest::TrustEndorse(asked) => trust::endorse(shared, by, asked, now),
        AspRequest::TrustRate(asked) => trust::rate(shared, by, asked, now),
        AspRequest::OrgVerify(asked) => trust::verify(shared, by, asked, act(), now),
        AspRequest::EscrowDeposit(asked) => escrow::deposit(shared, by, asked, act(), now),
        AspRequest::EscrowWithdraw(asked) => escrow::withdraw(shared, by, asked, act(), now),
        AspRequest::EscrowBalance(asked) => escrow::balance(shared, by, asked, now),
        AspRequest::EscrowLedger(asked) => escrow::ledger(shared, by, asked, now),
        AspRequest::MarketCreate(asked) => market::create(shared, by, asked, now),
        AspRequest::MarketUpdate(asked) => market::update(shared, by, asked, now),
        AspRequest::MarketSubmit(asked) => market::submit(shared, by, asked, now),
        AspRequest::MarketReview(asked) => market::review(shared, by, asked, act(), now),
        AspRequest::MarketArchive(asked) => market::archive(shared, by, asked, now),
        AspRequest::MarketSearch(asked) => market::search(shared, by, asked, now),
        AspRequest::MarketInfo(asked) => market::info(shared, by, asked, now),
        AspRequest::MarketSubscribe(asked) => market::subscribe(shared, by, asked, now),
        AspRequest::MarketApprove(asked) => market::approve(shared, by, asked, now),
        AspRequest::MarketCancel(asked) => market::cancel(shared, by, asked, now),
        AspRequest::MarketRate(asked) => market::rate(shared, by, asked, now),
        AspRequest::MarketSubscriptions(asked) => market::subscriptions(shared, by, asked, now),
        AspRequest::CopiesRead(asked) => copies::read(shared, by, asked, now),
        AspRequest::MarketUsage(asked) => market::usage(shared, by, asked, now),
    }
}
