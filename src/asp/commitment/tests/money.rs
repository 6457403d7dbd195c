//! What follows for money and trust.

use super::*;

fn forfeit(amount: u64) -> EscrowStep {
    EscrowStep::Forfeit { amount }
}

#[test]
fn escrow_is_held_by_the_promise_and_released_once_it_is_kept() {
    let mut topic = Topic::default();
    let effects = topic.create(with_escrow(None, None), START);
    assert!(matches!(effects.escrow[..], [EscrowStep::Hold(_)]));
    assert_eq!(topic.deliver(1, START).escrow, []);
    let effects = topic.confirm(1, counterparty(), START);
    assert_eq!(effects.escrow, [EscrowStep::Release]);
    assert!(topic.tick(START).iter().all(|all| all.escrow.is_empty()));
}

#[test]
fn a_breach_forfeits_by_the_penalties_at_once() {
    for (none, expected) in [
        (None, vec![forfeit(1_000)]),
        (Some(25.0), vec![forfeit(250), EscrowStep::Release]),
        (Some(0.0), vec![EscrowStep::Release]),
    ] {
        let mut topic = Topic::default();
        topic.create(with_escrow(None, none), START);
        assert_eq!(topic.tick(at(DAY))[0].escrow, expected);
        // A dispute about it finds the money gone, and moves nothing.
        let effects = topic.file(file(1, 1, counterparty()), at(DAY));
        assert_eq!(effects.escrow, []);
        let outcome = effects.outcome.unwrap();
        assert_eq!(outcome.kind, OutcomeKind::Upheld);
        assert_eq!(outcome.commitment, id(1));
        assert_eq!(effects.disputes.len(), 1);
    }
}

#[test]
fn late_terms_keep_what_is_left_for_a_late_delivery() {
    let late = || {
        let mut topic = Topic::default();
        topic.create(with_escrow(Some(10.0), Some(60.0)), START);
        assert_eq!(topic.tick(at(DAY))[0].escrow, [forfeit(100)]);
        topic
    };
    let mut delivered = late();
    // Three days have begun.
    let effects = delivered.deliver(1, at(DAY + 2 * DAY + 1));
    assert_eq!(effects.escrow, [forfeit(200), EscrowStep::Release]);
    assert_eq!(effects.outcome, None);
    assert_eq!(delivered.state_of(1), State::Breached);
    let again = try_step(&delivered, Step::Deliver, obligor(), at(4 * DAY)).unwrap_err();
    assert!(matches!(again, CommitmentError::Delivered { .. }));

    let mut never = late();
    let effects = never.tick(at(8 * DAY));
    // Seven days of ten percent each are more than what was agreed for no delivery.
    assert_eq!(effects[0].escrow, [forfeit(600), EscrowStep::Release]);

    let mut disputed = late();
    let effects = disputed.file(file(1, 1, actor(3, Standing::Coordinator)), at(2 * DAY));
    // The log rules what the clock saw; late delivery stays possible.
    assert_eq!(effects.escrow, []);
    assert_eq!(disputed.state_of(1), State::Resolved);
    let effects = disputed.deliver(1, at(2 * DAY));
    assert_eq!(effects.escrow, [EscrowStep::Release]);
    disputed.check();
}

#[test]
fn an_open_dispute_freezes_and_moves_neither_money_nor_trust() {
    let mut topic = Topic::default();
    topic.create(with_escrow(None, Some(40.0)), START);
    topic.deliver(1, START);
    let effects = topic.file(file(1, 1, counterparty()), START);
    assert_eq!(effects.escrow, [EscrowStep::Freeze]);
    assert_eq!((effects.outcome, effects.disputes), (None, vec![]));
    assert_eq!(topic.state_of(1), State::Disputed);
    // Longer than its window, and it does not confirm itself.
    assert!(topic.tick(at(2 * DAY)).is_empty());
    topic.tick(at(3 * DAY));
    for (verdict, steps, state) in [
        (
            Verdict::Upheld,
            vec![EscrowStep::Unfreeze, forfeit(400), EscrowStep::Release],
            State::Resolved,
        ),
        (
            Verdict::Partial,
            vec![EscrowStep::Unfreeze, forfeit(200), EscrowStep::Release],
            State::Resolved,
        ),
        (
            Verdict::Dismissed,
            vec![EscrowStep::Unfreeze],
            State::Delivered,
        ),
    ] {
        let mut topic = topic.clone();
        let arbitration = topic.state.dispute(dispute_id(1)).unwrap().arbitration;
        let seats: Vec<_> = arbitration.unwrap().sitting().cloned().collect();
        let mut last = Effects::default();
        for seat in &seats[..2] {
            let actor = Actor {
                party: seat.party,
                standing: Standing::Stranger,
                by: BY,
            };
            let judgement = Judgement {
                verdict,
                severity: Some(3),
                reason: String::new(),
            };
            let state = &topic.state;
            let now = at(3 * DAY);
            let records = state.check_vote(dispute_id(1), actor, judgement, &secret(1), now);
            last = topic.write(records.unwrap());
        }
        assert_eq!(last.escrow, steps);
        assert_eq!(topic.state_of(1), state);
        assert_eq!(last.outcome.is_some(), state == State::Resolved);
        assert_eq!(last.disputes[0].ruling, Some((verdict, Mechanism::Peer, 3)));
        if state == State::Delivered {
            // Whoever judges has the window that was left when it was disputed.
            assert_eq!(topic.state.next_deadline(), Some(at(4 * DAY)));
            topic.tick(at(4 * DAY));
            assert_eq!(topic.state_of(1), State::Fulfilled);
        }
        topic.check();
    }
}

#[test]
fn what_is_delivered_late_while_disputed_moves_money_when_the_dispute_ends() {
    let mut topic = Topic::default();
    topic.create(with_escrow(Some(10.0), Some(60.0)), START);
    topic.tick(at(DAY));
    let mut mismatch = file(1, 1, counterparty());
    mismatch.dispute_type = Some(crate::asp::dispute::DisputeType::SpecificationMismatch);
    let effects = topic.file(mismatch, at(DAY));
    assert_eq!(effects.escrow, [EscrowStep::Freeze]);
    assert_eq!(topic.deliver(1, at(DAY + 1)).escrow, []);
    let state = &topic.state;
    let record = state.check_withdraw_dispute(dispute_id(1), counterparty(), at(2 * DAY));
    let effects = topic.write(vec![record.unwrap()]);
    assert_eq!(effects.escrow, [EscrowStep::Unfreeze, EscrowStep::Release]);
    // It was and is breached, so that is nothing new.
    assert_eq!(effects.outcome, None);
    assert_eq!(topic.state_of(1), State::Breached);
    topic.check();
}

#[test]
fn offers_that_come_to_nothing_release_what_they_held() {
    let offer = || {
        let mut topic = Topic::default();
        let mut create = with_escrow(None, None);
        create.mode = Mode::Agreed;
        topic.create(create, START);
        topic
    };
    let state = offer().state;
    let refused = state.check_accept(id(1), counterparty(), None, 999, START);
    assert!(matches!(
        refused,
        Err(CommitmentError::EscrowNotHeld { held: 999, .. })
    ));
    for record in [
        state.check_reject(id(1), counterparty(), None, START),
        state.check_withdraw(id(1), obligor(), None, START),
        state.check_expire(id(1), START),
    ] {
        let effects = offer().write(vec![record.unwrap()]);
        assert_eq!(effects.escrow, [EscrowStep::Release]);
        assert_eq!(effects.outcome, None);
    }
}
