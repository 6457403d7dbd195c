//! Records: how they are found again, what they prove, and which are refused.

use super::*;

#[test]
fn closed_ones_are_found_by_thread_and_filed_ones_by_their_file() {
    let mut topic = Topic::default();
    let count = MAX_HELD as u128;
    for number in 1..=count {
        let mut promise = promise();
        promise.obligor = party(1 + number % 3 * 10);
        promise.session = SessionId(number % 7);
        topic.create(create(number, promise, Mode::OneSided), START);
    }
    topic.tick(at(DAY));
    topic.tick(at(9 * DAY));
    assert_eq!(topic.state.live_count(), 0);
    // Every thread leads through exactly its own, the latest first.
    for (which, expected) in [
        (Which::All, count),
        (Which::Obligor(AgentId(1)), count / 3),
        (Which::Counterparty(AgentId(2)), count),
        (Which::Session(SessionId(1)), count.div_ceil(7)),
    ] {
        let mut found = 0;
        let mut at = topic.state.knot(which);
        while let Some(Knot { number, offset }) = at {
            let record = &topic.records[usize::try_from(offset.0).unwrap()];
            let CommitmentRecord::Closed(closed) = record else {
                panic!("{record:?}");
            };
            let links = closed.threads.of(which).unwrap();
            assert_eq!(links.number(), number);
            at = links.back;
            found += 1;
        }
        assert!(
            found >= expected && found <= expected + 1,
            "{which:?} {found}"
        );
    }
    let filing = topic.state.next_filing().unwrap();
    topic.write(vec![filing]);
    assert_eq!(topic.state.next_filing(), None);
    assert_eq!(topic.state.held().count(), MAX_HELD / 2);
    let gone = id(1);
    assert_eq!(topic.state.commitment(gone), None);
    let file = topic.state.filed(gone).next().unwrap();
    let CommitmentRecord::Filed(filed) = &topic.records[usize::try_from(file.0).unwrap()] else {
        panic!("no file");
    };
    let offset = filed.commitment(gone).unwrap();
    let record = &topic.records[usize::try_from(offset.0).unwrap()];
    assert_eq!(record.commitment(), Some(gone));
    topic.check();
}

#[test]
fn a_receipt_is_verified_with_nothing_but_itself_and_shows_any_change() {
    let (mut topic, _) = in_state(State::Resolved);
    for closed in [false, true] {
        if closed {
            topic.tick(at(30 * DAY));
        }
        let receipt = topic.receipt(1);
        let text = serde_json::to_string(&receipt).unwrap();
        let read: Receipt = serde_json::from_str(&text).unwrap();
        let verified = read.verify().unwrap();
        assert_eq!(verified.commitment.state, State::Resolved);
        assert_eq!(verified.commitment.closed, closed);
        let mut caught = 0;
        for (at, byte) in text.bytes().enumerate() {
            // Digits and letters, so that most changes are still JSON.
            if !byte.is_ascii_alphanumeric() || at % 3 != 0 {
                continue;
            }
            let mut changed = text.clone().into_bytes();
            changed[at] = if byte == b'7' { b'8' } else { b'7' };
            let changed = String::from_utf8(changed).unwrap();
            if let Ok(receipt) = serde_json::from_str::<Receipt>(&changed) {
                receipt.verify().unwrap_err();
                caught += 1;
            }
        }
        assert!(caught > 300, "{caught}");
        let mut without = read.clone();
        without.records.remove(1);
        without.verify().unwrap_err();
    }
    let (topic, _) = in_state(State::Delivered);
    let mut receipt = topic.receipt(1);
    receipt.records.reverse();
    assert!(matches!(
        receipt.verify(),
        Err(ReceiptFault::State { .. } | ReceiptFault::Order { .. })
    ));
}

#[test]
fn a_record_that_cannot_follow_is_refused_and_changes_nothing() {
    let (topic, now) = in_state(State::Delivered);
    let forged = |change: &dyn Fn(&mut Stepped)| {
        let CommitmentRecord::Stepped { step, mut stepped } = topic
            .state
            .check_confirm(id(1), counterparty(), now)
            .unwrap()
        else {
            panic!("no step");
        };
        change(&mut stepped);
        CommitmentRecord::Stepped { step, stepped }
    };
    let mut state = topic.state.clone();
    for record in [
        forged(&|stepped| stepped.party = Some(party(3))),
        forged(&|stepped| stepped.party = Some(party(1))),
        forged(&|stepped| stepped.party = None),
        forged(&|stepped| stepped.role = Voice::Obligor),
        forged(&|stepped| stepped.at = at(-1)),
        forged(&|stepped| stepped.at = at(DAY)),
        forged(&|stepped| stepped.commitment = id(2)),
        forged(&|stepped| stepped.shortened_to = Some(1)),
    ] {
        state.apply(&record, topic.offset()).unwrap_err();
        assert_eq!(state, topic.state);
    }
    let CommitmentRecord::Created(created) = &topic.records[0] else {
        panic!("no promise");
    };
    let mut forged = (**created).clone();
    forged.commitment = id(2);
    forged.promise.description.push('!');
    let forged = CommitmentRecord::Created(forged.into());
    let refused = state.apply(&forged, topic.offset()).unwrap_err();
    assert_eq!(refused.rule, "its hash is not that of the promise");
    state.apply(&topic.records[0], topic.offset()).unwrap_err();
}

#[test]
fn records_of_a_newer_broker_are_kept_and_damaged_ones_told() {
    let record = CommitmentRecord::decode("commitment.praised", b"{}").unwrap();
    assert!(matches!(record, CommitmentRecord::Unknown { .. }));
    let mut state = Commitments::default();
    state.apply(&record, Offset(0)).unwrap();
    assert_eq!(state, Commitments::default());
    let newer = br#"{"type":"commitment.breached","v":2}"#;
    let newer = CommitmentRecord::decode("commitment.breached", newer).unwrap_err();
    assert!(matches!(
        newer,
        EventError::UnsupportedVersion { found: 2, .. }
    ));
    let (topic, _) = in_state(State::Proposed);
    let payload = topic.records[0].encode();
    CommitmentRecord::decode("commitment.created", &payload).unwrap_err();
    CommitmentRecord::decode("commitment.proposed", &payload[1..]).unwrap_err();
}
