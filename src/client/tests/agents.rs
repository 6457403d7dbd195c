//! Agents over connections that fail: nothing is said twice, nothing is read twice or left out.

use std::time::Duration;

use super::fake::{Fake, Fault};
use super::fake_asp::SESSION;
use crate::asp::chain::{SigningKey, message_digest, payload_digest, verify_signature};
use crate::asp::registry::{AgentStanding, Profile};
use crate::asp::session::{Message, Performative, Role};
use crate::asp::{Canonical, TrustScore};
use crate::client::{NewCall, NewMessage, TailError};
use crate::protocol::ErrorCode;
use crate::protocol::asp::{AgentRow, AgentSearch, ParticipantRow};
use crate::types::{AgentId, AgentName, MessageId, OrgName, PrincipalId, Timestamp};

fn agent() -> AgentName {
    AgentName::parse("research-agent").unwrap()
}

fn said(number: usize) -> NewMessage {
    NewMessage::new(agent()).content(&number).unwrap()
}

fn payloads(fake: &Fake) -> Vec<String> {
    let state = fake.state();
    let all = state.asp.messages.iter();
    all.map(|(_, payload)| payload.clone()).collect()
}

#[tokio::test]
async fn a_message_whose_answer_was_lost_is_taken_once() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fake.state().faults = [Fault::DropAfter, Fault::DropBefore, Fault::DropAfter].into();
    let sent = client.sessions().send(SESSION, said(0)).await.unwrap();
    // The first try was carried out, and the last one was answered.
    assert!(sent.duplicate);
    let sent = client.sessions().send(SESSION, said(1)).await.unwrap();
    assert_eq!((sent.sequence, sent.duplicate), (1, false));
    assert_eq!(payloads(&fake), ["0", "1"]);
    let ids: Vec<MessageId> = fake
        .state()
        .asp
        .messages
        .iter()
        .map(|(id, _)| *id)
        .collect();
    assert!(ids[0] < ids[1], "the broker lets go of the oldest first");
    let of_its_own = NewMessage {
        id: Some(MessageId(9)),
        ..said(2)
    };
    let sent = client.sessions().send(SESSION, of_its_own).await.unwrap();
    assert_eq!(sent.id, MessageId(9));
}

#[tokio::test]
async fn a_tail_goes_on_over_restarts_without_losing_or_repeating_any() {
    let mut fake = Fake::new().await;
    fake.state().asp.page = 2;
    let client = fake.client().await;
    let mut tail = client.sessions().tail(SESSION, 1).follow(true);
    let mut found = Vec::new();
    for round in 0..4 {
        for number in 0..5 {
            let message = said(5 * round + number);
            client.sessions().send(SESSION, message).await.unwrap();
        }
        let wanted = if round == 0 { 4 } else { 5 };
        for _ in 0..wanted {
            let record = tail.next().await.unwrap().unwrap();
            found.push(record.record.text().to_owned());
            assert_eq!(tail.position(), found.len() as u64 + 1);
        }
        fake = fake.start().await;
    }
    let close = NewMessage::new(agent()).said(Performative::Close);
    client.sessions().send(SESSION, close).await.unwrap();
    let last = tail.next().await.unwrap().unwrap();
    assert_eq!(last.record.text(), r#"{"payload":null,"sequence":20}"#);
    // The session is over, and so is its tail.
    assert!(tail.next().await.is_none());
    let wanted = (1..20).map(|at| format!(r#"{{"payload":{at},"sequence":{at}}}"#));
    assert!(found.into_iter().eq(wanted));
}

#[tokio::test]
async fn a_tail_that_does_not_follow_ends_with_the_last_record_there_is() {
    let fake = Fake::new().await;
    fake.state().asp.page = 2;
    let client = fake.client().await;
    let mut empty = client.sessions().tail(SESSION, 0);
    assert!(empty.next().await.is_none());
    for number in 0..5 {
        client.sessions().send(SESSION, said(number)).await.unwrap();
    }
    let mut tail = client.sessions().tail(SESSION, 0);
    let mut found = 0;
    while let Some(record) = tail.next().await {
        record.unwrap();
        found += 1;
    }
    assert_eq!(found, 5);
}

#[tokio::test]
async fn a_broker_that_answers_with_another_record_is_found_out() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    for number in 0..3 {
        client.sessions().send(SESSION, said(number)).await.unwrap();
    }
    fake.state().asp.skips = true;
    let mut tail = client.sessions().tail(SESSION, 1);
    let error = tail.next().await.unwrap().unwrap_err();
    let TailError::Gap { expected, found } = error else {
        panic!("{error:?}");
    };
    assert_eq!((expected, found), (1, 2));
    assert!(tail.next().await.is_none());
}

#[tokio::test]
async fn an_inbox_goes_on_where_its_cursor_says() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    for number in 0..3 {
        client.sessions().send(SESSION, said(number)).await.unwrap();
    }
    let mut inbox = client.sessions().inbox(agent(), None);
    let mut found = 0;
    while let Some(entry) = inbox.next().await {
        entry.unwrap();
        found += 1;
    }
    assert_eq!((found, inbox.cursor()), (3, Some("3")));
    client.sessions().send(SESSION, said(3)).await.unwrap();
    let mut inbox = client.sessions().inbox(agent(), Some("3".to_owned()));
    let entry = inbox.next().await.unwrap().unwrap();
    assert_eq!(entry.offset.0, 3);
    assert!(inbox.next().await.is_none());
}

#[tokio::test]
async fn pages_follow_one_another_until_the_last() {
    let fake = Fake::new().await;
    let row = |number: u128| AgentRow {
        agent: AgentId(number),
        name: agent(),
        org: OrgName::parse("default").unwrap(),
        standing: AgentStanding::Registered,
        profile: Profile::default(),
        public_key: None,
        trust_score: TrustScore::NEUTRAL,
        created_at: Timestamp(0),
        changed_at: Timestamp(0),
        by: PrincipalId(0),
    };
    fake.state().asp.agents = (0..5).map(row).collect();
    let client = fake.client().await;
    let search = AgentSearch {
        limit: 2,
        ..AgentSearch::default()
    };
    let all = client.agents().search(search).all().await.unwrap();
    let ids: Vec<u128> = all.iter().map(|row| row.agent.0).collect();
    assert_eq!(ids, [0, 1, 2, 3, 4]);
}

/// Waits until a call has an end, which a task of its own reports.
async fn until_ended(fake: &Fake, at: usize) {
    for _ in 0..10_000 {
        if fake.state().asp.calls[at].1.is_some() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("call {at} has no end");
}

#[tokio::test]
async fn a_call_that_is_dropped_is_recorded_as_failed_and_one_that_ended_is_not() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let tools = client.tools();
    let call = || tools.call(NewCall::new("t", agent()));
    let ended = |at: usize| fake.state().asp.calls[at].1.clone();
    call().await.unwrap().finish(&1).await.unwrap();
    call().await.unwrap().fail("timeout", None).await.unwrap();
    drop(call().await.unwrap());
    until_ended(&fake, 2).await;
    let all: Vec<_> = (0..3).map(|at| ended(at).unwrap()).collect();
    assert_eq!(all, ["finished", "timeout", "dropped"]);
    // A result that cannot be written ends the call as well.
    let bad = std::collections::BTreeMap::from([(vec![1], 1)]);
    call().await.unwrap().finish(&bad).await.unwrap_err();
    until_ended(&fake, 3).await;
    assert_eq!(ended(3).as_deref(), Some("dropped"));
}

#[tokio::test]
async fn a_refusal_comes_as_it_is() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    fake.state().asp.is_closed = true;
    let error = client.sessions().send(SESSION, said(0)).await.unwrap_err();
    assert!(error.is(ErrorCode::SessionEnded), "{error}");
}

#[tokio::test]
async fn what_is_signed_is_what_the_broker_will_record() {
    let fake = Fake::new().await;
    let client = fake.client().await;
    let participant = |number: u128, org: &str, name: &str| ParticipantRow {
        agent_id: AgentId(number),
        name: AgentName::parse(name).unwrap(),
        org: OrgName::parse(org).unwrap(),
        role: Role::Coordinator,
        standing: None,
        messages: None,
    };
    // Somebody else's agent of the same name is not meant.
    fake.state().asp.participants = vec![
        participant(9, "acme", "research-agent"),
        participant(1, "default", "research-agent"),
        participant(2, "acme", "writer"),
    ];
    let key = SigningKey::from_seed(&[7; 32]);
    let public = key.public_key();
    let sessions = client.sessions().signing_with(key);
    let writer: crate::asp::registry::AgentRef = "agent://acme/writer".parse().unwrap();
    let payload = r#"{ "z": 1.50, "a": "é" }"#;
    for _ in 0..2 {
        let message = NewMessage::new(agent())
            .to(writer.clone())
            .typed("task.assign")
            .payload(crate::protocol::asp::JsonText::parse(payload).unwrap());
        sessions.send(SESSION, message).await.unwrap();
    }
    assert_eq!(fake.state().asp.asked, 1, "participants are remembered");
    let sent = fake.state().asp.sent.take().unwrap();
    assert_eq!(sent.performative, Some(Performative::Propose));
    let message = Message {
        id: sent.id,
        session: SESSION,
        sender: AgentId(1),
        recipient: Some(AgentId(2)),
        performative: Performative::Propose,
        message_type: Some("task.assign".to_owned()),
        payload: payload_digest(Some(&Canonical::parse(r#"{"a":"é","z":1.5}"#).unwrap())),
        in_reply_to: None,
        constraints: crate::asp::session::Constraints::default(),
    };
    let digest = message_digest(&message.canonical());
    let signature = sent.signature.unwrap().parse().unwrap();
    verify_signature(&public, &digest, &signature).unwrap();

    // What the broker will refuse anyway it gets as it is, and says why.
    for message in [
        NewMessage::new(AgentName::parse("nobody").unwrap()),
        NewMessage::new(agent()).to(AgentName::parse("nobody").unwrap()),
        NewMessage::new(agent())
            .payload(crate::protocol::asp::JsonText::parse(r#"{"a":1,"a":2}"#).unwrap()),
    ] {
        sessions.send(SESSION, message).await.unwrap();
        assert_eq!(fake.state().asp.sent.take().unwrap().signature, None);
    }
}
