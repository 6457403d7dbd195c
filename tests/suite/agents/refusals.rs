//! What is refused, is refused with a typed error, and nothing is written.

use npayload::asp::registry::PublicKey;
use npayload::asp::session::SendError;
use npayload::broker::asp::AspError;

use super::*;

fn asp(refusal: Result<Accepted<SentMessage>, Refusal>) -> AspError {
    match refusal.unwrap_err().error {
        BrokerError::Asp(error) => *error,
        other => panic!("{other}"),
    }
}

#[test]
fn bad_messages_are_refused_by_name_and_leave_no_record() {
    let mut floor = Floor::new();
    floor.register("stranger");
    let session = floor.create(TRIO).session.session;
    let first = floor.next_id();
    let said = Said {
        id: Some(first),
        ..say(Performative::Inform)
    };
    let taken = floor.send(session, "lead", said.clone());
    let before = floor.states();
    let nobody = floor.try_send(session, "nobody", say(Performative::Inform));
    assert!(matches!(asp(nobody), AspError::AgentNotFound { agent } if agent == "nobody"));
    let stranger = floor.try_send(session, "stranger", say(Performative::Inform));
    assert!(matches!(
        asp(stranger),
        AspError::Send(SendError::NotParticipant { .. })
    ));
    let illegal = floor.try_send(session, "watcher", say(Performative::Inform));
    let AspError::Send(SendError::Illegal { state, allowed, .. }) = asp(illegal) else {
        panic!("an observer informs");
    };
    assert_eq!(state, State::Conversing);
    assert_eq!(allowed, [Performative::Query, Performative::Observe]);
    let other_content = Said {
        payload: serde_json::json!({"n": 2}),
        ..said.clone()
    };
    let reused = floor.try_send(session, "lead", other_content);
    assert!(matches!(
        asp(reused),
        AspError::Send(SendError::MessageIdTaken { id }) if id == first
    ));
    let unknown = floor.try_send(SessionId(77), "lead", say(Performative::Inform));
    assert!(matches!(asp(unknown), AspError::SessionNotFound(_)));
    let large = Said {
        payload: serde_json::json!("x".repeat(262_144)),
        ..say(Performative::Inform)
    };
    let large = floor.try_send(session, "lead", large);
    assert!(matches!(
        asp(large),
        AspError::Send(SendError::OutOfLimit(_))
    ));
    assert_eq!(floor.states(), before);
    // The same message again is answered as before, and is not written again.
    let again = floor.try_send(session, "lead", said).unwrap();
    assert!(again.value.is_duplicate && floor.is_done(again.wait));
    assert_eq!(again.value.sequence, taken.sequence);
    assert_eq!(floor.states(), before);
    floor.send(session, "lead", say(Performative::Close));
    let closed = floor.try_send(session, "lead", say(Performative::Inform));
    assert!(matches!(
        asp(closed),
        AspError::Send(SendError::Illegal {
            state: State::Closed,
            ..
        })
    ));
}

#[test]
fn an_agent_with_a_key_is_not_believed_without_its_signature() {
    let mut floor = Floor::new();
    floor.register("lead");
    let session = floor.create(TRIO).session.session;
    let key = npayload::asp::chain::SigningKey::from_seed(&[3; 32]).public_key();
    let at = floor.at();
    let lead = AgentRef::parse("lead").unwrap();
    let set = floor.broker.set_agent_key(&ME, &lead, Some(key), at);
    floor.durable(set.unwrap());
    let unsigned = floor.try_send(session, "lead", say(Performative::Inform));
    assert!(matches!(
        asp(unsigned),
        AspError::Send(SendError::Unsigned { .. })
    ));
    let used = floor.broker.set_agent_key(&ME, &lead, Some(key), at);
    assert!(used.unwrap_err().error.to_string().contains("ed25519:"));
    let gone = floor.broker.set_agent_key(&ME, &lead, None, at).unwrap();
    assert_eq!(floor.durable(gone).agent.key, None::<PublicKey>);
    floor.send(session, "lead", say(Performative::Inform));
}
