//! One example of every request about agents, sessions and tool calls, and of every answer. Those
//! about promises are in `promise_fixtures`, those about the market in `market_fixtures`.

use npayload::asp::TrustScore;
use npayload::asp::chain::Digest;
use npayload::asp::registry::{
    AgentRef, AgentStanding, Amount, Availability, Match, Profile, PublicKey, Status,
};
use npayload::asp::session::{Constraints, Performative, Role, State};
use npayload::protocol::asp::*;
use npayload::protocol::{ErrorCode, WireError};
use npayload::region::UpTo;
use npayload::types::*;
use serde_json::json;

use super::fixtures::TIME;

pub(super) const AGENT: AgentId = AgentId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0610);
pub(super) const WRITER: AgentId = AgentId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0611);
pub(super) const SESSION: SessionId = SessionId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0620);
pub(super) const MESSAGE: MessageId = MessageId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0630);
const ANSWER: MessageId = MessageId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0631);
const CALL: CallId = CallId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0640);
const PARENT: CallId = CallId(0x0199_8a2b_0c3d_7e4f_8001_0203_0405_0641);

pub(super) fn name(text: &str) -> AgentName {
    AgentName::parse(text).unwrap()
}

pub(super) fn org(text: &str) -> OrgName {
    OrgName::parse(text).unwrap()
}

pub(super) fn named(text: &str) -> AgentRef {
    AgentRef::parse(text).unwrap()
}

fn trust(score: f64) -> TrustScore {
    score.try_into().unwrap()
}

pub(super) fn text(json: &str) -> JsonText {
    JsonText::parse(json).unwrap()
}

pub(super) fn later(ms: i64) -> Timestamp {
    TIME.saturating_add_ms(ms)
}

fn profile() -> Profile {
    let texts = |all: &[&str]| all.iter().map(|&one| one.to_owned()).collect();
    Profile {
        description: "reads papers".to_owned(),
        version: "2.1.0".to_owned(),
        capabilities: vec![name("research"), name("papers.search")],
        protocols: texts(&["asp/1.0"]),
        schemas: texts(&["urn:asp:negotiation:v1"]),
        authority_level: Some("negotiate".to_owned()),
        max_transaction: Some(Amount {
            value: 5000,
            currency: "EUR".to_owned(),
        }),
        availability: availability(),
        endpoints: [("http".to_owned(), "https://example.com/agent".to_owned())].into(),
        metadata: json!({"team": "lab"}).as_object().unwrap().clone(),
    }
}

fn availability() -> Availability {
    Availability {
        status: Status::Busy,
        timezone: Some("Europe/Berlin".to_owned()),
        response_time_ms: Some(250),
    }
}

fn key() -> PublicKey {
    PublicKey([0x5a; 32])
}

fn agent_row() -> AgentRow {
    AgentRow {
        agent: AGENT,
        name: name("research-agent"),
        org: org("default"),
        standing: AgentStanding::Registered,
        profile: profile(),
        public_key: Some(key()),
        trust_score: trust(0.5),
        created_at: TIME,
        changed_at: later(5),
        by: PrincipalId(5),
    }
}

fn placeholder() -> AgentRow {
    AgentRow {
        agent: WRITER,
        name: name("writer"),
        standing: AgentStanding::Placeholder,
        profile: Profile::default(),
        public_key: None,
        ..agent_row()
    }
}

/// The requests, by number.
pub fn requests() -> Vec<AspRequest> {
    let agent = || named("research-agent");
    vec![
        AspRequest::AgentRegister(AgentRegister {
            public_key: Some(key()),
            ..AgentRegister::new(name("research-agent"), profile())
        }),
        AspRequest::AgentDeregister(AgentDeregister { agent: agent() }),
        AspRequest::AgentAvailability(AgentAvailability {
            agent: agent(),
            availability: availability(),
        }),
        AspRequest::AgentSetKey(AgentSetKey {
            agent: AGENT.into(),
            public_key: None,
        }),
        AspRequest::AgentInfo(AgentInfo {
            agent: named("agent://acme/writer"),
        }),
        AspRequest::AgentSearch(AgentSearch {
            capabilities: vec!["papers.*".to_owned()],
            matching: Match::Any,
            min_trust_score: Some(trust(0.25)),
            org: Some(org("acme")),
            text: Some("paper".to_owned()),
            availability: Some(Status::Busy),
            limit: 10,
            cursor: Some("c1".to_owned()),
        }),
        AspRequest::AgentInbox(AgentInbox {
            agent: agent(),
            cursor: Some("c2".to_owned()),
            limit: 10,
            wait_ms: 500,
        }),
    ]
    .into_iter()
    .chain(session_requests())
    .chain(tool_requests())
    .chain(super::promise_fixtures::requests())
    .chain(super::market_fixtures::requests())
    .chain([copies_request()])
    .collect()
}

fn session_requests() -> Vec<AspRequest> {
    let joining = |agent: &str, role| Joining {
        agent_id: named(agent),
        role,
    };
    vec![
        AspRequest::SessionCreate(SessionCreate {
            topic: "survey of log brokers".to_owned(),
            participants: vec![
                joining("research-agent", Role::Coordinator),
                joining("agent://acme/writer", Role::Specialist),
            ],
            ttl_ms: Some(3_600_000),
            invitation_ms: Some(30_000),
            limits: limits(),
            metadata: json!({"budget": 7}).as_object().unwrap().clone(),
        }),
        AspRequest::SessionList(SessionList {
            agent: Some(named("research-agent")),
            states: vec![State::Conversing, State::Escalated],
            since: Some(TIME),
            until: Some(later(1000)),
            limit: 10,
            cursor: Some("c3".to_owned()),
        }),
        AspRequest::SessionInfo(SessionInfo {
            session_id: SESSION,
        }),
        AspRequest::SessionSend(SessionSend {
            session_id: SESSION,
            id: MESSAGE,
            from: named("research-agent"),
            to: Some(WRITER.into()),
            performative: Some(Performative::Propose),
            message_type: Some("task.assign".to_owned()),
            payload: Some(text(r#"{ "pages": 1.50, "title": "é" }"#)),
            in_reply_to: Some(ANSWER),
            constraints: Constraints {
                allowed_performatives: vec![Performative::Accept, Performative::Reject],
                max_response_time_ms: Some(60_000),
                required_trust: Some(trust(0.3)),
            },
            signature: Some(format!("ed25519:{}", "5a".repeat(64))),
        }),
        AspRequest::SessionHistory(SessionHistory {
            agent: Some(named("writer")),
            wait_ms: 500,
            ..SessionHistory::new(SESSION, 3)
        }),
        AspRequest::SessionLeave(SessionLeave {
            session_id: SESSION,
            agent: named("writer"),
        }),
        AspRequest::SessionResume(SessionResume {
            session_id: SESSION,
        }),
    ]
}

fn tool_requests() -> Vec<AspRequest> {
    vec![
        AspRequest::ToolStart(ToolStart {
            call_id: CALL,
            tool: "papers.search".to_owned(),
            agent: named("research-agent"),
            session_id: Some(SESSION),
            parent_call_id: Some(PARENT),
            arguments: Some(text(r#"{"query": "logs"}"#)),
            arguments_sha256: None,
            sensitive: true,
            timeout_ms: Some(60_000),
        }),
        AspRequest::ToolProgress(ToolProgress {
            call_id: CALL,
            progress: Some(0.5),
            message: Some("half of it".to_owned()),
        }),
        AspRequest::ToolFinish(ToolFinish {
            call_id: CALL,
            result: None,
            result_sha256: Some(Digest([0xcd; 32])),
            sensitive: false,
        }),
        AspRequest::ToolFail(ToolFail {
            call_id: CALL,
            error_type: "timeout".to_owned(),
            message: Some("no answer in 10 s".to_owned()),
        }),
        AspRequest::ToolList(ToolList {
            agent: Some(named("research-agent")),
            tool: Some("papers.search".to_owned()),
            session_id: Some(SESSION),
            outcome: Some(CallOutcome::Finished),
            since: Some(TIME),
            until: Some(later(1000)),
            limit: 10,
            cursor: Some("c4".to_owned()),
        }),
        AspRequest::ToolInfo(ToolInfo { call_id: CALL }),
        AspRequest::ToolStats(ToolStats {
            tool: Some("papers.search".to_owned()),
        }),
    ]
}

fn limits() -> SessionLimits {
    SessionLimits {
        max_messages: Some(1000),
        max_payload_bytes: Some(65_536),
        max_participants: Some(8),
    }
}

fn session_row(state: State) -> SessionRow {
    let is_live = !state.is_terminal();
    SessionRow {
        session_id: SESSION,
        org: org("default"),
        topic: "survey of log brokers".to_owned(),
        state,
        participants: vec![
            ParticipantRow {
                agent_id: AGENT,
                name: name("research-agent"),
                org: org("default"),
                role: Role::Coordinator,
                standing: is_live.then(|| "in".to_owned()),
                messages: is_live.then_some(2),
            },
            ParticipantRow {
                agent_id: WRITER,
                name: name("writer"),
                org: org("acme"),
                role: Role::Specialist,
                standing: is_live.then(|| "invited".to_owned()),
                messages: is_live.then_some(0),
            },
        ],
        sequence: 3,
        hash: Digest([0xab; 32]),
        created_at: TIME,
        expires_at: is_live.then_some(later(3_600_000)),
        invitation_ms: is_live.then_some(30_000),
        limits: if is_live {
            limits()
        } else {
            SessionLimits::default()
        },
        metadata: json!({"budget": 7}).as_object().unwrap().clone(),
        by: is_live.then_some(PrincipalId(5)),
        ended_at: (!is_live).then_some(later(2000)),
    }
}

fn tool_row(outcome: CallOutcome) -> ToolRow {
    let has_ended = outcome != CallOutcome::Open;
    ToolRow {
        call_id: CALL,
        tool: "papers.search".to_owned(),
        agent: AGENT,
        name: name("research-agent"),
        org: org("default"),
        session_id: Some(SESSION),
        parent_call_id: Some(PARENT),
        outcome,
        started_at: TIME,
        ended_at: has_ended.then_some(later(40)),
        duration_ms: has_ended.then_some(40),
        timeout_ms: (!has_ended).then_some(60_000),
        progress: (!has_ended).then_some(0.5),
        arguments: Some(text(r#"{"query":"logs"}"#)),
        arguments_sha256: None,
        result: None,
        result_sha256: (outcome == CallOutcome::Finished).then_some(Digest([0xcd; 32])),
        error_type: (outcome == CallOutcome::Failed).then(|| "timeout".to_owned()),
        message: (outcome != CallOutcome::Finished).then(|| "half of it".to_owned()),
        by: Some(PrincipalId(5)),
    }
}

/// The answers, by number.
pub fn responses() -> Vec<AspResponse> {
    let mut all = vec![
        AspResponse::AgentRegister(agent_row()),
        AspResponse::AgentDeregister(AgentRow {
            standing: AgentStanding::Deregistered,
            ..agent_row()
        }),
        AspResponse::AgentAvailability(agent_row()),
        AspResponse::AgentSetKey(AgentRow {
            public_key: None,
            ..agent_row()
        }),
        AspResponse::AgentInfo(AgentProfile {
            agent: placeholder(),
            card: json!({"name": "writer", "protocolVersion": "1.0"}),
        }),
        AspResponse::AgentSearch(AgentsPage {
            agents: vec![agent_row()],
            cursor: Some("c5".to_owned()),
        }),
        AspResponse::AgentInbox(InboxPage {
            entries: vec![AgentEntry {
                org: org("acme"),
                session_id: SESSION,
                offset: Offset(17),
                record: text(r#"{"at":1700000000123,"sequence":0,"type":"session.created","v":1}"#),
            }],
            cursor: "c6".to_owned(),
        }),
        AspResponse::SessionCreate(session_row(State::Invited)),
        AspResponse::SessionList(SessionsPage {
            sessions: vec![session_row(State::Conversing), session_row(State::Closed)],
            cursor: None,
        }),
        AspResponse::SessionInfo(session_row(State::Executing)),
        AspResponse::SessionSend(SessionSent {
            commitment_id: None,
            id: MESSAGE,
            session_id: SESSION,
            sequence: 2,
            sender_sequence: 1,
            at: TIME,
            digest: Digest([0xcd; 32]),
            hash: Digest([0xab; 32]),
            state: State::Conversing,
            duplicate: false,
        }),
        AspResponse::SessionHistory(HistoryPage {
            records: vec![HistoryRecord {
                offset: Offset(17),
                record: text(r#"{"at":1700000000123,"sequence":3,"type":"session.resumed","v":1}"#),
            }],
            next: 4,
            state: State::Conversing,
        }),
        AspResponse::SessionLeave(session_row(State::Conversing)),
        AspResponse::SessionResume(session_row(State::Agreeing)),
        AspResponse::ToolStart(tool_row(CallOutcome::Open)),
        AspResponse::ToolProgress(tool_row(CallOutcome::Open)),
        AspResponse::ToolFinish(tool_row(CallOutcome::Finished)),
        AspResponse::ToolFail(tool_row(CallOutcome::Failed)),
        AspResponse::ToolList(ToolsPage {
            calls: vec![tool_row(CallOutcome::Finished)],
            cursor: Some("c7".to_owned()),
        }),
        AspResponse::ToolInfo(tool_row(CallOutcome::Abandoned)),
        AspResponse::ToolStats(ToolTotals {
            tools: vec![ToolStatsRow {
                tool: "papers.search".to_owned(),
                calls: 10,
                open: 1,
                finished: 7,
                failed: 1,
                abandoned: 1,
                p50_ms: 40,
                p90_ms: 90,
                p99_ms: 99,
                max_ms: 120,
                total_ms: 500,
            }],
        }),
    ];
    all.extend(super::promise_fixtures::responses());
    all.extend(super::market_fixtures::responses());
    all.push(copies_response());
    all
}

fn copies_request() -> AspRequest {
    AspRequest::CopiesRead(CopiesRead {
        region: Some(region("us-east")),
        ask: CopyAsk::AgentInfo(AgentInfo {
            agent: named("research-agent"),
        }),
    })
}

/// One region answers, the other has given nothing yet.
fn copies_response() -> AspResponse {
    let up_to = |offset, ms| UpTo {
        offset: Offset(offset),
        time: Some(later(ms)),
    };
    let error = WireError::new(ErrorCode::CopyNotHere, "no copy is here yet");
    AspResponse::CopiesRead(CopiesTold {
        as_of: [(region("us-east"), up_to(41, 500))].into_iter().collect(),
        parts: vec![
            CopyPart {
                region: region("ap-south"),
                answer: None,
                error: Some(error.with("region", "ap-south")),
                evidence_as_of: None,
            },
            CopyPart {
                region: region("us-east"),
                answer: Some(CopyAnswer::AgentSearch(AgentsPage {
                    agents: vec![agent_row()],
                    cursor: None,
                })),
                error: None,
                evidence_as_of: Some(up_to(17, 400)),
            },
        ],
    })
}

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}
