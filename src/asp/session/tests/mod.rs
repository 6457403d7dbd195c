//! One test for each kind of arrow, and the properties that every history has.

mod corners;
mod given;
mod history;
mod records;

use serde_json::{Map, json};

use super::*;
use crate::asp::chain::Digest;
use crate::asp::{Canonical, NeutralTrust, TrustScore};
use crate::folding::{EventError, IllegalEvent};
use crate::types::{AgentId, MessageId, Offset, OrgId, PrincipalId, SessionId, Timestamp};

const SESSION: SessionId = SessionId(0x5e5);
const HOME: OrgId = OrgId(1);
const ABROAD: OrgId = OrgId(2);
const LEAD: AgentId = AgentId(1);
const WORKER: AgentId = AgentId(2);
const WATCHER: AgentId = AgentId(3);
const GUEST: AgentId = AgentId(4);
const START: Timestamp = Timestamp(1_000_000);

fn invitee(agent: AgentId, org: OrgId, role: Role) -> Invitee {
    Invitee { agent, org, role }
}

fn created(participants: Vec<Invitee>) -> Created {
    Created {
        session: SESSION,
        org: HOME,
        topic: "Market analysis".to_owned(),
        participants,
        ttl_ms: DEFAULT_TTL_MS,
        invitation_ms: DEFAULT_INVITATION_MS,
        limits: Limits::default(),
        metadata: Map::new(),
        by: PrincipalId(1),
        at: START,
    }
}

/// A number as an id of version 7.
fn id(number: u128) -> MessageId {
    MessageId(number << 80 | 7 << 76)
}

fn supplied(number: u128, sender: AgentId, performative: Performative) -> Message {
    Message {
        id: id(number),
        session: SESSION,
        sender,
        recipient: None,
        performative,
        message_type: Some("test.free".to_owned()),
        payload: Digest::ZERO,
        in_reply_to: None,
        constraints: Constraints::default(),
    }
}

fn send(message: Message) -> Send {
    let payload = Canonical::of(&json!({"n": 1})).unwrap();
    Send::new(message, Some(payload), PrincipalId(1)).unwrap()
}

fn message(number: u128, sender: AgentId, performative: Performative) -> Send {
    send(supplied(number, sender, performative))
}

/// A machine that is driven as the broker will: due first, check, link, apply; and that keeps its
/// log.
struct Driver {
    sessions: Sessions,
    log: Vec<SessionRecord>,
    now: Timestamp,
    number: u128,
}

impl Driver {
    fn empty() -> Self {
        Self {
            sessions: Sessions::default(),
            log: Vec::new(),
            now: START,
            number: 0,
        }
    }

    fn new(participants: Vec<Invitee>) -> Self {
        let mut driver = Self::empty();
        driver.create(created(participants));
        driver
    }

    fn create(&mut self, created: Created) {
        let event = self.sessions.check_create(created).unwrap();
        self.happen(event).unwrap();
    }

    /// A coordinator, a specialist and an observer of one organisation.
    fn home() -> Self {
        Self::new(vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
            invitee(WATCHER, HOME, Role::Observer),
        ])
    }

    /// A coordinator and one from another organisation, invited.
    fn invited() -> Self {
        let mut driver = Self::new(vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(GUEST, ABROAD, Role::Specialist),
        ]);
        assert_eq!(driver.state(), State::Idle);
        driver.say(LEAD, Performative::Propose, None).unwrap();
        assert_eq!(driver.state(), State::Invited);
        driver
    }

    /// Offset of the next record; there are others on the topic.
    fn next_offset(&self) -> Offset {
        Offset(self.log.len() as u64 + 100)
    }

    fn happen(&mut self, event: SessionEvent) -> Result<(), IllegalEvent> {
        for record in self.sessions.link(event, self.next_offset())? {
            self.apply(record)?;
        }
        while let Some(record) = self.sessions.next_filing(&|_| false) {
            self.apply(record).expect("what ended is filed");
        }
        Ok(())
    }

    fn apply(&mut self, record: SessionRecord) -> Result<(), IllegalEvent> {
        // A clone is cheap, comparing thousands of sessions thousands of times is not.
        let before = (self.log.len() < 1000).then(|| self.sessions.clone());
        let applied = self.sessions.apply(&record, self.next_offset());
        match (&applied, before) {
            (Ok(()), _) => self.log.push(record),
            (Err(_), Some(before)) => assert_eq!(self.sessions, before, "refused, and changed"),
            (Err(_), None) => {}
        }
        applied
    }

    fn send(&mut self, send: Send) -> Result<MessageId, SendError> {
        let id = send.message().id;
        match self.sessions.check_send(&send, &NeutralTrust, self.now)? {
            Sent::New(event) => self.happen(event).expect("what was checked can follow"),
            Sent::Before(_) => {}
        }
        Ok(id)
    }

    fn say(
        &mut self,
        sender: AgentId,
        said: Performative,
        in_reply_to: Option<MessageId>,
    ) -> Result<MessageId, SendError> {
        self.number += 1;
        let mut message = supplied(self.number, sender, said);
        message.in_reply_to = in_reply_to;
        let mut send = send(message);
        if said == Performative::Delegate {
            send = send.bringing(invitee(AgentId(1000 + self.number), HOME, Role::Observer));
        }
        self.send(send)
    }

    fn leave(&mut self, agent: AgentId) -> Result<(), SendError> {
        let by = PrincipalId(1);
        let event = self.sessions.check_leave(SESSION, agent, by, self.now)?;
        self.happen(event).expect("what was checked can follow");
        Ok(())
    }

    fn resume(&mut self) -> Result<(), SendError> {
        let event = self
            .sessions
            .check_resume(SESSION, PrincipalId(1), self.now)?;
        self.happen(event).expect("what was checked can follow");
        Ok(())
    }

    fn wait_ms(&mut self, ms: i64) {
        self.now = self.now.saturating_add_ms(ms);
        while let Some(event) = self.sessions.next_due(self.now) {
            self.happen(event).expect("what is due can follow");
        }
    }

    fn session(&self) -> &Session {
        self.sessions.session(SESSION).unwrap()
    }

    fn state(&self) -> State {
        self.session().state
    }

    /// The state that the log gives, read back from bytes.
    fn replayed(&self) -> Sessions {
        let mut replayed = Sessions::default();
        for (offset, record) in (100..).map(Offset).zip(&self.log) {
            let read = SessionRecord::decode(record.record_type(), &record.encode()).unwrap();
            replayed.apply(&read, offset).unwrap();
        }
        replayed
    }

    /// Judges the log from its bytes, with the offsets of its records or without.
    fn verified(&self, with_offsets: bool) -> Verifier {
        let mut verifier = Verifier::default();
        for (offset, record) in (100..).map(Offset).zip(&self.log) {
            let offset = with_offsets.then_some(offset);
            let judged = verifier.record(offset, record.record_type(), &record.encode());
            judged.unwrap();
        }
        verifier
    }

    /// The state that its fold gives, read back from bytes.
    fn unfolded(&self, part_bytes: usize) -> Sessions {
        let mut unfolded = Driver::home().sessions;
        for record in self.sessions.fold_in_parts(part_bytes) {
            let read = SessionRecord::decode(record.record_type(), &record.encode()).unwrap();
            assert_eq!(read, record);
            unfolded.apply(&read, Offset(0)).unwrap();
        }
        unfolded
    }
}

#[test]
fn a_session_of_one_organisation_begins_at_once() {
    assert_eq!(Driver::home().state(), State::Conversing);
}

#[test]
fn an_invited_agent_that_accepts_is_in() {
    let mut driver = Driver::invited();
    driver.say(GUEST, Performative::Counter, None).unwrap();
    assert_eq!(driver.state(), State::Invited);
    driver.say(GUEST, Performative::Accept, None).unwrap();
    assert_eq!(driver.state(), State::Introduced);
    driver.say(GUEST, Performative::Inform, None).unwrap();
    assert_eq!(driver.state(), State::Conversing);
}

#[test]
fn a_session_that_nobody_joins_fails() {
    let mut refused = Driver::invited();
    refused.say(GUEST, Performative::Reject, None).unwrap();
    assert_eq!(refused.state(), State::Failed);
    let mut lapsed = Driver::invited();
    lapsed.wait_ms(29_999);
    assert_eq!(lapsed.state(), State::Invited);
    lapsed.wait_ms(1);
    assert_eq!(lapsed.state(), State::Failed);
}

#[test]
fn a_refusal_does_not_end_what_two_others_began() {
    let mut driver = Driver::new(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(WORKER, HOME, Role::Specialist),
        invitee(GUEST, ABROAD, Role::Specialist),
    ]);
    driver.say(LEAD, Performative::Propose, None).unwrap();
    driver.say(GUEST, Performative::Reject, None).unwrap();
    assert_eq!(driver.state(), State::Introduced);
    let error = driver.say(GUEST, Performative::Inform, None).unwrap_err();
    assert!(matches!(
        error,
        SendError::NotParticipant { agent: GUEST, .. }
    ));
}

#[test]
fn a_commitment_is_answered_by_somebody_else_and_blocks_nobody() {
    let mut driver = Driver::home();
    let first = driver.say(WORKER, Performative::Commit, None).unwrap();
    assert_eq!(driver.state(), State::Agreeing);
    let second = driver.say(LEAD, Performative::Commit, None).unwrap();
    driver.say(WORKER, Performative::Inform, None).unwrap();
    driver.say(WATCHER, Performative::Query, None).unwrap();
    let own = driver.say(WORKER, Performative::Accept, Some(first));
    assert!(matches!(own, Err(SendError::OfferNotOpen { .. })));
    driver.say(LEAD, Performative::Reject, Some(first)).unwrap();
    assert_eq!(driver.state(), State::Agreeing, "the second is open");
    driver
        .say(WORKER, Performative::Accept, Some(second))
        .unwrap();
    assert_eq!(driver.state(), State::Executing);
    let again = driver.say(WORKER, Performative::Accept, Some(second));
    assert!(matches!(again, Err(SendError::OfferNotOpen { .. })));
}

#[test]
fn an_agreement_that_does_not_come_about_leads_back_to_talking() {
    for (sender, said) in [
        (LEAD, Performative::Reject),
        (LEAD, Performative::Counter),
        (WORKER, Performative::Withdraw),
    ] {
        let mut driver = Driver::home();
        let offer = driver.say(WORKER, Performative::Commit, None).unwrap();
        driver.say(sender, said, Some(offer)).unwrap();
        assert_eq!(driver.state(), State::Conversing, "{said}");
    }
}

#[test]
fn an_offer_to_one_is_answered_by_that_one() {
    let mut driver = Driver::home();
    let mut offer = supplied(50, WORKER, Performative::Commit);
    offer.recipient = Some(WATCHER);
    driver.send(send(offer)).unwrap();
    let error = driver.say(LEAD, Performative::Accept, Some(id(50)));
    assert!(matches!(error, Err(SendError::OfferNotOpen { .. })));
}

#[test]
fn an_escalation_stops_the_clocks_and_resume_goes_on() {
    let mut driver = Driver::home();
    let mut asks = supplied(50, LEAD, Performative::Query);
    asks.constraints.max_response_time_ms = Some(5_000);
    driver.send(send(asks)).unwrap();
    driver.say(WORKER, Performative::Commit, None).unwrap();
    driver.wait_ms(1_000);
    driver.say(WORKER, Performative::Escalate, None).unwrap();
    assert_eq!(driver.state(), State::Escalated);
    driver.wait_ms(60_000);
    driver.resume().unwrap();
    assert_eq!(driver.state(), State::Agreeing);
    let error = driver.resume().unwrap_err();
    assert!(matches!(error, SendError::NotEscalated { .. }));
    let before = driver.log.len();
    driver.wait_ms(3_999);
    assert_eq!(driver.log.len(), before);
    driver.wait_ms(1);
    assert!(matches!(
        driver.log.last().map(|record| &record.event),
        Some(SessionEvent::ResponseOverdue(_))
    ));
    driver.wait_ms(5_000);
    assert_eq!(driver.log.len(), before + 1, "it is recorded once");
}

#[test]
fn an_answer_keeps_to_what_was_asked() {
    let mut driver = Driver::home();
    let mut asks = supplied(50, LEAD, Performative::Query);
    asks.recipient = Some(WORKER);
    asks.constraints = Constraints {
        allowed_performatives: vec![Performative::Inform],
        max_response_time_ms: Some(5_000),
        required_trust: Some(TrustScore::NEUTRAL),
    };
    driver.send(send(asks.clone())).unwrap();
    let error = driver.say(WORKER, Performative::Clarify, Some(id(50)));
    assert!(matches!(
        error,
        Err(SendError::PerformativeConstrained { .. })
    ));
    driver
        .say(WORKER, Performative::Inform, Some(id(50)))
        .unwrap();
    assert_eq!(driver.session().asked.len(), 0);

    asks.id = id(51);
    asks.constraints.required_trust = Some(TrustScore::try_from(0.501).unwrap());
    driver.send(send(asks)).unwrap();
    let error = driver.say(WORKER, Performative::Inform, Some(id(51)));
    assert!(matches!(error, Err(SendError::TrustTooLow { .. })));
}

#[test]
fn only_a_coordinator_closes_and_nothing_follows() {
    let mut driver = Driver::home();
    let error = driver.say(WORKER, Performative::Close, None).unwrap_err();
    let SendError::Illegal { state, allowed, .. } = error else {
        panic!("{error}");
    };
    assert_eq!((state, allowed.len()), (State::Conversing, 12));
    let close = driver.say(LEAD, Performative::Close, None).unwrap();
    assert_eq!(driver.state(), State::Closed);
    let log = driver.log.len();
    let mut again = supplied(0, LEAD, Performative::Close);
    again.id = close;
    driver.send(send(again)).unwrap();
    for said in Performative::ALL {
        let error = driver.say(LEAD, said, None).unwrap_err();
        assert!(matches!(
            error,
            SendError::Illegal {
                state: State::Closed,
                ..
            }
        ));
    }
    driver.wait_ms(i64::MAX);
    assert_eq!(driver.log.len(), log);
}

#[test]
fn a_session_ends_when_its_time_is_over() {
    let mut driver = Driver::home();
    driver.now = START.saturating_add_ms(3_600_000);
    let error = driver.say(LEAD, Performative::Inform, None).unwrap_err();
    assert!(matches!(error, SendError::DeadlineFirst { .. }));
    driver.wait_ms(0);
    assert_eq!(driver.state(), State::Failed);
    assert_eq!(driver.sessions.next_deadline(), None);
}

#[test]
fn a_message_that_comes_again_is_answered_as_before() {
    let mut driver = Driver::home();
    let first = message(1, LEAD, Performative::Inform);
    driver.send(first.clone()).unwrap();
    let other = message(1, LEAD, Performative::Query);
    let forged = message(1, WORKER, Performative::Inform);
    for send in [other, forged] {
        let error = driver.send(send).unwrap_err();
        assert_eq!(error, SendError::MessageIdTaken { id: id(1) });
    }
    let again = driver
        .sessions
        .check_send(&first, &NeutralTrust, driver.now);
    let record = &driver.log[1];
    let Ok(Sent::Before(taken)) = again else {
        panic!("{again:?}");
    };
    assert_eq!((taken.sequence, taken.sender_sequence), (1, 1));
    assert_eq!(
        (Some(taken.hash), taken.state),
        (record.hash(), State::Conversing)
    );
    assert_eq!(driver.session().sequence(), 2);
    for number in 2..=33 {
        driver
            .send(message(number, LEAD, Performative::Inform))
            .unwrap();
    }
    let error = driver.send(first).unwrap_err();
    assert!(matches!(error, SendError::MessageIdTooOld { .. }));
    let mut unversioned = supplied(40, LEAD, Performative::Inform);
    unversioned.id = MessageId(40 << 80);
    let error = driver.send(send(unversioned)).unwrap_err();
    assert!(matches!(error, SendError::MessageIdVersion { .. }));
}

#[test]
fn a_delegate_brings_one_in_who_may_come_back() {
    let mut driver = Driver::home();
    let delegate = message(50, WORKER, Performative::Delegate);
    let error = driver.send(delegate.clone()).unwrap_err();
    assert_eq!(error, SendError::DelegateBringsOne);
    let as_leader = invitee(GUEST, ABROAD, Role::Coordinator);
    let error = driver
        .send(delegate.clone().bringing(as_leader))
        .unwrap_err();
    assert!(matches!(error, SendError::RoleAboveOwn { .. }));
    let guest = invitee(GUEST, ABROAD, Role::Specialist);
    driver.send(delegate.bringing(guest)).unwrap();
    let again = message(51, WORKER, Performative::Delegate).bringing(guest);
    let error = driver.send(again.clone()).unwrap_err();
    assert!(matches!(
        error,
        SendError::AlreadyParticipant { agent: GUEST }
    ));
    driver.say(GUEST, Performative::Inform, None).unwrap_err();
    driver.say(GUEST, Performative::Accept, None).unwrap();
    driver.say(GUEST, Performative::Inform, None).unwrap();
    driver.leave(GUEST).unwrap();
    let error = driver.leave(GUEST).unwrap_err();
    assert!(matches!(
        error,
        SendError::NotParticipant { agent: GUEST, .. }
    ));
    let error = driver.leave(LEAD).unwrap_err();
    assert_eq!(error, SendError::LastCoordinator { agent: LEAD });
    driver.send(again).unwrap();
    assert_eq!(driver.session().participants[&GUEST].sequence, 2);
    driver.wait_ms(30_000);
    assert_eq!(
        driver.session().participants[&GUEST].standing,
        Standing::Lapsed
    );
    assert_eq!(driver.state(), State::Conversing);
}

#[test]
fn what_breaks_a_limit_is_told_the_limit() {
    let mut driver = Driver::home();
    let large = |bytes| {
        let payload = Canonical::of(&json!("x".repeat(bytes - 2))).unwrap();
        let message = supplied(1, LEAD, Performative::Inform);
        Send::new(message, Some(payload), PrincipalId(1)).unwrap()
    };
    let error = driver.send(large(MAX_PAYLOAD_BYTES + 1)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "payload bytes of 262145 is outside 0..=262144"
    );
    driver.send(large(MAX_PAYLOAD_BYTES)).unwrap();
    let lone = created(vec![invitee(LEAD, HOME, Role::Coordinator)]);
    driver.sessions.check_create(lone).unwrap_err();
    let mut full = Driver::home();
    let others = full.session().participants.len() - 1;
    let own = MAX_OPEN - others * OPEN_FOR_EACH;
    for _ in 0..own {
        full.say(LEAD, Performative::Propose, None).unwrap();
    }
    let error = full.say(LEAD, Performative::Propose, None).unwrap_err();
    let most = own - 1;
    assert_eq!(
        error.to_string(),
        format!("open offers of {own} is outside 0..={most}")
    );
    for _ in 0..OPEN_FOR_EACH {
        full.say(WORKER, Performative::Propose, None).unwrap();
    }
    full.say(WORKER, Performative::Propose, None).unwrap_err();
    let open = *full.session().offers.first_key_value().unwrap().0;
    full.say(WORKER, Performative::Counter, Some(open)).unwrap();
}

#[test]
fn sessions_without_a_coordinator_at_home_are_refused() {
    for participants in [
        vec![
            invitee(LEAD, ABROAD, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
        ],
        vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(LEAD, HOME, Role::Specialist),
        ],
    ] {
        let event = SessionEvent::Created(Box::new(created(participants)));
        Sessions::default().link(event, Offset(0)).unwrap_err();
    }
}

#[test]
fn the_oldest_that_ended_are_filed_and_found_again() {
    let mut driver = Driver::home();
    driver.say(LEAD, Performative::Close, None).unwrap();
    for number in 1..u128::try_from(MAX_ENDED).unwrap() {
        let mut other = created(vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
        ]);
        other.session = SessionId(0x1000 + number);
        other.ttl_ms = 1;
        driver.create(other);
    }
    assert!(driver.sessions.session(SESSION).is_some());
    driver.wait_ms(1);
    assert!(driver.sessions.session(SESSION).is_none());
    assert_eq!(
        driver.sessions.sessions().count(),
        MAX_ENDED - FILED_AT_ONCE
    );
    let at: Vec<Offset> = driver.sessions.filed(SESSION).collect();
    assert_eq!(at, [Offset(99 + driver.log.len() as u64)]);
    let SessionEvent::Filed(filed) = &driver.log.last().unwrap().event else {
        panic!("{:?}", driver.log.last());
    };
    assert_eq!(filed.rows.len(), FILED_AT_ONCE);
    let end = filed.find(SESSION).unwrap();
    let record = &driver.log[usize::try_from(end.0).unwrap() - 100];
    assert!(matches!(&record.event, SessionEvent::Ended(ended) if ended.session == SESSION));
    assert_eq!(driver.replayed(), driver.sessions);
    assert_eq!(driver.unfolded(100_000), driver.sessions);
}

#[test]
fn a_record_reads_back_and_an_unknown_one_keeps_its_place() {
    let mut driver = Driver::invited();
    driver.say(GUEST, Performative::Accept, None).unwrap();
    for record in &driver.log {
        let read = SessionRecord::decode(record.record_type(), &record.encode()).unwrap();
        let mut without = record.clone();
        if let SessionEvent::MessageSent(sent) = &mut without.event {
            sent.payload = None;
        }
        assert_eq!(read, without);
    }
    let unknown = SessionRecord::decode("session.dreamt", b"?").unwrap();
    assert_eq!(unknown.encode(), b"?");
    driver.apply(unknown).unwrap();
    let last = driver.log[driver.log.len() - 2].encode();
    let last = String::from_utf8(last).unwrap();
    let same = last.replace("session.messageSent", "session.dreamt");
    let same = SessionRecord::decode("session.dreamt", same.as_bytes()).unwrap();
    driver.apply(same).unwrap_err();
    let session = driver.session();
    let back = session.thread.last().unwrap();
    let next = format!(
        r#"{{"back":[{},{}],"hash":"{}","sequence":{},"session":"{SESSION}","type":"session.dreamt","v":9}}"#,
        back.number,
        back.offset,
        Digest([9; 32]),
        session.sequence(),
    );
    let next = SessionRecord::decode("session.dreamt", next.as_bytes()).unwrap();
    driver.apply(next).unwrap();
    assert_eq!(driver.session().hash, Digest([9; 32]));
    driver.say(LEAD, Performative::Inform, None).unwrap();
    assert_eq!(driver.replayed(), driver.sessions);
    let newer = br#"{"v":2,"type":"session.expired"}"#;
    let error = SessionRecord::decode("session.expired", newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
}
