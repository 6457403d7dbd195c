//! How a promise binds, and who judges it.

use super::*;

#[test]
fn an_offer_binds_once_accepted_and_cannot_be_taken_back() {
    let (mut topic, now) = in_state(State::Proposed);
    let message = Some(Said {
        message: MessageId(3),
        offset: Offset(9),
        is_signed: false,
    });
    let record = topic
        .state
        .check_accept(id(1), counterparty(), message, 0, now);
    topic.write(vec![record.unwrap()]);
    assert_eq!(topic.state_of(1), State::Active);
    let refused = try_step(&topic, Step::Withdraw, obligor(), now).unwrap_err();
    let CommitmentError::Illegal { allowed, .. } = &refused else {
        panic!("{refused}");
    };
    assert_eq!(allowed, &[Step::Deliver]);
    topic.deliver(1, now);
    let effects = topic.confirm(1, counterparty(), now);
    let outcome = effects.outcome.unwrap();
    assert_eq!(outcome.confirmation, Some(Confirmation::Explicit));
    assert_eq!(outcome.confirmed_by, Some(party(2)));
    assert_eq!(outcome.mode, Mode::Agreed);
    topic.check();
}

#[test]
fn an_offer_to_all_is_judged_by_whoever_accepts_it() {
    let mut topic = Topic::default();
    let mut open = promise();
    open.counterparty = None;
    topic.create(create(1, open.clone(), Mode::Agreed), START);
    let record = topic
        .state
        .check_accept(id(1), actor(4, Standing::Participant), None, 0, START);
    topic.write(vec![record.unwrap()]);
    topic.deliver(1, START);
    let other = actor(2, Standing::Coordinator);
    let refused = topic.state.check_confirm(id(1), other, START).unwrap_err();
    assert!(matches!(refused, CommitmentError::Illegal { .. }));
    topic.confirm(1, actor(4, Standing::Participant), START);
    let which = Which::Counterparty(AgentId(4));
    let of = topic.state.live_below(which, CommitmentId(u128::MAX));
    assert_eq!(of.count(), 1);
    let mut alone = create(2, open, Mode::Agreed);
    alone.judge = Judge::Nobody;
    let refused = topic.state.check_create(alone, START).unwrap_err();
    assert_eq!(refused, CommitmentError::NobodyAccepts(AgentId(1)));
}

#[test]
fn a_promise_to_the_session_is_judged_by_its_coordinator_else_by_any_other_else_by_nobody() {
    let mut open = promise();
    open.counterparty = None;
    let coordinator = actor(3, Standing::Coordinator);
    let specialist = actor(4, Standing::Participant);
    for (judge, may, may_not) in [
        (Judge::Coordinator, vec![coordinator], vec![specialist]),
        (Judge::Participant, vec![coordinator, specialist], vec![]),
    ] {
        for (actor, is_judge) in may
            .iter()
            .map(|actor| (*actor, true))
            .chain(may_not.iter().map(|actor| (*actor, false)))
        {
            let mut topic = Topic::default();
            let mut create = create(1, open.clone(), Mode::OneSided);
            create.judge = judge;
            topic.create(create, START);
            topic.deliver(1, START);
            assert_eq!(topic.state_of(1), State::Delivered);
            let confirmed = topic.state.check_confirm(id(1), actor, START);
            assert_eq!(confirmed.is_ok(), is_judge, "{judge:?} {actor:?}");
        }
    }
    let mut topic = Topic::default();
    let mut create = create(1, open, Mode::OneSided);
    create.judge = Judge::Nobody;
    topic.create(create, START);
    let effects = topic.deliver(1, START);
    assert_eq!(topic.state_of(1), State::Fulfilled);
    let outcome = effects.outcome.unwrap();
    assert_eq!(outcome.confirmation, Some(Confirmation::Unjudged));
}

#[test]
fn silence_confirms_and_only_whoever_judges_makes_the_window_shorter() {
    let (mut topic, now) = in_state(State::Delivered);
    let refused = topic
        .state
        .check_shorten(id(1), obligor(), 1_000, now)
        .unwrap_err();
    assert!(matches!(refused, CommitmentError::Illegal { .. }));
    for (ms, least, most) in [
        (0, 1, DEFAULT_WINDOW_MS - 1),
        (DEFAULT_WINDOW_MS, 1, DEFAULT_WINDOW_MS - 1),
    ] {
        let refused = topic.state.check_shorten(id(1), counterparty(), ms, now);
        let expected = OutOfLimit {
            what: "windowMs",
            value: ms,
            least,
            most,
        };
        assert_eq!(refused, Err(expected.into()));
    }
    let record = topic
        .state
        .check_shorten(id(1), counterparty(), 1_000, now)
        .unwrap();
    topic.write(vec![record]);
    assert_eq!(topic.state.next_deadline(), Some(at(1_000)));
    let effects = topic.tick(at(1_000));
    let outcome = effects[0].outcome.clone().unwrap();
    assert_eq!(outcome.confirmation, Some(Confirmation::Silent));
    assert_eq!(outcome.confirmed_by, None);
    topic.check();
}

#[test]
fn of_two_who_resolve_one_commitment_at_once_exactly_one_wins() {
    let (topic, now) = in_state(State::Delivered);
    // Both are judged before either is written.
    let first = topic.state.check_confirm(id(1), counterparty(), now);
    let mut disputes = topic.clone();
    disputes.file(file(1, 1, actor(3, Standing::Coordinator)), now);
    let second = disputes.records[2..].to_vec();
    let mut won = topic.clone();
    won.write(vec![first.clone().unwrap()]);
    let lost = won.state.check_confirm(id(1), counterparty(), now);
    let expected = CommitmentError::Illegal {
        commitment: id(1),
        state: State::Fulfilled,
        step: Step::Confirm,
        voice: Voice::Judge,
        allowed: Vec::new(),
    };
    assert_eq!(lost, Err(expected));
    won.state.apply(&second[0], won.offset()).unwrap();
    won.state.apply(&second[1], won.offset()).unwrap_err();
    won.state.apply(&first.unwrap(), won.offset()).unwrap_err();
    assert_eq!(won.state_of(1), State::Fulfilled);
}
