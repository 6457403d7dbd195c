//! What the broker in memory knows of agents: one session, the tool calls, agents to be found.

use crate::asp::chain::Digest;
use crate::asp::commitment::{Judge, Mode};
use crate::asp::session::{Performative, State};
use crate::protocol::asp::{
    AccountOf, AccountRow, AgentEntry, AgentsPage, CallOutcome, CommitmentCreate, CommitmentRow,
    CommitmentsPage, DisputeCreate, EscrowDeposit, HistoryPage, HistoryRecord, InboxPage, JsonText,
    ParticipantRow, PartyRow, SessionHistory, SessionLimits, SessionRow, SessionSend, SessionSent,
    ToolRow,
};
use crate::protocol::{AspRequest, AspResponse, ErrorCode, Response, WireError};
use crate::types::{
    AgentId, AgentName, CallId, MessageId, Offset, OrgName, PrincipalId, SessionId, Timestamp,
};

pub(super) const SESSION: SessionId = SessionId(5);

#[derive(Debug, Default)]
pub(super) struct AspState {
    /// The messages of the session, which are all its records.
    pub(super) messages: Vec<(MessageId, String)>,
    pub(super) is_closed: bool,
    /// Most records of an answer.
    pub(super) page: usize,
    /// Answers with the record behind the one that was asked for.
    pub(super) skips: bool,
    /// Calls, and what they ended with.
    pub(super) calls: Vec<(CallId, Option<String>)>,
    pub(super) agents: Vec<crate::protocol::asp::AgentRow>,
    /// Who takes part, and how often that was asked for.
    pub(super) participants: Vec<ParticipantRow>,
    pub(super) asked: usize,
    /// The last message that was sent.
    pub(super) sent: Option<SessionSend>,
    /// Promises that were made, and how often one was said to be delivered.
    pub(super) promises: Vec<CommitmentCreate>,
    pub(super) deliveries: usize,
    /// Disputes that were filed, and money that was deposited.
    pub(super) disputes: Vec<DisputeCreate>,
    pub(super) deposits: Vec<EscrowDeposit>,
    /// How many promises are answered as of an id that another agent has used.
    pub(super) taken: u32,
    /// How often a deposit was asked for.
    pub(super) tried: u32,
}

pub(super) fn answer(state: &mut AspState, request: AspRequest) -> Response {
    match carry_out(state, request) {
        Ok(answer) => Response::Asp(Box::new(answer)),
        Err(error) => Response::Error(error),
    }
}

fn carry_out(state: &mut AspState, request: AspRequest) -> Result<AspResponse, WireError> {
    Ok(match request {
        AspRequest::SessionSend(send) => {
            let taken = take(state, &send)?;
            state.sent = Some(send);
            AspResponse::SessionSend(taken)
        }
        AspRequest::SessionInfo(info) => {
            state.asked += 1;
            AspResponse::SessionInfo(session(state, info.session_id))
        }
        AspRequest::SessionHistory(history) => AspResponse::SessionHistory(read(state, &history)),
        AspRequest::AgentInbox(inbox) => {
            let from: usize = inbox.cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let entries: Vec<_> = (from..state.messages.len()).take(2).collect();
            AspResponse::AgentInbox(InboxPage {
                cursor: (from + entries.len()).to_string(),
                entries: entries
                    .into_iter()
                    .map(|at| AgentEntry {
                        org: OrgName::parse("default").unwrap(),
                        session_id: SESSION,
                        offset: Offset(at as u64),
                        record: record(state, at),
                    })
                    .collect(),
            })
        }
        AspRequest::AgentSearch(search) => {
            let from: usize = search.cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let to = (from + search.limit as usize).min(state.agents.len());
            AspResponse::AgentSearch(AgentsPage {
                agents: state.agents[from..to].to_vec(),
                cursor: (to < state.agents.len()).then(|| to.to_string()),
            })
        }
        AspRequest::ToolStart(start) => {
            state.calls.push((start.call_id, None));
            AspResponse::ToolStart(row(start.call_id, CallOutcome::Open))
        }
        AspRequest::ToolFinish(finish) => {
            end(state, finish.call_id, "finished".to_owned())?;
            AspResponse::ToolFinish(row(finish.call_id, CallOutcome::Finished))
        }
        AspRequest::ToolFail(fail) => {
            end(state, fail.call_id, fail.error_type)?;
            AspResponse::ToolFail(row(fail.call_id, CallOutcome::Failed))
        }
        AspRequest::CommitmentCreate(create) => {
            if state.taken > 0 {
                state.taken -= 1;
                let text = "another agent has used it";
                return Err(WireError::new(ErrorCode::CommitmentIdTaken, text));
            }
            let row = promise(&create);
            if !state.promises.contains(&create) {
                state.promises.push(create);
            }
            AspResponse::CommitmentCreate(row)
        }
        AspRequest::CommitmentDeliver(_) => {
            state.deliveries += 1;
            AspResponse::CommitmentDeliver(promise(&state.promises[0]))
        }
        AspRequest::CommitmentList(list) => {
            let from: usize = list.cursor.map_or(0, |cursor| cursor.parse().unwrap());
            let to = (from + list.limit as usize).min(state.promises.len());
            AspResponse::CommitmentList(CommitmentsPage {
                commitments: state.promises[from..to].iter().map(promise).collect(),
                cursor: (to < state.promises.len()).then(|| to.to_string()),
            })
        }
        AspRequest::DisputeCreate(create) => {
            if !state.disputes.contains(&create) {
                state.disputes.push(create);
            }
            return Err(WireError::new(ErrorCode::IllegalStep, "it is fulfilled"));
        }
        AspRequest::EscrowDeposit(deposit) => {
            let row = AccountRow {
                account: AccountOf {
                    org: OrgName::parse("default").unwrap(),
                    agent_id: None,
                    name: None,
                },
                currency: deposit.currency,
                available: deposit.amount,
                held: 0,
                frozen: 0,
            };
            state.tried += 1;
            if !state.deposits.contains(&deposit) {
                state.deposits.push(deposit);
            }
            AspResponse::EscrowDeposit(row)
        }
        _ => return Err(WireError::new(ErrorCode::InvalidRequest, "not in the fake")),
    })
}

fn promise(create: &CommitmentCreate) -> CommitmentRow {
    CommitmentRow {
        id: create.id,
        session_id: create.session_id,
        org: OrgName::parse("default").unwrap(),
        state: crate::asp::commitment::State::Active,
        closed: false,
        mode: Mode::OneSided,
        obligor: PartyRow {
            agent_id: AgentId(1),
            name: AgentName::parse("research-agent").unwrap(),
            org: OrgName::parse("default").unwrap(),
        },
        counterparty: None,
        judge: Judge::Coordinator,
        description: create.description.clone(),
        deadline: create.deadline,
        obligations: Vec::new(),
        penalties: None,
        escrow: None,
        severity: 1,
        terms: None,
        terms_hash: Digest([0; 32]),
        window_ms: 1,
        window_until: None,
        claims_until: None,
        message_id: None,
        created_at: Timestamp(0),
        accepted_at: None,
        delivery: None,
        ended: None,
        ruled: None,
        offsets: Vec::new(),
        by: PrincipalId(0),
    }
}

fn session(state: &AspState, session_id: SessionId) -> SessionRow {
    SessionRow {
        session_id,
        org: OrgName::parse("default").unwrap(),
        topic: "t".to_owned(),
        state: State::Conversing,
        participants: state.participants.clone(),
        sequence: 0,
        hash: Digest([0; 32]),
        created_at: Timestamp(0),
        expires_at: None,
        invitation_ms: None,
        limits: SessionLimits::default(),
        metadata: serde_json::Map::new(),
        by: None,
        ended_at: None,
    }
}

fn take(state: &mut AspState, send: &SessionSend) -> Result<SessionSent, WireError> {
    let known = state.messages.iter().position(|(id, _)| *id == send.id);
    let at = known.unwrap_or(state.messages.len());
    if known.is_none() {
        if state.is_closed {
            return Err(WireError::new(ErrorCode::SessionEnded, "closed"));
        }
        let payload = send
            .payload
            .as_ref()
            .map_or("null", |payload| payload.text());
        state.messages.push((send.id, payload.to_owned()));
        state.is_closed = send.performative == Some(Performative::Close);
    }
    Ok(SessionSent {
        id: send.id,
        session_id: send.session_id,
        sequence: at as u64,
        sender_sequence: at as u64 + 1,
        at: Timestamp(0),
        digest: Digest([0; 32]),
        hash: Digest([0; 32]),
        state: State::Conversing,
        commitment_id: None,
        duplicate: known.is_some(),
    })
}

fn read(state: &AspState, history: &SessionHistory) -> HistoryPage {
    let from = usize::try_from(history.from).unwrap() + usize::from(state.skips);
    let records: Vec<_> = (from..state.messages.len())
        .take(state.page.max(1))
        .map(|at| HistoryRecord {
            offset: Offset(10 + at as u64),
            record: record(state, at),
        })
        .collect();
    HistoryPage {
        next: history.from + records.len() as u64,
        records,
        state: if state.is_closed {
            State::Closed
        } else {
            State::Conversing
        },
    }
}

fn record(state: &AspState, at: usize) -> JsonText {
    let payload = &state.messages[at].1;
    JsonText::parse(&format!(r#"{{"payload":{payload},"sequence":{at}}}"#)).unwrap()
}

fn end(state: &mut AspState, call: CallId, how: String) -> Result<(), WireError> {
    let mut calls = state.calls.iter_mut();
    let found = calls.find(|(id, _)| *id == call);
    let found = found.ok_or_else(|| WireError::new(ErrorCode::CallNotFound, "no such call"))?;
    if found.1.as_ref().is_some_and(|before| *before != how) {
        return Err(WireError::new(ErrorCode::CallEnded, "it has ended"));
    }
    found.1 = Some(how);
    Ok(())
}

fn row(call_id: CallId, outcome: CallOutcome) -> ToolRow {
    ToolRow {
        call_id,
        tool: "t".to_owned(),
        agent: AgentId(1),
        name: AgentName::parse("a").unwrap(),
        org: OrgName::parse("default").unwrap(),
        session_id: None,
        parent_call_id: None,
        outcome,
        started_at: Timestamp(0),
        ended_at: None,
        duration_ms: None,
        timeout_ms: None,
        progress: None,
        arguments: None,
        arguments_sha256: None,
        result: None,
        result_sha256: None,
        error_type: None,
        message: None,
        by: None,
    }
}
