//! The table, cell by cell, and what comes first.

use super::*;

/// What each voice does in each state, as the code judges it.
#[test]
fn every_step_in_every_state_by_everybody_is_what_the_table_says() {
    let open = {
        let mut topic = Topic::delivered();
        topic.file(file(1, 2), START);
        topic
    };
    let mut answered = open.clone();
    let state = &answered.state;
    let answer = state.check_answer(
        id(1),
        actor(1),
        "it is".to_owned(),
        Evidence::default(),
        START,
    );
    answered.write(vec![answer.unwrap()]);
    let mut withdrawn = open.clone();
    let state = &withdrawn.state;
    let record = state.check_withdraw_dispute(id(1), actor(2), START);
    withdrawn.write(vec![record.unwrap()]);
    let (peers, seats) = Topic::reviewed();
    let mut human = open.clone();
    human.tick(at(3 * DAY), &[]);
    let mut expired = human.clone();
    // The commitment goes on when the dispute expires, and closes in its turn.
    expired.tick(at(10 * DAY), &[]);
    let mut resolved = peers.clone();
    for seat in &seats[..2] {
        resolved
            .vote(*seat, Verdict::Upheld, 2, at(3 * DAY))
            .unwrap();
    }
    for (topic, expected, now, mechanism) in [
        (&open, DisputeState::Open, START, None),
        (&answered, DisputeState::Answered, START, None),
        (
            &peers,
            DisputeState::UnderReview,
            at(3 * DAY),
            Some(Mechanism::Peer),
        ),
        (
            &human,
            DisputeState::UnderReview,
            at(3 * DAY),
            Some(Mechanism::Human),
        ),
        (
            &resolved,
            DisputeState::Resolved,
            at(3 * DAY),
            Some(Mechanism::Peer),
        ),
        (&withdrawn, DisputeState::Withdrawn, START, None),
        (
            &expired,
            DisputeState::Expired,
            at(10 * DAY),
            Some(Mechanism::Human),
        ),
    ] {
        let dispute = topic.dispute(id(1));
        assert_eq!((dispute.state, dispute.mechanism), (expected, mechanism));
        let state = &topic.state;
        let words = || judgement(Verdict::Upheld, 2);
        let arbitrator = Actor {
            party: seats[2],
            standing: Standing::Stranger,
            by: BY,
        };
        let secret = topic.secret(id(1));
        let answer = |by| {
            let evidence = Evidence::default();
            state.check_answer(id(1), actor(by), String::new(), evidence, now)
        };
        let withdraw = |by| state.check_withdraw_dispute(id(1), actor(by), now);
        let vote = |by| state.check_vote(id(1), by, words(), &secret, now);
        use DisputeVoice::{Arbitrator, Filer, Obligor, Operator};
        let allowed = |step, voice| next(expected, step, voice).is_some();
        let is_peer = mechanism == Some(Mechanism::Peer);
        let is_human = mechanism == Some(Mechanism::Human);
        let found = [
            answer(1).is_ok() == allowed(DisputeStep::Answer, Obligor),
            withdraw(2).is_ok() == allowed(DisputeStep::Withdraw, Filer),
            vote(arbitrator).is_ok() == (allowed(DisputeStep::Vote, Arbitrator) && is_peer),
            state.check_rule(id(1), BY, words(), &secret, now).is_ok()
                == (allowed(DisputeStep::Rule, Operator) && is_human),
        ];
        assert_eq!(found, [true; 4], "{expected:?} {mechanism:?}");
        // Nobody else may, in any state.
        for by in [2, 3] {
            assert!(matches!(answer(by), Err(DisputeError::NotParty { .. })));
        }
        for by in [1, 3] {
            assert!(matches!(withdraw(by), Err(DisputeError::NotParty { .. })));
        }
        vote(actor(2)).unwrap_err();
        vote(actor(9)).unwrap_err();
    }
}

#[test]
fn nobody_comes_between_a_deadline_and_its_record() {
    let mut topic = Topic::delivered();
    topic.file(file(1, 2), START);
    let late = at(3 * DAY);
    let first = DisputeError::DeadlineFirst { due: late };
    let state = &topic.state;
    let withdrawn = state.check_withdraw_dispute(id(1), actor(2), late);
    assert_eq!(withdrawn, Err(first.clone()));
    let evidence = Evidence::default();
    let answered = state.check_answer(id(1), actor(1), String::new(), evidence, late);
    assert_eq!(answered, Err(first));
    let early = state.check_review(id(1), &[], &secret(1), at(3 * DAY - 1));
    let not_due = DisputeError::NotDue {
        dispute: id(1),
        due: late,
    };
    assert_eq!(early, Err(not_due));
    let (mut topic, seats) = Topic::reviewed();
    let refused = topic.vote(seats[0], Verdict::Upheld, 1, at(5 * DAY));
    let first = DisputeError::DeadlineFirst { due: at(5 * DAY) };
    assert_eq!(refused, Err(first));
}
