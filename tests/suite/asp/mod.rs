//! Sessions from the outside: sample sessions, their golden files, and every byte of them changed.
mod across;
mod command_line;
mod golden;
mod golden_promises;
mod market;
mod market_live;
mod promises;
mod trust;
mod verify;

use npayload::asp::chain::{Digest, SigningKey};
use npayload::asp::session::{
    Constraints, Created, Invitee, Limits, Message, Performative, Role, Send, Sent, SessionEvent,
    SessionRecord, Sessions,
};
use npayload::asp::{Canonical, NeutralTrust, TrustScore};
use npayload::types::{AgentId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp};

/// Ids of version 7 that are easy to read.
const BASE: u128 = 0x0199_0000_0000_7000_8000_0000_0000_0000;
const TALK: SessionId = SessionId(BASE + 0x5e1);
const SILENCE: SessionId = SessionId(BASE + 0x5e2);
const HOME: OrgId = OrgId(1);
const ABROAD: OrgId = OrgId(2);
const LEAD: AgentId = AgentId(BASE + 0xa1);
const WORKER: AgentId = AgentId(BASE + 0xa2);
const WATCHER: AgentId = AgentId(BASE + 0xa3);
const GUEST: AgentId = AgentId(BASE + 0xa4);
/// 2025-01-01T00:00:00Z.
const START: Timestamp = Timestamp(1_735_689_600_000);
/// What the lead signs with.
const SEED: [u8; 32] = [7; 32];

/// A topic with the records of two sessions, one of which is closed and one expires.
struct Topic {
    sessions: Sessions,
    /// Offset and record; offsets have gaps, as other records stand between.
    records: Vec<(Offset, SessionRecord)>,
    now: Timestamp,
}

fn invitee(agent: AgentId, org: OrgId, role: Role) -> Invitee {
    Invitee { agent, org, role }
}

fn created(session: SessionId, participants: Vec<Invitee>, at: Timestamp) -> Created {
    Created {
        session,
        org: HOME,
        topic: "Market analysis: \"€ / ö\"\n".to_owned(),
        participants,
        ttl_ms: 60_000,
        invitation_ms: 10_000,
        limits: Limits::default(),
        metadata: serde_json::Map::new(),
        by: PrincipalId(12),
        at,
    }
}

fn message(session: SessionId, number: u128, sender: AgentId, said: Performative) -> Message {
    Message {
        id: MessageId(BASE + (number << 80)),
        session,
        sender,
        recipient: None,
        performative: said,
        message_type: None,
        payload: Digest::ZERO,
        in_reply_to: None,
        constraints: Constraints::default(),
    }
}

/// The message with its payload; signed when it is the lead's.
fn send(message: Message, payload: &str) -> Send {
    let is_lead = message.sender == LEAD;
    let send = Send::new(
        message,
        Some(Canonical::parse(payload).unwrap()),
        PrincipalId(12),
    );
    let send = send.unwrap();
    if !is_lead {
        return send;
    }
    let key = SigningKey::from_seed(&SEED);
    let signature = key.sign(&send.digest());
    send.signed(Some(signature), Some(key.public_key()))
        .unwrap()
}

impl Topic {
    fn next_offset(&self) -> Offset {
        Offset(self.records.last().map_or(40, |(offset, _)| offset.0 + 1))
    }

    fn append(&mut self, records: Vec<SessionRecord>) {
        for record in records {
            let offset = self.next_offset();
            self.sessions.apply(&record, offset).unwrap();
            self.records.push((offset, record));
        }
    }

    fn happen(&mut self, event: SessionEvent) {
        let records = self.sessions.link(event, self.next_offset()).unwrap();
        self.append(records);
    }

    fn send(&mut self, send: Send) {
        let sent = self
            .sessions
            .check_send(&send, &NeutralTrust, self.now)
            .unwrap();
        let Sent::New(event) = sent else {
            panic!("{sent:?}");
        };
        self.happen(event);
    }

    fn wait_ms(&mut self, ms: i64) {
        self.now = self.now.saturating_add_ms(ms);
        while let Some(event) = self.sessions.next_due(self.now) {
            self.happen(event);
        }
    }

    /// The records of a session, as they lie on the topic.
    fn of(&self, session: SessionId) -> Vec<(Offset, &SessionRecord)> {
        let all = self.records.iter();
        all.filter(|(_, record)| record.session() == Some(session))
            .map(|(offset, record)| (*offset, record))
            .collect()
    }
}

/// Two sessions that have, between them, a record of every type that stands on the topic, but for
/// `sessions.filed`.
fn topic() -> Topic {
    let mut topic = Topic {
        sessions: Sessions::default(),
        records: Vec::new(),
        now: START,
    };
    let mut talk = created(
        TALK,
        vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
            invitee(WATCHER, HOME, Role::Observer),
        ],
        START,
    );
    talk.limits.max_messages = Some(100);
    talk.metadata.insert("weight".to_owned(), 0.1.into());
    talk.metadata.insert("\u{fb33}".to_owned(), "last".into());
    talk.metadata
        .insert("😀".to_owned(), serde_json::json!([1, true, null]));
    let event = topic.sessions.check_create(talk).unwrap();
    topic.happen(event);

    let silent = created(
        SILENCE,
        vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
            invitee(GUEST, ABROAD, Role::Specialist),
        ],
        START,
    );
    let invites = send(
        message(SILENCE, 1, LEAD, Performative::Propose),
        r#"{"proposalId":"p1","subject":"join","terms":{"schemas":["urn:asp:negotiation:v1"]},"type":"session-invitation"}"#,
    );
    let records = topic
        .sessions
        .link_created(silent, Some(invites), topic.next_offset());
    topic.append(records.unwrap());

    let mut asks = message(TALK, 2, LEAD, Performative::Query);
    asks.recipient = Some(WORKER);
    asks.constraints = Constraints {
        allowed_performatives: vec![Performative::Inform, Performative::Clarify],
        max_response_time_ms: Some(5_000),
        required_trust: Some(TrustScore::try_from(0.25).unwrap()),
    };
    topic.send(send(
        asks,
        r#"{ "queryType": "capability", "parameters": {"b": 1.50, "a": 1e-7} }"#,
    ));
    topic.wait_ms(5_000);
    let mut answers = message(TALK, 3, WORKER, Performative::Inform);
    answers.message_type = Some("task.result".to_owned());
    answers.in_reply_to = Some(MessageId(BASE + (2 << 80)));
    topic.send(send(answers, r#"{"findings":["a","ü"],"score":0.333}"#));
    let delegates = message(TALK, 4, WORKER, Performative::Delegate);
    let delegates = send(delegates, r#"{"scope":"review","targetAgent":"guest"}"#);
    topic.send(delegates.bringing(invitee(GUEST, ABROAD, Role::Specialist)));
    topic.send(send(message(TALK, 5, LEAD, Performative::Inform), "null"));
    topic.send(send(
        message(TALK, 6, WORKER, Performative::Escalate),
        r#"{"reason":"unsure"}"#,
    ));
    topic.wait_ms(1_000);
    let by = PrincipalId(1);
    let event = topic.sessions.check_resume(TALK, by, topic.now).unwrap();
    topic.happen(event);
    let event = topic
        .sessions
        .check_leave(TALK, WORKER, by, topic.now)
        .unwrap();
    topic.happen(event);
    topic.send(send(
        message(TALK, 7, LEAD, Performative::Close),
        r#"{"reason":"done"}"#,
    ));
    topic.wait_ms(4_000);
    topic.wait_ms(60_000);
    topic
}
