//! The same promise again, and limits.

use super::*;

#[test]
fn a_promise_that_comes_again_is_answered_and_another_under_its_id_is_refused() {
    let mut topic = Topic::default();
    let first = create(1, promise(), Mode::OneSided);
    topic.create(first.clone(), START);
    match topic.state.check_create(first.clone(), at(5)).unwrap() {
        Checked::Before(held) => assert_eq!(held.commitment().state, State::Active),
        Checked::New(record) => panic!("{record:?}"),
    }
    let mut other = first.clone();
    other.promise.description.push('!');
    let taken = |member| CommitmentError::IdTaken {
        commitment: id(1),
        member,
    };
    let state = &topic.state;
    assert_eq!(state.check_create(other, at(5)), Err(taken("promise")));
    let mut other = first;
    other.mode = Mode::Agreed;
    assert_eq!(state.check_create(other, at(5)), Err(taken("mode")));
}

#[test]
fn what_breaks_a_limit_is_refused_with_limit_and_value() {
    let state = Commitments::default();
    let refuse = |change: &dyn Fn(&mut Create)| {
        let mut create = create(1, promise(), Mode::OneSided);
        change(&mut create);
        state.check_create(create, START).unwrap_err()
    };
    type Change = Box<dyn Fn(&mut Create)>;
    let limits: [(&str, u64, Change); 9] = [
        (
            "description bytes",
            4_097,
            Box::new(|c| c.promise.description = "a".repeat(4_097)),
        ),
        (
            "obligations",
            33,
            Box::new(|c| {
                let one = Obligation {
                    action: String::new(),
                    deadline: None,
                    party: String::new(),
                    verification_method: None,
                };
                c.promise.obligations = vec![one; 33];
            }),
        ),
        (
            "obligations.deadline",
            1_000_001 + 86_400_000,
            Box::new(|c| {
                c.promise.obligations = vec![Obligation {
                    action: String::new(),
                    deadline: Some(at(DAY + 1)),
                    party: String::new(),
                    verification_method: None,
                }];
            }),
        ),
        (
            "deadline",
            1 << 53,
            Box::new(|c| c.promise.deadline = Timestamp(1 << 53)),
        ),
        ("severity", 6, Box::new(|c| c.promise.severity = Some(6))),
        ("severity", 0, Box::new(|c| c.promise.severity = Some(0))),
        ("windowMs", 0, Box::new(|c| c.promise.window_ms = 0)),
        ("claimMs", 0, Box::new(|c| c.claim_ms = 0)),
        (
            "terms bytes",
            65_537,
            Box::new(|c| {
                let text = format!("\"{}\"", "a".repeat(65_535));
                c.promise.terms = Some(plain(&Canonical::parse(&text).unwrap()));
            }),
        ),
    ];
    for (what, value, change) in limits {
        match refuse(&*change) {
            CommitmentError::OutOfLimit(limit) => {
                assert_eq!((limit.what, limit.value), (what, value));
            }
            other => panic!("{what}: {other}"),
        }
    }
    let refused = refuse(&|c| c.commitment = CommitmentId(1));
    assert_eq!(refused, CommitmentError::IdVersion(CommitmentId(1)));
    let refused = refuse(&|c| c.promise.counterparty = Some(party(1)));
    assert_eq!(refused, CommitmentError::OwnCounterparty(AgentId(1)));
    let refused = refuse(&|c| {
        let currency = "EUR".parse().unwrap();
        c.promise.escrow = Some(EscrowTerms {
            amount: 100,
            currency,
        });
        c.escrow_held = 99;
    });
    assert!(matches!(
        refused,
        CommitmentError::EscrowNotHeld {
            amount: 100,
            held: 99,
            ..
        }
    ));
    let unknown = state.check_confirm(id(1), counterparty(), START);
    assert_eq!(unknown, Err(CommitmentError::Unknown(id(1))));
}
