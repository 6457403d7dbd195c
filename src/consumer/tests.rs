use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::folding::{EventError, Folded, IllegalEvent, MAX_PART_BYTES};
use crate::types::{
    ChannelName, ConsumerName, Incarnation, LogEpoch, MAX_METADATA_BYTES, Offset, Timestamp,
};

const CHANNEL: Incarnation = Incarnation(7);

fn name(text: &str) -> ConsumerName {
    ConsumerName::parse(text).unwrap()
}

fn committed(offset: u64) -> Committed {
    Committed {
        channel: CHANNEL,
        channel_name: ChannelName::parse("orders").unwrap(),
        consumer: name("billing"),
        offset: Offset(offset),
        metadata: "m".to_owned(),
        log_epoch: LogEpoch(3),
        at: Timestamp(50),
    }
}

fn commit(offset: u64) -> ConsumerEvent {
    ConsumerEvent::Committed(committed(offset))
}

fn reset_to(offset: u64) -> Reset {
    Reset {
        channel: CHANNEL,
        channel_name: ChannelName::parse("orders").unwrap(),
        consumer: name("billing"),
        offset: Offset(offset),
        log_epoch: LogEpoch(4),
        at: Timestamp(60),
    }
}

fn deleted() -> Deleted {
    Deleted {
        channel: CHANNEL,
        consumer: name("billing"),
        at: Timestamp(70),
    }
}

fn repositioned(from: u64, to: u64) -> ConsumerEvent {
    ConsumerEvent::Repositioned(Repositioned {
        channel: CHANNEL,
        consumer: name("billing"),
        from: Offset(from),
        to: Offset(to),
        log_epoch: LogEpoch(5),
        reason: RepositionReason::BeyondLogEnd,
        at: Timestamp(80),
    })
}

fn dropped() -> ConsumerEvent {
    ConsumerEvent::ChannelDropped(ChannelDropped {
        channel: CHANNEL,
        at: Timestamp(90),
    })
}

fn after(events: &[ConsumerEvent]) -> Consumers {
    let mut state = Consumers::default();
    for event in events {
        state.apply(event).unwrap();
    }
    state
}

fn billing(state: &Consumers) -> Option<&Position> {
    state.position(CHANNEL, "billing")
}

#[track_caller]
fn refused(state: &Consumers, event: &ConsumerEvent) -> IllegalEvent {
    let mut tried = state.clone();
    let error = tried.apply(event).unwrap_err();
    assert_eq!(&tried, state, "a refused event has changed the state");
    assert_eq!(error.event, event.record_type());
    error
}

#[test]
fn absent_to_placed_by_a_commit() {
    let state = after(&[commit(5)]);
    let expected = Position {
        offset: Offset(5),
        metadata: "m".to_owned(),
        log_epoch: LogEpoch(3),
        at: Timestamp(50),
        repositioned: None,
    };
    assert_eq!(billing(&state), Some(&expected));
}

#[test]
fn absent_to_placed_by_a_reset() {
    let state = after(&[ConsumerEvent::Reset(reset_to(5))]);
    assert_eq!(billing(&state).unwrap().offset, Offset(5));
}

#[test]
fn placed_to_placed_by_a_commit_to_any_offset() {
    for offset in [4, 5, 6] {
        let state = after(&[commit(5), commit(offset)]);
        assert_eq!(billing(&state).unwrap().offset, Offset(offset));
    }
}

#[test]
fn placed_to_placed_by_a_reset_that_drops_the_metadata() {
    let state = after(&[commit(5), ConsumerEvent::Reset(reset_to(2))]);
    let position = billing(&state).unwrap();
    assert_eq!(
        (position.offset, position.metadata.as_str()),
        (Offset(2), "")
    );
}

#[test]
fn placed_to_moved_by_the_broker_keeps_the_metadata_and_a_mark() {
    let state = after(&[commit(5), repositioned(5, 3)]);
    let position = billing(&state).unwrap();
    assert_eq!(
        (position.offset, position.metadata.as_str()),
        (Offset(3), "m")
    );
    assert_eq!(position.log_epoch, LogEpoch(5));
    let mark = PositionMark {
        from: Offset(5),
        reason: RepositionReason::BeyondLogEnd,
    };
    assert_eq!(position.repositioned, Some(mark));
}

#[test]
fn moved_to_moved_when_the_log_is_cut_again() {
    let state = after(&[commit(5), repositioned(5, 3), repositioned(3, 1)]);
    let position = billing(&state).unwrap();
    assert_eq!(position.offset, Offset(1));
    assert_eq!(position.repositioned.unwrap().from, Offset(3));
}

#[test]
fn moved_to_placed_by_a_commit_or_a_reset_that_takes_the_mark_away() {
    for event in [commit(4), ConsumerEvent::Reset(reset_to(4))] {
        let state = after(&[commit(5), repositioned(5, 3), event]);
        assert_eq!(billing(&state).unwrap().repositioned, None);
    }
}

#[test]
fn placed_or_moved_to_absent_by_a_delete() {
    let delete = ConsumerEvent::Deleted(deleted());
    for before in [vec![commit(5)], vec![commit(5), repositioned(5, 3)]] {
        let state = after(&[before, vec![delete.clone()]].concat());
        assert_eq!(billing(&state), None);
        assert_eq!(state.channels().count(), 0);
        // All that is left of it is when it was forgotten.
        assert_eq!(state.forgotten_at(CHANNEL, "billing"), Some(deleted().at));
    }
}

#[test]
fn placed_or_moved_to_absent_by_the_end_of_the_channel_and_of_no_other() {
    let mut elsewhere = committed(9);
    elsewhere.channel = Incarnation(8);
    let elsewhere = ConsumerEvent::Committed(elsewhere);
    assert_eq!(
        after(&[commit(5), elsewhere.clone(), dropped()]),
        after(std::slice::from_ref(&elsewhere))
    );
    assert_eq!(
        after(&[commit(5), repositioned(5, 3), elsewhere.clone(), dropped()]),
        after(&[elsewhere])
    );
}

#[test]
fn the_end_of_a_channel_without_consumers_changes_nothing() {
    assert_eq!(after(&[dropped()]), Consumers::default());
}

#[test]
fn who_is_absent_can_be_neither_deleted_nor_moved() {
    let mut other = committed(5);
    other.consumer = name("audit");
    for state in [
        Consumers::default(),
        after(&[ConsumerEvent::Committed(other)]),
    ] {
        refused(&state, &ConsumerEvent::Deleted(deleted()));
        refused(&state, &repositioned(5, 3));
    }
}

#[test]
fn a_consumer_is_moved_only_from_where_it_is_and_only_down() {
    let state = after(&[commit(5)]);
    refused(&state, &repositioned(6, 3));
    refused(&state, &repositioned(5, 5));
    let error = refused(&state, &repositioned(5, 6));
    assert_eq!(
        error.to_string(),
        "`consumer.repositioned` for consumer `billing` of channel \
         00000000000000000000000000000007 refused: a consumer is moved only to a lower offset"
    );
}

fn check(state: &Consumers, offset: u64, expected: Expected) -> Result<ConsumerEvent, CommitError> {
    let commit = Commit {
        committed: committed(offset),
        expected,
    };
    state.check_commit(commit, Offset(10)..Offset(20))
}

#[test]
fn a_commit_holds_to_the_position_it_expects() {
    use Expected::{Absent, Any, At};
    let absent = Consumers::default();
    let placed = after(&[commit(12)]);
    for (state, expected, actual, holds) in [
        (&absent, Any, None, true),
        (&absent, Absent, None, true),
        (&absent, At(Offset(12)), None, false),
        (&placed, Any, Some(Offset(12)), true),
        (&placed, Absent, Some(Offset(12)), false),
        (&placed, At(Offset(12)), Some(Offset(12)), true),
        (&placed, At(Offset(11)), Some(Offset(12)), false),
    ] {
        let verdict = if holds {
            Ok(commit(15))
        } else {
            Err(CommitError::PositionMismatch { expected, actual })
        };
        assert_eq!(check(state, 15, expected), verdict);
    }
    let error = check(&absent, 15, At(Offset(12))).unwrap_err();
    assert_eq!(
        error.to_string(),
        "expected 12, but the consumer is at no position"
    );
}

#[test]
fn a_commit_reaches_to_the_log_end_and_not_beyond() {
    let state = Consumers::default();
    check(&state, 20, Expected::Any).unwrap();
    check(&state, 9, Expected::Any).expect("retention may overtake a consumer");
    assert_eq!(
        check(&state, 21, Expected::Any),
        Err(CommitError::BeyondLogEnd {
            offset: Offset(21),
            log_start: Offset(10),
            log_end: Offset(20)
        })
    );
}

#[test]
fn metadata_is_bounded() {
    for (bytes, fits) in [(MAX_METADATA_BYTES, true), (MAX_METADATA_BYTES + 1, false)] {
        let mut committed = committed(1);
        committed.metadata = "x".repeat(bytes);
        let commit = Commit {
            committed,
            expected: Expected::Any,
        };
        let result = Consumers::default().check_commit(commit, Offset(0)..Offset(1));
        assert_eq!(result.is_ok(), fits, "{bytes} bytes");
    }
}

#[test]
fn a_reset_outside_the_log_names_the_valid_range() {
    let state = Consumers::default();
    let log = Offset(10)..Offset(20);
    for offset in [10, 20] {
        state.check_reset(reset_to(offset), log.clone()).unwrap();
    }
    for offset in [9, 21] {
        let error = state
            .check_reset(reset_to(offset), log.clone())
            .unwrap_err();
        assert_eq!(error.available, log);
    }
}

#[test]
fn only_who_has_a_position_can_be_deleted() {
    assert!(Consumers::default().check_delete(deleted()).is_err());
    let event = after(&[commit(5)]).check_delete(deleted()).unwrap();
    assert_eq!(event, ConsumerEvent::Deleted(deleted()));
}

#[test]
fn recovery_moves_those_beyond_the_log_end_and_nobody_else() {
    let mut others = [committed(3), committed(4)];
    others[0].consumer = name("before");
    others[1].consumer = name("at-end");
    let mut state = after(&others.map(ConsumerEvent::Committed));
    state.apply(&commit(5)).unwrap();
    let moved = state.clamp_to(CHANNEL, Offset(4), LogEpoch(5), Timestamp(80));
    assert_eq!(moved, [repositioned(5, 4)]);
    state.apply(&moved[0]).unwrap();
    let again = state.clamp_to(CHANNEL, Offset(4), LogEpoch(5), Timestamp(80));
    assert_eq!(again, [], "moved once, they stay");
}

#[test]
fn consumers_are_listed_by_name_and_channel() {
    let state = after(&["b", "a", "c"].map(|consumer| {
        let mut committed = committed(1);
        committed.consumer = name(consumer);
        ConsumerEvent::Committed(committed)
    }));
    let names: Vec<_> = state.list(CHANNEL).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert_eq!(state.list(Incarnation(8)).count(), 0);
    let channels: Vec<_> = state
        .channels()
        .map(|(id, name)| (id, name.as_str()))
        .collect();
    assert_eq!(channels, [(CHANNEL, "orders")]);
}

#[test]
fn the_json_of_each_event_is_stable() {
    let id = CHANNEL.to_string();
    for (event, json) in [
        (
            commit(5),
            format!(
                r#"{{"v":1,"type":"consumer.committed","channel":"{id}","channelName":"orders","consumer":"billing","offset":5,"metadata":"m","logEpoch":3,"at":50}}"#
            ),
        ),
        (
            ConsumerEvent::Reset(reset_to(5)),
            format!(
                r#"{{"v":1,"type":"consumer.reset","channel":"{id}","channelName":"orders","consumer":"billing","offset":5,"logEpoch":4,"at":60}}"#
            ),
        ),
        (
            ConsumerEvent::Deleted(deleted()),
            format!(
                r#"{{"v":1,"type":"consumer.deleted","channel":"{id}","consumer":"billing","at":70}}"#
            ),
        ),
        (
            repositioned(5, 3),
            format!(
                r#"{{"v":1,"type":"consumer.repositioned","channel":"{id}","consumer":"billing","from":5,"to":3,"logEpoch":5,"reason":"beyondLogEnd","at":80}}"#
            ),
        ),
        (
            ConsumerEvent::Forgotten(Forgotten {
                channel: CHANNEL,
                consumers: vec![(name("billing"), Timestamp(70))],
            }),
            format!(
                r#"{{"v":1,"type":"consumer.forgotten","channel":"{id}","consumers":[["billing",70]]}}"#
            ),
        ),
        (
            dropped(),
            format!(r#"{{"v":1,"type":"consumer.channelDropped","channel":"{id}","at":90}}"#),
        ),
        (
            after(&[commit(5)]).fold().remove(0),
            format!(
                r#"{{"v":1,"type":"consumers.folded","part":1,"parts":1,"rows":[{{"channel":"{id}","channelName":"orders","consumer":"billing","offset":5,"metadata":"m","logEpoch":3,"at":50}}]}}"#
            ),
        ),
    ] {
        assert_eq!(String::from_utf8(event.encode()).unwrap(), json);
        let decoded = ConsumerEvent::decode(event.record_type(), json.as_bytes()).unwrap();
        assert_eq!(decoded, event);
    }
}

#[test]
fn an_unknown_event_is_kept_as_it_is_and_changes_nothing() {
    let bytes = b"not even JSON";
    let event = ConsumerEvent::decode("consumer.leased", bytes).unwrap();
    assert_eq!(event.record_type(), "consumer.leased");
    assert_eq!(event.encode(), bytes);
    assert_eq!(after(&[commit(5), event]), after(&[commit(5)]));
}

#[test]
fn an_unknown_member_is_passed_over() {
    let json = String::from_utf8(commit(5).encode()).unwrap();
    let newer = json.replacen('{', r#"{"lease":[1,{"a":null}],"#, 1);
    let event = ConsumerEvent::decode("consumer.committed", newer.as_bytes()).unwrap();
    assert_eq!(event, commit(5));
}

#[test]
fn a_newer_version_is_called_unsupported_and_not_unreadable() {
    let newer = br#"{"v":2,"type":"consumer.committed","position":"else"}"#;
    let error = ConsumerEvent::decode("consumer.committed", newer).unwrap_err();
    assert!(matches!(
        error,
        EventError::UnsupportedVersion {
            found: 2,
            supported: 1,
            ..
        }
    ));
}

#[test]
fn a_payload_that_is_not_the_event_of_its_record_is_refused() {
    let commit = commit(5).encode();
    let error = ConsumerEvent::decode("consumer.reset", &commit).unwrap_err();
    assert!(matches!(error, EventError::TypeMismatch { .. }));
    for cut in 0..commit.len() {
        let error = ConsumerEvent::decode("consumer.committed", &commit[..cut]).unwrap_err();
        assert!(matches!(error, EventError::Json { .. }), "cut at {cut}");
    }
}

fn folded(part: u32, parts: u32, rows: &[ConsumerRow]) -> ConsumerEvent {
    ConsumerEvent::Folded(Folded {
        part,
        parts,
        rows: rows.to_vec(),
    })
}

fn row(consumer: &str) -> ConsumerRow {
    ConsumerRow {
        channel: CHANNEL,
        channel_name: ChannelName::parse("orders").unwrap(),
        consumer: name(consumer),
        position: billing(&after(&[commit(5)])).unwrap().clone(),
    }
}

#[test]
fn a_state_record_replaces_all_with_its_last_part() {
    let mut state = after(&[commit(99), folded(1, 2, &[row("a")])]);
    assert_eq!(billing(&state).unwrap().offset, Offset(99));
    state.apply(&folded(2, 2, &[row("b")])).unwrap();
    let names: Vec<_> = state.list(CHANNEL).map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
}

#[test]
fn parts_out_of_order_and_events_between_parts_are_refused() {
    let begun = after(&[folded(1, 3, &[row("a")])]);
    for event in [
        folded(1, 3, &[]),
        folded(3, 3, &[]),
        folded(2, 4, &[]),
        folded(0, 3, &[]),
        commit(5),
        dropped(),
    ] {
        refused(&begun, &event);
    }
    for (part, parts) in [(0, 0), (0, 1), (2, 1), (2, 2), (u32::MAX, u32::MAX)] {
        refused(&Consumers::default(), &folded(part, parts, &[]));
    }
}

#[test]
fn a_state_record_that_contradicts_itself_is_refused() {
    let begun = after(&[folded(1, 2, &[row("a")])]);
    refused(&begun, &folded(2, 2, &[row("a")]));
    let mut renamed = row("b");
    renamed.channel_name = ChannelName::parse("other").unwrap();
    refused(&begun, &folded(2, 2, &[renamed]));
}

#[test]
fn every_part_of_a_large_state_record_keeps_to_its_bound() {
    let mut state = Consumers::default();
    for n in 0..200 {
        let mut committed = committed(n);
        committed.consumer = name(&format!("{n:0>256}"));
        // The most that a byte of metadata can take in JSON.
        committed.metadata = "\u{1}".repeat(MAX_METADATA_BYTES);
        state.apply(&ConsumerEvent::Committed(committed)).unwrap();
    }
    let parts = state.fold();
    assert!(parts.len() > 10);
    for part in &parts {
        assert!(part.encode().len() <= MAX_PART_BYTES - 100);
    }
    assert_eq!(after(&parts), state);
}

#[test]
fn that_a_consumer_was_forgotten_is_known_until_it_is_placed_again_or_its_channel_is_gone() {
    let mut state = Consumers::default();
    let delete = |consumer: &str, at: i64| {
        ConsumerEvent::Deleted(Deleted {
            channel: CHANNEL,
            consumer: name(consumer),
            at: Timestamp(at),
        })
    };
    state.apply(&commit(5)).unwrap();
    state.apply(&delete("billing", 70)).unwrap();
    assert_eq!(state.forgotten_at(CHANNEL, "billing"), Some(Timestamp(70)));
    // It outlives a state record, which the event stands behind.
    let mut refolded = Consumers::default();
    for part in state.fold() {
        refolded.apply(&part).unwrap();
    }
    assert_eq!(refolded, state);
    state.apply(&commit(6)).unwrap();
    assert_eq!(state.forgotten_at(CHANNEL, "billing"), None);
    assert_eq!(state.forgotten_in().count(), 0);
    state.apply(&delete("billing", 71)).unwrap();
    state.apply(&dropped()).unwrap();
    assert_eq!(state, Consumers::default());
    // The latest are known, so that nothing grows without end.
    for n in 0..=MAX_FORGOTTEN {
        let consumer = format!("c{n}");
        let ConsumerEvent::Committed(mut committed) = commit(5) else {
            panic!("a commit")
        };
        committed.consumer = name(&consumer);
        state.apply(&ConsumerEvent::Committed(committed)).unwrap();
        state.apply(&delete(&consumer, 100 + n as i64)).unwrap();
    }
    assert_eq!(state.forgotten(CHANNEL).count(), MAX_FORGOTTEN);
    assert_eq!(state.forgotten_at(CHANNEL, "c0"), None);
    assert!(state.forgotten_at(CHANNEL, "c1").is_some());
}

fn event() -> impl Strategy<Value = ConsumerEvent> {
    (0..3_u128, 0..3_usize, 0..6_u64, 0..6_u64, ".{0,5}", 0..8).prop_map(
        |(channel, consumer, offset, to, metadata, kind)| {
            let channel = Incarnation(channel);
            let channel_name = ChannelName::parse(["x", "y"][usize::from(offset > 4)]).unwrap();
            let consumer = name(["a", "b", "c"][consumer]);
            let (offset, at) = (Offset(offset), Timestamp(-1));
            let log_epoch = LogEpoch(u64::MAX - to);
            match kind {
                0..=2 => ConsumerEvent::Committed(Committed {
                    channel,
                    channel_name,
                    consumer,
                    offset,
                    metadata,
                    log_epoch,
                    at,
                }),
                3 => ConsumerEvent::Reset(Reset {
                    channel,
                    channel_name,
                    consumer,
                    offset,
                    log_epoch,
                    at,
                }),
                4 => ConsumerEvent::Deleted(Deleted {
                    channel,
                    consumer,
                    at,
                }),
                5 | 6 => ConsumerEvent::Repositioned(Repositioned {
                    channel,
                    consumer,
                    from: offset,
                    to: Offset(to),
                    log_epoch,
                    reason: RepositionReason::BeyondLogEnd,
                    at,
                }),
                _ => ConsumerEvent::ChannelDropped(ChannelDropped { channel, at }),
            }
        },
    )
}

proptest! {
    #[test]
    fn a_state_folded_and_read_back_is_identical_after_any_events(
        events in vec(event(), 0..60),
        max_part_bytes in 0..2000_usize,
    ) {
        let (mut state, mut replayed) = (Consumers::default(), Consumers::default());
        for event in &events {
            let before = state.clone();
            let result = state.apply(event);
            if result.is_err() {
                prop_assert_eq!(&state, &before);
            }
            let stored = ConsumerEvent::decode(event.record_type(), &event.encode()).unwrap();
            prop_assert_eq!(&stored, event);
            prop_assert_eq!(replayed.apply(&stored), result);
        }
        prop_assert_eq!(&replayed, &state);

        let parts = state.fold_in_parts(max_part_bytes);
        let mut refolded = Consumers::default();
        for part in &parts {
            let stored = ConsumerEvent::decode(part.record_type(), &part.encode()).unwrap();
            refolded.apply(&stored).unwrap();
            replayed.apply(&stored).unwrap();
        }
        prop_assert_eq!(&refolded, &state);
        prop_assert_eq!(&replayed, &state, "the same when it stands after what it replaces");
        prop_assert_eq!(refolded.fold_in_parts(max_part_bytes), parts);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0..8_usize, payload in vec(any::<u8>(), 0..200)) {
        let kinds = [
            "consumer.committed", "consumer.reset", "consumer.deleted", "consumer.repositioned",
            "consumer.channelDropped", "consumers.folded", "consumer.forgotten", "",
        ];
        let _ = ConsumerEvent::decode(kinds[kind], &payload);
    }
}
