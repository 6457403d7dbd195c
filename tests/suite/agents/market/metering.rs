//! What of a session is metered, and in the entry that ends it.

use npayload::asp::market::{Count, Month};

use super::*;
use crate::agents::walls::show;

#[test]
fn a_session_is_metered_by_what_it_holds_live_and_in_the_entry_that_ends_it() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let id = fair.subscribe(listing);
    assert_eq!(fair.tally(id), Tally::default());
    let session = fair.open("agent://acme/bot").unwrap();
    assert_eq!(
        fair.tally(id),
        tally(1, 1, 0),
        "the invitation is its coordinator's"
    );
    let (acme, beta) = (fair.acme, fair.beta);
    fair.say(acme, session, "bot", Performative::Accept);
    fair.say(beta, session, "lead", Performative::Inform);
    fair.assign(session, Some("agent://acme/bot"));
    fair.assign(session, None);
    fair.say(acme, session, "bot", Performative::Inform);
    assert_eq!(
        fair.tally(id),
        tally(1, 4, 2),
        "the publisher's messages are not counted"
    );
    // The same from the log alone, and from a snapshot.
    let mut fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 4, 2));
    fair.publish(content(&["helper"]));
    for _ in 0..4 {
        fair.say(acme, session, "bot", Performative::Inform);
    }
    let written = fair.floor.snapshots();
    assert!(written >= 2, "the market's and the sessions', of {written}");
    let mut fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 4, 2));
    assert_eq!(fair.unmetered(), 1);
    fair.say(beta, session, "lead", Performative::Close);
    assert_eq!(fair.unmetered(), 0, "in the entry that ended it");
    let usage = fair.usage(id);
    assert_eq!(usage.total.tally, tally(1, 5, 2), "its last message counts");
    assert_eq!(usage.months[0].month, Month::of(fair.at()));
    assert_eq!(usage.total.charge.unwrap().amount, 500);
    let mut fair = fair.reopened();
    assert_eq!(fair.usage(id), usage);
    fair.floor.look();
    assert_eq!(fair.usage(id), usage, "once");
    let (broker, at) = (&fair.floor.broker, fair.at());
    assert!(
        broker.subscription_usage(&ME, id, None, None, at).is_ok(),
        "and an operator"
    );
    let gamma = admin(&mut fair.floor, "gamma");
    let (broker, at) = (&fair.floor.broker, fair.floor.at());
    let absent = broker.subscription_usage(&gamma, id, None, None, at);
    assert_eq!(market_error(absent), MarketError::SubscriptionNotFound(id));
}

#[test]
fn sessions_that_the_clock_ends_are_metered_too() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot"]));
    let id = fair.subscribe(listing);
    fair.open("agent://acme/bot").unwrap();
    // Nobody accepts it, and it fails; the broker is down as it does.
    fair.floor.now += 40_000;
    let mut fair = fair.reopened();
    fair.floor.look();
    assert_eq!(fair.tally(id), tally(1, 1, 0));
    let session = fair.open("agent://acme/bot").unwrap();
    let acme = fair.acme;
    fair.say(acme, session, "bot", Performative::Accept);
    fair.assign(session, Some("agent://acme/bot"));
    fair.floor.now += 4_000_000;
    fair.floor.look();
    assert_eq!(fair.tally(id), tally(2, 3, 1), "it expired");
    assert_eq!(fair.unmetered(), 0);
    let state = fair
        .floor
        .broker
        .see_session(&acme, session, fair.at())
        .unwrap();
    assert_eq!(state.value.session.state, State::Failed);
    assert_eq!(fair.reopened().tally(id), tally(2, 3, 1));
}

#[test]
fn who_is_brought_in_later_is_metered_from_then_on() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    let id = fair.subscribe(listing);
    let beta = fair.beta;
    let at = fair.at();
    let own = new_session(&[("lead", Role::Coordinator), ("clerk", Role::Specialist)]);
    let made = fair.floor.broker.create_session(&beta, own, at).unwrap();
    let session = fair.floor.durable(made).session.session;
    fair.say(beta, session, "lead", Performative::Inform);
    fair.assign(session, None);
    assert_eq!(
        fair.tally(id),
        Tally::default(),
        "nobody of the market is in it"
    );
    for guest in ["bot", "helper"] {
        let from = AgentRef::parse("lead").unwrap();
        let message = fair.floor.next_id();
        let addressed = fair
            .floor
            .broker
            .address(&beta, session, &from, None, at)
            .unwrap();
        let uri = format!("agent://acme/{guest}");
        let message = Message {
            id: message,
            session,
            sender: addressed.sender,
            recipient: None,
            performative: Performative::Delegate,
            message_type: Some("test.brings".to_owned()),
            payload: Digest::ZERO,
            in_reply_to: None,
            constraints: Constraints::default(),
        };
        let payload = Canonical::of(&serde_json::json!({"n": 1})).unwrap();
        let send = Send::new(message, Some(payload), beta.id).unwrap();
        let brings = npayload::broker::asp::Invited {
            agent: AgentRef::parse(&uri).unwrap(),
            role: Role::Specialist,
        };
        let sent = fair
            .floor
            .broker
            .send_message(&beta, &send, Some(&brings), None, at)
            .unwrap();
        fair.floor.durable(sent);
        // Sent again, it is answered as before and counts nothing.
        let again = fair
            .floor
            .broker
            .send_message(&beta, &send, Some(&brings), None, at)
            .unwrap();
        assert!(again.value.is_duplicate);
    }
    assert_eq!(
        fair.tally(id),
        tally(1, 2, 0),
        "one session, from the first of them on"
    );
    fair.assign(session, Some("agent://acme/helper"));
    fair.assign(session, Some("clerk"));
    assert_eq!(
        fair.tally(id),
        tally(1, 4, 1),
        "a task of one's own agent is no call"
    );
    fair.say(beta, session, "clerk", Performative::Inform);
    let mut fair = fair.reopened();
    assert_eq!(fair.tally(id), tally(1, 5, 1));
    fair.say(beta, session, "lead", Performative::Close);
    assert_eq!((fair.tally(id), fair.unmetered()), (tally(1, 6, 1), 0));
}

#[test]
fn whom_a_grant_shows_is_not_metered() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    let id = fair.subscribe(listing);
    let (acme, beta) = (fair.acme, fair.beta);
    show(&mut fair.floor, &acme, &beta, "bot");
    let session = fair.open("agent://acme/bot").unwrap();
    fair.assign_after_accept(session);
    assert_eq!(fair.tally(id), Tally::default());
    fair.open("agent://acme/helper").unwrap();
    assert_eq!(fair.tally(id), tally(1, 1, 0));
}

#[test]
fn many_sessions_are_metered_as_a_plain_count_of_what_was_sent_says() {
    let mut fair = Fair::new();
    let listing = fair.publish(content(&["bot", "helper"]));
    let id = fair.subscribe(listing);
    let (acme, beta) = (fair.acme, fair.beta);
    let mut plain = Tally::default();
    let mut open = Vec::new();
    let mut random = 7_u64;
    for _ in 0..160 {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (act, which) = (random >> 33, usize::try_from(random >> 40).unwrap());
        match (act % 10, open.is_empty()) {
            (0 | 1, _) | (_, true) => {
                let guest = ["bot", "helper"][which % 2];
                let session = fair.open(&format!("agent://acme/{guest}")).unwrap();
                fair.say(acme, session, guest, Performative::Accept);
                plain += Count {
                    calls: 0,
                    messages: 1,
                };
                plain.sessions += 1;
                open.push((session, guest));
            }
            (2, _) => {
                let (session, _) = open.swap_remove(which % open.len());
                fair.say(beta, session, "lead", Performative::Close);
                plain.messages += 1;
            }
            (3 | 4, _) => {
                let (session, guest) = open[which % open.len()];
                fair.say(acme, session, guest, Performative::Inform);
            }
            (5 | 6, _) => {
                let (session, guest) = open[which % open.len()];
                fair.assign(session, Some(&format!("agent://acme/{guest}")));
                plain += Count {
                    calls: 1,
                    messages: 1,
                };
            }
            (7, _) => {
                let (session, _) = open[which % open.len()];
                fair.say(beta, session, "lead", Performative::Inform);
                plain.messages += 1;
            }
            (8, _) => drop(fair.floor.snapshots()),
            _ => fair = fair.reopened(),
        }
        assert_eq!(fair.tally(id), plain);
    }
    assert!(plain.sessions > 10 && plain.calls > 10);
}
