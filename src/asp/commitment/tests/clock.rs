//! What the clock does, and what comes first.

use super::*;

#[test]
fn the_clock_breaches_lapses_expires_and_closes_at_the_deadline_and_not_before() {
    for (state, after) in [
        (State::Proposed, State::Expired),
        (State::Active, State::Breached),
        (State::Delivered, State::Fulfilled),
    ] {
        let (mut topic, _) = in_state(state);
        assert_eq!(topic.state.next_deadline(), Some(at(DAY)));
        assert_eq!(topic.state.next_due(at(DAY - 1)), None);
        let Some(Due::Record(record)) = topic.state.next_due(at(DAY)) else {
            panic!("nothing is due");
        };
        let CommitmentRecord::Stepped { step, stepped } = &record else {
            panic!("{record:?}");
        };
        let mut early = stepped.clone();
        early.at = at(DAY - 1);
        let early = CommitmentRecord::Stepped {
            step: *step,
            stepped: early,
        };
        let refused = topic.state.clone().apply(&early, topic.offset());
        // An offer also expires with its session.
        assert_eq!(refused.is_ok(), *step == Step::Expire);
        topic.write(vec![record]);
        assert_eq!(topic.state_of(1), after);
        topic.check();
    }
}

#[test]
fn nobody_comes_between_a_deadline_and_its_record() {
    let (topic, _) = in_state(State::Active);
    let late = try_step(&topic, Step::Deliver, obligor(), at(DAY)).unwrap_err();
    assert_eq!(late, CommitmentError::DeadlineFirst { due: at(DAY) });
    let (topic, _) = in_state(State::Delivered);
    for step in [Step::Confirm, Step::Dispute, Step::Shorten] {
        let late = try_step(&topic, step, counterparty(), at(DAY)).unwrap_err();
        assert_eq!(late, CommitmentError::DeadlineFirst { due: at(DAY) });
    }
    let (topic, _) = in_state(State::Proposed);
    let late = try_step(&topic, Step::Accept, counterparty(), at(DAY)).unwrap_err();
    assert_eq!(late, CommitmentError::DeadlineFirst { due: at(DAY) });
}

#[test]
fn a_deadline_already_past_is_taken_as_given_and_breached_at_once() {
    let mut topic = Topic::default();
    let mut past = promise();
    past.deadline = at(-DAY);
    let effects = topic.create(create(1, past, Mode::OneSided), START);
    assert_eq!(effects, Effects::default());
    assert_eq!(topic.state_of(1), State::Active);
    let effects = topic.tick(START);
    assert_eq!(topic.state_of(1), State::Breached);
    let outcome = effects[0].outcome.clone().unwrap();
    assert_eq!(outcome.kind, OutcomeKind::Breached);
    assert_eq!((outcome.severity, outcome.at), (1, START));
}
