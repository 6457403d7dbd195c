//! Every cell of the tables of the directory in `docs/regions.md`, and who may hold what.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::region::RegionNumber;
use crate::types::{ChannelName, Incarnation, OrgName, RegionName, Timestamp};

fn region(name: &str) -> RegionName {
    RegionName::parse(name).unwrap()
}

fn org(name: &str) -> OrgName {
    OrgName::parse(name).unwrap()
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse_any(name).unwrap()
}

fn set(names: &[&str]) -> Option<BTreeSet<RegionName>> {
    Some(names.iter().map(|name| region(name)).collect())
}

fn joined(name: &str) -> RegionEvent {
    RegionEvent::Joined(Joined {
        region: region(name),
        at: Timestamp(1),
    })
}

fn left(name: &str) -> RegionEvent {
    RegionEvent::Left(Left {
        region: region(name),
        at: Timestamp(2),
    })
}

fn new(name: &str, id: u128, regions: Spread, home: &str) -> Named {
    Named {
        channel: channel(name),
        incarnation: Incarnation(id),
        regions,
        home: region(home),
        residency: None,
        ack_regions: 1,
        at: Timestamp(3),
    }
}

fn one(id: u128, home: &str) -> RegionEvent {
    RegionEvent::Named(new("orders", id, Spread::One, home))
}

fn each(id: u128, home: &str) -> RegionEvent {
    RegionEvent::Named(new("orders", id, Spread::Each, home))
}

fn unnamed(id: u128) -> RegionEvent {
    RegionEvent::Unnamed(Unnamed {
        channel: channel("orders"),
        incarnation: Incarnation(id),
        at: Timestamp(4),
    })
}

fn consent(scope: Scope, residency: Option<BTreeSet<RegionName>>) -> RegionEvent {
    RegionEvent::Consent(Consent {
        scope,
        residency,
        at: Timestamp(5),
    })
}

fn word(side: Side, allowed: bool) -> RegionEvent {
    RegionEvent::Crossing(Crossing {
        owner: org("acme"),
        guest: org("beta"),
        side,
        allowed,
        at: Timestamp(6),
    })
}

fn after(events: &[RegionEvent]) -> Regions {
    let mut state = Regions::default();
    for event in events {
        state.apply(event).unwrap();
    }
    state
}

fn three() -> Vec<RegionEvent> {
    ["us", "eu", "ap"].map(joined).to_vec()
}

fn with(events: &[RegionEvent]) -> Regions {
    after(&[&three(), events].concat())
}

fn refused(state: &Regions, event: &RegionEvent) {
    let mut tried = state.clone();
    tried.apply(event).expect_err(event.record_type());
    assert_eq!(&tried, state);
}

#[test]
fn a_region_joins_once_and_leaves_once() {
    refused(&Regions::default(), &left("us"));
    refused(&after(&[joined("us")]), &joined("us"));
    let gone = after(&[joined("us"), left("us")]);
    assert_eq!(gone.regions().count(), 0);
    assert_eq!(gone.left_at(&region("us")), Some(Timestamp(2)));
    refused(&gone, &left("us"));
    after(&[joined("us"), left("us"), joined("us")]);
    let number = RegionNumber::of(&region("us"));
    assert_eq!(after(&three()).by_number(number), Some(&region("us")));
}

#[test]
fn two_regions_of_one_number_are_never_peers() {
    let number = RegionNumber::of(&region("us"));
    let twin = (0..)
        .map(|n| format!("r{n}"))
        .find(|name| RegionNumber::of(&region(name)) == number)
        .unwrap();
    refused(&after(&[joined("us")]), &joined(&twin));
}

#[test]
fn an_absent_channel_is_named_and_nothing_else() {
    refused(&with(&[]), &unnamed(1));
    refused(
        &with(&[]),
        &consent(Scope::Channel(channel("orders")), None),
    );
    let state = with(&[one(1, "us")]);
    let known = state.channel("orders").unwrap();
    assert_eq!(known.logs, [(region("us"), Incarnation(1))].into());
    assert_eq!(
        with(&[each(1, "us")]).channel("orders").unwrap().regions,
        Spread::Each
    );
}

#[test]
fn a_channel_of_one_log_takes_no_second_one() {
    let state = with(&[one(1, "us")]);
    for event in [one(2, "us"), one(2, "eu"), each(2, "eu"), unnamed(2)] {
        refused(&state, &event);
    }
    assert_eq!(with(&[one(1, "us"), unnamed(1)]), with(&[]));
    with(&[one(1, "us"), unnamed(1), one(2, "eu")]);
}

#[test]
fn a_channel_of_a_log_for_each_region_takes_one_for_each() {
    let state = with(&[each(1, "us"), each(2, "eu")]);
    for event in [each(3, "us"), each(1, "ap"), one(3, "ap"), unnamed(3)] {
        refused(&state, &event);
    }
    let other = RegionEvent::Named(Named {
        ack_regions: 2,
        ..new("orders", 3, Spread::Each, "ap")
    });
    refused(&state, &other);
    assert_eq!(
        with(&[each(1, "us"), each(2, "eu"), unnamed(1)]),
        with(&[each(2, "eu")])
    );
    assert_eq!(with(&[each(2, "eu"), unnamed(2)]), with(&[]));
}

#[test]
fn who_may_hold_a_channel_is_named_by_it_and_by_its_organisation() {
    let name = channel("acme/orders");
    let narrow = RegionEvent::Named(Named {
        residency: set(&["us", "eu"]),
        ..new("acme/orders", 1, Spread::One, "us")
    });
    let orgs = |names| consent(Scope::Org(org("acme")), names);
    let holders = |state: &Regions| {
        let all = ["us", "eu", "ap", "xx"];
        all.map(|region_name| state.may_hold(&name, &region(region_name)))
    };
    assert_eq!(
        holders(&with(&[])),
        [true, true, true, false],
        "known regions only"
    );
    assert_eq!(
        holders(&with(std::slice::from_ref(&narrow))),
        [true, true, false, false]
    );
    let both = with(&[narrow.clone(), orgs(set(&["eu", "ap"]))]);
    assert_eq!(holders(&both), [false, true, false, false]);
    let lifted = with(&[narrow.clone(), orgs(set(&["ap"])), orgs(None)]);
    assert_eq!(holders(&lifted), [true, true, false, false]);
    let wide = consent(Scope::Channel(name.clone()), None);
    assert_eq!(holders(&with(&[narrow, wide])), [true, true, true, false]);
    let ours = consent(Scope::Org(org("default")), set(&["us"]));
    let state = with(&[ours]);
    assert!(!state.may_hold(&channel("orders"), &region("eu")));
    assert!(state.may_hold(&name, &region("eu")));
}

#[test]
fn between_organisations_both_have_to_say_yes() {
    let name = channel("acme/orders");
    let crosses = |events: &[RegionEvent]| with(events).may_cross(&name, &org("beta"));
    let (owner, guest) = (word(Side::Owner, true), word(Side::Guest, true));
    assert!(!crosses(&[]));
    assert!(!crosses(std::slice::from_ref(&owner)));
    assert!(!crosses(std::slice::from_ref(&guest)));
    assert!(crosses(&[owner.clone(), guest.clone()]));
    for no in [word(Side::Owner, false), word(Side::Guest, false)] {
        assert!(!crosses(&[owner.clone(), guest.clone(), no]));
    }
    assert!(with(&[]).may_cross(&name, &org("acme")), "its own");
    assert!(with(&[]).may_cross(&channel("orders"), &org("default")));
    assert!(!with(&[owner, guest]).may_cross(&channel("beta/x"), &org("acme")));
}

#[test]
fn a_new_channel_is_held_where_it_lives_and_by_as_many_as_it_wants() {
    let state = with(&[one(1, "us")]);
    let check = |named: Named| state.check_name(named).map(drop);
    let fine = || new("x", 2, Spread::One, "us");
    check(fine()).unwrap();
    let exists = check(new("orders", 2, Spread::One, "eu"));
    assert!(matches!(exists, Err(NameError::Exists { .. })));
    for named in [
        new("x", 2, Spread::One, "xx"),
        Named {
            residency: set(&["us", "xx"]),
            ..fine()
        },
    ] {
        assert_eq!(
            check(named),
            Err(NameError::UnknownRegion {
                region: region("xx")
            })
        );
    }
    let elsewhere = Named {
        residency: set(&["eu"]),
        ..fine()
    };
    assert!(matches!(check(elsewhere), Err(NameError::NoConsent { .. })));
    for (ack_regions, residency, fits) in [
        (3, None, true),
        (4, None, false),
        (0, None, false),
        (2, set(&["us"]), false),
    ] {
        let named = Named {
            ack_regions,
            residency,
            ..fine()
        };
        assert_eq!(check(named).is_ok(), fits, "{ack_regions}");
    }
}

#[test]
fn the_json_of_each_event_is_stable() {
    let id = Incarnation(1).to_string();
    let wide = Named {
        residency: set(&["eu", "us"]),
        ack_regions: 2,
        ..new("orders", 1, Spread::Each, "us")
    };
    for (event, json) in [
        (joined("us"), r#"{"v":1,"type":"region.joined","region":"us","at":1}"#.to_owned()),
        (left("us"), r#"{"v":1,"type":"region.left","region":"us","at":2}"#.to_owned()),
        (
            one(1, "us"),
            format!(
                r#"{{"v":1,"type":"channel.named","channel":"orders","incarnation":"{id}","regions":"one","home":"us","at":3}}"#
            ),
        ),
        (
            RegionEvent::Named(wide),
            format!(
                r#"{{"v":1,"type":"channel.named","channel":"orders","incarnation":"{id}","regions":"each","home":"us","residency":["eu","us"],"ackRegions":2,"at":3}}"#
            ),
        ),
        (
            unnamed(1),
            format!(
                r#"{{"v":1,"type":"channel.unnamed","channel":"orders","incarnation":"{id}","at":4}}"#
            ),
        ),
        (
            consent(Scope::Org(org("acme")), set(&["us"])),
            r#"{"v":1,"type":"consent.set","scope":{"org":"acme"},"residency":["us"],"at":5}"#.to_owned(),
        ),
        (
            consent(Scope::Channel(channel("x")), None),
            r#"{"v":1,"type":"consent.set","scope":{"channel":"x"},"residency":null,"at":5}"#.to_owned(),
        ),
        (
            word(Side::Guest, true),
            r#"{"v":1,"type":"grant.residency","owner":"acme","guest":"beta","side":"guest","allowed":true,"at":6}"#.to_owned(),
        ),
    ] {
        assert_eq!(String::from_utf8(event.encode()).unwrap(), json);
        let decoded = RegionEvent::decode(event.record_type(), json.as_bytes()).unwrap();
        assert_eq!(decoded, event);
    }
}

fn event() -> impl Strategy<Value = RegionEvent> {
    let name = prop_oneof![Just("us"), Just("eu"), Just("ap")];
    (0..9_u8, name, 0..4_u128, any::<bool>()).prop_map(|(kind, name, id, yes)| match kind {
        0 | 1 => joined(name),
        2 => left(name),
        3 => one(id, name),
        4 => each(id, name),
        5 => unnamed(id),
        6 => consent(Scope::Channel(channel("orders")), set(&[name])),
        7 => consent(Scope::Org(org("acme")), yes.then(|| set(&[name]).unwrap())),
        _ => word(if yes { Side::Owner } else { Side::Guest }, id > 1),
    })
}

proptest! {
    #[test]
    fn a_state_folded_and_read_back_is_identical(events in vec(event(), 0..50)) {
        let mut state = Regions::default();
        for event in &events {
            let before = state.clone();
            if state.apply(event).is_err() {
                prop_assert_eq!(&state, &before);
            }
        }
        let mut refolded = after(&[joined("zz")]);
        for part in state.fold() {
            let stored = RegionEvent::decode(part.record_type(), &part.encode()).unwrap();
            refolded.apply(&stored).unwrap();
        }
        prop_assert_eq!(refolded, state);
    }

    #[test]
    fn no_bytes_make_the_decoder_panic(kind in 0..8_usize, payload in vec(any::<u8>(), 0..200)) {
        let kinds = [
            "region.joined", "region.left", "channel.named", "channel.unnamed", "consent.set",
            "grant.residency", "regions.folded", "",
        ];
        let _ = RegionEvent::decode(kinds[kind], &payload);
    }
}
