//! Any history of promises and disputes.

use super::*;

/// Something done in a random history.
#[derive(Clone, Debug)]
enum Act {
    Create(u128, bool, u64),
    Step(u128, Step, u128),
    Rule(u128, u8, u8),
    Tick(i64),
}

fn act() -> impl Strategy<Value = Act> {
    let steps = [
        Step::Accept,
        Step::Reject,
        Step::Withdraw,
        Step::Deliver,
        Step::Confirm,
        Step::Shorten,
        Step::Dispute,
    ];
    prop_oneof![
        2 => (1..6_u128, any::<bool>(), 0..3_u64).prop_map(|(id, one, pay)| Act::Create(id, one, pay)),
        8 => (1..6_u128, proptest::sample::select(steps.to_vec()), 1..4_u128)
            .prop_map(|(id, step, agent)| Act::Step(id, step, agent)),
        4 => (1..6_u128, 0..3_u8, 1..6_u8).prop_map(|(id, verdict, severity)| Act::Rule(id, verdict, severity)),
        3 => (0..5 * DAY).prop_map(Act::Tick),
    ]
}

/// What is left in escrow of a commitment, after all effects so far.
fn pay(
    left: &mut std::collections::BTreeMap<CommitmentId, (u64, bool)>,
    of: CommitmentId,
    effects: &Effects,
) {
    for step in &effects.escrow {
        match step {
            EscrowStep::Hold(terms) => assert!(left.insert(of, (terms.amount, false)).is_none()),
            EscrowStep::Freeze => {
                let (_, frozen) = left.get_mut(&of).expect("it is held");
                assert!(!std::mem::replace(frozen, true));
            }
            EscrowStep::Unfreeze => {
                let (_, frozen) = left.get_mut(&of).expect("it is held");
                assert!(std::mem::replace(frozen, false));
            }
            EscrowStep::Forfeit { amount } => {
                let (held, frozen) = left.get_mut(&of).expect("it is held");
                assert!(!*frozen && *amount > 0 && *amount <= *held);
                *held -= amount;
                if *held == 0 {
                    left.remove(&of);
                }
            }
            EscrowStep::Release => assert!(left.remove(&of).is_some_and(|(_, frozen)| !frozen)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn any_history_replays_folds_and_leaves_nothing_held_behind_what_is_closed(acts in proptest::collection::vec(act(), 1..60)) {
        let mut topic = Topic::default();
        let mut now = START;
        let mut disputes = 0_u128;
        let seal = topic.state.check_seal(secret(1).seal(), now).unwrap();
        topic.write(vec![seal]);
        for act in acts {
            match act {
                Act::Create(number, one_sided, money) => {
                    let mut create = with_escrow((money == 1).then_some(33.33), (money < 2).then_some(50.0));
                    if money == 0 {
                        create.promise.escrow = None;
                    }
                    create.commitment = id(number);
                    create.mode = if one_sided { Mode::OneSided } else { Mode::Agreed };
                    create.promise.deadline = now.saturating_add_ms(DAY);
                    if let Ok(Checked::New(record)) = topic.state.check_create(create, now) {
                        topic.write(vec![record]);
                    }
                }
                Act::Step(number, Step::Dispute, agent) => {
                    disputes += 1;
                    let mut file = file(disputes, number, actor(agent, Standing::Participant));
                    file.next_seal = secret(1).seal();
                    if let Ok(CheckedFile::New(records)) = topic.state.check_file(file, now) {
                        topic.write(records);
                    }
                }
                Act::Step(number, step, agent) => {
                    let actor = actor(agent, Standing::Participant);
                    let state = &topic.state;
                    let record = match step {
                        Step::Accept => state.check_accept(id(number), actor, None, 1_000, now),
                        Step::Reject => state.check_reject(id(number), actor, None, now),
                        Step::Withdraw => state.check_withdraw(id(number), actor, None, now),
                        Step::Deliver => state.check_deliver(id(number), actor, Evidence::default(), now),
                        Step::Confirm => state.check_confirm(id(number), actor, now),
                        _ => state.check_shorten(id(number), actor, 60_000, now),
                    };
                    if let Ok(record) = record {
                        topic.write(vec![record]);
                    }
                }
                Act::Rule(number, verdict, severity) => {
                    let open = topic.state.disputes_of(id(number)).find(|dispute| !dispute.state.is_terminal()).cloned();
                    let Some(dispute) = open else { continue };
                    let judgement = Judgement {
                        verdict: Verdict::ALL[usize::from(verdict)],
                        severity: Some(severity),
                        reason: "seen".to_owned(),
                    };
                    let seat = dispute.arbitration.as_ref().and_then(|all| all.sitting().find(|seat| seat.vote.is_none()).cloned());
                    let state = &topic.state;
                    let voted = seat.and_then(|seat| {
                        let actor = Actor { party: seat.party, standing: Standing::Stranger, by: BY };
                        state.check_vote(dispute.id(), actor, judgement.clone(), &secret(1), now).ok()
                    });
                    let records = voted.or_else(|| {
                        let ruled = state.check_rule(dispute.id(), BY, judgement, &secret(1), now);
                        ruled.ok().map(|record| vec![record])
                    });
                    if let Some(records) = records {
                        topic.write(records);
                    }
                }
                Act::Tick(ms) => {
                    now = now.saturating_add_ms(ms);
                    topic.tick(now);
                }
            }
        }
        topic.check();
        // A breach, its claims, an answer, arbitrators, and an operator: each has its time.
        for _ in 0..8 {
            now = now.saturating_add_ms(100 * DAY);
            topic.tick(now);
        }
        topic.check();
        let mut left = std::collections::BTreeMap::new();
        for (of, effects) in &topic.effects {
            if let Some(of) = of {
                pay(&mut left, *of, effects);
            }
        }
        prop_assert_eq!(left, std::collections::BTreeMap::new());
        prop_assert_eq!(topic.state.live_count(), 0);
        for held in topic.state.held().map(|(_, closed)| closed.commitment.id().0 >> 80) {
            topic.receipt(held).verify().unwrap();
        }
    }
}
