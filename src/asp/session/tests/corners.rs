//! What somebody who means harm would try.

use std::sync::Arc;

use super::*;

/// A coordinator and a specialist who talk, and one from another organisation who is invited.
fn with_invited() -> Driver {
    let mut driver = Driver::new(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(WORKER, HOME, Role::Specialist),
        invitee(GUEST, ABROAD, Role::Specialist),
        invitee(AgentId(5), ABROAD, Role::Specialist),
    ]);
    driver.say(LEAD, Performative::Propose, None).unwrap();
    driver.say(AgentId(5), Performative::Accept, None).unwrap();
    driver.say(LEAD, Performative::Inform, None).unwrap();
    assert_eq!(driver.state(), State::Conversing);
    driver
}

#[test]
fn the_id_of_an_open_offer_is_nobody_elses_even_when_it_is_no_longer_held() {
    let mut driver = Driver::home();
    driver
        .send(message(50, WORKER, Performative::Commit))
        .unwrap();
    driver.number = 100;
    for _ in 0..HELD_IDS {
        driver.say(WORKER, Performative::Inform, None).unwrap();
    }
    assert!(driver.session().taken(id(50)).is_none());
    let before = driver.session().offers.clone();
    let taken = driver.send(message(50, LEAD, Performative::Commit));
    assert_eq!(taken, Err(SendError::MessageIdTaken { id: id(50) }));
    assert_eq!(driver.session().offers, before);

    let mut asks = supplied(51, LEAD, Performative::Query);
    asks.constraints.max_response_time_ms = Some(5_000);
    driver.send(send(asks.clone())).unwrap();
    for _ in 0..HELD_IDS {
        driver.say(LEAD, Performative::Inform, None).unwrap();
    }
    asks.sender = WATCHER;
    let taken = driver.send(send(asks));
    assert_eq!(taken, Err(SendError::MessageIdTaken { id: id(51) }));
}

#[test]
fn who_is_only_invited_answers_no_offer() {
    let mut driver = with_invited();
    let mut offer = supplied(500, WORKER, Performative::Commit);
    offer.recipient = Some(LEAD);
    driver.send(send(offer)).unwrap();
    assert_eq!(driver.state(), State::Agreeing);
    driver
        .say(GUEST, Performative::Counter, Some(id(500)))
        .unwrap();
    assert!(driver.session().offers.contains_key(&id(500)));
    driver
        .say(LEAD, Performative::Accept, Some(id(500)))
        .unwrap();
    assert_eq!(driver.state(), State::Executing);
}

#[test]
fn an_invitation_that_is_answered_stops_its_clock() {
    for said in [Performative::Accept, Performative::Reject] {
        let mut driver = with_invited();
        driver.leave(AgentId(5)).unwrap();
        let mut asks = supplied(500, LEAD, Performative::Query);
        asks.recipient = Some(GUEST);
        asks.constraints.max_response_time_ms = Some(5_000);
        driver.send(send(asks)).unwrap();
        driver.say(GUEST, said, Some(id(500))).unwrap();
        assert_eq!(driver.session().asked.len(), 0, "{said}");
    }
}

#[test]
fn what_is_asked_while_a_session_is_paused_gets_back_the_time_that_it_stood_still() {
    let mut driver = Driver::home();
    driver.say(WORKER, Performative::Escalate, None).unwrap();
    driver.wait_ms(60_000);
    let mut asks = supplied(50, LEAD, Performative::Query);
    asks.constraints.max_response_time_ms = Some(5_000);
    driver.send(send(asks)).unwrap();
    driver.wait_ms(1_000);
    driver.resume().unwrap();
    let due = driver.session().asked[&id(50)].due;
    assert_eq!(due, Some(driver.now.saturating_add_ms(5_000)));
}

#[test]
fn who_was_never_invited_has_no_part_in_what_ended() {
    let mut driver = Driver::new(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(GUEST, ABROAD, Role::Specialist),
    ]);
    driver.say(LEAD, Performative::Close, None).unwrap();
    assert!(driver.sessions.ended_of_agent(LEAD).is_some());
    assert_eq!(driver.sessions.ended_of_agent(GUEST), None);
    let mut refused = Driver::invited();
    refused.say(GUEST, Performative::Reject, None).unwrap();
    assert!(refused.sessions.ended_of_agent(GUEST).is_some());
}

#[test]
fn an_organisation_has_so_many_live_sessions_and_no_more() {
    let mut driver = Driver::home();
    let one = driver.session().clone();
    for n in 1..MAX_LIVE as u128 {
        let mut other = one.clone();
        other.session = SessionId(SESSION.0 + n);
        driver.sessions.insert(Arc::new(other));
    }
    let mut more = created(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(WORKER, HOME, Role::Specialist),
    ]);
    more.session = SessionId(1);
    let refused = driver.sessions.check_create(more.clone());
    let Err(CreateError::OutOfLimit(OutOfLimit { what, value, .. })) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!((what, value), ("live sessions", MAX_LIVE as u64 + 1));
    driver.say(LEAD, Performative::Close, None).unwrap();
    assert!(driver.sessions.check_create(more).is_ok());
}
