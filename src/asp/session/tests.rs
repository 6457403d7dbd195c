//! One test for each kind of arrow, and the properties that every history has.

use proptest::prelude::*;
use serde_json::{Map, json};

use super::*;
use crate::asp::{NeutralTrust, TrustScore};
use crate::folding::EventError;
use crate::types::{AgentId, MessageId, OrgId, PrincipalId, SessionId, Timestamp};

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
        metadata: Map::new(),
        by: PrincipalId(1),
        at: START,
    }
}

/// A number as an id of version 7.
fn id(number: u128) -> MessageId {
    MessageId(number << 80 | 7 << 76)
}

fn message(number: u128, sender: AgentId, performative: Performative) -> Send {
    Send {
        session: SESSION,
        message: Message {
            id: id(number),
            sender,
            recipient: None,
            performative,
            message_type: None,
            payload: json!({"n": 1}),
            in_reply_to: None,
            constraints: Constraints::default(),
        },
        digest: Digest([7; 32]),
        brings: None,
    }
}

/// A machine that is driven as the broker will: due first, check, apply; and that keeps its log.
struct Driver {
    sessions: Sessions,
    log: Vec<SessionEvent>,
    now: Timestamp,
    number: u128,
}

impl Driver {
    fn new(participants: Vec<Invitee>) -> Self {
        let mut driver = Self {
            sessions: Sessions::default(),
            log: Vec::new(),
            now: START,
            number: 0,
        };
        let event = driver.sessions.check_create(created(participants));
        driver.apply(event.unwrap()).unwrap();
        driver
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

    fn apply(&mut self, event: SessionEvent) -> Result<(), crate::folding::IllegalEvent> {
        let before = self.sessions.clone();
        let applied = self.sessions.apply(&event);
        match &applied {
            Ok(()) => self.log.push(event),
            Err(_) => assert_eq!(self.sessions, before, "a refusal changed something"),
        }
        applied
    }

    fn send(&mut self, send: Send) -> Result<MessageId, SendError> {
        let id = send.message.id;
        match self.sessions.check_send(send, &NeutralTrust, self.now)? {
            Sent::New(event) => self.apply(event).expect("what was checked can follow"),
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
        let mut send = message(self.number, sender, said);
        send.message.in_reply_to = in_reply_to;
        if said == Performative::Delegate {
            send.brings = Some(invitee(AgentId(1000 + self.number), HOME, Role::Observer));
        }
        self.send(send)
    }

    fn wait_ms(&mut self, ms: i64) {
        self.now = self.now.saturating_add_ms(ms);
        while let Some(event) = self.sessions.next_due(self.now) {
            self.apply(event).expect("what is due can follow");
        }
    }

    fn session(&self) -> &Session {
        self.sessions.session(SESSION).unwrap()
    }

    fn state(&self) -> State {
        self.session().state
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
    let mut offer = message(50, WORKER, Performative::Commit);
    offer.message.recipient = Some(WATCHER);
    driver.send(offer).unwrap();
    let error = driver.say(LEAD, Performative::Accept, Some(id(50)));
    assert!(matches!(error, Err(SendError::OfferNotOpen { .. })));
}

#[test]
fn an_escalation_stops_the_clocks_and_resume_goes_on() {
    let mut driver = Driver::home();
    let mut asks = message(50, LEAD, Performative::Query);
    asks.message.constraints.max_response_time_ms = Some(5_000);
    driver.send(asks).unwrap();
    driver.say(WORKER, Performative::Commit, None).unwrap();
    driver.wait_ms(1_000);
    driver.say(WORKER, Performative::Escalate, None).unwrap();
    assert_eq!(driver.state(), State::Escalated);
    driver.wait_ms(60_000);
    let resumed = Resumed {
        session: SESSION,
        by: PrincipalId(1),
        at: driver.now,
    };
    driver.apply(SessionEvent::Resumed(resumed)).unwrap();
    assert_eq!(driver.state(), State::Agreeing);
    driver.apply(SessionEvent::Resumed(resumed)).unwrap_err();
    let before = driver.log.len();
    driver.wait_ms(3_999);
    assert_eq!(driver.log.len(), before);
    driver.wait_ms(1);
    assert!(matches!(
        driver.log.last(),
        Some(SessionEvent::ResponseOverdue(_))
    ));
    driver.wait_ms(5_000);
    assert_eq!(driver.log.len(), before + 1, "it is recorded once");
}

#[test]
fn an_answer_keeps_to_what_was_asked() {
    let mut driver = Driver::home();
    let mut asks = message(50, LEAD, Performative::Query);
    asks.message.recipient = Some(WORKER);
    asks.message.constraints = Constraints {
        allowed_performatives: vec![Performative::Inform],
        max_response_time_ms: Some(5_000),
        required_trust: Some(TrustScore::NEUTRAL),
    };
    driver.send(asks.clone()).unwrap();
    let error = driver.say(WORKER, Performative::Clarify, Some(id(50)));
    assert!(matches!(
        error,
        Err(SendError::PerformativeConstrained { .. })
    ));
    driver
        .say(WORKER, Performative::Inform, Some(id(50)))
        .unwrap();
    assert_eq!(driver.session().asked.len(), 0);

    asks.message.id = id(51);
    asks.message.constraints.required_trust = Some(TrustScore::try_from(0.501).unwrap());
    driver.send(asks).unwrap();
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
    let mut again = message(0, LEAD, Performative::Close);
    again.message.id = close;
    driver.send(again).unwrap();
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
    let mut other = first.clone();
    other.digest = Digest([8; 32]);
    let mut forged = first.clone();
    forged.message.sender = WORKER;
    for send in [other, forged] {
        let error = driver.send(send).unwrap_err();
        assert_eq!(error, SendError::MessageIdTaken { id: id(1) });
    }
    let again = driver
        .sessions
        .check_send(first.clone(), &NeutralTrust, driver.now);
    assert!(matches!(again, Ok(Sent::Before(taken)) if taken.sequence == 1));
    assert_eq!(driver.session().sequence, 1);
    for number in 2..=33 {
        driver
            .send(message(number, LEAD, Performative::Inform))
            .unwrap();
    }
    let error = driver.send(first).unwrap_err();
    assert!(matches!(error, SendError::MessageIdTooOld { .. }));
    let mut unversioned = message(40, LEAD, Performative::Inform);
    unversioned.message.id = MessageId(40 << 80);
    let error = driver.send(unversioned).unwrap_err();
    assert!(matches!(error, SendError::MessageIdVersion { .. }));
}

#[test]
fn a_delegate_brings_one_in_who_may_come_back() {
    let mut driver = Driver::home();
    let mut brings = message(50, WORKER, Performative::Delegate);
    driver.send(brings.clone()).unwrap_err();
    brings.brings = Some(invitee(GUEST, ABROAD, Role::Coordinator));
    let error = driver.send(brings.clone()).unwrap_err();
    assert!(matches!(error, SendError::RoleAboveOwn { .. }));
    brings.brings = Some(invitee(GUEST, ABROAD, Role::Specialist));
    driver.send(brings.clone()).unwrap();
    brings.message.id = id(51);
    let error = driver.send(brings.clone()).unwrap_err();
    assert!(matches!(
        error,
        SendError::AlreadyParticipant { agent: GUEST }
    ));
    driver.say(GUEST, Performative::Inform, None).unwrap_err();
    driver.say(GUEST, Performative::Accept, None).unwrap();
    driver.say(GUEST, Performative::Inform, None).unwrap();
    let left = |agent| {
        SessionEvent::ParticipantLeft(AgentFact {
            session: SESSION,
            agent,
            at: START,
        })
    };
    driver.apply(left(GUEST)).unwrap();
    driver.apply(left(GUEST)).unwrap_err();
    driver.apply(left(LEAD)).unwrap_err();
    driver.send(brings).unwrap();
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
    let mut large = message(1, LEAD, Performative::Inform);
    large.message.payload = json!("x".repeat(MAX_PAYLOAD_BYTES - 1));
    let error = driver.send(large.clone()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "payload bytes of 262145 is outside 0..=262144"
    );
    large.message.payload = json!("x".repeat(MAX_PAYLOAD_BYTES - 2));
    driver.send(large).unwrap();
    let lone = created(vec![invitee(LEAD, HOME, Role::Coordinator)]);
    driver.sessions.check_create(lone).unwrap_err();
    let mut full = Driver::home();
    for _ in 0..MAX_OPEN {
        full.say(LEAD, Performative::Propose, None).unwrap();
    }
    full.say(LEAD, Performative::Propose, None).unwrap_err();
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
        let event = SessionEvent::Created(created(participants));
        Sessions::default().apply(&event).unwrap_err();
    }
}

#[test]
fn the_oldest_ended_sessions_are_forgotten() {
    let mut driver = Driver::home();
    driver.say(LEAD, Performative::Close, None).unwrap();
    for number in 0..u128::try_from(MAX_ENDED).unwrap() {
        let mut other = created(vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
        ]);
        other.session = SessionId(0x1000 + number);
        other.ttl_ms = 1;
        driver.apply(SessionEvent::Created(other)).unwrap();
    }
    assert!(driver.sessions.session(SESSION).is_some());
    driver.wait_ms(1);
    assert!(driver.sessions.session(SESSION).is_none());
    assert_eq!(driver.sessions.sessions().count(), MAX_ENDED);
}

#[test]
fn an_event_reads_back_and_an_unknown_one_passes_through() {
    let mut driver = Driver::invited();
    driver.say(GUEST, Performative::Accept, None).unwrap();
    for event in driver.log.iter().chain(&driver.sessions.fold()) {
        let read = SessionEvent::decode(event.record_type(), &event.encode());
        assert_eq!(&read.unwrap(), event);
    }
    let unknown = SessionEvent::decode("session.dreamt", b"?").unwrap();
    assert_eq!(unknown.encode(), b"?");
    driver.apply(unknown).unwrap();
    let newer = br#"{"v":2,"type":"session.expired"}"#;
    let error = SessionEvent::decode("session.expired", newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
}

/// What anybody may try, sensible or not.
#[derive(Clone, Debug)]
enum Try {
    Say(u128, usize, Option<u128>, bool),
    Wait(i64),
    Leave(u128),
    Resume,
}

fn attempt() -> impl Strategy<Value = Try> {
    prop_oneof![
        12 => (1u128..6, 0usize..12, proptest::option::of(1u128..40), any::<bool>())
            .prop_map(|(who, said, to, asks)| Try::Say(who, said, to, asks)),
        1 => (0i64..40_000).prop_map(Try::Wait),
        1 => (1u128..6).prop_map(Try::Leave),
        1 => Just(Try::Resume),
    ]
}

proptest! {
    #[test]
    fn any_history_replays_and_folds_to_the_same_state(
        attempts in proptest::collection::vec(attempt(), 1..120),
        part_bytes in 1usize..5000,
    ) {
        let mut driver = Driver::new(vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
            invitee(WATCHER, HOME, Role::Observer),
            invitee(GUEST, ABROAD, Role::Specialist),
        ]);
        for attempt in attempts {
            match attempt {
                Try::Say(who, said, to, asks) => {
                    driver.number += 1;
                    let said = Performative::ALL[said];
                    let mut send = message(driver.number, AgentId(who), said);
                    send.message.in_reply_to = to.map(id);
                    if asks {
                        send.message.constraints.max_response_time_ms = Some(20_000);
                    }
                    if said == Performative::Delegate {
                        let org = if asks { HOME } else { ABROAD };
                        send.brings = Some(invitee(AgentId(5), org, Role::Specialist));
                    }
                    let _ = driver.send(send);
                }
                Try::Wait(ms) => driver.wait_ms(ms),
                Try::Leave(who) => {
                    let at = driver.now;
                    let fact = AgentFact { session: SESSION, agent: AgentId(who), at };
                    let _ = driver.apply(SessionEvent::ParticipantLeft(fact));
                }
                Try::Resume => {
                    let at = driver.now;
                    let resumed = Resumed { session: SESSION, by: PrincipalId(1), at };
                    let _ = driver.apply(SessionEvent::Resumed(resumed));
                }
            }
        }
        let mut replayed = Sessions::default();
        for event in &driver.log {
            let read = SessionEvent::decode(event.record_type(), &event.encode()).unwrap();
            replayed.apply(&read).unwrap();
        }
        prop_assert_eq!(&replayed, &driver.sessions);
        let mut folded = Driver::home().sessions;
        for event in driver.sessions.fold_in_parts(part_bytes) {
            let read = SessionEvent::decode(event.record_type(), &event.encode()).unwrap();
            folded.apply(&read).unwrap();
        }
        prop_assert_eq!(&folded, &driver.sessions);
        let session = driver.session();
        let binding = session.offers.values().any(|offer| offer.is_commitment);
        prop_assert_eq!(session.state == State::Agreeing, {
            let talks = matches!(session.state, State::Conversing | State::Agreeing | State::Executing);
            talks && session.accepted == 0 && binding
        });
    }
}
