//! Every cell of the tables of interest in `docs/regions.md`, and that what crosses is the union.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::types::{ChannelName, OrgName, Timestamp};

fn org(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse_any(name).unwrap()
}

fn wish(types: &[&str], from: Since, retention_days: Option<u64>) -> Wish {
    let types: BTreeSet<String> = types.iter().map(|name| (*name).to_owned()).collect();
    Wish {
        types: (!types.is_empty()).then_some(types),
        from,
        retention_days,
    }
}

fn all() -> Wish {
    wish(&[], Since::Start, None)
}

fn declared_by(by: &str, pattern: &str, wish: Wish) -> InterestEvent {
    InterestEvent::Declared(Declared {
        org: org(by),
        pattern: pattern.parse().unwrap(),
        wish,
        at: Timestamp(1),
    })
}

fn declared(pattern: &str) -> InterestEvent {
    declared_by("acme", pattern, all())
}

fn removed(pattern: &str) -> InterestEvent {
    InterestEvent::Removed(Removed {
        org: org("acme"),
        pattern: pattern.parse().unwrap(),
        at: Timestamp(2),
    })
}

fn read(name: &str, wish: Wish) -> InterestEvent {
    InterestEvent::Read(ReadBegun {
        org: org("acme"),
        channel: channel(name),
        wish,
        at: Timestamp(3),
    })
}

fn idle(name: &str, until: i64) -> InterestEvent {
    InterestEvent::Idle(Idle {
        org: org("acme"),
        channel: channel(name),
        until: Timestamp(until),
        at: Timestamp(4),
    })
}

fn expired(name: &str, at: i64) -> InterestEvent {
    InterestEvent::Expired(Expired {
        org: org("acme"),
        channel: channel(name),
        at: Timestamp(at),
    })
}

fn after(events: &[InterestEvent]) -> Interests {
    let mut state = Interests::default();
    for event in events {
        state.apply(event).unwrap();
    }
    state
}

fn refused(state: &Interests, event: &InterestEvent) {
    let mut tried = state.clone();
    tried.apply(event).expect_err(event.record_type());
    assert_eq!(&tried, state);
}

fn wanted(state: &Interests, name: &str) -> Option<Wish> {
    state.wish(&channel(name), |_| true)
}

#[test]
fn declared_interest_stays_until_it_is_removed() {
    refused(&Interests::default(), &removed("ml.>"));
    let state = after(&[declared("ml.>")]);
    assert_eq!(wanted(&state, "ml.x"), Some(all()));
    assert_eq!(wanted(&state, "orders"), None);
    refused(&state, &removed("ml.*"));
    let narrower = wish(&["a"], Since::End, Some(3));
    let state = after(&[
        declared("ml.>"),
        declared_by("acme", "ml.>", narrower.clone()),
    ]);
    assert_eq!(
        wanted(&state, "ml.x"),
        Some(narrower),
        "said again, it is replaced"
    );
    assert_eq!(
        after(&[declared("ml.>"), removed("ml.>")]),
        Interests::default()
    );
    let other = declared_by("beta", "ml.>", all());
    refused(&after(&[other]), &removed("ml.>"));
}

#[test]
fn reading_is_interest_until_some_time_after_the_last_reader() {
    let absent = Interests::default();
    refused(&absent, &idle("x", 50));
    refused(&absent, &expired("x", 50));

    let end = wish(&["a"], Since::End, None);
    let reading = after(&[read("x", end.clone())]);
    assert_eq!(wanted(&reading, "x"), Some(end.clone()));
    refused(&reading, &expired("x", 50));
    assert!(reading.due(Timestamp(i64::MAX)).is_empty());
    let wider = after(&[
        read("x", end.clone()),
        read("x", wish(&["b"], Since::Start, None)),
    ]);
    assert_eq!(
        wanted(&wider, "x"),
        Some(wish(&["a", "b"], Since::Start, None))
    );

    let left = after(&[read("x", end.clone()), idle("x", 50)]);
    assert_eq!(wanted(&left, "x"), Some(end.clone()));
    refused(&left, &expired("x", 49));
    assert!(left.due(Timestamp(49)).is_empty());
    assert_eq!(left.due(Timestamp(50)), [expired("x", 50)]);
    assert_eq!(
        after(&[read("x", end.clone()), idle("x", 50), expired("x", 50)]),
        absent
    );
    let later = after(&[read("x", end.clone()), idle("x", 50), idle("x", 60)]);
    refused(&later, &expired("x", 50));
    let again = after(&[
        read("x", end.clone()),
        idle("x", 50),
        read("x", end.clone()),
    ]);
    assert_eq!(again, reading, "who reads again takes the end away");
}

#[test]
fn after_a_start_nobody_reads_and_the_time_begins() {
    let state = after(&[read("x", all()), read("y", all()), idle("y", 7)]);
    let events = state.unread(Timestamp(50), Timestamp(4));
    assert_eq!(events, [idle("x", 50)]);
}

#[test]
fn internal_topics_are_nobodys_interest() {
    refused(&Interests::default(), &read("__channels", all()));
    assert_eq!(wanted(&after(&[declared(">")]), "__channels"), None);
}

#[test]
fn what_overlaps_crosses_once_and_wide_enough() {
    let state = after(&[
        declared_by("acme", "ml.>", wish(&["a"], Since::End, Some(3))),
        declared_by(
            "acme",
            "ml.x",
            wish(&["b"], Since::Time(Timestamp(9)), Some(5)),
        ),
        read("ml.y", wish(&["c"], Since::End, None)),
    ]);
    let x = wish(&["a", "b"], Since::Time(Timestamp(9)), Some(5));
    assert_eq!(wanted(&state, "ml.x"), Some(x));
    assert_eq!(
        wanted(&state, "ml.y"),
        Some(wish(&["a", "c"], Since::End, None))
    );
    assert_eq!(
        wanted(&state, "ml.z"),
        Some(wish(&["a"], Since::End, Some(3)))
    );
    let patterns: Vec<_> = state.patterns().iter().map(ToString::to_string).collect();
    assert_eq!(patterns, ["ml.>"]);
}

#[test]
fn what_an_organisation_may_not_have_does_not_count() {
    let state = after(&[
        declared_by("acme", "beta/x", wish(&["a"], Since::End, None)),
        declared_by("beta", "beta/x", wish(&["b"], Since::End, None)),
    ]);
    let name = channel("beta/x");
    let only_beta = state.wish(&name, |org| org.as_str() == "beta");
    assert_eq!(only_beta, Some(wish(&["b"], Since::End, None)));
    assert_eq!(state.wish(&name, |_| false), None);
}

#[test]
fn a_declaration_keeps_to_its_limits() {
    let state = Interests::default();
    let long = "x".repeat(257);
    let names: Vec<String> = (0..=MAX_TYPES).map(|n| n.to_string()).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (wish, fits) in [
        (all(), true),
        (wish(&names[1..], Since::End, Some(1)), true),
        (wish(&names, Since::End, None), false),
        (wish(&[&long], Since::End, None), false),
        (wish(&[""], Since::End, None), false),
        (wish(&[], Since::End, Some(0)), false),
        (wish(&[], Since::End, Some(36_501)), false),
    ] {
        let InterestEvent::Declared(event) = declared_by("acme", "x", wish.clone()) else {
            unreachable!()
        };
        assert_eq!(state.check(event).is_ok(), fits, "{wish:?}");
    }
}

fn check(state: &Interests, by: &str, pattern: &str) -> Result<InterestEvent, DeclareError> {
    match declared_by(by, pattern, all()) {
        InterestEvent::Declared(event) => state.check(event),
        _ => unreachable!(),
    }
}

fn many(by: &str, count: usize) -> impl Iterator<Item = InterestEvent> {
    (0..count).map(move |n| declared_by(by, &format!("x{n}"), all()))
}

#[test]
fn an_organisation_that_has_declared_all_it_may_leaves_the_others_theirs() {
    let full = after(&many("acme", MAX_DECLARED).collect::<Vec<_>>());
    let refused = DeclareError::TooManyOfOrg {
        org: org("acme"),
        found: MAX_DECLARED,
        limit: MAX_DECLARED,
    };
    assert_eq!(check(&full, "acme", "y"), Err(refused));
    // What is there already is declared again, and another organisation has a share of its own.
    assert!(check(&full, "acme", "x0").is_ok());
    assert!(check(&full, "beta", "y").is_ok());
    let mut state = full;
    state.apply(&removed("x0")).unwrap();
    assert!(check(&state, "acme", "y").is_ok());
}

#[test]
fn a_region_takes_so_many_declarations_of_all_organisations_together() {
    let orgs = MAX_DECLARED_IN_REGION / MAX_DECLARED;
    let events = (0..orgs).flat_map(|n| many(&format!("org{n}"), MAX_DECLARED).collect::<Vec<_>>());
    let full = after(&events.collect::<Vec<_>>());
    let refused = DeclareError::TooManyOfRegion {
        found: MAX_DECLARED_IN_REGION,
        limit: MAX_DECLARED_IN_REGION,
    };
    assert_eq!(check(&full, "late", "y"), Err(refused));
    assert!(check(&full, "org0", "x0").is_ok());
}

#[test]
fn what_was_declared_beyond_a_limit_stays_when_the_log_is_folded() {
    let events: Vec<_> = many("acme", MAX_DECLARED + 5).collect();
    let state = after(&events);
    assert_eq!(state.len(), MAX_DECLARED + 5);
    let mut folded = Interests::default();
    for event in state.fold() {
        folded.apply(&event).unwrap();
    }
    assert_eq!(folded, state);
}

#[test]
fn the_json_of_each_event_is_stable() {
    let narrow = wish(&["a"], Since::Time(Timestamp(9)), Some(5));
    for (event, json) in [
        (
            declared_by("acme", "ml.>", narrow),
            r#"{"v":1,"type":"interest.declared","org":"acme","pattern":"ml.>","types":["a"],"from":{"time":9},"retentionDays":5,"at":1}"#,
        ),
        (
            removed("ml.>"),
            r#"{"v":1,"type":"interest.removed","org":"acme","pattern":"ml.>","at":2}"#,
        ),
        (
            read("x", wish(&[], Since::End, None)),
            r#"{"v":1,"type":"interest.read","org":"acme","channel":"x","from":"end","at":3}"#,
        ),
        (
            idle("x", 50),
            r#"{"v":1,"type":"interest.idle","org":"acme","channel":"x","until":50,"at":4}"#,
        ),
        (
            expired("x", 50),
            r#"{"v":1,"type":"interest.expired","org":"acme","channel":"x","at":50}"#,
        ),
    ] {
        assert_eq!(String::from_utf8(event.encode()).unwrap(), json);
        let decoded = InterestEvent::decode(event.record_type(), json.as_bytes()).unwrap();
        assert_eq!(decoded, event);
    }
}

const PATTERNS: [&str; 6] = [">", "a", "a.>", "*.b", "b.*", "a.b"];
const CHANNELS: [&str; 5] = ["a", "b", "a.b", "b.b", "a.b.c"];
const TYPES: [&str; 3] = ["s", "t", "u"];

fn some_wish() -> impl Strategy<Value = Wish> {
    (0..8_usize, 0..4_i64, 0..3_u64).prop_map(|(types, from, days)| {
        let named = TYPES.iter().enumerate();
        let named = named.filter(|(at, _)| types & (1 << at) != 0);
        let types: Vec<&str> = named.map(|(_, name)| *name).collect();
        let from = match from {
            0 => Since::Start,
            1 => Since::End,
            time => Since::Time(Timestamp(time)),
        };
        wish(&types, from, (days > 0).then_some(days))
    })
}

fn event() -> impl Strategy<Value = InterestEvent> {
    let by = prop_oneof![Just("acme"), Just("beta")];
    (0..8_u8, by, 0..6_usize, 0..5_usize, some_wish(), 0..9_i64).prop_map(
        |(kind, by, pattern, name, wish, time)| match kind {
            0..=2 => declared_by(by, PATTERNS[pattern], wish),
            3 => removed(PATTERNS[pattern]),
            4 | 5 => read(CHANNELS[name], wish),
            6 => idle(CHANNELS[name], time),
            _ => expired(CHANNELS[name], time),
        },
    )
}

proptest! {
    #[test]
    fn what_crosses_is_what_at_least_one_interest_wants(events in vec(event(), 0..30)) {
        let mut state = Interests::default();
        for event in &events {
            let before = state.clone();
            if state.apply(event).is_err() {
                prop_assert_eq!(&state, &before);
            }
        }
        for name in CHANNELS {
            let name = channel(name);
            let declared = state.declared().filter(|(_, pattern, ..)| pattern.matches(&name));
            let read = state.automatic().filter(|(_, read, _)| **read == name);
            let wishes: Vec<&Wish> = declared
                .map(|(.., wish, _)| wish)
                .chain(read.map(|(.., interest)| &interest.wish))
                .collect();
            let merged = state.wish(&name, |_| true);
            prop_assert_eq!(merged.is_some(), !wishes.is_empty());
            let asked = state.patterns().iter().any(|pattern| pattern.matches(&name));
            prop_assert_eq!(asked, !wishes.is_empty());
            for record_type in TYPES.into_iter().chain(["", "v"]) {
                let takes = wishes.iter().any(|wish| wish.takes(record_type));
                let crosses = merged.as_ref().is_some_and(|wish| wish.takes(record_type));
                prop_assert_eq!(crosses, takes, "{} {}", name, record_type);
            }
            if let Some(merged) = merged {
                prop_assert_eq!(Some(merged.from), wishes.iter().map(|wish| wish.from).min());
                let longest = wishes.iter().map(|wish| wish.retention_days.unwrap_or(u64::MAX)).max();
                prop_assert_eq!(merged.retention_days.or(Some(u64::MAX)), longest);
            }
        }
        let mut refolded = after(&[declared("zz")]);
        for part in state.fold() {
            let stored = InterestEvent::decode(part.record_type(), &part.encode()).unwrap();
            refolded.apply(&stored).unwrap();
        }
        prop_assert_eq!(refolded, state);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0..7_usize, payload in vec(any::<u8>(), 0..200)) {
        let kinds = [
            "interest.declared", "interest.removed", "interest.read", "interest.idle",
            "interest.expired", "interest.folded", "",
        ];
        let _ = InterestEvent::decode(kinds[kind], &payload);
    }
}

#[test]
fn types_that_are_too_many_to_be_named_to_each_peer_are_all_types() {
    let many = |from: usize| {
        let names: Vec<String> = (from..from + MAX_TYPES)
            .map(|n| format!("{n}{}", "x".repeat(240)))
            .collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        wish(&names, Since::Start, None)
    };
    // Any one of them is within its limits.
    let two = after(&[
        declared_by("acme", "ml.a", many(0)),
        declared_by("acme", "ml.*", many(100)),
    ]);
    assert_eq!(wanted(&two, "ml.a").unwrap().types.unwrap().len(), 200);
    let three = after(&[
        declared_by("acme", "ml.a", many(0)),
        declared_by("acme", "ml.*", many(100)),
        declared_by("acme", "ml.>", many(200)),
    ]);
    assert_eq!(wanted(&three, "ml.a").unwrap(), all());
    assert_eq!(wanted(&three, "ml.b").unwrap().types.unwrap().len(), 200);
}

#[test]
fn who_reads_a_channel_wants_the_logs_of_all_regions_and_of_one_what_was_asked_of_it() {
    let logs = ["orders@eu-west", "orders@us-east"].map(channel);
    let wish_of = |state: &Interests, log: &ChannelName| state.wish(log, |_| true);
    let from_the_end = wish(&[], Since::End, None);
    // One log by its own name alone.
    let one = after(&[read("orders@eu-west", all())]);
    assert_eq!(wish_of(&one, &logs[0]), Some(all()));
    assert_eq!(wish_of(&one, &logs[1]), None);
    assert_eq!(one.patterns(), ["orders".parse().unwrap()]);
    // All of them, those that are yet to be begun from their start.
    let each = after(&[
        read("orders@eu-west", from_the_end.clone()),
        read("orders", all()),
    ]);
    assert_eq!(wish_of(&each, &logs[0]), Some(from_the_end));
    assert_eq!(wish_of(&each, &logs[1]), Some(all()));
    assert_eq!(wish_of(&each, &channel("orders.x")), None);
    // What is declared counts beside it.
    let more = after(&[
        read("orders@eu-west", wish(&[], Since::End, None)),
        declared("acme/orders"),
        declared_by("default", "orders", all()),
    ]);
    assert_eq!(wish_of(&more, &logs[0]), Some(all()));
}
