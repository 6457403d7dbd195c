//! The table, cell by cell.

use super::*;

#[test]
fn every_step_in_every_state_by_everybody_is_what_the_table_says() {
    let clock_only = [Step::Lapse, Step::Breach, Step::Settle, Step::Expire];
    for state in State::ALL {
        let (topic, now) = in_state(state);
        assert_eq!(topic.state_of(1), state);
        for step in Step::ALL {
            for (actor, voice) in [
                (obligor(), Voice::Obligor),
                (counterparty(), Voice::Judge),
                (actor(3, Standing::Coordinator), Voice::Participant),
                (actor(4, Standing::Participant), Voice::Participant),
            ] {
                if clock_only.contains(&step) {
                    continue;
                }
                let found = try_step(&topic, step, actor, now);
                let case = format!("{voice} {step} {state}: {found:?}");
                match (next(state, step, voice), found) {
                    (Some(next), Ok(records)) => {
                        let mut after = topic.clone();
                        if records.is_empty() {
                            continue;
                        }
                        if step == Step::Dispute && after.state.seal().is_none() {
                            let seal = after.state.check_seal(secret(1).seal(), now).unwrap();
                            after.write(vec![seal]);
                        }
                        after.write(records);
                        let expected = match (next, state) {
                            (Next::Stays, _) => state,
                            // What the clock saw is ruled on at once.
                            (Next::To(State::Disputed), State::Breached) => State::Resolved,
                            (Next::To(state), _) => state,
                            (Next::Delivery, _) => State::Delivered,
                            (Next::Ruling, _) => unreachable!("only the clock does this"),
                        };
                        assert_eq!(after.state_of(1), expected, "{case}");
                        after.check();
                    }
                    (None, Err(CommitmentError::Illegal { .. })) => {}
                    // A delivery comes once, whatever the table says.
                    (Some(_), Err(CommitmentError::Delivered { .. })) => {
                        assert_eq!((step, state), (Step::Deliver, State::Disputed), "{case}");
                    }
                    _ => panic!("{case}"),
                }
            }
            let stranger = actor(9, Standing::Stranger);
            if !clock_only.contains(&step) {
                let refused = try_step(&topic, step, stranger, now).unwrap_err();
                assert!(
                    matches!(refused, CommitmentError::NotParty { .. }),
                    "{refused}"
                );
            }
        }
        let expires = try_step(&topic, Step::Expire, obligor(), now).is_ok();
        assert_eq!(expires, next(state, Step::Expire, Voice::Clock).is_some());
    }
}
