//! Every cell of the tables of copies in `docs/regions.md`, and that a cursor never jumps.

use std::ops::Range;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::types::{ChannelName, Incarnation, LogEpoch, Offset, RegionName, Timestamp};

const LOG: Incarnation = Incarnation(7);

fn range(from: u64, to: u64) -> Range<Offset> {
    Offset(from)..Offset(to)
}

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn mark(base: u64, end: u64, epoch: u64, time: i64) -> BatchMark {
    BatchMark {
        base: Offset(base),
        end: Offset(end),
        epoch: LogEpoch(epoch),
        append_time: Timestamp(time),
        body_crc: 5,
    }
}

fn batch(base: u64, end: u64) -> Item {
    batch_of(mark(base, end, 3, 50))
}

fn batch_of(mark: BatchMark) -> Item {
    Item::Batch {
        incarnation: LOG,
        mark,
        flushed: Offset(1000),
    }
}

fn skip(from: u64, to: u64) -> Item {
    Item::Skip {
        range: range(from, to),
        epoch: LogEpoch(4),
        append_time: Timestamp(60),
        flushed: Offset(1000),
    }
}

fn gap(from: u64, to: u64) -> Item {
    Item::Gap {
        range: range(from, to),
        reason: GapReason::Trimmed,
    }
}

fn head(log_start: u64, flushed: u64, epoch: u64) -> Item {
    Item::Head {
        log_start: Offset(log_start),
        flushed: Offset(flushed),
        epoch: LogEpoch(epoch),
    }
}

/// A copy that goes on at 10, behind epoch 3 and time 50.
fn cursor(is_filtered: bool) -> Cursor {
    Cursor::new(LOG, Offset(10), LogEpoch(3), Timestamp(50), is_filtered)
}

#[test]
fn what_follows_is_taken_and_moves_the_cursor_behind_it() {
    let mut cursor = cursor(true);
    assert_eq!(cursor.accept(&batch(10, 12)), Ok(Step::Append));
    let marked = Step::Mark {
        range: range(12, 20),
        reason: None,
        epoch: LogEpoch(4),
        append_time: Timestamp(60),
    };
    assert_eq!(cursor.accept(&skip(12, 20)), Ok(marked));
    let marked = Step::Mark {
        range: range(20, 25),
        reason: Some(GapReason::Trimmed),
        epoch: LogEpoch(4),
        append_time: Timestamp(60),
    };
    assert_eq!(cursor.accept(&gap(20, 25)), Ok(marked));
    let lag = Step::Lag {
        records: 5,
        log_start: Offset(25),
    };
    assert_eq!(cursor.accept(&head(25, 30, 4)), Ok(lag));
    for offset in [None, Some(Offset(25)), Some(Offset(0))] {
        assert_eq!(cursor.accept(&Item::Position { offset }), Ok(Step::Place));
    }
    assert_eq!((cursor.next(), cursor.epoch()), (Offset(25), LogEpoch(4)));
}

#[test]
fn what_does_not_follow_is_refused_and_leaves_the_cursor() {
    let other = Item::Batch {
        incarnation: Incarnation(8),
        mark: mark(10, 12, 3, 50),
        flushed: Offset(1000),
    };
    let unsynced = Item::Batch {
        incarnation: LOG,
        mark: mark(10, 12, 3, 50),
        flushed: Offset(11),
    };
    for (item, rule) in [
        (
            other,
            "a batch of incarnation 00000000000000000000000000000008",
        ),
        (
            unsynced,
            "offset 12 is above what the source has synced, 11",
        ),
        (batch(9, 12), "offset 9 came again, the copy goes on at 10"),
        (batch(0, 10), "offset 0 came again"),
        (batch(11, 12), "offsets 10..11 were left out"),
        (batch(10, 10), "a range without offsets, 10..10"),
        (batch_of(mark(10, 12, 2, 50)), "epoch 2 comes after 3"),
        (
            batch_of(mark(10, 12, 3, 49)),
            "append time 49 comes after 50",
        ),
        (skip(11, 12), "offsets 10..11 were left out"),
        (skip(9, 12), "offset 9 came again"),
        (
            skip(10, 2000),
            "offset 2000 is above what the source has synced",
        ),
        (gap(11, 12), "offsets 10..11 were left out"),
        (gap(9, 12), "offset 9 came again"),
        (gap(10, 10), "a range without offsets"),
        (head(0, 9, 3), "the source has 0..9, the copy goes on at 10"),
        (head(21, 20, 3), "the source has 21..20"),
        (head(0, 20, 2), "epoch 2 comes after 3"),
        (
            Item::Position {
                offset: Some(Offset(11)),
            },
            "a consumer's position 11 is above the copy's end 10",
        ),
    ] {
        let mut cursor = cursor(true);
        let error = cursor.accept(&item).unwrap_err();
        assert!(error.to_string().starts_with(rule), "{item:?}: {error}");
        assert_eq!(cursor, self::cursor(true), "{item:?}");
    }
    let error = cursor(false).accept(&skip(10, 12)).unwrap_err();
    assert_eq!(
        error.to_string(),
        "offsets 10..12 were skipped in a copy of all types"
    );
}

fn source() -> Source {
    Source {
        incarnation: LOG,
        is_home: true,
        log_start: Offset(0),
        flushed: Offset(20),
        epoch: LogEpoch(5),
        before: Some(mark(8, 10, 3, 50)),
    }
}

fn wanted(from: u64, before: Before) -> Wanted {
    Wanted {
        incarnation: Some(LOG),
        from: Offset(from),
        before,
    }
}

#[test]
fn a_source_goes_on_where_it_has_the_same_batch() {
    let same = Before::Batch(mark(8, 10, 3, 50));
    assert_eq!(
        check_follow(&source(), &wanted(10, same), None),
        Ok(Offset(10))
    );
    let own = Before::OwnGap(LogEpoch(5));
    assert_eq!(
        check_follow(&source(), &wanted(20, own), None),
        Ok(Offset(20))
    );
    let trimmed = Source {
        log_start: Offset(15),
        before: None,
        ..source()
    };
    // The gap item comes first then.
    assert_eq!(
        check_follow(&trimmed, &wanted(10, same), None),
        Ok(Offset(10))
    );
    let new = Wanted {
        incarnation: None,
        ..wanted(9, Before::Nothing)
    };
    let holds = Some(mark(8, 10, 3, 50));
    assert_eq!(
        check_follow(&source(), &new, holds),
        Ok(Offset(8)),
        "whole batches"
    );
    assert_eq!(check_follow(&source(), &new, None), Ok(Offset(9)));
}

#[test]
fn a_source_that_has_something_else_says_what() {
    let same = Before::Batch(mark(8, 10, 3, 50));
    let recreated = Wanted {
        incarnation: Some(Incarnation(8)),
        ..wanted(10, same)
    };
    let refused =
        |source: &Source, wanted: &Wanted| check_follow(source, wanted, None).unwrap_err();
    assert!(matches!(
        refused(&source(), &recreated),
        FollowRefusal::Recreated { .. }
    ));
    let (from, end) = (Offset(21), Offset(20));
    let far = wanted(21, same);
    assert_eq!(
        refused(&source(), &far),
        FollowRefusal::HomeEndsBefore { from, end }
    );
    let copy = Source {
        is_home: false,
        ..source()
    };
    assert_eq!(
        refused(&copy, &far),
        FollowRefusal::SourceBehind { from, end }
    );
    for other in [
        mark(7, 10, 3, 50),
        mark(8, 11, 3, 50),
        mark(8, 10, 2, 50),
        mark(8, 10, 3, 51),
        BatchMark {
            body_crc: 6,
            ..mark(8, 10, 3, 50)
        },
    ] {
        let error = refused(&source(), &wanted(10, Before::Batch(other)));
        let here = mark(8, 10, 3, 50);
        assert_eq!(
            error,
            FollowRefusal::OtherBatch {
                from: Offset(10),
                here
            }
        );
    }
    let trimmed = Source {
        before: None,
        ..source()
    };
    for before in [
        Before::OwnGap(LogEpoch(6)),
        Before::Batch(mark(8, 10, 6, 50)),
    ] {
        let error = refused(&trimmed, &wanted(10, before));
        assert!(matches!(error, FollowRefusal::EpochAhead { .. }), "{error}");
    }
}

fn begun() -> CopyEvent {
    CopyEvent::Begun(Begun {
        incarnation: LOG,
        log: "orders".parse().unwrap(),
        source: region("us-east"),
        from: Offset(5),
        types: None,
        at: Timestamp(1),
    })
}

fn gapped(from: u64, to: u64) -> CopyEvent {
    CopyEvent::Gap(Gapped {
        incarnation: LOG,
        from: Offset(from),
        to: Offset(to),
        reason: GapReason::Trimmed,
        at: Timestamp(2),
    })
}

fn stopped() -> CopyEvent {
    CopyEvent::Stopped(Stopped {
        incarnation: LOG,
        code: "DIVERGED".into(),
        message: "m".into(),
        offset: Offset(12),
        at: Timestamp(3),
    })
}

fn resumed() -> CopyEvent {
    CopyEvent::Resumed(Resumed {
        incarnation: LOG,
        source: region("ap-south"),
        at: Timestamp(4),
    })
}

fn set_aside(reason: AsideReason) -> CopyEvent {
    CopyEvent::SetAside(SetAside {
        incarnation: LOG,
        reason,
        from: Offset(8),
        end: Offset(12),
        place: "lost+found/orders".into(),
        at: Timestamp(5),
        republished: Vec::new(),
        refused: (reason == AsideReason::Refused).then(|| RefusedRecords {
            channel: ChannelName::parse("orders").unwrap(),
            code: "UNKNOWN_PRODUCER".into(),
            message: "m".into(),
            records: 3,
        }),
    })
}

fn purged() -> CopyEvent {
    CopyEvent::Purged(Purged {
        incarnation: LOG,
        at: Timestamp(6),
    })
}

fn republished(records: u64, done: bool) -> CopyEvent {
    CopyEvent::Republished(Republication {
        incarnation: LOG,
        place: "lost+found/orders".into(),
        republished: Republished {
            to: ChannelName::parse("late").unwrap(),
            target: LOG,
            begun_at: Offset(7),
            records,
            done,
            at: Timestamp(7),
        },
    })
}

fn seen(home: &str, term: u32, flushed: u64) -> CopyEvent {
    CopyEvent::Seen(Seen {
        incarnation: LOG,
        home: region(home),
        term,
        flushed: Offset(flushed),
        at: Timestamp(8),
    })
}

fn anew() -> CopyEvent {
    CopyEvent::Anew(Anew {
        incarnation: LOG,
        why: "damage".into(),
        at: Timestamp(9),
    })
}

fn whole() -> CopyEvent {
    CopyEvent::Whole(Whole {
        incarnation: LOG,
        at: Timestamp(10),
    })
}

#[test]
fn a_copy_that_is_brought_anew_is_that_until_it_is_whole() {
    for begun in [vec![begun()], vec![begun(), stopped()]] {
        let mut state = after(&begun);
        refused(&state, &whole());
        state.apply(&anew()).unwrap();
        state.apply(&anew()).unwrap();
        assert_eq!(after(&state.fold()), state);
        // Whatever becomes of it meanwhile.
        let stops = [stopped(), resumed()];
        stops.iter().for_each(|event| state.apply(event).unwrap());
        let mark = state.copy(LOG).unwrap().anew.as_ref();
        assert_eq!(mark.map(|mark| mark.why.as_str()), Some("damage"));
        state.apply(&whole()).unwrap();
        assert_eq!(state.copy(LOG).unwrap().anew, None);
        refused(&state, &whole());
    }
    assert_eq!(after(&[begun(), anew(), purged()]).copy(LOG), None);
    for event in [anew(), whole()] {
        refused(&Copies::default(), &event);
    }
}

#[test]
fn how_much_was_published_again_never_goes_down_and_outlives_the_copy() {
    let aside = [begun(), set_aside(AsideReason::Overtaken), purged()];
    let mut state = after(&aside);
    assert!(after(&[begun()]).apply(&republished(1, false)).is_err());
    for (records, done) in [(0, false), (2, false), (2, false), (3, true)] {
        state.apply(&republished(records, done)).unwrap();
    }
    assert!(state.apply(&republished(2, false)).is_err());
    assert!(state.apply(&republished(3, true)).is_err(), "it is over");
    let rows = &state.aside()[0].republished;
    assert_eq!((rows.len(), rows[0].records, rows[0].done), (1, 3, true));
}

#[test]
fn what_a_home_had_synced_is_kept_for_its_tenure_alone() {
    let mut state = after(&[begun(), seen("us-east", 0, 20)]);
    let flushed = |state: &Copies| state.copy(LOG).unwrap().seen.clone().unwrap().flushed;
    assert!(state.apply(&seen("us-east", 0, 20)).is_err());
    assert!(state.apply(&seen("us-east", 0, 19)).is_err());
    state.apply(&seen("us-east", 0, 21)).unwrap();
    assert_eq!(flushed(&state), Offset(21));
    // Another home has its own.
    state.apply(&seen("eu-west", 1, 12)).unwrap();
    assert_eq!(flushed(&state), Offset(12));
    assert!(Copies::default().apply(&seen("us-east", 0, 1)).is_err());
}

fn after(events: &[CopyEvent]) -> Copies {
    let mut state = Copies::default();
    for event in events {
        state.apply(event).unwrap();
    }
    state
}

fn refused(state: &Copies, event: &CopyEvent) {
    let mut tried = state.clone();
    tried.apply(event).expect_err(event.record_type());
    assert_eq!(&tried, state);
}

#[test]
fn gaps_over_what_a_copy_does_not_have_any_more_do_not_pile_up() {
    let state = after(&[begun(), gapped(5, 8), gapped(10, 14), gapped(20, 21)]);
    let gaps = |state: &Copies| state.copy(LOG).unwrap().gaps.len();
    assert_eq!(gaps(&state.without_gaps_below(|_| None)), 3);
    let trimmed = state.without_gaps_below(|_| Some(Offset(10)));
    assert_eq!(gaps(&trimmed), 2, "one that reaches behind it stays");
    let mut trimmed = state.without_gaps_below(|_| Some(Offset(30)));
    assert_eq!(gaps(&trimmed), 0);
    assert_eq!(after(&trimmed.fold()), trimmed);
    trimmed.apply(&gapped(40, 50)).unwrap();
    assert_eq!(gaps(&trimmed), 1, "the next follows nothing");
}

#[test]
fn absent_takes_a_beginning_and_nothing_else() {
    let copy = after(&[begun()]).copy(LOG).cloned().unwrap();
    assert_eq!((copy.stop, copy.from), (None, Offset(5)));
    for event in [
        gapped(5, 6),
        stopped(),
        resumed(),
        set_aside(AsideReason::Recreated),
        set_aside(AsideReason::Overtaken),
        purged(),
    ] {
        refused(&Copies::default(), &event);
    }
}

#[test]
fn copying_goes_on_stops_or_ends() {
    let copying = [begun()];
    refused(&after(&copying), &begun());
    refused(&after(&copying), &resumed());
    let copy = after(&[begun(), gapped(6, 9)]).copy(LOG).cloned().unwrap();
    assert_eq!(copy.gap_at(Offset(8)), Some(range(6, 9)));
    assert_eq!(copy.gap_at(Offset(9)), None);
    let copy = after(&[begun(), stopped()]).copy(LOG).cloned().unwrap();
    assert_eq!(copy.stop.unwrap().code, "DIVERGED");
    for event in [set_aside(AsideReason::Recreated), purged()] {
        assert_eq!(after(&[begun(), event]).copy(LOG), None);
    }
    for reason in [AsideReason::Overtaken, AsideReason::Diverged] {
        let state = after(&[begun(), gapped(6, 9), gapped(10, 11), set_aside(reason)]);
        let copy = state.copy(LOG).unwrap();
        assert_eq!(
            copy.gap_at(Offset(7)),
            Some(range(6, 8)),
            "cut where the copy is"
        );
        assert_eq!(copy.gap_at(Offset(10)), None);
        assert_eq!(state.aside().len(), 1);
    }
}

#[test]
fn stopped_is_resumed_stopped_again_or_ends() {
    let stopped_copy = after(&[begun(), stopped()]);
    refused(&stopped_copy, &begun());
    refused(&stopped_copy, &gapped(6, 7));
    let copy = after(&[begun(), stopped(), resumed()])
        .copy(LOG)
        .cloned()
        .unwrap();
    assert_eq!((copy.stop, copy.source), (None, region("ap-south")));
    assert!(
        after(&[begun(), stopped(), stopped()])
            .copy(LOG)
            .unwrap()
            .stop
            .is_some()
    );
    for event in [set_aside(AsideReason::Recreated), purged()] {
        assert_eq!(after(&[begun(), stopped(), event]).copy(LOG), None);
    }
    let state = after(&[begun(), stopped(), set_aside(AsideReason::Diverged)]);
    assert!(state.copy(LOG).unwrap().stop.is_some());
}

#[test]
fn what_was_recreated_is_kept_beside_until_it_is_purged() {
    for begun in [vec![begun()], vec![begun(), stopped()]] {
        let mut state = after(&begun);
        state.apply(&set_aside(AsideReason::Recreated)).unwrap();
        assert!(state.is_beside(LOG));
        assert_eq!(after(&state.fold()), state);
        refused(&state, &stopped());
        state.apply(&purged()).unwrap();
        assert_eq!((state.is_beside(LOG), state.aside().len()), (false, 0));
        refused(&state, &purged());
    }
    // What lies in a file is no copy, and stays told.
    let state = after(&[begun(), set_aside(AsideReason::Overtaken), purged()]);
    assert_eq!((state.is_beside(LOG), state.aside().len()), (false, 1));
    refused(&state, &purged());
}

#[test]
fn what_a_home_refused_of_an_outbox_is_told_and_changes_no_copy() {
    let refused_batches = set_aside(AsideReason::Refused);
    for before in [
        vec![],
        vec![begun(), gapped(6, 9)],
        vec![begun(), stopped()],
    ] {
        let mut state = after(&before);
        state.apply(&refused_batches).unwrap();
        assert_eq!(state.copy(LOG), after(&before).copy(LOG));
        assert_eq!(state.aside().len(), 1);
        assert!(!state.is_beside(LOG));
        state.apply(&republished(3, true)).unwrap();
        assert_eq!(state.aside()[0].republished[0].records, 3);
        let parts = state.fold();
        assert!(
            parts
                .iter()
                .all(|part| part.encode().starts_with(br#"{"v":2,"#))
        );
        assert_eq!(after(&parts), state);
    }
    let CopyEvent::SetAside(mut nothing) = refused_batches else {
        panic!("it is")
    };
    nothing.refused = None;
    refused(&Copies::default(), &CopyEvent::SetAside(nothing));
}

fn wider(from: u64, types: Option<&str>) -> Widening {
    Widening {
        incarnation: LOG,
        from: Offset(from),
        types: types.map(|one| vec![one.to_owned()]),
        at: Timestamp(7),
    }
}

#[test]
fn a_copy_is_wider_once_the_one_beside_it_takes_its_place() {
    let (begins, takes) = (CopyEvent::Widening, CopyEvent::Widened);
    refused(&Copies::default(), &begins(wider(0, None)));
    refused(&Copies::default(), &takes(wider(0, None)));
    for before in [
        vec![begun(), gapped(6, 9)],
        vec![begun(), gapped(6, 9), stopped()],
    ] {
        let mut state = after(&before);
        refused(&state, &takes(wider(0, None)));
        // Begun again, the last counts.
        state.apply(&begins(wider(2, None))).unwrap();
        state.apply(&begins(wider(0, Some("a")))).unwrap();
        let copy = state.copy(LOG).unwrap();
        assert_eq!(
            (copy.from, &copy.types, copy.gaps.len()),
            (Offset(5), &None, 1)
        );
        assert_eq!(after(&state.fold()), state);
        for other in [wider(2, None), wider(0, None), wider(1, Some("a"))] {
            refused(&state, &takes(other));
        }
        state.apply(&takes(wider(0, Some("a")))).unwrap();
        let copy = state.copy(LOG).unwrap();
        assert_eq!((copy.from, copy.gaps.len()), (Offset(0), 0));
        assert_eq!(copy.types, Some(vec!["a".to_owned()]));
        assert_eq!(copy.wider, None);
        refused(&state, &takes(wider(0, Some("a"))));
    }
}

#[test]
fn gaps_follow_one_another() {
    for bad in [gapped(4, 6), gapped(6, 6)] {
        refused(&after(&[begun()]), &bad);
    }
    refused(&after(&[begun(), gapped(6, 9)]), &gapped(8, 10));
    after(&[begun(), gapped(6, 9), gapped(9, 10)]);
}

#[test]
fn a_whole_copy_has_all_types_and_all_that_its_home_has() {
    let copy = after(&[begun(), gapped(6, 9)]).copy(LOG).cloned().unwrap();
    assert!(!copy.is_whole(Offset(0)), "it begins at 5");
    assert!(!copy.is_whole(Offset(8)), "8 is in a gap");
    assert!(copy.is_whole(Offset(9)));
    let filtered = Copy {
        types: Some(vec!["a".into()]),
        ..copy
    };
    assert!(!filtered.is_whole(Offset(9)));
}

#[test]
fn the_json_of_each_event_is_stable() {
    let id = LOG.to_string();
    let cases = [
        (
            begun(),
            format!(
                r#"{{"v":1,"type":"copy.begun","incarnation":"{id}","log":"orders","source":"us-east","from":5,"at":1}}"#
            ),
        ),
        (
            gapped(6, 9),
            format!(
                r#"{{"v":1,"type":"copy.gap","incarnation":"{id}","from":6,"to":9,"reason":"trimmed","at":2}}"#
            ),
        ),
        (
            stopped(),
            format!(
                r#"{{"v":1,"type":"copy.stopped","incarnation":"{id}","code":"DIVERGED","message":"m","offset":12,"at":3}}"#
            ),
        ),
        (
            resumed(),
            format!(
                r#"{{"v":1,"type":"copy.resumed","incarnation":"{id}","source":"ap-south","at":4}}"#
            ),
        ),
        (
            set_aside(AsideReason::Overtaken),
            format!(
                r#"{{"v":1,"type":"copy.setAside","incarnation":"{id}","reason":"overtaken","from":8,"end":12,"place":"lost+found/orders","at":5}}"#
            ),
        ),
        (
            set_aside(AsideReason::Refused),
            format!(
                r#"{{"v":2,"type":"copy.setAside","incarnation":"{id}","reason":"refused","from":8,"end":12,"place":"lost+found/orders","at":5,"refused":{{"channel":"orders","code":"UNKNOWN_PRODUCER","message":"m","records":3}}}}"#
            ),
        ),
        (
            republished(2, false),
            format!(
                r#"{{"v":1,"type":"copy.republished","incarnation":"{id}","place":"lost+found/orders","to":"late","target":"{id}","begunAt":7,"records":2,"done":false,"at":7}}"#
            ),
        ),
        (
            seen("us-east", 0, 20),
            format!(
                r#"{{"v":1,"type":"copy.seen","incarnation":"{id}","home":"us-east","term":0,"flushed":20,"at":8}}"#
            ),
        ),
        (
            anew(),
            format!(r#"{{"v":1,"type":"copy.anew","incarnation":"{id}","why":"damage","at":9}}"#),
        ),
        (
            whole(),
            format!(r#"{{"v":1,"type":"copy.whole","incarnation":"{id}","at":10}}"#),
        ),
        (
            purged(),
            format!(r#"{{"v":1,"type":"copy.purged","incarnation":"{id}","at":6}}"#),
        ),
    ];
    for (event, json) in cases {
        assert_eq!(String::from_utf8(event.encode()).unwrap(), json);
        let decoded = CopyEvent::decode(event.record_type(), json.as_bytes()).unwrap();
        assert_eq!(decoded, event);
    }
    let later = CopyEvent::decode("copy.later", b"x").unwrap();
    assert_eq!(after(&[begun(), later]), after(&[begun()]));
}

fn event() -> impl Strategy<Value = CopyEvent> {
    (0..11_u8, 0..9_u64).prop_map(|(kind, from)| match kind {
        9 => anew(),
        10 => whole(),
        7 => republished(from, from == 8),
        8 => seen("us-east", 0, from),
        0 | 1 => begun(),
        2 => gapped(from + 3, from + 5),
        3 => stopped(),
        4 => resumed(),
        5 if from % 2 == 0 => set_aside(AsideReason::Refused),
        5 => set_aside(AsideReason::Overtaken),
        _ => purged(),
    })
}

/// Items of a source, some of them wrong in one way or another.
fn item() -> impl Strategy<Value = (u8, i64, u64, u64)> {
    (0..6_u8, -2..3_i64, 0..4_u64, 0..4_u64)
}

proptest! {
    #[test]
    fn a_state_folded_and_read_back_is_identical(events in vec(event(), 0..40)) {
        let mut state = Copies::default();
        for event in &events {
            let before = state.clone();
            if state.apply(event).is_err() {
                prop_assert_eq!(&state, &before);
            }
        }
        let mut refolded = after(&[begun()]);
        for part in state.fold() {
            let stored = CopyEvent::decode(part.record_type(), &part.encode()).unwrap();
            refolded.apply(&stored).unwrap();
        }
        prop_assert_eq!(refolded, state);
    }

    #[test]
    fn a_cursor_covers_every_offset_once_and_in_order(items in vec(item(), 0..60)) {
        let mut cursor = cursor(true);
        let mut covered = Vec::new();
        let mut last = (cursor.epoch(), Timestamp(50));
        for (kind, shift, len, epoch) in items {
            let from = cursor.next().0.saturating_add_signed(shift.min(1));
            let item = match kind {
                0..=2 => batch_of(mark(from, from + len, epoch + 2, 50 + shift)),
                3 => skip(from, from + len),
                4 => gap(from, from + len),
                _ => head(0, from, epoch),
            };
            let before = cursor.clone();
            match cursor.accept(&item) {
                Err(_) => prop_assert_eq!(&cursor, &before),
                Ok(Step::Append) => covered.push(before.next()..cursor.next()),
                Ok(Step::Mark { range, epoch, append_time, .. }) => {
                    prop_assert!((epoch, append_time) >= last);
                    covered.push(range);
                }
                Ok(_) => prop_assert_eq!(&cursor, &before),
            }
            prop_assert!(cursor.epoch() >= last.0);
            last.0 = cursor.epoch();
        }
        let mut next = Offset(10);
        for range in covered {
            prop_assert_eq!(range.start, next);
            prop_assert!(range.end > next);
            next = range.end;
        }
        prop_assert_eq!(cursor.next(), next);
    }
}
