//! Who files a dispute, within which limits, and what it holds.

use super::*;

#[test]
fn a_dispute_is_filed_once_by_each_of_those_who_may() {
    let topic = Topic::active();
    let refused = topic.state.check_file(file(1, 2), START).unwrap_err();
    assert!(matches!(
        refused,
        DisputeError::Commitment(CommitmentError::Illegal {
            state: State::Active,
            ..
        })
    ));
    let mut topic = Topic::delivered();
    let refused = topic.state.check_file(file(1, 1), START).unwrap_err();
    assert!(matches!(
        refused,
        DisputeError::Commitment(CommitmentError::Illegal { .. })
    ));
    let mut stranger = file(1, 9);
    stranger.filer.standing = Standing::Stranger;
    let refused = topic.state.check_file(stranger, START).unwrap_err();
    assert!(matches!(
        refused,
        DisputeError::Commitment(CommitmentError::NotParty { .. })
    ));
    topic.file(file(1, 2), START);
    match topic.state.check_file(file(1, 2), at(1)).unwrap() {
        CheckedFile::Before(dispute) => assert_eq!(dispute.id(), id(1)),
        CheckedFile::New(records) => panic!("{records:?}"),
    }
    let mut other = file(1, 2);
    other.reason.push('!');
    let taken = DisputeError::IdTaken {
        dispute: id(1),
        member: "reason",
    };
    assert_eq!(topic.state.check_file(other, at(1)), Err(taken));
    let again = DisputeError::Filed {
        commitment: COMMITMENT,
        agent: AgentId(2),
        dispute: id(1),
    };
    assert_eq!(topic.state.check_file(file(2, 2), at(1)), Err(again));
    topic.file(file(2, 3), at(1));
    assert_eq!(topic.state.disputes_of(COMMITMENT).count(), 2);
    for (agent, count) in [(1, 2), (2, 1), (3, 1), (4, 0)] {
        let of = topic.state.disputes_of_agent(AgentId(agent));
        assert_eq!(of.count(), count);
    }
    // Both have to end before the commitment goes on.
    for (number, filer, state) in [(1, 2, State::Disputed), (2, 3, State::Delivered)] {
        let state_now = &topic.state;
        let record = state_now.check_withdraw_dispute(id(number), actor(filer), at(2));
        topic.write(vec![record.unwrap()]);
        assert_eq!(topic.commitment(), state);
    }
}

#[test]
fn what_breaks_a_limit_is_refused_with_limit_and_value() {
    let topic = Topic::delivered();
    let channel = |start, end, bytes| Reference::Channel {
        bytes,
        channel: ChannelName::parse("results").unwrap(),
        digest: Digest::ZERO,
        end: Offset(end),
        start: Offset(start),
    };
    type Change = Box<dyn Fn(&mut File)>;
    let changes: [(&str, u64, Change); 10] = [
        ("severity", 6, Box::new(|one| one.severity = Some(6))),
        ("severity", 0, Box::new(|one| one.severity = Some(0))),
        (
            "reason bytes",
            4_097,
            Box::new(|one| one.reason = "a".repeat(4_097)),
        ),
        ("answerMs", 0, Box::new(|one| one.windows.answer_ms = 0)),
        (
            "arbitrationMs",
            0,
            Box::new(|one| one.windows.arbitration_ms = 0),
        ),
        ("ballotMs", 0, Box::new(|one| one.windows.ballot_ms = 0)),
        (
            "evidence.references",
            33,
            Box::new(move |one| one.evidence.references = vec![channel(0, 1, 1); 33]),
        ),
        (
            "evidence.references records",
            10_001,
            Box::new(move |one| one.evidence.references = vec![channel(0, 10_001, 1)]),
        ),
        (
            "evidence.references bytes",
            (64 << 20) + 1,
            Box::new(move |one| {
                one.evidence.references = vec![channel(0, 1, 1), channel(0, 1, 64 << 20)];
            }),
        ),
        (
            "evidence bytes",
            65_537,
            Box::new(|one| {
                let text = format!("\"{}\"", "a".repeat(65_535));
                one.evidence.words = Some(plain(&Canonical::parse(&text).unwrap()));
            }),
        ),
    ];
    for (what, value, change) in changes {
        let mut one = file(1, 2);
        change(&mut one);
        match topic.state.check_file(one, START).unwrap_err() {
            DisputeError::OutOfLimit(limit) => {
                assert_eq!((limit.what, limit.value), (what, value));
            }
            other => panic!("{what}: {other}"),
        }
    }
    let mut one = file(1, 2);
    one.dispute = DisputeId(1);
    let refused = topic.state.check_file(one, START);
    assert_eq!(refused, Err(DisputeError::IdVersion(DisputeId(1))));
    let unsealed = Commitments::default();
    unsealed.check_seal(secret(1).seal(), START).unwrap();
    let sealed = topic.state.check_seal(secret(2).seal(), START).unwrap_err();
    assert!(matches!(
        sealed,
        DisputeError::NotSealed { sealed: Some(_) }
    ));
}

#[test]
fn what_an_open_dispute_points_to_is_needed_and_nothing_else() {
    let channel = ChannelName::parse("results").unwrap();
    let place = |name: &str, start, end| Reference::Channel {
        bytes: 10,
        channel: ChannelName::parse(name).unwrap(),
        digest: Digest::ZERO,
        end: Offset(end),
        start: Offset(start),
    };
    let mut topic = Topic::delivered();
    let mut filed = file(1, 2);
    filed.evidence.references = vec![
        place("results", 5, 9),
        place("other", 1, 2),
        Reference::Session {
            digest: Digest::ZERO,
            sequence: 3,
            session: SessionId(5),
        },
    ];
    topic.file(filed, START);
    let state = &topic.state;
    let evidence = Evidence {
        references: vec![place("results", 2, 3)],
        words: None,
    };
    let answer = state.check_answer(id(1), actor(1), String::new(), evidence, START);
    topic.write(vec![answer.unwrap()]);
    let ranges = |topic: &Topic| {
        let needed = topic.state.needed(&channel);
        needed
            .map(|(range, _)| (range.start.0, range.end.0))
            .collect::<Vec<_>>()
    };
    assert_eq!(ranges(&topic), [(2, 3), (5, 9)]);
    assert_eq!(topic.state.all_needed().count(), 3);
    let state = &topic.state;
    let record = state.check_withdraw_dispute(id(1), actor(2), START);
    topic.write(vec![record.unwrap()]);
    assert_eq!(ranges(&topic), []);
    assert_eq!(topic.state.all_needed().count(), 0);
}

#[test]
fn a_filing_is_refused_that_names_another_seal_or_is_not_by_whom_it_says() {
    let topic = Topic::delivered();
    let CheckedFile::New(records) = topic.state.check_file(file(1, 2), START).unwrap() else {
        panic!("it was there before");
    };
    let CommitmentRecord::Dispute(DisputeRecord::Filed(filed)) = &records[0] else {
        panic!("no dispute");
    };
    let forged = |change: &dyn Fn(&mut Filed)| {
        let mut filed = (**filed).clone();
        change(&mut filed);
        CommitmentRecord::Dispute(DisputeRecord::Filed(filed.into()))
    };
    use crate::asp::commitment::Voice;
    let mut state = topic.state.clone();
    for record in [
        forged(&|filed| filed.seal = secret(3).seal()),
        forged(&|filed| filed.filer = party(1)),
        forged(&|filed| filed.against = party(2)),
        forged(&|filed| filed.role = Voice::Participant),
        forged(&|filed| filed.role = Voice::Obligor),
        forged(&|filed| filed.commitment = CommitmentId(9)),
    ] {
        state.apply(&record, Offset(9)).unwrap_err();
        assert_eq!(state, topic.state);
    }
    state.apply(&records[0], Offset(9)).unwrap();
    assert_eq!(state.seal(), Some(secret(2).seal()));
}
