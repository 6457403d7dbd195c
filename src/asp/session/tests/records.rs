//! Records among each other: their chain, the threads of what has ended, who signed.

use super::*;
use crate::asp::chain::SigningKey;

/// Another session of LEAD and that agent.
fn other(number: u128, agent: AgentId) -> Created {
    let mut other = created(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(agent, HOME, Role::Specialist),
    ]);
    other.session = SessionId(0x1000 + number);
    other
}

fn close(driver: &mut Driver, session: SessionId) {
    driver.number += 1;
    let mut message = supplied(driver.number, LEAD, Performative::Close);
    message.session = session;
    driver.send(send(message)).unwrap();
}

#[test]
fn of_two_records_behind_the_same_one_only_the_first_is_taken() {
    let mut driver = Driver::home();
    let link = |number, sender| {
        let said = message(number, sender, Performative::Inform);
        let sent = driver.sessions.check_send(&said, &NeutralTrust, START);
        let Ok(Sent::New(event)) = sent else {
            panic!("{sent:?}");
        };
        driver.sessions.link(event, driver.next_offset()).unwrap()
    };
    let (mut one, mut two) = (link(1, LEAD), link(2, WORKER));
    driver.apply(one.pop().unwrap()).unwrap();
    let refused = driver.apply(two.pop().unwrap()).unwrap_err();
    assert_eq!(
        refused.rule,
        "it does not name the last record of its session"
    );
}

#[test]
fn a_record_of_another_place_is_refused() {
    let mut driver = Driver::home();
    driver.say(LEAD, Performative::Inform, None).unwrap();
    let said = message(9, LEAD, Performative::Inform);
    let Ok(Sent::New(event)) = driver.sessions.check_send(&said, &NeutralTrust, START) else {
        panic!("a message in order");
    };
    let right = driver
        .sessions
        .link(event, driver.next_offset())
        .unwrap()
        .remove(0);
    let place = right.place.unwrap();
    let back = place.links.back.unwrap();
    let mut wrong = right.clone();
    for changed in [
        (back.number + 1, back.offset),
        (back.number, Offset(back.offset.0 + 1)),
    ] {
        let links = crate::asp::Links {
            back: Some((changed.0, changed.1.0).into()),
            ..place.links
        };
        wrong.place = Some(Place { links, ..place });
        driver.apply(wrong.clone()).unwrap_err();
    }
    wrong.place = None;
    driver.apply(wrong).unwrap_err();
    driver.apply(right).unwrap();
}

#[test]
fn the_end_is_recorded_behind_what_ended_the_session_and_once() {
    let mut driver = Driver::home();
    driver.say(LEAD, Performative::Close, None).unwrap();
    let (close, end) = (&driver.log[1], driver.log[2].clone());
    assert_eq!(close.sequence(), Some(1));
    assert_eq!(end.links().unwrap().back, Some((1, 101).into()));
    let SessionEvent::Ended(ended) = &end.event else {
        panic!("{end:?}");
    };
    assert_eq!((ended.state, ended.at), (State::Closed, START));
    assert_eq!(ended.participants.len(), 3);
    assert_eq!(driver.session().ended, Some(Offset(102)));
    driver.apply(end).unwrap_err();
    let again = driver.sessions.epitaph(driver.session()).unwrap();
    let links = driver.session().thread.links();
    let again = SessionEvent::Ended(Box::new(again));
    let again = SessionRecord::chain(again, links, &driver.session().hash);
    let refused = driver.apply(again).unwrap_err();
    assert_eq!(refused.rule, "its end is recorded already");
    assert_eq!(driver.sessions.next_filing(&|_| false), None);

    // Nobody but the broker writes it, and of a live session nobody can.
    let mut live = Driver::home();
    let event = driver.log[2].event.clone();
    live.sessions
        .link(event.clone(), live.next_offset())
        .unwrap_err();
    let links = live.session().thread.links();
    let early = SessionRecord::chain(event, links, &live.session().hash);
    live.apply(early).unwrap_err();
}

#[test]
fn what_has_ended_is_walked_backwards_for_each_agent_and_for_all() {
    let mut driver = Driver::empty();
    for number in 0..40 {
        let agent = if number % 3 == 0 { WORKER } else { GUEST };
        driver.create(other(number, agent));
    }
    // They end in another order than they began.
    let ended: Vec<u128> = (0..40).map(|n| n * 7 % 40).filter(|n| n % 5 != 0).collect();
    for number in &ended {
        close(&mut driver, SessionId(0x1000 + number));
    }
    let ends_at = |offset: Offset| {
        let record = &driver.log[usize::try_from(offset.0).unwrap() - 100];
        match &record.event {
            SessionEvent::Ended(ended) => ended,
            other => panic!("{other:?}"),
        }
    };
    let walk = |agent: Option<AgentId>| {
        let last = match agent {
            Some(agent) => driver.sessions.ended_of_agent(agent),
            None => driver.sessions.ended(),
        };
        let mut found = Vec::new();
        let mut next = last;
        while let Some(knot) = next {
            let ended = ends_at(knot.offset);
            found.push(ended.session.0 - 0x1000);
            let one = ended
                .participants
                .iter()
                .find(|one| Some(one.agent) == agent);
            next = one.map_or(ended.all, |one| one.links).back;
        }
        found.reverse();
        found
    };
    assert_eq!(walk(None), ended);
    assert_eq!(walk(Some(LEAD)), ended);
    let only = |is: fn(&u128) -> bool| ended.iter().copied().filter(is).collect::<Vec<_>>();
    assert_eq!(walk(Some(WORKER)), only(|n| n % 3 == 0));
    assert_eq!(walk(Some(GUEST)), only(|n| n % 3 != 0));
    assert_eq!(walk(Some(WATCHER)), [0; 0]);

    let live: Vec<u128> = driver
        .sessions
        .in_state(State::Conversing)
        .map(|session| session.session.0 - 0x1000)
        .collect();
    assert_eq!(live, [35, 30, 25, 20, 15, 10, 5, 0]);
    assert_eq!(driver.sessions.in_state(State::Closed).count(), 0);
    let held: Vec<u128> = driver
        .sessions
        .of_agent(WORKER)
        .map(|session| session.session.0 - 0x1000)
        .collect();
    let newest: Vec<u128> = (0..40).rev().filter(|n| n % 3 == 0).collect();
    assert_eq!(held, newest);
    assert_eq!(driver.replayed(), driver.sessions);
    assert_eq!(driver.unfolded(1000), driver.sessions);
}

#[test]
fn a_clone_stays_as_it_was() {
    let mut driver = Driver::home();
    driver.say(LEAD, Performative::Inform, None).unwrap();
    let (snapshot, parts) = (driver.sessions.clone(), driver.sessions.fold());
    driver.say(LEAD, Performative::Inform, None).unwrap();
    driver.say(LEAD, Performative::Close, None).unwrap();
    assert_eq!(snapshot.fold(), parts);
    assert_ne!(driver.sessions.fold(), parts);
}

#[test]
fn a_new_session_invites_in_the_same_entry_or_not_at_all() {
    let sessions = Sessions::default();
    let new = created(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(GUEST, ABROAD, Role::Specialist),
    ]);
    let invitation = message(1, LEAD, Performative::Propose);
    let records = sessions.link_created(new.clone(), Some(invitation), Offset(100));
    let mut driver = Driver::empty();
    for record in records.unwrap() {
        driver.apply(record).unwrap();
    }
    assert_eq!((driver.state(), driver.log.len()), (State::Invited, 2));
    let refused = |send| sessions.link_created(new.clone(), Some(send), Offset(100));
    let guest = refused(message(1, GUEST, Performative::Propose)).unwrap_err();
    assert!(matches!(
        guest,
        CreateError::Invitation(SendError::NotParticipant { .. })
    ));
    let early = refused(message(1, LEAD, Performative::Inform)).unwrap_err();
    assert!(matches!(
        early,
        CreateError::Invitation(SendError::Illegal { .. })
    ));
    let mut lone = new.clone();
    lone.participants[1] = lone.participants[0];
    let lone = sessions.link_created(lone, None, Offset(100)).unwrap_err();
    assert!(matches!(lone, CreateError::Illegal(_)));
    let mut vague = new;
    vague.metadata.insert("n".to_owned(), json!([0, u64::MAX]));
    let vague = sessions.link_created(vague, None, Offset(100)).unwrap_err();
    assert_eq!(
        vague.to_string(),
        "the metadata cannot be kept: `/n/1` is 18446744073709551615, and integers are within \
         ±9007199254740991; write it as a text"
    );
}

#[test]
fn who_has_a_key_signs_and_nobody_else() {
    let (key, other) = (
        SigningKey::from_seed(&[1; 32]),
        SigningKey::from_seed(&[2; 32]),
    );
    let said = message(1, LEAD, Performative::Inform);
    let public = Some(key.public_key());
    let right = Some(key.sign(&said.digest()));
    let judge = |signature, key| said.clone().signed(signature, key).map(|send| send.key());
    assert_eq!(judge(right, public), Ok(public));
    assert_eq!(judge(None, None), Ok(None));
    assert!(matches!(
        judge(None, public),
        Err(SendError::Unsigned { agent: LEAD, .. })
    ));
    assert_eq!(
        judge(right, None),
        Err(SendError::SignedWithoutKey { agent: LEAD })
    );
    let forged = Some(other.sign(&said.digest()));
    assert!(matches!(
        judge(forged, public),
        Err(SendError::ForgedSignature(_))
    ));
    let stale = message(2, LEAD, Performative::Inform);
    let replayed = stale.signed(right, public).unwrap_err();
    assert!(matches!(replayed, SendError::ForgedSignature(_)));
}

#[test]
fn a_session_keeps_to_its_own_limits() {
    let mut driver = Driver::empty();
    let mut new = created(vec![
        invitee(LEAD, HOME, Role::Coordinator),
        invitee(WORKER, HOME, Role::Specialist),
    ]);
    new.limits = Limits {
        max_messages: Some(2),
        max_participants: Some(2),
        max_payload_bytes: Some(7),
    };
    let mut narrow = new.clone();
    narrow.limits.max_participants = Some(1);
    let error = driver.sessions.check_create(narrow).unwrap_err();
    assert_eq!(
        error.to_string(),
        "limits.maxParticipants of 1 is outside 2..=64"
    );
    driver.create(new);
    let brings = message(1, LEAD, Performative::Delegate);
    let brings = brings.bringing(invitee(GUEST, HOME, Role::Specialist));
    let error = driver.send(brings).unwrap_err();
    assert_eq!(error.to_string(), "participants of 3 is outside 2..=2");
    let payload = Canonical::of(&json!({"n": 10})).unwrap();
    let large = supplied(1, LEAD, Performative::Inform);
    let large = Send::new(large, Some(payload), PrincipalId(1)).unwrap();
    let error = driver.send(large).unwrap_err();
    assert_eq!(error.to_string(), "payload bytes of 8 is outside 0..=7");
    driver.say(LEAD, Performative::Inform, None).unwrap();
    driver.say(WORKER, Performative::Inform, None).unwrap();
    let error = driver.say(LEAD, Performative::Inform, None).unwrap_err();
    assert_eq!(error.to_string(), "messages of 3 is outside 1..=2");
    driver.say(LEAD, Performative::Close, None).unwrap();
    assert_eq!(driver.session().messages(), 3);
}

#[test]
fn a_type_has_its_performative() {
    for (message_type, said) in [
        (None, Performative::Inform),
        (Some("task.assign"), Performative::Propose),
        (Some("task.accept"), Performative::Accept),
        (Some("task.reject"), Performative::Reject),
        (Some("task.cancel"), Performative::Withdraw),
        (Some("task.result"), Performative::Inform),
        (Some("status.update"), Performative::Inform),
    ] {
        assert_eq!(default_performative(message_type), said, "{message_type:?}");
    }
}
