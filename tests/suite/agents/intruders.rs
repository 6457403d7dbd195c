//! What keys try that should not get through, and lists that change while they are read: by the
//! server's doors.

use npayload::access::{Operation, Scope, Secret};
use npayload::protocol::access::{AccessRequest, GrantAccept};
use npayload::protocol::asp::{
    AgentInbox, AgentRegister, AgentSetKey, CommitmentCreate, CommitmentDeliver, CommitmentInfo,
    InboxPage, SessionCreate, SessionHistory, SessionInfo, SessionLeave, SessionRow, SessionSend,
    ToolFinish, ToolList, ToolStart, ToolsPage,
};
use npayload::protocol::{AspRequest, AspResponse, ErrorCode, Request, Response, WireError};
use npayload::server::{Desk, ServeOptions};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use crate::admission::{ask, desk, make_key, make_org, propose};

/// A desk, and who speaks for its agents.
pub(super) struct Visitor<'a> {
    desk: &'a Desk,
    pub key: Secret,
}

pub(super) fn read<T: DeserializeOwned>(body: Value) -> T {
    serde_json::from_value(body).unwrap()
}

pub(super) fn call(n: usize) -> String {
    format!("tcl_00000000-{n:04x}-7000-8000-000000000000")
}

pub(super) fn message(n: usize) -> String {
    format!("msg_00000000-{n:04x}-7000-8000-000000000000")
}

impl<'a> Visitor<'a> {
    pub fn of(desk: &'a Desk, org: &str) -> Self {
        make_org(desk, org);
        let key = make_key(desk, Some(org), vec![Scope::all()]).secret.0;
        Self { desk, key }
    }

    pub fn ask(&self, request: AspRequest) -> Result<AspResponse, WireError> {
        match self
            .desk
            .ask_with(Some(&self.key), Request::Asp(Box::new(request)))
        {
            Response::Asp(answer) => Ok(*answer),
            Response::Error(error) => Err(error),
            other => panic!("{other:?}"),
        }
    }

    pub fn register(&self, name: &str) {
        let register: AgentRegister = read(json!({ "name": name }));
        self.ask(AspRequest::AgentRegister(register)).unwrap();
    }

    fn set_key(&self, name: &str, key: Option<&str>) {
        let set: AgentSetKey = read(json!({ "agent": name, "publicKey": key }));
        self.ask(AspRequest::AgentSetKey(set)).unwrap();
    }

    /// A session that `lead` coordinates.
    pub fn create(&self, other: &str) -> SessionRow {
        let create: SessionCreate = read(json!({ "topic": "a plan", "participants": [
            { "agentId": "lead", "role": "coordinator" },
            { "agentId": other, "role": "specialist" },
        ] }));
        match self.ask(AspRequest::SessionCreate(create)) {
            Ok(AspResponse::SessionCreate(row)) => row,
            other => panic!("{other:?}"),
        }
    }

    /// The same, with one of its own besides.
    pub fn create_three(&self, own: &str, other: &str) -> SessionRow {
        let create: SessionCreate = read(json!({ "topic": "a plan", "participants": [
            { "agentId": "lead", "role": "coordinator" },
            { "agentId": own, "role": "specialist" },
            { "agentId": other, "role": "specialist" },
        ] }));
        match self.ask(AspRequest::SessionCreate(create)) {
            Ok(AspResponse::SessionCreate(row)) => row,
            other => panic!("{other:?}"),
        }
    }

    pub fn send(&self, session: &SessionRow, mut body: Value) -> Result<AspResponse, WireError> {
        body["sessionId"] = json!(session.session_id);
        let send: SessionSend = read(body);
        self.ask(AspRequest::SessionSend(send))
    }

    pub fn close(&self, session: &SessionRow) {
        let body = json!({ "id": message(1), "from": "lead", "performative": "CLOSE" });
        self.send(session, body).unwrap();
    }

    fn info(&self, session: &SessionRow) -> Result<AspResponse, WireError> {
        let session_id = session.session_id;
        self.ask(AspRequest::SessionInfo(SessionInfo { session_id }))
    }

    pub fn inbox(&self, agent: &str) -> InboxPage {
        self.inbox_page(json!({ "agent": agent }))
    }

    fn inbox_page(&self, body: Value) -> InboxPage {
        let inbox: AgentInbox = read(body);
        match self.ask(AspRequest::AgentInbox(inbox)) {
            Ok(AspResponse::AgentInbox(page)) => page,
            other => panic!("{other:?}"),
        }
    }

    fn start(&self, n: usize, session: Option<&SessionRow>) -> Result<AspResponse, WireError> {
        let session = session.map(|session| session.session_id);
        let body =
            json!({ "callId": call(n), "tool": "web", "agent": "lead", "sessionId": session });
        let start: ToolStart = read(body);
        self.ask(AspRequest::ToolStart(start))
    }

    fn calls(&self, cursor: Option<&String>) -> ToolsPage {
        let list: ToolList = read(json!({ "agent": "lead", "limit": 2, "cursor": cursor }));
        match self.ask(AspRequest::ToolList(list)) {
            Ok(AspResponse::ToolList(page)) => page,
            other => panic!("{other:?}"),
        }
    }
}

/// Shows all agents of `owner` to `guest`.
pub(super) fn show(owner: &Visitor<'_>, guest: &Visitor<'_>, guest_name: &str) {
    let desk = owner.desk;
    let grant = propose(desk, Some(&owner.key), guest_name, Operation::Asp, "*");
    let accept = AccessRequest::GrantAccept(GrantAccept { grant });
    ask(desk, Some(&guest.key), accept).unwrap();
}

pub(super) fn code_of<T: std::fmt::Debug>(refused: Result<T, WireError>) -> ErrorCode {
    refused.unwrap_err().known().unwrap()
}

#[test]
fn who_was_to_be_invited_and_was_not_reads_nothing_of_it_once_it_has_ended() {
    let desk = desk(ServeOptions::default());
    let (acme, beta) = (Visitor::of(&desk, "acme"), Visitor::of(&desk, "beta"));
    acme.register("bot");
    show(&acme, &beta, "beta");
    beta.register("lead");
    // Who has a key invites by itself: until then nobody is.
    let key = npayload::asp::chain::SigningKey::from_seed(&[3; 32]).public_key();
    beta.set_key("lead", Some(&key.to_string()));
    let session = beta.create("agent://acme/bot");
    assert_eq!(code_of(acme.info(&session)), ErrorCode::SessionNotFound);
    beta.set_key("lead", None);
    beta.close(&session);
    assert_eq!(code_of(acme.info(&session)), ErrorCode::SessionNotFound);
    assert_eq!(acme.inbox("bot").entries.len(), 0);
    // Nor once memory holds it no longer.
    for _ in 0..2_000 {
        let other = beta.create("own");
        beta.close(&other);
    }
    assert_eq!(code_of(acme.info(&session)), ErrorCode::SessionNotFound);
    let history = SessionHistory::new(session.session_id, 0);
    let read = acme.ask(AspRequest::SessionHistory(history));
    assert_eq!(code_of(read), ErrorCode::SessionNotFound);
    assert_eq!(acme.inbox("bot").entries.len(), 0);
    assert!(beta.info(&session).is_ok());
}

#[test]
fn open_calls_that_end_between_two_pages_hide_no_other_and_new_ones_repeat_none() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    acme.register("lead");
    for n in 0..5 {
        acme.start(n, None).unwrap();
    }
    let ids = |page: &ToolsPage| -> Vec<String> {
        let calls = page.calls.iter();
        calls.map(|row| row.call_id.to_string()).collect()
    };
    let first = acme.calls(None);
    assert_eq!(ids(&first), [call(4), call(3)]);
    // The one shown last ends, so does the first; one begins.
    for n in [3, 4] {
        let finish: ToolFinish = read(json!({ "callId": call(n) }));
        acme.ask(AspRequest::ToolFinish(finish)).unwrap();
    }
    acme.start(5, None).unwrap();
    let second = acme.calls(first.cursor.as_ref());
    assert_eq!(ids(&second), [call(2), call(1)]);
    let third = acme.calls(second.cursor.as_ref());
    assert_eq!(ids(&third)[0], call(0));
}

#[test]
fn a_delegation_that_was_taken_is_answered_again_though_the_grant_has_ended() {
    let desk = desk(ServeOptions::default());
    let (acme, beta) = (Visitor::of(&desk, "acme"), Visitor::of(&desk, "beta"));
    acme.register("bot");
    let grant = propose(&desk, Some(&acme.key), "beta", Operation::Asp, "*");
    let accept = AccessRequest::GrantAccept(GrantAccept { grant });
    ask(&desk, Some(&beta.key), accept).unwrap();
    let session = beta.create("own");
    let delegate = json!({ "id": message(1), "from": "lead", "performative": "DELEGATE",
        "payload": { "targetAgent": "agent://acme/bot", "scope": "all" } });
    beta.send(&session, delegate.clone()).unwrap();
    let revoke = npayload::protocol::access::GrantRevoke { grant };
    ask(&desk, Some(&acme.key), AccessRequest::GrantRevoke(revoke)).unwrap();
    match beta.send(&session, delegate) {
        Ok(AspResponse::SessionSend(sent)) => assert!(sent.duplicate),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_call_that_was_started_is_answered_again_though_its_session_is_filed() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    acme.register("lead");
    let session = acme.create("own");
    acme.start(1, Some(&session)).unwrap();
    acme.close(&session);
    for _ in 0..2_000 {
        let other = acme.create("own");
        acme.close(&other);
    }
    acme.start(1, Some(&session)).unwrap();
    let late = acme.start(2, Some(&session));
    assert_eq!(code_of(late), ErrorCode::SessionNotFound);
}

#[test]
fn a_promise_that_memory_holds_no_longer_is_not_made_again_under_its_id() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    let session = acme.create("own");
    let leave: SessionLeave = read(json!({ "sessionId": session.session_id, "agent": "own" }));
    acme.ask(AspRequest::SessionLeave(leave)).unwrap();
    let id = |n: usize| format!("cmt_00000000-{n:04x}-7000-8000-000000000000");
    let promise_of = |n: usize, what: &str| {
        let create: CommitmentCreate =
            read(json!({ "id": id(n), "agentId": "lead", "description": what,
            "sessionId": session.session_id, "deadline": 32_503_680_000_000_u64 }));
        acme.ask(AspRequest::CommitmentCreate(create))
    };
    let promise = |n: usize| promise_of(n, "");
    // There is nobody who could judge it: what is delivered is over.
    for n in 0..2_000 {
        promise(n).unwrap();
        let deliver: CommitmentDeliver = read(json!({ "commitmentId": id(n) }));
        acme.ask(AspRequest::CommitmentDeliver(deliver)).unwrap();
    }
    assert!(promise(0).is_ok(), "held, and the same is answered again");
    let other = acme.create("own");
    acme.close(&other);
    let info: CommitmentInfo = read(json!({ "commitmentId": id(0) }));
    assert!(acme.ask(AspRequest::CommitmentInfo(info)).is_ok());
    for n in [0, 999, 1_000] {
        assert!(promise(n).is_ok(), "{n}: the same is answered as it is");
        let other = promise_of(n, "another");
        assert_eq!(code_of(other), ErrorCode::CommitmentIdTaken, "{n}");
    }
    assert!(promise(5_000).is_ok());
}

#[test]
fn an_inbox_read_in_pages_of_any_size_misses_and_repeats_nothing() {
    let desk = desk(ServeOptions::default());
    let acme = Visitor::of(&desk, "acme");
    acme.register("lead");
    let sessions: Vec<SessionRow> = (0..3).map(|_| acme.create("own")).collect();
    for n in 2..300 {
        // Some are the agent's own, and most of one session come late.
        let session = &sessions[if n > 200 { 2 } else { n % 2 }];
        let from = if n % 5 == 0 { "own" } else { "lead" };
        let body = json!({ "id": message(n), "from": from, "performative": "INFORM" });
        acme.send(session, body).unwrap();
    }
    let close = json!({ "id": message(999), "from": "lead", "performative": "CLOSE" });
    acme.send(&sessions[0], close).unwrap();
    let mut all = None;
    for limit in [1_000, 1, 7, 63, 64, 65] {
        let mut found: Vec<u64> = Vec::new();
        let mut cursor: Option<String> = None;
        loop {
            let body = json!({ "agent": "own", "limit": limit, "cursor": cursor });
            let page = acme.inbox_page(body);
            if page.entries.is_empty() {
                break;
            }
            found.extend(page.entries.iter().map(|entry| entry.offset.0));
            cursor = Some(page.cursor);
        }
        assert!(found.is_sorted_by(|one, next| one < next));
        assert_eq!(all.get_or_insert_with(|| found.clone()), &found, "{limit}");
    }
    // What was created and closed, and what the other said.
    assert_eq!(all.unwrap().len(), 3 + 2 + 298 - 59);
}
