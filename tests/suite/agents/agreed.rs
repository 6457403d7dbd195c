//! Promises that are agreed on in a session: COMMIT offers one, ACCEPT makes it bind, and what
//! else becomes of an offer; in the broker.

use npayload::asp::commitment::{Commitment, Mode, State as Promised, Which};
use npayload::broker::asp::AspError;
use npayload::types::CommitmentId;
use serde_json::{Value, json};

use super::*;

/// Two that promise, and one that watches.
const PAIR: &[(&str, Role)] = &[
    ("lead", Role::Coordinator),
    ("writer", Role::Specialist),
    ("reader", Role::Specialist),
];

/// Above every id.
const LAST: CommitmentId = CommitmentId(u128::MAX);

impl Floor {
    pub(super) fn try_say(
        &mut self,
        session: SessionId,
        from: &str,
        to: Option<&str>,
        said: Performative,
        payload: Value,
        (id, in_reply_to): (MessageId, Option<MessageId>),
    ) -> Result<Accepted<SentMessage>, Refusal> {
        let at = self.at();
        let from = AgentRef::parse(from).unwrap();
        let to = to.map(|to| AgentRef::parse(to).unwrap());
        let addressed = self
            .broker
            .address(&ME, session, &from, to.as_ref(), at)
            .map_err(Refusal::from)?;
        let message = Message {
            id,
            session,
            sender: addressed.sender,
            recipient: addressed.recipient,
            performative: said,
            message_type: None,
            payload: Digest::ZERO,
            in_reply_to,
            constraints: Constraints::default(),
        };
        let payload = Canonical::of(&payload).unwrap();
        let send = Send::new(message, Some(payload), ME.id)
            .map_err(|error| Refusal::from(BrokerError::from(AspError::from(error))))?;
        self.broker.send_message(&ME, &send, None, None, at)
    }

    fn says(
        &mut self,
        session: SessionId,
        from: &str,
        said: Performative,
        payload: Value,
        in_reply_to: Option<MessageId>,
    ) -> (MessageId, SentMessage) {
        let id = self.next_id();
        let accepted = self.try_say(session, from, None, said, payload, (id, in_reply_to));
        (id, self.durable(accepted.unwrap()))
    }

    /// What `writer` offers to all.
    fn offers(&mut self, session: SessionId, payload: Value) -> (MessageId, CommitmentId) {
        let (id, sent) = self.says(session, "writer", Performative::Commit, payload, None);
        (id, sent.commitment.expect("it describes a commitment"))
    }

    fn commitment(&self, id: CommitmentId) -> Arc<Commitment> {
        let seen = self.broker.see_commitment(&ME, id, self.at()).unwrap();
        seen.value.commitment
    }

    fn held(&self) -> u64 {
        self.balance(Some("writer")).held
    }
}

fn described(floor: &Floor) -> Value {
    json!({
        "description": "Deliver competitor pricing analysis",
        "deadline": floor.now + 60_000,
        "terms": { "pages": 12 },
        "escrow": { "amount": 50, "currency": "USD" },
        "penalties": { "nonDeliveryPercent": 40 },
    })
}

fn refused<T: std::fmt::Debug>(result: Result<T, Refusal>) -> AspError {
    match result.unwrap_err().error {
        BrokerError::Asp(error) => *error,
        other => panic!("{other}"),
    }
}

fn answer(said: Performative) -> Value {
    match said {
        Performative::Reject => json!({ "code": "tooDear" }),
        Performative::Counter => json!({ "terms": {} }),
        _ => json!({}),
    }
}

#[test]
fn a_commit_offers_and_an_accept_binds_both_and_moves_the_session() {
    let mut floor = Floor::new();
    let session = floor.create(PAIR).session.session;
    floor.pay_in("writer", 80);
    let payload = described(&floor);
    let (offer, id) = floor.offers(session, payload.clone());
    assert_eq!(floor.state_of(session), State::Agreeing);
    let offered = floor.commitment(id);
    assert_eq!(
        (offered.state, offered.created.mode, offered.created.message),
        (Promised::Proposed, Mode::Agreed, Some(offer))
    );
    assert_eq!(
        offered.created.promise.terms.as_ref().unwrap().as_str(),
        r#"{"pages":12}"#
    );
    assert_eq!(floor.held(), 50, "held before anybody accepts");
    let floor_now = floor.now;
    let mut floor = floor.reopened();
    assert_eq!(floor.commitment(id), offered, "the same after a restart");

    let (accept, sent) = floor.says(
        session,
        "reader",
        Performative::Accept,
        json!({}),
        Some(offer),
    );
    assert_eq!((sent.commitment, sent.state), (Some(id), State::Executing));
    let active = floor.commitment(id);
    assert_eq!(active.state, Promised::Active);
    let party = active.counterparty.unwrap();
    let reader = AgentRef::parse("reader").unwrap();
    let told = floor.broker.see_agent(&ME, &reader, floor.at()).unwrap();
    assert_eq!(party.agent, told.value.agent.agent);
    // Sent again, both are answered as before, and nothing is written.
    for (from, said, payload, ids) in [
        ("writer", Performative::Commit, payload, (offer, None)),
        (
            "reader",
            Performative::Accept,
            json!({}),
            (accept, Some(offer)),
        ),
    ] {
        let again = floor.try_say(session, from, None, said, payload, ids);
        let again = again.unwrap().value;
        assert!(again.is_duplicate);
        assert_eq!(again.commitment, Some(id));
    }
    // What was agreed on cannot be taken back or refused.
    for (from, said) in [
        ("writer", Performative::Withdraw),
        ("lead", Performative::Reject),
    ] {
        let id = floor.next_id();
        let late = floor.try_say(session, from, None, said, answer(said), (id, Some(offer)));
        assert!(matches!(refused(late), AspError::Send(_)));
    }
    floor.now = floor_now + 60_000;
    floor.look();
    let breached = floor.commitment(id);
    assert_eq!(breached.state, Promised::Breached);
    assert_eq!(
        floor.balance(None).available,
        20,
        "40 percent of it, to the organisation: it was held before anybody had accepted"
    );
    assert_eq!(floor.balance(Some("writer")).available, 60);
}

#[test]
fn an_offer_that_is_refused_countered_or_taken_back_gives_its_money_back() {
    for (from, said, becomes) in [
        ("reader", Performative::Reject, Promised::Rejected),
        ("lead", Performative::Counter, Promised::Rejected),
        ("writer", Performative::Withdraw, Promised::Withdrawn),
    ] {
        let mut floor = Floor::new();
        let session = floor.create(PAIR).session.session;
        floor.pay_in("writer", 80);
        let payload = described(&floor);
        let (offer, id) = floor.offers(session, payload);
        let (_, sent) = floor.says(session, from, said, answer(said), Some(offer));
        assert_eq!(
            (sent.commitment, sent.state),
            (Some(id), State::Conversing),
            "{said}"
        );
        assert_eq!(floor.commitment(id).state, becomes);
        assert_eq!(
            (floor.held(), floor.balance(Some("writer")).available),
            (0, 80)
        );
        assert_eq!(
            floor.score("writer").evidence_count,
            0,
            "nothing was promised"
        );
    }
}

#[test]
fn an_offer_lapses_at_its_deadline_and_is_then_only_cleared_away() {
    let mut floor = Floor::new();
    let session = floor.create(PAIR).session.session;
    floor.pay_in("writer", 80);
    let payload = described(&floor);
    let (offer, id) = floor.offers(session, payload);
    floor.now += 60_000;
    let message = floor.next_id();
    let late = floor.try_say(
        session,
        "reader",
        None,
        Performative::Accept,
        json!({}),
        (message, Some(offer)),
    );
    assert!(matches!(refused(late), AspError::OfferLapsed(lapsed) if lapsed == id));
    assert_eq!(floor.commitment(id).state, Promised::Expired);
    assert_eq!(floor.held(), 0);
    assert_eq!(floor.state_of(session), State::Agreeing);
    floor.says(
        session,
        "writer",
        Performative::Withdraw,
        json!({}),
        Some(offer),
    );
    assert_eq!(floor.state_of(session), State::Conversing);
    assert_eq!(floor.commitment(id).state, Promised::Expired);
}

#[test]
fn the_end_of_a_session_and_whoever_leaves_it_end_what_it_offers() {
    for end in ["close", "time", "leave"] {
        let mut floor = Floor::new();
        let session = floor.create(PAIR).session.session;
        floor.pay_in("writer", 120);
        let day = floor.now + 24 * 3_600_000;
        let mut open = Vec::new();
        for _ in 0..2 {
            let mut payload = described(&floor);
            payload["deadline"] = json!(day);
            open.push(floor.offers(session, payload).1);
        }
        assert_eq!(floor.held(), 100);
        let becomes = match end {
            "close" => {
                floor.says(session, "lead", Performative::Close, json!({}), None);
                Promised::Expired
            }
            "time" => {
                floor.now += 3_600_000;
                floor.look();
                assert_eq!(floor.state_of(session), State::Failed);
                Promised::Expired
            }
            _ => {
                let writer = AgentRef::parse("writer").unwrap();
                let at = floor.at();
                let left = floor.broker.leave_session(&ME, session, &writer, at);
                floor.durable(left.unwrap());
                assert_eq!(floor.state_of(session), State::Conversing);
                Promised::Withdrawn
            }
        };
        let check = |floor: &Floor| {
            for id in &open {
                assert_eq!(floor.commitment(*id).state, becomes, "{end}");
            }
            let balance = floor.balance(Some("writer"));
            assert_eq!((balance.available, balance.held), (120, 0), "{end}");
        };
        check(&floor);
        check(&floor.reopened());
    }
}

#[test]
fn a_commit_that_describes_nothing_moves_the_session_alone() {
    let mut floor = Floor::new();
    let session = floor.create(PAIR).session.session;
    let plain = json!({ "terms": {}, "deadline": "soon", "commitmentId": "ours-1" });
    let (offer, sent) = floor.says(session, "writer", Performative::Commit, plain, None);
    assert_eq!((sent.commitment, sent.state), (None, State::Agreeing));
    let (_, sent) = floor.says(
        session,
        "lead",
        Performative::Accept,
        json!({}),
        Some(offer),
    );
    assert_eq!((sent.commitment, sent.state), (None, State::Executing));
    let all = floor
        .broker
        .live_commitments(&ME, Which::All, &|_| true, LAST, 10, floor.at())
        .unwrap();
    assert!(all.seen.is_empty() && all.rest.is_none());
}

#[test]
fn what_cannot_be_offered_is_refused_with_its_message() {
    let mut floor = Floor::new();
    let session = floor.create(PAIR).session.session;
    let with = |floor: &Floor, member: &str, value: Value| {
        let mut payload = described(floor);
        payload[member] = value;
        payload
    };
    let now = floor.now;
    let poor = described(&floor);
    let free = |floor: &Floor, member: &str, value: Value| {
        let mut payload = with(floor, member, value);
        payload.as_object_mut().unwrap().remove("escrow");
        payload
    };
    let chosen = "cmt_018bcfe5-6800-7000-8000-000000000001";
    for (payload, what) in [
        (poor, "nothing is there to be held"),
        (free(&floor, "deadline", json!(now)), "too late"),
        (free(&floor, "deadline", json!("soon")), "no time"),
        (
            free(&floor, "obligations", json!([{ "party": 1 }])),
            "a wrong member",
        ),
        (free(&floor, "severity", json!(6)), "a limit"),
        (
            free(&floor, "counterparty", json!("reader")),
            "the message is to all",
        ),
        (free(&floor, "commitmentId", json!("mine")), "no id"),
        (
            free(
                &floor,
                "commitmentId",
                json!(chosen.replace("-7000-", "-4000-")),
            ),
            "no version 7",
        ),
    ] {
        let id = floor.next_id();
        let tried = floor.try_say(
            session,
            "writer",
            None,
            Performative::Commit,
            payload,
            (id, None),
        );
        refused(tried);
        assert_eq!(floor.state_of(session), State::Conversing, "{what}");
        let (_, sessions, _) = floor.states();
        let held = sessions.session(session).unwrap();
        assert!(held.offers.is_empty(), "{what}");
        assert_eq!(held.messages(), 0, "{what}");
    }
    // Of an id that a client chose, a second promise is refused.
    let payload = free(&floor, "commitmentId", json!(chosen));
    let (_, id) = floor.offers(session, payload.clone());
    assert_eq!(id.to_string(), chosen);
    let message = floor.next_id();
    let twice = floor.try_say(
        session,
        "writer",
        None,
        Performative::Commit,
        payload,
        (message, None),
    );
    assert!(matches!(refused(twice), AspError::Commitment(_)));
    // One to a recipient is for that one alone.
    let payload = free(&floor, "counterparty", json!("reader"));
    let offer = floor.next_id();
    let sent = floor.try_say(
        session,
        "writer",
        Some("reader"),
        Performative::Commit,
        payload,
        (offer, None),
    );
    let sent = floor.durable(sent.unwrap());
    let offered = floor.commitment(sent.commitment.unwrap());
    assert!(offered.created.promise.counterparty.is_some());
    let message = floor.next_id();
    let other = floor.try_say(
        session,
        "lead",
        None,
        Performative::Accept,
        json!({}),
        (message, Some(offer)),
    );
    assert!(matches!(refused(other), AspError::Send(_)));
}
