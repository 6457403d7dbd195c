//! Deadlines are judged by the broker's clock, also when it was down as they passed.

use super::*;

#[test]
fn a_session_expires_when_the_clock_shows_it_and_at_the_start_after_it() {
    for is_down in [false, true] {
        let mut floor = Floor::new();
        let session = floor.create(TRIO).session.session;
        floor.now += 3_599_999;
        floor.look();
        assert_eq!(floor.state_of(session), State::Conversing);
        if is_down {
            let (disk, now) = (floor.disk.clone(), floor.now + 10_000);
            drop(floor);
            floor = Floor::open(&disk, now);
        } else {
            floor.now += 1;
        }
        floor.look();
        assert_eq!(floor.state_of(session), State::Failed, "down: {is_down}");
        let sent = floor.try_send(session, "lead", say(Performative::Inform));
        assert!(sent.is_err());
    }
}

#[test]
fn what_is_said_at_a_deadline_comes_after_it() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    floor.now += 3_600_000;
    // The keeper has not looked yet.
    let end = floor.broker.asp_states().count();
    assert_eq!(end, 1);
    let refused = floor.try_send(session, "lead", say(Performative::Inform));
    assert!(refused.unwrap_err().error.to_string().contains("FAILED"));
    assert_eq!(floor.state_of(session), State::Failed);
}

#[test]
fn a_clock_that_goes_back_undoes_nothing_and_breaks_nothing() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let said = Said {
        constraints: Constraints {
            max_response_time_ms: Some(1_000),
            ..Constraints::default()
        },
        ..say(Performative::Query)
    };
    floor.send(session, "lead", said);
    floor.now -= 5_000;
    floor.look();
    floor.send(session, "writer", say(Performative::Inform));
    floor.now += 6_000;
    floor.look();
    let before = floor.states();
    let floor = floor.reopened();
    assert_eq!(floor.states(), before);
    assert!(before.1.session(session).is_some());
}

#[test]
fn a_question_that_nobody_answers_in_time_is_recorded_as_overdue() {
    let mut floor = Floor::new();
    let session = floor.create(TRIO).session.session;
    let said = Said {
        constraints: Constraints {
            max_response_time_ms: Some(2_000),
            ..Constraints::default()
        },
        ..say(Performative::Query)
    };
    let asked = floor.send(session, "lead", said);
    floor.now += 2_000;
    floor.look();
    let (_, sessions, _) = floor.states();
    let held = sessions.session(session).unwrap();
    assert_eq!(
        held.sequence(),
        asked.sequence + 2,
        "one record: it is overdue"
    );
    assert_eq!(held.state, State::Conversing);
    floor.look();
    let again = floor.states().1;
    assert_eq!(
        again.session(session).unwrap().sequence(),
        asked.sequence + 2
    );
}
