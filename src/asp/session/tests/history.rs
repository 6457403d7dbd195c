//! What every history has, whatever anybody tried.

use proptest::prelude::*;

use super::*;

/// What anybody may try, sensible or not.
#[derive(Clone, Debug)]
enum Try {
    Say(u128, usize, Option<u128>, Option<Asks>),
    Wait(i64),
    Leave(u128),
    Resume,
}

/// What a message may ask of its answer, and say besides.
#[derive(Clone, Debug)]
struct Asks {
    thousandths: u16,
    allowed: usize,
    message_type: String,
    payload: f64,
}

fn asks() -> impl Strategy<Value = Asks> {
    let payload = proptest::num::f64::NORMAL | proptest::num::f64::ZERO;
    (0u16..=1000, 0usize..14, ".{1,20}", payload).prop_map(
        |(thousandths, allowed, message_type, payload)| Asks {
            thousandths,
            allowed,
            message_type,
            payload,
        },
    )
}

fn attempt() -> impl Strategy<Value = Try> {
    prop_oneof![
        12 => (1u128..6, 0usize..13, proptest::option::of(1u128..40), proptest::option::of(asks()))
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
        topic in ".{1,40}",
        metadata in proptest::collection::btree_map(".{0,8}", ".{0,8}", 0..6),
        max_messages in proptest::option::of(1u64..200),
    ) {
        let mut driver = Driver::empty();
        let mut new = created(vec![
            invitee(LEAD, HOME, Role::Coordinator),
            invitee(WORKER, HOME, Role::Specialist),
            invitee(WATCHER, HOME, Role::Observer),
            invitee(GUEST, ABROAD, Role::Specialist),
        ]);
        new.topic = topic;
        new.metadata = metadata.into_iter().map(|(name, value)| (name, value.into())).collect();
        new.limits.max_messages = max_messages;
        driver.create(new);
        for attempt in attempts {
            match attempt {
                Try::Say(who, said, to, asks) => {
                    driver.number += 1;
                    let said = Performative::ALL[said];
                    let mut message = supplied(driver.number, AgentId(who), said);
                    message.in_reply_to = to.map(id);
                    let mut payload = json!({"n": 1});
                    let org = if asks.is_some() { HOME } else { ABROAD };
                    if let Some(asks) = asks {
                        let trust = TrustScore::try_from(f64::from(asks.thousandths) / 1000.0);
                        message.constraints.required_trust = Some(trust.unwrap());
                        message.constraints.max_response_time_ms = Some(20_000);
                        let allowed = &Performative::ALL[..asks.allowed];
                        message.constraints.allowed_performatives = allowed.to_vec();
                        message.message_type = Some(asks.message_type);
                        payload = json!({"x": asks.payload});
                    }
                    let Ok(payload) = Canonical::of(&payload) else {
                        continue;
                    };
                    let mut send = Send::new(message, Some(payload), PrincipalId(1)).unwrap();
                    if said == Performative::Delegate {
                        send = send.bringing(invitee(AgentId(5), org, Role::Specialist));
                    }
                    let _ = driver.send(send);
                }
                Try::Wait(ms) => driver.wait_ms(ms),
                Try::Leave(who) => {
                    let _ = driver.leave(AgentId(who));
                }
                Try::Resume => {
                    let _ = driver.resume();
                }
            }
        }
        for record in &driver.log {
            let bytes = String::from_utf8(record.encode()).unwrap();
            let canonical = Canonical::parse(&bytes).unwrap();
            prop_assert_eq!(canonical.as_str(), bytes);
        }
        prop_assert_eq!(driver.verified(true).hash(), driver.verified(false).hash());
        prop_assert_eq!(&driver.replayed(), &driver.sessions);
        prop_assert_eq!(&driver.unfolded(part_bytes), &driver.sessions);
        let session = driver.session();
        let binding = session.offers.values().any(|offer| offer.is_commitment);
        prop_assert_eq!(session.state == State::Agreeing, {
            let talks = matches!(session.state, State::Conversing | State::Agreeing | State::Executing);
            talks && session.accepted == 0 && binding
        });
    }
}
